//! The bus over one gRPC stream to a gateway, for an agent that knows only its master's addresses.
//!
//! The agent's side is [`LinkBus`]. The gateway's side is [`serve`]: it binds each link to the subjects
//! of one agent and passes its frames to the gateway's own bus.
//!
//! # Layout
//! - `client`: the agent's bus.
//! - `connection`: opens the stream, again and again.
//! - `server`: the service that a gateway mounts.
//! - `session`: one link at the gateway.
//! - `frames`: messages and errors to and from the wire.

mod client;
mod connection;
mod frames;
mod server;
mod session;

pub use client::{LinkBus, LinkOptions};
pub use server::{Admit, Allow, LinkHandle, LinkOp, LinkPeer, LinkServerOptions, LinkService, serve};

use crate::subject::PAYLOAD_BYTES_MAX;

/// The largest frame: the largest payload, and room for what is around it.
const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1024 * 1024;

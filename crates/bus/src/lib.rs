//! The adapters of the bus port: in memory, over NATS, and over one stream to a gateway.
//!
//! Each keeps the promises of [`mesos_ports::bus::Bus`] and passes the same conformance suite, so a
//! service does not know which one it holds.
//!
//! # Layout
//! - [`memory`]: one process, for local mode and tests.
//! - [`nats`]: core NATS, for clusters.
//! - [`link`]: the same subjects over one gRPC stream, for an agent that knows only its master.
//! - [`subject`]: which subjects, headers and sizes every adapter accepts.
//! - `queue`: the bounded queue in front of each subscriber.
//! - `events`: connection events.

mod events;
pub mod link;
pub mod memory;
pub mod nats;
mod queue;
pub mod subject;

pub use link::{LinkBus, LinkOptions};
pub use memory::MemoryBus;
pub use nats::{NatsBus, NatsOptions};
pub use queue::Limits;

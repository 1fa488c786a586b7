//! The adapters against the conformance suite and against what is special to each.

mod link;
mod memory;
mod nats;
mod nats_server;
mod secured;

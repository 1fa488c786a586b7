//! The gateway: the one door to the cluster, and the only place that speaks to clients.
//!
//! It decides nothing: it translates, streams, and answers reads from its own copy.
//!
//! # Layout
//! - [`options`]: what can be chosen. [`server`]: the port, what handlers share, the route table.
//! - [`calls`]: the doors to the allocator and the registry. [`streams`]: event streams.
//! - [`scheduler`]: the Mesos v1 scheduler API over HTTP. [`grpc`]: the gRPC services.
//! - [`translate`]: between the contract's messages and what the machines speak.
//! - [`view`]: the copy for reads.
//! - [`health`], [`leaders`]: whether this gateway and the leaders live. [`errors`]: refusals.

pub mod calls;
pub mod errors;
pub mod grpc;
pub mod health;
pub mod leaders;
pub mod options;
pub mod reads {
    pub mod offers;
}
pub mod scheduler;
pub mod server;
pub mod streams;
pub mod translate;
pub mod view;

pub use options::GatewayOptions;
pub use server::{Bound, Gateway, StartError};

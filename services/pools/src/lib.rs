//! Node pools: hosts with agents that are added when work waits and taken away when they idle.
//!
//! One process at a time keeps the pools: the one that holds the lease. What it was asked for is in the store, so the
//! next one neither forgets a node nor adds it twice.
//!
//! # Layout
//! - [`definition`]: the file that says which pools there are.
//! - [`machine`]: what is decided, without IO.
//! - [`provider`]: where hosts come from: this host, the user's scripts, an Auto Scaling group.
//! - [`invitation`]: join tokens for their agents, where the cluster asks for one.
//! - [`cluster`]: what is seen of the cluster through a gateway, and told to it.
//! - [`service`]: the machine with its store, its door on the bus, and its hands.

pub mod cluster;
pub mod definition;
pub mod invitation;
pub mod machine;
pub mod provider;
pub mod service;

pub use definition::Definition;
pub use service::{Options, run};

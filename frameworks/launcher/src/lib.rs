//! The built-in framework behind `mesos launch` and `mesos spawn`.
//!
//! An ordinary framework: it talks to a gateway as every other does. What it was asked to run is in the
//! store, and of several processes the one that holds the lease is the framework.
//!
//! # Layout
//! - [`machine`]: what it decides, without IO.
//! - [`service`]: the machine with its store, its door on the bus, and its subscription.
//! - [`convert`]: offers and resources between the contract and the model.

pub mod convert;
pub mod machine;
pub mod service;

pub use service::{Options, run};

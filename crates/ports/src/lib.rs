//! The three doors between the services and the world: a bus, a store and a containerizer.
//!
//! Each port is a trait that says its guarantees, an error that says whether a retry can help, and a
//! conformance suite that every adapter runs (feature `conformance`).
//!
//! # Layout
//! - [`bus`]: publish, subscribe, request.
//! - [`store`]: the fenced commit and the change stream.
//! - [`containerizer`]: run, watch and destroy what a task asked for.
//! - `conformance`: one suite per port.

pub mod bus;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod containerizer;
pub mod store;

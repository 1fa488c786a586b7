//! The agent: runs, checks, kills and reports the tasks of one host.
//!
//! All decisions are `mesos_core::agent`'s; this crate moves bytes between it, the bus, the checkpoint file
//! and the containerizers.
//!
//! # Layout
//! - [`options`]: what can be chosen.
//! - `service`: start, recovery, the loop's two ends.
//! - `inbox`: messages from allocator and registry.
//! - `outbox`: messages to them.
//! - `containers`: carries out what the machine wants done with containers.
//! - [`estimator`]: what tasks hold and do not use.
//! - `executors`: the door through which frameworks' own executors come.
//! - `task`: what a `TaskInfo` means for a host.
//! - `sandbox`: where tasks' files are.
//! - `condition`: whether the host can start tasks at all.
//! - `reserve`: room for the checkpoint on a disk that is full.
//! - `volumes`: directories of persistent volumes.
//! - `files`: the door through which gateways read sandboxes.

mod condition;
mod containers;
pub mod estimator;
mod executors;
mod files;
mod inbox;
pub mod options;
mod outbox;
mod reserve;
mod sandbox;
mod service;
mod task;
mod volumes;

pub use options::AgentOptions;
pub use service::{AgentError, AgentPorts, Identity, containerizers, identity, run};

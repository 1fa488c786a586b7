//! The registry as a service: frameworks, their subscriptions, and the ledger of their tasks.
//!
//! # Layout
//! - [`alone`]: a process of its own, over NATS and Redis.
//! - [`options`]: what an operator can set.
//! - [`service`]: the machine of `mesos_core::registry` behind the shell's doors.

pub mod alone;
pub mod options;
pub mod service;

pub use options::Options;
pub use service::run;

//! The registry as a service: frameworks, their subscriptions, and the ledger of their tasks.
//!
//! # Layout
//! - [`options`]: what an operator can set.
//! - [`service`]: the machine of `mesos_core::registry` behind the shell's doors.

pub mod options;
pub mod service;

pub use options::Options;
pub use service::run;

//! The allocator as a service: who is offered what, and what runs where.
//!
//! # Layout
//! - [`options`]: what an operator can set.
//! - [`service`]: the machine of `mesos_core::allocation` behind the shell's doors.

pub mod options;
pub mod service;

pub use options::Options;
pub use service::run;

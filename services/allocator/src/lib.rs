//! The allocator as a service: who is offered what, and what runs where.
//!
//! # Layout
//! - [`alone`]: a process of its own, over NATS and Redis.
//! - [`options`]: what an operator can set.
//! - [`record`]: what the machine is told, in a file.
//! - [`service`]: the machine of `mesos_core::allocation` behind the shell's doors.

pub mod alone;
pub mod options;
pub mod record;
pub mod service;

pub use options::Options;
pub use record::Recorder;
pub use service::run;

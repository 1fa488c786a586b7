//! The containerizers of the agent and what they need of the host.
//!
//! # Layout
//! - [`process`]: tasks as processes of this host, each behind the [`shim`].
//! - [`docker`]: tasks as Docker containers, through the daemon's API.
//! - [`mock`]: tasks that exist only in memory, for load and tests.
//! - [`shim`]: the small process that starts a task, outlives the agent and keeps the exit status.
//! - [`cgroup`]: limits, membership and the end of a group of processes, v1 and v2.
//! - [`fetcher`]: brings the URIs of a task into its sandbox.
//! - [`checks`]: one run of a health check.
//! - [`detect`]: what this host has to offer.

pub mod cgroup;
pub mod checks;
pub mod detect;
pub mod docker;
pub mod fetcher;
pub mod mock;
pub mod process;
mod procfs;
mod records;
pub mod shim;
mod sys;

pub use docker::{DockerContainerizer, DockerOptions};
pub use mock::MockContainerizer;
pub use process::{ProcessContainerizer, ProcessOptions};

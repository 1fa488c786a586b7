//! All decisions, as machines without clock, randomness or IO: events in, effects out.
//!
//! The same machines run in the services, in the simulator and in what-if. A task's way through them is a
//! ring: framework → [`allocation`] (allocation and launch intent) → [`agent`] (run) → [`registry`]
//! (status) → framework.
//!
//! # Layout
//! - [`machine`]: what a machine is.
//! - [`driver`]: the loop around a machine that leads: term, batch, commit, then speak.
//! - [`message`]: what services tell each other.
//! - [`row`]: what is stored, and at the same time what followers of a change stream see.
//! - [`allocation`]: agents, roles, offers, launches.
//! - [`registry`]: frameworks, subscriptions, tasks and their status.
//! - [`agent`]: executors and containers of one host.
//! - [`recording`]: the allocator's inputs, written down and lived again.

pub mod agent;
pub mod allocation;
pub mod driver;
mod fnv;
pub mod machine;
pub mod message;
mod ordered;
mod recent;
pub mod recording;
pub mod registry;
pub mod row;

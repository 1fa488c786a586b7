//! The processes: drivers in their shells, gateways, frameworks.
//!
//! # Layout
//! - [`follower`]: follows a change stream, as the services' shell does.
//! - [`service`]: the shell of allocator, registry and agent around the real driver and machine.
//! - [`gateway`]: what a gateway owes the protocol.
//! - [`framework`]: a scheduler, well-behaved or not.
//! - [`operator`]: quota, reservations, agents and machines that leave.
//! - [`operation`]: RESERVE and so on, as operators and frameworks draw them.
//! - [`http`]: what gateways and frameworks say to each other.

pub mod follower;
pub mod framework;
pub mod gateway;
pub mod http;
pub mod operation;
pub mod operator;
pub mod service;

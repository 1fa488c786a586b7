//! The gateway: the one door to the cluster, and the only place that speaks to clients.
//!
//! It decides nothing: it translates, streams, and answers reads from its own copy.
//!
//! # Layout
//! - [`options`]: what can be chosen. [`server`]: the port, what handlers share, the route table.
//! - [`auth`]: who calls, and what the bearer of a token may do.
//! - [`calls`]: the doors to the allocator and the registry. [`streams`]: event streams.
//! - [`scheduler`]: the Mesos v1 scheduler API over HTTP. [`grpc`]: the gRPC services.
//! - [`translate`]: between the contract's messages and what the machines speak.
//! - [`view`]: the copy for reads. [`reads`]: what reads and operators' calls have at hand.
//! - [`allocation`]: weights, quota, policy, explain and what-if, for every API below.
//! - [`leave`]: agents that leave and maintenance, for every API below.
//! - [`operator`]: the operator API. [`legacy`]: Mesos's older endpoints. [`rest`]: `/v1`. [`web`]: the page.
//! - [`join`]: agents that join, and what shows who they are.
//! - [`files`]: the files of tasks' sandboxes.
//! - [`launcher`]: the door to the built-in framework. [`pools`]: the door to node pools.
//! - [`health`], [`leaders`]: whether this gateway and the leaders live. [`errors`]: refusals.

pub mod allocation;
pub mod auth;
pub mod calls;
pub mod errors;
pub mod files;
mod gauges;
pub mod grpc;
pub mod health;
pub mod join;
pub mod launcher;
pub mod leaders;
pub mod leave;
pub mod legacy;
pub mod operator;
pub mod options;
pub mod pools;
pub mod reads;
pub mod rest;
pub mod scheduler;
pub mod server;
pub mod streams;
pub mod translate;
pub mod view;
pub mod web;

pub use auth::Security;
pub use options::GatewayOptions;
pub use server::{Bound, Gateway, StartError};

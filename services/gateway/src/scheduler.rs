//! The Mesos v1 scheduler API: what both HTTP and gRPC do with a call, and the HTTP side of it.
//!
//! # Layout
//! - [`submit`]: from a decoded call to the machine's answer.
//! - [`order`]: keeps a question behind the launches that it asks about.
//! - [`http`]: `POST /api/v1/scheduler`, in Mesos's order of checks.
//! - [`headers`]: `Content-Type`, `Accept`, `Mesos-Stream-Id`.
//! - [`body`]: requests of bounded size, packed or not; RecordIO streams.

pub mod body;
pub mod headers;
pub mod http;
pub mod order;
pub mod submit;

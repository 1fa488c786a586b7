//! Adapters of the store port: where services keep their rows, their fence and their change stream.
//!
//! # Layout
//! - [`redis`]: a Redis server (or what a Sentinel says is the primary), for clusters.
//! - [`embedded`]: one file, for `mesos local`, for small clusters and for an agent's checkpoint.
//! - `codec`: how the changes of one commit are written as one run of bytes, in both.

mod codec;
pub mod embedded;
pub mod redis;

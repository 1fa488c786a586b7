//! Allocation measured by itself, against Mesos's allocator on the same machine.
//!
//! # Layout
//! - [`baseline`]: what Mesos needed.

#[allow(dead_code, reason = "looked up by the allocator's benchmark")]
mod baseline;

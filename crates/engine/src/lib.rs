//! The allocation engine: what agents have and who wants it goes in, who is offered what comes out.
//!
//! It knows neither rows nor messages: the allocator's machine (`mesos-core`) tells it facts and carries its
//! decisions out; a benchmark, what-if and explain drive it in the same way. It has no clock, no IO and no
//! randomness but its seed, so the same calls give the same decisions.
//!
//! # Layout
//! - [`facts`]: what it is told about roles, frameworks and their needs.
//! - [`explanation`]: what it answers to "why does this wait?" and "what if?".
//! - [`policy`]: how a policy that is not built in takes part.

pub mod explanation;
pub mod facts;
pub mod policy;

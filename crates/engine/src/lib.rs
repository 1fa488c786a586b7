//! The allocation engine: what agents have and who wants it goes in, who is offered what comes out.
//!
//! It knows neither rows nor messages: the allocator's machine (`mesos-core`) tells it facts and carries its
//! decisions out; a benchmark, what-if and explain drive it in the same way. It has no clock, no IO and no
//! randomness but its seed, so the same calls give the same decisions. What a call costs grows with what it
//! changes, not with the cluster.
//!
//! # Layout
//! - [`engine`]: the engine as a whole, and the facts that it is told.
//! - [`cycle`]: a round of offers: free resources go to whose turn it is.
//! - `roles` (and `order`, `race` below it), [`share`]: whose turn it is. [`policy`]: how a policy that is not built in takes part.
//! - `agents`: what is free. `offers`: what frameworks sit on. `filters`: who does not want what.
//! - [`needs`]: room that is gathered for big tasks and for gangs.
//! - [`rules`]: what an agent must be like to be offered.
//! - [`bundle`]: resources as they are reckoned with here.
//! - [`facts`]: what operators and frameworks say. [`explanation`]: what they are answered.
//! - [`explain`]: why something waits, and what would help. [`what_if`]: the same after supposed changes.

pub mod agents;
pub mod bundle;
pub mod cycle;
pub mod engine;
pub mod explain;
pub mod explanation;
pub mod facts;
mod filters;
pub mod needs;
mod offers;
pub mod policy;
mod random;
mod roles;
pub mod rules;
pub mod share;
pub mod what_if;

#[cfg(test)]
mod tests;

pub use agents::AgentFacts;
pub use bundle::Bundle;
pub use engine::{AgentSlot, ClientFacts, ClientSlot, Closed, Decision, Engine, Options};
pub use roles::{Abilities, Policy};

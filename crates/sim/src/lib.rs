//! The whole cluster in one thread under virtual time: the real machines in their real drivers, on a bus
//! that loses, a store that rolls back, and hosts that die.
//!
//! One seed decides everything. Invariants are checked as it goes; after the faults everything heals, and what
//! must come must come in its time.
//!
//! # Layout
//! - [`run`]: one seed from its draw to its verdict, with the liveness checks.
//! - [`plan`]: which faults a seed draws, and how its frameworks behave.
//! - [`world`]: the processes, the loop, the faults.
//! - [`net`]: time, the bus, the way to the stores. [`store`]: the fenced store. [`host`]: containers.
//! - [`node`]: shells, gateways, frameworks.
//! - [`invariants`]: what must always hold.
//! - [`rng`]: what is left to chance, from one seed.

pub mod host;
pub mod invariants;
pub mod net;
pub mod node;
pub mod plan;
pub mod rng;
pub mod run;
pub mod store;
pub mod world;

//! Scenarios on the whole cluster, each played on purpose: the real machines in their real drivers, and one fault at the
//! worst moment. What must hold always is checked all the while.
//!
//! # Layout
//! - `play`: clusters, and waiting for what must come.
//! - `cases`: the hard cases of the protocol between services.
//! - `faults`: faults of the catalogue (`docs/faults.md`).

mod cases;
mod faults;
mod play;

//! Why something waits and what would help: scenarios, and that it is right on random clusters.

mod clusters;
mod property;
mod scenarios;
mod speed;
mod what_if;

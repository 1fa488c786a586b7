//! Tests from end to end, with real processes only. `scripts/setup` installs what they need.
//!
//! Each test starts what it needs on ports of its own and waits for conditions. What takes minutes runs
//! only with `MESOS_E2E_LONG=1`.

mod agent;
mod allocation;
mod bad_input;
mod chaos;
mod clients;
mod cluster;
mod docker;
mod executors;
mod harness;
mod holdings;
mod hosts;
mod joined;
mod leave;
mod local;
mod pools;
mod reads;
mod refusals;
mod secured;
mod support;
mod tracing;
mod web;

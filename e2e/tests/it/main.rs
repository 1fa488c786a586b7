//! Tests from end to end, with real processes only. `scripts/setup` installs what they need.
//!
//! Each test starts what it needs on ports of its own and waits for conditions. What takes minutes runs
//! only with `MESOS_E2E_LONG=1`.

mod agent;
mod allocation;
mod ansible;
mod aws;
mod aws_hosts;
mod bad_input;
mod bare;
mod chaos;
mod clients;
mod cluster;
mod docker;
mod executors;
mod harness;
mod holdings;
mod hosts;
mod installed;
mod invited;
mod joined;
mod leave;
mod local;
mod packages;
mod pools;
mod reads;
mod refusals;
mod rolling;
mod secured;
mod support;
mod tracing;
mod web;

//! The registry as a service: what it does when its store, its bus or what comes over them is not in order.

mod faults;
mod redis_server;
mod world;

//! One suite per port, which every adapter runs.

pub mod bus;
pub mod containerizer;
pub mod store;

//! One suite per port, which every adapter runs; and a bus for tests of those who listen.

pub mod bus;
pub mod containerizer;
pub mod forgetful;
pub mod store;

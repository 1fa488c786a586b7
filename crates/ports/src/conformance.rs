//! One suite per port, which every adapter runs; a bus for tests of those who listen; certificates and users of NATS for
//! tests over TLS.

pub mod bus;
pub mod certificates;
pub mod containerizer;
pub mod forgetful;
pub mod nats_users;
pub mod store;

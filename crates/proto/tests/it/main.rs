//! Tests of the contract: its wire forms, and that nothing a client sends is lost or makes it panic.

mod json;
mod json_tolerance;
mod malformed;
mod recordio;
mod services;
mod validate;
mod wire;

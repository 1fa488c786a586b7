//! The binary as a user meets it.

mod cluster;
mod config;
mod program;
mod wrong;

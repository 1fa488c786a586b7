//! The gateway from outside, over real sockets. The machines behind it are scripts that answer on an
//! in-memory bus.

mod allocation;
mod auth;
mod calls;
mod events;
mod grpc;
mod harness;
mod launcher;
mod malformed;
mod scheduler_http;
mod secured;
mod server;

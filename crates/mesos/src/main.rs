//! The binary `mesos`: every role, local mode, and the commands of users and operators.
//!
//! # Layout
//! - [`command`]: which commands there are and who carries them out.
//! - [`role`]: what runs until it is stopped: master, agent, single services, local mode.
//! - [`client`]: what asks a master and ends.
//! - [`lookup`]: how a static binary looks up users and host names.
//! - [`pki`], [`token`]: who is who: keys, certificates, tokens.
//! - [`replay`]: a recording, lived again.

mod client;
mod command;
mod lookup;
mod pki;
mod replay;
mod role;
mod token;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lookup::settle();
    // A task's shim forks, so nothing may have been started before it.
    if let Some(status) = mesos_container::shim::from_args() {
        return status;
    }
    // The one TLS provider; whoever installed one before us installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    command::run(std::env::args_os().collect())
}

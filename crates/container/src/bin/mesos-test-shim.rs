//! The shim without the rest of `mesos`: what the tests of this crate re-execute.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesos_container::shim::from_args().unwrap_or_else(|| {
        eprintln!("usage: mesos-test-shim shim <runtime directory>");
        ExitCode::from(64)
    })
}

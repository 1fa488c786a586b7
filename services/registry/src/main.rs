//! `mesos-registry`: the same as `mesos registry`.

fn main() -> std::process::ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    mesos_registry::alone::main(&args)
}

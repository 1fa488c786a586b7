//! `mesos-allocator`: the same as `mesos allocator`.

fn main() -> std::process::ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    mesos_allocator::alone::main(&args)
}

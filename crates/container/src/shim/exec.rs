//! `mesos shim exec`: a command beside a running task, in its namespaces, cgroup and as its user.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
    sys::{
        prctl,
        signal::{Signal, killpg},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::program::Child;
use crate::records::{self, ExecReport, ExecRequest, Pids, Spec};

/// Runs the request on standard input and tells what came of it on standard output.
pub(super) fn run(dir: &Path) -> ExitCode {
    // An agent that gives up takes the command along.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let report = perform(dir).unwrap_or_else(ExecReport::Failed);
    match serde_json::to_writer(io::stdout(), &report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}

fn perform(dir: &Path) -> Result<ExecReport, String> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text).map_err(|error| error.to_string())?;
    let request: ExecRequest = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let spec: Spec = records::read(dir, records::SPEC).ok_or("the container's spec cannot be read")?;
    let pids: Pids = records::read(dir, records::PID).ok_or("the container does not run")?;
    let gone = |_| "the container has ended".to_string();
    let init = pids.init.map(|init| init.open()).transpose().map_err(gone)?;
    if let Some(init) = &init {
        setns(init, CloneFlags::CLONE_NEWPID).map_err(|errno| format!("cannot enter: {}", errno.desc()))?;
    } else {
        pids.task.open().map_err(gone)?;
    }
    let child = Child {
        program: &request.program,
        sandbox: &spec.sandbox,
        group: spec.group.as_ref(),
        namespaces: init.as_ref().map(AsFd::as_fd),
        output: None,
    };
    let (pid, handle) = child.spawn()?;
    let pid = Pid::from_raw(pid as i32);
    let until = Instant::now() + Duration::from_millis(request.timeout_ms);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout) == Ok(1) {
            return Ok(match waitpid(pid, None) {
                Ok(WaitStatus::Exited(_, code)) => ExecReport::Code(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => ExecReport::Code(128 + signal as i32),
                other => ExecReport::Failed(format!("unexpected status: {other:?}")),
            });
        }
        if left.is_zero() {
            // It leads its own session, so its children are in its process group unless they left it.
            let _ = killpg(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
            return Ok(ExecReport::TimedOut);
        }
    }
}

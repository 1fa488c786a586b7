//! The shim: a small process between the agent and a task.
//!
//! It is this same binary, started again as `mesos shim <runtime directory>`. It has one thread and no
//! runtime, starts the task in its own session, cgroup and namespaces, outlives the agent, and writes
//! how the task ended to the runtime directory. `mesos shim exec <runtime directory>` runs a command
//! beside the task.
//!
//! # Layout
//! - `shim`: the life of the shim: start, kill requests, the end.
//! - `shim/namespaces`: the first process of the PID namespace and the mounts.
//! - `shim/program`: from a fresh child to `exec`.
//! - `shim/log`: the task's output, in files of a bounded size.
//! - `shim/exec`: commands inside a running container.

mod exec;
mod log;
mod namespaces;
mod program;

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use mesos_model::planted::{Bug, is_planted};
use nix::{
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{Pid, chdir, setsid},
};

use self::log::Logs;
use crate::{
    procfs::{self, Process},
    records::{self, Ended, Kill, Pids, Report, Spec},
    sys,
};

/// Runs the shim if this process was started as one. To be called first of all in `main`, before any
/// thread is started: the shim forks.
pub fn from_args() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == "shim").then(|| run(args.collect()))
}

/// Runs the shim with the arguments after `shim`: a runtime directory, or `exec` and one.
pub fn run(args: Vec<OsString>) -> ExitCode {
    match args.as_slice() {
        [word, dir] if word == "exec" => exec::run(&PathBuf::from(dir)),
        [dir] => run_task(&PathBuf::from(dir)),
        _ => {
            eprintln!("usage: mesos shim [exec] <runtime directory>");
            ExitCode::from(64)
        }
    }
}

fn run_task(dir: &Path) -> ExitCode {
    let Some(_lock) = claim(dir) else {
        return ExitCode::from(1);
    };
    match start(dir) {
        Ok(mut task) => {
            tell(&Report::Running(task.pids.clone()));
            let ended = task.follow(dir);
            tell(&Report::Exited(ended.clone()));
            // After telling: an agent that is there need not wait for the disk, and one that is not finds
            // the shim alive until the file is safe.
            match keep(dir, &ended) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(2),
            }
        }
        Err(message) => {
            tell(&Report::Failed(message.clone()));
            let _ = records::write(dir, records::EXIT, &Ended { message: Some(message), ..Ended::default() });
            ExitCode::from(1)
        }
    }
}

/// Writes the last word down. A disk that is full is waited for: nobody else knows how the task ended.
fn keep(dir: &Path, ended: &Ended) -> io::Result<()> {
    loop {
        match records::write_durably(dir, records::EXIT, ended) {
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                thread::sleep(Duration::from_secs(1));
            }
            done => return done,
        }
    }
}

/// Takes the container for this shim. Nobody gets it twice: not a second shim, and not one whose agent
/// came back and declared it lost before it got here.
fn claim(dir: &Path) -> Option<Flock<File>> {
    let file = File::create(dir.join(records::LOCK)).ok()?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
    (!dir.join(records::EXIT).exists() || is_planted(Bug::LateShimStarts)).then_some(lock)
}

/// Speaks to the agent, if there still is one at the other end.
fn tell(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
    }
}

/// A task that runs, as its shim sees it.
struct Task {
    spec: Spec,
    pids: Pids,
    task: OwnedFd,
    requests: SignalFd,
    logs: Logs,
}

fn start(dir: &Path) -> Result<Task, String> {
    let mut spec: Spec = records::read(dir, records::SPEC).ok_or("the container's spec cannot be read")?;
    let _ = setsid();
    // Not to hold the agent's working directory's file system busy.
    let _ = chdir("/");
    let requests = listen().map_err(|error| format!("cannot listen for requests: {error}"))?;
    // Without a PID namespace, this is how processes that the task orphaned are still found.
    let _ = prctl::set_child_subreaper(true);
    let mut warnings = std::mem::take(&mut spec.warnings);
    let init = namespaces::enter(&spec, &mut warnings)?;
    let started = Logs::open(&spec).and_then(|(logs, ends)| {
        let (task, handle) = program::start(&spec, init.as_ref().map(AsFd::as_fd), &ends)?;
        Ok((logs, task, handle))
    });
    if let (Err(_), Some(init)) = (&started, &init) {
        // Or it would be seen for a moment after its shim is gone.
        let init = Pid::from_raw(init.pid() as i32);
        let _ = kill(init, Signal::SIGKILL).and_then(|()| waitpid(init, None));
    }
    let (logs, task, handle) = started?;
    let pids = Pids {
        shim: Process::of(std::process::id()).ok_or("/proc cannot be read")?,
        init: init.as_ref().and_then(|init| Process::of(init.pid())),
        // A task that has ended already is a zombie without a start time, and is not signalled again.
        task: Process::of(task).unwrap_or(Process { pid: task, start: 0 }),
        warnings,
    };
    records::write(dir, records::PID, &pids)
        .map_err(|error| format!("cannot write {}: {error}", dir.join(records::PID).display()))?;
    Ok(Task { spec, pids, task: handle, requests, logs })
}

/// All signals wait; only the agent's request is looked at. So neither a terminal nor a `killall mesos`
/// takes a task along.
fn listen() -> nix::Result<SignalFd> {
    SigSet::all().thread_block()?;
    let mut looked_at = SigSet::empty();
    looked_at.add(Signal::SIGUSR1);
    looked_at.add(Signal::SIGCHLD);
    SignalFd::with_flags(&looked_at, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

impl Task {
    /// Waits for the end, doing what the agent asks meanwhile.
    fn follow(&mut self, dir: &Path) -> Ended {
        let mut deadline: Option<Instant> = None;
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                deadline = Some(Instant::now() + Duration::from_millis(100));
                self.kill_all();
            }
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                // Rounded up, or the last fraction of a millisecond would be spent spinning.
                PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
            });
            let mut fds = vec![
                PollFd::new(self.task.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.requests.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(self.logs.pipes().map(|pipe| PollFd::new(pipe, PollFlags::POLLIN)));
            let _ = poll(&mut fds, timeout);
            let (ended, asked) = (fds[0].any() == Some(true), fds[1].any() == Some(true));
            let wrote = fds[2..].iter().any(|fd| fd.any() == Some(true));
            if wrote {
                self.logs.take(false);
            }
            if ended {
                return self.finish();
            }
            if asked && self.read_requests() {
                let grace = records::read::<Kill>(dir, records::KILL).map_or(0, |kill| kill.grace_ms);
                let wanted = Instant::now() + Duration::from_millis(grace);
                if deadline.is_none() && grace > 0 {
                    self.terminate();
                }
                // A later request may only bring the end closer.
                deadline = Some(deadline.map_or(wanted, |old| old.min(wanted)));
            }
        }
    }

    /// Empties the queue of signals, reaps orphans, and says whether the agent asked for the end.
    fn read_requests(&self) -> bool {
        let mut asked = false;
        while let Ok(Some(signal)) = self.requests.read_signal() {
            asked |= signal.ssi_signo == Signal::SIGUSR1 as u32;
        }
        let task = Pid::from_raw(self.pids.task.pid as i32);
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(Some(ended)) = waitid(Id::All, peek).map(|status| status.pid()) {
            if ended == task || waitpid(ended, None).is_err() {
                break;
            }
        }
        asked
    }

    /// Asks every process of the task to end.
    fn terminate(&self) {
        if let Some(group) = &self.spec.group
            && group.signal(Signal::SIGTERM) > 0
        {
            return;
        }
        self.signal_descendants(Signal::SIGTERM);
    }

    fn signal_descendants(&self, signal: Signal) -> usize {
        let found = procfs::descendants(std::process::id());
        let found = found.into_iter().filter(|process| Some(*process) != self.pids.init);
        let signalled =
            found.filter(|process| process.open().and_then(|handle| sys::pidfd_signal(handle.as_fd(), signal)).is_ok());
        signalled.count()
    }

    /// Ends every process of the task for good.
    fn kill_all(&self) {
        if is_planted(Bug::KillMainOnly) {
            let _ = sys::pidfd_signal(self.task.as_fd(), Signal::SIGKILL);
            return;
        }
        if let Some(init) = self.pids.init {
            // It is an unreaped child, so the number is still its own. The kernel ends its whole namespace.
            let _ = kill(Pid::from_raw(init.pid as i32), Signal::SIGKILL);
        }
        if let Some(group) = &self.spec.group {
            group.kill(Duration::from_secs(2));
        }
        // The orphans of those that die become children of the shim, hence again until none is left.
        for _ in 0..1000 {
            if self.pids.init.is_some() || self.signal_descendants(Signal::SIGKILL) == 0 {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The main process ended: nothing of the task stays behind it.
    fn finish(&mut self) -> Ended {
        let status = waitpid(Pid::from_raw(self.pids.task.pid as i32), None);
        self.kill_all();
        if let Some(init) = self.pids.init {
            let _ = waitpid(Pid::from_raw(init.pid as i32), None);
        }
        // Nobody is left who could write; who is told of the end finds all of it.
        self.logs.take(true);
        let mut ended = match status {
            Ok(WaitStatus::Exited(_, code)) => Ended { code: Some(code), ..Ended::default() },
            Ok(WaitStatus::Signaled(_, signal, _)) => Ended { signal: Some(signal as i32), ..Ended::default() },
            other => Ended { message: Some(format!("unexpected status: {other:?}")), ..Ended::default() },
        };
        // A task that survived the death of one of its children and ended well was not ended by it.
        let group = self.spec.group.as_ref();
        let killed = group.is_some_and(|group| group.oom_kills() > 0) && !is_planted(Bug::MemoryKillUnread);
        if ended.code != Some(0) && killed {
            ended.out_of_memory = true;
            ended.message = Some("memory limit exceeded".to_string());
        }
        ended
    }
}

/// Ends what a dead shim left behind and says what is known of it. For an agent that came back.
pub(crate) fn clean_up_after(spec: &Spec, dir: &Path) {
    if let Some(pids) = records::read::<Pids>(dir, records::PID) {
        for process in pids.init.iter().chain([&pids.task]) {
            if let Ok(handle) = process.open() {
                let _ = sys::pidfd_signal(handle.as_fd(), Signal::SIGKILL);
            }
        }
    }
    if let Some(group) = &spec.group {
        group.kill(Duration::from_secs(2));
    }
    let _ = fs::remove_file(dir.join(records::KILL));
}

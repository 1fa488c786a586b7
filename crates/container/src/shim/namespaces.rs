//! The namespaces of a task: its own processes, mounts and System V objects.
//!
//! The first process of a PID namespace ignores signals that it has no handler for, and all others die
//! with it. So the task is not that process: an init of ours is, which only reaps, and whose death ends
//! all that the task started.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    fcntl::OFlag,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{prctl, signal::Signal, wait::waitpid},
    unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, pause, pipe2},
};

use crate::{
    records::{Bind, Spec},
    sys,
};

/// The first process of the namespaces.
pub(super) struct Init {
    pid: u32,
    handle: OwnedFd,
}

impl Init {
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }
}

impl AsFd for Init {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Makes the namespaces; from here on this process's children are born into the PID namespace. `None`
/// where the host does not allow it, which is then among the warnings.
pub(super) fn enter(spec: &Spec, warnings: &mut Vec<String>) -> Result<Option<Init>, String> {
    if !spec.namespaces {
        return without(spec, "turned off");
    }
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWPID) {
        warnings.push(format!("no own PID, mount and IPC namespaces: {}", errno.desc()));
        return without(spec, errno.desc());
    }
    let failed = |error: &dyn std::fmt::Display| format!("cannot make namespaces: {error}");
    let (mut answer, ask) = pipe2(OFlag::O_CLOEXEC)
        .map(|(read, write)| (File::from(read), File::from(write)))
        .map_err(|error| failed(&error))?;
    match sys::fork().map_err(|error| failed(&error))? {
        ForkResult::Child => {
            drop(answer);
            init(spec, ask)
        }
        ForkResult::Parent { child } => {
            drop(ask);
            let mut text = String::new();
            let _ = answer.read_to_string(&mut text);
            match text.strip_prefix("ok") {
                Some(warning) => {
                    warnings.extend((!warning.is_empty()).then(|| warning.to_string()));
                    let pid = child.as_raw() as u32;
                    let handle = sys::pidfd_open(pid).map_err(|error| failed(&error))?;
                    Ok(Some(Init { pid, handle }))
                }
                None => {
                    let _ = waitpid(child, None);
                    Err(failed(&if text.is_empty() { "their first process died" } else { &text }))
                }
            }
        }
    }
}

fn without(spec: &Spec, why: &str) -> Result<Option<Init>, String> {
    match spec.binds.first() {
        Some(bind) => Err(format!("cannot mount {}: no mount namespace ({why})", bind.to.display())),
        None => Ok(None),
    }
}

/// The life of the first process: mount, say so, reap.
fn init(spec: &Spec, mut tell: File) -> ! {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = prctl::set_name(c"mesos-init");
    // The agent's pipe must not be held open by anybody but the shim.
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = (dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null));
    }
    let text = match mounts(&spec.binds) {
        Ok(warning) => format!("ok{warning}"),
        Err(error) => error,
    };
    let failed = !text.starts_with("ok");
    let _ = tell.write_all(text.as_bytes());
    drop(tell);
    if failed {
        std::process::exit(1);
    }
    loop {
        // Orphans of the task come here. With all signals blocked, `waitpid` is the only thing that wakes;
        // without children it fails at once, and then there is nothing to do until one is handed over.
        if waitpid(None, None).is_err() {
            wait_for_orphans();
        }
    }
}

/// Sleeps until a child ends. SIGCHLD is blocked as all others are, so it is waited for by name.
fn wait_for_orphans() {
    let mut child = nix::sys::signal::SigSet::empty();
    child.add(Signal::SIGCHLD);
    if child.wait().is_err() {
        pause();
    }
}

/// Gives this process its own mounts, the volumes among them. The text is a warning.
fn mounts(binds: &[Bind]) -> Result<String, String> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC).map_err(|errno| errno.desc().to_string())?;
    // What is mounted here must not show outside, while what the host mounts later may show here.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .map_err(|errno| format!("/: {}", errno.desc()))?;
    for bind in binds {
        bind_volume(bind).map_err(|error| format!("volume {}: {error}", bind.to.display()))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let warning = match mount(Some("proc"), "/proc", Some("proc"), flags, none) {
        Ok(()) => String::new(),
        Err(errno) => format!("/proc shows the host's processes: {}", errno.desc()),
    };
    Ok(warning)
}

fn bind_volume(bind: &Bind) -> Result<(), String> {
    let none = None::<&str>;
    if !bind.to.exists() {
        fs::create_dir_all(&bind.to).map_err(|error| error.to_string())?;
    }
    let told = |errno: nix::errno::Errno| format!("{}: {}", bind.from.display(), errno.desc());
    mount(Some(&bind.from), &bind.to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).map_err(told)?;
    if bind.read_only {
        // A bind mount takes its flags only when it is mounted again.
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, &bind.to, none, flags, none).map_err(told)?;
    }
    Ok(())
}

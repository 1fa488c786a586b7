//! From a fresh child to `exec`: cgroup, namespaces, files, user, program.

use std::{
    ffi::CString,
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sched::{CloneFlags, setns},
    sys::{
        prctl,
        signal::Signal,
        stat::{Mode, umask},
        wait::waitpid,
    },
    unistd::{
        ForkResult, Gid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, pipe2, setgid, setgroups, setsid,
        setuid,
    },
};

use super::log::Ends;
use crate::{
    cgroup::Group,
    records::{Identity, Program, Spec},
    sys,
};

/// Where programs are looked for if the task's environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a child needs to become a program of the container.
pub(super) struct Child<'a> {
    pub program: &'a Program,
    pub sandbox: &'a Path,
    pub group: Option<&'a Group>,
    /// The first process of the namespaces to go to.
    pub namespaces: Option<BorrowedFd<'a>>,
    /// Where output goes, if it does not go nowhere.
    pub output: Option<&'a Ends>,
}

/// Starts the task and returns once its program runs. The error says what is wrong with it.
pub(super) fn start(spec: &Spec, namespaces: Option<BorrowedFd<'_>>, output: &Ends) -> Result<(u32, OwnedFd), String> {
    let output = Some(output);
    Child { program: &spec.program, sandbox: &spec.sandbox, group: spec.group.as_ref(), namespaces, output }.spawn()
}

impl Child<'_> {
    /// Forks, and waits until `exec` has closed the pipe or the child has told its error through it.
    pub(super) fn spawn(&self) -> Result<(u32, OwnedFd), String> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| format!("cannot start: {}", errno.desc()))?;
        match sys::fork().map_err(|error| format!("cannot start: {error}"))? {
            ForkResult::Child => {
                drop(read);
                let Err(error) = self.become_program();
                let _ = File::from(write).write_all(error.as_bytes());
                std::process::exit(127)
            }
            ForkResult::Parent { child } => {
                drop(write);
                let mut error = String::new();
                let _ = File::from(read).read_to_string(&mut error);
                if error.is_empty() {
                    let pid = child.as_raw() as u32;
                    let handle = sys::pidfd_open(pid).map_err(|error| format!("cannot start: {error}"))?;
                    Ok((pid, handle))
                } else {
                    let _ = waitpid(child, None);
                    Err(error)
                }
            }
        }
    }

    fn become_program(&self) -> Result<std::convert::Infallible, String> {
        if let Some(group) = self.group {
            group.join().map_err(|error| format!("cannot join the cgroup: {error}"))?;
        }
        if let Some(init) = self.namespaces {
            setns(init, CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC)
                .map_err(|errno| format!("cannot enter the namespaces: {}", errno.desc()))?;
        }
        let _ = setsid();
        umask(Mode::from_bits_truncate(0o022));
        self.redirect()?;
        if let Some(identity) = &self.program.identity {
            switch(identity).map_err(|errno| format!("cannot switch to user {}: {}", identity.uid, errno.desc()))?;
        }
        // After the switch, which clears it: the task must not outlive the one who records its end.
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        // The agent does without huge pages, and a task would inherit that.
        let _ = prctl::set_thp_disable(false);
        let _ = prctl::set_no_new_privs();
        chdir(self.sandbox).map_err(|errno| format!("sandbox {}: {}", self.sandbox.display(), errno.desc()))?;
        sys::close_others_on_exec();
        sys::reset_signals();
        run(self.program)
    }

    fn redirect(&self) -> Result<(), String> {
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| format!("/dev/null: {error}"))?;
        let (stdout, stderr) = match self.output {
            Some(ends) => (ends.stdout.as_fd(), ends.stderr.as_fd()),
            None => (null.as_fd(), null.as_fd()),
        };
        dup2_stdin(&null)
            .and_then(|()| dup2_stdout(stdout))
            .and_then(|()| dup2_stderr(stderr))
            .map_err(|errno| errno.desc().to_string())
    }
}

fn switch(identity: &Identity) -> nix::Result<()> {
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    setgid(Gid::from_raw(identity.gid))?;
    setuid(Uid::from_raw(identity.uid))
}

/// Replaces this process. As `execvpe`, but with the task's own `PATH` and an error that names the file.
fn run(program: &Program) -> Result<std::convert::Infallible, String> {
    let bad = |_| "the command holds a NUL byte".to_string();
    let argv: Vec<CString> =
        program.argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>().map_err(bad)?;
    let environment: Vec<CString> = program
        .environment
        .iter()
        .map(|(key, value)| CString::new(format!("{key}={value}")))
        .collect::<Result<_, _>>()
        .map_err(bad)?;
    let mut worst = Errno::ENOENT;
    for path in candidates(program) {
        let file = CString::new(path.as_os_str().as_encoded_bytes()).map_err(bad)?;
        let Err(errno) = execve(&file, &argv, &environment);
        match errno {
            Errno::ENOENT if path.exists() => {
                return Err(format!("the interpreter of {} is missing", path.display()));
            }
            Errno::ENOENT | Errno::ENOTDIR => {}
            // A script without its first line, which shells run all the same.
            Errno::ENOEXEC => {
                let mut words = vec![c"sh".to_owned(), file];
                words.extend(argv.iter().skip(1).cloned());
                let Err(errno) = execve(c"/bin/sh", &words, &environment);
                worst = errno;
            }
            errno => worst = errno,
        }
    }
    Err(match worst {
        Errno::ENOENT => format!("no such file: {}", program.file),
        Errno::EACCES => format!("permission denied: {}", program.file),
        errno => format!("cannot run {}: {}", program.file, errno.desc()),
    })
}

fn candidates(program: &Program) -> Vec<PathBuf> {
    if program.file.contains('/') {
        return vec![PathBuf::from(&program.file)];
    }
    let path = program.environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    path.split(':').map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(&program.file)).collect()
}

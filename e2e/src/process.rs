//! One child process with a log file, its signals, and what it leaves behind.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait::eventually_some;

/// What to start; the same for the first start and every restart.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name by which a test speaks of it, for example `allocator-0`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables on top of the test's own environment.
    pub env: BTreeMap<String, String>,
    /// Standard output and error are appended here.
    pub log: PathBuf,
}

impl Spec {
    /// The same in a network namespace. Needs root.
    pub fn within(mut self, namespace: &Path) -> Spec {
        // It becomes the program: the process id is that of the one which is started.
        let program = std::mem::replace(&mut self.program, PathBuf::from("nsenter"));
        let before = [format!("--net={}", namespace.display()), program.display().to_string()];
        self.args.splice(0..0, before);
        self
    }
}

/// A child in a process group of its own. Dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts the program.
    pub fn start(spec: Spec) -> Result<Self> {
        let child = spawn(&spec)?;
        Ok(Self { spec, child, status: None })
    }

    /// What was started.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Changes what the next restart starts, for example an added option.
    pub fn spec_mut(&mut self) -> &mut Spec {
        &mut self.spec
    }

    /// The process id; that of the last start once it is over.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, once it is over.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Fails with the end of its log when the process is over.
    pub fn must_run(&mut self) -> Result<()> {
        match self.status()? {
            None => Ok(()),
            Some(status) => bail!("{} is over ({status}):\n{}", self.spec.name, self.log_tail(30)),
        }
    }

    /// Sends a signal to the process alone, as an operator would. Fails when it is over.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.must_run()?;
        kill(raw_pid(&self.child), signal).with_context(|| format!("{signal} to {}", self.spec.name))
    }

    /// SIGKILL to the process alone, and waits until it is gone. Processes that detached themselves,
    /// such as tasks, live on.
    pub fn kill_9(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.status = Some(self.child.wait()?);
        Ok(())
    }

    /// Waits until it is over.
    pub async fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.spec.name);
        eventually_some(timeout, &what, async || self.status()).await
    }

    /// SIGTERM, and waits until it is over.
    pub async fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(timeout).await
    }

    /// Starts it again with the same name, arguments and log file; kills it first if it still runs.
    pub fn restart(&mut self) -> Result<()> {
        self.end();
        self.child = spawn(&self.spec)?;
        self.status = None;
        Ok(())
    }

    /// All it wrote since its first start.
    pub fn log(&self) -> String {
        fs::read(&self.spec.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines it wrote.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log(), lines)
    }

    /// Kills the whole group and collects the exit status.
    fn end(&mut self) {
        if matches!(self.status(), Ok(None)) {
            // A paused process dies of SIGKILL too.
            let _ = killpg(raw_pid(&self.child), Signal::SIGKILL);
            self.status = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A short word for how a process ended: `exit 0`, `signal 9`.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Whether every thread of a process has stopped. SIGSTOP is on its way for a moment, in which a process
/// may still answer.
pub fn has_stopped(pid: u32) -> Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        if !stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Kills what processes of a test left behind: every process, in whatever session, whose working
/// directory, arguments or environment name `directory`, which is unique to the test.
pub fn sweep(directory: &Path) {
    let Some(needle) = directory.to_str() else {
        return;
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != std::process::id())) else {
            continue;
        };
        if names(&entry.path(), needle) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Whether the process at `/proc/<pid>` names `needle`.
fn names(proc: &Path, needle: &str) -> bool {
    let contains =
        |file: &str| fs::read(proc.join(file)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(needle));
    let lives_there = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(needle));
    lives_there || contains("cmdline") || contains("environ")
}

fn spawn(spec: &Spec) -> Result<Child> {
    let log = open_log(&spec.log)?;
    let errors = log.try_clone()?;
    Command::new(&spec.program)
        .args(&spec.args)
        .envs(&spec.env)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // A group of its own: a test's end takes helpers of the process with it, and Ctrl-C in a
        // terminal reaches the test first.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} did not start ({})", spec.name, spec.program.display()))
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("{} is not writable", path.display()))
}

fn raw_pid(child: &Child) -> Pid {
    // Linux process ids are below 2^22.
    Pid::from_raw(child.id().cast_signed())
}

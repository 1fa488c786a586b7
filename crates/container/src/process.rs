//! Tasks as processes of this host, each behind a shim.
//!
//! # Layout
//! - `process`: the containerizer: launch, wait, kill, update, exec, destroy.
//! - `process/prepare`: from a `ContainerSpec` to a runtime directory with a shim started in it.
//! - `process/recover`: finding the containers of an agent that was away.

mod prepare;
mod recover;

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::containerizer::{
    Command, ContainerError, ContainerSpec, Containerizer, Exit, Limits, Recovered, Running, Usage,
};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::Child,
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::timeout,
};
use tracing::warn;

use crate::{
    cgroup::{self, Hierarchy},
    records::{self, Ended, ExecReport, ExecRequest, Kill, Pids, Report, Spec},
    shim, sys,
};

/// How large each of a task's two logs may become, where nobody says otherwise.
pub const DEFAULT_LOG_BYTES: u64 = 64 << 20;

/// How tasks are run on this host.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Holds one directory per container. It survives the agent, and is the same after a restart.
    pub runtime_dir: PathBuf,
    /// The command that is the shim; the runtime directory is its last argument. By default this binary
    /// with `shim`, for which its `main` calls [`shim::from_args`](crate::shim::from_args).
    pub shim: Vec<OsString>,
    /// Where the cgroups are; `None` enforces nothing.
    pub cgroup_root: Option<PathBuf>,
    /// The parent of all containers' cgroups.
    pub cgroup_parent: String,
    /// Whether tasks get their own PID, mount and IPC namespaces.
    pub namespaces: bool,
    /// How large a task's `stdout` and its `stderr` may become; then it goes on in a new one, and the one
    /// before is kept as `stdout.1`. 0 is without a bound.
    pub log_bytes: u64,
}

impl ProcessOptions {
    /// All that the host allows, with the runtime directories at this place.
    pub fn new(runtime_dir: impl Into<PathBuf>) -> ProcessOptions {
        ProcessOptions {
            runtime_dir: runtime_dir.into(),
            shim: vec!["/proc/self/exe".into(), "shim".into()],
            cgroup_root: Some(cgroup::DEFAULT_ROOT.into()),
            cgroup_parent: "mesos".into(),
            namespaces: true,
            log_bytes: DEFAULT_LOG_BYTES,
        }
    }
}

/// Runs tasks as processes.
pub struct ProcessContainerizer {
    host: Arc<Host>,
}

/// What all containers of one containerizer share.
struct Host {
    options: ProcessOptions,
    cgroups: Option<Hierarchy>,
    warnings: Vec<String>,
    containers: Mutex<HashMap<String, Arc<Container>>>,
    /// A burst of launches is started a few at a time: more at once would only make each of them late.
    starting: Semaphore,
}

#[derive(Clone, Debug)]
enum State {
    Starting,
    Running(Running),
    Ended(Exit),
    Failed(Failure),
}

/// A launch error that can be told more than once.
#[derive(Clone, Debug)]
enum Failure {
    Invalid(String),
    Launch(String),
}

impl From<Failure> for ContainerError {
    fn from(failure: Failure) -> ContainerError {
        match failure {
            Failure::Invalid(text) => ContainerError::Invalid(text),
            Failure::Launch(text) => ContainerError::Launch(text),
        }
    }
}

struct Container {
    id: String,
    dir: PathBuf,
    /// Signals the shim and nobody else; set before it is said to run.
    shim: OnceLock<OwnedFd>,
    state: watch::Sender<State>,
}

impl Container {
    fn new(id: &str, dir: PathBuf, state: State) -> Container {
        Container { id: id.to_string(), dir, shim: OnceLock::new(), state: watch::Sender::new(state) }
    }

    /// Waits until a condition on the state holds and gives that state.
    async fn reaches(&self, condition: impl FnMut(&State) -> bool) -> State {
        let mut states = self.state.subscribe();
        // The sender lives in `self`, so it cannot be closed meanwhile.
        let found = states.wait_for(condition).await.map(|state| state.clone());
        found.unwrap_or_else(|_| State::Failed(Failure::Launch("it was forgotten".into())))
    }

    fn signal_shim(&self, signal: Signal) -> bool {
        self.shim.get().is_some_and(|shim| sys::pidfd_signal(shim.as_fd(), signal).is_ok())
    }

    /// Waits until the shim is gone.
    async fn shim_ends(&self) {
        // A copy of the handle, as one descriptor cannot be watched twice.
        let copy = self.shim.get().and_then(|shim| shim.try_clone().ok());
        if let Some(watched) = copy.and_then(|copy| sys::watch(copy).ok()) {
            // A handle on a process is readable once the process has ended.
            let _ = watched.readable().await;
        }
    }

    /// Leaves the request for the shim and wakes it. The shim keeps the time, so that the grace period
    /// ends even if this agent does.
    fn request_kill(&self, grace: Duration) -> std::io::Result<()> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let written = records::write(&self.dir, records::KILL, &Kill { grace_ms });
        // A disk that is full must not keep a task alive, which may be the one that has filled it: without a
        // request the shim gives no grace.
        if self.signal_shim(Signal::SIGUSR1) { Ok(()) } else { written }
    }
}

impl ProcessContainerizer {
    /// Looks at what the host allows. What it does not is told once in the log and with each task.
    pub fn new(options: ProcessOptions) -> Result<ProcessContainerizer, ContainerError> {
        fs::create_dir_all(&options.runtime_dir).map_err(|error| {
            ContainerError::Unavailable(format!("cannot make {}: {error}", options.runtime_dir.display()))
        })?;
        let mut warnings = Vec::new();
        let cgroups = match &options.cgroup_root {
            None => None,
            Some(root) => match Hierarchy::detect(root, &options.cgroup_parent) {
                Ok(found) => {
                    warnings.extend_from_slice(found.warnings());
                    Some(found)
                }
                Err(why) => {
                    warnings.push(format!("no resource limits are enforced: {why}"));
                    None
                }
            },
        };
        for warning in &warnings {
            warn!(warning, "tasks run as plain processes in this respect");
        }
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(ProcessContainerizer {
            host: Arc::new(Host {
                options,
                cgroups,
                warnings,
                containers: Mutex::default(),
                starting: Semaphore::new(cores * 2),
            }),
        })
    }

    fn find(&self, id: &str) -> Result<Arc<Container>, ContainerError> {
        self.host.containers().get(id).cloned().ok_or_else(|| ContainerError::Unknown(id.to_string()))
    }
}

impl Host {
    fn containers(&self) -> MutexGuard<'_, HashMap<String, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dir(&self, id: &str) -> PathBuf {
        self.options.runtime_dir.join(id)
    }

    /// The life of a container that this agent starts.
    async fn run(self: Arc<Host>, container: Arc<Container>, spec: ContainerSpec) {
        let permit = self.starting.acquire().await;
        let (host, dir) = (self.clone(), container.dir.clone());
        let started = spawn_blocking(move || host.start_shim(&dir, spec)).await;
        let child = started.unwrap_or_else(|error| Err(Failure::Launch(error.to_string())));
        let mut child = match child {
            Ok(child) => child,
            Err(failure) => return self.fail(&container, failure).await,
        };
        // The child is not reaped before this function does it, so the number is still its own.
        if let Some(handle) = child.id().and_then(|pid| sys::pidfd_open(pid).ok()) {
            let _ = container.shim.set(handle);
        }
        let Some(stdout) = child.stdout.take() else {
            return self.fail(&container, Failure::Launch("the shim has no output".into())).await;
        };
        let mut lines = BufReader::new(stdout).lines();
        let mut permit = Some(permit);
        let mut running = false;
        while let Ok(Some(line)) = lines.next_line().await {
            match serde_json::from_str(&line) {
                Ok(Report::Running(pids)) => {
                    drop(permit.take());
                    running = true;
                    container.state.send_replace(State::Running(as_running(&pids)));
                }
                Ok(Report::Failed(text)) => {
                    let _ = child.wait().await;
                    return self.fail(&container, Failure::Launch(text)).await;
                }
                Ok(Report::Exited(ended)) => {
                    container.state.send_replace(State::Ended(ended.into()));
                    let _ = child.wait().await;
                    return;
                }
                Err(error) => {
                    warn!(container_id = container.id, %error, line, "unknown report of a shim")
                }
            }
        }
        let status = child.wait().await;
        if running {
            self.bury(&container).await;
        } else {
            let text = match status {
                Ok(status) => format!("the shim {:?} ended at once: {status}", self.options.shim),
                Err(error) => format!("the shim ended at once: {error}"),
            };
            self.fail(&container, Failure::Launch(text)).await;
        }
    }

    /// The life of a container that an earlier agent started.
    async fn follow(self: Arc<Host>, container: Arc<Container>) {
        container.shim_ends().await;
        self.bury(&container).await;
    }

    /// The shim is gone: its last word counts, and without one the container is lost.
    async fn bury(self: &Arc<Host>, container: &Arc<Container>) {
        let (host, dir) = (self.clone(), container.dir.clone());
        let ended = spawn_blocking(move || host.last_word(&dir, "its shim was killed")).await;
        let ended = ended.unwrap_or_else(|error| Ended { message: Some(error.to_string()), ..Ended::default() });
        container.state.send_replace(State::Ended(ended.into()));
    }

    /// How a container without a shim ended. Blocks.
    fn last_word(&self, dir: &Path, otherwise: &str) -> Ended {
        if let Some(ended) = records::read(dir, records::EXIT).filter(|_| !is_planted(Bug::LastWordUnread)) {
            return ended;
        }
        if let Some(spec) = records::read::<Spec>(dir, records::SPEC) {
            shim::clean_up_after(&spec, dir);
        }
        let ended = Ended { message: Some(otherwise.to_string()), ..Ended::default() };
        if let Err(error) = records::write_durably(dir, records::EXIT, &ended) {
            warn!(dir = %dir.display(), %error, "cannot keep how a container ended");
        }
        ended
    }

    async fn fail(self: &Arc<Host>, container: &Arc<Container>, failure: Failure) {
        let (host, id) = (self.clone(), container.id.clone());
        let _ = spawn_blocking(move || host.remove(&id)).await;
        self.containers().remove(&container.id);
        container.state.send_replace(State::Failed(failure));
    }

    /// Removes cgroup and runtime directory of a container that has no process any more. Blocks.
    fn remove(&self, id: &str) -> std::io::Result<()> {
        if let Some(cgroups) = &self.cgroups {
            let group = cgroups.group(id);
            if group.exists() {
                group.kill(Duration::from_secs(2));
                group.delete()?;
            }
        }
        match fs::remove_dir_all(self.dir(id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn as_running(pids: &Pids) -> Running {
    Running { pid: Some(pids.task.pid), addresses: Vec::new(), warnings: pids.warnings.clone() }
}

#[async_trait]
impl Containerizer for ProcessContainerizer {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn launch(&self, spec: ContainerSpec) -> Result<Running, ContainerError> {
        prepare::check_id(&spec.container_id)?;
        let container = {
            let mut containers = self.host.containers();
            match containers.get(&spec.container_id) {
                Some(container) => container.clone(),
                None => {
                    let id = spec.container_id.clone();
                    let container = Arc::new(Container::new(&id, self.host.dir(&id), State::Starting));
                    containers.insert(id, container.clone());
                    // In a task of its own: a caller who goes away must not leave half a container.
                    tokio::spawn(self.host.clone().run(container.clone(), spec));
                    container
                }
            }
        };
        match container.reaches(|state| !matches!(state, State::Starting)).await {
            State::Running(running) => Ok(running),
            State::Failed(failure) => Err(failure.into()),
            State::Ended(_) | State::Starting => Ok(Running::default()),
        }
    }

    async fn wait(&self, container_id: &str) -> Result<Exit, ContainerError> {
        let container = self.find(container_id)?;
        match container.reaches(|state| matches!(state, State::Ended(_) | State::Failed(_))).await {
            State::Ended(exit) => Ok(exit),
            State::Failed(failure) => Err(failure.into()),
            State::Starting | State::Running(_) => Err(ContainerError::Unknown(container_id.to_string())),
        }
    }

    async fn kill(&self, container_id: &str, grace: Duration) -> Result<(), ContainerError> {
        let container = self.find(container_id)?;
        if let State::Running(_) = container.reaches(|state| !matches!(state, State::Starting)).await {
            container.request_kill(grace).map_err(|error| {
                ContainerError::Unavailable(format!("cannot write to {}: {error}", container.dir.display()))
            })?;
        }
        Ok(())
    }

    async fn update(&self, container_id: &str, limits: Limits) -> Result<(), ContainerError> {
        self.find(container_id)?;
        let Some(cgroups) = &self.host.cgroups else {
            return Ok(());
        };
        let group = cgroups.group(container_id);
        let applied = spawn_blocking(move || group.apply(&limits)).await;
        let applied = applied.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        applied.map_err(|error| ContainerError::Launch(format!("cannot change the limits: {error}")))
    }

    async fn usage(&self, container_id: &str) -> Result<Option<Usage>, ContainerError> {
        let container = self.find(container_id)?;
        // What has ended uses nothing, and holds nothing either.
        let running = matches!(*container.state.borrow(), State::Running(_));
        let Some(cgroups) = self.host.cgroups.as_ref().filter(|_| running) else { return Ok(None) };
        let group = cgroups.group(container_id);
        Ok(spawn_blocking(move || group.usage()).await.unwrap_or_default())
    }

    async fn exec(&self, container_id: &str, command: Command, limit: Duration) -> Result<i32, ContainerError> {
        let container = self.find(container_id)?;
        let failed = |error: &dyn std::fmt::Display| ContainerError::Launch(format!("cannot run the command: {error}"));
        let spec: Spec = records::read(&container.dir, records::SPEC).ok_or_else(|| failed(&"the spec is gone"))?;
        let mut program = prepare::program(&command)?;
        if command.user.is_none() {
            program.identity = spec.program.identity;
        }
        for (key, value) in spec.program.environment {
            program.environment.entry(key).or_insert(value);
        }
        let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let request = serde_json::to_vec(&ExecRequest { program, timeout_ms }).map_err(|error| failed(&error))?;
        let mut child = prepare::shim_command(&self.host.options.shim)
            .arg("exec")
            .arg(&container.dir)
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        let answer = timeout(limit.saturating_add(Duration::from_secs(2)), ask(&mut child, &request)).await;
        match answer.map(|answer| serde_json::from_slice(&answer)) {
            Ok(Ok(ExecReport::Code(code))) => Ok(code),
            Ok(Ok(ExecReport::Failed(error))) => Err(failed(&error)),
            Ok(Ok(ExecReport::TimedOut)) | Err(_) => {
                Err(ContainerError::Launch(format!("the command timed out after {limit:?}")))
            }
            Ok(Err(error)) => Err(failed(&error)),
        }
    }

    async fn recover(&self, agent_id: &str) -> Result<Vec<Recovered>, ContainerError> {
        let (host, agent_id) = (self.host.clone(), agent_id.to_string());
        let found = spawn_blocking(move || host.scan(&agent_id)).await;
        let found = found.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let found = found.map_err(|error| {
            ContainerError::Unavailable(format!("cannot read {}: {error}", self.host.options.runtime_dir.display()))
        })?;
        Ok(found.into_iter().map(|found| self.adopt(found)).collect())
    }

    async fn destroy(&self, container_id: &str) -> Result<(), ContainerError> {
        prepare::check_id(container_id)?;
        if let Ok(container) = self.find(container_id) {
            let state = container.reaches(|state| !matches!(state, State::Starting)).await;
            if let State::Running(_) = state {
                let _ = container.request_kill(Duration::ZERO);
                let ended = container.reaches(|state| matches!(state, State::Ended(_)));
                if timeout(Duration::from_secs(10), ended).await.is_err() {
                    // Its init and its task die with it.
                    container.signal_shim(Signal::SIGKILL);
                    container.reaches(|state| matches!(state, State::Ended(_))).await;
                }
            }
            // It may still be writing the exit that nobody is going to read.
            container.signal_shim(Signal::SIGKILL);
            let _ = timeout(Duration::from_secs(5), container.shim_ends()).await;
        } else if !self.host.dir(container_id).exists() {
            return Ok(());
        }
        let (host, id) = (self.host.clone(), container_id.to_string());
        let removed = spawn_blocking(move || host.remove(&id).or_else(|_| host.remove(&id))).await;
        let removed = removed.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        removed.map_err(|error| ContainerError::Unavailable(format!("cannot remove {container_id}: {error}")))?;
        self.host.containers().remove(container_id);
        Ok(())
    }
}

/// Hands the request over and reads all that is answered.
async fn ask(child: &mut Child, request: &[u8]) -> Vec<u8> {
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(request).await;
    }
    let mut answer = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.read_to_end(&mut answer).await;
    }
    let _ = child.wait().await;
    answer
}

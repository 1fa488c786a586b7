//! Tasks as Docker containers, through the daemon's API.
//!
//! A container is named `mesos-<container id>` and carries its ids as labels, so that an agent finds it
//! again. As in Mesos, the task's user is the image's (or the parameter `user`), its working directory
//! is the image's (or `workdir`), and the sandbox is mounted into it.
//!
//! # Layout
//! - `docker`: the containerizer.
//! - `docker/spec`: from a `ContainerSpec` to the body of a create call.
//! - `docker/parameters`: the options of `docker run` that pass through.
//! - `docker/follow`: the end and the output of a running container.

mod follow;
mod parameters;
mod spec;

use std::{
    collections::HashMap,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    exec::{CreateExecOptions, StartExecResults},
    models::{
        ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
        ContainerUpdateBody,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::containerizer::{
    Command, ContainerError, ContainerSpec, Containerizer, DockerSpec, Exit, Limits, Recovered, Running,
};
use nix::sys::signal::Signal;
use tokio::{
    sync::{OnceCell, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{procfs::Process, sys};

pub(crate) const LABEL_AGENT: &str = "mesos.agent_id";
pub(crate) const LABEL_FRAMEWORK: &str = "mesos.framework_id";
pub(crate) const LABEL_TASK: &str = "mesos.task_id";
pub(crate) const LABEL_CONTAINER: &str = "mesos.container_id";
pub(crate) const LABEL_SANDBOX: &str = "mesos.sandbox";
/// Sizes of the sandbox's `stdout` and `stderr` before the container wrote to them.
pub(crate) const LABEL_LOG_BASE: &str = "mesos.log_base";

/// How long the daemon may take to say that it is there.
const PING_MAX: Duration = Duration::from_secs(10);
/// How long to leave a registry alone that is asked too much: at first, and doubled to less than the other.
const PULL_PAUSE: Duration = Duration::from_secs(1);
const PULL_PAUSE_END: Duration = Duration::from_secs(8);
/// How many containers are looked at side by side after a restart.
const RECOVER_AT_ONCE: usize = 16;

/// Where the daemon is and how long it may take.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// `unix:///path` or `tcp://host:port`.
    pub host: String,
    /// For one call that is not a pull.
    pub call_timeout: Duration,
    /// For one pull.
    pub pull_timeout: Duration,
    /// The work directory of the agent: what has its sandbox below it belongs to this agent, or to one that
    /// was here before.
    pub work_dir: Option<PathBuf>,
    /// How large a task's `stdout` and its `stderr` may become; 0 is without a bound.
    pub log_bytes: u64,
}

impl Default for DockerOptions {
    fn default() -> Self {
        DockerOptions {
            host: "unix:///var/run/docker.sock".into(),
            call_timeout: Duration::from_secs(60),
            pull_timeout: Duration::from_secs(600),
            work_dir: None,
            log_bytes: crate::process::DEFAULT_LOG_BYTES,
        }
    }
}

/// Runs tasks in Docker.
pub struct DockerContainerizer {
    shared: Arc<Shared>,
}

struct Shared {
    options: DockerOptions,
    client: OnceCell<Docker>,
    containers: Mutex<HashMap<String, Arc<Container>>>,
}

struct Container {
    id: String,
    /// Ends a launch that is still pulling.
    cancelled: CancellationToken,
    state: watch::Sender<State>,
    /// The shortest grace of a stop that is under way.
    stopping: Mutex<Option<Duration>>,
}

/// A stop of a container that is under way, until it is dropped.
struct Stopping {
    container: Arc<Container>,
    grace: Duration,
}

impl Stopping {
    /// Nothing if one that gives no more time is under way: an order to end is repeated until the task has ended, and
    /// a daemon that is slow already would be busy with nothing but the repeats.
    fn begin(container: &Arc<Container>, grace: Duration) -> Option<Stopping> {
        let mut shortest = container.stopping();
        if shortest.is_some_and(|shortest| shortest <= grace) {
            return None;
        }
        *shortest = Some(grace);
        Some(Stopping { container: container.clone(), grace })
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        let mut shortest = self.container.stopping();
        if *shortest == Some(self.grace) {
            *shortest = None;
        }
    }
}

#[derive(Clone, Debug)]
enum State {
    Starting,
    Running(Running),
    Ended(Exit),
    Failed(Arc<ContainerError>),
}

impl Container {
    fn new(id: &str, state: State) -> Arc<Container> {
        let (cancelled, state) = (CancellationToken::new(), watch::Sender::new(state));
        Arc::new(Container { id: id.into(), cancelled, state, stopping: Mutex::default() })
    }

    fn stopping(&self) -> MutexGuard<'_, Option<Duration>> {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self) -> String {
        name_of(&self.id)
    }

    async fn reaches(&self, condition: impl FnMut(&State) -> bool) -> State {
        let mut states = self.state.subscribe();
        let found = states.wait_for(condition).await.map(|state| state.clone());
        // The sender lives in `self`, so the channel is open.
        found.unwrap_or(State::Starting)
    }
}

fn name_of(id: &str) -> String {
    format!("mesos-{id}")
}

/// The same error once more, for a second one who waits for it.
fn copy(error: &ContainerError) -> ContainerError {
    match error {
        ContainerError::Invalid(text) => ContainerError::Invalid(text.clone()),
        ContainerError::Pull { image, message } => {
            ContainerError::Pull { image: image.clone(), message: message.clone() }
        }
        ContainerError::Launch(text) => ContainerError::Launch(text.clone()),
        ContainerError::Unknown(text) => ContainerError::Unknown(text.clone()),
        ContainerError::Unavailable(text) => ContainerError::Unavailable(text.clone()),
    }
}

/// What the daemon answered if it answered at all.
fn answer(error: &Error) -> Option<(u16, &str)> {
    match error {
        Error::DockerResponseServerError { status_code, message } => Some((*status_code, message)),
        _ => None,
    }
}

/// Whether a registry says that it is asked too often.
fn is_too_many(message: &str) -> bool {
    let message = message.to_lowercase();
    ["toomanyrequests", "too many requests", "429"].iter().any(|word| message.contains(word))
}

fn is_absent(error: &Error) -> bool {
    matches!(answer(error), Some((404, _)))
}

impl DockerContainerizer {
    /// Does not connect yet: the daemon may come later than the agent.
    pub fn new(options: DockerOptions) -> DockerContainerizer {
        DockerContainerizer {
            shared: Arc::new(Shared { options, client: OnceCell::new(), containers: Mutex::default() }),
        }
    }

    /// Asks the daemon whether it is there; for the agent to know whether to offer Docker at all.
    pub async fn ping(&self) -> Result<(), ContainerError> {
        let limit = self.shared.options.call_timeout.min(PING_MAX);
        let ping = async {
            let client = self.shared.client().await?;
            self.shared.call("ping", client.ping()).await?.map(drop).map_err(|error| self.shared.failed(error))
        };
        timeout(limit, ping).await.unwrap_or_else(|_| {
            let host = &self.shared.options.host;
            Err(ContainerError::Unavailable(format!("Docker at {host} did not answer within {limit:?}")))
        })
    }

    /// What a container is to this agent: its id, its labels and whether it runs, or nothing.
    async fn recover_one(
        &self,
        client: &Docker,
        agent_id: &str,
        summary: ContainerSummary,
    ) -> Result<Option<(String, HashMap<String, String>, Option<Running>)>, ContainerError> {
        let labels = summary.labels.unwrap_or_default();
        let Some(id) = labels.get(LABEL_CONTAINER).cloned() else { return Ok(None) };
        if self.shared.containers().contains_key(&id) {
            return Ok(None);
        }
        if labels.get(LABEL_AGENT).is_none_or(|agent| agent != agent_id) {
            let below = |dir: &PathBuf| {
                labels.get(LABEL_SANDBOX).is_some_and(|sandbox| PathBuf::from(sandbox).starts_with(dir.join("slaves")))
            };
            if self.shared.options.work_dir.as_ref().is_some_and(below) && !is_planted(Bug::OrphansKept) {
                // This was the same host before it lost its checkpoint. Nobody counts what the container uses any
                // more, nor would hear how it ends.
                warn!(container_id = id, "removing a container without an owner");
                self.shared.remove(client, &name_of(&id)).await?;
            }
            return Ok(None);
        }
        use ContainerSummaryStateEnum as Is;
        let running = match summary.state {
            Some(Is::CREATED) => {
                // Nothing ran in it, and nobody was told that it would.
                info!(container_id = id, "removing a container that was never started");
                self.shared.remove(client, &name_of(&id)).await?;
                return Ok(None);
            }
            Some(Is::RUNNING | Is::PAUSED | Is::RESTARTING | Is::STOPPING) => {
                Some(self.shared.look(client, &name_of(&id)).await?.0)
            }
            _ => None,
        };
        Ok(Some((id, labels, running)))
    }

    fn find(&self, id: &str) -> Result<Arc<Container>, ContainerError> {
        self.shared.containers().get(id).cloned().ok_or_else(|| ContainerError::Unknown(id.to_string()))
    }
}

impl Shared {
    fn containers(&self) -> MutexGuard<'_, HashMap<String, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn client(&self) -> Result<&Docker, ContainerError> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Docker, ContainerError> {
        // Deadlines are ours, call by call: this one would also cut a long `wait`.
        const NEVER: u64 = 10 * 365 * 24 * 3600;
        let host = &self.options.host;
        let docker = if let Some(address) = host.strip_prefix("tcp://") {
            Docker::connect_with_http(&format!("http://{address}"), NEVER, API_DEFAULT_VERSION)
        } else {
            Docker::connect_with_unix(host, NEVER, API_DEFAULT_VERSION)
        };
        let docker = docker.map_err(|error| self.unreachable(&error))?;
        let docker = self.call("version", docker.negotiate_version()).await?;
        docker.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> ContainerError {
        // The reason is at the end of the chain: `connection refused`, not `client error`.
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(deeper) = source {
            text = deeper.to_string();
            source = deeper.source();
        }
        ContainerError::Unavailable(format!(
            "cannot reach Docker at {}: {text}; is dockerd running?",
            self.options.host
        ))
    }

    /// Puts a deadline on a call.
    async fn call<T>(&self, what: &str, call: impl Future<Output = T>) -> Result<T, ContainerError> {
        if is_planted(Bug::DockerWithoutDeadline) {
            return Ok(call.await);
        }
        let limit = self.options.call_timeout;
        timeout(limit, call).await.map_err(|_| {
            let host = &self.options.host;
            ContainerError::Unavailable(format!("Docker at {host} did not answer `{what}` within {limit:?}"))
        })
    }

    /// What an error means where the daemon's refusal is a failed launch.
    fn failed(&self, error: Error) -> ContainerError {
        match answer(&error) {
            Some((_, message)) => ContainerError::Launch(message.trim().to_string()),
            None => self.unreachable(&error),
        }
    }

    async fn run(self: Arc<Shared>, container: Arc<Container>, spec: ContainerSpec) {
        match self.launch(&container, spec).await {
            Ok((running, sandbox)) => {
                container.state.send_replace(State::Running(running));
                self.follow(container, sandbox).await;
            }
            Err(error) => {
                if error.is_retryable() {
                    // Nobody knows what the daemon has done, or will still do when it goes on.
                    tokio::spawn(self.clone().remove_at_last(container.name()));
                }
                self.containers().remove(&container.id);
                container.state.send_replace(State::Failed(Arc::new(error)));
            }
        }
    }

    async fn launch(
        &self,
        container: &Container,
        spec: ContainerSpec,
    ) -> Result<(Running, follow::Output), ContainerError> {
        let docker = spec.docker.clone();
        let docker = docker.ok_or_else(|| ContainerError::Invalid("the task names no Docker image".into()))?;
        let body = spec::body(&spec, &docker, self.options.log_bytes)?;
        let output = follow::Output::from_labels(body.labels.as_ref(), self.options.log_bytes);
        let client = self.client().await?;
        if docker.force_pull {
            self.pull(container, client, &docker).await?;
        }
        let name = container.name();
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let create = || self.call("create", client.create_container(Some(options.clone()), body.clone()));
        // Most images are there, so the daemon is not asked first.
        let mut created = create().await?;
        if matches!(&created, Err(error) if is_absent(error)) && !docker.force_pull {
            self.pull(container, client, &docker).await?;
            created = create().await?;
        }
        match created {
            Ok(_) => {}
            Err(error) if matches!(answer(&error), Some((409, _))) => {
                return self.launch_again(client, &spec, output).await;
            }
            Err(error) => return Err(self.failed(error)),
        }
        self.start(client, &name).await?;
        Ok((self.look(client, &name).await?.0, output))
    }

    async fn start(&self, client: &Docker, name: &str) -> Result<(), ContainerError> {
        let Err(error) = self.call("start", client.start_container(name, None)).await? else {
            return Ok(());
        };
        if !is_planted(Bug::FailedStartKept)
            && let Err(left) = self.remove(client, name).await
        {
            warn!(name, error = %left, "a container that did not start is still there");
        }
        Err(self.failed(error))
    }

    /// The name is taken: by the same container, which an agent made that died in the middle.
    async fn launch_again(
        &self,
        client: &Docker,
        spec: &ContainerSpec,
        output: follow::Output,
    ) -> Result<(Running, follow::Output), ContainerError> {
        let name = name_of(&spec.container_id);
        let (running, found) = self.look(client, &name).await?;
        let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
        if labels.get(LABEL_CONTAINER) != Some(&spec.container_id) {
            return Err(ContainerError::Launch(format!("another container has the name {name}")));
        }
        info!(name, "found the container there already");
        match found.state.and_then(|state| state.status) {
            Some(ContainerStateStatusEnum::CREATED) => {
                self.start(client, &name).await?;
                Ok((self.look(client, &name).await?.0, output))
            }
            _ => Ok((running, follow::Output::from_labels(Some(&labels), self.options.log_bytes))),
        }
    }

    async fn look(&self, client: &Docker, name: &str) -> Result<(Running, ContainerInspectResponse), ContainerError> {
        let found = self.call("inspect", client.inspect_container(name, None)).await?;
        let found = found.map_err(|error| self.failed(error))?;
        let pid = found.state.as_ref().and_then(|state| state.pid);
        let networks = found.network_settings.iter().filter_map(|settings| settings.networks.as_ref()).flatten();
        let addresses = networks.filter_map(|(_, network)| network.ip_address.as_deref()?.parse().ok());
        let running = Running {
            pid: pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
            addresses: addresses.collect(),
            warnings: Vec::new(),
        };
        Ok((running, found))
    }

    async fn pull(&self, container: &Container, client: &Docker, docker: &DockerSpec) -> Result<(), ContainerError> {
        let image = spec::with_tag(&docker.image);
        let failed = |message: String| ContainerError::Pull { image: docker.image.clone(), message };
        let options = CreateImageOptionsBuilder::new().from_image(&image).build();
        // Errors come in the stream, so it is read to its end.
        let pull = async || {
            let mut progress = client.create_image(Some(options.clone()), None, None);
            while let Some(step) = progress.next().await {
                step.map_err(|error| match answer(&error) {
                    Some((_, message)) => failed(message.trim().to_string()),
                    None => match error {
                        Error::DockerStreamError { error } => failed(error),
                        other => self.unreachable(&other),
                    },
                })?;
            }
            Ok(())
        };
        let pulled = async {
            let mut pause = PULL_PAUSE;
            loop {
                match pull().await {
                    // A registry that has had too many requests must not get more of them at once.
                    Err(ContainerError::Pull { message, .. }) if pause < PULL_PAUSE_END && is_too_many(&message) => {
                        info!(image, message, "the registry refuses for now; trying again");
                        tokio::time::sleep(pause).await;
                        pause *= 2;
                    }
                    done => return done,
                }
            }
        };
        let limit = if is_planted(Bug::PullWithoutDeadline) { Duration::MAX } else { self.options.pull_timeout };
        tokio::select! {
            pulled = timeout(limit, pulled) => {
                pulled.unwrap_or_else(|_| Err(failed(format!("not done within {limit:?}"))))
            }
            () = container.cancelled.cancelled() => {
                Err(ContainerError::Launch("killed while its image was pulled".into()))
            }
        }
    }

    /// Removes a container, running or not; one that is not there is fine.
    async fn remove(&self, client: &Docker, name: &str) -> Result<(), ContainerError> {
        let until = tokio::time::Instant::now() + self.options.call_timeout;
        loop {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match self.call("remove", client.remove_container(name, Some(options))).await? {
                Ok(()) => return Ok(()),
                Err(error) if is_absent(&error) => return Ok(()),
                // Somebody else removes it at this moment, and it is to be gone when this returns.
                Err(error) if matches!(answer(&error), Some((409, _))) && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Removes what may be left of a launch without a known outcome, once the daemon answers again. Twice: the
    /// call that made it may be carried out after the one that removes it.
    async fn remove_at_last(self: Arc<Shared>, name: String) {
        for _ in 0..2 {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let Ok(client) = self.client().await else { continue };
                if self.remove(client, &name).await.is_ok() {
                    break;
                }
            }
        }
    }

    /// Ends a command that runs too long: Docker's API has no call for it.
    async fn end_exec(&self, client: &Docker, exec: &str) {
        let found = self.call("exec inspect", client.inspect_exec(exec)).await;
        let pid = match found {
            Ok(Ok(found)) if found.running == Some(true) => found.pid.and_then(|pid| u32::try_from(pid).ok()),
            _ => None,
        };
        let process = pid.filter(|pid| *pid > 1).and_then(Process::of);
        if let Some(handle) = process.and_then(|process| process.open().ok()) {
            let _ = sys::pidfd_signal(std::os::fd::AsFd::as_fd(&handle), Signal::SIGKILL);
        }
    }
}

#[async_trait]
impl Containerizer for DockerContainerizer {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn health(&self) -> Result<(), ContainerError> {
        self.ping().await
    }

    async fn launch(&self, spec: ContainerSpec) -> Result<Running, ContainerError> {
        let container = {
            let mut containers = self.shared.containers();
            match containers.get(&spec.container_id) {
                Some(container) => container.clone(),
                None => {
                    let container = Container::new(&spec.container_id, State::Starting);
                    containers.insert(spec.container_id.clone(), container.clone());
                    // In a task of its own: a caller who goes away must not leave half a container.
                    tokio::spawn(self.shared.clone().run(container.clone(), spec));
                    container
                }
            }
        };
        match container.reaches(|state| !matches!(state, State::Starting)).await {
            State::Running(running) => Ok(running),
            State::Failed(error) => Err(copy(&error)),
            State::Ended(_) | State::Starting => Ok(Running::default()),
        }
    }

    async fn wait(&self, container_id: &str) -> Result<Exit, ContainerError> {
        let container = self.find(container_id)?;
        match container.reaches(|state| matches!(state, State::Ended(_) | State::Failed(_))).await {
            State::Ended(exit) => Ok(exit),
            State::Failed(error) => Err(copy(&error)),
            State::Starting | State::Running(_) => Err(ContainerError::Unknown(container_id.to_string())),
        }
    }

    /// Docker counts the grace in seconds; a fraction is rounded up.
    async fn kill(&self, container_id: &str, grace: Duration) -> Result<(), ContainerError> {
        let container = self.find(container_id)?;
        container.cancelled.cancel();
        let Some(stopping) = Stopping::begin(&container, grace) else { return Ok(()) };
        let State::Running(_) = container.reaches(|state| !matches!(state, State::Starting)).await else {
            return Ok(());
        };
        let client = self.shared.client().await?.clone();
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let options = StopContainerOptionsBuilder::new().t(seconds).build();
            let limit = shared.options.call_timeout.saturating_add(grace);
            // The daemon keeps the time, so that the grace ends even if this agent does.
            match timeout(limit, client.stop_container(&container.name(), Some(options))).await {
                Ok(Err(error)) if !is_absent(&error) => {
                    warn!(container_id = container.id, %error, "Docker does not stop a container");
                }
                _ => {}
            }
            drop(stopping);
        });
        Ok(())
    }

    async fn update(&self, container_id: &str, limits: Limits) -> Result<(), ContainerError> {
        let container = self.find(container_id)?;
        let client = self.shared.client().await?;
        let host = spec::limits(&limits);
        let body = ContainerUpdateBody {
            cpu_shares: host.cpu_shares,
            cpu_period: host.cpu_period,
            cpu_quota: host.cpu_quota,
            memory: host.memory,
            memory_swap: host.memory_swap,
            pids_limit: host.pids_limit,
            ..ContainerUpdateBody::default()
        };
        let updated = self.shared.call("update", client.update_container(&container.name(), body)).await?;
        updated.map(drop).map_err(|error| self.shared.failed(error))
    }

    async fn exec(&self, container_id: &str, command: Command, limit: Duration) -> Result<i32, ContainerError> {
        let container = self.find(container_id)?;
        let client = self.shared.client().await?;
        let options = CreateExecOptions {
            cmd: Some(spec::exec_words(&command)),
            env: Some(spec::environment(&command)),
            user: command.user.clone(),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let failed = |error| self.shared.failed(error);
        let exec = self.shared.call("exec", client.create_exec(&container.name(), options)).await?.map_err(failed)?;
        let run = async {
            if let StartExecResults::Attached { mut output, .. } = client.start_exec(&exec.id, None).await? {
                while output.next().await.is_some() {}
            }
            Ok::<_, Error>(())
        };
        match timeout(limit, run).await {
            Ok(done) => done.map_err(failed)?,
            Err(_) => {
                self.shared.end_exec(client, &exec.id).await;
                return Err(ContainerError::Launch(format!("the command timed out after {limit:?}")));
            }
        }
        let ended = self.shared.call("exec inspect", client.inspect_exec(&exec.id)).await?.map_err(failed)?;
        let code = ended.exit_code.and_then(|code| i32::try_from(code).ok());
        code.ok_or_else(|| ContainerError::Launch("Docker does not tell the command's exit code".into()))
    }

    async fn recover(&self, agent_id: &str) -> Result<Vec<Recovered>, ContainerError> {
        let client = self.shared.client().await?;
        let filters = HashMap::from([("label".to_string(), vec![LABEL_AGENT.to_string()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.shared.call("list", client.list_containers(Some(options))).await?;
        let listed = listed.map_err(|error| self.shared.failed(error))?;
        let looked = stream::iter(listed).map(|summary| self.recover_one(client, agent_id, summary));
        let looked: Vec<_> = looked.buffer_unordered(RECOVER_AT_ONCE).try_collect().await?;
        let mut found = Vec::new();
        for (id, labels, running) in looked.into_iter().flatten() {
            let container = Container::new(&id, State::Running(running.clone().unwrap_or_default()));
            self.shared.containers().insert(id.clone(), container.clone());
            let output = follow::Output::from_labels(Some(&labels), self.shared.options.log_bytes);
            tokio::spawn(self.shared.clone().follow(container, output));
            found.push(Recovered {
                container_id: id,
                task_id: labels.get(LABEL_TASK).cloned().unwrap_or_default(),
                framework_id: labels.get(LABEL_FRAMEWORK).cloned().unwrap_or_default(),
                running,
            });
        }
        Ok(found)
    }

    async fn destroy(&self, container_id: &str) -> Result<(), ContainerError> {
        if let Ok(container) = self.find(container_id) {
            container.cancelled.cancel();
            container.reaches(|state| !matches!(state, State::Starting)).await;
        }
        let client = self.shared.client().await?;
        self.shared.remove(client, &name_of(container_id)).await?;
        let container = self.shared.containers().remove(container_id);
        if let Some(container) = container {
            container.state.send_if_modified(|state| {
                let running = matches!(state, State::Running(_));
                if running {
                    *state = State::Ended(Exit { message: Some("destroyed".into()), ..Exit::default() });
                }
                running
            });
        }
        Ok(())
    }
}

//! The containerizer: runs, watches and destroys what a task asked for.
//!
//! A container is named by the agent (its container id, a UUID) and keeps that name across restarts of
//! the agent. Everything an adapter needs to find it again lives outside the agent's process: in the
//! container's runtime directory, in Docker's labels.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use async_trait::async_trait;

/// What is to be run. All of it was validated before; an adapter only fails for what the host refuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSpec {
    /// The agent's name for it, a UUID.
    pub container_id: String,
    /// Who it belongs to, for labels and log lines.
    pub agent_id: String,
    /// Framework of the task.
    pub framework_id: String,
    /// Task it runs.
    pub task_id: String,
    /// What to start.
    pub command: Command,
    /// Working directory; `stdout` and `stderr` are written here. Exists already.
    pub sandbox: PathBuf,
    /// Resources that are enforced.
    pub limits: Limits,
    /// Present for Docker tasks.
    pub docker: Option<DockerSpec>,
    /// Bind mounts.
    pub volumes: Vec<Volume>,
}

/// A program with its arguments and surroundings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    /// With a shell: one line for `/bin/sh -c`. Without: the program. `None`: the image's own command.
    pub value: Option<String>,
    /// Whether `value` goes through `/bin/sh -c`.
    pub shell: bool,
    /// Without a shell: `argv`, whose first element names the program (as in Mesos).
    pub arguments: Vec<String>,
    /// The whole environment of the task.
    pub environment: BTreeMap<String, String>,
    /// The user to switch to; `None` stays with the agent's.
    pub user: Option<String>,
}

/// What the host enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Share of CPU time under contention, thousandths of a core.
    pub cpu_shares_milli: u64,
    /// Hard limit in thousandths of a core; `None` is unlimited.
    pub cpu_quota_milli: Option<u64>,
    /// Hard memory limit in bytes; `None` is unlimited.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads; `None` is the adapter's default.
    pub pids: Option<u64>,
}

/// What only Docker tasks have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DockerSpec {
    /// Image reference.
    pub image: String,
    /// `host`, `bridge`, `none` or the name of a user-defined network.
    pub network: String,
    /// Published ports.
    pub port_mappings: Vec<PortMapping>,
    /// Runs with all capabilities.
    pub privileged: bool,
    /// Pulls the image even where one is there.
    pub force_pull: bool,
    /// `--key=value` of `docker run` that Mesos passes through; unknown ones are an error.
    pub parameters: Vec<(String, String)>,
    /// Where the sandbox is seen inside the container.
    pub sandbox_mount: String,
}

/// One published port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortMapping {
    /// Port of the host.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// One bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Path on the host; relative ones are below the sandbox.
    pub host_path: PathBuf,
    /// Path in the container.
    pub container_path: PathBuf,
    /// Whether the container may not write.
    pub read_only: bool,
}

/// A container that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Its first process, in the agent's PID namespace.
    pub pid: Option<u32>,
    /// Its addresses, where it has its own.
    pub addresses: Vec<IpAddr>,
    /// What could not be enforced on this host, in words for the operator.
    pub warnings: Vec<String>,
}

/// What a container has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on CPUs since it started, all of its processes together.
    pub cpu: Duration,
    /// Memory that it holds now, in bytes, with what the kernel caches for it.
    pub memory_bytes: u64,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// It was killed because it used more memory than its limit.
    pub out_of_memory: bool,
    /// What the runtime says about it, if anything.
    pub message: Option<String>,
}

/// A container that was found again after a restart of the agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// The agent's name for it.
    pub container_id: String,
    /// Task it runs.
    pub task_id: String,
    /// Framework of the task.
    pub framework_id: String,
    /// `Some` while it runs; `None` if it ended meanwhile (then `wait` gives its exit).
    pub running: Option<Running>,
}

/// Why a container could not be dealt with.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The spec asks for what this adapter or host cannot do; a retry cannot help.
    #[error("{0}")]
    Invalid(String),
    /// The image could not be had.
    #[error("cannot pull the image {image}: {message}")]
    Pull {
        /// The image.
        image: String,
        /// What the daemon said.
        message: String,
    },
    /// It did not start.
    #[error("{0}")]
    Launch(String),
    /// No such container here.
    #[error("no container {0}")]
    Unknown(String),
    /// The runtime does not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl ContainerError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ContainerError::Unavailable(_))
    }
}

/// Runs containers of one kind on this host. Cheap to share behind an `Arc`.
///
/// A container of an agent that dies goes on; its exit is kept until [`destroy`](Self::destroy).
#[async_trait]
pub trait Containerizer: Send + Sync + 'static {
    /// `process`, `docker` or `mock`.
    fn name(&self) -> &'static str;

    /// Starts a container; returns once its program runs. A second launch of the same id answers as
    /// the first (never two of them).
    async fn launch(&self, spec: ContainerSpec) -> Result<Running, ContainerError>;

    /// Waits for the end of a container; answers at once for one that has ended, any number of times.
    async fn wait(&self, container_id: &str) -> Result<Exit, ContainerError>;

    /// Asks it to end (SIGTERM), and ends all that is left of it (the whole cgroup) after `grace`.
    /// Returns when the request is made, not when it has ended. A second call may shorten the grace.
    async fn kill(&self, container_id: &str, grace: Duration) -> Result<(), ContainerError>;

    /// Changes the limits of a running container.
    async fn update(&self, container_id: &str, limits: Limits) -> Result<(), ContainerError>;

    /// Whether a container could be started now, as far as that can be known without trying. Answers soon.
    async fn health(&self) -> Result<(), ContainerError> {
        Ok(())
    }

    /// What it has used, for the estimate of what is left over; `None` where that cannot be measured, or it
    /// does not run.
    async fn usage(&self, _container_id: &str) -> Result<Option<Usage>, ContainerError> {
        Ok(None)
    }

    /// Runs a command inside and gives its exit code; for command health checks.
    async fn exec(&self, container_id: &str, command: Command, timeout: Duration) -> Result<i32, ContainerError>;

    /// Finds all containers of this agent again after a restart. Called once, before any `launch`.
    async fn recover(&self, agent_id: &str) -> Result<Vec<Recovered>, ContainerError>;

    /// Ends what is left of a container and forgets it, its cgroup and its runtime directory (not its
    /// sandbox). Unknown ids are fine.
    async fn destroy(&self, container_id: &str) -> Result<(), ContainerError>;
}

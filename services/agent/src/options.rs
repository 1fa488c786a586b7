//! What can be chosen about an agent.

use std::{path::PathBuf, time::Duration};

use mesos_model::{Resources, attribute::Attribute};

use crate::estimator::Estimator;

/// What can be chosen about an agent. Texts were read and checked by whoever made this.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Checkpoint, runtime directories and sandboxes; nobody else's.
    pub work_dir: PathBuf,
    /// How it is called; by default the host's name.
    pub hostname: String,
    /// The address that tasks on the host's network have.
    pub ip: std::net::IpAddr,
    /// Port of its HTTP API; 0 takes a free one.
    pub port: u32,
    /// Whether another port will do, if this one is taken.
    pub any_port: bool,
    /// What it offers.
    pub resources: Resources,
    /// What it says about itself.
    pub attributes: Vec<Attribute>,
    /// Region and zone.
    pub domain: Option<(String, String)>,
    /// Containerizers, the first one that can run a task runs it: `process` (also `mesos`), `docker`, `mock`.
    pub containerizers: Vec<String>,
    /// The Docker daemon.
    pub docker_host: String,
    /// Whether tasks run as their own user; needs root.
    pub switch_user: bool,
    /// Whether a task gets no more CPU time than it asked for, or only no less.
    pub enable_cfs: bool,
    /// Where cgroups are mounted.
    pub cgroups_hierarchy: PathBuf,
    /// The parent of all tasks' cgroups.
    pub cgroups_root: String,
    /// How large each of a task's two logs may become; then it goes on in a new file, and the one before is
    /// kept. 0 is without a bound.
    pub log_bytes: u64,
    /// How often it says that it lives.
    pub beat: Duration,
    /// What it offers beyond `resources`, as revocable (`--resource-estimator`).
    pub estimator: Estimator,
    /// How often the estimator looks at the tasks (`--oversubscribed-resources-interval`).
    pub oversubscribed_interval: Duration,
    /// How long frameworks' own executors may take.
    pub executors: ExecutorOptions,
    /// Whether executors must show the token that they were given; one that is shown is always checked.
    pub authenticate_http_executors: bool,
}

/// How long frameworks' own executors may take, with Mesos's names and defaults.
#[derive(Clone, Copy, Debug)]
pub struct ExecutorOptions {
    /// To subscribe after they were started.
    pub registration_timeout: Duration,
    /// To subscribe again after the agent was started.
    pub reregistration_timeout: Duration,
    /// To go on without the agent, and to subscribe again when a stream broke while the agent runs.
    pub recovery_timeout: Duration,
    /// To end when they are told to, unless they say so themselves.
    pub shutdown_grace_period: Duration,
}

impl Default for ExecutorOptions {
    fn default() -> ExecutorOptions {
        ExecutorOptions {
            registration_timeout: Duration::from_secs(60),
            reregistration_timeout: Duration::from_secs(2),
            recovery_timeout: Duration::from_secs(15 * 60),
            shutdown_grace_period: Duration::from_secs(5),
        }
    }
}

impl AgentOptions {
    /// An agent with this work directory and these resources, and the defaults for the rest.
    #[must_use]
    pub fn new(work_dir: impl Into<PathBuf>, resources: Resources) -> AgentOptions {
        AgentOptions {
            work_dir: work_dir.into(),
            hostname: host_name(),
            ip: std::net::IpAddr::from([127, 0, 0, 1]),
            port: 5051,
            any_port: true,
            resources,
            attributes: Vec::new(),
            domain: None,
            containerizers: vec!["process".to_owned()],
            docker_host: "unix:///var/run/docker.sock".to_owned(),
            switch_user: true,
            enable_cfs: true,
            cgroups_hierarchy: PathBuf::from("/sys/fs/cgroup"),
            cgroups_root: "mesos".to_owned(),
            log_bytes: mesos_container::process::DEFAULT_LOG_BYTES,
            beat: Duration::from_secs(5),
            estimator: Estimator::None,
            oversubscribed_interval: Duration::from_secs(15),
            executors: ExecutorOptions::default(),
            authenticate_http_executors: false,
        }
    }
}

/// The host's name, or `localhost`.
#[must_use]
pub fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".to_owned())
}

/// What this host has, where the operator does not say: all of it, and ports 31000 to 32000.
///
/// # Errors
/// Says what of the host cannot be read.
pub fn detect(work_dir: &std::path::Path) -> Result<Resources, String> {
    let host = mesos_container::detect::host_resources(work_dir)
        .map_err(|error| format!("cannot find out the host's resources ({error}); give them with --resources"))?;
    let milli = |whole: u64| i64::try_from(whole).unwrap_or(i64::MAX / 1000).saturating_mul(1000);
    let mut resources = Resources::of(&[
        ("cpus", i64::try_from(host.cpus_milli).unwrap_or(i64::MAX)),
        ("mem", milli(host.mem_mb)),
        ("disk", milli(host.disk_mb)),
    ]);
    resources.add_entry(mesos_model::Resource::ranges("ports", vec![(31000, 32000)]));
    Ok(resources)
}

/// Fills in what `given` does not name from what the host has (as Mesos does for `--resources`).
#[must_use]
pub fn complete(given: Resources, host: &Resources) -> Resources {
    let named: Vec<&str> = given.iter().map(|resource| &*resource.name).collect();
    let missing = host.filter(|resource| !named.contains(&&*resource.name));
    given.plus(&missing)
}

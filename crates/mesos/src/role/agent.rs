//! `mesos agent` (also `mesos slave`): runs the tasks of one host.

use std::{
    ffi::OsString,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use mesos_agent::{
    AgentOptions, AgentPorts, Identity,
    options::{ExecutorOptions, complete, detect, host_name},
};
use mesos_bus::{LinkBus, LinkOptions, NatsBus};
use mesos_model::{
    AgentId, Resources,
    attribute::{self, Attribute},
    resources_text,
    subject::Subjects,
    uuid_text,
};
use mesos_ports::{bus::Bus, store::Store};
use mesos_proto::dial::Address;
use mesos_runtime::{
    config::{
        self, Role,
        options::{CLUSTER, CommonOptions, NatsArgs, make_work_dir},
        parse_duration,
    },
    instance, process,
    quarantine::Quarantine,
    telemetry::Metrics,
};
use mesos_store::embedded::{EmbeddedStore, Sync};
use tokio_util::sync::CancellationToken;

use super::{
    control, default_work_dir,
    member::{JoinArgs, Member},
};

const FILES: &[&str] = &["mesos-slave", "mesos-agent", "slave", "agent"];

/// The port of a master where an address names none.
pub(super) const MASTER_PORT: u16 = 5050;
/// The port of an agent where its options name none.
const AGENT_PORT: u16 = 5051;
/// The longest time that executors may have to come back (`MAX_EXECUTOR_REREGISTRATION_TIMEOUT` of Mesos).
const REREGISTRATION_MAX: Duration = Duration::from_secs(15);

/// Options of an agent.
#[derive(Args, Clone, Debug)]
pub(crate) struct AgentArgs {
    /// The master, or several gateways of one cluster: host:port[,host:port], each with https:// before it over TLS
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = parse_master)]
    master: Vec<String>,

    #[command(flatten)]
    join: JoinArgs,

    #[command(flatten)]
    nats: NatsArgs,

    /// Name of the cluster
    #[arg(long, value_name = "NAME", default_value = CLUSTER)]
    cluster: String,

    /// Go on trying while NATS is not there yet; a master is waited for in any case
    #[arg(long)]
    wait: bool,

    /// Checkpoint and sandboxes [default: /var/lib/mesos, or below the home of a user]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,

    #[command(flatten)]
    host: HostArgs,

    /// The name that others reach this host by [default: the host's own]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// The address that tasks on the host's network have
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    ip: IpAddr,

    /// Port of the agent's HTTP API, 0 for any [default: 5051, or any if that is taken]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// What is told about this host to frameworks, for example rack:a;os:linux
    #[arg(long, value_name = "ATTRIBUTES", value_parser = parse_attributes)]
    attributes: Option<Attributes>,

    /// Region and zone of this host, for example eu-west-1/a
    #[arg(long, value_name = "REGION/ZONE", value_parser = parse_domain)]
    domain: Option<(String, String)>,

    /// How often the agent says that it lives
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    beat: Duration,

    /// End the agent that runs on this work directory; its tasks go on
    #[arg(long)]
    terminate: bool,

    #[command(flatten)]
    common: CommonOptions,
}

/// What a host gives to tasks and how it runs them; local mode has the same options.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostArgs {
    /// What is offered, for example cpus:4;mem:8GB;disk:100GB;ports:[31000-32000]; the rest is found out
    #[arg(long, value_name = "RESOURCES", value_parser = check_resources)]
    pub(crate) resources: Option<String>,

    /// How many CPUs are offered
    #[arg(long, alias = "resource-cpu", value_name = "N", value_parser = parse_cpus)]
    resource_cpus: Option<i64>,

    /// How much memory is offered, for example 4GB
    #[arg(long, aliases = ["resource-ram", "resource-memory"], value_name = "SIZE", value_parser = super::master::parse_size)]
    resource_mem: Option<i64>,

    /// How much disk is offered, for example 100GB
    #[arg(long, value_name = "SIZE", value_parser = super::master::parse_size)]
    resource_disk: Option<i64>,

    /// The role that resources without one are reserved for
    #[arg(long, value_name = "ROLE", default_value = "*")]
    default_role: String,

    /// What runs tasks, the first one that can: mesos (also process), docker, mock
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "mesos,docker", value_parser = parse_containerizer)]
    pub(crate) containerizers: Vec<String>,

    /// What is offered as revocable beside the agent's own resources: none, fixed:RESOURCES (for example
    /// fixed:cpus:2;mem:1024), or usage (what running tasks hold and do not use)
    #[arg(long, value_name = "ESTIMATOR", default_value = "none")]
    pub(crate) resource_estimator: mesos_agent::estimator::Estimator,

    /// How often the estimator is asked
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub(crate) oversubscribed_resources_interval: Duration,

    /// How long a framework's own executor may take to subscribe after it was started
    #[arg(long, value_name = "DURATION", default_value = "1min", value_parser = parse_duration)]
    executor_registration_timeout: Duration,

    /// How long it may take to subscribe again after the agent was started, at most 15s
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_reregistration)]
    executor_reregistration_timeout: Duration,

    /// How long it may take to end when it is told to, unless it says so itself
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    executor_shutdown_grace_period: Duration,

    /// How long it goes on without the agent
    #[arg(long, value_name = "DURATION", default_value = "15min", value_parser = parse_duration)]
    recovery_timeout: Duration,

    /// Whether it must show the token that it was given; one that is shown is always checked
    #[arg(long, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    authenticate_http_executors: bool,

    /// The Docker daemon
    #[arg(long, alias = "docker-socket", value_name = "URL", default_value = "unix:///var/run/docker.sock", value_parser = parse_docker)]
    docker_host: String,

    /// Whether tasks run as the user that they name; needs root
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    switch_user: bool,

    /// Whether a task gets no more CPU time than it asked for
    #[arg(long, alias = "cgroups-enable-cfs", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    enable_cfs: bool,

    /// How large a task's stdout and its stderr may become; then each goes on in a new file, and the one before is
    /// kept. 0 is without a bound
    #[arg(long, value_name = "SIZE", default_value = "64MB", value_parser = parse_log_size)]
    task_log_size: u64,

    /// Where cgroups are mounted
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/cgroup")]
    cgroups_hierarchy: PathBuf,

    /// The parent of all tasks' cgroups
    #[arg(long, value_name = "NAME", default_value = "mesos")]
    cgroups_root: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Attributes(Vec<Attribute>);

fn parse_attributes(text: &str) -> Result<Attributes, String> {
    attribute::parse(text).map(Attributes)
}

fn parse_domain(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((region, zone)) if !region.is_empty() && !zone.is_empty() => Ok((region.to_owned(), zone.to_owned())),
        _ => Err("expected REGION/ZONE, for example eu-west-1/a".to_owned()),
    }
}

fn parse_reregistration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration > REREGISTRATION_MAX {
        return Err("tasks are not known to the master until it is over; at most 15s".to_owned());
    }
    Ok(duration)
}

fn parse_cpus(text: &str) -> Result<i64, String> {
    resources_text::parse_milli(text).ok_or_else(|| "expected a number of CPUs, for example 2 or 0.5".to_owned())
}

/// Also knows why an address that Mesos would take cannot be used.
fn parse_master(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.starts_with("zk://") || text.starts_with("file://") {
        return Err("there is no ZooKeeper here; name gateways as host:port[,host:port], or use --nats-url".to_owned());
    }
    Address::parse(text, MASTER_PORT).map(|address| address.to_string())
}

fn parse_containerizer(text: &str) -> Result<String, String> {
    match text.trim() {
        name @ ("mesos" | "process" | "docker" | "mock") => Ok(name.to_owned()),
        _ => Err("known are mesos (or process), docker and mock".to_owned()),
    }
}

fn parse_docker(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        return Ok(format!("unix://{text}"));
    }
    let fine = ["unix://", "tcp://", "http://"].iter().any(|scheme| text.starts_with(scheme));
    if fine { Ok(text.to_owned()) } else { Err("expected for example unix:///var/run/docker.sock".to_owned()) }
}

/// In bytes.
fn parse_log_size(text: &str) -> Result<u64, String> {
    let milli = super::master::parse_size(text)?;
    u64::try_from(milli)
        .map(|milli| milli.saturating_mul(1 << 20) / 1000)
        .map_err(|_| "expected no less than 0".to_owned())
}

fn check_resources(text: &str) -> Result<String, String> {
    resources_text::parse(text, "*").map(|_| text.to_owned())
}

impl HostArgs {
    /// What this host offers: what was named, completed by what it has.
    pub(crate) fn resources(&self, dir: &Path) -> Result<Resources, String> {
        let text = self.resources.as_deref().unwrap_or_default();
        let mut given = resources_text::parse(text, &self.default_role)?;
        for (name, amount) in [("cpus", self.resource_cpus), ("mem", self.resource_mem), ("disk", self.resource_disk)] {
            if let Some(milli) = amount.filter(|_| given.scalar(name) == 0) {
                let named = format!("{name}:{}", resources_text::milli_text(milli));
                given.add(&resources_text::parse(&named, &self.default_role)?);
            }
        }
        let all = ["cpus", "mem", "disk"].iter().all(|name| given.iter().any(|resource| &*resource.name == *name));
        let host = match detect(dir) {
            Ok(host) => host,
            Err(error) if !all => return Err(error),
            Err(_) => Resources::new(),
        };
        Ok(complete(given, &host))
    }

    /// An agent in this directory with these resources.
    pub(crate) fn agent(&self, dir: PathBuf, resources: Resources) -> AgentOptions {
        AgentOptions {
            containerizers: self.containerizers.clone(),
            docker_host: self.docker_host.clone(),
            switch_user: self.switch_user && nix::unistd::geteuid().is_root(),
            enable_cfs: self.enable_cfs,
            cgroups_hierarchy: self.cgroups_hierarchy.clone(),
            cgroups_root: self.cgroups_root.clone(),
            estimator: self.resource_estimator.clone(),
            oversubscribed_interval: self.oversubscribed_resources_interval,
            executors: ExecutorOptions {
                registration_timeout: self.executor_registration_timeout,
                reregistration_timeout: self.executor_reregistration_timeout,
                recovery_timeout: self.recovery_timeout,
                shutdown_grace_period: self.executor_shutdown_grace_period,
            },
            authenticate_http_executors: self.authenticate_http_executors,
            log_bytes: self.task_log_size,
            ..AgentOptions::new(dir, resources)
        }
    }
}

/// The whole process.
pub(crate) fn main(display: &'static str, args: &[OsString]) -> ExitCode {
    let role = Role { display, files: FILES };
    let about = "The agent of one host: runs tasks. Tasks go on when it ends, and it finds them again.";
    let options = match process::options::<AgentArgs>(role, about, args) {
        Ok((options, _)) => options,
        Err(status) => return status,
    };
    let refused = |error: String| {
        eprintln!("{display}: {error}");
        ExitCode::FAILURE
    };
    let dir = options.work_dir.clone().unwrap_or_else(default_work_dir);
    if options.terminate {
        return config::absolute(&dir).map_or_else(refused, |dir| instance::terminate(&dir, "agent"));
    }
    if options.master.is_empty() && options.nats.nats_url.is_none() {
        eprintln!("{display}: name the master: --master=host:port (or --nats-url for a cluster on NATS)");
        return ExitCode::from(2);
    }
    let claimed = make_work_dir(&dir).and_then(|dir| Ok((instance::claim(&dir, "agent")?, dir)));
    let (_instance, dir) = match claimed {
        Ok(claimed) => claimed,
        Err(error) => return refused(error),
    };
    let telemetry = options.common.telemetry("agent");
    process::run(display, &telemetry, None, |metrics, cancel| run(display, options, dir, metrics, cancel))
}

async fn run(
    display: &str,
    options: AgentArgs,
    dir: PathBuf,
    metrics: Metrics,
    cancel: CancellationToken,
) -> Result<ExitCode, String> {
    let agent = AgentOptions {
        hostname: options.hostname.clone().unwrap_or_else(host_name),
        ip: options.ip,
        port: u32::from(options.port.unwrap_or(AGENT_PORT)),
        any_port: options.port.is_none(),
        attributes: options.attributes.clone().map(|attributes| attributes.0).unwrap_or_default(),
        domain: options.domain.clone(),
        beat: options.beat,
        ..options.host.agent(dir.clone(), options.host.resources(&dir)?)
    };
    println!("{display} offers {}", agent.resources);
    let store = checkpoint(&dir, Sync::Each)?;
    let mut identity = mesos_agent::identity(&agent, &*store).await.map_err(|error| error.to_string())?;
    let member = tokio::select! {
        member = Member::of(&dir, &options.join, &options.master, &identity) => member?,
        () = cancel.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    identity.agent = identity.agent.or_else(|| member.agent.clone());
    let _renewal = AbortOnDrop(tokio::spawn(member.clone().keep_good()));
    let link: Arc<std::sync::OnceLock<Arc<LinkBus>>> = Arc::default();
    let bus: Arc<dyn Bus> = match &options.nats.nats_url {
        Some(url) => Arc::new(nats(url, &options, &member).await?),
        None => {
            let opened = tokio::select! {
                opened = open_link(&options, &identity, &member) => opened?,
                () = cancel.cancelled() => return Ok(ExitCode::SUCCESS),
            };
            link.set(opened.clone()).ok();
            opened
        }
    };
    let containerizers = mesos_agent::containerizers(&agent).map_err(|error| error.to_string())?;
    let admitted = move |id: &AgentId| {
        if let Some(link) = link.get() {
            link.set_agent_id(id.as_str());
        }
    };
    let ports = AgentPorts {
        bus,
        store,
        subjects: Subjects::new(&options.cluster),
        containerizers,
        identity,
        quarantine: Quarantine::new(&metrics, "agent"),
        admitted: Arc::new(admitted),
    };
    mesos_agent::run(agent, ports, cancel).await.map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Opens an agent's checkpoint. It is synced with each commit where it may be read again after the host went down.
pub(crate) fn checkpoint(dir: &Path, sync: Sync) -> Result<Arc<dyn Store>, String> {
    let path = dir.join("checkpoint");
    let opened = EmbeddedStore::open_or_salvage(&path, sync);
    let (store, salvaged) = opened.map_err(|error| format!("{}: {error}", path.display()))?;
    if let Some(salvaged) = salvaged {
        tracing::error!(
            path = %path.display(),
            kept_as = %salvaged.kept_as.display(),
            lost_bytes = salvaged.lost,
            places = salvaged.places,
            "the checkpoint was damaged; what could be read of it is kept"
        );
    }
    Ok(Arc::new(store))
}

/// Connects to NATS as who this agent is.
async fn nats(url: &str, options: &AgentArgs, member: &Member) -> Result<NatsBus, String> {
    let mut args = options.nats.clone();
    args.nats_credentials = args.nats_credentials.or_else(|| member.nats_credentials());
    args.nats_ca = args.nats_ca.or_else(|| member.ca());
    control::nats_as(url, &args, "mesos-agent", options.wait, member.nats_inbox()).await
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for a master as long as it takes, and says so.
async fn open_link(options: &AgentArgs, identity: &Identity, member: &Member) -> Result<Arc<LinkBus>, String> {
    let masters = options.master.join(",");
    let link = LinkOptions {
        agent_id: identity.agent.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
        instance: uuid_text(identity.instance),
        cluster: options.cluster.clone(),
        access: member.access(),
        wait: true,
        ..LinkOptions::default()
    };
    let mut opening = std::pin::pin!(LinkBus::connect(options.master.clone(), link));
    loop {
        tokio::select! {
            opened = &mut opening => {
                return opened.map(Arc::new).map_err(|error| format!("--master {masters}: {error}"));
            }
            () = tokio::time::sleep(Duration::from_secs(5)) => {
                tracing::warn!("the master at {masters} is not reachable yet; trying again (is it running, is the address right?)");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_masters_are_read_leniently() {
        for (text, read) in [
            ("127.0.0.1:5050", "127.0.0.1:5050"),
            ("master", "master:5050"),
            ("http://m:1/", "m:1"),
            ("[::1]:5050", "[::1]:5050"),
            ("https://m", "https://m:5050"),
        ] {
            assert_eq!(parse_master(text).as_deref(), Ok(read), "{text}");
        }
        for text in ["", "a:b", "host:99999", "a b:1"] {
            assert!(parse_master(text).is_err(), "{text}");
        }
        assert!(parse_master("zk://a:2181/mesos").unwrap_err().contains("--nats-url"));
    }

    #[test]
    fn executors_have_at_most_15_seconds_to_come_back() {
        assert_eq!(parse_reregistration("2s"), Ok(Duration::from_secs(2)));
        assert!(parse_reregistration("16s").is_err());
    }

    #[test]
    fn a_docker_socket_may_be_a_path() {
        assert_eq!(parse_docker("/run/docker.sock").as_deref(), Ok("unix:///run/docker.sock"));
        assert!(parse_docker("docker.sock").is_err());
    }
}

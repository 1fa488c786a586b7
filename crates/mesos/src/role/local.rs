//! `mesos local`: everything in one process, nothing to install.

use std::{
    ffi::OsString,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use clap::Args;
use mesos_agent::options::host_name;
use mesos_agent::{AgentOptions, AgentPorts};
use mesos_gateway::GatewayOptions;
use mesos_model::{AgentId, Resource, Resources, resources::Value, resources_text::milli_text};
use mesos_ports::{bus::Bus, containerizer::Containerizer};
use mesos_proto::dial::{Access, Inside};
use mesos_runtime::{
    config::{
        Origin, Role,
        options::{ClusterOptions, CommonOptions, DoorArgs, make_work_dir},
    },
    instance::{self, Instance},
    process,
    quarantine::Quarantine,
    shell::Ports,
    telemetry::Metrics,
};
use mesos_store::embedded::Sync as Syncing;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    agent::{HostArgs, checkpoint},
    control::{self, Control, ControlOptions},
    gateway::{security, tls_files},
};
use crate::client;

const ROLE: Role = Role { display: "mesos local", files: &["mesos-local", "local"] };
/// How long it may take until everything is there.
const READY_MAX: Duration = Duration::from_secs(30);

/// Options of local mode.
#[derive(Args, Clone, Debug)]
pub(crate) struct LocalArgs {
    /// How many agents; they share what the host has
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    agents: u32,

    /// The address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    ip: IpAddr,

    /// The port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 5050)]
    port: u16,

    #[command(flatten)]
    door: DoorArgs,

    /// Keep state here; without it all is in a temporary folder and ends with the process, tasks too
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,

    /// Run this command in a shell as a task and print what it writes
    #[arg(long, value_name = "COMMAND")]
    launch: Option<String>,

    /// End with the exit status of the launched command
    #[arg(long, requires = "launch")]
    exit: bool,

    #[command(flatten)]
    cluster: ClusterOptions,

    #[command(flatten)]
    host: HostArgs,

    #[command(flatten)]
    allocator: mesos_allocator::Options,

    #[command(flatten)]
    registry: mesos_registry::Options,

    #[command(flatten)]
    common: CommonOptions,
}

/// The whole process.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let about = "A whole cluster in one process: allocator, registry, gateway, launcher and agents";
    let (mut options, resolved) = match process::options::<LocalArgs>(ROLE, about, args) {
        Ok(found) => found,
        Err(status) => return status,
    };
    // What the user wants to see is the one line, and what the launched command writes.
    if resolved.origin("log_level") == Origin::Default {
        options.common.log_level = "warn".to_owned();
    }
    let home = match Home::new(options.work_dir.as_deref()) {
        Ok(home) => home,
        Err(error) => {
            eprintln!("{}: {error}", ROLE.display);
            return ExitCode::FAILURE;
        }
    };
    let telemetry = options.common.telemetry("local");
    let path = home.path.clone();
    let status = process::run(ROLE.display, &telemetry, None, |metrics, cancel| run(options, path, metrics, cancel));
    drop(home);
    status
}

/// Where everything is, and whether it goes with the process.
struct Home {
    path: PathBuf,
    temporary: bool,
    instance: Option<Instance>,
}

impl Home {
    fn new(named: Option<&Path>) -> Result<Home, String> {
        let temporary = named.is_none();
        let unique = || std::env::temp_dir().join(format!("mesos-local-{}", std::process::id()));
        let path = make_work_dir(&named.map_or_else(unique, Path::to_owned))?;
        let instance = Some(instance::claim(&path, "local")?);
        Ok(Home { path, temporary, instance })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.instance.take());
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("mesos local: {} is left behind: {error}", self.path.display());
        }
    }
}

async fn run(
    options: LocalArgs,
    dir: PathBuf,
    metrics: Metrics,
    cancel: CancellationToken,
) -> Result<ExitCode, String> {
    options.door.check(options.ip)?;
    let whole = options.host.resources(&dir)?;
    let share = divide(&whole, options.agents);
    // What is temporary ends with the process, and agents of a pool would outlive it.
    let pools = options.work_dir.is_some().then(|| mesos_pools::definition::default_pools(&dir.join("pools")));
    let ports = tokio::select! {
        ports = control::ports(&options.cluster, "mesos-local", Some(&dir)) => ports?,
        () = cancel.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let services = ControlOptions {
        gateway: GatewayOptions {
            ip: options.ip,
            port: options.port,
            tls: tls_files(&options.door),
            security: security(&options.door)?,
            cluster: options.cluster.cluster.clone(),
            hostname: "localhost".to_owned(),
            ..GatewayOptions::default()
        },
        allocator: options.allocator.clone(),
        registry: options.registry.clone(),
        pools,
    };
    let quarantine = Quarantine::new(&metrics, "agent");
    let mut control = control::start(services, ports.clone(), metrics).await?;
    let mut agents = Agents::start(&options, &dir, &share, &ports, &quarantine)?;
    let (url, inside, ids) = (control.url.clone(), control.inside.clone(), agents.ids.clone());
    let outcome = tokio::select! {
        outcome = serve(&options, (&url, &inside), &whole, &ids, &cancel) => outcome,
        () = cancel.cancelled() => Ok(ExitCode::SUCCESS),
        why = control.failed() => Err(why),
        why = agents.failed() => Err(why),
    };
    stop(control, agents, options.work_dir.is_none()).await;
    outcome
}

/// Says when all is ready, runs what is to be launched, and stays until cancelled.
async fn serve(
    options: &LocalArgs,
    (url, inside): (&str, &Inside),
    whole: &Resources,
    ids: &Ids,
    cancel: &CancellationToken,
) -> Result<ExitCode, String> {
    until_ready(inside, ids).await?;
    let agents = if ids.len() == 1 { "1 agent".to_owned() } else { format!("{} agents", ids.len()) };
    let amount = |name| milli_text(whole.scalar(name));
    let ready = format!("mesos is ready at {url} ({agents}, {} cpus, {} MB memory)", amount("cpus"), amount("mem"));
    let Some(command) = &options.launch else {
        println!("{ready}");
        cancel.cancelled().await;
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!("{ready}");
    let access = Access { inside: Some(inside.clone()), ..Access::default() };
    let followed = client::launch::follow_command(url, &access, command).await;
    let status = followed.map_err(|failure| failure.to_string())?;
    if options.exit {
        return Ok(status);
    }
    eprintln!("mesos is still serving at {url}; Ctrl-C ends it");
    cancel.cancelled().await;
    Ok(ExitCode::SUCCESS)
}

async fn stop(control: Control, agents: Agents, end_tasks: bool) {
    agents.stop(end_tasks).await;
    control.stop().await;
}

type Ids = Arc<Vec<OnceLock<AgentId>>>;

/// The agents of this process.
struct Agents {
    ids: Ids,
    options: Vec<AgentOptions>,
    running: JoinSet<Result<(), String>>,
    stop: CancellationToken,
}

impl Agents {
    fn start(
        options: &LocalArgs,
        dir: &Path,
        share: &[Resources],
        ports: &Ports,
        quarantine: &Quarantine,
    ) -> Result<Agents, String> {
        let ids: Ids = Arc::new(share.iter().map(|_| OnceLock::new()).collect());
        let mut agents = Agents { ids, options: Vec::new(), running: JoinSet::new(), stop: CancellationToken::new() };
        for (number, resources) in share.iter().enumerate() {
            let own = if share.len() == 1 { dir.join("agent") } else { dir.join(format!("agent-{}", number + 1)) };
            let agent = AgentOptions {
                // Agents of one host are told apart by their ports.
                port: 5051 + u32::try_from(number).unwrap_or_default(),
                hostname: host_name(),
                ..options.host.agent(make_work_dir(&own)?, resources.clone())
            };
            agents.options.push(agent.clone());
            let (ids, bus, subjects) = (agents.ids.clone(), ports.bus.clone(), ports.subjects.clone());
            let admitted = move |id: &AgentId| {
                let _ = ids[number].set(id.clone());
            };
            // A temporary folder is not there after the host went down, and so needs no syncing.
            let sync = if options.work_dir.is_some() { Syncing::Each } else { Syncing::every_second() };
            let (quarantine, stop) = (quarantine.clone(), agents.stop.clone());
            agents.running.spawn(one(agent, sync, bus, subjects, quarantine, Arc::new(admitted), stop));
        }
        Ok(agents)
    }

    async fn failed(&mut self) -> String {
        match self.running.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => format!("an agent has ended: {error}"),
            Some(Ok(Ok(()))) | None => "an agent has ended".to_owned(),
        }
    }

    /// Ends the agents and, if there will be no next start that finds them, their tasks.
    async fn stop(mut self, end_tasks: bool) {
        self.stop.cancel();
        while self.running.join_next().await.is_some() {}
        if !end_tasks {
            return;
        }
        for (agent, id) in self.options.iter().zip(self.ids.iter()) {
            let (Some(id), Ok(containerizers)) = (id.get(), mesos_agent::containerizers(agent)) else { continue };
            for containerizer in containerizers {
                end_all(&*containerizer, id).await;
            }
        }
    }
}

async fn end_all(containerizer: &dyn Containerizer, agent: &AgentId) {
    match containerizer.recover(agent.as_str()).await {
        Ok(found) => {
            for container in found {
                if let Err(error) = containerizer.destroy(&container.container_id).await {
                    tracing::warn!(%error, container = container.container_id, "a task may go on");
                }
            }
        }
        // Most of all Docker that is not there: then nothing of it runs.
        Err(error) => tracing::debug!(%error, containerizer = containerizer.name(), "tasks were not looked for"),
    }
}

async fn one(
    agent: AgentOptions,
    sync: Syncing,
    bus: Arc<dyn Bus>,
    subjects: mesos_model::subject::Subjects,
    quarantine: Quarantine,
    admitted: Arc<dyn Fn(&AgentId) + Send + Sync>,
    cancel: CancellationToken,
) -> Result<(), String> {
    let store = checkpoint(&agent.work_dir, sync)?;
    let text = |error: mesos_agent::AgentError| error.to_string();
    let identity = mesos_agent::identity(&agent, &*store).await.map_err(text)?;
    let containerizers = mesos_agent::containerizers(&agent).map_err(text)?;
    let ports = AgentPorts { bus, store, subjects, containerizers, identity, quarantine, admitted };
    mesos_agent::run(agent, ports, cancel).await.map_err(text)
}

async fn until_ready(inside: &Inside, ids: &Ids) -> Result<(), String> {
    let start = Instant::now();
    let agents = ids.len();
    loop {
        let admitted = ids.iter().filter(|id| id.get().is_some()).count();
        let answer = if admitted == agents {
            ask_ready(inside).await
        } else {
            Err(format!("{admitted} of {agents} agents are there"))
        };
        let Err(why) = answer else { return Ok(()) };
        if start.elapsed() > READY_MAX {
            return Err(format!("not ready within {} s: {why}", READY_MAX.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// `GET /ready` of the own gateway.
async fn ask_ready(inside: &Inside) -> Result<(), String> {
    let asked = async {
        let mut stream = inside.open()?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = asked.await.map_err(|error| error.to_string())?;
    let ok = answer.split(' ').nth(1) == Some("200");
    if ok { Ok(()) } else { Err(answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim().to_owned()) }
}

/// Shares of a host for so many agents: amounts are divided, ranges cut into pieces.
fn divide(whole: &Resources, agents: u32) -> Vec<Resources> {
    let parts = i64::from(agents);
    let part_of = |resource: &Resource, number: i64| -> Option<Resource> {
        let value = match &resource.value {
            Value::Scalar(milli) => Value::Scalar(milli / parts),
            Value::Ranges(ranges) => Value::Ranges(piece(ranges, number, parts)),
            // Names cannot be shared: they stay with the first agent.
            Value::Set(items) => Value::Set(if number == 0 { items.clone() } else { Vec::new() }),
        };
        let empty = match &value {
            Value::Scalar(milli) => *milli == 0,
            Value::Ranges(ranges) => ranges.is_empty(),
            Value::Set(items) => items.is_empty(),
        };
        (!empty).then(|| Resource { value, ..resource.clone() })
    };
    let share = |number| {
        let mut resources = Resources::new();
        whole.iter().filter_map(|resource| part_of(resource, number)).for_each(|part| resources.add_entry(part));
        resources
    };
    (0..parts).map(share).collect()
}

fn piece(ranges: &[(u64, u64)], number: i64, parts: i64) -> Vec<(u64, u64)> {
    let (number, parts) = (number.unsigned_abs(), parts.unsigned_abs());
    let cut = |(begin, end): &(u64, u64)| {
        let count = end - begin + 1;
        let (from, to) = (begin + count * number / parts, begin + count * (number + 1) / parts);
        (to > from).then(|| (from, to - 1))
    };
    ranges.iter().filter_map(cut).collect()
}

#[cfg(test)]
mod tests {
    use mesos_model::resources_text::parse;

    use super::*;

    #[test]
    fn agents_of_one_host_share_it() {
        let share = divide(&parse("cpus:2;mem:3000;ports:[31000-31009];zones:{a,b}", "*").unwrap(), 3);
        let texts: Vec<String> = share.iter().map(Resources::to_string).collect();
        assert_eq!(
            texts,
            [
                "cpus:0.666; mem:1000; ports:[31000-31002]; zones:{a, b}",
                "cpus:0.666; mem:1000; ports:[31003-31005]",
                "cpus:0.666; mem:1000; ports:[31006-31009]"
            ]
        );
        assert_eq!(divide(&parse("cpus:2;mem:64", "*").unwrap(), 1)[0].to_string(), "cpus:2; mem:64");
    }
}

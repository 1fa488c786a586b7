//! What a `TaskInfo` means for a host: facts for the machine, a specification for a containerizer.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use mesos_container::{checks::Check, fetcher::Uri};
use mesos_core::{
    agent::{ContainerOrder, HealthPlan, TaskFacts, Workload},
    row::LaunchKind,
};
use mesos_model::{AgentId, Resources};
use mesos_ports::containerizer::{Command, ContainerSpec, DockerSpec, Limits, PortMapping, Volume};
use mesos_proto::v1;
use prost::Message;

use crate::{
    AgentOptions,
    executors::info,
    sandbox,
    volumes::{self, TaskVolume},
};

/// Mesos's least memory of a container (`MIN_MEMORY`), in bytes.
const MEMORY_MIN: u64 = 32 << 20;
/// The least hard limit of CPU time, in thousandths: below it a task would be stopped most of the time
/// for what starting it costs.
const CPU_QUOTA_MIN: u64 = 100;
const GRACE_PROCESS: Duration = Duration::from_secs(3);
const GRACE_DOCKER: Duration = Duration::from_secs(5);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the machine must know of a task.
pub(crate) fn facts(body: &[u8], kind: LaunchKind) -> TaskFacts {
    let info = match v1::TaskInfo::decode(body) {
        Ok(info) => info,
        Err(error) => {
            return TaskFacts {
                invalid: Some(format!("the TaskInfo cannot be read: {error}")),
                ..TaskFacts::default()
            };
        }
    };
    let default_grace = if wants_docker(&info) { GRACE_DOCKER } else { GRACE_PROCESS };
    let grace = info.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    TaskFacts {
        grace_ms: grace.map_or(default_grace.as_millis() as u64, |grace| nanoseconds_to_ms(grace.nanoseconds)),
        health: info.health_check.as_ref().map(health_plan),
        max_completion_ms: info.max_completion_time.as_ref().map(|time| nanoseconds_to_ms(time.nanoseconds)),
        invalid: if kind.is_custom() { None } else { why_not(&info) },
        executor: None,
    }
}

pub(crate) fn nanoseconds_to_ms(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds).unwrap_or(0) / 1_000_000
}

fn seconds_to_ms(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds).map_or(0, |duration| duration.as_millis() as u64)
}

fn health_plan(check: &v1::HealthCheck) -> HealthPlan {
    HealthPlan {
        delay_ms: seconds_to_ms(check.delay_seconds()),
        interval_ms: seconds_to_ms(check.interval_seconds()).max(1),
        grace_ms: seconds_to_ms(check.grace_period_seconds()),
        failures_max: check.consecutive_failures(),
    }
}

/// Why a task cannot be run by this version at all.
fn why_not(info: &v1::TaskInfo) -> Option<String> {
    if let Some(executor) = &info.executor {
        return match executor.r#type() {
            v1::executor_info::Type::Default => None,
            // It would have come as a launch for an executor.
            _ => Some("the master is of a version that does not know the executors of frameworks".to_owned()),
        };
    }
    let docker = info.container.as_ref().and_then(|container| container.docker.as_ref());
    if info.command.is_none() && docker.is_none() {
        return Some("the task has neither a command nor an image".to_owned());
    }
    None
}

/// Whether a task has an image, and so belongs to Docker.
pub(crate) fn wants_docker(info: &v1::TaskInfo) -> bool {
    image(info).is_some()
}

fn image(info: &v1::TaskInfo) -> Option<String> {
    let container = info.container.as_ref()?;
    if let Some(docker) = &container.docker {
        return Some(docker.image.clone());
    }
    let image = container.mesos.as_ref()?.image.as_ref()?;
    image.docker.as_ref().map(|docker| docker.name.clone())
}

/// Everything that starting a task's container needs.
pub(crate) struct Plan {
    pub(crate) spec: ContainerSpec,
    pub(crate) docker: bool,
    pub(crate) uris: Vec<Uri>,
    /// Persistent volumes; those of a task with an image are mounts of `spec` as well.
    pub(crate) volumes: Vec<TaskVolume>,
    /// Directories of the group's sandbox that the task shares with the others.
    pub(crate) shared: Vec<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) check: Option<(Check, Duration)>,
}

/// The plan of a task. `root` says whether the agent may switch users.
///
/// # Errors
/// Says what of the task cannot be done.
pub(crate) fn plan(
    options: &AgentOptions,
    agent: &AgentId,
    sandbox: PathBuf,
    order: &ContainerOrder,
    root: bool,
) -> Result<Plan, String> {
    let info = match order.workload {
        Workload::Executor { .. } => info::as_task(&order.body)?,
        Workload::Task | Workload::GroupTask => {
            v1::TaskInfo::decode(&order.body[..]).map_err(|error| format!("the TaskInfo cannot be read: {error}"))?
        }
    };
    let docker = wants_docker(&info);
    let given = info.command.clone().unwrap_or_default();
    let user = user(options, &given, order, root, docker);
    let mut volumes = volumes::of_task(&options.work_dir, &info.resources)?;
    let (shared, given_volumes) = shared_paths(&info, &sandbox, order.workload)?;
    let (docker_spec, mut mounts) = container(&info, &given_volumes)?;
    if docker {
        mounts.extend(volumes.iter().map(|volume| Volume {
            host_path: volume.dir.clone(),
            container_path: volume.container_path.clone(),
            read_only: volume.read_only,
        }));
    }
    let environment = environment(options, &given, agent, &sandbox, order, docker)?;
    let command = Command {
        value: given.value.clone(),
        shell: info.command.is_some() && given.shell() && given.value.is_some(),
        arguments: given.arguments.clone(),
        environment,
        user: user.clone(),
    };
    let check = info.health_check.as_ref().map(|check| health_check(check, options.ip)).transpose()?;
    let spec = ContainerSpec {
        container_id: order.container.clone(),
        agent_id: agent.to_string(),
        framework_id: order.framework.to_string(),
        task_id: order.task.to_string(),
        command,
        sandbox,
        limits: limits(options, &info, &order.resources),
        docker: docker_spec,
        volumes: mounts,
    };
    volumes.extend(shared.iter().map(|(_, volume)| volume.clone()));
    let shared = shared.into_iter().map(|(path, _)| path).collect();
    Ok(Plan { spec, docker, uris: uris(&given), volumes, shared, user, check })
}

/// The user that the task's process runs as: its own, else its framework's, as far as the agent may.
fn user(
    options: &AgentOptions,
    command: &v1::CommandInfo,
    order: &ContainerOrder,
    root: bool,
    docker: bool,
) -> Option<String> {
    if let Some(user) = &command.user {
        return Some(user.clone());
    }
    // An image says itself who runs in it.
    (options.switch_user && root && !docker && !order.user.is_empty()).then(|| order.user.clone())
}

fn environment(
    options: &AgentOptions,
    command: &v1::CommandInfo,
    agent: &AgentId,
    sandbox: &std::path::Path,
    order: &ContainerOrder,
    docker: bool,
) -> Result<BTreeMap<String, String>, String> {
    let inside = if docker { MOUNT.to_owned() } else { sandbox.display().to_string() };
    let mut variables: BTreeMap<String, String> = [
        ("MESOS_SANDBOX", inside.clone()),
        ("MESOS_DIRECTORY", inside),
        ("MESOS_EXECUTOR_ID", order.executor.to_string()),
        ("MESOS_FRAMEWORK_ID", order.framework.to_string()),
        ("MESOS_AGENT_ID", agent.to_string()),
        ("MESOS_SLAVE_ID", agent.to_string()),
        ("MESOS_CONTAINER_NAME", format!("mesos-{}", order.container)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let more = match order.workload {
        Workload::Executor { token, grace_ms } => info::environment(options, order, token, grace_ms),
        Workload::Task | Workload::GroupTask => vec![("MESOS_TASK_ID", order.task.to_string())],
    };
    variables.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    if !docker {
        variables.insert("PATH".to_owned(), std::env::var("PATH").unwrap_or_else(|_| PATH.to_owned()));
    }
    for variable in command.environment.iter().flat_map(|environment| &environment.variables) {
        let value = match (&variable.value, &variable.secret) {
            (Some(value), _) => value.clone(),
            (None, Some(secret)) => {
                let value = secret.value.as_ref().ok_or_else(|| {
                    format!(
                        "environment variable {} refers to a secret, and this agent has no secret resolver",
                        variable.name
                    )
                })?;
                String::from_utf8_lossy(&value.data).into_owned()
            }
            (None, None) => String::new(),
        };
        variables.insert(variable.name.clone(), value);
    }
    Ok(variables)
}

fn uris(command: &v1::CommandInfo) -> Vec<Uri> {
    command
        .uris
        .iter()
        .map(|uri| Uri {
            value: uri.value.clone(),
            executable: uri.executable(),
            extract: uri.extract(),
            output_file: uri.output_file.clone(),
        })
        .collect()
}

/// What an executor may use: for itself and its tasks. How much they get of it, it sees to itself.
pub(crate) fn executor_limits(options: &AgentOptions, resources: &Resources) -> Limits {
    limits(options, &v1::TaskInfo::default(), resources)
}

fn limits(options: &AgentOptions, info: &v1::TaskInfo, resources: &Resources) -> Limits {
    let cpus = u64::try_from(resources.scalar("cpus")).unwrap_or(0);
    let memory = u64::try_from(resources.scalar("mem")).unwrap_or(0).saturating_mul(1 << 20) / 1000;
    let quota = match info.limits.get("cpus").map(|limit| limit.value) {
        Some(limit) if limit.is_infinite() => None,
        Some(limit) => Some((limit * 1000.0) as u64),
        None => options.enable_cfs.then_some(cpus),
    };
    let memory = match info.limits.get("mem").map(|limit| limit.value) {
        Some(limit) if limit.is_infinite() => None,
        Some(limit) => Some((limit * f64::from(1 << 20)) as u64),
        None => Some(memory),
    };
    Limits {
        cpu_shares_milli: cpus,
        cpu_quota_milli: quota.map(|quota| quota.max(CPU_QUOTA_MIN)),
        memory_bytes: memory.filter(|bytes| *bytes > 0).map(|bytes| bytes.max(MEMORY_MIN)),
        pids: None,
    }
}

const MOUNT: &str = "/mnt/mesos/sandbox";

/// The paths in the sandbox of its group that a task shares with the others (`SANDBOX_PATH` volumes of type
/// `PARENT`), each with what it is in the task's own sandbox; and the rest of its volumes.
#[allow(clippy::type_complexity, reason = "a pair of lists")]
fn shared_paths<'a>(
    info: &'a v1::TaskInfo,
    sandbox: &std::path::Path,
    workload: Workload,
) -> Result<(Vec<(PathBuf, TaskVolume)>, Vec<&'a v1::Volume>), String> {
    use v1::volume::source::sandbox_path::Type;
    let (mut shared, mut rest) = (Vec::new(), Vec::new());
    for volume in info.container.iter().flat_map(|container| &container.volumes) {
        let path = volume.source.as_ref().and_then(|source| source.sandbox_path.as_ref());
        let Some(path) = path.filter(|path| path.r#type() == Type::Parent) else {
            rest.push(volume);
            continue;
        };
        let group = sandbox::of_group(sandbox).filter(|_| workload == Workload::GroupTask);
        let group = group.ok_or("only a task of a group can have a volume in the sandbox of its parent")?;
        let dir = PathBuf::from(&path.path);
        if !dir.components().all(|part| matches!(part, std::path::Component::Normal(_))) || dir.file_name().is_none() {
            return Err(format!("volume {}: '{}' is no path below a sandbox", volume.container_path, path.path));
        }
        let container_path = PathBuf::from(&volume.container_path);
        shared.push((dir.clone(), TaskVolume { dir: group.join(dir), container_path, read_only: false, shared: true }));
    }
    Ok((shared, rest))
}

fn container(info: &v1::TaskInfo, volumes: &[&v1::Volume]) -> Result<(Option<DockerSpec>, Vec<Volume>), String> {
    let Some(container) = &info.container else { return Ok((None, Vec::new())) };
    let volumes = volumes.iter().map(|given| volume(given)).collect::<Result<Vec<_>, _>>()?;
    let Some(image) = image(info) else {
        if volumes.is_empty() {
            return Ok((None, volumes));
        }
        return Err("volumes need an image: a plain process sees the host's own file system".to_owned());
    };
    let mut spec =
        DockerSpec { image, network: "host".to_owned(), sandbox_mount: MOUNT.to_owned(), ..DockerSpec::default() };
    if let Some(docker) = &container.docker {
        spec.network = network(docker, container)?;
        spec.privileged = docker.privileged();
        spec.force_pull = docker.force_pull_image();
        spec.parameters = docker.parameters.iter().map(|p| (p.key.clone(), p.value.clone())).collect();
        spec.port_mappings = docker.port_mappings.iter().map(port_mapping).collect::<Result<_, _>>()?;
    }
    if let Some(hostname) = &container.hostname {
        spec.parameters.push(("hostname".to_owned(), hostname.clone()));
    }
    Ok((Some(spec), volumes))
}

fn network(docker: &v1::container_info::DockerInfo, container: &v1::ContainerInfo) -> Result<String, String> {
    use v1::container_info::docker_info::Network;
    match docker.network() {
        Network::Host => Ok("host".to_owned()),
        Network::Bridge => Ok("bridge".to_owned()),
        Network::None => Ok("none".to_owned()),
        Network::User => container
            .network_infos
            .first()
            .and_then(|network| network.name.clone())
            .ok_or_else(|| "network USER needs network_infos[0].name".to_owned()),
    }
}

fn port_mapping(mapping: &v1::container_info::docker_info::PortMapping) -> Result<PortMapping, String> {
    let port = |number: u32| u16::try_from(number).map_err(|_| format!("{number} is no port number"));
    Ok(PortMapping {
        host_port: port(mapping.host_port)?,
        container_port: port(mapping.container_port)?,
        protocol: mapping.protocol.clone().unwrap_or_else(|| "tcp".to_owned()),
    })
}

fn volume(volume: &v1::Volume) -> Result<Volume, String> {
    let source = volume.source.as_ref().and_then(|source| source.host_path.as_ref()).map(|host| host.path.clone());
    let host = volume.host_path.clone().or(source);
    let host = host.ok_or_else(|| {
        format!("volume {} has no host_path; other sources are not known here", volume.container_path)
    })?;
    Ok(Volume {
        host_path: host.into(),
        container_path: volume.container_path.clone().into(),
        read_only: volume.mode() == v1::volume::Mode::Ro,
    })
}

/// The health check of a task that was found again.
pub(crate) fn check_of(body: &[u8], ip: IpAddr) -> Option<(Check, Duration)> {
    let info = v1::TaskInfo::decode(body).ok()?;
    health_check(info.health_check.as_ref()?, ip).ok()
}

fn health_check(check: &v1::HealthCheck, ip: IpAddr) -> Result<(Check, Duration), String> {
    let port = |number: u32| u16::try_from(number).map_err(|_| format!("health check: {number} is no port number"));
    let local = if ip.is_ipv6() { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) } else { IpAddr::from([127, 0, 0, 1]) };
    let timeout = Duration::from_millis(seconds_to_ms(check.timeout_seconds()));
    let what = if let Some(http) = &check.http {
        Check::Http {
            scheme: http.scheme.clone().unwrap_or_else(|| "http".to_owned()),
            address: local,
            port: port(http.port)?,
            path: http.path.clone().unwrap_or_else(|| "/".to_owned()),
        }
    } else if let Some(tcp) = &check.tcp {
        Check::Tcp { address: local, port: port(tcp.port)? }
    } else if let Some(command) = &check.command {
        Check::Command(Command {
            value: command.value.clone(),
            shell: command.shell(),
            arguments: command.arguments.clone(),
            environment: check_environment(command),
            user: command.user.clone(),
        })
    } else {
        return Err("the health check has neither command, http nor tcp".to_owned());
    };
    Ok((what, timeout))
}

fn check_environment(command: &v1::CommandInfo) -> BTreeMap<String, String> {
    let variables = command.environment.iter().flat_map(|environment| &environment.variables);
    variables.map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(info: &v1::TaskInfo) -> ContainerOrder {
        ContainerOrder {
            container: "c".into(),
            launch: "l".into(),
            framework: "f".into(),
            user: "nobody".into(),
            executor: "t".into(),
            task: "t".into(),
            resources: Resources::of(&[("cpus", 500), ("mem", 128_000)]),
            workload: Workload::Task,
            body: info.encode_to_vec().into(),
            trace: None,
        }
    }

    fn order_of(body: bytes::Bytes) -> ContainerOrder {
        ContainerOrder { body, ..order(&v1::TaskInfo::default()) }
    }

    fn planned(info: &v1::TaskInfo) -> Result<Plan, String> {
        let options = AgentOptions::new("/w", Resources::new());
        plan(&options, &"a".into(), "/w/s".into(), &order(info), true)
    }

    fn shell(line: &str) -> v1::TaskInfo {
        v1::TaskInfo {
            command: Some(v1::CommandInfo { value: Some(line.into()), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn a_command_task_runs_in_a_shell_as_its_frameworks_user_within_its_limits() {
        let plan = planned(&shell("echo hi")).unwrap();
        assert!(plan.spec.command.shell);
        assert_eq!(plan.spec.command.user.as_deref(), Some("nobody"));
        assert_eq!(plan.spec.limits.cpu_shares_milli, 500);
        assert_eq!(plan.spec.limits.cpu_quota_milli, Some(500));
        assert_eq!(plan.spec.limits.memory_bytes, Some(128 << 20));
        assert_eq!(plan.spec.command.environment["MESOS_SANDBOX"], "/w/s");
        assert!(!plan.docker);
    }

    #[test]
    fn limits_may_be_lifted_and_small_ones_are_raised_to_what_works() {
        let mut info = shell("true");
        info.limits.insert("cpus".into(), v1::value::Scalar { value: f64::INFINITY });
        info.limits.insert("mem".into(), v1::value::Scalar { value: 1.0 });
        let limits = planned(&info).unwrap().spec.limits;
        assert_eq!((limits.cpu_quota_milli, limits.memory_bytes), (None, Some(MEMORY_MIN)));
    }

    #[test]
    fn a_docker_task_keeps_the_images_user_and_gets_what_it_asks_for() {
        let docker = v1::container_info::DockerInfo {
            image: "busybox".into(),
            network: Some(v1::container_info::docker_info::Network::Bridge as i32),
            port_mappings: vec![v1::container_info::docker_info::PortMapping {
                host_port: 31000,
                container_port: 80,
                protocol: None,
            }],
            ..Default::default()
        };
        let info = v1::TaskInfo {
            container: Some(v1::ContainerInfo { r#type: 1, docker: Some(docker), ..Default::default() }),
            ..Default::default()
        };
        let plan = planned(&info).unwrap();
        let docker = plan.spec.docker.unwrap();
        assert_eq!((docker.network.as_str(), docker.port_mappings[0].host_port), ("bridge", 31000));
        assert_eq!(plan.spec.command.user, None);
        assert_eq!(facts(&info.encode_to_vec(), LaunchKind::Command).grace_ms, 5000);
    }

    #[test]
    fn a_persistent_volume_is_a_mount_of_a_docker_task_and_a_link_of_a_process() {
        let disk = v1::resource::DiskInfo {
            persistence: Some(v1::resource::disk_info::Persistence { id: "v".into(), principal: None }),
            volume: Some(v1::Volume { container_path: "data".into(), mode: 2, ..Default::default() }),
            source: None,
        };
        let volume = v1::Resource { role: Some("ads".into()), disk: Some(disk), ..Default::default() };
        let process = v1::TaskInfo { resources: vec![volume.clone()], ..shell("true") };
        let plan = planned(&process).unwrap();
        assert_eq!((plan.volumes.len(), plan.spec.volumes.len()), (1, 0));
        let docker = v1::container_info::DockerInfo { image: "busybox".into(), ..Default::default() };
        let info = v1::TaskInfo {
            resources: vec![volume],
            container: Some(v1::ContainerInfo { r#type: 1, docker: Some(docker), ..Default::default() }),
            ..Default::default()
        };
        let mounts = planned(&info).unwrap().spec.volumes;
        let expected =
            Volume { host_path: "/w/volumes/roles/ads/v".into(), container_path: "data".into(), read_only: true };
        assert_eq!(mounts, [expected]);
    }

    #[test]
    fn what_cannot_be_run_is_said_before_it_is_tried() {
        assert!(facts(b"\xff\xff", LaunchKind::Command).invalid.is_some());
        assert!(facts(&v1::TaskInfo::default().encode_to_vec(), LaunchKind::Command).invalid.is_some());
        let mut custom = shell("true");
        custom.executor = Some(v1::ExecutorInfo { r#type: Some(2), ..Default::default() });
        assert!(facts(&custom.encode_to_vec(), LaunchKind::Command).invalid.is_some());
        assert_eq!(facts(&custom.encode_to_vec(), LaunchKind::Custom).invalid, None);
        assert_eq!(facts(&shell("true").encode_to_vec(), LaunchKind::Command).invalid, None);
    }

    #[test]
    fn health_checks_have_the_defaults_of_mesos() {
        let mut info = shell("true");
        info.health_check = Some(v1::HealthCheck::default());
        let plan = facts(&info.encode_to_vec(), LaunchKind::Command).health.unwrap();
        assert_eq!((plan.delay_ms, plan.interval_ms, plan.grace_ms, plan.failures_max), (15_000, 10_000, 10_000, 3));
    }

    #[test]
    fn an_executor_finds_its_agent_and_its_secret_in_its_environment() {
        let executor = v1::ExecutorInfo { command: shell("./executor").command, ..Default::default() };
        let order = ContainerOrder {
            workload: Workload::Executor { token: 7, grace_ms: 5000 },
            ..order_of(executor.encode_to_vec().into())
        };
        let options = AgentOptions::new("/w", Resources::new());
        let plan = plan(&options, &"a".into(), "/w/s".into(), &order, true).unwrap();
        let environment = plan.spec.command.environment;
        assert_eq!(environment["MESOS_AGENT_ENDPOINT"], "127.0.0.1:5051");
        assert_eq!(environment["MESOS_SLAVE_PID"], "slave(1)@127.0.0.1:5051");
        assert_eq!(environment["MESOS_RECOVERY_TIMEOUT"], "15mins");
        assert_eq!(environment["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"], "00000000-0000-0000-0000-000000000007");
        assert!(!environment.contains_key("MESOS_TASK_ID"));
    }

    #[test]
    fn tasks_of_a_group_share_what_is_in_the_sandbox_of_their_parent() {
        let volume = |kind: i32, path: &str| v1::Volume {
            container_path: "mine".into(),
            mode: 1,
            source: Some(v1::volume::Source {
                r#type: Some(v1::volume::source::Type::SandboxPath.into()),
                sandbox_path: Some(v1::volume::source::SandboxPath { r#type: Some(kind), path: path.into() }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let planned = |volume: v1::Volume, workload: Workload| {
            let container = v1::ContainerInfo { r#type: 2, volumes: vec![volume], ..Default::default() };
            let info = v1::TaskInfo { container: Some(container), ..shell("true") };
            let order = ContainerOrder { workload, ..order(&info) };
            let options = AgentOptions::new("/w", Resources::new());
            plan(&options, &"a".into(), "/w/runs/l/tasks/t".into(), &order, true)
        };
        let plan = planned(volume(2, "data/x"), Workload::GroupTask).unwrap();
        assert_eq!(plan.shared, [PathBuf::from("data/x")]);
        assert_eq!(plan.volumes[0].dir, PathBuf::from("/w/runs/l/data/x"));
        for path in ["../x", "/etc", "", "a/../../b"] {
            assert!(planned(volume(2, path), Workload::GroupTask).is_err(), "{path}");
        }
        assert!(planned(volume(2, "data"), Workload::Task).is_err());
        assert!(planned(volume(1, "data"), Workload::GroupTask).is_err(), "its own is there anyway");
    }
}

//! From a `ContainerSpec` to the body of a create call.

use std::{collections::HashMap, fs, path::Path};

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, PortBinding};
use mesos_ports::containerizer::{Command, ContainerError, ContainerSpec, DockerSpec, Limits};

use super::{LABEL_AGENT, LABEL_CONTAINER, LABEL_FRAMEWORK, LABEL_LOG_BASE, LABEL_SANDBOX, LABEL_TASK, parameters};
use crate::cgroup::MIN_MEMORY;

/// The kernel's own period.
const CPU_PERIOD_US: i64 = 100_000;
/// The kernel takes no smaller quota.
const CPU_QUOTA_MIN_US: i64 = 1_000;
/// Docker's own log of a container may always become as large as this, in bytes.
const DOCKER_LOG_MIN: u64 = 16 << 20;

fn invalid(text: String) -> ContainerError {
    ContainerError::Invalid(text)
}

/// The whole create call but the name.
pub(super) fn body(
    spec: &ContainerSpec,
    docker: &DockerSpec,
    log_bytes: u64,
) -> Result<ContainerCreateBody, ContainerError> {
    if docker.image.is_empty() {
        return Err(invalid("the task names no Docker image".into()));
    }
    let (entrypoint, cmd) = words(&spec.command);
    let mut body = ContainerCreateBody {
        image: Some(docker.image.clone()),
        entrypoint,
        cmd,
        env: Some(environment(&spec.command)),
        labels: Some(labels(spec)),
        host_config: Some(HostConfig {
            binds: Some(binds(spec, docker)?),
            network_mode: Some(if docker.network.is_empty() { "host".into() } else { docker.network.clone() }),
            privileged: Some(docker.privileged),
            log_config: (log_bytes > 0).then(|| log_config(log_bytes)),
            ..limits(&spec.limits)
        }),
        ..ContainerCreateBody::default()
    };
    ports(docker, &mut body)?;
    for (key, value) in &docker.parameters {
        parameters::apply(key, value, &mut body)?;
    }
    Ok(body)
}

/// Docker keeps the output as well, each of its two files to this size. Its lines are longer than the task's, and
/// what it has begun anew twice is lost to an agent that was away or slow; so it may keep some more.
fn log_config(log_bytes: u64) -> HostConfigLogConfig {
    let size = log_bytes.saturating_mul(2).max(DOCKER_LOG_MIN);
    HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(HashMap::from([("max-size".into(), size.to_string()), ("max-file".into(), "2".into())])),
    }
}

/// As in Mesos: a shell takes the place of the image's entry point, arguments are given to it.
fn words(command: &Command) -> (Option<Vec<String>>, Option<Vec<String>>) {
    match &command.value {
        Some(line) if command.shell => (Some(vec!["/bin/sh".into()]), Some(vec!["-c".into(), line.clone()])),
        value => {
            let words: Vec<String> = value.iter().chain(&command.arguments).cloned().collect();
            (None, (!words.is_empty()).then_some(words))
        }
    }
}

/// A command for `exec`, where there is no entry point: `arguments` is `argv` and `value` the program.
pub(super) fn exec_words(command: &Command) -> Vec<String> {
    match &command.value {
        Some(line) if command.shell => vec!["/bin/sh".into(), "-c".into(), line.clone()],
        value => value.iter().chain(command.arguments.iter().skip(usize::from(value.is_some()))).cloned().collect(),
    }
}

/// `NAME=value` lines.
pub(super) fn environment(command: &Command) -> Vec<String> {
    command.environment.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn labels(spec: &ContainerSpec) -> HashMap<String, String> {
    let size = |name: &str| fs::metadata(spec.sandbox.join(name)).map_or(0, |file| file.len());
    HashMap::from([
        (LABEL_AGENT.into(), spec.agent_id.clone()),
        (LABEL_FRAMEWORK.into(), spec.framework_id.clone()),
        (LABEL_TASK.into(), spec.task_id.clone()),
        (LABEL_CONTAINER.into(), spec.container_id.clone()),
        (LABEL_SANDBOX.into(), spec.sandbox.display().to_string()),
        (LABEL_LOG_BASE.into(), format!("{},{}", size("stdout"), size("stderr"))),
    ])
}

/// What is enforced, in Docker's units.
pub(super) fn limits(limits: &Limits) -> HostConfig {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let memory = limits.memory_bytes.map(|bytes| number(bytes.max(MIN_MEMORY)));
    let quota = limits.cpu_quota_milli.map(|milli| number(milli.saturating_mul(100)).max(CPU_QUOTA_MIN_US));
    HostConfig {
        cpu_shares: Some(number((limits.cpu_shares_milli.saturating_mul(1024) / 1000).clamp(2, 262_144))),
        // A quota that nobody asked for would throttle a container that could use idle cores.
        // Not as NanoCpus: Docker refuses more of those than the host has CPUs, and an agent may offer more.
        cpu_period: quota.map(|_| CPU_PERIOD_US),
        cpu_quota: quota,
        memory,
        memory_swap: memory,
        pids_limit: limits.pids.map(number),
        ..HostConfig::default()
    }
}

fn binds(spec: &ContainerSpec, docker: &DockerSpec) -> Result<Vec<String>, ContainerError> {
    let bind = |from: &Path, to: &Path, mode: &str| {
        let (from, to) = (from.display().to_string(), to.display().to_string());
        if from.contains(':') || to.contains(':') {
            return Err(invalid(format!("volume {from} at {to}: Docker takes no path with a colon")));
        }
        if !to.starts_with('/') {
            return Err(invalid(format!("volume {from} at {to}: the path in the container must be absolute")));
        }
        Ok(format!("{from}:{to}:{mode}"))
    };
    let mut binds = Vec::new();
    if !docker.sandbox_mount.is_empty() {
        binds.push(bind(&spec.sandbox, Path::new(&docker.sandbox_mount), "rw")?);
    }
    for volume in &spec.volumes {
        if volume.host_path.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(invalid(format!("volume {}: `..` is not allowed", volume.host_path.display())));
        }
        let to = Path::new(&docker.sandbox_mount).join(&volume.container_path);
        binds.push(bind(&spec.sandbox.join(&volume.host_path), &to, if volume.read_only { "ro" } else { "rw" })?);
    }
    Ok(binds)
}

fn ports(docker: &DockerSpec, body: &mut ContainerCreateBody) -> Result<(), ContainerError> {
    if docker.port_mappings.is_empty() {
        return Ok(());
    }
    if matches!(docker.network.as_str(), "" | "host" | "none") {
        return Err(invalid("port mappings need the network `bridge` or one that was defined by a user".into()));
    }
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for mapping in &docker.port_mappings {
        let protocol = if mapping.protocol.is_empty() { "tcp".into() } else { mapping.protocol.to_lowercase() };
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(invalid(format!("port mapping with the unknown protocol {protocol}")));
        }
        let binding = PortBinding { host_ip: None, host_port: Some(mapping.host_port.to_string()) };
        let key = format!("{}/{protocol}", mapping.container_port);
        bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    body.exposed_ports = Some(bindings.keys().cloned().collect());
    if let Some(host) = &mut body.host_config {
        host.port_bindings = Some(bindings);
    }
    Ok(())
}

/// Without tag and digest, Docker would pull every tag of the repository.
pub(super) fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains(':') || image.contains('@') { image.to_string() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use mesos_ports::containerizer::{PortMapping, Volume};

    use super::*;

    fn docker() -> DockerSpec {
        DockerSpec {
            image: "i".into(),
            network: "bridge".into(),
            sandbox_mount: "/mnt/s".into(),
            ..DockerSpec::default()
        }
    }

    #[test]
    fn an_image_without_tag_is_the_latest() {
        assert_eq!(with_tag("host:5000/a/b"), "host:5000/a/b:latest");
        assert_eq!(with_tag("a:1"), "a:1");
        assert_eq!(with_tag("a@sha256:00"), "a@sha256:00");
    }

    #[test]
    fn ports_volumes_and_limits_reach_the_daemon() {
        let spec = ContainerSpec {
            sandbox: "/s".into(),
            volumes: vec![Volume { host_path: "d".into(), container_path: "/d".into(), read_only: true }],
            limits: Limits { cpu_shares_milli: 500, cpu_quota_milli: Some(1500), memory_bytes: Some(1), pids: Some(9) },
            ..ContainerSpec::default()
        };
        let mapping = PortMapping { host_port: 31000, container_port: 80, protocol: "TCP".into() };
        let body = body(&spec, &DockerSpec { port_mappings: vec![mapping], ..docker() }, 0).expect("valid");
        assert_eq!(body.exposed_ports, Some(vec!["80/tcp".to_string()]));
        let host = body.host_config.expect("there");
        assert_eq!(host.binds, Some(vec!["/s:/mnt/s:rw".to_string(), "/s/d:/d:ro".to_string()]));
        assert_eq!((host.cpu_shares, host.cpu_quota, host.cpu_period), (Some(512), Some(150_000), Some(100_000)));
        assert_eq!((host.memory, host.memory_swap), (Some(32 << 20), Some(32 << 20)));
        assert_eq!(host.pids_limit, Some(9));
        let bindings = host.port_bindings.expect("there");
        assert_eq!(bindings["80/tcp"].as_ref().expect("one")[0].host_port.as_deref(), Some("31000"));
    }

    #[test]
    fn what_docker_cannot_do_is_invalid() {
        let mapping = PortMapping { host_port: 1, container_port: 1, protocol: "tcp".into() };
        let hosted = DockerSpec { port_mappings: vec![mapping], network: "host".into(), ..docker() };
        let error = body(&ContainerSpec::default(), &hosted, 0).expect_err("invalid").to_string();
        assert!(error.contains("bridge"), "{error}");
        let volume = Volume { host_path: "../../etc".into(), container_path: "/e".into(), read_only: false };
        let spec = ContainerSpec { volumes: vec![volume], ..ContainerSpec::default() };
        assert!(matches!(body(&spec, &docker(), 0), Err(ContainerError::Invalid(_))));
    }
}

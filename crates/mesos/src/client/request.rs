//! From options to what is asked of the launcher.

use std::{path::Path, time::Duration};

use clap::Args;
use mesos_model::{Resource, resources::Value, resources_text};
use mesos_proto::{
    services::v1::LaunchRequest,
    v1::{self, container_info, environment, health_check, value},
};
use mesos_runtime::config::parse_duration;

use super::{Failure, output::number};

/// What a task asks for if nobody says.
const CPUS: &str = "0.1";
const MEM: &str = "64MB";

/// What a task is.
#[derive(Args, Clone, Debug)]
pub(crate) struct TaskArgs {
    /// Name of the task [default: its program]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Run this in a shell; a program that follows only names the task then
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,

    /// The program and its arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, num_args = 0..)]
    program: Vec<String>,

    /// CPUs
    #[arg(long, value_name = "N", default_value = CPUS, value_parser = parse_cpus)]
    cpus: f64,

    /// Memory, for example 128MB or 1GB
    #[arg(long, value_name = "SIZE", default_value = MEM, value_parser = parse_mb)]
    mem: f64,

    /// Disk, for example 1GB
    #[arg(long, value_name = "SIZE", value_parser = parse_mb)]
    disk: Option<f64>,

    /// Whole GPUs
    #[arg(long, value_name = "N")]
    gpus: Option<u32>,

    /// All resources as one text, for example cpus:1;mem:1GB;ports:[31000-31001]; it counts before the above
    #[arg(long, value_name = "RESOURCES", value_parser = check_resources)]
    resources: Option<String>,

    /// What of its resources is to be reserved for its role first, for example disk:100GB; it stays reserved
    /// for the next tasks that ask for it
    #[arg(long, value_name = "RESOURCES", value_parser = check_resources)]
    reserved: Option<String>,

    /// A variable of the task's environment
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    env: Vec<(String, String)>,

    /// A file or archive to bring into the sandbox before the start
    #[arg(long, value_name = "URI")]
    uri: Vec<String>,

    /// Run in a container of this Docker image
    #[arg(long, value_name = "IMAGE")]
    docker_image: Option<String>,

    /// Pull the image even if it is there
    #[arg(long, requires = "docker_image")]
    force_pull: bool,

    /// Make a port of the container reachable: HOST:CONTAINER[/udp]
    #[arg(short = 'p', long, value_name = "HOST:CONTAINER", requires = "docker_image", value_parser = parse_mapping)]
    publish: Vec<container_info::docker_info::PortMapping>,

    /// Mount a folder of the host: HOST:CONTAINER[:ro]
    #[arg(short = 'v', long, value_name = "HOST:CONTAINER", value_parser = parse_volume)]
    volume: Vec<v1::Volume>,

    /// The role whose share it takes
    #[arg(long, value_name = "ROLE", default_value = "*")]
    role: String,

    /// The user it runs as
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// A label
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,

    /// Only on agents with this attribute
    #[arg(long, value_name = "NAME:VALUE", value_parser = parse_attribute)]
    attribute: Vec<(String, String)>,

    /// It is healthy while this command exits with 0
    #[arg(long, value_name = "COMMAND", group = "health")]
    health_command: Option<String>,

    /// It is healthy while this port answers HTTP: PORT[/path]
    #[arg(long, value_name = "PORT/PATH", group = "health", value_parser = parse_http)]
    health_http: Option<(u32, String)>,

    /// It is healthy while this port takes connections
    #[arg(long, value_name = "PORT", group = "health", value_parser = clap::value_parser!(u32).range(1..=65535))]
    health_tcp: Option<u32>,

    /// Time between two health checks
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, requires = "health")]
    health_interval: Duration,

    /// Kill it if it runs longer
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    kill_after: Option<Duration>,

    /// Time between the polite signal and the final one when it is killed
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    grace: Option<Duration>,

    /// Tasks with higher numbers get resources first; of equal ones the one that waits longer does
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i64>,

    /// Gather resources for it and hold them, for up to an hour, if no agent has enough at once
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    hold: Option<Duration>,
}

/// A fresh id of a call, by which a repeat is known.
pub(crate) fn call_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A command in a shell, with the usual resources: what local mode launches.
pub(crate) fn of_shell(command: &str) -> LaunchRequest {
    let resources = format!("cpus:{CPUS};mem:{MEM}");
    LaunchRequest {
        name: command.split_whitespace().next().map(base_name).unwrap_or_default(),
        command: Some(shell(command)),
        // Both are constants that can be read.
        resources: resources_text::parse(&resources, "*")
            .map(|list| list.iter().map(wire).collect())
            .unwrap_or_default(),
        call_id: call_id(),
        ..LaunchRequest::default()
    }
}

impl TaskArgs {
    /// What is asked for.
    pub(crate) fn request(&self, instances: u32) -> Result<LaunchRequest, Failure> {
        let pairs = |list: &[(String, String)]| -> Vec<v1::Label> {
            list.iter().map(|(key, value)| v1::Label { key: key.clone(), value: Some(value.clone()) }).collect()
        };
        Ok(LaunchRequest {
            name: self.task_name(),
            instances,
            command: Some(self.command_info()?),
            resources: self.resources()?,
            container: self.container(),
            role: self.role.clone(),
            call_id: call_id(),
            labels: (!self.label.is_empty()).then(|| v1::Labels { labels: pairs(&self.label) }),
            health_check: self.health_check(),
            kill_policy: self.grace.map(|grace| v1::KillPolicy { grace_period: Some(duration(grace)) }),
            max_completion_time: self.kill_after.map(duration),
            attributes: self.attribute.iter().map(|(name, text)| attribute(name, text)).collect(),
            priority: self.priority.map(|priority| priority as f64),
            hold: self.hold.map(duration),
            ..LaunchRequest::default()
        })
    }

    /// What it asks for, in words.
    pub(crate) fn wants(&self) -> String {
        self.resources
            .clone()
            .unwrap_or_else(|| format!("{} cpus and {} MB memory", number(self.cpus), number(self.mem)))
    }

    fn task_name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let program = self.program.first().map(String::as_str).or(self.command.as_deref());
        let first = program.and_then(|text| text.split_whitespace().next());
        first.or(self.docker_image.as_deref()).map(base_name).unwrap_or_else(|| "task".to_owned())
    }

    fn command_info(&self) -> Result<v1::CommandInfo, Failure> {
        let variables = self.env.iter().map(|(name, value)| environment::Variable {
            name: name.clone(),
            value: Some(value.clone()),
            ..environment::Variable::default()
        });
        let variables: Vec<_> = variables.collect();
        let uris = self.uri.iter().map(|uri| v1::command_info::Uri { value: uri.clone(), ..Default::default() });
        let base = match (&self.command, &self.program[..]) {
            (Some(command), _) => shell(command),
            // One word with spaces is a command line in quotes.
            (None, [only]) if only.contains(char::is_whitespace) => shell(only),
            (None, [program, ..]) => v1::CommandInfo {
                shell: Some(false),
                value: Some(program.clone()),
                arguments: self.program.clone(),
                ..v1::CommandInfo::default()
            },
            (None, []) if self.docker_image.is_some() => {
                v1::CommandInfo { shell: Some(false), ..v1::CommandInfo::default() }
            }
            (None, []) => {
                let text = "there is nothing to run: give --command \"…\", or a program and its arguments";
                return Err(Failure::Wrong(text.to_owned()));
            }
        };
        Ok(v1::CommandInfo {
            environment: (!variables.is_empty()).then_some(v1::Environment { variables }),
            uris: uris.collect(),
            user: self.user.clone(),
            ..base
        })
    }

    fn resources(&self) -> Result<Vec<v1::Resource>, Failure> {
        let text = self.resources.clone().unwrap_or_else(|| {
            let mut text = format!("cpus:{};mem:{}", number(self.cpus), number(self.mem));
            if let Some(disk) = self.disk {
                text.push_str(&format!(";disk:{}", number(disk)));
            }
            if let Some(gpus) = self.gpus {
                text.push_str(&format!(";gpus:{gpus}"));
            }
            for mapping in &self.publish {
                text.push_str(&format!(";ports:[{0}-{0}]", mapping.host_port));
            }
            text
        });
        let parsed = resources_text::parse(&text, "*").map_err(Failure::Wrong)?;
        let mut resources: Vec<v1::Resource> = parsed.iter().map(wire).collect();
        if let Some(text) = &self.reserved {
            if self.role == "*" {
                let text = "--reserved needs a role to reserve for: --role ROLE";
                return Err(Failure::Wrong(text.to_owned()));
            }
            let reservation = v1::resource::ReservationInfo {
                r#type: Some(v1::resource::reservation_info::Type::Dynamic.into()),
                role: Some(self.role.clone()),
                ..v1::resource::ReservationInfo::default()
            };
            let parsed = resources_text::parse(text, "*").map_err(Failure::Wrong)?;
            if parsed.iter().any(|one| one.qualifier.is_some()) {
                let text = "--reserved names a role itself; what it names is reserved for the role of --role";
                return Err(Failure::Wrong(text.to_owned()));
            }
            let reserved = |one| v1::Resource { reservations: vec![reservation.clone()], ..wire(one) };
            resources.extend(parsed.iter().map(reserved));
        }
        Ok(resources)
    }

    fn container(&self) -> Option<v1::ContainerInfo> {
        if self.docker_image.is_none() && self.volume.is_empty() {
            return None;
        }
        let docker = self.docker_image.clone().map(|image| container_info::DockerInfo {
            image,
            network: (!self.publish.is_empty()).then_some(container_info::docker_info::Network::Bridge.into()),
            port_mappings: self.publish.clone(),
            force_pull_image: self.force_pull.then_some(true),
            ..container_info::DockerInfo::default()
        });
        let kind = if docker.is_some() { container_info::Type::Docker } else { container_info::Type::Mesos };
        Some(v1::ContainerInfo { r#type: kind.into(), volumes: self.volume.clone(), docker, ..Default::default() })
    }

    fn health_check(&self) -> Option<v1::HealthCheck> {
        use health_check::Type;
        let base = v1::HealthCheck { interval_seconds: Some(self.health_interval.as_secs_f64()), ..Default::default() };
        if let Some(command) = &self.health_command {
            return Some(v1::HealthCheck { r#type: Some(Type::Command.into()), command: Some(shell(command)), ..base });
        }
        if let Some((port, path)) = &self.health_http {
            let http = health_check::HttpCheckInfo { port: *port, path: Some(path.clone()), ..Default::default() };
            return Some(v1::HealthCheck { r#type: Some(Type::Http.into()), http: Some(http), ..base });
        }
        let tcp = health_check::TcpCheckInfo { port: self.health_tcp?, ..Default::default() };
        Some(v1::HealthCheck { r#type: Some(Type::Tcp.into()), tcp: Some(tcp), ..base })
    }
}

fn shell(command: &str) -> v1::CommandInfo {
    v1::CommandInfo { shell: Some(true), value: Some(command.to_owned()), ..v1::CommandInfo::default() }
}

fn base_name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn duration(span: Duration) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: i64::try_from(span.as_nanos()).unwrap_or(i64::MAX) }
}

fn attribute(name: &str, text: &str) -> v1::Attribute {
    let mut attribute = v1::Attribute { name: name.to_owned(), ..v1::Attribute::default() };
    match resources_text::parse_milli(text) {
        Some(milli) => {
            attribute.r#type = value::Type::Scalar.into();
            attribute.scalar = Some(value::Scalar { value: milli as f64 / 1000.0 });
        }
        None => {
            attribute.r#type = value::Type::Text.into();
            attribute.text = Some(value::Text { value: text.to_owned() });
        }
    }
    attribute
}

/// A plain resource as the contract has it.
pub(crate) fn wire(resource: &Resource) -> v1::Resource {
    let mut made = v1::Resource { name: resource.name.to_string(), ..v1::Resource::default() };
    match &resource.value {
        Value::Scalar(milli) => {
            made.r#type = value::Type::Scalar.into();
            made.scalar = Some(value::Scalar { value: *milli as f64 / 1000.0 });
        }
        Value::Ranges(ranges) => {
            let range = ranges.iter().map(|(begin, end)| value::Range { begin: *begin, end: *end }).collect();
            made.r#type = value::Type::Ranges.into();
            made.ranges = Some(value::Ranges { range });
        }
        Value::Set(items) => {
            made.r#type = value::Type::Set.into();
            made.set = Some(value::Set { item: items.iter().map(ToString::to_string).collect() });
        }
    }
    made
}

fn parse_cpus(text: &str) -> Result<f64, String> {
    let milli = resources_text::parse_milli(text).filter(|milli| *milli > 0);
    milli
        .map(|milli| milli as f64 / 1000.0)
        .ok_or_else(|| "expected a number of CPUs above 0, for example 0.5".to_owned())
}

/// An amount of memory or disk in MiB.
pub(crate) fn parse_mb(text: &str) -> Result<f64, String> {
    let milli = resources_text::parse_megabytes(text).filter(|milli| *milli > 0);
    milli
        .map(|milli| milli as f64 / 1000.0)
        .ok_or_else(|| "expected an amount above 0 such as 128MB or 1GB (a bare number is megabytes)".to_owned())
}

/// A text that names resources.
pub(crate) fn check_resources(text: &str) -> Result<String, String> {
    let parsed = resources_text::parse(text, "*")?;
    if parsed.is_empty() {
        Err("names no resource; expected for example cpus:1;mem:1GB".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// `NAME=VALUE`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn parse_attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once([':', '=']) {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME:VALUE, for example rack:a".to_owned()),
    }
}

fn parse_mapping(text: &str) -> Result<container_info::docker_info::PortMapping, String> {
    let expected = || "expected HOST:CONTAINER, for example 31080:80 or 31053:53/udp".to_owned();
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (host, container) = ports.split_once(':').ok_or_else(expected)?;
    let port = |text: &str| text.parse::<u16>().map(u32::from).map_err(|_| expected());
    if !matches!(protocol, "tcp" | "udp") {
        return Err(expected());
    }
    Ok(container_info::docker_info::PortMapping {
        host_port: port(host)?,
        container_port: port(container)?,
        protocol: Some(protocol.to_owned()),
    })
}

fn parse_volume(text: &str) -> Result<v1::Volume, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts[..] {
        [host, container] => (host, container, v1::volume::Mode::Rw),
        [host, container, "ro"] => (host, container, v1::volume::Mode::Ro),
        [host, container, "rw"] => (host, container, v1::volume::Mode::Rw),
        _ => return Err("expected HOST:CONTAINER[:ro], for example /srv/data:/data:ro".to_owned()),
    };
    Ok(v1::Volume {
        mode: mode.into(),
        container_path: container.to_owned(),
        host_path: Some(host.to_owned()),
        ..v1::Volume::default()
    })
}

fn parse_http(text: &str) -> Result<(u32, String), String> {
    let (port, path) = text.split_once('/').unwrap_or((text, ""));
    let port = port.trim_start_matches(':').parse::<u16>();
    port.map(|port| (u32::from(port), format!("/{path}")))
        .map_err(|_| "expected PORT or PORT/path, for example 8080/health".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    fn request(args: &[&str]) -> LaunchRequest {
        parse::<TaskArgs>(args).unwrap().request(1).unwrap()
    }

    fn wrong(args: &[&str]) -> bool {
        parse::<TaskArgs>(args).map_or(true, |given| given.request(1).is_err())
    }

    #[test]
    fn the_launch_of_the_book_runs_the_command_in_a_shell() {
        let book = request(&[
            "--name",
            "test-task",
            "--cpus",
            "0.5",
            "--mem",
            "128MB",
            "--command",
            "echo Hello Mesos!",
            "/bin/echo",
        ]);
        let command = book.command.unwrap();
        assert_eq!(
            (book.name.as_str(), command.shell, command.value.as_deref()),
            ("test-task", Some(true), Some("echo Hello Mesos!"))
        );
        assert!(command.arguments.is_empty());
        let amounts: Vec<(String, f64)> =
            book.resources.into_iter().map(|r| (r.name, r.scalar.unwrap().value)).collect();
        assert_eq!(amounts, [("cpus".to_owned(), 0.5), ("mem".to_owned(), 128.0)]);
    }

    #[test]
    fn without_a_command_the_words_are_program_and_arguments() {
        let plain = request(&["/bin/ls", "-l", "--color=never"]);
        let command = plain.command.unwrap();
        assert_eq!((plain.name.as_str(), command.shell), ("ls", Some(false)));
        assert_eq!(command.arguments, ["/bin/ls", "-l", "--color=never"]);
        let quoted = request(&["echo hello"]).command.unwrap();
        assert_eq!((quoted.shell, quoted.value.as_deref()), (Some(true), Some("echo hello")));
    }

    #[test]
    fn an_image_may_bring_its_own_command() {
        let web = request(&["--docker-image", "nginx", "-p", "31080:80", "-e", "A=b=c", "--label", "x=y"]);
        let container = web.container.unwrap();
        assert_eq!(container.docker.unwrap().port_mappings[0].container_port, 80);
        assert_eq!(web.name, "nginx");
        assert_eq!(web.command.unwrap().environment.unwrap().variables[0].value.as_deref(), Some("b=c"));
        assert!(web.resources.iter().any(|resource| resource.name == "ports"));
        assert_eq!(web.labels.unwrap().labels[0].value.as_deref(), Some("y"));
    }

    #[test]
    fn a_task_may_have_a_priority_and_room_held_for_it() {
        let task = request(&["--priority=-5", "--hold", "2min", "true"]);
        assert_eq!((task.priority, task.hold.unwrap().nanoseconds), (Some(-5.0), 120_000_000_000));
        assert_eq!(request(&["true"]).hold, None);
    }

    #[test]
    fn what_is_to_be_reserved_is_named_beside_the_rest() {
        let task = request(&["--role", "ads", "--reserved", "disk:100GB", "--cpus", "2", "true"]);
        let disk = task.resources.iter().find(|resource| resource.name == "disk").unwrap();
        assert_eq!((disk.scalar.unwrap().value, disk.reservations[0].role.as_deref()), (102_400.0, Some("ads")));
        assert_eq!(task.resources.iter().filter(|resource| resource.reservations.is_empty()).count(), 2);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for args in [
            &[][..],
            &["--cpus", "0", "true"],
            &["--cpus", "-1", "true"],
            &["--priority", "high", "true"],
            &["--reserved", "disk:1GB", "true"],
            &["--role", "ads", "--reserved", "disk(eng):1GB", "true"],
            &["--hold", "soon", "true"],
            &["--mem", "lots", "true"],
            &["--resources", "gold", "true"],
            &["--publish", "80", "--docker-image", "x"],
            &["--publish", "1:2", "true"],
            &["--health-tcp", "0", "true"],
            &["--env", "A", "true"],
        ] {
            assert!(wrong(args), "{args:?}");
        }
    }
}

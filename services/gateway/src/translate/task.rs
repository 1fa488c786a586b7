//! `TaskInfo`, `ExecutorInfo` and the operations of an ACCEPT.
//!
//! What can be found wrong without knowing the cluster is found here and told in `TaskSpec::invalid`, in the
//! words of Mesos where they are known (`src/master/validation.cpp`, `task` and `executor`).

use bytes::Bytes;
use mesos_core::message::{Conversion, ExecutorSpec, Operation, OperationKind, TaskSpec};
use mesos_model::{FrameworkId, Resources};
use mesos_proto::{
    compose::{put_bytes, put_varint, with},
    v1::{self, offer::operation::Type},
    validate::validate_id,
    wire::{self, OperationSlices, WireError},
};

use super::{conversion, resources};

/// Field numbers of `mesos.v1` that are added to what a client wrote.
mod number {
    pub(super) const TASK_EXECUTOR: u32 = 5;
    pub(super) const TASK_HEALTH_CHECK: u32 = 8;
    pub(super) const HEALTH_CHECK_TYPE: u32 = 8;
    pub(super) const EXECUTOR_FRAMEWORK_ID: u32 = 8;
    pub(super) const FRAMEWORK_ID_VALUE: u32 = 1;
}

/// Reads the operations of an ACCEPT. `raw` are the same operations undecoded, from
/// [`wire::accept_operations`].
#[must_use]
pub fn operations(
    framework: &FrameworkId,
    decoded: &[v1::offer::Operation],
    raw: Vec<OperationSlices>,
) -> Vec<Operation> {
    decoded
        .iter()
        .zip(raw)
        .map(|(operation, raw)| Operation {
            id: operation.id.as_ref().map(|id| id.value.clone()),
            kind: kind(framework, operation, raw),
        })
        .collect()
}

fn invalid(kind: Type, message: impl Into<String>) -> OperationKind {
    OperationKind::Invalid { name: kind.as_str_name().to_owned(), message: message.into() }
}

/// A part that the type asks for and that is not there, in Mesos's words.
fn missing(kind: Type) -> OperationKind {
    invalid(kind, format!("Expecting '{}' to be present", kind.as_str_name().to_ascii_lowercase()))
}

fn kind(framework: &FrameworkId, operation: &v1::offer::Operation, raw: OperationSlices) -> OperationKind {
    let kind = operation.r#type.and_then(|number| Type::try_from(number).ok()).unwrap_or(Type::Unknown);
    match kind {
        Type::Launch => {
            let infos = operation.launch.as_ref().map_or(&[][..], |launch| &launch.task_infos);
            let specs = infos.iter().zip(raw.launch_task_infos).map(|(info, raw)| task(framework, info, raw));
            OperationKind::Launch(specs.collect())
        }
        Type::LaunchGroup => match &operation.launch_group {
            Some(group) => launch_group(framework, group, raw),
            None => missing(kind),
        },
        Type::CreateDisk | Type::DestroyDisk => invalid(kind, "storage resource providers are not supported"),
        Type::Unknown => invalid(kind, "Unknown operation type"),
        Type::Reserve | Type::Unreserve | Type::Create | Type::Destroy | Type::GrowVolume | Type::ShrinkVolume => {
            match convert(kind, operation) {
                None => missing(kind),
                Some(Ok(conversion)) => OperationKind::Convert(conversion),
                Some(Err(message)) => invalid(kind, message),
            }
        }
    }
}

fn convert(kind: Type, operation: &v1::offer::Operation) -> Option<Result<Conversion, String>> {
    Some(match kind {
        Type::Reserve => {
            let reserve = operation.reserve.as_ref()?;
            if reserve.source.is_empty() {
                conversion::reserve(&reserve.resources, &[])
            } else {
                Err("'source' must not be set in a RESERVE operation of a framework".to_owned())
            }
        }
        Type::Unreserve => conversion::unreserve(&operation.unreserve.as_ref()?.resources),
        Type::Create => conversion::create(&operation.create.as_ref()?.volumes),
        Type::Destroy => conversion::destroy(&operation.destroy.as_ref()?.volumes),
        Type::GrowVolume => {
            let grow = operation.grow_volume.as_ref()?;
            conversion::grow(&grow.volume, &grow.addition)
        }
        Type::ShrinkVolume => {
            let shrink = operation.shrink_volume.as_ref()?;
            conversion::shrink(&shrink.volume, shrink.subtract)
        }
        _ => return None,
    })
}

fn launch_group(
    framework: &FrameworkId,
    group: &v1::offer::operation::LaunchGroup,
    raw: OperationSlices,
) -> OperationKind {
    let (executor, executor_error) = executor(framework, &group.executor, raw.group_executor.unwrap_or_default());
    let infos = &group.task_group.tasks;
    let tasks = infos.iter().zip(raw.group_task_infos).map(|(info, raw)| {
        let mut spec = task_facts(info, raw);
        spec.invalid = executor_error
            .clone()
            .or_else(|| group_executor_error(&group.executor))
            .or_else(|| group_task_error(info))
            .or(spec.invalid);
        spec
    });
    OperationKind::LaunchGroup { executor, tasks: tasks.collect() }
}

/// Reads one task. `raw` is the `TaskInfo` undecoded.
#[must_use]
pub fn task(framework: &FrameworkId, info: &v1::TaskInfo, raw: Bytes) -> TaskSpec {
    let mut body = raw.clone();
    let mut executor_error = None;
    let mut spec_executor = None;
    if let Some(executor_info) = &info.executor {
        let inner = wire::slices(&raw, &[number::TASK_EXECUTOR]).map(wire::merged);
        match inner {
            Ok(inner) => {
                let (spec, error) = executor(framework, executor_info, inner.unwrap_or_default());
                if executor_info.framework_id.is_none() {
                    body = with(&body, number::TASK_EXECUTOR, &framework_id_field(framework));
                }
                executor_error = error;
                spec_executor = Some(spec);
            }
            Err(error) => executor_error = Some(malformed(&error)),
        }
    }
    let mut spec = task_facts(info, body);
    spec.executor = spec_executor;
    spec.invalid = launcher_error(info).or(executor_error).or(spec.invalid);
    spec
}

fn malformed(error: &WireError) -> String {
    format!("Task cannot be read: {error}")
}

fn launcher_error(info: &v1::TaskInfo) -> Option<String> {
    (info.executor.is_some() == info.command.is_some())
        .then(|| "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present".to_owned())
}

fn task_facts(info: &v1::TaskInfo, mut body: Bytes) -> TaskSpec {
    let (resources, resource_error) = match resources::from_proto(&info.resources) {
        Ok(resources) => (resources, None),
        Err(error) => (Resources::new(), Some(format!("Task uses invalid resources: {error}"))),
    };
    if let Some(kind) = missing_health_check_type(info) {
        let mut patch = Vec::new();
        put_varint(&mut patch, number::HEALTH_CHECK_TYPE, kind as i32 as u64);
        body = with(&body, number::TASK_HEALTH_CHECK, &patch);
    }
    let empty = || resources.is_empty().then(|| "Task uses no resources".to_owned());
    TaskSpec {
        task: info.task_id.value.as_str().into(),
        name: info.name.clone(),
        agent: info.agent_id.value.as_str().into(),
        // The cast saturates, and makes 0 of NaN.
        priority: info.priority.map(|priority| priority.round() as i64),
        executor: None,
        invalid: task_error(info).or(resource_error).or_else(empty),
        resources,
        body,
    }
}

fn task_error(info: &v1::TaskInfo) -> Option<String> {
    validate_id(&info.task_id.value)
        .err()
        .map(|error| format!("Task ID is invalid: {error}"))
        .or_else(|| kill_policy_error(info))
        .or_else(|| {
            let limit = info.max_completion_time.as_ref()?;
            (limit.nanoseconds < 0).then(|| "Task's `max_completion_time` must be non-negative".to_owned())
        })
        .or_else(|| health_check_error(info).map(|error| format!("Task uses invalid health check: {error}")))
        .or_else(|| check_error(info).map(|error| format!("Task uses invalid check: {error}")))
        .or_else(|| limits_error(info))
        .or_else(|| command_error(info))
}

fn kill_policy_error(info: &v1::TaskInfo) -> Option<String> {
    let grace = info.kill_policy.as_ref()?.grace_period.as_ref()?;
    (grace.nanoseconds < 0).then(|| "Task's 'kill_policy.grace_period' must be non-negative".to_owned())
}

fn command_error(info: &v1::TaskInfo) -> Option<String> {
    let variables =
        info.command.iter().filter_map(|command| command.environment.as_ref()).flat_map(|env| &env.variables);
    for variable in variables {
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) {
            return Some(format!("Environment variable '{}' is not a name", resources::printable(&variable.name)));
        }
        if variable.value.as_deref().is_some_and(|value| value.contains('\0')) {
            return Some(format!("Environment variable '{}' contains a NUL", resources::printable(&variable.name)));
        }
    }
    None
}

/// The type that a health check is by what it holds, where the client left the type out, as old clients do.
fn missing_health_check_type(info: &v1::TaskInfo) -> Option<v1::health_check::Type> {
    use v1::health_check::Type;
    let check = info.health_check.as_ref()?;
    if check.r#type.is_some() {
        return None;
    }
    match (&check.command, &check.http, &check.tcp) {
        (Some(_), None, None) => Some(Type::Command),
        (None, Some(_), None) => Some(Type::Http),
        (None, None, Some(_)) => Some(Type::Tcp),
        _ => None,
    }
}

fn health_check_error(info: &v1::TaskInfo) -> Option<String> {
    use v1::health_check::Type;
    let check = info.health_check.as_ref()?;
    let kind = check.r#type.and_then(|number| Type::try_from(number).ok()).or_else(|| missing_health_check_type(info));
    let missing = |field: &str, kind: &str| Some(format!("Expecting '{field}' to be set for {kind} health check"));
    let wrong = match kind {
        None | Some(Type::Unknown) => Some("HealthCheck must specify 'type'".to_owned()),
        Some(Type::Command) => match &check.command {
            None => missing("command", "COMMAND"),
            Some(command) if command.value.is_none() => {
                Some("Command health check must contain 'shell command' or 'executable path'".to_owned())
            }
            Some(_) => None,
        },
        Some(Type::Http) => match &check.http {
            None => missing("http", "HTTP"),
            Some(http) => http_error(http),
        },
        Some(Type::Tcp) => match &check.tcp {
            None => missing("tcp", "TCP"),
            Some(tcp) => port_error(tcp.port),
        },
    };
    wrong.or_else(|| {
        seconds_error("delay_seconds", check.delay_seconds)
            .or_else(|| seconds_error("interval_seconds", check.interval_seconds))
            .or_else(|| seconds_error("timeout_seconds", check.timeout_seconds))
            .or_else(|| seconds_error("grace_period_seconds", check.grace_period_seconds))
    })
}

fn http_error(http: &v1::health_check::HttpCheckInfo) -> Option<String> {
    if let Some(scheme) = http.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        return Some(format!("Unsupported HTTP health check scheme: '{}'", resources::printable(scheme)));
    }
    if let Some(path) = http.path.as_deref().filter(|path| !path.starts_with('/')) {
        return Some(format!("The path '{}' of HTTP health check must start with '/'", resources::printable(path)));
    }
    port_error(http.port)
}

fn port_error(port: u32) -> Option<String> {
    (port == 0 || port > 65535).then(|| format!("the port {port} is not between 1 and 65535"))
}

fn check_error(info: &v1::TaskInfo) -> Option<String> {
    use v1::check_info::Type;
    let check = info.check.as_ref()?;
    let wrong = match check.r#type.and_then(|number| Type::try_from(number).ok()) {
        None => Some("CheckInfo must specify 'type'".to_owned()),
        Some(Type::Unknown) => Some("'UNKNOWN' is not a valid check type".to_owned()),
        Some(Type::Command) if check.command.is_none() => {
            Some("Expecting 'command' to be set for COMMAND check".to_owned())
        }
        Some(Type::Http) if check.http.is_none() => Some("Expecting 'http' to be set for HTTP check".to_owned()),
        Some(Type::Tcp) if check.tcp.is_none() => Some("Expecting 'tcp' to be set for TCP check".to_owned()),
        Some(_) => None,
    };
    wrong.or_else(|| {
        seconds_error("delay_seconds", check.delay_seconds)
            .or_else(|| seconds_error("interval_seconds", check.interval_seconds))
            .or_else(|| seconds_error("timeout_seconds", check.timeout_seconds))
    })
}

fn seconds_error(field: &str, seconds: Option<f64>) -> Option<String> {
    seconds
        .filter(|seconds| seconds.is_nan() || *seconds < 0.0)
        .map(|_| format!("Expecting '{field}' to be non-negative"))
}

/// Limits are for cpus and mem, at least the request, or infinite.
fn limits_error(info: &v1::TaskInfo) -> Option<String> {
    let mut limits: Vec<(&String, f64)> = info.limits.iter().map(|(name, scalar)| (name, scalar.value)).collect();
    limits.sort_by(|left, right| left.0.cmp(right.0));
    for (name, limit) in limits {
        if !matches!(name.as_str(), "cpus" | "mem") {
            return Some(format!(
                "Task limits may only be set for cpus and mem, not for '{}'",
                resources::printable(name)
            ));
        }
        let request: f64 = info
            .resources
            .iter()
            .filter(|resource| resource.name == *name)
            .filter_map(|resource| resource.scalar.as_ref())
            .map(|scalar| scalar.value)
            .sum();
        if limit.is_nan() || limit < request {
            return Some(format!("Task limit for {name} is less than its request"));
        }
    }
    None
}

fn framework_id_field(framework: &FrameworkId) -> Vec<u8> {
    let (mut id, mut field) = (Vec::new(), Vec::new());
    put_bytes(&mut id, number::FRAMEWORK_ID_VALUE, framework.as_str().as_bytes());
    put_bytes(&mut field, number::EXECUTOR_FRAMEWORK_ID, &id);
    field
}

/// Reads an executor; also what is wrong with it. `raw` is the `ExecutorInfo` undecoded.
fn executor(framework: &FrameworkId, info: &v1::ExecutorInfo, raw: Bytes) -> (ExecutorSpec, Option<String>) {
    let (found, resource_error) = match resources::from_proto(&info.resources) {
        Ok(found) => (found, None),
        Err(error) => (Resources::new(), Some(format!("Executor uses invalid resources: {error}"))),
    };
    let mut body = raw;
    if info.framework_id.is_none() {
        let mut out = body.to_vec();
        out.extend_from_slice(&framework_id_field(framework));
        body = out.into();
    }
    use v1::executor_info::Type;
    // Without a type it is a custom one, as before there were types.
    let custom = info.r#type.and_then(|number| Type::try_from(number).ok()) != Some(Type::Default);
    let spec = ExecutorSpec { executor: info.executor_id.value.as_str().into(), resources: found, body, custom };
    (spec, executor_error(framework, info).or(resource_error))
}

fn executor_error(framework: &FrameworkId, info: &v1::ExecutorInfo) -> Option<String> {
    use v1::executor_info::Type;
    if let Err(error) = validate_id(&info.executor_id.value) {
        return Some(format!("Executor ID is invalid: {error}"));
    }
    if let Some(id) = info.framework_id.as_ref().filter(|id| id.value != framework.as_str()) {
        let actual = resources::printable(&id.value);
        return Some(format!("ExecutorInfo has an invalid FrameworkID (Actual: {actual} vs Expected: {framework})"));
    }
    if info.shutdown_grace_period.as_ref().is_some_and(|grace| grace.nanoseconds < 0) {
        return Some("ExecutorInfo's 'shutdown_grace_period' must be non-negative".to_owned());
    }
    match info.r#type.and_then(|number| Type::try_from(number).ok()) {
        Some(Type::Default) if info.command.is_some() => {
            Some("'ExecutorInfo.command' must not be set for 'DEFAULT' executor".to_owned())
        }
        Some(Type::Custom) if info.command.is_none() => {
            Some("'ExecutorInfo.command' must be set for 'CUSTOM' executor".to_owned())
        }
        // Without a type it is a custom one, as before there were types.
        None if info.command.is_none() => Some("'ExecutorInfo.command' must be set for 'CUSTOM' executor".to_owned()),
        _ => None,
    }
}

fn group_executor_error(info: &v1::ExecutorInfo) -> Option<String> {
    use v1::{container_info, executor_info::Type};
    match info.r#type.and_then(|number| Type::try_from(number).ok()) {
        Some(Type::Default | Type::Custom) => {}
        _ => return Some("Executor type must be 'DEFAULT' or 'CUSTOM' for LAUNCH_GROUP operation".to_owned()),
    }
    let docker =
        info.container.as_ref().is_some_and(|container| container.r#type == i32::from(container_info::Type::Docker));
    docker.then(|| "Docker ContainerInfo is not supported on the executor of a task group".to_owned())
}

fn group_task_error(info: &v1::TaskInfo) -> Option<String> {
    use v1::container_info;
    if info.executor.is_some() {
        return Some("'TaskInfo.executor' must not be set in a task group".to_owned());
    }
    if info.command.is_none() {
        return Some("Task of a task group must have a CommandInfo".to_owned());
    }
    let container = info.container.as_ref()?;
    if container.r#type == i32::from(container_info::Type::Docker) {
        return Some("Docker ContainerInfo is not supported on the task".to_owned());
    }
    (!container.network_infos.is_empty()).then(|| "NetworkInfos must not be set on the task".to_owned())
}

#[cfg(test)]
mod tests {
    use mesos_proto::{json, prost::Message as _};

    use super::*;

    fn read(more: &str) -> TaskSpec {
        let text = format!(
            r#"{{"name":"n","task_id":{{"value":"t"}},"agent_id":{{"value":"a"}},
                "resources":[{{"name":"cpus","type":"SCALAR","scalar":{{"value":1}}}}],{more}}}"#
        );
        let bytes = json::decode_to_bytes("mesos.v1.TaskInfo", text.as_bytes()).unwrap();
        task(&"f-1".into(), &v1::TaskInfo::decode(bytes.clone()).unwrap(), bytes)
    }

    const COMMAND: &str = r#""command":{"value":"true"}"#;

    #[test]
    fn a_plain_task_keeps_its_bytes() {
        let spec = read(COMMAND);
        assert_eq!(spec.invalid, None);
        assert_eq!(spec.resources.scalar("cpus"), 1000);
        assert_eq!(v1::TaskInfo::decode(spec.body).unwrap().command.unwrap().value.as_deref(), Some("true"));
    }

    #[test]
    fn a_task_needs_a_command_or_an_executor_and_not_both() {
        for more in [r#""data":"""#, r#""command":{},"executor":{"executor_id":{"value":"e"},"command":{}}"#] {
            assert!(read(more).invalid.unwrap_or_default().contains("at least one (but not both)"), "{more}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_task_is_said() {
        for (more, words) in [
            (r#""kill_policy":{"grace_period":{"nanoseconds":-1}}"#, "kill_policy"),
            (r#""max_completion_time":{"nanoseconds":-1}"#, "max_completion_time"),
            (r#""health_check":{}"#, "must specify 'type'"),
            (r#""health_check":{"type":"HTTP"}"#, "Expecting 'http'"),
            (r#""health_check":{"type":"HTTP","http":{"port":70000}}"#, "70000"),
            (r#""health_check":{"type":"HTTP","http":{"port":80,"scheme":"gopher"}}"#, "scheme"),
            (r#""health_check":{"type":"HTTP","http":{"port":80,"path":"x"}}"#, "must start with '/'"),
            (r#""health_check":{"type":"TCP","tcp":{"port":0}}"#, "port 0"),
            (r#""health_check":{"type":"TCP","tcp":{"port":1},"delay_seconds":-1}"#, "delay_seconds"),
            (r#""health_check":{"type":"COMMAND","command":{}}"#, "Command health check"),
            (r#""check":{}"#, "CheckInfo must specify 'type'"),
            (r#""check":{"type":"TCP"}"#, "Expecting 'tcp'"),
            (r#""limits":{"disk":{"value":1}}"#, "only be set for cpus and mem"),
            (r#""limits":{"cpus":{"value":0.5}}"#, "less than its request"),
            (r#""resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":-1}}]"#, "Task uses invalid resources"),
            (r#""resources":[]"#, "Task uses no resources"),
            (r#""task_id":{"value":"a/b"}"#, "Task ID is invalid"),
        ] {
            let mut value: serde_json::Value = serde_json::from_str(
                r#"{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"a"},"command":{"value":"true"},
                    "resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}]}"#,
            )
            .unwrap();
            let more: serde_json::Value = serde_json::from_str(&format!("{{{more}}}")).unwrap();
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let bytes = json::value_to_bytes("mesos.v1.TaskInfo", &value).unwrap();
            let spec = task(&"f".into(), &v1::TaskInfo::decode(bytes.clone()).unwrap(), bytes);
            assert!(spec.invalid.clone().unwrap_or_default().contains(words), "{value}: {:?}", spec.invalid);
        }
        let environment = r#""command":{"value":"x","environment":{"variables":[{"name":"A=B","value":""}]}}"#;
        assert!(read(environment).invalid.is_some());
    }

    #[test]
    fn limits_may_be_infinite() {
        assert_eq!(read(&format!(r#"{COMMAND},"limits":{{"cpus":{{"value":"Infinity"}}}}"#)).invalid, None);
    }

    #[test]
    fn the_framework_id_and_the_health_check_type_are_filled_in_and_unknown_fields_stay() {
        let spec = read(
            r#""executor":{"executor_id":{"value":"e"},"command":{"value":"x"}},"health_check":{"tcp":{"port":1}}"#,
        );
        assert_eq!(spec.invalid, None);
        let info = v1::TaskInfo::decode(spec.body.clone()).unwrap();
        assert_eq!(info.health_check.unwrap().r#type, Some(v1::health_check::Type::Tcp.into()));
        let executor = info.executor.unwrap();
        assert_eq!((executor.executor_id.value.as_str(), executor.framework_id.unwrap().value.as_str()), ("e", "f-1"));
        let own = v1::ExecutorInfo::decode(spec.executor.unwrap().body).unwrap();
        assert_eq!(own.framework_id.unwrap().value, "f-1");

        let mut unknown = spec.body.to_vec();
        put_bytes(&mut unknown, 29_999, b"of a newer client");
        let unknown: Bytes = unknown.into();
        let again = task(&"f-1".into(), &v1::TaskInfo::decode(unknown.clone()).unwrap(), unknown);
        assert!(again.body.windows(17).any(|part| part == b"of a newer client"));
    }

    #[test]
    fn executors_must_fit_their_type_and_framework() {
        for executor in [
            r#"{"executor_id":{"value":""},"command":{}}"#,
            r#"{"executor_id":{"value":"e"}}"#,
            r#"{"executor_id":{"value":"e"},"type":"DEFAULT","command":{}}"#,
            r#"{"executor_id":{"value":"e"},"type":"CUSTOM"}"#,
            r#"{"executor_id":{"value":"e"},"command":{},"framework_id":{"value":"other"}}"#,
            r#"{"executor_id":{"value":"e"},"command":{},"shutdown_grace_period":{"nanoseconds":-5}}"#,
            r#"{"executor_id":{"value":"e"},"command":{},"resources":[{"name":"x","type":"SCALAR"}]}"#,
        ] {
            assert!(read(&format!(r#""executor":{executor}"#)).invalid.is_some(), "{executor}");
        }
    }

    fn accept(operations: &str) -> Vec<Operation> {
        let text =
            format!(r#"{{"type":"ACCEPT","framework_id":{{"value":"f"}},"accept":{{"operations":[{operations}]}}}}"#);
        let bytes = json::decode_to_bytes("mesos.v1.scheduler.Call", text.as_bytes()).unwrap();
        let call = v1::scheduler::Call::decode(bytes.clone()).unwrap();
        super::operations(&"f".into(), &call.accept.unwrap().operations, wire::accept_operations(&bytes).unwrap())
    }

    #[test]
    fn operations_that_are_not_acceptable_keep_their_name_and_id() {
        let found = accept(
            r#"{"type":"RESERVE","id":{"value":"op"},"reserve":{}},{"type":"CREATE_DISK"},{"type":"LAUNCH"},{},
               {"type":"CREATE"},{"type":"LAUNCH_GROUP"},{"type":"RESERVE","reserve":{"source":[{"name":"cpus","type":"SCALAR"}]}}"#,
        );
        assert_eq!(found[0].id.as_deref(), Some("op"));
        assert_eq!(found[2].kind, OperationKind::Launch(vec![]));
        for (at, name, words) in [
            (0, "RESERVE", "Invalid resources"),
            (1, "CREATE_DISK", "storage resource providers are not supported"),
            (3, "UNKNOWN", "Unknown"),
            (4, "CREATE", "Expecting 'create' to be present"),
            (5, "LAUNCH_GROUP", "Expecting 'launch_group' to be present"),
            (6, "RESERVE", "'source' must not be set"),
        ] {
            let OperationKind::Invalid { name: found, message } = &found[at].kind else { panic!("{found:?}") };
            assert!(found == name && message.contains(words), "{found}: {message}");
        }
    }

    #[test]
    fn each_operation_on_resources_says_what_goes_and_what_comes() {
        let disk = |size: u32, more: &str| {
            format!(
                r#"{{"name":"disk","type":"SCALAR","scalar":{{"value":{size}}},"role":"ads","reservation":{{}},
                    "allocation_info":{{"role":"ads"}}{more}}}"#
            )
        };
        let volume =
            |size| disk(size, r#","disk":{"persistence":{"id":"v"},"volume":{"container_path":"d","mode":"RW"}}"#);
        let (plain, whole) = (disk(2, ""), volume(4));
        for (operation, consumed, converted) in [
            (format!(r#""RESERVE","reserve":{{"resources":[{plain}]}}"#), 2000, 2000),
            (format!(r#""UNRESERVE","unreserve":{{"resources":[{plain}]}}"#), 2000, 2000),
            (format!(r#""CREATE","create":{{"volumes":[{whole}]}}"#), 4000, 4000),
            (format!(r#""DESTROY","destroy":{{"volumes":[{whole}]}}"#), 4000, 4000),
            (format!(r#""GROW_VOLUME","grow_volume":{{"volume":{whole},"addition":{plain}}}"#), 6000, 6000),
            (format!(r#""SHRINK_VOLUME","shrink_volume":{{"volume":{whole},"subtract":{{"value":1}}}}"#), 4000, 4000),
        ] {
            let found = accept(&format!(r#"{{"type":{operation}}}"#)).remove(0).kind;
            let OperationKind::Convert(conversion) = found else { panic!("{operation}: {found:?}") };
            assert!(operation.contains(&conversion.name), "{operation}: {}", conversion.name);
            assert_eq!(conversion.consumed.scalar("disk"), consumed, "{operation}");
            assert_eq!(conversion.converted.scalar("disk"), converted, "{operation}");
            assert_ne!(conversion.consumed, conversion.converted);
        }
    }

    #[test]
    fn a_task_group_has_one_executor_and_plain_tasks() {
        let group = |executor: &str, task: &str| {
            let found = accept(&format!(
                r#"{{"type":"LAUNCH_GROUP","launch_group":{{"executor":{{"executor_id":{{"value":"e"}},{executor}}},
                    "task_group":{{"tasks":[{{"name":"n","task_id":{{"value":"t"}},"agent_id":{{"value":"a"}},
                    "resources":[{{"name":"cpus","type":"SCALAR","scalar":{{"value":1}}}}],{task}}}]}}}}}}"#
            ));
            match found.into_iter().next().unwrap().kind {
                OperationKind::LaunchGroup { executor, tasks } => (executor, tasks[0].clone()),
                other => panic!("{other:?}"),
            }
        };
        let (executor, task) = group(r#""type":"DEFAULT""#, COMMAND);
        assert_eq!((executor.executor.as_str(), task.invalid), ("e", None));
        for (executor, task) in [
            (r#""source":"""#, COMMAND),
            (r#""type":"DEFAULT","container":{"type":"DOCKER"}"#, COMMAND),
            (r#""type":"DEFAULT""#, r#""executor":{"executor_id":{"value":"e"}}"#),
            (r#""type":"DEFAULT""#, r#""data":"""#),
            (r#""type":"DEFAULT""#, r#""command":{},"container":{"type":"DOCKER","docker":{"image":"x"}}"#),
            (r#""type":"DEFAULT""#, r#""command":{},"container":{"type":"MESOS","network_infos":[{}]}"#),
        ] {
            assert!(group(executor, task).1.invalid.is_some(), "{executor} {task}");
        }
    }
}

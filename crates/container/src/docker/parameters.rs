//! The options of `docker run` that a task may pass through, one row each.

use bollard::models::{ContainerCreateBody, HostConfig, ResourcesUlimits};
use mesos_ports::containerizer::ContainerError;

type Setter = fn(&str, &mut ContainerCreateBody, &mut HostConfig) -> Result<(), &'static str>;

fn push(list: &mut Option<Vec<String>>, value: &str) {
    list.get_or_insert_default().push(value.to_string());
}

fn flag(value: &str) -> Result<Option<bool>, &'static str> {
    match value {
        "" | "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        _ => Err("expected true or false"),
    }
}

fn pair<'a>(value: &'a str, expected: &'static str) -> Result<(&'a str, &'a str), &'static str> {
    value.split_once('=').ok_or(expected)
}

/// Names as on Docker's command line, without the dashes.
const TABLE: &[(&str, Setter)] = &[
    ("add-host", |value, _, host| {
        push(&mut host.extra_hosts, value);
        Ok(())
    }),
    ("cap-add", |value, _, host| {
        push(&mut host.cap_add, value);
        Ok(())
    }),
    ("cap-drop", |value, _, host| {
        push(&mut host.cap_drop, value);
        Ok(())
    }),
    ("cgroup-parent", |value, _, host| {
        host.cgroup_parent = Some(value.into());
        Ok(())
    }),
    ("cpuset-cpus", |value, _, host| {
        host.cpuset_cpus = Some(value.into());
        Ok(())
    }),
    ("dns", |value, _, host| {
        push(&mut host.dns, value);
        Ok(())
    }),
    ("dns-option", |value, _, host| {
        push(&mut host.dns_options, value);
        Ok(())
    }),
    ("dns-search", |value, _, host| {
        push(&mut host.dns_search, value);
        Ok(())
    }),
    ("entrypoint", |value, body, _| {
        body.entrypoint = Some(vec![value.into()]);
        Ok(())
    }),
    ("env", |value, body, _| {
        push(&mut body.env, value);
        Ok(())
    }),
    ("group-add", |value, _, host| {
        push(&mut host.group_add, value);
        Ok(())
    }),
    ("hostname", |value, body, _| {
        body.hostname = Some(value.into());
        Ok(())
    }),
    ("init", |value, _, host| {
        host.init = flag(value)?;
        Ok(())
    }),
    ("ipc", |value, _, host| {
        host.ipc_mode = Some(value.into());
        Ok(())
    }),
    ("label", |value, body, _| {
        let (key, value) = value.split_once('=').unwrap_or((value, ""));
        if key.starts_with("mesos.") {
            return Err("labels that begin with `mesos.` are the agent's");
        }
        body.labels.get_or_insert_default().insert(key.into(), value.into());
        Ok(())
    }),
    ("log-driver", |value, _, host| {
        let config = host.log_config.get_or_insert_default();
        config.typ = Some(value.into());
        if let Some(options) = config.config.as_mut().filter(|_| value != "json-file") {
            // Those of the driver that it would have had; another may refuse them.
            options.retain(|key, _| !matches!(key.as_str(), "max-size" | "max-file"));
        }
        Ok(())
    }),
    ("log-opt", |value, _, host| {
        let (key, value) = pair(value, "expected name=value")?;
        let config = host.log_config.get_or_insert_default();
        config.config.get_or_insert_default().insert(key.into(), value.into());
        Ok(())
    }),
    ("net", |value, _, host| {
        host.network_mode = Some(value.into());
        Ok(())
    }),
    ("network", |value, _, host| {
        host.network_mode = Some(value.into());
        Ok(())
    }),
    ("oom-score-adj", |value, _, host| {
        host.oom_score_adj = Some(value.parse().map_err(|_| "expected a number")?);
        Ok(())
    }),
    ("pid", |value, _, host| {
        host.pid_mode = Some(value.into());
        Ok(())
    }),
    ("read-only", |value, _, host| {
        host.readonly_rootfs = flag(value)?;
        Ok(())
    }),
    ("security-opt", |value, _, host| {
        push(&mut host.security_opt, value);
        Ok(())
    }),
    ("shm-size", |value, _, host| {
        host.shm_size = Some(value.parse().map_err(|_| "expected a number of bytes")?);
        Ok(())
    }),
    ("stop-signal", |value, body, _| {
        body.stop_signal = Some(value.into());
        Ok(())
    }),
    ("sysctl", |value, _, host| {
        let (key, value) = pair(value, "expected name=value")?;
        host.sysctls.get_or_insert_default().insert(key.into(), value.into());
        Ok(())
    }),
    ("tmpfs", |value, _, host| {
        let (path, options) = value.split_once(':').unwrap_or((value, ""));
        host.tmpfs.get_or_insert_default().insert(path.into(), options.into());
        Ok(())
    }),
    ("ulimit", |value, _, host| {
        const EXPECTED: &str = "expected name=soft[:hard]";
        let (name, limits) = pair(value, EXPECTED)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let number = |text: &str| text.parse::<i64>().map_err(|_| EXPECTED);
        let limit = ResourcesUlimits { name: Some(name.into()), soft: Some(number(soft)?), hard: Some(number(hard)?) };
        host.ulimits.get_or_insert_default().push(limit);
        Ok(())
    }),
    ("user", |value, body, _| {
        body.user = Some(value.into());
        Ok(())
    }),
    ("userns", |value, _, host| {
        host.userns_mode = Some(value.into());
        Ok(())
    }),
    ("volume", |value, _, host| {
        push(&mut host.binds, value);
        Ok(())
    }),
    ("workdir", |value, body, _| {
        body.working_dir = Some(value.into());
        Ok(())
    }),
];

/// Applies one parameter; an unknown one is an error that names the known ones.
pub(super) fn apply(key: &str, value: &str, body: &mut ContainerCreateBody) -> Result<(), ContainerError> {
    let name = key.trim_start_matches('-');
    let name = match name {
        "e" => "env",
        "h" => "hostname",
        "l" => "label",
        "u" => "user",
        "v" => "volume",
        "w" => "workdir",
        other => other,
    };
    let Some((_, set)) = TABLE.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = TABLE.iter().map(|(known, _)| *known).collect();
        return Err(ContainerError::Invalid(format!("unknown Docker parameter {key}; known are {}", known.join(", "))));
    };
    let mut host = body.host_config.take().unwrap_or_default();
    let set = set(value, body, &mut host);
    body.host_config = Some(host);
    set.map_err(|why| ContainerError::Invalid(format!("Docker parameter {key}={value}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_set() {
        let mut body = ContainerCreateBody::default();
        for (key, value) in
            [("--env", "A=1"), ("label", "x=y"), ("ulimit", "nofile=10:20"), ("w", "/tmp"), ("init", "true")]
        {
            apply(key, value, &mut body).expect("known");
        }
        assert_eq!(body.env, Some(vec!["A=1".to_string()]));
        assert_eq!(body.labels.expect("set")["x"], "y");
        assert_eq!(body.working_dir.as_deref(), Some("/tmp"));
        let host = body.host_config.expect("set");
        assert_eq!(host.init, Some(true));
        assert_eq!(host.ulimits.expect("set")[0].hard, Some(20));
    }

    #[test]
    fn an_unknown_parameter_names_the_known_ones_and_a_bad_value_the_expected_one() {
        let mut body = ContainerCreateBody::default();
        let text = |key, value| apply(key, value, &mut ContainerCreateBody::default()).expect_err("wrong").to_string();
        let error = text("rm", "true");
        assert!(error.contains("unknown Docker parameter rm") && error.contains("cap-add, cap-drop"), "{error}");
        assert!(text("ulimit", "many").contains("name=soft[:hard]"));
        assert!(text("label", "mesos.task_id=x").contains("the agent's"));
        assert!(apply("shm-size", "1", &mut body).is_ok());
    }
}

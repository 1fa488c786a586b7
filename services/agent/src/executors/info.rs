//! What an `ExecutorInfo` means for a host: facts for the machine, and what its container needs.

use std::time::Duration;

use mesos_core::agent::{ContainerOrder, ExecutorFacts};
use mesos_model::uuid_text;
use mesos_proto::v1;
use prost::Message;
use uuid::Uuid;

use crate::{AgentOptions, task::nanoseconds_to_ms};

/// What the machine must know of an executor that may have to be started. One that cannot be read has nothing
/// that could be known, and fails when it is started.
pub(crate) fn facts(body: &[u8], grace: Duration) -> ExecutorFacts {
    let info = v1::ExecutorInfo::decode(body).unwrap_or_default();
    let own = info.shutdown_grace_period.as_ref().map(|own| nanoseconds_to_ms(own.nanoseconds));
    ExecutorFacts {
        grace_ms: own.unwrap_or(grace.as_millis() as u64),
        has_resources: !info.resources.is_empty(),
        token: Uuid::new_v4().as_u128(),
    }
}

/// An executor as a task, of which a container can be made.
///
/// # Errors
/// Says that it cannot be read.
pub(crate) fn as_task(body: &[u8]) -> Result<v1::TaskInfo, String> {
    let info = v1::ExecutorInfo::decode(body).map_err(|error| format!("the ExecutorInfo cannot be read: {error}"))?;
    Ok(v1::TaskInfo {
        command: info.command,
        container: info.container,
        resources: info.resources,
        ..v1::TaskInfo::default()
    })
}

/// What an executor finds in its environment beside what every task does (`executorEnvironment` in
/// `src/slave/slave.cpp`).
pub(crate) fn environment(
    options: &AgentOptions,
    order: &ContainerOrder,
    token: u128,
    grace_ms: u64,
) -> Vec<(&'static str, String)> {
    let ip = if options.ip.is_loopback() { options.ip } else { std::net::IpAddr::from([127, 0, 0, 1]) };
    let endpoint = match u16::try_from(options.port) {
        Ok(port) => std::net::SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{ip}:{}", options.port),
    };
    vec![
        ("MESOS_AGENT_ENDPOINT", endpoint.clone()),
        ("MESOS_SLAVE_PID", format!("slave(1)@{endpoint}")),
        // Every agent keeps a checkpoint, and its tasks go on without it.
        ("MESOS_CHECKPOINT", "1".to_owned()),
        ("MESOS_RECOVERY_TIMEOUT", duration(options.executors.recovery_timeout)),
        ("MESOS_SUBSCRIPTION_BACKOFF_MAX", duration(options.executors.reregistration_timeout)),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", duration(Duration::from_millis(grace_ms))),
        ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", uuid_text(token)),
        ("MESOS_HTTP_COMMAND_EXECUTOR", "0".to_owned()),
        ("MESOS_CONTAINER_ID", order.container.clone()),
        ("LIBPROCESS_PORT", "0".to_owned()),
    ]
}

/// A duration as Mesos's executors read it.
fn duration(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}mins", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}secs", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_mesos_reads_them() {
        for (ms, text) in [(0, "0secs"), (5_000, "5secs"), (900_000, "15mins"), (1_500, "1500ms")] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn an_executor_says_its_grace_or_has_the_agents() {
        let grace = Duration::from_secs(5);
        let mut info = v1::ExecutorInfo::default();
        assert_eq!(facts(&info.encode_to_vec(), grace).grace_ms, 5000);
        info.shutdown_grace_period = Some(v1::DurationInfo { nanoseconds: 2_000_000_000 });
        let found = facts(&info.encode_to_vec(), grace);
        assert_eq!((found.grace_ms, found.has_resources), (2000, false));
        assert_ne!(found.token, facts(&info.encode_to_vec(), grace).token, "each start has its own secret");
        assert_eq!(facts(b"\xff\xff", grace).grace_ms, 5000);
        assert!(as_task(b"\xff\xff").is_err());
    }
}

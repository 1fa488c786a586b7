//! From the machine's events to the contract's, as undecoded protobuf: of tasks and executors nothing is lost
//! that a newer client has written.

use bytes::Bytes;
use mesos_core::{agent::ExecutorEvent, row::FrameworkFacts};
use mesos_model::{AgentId, FrameworkId};
use mesos_proto::{
    compose::{put_bytes, put_varint},
    json::{self, Defaults},
    prost::Message as _,
    recordio,
    v1::{
        self,
        executor::{Event, event},
    },
};
use mesos_runtime::http::headers::Encoding;

use crate::AgentOptions;

const EVENT: &str = "mesos.v1.executor.Event";

/// Field numbers of events that are written by hand.
mod number {
    pub(super) const TYPE: u32 = 1;
    pub(super) const SUBSCRIBED: u32 = 2;
    pub(super) const LAUNCH: u32 = 4;
    pub(super) const LAUNCH_GROUP: u32 = 8;
    pub(super) const LAUNCH_TASK: u32 = 1;
    pub(super) const GROUP: u32 = 1;
    pub(super) const GROUP_TASKS: u32 = 1;
    pub(super) const EXECUTOR_INFO: u32 = 1;
}

/// HEARTBEAT.
pub(super) fn heartbeat() -> Bytes {
    encode(event::Type::Heartbeat, Event::default())
}

/// An event as one record.
pub(super) fn record(event: &Bytes, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Protobuf => recordio::encode(event),
        Encoding::Json => {
            let text = json::encode_bytes(EVENT, event, Defaults::Declared).unwrap_or_else(|error| {
                tracing::error!(%error, "an event cannot be written as JSON");
                r#"{"type":"UNKNOWN"}"#.to_owned()
            });
            recordio::encode(text.as_bytes())
        }
    }
}

fn encode(kind: event::Type, event: Event) -> Bytes {
    Event { r#type: Some(kind.into()), ..event }.encode_to_vec().into()
}

/// An event of an agent that has this port.
pub(super) fn event(options: &AgentOptions, port: u16, agent: Option<&AgentId>, event: &ExecutorEvent) -> Bytes {
    use event::Type;
    match event {
        ExecutorEvent::Subscribed { framework, facts, body, container } => {
            let subscribed = event::Subscribed {
                framework_info: framework_info(framework, facts),
                agent_info: v1::AgentInfo {
                    hostname: options.hostname.clone(),
                    port: Some(i32::from(port)),
                    id: agent.map(|id| v1::AgentId { value: id.to_string() }),
                    ..v1::AgentInfo::default()
                },
                container_id: Some(v1::ContainerId { value: container.clone(), ..v1::ContainerId::default() }),
                executor_info: v1::ExecutorInfo::default(),
            };
            // The executor's own bytes come after the empty ones, and are merged with them.
            let mut inner = subscribed.encode_to_vec();
            put_bytes(&mut inner, number::EXECUTOR_INFO, body);
            by_hand(Type::Subscribed, number::SUBSCRIBED, &inner)
        }
        ExecutorEvent::Launch(task) => {
            let mut inner = Vec::new();
            put_bytes(&mut inner, number::LAUNCH_TASK, task);
            by_hand(Type::Launch, number::LAUNCH, &inner)
        }
        ExecutorEvent::LaunchGroup(tasks) => {
            let (mut group, mut inner) = (Vec::new(), Vec::new());
            for task in tasks {
                put_bytes(&mut group, number::GROUP_TASKS, task);
            }
            put_bytes(&mut inner, number::GROUP, &group);
            by_hand(Type::LaunchGroup, number::LAUNCH_GROUP, &inner)
        }
        ExecutorEvent::Kill { task, grace_ms } => {
            let grace = |ms: u64| v1::DurationInfo {
                nanoseconds: i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000),
            };
            let kill_policy = grace_ms.map(|ms| v1::KillPolicy { grace_period: Some(grace(ms)) });
            let kill = event::Kill { task_id: v1::TaskId { value: task.to_string() }, kill_policy };
            encode(Type::Kill, Event { kill: Some(kill), ..Event::default() })
        }
        ExecutorEvent::Acknowledged { task, uuid } => {
            let acknowledged = event::Acknowledged {
                task_id: v1::TaskId { value: task.to_string() },
                uuid: Bytes::copy_from_slice(&uuid.to_be_bytes()),
            };
            encode(Type::Acknowledged, Event { acknowledged: Some(acknowledged), ..Event::default() })
        }
        ExecutorEvent::Message(data) => {
            encode(Type::Message, Event { message: Some(event::Message { data: data.clone() }), ..Event::default() })
        }
        ExecutorEvent::Shutdown => encode(Type::Shutdown, Event::default()),
    }
}

fn by_hand(kind: event::Type, number: u32, inner: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(inner.len() + 16);
    put_varint(&mut out, number::TYPE, kind as i32 as u64);
    put_bytes(&mut out, number, inner);
    out.into()
}

/// As much of its framework as an agent knows.
fn framework_info(id: &FrameworkId, facts: &FrameworkFacts) -> v1::FrameworkInfo {
    v1::FrameworkInfo {
        user: facts.user.clone(),
        name: facts.name.clone(),
        id: Some(v1::FrameworkId { value: id.to_string() }),
        failover_timeout: Some(facts.failover_timeout_ms as f64 / 1000.0),
        // Every agent keeps a checkpoint.
        checkpoint: Some(true),
        principal: facts.principal.clone(),
        ..v1::FrameworkInfo::default()
    }
}

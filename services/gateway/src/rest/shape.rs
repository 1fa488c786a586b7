//! The JSON of the REST API, as the page reads it (`web/src/model/types.ts`).

use std::{collections::BTreeMap, sync::Arc};

use mesos_core::row::{AgentRow, AgentState, FrameworkRow, FrameworkState};
use mesos_model::{Resources, TaskStatus, attribute::AttributeValue, resources_text};
use mesos_proto::v1;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    legacy::shape::{capabilities, decode, framework_info, milli},
    reads::{Frame, VERSION},
    view::{
        Cluster, TaskKey, TaskView,
        totals::{Counts, Scalars},
    },
};

/// Amounts; `mem` and `disk` are megabytes.
#[derive(Debug, Serialize)]
pub struct Amounts {
    cpus: Value,
    mem: Value,
    disk: Value,
    gpus: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<String>,
}

impl From<&Scalars> for Amounts {
    fn from(sums: &Scalars) -> Amounts {
        let amount = |name| milli(sums.milli(name));
        Amounts { cpus: amount("cpus"), mem: amount("mem"), disk: amount("disk"), gpus: amount("gpus"), ports: None }
    }
}

impl From<&Resources> for Amounts {
    fn from(resources: &Resources) -> Amounts {
        let ports = resources.ranges("ports");
        Amounts {
            ports: (!ports.is_empty()).then(|| resources_text::ranges_text(&ports)),
            ..Amounts::from(&Scalars::of(resources))
        }
    }
}

/// Numbers by the names of states.
#[must_use]
pub fn counts(counts: &Counts) -> BTreeMap<&'static str, u64> {
    counts.iter().map(|(state, count)| (state.name(), count)).collect()
}

/// `GET /v1/cluster`.
#[must_use]
pub fn cluster(cluster: &Cluster, frame: &Frame) -> Value {
    let totals = &cluster.totals;
    json!({
        "cluster": frame.facts.cluster,
        "version": VERSION,
        "leader": { "allocator": frame.leaders.allocator, "registry": frame.leaders.registry },
        "gateway_id": frame.facts.gateway,
        "time_ms": frame.now.0,
        "resources": {
            "total": Amounts::from(&totals.resources),
            "used": Amounts::from(&totals.used),
            "offered": Amounts::from(&frame.offered.total),
        },
        "agents": {
            "active": totals.agents_active,
            "unreachable": totals.agents_unreachable,
            "total": totals.agents_active + totals.agents_unreachable,
        },
        "frameworks": {
            "active": totals.frameworks_connected,
            "total": totals.frameworks_connected + totals.frameworks_disconnected,
        },
        "tasks": counts(&totals.tasks),
    })
}

/// One agent.
#[must_use]
pub fn agent(row: &AgentRow, cluster: &Cluster, frame: &Frame) -> Value {
    let used = cluster.used_on(&row.id);
    let none = Resources::new();
    let state = match row.state {
        AgentState::Gone => "GONE",
        AgentState::Unreachable { .. } if row.down => "DOWN",
        AgentState::Unreachable { .. } => "UNREACHABLE",
        AgentState::Active if row.draining().is_some() => "DRAINING",
        AgentState::Active if row.drain.is_some() => "DRAINED",
        AgentState::Active if row.deactivated => "DEACTIVATED",
        AgentState::Active if row.degraded.is_some() => "DEGRADED",
        AgentState::Active => "ACTIVE",
    };
    let attribute = |value: &AttributeValue| match value {
        AttributeValue::Text(text) => text.clone(),
        AttributeValue::Scalar(amount) => resources_text::milli_text(*amount),
        AttributeValue::Ranges(ranges) => resources_text::ranges_text(ranges),
    };
    let attributes: BTreeMap<&str, String> =
        row.attributes.iter().map(|entry| (entry.name.as_str(), attribute(&entry.value))).collect();
    json!({
        "id": row.id,
        "hostname": row.hostname,
        "port": row.port,
        "state": state,
        "drain_start_time_ms": row.drain.map(|drain| drain.since.0),
        "registered_time_ms": row.registered.0,
        "attributes": attributes,
        "total": Amounts::from(&row.total),
        "used": Amounts::from(&used.held),
        "offered": Amounts::from(frame.offered.agents.get(&row.id).unwrap_or(&none)),
        "tasks": used.tasks.alive(),
        "version": row.version,
    })
}

/// One framework.
#[must_use]
pub fn framework(row: &FrameworkRow, cluster: &Cluster, frame: &Frame) -> Value {
    let used = cluster.used_by(&row.id);
    let info = framework_info(row);
    let connected = row.state == FrameworkState::Connected;
    json!({
        "id": row.id,
        "name": row.info.name,
        "user": row.info.user,
        "roles": row.info.roles,
        "principal": row.info.principal.as_deref().unwrap_or_default(),
        "active": connected,
        "connected": connected,
        "hostname": info.hostname.unwrap_or_default(),
        "webui_url": info.webui_url.unwrap_or_default(),
        "registered_time_ms": row.registered.0,
        "used": Amounts::from(&used.scalars),
        "offered": Amounts::from(&frame.offered.frameworks.get(&row.id).cloned().unwrap_or_default()),
        "tasks": counts(&used.tasks),
        "capabilities": capabilities(&row.info.capabilities),
    })
}

#[derive(Debug, Serialize)]
struct Status<'a> {
    state: &'static str,
    timestamp_ms: u64,
    reason: Option<&'static str>,
    message: Option<&'a str>,
    source: Option<&'static str>,
    exit_code: Option<i32>,
}

impl<'a> Status<'a> {
    fn of(status: &'a TaskStatus) -> Status<'a> {
        Status {
            state: status.state.name(),
            timestamp_ms: status.time.0,
            reason: status.reason.and_then(mesos_model::Reason::name),
            message: status.message.as_deref(),
            source: Some(match status.source {
                mesos_model::Source::Master => "SOURCE_MASTER",
                mesos_model::Source::Agent => "SOURCE_AGENT",
                mesos_model::Source::Executor => "SOURCE_EXECUTOR",
            }),
            exit_code: status.exit_code,
        }
    }
}

#[derive(Debug, Serialize)]
struct Container {
    r#type: &'static str,
    image: String,
}

#[derive(Debug, Serialize)]
struct Label {
    key: String,
    value: String,
}

/// One task.
#[derive(Debug, Serialize)]
pub struct Task<'a> {
    id: &'a str,
    name: &'a str,
    framework_id: &'a str,
    agent_id: &'a str,
    executor_id: &'a str,
    role: &'a str,
    state: &'static str,
    reason: Option<&'static str>,
    message: Option<&'a str>,
    source: Option<&'static str>,
    healthy: Option<bool>,
    exit_code: Option<i32>,
    resources: Amounts,
    created_ms: u64,
    updated_ms: u64,
    statuses: Vec<Status<'a>>,
    container: Option<Container>,
    labels: Vec<Label>,
    trace_id: Option<String>,
}

impl<'a> Task<'a> {
    /// Of a task of the view.
    #[must_use]
    pub fn of(view: &'a TaskView) -> Task<'a> {
        let row = &view.row;
        let info = decode::<v1::TaskInfo>(&view.body);
        let last = row.status.as_ref().map(Status::of);
        let last = last.as_ref();
        let labels = info.as_ref().and_then(|info| info.labels.as_ref()).into_iter().flat_map(|labels| &labels.labels);
        Task {
            id: row.task.as_str(),
            name: &row.name,
            framework_id: row.framework.as_str(),
            agent_id: row.agent.as_str(),
            executor_id: view.executor_id(),
            role: row.role.as_str(),
            state: row.state.name(),
            reason: last.and_then(|last| last.reason),
            message: last.and_then(|last| last.message),
            source: last.and_then(|last| last.source),
            healthy: row.status.as_ref().and_then(|status| status.healthy),
            exit_code: last.and_then(|last| last.exit_code),
            resources: Amounts::from(&row.resources),
            created_ms: row.created.0,
            updated_ms: last.map_or(row.created.0, |last| last.timestamp_ms),
            statuses: view.history.iter().map(|status| Status::of(status)).collect(),
            container: info.as_ref().and_then(|info| info.container.as_ref()).map(container),
            labels: labels
                .map(|label| Label { key: label.key.clone(), value: label.value.clone().unwrap_or_default() })
                .collect(),
            trace_id: row.trace.map(|trace| format!("{:032x}", trace.trace_id)),
        }
    }
}

fn container(info: &v1::ContainerInfo) -> Container {
    let docker = info.docker.as_ref().map(|docker| docker.image.clone());
    let image = info.mesos.as_ref().and_then(|mesos| mesos.image.as_ref());
    let mesos = image.and_then(|image| image.docker.as_ref()).map(|docker| docker.name.clone());
    let is_docker = info.r#type == i32::from(v1::container_info::Type::Docker);
    Container { r#type: if is_docker { "DOCKER" } else { "MESOS" }, image: docker.or(mesos).unwrap_or_default() }
}

/// All agents, oldest first.
#[must_use]
pub fn agents(copy: &Cluster, frame: &Frame) -> Vec<Value> {
    let mut agents: Vec<_> = copy.agents.values().collect();
    agents.sort_unstable_by_key(|row| (row.registered, row.id.clone()));
    agents.into_iter().map(|row| agent(row, copy, frame)).collect()
}

/// All frameworks that are not removed, oldest first.
#[must_use]
pub fn frameworks(copy: &Cluster, frame: &Frame) -> Vec<Value> {
    let mut frameworks: Vec<_> = copy.frameworks.values().collect();
    frameworks.sort_unstable_by_key(|row| (row.registered, row.id.clone()));
    frameworks.into_iter().map(|row| framework(row, copy, frame)).collect()
}

/// All tasks, present and remembered, newest first.
#[must_use]
pub fn tasks(copy: &Cluster) -> Vec<&Arc<TaskView>> {
    let mut tasks: Vec<_> = copy.tasks.values().chain(copy.completed_tasks.values()).collect();
    tasks.sort_unstable_by(|a, b| {
        let key = |task: &TaskView| (task.row.created, task.key());
        key(b).cmp(&key(a))
    });
    tasks
}

/// The key of a task in `tasks_removed`.
#[must_use]
pub fn key_text((framework, task): &TaskKey) -> String {
    format!("{framework}/{task}")
}

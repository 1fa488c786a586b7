//! The JSON of the older endpoints: names and shapes as mesos-dns, traefik and exporters read them.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesos_core::row::{AgentRow, AgentState, Capabilities, FrameworkRow, FrameworkState};
use mesos_model::{
    Resource, Resources, TaskState, TaskStatus, Time, Value as Amount, attribute::AttributeValue, resources_text,
};
use mesos_proto::{
    json,
    prost::{Message, Name},
    v1,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};

use crate::{
    reads::Frame,
    translate::resources::{Form, to_proto},
    view::{Cluster, TaskView, totals::Scalars},
};

/// Thousandths as JSON: whole numbers without a point.
#[must_use]
pub fn milli(milli: i64) -> Value {
    if milli % 1000 == 0 { Value::from(milli / 1000) } else { Value::from(milli as f64 / 1000.0) }
}

/// Resources as `{"cpus":…,"gpus":…,"mem":…,"disk":…,"ports":"[a-b, c-d]"}`, over all qualifiers but
/// revocable, which has names of its own (`cpus_revocable`).
#[derive(Debug)]
pub struct Bundle<'a>(pub &'a Resources);

/// The amounts that are always there, also when they are 0.
const ALWAYS: [&str; 4] = ["disk", "mem", "gpus", "cpus"];

impl Serialize for Bundle<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sums: BTreeMap<String, Amount> = BTreeMap::new();
        for resource in self.0 {
            let name = if resource.is_revocable() {
                format!("{}_revocable", resource.name)
            } else {
                resource.name.to_string()
            };
            match (sums.get_mut(&name), &resource.value) {
                (Some(Amount::Scalar(sum)), Amount::Scalar(milli)) => *sum += milli,
                (Some(Amount::Ranges(sum)), Amount::Ranges(ranges)) => {
                    sum.extend_from_slice(ranges);
                    *sum = mesos_model::resources::ranges_normal(std::mem::take(sum));
                }
                (Some(Amount::Set(sum)), Amount::Set(items)) => sum.extend_from_slice(items),
                _ => {
                    sums.insert(name, resource.value.clone());
                }
            }
        }
        let mut map = serializer.serialize_map(None)?;
        for name in ALWAYS.into_iter().filter(|name| !sums.contains_key(*name)) {
            map.serialize_entry(name, &0)?;
        }
        for (name, amount) in &sums {
            match amount {
                Amount::Scalar(sum) => map.serialize_entry(name, &milli(*sum))?,
                Amount::Ranges(ranges) => map.serialize_entry(name, &resources_text::ranges_text(ranges))?,
                Amount::Set(items) => map.serialize_entry(name, &format!("{{{}}}", items.join(", ")))?,
            }
        }
        map.end()
    }
}

/// A bundle as a value.
#[must_use]
pub fn bundle(resources: &Resources) -> Value {
    serde_json::to_value(Bundle(resources)).unwrap_or_default()
}

/// A message of the contract as a value.
#[must_use]
pub fn message<T: Message + Name>(message: &T) -> Value {
    serde_json::from_str(&json::encode(message)).unwrap_or_default()
}

fn full(resources: &Resources) -> Value {
    to_proto(resources, Form { allocated_to: None, refined: true }).iter().map(message).collect()
}

fn by_role<T>(total: &Resources, of: impl Fn(&Resources) -> T) -> BTreeMap<String, T> {
    let roles: std::collections::BTreeSet<_> = total.iter().filter_map(Resource::reserved_for).collect();
    let one = |role| of(&total.filter(|resource| resource.reserved_for() == Some(role)));
    roles.into_iter().map(|role| (role.to_string(), one(role))).collect()
}

/// The address of an agent's own API, by IP if it said one.
#[must_use]
pub fn agent_address(agent: &AgentRow) -> String {
    // mesos-dns and traefik take the host of the pid for the agent's address.
    let host = if agent.ip.is_empty() { &agent.hostname } else { &agent.ip };
    format!("{host}:{}", agent.port)
}

/// One of `slaves[]`. `is_full` adds the `*_full` lists of `/slaves`.
#[must_use]
pub fn agent(agent: &AgentRow, cluster: &Cluster, frame: &Frame, is_full: bool) -> Value {
    let used = cluster.used_on(&agent.id);
    let none = Resources::new();
    let offered = frame.offered.agents.get(&agent.id).unwrap_or(&none);
    let unreserved = agent.total.filter(|resource| resource.reserved_for().is_none());
    let attributes: Map<String, Value> =
        agent.attributes.iter().map(|attribute| (attribute.name.clone(), attribute_value(&attribute.value))).collect();
    let mut out = json!({
        "id": agent.id,
        "hostname": agent.hostname,
        "port": agent.port,
        "pid": format!("slave(1)@{}", agent_address(agent)),
        "attributes": attributes,
        "registered_time": agent.registered.as_seconds(),
        "reregistered_time": agent.reregistered.as_seconds(),
        "resources": Bundle(&agent.total),
        "used_resources": Bundle(&used.held),
        "offered_resources": Bundle(offered),
        "unreserved_resources": Bundle(&unreserved),
        "reserved_resources": by_role(&agent.total, bundle),
        "active": agent.state == AgentState::Active && !agent.deactivated && agent.degraded.is_none(),
        "deactivated": agent.deactivated,
        "version": agent.version,
        "capabilities": AGENT_CAPABILITIES,
    });
    if let Some((region, zone)) = &agent.domain {
        out["domain"] = message(&crate::translate::domain(region, zone));
    }
    if let Some(info) = crate::leave::drain_info(agent) {
        out["drain_info"] = message(&info);
    }
    if let Some(start) = agent.drain.map(|drain| drain.since.as_seconds()) {
        out["estimated_drain_start_time_seconds"] = Value::from(start);
    }
    if is_full {
        out["used_resources_full"] = full(&used.held);
        out["offered_resources_full"] = full(offered);
        out["unreserved_resources_full"] = full(&unreserved);
        out["reserved_resources_full"] = json!(by_role(&agent.total, full));
    }
    out
}

/// What agents of this version understand.
pub const AGENT_CAPABILITIES: [&str; 3] = ["MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT"];

fn attribute_value(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Text(text) => Value::from(text.as_str()),
        AttributeValue::Scalar(amount) => milli(*amount),
        AttributeValue::Ranges(ranges) => Value::from(resources_text::ranges_text(ranges)),
    }
}

/// Names of what a framework says it can do.
#[must_use]
pub fn capabilities(capabilities: &Capabilities) -> Vec<&'static str> {
    let named = [
        (capabilities.revocable_resources, "REVOCABLE_RESOURCES"),
        (capabilities.task_killing_state, "TASK_KILLING_STATE"),
        (capabilities.gpu_resources, "GPU_RESOURCES"),
        (capabilities.shared_resources, "SHARED_RESOURCES"),
        (capabilities.partition_aware, "PARTITION_AWARE"),
        (capabilities.multi_role, "MULTI_ROLE"),
        (capabilities.reservation_refinement, "RESERVATION_REFINEMENT"),
        (capabilities.region_aware, "REGION_AWARE"),
    ];
    named.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
}

/// What a framework said about itself that machines do not need.
#[must_use]
pub fn framework_info(row: &FrameworkRow) -> v1::FrameworkInfo {
    let mut info = v1::FrameworkInfo::decode(row.body.clone()).unwrap_or_default();
    info.name.clone_from(&row.info.name);
    info.user.clone_from(&row.info.user);
    info.id = Some(crate::translate::framework_id(&row.id));
    info
}

/// Everything of one of `frameworks[]` but its lists.
#[must_use]
pub fn framework(row: &FrameworkRow, cluster: &Cluster, frame: &Frame) -> Map<String, Value> {
    let info = framework_info(row);
    let used = cluster.used_by(&row.id).scalars.clone();
    let offered = frame.offered.frameworks.get(&row.id).cloned().unwrap_or_default();
    let sum = |scalars: &Scalars| bundle(&scalars.resources());
    let mut total = used.clone();
    total.add(&offered);
    let connected = row.state == FrameworkState::Connected;
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("id", json!(row.id));
    put("name", json!(row.info.name));
    put("user", json!(row.info.user));
    put("hostname", json!(info.hostname.unwrap_or_default()));
    put("webui_url", json!(info.webui_url.unwrap_or_default()));
    if let Some(principal) = &row.info.principal {
        put("principal", json!(principal));
    }
    put("active", json!(connected));
    put("connected", json!(connected));
    put("recovered", json!(row.recovered));
    put("capabilities", json!(capabilities(&row.info.capabilities)));
    put("failover_timeout", milli(i64::try_from(row.info.failover_timeout_ms).unwrap_or(i64::MAX)));
    put("checkpoint", json!(row.info.checkpoint));
    put("registered_time", json!(row.registered.as_seconds()));
    put("reregistered_time", json!(row.reregistered.as_seconds()));
    put("unregistered_time", json!(unregistered(row).as_seconds()));
    put("resources", sum(&total));
    put("used_resources", sum(&used));
    put("offered_resources", sum(&offered));
    // One role without MULTI_ROLE, a list with it: clients tell the two apart by the field's name.
    if row.info.capabilities.multi_role {
        put("roles", json!(row.info.roles));
    } else {
        put("role", json!(row.info.roles.first().map_or("*", |role| role.as_str())));
    }
    if let Some(labels) = &info.labels {
        put("labels", labels_value(labels));
    }
    out
}

fn unregistered(row: &FrameworkRow) -> Time {
    match row.state {
        FrameworkState::Removed { since } => since,
        _ => Time(0),
    }
}

fn labels_value(labels: &v1::Labels) -> Value {
    labels.labels.iter().map(message).collect()
}

/// One of `statuses[]`.
#[derive(Debug, Serialize)]
pub struct Status {
    state: &'static str,
    timestamp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<bool>,
}

impl Status {
    fn of(status: &TaskStatus) -> Status {
        let body = decode::<v1::TaskStatus>(&status.body);
        Status {
            state: status.state.name(),
            timestamp: status.time.as_seconds(),
            labels: body.as_ref().and_then(|body| body.labels.as_ref()).map(labels_value),
            container_status: body.as_ref().and_then(|body| body.container_status.as_ref()).map(message),
            healthy: status.healthy,
        }
    }
}

/// What a client wrote, if there is any and it can be read.
#[must_use]
pub fn decode<T: Message + Default>(body: &Bytes) -> Option<T> {
    if body.is_empty() { None } else { T::decode(body.clone()).ok() }
}

/// One of `tasks[]`.
#[derive(Debug, Serialize)]
pub struct Task<'a> {
    id: &'a str,
    name: &'a str,
    framework_id: &'a str,
    executor_id: &'a str,
    slave_id: &'a str,
    state: &'static str,
    resources: Bundle<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<BTreeMap<String, f64>>,
    role: &'a str,
    statuses: Vec<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

impl<'a> Task<'a> {
    /// Of a task of the view.
    #[must_use]
    pub fn of(view: &'a TaskView) -> Task<'a> {
        let row = &view.row;
        let info = decode::<v1::TaskInfo>(&view.body);
        let info = info.as_ref();
        let limits = info.map(|info| info.limits.iter().map(|(name, limit)| (name.clone(), limit.value)).collect());
        Task {
            id: row.task.as_str(),
            name: &row.name,
            framework_id: row.framework.as_str(),
            executor_id: view.executor_id(),
            slave_id: row.agent.as_str(),
            state: row.state.name(),
            resources: Bundle(&row.resources),
            limits: limits.filter(|limits: &BTreeMap<String, f64>| !limits.is_empty()),
            role: row.role.as_str(),
            statuses: view.history.iter().map(|status| Status::of(status)).collect(),
            labels: info.and_then(|info| info.labels.as_ref()).map(labels_value),
            discovery: info.and_then(|info| info.discovery.as_ref()).map(message),
            container: info.and_then(|info| info.container.as_ref()).map(message),
            health_check: info.and_then(|info| info.health_check.as_ref()).map(message),
            user: info.and_then(|info| info.command.as_ref()).and_then(|command| command.user.clone()),
        }
    }
}

/// Where a task is listed under its framework.
#[must_use]
pub fn is_unreachable(view: &TaskView) -> bool {
    matches!(view.row.state, TaskState::Unreachable | TaskState::GoneByOperator)
}

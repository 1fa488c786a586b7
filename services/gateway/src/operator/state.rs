//! The operator API's messages about the cluster, from a copy of it.

use std::sync::Arc;

use mesos_core::row::{AgentRow, AgentState, FrameworkRow, FrameworkState, LaunchRow};
use mesos_model::{Resources, Role, Time};
use mesos_proto::v1::{
    self,
    master::{
        event,
        response::{self, get_agents, get_executors, get_frameworks},
    },
};

use crate::{
    legacy::shape::{decode, framework_info, is_unreachable},
    reads::Frame,
    translate::{
        self,
        event::task_status,
        resources::{Form, to_proto},
    },
    view::{Cluster, Delta, TaskView},
};

fn resources(resources: &Resources, role: Option<&Role>) -> Vec<v1::Resource> {
    to_proto(resources, Form { allocated_to: role, refined: true })
}

fn time(time: Time) -> v1::TimeInfo {
    v1::TimeInfo { nanoseconds: i64::try_from(time.0).unwrap_or(i64::MAX).saturating_mul(1_000_000) }
}

/// An agent.
#[must_use]
pub fn agent(row: &AgentRow, cluster: &Cluster, frame: &Frame) -> get_agents::Agent {
    use v1::agent_info::{Capability, capability::Type};
    let mut info = decode::<v1::AgentInfo>(&row.body).unwrap_or_default();
    info.id = Some(translate::agent_id(&row.id));
    info.hostname.clone_from(&row.hostname);
    info.port = i32::try_from(row.port).ok();
    info.resources = resources(&row.total, None);
    info.attributes = translate::attributes(&row.attributes);
    info.domain = row.domain.as_ref().map(|(region, zone)| translate::domain(region, zone));
    let used = cluster.used_on(&row.id);
    let offered = frame.offered.agents.get(&row.id);
    let capabilities = [Type::MultiRole, Type::HierarchicalRole, Type::ReservationRefinement];
    get_agents::Agent {
        agent_info: info,
        active: row.state == AgentState::Active && !row.deactivated && row.degraded.is_none(),
        deactivated: Some(row.deactivated),
        version: row.version.clone(),
        pid: Some(format!("slave(1)@{}", crate::legacy::shape::agent_address(row))),
        registered_time: Some(time(row.registered)),
        reregistered_time: Some(time(row.reregistered)),
        total_resources: resources(&row.total, None),
        allocated_resources: resources(&used.held, None),
        offered_resources: offered.map(|offered| resources(offered, None)).unwrap_or_default(),
        capabilities: capabilities.into_iter().map(|kind| Capability { r#type: Some(kind.into()) }).collect(),
        unreachable: matches!(row.state, AgentState::Unreachable { .. }).then_some(true),
        down: row.down.then_some(true),
        drain_info: crate::leave::drain_info(row),
        estimated_drain_start_time: crate::leave::drain_start(row),
        ..get_agents::Agent::default()
    }
}

/// Registered agents, and beside them those that are away.
#[must_use]
pub fn agents(cluster: &Cluster, frame: &Frame) -> response::GetAgents {
    let listed = |is_listed: &dyn Fn(AgentState) -> bool| {
        let mut rows: Vec<_> = cluster.agents.values().filter(|row| is_listed(row.state)).collect();
        rows.sort_unstable_by_key(|row| (row.registered, row.id.clone()));
        rows.into_iter().map(|row| agent(row, cluster, frame)).collect()
    };
    response::GetAgents {
        agents: listed(&|state| state == AgentState::Active),
        recovered_agents: Vec::new(),
        unreachable_agents: listed(&|state| matches!(state, AgentState::Unreachable { .. })),
    }
}

/// A framework. Its resources are sums by name, without qualifiers.
#[must_use]
pub fn framework(row: &FrameworkRow, cluster: &Cluster, frame: &Frame) -> get_frameworks::Framework {
    let connected = row.state == FrameworkState::Connected;
    let offered = frame.offered.frameworks.get(&row.id);
    get_frameworks::Framework {
        framework_info: framework_info(row),
        active: connected,
        connected,
        recovered: row.recovered,
        registered_time: Some(time(row.registered)),
        reregistered_time: Some(time(row.reregistered)),
        unregistered_time: match row.state {
            FrameworkState::Removed { since } => Some(time(since)),
            FrameworkState::Connected | FrameworkState::Lost { .. } | FrameworkState::Disconnected { .. } => None,
        },
        allocated_resources: resources(&cluster.used_by(&row.id).scalars.resources(), None),
        offered_resources: offered.map(|offered| resources(&offered.resources(), None)).unwrap_or_default(),
        ..get_frameworks::Framework::default()
    }
}

/// Frameworks, present and removed.
#[must_use]
pub fn frameworks(cluster: &Cluster, frame: &Frame) -> response::GetFrameworks {
    let list = |rows: Vec<&Arc<FrameworkRow>>| {
        let mut rows = rows;
        rows.sort_unstable_by_key(|row| (row.registered, row.id.clone()));
        rows.into_iter().map(|row| framework(row, cluster, frame)).collect()
    };
    response::GetFrameworks {
        frameworks: list(cluster.frameworks.values().collect()),
        completed_frameworks: list(cluster.completed_frameworks.values().collect()),
        recovered_frameworks: Vec::new(),
    }
}

/// A task.
#[must_use]
pub fn task(view: &TaskView) -> v1::Task {
    let row = &view.row;
    let info = decode::<v1::TaskInfo>(&view.body).unwrap_or_default();
    let executor = view.executor_id();
    let uuid = row.status.as_ref().and_then(|status| status.uuid);
    v1::Task {
        name: row.name.clone(),
        task_id: translate::task_id(&row.task),
        framework_id: translate::framework_id(&row.framework),
        executor_id: (!executor.is_empty()).then(|| v1::ExecutorId { value: executor.to_owned() }),
        agent_id: translate::agent_id(&row.agent),
        state: row.state.number(),
        resources: resources(&row.resources, Some(&row.role)),
        statuses: view.history.iter().map(|status| task_status(status)).collect(),
        status_update_state: row.status.as_ref().map(|status| status.state.number()),
        status_update_uuid: uuid.map(|uuid| bytes::Bytes::copy_from_slice(&uuid.to_be_bytes())),
        labels: info.labels,
        discovery: info.discovery,
        container: info.container,
        health_check: info.health_check,
        kill_policy: info.kill_policy,
        user: info.command.and_then(|command| command.user),
        limits: info.limits,
    }
}

/// Tasks, present and remembered, oldest first.
#[must_use]
pub fn tasks(cluster: &Cluster) -> response::GetTasks {
    let sorted = |mut tasks: Vec<&Arc<TaskView>>| {
        tasks.sort_unstable_by_key(|task| (task.row.created, task.key()));
        tasks.into_iter().map(|view| task(view)).collect()
    };
    let (unreachable, present) = cluster.tasks.values().partition(|task| is_unreachable(task));
    response::GetTasks {
        tasks: sorted(present),
        unreachable_tasks: sorted(unreachable),
        completed_tasks: sorted(cluster.completed_tasks.values().collect()),
        ..response::GetTasks::default()
    }
}

/// Executors that frameworks gave themselves; a command task's is not one of them.
#[must_use]
pub fn executors(cluster: &Cluster) -> response::GetExecutors {
    let mut launches: Vec<_> = cluster.launches.values().collect();
    launches.sort_unstable_by_key(|launch| (launch.time, launch.launch.clone()));
    let executor = |launch: &LaunchRow| {
        let body = cluster.bodies.get(&launch.launch)?.executor.clone()?;
        let mut info = decode::<v1::ExecutorInfo>(&body)?;
        info.framework_id = Some(translate::framework_id(&launch.framework));
        Some(get_executors::Executor { executor_info: info, agent_id: translate::agent_id(&launch.agent) })
    };
    response::GetExecutors {
        executors: launches.into_iter().filter_map(|launch| executor(launch)).collect(),
        orphan_executors: Vec::new(),
    }
}

/// Everything.
#[must_use]
pub fn state(cluster: &Cluster, frame: &Frame) -> response::GetState {
    response::GetState {
        get_tasks: Some(tasks(cluster)),
        get_executors: Some(executors(cluster)),
        get_frameworks: Some(frameworks(cluster, frame)),
        get_agents: Some(agents(cluster, frame)),
    }
}

/// SUBSCRIBED.
#[must_use]
pub fn subscribed(cluster: &Cluster, frame: &Frame, heartbeat_seconds: f64) -> v1::master::Event {
    v1::master::Event {
        r#type: Some(event::Type::Subscribed.into()),
        subscribed: Some(event::Subscribed {
            get_state: Some(state(cluster, frame)),
            heartbeat_interval_seconds: Some(heartbeat_seconds),
        }),
        ..v1::master::Event::default()
    }
}

/// HEARTBEAT.
#[must_use]
pub fn heartbeat() -> v1::master::Event {
    v1::master::Event { r#type: Some(event::Type::Heartbeat.into()), ..v1::master::Event::default() }
}

/// The events of a change; most changes have none or one. `look` gives the cluster at that time or later; it
/// is called for the few changes whose events need it.
#[must_use]
pub fn events(delta: &Delta, look: impl Fn() -> (Cluster, Frame)) -> Vec<v1::master::Event> {
    use event::Type;
    let blank = |kind: Type| v1::master::Event { r#type: Some(kind.into()), ..v1::master::Event::default() };
    match delta {
        Delta::Task { before, after, fresh } => {
            let is_new = before.as_ref().is_none_or(|before| before.row.launch != after.row.launch);
            if is_new {
                let added = event::TaskAdded { task: task(after) };
                return vec![v1::master::Event { task_added: Some(added), ..blank(Type::TaskAdded) }];
            }
            let updated = |status| event::TaskUpdated {
                framework_id: translate::framework_id(&after.row.framework),
                status: task_status(status),
                state: after.row.state.number(),
            };
            let fresh = fresh.iter().map(|status| updated(status));
            fresh.map(|updated| v1::master::Event { task_updated: Some(updated), ..blank(Type::TaskUpdated) }).collect()
        }
        Delta::Agent { before, after } => {
            let was = before.as_ref().is_some_and(|before| before.state == AgentState::Active);
            match (was, after.state == AgentState::Active) {
                (false, true) => {
                    let (cluster, frame) = look();
                    let added = event::AgentAdded { agent: agent(after, &cluster, &frame) };
                    vec![v1::master::Event { agent_added: Some(added), ..blank(Type::AgentAdded) }]
                }
                (true, false) => vec![agent_removed(after)],
                _ => Vec::new(),
            }
        }
        Delta::AgentForgotten(row) if row.state == AgentState::Active => vec![agent_removed(row)],
        Delta::Framework { before: None, after } => {
            let (cluster, frame) = look();
            let added = event::FrameworkAdded { framework: framework(after, &cluster, &frame) };
            vec![v1::master::Event { framework_added: Some(added), ..blank(Type::FrameworkAdded) }]
        }
        Delta::Framework { before: Some(before), after } => {
            // REVIVE and the like change the row and nothing that operators see.
            if before.state == after.state && before.info == after.info && before.body == after.body {
                return Vec::new();
            }
            let (cluster, frame) = look();
            let updated = event::FrameworkUpdated { framework: framework(after, &cluster, &frame) };
            vec![v1::master::Event { framework_updated: Some(updated), ..blank(Type::FrameworkUpdated) }]
        }
        Delta::FrameworkRemoved(row) => {
            let removed = event::FrameworkRemoved { framework_info: framework_info(row) };
            vec![v1::master::Event { framework_removed: Some(removed), ..blank(Type::FrameworkRemoved) }]
        }
        Delta::AgentForgotten(_) | Delta::TaskForgotten(_) | Delta::Use(..) => Vec::new(),
    }
}

fn agent_removed(row: &AgentRow) -> v1::master::Event {
    v1::master::Event {
        r#type: Some(event::Type::AgentRemoved.into()),
        agent_removed: Some(event::AgentRemoved { agent_id: translate::agent_id(&row.id) }),
        ..v1::master::Event::default()
    }
}

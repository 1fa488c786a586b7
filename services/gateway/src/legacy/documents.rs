//! Whole answers of the older endpoints, from a copy of the cluster.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use mesos_core::{
    message::{Amounts, RoleView},
    row::{AgentRow, AgentState, FrameworkRow, LaunchRow},
};
use mesos_model::{AgentId, FrameworkId, TaskState};
use serde_json::{Map, Value, json};

use super::shape::{self, Task};
use crate::{
    allocation::convert,
    reads::{Frame, VERSION},
    view::{Cluster, TaskView, totals::Counts},
};

/// `/version`. The time of a build is left out: a build would not be reproducible with it.
#[must_use]
pub fn version() -> Value {
    json!({ "version": VERSION, "build_date": "", "build_time": 0, "build_user": "", "git_sha": "" })
}

/// Agents that are registered, sorted.
fn registered(cluster: &Cluster) -> Vec<&Arc<AgentRow>> {
    let mut agents: Vec<_> = cluster.agents.values().filter(|agent| agent.state == AgentState::Active).collect();
    agents.sort_unstable_by_key(|agent| (agent.registered, agent.id.clone()));
    agents
}

fn sorted<'a>(frameworks: impl Iterator<Item = &'a Arc<FrameworkRow>>) -> Vec<&'a Arc<FrameworkRow>> {
    let mut frameworks: Vec<_> = frameworks.collect();
    frameworks.sort_unstable_by_key(|framework| (framework.registered, framework.id.clone()));
    frameworks
}

fn tasks_by_framework<'a>(
    tasks: impl Iterator<Item = &'a Arc<TaskView>>,
) -> HashMap<&'a FrameworkId, Vec<&'a TaskView>> {
    let mut by_framework: HashMap<_, Vec<&TaskView>> = HashMap::new();
    for task in tasks {
        by_framework.entry(&task.row.framework).or_default().push(task);
    }
    for tasks in by_framework.values_mut() {
        tasks.sort_unstable_by_key(|task| (task.row.created, &task.row.task));
    }
    by_framework
}

/// `/slaves`, all or one.
#[must_use]
pub fn slaves(cluster: &Cluster, frame: &Frame, only: Option<&str>) -> Value {
    let agents = registered(cluster).into_iter().filter(|agent| only.is_none_or(|id| agent.id.as_str() == id));
    let slaves: Vec<Value> = agents.map(|agent| shape::agent(agent, cluster, frame, true)).collect();
    json!({ "slaves": slaves, "recovered_slaves": [] })
}

struct Lists<'a> {
    live: HashMap<&'a FrameworkId, Vec<&'a TaskView>>,
    completed: HashMap<&'a FrameworkId, Vec<&'a TaskView>>,
    launches: HashMap<&'a FrameworkId, Vec<&'a LaunchRow>>,
}

impl<'a> Lists<'a> {
    fn of(cluster: &'a Cluster) -> Lists<'a> {
        let mut launches: HashMap<_, Vec<&LaunchRow>> = HashMap::new();
        for launch in cluster.launches.values() {
            launches.entry(&launch.framework).or_default().push(launch);
        }
        Lists {
            live: tasks_by_framework(cluster.tasks.values()),
            completed: tasks_by_framework(cluster.completed_tasks.values()),
            launches,
        }
    }

    fn tasks(list: Option<&Vec<&TaskView>>, keep: impl Fn(&TaskView) -> bool) -> Value {
        let tasks = list.into_iter().flatten().filter(|task| keep(task));
        tasks.map(|task| serde_json::to_value(Task::of(task)).unwrap_or_default()).collect()
    }

    fn framework(&self, row: &FrameworkRow, cluster: &Cluster, frame: &Frame) -> Value {
        let mut out = shape::framework(row, cluster, frame);
        let live = self.live.get(&row.id);
        out.insert("tasks".to_owned(), Self::tasks(live, |task| !shape::is_unreachable(task)));
        out.insert("unreachable_tasks".to_owned(), Self::tasks(live, shape::is_unreachable));
        out.insert("completed_tasks".to_owned(), Self::tasks(self.completed.get(&row.id), |_| true));
        out.insert("offers".to_owned(), json!([]));
        out.insert("executors".to_owned(), self.executors(row, cluster));
        Value::Object(out)
    }

    fn executors(&self, row: &FrameworkRow, cluster: &Cluster) -> Value {
        let launches = self.launches.get(&row.id).into_iter().flatten();
        let own =
            launches.filter(|launch| cluster.bodies.get(&launch.launch).is_some_and(|body| body.executor.is_some()));
        own.map(|launch| {
            json!({
                "executor_id": launch.executor,
                "framework_id": launch.framework,
                "slave_id": launch.agent,
                "role": launch.role,
                "resources": shape::Bundle(&launch.executor_resources),
            })
        })
        .collect()
    }
}

fn framework_lists(cluster: &Cluster, frame: &Frame, only: Option<&str>) -> [Value; 2] {
    let lists = Lists::of(cluster);
    let wanted = |row: &&Arc<FrameworkRow>| only.is_none_or(|id| row.id.as_str() == id);
    [&cluster.frameworks, &cluster.completed_frameworks].map(|frameworks| {
        let rows = sorted(frameworks.values().filter(wanted));
        rows.into_iter().map(|row| lists.framework(row, cluster, frame)).collect()
    })
}

/// `/frameworks`, all or one.
#[must_use]
pub fn frameworks(cluster: &Cluster, frame: &Frame, only: Option<&str>) -> Value {
    let [frameworks, completed] = framework_lists(cluster, frame, only);
    json!({ "frameworks": frameworks, "completed_frameworks": completed, "unregistered_frameworks": [] })
}

/// `/state`.
#[must_use]
pub fn state(cluster: &Cluster, frame: &Frame) -> Value {
    let facts = &frame.facts;
    let totals = &cluster.totals;
    let id = facts.master_id(&frame.leaders);
    let slaves: Vec<Value> =
        registered(cluster).into_iter().map(|agent| shape::agent(agent, cluster, frame, false)).collect();
    let [frameworks, completed] = framework_lists(cluster, frame, None);
    let mut out = version();
    let rest = json!({
        "start_time": facts.started.as_seconds(),
        "elected_time": facts.started.as_seconds(),
        "id": id,
        "pid": facts.pid(),
        "hostname": facts.hostname,
        "activated_slaves": totals.agents_active - totals.agents_deactivated,
        "deactivated_slaves": totals.agents_deactivated,
        "unreachable_slaves": totals.agents_unreachable,
        "leader": facts.pid(),
        "leader_info": { "id": id, "pid": facts.pid(), "port": facts.port, "hostname": facts.hostname },
        "cluster": facts.cluster,
        "flags": facts.flags,
        "slaves": slaves,
        "recovered_slaves": [],
        "frameworks": frameworks,
        "completed_frameworks": completed,
        "orphan_tasks": [],
        "unregistered_frameworks": [],
    });
    if let (Value::Object(out), Value::Object(rest)) = (&mut out, rest) {
        out.extend(rest);
    }
    out
}

fn put_counts(out: &mut Map<String, Value>, counts: &Counts) {
    for state in TaskState::ALL {
        out.insert(state.name().to_owned(), json!(counts.of(state)));
    }
}

/// `/state-summary`.
#[must_use]
pub fn summary(cluster: &Cluster, frame: &Frame) -> Value {
    let mut frameworks_on: HashMap<&AgentId, BTreeSet<&FrameworkId>> = HashMap::new();
    let mut agents_of: HashMap<&FrameworkId, BTreeSet<&AgentId>> = HashMap::new();
    for task in cluster.tasks.values() {
        frameworks_on.entry(&task.row.agent).or_default().insert(&task.row.framework);
        agents_of.entry(&task.row.framework).or_default().insert(&task.row.agent);
    }
    let slaves = registered(cluster).into_iter().map(|agent| {
        let mut out = shape::agent(agent, cluster, frame, false);
        if let Value::Object(out) = &mut out {
            put_counts(out, &cluster.used_on(&agent.id).tasks);
            out.insert("framework_ids".to_owned(), json!(frameworks_on.remove(&agent.id).unwrap_or_default()));
        }
        out
    });
    let slaves: Vec<Value> = slaves.collect();
    let frameworks = sorted(cluster.frameworks.values()).into_iter().map(|row| {
        let mut out = shape::framework(row, cluster, frame);
        put_counts(&mut out, &cluster.used_by(&row.id).tasks);
        out.insert("slave_ids".to_owned(), json!(agents_of.remove(&row.id).unwrap_or_default()));
        Value::Object(out)
    });
    let frameworks: Vec<Value> = frameworks.collect();
    json!({
        "hostname": frame.facts.hostname,
        "cluster": frame.facts.cluster,
        "slaves": slaves,
        "frameworks": frameworks,
    })
}

/// `/roles`.
#[must_use]
pub fn roles(roles: &[RoleView]) -> Value {
    let roles = roles.iter().map(|view| {
        let bundle = |amounts: &Amounts| shape::bundle(&convert::scalar_resources(amounts));
        json!({
            "name": view.role,
            "weight": shape::milli(i64::try_from(view.weight).unwrap_or(i64::MAX)),
            "quota": {
                "role": view.role,
                "guarantee": amounts(&view.guarantee),
                "limit": amounts(&view.limit),
                "consumed": amounts(&view.consumed),
            },
            "resources": shape::bundle(&convert::offered_and_allocated(view)),
            "allocated": bundle(&view.allocated),
            "offered": bundle(&view.offered),
            "reserved": bundle(&view.reserved),
            "frameworks": view.frameworks,
        })
    });
    json!({ "roles": roles.collect::<Vec<_>>() })
}

/// Amounts by name; a name that is not there is not limited.
fn amounts(amounts: &Amounts) -> Value {
    amounts.iter().map(|(name, milli)| (name.to_string(), shape::milli(*milli))).collect::<Map<_, _>>().into()
}

/// What `/tasks` is asked for.
#[derive(Clone, Debug)]
pub struct TasksQuery {
    /// How many; `None` is all.
    pub limit: Option<usize>,
    /// How many are passed over.
    pub offset: usize,
    /// Oldest first.
    pub ascending: bool,
    /// Only of this framework.
    pub framework: Option<String>,
    /// Only with this id.
    pub task: Option<String>,
}

/// `/tasks`, sorted by the time of the first status.
#[must_use]
pub fn tasks(cluster: &Cluster, query: &TasksQuery) -> Value {
    let all = cluster.tasks.values().chain(cluster.completed_tasks.values());
    let mut tasks: Vec<&Arc<TaskView>> = all
        .filter(|task| query.framework.as_deref().is_none_or(|id| task.row.framework.as_str() == id))
        .filter(|task| query.task.as_deref().is_none_or(|id| task.row.task.as_str() == id))
        .collect();
    let first = |task: &TaskView| task.history.first().map_or(task.row.created, |status| status.time);
    tasks.sort_by(|a, b| (first(a), &a.row.task).cmp(&(first(b), &b.row.task)));
    if !query.ascending {
        tasks.reverse();
    }
    let shown = tasks.into_iter().skip(query.offset).take(query.limit.unwrap_or(usize::MAX));
    let shown: Vec<Value> = shown.map(|task| serde_json::to_value(Task::of(task)).unwrap_or_default()).collect();
    json!({ "tasks": shown })
}

/// `/metrics/snapshot`: name and value, under Mesos's names as far as there is such a thing.
#[must_use]
pub fn metrics(cluster: &Cluster, frame: &Frame) -> BTreeMap<String, f64> {
    let totals = &cluster.totals;
    let mut out = BTreeMap::new();
    let mut put = |name: &str, value: f64| out.insert(format!("master/{name}"), value);
    put("uptime_secs", frame.now.since(frame.facts.started).as_secs_f64());
    put("elected", 1.0);
    put("slaves_connected", totals.agents_active as f64);
    put("slaves_disconnected", 0.0);
    put("slaves_active", (totals.agents_active - totals.agents_deactivated) as f64);
    put("slaves_inactive", totals.agents_deactivated as f64);
    put("slaves_unreachable", totals.agents_unreachable as f64);
    put("frameworks_connected", totals.frameworks_connected as f64);
    put("frameworks_disconnected", totals.frameworks_disconnected as f64);
    put("frameworks_active", totals.frameworks_connected as f64);
    put("frameworks_inactive", totals.frameworks_disconnected as f64);
    put("outstanding_offers", frame.offered.count as f64);
    for state in TaskState::ALL {
        let name = state.name().to_lowercase().replacen("task_", "tasks_", 1);
        // What has ended is a counter in Mesos, what has not is a gauge.
        let value = if state.is_terminal() { totals.ended.of(state) } else { totals.tasks.of(state) };
        put(&name, value as f64);
    }
    for name in ["cpus", "gpus", "mem", "disk"] {
        let (total, used) = (totals.resources.amount(name), totals.used.amount(name));
        put(&format!("{name}_total"), total);
        put(&format!("{name}_used"), used);
        put(&format!("{name}_percent"), if total > 0.0 { used / total } else { 0.0 });
    }
    out
}

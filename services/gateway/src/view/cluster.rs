//! The copy itself: rows of both services, what is remembered of rows that are gone, and sums. Pure.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use mesos_core::row::{
    AgentRow, AgentState, BodyRow, FrameworkRow, FrameworkState, LaunchRow, Row, RowChange, RowKey, TaskRow, service,
};
use mesos_model::{AgentId, FrameworkId, LaunchId, TaskId, TaskState, TaskStatus};

use super::{
    shards::Shards,
    totals::{Scalars, Totals, Use},
};

/// Statuses kept per task; the oldest go first.
pub const HISTORY_MAX: usize = 16;
/// Ended tasks remembered per framework after their rows are gone, as Mesos does by default.
pub const COMPLETED_TASKS_MAX: usize = 1000;
/// Removed frameworks remembered, as Mesos does by default.
pub const COMPLETED_FRAMEWORKS_MAX: usize = 50;

/// A task id is unique within its framework only.
pub type TaskKey = (FrameworkId, TaskId);

/// A task with what its row does not keep.
#[derive(Debug)]
pub struct TaskView {
    /// The row, or the last one if it is gone.
    pub row: TaskRow,
    /// Statuses in the order they were learned, one per change of state, at most [`HISTORY_MAX`].
    pub history: Vec<Arc<TaskStatus>>,
    /// The protobuf `TaskInfo` as the framework wrote it; empty if it is not known.
    pub body: Bytes,
    /// Its framework gave an executor of its own.
    pub own_executor: bool,
}

impl TaskView {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> TaskKey {
        (self.row.framework.clone(), self.row.task.clone())
    }

    /// The executor's id as Mesos shows it: empty for a command task.
    #[must_use]
    pub fn executor_id(&self) -> &str {
        if self.own_executor || self.row.executor.as_str() != self.row.task.as_str() {
            self.row.executor.as_str()
        } else {
            ""
        }
    }
}

/// What changed, for those who follow the copy.
#[derive(Clone, Debug)]
pub enum Delta {
    /// A task is new or changed.
    Task {
        /// As it was; `None` if it is new.
        before: Option<Arc<TaskView>>,
        /// As it is.
        after: Arc<TaskView>,
        /// Statuses that were not known before, oldest first.
        fresh: Vec<Arc<TaskStatus>>,
    },
    /// A task is not even remembered any more.
    TaskForgotten(TaskKey),
    /// An agent is new or changed.
    Agent {
        /// As it was; `None` if it is new.
        before: Option<Arc<AgentRow>>,
        /// As it is.
        after: Arc<AgentRow>,
    },
    /// An agent's row is gone.
    AgentForgotten(Arc<AgentRow>),
    /// A framework is new or changed.
    Framework {
        /// As it was; `None` if it is new.
        before: Option<Arc<FrameworkRow>>,
        /// As it is.
        after: Arc<FrameworkRow>,
    },
    /// A framework was removed.
    FrameworkRemoved(Arc<FrameworkRow>),
    /// What is in use on an agent, by a framework.
    Use(AgentId, FrameworkId),
}

/// What readers see. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Agents with a row, whatever their state.
    pub agents: Shards<AgentId, AgentRow>,
    /// What is in use, per agent.
    pub agent_use: Shards<AgentId, Use>,
    /// Accepted launches that hold resources.
    pub launches: Shards<LaunchId, LaunchRow>,
    /// What clients wrote about them.
    pub bodies: Shards<LaunchId, BodyRow>,
    /// Frameworks that are not removed.
    pub frameworks: Shards<FrameworkId, FrameworkRow>,
    /// What is in use, per framework.
    pub framework_use: Shards<FrameworkId, Use>,
    /// Tasks with a row.
    pub tasks: Shards<TaskKey, TaskView>,
    /// Tasks that ended and whose rows are gone.
    pub completed_tasks: Shards<TaskKey, TaskView>,
    /// Frameworks that were removed.
    pub completed_frameworks: Shards<FrameworkId, FrameworkRow>,
    /// Sums.
    pub totals: Totals,
}

impl Cluster {
    /// A task, with a row or remembered.
    #[must_use]
    pub fn task(&self, framework: &FrameworkId, task: &TaskId) -> Option<&Arc<TaskView>> {
        let key = (framework.clone(), task.clone());
        self.tasks.get(&key).or_else(|| self.completed_tasks.get(&key))
    }

    /// A framework, present or removed.
    #[must_use]
    pub fn framework(&self, framework: &FrameworkId) -> Option<&Arc<FrameworkRow>> {
        self.frameworks.get(framework).or_else(|| self.completed_frameworks.get(framework))
    }

    /// What is in use on an agent.
    #[must_use]
    pub fn used_on(&self, agent: &AgentId) -> Arc<Use> {
        self.agent_use.get(agent).cloned().unwrap_or_default()
    }

    /// What is in use by a framework.
    #[must_use]
    pub fn used_by(&self, framework: &FrameworkId) -> Arc<Use> {
        self.framework_use.get(framework).cloned().unwrap_or_default()
    }
}

/// The writer's side: applies row changes, each in time that does not depend on the cluster's size.
#[derive(Debug, Default)]
pub struct Writer {
    /// What readers see.
    pub cluster: Cluster,
    /// Ended tasks in the order in which they are forgotten. A task id that was used again is found here
    /// with an older launch and passed over.
    completed: HashMap<FrameworkId, VecDeque<(TaskId, LaunchId)>>,
    removed: VecDeque<FrameworkId>,
    /// Rows are loaded, so what has ended did not end now.
    loading: bool,
}

impl Writer {
    /// Applies one change.
    pub fn apply(&mut self, change: RowChange, deltas: &mut Vec<Delta>) {
        match change {
            RowChange::Put(Row::Agent(row)) => self.put_agent(row, deltas),
            RowChange::Put(Row::Launch(row)) => self.put_launch(row, deltas),
            RowChange::Put(Row::Body(row)) => {
                let row = Arc::new(row);
                self.cluster.bodies.insert(row.launch.clone(), row.clone());
                self.attach_bodies(&row.launch, deltas);
            }
            RowChange::Put(Row::Framework(row)) => self.put_framework(row, deltas),
            RowChange::Put(Row::Task(row)) => self.put_task(row, deltas),
            RowChange::Delete(RowKey::Agent(id)) => self.delete_agent(&id, deltas),
            RowChange::Delete(RowKey::Launch(id)) => self.delete_launch(&id, deltas),
            RowChange::Delete(RowKey::Body(id)) => {
                self.cluster.bodies.remove(&id);
            }
            RowChange::Delete(RowKey::Framework(id)) => self.remove_framework(&id, deltas),
            RowChange::Delete(RowKey::Task(framework, task)) => self.delete_task((framework, task), deltas),
            // Rows of services that are not shown.
            RowChange::Put(Row::AgentSelf(_) | Row::Executor(_) | Row::Job(_) | Row::LauncherSelf(_) | Row::Pool(_) | Row::Node(_))
            | RowChange::Delete(RowKey::AgentSelf | RowKey::Executor(_) | RowKey::Job(_) | RowKey::LauncherSelf | RowKey::Pool(_) | RowKey::Node(_))
            // What is set for roles, maintenance, and who may join is asked of the allocator, which knows more of it.
            | RowChange::Put(Row::Role(_) | Row::Policy(_) | Row::Module(_) | Row::Operation(_))
            | RowChange::Delete(RowKey::Role(_) | RowKey::Policy | RowKey::Module(_) | RowKey::Operation(_))
            | RowChange::Put(Row::Maintenance(_) | Row::JoinToken(_))
            | RowChange::Delete(RowKey::Maintenance | RowKey::JoinToken(_)) => {}
        }
    }

    /// Takes over all rows of a service: what is not among them is deleted, what differs is written.
    pub fn reload(&mut self, owner: &str, rows: Vec<RowChange>, deltas: &mut Vec<Delta>) {
        let loaded: std::collections::HashSet<RowKey> = rows.iter().map(RowChange::key).collect();
        for key in self.keys(owner) {
            if !loaded.contains(&key) {
                self.apply(RowChange::Delete(key), deltas);
            }
        }
        self.loading = true;
        for row in rows {
            if !self.has(&row) {
                self.apply(row, deltas);
            }
        }
        self.loading = false;
    }

    fn keys(&self, owner: &str) -> Vec<RowKey> {
        let cluster = &self.cluster;
        if owner == service::ALLOCATOR {
            let agents = cluster.agents.iter().map(|(id, _)| RowKey::Agent(id.clone()));
            let launches = cluster.launches.iter().map(|(id, _)| RowKey::Launch(id.clone()));
            let bodies = cluster.bodies.iter().map(|(id, _)| RowKey::Body(id.clone()));
            return agents.chain(launches).chain(bodies).collect();
        }
        // Tasks first, so that they are told before their frameworks.
        let tasks = cluster.tasks.iter().map(|((framework, task), _)| RowKey::Task(framework.clone(), task.clone()));
        tasks.chain(cluster.frameworks.iter().map(|(id, _)| RowKey::Framework(id.clone()))).collect()
    }

    fn has(&self, change: &RowChange) -> bool {
        let cluster = &self.cluster;
        match change {
            RowChange::Put(Row::Agent(row)) => cluster.agents.get(&row.id).is_some_and(|have| **have == *row),
            RowChange::Put(Row::Launch(row)) => cluster.launches.get(&row.launch).is_some_and(|have| **have == *row),
            RowChange::Put(Row::Body(row)) => cluster.bodies.get(&row.launch).is_some_and(|have| **have == *row),
            RowChange::Put(Row::Framework(row)) => {
                // One that is only remembered looks the same as one that a rolled-back store knows again.
                let is_removed = matches!(row.state, FrameworkState::Removed { .. });
                let known = if is_removed { &cluster.completed_frameworks } else { &cluster.frameworks };
                known.get(&row.id).is_some_and(|have| **have == *row)
            }
            RowChange::Put(Row::Task(row)) => {
                let key = (row.framework.clone(), row.task.clone());
                cluster.tasks.get(&key).is_some_and(|have| have.row == *row)
            }
            _ => false,
        }
    }

    // Agents.

    fn put_agent(&mut self, row: AgentRow, deltas: &mut Vec<Delta>) {
        let after = Arc::new(row);
        let before = self.cluster.agents.insert(after.id.clone(), after.clone());
        if let Some(before) = &before {
            self.count_agent(before, false);
        }
        self.count_agent(&after, true);
        deltas.push(Delta::Agent { before, after });
    }

    fn delete_agent(&mut self, id: &AgentId, deltas: &mut Vec<Delta>) {
        if let Some(before) = self.cluster.agents.remove(id) {
            self.count_agent(&before, false);
            deltas.push(Delta::AgentForgotten(before));
        }
    }

    fn count_agent(&mut self, row: &AgentRow, in_: bool) {
        let used = self.cluster.used_on(&row.id);
        let totals = &mut self.cluster.totals;
        let count = |number: &mut u64| *number = if in_ { *number + 1 } else { number.saturating_sub(1) };
        match row.state {
            AgentState::Active => {
                count(&mut totals.agents_active);
                if row.deactivated {
                    count(&mut totals.agents_deactivated);
                }
                let total = Scalars::of(&row.total);
                if in_ {
                    totals.resources.add(&total);
                    totals.used.add(&used.scalars);
                } else {
                    totals.resources.take(&total);
                    totals.used.take(&used.scalars);
                }
            }
            AgentState::Unreachable { .. } => count(&mut totals.agents_unreachable),
            AgentState::Gone => {}
        }
    }

    // Launches.

    fn put_launch(&mut self, row: LaunchRow, deltas: &mut Vec<Delta>) {
        let row = Arc::new(row);
        let before = self.cluster.launches.insert(row.launch.clone(), row.clone());
        let same = before.as_ref().is_some_and(|before| {
            before.agent == row.agent && before.framework == row.framework && before.resources() == row.resources()
        });
        if !same {
            if let Some(before) = &before {
                self.hold(before, false, deltas);
            }
            self.hold(&row, true, deltas);
        }
        self.attach_bodies(&row.launch, deltas);
    }

    fn delete_launch(&mut self, id: &LaunchId, deltas: &mut Vec<Delta>) {
        if let Some(before) = self.cluster.launches.remove(id) {
            self.hold(&before, false, deltas);
        }
    }

    fn hold(&mut self, launch: &LaunchRow, in_: bool, deltas: &mut Vec<Delta>) {
        let resources = launch.resources();
        let scalars = Scalars::of(&resources);
        let change = |sum: &mut Scalars| if in_ { sum.add(&scalars) } else { sum.take(&scalars) };
        change_use(&mut self.cluster.agent_use, &launch.agent, |used| {
            change(&mut used.scalars);
            if in_ {
                used.held.add(&resources);
            } else {
                used.held.take_what_is_there(&resources);
            }
        });
        change_use(&mut self.cluster.framework_use, &launch.framework, |used| change(&mut used.scalars));
        if self.cluster.agents.get(&launch.agent).is_some_and(|agent| agent.state == AgentState::Active) {
            change(&mut self.cluster.totals.used);
        }
        deltas.push(Delta::Use(launch.agent.clone(), launch.framework.clone()));
    }

    /// Gives tasks their bodies, whichever of the three rows came last.
    fn attach_bodies(&mut self, launch: &LaunchId, deltas: &mut Vec<Delta>) {
        let (Some(row), Some(body)) = (self.cluster.launches.get(launch), self.cluster.bodies.get(launch)) else {
            return;
        };
        let (row, body) = (row.clone(), body.clone());
        for (task, bytes) in row.tasks.iter().zip(&body.tasks) {
            let key = (row.framework.clone(), task.task.clone());
            let Some(before) = self.cluster.tasks.get(&key).cloned() else { continue };
            if before.row.launch != *launch || before.body == *bytes {
                continue;
            }
            let after = Arc::new(TaskView {
                row: before.row.clone(),
                history: before.history.clone(),
                body: bytes.clone(),
                own_executor: body.executor.is_some(),
            });
            self.cluster.tasks.insert(key, after.clone());
            deltas.push(Delta::Task { before: Some(before), after, fresh: Vec::new() });
        }
    }

    fn body_of(&self, row: &TaskRow) -> (Bytes, bool) {
        let known = (self.cluster.launches.get(&row.launch), self.cluster.bodies.get(&row.launch));
        let (Some(launch), Some(body)) = known else { return (Bytes::new(), false) };
        let at = launch.tasks.iter().position(|task| task.task == row.task);
        let bytes = at.and_then(|at| body.tasks.get(at)).cloned().unwrap_or_default();
        (bytes, body.executor.is_some())
    }

    // Frameworks.

    fn put_framework(&mut self, row: FrameworkRow, deltas: &mut Vec<Delta>) {
        let after = Arc::new(row);
        if matches!(after.state, FrameworkState::Removed { .. }) {
            let before = self.cluster.frameworks.remove(&after.id);
            if let Some(before) = &before {
                self.count_framework(before, false);
            }
            self.remember_framework(after.clone(), deltas);
            if before.is_some() {
                deltas.push(Delta::FrameworkRemoved(after));
            }
            return;
        }
        // A store that was rolled back may know it again.
        self.cluster.completed_frameworks.remove(&after.id);
        let before = self.cluster.frameworks.insert(after.id.clone(), after.clone());
        if let Some(before) = &before {
            self.count_framework(before, false);
        }
        self.count_framework(&after, true);
        deltas.push(Delta::Framework { before, after });
    }

    fn remove_framework(&mut self, id: &FrameworkId, deltas: &mut Vec<Delta>) {
        if let Some(row) = self.cluster.frameworks.remove(id) {
            self.count_framework(&row, false);
            self.remember_framework(row.clone(), deltas);
            deltas.push(Delta::FrameworkRemoved(row));
        }
    }

    fn count_framework(&mut self, row: &FrameworkRow, in_: bool) {
        let totals = &mut self.cluster.totals;
        let number = match row.state {
            FrameworkState::Connected => &mut totals.frameworks_connected,
            FrameworkState::Lost { .. } | FrameworkState::Disconnected { .. } => &mut totals.frameworks_disconnected,
            FrameworkState::Removed { .. } => return,
        };
        *number = if in_ { *number + 1 } else { number.saturating_sub(1) };
    }

    fn remember_framework(&mut self, row: Arc<FrameworkRow>, deltas: &mut Vec<Delta>) {
        if self.cluster.completed_frameworks.insert(row.id.clone(), row.clone()).is_none() {
            self.removed.push_back(row.id.clone());
        }
        while self.removed.len() > COMPLETED_FRAMEWORKS_MAX {
            let Some(oldest) = self.removed.pop_front() else { return };
            // One that came back after a rollback keeps its tasks.
            if self.cluster.completed_frameworks.remove(&oldest).is_none() {
                continue;
            }
            for (task, launch) in self.completed.remove(&oldest).unwrap_or_default() {
                self.forget_task((oldest.clone(), task), &launch, deltas);
            }
        }
    }

    // Tasks.

    fn put_task(&mut self, row: TaskRow, deltas: &mut Vec<Delta>) {
        let key = (row.framework.clone(), row.task.clone());
        if let Some(old) = self.cluster.completed_tasks.remove(&key) {
            self.count_task(&old.row, false, false);
        }
        let before = self.cluster.tasks.get(&key).cloned();
        // The same task id under another launch is another task.
        let same = before.as_ref().filter(|before| before.row.launch == row.launch);
        let mut history = same.map(|before| before.history.clone()).unwrap_or_default();
        let fresh = learn(&mut history, &row);
        let (body, own_executor) = match same {
            Some(before) if !before.body.is_empty() => (before.body.clone(), before.own_executor),
            _ => self.body_of(&row),
        };
        if let Some(before) = &before {
            self.count_task(&before.row, false, true);
        }
        self.count_task(&row, true, true);
        let was_over = same.is_some_and(|before| before.row.state.is_terminal());
        if row.state.is_terminal() && !was_over && !self.loading {
            self.cluster.totals.ended.add(row.state);
        }
        let after = Arc::new(TaskView { row, history, body, own_executor });
        self.cluster.tasks.insert(key, after.clone());
        deltas.push(Delta::Task { before, after, fresh });
    }

    fn delete_task(&mut self, key: TaskKey, deltas: &mut Vec<Delta>) {
        let Some(view) = self.cluster.tasks.remove(&key) else { return };
        self.count_task(&view.row, false, true);
        if !view.row.state.is_terminal() || self.cluster.framework(&key.0).is_none() {
            // It did not end: the store was rolled back behind its launch. Or its framework is forgotten.
            deltas.push(Delta::TaskForgotten(key));
            return;
        }
        self.count_task(&view.row, true, false);
        let queue = self.completed.entry(key.0.clone()).or_default();
        queue.push_back((key.1.clone(), view.row.launch.clone()));
        let oldest = if queue.len() > COMPLETED_TASKS_MAX { queue.pop_front() } else { None };
        self.cluster.completed_tasks.insert(key.clone(), view);
        if let Some((task, launch)) = oldest {
            self.forget_task((key.0, task), &launch, deltas);
        }
    }

    fn forget_task(&mut self, key: TaskKey, launch: &LaunchId, deltas: &mut Vec<Delta>) {
        if self.cluster.completed_tasks.get(&key).is_none_or(|view| view.row.launch != *launch) {
            return;
        }
        if let Some(view) = self.cluster.completed_tasks.remove(&key) {
            self.count_task(&view.row, false, false);
            deltas.push(Delta::TaskForgotten(key));
        }
    }

    fn count_task(&mut self, row: &TaskRow, in_: bool, on_agent: bool) {
        let state: TaskState = row.state;
        let change = |used: &mut Use| if in_ { used.tasks.add(state) } else { used.tasks.take(state) };
        change_use(&mut self.cluster.framework_use, &row.framework, change);
        if on_agent {
            change_use(&mut self.cluster.agent_use, &row.agent, change);
        }
        let tasks = &mut self.cluster.totals.tasks;
        if in_ { tasks.add(state) } else { tasks.take(state) }
    }
}

fn change_use<K: std::hash::Hash + Eq + Clone>(uses: &mut Shards<K, Use>, key: &K, change: impl FnOnce(&mut Use)) {
    let mut used = uses.get(key).map(|used| Use::clone(used)).unwrap_or_default();
    change(&mut used);
    if used.is_empty() {
        uses.remove(key);
    } else {
        uses.insert(key.clone(), Arc::new(used));
    }
}

/// Adds the statuses of a row that the history does not have, and gives them. A status replaces the one
/// before it of the same state (a health check's repeats), as Mesos does.
fn learn(history: &mut Vec<Arc<TaskStatus>>, row: &TaskRow) -> Vec<Arc<TaskStatus>> {
    let mut fresh = Vec::new();
    for status in row.pending.iter().map(|update| &update.status).chain(&row.status) {
        let known = |have: &Arc<TaskStatus>| match (have.uuid, status.uuid) {
            (Some(have), Some(new)) => have == new,
            _ => have.state == status.state && have.time == status.time,
        };
        if history.iter().chain(&fresh).any(known) {
            continue;
        }
        let status = Arc::new(status.clone());
        match history.last_mut() {
            Some(last) if last.state == status.state => *last = status.clone(),
            _ => history.push(status.clone()),
        }
        fresh.push(status);
    }
    if history.len() > HISTORY_MAX {
        history.drain(..history.len() - HISTORY_MAX);
    }
    fresh
}

//! Agents, launches and frameworks: rows, and the sums and indexes over them.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{AgentId, ExecutorId, FrameworkId, LaunchId, Resources, TaskId, Time};

use super::{Allocator, Output, orders::Lane};
use crate::{
    machine::Effects,
    message::{Request, StreamEvent, ToStream, digest},
    row::{
        AgentRow, AgentState, BodyRow, FrameworkFacts, FrameworkRow, FrameworkState, KillOrder, LaunchRow, Row, RowKey,
        Subscription,
    },
};

/// An agent, and what is on it. There may be launches without the agent's row while rows are loaded.
#[derive(Debug, Default)]
pub(super) struct Agent {
    pub(super) row: Option<AgentRow>,
    pub(super) launches: BTreeSet<LaunchId>,
    pub(super) allocated: Resources,
    /// The sum of the launches is not simply what is missing from the total (they hold more than there is,
    /// or the same port twice), so subtracting one is not exact and they are summed anew.
    pub(super) crowded: bool,
    pub(super) offers: BTreeSet<u64>,
    pub(super) offered: Resources,
    pub(super) free: Resources,
    /// What of it is in the cluster's total.
    counted: Resources,
    pub(super) lane: Lane,
    pub(super) heard: Time,
    /// Beats in a row whose digest was wrong.
    pub(super) mismatches: u32,
}

/// What the registry knows of a task.
#[derive(Clone, Debug)]
pub(super) struct TaskFact {
    pub(super) launch: LaunchId,
    pub(super) ended: bool,
    pub(super) kill: Option<KillOrder>,
    /// Number of the last kill that was ordered in this term.
    pub(super) ordered: u64,
}

/// A framework, its launches and its tasks.
#[derive(Debug, Default)]
pub(super) struct Framework {
    pub(super) row: Option<FrameworkRow>,
    pub(super) launches: BTreeSet<LaunchId>,
    /// Tasks that launch rows name.
    pub(super) live: BTreeMap<TaskId, LaunchId>,
    /// Tasks that the registry has a row for.
    pub(super) tasks: BTreeMap<TaskId, TaskFact>,
    pub(super) offers: BTreeSet<u64>,
    pub(super) demand: Vec<Request>,
}

impl Agent {
    pub(super) fn forget_term(&mut self) {
        self.lane = Lane::default();
        self.mismatches = 0;
    }
}

impl Framework {
    pub(super) fn forget_term(&mut self) {
        self.demand.clear();
        for task in self.tasks.values_mut() {
            task.ordered = 0;
        }
    }

    /// The stream that it can be told something on.
    pub(super) fn connection(&self) -> Option<&Subscription> {
        let row = self.row.as_ref()?;
        (row.state == FrameworkState::Connected).then_some(row.subscription.as_ref()).flatten()
    }

    pub(super) fn is_removed(&self) -> bool {
        self.row.as_ref().is_some_and(|row| matches!(row.state, FrameworkState::Removed { .. }))
    }

    pub(super) fn is_partition_aware(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.info.capabilities.partition_aware)
    }

    pub(super) fn facts(&self) -> FrameworkFacts {
        self.row.as_ref().map_or_else(FrameworkFacts::default, |row| FrameworkFacts {
            name: row.info.name.clone(),
            user: row.info.user.clone(),
            principal: row.info.principal.clone(),
            failover_timeout_ms: row.info.failover_timeout_ms,
            partition_aware: row.info.capabilities.partition_aware,
        })
    }

    pub(super) fn has_ended(&self, task: &TaskId, launch: &LaunchId) -> bool {
        self.tasks.get(task).is_some_and(|fact| fact.ended && fact.launch == *launch)
    }

    fn is_idle(&self) -> bool {
        self.row.is_none() && self.launches.is_empty() && self.tasks.is_empty() && self.offers.is_empty()
    }
}

impl Allocator {
    /// Whether an agent has shaken hands in this term and has been heard of since.
    pub(super) fn is_shaken(&self, agent: &AgentId) -> bool {
        let row = self.agents.get(agent).and_then(|agent| agent.row.as_ref());
        row.is_some_and(|row| row.state == AgentState::Active && self.term == Some(row.handshake))
    }

    /// Whether an agent's resources may be offered.
    pub(super) fn is_offerable(&self, agent: &AgentId) -> bool {
        let row = self.agents.get(agent).and_then(|agent| agent.row.as_ref());
        self.is_shaken(agent) && row.is_some_and(|row| !row.deactivated)
    }

    /// Takes a row over.
    pub(super) fn put_agent(&mut self, row: AgentRow) {
        let id = row.id.clone();
        let counted = if row.state == AgentState::Active { row.total.clone() } else { Resources::new() };
        let state = self.agents.entry(id.clone()).or_default();
        if let Some(old) = &state.row
            && old.instance != row.instance
            && self.instances.get(&old.instance) == Some(&id)
        {
            self.instances.remove(&old.instance);
        }
        if row.state == AgentState::Gone {
            self.instances.remove(&row.instance);
        } else {
            self.instances.insert(row.instance, id.clone());
        }
        if state.counted != counted {
            self.tree.subtract_total(&state.counted);
            self.tree.add_total(&counted);
            state.counted = counted;
        }
        let total_changed = state.row.as_ref().is_none_or(|old| old.total != row.total);
        state.row = Some(row);
        if total_changed {
            self.sum_up(&id);
        }
        self.refresh(&id);
    }

    /// Takes a row over and has it written.
    pub(super) fn write_agent(&mut self, row: AgentRow, fx: &mut Effects<Output>) {
        fx.put(Row::Agent(row.clone()));
        self.put_agent(row);
    }

    /// A row was deleted.
    pub(super) fn remove_agent(&mut self, id: &AgentId) {
        let Some(state) = self.agents.get_mut(id) else { return };
        self.tree.subtract_total(&state.counted);
        state.counted = Resources::new();
        if let Some(row) = state.row.take()
            && self.instances.get(&row.instance) == Some(id)
        {
            self.instances.remove(&row.instance);
        }
        self.sum_up(id);
        self.refresh(id);
        self.dirty.remove(id);
        self.filters.drop_agent(id);
        if self.agents.get(id).is_some_and(|state| state.launches.is_empty() && state.offers.is_empty()) {
            self.agents.remove(id);
        }
    }

    /// Takes a launch row over, in the place of an older one if there is one.
    pub(super) fn index_launch(&mut self, row: LaunchRow) {
        self.unindex_launch(&row.launch);
        let holds = row.resources();
        self.tree.charge(&row.framework, &row.role, &holds);
        let framework = self.frameworks.entry(row.framework.clone()).or_default();
        framework.launches.insert(row.launch.clone());
        for task in &row.tasks {
            framework.live.insert(task.task.clone(), row.launch.clone());
        }
        self.calls.remember_launch(&row);
        let agent = self.agents.entry(row.agent.clone()).or_default();
        agent.launches.insert(row.launch.clone());
        agent.hold(&holds);
        let id = row.agent.clone();
        self.launches.insert(row.launch.clone(), row);
        self.refresh(&id);
    }

    /// Forgets a launch row.
    pub(super) fn unindex_launch(&mut self, launch: &LaunchId) -> Option<LaunchRow> {
        let row = self.launches.remove(launch)?;
        let holds = row.resources();
        self.tree.credit(&row.framework, &row.role, &holds);
        self.calls.forget_launch(&row);
        if let Some(framework) = self.frameworks.get_mut(&row.framework) {
            framework.launches.remove(launch);
            framework.live.retain_of(&row);
        }
        self.forget_framework_if_idle(&row.framework);
        if let Some(agent) = self.agents.get_mut(&row.agent) {
            agent.launches.remove(launch);
            if agent.crowded {
                self.sum_up(&row.agent);
            } else {
                agent.allocated.take_what_is_there(&holds);
            }
        }
        self.refresh(&row.agent);
        Some(row)
    }

    /// Takes a launch row over and has it written.
    pub(super) fn write_launch(&mut self, row: LaunchRow, fx: &mut Effects<Output>) {
        fx.put(Row::Launch(row.clone()));
        self.index_launch(row);
    }

    /// A launch is over: its row and its body go, and what it held is free.
    pub(super) fn delete_launch(&mut self, launch: &LaunchId, fx: &mut Effects<Output>) {
        let Some(row) = self.unindex_launch(launch) else { return };
        self.bodies.remove(launch);
        fx.delete(RowKey::Launch(launch.clone()));
        if row.adopted.is_none() {
            fx.delete(RowKey::Body(launch.clone()));
        }
        self.pass_executor_on(&row, fx);
    }

    /// A task is over: what it held is free, and if it was the last one of its launch, the launch is over.
    pub(super) fn release_task(&mut self, launch: &LaunchId, task: &TaskId, fx: &mut Effects<Output>) {
        let Some(row) = self.launches.get(launch) else { return };
        let Some(at) = row.tasks.iter().position(|candidate| candidate.task == *task) else { return };
        if row.tasks.len() == 1 {
            self.delete_launch(launch, fx);
            return;
        }
        let mut row = row.clone();
        row.tasks.remove(at);
        // A body that may have to be ordered again stays in step with its row. One that the agent has taken
        // up is only shown, and whoever shows it finds the task's id inside.
        let body = self.bodies.get_mut(launch).filter(|body| at < body.tasks.len());
        if let Some(body) = body {
            body.tasks.remove(at);
            fx.put(Row::Body(BodyRow::clone(body)));
        }
        self.write_launch(row, fx);
    }

    /// The executor of a launch that is over may have been joined by later launches: its own part is now
    /// held by one of them.
    fn pass_executor_on(&mut self, over: &LaunchRow, fx: &mut Effects<Output>) {
        if over.executor_resources.is_empty() {
            return;
        }
        let heir = self.launches_of_executor(&over.agent, &over.framework, &over.executor).next();
        if let Some(heir) = heir.filter(|heir| heir.executor_resources.is_empty()) {
            let mut heir = heir.clone();
            heir.executor_resources = over.executor_resources.clone();
            self.write_launch(heir, fx);
        }
    }

    /// The launches of an executor that runs, or is to run, on an agent.
    pub(super) fn launches_of_executor<'a>(
        &'a self,
        agent: &AgentId,
        framework: &'a FrameworkId,
        executor: &'a ExecutorId,
    ) -> impl Iterator<Item = &'a LaunchRow> {
        let launches = self.agents.get(agent).map(|agent| &agent.launches);
        launches
            .into_iter()
            .flatten()
            .filter_map(|launch| self.launches.get(launch))
            .filter(move |row| row.framework == *framework && row.executor == *executor)
    }

    /// Sums an agent's launches anew.
    pub(super) fn sum_up(&mut self, agent: &AgentId) {
        let Some(state) = self.agents.get_mut(agent) else { return };
        state.allocated = Resources::new();
        state.crowded = false;
        let held: Vec<Resources> =
            state.launches.iter().filter_map(|launch| self.launches.get(launch)).map(LaunchRow::resources).collect();
        for holds in held {
            state.hold(&holds);
        }
    }

    /// Derives what is free after something about an agent changed, and has everybody asked again.
    pub(super) fn refresh(&mut self, agent: &AgentId) {
        let offerable = self.is_offerable(agent);
        let Some(state) = self.agents.get_mut(agent) else { return };
        state.free = match &state.row {
            Some(row) if offerable => row.total.minus(&state.allocated).minus(&state.offered),
            _ => Resources::new(),
        };
        if state.free.is_empty() {
            self.free.remove(agent);
            self.dirty.remove(agent);
        } else {
            self.free.insert(agent.clone());
            self.dirty.insert(agent.clone());
        }
    }

    /// The launches that an agent must hold, folded into one number.
    pub(super) fn digest_of(&self, agent: &AgentId) -> u64 {
        let launches = self.agents.get(agent).into_iter().flat_map(|agent| &agent.launches);
        digest(launches.filter(|launch| {
            self.launches.get(*launch).is_some_and(|row| row.tasks.iter().any(|task| !task.resources.is_empty()))
        }))
    }

    pub(super) fn forget_framework_if_idle(&mut self, framework: &FrameworkId) {
        if self.frameworks.get(framework).is_some_and(Framework::is_idle) {
            self.frameworks.remove(framework);
        }
    }

    /// Tells a framework something, if it is there.
    pub(super) fn tell(&self, framework: &FrameworkId, event: StreamEvent, fx: &mut Effects<Output>) {
        let connection = self.frameworks.get(framework).and_then(Framework::connection);
        if let Some(Subscription { stream, gateway, .. }) = connection {
            fx.emit(Output::Stream {
                gateway: gateway.clone(),
                event: ToStream { framework: framework.clone(), stream: *stream, event },
            });
        }
    }
}

impl Agent {
    fn hold(&mut self, holds: &Resources) {
        let fits = self.row.as_ref().is_some_and(|row| row.total.minus(&self.allocated).contains(holds));
        self.crowded |= !fits;
        self.allocated.add(holds);
    }
}

/// Tasks of a framework by id.
trait RetainOf {
    /// Drops the tasks of a launch, but not a later launch's of the same id.
    fn retain_of(&mut self, row: &LaunchRow);
}

impl RetainOf for BTreeMap<TaskId, LaunchId> {
    fn retain_of(&mut self, row: &LaunchRow) {
        for task in &row.tasks {
            if self.get(&task.task) == Some(&row.launch) {
                self.remove(&task.task);
            }
        }
    }
}

//! Agents, launches and frameworks: rows, and the sums and indexes over them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mesos_engine::{AgentFacts, AgentSlot, Bundle, bundle::FixedState};
use mesos_model::{
    AgentId, ExecutorId, FrameworkId, LaunchId, TaskId, Time,
    planted::{Bug, is_planted},
};

use super::{Allocator, Output, orders::Lane};
use crate::{
    machine::Effects,
    message::{Request, StreamEvent, ToStream, digest},
    ordered::Late,
    row::{
        AgentRow, AgentState, BodyRow, FrameworkFacts, FrameworkRow, FrameworkState, KillOrder, LaunchRow, LaunchTask,
        Row, RowKey, Subscription,
    },
};

/// An agent, and what is on it. There may be launches without the agent's row while rows are loaded.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) row: Option<AgentRow>,
    pub(super) launches: Late<BTreeSet<LaunchId>>,
    /// Those of them that still hold something, folded into one number as in `message::digest`.
    digest: u64,
    /// Executors of each framework, and how many launches name each.
    pub(super) executors: BTreeMap<FrameworkId, Late<BTreeMap<ExecutorId, u32>>>,
    /// Its place in the engine, which knows what is allocated, offered and free.
    pub(super) slot: AgentSlot,
    pub(super) lane: Lane,
    pub(super) heard: Time,
    /// Beats in a row whose digest was wrong.
    pub(super) mismatches: u32,
    /// The number of the last report of this term that was believed.
    pub(super) said: (u64, u64),
}

/// What the registry knows of a task.
#[derive(Clone, Debug)]
pub(super) struct TaskFact {
    pub(super) launch: LaunchId,
    pub(super) ended: bool,
    /// Its agent has said something of it, so it has taken up the launch.
    pub(super) began: bool,
    pub(super) kill: Option<KillOrder>,
    /// Number of the last kill that was ordered in this term.
    pub(super) ordered: u64,
    /// The number of that order on the agent's lane.
    pub(super) order: u64,
}

/// A framework, its launches and its tasks.
#[derive(Debug, Default)]
pub(super) struct Framework {
    pub(super) row: Option<FrameworkRow>,
    /// How many launches it has.
    pub(super) launches: usize,
    /// Tasks that launch rows name.
    pub(super) live: HashMap<TaskId, LaunchId, FixedState>,
    /// Tasks that the registry has a row for.
    pub(super) tasks: HashMap<TaskId, TaskFact, FixedState>,
    /// Those of them that have ended.
    pub(super) ended: HashSet<TaskId, FixedState>,
    pub(super) demand: Vec<Request>,
}

impl Agent {
    pub(super) fn has_launches(&self) -> bool {
        // Each names its executor, and there are fewer frameworks than launches.
        !self.executors.is_empty()
    }

    pub(super) fn forget_term(&mut self) {
        self.lane = Lane::default();
        self.mismatches = 0;
        self.said = (0, 0);
    }

    /// It goes, and may come back in the same term: numbers of its orders only rise.
    pub(super) fn part(&mut self) {
        if is_planted(Bug::NumbersBeginAnew) {
            self.lane = Lane::default();
        }
        self.lane.part();
        self.mismatches = 0;
    }
}

impl Framework {
    pub(super) fn forget_term(&mut self) {
        self.demand.clear();
        #[expect(clippy::disallowed_methods, reason = "each is changed alike, whatever the order")]
        for task in self.tasks.values_mut() {
            (task.ordered, task.order) = (0, 0);
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

    /// The tasks that the registry has a row for, in any order.
    #[expect(clippy::disallowed_methods, reason = "who asks makes a set of them")]
    pub(super) fn known_tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.tasks.keys()
    }

    fn is_idle(&self) -> bool {
        self.row.is_none() && self.launches == 0 && self.tasks.is_empty()
    }
}

impl Allocator {
    /// Whether an agent has shaken hands in this term and has been heard of since.
    pub(super) fn is_shaken(&self, agent: &AgentId) -> bool {
        let row = self.agents.get(agent).and_then(|agent| agent.row.as_ref());
        row.is_some_and(|row| {
            row.state == AgentState::Active
                && (self.term == Some(row.handshake) || is_planted(Bug::OfferWithoutHandshake))
        })
    }

    /// Whether an agent's resources may be offered.
    pub(super) fn is_offerable(&self, agent: &AgentId) -> bool {
        let row = self.agents.get(agent).and_then(|agent| agent.row.as_ref());
        self.is_shaken(agent)
            && row.is_some_and(|row| {
                (!row.deactivated || is_planted(Bug::DeactivatedAgentIsOffered))
                    && (row.degraded.is_none() || is_planted(Bug::DegradedOffered))
            })
    }

    /// Takes a row over.
    pub(super) fn put_agent(&mut self, row: AgentRow) {
        let id = row.id.clone();
        let (instance, is_gone) = (row.instance, row.state == AgentState::Gone);
        let state = self.agent_entry(&id);
        let total_changed =
            state.row.as_ref().is_none_or(|old| (&old.total, &old.oversubscribed) != (&row.total, &row.oversubscribed));
        let old = state.row.replace(row);
        if let Some(old) = old.filter(|old| old.instance != instance)
            && self.instances.get(&old.instance) == Some(&id)
        {
            self.instances.remove(&old.instance);
        }
        if is_gone {
            // A late copy of its first report is not taken for that of a new agent.
            self.instances.entry(instance).or_insert_with(|| id.clone());
        } else {
            self.instances.insert(instance, id.clone());
        }
        self.tell_engine(&id);
        if total_changed {
            self.sum_up(&id);
        }
        self.look_at_drain(&id);
        self.maintenance.look_at(&id);
    }

    /// The state of an agent, made if need be.
    pub(super) fn agent_entry(&mut self, id: &AgentId) -> &mut Agent {
        let engine = &mut self.engine;
        self.agents.get_or_insert_with(id, || Agent {
            row: None,
            launches: Late::default(),
            digest: 0,
            executors: BTreeMap::new(),
            slot: engine.agent(id),
            lane: Lane::default(),
            heard: Time(0),
            mismatches: 0,
            said: (0, 0),
        })
    }

    /// Tells the engine what an agent has, and whether it may be offered.
    pub(super) fn tell_engine(&mut self, id: &AgentId) {
        let offerable = self.is_offerable(id);
        let Some(state) = self.agents.get(id) else { return };
        let facts = match &state.row {
            None => AgentFacts::default(),
            Some(row) => AgentFacts {
                total: row.total.plus(&row.oversubscribed),
                hostname: row.hostname.clone(),
                attributes: row.attributes.clone(),
                domain: row.domain.clone(),
                remote: match (&self.options.region, &row.domain) {
                    (Some(ours), Some((region, _))) => ours != region,
                    _ => false,
                },
                counted: row.state == AgentState::Active,
                offerable,
            },
        };
        self.engine.put_agent(state.slot, facts);
    }

    /// Takes a row over and has it written.
    pub(super) fn write_agent(&mut self, row: AgentRow, fx: &mut Effects<Output>) {
        fx.put(Row::Agent(row.clone()));
        self.put_agent(row);
    }

    /// A row was deleted.
    pub(super) fn remove_agent(&mut self, id: &AgentId) {
        let Some(state) = self.agents.get_mut(id) else { return };
        if let Some(row) = state.row.take()
            && self.instances.get(&row.instance) == Some(id)
        {
            self.instances.remove(&row.instance);
        }
        let slot = state.slot;
        self.tell_engine(id);
        self.engine.drop_filters_on(slot);
        self.forget_agent_if_idle(id);
    }

    /// An agent without a row and without launches is not remembered.
    fn forget_agent_if_idle(&mut self, id: &AgentId) {
        if let Some(state) = self.agents.get(id)
            && state.row.is_none()
            && !state.has_launches()
            && self.engine.is_empty(state.slot)
        {
            self.engine.forget_agent(state.slot);
            self.agents.remove(id);
        }
    }

    /// Takes a launch row over, in the place of an older one if there is one.
    pub(super) fn index_launch(&mut self, mut row: LaunchRow) {
        self.unindex_launch(&row.launch);
        // What many launches have in common is kept once.
        if let Some(agent) = self.agents.known(&row.agent) {
            row.agent = agent.clone();
        }
        for task in &row.tasks {
            row.executor.share_with(&task.task);
        }
        let holds = all_of(&row);
        let framework = self.frameworks.entry(row.framework.clone()).or_default();
        framework.launches += 1;
        for task in &row.tasks {
            framework.live.insert(task.task.clone(), row.launch.clone());
        }
        self.calls.remember_launch(&row);
        let client = self.engine.client(&row.framework, &row.role);
        let agent = self.agent_entry(&row.agent);
        agent.launches.put(row.launch.clone());
        if holds_something(&row) {
            agent.digest = agent.digest.wrapping_add(digest([&row.launch]));
        }
        let executors = agent.executors.entry(row.framework.clone()).or_default();
        executors.put(row.executor.clone());
        let slot = agent.slot;
        self.engine.allocate(slot, client, &holds);
        self.engine.tidy(client);
        self.maintenance.look_at(&row.agent);
        self.launches.insert(row.launch.clone(), Box::new(row));
    }

    /// Launches that may have to be ordered again, as far as the rows tell, and whose bodies are not known. In any
    /// order.
    #[expect(clippy::disallowed_methods, reason = "who asks sorts them")]
    pub(super) fn unproven_launches(&self) -> impl Iterator<Item = &LaunchId> {
        let began = |row: &LaunchRow| {
            let tasks = self.frameworks.get(&row.framework).map(|framework| &framework.tasks);
            let fact = |task: &LaunchTask| tasks.and_then(|tasks| tasks.get(&task.task));
            row.tasks.iter().filter_map(fact).any(|fact| fact.launch == row.launch && (fact.began || fact.ended))
        };
        let unproven = move |row: &&LaunchRow| {
            row.adopted.is_none() && !row.tasks.is_empty() && !self.bodies.contains_key(&row.launch) && !began(row)
        };
        self.launches.values().map(Box::as_ref).filter(unproven).map(|row| &row.launch)
    }

    /// Forgets a launch row.
    pub(super) fn unindex_launch(&mut self, launch: &LaunchId) -> Option<LaunchRow> {
        let row = *self.launches.remove(launch)?;
        let holds = all_of(&row);
        self.calls.forget_launch(&row);
        self.preemptions.over(launch);
        if let Some(framework) = self.frameworks.get_mut(&row.framework) {
            framework.launches -= 1;
            framework.live.retain_of(&row);
        }
        self.forget_framework_if_idle(&row.framework);
        let client = self.engine.client(&row.framework, &row.role);
        if let Some(agent) = self.agents.get_mut(&row.agent) {
            agent.launches.change(|launches| launches.remove(launch));
            if holds_something(&row) {
                agent.digest = agent.digest.wrapping_sub(digest([&row.launch]));
            }
            agent.forget_executor(&row);
            let (launches, rows) = (&agent.launches, &self.launches);
            let rest = || launches.get().iter().filter_map(|id| rows.get(id)).map(|row| all_of(row));
            self.engine.release(agent.slot, client, &holds, rest);
        }
        self.engine.tidy(client);
        self.look_at_drain(&row.agent);
        self.maintenance.look_at(&row.agent);
        self.forget_agent_if_idle(&row.agent);
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
        self.calls.launch_deleted(&row);
        self.bodies.remove(launch);
        fx.delete(RowKey::Launch(launch.clone()));
        if row.adopted.is_none() {
            fx.delete(RowKey::Body(launch.clone()));
        }
        self.pass_executor_on(&row, fx);
    }

    /// A task is over: what it held is free, and if it was the last one of its launch, the launch is over. The
    /// framework's own executor holds its part until its agent says that it is gone.
    pub(super) fn release_task(&mut self, launch: &LaunchId, task: &TaskId, fx: &mut Effects<Output>) {
        let Some(row) = self.launch_row(launch) else { return };
        let Some(at) = row.tasks.iter().position(|candidate| candidate.task == *task) else { return };
        if row.tasks.len() == 1 && !row.outlives_its_tasks() {
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
    /// held by one of them. A framework's own executor is over with the launch that started it.
    fn pass_executor_on(&mut self, over: &LaunchRow, fx: &mut Effects<Output>) {
        if over.executor_resources.is_empty() || over.kind.is_custom() {
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
        let launches = self.agents.get(agent).map(|agent| agent.launches.get());
        launches
            .into_iter()
            .flatten()
            .filter_map(|launch| self.launch_row(launch))
            .filter(move |row| row.framework == *framework && row.executor == *executor)
    }

    /// Sums an agent's launches anew.
    pub(super) fn sum_up(&mut self, agent: &AgentId) {
        let Some(state) = self.agents.get(agent) else { return };
        let held = state.launches.get().iter().filter_map(|launch| self.launch_row(launch));
        let held: Vec<Bundle> = held.map(all_of).collect();
        self.engine.sum_up(state.slot, held);
    }

    /// The launches that an agent must hold, folded into one number.
    pub(super) fn digest_of(&self, agent: &AgentId) -> u64 {
        self.agents.get(agent).map_or(0, |agent| agent.digest)
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
                event: ToStream {
                    framework: framework.clone(),
                    stream: *stream,
                    leader: self.term.map_or(0, |term| term.leader),
                    event,
                },
            });
        }
    }
}

/// All that a launch holds on its agent, as the engine reckons with it.
fn all_of(row: &LaunchRow) -> Bundle {
    let mut bundle = Bundle::from(&row.executor_resources);
    row.tasks.iter().for_each(|task| bundle.add(&Bundle::from(&task.resources)));
    bundle
}

/// Whether an agent still counts a launch among those that hold something.
pub(super) fn holds_something(row: &LaunchRow) -> bool {
    row.outlives_its_tasks() || row.tasks.iter().any(|task| !task.resources.is_empty())
}

impl Agent {
    fn forget_executor(&mut self, row: &LaunchRow) {
        let Some(executors) = self.executors.get_mut(&row.framework) else { return };
        let is_empty = executors.change(|counts| {
            if let Some(count) = counts.get_mut(&row.executor) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&row.executor);
                }
            }
            counts.is_empty()
        });
        if is_empty {
            self.executors.remove(&row.framework);
        }
    }
}

/// Tasks of a framework by id.
trait RetainOf {
    /// Drops the tasks of a launch, but not a later launch's of the same id.
    fn retain_of(&mut self, row: &LaunchRow);
}

impl RetainOf for HashMap<TaskId, LaunchId, FixedState> {
    fn retain_of(&mut self, row: &LaunchRow) {
        for task in &row.tasks {
            if self.get(&task.task) == Some(&row.launch) {
                self.remove(&task.task);
            }
        }
    }
}

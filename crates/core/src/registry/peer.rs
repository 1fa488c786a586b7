//! What the allocator's rows mean for tasks.
//!
//! Its rows are states: one that is seen twice, or an old one before the newer, changes nothing in the end.
//! A launch that was seen deleted does not come back, except with a newer order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use mesos_engine::bundle::FixedState;
use mesos_model::{
    AgentId, FrameworkId, LaunchId, Reason, TaskId, TaskState, Term, Time,
    planted::{Bug, is_planted},
};

use super::{Out, Registry, TaskKey, is_end, reconcile::Question};
use crate::{
    message::StreamEvent,
    ordered::Late,
    recent::Recent,
    row::{AgentRow, AgentState, FrameworkState, LaunchRow, LaunchTask, Row, RowChange, RowKey, TaskRow},
};

/// How many deleted launches are remembered, so that a late row or status does not bring one back.
const BURIED_MAX: usize = 65_536;

/// How long an agent has to say what it knows before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What is kept of an agent's row.
#[derive(Clone, Debug)]
struct Agent {
    state: AgentState,
    /// Its machine is down for maintenance, and whatever it ran is over.
    down: bool,
    /// It is drained, to be gone after that.
    drained_to_go: bool,
    handshake: Term,
    reregistered: Time,
}

impl Agent {
    fn new(row: &AgentRow) -> Agent {
        Agent {
            state: row.state,
            down: row.down,
            drained_to_go: row.drain.is_some_and(|drain| drain.mark_gone),
            handshake: row.handshake,
            reregistered: row.reregistered,
        }
    }

    /// Which of two rows of one agent is the newer one.
    fn age(&self) -> (Term, Time, u8) {
        let rank = match self.state {
            AgentState::Active => 0,
            AgentState::Unreachable { .. } => 1,
            AgentState::Gone => 2,
        };
        (self.handshake, self.reregistered, rank)
    }
}

/// The allocator's rows, as far as they matter here.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    agents: BTreeMap<AgentId, Agent>,
    launches: HashMap<LaunchId, Arc<LaunchRow>, FixedState>,
    /// Live launches by task, hardly ever more than one.
    of_task: HashMap<TaskKey, Vec<LaunchId>, FixedState>,
    /// How many live launches a framework has.
    of_framework: BTreeMap<FrameworkId, usize>,
    /// Tasks that a launch had once.
    dropped: BTreeMap<LaunchId, BTreeSet<TaskId>>,
    buried: Recent<LaunchId, (Term, u64), BURIED_MAX>,
    forgotten: Recent<(LaunchId, TaskId), (), BURIED_MAX>,
    term: Term,
    /// The term of the allocator whose rows these are, once somebody said.
    pub(super) written_in: Option<Term>,
}

/// What an agent's row says to someone who asks about an unknown task.
pub(super) enum Whereabouts {
    /// It has shaken hands with the allocator, and all that it runs is known.
    Known,
    /// It has yet to say what it runs.
    Silent,
    /// It cannot be reached since then.
    Unreachable(Time),
    /// An operator said that it will not come back.
    Gone,
    /// There is no such agent.
    Unheard,
}

impl Cluster {
    pub(super) fn forget_soft_state(&mut self) {
        self.buried.clear();
        self.forgotten.clear();
        self.dropped.clear();
    }

    /// The keys of the rows that something is kept of, in any order.
    #[expect(clippy::disallowed_methods, reason = "who asks makes a set of them")]
    pub(super) fn keys(&self) -> Vec<RowKey> {
        let agents = self.agents.keys().cloned().map(RowKey::Agent);
        agents.chain(self.launches.keys().cloned().map(RowKey::Launch)).collect()
    }

    /// Whether the launch was seen deleted, or its agent said that it has forgotten the task.
    pub(super) fn is_buried(&self, launch: &LaunchId, task: &TaskId) -> bool {
        self.buried.contains(launch) || self.forgotten.contains(&(launch.clone(), task.clone()))
    }

    /// The row of a task went, and must not come back by a late update.
    pub(super) fn bury_task(&mut self, launch: LaunchId, task: TaskId) {
        if !self.buried.contains(&launch) {
            self.forgotten.put((launch, task), ());
        }
    }

    pub(super) fn is_live(&self, launch: &LaunchId, task: &TaskId) -> bool {
        self.launches.get(launch).is_some_and(|row| row.tasks.iter().any(|one| one.task == *task))
    }

    pub(super) fn is_active(&self, agent: &AgentId) -> bool {
        self.agents.get(agent).is_some_and(|agent| agent.state == AgentState::Active)
    }

    /// Whether an operator gave the agent up: it will not say that it has forgotten a task.
    pub(super) fn is_gone(&self, agent: &AgentId) -> bool {
        self.agents.get(agent).is_some_and(|agent| agent.state == AgentState::Gone)
    }

    /// Whether the allocator has no row of the agent.
    pub(super) fn is_unheard(&self, agent: &AgentId) -> bool {
        !self.agents.contains_key(agent)
    }

    /// Whether the agent's machine is down for maintenance. What it ran is over, and it says how once it is heard.
    pub(super) fn is_down(&self, agent: &AgentId) -> bool {
        self.agents.get(agent).is_some_and(|agent| agent.down)
    }

    /// Whether the agent is drained, to be gone after that.
    pub(super) fn is_drained_to_go(&self, agent: &AgentId) -> bool {
        self.agents.get(agent).is_some_and(|agent| agent.drained_to_go)
    }

    pub(super) fn has_launches(&self, framework: &FrameworkId) -> bool {
        self.of_framework.contains_key(framework)
    }

    /// Whether the agent has shaken hands with the allocator's leader, so that no launch of it is unknown.
    pub(super) fn is_current(&self, agent: &AgentId) -> bool {
        matches!(self.whereabouts(agent), Whereabouts::Known)
    }

    /// How many agents the allocator has rows of.
    pub(super) fn agents_count(&self) -> usize {
        self.agents.len()
    }

    /// Whether every agent is current or gone.
    pub(super) fn all_agents_current(&self) -> bool {
        self.agents.keys().all(|id| matches!(self.whereabouts(id), Whereabouts::Known | Whereabouts::Gone))
    }

    /// Whether every agent that is not cut off has said what it runs.
    pub(super) fn none_silent(&self) -> bool {
        !self.agents.keys().any(|id| matches!(self.whereabouts(id), Whereabouts::Silent))
    }

    pub(super) fn whereabouts(&self, agent: &AgentId) -> Whereabouts {
        match self.agents.get(agent) {
            None => Whereabouts::Unheard,
            Some(Agent { state: AgentState::Gone, .. }) => Whereabouts::Gone,
            // It is not admitted before it has ended its tasks.
            Some(Agent { down: true, .. }) => Whereabouts::Known,
            Some(Agent { state: AgentState::Unreachable { since }, .. }) => Whereabouts::Unreachable(*since),
            // Terms that a store has lost are not heard of again, so the rows' own term counts where it is known.
            Some(agent) if agent.handshake == self.written_in.unwrap_or(self.term) => Whereabouts::Known,
            Some(_) => Whereabouts::Silent,
        }
    }

    /// The live launch with this task that comes first by its id, other than the one named.
    pub(super) fn other_launch_of(
        &self,
        framework: &FrameworkId,
        task: &TaskId,
        not: &LaunchId,
    ) -> Option<Arc<LaunchRow>> {
        let launches = self.of_task.get(&(framework.clone(), task.clone()))?;
        let launch = launches.iter().filter(|launch| *launch != not).min()?;
        self.launches.get(launch).cloned()
    }

    /// Takes a newer row and returns the older one; `None` if the row is too old to matter.
    fn agent_put(&mut self, row: &AgentRow) -> Option<Option<Agent>> {
        let agent = Agent::new(row);
        if self.agents.get(&row.id).is_some_and(|known| agent.age() < known.age()) {
            return None;
        }
        self.term = self.term.max(agent.handshake);
        Some(self.agents.insert(row.id.clone(), agent))
    }

    /// Takes a launch without tasks that it had lost before, and returns what it has lost now; `None` if the
    /// launch was seen deleted.
    fn launch_put(&mut self, mut row: LaunchRow) -> Option<(Arc<LaunchRow>, Vec<TaskId>)> {
        if self.buried.get(&row.launch).is_some_and(|sent| row.sent <= *sent) {
            return None;
        }
        self.buried.remove(&row.launch);
        if let Some(dropped) = self.dropped.get(&row.launch) {
            row.tasks.retain(|task| !dropped.contains(&task.task));
        }
        let old = self.unlist(&row.launch);
        let left = |task: &TaskId| row.tasks.iter().any(|one| one.task == *task);
        let had = old.iter().flat_map(|old| &old.tasks).map(|task| &task.task);
        let lost: Vec<TaskId> = had.filter(|task| !left(task)).cloned().collect();
        if !lost.is_empty() {
            self.dropped.entry(row.launch.clone()).or_default().extend(lost.iter().cloned());
        }
        for task in &row.tasks {
            row.executor.share_with(&task.task);
        }
        self.term = self.term.max(row.sent.0);
        *self.of_framework.entry(row.framework.clone()).or_default() += 1;
        for task in &row.tasks {
            let launches =
                self.of_task.entry((row.framework.clone(), task.task.clone())).or_insert_with(|| Vec::with_capacity(1));
            if !launches.contains(&row.launch) {
                launches.push(row.launch.clone());
            }
        }
        let row = Arc::new(row);
        self.launches.insert(row.launch.clone(), row.clone());
        Some((row, lost))
    }

    fn unlist(&mut self, launch: &LaunchId) -> Option<Arc<LaunchRow>> {
        let row = self.launches.remove(launch)?;
        for task in &row.tasks {
            let key = (row.framework.clone(), task.task.clone());
            if let Some(launches) = self.of_task.get_mut(&key) {
                launches.retain(|one| one != launch);
                if launches.is_empty() {
                    self.of_task.remove(&key);
                }
            }
        }
        if let Some(count) = self.of_framework.get_mut(&row.framework) {
            *count -= 1;
            if *count == 0 {
                self.of_framework.remove(&row.framework);
            }
        }
        Some(row)
    }

    fn launch_delete(&mut self, launch: &LaunchId) -> Option<Arc<LaunchRow>> {
        let row = self.unlist(launch)?;
        self.dropped.remove(launch);
        self.buried.put(launch.clone(), row.sent);
        Some(row)
    }
}

impl Registry {
    pub(super) fn apply_peer(&mut self, now: Time, change: RowChange, out: &mut Out) {
        let leads = self.lead.is_some();
        match change {
            RowChange::Put(Row::Agent(row)) => {
                if let Some(old) = self.cluster.agent_put(&row)
                    && leads
                {
                    self.agent_seen(now, &row.id, old.as_ref(), out);
                }
            }
            RowChange::Put(Row::Launch(row)) => {
                if let Some((row, lost)) = self.cluster.launch_put(row)
                    && leads
                {
                    self.launch_seen(now, &row, out);
                    for task in lost {
                        self.launch_over(now, &row.launch, &(row.framework.clone(), task), out);
                    }
                }
            }
            RowChange::Delete(RowKey::Agent(id)) => {
                self.cluster.agents.remove(&id);
                self.sweep = leads;
            }
            RowChange::Delete(RowKey::Launch(id)) => {
                if let Some(row) = self.cluster.launch_delete(&id)
                    && leads
                {
                    self.sweep = true;
                    for task in &row.tasks {
                        self.launch_over(now, &row.launch, &(row.framework.clone(), task.task.clone()), out);
                    }
                }
            }
            RowChange::Put(_) | RowChange::Delete(_) => {}
        }
    }

    /// A launch is no longer among the allocator's rows, which proves nothing: its store may have lost it while
    /// the tasks run on. They are over if their agent has shaken hands and does not name them either; a launch
    /// that it does name comes back as adopted.
    pub(super) fn launch_lost(&mut self, now: Time, launch: &LaunchId, out: &mut Out) {
        let Some(row) = self.cluster.unlist(launch) else { return };
        self.cluster.dropped.remove(launch);
        if self.lead.is_some() {
            self.sweep = true;
            self.to_ask.insert(row.agent.clone());
            self.doubt(now, &row.agent);
            // Those that had ended waited for nothing else.
            for task in &row.tasks {
                self.delete_if_over(now, &(row.framework.clone(), task.task.clone()), out);
            }
        }
    }

    /// The allocator has a new leader; agents have to say again what they run.
    pub(super) fn peer_term(&mut self, term: Term) {
        self.cluster.term = self.cluster.term.max(term);
    }

    /// A term begins: tasks are brought in line with the allocator's rows.
    pub(super) fn settle_with_peer(&mut self, now: Time, out: &mut Out) {
        // How many tasks of each agent have a launch that stands for them, and are not cut off.
        let mut stood_for: HashMap<&AgentId, usize, FixedState> = HashMap::default();
        let mut launches: Vec<Arc<LaunchRow>> = Vec::new();
        #[expect(clippy::disallowed_methods, reason = "they are sorted")]
        for row in self.cluster.launches.values() {
            match self.settled_tasks(row) {
                Some(tasks) => {
                    let reachable = tasks.filter(|task| task.state != TaskState::Unreachable);
                    reachable.for_each(|task| *stood_for.entry(&task.agent).or_insert(0) += 1);
                }
                None => launches.push(row.clone()),
            }
        }
        launches.sort_unstable_by(|a, b| a.launch.cmp(&b.launch));
        let all_stood_for = |(agent, tasks): (&AgentId, &Late<BTreeSet<TaskKey>>)| {
            (stood_for.get(agent) == Some(&tasks.count_at_most())).then(|| agent.clone())
        };
        #[expect(clippy::disallowed_methods, reason = "becomes a set")]
        let whole: HashSet<AgentId, FixedState> = self.on_agent.iter().filter_map(all_stood_for).collect();
        for row in &launches {
            self.launch_seen(now, row, out);
        }
        let agents: Vec<AgentId> = self.cluster.agents.keys().cloned().collect();
        for id in agents {
            match self.cluster.agents.get(&id).map(|agent| agent.state) {
                Some(AgentState::Unreachable { .. }) if self.cluster.is_down(&id) => {
                    self.agent_down(now, &id, out);
                }
                Some(AgentState::Unreachable { since }) => self.agent_unreachable(now, &id, since, out),
                Some(AgentState::Gone) => self.agent_gone(now, &id, out),
                Some(AgentState::Active) if !whole.contains(&id) => self.doubt(now, &id),
                Some(AgentState::Active) | None => {}
            }
        }
        let ids: Vec<FrameworkId> = self.tasks.keys().cloned().collect();
        let acknowledged = |id| self.keys_of(id, |task| task.row.end_acknowledged);
        for key in ids.iter().flat_map(acknowledged).collect::<Vec<_>>() {
            self.delete_if_over(now, &key, out);
        }
    }

    fn agent_seen(&mut self, now: Time, id: &AgentId, old: Option<&Agent>, out: &mut Out) {
        let Some(new) = self.cluster.agents.get(id).cloned() else { return };
        self.sweep = true;
        let was = old.map(|old| old.state);
        match new.state {
            AgentState::Unreachable { .. } if new.down => {
                if was == Some(AgentState::Active) {
                    self.tell_all(&StreamEvent::Failure { agent: id.clone(), executor: None, status: None }, out);
                }
                self.agent_down(now, id, out);
            }
            AgentState::Unreachable { since } => {
                if !matches!(was, Some(AgentState::Unreachable { .. })) {
                    self.tell_all(&StreamEvent::Failure { agent: id.clone(), executor: None, status: None }, out);
                    self.agent_unreachable(now, id, since, out);
                }
            }
            AgentState::Gone => {
                if was == Some(AgentState::Active) {
                    self.tell_all(&StreamEvent::Failure { agent: id.clone(), executor: None, status: None }, out);
                }
                self.agent_gone(now, id, out);
            }
            AgentState::Active => {
                let same = old.is_some_and(|old| old.age() == new.age());
                if !same {
                    self.to_ask.insert(id.clone());
                    self.doubt(now, id);
                }
            }
        }
    }

    fn tell_all(&self, event: &StreamEvent, out: &mut Out) {
        for id in self.frameworks.keys() {
            self.tell(id, event.clone(), out);
        }
    }

    fn agent_unreachable(&mut self, now: Time, id: &AgentId, since: Time, out: &mut Out) {
        for key in self.keys_on(id) {
            if is_planted(Bug::UnreachableIsGone) {
                self.end_task(now, &key, TaskState::Gone, Reason::AGENT_REMOVED, "", out);
                continue;
            }
            self.task_unreachable(now, &key, since, out);
        }
    }

    fn agent_gone(&mut self, now: Time, id: &AgentId, out: &mut Out) {
        for key in self.keys_on(id) {
            // A launch that is not known by now never will be.
            self.launch_counts_as_seen(&key, out);
            let reason = Reason::AGENT_REMOVED_BY_OPERATOR;
            self.end_task(now, &key, TaskState::GoneByOperator, reason, "Agent has been marked gone", out);
            self.delete_if_over(now, &key, out);
        }
    }

    /// As Mesos says it of an agent whose machine an operator takes down.
    fn agent_down(&mut self, now: Time, id: &AgentId, out: &mut Out) {
        for key in self.keys_on(id) {
            let message = "The agent's machine went down for maintenance";
            self.end_task(now, &key, TaskState::Gone, Reason::AGENT_REMOVED, message, out);
            self.delete_if_over(now, &key, out);
        }
    }

    /// An agent is there of whose tasks some are in doubt. Those that were unreachable it has to tell again. Those that
    /// no launch stands for any more are over, unless it says that it knows them: the registry may have lost what the
    /// agent told of their end, for which the allocator let the launch go.
    fn doubt(&mut self, now: Time, id: &AgentId) {
        let in_doubt = |row: &TaskRow| row.state == TaskState::Unreachable || self.is_without_launch(row);
        if !self.tasks_on(id).any(|(_, row)| in_doubt(row)) {
            return;
        }
        if is_planted(Bug::AbsentTooEarly) {
            return self.ask_absent(id, &BTreeSet::new());
        }
        self.doubted.insert(id.clone());
        self.doubted_at.get_or_insert(now.after(ASK_AGAIN));
    }

    fn has_unreachable(&self, id: &AgentId) -> bool {
        self.tasks_on(id).any(|(_, row)| row.state == TaskState::Unreachable)
    }

    /// An agent in doubt has said which tasks it knows, after it has told of each.
    pub(super) fn settle_doubt(&mut self, id: &AgentId, known: &[TaskKey]) {
        if !self.doubted.contains(id) {
            return;
        }
        self.ask_absent(id, &known.iter().cloned().collect());
        // What it told may have been lost on its way; then it is asked again.
        if !self.has_unreachable(id) {
            self.doubted.remove(id);
        }
    }

    /// Asks those again that have not said yet what they know. Of one that is away its row says so when it is back.
    pub(super) fn doubt_again(&mut self, now: Time) {
        if self.doubted_at.is_none_or(|at| at > now) {
            return;
        }
        let cluster = &self.cluster;
        self.doubted.retain(|agent| cluster.is_active(agent));
        self.to_ask.extend(self.doubted.iter().cloned());
        self.doubted_at = (!self.doubted.is_empty()).then(|| now.after(ASK_AGAIN));
    }

    /// The agent knows only these tasks: the others are over, once nothing is in between.
    fn ask_absent(&mut self, id: &AgentId, known: &BTreeSet<TaskKey>) {
        let absent = self.tasks_on(id).filter(|(key, row)| self.is_without_launch(row) && !known.contains(*key));
        let keys: Vec<(TaskKey, LaunchId)> = absent.map(|(key, row)| (key.clone(), row.launch.clone())).collect();
        if !keys.is_empty() {
            self.asking.push(Question::Absent { agent: id.clone(), keys });
        }
    }

    /// The tasks on an agent.
    fn tasks_on(&self, id: &AgentId) -> impl Iterator<Item = (&TaskKey, &TaskRow)> {
        let keys = self.on_agent.get(id).into_iter().flat_map(Late::get);
        keys.filter_map(|key| Some((key, &self.get_task(key)?.row)))
    }

    /// A task has not ended, and no launch stands for it.
    fn is_without_launch(&self, row: &TaskRow) -> bool {
        !is_end(row.state) && !self.cluster.is_live(&row.launch, &row.task)
    }

    /// The tasks of a launch if [`launch_seen`](Self::launch_seen) would change nothing. Of a million launches nearly
    /// all are so.
    fn settled_tasks<'a>(&'a self, launch: &'a LaunchRow) -> Option<impl Iterator<Item = &'a TaskRow>> {
        let framework = self.framework(&launch.framework)?;
        let tasks = self.tasks.get(&launch.framework);
        let known = move |task: &LaunchTask| tasks?.get(&task.task).map(|known| &known.row);
        let same = |task: &LaunchTask| known(task).is_some_and(|row| says_the_same(row, launch, task));
        let settled =
            (!framework.recovered || framework.info.roles.contains(&launch.role)) && launch.tasks.iter().all(same);
        settled.then(|| launch.tasks.iter().filter_map(known))
    }

    /// A launch is there: its tasks have rows.
    pub(super) fn launch_seen(&mut self, now: Time, launch: &LaunchRow, out: &mut Out) {
        let facts = launch.adopted.clone().unwrap_or_default();
        self.recover_framework(now, &launch.framework, &facts, &launch.role, out);
        let removed = |state| matches!(state, FrameworkState::Removed { .. });
        if self.framework(&launch.framework).is_none_or(|row| removed(row.state)) {
            return;
        }
        for task in &launch.tasks {
            let key = (launch.framework.clone(), task.task.clone());
            let known = self.get_task(&key).map(|task| &task.row);
            if known.is_some_and(|row| says_the_same(row, launch, task)) {
                continue;
            }
            let mut row = match known {
                // The id is taken until the row goes; then this launch has its turn.
                Some(row) if row.launch != launch.launch => continue,
                Some(row) => row.clone(),
                None => new_row(launch, &task.task, now),
            };
            row.launch_seen = true;
            row.name.clone_from(&task.name);
            row.resources.clone_from(&task.resources);
            row.role.clone_from(&launch.role);
            row.executor.clone_from(&launch.executor);
            row.trace = launch.trace.or(row.trace);
            self.save_task(row, out);
            if let Whereabouts::Unreachable(since) = self.cluster.whereabouts(&launch.agent) {
                self.task_unreachable(now, &key, since, out);
            }
        }
    }

    /// The allocator says that a task of a launch is over. Unless its agent said so first, it never heard of
    /// the task, or has lost it.
    fn launch_over(&mut self, now: Time, launch: &LaunchId, key: &TaskKey, out: &mut Out) {
        if self.get_task(key).is_some_and(|task| task.row.launch == *launch) {
            self.task_absent(now, key, out);
            self.delete_if_over(now, key, out);
        }
    }

    /// No launch stands for the task.
    pub(super) fn task_absent(&mut self, now: Time, key: &TaskKey, out: &mut Out) {
        let Some(row) = self.get_task(key).map(|task| &task.row) else { return };
        let ran = row.number > 0;
        if !ran && row.kill.is_some() {
            let message = "Task was killed before it was launched";
            self.end_task(now, key, TaskState::Killed, Reason::TASK_KILLED_DURING_LAUNCH, message, out);
            return;
        }
        let state = if ran { TaskState::Gone } else { TaskState::Dropped };
        let message = "Reconciliation: task unknown to the agent";
        self.end_task(now, key, state, Reason::RECONCILIATION, message, out);
    }
}

/// Whether a task's row holds all that its launch says of it.
fn says_the_same(row: &TaskRow, launch: &LaunchRow, task: &LaunchTask) -> bool {
    row.launch_seen
        && row.launch == launch.launch
        && row.name == task.name
        && row.resources == task.resources
        && row.role == launch.role
        && row.executor == launch.executor
        && (launch.trace.is_none() || row.trace == launch.trace)
}

fn new_row(launch: &LaunchRow, task: &TaskId, now: Time) -> TaskRow {
    TaskRow {
        framework: launch.framework.clone(),
        task: task.clone(),
        name: String::new(),
        launch: launch.launch.clone(),
        agent: launch.agent.clone(),
        executor: launch.executor.clone(),
        role: launch.role.clone(),
        resources: Default::default(),
        state: TaskState::Staging,
        status: None,
        number: 0,
        pending: Vec::new(),
        end_acknowledged: false,
        launch_seen: false,
        kill: None,
        created: if launch.time == Time::default() { now } else { launch.time },
        trace: launch.trace,
    }
}

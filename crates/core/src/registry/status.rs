//! Updates on their way from the agent to the framework, and their acknowledgement back.
//!
//! A status from an agent has a number per task; the registry takes them over in order and confirms each to
//! the agent once it is in a row. What the framework has not acknowledged is in the row's `pending`: the
//! first one is with the framework and is sent again until it is acknowledged. What the registry itself says
//! has the number 0; it is in `pending` too, so that the framework hears everything in order.

use std::time::Duration;

use mesos_model::{
    AgentId, FrameworkId, LaunchId, Reason, Source, TaskState, TaskStatus, Time,
    planted::{Bug, is_planted},
};

use super::{Out, Output, Registry, Task, TaskKey, derived_uuid, is_end, reconcile::Question};
use crate::{
    message::{AgentToRegistry, StreamEvent, ToAgent, Update},
    row::{FrameworkRow, FrameworkState, PendingUpdate, RowKey, TaskRow},
};

/// Over how long a crowd of updates is spread when everything is sent again.
const SPREAD_MS: u64 = 5000;

/// An agent that the allocator does not know is not told any more that its task's end is acknowledged when so long would
/// pass until the next attempt.
const UNHEARD: Duration = Duration::from_secs(80);

/// Something that is sent again until it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    due: Time,
    wait: Duration,
}

/// What is to become of an update.
enum Fate {
    /// It is the next one.
    Next,
    /// It was taken over before.
    Repeat,
    /// The framework acknowledged it to an earlier leader whose rows were lost.
    Settled,
    /// One before it is missing.
    Early,
}

impl Registry {
    pub(super) fn agent_says(&mut self, now: Time, message: AgentToRegistry, out: &mut Out) {
        match message {
            AgentToRegistry::Update { agent, update } => self.update(now, &agent, *update, out),
            AgentToRegistry::Knows { agent, asked, tasks } => self.agent_knows(agent, asked, tasks),
            AgentToRegistry::Forgotten { agent, framework, task, launch } => {
                self.agent_forgot(now, &agent, &(framework, task), &launch, out);
            }
            AgentToRegistry::Message { agent, framework, executor, data } => {
                self.tell(&framework, StreamEvent::Message { agent, executor, data }, out);
            }
            AgentToRegistry::ExecutorExited { agent, framework, executor, status } => {
                let event = StreamEvent::Failure { agent, executor: Some(executor), status: Some(status) };
                self.tell(&framework, event, out);
            }
        }
    }

    fn update(&mut self, now: Time, agent: &AgentId, update: Update, out: &mut Out) {
        let key = (update.framework.clone(), update.status.task.clone());
        let removed = |state| matches!(state, FrameworkState::Removed { .. });
        if self.framework(&key.0).is_some_and(|row| removed(row.state)) {
            self.dismiss(agent, &update, out);
            return;
        }
        match self.get_task(&key).map(|task| &task.row) {
            None if self.cluster.is_buried(&update.launch, &key.1) => self.dismiss(agent, &update, out),
            // Its tasks were told to be gone, and it has not heard yet that it is.
            None if self.cluster.is_gone(agent) && !is_planted(Bug::GoneSpeaks) => self.dismiss(agent, &update, out),
            // Nobody else knows the task. Was the update on its way since before its end, or is it news?
            None if !self.cluster.is_live(&update.launch, &key.1) && Some(update.asked) != self.term() => {
                self.counters.updates_questioned += 1;
                self.to_ask.insert(agent.clone());
            }
            None if matches!(fate(0, &update), Fate::Early) => self.counters.updates_early += 1,
            None => {
                self.recover_framework(now, &key.0, &update.facts, &update.role, out);
                let row = self.row_of(now, agent, &update);
                self.keep_task(row);
                self.take_over(now, agent, &key, update, out);
            }
            Some(row) if row.launch != update.launch => self.other_launch(now, agent, &key, update, out),
            Some(row) if row.agent != *agent => self.counters.updates_misplaced += 1,
            Some(_) => self.take_over(now, agent, &key, update, out),
        }
    }

    /// A task that its agent knows before the allocator's launch was seen.
    fn row_of(&self, now: Time, agent: &AgentId, update: &Update) -> TaskRow {
        TaskRow {
            framework: update.framework.clone(),
            task: update.status.task.clone(),
            name: String::new(),
            launch: update.launch.clone(),
            agent: agent.clone(),
            executor: update.executor.clone(),
            role: update.role.clone(),
            resources: update.resources.clone(),
            state: TaskState::Staging,
            status: None,
            number: 0,
            pending: Vec::new(),
            end_acknowledged: false,
            launch_seen: self.cluster.is_live(&update.launch, &update.status.task),
            kill: None,
            created: now,
            trace: update.trace,
        }
    }

    /// An update of a task id whose row belongs to another launch: the row gives way only if its own task
    /// is over and done with, and the allocator stands by the other launch.
    fn other_launch(&mut self, now: Time, agent: &AgentId, key: &TaskKey, update: Update, out: &mut Out) {
        self.counters.updates_other_launch += 1;
        let Some(row) = self.get_task(key).map(|task| &task.row) else { return };
        if self.cluster.is_buried(&update.launch, &key.1) {
            self.dismiss(agent, &update, out);
        } else if row.end_acknowledged
            && self.cluster.is_live(&update.launch, &key.1)
            && !self.cluster.is_live(&row.launch, &key.1)
            && !matches!(fate(0, &update), Fate::Early)
        {
            self.drop_task(key);
            let row = self.row_of(now, agent, &update);
            self.keep_task(row);
            self.take_over(now, agent, key, update, out);
        }
    }

    fn take_over(&mut self, now: Time, agent: &AgentId, key: &TaskKey, mut update: Update, out: &mut Out) {
        let Some(mut row) = self.get_task(key).map(|task| task.row.clone()) else { return };
        match fate(row.number, &update) {
            Fate::Early => {
                self.counters.updates_early += 1;
                return;
            }
            Fate::Repeat => {
                self.counters.updates_repeated += 1;
                self.confirm(agent, key, row.number.min(update.number));
                let acknowledged = acknowledged(&row);
                if update.acknowledged < acknowledged {
                    self.acknowledge_to_agent(&row, acknowledged, out);
                }
                self.back_from_unreachable(now, agent, key, row, update, out);
                return;
            }
            Fate::Next | Fate::Settled => {}
        }
        self.counters.updates_applied += 1;
        self.confirm(agent, key, update.number);
        let settled = update.number <= update.acknowledged;
        row.number = update.number;
        if is_end(row.state) && !is_planted(Bug::EndIsNotFinal) {
            // The framework is told that it is over by whoever said so first.
            let acknowledged = acknowledged(&row);
            if acknowledged > 0 {
                self.acknowledge_to_agent(&row, acknowledged, out);
            }
            self.save_task(row, out);
            return;
        }
        row.pending.retain(|pending| pending.number == 0 || pending.number > update.acknowledged);
        update.status.state = inner_state(update.status.state, row.state);
        update.status.agent.get_or_insert_with(|| agent.clone());
        row.state = update.status.state;
        row.status = Some(update.status.clone());
        if settled {
            row.end_acknowledged |= is_end(row.state);
        } else {
            row.pending.push(PendingUpdate { number: update.number, status: update.status });
            self.bound_pending(&mut row);
        }
        self.save_task(row, out);
        self.pump(now, key, out);
    }

    fn bound_pending(&mut self, row: &mut TaskRow) {
        while row.pending.len() > self.options.max_pending.max(3) {
            let Some(at) = (1..row.pending.len() - 1).find(|at| !is_end(row.pending[*at].status.state)) else { return };
            row.pending.remove(at);
            self.counters.updates_left_out += 1;
        }
    }

    /// The latest status of a task is told again by an agent that is back: that is its state then.
    fn back_from_unreachable(
        &mut self,
        now: Time,
        agent: &AgentId,
        key: &TaskKey,
        mut row: TaskRow,
        update: Update,
        out: &mut Out,
    ) {
        if row.state != TaskState::Unreachable || update.number != row.number || !self.cluster.is_active(agent) {
            return;
        }
        row.pending.retain(|pending| pending.status.state != TaskState::Unreachable);
        let state = inner_state(update.status.state, row.state);
        let mut status = TaskStatus { state, agent: Some(agent.clone()), ..update.status };
        row.state = state;
        row.status = Some(status.clone());
        let waits = row.pending.iter().any(|pending| pending.number == update.number);
        // That it was unreachable the framework may have heard by reconciliation, even if the status itself still waited.
        if !waits {
            status.source = Source::Master;
            // To be acknowledged: who knows nothing of partitions took the task for lost, and asks no more.
            status.uuid = Some(derived_uuid(&row.launch, &key.1, &format!("back {}", now.0)));
            status.time = now;
            let status = status.because(Reason::AGENT_REREGISTERED, "Agent re-registered");
            row.pending.push(PendingUpdate { number: 0, status });
        }
        self.save_task(row, out);
        self.pump(now, key, out);
    }

    /// The task is over because the registry says so.
    pub(super) fn end_task(
        &mut self,
        now: Time,
        key: &TaskKey,
        state: TaskState,
        reason: Reason,
        message: &str,
        out: &mut Out,
    ) {
        let Some(mut row) = self.get_task(key).map(|task| task.row.clone()) else { return };
        if is_end(row.state) {
            return;
        }
        let mut status = TaskStatus::new(key.1.clone(), state, Source::Master, now).because(reason, message);
        status.agent = Some(row.agent.clone());
        status.executor = Some(row.executor.clone());
        status.uuid = Some(derived_uuid(&row.launch, &key.1, state.name()));
        row.pending.retain(|pending| pending.status.state != TaskState::Unreachable);
        row.state = state;
        row.status = Some(status.clone());
        row.pending.push(PendingUpdate { number: 0, status });
        self.counters.ends_decided += 1;
        self.save_task(row, out);
        self.pump(now, key, out);
    }

    /// The task's agent cannot be reached.
    pub(super) fn task_unreachable(&mut self, now: Time, key: &TaskKey, since: Time, out: &mut Out) {
        let Some(mut row) = self.get_task(key).map(|task| task.row.clone()) else { return };
        if is_end(row.state) || row.state == TaskState::Unreachable {
            return;
        }
        let mut status = TaskStatus::new(key.1.clone(), TaskState::Unreachable, Source::Master, now)
            .because(Reason::AGENT_REMOVED, format!("Agent {} is unreachable", row.agent));
        status.agent = Some(row.agent.clone());
        status.executor = Some(row.executor.clone());
        status.unreachable = Some(since);
        row.state = TaskState::Unreachable;
        row.status = Some(status.clone());
        row.pending.push(PendingUpdate { number: 0, status });
        self.save_task(row, out);
        self.pump(now, key, out);
    }

    /// ACKNOWLEDGE: only what is with the framework can be acknowledged.
    pub(super) fn acknowledge(&mut self, now: Time, key: &TaskKey, agent: &AgentId, uuid: u128, out: &mut Out) {
        let head = self.get_task(key).filter(|task| task.row.agent == *agent);
        let head = head.filter(|task| {
            task.row.pending.first().is_some_and(|head| head.status.uuid == Some(uuid) || is_planted(Bug::AnyUuid))
        });
        let Some(mut row) = head.map(|task| task.row.clone()) else {
            self.counters.acknowledgements_unknown += 1;
            return;
        };
        self.counters.acknowledgements += 1;
        self.pop(&mut row, out);
        self.save_task(row, out);
        self.disarm_task(key);
        self.pump(now, key, out);
        self.delete_if_over(now, key, out);
    }

    /// Takes out the first pending update, which is settled, and says so to the agent.
    fn pop(&self, row: &mut TaskRow, out: &mut Out) {
        if row.pending.is_empty() {
            return;
        }
        let head = row.pending.remove(0);
        if is_end(head.status.state) {
            row.end_acknowledged = true;
            self.acknowledge_to_agent(row, row.number, out);
        } else if head.number > 0 {
            self.acknowledge_to_agent(row, acknowledged(row), out);
        }
    }

    /// Sends the first pending update if it is not on its way. What need not be acknowledged, and what the
    /// framework does not understand, is settled at once.
    pub(super) fn pump(&mut self, now: Time, key: &TaskKey, out: &mut Out) {
        let Some(framework) = self.frameworks.get(&key.0) else { return };
        let connected = framework.row.state == FrameworkState::Connected;
        let killing = framework.row.info.capabilities.task_killing_state;
        let Some(task) = self.get_task(key) else { return };
        if task.flight.is_some() && !task.row.pending.is_empty() {
            return;
        }
        let mut row = task.row.clone();
        let before = row.pending.len();
        let mut sent = false;
        while let Some(head) = row.pending.first().filter(|_| connected && !sent) {
            let hidden = head.status.state == TaskState::Killing && !killing;
            if !hidden {
                self.send(&row, &head.status, out);
            }
            sent = !hidden && head.status.uuid.is_some();
            if !sent {
                self.pop(&mut row, out);
            }
        }
        let ended = row.pending.is_empty() && row.end_acknowledged;
        if row.pending.len() != before {
            self.save_task(row, out);
        }
        if sent || ended {
            self.arm_task(key, now, self.options.retry_min);
        }
    }

    fn send(&self, row: &TaskRow, status: &TaskStatus, out: &mut Out) {
        let Some(framework) = self.framework(&row.framework) else { return };
        let mut status = status.clone();
        status.state = self.state_for(framework, row, &status);
        self.tell(&row.framework, StreamEvent::Update { status, trace: row.trace }, out);
    }

    /// A status' state in the form that the framework understands. A task that ended because its agent is drained,
    /// to be gone after that, is gone by an operator to those who know that state.
    pub(super) fn state_for(&self, framework: &FrameworkRow, row: &TaskRow, status: &TaskStatus) -> TaskState {
        let aware = framework.info.capabilities.partition_aware;
        let drained = status.state == TaskState::Killed && status.reason == Some(Reason::AGENT_DRAINING);
        if drained && aware && self.cluster.is_drained_to_go(&row.agent) {
            return TaskState::GoneByOperator;
        }
        status.state.for_framework(aware)
    }

    /// Tells the framework once what it did not ask to be able to acknowledge.
    pub(super) fn tell_status(&self, id: &FrameworkId, mut status: TaskStatus, out: &mut Out) {
        let Some(framework) = self.framework(id) else { return };
        status.state = status.state.for_framework(framework.info.capabilities.partition_aware);
        out.claim();
        self.tell(id, StreamEvent::Update { status, trace: None }, out);
    }

    /// A task's time has come: what was not answered is sent again, less and less often.
    pub(super) fn fire(&mut self, now: Time, key: &TaskKey, out: &mut Out) {
        let Some(task) = self.get_task(key) else { return };
        let wait = task.flight.map_or(self.options.retry_min, |flight| flight.wait);
        self.disarm_task(key);
        let Some(row) = self.get_task(key).map(|task| &task.row) else { return };
        if !row.pending.is_empty() {
            self.counters.updates_sent_again += 1;
            self.pump(now, key, out);
        } else if row.end_acknowledged && wait >= UNHEARD && self.cluster.is_unheard(&row.agent) {
            // Its agent was a ghost, or came back as another one after the allocator's store had lost it.
            self.launch_counts_as_seen(key, out);
            self.forgotten(now, key, out);
        } else if row.end_acknowledged {
            self.acknowledge_to_agent(row, row.number, out);
            self.arm_task(key, now, wait);
        }
        let longer = (wait * 2).min(self.options.retry_max);
        if let Some(flight) = self.get_task_mut(key).and_then(|task| task.flight.as_mut()) {
            flight.wait = longer;
            let (old, new) = (flight.due, now.after(wait));
            flight.due = new;
            self.due.remove(&(old, key.clone()));
            self.due.insert((new, key.clone()));
        }
    }

    pub(super) fn arm_task(&mut self, key: &TaskKey, now: Time, wait: Duration) {
        self.arm_task_at(key, Flight { due: now.after(wait), wait: (wait * 2).min(self.options.retry_max) });
    }

    fn arm_task_at(&mut self, key: &TaskKey, flight: Flight) {
        self.disarm_task(key);
        if let Some(task) = self.get_task_mut(key) {
            task.flight = Some(flight);
            self.due.insert((flight.due, key.clone()));
        }
    }

    pub(super) fn disarm_task(&mut self, key: &TaskKey) {
        if let Some(flight) = self.get_task_mut(key).and_then(|task| task.flight.take()) {
            self.due.remove(&(flight.due, key.clone()));
        }
    }

    /// The framework's stream is new or back: what it has not acknowledged is sent to it now.
    pub(super) fn send_pending(&mut self, now: Time, id: &FrameworkId, out: &mut Out) {
        for key in self.keys_of(id, |task| !task.row.pending.is_empty()) {
            self.disarm_task(&key);
            self.pump(now, &key, out);
        }
    }

    /// Everything unanswered is sent again soon, a large crowd spread over a few seconds.
    pub(super) fn send_everything_again(&mut self, now: Time) {
        let open = |task: &Task| !task.row.pending.is_empty() || task.row.end_acknowledged;
        let ids: Vec<FrameworkId> = self.tasks.keys().cloned().collect();
        let keys: Vec<TaskKey> = ids.iter().flat_map(|id| self.keys_of(id, open)).collect();
        let spread = (keys.len() as u64).clamp(1, SPREAD_MS);
        for (at, key) in keys.iter().enumerate() {
            let due = now.after(Duration::from_millis(at as u64 % spread));
            self.arm_task_at(key, Flight { due, wait: self.options.retry_min });
        }
    }

    fn confirm(&mut self, agent: &AgentId, key: &TaskKey, number: u64) {
        let numbers = self.received.entry(agent.clone()).or_default();
        let highest = numbers.entry(key.clone()).or_default();
        *highest = number.max(*highest);
    }

    fn acknowledge_to_agent(&self, row: &TaskRow, number: u64, out: &mut Out) {
        let message = ToAgent::Acknowledged {
            framework: row.framework.clone(),
            task: row.task.clone(),
            launch: row.launch.clone(),
            number,
        };
        out.emit(Output::Agent { agent: row.agent.clone(), message });
    }

    /// Nobody waits for this update any more; the agent may forget it.
    fn dismiss(&mut self, agent: &AgentId, update: &Update, out: &mut Out) {
        self.counters.updates_dismissed += 1;
        out.claim();
        let message = ToAgent::Acknowledged {
            framework: update.framework.clone(),
            task: update.status.task.clone(),
            launch: update.launch.clone(),
            number: update.number,
        };
        out.emit(Output::Agent { agent: agent.clone(), message });
    }

    fn agent_forgot(&mut self, now: Time, agent: &AgentId, key: &TaskKey, launch: &LaunchId, out: &mut Out) {
        let Some(row) = self.get_task(key).map(|task| &task.row) else { return };
        if row.agent != *agent || row.launch != *launch || !row.end_acknowledged {
            return;
        }
        if !row.launch_seen {
            self.asking.push(Question::Forgotten { key: key.clone(), launch: launch.clone() });
        }
        self.forgotten(now, key, out);
    }

    /// The task's agent will not speak of it any more.
    fn forgotten(&mut self, now: Time, key: &TaskKey, out: &mut Out) {
        if let Some(task) = self.get_task_mut(key) {
            task.forgotten = true;
        }
        self.delete_if_over(now, key, out);
    }

    /// Deletes the row of a task that nobody can bring back: its end is acknowledged, its agent has
    /// forgotten it (or will never tell), and the allocator's launch came and went.
    pub(super) fn delete_if_over(&mut self, now: Time, key: &TaskKey, out: &mut Out) {
        let Some(task) = self.get_task(key) else { return };
        let row = &task.row;
        let removed = |state| matches!(state, FrameworkState::Removed { .. });
        let framework_removed = self.framework(&key.0).is_none_or(|row| removed(row.state));
        let silent =
            self.cluster.is_gone(&row.agent) || (self.cluster.is_down(&row.agent) && is_planted(Bug::DownIsForgotten));
        let forgotten = task.forgotten || framework_removed || silent;
        let launch_over = row.launch_seen && !self.cluster.is_live(&row.launch, &key.1);
        let over = forgotten && launch_over;
        if !row.end_acknowledged || !(over || is_planted(Bug::RowGoesEarly)) {
            return;
        }
        let launch = row.launch.clone();
        self.cluster.bury_task(launch.clone(), key.1.clone());
        self.drop_task(key);
        self.sweep |= framework_removed;
        out.delete(RowKey::Task(key.0.clone(), key.1.clone()));
        self.counters.tasks_forgotten += 1;
        if let Some(next) = self.cluster.other_launch_of(&key.0, &key.1, &launch) {
            self.launch_seen(now, &next, out);
        }
    }
}

fn fate(known: u64, update: &Update) -> Fate {
    if update.number <= known && !is_planted(Bug::RepeatedUpdateCounts) {
        Fate::Repeat
    } else if update.number <= update.acknowledged {
        Fate::Settled
    } else if update.number == known.max(update.acknowledged) + 1 || is_planted(Bug::UpdatesSkipped) {
        Fate::Next
    } else {
        Fate::Early
    }
}

/// Up to which number the framework has acknowledged what the agent told. An end that the registry decided settles
/// whatever the agent tells of the task, but not before it is acknowledged itself.
fn acknowledged(row: &TaskRow) -> u64 {
    if is_end(row.state) && !row.end_acknowledged && row.pending.iter().all(|pending| pending.number == 0) {
        return 0;
    }
    row.pending.iter().find(|pending| pending.number > 0).map_or(row.number, |pending| pending.number - 1)
}

/// States in which agents speak of what they cannot know are taken for what they can mean.
fn inner_state(told: TaskState, known: TaskState) -> TaskState {
    match told {
        TaskState::Lost | TaskState::Unreachable | TaskState::GoneByOperator | TaskState::Unknown => {
            if known == TaskState::Staging { TaskState::Dropped } else { TaskState::Gone }
        }
        state => state,
    }
}

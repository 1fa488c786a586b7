//! RECONCILE, and questions that wait until the allocator's stream has caught up.
//!
//! That a task is unknown is said only when nothing can be on its way: the allocator's stream was applied up
//! to a head that was read after the question, and the agent that might run it has shaken hands with the
//! allocator's leader. Before that there is no answer, and the framework asks again.

use mesos_model::{
    AgentId, FrameworkId, LaunchId, Reason, Source, TaskId, TaskState, TaskStatus, Term, Time,
    planted::{Bug, is_planted},
};

pub(super) use super::peer::Whereabouts;
use super::{Out, Output, Registry, TaskKey, is_end};

/// How many tasks may wait for an answer. Beyond that the oldest questions go unanswered.
const WAITING_MAX: usize = 100_000;

/// What is decided when the allocator's stream has caught up.
#[derive(Debug)]
pub(super) enum Question {
    /// A framework asks about a task that is unknown here.
    Unknown {
        /// Who asks.
        framework: FrameworkId,
        /// About what.
        task: TaskId,
        /// Where it thinks it is.
        agent: Option<AgentId>,
    },
    /// No launch stands for these tasks of an agent, and it does not know them.
    Absent {
        /// The agent.
        agent: AgentId,
        /// Its tasks and the launches that they had then.
        keys: Vec<(TaskKey, LaunchId)>,
    },
    /// An agent has forgotten a task whose launch was never seen.
    Forgotten {
        /// The task.
        key: TaskKey,
        /// Its launch.
        launch: LaunchId,
    },
}

impl Registry {
    pub(super) fn reconcile(
        &mut self,
        now: Time,
        id: &FrameworkId,
        tasks: Vec<(TaskId, Option<AgentId>)>,
        out: &mut Out,
    ) {
        if tasks.is_empty() {
            for key in self.keys_of(id, |_| true) {
                self.tell_latest(now, &key, out);
            }
            return;
        }
        for (task, agent) in tasks {
            self.reconcile_one(now, id, task, agent, out);
        }
    }

    /// Explicit reconciliation of one task.
    pub(super) fn reconcile_one(
        &mut self,
        now: Time,
        id: &FrameworkId,
        task: TaskId,
        agent: Option<AgentId>,
        out: &mut Out,
    ) {
        if !self.tell_latest(now, &(id.clone(), task.clone()), out) {
            self.asking.push(Question::Unknown { framework: id.clone(), task, agent });
        }
    }

    /// Tells the latest status that the framework was sent. False if there is none because the task is not
    /// known or over for it.
    fn tell_latest(&self, now: Time, key: &TaskKey, out: &mut Out) -> bool {
        let Some(row) = self.get_task(key).map(|task| &task.row) else { return false };
        if row.end_acknowledged {
            return false;
        }
        let sent = row.pending.first().map(|head| &head.status).or(row.status.as_ref());
        let mut status = TaskStatus::new(key.1.clone(), row.state, Source::Master, now)
            .because(Reason::RECONCILIATION, "Reconciliation: Latest task state");
        if let Some(sent) = sent {
            status.state = self.framework(&key.0).map_or(sent.state, |row_of| self.state_for(row_of, row, sent));
            status.healthy = sent.healthy;
            status.unreachable = sent.unreachable;
            status.body = sent.body.clone();
        }
        if status.state == TaskState::Killing
            && !self.framework(&key.0).is_some_and(|row| row.info.capabilities.task_killing_state)
        {
            status.state = TaskState::Running;
        }
        status.agent = Some(row.agent.clone());
        status.executor = Some(row.executor.clone());
        self.tell_status(&key.0, status, out);
        true
    }

    /// Questions of a batch leave with one token.
    pub(super) fn ask(&mut self, out: &mut Out) {
        if self.asking.is_empty() {
            return;
        }
        let Some(lead) = self.lead.as_mut() else { return };
        lead.token += 1;
        let token = lead.token;
        self.questions.insert(token, std::mem::take(&mut self.asking));
        let mut waiting: usize = self.questions.values().map(Vec::len).sum();
        while waiting > WAITING_MAX
            && let Some((_, oldest)) = self.questions.pop_first()
        {
            waiting -= oldest.len();
        }
        out.emit(Output::CatchUp { token });
    }

    pub(super) fn caught_up(&mut self, now: Time, token: u64, out: &mut Out) {
        // An answer is one for every earlier question as well.
        let later = self.questions.split_off(&(token + 1));
        let questions = std::mem::replace(&mut self.questions, later);
        for question in questions.into_values().flatten() {
            match question {
                Question::Unknown { framework, task, agent } => self.unknown(now, &framework, task, agent, out),
                Question::Absent { agent, keys } => self.absent(now, &agent, keys, out),
                Question::Forgotten { key, launch } => self.never_seen(now, &key, &launch, out),
            }
        }
    }

    fn unknown(&mut self, now: Time, id: &FrameworkId, task: TaskId, agent: Option<AgentId>, out: &mut Out) {
        if self.tell_latest(now, &(id.clone(), task.clone()), out) {
            return;
        }
        let mut status = TaskStatus::new(task, TaskState::Unknown, Source::Master, now);
        status.reason = Some(Reason::RECONCILIATION);
        status.agent.clone_from(&agent);
        let place = agent.as_ref().map_or(Whereabouts::Unheard, |agent| self.cluster.whereabouts(agent));
        let may_know = matches!(place, Whereabouts::Known | Whereabouts::Unheard);
        let asked = agent.as_ref().filter(|_| matches!(place, Whereabouts::Known));
        if may_know && !self.has_told(asked, id, &status.task) {
            return;
        }
        let (state, message) = match place {
            Whereabouts::Silent if !is_planted(Bug::UnknownTooEarly) => return,
            Whereabouts::Silent => (TaskState::Gone, "Reconciliation: Task is unknown to the agent"),
            Whereabouts::Unheard if agent.is_none() && !self.cluster.none_silent() => return,
            Whereabouts::Known => (TaskState::Gone, "Reconciliation: Task is unknown to the agent"),
            Whereabouts::Unreachable(since) => {
                status.unreachable = Some(since);
                (TaskState::Unreachable, "Reconciliation: Task is unreachable")
            }
            Whereabouts::Gone => (TaskState::GoneByOperator, "Reconciliation: Task is gone"),
            Whereabouts::Unheard => (TaskState::Unknown, "Reconciliation: Task is unknown"),
        };
        status.state = state;
        status.message = Some(message.to_owned());
        self.tell_status(id, status, out);
    }

    /// An agent says which tasks it knows, after it has told of each.
    pub(super) fn agent_knows(&mut self, agent: AgentId, asked: Term, tasks: Vec<TaskKey>) {
        if Some(asked) != self.term() {
            return;
        }
        if !self.missing.is_empty() {
            self.missing.retain(|_, other| *other != agent);
        }
        self.settle_doubt(&agent, &tasks);
        let missing: Vec<TaskKey> = tasks.into_iter().filter(|key| self.get_task(key).is_none()).collect();
        self.missing.extend(missing.into_iter().map(|key| (key, agent.clone())));
        self.told.insert(agent);
    }

    /// Whether an agent has said in this term that it does not know a task; it is asked if it has not.
    fn has_told(&mut self, agent: Option<&AgentId>, framework: &FrameworkId, task: &TaskId) -> bool {
        if is_planted(Bug::GoneBeforeTold) {
            return true;
        }
        let knows = self.missing.get(&(framework.clone(), task.clone())).cloned();
        let ask = knows.or_else(|| agent.filter(|agent| !self.told.contains(*agent)).cloned());
        let told = ask.is_none();
        self.to_ask.extend(ask);
        told
    }

    fn absent(&mut self, now: Time, agent: &AgentId, keys: Vec<(TaskKey, LaunchId)>, out: &mut Out) {
        if !self.cluster.is_current(agent) && !is_planted(Bug::AbsentTooEarly) {
            return;
        }
        for (key, launch) in keys {
            let Some(row) = self.get_task(&key).map(|task| &task.row) else { continue };
            if row.launch == launch && !is_end(row.state) && !self.cluster.is_live(&launch, &key.1) {
                self.launch_counts_as_seen(&key, out);
                self.task_absent(now, &key, out);
            }
        }
    }

    fn never_seen(&mut self, now: Time, key: &TaskKey, launch: &LaunchId, out: &mut Out) {
        if self.get_task(key).is_some_and(|task| task.row.launch == *launch) {
            self.launch_counts_as_seen(key, out);
            self.delete_if_over(now, key, out);
        }
    }

    pub(super) fn launch_counts_as_seen(&mut self, key: &TaskKey, out: &mut Out) {
        let row = self.get_task(key).map(|task| &task.row).filter(|row| !row.launch_seen);
        if let Some(mut row) = row.cloned() {
            row.launch_seen = true;
            self.save_task(row, out);
        }
    }
}

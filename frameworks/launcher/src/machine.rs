//! What the launcher decides: which task waits, which offer it takes, what is asked and answered.
//!
//! A job is written down before it is placed, and a placement is written down before the ACCEPT leaves. An
//! ACCEPT that was lost with its leader is found out by reconciling: a placed task that was never heard of
//! and that the cluster twice says it does not know goes back to waiting. Everything else ends once.
//!
//! # Layout
//! - this file: events, state, the machine's doors.
//! - [`calls`]: Submit, Kill, SetPriority, Query.
//! - [`demand`]: what is asked of the cluster for those that wait.
//! - [`placing`]: jobs onto offers.
//! - [`updates`]: statuses, reconciling, killing.

mod calls;
mod demand;
pub mod placing;
mod updates;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use mesos_core::{
    machine::{Effects, Machine},
    message::{Answer, Call, LauncherCall, Offer, Request, RequestId},
    row::{JobRow, LauncherSelfRow, Row, RowChange, RowKey},
};
use mesos_model::{
    AgentId, CallId, FrameworkId, OfferId, Reason, Resources, Role, TaskId, TaskState, Term, Time, Trace,
    attribute::Attribute,
};

/// What can happen to the launcher.
#[derive(Debug)]
pub enum Event {
    /// A call from a gateway.
    Call(Call<LauncherCall>, RequestId),
    /// SUBSCRIBED.
    Subscribed(FrameworkId),
    /// The subscription is lost; it is made again by itself.
    Disconnected,
    /// The master refuses or removed the framework.
    Refused(String),
    /// OFFERS.
    Offers(Vec<Offer>),
    /// RESCIND.
    Rescind(OfferId),
    /// UPDATE.
    Update(Status),
    /// It is not known whether an ACCEPT with these tasks arrived.
    Unsure(Vec<TaskId>),
}

/// What an UPDATE says, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Status {
    /// Of which task.
    pub task: TaskId,
    /// Its state.
    pub state: TaskState,
    /// In words.
    pub message: Option<String>,
    /// Why.
    pub reason: Option<Reason>,
    /// Exit code of its process.
    pub exit_code: Option<i32>,
    /// Where.
    pub agent: Option<AgentId>,
    /// To be acknowledged with this.
    pub uuid: Option<Bytes>,
}

/// What the launcher wants done.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Answer a call.
    Reply(RequestId, Answer),
    /// Subscribe, with no offers wanted at first.
    Subscribe {
        /// The id to take over.
        framework: Option<FrameworkId>,
        /// The roles.
        roles: Vec<Role>,
    },
    /// The roles have become more.
    Roles(Vec<Role>),
    /// ACCEPT.
    Accept {
        /// Which offer.
        offer: OfferId,
        /// What to launch on it.
        tasks: Vec<Placed>,
        /// How long not to offer the rest again.
        refuse: Duration,
    },
    /// DECLINE.
    Decline {
        /// Which offers.
        offers: Vec<OfferId>,
        /// How long not to offer them again.
        refuse: Duration,
    },
    /// REVIVE in all roles.
    Revive,
    /// SUPPRESS in all roles.
    Suppress,
    /// REQUEST: everything that is wanted from now on.
    Request(Vec<Request>),
    /// KILL.
    Kill {
        /// Which task.
        task: TaskId,
        /// Where.
        agent: Option<AgentId>,
        /// The grace, if the caller named one.
        grace_ms: Option<u64>,
    },
    /// ACKNOWLEDGE.
    Acknowledge {
        /// Which task.
        task: TaskId,
        /// Where.
        agent: AgentId,
        /// Of which status.
        uuid: Bytes,
    },
    /// RECONCILE.
    Reconcile(Vec<(TaskId, Option<AgentId>)>),
}

/// A task on an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Its id.
    pub task: TaskId,
    /// Where.
    pub agent: AgentId,
    /// A protobuf `TaskInfo` without ids.
    pub template: Bytes,
    /// What it takes of the offer, reserved or not.
    pub resources: Resources,
    /// Of that, what has to be reserved before the launch.
    pub reserve: Resources,
    /// Decides whose work goes first when room is made.
    pub priority: i64,
    /// The trace it belongs to.
    pub trace: Option<Trace>,
}

/// Tasks that may wait for an offer.
pub const WAITING_MAX: usize = 100_000;
/// Tasks of one submission.
pub const INSTANCES_MAX: u32 = 10_000;
/// Ended tasks that are remembered.
pub const ENDED_MAX: usize = 1000;
/// How long the last of them are remembered.
const ENDED_FOR: Duration = Duration::from_secs(3600);
/// How long any of them is: a repeat of its submission must still find it.
const ENDED_FOR_LEAST: Duration = Duration::from_secs(20);
/// How long waiting tasks wait without any offer before offers are asked for again.
const REVIVE_AFTER: Duration = Duration::from_secs(15);

pub(crate) type Out = Effects<Output>;

/// Where waiting tasks stand: the highest priority first, then the oldest submission.
type Place = (Reverse<i64>, Time, CallId);

/// Where an ended task stands in the order of forgetting.
type Ended = (Time, TaskId);

#[derive(Debug)]
struct Job {
    row: JobRow,
    /// A question about it is due then, and how often one was asked.
    ask: Option<(Time, u32)>,
    /// Since when the cluster says that it does not know it.
    unknown_since: Option<Time>,
    /// How often it was dropped before it ran.
    dropped: u32,
    /// The kill is repeated then.
    kill_at: Option<Time>,
}

impl Job {
    fn new(row: JobRow) -> Job {
        Job { row, ask: None, unknown_since: None, dropped: 0, kill_at: None }
    }

    fn is_waiting(&self) -> bool {
        self.row.ended.is_none() && self.row.agent.is_none()
    }

    fn place(&self) -> Place {
        (Reverse(self.row.priority), self.row.time, self.row.call.clone())
    }

    /// Where it is, as long as it has not ended.
    fn agent(&self) -> Option<&AgentId> {
        self.row.agent.as_ref().filter(|_| self.row.ended.is_none())
    }

    /// Placed, and nothing was ever heard of it.
    fn is_unheard(&self) -> bool {
        self.row.ended.is_none() && self.row.agent.is_some() && self.row.state == TaskState::Staging
    }
}

/// The machine.
#[derive(Debug, Default)]
pub struct Launcher {
    framework: Option<FrameworkId>,
    jobs: BTreeMap<TaskId, Job>,
    /// Tasks by the call that submitted them.
    calls: BTreeMap<CallId, BTreeSet<TaskId>>,
    /// Waiting tasks in order; those of one submission and priority are alike and stand together.
    waiting: BTreeMap<Place, VecDeque<TaskId>>,
    waiting_count: usize,
    /// How many tasks that have not ended are on each agent.
    on_agents: BTreeMap<AgentId, usize>,
    ended: BTreeSet<Ended>,
    /// Questions and repeated kills by when they are due.
    due: BTreeSet<(Time, TaskId)>,
    roles: BTreeSet<Role>,
    lead: Option<Lead>,
}

/// What lasts one term.
#[derive(Debug)]
struct Lead {
    term: Term,
    counter: u64,
    connected: bool,
    /// As they came.
    offers: Vec<Offer>,
    /// The largest offer since the last revive, for people.
    largest: Option<Resources>,
    /// Offers are wanted, and asked for again then; `None` while suppressed.
    revive_at: Option<Time>,
    /// Something was submitted since the last settle.
    fresh: bool,
    /// What the cluster was asked for; `None` if it may have forgotten.
    asked: Option<Vec<demand::Want>>,
    /// Who waits has changed since then.
    changed: bool,
    roles_said: usize,
}

impl Launcher {
    /// Tasks that wait for an offer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting_count
    }

    /// Tasks that are remembered, ended ones too.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    fn role_of(row: &JobRow) -> Role {
        if row.role.as_str().is_empty() { Role::new("*") } else { row.role.clone() }
    }

    /// Puts a job into the state and all its indexes.
    fn insert(&mut self, job: Job) {
        self.remove(&job.row.task);
        let row = &job.row;
        let task = row.task.clone();
        self.calls.entry(row.call.clone()).or_default().insert(task.clone());
        if let Some(ended) = row.ended {
            self.ended.insert((ended, task.clone()));
        } else {
            self.roles.insert(Self::role_of(row));
        }
        if job.is_waiting() {
            self.waiting.entry(job.place()).or_default().push_back(task.clone());
            self.waiting_count += 1;
            self.waiting_changed();
        }
        if let Some(agent) = job.agent() {
            *self.on_agents.entry(agent.clone()).or_default() += 1;
        }
        for due in job.ask.map(|(at, _)| at).into_iter().chain(job.kill_at) {
            self.due.insert((due, task.clone()));
        }
        self.jobs.insert(task, job);
    }

    /// Takes a job out of the state and all its indexes, but not out of its call's list.
    fn remove(&mut self, task: &TaskId) -> Option<Job> {
        let job = self.jobs.remove(task)?;
        if let Some(ended) = job.row.ended {
            self.ended.remove(&(ended, task.clone()));
        }
        if job.is_waiting() {
            let key = job.place();
            if let Some(group) = self.waiting.get_mut(&key) {
                // Nearly always the first one.
                if group.front() == Some(task) {
                    group.pop_front();
                } else if let Some(at) = group.iter().position(|other| other == task) {
                    group.remove(at);
                }
                if group.is_empty() {
                    self.waiting.remove(&key);
                }
            }
            self.waiting_count -= 1;
            self.waiting_changed();
        }
        if let Some(agent) = job.agent()
            && let Some(count) = self.on_agents.get_mut(agent)
        {
            *count -= 1;
            if *count == 0 {
                self.on_agents.remove(agent);
            }
        }
        for due in job.ask.map(|(at, _)| at).into_iter().chain(job.kill_at) {
            self.due.remove(&(due, task.clone()));
        }
        Some(job)
    }

    fn waiting_changed(&mut self) {
        if let Some(lead) = self.lead.as_mut() {
            lead.changed = true;
        }
    }

    fn forget(&mut self, task: &TaskId) {
        let Some(job) = self.remove(task) else { return };
        if let Some(of_call) = self.calls.get_mut(&job.row.call) {
            of_call.remove(task);
            if of_call.is_empty() {
                self.calls.remove(&job.row.call);
            }
        }
    }

    /// Changes a job, writes it, and keeps the indexes right.
    fn change(&mut self, task: &TaskId, out: &mut Out, change: impl FnOnce(&mut Job)) {
        let Some(mut job) = self.remove(task) else { return };
        change(&mut job);
        out.put(Row::Job(job.row.clone()));
        self.insert(job);
    }

    /// As [`change`](Self::change) for what is in no row.
    fn touch(&mut self, task: &TaskId, change: impl FnOnce(&mut Job)) {
        let Some(mut job) = self.remove(task) else { return };
        change(&mut job);
        self.insert(job);
    }

    fn set_framework(&mut self, framework: Option<FrameworkId>, out: &mut Out) {
        if self.framework != framework {
            self.framework.clone_from(&framework);
            out.put(Row::LauncherSelf(LauncherSelfRow { framework }));
        }
    }

    fn roles(&self) -> Vec<Role> {
        let mut roles = self.roles.clone();
        roles.insert(Role::new("*"));
        roles.into_iter().collect()
    }

    fn subscribed(&mut self, now: Time, framework: FrameworkId, out: &mut Out) {
        self.set_framework(Some(framework), out);
        let Some(lead) = self.lead.as_mut() else { return };
        lead.connected = true;
        lead.offers.clear();
        lead.revive_at = None;
        lead.fresh = self.waiting_count > 0;
        lead.asked = None;
        self.ask_about_all(now);
    }

    fn disconnected(&mut self) {
        if let Some(lead) = self.lead.as_mut() {
            lead.connected = false;
            lead.offers.clear();
        }
    }

    /// The framework's id is void, and with it everything that ran under it.
    fn refused(&mut self, now: Time, message: &str, out: &mut Out) {
        self.disconnected();
        let placed: Vec<TaskId> = self
            .jobs
            .values()
            .filter(|job| job.row.ended.is_none() && !job.is_waiting())
            .map(|job| job.row.task.clone())
            .collect();
        // Any other refusal (another instance took over, a wrong token) leaves the id good.
        let lower = message.to_ascii_lowercase();
        let removed = ["removed", "completed", "torn down", "teardown"].iter().any(|word| lower.contains(word));
        if removed && self.framework.is_some() {
            for task in placed {
                self.end(
                    now,
                    &task,
                    TaskState::Killed,
                    Some(format!("the launcher's framework was removed: {message}")),
                    out,
                );
            }
            self.set_framework(None, out);
        }
        let (framework, roles) = (self.framework.clone(), self.roles());
        out.emit(Output::Subscribe { framework, roles });
    }

    fn end(&mut self, now: Time, task: &TaskId, state: TaskState, message: Option<String>, out: &mut Out) {
        self.change(task, out, |job| {
            job.row.state = state;
            job.row.message = message;
            job.row.ended = Some(now);
            job.ask = None;
            job.kill_at = None;
        });
    }

    /// Whether the oldest ended job is to be forgotten, or when it will be.
    fn forget_at(&self) -> Option<Time> {
        let (ended, _) = self.ended.first()?;
        let least = if self.ended.len() > ENDED_MAX { ENDED_FOR_LEAST } else { ENDED_FOR };
        Some(ended.after(least))
    }

    fn forget_ended(&mut self, now: Time, out: &mut Out) {
        while self.forget_at().is_some_and(|at| at <= now)
            && let Some((_, task)) = self.ended.first().cloned()
        {
            self.forget(&task);
            out.delete(RowKey::Job(task));
        }
    }
}

impl Machine for Launcher {
    type Event = Event;
    type Output = Output;

    fn restore(&mut self, change: RowChange) {
        match change {
            RowChange::Put(Row::Job(row)) => self.insert(Job::new(row)),
            RowChange::Put(Row::LauncherSelf(row)) => self.framework = row.framework,
            RowChange::Delete(RowKey::Job(task)) => self.forget(&task),
            RowChange::Delete(RowKey::LauncherSelf) => self.framework = None,
            RowChange::Put(_) | RowChange::Delete(_) => {}
        }
    }

    fn peer(&mut self, _: Time, _: RowChange, _: &mut Out) {}

    fn lead(&mut self, _: Time, term: Term, out: &mut Out) {
        let roles = self.roles();
        self.lead = Some(Lead {
            term,
            counter: 0,
            connected: false,
            offers: Vec::new(),
            largest: None,
            revive_at: None,
            fresh: false,
            asked: None,
            changed: false,
            roles_said: roles.len(),
        });
        out.emit(Output::Subscribe { framework: self.framework.clone(), roles });
    }

    fn follow(&mut self) {
        self.lead = None;
    }

    fn step(&mut self, now: Time, event: Event, out: &mut Out) {
        match event {
            Event::Call(call, request) => {
                let answer = self.call(now, call, out);
                out.emit(Output::Reply(request, answer));
            }
            Event::Subscribed(framework) => self.subscribed(now, framework, out),
            Event::Disconnected => self.disconnected(),
            Event::Refused(message) => self.refused(now, &message, out),
            Event::Offers(offers) => {
                if let Some(lead) = self.lead.as_mut().filter(|lead| lead.connected) {
                    lead.offers.extend(offers);
                }
            }
            Event::Rescind(offer) => {
                if let Some(lead) = self.lead.as_mut() {
                    lead.offers.retain(|held| held.id != offer);
                }
            }
            Event::Update(status) => self.update(now, status, out),
            Event::Unsure(tasks) => self.unsure(now, &tasks),
        }
    }

    fn settle(&mut self, now: Time, out: &mut Out) {
        self.place(now, out);
        self.say_what_is_wanted(now, out);
        self.ask_for_room(now, out);
        self.ask_what_is_due(now, out);
        self.forget_ended(now, out);
    }

    fn tick(&mut self, _: Time, _: &mut Out) {
        // Whatever is due is found by `settle`, which follows.
    }

    fn deadline(&self) -> Option<Time> {
        let lead = self.lead.as_ref()?;
        let due = lead.connected.then(|| self.due.first().map(|(at, _)| *at)).flatten();
        let revive = lead.revive_at.filter(|_| lead.connected);
        [due, revive, self.forget_at()].into_iter().flatten().min()
    }

    fn trace(event: &Event) -> Option<(Trace, &'static str)> {
        match event {
            Event::Call(call, _) => call.trace.map(|trace| (trace, "launcher.submit")),
            _ => None,
        }
    }
}

/// Whether an agent has an equal attribute for each that is wanted.
fn has_attributes(have: &[Attribute], wanted: &[Attribute]) -> bool {
    wanted.iter().all(|want| have.contains(want))
}

#[cfg(test)]
mod tests;

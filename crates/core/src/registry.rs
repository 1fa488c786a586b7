//! Frameworks, their subscriptions, and the ledger of their tasks.
//!
//! The registry knows the allocator's agents and launches from its change stream, and the agents' statuses
//! from the agents themselves. It commands nobody: a kill is an order in a task's row, which the allocator
//! sees and gives to the agent.
//!
//! # Layout
//! - [`subscription`]: SUBSCRIBE, streams that are lost or closed, failover deadlines, removal.
//! - [`calls`]: every other call, and what each of them must show.
//! - [`reconcile`]: RECONCILE, and questions that wait until the allocator's stream has caught up.
//! - [`status`]: updates on their way from the agent to the framework and their acknowledgement back.
//! - [`peer`]: what the allocator's rows mean for tasks.
//! - [`check`]: invariants, counters.

mod calls;
mod check;
mod peer;
mod reconcile;
mod status;
mod subscription;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use mesos_engine::bundle::FixedState;
use mesos_model::{
    AgentId, CallId, FrameworkId, GatewayId, LaunchId, TaskId, TaskState, Term, Time, Trace,
    planted::{Bug, is_planted},
};

pub use self::check::Counters;
use self::{peer::Cluster, reconcile::Question, status::Flight};
use crate::{
    machine::{Effects, Machine},
    message::{AgentToRegistry, Answer, Call, RegistryCall, RequestId, StreamEvent, ToAgent, ToStream, spread_ms},
    ordered::Late,
    recent::Recent,
    row::{FrameworkRow, FrameworkState, Row, RowChange, RowKey, TaskRow},
};

/// How many answers to calls are remembered, so that a repeat is answered as the first was.
const ANSWERS_MAX: usize = 4096;

/// How the registry behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many removed frameworks are kept to be shown.
    pub max_completed_frameworks: usize,
    /// How long a stream that was lost with its gateway, or by a failover of the registry, may take to
    /// come back; also how old a term must be before it removes frameworks for deadlines of earlier terms.
    pub stream_grace: Duration,
    /// How long a gateway may be silent before its streams count as lost.
    pub gateway_silence: Duration,
    /// How long an acknowledgement is waited for at first.
    pub retry_min: Duration,
    /// How long it is waited for at most.
    pub retry_max: Duration,
    /// How many updates of one task wait for acknowledgement before those in the middle are left out.
    pub max_pending: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_completed_frameworks: 50,
            stream_grace: Duration::from_secs(60),
            gateway_silence: Duration::from_secs(6),
            retry_min: Duration::from_secs(10),
            retry_max: Duration::from_secs(600),
            max_pending: 64,
        }
    }
}

/// What can happen to the registry.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most events are calls, and none is kept")]
pub enum Event {
    /// A call from outside.
    Call {
        /// To be named in the reply.
        request: RequestId,
        /// The call.
        call: Call<RegistryCall>,
    },
    /// From an agent.
    Agent(AgentToRegistry),
    /// The allocator's stream was applied up to a head that was read after `CatchUp` with this token.
    CaughtUp {
        /// Of which question.
        token: u64,
    },
    /// The allocator has this term.
    PeerTerm(Term),
    /// The bus works again after it did not.
    BusBack,
}

/// What the registry has done.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// The answer to a call.
    Reply {
        /// Of which call.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// An event for a framework.
    Stream {
        /// Who holds its stream.
        gateway: GatewayId,
        /// The event.
        event: ToStream,
    },
    /// A message to an agent.
    Agent {
        /// Which agent.
        agent: AgentId,
        /// The message.
        message: ToAgent,
    },
    /// A message to all agents.
    AllAgents(ToAgent),
    /// Reading the head of the allocator's stream and applying it up to there is asked for; the answer is
    /// `Event::CaughtUp` with this token.
    CatchUp {
        /// Which question.
        token: u64,
    },
}

type Out = Effects<Output>;
type TaskKey = (FrameworkId, TaskId);

/// What lasts only as long as a term.
#[derive(Debug)]
struct Lead {
    term: Term,
    since: Time,
    /// Of the next new framework.
    counter: u64,
    /// Of the last question.
    token: u64,
}

#[derive(Debug)]
struct Framework {
    row: FrameworkRow,
    /// When its gateway last said that it holds the stream.
    heard: Time,
    /// Its disconnection was decided in this term, so its deadline needs no further grace.
    disconnected_here: bool,
    /// Its entry in `Registry::timers`.
    timer: Option<Time>,
}

#[derive(Debug)]
struct Task {
    row: TaskRow,
    /// Its entry in `Registry::due`: what is with the framework, or an end that the agent is to forget.
    flight: Option<Flight>,
    /// The agent said that it has forgotten it.
    forgotten: bool,
}

/// The registry.
#[derive(Debug)]
pub struct Registry {
    options: Options,
    lead: Option<Lead>,
    frameworks: BTreeMap<FrameworkId, Framework>,
    tasks: BTreeMap<FrameworkId, HashMap<TaskId, Box<Task>, FixedState>>,
    /// Tasks by agent.
    on_agent: HashMap<AgentId, Late<BTreeSet<TaskKey>>, FixedState>,
    /// Frameworks by their current stream.
    streams: BTreeMap<u128, FrameworkId>,
    cluster: Cluster,
    due: BTreeSet<(Time, TaskKey)>,
    timers: BTreeSet<(Time, FrameworkId)>,
    /// Questions of this batch; they leave with one token.
    asking: Vec<Question>,
    questions: BTreeMap<u64, Vec<Question>>,
    /// Agents that are to tell everything again before more of them is believed.
    to_ask: BTreeSet<AgentId>,
    /// Agents that have said in this term which tasks they know.
    told: BTreeSet<AgentId>,
    /// Agents with tasks that no launch stands for, until they have said which they know.
    doubted: BTreeSet<AgentId>,
    /// When they are asked again.
    doubted_at: Option<Time>,
    /// Tasks that agents said they know and that had no row here then.
    missing: BTreeMap<TaskKey, AgentId>,
    /// Updates of this batch that are to be confirmed to their agents.
    received: BTreeMap<AgentId, BTreeMap<TaskKey, u64>>,
    answers: Recent<CallId, Answer, ANSWERS_MAX>,
    /// Something changed that may let a removed framework's row go.
    sweep: bool,
    counters: Counters,
}

impl Registry {
    /// An empty registry that follows.
    #[must_use]
    pub fn new(options: Options) -> Registry {
        Registry {
            options,
            lead: None,
            frameworks: BTreeMap::new(),
            tasks: BTreeMap::new(),
            on_agent: HashMap::default(),
            streams: BTreeMap::new(),
            cluster: Cluster::default(),
            due: BTreeSet::new(),
            timers: BTreeSet::new(),
            asking: Vec::new(),
            questions: BTreeMap::new(),
            to_ask: BTreeSet::new(),
            told: BTreeSet::new(),
            doubted: BTreeSet::new(),
            doubted_at: None,
            missing: BTreeMap::new(),
            received: BTreeMap::new(),
            answers: Recent::default(),
            sweep: false,
            counters: Counters::default(),
        }
    }

    /// A framework's row.
    #[must_use]
    pub fn framework(&self, id: &FrameworkId) -> Option<&FrameworkRow> {
        self.frameworks.get(id).map(|framework| &framework.row)
    }

    /// All frameworks, removed ones included.
    pub fn frameworks(&self) -> impl Iterator<Item = &FrameworkRow> {
        self.frameworks.values().map(|framework| &framework.row)
    }

    /// A task's row.
    #[must_use]
    pub fn task(&self, framework: &FrameworkId, task: &TaskId) -> Option<&TaskRow> {
        self.tasks.get(framework)?.get(task).map(|task| &task.row)
    }

    /// All tasks, in any order.
    #[expect(clippy::disallowed_methods, reason = "who asks counts, filters or sorts")]
    pub fn tasks(&self) -> impl Iterator<Item = &TaskRow> {
        self.tasks.values().flat_map(HashMap::values).map(|task| &task.row)
    }

    /// The term that it leads, if it does.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.lead.as_ref().map(|lead| lead.term)
    }

    fn save_framework(&mut self, now: Time, row: FrameworkRow, out: &mut Out) {
        self.keep_framework(row.clone(), now);
        self.arm(&row.id);
        out.put(Row::Framework(row));
    }

    fn keep_framework(&mut self, row: FrameworkRow, heard: Time) {
        if let Some(stream) = self.frameworks.get(&row.id).and_then(|old| open_stream(&old.row)) {
            self.streams.remove(&stream);
        }
        if let Some(stream) = open_stream(&row) {
            self.streams.insert(stream, row.id.clone());
        }
        match self.frameworks.get_mut(&row.id) {
            Some(framework) => framework.row = row,
            None => {
                let framework = Framework { row, heard, disconnected_here: false, timer: None };
                self.frameworks.insert(framework.row.id.clone(), framework);
            }
        }
    }

    fn drop_framework(&mut self, id: &FrameworkId) {
        if let Some(framework) = self.frameworks.remove(id) {
            if let Some(stream) = open_stream(&framework.row) {
                self.streams.remove(&stream);
            }
            if let Some(timer) = framework.timer {
                self.timers.remove(&(timer, id.clone()));
            }
        }
    }

    fn save_task(&mut self, row: TaskRow, out: &mut Out) {
        self.keep_task(row.clone());
        out.put(Row::Task(row));
    }

    fn keep_task(&mut self, mut row: TaskRow) {
        // What many tasks have in common is kept once.
        if let Some((framework, _)) = self.tasks.get_key_value(&row.framework) {
            row.framework = framework.clone();
        }
        if let Some((agent, _)) = self.on_agent.get_key_value(&row.agent) {
            row.agent = agent.clone();
        }
        row.executor.share_with(&row.task);
        let key = (row.framework.clone(), row.task.clone());
        let tasks = self.tasks.entry(key.0.clone()).or_default();
        match tasks.get_mut(&key.1) {
            Some(task) => {
                if task.row.agent != row.agent {
                    unlink(&mut self.on_agent, &task.row.agent, &key);
                    self.on_agent.entry(row.agent.clone()).or_default().put(key);
                }
                task.row = row;
            }
            None => {
                self.on_agent.entry(row.agent.clone()).or_default().put(key.clone());
                tasks.insert(key.1, Box::new(Task { row, flight: None, forgotten: false }));
            }
        }
    }

    fn drop_task(&mut self, key: &TaskKey) {
        self.disarm_task(key);
        let Some(tasks) = self.tasks.get_mut(&key.0) else { return };
        if let Some(task) = tasks.remove(&key.1) {
            unlink(&mut self.on_agent, &task.row.agent, key);
        }
        if tasks.is_empty() {
            self.tasks.remove(&key.0);
        }
    }

    fn get_task(&self, key: &TaskKey) -> Option<&Task> {
        self.tasks.get(&key.0)?.get(&key.1).map(Box::as_ref)
    }

    fn get_task_mut(&mut self, key: &TaskKey) -> Option<&mut Task> {
        self.tasks.get_mut(&key.0)?.get_mut(&key.1).map(Box::as_mut)
    }

    /// The tasks of a framework that are as asked for, by their ids.
    fn keys_of(&self, framework: &FrameworkId, wanted: impl Fn(&Task) -> bool) -> Vec<TaskKey> {
        let tasks = self.tasks.get(framework).into_iter().flatten().filter(|(_, task)| wanted(task));
        let mut keys: Vec<TaskKey> = tasks.map(|(task, _)| (framework.clone(), task.clone())).collect();
        keys.sort_unstable();
        keys
    }

    fn keys_on(&self, agent: &AgentId) -> Vec<TaskKey> {
        self.on_agent.get(agent).into_iter().flat_map(Late::get).cloned().collect()
    }

    /// Sends an event if the framework has an open stream that its gateway is known to hold.
    fn tell(&self, framework: &FrameworkId, event: StreamEvent, out: &mut Out) {
        if let Some(row) = self.framework(framework)
            && row.state == FrameworkState::Connected
            && let Some(subscription) = &row.subscription
        {
            let (stream, leader) = (subscription.stream, self.term().map_or(0, |term| term.leader));
            let event = ToStream { framework: framework.clone(), stream, leader, event };
            out.emit(Output::Stream { gateway: subscription.gateway.clone(), event });
        }
    }

    /// What gathered during a batch leaves in one message per destination.
    fn flush(&mut self, out: &mut Out) {
        for (agent, numbers) in std::mem::take(&mut self.received) {
            let list = numbers.into_iter().map(|((framework, task), number)| (framework, task, number)).collect();
            out.emit(Output::Agent { agent, message: ToAgent::Received(list) });
        }
        let term = self.term().unwrap_or_default();
        for agent in std::mem::take(&mut self.to_ask) {
            out.emit(Output::Agent { agent, message: ToAgent::Resend { term, spread_ms: 0 } });
        }
        self.ask(out);
        if std::mem::take(&mut self.sweep) {
            self.sweep_removed(out);
        }
    }

    /// Asks all agents for what they have to tell, so spread that the many of them do not come at once.
    fn resend_of_all(&self, term: Term) -> Output {
        let spread_ms = if is_planted(Bug::UpdatesAtOnce) { 0 } else { spread_ms(self.cluster.agents_count()) };
        Output::AllAgents(ToAgent::Resend { term, spread_ms })
    }

    fn forget_soft_state(&mut self) {
        self.due.clear();
        self.timers.clear();
        self.asking.clear();
        self.questions.clear();
        self.to_ask.clear();
        self.told.clear();
        self.doubted.clear();
        self.doubted_at = None;
        self.missing.clear();
        self.received.clear();
        self.answers.clear();
        self.cluster.forget_soft_state();
        #[expect(clippy::disallowed_methods, reason = "each is changed alike, whatever the order")]
        for task in self.tasks.values_mut().flat_map(HashMap::values_mut) {
            task.flight = None;
            task.forgotten = false;
        }
        for framework in self.frameworks.values_mut() {
            framework.timer = None;
            framework.disconnected_here = false;
        }
    }
}

/// The stream of a framework that was neither closed nor removed.
fn open_stream(row: &FrameworkRow) -> Option<u128> {
    let subscription = row.subscription.as_ref().filter(|subscription| subscription.stream != 0)?;
    (!matches!(row.state, FrameworkState::Removed { .. })).then_some(subscription.stream)
}

fn unlink(on_agent: &mut HashMap<AgentId, Late<BTreeSet<TaskKey>>, FixedState>, agent: &AgentId, key: &TaskKey) {
    if let Some(keys) = on_agent.get_mut(agent) {
        let is_empty = keys.change(|keys| {
            keys.remove(key);
            keys.is_empty()
        });
        if is_empty {
            on_agent.remove(agent);
        }
    }
}

/// Whether the framework is told nothing more of a task after this state.
fn is_end(state: TaskState) -> bool {
    state.is_terminal() || state == TaskState::GoneByOperator
}

/// A UUID that is the same whenever the same thing is said of the same launch.
fn derived_uuid(launch: &LaunchId, task: &TaskId, what: &str) -> u128 {
    let parts = [launch.as_str(), "\0", task.as_str(), "\0", what];
    let bytes = parts.iter().flat_map(|part| part.bytes());
    // FNV-1a of 128 bits, dressed as a version 4 UUID.
    let hash = bytes.fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    let version = 0x0000_0000_0000_4000_8000_0000_0000_0000;
    (hash & !0x0000_0000_0000_f000_c000_0000_0000_0000) | version
}

impl Machine for Registry {
    type Event = Event;
    type Output = Output;

    fn restore(&mut self, change: RowChange) {
        match change {
            RowChange::Put(Row::Framework(row)) => self.keep_framework(row, Time::default()),
            RowChange::Put(Row::Task(row)) => self.keep_task(row),
            RowChange::Delete(RowKey::Framework(id)) => self.drop_framework(&id),
            RowChange::Delete(RowKey::Task(framework, task)) => self.drop_task(&(framework, task)),
            RowChange::Put(_) | RowChange::Delete(_) => {}
        }
    }

    fn rows(&self) -> Option<Vec<Row>> {
        let frameworks = self.frameworks().cloned().map(Row::Framework);
        Some(frameworks.chain(self.tasks().cloned().map(Row::Task)).collect())
    }

    fn peer(&mut self, now: Time, change: RowChange, effects: &mut Out) {
        self.apply_peer(now, change, effects);
    }

    fn peer_keys(&self) -> Vec<RowKey> {
        self.cluster.keys()
    }

    fn peer_wrote_in(&mut self, term: Term) {
        self.cluster.written_in = Some(term).filter(|term| *term != Term::default());
    }

    fn peer_lost(&mut self, now: Time, key: RowKey, effects: &mut Out) {
        match key {
            RowKey::Launch(launch) => self.launch_lost(now, &launch, effects),
            key => self.apply_peer(now, RowChange::Delete(key), effects),
        }
    }

    fn lead(&mut self, now: Time, term: Term, effects: &mut Out) {
        self.forget_soft_state();
        self.lead = Some(Lead { term, since: now, counter: 0, token: 0 });
        effects.emit(self.resend_of_all(term));
        let ids: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for id in ids {
            if let Some(framework) = self.frameworks.get_mut(&id) {
                framework.heard = now;
            }
            self.arm(&id);
        }
        self.settle_with_peer(now, effects);
        self.send_everything_again(now);
        self.sweep = true;
        self.flush(effects);
    }

    fn follow(&mut self) {
        self.lead = None;
        self.forget_soft_state();
    }

    fn step(&mut self, now: Time, event: Event, effects: &mut Out) {
        match event {
            Event::Call { request, call } => self.answer(now, request, call, effects),
            Event::Agent(message) => self.agent_says(now, message, effects),
            Event::CaughtUp { token } => self.caught_up(now, token, effects),
            Event::PeerTerm(term) => self.peer_term(term),
            Event::BusBack => {
                for framework in self.frameworks.values_mut() {
                    framework.heard = framework.heard.max(now);
                }
                if let Some(term) = self.term() {
                    effects.emit(self.resend_of_all(term));
                }
                self.send_everything_again(now);
            }
        }
    }

    fn settle(&mut self, _now: Time, effects: &mut Out) {
        self.flush(effects);
    }

    fn tick(&mut self, now: Time, effects: &mut Out) {
        while let Some((_, key)) = self.due.first().filter(|(time, _)| *time <= now).cloned() {
            self.fire(now, &key, effects);
        }
        while let Some((time, id)) = self.timers.first().filter(|(time, _)| *time <= now).cloned() {
            self.timers.remove(&(time, id.clone()));
            if let Some(framework) = self.frameworks.get_mut(&id) {
                framework.timer = None;
            }
            self.framework_timer(now, &id, effects);
        }
        self.doubt_again(now);
        self.flush(effects);
    }

    fn deadline(&self) -> Option<Time> {
        self.lead.as_ref()?;
        if self.sweep || !self.asking.is_empty() || !self.received.is_empty() || !self.to_ask.is_empty() {
            return Some(Time(0));
        }
        let due = self.due.first().map(|(time, _)| *time);
        let timer = self.timers.first().map(|(time, _)| *time);
        due.into_iter().chain(timer).chain(self.doubted_at).min()
    }

    fn trace(event: &Event) -> Option<(Trace, &'static str)> {
        match event {
            Event::Call { call, .. } => Some((call.trace?, calls::name(&call.what))),
            Event::Agent(AgentToRegistry::Update { update, .. }) => Some((update.trace?, "registry.update")),
            Event::Agent(_) | Event::CaughtUp { .. } | Event::PeerTerm(_) | Event::BusBack => None,
        }
    }
}

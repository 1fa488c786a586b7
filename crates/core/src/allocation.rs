//! Who is offered what, whether an accept is valid, what runs where, and which agents are there.
//!
//! The allocator owns agents and launches. A launch row is the intent to run an executor and at the same time
//! the allocation of its resources: an agent's allocation is the sum of its launch rows, so releasing one is
//! deleting a row and can be done twice.
//!
//! **What the registry may rely on.** A task begins with the `Put` of a launch row that names it, and the end
//! of its allocation is the `Put` of the row without it or the `Delete` of the row. If the registry does not
//! know the task as ended by then, it will not hear of an end from the agent either: the agent has taken up
//! the launch and does not know it any more, or never will. The registry answers for it (TASK_GONE or
//! TASK_LOST). As long as an agent knows a task whose end it has told nobody yet, the row names the task with
//! empty resources.
//!
//! **What agents may rely on.** `Welcome` comes before the orders of a term. In one term numbers only rise,
//! also over several handshakes. A launch may be ordered again (same launch id, another number) and is run
//! once. A report that does not answer the handshake of the present term may be old; if something hangs on
//! it, the agent is asked for a fresh one by `Handshake`.
//!
//! # Layout
//! - `state`: agents, launches and frameworks as indexes over rows.
//! - `offers`: the end of a batch: the engine (`mesos-engine`) decides who is offered what, and they are told.
//! - `calls`: who may call, and repeats. `accept`, `validate`: ACCEPT. `operations`: reservations and volumes.
//! - `requests`: REQUEST. `preempt`: work that goes to make room.
//! - `drain`: agents leave because an operator says so. `maintenance`: machines that will be away, inverse offers.
//! - `join`: agents become members with a one-time token.
//! - `operator`, `policy`: what operators set. `explain`: why something waits.
//! - `frameworks`: what the registry's rows mean here.
//! - `handshake`: agents come and settle launches. `orders`: the numbered way to them. `liveness`: they go.
//! - `check`: what must hold after every event.

mod accept;
mod calls;
mod check;
mod delivery;
mod drain;
mod explain;
mod frameworks;
mod handshake;
mod join;
mod liveness;
mod maintenance;
mod offers;
mod operations;
mod operator;
mod orders;
mod policy;
mod preempt;
mod requests;
mod state;
mod timers;
mod validate;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use mesos_engine::{
    Engine,
    bundle::FixedState,
    policy::{Loader, NoLoader},
};
use mesos_model::{AgentId, FrameworkId, GatewayId, LaunchId, OfferId, Resources, Role, Term, Time, Trace};

use self::{
    calls::Calls,
    delivery::OnTheirWay,
    join::Joins,
    liveness::Silence,
    maintenance::Maintenance,
    preempt::Preemptions,
    state::{Agent, Framework},
    timers::Timers,
};
use crate::{
    machine::{Effects, Machine},
    message::{AgentToAllocator, AllocatorCall, Answer, Call, Placement, PolicyName, RequestId, ToAgent, ToStream},
    ordered::Ordered,
    row::{AgentRow, BodyRow, LaunchRow, MaintenanceRow, ModuleRow, OperationRow, PolicyRow, Row, RowChange, RowKey},
};

/// What an operator can set.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Options {
    /// How long an agent may be silent before it is taken for unreachable.
    pub agent_timeout: Duration,
    /// How many of the agents, in percent, may become unreachable in one minute; at least one may.
    pub unreachable_per_minute_percent: u32,
    /// How long a framework may sit on an offer; `None` is for ever.
    pub offer_timeout: Option<Duration>,
    /// How long gateways have to confirm that they have put offers on their streams; `None` is for ever.
    pub offer_delivery: Option<Duration>,
    /// How long a refusal lasts if the framework does not say.
    pub refuse_default: Duration,
    /// An offer must contain one of these, unless the framework said what it wants at least. Empty means
    /// anything.
    pub min_allocatable: Vec<Resources>,
    /// Weights of roles, in thousandths; a role without one has 1000.
    pub weights: BTreeMap<Role, u64>,
    /// Whose turn it is, unless an operator has chosen another policy.
    pub policy: PolicyName,
    /// Which agents are offered first, unless a role says otherwise.
    pub placement: Placement,
    /// Names of scalars that do not count for shares.
    pub unfair: Vec<String>,
    /// Agents with GPUs are only for frameworks that know of GPUs.
    pub filter_gpus: bool,
    /// Needs of higher priority take room from work of lower priority in their own role.
    pub preemption: bool,
    /// Makes policies of modules.
    #[serde(skip)]
    pub loader: ModuleLoader,
    /// The cluster's region: agents elsewhere are only for frameworks that are region-aware.
    pub region: Option<String>,
    /// Decides between agents that are equally good.
    pub seed: u64,
}

/// Makes policies of modules; the default makes none.
#[derive(Clone, Debug)]
pub struct ModuleLoader(pub Arc<dyn Loader>);

impl Default for ModuleLoader {
    fn default() -> Self {
        ModuleLoader(Arc::new(NoLoader))
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            agent_timeout: Duration::from_secs(15),
            unreachable_per_minute_percent: 10,
            offer_timeout: Some(Duration::from_secs(60)),
            offer_delivery: None,
            refuse_default: Duration::from_secs(5),
            min_allocatable: vec![Resources::of(&[("cpus", 10)]), Resources::of(&[("mem", 32_000)])],
            weights: BTreeMap::new(),
            policy: PolicyName::default(),
            placement: Placement::default(),
            unfair: Vec::new(),
            filter_gpus: true,
            preemption: false,
            loader: ModuleLoader::default(),
            region: None,
            seed: 0,
        }
    }
}

/// What can happen to the allocator.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub enum Event {
    /// A call from outside.
    Call {
        /// To answer it by.
        request: RequestId,
        /// The call.
        call: Call<AllocatorCall>,
    },
    /// A message of an agent.
    Agent(AgentToAllocator),
    /// A gateway has put offers on their streams; of each event, the first offer is named.
    Delivered(Vec<OfferId>),
    /// The bus was away and is back.
    BusBack,
    /// Whether the listener's own beat fails to come back over the bus: while it does, the silence of agents
    /// means nothing.
    Deaf(bool),
}

/// What the allocator wants done apart from rows.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Output {
    /// The answer to a call.
    Reply {
        /// Which call.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// An event for a framework.
    Stream {
        /// The gateway that holds its stream.
        gateway: GatewayId,
        /// The event.
        event: ToStream,
    },
    /// A message to an agent.
    Agent {
        /// Which.
        agent: AgentId,
        /// The message.
        message: ToAgent,
    },
    /// A message to an agent that has no id yet; it listens on the subject of its instance's UUID text.
    Unregistered {
        /// The agent's instance.
        instance: u128,
        /// The message.
        message: ToAgent,
    },
    /// A message to all agents.
    AllAgents(ToAgent),
    /// An agent obeys a term that is not below this one: a new term is needed whose epoch is above it.
    RaiseEpoch(Term),
    /// An operator should know: a policy's module failed, or two hosts show the id of one agent.
    Trouble(String),
}

/// Counters since the machine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Offers made.
    pub offers_made: u64,
    /// Offers consumed by an ACCEPT that did something.
    pub offers_accepted: u64,
    /// Offers given back by DECLINE or by an ACCEPT without operations.
    pub offers_declined: u64,
    /// Offers taken back with a RESCIND.
    pub offers_rescinded: u64,
    /// Offers taken back without a word, since their framework was not there.
    pub offers_recovered: u64,
    /// Launches accepted.
    pub launches: u64,
    /// Launches learned from agents.
    pub launches_adopted: u64,
    /// Tasks refused by TASK_ERROR.
    pub tasks_invalid: u64,
    /// Tasks dropped, since the offers were not valid any more.
    pub tasks_dropped: u64,
    /// Calls answered with another status than 202.
    pub calls_refused: u64,
    /// Handshakes done.
    pub handshakes: u64,
    /// Agents taken for unreachable.
    pub agents_unreachable: u64,
    /// Reports and beats refused because they show the id of another agent: a copied work directory.
    pub agents_doubled: u64,
    /// Operations on reservations and volumes accepted.
    pub operations: u64,
    /// Launches ended to make room.
    pub preemptions: u64,
    /// Modules that failed or could not be loaded.
    pub policy_failures: u64,
    /// Requests for which room was gathered in vain until their time was over.
    pub needs_expired: u64,
    /// Filters in force: (framework, role, agent).
    pub filters: u64,
    /// Offers that frameworks sit on.
    pub offers_outstanding: u64,
    /// Offers taken back because nobody confirmed that they arrived.
    pub offers_lost: u64,
}

/// The allocator's machine.
#[derive(Debug)]
pub struct Allocator {
    options: Options,
    /// The term that it leads.
    term: Option<Term>,
    /// Its leader's UUID as text: ids that are made in it begin with that.
    leader_text: String,
    engine: Engine,
    agents: Ordered<AgentId, Agent>,
    instances: BTreeMap<u128, AgentId>,
    launches: HashMap<LaunchId, Box<LaunchRow>, FixedState>,
    bodies: HashMap<LaunchId, BodyRow, FixedState>,
    frameworks: BTreeMap<FrameworkId, Framework>,
    operations: BTreeMap<AgentId, BTreeMap<String, OperationRow>>,
    policy: Option<PolicyRow>,
    modules: BTreeMap<String, ModuleRow>,
    /// The built-in policy that was in force last.
    policy_before: PolicyName,
    /// Why the policy that was chosen is not in force.
    trouble: Option<String>,
    preemptions: Preemptions,
    maintenance: Maintenance,
    joins: Joins,
    /// Agents that are drained and may have nothing left.
    drains: BTreeSet<AgentId>,
    /// Agents with orders that have not left.
    speaking: BTreeSet<AgentId>,
    retries: Timers<AgentId>,
    /// Agents with launches that hold nothing any more and whose end the registry has not heard of.
    lingering: Timers<AgentId>,
    silence: Silence,
    on_their_way: OnTheirWay,
    calls: Calls,
    agents_named: u64,
    launches_named: u64,
    operations_named: u64,
    metrics: Metrics,
}

impl Allocator {
    /// A machine without any rows.
    #[must_use]
    pub fn new(options: Options) -> Allocator {
        let mut engine = Engine::new(mesos_engine::Options {
            seed: options.seed,
            offer_timeout: options.offer_timeout,
            min_allocatable: options.min_allocatable.clone(),
            placement: options.placement,
            unfair: options.unfair.clone(),
            filter_gpus: options.filter_gpus,
        });
        for (role, weight) in &options.weights {
            engine.set_role(role, mesos_engine::facts::RoleFacts { weight: *weight, ..Default::default() });
        }
        Allocator {
            engine,
            policy_before: match &options.policy {
                PolicyName::Module(_) => PolicyName::Drf,
                built_in => built_in.clone(),
            },
            options,
            term: None,
            leader_text: String::new(),
            agents: Ordered::default(),
            instances: BTreeMap::new(),
            launches: HashMap::default(),
            bodies: HashMap::default(),
            frameworks: BTreeMap::new(),
            operations: BTreeMap::new(),
            policy: None,
            modules: BTreeMap::new(),
            trouble: None,
            preemptions: Preemptions::default(),
            maintenance: Maintenance::default(),
            joins: Joins::default(),
            drains: BTreeSet::new(),
            speaking: BTreeSet::new(),
            retries: Timers::default(),
            lingering: Timers::default(),
            silence: Silence::default(),
            on_their_way: OnTheirWay::default(),
            calls: Calls::default(),
            agents_named: 0,
            launches_named: 0,
            operations_named: 0,
            metrics: Metrics::default(),
        }
    }

    /// Counters and gauges.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics {
            filters: self.engine.filters() as u64,
            offers_outstanding: self.engine.open_offers() as u64,
            needs_expired: self.engine.needs_expired(),
            ..self.metrics
        }
    }

    /// The agents, in order of their ids.
    pub fn agents(&self) -> impl Iterator<Item = &AgentRow> {
        self.agents.values().filter_map(|agent| agent.row.as_ref())
    }

    /// The launches, in order of their agents' ids and their own.
    pub fn launches(&self) -> impl Iterator<Item = &LaunchRow> {
        self.agents.values().flat_map(|agent| agent.launches.get()).filter_map(|launch| self.launch_row(launch))
    }

    pub(crate) fn launch_row(&self, launch: &LaunchId) -> Option<&LaunchRow> {
        self.launches.get(launch).map(Box::as_ref)
    }

    /// How many launches there are.
    #[must_use]
    pub fn launches_count(&self) -> usize {
        self.launches.len()
    }

    /// What an agent has, nobody holds and nobody was offered; nothing if it may not be offered.
    #[must_use]
    pub fn free(&self, agent: &AgentId) -> Resources {
        self.agents.get(agent).map(|agent| self.engine.free(agent.slot)).unwrap_or_default()
    }

    /// What frameworks were offered of an agent and have not answered.
    #[must_use]
    pub fn offered(&self, agent: &AgentId) -> Resources {
        self.agents.get(agent).map(|agent| self.engine.offered(agent.slot)).unwrap_or_default()
    }

    /// What launches hold of an agent.
    #[must_use]
    pub fn allocated(&self, agent: &AgentId) -> Resources {
        self.agents.get(agent).map(|agent| self.engine.allocated(agent.slot)).unwrap_or_default()
    }

    /// What belongs to a term ends with it: offers, timers, numbers.
    fn forget_term(&mut self) {
        self.term = None;
        self.leader_text.clear();
        self.engine.forget_term();
        self.on_their_way.clear();
        self.engine.number_offers_from(0);
        self.preemptions.forget();
        self.maintenance.forget_term();
        self.drains.clear();
        self.speaking.clear();
        self.retries = Timers::default();
        self.lingering = Timers::default();
        self.silence = Silence::default();
        self.agents_named = 0;
        self.launches_named = 0;
        self.operations_named = 0;
        for framework in self.frameworks.values_mut() {
            framework.forget_term();
        }
        let agents: Vec<AgentId> = self.agents.keys().cloned().collect();
        for agent in agents {
            if let Some(state) = self.agents.get_mut(&agent) {
                state.forget_term();
            }
            self.tell_engine(&agent);
        }
    }
}

impl Machine for Allocator {
    type Event = Event;
    type Output = Output;

    fn restore(&mut self, change: RowChange) {
        match change {
            RowChange::Put(Row::Agent(row)) => self.put_agent(row),
            RowChange::Put(Row::Launch(row)) => self.index_launch(row),
            RowChange::Put(Row::Body(row)) => {
                self.bodies.insert(row.launch.clone(), row);
            }
            RowChange::Put(Row::Role(row)) => self.engine.set_role(&row.role, row.facts),
            RowChange::Put(Row::Policy(row)) => self.policy = Some(row),
            RowChange::Put(Row::Module(row)) => {
                self.modules.insert(row.name.clone(), row);
            }
            RowChange::Put(Row::Operation(row)) => self.index_operation(row),
            RowChange::Put(Row::Maintenance(row)) => self.maintenance.put(row),
            RowChange::Put(Row::JoinToken(row)) => self.joins.put(row),
            RowChange::Delete(RowKey::JoinToken(hash)) => self.joins.remove(&hash),
            RowChange::Delete(RowKey::Maintenance) => self.maintenance.put(MaintenanceRow::default()),
            RowChange::Delete(RowKey::Role(role)) => {
                let facts = self.default_facts(&role);
                self.engine.set_role(&role, facts);
            }
            RowChange::Delete(RowKey::Policy) => self.policy = None,
            RowChange::Delete(RowKey::Module(name)) => {
                self.modules.remove(&name);
            }
            RowChange::Delete(RowKey::Operation(id)) => {
                self.unindex_operation(&id);
            }
            RowChange::Delete(RowKey::Agent(id)) => self.remove_agent(&id),
            RowChange::Delete(RowKey::Launch(id)) => {
                if let Some(row) = self.unindex_launch(&id) {
                    self.calls.launch_deleted(&row);
                }
            }
            RowChange::Delete(RowKey::Body(id)) => {
                self.bodies.remove(&id);
            }
            // Rows of other services do not come this way, and rows of newer versions mean nothing here.
            RowChange::Put(_) | RowChange::Delete(_) => {}
        }
    }

    fn cold_wanted(&self) -> Vec<RowKey> {
        let mut wanted: Vec<RowKey> = self.unproven_launches().map(|launch| RowKey::Body(launch.clone())).collect();
        wanted.sort_unstable();
        wanted
    }

    fn rows(&self) -> Option<Vec<Row>> {
        let agents = self.agents().cloned().map(Row::Agent);
        let launches = self.launches().cloned().map(Row::Launch);
        let operations = self.operations.values().flat_map(BTreeMap::values).cloned().map(Row::Operation);
        let modules = self.modules.values().cloned().map(Row::Module);
        let policy = self.policy.iter().cloned().map(Row::Policy);
        let joins = self.joins.rows().cloned().map(Row::JoinToken);
        Some(agents.chain(launches).chain(operations).chain(modules).chain(policy).chain(joins).collect())
    }

    fn peer(&mut self, now: Time, change: RowChange, fx: &mut Effects<Output>) {
        match change {
            RowChange::Put(Row::Framework(row)) => self.put_framework(now, row, fx),
            RowChange::Delete(RowKey::Framework(id)) => self.delete_framework(now, &id, fx),
            RowChange::Put(Row::Task(row)) => self.put_task(&row, fx),
            RowChange::Delete(RowKey::Task(framework, task)) => self.delete_task(&framework, &task),
            RowChange::Put(_) | RowChange::Delete(_) => {}
        }
    }

    fn peer_keys(&self) -> Vec<RowKey> {
        let framework = |(id, state): (&FrameworkId, &Framework)| {
            let row = state.row.is_some().then(|| RowKey::Framework(id.clone()));
            row.into_iter()
                .chain(state.known_tasks().map(|task| RowKey::Task(id.clone(), task.clone())))
                .collect::<Vec<_>>()
        };
        self.frameworks.iter().flat_map(framework).collect()
    }

    fn lead(&mut self, now: Time, term: Term, fx: &mut Effects<Output>) {
        self.forget_term();
        self.term = Some(term);
        self.leader_text = term.leader_text();
        self.apply_policy(fx);
        self.begin_silence(now);
        self.release_ended_tasks(fx);
        self.look_at_all_drains();
        fx.emit(self.handshake_of_all(term));
    }

    fn follow(&mut self) {
        self.calls.forget();
        self.forget_term();
    }

    fn step(&mut self, now: Time, event: Event, fx: &mut Effects<Output>) {
        match event {
            Event::Call { request, call } => self.call(now, request, call, fx),
            Event::Agent(AgentToAllocator::Report(report)) => self.report(now, *report, fx),
            Event::Agent(AgentToAllocator::Beat { agent, instance, term, number, digest }) => {
                self.beat(now, &agent, instance, (term, number), digest, fx);
            }
            Event::Agent(AgentToAllocator::Disobeys { agent: _, term }) => self.disobeyed(term, fx),
            Event::Delivered(firsts) => self.delivered(&firsts),
            Event::BusBack => self.bus_back(fx),
            Event::Deaf(deaf) => self.silence.set_deaf(now, deaf),
        }
    }

    fn settle(&mut self, now: Time, fx: &mut Effects<Output>) {
        if self.term.is_none() {
            return;
        }
        self.finish_drains(fx);
        self.make_inverse_offers(now, fx);
        self.make_offers(now, fx);
        self.preempt_for_needs(now);
        self.flush_orders(now, fx);
    }

    fn tick(&mut self, now: Time, fx: &mut Effects<Output>) {
        self.take_back_lost_offers(now, fx);
        self.time_out_offers(now, fx);
        self.time_out_inverse(now, fx);
        self.engine.tick(now);
        self.retry_orders(now);
        self.ask_about_lingering(now, fx);
        self.end_join_tokens(now, fx);
        self.mark_silent_agents(now, fx);
    }

    fn deadline(&self) -> Option<Time> {
        [
            self.engine.deadline(),
            self.lost_offers_due(),
            self.preemptions.due(),
            self.retries.first(),
            self.lingering.first(),
            self.silence.deadline(),
            self.maintenance.deadline(),
            self.joins.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn trace(event: &Event) -> Option<(Trace, &'static str)> {
        match event {
            Event::Call { call, .. } => {
                let name = match call.what {
                    AllocatorCall::Accept { .. } => "allocator accept",
                    AllocatorCall::Decline { .. } => "allocator decline",
                    AllocatorCall::AnswerInverse { .. } => "allocator answer inverse",
                    AllocatorCall::Request { .. } => "allocator request",
                    AllocatorCall::Operator(_) => "allocator operator",
                };
                call.trace.map(|trace| (trace, name))
            }
            Event::Agent(_) | Event::Delivered(_) | Event::BusBack | Event::Deaf(_) => None,
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenario;

//! What services tell each other over the bus.
//!
//! A message may be lost, repeated or late. Whatever matters is a row of its sender, or is asked again.

mod agents;
mod files;
mod launcher;
mod maintenance;
mod operator;
mod pools;

use bytes::Bytes;
pub use mesos_engine::{
    explanation::{Change, Explanation, Query, WhatIf},
    facts::{Amounts, Constraint, Constraints, Placement, PolicyName, Predicate, Request, RoleFacts, Selector},
    needs::NeedView,
};
use mesos_model::{
    AgentId, CallId, ExecutorId, FrameworkId, GatewayId, OfferId, Resources, Role, TaskId, TaskStatus, Term, Trace,
    attribute::Attribute,
    planted::{Bug, is_planted},
};
use serde::{Deserialize, Serialize};

pub use self::{
    agents::{
        AgentReport, AgentToAllocator, AgentToRegistry, LaunchOrder, Order, ReportedLaunch, ToAgent, Update, condition,
        digest, spread_ms,
    },
    files::{FileEntry, FilesAnswer, FilesRequest},
    launcher::{JobView, LauncherCall, Submission},
    maintenance::{InverseAnswer, InverseOffer, MachineId, MaintenanceView, Unavailability, Window},
    operator::{Conversion, Join, OperatorCall, PolicyView, Quota, RequestView, RoleView},
    pools::{NodeView, PoolView, PoolsCall},
};

use crate::row::FrameworkInfo;

/// A number that the shell gives to a call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// What a call from outside carries, whatever it asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call<T> {
    /// A repeat of a call has the same one, and is answered as the first was.
    pub call: CallId,
    /// The gateway it came through.
    pub gateway: GatewayId,
    /// Who the gateway found the caller to be.
    #[serde(default)]
    pub principal: Option<String>,
    /// The trace it belongs to.
    #[serde(default)]
    pub trace: Option<Trace>,
    /// Number of the last entry that the gateway knew of in the change stream of the other service than the one it
    /// asks: who is behind it has not heard yet of what the caller may rely on.
    #[serde(default)]
    pub peer_seq: u64,
    /// The term of the service it asks, as far as the gateway knew; the default if it says nothing of it.
    #[serde(default)]
    pub term: Term,
    /// What is asked for.
    pub what: T,
}

/// The framework that calls, and the stream it shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Caller {
    /// Who it says it is.
    pub framework: FrameworkId,
    /// The `Mesos-Stream-Id` it shows.
    pub stream: Option<u128>,
    /// An operator, whom the gateway allowed to act on the framework: it shows no stream.
    #[serde(default)]
    pub operator: bool,
}

impl Caller {
    /// A framework with the stream that it shows, if it shows one.
    #[must_use]
    pub fn framework(framework: FrameworkId, stream: Option<u128>) -> Caller {
        Caller { framework, stream, operator: false }
    }

    /// An operator who acts on a framework.
    #[must_use]
    pub fn operator(framework: FrameworkId) -> Caller {
        Caller { framework, stream: None, operator: true }
    }
}

/// An answer to a call: an HTTP status and its text, which gRPC maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// As MESOS v1 answers: 200, 202, 400, 403, 404, 409, 503.
    pub status: u16,
    /// Why, if it was refused.
    #[serde(default)]
    pub text: String,
    /// More, for some calls.
    #[serde(default)]
    pub body: AnswerBody,
}

/// What an answer may carry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum AnswerBody {
    /// Nothing.
    #[default]
    None,
    /// SUBSCRIBE was taken.
    Subscribed {
        /// The framework's id, new or the one it brought.
        framework: FrameworkId,
        /// Number of the subscription.
        number: u64,
    },
    /// The framework has an open stream, under this number: a SUBSCRIBE that is still meant says so in `over`.
    Taken {
        /// Number of the subscription.
        number: u64,
    },
    /// SUBSCRIBE was refused in the way that Mesos refuses what is well-formed but not acceptable: a 200
    /// stream with one ERROR event.
    Refused {
        /// The ERROR event's message.
        message: String,
    },
    /// The launcher took a submission in.
    Submitted {
        /// The launcher's own id.
        framework: FrameworkId,
        /// One per instance.
        tasks: Vec<TaskId>,
    },
    /// What the launcher knows of its tasks.
    Jobs {
        /// The launcher's own id; absent before it was ever subscribed.
        framework: Option<FrameworkId>,
        /// The tasks asked for that it knows.
        jobs: Vec<JobView>,
    },
    /// The roles that anybody is in, or that anything is set for.
    Roles(Vec<RoleView>),
    /// The policy in force.
    Policy(PolicyView),
    /// What waits for room.
    Needs(Vec<NeedView>),
    /// Why something waits.
    Explanation(Box<Explanation>),
    /// What would be, after some changes.
    WhatIf(Box<WhatIf>),
    /// What maintenance is planned, and where it stands.
    Maintenance(Box<MaintenanceView>),
    /// An agent has joined, under this id.
    Joined(AgentId),
    /// What frameworks have asked for and still want.
    Requests(Vec<RequestView>),
    /// Node pools with their nodes.
    Pools(Vec<PoolView>),
    /// A pool has, or will have, another size.
    Resized {
        /// Which.
        pool: String,
        /// The nodes that come or go; an Auto Scaling group's have no names before they are there.
        nodes: Vec<String>,
        /// How many nodes it is to have now.
        size: u32,
    },
}

impl Answer {
    /// 200 with a body.
    #[must_use]
    pub fn ok(body: AnswerBody) -> Answer {
        Answer { status: 200, text: String::new(), body }
    }

    /// 202, the answer to most calls.
    #[must_use]
    pub fn accepted() -> Answer {
        Answer { status: 202, text: String::new(), body: AnswerBody::None }
    }

    /// The call was made for another leader.
    #[must_use]
    pub fn other_leader() -> Answer {
        Answer::refused(503, "changing its leader; try again")
    }

    /// Any other status with its text.
    #[must_use]
    pub fn refused(status: u16, text: impl Into<String>) -> Answer {
        Answer { status, text: text.into(), body: AnswerBody::None }
    }
}

/// One task of an ACCEPT. The gateway translated it; what it could not translate is in `invalid`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Chosen by the framework.
    pub task: TaskId,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// The agent that the framework named.
    pub agent: AgentId,
    /// What it asks for.
    pub resources: Resources,
    /// Decides whose work goes first when room is made; `None` is the framework's.
    #[serde(default)]
    pub priority: Option<i64>,
    /// The framework's own executor, if it named one.
    #[serde(default)]
    pub executor: Option<ExecutorSpec>,
    /// Why it is not acceptable, as far as the gateway could see without knowing the cluster.
    #[serde(default)]
    pub invalid: Option<String>,
    /// The protobuf `TaskInfo`, as the framework wrote it.
    pub body: Bytes,
}

/// An executor of an ACCEPT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorSpec {
    /// Chosen by the framework.
    pub executor: ExecutorId,
    /// What it asks for itself.
    pub resources: Resources,
    /// The protobuf `ExecutorInfo`, as the framework wrote it.
    pub body: Bytes,
    /// It is a program of the framework's own, and not the default executor.
    #[serde(default)]
    pub custom: bool,
}

/// One operation of an ACCEPT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// For feedback, if the framework wants any.
    #[serde(default)]
    pub id: Option<String>,
    /// What to do.
    pub kind: OperationKind,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OperationKind {
    /// Tasks, each with its own executor unless they name a common one.
    Launch(Vec<TaskSpec>),
    /// Tasks that share one executor, all or none.
    LaunchGroup {
        /// Their executor.
        executor: ExecutorSpec,
        /// The tasks.
        tasks: Vec<TaskSpec>,
    },
    /// RESERVE, UNRESERVE, CREATE, DESTROY, GROW_VOLUME or SHRINK_VOLUME.
    Convert(Conversion),
    /// An operation that is not acceptable as the gateway read it, or that this version does not do.
    Invalid {
        /// Its Mesos name.
        name: String,
        /// Why it is not done.
        message: String,
    },
}

/// What is asked of the allocator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AllocatorCall {
    /// ACCEPT.
    Accept {
        /// Who.
        caller: Caller,
        /// Offers of one agent and role.
        offers: Vec<OfferId>,
        /// Done in order.
        operations: Vec<Operation>,
        /// How long not to offer the rest again; `None` is the default.
        refuse_ms: Option<u64>,
    },
    /// DECLINE.
    Decline {
        /// Who.
        caller: Caller,
        /// Offers; unknown ones are skipped.
        offers: Vec<OfferId>,
        /// How long not to offer them again; `None` is the default.
        refuse_ms: Option<u64>,
    },
    /// ACCEPT_INVERSE_OFFERS or DECLINE_INVERSE_OFFERS. It is remembered and shown, and binds nobody.
    AnswerInverse {
        /// Who.
        caller: Caller,
        /// Inverse offers; unknown ones are skipped.
        offers: Vec<OfferId>,
        /// Accepted, or declined.
        accepted: bool,
        /// How long not to ask again; `None` is the default.
        refuse_ms: Option<u64>,
    },
    /// REQUEST.
    Request {
        /// Who.
        caller: Caller,
        /// What it would like; all that it asked for before is over.
        requests: Vec<Request>,
    },
    /// From an operator, whom the gateway has let through; the answer is 200 with a body, or a refusal.
    Operator(OperatorCall),
}

/// What is asked of the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RegistryCall {
    /// SUBSCRIBE.
    Subscribe {
        /// The id it brings, if it has one.
        framework: Option<FrameworkId>,
        /// What it says about itself.
        info: FrameworkInfo,
        /// What the gateway found wrong with the info, in Mesos's words.
        invalid: Option<String>,
        /// The protobuf `FrameworkInfo`.
        body: Bytes,
        /// Roles in which it wants no offers.
        suppressed: Vec<Role>,
        /// The stream that the gateway made for it.
        stream: u128,
        /// The number of the subscription that it may take over although its stream is open. A SUBSCRIBE that
        /// comes late would otherwise end the stream of the scheduler that has come since.
        #[serde(default)]
        over: Option<u64>,
    },
    /// UPDATE_FRAMEWORK.
    Update {
        /// Who.
        caller: Caller,
        /// What it says about itself.
        info: FrameworkInfo,
        /// What the gateway found wrong with the info, in Mesos's words.
        invalid: Option<String>,
        /// The protobuf `FrameworkInfo`.
        body: Bytes,
        /// Roles in which it wants no offers.
        suppressed: Vec<Role>,
    },
    /// TEARDOWN, by the framework or an operator.
    Teardown(Caller),
    /// SUPPRESS; no roles means all.
    Suppress(Caller, Vec<Role>),
    /// REVIVE; no roles means all.
    Revive(Caller, Vec<Role>),
    /// KILL, by the framework or an operator.
    Kill {
        /// Who.
        caller: Caller,
        /// Which task.
        task: TaskId,
        /// Where, if the framework says so.
        agent: Option<AgentId>,
        /// The grace, if it says so.
        grace_ms: Option<u64>,
    },
    /// SHUTDOWN of an executor.
    Shutdown {
        /// Who.
        caller: Caller,
        /// Which executor.
        executor: ExecutorId,
        /// Where.
        agent: AgentId,
    },
    /// ACKNOWLEDGE.
    Acknowledge {
        /// Who.
        caller: Caller,
        /// Which task.
        task: TaskId,
        /// Where.
        agent: AgentId,
        /// Of which status.
        uuid: u128,
    },
    /// RECONCILE; no tasks means all.
    Reconcile {
        /// Who.
        caller: Caller,
        /// Which tasks, and where the framework thinks they are.
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    /// An operator gives a framework another priority.
    SetPriority {
        /// The operator, and on which framework.
        caller: Caller,
        /// The new one; kept over later subscriptions until it is set again.
        priority: i64,
    },
    /// MESSAGE to an executor.
    Message {
        /// Who.
        caller: Caller,
        /// Where.
        agent: AgentId,
        /// Which executor.
        executor: ExecutorId,
        /// What.
        data: Bytes,
    },
    /// A gateway's stream was closed by its peer.
    Closed {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        stream: u128,
    },
    /// A gateway says which streams it holds: every 2 s, and when the registry has a new term.
    Streams(Vec<(FrameworkId, u128)>),
}

impl<T> Call<T> {
    /// A call of somebody whom its gateway does not name, which rests on nothing.
    #[must_use]
    pub fn new(call: impl Into<CallId>, gateway: impl Into<GatewayId>, what: T) -> Call<T> {
        let (call, gateway) = (call.into(), gateway.into());
        Call { call, gateway, principal: None, trace: None, peer_seq: 0, term: Term::default(), what }
    }

    /// Whether it was made while another leader had its term, as far as the gateway knew. What changes things for good is
    /// not done then: it may be a copy that comes late and would undo what was said since, and this leader does not know
    /// what the last one answered. The gateway makes it again.
    #[must_use]
    pub fn is_of_another_term(&self, term: Option<Term>) -> bool {
        self.term != Term::default() && Some(self.term) != term && !is_planted(Bug::LateCalls)
    }
}

impl RegistryCall {
    /// After which entry of the allocator's stream this may be answered, if the gateway knew of `peer_seq` of them.
    /// What an ACCEPT has launched must be known to who says that a task is unknown: above all after the allocator's
    /// store has lost that commit, until the next leader has heard of the launch from the agent.
    #[must_use]
    pub fn after_launches(&self, peer_seq: u64) -> u64 {
        match self {
            RegistryCall::Reconcile { .. } | RegistryCall::Kill { .. } | RegistryCall::Shutdown { .. } => peer_seq,
            _ => 0,
        }
    }
}

/// To the allocator's leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToAllocator {
    /// A call from outside; it is answered.
    Call(Call<AllocatorCall>),
    /// From an agent.
    Agent(AgentToAllocator),
    /// A gateway has put these offers on their streams; of each event, the first offer is named.
    Delivered(Vec<OfferId>),
}

/// To the registry's leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToRegistry {
    /// A call from outside; it is answered.
    Call(Call<RegistryCall>),
    /// From an agent.
    Agent(AgentToRegistry),
}

/// One offer: one agent, one role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// `<leader>-O<n>`.
    pub id: OfferId,
    /// In which role.
    pub role: Role,
    /// Whose resources.
    pub agent: AgentId,
    /// The agent's host.
    pub hostname: String,
    /// The address that tasks on the agent's host's network have; may be empty.
    #[serde(default)]
    pub ip: String,
    /// The agent's port.
    pub port: u32,
    /// What is offered.
    pub resources: Resources,
    /// What the agent says about itself.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// Region and zone.
    #[serde(default)]
    pub domain: Option<(String, String)>,
    /// Executors of this framework that run there.
    #[serde(default)]
    pub executors: Vec<ExecutorId>,
    /// When the agent will be away for maintenance.
    #[serde(default)]
    pub unavailability: Option<Unavailability>,
}

/// What a framework is told on its stream, apart from SUBSCRIBED and HEARTBEAT, which are the gateway's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StreamEvent {
    /// OFFERS.
    Offers(Vec<Offer>),
    /// RESCIND.
    Rescind(OfferId),
    /// INVERSE_OFFERS.
    InverseOffers(Vec<InverseOffer>),
    /// RESCIND_INVERSE_OFFER.
    RescindInverse(OfferId),
    /// UPDATE. The state is already the one that the framework understands.
    Update {
        /// The status.
        status: TaskStatus,
        /// The trace it belongs to.
        #[serde(default)]
        trace: Option<Trace>,
    },
    /// UPDATE_OPERATION_STATUS with OPERATION_ERROR.
    OperationError {
        /// The operation's id.
        operation: String,
        /// Where it was to happen.
        agent: Option<AgentId>,
        /// Why it did not.
        message: String,
    },
    /// UPDATE_OPERATION_STATUS with OPERATION_FINISHED: the agent has it in its checkpoint.
    OperationFinished {
        /// The operation's id.
        operation: String,
        /// Where it happened.
        agent: AgentId,
        /// What came of it.
        converted: Resources,
    },
    /// MESSAGE from an executor.
    Message {
        /// Where.
        agent: AgentId,
        /// Which executor.
        executor: ExecutorId,
        /// What.
        data: Bytes,
    },
    /// FAILURE of an agent, or of an executor with its wait status.
    Failure {
        /// Which agent.
        agent: AgentId,
        /// Which executor, if only that.
        executor: Option<ExecutorId>,
        /// Its wait status.
        status: Option<i32>,
    },
    /// ERROR; the stream ends after it.
    Error(String),
}

/// An event for one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToStream {
    /// Whose.
    pub framework: FrameworkId,
    /// Which stream; a gateway that does not hold it drops the event.
    pub stream: u128,
    /// Who says so: the leader's part of its term. A gateway that has seen another one lead since drops the event,
    /// which may have waited in a stopped process.
    #[serde(default)]
    pub leader: u128,
    /// What.
    pub event: StreamEvent,
}

//! What services tell each other over the bus.
//!
//! A message may be lost, repeated or late. Whatever matters is a row of its sender, or is asked again.

use bytes::Bytes;
mod files;
mod maintenance;
mod operator;
mod pools;

pub use mesos_engine::{
    explanation::{Change, Explanation, Query, WhatIf},
    facts::{Amounts, Constraint, Constraints, Placement, PolicyName, Predicate, Request, RoleFacts, Selector},
    needs::NeedView,
};
use mesos_model::{
    AgentId, CallId, ExecutorId, FrameworkId, GatewayId, LaunchId, OfferId, Resources, Role, TaskId, TaskState,
    TaskStatus, Term, Trace, attribute::Attribute,
};
use serde::{Deserialize, Serialize};

pub use self::files::{FileEntry, FilesAnswer, FilesRequest};
pub use self::{
    maintenance::{InverseAnswer, InverseOffer, MachineId, MaintenanceView, Unavailability, Window},
    operator::{Conversion, Join, OperatorCall, PolicyView, Quota, RequestView, RoleView},
    pools::{NodeView, PoolView, PoolsCall},
};

use crate::{
    fnv::Fnv,
    row::{FrameworkFacts, FrameworkInfo, LaunchKind},
};

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
    /// Number of the last entry of the registry's change stream that the gateway knew of: an allocator that
    /// is behind it has not heard yet of what the caller may rely on.
    #[serde(default)]
    pub registry_seq: u64,
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

/// An order of the allocator. The agent takes orders up in order, and writes down the number together with
/// the effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Run an executor with its tasks.
    Launch(Box<LaunchOrder>),
    /// End a task.
    Kill {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        task: TaskId,
        /// The grace, if the framework said so.
        grace_ms: Option<u64>,
    },
    /// End everything of a framework and forget it.
    ShutdownFramework(FrameworkId),
    /// Some of the agent's resources become others; the agent keeps the outcome in its checkpoint, and makes
    /// or removes the directories of volumes.
    Convert(Conversion),
    /// End a task to make room: its agent says so with REASON_CONTAINER_PREEMPTED.
    Preempt {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        task: TaskId,
        /// For whom, in words.
        message: String,
    },
    /// End every task: the agent is drained. Ends say so with REASON_AGENT_DRAINING.
    Drain {
        /// The longest grace that a task gets; `None` is each task's own.
        max_grace_ms: Option<u64>,
    },
}

/// What an agent needs to run an executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchOrder {
    /// Runs at most once, anywhere.
    pub launch: LaunchId,
    /// Whose.
    pub framework: FrameworkId,
    /// What the agent keeps about the framework.
    pub facts: FrameworkFacts,
    /// Its id.
    pub executor: ExecutorId,
    /// In which role.
    pub role: Role,
    /// Its own part of the resources.
    #[serde(default)]
    pub executor_resources: Resources,
    /// The protobuf `ExecutorInfo`, if the framework gave one.
    #[serde(default)]
    pub executor_body: Option<Bytes>,
    /// Its tasks: id, resources, protobuf `TaskInfo`.
    pub tasks: Vec<(TaskId, Resources, Bytes)>,
    /// The trace it belongs to.
    #[serde(default)]
    pub trace: Option<Trace>,
    /// Who runs the tasks.
    #[serde(default)]
    pub kind: LaunchKind,
}

/// To an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Allocator: the handshake is done (committed); orders of this term follow from number 1 on.
    Welcome {
        /// The agent's instance, for an agent that has no id yet.
        instance: u128,
        /// Its id.
        agent: AgentId,
        /// The term it has shaken hands with.
        term: Term,
    },
    /// Allocator: shake hands (again). Also sent to all agents when a term begins.
    Handshake {
        /// The term that asks.
        term: Term,
        /// Over how long all agents spread their answers, in milliseconds; an agent that is asked alone
        /// answers at once.
        #[serde(default)]
        spread_ms: u64,
    },
    /// Allocator: orders `first`, `first + 1`, …
    Orders {
        /// The term that orders.
        term: Term,
        /// Number of the first one.
        first: u64,
        /// The orders.
        orders: Vec<Order>,
    },
    /// Allocator: it is not admitted.
    Refused {
        /// The agent's instance.
        instance: u128,
        /// Why, and what to do.
        reason: String,
        /// It was marked gone: end all tasks.
        gone: bool,
        /// It may ask again, with the same id: its machine is down for maintenance. Its tasks end all the same.
        #[serde(default)]
        wait: bool,
        /// With `wait`: orders of this term up to this number are not meant any more, though they may be on their way.
        /// Who obeys the term skips them; who has taken up later ones was admitted since.
        #[serde(default)]
        void: (Term, u64),
    },
    /// Allocator: the beat was heard.
    Heard {
        /// The term that hears.
        term: Term,
    },
    /// Registry: updates up to these numbers are in its rows.
    Received(Vec<(FrameworkId, TaskId, u64)>),
    /// Registry: the framework acknowledged the updates up to this number.
    Acknowledged {
        /// Whose.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// By which launch; a later launch of the same task id is another task.
        #[serde(default)]
        launch: LaunchId,
        /// The number.
        number: u64,
    },
    /// Registry: a new term, or the agent is back: tell the latest status of every task again.
    Resend {
        /// The registry's term; the agent remembers the last one it heard of and puts it into its updates.
        term: Term,
        /// Over how long all agents spread what they tell, in milliseconds; an agent that is asked alone tells it
        /// at once.
        #[serde(default)]
        spread_ms: u64,
    },
    /// Registry: a framework's message to an executor.
    Message {
        /// Whose.
        framework: FrameworkId,
        /// Which executor.
        executor: ExecutorId,
        /// What.
        data: Bytes,
    },
    /// Registry: the framework wants an executor to end. It may be lost, as in Mesos; what was asked for its
    /// tasks is in their rows.
    ShutdownExecutor {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
    },
}

/// One launch in an agent's report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportedLaunch {
    /// Which.
    pub launch: LaunchId,
    /// Whose.
    pub framework: FrameworkId,
    /// What the agent knows of the framework.
    pub facts: FrameworkFacts,
    /// Its executor.
    pub executor: ExecutorId,
    /// In which role.
    pub role: Role,
    /// The executor's own part.
    #[serde(default)]
    pub executor_resources: Resources,
    /// Tasks that still hold resources: those that have not ended.
    pub tasks: Vec<(TaskId, Resources)>,
    /// Who runs its tasks.
    #[serde(default)]
    pub kind: LaunchKind,
    /// The framework's own executor was started by this launch and lives, with tasks or without.
    #[serde(default)]
    pub alive: bool,
}

/// Everything that an agent says of itself in a handshake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentReport {
    /// Its id, if it was given one.
    pub agent: Option<AgentId>,
    /// Made at the first start in its work directory.
    pub instance: u128,
    /// Changes when the host boots.
    pub boot: String,
    /// Where it can be reached.
    pub hostname: String,
    /// The address that tasks on its host's network have; may be empty.
    #[serde(default)]
    pub ip: String,
    /// Port of its own HTTP API.
    pub port: u32,
    /// Its program's version.
    pub version: String,
    /// All it has.
    pub total: Resources,
    /// What it has beyond that as long as its tasks do not use what they hold: revocable.
    #[serde(default)]
    pub oversubscribed: Resources,
    /// Why no task can be started on it for now, if none can.
    #[serde(default)]
    pub degraded: Option<String>,
    /// What it says about itself.
    pub attributes: Vec<Attribute>,
    /// Region and zone.
    pub domain: Option<(String, String)>,
    /// A protobuf `AgentInfo`.
    pub body: Bytes,
    /// The highest term that it obeyed.
    pub term: Term,
    /// The last order of that term that it took up.
    pub number: u64,
    /// The term whose handshake this answers; `None` if it comes by itself.
    pub answers: Option<Term>,
    /// Every launch that it has not forgotten.
    pub launches: Vec<ReportedLaunch>,
}

/// From an agent to the allocator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AgentToAllocator {
    /// The handshake.
    Report(Box<AgentReport>),
    /// It lives; every few seconds, and at once after it took up orders.
    Beat {
        /// Who.
        agent: AgentId,
        /// Its instance.
        instance: u128,
        /// The term it obeys.
        term: Term,
        /// The last order that it took up.
        number: u64,
        /// The launches that still hold resources, folded into one number by [`digest`], and its [`condition`].
        digest: u64,
    },
    /// It obeys a higher term than the one that spoke to it.
    Disobeys {
        /// Who.
        agent: AgentId,
        /// The term it obeys.
        term: Term,
    },
}

/// An update of a task, as its agent tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Whose.
    pub framework: FrameworkId,
    /// What the agent knows of the framework.
    pub facts: FrameworkFacts,
    /// By which launch.
    pub launch: LaunchId,
    /// By which executor.
    pub executor: ExecutorId,
    /// In which role.
    pub role: Role,
    /// What the task uses.
    pub resources: Resources,
    /// Number of the status, per task.
    pub number: u64,
    /// The highest number that the framework acknowledged: statuses up to it are told no more.
    #[serde(default)]
    pub acknowledged: u64,
    /// The registry's term that last asked for updates (`ToAgent::Resend`), as far as the agent knows since
    /// its start. It tells an update of now from one that was on its way for long: only with the present
    /// term does an update make a row for a task that nobody else knows.
    #[serde(default)]
    pub asked: Term,
    /// The status.
    pub status: TaskStatus,
    /// The latest state, which may be ahead of the status.
    pub latest: TaskState,
    /// The trace it belongs to.
    #[serde(default)]
    pub trace: Option<Trace>,
}

/// From an agent to the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AgentToRegistry {
    /// A status, in order of its number per task, repeated until `Received`.
    Update {
        /// Who.
        agent: AgentId,
        /// What.
        update: Box<Update>,
    },
    /// The tasks that it knows, after it has told of each: until then a registry that has lost its rows cannot
    /// say that nobody knows a task.
    Knows {
        /// Who.
        agent: AgentId,
        /// The registry's term that asked.
        asked: Term,
        /// Whose and which.
        tasks: Vec<(FrameworkId, TaskId)>,
    },
    /// It has forgotten a task whose end was acknowledged.
    Forgotten {
        /// Who.
        agent: AgentId,
        /// Whose.
        framework: FrameworkId,
        /// Which.
        task: TaskId,
        /// By which launch.
        launch: LaunchId,
    },
    /// An executor's message to its framework.
    Message {
        /// Who.
        agent: AgentId,
        /// Whose.
        framework: FrameworkId,
        /// Which executor.
        executor: ExecutorId,
        /// What.
        data: Bytes,
    },
    /// A framework's own executor is over. The framework is told once if it is there, as in Mesos: what became
    /// of tasks is in their statuses.
    ExecutorExited {
        /// Who.
        agent: AgentId,
        /// Whose.
        framework: FrameworkId,
        /// Which executor.
        executor: ExecutorId,
        /// As `waitpid` gives it; -1 if nobody knows.
        status: i32,
    },
}

impl AgentToAllocator {
    /// The agent that says so: its id, or the text of its instance as long as it has none.
    #[must_use]
    pub fn speaker(&self) -> String {
        match self {
            AgentToAllocator::Report(report) => match &report.agent {
                Some(agent) => agent.as_str().to_owned(),
                None => mesos_model::uuid_text(report.instance),
            },
            AgentToAllocator::Beat { agent, .. } | AgentToAllocator::Disobeys { agent, .. } => {
                agent.as_str().to_owned()
            }
        }
    }
}

impl AgentToRegistry {
    /// The agent that says so.
    #[must_use]
    pub fn speaker(&self) -> &AgentId {
        match self {
            AgentToRegistry::Update { agent, .. }
            | AgentToRegistry::Knows { agent, .. }
            | AgentToRegistry::Forgotten { agent, .. }
            | AgentToRegistry::Message { agent, .. }
            | AgentToRegistry::ExecutorExited { agent, .. } => agent,
        }
    }
}

/// How many agents may answer a question to all of them in one millisecond. A leader takes in so much; more at once
/// would only wait for each other, and overrun what waits for it on the bus.
const ANSWERS_PER_MS: u64 = 10;
/// The longest that the last answer to such a question may take.
const SPREAD_MS_MAX: u64 = 10_000;

/// Over how long so many agents that are asked all at once spread their answers, in milliseconds.
#[must_use]
pub fn spread_ms(agents: usize) -> u64 {
    (agents as u64 / ANSWERS_PER_MS).min(SPREAD_MS_MAX)
}

/// Folds launch ids into one number, whatever their order, so that two sides can compare what they hold.
#[must_use]
pub fn digest<'a>(launches: impl IntoIterator<Item = &'a LaunchId>) -> u64 {
    launches.into_iter().fold(0, |sum: u64, launch| sum.wrapping_add(Fnv::of(launch.as_str().as_bytes())))
}

/// The same for what is reported of an agent beside its launches and changes while it runs: whether it can start
/// anything, and what its tasks leave over. Added to [`digest`], so that a report which was lost is missed.
#[must_use]
pub fn condition(degraded: bool, oversubscribed: &Resources) -> u64 {
    let degraded = if degraded { Fnv::of(b"degraded") } else { 0 };
    let oversubscribed = if oversubscribed.is_empty() { 0 } else { Fnv::of(oversubscribed.to_string().as_bytes()) };
    degraded.wrapping_add(oversubscribed)
}

// The launcher: the built-in framework behind `mesos launch`.

/// What is asked of the launcher. It is answered with [`AnswerBody::Submitted`] or [`AnswerBody::Jobs`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LauncherCall {
    /// Run a task, once or several times.
    Submit(Box<Submission>),
    /// End a task, whether it runs or waits.
    Kill {
        /// Which.
        task: TaskId,
        /// Between the polite signal and the final one; `None` is the task's own.
        grace_ms: Option<u64>,
    },
    /// A task that waits gets another priority; of one that runs it is kept for when room is made.
    SetPriority {
        /// Which.
        task: TaskId,
        /// The new one.
        priority: i64,
    },
    /// What is known of these tasks; none named means all.
    Query {
        /// Which.
        tasks: Vec<TaskId>,
    },
}

/// A task to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// For people; the ids are made of it.
    pub name: String,
    /// How many.
    pub instances: u32,
    /// A protobuf `TaskInfo` without ids.
    pub template: Bytes,
    /// What each needs.
    pub resources: Resources,
    /// In which role.
    pub role: Role,
    /// Only agents that have all of these.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// Higher ones are placed first.
    #[serde(default)]
    pub priority: i64,
    /// Room is gathered for it, for so long, if there is none at once.
    #[serde(default)]
    pub hold_ms: Option<u64>,
}

/// A task of the launcher, to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub task: TaskId,
    /// For people.
    pub name: String,
    /// Where it stands; `Staging` without an agent is waiting for an offer.
    pub state: TaskState,
    /// Where it was placed.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// What its last status says, or what it waits for.
    #[serde(default)]
    pub message: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<mesos_model::Reason>,
    /// Exit code of its process, if it exited by itself.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Higher ones are placed first.
    #[serde(default)]
    pub priority: i64,
    /// In which role.
    #[serde(default)]
    pub role: Role,
    /// What it needs.
    #[serde(default)]
    pub resources: Resources,
    /// When it was submitted.
    pub time: mesos_model::Time,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<mesos_model::Time>,
}

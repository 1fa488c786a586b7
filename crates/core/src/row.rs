//! What is stored. A row has one owner; followers of the owner's change stream see every change of it.
//!
//! Hot rows hold what decisions need. What only travels or is shown is opaque bytes: protobuf messages as
//! the client sent them, so that fields of a newer client survive.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesos_model::{
    AgentId, CallId, ExecutorId, FrameworkId, GatewayId, LaunchId, Reason, Resources, Role, TaskId, TaskState,
    TaskStatus, Term, Time, Trace, attribute::Attribute,
};
use serde::{Deserialize, Serialize};

mod pools;

pub use self::pools::{NodeRow, NodeState, PoolCall, PoolRow};
use crate::message::{Constraints, Conversion, MachineId, PolicyName, RoleFacts, Window};

/// Names of the services that own rows.
pub mod service {
    /// Agents, launches, roles.
    pub const ALLOCATOR: &str = "allocator";
    /// Frameworks and tasks.
    pub const REGISTRY: &str = "registry";
    /// The built-in framework behind `mesos launch`.
    pub const LAUNCHER: &str = "launcher";
    /// Node pools.
    pub const POOLS: &str = "pools";
    /// An agent's own checkpoint.
    pub const AGENT: &str = "agent";
}

/// A change of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RowChange {
    /// Written.
    Put(Row),
    /// Deleted.
    Delete(RowKey),
}

/// Any row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Row {
    /// Allocator: an agent.
    Agent(AgentRow),
    /// Allocator: what an accepted launch holds on an agent; intent and allocation in one.
    Launch(LaunchRow),
    /// Allocator: what the client wrote about a launch, cold.
    Body(BodyRow),
    /// Registry: a framework.
    Framework(FrameworkRow),
    /// Registry: a task.
    Task(TaskRow),
    /// Agent: who it is and whom it obeyed.
    AgentSelf(AgentSelfRow),
    /// Agent: an executor with its tasks and their updates.
    Executor(ExecutorRow),
    /// Allocator: what an operator has set for a role.
    Role(RoleRow),
    /// Allocator: which policy is in force.
    Policy(PolicyRow),
    /// Allocator: a policy's module, cold.
    Module(ModuleRow),
    /// Allocator: an operation that its agent has not taken up yet.
    Operation(OperationRow),
    /// Allocator: the maintenance schedule, and which machines are down.
    Maintenance(MaintenanceRow),
    /// Allocator: a token with which an agent may join.
    JoinToken(JoinTokenRow),
    /// Launcher: a submitted task.
    Job(JobRow),
    /// Launcher: its subscription.
    LauncherSelf(LauncherSelfRow),
    /// Pools: what is kept of a pool beside its definition.
    Pool(PoolRow),
    /// Pools: a node.
    Node(NodeRow),
}

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RowKey {
    /// `agent/<agent>`
    Agent(AgentId),
    /// `launch/<launch>`
    Launch(LaunchId),
    /// `body/<launch>`: a cold row, which stores keep apart by its key
    Body(LaunchId),
    /// `framework/<framework>`
    Framework(FrameworkId),
    /// `task/<framework>/<task>`
    Task(FrameworkId, TaskId),
    /// `self`
    AgentSelf,
    /// `executor/<launch>`
    Executor(LaunchId),
    /// `role/<role>`
    Role(Role),
    /// `policy`
    Policy,
    /// `module/<name>`
    Module(String),
    /// `operation/<n>`
    Operation(String),
    /// `maintenance`
    Maintenance,
    /// `join/<hash>`
    JoinToken(String),
    /// `job/<task>`
    Job(TaskId),
    /// `launcher`
    LauncherSelf,
    /// `pool/<name>`
    Pool(String),
    /// `node/<name>`
    Node(String),
}

impl RowKey {
    /// The key's text in the store. Ids hold no slash.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            RowKey::Agent(id) => format!("agent/{id}"),
            RowKey::Launch(id) => format!("launch/{id}"),
            RowKey::Body(id) => format!("body/{id}"),
            RowKey::Framework(id) => format!("framework/{id}"),
            RowKey::Task(framework, task) => format!("task/{framework}/{task}"),
            RowKey::AgentSelf => "self".to_owned(),
            RowKey::Executor(id) => format!("executor/{id}"),
            RowKey::Role(role) => format!("role/{role}"),
            RowKey::Policy => "policy".to_owned(),
            RowKey::Module(name) => format!("module/{name}"),
            RowKey::Operation(id) => format!("operation/{id}"),
            RowKey::Maintenance => "maintenance".to_owned(),
            RowKey::JoinToken(hash) => format!("join/{hash}"),
            RowKey::Job(id) => format!("job/{id}"),
            RowKey::LauncherSelf => "launcher".to_owned(),
            RowKey::Pool(name) => format!("pool/{name}"),
            RowKey::Node(name) => format!("node/{name}"),
        }
    }

    /// The inverse of [`text`](Self::text); `None` for a key of a kind that is not known.
    #[must_use]
    pub fn parse(text: &str) -> Option<RowKey> {
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        Some(match kind {
            "agent" => RowKey::Agent(rest.into()),
            "launch" => RowKey::Launch(rest.into()),
            "body" => RowKey::Body(rest.into()),
            "framework" => RowKey::Framework(rest.into()),
            "task" => {
                let (framework, task) = rest.split_once('/')?;
                RowKey::Task(framework.into(), task.into())
            }
            "self" => RowKey::AgentSelf,
            "executor" => RowKey::Executor(rest.into()),
            "role" => RowKey::Role(rest.into()),
            "policy" => RowKey::Policy,
            "module" => RowKey::Module(rest.into()),
            "operation" => RowKey::Operation(rest.into()),
            "maintenance" => RowKey::Maintenance,
            "join" => RowKey::JoinToken(rest.into()),
            "job" => RowKey::Job(rest.into()),
            "launcher" => RowKey::LauncherSelf,
            "pool" => RowKey::Pool(rest.to_owned()),
            "node" => RowKey::Node(rest.to_owned()),
            _ => return None,
        })
    }
}

impl Row {
    /// The row's key.
    #[must_use]
    pub fn key(&self) -> RowKey {
        match self {
            Row::Agent(row) => RowKey::Agent(row.id.clone()),
            Row::Launch(row) => RowKey::Launch(row.launch.clone()),
            Row::Body(row) => RowKey::Body(row.launch.clone()),
            Row::Framework(row) => RowKey::Framework(row.id.clone()),
            Row::Task(row) => RowKey::Task(row.framework.clone(), row.task.clone()),
            Row::AgentSelf(_) => RowKey::AgentSelf,
            Row::Executor(row) => RowKey::Executor(row.launch.clone()),
            Row::Role(row) => RowKey::Role(row.role.clone()),
            Row::Policy(_) => RowKey::Policy,
            Row::Module(row) => RowKey::Module(row.name.clone()),
            Row::Operation(row) => RowKey::Operation(row.operation.clone()),
            Row::Maintenance(_) => RowKey::Maintenance,
            Row::JoinToken(row) => RowKey::JoinToken(row.hash.clone()),
            Row::Job(row) => RowKey::Job(row.task.clone()),
            Row::LauncherSelf(_) => RowKey::LauncherSelf,
            Row::Pool(row) => RowKey::Pool(row.pool.clone()),
            Row::Node(row) => RowKey::Node(row.node.clone()),
        }
    }
}

impl RowChange {
    /// The key of the changed row.
    #[must_use]
    pub fn key(&self) -> RowKey {
        match self {
            RowChange::Put(row) => row.key(),
            RowChange::Delete(key) => key.clone(),
        }
    }
}

/// Where an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentState {
    /// It shook hands with the term `AgentRow::handshake`, and is heard of.
    Active,
    /// Not heard of since.
    Unreachable {
        /// Since when.
        since: Time,
    },
    /// An operator said that it will not come back.
    Gone,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRow {
    /// Given at its first registration.
    pub id: AgentId,
    /// Fresh at each installation of the agent's work directory; tells two hosts with one id apart.
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
    #[serde(default)]
    pub version: String,
    /// All it has.
    pub total: Resources,
    /// What it has beyond that as long as its tasks do not use what they hold: revocable.
    #[serde(default)]
    pub oversubscribed: Resources,
    /// What it says about itself.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// Region and zone.
    #[serde(default)]
    pub domain: Option<(String, String)>,
    /// Where it stands.
    pub state: AgentState,
    /// An operator took it out of offering.
    #[serde(default)]
    pub deactivated: bool,
    /// An operator has it drained.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// Its machine went down for maintenance: whatever it ran is over. It is unreachable until it is admitted again,
    /// and is not admitted before it has ended its tasks.
    #[serde(default)]
    pub down: bool,
    /// Why it takes no tasks for now, as it says itself.
    #[serde(default)]
    pub degraded: Option<String>,
    /// The last term that it shook hands with.
    pub handshake: Term,
    /// First admitted.
    pub registered: Time,
    /// Last handshake.
    pub reregistered: Time,
    /// The last calls by which operators reserved here, or made volumes: a repeat under another leader is not done
    /// again.
    #[serde(default)]
    pub operated: Vec<CallId>,
    /// A protobuf `AgentInfo`, as it wrote it.
    #[serde(default)]
    pub body: Bytes,
}

impl AgentRow {
    /// How it is drained, while its tasks have not all ended.
    #[must_use]
    pub fn draining(&self) -> Option<Drain> {
        self.drain.filter(|drain| !drain.drained && self.state != AgentState::Gone)
    }
}

/// How an agent is drained, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The longest grace that a task gets; `None` is each task's own.
    #[serde(default)]
    pub max_grace_ms: Option<u64>,
    /// Once it is drained it is gone.
    #[serde(default)]
    pub mark_gone: bool,
    /// Since when.
    pub since: Time,
    /// Nothing is left on it.
    #[serde(default)]
    pub drained: bool,
}

/// One task of a launch: what the allocator decides on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchTask {
    /// Chosen by the framework.
    pub task: TaskId,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Its part of the launch's resources.
    pub resources: Resources,
    /// Whose work goes first when room is made: the higher one stays.
    #[serde(default)]
    pub priority: i64,
}

/// Who runs the tasks of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchKind {
    /// The agent; each task is its own.
    #[default]
    Command,
    /// The agent, as Mesos's default executor does: a task group, of which none outlives one that failed.
    Group,
    /// An executor that the framework brought. It may live on without a task, and holds its own part for as
    /// long as it lives.
    Custom,
    /// The same, for a task group that the executor is given as a whole.
    CustomGroup,
}

impl LaunchKind {
    /// Whether the framework brought its own executor.
    #[must_use]
    pub fn is_custom(self) -> bool {
        matches!(self, LaunchKind::Custom | LaunchKind::CustomGroup)
    }

    /// Whether the tasks are launched all or none.
    #[must_use]
    pub fn is_group(self) -> bool {
        matches!(self, LaunchKind::Group | LaunchKind::CustomGroup)
    }
}

/// An accepted launch: one executor with its tasks on one agent. It is an intent until the agent has taken
/// up the order `sent`, and an allocation as long as the row is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchRow {
    /// Runs at most once, anywhere.
    pub launch: LaunchId,
    /// Whose.
    pub framework: FrameworkId,
    /// In which of its roles.
    pub role: Role,
    /// Where.
    pub agent: AgentId,
    /// By which executor; of a command task it is the task's id.
    pub executor: ExecutorId,
    /// The executor's own part.
    #[serde(default)]
    pub executor_resources: Resources,
    /// Its tasks.
    pub tasks: Vec<LaunchTask>,
    /// The order that carries it: term and number, per agent.
    pub sent: (Term, u64),
    /// The call that made it.
    pub call: CallId,
    /// When it was accepted.
    pub time: Time,
    /// The trace it belongs to.
    #[serde(default)]
    pub trace: Option<Trace>,
    /// Present if it was learned from an agent and not from a call.
    #[serde(default)]
    pub adopted: Option<FrameworkFacts>,
    /// Who runs its tasks.
    #[serde(default)]
    pub kind: LaunchKind,
}

impl LaunchRow {
    /// All that it holds on its agent.
    #[must_use]
    pub fn resources(&self) -> Resources {
        self.tasks.iter().fold(self.executor_resources.clone(), |sum, task| sum.plus(&task.resources))
    }

    /// Whether its executor holds something, whatever becomes of its tasks.
    #[must_use]
    pub fn outlives_its_tasks(&self) -> bool {
        self.kind.is_custom() && !self.executor_resources.is_empty()
    }
}

/// What the client wrote about a launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BodyRow {
    /// Which launch.
    pub launch: LaunchId,
    /// Protobuf `TaskInfo`s, in the order of `LaunchRow::tasks`.
    pub tasks: Vec<Bytes>,
    /// Protobuf `ExecutorInfo`, if the framework gave one.
    #[serde(default)]
    pub executor: Option<Bytes>,
}

/// What an operator has set for a role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoleRow {
    /// Which.
    pub role: Role,
    /// What.
    pub facts: RoleFacts,
}

/// Which policy an operator has chosen; without a row it is the one of the options.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// Which.
    pub policy: PolicyName,
}

/// A policy's WebAssembly module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleRow {
    /// The policy's name.
    pub name: String,
    /// The module.
    pub module: Bytes,
}

/// An operation that was accepted and ordered. It is in the agent's row already; this row goes when the agent
/// has it in its checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationRow {
    /// Made by the leader, in order.
    pub operation: String,
    /// Where.
    pub agent: AgentId,
    /// What.
    pub conversion: Conversion,
    /// The order that carries it: term and number, per agent.
    pub sent: (Term, u64),
    /// The framework that wants to hear of it, and the id that it gave.
    #[serde(default)]
    pub feedback: Option<(FrameworkId, String)>,
    /// When it was accepted.
    pub time: Time,
}

/// What maintenance is planned, and which machines are down. There is no row if neither is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MaintenanceRow {
    /// The schedule; machines that are down are in it.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Machines that are down.
    #[serde(default)]
    pub down: BTreeSet<MachineId>,
}

/// A one-time token with which an agent may join. The row goes when the token ends, used or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinTokenRow {
    /// SHA-256 of the token, in hex.
    pub hash: String,
    /// When it ends.
    pub expires: Time,
    /// Who has used it.
    #[serde(default)]
    pub used: Option<Joined>,
}

/// Who has joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The agent's raw public key, in hex.
    pub key: String,
    /// The id that it was given, or has kept.
    pub agent: AgentId,
}

/// What an agent keeps about a framework, so that it can be recovered from agents alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameworkFacts {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The user that its tasks run as, unless they say otherwise.
    #[serde(default)]
    pub user: String,
    /// Who it is.
    #[serde(default)]
    pub principal: Option<String>,
    /// How long it may be away.
    #[serde(default)]
    pub failover_timeout_ms: u64,
    /// It understands the states of partitions.
    #[serde(default)]
    pub partition_aware: bool,
}

/// What a framework says it can do (`FrameworkInfo.Capability`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Takes revocable resources.
    pub revocable_resources: bool,
    /// Understands TASK_KILLING.
    pub task_killing_state: bool,
    /// May be offered agents with GPUs.
    pub gpu_resources: bool,
    /// Takes shared resources.
    pub shared_resources: bool,
    /// Understands the states of partitions.
    pub partition_aware: bool,
    /// Has several roles.
    pub multi_role: bool,
    /// Understands reservation stacks.
    pub reservation_refinement: bool,
    /// May be offered agents of other regions.
    pub region_aware: bool,
}

/// What machines need of a `FrameworkInfo`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameworkInfo {
    /// Its name.
    pub name: String,
    /// The user that its tasks run as, unless they say otherwise.
    pub user: String,
    /// Who it is.
    #[serde(default)]
    pub principal: Option<String>,
    /// Its roles; never empty.
    pub roles: Vec<Role>,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// How long it may be away before it is removed.
    #[serde(default)]
    pub failover_timeout_ms: u64,
    /// Its tasks survive their agent's restart.
    #[serde(default)]
    pub checkpoint: bool,
    /// Decides who is offered to first.
    #[serde(default)]
    pub priority: i64,
    /// Per role: an offer must contain one of these; absent means the cluster's default.
    #[serde(default)]
    pub min_allocatable: BTreeMap<Role, Vec<Resources>>,
    /// Per role: what an offer's agent must be like.
    #[serde(default)]
    pub constraints: BTreeMap<Role, Constraints>,
}

/// A stream of events that a gateway holds for a framework.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Rises with each subscription of the framework.
    pub number: u64,
    /// The `Mesos-Stream-Id`, made by the gateway.
    pub stream: u128,
    /// Who holds it.
    pub gateway: GatewayId,
}

/// Where a framework stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrameworkState {
    /// Its stream is open.
    Connected,
    /// Its gateway has not been heard of since; the framework may come back as if nothing had been.
    Lost {
        /// Since when.
        since: Time,
    },
    /// Its stream was closed, or it is known from agents only.
    Disconnected {
        /// It is removed then.
        deadline: Time,
    },
    /// Removed: its tasks are killed wherever they turn up, and its id is refused.
    Removed {
        /// Since when.
        since: Time,
    },
}

/// A framework.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameworkRow {
    /// Its id.
    pub id: FrameworkId,
    /// What it said about itself.
    pub info: FrameworkInfo,
    /// The protobuf `FrameworkInfo`, as it wrote it (with the id put in).
    #[serde(default)]
    pub body: Bytes,
    /// Where it stands.
    pub state: FrameworkState,
    /// Its last stream.
    #[serde(default)]
    pub subscription: Option<Subscription>,
    /// Roles in which it wants no offers.
    #[serde(default)]
    pub suppressed: BTreeSet<Role>,
    /// Rises with each REVIVE of a role; the allocator forgets the role's filters when it does.
    #[serde(default)]
    pub revived: BTreeMap<Role, u64>,
    /// Set by an operator, in the place of the one in `info`.
    #[serde(default)]
    pub priority: Option<i64>,
    /// Known from agents only; it has not subscribed since.
    #[serde(default)]
    pub recovered: bool,
    /// First subscribed.
    pub registered: Time,
    /// Last subscribed.
    pub reregistered: Time,
}

/// A status on its way to the framework.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingUpdate {
    /// The agent's number of it, per task.
    pub number: u64,
    /// The status.
    pub status: TaskStatus,
}

/// An order to end a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillOrder {
    /// Rises when the framework asks again (with a shorter grace).
    pub number: u64,
    /// The grace asked for; `None` is the task's own.
    pub grace_ms: Option<u64>,
}

/// A task, from the accepted launch to the acknowledged end that its agent has forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Whose.
    pub framework: FrameworkId,
    /// Chosen by the framework.
    pub task: TaskId,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// The launch that runs it.
    pub launch: LaunchId,
    /// Where.
    pub agent: AgentId,
    /// By which executor.
    pub executor: ExecutorId,
    /// In which role.
    pub role: Role,
    /// What it uses.
    pub resources: Resources,
    /// What is known of it, the latest.
    pub state: TaskState,
    /// The latest status, told to the framework or not.
    #[serde(default)]
    pub status: Option<TaskStatus>,
    /// The highest number of a status that was taken over from the agent.
    #[serde(default)]
    pub number: u64,
    /// Statuses that the framework has not acknowledged, oldest first; the first one is with it.
    #[serde(default)]
    pub pending: Vec<PendingUpdate>,
    /// The end was acknowledged; the row goes when the agent has forgotten the task.
    #[serde(default)]
    pub end_acknowledged: bool,
    /// The allocator's launch row was seen.
    #[serde(default)]
    pub launch_seen: bool,
    /// It is to be ended.
    #[serde(default)]
    pub kill: Option<KillOrder>,
    /// When it was accepted.
    pub created: Time,
    /// The trace it belongs to.
    #[serde(default)]
    pub trace: Option<Trace>,
}

/// Who an agent is, and whom it obeyed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentSelfRow {
    /// Given by the allocator; absent before the first registration.
    #[serde(default)]
    pub id: Option<AgentId>,
    /// Made at the first start in this work directory.
    pub instance: u128,
    /// The host's boot at the last start.
    #[serde(default)]
    pub boot: String,
    /// The highest term that it has heard of; it takes no order of a lower one.
    #[serde(default)]
    pub promised: Term,
    /// The highest term whose handshake was done.
    #[serde(default)]
    pub term: Term,
    /// The last order of that term that it took up.
    #[serde(default)]
    pub number: u64,
    /// What its options gave it at the last start.
    #[serde(default)]
    pub base: Resources,
    /// What operations have made of that: reservations and volumes. This is the truth about them.
    #[serde(default)]
    pub total: Resources,
    /// Port of its HTTP API at the last start: executors that run know no other.
    #[serde(default)]
    pub port: u32,
}

/// What stage a task is in, on its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskStage {
    /// Its files are fetched or its image is pulled.
    Preparing,
    /// Its container is being started.
    Starting,
    /// It runs.
    Running,
    /// It was asked to end.
    Killing,
    /// It is over; updates may be left.
    Ended,
}

/// A task on its agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentTask {
    /// Chosen by the framework.
    pub task: TaskId,
    /// What it may use.
    pub resources: Resources,
    /// The protobuf `TaskInfo`, as the framework wrote it.
    pub body: Bytes,
    /// What stage it is in.
    pub stage: TaskStage,
    /// The latest status, told or not.
    pub status: TaskStatus,
    /// Number of the latest status; the first one is 1.
    pub number: u64,
    /// Updates that the framework has not acknowledged, oldest first.
    #[serde(default)]
    pub pending: Vec<PendingUpdate>,
    /// It is to be ended.
    #[serde(default)]
    pub kill: Option<KillOrder>,
    /// It is ended to make room: for whom, in words.
    #[serde(default)]
    pub preempted: Option<String>,
    /// It is ended because its agent is drained.
    #[serde(default)]
    pub draining: bool,
    /// Its container; empty if the framework's own executor runs it.
    #[serde(default)]
    pub container: String,
    /// UUIDs of the updates that the framework's own executor has sent, oldest first: what it sends again is
    /// not told again.
    #[serde(default)]
    pub seen: Vec<u128>,
}

/// How far a framework's own executor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessStage {
    /// It is being started, or has not subscribed yet.
    Starting,
    /// It has subscribed, if perhaps not to this run of the agent.
    Subscribed,
    /// It was told to end.
    Ending,
    /// It is over.
    Ended,
}

/// A framework's own executor on its agent. It is part of the launch that it was started for; launches that
/// name the same executor later have none of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorProcess {
    /// Its container.
    pub container: String,
    /// How far it is.
    pub stage: ProcessStage,
    /// What it shows to be believed (`MESOS_EXECUTOR_AUTHENTICATION_TOKEN`).
    #[serde(default)]
    pub token: u128,
    /// Why the agent ends it, if it has a reason of its own, and that in words.
    #[serde(default)]
    pub why: Option<(Reason, String)>,
    /// How long it may take to end when it is told to, in milliseconds.
    #[serde(default)]
    pub grace_ms: u64,
}

impl ExecutorProcess {
    /// Whether it is there, or will be.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.stage != ProcessStage::Ended
    }
}

/// An executor on its agent, with its tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorRow {
    /// The launch that it is.
    pub launch: LaunchId,
    /// Whose.
    pub framework: FrameworkId,
    /// What is known of its framework.
    pub facts: FrameworkFacts,
    /// Its id.
    pub executor: ExecutorId,
    /// In which role.
    pub role: Role,
    /// Its own part of the resources.
    #[serde(default)]
    pub resources: Resources,
    /// The protobuf `ExecutorInfo`, if the framework gave one.
    #[serde(default)]
    pub body: Option<Bytes>,
    /// Its tasks.
    pub tasks: Vec<AgentTask>,
    /// When it was launched.
    pub time: Time,
    /// The trace it belongs to.
    #[serde(default)]
    pub trace: Option<Trace>,
    /// Who runs its tasks.
    #[serde(default)]
    pub kind: LaunchKind,
    /// The framework's own executor, if this launch started it.
    #[serde(default)]
    pub process: Option<ExecutorProcess>,
}

impl ExecutorRow {
    /// The framework's own executor, if this launch started it and it is not over.
    #[must_use]
    pub fn live_process(&self) -> Option<&ExecutorProcess> {
        self.process.as_ref().filter(|process| process.is_alive())
    }
}

/// A task that was submitted to the built-in launcher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRow {
    /// Chosen by the launcher: name and a number.
    pub task: TaskId,
    /// The submission; several tasks may share one.
    pub call: CallId,
    /// A protobuf `TaskInfo` without an agent.
    pub body: Bytes,
    /// What it needs.
    pub resources: Resources,
    /// Where it stands; `Staging` with `accepted` unset is waiting.
    pub state: TaskState,
    /// The agent it was given to.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// For people; its id is made of it.
    #[serde(default)]
    pub name: String,
    /// In which role; empty means `*`.
    #[serde(default)]
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
    /// Its last status in words.
    #[serde(default)]
    pub message: Option<String>,
    /// Its last status' reason.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// Exit code of its process, if it exited by itself.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// It is to be ended.
    #[serde(default)]
    pub kill: Option<KillOrder>,
    /// When it was submitted.
    pub time: Time,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<Time>,
    /// The trace it belongs to.
    #[serde(default)]
    pub trace: Option<Trace>,
}

/// The launcher's own subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LauncherSelfRow {
    /// Its framework id.
    #[serde(default)]
    pub framework: Option<FrameworkId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_form() {
        let keys = [
            RowKey::Agent("a-S1".into()),
            RowKey::Launch("l".into()),
            RowKey::Body("l".into()),
            RowKey::Framework("f".into()),
            RowKey::Task("f".into(), "t with spaces.and*stars".into()),
            RowKey::AgentSelf,
            RowKey::Executor("l".into()),
            RowKey::Role("a/b/c".into()),
            RowKey::Policy,
            RowKey::Module("m".into()),
            RowKey::Operation("o".into()),
            RowKey::Maintenance,
            RowKey::JoinToken("ab12".to_owned()),
            RowKey::Job("t".into()),
            RowKey::LauncherSelf,
            RowKey::Pool("p".into()),
            RowKey::Node("p-1".into()),
        ];
        for key in keys {
            assert_eq!(RowKey::parse(&key.text()), Some(key));
        }
        assert_eq!(RowKey::parse("novelty/1"), None);
    }
}

//! What the control plane and agents tell each other.

use bytes::Bytes;
use mesos_model::{
    AgentId, ExecutorId, FrameworkId, LaunchId, Resources, Role, TaskId, TaskState, TaskStatus, Term, Trace,
    attribute::Attribute,
};
use serde::{Deserialize, Serialize};

use super::Conversion;
use crate::{
    fnv::Fnv,
    row::{FrameworkFacts, LaunchKind},
};

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
    /// Rises with every report of an agent: how often its process was started, and how many reports it has made since.
    #[serde(default)]
    pub said: (u64, u64),
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

//! The agent's machine: the executors and tasks of one host, and the updates about them.
//!
//! The agent's own checkpoint is the truth about what runs. It obeys the highest term of an allocator that
//! it has seen, takes its orders up in their order, and writes the number down together with the effect.
//! Rows are synced before a container is touched and before anything is told.

use std::sync::Arc;

use bytes::Bytes;
use mesos_model::{
    ExecutorId, FrameworkId, LaunchId, Reason, Resources, TaskId, attribute::Attribute,
};

use crate::message::{AgentToAllocator, AgentToRegistry, ToAgent};

/// What an agent is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// All it has.
    pub total: Resources,
    /// What it says about itself.
    pub attributes: Vec<Attribute>,
    /// Region and zone.
    pub domain: Option<(String, String)>,
    /// Where it can be reached.
    pub hostname: String,
    /// Port of its own HTTP API.
    pub port: u32,
    /// The program's version.
    pub version: String,
    /// Changes when the host boots.
    pub boot: String,
    /// Its instance, if no row says otherwise.
    pub new_instance: u128,
    /// A protobuf `AgentInfo`.
    pub body: Bytes,
    /// How often it says that it lives, in milliseconds.
    pub beat_ms: u64,
}

/// What the machine must know of a task; the shell reads it out of the `TaskInfo`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFacts {
    /// The grace between asking and killing, unless an order says otherwise.
    pub grace_ms: u64,
    /// When and how to check its health.
    pub health: Option<HealthPlan>,
    /// It fails when it runs longer than this.
    pub max_completion_ms: Option<u64>,
    /// Why the
    /// task cannot be run here at all, as far as the shell can see.
    pub invalid: Option<String>,
}

/// When a health check runs, and what its failures mean (`docs/health-checks.md` of Mesos).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// Before the first one.
    pub delay_ms: u64,
    /// Between two.
    pub interval_ms: u64,
    /// Failures in this time after the start do not count, until the first success.
    pub grace_ms: u64,
    /// So many failures in a row end the task.
    pub failures_max: u32,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It used more memory than it may.
    pub out_of_memory: bool,
    /// What the runtime says.
    pub message: Option<String>,
}

/// Everything that can happen to an agent.
#[derive(Clone, Debug)]
pub enum Event {
    /// First of all, after the rows: what the containerizers found, and what the tasks in the rows want.
    Recovered {
        /// Containers that are there: name, and whether it runs. An ended one is told by `Exited` as well.
        containers: Vec<(String, bool)>,
        /// Facts of the tasks in the rows, by launch and in the order of its tasks.
        facts: Vec<(LaunchId, Vec<TaskFacts>)>,
    },
    /// From the allocator or the registry. `facts` are those of the tasks of all launches in `Orders`, in
    /// order; empty otherwise.
    Message {
        /// What.
        message: ToAgent,
        /// Facts of ordered tasks.
        facts: Vec<TaskFacts>,
    },
    /// The container runs.
    Started {
        /// Which.
        container: String,
        /// A protobuf `TaskStatus` with its `container_status`.
        body: Bytes,
    },
    /// It could not be started.
    Failed {
        /// Which.
        container: String,
        /// Why, in Mesos's terms.
        reason: Reason,
        /// Why, in words.
        message: String,
    },
    /// It ended.
    Exited {
        /// Which.
        container: String,
        /// How.
        ended: Ended,
    },
    /// The answer to `Output::Check`.
    Checked {
        /// Which.
        container: String,
        /// Healthy, or why not.
        outcome: Result<(), String>,
    },
    /// An executor's message to its framework.
    ExecutorMessage {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
        /// What.
        data: Bytes,
    },
    /// The bus is back: everything unanswered is sent again.
    BusBack,
}

/// Everything that an agent can have done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// To the allocator.
    Allocator(AgentToAllocator),
    /// To the registry.
    Registry(AgentToRegistry),
    /// Fetch what the task needs, make its sandbox, start its container; answered by `Started` or `Failed`.
    Launch(Arc<ContainerOrder>),
    /// Wait for a container that was found again; answered by `Exited`.
    Wait {
        /// Which.
        container: String,
    },
    /// End it. May come again with a shorter grace. A container that is still being prepared is not
    /// started: answered by `Exited` or `Failed` all the same.
    Kill {
        /// Which.
        container: String,
        /// Between asking and killing.
        grace_ms: u64,
    },
    /// Forget it (not its sandbox).
    Destroy {
        /// Which.
        container: String,
    },
    /// Run its health check once.
    Check {
        /// Which.
        container: String,
    },
    /// A framework's message to an executor.
    ToExecutor {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
        /// What.
        data: Bytes,
    },
    /// The agent has its id: listen for it.
    Admitted {
        /// The id.
        agent: mesos_model::AgentId,
    },
    /// The agent is not admitted, and the process should end once nothing is left to do.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// What is needed to start a task's container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerOrder {
    /// Its name: a plain file name, the same whenever it is asked for.
    pub container: String,
    /// By which launch.
    pub launch: LaunchId,
    /// Whose.
    pub framework: FrameworkId,
    /// The user that it runs as, unless the task says otherwise; may be empty.
    pub user: String,
    /// By which executor.
    pub executor: ExecutorId,
    /// Which task.
    pub task: TaskId,
    /// What it may use, with its part of the executor's.
    pub resources: Resources,
    /// The protobuf `TaskInfo`.
    pub body: Bytes,
    /// The trace it belongs to.
    pub trace: Option<mesos_model::Trace>,
}

// The machine itself: `pub struct Agent` with `Agent::new(Options)` and `impl Machine for Agent` (no peer).
// It also gives the shell for traces `Agent::trace`, and for tests and the HTTP API read access to its rows.

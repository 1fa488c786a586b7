//! Task states, where a status comes from and why, and the status itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{AgentId, ExecutorId, TaskId, Time};

/// The states of Mesos v1 (`TaskState`), with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(i32)]
pub enum TaskState {
    /// Accepted, not yet taken up by an executor.
    Staging = 6,
    /// The executor is getting it ready.
    Starting = 0,
    /// It runs.
    Running = 1,
    /// It was asked to end.
    Killing = 8,
    /// Ended by itself with success.
    Finished = 2,
    /// Ended by itself without success.
    Failed = 3,
    /// Ended because it was asked to.
    Killed = 4,
    /// Its description is invalid.
    Error = 7,
    /// Lost before it ran, or unknown where; for frameworks that are not partition-aware.
    Lost = 5,
    /// Never ran.
    Dropped = 9,
    /// Its agent cannot be reached; it may come back.
    Unreachable = 10,
    /// Its agent says that it is not there.
    Gone = 11,
    /// An operator says that its agent will not come back.
    GoneByOperator = 12,
    /// Nobody knows it.
    Unknown = 13,
}

impl TaskState {
    /// All states.
    pub const ALL: [TaskState; 14] = [
        TaskState::Staging,
        TaskState::Starting,
        TaskState::Running,
        TaskState::Killing,
        TaskState::Finished,
        TaskState::Failed,
        TaskState::Killed,
        TaskState::Error,
        TaskState::Lost,
        TaskState::Dropped,
        TaskState::Unreachable,
        TaskState::Gone,
        TaskState::GoneByOperator,
        TaskState::Unknown,
    ];

    /// Whether nothing more will come. `Lost`, `Unreachable`, `GoneByOperator` and `Unknown` are no end:
    /// the task may run on where nobody sees it. Inside, a task that never ran is `Dropped`, which is an
    /// end; frameworks that are not partition-aware are told `Lost` instead.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            TaskState::Finished
                | TaskState::Failed
                | TaskState::Killed
                | TaskState::Error
                | TaskState::Dropped
                | TaskState::Gone
        )
    }

    /// Mesos's number.
    #[must_use]
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The state of a number of Mesos.
    #[must_use]
    pub fn from_number(number: i32) -> Option<TaskState> {
        TaskState::ALL.into_iter().find(|state| state.number() == number)
    }

    /// `TASK_RUNNING` and so on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TaskState::Staging => "TASK_STAGING",
            TaskState::Starting => "TASK_STARTING",
            TaskState::Running => "TASK_RUNNING",
            TaskState::Killing => "TASK_KILLING",
            TaskState::Finished => "TASK_FINISHED",
            TaskState::Failed => "TASK_FAILED",
            TaskState::Killed => "TASK_KILLED",
            TaskState::Error => "TASK_ERROR",
            TaskState::Lost => "TASK_LOST",
            TaskState::Dropped => "TASK_DROPPED",
            TaskState::Unreachable => "TASK_UNREACHABLE",
            TaskState::Gone => "TASK_GONE",
            TaskState::GoneByOperator => "TASK_GONE_BY_OPERATOR",
            TaskState::Unknown => "TASK_UNKNOWN",
        }
    }

    /// What a framework that is not partition-aware is told instead (`protobuf::createStatusUpdate` callers in Mesos's master).
    #[must_use]
    pub fn for_framework(self, partition_aware: bool) -> TaskState {
        match self {
            TaskState::Dropped
            | TaskState::Unreachable
            | TaskState::Gone
            | TaskState::GoneByOperator
            | TaskState::Unknown
                if !partition_aware =>
            {
                TaskState::Lost
            }
            state => state,
        }
    }
}

/// Who made a status (`TaskStatus.Source`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i32)]
pub enum Source {
    /// The control plane.
    Master = 0,
    /// The agent.
    Agent = 1,
    /// The executor.
    Executor = 2,
}

/// Why (`TaskStatus.Reason`), by Mesos's number; unknown ones travel as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(pub i32);

macro_rules! reasons {
    ($($name:ident = $number:literal $text:literal,)*) => {
        impl Reason {
            $(#[doc = $text] pub const $name: Reason = Reason($number);)*

            /// `REASON_COMMAND_EXECUTOR_FAILED` and so on; `None` for numbers that Mesos does not have.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    COMMAND_EXECUTOR_FAILED = 0 "REASON_COMMAND_EXECUTOR_FAILED",
    CONTAINER_LAUNCH_FAILED = 21 "REASON_CONTAINER_LAUNCH_FAILED",
    CONTAINER_LIMITATION = 19 "REASON_CONTAINER_LIMITATION",
    CONTAINER_LIMITATION_DISK = 20 "REASON_CONTAINER_LIMITATION_DISK",
    CONTAINER_LIMITATION_MEMORY = 8 "REASON_CONTAINER_LIMITATION_MEMORY",
    CONTAINER_PREEMPTED = 17 "REASON_CONTAINER_PREEMPTED",
    CONTAINER_UPDATE_FAILED = 22 "REASON_CONTAINER_UPDATE_FAILED",
    MAX_COMPLETION_TIME_REACHED = 33 "REASON_MAX_COMPLETION_TIME_REACHED",
    EXECUTOR_REGISTRATION_TIMEOUT = 23 "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
    EXECUTOR_REREGISTRATION_TIMEOUT = 24 "REASON_EXECUTOR_REREGISTRATION_TIMEOUT",
    EXECUTOR_TERMINATED = 1 "REASON_EXECUTOR_TERMINATED",
    EXECUTOR_UNREGISTERED = 2 "REASON_EXECUTOR_UNREGISTERED",
    FRAMEWORK_REMOVED = 3 "REASON_FRAMEWORK_REMOVED",
    GC_ERROR = 4 "REASON_GC_ERROR",
    INVALID_FRAMEWORKID = 5 "REASON_INVALID_FRAMEWORKID",
    INVALID_OFFERS = 6 "REASON_INVALID_OFFERS",
    IO_SWITCHBOARD_EXITED = 27 "REASON_IO_SWITCHBOARD_EXITED",
    MASTER_DISCONNECTED = 7 "REASON_MASTER_DISCONNECTED",
    RECONCILIATION = 9 "REASON_RECONCILIATION",
    RESOURCES_UNKNOWN = 18 "REASON_RESOURCES_UNKNOWN",
    AGENT_DISCONNECTED = 10 "REASON_AGENT_DISCONNECTED",
    AGENT_DRAINING = 34 "REASON_AGENT_DRAINING",
    AGENT_REMOVED = 11 "REASON_AGENT_REMOVED",
    AGENT_REMOVED_BY_OPERATOR = 31 "REASON_AGENT_REMOVED_BY_OPERATOR",
    AGENT_REREGISTERED = 32 "REASON_AGENT_REREGISTERED",
    AGENT_RESTARTED = 12 "REASON_AGENT_RESTARTED",
    AGENT_UNKNOWN = 13 "REASON_AGENT_UNKNOWN",
    TASK_KILLED_DURING_LAUNCH = 30 "REASON_TASK_KILLED_DURING_LAUNCH",
    TASK_CHECK_STATUS_UPDATED = 28 "REASON_TASK_CHECK_STATUS_UPDATED",
    TASK_HEALTH_CHECK_STATUS_UPDATED = 29 "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED",
    TASK_GROUP_INVALID = 25 "REASON_TASK_GROUP_INVALID",
    TASK_GROUP_UNAUTHORIZED = 26 "REASON_TASK_GROUP_UNAUTHORIZED",
    TASK_INVALID = 14 "REASON_TASK_INVALID",
    TASK_UNAUTHORIZED = 15 "REASON_TASK_UNAUTHORIZED",
    TASK_UNKNOWN = 16 "REASON_TASK_UNKNOWN",
}

/// A status of a task: the facts that machines decide on, and beside them the client's or executor's own
/// protobuf bytes, so that nothing of them is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Whose.
    pub task: TaskId,
    /// Which state.
    pub state: TaskState,
    /// Who made it.
    pub source: Source,
    /// Why.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// In words.
    #[serde(default)]
    pub message: Option<String>,
    /// Where, if known.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// By which executor, if known.
    #[serde(default)]
    pub executor: Option<ExecutorId>,
    /// When.
    pub time: Time,
    /// To be acknowledged with this; statuses without one are told once.
    #[serde(default)]
    pub uuid: Option<u128>,
    /// What the health check says.
    #[serde(default)]
    pub healthy: Option<bool>,
    /// Exit code of its process, if it exited by itself.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// When its agent was last seen, for `Unreachable`.
    #[serde(default)]
    pub unreachable: Option<Time>,
    /// A protobuf `TaskStatus` with everything else (container status, data, labels, check status); may be
    /// empty. The facts above win over what it says.
    #[serde(default)]
    pub body: Bytes,
}

impl TaskStatus {
    /// A status with nothing but the necessary.
    #[must_use]
    pub fn new(task: TaskId, state: TaskState, source: Source, time: Time) -> TaskStatus {
        TaskStatus {
            task,
            state,
            source,
            reason: None,
            message: None,
            agent: None,
            executor: None,
            time,
            uuid: None,
            healthy: None,
            exit_code: None,
            unreachable: None,
            body: Bytes::new(),
        }
    }

    /// Whether the task is over with this.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.state.is_terminal()
    }

    /// With a reason and a message.
    #[must_use]
    pub fn because(mut self, reason: Reason, message: impl Into<String>) -> TaskStatus {
        self.reason = Some(reason);
        self.message = Some(message.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_its_number() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::from_number(state.number()), Some(state));
        }
        assert_eq!(TaskState::from_number(14), None);
    }

    #[test]
    fn only_partition_aware_frameworks_hear_of_partitions() {
        for state in TaskState::ALL {
            assert_eq!(state.for_framework(true), state);
            assert!(matches!(state.for_framework(false).number(), 0..=8));
        }
    }
}

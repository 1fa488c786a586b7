//! What is asked of the launcher, the built-in framework behind `mesos launch`.

use bytes::Bytes;
use mesos_model::{AgentId, Resources, Role, TaskId, TaskState, attribute::Attribute};
use serde::{Deserialize, Serialize};

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

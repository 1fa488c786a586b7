//! What is asked of the service that keeps node pools.

use mesos_model::{AgentId, Resources, Time};
use serde::{Deserialize, Serialize};

use crate::row::NodeState;

/// What is asked of it. It answers with [`Pools`](super::AnswerBody::Pools) or
/// [`Resized`](super::AnswerBody::Resized).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PoolsCall {
    /// All pools with their nodes.
    List,
    /// More nodes.
    Add {
        /// In which pool; absent is the only one.
        pool: Option<String>,
        /// How many.
        count: u32,
        /// What each is to have; empty is what its pool gives.
        resources: Resources,
    },
    /// Fewer nodes: their tasks are ended first.
    Remove {
        /// Of which pool; absent is that of the named nodes, or the only one.
        pool: Option<String>,
        /// Which: by name, or by their agents' ids or hostnames. If none is named, those that do least go.
        nodes: Vec<String>,
        /// How many, if none is named.
        count: u32,
        /// The longest time that a task gets to end; absent is each task's own.
        grace_ms: Option<u64>,
        /// At once: whatever runs there is over.
        force: bool,
    },
    /// Another size, or whether it has one of its own.
    Set {
        /// Which pool.
        pool: String,
        /// How many nodes it is to have.
        size: Option<u32>,
        /// Whether it grows and shrinks by itself.
        auto: Option<bool>,
    },
}

/// A pool, to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub pool: String,
    /// `local`, `exec` or `aws`; empty for one that the file of pools does not have any more.
    pub kind: String,
    /// How many nodes it is to have.
    pub size: u32,
    /// Never fewer, if it grows and shrinks by itself.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// Whether it grows and shrinks by itself.
    pub auto: bool,
    /// What a node has if nobody says otherwise.
    pub resources: Resources,
    /// What it did last by itself, or why it does nothing, in words.
    pub note: String,
    /// What does not work at the moment, in words; empty if all does.
    pub trouble: String,
    /// Its nodes.
    pub nodes: Vec<NodeView>,
}

/// A node, to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub node: String,
    /// How far it is.
    pub state: NodeState,
    /// Since when.
    pub since: Time,
    /// What it has, or is to have.
    pub resources: Resources,
    /// Of that, what its tasks hold.
    pub allocated: Resources,
    /// What whoever made its host calls it.
    pub place: Option<String>,
    /// The host's name.
    pub hostname: Option<String>,
    /// Its agent.
    pub agent: Option<AgentId>,
    /// What does not work at the moment, in words; empty if all does.
    pub trouble: String,
}

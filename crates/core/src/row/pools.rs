//! Rows of the service that keeps node pools.

use mesos_model::{AgentId, CallId, Resources, Time};
use serde::{Deserialize, Serialize};

/// What is kept of a pool beside its definition, which is in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolRow {
    /// Its name.
    pub pool: String,
    /// How many nodes it is to have, where the nodes themselves come by another hand (an Auto Scaling group);
    /// elsewhere each wanted node has its row, and their number is the size.
    #[serde(default)]
    pub size: Option<u32>,
    /// That other hand has not been seen to know the size yet.
    #[serde(default)]
    pub owed: bool,
    /// Whether it grows and shrinks by itself, if an operator has said so.
    #[serde(default)]
    pub auto: Option<bool>,
    /// The number of the next node.
    #[serde(default)]
    pub next: u64,
    /// When its size was last changed, by whomever.
    #[serde(default)]
    pub changed: Time,
    /// Calls that changed it lately, oldest first: a repeat is answered as the first was.
    #[serde(default)]
    pub calls: Vec<PoolCall>,
}

/// A call that changed a pool, and what it was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolCall {
    /// The call.
    pub call: CallId,
    /// When.
    pub time: Time,
    /// The nodes that it added or took out.
    pub nodes: Vec<String>,
    /// The size that it left.
    pub size: u32,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeState {
    /// Its host is being made.
    Adding,
    /// Its host is there; its agent has not registered yet.
    Joining,
    /// Its agent has registered.
    Up,
    /// It is offered no more, to see whether it is idle; if so it leaves, if not it stays.
    Checking,
    /// Its tasks are being ended.
    Draining,
    /// Its agent is gone, and its host is being taken away.
    Removing,
}

impl NodeState {
    /// It counts towards the size of its pool.
    #[must_use]
    pub fn is_wanted(self) -> bool {
        self < NodeState::Draining
    }

    /// In one lower-case word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NodeState::Adding => "adding",
            NodeState::Joining => "joining",
            NodeState::Up => "up",
            NodeState::Checking => "checking",
            NodeState::Draining => "draining",
            NodeState::Removing => "removing",
        }
    }
}

/// A node of a pool: a host with one agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its name, which its agent has as the attribute `node`.
    pub node: String,
    /// In which pool.
    pub pool: String,
    /// How far it is.
    pub state: NodeState,
    /// Since when.
    pub since: Time,
    /// When it was first wanted.
    pub created: Time,
    /// What its agent is to offer; empty if nobody said.
    #[serde(default)]
    pub resources: Resources,
    /// What whoever made the host calls it: an instance id, a script's own words.
    #[serde(default)]
    pub place: Option<String>,
    /// The host's name, if whoever made it said so.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Its agent, once that has registered.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// The longest time that its tasks get to end, in milliseconds, if whoever removes it said so.
    #[serde(default)]
    pub grace_ms: Option<u64>,
    /// It goes without a drain.
    #[serde(default)]
    pub force: bool,
}

//! What the engine answers to "why does this wait?" and "what if?".

use mesos_model::{AgentId, FrameworkId, Resources, Role, attribute::Attribute};
use serde::{Deserialize, Serialize};

use crate::facts::{Amounts, PolicyName};

/// What is to be explained: a framework in a role and what it would like to have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Which framework; `None` explains the role as a whole.
    pub framework: Option<FrameworkId>,
    /// In which role; `None` is the framework's first one.
    pub role: Option<Role>,
    /// Name of one of the framework's requests; then `resources` and `count` are that one's.
    pub request: Option<String>,
    /// What one task needs; `None` is the smallest offer that the framework takes.
    pub resources: Option<Resources>,
    /// How many such tasks; 0 is 1.
    pub count: u32,
    /// As if the framework had just revived: what it refused a while ago does not count. For a framework that
    /// revives by itself when it wants something else, as the built-in one does.
    pub fresh: bool,
}

/// A change of the cluster, supposed and tried on a copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// So many more agents, like one that is there or of these resources.
    AddAgents {
        /// How many.
        count: u32,
        /// Like this one, empty.
        like: Option<AgentId>,
        /// If `like` is not given: what each has.
        total: Option<Resources>,
        /// If `like` is not given: what each says of itself.
        #[serde(default)]
        attributes: Vec<Attribute>,
    },
    /// An agent goes, and what runs on it.
    RemoveAgent(AgentId),
    /// A role's weight, in thousandths.
    Weight {
        /// Which role.
        role: Role,
        /// The new weight.
        weight: u64,
    },
    /// A role's limit, as a whole.
    Limit {
        /// Which role.
        role: Role,
        /// The new limit.
        limit: Amounts,
    },
    /// A role's guarantee, as a whole.
    Guarantee {
        /// Which role.
        role: Role,
        /// The new guarantee.
        guarantee: Amounts,
    },
    /// Another built-in policy.
    Policy(PolicyName),
    /// The framework asks for less of one resource.
    Less {
        /// Of which.
        name: String,
        /// The new amount for one task, in thousandths.
        amount: i64,
    },
    /// The framework drops one of its constraints on agents, by its number (group, constraint).
    DropConstraint {
        /// Which group, from 0.
        group: u32,
        /// Which constraint of it, from 0.
        constraint: u32,
    },
    /// The framework forgets that it refused something.
    DropFilters {
        /// On which agent; `None` is all.
        agent: Option<AgentId>,
    },
    /// The framework says that it can take what it has not said yet: a capability's name in Mesos.
    Capability(String),
    /// The framework takes smaller offers.
    DropMinimum,
    /// The framework revives the role.
    Revive,
    /// A reservation of this role on agents is undone.
    DropReservations(Role),
}

/// Why an agent, or a whole role, gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The framework's stream is not open.
    NotConnected,
    /// The role is suppressed.
    Suppressed,
    /// The agent is not there: unreachable, deactivated, not shaken hands yet.
    AgentAway,
    /// The whole agent has less than one task needs.
    TooSmall,
    /// The agent has GPUs, and the framework does not know of them.
    Gpus,
    /// The agent is in another region.
    Region,
    /// A constraint of the framework.
    Constraint,
    /// Tasks hold too much of it.
    InUse,
    /// Other frameworks sit on offers of it.
    Offered,
    /// It is held for a waiting need.
    Held,
    /// What is free is reserved for other roles.
    Reserved,
    /// What is free is of a kind that the framework has not said it takes: revocable, shared, refined.
    Unfit,
    /// A limit of the role or of one above it.
    Limit,
    /// What is free is kept for guarantees of other roles.
    Headroom,
    /// Below the smallest offer.
    Minimum,
    /// The framework refused it a while ago.
    Filter,
    /// It is somebody else's turn.
    Turn,
    /// Nothing binds: the next offers have it.
    Nothing,
}

/// One reason, and on how many agents it is the one that binds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocker {
    /// Which.
    pub why: Why,
    /// In words, with figures.
    pub detail: String,
    /// On how many agents; 0 if it is not about agents.
    pub agents: u32,
    /// Some of them.
    pub examples: Vec<AgentId>,
}

/// A place in the order of turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Which framework.
    pub framework: FrameworkId,
    /// In which role.
    pub role: Role,
    /// Its dominant share, in parts per million of the cluster.
    pub share_ppm: u64,
    /// The weight of its role, in thousandths.
    pub weight: u64,
    /// Its priority.
    pub priority: i64,
}

/// One smallest change that places the demand, found by trying it on a copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remedy {
    /// The change.
    pub change: Change,
    /// In words.
    pub text: String,
}

/// Why something waits, and what would help.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Of which framework, if of one.
    pub framework: Option<FrameworkId>,
    /// In which role.
    pub role: Role,
    /// What one task needs.
    pub demand: Resources,
    /// How many such tasks.
    pub count: u32,
    /// How many of them the next offers have room for, once all open offers are back.
    pub placeable: u32,
    /// In one sentence.
    pub summary: String,
    /// What binds, the one on most agents first.
    pub blockers: Vec<Blocker>,
    /// Whose turn is before and at this framework's, in order; at most ten.
    pub turns: Vec<Turn>,
    /// The smallest change of each kind that places all of it.
    pub remedies: Vec<Remedy>,
}

/// What would be, after some changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// Of the demand that was asked about: before.
    pub before: Explanation,
    /// The same after the changes.
    pub after: Explanation,
    /// Shares of all roles with frameworks, before and after, if all open offers came back and were made anew.
    pub roles: Vec<RoleOutcome>,
}

/// A role before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleOutcome {
    /// Which.
    pub role: Role,
    /// What it would have, offered and allocated: before.
    pub before: Amounts,
    /// After.
    pub after: Amounts,
}

//! What operators ask of the allocator, and what they are shown.

use bytes::Bytes;
use mesos_model::{AgentId, FrameworkId, Resources, Role};
use serde::{Deserialize, Serialize};

use super::{Amounts, Change, MachineId, Placement, PolicyName, Query, Window};

/// Some resources of an agent become others: a reservation or a volume comes or goes. The gateway has read
/// what the client wrote; what is true of the cluster is the machine's to check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// The operation's Mesos name, for example `RESERVE`.
    pub name: String,
    /// What goes.
    pub consumed: Resources,
    /// What comes in its place.
    pub converted: Resources,
}

impl Conversion {
    /// A bundle after it: without what goes, as far as it is there, and with what comes.
    #[must_use]
    pub fn applied_to(&self, bundle: &Resources) -> Resources {
        bundle.minus(&self.consumed).plus(&self.converted)
    }
}

/// What an operator asks of the allocator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OperatorCall {
    /// UPDATE_WEIGHTS: weights of roles, in thousandths.
    UpdateWeights(Vec<(Role, u64)>),
    /// UPDATE_QUOTA: all or none.
    UpdateQuota {
        /// Also if more is used already than the limit, or the guarantees are more than there is.
        force: bool,
        /// Per role, as a whole: what is not named is not limited or guaranteed any more.
        quotas: Vec<Quota>,
    },
    /// Which agents roles are offered first; `None` is as their parent has it.
    SetPlacement(Role, Option<Placement>),
    /// Another policy. A module that is not loaded yet comes with it.
    SetPolicy {
        /// Which.
        policy: PolicyName,
        /// The module's bytes, kept in the store under that name.
        module: Option<Bytes>,
    },
    /// Uploads a module, to be chosen later.
    LoadPolicy {
        /// Its name.
        name: String,
        /// The module's bytes, kept in the store.
        module: Bytes,
    },
    /// RESERVE_RESOURCES, CREATE_VOLUMES and so on: done with what is free, after taking offers back.
    Convert {
        /// On which agent.
        agent: AgentId,
        /// What.
        conversion: Conversion,
    },
    /// DRAIN_AGENT: no more offers of it, its tasks are ended, and then it is drained.
    Drain {
        /// Which agent.
        agent: AgentId,
        /// The longest grace that a task gets; `None` is each task's own.
        max_grace_ms: Option<u64>,
        /// Once it is drained it is gone.
        mark_gone: bool,
    },
    /// DEACTIVATE_AGENT: no more offers of it; its tasks go on.
    Deactivate(AgentId),
    /// REACTIVATE_AGENT.
    Reactivate(AgentId),
    /// MARK_AGENT_GONE: it will not come back, and its id is never admitted again.
    MarkGone(AgentId),
    /// A one-time token with which an agent may join, of which nobody stores more than the hash.
    AddJoinToken {
        /// SHA-256 in hex.
        hash: String,
        /// How long it is good for.
        ttl_ms: u64,
    },
    /// An agent joins, as its gateway has read it: [`AnswerBody::Joined`].
    Join(Join),
    /// What maintenance is planned: [`AnswerBody::Maintenance`].
    GetMaintenance,
    /// UPDATE_MAINTENANCE_SCHEDULE, as a whole.
    SetSchedule(Vec<Window>),
    /// START_MAINTENANCE: these machines are down now.
    StartMaintenance(Vec<MachineId>),
    /// STOP_MAINTENANCE: these machines are up again, and out of the schedule.
    StopMaintenance(Vec<MachineId>),
    /// The policy in force: [`AnswerBody::Policy`].
    GetPolicy,
    /// The roles: [`AnswerBody::Roles`].
    GetRoles,
    /// What waits for room: [`AnswerBody::Needs`].
    GetNeeds,
    /// What frameworks have asked for and still want: [`AnswerBody::Requests`].
    GetRequests,
    /// Why something waits: [`AnswerBody::Explanation`].
    Explain(Query),
    /// The same after some changes: [`AnswerBody::WhatIf`].
    WhatIf {
        /// What is supposed, in order.
        changes: Vec<Change>,
        /// What is asked about.
        query: Query,
    },
}

/// An agent joins with a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// The token's SHA-256 in hex.
    pub hash: String,
    /// The raw key that the agent has shown to be its own, in hex.
    pub key: String,
    /// Its instance, as it reports it.
    pub instance: u128,
    /// The id that it has already, if it has one.
    pub agent: Option<AgentId>,
}

/// What a framework has asked for with REQUEST and still wants, whether room is gathered for it or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestView {
    /// Who.
    pub framework: FrameworkId,
    /// In which role.
    pub role: Role,
    /// For one task.
    pub resources: Resources,
    /// How many such tasks.
    pub count: u32,
}

/// A role's quota.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// Which role.
    pub role: Role,
    /// What it is to have before others get more.
    pub guarantee: Amounts,
    /// What it may have at most.
    pub limit: Amounts,
}

/// A role, to look at. Amounts are in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoleView {
    /// Which.
    pub role: Role,
    /// In thousandths.
    pub weight: u64,
    /// What it is to have before others get more.
    pub guarantee: Amounts,
    /// What it may have at most.
    pub limit: Amounts,
    /// What counts against the limit: reservations, and what is offered or allocated apart from them.
    pub consumed: Amounts,
    /// What is reserved for it and those below it.
    pub reserved: Amounts,
    /// What its tasks hold.
    pub allocated: Amounts,
    /// What its frameworks sit on.
    pub offered: Amounts,
    /// Dominant share, not divided by weight, in parts per million of the cluster.
    pub share_ppm: u64,
    /// Which agents it is offered first, as set for the role itself.
    pub placement: Option<Placement>,
    /// Frameworks in exactly this role.
    pub frameworks: Vec<FrameworkId>,
}

/// The policy in force, to look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Which.
    pub policy: PolicyName,
    /// Modules that are loaded and could be chosen.
    pub modules: Vec<String>,
    /// Why the policy that was chosen last is not the one in force, if it is not.
    pub trouble: Option<String>,
}

//! From the machines' types to the contract's messages.

use std::collections::HashMap;

use mesos_core::message::{Amounts, Change, Explanation, NeedView, PolicyView, RequestView, RoleView, WhatIf};
use mesos_engine::{
    explanation::{Blocker, RoleOutcome, Turn, Why},
    facts::WEIGHT_DEFAULT,
};
use mesos_model::{Resources, Role};
use mesos_proto::{
    services::v1::{self, change},
    v1 as mesos,
};

use crate::translate::{
    self,
    resources::{Form, amount, to_proto},
};

/// Amounts by name.
#[must_use]
pub fn amounts(amounts: &Amounts) -> HashMap<String, f64> {
    amounts.iter().map(|(name, milli)| (name.to_string(), amount(*milli))).collect()
}

fn resources(resources: &Resources) -> Vec<mesos::Resource> {
    to_proto(resources, Form { allocated_to: None, refined: true })
}

/// A weight as a number.
#[must_use]
pub fn weight(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

fn share(ppm: u64) -> f64 {
    ppm as f64 / 1e6
}

/// The policy in force.
#[must_use]
pub fn policy(view: PolicyView) -> v1::PolicyView {
    v1::PolicyView { policy: view.policy.to_string(), modules: view.modules, trouble: view.trouble }
}

/// A role.
#[must_use]
pub fn role(view: RoleView) -> v1::RoleView {
    v1::RoleView {
        role: view.role.as_str().to_owned(),
        weight: weight(view.weight),
        guarantee: amounts(&view.guarantee),
        limit: amounts(&view.limit),
        consumed: amounts(&view.consumed),
        reserved: amounts(&view.reserved),
        allocated: amounts(&view.allocated),
        offered: amounts(&view.offered),
        share: share(view.share_ppm),
        placement: view.placement.map(|placement| placement.name().to_owned()),
        framework_ids: view.frameworks.iter().map(translate::framework_id).collect(),
    }
}

/// Whether an operator has given the role a weight. One who set the default set what everybody has.
#[must_use]
pub fn has_weight(view: &RoleView) -> bool {
    view.weight != WEIGHT_DEFAULT
}

/// Whether the role has a quota.
#[must_use]
pub fn has_quota(view: &RoleView) -> bool {
    !view.guarantee.is_empty() || !view.limit.is_empty()
}

/// All quotas, in the present and in the old form.
#[must_use]
pub fn quota_status(roles: &[RoleView]) -> mesos::quota::QuotaStatus {
    let scalars = |amounts: &Amounts| {
        amounts.iter().map(|(name, milli)| (name.to_string(), mesos::value::Scalar { value: amount(*milli) })).collect()
    };
    let with_quota = || roles.iter().filter(|view| has_quota(view));
    mesos::quota::QuotaStatus {
        infos: with_quota()
            .filter(|view| !view.guarantee.is_empty())
            .map(|view| mesos::quota::QuotaInfo {
                role: Some(view.role.as_str().to_owned()),
                principal: None,
                guarantee: resources(&scalar_resources(&view.guarantee)),
            })
            .collect(),
        configs: with_quota()
            .map(|view| mesos::quota::QuotaConfig {
                role: view.role.as_str().to_owned(),
                guarantees: scalars(&view.guarantee),
                limits: scalars(&view.limit),
            })
            .collect(),
    }
}

/// Amounts as resources.
#[must_use]
pub fn scalar_resources(amounts: &Amounts) -> Resources {
    let pairs: Vec<(&str, i64)> = amounts.iter().map(|(name, milli)| (&**name, *milli)).collect();
    Resources::of(&pairs)
}

/// What a role has: offered and allocated.
#[must_use]
pub fn offered_and_allocated(view: &RoleView) -> Resources {
    scalar_resources(&view.allocated).plus(&scalar_resources(&view.offered))
}

/// A role as the operator API has it.
#[must_use]
pub fn mesos_role(view: &RoleView) -> mesos::Role {
    mesos::Role {
        name: view.role.as_str().to_owned(),
        weight: weight(view.weight),
        frameworks: view.frameworks.iter().map(translate::framework_id).collect(),
        resources: resources(&offered_and_allocated(view)),
    }
}

/// A weight as the operator API has it.
#[must_use]
pub fn weight_info(view: &RoleView) -> mesos::WeightInfo {
    mesos::WeightInfo { weight: weight(view.weight), role: Some(view.role.as_str().to_owned()) }
}

/// A request that waits.
#[must_use]
pub fn need(view: &NeedView) -> v1::NeedView {
    v1::NeedView {
        framework_id: Some(translate::framework_id(&view.framework)),
        role: view.role.as_str().to_owned(),
        name: view.name.clone(),
        resources: resources(&view.resources),
        count: view.count,
        gathered: view.gathered,
        held: view
            .held
            .iter()
            .map(|(agent, held)| v1::HeldResources {
                agent_id: Some(translate::agent_id(agent)),
                resources: resources(held),
            })
            .collect(),
        deadline_ms: view.deadline.0,
        waits_for: view.waits_for.clone(),
    }
}

/// What a framework has asked for and still wants.
#[must_use]
pub fn request(view: &RequestView) -> v1::RequestView {
    v1::RequestView {
        framework_id: Some(translate::framework_id(&view.framework)),
        role: view.role.as_str().to_owned(),
        resources: resources(&view.resources),
        count: view.count,
    }
}

/// Its name on the wire, which is the one that the core writes too.
#[must_use]
pub fn why(why: Why) -> &'static str {
    match why {
        Why::NotConnected => "not_connected",
        Why::Suppressed => "suppressed",
        Why::AgentAway => "agent_away",
        Why::TooSmall => "too_small",
        Why::Gpus => "gpus",
        Why::Region => "region",
        Why::Constraint => "constraint",
        Why::InUse => "in_use",
        Why::Offered => "offered",
        Why::Held => "held",
        Why::Reserved => "reserved",
        Why::Unfit => "unfit",
        Why::Limit => "limit",
        Why::Headroom => "headroom",
        Why::Minimum => "minimum",
        Why::Filter => "filter",
        Why::Turn => "turn",
        Why::Nothing => "nothing",
    }
}

fn blocker(blocker: &Blocker) -> v1::Blocker {
    v1::Blocker {
        why: why(blocker.why).to_owned(),
        detail: blocker.detail.clone(),
        agents: blocker.agents,
        examples: blocker.examples.iter().map(translate::agent_id).collect(),
    }
}

fn turn(turn: &Turn) -> v1::Turn {
    v1::Turn {
        framework_id: Some(translate::framework_id(&turn.framework)),
        role: turn.role.as_str().to_owned(),
        share: share(turn.share_ppm),
        weight: weight(turn.weight),
        priority: turn.priority,
    }
}

/// Why something waits.
#[must_use]
pub fn explanation(explanation: &Explanation) -> v1::Explanation {
    v1::Explanation {
        framework_id: explanation.framework.as_ref().map(translate::framework_id),
        role: explanation.role.as_str().to_owned(),
        demand: resources(&explanation.demand),
        count: explanation.count,
        placeable: explanation.placeable,
        summary: explanation.summary.clone(),
        blockers: explanation.blockers.iter().map(blocker).collect(),
        turns: explanation.turns.iter().map(turn).collect(),
        remedies: explanation
            .remedies
            .iter()
            .map(|remedy| v1::Remedy { change: Some(change(&remedy.change)), text: remedy.text.clone() })
            .collect(),
    }
}

/// What would be.
#[must_use]
pub fn what_if(outcome: &WhatIf) -> v1::WhatIfResponse {
    let role = |outcome: &RoleOutcome| v1::RoleOutcome {
        role: outcome.role.as_str().to_owned(),
        before: amounts(&outcome.before),
        after: amounts(&outcome.after),
    };
    v1::WhatIfResponse {
        before: Some(explanation(&outcome.before)),
        after: Some(explanation(&outcome.after)),
        roles: outcome.roles.iter().map(role).collect(),
    }
}

/// A supposed change.
#[must_use]
pub fn change(change: &Change) -> v1::Change {
    use change::{AddAgents, Change as Written, DropConstraint, DropFilters, Less, Nothing, RoleAmounts};
    let of_role =
        |role: &Role, given: &Amounts| RoleAmounts { role: role.as_str().to_owned(), amounts: amounts(given) };
    let written = match change {
        Change::AddAgents { count, like, total, attributes } => Written::AddAgents(AddAgents {
            count: *count,
            like: like.as_ref().map(translate::agent_id),
            total: total.as_ref().map(resources).unwrap_or_default(),
            attributes: translate::attributes(attributes),
        }),
        Change::RemoveAgent(agent) => Written::RemoveAgent(translate::agent_id(agent)),
        Change::Weight { role, weight: milli } => {
            Written::Weight(v1::RoleWeight { role: role.as_str().to_owned(), weight: weight(*milli) })
        }
        Change::Limit { role, limit } => Written::Limit(of_role(role, limit)),
        Change::Guarantee { role, guarantee } => Written::Guarantee(of_role(role, guarantee)),
        Change::Policy(policy) => Written::Policy(policy.to_string()),
        Change::Less { name, amount: milli } => Written::Less(Less { name: name.clone(), amount: amount(*milli) }),
        Change::DropConstraint { group, constraint } => {
            Written::DropConstraint(DropConstraint { group: *group, constraint: *constraint })
        }
        Change::DropFilters { agent } => {
            Written::DropFilters(DropFilters { agent_id: agent.as_ref().map(translate::agent_id) })
        }
        Change::Capability(name) => Written::Capability(name.clone()),
        Change::DropMinimum => Written::DropMinimum(Nothing {}),
        Change::Revive => Written::Revive(Nothing {}),
        Change::DropReservations(role) => Written::DropReservations(role.as_str().to_owned()),
    };
    v1::Change { change: Some(written) }
}

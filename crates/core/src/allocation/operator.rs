//! What operators ask of the allocator: weights, quota, placement, policy, reservations, agents that leave,
//! maintenance, and why something waits.

use mesos_engine::facts::WEIGHT_MAX;
use mesos_model::{CallId, Role, Time, resources::MILLI_MAX, resources_text::milli_text, validate_role};

use super::{Allocator, Output};
use crate::{
    machine::Effects,
    message::{Amounts, Answer, AnswerBody, OperatorCall, Quota, RoleFacts, RoleView},
    row::{RoleRow, Row, RowKey},
};

type Refusal = (u16, String);

impl Allocator {
    /// An operator's call.
    pub(super) fn operate_call(
        &mut self,
        now: Time,
        id: &CallId,
        call: OperatorCall,
        fx: &mut Effects<Output>,
    ) -> Answer {
        let done = |result: Result<(), Refusal>| result.map(|()| AnswerBody::None);
        let outcome = match call {
            OperatorCall::UpdateWeights(weights) => done(self.update_weights(weights, fx)),
            OperatorCall::UpdateQuota { force, quotas } => done(self.update_quota(force, quotas, fx)),
            OperatorCall::SetPlacement(role, placement) => done(check_role(&role).map(|()| {
                self.change_role(&role, |facts| facts.placement = placement, fx);
            })),
            OperatorCall::SetPolicy { policy, module } => {
                done(self.set_policy(policy, module, fx).map_err(|error| (400, error)))
            }
            OperatorCall::LoadPolicy { name, module } => {
                done(self.load_module(&name, module, fx).map(|_| ()).map_err(|error| (400, error)))
            }
            OperatorCall::Convert { agent, conversion } => {
                done(self.convert_for_operator(now, id, &agent, conversion, fx))
            }
            OperatorCall::Drain { agent, max_grace_ms, mark_gone } => {
                done(self.drain_agent(now, &agent, max_grace_ms, mark_gone, fx))
            }
            OperatorCall::Deactivate(agent) => done(self.deactivate_agent(&agent, fx)),
            OperatorCall::Reactivate(agent) => done(self.reactivate_agent(&agent, fx)),
            OperatorCall::MarkGone(agent) => done(self.mark_agent_gone(&agent, fx)),
            OperatorCall::AddJoinToken { hash, ttl_ms } => done(self.add_join_token(now, hash, ttl_ms, fx)),
            OperatorCall::Join(join) => self.join(now, join, fx).map(AnswerBody::Joined),
            OperatorCall::GetMaintenance => Ok(AnswerBody::Maintenance(Box::new(self.maintenance_view()))),
            OperatorCall::SetSchedule(windows) => done(self.set_schedule(windows, fx)),
            OperatorCall::StartMaintenance(machines) => done(self.start_maintenance(now, machines, fx)),
            OperatorCall::StopMaintenance(machines) => done(self.stop_maintenance(machines, fx)),
            OperatorCall::GetPolicy => Ok(AnswerBody::Policy(self.policy_view())),
            OperatorCall::GetRoles => Ok(AnswerBody::Roles(self.roles())),
            OperatorCall::GetNeeds => Ok(AnswerBody::Needs(self.needs())),
            OperatorCall::GetRequests => Ok(AnswerBody::Requests(self.requests())),
            OperatorCall::Explain(query) => {
                self.explain(now, &query).map(|found| AnswerBody::Explanation(Box::new(found))).map_err(|e| (404, e))
            }
            OperatorCall::WhatIf { changes, query } => self
                .what_if(now, &changes, &query)
                .map(|found| AnswerBody::WhatIf(Box::new(found)))
                .map_err(|error| (404, error)),
        };
        match outcome {
            Ok(body) => Answer::ok(body),
            Err((status, text)) => Answer::refused(status, text),
        }
    }

    fn update_weights(&mut self, weights: Vec<(Role, u64)>, fx: &mut Effects<Output>) -> Result<(), Refusal> {
        for (role, weight) in &weights {
            check_role(role)?;
            if *weight == 0 || *weight > WEIGHT_MAX {
                return Err((400, format!("The weight of role '{role}' must be above 0 and at most 1000000")));
            }
        }
        for (role, weight) in weights {
            self.change_role(&role, |facts| facts.weight = weight, fx);
        }
        Ok(())
    }

    fn update_quota(&mut self, force: bool, quotas: Vec<Quota>, fx: &mut Effects<Output>) -> Result<(), Refusal> {
        for (at, quota) in quotas.iter().enumerate() {
            self.check_quota(quota, force)?;
            if quotas[..at].iter().any(|other| other.role == quota.role) {
                return Err((400, format!("Role '{}' is named twice", quota.role)));
            }
        }
        if !force {
            self.check_capacity(&quotas)?;
        }
        for quota in quotas {
            let limit = quota.limit.clone();
            let change = |facts: &mut RoleFacts| (facts.guarantee, facts.limit) = (quota.guarantee, quota.limit);
            self.change_role(&quota.role, change, fx);
            self.rescind_beyond(&quota.role, &limit, fx);
        }
        Ok(())
    }

    fn check_quota(&self, quota: &Quota, force: bool) -> Result<(), Refusal> {
        let role = &quota.role;
        check_role(role)?;
        for (kind, amounts) in [("guarantee", &quota.guarantee), ("limit", &quota.limit)] {
            for (name, amount) in amounts {
                if name.is_empty() || !(0..=MILLI_MAX).contains(amount) {
                    return Err((400, format!("The {kind} of role '{role}' for '{name}' must be between 0 and 1e12")));
                }
            }
        }
        for (name, guarantee) in &quota.guarantee {
            if let Some(limit) = quota.limit.get(name).filter(|limit| *limit < guarantee) {
                let (guarantee, limit) = (milli_text(*guarantee), milli_text(*limit));
                return Err((
                    400,
                    format!("Role '{role}' cannot be guaranteed {name}:{guarantee} and limited to {name}:{limit}"),
                ));
            }
        }
        let allocated = self.engine.roles().into_iter().find(|state| state.role == *role).unwrap_or_default();
        for (name, limit) in quota.limit.iter().filter(|_| !force) {
            let of = |amounts: &Amounts| amounts.get(name).copied().unwrap_or(0);
            // Offers can be taken back, so they do not stand in the way.
            let used = of(&allocated.consumed) - of(&allocated.offered);
            if used > *limit {
                return Err((
                    409,
                    format!(
                        "Role '{role}' uses {name}:{} already, more than the limit of {}; use force to set it anyway",
                        milli_text(used),
                        milli_text(*limit)
                    ),
                ));
            }
        }
        Ok(())
    }

    /// All guarantees of top-level roles together must fit into the cluster.
    fn check_capacity(&self, quotas: &[Quota]) -> Result<(), Refusal> {
        let mut sums = Amounts::new();
        let states = self.engine.roles();
        let set = states.iter().filter(|state| !quotas.iter().any(|quota| quota.role == state.role));
        let all = set.map(|state| (&state.role, &state.facts.guarantee));
        for (role, guarantee) in all.chain(quotas.iter().map(|quota| (&quota.role, &quota.guarantee))) {
            if role.as_str().contains('/') {
                continue;
            }
            for (name, amount) in guarantee {
                *sums.entry(name.clone()).or_insert(0) += amount;
            }
        }
        let total = self.engine.total();
        for (name, sum) in sums.iter().filter(|(_, sum)| **sum > 0) {
            let there = total.get(name).copied().unwrap_or(0);
            if *sum > there {
                return Err((
                    409,
                    format!(
                        "All guarantees together are {name}:{}, but the cluster has {}; use force to set it anyway",
                        milli_text(*sum),
                        milli_text(there)
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Offers of a role that is over its new limit are taken back until it is not.
    fn rescind_beyond(&mut self, role: &Role, limit: &Amounts, fx: &mut Effects<Output>) {
        let over = |machine: &Allocator| {
            let consumed = machine.engine.consumed(role);
            limit.iter().any(|(name, limit)| consumed.get(name).copied().unwrap_or(0) > *limit)
        };
        if !over(self) {
            return;
        }
        for number in self.engine.offer_numbers().into_iter().rev() {
            let inside = self
                .open_offer(number)
                .is_some_and(|offer| mesos_engine::cycle::is_role_or_ancestor(role, &offer.role));
            if inside {
                self.rescind(number, fx);
                if !over(self) {
                    return;
                }
            }
        }
    }

    fn change_role(&mut self, role: &Role, change: impl FnOnce(&mut RoleFacts), fx: &mut Effects<Output>) {
        let mut facts = self.engine.role_facts(role);
        change(&mut facts);
        if facts == self.default_facts(role) {
            fx.delete(RowKey::Role(role.clone()));
        } else {
            fx.put(Row::Role(RoleRow { role: role.clone(), facts: facts.clone() }));
        }
        self.engine.set_role(role, facts);
    }

    /// What a role has without a row: the weight that the options give it.
    pub(super) fn default_facts(&self, role: &Role) -> RoleFacts {
        let weight = self.options.weights.get(role).copied();
        RoleFacts { weight: weight.unwrap_or(RoleFacts::default().weight), ..RoleFacts::default() }
    }

    /// The roles that anybody is in, or that anything is set for.
    #[must_use]
    pub fn roles(&self) -> Vec<RoleView> {
        let view = |state: mesos_engine::engine::RoleState| {
            let mut allocated = state.sums.clone();
            for (name, offered) in &state.offered {
                *allocated.entry(name.clone()).or_insert(0) -= offered;
            }
            allocated.retain(|_, amount| *amount != 0);
            RoleView {
                role: state.role,
                weight: state.facts.weight,
                guarantee: state.facts.guarantee,
                limit: state.facts.limit,
                consumed: state.consumed,
                reserved: state.reserved,
                allocated,
                offered: state.offered,
                share_ppm: state.share_ppm,
                placement: state.facts.placement,
                frameworks: state.frameworks,
            }
        };
        self.engine.roles().into_iter().map(view).collect()
    }
}

fn check_role(role: &Role) -> Result<(), Refusal> {
    let text = role.as_str();
    validate_role(text).map_err(|_| (400, format!("'{}' is no role", text.escape_debug().take(80).collect::<String>())))
}

#[cfg(test)]
mod tests;

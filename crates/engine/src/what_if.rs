//! Supposed changes, tried on a copy.

use std::sync::Arc;

use mesos_model::{
    AgentId, FrameworkId, Reservation, ReservationKind, Resource, Resources, Role, Time, Value, validate_role,
};

use crate::{
    agents::AgentFacts,
    bundle::Bundle,
    engine::{AgentSlot, ClientFacts, Engine},
    explain::{COUNT_MAX, step_of},
    explanation::{Change, Query, RoleOutcome, WhatIf},
    facts::{Amounts, Constraints, PolicyName, WEIGHT_MAX},
    roles::Policy,
    rules::Rule,
};

/// Who runs what on an agent. The engine knows what is allocated of an agent, and to whom of the cluster, but not
/// the two together; whoever asks does.
pub type Running<'a> = &'a dyn Fn(&AgentId) -> Vec<(FrameworkId, Role, Resources)>;

impl Engine {
    /// What would be after some changes, made in their order: the same question before and after, and what roles
    /// would have. Nothing is changed but a copy.
    ///
    /// Tasks on an agent that is removed keep counting for whoever runs them, as if they were started again
    /// elsewhere; see [`what_if_running`](Self::what_if_running).
    ///
    /// # Errors
    /// Says what of the query or of the changes is not known, or is wrong.
    pub fn what_if(&self, now: Time, changes: &[Change], query: &Query) -> Result<WhatIf, String> {
        self.what_if_running(now, changes, query, &|_| Vec::new())
    }

    /// As [`what_if`](Self::what_if), with knowledge of what runs on agents that are removed: it is gone with them.
    ///
    /// # Errors
    /// Says what of the query or of the changes is not known, or is wrong.
    pub fn what_if_running(
        &self,
        now: Time,
        changes: &[Change],
        query: &Query,
        running: Running<'_>,
    ) -> Result<WhatIf, String> {
        let before = self.explain(now, query)?;
        let mut changed = self.clone();
        changed.tick(now);
        // The framework that stands for a role is to be the same one afterwards.
        let mut asked = changed.resolve(query)?.map_or_else(|_| query.clone(), |asked| asked.query);
        for change in changes {
            if let Change::RemoveAgent(agent) = change {
                for (framework, role, what) in running(agent) {
                    if let Some(client) = changed.find_client(&framework, &role) {
                        changed.charge(client.0, &Bundle::from(&what).without_shared(), -1, false);
                    }
                }
            }
            changed.apply(now, change, &mut asked)?;
        }
        let after = changed.explain(now, &asked)?;
        let (mut old, mut new) = (self.sums_after_a_round(now), changed.sums_after_a_round(now));
        let mut roles: Vec<Role> = old.keys().chain(new.keys()).cloned().collect();
        roles.sort();
        roles.dedup();
        let roles = roles
            .into_iter()
            .map(|role| RoleOutcome {
                before: old.remove(&role).unwrap_or_default(),
                after: new.remove(&role).unwrap_or_default(),
                role,
            })
            .collect();
        Ok(WhatIf { before, after, roles })
    }

    /// What roles with frameworks have when all open offers have come back and were made anew.
    fn sums_after_a_round(&self, now: Time) -> std::collections::BTreeMap<Role, Amounts> {
        let mut copy = self.clone();
        copy.tick(now);
        copy.close_all_offers();
        copy.wake_everybody();
        copy.round(now);
        let with_frameworks = |(_, at): &(&Role, u32)| {
            let node = &copy.tree.nodes[*at as usize];
            !node.clients.is_empty() || node.hungry > 0 || !node.sums.is_zero()
        };
        let sums = |(role, at): (&Role, u32)| (role.clone(), copy.tree.nodes[at as usize].sums.by_name(&copy.kinds));
        copy.tree.roles().filter(with_frameworks).map(sums).collect()
    }

    /// Makes a supposed change, on this engine: to be called on a copy. Changes of what a framework wants are made
    /// to the one that the query names; [`Change::Less`] changes the query.
    ///
    /// # Errors
    /// Says what of the change is not known, or is wrong; then nothing is changed.
    pub fn apply(&mut self, now: Time, change: &Change, query: &mut Query) -> Result<(), String> {
        self.tree.set_now(now);
        match change {
            Change::AddAgents { count, like, total, attributes } => {
                let facts = self.facts_of_new_agent(*count, like.as_ref(), total.as_ref(), attributes)?;
                for _ in 0..(*count).max(1) {
                    let slot = self.new_agent();
                    self.put_agent(slot, facts.clone());
                }
            }
            Change::RemoveAgent(agent) => {
                let slot = self.known_agent(agent)?;
                for number in self.offers_on(slot) {
                    self.close_offer(number);
                }
                self.forget_agent(slot);
            }
            Change::Weight { role, weight } => {
                if *weight == 0 || *weight > WEIGHT_MAX {
                    return Err(format!(
                        "a weight of {weight} thousandths for role '{role}' is out of range; give 1 to {WEIGHT_MAX}"
                    ));
                }
                let mut facts = self.role_facts(self.known_role(role)?);
                facts.weight = *weight;
                self.set_role(role, facts);
            }
            Change::Limit { role, limit } => {
                let mut facts = self.role_facts(self.known_role(role)?);
                facts.limit = checked("limit", role, limit)?;
                self.set_role(role, facts);
            }
            Change::Guarantee { role, guarantee } => {
                let mut facts = self.role_facts(self.known_role(role)?);
                facts.guarantee = checked("guarantee", role, guarantee)?;
                self.set_role(role, facts);
            }
            Change::Policy(name) => self.set_policy(built_in(name)?),
            Change::Less { name, amount } => query.resources = Some(self.less(query, name, *amount)?),
            Change::DropReservations(role) => self.drop_reservations(role)?,
            Change::DropConstraint { .. }
            | Change::DropFilters { .. }
            | Change::Capability(_)
            | Change::DropMinimum
            | Change::Revive => self.apply_to_client(change, query)?,
        }
        Ok(())
    }

    /// Makes a client known that wants nothing at the moment: for a copy that is to be asked about it. The engine
    /// itself forgets who has nothing and wants nothing, and so does not know why it gets nothing.
    ///
    /// # Errors
    /// For constraints that cannot be compiled.
    pub fn suppose_client(
        &mut self,
        now: Time,
        framework: &FrameworkId,
        role: &Role,
        facts: ClientFacts,
    ) -> Result<(), String> {
        let slot = self.client(framework, role);
        self.put_client(now, slot, ClientFacts { hungry: true, ..facts })?;
        self.tree.set_hungry(slot.0, false);
        self.waking.remove(&slot.0);
        Ok(())
    }

    fn known_agent(&self, id: &AgentId) -> Result<AgentSlot, String> {
        self.find_agent(id).ok_or_else(|| format!("agent {id} is not known; list the agents and take an id from there"))
    }

    /// What is set for a role may be supposed before any framework is in it.
    fn known_role<'a>(&self, role: &'a Role) -> Result<&'a Role, String> {
        let text = role.as_str();
        validate_role(text)
            .map(|()| role)
            .map_err(|_| format!("'{text}' is no role; give a name, or a path such as eng/web"))
    }

    fn facts_of_new_agent(
        &self,
        count: u32,
        like: Option<&AgentId>,
        total: Option<&Resources>,
        attributes: &[mesos_model::attribute::Attribute],
    ) -> Result<AgentFacts, String> {
        if count > COUNT_MAX {
            return Err(format!("{count} agents are too many to add at once; add at most {COUNT_MAX}"));
        }
        match (like, total) {
            (Some(like), _) => {
                let agent = self.agents.get(self.known_agent(like)?.0);
                Ok(AgentFacts {
                    total: as_new(&agent.total.resources()),
                    hostname: agent.hostname.clone(),
                    attributes: agent.attributes.clone(),
                    domain: agent.domain.clone(),
                    remote: agent.remote,
                    counted: true,
                    offerable: true,
                })
            }
            (None, Some(total)) if !total.is_empty() => Ok(AgentFacts {
                total: total.clone(),
                attributes: attributes.to_vec(),
                counted: true,
                offerable: true,
                ..AgentFacts::default()
            }),
            _ => Err("agents to add are given neither by one that they are like nor by what they have; give one of \
                      these"
                .to_owned()),
        }
    }

    fn new_agent(&mut self) -> AgentSlot {
        let mut number = self.agents.list.len();
        loop {
            let id = AgentId::new(format!("supposed-{number:06}"));
            if self.find_agent(&id).is_none() {
                return self.agent(&id);
            }
            number += 1;
        }
    }

    fn less(&self, query: &Query, name: &str, amount: i64) -> Result<Resources, String> {
        let asked = self.resolve(query)?.map_err(|role| format!("no framework is in role '{role}'"))?;
        let now = asked.demand.amount(name);
        if now == 0 {
            return Err(format!(
                "the demand has no amount of '{name}' that could be less; it is {}",
                asked.demand.resources
            ));
        }
        if amount < 0 || amount >= now {
            return Err(format!("{amount} thousandths of {name} are not less than {now}; give 0 to {}", now - 1));
        }
        if amount % step_of(name) != 0 {
            return Err(format!("{amount} thousandths of {name} are no whole number of them; give a multiple of 1000"));
        }
        let less = asked.demand.with(name, amount).resources;
        if less.is_empty() {
            Err("a task that needs nothing cannot be placed; leave some of it".to_owned())
        } else {
            Ok(less)
        }
    }

    /// Turns what is reserved for a role and neither used nor held into what anybody may have. Volumes stay.
    fn drop_reservations(&mut self, role: &Role) -> Result<(), String> {
        let is_theirs = |resource: &Resource| {
            resource.reserved_for() == Some(role)
                && resource.qualifier.as_ref().is_none_or(|qualifier| qualifier.disk.is_empty())
        };
        let all: Vec<u32> = self.agents.ids().map(|(_, at)| at).collect();
        let mut any = false;
        for at in all {
            let agent = self.agents.get(at);
            let unused = agent.total.minus(&agent.allocated).minus(&agent.held);
            let Some(reserved) = unused.rest().map(|rest| rest.filter(is_theirs)).filter(|rest| !rest.is_empty())
            else {
                continue;
            };
            any = true;
            // Offers of it would be offers of what is not there any more.
            for number in self.offers_on(AgentSlot(at)) {
                self.close_offer(number);
            }
            let agent = self.agents.get(at);
            let mut total = agent.total.resources().minus(&reserved);
            for resource in &reserved {
                total.add_entry(unreserved(resource));
            }
            if let Some(shared) = &agent.shared {
                total.add(&shared.resources());
            }
            let facts = AgentFacts {
                total,
                hostname: agent.hostname.clone(),
                attributes: agent.attributes.clone(),
                domain: agent.domain.clone(),
                remote: agent.remote,
                counted: agent.counted,
                offerable: agent.offerable,
            };
            self.put_agent(AgentSlot(at), facts);
        }
        if any { Ok(()) } else { Err(format!("nothing that is free is reserved for role '{role}' on any agent")) }
    }

    fn apply_to_client(&mut self, change: &Change, query: &Query) -> Result<(), String> {
        let asked = self
            .resolve(query)?
            .map_err(|role| format!("no framework is in role '{role}' whose wishes could change; name a framework"))?;
        let slot = self.client(&asked.framework, &asked.role);
        let at = slot.0 as usize;
        match change {
            Change::DropConstraint { group, constraint } => {
                let rule = self.tree.clients[at].rule.clone();
                let mut groups = rule.map(|rule| rule.constraints().groups.clone()).unwrap_or_default();
                let of =
                    groups.get_mut(*group as usize).filter(|of| of.len() > *constraint as usize).ok_or_else(|| {
                        format!(
                            "framework {} has no constraint {constraint} in group {group}; both are counted from 0",
                            asked.framework
                        )
                    })?;
                of.remove(*constraint as usize);
                // A group without constraints admits every agent, and with it all of them do.
                let any = groups.iter().any(Vec::is_empty);
                let rule = if any { None } else { Some(Rule::new(&Constraints { groups })?) };
                self.tree.clients[at].rule = rule.map(Arc::new);
                self.tree.clients[at].verdicts.clear();
            }
            Change::DropFilters { agent: None } => self.drop_filters(slot),
            Change::DropFilters { agent: Some(agent) } => {
                let agent = self.known_agent(agent)?;
                self.filters.drop_pair(slot.0, agent.0);
            }
            Change::Capability(name) => {
                let abilities = &mut self.tree.clients[at].abilities;
                let ability = match name.as_str() {
                    "GPU_RESOURCES" => &mut abilities.gpus,
                    "REGION_AWARE" => &mut abilities.regions,
                    "REVOCABLE_RESOURCES" => &mut abilities.revocable,
                    "SHARED_RESOURCES" => &mut abilities.shared,
                    "RESERVATION_REFINEMENT" => &mut abilities.refined,
                    other => {
                        return Err(format!(
                            "capability '{other}' changes no offers; try GPU_RESOURCES, REGION_AWARE, \
                             REVOCABLE_RESOURCES, SHARED_RESOURCES or RESERVATION_REFINEMENT"
                        ));
                    }
                };
                *ability = true;
            }
            Change::DropMinimum => self.tree.clients[at].minimum = Some(Arc::from(Vec::new())),
            Change::Revive => {
                self.drop_filters(slot);
                self.tree.set_hungry(slot.0, true);
            }
            _ => {}
        }
        self.wake(slot);
        Ok(())
    }
}

/// What a new agent of the same make would have: nothing that came to the other one later. Volumes are counted as
/// part of its make, since their origin is not known here.
fn as_new(total: &Resources) -> Resources {
    let mut out = Resources::new();
    for resource in total {
        if resource.is_revocable() || resource.is_shared() {
            continue;
        }
        let mut resource = resource.clone();
        let is_dynamic = |reservation: &Reservation| reservation.kind == ReservationKind::Dynamic;
        while resource.qualifier.as_ref().and_then(|q| q.reservations.last()).is_some_and(is_dynamic) {
            resource = without_last_reservation(&resource);
        }
        out.add_entry(resource);
    }
    out
}

fn unreserved(resource: &Resource) -> Resource {
    let mut out = resource.clone();
    while out.reserved_for().is_some() {
        out = without_last_reservation(&out);
    }
    out
}

fn without_last_reservation(resource: &Resource) -> Resource {
    let qualifier = resource.qualifier.as_ref().and_then(|qualifier| {
        let mut qualifier = (**qualifier).clone();
        qualifier.reservations.pop();
        (qualifier != mesos_model::resources::Qualifier::default()).then(|| Arc::new(qualifier))
    });
    let value: Value = resource.value.clone();
    Resource { name: resource.name.clone(), value, qualifier }
}

fn checked(what: &str, role: &Role, amounts: &Amounts) -> Result<Amounts, String> {
    match amounts.iter().find(|(_, amount)| **amount < 0) {
        Some((name, amount)) => Err(format!(
            "the {what} of role '{role}' has {amount} thousandths of {name}; give 0 or more, or leave {name} out"
        )),
        None => Ok(amounts.clone()),
    }
}

fn built_in(name: &PolicyName) -> Result<Policy, String> {
    match name {
        PolicyName::Drf => Ok(Policy::Drf),
        PolicyName::Fifo => Ok(Policy::Fifo),
        PolicyName::Drc => Ok(Policy::Drc),
        PolicyName::Random => Ok(Policy::Random),
        PolicyName::Module(name) => {
            Err(format!("policy '{name}' is not built in and cannot be supposed; try drf, fifo, drc or random"))
        }
    }
}

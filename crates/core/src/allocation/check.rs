//! What must hold after every event: the conservation of resources, and indexes that agree with the rows.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{AgentId, FrameworkId, LaunchId, Resources, Role};

use super::{
    Allocator,
    state::{Agent, Framework},
};
use crate::row::LaunchRow;

impl Allocator {
    /// Checks the invariants I1 (free + offered + allocated = total), I2 (never more allocated or offered
    /// than there is, unless an agent shrank or was taken over so) and I3 (offers only of agents that have
    /// shaken hands in this term, to the present subscription).
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn check(&self) -> Result<(), String> {
        for (id, agent) in self.agents.iter() {
            self.check_agent(id, agent).map_err(|error| format!("agent {id}: {error}"))?;
        }
        self.check_launches()?;
        self.check_offers()?;
        self.check_inverse()?;
        self.check_shares()
    }

    fn check_agent(&self, id: &AgentId, agent: &Agent) -> Result<(), String> {
        let rows = agent.launches.get().iter().filter_map(|launch| self.launch_row(launch));
        let launched = rows.fold(Resources::new(), |sum, row| sum.plus(&row.resources()));
        let launched = launched.filter(|resource| !resource.is_shared());
        let (allocated, offered, held, free) = (
            self.engine.allocated(agent.slot),
            self.engine.offered(agent.slot),
            self.engine.held(agent.slot),
            self.engine.free(agent.slot),
        );
        let holding = agent.launches.get().iter().filter_map(|launch| self.launch_row(launch));
        let holding = holding.filter(|row| super::state::holds_something(row));
        ensure(self.digest_of(id) == crate::message::digest(holding.map(|row| &row.launch)), || {
            "the digest of its launches is wrong".to_owned()
        })?;
        ensure(launched == allocated, || format!("launches hold {launched}, but {allocated} is booked"))?;
        let total = agent.row.as_ref().map(|row| row.total.plus(&row.oversubscribed)).unwrap_or_default();
        let total = total.filter(|resource| !resource.is_shared());
        if !self.is_offerable(id) {
            return ensure(free.is_empty() && offered.is_empty() && held.is_empty(), || {
                "it may not be offered, but is".to_owned()
            });
        }
        if self.engine.is_crowded(agent.slot) {
            return ensure(total.contains(&free) && total.contains(&offered), || {
                "more is free or offered than there is".to_owned()
            });
        }
        let sum = free.plus(&offered).plus(&held).plus(&allocated);
        ensure(sum == total, || format!("free + offered + held + allocated = {sum}, but the total is {total}"))
    }

    fn check_launches(&self) -> Result<(), String> {
        for row in self.launches() {
            let id = &row.launch;
            let at_agent = self.agents.get(&row.agent).is_some_and(|agent| agent.launches.get().contains(id));
            let framework = self.frameworks.get(&row.framework);
            let at_framework = framework.is_some_and(|framework| framework.launches > 0);
            ensure(at_agent && at_framework, || format!("launch {id} is not indexed"))?;
            ensure(!row.tasks.is_empty() || row.outlives_its_tasks(), || format!("launch {id} has no task"))?;
        }
        let counted: usize = self.frameworks.values().map(|framework| framework.launches).sum();
        ensure(counted == self.launches.len(), || "the launches of frameworks are not counted right".to_owned())?;
        for (id, framework) in &self.frameworks {
            #[expect(clippy::disallowed_methods, reason = "they are counted")]
            let ended = framework.tasks.values().filter(|fact| fact.ended).count();
            ensure(ended == framework.ended.len(), || format!("the ended tasks of {id} are not counted right"))?;
        }
        let indexed: BTreeSet<&LaunchId> = self.agents.values().flat_map(|agent| agent.launches.get()).collect();
        ensure(indexed.len() == self.launches.len(), || "an index names launches that are not there".to_owned())?;
        #[expect(clippy::disallowed_methods, reason = "any of them is an error, whatever the order")]
        let stray = self.bodies.keys().find(|launch| self.term.is_some() && !self.launches.contains_key(*launch));
        ensure(stray.is_none(), || format!("the body of {stray:?} has no launch"))
    }

    fn check_offers(&self) -> Result<(), String> {
        for number in self.engine.offer_numbers() {
            let Some(offer) = self.open_offer(number) else { continue };
            ensure(self.is_offerable(&offer.agent), || {
                format!("offer {number} is of agent {}, which may not be offered", offer.agent)
            })?;
            let framework = self.frameworks.get(&offer.framework);
            ensure(framework.and_then(Framework::connection).is_some(), || {
                format!("offer {number} is to {}, which is not connected", offer.framework)
            })?;
        }
        self.engine.check()
    }

    fn check_shares(&self) -> Result<(), String> {
        let mut sums: BTreeMap<Client, Resources> = BTreeMap::new();
        let offers = self.engine.offer_numbers().into_iter().filter_map(|number| self.open_offer(number));
        let offers = offers.map(|offer| ((offer.framework, offer.role), offer.bundle.resources()));
        let needs = self.engine.needs().into_iter().flat_map(|need| {
            let client = (need.framework, need.role);
            need.held.into_iter().map(move |(_, held)| (client.clone(), held))
        });
        for (client, resources) in self.launches().map(held).chain(offers).chain(needs) {
            sums.entry(client).or_default().add(&resources.filter(|resource| !resource.is_shared()));
        }
        for ((framework, role), sum) in sums {
            let client = self.engine.find_client(&framework, &role);
            let booked = client.map(|client| self.engine.sums(client)).unwrap_or_default();
            let sum = sum.scalars();
            ensure(sum == booked, || format!("{framework} in {role} has {sum:?}, but {booked:?} is booked"))?;
        }
        Ok(())
    }
}

/// A framework in one of its roles.
type Client = (FrameworkId, Role);

fn held(row: &LaunchRow) -> (Client, Resources) {
    ((row.framework.clone(), row.role.clone()), row.resources())
}

fn ensure(holds: bool, error: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(error()) }
}

#[cfg(test)]
impl Allocator {
    /// What a hungry framework could be offered right now, if anything; after a batch that is nothing.
    pub(super) fn left_over(&self, now: mesos_model::Time) -> Option<String> {
        let mut engine = self.engine.clone();
        for (id, state) in self.agents.iter() {
            for (framework, row) in self.frameworks.iter().filter_map(|(id, state)| Some((id, state.row.as_ref()?))) {
                for role in &row.info.roles {
                    let client = engine.find_client(framework, role).filter(|client| engine.is_hungry(*client));
                    if let Some(left) = client.and_then(|client| engine.could_offer(now, state.slot, client)) {
                        return Some(format!("{framework} in {role} wants {left} of {id}"));
                    }
                }
            }
        }
        None
    }
}

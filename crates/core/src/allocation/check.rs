//! What must hold after every event: the conservation of resources, and indexes that agree with the rows.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{AgentId, LaunchId, Resources};

use super::{
    Allocator,
    filters::Client,
    share::Totals,
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
        for (id, agent) in &self.agents {
            self.check_agent(id, agent).map_err(|error| format!("agent {id}: {error}"))?;
        }
        self.check_launches()?;
        self.check_offers()?;
        self.check_shares()
    }

    fn check_agent(&self, id: &AgentId, agent: &Agent) -> Result<(), String> {
        let rows = agent.launches.iter().filter_map(|launch| self.launches.get(launch));
        let allocated = rows.fold(Resources::new(), |sum, row| sum.plus(&row.resources()));
        ensure(allocated == agent.allocated, || {
            format!("launches hold {allocated}, but {} is booked", agent.allocated)
        })?;
        let offers = agent.offers.iter().filter_map(|offer| self.book.get(*offer));
        let offered = offers.fold(Resources::new(), |sum, offer| sum.plus(&offer.resources));
        ensure(offered == agent.offered, || format!("offers hold {offered}, but {} is booked", agent.offered))?;
        let total = agent.row.as_ref().map(|row| row.total.clone()).unwrap_or_default();
        if !self.is_offerable(id) {
            ensure(agent.free.is_empty() && agent.offers.is_empty(), || "it may not be offered, but is".to_owned())?;
        } else if agent.crowded {
            ensure(total.contains(&agent.free) && total.contains(&agent.offered), || {
                "more is free or offered than there is".to_owned()
            })?;
        } else {
            let sum = agent.free.plus(&agent.offered).plus(&agent.allocated);
            ensure(sum == total, || format!("free + offered + allocated = {sum}, but the total is {total}"))?;
        }
        let indexed = self.free.contains(id);
        ensure(indexed != agent.free.is_empty(), || "the index of free agents is wrong".to_owned())
    }

    fn check_launches(&self) -> Result<(), String> {
        for (id, row) in &self.launches {
            let at_agent = self.agents.get(&row.agent).is_some_and(|agent| agent.launches.contains(id));
            let framework = self.frameworks.get(&row.framework);
            let at_framework = framework.is_some_and(|framework| framework.launches.contains(id));
            ensure(at_agent && at_framework, || format!("launch {id} is not indexed"))?;
            ensure(!row.tasks.is_empty(), || format!("launch {id} has no task"))?;
        }
        let indexed: BTreeSet<&LaunchId> = self.agents.values().flat_map(|agent| &agent.launches).collect();
        ensure(indexed.len() == self.launches.len(), || "an index names launches that are not there".to_owned())?;
        let stray = self.bodies.keys().find(|launch| self.term.is_some() && !self.launches.contains_key(*launch));
        ensure(stray.is_none(), || format!("the body of {stray:?} has no launch"))
    }

    fn check_offers(&self) -> Result<(), String> {
        for (number, offer) in self.book.iter() {
            ensure(self.is_offerable(&offer.agent), || {
                format!("offer {number} is of agent {}, which may not be offered", offer.agent)
            })?;
            let framework = self.frameworks.get(&offer.framework);
            let connection = framework.and_then(Framework::connection).map(|connection| connection.number);
            ensure(connection == Some(offer.subscription), || {
                format!("offer {number} is of subscription {}, not {connection:?}", offer.subscription)
            })?;
            let indexed = framework.is_some_and(|framework| framework.offers.contains(number))
                && self.agents.get(&offer.agent).is_some_and(|agent| agent.offers.contains(number));
            ensure(indexed, || format!("offer {number} is not indexed"))?;
        }
        let indexed: usize = self.agents.values().map(|agent| agent.offers.len()).sum();
        ensure(indexed == self.book.count(), || "an index names offers that are not there".to_owned())
    }

    fn check_shares(&self) -> Result<(), String> {
        let mut sums: BTreeMap<Client, Totals> = BTreeMap::new();
        for (client, resources) in self.launches.values().map(held).chain(
            self.book.iter().map(|(_, offer)| ((offer.framework.clone(), offer.role.clone()), offer.resources.clone())),
        ) {
            sums.entry(client).or_default().add(&resources);
        }
        for ((framework, role), sum) in sums {
            let booked = self.tree.sums(&framework, &role);
            ensure(sum == booked, || format!("{framework} in {role} has {sum:?}, but {booked:?} is booked"))?;
        }
        Ok(())
    }
}

fn held(row: &LaunchRow) -> (Client, Resources) {
    ((row.framework.clone(), row.role.clone()), row.resources())
}

fn ensure(holds: bool, error: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(error()) }
}

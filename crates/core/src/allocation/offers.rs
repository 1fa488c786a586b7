//! Offers: the engine decides, and frameworks are told.

use std::collections::{BTreeMap, BTreeSet};

use mesos_engine::{Abilities, AgentSlot, Bundle, ClientFacts, ClientSlot, Decision};
use mesos_model::{
    AgentId, FrameworkId, OfferId, Role, Term, Time,
    planted::{Bug, is_planted},
};

use super::{Allocator, Output, state::Framework};
use crate::{
    machine::Effects,
    message::{Offer, StreamEvent},
    row::FrameworkRow,
};

/// An offer that a framework sat on and that is over.
#[derive(Clone, Debug)]
pub(super) struct OpenOffer {
    pub(super) framework: FrameworkId,
    pub(super) role: Role,
    pub(super) agent: AgentId,
    /// The same two, as the engine knows them.
    pub(super) parties: (ClientSlot, AgentSlot),
    pub(super) bundle: Bundle,
}

/// The id of an offer of a term.
pub(super) fn offer_id(term: Term, number: u64) -> OfferId {
    OfferId::from(format!("{}-O{number}", term.leader_text()))
}

impl Allocator {
    /// The number of an offer of this term, open or not.
    pub(super) fn offer_number(&self, id: &OfferId) -> Option<u64> {
        let (leader, number) = id.as_str().rsplit_once("-O")?;
        let number: u64 = number.parse().ok()?;
        (leader == self.leader_text.as_str()).then_some(number)
    }

    /// The number of the open offer of an id, if it is one of this term.
    pub(super) fn find_offer(&self, id: &OfferId) -> Option<u64> {
        self.offer_number(id).filter(|number| self.engine.offer_parties(*number).is_some())
    }

    /// Who was offered what by an open offer.
    pub(super) fn open_offer(&self, number: u64) -> Option<OpenOffer> {
        let offer = self.engine.offer(number)?;
        Some(self.named((offer.client, offer.agent), offer.bundle))
    }

    fn named(&self, parties: (ClientSlot, AgentSlot), bundle: Bundle) -> OpenOffer {
        let (framework, role) = self.engine.client_of(parties.0);
        let agent = self.engine.agent_id(parties.1).clone();
        OpenOffer { framework: framework.clone(), role: role.clone(), agent, parties, bundle }
    }

    /// An offer is over; what it held is free again.
    pub(super) fn take_offer(&mut self, number: u64) -> Option<OpenOffer> {
        let closed = self.engine.close_offer(number)?;
        Some(self.named((closed.client, closed.agent), closed.bundle))
    }

    /// Takes an offer back and says so.
    pub(super) fn rescind(&mut self, number: u64, fx: &mut Effects<Output>) {
        let Some(term) = self.term else { return };
        if let Some(offer) = self.take_offer(number) {
            self.metrics.offers_rescinded += 1;
            self.tell(&offer.framework, StreamEvent::Rescind(offer_id(term, number)), fx);
        }
    }

    /// Takes all offers of an agent back and says so.
    pub(super) fn rescind_all_of(&mut self, agent: &AgentId, fx: &mut Effects<Output>) {
        for number in self.offers_on(agent) {
            self.rescind(number, fx);
        }
    }

    /// Numbers of the open offers on an agent.
    pub(super) fn offers_on(&self, agent: &AgentId) -> Vec<u64> {
        self.agents.get(agent).map(|state| self.engine.offers_on(state.slot)).unwrap_or_default()
    }

    /// Numbers of a framework's open offers in some roles.
    pub(super) fn offers_in<'a>(&self, framework: &FrameworkId, roles: impl IntoIterator<Item = &'a Role>) -> Vec<u64> {
        let clients = roles.into_iter().filter_map(|role| self.engine.find_client(framework, role));
        clients.flat_map(|client| self.engine.offers_to(client)).collect()
    }

    /// Takes a framework's offers back without a word: it is not there to hear it.
    pub(super) fn recover_all_of(&mut self, framework: &FrameworkId, roles: &BTreeSet<Role>) {
        for number in self.offers_in(framework, roles) {
            if self.take_offer(number).is_some() {
                self.metrics.offers_recovered += 1;
            }
        }
    }

    /// Offers on which a framework sat too long are rescinded.
    pub(super) fn time_out_offers(&mut self, now: Time, fx: &mut Effects<Output>) {
        while let Some(number) = self.engine.pop_overdue(now).filter(|_| !is_planted(Bug::OffersForEver)) {
            self.rescind(number, fx);
        }
    }

    /// Makes all offers that can be made.
    pub(super) fn make_offers(&mut self, now: Time, fx: &mut Effects<Output>) {
        let Some(term) = self.term else { return };
        let mut batches: BTreeMap<ClientSlot, Vec<Offer>> = BTreeMap::new();
        for decision in self.engine.round(now) {
            self.metrics.offers_made += 1;
            let client = decision.client;
            if let Some(offer) = self.offer_of(term, decision) {
                batches.entry(client).or_default().push(offer);
            }
        }
        let mut by_framework: BTreeMap<FrameworkId, Vec<Offer>> = BTreeMap::new();
        for (client, offers) in batches {
            by_framework.entry(self.engine.client_of(client).0.clone()).or_default().extend(offers);
        }
        for (framework, offers) in by_framework {
            self.sent_offers(now, &offers);
            self.tell(&framework, StreamEvent::Offers(offers), fx);
        }
        self.leave_a_failed_policy(fx);
    }

    fn offer_of(&self, term: Term, decision: Decision) -> Option<Offer> {
        let (framework, role) = self.engine.client_of(decision.client);
        let agent = self.engine.agent_id(decision.agent);
        let state = self.agents.get(agent)?;
        let row = state.row.as_ref()?;
        Some(Offer {
            id: offer_id(term, decision.number),
            role: role.clone(),
            agent: agent.clone(),
            hostname: row.hostname.clone(),
            ip: row.ip.clone(),
            port: row.port,
            resources: decision.bundle.resources(),
            attributes: row.attributes.clone(),
            domain: row.domain.clone(),
            executors: state.executors.get(framework).into_iter().flat_map(|all| all.get().keys().cloned()).collect(),
            unavailability: self.maintenance.unavailability(row),
        })
    }

    /// Brings a framework's appetite in these roles in line with its row.
    pub(super) fn set_appetite(&mut self, now: Time, framework: &FrameworkId, roles: &BTreeSet<Role>) {
        for role in roles {
            let facts = self.appetite(framework, role);
            let hungry = facts.hungry;
            if !hungry && self.engine.find_client(framework, role).is_none() {
                continue;
            }
            let client = self.engine.client(framework, role);
            // The gateway has compiled the constraints before, so they compile here too.
            let _ = self.engine.put_client(now, client, facts);
            self.state_demand(now, framework, role);
        }
    }

    /// What a framework is and wants in a role.
    pub(super) fn appetite(&self, framework: &FrameworkId, role: &Role) -> ClientFacts {
        let state = self.frameworks.get(framework);
        let Some(row) = state.and_then(|state| state.row.as_ref()) else { return ClientFacts::default() };
        let capabilities = &row.info.capabilities;
        let requested = self.requests_of(framework, role).filter_map(|request| request.priority).max();
        let own = row.priority.unwrap_or(row.info.priority);
        ClientFacts {
            hungry: state.is_some_and(|state| Framework::connection(state).is_some()) && wants(row, role),
            abilities: Abilities {
                revocable: capabilities.revocable_resources,
                shared: capabilities.shared_resources,
                refined: capabilities.reservation_refinement,
                gpus: capabilities.gpu_resources,
                regions: capabilities.region_aware,
            },
            minimum: row.info.min_allocatable.get(role).cloned(),
            constraints: row.info.constraints.get(role).cloned(),
            priority: requested.map_or(own, |requested| requested.max(own)),
        }
    }
}

fn wants(row: &FrameworkRow, role: &Role) -> bool {
    row.info.roles.contains(role) && !row.suppressed.contains(role)
}

#[cfg(test)]
mod tests;

//! Free resources go to whose turn it is, at the end of each batch.
//!
//! Between batches nothing that is free is wanted by anybody who was asked. So an agent that changed is
//! offered to everybody, someone who woke up is asked about everything that is free, and someone whose filter
//! ran out about that one agent; nothing else is looked at.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{AgentId, FrameworkId, OfferId, Resource, Resources, Role, Term, Time};

use super::{
    Allocator, Output,
    filters::Client,
    random::draw,
    roles::is_role_or_ancestor,
    share::{Share, Totals},
    state::Framework,
    timers::Timers,
};
use crate::{
    machine::Effects,
    message::{Offer, StreamEvent},
    row::{AgentRow, FrameworkRow},
};

/// With more than these, the whole order is walked instead of sorting those who are asked.
const SORTED_MAX: usize = 64;

/// An offer that a framework sits on.
#[derive(Clone, Debug)]
pub(super) struct OpenOffer {
    pub(super) framework: FrameworkId,
    pub(super) role: Role,
    pub(super) agent: AgentId,
    pub(super) resources: Resources,
    /// Number of the subscription it was made to.
    pub(super) subscription: u64,
}

/// All open offers, by the number in their ids.
#[derive(Debug, Default)]
pub(super) struct OfferBook {
    open: BTreeMap<u64, OpenOffer>,
    timers: Timers<u64>,
    made: u64,
}

impl OfferBook {
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    pub(super) fn get(&self, number: u64) -> Option<&OpenOffer> {
        self.open.get(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&u64, &OpenOffer)> {
        self.open.iter()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.timers.first()
    }
}

/// The id of an offer of a term.
pub(super) fn offer_id(term: Term, number: u64) -> OfferId {
    OfferId::from(format!("{}-O{number}", term.leader_text()))
}

/// Who is asked about an agent.
enum Asked<'a> {
    Everybody,
    Only(&'a BTreeSet<Client>),
}

impl Allocator {
    /// The open offer of an id, if it is one of this term.
    pub(super) fn find_offer(&self, id: &OfferId) -> Option<(u64, &OpenOffer)> {
        let (_, number) = id.as_str().rsplit_once("-O")?;
        let number: u64 = number.parse().ok()?;
        let open = self.book.get(number)?;
        (offer_id(self.term?, number) == *id).then_some((number, open))
    }

    /// An offer is over; what it held is free again.
    pub(super) fn take_offer(&mut self, number: u64) -> Option<OpenOffer> {
        let offer = self.book.open.remove(&number)?;
        self.book.timers.clear(&number);
        self.tree.credit(&offer.framework, &offer.role, &offer.resources);
        if let Some(framework) = self.frameworks.get_mut(&offer.framework) {
            framework.offers.remove(&number);
        }
        self.forget_framework_if_idle(&offer.framework);
        if let Some(agent) = self.agents.get_mut(&offer.agent) {
            agent.offers.remove(&number);
            agent.offered.take_what_is_there(&offer.resources);
        }
        self.refresh(&offer.agent);
        Some(offer)
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
        let numbers = self.agents.get(agent).map(|agent| agent.offers.clone()).unwrap_or_default();
        for number in numbers {
            self.rescind(number, fx);
        }
    }

    /// Takes all offers of a framework back without a word: it is not there to hear it.
    pub(super) fn recover_all_of(&mut self, framework: &FrameworkId) {
        let numbers = self.frameworks.get(framework).map(|framework| framework.offers.clone()).unwrap_or_default();
        for number in numbers {
            if self.take_offer(number).is_some() {
                self.metrics.offers_recovered += 1;
            }
        }
    }

    /// Offers on which a framework sat too long are rescinded.
    pub(super) fn time_out_offers(&mut self, now: Time, fx: &mut Effects<Output>) {
        while let Some(number) = self.book.timers.pop_due(now) {
            self.rescind(number, fx);
        }
    }

    /// Makes all offers that can be made.
    pub(super) fn make_offers(&mut self, now: Time, fx: &mut Effects<Output>) {
        let Some(term) = self.term else { return };
        let dirty = std::mem::take(&mut self.dirty);
        let waking = std::mem::take(&mut self.waking);
        let unfiltered = std::mem::take(&mut self.unfiltered);
        if dirty.is_empty() && waking.is_empty() && unfiltered.is_empty() {
            return;
        }
        self.tree.freshen();
        let mut batches: BTreeMap<FrameworkId, Vec<Offer>> = BTreeMap::new();
        for agent in self.agents_to_offer(&dirty, &waking, &unfiltered) {
            let everybody = dirty.contains(&agent);
            let asked: BTreeSet<Client> = match unfiltered.get(&agent) {
                Some(clients) if !everybody => waking.union(clients).cloned().collect(),
                _ => BTreeSet::new(),
            };
            let only = if asked.is_empty() { &waking } else { &asked };
            loop {
                let asked = if everybody { Asked::Everybody } else { Asked::Only(only) };
                let Some((client, resources)) = self.pick(now, &agent, &asked) else { break };
                let Some(offer) = self.open_offer(now, term, &client, &agent, resources) else { break };
                batches.entry(client.0).or_default().push(offer);
            }
            // Whoever else wants what is left was asked just now.
            self.dirty.remove(&agent);
        }
        for (framework, offers) in batches {
            self.tell(&framework, StreamEvent::Offers(offers), fx);
        }
    }

    /// The emptiest first, and of equally empty ones any.
    fn agents_to_offer(
        &mut self,
        dirty: &BTreeSet<AgentId>,
        waking: &BTreeSet<Client>,
        unfiltered: &BTreeMap<AgentId, BTreeSet<Client>>,
    ) -> Vec<AgentId> {
        let round = self.random.next();
        let candidates: BTreeSet<&AgentId> = if waking.is_empty() {
            dirty.iter().chain(unfiltered.keys()).filter(|agent| self.free.contains(*agent)).collect()
        } else {
            self.free.iter().collect()
        };
        let mut ranked: Vec<((Share, u64), &AgentId)> = candidates
            .into_iter()
            .map(|agent| ((self.used_share(agent), draw(round, agent.as_str())), agent))
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, agent)| agent.clone()).collect()
    }

    fn used_share(&self, agent: &AgentId) -> Share {
        let Some(state) = self.agents.get(agent) else { return Share::ZERO };
        let Some(row) = &state.row else { return Share::ZERO };
        let (mut used, mut total) = (Totals::default(), Totals::default());
        used.add(&state.allocated);
        used.add(&state.offered);
        total.add(&row.total);
        used.dominant_share(&total, 1000)
    }

    fn pick(&self, now: Time, agent: &AgentId, asked: &Asked<'_>) -> Option<(Client, Resources)> {
        let visit = |framework: &FrameworkId, role: &Role| {
            let resources = self.offer_for(now, agent, framework, role)?;
            Some(((framework.clone(), role.clone()), resources))
        };
        match asked {
            Asked::Everybody => self.tree.walk(visit),
            Asked::Only(clients) if clients.len() > SORTED_MAX => self.tree.walk(|framework, role| {
                let client = (framework.clone(), role.clone());
                clients.contains(&client).then(|| visit(framework, role)).flatten()
            }),
            Asked::Only(clients) => {
                let mut ranked: Vec<_> = clients
                    .iter()
                    .filter_map(|(framework, role)| Some((self.tree.rank(framework, role)?, framework, role)))
                    .collect();
                ranked.sort_unstable();
                ranked.into_iter().find_map(|(_, framework, role)| visit(framework, role))
            }
        }
    }

    /// What a framework in a role can be offered of what is free on an agent; `None` if that is nothing, not
    /// enough, or filtered.
    pub(super) fn offer_for(
        &self,
        now: Time,
        agent: &AgentId,
        framework: &FrameworkId,
        role: &Role,
    ) -> Option<Resources> {
        let row = self.frameworks.get(framework)?.row.as_ref()?;
        let state = self.agents.get(agent)?;
        if !self.may_see(row, state.row.as_ref()?) {
            return None;
        }
        let resources = state.free.filter(|resource| may_take(row, role, resource));
        if !self.is_enough(row, role, &resources) {
            return None;
        }
        let client = (framework.clone(), role.clone());
        (!self.filters.hides(now, &client, agent, &resources)).then_some(resources)
    }

    /// Agents with GPUs and agents of other regions are for those who say that they know of such.
    fn may_see(&self, framework: &FrameworkRow, agent: &AgentRow) -> bool {
        let capabilities = &framework.info.capabilities;
        let remote = match (&self.options.region, &agent.domain) {
            (Some(ours), Some((region, _))) => ours != region,
            _ => false,
        };
        (capabilities.gpu_resources || agent.total.scalar("gpus") == 0) && (capabilities.region_aware || !remote)
    }

    fn is_enough(&self, framework: &FrameworkRow, role: &Role, resources: &Resources) -> bool {
        let least = framework.info.min_allocatable.get(role).unwrap_or(&self.options.min_allocatable);
        !resources.is_empty()
            && (least.is_empty()
                || least
                    .iter()
                    .any(|bundle| bundle.scalars().iter().all(|(name, milli)| resources.scalar(name) >= *milli)))
    }

    fn open_offer(
        &mut self,
        now: Time,
        term: Term,
        client: &Client,
        agent: &AgentId,
        resources: Resources,
    ) -> Option<Offer> {
        let (framework_id, role) = client;
        let framework = self.frameworks.get_mut(framework_id)?;
        let subscription = framework.connection()?.number;
        let number = self.book.made;
        framework.offers.insert(number);
        self.book.made += 1;
        self.metrics.offers_made += 1;
        if let Some(timeout) = self.options.offer_timeout {
            self.book.timers.set(number, now.after(timeout));
        }
        self.tree.charge(framework_id, role, &resources);
        self.tree.count_offer(framework_id, role);
        let state = self.agents.get_mut(agent)?;
        state.offers.insert(number);
        state.offered.add(&resources);
        let open = OpenOffer {
            framework: framework_id.clone(),
            role: role.clone(),
            agent: agent.clone(),
            resources: resources.clone(),
            subscription,
        };
        self.book.open.insert(number, open);
        self.refresh(agent);
        let state = self.agents.get(agent)?;
        let row = state.row.as_ref()?;
        let launches = state.launches.iter().filter_map(|launch| self.launches.get(launch));
        let executors: BTreeSet<_> =
            launches.filter(|launch| launch.framework == *framework_id).map(|launch| launch.executor.clone()).collect();
        Some(Offer {
            id: offer_id(term, number),
            role: role.clone(),
            agent: agent.clone(),
            hostname: row.hostname.clone(),
            ip: row.ip.clone(),
            port: row.port,
            resources,
            attributes: row.attributes.clone(),
            domain: row.domain.clone(),
            executors: executors.into_iter().collect(),
        })
    }

    /// Brings a framework's appetite in line with its row; roles that wake up are asked about everything.
    pub(super) fn set_appetite(&mut self, framework: &FrameworkId, roles: &BTreeSet<Role>) {
        for role in roles {
            let state = self.frameworks.get(framework);
            let hungry = state.is_some_and(|state| {
                Framework::connection(state).is_some()
                    && state
                        .row
                        .as_ref()
                        .is_some_and(|row| row.info.roles.contains(role) && !row.suppressed.contains(role))
            });
            let client = (framework.clone(), role.clone());
            if hungry && !self.tree.is_hungry(framework, role) {
                self.waking.insert(client);
            } else if !hungry {
                self.waking.remove(&client);
            }
            self.tree.set_hungry(framework, role, hungry);
        }
    }
}

/// Reserved resources are for the role and those below it; revocable, shared and refined ones for those who
/// say that they know of such.
fn may_take(framework: &FrameworkRow, role: &Role, resource: &Resource) -> bool {
    let capabilities = &framework.info.capabilities;
    let levels = resource.qualifier.as_ref().map_or(0, |qualifier| qualifier.reservations.len());
    resource.reserved_for().is_none_or(|reserved| is_role_or_ancestor(reserved, role))
        && (capabilities.revocable_resources || !resource.is_revocable())
        && (capabilities.shared_resources || !resource.is_shared())
        && (capabilities.reservation_refinement || levels <= 1)
}

#[cfg(test)]
mod tests;

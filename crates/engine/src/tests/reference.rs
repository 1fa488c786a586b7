//! The allocation engine once more, slow and obvious: plain resources in sorted maps, and in each round
//! everything is computed from scratch. What it decides is what the engine must decide.
//!
//! The engine asks only those who can have got something to ask for; the reference asks everybody about
//! everything. Both decide alike because between rounds nothing that is free is wanted by anybody who was asked,
//! and that is what the comparison proves: an agent that the engine forgot to offer, the reference offers.
//!
//! One rule has to be told to it, because it decides the order and not only the cost ([`Changed`]): who has just
//! woken up chooses among all agents with something free, everybody else first among those that have changed.
//! Such a list is sorted when it is first needed in a round and is not sorted again during the round.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{FrameworkId, Resource, Resources, Role, Value};

use crate::{
    AgentFacts, ClientFacts, Options,
    cycle::Stage,
    facts::{Placement, PolicyName, RoleFacts},
    random::{Lots, mix},
    rules::{Looks, Rule},
};

/// A framework in one of its roles.
pub(crate) type Key = (FrameworkId, Role);

/// An agent, by its slot: the slot decides between agents that are equally good.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefAgent {
    pub(crate) facts: AgentFacts,
    /// What launches hold, one by one.
    pub(crate) held: Vec<(Key, Resources)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct RefClient {
    pub(crate) facts: ClientFacts,
    pub(crate) demand: BTreeMap<String, i64>,
    pub(crate) launched: BTreeMap<String, i64>,
    waiting_since: u64,
    arrival: u64,
    offers_made: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct RefOffer {
    pub(crate) client: Key,
    pub(crate) agent: u32,
    pub(crate) bundle: Resources,
}

#[derive(Clone, Debug)]
struct Refusal {
    client: Key,
    agent: u32,
    what: Resources,
    until: u64,
}

/// Who the engine asks about what in a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    /// Nobody about anything.
    pub(crate) settled: bool,
    pub(crate) dirty: BTreeSet<u32>,
    pub(crate) waking: BTreeSet<Key>,
    pub(crate) unfiltered: BTreeMap<Key, Vec<u32>>,
}

/// A decision in words: number, framework, role, agent's slot, bundle.
pub(crate) type Made = (u64, FrameworkId, Role, u32, Resources);

/// A fraction of what is used, exactly.
#[derive(Clone, Copy, Debug)]
struct Fraction(u128, u128);

impl PartialEq for Fraction {
    fn eq(&self, other: &Fraction) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Fraction {}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Fraction) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fraction {
    fn cmp(&self, other: &Fraction) -> std::cmp::Ordering {
        (self.0 * other.1).cmp(&(other.0 * self.1))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) options: Options,
    pub(crate) policy: PolicyName,
    pub(crate) agents: BTreeMap<u32, RefAgent>,
    pub(crate) clients: BTreeMap<Key, RefClient>,
    pub(crate) facts: BTreeMap<Role, RoleFacts>,
    /// Offers made in a role itself, and in it and those below it, as long as the role is known.
    counts: BTreeMap<Role, (u64, u64)>,
    pub(crate) offers: BTreeMap<u64, RefOffer>,
    refusals: Vec<Refusal>,
    arrivals: u64,
    made: u64,
    pub(crate) now: u64,
    lots: Lots,
}

/// A role and those above it, the nearest first.
pub(crate) fn upwards(role: &Role) -> Vec<Role> {
    let mut out = vec![role.clone()];
    while let Some((parent, _)) = out[out.len() - 1].as_str().rsplit_once('/') {
        out.push(Role::new(parent));
    }
    out
}

fn is_in(role: &Role, above: &Role) -> bool {
    upwards(role).contains(above)
}

pub(crate) fn exclusive(what: &Resources) -> Resources {
    what.filter(|resource| !resource.is_shared())
}

fn is_ordinary(resource: &Resource) -> bool {
    resource.reserved_for().is_none() && !resource.is_revocable() && !resource.is_shared()
}

fn scalars(what: &Resources, counts: impl Fn(&Resource) -> bool) -> BTreeMap<String, i64> {
    let mut out = BTreeMap::new();
    for resource in what.iter().filter(|resource| counts(resource)) {
        if let Value::Scalar(milli) = resource.value {
            *out.entry(resource.name.to_string()).or_insert(0) += milli;
        }
    }
    out
}

fn add_up(sum: &mut BTreeMap<String, i64>, more: BTreeMap<String, i64>) {
    for (name, milli) in more {
        *sum.entry(name).or_insert(0) += milli;
    }
}

fn get(amounts: &BTreeMap<String, i64>, name: &str) -> i64 {
    amounts.get(name).copied().unwrap_or(0)
}

impl Reference {
    pub(crate) fn new(options: Options) -> Reference {
        Reference {
            lots: Lots::new(options.seed),
            options,
            policy: PolicyName::default(),
            agents: BTreeMap::new(),
            clients: BTreeMap::new(),
            facts: BTreeMap::new(),
            counts: BTreeMap::new(),
            offers: BTreeMap::new(),
            refusals: Vec::new(),
            arrivals: 0,
            made: 0,
            now: 0,
        }
    }

    // Calls.

    pub(crate) fn put_agent(&mut self, at: u32, facts: AgentFacts) {
        self.agents.entry(at).or_default().facts = facts;
        self.forget_idle_roles();
    }

    pub(crate) fn forget_agent(&mut self, at: u32) {
        self.agents.remove(&at);
        self.refusals.retain(|refusal| refusal.agent != at);
        self.forget_idle_roles();
    }

    pub(crate) fn know(&mut self, key: &Key) -> &mut RefClient {
        for role in upwards(&key.1) {
            self.counts.entry(role).or_insert((0, 0));
        }
        let arrivals = &mut self.arrivals;
        self.clients.entry(key.clone()).or_insert_with(|| {
            *arrivals += 1;
            RefClient { arrival: *arrivals, ..RefClient::default() }
        })
    }

    pub(crate) fn put_client(&mut self, key: &Key, facts: ClientFacts) {
        let now = self.now;
        let client = self.know(key);
        if facts.hungry && !client.facts.hungry {
            client.waiting_since = now;
        }
        client.facts = facts;
        self.tidy(key);
    }

    /// Forgets a client that has nothing and wants nothing. Who holds no more than ports holds nothing.
    pub(crate) fn tidy(&mut self, key: &Key) {
        let Some(client) = self.clients.get(key) else { return };
        let busy = client.facts.hungry
            || client.demand.values().any(|milli| *milli != 0)
            || self.offers.values().any(|offer| offer.client == *key)
            || self.sums(|of| of == key).values().any(|milli| *milli != 0);
        if !busy {
            self.clients.remove(key);
            self.refusals.retain(|refusal| refusal.client != *key);
            self.forget_idle_roles();
        }
    }

    pub(crate) fn set_role(&mut self, role: &Role, facts: RoleFacts) {
        for role in upwards(role) {
            self.counts.entry(role).or_insert((0, 0));
        }
        self.facts.insert(role.clone(), facts);
        self.forget_idle_roles();
    }

    /// A role is known as long as somebody is in it, something is set for it or reserved for it, or a role below
    /// it is known.
    fn forget_idle_roles(&mut self) {
        self.facts.retain(|_, facts| *facts != RoleFacts::default());
        let mut known: BTreeSet<Role> = BTreeSet::new();
        for role in self.facts.keys().chain(self.clients.keys().map(|(_, role)| role)) {
            known.extend(upwards(role));
        }
        for agent in self.agents.values().filter(|agent| agent.facts.counted) {
            for role in exclusive(&agent.facts.total).iter().filter_map(Resource::reserved_for) {
                known.extend(upwards(role));
            }
        }
        self.counts.retain(|role, _| known.contains(role));
        for role in known {
            self.counts.entry(role).or_insert((0, 0));
        }
    }

    pub(crate) fn allocate(&mut self, at: u32, key: &Key, what: &Resources) {
        self.know(key);
        self.agents.entry(at).or_default().held.push((key.clone(), what.clone()));
    }

    pub(crate) fn launched(&mut self, key: &Key, what: &Resources) {
        let what = scalars(what, |resource| !resource.is_shared());
        let client = self.know(key);
        for (name, milli) in &mut client.demand {
            *milli = (*milli - get(&what, name)).max(0);
        }
        client.launched = what;
    }

    pub(crate) fn set_demand(&mut self, key: &Key, demand: BTreeMap<String, i64>) {
        let now = self.now;
        let client = self.know(key);
        let zero = |demand: &BTreeMap<String, i64>| demand.values().all(|milli| *milli == 0);
        if zero(&client.demand) && !zero(&demand) {
            client.waiting_since = now;
        }
        client.demand = demand;
        self.tidy(key);
    }

    /// Filters end at whole multiples of 50 ms.
    pub(crate) fn refuse(&mut self, key: &Key, agent: u32, what: &Resources, until: u64) {
        let until = until.div_ceil(50) * 50;
        self.refusals.push(Refusal { client: key.clone(), agent, what: what.clone(), until });
    }

    pub(crate) fn drop_filters(&mut self, key: &Key) {
        self.refusals.retain(|refusal| refusal.client != *key);
    }

    pub(crate) fn drop_filters_on(&mut self, agent: u32) {
        self.refusals.retain(|refusal| refusal.agent != agent);
    }

    // Sums.

    pub(crate) fn offered_on(&self, at: u32) -> Resources {
        let mut sum = Resources::new();
        for offer in self.offers.values().filter(|offer| offer.agent == at) {
            sum.add(&exclusive(&offer.bundle));
        }
        sum
    }

    pub(crate) fn allocated_on(&self, at: u32) -> Resources {
        let mut sum = Resources::new();
        for (_, what) in &self.agents[&at].held {
            sum.add(&exclusive(what));
        }
        sum
    }

    pub(crate) fn free(&self, at: u32) -> Resources {
        let agent = &self.agents[&at];
        if !agent.facts.offerable {
            return Resources::new();
        }
        exclusive(&agent.facts.total).minus(&self.allocated_on(at)).minus(&self.offered_on(at))
    }

    pub(crate) fn total(&self) -> BTreeMap<String, i64> {
        let mut sum = BTreeMap::new();
        for agent in self.agents.values().filter(|agent| agent.facts.counted) {
            add_up(&mut sum, scalars(&agent.facts.total, |resource| !resource.is_shared()));
        }
        sum
    }

    /// All that clients have of whom it is asked: offered, and allocated if that is wanted.
    fn taken(
        &self,
        whose: impl Fn(&Key) -> bool,
        allocated: bool,
        counts: fn(&Resource) -> bool,
    ) -> BTreeMap<String, i64> {
        let mut sum = BTreeMap::new();
        for offer in self.offers.values().filter(|offer| whose(&offer.client)) {
            add_up(&mut sum, scalars(&offer.bundle, counts));
        }
        for (key, what) in self.agents.values().flat_map(|agent| &agent.held).filter(|_| allocated) {
            if whose(key) {
                add_up(&mut sum, scalars(what, counts));
            }
        }
        sum
    }

    pub(crate) fn sums(&self, whose: impl Fn(&Key) -> bool) -> BTreeMap<String, i64> {
        self.taken(whose, true, |resource| !resource.is_shared())
    }

    /// What counts against quota: what is reserved, and the ordinary rest that is offered or allocated.
    pub(crate) fn consumed(&self, role: &Role) -> BTreeMap<String, i64> {
        let mut sum = self.taken(|key| is_in(&key.1, role), true, is_ordinary);
        for agent in self.agents.values().filter(|agent| agent.facts.counted) {
            let reserved = |resource: &Resource| resource.reserved_for().is_some_and(|of| is_in(of, role));
            add_up(&mut sum, scalars(&exclusive(&agent.facts.total), reserved));
        }
        sum
    }

    fn headroom(&self) -> BTreeMap<String, i64> {
        let mut sum = BTreeMap::new();
        for at in self.agents.keys() {
            add_up(&mut sum, scalars(&self.free(*at), is_ordinary));
        }
        sum
    }

    fn gap(&self, role: &Role, name: &str) -> i64 {
        let guarantee = self.facts.get(role).and_then(|facts| facts.guarantee.get(name));
        guarantee.map_or(0, |guarantee| (guarantee - get(&self.consumed(role), name)).max(0))
    }

    fn below(&self, role: Option<&Role>) -> Vec<Role> {
        let parent = |child: &Role| upwards(child).get(1).cloned();
        self.counts.keys().filter(|child| parent(child).as_ref() == role).cloned().collect()
    }

    /// What is missing for the guarantees of a role and of all below it: what serves a role below serves it too.
    fn missing_in(&self, role: &Role, name: &str) -> i64 {
        self.missing_below(Some(role), name).max(self.gap(role, name))
    }

    fn missing_below(&self, role: Option<&Role>, name: &str) -> i64 {
        self.below(role).iter().map(|child| self.missing_in(child, name)).sum()
    }

    /// How much a client in a role may take because of guarantees: what is missing for the role or for one above
    /// it, without what others below that one are to have.
    fn missing_for(&self, role: &Role, name: &str) -> i64 {
        let mut most = 0;
        let mut mine = 0;
        for above in upwards(role) {
            let others = self.missing_below(Some(&above), name) - mine;
            most = most.max(self.gap(&above, name) - others);
            mine = self.missing_in(&above, name);
        }
        most
    }

    fn allowance(&self, role: &Role, name: &str) -> i64 {
        let of = |above: &Role| {
            let limit = self.facts.get(above)?.limit.get(name)?;
            Some((limit - get(&self.consumed(above), name)).max(0))
        };
        upwards(role).iter().filter_map(of).min().unwrap_or(i64::MAX)
    }

    fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.total().into_keys().collect();
        for facts in self.facts.values() {
            names.extend(facts.guarantee.keys().chain(facts.limit.keys()).map(ToString::to_string));
        }
        for agent in self.agents.values() {
            names.extend(scalars(&agent.facts.total, |_| true).into_keys());
        }
        names
    }

    // Whose turn it is.

    fn share(&self, have: &BTreeMap<String, i64>) -> Fraction {
        let total = self.total();
        let counts = |name: &&String| get(&total, name) > 0 && !self.options.unfair.contains(name);
        have.keys()
            .filter(counts)
            .map(|name| {
                Fraction(
                    u128::from(get(have, name).max(0).unsigned_abs()),
                    u128::from(get(&total, name).unsigned_abs()),
                )
            })
            .max()
            .unwrap_or(Fraction(0, 1))
    }

    fn weighted(&self, role: &Role) -> Fraction {
        let Fraction(over, under) = self.share(&self.sums(|key| is_in(&key.1, role)));
        let weight = self.facts.get(role).map_or(1000, |facts| facts.weight);
        Fraction(over * 1000, under * u128::from(weight))
    }

    fn wanted(client: &RefClient) -> &BTreeMap<String, i64> {
        let asks = client.demand.values().any(|milli| *milli != 0);
        if asks { &client.demand } else { &client.launched }
    }

    fn outstanding(&self, key: &Key) -> BTreeMap<String, i64> {
        let offered = self.taken(|of| of == key, false, |resource| !resource.is_shared());
        let wanted = Reference::wanted(&self.clients[key]);
        let left = wanted.iter().map(|(name, milli)| (name.clone(), (milli - get(&offered, name)).max(0)));
        left.filter(|(_, milli)| *milli > 0).collect()
    }

    fn is_met(&self, key: &Key) -> bool {
        if Reference::wanted(&self.clients[key]).values().all(|milli| *milli == 0) {
            let offered = self.taken(|of| of == key, false, |resource| !resource.is_shared());
            offered.values().any(|milli| *milli != 0)
        } else {
            self.outstanding(key).is_empty()
        }
    }

    /// All hungry clients in the order of their turns.
    pub(crate) fn order(&self) -> Vec<Key> {
        let mut hungry: Vec<Key> =
            self.clients.iter().filter(|(_, client)| client.facts.hungry).map(|(key, _)| key.clone()).collect();
        match self.policy {
            PolicyName::Fifo => hungry.sort_by_cached_key(|key| {
                let client = &self.clients[key];
                (self.is_met(key), if self.is_met(key) { 0 } else { client.waiting_since }, client.arrival)
            }),
            PolicyName::Drc => hungry.sort_by_cached_key(|key| {
                let demand = self.share(&self.outstanding(key));
                (std::cmp::Reverse(demand), self.clients[key].offers_made, key.clone())
            }),
            _ => hungry = self.order_below(None),
        }
        hungry
    }

    fn order_below(&self, role: Option<&Role>) -> Vec<Key> {
        let mut entries: Vec<(Fraction, u64, String, Vec<Key>)> = Vec::new();
        for child in self.below(role) {
            let inside = self.order_below(Some(&child));
            entries.push((self.weighted(&child), self.counts[&child].1, child.to_string(), inside));
        }
        if let Some(role) = role {
            let mut own: Vec<Key> = self
                .clients
                .iter()
                .filter(|(key, client)| key.1 == *role && client.facts.hungry)
                .map(|(key, _)| key.clone())
                .collect();
            own.sort_by_cached_key(|key| {
                (self.share(&self.sums(|of| of == key)), self.clients[key].offers_made, key.0.clone())
            });
            let share = self.share(&self.sums(|key| key.1 == *role));
            entries.push((share, self.counts[role].0, format!("{role}/."), own));
        }
        entries.retain(|(.., inside)| !inside.is_empty());
        entries.sort();
        entries.into_iter().flat_map(|(.., inside)| inside).collect()
    }

    // A round.

    pub(crate) fn round(&mut self, changed: &Changed) -> Vec<Made> {
        let draw = if changed.settled { 0 } else { self.lots.next() };
        let all: BTreeSet<u32> = self.agents.keys().copied().filter(|at| !self.free(*at).is_empty()).collect();
        let mut lanes: BTreeMap<(Option<Key>, bool, usize), Vec<u32>> = BTreeMap::new();
        for (key, agents) in &changed.unfiltered {
            if self.clients.get(key).is_some_and(|client| client.facts.hungry) && !changed.waking.contains(key) {
                let mine = agents.iter().chain(&changed.dirty).copied().collect();
                let sorted = self.sorted(draw, &mine, self.placement(&key.1));
                lanes.insert((Some(key.clone()), false, 0), sorted);
            }
        }
        let mut made = Vec::new();
        for stage in [Stage::Guarantee, Stage::Fair] {
            if stage == Stage::Guarantee && self.names().iter().all(|name| self.missing_below(None, name) == 0) {
                continue;
            }
            let priorities: BTreeSet<i64> = self.order().iter().map(|key| self.clients[key].facts.priority).collect();
            for priority in priorities.into_iter().rev() {
                while let Some(offer) = self.first(stage, priority, draw, &all, changed, &mut lanes) {
                    made.push(offer);
                }
            }
        }
        made
    }

    /// The first offer, in the order of turns, that can be made.
    fn first(
        &mut self,
        stage: Stage,
        priority: i64,
        draw: u64,
        all: &BTreeSet<u32>,
        changed: &Changed,
        lanes: &mut BTreeMap<(Option<Key>, bool, usize), Vec<u32>>,
    ) -> Option<Made> {
        for key in self.order() {
            if self.clients[&key].facts.priority != priority {
                continue;
            }
            if stage == Stage::Guarantee && self.names().iter().all(|name| self.missing_for(&key.1, name) <= 0) {
                continue;
            }
            let waking = changed.waking.contains(&key);
            let lane = if let Some(mine) = lanes.get(&(Some(key.clone()), false, 0)) {
                mine.clone()
            } else if waking || !changed.dirty.is_empty() {
                let placement = self.placement(&key.1);
                let of = if waking { all } else { &changed.dirty };
                lanes
                    .entry((None, waking, placement as usize))
                    .or_insert_with(|| self.sorted(draw, of, placement))
                    .clone()
            } else {
                Vec::new()
            };
            let others = self.agents.keys().filter(|at| !lane.contains(at)).copied();
            for at in lane.iter().copied().chain(others) {
                if let Some(bundle) = self.consider(at, &key, stage) {
                    return Some(self.offer(at, key, bundle));
                }
            }
        }
        None
    }

    fn offer(&mut self, agent: u32, key: Key, bundle: Resources) -> Made {
        let number = self.made;
        self.made += 1;
        let now = self.now;
        let client = self.know(&key);
        client.offers_made += 1;
        if client.demand.values().all(|milli| *milli == 0) {
            client.waiting_since = now;
        }
        for (levels, role) in upwards(&key.1).into_iter().enumerate() {
            let counts = self.counts.entry(role).or_insert((0, 0));
            counts.0 += u64::from(levels == 0);
            counts.1 += 1;
        }
        self.offers.insert(number, RefOffer { client: key.clone(), agent, bundle: bundle.clone() });
        (number, key.0, key.1, agent, bundle)
    }

    pub(crate) fn placement(&self, role: &Role) -> Placement {
        let set = |role: &Role| self.facts.get(role).and_then(|facts| facts.placement);
        upwards(role).iter().find_map(set).unwrap_or(self.options.placement)
    }

    /// How full an agent is by the common scalars. A difference below 2^-32 does not count.
    fn fullness(&self, at: u32) -> u64 {
        let ordinary = |what: &Resources, name: &str| {
            get(&scalars(what, |resource| resource.qualifier.is_none()), name).max(0).cast_unsigned()
        };
        let (total, free) = (exclusive(&self.agents[&at].facts.total), self.free(at));
        let used = |name: &&str| {
            let (total, free) = (ordinary(&total, name), ordinary(&free, name));
            ((total - free.min(total)) << 32).checked_div(total).unwrap_or(0)
        };
        ["cpus", "mem", "disk", "gpus"].iter().map(used).max().unwrap_or(0)
    }

    fn sorted(&self, draw: u64, agents: &BTreeSet<u32>, placement: Placement) -> Vec<u32> {
        let mut sorted: Vec<u32> =
            agents.iter().copied().filter(|at| self.agents.contains_key(at) && !self.free(*at).is_empty()).collect();
        sorted.sort_by_cached_key(|at| {
            let lot = mix(draw ^ (u64::from(*at) << 20));
            match placement {
                Placement::Spread => (self.fullness(*at), lot),
                Placement::Binpack => (u64::MAX - self.fullness(*at), lot),
                Placement::Random => (0, lot),
            }
        });
        sorted
    }

    /// What a client can be offered of an agent.
    pub(crate) fn consider(&self, at: u32, key: &Key, stage: Stage) -> Option<Resources> {
        let (agent, wants) = (&self.agents[&at], &self.clients[key].facts);
        if agent.facts.offerable && self.admits(agent, wants) {
            let bundle = self.within_quota(&self.takeable(at, key), &key.1, stage)?;
            let least = wants.minimum.as_ref().unwrap_or(&self.options.min_allocatable);
            let enough = least.is_empty()
                || least.iter().any(|least| least.scalars().iter().all(|(name, milli)| bundle.scalar(name) >= *milli));
            let hidden = self.refusals.iter().any(|refusal| {
                refusal.client == *key
                    && refusal.agent == at
                    && refusal.until > self.now
                    && refusal.what.contains(&bundle)
            });
            return (!exclusive(&bundle).is_empty() && enough && !hidden).then_some(bundle);
        }
        None
    }

    fn admits(&self, agent: &RefAgent, wants: &ClientFacts) -> bool {
        let looks = Looks {
            hostname: &agent.facts.hostname,
            attributes: &agent.facts.attributes,
            domain: agent.facts.domain.as_ref(),
        };
        let gpus = exclusive(&agent.facts.total).scalar("gpus") > 0;
        (!gpus || !self.options.filter_gpus || wants.abilities.gpus)
            && (!agent.facts.remote || wants.abilities.regions)
            && wants.constraints.as_ref().is_none_or(|rule| Rule::new(rule).is_ok_and(|rule| rule.admits(looks)))
    }

    fn takeable(&self, at: u32, key: &Key) -> Resources {
        let abilities = self.clients[key].facts.abilities;
        let may_take = |resource: &Resource| {
            resource.reserved_for().is_none_or(|of| is_in(&key.1, of))
                && (abilities.revocable || !resource.is_revocable())
                && (abilities.shared || !resource.is_shared())
                && (abilities.refined || resource.qualifier.as_ref().is_none_or(|q| q.reservations.len() <= 1))
        };
        let mut bundle = self.free(at).filter(may_take);
        if !bundle.is_empty() {
            bundle.add(&self.agents[&at].facts.total.filter(|resource| resource.is_shared() && may_take(resource)));
        }
        bundle
    }

    /// Of ordinary scalars: what is missing for guarantees, and beside it what is surplus; both within limits.
    fn within_quota(&self, bundle: &Resources, role: &Role, stage: Stage) -> Option<Resources> {
        let limited = upwards(role).iter().any(|above| self.facts.get(above).is_some_and(|f| !f.limit.is_empty()));
        let kept = self.names().iter().any(|name| self.missing_below(None, name) > 0);
        if !limited && !kept {
            return Some(bundle.clone());
        }
        let headroom = self.headroom();
        let mut left: BTreeMap<String, i64> = BTreeMap::new();
        let mut serves_a_guarantee = false;
        for (name, free) in scalars(bundle, is_ordinary) {
            let allowance = self.allowance(role, &name);
            let owed = if stage == Stage::Guarantee { self.missing_for(role, &name).max(0) } else { 0 };
            let part = owed.min(free).min(allowance);
            serves_a_guarantee |= part > 0;
            let surplus = (get(&headroom, &name) - self.missing_below(None, &name)).max(0);
            left.insert(name, part + (free - part).min(allowance - part).min(surplus));
        }
        if stage == Stage::Guarantee && !serves_a_guarantee {
            return None;
        }
        let mut out = Resources::new();
        for resource in bundle {
            let mut resource = resource.clone();
            let whole = resource.qualifier.is_some();
            if is_ordinary(&resource)
                && let Value::Scalar(milli) = &mut resource.value
                && let Some(left) = left.get_mut(&*resource.name)
            {
                // What has a qualifier, like a disk of its own, cannot be cut into pieces.
                *milli = if whole && *milli > *left { 0 } else { (*milli).min(*left) };
                *left -= *milli;
            }
            out.add_entry(resource);
        }
        Some(out)
    }
}

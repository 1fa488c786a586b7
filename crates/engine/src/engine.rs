//! The engine as a whole: the facts that it is told, one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mesos_model::{AgentId, FrameworkId, Resources, Role, Time};

use crate::{
    agents::{AgentFacts, Agents},
    bundle::{Bundle, Kind, Kinds, Quantities},
    facts::{Amounts, Constraints, Placement, PolicyName, Request, RoleFacts},
    filters::Filters,
    needs::Needs,
    offers::Offers,
    policy::ScoreError,
    random::Lots,
    roles::{Abilities, Minimum, Policy, Tree},
    rules::Rule,
};

/// An agent's place in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentSlot(pub(crate) u32);

/// The place of a framework in one of its roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientSlot(pub(crate) u32);

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides between agents that are equally good.
    pub seed: u64,
    /// How long a framework may sit on an offer; `None` is for ever.
    pub offer_timeout: Option<Duration>,
    /// An offer must contain one of these, unless the framework said what it wants at least. Empty means
    /// anything.
    pub min_allocatable: Vec<Resources>,
    /// Which agents are offered first, unless a role says otherwise.
    pub placement: Placement,
    /// Names of scalars that do not count for shares (`--fair_sharing_excluded_resource_names`).
    pub unfair: Vec<String>,
    /// Agents with GPUs are only for frameworks that know of GPUs (`--filter_gpu_resources`).
    pub filter_gpus: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 0,
            offer_timeout: Some(Duration::from_secs(60)),
            min_allocatable: vec![Resources::of(&[("cpus", 10)]), Resources::of(&[("mem", 32_000)])],
            placement: Placement::default(),
            unfair: Vec::new(),
            filter_gpus: true,
        }
    }
}

/// What the engine is told about a framework in one of its roles.
#[derive(Clone, Debug, Default)]
pub struct ClientFacts {
    /// It is there and wants offers.
    pub hungry: bool,
    /// What it can do.
    pub abilities: Abilities,
    /// The smallest offers that it takes; `None` is as the options have it.
    pub minimum: Option<Vec<Resources>>,
    /// What an agent must be like.
    pub constraints: Option<Constraints>,
    /// The higher one is offered to first.
    pub priority: i64,
}

/// An offer to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Rises with each offer.
    pub number: u64,
    /// To whom.
    pub client: ClientSlot,
    /// Of what.
    pub agent: AgentSlot,
    /// How much.
    pub bundle: Bundle,
}

/// An offer that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// Whose it was.
    pub client: ClientSlot,
    /// Of what.
    pub agent: AgentSlot,
    /// How much.
    pub bundle: Bundle,
}

/// A role, to look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleState {
    /// Which.
    pub role: Role,
    /// What is set for it.
    pub facts: RoleFacts,
    /// What counts against quota.
    pub consumed: Amounts,
    /// Reserved on agents.
    pub reserved: Amounts,
    /// Offered and allocated.
    pub sums: Amounts,
    /// Offered.
    pub offered: Amounts,
    /// Dominant share, not divided by weight, in parts per million.
    pub share_ppm: u64,
    /// Frameworks in exactly this role.
    pub frameworks: Vec<FrameworkId>,
}

/// The engine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) options: Options,
    pub(crate) minimum: Minimum,
    pub(crate) kinds: Kinds,
    pub(crate) agents: Agents,
    pub(crate) tree: Tree,
    pub(crate) offers: Offers,
    pub(crate) filters: Filters,
    pub(crate) needs: Needs,
    /// Who became hungry since the last round, or may take more than before: asked about everything free.
    pub(crate) waking: BTreeSet<u32>,
    /// Whose filters ran out since the last round: asked about these agents.
    pub(crate) unfiltered: BTreeMap<u32, Vec<u32>>,
    /// Whom guarantees of others kept something from.
    pub(crate) held_back: Vec<u32>,
    /// What was free beyond guarantees at the end of the last round.
    pub(crate) surplus: Quantities,
    pub(crate) rounds: u64,
    pub(crate) searches: u64,
    pub(crate) lots: Lots,
}

impl Engine {
    /// An engine that knows of nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Engine {
        let mut kinds = Kinds::default();
        let minimum = minimum(&options.min_allocatable, &mut kinds);
        let mut tree = Tree::new(options.seed);
        let left_out = options.unfair.iter().map(|name| kinds.kind(&Arc::from(name.as_str())));
        tree.leave_out(left_out.filter(|kind| *kind < 64).fold(0, |bits, kind| bits | (1 << kind)));
        Engine {
            minimum,
            kinds,
            agents: Agents::default(),
            tree,
            offers: Offers::default(),
            filters: Filters::default(),
            needs: Needs::default(),
            waking: BTreeSet::new(),
            unfiltered: BTreeMap::new(),
            held_back: Vec::new(),
            surplus: Quantities::default(),
            rounds: 0,
            searches: 0,
            lots: Lots::new(options.seed),
            options,
        }
    }

    // Agents.

    /// The slot of an agent, new if need be.
    pub fn agent(&mut self, id: &AgentId) -> AgentSlot {
        AgentSlot(self.agents.slot(id))
    }

    /// The slot of an agent that is known.
    #[must_use]
    pub fn find_agent(&self, id: &AgentId) -> Option<AgentSlot> {
        self.agents.find(id).map(AgentSlot)
    }

    /// An agent's id.
    #[must_use]
    pub fn agent_id(&self, slot: AgentSlot) -> &AgentId {
        &self.agents.get(slot.0).id
    }

    /// Takes over what an agent has and is.
    pub fn put_agent(&mut self, slot: AgentSlot, facts: AgentFacts) {
        let at = slot.0;
        let mut all = Bundle::from(&facts.total);
        self.agents.rests.share(&mut all);
        let shared = all.rest().map(|rest| rest.filter(mesos_model::Resource::is_shared)).unwrap_or_default();
        let total = all.without_shared();
        let class = self.agents.class_of(&facts);
        let before = self.agents.get(at);
        if before.total != total || before.counted != facts.counted {
            let (old, was_counted) = (before.total.clone(), before.counted);
            self.count_total(&old, was_counted, -1);
            self.count_total(&total, facts.counted, 1);
        }
        let before = &self.agents.list[at as usize];
        let total_changed = before.total != total;
        let shared = (!shared.is_empty()).then(|| Bundle::from(&shared));
        let quiet = !total_changed
            && before.shared == shared
            && before.remote == facts.remote
            && before.offerable == facts.offerable
            && before.class == class
            && before.hostname == facts.hostname;
        let agent = &mut self.agents.list[at as usize];
        agent.gpus = total.scalar(3, &self.kinds) > 0;
        agent.total = total;
        agent.shared = shared;
        agent.hostname = facts.hostname;
        agent.attributes = facts.attributes;
        agent.domain = facts.domain;
        agent.remote = facts.remote;
        agent.class = class;
        agent.counted = facts.counted;
        agent.offerable = facts.offerable;
        // It may have less than what is allocated and offered: from then on subtracting is not exact.
        agent.crowded |= total_changed && !agent.has_room();
        if !facts.offerable {
            self.drop_holds_on(at);
        }
        if !quiet || self.agents.get(at).crowded {
            self.agents.refresh(at, &mut self.kinds);
        }
        self.wake_on_surplus();
    }

    fn count_total(&mut self, total: &Bundle, counted: bool, sign: i64) {
        if counted {
            let quantities = total.quantities(&mut self.kinds);
            self.tree.shift_total(&quantities, sign);
            for (role, kind, amount) in total.reserved(&mut self.kinds) {
                self.tree.reserve(&role, kind, sign * amount);
                if sign < 0
                    && let Some(node) = self.tree.find_node(&role)
                {
                    self.waking.extend(self.tree.take_cut(node));
                    self.wake_the_owed(node);
                }
            }
        }
    }

    /// Forgets an agent on which nothing is.
    pub fn forget_agent(&mut self, slot: AgentSlot) {
        self.put_agent(slot, AgentFacts::default());
        self.filters.drop_agent(slot.0);
        self.agents.forget(slot.0, &mut self.kinds);
    }

    /// What an agent has that nobody holds and nobody was offered; nothing if it may not be offered.
    #[must_use]
    pub fn free(&self, slot: AgentSlot) -> Resources {
        self.agents.get(slot.0).free.resources()
    }

    /// What frameworks were offered of an agent and have not answered.
    #[must_use]
    pub fn offered(&self, slot: AgentSlot) -> Resources {
        self.agents.get(slot.0).offered.resources()
    }

    /// What launches hold of an agent.
    #[must_use]
    pub fn allocated(&self, slot: AgentSlot) -> Resources {
        self.agents.get(slot.0).allocated.resources()
    }

    /// What is gathered for needs on an agent.
    #[must_use]
    pub fn held(&self, slot: AgentSlot) -> Resources {
        self.agents.get(slot.0).held.resources()
    }

    /// Whether what is held of an agent is more than it has, or the same twice.
    #[must_use]
    pub fn is_crowded(&self, slot: AgentSlot) -> bool {
        self.agents.get(slot.0).crowded
    }

    /// Whether nothing is on an agent.
    #[must_use]
    pub fn is_empty(&self, slot: AgentSlot) -> bool {
        let agent = self.agents.get(slot.0);
        agent.allocated.is_empty() && agent.offered.is_empty() && agent.held.is_empty()
    }

    /// How full an agent is: its largest used share of a common scalar, in parts per million.
    #[must_use]
    pub fn fullness_ppm(&self, slot: AgentSlot) -> u64 {
        (self.agents.get(slot.0).fullness() * 1_000_000) >> 32
    }

    // Allocations.

    /// A launch holds something of an agent.
    pub fn allocate(&mut self, agent: AgentSlot, client: ClientSlot, what: &Bundle) {
        let what = &what.without_shared();
        self.charge(client.0, what, 1, false);
        let slot = &mut self.agents.list[agent.0 as usize];
        // What others were offered counts too: an agent may come back with tasks that it was not known to have.
        slot.crowded |= if slot.offerable {
            !slot.free.contains(what)
        } else {
            !slot.total.minus(&slot.allocated).minus(&slot.offered).contains(what)
        };
        slot.allocated.add(what);
        self.agents.give(agent.0, what, &mut self.kinds);
        self.agents.soil(agent.0);
    }

    /// A launch holds something no more. `rest` gives what all others on the agent hold, for agents on which
    /// more is held than there is.
    pub fn release<I: IntoIterator<Item = Bundle>>(
        &mut self,
        agent: AgentSlot,
        client: ClientSlot,
        what: &Bundle,
        rest: impl FnOnce() -> I,
    ) {
        let what = &what.without_shared();
        self.charge(client.0, what, -1, false);
        if self.agents.get(agent.0).crowded {
            self.sum_up(agent, rest());
        } else {
            self.agents.list[agent.0 as usize].allocated.take_what_is_there(what);
            self.agents.take_back(agent.0, what, &mut self.kinds);
        }
        self.wake_on_surplus();
    }

    /// Sums what is held of an agent anew.
    pub fn sum_up(&mut self, agent: AgentSlot, held: impl IntoIterator<Item = Bundle>) {
        let slot = &mut self.agents.list[agent.0 as usize];
        slot.allocated = Bundle::default();
        slot.crowded = false;
        for what in held {
            let what = what.without_shared();
            slot.crowded |= !slot.total.minus(&slot.allocated).contains(&what);
            slot.allocated.add(&what);
        }
        slot.crowded |= !slot.has_room();
        self.agents.refresh(agent.0, &mut self.kinds);
    }

    /// A client has launched something: it counts as what it wanted.
    pub fn launched(&mut self, client: ClientSlot, what: &Bundle) {
        let quantities = what.quantities(&mut self.kinds);
        self.tree.launched(client.0, &quantities);
    }

    pub(crate) fn charge(&mut self, client: u32, what: &Bundle, sign: i64, offered: bool) {
        let all = what.quantities(&mut self.kinds);
        if what.is_plain() {
            self.tree.charge(client, &all, &all, sign, offered);
        } else {
            let ordinary = what.ordinary(&mut self.kinds);
            self.tree.charge(client, &all, &ordinary, sign, offered);
        }
        if sign < 0 {
            let node = self.tree.clients[client as usize].node;
            self.waking.extend(self.tree.take_cut(node));
            self.wake_the_owed(node);
        }
    }

    /// More is missing for guarantees of a role: whom guarantees of others kept something from there may now take
    /// it as its due.
    fn wake_the_owed(&mut self, node: u32) {
        let owed = self.tree.path(node).filter(|node| !node.guarantee.is_empty()).last().map(|node| node.role.clone());
        let Some(owed) = owed.filter(|_| !self.held_back.is_empty()) else { return };
        for at in &self.held_back {
            let client = &self.tree.clients[*at as usize];
            if client.hungry && crate::cycle::is_role_or_ancestor(&owed, &client.role) {
                self.waking.insert(*at);
            }
        }
    }

    // Roles and policy.

    /// Sets what an operator has said about a role.
    pub fn set_role(&mut self, role: &Role, facts: RoleFacts) {
        let limit = self.by_kind(&facts.limit);
        let guarantee = self.by_kind(&facts.guarantee);
        self.tree.set_role(role, facts, limit, guarantee);
        // Whom the old limit has cut, and whom guarantees have kept something from, may get more by the new one.
        self.wake_everybody();
    }

    fn by_kind(&mut self, amounts: &Amounts) -> Vec<(Kind, i64)> {
        amounts.iter().map(|(name, amount)| (self.kinds.kind(name), *amount)).collect()
    }

    /// What is set for a role.
    #[must_use]
    pub fn role_facts(&self, role: &Role) -> RoleFacts {
        self.tree.find_node(role).map(|at| self.tree.nodes[at as usize].facts.clone()).unwrap_or_default()
    }

    /// All roles that anybody is in, or that anything is set for, in order.
    #[must_use]
    pub fn roles(&self) -> Vec<RoleState> {
        let state = |(role, at): (&Role, u32)| {
            let node = &self.tree.nodes[at as usize];
            let mut consumed = node.taken.clone();
            consumed.shift(&node.reserved, 1);
            RoleState {
                role: role.clone(),
                facts: node.facts.clone(),
                consumed: consumed.by_name(&self.kinds),
                reserved: node.reserved.by_name(&self.kinds),
                sums: node.sums.by_name(&self.kinds),
                offered: node.offered.by_name(&self.kinds),
                share_ppm: self.tree.share_of(&node.sums).parts(1_000_000),
                frameworks: node.clients.keys().cloned().collect(),
            }
        };
        self.tree.roles().map(state).collect()
    }

    /// What the cluster has.
    #[must_use]
    pub fn total(&self) -> Amounts {
        self.tree.total.by_name(&self.kinds)
    }

    /// What a role's guarantee and limit are reckoned against: reservations, and the rest that is taken.
    #[must_use]
    pub fn consumed(&self, role: &Role) -> Amounts {
        let Some(at) = self.tree.find_node(role) else { return Amounts::new() };
        let node = &self.tree.nodes[at as usize];
        let mut consumed = node.taken.clone();
        consumed.shift(&node.reserved, 1);
        consumed.by_name(&self.kinds)
    }

    /// Changes whose turn it is.
    pub fn set_policy(&mut self, policy: Policy) {
        self.tree.set_policy(policy);
        self.wake_everybody();
    }

    /// Whose turn it is.
    #[must_use]
    pub fn policy(&self) -> PolicyName {
        self.tree.policy().name()
    }

    /// The policy as it is.
    #[must_use]
    pub fn policy_in_force(&self) -> &Policy {
        self.tree.policy()
    }

    /// Why the module that orders clients has failed, if it has. Whoever asks should choose another policy.
    #[must_use]
    pub fn trouble(&self) -> Option<&ScoreError> {
        self.tree.trouble.as_ref()
    }

    // Clients.

    /// The slot of a framework in a role, new if need be.
    pub fn client(&mut self, framework: &FrameworkId, role: &Role) -> ClientSlot {
        ClientSlot(self.tree.client(framework, role))
    }

    /// The slot of a framework in a role, if it is known.
    #[must_use]
    pub fn find_client(&self, framework: &FrameworkId, role: &Role) -> Option<ClientSlot> {
        self.tree.find_client(framework, role).map(ClientSlot)
    }

    /// Who a client is.
    #[must_use]
    pub fn client_of(&self, slot: ClientSlot) -> (&FrameworkId, &Role) {
        let client = &self.tree.clients[slot.0 as usize];
        (&client.framework, &client.role)
    }

    /// What a framework has in a role, offered or allocated.
    #[must_use]
    pub fn sums(&self, slot: ClientSlot) -> Amounts {
        self.tree.clients[slot.0 as usize].sums.by_name(&self.kinds)
    }

    /// Whether a client wants offers.
    #[must_use]
    pub fn is_hungry(&self, slot: ClientSlot) -> bool {
        self.tree.clients[slot.0 as usize].hungry
    }

    /// Takes over what a client is and wants. If it may take more than before it is asked about everything.
    ///
    /// # Errors
    /// For constraints that cannot be compiled; then they are as before.
    pub fn put_client(&mut self, now: Time, slot: ClientSlot, facts: ClientFacts) -> Result<(), String> {
        self.tree.set_now(now);
        let rule = match &facts.constraints {
            Some(constraints) if !constraints.groups.is_empty() => Some(constraints),
            _ => None,
        };
        let old_rule = self.tree.clients[slot.0 as usize].rule.clone();
        let same_rule = old_rule.as_deref().map(Rule::constraints) == rule;
        let minimum = facts.minimum.as_ref().map(|list| minimum(list, &mut self.kinds));
        let client = &mut self.tree.clients[slot.0 as usize];
        let mut more = !client.hungry && facts.hungry;
        more |= client.abilities != facts.abilities || client.minimum != minimum || !same_rule;
        client.abilities = facts.abilities;
        client.minimum = minimum;
        let mut failed = None;
        if !same_rule {
            match rule.map(Rule::new).transpose() {
                Ok(rule) => {
                    client.rule = rule.map(Arc::new);
                    client.verdicts.clear();
                }
                Err(error) => failed = Some(error),
            }
        }
        self.tree.set_priority(slot.0, facts.priority);
        self.tree.set_hungry(slot.0, facts.hungry);
        if !facts.hungry {
            self.waking.remove(&slot.0);
        } else if more {
            self.waking.insert(slot.0);
        }
        self.forget_if_idle(slot.0);
        failed.map_or(Ok(()), Err)
    }

    /// A client is asked about everything that is free.
    pub fn wake(&mut self, slot: ClientSlot) {
        if self.tree.clients[slot.0 as usize].hungry {
            self.waking.insert(slot.0);
        }
    }

    pub(crate) fn wake_everybody(&mut self) {
        for (at, client) in self.tree.clients.iter().enumerate() {
            if client.hungry {
                self.waking.insert(u32::try_from(at).unwrap_or(0));
            }
        }
    }

    /// When more is free beyond guarantees than when somebody was held back, they are asked again.
    pub(crate) fn wake_on_surplus(&mut self) {
        if self.held_back.is_empty() {
            return;
        }
        let grown = (0..self.kinds.count()).any(|kind| self.surplus_of(kind) > self.surplus.get(kind));
        if grown {
            for at in std::mem::take(&mut self.held_back) {
                self.tree.clients[at as usize].held_back = false;
                if self.tree.clients[at as usize].hungry {
                    self.waking.insert(at);
                }
            }
        }
    }

    pub(crate) fn surplus_of(&self, kind: Kind) -> i64 {
        self.agents.headroom.get(kind) - self.tree.all_missing().get(kind)
    }

    pub(crate) fn forget_if_idle(&mut self, client: u32) {
        if self.tree.is_idle(client) && !self.needs.any_of(client) {
            self.filters.drop_client(client);
            self.waking.remove(&client);
            self.unfiltered.remove(&client);
            self.held_back.retain(|other| *other != client);
            self.tree.forget_client(client);
        }
    }

    // Filters.

    /// A client does not want to be offered this, or less, on an agent until then.
    pub fn refuse(&mut self, client: ClientSlot, agent: AgentSlot, what: &Bundle, until: Time) {
        if !what.is_empty() {
            self.filters.add(client.0, agent.0, what, until);
        }
    }

    /// A client forgets what it refused; it is not woken by that.
    pub fn drop_filters(&mut self, client: ClientSlot) {
        self.filters.drop_client(client.0);
        self.unfiltered.remove(&client.0);
    }

    /// Everybody forgets what they refused on an agent, and is asked about it again.
    pub fn drop_filters_on(&mut self, agent: AgentSlot) {
        self.filters.drop_agent(agent.0);
        self.agents.soil(agent.0);
    }

    /// Filters in force: (framework, role, agent).
    #[must_use]
    pub fn filters(&self) -> usize {
        self.filters.count()
    }

    // Offers.

    /// Open offers.
    #[must_use]
    pub fn open_offers(&self) -> usize {
        self.offers.count()
    }

    /// Numbers of all open offers, in order.
    #[must_use]
    pub fn offer_numbers(&self) -> Vec<u64> {
        self.offers.numbers()
    }

    /// Offers made so far; the number of the next one.
    #[must_use]
    pub fn offers_made(&self) -> u64 {
        self.offers.made
    }

    /// Numbers of the next offers begin here.
    pub fn number_offers_from(&mut self, number: u64) {
        self.offers.made = number;
    }

    /// An open offer.
    #[must_use]
    pub fn offer(&self, number: u64) -> Option<Decision> {
        self.offers.get(number).map(|offer| Decision {
            number,
            client: ClientSlot(offer.client),
            agent: AgentSlot(offer.agent),
            bundle: offer.bundle.clone(),
        })
    }

    /// Whose an open offer is, and of which agent.
    #[must_use]
    pub fn offer_parties(&self, number: u64) -> Option<(ClientSlot, AgentSlot)> {
        self.offers.get(number).map(|offer| (ClientSlot(offer.client), AgentSlot(offer.agent)))
    }

    /// Numbers of the open offers on an agent, in order.
    #[must_use]
    pub fn offers_on(&self, agent: AgentSlot) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.offers.of_agent(&self.agents, agent.0).map(|offer| offer.number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Numbers of the open offers to a client, in order.
    #[must_use]
    pub fn offers_to(&self, client: ClientSlot) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.offers.of_client(&self.tree, client.0).map(|offer| offer.number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// An offer is over; what it held is free again.
    pub fn close_offer(&mut self, number: u64) -> Option<Closed> {
        let offer = self.offers.close(number, &mut self.agents, &mut self.tree)?;
        let cut = offer.bundle.exclusive();
        let exclusive = cut.as_ref().unwrap_or(&offer.bundle);
        self.charge(offer.client, exclusive, -1, true);
        self.agents.list[offer.agent as usize].offered.take_what_is_there(exclusive);
        self.agents.take_back(offer.agent, exclusive, &mut self.kinds);
        self.wake_on_surplus();
        let (client, agent) = (ClientSlot(offer.client), AgentSlot(offer.agent));
        Some(Closed { client, agent, bundle: offer.bundle })
    }

    /// Frees the slot of a client that has nothing and wants nothing any more.
    pub fn tidy(&mut self, client: ClientSlot) {
        self.forget_if_idle(client.0);
    }

    /// An offer on which a framework sat too long; it is still open.
    pub fn pop_overdue(&mut self, now: Time) -> Option<u64> {
        self.offers.pop_due(now)
    }

    /// When [`tick`](Self::tick) or [`pop_overdue`](Self::pop_overdue) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        [self.offers.deadline(), self.filters.deadline(), self.needs.deadline()].into_iter().flatten().min()
    }

    /// Time has passed: filters and needs end.
    pub fn tick(&mut self, now: Time) {
        self.tree.set_now(now);
        for (client, agent) in self.filters.expire(now) {
            if !self.agents.is_dirty(agent) {
                self.unfiltered.entry(client).or_default().push(agent);
            }
        }
        self.end_needs(now);
    }

    // Requests.

    /// What a framework asks for in a role, in the place of all it asked for there before. Those that hold
    /// something keep what was gathered for them, if they are the same.
    pub fn set_requests(&mut self, now: Time, client: ClientSlot, requests: &[Request]) {
        self.tree.set_now(now);
        let mut demand = Quantities::default();
        for request in requests {
            let one = Bundle::from(&request.resources).quantities(&mut self.kinds);
            for kind in 0..one.width() {
                let more = one.get(kind).saturating_mul(i64::from(request.count.max(1)));
                demand.set(kind, demand.get(kind).saturating_add(more));
            }
        }
        self.tree.set_demand(client.0, demand);
        self.replace_needs(now, client.0, requests);
        self.forget_if_idle(client.0);
    }

    /// The term is over: offers, filters and what was gathered are forgotten.
    pub fn forget_term(&mut self) {
        self.drop_all_needs();
        for number in self.offers.numbers() {
            let closed = self.close_offer(number);
            if let Some(closed) = closed {
                self.tidy(closed.client);
            }
        }
        for client in 0..u32::try_from(self.tree.clients.len()).unwrap_or(0) {
            self.filters.drop_client(client);
        }
        self.offers = Offers::default();
        self.filters = Filters::default();
        self.waking.clear();
        self.unfiltered.clear();
        for at in std::mem::take(&mut self.held_back) {
            self.tree.clients[at as usize].held_back = false;
        }
        self.agents.take_dirty();
    }

    /// What must hold after every call: the conservation of resources, and sums and orders that agree.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn check(&self) -> Result<(), String> {
        let mut kinds = self.kinds.clone();
        self.agents.check(&mut kinds)?;
        self.tree.check()?;
        let mut sums: BTreeMap<u32, Quantities> = BTreeMap::new();
        for (id, at) in self.agents.ids() {
            let agent = self.agents.get(at);
            let mut offered = Bundle::default();
            for offer in self.offers.of_agent(&self.agents, at) {
                let exclusive = offer.bundle.without_shared();
                offered.add(&exclusive);
                sums.entry(offer.client).or_default().shift(&exclusive.quantities(&mut kinds), 1);
            }
            if offered != agent.offered {
                return Err(format!("agent {id}: offers hold {offered:?}, but {:?} is booked", agent.offered));
            }
            let held = self.needs.held_on(at);
            if held != agent.held {
                return Err(format!("agent {id}: needs hold {held:?}, but {:?} is booked", agent.held));
            }
        }
        for (client, held) in self.needs.held() {
            sums.entry(client).or_default().shift(&held.quantities(&mut kinds), 1);
        }
        for (at, client) in self.tree.clients.iter().enumerate() {
            let sum = sums.remove(&u32::try_from(at).unwrap_or(0)).unwrap_or_default();
            if sum != client.offered {
                return Err(format!(
                    "{} in {}: offered {sum:?}, booked {:?}",
                    client.framework, client.role, client.offered
                ));
            }
        }
        Ok(())
    }
}

/// Alternatives as kinds and amounts.
pub(crate) fn minimum(list: &[Resources], kinds: &mut Kinds) -> Minimum {
    let by_kind = |bundle: &Resources| {
        bundle.scalars().iter().map(|(name, milli)| (kinds.kind(name), *milli)).collect::<Vec<_>>()
    };
    list.iter().map(by_kind).collect()
}

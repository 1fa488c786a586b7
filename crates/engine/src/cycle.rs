//! A round of offers: free resources go to whose turn it is.
//!
//! Between rounds nothing that is free is wanted by anybody who was asked. So an agent that changed is offered to
//! everybody, someone who woke up is asked about everything that is free, and someone whose filter ran out about
//! that one agent; nothing else is looked at.
//!
//! 1. What became free where something is gathered for a need goes there.
//! 2. Roles whose guarantee is not met are offered what is missing.
//! 3. Everybody, in turn, is offered the best agent for its placement, as a whole, as far as limits allow and
//!    without what is kept for guarantees of others.
//!
//! A client that finds nothing any more is sated for the rest of the round: in a round less and less is free.

use std::collections::BTreeMap;

use mesos_model::{
    Resource, Resources, Role, Time,
    planted::{Bug, is_planted},
};

use crate::{
    bundle::{Bundle, HOT, Kind},
    engine::{AgentSlot, ClientSlot, Decision, Engine},
    explanation::Why,
    facts::Placement,
    random::mix,
    roles::{Abilities, Client, Search},
};

/// What an offer may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// What is missing for guarantees, and what is surplus beside it.
    Guarantee,
    /// Whatever is free.
    Fair,
}

/// What cut an offer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    pub(crate) limit: bool,
    pub(crate) headroom: bool,
}

/// What quota lets a client take at present.
#[derive(Clone, Debug, Default)]
struct Budget {
    limited: bool,
    /// Something is kept for guarantees.
    kept: bool,
    /// An offer without any common scalar is not enough, whatever else is in it.
    needs_common: bool,
    hot: [Part; HOT.len()],
    more: Vec<Part>,
}

/// The same of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    allowance: i64,
    missing: i64,
    surplus: i64,
}

impl Part {
    fn most(self, free: i64, stage: Stage, cut: &mut Cut, missing_met: &mut bool) -> i64 {
        let part = match stage {
            Stage::Guarantee => self.missing.min(free).min(self.allowance),
            Stage::Fair => 0,
        };
        *missing_met |= part > 0;
        let extra = (free - part).min(self.allowance - part).min(self.surplus).max(0);
        if part + extra < free {
            cut.limit |= self.allowance - part < free - part;
            cut.headroom |= self.surplus < free - part;
        }
        part + extra
    }
}

/// Candidates in the order of a placement. Agents that have nothing left are skipped at once.
#[derive(Debug, Default)]
struct Lane {
    agents: Vec<u32>,
    /// A place at or after which the first agent that may have something left stands.
    next: Vec<u32>,
}

impl Lane {
    fn new(agents: Vec<u32>) -> Lane {
        let next = (0..=u32::try_from(agents.len()).unwrap_or(u32::MAX)).collect();
        Lane { agents, next }
    }

    /// The first agent at or after a place that has something left.
    fn alive(&mut self, engine: &Engine, mut place: usize) -> Option<(usize, u32)> {
        loop {
            let mut root = place;
            while self.next[root] as usize != root {
                root = self.next[root] as usize;
            }
            while self.next[place] as usize != root {
                place = std::mem::replace(&mut self.next[place], u32::try_from(root).unwrap_or(u32::MAX)) as usize;
            }
            let agent = *self.agents.get(root)?;
            let slot = engine.agents.get(agent);
            if !slot.free.is_empty() {
                return Some((root, agent));
            }
            self.next[root] = u32::try_from(root + 1).unwrap_or(u32::MAX);
            place = root + 1;
        }
    }
}

/// Who is asked about what in a round.
struct Round {
    /// Draws between agents that are equally good.
    draw: u64,
    dirty: Vec<u32>,
    all: Vec<u32>,
    /// By placement: the changed agents, and all agents with something free.
    lanes: [[Option<Lane>; 3]; 2],
    /// Of those whose filters ran out: the changed agents and these.
    personal: BTreeMap<u32, Vec<u32>>,
}

impl Round {
    fn sorted(engine: &Engine, draw: u64, agents: &[u32], placement: Placement) -> Vec<u32> {
        let mut keyed: Vec<(u64, u64, u32)> = agents
            .iter()
            .filter(|at| !engine.agents.get(**at).free.is_empty())
            .map(|at| {
                let lot = mix(draw ^ (u64::from(*at) << 20));
                let key = match placement {
                    Placement::Spread => engine.agents.get(*at).fullness(),
                    Placement::Binpack => u64::MAX - engine.agents.get(*at).fullness(),
                    Placement::Random => 0,
                };
                (key, lot, *at)
            })
            .collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, _, at)| at).collect()
    }

    fn lane(&mut self, engine: &Engine, everything: bool, placement: Placement) -> &mut Lane {
        let agents = if everything { &self.all } else { &self.dirty };
        let draw = self.draw;
        self.lanes[usize::from(everything)][placement as usize]
            .get_or_insert_with(|| Lane::new(Round::sorted(engine, draw, agents, placement)))
    }
}

impl Engine {
    /// Whether a round could find anything to offer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.agents.dirty.is_empty() && self.waking.is_empty() && self.unfiltered.is_empty() && !self.needs.fresh()
    }

    /// Makes all offers that can be made.
    pub fn round(&mut self, now: Time) -> Vec<Decision> {
        if self.is_settled() {
            return Vec::new();
        }
        self.tree.set_now(now);
        self.tree.freshen();
        // Whatever has changed: an agent, an allocation elsewhere, a need that was given up.
        self.wake_on_surplus();
        let mut made = Vec::new();
        let draw = self.lots.next();
        let waking = std::mem::take(&mut self.waking);
        let unfiltered = std::mem::take(&mut self.unfiltered);
        self.top_up_needs(now, &mut made);
        let dirty = self.agents.take_dirty();
        let all = if waking.is_empty() { Vec::new() } else { self.agents.with_free.clone() };
        let mut round = Round { draw, dirty, all, lanes: Default::default(), personal: BTreeMap::new() };
        for (client, agents) in unfiltered {
            if self.tree.clients[client as usize].hungry && !waking.contains(&client) {
                let mut mine = round.dirty.clone();
                mine.extend(agents);
                mine.sort_unstable();
                mine.dedup();
                let placement = self.placement_of(client);
                round.personal.insert(client, Round::sorted(self, draw, &mine, placement));
            }
        }
        let asked: Vec<u32> = waking.iter().chain(round.personal.keys()).copied().collect();
        let everybody = !round.dirty.is_empty();
        if !self.tree.all_missing().is_zero() {
            self.stage(now, Stage::Guarantee, everybody, &asked, &waking, &mut round, &mut made);
        }
        self.stage(now, Stage::Fair, everybody, &asked, &waking, &mut round, &mut made);
        let let_go = self.needs.settle();
        // Whoever else wants what is left was asked just now.
        self.agents.take_dirty();
        let_go.into_iter().for_each(|agent| self.agents.soil(agent));
        for kind in 0..self.kinds.count() {
            self.surplus.set(kind, self.surplus_of(kind));
        }
        made
    }

    /// What a client could be offered of an agent right now. Between rounds that is nothing, unless something has
    /// changed since the last one.
    #[must_use]
    pub fn could_offer(&mut self, now: Time, agent: AgentSlot, client: ClientSlot) -> Option<mesos_model::Resources> {
        if self.agents.get(agent.0).free.is_empty() {
            return None;
        }
        let offer = self.consider(now, agent.0, client.0, Stage::Fair, &mut Cut::default());
        offer.ok().map(|bundle| bundle.resources())
    }

    pub(crate) fn placement_of(&self, client: u32) -> Placement {
        self.tree.placement(self.tree.clients[client as usize].node).unwrap_or(self.options.placement)
    }

    #[expect(clippy::too_many_arguments, reason = "one caller, and each is a thing of its own")]
    fn stage(
        &mut self,
        now: Time,
        stage: Stage,
        everybody: bool,
        asked: &[u32],
        waking: &std::collections::BTreeSet<u32>,
        round: &mut Round,
        made: &mut Vec<Decision>,
    ) {
        self.rounds += 1;
        let number = self.rounds;
        for client in asked {
            self.tree.clients[*client as usize].asked = number;
        }
        for client in waking {
            self.tree.clients[*client as usize].woken = number;
        }
        let priorities = self.tree.priorities();
        let tiers: Vec<Option<i64>> =
            if priorities.len() > 1 { priorities.into_iter().map(Some).collect() } else { vec![None] };
        for priority in tiers {
            self.searches += 1;
            let search = Search { round: number, number: self.searches, everybody, priority };
            while let Some(client) = self.tree.next(search) {
                if self.tree.catch_up(client) {
                    continue;
                }
                if stage == Stage::Fair && self.serve_needs(now, client, number, &round.dirty, made) {
                    continue;
                }
                let everything = self.tree.clients[client as usize].woken == number;
                match self.best_agent(now, client, stage, everything, round) {
                    Some((agent, bundle)) => made.push(self.make_offer(now, client, agent, bundle)),
                    None => self.tree.clients[client as usize].sated = number,
                }
            }
        }
    }

    /// The best of the candidates that a client can be offered something of. What it has passed by in this round
    /// will not do later in it either, since less and less is free.
    fn best_agent(
        &mut self,
        now: Time,
        at: u32,
        stage: Stage,
        everything: bool,
        round: &mut Round,
    ) -> Option<(u32, Bundle)> {
        let client = &mut self.tree.clients[at as usize];
        if client.cursor_round != self.rounds {
            (client.cursor_round, client.cursor) = (self.rounds, 0);
        }
        let mut place = client.cursor;
        if stage == Stage::Guarantee && !self.misses_something(at) {
            return None;
        }
        let placement = self.placement_of(at);
        let budget = self.budget(at);
        let hopeless = budget.limited && self.is_beyond_limits(at, &budget);
        let mine = round.personal.remove(&at);
        let mut cut = Cut::default();
        let found = loop {
            let candidate = match &mine {
                Some(mine) => mine.get(place).map(|agent| (place, *agent)),
                None => round.lane(self, everything, placement).alive(self, place),
            };
            let Some((found_at, agent)) = candidate else { break None };
            place = found_at;
            if let Ok(bundle) = self.consider_within(now, agent, at, stage, &budget, &mut cut) {
                break Some((agent, bundle));
            }
            place += 1;
            // Nothing else is to be learnt from further agents.
            if hopeless && cut.limit && (cut.headroom || !budget.kept) {
                break None;
            }
        };
        if let Some(mine) = mine {
            round.personal.insert(at, mine);
        }
        self.tree.clients[at as usize].cursor = place;
        if cut.limit {
            self.tree.note_cut(at);
        }
        if cut.headroom && !self.tree.clients[at as usize].held_back {
            self.tree.clients[at as usize].held_back = true;
            self.held_back.push(at);
        }
        found
    }

    fn misses_something(&self, client: u32) -> bool {
        let node = self.tree.clients[client as usize].node;
        (0..self.kinds.count()).any(|kind| self.tree.missing(node, kind) > 0)
    }

    /// What a client can be offered of what is free on an agent, or why nothing.
    pub(crate) fn consider(
        &mut self,
        now: Time,
        agent: u32,
        client: u32,
        stage: Stage,
        cut: &mut Cut,
    ) -> Result<Bundle, Why> {
        let budget = self.budget(client);
        self.consider_within(now, agent, client, stage, &budget, cut)
    }

    fn consider_within(
        &mut self,
        now: Time,
        agent: u32,
        client: u32,
        stage: Stage,
        budget: &Budget,
        cut: &mut Cut,
    ) -> Result<Bundle, Why> {
        self.admits(agent, client)?;
        let slot = self.agents.get(agent);
        let wants = &self.tree.clients[client as usize];
        // Mostly all of it is for everybody, and is looked at where it is.
        let part;
        let takeable = if slot.odd {
            part = self.takeable(agent, client);
            &part
        } else {
            &slot.free
        };
        let shrunk = self.shrunk(takeable, budget, stage, cut)?;
        let bundle = shrunk.as_ref().unwrap_or(takeable);
        if !self.is_enough(wants, bundle) {
            return Err(Why::Minimum);
        }
        if self.filters.hides(now, client, agent, bundle) {
            return Err(Why::Filter);
        }
        Ok(shrunk.unwrap_or_else(|| takeable.clone()))
    }

    /// What quota lets a client take at present.
    fn budget(&self, client: u32) -> Budget {
        let node = self.tree.clients[client as usize].node;
        let limited = self.tree.nodes[node as usize].limited;
        let kept = !self.tree.all_missing().is_zero() && !is_planted(Bug::GuaranteeIgnored);
        let least = self.tree.clients[client as usize].minimum.as_ref().unwrap_or(&self.minimum);
        let is_common = |(kind, amount): &(Kind, i64)| *kind < HOT.len() && *amount > 0;
        let needs_common = !least.is_empty() && least.iter().all(|bundle| bundle.iter().any(is_common));
        let mut budget = Budget { limited, kept, needs_common, ..Budget::default() };
        if limited || kept {
            let part = |kind| Part {
                allowance: self.tree.allowance(node, kind),
                missing: if kept { self.tree.missing(node, kind) } else { 0 },
                surplus: self.surplus_of(kind).max(0),
            };
            budget.hot = std::array::from_fn(part);
            budget.more = (HOT.len()..self.kinds.count()).map(part).collect();
        }
        budget
    }

    /// Whether limits are so nearly reached that nothing can be enough of what is for everybody.
    fn is_beyond_limits(&self, client: u32, budget: &Budget) -> bool {
        let least = self.tree.clients[client as usize].minimum.as_ref().unwrap_or(&self.minimum);
        let is_out = |(kind, amount): &(Kind, i64)| budget.hot.get(*kind).is_some_and(|part| part.allowance < *amount);
        self.agents.odd == 0 && !least.is_empty() && least.iter().all(|bundle| bundle.iter().any(is_out))
    }

    /// Agents with GPUs and agents of other regions are for those who say that they know of such.
    pub(crate) fn is_able(&self, agent: u32, client: u32) -> Result<(), Why> {
        let slot = self.agents.get(agent);
        let abilities = self.tree.clients[client as usize].abilities;
        if slot.gpus && self.options.filter_gpus && !abilities.gpus {
            return Err(Why::Gpus);
        }
        if slot.remote && !abilities.regions {
            return Err(Why::Region);
        }
        Ok(())
    }

    /// Whether a client may see an agent at all.
    pub(crate) fn admits(&mut self, agent: u32, client: u32) -> Result<(), Why> {
        self.is_able(agent, client)?;
        let slot = self.agents.get(agent);
        let wants = &mut self.tree.clients[client as usize];
        let Some(rule) = &wants.rule else { return Ok(()) };
        if rule.hostname {
            return if rule.admits(slot.looks()) { Ok(()) } else { Err(Why::Constraint) };
        }
        let class = slot.class as usize;
        if wants.verdicts.len() <= class {
            wants.verdicts.resize(class + 1, 0);
        }
        if wants.verdicts[class] == 0 {
            wants.verdicts[class] = if rule.admits(slot.looks()) { 1 } else { 2 };
        }
        if wants.verdicts[class] == 1 { Ok(()) } else { Err(Why::Constraint) }
    }

    /// What of an agent's free resources is for a client's role and abilities.
    pub(crate) fn takeable(&self, agent: u32, client: u32) -> Bundle {
        let slot = self.agents.get(agent);
        let wants = &self.tree.clients[client as usize];
        let mut bundle = if slot.free.is_plain() {
            slot.free.clone()
        } else {
            slot.free.keep(|resource| may_take(&wants.role, wants.abilities, resource))
        };
        if let Some(shared) = slot.shared.as_ref().filter(|_| wants.abilities.shared && !bundle.is_empty()) {
            bundle.add(&shared.keep(|resource| may_take(&wants.role, wants.abilities, resource)));
        }
        bundle
    }

    /// Cuts what a client can take down to limits and to what is not kept for guarantees of others.
    pub(crate) fn within_quota(&self, bundle: Bundle, client: u32, stage: Stage, cut: &mut Cut) -> Result<Bundle, Why> {
        let shrunk = self.shrunk(&bundle, &self.budget(client), stage, cut)?;
        Ok(shrunk.unwrap_or(bundle))
    }

    /// The same; `None` is all of it.
    fn shrunk(&self, bundle: &Bundle, budget: &Budget, stage: Stage, cut: &mut Cut) -> Result<Option<Bundle>, Why> {
        if !budget.limited && !budget.kept {
            return Ok(None);
        }
        let mut cut_now = Cut::default();
        let mut missing_met = false;
        let plain = bundle.is_plain();
        let mut most = [0; HOT.len()];
        for (kind, most) in most.iter_mut().enumerate() {
            // Whatever is for everybody is no common scalar apart from those inline.
            let free = if plain { bundle.hot()[kind] } else { bundle.ordinary_scalar(kind, &self.kinds) };
            *most = budget.hot[kind].most(free, stage, &mut cut_now, &mut missing_met);
        }
        let mut more = Vec::new();
        for (kind, part) in (HOT.len()..).zip(&budget.more) {
            let free = bundle.ordinary_scalar(kind, &self.kinds);
            more.push(part.most(free, stage, &mut cut_now, &mut missing_met));
        }
        cut.limit |= cut_now.limit;
        cut.headroom |= cut_now.headroom;
        if stage == Stage::Guarantee && !missing_met {
            return Err(Why::Turn);
        }
        let why = if cut_now.limit { Why::Limit } else { Why::Headroom };
        let any = bundle.hot().iter().any(|amount| *amount > 0);
        // What is left over of common scalars is not all: whoever takes anything takes licences or ports alone.
        let too_little = |rest: Option<&Resources>| budget.needs_common || rest.is_none();
        if plain
            && any
            && too_little(bundle.rest())
            && bundle.hot().iter().zip(most).all(|(amount, most)| *amount == 0 || most <= 0)
        {
            return Err(why);
        }
        let shrunk = bundle.shrink(&self.kinds, |kind| match most.get(kind) {
            Some(most) => *most,
            None => more[kind - HOT.len()],
        });
        if any
            && shrunk.hot().iter().all(|amount| *amount == 0)
            && too_little(shrunk.rest())
            && shrunk.rest().is_none_or(|rest| rest.iter().all(|resource| resource.qualifier.is_none()))
        {
            return Err(why);
        }
        Ok(Some(shrunk))
    }

    pub(crate) fn is_enough(&self, client: &Client, bundle: &Bundle) -> bool {
        let least = client.minimum.as_ref().unwrap_or(&self.minimum);
        let contains = |(kind, amount): &(Kind, i64)| bundle.scalar(*kind, &self.kinds) >= *amount;
        // Volumes that several may use go along with something; alone they would be offered for ever.
        !bundle.exclusive().as_ref().unwrap_or(bundle).is_empty()
            && (least.is_empty() || least.iter().any(|bundle| bundle.iter().all(contains)))
    }

    /// Offers something that is free.
    pub(crate) fn make_offer(&mut self, now: Time, client: u32, agent: u32, bundle: Bundle) -> Decision {
        let cut = bundle.exclusive();
        let exclusive = cut.as_ref().unwrap_or(&bundle);
        self.tree.count_offer(client);
        self.charge(client, exclusive, 1, true);
        self.agents.list[agent as usize].offered.add(exclusive);
        self.agents.give(agent, exclusive, &mut self.kinds);
        let number = self.offers.open(client, agent, bundle.clone(), &mut self.agents, &mut self.tree);
        if let Some(timeout) = self.options.offer_timeout {
            self.offers.time_out(number, now.after(timeout));
        }
        Decision { number, client: ClientSlot(client), agent: AgentSlot(agent), bundle }
    }
}

/// Reserved resources are for the role and those below it; revocable, shared and refined ones for those who say
/// that they know of such.
pub(crate) fn may_take(role: &Role, abilities: Abilities, resource: &Resource) -> bool {
    let levels = resource.qualifier.as_ref().map_or(0, |qualifier| qualifier.reservations.len());
    resource.reserved_for().is_none_or(|reserved| is_role_or_ancestor(reserved, role))
        && (abilities.revocable || !resource.is_revocable())
        && (abilities.shared || !resource.is_shared())
        && (abilities.refined || levels <= 1)
}

/// Whether what is reserved for `reserved` may be given to `role`: it is the role or an ancestor.
#[must_use]
pub fn is_role_or_ancestor(reserved: &Role, role: &Role) -> bool {
    role.as_str().strip_prefix(reserved.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

//! The smallest change of each kind that places everything.
//!
//! Each is found by trying changes on copies. Where a larger change can be worse than a smaller one (more agents
//! change shares, and so turns) what is told is still a change that helps next to a smaller one that does not,
//! and of few more agents the fewest.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{AgentId, Resource, Resources, Role, Time};

use crate::{
    engine::Engine,
    explain::{
        Asked, COUNT_MAX, ROUNDS_MAX, ROUNDS_MIN, Trial, WEIGHT_LADDER, WORK_MAX,
        demand::times_in_all,
        words::{self, agents},
    },
    explanation::{Blocker, Change, Query, Remedy, Why},
    facts::{Amounts, PolicyName, WEIGHT_MAX},
};

/// Agents whose filters are tried one by one.
const FILTERS_MAX: usize = 5;
/// Shapes of agents of which more are tried, the most common first.
const CLASSES_MAX: usize = 5;
/// More agents than these are not tried.
const AGENTS_MAX: u32 = 1000;
/// Below so many more agents every number is tried, in a small cluster, since one more may turn everybody's turns
/// round; above it is only certain that one less is too few.
pub const AGENTS_ONE_BY_ONE: u32 = 24;
/// A small cluster has at most so many agents.
const SMALL_CLUSTER: usize = 500;
/// Constraints that are tried.
const CONSTRAINTS_MAX: usize = 20;
/// Other roles whose reservations are tried.
const RESERVATIONS_MAX: usize = 5;
/// How often the limits of a role are gone through for amounts that can be smaller.
const PASSES_MAX: usize = 4;

/// The budget is used up.
#[derive(Debug)]
struct Spent;

struct Trials<'a> {
    /// With all offers taken back.
    base: &'a Engine,
    now: Time,
    asked: &'a Asked,
    rounds: u32,
}

/// An agent of which more are tried.
#[derive(Clone, Debug)]
struct NewAgent {
    like: Option<AgentId>,
    total: Option<Resources>,
}

impl NewAgent {
    fn times(&self, count: u32) -> Change {
        Change::AddAgents { count, like: self.like.clone(), total: self.total.clone(), attributes: Vec::new() }
    }
}

/// The remedy for somebody who wants no offers: nothing else helps.
pub(crate) fn if_suppressed(base: &Engine, now: Time, asked: &Asked) -> Vec<Remedy> {
    let mut out = Vec::new();
    let mut trials = Trials { base, now, asked, rounds: 1 };
    let _ = trials.each(&mut out, [(Change::Revive, format!("revive role {}", asked.role))]);
    out
}

/// The remedies for what a trial did not place, where this is what binds.
pub(crate) fn find(base: &Engine, now: Time, asked: &Asked, trial: &Trial, blockers: &[Blocker]) -> Vec<Remedy> {
    let agents: u32 = blockers.iter().map(|blocker| blocker.agents).sum();
    let rounds = (WORK_MAX / agents.max(1)).clamp(ROUNDS_MIN, ROUNDS_MAX);
    let mut trials = Trials { base, now, asked, rounds };
    let mut out = Vec::new();
    trials.less(trial, &mut out);
    // Whatever was found before the budget was used up stays.
    let _ = trials.all(&mut out, blockers);
    out
}

impl Trials<'_> {
    /// Whom a change concerns only where something else binds first, it does not help alone.
    fn all(&mut self, out: &mut Vec<Remedy>, blockers: &[Blocker]) -> Result<(), Spent> {
        let binds = |reasons: &[Why]| blockers.iter().any(|blocker| reasons.contains(&blocker.why));
        // Whether there is an agent that would do, but for who is offered how much of it.
        let in_play =
            binds(&[Why::Offered, Why::Limit, Why::Headroom, Why::Minimum, Why::Filter, Why::Turn, Why::Nothing]);
        self.abilities(out, &binds)?;
        if in_play {
            self.each(out, [(Change::DropMinimum, "let the framework take smaller offers".to_owned())])?;
        }
        if binds(&[Why::Constraint]) {
            self.constraints(out)?;
        }
        self.filters(out)?;
        self.reservations(out)?;
        if in_play {
            self.policies(out)?;
            self.weights(out)?;
            self.limits(out)?;
        }
        self.more_agents(out)
    }

    /// How many of the tasks are placed after a change.
    fn placed(&mut self, change: &Change) -> Result<u32, Spent> {
        self.rounds = self.rounds.checked_sub(1).ok_or(Spent)?;
        let mut copy = self.base.clone();
        let mut query: Query = self.asked.query.clone();
        if copy.apply(self.now, change, &mut query).is_err() {
            return Ok(0);
        }
        let trial = copy.offer_anew(self.now, self.asked);
        Ok(times_in_all(&self.asked.demand, &trial.given, self.asked.count))
    }

    fn places(&mut self, change: &Change) -> Result<bool, Spent> {
        Ok(self.placed(change)? >= self.asked.count)
    }

    /// Those of some changes that help.
    fn each(
        &mut self,
        out: &mut Vec<Remedy>,
        changes: impl IntoIterator<Item = (Change, String)>,
    ) -> Result<(), Spent> {
        for (change, text) in changes {
            if self.places(&change)? {
                out.push(Remedy { change, text });
            }
        }
        Ok(())
    }

    fn client(&self) -> Option<&crate::roles::Client> {
        let slot = self.base.slot_of(self.asked)?;
        self.base.tree.clients.get(slot.0 as usize)
    }

    /// What is offered does not depend on how much is asked for, so one round is enough: the largest amount that
    /// is placed is searched for in its offers.
    fn less(&self, trial: &Trial, out: &mut Vec<Remedy>) {
        let (demand, count) = (&self.asked.demand, self.asked.count);
        let places = |name: &str, amount: i64| times_in_all(&demand.with(name, amount), &trial.given, count) >= count;
        for (name, asked) in demand.scalars() {
            let step = step_of(name);
            // A task that needs nothing at all is none.
            let none = i64::from(demand.resources.iter().count() == 1);
            if asked / step <= none || !places(name, none * step) {
                continue;
            }
            let (mut places_it, mut too_much) = (none, asked / step);
            while too_much - places_it > 1 {
                let middle = places_it + (too_much - places_it) / 2;
                *(if places(name, middle * step) { &mut places_it } else { &mut too_much }) = middle;
            }
            let places_it = places_it * step;
            let text = match places_it {
                0 => format!("ask for no {name}"),
                some => format!("ask for {} instead of {}", words::amount(name, some), demand.wanted(name)),
            };
            out.push(Remedy { change: Change::Less { name: name.to_string(), amount: places_it }, text });
        }
    }

    fn abilities(&mut self, out: &mut Vec<Remedy>, binds: &dyn Fn(&[Why]) -> bool) -> Result<(), Spent> {
        let Some(client) = self.client() else { return Ok(()) };
        let has = client.abilities;
        // What is hidden from it may be beside what it sees.
        let special = |is: fn(&Resource) -> bool| {
            let all = self.base.agents.ids().map(|(_, at)| self.base.agents.get(at));
            let mut bundles = all.flat_map(|agent| [Some(&agent.free), agent.shared.as_ref()]).flatten();
            bundles.any(|bundle| bundle.rest().into_iter().flatten().any(is))
        };
        let is_refined =
            |resource: &Resource| resource.qualifier.as_ref().is_some_and(|qualifier| qualifier.reservations.len() > 1);
        let lacks = [
            (!has.gpus && binds(&[Why::Gpus]), "GPU_RESOURCES"),
            (!has.regions && binds(&[Why::Region]), "REGION_AWARE"),
            (!has.revocable && special(Resource::is_revocable), "REVOCABLE_RESOURCES"),
            (!has.shared && special(Resource::is_shared), "SHARED_RESOURCES"),
            (!has.refined && special(is_refined), "RESERVATION_REFINEMENT"),
        ];
        let changes = lacks.into_iter().filter(|(lacks, _)| *lacks).map(|(_, name)| {
            (Change::Capability(name.to_owned()), format!("give the framework the capability {name}"))
        });
        self.each(out, changes)
    }

    fn constraints(&mut self, out: &mut Vec<Remedy>) -> Result<(), Spent> {
        let Some(rule) = self.client().and_then(|client| client.rule.clone()) else { return Ok(()) };
        let groups = rule.constraints().groups.iter().zip(0u32..);
        let one_by_one = groups.flat_map(|(group, g)| group.iter().zip(0u32..).map(move |(one, c)| (g, c, one)));
        let changes = one_by_one.take(CONSTRAINTS_MAX).map(|(group, constraint, one)| {
            let text = format!("drop the constraint that {}", words::constraint(one));
            (Change::DropConstraint { group, constraint }, text)
        });
        self.each(out, changes)
    }

    fn filters(&mut self, out: &mut Vec<Remedy>) -> Result<(), Spent> {
        let Some(slot) = self.base.slot_of(self.asked) else { return Ok(()) };
        if self.base.filters.count_of(slot.0) == 0 {
            return Ok(());
        }
        let refused = self.base.agents.ids().filter(|(_, at)| self.base.filters.has(slot.0, *at));
        let some: Vec<AgentId> = refused.take(FILTERS_MAX).map(|(id, _)| id.clone()).collect();
        for agent in some {
            let text = format!("forget what the framework refused on agent {agent}");
            let change = Change::DropFilters { agent: Some(agent) };
            if self.places(&change)? {
                out.push(Remedy { change, text });
                return Ok(());
            }
        }
        let text = "forget all that the framework refused".to_owned();
        self.each(out, [(Change::DropFilters { agent: None }, text)])
    }

    fn reservations(&mut self, out: &mut Vec<Remedy>) -> Result<(), Spent> {
        let mut roles: BTreeMap<Role, u32> = BTreeMap::new();
        for (_, at) in self.base.agents.ids() {
            let free = &self.base.agents.get(at).free;
            let reserved: BTreeSet<&Role> =
                free.rest().into_iter().flatten().filter_map(mesos_model::Resource::reserved_for).collect();
            for role in reserved {
                *roles.entry(role.clone()).or_default() += 1;
            }
        }
        roles.retain(|role, _| !crate::cycle::is_role_or_ancestor(role, &self.asked.role));
        let mut roles: Vec<(Role, u32)> = roles.into_iter().collect();
        roles.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let changes = roles.into_iter().take(RESERVATIONS_MAX).map(|(role, count)| {
            let text = format!("undo what is reserved for role {role} and free, on {}", agents(count));
            (Change::DropReservations(role), text)
        });
        self.each(out, changes)
    }

    fn policies(&mut self, out: &mut Vec<Remedy>) -> Result<(), Spent> {
        let now = self.base.policy();
        let others = [PolicyName::Drf, PolicyName::Fifo, PolicyName::Drc].into_iter().filter(|name| *name != now);
        let changes: Vec<(Change, String)> = others
            .map(|name| {
                let text = format!("order by {name} instead of {now}");
                (Change::Policy(name), text)
            })
            .collect();
        self.each(out, changes)
    }

    fn path(&self) -> Vec<Role> {
        let Some(client) = self.client() else { return Vec::new() };
        let roles = self.base.tree.path(client.node).map(|node| node.role.clone());
        roles.filter(|role| !role.as_str().is_empty()).collect()
    }

    fn weights(&mut self, out: &mut Vec<Remedy>) -> Result<(), Spent> {
        if matches!(self.base.policy(), PolicyName::Fifo | PolicyName::Drc) {
            return Ok(());
        }
        for role in self.path() {
            let weight = self.base.role_facts(&role).weight;
            let ladder = weight_ladder(weight);
            // If the highest does not help, none is worth a try.
            let Some(highest) = ladder.last() else { continue };
            if !self.places(&Change::Weight { role: role.clone(), weight: *highest })? {
                continue;
            }
            for higher in ladder {
                let change = Change::Weight { role: role.clone(), weight: higher };
                if self.places(&change)? {
                    let (from, to) = (words::weight(weight), words::weight(higher));
                    out.push(Remedy { change, text: format!("raise the weight of role {role} from {from} to {to}") });
                    break;
                }
            }
        }
        Ok(())
    }

    fn limits(&mut self, out: &mut Vec<Remedy>) -> Result<(), Spent> {
        for role in self.path() {
            let old = self.base.role_facts(&role).limit;
            if old.is_empty() {
                continue;
            }
            let Some(limit) = self.least_limit(&role, &old)? else { continue };
            let raised = limit.iter().filter(|(name, amount)| old.get(*name) != Some(amount));
            let words: Vec<String> = raised
                .map(|(name, amount)| {
                    let from = mesos_model::resources_text::milli_text(old.get(name).copied().unwrap_or(0));
                    format!("{} (now {from})", words::amount(name, *amount))
                })
                .collect();
            let text = format!("raise the limit of role {role} to {}", words.join(" and "));
            out.push(Remedy { change: Change::Limit { role, limit }, text });
        }
        Ok(())
    }

    /// The limit of which no amount can be smaller by a thousandth, none is below what it is now, and which
    /// places everything.
    fn least_limit(&mut self, role: &Role, old: &Amounts) -> Result<Option<Amounts>, Spent> {
        let consumed = self.base.consumed(role);
        let total = self.base.total();
        let of = |amounts: &Amounts, name: &std::sync::Arc<str>| amounts.get(name).copied().unwrap_or(0);
        let mut limit: Amounts = old
            .iter()
            .map(|(name, amount)| {
                let asked = self.asked.demand.amount(name).saturating_mul(i64::from(self.asked.count));
                let enough = of(&consumed, name).saturating_add(of(&total, name)).saturating_add(asked);
                (name.clone(), (*amount).max(enough))
            })
            .collect();
        let with = |limit: &Amounts| Change::Limit { role: role.clone(), limit: limit.clone() };
        if !self.places(&with(&limit))? {
            return Ok(None);
        }
        for _ in 0..PASSES_MAX {
            let before = limit.clone();
            for (name, now) in old {
                let high = of(&limit, name);
                let try_amount = |trials: &mut Self, amount: i64| {
                    let mut tried = limit.clone();
                    tried.insert(name.clone(), amount);
                    trials.places(&with(&tried))
                };
                if high <= *now {
                    continue;
                }
                let (mut low, mut high) = if try_amount(self, high - 1)? { (*now, high - 1) } else { (high - 1, high) };
                if low == *now && try_amount(self, low)? {
                    high = low;
                }
                // Most often it is short by exactly what the tasks need beyond it.
                let asked = self.asked.demand.amount(name).saturating_mul(i64::from(self.asked.count));
                let guess = of(&consumed, name).saturating_add(asked);
                for guess in [guess, guess - 1] {
                    if low < guess && guess < high {
                        *(if try_amount(self, guess)? { &mut high } else { &mut low }) = guess;
                    }
                }
                while high - low > 1 {
                    let middle = low + (high - low) / 2;
                    *(if try_amount(self, middle)? { &mut high } else { &mut low }) = middle;
                }
                limit.insert(name.clone(), high);
            }
            // Gone through once more without finding a smaller amount: none can be smaller by a thousandth.
            if limit == before {
                return Ok((limit != *old).then_some(limit));
            }
        }
        Ok(None)
    }

    fn more_agents(&mut self, out: &mut Vec<Remedy>) -> Result<(), Spent> {
        let mut classes: BTreeMap<String, (u32, AgentId)> = BTreeMap::new();
        for (id, at) in self.base.agents.ids() {
            let slot = self.base.agents.get(at);
            let key = format!("{:?} {} {}", slot.total.resources(), slot.class, slot.remote);
            classes.entry(key).or_insert_with(|| (0, id.clone())).0 += 1;
        }
        let mut classes: Vec<(u32, AgentId)> = classes.into_values().collect();
        classes.sort_by_key(|(count, id)| (std::cmp::Reverse(*count), id.clone()));
        let Some(slot) = self.base.slot_of(self.asked) else { return Ok(()) };
        let rule = self.base.tree.clients[slot.0 as usize].rule.clone();
        let mut any_is_large = false;
        for (_, like) in classes.into_iter().take(CLASSES_MAX) {
            let Some(agent) = self.base.agents.find(&like).map(|at| self.base.agents.get(at)) else { continue };
            // More of what could not even hold one task alone does not help.
            let total = agent.total.clone();
            let is_large = self.asked.demand.fits(&total);
            any_is_large |= is_large;
            if !is_large || rule.as_ref().is_some_and(|rule| !rule.admits(agent.looks())) {
                continue;
            }
            let what = format!("like {like} ({})", words::resources(&total.resources()));
            self.agents_like(out, NewAgent { like: Some(like), total: None }, &what)?;
        }
        if !any_is_large {
            let demand = &self.asked.demand.resources;
            let what = format!("with {demand} (no agent has as much)");
            self.agents_like(out, NewAgent { like: None, total: Some(demand.clone()) }, &what)?;
        }
        Ok(())
    }

    fn agents_like(&mut self, out: &mut Vec<Remedy>, agent: NewAgent, what: &str) -> Result<(), Spent> {
        if let Some(count) = self.fewest(&agent)? {
            out.push(Remedy { change: agent.times(count), text: format!("add {} {what}", agents(count)) });
        }
        Ok(())
    }

    /// The fewest more agents that place everything: few are tried one by one, more by doubling and halving.
    fn fewest(&mut self, agent: &NewAgent) -> Result<Option<u32>, Spent> {
        let mut tried: BTreeMap<u32, u32> = BTreeMap::new();
        let mut placed = |trials: &mut Self, count: u32| match tried.get(&count) {
            Some(placed) => Ok(*placed),
            None => {
                let placed = trials.placed(&agent.times(count))?;
                tried.insert(count, placed);
                Ok(placed)
            }
        };
        let wanted = self.asked.count;
        let hungry = self.base.tree.nodes[crate::roles::ROOT as usize].hungry;
        // When there are more of them than of those who might be first, and it is still no better, it is not
        // agents that lack.
        let patience = hungry.saturating_mul(4).saturating_add(AGENTS_ONE_BY_ONE).min(AGENTS_MAX);
        let (mut low, mut high) = (0, 1);
        let mut best = 0;
        loop {
            let now = placed(self, high)?;
            if now >= wanted {
                break;
            }
            if high >= AGENTS_MAX.min(COUNT_MAX) || (high >= patience && now <= best) {
                return Ok(None);
            }
            best = best.max(now);
            (low, high) = (high, (high * 2).min(AGENTS_MAX));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if placed(self, middle)? >= wanted { high = middle } else { low = middle }
        }
        let few = self.base.agents.ids().count() <= SMALL_CLUSTER;
        for count in 1..if few { high.min(AGENTS_ONE_BY_ONE) } else { 1 } {
            if placed(self, count)? >= wanted {
                return Ok(Some(count));
            }
        }
        Ok(Some(high))
    }
}

/// The smallest difference between two amounts of a resource, in thousandths: Mesos knows no parts of gpus.
#[must_use]
pub fn step_of(name: &str) -> i64 {
    if name == "gpus" { 1000 } else { 1 }
}

/// The higher weights that are tried for a role, the lowest first.
#[must_use]
pub fn weight_ladder(weight: u64) -> Vec<u64> {
    let steps = WEIGHT_LADDER.iter().map(|(over, under)| (weight.saturating_mul(*over) / under).min(WEIGHT_MAX));
    let mut out: Vec<u64> = steps.filter(|step| *step > weight).collect();
    out.dedup();
    out
}

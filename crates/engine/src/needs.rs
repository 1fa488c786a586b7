//! Needs: room that is gathered and held for a task that is bigger than what is free anywhere, or for several
//! tasks that start together or not at all.
//!
//! In its turn a client's need takes agents on which a task fits, or picks one on which it would fit once others
//! have left, and holds what is free there. From then on whatever becomes free on that agent goes to the need
//! first. What is held counts as offered, for shares and limits. When everything is gathered it is offered at
//! once; when the time is over it is let go.

use std::{cmp::Reverse, collections::BTreeMap};

use mesos_model::{AgentId, FrameworkId, Resources, Role, Time};
use serde::{Deserialize, Serialize};

use crate::{
    bundle::Bundle,
    engine::{AgentSlot, ClientSlot, Decision, Engine},
    facts::Request,
};

/// Needs of one client.
pub const NEEDS_MAX: usize = 16;
/// Tasks of one need.
pub const COUNT_MAX: u32 = 1024;

/// Room for one task.
#[derive(Clone, Debug)]
struct Unit {
    agent: u32,
    held: Bundle,
}

#[derive(Clone, Debug)]
pub(crate) struct Need {
    bundle: Bundle,
    count: u32,
    on: Option<AgentId>,
    deadline: Time,
    pub(crate) priority: i64,
    units: Vec<Unit>,
    /// The round in which it was served last.
    served: u64,
    /// It has not looked at all agents yet.
    fresh: bool,
}

/// A request that waits for room, to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeedView {
    /// Whose.
    pub framework: FrameworkId,
    /// In which role.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// What one task needs.
    pub resources: Resources,
    /// How many tasks.
    pub count: u32,
    /// For how many there is room.
    pub gathered: u32,
    /// What is held, per agent.
    pub held: Vec<(AgentId, Resources)>,
    /// When it is given up.
    pub deadline: Time,
    /// The higher one goes first.
    pub priority: i64,
    /// What it waits for, in words.
    pub waits_for: String,
}

/// All needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    by_client: BTreeMap<(u32, String), Need>,
    fresh: bool,
    /// Agents on which something was let go in the middle of a round, after some were asked.
    let_go: Vec<u32>,
    /// Given up since the engine was made.
    pub(crate) expired: u64,
}

impl Needs {
    pub(crate) fn any_of(&self, client: u32) -> bool {
        self.of(client).next().is_some()
    }

    fn of(&self, client: u32) -> impl Iterator<Item = (&(u32, String), &Need)> {
        self.by_client.range((client, String::new())..).take_while(move |((of, _), _)| *of == client)
    }

    pub(crate) fn fresh(&self) -> bool {
        self.fresh
    }

    pub(crate) fn settle(&mut self) -> Vec<u32> {
        self.fresh = false;
        std::mem::take(&mut self.let_go)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.by_client.values().map(|need| need.deadline).min()
    }

    /// All that is held on an agent.
    pub(crate) fn held_on(&self, agent: u32) -> Bundle {
        let mut held = Bundle::default();
        for unit in self.by_client.values().flat_map(|need| &need.units).filter(|unit| unit.agent == agent) {
            held.add(&unit.held);
        }
        held
    }

    /// What is held, by client.
    pub(crate) fn held(&self) -> impl Iterator<Item = (u32, &Bundle)> {
        self.by_client.iter().flat_map(|((client, _), need)| need.units.iter().map(|unit| (*client, &unit.held)))
    }
}

impl Need {
    fn missing(&self, unit: &Unit) -> Bundle {
        self.bundle.minus(&unit.held)
    }

    fn is_complete(&self) -> bool {
        self.units.len() == self.count as usize && self.units.iter().all(|unit| unit.held.contains(&self.bundle))
    }

    fn gathered(&self) -> usize {
        self.units.iter().filter(|unit| unit.held.contains(&self.bundle)).count()
    }
}

impl Engine {
    /// The needs that wait for room.
    #[must_use]
    pub fn needs(&self) -> Vec<NeedView> {
        let state = |((client, name), need): (&(u32, String), &Need)| {
            let of = &self.tree.clients[*client as usize];
            let held = need.units.iter().filter(|unit| !unit.held.is_empty());
            NeedView {
                framework: of.framework.clone(),
                role: of.role.clone(),
                name: name.clone(),
                resources: need.bundle.resources(),
                count: need.count,
                gathered: u32::try_from(need.gathered()).unwrap_or(u32::MAX),
                held: held.map(|unit| (self.agents.get(unit.agent).id.clone(), unit.held.resources())).collect(),
                deadline: need.deadline,
                priority: need.priority,
                waits_for: self.waits_for(*client, need),
            }
        };
        self.needs.by_client.iter().map(state).collect()
    }

    fn waits_for(&self, client: u32, need: &Need) -> String {
        if !self.tree.clients[client as usize].hungry {
            return "its framework to want offers".to_owned();
        }
        let waiting = need.units.iter().find(|unit| !unit.held.contains(&need.bundle));
        match waiting {
            Some(unit) => {
                let missing = need.missing(unit).resources();
                format!("{missing} more on agent {}", self.agents.get(unit.agent).id)
            }
            None if need.gathered() < need.count as usize => {
                format!("an agent for {} more of {} tasks", need.count as usize - need.gathered(), need.count)
            }
            None => "its turn".to_owned(),
        }
    }

    /// Whether an agent, if it were empty, would have room for a task of a client.
    #[must_use]
    pub fn could_take(&self, agent: AgentSlot, client: ClientSlot, what: &Bundle) -> bool {
        let rule = &self.tree.clients[client.0 as usize].rule;
        self.is_able(agent.0, client.0).is_ok()
            && rule.as_ref().is_none_or(|rule| rule.admits(self.agents.get(agent.0).looks()))
            && self.has_in_all(agent.0, client.0, what)
    }

    /// Whether an agent has enough for a client in all, whoever uses it now.
    fn has_in_all(&self, agent: u32, client: u32, what: &Bundle) -> bool {
        let wants = &self.tree.clients[client as usize];
        let total = &self.agents.get(agent).total;
        total.keep(|resource| crate::cycle::may_take(&wants.role, wants.abilities, resource)).contains(what)
    }

    /// Room is being made on an agent for one task of a need: what becomes free there goes to it.
    pub fn aim(&mut self, client: ClientSlot, name: &str, agent: AgentSlot) {
        let key = (client.0, name.to_owned());
        let Some(need) = self.needs.by_client.get_mut(&key) else { return };
        if need.units.iter().any(|unit| unit.agent == agent.0 && !unit.held.contains(&need.bundle)) {
            return;
        }
        let full = need.units.len() >= need.count as usize;
        let waiting = need.units.iter().position(|unit| !unit.held.contains(&need.bundle));
        let dropped = if full { waiting.map(|at| need.units.swap_remove(at)) } else { None };
        if !full || dropped.is_some() {
            need.units.push(Unit { agent: agent.0, held: Bundle::default() });
        }
        if let Some(unit) = dropped {
            self.let_go(client.0, &unit);
        }
        self.fill(client.0, name);
    }

    /// Needs given up since the engine was made.
    #[must_use]
    pub fn needs_expired(&self) -> u64 {
        self.needs.expired
    }

    pub(crate) fn replace_needs(&mut self, now: Time, client: u32, requests: &[Request]) {
        let wanted: BTreeMap<&str, &Request> = requests
            .iter()
            .filter(|request| request.hold_ms.is_some())
            .take(NEEDS_MAX)
            .map(|request| (request.name.as_str(), request))
            .collect();
        let old: Vec<String> = self.needs.of(client).map(|((_, name), _)| name.clone()).collect();
        for name in old {
            let need = &self.needs.by_client[&(client, name.clone())];
            let same = wanted.get(name.as_str()).is_some_and(|request| {
                Bundle::from(&request.resources) == need.bundle
                    && request.count.clamp(1, COUNT_MAX) == need.count
                    && request.agent == need.on
            });
            if !same {
                self.drop_need(client, &name);
            }
        }
        for (name, request) in wanted {
            let deadline = now.after(std::time::Duration::from_millis(request.hold_ms.unwrap_or(0)));
            let priority = request.priority.unwrap_or(self.tree.clients[client as usize].priority);
            let key = (client, name.to_owned());
            match self.needs.by_client.get_mut(&key) {
                Some(need) => need.priority = priority,
                None => {
                    let need = Need {
                        bundle: Bundle::from(&request.resources),
                        count: request.count.clamp(1, COUNT_MAX),
                        on: request.agent.clone(),
                        deadline,
                        priority,
                        units: Vec::new(),
                        served: 0,
                        fresh: true,
                    };
                    self.needs.by_client.insert(key, need);
                    self.needs.fresh = true;
                    self.wake(ClientSlot(client));
                }
            }
        }
    }

    pub(crate) fn drop_need(&mut self, client: u32, name: &str) {
        let Some(need) = self.needs.by_client.remove(&(client, name.to_owned())) else { return };
        for unit in need.units {
            self.let_go(client, &unit);
        }
    }

    pub(crate) fn drop_all_needs(&mut self) {
        let keys: Vec<(u32, String)> = self.needs.by_client.keys().cloned().collect();
        for (client, name) in keys {
            self.drop_need(client, &name);
        }
    }

    pub(crate) fn end_needs(&mut self, now: Time) {
        let over: Vec<(u32, String)> =
            self.needs.by_client.iter().filter(|(_, need)| need.deadline <= now).map(|(key, _)| key.clone()).collect();
        for (client, name) in over {
            self.needs.expired += 1;
            self.drop_need(client, &name);
            self.forget_if_idle(client);
        }
    }

    /// An agent may not be offered any more: what was held on it is held no more, and what was to be held on it
    /// later is looked for elsewhere, since another agent may come into its slot.
    pub(crate) fn drop_holds_on(&mut self, agent: u32) {
        let keys: Vec<(u32, String)> = self.needs.by_client.keys().cloned().collect();
        for key in keys {
            let Some(need) = self.needs.by_client.get_mut(&key) else { continue };
            let (gone, left): (Vec<Unit>, Vec<Unit>) =
                std::mem::take(&mut need.units).into_iter().partition(|unit| unit.agent == agent);
            need.units = left;
            need.fresh |= !gone.is_empty();
            self.needs.fresh |= !gone.is_empty();
            for unit in gone {
                self.let_go(key.0, &unit);
            }
        }
    }

    fn hold(&mut self, client: u32, agent: u32, what: &Bundle) {
        self.charge(client, what, 1, true);
        self.agents.list[agent as usize].held.add(what);
        self.agents.give(agent, what, &mut self.kinds);
    }

    fn let_go(&mut self, client: u32, unit: &Unit) {
        if unit.held.is_empty() {
            return;
        }
        self.charge(client, &unit.held, -1, true);
        self.agents.list[unit.agent as usize].held.take_what_is_there(&unit.held);
        self.agents.take_back(unit.agent, &unit.held, &mut self.kinds);
    }

    /// What became free where something is gathered goes there first.
    pub(crate) fn top_up_needs(&mut self, now: Time, made: &mut Vec<Decision>) {
        if self.needs.by_client.is_empty() {
            return;
        }
        let mut keys: Vec<(Reverse<i64>, u32, String)> = self
            .needs
            .by_client
            .iter()
            .filter(|(_, need)| !need.units.is_empty())
            .map(|((client, name), need)| (Reverse(need.priority), *client, name.clone()))
            .collect();
        keys.sort();
        for (_, client, name) in keys {
            if self.tree.clients[client as usize].hungry {
                self.fill(client, &name);
                self.deliver(now, client, &name, made);
            }
        }
    }

    /// Holds what is free on the agents that a need has picked.
    fn fill(&mut self, client: u32, name: &str) {
        let key = (client, name.to_owned());
        let Some(need) = self.needs.by_client.get(&key) else { return };
        let (bundle, mut units) = (need.bundle.clone(), need.units.clone());
        for unit in &mut units {
            let missing = bundle.minus(&unit.held);
            if missing.is_empty() || !self.agents.get(unit.agent).offerable {
                continue;
            }
            let more = self.takeable(unit.agent, client).common(&missing);
            let node = self.tree.clients[client as usize].node;
            let allowed = |kind| self.may_hold(node, kind);
            let more = more.shrink(&self.kinds, allowed);
            if !more.is_empty() {
                self.hold(client, unit.agent, &more);
                unit.held.add(&more);
            }
        }
        if let Some(need) = self.needs.by_client.get_mut(&key) {
            need.units = units;
        }
    }

    /// A client's turn: its needs pick agents. Says whether anything came of it, so that its turn is over.
    pub(crate) fn serve_needs(
        &mut self,
        now: Time,
        client: u32,
        round: u64,
        dirty: &[u32],
        made: &mut Vec<Decision>,
    ) -> bool {
        if self.needs.by_client.is_empty() {
            return false;
        }
        let names: Vec<String> =
            self.needs.of(client).filter(|(_, need)| need.served != round).map(|((_, name), _)| name.clone()).collect();
        let mut any = false;
        for name in names {
            any |= self.serve(client, &name, round, dirty);
            any |= self.deliver(now, client, &name, made);
        }
        any
    }

    fn serve(&mut self, client: u32, name: &str, round: u64, dirty: &[u32]) -> bool {
        let key = (client, name.to_owned());
        let Some(need) = self.needs.by_client.get_mut(&key) else { return false };
        need.served = round;
        let fresh = std::mem::take(&mut need.fresh);
        let (bundle, count) = (need.bundle.clone(), need.count as usize);
        let on = need.on.as_ref().and_then(|id| self.agents.find(id));
        let pinned = need.on.is_some();
        // Where a whole task fits right now.
        let mut candidates: Vec<u32> = if fresh { self.agents.with_free.clone() } else { dirty.to_vec() };
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|agent| !pinned || Some(*agent) == on);
        // The fullest first, so that other big tasks find room too.
        candidates.sort_by_key(|agent| u64::MAX - self.agents.get(*agent).fullness());
        let mut any = false;
        for agent in candidates {
            while self.gathered(&key) < count && self.fits(agent, client, &bundle) {
                self.place_unit(&key, agent, &bundle, count);
                any = true;
            }
        }
        if fresh {
            any |= self.pick_targets(&key, on, pinned, &bundle, count);
        }
        any
    }

    fn gathered(&self, key: &(u32, String)) -> usize {
        self.needs.by_client.get(key).map_or(0, Need::gathered)
    }

    fn fits(&mut self, agent: u32, client: u32, bundle: &Bundle) -> bool {
        if !self.agents.get(agent).offerable
            || self.admits(agent, client).is_err()
            || !self.takeable(agent, client).contains(bundle)
        {
            return false;
        }
        let node = self.tree.clients[client as usize].node;
        let within = |kind| {
            bundle.scalar(kind, &self.kinds) <= self.tree.allowance(node, kind)
                && bundle.ordinary_scalar(kind, &self.kinds) <= self.may_hold(node, kind)
        };
        let bounded = self.tree.nodes[node as usize].limited || !self.tree.all_missing().is_zero();
        !bounded || (0..self.kinds.count()).all(within)
    }

    /// How much more of a kind may be held for a role: within limits, and without what is kept for guarantees of
    /// others.
    fn may_hold(&self, node: u32, kind: usize) -> i64 {
        let allowance = self.tree.allowance(node, kind);
        if self.tree.all_missing().is_zero() {
            return allowance;
        }
        let due = self.tree.missing(node, kind).max(0);
        allowance.min(due.saturating_add(self.surplus_of(kind).max(0)))
    }

    /// Room for a whole task; a unit that waited for its rest elsewhere is let go for it.
    fn place_unit(&mut self, key: &(u32, String), agent: u32, bundle: &Bundle, count: usize) {
        let client = key.0;
        let mut dropped = None;
        if let Some(need) = self.needs.by_client.get_mut(key)
            && need.units.len() >= count
        {
            let at = need.units.iter().position(|unit| !unit.held.contains(bundle));
            dropped = at.map(|at| need.units.swap_remove(at));
        }
        if let Some(unit) = dropped {
            self.let_go(client, &unit);
            self.needs.let_go.push(unit.agent);
        }
        self.hold(client, agent, bundle);
        if let Some(need) = self.needs.by_client.get_mut(key) {
            need.units.push(Unit { agent, held: bundle.clone() });
        }
    }

    /// For each task without room: the agent that is nearest to having it, one task at a time per agent.
    fn pick_targets(
        &mut self,
        key: &(u32, String),
        on: Option<u32>,
        pinned: bool,
        bundle: &Bundle,
        count: usize,
    ) -> bool {
        let client = key.0;
        let have = self.needs.by_client.get(key).map_or(0, |need| need.units.len());
        if have >= count {
            return false;
        }
        let mut ranked: Vec<(u64, u32)> = Vec::new();
        let all: Vec<u32> =
            if pinned { on.into_iter().collect() } else { self.agents.ids().map(|(_, at)| at).collect() };
        for agent in all {
            let taken = self.needs.by_client[key].units.iter().any(|unit| unit.agent == agent);
            let slot = self.agents.get(agent);
            if taken || !slot.offerable || !slot.held.is_empty() || self.admits(agent, client).is_err() {
                continue;
            }
            if self.has_in_all(agent, client, bundle) {
                ranked.push((self.far_from(agent, client, bundle), agent));
            }
        }
        ranked.sort_unstable();
        let picked: Vec<u32> = ranked.into_iter().take(count - have).map(|(_, agent)| agent).collect();
        let any = !picked.is_empty();
        if let Some(need) = self.needs.by_client.get_mut(key) {
            need.units.extend(picked.into_iter().map(|agent| Unit { agent, held: Bundle::default() }));
        }
        self.fill(client, &key.1);
        any
    }

    /// The largest part of one of the needed scalars that is not free, in units of 2^-20.
    fn far_from(&self, agent: u32, client: u32, bundle: &Bundle) -> u64 {
        let free = self.takeable(agent, client);
        let far = |kind: usize| {
            let needed = bundle.scalar(kind, &self.kinds);
            let missing = (needed - free.scalar(kind, &self.kinds)).max(0);
            if needed > 0 {
                u64::try_from((i128::from(missing) << 20) / i128::from(needed)).unwrap_or(u64::MAX)
            } else {
                0
            }
        };
        (0..self.kinds.count()).map(far).max().unwrap_or(0)
    }

    /// Everything is gathered: it is offered at once.
    fn deliver(&mut self, now: Time, client: u32, name: &str, made: &mut Vec<Decision>) -> bool {
        let key = (client, name.to_owned());
        if !self.needs.by_client.get(&key).is_some_and(Need::is_complete) {
            return false;
        }
        let mut per_agent: BTreeMap<u32, Bundle> = BTreeMap::new();
        for unit in self.needs.by_client.remove(&key).into_iter().flat_map(|need| need.units) {
            self.let_go(client, &unit);
            per_agent.entry(unit.agent).or_default().add(&unit.held);
        }
        for (agent, bundle) in per_agent {
            made.push(self.make_offer(now, client, agent, bundle));
        }
        true
    }
}

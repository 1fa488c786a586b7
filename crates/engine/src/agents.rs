//! What agents have, and what of it is free.

use std::collections::BTreeMap;

use mesos_model::{AgentId, Resources, attribute::Attribute};

use crate::{
    bundle::{Bundle, Kinds, Quantities, Rests},
    rules::Looks,
};

const NOWHERE: u32 = u32::MAX;

/// What the engine is told about an agent.
#[derive(Clone, Debug, Default)]
pub struct AgentFacts {
    /// All it has, oversubscribed resources included.
    pub total: Resources,
    /// Its hostname.
    pub hostname: String,
    /// What it says of itself.
    pub attributes: Vec<Attribute>,
    /// Region and zone.
    pub domain: Option<(String, String)>,
    /// It is in another region than the cluster's own.
    pub remote: bool,
    /// Its total is part of the cluster's.
    pub counted: bool,
    /// Its resources may be offered.
    pub offerable: bool,
}

/// An agent. What a round looks at and changes comes first, so that it lies in few lines of the cache.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Agent {
    pub(crate) free: Bundle,
    pub(crate) class: u32,
    /// First of the open offers on it.
    pub(crate) offers_head: u32,
    pub(crate) remote: bool,
    pub(crate) gpus: bool,
    pub(crate) offerable: bool,
    pub(crate) counted: bool,
    /// The sum of what is allocated is not simply what is missing from the total (more is held than there is,
    /// or the same port twice), so subtracting is not exact and sums are made anew.
    pub(crate) crowded: bool,
    /// What is free is not the same for everybody.
    pub(crate) odd: bool,
    /// It has changed since the last round: everybody hungry is asked.
    dirty: bool,
    pub(crate) offered: Bundle,
    /// Without what several may use at once.
    pub(crate) total: Bundle,
    pub(crate) allocated: Bundle,
    /// Gathered for needs.
    pub(crate) held: Bundle,
    /// What several may use at once: it goes along with whatever is offered.
    pub(crate) shared: Option<Bundle>,
    pub(crate) id: AgentId,
    pub(crate) hostname: String,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) domain: Option<(String, String)>,
}

impl Agent {
    pub(crate) fn looks(&self) -> Looks<'_> {
        Looks { hostname: &self.hostname, attributes: &self.attributes, domain: self.domain.as_ref() }
    }

    /// Whether what is allocated, offered and held is all there.
    pub(crate) fn has_room(&self) -> bool {
        if self.offered.is_empty() && self.held.is_empty() {
            return self.total.contains(&self.allocated);
        }
        let left = self.total.minus(&self.allocated);
        self.total.contains(&self.allocated)
            && left.contains(&self.offered)
            && left.minus(&self.offered).contains(&self.held)
    }

    /// How full it is: the largest used share of a common scalar, in units of 2^-32.
    pub(crate) fn fullness(&self) -> u64 {
        let (total, free) = (self.total.hot(), self.free.hot());
        let mut fullest = 0;
        for (total, free) in total.into_iter().zip(free) {
            let used = (total - free).max(0).cast_unsigned();
            if used > 0 {
                let total = total.cast_unsigned();
                let share = if used < 1 << 31 {
                    (used << 32) / total.max(1)
                } else {
                    u64::try_from((u128::from(used) << 32) / u128::from(total.max(1))).unwrap_or(u64::MAX)
                };
                fullest = fullest.max(share);
            }
        }
        fullest
    }
}

/// All agents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents {
    pub(crate) list: Vec<Agent>,
    unused: Vec<u32>,
    by_id: BTreeMap<AgentId, u32>,
    classes: BTreeMap<String, u32>,
    /// Agents with something free that may be offered.
    pub(crate) with_free: Vec<u32>,
    /// The place of each agent in that list.
    free_at: Vec<u32>,
    pub(crate) dirty: Vec<u32>,
    /// Free ordinary scalars of all agents that may be offered.
    pub(crate) headroom: Quantities,
    /// How many agents have something free that is not the same for everybody.
    pub(crate) odd: usize,
    pub(crate) rests: Rests,
}

impl Agents {
    pub(crate) fn find(&self, id: &AgentId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = (&AgentId, u32)> {
        self.by_id.iter().map(|(id, at)| (id, *at))
    }

    pub(crate) fn get(&self, at: u32) -> &Agent {
        &self.list[at as usize]
    }

    /// The slot of an agent, new if need be.
    pub(crate) fn slot(&mut self, id: &AgentId) -> u32 {
        if let Some(at) = self.by_id.get(id) {
            return *at;
        }
        let agent = Agent {
            id: id.clone(),
            hostname: String::new(),
            attributes: Vec::new(),
            domain: None,
            remote: false,
            gpus: false,
            class: 0,
            offerable: false,
            counted: false,
            total: Bundle::default(),
            shared: None,
            allocated: Bundle::default(),
            crowded: false,
            offered: Bundle::default(),
            held: Bundle::default(),
            free: Bundle::default(),
            odd: false,
            dirty: false,
            offers_head: NOWHERE,
        };
        let at = match self.unused.pop() {
            Some(at) => {
                self.list[at as usize] = agent;
                at
            }
            None => {
                self.list.push(agent);
                self.free_at.push(NOWHERE);
                u32::try_from(self.list.len() - 1).unwrap_or(0)
            }
        };
        self.by_id.insert(id.clone(), at);
        at
    }

    /// Frees the slot of an agent on which nothing is.
    pub(crate) fn forget(&mut self, at: u32, kinds: &mut Kinds) {
        self.set_free(at, Bundle::default(), kinds);
        self.clean(at);
        self.by_id.remove(&self.list[at as usize].id);
        self.list[at as usize].id = AgentId::default();
        self.unused.push(at);
    }

    /// Agents of one class are alike to every rule that does not look at hostnames.
    pub(crate) fn class_of(&mut self, facts: &AgentFacts) -> u32 {
        if facts.attributes.is_empty() && facts.domain.is_none() {
            return 0;
        }
        let key = format!("{:?}", (&facts.attributes, &facts.domain));
        let next = u32::try_from(self.classes.len() + 1).unwrap_or(u32::MAX);
        *self.classes.entry(key).or_insert(next)
    }

    /// What would be free if it were reckoned anew.
    fn reckoned(&self, at: u32) -> Bundle {
        let agent = &self.list[at as usize];
        if !agent.offerable {
            return Bundle::default();
        }
        let mut free = agent.total.minus(&agent.allocated);
        free.take_what_is_there(&agent.offered);
        free.take_what_is_there(&agent.held);
        free
    }

    /// Derives what is free after something about an agent has changed, and has everybody asked again.
    pub(crate) fn refresh(&mut self, at: u32, kinds: &mut Kinds) {
        let free = self.reckoned(at);
        self.set_free(at, free, kinds);
        self.soil(at);
    }

    /// Less is free: `what` was given to somebody.
    pub(crate) fn give(&mut self, at: u32, what: &Bundle, kinds: &mut Kinds) {
        if self.list[at as usize].crowded {
            return self.refresh(at, kinds);
        }
        self.change_free(at, what.has_only_hot_scalars(), kinds, |free| free.take_what_is_there(what));
    }

    /// More is free: `what` came back.
    pub(crate) fn take_back(&mut self, at: u32, what: &Bundle, kinds: &mut Kinds) {
        if self.list[at as usize].crowded {
            return self.refresh(at, kinds);
        }
        if self.list[at as usize].offerable {
            self.change_free(at, what.has_only_hot_scalars(), kinds, |free| free.add(what));
            self.soil(at);
        }
    }

    /// Changes what is free. `simple`: by common ordinary scalars and things that are no scalars.
    fn change_free(&mut self, at: u32, simple: bool, kinds: &mut Kinds, change: impl FnOnce(&mut Bundle)) {
        let free = &mut self.list[at as usize].free;
        if simple && free.has_only_hot_scalars() {
            let before = free.hot();
            change(free);
            self.headroom.shift_hot(before, free.hot());
        } else {
            self.headroom.shift(&free.ordinary(kinds), -1);
            change(free);
            self.headroom.shift(&free.ordinary(kinds), 1);
        }
        if free.is_alone() {
            self.rests.share(free);
        }
        self.index(at);
    }

    fn set_free(&mut self, at: u32, mut free: Bundle, kinds: &mut Kinds) {
        if free.is_alone() {
            self.rests.share(&mut free);
        }
        self.headroom.shift(&self.list[at as usize].free.ordinary(kinds), -1);
        self.headroom.shift(&free.ordinary(kinds), 1);
        self.list[at as usize].free = free;
        self.index(at);
    }

    fn index(&mut self, at: u32) {
        let agent = &mut self.list[at as usize];
        let odd = !agent.free.is_empty() && (!agent.free.is_plain() || agent.shared.is_some());
        if odd != agent.odd {
            agent.odd = odd;
            self.odd = if odd { self.odd + 1 } else { self.odd - 1 };
        }
        let listed = self.free_at[at as usize] != NOWHERE;
        if listed != agent.free.is_empty() {
            return;
        }
        if listed {
            let hole = std::mem::replace(&mut self.free_at[at as usize], NOWHERE);
            self.with_free.swap_remove(hole as usize);
            if let Some(moved) = self.with_free.get(hole as usize) {
                self.free_at[*moved as usize] = hole;
            }
        } else {
            self.free_at[at as usize] = u32::try_from(self.with_free.len()).unwrap_or(NOWHERE);
            self.with_free.push(at);
        }
    }

    /// Everybody hungry is asked about an agent in the next round.
    pub(crate) fn soil(&mut self, at: u32) {
        let agent = &mut self.list[at as usize];
        if !agent.dirty {
            agent.dirty = true;
            self.dirty.push(at);
        }
    }

    pub(crate) fn is_dirty(&self, at: u32) -> bool {
        self.list[at as usize].dirty
    }

    fn clean(&mut self, at: u32) {
        if std::mem::take(&mut self.list[at as usize].dirty) {
            self.dirty.retain(|other| *other != at);
        }
    }

    /// The agents that have changed, which count as unchanged from now on.
    pub(crate) fn take_dirty(&mut self) -> Vec<u32> {
        let dirty = std::mem::take(&mut self.dirty);
        for at in &dirty {
            self.list[*at as usize].dirty = false;
        }
        dirty
    }

    /// What must hold.
    pub(crate) fn check(&self, kinds: &mut Kinds) -> Result<(), String> {
        let mut headroom = Quantities::default();
        let mut odd = 0;
        for at in self.by_id.values() {
            let agent = &self.list[*at as usize];
            let is_odd = !agent.free.is_empty() && (!agent.free.is_plain() || agent.shared.is_some());
            odd += usize::from(is_odd);
            if agent.odd != is_odd {
                return Err(format!("agent {}: it is not known whether what is free is for everybody", agent.id));
            }
            headroom.shift(&agent.free.ordinary(kinds), 1);
            if agent.free != self.reckoned(*at) {
                return Err(format!(
                    "agent {}: {:?} is free, but {:?} should be",
                    agent.id,
                    agent.free,
                    self.reckoned(*at)
                ));
            }
            if (self.free_at[*at as usize] == NOWHERE) != agent.free.is_empty() {
                return Err(format!("agent {}: the index of free agents is wrong", agent.id));
            }
        }
        if odd != self.odd {
            return Err("the count of agents with something that is not for everybody is wrong".to_owned());
        }
        if headroom == self.headroom { Ok(()) } else { Err("the headroom is wrong".to_owned()) }
    }
}

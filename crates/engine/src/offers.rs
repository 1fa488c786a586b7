//! Offers that frameworks sit on.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hasher},
};

use mesos_model::Time;

use crate::{agents::Agents, bundle::Bundle, roles::Tree};

const NONE: u32 = u32::MAX;

/// Numbers that rise one by one lie side by side in a table: whoever walks through a round's offers walks through
/// memory in order.
#[derive(Clone, Copy, Debug, Default)]
struct Numbered(u64);

impl Hasher for Numbered {
    fn finish(&self) -> u64 {
        // The table takes its tags from the highest bits and places from the lowest.
        self.0 ^ (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) & (0x7f << 57))
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct ByNumber;

impl BuildHasher for ByNumber {
    type Hasher = Numbered;

    fn build_hasher(&self) -> Numbered {
        Numbered::default()
    }
}

/// An open offer.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) number: u64,
    pub(crate) client: u32,
    pub(crate) agent: u32,
    pub(crate) bundle: Bundle,
    of_agent: (u32, u32),
    of_client: (u32, u32),
}

/// All open offers, each in the list of its agent and in that of its client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offers {
    slab: Vec<Offer>,
    unused: Vec<u32>,
    by_number: HashMap<u64, u32, ByNumber>,
    /// When they time out, in the order in which they were made. Answered ones stay in it until then.
    due: VecDeque<(Time, u64)>,
    pub(crate) made: u64,
}

impl Offers {
    pub(crate) fn count(&self) -> usize {
        self.by_number.len()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Offer> {
        self.by_number.get(&number).map(|at| &self.slab[*at as usize])
    }

    /// The next number.
    pub(crate) fn open(
        &mut self,
        client: u32,
        agent: u32,
        bundle: Bundle,
        agents: &mut Agents,
        tree: &mut Tree,
    ) -> u64 {
        let number = self.made;
        self.made += 1;
        let (agent_head, client_head) =
            (&mut agents.list[agent as usize].offers_head, &mut tree.clients[client as usize].offers_head);
        let offer =
            Offer { number, client, agent, bundle, of_agent: (NONE, *agent_head), of_client: (NONE, *client_head) };
        let at = match self.unused.pop() {
            Some(at) => {
                self.slab[at as usize] = offer;
                at
            }
            None => {
                self.slab.push(offer);
                u32::try_from(self.slab.len() - 1).unwrap_or(NONE)
            }
        };
        if *agent_head != NONE {
            self.slab[*agent_head as usize].of_agent.0 = at;
        }
        if *client_head != NONE {
            self.slab[*client_head as usize].of_client.0 = at;
        }
        (*agent_head, *client_head) = (at, at);
        self.by_number.insert(number, at);
        number
    }

    pub(crate) fn time_out(&mut self, number: u64, due: Time) {
        self.due.push_back((due, number));
    }

    pub(crate) fn close(&mut self, number: u64, agents: &mut Agents, tree: &mut Tree) -> Option<Offer> {
        let at = self.by_number.remove(&number)?;
        let slot = &mut self.slab[at as usize];
        let offer = Offer { bundle: std::mem::take(&mut slot.bundle), ..slot.clone() };
        let (before, after) = offer.of_agent;
        match before {
            NONE => agents.list[offer.agent as usize].offers_head = after,
            before => self.slab[before as usize].of_agent.1 = after,
        }
        if after != NONE {
            self.slab[after as usize].of_agent.0 = before;
        }
        let (before, after) = offer.of_client;
        match before {
            NONE => tree.clients[offer.client as usize].offers_head = after,
            before => self.slab[before as usize].of_client.1 = after,
        }
        if after != NONE {
            self.slab[after as usize].of_client.0 = before;
        }
        self.unused.push(at);
        while self.due.front().is_some_and(|(_, number)| !self.by_number.contains_key(number)) {
            self.due.pop_front();
        }
        Some(offer)
    }

    /// Offers on an agent, the latest first.
    pub(crate) fn of_agent<'a>(&'a self, agents: &Agents, agent: u32) -> impl Iterator<Item = &'a Offer> {
        self.list(agents.list[agent as usize].offers_head, |offer| offer.of_agent.1)
    }

    /// Offers to a client, the latest first.
    pub(crate) fn of_client<'a>(&'a self, tree: &Tree, client: u32) -> impl Iterator<Item = &'a Offer> {
        self.list(tree.clients[client as usize].offers_head, |offer| offer.of_client.1)
    }

    fn list(&self, head: u32, after: impl Fn(&Offer) -> u32) -> impl Iterator<Item = &Offer> {
        std::iter::successors(self.slab.get(head as usize), move |offer| self.slab.get(after(offer) as usize))
    }

    /// Numbers of all open offers, in order.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        #[expect(clippy::disallowed_methods, reason = "sorted below")]
        let mut numbers: Vec<u64> = self.by_number.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// When the next offer times out.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.front().map(|(due, _)| *due)
    }

    /// An offer that has timed out.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<u64> {
        while let Some((due, number)) = self.due.front().copied() {
            if due > now {
                return None;
            }
            self.due.pop_front();
            if self.by_number.contains_key(&number) {
                return Some(number);
            }
        }
        None
    }
}

//! The race of `random`: everybody has a clock, and the lowest is next.

use super::{Policy, ROOT, Tree};

impl Tree {
    pub(super) fn enter_race(&mut self, at: u32) {
        if !matches!(self.policy, Policy::Random) {
            return;
        }
        let lot = self.lots.exponential();
        let node = self.clients[at as usize].node;
        let behind = self.nodes[node as usize].clients_clock;
        self.clients[at as usize].clock = behind.saturating_add(lot);
        let mut at = node;
        let lot = self.lots.exponential();
        let node = &mut self.nodes[at as usize];
        if node.own_hungry == 0 {
            node.own_clock = node.children_clock.saturating_add(lot);
        }
        while at != ROOT {
            let lot = self.lots.exponential();
            let parent = self.nodes[at as usize].parent;
            let behind = self.nodes[parent as usize].children_clock;
            let node = &mut self.nodes[at as usize];
            if node.hungry == 0 {
                node.clock = behind.saturating_add(lot * 1000 / node.facts.weight.max(1));
            }
            at = parent;
        }
    }

    /// Whoever took no part while others went on has missed its turns: it draws anew from where they are, so that
    /// lots have no memory. Says whether that changed anything, and so perhaps who is next.
    pub(crate) fn catch_up(&mut self, at: u32) -> bool {
        if !matches!(self.policy, Policy::Random) {
            return false;
        }
        let node = self.clients[at as usize].node as usize;
        let mut late = false;
        let behind = self.nodes[node].clients_clock;
        if self.clients[at as usize].clock < behind {
            late = true;
            let mut order = std::mem::take(&mut self.nodes[node].client_order);
            let from = self.position(&order, at);
            self.clients[at as usize].clock = behind.saturating_add(self.lots.exponential());
            self.clients[at as usize].rank = self.client_rank(at);
            order.place(from, at, true, |other| self.compare_clients(other, at).is_lt());
            self.nodes[node].client_order = order;
        }
        let mut at = self.clients[at as usize].node;
        let behind = self.nodes[node].children_clock;
        let start = at;
        if self.nodes[node].own_clock < behind {
            late = true;
            self.nodes[node].own_clock = behind.saturating_add(self.lots.exponential());
        }
        while at != ROOT {
            let parent = self.nodes[at as usize].parent;
            let behind = self.nodes[parent as usize].children_clock;
            if self.nodes[at as usize].clock < behind {
                late = true;
                let lot = self.lots.exponential();
                let node = &mut self.nodes[at as usize];
                node.clock = behind.saturating_add(lot * 1000 / node.facts.weight.max(1));
            }
            at = parent;
        }
        if late {
            self.rank_up(start);
        }
        late
    }

    /// Whoever was next draws anew; the others' lots stay good, since waiting does not change an exponential lot.
    pub(super) fn run_race(&mut self, at: u32) {
        let node = self.clients[at as usize].node;
        let lot = self.lots.exponential();
        let clock = self.clients[at as usize].clock;
        // Before the clocks change, while everybody is found where it stands.
        let mut order = std::mem::take(&mut self.nodes[node as usize].client_order);
        let from = self.position(&order, at).filter(|_| !self.stale);
        self.clients[at as usize].clock = clock.saturating_add(lot);
        self.clients[at as usize].rank = self.client_rank(at);
        if from.is_some() {
            order.place(from, at, true, |other| self.compare_clients(other, at).is_lt());
        }
        self.nodes[node as usize].client_order = order;
        let behind = &mut self.nodes[node as usize].clients_clock;
        *behind = clock.max(*behind);
        let own = self.nodes[node as usize].own_clock;
        let lot = self.lots.exponential();
        let behind = &mut self.nodes[node as usize].children_clock;
        *behind = own.max(*behind);
        self.nodes[node as usize].own_clock = own.saturating_add(lot);
        let mut at = node;
        while at != ROOT {
            let lot = self.lots.exponential();
            let parent = self.nodes[at as usize].parent;
            let node = &mut self.nodes[at as usize];
            let clock = node.clock;
            node.clock = clock.saturating_add(lot * 1000 / node.facts.weight.max(1));
            let behind = &mut self.nodes[parent as usize].children_clock;
            *behind = clock.max(*behind);
            at = parent;
        }
        self.rank_up(node);
    }
}

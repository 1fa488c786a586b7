//! The order of turns: ranks, places, and the search for who is next.

use super::{Client, OWN, Policy, ROOT, Rank, Search, Tree};
use crate::{
    bundle::Quantities,
    policy::ClientView,
    share::{Share, dominant},
};

/// Entries in order, and how far the present search has come: nobody before `scan` wants anything more.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    pub(super) entries: Vec<u32>,
    pub(super) scan: usize,
    pub(super) round: u64,
}

impl Order {
    pub(super) fn scan(&self, round: u64) -> usize {
        if self.round == round { self.scan } else { 0 }
    }

    pub(super) fn advance(&mut self, round: u64, to: usize) {
        self.round = round;
        self.scan = to;
    }

    /// Puts an entry into its place. `from` is where it stands, if it does; `before` says who stands before it.
    pub(super) fn place(&mut self, from: Option<usize>, entry: u32, stays: bool, before: impl Fn(u32) -> bool) {
        let entries = &mut self.entries;
        let to = match (from, stays) {
            (Some(from), true) => {
                let later = partition_point(&entries[from + 1..], &before);
                if later > 0 {
                    entries[from..=from + later].rotate_left(1);
                    from + later
                } else {
                    let to = partition_point(&entries[..from], &before);
                    entries[to..=from].rotate_right(1);
                    to
                }
            }
            (None, true) => {
                let to = partition_point(entries, &before);
                entries.insert(to, entry);
                to
            }
            (Some(from), false) => {
                entries.remove(from);
                usize::MAX
            }
            (None, false) => return,
        };
        if from.is_some_and(|from| from < self.scan) {
            self.scan -= 1;
        }
        self.scan = self.scan.min(to);
    }
}

/// How many of the entries stand before somebody. Mostly all or none do: whoever was offered something goes to the
/// end, and whoever gives it back to the beginning.
fn partition_point(entries: &[u32], before: &impl Fn(u32) -> bool) -> usize {
    match entries {
        [] => 0,
        [first, ..] if !before(*first) => 0,
        [.., last] if before(*last) => entries.len(),
        entries => entries.partition_point(|other| before(*other)),
    }
}

impl Tree {
    /// Brings every rank up to date after the total changed; to be called before [`next`](Self::next).
    pub(crate) fn freshen(&mut self) {
        if matches!(self.policy, Policy::Module(..)) {
            // Its scores may look at the time.
            self.stale = true;
        }
        if !std::mem::take(&mut self.stale) {
            return;
        }
        for client in 0..self.clients.len() {
            self.clients[client].rank = self.client_rank(u32::try_from(client).unwrap_or(0));
        }
        for at in 0..self.nodes.len() {
            let at32 = u32::try_from(at).unwrap_or(ROOT);
            (self.nodes[at].rank, self.nodes[at].own_rank) = (self.node_rank(at32), self.own_rank(at32));
        }
        if self.policy.is_flat() {
            let mut entries: Vec<u32> = (0..u32::try_from(self.clients.len()).unwrap_or(0))
                .filter(|at| self.clients[*at as usize].hungry)
                .collect();
            entries.sort_unstable_by(|a, b| self.compare_clients(*a, *b));
            self.flat = Order { entries, ..Order::default() };
            return;
        }
        for at in 0..self.nodes.len() {
            let at32 = u32::try_from(at).unwrap_or(ROOT);
            let node = &self.nodes[at];
            let mut clients: Vec<u32> =
                node.clients.values().copied().filter(|client| self.clients[*client as usize].hungry).collect();
            clients.sort_unstable_by(|a, b| self.compare_clients(*a, *b));
            let mut children: Vec<u32> =
                node.children.values().copied().filter(|child| self.nodes[*child as usize].hungry > 0).collect();
            if node.own_hungry > 0 {
                children.push(OWN);
            }
            children.sort_unstable_by(|a, b| self.compare_children(at32, *a, *b));
            self.nodes[at].client_order = Order { entries: clients, ..Order::default() };
            self.nodes[at].order = Order { entries: children, ..Order::default() };
        }
    }

    /// The first client, in order, that a search is for and that is not sated yet.
    pub(crate) fn next(&mut self, search: Search) -> Option<u32> {
        if self.policy.is_flat() {
            let mut flat = std::mem::take(&mut self.flat);
            let found = self.first_client(&mut flat, search);
            self.flat = flat;
            return found;
        }
        self.next_below(ROOT, search)
    }

    pub(super) fn next_below(&mut self, at: u32, search: Search) -> Option<u32> {
        let mut scan = self.nodes[at as usize].order.scan(search.number);
        loop {
            let Some(entry) = self.nodes[at as usize].order.entries.get(scan).copied() else {
                self.nodes[at as usize].order.advance(search.number, scan);
                return None;
            };
            let found = if entry == OWN {
                let mut order = std::mem::take(&mut self.nodes[at as usize].client_order);
                let found = self.first_client(&mut order, search);
                self.nodes[at as usize].client_order = order;
                found
            } else {
                self.next_below(entry, search)
            };
            if found.is_some() {
                self.nodes[at as usize].order.advance(search.number, scan);
                return found;
            }
            scan += 1;
        }
    }

    pub(super) fn first_client(&self, order: &mut Order, search: Search) -> Option<u32> {
        let mut scan = order.scan(search.number);
        while let Some(entry) = order.entries.get(scan).copied() {
            let client = &self.clients[entry as usize];
            let wanted = (search.everybody || client.asked == search.round) && client.sated != search.round;
            if wanted && search.priority.is_none_or(|priority| client.priority == priority) {
                order.advance(search.number, scan);
                return Some(entry);
            }
            scan += 1;
        }
        order.advance(search.number, scan);
        None
    }

    /// All hungry clients in the order of their turns.
    pub(crate) fn in_order(&mut self) -> Vec<u32> {
        self.freshen();
        let mut out = Vec::new();
        if self.policy.is_flat() {
            out.extend(&self.flat.entries);
        } else {
            self.collect(ROOT, &mut out);
        }
        out.sort_by_key(|at| std::cmp::Reverse(self.clients[*at as usize].priority));
        out
    }

    pub(super) fn collect(&self, at: u32, out: &mut Vec<u32>) {
        let node = &self.nodes[at as usize];
        for entry in &node.order.entries {
            if *entry == OWN {
                out.extend(&node.client_order.entries);
            } else {
                self.collect(*entry, out);
            }
        }
    }

    pub(super) fn compare_clients(&self, a: u32, b: u32) -> std::cmp::Ordering {
        let (left, right) = (&self.clients[a as usize], &self.clients[b as usize]);
        let by_name = || left.framework.cmp(&right.framework).then_with(|| left.role.cmp(&right.role));
        left.rank.cmp(&right.rank).then_with(by_name)
    }

    pub(super) fn compare_children(&self, at: u32, a: u32, b: u32) -> std::cmp::Ordering {
        let key = |entry: u32| match entry {
            OWN => (&self.nodes[at as usize].own_rank, &self.nodes[at as usize].own_path),
            child => (&self.nodes[child as usize].rank, &self.nodes[child as usize].path),
        };
        let (left, right) = (key(a), key(b));
        left.0.cmp(right.0).then_with(|| left.1.cmp(right.1))
    }

    pub(super) fn client_rank(&mut self, at: u32) -> Rank {
        let client = &self.clients[at as usize];
        let offers = client.offers_made;
        let share = match &self.policy {
            Policy::Drf => dominant(&client.sums, &self.total, self.left_out),
            Policy::Random => Share::whole(client.clock),
            Policy::Fifo if client.is_met() => Share::whole(u64::MAX >> 1),
            Policy::Fifo => Share::whole(client.waiting_since.0),
            Policy::Drc => dominant(&client.outstanding(), &self.total, self.left_out).inverse(),
            Policy::Module(_, scorer) => match scorer.score(&self.view(client)) {
                Ok(score) => Share::whole(u64::try_from(i128::from(score) - i128::from(i64::MIN)).unwrap_or(u64::MAX)),
                Err(error) => {
                    self.trouble.get_or_insert(error);
                    Share::LAST
                }
            },
        };
        // Of two that have waited equally long, the one that came first.
        let offers = if matches!(self.policy, Policy::Fifo) { self.clients[at as usize].arrival } else { offers };
        Rank { share, offers }
    }

    pub(super) fn view(&self, client: &Client) -> ClientView {
        const PPB: u64 = 1_000_000_000;
        let outstanding = client.outstanding();
        ClientView {
            now_ms: self.now.0,
            waiting_since_ms: if client.is_met() { 0 } else { client.waiting_since.0 },
            share_ppb: dominant(&client.sums, &self.total, self.left_out).parts(PPB),
            demand_ppb: dominant(&outstanding, &self.total, self.left_out).parts(PPB),
            weight_milli: self.nodes[client.node as usize].facts.weight,
            priority: client.priority,
            offers: client.offers_made,
            arrival: client.arrival,
            depth: self.nodes[client.node as usize].depth,
            allocated: client.sums.hot(),
            total: self.total.hot(),
        }
    }

    pub(super) fn own_rank(&self, at: u32) -> Rank {
        let node = &self.nodes[at as usize];
        let share = match self.policy {
            Policy::Random => Share::whole(node.own_clock),
            _ => dominant(&node.own, &self.total, self.left_out),
        };
        Rank { share, offers: node.own_offers }
    }

    pub(super) fn node_rank(&self, at: u32) -> Rank {
        let node = &self.nodes[at as usize];
        let share = match self.policy {
            Policy::Random => Share::whole(node.clock),
            _ => dominant(&node.sums, &self.total, self.left_out).weighted(node.facts.weight),
        };
        Rank { share, offers: node.offers }
    }

    /// Share of a role, not divided by its weight.
    pub(crate) fn share_of(&self, have: &Quantities) -> Share {
        dominant(have, &self.total, self.left_out)
    }

    /// A client's share of the cluster.
    pub(crate) fn client_share(&self, at: u32) -> Share {
        dominant(&self.clients[at as usize].sums, &self.total, self.left_out)
    }

    /// Takes a client out of the order.
    pub(super) fn unplace(&mut self, at: u32) {
        if self.stale || !self.clients[at as usize].hungry {
            return;
        }
        let node = self.clients[at as usize].node as usize;
        let mut order =
            std::mem::take(if self.policy.is_flat() { &mut self.flat } else { &mut self.nodes[node].client_order });
        let from = self.position(&order, at);
        order.place(from, at, false, |_| false);
        *(if self.policy.is_flat() { &mut self.flat } else { &mut self.nodes[node].client_order }) = order;
    }

    pub(super) fn position(&self, order: &Order, at: u32) -> Option<usize> {
        if order.entries.get(order.scan) == Some(&at) {
            return Some(order.scan);
        }
        order.entries.binary_search_by(|other| self.compare_clients(*other, at)).ok()
    }

    /// Puts a client that was not in the order, and everything above it, into their places.
    pub(super) fn place(&mut self, at: u32) {
        if self.stale {
            return;
        }
        let rank = self.client_rank(at);
        self.clients[at as usize].rank = rank;
        let hungry = self.clients[at as usize].hungry;
        let node = self.clients[at as usize].node;
        if self.policy.is_flat() {
            let mut flat = std::mem::take(&mut self.flat);
            flat.place(None, at, hungry, |other| self.compare_clients(other, at).is_lt());
            self.flat = flat;
            return;
        }
        let mut order = std::mem::take(&mut self.nodes[node as usize].client_order);
        order.place(None, at, hungry, |other| self.compare_clients(other, at).is_lt());
        self.nodes[node as usize].client_order = order;
        self.rank_up(node);
    }

    /// A client's rank may have changed, and those of the roles above it.
    pub(super) fn rerank(&mut self, at: u32) {
        if self.stale {
            return;
        }
        let node = self.clients[at as usize].node;
        if self.clients[at as usize].hungry {
            let flat = self.policy.is_flat();
            let mut order =
                std::mem::take(if flat { &mut self.flat } else { &mut self.nodes[node as usize].client_order });
            let from = self.position(&order, at);
            let rank = self.client_rank(at);
            self.clients[at as usize].rank = rank;
            if from.is_some() && order.entries.len() > 1 {
                order.place(from, at, true, |other| self.compare_clients(other, at).is_lt());
            }
            *(if flat { &mut self.flat } else { &mut self.nodes[node as usize].client_order }) = order;
        }
        if !self.policy.is_flat() {
            self.rank_up(node);
        }
    }

    /// Ranks of a node and those above it may have changed.
    pub(super) fn rank_up(&mut self, mut at: u32) {
        if self.stale || self.policy.is_flat() {
            return;
        }
        self.rank_own(at);
        while at != ROOT {
            let parent = self.nodes[at as usize].parent;
            let mut order = std::mem::take(&mut self.nodes[parent as usize].order);
            let from = self.child_position(&order, parent, at);
            self.nodes[at as usize].rank = self.node_rank(at);
            let stays = self.nodes[at as usize].hungry > 0;
            order.place(from, at, stays, |other| self.compare_children(parent, other, at).is_lt());
            self.nodes[parent as usize].order = order;
            at = parent;
        }
    }

    pub(super) fn rank_own(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        let stays = node.own_hungry > 0;
        if stays && node.order.entries.len() == 1 && node.order.entries[0] == OWN {
            // Alone: its rank matters to nobody, and is computed when somebody comes.
            return;
        }
        let mut order = std::mem::take(&mut node.order);
        let from = order.entries.iter().position(|entry| *entry == OWN);
        self.nodes[at as usize].own_rank = self.own_rank(at);
        order.place(from, OWN, stays, |other| self.compare_children(at, other, OWN).is_lt());
        self.nodes[at as usize].order = order;
    }

    pub(super) fn child_position(&mut self, order: &Order, parent: u32, at: u32) -> Option<usize> {
        if order.entries.get(order.scan) == Some(&at) {
            return Some(order.scan);
        }
        if order.entries.first() == Some(&OWN) && order.entries.len() == 1 {
            // The virtual child was alone until now.
            self.nodes[parent as usize].own_rank = self.own_rank(parent);
            return None;
        }
        order.entries.binary_search_by(|other| self.compare_children(parent, *other, at)).ok()
    }
}

//! Whose turn it is: the tree of roles, its clients, and their order.
//!
//! Roles are paths. With `drf` siblings stand in order of (dominant share divided by weight, number of offers
//! made, path). A role that has frameworks of its own competes with its children as the virtual child `.`, and
//! its frameworks stand in an order of their own below that (`sorter/drf` of Mesos). With `random` the order is
//! a race: everybody has a clock, the lowest is next, and whoever was offered something adds a lot divided by
//! its weight. `fifo`, `drc` and modules order all clients in one list.
//!
//! Only what is hungry stands in an order at all, and a change moves only the nodes on the way to the root.

mod order;
mod race;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesos_model::{
    FrameworkId, Role, Time,
    planted::{Bug, is_planted},
};

use self::order::Order;
use crate::{
    bundle::{Kind, Quantities},
    facts::{Placement, PolicyName, RoleFacts},
    policy::{ScoreError, Scorer},
    random::Lots,
    rules::Rule,
    share::Share,
};

/// The root of the tree.
pub(crate) const ROOT: u32 = 0;
/// The virtual child `.`: the node's own frameworks.
const OWN: u32 = u32::MAX;

/// Whose turn it is, ready to be asked.
#[derive(Clone, Debug, Default)]
pub enum Policy {
    /// Weighted dominant-resource fairness.
    #[default]
    Drf,
    /// Who has waited longest.
    Fifo,
    /// The largest demand first.
    Drc,
    /// Weighted lots.
    Random,
    /// A module's scores.
    Module(String, Arc<dyn Scorer>),
}

impl Policy {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> PolicyName {
        match self {
            Policy::Drf => PolicyName::Drf,
            Policy::Fifo => PolicyName::Fifo,
            Policy::Drc => PolicyName::Drc,
            Policy::Random => PolicyName::Random,
            Policy::Module(name, _) => PolicyName::Module(name.clone()),
        }
    }

    fn is_flat(&self) -> bool {
        matches!(self, Policy::Fifo | Policy::Drc | Policy::Module(..))
    }
}

/// A place among siblings; the smallest is first, and of equal ones the smaller name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) share: Share,
    pub(crate) offers: u64,
}

/// Whom a round of offers looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// The round; a client is asked in it, and sated in it.
    pub(crate) round: u64,
    /// Rises with each search; a search goes on where it was.
    pub(crate) number: u64,
    /// Clients need not have been marked as asked.
    pub(crate) everybody: bool,
    /// Only those of this priority.
    pub(crate) priority: Option<i64>,
}

/// What a client can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Takes revocable resources.
    pub revocable: bool,
    /// Takes shared resources.
    pub shared: bool,
    /// Understands reservation stacks.
    pub refined: bool,
    /// May be offered agents with GPUs.
    pub gpus: bool,
    /// May be offered agents of other regions.
    pub regions: bool,
}

/// The smallest offers that somebody takes: one of these must be contained. Empty means anything.
pub(crate) type Minimum = Arc<[Vec<(Kind, i64)>]>;

/// A framework in one of its roles.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) framework: FrameworkId,
    pub(crate) role: Role,
    pub(crate) node: u32,
    pub(crate) hungry: bool,
    pub(crate) abilities: Abilities,
    pub(crate) minimum: Option<Minimum>,
    pub(crate) rule: Option<Arc<Rule>>,
    /// Per class of agents: 0 not known, 1 the rule admits it, 2 it does not.
    pub(crate) verdicts: Vec<u8>,
    pub(crate) priority: i64,
    /// Offered and allocated.
    pub(crate) sums: Quantities,
    /// Offered.
    pub(crate) offered: Quantities,
    /// What it said that it would like, less what it launched since.
    pub(crate) demand: Quantities,
    /// What it launched last.
    pub(crate) launched: Quantities,
    pub(crate) waiting_since: Time,
    pub(crate) arrival: u64,
    pub(crate) offers_made: u64,
    clock: u64,
    pub(crate) rank: Rank,
    /// First of its open offers.
    pub(crate) offers_head: u32,
    /// The round in which it wanted nothing more, and the one in which it was asked at all.
    pub(crate) sated: u64,
    pub(crate) asked: u64,
    /// The round in which it is asked about everything free.
    pub(crate) woken: u64,
    /// How far it has come through the candidates of the present round.
    pub(crate) cursor: usize,
    pub(crate) cursor_round: u64,
    /// Surplus that is kept for guarantees cut its last offers.
    pub(crate) held_back: bool,
}

/// A role.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) role: Role,
    path: Arc<str>,
    own_path: Arc<str>,
    pub(crate) parent: u32,
    pub(crate) depth: u32,
    pub(crate) facts: RoleFacts,
    pub(crate) limit: Vec<(Kind, i64)>,
    pub(crate) guarantee: Vec<(Kind, i64)>,
    /// It or one above it has a limit.
    pub(crate) limited: bool,
    children: BTreeMap<Arc<str>, u32>,
    pub(crate) clients: BTreeMap<FrameworkId, u32>,
    /// Offered and allocated in the role itself.
    own: Quantities,
    own_offers: u64,
    own_hungry: u32,
    own_rank: Rank,
    own_clock: u64,
    /// The same with everything below it.
    pub(crate) sums: Quantities,
    offers: u64,
    pub(crate) hungry: u32,
    pub(crate) rank: Rank,
    clock: u64,
    /// Clock of the child that was next last, and of the client.
    children_clock: u64,
    clients_clock: u64,
    /// Offered or allocated, neither reserved nor revocable; with everything below it.
    pub(crate) taken: Quantities,
    /// Offered; with everything below it.
    pub(crate) offered: Quantities,
    /// Reserved on agents; with everything below it.
    pub(crate) reserved: Quantities,
    /// What is missing for guarantees here and below.
    pub(crate) missing: Quantities,
    missing_below: Quantities,
    order: Order,
    client_order: Order,
    /// Clients whose last offers the limit of this role has cut.
    cut: BTreeSet<u32>,
}

/// The tree, its clients and their order.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    policy: Policy,
    /// Why a module's scores are not used any more.
    pub(crate) trouble: Option<ScoreError>,
    pub(crate) total: Quantities,
    left_out: u64,
    pub(crate) nodes: Vec<Node>,
    unused: Vec<u32>,
    by_role: BTreeMap<Role, u32>,
    pub(crate) clients: Vec<Client>,
    unused_clients: Vec<u32>,
    arrivals: u64,
    flat: Order,
    /// How many hungry clients have each priority.
    priorities: BTreeMap<i64, u32>,
    /// How many roles have a guarantee.
    pub(crate) guarantees: u32,
    lots: Lots,
    now: Time,
    /// Every rank is to be computed anew at the next question.
    stale: bool,
}

impl Tree {
    pub(crate) fn new(seed: u64) -> Tree {
        Tree {
            policy: Policy::default(),
            trouble: None,
            total: Quantities::default(),
            left_out: 0,
            nodes: vec![Node::new(Role::default(), ROOT, 0)],
            unused: Vec::new(),
            by_role: BTreeMap::new(),
            clients: Vec::new(),
            unused_clients: Vec::new(),
            arrivals: 0,
            flat: Order::default(),
            priorities: BTreeMap::new(),
            guarantees: 0,
            lots: Lots::new(seed ^ 0x7461_7265),
            now: Time(0),
            stale: true,
        }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.trouble = None;
        self.stale = true;
    }

    pub(crate) fn leave_out(&mut self, kinds: u64) {
        self.stale |= self.left_out != kinds;
        self.left_out = kinds;
    }

    pub(crate) fn shift_total(&mut self, by: &Quantities, sign: i64) {
        if !by.is_zero() {
            self.total.shift(by, sign);
            self.stale = true;
        }
    }

    // Roles.

    pub(crate) fn find_node(&self, role: &Role) -> Option<u32> {
        self.by_role.get(role).copied()
    }

    pub(crate) fn roles(&self) -> impl Iterator<Item = (&Role, u32)> {
        self.by_role.iter().map(|(role, at)| (role, *at))
    }

    /// The node of a role, made together with its ancestors if need be.
    pub(crate) fn node(&mut self, role: &Role) -> u32 {
        if let Some(at) = self.by_role.get(role) {
            return *at;
        }
        let parent = match role.as_str().rsplit_once('/') {
            Some((parent, _)) => self.node(&Role::new(parent)),
            None => ROOT,
        };
        let mut node = Node::new(role.clone(), parent, self.nodes[parent as usize].depth + 1);
        node.limited = self.nodes[parent as usize].limited;
        let path = node.path.clone();
        let at = match self.unused.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).unwrap_or(ROOT)
            }
        };
        self.nodes[parent as usize].children.insert(path, at);
        self.by_role.insert(role.clone(), at);
        at
    }

    /// Sets what an operator has said about a role, with the amounts by kind.
    pub(crate) fn set_role(
        &mut self,
        role: &Role,
        facts: RoleFacts,
        limit: Vec<(Kind, i64)>,
        guarantee: Vec<(Kind, i64)>,
    ) {
        let at = self.node(role);
        let node = &mut self.nodes[at as usize];
        self.guarantees -= u32::from(!node.guarantee.is_empty());
        self.guarantees += u32::from(!guarantee.is_empty());
        let reweighted = node.facts.weight != facts.weight;
        (node.facts, node.limit, node.guarantee) = (facts, limit, guarantee);
        self.mark_limited(at);
        self.miss(at);
        if reweighted {
            self.rank_up(at);
        }
        self.forget_if_idle(at);
    }

    fn mark_limited(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let above = at != ROOT && self.nodes[node.parent as usize].limited;
        let limited = above || !node.limit.is_empty();
        let children: Vec<u32> = node.children.values().copied().collect();
        self.nodes[at as usize].limited = limited;
        children.into_iter().for_each(|child| self.mark_limited(child));
    }

    /// More or less is reserved for a role.
    pub(crate) fn reserve(&mut self, role: &Role, kind: Kind, by: i64) {
        let at = self.node(role);
        self.each_up(at, |node| node.reserved.bump(kind, by));
        self.miss(at);
        self.forget_if_idle(at);
    }

    /// From a node to the root.
    pub(crate) fn path(&self, at: u32) -> impl Iterator<Item = &Node> {
        let mut next = Some(at);
        std::iter::from_fn(move || {
            let node = &self.nodes[next? as usize];
            next = (next != Some(ROOT)).then_some(node.parent);
            Some(node)
        })
    }

    pub(crate) fn placement(&self, at: u32) -> Option<Placement> {
        self.path(at).find_map(|node| node.facts.placement)
    }

    /// How much more of a kind a role may take: limits of the role and of those above it.
    pub(crate) fn allowance(&self, at: u32, kind: Kind) -> i64 {
        if is_planted(Bug::LimitIgnored) {
            return i64::MAX;
        }
        self.path(at).fold(i64::MAX, |least, node| least.min(node.allowance(kind)))
    }

    /// How much of a kind a role may take because it is missing for a guarantee of its own or of one above it; what
    /// others below that one are to have is not for it.
    pub(crate) fn missing(&self, at: u32, kind: Kind) -> i64 {
        let (mut most, mut mine) = (0, 0);
        for node in self.path(at) {
            let others = node.missing_below.get(kind) - mine;
            most = most.max(node.missing_here(kind) - others);
            mine = node.missing.get(kind);
        }
        most
    }

    /// Brings what is missing for guarantees up to date, from a node to the root.
    fn miss(&mut self, mut at: u32) {
        if self.guarantees == 0 && self.nodes[ROOT as usize].missing_below.is_zero() {
            return;
        }
        loop {
            let node = &self.nodes[at as usize];
            let mut missing = node.missing_below.clone();
            for (kind, _) in &node.guarantee {
                missing.set(*kind, missing.get(*kind).max(node.missing_here(*kind)));
            }
            let mut delta = missing.clone();
            delta.shift(&node.missing, -1);
            let parent = node.parent;
            self.nodes[at as usize].missing = missing;
            if at == ROOT {
                return;
            }
            // Even if nothing is missing here: those above may have a guarantee of their own.
            self.nodes[parent as usize].missing_below.shift(&delta, 1);
            at = parent;
        }
    }

    /// What is missing for all guarantees together.
    pub(crate) fn all_missing(&self) -> &Quantities {
        &self.nodes[ROOT as usize].missing
    }

    // Clients.

    pub(crate) fn find_client(&self, framework: &FrameworkId, role: &Role) -> Option<u32> {
        self.nodes[*self.by_role.get(role)? as usize].clients.get(framework).copied()
    }

    /// The slot of a framework in a role, new if need be.
    pub(crate) fn client(&mut self, framework: &FrameworkId, role: &Role) -> u32 {
        let node = self.node(role);
        if let Some(at) = self.nodes[node as usize].clients.get(framework) {
            return *at;
        }
        self.arrivals += 1;
        let client = Client::new(framework.clone(), role.clone(), node, self.arrivals);
        let at = match self.unused_clients.pop() {
            Some(at) => {
                self.clients[at as usize] = client;
                at
            }
            None => {
                self.clients.push(client);
                u32::try_from(self.clients.len() - 1).unwrap_or(0)
            }
        };
        self.nodes[node as usize].clients.insert(framework.clone(), at);
        at
    }

    pub(crate) fn set_hungry(&mut self, at: u32, hungry: bool) {
        let client = &mut self.clients[at as usize];
        if client.hungry == hungry {
            return;
        }
        self.unplace(at);
        let client = &mut self.clients[at as usize];
        client.hungry = hungry;
        let (node, priority) = (client.node, client.priority);
        let step = |count: u32| if hungry { count + 1 } else { count - 1 };
        self.count_priority(priority, hungry);
        if hungry {
            self.clients[at as usize].waiting_since = self.now;
            self.enter_race(at);
        }
        let own = &mut self.nodes[node as usize].own_hungry;
        *own = step(*own);
        self.each_up(node, |node| node.hungry = step(node.hungry));
        self.place(at);
    }

    pub(crate) fn set_priority(&mut self, at: u32, priority: i64) {
        let client = &mut self.clients[at as usize];
        let old = std::mem::replace(&mut client.priority, priority);
        if client.hungry && old != priority {
            self.count_priority(old, false);
            self.count_priority(priority, true);
        }
    }

    fn count_priority(&mut self, priority: i64, more: bool) {
        let count = self.priorities.entry(priority).or_insert(0);
        *count = if more { *count + 1 } else { *count - 1 };
        if *count == 0 {
            self.priorities.remove(&priority);
        }
    }

    /// Priorities of hungry clients, the highest first.
    pub(crate) fn priorities(&self) -> Vec<i64> {
        self.priorities.keys().rev().copied().collect()
    }

    /// A client would like to have this in all.
    pub(crate) fn set_demand(&mut self, at: u32, demand: Quantities) {
        let now = self.now;
        let client = &mut self.clients[at as usize];
        if client.demand.is_zero() && !demand.is_zero() {
            client.waiting_since = now;
        }
        client.demand = demand;
        self.rerank(at);
    }

    /// A client has launched something: that much of its demand is met.
    pub(crate) fn launched(&mut self, at: u32, what: &Quantities) {
        let client = &mut self.clients[at as usize];
        for kind in 0..what.width() {
            let left = (client.demand.get(kind) - what.get(kind)).max(0);
            client.demand.set(kind, left);
        }
        client.launched = what.clone();
        self.rerank(at);
    }

    /// A client has more (`sign` 1) or less (-1): `all` counts for shares, `ordinary` for quota.
    pub(crate) fn charge(&mut self, at: u32, all: &Quantities, ordinary: &Quantities, sign: i64, offered: bool) {
        let client = &mut self.clients[at as usize];
        client.sums.shift(all, sign);
        let node = client.node;
        if offered {
            client.offered.shift(all, sign);
        }
        self.nodes[node as usize].own.shift(all, sign);
        self.each_up(node, |node| {
            node.sums.shift(all, sign);
            node.taken.shift(ordinary, sign);
            if offered {
                node.offered.shift(all, sign);
            }
        });
        self.miss(node);
        self.rerank(at);
    }

    /// An offer was made.
    pub(crate) fn count_offer(&mut self, at: u32) {
        let now = self.now;
        let client = &mut self.clients[at as usize];
        client.offers_made += 1;
        if client.demand.is_zero() {
            client.waiting_since = now;
        }
        let node = client.node;
        self.nodes[node as usize].own_offers += 1;
        self.each_up(node, |node| node.offers += 1);
        if matches!(self.policy, Policy::Random) {
            self.run_race(at);
        }
    }

    pub(crate) fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    /// Frees the slots of a client that has nothing and wants nothing, and of a role without any.
    pub(crate) fn forget_client(&mut self, at: u32) {
        let client = &self.clients[at as usize];
        let (node, framework) = (client.node, client.framework.clone());
        if node == ROOT {
            // It is forgotten already; its slot must not be given to two.
            return;
        }
        self.unplace(at);
        self.nodes[node as usize].clients.remove(&framework);
        self.clients[at as usize].node = ROOT;
        self.unused_clients.push(at);
        self.forget_if_idle(node);
    }

    pub(crate) fn is_idle(&self, at: u32) -> bool {
        let client = &self.clients[at as usize];
        !client.hungry && client.sums.is_zero() && client.demand.is_zero() && client.offers_head == u32::MAX
    }

    fn forget_if_idle(&mut self, mut at: u32) {
        while at != ROOT && self.nodes[at as usize].is_idle() {
            let node = &self.nodes[at as usize];
            let (parent, path, role) = (node.parent, node.path.clone(), node.role.clone());
            self.nodes[parent as usize].children.remove(&path);
            self.by_role.remove(&role);
            self.unused.push(at);
            at = parent;
        }
    }

    fn each_up(&mut self, mut at: u32, mut change: impl FnMut(&mut Node)) {
        loop {
            change(&mut self.nodes[at as usize]);
            if at == ROOT {
                return;
            }
            at = self.nodes[at as usize].parent;
        }
    }

    // Who is cut by limits.

    /// A limit has cut what a client was offered: it is asked again when less is taken in that role.
    pub(crate) fn note_cut(&mut self, at: u32) {
        let mut node = self.clients[at as usize].node;
        loop {
            if !self.nodes[node as usize].limit.is_empty() {
                self.nodes[node as usize].cut.insert(at);
            }
            if node == ROOT {
                return;
            }
            node = self.nodes[node as usize].parent;
        }
    }

    /// Clients to ask again, since a role takes less, or since its limit changed.
    pub(crate) fn take_cut(&mut self, node: u32) -> Vec<u32> {
        let mut out = Vec::new();
        if self.nodes[node as usize].limited {
            self.each_up(node, |node| out.extend(std::mem::take(&mut node.cut)));
        }
        out
    }

    /// What must hold of the order.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.stale || self.policy.is_flat() {
            return Ok(());
        }
        for (_, at) in self.roles().chain(std::iter::once((&Role::default(), ROOT))) {
            let node = &self.nodes[at as usize];
            let sorted =
                node.client_order.entries.windows(2).all(|pair| self.compare_clients(pair[0], pair[1]).is_lt())
                    && node.order.entries.windows(2).all(|pair| self.compare_children(at, pair[0], pair[1]).is_lt());
            if !sorted {
                return Err(format!("role '{}': its order is wrong", node.role));
            }
            let hungry = node.clients.values().filter(|client| self.clients[**client as usize].hungry).count();
            if hungry != node.client_order.entries.len() || hungry != node.own_hungry as usize {
                return Err(format!("role '{}': {hungry} are hungry, not {}", node.role, node.own_hungry));
            }
        }
        Ok(())
    }
}

impl Node {
    fn new(role: Role, parent: u32, depth: u32) -> Node {
        Node {
            path: Arc::from(role.as_str()),
            own_path: Arc::from(format!("{role}/.")),
            role,
            parent,
            depth,
            facts: RoleFacts::default(),
            limit: Vec::new(),
            guarantee: Vec::new(),
            limited: false,
            children: BTreeMap::new(),
            clients: BTreeMap::new(),
            own: Quantities::default(),
            own_offers: 0,
            own_hungry: 0,
            own_rank: Rank::default(),
            own_clock: 0,
            sums: Quantities::default(),
            offers: 0,
            hungry: 0,
            rank: Rank::default(),
            clock: 0,
            children_clock: 0,
            clients_clock: 0,
            taken: Quantities::default(),
            offered: Quantities::default(),
            reserved: Quantities::default(),
            missing: Quantities::default(),
            missing_below: Quantities::default(),
            order: Order::default(),
            client_order: Order::default(),
            cut: BTreeSet::new(),
        }
    }

    /// What counts against quota: reservations, and what is offered or allocated apart from them.
    pub(crate) fn consumed(&self, kind: Kind) -> i64 {
        self.taken.get(kind) + self.reserved.get(kind)
    }

    pub(crate) fn allowance(&self, kind: Kind) -> i64 {
        self.limit
            .iter()
            .find(|(limited, _)| *limited == kind)
            .map_or(i64::MAX, |(_, limit)| (limit - self.consumed(kind)).max(0))
    }

    fn missing_here(&self, kind: Kind) -> i64 {
        let guarantee = self.guarantee.iter().find(|(guaranteed, _)| *guaranteed == kind);
        guarantee.map_or(0, |(_, amount)| (amount - self.consumed(kind)).max(0))
    }

    fn is_idle(&self) -> bool {
        self.clients.is_empty()
            && self.children.is_empty()
            && self.facts == RoleFacts::default()
            && self.reserved.is_zero()
            && self.sums.is_zero()
    }
}

impl Client {
    fn new(framework: FrameworkId, role: Role, node: u32, arrival: u64) -> Client {
        Client {
            framework,
            role,
            node,
            hungry: false,
            abilities: Abilities::default(),
            minimum: None,
            rule: None,
            verdicts: Vec::new(),
            priority: 0,
            sums: Quantities::default(),
            offered: Quantities::default(),
            demand: Quantities::default(),
            launched: Quantities::default(),
            waiting_since: Time(0),
            arrival,
            offers_made: 0,
            clock: 0,
            rank: Rank::default(),
            offers_head: u32::MAX,
            sated: 0,
            asked: 0,
            woken: 0,
            cursor: 0,
            cursor_round: 0,
            held_back: false,
        }
    }

    /// What it would still like: what it asked for or, if it asks for nothing, what it launched last.
    fn wanted(&self) -> &Quantities {
        if self.demand.is_zero() { &self.launched } else { &self.demand }
    }

    /// What it would still like beyond what it was offered.
    pub(crate) fn outstanding(&self) -> Quantities {
        let mut out = Quantities::default();
        let wanted = self.wanted();
        for kind in 0..wanted.width() {
            let left = wanted.get(kind) - self.offered.get(kind);
            if left > 0 {
                out.set(kind, left);
            }
        }
        out
    }

    /// Whether it was offered all that it would like.
    pub(crate) fn is_met(&self) -> bool {
        if self.wanted().is_zero() { !self.offered.is_zero() } else { self.outstanding().is_zero() }
    }
}

//! Whose turn it is: the tree of roles with weighted dominant-resource fairness at every level.
//!
//! Roles are paths. Siblings stand in order of (dominant share divided by weight, number of offers made,
//! path). A role that has frameworks of its own competes with its children as the virtual child `.`, and its
//! frameworks stand in an order of their own below that (`sorter/drf` of Mesos). Only what is hungry stands
//! in an order at all, and a change moves only the nodes on the way to the root.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesos_model::{FrameworkId, Resources, Role};

use super::share::{Share, Totals};

const ROOT: usize = 0;
/// Weight of a role that was given none, in thousandths.
const WEIGHT_DEFAULT: u64 = 1000;

/// A place among siblings; the smallest is first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    share: Share,
    offers: u64,
    name: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Child {
    /// The virtual child `.`: the node's own frameworks.
    Own,
    Node(usize),
}

#[derive(Debug, Default)]
struct Client {
    sums: Totals,
    offers: u64,
    hungry: bool,
    rank: Option<Rank>,
}

#[derive(Debug)]
struct Node {
    path: Arc<str>,
    own_path: Arc<str>,
    role: Role,
    parent: usize,
    weight: u64,
    children: BTreeMap<Arc<str>, usize>,
    clients: BTreeMap<FrameworkId, Client>,
    own: Totals,
    own_offers: u64,
    own_hungry: usize,
    own_rank: Option<Rank>,
    below: Totals,
    below_offers: u64,
    below_hungry: usize,
    rank: Option<Rank>,
    order: BTreeSet<(Rank, Child)>,
    client_order: BTreeSet<(Rank, FrameworkId)>,
}

/// The tree.
#[derive(Debug)]
pub(super) struct RoleTree {
    weights: BTreeMap<Role, u64>,
    total: Totals,
    nodes: Vec<Node>,
    unused: Vec<usize>,
    by_path: BTreeMap<Role, usize>,
    /// The total changed, or nobody has asked yet: every rank is computed anew at the next question.
    stale: bool,
}

impl RoleTree {
    pub(super) fn new(weights: BTreeMap<Role, u64>) -> RoleTree {
        RoleTree {
            weights,
            total: Totals::default(),
            nodes: vec![Node::new("", ROOT, WEIGHT_DEFAULT)],
            unused: Vec::new(),
            by_path: BTreeMap::new(),
            stale: true,
        }
    }

    /// The cluster has become larger.
    pub(super) fn add_total(&mut self, resources: &Resources) {
        self.total.add(resources);
        self.stale = true;
    }

    /// The cluster has become smaller.
    pub(super) fn subtract_total(&mut self, resources: &Resources) {
        self.total.subtract(resources);
        self.stale = true;
    }

    /// A framework has more in a role: offered or allocated.
    pub(super) fn charge(&mut self, framework: &FrameworkId, role: &Role, resources: &Resources) {
        self.shift(framework, role, |totals| totals.add(resources));
    }

    /// A framework has less in a role.
    pub(super) fn credit(&mut self, framework: &FrameworkId, role: &Role, resources: &Resources) {
        self.shift(framework, role, |totals| totals.subtract(resources));
    }

    /// An offer was made; of two with equal shares the one with fewer offers is next.
    pub(super) fn count_offer(&mut self, framework: &FrameworkId, role: &Role) {
        let at = self.node(role);
        self.nodes[at].clients.entry(framework.clone()).or_default().offers += 1;
        self.nodes[at].own_offers += 1;
        self.each_up(at, |node| node.below_offers += 1);
        self.replace(at, framework);
    }

    /// Says whether a framework wants offers in a role.
    pub(super) fn set_hungry(&mut self, framework: &FrameworkId, role: &Role, hungry: bool) {
        if !hungry && !self.by_path.get(role).is_some_and(|at| self.nodes[*at].clients.contains_key(framework)) {
            return;
        }
        let at = self.node(role);
        let client = self.nodes[at].clients.entry(framework.clone()).or_default();
        if client.hungry == hungry {
            self.forget_if_idle(at, framework);
            return;
        }
        client.hungry = hungry;
        let step = |count: usize| if hungry { count + 1 } else { count - 1 };
        self.nodes[at].own_hungry = step(self.nodes[at].own_hungry);
        self.each_up(at, |node| node.below_hungry = step(node.below_hungry));
        self.replace(at, framework);
        self.forget_if_idle(at, framework);
    }

    /// Whether a framework wants offers in a role.
    pub(super) fn is_hungry(&self, framework: &FrameworkId, role: &Role) -> bool {
        self.by_path.get(role).and_then(|at| self.nodes[*at].clients.get(framework)).is_some_and(|client| client.hungry)
    }

    /// What a framework has in a role.
    pub(super) fn sums(&self, framework: &FrameworkId, role: &Role) -> Totals {
        self.by_path
            .get(role)
            .and_then(|at| self.nodes[*at].clients.get(framework))
            .map(|client| client.sums.clone())
            .unwrap_or_default()
    }

    /// Brings every rank up to date after the total changed; to be called before [`walk`](Self::walk) and
    /// [`rank`](Self::rank).
    pub(super) fn freshen(&mut self) {
        if !self.stale {
            return;
        }
        self.stale = false;
        for at in 0..self.nodes.len() {
            self.nodes[at].order.clear();
            self.nodes[at].client_order.clear();
            self.nodes[at].rank = None;
            self.nodes[at].own_rank = None;
            for client in self.nodes[at].clients.values_mut() {
                client.rank = None;
            }
        }
        let live: Vec<usize> = std::iter::once(ROOT).chain(self.by_path.values().copied()).collect();
        for at in live {
            let frameworks: Vec<FrameworkId> = self.nodes[at].clients.keys().cloned().collect();
            for framework in frameworks {
                self.replace_client(at, &framework);
            }
            self.replace_own(at);
            self.replace_node(at);
        }
    }

    /// Visits the hungry in order of their turn until `visit` finds something.
    pub(super) fn walk<T>(&self, mut visit: impl FnMut(&FrameworkId, &Role) -> Option<T>) -> Option<T> {
        self.walk_node(ROOT, &mut visit)
    }

    fn walk_node<T>(&self, at: usize, visit: &mut impl FnMut(&FrameworkId, &Role) -> Option<T>) -> Option<T> {
        let node = &self.nodes[at];
        node.order.iter().find_map(|(_, child)| match child {
            Child::Node(child) => self.walk_node(*child, visit),
            Child::Own => node.client_order.iter().find_map(|(_, framework)| visit(framework, &node.role)),
        })
    }

    /// The place of a hungry framework in the walk: compares as the walk visits.
    pub(super) fn rank(&self, framework: &FrameworkId, role: &Role) -> Option<Vec<Rank>> {
        let mut at = *self.by_path.get(role)?;
        let node = &self.nodes[at];
        let mut ranks = vec![node.clients.get(framework)?.rank.clone()?, node.own_rank.clone()?];
        while at != ROOT {
            ranks.push(self.nodes[at].rank.clone()?);
            at = self.nodes[at].parent;
        }
        ranks.reverse();
        Some(ranks)
    }

    fn shift(&mut self, framework: &FrameworkId, role: &Role, change: impl Fn(&mut Totals)) {
        let at = self.node(role);
        change(&mut self.nodes[at].clients.entry(framework.clone()).or_default().sums);
        change(&mut self.nodes[at].own);
        self.each_up(at, |node| change(&mut node.below));
        self.replace(at, framework);
        self.forget_if_idle(at, framework);
    }

    fn each_up(&mut self, mut at: usize, change: impl Fn(&mut Node)) {
        loop {
            change(&mut self.nodes[at]);
            if at == ROOT {
                return;
            }
            at = self.nodes[at].parent;
        }
    }

    /// Puts a framework and all above it in their places.
    fn replace(&mut self, mut at: usize, framework: &FrameworkId) {
        if self.stale {
            return;
        }
        self.replace_client(at, framework);
        self.replace_own(at);
        while at != ROOT {
            self.replace_node(at);
            at = self.nodes[at].parent;
        }
    }

    fn replace_client(&mut self, at: usize, framework: &FrameworkId) {
        let node = &mut self.nodes[at];
        let Some(client) = node.clients.get_mut(framework) else { return };
        if let Some(rank) = client.rank.take() {
            node.client_order.remove(&(rank, framework.clone()));
        }
        if client.hungry {
            let share = client.sums.dominant_share(&self.total, WEIGHT_DEFAULT);
            let rank = Rank { share, offers: client.offers, name: Arc::from(framework.as_str()) };
            client.rank = Some(rank.clone());
            node.client_order.insert((rank, framework.clone()));
        }
    }

    fn replace_own(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Some(rank) = node.own_rank.take() {
            node.order.remove(&(rank, Child::Own));
        }
        if node.own_hungry > 0 {
            let share = node.own.dominant_share(&self.total, WEIGHT_DEFAULT);
            let rank = Rank { share, offers: node.own_offers, name: node.own_path.clone() };
            node.own_rank = Some(rank.clone());
            node.order.insert((rank, Child::Own));
        }
    }

    fn replace_node(&mut self, at: usize) {
        if at == ROOT {
            return;
        }
        let parent = self.nodes[at].parent;
        if let Some(rank) = self.nodes[at].rank.take() {
            self.nodes[parent].order.remove(&(rank, Child::Node(at)));
        }
        let node = &mut self.nodes[at];
        if node.below_hungry > 0 {
            let share = node.below.dominant_share(&self.total, node.weight);
            let rank = Rank { share, offers: node.below_offers, name: node.path.clone() };
            node.rank = Some(rank.clone());
            self.nodes[parent].order.insert((rank, Child::Node(at)));
        }
    }

    /// The node of a role, made together with its ancestors if need be.
    fn node(&mut self, role: &Role) -> usize {
        if let Some(at) = self.by_path.get(role) {
            return *at;
        }
        let parent = match role.as_str().rsplit_once('/') {
            Some((parent, _)) => self.node(&Role::new(parent)),
            None => ROOT,
        };
        let weight = self.weights.get(role).copied().unwrap_or(WEIGHT_DEFAULT);
        let node = Node::new(role.as_str(), parent, weight);
        let path = node.path.clone();
        let at = match self.unused.pop() {
            Some(at) => {
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[parent].children.insert(path, at);
        self.by_path.insert(role.clone(), at);
        at
    }

    /// Frameworks that have nothing and want nothing, and roles without any, are not remembered.
    fn forget_if_idle(&mut self, mut at: usize, framework: &FrameworkId) {
        let node = &mut self.nodes[at];
        if node.clients.get(framework).is_some_and(|client| !client.hungry && client.sums.is_empty()) {
            node.clients.remove(framework);
        }
        while at != ROOT && self.nodes[at].clients.is_empty() && self.nodes[at].children.is_empty() {
            let (parent, path, role) =
                (self.nodes[at].parent, self.nodes[at].path.clone(), self.nodes[at].role.clone());
            self.nodes[parent].children.remove(&path);
            self.by_path.remove(&role);
            self.unused.push(at);
            at = parent;
        }
    }
}

impl Node {
    fn new(path: &str, parent: usize, weight: u64) -> Node {
        Node {
            path: Arc::from(path),
            own_path: Arc::from(format!("{path}/.")),
            role: Role::new(path),
            parent,
            weight,
            children: BTreeMap::new(),
            clients: BTreeMap::new(),
            own: Totals::default(),
            own_offers: 0,
            own_hungry: 0,
            own_rank: None,
            below: Totals::default(),
            below_offers: 0,
            below_hungry: 0,
            rank: None,
            order: BTreeSet::new(),
            client_order: BTreeSet::new(),
        }
    }
}

/// Whether what is reserved for `reserved` may be given to `role`: it is the role or an ancestor.
pub(super) fn is_role_or_ancestor(reserved: &Role, role: &Role) -> bool {
    role.as_str().strip_prefix(reserved.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;

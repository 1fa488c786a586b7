//! What is decided about pools: which nodes there are to be, and what each step of a node's life waits for.
//!
//! ```text
//! ADDING ─host made─► JOINING ─agent registered─► UP ─► DRAINING ─nothing left, gone─► REMOVING ─host gone─► (no row)
//!                                                 UP ─► CHECKING ─idle─► DRAINING      (by itself: only who idles)
//!                                                          └─has work after all─► UP
//! ```
//! A node's row is written before its host is made, and deleted after its host is gone, so whoever leads next goes on
//! where it was: every step may be done twice, and providers make nothing twice for the same name.
//!
//! An Auto Scaling group makes its own nodes: the pool has a size, which is owed until the group shows it, and nodes
//! get rows as they are seen. A size that is not owed follows the group's, whoever changed it.
//!
//! # Layout
//! - this file: events, state, the machine's doors.
//! - [`calls`]: what operators ask.
//! - [`nodes`]: the life of a node.
//! - [`groups`]: what a provider's list says.
//! - [`auto`]: when a pool grows and shrinks by itself; [`own`] has it done.

pub mod auto;
mod calls;
mod groups;
mod nodes;
mod own;
mod view;

use std::{collections::BTreeMap, time::Duration};

use mesos_core::{
    machine::{Effects, Machine},
    message::{Amounts, Answer, Call, PoolsCall, RequestId},
    row::{NodeRow, NodeState, PoolRow, Row, RowChange, RowKey},
};
use mesos_model::{AgentId, Resources, Term, Time, Trace};

use crate::definition::{Definition, Kind};

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A call from a gateway.
    Call(Call<PoolsCall>, RequestId),
    /// The answer to a look at the cluster.
    Seen {
        /// Which look.
        look: u64,
        /// What was seen, or why nothing was.
        seen: Result<Picture, String>,
    },
    /// The answer to [`Output::List`].
    Listed {
        /// Which pool.
        pool: String,
        /// Which list.
        of: u64,
        /// What there is, or why nobody knows.
        found: Result<Listing, String>,
    },
    /// A host was made, or not.
    Added {
        /// For which node.
        node: String,
        /// What is known of it.
        done: Result<Made, String>,
    },
    /// A host was taken away, or not.
    Removed {
        /// Of which node.
        node: String,
        /// Whether.
        done: Result<(), String>,
    },
    /// A group was given another size, or not.
    Resized {
        /// Which pool.
        pool: String,
        /// Whether.
        done: Result<(), String>,
    },
    /// The cluster was told something about an agent.
    Told {
        /// Of which node.
        node: String,
        /// What.
        what: Tell,
        /// Whether it took it.
        done: Result<(), Refused>,
    },
}

/// The cluster does not do what it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// There is no such agent, or it is gone already.
    pub is_gone: bool,
    /// In words.
    pub text: String,
}

/// What is seen of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// All agents that are not gone.
    pub agents: Vec<AgentSeen>,
    /// What frameworks have asked for and still want.
    pub waiting: Vec<auto::Waiting>,
}

/// An agent, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct AgentSeen {
    /// Its id.
    pub id: AgentId,
    /// Its host.
    pub hostname: String,
    /// Its attributes `node` and `instance`.
    pub names: Vec<String>,
    /// It is heard of.
    pub reachable: bool,
    /// It is offered.
    pub active: bool,
    /// Nothing is left on it, and nothing will come.
    pub drained: bool,
    /// What it has, without what is revocable.
    pub total: Resources,
    /// Of that, what tasks hold.
    pub allocated: Resources,
    /// What is free for anybody, neither held nor reserved, in thousandths.
    pub free: Amounts,
}

/// What a provider says that there is.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// Of a group: its own size and bounds.
    pub group: Option<Group>,
}

/// The size of an Auto Scaling group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// How many instances it is to have.
    pub desired: u32,
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
}

/// A host that a provider knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// Its name as a node.
    pub node: String,
    /// It runs, or is about to.
    pub alive: bool,
}

/// What is known of a host that was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// What its maker calls it.
    pub place: Option<String>,
    /// Its name.
    pub hostname: Option<String>,
}

/// What the cluster is told about an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Offer it no more.
    Deactivate,
    /// Offer it again.
    Reactivate,
    /// End its tasks.
    Drain {
        /// The longest time that a task gets, in milliseconds.
        grace_ms: Option<u64>,
    },
    /// It will not come back.
    Gone,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Answer a call.
    Reply(RequestId, Answer),
    /// Look at the cluster: [`Event::Seen`].
    Look(u64),
    /// Say which hosts there are: [`Event::Listed`].
    List {
        /// Of which pool.
        pool: String,
        /// Number of the list.
        of: u64,
    },
    /// Make a host, unless it is there: [`Event::Added`].
    Add(Job),
    /// Take a host away, unless it is gone: [`Event::Removed`].
    Remove(Job),
    /// Make a group larger: [`Event::Resized`].
    Resize {
        /// Of which pool.
        pool: String,
        /// To this size.
        to: u32,
    },
    /// Tell the cluster something about an agent: [`Event::Told`].
    Tell {
        /// Of which node.
        node: String,
        /// Which agent.
        agent: AgentId,
        /// What.
        what: Tell,
    },
}

/// A host to make or to take away.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its node.
    pub node: String,
    /// In which pool.
    pub pool: String,
    /// What its agent is to offer.
    pub resources: Resources,
    /// What its maker calls it.
    pub place: Option<String>,
    /// Its name.
    pub hostname: Option<String>,
    /// Its agent.
    pub agent: Option<AgentId>,
}

/// Nodes of all pools together.
pub const NODES_MAX: usize = 20_000;
/// How often the cluster is looked at while something is under way, and otherwise.
const LOOK_SOON: Duration = Duration::from_secs(1);
const LOOK_LATER: Duration = Duration::from_secs(5);
/// How often a provider is asked while something is under way, and otherwise.
const LIST_SOON: Duration = Duration::from_secs(5);
const LIST_LATER: Duration = Duration::from_secs(30);
/// After a failure, before the next attempt: doubled each time up to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

pub(crate) type Out = Effects<Output>;

/// A node, with what is known of it in this term.
#[derive(Clone, Debug)]
struct Node {
    row: NodeRow,
    /// Something about it was asked for and not answered yet.
    busy: bool,
    /// Failures in a row, and when to try again.
    tries: u32,
    not_before: Option<Time>,
    /// What does not work.
    trouble: String,
    /// What the cluster has taken, and the last look before that.
    told: Option<(Tell, u64)>,
    /// Its agent, as last seen.
    seen: Option<AgentSeen>,
    /// Since when it has nothing to do.
    idle: Option<Time>,
}

impl Node {
    fn new(row: NodeRow) -> Node {
        Node {
            row,
            busy: false,
            tries: 0,
            not_before: None,
            trouble: String::new(),
            told: None,
            seen: None,
            idle: None,
        }
    }

    fn failed(&mut self, now: Time, why: String) {
        self.trouble = why;
        self.not_before = Some(now.after(retry_after(self.tries)));
        self.tries = self.tries.saturating_add(1);
    }

    fn worked(&mut self) {
        (self.tries, self.not_before) = (0, None);
        self.trouble.clear();
    }

    fn is_under_way(&self) -> bool {
        self.row.state != NodeState::Up
    }
}

fn retry_after(tries: u32) -> Duration {
    (RETRY.0 * 2_u32.saturating_pow(tries.min(10))).min(RETRY.1)
}

/// A pool, with what is known of it in this term.
#[derive(Clone, Debug, Default)]
struct Pool {
    row: PoolRow,
    group: Option<Group>,
    /// A list was asked for and not answered yet.
    listing: Option<u64>,
    list_at: Option<Time>,
    /// Lists that were asked for before this one tell of how it was before something was changed.
    lists_from: u64,
    resizing: bool,
    tries: u32,
    resize_at: Option<Time>,
    trouble: String,
    note: String,
}

/// The machine.
#[derive(Debug)]
pub struct Pools {
    definitions: Vec<Definition>,
    pools: BTreeMap<String, Pool>,
    nodes: BTreeMap<String, Node>,
    lead: Option<Lead>,
}

/// What lasts one term.
#[derive(Debug, Default)]
struct Lead {
    looks: u64,
    lists: u64,
    looking: bool,
    look_at: Option<Time>,
    picture: Option<Picture>,
    trouble: String,
    /// What was seen waiting in the look before the last.
    before: Vec<auto::Waiting>,
    /// A look has come since pools last decided by themselves.
    fresh: bool,
}

impl Pools {
    /// Pools as they are defined.
    #[must_use]
    pub fn new(definitions: Vec<Definition>) -> Pools {
        Pools { definitions, pools: BTreeMap::new(), nodes: BTreeMap::new(), lead: None }
    }

    fn definition(&self, pool: &str) -> Option<&Definition> {
        self.definitions.iter().find(|definition| definition.name == pool)
    }

    fn is_group(&self, pool: &str) -> bool {
        self.definition(pool).is_some_and(|definition| matches!(definition.kind, Kind::Aws(_)))
    }

    fn nodes_of<'a>(&'a self, pool: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.values().filter(move |node| node.row.pool == pool)
    }

    /// How many nodes a pool is to have.
    fn size(&self, pool: &str) -> u32 {
        if self.is_group(pool) {
            return self.pools.get(pool).and_then(|pool| pool.row.size).unwrap_or(0);
        }
        let wanted = self.nodes_of(pool).filter(|node| node.row.state.is_wanted()).count();
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    fn is_auto(&self, definition: &Definition) -> bool {
        let said = self.pools.get(&definition.name).and_then(|pool| pool.row.auto);
        definition.auto.is_some() && said.unwrap_or(true)
    }

    fn change_pool(&mut self, name: &str, out: &mut Out, change: impl FnOnce(&mut PoolRow)) {
        let pool = self.pools.entry(name.to_owned()).or_default();
        name.clone_into(&mut pool.row.pool);
        let before = pool.row.clone();
        change(&mut pool.row);
        if pool.row != before {
            out.put(Row::Pool(pool.row.clone()));
        }
    }

    fn change_node(&mut self, name: &str, out: &mut Out, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let before = node.row.clone();
        change(node);
        if node.row != before {
            out.put(Row::Node(node.row.clone()));
        }
    }

    fn set_state(&mut self, now: Time, name: &str, state: NodeState, out: &mut Out) {
        self.change_node(name, out, |node| {
            (node.row.state, node.row.since) = (state, now);
            (node.told, node.idle) = (None, None);
            node.worked();
        });
    }

    fn drop_node(&mut self, name: &str, out: &mut Out) {
        if self.nodes.remove(name).is_some() {
            out.delete(RowKey::Node(name.to_owned()));
        }
    }

    fn job(node: &Node) -> Job {
        let row = &node.row;
        Job {
            node: row.node.clone(),
            pool: row.pool.clone(),
            resources: row.resources.clone(),
            place: row.place.clone(),
            hostname: row.hostname.clone(),
            agent: row.agent.clone(),
        }
    }

    fn is_under_way(&self) -> bool {
        self.nodes.values().any(Node::is_under_way) || self.pools.values().any(|pool| pool.row.owed)
    }

    /// Whether anything is to be known of the cluster.
    fn is_of_interest(&self) -> bool {
        !self.nodes.is_empty() || self.definitions.iter().any(|definition| self.is_auto(definition))
    }

    fn look(&mut self, now: Time, out: &mut Out) {
        if !self.is_of_interest() {
            return;
        }
        let Some(lead) = self.lead.as_mut() else { return };
        if !lead.looking && lead.look_at.is_none_or(|at| at <= now) {
            lead.looks += 1;
            lead.looking = true;
            out.emit(Output::Look(lead.looks));
        }
    }

    /// When the next look is due, after one has come.
    fn plan_look(&mut self, now: Time) {
        let wait = if self.is_under_way() { LOOK_SOON } else { LOOK_LATER };
        if let Some(lead) = self.lead.as_mut() {
            lead.looking = false;
            lead.look_at = Some(now.after(wait));
        }
    }

    /// Something has begun, so the next look is due sooner.
    fn look_soon(&mut self, now: Time) {
        if let Some(lead) = self.lead.as_mut() {
            let soon = now.after(LOOK_SOON);
            lead.look_at = lead.look_at.map(|at| at.min(soon));
        }
    }
}

impl Machine for Pools {
    type Event = Event;
    type Output = Output;

    fn restore(&mut self, change: RowChange) {
        match change {
            RowChange::Put(Row::Pool(row)) => {
                let pool = self.pools.entry(row.pool.clone()).or_default();
                pool.row = row;
            }
            RowChange::Put(Row::Node(row)) => {
                self.nodes.insert(row.node.clone(), Node::new(row));
            }
            RowChange::Delete(RowKey::Pool(name)) => {
                self.pools.remove(&name);
            }
            RowChange::Delete(RowKey::Node(name)) => {
                self.nodes.remove(&name);
            }
            RowChange::Put(_) | RowChange::Delete(_) => {}
        }
    }

    fn rows(&self) -> Option<Vec<Row>> {
        // Of a pool for which nothing was ever written there is no row.
        let pools = self.pools.values().filter(|pool| !pool.row.pool.is_empty());
        let pools = pools.map(|pool| Row::Pool(pool.row.clone()));
        Some(pools.chain(self.nodes.values().map(|node| Row::Node(node.row.clone()))).collect())
    }

    fn peer(&mut self, _: Time, _: RowChange, _: &mut Out) {}

    fn lead(&mut self, _: Time, _: Term, _: &mut Out) {
        self.lead = Some(Lead::default());
    }

    fn follow(&mut self) {
        self.lead = None;
        for node in self.nodes.values_mut() {
            *node = Node::new(node.row.clone());
        }
        for pool in self.pools.values_mut() {
            *pool = Pool { row: std::mem::take(&mut pool.row), ..Pool::default() };
        }
    }

    fn step(&mut self, now: Time, event: Event, out: &mut Out) {
        if self.lead.is_none() {
            return;
        }
        match event {
            Event::Call(call, request) => {
                let answer = self.call(now, call, out);
                out.emit(Output::Reply(request, answer));
                self.look_soon(now);
            }
            Event::Seen { look, seen } => self.seen(now, look, seen, out),
            Event::Listed { pool, of, found } => self.listed(now, &pool, of, found, out),
            Event::Added { node, done } => self.added(now, &node, done, out),
            Event::Removed { node, done } => self.removed(now, &node, done, out),
            Event::Resized { pool, done } => self.resized(now, &pool, done),
            Event::Told { node, what, done } => self.told(now, &node, what, done, out),
        }
    }

    fn settle(&mut self, now: Time, out: &mut Out) {
        if self.lead.is_none() {
            return;
        }
        self.decide_by_themselves(now, out);
        self.drive(now, out);
        self.ask_providers(now, out);
        self.look(now, out);
    }

    fn tick(&mut self, _: Time, _: &mut Out) {
        // Whatever is due is found by `settle`, which follows.
    }

    fn deadline(&self) -> Option<Time> {
        let lead = self.lead.as_ref()?;
        let look = lead.look_at.filter(|_| !lead.looking && self.is_of_interest());
        let waiting = self.nodes.values().filter(|node| !node.busy && node.is_under_way());
        let nodes = waiting.filter_map(|node| node.not_before);
        let lists = self.pools.values().filter(|pool| pool.listing.is_none()).filter_map(|pool| pool.list_at);
        let resizes = self.pools.values().filter(|pool| !pool.resizing).filter_map(|pool| pool.resize_at);
        nodes.chain(lists).chain(resizes).chain(look).min()
    }

    fn trace(event: &Event) -> Option<(Trace, &'static str)> {
        match event {
            Event::Call(call, _) => call.trace.map(|trace| (trace, "pools.call")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;

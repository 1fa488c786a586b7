//! What all nodes share: time, the queue of what will happen, the bus, the stores, the hosts.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    fmt,
    rc::Rc,
};

use mesos_core::{
    agent,
    driver::{Changes, Done, Failure, Granted, Lease, Snapshot},
    message::{Answer, ToAgent, ToAllocator, ToRegistry, ToStream},
    row::{RowChange, RowKey},
};
use mesos_model::{AgentId, CallId, GatewayId, Term, Time};

use crate::{
    host::Host,
    invariants::Seen,
    node::http::{ToFramework, ToGateway},
    plan::Plan,
    rng::Rng,
    store::{Commit, Entries, Ledger, ReadError},
};

/// One process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// An allocator, leading or standing by.
    Allocator(u8),
    /// A registry, leading or standing by.
    Registry(u8),
    /// An agent with its host.
    Agent(u8),
    /// A gateway.
    Gateway(u8),
    /// A framework.
    Framework(u8),
    /// The operator.
    Operator,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Allocator(n) => write!(f, "allocator{n}"),
            Node::Registry(n) => write!(f, "registry{n}"),
            Node::Agent(n) => write!(f, "agent{n}"),
            Node::Gateway(n) => write!(f, "gateway{n}"),
            Node::Framework(n) => write!(f, "framework{n}"),
            Node::Operator => f.write_str("operator"),
        }
    }
}

/// Names on the bus.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The leader of a service.
    Service(&'static str),
    /// A service's change stream.
    Changes(&'static str),
    /// An agent by its id.
    Agent(AgentId),
    /// An agent by its instance.
    Instance(u128),
    /// All agents.
    Agents,
    /// The streams of a gateway.
    Gateway(GatewayId),
    /// One process that waits for an answer, or listens to itself.
    Inbox(Node),
}

/// What travels on the bus.
#[derive(Clone, Debug)]
pub enum Payload {
    /// To the allocator's leader.
    Allocator(Vec<ToAllocator>),
    /// To the registry's leader.
    Registry(Vec<ToRegistry>),
    /// To an agent.
    Agent(Vec<ToAgent>),
    /// To the streams of a gateway.
    Streams(Vec<ToStream>),
    /// A commit, announced.
    Entry(&'static str, Changes),
    /// The answer to a call.
    Answer(CallId, Answer),
    /// A listener hears itself.
    Beat,
}

/// A message with the one who waits for an answer.
#[derive(Clone, Debug)]
pub struct Message {
    /// What.
    pub payload: Rc<Payload>,
    /// Who waits, and for the answer to which call.
    pub reply: Option<(Node, CallId)>,
}

/// What a node is given to do.
#[derive(Debug)]
pub enum Work {
    /// A driver's or a client's time has come; old ones are told by their number.
    Tick(u64),
    /// From the bus.
    Bus(Message),
    /// Nobody listened to a request.
    NoResponders(CallId),
    /// The store has answered.
    Store(StoreAnswer),
    /// The bus is back.
    BusBack,
    /// Once a second for a service: its own beat.
    Pulse,
    /// A follower asks the store whether it missed something.
    Poll {
        /// The peer's stream, not the own one.
        peer: bool,
        /// Which follower.
        generation: u64,
    },
    /// From the host's containers.
    Container(agent::Event),
    /// From a framework.
    ToGateway(ToGateway),
    /// From a gateway.
    ToFramework(ToFramework),
    /// An offer was thought about long enough.
    Decide(mesos_model::OfferId),
    /// An acknowledgement that waited.
    Acknowledge(mesos_model::TaskId, AgentId, u128),
}

/// What is asked of a store.
#[derive(Clone, Debug)]
pub enum StoreAsk {
    /// All rows, own or the peer's.
    Load {
        /// The peer's.
        peer: bool,
    },
    /// Entries of a stream.
    Read {
        /// The peer's.
        peer: bool,
        /// By which follower.
        generation: u64,
        /// The last one known.
        after: u64,
    },
    /// Some own rows that are cold.
    Cold(Vec<RowKey>),
    /// A term.
    Acquire {
        /// The new leader.
        leader: u128,
        /// The own last one.
        previous: Option<u128>,
        /// The least epoch.
        epoch_min: u64,
    },
    /// A commit with the number of the shell's attempt.
    Commit(u128, Commit),
    /// The lease back.
    Release(Lease),
    /// The peer's head, for a question.
    Head(u64),
}

/// What a store answers.
#[derive(Clone, Debug)]
pub enum StoreAnswer {
    /// To `Load`.
    Loaded(bool, Result<Snapshot, Failure>),
    /// To `Cold`.
    Cold(Result<Vec<RowChange>, Failure>),
    /// To `Read`.
    Read {
        /// The peer's.
        peer: bool,
        /// By which follower.
        generation: u64,
        /// What was read.
        entries: Entries,
    },
    /// To `Acquire`.
    Acquired(Result<Granted, Failure>),
    /// To `Commit`.
    Committed(u128, Result<Done, Failure>),
    /// To `Head`: the question, and the head's number and term.
    Head(u64, Option<(u64, Term)>),
}

/// What will happen.
#[derive(Debug)]
pub enum Happening {
    /// A node is given something; `None` reaches whatever process is there then.
    Give(Node, Option<u32>, Work),
    /// A duplicate of a message goes its way.
    Again(Node, Subject, Message),
    /// A store is asked by a process.
    Ask {
        /// Who.
        node: Node,
        /// Which process of it.
        incarnation: u32,
        /// Of which service.
        service: &'static str,
        /// What.
        ask: StoreAsk,
        /// Whether the answer gets through.
        answered: bool,
    },
    /// A container's time has come.
    Container {
        /// On which host.
        host: u8,
        /// Which.
        container: String,
        /// Old timers are told by their number.
        serial: u64,
        /// What.
        tick: crate::host::Tick,
    },
    /// Faults are drawn.
    Faults,
    /// A process starts.
    Start(Node),
    /// A paused process goes on.
    Resume(Node),
    /// A node is no longer cut off.
    Join(Node),
    /// An agent is killed, or its host boots, at the worst moment.
    Strike {
        /// Whose.
        host: u8,
        /// The host boots.
        boots: bool,
    },
    /// A framework goes for good.
    Leave(Node),
    /// An agent that was not admitted any more has ended; its supervisor starts it again.
    Retire(Node),
    /// Nothing: time is to pass.
    Nothing,
}

/// One process.
#[derive(Debug, Default)]
pub struct Process {
    /// It runs.
    pub up: bool,
    /// It is stopped, and what it is given waits.
    pub paused: bool,
    /// It is cut from the bus, since then.
    pub cut: Option<u64>,
    /// How many times it was started.
    pub incarnation: u32,
    /// What waits for a paused one.
    pub backlog: VecDeque<Work>,
    /// How far its clock is ahead, in milliseconds.
    pub clock_ahead: u64,
    /// How much faster its clock runs, in millionths.
    pub drift: u64,
}

struct Due {
    time: u64,
    sequence: u64,
    happening: Happening,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.time, self.sequence) == (other.time, other.sequence)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.time, self.sequence).cmp(&(other.time, other.sequence))
    }
}

/// A filter on messages: false loses the message to this node.
pub type Filter = Box<dyn FnMut(Node, Node, &Payload) -> bool>;

/// What all nodes share.
pub struct Net {
    /// Milliseconds since the Unix epoch.
    pub now: u64,
    /// When the run began.
    pub start: u64,
    queue: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    /// Chance.
    pub rng: Rng,
    /// What the seed drew.
    pub plan: Plan,
    /// The processes.
    pub processes: BTreeMap<Node, Process>,
    /// Who leads what.
    pub leading: BTreeMap<Node, Term>,
    /// Under which ids agents listen.
    pub agent_ids: BTreeMap<Node, AgentId>,
    /// Under which instances agents listen.
    pub instances: BTreeMap<Node, u128>,
    /// The gateways' names.
    pub gateways: BTreeMap<Node, GatewayId>,
    /// The control plane's store.
    pub ledgers: BTreeMap<&'static str, Ledger>,
    /// The agents' disks.
    pub disks: BTreeMap<Node, Ledger>,
    /// The agents' hosts.
    pub hosts: BTreeMap<u8, Host>,
    /// The store does not answer until then.
    pub stalled_until: u64,
    /// The store refuses writes until then.
    pub read_only_until: u64,
    /// The disks of these are full until then.
    pub full_until: BTreeMap<Node, u64>,
    /// How far the store's clock is ahead.
    pub store_ahead: u64,
    /// A large part of all messages is lost until then.
    pub spell_until: u64,
    /// How large.
    pub spell: u32,
    /// No more faults.
    pub healed: bool,
    /// Decides about messages in directed tests.
    pub filter: Option<Filter>,
    lanes: BTreeMap<(Node, Node, u8), u64>,
    disk_lanes: BTreeMap<Node, u64>,
    /// What invariants look at.
    pub seen: Seen,
    /// The trace, folded.
    pub hash: u64,
    /// The last lines of the trace.
    pub lines: VecDeque<String>,
    /// Whether lines are made at all, and whether they are printed.
    pub tracing: Tracing,
    /// Events so far.
    pub events: u64,
}

/// What becomes of the trace's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// They are not made.
    Off,
    /// The last ones are kept.
    Kept,
    /// They are printed.
    Printed,
}

/// How many lines are kept.
const LINES_MAX: usize = 60;
/// How long a process waits for its store.
const STORE_TIMEOUT: u64 = 1000;

impl Net {
    /// An empty world.
    #[must_use]
    pub fn new(rng: Rng, plan: Plan, tracing: Tracing) -> Net {
        let start = 1_800_000_000_000;
        Net {
            now: start,
            start,
            queue: BinaryHeap::new(),
            sequence: 0,
            rng,
            plan,
            processes: BTreeMap::new(),
            leading: BTreeMap::new(),
            agent_ids: BTreeMap::new(),
            instances: BTreeMap::new(),
            gateways: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            disks: BTreeMap::new(),
            hosts: BTreeMap::new(),
            stalled_until: 0,
            read_only_until: 0,
            full_until: BTreeMap::new(),
            store_ahead: 1500,
            spell_until: 0,
            spell: 0,
            healed: false,
            filter: None,
            lanes: BTreeMap::new(),
            disk_lanes: BTreeMap::new(),
            seen: Seen::default(),
            hash: 0xcbf2_9ce4_8422_2325,
            lines: VecDeque::new(),
            tracing,
            events: 0,
        }
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn elapsed(&self) -> u64 {
        self.now - self.start
    }

    /// Has something happen after `delay` milliseconds.
    pub fn after(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse(Due { time: self.now + delay, sequence: self.sequence, happening }));
    }

    /// Gives this process of a node something after `delay` milliseconds.
    pub fn give(&mut self, node: Node, delay: u64, work: Work) {
        let incarnation = self.incarnation(node);
        self.after(delay, Happening::Give(node, Some(incarnation), work));
    }

    /// The next thing that happens; moves time.
    pub fn pop(&mut self) -> Option<Happening> {
        let Reverse(due) = self.queue.pop()?;
        self.now = self.now.max(due.time);
        self.events += 1;
        Some(due.happening)
    }

    /// When that will be.
    #[must_use]
    pub fn next_time(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(due)| due.time)
    }

    /// A node's own clock.
    #[must_use]
    pub fn clock(&self, node: Node) -> Time {
        let ahead = |process: &Process| process.clock_ahead + self.elapsed() * process.drift / 1_000_000;
        Time(self.now + self.processes.get(&node).map_or(0, ahead))
    }

    /// Which process of a node runs or ran last.
    #[must_use]
    pub fn incarnation(&self, node: Node) -> u32 {
        self.processes.get(&node).map_or(0, |process| process.incarnation)
    }

    /// Whether a process runs (it may be paused).
    #[must_use]
    pub fn is_up(&self, node: Node) -> bool {
        self.processes.get(&node).is_some_and(|process| process.up)
    }

    fn is_cut(&self, node: Node) -> bool {
        self.processes.get(&node).is_some_and(|process| process.cut.is_some())
    }

    /// Folds something into the trace, and makes a line of it if lines are wanted.
    pub fn trace(&mut self, tag: u64, line: impl FnOnce() -> String) {
        for word in [self.now, tag] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
        if self.tracing == Tracing::Off {
            return;
        }
        let line = format!("{:>8.3} {}", self.elapsed() as f64 / 1000.0, line());
        if self.tracing == Tracing::Printed {
            println!("{line}");
        }
        self.lines.push_back(line);
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
        }
    }

    // The bus.

    fn listeners(&self, subject: &Subject) -> Vec<Node> {
        let up = |node: &Node| self.is_up(*node);
        match subject {
            Subject::Service(service) => {
                let of = |node: &Node| match node {
                    Node::Allocator(_) => *service == mesos_core::row::service::ALLOCATOR,
                    Node::Registry(_) => *service == mesos_core::row::service::REGISTRY,
                    _ => false,
                };
                self.leading.keys().copied().filter(of).filter(up).collect()
            }
            Subject::Changes(_) => {
                let of = |node: &Node| matches!(node, Node::Allocator(_) | Node::Registry(_) | Node::Gateway(_));
                self.processes.keys().copied().filter(of).filter(up).collect()
            }
            Subject::Agent(id) => {
                self.agent_ids.iter().filter(|(_, own)| *own == id).map(|(node, _)| *node).filter(up).collect()
            }
            Subject::Instance(id) => {
                self.instances.iter().filter(|(_, own)| *own == id).map(|(node, _)| *node).filter(up).collect()
            }
            Subject::Agents => {
                let of = |node: &Node| matches!(node, Node::Agent(_));
                self.processes.keys().copied().filter(of).filter(up).collect()
            }
            Subject::Gateway(id) => {
                self.gateways.iter().filter(|(_, own)| *own == id).map(|(node, _)| *node).filter(up).collect()
            }
            Subject::Inbox(node) => [*node].into_iter().filter(up).collect(),
        }
    }

    /// Publishes a message; the bus may lose, repeat and reorder it.
    pub fn publish(&mut self, from: Node, subject: Subject, payload: Payload, reply: Option<CallId>) {
        let ordered = matches!(payload, Payload::Streams(_));
        let message = Message { payload: Rc::new(payload), reply: reply.map(|call| (from, call)) };
        // Events of streams carry no number: for them the order of one publisher on one subject is all there is,
        // which core NATS keeps. Everything else may come again.
        if !self.healed && self.rng.chance(self.plan.duplicate) && !ordered {
            let bound = [20, 500, 5_000, 60_000][self.rng.below(4) as usize];
            let delay = self.rng.below(bound);
            self.after(delay, Happening::Again(from, subject.clone(), message.clone()));
        }
        self.route(from, &subject, &message);
    }

    /// A message goes to whoever listens now.
    pub fn route(&mut self, from: Node, subject: &Subject, message: &Message) {
        let listeners = self.listeners(subject);
        if self.is_cut(from) {
            return;
        }
        let mut heard = false;
        let lane = match subject {
            Subject::Service(_) | Subject::Inbox(_) => 0,
            Subject::Changes(_) => 1,
            Subject::Agent(_) | Subject::Instance(_) => 2,
            Subject::Agents => 3,
            Subject::Gateway(_) => 4,
        };
        for to in listeners {
            if self.is_cut(to) {
                continue;
            }
            heard = true;
            if let Some(filter) = &mut self.filter
                && !filter(from, to, &message.payload)
            {
                continue;
            }
            if self.is_lost() {
                continue;
            }
            let mut at = self.now + self.rng.between(0, self.plan.bus_delay_ms);
            let ordered = matches!(*message.payload, Payload::Streams(_));
            if !self.rng.chance(self.plan.reorder) || ordered || self.healed {
                let last = self.lanes.entry((from, to, lane)).or_default();
                at = at.max(*last);
                *last = at;
            }
            self.after(at - self.now, Happening::Give(to, None, Work::Bus(message.clone())));
        }
        if !heard && let Some((node, call)) = &message.reply {
            let (node, call) = (*node, call.clone());
            self.give(node, 1, Work::NoResponders(call));
        }
    }

    fn is_lost(&mut self) -> bool {
        if self.healed {
            return false;
        }
        let rate = if self.now < self.spell_until { self.spell } else { self.plan.loss };
        self.rng.chance(rate)
    }

    // The stores.

    /// Asks the store of a service, or a node's own disk.
    pub fn ask(&mut self, node: Node, service: &'static str, ask: StoreAsk) {
        let incarnation = self.incarnation(node);
        if self.disks.contains_key(&node) {
            let at = (self.now + self.rng.between(1, 8)).max(self.disk_lanes.get(&node).copied().unwrap_or(0));
            self.disk_lanes.insert(node, at);
            self.after(at - self.now, Happening::Ask { node, incarnation, service, ask, answered: true });
            return;
        }
        let mut delay = self.rng.between(0, self.plan.store_delay_ms);
        if self.stalled_until > self.now {
            delay += self.stalled_until - self.now;
        }
        let unknown = !self.healed && self.rng.chance(self.plan.unknown_outcome);
        if !unknown && delay < STORE_TIMEOUT {
            self.after(delay, Happening::Ask { node, incarnation, service, ask, answered: true });
            return;
        }
        // The asker gives up, whether or not it takes effect.
        let timeout = self.rng.between(50, STORE_TIMEOUT);
        self.give(node, timeout, Work::Store(unanswered(&ask)));
        if delay >= STORE_TIMEOUT || self.rng.below(2) == 0 {
            let late = if self.rng.below(3) == 0 { self.rng.below(3000) } else { 0 };
            self.after(delay + late, Happening::Ask { node, incarnation, service, ask, answered: false });
        }
    }

    /// The store's clock.
    #[must_use]
    pub fn store_clock(&self) -> u64 {
        self.now + self.store_ahead
    }
}

/// What an asker makes of silence.
fn unanswered(ask: &StoreAsk) -> StoreAnswer {
    let why = || Failure::Unavailable("no answer".to_owned());
    match ask {
        StoreAsk::Load { peer } => StoreAnswer::Loaded(*peer, Err(why())),
        StoreAsk::Cold(_) => StoreAnswer::Cold(Err(why())),
        StoreAsk::Read { peer, generation, .. } => {
            StoreAnswer::Read { peer: *peer, generation: *generation, entries: Err(ReadError::Unavailable) }
        }
        StoreAsk::Acquire { .. } => StoreAnswer::Acquired(Err(why())),
        StoreAsk::Commit(batch, _) => StoreAnswer::Committed(*batch, Err(why())),
        StoreAsk::Release(_) => StoreAnswer::Head(0, None),
        StoreAsk::Head(token) => StoreAnswer::Head(*token, None),
    }
}

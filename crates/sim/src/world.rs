//! The cluster: its processes, the loop that gives them their work, and the faults.

use std::{collections::BTreeMap, time::Duration};

use mesos_core::{
    agent::{self, Agent},
    allocation::{self, Allocator},
    driver::Failure,
    registry::{self, Registry},
    row::{Row, RowChange, service},
};
use mesos_model::{
    Term,
    planted::{Bug, is_planted},
};

use crate::{
    host::Host,
    invariants::Violation,
    net::{Happening, Net, Node, Payload, Process, StoreAnswer, StoreAsk, Tracing, Work},
    node::{
        framework::Framework,
        gateway::Gateway,
        http::{ToFramework, ToGateway},
        operator::{Mood, Operator},
        service::{Allocating, Hosting, Registering, Service},
    },
    plan::{Plan, Whims},
    rng::Rng,
    store::Ledger,
};

/// The cluster.
pub struct World {
    /// What all processes share.
    pub net: Net,
    /// Allocators by their numbers; absent while they are down.
    pub allocators: BTreeMap<Node, Service<Allocating>>,
    /// Registries.
    pub registries: BTreeMap<Node, Service<Registering>>,
    /// Agents.
    pub agents: BTreeMap<Node, Service<Hosting>>,
    /// Gateways.
    pub gateways: BTreeMap<Node, Gateway>,
    /// Frameworks; their disks outlive their processes.
    pub frameworks: BTreeMap<Node, Framework>,
    /// The operator; idle if it has no whims.
    pub operator: Operator,
}

/// Faults are drawn this often, in milliseconds.
const FAULT_TICK: u64 = 200;
/// Machines check themselves after so many events.
const CHECK_EVERY: u64 = 32;
/// How far the store's clock may be ahead of the time after a step, in milliseconds, and half of it before.
const STEP_MAX: u64 = 10_000;
/// How many agents there are.
pub const AGENTS: u8 = 3;

/// Who leads, and in which term.
pub type Leaders = Vec<(Node, Term)>;

impl World {
    /// A cluster whose processes start within the first second.
    #[must_use]
    pub fn new(rng: Rng, plan: Plan, tracing: Tracing) -> World {
        let mut net = Net::new(rng, plan, tracing);
        net.seen.duplicates = net.plan.duplicate > 0;
        let operator = Operator::new(net.plan.operator.clone());
        let roles = net.plan.frameworks.iter().any(|temper| temper.role != "*");
        let has_operator = roles || net.plan.operator != Whims::default();
        net.ledgers.insert(service::ALLOCATOR, Ledger::default());
        net.ledgers.insert(service::REGISTRY, Ledger::default());
        let mut world = World {
            net,
            allocators: BTreeMap::new(),
            registries: BTreeMap::new(),
            agents: BTreeMap::new(),
            gateways: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            operator,
        };
        let pairs = (0..2).flat_map(|n| [Node::Allocator(n), Node::Registry(n), Node::Gateway(n)]);
        let frameworks = world.net.plan.frameworks.clone();
        for node in pairs.chain((0..AGENTS).map(Node::Agent)) {
            world.add(node);
        }
        for (at, temper) in frameworks.into_iter().enumerate() {
            let node = Node::Framework(u8::try_from(at).unwrap_or(0));
            if let Some(at) = temper.leaves_at {
                world.net.after(at, Happening::Leave(node));
            }
            world.frameworks.insert(node, Framework::new(node, temper));
            world.add(node);
        }
        if has_operator {
            world.add(Node::Operator);
        }
        if world.net.plan.fault_ms > 0 {
            world.net.after(FAULT_TICK, Happening::Faults);
        }
        world
    }

    fn add(&mut self, node: Node) {
        if let Node::Agent(host) = node {
            self.net.disks.insert(node, Ledger::disk());
            let state = Host { total: self.net.plan.agent.clone(), ..Host::default() };
            self.net.hosts.insert(host, state);
        }
        let (clock_ahead, drift) = (self.net.rng.below(60_000), self.net.rng.below(1_000));
        self.net.processes.insert(node, Process { clock_ahead, drift, ..Process::default() });
        let delay = self.net.rng.below(1000);
        self.net.after(delay, Happening::Start(node));
    }

    /// Lets happen what is next; false when an invariant did not hold.
    pub fn step(&mut self) -> bool {
        let Some(happening) = self.net.pop() else { return false };
        self.happen(happening);
        if self.net.events.is_multiple_of(CHECK_EVERY) {
            self.check();
        }
        self.net.seen.violation.is_none()
    }

    /// Lets things happen until this point in time (milliseconds since the start), or a violation.
    pub fn run_until(&mut self, elapsed: u64) -> bool {
        let until = self.net.start + elapsed;
        while self.net.next_time().is_some_and(|time| time <= until) {
            if !self.step() {
                return false;
            }
        }
        self.net.now = self.net.now.max(until);
        true
    }

    /// Lets things happen until `done` holds; false if it does not within so many milliseconds.
    pub fn run_while_not(&mut self, within: u64, mut done: impl FnMut(&World) -> bool) -> bool {
        let until = self.net.now + within;
        while !done(self) {
            if self.net.next_time().is_none_or(|time| time > until) || !self.step() {
                return false;
            }
        }
        true
    }

    /// What did not hold.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.net.seen.violation.as_ref()
    }

    fn check(&mut self) {
        let allocators = self.allocators.values().map(Service::check);
        let registries = self.registries.values().map(Service::check);
        let agents = self.agents.values().map(Service::check);
        let error = allocators.chain(registries).chain(agents).find_map(Result::err);
        if let Some(error) = error {
            self.net.seen.machine(error);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Give(node, incarnation, work) => self.give(node, incarnation, work),
            Happening::Again(from, subject, message) => self.net.route(from, &subject, &message),
            Happening::Ask { node, incarnation, service, ask, answered } => {
                self.asked(node, incarnation, service, ask, answered);
            }
            Happening::Container { host, container, serial, tick } => {
                self.net.container_tick(host, container, serial, tick);
            }
            Happening::Faults => self.faults(),
            Happening::Start(node) => self.start(node),
            Happening::Resume(node) => self.resume(node),
            Happening::Join(node) => self.join(node),
            Happening::Strike { host, boots } => self.strike(host, boots),
            Happening::Leave(node) => self.leave(node),
            Happening::Retire(node) => self.bounce(node, 500),
            Happening::Nothing => {}
        }
    }

    fn give(&mut self, node: Node, incarnation: Option<u32>, work: Work) {
        let Some(process) = self.net.processes.get_mut(&node) else { return };
        if !process.up || incarnation.is_some_and(|incarnation| incarnation != process.incarnation) {
            return;
        }
        if process.paused {
            process.backlog.push_back(work);
            return;
        }
        if process.cut.is_some() && matches!(work, Work::Bus(_)) {
            return;
        }
        self.net.trace(20 + tag(node, &work), || describe(node, &work));
        match node {
            Node::Allocator(_) => {
                if let Some(service) = self.allocators.get_mut(&node) {
                    service.work(&mut self.net, work);
                }
            }
            Node::Registry(_) => {
                if let Some(service) = self.registries.get_mut(&node) {
                    service.work(&mut self.net, work);
                }
            }
            Node::Agent(_) => {
                if let Some(service) = self.agents.get_mut(&node) {
                    service.work(&mut self.net, work);
                }
            }
            Node::Gateway(_) => {
                if let Some(gateway) = self.gateways.get_mut(&node) {
                    gateway.work(&mut self.net, work);
                }
            }
            Node::Framework(_) => {
                if let Some(framework) = self.frameworks.get_mut(&node) {
                    framework.work(&mut self.net, work);
                }
            }
            Node::Operator => self.operator.work(&mut self.net, work),
        }
    }

    // Processes.

    /// Starts a process that is down.
    pub fn start(&mut self, node: Node) {
        if self.frameworks.get(&node).is_some_and(|framework| framework.left) {
            return;
        }
        let Some(process) = self.net.processes.get_mut(&node).filter(|process| !process.up) else { return };
        process.up = true;
        process.incarnation += 1;
        self.net.trace(8, || format!("{node} starts"));
        let seed = self.net.rng.draw();
        match node {
            Node::Allocator(_) => {
                let make = move || {
                    Allocator::new(allocation::Options {
                        seed,
                        offer_delivery: Some(Duration::from_secs(3)),
                        ..allocation::Options::default()
                    })
                };
                let service = Service::start(&mut self.net, node, make);
                self.allocators.insert(node, service);
            }
            Node::Registry(_) => {
                let make = || Registry::new(registry::Options::default());
                let service = Service::start(&mut self.net, node, make);
                self.registries.insert(node, service);
            }
            Node::Agent(host) => self.start_agent(node, host),
            Node::Gateway(_) => {
                let gateway = Gateway::start(&mut self.net, node);
                self.gateways.insert(node, gateway);
            }
            Node::Framework(_) => {
                if let Some(framework) = self.frameworks.get_mut(&node) {
                    framework.start(&mut self.net);
                }
            }
            Node::Operator => self.operator.start(&mut self.net),
        }
    }

    fn start_agent(&mut self, node: Node, host: u8) {
        let new_instance = self.net.rng.uuid();
        let boot = self.net.hosts.get(&host).map_or(0, |host| host.boot);
        let options = agent::Options {
            total: self.net.plan.agent.clone(),
            oversubscribed: Default::default(),
            attributes: Vec::new(),
            domain: None,
            hostname: node.to_string(),
            ip: String::new(),
            port: 5051,
            version: "0.1.0".to_owned(),
            boot: format!("boot-{host}-{boot}"),
            new_instance,
            new_agent: None,
            body: bytes::Bytes::new(),
            beat_ms: 5000,
            executors: agent::ExecutorTimes::default(),
        };
        self.net.agent_ids.remove(&node);
        self.net.instances.insert(node, new_instance);
        let service = Service::start(&mut self.net, node, move || Agent::new(options.clone()));
        self.agents.insert(node, service);
    }

    /// kill -9.
    pub fn crash(&mut self, node: Node) {
        let Some(process) = self.net.processes.get_mut(&node).filter(|process| process.up) else { return };
        process.up = false;
        process.paused = false;
        process.backlog.clear();
        self.net.trace(9, || format!("{node} is killed"));
        self.net.leading.remove(&node);
        match node {
            Node::Allocator(_) => drop(self.allocators.remove(&node)),
            Node::Registry(_) => drop(self.registries.remove(&node)),
            Node::Agent(host) => {
                self.agents.remove(&node);
                self.net.host_lost_agent(host);
                let unsynced = is_planted(Bug::DiskWithoutSync);
                if let Some(disk) = self.net.disks.get_mut(&node) {
                    disk.unlock();
                    if unsynced {
                        disk.roll_back(3);
                    }
                }
            }
            Node::Gateway(_) => {
                self.gateways.remove(&node);
                self.net.gateways.remove(&node);
                let frameworks: Vec<Node> = self.frameworks.keys().copied().collect();
                let operator = self.net.processes.contains_key(&Node::Operator).then_some(Node::Operator);
                for framework in frameworks.into_iter().chain(operator) {
                    let delay = self.net.rng.between(1, 200);
                    if self.net.is_up(framework) {
                        self.net.give(framework, delay, Work::ToFramework(ToFramework::GatewayGone(node)));
                    }
                }
            }
            Node::Operator => {}
            Node::Framework(_) => {
                let Some(up_to) = self.frameworks.get(&node).map(Framework::connection) else { return };
                let gateways: Vec<Node> = self.gateways.keys().copied().collect();
                for gateway in gateways {
                    let delay = self.net.rng.between(1, 500);
                    self.net.give(gateway, delay, Work::ToGateway(ToGateway::PeerClosed { from: node, up_to }));
                }
            }
        }
    }

    /// kill -9, and a start later.
    pub fn bounce(&mut self, node: Node, down_for: u64) {
        if self.net.is_up(node) {
            self.crash(node);
            self.net.after(down_for.max(100), Happening::Start(node));
        }
    }

    /// SIGSTOP.
    pub fn pause(&mut self, node: Node) {
        if let Some(process) = self.net.processes.get_mut(&node).filter(|process| process.up) {
            process.paused = true;
            self.net.trace(16, || format!("{node} is stopped"));
        }
    }

    /// SIGCONT.
    pub fn resume(&mut self, node: Node) {
        let Some(process) = self.net.processes.get_mut(&node).filter(|process| process.paused) else { return };
        process.paused = false;
        let backlog = std::mem::take(&mut process.backlog);
        self.net.trace(17, || format!("{node} goes on"));
        for work in backlog {
            self.give(node, None, work);
        }
    }

    /// Cuts a node from the bus.
    pub fn cut(&mut self, node: Node) {
        if let Some(process) = self.net.processes.get_mut(&node) {
            process.cut = Some(self.net.now);
            self.net.trace(18, || format!("{node} is cut off"));
        }
    }

    /// A node that was cut off is back on the bus.
    pub fn join(&mut self, node: Node) {
        let Some(process) = self.net.processes.get_mut(&node).filter(|process| process.cut.is_some()) else { return };
        process.cut = None;
        self.net.trace(19, || format!("{node} is back on the bus"));
        self.give(node, None, Work::BusBack);
    }

    /// An agent is killed, or its host boots, unless the faults are over.
    fn strike(&mut self, host: u8, boots: bool) {
        if self.net.healed || !self.net.is_up(Node::Agent(host)) {
            return;
        }
        let down_for = self.some_time(5_000);
        if boots {
            self.reboot(host, down_for);
        } else {
            self.bounce(Node::Agent(host), down_for);
        }
    }

    /// A framework's scheduler goes, and does not come back.
    fn leave(&mut self, node: Node) {
        self.crash(node);
        if let Some(framework) = self.frameworks.get_mut(&node) {
            framework.left = true;
        }
    }

    /// The host of an agent boots.
    pub fn reboot(&mut self, host: u8, down_for: u64) {
        let node = Node::Agent(host);
        self.crash(node);
        self.net.host_boots(host);
        self.net.after(down_for.max(100), Happening::Start(node));
    }

    // The stores.

    /// A replica that lacks the last `count` operations of a service takes over.
    pub fn roll_back(&mut self, service: &'static str, count: usize) {
        self.net.seen.rolled_back = true;
        let Some(ledger) = self.net.ledgers.get_mut(service) else { return };
        let lost = ledger.roll_back(count);
        self.net.seen.fenced(service, ledger);
        self.net.trace(40, || format!("the store loses {lost} commits of the {service}"));
    }

    /// The store loses everything.
    pub fn wipe(&mut self) {
        self.net.trace(41, || "the store is wiped".to_owned());
        self.net.seen.rolled_back = true;
        self.net.seen.wiped_at = self.net.now;
        for (name, ledger) in &mut self.net.ledgers {
            *ledger = Ledger::default();
            self.net.seen.fenced(name, ledger);
        }
    }

    fn asked(&mut self, node: Node, incarnation: u32, name: &'static str, ask: StoreAsk, answered: bool) {
        let net = &mut self.net;
        let is_disk = name == service::AGENT;
        if is_disk && (incarnation != net.incarnation(node) || !net.is_up(node)) {
            // The process died on its way to the disk.
            return;
        }
        let clock = if is_disk { net.clock(node).0 } else { net.store_clock() };
        let writes = matches!(ask, StoreAsk::Acquire { .. } | StoreAsk::Commit(..) | StoreAsk::Release(_));
        let full = is_disk && net.full_until.get(&node).is_some_and(|until| *until > net.now);
        if writes && (full || (!is_disk && net.read_only_until > net.now)) {
            let failure = || Failure::ReadOnly("out of memory, or the disk is full".to_owned());
            let answer = match ask {
                StoreAsk::Acquire { .. } => StoreAnswer::Acquired(Err(failure())),
                StoreAsk::Commit(batch, _) => StoreAnswer::Committed(batch, Err(failure())),
                _ => return,
            };
            return reply(net, node, incarnation, is_disk, answered, answer);
        }
        let ledger = if is_disk { net.disks.get_mut(&node) } else { net.ledgers.get_mut(name) };
        let Some(ledger) = ledger else { return };
        let answer = match ask {
            StoreAsk::Load { peer } => StoreAnswer::Loaded(peer, Ok(ledger.load())),
            StoreAsk::Cold(keys) => StoreAnswer::Cold(Ok(ledger.get(&keys))),
            StoreAsk::Read { peer, generation, after } => {
                StoreAnswer::Read { peer, generation, entries: ledger.read(after) }
            }
            StoreAsk::Head(token) => StoreAnswer::Head(token, Some((ledger.seq(), ledger.term()))),
            StoreAsk::Acquire { leader, previous, epoch_min } => {
                let length = std::time::Duration::from_secs(3);
                let granted = ledger.acquire(clock, leader, previous, epoch_min, length);
                net.seen.fenced(name_of(name, is_disk), ledger);
                StoreAnswer::Acquired(granted)
            }
            StoreAsk::Release(lease) => {
                ledger.release(clock, lease);
                return;
            }
            StoreAsk::Commit(batch, commit) => {
                if is_disk {
                    net.seen.agent_commits(node, &commit, &ledger.rows);
                }
                let would_apply = name == service::REGISTRY && ledger.term() == commit.lease.term;
                if would_apply && ledger.seq() == commit.lease.seq {
                    net.seen.registry_commits(net.now, &commit, &ledger.rows);
                }
                let done = ledger.commit(clock, &commit);
                if let (Ok((_, true)), false) = (&done, is_disk) {
                    let deaf_for =
                        net.processes.get(&node).and_then(|process| process.cut).map(|since| net.now - since);
                    net.seen.i4_only_the_fence_writes(name, &commit, ledger);
                    net.seen.committed(name, &commit, net.now, deaf_for.unwrap_or(0), &ledger.rows);
                }
                let rows = commit.changes.len() as u64;
                net.trace(1000 + rows, || {
                    let keys: Vec<String> = commit.changes.iter().map(described).collect();
                    format!("{node} commits {:?}: {}", done.as_ref().map(|d| d.0.seq), keys.join(" "))
                });
                StoreAnswer::Committed(batch, done.map(|(done, _)| done))
            }
        };
        reply(net, node, incarnation, is_disk, answered, answer);
    }

    // Faults.

    fn faults(&mut self) {
        if self.net.healed {
            return;
        }
        if self.net.elapsed() >= self.net.plan.fault_ms {
            return;
        }
        self.net.after(FAULT_TICK, Happening::Faults);
        let rates = self.net.plan.per_tick.clone();
        type Kind = (u32, fn(Node) -> bool);
        let kinds: [Kind; 4] = [
            (rates.crash_service, |node| matches!(node, Node::Allocator(_) | Node::Registry(_))),
            (rates.crash_agent, |node| matches!(node, Node::Agent(_))),
            (rates.crash_gateway, |node| matches!(node, Node::Gateway(_))),
            (rates.crash_framework, |node| matches!(node, Node::Framework(_))),
        ];
        for (rate, of) in kinds {
            if self.net.rng.chance(rate)
                && let Some(node) = self.any(of)
            {
                let down_for = self.some_time(20_000);
                self.bounce(node, down_for);
            }
        }
        if self.net.rng.chance(rates.reboot) {
            let host = u8::try_from(self.net.rng.below(u64::from(AGENTS))).unwrap_or(0);
            if self.net.is_up(Node::Agent(host)) {
                let down_for = self.some_time(30_000);
                self.reboot(host, down_for);
            }
        }
        if self.net.rng.chance(rates.pause)
            && let Some(node) = self.any(|_| true)
        {
            self.pause(node);
            let span = self.some_time(20_000);
            self.net.after(span, Happening::Resume(node));
        }
        if self.net.rng.chance(rates.cut)
            && let Some(node) = self.any(|node| !matches!(node, Node::Framework(_)))
        {
            self.cut(node);
            let span = self.some_time(40_000);
            self.net.after(span, Happening::Join(node));
        }
        if self.net.rng.chance(rates.vanish) {
            let host = u8::try_from(self.net.rng.below(u64::from(AGENTS))).unwrap_or(0);
            self.net.container_vanish(host);
        }
        if self.net.rng.chance(rates.disk_full) {
            let host = u8::try_from(self.net.rng.below(u64::from(AGENTS))).unwrap_or(0);
            let until = self.net.now + self.some_time(30_000);
            self.net.full_until.insert(Node::Agent(host), until);
        }
        self.store_faults(&rates);
    }

    fn store_faults(&mut self, rates: &crate::plan::Ticked) {
        if self.net.rng.chance(rates.loss_spell) {
            self.net.spell_until = self.net.now + self.some_time(15_000);
            self.net.spell = [3_000, 7_000, 10_000][self.net.rng.below(3) as usize];
        }
        if self.net.rng.chance(rates.stall) {
            self.net.stalled_until = self.net.now + self.some_time(8_000);
        }
        if self.net.rng.chance(rates.read_only) {
            self.net.read_only_until = self.net.now + self.some_time(8_000);
        }
        if self.net.rng.chance(rates.rollback) {
            let which = self.net.rng.below(3);
            for (at, name) in [service::ALLOCATOR, service::REGISTRY].into_iter().enumerate() {
                if which == 2 || which == at as u64 {
                    let bound = [3, 10, 40][self.net.rng.below(3) as usize];
                    let count = 1 + self.net.rng.below(bound) as usize;
                    self.roll_back(name, count);
                }
            }
            // Another server has another clock.
            self.net.store_ahead += self.net.rng.below(500);
        }
        if self.net.rng.chance(rates.wipe) {
            self.wipe();
        }
        if self.net.rng.chance(rates.clock_step) {
            let to = self.net.rng.below(2 * STEP_MAX);
            self.net.seen.clock_stepped(self.net.store_ahead.abs_diff(to));
            self.net.store_ahead = to;
        }
        if self.net.rng.chance(rates.trim) {
            for (name, peer) in [(service::ALLOCATOR, service::REGISTRY), (service::REGISTRY, service::ALLOCATOR)] {
                let cursor = self.net.ledgers.get(peer).map_or(0, Ledger::peer_cursor);
                if let Some(ledger) = self.net.ledgers.get_mut(name) {
                    ledger.trim(cursor.min(ledger.seq()));
                }
            }
        }
    }

    fn any(&mut self, of: impl Fn(Node) -> bool) -> Option<Node> {
        let nodes: Vec<Node> = self.net.processes.keys().copied().filter(|node| of(*node)).collect();
        let at = self.net.rng.below(nodes.len() as u64) as usize;
        nodes.get(at).copied()
    }

    fn some_time(&mut self, most: u64) -> u64 {
        if self.net.rng.below(2) == 0 { self.net.rng.between(100, most / 10) } else { self.net.rng.between(100, most) }
    }

    /// All faults are over: everything runs, and hears everything again.
    pub fn heal(&mut self) {
        self.net.trace(42, || "everything heals".to_owned());
        self.net.healed = true;
        self.net.stalled_until = 0;
        self.net.read_only_until = 0;
        self.net.full_until.clear();
        self.net.plan.bus_delay_ms = self.net.plan.bus_delay_ms.min(5);
        self.net.plan.store_delay_ms = self.net.plan.store_delay_ms.min(5);
        let nodes: Vec<Node> = self.net.processes.keys().copied().collect();
        for node in nodes {
            self.resume(node);
            self.join(node);
            if self.net.is_up(node) {
                self.give(node, None, Work::BusBack);
            } else {
                self.start(node);
            }
        }
        for framework in self.frameworks.values_mut() {
            framework.temper = framework.temper.reformed();
        }
        self.operator.mood = Mood::Settling;
    }

    // What is to be seen.

    /// The allocator's leaders, and the registry's.
    #[must_use]
    pub fn leaders(&self) -> (Leaders, Leaders) {
        let led = |(node, term): (Option<Term>, Node)| node.map(|node| (term, node));
        let allocators = self.allocators.iter().map(|(node, service)| (service.driver.leading(), *node));
        let registries = self.registries.iter().map(|(node, service)| (service.driver.leading(), *node));
        (allocators.filter_map(led).collect(), registries.filter_map(led).collect())
    }

    /// The machine of the allocator's leader.
    #[must_use]
    pub fn allocator(&self) -> Option<&Allocator> {
        self.allocators
            .values()
            .find(|service| service.driver.leading().is_some())
            .map(|service| service.driver.machine())
    }

    /// The machine of the registry's leader.
    #[must_use]
    pub fn registry(&self) -> Option<&Registry> {
        self.registries
            .values()
            .find(|service| service.driver.leading().is_some())
            .map(|service| service.driver.machine())
    }
}

fn described(change: &RowChange) -> String {
    match change {
        RowChange::Put(Row::Task(row)) => format!("+{}={:?}", change.key().text(), row.state),
        RowChange::Put(_) => format!("+{}", change.key().text()),
        RowChange::Delete(key) => format!("-{}", key.text()),
    }
}

fn name_of(name: &'static str, is_disk: bool) -> &'static str {
    if is_disk { service::AGENT } else { name }
}

fn reply(net: &mut Net, node: Node, incarnation: u32, is_disk: bool, answered: bool, answer: StoreAnswer) {
    if !answered {
        return;
    }
    let delay = if is_disk { 0 } else { net.rng.between(0, net.plan.store_delay_ms) };
    net.after(delay, Happening::Give(node, Some(incarnation), Work::Store(answer)));
}

fn tag(node: Node, work: &Work) -> u64 {
    let node = match node {
        Node::Allocator(n) => u64::from(n),
        Node::Registry(n) => 10 + u64::from(n),
        Node::Agent(n) => 20 + u64::from(n),
        Node::Gateway(n) => 30 + u64::from(n),
        Node::Framework(n) => 40 + u64::from(n),
        Node::Operator => 50,
    };
    let work = match work {
        Work::Tick(_) => 1,
        Work::Bus(_) => 2,
        Work::NoResponders(_) => 3,
        Work::Store(_) => 4,
        Work::BusBack => 5,
        Work::Pulse => 6,
        Work::Poll { .. } => 7,
        Work::Container(_) => 8,
        Work::ToGateway(_) => 9,
        Work::ToFramework(_) => 10,
        Work::Decide(_) => 11,
        Work::Acknowledge(..) => 12,
    };
    100 * work + node
}

fn describe(node: Node, work: &Work) -> String {
    let what = match work {
        Work::Bus(message) => match &*message.payload {
            Payload::Entry(name, entry) => format!("Entry {name} {} of epoch {}", entry.seq, entry.term.epoch),
            payload => format!("{payload:?}"),
        },
        Work::Store(StoreAnswer::Loaded(peer, loaded)) => {
            format!("Loaded peer:{peer} {:?}", loaded.as_ref().map(|snapshot| (snapshot.rows.len(), snapshot.seq)))
        }
        Work::Store(StoreAnswer::Read { peer, entries, .. }) => {
            format!("Read peer:{peer} {:?}", entries.as_ref().map(Vec::len))
        }
        work => format!("{work:?}"),
    };
    format!("  {node} <- {}", what.chars().take(600).collect::<String>())
}

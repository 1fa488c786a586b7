//! The shell of allocator, registry and agent around the real driver and machine.
//!
//! It does what `mesos_runtime::shell` and the agent's shell do, in virtual time.

use std::{collections::BTreeMap, marker::PhantomData, time::Duration};

use mesos_core::{
    agent::{self, Agent},
    allocation::{self, Allocator},
    driver::{Config, Driver, Failure, Input, Output},
    machine::Machine,
    message::{Answer, RequestId, ToAgent, ToAllocator, ToRegistry, ToStream},
    registry::{self, Registry},
    row::{Row, service},
};
use mesos_model::{AgentId, CallId, GatewayId, Term};

use super::follower::{Followed, Follower, SILENCE};
use crate::{
    host::Script,
    net::{Happening, Message, Net, Node, Payload, StoreAnswer, StoreAsk, Subject, Work},
    store::Commit,
};

/// Where an output of a machine goes.
#[derive(Debug)]
pub enum Route {
    /// The answer to a call.
    Reply(RequestId, Answer),
    /// An event for a stream.
    Gateway(GatewayId, ToStream),
    /// A message to one agent.
    Agent(Subject, ToAgent),
    /// A message to all agents.
    AllAgents(ToAgent),
    /// A higher epoch is needed.
    RaiseEpoch(u64),
    /// The peer's head is asked for.
    CatchUp(u64),
    /// Only said in a log.
    Nothing,
    /// From an agent to the allocator.
    Allocator(ToAllocator),
    /// From an agent to the registry.
    Registry(ToRegistry),
    /// Work for an agent's host.
    Host(agent::Output),
}

/// A message for a machine.
pub struct Arrived<M: Machine> {
    event: M::Event,
    answered: bool,
    after_peer: u64,
}

/// What the shell must know about a service.
pub trait Kind {
    /// Its machine.
    type Machine: Machine;
    /// Whose rows.
    const NAME: &'static str;
    /// Whose rows it follows.
    const PEER: Option<&'static str>;
    /// How long its lease runs.
    const LEASE: Duration;

    /// The events of a message.
    fn events(payload: &Payload, request: &mut u64) -> Vec<Arrived<Self::Machine>>;
    /// Where an output goes.
    fn route(output: <Self::Machine as Machine>::Output) -> Route;
    /// The peer was applied up to its head.
    fn caught_up(_token: u64) -> Option<<Self::Machine as Machine>::Event> {
        None
    }
    /// The peer has this term.
    fn peer_term(_term: Term) -> Option<<Self::Machine as Machine>::Event> {
        None
    }
    /// The bus is back.
    fn bus_back() -> <Self::Machine as Machine>::Event;
    /// The own beat is missed, or is back.
    fn deaf(_deaf: bool) -> Option<<Self::Machine as Machine>::Event> {
        None
    }
    /// The first event of a term.
    fn leading(_net: &Net, _node: Node) -> Option<<Self::Machine as Machine>::Event> {
        None
    }
    /// An event of the host.
    fn host(_event: agent::Event) -> Option<<Self::Machine as Machine>::Event> {
        None
    }
    /// The machine's own check.
    ///
    /// # Errors
    /// Says what does not hold.
    fn check(machine: &Self::Machine) -> Result<(), String>;
}

/// The allocator.
pub struct Allocating;
/// The registry.
pub struct Registering;
/// An agent.
pub struct Hosting;

fn plain<M: Machine>(event: M::Event) -> Arrived<M> {
    Arrived { event, answered: false, after_peer: 0 }
}

impl Kind for Allocating {
    type Machine = Allocator;
    const NAME: &'static str = service::ALLOCATOR;
    const PEER: Option<&'static str> = Some(service::REGISTRY);
    const LEASE: Duration = Duration::from_secs(3);

    fn events(payload: &Payload, request: &mut u64) -> Vec<Arrived<Allocator>> {
        let Payload::Allocator(messages) = payload else { return Vec::new() };
        let arrived = messages.iter().map(|message| match message.clone() {
            ToAllocator::Call(mut call) => {
                *request += 1;
                let after_peer = std::mem::take(&mut call.peer_seq);
                let event = allocation::Event::Call { request: RequestId(*request), call };
                Arrived { event, answered: true, after_peer }
            }
            ToAllocator::Agent(message) => plain(allocation::Event::Agent(message)),
            ToAllocator::Delivered(offers) => plain(allocation::Event::Delivered(offers)),
        });
        arrived.collect()
    }

    fn route(output: allocation::Output) -> Route {
        match output {
            allocation::Output::Reply { request, answer } => Route::Reply(request, answer),
            allocation::Output::Stream { gateway, event } => Route::Gateway(gateway, event),
            allocation::Output::Agent { agent, message } => Route::Agent(Subject::Agent(agent), message),
            allocation::Output::Unregistered { instance, message } => {
                Route::Agent(Subject::Instance(instance), message)
            }
            allocation::Output::AllAgents(message) => Route::AllAgents(message),
            allocation::Output::RaiseEpoch(term) => Route::RaiseEpoch(term.epoch),
            allocation::Output::Trouble(_) => Route::Nothing,
        }
    }

    fn bus_back() -> allocation::Event {
        allocation::Event::BusBack
    }

    fn deaf(deaf: bool) -> Option<allocation::Event> {
        Some(allocation::Event::Deaf(deaf))
    }

    fn check(machine: &Allocator) -> Result<(), String> {
        machine.check()
    }
}

impl Kind for Registering {
    type Machine = Registry;
    const NAME: &'static str = service::REGISTRY;
    const PEER: Option<&'static str> = Some(service::ALLOCATOR);
    const LEASE: Duration = Duration::from_secs(3);

    fn events(payload: &Payload, request: &mut u64) -> Vec<Arrived<Registry>> {
        let Payload::Registry(messages) = payload else { return Vec::new() };
        let arrived = messages.iter().map(|message| match message.clone() {
            ToRegistry::Call(mut call) => {
                *request += 1;
                let after_peer = call.what.after_launches(std::mem::take(&mut call.peer_seq));
                let event = registry::Event::Call { request: RequestId(*request), call };
                Arrived { event, answered: true, after_peer }
            }
            ToRegistry::Agent(message) => plain(registry::Event::Agent(message)),
        });
        arrived.collect()
    }

    fn route(output: registry::Output) -> Route {
        match output {
            registry::Output::Reply { request, answer } => Route::Reply(request, answer),
            registry::Output::Stream { gateway, event } => Route::Gateway(gateway, event),
            registry::Output::Agent { agent, message } => Route::Agent(Subject::Agent(agent), message),
            registry::Output::AllAgents(message) => Route::AllAgents(message),
            registry::Output::CatchUp { token } => Route::CatchUp(token),
        }
    }

    fn caught_up(token: u64) -> Option<registry::Event> {
        Some(registry::Event::CaughtUp { token })
    }

    fn peer_term(term: Term) -> Option<registry::Event> {
        Some(registry::Event::PeerTerm(term))
    }

    fn bus_back() -> registry::Event {
        registry::Event::BusBack
    }

    fn check(machine: &Registry) -> Result<(), String> {
        machine.check()
    }
}

impl Kind for Hosting {
    type Machine = Agent;
    const NAME: &'static str = service::AGENT;
    const PEER: Option<&'static str> = None;
    const LEASE: Duration = Duration::from_secs(3600);

    fn events(payload: &Payload, _request: &mut u64) -> Vec<Arrived<Agent>> {
        let Payload::Agent(messages) = payload else { return Vec::new() };
        let arrived = messages.iter().cloned().map(|message| {
            let facts = match &message {
                ToAgent::Orders { orders, .. } => {
                    let launches = orders.iter().filter_map(|order| match order {
                        mesos_core::message::Order::Launch(launch) => Some(&launch.tasks),
                        _ => None,
                    });
                    launches.flatten().map(|(_, _, body)| Script::read(body).facts()).collect()
                }
                _ => Vec::new(),
            };
            plain(agent::Event::Message { message, facts })
        });
        arrived.collect()
    }

    fn route(output: agent::Output) -> Route {
        match output {
            agent::Output::Allocator(message) => Route::Allocator(ToAllocator::Agent(message)),
            agent::Output::Registry(message) => Route::Registry(ToRegistry::Agent(message)),
            output => Route::Host(output),
        }
    }

    fn bus_back() -> agent::Event {
        agent::Event::BusBack
    }

    fn leading(net: &Net, node: Node) -> Option<agent::Event> {
        let Node::Agent(host) = node else { return None };
        let rows = net.disks.get(&node).into_iter().flat_map(|disk| disk.rows.values());
        let facts = rows.filter_map(|row| match row {
            Row::Executor(row) => {
                let facts = row.tasks.iter().map(|task| Script::read(&task.body).facts()).collect();
                Some((row.launch.clone(), facts))
            }
            _ => None,
        });
        Some(agent::Event::Recovered { containers: net.containers_found(host), facts: facts.collect() })
    }

    fn host(event: agent::Event) -> Option<agent::Event> {
        Some(event)
    }

    fn check(machine: &Agent) -> Result<(), String> {
        machine.check()
    }
}

const BATCH_MAX: usize = 512;
/// After how many missed beats a leader takes itself for deaf.
const BEATS_MISSED_MAX: u32 = 3;

type EventOf<K> = <<K as Kind>::Machine as Machine>::Event;
type OutputOf<K> = <<K as Kind>::Machine as Machine>::Output;

/// A process with a driver.
pub struct Service<K: Kind> {
    node: Node,
    /// The real driver with the real machine.
    pub driver: Driver<K::Machine>,
    own: Follower,
    peer: Follower,
    requests: BTreeMap<RequestId, (Node, CallId)>,
    next_request: u64,
    armed: Option<u64>,
    ticks: u64,
    beats_missed: u32,
    pulsing: bool,
    kind: PhantomData<K>,
}

impl<K: Kind> Service<K> {
    /// A process that starts.
    pub fn start(net: &mut Net, node: Node, make: impl Fn() -> K::Machine + Send + 'static) -> Service<K> {
        let config =
            Config { service: K::NAME, peer: K::PEER, lease: K::LEASE, batch_max: BATCH_MAX, seed: net.rng.uuid() };
        let mut service = Service {
            node,
            driver: Driver::new(config, make),
            own: Follower::default(),
            peer: Follower::default(),
            requests: BTreeMap::new(),
            next_request: 0,
            armed: None,
            ticks: 0,
            beats_missed: 0,
            pulsing: false,
            kind: PhantomData,
        };
        service.handle(net, Input::Tick);
        service.arm(net);
        service
    }

    /// Does one piece of work.
    pub fn work(&mut self, net: &mut Net, work: Work) {
        match work {
            Work::Tick(number) if number == self.ticks => {
                self.armed = None;
                self.handle(net, Input::Tick);
            }
            Work::Tick(_) => {}
            Work::Bus(message) => self.message(net, &message),
            Work::Store(answer) => self.stored(net, answer),
            Work::BusBack => self.handle(net, Input::Events(vec![K::bus_back()])),
            Work::Pulse => self.pulse(net),
            Work::Poll { peer, generation } => self.poll(net, peer, generation),
            Work::Container(event) => {
                if let Some(event) = K::host(event) {
                    self.handle(net, Input::Events(vec![event]));
                }
            }
            _ => {}
        }
        self.arm(net);
    }

    /// Asks it to hand over and end.
    pub fn stop(&mut self, net: &mut Net) {
        self.handle(net, Input::Stop);
    }

    fn arm(&mut self, net: &mut Net) {
        let Some(deadline) = self.driver.deadline() else { return };
        let delay = deadline.0.saturating_sub(net.clock(self.node).0);
        // A machine that is overdue while it waits for its commit is not asked more than once a millisecond.
        let at = net.now + delay;
        if self.armed.is_some_and(|armed| armed <= at && armed >= net.now) {
            return;
        }
        self.ticks += 1;
        self.armed = Some(at);
        net.give(self.node, delay.max(1), Work::Tick(self.ticks));
    }

    fn handle(&mut self, net: &mut Net, input: Input<EventOf<K>>) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let mut outputs = Vec::new();
            for input in std::mem::take(&mut inputs) {
                self.driver.handle(net.clock(self.node), input, &mut outputs);
            }
            for output in outputs {
                self.act(net, output, &mut inputs);
            }
        }
    }

    fn act(&mut self, net: &mut Net, output: Output<OutputOf<K>>, inputs: &mut Vec<Input<EventOf<K>>>) {
        match output {
            Output::Load => net.ask(self.node, K::NAME, StoreAsk::Load { peer: false }),
            Output::LoadPeer => self.ask_peer(net, StoreAsk::Load { peer: true }),
            Output::LoadCold(keys) => net.ask(self.node, K::NAME, StoreAsk::Cold(keys)),
            Output::Follow { after } => {
                self.own.start(after);
                self.read(net, false);
            }
            Output::FollowPeer { after } => {
                self.peer.start(after);
                self.read(net, true);
            }
            Output::Acquire { leader, previous, epoch_min } => {
                net.ask(self.node, K::NAME, StoreAsk::Acquire { leader, previous, epoch_min });
            }
            Output::Leading(term) => self.lead(net, term, inputs),
            Output::Following(why) => self.stop_leading(net, &why),
            Output::Commit { lease, batch, changes, peer_cursor } => {
                let commit = Commit { lease, batch, changes, peer_cursor, length: K::LEASE };
                net.ask(self.node, K::NAME, StoreAsk::Commit(batch, commit));
            }
            Output::Announce(entry) => {
                if K::PEER.is_some() {
                    net.publish(self.node, Subject::Changes(K::NAME), Payload::Entry(K::NAME, entry), None);
                }
            }
            Output::Do(outputs) => self.route(net, outputs, inputs),
            Output::Release(lease) => net.ask(self.node, K::NAME, StoreAsk::Release(lease)),
            // Standbys of the simulation are compared with the store by its own invariants.
            Output::Audit => inputs.push(Input::Audited(Err(Failure::Unavailable("not simulated".to_owned())))),
            Output::Diverged { .. } => {}
            Output::Stopped => net.trace(3, || format!("{} stopped", self.node)),
        }
    }

    // Terms.

    fn lead(&mut self, net: &mut Net, term: Term, inputs: &mut Vec<Input<EventOf<K>>>) {
        net.trace(4, || format!("{} leads in epoch {} as {}", self.node, term.epoch, &term.leader_text()[..8]));
        net.leading.insert(self.node, term);
        self.beats_missed = 0;
        if K::PEER.is_some() && !self.pulsing {
            self.pulsing = true;
            net.give(self.node, 1000, Work::Pulse);
        }
        if let Some(event) = K::leading(net, self.node) {
            inputs.push(Input::Events(vec![event]));
        }
    }

    fn stop_leading(&mut self, net: &mut Net, why: &str) {
        net.trace(5, || format!("{} no longer leads: {why}", self.node));
        net.leading.remove(&self.node);
        for (_, (node, call)) in std::mem::take(&mut self.requests) {
            let answer = Answer::other_leader();
            net.publish(self.node, Subject::Inbox(node), Payload::Answer(call, answer), None);
        }
    }

    fn pulse(&mut self, net: &mut Net) {
        net.give(self.node, 1000, Work::Pulse);
        if self.driver.leading().is_none() {
            return;
        }
        self.beats_missed += 1;
        if self.beats_missed == BEATS_MISSED_MAX + 1
            && let Some(event) = K::deaf(true)
        {
            net.trace(6, || format!("{} is deaf", self.node));
            self.handle(net, Input::Events(vec![event]));
        }
        net.publish(self.node, Subject::Inbox(self.node), Payload::Beat, None);
    }

    // The bus.

    fn message(&mut self, net: &mut Net, message: &Message) {
        match &*message.payload {
            Payload::Entry(name, entry) => {
                for peer in [false, true] {
                    let wanted = if peer { K::PEER == Some(*name) } else { *name == K::NAME };
                    if wanted {
                        let mut followed = Vec::new();
                        let follower = if peer { &mut self.peer } else { &mut self.own };
                        let again = follower.announced(net.now, entry.clone(), &mut followed);
                        self.follow(net, peer, followed, again);
                    }
                }
            }
            Payload::Beat => {
                if std::mem::take(&mut self.beats_missed) > BEATS_MISSED_MAX
                    && let Some(event) = K::deaf(false)
                {
                    self.handle(net, Input::Events(vec![event]));
                }
            }
            payload => self.arrived(net, payload, &message.reply),
        }
    }

    fn arrived(&mut self, net: &mut Net, payload: &Payload, reply: &Option<(Node, CallId)>) {
        if self.driver.leading().is_none() {
            if let Some((node, call)) = reply {
                let answer = Answer::other_leader();
                net.publish(self.node, Subject::Inbox(*node), Payload::Answer(call.clone(), answer), None);
            }
            return;
        }
        net.seen.message(net.now, payload, &net.disks);
        let mut ready = Vec::new();
        for arrived in K::events(payload, &mut self.next_request) {
            if let (true, Some(reply)) = (arrived.answered, reply) {
                self.requests.insert(RequestId(self.next_request), reply.clone());
            }
            if arrived.after_peer > self.driver.peer_applied() {
                self.handle(net, Input::AfterPeer { seq: arrived.after_peer, event: arrived.event });
            } else {
                ready.push(arrived.event);
            }
        }
        if !ready.is_empty() {
            self.handle(net, Input::Events(ready));
        }
    }

    fn route(&mut self, net: &mut Net, outputs: Vec<OutputOf<K>>, inputs: &mut Vec<Input<EventOf<K>>>) {
        let mut streams: BTreeMap<GatewayId, Vec<ToStream>> = BTreeMap::new();
        let mut agents: BTreeMap<Subject, Vec<ToAgent>> = BTreeMap::new();
        let mut everyone = Vec::new();
        let (mut allocator, mut registry) = (Vec::new(), Vec::new());
        for output in outputs {
            match K::route(output) {
                Route::Reply(request, answer) => {
                    if let Some((node, call)) = self.requests.remove(&request) {
                        net.publish(self.node, Subject::Inbox(node), Payload::Answer(call, answer), None);
                    }
                }
                Route::Gateway(gateway, event) => streams.entry(gateway).or_default().push(event),
                Route::Agent(subject, message) => agents.entry(subject).or_default().push(message),
                Route::AllAgents(message) => everyone.push(message),
                Route::RaiseEpoch(epoch) => inputs.push(Input::RaiseEpoch(epoch)),
                Route::CatchUp(token) => self.ask_peer(net, StoreAsk::Head(token)),
                Route::Nothing => {}
                Route::Allocator(message) => allocator.push(message),
                Route::Registry(message) => registry.push(message),
                Route::Host(output) => self.host(net, output),
            }
        }
        if !everyone.is_empty() {
            net.publish(self.node, Subject::Agents, Payload::Agent(everyone), None);
        }
        for (subject, messages) in agents {
            net.publish(self.node, subject, Payload::Agent(messages), None);
        }
        for (gateway, events) in streams {
            if matches!(self.node, Node::Allocator(_)) {
                net.seen.i3_offers_need_a_handshake(&events);
            }
            net.publish(self.node, Subject::Gateway(gateway), Payload::Streams(events), None);
        }
        if !allocator.is_empty() {
            net.publish(self.node, Subject::Service(service::ALLOCATOR), Payload::Allocator(allocator), None);
        }
        if !registry.is_empty() {
            net.publish(self.node, Subject::Service(service::REGISTRY), Payload::Registry(registry), None);
        }
    }

    fn host(&mut self, net: &mut Net, output: agent::Output) {
        let Node::Agent(host) = self.node else { return };
        match output {
            agent::Output::Launch(order) => net.container_launch(host, &order),
            agent::Output::Wait { container } => net.container_wait(host, &container),
            agent::Output::Kill { container, grace_ms } => net.container_kill(host, &container, grace_ms),
            agent::Output::Destroy { container } => net.container_destroy(host, &container),
            agent::Output::Check { container } => {
                net.give(self.node, 1, Work::Container(agent::Event::Checked { container, outcome: Ok(()) }));
            }
            agent::Output::Admitted { agent } => {
                net.trace(7, || format!("{} is {agent}", self.node));
                net.agent_ids.insert(self.node, agent);
            }
            agent::Output::Refused { reason } => {
                if net.seen.is_gone(self.node) {
                    net.after(1, Happening::Retire(self.node));
                } else {
                    net.seen.refused(self.node, &reason);
                }
            }
            agent::Output::Volumes { made, removed } => net.volumes_change(host, &made, &removed),
            _ => {}
        }
    }

    // The store.

    fn ask_peer(&mut self, net: &mut Net, ask: StoreAsk) {
        if let Some(peer) = K::PEER {
            net.ask(self.node, peer, ask);
        }
    }

    fn read(&mut self, net: &mut Net, peer: bool) {
        let follower = if peer { &self.peer } else { &self.own };
        let (generation, after) = (follower.generation, follower.last);
        let service = if peer { K::PEER.unwrap_or(K::NAME) } else { K::NAME };
        // An agent is alone with its checkpoint.
        if K::PEER.is_some() {
            net.ask(self.node, service, StoreAsk::Read { peer, generation, after });
            net.give(self.node, SILENCE, Work::Poll { peer, generation });
        }
    }

    fn poll(&mut self, net: &mut Net, peer: bool, generation: u64) {
        let now = net.now;
        let follower = if peer { &mut self.peer } else { &mut self.own };
        if follower.generation != generation || !follower.is_active() {
            return;
        }
        let after = follower.last;
        if follower.wants_to_read(now) {
            let service = if peer { K::PEER.unwrap_or(K::NAME) } else { K::NAME };
            net.ask(self.node, service, StoreAsk::Read { peer, generation, after });
        }
        net.give(self.node, SILENCE, Work::Poll { peer, generation });
    }

    fn follow(&mut self, net: &mut Net, peer: bool, followed: Vec<Followed>, again: bool) {
        for followed in followed {
            let input = match (followed, peer) {
                (Followed::Entry(entry), false) => Input::Entry(entry),
                (Followed::Entry(entry), true) => Input::PeerEntry(entry),
                (Followed::Gap, false) => Input::Gap,
                (Followed::Gap, true) => Input::PeerGap,
            };
            self.handle(net, input);
        }
        let follower = if peer { &self.peer } else { &self.own };
        if again && follower.is_active() {
            let (generation, after) = (follower.generation, follower.last);
            let service = if peer { K::PEER.unwrap_or(K::NAME) } else { K::NAME };
            net.ask(self.node, service, StoreAsk::Read { peer, generation, after });
        }
    }

    fn stored(&mut self, net: &mut Net, answer: StoreAnswer) {
        match answer {
            StoreAnswer::Loaded(false, loaded) => {
                if let (Node::Agent(_), Ok(snapshot)) = (self.node, &loaded) {
                    self.listen(net, &snapshot.rows);
                }
                self.handle(net, Input::Loaded(loaded));
            }
            StoreAnswer::Loaded(true, loaded) => self.handle(net, Input::PeerLoaded(loaded)),
            StoreAnswer::Cold(loaded) => self.handle(net, Input::ColdLoaded(loaded)),
            StoreAnswer::Acquired(granted) => self.handle(net, Input::Acquired(granted)),
            StoreAnswer::Committed(batch, done) => self.handle(net, Input::Committed { batch, done }),
            StoreAnswer::Read { peer, generation, entries } => {
                let follower = if peer { &mut self.peer } else { &mut self.own };
                if follower.generation == generation {
                    let mut followed = Vec::new();
                    let again = follower.read(net.now, entries, &mut followed);
                    self.follow(net, peer, followed, again);
                }
            }
            StoreAnswer::Head(0, _) => {}
            StoreAnswer::Head(token, None) => self.ask_peer(net, StoreAsk::Head(token)),
            StoreAnswer::Head(token, Some((seq, term))) => {
                if let Some(event) = K::peer_term(term) {
                    self.handle(net, Input::Events(vec![event]));
                }
                if let Some(event) = K::caught_up(token) {
                    // One commit beyond the head shows that the peer's history goes on from there.
                    self.handle(net, Input::AfterPeer { seq: seq + 1, event });
                }
            }
        }
    }

    /// An agent listens under what its checkpoint says it is.
    fn listen(&mut self, net: &mut Net, rows: &[mesos_core::row::RowChange]) {
        for row in rows {
            if let mesos_core::row::RowChange::Put(Row::AgentSelf(row)) = row {
                // One that has left is nobody yet.
                if row.instance != 0 {
                    net.instances.insert(self.node, row.instance);
                }
                if let Some(id) = &row.id {
                    let id: AgentId = id.clone();
                    net.agent_ids.insert(self.node, id);
                }
            }
        }
    }

    /// Whether what must hold for its machine does.
    ///
    /// # Errors
    /// Says what does not.
    pub fn check(&self) -> Result<(), String> {
        K::check(self.driver.machine()).map_err(|error| format!("{}: {error}", self.node))
    }
}

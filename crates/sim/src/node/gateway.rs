//! What a gateway owes the protocol: streams, SUBSCRIBED before events, calls that are held and repeated.

use std::collections::{BTreeMap, BTreeSet};

use mesos_core::{
    message::{Answer, AnswerBody, Call, RegistryCall, StreamEvent, ToAllocator, ToRegistry, ToStream},
    row::service,
};
use mesos_model::{
    CallId, FrameworkId, GatewayId, OfferId, Term,
    planted::{Bug, is_planted},
};

use super::{
    follower::{Followed, Follower, SILENCE},
    http::{Passed, ToFramework, ToGateway, Wire},
};
use crate::net::{Message, Net, Node, Payload, StoreAnswer, StoreAsk, Subject, Work};

/// How long a call of a framework is held and repeated.
const HELD_FOR: u64 = 5000;
const REPORT: u64 = 2000;
const HEARTBEAT: u64 = 5000;

struct Stream {
    peer: (Node, u64),
    framework: Option<FrameworkId>,
    held: Vec<StreamEvent>,
    delivered: BTreeSet<OfferId>,
}

/// Who waits for a call's answer.
#[derive(Clone, Debug)]
enum Waiting {
    /// A framework that subscribes by this stream.
    Stream(u128),
    /// A framework's request.
    Request((Node, u64)),
    /// Nobody.
    Nobody,
}

struct Pending {
    subject: Subject,
    payload: Passed,
    waiting: Waiting,
    until: u64,
    again_at: u64,
}

/// A gateway.
pub struct Gateway {
    node: Node,
    id: GatewayId,
    streams: BTreeMap<u128, Stream>,
    pending: BTreeMap<CallId, Pending>,
    /// Streams whose framework was told that SUBSCRIBE failed.
    abandoned: BTreeMap<CallId, u128>,
    calls: u64,
    wires: BTreeMap<Node, Wire>,
    registry: Follower,
    allocator: Follower,
    registry_term: Term,
    deposed: BTreeSet<u128>,
    allocator_term: Term,
    term: Term,
    report_at: u64,
    heartbeat_at: u64,
}

const HEAD_REGISTRY: u64 = 1;
const HEAD_ALLOCATOR: u64 = 2;

impl Gateway {
    /// A gateway that starts.
    pub fn start(net: &mut Net, node: Node) -> Gateway {
        let id = GatewayId::from(format!("{node}-{}", net.incarnation(node)));
        net.gateways.insert(node, id.clone());
        net.give(node, 20, Work::Tick(0));
        net.ask(node, service::REGISTRY, StoreAsk::Head(HEAD_REGISTRY));
        net.ask(node, service::ALLOCATOR, StoreAsk::Head(HEAD_ALLOCATOR));
        Gateway {
            node,
            id,
            streams: BTreeMap::new(),
            pending: BTreeMap::new(),
            abandoned: BTreeMap::new(),
            calls: 0,
            wires: BTreeMap::new(),
            registry: Follower::default(),
            allocator: Follower::default(),
            registry_term: Term::default(),
            deposed: BTreeSet::new(),
            allocator_term: Term::default(),
            term: Term::default(),
            report_at: 0,
            heartbeat_at: 0,
        }
    }

    /// Does one piece of work.
    pub fn work(&mut self, net: &mut Net, work: Work) {
        match work {
            Work::Tick(_) => self.tick(net),
            Work::Bus(message) => self.message(net, &message),
            Work::NoResponders(call) => self.again_soon(net, &call),
            Work::Store(answer) => self.stored(net, answer),
            Work::BusBack => {
                self.report(net);
                for pending in self.pending.values_mut() {
                    pending.again_at = 0;
                }
            }
            Work::Poll { peer, generation } => self.poll(net, peer, generation),
            Work::ToGateway(what) => self.asked(net, what),
            _ => {}
        }
    }

    fn tick(&mut self, net: &mut Net) {
        net.give(self.node, 100, Work::Tick(0));
        if net.now >= self.report_at {
            self.report(net);
        }
        if net.now >= self.heartbeat_at {
            self.heartbeat_at = net.now + HEARTBEAT;
            let peers: Vec<_> = self.streams.values().filter(|s| s.framework.is_some()).map(|s| s.peer).collect();
            for (framework, connection) in peers {
                self.tell(net, framework, ToFramework::Heartbeat(connection));
            }
        }
        let due: Vec<CallId> =
            self.pending.iter().filter(|(_, pending)| pending.again_at <= net.now).map(|(id, _)| id.clone()).collect();
        for id in due {
            if self.pending.get(&id).is_some_and(|pending| pending.until <= net.now) {
                self.give_up(net, &id);
            } else {
                self.send(net, &id);
            }
        }
    }

    // Calls.

    fn call(&mut self, net: &mut Net, payload: Passed, waiting: Waiting, held_for: u64) {
        self.calls += 1;
        let id = CallId::from(format!("{}-{}", self.id, self.calls));
        let name = match &payload {
            Passed::Allocator(_) => service::ALLOCATOR,
            Passed::Registry(_) => service::REGISTRY,
        };
        net.seen.called(net.now, &id, &payload);
        let pending =
            Pending { subject: Subject::Service(name), payload, waiting, until: net.now + held_for, again_at: 0 };
        self.pending.insert(id.clone(), pending);
        self.send(net, &id);
    }

    fn send(&mut self, net: &mut Net, id: &CallId) {
        let (allocator, registry) =
            ((self.allocator.last, self.allocator.term()), (self.registry.last, self.registry.term()));
        let Some(pending) = self.pending.get_mut(id) else { return };
        pending.again_at = net.now + 1000;
        let (call, gateway) = (id.clone(), self.id.clone());
        let payload = match pending.payload.clone() {
            Passed::Allocator(what) => {
                let call =
                    Call { call, gateway, principal: None, trace: None, peer_seq: registry.0, term: allocator.1, what };
                Payload::Allocator(vec![ToAllocator::Call(call)])
            }
            Passed::Registry(what) => {
                let call =
                    Call { call, gateway, principal: None, trace: None, peer_seq: allocator.0, term: registry.1, what };
                Payload::Registry(vec![ToRegistry::Call(call)])
            }
        };
        net.publish(self.node, pending.subject.clone(), payload, Some(id.clone()));
    }

    fn again_soon(&mut self, net: &Net, id: &CallId) {
        if let Some(pending) = self.pending.get_mut(id) {
            pending.again_at = net.now + 200;
        }
    }

    fn give_up(&mut self, net: &mut Net, id: &CallId) {
        let Some(pending) = self.pending.remove(id) else { return };
        match pending.waiting {
            Waiting::Request((framework, request)) => self.tell(net, framework, ToFramework::Answered(request, 503)),
            Waiting::Stream(stream) => {
                self.abandoned.insert(id.clone(), stream);
                if let Some(stream) = self.streams.remove(&stream) {
                    self.tell(net, stream.peer.0, ToFramework::Ended(stream.peer.1, 503));
                }
            }
            Waiting::Nobody => {}
        }
    }

    fn answered(&mut self, net: &mut Net, id: &CallId, answer: &Answer) {
        if answer.status == 503 {
            return self.again_soon(net, id);
        }
        if let AnswerBody::Taken { number } = answer.body {
            if let Some(Passed::Registry(RegistryCall::Subscribe { over, .. })) =
                self.pending.get_mut(id).map(|pending| &mut pending.payload)
            {
                *over = Some(number);
                self.send(net, id);
            }
            return;
        }
        let Some(pending) = self.pending.remove(id) else { return self.answered_late(net, answer, id) };
        match pending.waiting {
            Waiting::Request((framework, request)) => {
                self.tell(net, framework, ToFramework::Answered(request, answer.status));
            }
            Waiting::Stream(stream) => self.subscribed(net, stream, answer),
            Waiting::Nobody => {}
        }
    }

    /// A SUBSCRIBE that nobody waits for any more was taken after all.
    fn answered_late(&mut self, net: &mut Net, answer: &Answer, id: &CallId) {
        if let (Some(stream), AnswerBody::Subscribed { framework, .. }) = (self.abandoned.remove(id), &answer.body) {
            self.close(net, framework.clone(), stream);
        }
    }

    fn close(&mut self, net: &mut Net, framework: FrameworkId, stream: u128) {
        net.seen.closed(net.now, stream);
        let closed = RegistryCall::Closed { framework, stream };
        self.call(net, Passed::Registry(closed), Waiting::Nobody, 30_000);
    }

    fn subscribed(&mut self, net: &mut Net, id: u128, answer: &Answer) {
        let AnswerBody::Subscribed { framework, .. } = &answer.body else {
            if let Some(stream) = self.streams.remove(&id) {
                let status = if matches!(answer.body, AnswerBody::Refused { .. }) { 200 } else { answer.status };
                self.tell(net, stream.peer.0, ToFramework::Ended(stream.peer.1, status));
            }
            return;
        };
        let Some(stream) = self.streams.get_mut(&id) else {
            return self.close(net, framework.clone(), id);
        };
        stream.framework = Some(framework.clone());
        let (peer, connection) = stream.peer;
        let held = std::mem::take(&mut stream.held);
        let told = ToFramework::Subscribed { connection, framework: framework.clone(), stream: id };
        self.tell(net, peer, told);
        for event in held {
            self.event(net, id, event);
        }
    }

    // Streams.

    fn report(&mut self, net: &mut Net) {
        self.report_at = net.now + REPORT;
        let held: Vec<(FrameworkId, u128)> =
            self.streams.iter().filter_map(|(id, stream)| Some((stream.framework.clone()?, *id))).collect();
        self.call(net, Passed::Registry(RegistryCall::Streams(held)), Waiting::Nobody, 1000);
    }

    fn event(&mut self, net: &mut Net, id: u128, event: StreamEvent) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.framework.is_none() && !is_planted(Bug::EventsBeforeSubscribed) {
            stream.held.push(event);
            return;
        }
        match &event {
            StreamEvent::Offers(offers) => stream.delivered.extend(offers.iter().map(|offer| offer.id.clone())),
            StreamEvent::Rescind(offer) => {
                stream.delivered.remove(offer);
            }
            _ => {}
        }
        let (peer, connection) = stream.peer;
        let ends = matches!(event, StreamEvent::Error(_));
        self.tell(net, peer, ToFramework::Event(connection, event));
        if ends {
            self.streams.remove(&id);
            self.tell(net, peer, ToFramework::Ended(connection, 200));
        }
    }

    fn tell(&mut self, net: &mut Net, framework: Node, what: ToFramework) {
        let delay = self.wires.entry(framework).or_default().delay(net);
        if net.is_up(framework) {
            net.give(framework, delay, Work::ToFramework(what));
        }
    }

    fn asked(&mut self, net: &mut Net, what: ToGateway) {
        match what {
            ToGateway::Subscribe { from, framework, info, suppressed } => {
                let id = net.rng.uuid();
                let stream = Stream { peer: from, framework: None, held: Vec::new(), delivered: BTreeSet::new() };
                self.streams.insert(id, stream);
                let body = bytes::Bytes::new();
                let call = RegistryCall::Subscribe {
                    framework,
                    info,
                    invalid: None,
                    body,
                    suppressed,
                    stream: id,
                    over: None,
                };
                self.call(net, Passed::Registry(call), Waiting::Stream(id), HELD_FOR);
            }
            ToGateway::Call { from, call } => self.call(net, call, Waiting::Request(from), HELD_FOR),
            ToGateway::PeerClosed { from, up_to } => {
                let closed: Vec<u128> = self
                    .streams
                    .iter()
                    .filter(|(_, stream)| stream.peer.0 == from && stream.peer.1 <= up_to)
                    .map(|(id, _)| *id)
                    .collect();
                for id in closed {
                    let Some(stream) = self.streams.remove(&id) else { continue };
                    if let Some(framework) = stream.framework {
                        self.close(net, framework, id);
                    }
                }
            }
        }
    }

    // The bus and the store.

    fn message(&mut self, net: &mut Net, message: &Message) {
        match &*message.payload {
            Payload::Answer(call, answer) => self.answered(net, call, answer),
            Payload::Streams(events) => {
                let heard = |event: &&ToStream| !self.deposed.contains(&event.leader);
                let events: Vec<&ToStream> = events.iter().filter(heard).collect();
                let confirmed: Vec<OfferId> = events.iter().filter_map(|event| self.confirmed(event)).collect();
                if !confirmed.is_empty() {
                    let subject = Subject::Service(service::ALLOCATOR);
                    let payload = Payload::Allocator(vec![ToAllocator::Delivered(confirmed)]);
                    net.publish(self.node, subject, payload, None);
                }
                for ToStream { stream, event, .. } in events {
                    self.event(net, *stream, event.clone());
                }
            }
            Payload::Entry(name, entry) => {
                let peer = *name == service::ALLOCATOR;
                let mut followed = Vec::new();
                let follower = if peer { &mut self.allocator } else { &mut self.registry };
                let again = follower.announced(net.now, entry.clone(), &mut followed);
                self.followed(net, peer, followed, again);
            }
            _ => {}
        }
    }

    /// What the allocator is told about an event that has arrived.
    fn confirmed(&self, event: &ToStream) -> Option<OfferId> {
        let StreamEvent::Offers(offers) = &event.event else { return None };
        self.streams.contains_key(&event.stream).then(|| offers.first().map(|offer| offer.id.clone())).flatten()
    }

    fn depose(&mut self, allocator: bool, term: Term) {
        let known = if allocator { &mut self.allocator_term } else { &mut self.registry_term };
        let before = std::mem::replace(known, term);
        if before.leader != 0 {
            self.deposed.insert(before.leader);
        }
        // A stream is read again from before: whoever leads in the end leads.
        self.deposed.remove(&term.leader);
    }

    fn followed(&mut self, net: &mut Net, allocator: bool, followed: Vec<Followed>, again: bool) {
        for followed in followed {
            match followed {
                Followed::Entry(entry) if allocator => {
                    if entry.term != self.allocator_term {
                        self.depose(true, entry.term);
                        net.ask(self.node, service::ALLOCATOR, StoreAsk::Head(HEAD_ALLOCATOR));
                    }
                }
                Followed::Entry(entry) => {
                    if entry.term != self.registry_term {
                        self.depose(false, entry.term);
                        self.report(net);
                    }
                }
                Followed::Gap => {
                    let (service, token) = if allocator {
                        (service::ALLOCATOR, HEAD_ALLOCATOR)
                    } else {
                        (service::REGISTRY, HEAD_REGISTRY)
                    };
                    net.ask(self.node, service, StoreAsk::Head(token));
                }
            }
        }
        let follower = if allocator { &self.allocator } else { &self.registry };
        if again && follower.is_active() {
            self.read(net, allocator);
        }
    }

    fn read(&mut self, net: &mut Net, peer: bool) {
        let follower = if peer { &self.allocator } else { &self.registry };
        let (generation, after) = (follower.generation, follower.last);
        let service = if peer { service::ALLOCATOR } else { service::REGISTRY };
        net.ask(self.node, service, StoreAsk::Read { peer, generation, after });
    }

    fn poll(&mut self, net: &mut Net, peer: bool, generation: u64) {
        let now = net.now;
        let follower = if peer { &mut self.allocator } else { &mut self.registry };
        if follower.generation != generation || !follower.is_active() {
            return;
        }
        if follower.wants_to_read(now) {
            self.read(net, peer);
        }
        net.give(self.node, SILENCE, Work::Poll { peer, generation });
    }

    fn stored(&mut self, net: &mut Net, answer: StoreAnswer) {
        match answer {
            StoreAnswer::Head(token, None) => {
                let service = if token == HEAD_ALLOCATOR { service::ALLOCATOR } else { service::REGISTRY };
                net.ask(self.node, service, StoreAsk::Head(token));
            }
            StoreAnswer::Head(HEAD_ALLOCATOR, Some((seq, term))) => {
                if term != self.term {
                    self.term = term;
                    self.rescind_others(net, term);
                }
                self.resume(net, true, seq);
            }
            StoreAnswer::Head(_, Some((seq, _))) => {
                if !self.registry.is_active() {
                    self.report(net);
                }
                self.resume(net, false, seq);
            }
            StoreAnswer::Read { peer, generation, entries } => {
                let follower = if peer { &mut self.allocator } else { &mut self.registry };
                if follower.generation == generation {
                    let mut followed = Vec::new();
                    let again = follower.read(net.now, entries, &mut followed);
                    self.followed(net, peer, followed, again);
                }
            }
            _ => {}
        }
    }

    fn resume(&mut self, net: &mut Net, peer: bool, seq: u64) {
        let follower = if peer { &mut self.allocator } else { &mut self.registry };
        if follower.is_active() {
            return;
        }
        follower.start(seq);
        let generation = follower.generation;
        self.read(net, peer);
        net.give(self.node, SILENCE, Work::Poll { peer, generation });
    }

    /// The allocator has a new term: what frameworks were offered before is not valid any more.
    fn rescind_others(&mut self, net: &mut Net, term: Term) {
        let own = term.leader_text();
        let mut rescinded = Vec::new();
        for (id, stream) in &self.streams {
            let stale = stream.delivered.iter().filter(|offer| !offer.as_str().starts_with(&own));
            rescinded.extend(stale.map(|offer| (*id, offer.clone())));
        }
        for (id, offer) in rescinded {
            self.event(net, id, StreamEvent::Rescind(offer));
        }
    }

    /// The streams that are open with SUBSCRIBED written.
    pub fn open_streams(&self) -> impl Iterator<Item = (&FrameworkId, u128)> {
        self.streams.iter().filter_map(|(id, stream)| Some((stream.framework.as_ref()?, *id)))
    }
}

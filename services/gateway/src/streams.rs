//! The event streams that this gateway holds.
//!
//! A stream is known by the id that the gateway makes before it asks the registry, so that events which
//! overtake the answer find their queue. Nothing is written before SUBSCRIBED. A stream whose peer went away
//! is told to the registry at once; all open ones every 2 s, and when the registry has a new term.
//!
//! # Layout
//! - [`queue`]: what waits for one client, and its bound.
//! - [`offers`]: which offers a stream was given and has not answered.

mod offers;
mod queue;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use mesos_core::{
    message::{RegistryCall, StreamEvent, ToAllocator, ToStream},
    row::{Capabilities, service},
};
use mesos_model::{
    FrameworkId, OfferId, Term, envelope,
    planted::{Bug, is_planted},
};
use mesos_ports::bus::{Bus, BusEvent};
use mesos_proto::v1;
use mesos_runtime::{
    listen::{Heard, Listener},
    shell::{Ports, kind},
    telemetry::StepSpan,
};
use prometheus_client::metrics::counter::Counter;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{offers::Leaders, queue::Queue};
use crate::{
    calls::{Calls, Context},
    translate::event,
    view::View,
};

/// How often the allocator is told which offers have arrived.
const CONFIRM: Duration = Duration::from_millis(250);
/// How often the registry is told which streams are open.
const REPORT: Duration = Duration::from_secs(2);

/// Bounds of what a gateway holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams.
    pub streams: usize,
    /// Events that wait for one client.
    pub events: usize,
    /// The same in bytes, about.
    pub bytes: usize,
}

/// All streams of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    inner: Arc<Inner>,
}

struct Inner {
    held: Mutex<HashMap<u128, Arc<Held>>>,
    leaders: Mutex<Leaders>,
    /// The first offer of each event that has arrived and is not confirmed to the allocator.
    confirm: Mutex<Vec<OfferId>>,
    limits: Limits,
    calls: Calls,
    view: Arc<View>,
    listening: AtomicBool,
    cut_off: AtomicU64,
    renewed: Counter,
    stop: CancellationToken,
}

/// One stream.
struct Held {
    stream: u128,
    queue: Queue,
    framework: Mutex<Option<FrameworkId>>,
    /// Ends the client's connection: one that does not read cannot be told anything.
    cut: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streams {
    /// Listens for events until `stop`.
    #[must_use]
    pub fn start(
        ports: &Ports,
        gateway: &str,
        limits: Limits,
        calls: Calls,
        view: Arc<View>,
        stop: CancellationToken,
    ) -> Streams {
        let inner = Inner {
            held: Mutex::default(),
            leaders: Mutex::default(),
            confirm: Mutex::default(),
            limits,
            calls,
            view,
            listening: AtomicBool::new(false),
            cut_off: AtomicU64::new(0),
            renewed: Counter::default(),
            stop: stop.clone(),
        };
        let streams = Streams { inner: Arc::new(inner) };
        let subject = ports.subjects.gateway(gateway);
        let (listener, reporter, ports) = (streams.clone(), streams.clone(), ports.clone());
        let (confirmer, at_end) = (streams.clone(), stop.clone());
        let to_allocator = (ports.bus.clone(), ports.subjects.service(service::ALLOCATOR));
        tokio::spawn(async move { at_end.run_until_cancelled(confirmer.confirm_arrivals(to_allocator)).await });
        let done = stop.clone();
        let bus = ports.bus.clone();
        tokio::spawn(async move { done.run_until_cancelled(listener.listen(bus, subject)).await });
        tokio::spawn(async move { stop.run_until_cancelled(reporter.report(ports)).await });
        streams
    }

    /// Streams held at present.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.inner.held).len()
    }

    /// Clients that were cut off because they did not read.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.inner.cut_off.load(Ordering::Relaxed)
    }

    /// Times that the gateway's own subscription heard nothing any more and was made anew.
    #[must_use]
    pub fn renewed(&self) -> u64 {
        self.inner.renewed.get()
    }

    /// Makes a stream for a framework that is about to subscribe. `None` if there are too many, or if events
    /// could not be heard at present. `cut` ends the client's connection.
    #[must_use]
    pub fn prepare(&self, capabilities: Capabilities, cut: CancellationToken) -> Option<Pending> {
        if !self.inner.listening.load(Ordering::Acquire) || self.inner.stop.is_cancelled() {
            return None;
        }
        let stream = Uuid::new_v4().as_u128();
        let limits = self.inner.limits;
        let held = Held { stream, queue: Queue::new(limits.events, limits.bytes), framework: Mutex::default(), cut };
        let held = Arc::new(held);
        let mut all = lock(&self.inner.held);
        if all.len() >= limits.streams {
            return None;
        }
        all.insert(stream, held.clone());
        Some(Pending { handle: Handle { streams: self.clone(), held, over: false }, capabilities })
    }

    /// The framework answered these offers; they need no RESCIND any more.
    pub fn answered(&self, stream: u128, offers: &[OfferId]) {
        if let Some(held) = self.find(stream) {
            held.queue.forget_offers(offers);
        }
        self.inner.view.offers.over(offers);
    }

    /// The allocator has a new term: what was offered before is void. Offers of the new term may have
    /// arrived before this was heard; see [`Leaders`].
    pub fn allocator_term_changed(&self) {
        let leader = lock(&self.inner.leaders).term_changed();
        if let Some(leader) = leader {
            self.inner.view.offers.all_over();
            self.rescind_of(&leader);
        }
    }

    fn rescind_of(&self, leader: &str) {
        for held in self.all() {
            for offer in held.queue.take_offers_of(leader) {
                self.push(&held, StreamEvent::Rescind(offer));
            }
            for offer in held.queue.take_inverse_offers_of(leader) {
                self.push(&held, StreamEvent::RescindInverse(offer));
            }
        }
    }

    fn find(&self, stream: u128) -> Option<Arc<Held>> {
        lock(&self.inner.held).get(&stream).cloned()
    }

    fn all(&self) -> Vec<Arc<Held>> {
        lock(&self.inner.held).values().cloned().collect()
    }

    async fn listen(self, bus: Arc<dyn Bus>, subject: String) {
        let mut listener = Listener::new(bus, subject, self.inner.renewed.clone());
        loop {
            match listener.next().await {
                Heard::Opened => self.inner.listening.store(true, Ordering::Release),
                Heard::Lost => self.inner.listening.store(false, Ordering::Release),
                Heard::Message(message) => {
                    let events: Option<Vec<ToStream>> = self.inner.view.quarantine.open(kind::STREAMS, &message);
                    if events.is_none() && is_planted(Bug::PoisonMessageEndsReading) {
                        return;
                    }
                    events.into_iter().flatten().for_each(|event| self.arrived(event));
                }
                Heard::Alive => {}
            }
        }
    }

    fn arrived(&self, ToStream { framework, stream, leader, event }: ToStream) {
        let Some(held) = self.find(stream) else { return };
        if self.inner.view.is_deposed(leader) {
            return;
        }
        if lock(&held.framework).as_ref().is_some_and(|own| *own != framework) {
            return;
        }
        let event = match event {
            StreamEvent::Offers(offers) => {
                let offers: Vec<_> = offers.into_iter().filter(|offer| self.is_of_present_leader(&offer.id)).collect();
                let Some(first) = offers.first() else { return };
                lock(&self.inner.confirm).push(first.id.clone());
                StreamEvent::Offers(offers)
            }
            StreamEvent::InverseOffers(offers) => {
                let offers: Vec<_> = offers.into_iter().filter(|offer| self.is_of_present_leader(&offer.id)).collect();
                if offers.is_empty() {
                    return;
                }
                StreamEvent::InverseOffers(offers)
            }
            event => event,
        };
        self.push(&held, event);
    }

    /// Whether an offer is of the leader that speaks; the first one of a new leader voids the old ones.
    fn is_of_present_leader(&self, offer: &OfferId) -> bool {
        let seen = lock(&self.inner.leaders).offer(offer);
        match seen {
            offers::Seen::Present => true,
            offers::Seen::Over => false,
            offers::Seen::New { before } => {
                if let Some(before) = before {
                    self.inner.view.offers.all_over();
                    self.rescind_of(&before);
                }
                true
            }
        }
    }

    fn push(&self, held: &Held, event: StreamEvent) {
        match &event {
            StreamEvent::Offers(offers) => {
                let framework = lock(&held.framework).clone().unwrap_or_default();
                self.inner.view.offers.delivered(&framework, held.stream, offers);
            }
            StreamEvent::Rescind(offer) => self.inner.view.offers.over([offer]),
            _ => {}
        }
        if !held.queue.push(event) && !held.cut.is_cancelled() {
            self.inner.cut_off.fetch_add(1, Ordering::Relaxed);
            let framework = lock(&held.framework).clone().unwrap_or_default();
            tracing::warn!(%framework, "a client does not read its events and is cut off");
            held.cut.cancel();
        }
    }

    /// Tells the allocator which offers have arrived, so that it need not take them for lost. A confirmation that
    /// is lost itself costs no more than new offers in place of these.
    async fn confirm_arrivals(self, (bus, subject): (Arc<dyn Bus>, String)) {
        let mut tick = tokio::time::interval(CONFIRM);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let arrived = std::mem::take(&mut *lock(&self.inner.confirm));
            if arrived.is_empty() {
                continue;
            }
            let Ok(payload) = envelope::seal(kind::ALLOCATOR, &vec![ToAllocator::Delivered(arrived)]) else { continue };
            if let Err(error) = bus.publish(&subject, Vec::new(), payload).await {
                tracing::debug!(%error, "offers that have arrived are not confirmed");
            }
        }
    }

    async fn report(self, ports: Ports) {
        let mut terms = self.inner.view.terms();
        let mut known = *terms.borrow_and_update();
        let mut bus = ports.bus.events();
        let mut tick = tokio::time::interval(REPORT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.report_once(),
                Some(BusEvent::Reconnected) = bus.next() => self.report_once(),
                Ok(()) = terms.changed() => {
                    let now = *terms.borrow_and_update();
                    if known.allocator != Term::default() && now.allocator != known.allocator {
                        self.allocator_term_changed();
                    }
                    if now.registry != known.registry {
                        self.report_once();
                    }
                    known = now;
                }
            }
        }
    }

    fn report_once(&self) {
        let open: Vec<(FrameworkId, u128)> =
            self.all().iter().filter_map(|held| Some((lock(&held.framework).clone()?, held.stream))).collect();
        if open.is_empty() {
            return;
        }
        let calls = self.inner.calls.clone();
        // The next report follows anyway, so nobody waits for this one.
        tokio::spawn(async move { calls.registry(RegistryCall::Streams(open), Context::default()).await });
    }
}

/// What of a stream has to be undone when it goes.
struct Handle {
    streams: Streams,
    held: Arc<Held>,
    /// The registry knows that it is over, or is not to be told.
    over: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let inner = &self.streams.inner;
        lock(&inner.held).remove(&self.held.stream);
        let framework = lock(&self.held.framework).clone();
        if let Some(framework) = &framework {
            let offers = self.held.queue.offers();
            tracing::debug!(%framework, offers = offers.len(), "a stream is over");
            inner.view.offers.over(&offers);
        }
        if let Some(framework) = framework
            && !self.over
            && !inner.stop.is_cancelled()
        {
            let (calls, stream) = (inner.calls.clone(), self.held.stream);
            tracing::info!(%framework, "a stream was closed by its peer");
            tokio::spawn(async move {
                calls.registry(RegistryCall::Closed { framework, stream }, Context::default()).await
            });
        }
    }
}

/// A stream that the registry has not confirmed.
pub struct Pending {
    handle: Handle,
    capabilities: Capabilities,
}

impl Pending {
    /// Its id.
    #[must_use]
    pub fn stream(&self) -> u128 {
        self.handle.held.stream
    }

    /// The registry confirmed it.
    #[must_use]
    pub fn confirmed(self, framework: FrameworkId, master: v1::MasterInfo) -> Subscription {
        *lock(&self.handle.held.framework) = Some(framework.clone());
        let first = VecDeque::from([event::subscribed(&framework, master), event::heartbeat()]);
        let period = Duration::from_secs(event::HEARTBEAT_SECONDS);
        let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Subscription { handle: self.handle, framework, capabilities: self.capabilities, first, heartbeat, ended: false }
    }
}

/// An open stream, from the side of its client. Dropping it closes it.
pub struct Subscription {
    handle: Handle,
    framework: FrameworkId,
    capabilities: Capabilities,
    first: VecDeque<Bytes>,
    heartbeat: tokio::time::Interval,
    ended: bool,
}

impl Subscription {
    /// Its id.
    #[must_use]
    pub fn stream(&self) -> u128 {
        self.handle.held.stream
    }

    /// Whose it is.
    #[must_use]
    pub fn framework(&self) -> &FrameworkId {
        &self.framework
    }

    /// The next event, as undecoded `scheduler.Event`; `None` when the stream is over. Losing the future
    /// loses no event.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        if self.ended {
            return None;
        }
        let held = self.handle.held.clone();
        let event = tokio::select! {
            biased;
            () = self.handle.streams.inner.stop.cancelled() => { self.ended = true; return None }
            () = held.cut.cancelled() => { self.ended = true; return None }
            event = held.queue.pop() => event,
            _ = self.heartbeat.tick() => return Some(event::heartbeat()),
        };
        if matches!(event, StreamEvent::Error(_)) {
            self.ended = true;
            self.handle.over = true;
        }
        match &event {
            StreamEvent::Offers(_) => self.learn_capabilities(),
            StreamEvent::Update { trace: Some(trace), .. } => StepSpan::start("gateway", "UPDATE", *trace).end(),
            _ => {}
        }
        Some(event::stream_event(&self.framework, &self.capabilities, &event))
    }

    /// UPDATE_FRAMEWORK may have come through another gateway; the copy knows.
    fn learn_capabilities(&mut self) {
        let stream = self.stream();
        let present = self.handle.streams.inner.view.with(|cluster| {
            let row = cluster.framework(&self.framework)?;
            let is_current = row.subscription.as_ref().is_some_and(|subscription| subscription.stream == stream);
            is_current.then_some(row.info.capabilities)
        });
        if let Some(present) = present {
            self.capabilities = present;
        }
    }
}

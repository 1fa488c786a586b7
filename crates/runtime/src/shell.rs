//! The shell around a service's machine: moves bytes between bus, store and driver, and keeps its timers.
//!
//! One task owns the driver. Decoding happens in the task that reads the bus, encoding and publishing in
//! one that writes it, commits in a task each (one at a time), so that the machine's task only decides.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use mesos_core::{
    driver::{Changes, Config, Driver, Input, Lease, Output},
    machine::Machine,
    message::{Answer, RequestId, ToAgent, ToStream},
    row::RowChange,
};
use mesos_model::{
    GatewayId, Term, envelope,
    planted::{Bug, is_planted},
    subject::{Subjects, token},
};
use mesos_ports::{
    bus::{Bus, BusEvent, Message},
    store::{Change, Store},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock::Clock,
    codec,
    follow::{Followed, follow},
    listen::{BEAT, Heard, Listener},
    quarantine::Quarantine,
    store_side::{Loaded, Part, StoreSide},
    telemetry::{ServiceMetrics, StepSpan},
};

/// Where an output of a machine goes.
#[derive(Debug)]
pub enum Route {
    /// The answer to a call.
    Reply(RequestId, Answer),
    /// An event for a stream that a gateway holds.
    Gateway(GatewayId, ToStream),
    /// A message to one agent, by the id or instance that it listens under.
    Agent(String, ToAgent),
    /// A message to all agents.
    AllAgents(ToAgent),
    /// An agent obeys a term as high as this.
    RaiseEpoch(u64),
    /// Tell the machine when the peer's stream was applied up to its present head.
    CatchUp(u64),
    /// Operators should read this in the log.
    Trouble(String),
}

/// What the shell must know about a service.
pub trait Service: Send + 'static {
    /// Its machine.
    type Machine: Machine<Event: Send, Output: Send> + Send;
    /// What its subject carries.
    type Inbound: Serialize + DeserializeOwned + Send + 'static;
    /// Its name: `allocator`, `registry`.
    const NAME: &'static str;
    /// The service whose rows it follows.
    const PEER: &'static str;
    /// The envelope's kind of a batch of `Inbound`.
    const INBOX: &'static str;

    /// The event of a message, and whether it will be answered by `request`. Also the number of the
    /// peer's commit that must be applied before.
    fn event(inbound: Self::Inbound, request: RequestId) -> Arrived<Self>;
    /// The agent that a message is of, if it is of one.
    fn speaker(inbound: &Self::Inbound) -> Option<String>;
    /// Where an output goes.
    fn route(output: <Self::Machine as Machine>::Output) -> Route;
    /// The peer's stream was applied up to the head asked for.
    fn caught_up(token: u64) -> Option<<Self::Machine as Machine>::Event>;
    /// The peer's present term, as its record in the store names it; told before `caught_up`.
    fn peer_term(term: Term) -> Option<<Self::Machine as Machine>::Event>;
    /// The bus is back.
    fn bus_back() -> <Self::Machine as Machine>::Event;
    /// The service's own beat does not come back over the bus, or does again.
    fn deaf(deaf: bool) -> Option<<Self::Machine as Machine>::Event>;
    /// Sets gauges from the machine's state; called about once a second.
    fn observe(machine: &Self::Machine, metrics: &ServiceMetrics);
}

/// A message, ready for the machine.
pub struct Arrived<S: Service + ?Sized> {
    /// The event.
    pub event: <S::Machine as Machine>::Event,
    /// Whether it will be answered.
    pub answered: bool,
    /// Number of the peer's commit that must have been applied before; 0 for none.
    pub after_peer: u64,
}

/// The doors and settings of a service.
#[derive(Clone)]
pub struct Ports {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The cluster's names on the bus.
    pub subjects: Subjects,
}

/// What can be chosen about the shell.
#[derive(Clone, Copy, Debug)]
pub struct ShellOptions {
    /// How long a lease runs without renewal.
    pub lease: Duration,
}

impl Default for ShellOptions {
    fn default() -> Self {
        ShellOptions { lease: Duration::from_millis(1_800) }
    }
}

const BATCH_MAX: usize = 512;
const INBOX_MAX: usize = 4096;
/// Parts of a load that may wait for the machine. The store is read as fast as the machine takes rows.
const PARTS_MAX: usize = 2;
/// Events that may wait for the store, or for the peer, until no more are taken in.
const WAITING_MAX: usize = 16_384;
/// After how many beats that did not come back a leader takes itself for deaf.
const BEATS_MISSED_MAX: u32 = 3;
/// How long the end may wait for store and bus.
const FAREWELL_MAX: Duration = Duration::from_secs(3);
/// Entries of the peer's change stream that are kept for gateways and standbys that lag. Under load an entry
/// is a batch of hundreds of rows; who lags further loads the rows.
const KEPT_ENTRIES: u64 = 256;

enum Work<S: Service> {
    Input(Input<<S::Machine as Machine>::Event>),
    Message { message: Message, batch: Vec<S::Inbound> },
    Head { token: u64, seq: u64, term: Option<Term> },
    Encoded(Vec<Change>),
    Beat,
    Pulse,
}

/// Runs a service until it is cancelled; hands over before it returns.
pub async fn serve<S: Service>(
    ports: Ports,
    options: ShellOptions,
    metrics: ServiceMetrics,
    make: impl Fn() -> S::Machine + Send + 'static,
    cancel: CancellationToken,
) {
    let config = Config {
        service: S::NAME,
        peer: Some(S::PEER),
        lease: options.lease,
        batch_max: BATCH_MAX,
        seed: Uuid::new_v4().as_u128(),
    };
    let (inputs, mut results) = mpsc::unbounded_channel();
    let (calls, mut inbox) = mpsc::channel(INBOX_MAX);
    let (parts, mut loads) = mpsc::channel(PARTS_MAX);
    let (outbox, sending) = outbox(ports.bus.clone());
    let bus = ports.bus.clone();
    let mut shell = Shell::<S> {
        driver: Driver::new(config, make),
        clock: Clock::default(),
        outbox,
        releasing: None,
        ports,
        options,
        metrics,
        inputs,
        calls,
        parts,
        following: BTreeMap::new(),
        leading: None,
        requests: HashMap::new(),
        batches: HashMap::new(),
        next: 0,
        encoded: Vec::new(),
        spans: Vec::new(),
        committing: Vec::new(),
        commit_started: None,
        peer_committing: 0,
        peer_committed: 0,
        peer_trimmed: 0,
        beats_missed: 0,
        stopped: false,
    };
    shell.watch_bus();
    shell.handle(Input::Tick);
    while !shell.stopped {
        let deadline = shell.driver.deadline().map(|time| shell.clock.instant(time));
        let work = tokio::select! {
            biased;
            () = cancel.cancelled(), if !shell.is_stopping() => { shell.handle(Input::Stop); continue }
            Some(work) = results.recv() => work,
            Some(part) = loads.recv() => { shell.loaded(part); continue }
            Some(work) = inbox.recv(), if shell.has_room() => work,
            () = crate::clock::sleep_until(deadline) => Work::Input(Input::Tick),
        };
        shell.work(work, &mut inbox);
    }
    let releasing = shell.releasing.take();
    drop(shell);
    // The lease is given back and the last answers are out before the process may end.
    let farewell = async {
        if let Some(releasing) = releasing {
            let _ = releasing.await;
        }
        let _ = sending.await;
        let _ = bus.flush().await;
    };
    if tokio::time::timeout(FAREWELL_MAX, farewell).await.is_err() {
        tracing::warn!(service = S::NAME, "stopped without having said all: store or bus did not answer");
    }
}

struct Batch {
    reply: String,
    answers: Vec<Option<Answer>>,
    missing: usize,
}

struct Shell<S: Service> {
    driver: Driver<S::Machine>,
    clock: Clock,
    ports: Ports,
    options: ShellOptions,
    metrics: ServiceMetrics,
    inputs: mpsc::UnboundedSender<Work<S>>,
    calls: mpsc::Sender<Work<S>>,
    parts: mpsc::Sender<Part>,
    outbox: mpsc::UnboundedSender<Post>,
    /// The lease on its way back.
    releasing: Option<JoinHandle<()>>,
    following: BTreeMap<&'static str, tokio::task::AbortHandle>,
    leading: Option<Vec<tokio::task::AbortHandle>>,
    requests: HashMap<RequestId, (u64, usize)>,
    batches: HashMap<u64, Batch>,
    next: u64,
    encoded: Vec<Change>,
    spans: Vec<StepSpan>,
    committing: Vec<StepSpan>,
    commit_started: Option<Instant>,
    peer_committing: u64,
    peer_committed: u64,
    peer_trimmed: u64,
    beats_missed: u32,
    stopped: bool,
}

type EventOf<S> = <<S as Service>::Machine as Machine>::Event;
type OutputOf<S> = <<S as Service>::Machine as Machine>::Output;

impl<S: Service> Shell<S> {
    /// Whether more may be taken in. If the store is silent for long, what it is told waits on the bus, within
    /// the bounds there, and not in this process's memory without any.
    fn has_room(&self) -> bool {
        self.driver.waiting() < WAITING_MAX || is_planted(Bug::InboxUnbounded)
    }

    fn is_stopping(&self) -> bool {
        self.driver.is_stopping()
    }

    /// Handles one piece of work, and every message that has arrived meanwhile as one batch.
    fn work(&mut self, work: Work<S>, inbox: &mut mpsc::Receiver<Work<S>>) {
        let mut events = Vec::new();
        let mut next = Some(work);
        while let Some(work) = next.take() {
            match work {
                Work::Message { message, batch } => self.arrived(message, batch, &mut events),
                Work::Input(input) => {
                    self.flush(&mut events);
                    self.handle(input);
                }
                Work::Head { token, seq, term } => {
                    events.extend(term.and_then(S::peer_term));
                    self.flush(&mut events);
                    if let Some(event) = S::caught_up(token) {
                        // One commit beyond the head shows that the peer's history goes on from there: a store that
                        // has just lost commits gets none until a new leader has noticed.
                        self.handle(Input::AfterPeer { seq: seq + 1, event });
                    }
                }
                Work::Encoded(changes) => self.encoded = changes,
                Work::Beat => {
                    if std::mem::take(&mut self.beats_missed) > BEATS_MISSED_MAX {
                        tracing::info!(service = S::NAME, "the bus is heard again");
                        events.extend(S::deaf(false));
                    }
                }
                Work::Pulse => self.pulse(&mut events),
            }
            if events.len() < BATCH_MAX && self.has_room() {
                next = inbox.try_recv().ok();
            }
        }
        self.flush(&mut events);
    }

    fn flush(&mut self, events: &mut Vec<EventOf<S>>) {
        if !events.is_empty() {
            self.handle(Input::Events(std::mem::take(events)));
        }
    }

    fn pulse(&mut self, events: &mut Vec<EventOf<S>>) {
        self.beats_missed += 1;
        if self.beats_missed == BEATS_MISSED_MAX + 1 {
            tracing::warn!(
                service = S::NAME,
                "nothing is heard over the bus, not even the own beat: silence proves nothing now"
            );
            events.extend(S::deaf(true));
        }
        self.trim_peer();
        let waiting = self.driver.waiting() + self.driver.waiting_for_peer();
        self.metrics.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        S::observe(self.driver.machine(), &self.metrics);
    }

    fn arrived(&mut self, message: Message, inbound: Vec<S::Inbound>, events: &mut Vec<EventOf<S>>) {
        // A call that cannot be answered before the peer is back has no better place than its client.
        let held_up = message.reply.is_some() && self.driver.waiting_for_peer() >= WAITING_MAX;
        if self.driver.leading().is_none() || held_up {
            return self.refuse(message.reply, inbound.len());
        }
        let id = self.next;
        let (mut answers, mut held_back) = (Vec::new(), Vec::new());
        for inbound in inbound {
            self.next += 1;
            let request = RequestId(self.next);
            let arrived = S::event(inbound, request);
            if let Some((trace, name)) = S::Machine::trace(&arrived.event) {
                self.spans.push(StepSpan::start(S::NAME, name, trace));
            }
            if arrived.answered && message.reply.is_some() {
                self.requests.insert(request, (id, answers.len()));
                answers.push(None);
            }
            self.metrics.events.inc();
            if arrived.after_peer > self.driver.peer_applied() {
                held_back.push(Input::AfterPeer { seq: arrived.after_peer, event: arrived.event });
            } else {
                events.push(arrived.event);
            }
        }
        if let (Some(reply), false) = (message.reply, answers.is_empty()) {
            let missing = answers.len();
            self.batches.insert(id, Batch { reply, answers, missing });
        }
        held_back.into_iter().for_each(|input| self.handle(input));
    }

    fn refuse(&self, reply: Option<String>, calls: usize) {
        if let Some(reply) = reply {
            let answers = vec![not_leading(S::NAME); calls];
            let _ = self.outbox.send(Post::Answers { reply, answers });
        }
    }

    fn handle(&mut self, input: Input<EventOf<S>>) {
        let mut outputs = Vec::new();
        self.driver.handle(self.clock.now(), input, &mut outputs);
        for output in outputs {
            self.act(output);
        }
    }

    fn act(&mut self, output: Output<OutputOf<S>>) {
        match output {
            Output::Load => {
                self.unfollow(S::NAME);
                self.load(S::NAME);
            }
            Output::LoadPeer => {
                self.metrics.peer_loads.inc();
                self.unfollow(S::PEER);
                self.load(S::PEER);
            }
            Output::LoadCold(keys) => {
                let (side, inputs) = (self.side(), self.inputs.clone());
                tokio::spawn(async move {
                    let _ = inputs.send(Work::Input(Input::ColdLoaded(side.cold(&keys).await)));
                });
            }
            Output::Follow { after } => self.follow(S::NAME, after, Input::Entry, || Input::Gap),
            Output::FollowPeer { after } => self.follow(S::PEER, after, Input::PeerEntry, || Input::PeerGap),
            Output::Acquire { leader, previous, epoch_min } => self.acquire(leader, previous, epoch_min),
            Output::Leading(term) => self.lead(term),
            Output::Following(why) => self.stop_leading(&why),
            Output::Commit { lease, batch, changes, peer_cursor } => self.commit(lease, batch, changes, peer_cursor),
            Output::Announce(entry) => self.announce(&entry),
            Output::Do(outputs) => self.route(outputs),
            Output::Audit => self.audit(),
            Output::Diverged { key, rows } => {
                self.metrics.audits_failed.inc();
                let key = key.text();
                tracing::error!(service = S::NAME, key, rows, "held other rows than the store; loading them");
            }
            Output::Release(lease) => self.release(lease),
            Output::Stopped => self.stopped = true,
        }
    }

    // The store.

    fn side(&self) -> StoreSide {
        StoreSide {
            store: self.ports.store.clone(),
            service: S::NAME,
            lease: self.options.lease,
            quarantine: self.metrics.quarantine.clone(),
        }
    }

    fn follow(
        &mut self,
        service: &'static str,
        after: u64,
        entry: fn(Changes) -> Input<EventOf<S>>,
        gap: fn() -> Input<EventOf<S>>,
    ) {
        let quarantine = self.metrics.quarantine.clone();
        let Ports { store, bus, subjects } = self.ports.clone();
        let mut stream = follow(store, bus, &subjects, service, after, quarantine.clone());
        let inputs = self.inputs.clone();
        let task = tokio::spawn(async move {
            while let Some(followed) = stream.recv().await {
                let input = match followed {
                    Followed::Entry(followed) => entry(quarantine.entry(&followed)),
                    Followed::Gap => gap(),
                };
                if inputs.send(Work::Input(input)).is_err() {
                    return;
                }
            }
        });
        self.unfollow(service);
        self.following.insert(service, task.abort_handle());
    }

    /// What a stream says while its rows are read is not kept, so what it would say after that has a gap; and a
    /// million rows take longer than it takes to commit once more.
    fn unfollow(&mut self, service: &'static str) {
        if let Some(previous) = self.following.remove(service) {
            previous.abort();
        }
    }

    fn acquire(&self, leader: u128, previous: Option<u128>, epoch_min: u64) {
        let (side, inputs) = (self.side(), self.inputs.clone());
        tokio::spawn(async move {
            let _ = inputs.send(Work::Input(Input::Acquired(side.acquire(leader, previous, epoch_min).await)));
        });
    }

    fn commit(&mut self, lease: Lease, batch: u128, changes: Arc<Vec<RowChange>>, peer_cursor: u64) {
        self.committing.append(&mut self.spans);
        self.commit_started = Some(Instant::now());
        self.peer_committing = peer_cursor;
        let (side, inputs) = (self.side(), self.inputs.clone());
        tokio::spawn(async move {
            let (encoded, done) = side.commit(lease, batch, &changes, peer_cursor).await;
            let _ = inputs.send(Work::Encoded(encoded));
            let _ = inputs.send(Work::Input(Input::Committed { batch, done }));
        });
    }

    fn load(&self, service: &'static str) {
        let (side, parts) = (self.side(), self.parts.clone());
        tokio::spawn(async move { side.load_in_parts(service, parts).await });
    }

    /// Gives the driver what a load has brought.
    fn loaded(&mut self, part: Part) {
        self.handle(match (part.service == S::NAME, part.loaded) {
            (true, Loaded::Rows(rows)) => Input::Rows(rows),
            (true, Loaded::Over(loaded)) => Input::Loaded(loaded),
            (false, Loaded::Rows(rows)) => Input::PeerRows(rows),
            (false, Loaded::Over(loaded)) => Input::PeerLoaded(loaded),
        });
    }

    fn audit(&self) {
        let (side, inputs) = (self.side(), self.inputs.clone());
        tokio::spawn(async move {
            let _ = inputs.send(Work::Input(Input::Audited(side.audit().await)));
        });
    }

    fn release(&mut self, lease: Lease) {
        let side = self.side();
        self.releasing = Some(tokio::spawn(async move { side.release(lease).await }));
    }

    /// Drops what the peer's followers will not ask for any more: all but the last entries behind what this
    /// leader has committed as applied.
    fn trim_peer(&mut self) {
        let up_to = self.peer_committed.saturating_sub(KEPT_ENTRIES);
        if up_to > self.peer_trimmed {
            self.peer_trimmed = up_to;
            let store = self.ports.store.clone();
            tokio::spawn(async move {
                if let Err(error) = store.trim(S::PEER, up_to).await {
                    tracing::debug!(service = S::PEER, %error, "the change stream was not trimmed");
                }
            });
        }
    }

    // The bus.

    fn lead(&mut self, term: Term) {
        tracing::info!(service = S::NAME, epoch = term.epoch, leader = %term.leader_text(), "leading");
        self.metrics.leading.set(1);
        self.metrics.epoch.set(i64::try_from(term.epoch).unwrap_or(i64::MAX));
        self.beats_missed = 0;
        let Ports { bus, subjects, .. } = self.ports.clone();
        let (all, own) = (subjects.inbox(S::NAME), subjects.service(S::NAME));
        let listener = Listener::of_pattern(bus, all, own, self.metrics.subscriptions_renewed.clone());
        let quarantine = self.metrics.quarantine.clone();
        let calls =
            tokio::spawn(read_inbox::<S>(listener, subjects, quarantine, self.calls.clone(), self.inputs.clone()));
        let pulse = tokio::spawn(pulse::<S>(self.inputs.clone()));
        self.leading = Some(vec![calls.abort_handle(), pulse.abort_handle()]);
    }

    fn stop_leading(&mut self, why: &str) {
        if self.is_stopping() {
            tracing::info!(service = S::NAME, why, "no longer leading");
        } else {
            if self.driver.is_stopping() {
                tracing::info!(service = S::NAME, "handing over");
            } else {
                tracing::warn!(service = S::NAME, why, "no longer leading");
            }
        }
        self.metrics.leading.set(0);
        for task in self.leading.take().into_iter().flatten() {
            task.abort();
        }
        self.requests.clear();
        self.spans.clear();
        self.committing.clear();
        for (_, batch) in self.batches.drain() {
            let answers =
                batch.answers.into_iter().map(|answer| answer.unwrap_or_else(|| not_leading(S::NAME))).collect();
            let _ = self.outbox.send(Post::Answers { reply: batch.reply, answers });
        }
    }

    fn watch_bus(&self) {
        let (mut events, inputs) = (self.ports.bus.events(), self.inputs.clone());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if event == BusEvent::Reconnected
                    && inputs.send(Work::Input(Input::Events(vec![S::bus_back()]))).is_err()
                {
                    return;
                }
            }
        });
    }

    fn announce(&mut self, entry: &Changes) {
        if let Some(started) = self.commit_started.take() {
            self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        }
        self.peer_committed = self.peer_committing;
        self.metrics.rows.inc_by(entry.changes.len() as u64);
        let changes = std::mem::take(&mut self.encoded);
        let subject = self.ports.subjects.changes(S::NAME);
        let _ = self.outbox.send(Post::Entry { subject, seq: entry.seq, term: entry.term, changes });
        self.committing.clear();
    }

    fn route(&mut self, outputs: Vec<OutputOf<S>>) {
        self.spans.clear();
        let mut streams: BTreeMap<GatewayId, Vec<ToStream>> = BTreeMap::new();
        let mut agents: BTreeMap<String, Vec<ToAgent>> = BTreeMap::new();
        let mut everyone = Vec::new();
        for output in outputs {
            match S::route(output) {
                Route::Reply(request, answer) => self.answer(request, answer),
                Route::Gateway(gateway, event) => streams.entry(gateway).or_default().push(event),
                Route::Agent(agent, message) => agents.entry(agent).or_default().push(message),
                Route::AllAgents(message) => everyone.push(message),
                Route::RaiseEpoch(epoch) => {
                    let _ = self.inputs.send(Work::Input(Input::RaiseEpoch(epoch)));
                }
                Route::CatchUp(token) => self.ask_peer_head(token),
                Route::Trouble(text) => tracing::error!(service = S::NAME, "{text}"),
            }
        }
        if !everyone.is_empty() {
            let _ = self.outbox.send(Post::Agents { subject: self.ports.subjects.agents(), messages: everyone });
        }
        for (agent, messages) in agents {
            let _ = self.outbox.send(Post::Agents { subject: self.ports.subjects.agent(&agent), messages });
        }
        for (gateway, events) in streams {
            let subject = self.ports.subjects.gateway(gateway.as_str());
            let _ = self.outbox.send(Post::Streams { subject, events });
        }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        let Some((id, at)) = self.requests.remove(&request) else { return };
        let Some(batch) = self.batches.get_mut(&id) else { return };
        if batch.answers[at].replace(answer).is_none() {
            batch.missing -= 1;
        }
        if batch.missing == 0
            && let Some(batch) = self.batches.remove(&id)
        {
            let answers = batch.answers.into_iter().flatten().collect();
            let _ = self.outbox.send(Post::Answers { reply: batch.reply, answers });
        }
    }

    fn ask_peer_head(&self, token: u64) {
        let (store, inputs) = (self.ports.store.clone(), self.inputs.clone());
        tokio::spawn(async move {
            loop {
                match store.head(S::PEER).await {
                    Ok(head) => {
                        let seq = head.map_or(0, |head| head.seq);
                        let term = head.map(|head| Term { epoch: head.epoch, leader: head.leader.as_u128() });
                        let _ = inputs.send(Work::Head { token, seq, term });
                        return;
                    }
                    Err(error) if inputs.is_closed() => {
                        tracing::debug!(%error, "stopped before the peer's head was known");
                        return;
                    }
                    Err(_) => tokio::time::sleep(BEAT).await,
                }
            }
        });
    }
}

fn not_leading(service: &str) -> Answer {
    Answer::refused(503, format!("the {service} is changing its leader; try again"))
}

async fn read_inbox<S: Service>(
    mut listener: Listener,
    subjects: Subjects,
    quarantine: Quarantine,
    calls: mpsc::Sender<Work<S>>,
    inputs: mpsc::UnboundedSender<Work<S>>,
) {
    loop {
        let sent = match listener.next().await {
            Heard::Message(message) => match quarantine.open::<Vec<S::Inbound>>(S::INBOX, &message) {
                Some(batch) if !is_own::<S>(&subjects, &message, &batch) => {
                    quarantine.message(&message.subject, &"an agent says something in the name of another");
                    true
                }
                Some(batch) => calls.send(Work::Message { message, batch }).await.is_ok(),
                None => !is_planted(Bug::PoisonMessageEndsReading),
            },
            Heard::Alive => inputs.send(Work::Beat).is_ok(),
            Heard::Opened | Heard::Lost => true,
        };
        if !sent {
            return;
        }
    }
}

/// Whether an agent speaks for itself alone: its id is in the subject, which the bus holds it to.
fn is_own<S: Service>(subjects: &Subjects, message: &Message, batch: &[S::Inbound]) -> bool {
    let Some(speaker) = subjects.speaker(S::NAME, &message.subject) else { return true };
    let own = |inbound: &S::Inbound| S::speaker(inbound).is_some_and(|named| token(&named) == speaker);
    batch.iter().all(own) || is_planted(Bug::AgentSpeaksForAnother)
}

async fn pulse<S: Service>(inputs: mpsc::UnboundedSender<Work<S>>) {
    let mut pulse = tokio::time::interval(BEAT);
    loop {
        pulse.tick().await;
        if inputs.send(Work::Pulse).is_err() {
            return;
        }
    }
}

/// One message on its way out.
enum Post {
    Answers { reply: String, answers: Vec<Answer> },
    Streams { subject: String, events: Vec<ToStream> },
    Agents { subject: String, messages: Vec<ToAgent> },
    Entry { subject: String, seq: u64, term: Term, changes: Vec<Change> },
}

/// Kinds of what services send.
pub mod kind {
    /// `Vec<Answer>`.
    pub const ANSWERS: &str = "answers";
    /// `Vec<ToStream>`.
    pub const STREAMS: &str = "streams";
    /// `Vec<ToAgent>`.
    pub const AGENT: &str = "to-agent";
    /// `Vec<ToAllocator>`.
    pub const ALLOCATOR: &str = "to-allocator";
    /// `Vec<ToRegistry>`.
    pub const REGISTRY: &str = "to-registry";
    /// `Vec<Call<LauncherCall>>`.
    pub const LAUNCHER: &str = "to-launcher";
    /// `Vec<Call<PoolsCall>>`.
    pub const POOLS: &str = "to-pools";
    /// `FilesRequest`.
    pub const FILES: &str = "files";
    /// `FilesAnswer`.
    pub const FILES_ANSWER: &str = "files-answer";
}

/// Sends what is posted, in order; ends with the last sender.
fn outbox(bus: Arc<dyn Bus>) -> (mpsc::UnboundedSender<Post>, JoinHandle<()>) {
    let (sender, mut posts) = mpsc::unbounded_channel();
    let sending = tokio::spawn(async move {
        while let Some(post) = posts.recv().await {
            let (subject, sealed) = match post {
                Post::Answers { reply, answers } => (reply, envelope::seal(kind::ANSWERS, &answers)),
                Post::Streams { subject, events } => (subject, envelope::seal(kind::STREAMS, &events)),
                Post::Agents { subject, messages } => (subject, envelope::seal(kind::AGENT, &messages)),
                Post::Entry { subject, seq, term, changes } => (subject, codec::encode_entry(seq, term, &changes)),
            };
            match sealed {
                Ok(payload) => {
                    // What the bus loses is asked for again or read from the store.
                    if let Err(error) = bus.publish(&subject, Vec::new(), payload).await {
                        tracing::debug!(%subject, %error, "not sent");
                    }
                }
                Err(error) => tracing::error!(%subject, %error, "cannot encode a message"),
            }
        }
    });
    (sender, sending)
}

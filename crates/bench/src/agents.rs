//! Simulated agents: the agent's real machine in the real driver, a checkpoint in memory, the real bus.
//! Only the containers are not there: a task runs at once, and ends after a [`Life`] or when it is killed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::StreamExt;
use mesos_core::{
    agent::{Agent, ContainerOrder, Ended, Event, Options, Output, TaskFacts},
    driver::Config,
    message::{AgentToAllocator, AgentToRegistry, Order, ToAgent, ToAllocator, ToRegistry},
    row::service,
};
use mesos_model::{AgentId, Resources, Term, envelope, subject::Subjects, uuid_text};
use mesos_ports::bus::Bus;
use mesos_proto::v1;
use mesos_runtime::{
    shell::kind,
    solo::{self, Happening},
};
use mesos_store::embedded::EmbeddedStore;
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often each says that it lives, as agents do by default.
const BEAT_MS: u64 = 5000;

/// How long a task runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    /// It ends at once.
    None,
    /// It ends by itself then.
    For(Duration),
    /// Until it is killed.
    Ever,
}

/// What the agents saw, all together.
#[derive(Default)]
pub(crate) struct Seen {
    /// The last term that welcomed one, whom it has welcomed, and when the last one was.
    pub(crate) welcomed: (Term, HashSet<AgentId>, Option<Instant>),
    /// How often each task was started. Only kept where tasks have a life.
    pub(crate) started: HashMap<String, u32>,
    /// How often the tasks of an agent held more than it has.
    pub(crate) overbooked: u64,
    /// Tasks that run now.
    pub(crate) running: usize,
}

/// Agents at work until they are dropped.
pub(crate) struct Agents {
    cancel: CancellationToken,
    shared: Arc<Shared>,
}

struct Shared {
    bus: Arc<dyn Bus>,
    subjects: Subjects,
    outbox: mpsc::UnboundedSender<(Arc<str>, Bytes)>,
    allocator: Arc<str>,
    registry: Arc<str>,
    /// What each tells about a container that runs.
    running: Bytes,
    stopped: AtomicUsize,
    life: Life,
    total: Resources,
    seen: Mutex<Seen>,
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Agents {
    /// Starts so many with the same resources.
    pub(crate) async fn start(
        bus: Arc<dyn Bus>,
        subjects: Subjects,
        count: usize,
        resources: &Resources,
        life: Life,
    ) -> anyhow::Result<Agents> {
        let (outbox, posts) = mpsc::unbounded_channel();
        tokio::spawn(publish(bus.clone(), posts));
        let shared = Arc::new(Shared {
            allocator: subjects.service(service::ALLOCATOR).into(),
            registry: subjects.service(service::REGISTRY).into(),
            running: running_body(),
            stopped: AtomicUsize::new(0),
            life,
            total: resources.clone(),
            seen: Mutex::default(),
            bus,
            subjects,
            outbox,
        });
        let cancel = CancellationToken::new();
        let mut everyone = Vec::new();
        for number in 0..count {
            let (events, received) = mpsc::unbounded_channel();
            everyone.push(events.clone());
            let instance = Uuid::new_v4().as_u128();
            listen(&shared, shared.subjects.agent(&uuid_text(instance)), vec![events.clone()]).await?;
            tokio::spawn(one(
                shared.clone(),
                options(number, instance, resources.clone()),
                events,
                received,
                cancel.clone(),
            ));
        }
        listen(&shared, shared.subjects.agents(), everyone).await?;
        Ok(Agents { cancel, shared })
    }

    /// Looks at what they saw.
    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.shared.seen())
    }

    /// How many have stopped by themselves: they were refused, or their checkpoint failed.
    pub(crate) fn stopped(&self) -> usize {
        self.shared.stopped.load(Ordering::Relaxed)
    }
}

fn options(number: usize, instance: u128, total: Resources) -> Options {
    let hostname = format!("simulated-{number}");
    let info = v1::AgentInfo { hostname: hostname.clone(), port: Some(5051), ..Default::default() };
    Options {
        total,
        oversubscribed: Resources::new(),
        attributes: Vec::new(),
        domain: None,
        hostname,
        ip: "127.0.0.1".to_owned(),
        port: 5051,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot: String::new(),
        new_instance: instance,
        new_agent: None,
        body: info.encode_to_vec().into(),
        beat_ms: BEAT_MS,
        executors: Default::default(),
    }
}

/// As large as what a real agent tells.
fn running_body() -> Bytes {
    let address = v1::network_info::IpAddress { ip_address: Some("127.0.0.1".to_owned()), ..Default::default() };
    let status = v1::TaskStatus {
        container_status: Some(v1::ContainerStatus {
            container_id: Some(v1::ContainerId { value: Uuid::nil().to_string(), ..Default::default() }),
            network_infos: vec![v1::NetworkInfo { ip_addresses: vec![address], ..Default::default() }],
            executor_pid: Some(1),
            ..Default::default()
        }),
        ..Default::default()
    };
    status.encode_to_vec().into()
}

async fn publish(bus: Arc<dyn Bus>, mut posts: mpsc::UnboundedReceiver<(Arc<str>, Bytes)>) {
    while let Some((subject, payload)) = posts.recv().await {
        // What is lost the machines send again.
        let _ = bus.publish(&subject, Vec::new(), payload).await;
    }
}

async fn listen(
    shared: &Arc<Shared>,
    subject: String,
    agents: Vec<mpsc::UnboundedSender<Event>>,
) -> anyhow::Result<()> {
    let mut messages = shared.bus.subscribe(&subject).await?;
    let shared = shared.clone();
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let Ok(batch) = envelope::open::<Vec<ToAgent>>(kind::AGENT, &message.payload) else { continue };
            for message in batch {
                if let ToAgent::Welcome { agent, term, .. } = &message {
                    shared.seen().welcome(agent, *term);
                }
                let facts = facts(&message);
                for agent in &agents {
                    let _ = agent.send(Event::Message { message: message.clone(), facts: facts.clone() });
                }
            }
        }
    });
    Ok(())
}

impl Seen {
    fn welcome(&mut self, agent: &AgentId, term: Term) {
        if self.welcomed.0 != term {
            self.welcomed = (term, HashSet::new(), None);
        }
        if self.welcomed.1.insert(agent.clone()) {
            self.welcomed.2 = Some(Instant::now());
        }
    }
}

fn facts(message: &ToAgent) -> Vec<TaskFacts> {
    let ToAgent::Orders { orders, .. } = message else { return Vec::new() };
    let launches =
        orders.iter().filter_map(|order| if let Order::Launch(launch) = order { Some(launch) } else { None });
    launches.flat_map(|launch| launch.tasks.iter().map(|_| TaskFacts::default())).collect()
}

/// A container has ended: nothing is held from here on, before anybody hears of it.
fn over(shared: &Shared, held: &Held, container: &str) {
    if held.lock().unwrap_or_else(PoisonError::into_inner).remove(container).is_some() {
        shared.seen().running -= 1;
    }
}

async fn one(
    shared: Arc<Shared>,
    options: Options,
    events: mpsc::UnboundedSender<Event>,
    received: mpsc::UnboundedReceiver<Event>,
    cancel: CancellationToken,
) {
    let config = Config {
        service: service::AGENT,
        peer: None,
        lease: std::time::Duration::from_secs(3600),
        batch_max: 512,
        seed: Uuid::new_v4().as_u128(),
    };
    let mut host = Host { shared: shared.clone(), events, listening: None, held: Held::default() };
    let act = move |happening| host.act(happening);
    solo::run(
        config,
        Arc::new(EmbeddedStore::in_memory()),
        move || Agent::new(options.clone()),
        received,
        act,
        cancel.clone(),
    )
    .await;
    if !cancel.is_cancelled() {
        shared.stopped.fetch_add(1, Ordering::Relaxed);
    }
}

struct Host {
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<Event>,
    listening: Option<AgentId>,
    held: Held,
}

/// What each container of an agent holds that has not ended.
type Held = Arc<Mutex<BTreeMap<String, Resources>>>;

impl Host {
    fn act(&mut self, happening: Happening<Output>) {
        match happening {
            Happening::Leading(_) => self.tell(Event::Recovered { containers: Vec::new(), facts: Vec::new() }),
            Happening::Following(_) => {
                self.shared.stopped.fetch_add(1, Ordering::Relaxed);
            }
            Happening::Do(outputs) => self.outputs(outputs),
        }
    }

    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn outputs(&mut self, outputs: Vec<Output>) {
        let (mut allocator, mut registry) = (Vec::new(), Vec::new());
        for output in outputs {
            match output {
                Output::Allocator(message) => allocator.push(message),
                Output::Registry(message) => registry.push(message),
                Output::Launch(order) => {
                    let container = order.container.clone();
                    self.tell(Event::Started { container: container.clone(), body: self.shared.running.clone() });
                    let exited = Event::Exited { container, ended: Ended { code: Some(0), ..Ended::default() } };
                    match self.shared.life {
                        Life::None => self.tell(exited),
                        Life::For(_) | Life::Ever => self.runs(&order, exited),
                    }
                }
                Output::Resize { container, resources } => self.resized(&container, resources),
                Output::Kill { container, .. } | Output::Wait { container } => {
                    over(&self.shared, &self.held, &container);
                    self.tell(Event::Exited { container, ended: Ended { signal: Some(9), ..Ended::default() } });
                }
                Output::Admitted { agent } => self.admitted(agent),
                Output::Refused { .. } => {
                    self.shared.stopped.fetch_add(1, Ordering::Relaxed);
                }
                Output::Destroy { .. }
                | Output::Check { .. }
                | Output::ExecutorAnswer { .. }
                | Output::ToExecutor { .. }
                | Output::CloseExecutor { .. }
                | Output::Volumes { .. }
                | Output::Ignored { .. } => {}
            }
        }
        self.post(allocator, registry);
    }

    /// A task with a life of its own; it also counts as what its agent holds.
    fn runs(&mut self, order: &ContainerOrder, exited: Event) {
        let sum = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.insert(order.container.clone(), order.resources.clone());
            held.values().fold(Resources::new(), |sum, each| sum.plus(each))
        };
        let mut seen = self.shared.seen();
        *seen.started.entry(order.task.to_string()).or_default() += 1;
        seen.overbooked += u64::from(!self.shared.total.contains(&sum));
        seen.running += 1;
        drop(seen);
        if let Life::For(life) = self.shared.life {
            let (events, shared, held) = (self.events.clone(), self.shared.clone(), self.held.clone());
            let container = order.container.clone();
            tokio::spawn(async move {
                tokio::time::sleep(life).await;
                over(&shared, &held, &container);
                let _ = events.send(exited);
            });
        }
    }

    fn resized(&mut self, container: &str, resources: Resources) {
        if let Some(held) = self.held.lock().unwrap_or_else(PoisonError::into_inner).get_mut(container) {
            *held = resources;
        }
    }

    fn post(&self, allocator: Vec<AgentToAllocator>, registry: Vec<AgentToRegistry>) {
        let shared = &self.shared;
        if !registry.is_empty() {
            let batch: Vec<ToRegistry> = registry.into_iter().map(ToRegistry::Agent).collect();
            if let Ok(payload) = envelope::seal(kind::REGISTRY, &batch) {
                let _ = shared.outbox.send((shared.registry.clone(), payload));
            }
        }
        if !allocator.is_empty() {
            let batch: Vec<ToAllocator> = allocator.into_iter().map(ToAllocator::Agent).collect();
            if let Ok(payload) = envelope::seal(kind::ALLOCATOR, &batch) {
                let _ = shared.outbox.send((shared.allocator.clone(), payload));
            }
        }
    }

    fn admitted(&mut self, agent: AgentId) {
        if self.listening.as_ref() == Some(&agent) {
            return;
        }
        self.listening = Some(agent.clone());
        let (shared, events) = (self.shared.clone(), self.events.clone());
        tokio::spawn(async move {
            let subject = shared.subjects.agent(agent.as_str());
            if listen(&shared, subject, vec![events.clone()]).await.is_ok() {
                // What was sent before this subscription was in force is asked for again.
                let _ = events.send(Event::BusBack);
            }
        });
    }
}

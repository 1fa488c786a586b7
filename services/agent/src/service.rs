//! Start, recovery, and the two ends of the machine's loop.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mesos_container::{DockerContainerizer, DockerOptions, MockContainerizer, ProcessContainerizer, ProcessOptions};
use mesos_core::{
    agent::{Agent, Event, ExecutorTimes, Options, Output, fits_running, held, reconfigured},
    driver::Config,
    row::{AgentSelfRow, ExecutorRow, Row, RowChange, service},
};
use mesos_model::{AgentId, LaunchId, Resources, id::uuid_text, subject::Subjects};
use mesos_ports::{bus::Bus, containerizer::Containerizer, store::Store};
use mesos_proto::v1;
use mesos_runtime::{
    codec,
    quarantine::Quarantine,
    solo::{self, Happening},
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    AgentOptions, condition,
    containers::{Containers, Held},
    estimator::{self, Estimator},
    executors::{Executors, server},
    files, inbox,
    outbox::{self, Batch},
    reserve::{Reserve, Reserved},
    task, volumes,
};

/// The doors of an agent.
pub struct AgentPorts {
    /// The bus, or the link to a gateway.
    pub bus: Arc<dyn Bus>,
    /// The checkpoint: synced with each commit, and nobody else's.
    pub store: Arc<dyn Store>,
    /// The cluster's names on the bus.
    pub subjects: Subjects,
    /// Those of [`containerizers`], or others.
    pub containerizers: Vec<Arc<dyn Containerizer>>,
    /// Who it is, as [`identity`] found it; a link was opened under it.
    pub identity: Identity,
    /// Counts what cannot be read.
    pub quarantine: Quarantine,
    /// Called with the agent's id once it has one (a link binds itself to it).
    pub admitted: Arc<dyn Fn(&AgentId) + Send + Sync>,
}

/// Who an agent is before the cluster has been asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id, if it was given one: at its first registration, or when it joined.
    pub agent: Option<AgentId>,
    /// What names it until then: made at the first start in its work directory.
    pub instance: u128,
}

/// Finds out who the agent of this checkpoint is; a new one gets a fresh instance.
///
/// # Errors
/// If the checkpoint cannot be read.
pub async fn identity(options: &AgentOptions, store: &dyn Store) -> Result<Identity, AgentError> {
    let own = Checkpoint::load(options, store).await?.own;
    Ok(Identity { agent: own.id, instance: own.instance })
}

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An option cannot be used.
    #[error("{0}")]
    Option(String),
    /// The checkpoint cannot be read.
    #[error("cannot read the checkpoint below {work_dir}: {source}")]
    Checkpoint {
        /// The work directory.
        work_dir: String,
        /// Why.
        source: mesos_ports::store::StoreError,
    },
    /// The cluster does not admit it.
    #[error("the agent was refused: {0}")]
    Refused(String),
}

/// The containerizers that the options name.
///
/// # Errors
/// For an unknown name, or one that this host cannot have.
pub fn containerizers(options: &AgentOptions) -> Result<Vec<Arc<dyn Containerizer>>, AgentError> {
    let mut chosen: Vec<Arc<dyn Containerizer>> = Vec::new();
    for name in &options.containerizers {
        chosen.push(match name.as_str() {
            "process" | "mesos" => {
                let mut process = ProcessOptions::new(options.work_dir.join("run"));
                process.cgroup_root = Some(options.cgroups_hierarchy.clone());
                process.cgroup_parent = options.cgroups_root.clone();
                process.log_bytes = options.log_bytes;
                Arc::new(ProcessContainerizer::new(process).map_err(|error| AgentError::Option(error.to_string()))?)
            }
            "docker" => Arc::new(DockerContainerizer::new(DockerOptions {
                host: options.docker_host.clone(),
                work_dir: Some(options.work_dir.clone()),
                log_bytes: options.log_bytes,
                ..DockerOptions::default()
            })),
            "mock" => Arc::new(MockContainerizer::new()),
            other => {
                let text =
                    format!("--containerizers: '{other}' is unknown; known are process (or mesos), docker, mock");
                return Err(AgentError::Option(text));
            }
        });
    }
    Ok(chosen)
}

/// Runs an agent until it is cancelled or refused. Its tasks go on without it.
///
/// # Errors
/// Says what of the host, the options or the checkpoint cannot be used, or why the cluster refused it.
pub async fn run(options: AgentOptions, ports: AgentPorts, cancel: CancellationToken) -> Result<(), AgentError> {
    let mut checkpoint = Checkpoint::load(&options, &*ports.store).await?;
    // The same as before, or the fresh one that the link was opened under.
    checkpoint.own.instance = ports.identity.instance;
    checkpoint.own.id = checkpoint.own.id.take().or_else(|| ports.identity.agent.clone());
    checkpoint.check_resources(&options.resources).map_err(AgentError::Option)?;
    volumes::empty_trash(&options.work_dir);
    let listener = server::bind(&options, checkpoint.own.port).await?;
    let address = listener.local_addr().map_err(|error| AgentError::Option(error.to_string()))?;
    // Offers name the port, and executors are told of it.
    let options = AgentOptions { port: u32::from(address.port()), ..options };
    let reserve = Reserve::of(&options.work_dir);
    let store: Arc<dyn Store> =
        Arc::new(Reserved { store: ports.store.clone(), work_dir: options.work_dir.clone(), cancel: cancel.clone() });
    let (events, received) = mpsc::unbounded_channel();
    let executors = Executors::new(options.clone(), address.port(), events.clone());
    let containers =
        Containers::new(options.clone(), ports.containerizers.clone(), events.clone()).map_err(AgentError::Option)?;
    let recovered = checkpoint.recover(&containers).await;
    if options.estimator == Estimator::Usage {
        let interval = options.oversubscribed_interval;
        estimator::watch_usage(containers.clone(), interval, events.clone(), cancel.clone());
    }
    tokio::spawn(server::serve(listener, executors.clone(), cancel.clone()));
    let watched = ports.containerizers.clone();
    condition::watch(options.work_dir.clone(), watched, reserve, events.clone(), cancel.clone());
    let host = Host {
        containers,
        executors,
        outbox: outbox::outbox(ports.bus.clone(), &ports.subjects),
        events: events.clone(),
        agent: Mutex::new(None),
        recovered: Mutex::new(Some(recovered)),
        refused: Mutex::new(None),
        options: options.clone(),
        ports,
        cancel: cancel.clone(),
    };
    let host = Arc::new(host);
    if let Some(agent) = checkpoint.own.id.clone() {
        host.admitted(agent);
    }
    inbox::watch_bus(&*host.ports.bus, events.clone());
    let subjects = &host.ports.subjects;
    let own_subject = subjects.agent(&uuid_text(checkpoint.own.instance));
    for (subject, events) in [(subjects.agents(), events.clone()), (own_subject, events)] {
        inbox::listen(host.ports.bus.clone(), subject, host.reading(inbox::QUIET), events);
    }
    let machine = machine_options(&options, &host.ports.identity);
    let config = Config {
        service: service::AGENT,
        peer: None,
        // Nobody else opens this checkpoint; the lease only has to outlive a stall.
        lease: Duration::from_secs(3600),
        batch_max: 512,
        seed: Uuid::new_v4().as_u128(),
    };
    let actor = host.clone();
    solo::run(
        config,
        store,
        move || Agent::new(machine.clone()),
        received,
        move |happening| actor.act(happening),
        cancel,
    )
    .await;
    let refused = host.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
    refused.map_or(Ok(()), |reason| Err(AgentError::Refused(reason)))
}

/// What the checkpoint says at the start.
struct Checkpoint {
    own: AgentSelfRow,
    executors: Vec<ExecutorRow>,
}

impl Checkpoint {
    async fn load(options: &AgentOptions, store: &dyn Store) -> Result<Checkpoint, AgentError> {
        let loaded = store
            .load(service::AGENT)
            .await
            .map_err(|source| AgentError::Checkpoint { work_dir: options.work_dir.display().to_string(), source })?;
        let rows = codec::decode_rows(loaded.rows.iter().map(|(key, value)| (key.as_str(), Some(&value[..]))));
        let mut checkpoint = Checkpoint { own: AgentSelfRow::default(), executors: Vec::new() };
        for row in rows {
            match row {
                RowChange::Put(Row::AgentSelf(row)) => checkpoint.own = row,
                RowChange::Put(Row::Executor(row)) => checkpoint.executors.push(row),
                _ => {}
            }
        }
        if checkpoint.own.instance == 0 {
            checkpoint.own.instance = Uuid::new_v4().as_u128();
        }
        Ok(checkpoint)
    }

    /// Whether what is reserved, and what tasks that may run still hold, is part of what the agent is to have.
    fn check_resources(&self, resources: &Resources) -> Result<(), String> {
        let total = reconfigured(&self.own.base, &self.own.total, resources)?;
        if self.own.boot != boot_id() {
            return Ok(());
        }
        let used = self.executors.iter().fold(Resources::new(), |sum, executor| sum.plus(&held(executor)));
        fits_running(&total, &used)
    }

    async fn recover(&self, containers: &Containers) -> Event {
        let tasks = self.executors.iter().flat_map(|executor| &executor.tasks);
        let tasks = tasks.map(|task| (task.container.clone(), Held::of(task)));
        let processes = self.executors.iter().filter_map(|executor| executor.live_process());
        let processes = processes.map(|process| (process.container.clone(), Held::of_executor()));
        let held = tasks.chain(processes).collect();
        // Without an id it holds nothing, but may find what it held before it lost its checkpoint.
        let found = containers.recover(&self.own.id.clone().unwrap_or_default(), held).await;
        let facts =
            |executor: &ExecutorRow| executor.tasks.iter().map(|task| task::facts(&task.body, executor.kind)).collect();
        let facts: Vec<(LaunchId, Vec<_>)> = self.executors.iter().map(|e| (e.launch.clone(), facts(e))).collect();
        Event::Recovered { containers: found, facts }
    }
}

fn machine_options(options: &AgentOptions, identity: &Identity) -> Options {
    let info = v1::AgentInfo {
        hostname: options.hostname.clone(),
        port: i32::try_from(options.port).ok(),
        ..Default::default()
    };
    Options {
        total: options.resources.clone(),
        oversubscribed: options.estimator.at_start(),
        attributes: options.attributes.clone(),
        domain: options.domain.clone(),
        hostname: options.hostname.clone(),
        ip: options.ip.to_string(),
        port: options.port,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot: boot_id(),
        new_instance: identity.instance,
        new_agent: identity.agent.clone(),
        body: info.encode_to_vec().into(),
        beat_ms: options.beat.as_millis() as u64,
        executors: ExecutorTimes {
            registration_ms: options.executors.registration_timeout.as_millis() as u64,
            reregistration_ms: options.executors.reregistration_timeout.as_millis() as u64,
            recovery_ms: options.executors.recovery_timeout.as_millis() as u64,
        },
    }
}

/// Changes when the host boots.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

struct Host {
    containers: Containers,
    executors: Executors,
    outbox: mpsc::UnboundedSender<Batch>,
    events: mpsc::UnboundedSender<Event>,
    agent: Mutex<Option<AgentId>>,
    recovered: Mutex<Option<Event>>,
    refused: Mutex<Option<String>>,
    options: AgentOptions,
    ports: AgentPorts,
    cancel: CancellationToken,
}

impl Host {
    /// How a subject is read that may be silent for so long.
    fn reading(&self, silence: Duration) -> inbox::Reading {
        let grace = self.options.executors.shutdown_grace_period;
        inbox::Reading { grace, silence, quarantine: self.ports.quarantine.clone() }
    }

    fn act(&self, happening: Happening<Output>) {
        match happening {
            Happening::Leading(_) => {
                let recovered = self.recovered.lock().unwrap_or_else(PoisonError::into_inner).take();
                let recovered = recovered.unwrap_or(Event::Recovered { containers: Vec::new(), facts: Vec::new() });
                let _ = self.events.send(recovered);
                self.executors.open();
            }
            // It was asked to stop.
            Happening::Following(_) if self.cancel.is_cancelled() => {}
            Happening::Following(why) => {
                // Without its checkpoint an agent must not act; its tasks go on, and its next start finds them.
                tracing::error!(why, "the checkpoint cannot be written; the agent stops");
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(format!("its checkpoint cannot be written: {why}"));
                self.cancel.cancel();
            }
            Happening::Do(outputs) => self.outputs(outputs),
        }
    }

    fn outputs(&self, outputs: Vec<Output>) {
        let mut batch = Batch::default();
        for output in outputs {
            match output {
                Output::Allocator(message) => batch.allocator.push(message),
                Output::Registry(message) => batch.registry.push(message),
                Output::Launch(order) => {
                    let agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
                    self.containers.launch(agent, order);
                }
                Output::Wait { container } => self.containers.watch(container),
                Output::Kill { container, grace_ms } => {
                    self.containers.kill(container, Duration::from_millis(grace_ms))
                }
                Output::Destroy { container } => self.containers.destroy(container),
                Output::Check { container } => self.containers.check(container),
                Output::Resize { container, resources } => self.containers.resize(container, resources),
                Output::ExecutorAnswer { request, answer } => self.executors.answer(request, answer),
                Output::ToExecutor { stream, event } => self.executors.tell(stream, &event),
                Output::CloseExecutor { stream } => self.executors.close(stream),
                // Not in the background: a launch that needs a volume may be next.
                Output::Volumes { made, removed } => volumes::carry_out(&self.options.work_dir, &made, &removed),
                Output::Ignored { message } => tracing::warn!(message, "an order has no effect"),
                Output::Admitted { agent } => self.admitted(agent),
                Output::Refused { reason } => {
                    tracing::error!(reason, "the agent was refused");
                    *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                    self.cancel.cancel();
                }
            }
        }
        if !batch.allocator.is_empty() || !batch.registry.is_empty() {
            let _ = self.outbox.send(batch);
        }
    }

    fn admitted(&self, agent: AgentId) {
        let mut known = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() == Some(&agent) {
            return;
        }
        tracing::info!(%agent, hostname = self.options.hostname, "this agent's id");
        *known = Some(agent.clone());
        drop(known);
        self.executors.set_agent(agent.clone());
        (self.ports.admitted)(&agent);
        let subjects = &self.ports.subjects;
        // Each beat is answered there.
        let silence = (self.options.beat * 3).max(Duration::from_secs(5));
        let (subject, reading) = (subjects.agent(agent.as_str()), self.reading(silence));
        inbox::listen(self.ports.bus.clone(), subject, reading, self.events.clone());
        files::serve(
            self.ports.bus.clone(),
            subjects.agent_files(agent.as_str()),
            self.options.work_dir.clone(),
            agent,
            self.cancel.clone(),
        );
    }
}

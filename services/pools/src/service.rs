//! The machine with its store, its door on the bus, and its hands.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use mesos_core::{driver::Config, message::PoolsCall, row::service::POOLS};
use mesos_proto::dial::Access;
use mesos_runtime::{
    door::Door,
    shell::{Ports, kind},
    solo::{self, Happening},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    cluster::Cluster,
    definition::Definition,
    invitation::Invitations,
    machine::{Event, Output, Pools},
    provider::{Provider, Surroundings},
};

/// Hosts that are made or taken away at the same time.
const AT_ONCE: usize = 16;

/// How pools are kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which pools there are.
    pub definitions: Vec<Definition>,
    /// The gateway of this host: `host:port`, `http://…` or `https://…`.
    pub gateway: String,
    /// How the gateway is reached, and what is shown to it.
    pub access: Access,
    /// The same gateway for agents on other hosts, and for scripts.
    pub master: String,
    /// The cluster's name.
    pub cluster: String,
    /// Whether each agent has to join with a token of its own.
    pub joins: bool,
    /// This program, which agents on this host are.
    pub program: PathBuf,
    /// How long its lease runs without renewal.
    pub lease: Duration,
}

impl Options {
    /// Pools that are kept through a gateway of this host.
    #[must_use]
    pub fn new(definitions: Vec<Definition>, gateway: String) -> Options {
        Options {
            definitions,
            master: gateway.clone(),
            gateway,
            cluster: "mesos".to_owned(),
            access: Access::default(),
            joins: false,
            program: own_program(),
            lease: Duration::from_secs(3),
        }
    }
}

/// This program. One that an upgrade has replaced is there under its name again, which the kernel calls deleted.
fn own_program() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("mesos"));
    match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(name) => PathBuf::from(name),
        None => path,
    }
}

/// Keeps pools until it is cancelled; hands over before it returns. Hosts stay as they are.
///
/// # Errors
/// If a pool's address cannot be used; nothing was begun then.
pub fn run(
    options: Options,
    ports: Ports,
    cancel: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + 'static, String> {
    let cluster = Cluster::new(&options.gateway, options.access.clone())?;
    let around = Surroundings {
        gateway: options.gateway.clone(),
        master: options.master.clone(),
        cluster: options.cluster.clone(),
        program: options.program.clone(),
        invitations: options.joins.then(|| Invitations::new(cluster.clone())),
    };
    let provider = |definition: &Definition| Ok((definition.name.clone(), Provider::new(definition, around.clone())?));
    let providers = options.definitions.iter().map(provider).collect::<Result<BTreeMap<_, _>, String>>()?;
    let (events, inbox) = mpsc::unbounded_channel();
    let config =
        Config { service: POOLS, peer: None, lease: options.lease, batch_max: 512, seed: Uuid::new_v4().as_u128() };
    let door = Door::new(&ports, POOLS, kind::POOLS);
    let hands = Hands { providers: Arc::new(providers), cluster, events, at_once: Arc::new(Semaphore::new(AT_ONCE)) };
    let mut host = Host { hands, door, stop: None };
    let act = move |happening| host.act(happening);
    let definitions = options.definitions;
    Ok(async move {
        solo::run(config, ports.store, move || Pools::new(definitions.clone()), inbox, act, cancel).await;
    })
}

struct Host {
    hands: Hands,
    door: Door,
    /// Ends the listening of this term.
    stop: Option<CancellationToken>,
}

impl Host {
    fn act(&mut self, happening: Happening<Output>) {
        match happening {
            Happening::Leading(term) => {
                tracing::info!(service = POOLS, epoch = term.epoch, "leading");
                let stop = CancellationToken::new();
                let events = self.hands.events.clone();
                self.door.open::<PoolsCall>(stop.clone(), move |call, request| {
                    let _ = events.send(Event::Call(call, request));
                });
                self.stop = Some(stop);
            }
            Happening::Following(why) => {
                tracing::info!(service = POOLS, why, "no longer leading");
                if let Some(stop) = self.stop.take() {
                    stop.cancel();
                }
                self.door.refuse_all();
            }
            Happening::Do(outputs) => {
                for output in outputs {
                    match output {
                        Output::Reply(request, answer) => self.door.answer(request, answer),
                        other => {
                            let hands = self.hands.clone();
                            tokio::spawn(async move { Box::pin(hands.work(other)).await });
                        }
                    }
                }
            }
        }
    }
}

/// Carries out what is to be done, and says how it went: always, as the machine waits for it.
#[derive(Clone)]
struct Hands {
    providers: Arc<BTreeMap<String, Provider>>,
    cluster: Cluster,
    events: mpsc::UnboundedSender<Event>,
    at_once: Arc<Semaphore>,
}

impl Hands {
    async fn work(self, output: Output) {
        let event = match output {
            Output::Reply(..) => return,
            Output::Look(look) => Event::Seen { look, seen: self.cluster.look().await },
            Output::List { pool, of } => {
                let found = match self.provider(&pool) {
                    Ok(provider) => provider.list().await,
                    Err(why) => Err(why),
                };
                Event::Listed { pool, of, found }
            }
            Output::Add(job) => {
                let _turn = self.at_once.acquire().await;
                let done = match self.provider(&job.pool) {
                    Ok(provider) => provider.add(&job).await,
                    Err(why) => Err(why),
                };
                tell(&job.node, "added", done.as_ref().err());
                Event::Added { node: job.node, done }
            }
            Output::Remove(job) => {
                let _turn = self.at_once.acquire().await;
                let done = match self.provider(&job.pool) {
                    Ok(provider) => provider.remove(&job).await,
                    Err(why) => Err(why),
                };
                tell(&job.node, "removed", done.as_ref().err());
                Event::Removed { node: job.node, done }
            }
            Output::Resize { pool, to } => {
                let done = match self.provider(&pool) {
                    Ok(provider) => provider.resize(to).await,
                    Err(why) => Err(why),
                };
                match &done {
                    Ok(()) => tracing::info!(pool, to, "the group was made larger"),
                    Err(why) => tracing::warn!(pool, to, why, "the group was not made larger; trying again"),
                }
                Event::Resized { pool, done }
            }
            Output::Tell { node, agent, what } => {
                let done = self.cluster.tell(&agent, what).await;
                tracing::info!(node, %agent, ?what, refused = done.as_ref().err().map(|why| why.text.as_str()), "told the cluster");
                Event::Told { node, what, done }
            }
        };
        let _ = self.events.send(event);
    }

    fn provider(&self, pool: &str) -> Result<&Provider, String> {
        self.providers.get(pool).ok_or_else(|| format!("there is no pool {pool}"))
    }
}

fn tell(node: &str, what: &str, failure: Option<&String>) {
    match failure {
        None => tracing::info!(node, "{what}"),
        Some(why) => tracing::warn!(node, why, "not {what}; trying again"),
    }
}

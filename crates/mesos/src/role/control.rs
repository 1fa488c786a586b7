//! Allocator, registry, gateway and launcher in one process.

use std::{path::Path, sync::Arc};

use mesos_bus::{MemoryBus, NatsBus, NatsOptions};
use mesos_gateway::GatewayOptions;
use mesos_model::subject::Subjects;
use mesos_pools::Definition;
use mesos_ports::{
    bus::Bus,
    store::{Store, StoreError},
};
use mesos_proto::dial::Inside;
use mesos_runtime::{
    config::options::{ClusterOptions, NatsArgs, not_reachable},
    shell::Ports,
    telemetry::Metrics,
};
use mesos_store::{
    embedded::{EmbeddedStore, Sync},
    redis::{RedisOptions, RedisStore},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The doors that the options name: NATS or memory, Redis or a file below `dir`.
pub(crate) async fn ports(cluster: &ClusterOptions, name: &str, dir: Option<&Path>) -> Result<Ports, String> {
    let bus: Arc<dyn Bus> = match &cluster.nats.nats_url {
        Some(url) => Arc::new(nats(url, &cluster.nats, name, cluster.wait).await?),
        None => Arc::new(MemoryBus::new()),
    };
    let store: Arc<dyn Store> = match (&cluster.redis_url, dir) {
        (Some(url), _) => Arc::new(redis(url, cluster).await?),
        (None, Some(dir)) => Arc::new(embedded(dir)?),
        (None, None) => Arc::new(EmbeddedStore::in_memory()),
    };
    Ok(Ports { bus, store, subjects: Subjects::new(&cluster.cluster) })
}

/// Connects to NATS.
pub(crate) async fn nats(url: &str, args: &NatsArgs, name: &str, wait: bool) -> Result<NatsBus, String> {
    nats_as(url, args, name, wait, None).await
}

/// The same with an inbox of one's own, for a client that may hear no other.
pub(crate) async fn nats_as(
    url: &str,
    args: &NatsArgs,
    name: &str,
    wait: bool,
    inbox: Option<String>,
) -> Result<NatsBus, String> {
    let options = NatsOptions {
        name: name.to_owned(),
        wait,
        credentials: args.nats_credentials.clone(),
        ca: args.nats_ca.clone(),
        inbox,
        ..NatsOptions::default()
    };
    NatsBus::connect(url, options)
        .await
        .map_err(|error| not_reachable("--nats-url", url, &error, !error.is_retryable()))
}

async fn redis(url: &str, cluster: &ClusterOptions) -> Result<RedisStore, String> {
    let options = RedisOptions {
        wait: cluster.wait,
        username: cluster.redis_username.clone(),
        password_file: cluster.redis_password_file.clone(),
        ca: cluster.redis_ca.clone(),
        ..RedisOptions::default()
    };
    RedisStore::connect(url, &cluster.cluster, options)
        .await
        .map_err(|error| not_reachable("--redis-url", url, &error, matches!(error, StoreError::Unusable(_))))
}

fn embedded(dir: &Path) -> Result<EmbeddedStore, String> {
    let path = dir.join("store");
    EmbeddedStore::open(&path, Sync::every_second()).map_err(|error| format!("{}: {error}", path.display()))
}

/// What is chosen about the services.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControlOptions {
    pub(crate) allocator: mesos_allocator::Options,
    pub(crate) registry: mesos_registry::Options,
    pub(crate) gateway: GatewayOptions,
    pub(crate) pools: Option<Vec<Definition>>,
}

/// The services of one process, running.
pub(crate) struct Control {
    /// Where this host reaches the gateway: `http://host:port`, or `https://…`.
    pub(crate) url: String,
    /// The way to it for others in this process.
    pub(crate) inside: Inside,
    gateway: super::gateway::Running,
    callers: Vec<JoinHandle<()>>,
    stop_callers: CancellationToken,
    services: Vec<JoinHandle<()>>,
    stop_services: CancellationToken,
}

/// Starts all services. The gateway's port is bound first, so that a taken one is told before anything else
/// has happened.
pub(crate) async fn start(options: ControlOptions, ports: Ports, metrics: Metrics) -> Result<Control, String> {
    let recorder = options.allocator.recorder()?;
    let gateway = super::gateway::start(options.gateway, ports.clone(), metrics.clone()).await?;
    let stop_callers = CancellationToken::new();
    let keep = |pools| super::gateway::keep_pools(&gateway, pools, ports.clone(), stop_callers.clone());
    let mut callers: Vec<JoinHandle<()>> = options.pools.map(keep).transpose()?.into_iter().collect();
    let stop_services = CancellationToken::new();
    let services = vec![
        tokio::spawn(mesos_allocator::run(
            options.allocator,
            recorder,
            ports.clone(),
            metrics.clone(),
            stop_services.clone(),
        )),
        tokio::spawn(mesos_registry::run(options.registry, ports.clone(), metrics.clone(), stop_services.clone())),
    ];
    callers.push(super::gateway::launcher(&gateway, ports, stop_callers.clone()));
    let (url, inside) = (gateway.url.clone(), gateway.inside.clone());
    Ok(Control { url, inside, gateway, callers, stop_callers, services, stop_services })
}

impl Control {
    /// Returns if a part of it ended by itself, with what went wrong.
    pub(crate) async fn failed(&mut self) -> String {
        self.gateway.failed().await
    }

    /// Stops in order: first who calls, then the door, then the services, which hand over.
    pub(crate) async fn stop(self) {
        self.stop_callers.cancel();
        for caller in self.callers {
            let _ = caller.await;
        }
        self.gateway.stop().await;
        self.stop_services.cancel();
        for service in self.services {
            let _ = service.await;
        }
    }
}

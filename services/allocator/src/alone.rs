//! The allocator as a process of its own, over NATS and Redis.

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use mesos_bus::{NatsBus, NatsOptions};
use mesos_model::subject::Subjects;
use mesos_ports::store::StoreError;
use mesos_runtime::{
    config::{
        Role,
        options::{ClusterOptions, CommonOptions, HealthOptions, not_reachable},
    },
    health, process,
    shell::Ports,
    telemetry::Metrics,
};
use mesos_store::redis::{RedisOptions, RedisStore};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Options;

/// Options of the process.
#[derive(Args, Clone, Debug)]
pub struct Alone {
    #[command(flatten)]
    pub cluster: ClusterOptions,
    #[command(flatten)]
    pub service: Options,
    #[command(flatten)]
    pub health: HealthOptions,
    #[command(flatten)]
    pub common: CommonOptions,
}

/// How it is called.
pub const ROLE: Role = Role { display: "mesos allocator", files: &["mesos-allocator", "allocator"] };

/// The whole process: options, signals, exit status. `args` come without the program's name.
pub fn main(args: &[std::ffi::OsString]) -> ExitCode {
    let about = "The allocator of a cluster on NATS and Redis: who is offered what, and what runs where";
    match process::options::<Alone>(ROLE, about, args) {
        Ok((alone, _)) => {
            let telemetry = alone.common.telemetry("allocator");
            process::run(ROLE.display, &telemetry, None, |metrics, cancel| run_alone(alone, metrics, cancel))
        }
        Err(status) => status,
    }
}

async fn run_alone(alone: Alone, metrics: Metrics, cancel: CancellationToken) -> Result<ExitCode, String> {
    let recorder = alone.service.recorder()?;
    let listener = match alone.health.http_addr {
        Some(address) => Some(health::bind(address).await?),
        None => None,
    };
    let (ready, told) = watch::channel(false);
    if let Some(listener) = listener {
        tokio::spawn(health::serve(listener, metrics.clone(), told, cancel.clone()));
    }
    let ports = tokio::select! {
        ports = connect(&alone.cluster) => ports?,
        () = cancel.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let _ = ready.send(true);
    crate::run(alone.service, recorder, ports, metrics, cancel).await;
    Ok(ExitCode::SUCCESS)
}

async fn connect(cluster: &ClusterOptions) -> Result<Ports, String> {
    let (nats, redis) = cluster.urls()?;
    let options = NatsOptions {
        name: "mesos-allocator".to_owned(),
        wait: cluster.wait,
        credentials: cluster.nats.nats_credentials.clone(),
        ca: cluster.nats.nats_ca.clone(),
        ..NatsOptions::default()
    };
    let bus = NatsBus::connect(nats, options)
        .await
        .map_err(|error| not_reachable("--nats-url", nats, &error, !error.is_retryable()))?;
    let options = RedisOptions {
        wait: cluster.wait,
        username: cluster.redis_username.clone(),
        password_file: cluster.redis_password_file.clone(),
        ca: cluster.redis_ca.clone(),
        ..RedisOptions::default()
    };
    let store = RedisStore::connect(redis, &cluster.cluster, options)
        .await
        .map_err(|error| not_reachable("--redis-url", redis, &error, matches!(error, StoreError::Unusable(_))))?;
    Ok(Ports { bus: Arc::new(bus), store: Arc::new(store), subjects: Subjects::new(&cluster.cluster) })
}

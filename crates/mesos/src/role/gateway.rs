//! `mesos gateway`, and the gateway inside other roles.

use std::{
    ffi::OsString,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use mesos_agent::options::host_name;
use mesos_gateway::{Gateway, GatewayOptions};
use mesos_pools::Definition;
use mesos_runtime::{
    config::{
        self, Role,
        options::{ClusterOptions, CommonOptions},
        parse_duration,
    },
    process,
    shell::Ports,
    telemetry::Metrics,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::control;

const ROLE: Role = Role { display: "mesos gateway", files: &["mesos-gateway", "gateway"] };

/// Options of a gateway.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArgs {
    /// The address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    ip: IpAddr,

    /// The port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 5050)]
    port: u16,

    /// The name that clients are told [default: the host's own]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// The address that clients are told, if it is not --ip
    #[arg(long, value_name = "IP")]
    advertise_ip: Option<IpAddr>,

    /// The port that clients are told, if it is not --port
    #[arg(long, value_name = "PORT")]
    advertise_port: Option<u16>,

    /// Event streams that one gateway holds at most
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_streams: usize,

    /// Connections of one gateway at most
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    max_connections: usize,

    /// How long a stopping gateway waits for calls that are under way
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    shutdown_grace: Duration,

    /// Keep the node pools that this file defines (docs/elastic.md); of several processes, one at a time does. Without
    /// it, a master has a pool of agents on its own host
    #[arg(long, value_name = "FILE")]
    pools: Option<PathBuf>,
}

impl GatewayArgs {
    /// The pools that the file defines, if one is named. Folders of agents on this host are in `dir`.
    pub(crate) fn pools(&self, dir: Option<&Path>) -> Result<Option<Vec<Definition>>, String> {
        self.pools.as_deref().map(|file| mesos_pools::definition::read(&config::absolute(file)?, dir)).transpose()
    }

    /// As the gateway takes them.
    pub(crate) fn options(&self, cluster: &str) -> GatewayOptions {
        GatewayOptions {
            ip: self.ip,
            port: self.port,
            cluster: cluster.to_owned(),
            hostname: self.hostname.clone().unwrap_or_else(host_name),
            advertise_ip: self.advertise_ip,
            advertise_port: self.advertise_port,
            streams_max: self.max_streams,
            connections_max: self.max_connections,
            grace: self.shutdown_grace,
            ..GatewayOptions::default()
        }
    }
}

/// Options of a gateway that is a process of its own.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayAlone {
    #[command(flatten)]
    cluster: ClusterOptions,

    #[command(flatten)]
    gateway: GatewayArgs,

    /// Run the framework behind `mesos launch` here; of several, one at a time is active
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    launcher: bool,

    #[command(flatten)]
    common: CommonOptions,
}

/// The whole process.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let about = "A gateway of a cluster on NATS and Redis: gRPC, REST, the Mesos v1 API and the web page on one port";
    match process::options::<GatewayAlone>(ROLE, about, args) {
        Ok((options, _)) => {
            let telemetry = options.common.telemetry("gateway");
            process::run(ROLE.display, &telemetry, None, |metrics, cancel| run_alone(options, metrics, cancel))
        }
        Err(status) => status,
    }
}

async fn run_alone(options: GatewayAlone, metrics: Metrics, cancel: CancellationToken) -> Result<ExitCode, String> {
    options.cluster.urls()?;
    let definitions = options.gateway.pools(None)?;
    let ports = tokio::select! {
        ports = control::ports(&options.cluster, "mesos-gateway", None) => ports?,
        () = cancel.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let mut gateway = start(options.gateway.options(&options.cluster.cluster), ports.clone(), metrics).await?;
    println!("mesos gateway is at http://{}", gateway.address);
    let stop_launcher = CancellationToken::new();
    let pools =
        definitions.map(|pools| keep_pools(&gateway, pools, ports.clone(), stop_launcher.clone())).transpose()?;
    let launcher = options.launcher.then(|| launcher(&gateway, ports, stop_launcher.clone()));
    let failed = tokio::select! {
        () = cancel.cancelled() => None,
        why = gateway.failed() => Some(why),
    };
    stop_launcher.cancel();
    gateway.stop().await;
    for caller in launcher.into_iter().chain(pools) {
        let _ = caller.await;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// A gateway that listens.
pub(crate) struct Running {
    /// `host:port` by which this host reaches it.
    pub(crate) address: String,
    /// `host:port` by which others do.
    advertised: String,
    cluster: String,
    task: JoinHandle<Result<(), String>>,
    stop: CancellationToken,
}

/// Takes the port and serves.
pub(crate) async fn start(options: GatewayOptions, ports: Ports, metrics: Metrics) -> Result<Running, String> {
    let (hostname, ip, port) = (options.hostname.clone(), options.advertise_ip, options.advertise_port);
    let cluster = options.cluster.clone();
    let bound = Gateway::bind(options, ports, metrics).await.map_err(|error| error.to_string())?;
    let mut address = bound.local_addr();
    let host = match ip.unwrap_or(address.ip()) {
        ip if ip.is_unspecified() => hostname,
        IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    let advertised = format!("{host}:{}", port.unwrap_or(address.port()));
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = tokio::spawn(async move { bound.run(stopped).await.map_err(|error| error.to_string()) });
    Ok(Running { address: address.to_string(), advertised, cluster, task, stop })
}

impl Running {
    /// Returns if it ended by itself, with what went wrong.
    pub(crate) async fn failed(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Ok(())) => "the gateway has ended".to_owned(),
            Ok(Err(error)) => error,
            Err(error) => format!("the gateway has ended: {error}"),
        }
    }

    /// Finishes what is under way and ends.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if !self.task.is_finished() {
            let _ = self.task.await;
        }
    }
}

/// Runs the framework behind `mesos launch`, which talks to this gateway.
pub(crate) fn launcher(gateway: &Running, ports: Ports, stop: CancellationToken) -> JoinHandle<()> {
    let options =
        mesos_launcher::Options { gateways: vec![gateway.address.clone()], ..mesos_launcher::Options::default() };
    tokio::spawn(mesos_launcher::run(options, ports, stop))
}

/// Keeps node pools, through this gateway.
pub(crate) fn keep_pools(
    gateway: &Running,
    definitions: Vec<Definition>,
    ports: Ports,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, String> {
    let options = mesos_pools::Options {
        master: gateway.advertised.clone(),
        cluster: gateway.cluster.clone(),
        ..mesos_pools::Options::new(definitions, gateway.address.clone())
    };
    Ok(tokio::spawn(mesos_pools::run(options, ports, stop)?))
}

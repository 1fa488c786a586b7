//! `mesos gateway`, and the gateway inside other roles.

use std::{ffi::OsString, net::IpAddr, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use mesos_agent::options::host_name;
use mesos_gateway::{Gateway, GatewayOptions, Security};
use mesos_identity::{
    authority::Authority,
    files::Reloaded,
    nats::AccountSigner,
    token::{self, TokenKeys},
};
use mesos_runtime::{
    config::{
        Role,
        options::{ClusterOptions, CommonOptions, DoorArgs},
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

    #[command(flatten)]
    door: DoorArgs,

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
}

impl GatewayArgs {
    /// As the gateway takes them.
    ///
    /// # Errors
    /// If a file cannot be used; names the option.
    pub(crate) fn options(&self, cluster: &str) -> Result<GatewayOptions, String> {
        Ok(GatewayOptions {
            security: security(&self.door)?,
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
        })
    }
}

/// What a gateway knows about who is who, from the files that are named. They are read again when they change.
///
/// # Errors
/// If a file cannot be used; names the option.
pub(crate) fn security(door: &DoorArgs) -> Result<Security, String> {
    let named = |option: &'static str| move |error: mesos_identity::Error| format!("{option}: {error}");
    let tokens = door.token_key.clone().map(|path| Reloaded::open(vec![path], |texts| TokenKeys::read(&texts[0])));
    let authority = door.ca_cert.clone().zip(door.ca_key.clone());
    let authority =
        authority.map(|(cert, key)| Reloaded::open(vec![cert, key], |texts| Authority::read(&texts[0], &texts[1])));
    let account = door.nats_account_seed.clone();
    let account = account.map(|path| Reloaded::open(vec![path], |texts| AccountSigner::read(&texts[0])));
    Ok(Security {
        tokens: tokens.transpose().map_err(named("--token-key"))?.map(Arc::new),
        authority: authority.transpose().map_err(named("--ca-cert, --ca-key"))?.map(Arc::new),
        nats_account: account.transpose().map_err(named("--nats-account-seed"))?.map(Arc::new),
        inside: Some(token::password().map_err(|error| error.to_string())?.into()),
        ..Security::default()
    })
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
    let gateway = options.gateway.options(&options.cluster.cluster)?;
    let ports = tokio::select! {
        ports = control::ports(&options.cluster, "mesos-gateway", None) => ports?,
        () = cancel.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let mut gateway = start(gateway, ports.clone(), metrics).await?;
    println!("mesos gateway is at http://{}", gateway.address);
    let stop_launcher = CancellationToken::new();
    let launcher = options.launcher.then(|| launcher(&gateway, ports, stop_launcher.clone()));
    let failed = tokio::select! {
        () = cancel.cancelled() => None,
        why = gateway.failed() => Some(why),
    };
    stop_launcher.cancel();
    gateway.stop().await;
    if let Some(launcher) = launcher {
        let _ = launcher.await;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// A gateway that listens.
pub(crate) struct Running {
    /// `host:port` by which this host reaches it.
    pub(crate) address: String,
    /// What the launcher of this process shows it.
    inside: Option<Arc<str>>,
    task: JoinHandle<Result<(), String>>,
    stop: CancellationToken,
}

/// Takes the port and serves.
pub(crate) async fn start(options: GatewayOptions, ports: Ports, metrics: Metrics) -> Result<Running, String> {
    let inside = options.security.inside.clone();
    let bound = Gateway::bind(options, ports, metrics).await.map_err(|error| error.to_string())?;
    let mut address = bound.local_addr();
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = tokio::spawn(async move { bound.run(stopped).await.map_err(|error| error.to_string()) });
    Ok(Running { address: address.to_string(), inside, task, stop })
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
    let options = mesos_launcher::Options {
        gateways: vec![gateway.address.clone()],
        token: gateway.inside.as_deref().map(str::to_owned),
        ..mesos_launcher::Options::default()
    };
    tokio::spawn(mesos_launcher::run(options, ports, stop))
}

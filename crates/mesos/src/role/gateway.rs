//! `mesos gateway`, and the gateway inside other roles.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use mesos_agent::options::host_name;
use mesos_gateway::{Gateway, GatewayOptions, Security, server::TlsFiles};
use mesos_identity::{authority::Authority, files::Reloaded, nats::AccountSigner, token::TokenKeys};
use mesos_pools::Definition;
use mesos_proto::{
    dial::{Access, Address, Inside},
    services::v1::{CreateJoinTokenRequest, JoinToken, agents_client::AgentsClient},
};
use mesos_runtime::{
    config::{
        self, Role,
        options::{CLUSTER, ClusterOptions, CommonOptions, DoorArgs},
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

    /// As the gateway takes them, if it may listen like that.
    pub(crate) fn options(&self, cluster: &str) -> Result<GatewayOptions, String> {
        self.door.check(self.ip)?;
        Ok(GatewayOptions {
            ip: self.ip,
            port: self.port,
            tls: tls_files(&self.door),
            security: security(&self.door)?,
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
        agent_life: Some(door.agent_certificate_ttl),
    })
}

/// The files by which a gateway speaks TLS, if it is to.
pub(crate) fn tls_files(door: &DoorArgs) -> Option<TlsFiles> {
    let (certificate, key) = (door.tls_cert.clone()?, door.tls_key.clone()?);
    Some(TlsFiles { certificate, key, client_ca: door.ca_cert.clone() })
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
    let definitions = options.gateway.pools(None)?;
    let ports = tokio::select! {
        ports = control::ports(&options.cluster, "mesos-gateway", None) => ports?,
        () = cancel.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let advertised = advertised(&gateway);
    let mut gateway = start(gateway, ports.clone(), metrics).await?;
    println!("mesos gateway is at {}", gateway.url);
    invite(advertised, &options.cluster.cluster, &gateway.inside, &cancel);
    let stop_callers = CancellationToken::new();
    let pools =
        definitions.map(|pools| keep_pools(&gateway, pools, ports.clone(), stop_callers.clone())).transpose()?;
    let launcher = options.launcher.then(|| launcher(&gateway, ports, stop_callers.clone()));
    let failed = tokio::select! {
        () = cancel.cancelled() => None,
        why = gateway.failed() => Some(why),
    };
    stop_callers.cancel();
    gateway.stop().await;
    for caller in launcher.into_iter().chain(pools) {
        let _ = caller.await;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Where agents on other hosts find this gateway: `host:port`.
fn told(options: &GatewayOptions, bound: SocketAddr) -> String {
    let host = match options.advertise_ip.unwrap_or(bound.ip()) {
        ip if ip.is_unspecified() => options.hostname.clone(),
        IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    format!("{host}:{}", options.advertise_port.unwrap_or(bound.port()))
}

/// The same, if they have to join there.
pub(crate) fn advertised(options: &GatewayOptions) -> Option<String> {
    let joins = !options.ip.is_loopback() && options.security.authority.is_some();
    joins.then(|| format!("https://{}", told(options, SocketAddr::new(options.ip, options.port))))
}

/// Prints the command with which an agent joins, with a token that is good for an hour.
pub(crate) fn invite(advertised: Option<String>, cluster: &str, inside: &Inside, cancel: &CancellationToken) {
    let Some(master) = advertised else { return };
    // An agent that is told no name takes this one.
    let cluster = if cluster == CLUSTER { String::new() } else { format!(" --cluster={cluster}") };
    let access = Access { inside: Some(inside.clone()), ..Access::default() };
    let made = async move {
        loop {
            match join_token(&access, &master).await {
                Ok(made) => {
                    println!(
                        "an agent joins with: mesos agent --master={master}{cluster} --join-token={} --ca-hash={}",
                        made.token, made.ca_hash
                    );
                    return;
                }
                // Most of all that nobody leads yet.
                Err(why) => tracing::debug!(why, "no join token yet; trying again"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let cancel = cancel.clone();
    tokio::spawn(async move { cancel.run_until_cancelled(made).await });
}

async fn join_token(access: &Access, master: &str) -> Result<JoinToken, String> {
    let endpoint = access.endpoint(&Address::parse(master, 0)?).await?;
    let channel = access.connect(endpoint).await?;
    let made = AgentsClient::new(channel).create_join_token(CreateJoinTokenRequest::default()).await;
    made.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
}

/// A gateway that listens.
pub(crate) struct Running {
    /// Where this host reaches it: `http://host:port`, or `https://…`.
    pub(crate) url: String,
    /// The way to it for others in this process.
    pub(crate) inside: Inside,
    /// Where other hosts reach it, in the same form as `url`.
    master: String,
    cluster: String,
    /// Whether agents have to join before they are let in.
    joins: bool,
    task: JoinHandle<Result<(), String>>,
    stop: CancellationToken,
}

/// Takes the port and serves.
pub(crate) async fn start(options: GatewayOptions, ports: Ports, metrics: Metrics) -> Result<Running, String> {
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let joins = options.security.authority.is_some();
    let named = options.clone();
    let bound = Gateway::bind(options, ports, metrics).await.map_err(|error| error.to_string())?;
    let mut address = bound.local_addr();
    let master = format!("{scheme}://{}", told(&named, address));
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let (stop, inside) = (CancellationToken::new(), bound.inside());
    let stopped = stop.clone();
    let task = tokio::spawn(async move { bound.run(stopped).await.map_err(|error| error.to_string()) });
    Ok(Running { url: format!("{scheme}://{address}"), inside, master, cluster: named.cluster, joins, task, stop })
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
    let access = Access { inside: Some(gateway.inside.clone()), ..Access::default() };
    let options =
        mesos_launcher::Options { gateways: vec![gateway.url.clone()], access, ..mesos_launcher::Options::default() };
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
        access: Access { inside: Some(gateway.inside.clone()), ..Access::default() },
        master: gateway.master.clone(),
        cluster: gateway.cluster.clone(),
        joins: gateway.joins,
        ..mesos_pools::Options::new(definitions, gateway.url.clone())
    };
    Ok(tokio::spawn(mesos_pools::run(options, ports, stop)?))
}

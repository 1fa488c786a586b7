//! What every read and every operator's call has at hand, and how their answers go out.
//!
//! # Layout
//! - [`offers`]: the offers that this gateway delivered.
//! - [`reply`]: query parameters, JSONP, compression, errors.

pub mod offers;
pub mod reply;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::Router;
use mesos_model::{GatewayId, Time};
use mesos_proto::v1;
use mesos_runtime::{shell::Ports, telemetry::Metrics};
use tokio_util::sync::CancellationToken;

use crate::{
    calls::Calls,
    files::SandboxFiles,
    operator::stream::Subscribers,
    options::GatewayOptions,
    rest::events::Events,
    view::{Leaders, View, rendered::Answers},
};
use offers::Offered;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whoever called, as far as the gateway's door found out. A layer in front puts it into the request.
#[derive(Clone, Debug, Default)]
pub struct Principal(pub Option<String>);

/// What stays the same as long as the gateway runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The cluster's name.
    pub cluster: String,
    /// This process.
    pub gateway: GatewayId,
    /// Where clients reach it, by name.
    pub hostname: String,
    /// Where clients reach it, by address.
    pub ip: IpAddr,
    /// The port that it listens on.
    pub port: u16,
    /// When it started.
    pub started: Time,
    /// The options in force, by their names on the command line.
    pub flags: BTreeMap<String, String>,
}

impl Facts {
    /// `ip:port`, as in the `pid`s of Mesos.
    #[must_use]
    pub fn address(&self) -> String {
        SocketAddr::new(self.ip, self.port).to_string()
    }

    /// `master@ip:port`.
    #[must_use]
    pub fn pid(&self) -> String {
        format!("master@{}", self.address())
    }

    /// The facts of a gateway that listens on `address`.
    #[must_use]
    pub fn of(options: &GatewayOptions, gateway: GatewayId, address: SocketAddr) -> Facts {
        let ip = options.advertise_ip.unwrap_or(address.ip());
        let port = options.advertise_port.unwrap_or(address.port());
        let seconds = |span: std::time::Duration| format!("{}secs", span.as_secs_f64());
        let flags = [
            ("advertise_ip", ip.to_string()),
            ("advertise_port", port.to_string()),
            ("cluster", options.cluster.clone()),
            ("hostname", options.hostname.clone()),
            ("ip", address.ip().to_string()),
            ("port", address.port().to_string()),
            ("hold", seconds(options.hold)),
            ("grace", seconds(options.grace)),
            ("body_max", options.body_max.to_string()),
            ("connections_max", options.connections_max.to_string()),
            ("streams_max", options.streams_max.to_string()),
        ];
        Facts {
            cluster: options.cluster.clone(),
            gateway,
            hostname: options.hostname.clone(),
            ip,
            port,
            started: now(),
            flags: flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    /// The master as Mesos describes it: every gateway is one, under the id of the registry's leader, from
    /// which the ids of frameworks are made.
    #[must_use]
    pub fn master_info(&self, leaders: &Leaders) -> v1::MasterInfo {
        let ip = match self.ip {
            IpAddr::V4(ip) => u32::from_le_bytes(ip.octets()),
            // The field holds no more than an IPv4 address; `address` has the whole.
            IpAddr::V6(_) => 0,
        };
        v1::MasterInfo {
            id: self.master_id(leaders),
            ip,
            port: u32::from(self.port),
            pid: Some(self.pid()),
            hostname: Some(self.hostname.clone()),
            version: Some(VERSION.to_owned()),
            address: Some(v1::Address {
                hostname: Some(self.hostname.clone()),
                ip: Some(self.ip.to_string()),
                port: i32::from(self.port),
            }),
            domain: None,
            capabilities: Vec::new(),
        }
    }

    /// See [`master_info`](Self::master_info).
    #[must_use]
    pub fn master_id(&self, leaders: &Leaders) -> String {
        leaders.registry.clone().unwrap_or_else(|| self.gateway.as_str().to_owned())
    }
}

/// What an answer needs beside the cluster.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The gateway.
    pub facts: Arc<Facts>,
    /// Both leaders.
    pub leaders: Leaders,
    /// What is offered, as far as this gateway knows.
    pub offered: Arc<Offered>,
    /// Now.
    pub now: Time,
}

/// See the module. Shared behind an `Arc`.
pub struct Reads {
    /// The copy.
    pub view: Arc<View>,
    /// Answers that readers share.
    pub answers: Answers,
    /// What does not change.
    pub facts: Arc<Facts>,
    /// The files of tasks.
    pub files: SandboxFiles,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// Calls to the services.
    pub calls: Calls,
    /// Followers of `/v1/events`.
    pub events: Events,
    /// Followers of the operator API's SUBSCRIBE.
    pub subscribers: Subscribers,
    /// Ends the streams.
    pub cancel: CancellationToken,
}

impl Reads {
    /// Everything for one gateway. Inside the Tokio runtime: it starts what keeps `/v1/events` going.
    #[must_use]
    pub fn new(
        view: Arc<View>,
        facts: Facts,
        ports: &Ports,
        metrics: Metrics,
        calls: Calls,
        cancel: CancellationToken,
    ) -> Arc<Reads> {
        let reads = Arc::new(Reads {
            answers: Answers::new(view.clone()),
            files: SandboxFiles::new(ports, view.clone()),
            view,
            facts: Arc::new(facts),
            metrics,
            calls,
            events: Events::default(),
            subscribers: Subscribers::default(),
            cancel,
        });
        tokio::spawn(crate::rest::events::pump(reads.clone()));
        tokio::spawn(crate::gauges::keep(reads.clone()));
        reads
    }

    /// What an answer needs beside the cluster.
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame {
            facts: self.facts.clone(),
            leaders: self.view.leaders(),
            offered: Arc::new(self.view.offers.sums()),
            now: now(),
        }
    }

    /// Every route of reads and operators: the operator API, Mesos's older endpoints, REST and the page.
    pub fn router(self: &Arc<Self>) -> Router {
        crate::operator::routes(self.clone())
            .merge(crate::legacy::routes(self.clone()))
            .merge(crate::rest::routes(self.clone()))
            .merge(crate::web::routes())
    }
}

/// The wall clock: for people only, nothing is decided by it.
#[must_use]
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

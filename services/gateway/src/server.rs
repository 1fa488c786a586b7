//! One port for everything: gRPC over h2 and HTTP/1.1 on the same listener.
//!
//! # Layout
//! - [`listen`]: connections, their limits, and how they end.
//! - [`tls`]: their encryption.

pub mod listen;
pub mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
    routing::get,
};
use mesos_model::{FrameworkId, GatewayId};
use mesos_proto::{dial::Inside, v1};
use mesos_runtime::{shell::Ports, telemetry::Metrics};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tower_http::compression::{
    CompressionLayer,
    predicate::{NotForContentType, Predicate, SizeAbove},
};
use uuid::Uuid;

pub use self::{listen::Connection, tls::TlsFiles};
use crate::{
    auth::{self, Door},
    calls::Calls,
    errors::Refusal,
    grpc, health, join,
    leaders::Leaders,
    options::GatewayOptions,
    reads::{Facts, Reads},
    scheduler::{self, order::Launches},
    streams::{Limits, Streams},
    view::View,
};
pub use mesos_proto::dial::PeerCertificate;

/// Bodies from this size on are packed, as libprocess packs them.
const GZIP_MIN: u64 = 1024;

/// What every handler shares.
pub struct AppState {
    /// What was chosen.
    pub options: GatewayOptions,
    /// Bus and store.
    pub ports: Ports,
    /// This process.
    pub id: GatewayId,
    /// Where it listens.
    pub address: SocketAddr,
    /// The doors to both services.
    pub calls: Calls,
    /// The streams held here.
    pub streams: Streams,
    /// Launches whose outcome is not known.
    pub launches: Arc<Launches>,
    /// The copy for reads.
    pub view: Arc<View>,
    /// Reads and operators' calls.
    pub reads: Arc<Reads>,
    /// Whether the leaders live.
    pub leaders: Arc<Leaders>,
    /// The process's metrics.
    pub metrics: Metrics,
    /// Cancelled when the gateway is to stop.
    pub stopping: CancellationToken,
    /// Who calls, and what they may.
    pub door: Arc<Door>,
    gauges: Gauges,
}

/// The shared state.
pub type App = Arc<AppState>;

#[derive(Clone, Default)]
struct Gauges {
    streams: Gauge,
    cut_off: Gauge,
    renewed: Gauge,
    repeats: Gauge,
    tls: tls::TlsCounters,
}

impl Gauges {
    fn new(metrics: &Metrics) -> Gauges {
        let gauges = Gauges::default();
        metrics.register("gateway", |registry| {
            registry.register(
                "tls_reload_errors",
                "changes of certificate files that could not be taken up",
                gauges.tls.reload_errors.clone(),
            );
            registry.register(
                "tls_handshake_errors",
                "connections that were given up before they were encrypted",
                gauges.tls.handshake_errors.clone(),
            );
            registry.register("streams", "event streams held", gauges.streams.clone());
            registry.register("streams_cut_off", "clients cut off because they did not read", gauges.cut_off.clone());
            registry.register(
                "subscriptions_renewed",
                "subscriptions that heard nothing any more",
                gauges.renewed.clone(),
            );
            registry.register(
                "requests_repeated",
                "requests to services that had to be repeated",
                gauges.repeats.clone(),
            );
        });
        gauges
    }
}

impl AppState {
    /// Brings gauges up to date.
    pub fn observe(&self) {
        self.gauges.streams.set(i64::try_from(self.streams.open()).unwrap_or(i64::MAX));
        self.gauges.cut_off.set(i64::try_from(self.streams.cut_off()).unwrap_or(i64::MAX));
        self.gauges.renewed.set(i64::try_from(self.streams.renewed()).unwrap_or(i64::MAX));
        self.gauges.repeats.set(i64::try_from(self.calls.repeats()).unwrap_or(i64::MAX));
    }

    /// The address that clients are told.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        let ip = self.options.advertise_ip.unwrap_or(self.address.ip());
        SocketAddr::new(ip, self.options.advertise_port.unwrap_or(self.address.port()))
    }

    /// What clients are told about the master: the registry's leader under this gateway's address.
    #[must_use]
    pub fn master_info(&self) -> v1::MasterInfo {
        self.reads.facts.master_info(&self.view.leaders())
    }

    /// Waits until the copy knows that this stream is the framework's, for a bounded time. The registry's
    /// answer to SUBSCRIBE overtakes its change stream; a call to the allocator carries the number of the
    /// last entry that is known here, and that number must cover the subscription which the call relies on.
    pub async fn until_covered(&self, framework: &FrameworkId, stream: u128) {
        let is_covered = || {
            self.view.with(|cluster| {
                let row = cluster.framework(framework)?;
                (row.subscription.as_ref()?.stream == stream).then_some(())
            })
        };
        if is_covered().is_some() || !self.view.loaded() || self.options.cover.is_zero() {
            return;
        }
        let (_, _, mut changes) = self.view.subscribe();
        let wait = async {
            use tokio::sync::broadcast::error::RecvError;
            while is_covered().is_none() {
                if let Err(RecvError::Closed) = changes.recv().await {
                    return;
                }
            }
        };
        // What is not known by then is the allocator's to refuse.
        let _ = tokio::time::timeout(self.options.cover, wait).await;
    }
}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}; choose another port with --port, or stop what listens there (ss -ltnp 'sport = :{port}')", port = address.port())]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or a key cannot be used.
    #[error("{0}")]
    Tls(String),
    /// A part of the server cannot be built.
    #[error("cannot serve: {0}")]
    Serve(String),
}

/// The gateway.
pub struct Gateway;

/// A gateway that has its port.
pub struct Bound {
    options: GatewayOptions,
    ports: Ports,
    metrics: Metrics,
    doors: listen::Doors,
    address: SocketAddr,
    gauges: Gauges,
    inside: Inside,
}

/// Connections from this process that wait to be taken.
const INSIDE_WAITING_MAX: usize = 64;
/// What either end of one may be ahead of the other, in bytes.
const INSIDE_BYTES: usize = 256 * 1024;

impl Gateway {
    /// Takes the port, before anything else.
    ///
    /// # Errors
    /// If the port is taken or not ours, or a certificate cannot be used.
    pub async fn bind(options: GatewayOptions, ports: Ports, metrics: Metrics) -> Result<Bound, StartError> {
        let address = SocketAddr::new(options.ip, options.port);
        let failed = |source| StartError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let gauges = Gauges::new(&metrics);
        let certificates = match &options.tls {
            Some(files) => {
                Some(tls::Certificates::load(files.clone(), gauges.tls.clone()).await.map_err(StartError::Tls)?)
            }
            None => None,
        };
        let (open, inside) = mpsc::channel(INSIDE_WAITING_MAX);
        let doors = listen::Doors { listener, certificates, inside };
        let inside = Inside::new(move || {
            let (near, far) = tokio::io::duplex(INSIDE_BYTES);
            open.try_send(far).map_err(|_| std::io::Error::other("the gateway takes no connection"))?;
            Ok(near)
        });
        Ok(Bound { options, ports, metrics, doors, address, gauges, inside })
    }
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A way to it for others in this process.
    #[must_use]
    pub fn inside(&self) -> Inside {
        self.inside.clone()
    }

    /// Serves until cancelled: then no connection is accepted, calls under way are finished, streams are
    /// closed without telling the registry, which gives their frameworks time to come back elsewhere.
    ///
    /// # Errors
    /// If a part of the server cannot be built.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), StartError> {
        let app = self.start(&cancel);
        let background = CancellationToken::new();
        let _guard = background.clone().drop_guard();
        let (view, leaders) = (app.view.clone(), app.leaders.clone());
        tokio::spawn(view.run(app.ports.clone(), background.clone()));
        let ports = app.ports.clone();
        tokio::spawn(async move { background.run_until_cancelled(leaders.watch(ports)).await });
        let (grpc, links) = grpc::routes(&app).await.map_err(StartError::Serve)?;
        // After the merge: the gRPC side brings a fallback of its own, which would answer everybody.
        let door = axum::middleware::from_fn_with_state(app.door.clone(), auth::door);
        let router = router(&app).merge(grpc).fallback(nowhere).layer(door);
        let grace = app.options.grace;
        let farewell = async {
            cancel.cancelled().await;
            links.shutdown(Duration::from_secs(1).min(grace)).await;
        };
        let watch = self.doors.certificates.clone().map(|certificates| tokio::spawn(certificates.watch()));
        let serve = listen::serve(self.doors, router, &app.options, cancel.clone());
        tokio::join!(serve, farewell);
        if let Some(watch) = watch {
            watch.abort();
        }
        Ok(())
    }

    fn start(&self, cancel: &CancellationToken) -> App {
        let id = GatewayId::new(Uuid::new_v4().to_string());
        let view = Arc::new(View::new(&self.metrics));
        let known = view.clone();
        let (hold, followed) = (self.options.hold, Arc::new(move |owner| known.known(owner)));
        let calls = Calls::new(&self.ports, id.clone(), hold, followed, &view.quarantine);
        let limits = Limits {
            streams: self.options.streams_max,
            events: self.options.queue_max,
            bytes: self.options.queue_bytes_max,
        };
        let streams = Streams::start(&self.ports, id.as_str(), limits, calls.clone(), view.clone(), cancel.clone());
        let facts = Facts::of(&self.options, id.clone(), self.address);
        let reads = Reads::new(view.clone(), facts, &self.ports, self.metrics.clone(), calls.clone(), cancel.clone());
        Arc::new(AppState {
            reads,
            door: Arc::new(Door::new(self.options.security.clone(), &self.options.cluster)),
            options: self.options.clone(),
            ports: self.ports.clone(),
            id,
            address: self.address,
            leaders: Leaders::new(calls.clone()),
            calls,
            streams,
            launches: Arc::default(),
            view,
            gauges: self.gauges.clone(),
            metrics: self.metrics.clone(),
            stopping: cancel.clone(),
        })
    }
}

/// Everything that is not gRPC. Add a route here.
fn router(app: &App) -> Router {
    Router::new()
        .route("/api/v1/scheduler", any(scheduler::http::scheduler))
        .route("/master/api/v1/scheduler", any(scheduler::http::scheduler))
        .route("/health", get(health::health))
        .route("/master/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .merge(join::routes())
        .with_state(app.clone())
        .merge(app.reads.router())
        .layer(CompressionLayer::new().gzip(true).compress_when(Packed))
}

/// Answers what has no route, each client in its own protocol.
async fn nowhere(request: Request) -> Response {
    let content = request.headers().get(header::CONTENT_TYPE);
    if content.is_some_and(|content| content.as_bytes().starts_with(b"application/grpc")) {
        return tonic::Status::unimplemented("no such service or method").into_http();
    }
    let path = request.uri().path().escape_debug();
    Refusal::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}")).into_response()
}

/// Streams are never packed: an event must not wait in a compressor.
#[derive(Clone, Copy)]
struct Packed;

impl Predicate for Packed {
    fn should_compress<B: axum::body::HttpBody>(&self, response: &axum::http::Response<B>) -> bool {
        response.body().size_hint().exact().is_some()
            && SizeAbove::new(GZIP_MIN - 1).and(NotForContentType::IMAGES).should_compress(response)
    }
}

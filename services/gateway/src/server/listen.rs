//! Connections: which are taken, how long they may be idle, how they end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use mesos_model::planted::{Bug, is_planted};
use mesos_proto::dial::PeerCertificate;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::tls::Certificates;
use crate::options::GatewayOptions;

/// Streams of one h2 connection at the same time.
const H2_STREAMS_MAX: u32 = 1024;
const H2_HEADERS_MAX: u32 = 32 * 1024;
const HEADERS_MAX: usize = 64;
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// What h2 begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The connection that a request came by, in its extensions.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The peer; the gateway's own address for a connection from inside.
    pub peer: SocketAddr,
    /// Whether it comes from this very process, by [`Inside`](mesos_proto::dial::Inside), and so needs no token.
    pub inside: bool,
    /// Ends it at once.
    pub cut: CancellationToken,
}

/// Where connections come from.
pub(super) struct Doors {
    pub(super) listener: TcpListener,
    /// Plain if `None`.
    pub(super) certificates: Option<Arc<Certificates>>,
    /// From this process.
    pub(super) inside: mpsc::Receiver<DuplexStream>,
}

/// What every connection is served with.
#[derive(Clone)]
struct Server {
    router: Router,
    builder: Arc<auto::Builder<TokioExecutor>>,
    certificates: Option<Arc<Certificates>>,
    patience: Duration,
}

/// Accepts until cancelled, then waits for what is under way.
pub(super) async fn serve(mut doors: Doors, router: Router, options: &GatewayOptions, cancel: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let patience = match is_planted(Bug::PatientWithSlowClients) {
        true => Duration::from_secs(3600),
        false => options.header_timeout,
    };
    let (builder, certificates) = (Arc::new(builder(patience)), doors.certificates.take());
    let server = Server { router, builder, certificates, patience };
    let own = doors.listener.local_addr().unwrap_or_else(|_| SocketAddr::new(options.ip, options.port));
    let places = Arc::new(Semaphore::new(options.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = doors.listener.accept() => accepted,
            Some(stream) = doors.inside.recv() => {
                let (server, watcher) = (server.clone(), graceful.watcher());
                let connection = Connection { peer: own, inside: true, cut: CancellationToken::new() };
                tokio::spawn(async move { server.requests(stream, connection, None, watcher).await });
                continue;
            }
            () = cancel.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the peer is gone already: neither is helped by haste.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "too many connections");
            continue;
        };
        let (server, watcher) = (server.clone(), graceful.watcher());
        tokio::spawn(async move {
            server.connection(stream, peer, watcher).await;
            drop(place);
        });
    }
    drop(doors);
    if tokio::time::timeout(options.grace, graceful.shutdown()).await.is_err() {
        tracing::info!("some connections did not end in time");
    }
}

impl Server {
    async fn connection(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let _ = stream.set_nodelay(true);
        let connection = Connection { peer, inside: false, cut: CancellationToken::new() };
        match &self.certificates {
            Some(certificates) => {
                let Some(mut secure) = certificates.accept(stream, self.patience).await else { return };
                let certificate = secure.certificate.take();
                self.requests(secure, connection, certificate, watcher).await;
            }
            None if first_bytes(&stream, self.patience).await => {
                self.requests(stream, connection, None, watcher).await;
            }
            None => {}
        }
    }

    async fn requests(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        connection: Connection,
        certificate: Option<PeerCertificate>,
        watcher: Watcher,
    ) {
        let (peer, cut) = (connection.peer, connection.cut.clone());
        let router = self.router;
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(connection.clone());
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            router.clone().oneshot(request)
        });
        let served = self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::select! {
            served = watcher.watch(served.into_owned()) => {
                if let Err(error) = served {
                    tracing::debug!(%peer, %error, "a connection ended");
                }
            }
            () = cut.cancelled() => {}
        }
    }
}

fn builder(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(HEADERS_MAX)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(H2_HEADERS_MAX)
        .max_pending_accept_reset_streams(64)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

/// Waits until it can be told which protocol the peer speaks; false if that takes too long. The server
/// itself has no clock for that part.
async fn first_bytes(stream: &TcpStream, patience: Duration) -> bool {
    let look = async {
        let mut head = [0; PREFACE.len()];
        loop {
            match stream.peek(&mut head).await {
                Ok(0) | Err(_) => return false,
                Ok(count) if count == PREFACE.len() || !PREFACE.starts_with(&head[..count]) => return true,
                // Part of the preface; peeking again gives the same bytes until more arrive.
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(patience, look).await.unwrap_or(false)
}

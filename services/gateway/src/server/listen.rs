//! Connections: which are taken, how long they may be idle, how they end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use mesos_model::planted::{Bug, is_planted};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::options::GatewayOptions;

/// Streams of one h2 connection at the same time.
const H2_STREAMS_MAX: u32 = 1024;
const H2_HEADERS_MAX: u32 = 32 * 1024;
const HEADERS_MAX: usize = 64;
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// What h2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The connection that a request came by, in its extensions.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The peer.
    pub peer: SocketAddr,
    /// Ends it at once.
    pub cut: CancellationToken,
}

/// The certificate (DER) that the peer of the connection showed, in a request's extensions: the listener has
/// checked that the cluster's CA signed it.
#[derive(Clone, Debug)]
pub struct PeerCertificate(pub Vec<u8>);

/// Accepts until cancelled, then waits for what is under way.
pub(super) async fn serve(listener: TcpListener, router: Router, options: &GatewayOptions, cancel: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let patience = match is_planted(Bug::PatientWithSlowClients) {
        true => Duration::from_secs(3600),
        false => options.header_timeout,
    };
    let builder = Arc::new(builder(patience));
    let places = Arc::new(Semaphore::new(options.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
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
        let (router, builder, watcher) = (router.clone(), builder.clone(), graceful.watcher());
        tokio::spawn(async move {
            if first_bytes(&stream, patience).await {
                let _ = stream.set_nodelay(true);
                let connection = Connection { peer, cut: CancellationToken::new() };
                let cut = connection.cut.clone();
                let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                    let mut request = request.map(Body::new);
                    request.extensions_mut().insert(connection.clone());
                    router.clone().oneshot(request)
                });
                let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                tokio::select! {
                    served = watcher.watch(served.into_owned()) => {
                        if let Err(error) = served {
                            tracing::debug!(%peer, %error, "a connection ended");
                        }
                    }
                    () = cut.cancelled() => {}
                }
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(options.grace, graceful.shutdown()).await.is_err() {
        tracing::info!("some connections did not end in time");
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

//! The agent's port, and the connections to it.

use std::{net::IpAddr, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::any,
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesos_runtime::http::Refusal;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{Executors, http};
use crate::{AgentError, AgentOptions};

/// Connections at most: an executor has one for its stream and one for calls.
const CONNECTIONS_MAX: usize = 4096;
const HEADERS_MAX: usize = 64;
/// How long a client may take to send its headers, or to go on with its body.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The largest body of a request, in bytes, packed and unpacked.
pub(super) const BODY_MAX: usize = 8 * 1024 * 1024;

/// Takes the port: the one that executors of an earlier run know, else the one of the options, else any, as
/// far as the options leave a choice. Executors run on this host, so nobody else needs to reach it.
///
/// # Errors
/// If the port is taken or not ours.
pub(crate) async fn bind(options: &AgentOptions, earlier: u32) -> Result<TcpListener, AgentError> {
    let ip = if options.ip.is_loopback() { options.ip } else { IpAddr::from([127, 0, 0, 1]) };
    let wanted = u16::try_from(options.port).unwrap_or(0);
    let candidates = if options.any_port {
        let earlier = u16::try_from(earlier).ok().filter(|port| *port != 0);
        earlier.into_iter().chain([wanted, 0]).collect()
    } else {
        vec![wanted]
    };
    let mut failed = None;
    for port in candidates {
        let address = SocketAddr::new(ip, port);
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(source) => {
                tracing::debug!(%address, %source, "the port is not to be had");
                failed = Some((address, source));
            }
        }
    }
    let text = failed.map_or_else(String::new, |(address, source)| {
        format!("cannot listen on {address}: {source}; choose another port with --port, or 0 for any")
    });
    Err(AgentError::Option(text))
}

/// Accepts until cancelled. Streams end then at once: executors wait for the agent's next start.
pub(crate) async fn serve(listener: TcpListener, executors: Executors, cancel: CancellationToken) {
    let router = Router::new()
        .route("/api/v1/executor", any(http::executor))
        // As executors know it that were made with Mesos's library.
        .route("/slave(1)/api/v1/executor", any(http::executor))
        .route("/health", any(|| async { StatusCode::OK }))
        .fallback(nowhere)
        .with_state(executors);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_headers(HEADERS_MAX).keep_alive(true);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, or the peer is gone already: neither is helped by haste.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "too many connections");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (router, cancel) = (router.clone(), cancel.clone());
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            router.clone().oneshot(request.map(Body::new))
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            tokio::select! {
                served = connection => {
                    if let Err(error) = served {
                        tracing::debug!(%peer, %error, "a connection ended");
                    }
                }
                () = cancel.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn nowhere() -> Response {
    Refusal::new(StatusCode::NOT_FOUND, "there are /api/v1/executor and /health").into_response()
}

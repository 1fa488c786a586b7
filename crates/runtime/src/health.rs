//! `/health`, `/ready` and `/metrics` of a service that has no gateway in its process.
//!
//! A few lines of HTTP/1 are all that probes and Prometheus need.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;

/// A request's head is shorter than this.
const HEAD_MAX: usize = 8 * 1024;
/// How long a client may take.
const CLIENT_MAX: Duration = Duration::from_secs(5);

/// Binds the address.
///
/// # Errors
/// Says that the address is taken or not ours.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("--http-addr {address}: {error}; choose another address or port"))
}

/// Answers until it is cancelled; `ready` says whether the service does its work.
pub async fn serve(listener: TcpListener, metrics: Metrics, ready: watch::Receiver<bool>, cancel: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (metrics, ready) = (metrics.clone(), ready.clone());
                tokio::spawn(async move { tokio::time::timeout(CLIENT_MAX, answer(stream, &metrics, &ready)).await });
            }
            // Out of file descriptors, most of all: wait for some to come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics, ready: &watch::Receiver<bool>) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_MAX || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&head);
    let mut words = line.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let plain = "text/plain; charset=utf-8";
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/health") => ("200 OK", plain, String::new()),
        ("GET" | "HEAD", "/ready") if *ready.borrow() => ("200 OK", plain, String::new()),
        ("GET" | "HEAD", "/ready") => ("503 Service Unavailable", plain, "not ready\n".to_owned()),
        ("GET" | "HEAD", "/metrics") => {
            ("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.text())
        }
        ("GET" | "HEAD", _) => ("404 Not Found", plain, "there are /health, /ready and /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", plain, String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if method != "HEAD" {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_and_prometheus_are_answered() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, told) = watch::channel(false);
        let metrics = Metrics::default();
        metrics.register("x", |registry| {
            registry.register("y", "z", prometheus_client::metrics::gauge::Gauge::<i64>::default());
        });
        let cancel = CancellationToken::new();
        let server = tokio::spawn(serve(listener, metrics, told, cancel.clone()));
        assert!(ask(address, "GET /health HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        assert!(ask(address, "GET /ready HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
        ready.send(true).unwrap();
        assert!(ask(address, "GET /ready HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        assert!(ask(address, "GET /metrics?a=b HTTP/1.1\r\n\r\n").await.contains("mesos_x_y 0"));
        assert!(ask(address, "GET /etc/passwd HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(ask(address, "PUT /health HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
        cancel.cancel();
        server.await.unwrap();
    }
}

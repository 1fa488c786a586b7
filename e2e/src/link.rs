//! A connection that a test can cut: a small proxy between a process and what it depends on.
//!
//! Cut, it forwards nothing and closes nothing, as a network does whose packets are lost: who waits for an answer
//! waits, and what was sent meanwhile arrives after the heal.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::ports;

/// Where a link leads to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A loopback port.
    Port(u16),
    /// A unix socket.
    Socket(PathBuf),
}

/// A proxy on a loopback port. It ends when it is dropped.
#[derive(Debug)]
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
    worker: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<Target>,
    cut: watch::Sender<bool>,
    /// Rises when all connections are to be closed.
    generation: watch::Sender<u64>,
}

impl Link {
    /// Listens, and forwards to the target.
    pub async fn open(target: Target) -> Result<Link> {
        let port = ports::free()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("a link's port")?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            cut: watch::Sender::new(false),
            generation: watch::Sender::new(0),
        });
        let of_worker = shared.clone();
        let worker = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(of_worker.clone().serve(stream));
            }
        });
        Ok(Link { port, shared, worker })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Forwards nothing any more, or again.
    pub fn set_cut(&self, cut: bool) {
        self.shared.cut.send_replace(cut);
    }

    /// Leads elsewhere from now on; what is connected is closed.
    pub fn lead_to(&self, target: Target) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
        self.shared.generation.send_modify(|generation| *generation += 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.worker.abort();
        self.shared.generation.send_modify(|generation| *generation += 1);
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let mut generation = self.generation.subscribe();
        generation.borrow_and_update();
        let serve = async {
            self.until_whole().await;
            let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let _ = stream.set_nodelay(true);
            match target {
                Target::Port(port) => {
                    if let Ok(other) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                        let _ = other.set_nodelay(true);
                        self.forward(stream, other).await;
                    }
                }
                Target::Socket(path) => {
                    if let Ok(other) = UnixStream::connect(path).await {
                        self.forward(stream, other).await;
                    }
                }
            }
        };
        tokio::select! {
            () = serve => {}
            _ = generation.changed() => {}
        }
    }

    async fn until_whole(&self) {
        // The sender lives in `self`.
        let _ = self.cut.subscribe().wait_for(|cut| !*cut).await;
    }

    async fn forward(&self, one: impl AsyncRead + AsyncWrite, other: impl AsyncRead + AsyncWrite) {
        let ((mut read_one, mut write_one), (mut read_other, mut write_other)) =
            (tokio::io::split(one), tokio::io::split(other));
        tokio::join!(self.pump(&mut read_one, &mut write_other), self.pump(&mut read_other, &mut write_one));
    }

    async fn pump(&self, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            self.until_whole().await;
            if to.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    }
}

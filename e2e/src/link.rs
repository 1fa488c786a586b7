//! A connection that a test can cut: a small proxy between an agent and Docker.
//!
//! Cut, it forwards nothing and closes nothing, as a daemon does that hangs: who waits for an answer waits, and what
//! was sent meanwhile arrives after the heal. Between hosts, a [`crate::network`] is cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::ports;

/// A proxy on a port of this host to a unix socket. It ends when it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    worker: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    cut: watch::Sender<bool>,
    over: watch::Sender<bool>,
}

impl Link {
    /// Listens, and forwards to the socket.
    pub async fn open(ip: Ipv4Addr, socket: &Path) -> Result<Link> {
        let listener = TcpListener::bind((ip, ports::free()?)).await.context("a link's port")?;
        let address = listener.local_addr()?;
        let (cut, over) = (watch::Sender::new(false), watch::Sender::new(false));
        let shared = Arc::new(Shared { socket: socket.to_owned(), cut, over });
        let of_worker = shared.clone();
        let worker = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(of_worker.clone().serve(stream));
            }
        });
        Ok(Link { address, shared, worker })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards nothing any more, or again.
    pub fn set_cut(&self, cut: bool) {
        self.shared.cut.send_replace(cut);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.worker.abort();
        self.shared.over.send_replace(true);
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let mut over = self.over.subscribe();
        let serve = async {
            self.until_whole().await;
            let _ = stream.set_nodelay(true);
            if let Ok(other) = UnixStream::connect(&self.socket).await {
                self.forward(stream, other).await;
            }
        };
        tokio::select! {
            () = serve => {}
            _ = over.wait_for(|over| *over) => {}
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

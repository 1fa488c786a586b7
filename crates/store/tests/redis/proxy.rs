//! A TCP proxy that loses what a test wants lost.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const PASS: u8 = 0;
const LOSE_REQUEST: u8 = 1;
const LOSE_ANSWER: u8 = 2;

pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    lose: AtomicU8,
    cuts: watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared =
            Arc::new(Shared { target: Mutex::new(target), lose: AtomicU8::new(PASS), cuts: watch::Sender::new(0) });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().carry(client));
            }
        });
        Proxy { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go there.
    pub(crate) fn turn_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn lose_next_request(&self) {
        self.shared.lose.store(LOSE_REQUEST, Ordering::SeqCst);
    }

    pub(crate) fn lose_next_answer(&self) {
        self.shared.lose.store(LOSE_ANSWER, Ordering::SeqCst);
    }
}

impl Shared {
    async fn carry(self: Arc<Self>, client: TcpStream) {
        let mut cuts = self.cuts.subscribe();
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed target closes the client's connection, as if it had been refused.
        let Ok(server) = TcpStream::connect(target).await else {
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = self.pump(from_client, to_server, LOSE_REQUEST) => {}
            () = self.pump(from_server, to_client, LOSE_ANSWER) => {}
            _ = cuts.changed() => {}
        }
    }

    /// Copies until an end, or until what it would copy is to be lost.
    async fn pump(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, lost_by: u8) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read) = from.read(&mut buffer).await {
            let lose = self.lose.compare_exchange(lost_by, PASS, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if read == 0 || lose || to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}

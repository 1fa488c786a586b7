//! The Redis adapter against real servers.

mod faults;
mod proxy;
mod secured;
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use mesos_ports::conformance::store::{Faults, Fixture, run};
use mesos_ports::store::{Change, Commit, Fence, Store, StoreError};
use mesos_store::redis::{RedisOptions, RedisStore};
use uuid::Uuid;

use proxy::Proxy;
use server::{Secured, Server};

const LONG: Duration = Duration::from_secs(60);

/// A server behind a proxy, and the second server that roll-backs go to.
struct Rig {
    proxy: Proxy,
    store: Arc<RedisStore>,
    server: Mutex<Server>,
    promoted: Mutex<Option<Server>>,
    /// Over TLS with a user and nothing but its permissions; plain and open if `None`.
    secured: Option<Secured>,
}

impl Rig {
    async fn start(secured: Option<Secured>) -> Rig {
        let server = another_server(&["--appendonly", "yes"], secured.as_ref()).await;
        let proxy = Proxy::start(address(&server)).await;
        let store = open(proxy.address(), secured.as_ref()).await;
        Rig { proxy, store: Arc::new(store), server: Mutex::new(server), promoted: Mutex::new(None), secured }
    }

    fn with_server<T>(&self, with: impl FnOnce(&mut Server) -> T) -> T {
        with(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Faults for Rig {
    async fn another(&self) -> Option<Arc<dyn Store>> {
        let address = self.with_server(|server| address(server));
        Some(Arc::new(open(address, self.secured.as_ref()).await))
    }

    async fn restart(&self) -> Option<Arc<dyn Store>> {
        self.with_server(Server::stop);
        let url = self.with_server(|server| {
            server.spawn();
            server.url()
        });
        server::ready(&url).await;
        Some(self.store.clone())
    }

    async fn mark(&self) -> bool {
        let replica = another_server(&["--appendonly", "no"], self.secured.as_ref()).await;
        let port = self.with_server(|server| server.port);
        replica.follow(port).await;
        replica.promote().await;
        *self.promoted.lock().unwrap_or_else(PoisonError::into_inner) = Some(replica);
        true
    }

    async fn roll_back(&self) -> Option<Arc<dyn Store>> {
        let promoted = self.promoted.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(address)?;
        self.proxy.turn_to(promoted);
        self.proxy.cut();
        Some(self.store.clone())
    }

    async fn wipe(&self) -> bool {
        let url = self.with_server(|server| server.url());
        server::command(&url, &["FLUSHALL"]).await;
        true
    }

    async fn lose_next_answer(&self) -> bool {
        self.proxy.lose_next_answer();
        true
    }

    async fn lose_next_request(&self) -> bool {
        self.proxy.lose_next_request();
        true
    }

    async fn drop_connections(&self) -> bool {
        self.proxy.cut();
        true
    }

    async fn stall(&self, on: bool) -> bool {
        self.with_server(|server| server.signal(if on { "STOP" } else { "CONT" }));
        true
    }

    async fn fill(&self, on: bool) -> bool {
        let url = self.with_server(|server| server.url());
        server::command(&url, &["CONFIG", "SET", "maxmemory", if on { "1" } else { "0" }]).await;
        true
    }

    async fn advance_stream(&self, service: &str, seq: u64) -> bool {
        let url = self.with_server(|server| server.url());
        let key = format!("{{mesos:test}}:{service}:entries");
        server::command(&url, &["XADD", &key, &format!("{seq}-0"), "e", "1", "c", ""]).await;
        true
    }
}

async fn another_server(arguments: &[&str], secured: Option<&Secured>) -> Server {
    match secured {
        Some(secured) => Server::start_secured(arguments, secured).await,
        None => Server::start(arguments).await,
    }
}

/// Where the adapter goes.
fn address(server: &Server) -> SocketAddr {
    if server.tls_port.is_some() { server.tls_address() } else { server.address() }
}

async fn open(address: SocketAddr, secured: Option<&Secured>) -> RedisStore {
    let (scheme, options) = match secured {
        Some(secured) => ("rediss", secured.options()),
        None => ("redis", RedisOptions::default()),
    };
    RedisStore::connect(&format!("{scheme}://{address}"), "test", options).await.expect("connect")
}

async fn connect(server: &Server) -> RedisStore {
    RedisStore::connect(&server.url(), "test", RedisOptions::default()).await.expect("connect")
}

async fn refused(url: &str) -> StoreError {
    match RedisStore::connect(url, "test", RedisOptions::default()).await {
        Ok(_) => panic!("{url} was not refused"),
        Err(error) => error,
    }
}

async fn leader(store: &RedisStore) -> Fence {
    store.acquire("allocator", Uuid::new_v4(), None, 0, LONG).await.expect("acquire").fence
}

fn commit(fence: Fence, value: &str) -> Commit {
    Commit {
        service: "allocator",
        fence,
        batch: Uuid::new_v4(),
        changes: vec![Change { key: "a".into(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }],
        peer_cursor: 0,
        lease: LONG,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_every_promise_of_the_store_port() {
    if !server::is_there() {
        return;
    }
    run(|| async {
        let rig = Arc::new(Rig::start(None).await);
        Fixture { store: rig.store.clone(), faults: rig }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_them_over_tls_to_a_user_with_no_more_than_the_permissions_it_needs() {
    if !server::is_there() {
        return;
    }
    run(|| async {
        let rig = Arc::new(Rig::start(Some(Secured::new())).await);
        Fixture { store: rig.store.clone(), faults: rig }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_would_evict_rows_is_refused() {
    if !server::is_there() {
        return;
    }
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]).await;
    let error = refused(&server.url()).await;
    assert!(matches!(&error, StoreError::Unusable(text) if text.contains("noeviction")), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_not_retryable() {
    if !server::is_there() {
        return;
    }
    let server = Server::start(&["--requirepass", "secret"]).await;
    for url in [server.url(), format!("redis://:wrong@{}", server.address())] {
        let error = refused(&url).await;
        assert!(matches!(error, StoreError::Unusable(_)), "{error}");
    }
    let url = format!("redis://:secret@{}", server.address());
    RedisStore::connect(&url, "test", RedisOptions::default()).await.expect("the right password");
}

#[tokio::test]
async fn nobody_listening_is_said_at_once() {
    let port = server::free_port();
    let start = Instant::now();
    let error = refused(&format!("redis://127.0.0.1:{port}")).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let error = refused("no url").await;
    assert!(matches!(error, StoreError::Unusable(_)), "{error}");
}

#[tokio::test]
async fn a_primary_that_became_a_replica_refuses_writes() {
    if !server::is_there() {
        return;
    }
    let (old, new) = (Server::start(&[]).await, Server::start(&[]).await);
    let store = connect(&old).await;
    let fence = leader(&store).await;
    new.follow(old.port).await;
    new.promote().await;
    old.follow(new.port).await;
    let error = store.commit(commit(fence, "1")).await.expect_err("a replica takes no writes");
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_given_them_again() {
    if !server::is_there() {
        return;
    }
    let server = Server::start(&[]).await;
    let store = connect(&server).await;
    let mut fence = leader(&store).await;
    for value in ["1", "2"] {
        fence.seq = store.commit(commit(fence, value)).await.expect("commit").seq;
        server::command(&server.url(), &["SCRIPT", "FLUSH"]).await;
    }
    assert_eq!(store.load("allocator").await.expect("load").seq, 2);
}

#[tokio::test]
async fn clusters_share_a_server_without_touching_each_other() {
    if !server::is_there() {
        return;
    }
    let server = Server::start(&[]).await;
    let one = RedisStore::connect(&server.url(), "one", RedisOptions::default()).await.expect("connect");
    let two = RedisStore::connect(&server.url(), "two", RedisOptions::default()).await.expect("connect");
    let fence = leader(&one).await;
    leader(&two).await;
    one.commit(commit(fence, "1")).await.expect("commit");
    assert!(two.load("allocator").await.expect("load").rows.is_empty());
}

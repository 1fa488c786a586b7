//! What a commit costs: `commit_cost redis [url] | embedded | embedded-each | memory`, with 1, 10 and 100
//! changes of 200 bytes on top of 100,000 rows. Without a URL a redis-server of its own is started.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use mesos_ports::store::{Change, Commit, Fence, Store};
use mesos_store::embedded::{EmbeddedStore, Sync};
use mesos_store::redis::{RedisOptions, RedisStore};
use uuid::Uuid;

const ROWS: usize = 100_000;
const LEASE: Duration = Duration::from_secs(60);
const SPAN: Duration = Duration::from_secs(3);

/// Ends the server with the measurement.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_else(|| "embedded".to_owned());
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("store");
    let mut server = None;
    let store: Arc<dyn Store> = match kind.as_str() {
        "redis" => {
            let url = match arguments.next() {
                Some(url) => url,
                None => start(folder.path(), &mut server)?,
            };
            Arc::new(connect(&url).await?)
        }
        "embedded" => Arc::new(EmbeddedStore::open(&file, Sync::every_second())?),
        "embedded-each" => Arc::new(EmbeddedStore::open(&file, Sync::Each)?),
        "memory" => Arc::new(EmbeddedStore::in_memory()),
        other => return Err(format!("{other}: redis, embedded, embedded-each or memory").into()),
    };
    let mut fence = store.acquire("allocator", Uuid::new_v4(), None, 0, LEASE).await?.fence;
    for first in (0..ROWS).step_by(1000) {
        fence.seq = store.commit(commit(fence, (first..first + 1000).collect())).await?.seq;
    }
    let start = Instant::now();
    let rows = store.load("allocator").await?.rows.len();
    println!("{kind}: {rows} rows loaded in {:?}", start.elapsed());
    for changes in [1, 10, 100] {
        measure(&*store, &mut fence, changes).await?;
    }
    wake_up(&*store, &mut fence).await
}

async fn measure(store: &dyn Store, fence: &mut Fence, changes: usize) -> Result<(), Box<dyn std::error::Error>> {
    let (mut times, start, mut at) = (Vec::new(), Instant::now(), 0usize);
    while start.elapsed() < SPAN {
        let rows = (0..changes).map(|n| (at + n) * 7919 % ROWS).collect();
        at += changes;
        let commit = commit(*fence, rows);
        let asked = Instant::now();
        fence.seq = store.commit(commit).await?.seq;
        times.push(asked.elapsed());
        if fence.seq.is_multiple_of(1000) {
            store.trim("allocator", fence.seq - 100).await?;
        }
    }
    let count = times.len();
    times.sort();
    println!(
        "{changes:>4} changes: {:>6} commits/s, p50 {:?}, p99 {:?}, max {:?}",
        (count as f64 / start.elapsed().as_secs_f64()) as u64,
        times[count / 2],
        times[count * 99 / 100],
        times[count - 1],
    );
    Ok(())
}

/// From the answer to a commit until a follower has its entry.
async fn wake_up(store: &dyn Store, fence: &mut Fence) -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = store.follow("allocator", fence.seq).await?;
    let mut times = Vec::new();
    for row in 0..500 {
        let asked = Instant::now();
        let (done, entry) = tokio::join!(store.commit(commit(*fence, vec![row])), stream.next());
        entry.ok_or("the stream ended")??;
        fence.seq = done?.seq;
        times.push(asked.elapsed());
    }
    times.sort();
    println!("commit to follower: p50 {:?}, p99 {:?}", times[250], times[495]);
    Ok(())
}

fn commit(fence: Fence, rows: Vec<usize>) -> Commit {
    let change =
        |row| Change { key: format!("task/framework-1/task-{row:06}"), value: Some(Bytes::from(vec![7; 200])) };
    let changes = rows.into_iter().map(change).collect();
    Commit { service: "allocator", fence, batch: Uuid::new_v4(), changes, peer_cursor: 0, lease: LEASE }
}

fn start(folder: &std::path::Path, server: &mut Option<Server>) -> std::io::Result<String> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()?;
    *server = Some(Server(child));
    Ok(format!("redis://127.0.0.1:{port}"))
}

/// Connects once the server that was just started listens.
async fn connect(url: &str) -> Result<RedisStore, mesos_ports::store::StoreError> {
    let start = Instant::now();
    loop {
        match RedisStore::connect(url, "bench", RedisOptions::default()).await {
            Err(error) if error.is_retryable() && start.elapsed() < Duration::from_secs(5) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

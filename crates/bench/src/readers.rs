//! Clients that poll `/state`, as dashboards and scripts do.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::report::Times;

/// Readers at work; dropping them ends them.
pub(crate) struct Readers {
    _tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    times: Mutex<Times>,
    bytes: AtomicU64,
    failed: AtomicU64,
}

/// What the readers saw.
pub(crate) struct Seen {
    pub(crate) times: Times,
    pub(crate) bytes: u64,
    pub(crate) failed: u64,
}

impl Readers {
    /// So many clients, each with a connection of its own, that read again after a pause.
    pub(crate) fn start(url: &str, count: usize, pause: Duration) -> Result<Readers> {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let client = reqwest::Client::builder().no_proxy().build()?;
            // Spread over the first pause, as clients that know nothing of each other are.
            let wait = pause.mul_f64(number as f64 / count as f64);
            tasks.spawn(read(client, format!("{url}/state"), wait, pause, shared.clone()));
        }
        Ok(Readers { _tasks: tasks, shared })
    }

    /// Ends them.
    pub(crate) fn stop(self) -> Seen {
        Seen {
            times: self.shared.times.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }
}

async fn read(client: reqwest::Client, url: String, wait: Duration, pause: Duration, shared: Arc<Shared>) {
    tokio::time::sleep(wait).await;
    loop {
        let start = Instant::now();
        match whole(&client, &url).await {
            Ok(bytes) => {
                shared.times.lock().unwrap_or_else(PoisonError::into_inner).add(start.elapsed());
                shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(_) => {
                shared.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

async fn whole(client: &reqwest::Client, url: &str) -> Result<u64, reqwest::Error> {
    let mut answer = client.get(url).timeout(Duration::from_secs(60)).send().await?.error_for_status()?;
    let mut bytes = 0;
    while let Some(chunk) = answer.chunk().await? {
        bytes += chunk.len() as u64;
    }
    Ok(bytes)
}

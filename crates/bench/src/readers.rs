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
use tokio_util::sync::CancellationToken;

use crate::report::Times;

/// Readers at work; dropping them ends them.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    cancel: CancellationToken,
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
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
    /// So many clients, each with a connection of its own, that read again after a pause. They have a
    /// thread of their own: what they read must not delay the frameworks' clocks.
    pub(crate) fn start(url: &str, count: usize, pause: Duration) -> Result<Readers> {
        let (shared, cancel) = (Arc::new(Shared::default()), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (url, seen, cancelled) = (format!("{url}/state"), shared.clone(), cancel.clone());
        std::thread::Builder::new().name("readers".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                for number in 0..count {
                    // Spread over the first pause, as clients that know nothing of each other are.
                    let wait = pause.mul_f64(number as f64 / count as f64);
                    tasks.spawn(read(url.clone(), wait, pause, seen.clone()));
                }
                cancelled.cancelled().await;
            });
        })?;
        Ok(Readers { shared, cancel })
    }

    /// Ends them.
    pub(crate) fn stop(self) -> Seen {
        self.cancel.cancel();
        Seen {
            times: self.shared.times.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }
}

async fn read(url: String, wait: Duration, pause: Duration, shared: Arc<Shared>) {
    let Ok(client) = reqwest::Client::builder().no_proxy().build() else {
        shared.failed.fetch_add(1, Ordering::Relaxed);
        return;
    };
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

//! Clients that call the gateway all the time, and remember every call that failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::release::Release;

/// Reads of one client follow each other with this pause.
const PAUSE: Duration = Duration::from_millis(20);

/// What was done so far.
#[derive(Default)]
struct Counts {
    reads: AtomicUsize,
    launches: AtomicUsize,
    stop: AtomicBool,
}

/// Does something to a release while reads and launches go on, of which every single one must succeed.
pub(crate) async fn under_load(release: &Release, what: &str, action: impl Future<Output = Result<()>>) -> Result<()> {
    let counts = Arc::new(Counts::default());
    let mut clients = JoinSet::new();
    // One keeps its connection, one makes a new one for each call.
    for kept in [1, 0] {
        let client = release.http_client(kept)?;
        let (url, counts) = (release.http_url("/v1/agents"), Arc::clone(&counts));
        clients.spawn(async move { read(client, url, &counts).await });
    }
    let launches = launch(release, &counts);
    let action = async {
        // Load first, and for a moment afterwards too.
        calls(&counts, 20, 1).await;
        let done = action.await;
        let (reads, launches) = (counts.reads.load(Ordering::Relaxed), counts.launches.load(Ordering::Relaxed));
        if done.is_ok() {
            calls(&counts, reads + 50, launches + 1).await;
        }
        counts.stop.store(true, Ordering::Relaxed);
        done
    };
    let (launched, done) = tokio::join!(launches, action);
    done?;
    launched.with_context(|| format!("a launch failed while {what}"))?;
    while let Some(client) = clients.join_next().await {
        client?.with_context(|| format!("a call failed while {what}"))?;
    }
    let (reads, launches) = (counts.reads.load(Ordering::Relaxed), counts.launches.load(Ordering::Relaxed));
    println!("{what}: {reads} reads and {launches} launches, none failed");
    Ok(())
}

/// Waits until so many calls were made, or one failed.
async fn calls(counts: &Counts, reads: usize, launches: usize) {
    while !counts.stop.load(Ordering::Relaxed)
        && (counts.reads.load(Ordering::Relaxed) < reads || counts.launches.load(Ordering::Relaxed) < launches)
    {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(client: reqwest::Client, url: String, counts: &Counts) -> Result<()> {
    let ended = async {
        while !counts.stop.load(Ordering::Relaxed) {
            let answer = client.get(&url).timeout(Duration::from_secs(10)).send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            ensure!(status.is_success(), "{status}: {text}");
            counts.reads.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
    .await;
    if ended.is_err() {
        counts.stop.store(true, Ordering::Relaxed);
    }
    ended
}

async fn launch(release: &Release, counts: &Counts) -> Result<()> {
    while !counts.stop.load(Ordering::Relaxed) {
        let launched = release.launch().await;
        if launched.is_err() {
            counts.stop.store(true, Ordering::Relaxed);
        }
        launched?;
        counts.launches.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

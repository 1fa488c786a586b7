//! The store in one file, for one process.
//!
//! Rows and entries are in memory; every commit is appended to the file as one checksummed record before
//! it is answered, and the file is synced each second or with each commit ([`Sync`]). When it has grown
//! to several times what it must hold, it is written anew. A database (redb 4.6) was tried first: a
//! commit of 100 rows cost it 0.46 ms without a sync and 0.15 s once a second with it.
//!
//! Leases are kept in memory only: the file is locked by its process, so a holder never outlives it.
//!
//! # Layout
//! - `state`: rows, records, entries; what is refused and what an event changes.
//! - `event`: what is appended, as bytes.
//! - `file`: opening, appending, syncing, writing anew.
//! - `writer`: the thread that owns the file and groups what waits for it.

mod event;
mod file;
mod state;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use mesos_ports::store::{
    Acquired, Commit, Committed, Entry, Extent, Fence, Head, Rows, Scanned, Store, StoreError, is_cold,
};
use tokio::sync::watch;
use uuid::Uuid;

use file::LogFile;
pub use file::Salvaged;
use state::{Shared, State};
use writer::{Done, Request, Writer};

/// How many entries a follower takes at a time.
const PAGE: usize = 256;

/// When what was committed is forced to the disk. Either way a commit survives the end of the process;
/// this is about the machine losing power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// In the background, at this interval: a power cut loses what was committed since the last one.
    Every(Duration),
    /// Before a commit is answered. Commits that wait at the same time share one sync.
    Each,
}

impl Sync {
    /// What Redis calls `everysec`.
    pub fn every_second() -> Self {
        Sync::Every(Duration::from_secs(1))
    }
}

/// The store of one file. Clones share it; the last one to go syncs and closes it.
#[derive(Clone)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

impl EmbeddedStore {
    /// Opens the file, or creates it with the folders above it.
    ///
    /// A record that was cut by a crash at the file's end is dropped. Fails with
    /// [`StoreError::Unusable`] when another process has the file, when it is not ours, or when it is
    /// damaged before its end. Reads the whole file, so call it where blocking is allowed.
    pub fn open(path: impl AsRef<Path>, sync: Sync) -> Result<Self, StoreError> {
        let mut state = State::default();
        let file = LogFile::open(path.as_ref(), &mut state)?;
        EmbeddedStore::start(state, Some(file), sync)
    }

    /// As [`open`](Self::open), but a file that is damaged is no obstacle: what can be read of it is kept, and it
    /// is put aside under the name with `.damaged` at its end. For an agent's checkpoint, where each row stands
    /// for itself, and an agent that does not start is worse than one that has lost some.
    pub fn open_or_salvage(path: impl AsRef<Path>, sync: Sync) -> Result<(Self, Option<Salvaged>), StoreError> {
        let mut state = State::default();
        let (file, salvaged) = LogFile::open_or_salvage(path.as_ref(), &mut state)?;
        Ok((EmbeddedStore::start(state, Some(file), sync)?, salvaged))
    }

    /// A store without a file, for tests and throw-away clusters.
    pub fn in_memory() -> Self {
        let shared = Arc::new(Shared::new(State::default()));
        EmbeddedStore { writer: Arc::new(Writer::in_memory(shared.clone())), shared }
    }

    fn start(state: State, file: Option<LogFile>, sync: Sync) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::new(state));
        let writer = Writer::start(shared.clone(), file, sync)?;
        Ok(EmbeddedStore { shared, writer: Arc::new(writer) })
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn acquire(
        &self,
        service: &'static str,
        leader: Uuid,
        previous: Option<Uuid>,
        epoch_min: u64,
        lease: Duration,
    ) -> Result<Acquired, StoreError> {
        match self.writer.ask(Request::Acquire { service, leader, previous, epoch_min, lease }).await? {
            Done::Acquired(acquired) => Ok(acquired),
            _ => Err(writer::gone()),
        }
    }

    async fn release(&self, service: &'static str, fence: Fence) -> Result<(), StoreError> {
        self.writer.ask(Request::Release { service, fence }).await.map(|_| ())
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        match self.writer.ask(Request::Commit(commit)).await? {
            Done::Committed(committed) => Ok(committed),
            _ => Err(writer::gone()),
        }
    }

    async fn scan(&self, service: &'static str, extent: Extent, rows: &mut dyn Rows) -> Result<Scanned, StoreError> {
        // What is given out must not hold up who writes.
        let loaded = self.shared.read().load(service);
        for page in loaded.rows.chunks(PAGE) {
            let wanted = page.iter().filter(|(key, _)| extent == Extent::All || !is_cold(key));
            wanted.for_each(|(key, value)| rows.row(key, value));
            rows.pause().await;
        }
        Ok(Scanned { seq: loaded.seq, term: loaded.term })
    }

    async fn get(&self, service: &'static str, keys: &[String]) -> Result<Vec<(String, Bytes)>, StoreError> {
        Ok(self.shared.read().get(service, keys))
    }

    async fn read(&self, service: &'static str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.shared.read().entries(service, after, limit)
    }

    async fn follow(
        &self,
        service: &'static str,
        after: u64,
    ) -> Result<BoxStream<'static, Result<Entry, StoreError>>, StoreError> {
        // The wake-up is taken before the first look, so that a commit in between is not missed.
        let wake = self.shared.write().wake(service);
        let first = self.shared.read().entries(service, after, PAGE)?;
        let follower = Follower {
            shared: self.shared.clone(),
            service,
            at: first.last().map_or(after, |entry| entry.seq),
            wake,
            ready: first.into_iter(),
        };
        let entries = stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Ok(entry) => Some((Ok(entry), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(entries.boxed())
    }

    async fn head(&self, service: &'static str) -> Result<Option<Head>, StoreError> {
        Ok(self.shared.read().head(service))
    }

    async fn trim(&self, service: &'static str, up_to: u64) -> Result<(), StoreError> {
        self.writer.ask(Request::Trim { service, up_to }).await.map(|_| ())
    }
}

struct Follower {
    shared: Arc<Shared>,
    service: &'static str,
    /// Number of the last entry taken.
    at: u64,
    wake: watch::Receiver<u64>,
    ready: std::vec::IntoIter<Entry>,
}

impl Follower {
    async fn next(&mut self) -> Result<Entry, StoreError> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Ok(entry);
            }
            self.wake.borrow_and_update();
            let page = {
                let state = self.shared.read();
                if state.closed {
                    return Err(writer::gone());
                }
                state.entries(self.service, self.at, PAGE)?
            };
            match page.last() {
                Some(last) => {
                    self.at = last.seq;
                    self.ready = page.into_iter();
                }
                None => self.wake.changed().await.map_err(|_| writer::gone())?,
            }
        }
    }
}

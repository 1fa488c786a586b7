//! The gateway's own copy of the cluster: every read is answered from it, none asks a leader or the store.
//!
//! It loads the rows of the allocator and of the registry, then follows both change streams. A change costs
//! what it changes, whatever the size of the cluster. Readers take a [`Cluster`] (a copy of `Arc`s) under a
//! short lock and work on it at leisure.
//!
//! # Layout
//! - [`cluster`]: the copy, without IO.
//! - [`shards`]: a map that is cheap to copy. [`totals`]: sums kept by deltas.
//! - [`rendered`]: answers that many readers share.

pub mod cluster;
pub mod rendered;
pub mod shards;
pub mod totals;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mesos_core::row::{RowChange, service};
use mesos_model::{Term, uuid_text};
use mesos_ports::store::{Extent, StoreError};
use mesos_runtime::{
    follow::{Followed, follow},
    quarantine::Quarantine,
    shell::Ports,
    telemetry::Metrics,
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

pub use cluster::{Cluster, Delta, TaskKey, TaskView};

use crate::{calls::Known, reads::offers::Offers};
use cluster::Writer;

/// Entries that a follower of the view may be behind; one that is further behind is told so, see
/// [`broadcast::error::RecvError::Lagged`].
const LAG_MAX: usize = 256;
const LOAD_RETRY: Duration = Duration::from_millis(250);

/// What one entry of a change stream changed.
#[derive(Debug)]
pub struct Batch {
    /// The view's version after it.
    pub version: u64,
    /// The changes, in order.
    pub deltas: Vec<Delta>,
}

/// So many deposed leaders are remembered: what is older is not on its way any more.
const DEPOSED_MAX: usize = 64;

/// Terms of both services, as far as their streams tell; the default before anything was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The allocator's. A new one invalidates all offers.
    pub allocator: Term,
    /// The registry's. A new leader wants to be told the open streams.
    pub registry: Term,
}

/// The UUIDs of the present leaders, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaders {
    /// The allocator's.
    pub allocator: Option<String>,
    /// The registry's.
    pub registry: Option<String>,
}

/// See the module.
pub struct View {
    // A std mutex: nothing is awaited while it is held, and what is done under it is short.
    copy: Mutex<Writer>,
    version: AtomicU64,
    /// How far the streams of the allocator and the registry are applied.
    seqs: [AtomicU64; 2],
    loaded: watch::Sender<[bool; 2]>,
    terms: watch::Sender<Terms>,
    /// Leaders that others have followed, the latest last.
    deposed: Mutex<VecDeque<u128>>,
    leaders: watch::Sender<Leaders>,
    changes: broadcast::Sender<Arc<Batch>>,
    /// Counts what this gateway cannot read.
    pub quarantine: Quarantine,
    /// Offers that this gateway delivered: they are in no row.
    pub offers: Offers,
}

impl Default for View {
    fn default() -> Self {
        View {
            copy: Mutex::default(),
            version: AtomicU64::new(0),
            seqs: Default::default(),
            loaded: watch::Sender::new([false; 2]),
            terms: watch::Sender::default(),
            deposed: Mutex::default(),
            leaders: watch::Sender::default(),
            changes: broadcast::Sender::new(LAG_MAX),
            quarantine: Quarantine::default(),
            offers: Offers::default(),
        }
    }
}

impl View {
    /// An empty one, which counts in these metrics what cannot be read.
    #[must_use]
    pub fn new(metrics: &Metrics) -> View {
        View { quarantine: Quarantine::new(metrics, "gateway"), ..View::default() }
    }

    /// Follows both services until it is cancelled.
    pub async fn run(self: Arc<Self>, ports: Ports, cancel: CancellationToken) {
        let follow = async {
            tokio::join!(
                self.follow(&ports, service::ALLOCATOR), //
                self.follow(&ports, service::REGISTRY),
            )
        };
        tokio::select! {
            _ = follow => {}
            () = cancel.cancelled() => {}
        }
    }

    /// Whether the rows of both services were loaded once. Before that the gateway is not ready.
    #[must_use]
    pub fn loaded(&self) -> bool {
        *self.loaded.borrow() == [true, true]
    }

    /// Waits until [`loaded`](Self::loaded).
    pub async fn until_loaded(&self) {
        // The sender is part of `self`, so it cannot be gone.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded == [true, true]).await;
    }

    /// What calls carry of the services.
    #[must_use]
    pub fn known(&self, owner: &'static str) -> Known {
        let terms = self.terms.borrow();
        let term = if owner == service::REGISTRY { terms.registry } else { terms.allocator };
        Known { seq: self.seq(owner), term }
    }

    /// Number of the last entry of a service's change stream that was applied.
    #[must_use]
    pub fn seq(&self, owner: &'static str) -> u64 {
        self.seqs[place(owner)].load(Ordering::Acquire)
    }

    /// Both terms; the receiver wakes when one changes. The first change, from 0, is the load.
    #[must_use]
    pub fn terms(&self) -> watch::Receiver<Terms> {
        self.terms.subscribe()
    }

    /// The present leaders.
    #[must_use]
    pub fn leaders(&self) -> Leaders {
        self.leaders.borrow().clone()
    }

    /// Rises with each applied entry.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The cluster as it is now, and its version.
    #[must_use]
    pub fn snapshot(&self) -> (Cluster, u64) {
        let copy = self.lock();
        (copy.cluster.clone(), self.version())
    }

    /// The cluster as it is now, and every change after that, without a gap between.
    #[must_use]
    pub fn subscribe(&self) -> (Cluster, u64, broadcast::Receiver<Arc<Batch>>) {
        let copy = self.lock();
        (copy.cluster.clone(), self.version(), self.changes.subscribe())
    }

    /// Looks at the cluster under the lock: for short questions only.
    pub fn with<T>(&self, look: impl FnOnce(&Cluster) -> T) -> T {
        look(&self.lock().cluster)
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self, ports: &Ports, owner: &'static str) {
        loop {
            let (seq, mut term) = self.load(ports, owner).await;
            let Ports { store, bus, subjects } = ports.clone();
            let mut stream = follow(store, bus, &subjects, owner, seq, self.quarantine.clone());
            while let Some(Followed::Entry(entry)) = stream.recv().await {
                if term != Term::default() && entry.term != term {
                    // A store that lost commits and has since made as many new ones looks the same from
                    // here; only the rows tell.
                    break;
                }
                if term == Term::default() {
                    term = entry.term;
                    self.begin_term(ports, owner, term).await;
                }
                let changes = self.quarantine.entry(&entry).changes;
                let changes = Arc::try_unwrap(changes).unwrap_or_else(|shared| Vec::clone(&shared));
                self.apply(owner, entry.seq, changes);
            }
        }
    }

    /// Loads all rows of a service, however long it takes.
    async fn load(&self, ports: &Ports, owner: &'static str) -> (u64, Term) {
        loop {
            let mut rows = Vec::new();
            let mut take = |key: &str, value: &[u8]| self.quarantine.row(key, Some(value), &mut rows);
            match ports.store.scan(owner, Extent::All, &mut take).await {
                Ok(loaded) => {
                    self.reload(owner, loaded.seq, rows);
                    if loaded.term != Term::default() {
                        self.begin_term(ports, owner, loaded.term).await;
                    }
                    self.loaded.send_modify(|loaded| loaded[place(owner)] = true);
                    return (loaded.seq, loaded.term);
                }
                Err(error) => log_load(owner, &error),
            }
            tokio::time::sleep(LOAD_RETRY).await;
        }
    }

    /// Whether another leader is known to have followed this one.
    pub(crate) fn is_deposed(&self, leader: u128) -> bool {
        self.deposed.lock().unwrap_or_else(PoisonError::into_inner).contains(&leader)
    }

    async fn begin_term(&self, ports: &Ports, owner: &'static str, began: Term) {
        let is_registry = owner == service::REGISTRY;
        self.terms.send_if_modified(|terms| {
            let term = if is_registry { &mut terms.registry } else { &mut terms.allocator };
            let before = std::mem::replace(term, began);
            if before != began && before != Term::default() {
                let mut deposed = self.deposed.lock().unwrap_or_else(PoisonError::into_inner);
                // Rows may be read again as they were before; whoever leads in the end leads.
                deposed.retain(|leader| *leader != began.leader);
                deposed.push_back(before.leader);
                if deposed.len() > DEPOSED_MAX {
                    deposed.pop_front();
                }
            }
            before != began
        });
        // Only for show: a head that cannot be read leaves the last known leader.
        if let Ok(Some(head)) = ports.store.head(owner).await {
            let text = Some(uuid_text(head.leader.as_u128()));
            self.leaders.send_modify(|leaders| {
                *(if is_registry { &mut leaders.registry } else { &mut leaders.allocator }) = text;
            });
        }
    }

    #[cfg(test)]
    pub(crate) fn set_loaded(&self) {
        self.loaded.send_replace([true, true]);
    }

    /// Takes over all rows of a service as they were at entry `seq`.
    pub(crate) fn reload(&self, owner: &'static str, seq: u64, rows: Vec<RowChange>) {
        self.change(owner, seq, |copy, deltas| copy.reload(owner, rows, deltas));
    }

    /// Applies entry `seq` of a service.
    pub(crate) fn apply(&self, owner: &'static str, seq: u64, changes: Vec<RowChange>) {
        self.change(owner, seq, |copy, deltas| changes.into_iter().for_each(|change| copy.apply(change, deltas)));
    }

    fn change(&self, owner: &'static str, seq: u64, change: impl FnOnce(&mut Writer, &mut Vec<Delta>)) {
        let mut deltas = Vec::new();
        let mut copy = self.lock();
        change(&mut copy, &mut deltas);
        self.seqs[place(owner)].store(seq, Ordering::Release);
        if deltas.is_empty() {
            return;
        }
        let version = self.version() + 1;
        self.version.store(version, Ordering::Release);
        // Sent under the lock, so that a subscriber's snapshot and its first batch fit together. Without
        // any subscriber it fails, which is no matter.
        let _ = self.changes.send(Arc::new(Batch { version, deltas }));
    }
}

fn log_load(owner: &str, error: &StoreError) {
    tracing::warn!(service = owner, %error, "cannot load rows; trying again");
}

/// Where a service has its place among the two.
fn place(owner: &'static str) -> usize {
    usize::from(owner == service::REGISTRY)
}

//! A driver's requests to its store, carried out.

use std::{sync::Arc, time::Duration};

use mesos_core::{
    driver::{Audit, Done, Failure, Granted, Lease, Snapshot},
    row::{RowChange, RowKey},
};
use mesos_model::Time;
use mesos_ports::store::{Change, Commit, Fence, Store, StoreError};
use uuid::Uuid;

use crate::{codec, quarantine::Quarantine};

/// The store of one service's driver.
#[derive(Clone)]
pub(crate) struct StoreSide {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) service: &'static str,
    pub(crate) lease: Duration,
    pub(crate) quarantine: Quarantine,
}

impl StoreSide {
    /// All own rows, decoded.
    pub(crate) async fn load(&self) -> Result<Snapshot, Failure> {
        self.snapshot(self.service, |_| true).await
    }

    /// The rows of another service, without the bodies, on which nobody decides: of a million tasks they would be
    /// a third of the work.
    pub(crate) async fn load_peer(&self, service: &'static str) -> Result<Snapshot, Failure> {
        self.snapshot(service, |key| !RowKey::is_cold(key)).await
    }

    async fn snapshot(&self, service: &'static str, wanted: fn(&str) -> bool) -> Result<Snapshot, Failure> {
        let mut rows = Vec::new();
        let mut take = |key: &str, value: &[u8]| {
            if wanted(key) {
                self.quarantine.row(key, Some(value), &mut rows);
            }
        };
        let scanned = self.store.scan(service, &mut take).await.map_err(failure).inspect_err(|failure| {
            tracing::warn!(service, ?failure, "cannot load rows; trying again");
        })?;
        Ok(Snapshot { rows, seq: scanned.seq, term: scanned.term })
    }

    /// All own rows, and up to which commit they may hold anything.
    pub(crate) async fn audit(&self) -> Result<Audit, Failure> {
        let snapshot = self.load().await?;
        let head = self.store.head(self.service).await.map_err(failure)?;
        Ok(Audit { head: head.map_or(0, |head| head.seq), snapshot })
    }

    pub(crate) async fn acquire(
        &self,
        leader: u128,
        previous: Option<u128>,
        epoch_min: u64,
    ) -> Result<Granted, Failure> {
        let previous = previous.map(Uuid::from_u128);
        let acquired = self.store.acquire(self.service, Uuid::from_u128(leader), previous, epoch_min, self.lease).await;
        let acquired = acquired.map_err(failure)?;
        Ok(Granted {
            epoch: acquired.fence.epoch,
            seq: acquired.fence.seq,
            last: acquired.last,
            peer_cursor: acquired.peer_cursor,
            store_time: Time(acquired.store_time_ms),
        })
    }

    /// Commits, and gives back the rows as they were encoded, for followers.
    pub(crate) async fn commit(
        &self,
        lease: Lease,
        batch: u128,
        changes: &[RowChange],
        peer_cursor: u64,
    ) -> (Vec<Change>, Result<Done, Failure>) {
        let changes = encode(changes);
        let commit = Commit {
            service: self.service,
            fence: fence(lease),
            batch: Uuid::from_u128(batch),
            changes: changes.clone(),
            peer_cursor,
            lease: self.lease,
        };
        let done = self.store.commit(commit).await.map_err(failure);
        if let Err(Failure::Unavailable(error)) = &done {
            tracing::warn!(service = self.service, %error, "a commit has no known outcome; asking again");
        }
        (changes, done.map(|done| Done { seq: done.seq, store_time: Time(done.store_time_ms) }))
    }

    pub(crate) async fn release(&self, lease: Lease) {
        if let Err(error) = self.store.release(self.service, fence(lease)).await {
            tracing::debug!(service = self.service, %error, "the lease was not given back; it will run out");
        }
    }
}

fn fence(lease: Lease) -> Fence {
    Fence { epoch: lease.term.epoch, leader: Uuid::from_u128(lease.term.leader), seq: lease.seq }
}

fn encode(changes: &[RowChange]) -> Vec<Change> {
    changes
        .iter()
        .filter_map(|change| match codec::encode_row(change) {
            Ok(change) => Some(change),
            Err(error) => {
                tracing::error!(%error, "a row cannot be encoded and is left out");
                None
            }
        })
        .collect()
}

fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Fenced { epoch } => Failure::Fenced { epoch },
        StoreError::RolledBack { .. } => Failure::RolledBack,
        StoreError::Held { left_ms } => Failure::Held { left: Duration::from_millis(left_ms) },
        StoreError::ReadOnly(why) | StoreError::Unusable(why) => Failure::ReadOnly(why),
        StoreError::Unavailable(why) => Failure::Unavailable(why),
        StoreError::Trimmed { first } => Failure::Unavailable(format!("the stream starts at {first}")),
    }
}

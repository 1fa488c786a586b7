//! A driver's requests to its store, carried out.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mesos_core::{
    driver::{Audit, Done, Failure, Granted, Lease, Snapshot},
    row::{RowChange, RowKey},
};
use mesos_model::Time;
use mesos_ports::store::{Change, Commit, Extent, Fence, Rows, Store, StoreError};
use tokio::sync::mpsc;
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

/// What a load of a service's rows has brought so far.
pub(crate) struct Part {
    /// Whose rows.
    pub(crate) service: &'static str,
    /// What came.
    pub(crate) loaded: Loaded,
}

/// A step of a load.
pub(crate) enum Loaded {
    /// Some rows; more may follow.
    Rows(Vec<RowChange>),
    /// The rest, or why there is none.
    Over(Result<Snapshot, Failure>),
}

/// Decodes rows as they are read, and hands them over in parts if somebody takes them: of a million tasks nobody has
/// to hold all rows twice.
struct Decoder<'a> {
    side: &'a StoreSide,
    service: &'static str,
    read: Vec<RowChange>,
    parts: Option<mpsc::Sender<Part>>,
}

#[async_trait]
impl Rows for Decoder<'_> {
    fn row(&mut self, key: &str, value: &[u8]) {
        self.side.quarantine.row(key, Some(value), &mut self.read);
    }

    async fn pause(&mut self) {
        if let Some(parts) = &self.parts
            && !self.read.is_empty()
        {
            let loaded = Loaded::Rows(std::mem::take(&mut self.read));
            // If nobody takes it any more, nobody waits for the end either.
            let _ = parts.send(Part { service: self.service, loaded }).await;
        }
    }
}

impl StoreSide {
    /// All own rows but the cold ones, decoded.
    pub(crate) async fn load(&self) -> Result<Snapshot, Failure> {
        self.read(self.service, None).await
    }

    /// The rows of a service but the cold ones, as they are read.
    pub(crate) async fn load_in_parts(&self, service: &'static str, parts: mpsc::Sender<Part>) {
        let loaded = Loaded::Over(self.read(service, Some(parts.clone())).await);
        let _ = parts.send(Part { service, loaded }).await;
    }

    async fn read(&self, service: &'static str, parts: Option<mpsc::Sender<Part>>) -> Result<Snapshot, Failure> {
        let mut decoder = Decoder { side: self, service, read: Vec::new(), parts };
        let scanned =
            self.store.scan(service, Extent::Hot, &mut decoder).await.map_err(failure).inspect_err(|failure| {
                tracing::warn!(service, ?failure, "cannot load rows; trying again");
            })?;
        Ok(Snapshot { rows: decoder.read, seq: scanned.seq, term: scanned.term })
    }

    /// Some own cold rows, as far as they are there.
    pub(crate) async fn cold(&self, keys: &[RowKey]) -> Result<Vec<RowChange>, Failure> {
        let keys: Vec<String> = keys.iter().map(RowKey::text).collect();
        let rows = self.store.get(self.service, &keys).await.map_err(failure)?;
        Ok(self.quarantine.rows(rows.iter().map(|(key, value)| (key.as_str(), Some(&value[..])))))
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

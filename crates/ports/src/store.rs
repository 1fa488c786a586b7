//! The store: rows behind a fence, and one change stream per service.
//!
//! Every service (`allocator`, `registry`, …) has a record `{epoch, leader, seq}`. A commit names all
//! three, is refused if one differs, raises `seq` by one, writes and deletes rows, and appends the same
//! changes as entry `seq` of the service's change stream: one atomic step. A repeat of the last commit
//! (same `batch`) is answered as it was the first time, so an unknown outcome is settled by asking
//! again.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use mesos_model::Term;
use uuid::Uuid;

/// The token that a leader shows with each commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The term's number; the higher one is the newer one.
    pub epoch: u64,
    /// The term's own id, fresh each time, so that two terms are never taken for one.
    pub leader: Uuid,
    /// The number of the last commit of this service.
    pub seq: u64,
}

/// What a leader learns when it takes a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// To be shown with the first commit.
    pub fence: Fence,
    /// The term that wrote the last commit; the default if there was none. Term and number of a commit name
    /// one history: a standby that applied up to another pair has rows that the store no longer has. (Epochs
    /// alone do not: a wiped store begins again with the first.)
    pub last: Term,
    /// Milliseconds since the Unix epoch by the store's clock.
    pub store_time_ms: u64,
    /// Number in the peer's change stream that the last leader had applied.
    pub peer_cursor: u64,
}

/// One row change. A row is opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// For example `task/<framework>/<task>`.
    pub key: String,
    /// The new value, or `None` to delete the row.
    pub value: Option<Bytes>,
}

/// One entry of a change stream: what commit `seq` changed, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The commit's number.
    pub seq: u64,
    /// The term that wrote it.
    pub term: Term,
    /// The changes, in the order they were made.
    pub changes: Vec<Change>,
}

/// One atomic step.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The service whose rows these are.
    pub service: &'static str,
    /// Must equal the stored record.
    pub fence: Fence,
    /// A fresh id per batch; the same one when an unknown outcome is asked for again.
    pub batch: Uuid,
    /// May be empty: a commit without changes renews the lease only. It raises `seq` all the same and
    /// is an (empty) entry of the change stream.
    pub changes: Vec<Change>,
    /// How far the peer's change stream has been applied; kept beside the fence.
    pub peer_cursor: u64,
    /// The lease runs this long from now, by the store's clock.
    pub lease: Duration,
}

/// The answer to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The commit's number, `fence.seq + 1`.
    pub seq: u64,
    /// Milliseconds since the Unix epoch by the store's clock.
    pub store_time_ms: u64,
}

/// Where a service's record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last commit.
    pub seq: u64,
    /// Term of the last commit.
    pub epoch: u64,
    /// Leader of the last term.
    pub leader: Uuid,
    /// Milliseconds left of the lease; 0 when it ran out.
    pub lease_left_ms: u64,
    /// Milliseconds since the Unix epoch by the store's clock.
    pub store_time_ms: u64,
}

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another leader has the term: drop the machine, reload.
    #[error("fenced: another leader holds the term (epoch {epoch})")]
    Fenced {
        /// The epoch that the store holds.
        epoch: u64,
    },
    /// Epoch and leader are ours, `seq` is not: the store lost commits. Drop the machine, reload.
    #[error("rolled back: the store is at {stored}, we were at {ours}")]
    RolledBack {
        /// The number in the store.
        stored: u64,
        /// The number we held.
        ours: u64,
    },
    /// The lease is held by somebody else.
    #[error("the lease is held for another {left_ms} ms")]
    Held {
        /// Milliseconds left.
        left_ms: u64,
    },
    /// Out of memory or disk, read-only, misconfigured: nothing was written, and nothing will be.
    #[error("the store refuses writes: {0}")]
    ReadOnly(String),
    /// No answer: the outcome is unknown, ask again with the same `batch`.
    #[error("the store is not reachable: {0}")]
    Unavailable(String),
    /// Entries before the asked one have been trimmed: load the rows instead.
    #[error("the change stream starts at {first}")]
    Trimmed {
        /// The first entry still there.
        first: u64,
    },
    /// Wrong version, wrong password, not our file: a retry cannot help.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
}

impl Fence {
    /// The term that it names.
    #[must_use]
    pub fn term(&self) -> Term {
        Term { epoch: self.epoch, leader: self.leader.as_u128() }
    }
}

impl StoreError {
    /// Whether the same call may succeed later without anything being done.
    pub fn is_retryable(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Held { .. })
    }
}

/// Keys that begin so are of cold rows: nobody decides on them, and they are kept apart so that a load can do without.
pub const COLD: &str = "body/";

/// Whether the row of this key is cold.
#[must_use]
pub fn is_cold(key: &str) -> bool {
    key.starts_with(COLD)
}

/// Which rows a [`Store::scan`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of them.
    All,
    /// All but the cold ones.
    Hot,
}

/// Takes the rows of a [`Store::scan`]; a closure of a key and a value will do.
#[async_trait]
pub trait Rows: Send {
    /// A row.
    fn row(&mut self, key: &str, value: &[u8]);

    /// Some rows were given, and more may follow once this is over: whoever cannot keep up waits here.
    async fn pause(&mut self) {}
}

#[async_trait]
impl<F: for<'a> FnMut(&'a str, &'a [u8]) + Send> Rows for F {
    fn row(&mut self, key: &str, value: &[u8]) {
        self(key, value);
    }
}

/// What the rows of a [`Store::scan`] hold.
#[derive(Clone, Copy, Debug)]
pub struct Scanned {
    /// The change stream's entry up to which the rows are complete; later entries apply on top, and
    /// applying an entry again that the rows already contain is harmless.
    pub seq: u64,
    /// The term that wrote that entry; the default if there is none.
    pub term: Term,
}

/// A snapshot of all rows of a service.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The rows, in any order. One may be there twice while the table grows; the later one counts.
    pub rows: Vec<(String, Bytes)>,
    /// As [`Scanned::seq`].
    pub seq: u64,
    /// As [`Scanned::term`].
    pub term: Term,
}

/// A connection to the store of one cluster. Cheap to share behind an `Arc`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Takes the lease of a service for a new term: `epoch` becomes one more than the stored one and
    /// at least `epoch_min`. Fails with `Held` while somebody else's lease runs; the holder itself
    /// (`previous` is its leader id) gets a new term at once, and so does a repeat under the same
    /// `leader`, whose first answer may have been lost.
    async fn acquire(
        &self,
        service: &'static str,
        leader: Uuid,
        previous: Option<Uuid>,
        epoch_min: u64,
        lease: Duration,
    ) -> Result<Acquired, StoreError>;

    /// Gives the lease back so that a standby need not wait for it to run out. Fenced like a commit.
    async fn release(&self, service: &'static str, fence: Fence) -> Result<(), StoreError>;

    /// One atomic, fenced step. One commit of a service is in flight at a time. A store that has no
    /// record (it was wiped) answers `Fenced` with epoch 0.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Gives each row of a service to `rows`, in any order. One may be given twice while the table grows; the later
    /// one counts. A store of a million rows is read without holding all of them.
    async fn scan(&self, service: &'static str, extent: Extent, rows: &mut dyn Rows) -> Result<Scanned, StoreError>;

    /// The rows of these keys, as far as they are there, in any order.
    async fn get(&self, service: &'static str, keys: &[String]) -> Result<Vec<(String, Bytes)>, StoreError>;

    /// All rows of a service at once, for tables that are small.
    async fn load(&self, service: &'static str) -> Result<Loaded, StoreError> {
        let mut rows = Vec::new();
        let mut keep = |key: &str, value: &[u8]| rows.push((key.to_owned(), Bytes::copy_from_slice(value)));
        let Scanned { seq, term } = self.scan(service, Extent::All, &mut keep).await?;
        Ok(Loaded { rows, seq, term })
    }

    /// The change stream's entries after `after`, at most `limit` of them, oldest first. A reader ahead
    /// of the store gets `RolledBack`: what it applied was lost.
    async fn read(&self, service: &'static str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Entries after `after` for ever, as they are committed; ends with an error when the connection is
    /// lost, entries were trimmed, or the store is behind `after` (`RolledBack`).
    ///
    /// A store that lost commits and has since made as many new ones looks the same from here: whoever
    /// sees a new term in an entry loads the rows anew.
    async fn follow(
        &self,
        service: &'static str,
        after: u64,
    ) -> Result<BoxStream<'static, Result<Entry, StoreError>>, StoreError>;

    /// Where a service's record stands, without a lease.
    async fn head(&self, service: &'static str) -> Result<Option<Head>, StoreError>;

    /// Drops entries up to and with `up_to`. Called behind the slowest of the peer and the audit.
    async fn trim(&self, service: &'static str, up_to: u64) -> Result<(), StoreError>;
}

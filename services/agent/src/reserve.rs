//! Room for the checkpoint on a disk that is full.
//!
//! Tasks may fill the disk that the checkpoint is on. The agent then starts no more of them, but those that run
//! end, and their ends must be written down before they are told. So a file of some size is kept there, and is
//! given up when there is nothing else left; it is made again once the disk has room. When that is used up too,
//! the agent says nothing until there is room: its tasks run on.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::store::{Acquired, Commit, Committed, Entry, Extent, Fence, Head, Rows, Scanned, Store, StoreError};
use nix::fcntl::posix_fallocate;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::condition;

/// Its size: some thousand statuses.
pub(crate) const RESERVE: u64 = 4 << 20;

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// In this work directory.
    pub(crate) fn of(work_dir: &Path) -> Reserve {
        Reserve { path: work_dir.join("checkpoint.reserve") }
    }

    /// Makes the file if it is not there. Its space is taken, whatever the file system.
    ///
    /// # Errors
    /// What the disk says, if it has no room.
    pub(crate) fn fill(&self) -> io::Result<()> {
        if is_planted(Bug::DiskWithoutReserve) || fs::metadata(&self.path).is_ok_and(|file| file.len() >= RESERVE) {
            return Ok(());
        }
        let file = File::create(&self.path)?;
        let filled = posix_fallocate(file.as_fd(), 0, RESERVE as nix::libc::off_t);
        // Half of it is no reserve, and would be taken for one.
        filled.map_err(|errno| self.give_up().err().unwrap_or_else(|| errno.into()))
    }

    /// Gives the space to whoever needs it most.
    fn give_up(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// How often to try again on a disk that is full.
const AGAIN: Duration = Duration::from_millis(500);

/// A store that tries again when its disk is full: with the reserve's space, and then until there is room.
pub(crate) struct Reserved {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) work_dir: PathBuf,
    /// Nobody waits for room any more.
    pub(crate) cancel: CancellationToken,
}

/// What a call of a store gives.
type Done<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

impl Reserved {
    /// Whether it is worth another try.
    fn made_room(&self, refused: &StoreError) -> bool {
        let room = Reserve::of(&self.work_dir).give_up().is_ok();
        if room {
            tracing::warn!(%refused, "the reserve beside the checkpoint is given up");
        }
        room
    }

    /// A write that was refused left nothing behind, so it is safe to try the same again.
    async fn with_room<'a, T>(&'a self, write: impl Fn() -> Done<'a, T>) -> Result<T, StoreError> {
        let mut told = false;
        loop {
            let refused = match write().await {
                Err(refused @ StoreError::ReadOnly(_)) => refused,
                done => return done,
            };
            if self.made_room(&refused) {
                continue;
            }
            // Whatever else keeps it from being written does not go away by itself.
            if is_planted(Bug::DiskWithoutReserve) || condition::of_disk(&self.work_dir).is_none() {
                return Err(refused);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::error!(%refused, "the agent waits for room for its checkpoint; its tasks run on");
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.cancel.cancelled() => return Err(refused),
            }
        }
    }
}

#[async_trait]
impl Store for Reserved {
    async fn acquire(
        &self,
        service: &'static str,
        leader: Uuid,
        previous: Option<Uuid>,
        epoch_min: u64,
        lease: Duration,
    ) -> Result<Acquired, StoreError> {
        self.with_room(|| self.store.acquire(service, leader, previous, epoch_min, lease)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.with_room(|| self.store.commit(commit.clone())).await
    }

    async fn release(&self, service: &'static str, fence: Fence) -> Result<(), StoreError> {
        self.store.release(service, fence).await
    }

    async fn scan(&self, service: &'static str, extent: Extent, rows: &mut dyn Rows) -> Result<Scanned, StoreError> {
        self.store.scan(service, extent, rows).await
    }

    async fn get(&self, service: &'static str, keys: &[String]) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.store.get(service, keys).await
    }

    async fn read(&self, service: &'static str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.store.read(service, after, limit).await
    }

    async fn follow(
        &self,
        service: &'static str,
        after: u64,
    ) -> Result<BoxStream<'static, Result<Entry, StoreError>>, StoreError> {
        self.store.follow(service, after).await
    }

    async fn head(&self, service: &'static str) -> Result<Option<Head>, StoreError> {
        self.store.head(service).await
    }

    async fn trim(&self, service: &'static str, up_to: u64) -> Result<(), StoreError> {
        self.store.trim(service, up_to).await
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use mesos_ports::store::Change;
    use mesos_store::embedded::{EmbeddedStore, Sync};

    use super::*;

    /// A file system of 24 MB; gone with this.
    struct SmallDisk(tempfile::TempDir);

    impl SmallDisk {
        fn mount() -> Option<SmallDisk> {
            let folder = tempfile::tempdir().unwrap();
            let mounted =
                Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(folder.path()).status();
            mounted.is_ok_and(|status| status.success()).then_some(SmallDisk(folder))
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        }
    }

    #[tokio::test]
    async fn f39_a_full_disk_is_seen_and_the_checkpoint_goes_on_in_its_reserve_until_there_is_room_again() {
        let Some(disk) = SmallDisk::mount() else {
            eprintln!("skipped: a small disk can only be mounted by root");
            return;
        };
        let dir = disk.0.path();
        let reserve = Reserve::of(dir);
        assert_eq!(condition::of_disk(dir), None);
        reserve.fill().unwrap();
        let store = Arc::new(EmbeddedStore::open(dir.join("checkpoint"), Sync::Each).unwrap());
        let store = Reserved { store, work_dir: dir.to_owned(), cancel: CancellationToken::new() };
        let lease = Duration::from_secs(3600);
        let mut fence = store.acquire("agent", Uuid::new_v4(), None, 0, lease).await.unwrap().fence;
        let mut commit = async |bytes: usize| {
            let changes = vec![Change { key: "row".into(), value: Some(vec![1; bytes].into()) }];
            let commit = Commit { service: "agent", fence, batch: Uuid::new_v4(), changes, peer_cursor: 0, lease };
            let done = store.commit(commit).await;
            fence.seq = done.as_ref().map_or(fence.seq, |done| done.seq);
            done.map(drop)
        };
        commit(1000).await.unwrap();
        let ballast = dir.join("ballast");
        let filled =
            Command::new("dd").args(["if=/dev/zero", "bs=4096"]).arg(format!("of={}", ballast.display())).output();
        assert!(!filled.unwrap().status.success(), "the disk has no end");
        let why = condition::of_disk(dir).expect("a full disk is seen");
        assert!(why.contains("full") && why.contains(&dir.display().to_string()), "{why}");
        for _ in 0..300 {
            commit(10_000).await.expect("there is a reserve");
        }
        assert!(reserve.fill().is_err() && !reserve.path.exists(), "there is no room for another one");
        // Now there is room for nothing, until somebody makes some.
        let freed = async {
            tokio::time::sleep(AGAIN).await;
            fs::remove_file(ballast).unwrap();
        };
        let (done, ()) = tokio::join!(commit(5_000_000), freed);
        done.expect("it waits for room");
        assert_eq!(condition::of_disk(dir), None, "it recovers by itself");
        reserve.fill().unwrap();
        assert!(fs::metadata(&reserve.path).unwrap().len() >= RESERVE);
        commit(10_000).await.unwrap();
    }
}

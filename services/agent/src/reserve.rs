//! Room for the checkpoint on a disk that is full.
//!
//! Tasks may fill the disk that the checkpoint is on. The agent then starts no more of them, but those that run
//! end, and their ends must be written down before they are told. So a file of some size is kept there, and is
//! given up when there is nothing else left; it is made again once the disk has room.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::store::{Acquired, Commit, Committed, Entry, Fence, Head, Loaded, Store, StoreError};
use nix::fcntl::posix_fallocate;
use uuid::Uuid;

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

/// A store that tries once more, with the reserve's space, when its disk is full.
pub(crate) struct Reserved {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) reserve: Reserve,
}

impl Reserved {
    /// Whether it is worth another try.
    fn made_room(&self, refused: &StoreError) -> bool {
        let room = matches!(refused, StoreError::ReadOnly(_)) && self.reserve.give_up().is_ok();
        if room {
            tracing::warn!(%refused, "the reserve beside the checkpoint is given up");
        }
        room
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
        match self.store.acquire(service, leader, previous, epoch_min, lease).await {
            Err(refused) if self.made_room(&refused) => {
                self.store.acquire(service, leader, previous, epoch_min, lease).await
            }
            done => done,
        }
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        match self.store.commit(commit.clone()).await {
            Err(refused) if self.made_room(&refused) => self.store.commit(commit).await,
            done => done,
        }
    }

    async fn release(&self, service: &'static str, fence: Fence) -> Result<(), StoreError> {
        self.store.release(service, fence).await
    }

    async fn load(&self, service: &'static str) -> Result<Loaded, StoreError> {
        self.store.load(service).await
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
    use crate::condition;

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
        let store = Reserved { store, reserve: reserve.clone() };
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
        fs::remove_file(ballast).unwrap();
        assert_eq!(condition::of_disk(dir), None, "it recovers by itself");
        reserve.fill().unwrap();
        assert!(fs::metadata(&reserve.path).unwrap().len() >= RESERVE);
        commit(10_000).await.unwrap();
    }
}

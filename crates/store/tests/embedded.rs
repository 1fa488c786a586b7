//! The embedded adapter: the port's promises, and what becomes of its file.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mesos_ports::conformance::store::{Faults, Fixture, NoFaults, run};
use mesos_ports::store::{Change, Commit, Fence, Store, StoreError};
use mesos_store::embedded::{EmbeddedStore, Sync};
use tempfile::TempDir;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(60);

/// A store of one file, which can be closed and opened again.
struct Rig {
    folder: TempDir,
    sync: Sync,
    store: Mutex<Option<EmbeddedStore>>,
}

impl Rig {
    fn fixture(sync: Sync) -> Fixture {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(folder.path().join("store"), sync).expect("open");
        let faults = Arc::new(Rig { folder, sync, store: Mutex::new(Some(store.clone())) });
        Fixture { store: Arc::new(store), faults }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn reopen(&self, while_closed: impl FnOnce()) -> Option<Arc<dyn Store>> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        drop(store.take());
        while_closed();
        let opened = EmbeddedStore::open(self.path(), self.sync).expect("open again");
        *store = Some(opened.clone());
        Some(Arc::new(opened))
    }
}

#[async_trait]
impl Faults for Rig {
    async fn another(&self) -> Option<Arc<dyn Store>> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.clone().map(|store| Arc::new(store) as Arc<dyn Store>)
    }

    async fn restart(&self) -> Option<Arc<dyn Store>> {
        self.reopen(|| {})
    }

    async fn mark(&self) -> bool {
        std::fs::copy(self.path(), self.folder.path().join("marked")).is_ok()
    }

    async fn roll_back(&self) -> Option<Arc<dyn Store>> {
        self.reopen(|| {
            std::fs::copy(self.folder.path().join("marked"), self.path()).expect("copied back");
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_synced_in_the_background_keeps_every_promise_of_the_store_port() {
    run(|| async { Rig::fixture(Sync::every_second()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_synced_with_each_commit_keeps_every_promise_of_the_store_port() {
    run(|| async { Rig::fixture(Sync::Each) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_a_file_keeps_every_promise_of_the_store_port() {
    run(|| async { Fixture { store: Arc::new(EmbeddedStore::in_memory()), faults: Arc::new(NoFaults) } }).await;
}

async fn leader(store: &EmbeddedStore) -> Fence {
    store.acquire("agent", Uuid::new_v4(), None, 0, LONG).await.expect("acquire").fence
}

async fn commit(store: &EmbeddedStore, fence: &mut Fence, key: &str, value: impl Into<Bytes>) {
    fence.seq = try_commit(store, *fence, key, value).await.expect("commit");
}

async fn try_commit(
    store: &EmbeddedStore,
    fence: Fence,
    key: &str,
    value: impl Into<Bytes>,
) -> Result<u64, StoreError> {
    let changes = vec![Change { key: key.to_owned(), value: Some(value.into()) }];
    let commit = Commit { service: "agent", fence, batch: Uuid::new_v4(), changes, peer_cursor: 0, lease: LONG };
    store.commit(commit).await.map(|done| done.seq)
}

fn unusable(path: &Path) -> String {
    match EmbeddedStore::open(path, Sync::Each) {
        Err(StoreError::Unusable(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{} was opened", path.display()),
    }
}

/// A file with ten commits, as a crash would leave it, and where each one ends.
async fn ten_commits(path: &Path) -> Vec<u64> {
    let store = EmbeddedStore::open(path, Sync::Each).expect("open");
    let mut fence = leader(&store).await;
    let mut ends = Vec::new();
    for n in 0..10 {
        commit(&store, &mut fence, "row", n.to_string()).await;
        ends.push(std::fs::metadata(path).expect("a file").len());
    }
    ends
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/down/store");
    let store = EmbeddedStore::open(&path, Sync::Each).expect("open");
    let text = unusable(&path);
    assert!(text.contains("deep/down/store") && text.contains("another process"), "{text}");
    let clone = store.clone();
    drop(store);
    unusable(&path);
    drop(clone);
    EmbeddedStore::open(&path, Sync::Each).expect("free when the last clone is gone");
}

#[tokio::test]
async fn what_was_answered_is_in_the_file_when_the_process_is_killed() {
    for sync in [Sync::Every(LONG), Sync::Each] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(folder.path().join("store"), sync).expect("open");
        let mut fence = leader(&store).await;
        for n in 1..=20u64 {
            commit(&store, &mut fence, &format!("row/{n:02}"), "x").await;
            // The copy is what the next process would find.
            let found = folder.path().join(format!("found-{n}"));
            std::fs::copy(folder.path().join("store"), &found).expect("copied");
            let found = EmbeddedStore::open(&found, sync).expect("open");
            let loaded = found.load("agent").await.expect("load");
            assert_eq!((loaded.seq, loaded.rows.len() as u64), (n, n));
            assert_eq!(found.head("agent").await.expect("head").expect("a record").lease_left_ms, 0);
        }
    }
}

#[tokio::test]
async fn f38_a_tail_torn_at_any_byte_loses_only_the_torn_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let ends = ten_commits(&path).await;
    let whole = std::fs::read(&path).expect("a file");
    for cut in ends[8] + 1..ends[9] {
        let torn = folder.path().join("torn");
        std::fs::write(&torn, &whole[..cut as usize]).expect("written");
        let store = EmbeddedStore::open(&torn, Sync::Each).expect("a torn tail is no obstacle");
        assert_eq!(store.load("agent").await.expect("load").seq, 9, "cut at {cut}");
        let mut fence = leader(&store).await;
        commit(&store, &mut fence, "row", "after").await;
        drop(store);
        let store = EmbeddedStore::open(&torn, Sync::Each).expect("open");
        assert_eq!(store.load("agent").await.expect("load").rows, [("row".to_owned(), Bytes::from("after"))]);
    }
}

#[tokio::test]
async fn f38_damage_to_what_the_disk_had_taken_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let ends = ten_commits(&path).await;
    for at in [ends[3] + 2, ends[3] + 6, ends[3] + 25, ends[8] - 1] {
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("a file");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 0x40], at).expect("written");
        let text = unusable(&path);
        assert!(text.contains("damaged at byte") && text.contains("move it away"), "{text}");
        file.write_all_at(&byte, at).expect("written back");
    }
    EmbeddedStore::open(&path, Sync::Each).expect("as it was");
}

/// Whatever happened to an agent's checkpoint, the agent starts, and only what was hit is lost.
#[tokio::test]
async fn f38_a_damaged_checkpoint_is_salvaged_and_put_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let store = EmbeddedStore::open(&path, Sync::Each).expect("open");
    let mut fence = leader(&store).await;
    let mut ends = Vec::new();
    for n in 0..10u8 {
        commit(&store, &mut fence, &format!("row-{n}"), vec![n; 40]).await;
        ends.push(std::fs::metadata(&path).expect("a file").len() as usize);
    }
    drop(store);
    let whole = std::fs::read(&path).expect("a file");
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let foreign = b"this is a longer text, which is certainly not a store of ours\n".to_vec();
    // What is in the file, and which rows are lost; the last two are no damage at all.
    let cases: Vec<(&str, Vec<u8>, Vec<usize>)> = vec![
        ("a payload", flipped(ends[3] + 70), vec![4]),
        ("a record's magic", flipped(ends[3]), vec![4]),
        ("a record's length", flipped(ends[3] + 5), vec![4]),
        ("the header", flipped(3), vec![]),
        ("the header's checksum", flipped(22), vec![]),
        (
            "a hole of zeros",
            [&whole[..ends[2]], &vec![0; ends[5] - ends[2]], &whole[ends[5]..]].concat(),
            vec![3, 4, 5],
        ),
        ("the start is gone", whole[ends[0] + 10..].to_vec(), vec![0, 1]),
        ("foreign", foreign, (0..10).collect()),
        ("nothing", Vec::new(), (0..10).collect()),
        ("a torn tail", whole[..ends[9] - 3].to_vec(), vec![9]),
    ];
    for (what, bytes, lost) in cases {
        let hurt = folder.path().join("hurt");
        let _ = std::fs::remove_file(folder.path().join("hurt.damaged"));
        std::fs::write(&hurt, &bytes).expect("written");
        let (store, salvaged) = EmbeddedStore::open_or_salvage(&hurt, Sync::Each).expect(what);
        let rows: Vec<String> = store.load("agent").await.expect("load").rows.into_iter().map(|(key, _)| key).collect();
        let expected: Vec<String> = (0..10).filter(|n| !lost.contains(n)).map(|n| format!("row-{n}")).collect();
        assert_eq!(rows, expected, "{what}");
        assert_eq!(salvaged.is_some(), !matches!(what, "nothing" | "a torn tail"), "{what}: {salvaged:?}");
        if let Some(salvaged) = salvaged {
            assert_eq!(std::fs::read(&salvaged.kept_as).expect("kept"), bytes, "{what}");
            assert!(salvaged.lost > 0 && salvaged.places == 1, "{what}: {salvaged:?}");
        }
        // It goes on as any other.
        let mut fence = leader(&store).await;
        commit(&store, &mut fence, "after", "1").await;
        drop(store);
        let (store, salvaged) = EmbeddedStore::open_or_salvage(&hurt, Sync::Each).expect("open");
        assert_eq!(salvaged, None, "{what}");
        assert_eq!(store.load("agent").await.expect("load").rows.len(), expected.len() + 1, "{what}");
    }
    // What a newer version wrote is not damaged, and not to be thrown away.
    let hurt = folder.path().join("newer");
    let mut newer = whole[..20].to_vec();
    newer[8] = 9;
    let sum = crc32fast::hash(&newer).to_le_bytes();
    std::fs::write(&hurt, [&newer, &sum[..], &whole[24..]].concat()).expect("written");
    assert!(EmbeddedStore::open_or_salvage(&hurt, Sync::Each).is_err());
    assert!(!folder.path().join("newer.damaged").exists());
}

#[tokio::test]
async fn a_foreign_file_is_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes.txt");
    for text in ["short", "this is a longer text, which is certainly not a store of ours\n"] {
        std::fs::write(&path, text).expect("written");
        let refused = unusable(&path);
        assert!(refused.contains("not a store"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
    }
    std::fs::write(&path, "MESOS").expect("written");
    EmbeddedStore::open(&path, Sync::Each).expect("a header that a crash cut short is written anew");
}

#[tokio::test]
async fn a_file_that_grew_is_written_anew_without_losing_or_unlocking_anything() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let store = EmbeddedStore::open(&path, Sync::every_second()).expect("open");
    let mut fence = leader(&store).await;
    commit(&store, &mut fence, "kept", "small").await;
    for n in 0..60u8 {
        commit(&store, &mut fence, "large", vec![n; 1 << 20]).await;
        store.trim("agent", fence.seq - 1).await.expect("trim");
    }
    let len = std::fs::metadata(&path).expect("a file").len();
    assert!(len < 20 << 20, "60 MiB were written, the file has {len} bytes");
    unusable(&path);
    drop(store);
    let store = EmbeddedStore::open(&path, Sync::Each).expect("open");
    let loaded = store.load("agent").await.expect("load");
    assert_eq!(loaded.seq, 61);
    assert_eq!(loaded.rows, [("kept".into(), Bytes::from("small")), ("large".into(), Bytes::from(vec![59; 1 << 20]))]);
    assert_eq!(store.read("agent", 60, 9).await.expect("read").len(), 1);
    assert!(matches!(store.read("agent", 59, 9).await, Err(StoreError::Trimmed { first: 61 })));
    try_commit(&store, fence, "kept", "more").await.expect("the fence outlives both");
}

#[tokio::test]
async fn followers_end_when_the_store_is_closed() {
    use futures::StreamExt;
    let store = EmbeddedStore::in_memory();
    let mut fence = leader(&store).await;
    commit(&store, &mut fence, "a", "1").await;
    let mut stream = store.follow("agent", 1).await.expect("follow");
    let waiting = tokio::spawn(async move { stream.next().await });
    drop(store);
    let ended = waiting.await.expect("the follower");
    assert!(matches!(ended, Some(Err(StoreError::Unavailable(_)))), "{ended:?}");
}

/// A file system of one mebibyte, unmounted with its owner.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder.path())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn f39_a_full_disk_refuses_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a small disk can only be mounted by root");
        return;
    };
    for sync in [Sync::every_second(), Sync::Each] {
        let path = disk.0.path().join("store");
        let store = EmbeddedStore::open(&path, sync).expect("open");
        let mut fence = leader(&store).await;
        let before = fence.seq;
        commit(&store, &mut fence, "a", "1").await;
        std::fs::write(disk.0.path().join("ballast"), vec![0; 700 << 10]).expect("written");
        let refused = try_commit(&store, fence, "large", vec![1; 512 << 10]).await;
        assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
        assert_eq!(store.load("agent").await.expect("load").seq, before + 1);
        std::fs::remove_file(disk.0.path().join("ballast")).expect("removed");
        commit(&store, &mut fence, "large", vec![2; 200 << 10]).await;
        drop(store);
        let store = EmbeddedStore::open(&path, sync).expect("open");
        assert_eq!(store.load("agent").await.expect("load").rows.len(), 2);
    }
}

//! Rows, and the change stream that follows them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use uuid::Uuid;

use super::{Fixture, LONG, Leader, PATIENCE, PEER, SERVICE, delete, left_out, put, row, rows};
use crate::store::{Entry, Extent, Store, StoreError};

/// The next entry of a followed stream, or a panic when none comes.
async fn next(stream: &mut BoxStream<'static, Result<Entry, StoreError>>) -> Result<Entry, StoreError> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("an entry in time").expect("the stream goes on")
}

pub(super) async fn ten_thousand_rows_load_sorted_and_complete(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    for chunk in 0..10 {
        // Keys are written in an order that is not the sorted one.
        let changes = (0..1000)
            .map(|n| put(&format!("task/{:05}", (chunk * 1000 + n) * 7919 % 10_000), format!("v{chunk}-{n}")))
            .collect();
        leader.commit(changes).await;
    }
    let start = Instant::now();
    let loaded = f.store.load(SERVICE).await.expect("load");
    assert!(start.elapsed() < Duration::from_secs(5), "10,000 rows took {:?}", start.elapsed());
    assert_eq!(loaded.seq, 10);
    let keys: BTreeSet<String> = loaded.rows.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, (0..10_000).map(|n| format!("task/{n:05}")).collect());
}

pub(super) async fn binary_values_and_odd_keys_come_back_as_they_were(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    let every_byte = Bytes::from((0..=255u8).chain([0, 0, 13, 10, 0]).collect::<Vec<_>>());
    let keys = ["nul\0inside", "task/{mesos:x}/a b", "ünïcode/☃", "line\r\nbreak", "-0", "allocator:rows"];
    let mut changes: Vec<_> = keys.iter().map(|key| put(key, every_byte.clone())).collect();
    changes.push(put("empty", Bytes::new()));
    leader.commit(changes.clone()).await;
    let loaded = f.store.load(SERVICE).await.expect("load");
    assert_eq!(loaded.rows.len(), changes.len());
    for change in &changes {
        let found = loaded.rows.iter().find(|(key, _)| *key == change.key);
        assert_eq!(found.map(|(_, value)| value), change.value.as_ref(), "row {:?}", change.key);
    }
    assert_eq!(f.store.read(SERVICE, 0, 1).await.expect("read")[0].changes, changes);
}

pub(super) async fn of_several_changes_of_one_row_the_last_counts(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("c", "0")]).await;
    let changes = vec![put("a", "1"), delete("b"), put("a", "2"), put("b", "1"), put("c", "1"), delete("c")];
    leader.commit(changes.clone()).await;
    assert_eq!(rows(&f.store, SERVICE).await, [row("a", "2"), row("b", "1")]);
    assert_eq!(f.store.read(SERVICE, 1, 1).await.expect("read")[0].changes, changes, "the entry has them all");
}

pub(super) async fn cold_rows_are_kept_apart_and_had_by_their_keys(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    let changes = [put("body/a", "1"), put("launch/a", "2"), put("body/b", "3"), put("body/c", "4")];
    leader.commit(changes.to_vec()).await;
    leader.commit(vec![delete("body/b"), put("body/a", "5")]).await;
    assert_eq!(rows(&f.store, SERVICE).await, [row("body/a", "5"), row("body/c", "4"), row("launch/a", "2")]);
    let mut hot = Vec::new();
    let mut keep = |key: &str, _: &[u8]| hot.push(key.to_owned());
    let scanned = f.store.scan(SERVICE, Extent::Hot, &mut keep).await.expect("scan");
    assert_eq!((hot, scanned.seq), (vec!["launch/a".to_owned()], 2));
    let keys = ["launch/a", "body/b", "body/a", "nowhere"].map(str::to_owned);
    let mut found = f.store.get(SERVICE, &keys).await.expect("get");
    found.sort();
    assert_eq!(found, [("body/a".to_owned(), "5".into()), ("launch/a".to_owned(), "2".into())]);
    assert_eq!(f.store.get(PEER, &keys).await.expect("get"), []);
}

pub(super) async fn ten_thousand_changes_are_one_commit(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit((0..5_000).map(|n| put(&format!("old/{n:04}"), "x")).collect()).await;
    let puts = (0..5_000).map(|n| put(&format!("new/{n:04}"), "y"));
    let deletes = (0..5_000).map(|n| delete(&format!("old/{n:04}")));
    leader.commit(puts.chain(deletes).collect()).await;
    let rows = rows(&f.store, SERVICE).await;
    assert_eq!(rows.len(), 5_000);
    assert!(rows.iter().all(|(key, value)| key.starts_with("new/") && value == "y"));
    assert_eq!(f.store.read(SERVICE, 1, 9).await.expect("read")[0].changes.len(), 10_000);
}

pub(super) async fn a_row_of_four_mebibytes_is_kept(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    let large = Bytes::from((0..4 << 20).map(|n: u32| (n % 251) as u8).collect::<Vec<_>>());
    let mut stream = f.store.follow(SERVICE, 0).await.expect("follow");
    leader.commit(vec![put("large", large.clone())]).await;
    assert_eq!(f.store.load(SERVICE).await.expect("load").rows, [("large".to_owned(), large.clone())]);
    assert_eq!(f.store.read(SERVICE, 0, 1).await.expect("read")[0].changes, [put("large", large.clone())]);
    assert_eq!(next(&mut stream).await.expect("an entry").changes, [put("large", large)]);
}

pub(super) async fn entries_read_in_order_without_a_gap_across_terms(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    for term in 1..=4u64 {
        for n in 0..25 {
            leader.commit(vec![put("last", format!("{term}-{n}"))]).await;
        }
        let taken = f.store.acquire(SERVICE, Uuid::new_v4(), Some(leader.fence.leader), 0, LONG).await;
        leader.fence = taken.expect("a new term").fence;
        assert_eq!(leader.fence.seq, term * 25, "a new term goes on where the last one stopped");
    }
    let (mut at, mut seen) = (0, Vec::new());
    loop {
        let entries = f.store.read(SERVICE, at, 7).await.expect("read");
        assert!(entries.len() <= 7, "more than the limit");
        let Some(last) = entries.last() else { break };
        at = last.seq;
        seen.extend(entries);
    }
    assert_eq!(seen.len(), 100);
    for (n, entry) in (0u64..).zip(&seen) {
        assert_eq!((entry.seq, entry.term.epoch), (n + 1, n / 25 + 1));
        assert_eq!(entry.changes, [put("last", format!("{}-{}", n / 25 + 1, n % 25))]);
    }
}

pub(super) async fn follow_wakes_at_once_and_misses_nothing(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("before", "1")]).await;
    let mut from_start = f.store.follow(SERVICE, 0).await.expect("follow");
    let mut from_head = f.store.follow(SERVICE, 1).await.expect("follow");
    assert_eq!(next(&mut from_start).await.expect("an entry").seq, 1);
    let mut fastest = Duration::MAX;
    for seq in 2..=20 {
        let changes = vec![put("n", seq.to_string())];
        // The stream waits before the commit is made, so this measures the wake-up, not a poll.
        let waiting = tokio::spawn(async move {
            let entry = next(&mut from_head).await;
            (entry, Instant::now(), from_head)
        });
        leader.commit(changes.clone()).await;
        let committed = Instant::now();
        let (entry, woken, stream) = waiting.await.expect("the follower");
        from_head = stream;
        let entry = entry.expect("an entry");
        assert_eq!((entry.seq, &entry.changes), (seq, &changes));
        fastest = fastest.min(woken.saturating_duration_since(committed));
        assert_eq!(next(&mut from_start).await.expect("an entry").seq, seq);
    }
    // The fastest of many says how the adapter wakes; a loaded machine may delay any single one.
    assert!(fastest < Duration::from_millis(100), "the fastest wake-up took {fastest:?}");
}

pub(super) async fn follow_catches_up_while_commits_go_on(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    for n in 0..300 {
        leader.commit(vec![put("n", n.to_string())]).await;
    }
    let writer = tokio::spawn(async move {
        for n in 300..600 {
            leader.commit(vec![put("n", n.to_string())]).await;
        }
    });
    let mut stream = f.store.follow(SERVICE, 0).await.expect("follow");
    for seq in 1..=600 {
        assert_eq!(next(&mut stream).await.expect("an entry").seq, seq);
    }
    writer.await.expect("the writer");
}

pub(super) async fn a_second_client_sees_what_the_first_commits(f: Fixture) {
    let Some(other) = f.faults.another().await else {
        return left_out("have a second client");
    };
    let mut leader = Leader::take(&f.store, LONG).await;
    let mut stream = other.follow(SERVICE, 0).await.expect("follow");
    leader.commit(vec![put("a", "1")]).await;
    assert_eq!(next(&mut stream).await.expect("an entry").seq, 1);
    assert_eq!(rows(&other, SERVICE).await, [row("a", "1")]);
    let mut second = Leader {
        store: other.clone(),
        service: SERVICE,
        lease: LONG,
        fence: other.acquire(SERVICE, Uuid::new_v4(), Some(leader.fence.leader), 0, LONG).await.expect("acquire").fence,
    };
    second.commit(vec![put("a", "2")]).await;
    let stale = f.store.commit(leader.batch(Vec::new())).await;
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");
}

pub(super) async fn trimmed_entries_are_said_to_be_gone(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    for n in 0..10 {
        leader.commit(vec![put("n", n.to_string())]).await;
    }
    f.store.trim(SERVICE, 4).await.expect("trim");
    trimmed_at(&f.store, 3, 5).await;
    assert_eq!(f.store.read(SERVICE, 4, 10).await.expect("read").len(), 6);
    f.store.trim(SERVICE, 2).await.expect("trimming less than before changes nothing");
    f.store.trim(SERVICE, 10).await.expect("trim");
    trimmed_at(&f.store, 9, 11).await;
    assert!(f.store.read(SERVICE, 10, 10).await.expect("read").is_empty());
    assert_eq!(rows(&f.store, SERVICE).await, [row("n", "9")], "rows outlive their entries");
    let mut stream = f.store.follow(SERVICE, 10).await.expect("follow");
    leader.commit(vec![put("n", "10")]).await;
    assert_eq!(next(&mut stream).await.expect("an entry").seq, 11);
}

/// Both ways of reading after `after` say that the stream starts at `first`.
async fn trimmed_at(store: &Arc<dyn Store>, after: u64, first: u64) {
    match store.read(SERVICE, after, 10).await {
        Err(StoreError::Trimmed { first: said }) => assert_eq!(said, first),
        other => panic!("read after {after}: {other:?}"),
    }
    let followed = match store.follow(SERVICE, after).await {
        Ok(mut stream) => next(&mut stream).await,
        Err(error) => Err(error),
    };
    assert!(matches!(followed, Err(StoreError::Trimmed { first: said }) if said == first), "{followed:?}");
}

pub(super) async fn reading_past_the_head_is_a_roll_back(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(Vec::new()).await;
    assert!(f.store.read(SERVICE, 1, 10).await.expect("read at the head").is_empty());
    let read = f.store.read(SERVICE, 5, 10).await;
    assert!(matches!(read, Err(StoreError::RolledBack { stored: 1, ours: 5 })), "{read:?}");
    let followed = match f.store.follow(SERVICE, 5).await {
        Ok(mut stream) => next(&mut stream).await,
        Err(error) => Err(error),
    };
    assert!(matches!(followed, Err(StoreError::RolledBack { stored: 1, ours: 5 })), "{followed:?}");
}

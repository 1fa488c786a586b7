//! Terms, leases and the fenced commit.

use bytes::Bytes;
use uuid::Uuid;

use super::{
    Fixture, LONG, Leader, PEER, SERVICE, SHORT, acquire, acquire_when_free, delete, lease_has_run_out, put, row, rows,
};
use crate::store::{Fence, StoreError};

pub(super) async fn a_lease_keeps_others_out_until_it_runs_out(f: Fixture) {
    assert!(f.store.head(SERVICE).await.expect("head").is_none(), "a fresh store has no record");
    let first = acquire(&f.store, SERVICE, SHORT).await.expect("a fresh store has no holder");
    assert_eq!((first.fence.epoch, first.fence.seq, first.peer_cursor), (1, 0, 0));
    assert!(first.store_time_ms > 1_600_000_000_000, "store time is Unix time in milliseconds");
    match acquire(&f.store, SERVICE, SHORT).await {
        Err(StoreError::Held { left_ms }) => {
            assert!(left_ms > 0 && left_ms <= 150, "{left_ms} ms left")
        }
        other => panic!("a held lease was not refused: {other:?}"),
    }
    let head = f.store.head(SERVICE).await.expect("head").expect("a record");
    assert_eq!((head.epoch, head.leader, head.seq), (1, first.fence.leader, 0));
    let second = acquire_when_free(&f.store, SERVICE).await;
    assert_eq!(second.fence.epoch, 2);
    assert_ne!(second.fence.leader, first.fence.leader);
    assert!(second.store_time_ms >= first.store_time_ms + 150, "the lease was cut short");
}

pub(super) async fn the_holder_takes_a_new_term_at_once(f: Fixture) {
    let first = acquire(&f.store, SERVICE, LONG).await.expect("acquire");
    let other = f.store.acquire(SERVICE, Uuid::new_v4(), Some(Uuid::new_v4()), 0, LONG).await;
    assert!(matches!(other, Err(StoreError::Held { .. })), "somebody else's id opened the lease: {other:?}");
    let again = f
        .store
        .acquire(SERVICE, Uuid::new_v4(), Some(first.fence.leader), 0, LONG)
        .await
        .expect("the holder takes a new term");
    assert_eq!(again.fence.epoch, first.fence.epoch + 1);
    // The answer to an acquire may be lost; asking again under the same id must not wait for the lease.
    let repeated = f.store.acquire(SERVICE, again.fence.leader, None, 0, LONG).await.expect("a repeat of an acquire");
    assert!(repeated.fence.epoch >= again.fence.epoch);
}

pub(super) async fn the_epoch_is_at_least_what_is_asked(f: Fixture) {
    let leader = Uuid::new_v4();
    let high = f.store.acquire(SERVICE, leader, None, 41, LONG).await.expect("acquire");
    assert_eq!(high.fence.epoch, 41);
    let next = f.store.acquire(SERVICE, Uuid::new_v4(), Some(leader), 7, LONG).await.expect("acquire");
    assert_eq!(next.fence.epoch, 42, "a low minimum does not lower the epoch");
}

pub(super) async fn release_lets_a_standby_in_at_once(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("a", "1")]).await;
    let stale = Fence { leader: Uuid::new_v4(), ..leader.fence };
    let refused = f.store.release(SERVICE, stale).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "a stranger gave the lease back: {refused:?}");
    assert!(matches!(acquire(&f.store, SERVICE, LONG).await, Err(StoreError::Held { .. })));
    f.store.release(SERVICE, leader.fence).await.expect("release");
    let next = acquire(&f.store, SERVICE, LONG).await.expect("a released lease is free");
    assert_eq!((next.fence.epoch, next.fence.seq), (2, 1));
}

pub(super) async fn a_commit_raises_seq_and_writes_rows_and_entry_together(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("task/f/1", "staging"), put("task/f/2", "staging")]).await;
    let mut second = leader.batch(vec![put("task/f/1", "running"), delete("task/f/2"), delete("task/f/none")]);
    second.peer_cursor = 17;
    let done = f.store.commit(second.clone()).await.expect("commit");
    assert_eq!(done.seq, 2);
    assert_eq!(rows(&f.store, SERVICE).await, [row("task/f/1", "running")]);
    assert_eq!(f.store.load(SERVICE).await.expect("load").seq, 2);
    let entries = f.store.read(SERVICE, 1, 10).await.expect("read");
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].seq, entries[0].term), (2, leader.fence.term()));
    assert_eq!(entries[0].changes, second.changes, "an entry has the changes in the order they were made");
    let head = f.store.head(SERVICE).await.expect("head").expect("a record");
    assert_eq!((head.seq, head.epoch, head.leader), (2, leader.fence.epoch, leader.fence.leader));
    let next = f.store.acquire(SERVICE, Uuid::new_v4(), Some(leader.fence.leader), 0, LONG).await.expect("a new term");
    assert_eq!((next.peer_cursor, next.fence.seq), (17, 2), "the cursor and the number outlive the term");
}

pub(super) async fn stale_epoch_and_stale_leader_are_fenced_and_change_nothing(f: Fixture) {
    let mut old = Leader::take(&f.store, LONG).await;
    old.commit(vec![put("a", "1")]).await;
    let new = f.store.acquire(SERVICE, Uuid::new_v4(), Some(old.fence.leader), 0, LONG).await.expect("a new term");
    let stale_both = old.fence;
    let stale_epoch = Fence { epoch: old.fence.epoch, ..new.fence };
    let stale_leader = Fence { leader: old.fence.leader, ..new.fence };
    for fence in [stale_both, stale_epoch, stale_leader] {
        let mut commit = old.batch(vec![put("a", "2"), put("b", "2")]);
        commit.fence = fence;
        commit.peer_cursor = 99;
        match f.store.commit(commit).await {
            Err(StoreError::Fenced { epoch }) => assert_eq!(epoch, new.fence.epoch),
            other => panic!("a stale fence was not refused: {other:?}"),
        }
    }
    assert_eq!(rows(&f.store, SERVICE).await, [row("a", "1")]);
    assert!(f.store.read(SERVICE, 1, 10).await.expect("read").is_empty());
    let head = f.store.head(SERVICE).await.expect("head").expect("a record");
    assert_eq!((head.seq, head.epoch, head.leader), (1, new.fence.epoch, new.fence.leader));
    let after = f.store.acquire(SERVICE, Uuid::new_v4(), Some(new.fence.leader), 0, LONG).await.expect("acquire");
    assert_eq!(after.peer_cursor, 0, "a refused commit moved the peer's cursor");
}

pub(super) async fn a_commit_without_a_record_is_fenced(f: Fixture) {
    let commit = Leader {
        store: f.store.clone(),
        service: SERVICE,
        fence: Fence { epoch: 3, leader: Uuid::new_v4(), seq: 12 },
        lease: LONG,
    }
    .batch(vec![put("a", "1")]);
    assert!(matches!(f.store.commit(commit).await, Err(StoreError::Fenced { epoch: 0 })));
    assert!(rows(&f.store, SERVICE).await.is_empty());
}

pub(super) async fn a_wrong_seq_is_rolled_back_and_changes_nothing(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    for _ in 0..3 {
        leader.commit(vec![put("a", "1")]).await;
    }
    for ours in [2, 4, 40] {
        let mut commit = leader.batch(vec![put("a", "wrong")]);
        commit.fence.seq = ours;
        match f.store.commit(commit).await {
            Err(StoreError::RolledBack { stored, ours: held }) => {
                assert_eq!((stored, held), (3, ours))
            }
            other => panic!("seq {ours} was not refused: {other:?}"),
        }
    }
    assert_eq!(rows(&f.store, SERVICE).await, [row("a", "1")]);
    leader.commit(vec![put("a", "2")]).await;
}

pub(super) async fn a_repeat_of_the_last_batch_is_answered_as_done_once(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    let commit = leader.batch(vec![put("a", "1")]);
    let first = f.store.commit(commit.clone()).await.expect("commit");
    for _ in 0..3 {
        let again = f.store.commit(commit.clone()).await.expect("a repeat is answered as done");
        assert_eq!(again, first, "a repeat is answered as it was the first time");
    }
    assert_eq!(f.store.read(SERVICE, 0, 10).await.expect("read").len(), 1, "a repeat appended an entry");
    leader.fence.seq = first.seq;
    leader.commit(vec![put("a", "2")]).await;
    // Only the last batch is remembered; an older one is not ours to answer.
    assert!(matches!(f.store.commit(commit).await, Err(StoreError::RolledBack { stored: 2, ours: 0 })));
    assert_eq!(rows(&f.store, SERVICE).await, [row("a", "2")]);
}

pub(super) async fn of_two_leaders_that_race_one_wins(f: Fixture) {
    for _ in 0..5 {
        let racing: Vec<_> = (0..8)
            .map(|_| {
                let store = f.store.clone();
                tokio::spawn(async move { acquire(&store, SERVICE, LONG).await })
            })
            .collect();
        let mut won = Vec::new();
        for racer in racing {
            match racer.await.expect("a racer") {
                Ok(acquired) => won.push(acquired.fence),
                Err(StoreError::Held { .. }) => {}
                Err(other) => panic!("acquire: {other}"),
            }
        }
        assert_eq!(won.len(), 1, "the lease was given {} times", won.len());
        f.store.release(SERVICE, won[0]).await.expect("release");
    }
}

pub(super) async fn of_two_commits_with_one_fence_one_wins(f: Fixture) {
    let leader = Leader::take(&f.store, LONG).await;
    let racing: Vec<_> = (0..8)
        .map(|n| {
            let (store, commit) = (f.store.clone(), leader.batch(vec![put("winner", Bytes::from(n.to_string()))]));
            tokio::spawn(async move { (n, store.commit(commit).await) })
        })
        .collect();
    let mut won = Vec::new();
    for racer in racing {
        match racer.await.expect("a racer") {
            (n, Ok(done)) => won.push((n, done.seq)),
            (_, Err(StoreError::RolledBack { stored: 1, ours: 0 })) => {}
            (_, Err(other)) => panic!("commit: {other}"),
        }
    }
    assert_eq!(won.len(), 1, "one number was given to {} commits", won.len());
    assert_eq!(rows(&f.store, SERVICE).await, [row("winner", &won[0].0.to_string())]);
    assert_eq!(f.store.read(SERVICE, 0, 10).await.expect("read").len(), 1);
}

pub(super) async fn an_empty_commit_renews_the_lease(f: Fixture) {
    let mut leader = Leader::take(&f.store, SHORT).await;
    leader.lease = LONG;
    let done = leader.commit(Vec::new()).await;
    let head = f.store.head(SERVICE).await.expect("head").expect("a record");
    assert!(head.lease_left_ms > 30_000, "{} ms left", head.lease_left_ms);
    assert!(head.store_time_ms >= done.store_time_ms);
    let entries = f.store.read(SERVICE, 0, 10).await.expect("read");
    assert_eq!(entries.len(), 1, "an empty commit is an entry all the same");
    assert!(entries[0].changes.is_empty());
}

pub(super) async fn a_lease_that_nobody_took_is_renewed_by_its_holder(f: Fixture) {
    let mut leader = Leader::take(&f.store, SHORT).await;
    lease_has_run_out(&f.store, SERVICE).await;
    leader.lease = LONG;
    leader.commit(vec![put("a", "1")]).await;
    assert!(matches!(acquire(&f.store, SERVICE, LONG).await, Err(StoreError::Held { .. })));
}

pub(super) async fn services_do_not_touch_each_other(f: Fixture) {
    let mut allocator = Leader::take_as(&f.store, SERVICE, LONG).await;
    let mut registry = Leader::take_as(&f.store, PEER, LONG).await;
    allocator.commit(vec![put("same", "allocator")]).await;
    allocator.commit(Vec::new()).await;
    registry.commit(vec![put("same", "registry")]).await;
    assert_eq!(rows(&f.store, SERVICE).await, [row("same", "allocator")]);
    assert_eq!(rows(&f.store, PEER).await, [row("same", "registry")]);
    f.store.trim(SERVICE, 2).await.expect("trim");
    assert_eq!(f.store.read(PEER, 0, 10).await.expect("read").len(), 1);
    assert_eq!((allocator.fence.seq, registry.fence.seq), (2, 1));
}

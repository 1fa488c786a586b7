//! Lost answers, restarts, roll-backs and a store without room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use uuid::Uuid;

use super::{
    Fixture, LONG, Leader, PATIENCE, SERVICE, acquire, acquire_when_free, commit_until_answered, left_out, put, row,
    rows,
};
use crate::store::{Acquired, Store, StoreError};

/// The new term of a leader that dropped its machine: it shows who it was.
async fn new_term(store: &Arc<dyn Store>, previous: Uuid) -> Acquired {
    let start = Instant::now();
    loop {
        match store.acquire(SERVICE, Uuid::new_v4(), Some(previous), 0, LONG).await {
            Ok(acquired) => return acquired,
            Err(error) if error.is_retryable() => {
                assert!(start.elapsed() < PATIENCE, "no new term: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("acquire: {error}"),
        }
    }
}

pub(super) async fn a_lost_answer_is_settled_by_the_same_batch(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("a", "1")]).await;
    if !f.faults.lose_next_answer().await {
        return left_out("lose an answer");
    }
    let commit = leader.batch(vec![put("a", "2")]);
    let lost = f.store.commit(commit.clone()).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "the outcome is unknown: {lost:?}");
    let settled = commit_until_answered(&f.store, &commit).await.expect("a repeat settles it");
    assert_eq!(settled.seq, 2);
    assert_eq!(f.store.read(SERVICE, 0, 10).await.expect("read").len(), 2, "the commit was made twice");
    assert_eq!(rows(&f.store, SERVICE).await, [row("a", "2")]);
}

pub(super) async fn a_lost_request_is_settled_by_the_same_batch(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("a", "1")]).await;
    if !f.faults.lose_next_request().await {
        return left_out("lose a request");
    }
    let commit = leader.batch(vec![put("a", "2")]);
    let lost = f.store.commit(commit.clone()).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "the outcome is unknown: {lost:?}");
    assert_eq!(commit_until_answered(&f.store, &commit).await.expect("a repeat settles it").seq, 2);
    assert_eq!(f.store.read(SERVICE, 0, 10).await.expect("read").len(), 2);
}

pub(super) async fn dropped_connections_are_made_again(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("a", "1")]).await;
    let mut stream = f.store.follow(SERVICE, 1).await.expect("follow");
    if !f.faults.drop_connections().await {
        return left_out("drop connections");
    }
    let ended = tokio::time::timeout(PATIENCE, stream.next()).await.expect("the stream notices");
    assert!(matches!(ended, Some(Err(StoreError::Unavailable(_)))), "{ended:?}");
    let start = Instant::now();
    let commit = leader.batch(vec![put("a", "2")]);
    assert_eq!(commit_until_answered(&f.store, &commit).await.expect("commit").seq, 2);
    assert!(start.elapsed() < Duration::from_secs(3), "a reconnect took {:?}", start.elapsed());
    let mut stream = f.store.follow(SERVICE, 1).await.expect("follow");
    let entry = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an entry").expect("more").expect("entry");
    assert_eq!(entry.seq, 2);
}

pub(super) async fn a_stalled_store_is_given_up_on_in_time_and_settles_later(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("a", "1")]).await;
    if !f.faults.stall(true).await {
        return left_out("stall");
    }
    let commit = leader.batch(vec![put("a", "2")]);
    for _ in 0..2 {
        // The second call finds no connection: it must not wait longer than the first.
        let start = Instant::now();
        let lost = f.store.commit(commit.clone()).await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "given up on after {:?}", start.elapsed());
    }
    assert!(f.faults.stall(false).await);
    assert_eq!(commit_until_answered(&f.store, &commit).await.expect("a repeat settles it").seq, 2);
    assert_eq!(f.store.read(SERVICE, 0, 10).await.expect("read").len(), 2);
}

pub(super) async fn everything_is_there_after_a_restart(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    let mut commit = leader.batch(vec![put("a", "1"), put("b", "2")]);
    commit.peer_cursor = 9;
    leader.fence.seq = f.store.commit(commit.clone()).await.expect("commit").seq;
    let (fence, faults) = (leader.fence, f.faults.clone());
    drop(leader);
    drop(f);
    let Some(store) = faults.restart().await else {
        return left_out("restart");
    };
    let again = commit_until_answered(&store, &commit).await.expect("the last batch is still known");
    assert_eq!(again.seq, 1);
    assert_eq!(rows(&store, SERVICE).await, [row("a", "1"), row("b", "2")]);
    assert_eq!(store.read(SERVICE, 0, 10).await.expect("read").len(), 1);
    let mut leader = Leader { store: store.clone(), service: SERVICE, fence, lease: LONG };
    leader.commit(vec![put("a", "3")]).await;
    let next = new_term(&store, fence.leader).await;
    assert_eq!((next.fence.epoch, next.fence.seq), (2, 2));
}

pub(super) async fn lost_commits_are_said_to_be_rolled_back(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("a", "kept")]).await;
    leader.commit(vec![put("b", "kept")]).await;
    if !f.faults.mark().await {
        return left_out("roll back");
    }
    for n in 0..5 {
        leader.commit(vec![put("a", n.to_string()), put("c", "lost")]).await;
    }
    let (fence, faults) = (leader.fence, f.faults.clone());
    drop(leader);
    drop(f);
    let store = faults.roll_back().await.expect("what was marked can be returned to");
    let leader = Leader { store: store.clone(), service: SERVICE, fence, lease: LONG };
    let refused = commit_until_answered(&store, &leader.batch(vec![put("a", "late")])).await;
    assert!(matches!(refused, Err(StoreError::RolledBack { stored: 2, ours: 7 })), "{refused:?}");
    assert_eq!(rows(&store, SERVICE).await, [row("a", "kept"), row("b", "kept")]);
    let behind = store.read(SERVICE, 7, 10).await;
    assert!(matches!(behind, Err(StoreError::RolledBack { stored: 2, ours: 7 })), "{behind:?}");
    let next = new_term(&store, fence.leader).await;
    assert_eq!((next.fence.epoch, next.fence.seq), (2, 2));
    let mut leader = Leader { store: store.clone(), service: SERVICE, fence: next.fence, lease: LONG };
    leader.commit(vec![put("a", "new")]).await;
    let entries = store.read(SERVICE, 0, 10).await.expect("read");
    assert_eq!(entries.iter().map(|e| (e.seq, e.term.epoch)).collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 2)]);
}

pub(super) async fn a_wiped_store_fences_its_leader_and_starts_again(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("a", "1")]).await;
    if !f.faults.wipe().await {
        return left_out("be wiped");
    }
    let refused = f.store.commit(leader.batch(vec![put("a", "2")])).await;
    assert!(matches!(refused, Err(StoreError::Fenced { epoch: 0 })), "{refused:?}");
    assert!(rows(&f.store, SERVICE).await.is_empty());
    // Agents obeyed epoch 1, so the next leader asks for more.
    let next = f.store.acquire(SERVICE, Uuid::new_v4(), None, 2, LONG).await.expect("acquire");
    assert_eq!((next.fence.epoch, next.fence.seq), (2, 0));
    let mut leader = Leader { store: f.store.clone(), service: SERVICE, fence: next.fence, lease: LONG };
    leader.commit(vec![put("a", "new")]).await;
    assert_eq!(f.store.read(SERVICE, 0, 10).await.expect("read").len(), 1);
}

pub(super) async fn a_full_store_refuses_and_writes_nothing(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("a", "1"), put("gone", "1")]).await;
    if !f.faults.fill(true).await {
        return left_out("be full");
    }
    let large = vec![7u8; 1 << 20];
    let commit = leader.batch(vec![super::delete("gone"), put("a", "2"), put("large", large)]);
    let refused = f.store.commit(commit.clone()).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
    assert_eq!(rows(&f.store, SERVICE).await, [row("a", "1"), row("gone", "1")], "a refused commit wrote rows");
    assert_eq!(f.store.read(SERVICE, 0, 10).await.expect("read").len(), 1, "a refused commit left an entry");
    assert_eq!(f.store.head(SERVICE).await.expect("head").expect("a record").seq, 1);
    f.store.trim(SERVICE, 1).await.expect("a full store can be trimmed");
    assert!(f.faults.fill(false).await);
    let done = f.store.commit(commit).await.expect("with room again, the same batch goes in");
    assert_eq!(done.seq, 2);
}

pub(super) async fn a_stream_ahead_of_its_record_starts_anew_with_the_next_term(f: Fixture) {
    let mut leader = Leader::take(&f.store, LONG).await;
    leader.commit(vec![put("a", "1")]).await;
    if !f.faults.advance_stream(SERVICE, 9).await {
        return left_out("tear stream and record apart");
    }
    let refused = f.store.commit(leader.batch(vec![put("a", "2")])).await;
    assert!(matches!(refused, Err(StoreError::RolledBack { .. })), "{refused:?}");
    assert_eq!(rows(&f.store, SERVICE).await, [row("a", "1")]);
    assert!(matches!(acquire(&f.store, SERVICE, LONG).await, Err(StoreError::Held { .. })));
    f.store.release(SERVICE, leader.fence).await.expect("release");
    let next = acquire_when_free(&f.store, SERVICE).await;
    assert_eq!(next.fence.seq, 1, "the rows decide where the service stands");
    leader.fence = next.fence;
    leader.commit(vec![put("a", "3")]).await;
    let read = f.store.read(SERVICE, 0, 10).await;
    assert!(matches!(read, Err(StoreError::Trimmed { first: 2 })), "{read:?}");
    assert_eq!(f.store.read(SERVICE, 1, 10).await.expect("read")[0].changes, [put("a", "3")]);
}

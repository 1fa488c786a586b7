//! Servers that fill up, stall, tear, lose commits or die, and what a leader sees of it.

use std::time::{Duration, Instant};

use mesos_ports::store::{Commit, Committed, Store, StoreError};
use mesos_store::redis::{RedisOptions, RedisStore};
use uuid::Uuid;

use crate::server::{self, Server};
use crate::{LONG, commit, connect, leader};

/// Asks for the same commit until there is an outcome, as a leader does.
async fn settle(store: &RedisStore, wanted: &Commit, patience: Duration) -> Result<Committed, StoreError> {
    let start = Instant::now();
    loop {
        match store.commit(wanted.clone()).await {
            Err(StoreError::Unavailable(_) | StoreError::ReadOnly(_)) if start.elapsed() < patience => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            outcome => return outcome,
        }
    }
}

#[tokio::test]
async fn f7_a_primary_without_enough_replicas_refuses_writes() {
    if !server::is_there() {
        return;
    }
    let server = Server::start(&[]).await;
    let store = connect(&server).await;
    let fence = leader(&store).await;
    server::command(&server.url(), &["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let error = store.commit(commit(fence, "1")).await.expect_err("no replica");
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    assert_eq!(store.head("allocator").await.expect("head").expect("a record").seq, 0);
}

#[tokio::test]
async fn f10_a_server_that_cannot_save_refuses_writes() {
    if !server::is_there() {
        return;
    }
    let server = Server::start(&[]).await;
    let store = connect(&server).await;
    let fence = leader(&store).await;
    server.lose_folder();
    server::command(&server.url(), &["CONFIG", "SET", "save", "3600 1"]).await;
    server::command(&server.url(), &["BGSAVE"]).await;
    let start = Instant::now();
    while !server::text_of(&server.url(), &["INFO", "persistence"]).await.contains("rdb_last_bgsave_status:err") {
        assert!(start.elapsed() < Duration::from_secs(10), "the save did not fail");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = store.commit(commit(fence, "1")).await.expect_err("nothing can be saved");
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    assert!(store.load("allocator").await.expect("load").rows.is_empty());
}

#[tokio::test]
async fn f9_a_torn_append_only_file_loses_whole_commits_and_is_noticed() {
    if !server::is_there() {
        return;
    }
    let mut server = Server::start(&["--appendonly", "yes"]).await;
    let store = connect(&server).await;
    let mut fence = leader(&store).await;
    for value in ["1", "2"] {
        fence.seq = store.commit(commit(fence, value)).await.expect("commit").seq;
    }
    server.kill();
    server.tear_append_only_file(10);
    server.spawn();
    server::ready(&server.url()).await;
    let start = Instant::now();
    let error = loop {
        match store.commit(commit(fence, "3")).await {
            Err(StoreError::Unavailable(_)) if start.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => break other.expect_err("a commit was lost"),
        }
    };
    assert!(matches!(error, StoreError::RolledBack { stored: 1, ours: 2 }), "{error}");
    let loaded = store.load("allocator").await.expect("load");
    assert_eq!((loaded.seq, &loaded.rows[0].1[..]), (1, &b"1"[..]));
    assert_eq!(store.read("allocator", 0, 9).await.expect("read").len(), 1);
}

#[tokio::test]
async fn f6_a_sentinel_leads_to_the_promoted_replica() {
    if !server::is_there() {
        return;
    }
    let (old, new) = (Server::start(&[]).await, Server::start(&[]).await);
    new.follow(old.port).await;
    let sentinel = Server::sentinel("main", old.port, 1).await;
    let url = format!("redis+sentinel://127.0.0.1:{},{}/main", server::free_port(), sentinel.address());
    let store = RedisStore::connect(&url, "test", RedisOptions::default()).await.expect("connect");
    let mut fence = leader(&store).await;
    fence.seq = store.commit(commit(fence, "1")).await.expect("commit").seq;
    // The commit is waited for, so that this failover loses nothing.
    new.caught_up(old.port).await;
    drop(old);
    let next = commit(fence, "2");
    let start = Instant::now();
    let done = loop {
        match store.commit(next.clone()).await {
            Err(StoreError::Unavailable(_) | StoreError::ReadOnly(_)) if start.elapsed() < Duration::from_secs(30) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => break other.expect("the promoted replica goes on"),
        }
    };
    assert_eq!(done.seq, 2);
}

#[tokio::test]
async fn f8_a_full_server_refuses_writes_answers_reads_and_recovers_by_itself() {
    if !server::is_there() {
        return;
    }
    let server = Server::start(&[]).await;
    let store = connect(&server).await;
    let mut fence = leader(&store).await;
    fence.seq = store.commit(commit(fence, "1")).await.expect("commit").seq;
    server::command(&server.url(), &["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = store.commit(commit(fence, "2")).await.expect_err("there is no memory left");
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    let error = store.acquire("registry", Uuid::new_v4(), None, 0, LONG).await.expect_err("no new term either");
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
    assert_eq!(store.load("allocator").await.expect("reads go on").rows[0].1, "1");
    server::command(&server.url(), &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(store.commit(commit(fence, "3")).await.expect("it recovers").seq, 2);
}

#[tokio::test]
async fn f11_a_commit_to_a_server_that_stalls_has_no_outcome_until_it_goes_on_and_is_done_once() {
    if !server::is_there() {
        return;
    }
    let server = Server::start(&[]).await;
    let options = RedisOptions { response_timeout: Duration::from_millis(300), ..RedisOptions::default() };
    let store = RedisStore::connect(&server.url(), "test", options).await.expect("connect");
    let fence = leader(&store).await;
    server.signal("STOP");
    let wanted = commit(fence, "1");
    for _ in 0..3 {
        let start = Instant::now();
        let error = store.commit(wanted.clone()).await.expect_err("it stalls");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(start.elapsed() < Duration::from_secs(2), "a request waits for a bounded time");
    }
    server.signal("CONT");
    // What was asked three times and is asked again is done once, in the same term.
    assert_eq!(settle(&store, &wanted, Duration::from_secs(10)).await.expect("it goes on").seq, 1);
    assert_eq!(store.read("allocator", 0, 9).await.expect("read").len(), 1);
}

/// Three servers and a Sentinel. The primary is killed while a leader commits; what it had not passed on is lost.
#[tokio::test]
async fn f6_a_leader_notices_what_the_promoted_of_two_replicas_has_lost_and_takes_a_new_term() {
    if !server::is_there() {
        return;
    }
    let primary = Server::start(&["--appendonly", "yes"]).await;
    let replicas = [Server::start(&[]).await, Server::start(&[]).await];
    for replica in &replicas {
        replica.follow(primary.port).await;
    }
    let sentinel = Server::sentinel("main", primary.port, 2).await;
    let url = format!("redis+sentinel://{}/main", sentinel.address());
    let store = RedisStore::connect(&url, "test", RedisOptions::default()).await.expect("connect");
    let mut fence = leader(&store).await;
    for value in 0..20 {
        fence.seq = store.commit(commit(fence, &value.to_string())).await.expect("commit").seq;
    }
    for replica in &replicas {
        replica.caught_up(primary.port).await;
        let nobody = server::free_port().to_string();
        server::command(&replica.url(), &["REPLICAOF", "127.0.0.1", &nobody]).await;
    }
    // Both replicas are cut off now, so that these are with the primary alone, as in the last second of a host.
    let kept = fence.seq;
    for value in 0..5 {
        fence.seq = store.commit(commit(fence, &format!("lost {value}"))).await.expect("commit").seq;
    }
    drop(primary);
    let next = settle(&store, &commit(fence, "next"), Duration::from_secs(40)).await;
    let Err(StoreError::RolledBack { stored, ours }) = next else { panic!("{next:?}") };
    assert!((stored, ours) == (kept, kept + 5), "{stored} of {ours}");
    // It goes on in a new term, on what there is; with the old one nobody can write any more.
    let granted = store.acquire("allocator", Uuid::new_v4(), Some(fence.leader), 0, LONG).await.expect("acquire");
    assert_eq!((granted.fence.epoch, granted.fence.seq), (fence.epoch + 1, kept));
    store.commit(commit(granted.fence, "again")).await.expect("the new term writes");
    let late = store.commit(commit(fence, "late")).await.expect_err("the old term is over");
    assert!(matches!(late, StoreError::Fenced { .. }), "{late}");
    assert_eq!(store.load("allocator").await.expect("load").rows[0].1, "again");
}

#[tokio::test]
async fn f7_a_primary_cut_off_from_its_replicas_is_given_up_by_its_leader() {
    if !server::is_there() {
        return;
    }
    let primary = Server::start(&["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"]).await;
    let replica = Server::start(&[]).await;
    replica.follow(primary.port).await;
    let store = connect(&primary).await;
    let start = Instant::now();
    let fence = loop {
        // The primary counts a replica once it has heard of it.
        match store.acquire("allocator", Uuid::new_v4(), None, 0, LONG).await {
            Ok(acquired) => break acquired.fence,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(10), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut fence = fence;
    fence.seq = store.commit(commit(fence, "1")).await.expect("one replica is there").seq;
    drop(replica);
    let start = Instant::now();
    let error = loop {
        match store.commit(commit(fence, "2")).await {
            Ok(done) => fence.seq = done.seq,
            Err(error) => break error,
        }
        assert!(start.elapsed() < Duration::from_secs(10), "writes go on without a replica");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
}

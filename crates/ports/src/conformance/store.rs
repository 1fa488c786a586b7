//! The suite of the store port: what a leader, a standby and a reader may rely on.
//!
//! An adapter's test gives a factory of fresh, empty stores and, through [`Faults`], the means to hurt
//! them. A fault that an adapter has no means for is said on standard output and left out; everything
//! else must pass.

mod faulty;
mod fence;
mod stream;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use crate::store::{Acquired, Change, Commit, Committed, Fence, Store, StoreError};

/// The service that most cases write as.
pub(crate) const SERVICE: &str = "allocator";
/// A second service in the same store.
pub(crate) const PEER: &str = "registry";
/// A lease that outlives every case.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// A lease that a case waits out.
pub(crate) const SHORT: Duration = Duration::from_millis(150);
/// How long a case waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// A fresh, empty store and the means to hurt it.
pub struct Fixture {
    /// The store under test.
    pub store: Arc<dyn Store>,
    /// What can be done to it.
    pub faults: Arc<dyn Faults>,
}

/// What a case can do to a store. Each method says whether it could be done; the default is that it
/// could not.
#[async_trait]
pub trait Faults: Send + Sync {
    /// A second client of the same store, as another process has one.
    async fn another(&self) -> Option<Arc<dyn Store>> {
        None
    }
    /// Stops the store cleanly and starts it again on the same data. The case has let go of its store
    /// before; the answer is the store to go on with.
    async fn restart(&self) -> Option<Arc<dyn Store>> {
        None
    }
    /// Marks the present state as the one that [`Faults::roll_back`] returns to.
    async fn mark(&self) -> bool {
        false
    }
    /// Makes the store lose everything since [`Faults::mark`], as the promotion of an asynchronous
    /// replica does. The case has let go of its store before.
    async fn roll_back(&self) -> Option<Arc<dyn Store>> {
        None
    }
    /// The store loses everything it holds.
    async fn wipe(&self) -> bool {
        false
    }
    /// The next request is carried out and its answer is lost with the connection.
    async fn lose_next_answer(&self) -> bool {
        false
    }
    /// The next request is lost with the connection before it reaches the store.
    async fn lose_next_request(&self) -> bool {
        false
    }
    /// Closes every open connection.
    async fn drop_connections(&self) -> bool {
        false
    }
    /// Stops answering without closing connections (`true`), or goes on (`false`).
    async fn stall(&self, _on: bool) -> bool {
        false
    }
    /// Takes the room for writes away (`true`) or gives it back (`false`).
    async fn fill(&self, _on: bool) -> bool {
        false
    }
    /// Raises or damages the change stream's last number behind the record's back.
    async fn advance_stream(&self, _service: &str, _seq: u64) -> bool {
        false
    }
}

/// No means at all.
pub struct NoFaults;

impl Faults for NoFaults {}

/// Runs every case, each on a fresh store of `make`. Panics with the case's name on the first breach.
pub async fn run<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Fixture>,
{
    macro_rules! cases {
        ($($module:ident :: $case:ident),* $(,)?) => {
            $(
                println!("store: {}", stringify!($case));
                Box::pin($module::$case(make().await)).await;
            )*
        };
    }
    cases!(
        fence::a_lease_keeps_others_out_until_it_runs_out,
        fence::the_holder_takes_a_new_term_at_once,
        fence::the_epoch_is_at_least_what_is_asked,
        fence::release_lets_a_standby_in_at_once,
        fence::a_commit_raises_seq_and_writes_rows_and_entry_together,
        fence::stale_epoch_and_stale_leader_are_fenced_and_change_nothing,
        fence::a_commit_without_a_record_is_fenced,
        fence::a_wrong_seq_is_rolled_back_and_changes_nothing,
        fence::a_repeat_of_the_last_batch_is_answered_as_done_once,
        fence::of_two_leaders_that_race_one_wins,
        fence::of_two_commits_with_one_fence_one_wins,
        fence::an_empty_commit_renews_the_lease,
        fence::a_lease_that_nobody_took_is_renewed_by_its_holder,
        fence::services_do_not_touch_each_other,
        stream::ten_thousand_rows_load_sorted_and_complete,
        stream::binary_values_and_odd_keys_come_back_as_they_were,
        stream::of_several_changes_of_one_row_the_last_counts,
        stream::cold_rows_are_kept_apart_and_had_by_their_keys,
        stream::ten_thousand_changes_are_one_commit,
        stream::a_row_of_four_mebibytes_is_kept,
        stream::entries_read_in_order_without_a_gap_across_terms,
        stream::follow_wakes_at_once_and_misses_nothing,
        stream::follow_catches_up_while_commits_go_on,
        stream::a_second_client_sees_what_the_first_commits,
        stream::trimmed_entries_are_said_to_be_gone,
        stream::reading_past_the_head_is_a_roll_back,
        faulty::a_lost_answer_is_settled_by_the_same_batch,
        faulty::a_lost_request_is_settled_by_the_same_batch,
        faulty::dropped_connections_are_made_again,
        faulty::a_stalled_store_is_given_up_on_in_time_and_settles_later,
        faulty::everything_is_there_after_a_restart,
        faulty::lost_commits_are_said_to_be_rolled_back,
        faulty::a_wiped_store_fences_its_leader_and_starts_again,
        faulty::a_full_store_refuses_and_writes_nothing,
        faulty::a_stream_ahead_of_its_record_starts_anew_with_the_next_term,
    );
}

/// A leader as the driver loop is one: it shows its fence and moves it with each commit.
pub(crate) struct Leader {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) service: &'static str,
    pub(crate) fence: Fence,
    pub(crate) lease: Duration,
}

impl Leader {
    pub(crate) async fn take(store: &Arc<dyn Store>, lease: Duration) -> Leader {
        Leader::take_as(store, SERVICE, lease).await
    }

    pub(crate) async fn take_as(store: &Arc<dyn Store>, service: &'static str, lease: Duration) -> Leader {
        let acquired = acquire(store, service, lease).await.expect("a free lease is taken");
        Leader { store: store.clone(), service, fence: acquired.fence, lease }
    }

    pub(crate) fn batch(&self, changes: Vec<Change>) -> Commit {
        Commit {
            service: self.service,
            fence: self.fence,
            batch: Uuid::new_v4(),
            changes,
            peer_cursor: 0,
            lease: self.lease,
        }
    }

    pub(crate) async fn commit(&mut self, changes: Vec<Change>) -> Committed {
        let done = self.store.commit(self.batch(changes)).await.expect("a commit under a valid fence");
        assert_eq!(done.seq, self.fence.seq + 1, "a commit raises seq by one");
        self.fence.seq = done.seq;
        done
    }
}

pub(crate) async fn acquire(
    store: &Arc<dyn Store>,
    service: &'static str,
    lease: Duration,
) -> Result<Acquired, StoreError> {
    store.acquire(service, Uuid::new_v4(), None, 0, lease).await
}

/// Asks for the lease until it is free.
pub(crate) async fn acquire_when_free(store: &Arc<dyn Store>, service: &'static str) -> Acquired {
    let start = Instant::now();
    loop {
        match acquire(store, service, LONG).await {
            Ok(acquired) => return acquired,
            Err(StoreError::Held { left_ms }) => {
                assert!(start.elapsed() < PATIENCE, "the lease never ran out");
                tokio::time::sleep(Duration::from_millis(left_ms.clamp(1, 50))).await;
            }
            Err(other) => panic!("acquire: {other}"),
        }
    }
}

/// Waits until the lease of the service has run out by the store's clock.
pub(crate) async fn lease_has_run_out(store: &Arc<dyn Store>, service: &'static str) {
    let start = Instant::now();
    while store.head(service).await.expect("head").expect("a record").lease_left_ms > 0 {
        assert!(start.elapsed() < PATIENCE, "the lease never ran out");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Repeats a commit while the store is away, as a driver does.
pub(crate) async fn commit_until_answered(store: &Arc<dyn Store>, commit: &Commit) -> Result<Committed, StoreError> {
    let start = Instant::now();
    loop {
        match store.commit(commit.clone()).await {
            Err(StoreError::Unavailable(text)) => {
                assert!(start.elapsed() < PATIENCE, "the store never came back: {text}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}

pub(crate) fn put(key: &str, value: impl Into<Bytes>) -> Change {
    Change { key: key.to_owned(), value: Some(value.into()) }
}

pub(crate) fn delete(key: &str) -> Change {
    Change { key: key.to_owned(), value: None }
}

/// The rows as text and in order, for comparisons that read well.
pub(crate) async fn rows(store: &Arc<dyn Store>, service: &'static str) -> Vec<(String, String)> {
    let loaded = store.load(service).await.expect("load");
    let text = |value: Bytes| String::from_utf8_lossy(&value).into_owned();
    let rows: BTreeMap<String, String> = loaded.rows.into_iter().map(|(key, value)| (key, text(value))).collect();
    rows.into_iter().collect()
}

pub(crate) fn row(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Says that a case was left out for want of means.
pub(crate) fn left_out(what: &str) {
    println!("store:   left out, this adapter cannot {what}");
}

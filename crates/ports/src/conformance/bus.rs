//! The suite of the bus port. Every adapter runs all of it: what a service may rely on is what is
//! written here.
//!
//! # Layout
//! - `delivery`: publish and subscribe, wildcards, order, slow readers.
//! - `requests`: request and reply, and all the ways in which no reply comes.
//! - `outage`: the broker goes and comes back.

use std::any::Any;
use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};

use crate::bus::{Bus, BusError, Headers, Message, Subscription};

mod delivery;
mod outage;
mod requests;

/// How long anything may take that is going to happen. Generous, for machines under load.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one case may take.
const CASE_TIMEOUT: Duration = Duration::from_secs(180);
/// Bytes that a subscription which nobody reads may hold back at most, plus what is in flight.
const HELD_BACK_BYTES_MAX: usize = 160 * 1024 * 1024;

/// Takes the broker away from all clients and gives it back.
#[async_trait]
pub trait Outage: Send + Sync {
    /// Returns once the broker is gone. Clients may notice later.
    async fn begin(&self);
    /// Returns once the broker can be reached again. Clients may notice later.
    async fn end(&self);
}

/// A broker that nobody else uses, and clients of it.
pub struct Fixture {
    /// At least two clients, each with its own connection.
    pub clients: Vec<Arc<dyn Bus>>,
    /// Makes the broker fail.
    pub outage: Box<dyn Outage>,
    /// Whatever has to live as long as the broker.
    pub keep: Box<dyn Any + Send + Sync>,
}

type Case = fn(Arc<Fixture>) -> BoxFuture<'static, ()>;

macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// The cases by name, so that an adapter can run one alone.
        pub const CASES: &[(&str, Case)] = &[
            $((stringify!($name), |fixture| $module::$name(fixture).boxed())),*
        ];
    };
}

cases![
    delivery::every_subscriber_gets_a_published_message,
    delivery::wildcards_stand_for_tokens,
    delivery::overlapping_subscriptions_of_one_client_each_get_the_message,
    delivery::ten_thousand_messages_arrive_in_order,
    delivery::headers_and_an_empty_payload_are_kept,
    delivery::four_mebibytes_arrive_intact_by_publish,
    delivery::a_slow_reader_hurts_nobody_and_holds_back_little,
    delivery::a_dropped_subscription_is_gone,
    delivery::invalid_subjects_are_refused,
    delivery::flush_returns_once_messages_are_out,
    requests::a_request_is_answered,
    requests::a_request_that_nobody_hears_fails_at_once,
    requests::a_silent_responder_means_a_timeout,
    requests::four_mebibytes_arrive_intact_by_request_and_reply,
    requests::sixty_four_requests_run_at_once,
    requests::a_request_can_be_given_up,
    outage::subscriptions_work_again_after_an_outage,
    outage::nothing_hangs_during_an_outage,
    outage::a_request_in_flight_ends_with_the_connection,
];

/// Runs every case, each on a fixture of its own. Needs a multi-threaded runtime. Panics with the name
/// of the first case that fails.
pub async fn run<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Fixture>,
{
    for (name, case) in CASES {
        let fixture = Arc::new(make().await);
        assert!(fixture.clients.len() >= 2, "the suite needs two clients");
        let started = std::time::Instant::now();
        // A task of its own, so that a panic can be reported with the name of its case.
        let running = tokio::spawn(tokio::time::timeout(CASE_TIMEOUT, case(fixture)));
        match running.await {
            Ok(Ok(())) => eprintln!("{name}: passed in {:?}", started.elapsed()),
            Ok(Err(_)) => panic!("{name}: not done after {CASE_TIMEOUT:?}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

/// The next message; fails the case if none comes.
async fn next(subscription: &mut Subscription) -> Message {
    let message = tokio::time::timeout(PATIENCE, subscription.next()).await;
    message.expect("a message comes in time").expect("the subscription goes on")
}

/// Asserts that what was published before a marker is all there was: the marker is next.
async fn expect_only_marker(bus: &Arc<dyn Bus>, subject: &str, subscription: &mut Subscription) {
    publish(bus, subject, "marker").await;
    assert_eq!(next(subscription).await.payload, "marker");
}

async fn publish(bus: &Arc<dyn Bus>, subject: &str, payload: impl Into<Bytes>) {
    bus.publish(subject, Headers::new(), payload.into()).await.expect("publish is accepted");
}

/// Answers each message of a pattern by `answer`, until the handle is aborted.
async fn respond(
    bus: &Arc<dyn Bus>,
    pattern: &str,
    answer: impl Fn(&Message) -> (Headers, Bytes) + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let mut requests = bus.subscribe(pattern).await.expect("subscribe is accepted");
    let bus = bus.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let Some(reply) = request.reply.clone() else {
                continue;
            };
            let (headers, payload) = answer(&request);
            // The asker may be gone by now.
            let _ = bus.publish(&reply, headers, payload).await;
        }
    })
}

async fn ask(bus: &Arc<dyn Bus>, subject: &str, payload: impl Into<Bytes>) -> Result<Message, BusError> {
    bus.request(subject, Headers::new(), payload.into(), PATIENCE).await
}

/// Bytes that are not the same everywhere, so that swapped or repeated chunks show.
fn pattern_bytes(bytes: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut all = Vec::with_capacity(bytes + 8);
    while all.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.extend_from_slice(&(state >> 8).to_le_bytes());
    }
    all.truncate(bytes);
    all.into()
}

fn headers_of(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Whether all are different.
fn all_different<T: std::hash::Hash + Eq>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = HashSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

//! The bus over core NATS: no streams, no key-value, only publish, subscribe and request.
//!
//! The client library answers `Ok` to a publish while it has no connection and keeps it for later.
//! This adapter says `Unavailable` instead, because its callers send again what matters and would
//! otherwise pile up what is long out of date. It also keeps its own inbox, since an answer may come
//! in several chunks, and its own queue per subscription, since only that one is bounded in bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::bus::{Bus, BusError, BusEvent, Headers, Message, Subscription};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::events::EventHub;
use crate::queue::{self, Limits, Pushed, Writer};
use crate::subject::{INBOX, check_message, check_pattern};

mod chunks;
mod connect;
mod credentials;
mod headers;

use chunks::{Assembler, Budget};
pub use connect::NatsOptions;

/// How long handing a message to the connection may take before the bus counts as unreachable.
const SEND_WAIT: Duration = Duration::from_secs(5);
/// How long the server may take to show that it processed what was sent to it.
const ROUND_TRIP_WAIT: Duration = Duration::from_secs(5);
/// How often the state of the connection is looked at where no event said that it changed.
const STATE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A connection to a NATS server or cluster.
pub struct NatsBus {
    shared: Arc<Shared>,
    /// The inbox reader and the connection watcher; they end with the bus.
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    client: Client,
    /// Requests and round trips that wait, by the last token of their reply subject.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    /// The subject of this connection's answers, with a final dot.
    inbox: String,
    next_id: AtomicU64,
    events: EventHub,
    limits: Limits,
    lost: Arc<AtomicU64>,
    budget: Arc<Budget>,
}

enum Answer {
    Message(Message),
    NoResponders,
    ConnectionLost,
}

impl NatsBus {
    /// Connects to a server, or to one of several with commas between. A user and password, or a
    /// token in the user's place, may stand in the URL.
    ///
    /// Fails with `Unavailable` if no server answers (with [`NatsOptions::wait`] it goes on trying
    /// instead), and with `Refused` if the credentials are not accepted, the URL is not one, or the
    /// server is older than 2.10.
    pub async fn connect(url: &str, options: NatsOptions) -> Result<NatsBus, BusError> {
        let changed = Arc::new(Notify::new());
        let client = connect::connect(url, &options, changed.clone()).await?;
        // The token is random, so that no two connections share an inbox.
        let below = options.inbox.as_ref().map_or_else(|| INBOX.to_owned(), |inbox| format!("{inbox}."));
        let inbox = format!("{below}{:032x}.", rand::random::<u128>());
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            next_id: AtomicU64::new(1),
            events: EventHub::default(),
            limits: options.limits,
            lost: Arc::default(),
            budget: Arc::default(),
            inbox,
            client,
        });
        let answers = shared
            .client
            .subscribe(format!("{}*", shared.inbox))
            .await
            .map_err(|error| BusError::Unavailable(error.to_string()))?;
        let connects = shared.connects();
        let bus = NatsBus {
            tasks: [
                tokio::spawn(read_answers(shared.clone(), answers)),
                tokio::spawn(watch_connection(shared.clone(), changed, connects)),
            ],
            shared,
        };
        bus.shared.round_trip().await?;
        Ok(bus)
    }

    /// Messages that subscribers of this connection lost because they did not keep up.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.shared.fail_waiting();
    }
}

impl Shared {
    fn lock_waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail_waiting(&self) {
        let waiting = std::mem::take(&mut *self.lock_waiting());
        for answer in waiting.into_values() {
            let _ = answer.send(Answer::ConnectionLost);
        }
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn check_connected(&self) -> Result<(), BusError> {
        if self.is_connected() { Ok(()) } else { Err(unavailable("there is no connection to the server")) }
    }

    fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Opens a place for an answer. It is closed again when the guard is dropped.
    fn wait_for_answer(&self) -> (WaitingAnswer<'_>, oneshot::Receiver<Answer>) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.lock_waiting().insert(id, answer);
        (WaitingAnswer { shared: self, id }, answered)
    }

    /// Returns when the server has processed everything that was sent before: it handles the commands
    /// of one connection in order, and this one is a message to ourselves.
    async fn round_trip(&self) -> Result<(), BusError> {
        let (place, answered) = self.wait_for_answer();
        let send = self.client.publish(place.subject(), Bytes::new());
        let trip = async {
            send.await.map_err(|error| unavailable(&error.to_string()))?;
            match answered.await {
                Ok(Answer::Message(_)) => Ok(()),
                _ => Err(unavailable("the connection was lost")),
            }
        };
        timeout(ROUND_TRIP_WAIT, trip).await.unwrap_or_else(|_| Err(unavailable("the server does not answer")))
    }

    /// Hands a message to the connection, in chunks if it is too large for the server.
    async fn send(&self, subject: &str, reply: Option<&str>, headers: Headers, payload: Bytes) -> Result<(), BusError> {
        let sending = async {
            let limit = chunks::payload_limit(self.client.max_payload(), &headers)?;
            if payload.len() <= limit || is_planted(Bug::LargeMessageWhole) {
                return self.send_one(subject, reply, headers::encode(headers), payload).await;
            }
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            for (mark, chunk) in chunks::cut(&self.inbox, id, limit, &payload) {
                let mut map = headers::encode(headers.clone());
                map.insert(chunks::CHUNK_HEADER, mark.as_str());
                self.send_one(subject, reply, map, chunk).await?;
            }
            Ok(())
        };
        // The library's channel is full when the connection writes slower than we send.
        timeout(SEND_WAIT, sending).await.unwrap_or_else(|_| Err(unavailable("the connection does not take more")))
    }

    async fn send_one(
        &self,
        subject: &str,
        reply: Option<&str>,
        headers: async_nats::HeaderMap,
        payload: Bytes,
    ) -> Result<(), BusError> {
        let client = &self.client;
        let subject = subject.to_owned();
        let sent = match (reply, headers.is_empty()) {
            (None, true) => client.publish(subject, payload).await,
            (None, false) => client.publish_with_headers(subject, headers, payload).await,
            (Some(reply), true) => client.publish_with_reply(subject, reply.to_owned(), payload).await,
            (Some(reply), false) => {
                client.publish_with_reply_and_headers(subject, reply.to_owned(), headers, payload).await
            }
        };
        sent.map_err(|error| match error.kind() {
            async_nats::PublishErrorKind::Send => unavailable("the connection is closed"),
            _ => BusError::Refused(error.to_string()),
        })
    }
}

fn unavailable(why: &str) -> BusError {
    BusError::Unavailable(why.to_owned())
}

/// The place of one answer in the inbox.
struct WaitingAnswer<'a> {
    shared: &'a Shared,
    id: u64,
}

impl WaitingAnswer<'_> {
    fn subject(&self) -> String {
        format!("{}{}", self.shared.inbox, self.id)
    }
}

impl Drop for WaitingAnswer<'_> {
    fn drop(&mut self) {
        self.shared.lock_waiting().remove(&self.id);
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, subject: &str, headers: Headers, payload: Bytes) -> Result<(), BusError> {
        check_message(subject, &headers, &payload)?;
        self.shared.check_connected()?;
        self.shared.send(subject, None, headers, payload).await
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        check_pattern(pattern)?;
        self.shared.check_connected()?;
        let messages = timeout(SEND_WAIT, self.shared.client.subscribe(pattern.to_owned()))
            .await
            .map_err(|_| unavailable("the connection does not take more"))?
            .map_err(|error| unavailable(&error.to_string()))?;
        self.shared.round_trip().await?;
        let (writer, reader) = queue::queue(pattern, self.shared.limits, self.shared.lost.clone());
        let assembler = Assembler::new(self.shared.budget.clone());
        let pump = tokio::spawn(pump(messages, assembler, writer)).abort_handle();
        // Ending the pump drops the library's subscription, which unsubscribes.
        Ok(reader.on_drop(move || pump.abort()).boxed())
    }

    async fn request(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
        after: Duration,
    ) -> Result<Message, BusError> {
        check_message(subject, &headers, &payload)?;
        let (place, answered) = self.shared.wait_for_answer();
        // Looked at after the place is open: a connection lost from here on fails what waits.
        self.shared.check_connected()?;
        let reply = place.subject();
        let asking = async {
            self.shared.send(subject, Some(&reply), headers, payload).await?;
            match answered.await {
                Ok(Answer::Message(message)) => Ok(message),
                Ok(Answer::NoResponders) => Err(BusError::NoResponders(subject.to_owned())),
                Ok(Answer::ConnectionLost) | Err(_) => {
                    Err(unavailable("the connection was lost before the answer came"))
                }
            }
        };
        timeout(after, asking).await.unwrap_or_else(|_| Err(BusError::Timeout { subject: subject.to_owned(), after }))
    }

    fn events(&self) -> BoxStream<'static, BusEvent> {
        self.shared.events.listen()
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.shared.check_connected()?;
        match timeout(SEND_WAIT, self.shared.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unavailable(&error.to_string())),
            Err(_) => Err(unavailable("what was sent does not leave")),
        }
    }
}

/// Moves the messages of one subscription into its queue, putting chunks together on the way. It never
/// waits for the subscriber, so the library's own queue stays short.
async fn pump(mut messages: async_nats::Subscriber, mut assembler: Assembler, writer: Writer) {
    while let Some(message) = next_message(&mut messages, &mut assembler).await {
        if message.status.is_some() {
            continue;
        }
        let Some(message) = assembler.take(message) else {
            continue;
        };
        if writer.push(message) == Pushed::ReaderGone {
            return;
        }
    }
    writer.close();
}

/// The next message. While chunks wait for their rest, old ones are dropped in time.
async fn next_message(messages: &mut async_nats::Subscriber, assembler: &mut Assembler) -> Option<async_nats::Message> {
    loop {
        if assembler.is_empty() {
            return messages.next().await;
        }
        match timeout(chunks::PARTIAL_LIFETIME, messages.next()).await {
            Ok(message) => return message,
            Err(_) => assembler.drop_old(),
        }
    }
}

/// Gives each answer to the request that waits for it.
async fn read_answers(shared: Arc<Shared>, mut messages: async_nats::Subscriber) {
    let mut assembler = Assembler::new(shared.budget.clone());
    while let Some(message) = next_message(&mut messages, &mut assembler).await {
        let id = message.subject.strip_prefix(shared.inbox.as_str()).and_then(|id| id.parse().ok());
        let Some(id) = id else { continue };
        // Chunks of an answer that nobody waits for are not worth their memory.
        if !shared.lock_waiting().contains_key(&id) {
            continue;
        }
        let answer = match message.status {
            Some(StatusCode::NO_RESPONDERS) => Answer::NoResponders,
            Some(_) => continue,
            None => match assembler.take(message) {
                Some(message) => Answer::Message(message),
                None => continue,
            },
        };
        let waiting = shared.lock_waiting().remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
    }
}

/// Turns what happens to the connection into events and fails what waits for an answer.
///
/// The library's events only wake it up; what counts is the state and the number of connections made,
/// so an event that got lost, or two that came together, change nothing.
async fn watch_connection(shared: Arc<Shared>, changed: Arc<Notify>, connects: u64) {
    let mut connects = connects;
    let mut is_up = true;
    loop {
        let _ = timeout(STATE_CHECK_INTERVAL, changed.notified()).await;
        let connects_now = shared.connects();
        if is_up && (connects_now != connects || !shared.is_connected()) {
            is_up = false;
            shared.fail_waiting();
            warn!("the connection to NATS is lost");
            shared.events.emit(BusEvent::Disconnected);
        }
        if is_up || !shared.is_connected() {
            continue;
        }
        // The library has sent the subscriptions again before it takes the next command, so one
        // round trip shows that they are in force.
        match shared.round_trip().await {
            Ok(()) if shared.connects() == connects_now => {
                is_up = true;
                connects = connects_now;
                info!("the connection to NATS is back");
                shared.events.emit(BusEvent::Reconnected);
            }
            Ok(()) => {}
            Err(error) => debug!(%error, "the connection to NATS is not usable yet"),
        }
    }
}

//! A bus inside one process. All clients of one broker see each other's messages; a client can be cut
//! off and healed, to see how a service behaves when its connection goes.
//!
//! Publishing costs a look-up and a push per subscriber; the payload is shared, never copied.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use mesos_ports::bus::{Bus, BusError, BusEvent, Headers, Message, Subscription};
use tokio::sync::oneshot;

use crate::events::EventHub;
use crate::queue::{self, Limits, Writer};
use crate::subject::{INBOX, check_message, check_pattern};

mod routes;

use routes::Routes;

/// A client of an in-process broker. [`MemoryBus::new`] makes the broker, [`MemoryBus::client`] one
/// more client of it.
pub struct MemoryBus {
    broker: Arc<Broker>,
    client: Arc<Client>,
}

struct Broker {
    routes: RwLock<Routes<Subscriber>>,
    /// Requests that wait for an answer, by the number in their reply subject.
    waiting: Mutex<HashMap<u64, Waiting>>,
    next_id: AtomicU64,
    lost: Arc<AtomicU64>,
    limits: Limits,
}

struct Client {
    id: u64,
    is_connected: AtomicBool,
    events: EventHub,
}

struct Subscriber {
    client: Arc<Client>,
    writer: Writer,
}

struct Waiting {
    client_id: u64,
    answer: oneshot::Sender<Result<Message, BusError>>,
}

impl Default for MemoryBus {
    fn default() -> Self {
        MemoryBus::new()
    }
}

impl MemoryBus {
    /// A new broker and its first client.
    pub fn new() -> Self {
        MemoryBus::with_limits(Limits::default())
    }

    /// As [`MemoryBus::new`], with another bound for each subscription.
    pub fn with_limits(limits: Limits) -> Self {
        let broker = Arc::new(Broker {
            routes: RwLock::default(),
            waiting: Mutex::default(),
            next_id: AtomicU64::new(1),
            lost: Arc::default(),
            limits,
        });
        MemoryBus { client: broker.new_client(), broker }
    }

    /// Another client of the same broker, with a connection of its own.
    pub fn client(&self) -> MemoryBus {
        MemoryBus { broker: self.broker.clone(), client: self.broker.new_client() }
    }

    /// Cuts this client off as a lost connection would: what is sent to it meanwhile is lost, what it
    /// waits for fails, what it sends is refused as unavailable.
    pub fn cut(&self) {
        if !self.client.is_connected.swap(false, Ordering::AcqRel) {
            return;
        }
        let failed: Vec<Waiting> = {
            let mut waiting = self.broker.lock_waiting();
            let mine: Vec<u64> =
                waiting.iter().filter(|(_, one)| one.client_id == self.client.id).map(|(id, _)| *id).collect();
            mine.iter().filter_map(|id| waiting.remove(id)).collect()
        };
        for one in failed {
            let _ = one.answer.send(Err(unavailable()));
        }
        self.client.events.emit(BusEvent::Disconnected);
    }

    /// Connects a client again that was cut off; its subscriptions are in force again.
    pub fn heal(&self) {
        if !self.client.is_connected.swap(true, Ordering::AcqRel) {
            self.client.events.emit(BusEvent::Reconnected);
        }
    }

    /// Messages that subscribers of this broker lost because they did not keep up.
    pub fn lost(&self) -> u64 {
        self.broker.lost.load(Ordering::Relaxed)
    }

    fn check_connected(&self) -> Result<(), BusError> {
        if self.client.is_connected.load(Ordering::Acquire) { Ok(()) } else { Err(unavailable()) }
    }
}

fn unavailable() -> BusError {
    BusError::Unavailable("this client is cut off".to_owned())
}

impl Broker {
    fn new_client(&self) -> Arc<Client> {
        Arc::new(Client {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            is_connected: AtomicBool::new(true),
            events: EventHub::default(),
        })
    }

    fn routes(&self) -> RwLockReadGuard<'_, Routes<Subscriber>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes_mut(&self) -> RwLockWriteGuard<'_, Routes<Subscriber>> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the message to everybody who listens; says to how many.
    fn deliver(&self, message: Message) -> usize {
        let mut receivers = self.answer(&message);
        // The last receiver gets the message itself, so the usual case of one copies nothing.
        let mut previous: Option<&Writer> = None;
        let routes = self.routes();
        routes.for_each(&message.subject, |subscriber| {
            if subscriber.client.is_connected.load(Ordering::Acquire) {
                receivers += 1;
                if let Some(writer) = previous.replace(&subscriber.writer) {
                    writer.push(message.clone());
                }
            }
        });
        if let Some(writer) = previous {
            writer.push(message);
        }
        receivers
    }

    /// Settles the request that waits on the message's subject, if there is one.
    fn answer(&self, message: &Message) -> usize {
        let Some(id) = message.subject.strip_prefix(INBOX).and_then(|id| id.parse().ok()) else {
            return 0;
        };
        let waiting = self.lock_waiting().remove(&id);
        waiting.is_some_and(|one| one.answer.send(Ok(message.clone())).is_ok()).into()
    }
}

/// Forgets a request that nobody waits for any more, however its future ends.
struct ForgetOnDrop<'a> {
    broker: &'a Broker,
    id: u64,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        self.broker.lock_waiting().remove(&self.id);
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, subject: &str, headers: Headers, payload: Bytes) -> Result<(), BusError> {
        self.check_connected()?;
        check_message(subject, &headers, &payload)?;
        self.broker.deliver(Message { subject: subject.to_owned(), reply: None, headers, payload });
        Ok(())
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        self.check_connected()?;
        check_pattern(pattern)?;
        let (writer, reader) = queue::queue(pattern, self.broker.limits, self.broker.lost.clone());
        let id = self.broker.next_id.fetch_add(1, Ordering::Relaxed);
        let subscriber = Subscriber { client: self.client.clone(), writer };
        self.broker.routes_mut().insert(pattern, id, subscriber);
        let broker = Arc::downgrade(&self.broker);
        let pattern = pattern.to_owned();
        let reader = reader.on_drop(move || {
            if let Some(broker) = broker.upgrade() {
                broker.routes_mut().remove(&pattern, id);
            }
        });
        Ok(reader.boxed())
    }

    async fn request(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Message, BusError> {
        check_message(subject, &headers, &payload)?;
        let id = self.broker.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.broker.lock_waiting().insert(id, Waiting { client_id: self.client.id, answer });
        let _forget = ForgetOnDrop { broker: &self.broker, id };
        // Looked at after the entry is made: a cut from here on finds it and fails it.
        self.check_connected()?;
        let reply = Some(format!("{INBOX}{id}"));
        let message = Message { subject: subject.to_owned(), reply, headers, payload };
        if self.broker.deliver(message) == 0 {
            return Err(BusError::NoResponders(subject.to_owned()));
        }
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unavailable()),
            Err(_) => Err(BusError::Timeout { subject: subject.to_owned(), after: timeout }),
        }
    }

    fn events(&self) -> BoxStream<'static, BusEvent> {
        self.client.events.listen()
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.check_connected()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Streams may outlive the last client; they end instead of waiting for ever.
        self.routes_mut().for_all(|subscriber| subscriber.writer.close());
    }
}

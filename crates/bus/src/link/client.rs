//! The agent's end of a link.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use mesos_ports::bus::{Bus, BusError, BusEvent, Headers, Message, Subscription};
use mesos_proto::dial::{Access, Address};
use mesos_proto::services::v1 as wire;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wire::frame::Body;

use super::connection;
use super::frames::{error, frame, headers_to_wire, message_from_wire};
use crate::events::EventHub;
use crate::queue::{self, Limits, Writer};
use crate::subject::{check_message, check_pattern};

/// How long handing a frame to the stream may take before the link counts as unreachable.
const SEND_WAIT: Duration = Duration::from_secs(5);
/// How long the gateway may take to answer a subscribe or a flush.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// The port of a gateway where an address names none.
const PORT: u16 = 5050;

/// How to open a link.
#[derive(Clone, Default)]
pub struct LinkOptions {
    /// The agent's id; empty until it has one.
    pub agent_id: String,
    /// Names this process; the subjects of an agent without an id hang on it.
    pub instance: String,
    /// The cluster that the agent wants to be in.
    pub cluster: String,
    /// TLS, and the token or certificate that says who this is; files are read again at each attempt.
    pub access: Access,
    /// Go on trying while no gateway answers, instead of failing after each was tried once.
    pub wait: bool,
    /// The bound of each subscription.
    pub limits: Limits,
}

/// A bus that reaches as far as the gateway lets this agent.
pub struct LinkBus {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

pub(super) struct Shared {
    pub(super) endpoints: Vec<Address>,
    pub(super) options: LinkOptions,
    pub(super) state: Mutex<State>,
    /// Asks for another connection, with what is said about the agent now.
    pub(super) reconnect: Notify,
    next_id: AtomicU64,
    events: EventHub,
    lost: Arc<AtomicU64>,
}

pub(super) struct State {
    pub(super) agent_id: String,
    /// There while the link is open and its subscriptions are in force.
    pub(super) out: Option<mpsc::Sender<wire::Frame>>,
    /// Whether the gateway has its own bus.
    pub(super) bus_is_connected: bool,
    /// The largest payload that the gateway takes, in bytes.
    pub(super) payload_bytes_max: u64,
    /// Whether the last event said so.
    was_up: bool,
    pub(super) waiting: HashMap<u64, oneshot::Sender<Answer>>,
    pub(super) subscriptions: HashMap<u64, Subscribed>,
}

pub(super) struct Subscribed {
    pub(super) pattern: String,
    pub(super) writer: Writer,
}

pub(super) enum Answer {
    Message(wire::BusMessage),
    Done,
    Failed(wire::Failure),
    ConnectionLost,
}

impl LinkBus {
    /// Opens a link to the first of the addresses (`host:port` or `https://host:port`) that answers, and keeps one open from
    /// then on, at the next address after each loss.
    ///
    /// Fails with `Refused` if a gateway does not admit this agent, and with `Unavailable` if none
    /// answers (with [`LinkOptions::wait`] it goes on trying instead).
    pub async fn connect(endpoints: Vec<String>, options: LinkOptions) -> Result<LinkBus, BusError> {
        if endpoints.is_empty() {
            return Err(BusError::Refused("there is no address to link to".to_owned()));
        }
        let parsed = |text: &String| {
            Address::parse(text, PORT).map_err(|why| BusError::Refused(format!("{text:?} is no address: {why}")))
        };
        let endpoints = endpoints.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                agent_id: options.agent_id.clone(),
                out: None,
                bus_is_connected: false,
                payload_bytes_max: 0,
                was_up: false,
                waiting: HashMap::new(),
                subscriptions: HashMap::new(),
            }),
            endpoints,
            options,
            reconnect: Notify::new(),
            next_id: AtomicU64::new(1),
            events: EventHub::default(),
            lost: Arc::default(),
        });
        let (told, outcome) = oneshot::channel();
        let task = tokio::spawn(connection::keep_open(shared.clone(), told));
        let bus = LinkBus { shared, task };
        outcome.await.unwrap_or_else(|_| Err(unavailable("the link was given up")))?;
        Ok(bus)
    }

    /// Says from now on that this agent has another id, on a new connection. Its subscriptions follow;
    /// one that the new id may not have ends.
    pub fn set_agent_id(&self, agent_id: &str) {
        {
            let mut state = self.shared.lock();
            if state.agent_id == agent_id {
                return;
            }
            agent_id.clone_into(&mut state.agent_id);
        }
        self.shared.reconnect.notify_one();
    }

    /// Messages that subscribers of this link lost because they did not keep up.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for LinkBus {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.set_link(None, false);
        let subscriptions = std::mem::take(&mut self.shared.lock().subscriptions);
        subscriptions.into_values().for_each(|subscribed| subscribed.writer.close());
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the link and of the bus behind it, and says so to whoever listens. Without a link
    /// whatever waits for an answer fails.
    pub(super) fn set_link(&self, out: Option<mpsc::Sender<wire::Frame>>, bus_is_connected: bool) {
        let (event, failed) = {
            let mut state = self.lock();
            let failed = if out.is_none() { std::mem::take(&mut state.waiting) } else { HashMap::new() };
            state.out = out;
            state.bus_is_connected = bus_is_connected;
            let is_up = state.out.is_some() && bus_is_connected;
            let event = match (state.was_up, is_up) {
                (false, true) => Some(BusEvent::Reconnected),
                (true, false) => Some(BusEvent::Disconnected),
                _ => None,
            };
            state.was_up = is_up;
            (event, failed)
        };
        for answer in failed.into_values() {
            let _ = answer.send(Answer::ConnectionLost);
        }
        if let Some(event) = event {
            self.events.emit(event);
        }
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Fails with `Refused` for what this gateway would end the stream for.
    fn check_size(&self, payload: &Bytes) -> Result<(), BusError> {
        let state = self.lock();
        if state.out.is_some() && payload.len() as u64 > state.payload_bytes_max {
            return Err(BusError::Refused(format!(
                "a payload of {} bytes is larger than the gateway's {}",
                payload.len(),
                state.payload_bytes_max
            )));
        }
        Ok(())
    }

    fn out(&self) -> Result<mpsc::Sender<wire::Frame>, BusError> {
        let state = self.lock();
        match &state.out {
            Some(out) if state.bus_is_connected => Ok(out.clone()),
            Some(_) => Err(unavailable("the gateway has lost its bus")),
            None => Err(unavailable("there is no link to a gateway")),
        }
    }

    async fn send(&self, body: Body) -> Result<(), BusError> {
        match timeout(SEND_WAIT, self.out()?.send(frame(body))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(unavailable("the link was lost")),
            Err(_) => Err(unavailable("the link does not take more")),
        }
    }

    /// Sends what is answered under `id` and waits for the answer.
    async fn ask(
        &self,
        id: u64,
        body: Body,
        wait: Duration,
        subject: &str,
    ) -> Result<Option<wire::BusMessage>, BusError> {
        let (answer, answered) = oneshot::channel();
        self.lock().waiting.insert(id, answer);
        let _place = WaitingAnswer { shared: self, id };
        let asking = async {
            self.send(body).await?;
            match answered.await {
                Ok(Answer::Message(message)) => Ok(Some(message)),
                Ok(Answer::Done) => Ok(None),
                Ok(Answer::Failed(failure)) => Err(error(failure, subject, wait)),
                Ok(Answer::ConnectionLost) | Err(_) => Err(unavailable("the link was lost before the answer came")),
            }
        };
        timeout(wait, asking)
            .await
            .unwrap_or_else(|_| Err(BusError::Timeout { subject: subject.to_owned(), after: wait }))
    }

    /// Ends a subscription here and at the gateway.
    fn unsubscribe(&self, id: u64) {
        let mut state = self.lock();
        state.subscriptions.remove(&id);
        if let Some(out) = &state.out {
            // Where there is no room, the next delivery for this id asks again.
            let _ = out.try_send(frame(Body::Unsubscribe(wire::Unsubscribe { id })));
        }
    }
}

fn unavailable(why: &str) -> BusError {
    BusError::Unavailable(why.to_owned())
}

struct WaitingAnswer<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for WaitingAnswer<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiting.remove(&self.id);
    }
}

/// A calling side that has no answer yet reports a missing one as a lost connection, because the
/// outcome of a subscribe or a flush is not one of a subject.
fn without_subject(error: BusError) -> BusError {
    match error {
        BusError::Timeout { .. } => unavailable("the gateway does not answer"),
        other => other,
    }
}

#[async_trait]
impl Bus for LinkBus {
    async fn publish(&self, subject: &str, headers: Headers, payload: Bytes) -> Result<(), BusError> {
        check_message(subject, &headers, &payload)?;
        self.shared.check_size(&payload)?;
        let message =
            wire::BusMessage { subject: subject.to_owned(), reply: None, headers: headers_to_wire(headers), payload };
        self.shared.send(Body::Publish(wire::Publish { message: Some(message) })).await
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        check_pattern(pattern)?;
        let shared = &self.shared;
        let id = shared.next_id();
        let (writer, reader) = queue::queue(pattern, shared.options.limits, shared.lost.clone());
        // There before the gateway is asked, because a message may come right behind its answer.
        shared.lock().subscriptions.insert(id, Subscribed { pattern: pattern.to_owned(), writer });
        let weak = Arc::downgrade(shared);
        let reader = reader.on_drop(move || {
            if let Some(shared) = weak.upgrade() {
                shared.unsubscribe(id);
            }
        });
        let body = Body::Subscribe(wire::Subscribe { id, pattern: pattern.to_owned() });
        shared.ask(id, body, ANSWER_WAIT, pattern).await.map_err(without_subject)?;
        Ok(reader.boxed())
    }

    async fn request(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
        after: Duration,
    ) -> Result<Message, BusError> {
        check_message(subject, &headers, &payload)?;
        self.shared.check_size(&payload)?;
        let id = self.shared.next_id();
        let body = Body::Request(wire::BusRequest {
            id,
            subject: subject.to_owned(),
            headers: headers_to_wire(headers),
            payload,
            timeout_ms: u32::try_from(after.as_millis()).unwrap_or(u32::MAX).max(1),
        });
        let answer = self.shared.ask(id, body, after, subject).await?;
        answer.map(message_from_wire).ok_or_else(|| unavailable("the gateway sent no answer"))
    }

    fn events(&self) -> BoxStream<'static, BusEvent> {
        self.shared.events.listen()
    }

    async fn flush(&self) -> Result<(), BusError> {
        let id = self.shared.next_id();
        let body = Body::Flush(wire::Flush { id });
        self.shared.ask(id, body, ANSWER_WAIT, "flush").await.map(drop).map_err(without_subject)
    }
}

//! One link at the gateway: reads an agent's frames, holds them against what the agent may do, and
//! passes them to the bus.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use mesos_ports::bus::{Bus, BusError, BusEvent, Subscription};
use mesos_proto::dial::PeerCertificate;
use mesos_proto::services::v1 as wire;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};
use wire::frame::Body;

use super::frames::{failure, frame, headers_from_wire, message_to_wire};
use super::server::{LinkOp, LinkPeer, LinkServerOptions, OpenLink};
use crate::subject::{PAYLOAD_BYTES_MAX, check_pattern, check_subject};

/// How long an agent may take for its first frame.
const HELLO_WAIT: Duration = Duration::from_secs(5);
/// Reply subjects that an agent may still answer to; beyond them the oldest is forgotten.
const REPLIES_MAX: usize = 4096;
/// Names longer than this are not those of an agent.
const NAME_BYTES_MAX: usize = 256;

/// What a link needs from its gateway.
pub(super) struct Session {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) options: Arc<LinkServerOptions>,
    pub(super) stopped: watch::Receiver<Option<Duration>>,
    pub(super) open: OpenLink,
    pub(super) certificate: Option<PeerCertificate>,
}

type Out = mpsc::Sender<Result<wire::Frame, Status>>;

/// The link is over; the text goes to the log.
struct Over(String);

/// An admitted link.
struct Link {
    bus: Arc<dyn Bus>,
    options: Arc<LinkServerOptions>,
    peer: LinkPeer,
    out: Out,
    /// Deliveries and requests; they end with the link.
    tasks: JoinSet<()>,
    subscriptions: HashMap<u64, AbortHandle>,
    requests: Arc<tokio::sync::Semaphore>,
    replies: Arc<Mutex<Replies>>,
    /// The first publish that failed since the last flush.
    failed: Option<wire::Failure>,
    was_refused: bool,
    last_heard: Instant,
}

/// Where an agent may answer, because it was asked.
#[derive(Default)]
struct Replies {
    open: HashSet<String>,
    order: VecDeque<String>,
}

impl Replies {
    fn add(&mut self, subject: &str) {
        if self.open.insert(subject.to_owned()) {
            self.order.push_back(subject.to_owned());
        }
        while self.order.len() > REPLIES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.open.remove(&oldest);
            }
        }
    }

    fn take(&mut self, subject: &str) -> bool {
        self.open.remove(subject)
    }
}

impl Session {
    pub(super) async fn run(self, metadata: MetadataMap, mut frames: Streaming<wire::Frame>, out: Out) {
        let peer = match self.greet(&metadata, &mut frames).await {
            Ok(peer) => peer,
            Err(status) => {
                debug!(why = status.message(), "a link was refused");
                let _ = out.send(Err(status)).await;
                return;
            }
        };
        info!(agent_id = %peer.agent_id, instance = %peer.instance, "an agent is linked");
        let mut link = Link {
            requests: Arc::new(tokio::sync::Semaphore::new(self.options.requests_max)),
            bus: self.bus,
            options: self.options,
            peer,
            out,
            tasks: JoinSet::new(),
            subscriptions: HashMap::new(),
            replies: Arc::default(),
            failed: None,
            was_refused: false,
            last_heard: Instant::now(),
        };
        let Err(Over(why)) = link.run(&mut frames, self.stopped).await;
        info!(agent_id = %link.peer.agent_id, instance = %link.peer.instance, why, "an agent's link is over");
        drop(link);
        drop(self.open);
    }

    async fn greet(&self, metadata: &MetadataMap, frames: &mut Streaming<wire::Frame>) -> Result<LinkPeer, Status> {
        let first = timeout(HELLO_WAIT, frames.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello in time"))??;
        let Some(wire::Frame { body: Some(Body::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first frame is not a hello"));
        };
        let peer = LinkPeer {
            agent_id: hello.agent_id,
            instance: hello.instance,
            cluster: hello.cluster,
            certificate: self.certificate.clone(),
        };
        if peer.agent_id.is_empty() && peer.instance.is_empty() {
            return Err(Status::invalid_argument("the hello names neither an agent nor an instance"));
        }
        if [&peer.agent_id, &peer.instance, &peer.cluster].into_iter().any(|name| name.len() > NAME_BYTES_MAX) {
            return Err(Status::invalid_argument("a name in the hello is too long"));
        }
        match &self.options.admit {
            Some(admit) => admit(&peer, metadata).map(|()| peer),
            None => Ok(peer),
        }
    }
}

impl Link {
    /// Never returns `Ok`: every end has a reason.
    async fn run(
        &mut self,
        frames: &mut Streaming<wire::Frame>,
        mut stopped: watch::Receiver<Option<Duration>>,
    ) -> Result<std::convert::Infallible, Over> {
        // Listened to before the state is asked for, so that no change is missed.
        let mut events = self.bus.events();
        let bus_connected = self.bus.flush().await.is_ok();
        self.send(Body::Welcome(wire::Welcome {
            gateway_id: self.options.gateway_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ping_interval_ms: self.options.ping_interval.as_millis() as u32,
            max_payload_bytes: PAYLOAD_BYTES_MAX as u64,
            bus_connected,
        }))
        .await?;
        let mut ping = tokio::time::interval(self.options.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut nonce = 0;
        let mut deadline: Option<Instant> = None;
        loop {
            tokio::select! {
                read = frames.message() => match read {
                    Ok(Some(frame)) => {
                        self.last_heard = Instant::now();
                        self.take(frame).await?;
                    }
                    Ok(None) => return Err(Over("the agent closed it".to_owned())),
                    Err(status) => return Err(Over(status.message().to_owned())),
                },
                Some(event) = events.next() => {
                    let connected = event == BusEvent::Reconnected;
                    self.send(Body::BusState(wire::BusState { connected })).await?;
                }
                Some(_) = self.tasks.join_next() => {}
                _ = ping.tick() => {
                    if self.last_heard.elapsed() > self.options.ping_interval * 3 {
                        return Err(Over("the agent is silent".to_owned()));
                    }
                    nonce += 1;
                    self.send(Body::Ping(wire::Ping { nonce })).await?;
                }
                changed = stopped.changed(), if deadline.is_none() => {
                    let grace = changed.ok().and(*stopped.borrow()).unwrap_or_default();
                    deadline = Some(Instant::now() + grace);
                    let reason = "the gateway is stopping".to_owned();
                    let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
                    self.send(Body::Goodbye(wire::Goodbye { reason, grace_ms })).await?;
                }
                () = until(deadline), if deadline.is_some() => {
                    return Err(Over("the gateway is stopping".to_owned()));
                }
            }
        }
    }

    /// Sends a frame. An agent that takes none for as long as silence may last has lost its link.
    async fn send(&self, body: Body) -> Result<(), Over> {
        match timeout(self.options.ping_interval * 3, self.out.send(Ok(frame(body)))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over("the stream is closed".to_owned())),
            Err(_) => Err(Over("the agent does not read".to_owned())),
        }
    }

    async fn take(&mut self, frame: wire::Frame) -> Result<(), Over> {
        match frame.body {
            Some(Body::Publish(wire::Publish { message: Some(message) })) => self.publish(message).await,
            Some(Body::Subscribe(subscribe)) => return self.subscribe(subscribe).await,
            Some(Body::Unsubscribe(wire::Unsubscribe { id })) => {
                if let Some(task) = self.subscriptions.remove(&id) {
                    task.abort();
                }
            }
            Some(Body::Request(request)) => return self.request(request).await,
            Some(Body::Flush(wire::Flush { id })) => {
                let flushed = self.bus.flush().await.err().map(|error| failure(&error));
                let failure = self.failed.take().or(flushed);
                return self.send(Body::Flushed(wire::Flushed { id, failure })).await;
            }
            Some(Body::Ping(wire::Ping { nonce })) => {
                return self.send(Body::Pong(wire::Pong { nonce })).await;
            }
            Some(Body::Goodbye(goodbye)) => return Err(Over(goodbye.reason)),
            // A Pong counts by having come; a frame of a newer agent is not for us.
            _ => {}
        }
        Ok(())
    }

    /// Fails with `Refused` for what is not a subject of this agent.
    fn check(&mut self, op: LinkOp, subject: &str) -> Result<(), BusError> {
        match op {
            LinkOp::Subscribe => check_pattern(subject)?,
            LinkOp::Publish | LinkOp::Request => check_subject(subject)?,
        }
        if (self.options.allow)(&self.peer, op, subject) {
            return Ok(());
        }
        if !std::mem::replace(&mut self.was_refused, true) {
            warn!(agent_id = %self.peer.agent_id, ?op, subject, "an agent asks for what is not its own");
        }
        Err(BusError::Refused(format!("{subject} is not for this agent")))
    }

    async fn publish(&mut self, message: wire::BusMessage) {
        let is_answer = self.replies.lock().unwrap_or_else(PoisonError::into_inner).take(&message.subject);
        let allowed = if is_answer { Ok(()) } else { self.check(LinkOp::Publish, &message.subject) };
        let published = match allowed {
            Ok(()) => {
                let headers = headers_from_wire(message.headers);
                self.bus.publish(&message.subject, headers, message.payload).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = published {
            debug!(%error, "a publish of an agent failed");
            self.failed.get_or_insert_with(|| failure(&error));
        }
    }

    async fn subscribe(&mut self, subscribe: wire::Subscribe) -> Result<(), Over> {
        let wire::Subscribe { id, pattern } = subscribe;
        let subscribed = match self.check(LinkOp::Subscribe, &pattern) {
            Err(error) => Err(error),
            Ok(()) if self.subscriptions.contains_key(&id) => {
                Err(BusError::Refused(format!("there is a subscription {id} already")))
            }
            Ok(()) if self.subscriptions.len() >= self.options.subscriptions_max => {
                Err(BusError::Refused("too many subscriptions".to_owned()))
            }
            Ok(()) => self.bus.subscribe(&pattern).await,
        };
        // The answer goes out before the first message does.
        let failure = subscribed.as_ref().err().map(failure);
        self.send(Body::Subscribed(wire::Subscribed { id, failure })).await?;
        if let Ok(messages) = subscribed {
            let task = self.tasks.spawn(deliver(id, messages, self.out.clone(), self.replies.clone()));
            self.subscriptions.insert(id, task);
        }
        Ok(())
    }

    async fn request(&mut self, request: wire::BusRequest) -> Result<(), Over> {
        let id = request.id;
        let allowed = self.check(LinkOp::Request, &request.subject);
        let permit = allowed.and_then(|()| {
            let permit = self.requests.clone().try_acquire_owned();
            permit.map_err(|_| BusError::Unavailable("too many requests at the same time".to_owned()))
        });
        let permit = match permit {
            Ok(permit) => permit,
            Err(error) => return self.send(response(id, Err(error))).await,
        };
        let bus = self.bus.clone();
        let out = self.out.clone();
        let mut asking = Box::pin(async move {
            let wire::BusRequest { subject, headers, payload, timeout_ms, .. } = request;
            let after = Duration::from_millis(timeout_ms.into());
            let answer = bus.request(&subject, headers_from_wire(headers), payload, after).await;
            let _ = out.send(Ok(frame(response(id, answer)))).await;
            drop(permit);
        });
        // Begun here and waited for elsewhere: it goes out before the frames behind it.
        if futures::poll!(&mut asking).is_pending() {
            self.tasks.spawn(asking);
        }
        Ok(())
    }
}

/// Passes on the messages of one subscription. While the stream takes none, they wait in the bounded
/// queue of the subscription.
async fn deliver(id: u64, mut messages: Subscription, out: Out, replies: Arc<Mutex<Replies>>) {
    while let Some(message) = messages.next().await {
        if let Some(reply) = &message.reply {
            replies.lock().unwrap_or_else(PoisonError::into_inner).add(reply);
        }
        let message = Some(message_to_wire(message));
        let delivery = wire::Delivery { subscription_id: id, message };
        if out.send(Ok(frame(Body::Delivery(delivery)))).await.is_err() {
            return;
        }
    }
}

fn response(id: u64, answer: Result<mesos_ports::bus::Message, BusError>) -> Body {
    use wire::bus_response::Outcome;
    let outcome = match answer {
        Ok(message) => Outcome::Message(message_to_wire(message)),
        Err(error) => Outcome::Failure(failure(&error)),
    };
    Body::Response(wire::BusResponse { id, outcome: Some(outcome) })
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_out_once_and_old_questions_are_forgotten() {
        let mut replies = Replies::default();
        replies.add("a");
        assert!(replies.take("a"));
        assert!(!replies.take("a"));
        for number in 0..=REPLIES_MAX {
            replies.add(&number.to_string());
        }
        assert!(!replies.take("0"));
        assert!(replies.take(&REPLIES_MAX.to_string()));
        assert!(replies.open.len() <= REPLIES_MAX && replies.order.len() <= REPLIES_MAX);
    }
}

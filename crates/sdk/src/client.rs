//! Connecting, and keeping the subscription up.

use std::{sync::Arc, time::Duration};

use mesos_proto::{
    GRPC_MESSAGE_MAX_BYTES, STREAM_ID_HEADER,
    dial::{Access, Address, Bearer, reason},
    services::v1::scheduler_client::SchedulerClient as Wire,
    tonic::{Code, Request, Status, Streaming, metadata::AsciiMetadataValue, transport::Channel},
    v1::{self, scheduler},
};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{
    event::Event,
    handle::{Handle, Session, Shared},
};

/// What can be chosen about a client.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether updates are acknowledged as soon as they were handed over. Off for a framework that writes
    /// them down first.
    pub acknowledge: bool,
    /// Roles in which no offers are wanted at first.
    pub suppressed_roles: Vec<String>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a call is repeated and waited for.
    pub call_timeout: Duration,
    /// Between two attempts to connect: a random span up to the first, doubled each time up to the second.
    pub backoff: (Duration, Duration),
    /// A subscription that missed so many heartbeats is taken for lost.
    pub heartbeats_missed_max: u32,
    /// TLS, and the token or certificate that says who this is.
    pub access: Access,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            acknowledge: true,
            suppressed_roles: Vec::new(),
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(15),
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            heartbeats_missed_max: 5,
            access: Access::default(),
        }
    }
}

/// Why a client cannot even begin.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is none.
    #[error("no master address was given; for example 127.0.0.1:5050")]
    NoEndpoint,
    /// Not an address.
    #[error("'{address}' is no master address: {why}")]
    Endpoint {
        /// As given.
        address: String,
        /// What is wrong.
        why: String,
    },
}

/// How many events wait for a framework that is busy before the stream is no longer read.
const EVENTS_MAX: usize = 256;
/// What is taken for the heartbeat interval if the master names none.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(15);

/// The events of a subscription, in order. Dropping it ends the client.
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    _stop: tokio_util::sync::DropGuard,
}

impl Events {
    /// The next one; `None` after [`Event::Error`] and after a stop.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}

impl futures::Stream for Events {
    type Item = Event;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Event>> {
        self.receiver.poll_recv(context)
    }
}

/// A client of the scheduler API.
pub struct SchedulerClient;

impl SchedulerClient {
    /// Subscribes a framework through one of several masters' addresses (`host:port`,
    /// `http://host:port` or `https://host:port`) and keeps it subscribed: a lost connection is made again, to another address if there is one, with
    /// the id that the framework was given. A framework that brings its id (`info.id`) takes its earlier
    /// life over. Must be called inside a Tokio runtime; returns at once, [`Event::Subscribed`] comes when
    /// it is done.
    ///
    /// # Errors
    /// Only if an address cannot be used at all; that nobody is there, or that a file cannot be read yet, is no error.
    pub fn connect<A: AsRef<str>>(
        addresses: &[A],
        info: v1::FrameworkInfo,
        options: Options,
    ) -> Result<(Handle, Events), ConnectError> {
        let addresses = addresses.iter().map(|text| address(text.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            return Err(ConnectError::NoEndpoint);
        }
        let subscribe = scheduler::call::Subscribe {
            framework_info: info,
            suppressed_roles: options.suppressed_roles.clone(),
            offer_constraints: None,
        };
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            subscribe: Mutex::new(subscribe),
            session: watch::Sender::new(None),
            stop: stop.clone(),
            call_timeout: options.call_timeout,
            access: options.access.clone(),
        });
        let handle = Handle { shared: shared.clone() };
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let at = rand::random_range(0..addresses.len());
        let keeper = Keeper { shared, handle: handle.clone(), options, addresses, at, events, sessions: 0 };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = keeper.run() => {}
            }
            // Calls under way must not wait for a subscription that will not come.
            stopped.cancel();
        });
        Ok((handle, Events { receiver, _stop: stop.drop_guard() }))
    }
}

/// The port of a master where an address names none.
const PORT: u16 = 5050;

fn address(text: &str) -> Result<Address, ConnectError> {
    Address::parse(text, PORT).map_err(|why| ConnectError::Endpoint { address: text.to_owned(), why })
}

/// A random span of up to `first` doubled `attempt` times, at most `max`: full jitter, so that frameworks
/// that lost one master do not all come at once.
pub(crate) fn jitter(first: Duration, max: Duration, attempt: u32) -> Duration {
    let most = first.saturating_mul(2_u32.saturating_pow(attempt.min(20))).min(max);
    most.mul_f64(rand::random_range(0.0..=1.0))
}

/// Why a subscription ended.
enum End {
    /// Connect again.
    Lost(String),
    /// The master said ERROR, or nobody listens to events any more.
    Over,
}

struct Keeper {
    shared: Arc<Shared>,
    handle: Handle,
    options: Options,
    addresses: Vec<Address>,
    at: usize,
    events: mpsc::Sender<Event>,
    sessions: u64,
}

impl Keeper {
    async fn run(mut self) {
        let mut attempt = 0;
        loop {
            let sessions = self.sessions;
            let end = self.subscription().await;
            let was_up = self.shared.session.send_replace(None).is_some();
            let End::Lost(why) = end else { return };
            tracing::debug!(%why, "the subscription is lost");
            if was_up && self.events.send(Event::Disconnected { reason: why }).await.is_err() {
                return;
            }
            attempt = if self.sessions > sessions { 0 } else { attempt + 1 };
            self.at = (self.at + 1) % self.addresses.len();
            let (first, max) = self.options.backoff;
            tokio::time::sleep(jitter(first, max, attempt)).await;
        }
    }

    /// One subscription from its connection to its end.
    async fn subscription(&mut self) -> End {
        let (channel, bearer) = match self.open().await {
            Ok(opened) => opened,
            Err(why) => return End::Lost(why),
        };
        // The sender lives as long as the subscription: closing the stream would disconnect the framework.
        let (calls, outgoing) = mpsc::channel(1);
        let subscribe = self.subscribe_call().await;
        if calls.send(subscribe).await.is_err() {
            return End::Lost("the stream was closed".to_owned());
        }
        let mut request = Request::new(ReceiverStream::new(outgoing));
        bearer.put(&mut request);
        let mut client = Wire::new(channel.clone()).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES);
        let patience = self.options.connect_timeout + self.options.call_timeout;
        let (stream, mut incoming) = match timeout(patience, client.connect(request)).await {
            Ok(Ok(response)) => {
                let stream = response.metadata().get(STREAM_ID_HEADER).cloned();
                (stream, response.into_inner())
            }
            Ok(Err(status)) => return self.refused(&status).await,
            Err(_) => return End::Lost("SUBSCRIBE was not answered".to_owned()),
        };
        let heartbeat = match timeout(patience, incoming.message()).await {
            Ok(Ok(Some(event))) => match self.subscribed(event, channel, bearer, stream).await {
                Ok(heartbeat) => heartbeat,
                Err(end) => return end,
            },
            Ok(Ok(None)) => return End::Lost("closed by the master".to_owned()),
            Ok(Err(status)) => return self.refused(&status).await,
            Err(_) => return End::Lost("SUBSCRIBED did not come".to_owned()),
        };
        let end = self.read(&mut incoming, heartbeat).await;
        drop(calls);
        end
    }

    async fn open(&self) -> Result<(Channel, Bearer), String> {
        let (access, address) = (&self.options.access, &self.addresses[self.at]);
        // Without keepalive a partition that heals would leave a dead connection in use.
        let endpoint = access
            .endpoint(address)
            .await?
            .connect_timeout(self.options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let bearer = access.bearer().await?;
        let channel = access.connect(endpoint).await.map_err(|why| format!("{address}: {why}"))?;
        Ok((channel, bearer))
    }

    async fn subscribe_call(&self) -> scheduler::Call {
        let subscribe = self.shared.subscribe.lock().await.clone();
        scheduler::Call {
            framework_id: subscribe.framework_info.id.clone(),
            r#type: Some(scheduler::call::Type::Subscribe.into()),
            subscribe: Some(subscribe),
            call_id: Some(uuid::Uuid::new_v4().to_string()),
            ..scheduler::Call::default()
        }
    }

    /// The first event: SUBSCRIBED, or an ERROR. Gives the span between heartbeats.
    async fn subscribed(
        &mut self,
        event: scheduler::Event,
        channel: Channel,
        bearer: Bearer,
        stream: Option<AsciiMetadataValue>,
    ) -> Result<Duration, End> {
        let Some(subscribed) = event.subscribed else {
            return match Event::from_proto(event) {
                Some(error @ Event::Error(_)) => {
                    let _ = self.events.send(error).await;
                    Err(End::Over)
                }
                _ => Err(End::Lost("the first event is not SUBSCRIBED".to_owned())),
            };
        };
        let framework = subscribed.framework_id;
        self.shared.subscribe.lock().await.framework_info.id = Some(framework.clone());
        let again = self.sessions > 0;
        self.sessions += 1;
        let session = Session { number: self.sessions, channel, bearer, stream, framework: framework.clone() };
        self.shared.session.send_replace(Some(session));
        if self.events.send(Event::Subscribed { framework, again }).await.is_err() {
            return Err(End::Over);
        }
        let seconds = subscribed.heartbeat_interval_seconds.filter(|seconds| *seconds > 0.0);
        Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(HEARTBEAT_DEFAULT))
    }

    async fn read(&self, incoming: &mut Streaming<scheduler::Event>, heartbeat: Duration) -> End {
        let silence_max = heartbeat * self.options.heartbeats_missed_max.max(1);
        loop {
            let event = match timeout(silence_max, incoming.message()).await {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) => return End::Lost("closed by the master".to_owned()),
                Ok(Err(status)) => return End::Lost(status.message().to_owned()),
                Err(_) => return End::Lost(format!("no heartbeat for {silence_max:?}")),
            };
            let Some(event) = Event::from_proto(event) else { continue };
            let over = matches!(event, Event::Error(_));
            let update = match &event {
                Event::Update(status) if self.options.acknowledge && status.uuid.is_some() => Some(status.clone()),
                _ => None,
            };
            if self.events.send(event).await.is_err() || over {
                return End::Over;
            }
            if let Some(status) = update {
                let handle = self.handle.clone();
                tokio::spawn(async move {
                    // An update that is not acknowledged comes again.
                    if let Err(error) = handle.acknowledge(&status).await {
                        tracing::debug!(%error, task = status.task_id.value, "an update was not acknowledged");
                    }
                });
            }
        }
    }

    /// A SUBSCRIBE that cannot succeed as it is ends the client; anything else is tried again.
    async fn refused(&self, status: &Status) -> End {
        let code = status.code();
        if matches!(code, Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented)
        {
            let _ = self.events.send(Event::Error(reason(status))).await;
            return End::Over;
        }
        End::Lost(reason(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_random_and_bounded() {
        let max = Duration::from_secs(10);
        let waits: Vec<Duration> = (0..100).map(|attempt| jitter(Duration::from_millis(100), max, attempt)).collect();
        assert!(waits.iter().all(|wait| *wait <= max));
        assert!(waits[0] <= Duration::from_millis(100));
        assert!(waits[50..].iter().any(|wait| *wait != waits[50]));
    }

    #[tokio::test]
    async fn addresses_that_cannot_be_used_are_named() {
        let none: [&str; 0] = [];
        let info = v1::FrameworkInfo::default;
        assert!(matches!(SchedulerClient::connect(&none, info(), Options::default()), Err(ConnectError::NoEndpoint)));
        let error = SchedulerClient::connect(&["not an address"], info(), Options::default()).err().unwrap();
        assert!(error.to_string().contains("'not an address'"), "{error}");
    }
}

//! A framework's connection: SUBSCRIBE, events with the time of their arrival, calls.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mesos_proto::{
    GRPC_MESSAGE_MAX_BYTES, STREAM_ID_HEADER, recordio,
    services::v1::scheduler_client::SchedulerClient as Wire,
    v1::{self, scheduler},
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Request, Streaming,
    metadata::AsciiMetadataValue,
    transport::{Channel, Endpoint},
};

use crate::{options::Api, report::Times};

/// How long a subscription or one call may take.
const PATIENCE: Duration = Duration::from_secs(30);
const PROTOBUF: &str = "application/x-protobuf";

/// An event and when it was read from the connection.
pub(crate) struct Arrived {
    pub(crate) at: Instant,
    pub(crate) event: scheduler::Event,
}

/// What went wrong with calls and streams, for the end of the run.
pub(crate) type Errors = Arc<Mutex<Vec<String>>>;

/// Notes an error.
pub(crate) fn note(errors: &Errors, error: String) {
    errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
}

/// How long calls took that were answered.
pub(crate) type Answered = Arc<Mutex<Times>>;

/// Sends the calls of one subscription.
pub(crate) struct Client {
    framework: v1::FrameworkId,
    door: Door,
    errors: Errors,
    /// Not kept for calls on a stream, which have no answer of their own.
    pub(crate) answered: Answered,
}

enum Door {
    Unary { wire: Wire<Channel>, stream: AsciiMetadataValue, _open: mpsc::UnboundedSender<scheduler::Call> },
    Stream(mpsc::UnboundedSender<scheduler::Call>),
    Http { client: reqwest::Client, url: String, stream: String },
}

impl Client {
    /// Subscribes at a gateway (`http://host:port`) and reads its events in a task of its own.
    pub(crate) async fn subscribe(
        url: &str,
        api: Api,
        info: v1::FrameworkInfo,
        errors: Errors,
    ) -> Result<(Client, mpsc::UnboundedReceiver<Arrived>)> {
        let subscribe = scheduler::Call {
            framework_id: info.id.clone(),
            r#type: Some(scheduler::call::Type::Subscribe.into()),
            subscribe: Some(scheduler::call::Subscribe { framework_info: info, ..Default::default() }),
            ..Default::default()
        };
        let (sender, mut events) = mpsc::unbounded_channel();
        let door = match api {
            Api::Http => http(url, &subscribe, sender, errors.clone()).await?,
            Api::Grpc | Api::GrpcStream => grpc(url, api, subscribe, sender, errors.clone()).await?,
        };
        let first = tokio::time::timeout(PATIENCE, events.recv()).await.context("SUBSCRIBED did not come")?;
        let first = first.context("the stream ended before SUBSCRIBED")?.event;
        let Some(subscribed) = first.subscribed else { bail!("the first event is not SUBSCRIBED: {first:?}") };
        Ok((Client { framework: subscribed.framework_id, door, errors, answered: Answered::default() }, events))
    }

    /// The framework's id.
    pub(crate) fn id(&self) -> &v1::FrameworkId {
        &self.framework
    }

    /// Sends a call and does not wait for its answer; one that is refused is noted.
    pub(crate) fn send(&self, call: scheduler::Call) {
        let answer = self.ask(call);
        let (errors, answered) = (self.errors.clone(), self.answered.clone());
        tokio::spawn(async move {
            let start = Instant::now();
            match answer.await {
                Ok(()) => answered.lock().unwrap_or_else(PoisonError::into_inner).add(start.elapsed()),
                Err(error) => note(&errors, error),
            }
        });
    }

    /// Sends a call; its answer is awaited by whoever asks.
    pub(crate) fn ask(
        &self,
        mut call: scheduler::Call,
    ) -> impl Future<Output = std::result::Result<(), String>> + Send + 'static {
        call.framework_id = Some(self.framework.clone());
        let wire = match &self.door {
            Door::Stream(calls) => Outgoing::Done(calls.send(call).map_err(|_| "the stream is closed".to_owned())),
            Door::Unary { wire, stream, .. } => {
                let mut request = Request::new(call);
                request.metadata_mut().insert(STREAM_ID_HEADER, stream.clone());
                request.set_timeout(PATIENCE);
                Outgoing::Unary(Box::new(wire.clone()), request)
            }
            Door::Http { client, url, stream } => Outgoing::Http(
                client
                    .post(url)
                    .header("content-type", PROTOBUF)
                    .header("mesos-stream-id", stream)
                    .timeout(PATIENCE)
                    .body(call.encode_to_vec()),
            ),
        };
        async move {
            match wire {
                Outgoing::Done(done) => done,
                Outgoing::Unary(mut wire, request) => match wire.call(request).await {
                    Ok(_) => Ok(()),
                    Err(status) => Err(format!("a call was refused: {}: {}", status.code(), status.message())),
                },
                Outgoing::Http(request) => match request.send().await {
                    Ok(answer) if answer.status() == reqwest::StatusCode::ACCEPTED => Ok(()),
                    Ok(answer) => {
                        let status = answer.status();
                        Err(format!("a call was refused: {status}: {}", answer.text().await.unwrap_or_default()))
                    }
                    Err(error) => Err(format!("a call was not answered: {error}")),
                },
            }
        }
    }
}

enum Outgoing {
    Done(std::result::Result<(), String>),
    Unary(Box<Wire<Channel>>, Request<scheduler::Call>),
    Http(reqwest::RequestBuilder),
}

async fn grpc(
    url: &str,
    api: Api,
    subscribe: scheduler::Call,
    events: mpsc::UnboundedSender<Arrived>,
    errors: Errors,
) -> Result<Door> {
    let channel = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect().await.context("cannot connect")?;
    let mut wire = Wire::new(channel).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES);
    let (calls, outgoing) = mpsc::unbounded_channel();
    calls.send(subscribe).context("the stream is closed")?;
    let answer = tokio::time::timeout(PATIENCE, wire.connect(UnboundedReceiverStream::new(outgoing))).await;
    let answer = answer.context("SUBSCRIBE was not answered")?.context("SUBSCRIBE was refused")?;
    let stream = answer.metadata().get(STREAM_ID_HEADER).cloned().context("no stream id")?;
    tokio::spawn(read_grpc(answer.into_inner(), events, errors));
    Ok(match api {
        Api::GrpcStream => Door::Stream(calls),
        _ => Door::Unary { wire, stream, _open: calls },
    })
}

async fn read_grpc(mut incoming: Streaming<scheduler::Event>, events: mpsc::UnboundedSender<Arrived>, errors: Errors) {
    loop {
        match incoming.message().await {
            Ok(Some(event)) => {
                if events.send(Arrived { at: Instant::now(), event }).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) => return note(&errors, format!("the stream broke: {}: {}", status.code(), status.message())),
        }
    }
}

async fn http(
    url: &str,
    subscribe: &scheduler::Call,
    events: mpsc::UnboundedSender<Arrived>,
    errors: Errors,
) -> Result<Door> {
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
    let url = format!("{url}/api/v1/scheduler");
    let request =
        client.post(&url).header("content-type", PROTOBUF).header("accept", PROTOBUF).body(subscribe.encode_to_vec());
    let answer = tokio::time::timeout(PATIENCE, request.send()).await.context("SUBSCRIBE was not answered")??;
    if answer.status() != reqwest::StatusCode::OK {
        bail!("SUBSCRIBE: {}: {}", answer.status(), answer.text().await.unwrap_or_default());
    }
    let stream =
        answer.headers().get("mesos-stream-id").and_then(|id| id.to_str().ok()).context("no stream id")?.to_owned();
    tokio::spawn(read_http(answer, events, errors));
    Ok(Door::Http { client, url, stream })
}

async fn read_http(mut answer: reqwest::Response, events: mpsc::UnboundedSender<Arrived>, errors: Errors) {
    let mut decoder = recordio::Decoder::new(GRPC_MESSAGE_MAX_BYTES);
    loop {
        let chunk = match answer.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return,
            Err(error) => return note(&errors, format!("the stream broke: {error}")),
        };
        let at = Instant::now();
        decoder.push(&chunk);
        while let Some(record) = decoder.next() {
            let event = record.map_err(anyhow::Error::from).and_then(|record| Ok(scheduler::Event::decode(record)?));
            match event {
                Ok(event) => {
                    if events.send(Arrived { at, event }).is_err() {
                        return;
                    }
                }
                Err(error) => return note(&errors, format!("an event cannot be read: {error}")),
            }
        }
    }
}

//! `mesos.services.v1.Scheduler`: the same calls and events as over HTTP.
//!
//! A call that is refused on the stream ends the stream with its status, as there is no answer of its own;
//! whoever wants one uses the unary `Call`.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use futures::Stream;
use mesos_model::uuid_text;
use mesos_proto::{
    Raw, STREAM_ID_HEADER,
    prost::Message as _,
    services::v1::{CallResponse, scheduler_server::Scheduler},
    v1::scheduler::{self, Event, call::Type},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    errors,
    reads::Principal,
    scheduler::{
        headers::parse_stream,
        submit::{self, Sender, Subscribed},
    },
    server::{App, Connection},
    streams::Subscription,
    translate::event,
};

/// How long the first call of a stream may take.
const FIRST: Duration = Duration::from_secs(10);

/// The service.
pub struct Service {
    app: App,
}

impl Service {
    /// Serves with this gateway's state.
    #[must_use]
    pub fn new(app: App) -> Service {
        Service { app }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

fn decode(event: &Bytes) -> Result<Event, Status> {
    Event::decode(event.clone()).map_err(|_| Status::internal("an event cannot be read"))
}

/// Whose call it is, from what came with it.
struct Origin {
    principal: Option<String>,
    traceparent: Option<String>,
}

impl Origin {
    fn of<T>(request: &Request<T>) -> Origin {
        Origin {
            principal: request.extensions().get::<Principal>().and_then(|principal| principal.0.clone()),
            traceparent: request.metadata().get("traceparent").and_then(|text| text.to_str().ok()).map(str::to_owned),
        }
    }

    fn sender(&self) -> Sender<'_> {
        Sender { principal: self.principal.as_deref(), traceparent: self.traceparent.as_deref() }
    }
}

#[tonic::async_trait]
impl Scheduler for Service {
    type ConnectStream = Events;

    async fn connect(&self, request: Request<Streaming<Raw<scheduler::Call>>>) -> Result<Response<Events>, Status> {
        let cut = request
            .extensions()
            .get::<Connection>()
            .map_or_else(CancellationToken::new, |connection| connection.cut.clone());
        let origin = Origin::of(&request);
        if request.metadata().contains_key(STREAM_ID_HEADER) {
            return Err(Status::invalid_argument("Subscribe calls should not include the 'Mesos-Stream-Id' header"));
        }
        let mut calls = request.into_inner();
        let first = tokio::time::timeout(FIRST, calls.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no SUBSCRIBE in time"))??
            .ok_or_else(|| Status::invalid_argument("the first call must be SUBSCRIBE"))?;
        let raw = first.to_bytes();
        submit::validate(&first, &raw, origin.principal.as_deref())?;
        if submit::kind(&first) != Type::Subscribe {
            return Err(Status::invalid_argument("the first call must be SUBSCRIBE"));
        }
        let subscribed = submit::subscribe(&self.app, &first, &raw, origin.sender(), cut).await?;
        let subscription = match subscribed {
            Subscribed::Open(subscription) => *subscription,
            Subscribed::Refused(message) => {
                let error = decode(&event::error(&message));
                return Ok(Response::new(Box::pin(futures::stream::iter([error]))));
            }
        };
        let stream = subscription.stream();
        let (failed, failure) = oneshot::channel();
        let app = self.app.clone();
        let reader = tokio::spawn(async move { read_calls(&app, calls, stream, origin.principal, failed).await });
        let guard = AbortOnDrop(reader);
        let mut response = Response::new(events(subscription, failure, guard));
        if let Ok(id) = uuid_text(stream).parse() {
            response.metadata_mut().insert(STREAM_ID_HEADER, id);
        }
        Ok(response)
    }

    async fn call(&self, request: Request<Raw<scheduler::Call>>) -> Result<Response<CallResponse>, Status> {
        let stream =
            request.metadata().get(STREAM_ID_HEADER).map(|value| parse_stream(value.to_str().unwrap_or_default()));
        let origin = Origin::of(&request);
        let call = request.into_inner();
        let raw = call.to_bytes();
        submit::validate(&call, &raw, origin.principal.as_deref())?;
        if submit::kind(&call) == Type::Subscribe {
            return Err(Status::invalid_argument("SUBSCRIBE is made with Connect"));
        }
        let answer = submit::submit(&self.app, &call, &raw, stream, origin.sender()).await?;
        if !(200..300).contains(&answer.status) {
            return Err(errors::status(answer.status, &answer.text));
        }
        Ok(Response::new(CallResponse { message: answer.text, response: None }))
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Handles the calls that follow SUBSCRIBE, in order. A client may close its half and listen on.
async fn read_calls(
    app: &App,
    mut calls: Streaming<Raw<scheduler::Call>>,
    stream: u128,
    principal: Option<String>,
    failed: oneshot::Sender<Status>,
) {
    let from = Sender { principal: principal.as_deref(), traceparent: None };
    let status = loop {
        let call = match calls.message().await {
            Ok(Some(call)) => call,
            // Held open, so that the events go on.
            Ok(None) => return std::future::pending().await,
            Err(status) => break status,
        };
        let raw = call.to_bytes();
        let answer = match submit::validate(&call, &raw, from.principal) {
            Ok(()) if submit::kind(&call) == Type::Subscribe => break Status::invalid_argument("subscribed already"),
            Ok(()) => submit::submit(app, &call, &raw, Some(stream), from).await,
            Err(refusal) => Err(refusal),
        };
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => {}
            Ok(answer) => break errors::status(answer.status, &answer.text),
            Err(refusal) => break refusal.into(),
        }
    };
    // The stream may be gone already.
    let _ = failed.send(status);
}

fn events(subscription: Subscription, failure: oneshot::Receiver<Status>, reader: AbortOnDrop) -> Events {
    let state = Some((subscription, failure, reader));
    Box::pin(futures::stream::unfold(state, |state| async move {
        let (mut subscription, mut failure, reader) = state?;
        tokio::select! {
            biased;
            Ok(status) = &mut failure => Some((Err(status), None)),
            event = subscription.next() => {
                let event = decode(&event?);
                Some((event, Some((subscription, failure, reader))))
            }
        }
    }))
}

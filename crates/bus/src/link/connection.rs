//! Keeps a link open: dials, greets, subscribes again, reads, and starts over at the next address.

use std::sync::Arc;
use std::time::Duration;

use mesos_ports::bus::BusError;
use mesos_proto::dial::{Address, Bearer, reason};
use mesos_proto::services::v1 as wire;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tracing::{debug, info, warn};
use wire::agent_link_client::AgentLinkClient;
use wire::frame::Body;

use super::FRAME_BYTES_MAX;
use super::client::{Answer, Shared};
use super::frames::{frame, message_from_wire};
use crate::queue::Pushed;

/// Frames that wait for the stream; whoever sends more waits with them.
const FRAMES_WAITING_MAX: usize = 256;
/// How long a gateway may take for each step until the link is open.
const OPEN_WAIT: Duration = Duration::from_secs(5);
/// Without keepalive, a channel does not notice a partition and never recovers from it.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// One line in the log per this time while no gateway answers.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// Subscriptions asked for before their answers are read.
const SUBSCRIBE_WINDOW: usize = 32;

/// An open stream and its first frames exchanged.
struct Link {
    out: mpsc::Sender<wire::Frame>,
    frames: Streaming<wire::Frame>,
    welcome: wire::Welcome,
}

type FirstOutcome = oneshot::Sender<Result<(), BusError>>;

/// Runs until it is aborted, or until the first round fails where that was asked for.
pub(super) async fn keep_open(shared: Arc<Shared>, first: FirstOutcome) {
    let mut first = Some(first);
    let mut failures = 0_usize;
    let mut next_log = Instant::now();
    for endpoint in shared.endpoints.iter().cycle() {
        match open(&shared, endpoint).await {
            Ok(link) => {
                failures = 0;
                info!(gateway = %endpoint, "linked");
                shared.lock().payload_bytes_max = link.welcome.max_payload_bytes;
                shared.set_link(Some(link.out.clone()), link.welcome.bus_connected);
                if let Some(first) = first.take() {
                    let _ = first.send(Ok(()));
                }
                let why = read(&shared, link).await;
                shared.set_link(None, false);
                warn!(gateway = %endpoint, why, "the link is lost");
            }
            Err(status) => {
                failures += 1;
                if Instant::now() >= next_log {
                    warn!("{endpoint} is not reachable: {}; retrying", status.message());
                    next_log = Instant::now() + LOG_INTERVAL;
                }
                let all_were_tried = failures >= shared.endpoints.len() && !shared.options.wait;
                let error = as_bus_error(endpoint, &status);
                if (all_were_tried || !error.is_retryable())
                    && let Some(first) = first.take()
                {
                    let _ = first.send(Err(error));
                    return;
                }
            }
        }
        tokio::select! {
            () = sleep(pause(failures)) => {}
            () = shared.reconnect.notified() => {}
        }
    }
}

/// Full jitter within five seconds, so that the agents of a lost gateway spread over time.
fn pause(failures: usize) -> Duration {
    let longest = Duration::from_secs(1 << failures.min(3)).min(PAUSE_MAX);
    longest.mul_f64(rand::random::<f64>())
}

fn as_bus_error(endpoint: &Address, status: &Status) -> BusError {
    let text = format!("{endpoint}: {}", status.message());
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument | Code::FailedPrecondition => {
            BusError::Refused(text)
        }
        _ => BusError::Unavailable(text),
    }
}

async fn open(shared: &Arc<Shared>, endpoint: &Address) -> Result<Link, Status> {
    let late = |_| Status::unavailable("it does not answer");
    let (channel, bearer) = timeout(OPEN_WAIT, dial(shared, endpoint)).await.map_err(late)??;
    let mut client = AgentLinkClient::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let (out, waiting) = mpsc::channel(FRAMES_WAITING_MAX);
    send(&out, Body::Hello(hello(shared))).await?;
    let mut request = Request::new(ReceiverStream::new(waiting));
    bearer.put(&mut request);
    let opened = timeout(OPEN_WAIT, client.open(request)).await.map_err(late)?;
    let frames = opened.map_err(|status| Status::new(status.code(), reason(&status)))?.into_inner();
    let mut link = Link { out, frames, welcome: wire::Welcome::default() };
    match timeout(OPEN_WAIT, next_body(&mut link.frames)).await.map_err(late)?? {
        Body::Welcome(welcome) => link.welcome = welcome,
        Body::Goodbye(goodbye) => return Err(Status::unavailable(goodbye.reason)),
        _ => return Err(Status::unavailable("it does not greet first")),
    }
    timeout(OPEN_WAIT, subscribe_again(shared, &mut link)).await.map_err(late)??;
    Ok(link)
}

async fn dial(shared: &Shared, address: &Address) -> Result<(Channel, Bearer), Status> {
    let access = &shared.options.access;
    let endpoint = access.endpoint(address).await.map_err(Status::unavailable)?;
    let endpoint = endpoint
        .connect_timeout(OPEN_WAIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let bearer = access.bearer().await.map_err(Status::unavailable)?;
    let channel = access.connect(endpoint).await.map_err(Status::unavailable)?;
    Ok((channel, bearer))
}

fn hello(shared: &Shared) -> wire::Hello {
    wire::Hello {
        agent_id: shared.lock().agent_id.clone(),
        instance: shared.options.instance.clone(),
        cluster: shared.options.cluster.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

async fn send(out: &mpsc::Sender<wire::Frame>, body: Body) -> Result<(), Status> {
    out.send(frame(body)).await.map_err(|_| Status::unavailable("the stream is closed"))
}

/// The next frame that this version understands.
async fn next_body(frames: &mut Streaming<wire::Frame>) -> Result<Body, Status> {
    loop {
        match frames.message().await? {
            Some(wire::Frame { body: Some(body) }) => return Ok(body),
            Some(_) => {}
            None => return Err(Status::unavailable("it closed the stream")),
        }
    }
}

/// Asks for what was subscribed on the last link. One that is refused ends.
async fn subscribe_again(shared: &Arc<Shared>, link: &mut Link) -> Result<(), Status> {
    let all: Vec<wire::Subscribe> = {
        let state = shared.lock();
        let all = state.subscriptions.iter();
        all.map(|(id, one)| wire::Subscribe { id: *id, pattern: one.pattern.clone() }).collect()
    };
    for window in all.chunks(SUBSCRIBE_WINDOW) {
        for subscribe in window {
            send(&link.out, Body::Subscribe(subscribe.clone())).await?;
        }
        let mut unanswered = window.len();
        while unanswered > 0 {
            match next_body(&mut link.frames).await? {
                Body::Subscribed(wire::Subscribed { id, failure }) => {
                    unanswered -= 1;
                    let Some(failure) = failure else { continue };
                    if failure.code() != wire::failure::Code::Refused {
                        return Err(Status::unavailable(failure.detail));
                    }
                    let ended = shared.lock().subscriptions.remove(&id);
                    if let Some(ended) = ended {
                        warn!(pattern = %ended.pattern, why = %failure.detail, "a subscription was refused");
                        ended.writer.close();
                    }
                }
                Body::Goodbye(goodbye) => return Err(Status::unavailable(goodbye.reason)),
                Body::BusState(state) => link.welcome.bus_connected = state.connected,
                other => take(shared, &link.out, other),
            }
        }
    }
    Ok(())
}

/// Reads frames until the link ends; says why it did.
async fn read(shared: &Arc<Shared>, mut link: Link) -> String {
    let interval = Duration::from_millis(link.welcome.ping_interval_ms.max(100).into());
    loop {
        let body = tokio::select! {
            body = timeout(interval * 3, next_body(&mut link.frames)) => body,
            () = shared.reconnect.notified() => return "the agent has another id".to_owned(),
        };
        match body {
            Err(_) => return "the gateway is silent".to_owned(),
            Ok(Err(status)) => return status.message().to_owned(),
            Ok(Ok(Body::Goodbye(goodbye))) => return goodbye.reason,
            Ok(Ok(Body::BusState(state))) => shared.set_link(Some(link.out.clone()), state.connected),
            Ok(Ok(other)) => take(shared, &link.out, other),
        }
    }
}

/// Handles a frame that says nothing about the link itself. Never waits, so that no subscriber and no
/// full queue holds up the others.
fn take(shared: &Arc<Shared>, out: &mpsc::Sender<wire::Frame>, body: Body) {
    match body {
        Body::Delivery(wire::Delivery { subscription_id, message: Some(message) }) => {
            let writer = shared.lock().subscriptions.get(&subscription_id).map(|one| one.writer.clone());
            let pushed = writer.map(|writer| writer.push(message_from_wire(message)));
            if matches!(pushed, None | Some(Pushed::ReaderGone)) {
                let _ = out.try_send(frame(Body::Unsubscribe(wire::Unsubscribe { id: subscription_id })));
            }
        }
        Body::Response(wire::BusResponse { id, outcome }) => {
            use wire::bus_response::Outcome;
            let answer = match outcome {
                Some(Outcome::Message(message)) => Answer::Message(message),
                Some(Outcome::Failure(failure)) => Answer::Failed(failure),
                None => Answer::Done,
            };
            settle(shared, id, answer);
        }
        Body::Subscribed(wire::Subscribed { id, failure }) | Body::Flushed(wire::Flushed { id, failure }) => {
            settle(shared, id, failure.map_or(Answer::Done, Answer::Failed));
        }
        Body::Ping(wire::Ping { nonce }) => {
            let _ = out.try_send(frame(Body::Pong(wire::Pong { nonce })));
        }
        _ => debug!("a frame that an agent does not expect"),
    }
}

fn settle(shared: &Shared, id: u64, answer: Answer) {
    let waiting = shared.lock().waiting.remove(&id);
    if let Some(waiting) = waiting {
        let _ = waiting.send(answer);
    }
}

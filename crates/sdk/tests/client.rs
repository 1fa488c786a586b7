//! The client against a master that a test plays: a real gRPC server in this process.

use std::{pin::Pin, sync::Arc, time::Duration};

use mesos_proto::{
    Raw, STREAM_ID_HEADER,
    services::v1::{
        CallResponse,
        scheduler_server::{Scheduler, SchedulerServer},
    },
    tonic::{self, Request, Response, Status, Streaming, transport::Server},
    v1::{self, scheduler},
};
use mesos_sdk::{CallError, Event, Options, SchedulerClient};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};

type Events = Pin<Box<dyn Stream<Item = Result<scheduler::Event, Status>> + Send>>;
type EventSender = mpsc::Sender<Result<scheduler::Event, Status>>;

/// A subscription, and by which to send its events.
struct Stream1 {
    subscribe: scheduler::Call,
    events: EventSender,
    _calls: Streaming<Raw<scheduler::Call>>,
}

/// A unary call, to be answered by the test.
struct Unary {
    call: scheduler::Call,
    stream: Option<String>,
    answer: oneshot::Sender<Result<(), Status>>,
}

struct Master {
    subscriptions: mpsc::Sender<Stream1>,
    calls: mpsc::Sender<Unary>,
    count: Arc<Mutex<u32>>,
}

#[tonic::async_trait]
impl Scheduler for Master {
    type ConnectStream = Events;

    async fn connect(&self, request: Request<Streaming<Raw<scheduler::Call>>>) -> Result<Response<Events>, Status> {
        let mut calls = request.into_inner();
        let subscribe = calls.message().await?.ok_or_else(|| Status::invalid_argument("no call"))?.message().clone();
        let mut count = self.count.lock().await;
        *count += 1;
        let (events, stream) = mpsc::channel(16);
        let _ = self.subscriptions.send(Stream1 { subscribe, events, _calls: calls }).await;
        let mut response = Response::new(Box::pin(ReceiverStream::new(stream)) as Events);
        response.metadata_mut().insert(STREAM_ID_HEADER, format!("s-{count}").parse().unwrap());
        Ok(response)
    }

    async fn call(&self, request: Request<Raw<scheduler::Call>>) -> Result<Response<CallResponse>, Status> {
        let stream = request.metadata().get(STREAM_ID_HEADER).map(|id| id.to_str().unwrap().to_owned());
        let (answer, answered) = oneshot::channel();
        let _ = self.calls.send(Unary { call: request.into_inner().message().clone(), stream, answer }).await;
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("no leader")))?;
        Ok(Response::new(CallResponse::default()))
    }
}

/// The test's side of a master.
struct Stage {
    address: String,
    subscriptions: mpsc::Receiver<Stream1>,
    calls: mpsc::Receiver<Unary>,
    server: tokio::task::JoinHandle<()>,
}

impl Stage {
    async fn new() -> Stage {
        let (subscriptions, opened) = mpsc::channel(16);
        let (calls, called) = mpsc::channel(16);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = SchedulerServer::new(Master { subscriptions, calls, count: Arc::default() });
        let server = tokio::spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Stage { address, subscriptions: opened, calls: called, server }
    }

    async fn subscription(&mut self) -> Stream1 {
        soon(self.subscriptions.recv()).await.unwrap()
    }

    async fn unary(&mut self) -> Unary {
        soon(self.calls.recv()).await.unwrap()
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("in time")
}

fn options() -> Options {
    Options { backoff: (Duration::from_millis(1), Duration::from_millis(20)), ..Options::default() }
}

fn info() -> v1::FrameworkInfo {
    v1::FrameworkInfo { name: "n".into(), user: "u".into(), ..v1::FrameworkInfo::default() }
}

fn subscribed(heartbeat_seconds: f64) -> scheduler::Event {
    scheduler::Event {
        r#type: Some(scheduler::event::Type::Subscribed.into()),
        subscribed: Some(scheduler::event::Subscribed {
            framework_id: v1::FrameworkId { value: "f-1".into() },
            heartbeat_interval_seconds: Some(heartbeat_seconds),
            master_info: None,
        }),
        ..scheduler::Event::default()
    }
}

fn update() -> scheduler::Event {
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: "t".into() },
        state: v1::TaskState::TaskRunning.into(),
        agent_id: Some(v1::AgentId { value: "a".into() }),
        uuid: Some(b"0123456789abcdef".to_vec().into()),
        ..v1::TaskStatus::default()
    };
    scheduler::Event {
        r#type: Some(scheduler::event::Type::Update.into()),
        update: Some(scheduler::event::Update { status }),
        ..scheduler::Event::default()
    }
}

fn error(message: &str) -> scheduler::Event {
    scheduler::Event {
        r#type: Some(scheduler::event::Type::Error.into()),
        error: Some(scheduler::event::Error { message: message.into() }),
        ..scheduler::Event::default()
    }
}

#[tokio::test]
async fn a_framework_subscribes_calls_and_acknowledges() {
    let mut stage = Stage::new().await;
    let (handle, mut events) = SchedulerClient::connect(&[&stage.address], info(), options()).unwrap();
    let stream = stage.subscription().await;
    assert_eq!(stream.subscribe.r#type(), scheduler::call::Type::Subscribe);
    assert!(stream.subscribe.framework_id.is_none());
    stream.events.send(Ok(subscribed(15.0))).await.unwrap();
    let framework = v1::FrameworkId { value: "f-1".into() };
    assert_eq!(soon(events.next()).await, Some(Event::Subscribed { framework: framework.clone(), again: false }));

    let revived = tokio::spawn(async move { (handle.revive(vec!["r".into()]).await, handle) });
    let unary = stage.unary().await;
    assert_eq!((unary.stream.as_deref(), unary.call.framework_id), (Some("s-1"), Some(framework)));
    assert_eq!(unary.call.revive.unwrap().roles, ["r"]);
    assert!(unary.call.call_id.is_some());
    unary.answer.send(Ok(())).unwrap();
    let (done, handle) = soon(revived).await.unwrap();
    done.unwrap();

    stream.events.send(Ok(update())).await.unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::Update(_))));
    let unary = stage.unary().await;
    assert_eq!(unary.call.acknowledge.unwrap().uuid, b"0123456789abcdef".as_slice());
    unary.answer.send(Ok(())).unwrap();

    stream.events.send(Ok(error("Framework has been removed"))).await.unwrap();
    assert_eq!(soon(events.next()).await, Some(Event::Error("Framework has been removed".into())));
    assert_eq!(soon(events.next()).await, None, "it does not subscribe again");
    assert!(matches!(soon(handle.revive(vec![])).await, Err(CallError::Stopped)));
}

#[tokio::test]
async fn a_lost_stream_is_made_again_with_the_frameworks_id_on_another_address() {
    let (mut one, mut two) = (Stage::new().await, Stage::new().await);
    let addresses = [one.address.clone(), two.address.clone()];
    let (_handle, mut events) = SchedulerClient::connect(&addresses, info(), options()).unwrap();
    let stream = soon(async {
        tokio::select! { stream = one.subscriptions.recv() => stream, stream = two.subscriptions.recv() => stream }
    })
    .await
    .unwrap();
    stream.events.send(Ok(subscribed(15.0))).await.unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::Subscribed { again: false, .. })));
    drop(stream);
    assert!(matches!(soon(events.next()).await, Some(Event::Disconnected { .. })));
    let stream = soon(async {
        tokio::select! { stream = one.subscriptions.recv() => stream, stream = two.subscriptions.recv() => stream }
    })
    .await
    .unwrap();
    assert_eq!(stream.subscribe.framework_id, Some(v1::FrameworkId { value: "f-1".into() }));
    assert_eq!(stream.subscribe.subscribe.unwrap().framework_info.id, stream.subscribe.framework_id);
    stream.events.send(Ok(subscribed(15.0))).await.unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::Subscribed { again: true, .. })));
}

#[tokio::test]
async fn a_master_that_is_not_there_is_left_for_one_that_is() {
    let mut stage = Stage::new().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (_handle, mut events) = SchedulerClient::connect(&[gone, stage.address.clone()], info(), options()).unwrap();
    let stream = stage.subscription().await;
    stream.events.send(Ok(subscribed(15.0))).await.unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::Subscribed { .. })));
}

#[tokio::test]
async fn a_stream_without_heartbeats_is_given_up() {
    let mut stage = Stage::new().await;
    let (_handle, mut events) = SchedulerClient::connect(&[&stage.address], info(), options()).unwrap();
    let stream = stage.subscription().await;
    stream.events.send(Ok(subscribed(0.05))).await.unwrap();
    assert!(matches!(soon(events.next()).await, Some(Event::Subscribed { .. })));
    let Some(Event::Disconnected { reason }) = soon(events.next()).await else { panic!("still connected") };
    assert!(reason.contains("no heartbeat"), "{reason}");
    let _again = stage.subscription().await;
}

#[tokio::test]
async fn a_call_without_an_answer_is_repeated_under_its_id_and_a_refused_one_is_not() {
    let mut stage = Stage::new().await;
    let (handle, mut events) = SchedulerClient::connect(&[&stage.address], info(), options()).unwrap();
    let stream = stage.subscription().await;
    stream.events.send(Ok(subscribed(15.0))).await.unwrap();
    soon(events.next()).await.unwrap();
    let other = handle.clone();
    let calling = tokio::spawn(async move { other.suppress(vec![]).await });
    let first = stage.unary().await;
    first.answer.send(Err(Status::unavailable("No leader elected"))).unwrap();
    let second = stage.unary().await;
    assert_eq!(first.call.call_id, second.call.call_id);
    second.answer.send(Ok(())).unwrap();
    soon(calling).await.unwrap().unwrap();
    let calling = tokio::spawn(async move { handle.suppress(vec![]).await });
    stage.unary().await.answer.send(Err(Status::invalid_argument("bad"))).unwrap();
    let refused = soon(calling).await.unwrap();
    assert!(matches!(&refused, Err(CallError::Refused { message, .. }) if message == "bad"), "{refused:?}");
}

#[tokio::test]
async fn a_call_waits_for_the_subscription_and_goes_out_on_it() {
    let mut stage = Stage::new().await;
    let (handle, _events) = SchedulerClient::connect(&[&stage.address], info(), options()).unwrap();
    let calling = tokio::spawn(async move { handle.reconcile([]).await });
    let stream = stage.subscription().await;
    assert!(stage.calls.try_recv().is_err());
    stream.events.send(Ok(subscribed(15.0))).await.unwrap();
    let unary = stage.unary().await;
    assert_eq!(unary.call.r#type(), scheduler::call::Type::Reconcile);
    unary.answer.send(Ok(())).unwrap();
    soon(calling).await.unwrap().unwrap();
}

#[tokio::test]
async fn dropping_the_events_ends_the_client() {
    let mut stage = Stage::new().await;
    let (handle, events) = SchedulerClient::connect(&[&stage.address], info(), options()).unwrap();
    let stream = stage.subscription().await;
    stream.events.send(Ok(subscribed(15.0))).await.unwrap();
    drop(events);
    assert!(matches!(soon(handle.revive(vec![])).await, Err(CallError::Stopped)));
    soon(stream.events.closed()).await;
    stage.server.abort();
}

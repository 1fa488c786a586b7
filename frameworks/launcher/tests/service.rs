//! The launcher as it runs: a store, a bus, and a master that the test plays over gRPC.

use std::{pin::Pin, sync::Arc, time::Duration};

use mesos_bus::MemoryBus;
use mesos_core::message::{Answer, AnswerBody, Call, LauncherCall, Submission};
use mesos_launcher::{Options, run};
use mesos_model::{envelope, resources_text::parse, subject::Subjects};
use mesos_ports::{
    bus::{Bus, BusError},
    store::Store,
};
use mesos_proto::{
    Raw, STREAM_ID_HEADER,
    prost::Message as _,
    services::v1::{
        CallResponse,
        scheduler_server::{Scheduler, SchedulerServer},
    },
    tonic::{self, Request, Response, Status, Streaming, transport::Server},
    v1::{self, scheduler},
};
use mesos_runtime::shell::{Ports, kind};
use mesos_store::embedded::EmbeddedStore;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

type Sent = Result<scheduler::Event, Status>;
type Events = Pin<Box<dyn futures::Stream<Item = Sent> + Send>>;

/// Accepts every call and tells the test of it; each subscription's events come from the test.
struct Master {
    calls: mpsc::UnboundedSender<scheduler::Call>,
    events: Arc<Mutex<Option<mpsc::Sender<Sent>>>>,
}

#[tonic::async_trait]
impl Scheduler for Master {
    type ConnectStream = Events;

    async fn connect(&self, request: Request<Streaming<Raw<scheduler::Call>>>) -> Result<Response<Events>, Status> {
        let mut calls = request.into_inner();
        let subscribe = calls.message().await?.ok_or_else(|| Status::invalid_argument("no call"))?.message().clone();
        let (events, receiver) = mpsc::channel(16);
        *self.events.lock().await = Some(events);
        let _ = self.calls.send(subscribe);
        let state = (receiver, calls);
        let stream = futures::stream::unfold(state, |(mut receiver, calls)| async move {
            receiver.recv().await.map(|event| (event, (receiver, calls)))
        });
        let mut response = Response::new(Box::pin(stream) as Events);
        response.metadata_mut().insert(STREAM_ID_HEADER, "s".parse().unwrap());
        Ok(response)
    }

    async fn call(&self, request: Request<Raw<scheduler::Call>>) -> Result<Response<CallResponse>, Status> {
        let _ = self.calls.send(request.into_inner().message().clone());
        Ok(Response::new(CallResponse::default()))
    }
}

struct Stage {
    options: Options,
    ports: Ports,
    calls: mpsc::UnboundedReceiver<scheduler::Call>,
    events: Arc<Mutex<Option<mpsc::Sender<Sent>>>>,
}

impl Stage {
    async fn new() -> Stage {
        let (calls, called) = mpsc::unbounded_channel();
        let events: Arc<Mutex<Option<mpsc::Sender<Sent>>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = listener.local_addr().unwrap().to_string();
        let service = SchedulerServer::new(Master { calls, events: events.clone() });
        let incoming = futures::stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new());
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory());
        let ports = Ports { bus, store, subjects: Subjects::new("test") };
        let options = Options { gateways: vec![gateway], lease: Duration::from_secs(1), ..Options::default() };
        Stage { options, ports, calls: called, events }
    }

    fn start(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let cancel = CancellationToken::new();
        (cancel.clone(), tokio::spawn(run(self.options.clone(), self.ports.clone(), cancel)))
    }

    /// The next call of this type; others are passed over.
    async fn called(&mut self, kind: scheduler::call::Type) -> scheduler::Call {
        let next = async {
            loop {
                let call = self.calls.recv().await.unwrap();
                if call.r#type() == kind {
                    return call;
                }
            }
        };
        timeout(Duration::from_secs(20), next).await.unwrap_or_else(|_| panic!("no {kind:?}"))
    }

    async fn send(&self, event: scheduler::Event) {
        let events = self.events.lock().await.clone().unwrap();
        events.send(Ok(event)).await.unwrap();
    }

    /// Asks as a gateway does: again while nobody leads.
    async fn ask(&self, call: &str, what: LauncherCall) -> Answer {
        let call = Call::new(call, "g", what);
        let payload = envelope::seal(kind::LAUNCHER, &vec![call]).unwrap();
        let subject = self.ports.subjects.service("launcher");
        let ask = async {
            loop {
                match self.ports.bus.request(&subject, Vec::new(), payload.clone(), Duration::from_secs(2)).await {
                    Ok(message) => {
                        let mut answers: Vec<Answer> = envelope::open(kind::ANSWERS, &message.payload).unwrap();
                        if answers[0].status != 503 {
                            return answers.remove(0);
                        }
                    }
                    Err(BusError::NoResponders(_) | BusError::Timeout { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), ask).await.expect("an answer")
    }
}

fn subscribed() -> scheduler::Event {
    scheduler::Event {
        r#type: Some(scheduler::event::Type::Subscribed.into()),
        subscribed: Some(scheduler::event::Subscribed {
            framework_id: v1::FrameworkId { value: "f-1".into() },
            heartbeat_interval_seconds: Some(15.0),
            master_info: None,
        }),
        ..scheduler::Event::default()
    }
}

fn offers() -> scheduler::Event {
    let offer = v1::Offer {
        id: v1::OfferId { value: "O1".into() },
        framework_id: v1::FrameworkId { value: "f-1".into() },
        agent_id: v1::AgentId { value: "a-1".into() },
        hostname: "h".into(),
        resources: vec![mesos_sdk::build::cpus(4.0), mesos_sdk::build::mem(512.0)],
        ..v1::Offer::default()
    };
    scheduler::Event {
        r#type: Some(scheduler::event::Type::Offers.into()),
        offers: Some(scheduler::event::Offers { offers: vec![offer] }),
        ..scheduler::Event::default()
    }
}

fn finished(task: v1::TaskId) -> scheduler::Event {
    let status = v1::TaskStatus {
        task_id: task,
        state: v1::TaskState::TaskFinished.into(),
        agent_id: Some(v1::AgentId { value: "a-1".into() }),
        uuid: Some(b"0123456789abcdef".to_vec().into()),
        exit_code: Some(0),
        ..v1::TaskStatus::default()
    };
    scheduler::Event {
        r#type: Some(scheduler::event::Type::Update.into()),
        update: Some(scheduler::event::Update { status }),
        ..scheduler::Event::default()
    }
}

fn submission() -> LauncherCall {
    let template = v1::TaskInfo {
        name: "hello".into(),
        command: Some(mesos_sdk::build::shell("echo hello")),
        ..v1::TaskInfo::default()
    };
    LauncherCall::Submit(Box::new(Submission {
        name: "hello".into(),
        instances: 1,
        template: template.encode_to_vec().into(),
        resources: parse("cpus:1;mem:64", "*").unwrap(),
        role: "*".into(),
        attributes: Vec::new(),
        priority: 0,
        hold_ms: None,
    }))
}

#[tokio::test]
async fn a_task_is_launched_through_the_bus_and_its_next_leader_goes_on_with_it() {
    use scheduler::call::Type;
    let mut stage = Stage::new().await;
    let (stop, first) = stage.start();
    let subscribe = stage.called(Type::Subscribe).await;
    assert_eq!(subscribe.subscribe.unwrap().suppressed_roles, ["*"], "nothing waits, so nothing is wanted");
    stage.send(subscribed()).await;
    let answer = stage.ask("c1", submission()).await;
    let AnswerBody::Submitted { framework, tasks } = answer.body else { panic!("{answer:?}") };
    assert_eq!((framework.as_str(), tasks.len()), ("f-1", 1));
    stage.called(Type::Revive).await;
    stage.send(offers()).await;
    let accept = stage.called(Type::Accept).await.accept.unwrap();
    let launched = &accept.operations[0].launch.as_ref().unwrap().task_infos[0];
    assert_eq!(launched.task_id.value, tasks[0].as_str());
    assert_eq!((launched.agent_id.value.as_str(), launched.name.as_str()), ("a-1", "hello"));
    assert_eq!(launched.command.as_ref().unwrap().value.as_deref(), Some("echo hello"));
    assert_eq!(launched.resources.len(), 2);

    stop.cancel();
    timeout(Duration::from_secs(20), first).await.unwrap().unwrap();
    let (stop, second) = stage.start();
    let subscribe = stage.called(Type::Subscribe).await;
    assert_eq!(subscribe.framework_id.unwrap().value, "f-1", "the same framework as before");
    stage.send(subscribed()).await;
    let reconcile = stage.called(Type::Reconcile).await.reconcile.unwrap();
    assert_eq!(reconcile.tasks[0].task_id.value, tasks[0].as_str());
    let again = stage.ask("c1", submission()).await;
    assert!(
        matches!(again.body, AnswerBody::Submitted { tasks: same, .. } if same == tasks),
        "a repeat starts nothing"
    );
    stage.send(finished(v1::TaskId { value: tasks[0].as_str().into() })).await;
    let acknowledged = stage.called(Type::Acknowledge).await.acknowledge.unwrap();
    assert_eq!(acknowledged.task_id.value, tasks[0].as_str());
    let answer = stage.ask("q", LauncherCall::Query { tasks: tasks.clone() }).await;
    let AnswerBody::Jobs { jobs, .. } = answer.body else { panic!("{answer:?}") };
    assert_eq!((jobs[0].state, jobs[0].exit_code), (mesos_model::TaskState::Finished, Some(0)));
    stop.cancel();
    timeout(Duration::from_secs(20), second).await.unwrap().unwrap();
}

#[tokio::test]
async fn of_two_processes_one_subscribes() {
    use scheduler::call::Type;
    let mut stage = Stage::new().await;
    let (stop_one, one) = stage.start();
    let (stop_two, two) = stage.start();
    stage.called(Type::Subscribe).await;
    stage.send(subscribed()).await;
    stage.ask("c1", submission()).await;
    stage.called(Type::Revive).await;
    while let Ok(call) = stage.calls.try_recv() {
        assert_eq!(call.r#type(), Type::Request, "nobody else subscribed");
    }
    // Whichever leads, the other takes over when both get the chance in turn.
    stop_one.cancel();
    timeout(Duration::from_secs(20), one).await.unwrap().unwrap();
    stage.ask("c1", submission()).await;
    stop_two.cancel();
    timeout(Duration::from_secs(20), two).await.unwrap().unwrap();
}

//! `--record` as the service carries it out, over a bus and a store in memory: what it writes is lived again.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use mesos_allocator::{Options, record::Reader, record::Tail, run};
use mesos_bus::MemoryBus;
use mesos_core::{
    allocation::{Allocator, Event},
    message::{
        AgentReport, AgentToAllocator, AllocatorCall, Answer, Call, Caller, Offer, Operation, OperationKind,
        StreamEvent, TaskSpec, ToAllocator, ToStream,
    },
    recording::{Input, Part, parts, relive},
    row::{FrameworkInfo, FrameworkRow, FrameworkState, Row, RowChange, Subscription},
};
use mesos_model::{Term, Time, envelope, resources_text::parse, subject::Subjects};
use mesos_ports::{
    bus::{Bus, BusError},
    store::{Commit, Store},
};
use mesos_runtime::{
    codec,
    shell::{Ports, kind},
    telemetry::Metrics,
};
use mesos_store::embedded::EmbeddedStore;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

struct Stage {
    ports: Ports,
    metrics: Metrics,
    options: Options,
}

impl Stage {
    fn new(record: &Path) -> Stage {
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new());
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory());
        let ports = Ports { bus, store, subjects: Subjects::new("test") };
        let options = Options { record: Some(record.to_owned()), ..Options::default() };
        Stage { ports, metrics: Metrics::default(), options }
    }

    fn start(&self) -> (CancellationToken, JoinHandle<()>) {
        let cancel = CancellationToken::new();
        let recorder = self.options.recorder().unwrap();
        let running = run(self.options.clone(), recorder, self.ports.clone(), self.metrics.clone(), cancel.clone());
        (cancel, tokio::spawn(running))
    }

    /// The registry knows a framework whose stream is open.
    async fn framework(&self) {
        let row = FrameworkRow {
            id: "f".into(),
            info: FrameworkInfo { name: "f".to_owned(), roles: vec!["r".into()], ..FrameworkInfo::default() },
            body: Bytes::new(),
            state: FrameworkState::Connected,
            subscription: Some(Subscription { number: 1, stream: u128::MAX, gateway: "g".into() }),
            suppressed: Default::default(),
            revived: [("r".into(), 0)].into(),
            priority: None,
            recovered: false,
            registered: Time(1),
            reregistered: Time(1),
        };
        let lease = Duration::from_secs(60);
        let acquired = self.ports.store.acquire("registry", Uuid::new_v4(), None, 1, lease).await.unwrap();
        let changes = vec![codec::encode_row(&RowChange::Put(Row::Framework(row))).unwrap()];
        let (fence, batch) = (acquired.fence, Uuid::new_v4());
        let commit = Commit { service: "registry", fence, batch, changes, peer_cursor: 0, lease };
        self.ports.store.commit(commit).await.unwrap();
    }

    fn report(&self) -> ToAllocator {
        ToAllocator::Agent(AgentToAllocator::Report(Box::new(AgentReport {
            agent: Some("a".into()),
            instance: u128::MAX - 1,
            boot: String::new(),
            hostname: "host".to_owned(),
            ip: String::new(),
            port: 5051,
            version: String::new(),
            total: parse("cpus:4;mem:4096;ports:[31000-32000]", "*").unwrap(),
            oversubscribed: Default::default(),
            degraded: None,
            attributes: vec![],
            domain: None,
            body: Bytes::from_static(b"\0\xff"),
            term: Term::default(),
            number: 0,
            answers: None,
            said: (0, 0),
            launches: vec![],
        })))
    }

    async fn send(&self, message: ToAllocator) {
        let payload = envelope::seal(kind::ALLOCATOR, &vec![message]).unwrap();
        self.ports.bus.publish(&self.ports.subjects.service("allocator"), vec![], payload).await.unwrap();
    }

    /// Asks as a gateway does: again while nobody leads.
    async fn ask(&self, what: AllocatorCall) -> Answer {
        let call = Call::new("c", "g", what);
        let payload = envelope::seal(kind::ALLOCATOR, &vec![ToAllocator::Call(call)]).unwrap();
        let subject = self.ports.subjects.service("allocator");
        loop {
            match self.ports.bus.request(&subject, vec![], payload.clone(), Duration::from_secs(5)).await {
                Ok(message) => {
                    let answers: Vec<Answer> = envelope::open(kind::ANSWERS, &message.payload).unwrap();
                    return answers.into_iter().next().unwrap();
                }
                Err(BusError::NoResponders { .. } | BusError::Timeout { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Lets an agent report until the framework is offered what it has.
    async fn offer(&self) -> Offer {
        let mut events = self.ports.bus.subscribe(&self.ports.subjects.gateway("g")).await.unwrap();
        let offered = async {
            loop {
                self.send(self.report()).await;
                let heard = timeout(Duration::from_millis(100), futures::StreamExt::next(&mut events)).await;
                let Ok(Some(message)) = heard else { continue };
                let told: Vec<ToStream> = envelope::open(kind::STREAMS, &message.payload).unwrap();
                for event in told {
                    if let StreamEvent::Offers(offers) = event.event {
                        return offers.into_iter().next().unwrap();
                    }
                }
            }
        };
        timeout(PATIENCE, offered).await.unwrap()
    }

    /// Waits until a leader answers.
    async fn leads(&self) {
        let decline = || AllocatorCall::Decline {
            caller: Caller::framework("f".into(), Some(u128::MAX)),
            offers: vec!["unknown".into()],
            refuse_ms: None,
        };
        let answered = async { while self.ask(decline()).await.status == 503 {} };
        timeout(PATIENCE, answered).await.unwrap();
    }

    fn metric(&self, name: &str) -> Option<String> {
        let text = self.metrics.text();
        text.lines().find_map(|line| line.strip_prefix(&format!("mesos_allocator_{name} "))).map(str::to_owned)
    }
}

async fn stop((cancel, running): (CancellationToken, JoinHandle<()>)) {
    cancel.cancel();
    timeout(PATIENCE, running).await.unwrap().unwrap();
}

#[derive(Default)]
struct Replayed {
    calls: u64,
    terms: u64,
    accepts: u64,
    launches: u64,
    diverged: Option<u64>,
}

fn replay(path: &Path) -> Replayed {
    let mut reader = Reader::open(path).unwrap();
    let mut machine = Allocator::new(Default::default());
    let mut replayed = Replayed::default();
    for part in parts(reader.by_ref()) {
        match part {
            Part::Begin(begin) => machine = Allocator::new(begin.options),
            Part::Call { number, at, input, came } => {
                replayed.calls = number;
                replayed.terms += u64::from(matches!(input, Input::Lead(_)));
                let accept = matches!(
                    &input,
                    Input::Step(Event::Call { call: Call { what: AllocatorCall::Accept { .. }, .. }, .. })
                );
                replayed.accepts += u64::from(accept);
                let lived = relive(&mut machine, number, at, input, came);
                let launched = lived.effects.changes.iter().filter(|c| matches!(c, RowChange::Put(Row::Launch(_))));
                replayed.launches += launched.count() as u64;
                replayed.diverged = replayed.diverged.or(lived.divergence.map(|divergence| divergence.number));
            }
            Part::End { why } => panic!("{why}"),
        }
    }
    assert_eq!(reader.tail(), Some(&Tail::Whole));
    replayed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_service_records_is_lived_again_with_the_same_effects() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recording");
    let stage = Stage::new(&path);
    stage.framework().await;
    let running = stage.start();
    let offer = stage.offer().await;
    let task = TaskSpec {
        task: "t".into(),
        name: String::new(),
        agent: offer.agent.clone(),
        resources: parse("cpus:1;mem:64", "*").unwrap(),
        priority: None,
        executor: None,
        invalid: None,
        body: Bytes::from_static(b"body"),
    };
    let answer = stage
        .ask(AllocatorCall::Accept {
            caller: Caller::framework("f".into(), Some(u128::MAX)),
            offers: vec![offer.id],
            operations: vec![Operation { id: None, kind: OperationKind::Launch(vec![task]) }],
            refuse_ms: None,
        })
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(stage.metric("recording").as_deref(), Some("1"));
    stop(running).await;
    let first = replay(&path);
    assert_eq!((first.terms, first.accepts, first.launches, first.diverged), (1, 1, 1, None));

    // Another process with the same state goes on in the same file: its rows come from the store.
    let running = stage.start();
    stage.leads().await;
    stop(running).await;
    let both = replay(&path);
    assert_eq!((both.terms, both.diverged), (2, None));
    assert!(both.calls > first.calls);
    assert!(stage.metric("recording_bytes").is_some_and(|bytes| bytes.parse::<u64>().unwrap() > 0));
}

#[tokio::test]
async fn a_file_that_is_no_recording_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes");
    std::fs::write(&path, "my notes").unwrap();
    let error = Stage::new(&path).options.recorder().err().unwrap();
    assert!(error.starts_with("--record ") && error.contains("name another file"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes");
}

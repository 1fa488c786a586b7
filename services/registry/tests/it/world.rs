//! A registry on a bus in memory, and a caller that speaks to it as a gateway does.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mesos_bus::MemoryBus;
use mesos_core::message::{Answer, AnswerBody, Call, RegistryCall, ToRegistry};
use mesos_model::{CallId, FrameworkId, envelope, subject::Subjects};
use mesos_ports::{
    bus::Bus,
    store::{Head, Store},
};
use mesos_registry::{Options, run};
use mesos_runtime::{
    shell::{Ports, kind},
    telemetry::Metrics,
};
use mesos_store::embedded::EmbeddedStore;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) ports: Ports,
    pub(crate) metrics: Metrics,
    _stop: DropGuard,
}

pub(crate) fn ports() -> Ports {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new());
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory());
    Ports { bus, store, subjects: Subjects::new("test") }
}

impl World {
    pub(crate) fn start(ports: Ports) -> World {
        let (metrics, stop) = (Metrics::default(), CancellationToken::new());
        tokio::spawn(run(Options::default(), ports.clone(), metrics.clone(), stop.clone()));
        World { ports, metrics, _stop: stop.drop_guard() }
    }

    /// The answer, if there is one at once.
    pub(crate) async fn ask(&self, what: RegistryCall) -> Option<Answer> {
        self.ask_as(CallId::new(Uuid::new_v4().to_string()), what).await
    }

    async fn ask_as(&self, call: CallId, what: RegistryCall) -> Option<Answer> {
        self.ask_after(0, call, what).await
    }

    /// The answer to one whose gateway knows so many entries of the allocator.
    pub(crate) async fn ask_after(&self, peer_seq: u64, call: CallId, what: RegistryCall) -> Option<Answer> {
        let call = Call { peer_seq, ..Call::new(call, "g", what) };
        let payload = envelope::seal(kind::REGISTRY, &vec![ToRegistry::Call(call)]).unwrap();
        let subject = self.ports.subjects.service("registry");
        let message = self.ports.bus.request(&subject, vec![], payload, Duration::from_millis(500)).await.ok()?;
        let answers: Vec<Answer> = envelope::open(kind::ANSWERS, &message.payload).unwrap();
        answers.into_iter().next()
    }

    /// Asks again until somebody leads.
    pub(crate) async fn ask_leader(&self, what: RegistryCall) -> Answer {
        let call = CallId::new(Uuid::new_v4().to_string());
        let asking = async {
            loop {
                match self.ask_as(call.clone(), what.clone()).await {
                    Some(answer) if answer.status != 503 => return answer,
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("a leader answers in time")
    }

    /// Subscribes a new framework on this stream.
    pub(crate) async fn subscribe(&self, stream: u128) -> FrameworkId {
        let call = RegistryCall::Subscribe {
            framework: None,
            info: Default::default(),
            invalid: None,
            body: Bytes::new(),
            suppressed: vec![],
            stream,
            over: None,
        };
        match self.ask_leader(call).await.body {
            AnswerBody::Subscribed { framework, .. } => framework,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn head(&self) -> Head {
        self.ports.store.head("registry").await.unwrap().expect("somebody has led")
    }

    /// The value of a metric without labels, or with these.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}: {}", self.metrics.text());
    }
}

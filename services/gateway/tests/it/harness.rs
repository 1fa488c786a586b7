//! A gateway on a free port, and scripts in place of the allocator and the registry.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::{Response, body::Incoming};
use hyper_util::rt::TokioIo;
use mesos_bus::MemoryBus;
use mesos_core::message::{
    AllocatorCall, Answer, AnswerBody, Call, RegistryCall, StreamEvent, ToAllocator, ToRegistry, ToStream,
};
use mesos_gateway::{Bound, Gateway, GatewayOptions};
use mesos_model::{FrameworkId, GatewayId, envelope, subject::Subjects};
use mesos_proto::recordio;
use mesos_runtime::{
    shell::{Ports, kind},
    telemetry::Metrics,
};
use mesos_store::embedded::EmbeddedStore;
use tokio_util::sync::CancellationToken;

pub(crate) const SUBSCRIBE: &str = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}"#;

pub(crate) type Registry = Arc<dyn Fn(&Call<RegistryCall>) -> Answer + Send + Sync>;
pub(crate) type Allocator = Arc<dyn Fn(&Call<AllocatorCall>) -> Answer + Send + Sync>;

/// What the scripts were asked.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) registry: Mutex<Vec<Call<RegistryCall>>>,
    pub(crate) allocator: Mutex<Vec<Call<AllocatorCall>>>,
}

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) ports: Ports,
    pub(crate) asked: Arc<Asked>,
    pub(crate) stop: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn ports() -> Ports {
    Ports {
        bus: Arc::new(MemoryBus::new()),
        store: Arc::new(EmbeddedStore::in_memory()),
        subjects: Subjects::new("test"),
    }
}

pub(crate) fn options() -> GatewayOptions {
    GatewayOptions {
        port: 0,
        cover: Duration::ZERO,
        lost_after: Duration::from_millis(100),
        grace: Duration::from_millis(300),
        ..GatewayOptions::default()
    }
}

pub(crate) async fn bind(options: GatewayOptions, ports: &Ports) -> Bound {
    Gateway::bind(options, ports.clone(), Metrics::default()).await.unwrap()
}

/// A gateway whose registry takes every SUBSCRIBE as framework `f` and answers 202 to the rest.
pub(crate) async fn world() -> World {
    world_with(options(), Arc::new(friendly), Arc::new(|_| Answer::accepted())).await
}

pub(crate) fn friendly(call: &Call<RegistryCall>) -> Answer {
    match &call.what {
        RegistryCall::Subscribe { framework, .. } => {
            let framework = framework.clone().unwrap_or_else(|| "f".into());
            Answer { status: 200, text: String::new(), body: AnswerBody::Subscribed { framework, number: 1 } }
        }
        RegistryCall::Update { .. } => Answer { status: 200, ..Answer::accepted() },
        _ => Answer::accepted(),
    }
}

pub(crate) async fn world_with(options: GatewayOptions, registry: Registry, allocator: Allocator) -> World {
    let ports = ports();
    let asked = Arc::new(Asked::default());
    run_registry(&ports, registry, asked.clone()).await;
    run_allocator(&ports, allocator, asked.clone()).await;
    start(options, ports, asked).await
}

pub(crate) async fn start(options: GatewayOptions, ports: Ports, asked: Arc<Asked>) -> World {
    let bound = bind(options, &ports).await;
    let address = bound.local_addr();
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    let served = tokio::spawn(async move { bound.run(cancel).await.unwrap() });
    let world = World { address, ports, asked, stop, served };
    // The gateway takes streams when it hears the bus.
    world.until(|| async { world.get("/health").await.status() == 200 }).await;
    world
}

pub(crate) async fn run_registry(ports: &Ports, script: Registry, asked: Arc<Asked>) {
    let bus = ports.bus.clone();
    let mut inbox = bus.subscribe(&ports.subjects.service("registry")).await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = inbox.next().await {
            let batch: Vec<ToRegistry> = envelope::open(kind::REGISTRY, &message.payload).unwrap();
            let mut answers = Vec::new();
            for inbound in batch {
                let ToRegistry::Call(call) = inbound else { continue };
                answers.push(script(&call));
                asked.registry.lock().unwrap().push(call);
            }
            let payload = envelope::seal(kind::ANSWERS, &answers).unwrap();
            bus.publish(&message.reply.unwrap(), Vec::new(), payload).await.unwrap();
        }
    });
}

pub(crate) async fn run_allocator(ports: &Ports, script: Allocator, asked: Arc<Asked>) {
    let bus = ports.bus.clone();
    let mut inbox = bus.subscribe(&ports.subjects.service("allocator")).await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = inbox.next().await {
            let batch: Vec<ToAllocator> = envelope::open(kind::ALLOCATOR, &message.payload).unwrap();
            let mut answers = Vec::new();
            for inbound in batch {
                let ToAllocator::Call(call) = inbound else { continue };
                answers.push(script(&call));
                asked.allocator.lock().unwrap().push(call);
            }
            let payload = envelope::seal(kind::ANSWERS, &answers).unwrap();
            bus.publish(&message.reply.unwrap(), Vec::new(), payload).await.unwrap();
        }
    });
}

/// One answer, read whole.
pub(crate) struct Reply {
    pub(crate) parts: http::response::Parts,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }
}

impl World {
    /// Asks again until it is so; gives up after ten seconds.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, mut is_so: impl FnMut() -> F) {
        let ask = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ask).await.expect("in time");
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = hyper::Request::builder().method(method).uri(path).header("Host", "test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let (parts, body) = self.send(method, path, headers, body).await.into_parts();
        let body = tokio::time::timeout(Duration::from_secs(10), body.collect()).await.unwrap().unwrap().to_bytes();
        Reply { parts, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await
    }

    /// A JSON call with the stream it shows.
    pub(crate) async fn call(&self, body: &str, stream: Option<&str>) -> Reply {
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(stream.map(|stream| ("Mesos-Stream-Id", stream)));
        self.ask("POST", "/api/v1/scheduler", &headers, body.to_owned()).await
    }

    /// A JSON subscription.
    pub(crate) async fn subscribe(&self) -> Client {
        self.subscribe_as(SUBSCRIBE.to_owned(), "application/json", "application/json").await
    }

    pub(crate) async fn subscribe_as(&self, body: impl Into<Bytes>, content: &str, accept: &str) -> Client {
        let body = body.into();
        let headers = [("Content-Type", content), ("Accept", accept)];
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let response = self.send("POST", "/api/v1/scheduler", &headers, body.clone()).await;
            // The first one may come before the gateway hears the bus.
            if response.status() != 503 || tokio::time::Instant::now() > deadline {
                return Client::new(response);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Which gateway and stream the last SUBSCRIBE named.
    pub(crate) fn subscription(&self) -> (GatewayId, u128) {
        let asked = self.asked.registry.lock().unwrap();
        let found = asked.iter().rev().find_map(|call| match &call.what {
            RegistryCall::Subscribe { stream, .. } => Some((call.gateway.clone(), *stream)),
            _ => None,
        });
        found.unwrap()
    }

    /// Sends events as a machine does.
    pub(crate) async fn tell(&self, framework: &str, stream: u128, events: Vec<StreamEvent>) {
        let gateway = self.subscription().0;
        tell(&self.ports, &gateway, framework, stream, events).await;
    }
}

pub(crate) async fn tell(ports: &Ports, gateway: &GatewayId, framework: &str, stream: u128, events: Vec<StreamEvent>) {
    let framework: FrameworkId = framework.into();
    let events: Vec<ToStream> =
        events.into_iter().map(|event| ToStream { framework: framework.clone(), stream, leader: 0, event }).collect();
    let payload = envelope::seal(kind::STREAMS, &events).unwrap();
    ports.bus.publish(&ports.subjects.gateway(gateway.as_str()), Vec::new(), payload).await.unwrap();
}

/// The client's end of a stream.
pub(crate) struct Client {
    pub(crate) parts: http::response::Parts,
    body: Incoming,
    records: recordio::Decoder,
}

impl Client {
    fn new(response: Response<Incoming>) -> Client {
        let (parts, body) = response.into_parts();
        Client { parts, body, records: recordio::Decoder::new(1 << 26) }
    }

    pub(crate) fn stream_id(&self) -> String {
        self.parts.headers["Mesos-Stream-Id"].to_str().unwrap().to_owned()
    }

    /// The next record; `None` when the stream ended.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(record) = self.records.next() {
                return Some(record.unwrap());
            }
            let frame =
                tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await.expect("an event in time");
            match frame {
                Some(Ok(frame)) => self.records.push(&frame.into_data().unwrap()),
                Some(Err(_)) | None => return None,
            }
        }
    }

    pub(crate) async fn json(&mut self) -> serde_json::Value {
        serde_json::from_slice(&self.next().await.expect("an event")).unwrap()
    }

    /// The next event that is no HEARTBEAT.
    pub(crate) async fn event(&mut self) -> serde_json::Value {
        loop {
            let event = self.json().await;
            if event["type"] != "HEARTBEAT" {
                return event;
            }
        }
    }
}

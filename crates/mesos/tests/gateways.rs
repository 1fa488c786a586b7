//! A gateway dies with all of its streams, and the frameworks go on at another one. `MESOS_STREAMS=1000` makes it
//! a thousand of them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use mesos_bus::MemoryBus;
use mesos_core::{
    message::{AgentToRegistry, ToRegistry, Update},
    row::FrameworkFacts,
};
use mesos_gateway::{Gateway, GatewayOptions};
use mesos_model::{Resources, Source, TaskState, TaskStatus, Term, Time, envelope, subject::Subjects};
use mesos_ports::{bus::Bus, store::Store};
use mesos_proto::recordio;
use mesos_runtime::{
    shell::{Ports, kind},
    telemetry::Metrics,
};
use mesos_store::embedded::EmbeddedStore;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
/// Requests of the test under way at the same time.
const AT_ONCE: usize = 64;

/// A gateway in a runtime of its own: when that goes, everything of the gateway goes with it, without a word.
struct Own {
    runtime: Runtime,
    address: SocketAddr,
}

impl Own {
    fn start(ports: &Ports) -> Own {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = GatewayOptions { port: 0, ..GatewayOptions::default() };
        let bound = runtime.block_on(Gateway::bind(options, ports.clone(), Metrics::default())).unwrap();
        let address = bound.local_addr();
        runtime.spawn(bound.run(CancellationToken::new()));
        Own { runtime, address }
    }

    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

struct Framework {
    number: usize,
    id: String,
    stream: String,
    answer: reqwest::Response,
    records: recordio::Decoder,
}

async fn post(address: SocketAddr, stream: Option<&str>, call: &Value) -> reqwest::Result<reqwest::Response> {
    // A connection each, as frameworks have.
    let client = reqwest::Client::builder().http1_only().build()?;
    let request = client.post(format!("http://{address}/api/v1/scheduler")).header("Content-Type", "application/json");
    let request = stream.iter().fold(request, |request, stream| request.header("Mesos-Stream-Id", *stream));
    request.body(call.to_string()).send().await
}

impl Framework {
    async fn subscribe(address: SocketAddr, number: usize, id: Option<&str>) -> Framework {
        let mut info = json!({"user": "u", "name": format!("f{number}"), "failover_timeout": 60.0});
        let mut call = json!({"type": "SUBSCRIBE"});
        if let Some(id) = id {
            (info["id"], call["framework_id"]) = (json!({"value": id}), json!({"value": id}));
        }
        call["subscribe"] = json!({ "framework_info": info });
        let answer = loop {
            match post(address, None, &call).await {
                Ok(answer) if answer.status() == 200 => break answer,
                // Nobody leads yet.
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let stream = answer.headers()["Mesos-Stream-Id"].to_str().unwrap().to_owned();
        let records = recordio::Decoder::new(1 << 20);
        let mut framework = Framework { number, id: String::new(), stream, answer, records };
        let subscribed = framework.event("SUBSCRIBED").await.expect("SUBSCRIBED");
        framework.id = subscribed["subscribed"]["framework_id"]["value"].as_str().unwrap().to_owned();
        framework
    }

    /// The next event of a type; `None` when the stream is over.
    async fn event(&mut self, wanted: &str) -> Option<Value> {
        loop {
            while let Some(record) = self.records.next() {
                let event: Value = serde_json::from_slice(&record.unwrap()).unwrap();
                if event["type"] == wanted {
                    return Some(event);
                }
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.records.push(&chunk),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// What its agent says of its task.
    fn update(&self, asked: Term) -> ToRegistry {
        let task = format!("t{}", self.number);
        let mut status = TaskStatus::new(task.as_str().into(), TaskState::Running, Source::Executor, Time(1));
        status.uuid = Some(self.number as u128 + 1);
        status.agent = Some("a".into());
        let update = Update {
            framework: self.id.as_str().into(),
            facts: FrameworkFacts::default(),
            launch: format!("l{}", self.number).as_str().into(),
            executor: task.as_str().into(),
            role: "*".into(),
            resources: Resources::of(&[("cpus", 1000)]),
            number: 1,
            acknowledged: 0,
            asked,
            status,
            latest: TaskState::Running,
            trace: None,
        };
        ToRegistry::Agent(AgentToRegistry::Update { agent: "a".into(), update: Box::new(update) })
    }
}

async fn tell(ports: &Ports, messages: Vec<ToRegistry>) {
    let payload = envelope::seal(kind::REGISTRY, &messages).unwrap();
    ports.bus.publish(&ports.subjects.service("registry"), Vec::new(), payload).await.unwrap();
}

/// For each of many at the same time.
async fn each<T, F: Future>(of: impl IntoIterator<Item = T>, what: impl FnMut(T) -> F) -> Vec<F::Output> {
    let all = stream::iter(of).map(what).buffered(AT_ONCE).collect();
    tokio::time::timeout(PATIENCE, all).await.expect("all of them in time")
}

#[test]
fn f61_the_streams_of_a_dead_gateway_go_on_at_another_one_and_miss_nothing() {
    let count: usize = std::env::var("MESOS_STREAMS").map_or(40, |count| count.parse().unwrap());
    // The client wants one although it speaks no TLS here; a second call has no effect.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Two sockets for each stream, in one process.
    let (_, most) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, most, most).unwrap();
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new());
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory());
    let ports = Ports { bus, store, subjects: Subjects::new("test") };
    let runtime = Runtime::new().unwrap();
    let services = runtime.enter();
    let stop = CancellationToken::new();
    tokio::spawn(mesos_allocator::run(
        mesos_allocator::Options::default(),
        None,
        ports.clone(),
        Metrics::default(),
        stop.clone(),
    ));
    tokio::spawn(mesos_registry::run(
        mesos_registry::Options::default(),
        ports.clone(),
        Metrics::default(),
        stop.clone(),
    ));
    drop(services);
    let (first, second) = (Own::start(&ports), Own::start(&ports));
    let (dying, living) = (first.address, second.address);
    let all = runtime.block_on(async {
        let mut all = each(0..count, |number| Framework::subscribe(dying, number, None)).await;
        let head = ports.store.head("registry").await.unwrap().unwrap();
        let term = Term { epoch: head.epoch, leader: head.leader.as_u128() };
        // Half of the updates reach their frameworks, which do not come to acknowledge them.
        let (told, untold) = all.split_at(count / 2);
        let later = untold.iter().map(|framework| framework.update(term)).collect();
        // Until the registry knows all of the allocator's rows an unknown task is not taken over, so: again.
        let updates: Vec<_> = told.iter().map(|framework| framework.update(term)).collect();
        let (repeats, again) = (ports.clone(), updates.clone());
        let telling = tokio::spawn(async move {
            loop {
                tell(&repeats, again.clone()).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        });
        let heard = each(all.iter_mut().take(count / 2), |framework| framework.event("UPDATE")).await;
        assert!(heard.iter().all(Option::is_some));
        telling.abort();
        (all, later)
    });
    let (mut all, later): (Vec<Framework>, Vec<ToRegistry>) = all;
    first.kill();
    runtime.block_on(async {
        // The other half is told to the gateway that is no more.
        tell(&ports, later).await;
        assert!(each(all.iter_mut(), |framework| framework.event("ERROR")).await.iter().all(Option::is_none));
        each(all, |old| async move {
            let mut framework = Framework::subscribe(living, old.number, Some(&old.id)).await;
            assert_eq!(framework.id, old.id);
            let update = framework.event("UPDATE").await.expect("an update");
            let status = &update["update"]["status"];
            assert_eq!(status["task_id"]["value"], format!("t{}", old.number), "{update}");
            assert_eq!(status["state"], "TASK_RUNNING", "{update}");
            let acknowledge = json!({
                "type": "ACKNOWLEDGE",
                "framework_id": {"value": framework.id},
                "acknowledge": {"agent_id": {"value": "a"}, "task_id": status["task_id"], "uuid": status["uuid"]},
            });
            let answer = post(living, Some(&framework.stream), &acknowledge).await.unwrap();
            assert_eq!(answer.status(), 202);
        })
        .await;
    });
    stop.cancel();
    second.kill();
}

//! Poison, forgetful buses, and stores that stall or fill up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use mesos_bus::MemoryBus;
use mesos_core::{
    message::{AgentToRegistry, Call, Caller, RegistryCall, ToRegistry},
    row::{FrameworkInfo, FrameworkRow, FrameworkState, LaunchKind, LaunchRow, Row, RowChange},
};
use mesos_model::{Resources, Role, Term, Time, envelope};
use mesos_ports::{
    conformance::forgetful::Forgetful,
    store::{Change, Commit, Fence},
};
use mesos_runtime::{
    codec,
    shell::{Ports, kind},
};
use mesos_store::redis::{RedisOptions, RedisStore};
use uuid::Uuid;

use crate::{
    redis_server::RedisServer,
    world::{World, ports},
};

fn sound(id: &str) -> Change {
    let row = FrameworkRow {
        id: id.into(),
        info: FrameworkInfo::default(),
        body: Bytes::new(),
        state: FrameworkState::Disconnected { deadline: Time(u64::MAX) },
        subscription: None,
        suppressed: Default::default(),
        revived: Default::default(),
        priority: None,
        recovered: false,
        registered: Time(1),
        reregistered: Time(1),
    };
    codec::encode_row(&RowChange::Put(Row::Framework(row))).unwrap()
}

#[tokio::test]
async fn f16_a_leader_starts_on_rows_that_it_cannot_read_and_leaves_them_alone() {
    let ports = ports();
    let lease = Duration::from_millis(1);
    let fence = ports.store.acquire("registry", Uuid::new_v4(), None, 0, lease).await.unwrap().fence;
    let good = sound("z-good");
    let torn = sound("torn").value.unwrap().slice(..20);
    let poison = [
        ("framework/a-garbage", Bytes::from_static(b"garbage")),
        ("framework/torn", torn),
        ("task/f/t", good.value.clone().unwrap()),
        ("novelty/x", Bytes::from_static(b"of a later version")),
    ];
    let mut changes = vec![good];
    changes.extend(poison.iter().map(|(key, value)| Change { key: (*key).to_owned(), value: Some(value.clone()) }));
    let batch = Uuid::new_v4();
    let commit = Commit { service: "registry", fence, batch, changes, peer_cursor: 0, lease };
    ports.store.commit(commit).await.unwrap();

    let world = World::start(ports);
    // What can be read is known, and everything works.
    let teardown = RegistryCall::Teardown(Caller::operator("z-good".into()));
    assert_eq!(world.ask_leader(teardown).await.status, 202);
    world.subscribe(7).await;
    for (kind, count) in [("framework", 2), ("task", 1), ("unknown", 1)] {
        let name = format!("mesos_registry_records_quarantined_total{{kind=\"{kind}\"}}");
        assert!(world.metric(&name) >= count, "{name}: {}", world.metrics.text());
    }
    let loaded = world.ports.store.load("registry").await.unwrap();
    for (key, value) in poison {
        assert!(loaded.rows.iter().any(|row| row.0 == key && row.1 == value), "{key} was touched");
    }
}

#[tokio::test]
async fn f6_who_asks_about_tasks_waits_for_the_launches_that_its_gateway_knows() {
    let world = World::start(ports());
    let framework = world.subscribe(7).await;
    let ask = |tasks| {
        let caller = Caller::framework(framework.clone(), Some(7));
        world.ask_after(1, Uuid::new_v4().to_string().as_str().into(), RegistryCall::Reconcile { caller, tasks })
    };
    assert_eq!(ask(Vec::new()).await, None, "the allocator's first entry is not there");
    let lease = Duration::from_secs(3);
    let fence = world.ports.store.acquire("allocator", Uuid::new_v4(), None, 0, lease).await.unwrap().fence;
    let commit = Commit { service: "allocator", fence, batch: Uuid::new_v4(), changes: vec![], peer_cursor: 0, lease };
    world.ports.store.commit(commit).await.unwrap();
    let entry = codec::encode_entry(1, fence.term(), &[]).unwrap();
    world.ports.bus.publish(&world.ports.subjects.changes("allocator"), vec![], entry).await.unwrap();
    let answered = async { while ask(Vec::new()).await.map(|answer| answer.status) != Some(202) {} };
    assert!(tokio::time::timeout(Duration::from_secs(20), answered).await.is_ok(), "it is not answered");
}

/// Taking so many rows in takes longer than the peer's next commit.
const MANY: usize = 20_000;

fn launch(number: usize) -> Change {
    let row = LaunchRow {
        launch: format!("l{number}").as_str().into(),
        framework: "f".into(),
        role: Role::default(),
        agent: "a".into(),
        executor: "e".into(),
        executor_resources: Resources::new(),
        tasks: Vec::new(),
        sent: (Term::default(), 1),
        call: "c".into(),
        time: Time(1),
        trace: None,
        adopted: None,
        kind: LaunchKind::Command,
    };
    codec::encode_row(&RowChange::Put(Row::Launch(row))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_many_rows_of_a_peer_that_goes_on_writing_are_loaded_once_per_term_of_it() {
    let ports = ports();
    let (service, lease) = ("allocator", Duration::from_secs(600));
    let first = ports.store.acquire(service, Uuid::new_v4(), None, 0, lease).await.unwrap().fence;
    let commit = move |fence, changes| Commit { service, fence, batch: Uuid::new_v4(), changes, peer_cursor: 0, lease };
    let seq = ports.store.commit(commit(first, (0..MANY).map(launch).collect())).await.unwrap().seq;
    let world = World::start(ports.clone());
    world.subscribe(7).await;
    ports.store.release(service, Fence { seq, ..first }).await.unwrap();
    let mut fence = ports.store.acquire(service, Uuid::new_v4(), None, 0, lease).await.unwrap().fence;
    // As a leader does: it commits, and says so.
    let written = Arc::new(AtomicU64::new(0));
    let counter = written.clone();
    let writer = tokio::spawn(async move {
        loop {
            fence.seq = ports.store.commit(commit(fence, Vec::new())).await.unwrap().seq;
            let entry = codec::encode_entry(fence.seq, fence.term(), &[]).unwrap();
            ports.bus.publish(&ports.subjects.changes(service), vec![], entry).await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    world.until("commits", || written.load(Ordering::Relaxed) > 2_000).await;
    writer.abort();
    assert_eq!(world.metric("mesos_registry_peer_loads_total"), 2, "one at the start, one for the new term");
}

#[tokio::test]
async fn f24_a_leader_whose_subscriptions_the_bus_has_forgotten_hears_again() {
    let bus = Arc::new(Forgetful::new(Arc::new(MemoryBus::new())));
    let world = World::start(Ports { bus: bus.clone(), ..ports() });
    world.subscribe(7).await;
    let epoch = world.head().await.epoch;
    bus.forget();
    world.subscribe(8).await;
    assert!(world.metric("mesos_registry_subscriptions_renewed_total") > 0);
    assert_eq!(world.head().await.epoch, epoch, "it took no new term for that");
}

#[tokio::test]
async fn f30_messages_that_cannot_be_read_are_counted_and_the_next_one_is_answered() {
    let world = World::start(ports());
    world.subscribe(7).await;
    let subject = world.ports.subjects.service("registry");
    let sound = envelope::seal("to-registry", &Vec::<u8>::new()).unwrap();
    let mut flipped = sound.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let foreign = envelope::seal("something-else", &7).unwrap();
    for garbage in [Bytes::new(), Bytes::from_static(b"garbage"), sound.slice(..9), flipped.into(), foreign] {
        world.ports.bus.publish(&subject, vec![], garbage).await.unwrap();
    }
    world.subscribe(8).await;
    assert_eq!(world.metric("mesos_registry_messages_undecodable_total"), 5);
}

#[tokio::test]
async fn f79_what_an_agent_says_in_the_name_of_another_or_as_a_gateway_is_dropped() {
    let world = World::start(ports());
    let victim = world.subscribe(7).await;
    let subject = world.ports.subjects.said("registry", "a");
    let forgotten = |agent: &str| {
        let (framework, task, launch) = ("f".into(), "t".into(), "l".into());
        ToRegistry::Agent(AgentToRegistry::Forgotten { agent: agent.into(), framework, task, launch })
    };
    let teardown = RegistryCall::Teardown(Caller::operator(victim.clone()));
    let call = Call::new("c", "g", teardown.clone());
    let dropped = || world.metric("mesos_registry_messages_undecodable_total");
    for (messages, count) in [
        (vec![forgotten("a"), forgotten("a")], 0),
        (vec![forgotten("b")], 1),
        (vec![forgotten("a"), forgotten("b")], 2),
        (vec![ToRegistry::Call(call)], 3),
    ] {
        let payload = envelope::seal(kind::REGISTRY, &messages).unwrap();
        world.ports.bus.publish(&subject, vec![], payload).await.unwrap();
        world.until("it is dropped", || dropped() == count).await;
    }
    // Nobody has ended the framework before.
    assert_eq!(world.ask_leader(teardown).await.status, 202);
    assert_eq!(world.ask_leader(RegistryCall::Teardown(Caller::operator(victim))).await.status, 400);
}

async fn on_redis(server: &RedisServer) -> World {
    let store = RedisStore::connect(&server.url(), "test", RedisOptions::default()).await.unwrap();
    World::start(Ports { store: Arc::new(store), ..ports() })
}

#[tokio::test]
async fn f11_a_store_that_stalls_for_five_seconds_costs_no_term() {
    let Some(server) = RedisServer::start() else { return };
    let world = on_redis(&server).await;
    let framework = world.subscribe(7).await;
    let before = world.head().await;
    server.signal("STOP");
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.signal("CONT");
    world.subscribe(8).await;
    let after = world.head().await;
    assert_eq!((after.epoch, after.leader), (before.epoch, before.leader));
    let teardown = RegistryCall::Teardown(Caller::operator(framework));
    assert_eq!(world.ask_leader(teardown).await.status, 202, "what was committed before is known");
}

#[tokio::test]
async fn f11_what_a_leader_is_told_while_its_store_is_silent_is_bounded_and_then_worked_off() {
    let Some(server) = RedisServer::start() else { return };
    let world = on_redis(&server).await;
    let framework = world.subscribe(7).await;
    server.signal("STOP");
    // A commit is under way now, and stays so.
    assert!(world.ask(RegistryCall::Teardown(Caller::operator(framework))).await.is_none());
    let subject = world.ports.subjects.service("registry");
    // A thousand messages of a hundred events each: six times what may wait.
    let forgotten = || {
        let (agent, framework, task, launch) = ("a".into(), "f".into(), "t".into(), "l".into());
        ToRegistry::Agent(AgentToRegistry::Forgotten { agent, framework, task, launch })
    };
    let batch = envelope::seal(kind::REGISTRY, &(0..100).map(|_| forgotten()).collect::<Vec<_>>()).unwrap();
    for _ in 0..1000 {
        world.ports.bus.publish(&subject, vec![], batch.clone()).await.unwrap();
    }
    let bound = 16_384 + 1024;
    world.until("much waits", || world.metric("mesos_registry_waiting") > 16_000).await;
    // It has had time to take in all of it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let waiting = world.metric("mesos_registry_waiting");
    assert!(waiting <= bound, "{waiting} events wait");
    server.signal("CONT");
    world.subscribe(8).await;
    world
        .until("all is worked off", || {
            world.metric("mesos_registry_events_total") >= 100_000 && world.metric("mesos_registry_waiting") == 0
        })
        .await;
}

#[tokio::test]
async fn f8_a_leader_steps_down_while_its_store_is_full_and_comes_back_by_itself() {
    let Some(server) = RedisServer::start() else { return };
    let world = on_redis(&server).await;
    let framework = world.subscribe(7).await;
    server.command("CONFIG SET maxmemory 1");
    world.until("it steps down", || world.metric("mesos_registry_leading") == 0).await;
    let refused = world.ask(RegistryCall::Teardown(Caller::operator(framework.clone()))).await;
    assert!(refused.is_none_or(|answer| answer.status == 503), "a change may not be answered with success");
    server.command("CONFIG SET maxmemory 0");
    let answer = world.ask_leader(RegistryCall::Teardown(Caller::operator(framework))).await;
    assert_eq!(answer.status, 202, "the framework is still known");
    assert_eq!(world.metric("mesos_registry_leading"), 1);
}

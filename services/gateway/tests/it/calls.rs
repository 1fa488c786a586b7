//! Calls are held while nobody leads, and repeated with the same id.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mesos_core::{
    message::{AllocatorCall, Answer, Call, RegistryCall},
    row::{FrameworkInfo, FrameworkRow, FrameworkState, Row, RowChange, Subscription},
};
use mesos_model::Time;
use mesos_ports::store::{Change, Commit};
use mesos_runtime::codec;
use uuid::Uuid;

use crate::harness::{Asked, friendly, options, ports, run_allocator, run_registry, start, world_with};

const REVIVE: &str = r#"{"type":"REVIVE","framework_id":{"value":"f"},"call_id":"once"}"#;

#[tokio::test]
async fn without_a_leader_a_call_is_refused_after_its_time_in_mesos_words() {
    let mut options = options();
    options.hold = Duration::from_millis(300);
    let world = start(options, ports(), Arc::default()).await;
    let begin = Instant::now();
    let reply = world.call(REVIVE, None).await;
    assert_eq!((reply.status(), reply.text().as_str()), (503, "No leader elected"));
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn f8_while_nobody_may_write_reads_go_on_and_changes_are_told_to_come_again() {
    let mut options = options();
    options.hold = Duration::from_millis(300);
    let refuse = |_: &_| Answer::refused(503, "the registry is changing its leader; try again");
    let world = world_with(options, Arc::new(refuse), Arc::new(|_| Answer::accepted())).await;
    world.until(|| async { world.get("/v1/cluster").await.status() == 200 }).await;
    for call in [REVIVE, crate::harness::SUBSCRIBE] {
        let reply = world.call(call, None).await;
        assert_eq!((reply.status(), reply.header("Retry-After")), (503, Some("1")), "{call}");
    }
    assert_eq!(world.get("/v1/cluster").await.status(), 200);
    assert_eq!(world.get("/health").await.status(), 200);
}

#[tokio::test]
async fn f68_calls_that_wait_for_a_leader_are_repeated_ever_less_often() {
    let mut options = options();
    options.hold = Duration::from_secs(1);
    let requests = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let count = Arc::new(AtomicUsize::new(0));
    let (seen, counted) = (requests.clone(), count.clone());
    let script = move |call: &mesos_core::message::Call<mesos_core::message::RegistryCall>| {
        seen.lock().unwrap().insert(call.call.clone());
        counted.fetch_add(1, Ordering::SeqCst);
        Answer::refused(503, "the registry is changing its leader")
    };
    let world = world_with(options, Arc::new(script), Arc::new(|_| Answer::accepted())).await;
    let calls = (0..50).map(|_| world.call(r#"{"type":"REVIVE","framework_id":{"value":"f"}}"#, None));
    for reply in futures::future::join_all(calls).await {
        assert_eq!(reply.status(), 503);
    }
    assert_eq!(requests.lock().unwrap().len(), 50);
    // Pauses of 20, 40, 80, 160 and then 250 ms, each shortened by half at most, make 13 tries in a second.
    let tries = count.load(Ordering::SeqCst);
    assert!((100..=50 * 13).contains(&tries), "{tries} tries of 50 calls in a second");
}

#[tokio::test]
async fn a_call_is_held_until_there_is_a_leader() {
    let world = start(options(), ports(), Arc::default()).await;
    let asked = Arc::new(Asked::default());
    let (reply, ()) = tokio::join!(world.call(REVIVE, None), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        run_registry(&world.ports, Arc::new(friendly), asked.clone()).await;
    });
    assert_eq!(reply.status(), 202);
    assert_eq!(asked.registry.lock().unwrap()[0].call.as_str(), "once");
}

#[tokio::test]
async fn f28_a_call_that_meets_a_change_of_leaders_is_repeated_with_its_id() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let script = move |_: &_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Answer::refused(503, "the registry is changing its leader"),
        _ => Answer::accepted(),
    };
    let world = world_with(options(), Arc::new(script), Arc::new(|_| Answer::accepted())).await;
    let anonymous = r#"{"type":"REVIVE","framework_id":{"value":"f"}}"#;
    assert_eq!(world.call(anonymous, None).await.status(), 202);
    let asked = world.asked.registry.lock().unwrap();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|call| call.call == asked[0].call && call.call.as_str().len() == 36));
}

#[tokio::test]
async fn many_calls_at_once_are_each_answered_with_their_own_answer() {
    let by_role = |call: &mesos_core::message::Call<mesos_core::message::RegistryCall>| match &call.what {
        mesos_core::message::RegistryCall::Revive(_, roles) => Answer::refused(400, roles[0].as_str()),
        _ => Answer::accepted(),
    };
    let world = world_with(options(), Arc::new(by_role), Arc::new(|_| Answer::accepted())).await;
    let calls = (0..100).map(|i| {
        let world = &world;
        async move {
            let body = format!(r#"{{"type":"REVIVE","framework_id":{{"value":"f"}},"revive":{{"roles":["r{i}"]}}}}"#);
            assert_eq!(world.call(&body, None).await.text(), format!("r{i}"));
        }
    });
    futures::future::join_all(calls).await;
}

const STREAM: &str = "00000000-0000-4000-8000-000000000007";
const ACCEPT: &str = r#"{"type":"ACCEPT","framework_id":{"value":"f"},"accept":{"offer_ids":[{"value":"o"}],"operations":[
    {"type":"LAUNCH","launch":{"task_infos":[{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"a"}}]}}]}}"#;

fn reconcile(tasks: &[&str]) -> String {
    let tasks: Vec<String> = tasks.iter().map(|task| format!(r#"{{"task_id":{{"value":"{task}"}}}}"#)).collect();
    let tasks = tasks.join(",");
    format!(r#"{{"type":"RECONCILE","framework_id":{{"value":"f"}},"reconcile":{{"tasks":[{tasks}]}}}}"#)
}

/// The tasks that the registry was asked about, question by question.
fn questions(asked: &Asked) -> Vec<Vec<String>> {
    let asked = asked.registry.lock().unwrap();
    let tasks = asked.iter().filter_map(|call| match &call.what {
        RegistryCall::Reconcile { tasks, .. } => Some(tasks),
        _ => None,
    });
    tasks.map(|tasks| tasks.iter().map(|(task, _)| task.to_string()).collect()).collect()
}

/// The offers of each DECLINE that the allocator was sent.
fn declined(asked: &Asked) -> Vec<Vec<String>> {
    let asked = asked.allocator.lock().unwrap();
    let offers = asked.iter().filter_map(|call| match &call.what {
        AllocatorCall::Decline { offers, .. } => Some(offers),
        _ => None,
    });
    offers.map(|offers| offers.iter().map(ToString::to_string).collect()).collect()
}

#[tokio::test]
async fn a_question_about_a_task_does_not_overtake_the_accept_that_launches_it() {
    let leads = Arc::new(AtomicBool::new(true));
    let leads_now = leads.clone();
    let allocator = move |call: &Call<AllocatorCall>| match &call.what {
        AllocatorCall::Accept { .. } if !leads_now.load(Ordering::SeqCst) => {
            Answer::refused(503, "changing its leader")
        }
        _ => Answer::accepted(),
    };
    let world = world_with(options(), Arc::new(friendly), Arc::new(allocator)).await;
    // The allocator is made to know the stream by its first question.
    assert_eq!(world.call(&reconcile(&["other"]), Some(STREAM)).await.status(), 202);
    assert_eq!(declined(&world.asked), [Vec::<String>::new()]);
    leads.store(false, Ordering::SeqCst);
    let (accepted, ()) = tokio::join!(world.call(ACCEPT, Some(STREAM)), async {
        world.until(|| async { world.asked.allocator.lock().unwrap().len() > 1 }).await;
        // The one is held, the other is not.
        assert_eq!(world.call(&reconcile(&["t", "other"]), Some(STREAM)).await.status(), 202);
        assert_eq!(world.call(&reconcile(&["t"]), Some(STREAM)).await.status(), 202);
        leads.store(true, Ordering::SeqCst);
    });
    assert_eq!(accepted.status(), 202);
    assert_eq!(world.call(&reconcile(&["t"]), Some(STREAM)).await.status(), 202);
    assert_eq!(questions(&world.asked), [["other"], ["other"], ["t"]]);
    assert_eq!(declined(&world.asked).len(), 1);
}

#[tokio::test]
async fn the_offers_of_an_accept_that_was_given_up_are_declined_before_its_tasks_are_asked_about() {
    let mut options = options();
    options.hold = Duration::from_millis(300);
    let leads = Arc::new(AtomicBool::new(false));
    let leads_now = leads.clone();
    let allocator = move |_: &_| match leads_now.load(Ordering::SeqCst) {
        false => Answer::refused(503, "changing its leader"),
        true => Answer::accepted(),
    };
    let world = world_with(options, Arc::new(friendly), Arc::new(allocator)).await;
    assert_eq!(world.call(ACCEPT, Some(STREAM)).await.status(), 503);
    // As long as the allocator does not answer, nothing is said of what is not known.
    assert_eq!(world.call(&reconcile(&["t"]), Some(STREAM)).await.status(), 202);
    assert_eq!(questions(&world.asked), [] as [Vec<String>; 0]);
    leads.store(true, Ordering::SeqCst);
    world.asked.allocator.lock().unwrap().clear();
    assert_eq!(world.call(&reconcile(&["t"]), Some(STREAM)).await.status(), 202);
    assert_eq!(world.call(&reconcile(&["t"]), Some(STREAM)).await.status(), 202);
    assert_eq!(
        (questions(&world.asked), declined(&world.asked)),
        (vec![vec!["t".to_owned()]; 2], vec![vec!["o".to_owned()]])
    );
}

#[tokio::test]
async fn a_call_to_the_allocator_waits_until_its_number_covers_the_subscription() {
    let mut options = options();
    options.cover = Duration::from_secs(5);
    let ports = ports();
    let asked = Arc::new(Asked::default());
    run_allocator(&ports, Arc::new(|_| Answer::accepted()), asked.clone()).await;
    let world = start(options, ports, asked).await;
    world.until(|| async { !world.get("/ready").await.text().contains("not loaded") }).await;
    let stream = 0x4000_8000_0000_0000_0007;
    let decline = r#"{"type":"DECLINE","framework_id":{"value":"f"},"decline":{"offer_ids":[{"value":"o"}]}}"#;
    let (reply, seq) = tokio::join!(
        world.call(decline, Some("00000000-0000-4000-8000-000000000007")),
        commit_framework(&world.ports, stream)
    );
    assert_eq!(reply.status(), 202);
    let asked = world.asked.allocator.lock().unwrap();
    assert!(matches!(asked[0].what, AllocatorCall::Decline { .. }));
    assert_eq!(asked[0].peer_seq, seq);
}

#[tokio::test]
async fn f6_a_question_to_the_registry_says_how_far_the_gateway_knows_the_allocators_launches() {
    let world = world_with(options(), Arc::new(friendly), Arc::new(|_| Answer::accepted())).await;
    commit_framework(&world.ports, 0x4000_8000_0000_0000_0007).await;
    let seq = commit(&world.ports, "allocator", vec![]).await;
    let reconcile = r#"{"type":"RECONCILE","framework_id":{"value":"f"},"reconcile":{"tasks":[]}}"#;
    world
        .until(|| async {
            world.call(reconcile, Some("00000000-0000-4000-8000-000000000007")).await;
            let asked = world.asked.registry.lock().unwrap();
            let of = |call: &&Call<RegistryCall>| matches!(call.what, RegistryCall::Reconcile { .. });
            asked.iter().rfind(of).is_some_and(|call| call.peer_seq == seq)
        })
        .await;
}

async fn commit_framework(ports: &mesos_runtime::shell::Ports, stream: u128) -> u64 {
    let row = FrameworkRow {
        id: "f".into(),
        info: FrameworkInfo { roles: vec!["*".into()], ..FrameworkInfo::default() },
        body: Default::default(),
        state: FrameworkState::Connected,
        subscription: Some(Subscription { number: 1, stream, gateway: "g".into() }),
        suppressed: Default::default(),
        revived: Default::default(),
        priority: None,
        recovered: false,
        registered: Time(1),
        reregistered: Time(1),
    };
    commit(ports, "registry", vec![codec::encode_row(&RowChange::Put(Row::Framework(row))).unwrap()]).await
}

async fn commit(ports: &mesos_runtime::shell::Ports, service: &'static str, changes: Vec<Change>) -> u64 {
    let lease = Duration::from_secs(3);
    let acquired = ports.store.acquire(service, Uuid::new_v4(), None, 0, lease).await.unwrap();
    let commit = Commit {
        service,
        fence: acquired.fence,
        batch: Uuid::new_v4(),
        changes: changes.clone(),
        peer_cursor: 0,
        lease,
    };
    let done = ports.store.commit(commit).await.unwrap();
    let entry = codec::encode_entry(done.seq, acquired.fence.term(), &changes).unwrap();
    ports.bus.publish(&ports.subjects.changes(service), Vec::new(), entry).await.unwrap();
    done.seq
}

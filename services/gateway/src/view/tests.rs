use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use mesos_core::row::{AgentState, FrameworkState, Row, RowKey, service};
use mesos_model::{TaskState, Time};
use mesos_ports::store::{Commit, Store};
use mesos_runtime::codec;
use rand::{Rng, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use super::{
    cluster::{COMPLETED_FRAMEWORKS_MAX, COMPLETED_TASKS_MAX, HISTORY_MAX, Writer},
    fixtures::{self, Rig, put},
    totals::{Counts, Totals},
    *,
};

fn random_change(rng: &mut StdRng) -> RowChange {
    let agent = format!("a{}", rng.random_range(0..4));
    let framework = format!("f{}", rng.random_range(0..3));
    let task = format!("t{}", rng.random_range(0..6));
    let launch = format!("{framework}{task}-{}", rng.random_range(0..2));
    match rng.random_range(0..12) {
        0 => RowChange::Delete(RowKey::Agent(agent.as_str().into())),
        1 => RowChange::Delete(RowKey::Launch(launch.as_str().into())),
        2 => RowChange::Delete(RowKey::Body(launch.as_str().into())),
        3 => RowChange::Delete(RowKey::Task(framework.as_str().into(), task.as_str().into())),
        4 if rng.random_bool(0.3) => RowChange::Delete(RowKey::Framework(framework.as_str().into())),
        4 | 5 => {
            let mut row = fixtures::framework(&framework);
            row.state = match rng.random_range(0..4) {
                0 => FrameworkState::Connected,
                1 => FrameworkState::Lost { since: Time(1) },
                2 => FrameworkState::Disconnected { deadline: Time(1) },
                _ => FrameworkState::Removed { since: Time(1) },
            };
            put(Row::Framework(row))
        }
        6 | 7 => {
            let mut row = fixtures::agent(&agent);
            row.state = match rng.random_range(0..4) {
                0 => AgentState::Unreachable { since: Time(1) },
                1 => AgentState::Gone,
                _ => AgentState::Active,
            };
            row.deactivated = rng.random_bool(0.3);
            put(Row::Agent(row))
        }
        8 => put(Row::Launch(fixtures::launch(&launch, &framework, &agent, &task))),
        9 => put(Row::Body(fixtures::body(&launch, &task))),
        _ => {
            let state = TaskState::ALL[rng.random_range(0..TaskState::ALL.len())];
            let row = fixtures::task(&framework, &task, &launch, &agent);
            put(Row::Task(fixtures::in_state(row, state, rng.random_range(1..100))))
        }
    }
}

/// What must not depend on how the copy came about: everything but what is remembered of rows that are gone.
fn essence(writer: &Writer) -> impl PartialEq + use<> {
    let cluster = &writer.cluster;
    let remembered = |framework: Option<&mesos_model::FrameworkId>| {
        let mut counts = Counts::default();
        let tasks = cluster.completed_tasks.values();
        tasks
            .filter(|task| framework.is_none_or(|id| task.row.framework == *id))
            .for_each(|task| counts.add(task.row.state));
        counts
    };
    let without = |mut counts: Counts, gone: Counts| {
        for (state, number) in gone.iter() {
            (0..number).for_each(|_| counts.take(state));
        }
        counts
    };
    let totals = Totals {
        tasks: without(cluster.totals.tasks, remembered(None)),
        ended: Counts::default(),
        ..cluster.totals.clone()
    };
    let agents: BTreeMap<_, _> = cluster.agents.iter().map(|(id, row)| (id.clone(), row.clone())).collect();
    let launches: BTreeMap<_, _> = cluster.launches.iter().map(|(id, row)| (id.clone(), row.clone())).collect();
    let frameworks: BTreeMap<_, _> = cluster.frameworks.iter().map(|(id, row)| (id.clone(), row.clone())).collect();
    let tasks: BTreeMap<_, _> = cluster.tasks.iter().map(|(key, task)| (key.clone(), task.row.clone())).collect();
    let bodies: BTreeMap<_, Bytes> = cluster
        .tasks
        .iter()
        .filter(|(_, task)| {
            cluster.launches.get(&task.row.launch).is_some() && cluster.bodies.get(&task.row.launch).is_some()
        })
        .map(|(key, task)| (key.clone(), task.body.clone()))
        .collect();
    let on_agents: BTreeMap<_, _> = cluster.agent_use.iter().map(|(id, used)| (id.clone(), used.clone())).collect();
    let by_frameworks: BTreeMap<_, _> = cluster
        .framework_use
        .iter()
        .map(|(id, used)| (id.clone(), (used.scalars.clone(), without(used.tasks, remembered(Some(id))))))
        .filter(|(_, used)| *used != Default::default())
        .collect();
    (agents, launches, frameworks, tasks, bodies, on_agents, by_frameworks, totals)
}

fn rebuilt(rows: &BTreeMap<RowKey, RowChange>) -> Writer {
    let mut writer = Writer::default();
    reload(&mut writer, rows);
    writer
}

fn reload(writer: &mut Writer, rows: &BTreeMap<RowKey, RowChange>) {
    let is_allocators = |key: &RowKey| matches!(key, RowKey::Agent(_) | RowKey::Launch(_) | RowKey::Body(_));
    let of = |allocator: bool| {
        rows.iter().filter(move |(key, _)| is_allocators(key) == allocator).map(|(_, row)| row.clone())
    };
    writer.reload(service::ALLOCATOR, of(true).collect(), &mut Vec::new());
    writer.reload(service::REGISTRY, of(false).collect(), &mut Vec::new());
}

#[test]
fn the_copy_kept_by_changes_is_the_copy_built_from_rows() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut kept, mut astray) = (Writer::default(), Writer::default());
        let mut rows = BTreeMap::new();
        for step in 0..300 {
            let change = random_change(&mut rng);
            match &change {
                RowChange::Put(_) => rows.insert(change.key(), change.clone()),
                RowChange::Delete(key) => rows.remove(key),
            };
            kept.apply(change, &mut Vec::new());
            astray.apply(random_change(&mut rng), &mut Vec::new());
            if step % 60 == 59 {
                assert!(essence(&kept) == essence(&rebuilt(&rows)), "seed {seed}, step {step}");
                // After a gap the rows are loaded again over whatever was there.
                reload(&mut astray, &rows);
                assert!(essence(&astray) == essence(&rebuilt(&rows)), "seed {seed}, step {step}, after a gap");
            }
        }
    }
}

fn apply(writer: &mut Writer, change: RowChange) -> Vec<Delta> {
    let mut deltas = Vec::new();
    writer.apply(change, &mut deltas);
    deltas
}

fn delete_task(framework: &str, task: &str) -> RowChange {
    RowChange::Delete(RowKey::Task(framework.into(), task.into()))
}

#[test]
fn ended_tasks_are_remembered_and_the_oldest_are_forgotten() {
    let mut writer = Writer::default();
    apply(&mut writer, put(Row::Framework(fixtures::framework("f"))));
    for number in 0..COMPLETED_TASKS_MAX + 5 {
        let row = fixtures::task("f", &format!("t{number}"), "l", "a");
        apply(&mut writer, put(Row::Task(fixtures::in_state(row, TaskState::Finished, 5))));
        apply(&mut writer, delete_task("f", &format!("t{number}")));
    }
    let cluster = &writer.cluster;
    assert_eq!(cluster.completed_tasks.len(), COMPLETED_TASKS_MAX);
    assert!(cluster.task(&"f".into(), &"t4".into()).is_none() && cluster.task(&"f".into(), &"t5".into()).is_some());
    assert_eq!(cluster.totals.tasks.of(TaskState::Finished), COMPLETED_TASKS_MAX as u64);
    assert_eq!(cluster.totals.ended.of(TaskState::Finished), COMPLETED_TASKS_MAX as u64 + 5);
}

#[test]
fn a_task_id_that_is_used_again_is_another_task() {
    let mut writer = Writer::default();
    apply(&mut writer, put(Row::Framework(fixtures::framework("f"))));
    let first = fixtures::task("f", "t", "l1", "a");
    apply(&mut writer, put(Row::Task(fixtures::in_state(first, TaskState::Failed, 5))));
    apply(&mut writer, delete_task("f", "t"));
    apply(&mut writer, put(Row::Task(fixtures::task("f", "t", "l2", "a"))));
    assert!(writer.cluster.completed_tasks.is_empty());
    assert!(writer.cluster.task(&"f".into(), &"t".into()).unwrap().history.is_empty());
    assert_eq!(writer.cluster.totals.tasks.of(TaskState::Failed), 0);
    assert_eq!(writer.cluster.totals.tasks.of(TaskState::Staging), 1);
}

#[test]
fn removed_frameworks_are_remembered_with_their_tasks_until_there_are_too_many() {
    let mut writer = Writer::default();
    for number in 0..=COMPLETED_FRAMEWORKS_MAX {
        let id = format!("f{number}");
        apply(&mut writer, put(Row::Framework(fixtures::framework(&id))));
        let row = fixtures::task(&id, "t", "l", "a");
        apply(&mut writer, put(Row::Task(fixtures::in_state(row, TaskState::Killed, 5))));
        apply(&mut writer, delete_task(&id, "t"));
        let deltas = apply(&mut writer, RowChange::Delete(RowKey::Framework(id.as_str().into())));
        assert!(deltas.iter().any(|delta| matches!(delta, Delta::FrameworkRemoved(_))));
    }
    assert_eq!(writer.cluster.completed_frameworks.len(), COMPLETED_FRAMEWORKS_MAX);
    assert!(writer.cluster.framework(&"f0".into()).is_none());
    assert!(writer.cluster.task(&"f0".into(), &"t".into()).is_none());
    assert!(writer.cluster.task(&"f1".into(), &"t".into()).is_some());
    assert_eq!(writer.cluster.frameworks.len(), 0);
}

#[test]
fn the_history_has_one_status_per_change_of_state_and_a_bound() {
    let mut writer = Writer::default();
    let row = fixtures::task("f", "t", "l", "a");
    let states = [TaskState::Starting, TaskState::Running, TaskState::Running];
    for (time, state) in states.into_iter().enumerate() {
        apply(&mut writer, put(Row::Task(fixtures::in_state(row.clone(), state, time as u64 + 1))));
    }
    let states = |writer: &Writer| {
        let task = writer.cluster.task(&"f".into(), &"t".into()).unwrap().clone();
        task.history.iter().map(|status| (status.state, status.time.0)).collect::<Vec<_>>()
    };
    assert_eq!(states(&writer), [(TaskState::Starting, 1), (TaskState::Running, 3)]);
    for time in 10..100 {
        let state = if time % 2 == 0 { TaskState::Killing } else { TaskState::Running };
        apply(&mut writer, put(Row::Task(fixtures::in_state(row.clone(), state, time))));
    }
    assert_eq!(states(&writer).len(), HISTORY_MAX);
    assert_eq!(states(&writer).last().unwrap().1, 99);
}

#[test]
fn a_task_gets_its_body_whichever_row_comes_last() {
    let rows = [
        put(Row::Launch(fixtures::launch("l", "f", "a", "t"))),
        put(Row::Body(fixtures::body("l", "t"))),
        put(Row::Task(fixtures::task("f", "t", "l", "a"))),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut writer = Writer::default();
        for at in order {
            apply(&mut writer, rows[at].clone());
        }
        let view = writer.cluster.task(&"f".into(), &"t".into()).unwrap();
        assert_eq!(view.body, fixtures::body("l", "t").tasks[0], "{order:?}");
        assert_eq!(view.executor_id(), "");
    }
}

#[tokio::test]
async fn equal_answers_are_computed_once_for_all_who_ask() {
    let rig = Rig::with_one_of_each();
    let computed = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let (reads, computed) = (rig.reads.clone(), computed.clone());
        tokio::spawn(async move {
            let render = move |_: &Cluster| {
                computed.fetch_add(1, Ordering::SeqCst);
                Bytes::from_static(b"{}")
            };
            reads.answers.shared("x", render).await.unwrap().version
        })
    };
    for answer in futures::future::join_all((0..100).map(|_| ask())).await {
        assert_eq!(answer.unwrap(), rig.reads.view.version());
    }
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    // A change does not make it stale at once: a storm of changes would make every read compute.
    rig.apply(vec![put(Row::Agent(fixtures::agent("m-S1")))]);
    ask().await.unwrap();
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    // Whoever needs it to be as new as a version gets it so.
    let version = rig.reads.view.version();
    let render = |_: &Cluster| Bytes::from_static(b"new");
    assert_eq!(rig.reads.answers.at_least("x", version, render).await.unwrap().version, version);
}

async fn commit(rig: &Rig, fence: &mut mesos_ports::store::Fence, rows: Vec<RowChange>) {
    let changes: Vec<_> = rows.iter().map(|row| codec::encode_row(row).unwrap()).collect();
    let commit = Commit {
        service: service::REGISTRY,
        fence: *fence,
        batch: Uuid::new_v4(),
        changes: changes.clone(),
        peer_cursor: 0,
        lease: Duration::from_secs(60),
    };
    fence.seq = rig.ports.store.commit(commit).await.unwrap().seq;
    let payload = codec::encode_entry(fence.seq, fence.term(), &changes).unwrap();
    let subject = rig.ports.subjects.changes(service::REGISTRY);
    mesos_ports::bus::Bus::publish(&*rig.bus, &subject, Vec::new(), payload).await.unwrap();
}

async fn until(view: &View, is_so: impl Fn(&Cluster) -> bool) {
    let (_, _, mut changes) = view.subscribe();
    let wait = async {
        while !view.with(&is_so) {
            let _ = changes.recv().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the view came to know it");
}

#[tokio::test]
async fn the_view_loads_the_rows_follows_the_stream_and_hears_of_a_new_term() {
    let rig = Rig::unloaded();
    let store: &dyn Store = &*rig.ports.store;
    let leader = Uuid::new_v4();
    let lease = Duration::from_secs(60);
    let mut fence = store.acquire(service::REGISTRY, leader, None, 0, lease).await.unwrap().fence;
    commit(&rig, &mut fence, vec![put(Row::Framework(fixtures::framework("f")))]).await;

    let view = rig.reads.view.clone();
    assert!(!view.loaded());
    let running = tokio::spawn(view.clone().run(rig.ports.clone(), rig.reads.cancel.clone()));
    tokio::time::timeout(Duration::from_secs(20), view.until_loaded()).await.unwrap();
    assert!(view.with(|cluster| cluster.framework(&"f".into()).is_some()));
    assert_eq!(view.leaders().registry.as_deref(), Some(leader.to_string().as_str()));
    let term = view.terms().borrow().registry;
    assert_eq!(term, fence.term());

    commit(&rig, &mut fence, vec![put(Row::Task(fixtures::task("f", "t", "l", "a")))]).await;
    until(&view, |cluster| cluster.task(&"f".into(), &"t".into()).is_some()).await;
    assert_eq!(view.seq(service::REGISTRY), fence.seq);

    let mut terms = view.terms();
    terms.borrow_and_update();
    let mut fence = store.acquire(service::REGISTRY, Uuid::new_v4(), Some(leader), 0, lease).await.unwrap().fence;
    commit(&rig, &mut fence, vec![delete_task("f", "t")]).await;
    until(&view, |cluster| cluster.task(&"f".into(), &"t".into()).is_none()).await;
    tokio::time::timeout(Duration::from_secs(20), terms.changed()).await.unwrap().unwrap();
    assert!(terms.borrow().registry > term);
    rig.reads.cancel.cancel();
    running.await.unwrap();
}

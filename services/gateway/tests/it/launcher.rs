//! The Launcher service over gRPC, with a script in place of the launcher's leader.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use mesos_core::{
    message::{Answer, AnswerBody, Call, JobView, LauncherCall, RegistryCall},
    row::{Row, RowChange, TaskRow},
};
use mesos_gateway::GatewayOptions;
use mesos_model::{FrameworkId, Resources, Source, TaskId, TaskState, TaskStatus, Time, envelope};
use mesos_ports::store::Commit;
use mesos_proto::{
    services::v1::{KillRequest, LaunchRequest, WatchRequest, launcher_client::LauncherClient},
    v1,
};
use mesos_runtime::{
    codec,
    shell::{Ports, kind},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

use crate::harness::{World, friendly, options, world, world_with};

/// What the launcher knows and was asked.
#[derive(Default)]
struct Script {
    jobs: Vec<JobView>,
    asked: Vec<Call<LauncherCall>>,
}

type Shared = Arc<Mutex<Script>>;

fn job(task: &str, state: TaskState, message: &str) -> JobView {
    JobView {
        task: task.into(),
        name: "n".into(),
        state,
        agent: None,
        message: Some(message.into()),
        reason: None,
        exit_code: None,
        priority: 0,
        role: "*".into(),
        resources: Resources::of(&[("cpus", 1000)]),
        time: Time(1000),
        ended: state.is_terminal().then_some(Time(2000)),
    }
}

async fn run_launcher(ports: &Ports, script: Shared) {
    let bus = ports.bus.clone();
    let mut messages = bus.subscribe(&ports.subjects.service("launcher")).await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let calls: Vec<Call<LauncherCall>> = envelope::open(kind::LAUNCHER, &message.payload).unwrap();
            let answers: Vec<Answer> = calls.into_iter().map(|call| answer(&script, call)).collect();
            let payload = envelope::seal(kind::ANSWERS, &answers).unwrap();
            bus.publish(&message.reply.unwrap(), Vec::new(), payload).await.unwrap();
        }
    });
}

fn answer(script: &Shared, call: Call<LauncherCall>) -> Answer {
    let mut script = script.lock().unwrap();
    script.asked.push(call.clone());
    let framework = FrameworkId::new("own");
    match call.what {
        LauncherCall::Submit(_) => {
            Answer { body: AnswerBody::Submitted { framework, tasks: vec!["n.1".into()] }, ..Answer::accepted() }
        }
        LauncherCall::Kill { task, .. } => match script.jobs.iter_mut().find(|job| job.task == task) {
            Some(found) => {
                *found = job(task.as_str(), TaskState::Killed, "killed before it was placed");
                Answer::accepted()
            }
            None => Answer::refused(404, "the launcher has no such task"),
        },
        LauncherCall::SetPriority { .. } => Answer::accepted(),
        LauncherCall::Query { tasks } => {
            let wanted = |job: &&JobView| tasks.is_empty() || tasks.contains(&job.task);
            let jobs = script.jobs.iter().filter(wanted).cloned().collect();
            Answer { body: AnswerBody::Jobs { framework: Some(framework), jobs }, ..Answer::accepted() }
        }
    }
}

async fn client(world: &World) -> LauncherClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address)).unwrap();
    LauncherClient::new(endpoint.connect().await.unwrap())
}

async fn stage() -> (World, LauncherClient<Channel>, Shared) {
    let world = world().await;
    let script = Shared::default();
    run_launcher(&world.ports, script.clone()).await;
    let client = client(&world).await;
    (world, client, script)
}

fn launch() -> LaunchRequest {
    LaunchRequest {
        name: "n".into(),
        command: Some(v1::CommandInfo { value: Some("true".into()), ..v1::CommandInfo::default() }),
        resources: vec![v1::Resource {
            name: "cpus".into(),
            scalar: Some(v1::value::Scalar { value: 1.0 }),
            ..v1::Resource::default()
        }],
        call_id: "mine".into(),
        ..LaunchRequest::default()
    }
}

fn watch(task: &str) -> WatchRequest {
    WatchRequest { framework_id: None, task_ids: vec![v1::TaskId { value: task.into() }] }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("in time")
}

fn row(task: &str, state: TaskState) -> Row {
    let mut status = TaskStatus::new(task.into(), state, Source::Executor, Time(5));
    status.exit_code = state.is_terminal().then_some(3);
    Row::Task(TaskRow {
        framework: "own".into(),
        task: task.into(),
        name: "n".into(),
        launch: "l".into(),
        agent: "a".into(),
        executor: task.into(),
        role: "*".into(),
        resources: Resources::of(&[("cpus", 1000)]),
        state,
        status: Some(status),
        number: 1,
        pending: vec![],
        end_acknowledged: false,
        launch_seen: true,
        kill: None,
        created: Time(1),
        trace: None,
    })
}

/// Commits as the registry's leader does; the gateway hears of it from the store.
pub(crate) async fn commit(ports: &Ports, rows: Vec<Row>) {
    let lease = Duration::from_secs(60);
    let leader = Uuid::new_v4();
    let head = ports.store.head("registry").await.unwrap();
    let previous = head.map(|head| head.leader);
    let acquired = ports.store.acquire("registry", leader, previous, 0, lease).await.unwrap();
    let changes = rows.into_iter().map(|row| codec::encode_row(&RowChange::Put(row)).unwrap()).collect();
    let commit =
        Commit { service: "registry", fence: acquired.fence, batch: Uuid::new_v4(), changes, peer_cursor: 0, lease };
    ports.store.commit(commit).await.unwrap();
}

#[tokio::test]
async fn a_launch_reaches_the_launcher_once_it_is_sound() {
    let (_world, mut client, script) = stage().await;
    let launched = client.launch(launch()).await.unwrap().into_inner();
    assert_eq!(launched.framework_id.unwrap().value, "own");
    assert_eq!(launched.task_ids[0].value, "n.1");
    let asked = script.lock().unwrap().asked.remove(0);
    assert_eq!(asked.call.as_str(), "mine");
    assert!(matches!(asked.what, LauncherCall::Submit(submission) if submission.instances == 1));
    let refused = client.launch(LaunchRequest { command: None, ..launch() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(script.lock().unwrap().asked.is_empty(), "what cannot run does not get there");
}

#[tokio::test]
async fn a_watcher_is_told_why_a_task_waits_and_that_it_was_killed() {
    let (_world, mut client, script) = stage().await;
    script.lock().unwrap().jobs.push(job("n.1", TaskState::Staging, "waiting for cpus:4 (no offer fits)"));
    let mut events = soon(client.watch(watch("n.1"))).await.unwrap().into_inner();
    let first = soon(events.message()).await.unwrap().unwrap().status.unwrap();
    assert_eq!((first.state(), first.message), (v1::TaskState::TaskStaging, None), "not at once");
    let second = soon(events.message()).await.unwrap().unwrap().status.unwrap();
    assert_eq!(second.message.as_deref(), Some("waiting for cpus:4 (no offer fits)"));
    client
        .kill(KillRequest { task_id: Some(v1::TaskId { value: "n.1".into() }), ..KillRequest::default() })
        .await
        .unwrap();
    let last = soon(events.message()).await.unwrap().unwrap().status.unwrap();
    assert_eq!(last.state(), v1::TaskState::TaskKilled);
    assert!(soon(events.message()).await.unwrap().is_none(), "all that was named has ended");
}

#[tokio::test]
async fn a_watcher_follows_a_task_that_runs_to_its_exit_code() {
    let (world, mut client, script) = stage().await;
    script.lock().unwrap().jobs.push(JobView { agent: Some("a".into()), ..job("n.1", TaskState::Running, "") });
    commit(&world.ports, vec![row("n.1", TaskState::Running)]).await;
    let mut events = soon(client.watch(watch("n.1"))).await.unwrap().into_inner();
    let mut event = soon(events.message()).await.unwrap().unwrap();
    assert_eq!(event.status.take().unwrap().state(), v1::TaskState::TaskRunning);
    commit(&world.ports, vec![row("n.1", TaskState::Failed)]).await;
    let mut last = None;
    while let Some(event) = soon(events.message()).await.unwrap() {
        last = event.status;
    }
    let last = last.unwrap();
    assert_eq!((last.state(), last.exit_code), (v1::TaskState::TaskFailed, Some(3)));
}

#[tokio::test]
async fn f6_who_follows_a_task_that_the_store_has_lost_is_told_that_nobody_knows_it() {
    let (world, mut client, script) = stage().await;
    script.lock().unwrap().jobs.push(job("n.1", TaskState::Staging, ""));
    script.lock().unwrap().jobs.push(job("n.2", TaskState::Staging, ""));
    let both =
        WatchRequest { task_ids: ["n.1", "n.2"].map(|id| v1::TaskId { value: id.into() }).into(), framework_id: None };
    let mut events = soon(client.watch(both)).await.unwrap().into_inner();
    for _ in 0..2 {
        assert_eq!(soon(events.message()).await.unwrap().unwrap().status.unwrap().state(), v1::TaskState::TaskStaging);
    }
    // The launcher's leader starts again from what is left in the store. An agent holds the second task.
    script.lock().unwrap().jobs.clear();
    commit(&world.ports, vec![row("n.2", TaskState::Running)]).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let status = soon(events.message()).await.unwrap().unwrap().status.unwrap();
        told.push((status.task_id.value.clone(), status.state()));
    }
    told.sort();
    assert_eq!(told, [("n.1".into(), v1::TaskState::TaskUnknown), ("n.2".into(), v1::TaskState::TaskRunning)]);
    commit(&world.ports, vec![row("n.2", TaskState::Failed)]).await;
    let last = soon(events.message()).await.unwrap().unwrap().status.unwrap();
    assert_eq!((last.state(), last.exit_code), (v1::TaskState::TaskFailed, Some(3)));
    assert!(soon(events.message()).await.unwrap().is_none(), "all that was named has ended");
}

#[tokio::test]
async fn while_the_launcher_is_not_heard_nobody_says_that_a_task_is_not_there() {
    let world = world_with(
        GatewayOptions { hold: Duration::from_millis(100), ..options() },
        Arc::new(friendly),
        Arc::new(|_| Answer::accepted()),
    )
    .await;
    let mut client = client(&world).await;
    let own = WatchRequest { framework_id: Some(v1::FrameworkId { value: "own".into() }), ..watch("n.1") };
    let refused = soon(client.watch(own.clone())).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    // What the copy shows is followed all the same.
    commit(&world.ports, vec![row("n.1", TaskState::Running)]).await;
    let mut events = soon(async {
        loop {
            match client.watch(own.clone()).await {
                Ok(events) => break events.into_inner(),
                // Until the gateway's copy has the task.
                Err(status) => assert_eq!(status.code(), Code::Unavailable),
            }
        }
    })
    .await;
    assert_eq!(soon(events.message()).await.unwrap().unwrap().status.unwrap().state(), v1::TaskState::TaskRunning);
}

#[tokio::test]
async fn tasks_that_nobody_knows_are_not_found() {
    let (_world, mut client, _script) = stage().await;
    assert_eq!(client.watch(watch("nobody")).await.err().unwrap().code(), Code::NotFound);
    let kill = KillRequest { task_id: Some(v1::TaskId { value: "nobody".into() }), ..KillRequest::default() };
    assert_eq!(client.kill(kill).await.unwrap_err().code(), Code::NotFound);
    let kill = KillRequest {
        task_id: Some(v1::TaskId { value: "t".into() }),
        framework_id: Some(v1::FrameworkId { value: "other".into() }),
        ..KillRequest::default()
    };
    assert_eq!(client.kill(kill).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_kill_of_another_frameworks_task_goes_to_the_registry_as_an_operators() {
    let (world, mut client, _script) = stage().await;
    let Row::Task(task) = row("t", TaskState::Running) else { unreachable!() };
    commit(&world.ports, vec![Row::Task(TaskRow { framework: "other".into(), ..task })]).await;
    let kill = KillRequest {
        task_id: Some(v1::TaskId { value: "t".into() }),
        framework_id: Some(v1::FrameworkId { value: "other".into() }),
        ..KillRequest::default()
    };
    soon(async {
        // Until the gateway's copy has the task.
        while client.kill(kill.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let asked = world.asked.registry.lock().unwrap();
    let killed = asked.iter().any(|call| match &call.what {
        RegistryCall::Kill { caller, task, .. } => caller.operator && task == &TaskId::new("t"),
        _ => false,
    });
    assert!(killed);
}

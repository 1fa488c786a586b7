//! The Allocation service over gRPC, and priorities, with scripts in place of the services.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use mesos_core::{
    message::{
        AllocatorCall, Answer, AnswerBody, Call, Explanation, JobView, LauncherCall, OperatorCall, Query as Asked,
        RegistryCall, RoleView,
    },
    row::{FrameworkInfo, FrameworkRow, FrameworkState, Row},
};
use mesos_model::{Resources, TaskState, Time, envelope};
use mesos_proto::{
    services::v1::{
        GetRolesRequest, Query, RoleQuota, RoleWeight, SetPriorityRequest, UpdateQuotaRequest, UpdateWeightsRequest,
        allocation_client::AllocationClient,
    },
    v1,
};
use mesos_runtime::shell::{Ports, kind};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::{
    harness::{World, friendly, options, world_with},
    launcher::commit,
};

fn allocator(call: &Call<AllocatorCall>) -> Answer {
    let AllocatorCall::Operator(what) = &call.what else { return Answer::accepted() };
    Answer::ok(match what {
        OperatorCall::GetRoles => AnswerBody::Roles(vec![RoleView {
            role: "ads".into(),
            weight: 1_500,
            allocated: Resources::of(&[("cpus", 500)]).scalars(),
            share_ppm: 500_000,
            ..RoleView::default()
        }]),
        OperatorCall::GetNeeds => AnswerBody::Needs(Vec::new()),
        OperatorCall::Explain(query) => AnswerBody::Explanation(Box::new(Explanation {
            framework: query.framework.clone(),
            role: query.role.clone().unwrap_or_default(),
            demand: query.resources.clone().unwrap_or_default(),
            count: query.count,
            placeable: 0,
            summary: "it is somebody else's turn".into(),
            blockers: Vec::new(),
            turns: Vec::new(),
            remedies: Vec::new(),
        })),
        _ => AnswerBody::None,
    })
}

fn job(task: &str, agent: Option<&str>) -> JobView {
    JobView {
        task: task.into(),
        name: "n".into(),
        state: TaskState::Staging,
        agent: agent.map(Into::into),
        message: None,
        reason: None,
        exit_code: None,
        priority: 0,
        role: "ads".into(),
        resources: Resources::of(&[("cpus", 2_000)]),
        time: Time(1_000),
        ended: None,
    }
}

/// A launcher with a waiting task `w.1` and a placed one, `p.1`.
async fn run_launcher(ports: &Ports) -> Arc<Mutex<Vec<LauncherCall>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (bus, noted) = (ports.bus.clone(), asked.clone());
    let mut messages = bus.subscribe(&ports.subjects.service("launcher")).await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let calls: Vec<Call<LauncherCall>> = envelope::open(kind::LAUNCHER, &message.payload).unwrap();
            let mut answers = Vec::new();
            for call in calls {
                answers.push(match &call.what {
                    LauncherCall::Query { tasks } => {
                        let all = [job("w.1", None), job("p.1", Some("a"))];
                        let jobs = all.into_iter().filter(|job| tasks.contains(&job.task)).collect();
                        Answer::ok(AnswerBody::Jobs { framework: Some("own".into()), jobs })
                    }
                    _ => Answer::accepted(),
                });
                noted.lock().unwrap().push(call.what);
            }
            let payload = envelope::seal(kind::ANSWERS, &answers).unwrap();
            bus.publish(&message.reply.unwrap(), Vec::new(), payload).await.unwrap();
        }
    });
    asked
}

/// A framework in the registry's rows.
async fn register(ports: &Ports, id: &str) {
    let row = FrameworkRow {
        id: id.into(),
        info: FrameworkInfo { name: "n".into(), roles: vec!["ads".into()], ..FrameworkInfo::default() },
        body: bytes::Bytes::new(),
        state: FrameworkState::Connected,
        subscription: None,
        suppressed: Default::default(),
        revived: Default::default(),
        priority: None,
        recovered: false,
        registered: Time(1),
        reregistered: Time(1),
    };
    commit(ports, vec![Row::Framework(row)]).await;
}

async fn stage() -> (World, AllocationClient<Channel>) {
    let world = world_with(options(), Arc::new(friendly), Arc::new(allocator)).await;
    world.until(|| async { world.get("/v1/cluster").await.status() == 200 }).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address)).unwrap();
    let client = AllocationClient::new(endpoint.connect().await.unwrap());
    (world, client)
}

fn asked(world: &World) -> Vec<OperatorCall> {
    let mut asked = world.asked.allocator.lock().unwrap();
    let what = asked.drain(..).filter_map(|call| match call.what {
        AllocatorCall::Operator(what) => Some(what),
        _ => None,
    });
    what.collect()
}

fn task(id: &str) -> Option<v1::TaskId> {
    Some(v1::TaskId { value: id.into() })
}

#[tokio::test]
async fn roles_weights_and_quota_go_over_grpc() {
    let (world, mut client) = stage().await;
    let roles = client.get_roles(GetRolesRequest {}).await.unwrap().into_inner().roles;
    assert_eq!((roles[0].role.as_str(), roles[0].weight, roles[0].share), ("ads", 1.5, 0.5));
    assert_eq!(roles[0].allocated["cpus"], 0.5);
    let weights = vec![RoleWeight { role: "ads".into(), weight: 2.0 }];
    let update = UpdateWeightsRequest { weights, call_id: "mine".into() };
    client.update_weights(update).await.unwrap();
    let limit = [("cpus".to_owned(), 4.0)].into_iter().collect();
    let quotas = vec![RoleQuota { role: "ads".into(), limit, ..RoleQuota::default() }];
    client.update_quota(UpdateQuotaRequest { quotas, ..UpdateQuotaRequest::default() }).await.unwrap();
    let calls: Vec<String> =
        world.asked.allocator.lock().unwrap().iter().map(|call| call.call.as_str().to_owned()).collect();
    assert!(calls.contains(&"mine".to_owned()), "the client's own id of the call goes along: {calls:?}");
    let asked = asked(&world);
    assert!(asked.contains(&OperatorCall::UpdateWeights(vec![("ads".into(), 2_000)])), "{asked:?}");
    assert!(asked.iter().any(|call| matches!(call, OperatorCall::UpdateQuota { force: false, .. })), "{asked:?}");

    let none = client.update_weights(UpdateWeightsRequest::default()).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    let long = UpdateWeightsRequest {
        weights: vec![RoleWeight { role: "ads".into(), weight: 2.0 }],
        call_id: "x".repeat(1000),
    };
    assert_eq!(client.update_weights(long).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_waiting_task_is_explained_by_its_id() {
    let (world, mut client) = stage().await;
    run_launcher(&world.ports).await;
    let query = Query { task_id: task("w.1"), ..Query::default() };
    let explained = client.explain(query).await.unwrap().into_inner();
    assert_eq!((explained.framework_id.unwrap().value.as_str(), explained.role.as_str()), ("own", "ads"));
    let wanted = Asked {
        framework: Some("own".into()),
        role: Some("ads".into()),
        resources: Some(Resources::of(&[("cpus", 2_000)])),
        count: 1,
        fresh: true,
        ..Asked::default()
    };
    assert_eq!(asked(&world).last(), Some(&OperatorCall::Explain(wanted)));

    let placed = client.explain(Query { task_id: task("p.1"), ..Query::default() }).await.unwrap_err();
    assert!(placed.code() == Code::Aborted && placed.message().contains("on agent a"), "{placed}");
    let unknown = client.explain(Query { task_id: task("nobody"), ..Query::default() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn priorities_go_to_the_registry_or_to_the_launcher() {
    let (world, mut client) = stage().await;
    let launcher = run_launcher(&world.ports).await;
    register(&world.ports, "f").await;
    world
        .until(|| async {
            let reply = world.ask("PUT", "/v1/frameworks/f/priority", &[], r#"{"priority":7}"#).await;
            reply.status() == 202
        })
        .await;
    let said = world.asked.registry.lock().unwrap().last().map(|call| call.what.clone());
    assert!(matches!(&said, Some(RegistryCall::SetPriority { caller, priority: 7 }) if caller.operator), "{said:?}");
    let reply = world.ask("PUT", "/v1/tasks/own/w.1/priority", &[], r#"{"priority":-3}"#).await;
    assert_eq!((reply.status(), reply.text().as_str()), (202, "{}"));
    let said = launcher.lock().unwrap().last().cloned();
    assert_eq!(said, Some(LauncherCall::SetPriority { task: "w.1".into(), priority: -3 }));
    for (path, body, status) in [
        ("/v1/frameworks/nobody/priority", r#"{"priority":7}"#, 404),
        ("/v1/frameworks/f/priority", "{}", 400),
        ("/v1/frameworks/f/priority", r#"{"priority":"high"}"#, 400),
        ("/v1/tasks/own/nobody/priority", r#"{"priority":1}"#, 404),
        ("/v1/tasks/f/w.1/priority", r#"{"priority":1}"#, 400),
    ] {
        let reply = world.ask("PUT", path, &[], body).await;
        assert_eq!(reply.status(), status, "{path} {body}: {}", reply.text());
    }
    let nothing = client.set_priority(SetPriorityRequest::default()).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
}

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use mesos_core::{
    message::{Answer as Said, AnswerBody},
    row::Row,
};
use mesos_model::TaskState;
use tower::ServiceExt;

use super::*;
use crate::view::fixtures::{self, Rig, put};

async fn get_with(rig: &Rig, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, bytes::Bytes) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = rig.reads.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    (status, headers, response.into_body().collect().await.unwrap().to_bytes())
}

async fn fetch(rig: &Rig, path: &str) -> Value {
    let (status, _, body) = get_with(rig, path, &[]).await;
    assert_eq!(status, 200, "{path}: {body:?}");
    serde_json::from_slice(&body).unwrap()
}

fn the_task() -> Value {
    json!({
        "id": "t1", "name": "n", "framework_id": "m-0000", "executor_id": "", "slave_id": "m-S0",
        "state": "TASK_RUNNING", "role": "*",
        "resources": {"cpus": 0.5, "mem": 128, "disk": 0, "gpus": 0},
        "statuses": [{
            "state": "TASK_RUNNING", "timestamp": 4.0,
            "container_status": {
                "network_infos": [{"ip_addresses": [{"protocol": "IPv4", "ip_address": "172.17.0.2"}]}],
            },
        }],
        "labels": [{"key": "team", "value": "core"}],
        "discovery": {
            "visibility": "EXTERNAL", "name": "svc",
            "ports": {"ports": [{"number": 31000, "name": "http", "protocol": "tcp"}]},
        },
    })
}

fn the_agent() -> Value {
    json!({
        "id": "m-S0", "hostname": "10.0.0.7", "port": 5051, "pid": "slave(1)@10.0.0.7:5051",
        "attributes": {"rack": "r2", "level": 3, "span": "[1-2]"},
        "registered_time": 1.5, "reregistered_time": 2.0,
        "resources": {"cpus": 10, "mem": 4096, "disk": 1000, "gpus": 0, "ports": "[31000-31005, 32000-32001]"},
        "used_resources": {"cpus": 0.5, "mem": 128, "disk": 0, "gpus": 0},
        "offered_resources": {"cpus": 0, "mem": 0, "disk": 0, "gpus": 0},
        "unreserved_resources": {"cpus": 8, "mem": 4096, "disk": 1000, "gpus": 0, "ports": "[31000-31005, 32000-32001]"},
        "reserved_resources": {"ads": {"cpus": 2, "mem": 0, "disk": 0, "gpus": 0}},
        "active": true, "deactivated": false, "version": "0.1.0",
        "capabilities": ["MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT"],
    })
}

#[tokio::test]
async fn the_state_is_what_mesos_dns_and_exporters_read() {
    let rig = Rig::with_one_of_each();
    let state = fetch(&rig, "/state").await;
    assert_eq!(state["leader"], "master@10.0.0.1:5050");
    assert_eq!(state["pid"], "master@10.0.0.1:5050");
    assert_eq!(
        state["leader_info"],
        json!({"id": "gw", "pid": "master@10.0.0.1:5050", "port": 5050, "hostname": "localhost"})
    );
    assert_eq!(state["slaves"], json!([the_agent()]));
    assert_eq!(
        [&state["activated_slaves"], &state["deactivated_slaves"], &state["unreachable_slaves"]],
        [&json!(1), &json!(0), &json!(0)]
    );
    for empty in ["recovered_slaves", "completed_frameworks", "orphan_tasks", "unregistered_frameworks"] {
        assert_eq!(state[empty], json!([]), "{empty}");
    }
    for key in [
        "version",
        "git_sha",
        "build_date",
        "build_time",
        "build_user",
        "start_time",
        "elected_time",
        "id",
        "hostname",
        "cluster",
        "flags",
    ] {
        assert!(state.get(key).is_some(), "{key}");
    }
    let sums = json!({"cpus": 0.5, "mem": 128, "disk": 0, "gpus": 0});
    assert_eq!(
        state["frameworks"],
        json!([{
            "id": "m-0000", "name": "web", "user": "root", "hostname": "web", "webui_url": "http://web:8080",
            "active": true, "connected": true, "recovered": false, "capabilities": ["PARTITION_AWARE"],
            "failover_timeout": 60, "checkpoint": false,
            "registered_time": 1.0, "reregistered_time": 1.0, "unregistered_time": 0.0,
            "resources": sums, "used_resources": sums,
            "offered_resources": {"cpus": 0, "mem": 0, "disk": 0, "gpus": 0},
            "role": "*", "tasks": [the_task()], "unreachable_tasks": [], "completed_tasks": [], "offers": [], "executors": [],
        }])
    );
    assert_eq!(fetch(&rig, "/master/state").await["slaves"], state["slaves"]);
}

#[tokio::test]
async fn agents_and_frameworks_can_be_asked_for_one_by_one() {
    let rig = Rig::with_one_of_each();
    let slaves = fetch(&rig, "/slaves").await;
    assert_eq!(slaves["slaves"][0]["used_resources_full"][0]["name"], "cpus");
    assert_eq!(slaves["slaves"][0]["reserved_resources_full"]["ads"][0]["scalar"]["value"], 2.0);
    assert_eq!(fetch(&rig, "/slaves?slave_id=m-S0").await, slaves);
    assert_eq!(fetch(&rig, "/master/slaves/?slave_id=nope").await["slaves"], json!([]));
    assert_eq!(fetch(&rig, "/frameworks?framework_id=m-0000").await["frameworks"][0]["tasks"], json!([the_task()]));
    assert_eq!(fetch(&rig, "/master/frameworks/?framework_id=nope").await["frameworks"], json!([]));
}

#[tokio::test]
async fn a_task_that_ended_moves_to_the_completed_ones() {
    let rig = Rig::with_one_of_each();
    let row = fixtures::task("m-0000", "t1", "l1", "m-S0");
    rig.apply(vec![put(Row::Task(fixtures::in_state(row, TaskState::Finished, 5_000)))]);
    rig.apply(vec![
        mesos_core::row::RowChange::Delete(mesos_core::row::RowKey::Task("m-0000".into(), "t1".into())),
        mesos_core::row::RowChange::Delete(mesos_core::row::RowKey::Launch("l1".into())),
    ]);
    let framework = &fetch(&rig, "/frameworks?framework_id=m-0000").await["frameworks"][0];
    assert_eq!((&framework["tasks"], &framework["used_resources"]["cpus"]), (&json!([]), &json!(0)));
    let completed = &framework["completed_tasks"][0];
    assert_eq!((&completed["state"], &completed["labels"][0]["key"]), (&json!("TASK_FINISHED"), &json!("team")));
    let states: Vec<_> =
        completed["statuses"].as_array().unwrap().iter().map(|status| status["state"].clone()).collect();
    assert_eq!(states, ["TASK_RUNNING", "TASK_FINISHED"]);
    let metrics = fetch(&rig, "/metrics/snapshot").await;
    assert_eq!((&metrics["master/tasks_finished"], &metrics["master/cpus_used"]), (&json!(1.0), &json!(0.0)));
}

#[tokio::test]
async fn tasks_are_sorted_by_their_first_status_and_paged() {
    let rig = Rig::with_one_of_each();
    for number in 2..=5 {
        let row = fixtures::task("m-0000", &format!("t{number}"), "l", "m-S0");
        rig.apply(vec![put(Row::Task(fixtures::in_state(row, TaskState::Running, 4_000 + number)))]);
    }
    let ids = |answer: Value| -> Vec<String> {
        answer["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(fetch(&rig, "/tasks").await), ["t5", "t4", "t3", "t2", "t1"]);
    assert_eq!(ids(fetch(&rig, "/tasks?order=asc&limit=-1").await), ["t1", "t2", "t3", "t4", "t5"]);
    assert_eq!(ids(fetch(&rig, "/tasks?limit=2&offset=1").await), ["t4", "t3"]);
    assert_eq!(ids(fetch(&rig, "/tasks?framework_id=m-0000&task_id=t3").await), ["t3"]);
    assert_eq!(fetch(&rig, "/master/tasks?task_id=t1").await, json!({"tasks": [the_task()]}));
    for (query, name) in
        [("limit=ten", "limit"), ("offset=-1", "offset"), ("order=up", "order"), ("jsonp=a(b)", "jsonp")]
    {
        let (status, _, body) = get_with(&rig, &format!("/tasks?{query}"), &[]).await;
        assert!(status == 400 && String::from_utf8_lossy(&body).contains(name), "{query}: {body:?}");
    }
}

#[tokio::test]
async fn summaries_roles_and_metrics_are_sums_of_the_same_rows() {
    let rig = Rig::with_one_of_each();
    rig.allocator(|_| Said::ok(AnswerBody::Roles(vec![fixtures::role()]))).await;
    let summary = fetch(&rig, "/state-summary").await;
    assert_eq!(
        (&summary["slaves"][0]["TASK_RUNNING"], &summary["slaves"][0]["framework_ids"]),
        (&json!(1), &json!(["m-0000"]))
    );
    assert_eq!(
        (&summary["frameworks"][0]["TASK_RUNNING"], &summary["frameworks"][0]["slave_ids"]),
        (&json!(1), &json!(["m-S0"]))
    );
    let roles = fetch(&rig, "/master/roles").await;
    let quota = json!({
        "role": "ads", "guarantee": {"cpus": 2}, "limit": {"cpus": 4, "mem": 1024}, "consumed": {"cpus": 1.5},
    });
    let role = &roles["roles"][0];
    assert_eq!((&role["name"], &role["weight"], &role["quota"]), (&json!("ads"), &json!(2.5), &quota));
    assert_eq!(role["frameworks"], json!(["m-0000"]));
    let cpus = |part: &str| role[part]["cpus"].as_f64();
    assert_eq!(
        [cpus("allocated"), cpus("offered"), cpus("resources"), cpus("reserved")],
        [1.0, 0.5, 1.5, 0.5].map(Some)
    );
    let metrics = fetch(&rig, "/metrics/snapshot").await;
    for (name, value) in
        [("tasks_running", 1.0), ("slaves_active", 1.0), ("cpus_total", 10.0), ("cpus_percent", 0.05), ("elected", 1.0)]
    {
        assert_eq!(metrics[format!("master/{name}")], json!(value), "{name}");
    }
}

#[tokio::test]
async fn answers_go_out_as_jsonp_and_compressed() {
    let rig = Rig::with_one_of_each();
    let (_, headers, body) = get_with(&rig, "/state?jsonp=cb", &[]).await;
    assert_eq!(headers[header::CONTENT_TYPE], "text/javascript");
    assert!(body.starts_with(b"cb({") && body.ends_with(b"});"));
    let (_, headers, packed) = get_with(&rig, "/state", &[("accept-encoding", "gzip")]).await;
    assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain).unwrap();
    assert!(serde_json::from_slice::<Value>(&plain).unwrap()["slaves"].is_array());
}

#[tokio::test]
async fn what_needs_no_cluster_is_answered_before_it_is_loaded() {
    let rig = Rig::unloaded();
    for (path, expected) in
        [("/state", 503), ("/tasks", 503), ("/version", 200), ("/flags", 200), ("/master/version", 200)]
    {
        assert_eq!(get_with(&rig, path, &[]).await.0, expected, "{path}");
    }
    let (status, headers, _) = get_with(&rig, "/redirect", &[]).await;
    assert_eq!((status.as_u16(), headers[header::LOCATION].to_str().unwrap()), (307, "//localhost:5050"));
    assert_eq!(fetch(&rig, "/flags").await["flags"]["cluster"], "default");
}

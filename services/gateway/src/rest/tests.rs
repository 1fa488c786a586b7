use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use http::Request;
use http_body_util::BodyExt;
use mesos_core::{
    message::{Answer as Said, FilesAnswer, FilesRequest, ToRegistry},
    row::Row,
};
use mesos_model::envelope;
use mesos_ports::bus::Bus;
use mesos_runtime::shell::kind;
use tower::ServiceExt;

use super::*;
use crate::view::fixtures::{self, Rig, put};

async fn request(rig: &Rig, method: &str, path: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = rig.reads.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn fetch(rig: &Rig, path: &str) -> Value {
    let (status, body) = request(rig, "GET", path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn the_task() -> Value {
    json!({
        "id": "t1", "name": "n", "framework_id": "m-0000", "agent_id": "m-S0", "executor_id": "", "role": "*",
        "state": "TASK_RUNNING", "reason": null, "message": null, "source": "SOURCE_EXECUTOR", "healthy": null,
        "exit_code": null, "resources": {"cpus": 0.5, "mem": 128, "disk": 0, "gpus": 0},
        "created_ms": 3000, "updated_ms": 4000,
        "statuses": [{
            "state": "TASK_RUNNING", "timestamp_ms": 4000, "reason": null, "message": null,
            "source": "SOURCE_EXECUTOR", "exit_code": null,
        }],
        "container": null, "labels": [{"key": "team", "value": "core"}], "trace_id": null,
    })
}

#[tokio::test]
async fn every_resource_has_the_shape_that_the_page_reads() {
    let rig = Rig::with_one_of_each();
    let cluster = fetch(&rig, "/v1/cluster").await;
    assert_eq!(cluster["resources"]["used"], json!({"cpus": 0.5, "mem": 128, "disk": 0, "gpus": 0}));
    assert_eq!(cluster["agents"], json!({"active": 1, "unreachable": 0, "total": 1}));
    assert_eq!(cluster["frameworks"], json!({"active": 1, "total": 1}));
    assert_eq!(cluster["tasks"], json!({"TASK_RUNNING": 1}));
    assert!(cluster["time_ms"].as_u64().unwrap() > 0);

    let agent = &fetch(&rig, "/v1/agents").await["agents"][0];
    assert_eq!((&agent["state"], &agent["tasks"]), (&json!("ACTIVE"), &json!(1)));
    assert_eq!(agent["attributes"], json!({"rack": "r2", "level": "3", "span": "[1-2]"}));
    assert_eq!(agent["total"]["ports"], "[31000-31005, 32000-32001]");

    let framework = &fetch(&rig, "/v1/frameworks").await["frameworks"][0];
    assert_eq!((&framework["name"], &framework["tasks"]), (&json!("web"), &json!({"TASK_RUNNING": 1})));
    assert_eq!((&framework["active"], &framework["capabilities"]), (&json!(true), &json!(["PARTITION_AWARE"])));

    assert_eq!(fetch(&rig, "/v1/tasks?state=TASK_RUNNING").await, json!({"tasks": [the_task()], "total": 1}));
    assert_eq!(fetch(&rig, "/v1/tasks?framework_id=nope").await, json!({"tasks": [], "total": 0}));
    assert_eq!(fetch(&rig, "/v1/tasks?offset=1").await, json!({"tasks": [], "total": 1}));
    assert_eq!(fetch(&rig, "/v1/tasks/m-0000/t1").await, the_task());
}

#[tokio::test]
async fn what_is_wrong_is_said_in_an_error_message() {
    let rig = Rig::with_one_of_each();
    for (path, status, text) in [
        ("/v1/tasks?limit=ten", 400, "limit"),
        ("/v1/tasks?offset=-1", 400, "offset"),
        ("/v1/tasks?state=RUNNING", 400, "TASK_RUNNING"),
        ("/v1/tasks/m-0000/nope", 404, "nope"),
        ("/v1/tasks/m-0000/t1/files/stdout?length=x", 400, "length"),
        ("/v1/tasks/m-0000/t1/files/stdout", 503, "m-S0"),
        ("/v1/nothing", 404, "no such resource"),
    ] {
        let (found, body) = request(&rig, "GET", path).await;
        let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(found == status && message.contains(text), "{path}: {found} {body}");
    }
    assert_eq!(request(&Rig::unloaded(), "GET", "/v1/cluster").await.0, 503);
}

#[tokio::test]
async fn a_kill_goes_to_the_registry_as_an_operators_call() {
    let rig = Rig::with_one_of_each();
    let bus = rig.bus.clone();
    let mut inbox = bus.subscribe(&rig.ports.subjects.service("registry")).await.unwrap();
    let registry = tokio::spawn(async move {
        let mut heard = Vec::new();
        for answer in [Said::accepted(), Said::refused(403, "not yours")] {
            let message = inbox.next().await.unwrap();
            heard.extend(envelope::open::<Vec<ToRegistry>>(kind::REGISTRY, &message.payload).unwrap());
            let payload = envelope::seal(kind::ANSWERS, &vec![answer]).unwrap();
            bus.publish(&message.reply.unwrap(), Vec::new(), payload).await.unwrap();
        }
        heard
    });
    assert_eq!(request(&rig, "DELETE", "/v1/tasks/m-0000/t1").await.0, 202);
    let (status, body) = request(&rig, "DELETE", "/v1/tasks/m-0000/t1").await;
    assert_eq!((status, &body["error"]["message"]), (403, &json!("not yours")));
    let heard = registry.await.unwrap();
    let ToRegistry::Call(call) = &heard[0] else { panic!("a call") };
    let expected = Caller::operator("m-0000".into());
    assert!(
        matches!(&call.what, RegistryCall::Kill { caller, task, .. } if *caller == expected && task.as_str() == "t1")
    );

    let row = fixtures::task("m-0000", "t1", "l1", "m-S0");
    rig.apply(vec![put(Row::Task(fixtures::in_state(row, TaskState::Finished, 5_000)))]);
    assert_eq!(request(&rig, "DELETE", "/v1/tasks/m-0000/t1").await.0, 409);
}

#[tokio::test]
async fn a_file_is_read_whole_even_if_the_agent_gives_it_in_small_parts() {
    let rig = Rig::with_one_of_each();
    let content = "line one\nline two, grüße\n";
    let bus = rig.bus.clone();
    let mut asked = bus.subscribe(&rig.ports.subjects.agent_files("m-S0")).await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let answer = match envelope::open(kind::FILES, &message.payload).unwrap() {
                FilesRequest::Read { path, offset, length, .. } if path == "stdout" => {
                    let from = usize::try_from(offset).unwrap().min(content.len());
                    let to = content.len().min(from + usize::try_from(length).unwrap().min(5));
                    let data = Bytes::from_static(&content.as_bytes()[from..to]);
                    FilesAnswer::Data { offset, data, size: content.len() as u64 }
                }
                _ => FilesAnswer::Error { status: 404, text: "no such file".into() },
            };
            let payload = envelope::seal(kind::FILES_ANSWER, &answer).unwrap();
            bus.publish(&message.reply.unwrap(), Vec::new(), payload).await.unwrap();
        }
    });
    let size = content.len();
    assert_eq!(
        fetch(&rig, "/v1/tasks/m-0000/t1/files/stdout?offset=0&length=100").await,
        json!({"offset": 0, "data": content, "size": size})
    );
    assert_eq!(
        fetch(&rig, "/v1/tasks/m-0000/t1/files/stdout?offset=5&length=8").await,
        json!({"offset": 5, "data": "one\nline", "size": size})
    );
    let past = fetch(&rig, "/v1/tasks/m-0000/t1/files/stdout?offset=100&length=8").await;
    assert_eq!((&past["data"], &past["size"]), (&json!(""), &json!(size)));
    assert_eq!(request(&rig, "GET", "/v1/tasks/m-0000/t1/files/other").await.0, 404);
}

async fn next(text: &mut String, body: &mut axum::body::BodyDataStream) -> (String, Value) {
    loop {
        if let Some((event, rest)) = text.split_once("\n\n") {
            let (name, data) = event.split_once('\n').unwrap();
            let (name, data) = (name.strip_prefix("event: ").unwrap(), data.strip_prefix("data: ").unwrap());
            let found = (name.to_owned(), serde_json::from_str(data).unwrap());
            *text = rest.to_owned();
            return found;
        }
        let wait = tokio::time::timeout(Duration::from_secs(20), body.next());
        let chunk = wait.await.expect("an event comes").expect("the stream is open").unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test]
async fn followers_get_a_snapshot_and_then_what_changed() {
    let rig = Rig::with_one_of_each();
    let get = Request::get("/v1/events").body(Body::empty()).unwrap();
    let response = rig.reads.router().oneshot(get).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut text, mut body) = (String::new(), response.into_body().into_data_stream());
    let (name, snapshot) = next(&mut text, &mut body).await;
    assert_eq!((name.as_str(), &snapshot["tasks"]), ("snapshot", &json!([the_task()])));
    assert_eq!(snapshot["agents"][0]["id"], "m-S0");

    let row = fixtures::task("m-0000", "t1", "l1", "m-S0");
    rig.apply(vec![put(Row::Task(fixtures::in_state(row, TaskState::Finished, 5_000)))]);
    let (name, delta) = next(&mut text, &mut body).await;
    assert_eq!((name.as_str(), &delta["tasks"][0]["state"]), ("delta", &json!("TASK_FINISHED")));
    assert_eq!(delta["cluster"]["tasks"], json!({"TASK_FINISHED": 1}));
    assert_eq!((&delta["agents"][0]["tasks"], &delta["frameworks"][0]["id"]), (&json!(0), &json!("m-0000")));

    let delete = mesos_core::row::RowChange::Delete(mesos_core::row::RowKey::Agent("m-S0".into()));
    rig.apply(vec![delete]);
    let (_, delta) = next(&mut text, &mut body).await;
    assert_eq!((&delta["agents"], &delta["agents_removed"]), (&json!([]), &json!(["m-S0"])));
}

use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use http::Request;
use http_body_util::BodyExt;
use mesos_core::{
    message::{Answer, AnswerBody, OperatorCall},
    row::{AgentState, FrameworkState, Row},
};
use mesos_model::{TaskState, Time};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::view::fixtures::{self, Rig, put};

async fn post(rig: &Rig, headers: &[(&str, &str)], body: impl Into<Body>) -> (StatusCode, String, Bytes) {
    let mut request = Request::post("/api/v1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = rig.reads.router().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
    (status, content_type.unwrap_or_default(), response.into_body().collect().await.unwrap().to_bytes())
}

async fn ask(rig: &Rig, call: Value) -> (StatusCode, Value) {
    let (status, _, body) = post(rig, &[("content-type", JSON)], call.to_string()).await;
    let text = String::from_utf8_lossy(&body).into_owned();
    (status, serde_json::from_slice(&body).unwrap_or(Value::String(text)))
}

#[tokio::test]
async fn checks_come_in_the_order_of_mesos() {
    let rig = Rig::new();
    let good = r#"{"type":"GET_HEALTH"}"#;
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let cases: &[Case<'_>] = &[
        (&[], good, 400, "Content-Type"),
        (&[("content-type", "text/plain")], good, 415, "application/json"),
        (&[("content-type", "application/json; charset=utf-8")], good, 415, "application/json"),
        (&[("content-type", JSON)], "{", 400, "Failed to parse body into JSON"),
        (&[("content-type", JSON)], r#"{"type":{}}"#, 400, "Failed to convert JSON into Call protobuf"),
        (&[("content-type", PROTOBUF)], "\u{7f}garbage", 400, "Failed to parse body into Call protobuf"),
        (&[("content-type", JSON)], "{}", 400, "Failed to validate master::Call"),
        (&[("content-type", JSON)], r#"{"type":"TEARDOWN"}"#, 400, "teardown"),
        (&[("content-type", JSON), ("accept", "text/html")], good, 406, "Accept"),
        (&[("content-type", JSON), ("accept", "text/html")], "{}", 400, "Failed to validate"),
        (&[("content-type", JSON)], r#"{"type":"UNKNOWN"}"#, 501, "UNKNOWN"),
        (&[("content-type", JSON)], good, 200, "GET_HEALTH"),
    ];
    for (headers, body, expected, text) in cases {
        let (status, _, answer) = post(&rig, headers, *body).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!((status.as_u16(), answer.contains(text)), (*expected, true), "{headers:?} {body}: {answer}");
    }
    let get = rig.reads.router().oneshot(Request::get("/master/api/v1").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!((get.status().as_u16(), get.headers()[header::ALLOW].to_str().unwrap()), (405, "POST"));
    let (status, _, answer) = post(&Rig::unloaded(), &[], "").await;
    assert_eq!((status.as_u16(), &answer[..]), (503, &b"Master has not finished recovery"[..]));
}

#[tokio::test]
async fn what_is_not_supported_says_so_by_name_and_everything_else_is_answered() {
    let rig = Rig::with_one_of_each();
    rig.allocator(|call| {
        Answer::ok(match call {
            OperatorCall::GetMaintenance => AnswerBody::Maintenance(Box::default()),
            _ => AnswerBody::Roles(Vec::new()),
        })
    })
    .await;
    for number in 1..=39 {
        let Ok(kind) = Type::try_from(number) else { continue };
        let call = Call { r#type: Some(number), ..Call::default() };
        if validate::master_call(&call).is_err() || kind == Type::Subscribe {
            continue;
        }
        let (status, answer) = ask(&rig, json!({ "type": kind.as_str_name() })).await;
        match unsupported::reason(kind) {
            Some(_) => assert!(status == 501 && answer.to_string().contains(kind.as_str_name()), "{answer}"),
            None => assert_eq!((status.as_u16(), &answer["type"]), (200, &json!(kind.as_str_name()))),
        }
    }
}

#[tokio::test]
async fn the_state_has_every_part_in_json_and_in_protobuf() {
    let rig = Rig::with_one_of_each();
    let (status, answer) = ask(&rig, json!({"type": "GET_STATE"})).await;
    assert_eq!(status, 200);
    let state = &answer["get_state"];
    let task = &state["get_tasks"]["tasks"][0];
    assert_eq!(task["task_id"]["value"], "t1");
    assert_eq!(task["state"], "TASK_RUNNING");
    assert_eq!(task["labels"]["labels"][0], json!({"key": "team", "value": "core"}));
    assert_eq!(
        task["statuses"][0]["container_status"]["network_infos"][0]["ip_addresses"][0]["ip_address"],
        "172.17.0.2"
    );
    assert!(task.get("executor_id").is_none());
    let agent = &state["get_agents"]["agents"][0];
    assert_eq!(agent["agent_info"]["id"]["value"], "m-S0");
    assert_eq!((&agent["active"], &agent["pid"]), (&json!(true), &json!("slave(1)@10.0.0.7:5051")));
    assert_eq!(agent["allocated_resources"][0]["scalar"]["value"], 0.5);
    let framework = &state["get_frameworks"]["frameworks"][0];
    assert_eq!(framework["framework_info"]["webui_url"], "http://web:8080");
    assert_eq!(framework["framework_info"]["id"]["value"], "m-0000");

    let call = Call { r#type: Some(Type::GetState.into()), ..Call::default() };
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let (status, content_type, body) = post(&rig, &headers, call.encode_to_vec()).await;
    assert_eq!((status.as_u16(), content_type.as_str()), (200, PROTOBUF));
    let reply = Reply::decode(body).unwrap();
    assert_eq!(reply.get_state.unwrap().get_tasks.unwrap().tasks[0].task_id.value, "t1");
}

async fn next(records: &mut recordio::Decoder, body: &mut axum::body::BodyDataStream) -> Value {
    loop {
        if let Some(record) = records.next() {
            return serde_json::from_slice(&record.unwrap()).unwrap();
        }
        let wait = tokio::time::timeout(std::time::Duration::from_secs(20), body.next());
        records.push(&wait.await.expect("an event comes").expect("the stream is open").unwrap());
    }
}

#[tokio::test]
async fn subscribers_get_the_state_and_then_every_change_as_an_event() {
    let rig = Rig::new();
    let request =
        Request::post("/api/v1").header("content-type", JSON).body(Body::from(r#"{"type":"SUBSCRIBE"}"#)).unwrap();
    let response = rig.reads.router().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], JSON);
    let mut body = response.into_body().into_data_stream();
    let mut records = recordio::Decoder::new(1 << 20);
    let first = next(&mut records, &mut body).await;
    assert_eq!(
        (&first["type"], &first["subscribed"]["heartbeat_interval_seconds"]),
        (&json!("SUBSCRIBED"), &json!(15.0))
    );
    assert!(first["subscribed"]["get_state"].is_object());

    let running = fixtures::in_state(fixtures::task("f", "t", "l", "a"), TaskState::Running, 5_000);
    let mut away = fixtures::framework("f");
    away.state = FrameworkState::Disconnected { deadline: Time(9) };
    let mut over = fixtures::framework("f");
    over.state = FrameworkState::Removed { since: Time(9) };
    let mut lost = fixtures::agent("a");
    lost.state = AgentState::Unreachable { since: Time(9) };
    let steps = [
        (Row::Agent(fixtures::agent("a")), "AGENT_ADDED", "/agent_added/agent/agent_info/id/value", json!("a")),
        (Row::Framework(fixtures::framework("f")), "FRAMEWORK_ADDED", "/framework_added/framework/active", json!(true)),
        (Row::Task(fixtures::task("f", "t", "l", "a")), "TASK_ADDED", "/task_added/task/state", json!("TASK_STAGING")),
        (Row::Task(running), "TASK_UPDATED", "/task_updated/status/timestamp", json!(5.0)),
        (Row::Framework(away), "FRAMEWORK_UPDATED", "/framework_updated/framework/connected", json!(false)),
        (Row::Agent(lost), "AGENT_REMOVED", "/agent_removed/agent_id/value", json!("a")),
        (Row::Agent(fixtures::agent("a")), "AGENT_ADDED", "/agent_added/agent/active", json!(true)),
        (Row::Framework(over), "FRAMEWORK_REMOVED", "/framework_removed/framework_info/id/value", json!("f")),
    ];
    for (row, kind, pointer, expected) in steps {
        rig.apply(vec![put(row)]);
        let event = next(&mut records, &mut body).await;
        assert_eq!((&event["type"], event.pointer(pointer)), (&json!(kind), Some(&expected)), "{event}");
    }
}

#[tokio::test]
async fn only_the_files_of_tasks_are_there() {
    let rig = Rig::with_one_of_each();
    let list = |path: &str| json!({"type": "LIST_FILES", "list_files": {"path": path}});
    assert_eq!(ask(&rig, list("/master/log")).await.0, 404);
    assert_eq!(ask(&rig, list("/frameworks/m-0000/tasks/nope")).await.0, 404);
    // The agent is not there.
    assert_eq!(ask(&rig, list("/frameworks/m-0000/tasks/t1/")).await.0, 503);
}

fn services(rig: &Rig) -> services::OperatorServices {
    services::OperatorServices::new(rig.reads.clone())
}

#[tokio::test]
async fn grpc_answers_what_http_answers() {
    use mesos_proto::services::v1::{GetStatsRequest, operator_server::Operator, stats_server::Stats};
    let rig = Rig::with_one_of_each();
    let call = |kind: Type| tonic::Request::new(Call { r#type: Some(kind.into()), ..Call::default() });
    let reply = services(&rig).call(call(Type::GetAgents)).await.unwrap().into_inner();
    assert_eq!(reply.get_agents.unwrap().agents[0].agent_info.hostname, "10.0.0.7");
    let refused = services(&rig).call(call(Type::DrainAgent)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let refused = services(&rig).call(call(Type::GetOperations)).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("GET_OPERATIONS")), (tonic::Code::Unimplemented, true));
    let mut events = services(&rig).subscribe(call(Type::Subscribe)).await.unwrap().into_inner();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!(first.subscribed.unwrap().get_state.unwrap().get_tasks.unwrap().tasks.len(), 1);

    let stats = services(&rig).get(tonic::Request::new(GetStatsRequest {})).await.unwrap().into_inner();
    assert_eq!((stats.total.unwrap().cpus, stats.used.unwrap().cpus), (10.0, 0.5));
    assert_eq!((stats.agents_active, stats.frameworks_active, stats.tasks["TASK_RUNNING"]), (1, 1, 1));
}

#[tokio::test]
async fn a_followed_file_ends_with_its_task() {
    use mesos_core::message::{FileEntry, FilesAnswer, FilesRequest};
    use mesos_model::envelope;
    use mesos_ports::bus::Bus;
    use mesos_proto::services::v1::{ListRequest, ReadRequest, files_server::Files};
    use mesos_runtime::shell::kind;
    use std::sync::Mutex;

    let rig = Rig::with_one_of_each();
    let content = Arc::new(Mutex::new(b"one ".to_vec()));
    let (bus, written) = (rig.bus.clone(), content.clone());
    let mut asked = bus.subscribe(&rig.ports.subjects.agent_files("m-S0")).await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let answer = match envelope::open(kind::FILES, &message.payload).unwrap() {
                FilesRequest::Read { offset, length, .. } => {
                    let content = written.lock().unwrap().clone();
                    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                    let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(content.len());
                    let data = Bytes::copy_from_slice(&content[from..to]);
                    FilesAnswer::Data { offset, data, size: content.len() as u64 }
                }
                FilesRequest::List { .. } => {
                    let entry =
                        FileEntry { path: "stdout".into(), size: 4, mtime_ms: 1, mode: 0o100_644, is_dir: false };
                    FilesAnswer::Listing(vec![entry])
                }
            };
            let payload = envelope::seal(kind::FILES_ANSWER, &answer).unwrap();
            bus.publish(&message.reply.unwrap(), Vec::new(), payload).await.unwrap();
        }
    });
    let task_id = Some(v1::TaskId { value: "t1".into() });
    let list = ListRequest { task_id: task_id.clone(), ..ListRequest::default() };
    let listed = services(&rig).list(tonic::Request::new(list)).await.unwrap().into_inner();
    assert_eq!((listed.files[0].path.as_str(), listed.files[0].mtime.unwrap().nanoseconds), ("stdout", 1_000_000));

    let read = |offset, follow| {
        let request =
            ReadRequest { task_id: task_id.clone(), path: "stdout".into(), offset, follow, ..ReadRequest::default() };
        let services = services(&rig);
        async move { services.read(tonic::Request::new(request)).await.unwrap().into_inner() }
    };
    let tail = read(-2, false).await.next().await.unwrap().unwrap();
    assert_eq!((tail.offset, &tail.data[..], tail.eof), (2, &b"e "[..], true));

    let mut followed = read(0, true).await;
    assert_eq!(&followed.next().await.unwrap().unwrap().data[..], b"one ");
    content.lock().unwrap().extend_from_slice(b"two");
    let row = fixtures::task("m-0000", "t1", "l1", "m-S0");
    rig.apply(vec![put(Row::Task(fixtures::in_state(row, TaskState::Finished, 5_000)))]);
    let mut rest = Vec::new();
    while let Some(chunk) = followed.next().await {
        rest.extend_from_slice(&chunk.unwrap().data);
    }
    assert_eq!(rest, b"two");
}

#[tokio::test(start_paused = true)]
async fn the_files_of_a_task_that_another_gateway_knows_already_are_waited_for() {
    use mesos_proto::services::v1::{ReadRequest, files_server::Files};

    let rig = Rig::with_one_of_each();
    let read = |task: &str, agent: Option<&str>| {
        let request = ReadRequest {
            framework_id: Some(v1::FrameworkId { value: "m-0000".into() }),
            task_id: Some(v1::TaskId { value: task.into() }),
            agent_id: agent.map(|agent| v1::AgentId { value: agent.into() }),
            path: "stdout".into(),
            ..ReadRequest::default()
        };
        let services = services(&rig);
        async move { services.read(tonic::Request::new(request)).await.map(drop) }
    };
    let begun = tokio::time::Instant::now();
    // Nobody has seen this one, so there is nothing to wait for.
    assert_eq!(read("later", None).await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let waits = tokio::spawn(read("later", Some("m-S0")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished());
    rig.apply(vec![put(Row::Task(fixtures::task("m-0000", "later", "l2", "m-S0")))]);
    waits.await.unwrap().unwrap();
    // Not for ever.
    assert_eq!(read("never", Some("m-S0")).await.unwrap_err().code(), tonic::Code::NotFound);
}

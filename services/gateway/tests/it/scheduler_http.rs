//! The table of checks and statuses, and the two encodings.

use std::sync::Arc;

use mesos_core::message::{AllocatorCall, Answer, AnswerBody, RegistryCall};
use mesos_proto::{json, prost::Message as _, v1::scheduler};

use crate::harness::{SUBSCRIBE, friendly, options, world, world_with};

const STREAM: &str = "00000000-0000-4000-8000-000000000007";

#[tokio::test]
async fn each_wrong_request_has_its_own_status_and_words() {
    let world = world().await;
    let json = ("Content-Type", "application/json");
    let accept_html = ("Accept", "text/html");
    let stream = ("Mesos-Stream-Id", STREAM);
    let revive = r#"{"type":"REVIVE","framework_id":{"value":"f"}}"#;
    type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str, u16, &'a str);
    let table: Vec<Row> = vec![
        ("GET", vec![json], "", 405, "Expecting one of { 'POST' }, but received 'GET'"),
        ("PUT", vec![], "garbage", 405, "received 'PUT'"),
        ("POST", vec![], revive, 400, "Content-Type"),
        ("POST", vec![("Content-Type", "text/plain")], revive, 415, "application/json"),
        ("POST", vec![("Content-Type", "application/json; charset=utf-8")], revive, 415, "application/json"),
        ("POST", vec![("Content-Type", "APPLICATION/JSON")], revive, 415, "application/json"),
        ("POST", vec![json], "{", 400, "Failed to parse body into JSON: "),
        ("POST", vec![json], "", 400, "Failed to parse body into JSON: "),
        ("POST", vec![json], "[]", 400, "Failed to convert JSON into Call protobuf: "),
        (
            "POST",
            vec![json],
            r#"{"type":"REVIVE","framework_id":5}"#,
            400,
            "Failed to convert JSON into Call protobuf: ",
        ),
        (
            "POST",
            vec![("Content-Type", "application/x-protobuf")],
            "\u{7f}\u{7f}",
            400,
            "Failed to parse body into Call protobuf",
        ),
        ("POST", vec![json], "{}", 400, "Failed to validate scheduler::Call: Expecting 'type' to be present"),
        (
            "POST",
            vec![json],
            r#"{"type":"SUBSCRIBE"}"#,
            400,
            "Failed to validate scheduler::Call: Expecting 'subscribe'",
        ),
        (
            "POST",
            vec![json],
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"n"}}}"#,
            400,
            "framework_info.user",
        ),
        (
            "POST",
            vec![json],
            r#"{"type":"REVIVE"}"#,
            400,
            "Failed to validate scheduler::Call: Expecting 'framework_id'",
        ),
        ("POST", vec![json], r#"{"type":"KILL","framework_id":{"value":"f"}}"#, 400, "Expecting 'kill'"),
        (
            "POST",
            vec![json],
            r#"{"type":"SUBSCRIBE","framework_id":{"value":"a"},"subscribe":{"framework_info":{"user":"u","name":"n","id":{"value":"b"}}}}"#,
            400,
            "Failed to validate scheduler::Call: 'framework_id' differs",
        ),
        (
            "POST",
            vec![json],
            r#"{"type":"ACKNOWLEDGE","framework_id":{"value":"f"},"acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"AAAA"}}"#,
            400,
            "Not a valid UUID",
        ),
        ("POST", vec![json, accept_html], SUBSCRIBE, 406, "Expecting 'Accept'"),
        ("POST", vec![json, stream], SUBSCRIBE, 400, "should not include the 'Mesos-Stream-Id'"),
        ("POST", vec![json, accept_html, stream], revive, 202, ""),
        ("POST", vec![json, stream], r#"{"type":"UNKNOWN","framework_id":{"value":"f"}}"#, 501, ""),
        (
            "POST",
            vec![json, stream],
            r#"{"type":"ACCEPT_INVERSE_OFFERS","framework_id":{"value":"f"},"accept_inverse_offers":{}}"#,
            202,
            "",
        ),
        (
            "POST",
            vec![json, stream],
            r#"{"type":"UPDATE_FRAMEWORK","framework_id":{"value":"f"},"update_framework":{"framework_info":{"user":"u","name":"n","id":{"value":"f"}}}}"#,
            200,
            "",
        ),
    ];
    for path in ["/api/v1/scheduler", "/master/api/v1/scheduler"] {
        for (method, headers, body, status, words) in &table {
            let reply = world.ask(method, path, headers, body.to_string()).await;
            assert_eq!(reply.status(), *status, "{method} {headers:?} {body}: {}", reply.text());
            assert!(reply.text().contains(words), "{method} {headers:?} {body}: {}", reply.text());
            assert_eq!(reply.header("Allow"), (*status == 405).then_some("POST"));
        }
    }
}

#[tokio::test]
async fn the_status_of_what_the_machine_refuses_is_the_machines() {
    for (status, text) in [
        (400, "Framework cannot be found"),
        (403, "Framework is not subscribed"),
        (400, "The stream ID is not the current one"),
        (409, "Framework has been removed"),
    ] {
        let world = world_with(
            options(),
            Arc::new(move |_| Answer::refused(status, text)),
            Arc::new(move |_| Answer::refused(status, text)),
        )
        .await;
        for call in ["REVIVE", "TEARDOWN"] {
            let reply = world.call(&format!(r#"{{"type":"{call}","framework_id":{{"value":"f"}}}}"#), None).await;
            assert_eq!((reply.status(), reply.text().as_str()), (status, text));
        }
        let reply = world.call(r#"{"type":"DECLINE","framework_id":{"value":"f"},"decline":{}}"#, Some(STREAM)).await;
        assert_eq!((reply.status(), reply.text().as_str()), (status, text));
    }
}

#[tokio::test]
async fn a_call_carries_its_stream_id_its_call_id_and_its_gateway_to_the_machine() {
    let world = world().await;
    let call = r#"{"type":"REVIVE","framework_id":{"value":"f"},"revive":{"roles":["a"]},"call_id":"mine"}"#;
    assert_eq!(world.call(call, Some(STREAM)).await.status(), 202);
    assert_eq!(world.call(call, Some("garbage")).await.status(), 202);
    let long = format!(r#"{{"type":"REVIVE","framework_id":{{"value":"f"}},"call_id":"{}"}}"#, "x".repeat(200));
    assert_eq!(world.call(&long, Some(STREAM)).await.status(), 400);
    let asked = world.asked.registry.lock().unwrap();
    let RegistryCall::Revive(caller, roles) = &asked[0].what else { panic!() };
    assert_eq!((asked[0].call.as_str(), caller.stream, roles.len()), ("mine", Some(0x4000_8000_0000_0000_0007), 1));
    let RegistryCall::Revive(caller, _) = &asked[1].what else { panic!() };
    assert_eq!(caller.stream, Some(u128::MAX));
}

#[tokio::test]
async fn a_subscription_is_a_recordio_stream_in_json() {
    let world = world().await;
    let mut client = world.subscribe().await;
    assert_eq!(client.parts.status, 200);
    assert_eq!(client.parts.headers["Content-Type"], "application/json");
    assert_eq!(client.parts.headers["Transfer-Encoding"], "chunked");
    assert_eq!(mesos_model::uuid_parse(&client.stream_id()), Some(world.subscription().1));
    let subscribed = client.json().await;
    assert_eq!(subscribed["type"], "SUBSCRIBED");
    assert_eq!(subscribed["subscribed"]["framework_id"]["value"], "f");
    assert_eq!(subscribed["subscribed"]["heartbeat_interval_seconds"], 15.0);
    assert_eq!(subscribed["subscribed"]["master_info"]["port"], world.address.port());
    assert_eq!(client.json().await["type"], "HEARTBEAT");
}

#[tokio::test]
async fn a_subscription_is_a_recordio_stream_in_protobuf() {
    let world = world().await;
    let body = json::decode_to_bytes("mesos.v1.scheduler.Call", SUBSCRIBE.as_bytes()).unwrap();
    let mut client = world.subscribe_as(body, "application/x-protobuf", "application/x-protobuf").await;
    assert_eq!(client.parts.headers["Content-Type"], "application/x-protobuf");
    let event = scheduler::Event::decode(client.next().await.unwrap()).unwrap();
    assert_eq!(event.subscribed.unwrap().framework_id.value, "f");
    let event = scheduler::Event::decode(client.next().await.unwrap()).unwrap();
    assert_eq!(event.r#type(), scheduler::event::Type::Heartbeat);
}

#[tokio::test]
async fn a_subscription_without_accept_is_answered_in_json() {
    let world = world().await;
    drop(world.subscribe().await);
    let response = world.send("POST", "/api/v1/scheduler", &[("Content-Type", "application/json")], SUBSCRIBE).await;
    assert_eq!(response.headers()["Content-Type"], "application/json");
}

#[tokio::test]
async fn a_refused_subscription_is_a_stream_with_one_error() {
    let refuse = |call: &_| match &(call as &mesos_core::message::Call<RegistryCall>).what {
        RegistryCall::Subscribe { invalid, .. } => {
            let message = invalid.clone().unwrap_or_else(|| "Framework has been removed".to_owned());
            Answer { status: 200, text: String::new(), body: AnswerBody::Refused { message } }
        }
        _ => Answer::accepted(),
    };
    let world = world_with(options(), Arc::new(refuse), Arc::new(|_| Answer::accepted())).await;
    let mut client = world.subscribe().await;
    assert_eq!(client.parts.status, 200);
    let event = client.json().await;
    assert_eq!(
        (event["type"].as_str(), event["error"]["message"].as_str()),
        (Some("ERROR"), Some("Framework has been removed"))
    );
    assert_eq!(client.next().await, None);
    let both = SUBSCRIBE.replace(r#""name":"n""#, r#""name":"n","roles":["a"]"#);
    let mut client = world.subscribe_as(both, "application/json", "application/json").await;
    assert!(client.json().await["error"]["message"].as_str().unwrap().contains("not MULTI_ROLE capable"));
}

#[tokio::test]
async fn an_accept_reaches_the_allocator_with_the_bytes_that_the_client_wrote() {
    let world = world().await;
    let accept = r#"{"type":"ACCEPT","framework_id":{"value":"f"},"accept":{"offer_ids":{"value":"o"},"filters":{"refuse_seconds":"0.5"},
        "operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"a"},
        "resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1},"role":"*"}],
        "command":{"value":"true","shell":"true"}}]}}]}}"#;
    assert_eq!(world.call(accept, Some(STREAM)).await.status(), 202);
    let asked = world.asked.allocator.lock().unwrap();
    let AllocatorCall::Accept { offers, operations, refuse_ms, .. } = &asked[0].what else { panic!() };
    assert_eq!((offers.len(), *refuse_ms), (1, Some(500)));
    let mesos_core::message::OperationKind::Launch(tasks) = &operations[0].kind else { panic!() };
    assert_eq!((tasks[0].invalid.clone(), tasks[0].resources.scalar("cpus")), (None, 100));
    assert_eq!(mesos_proto::v1::TaskInfo::decode(tasks[0].body.clone()).unwrap().command.unwrap().shell, Some(true));
}

#[tokio::test]
async fn f64_a_packed_body_is_unpacked_within_its_bound() {
    use std::io::Write as _;
    let mut options = options();
    options.body_max = 64 * 1024;
    let world = world_with(options, Arc::new(friendly), Arc::new(|_| Answer::accepted())).await;
    let pack = |text: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    };
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    let good = pack(br#"{"type":"REVIVE","framework_id":{"value":"f"}}"#);
    assert_eq!(world.ask("POST", "/api/v1/scheduler", &headers, good).await.status(), 202);
    let bomb = pack(&vec![b' '; 1 << 20]);
    assert_eq!(world.ask("POST", "/api/v1/scheduler", &headers, bomb).await.status(), 413);
    assert_eq!(world.ask("POST", "/api/v1/scheduler", &headers, "no gzip").await.status(), 400);
}

//! The executor API over real connections; the machine behind it is played by each test.

use mesos_core::{agent::ExecutorUpdate, row::FrameworkFacts};
use mesos_model::{Resources, TaskState, uuid_text};
use mesos_proto::{
    prost::Message as _,
    recordio::Decoder,
    v1::{self, executor::event},
};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use tokio_util::sync::CancellationToken;

use super::*;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// The door with its port, and what comes through it.
struct Door {
    executors: Executors,
    events: mpsc::UnboundedReceiver<Event>,
    url: String,
    client: reqwest::Client,
    cancel: CancellationToken,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Door {
    async fn new(change: impl FnOnce(&mut AgentOptions)) -> Door {
        let mut options = AgentOptions { port: 0, ..AgentOptions::new("/nowhere", Resources::new()) };
        change(&mut options);
        let listener = server::bind(&options, 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, events) = mpsc::unbounded_channel();
        let executors = Executors::new(options, port, sender);
        executors.open();
        executors.set_agent("a-S1".into());
        let cancel = CancellationToken::new();
        tokio::spawn(server::serve(listener, executors.clone(), cancel.clone()));
        let url = format!("http://127.0.0.1:{port}/api/v1/executor");
        Door { executors, events, url, client: client(), cancel }
    }

    fn post(&self, content: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client.post(&self.url).header(CONTENT_TYPE, content).body(body)
    }

    /// Status and text of a call in JSON that never reaches the machine.
    async fn refused(&self, body: &str) -> (u16, String) {
        let response = self.post(JSON, body.to_owned()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The next call, which is answered like this.
    async fn take(&mut self, answer: Answer) -> (RequestId, Option<u128>, ExecutorCall) {
        match self.events.recv().await.unwrap() {
            Event::ExecutorCall { request, token, call, framework, executor } => {
                assert_eq!((framework.as_str(), executor.as_str()), ("f", "e"));
                self.executors.answer(request, answer);
                (request, token, call)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn client() -> reqwest::Client {
    // A second installation is refused, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let none: [reqwest::Certificate; 0] = [];
    reqwest::Client::builder().no_proxy().tls_certs_only(none).build().unwrap()
}

fn call(kind: &str, more: &str) -> String {
    format!(r#"{{"type":"{kind}","framework_id":{{"value":"f"}},"executor_id":{{"value":"e"}}{more}}}"#)
}

fn update(more: &str) -> String {
    call(
        "UPDATE",
        &format!(
            r#","update":{{"status":{{"task_id":{{"value":"t"}},"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR",
                "uuid":"AAAAAAAAAAAAAAAAAAAACw=="{more}}}}}"#
        ),
    )
}

#[tokio::test]
async fn an_update_is_answered_once_the_machine_has_taken_it() {
    let mut door = Door::new(|_| {}).await;
    let sent = tokio::spawn(door.post(JSON, update(r#","data":"eA==","message":"m","healthy":true"#)).send());
    let (.., taken) = door.take(Ok(())).await;
    let ExecutorCall::Update(ExecutorUpdate { status, has_container_status: false }) = taken else {
        panic!("{taken:?}")
    };
    assert_eq!((status.uuid, status.state), (Some(11), TaskState::Running));
    assert_eq!((status.message.as_deref(), status.healthy), (Some("m"), Some(true)));
    assert_eq!(v1::TaskStatus::decode(status.body).unwrap().data.as_deref(), Some(&b"x"[..]));
    assert_eq!(sent.await.unwrap().unwrap().status(), 202);
}

#[tokio::test]
async fn a_stream_has_its_events_in_order_in_both_encodings_and_tells_when_it_is_closed() {
    for accept in [JSON, PROTOBUF] {
        let mut door = Door::new(|_| {}).await;
        let text = call(
            "SUBSCRIBE",
            r#","subscribe":{"unacknowledged_tasks":[{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"a"}}],
                "unacknowledged_updates":[{"status":{"task_id":{"value":"t"},"state":"TASK_FAILED",
                "uuid":"AAAAAAAAAAAAAAAAAAAACw=="}}]}"#,
        );
        let sent = tokio::spawn(door.post(JSON, text).header(ACCEPT, accept).send());
        let (stream, _, taken) = door.take(Ok(())).await;
        let ExecutorCall::Subscribe { tasks, updates } = taken else { panic!("{taken:?}") };
        assert_eq!((tasks.len(), updates.len(), updates[0].status.uuid), (1, 1, Some(11)));
        let body = v1::ExecutorInfo { executor_id: v1::ExecutorId { value: "e".into() }, ..Default::default() };
        let task = v1::TaskInfo { name: "named".into(), ..Default::default() }.encode_to_vec();
        let (facts, body) = (FrameworkFacts::default(), body.encode_to_vec().into());
        for event in [
            ExecutorEvent::Subscribed { framework: "f".into(), facts, body, container: "c".into() },
            ExecutorEvent::Launch(task.clone().into()),
            ExecutorEvent::LaunchGroup(vec![task.clone().into(), task.into()]),
            ExecutorEvent::Kill { task: "t".into(), grace_ms: Some(2) },
            ExecutorEvent::Acknowledged { task: "t".into(), uuid: 11 },
            ExecutorEvent::Message(Bytes::from_static(b"x")),
            ExecutorEvent::Shutdown,
        ] {
            door.executors.tell(stream, &event);
        }
        let mut response = sent.await.unwrap().unwrap();
        assert_eq!((response.status().as_u16(), response.headers()[CONTENT_TYPE].to_str().unwrap()), (200, accept));
        let mut records = Decoder::new(1 << 20);
        let mut found: Vec<v1::executor::Event> = Vec::new();
        while found.len() < 7 {
            records.push(&response.chunk().await.unwrap().unwrap());
            while let Some(record) = records.next() {
                let record = record.unwrap();
                found.push(match accept {
                    JSON => mesos_proto::json::decode(&record).unwrap(),
                    _ => v1::executor::Event::decode(record).unwrap(),
                });
            }
        }
        use event::Type;
        let kinds: Vec<Type> = found.iter().map(v1::executor::Event::r#type).collect();
        let expected = [
            Type::Subscribed,
            Type::Launch,
            Type::LaunchGroup,
            Type::Kill,
            Type::Acknowledged,
            Type::Message,
            Type::Shutdown,
        ];
        assert_eq!(kinds, expected);
        let subscribed = found[0].subscribed.clone().unwrap();
        assert_eq!(subscribed.executor_info.executor_id.value, "e");
        assert_eq!(subscribed.agent_info.id.unwrap().value, "a-S1");
        assert_eq!(found[1].launch.as_ref().unwrap().task.name, "named");
        assert_eq!(found[2].launch_group.as_ref().unwrap().task_group.tasks.len(), 2);
        assert_eq!(found[4].acknowledged.as_ref().unwrap().uuid, 11_u128.to_be_bytes()[..]);
        drop(response);
        let closed = door.events.recv().await.unwrap();
        assert!(matches!(closed, Event::ExecutorClosed { stream: of, .. } if of == stream), "{closed:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_replaced_ends() {
    let mut door = Door::new(|_| {}).await;
    let sent = tokio::spawn(door.post(JSON, call("SUBSCRIBE", r#","subscribe":{}"#)).send());
    let (stream, ..) = door.take(Ok(())).await;
    let mut response = sent.await.unwrap().unwrap();
    door.executors.close(stream);
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn the_machines_refusal_is_the_answer() {
    let mut door = Door::new(|_| {}).await;
    for body in [call("SUBSCRIBE", r#","subscribe":{}"#), call("HEARTBEAT", "")] {
        let sent = tokio::spawn(door.post(JSON, body).send());
        door.take(Err((403, "Executor is not subscribed".to_owned()))).await;
        let response = sent.await.unwrap().unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(response.text().await.unwrap(), "Executor is not subscribed");
        if let Ok(event) = door.events.try_recv() {
            assert!(matches!(event, Event::ExecutorClosed { .. }), "{event:?}");
        }
    }
    assert!(lock(&door.executors.shared.streams).is_empty() && lock(&door.executors.shared.calls).is_empty());
}

#[tokio::test]
async fn f70_a_token_is_read_and_may_be_required() {
    let mut door = Door::new(|options| options.authenticate_http_executors = true).await;
    let (status, text) = door.refused(&call("HEARTBEAT", "")).await;
    assert!(status == 401 && text.contains("MESOS_EXECUTOR_AUTHENTICATION_TOKEN"), "{status} {text}");
    for (shown, read) in [(format!("Bearer {}", uuid_text(7)), 7), ("Bearer nonsense".into(), 0), ("Basic x".into(), 0)]
    {
        let request = door.post(JSON, call("HEARTBEAT", "")).header(AUTHORIZATION, shown);
        let sent = tokio::spawn(request.send());
        let (_, token, taken) = door.take(Ok(())).await;
        assert_eq!((token, taken), (Some(read), ExecutorCall::Heartbeat));
        assert_eq!(sent.await.unwrap().unwrap().status(), 202);
    }
}

#[tokio::test]
async fn f63_what_is_no_call_is_refused_with_the_reason() {
    let door = Door::new(|_| {}).await;
    let long = "x".repeat(300);
    for (body, words) in [
        ("{".to_owned(), "Failed to parse body into JSON"),
        ("[]".to_owned(), "JSON"),
        ("[".repeat(100_000), "JSON"),
        (r#"{"type":"HEARTBEAT"}"#.to_owned(), "framework_id"),
        (call("HEARTBEAT", "").replace(r#""value":"f""#, r#""value":"../f""#), "'framework_id' is invalid"),
        (call("HEARTBEAT", "").replace(r#""value":"e""#, r#""value":"""#), "'executor_id' is invalid"),
        (call("HEARTBEAT", "").replace(r#""value":"e""#, &format!(r#""value":"{long}""#)), "'executor_id' is invalid"),
        (call("SUBSCRIBE", ""), "Expecting 'subscribe' to be present"),
        (call("UPDATE", ""), "Expecting 'update' to be present"),
        (call("MESSAGE", ""), "Expecting 'message' to be present"),
        (update("").replace(r#""uuid":"AAAAAAAAAAAAAAAAAAAACw==""#, r#""message":"m""#), "'uuid'"),
        (update("").replace("AAAAAAAAAAAAAAAAAAAACw==", "AAAA"), "Not a valid UUID"),
        (update("").replace("TASK_RUNNING", "TASK_STAGING"), "TASK_STAGING"),
        (update("").replace("TASK_RUNNING", "TASK_DANCING"), "state"),
        (update("").replace("SOURCE_EXECUTOR", "SOURCE_MASTER"), "SOURCE_EXECUTOR"),
        (update(r#","executor_id":{"value":"other"}"#), "does not match ExecutorID in TaskStatus"),
        (update("").replace(r#""value":"t""#, r#""value":"a/b""#), "'task_id' is invalid"),
        (update(&format!(r#","data":"{}""#, "A".repeat(1 << 21))), "bytes; 1048576 are allowed"),
    ] {
        let (status, text) = door.refused(&body).await;
        assert!(status == 400 && text.contains(words), "{words}: {status} {text}");
    }
    assert_eq!(door.refused(&call("UNKNOWN", "")).await.0, 501);
    let bytes = |body: &'static [u8]| door.post(PROTOBUF, body).send();
    for body in [&b"\xff\xff\xff"[..], b"\x0a\x03\x0a\x01", b""] {
        assert_eq!(bytes(body).await.unwrap().status(), 400, "{body:?}");
    }
    // RecordIO is what streams are written in, and not calls.
    let framed = format!("{}\n{}", call("HEARTBEAT", "").len(), call("HEARTBEAT", ""));
    assert_eq!(door.refused(&framed).await.0, 400);
    assert_eq!(door.post("text/plain", "x").send().await.unwrap().status(), 415);
    let body = call("SUBSCRIBE", r#","subscribe":{}"#);
    let response = door.post(JSON, body).header(ACCEPT, "text/html").send().await.unwrap();
    assert_eq!(response.status(), 406);
    assert_eq!(door.client.get(&door.url).send().await.unwrap().status(), 405);
    let elsewhere = door.client.post(door.url.replace("executor", "nothing")).send().await.unwrap();
    assert_eq!(elsewhere.status(), 404);
}

#[tokio::test]
async fn f64_a_body_that_is_too_large_is_not_read() {
    let door = Door::new(|_| {}).await;
    let response = door.post(JSON, vec![b' '; server::BODY_MAX + 1]).send().await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn an_agent_that_does_not_know_yet_what_runs_says_so() {
    let door = Door::new(|_| {}).await;
    door.executors.shared.open.store(false, Ordering::Release);
    let (status, text) = door.refused(&call("SUBSCRIBE", r#","subscribe":{}"#)).await;
    assert_eq!((status, text.as_str()), (503, "Agent has not finished recovery"));
}

#[tokio::test]
async fn an_executor_that_does_not_read_is_cut_off() {
    let mut door = Door::new(|_| {}).await;
    let sent = tokio::spawn(door.post(JSON, call("SUBSCRIBE", r#","subscribe":{}"#)).send());
    let (stream, ..) = door.take(Ok(())).await;
    let response = sent.await.unwrap().unwrap();
    let event = ExecutorEvent::Message(vec![0; 1 << 16].into());
    while lock(&door.executors.shared.streams).contains_key(&stream) {
        door.executors.tell(stream, &event);
    }
    drop(response);
    let closed = door.events.recv().await.unwrap();
    assert!(matches!(closed, Event::ExecutorClosed { .. }), "{closed:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_another_one_or_an_error() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let options =
        |any_port| AgentOptions { port: u32::from(port), any_port, ..AgentOptions::new("/nowhere", Resources::new()) };
    let error = server::bind(&options(false), 0).await.unwrap_err().to_string();
    assert!(error.contains("--port"), "{error}");
    let listener = server::bind(&options(true), u32::from(port)).await.unwrap();
    let other = listener.local_addr().unwrap().port();
    assert_ne!(other, port);
    drop(listener);
    // Executors that run know the port of the agent's last start.
    let again = server::bind(&options(true), u32::from(other)).await.unwrap();
    assert_eq!(again.local_addr().unwrap().port(), other);
}

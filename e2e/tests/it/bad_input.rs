//! The issue's list of bad input, against the real thing: each gets Mesos's own answer, nothing panics,
//! nothing leaks, and others notice nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::scheduler::{Caller, framework_info, ids};
use mesos_e2e::{Cluster, Framework, Scheduler, TaskSpec, eventually, host, http};
use mesos_proto::prost::Message;
use mesos_proto::v1;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{ROOMY, SOON, framework};

/// Growth that is no leak: buffers of the HTTP server and the allocator's slack.
const GROWTH_KB: u64 = 16 * 1024;

/// A request to the scheduler API as it is written.
struct Request {
    what: &'static str,
    content: Option<&'static str>,
    accept: &'static str,
    stream: Option<String>,
    body: Vec<u8>,
    status: u16,
    words: &'static str,
}

impl Request {
    fn json(what: &'static str, body: impl Into<Vec<u8>>, status: u16, words: &'static str) -> Self {
        let (content, accept) = (Some("application/json"), "application/json");
        Self { what, content, accept, stream: None, body: body.into(), status, words }
    }

    fn content(mut self, content: Option<&'static str>) -> Self {
        self.content = content;
        self
    }

    fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    fn stream(mut self, stream: &str) -> Self {
        self.stream = Some(stream.to_owned());
        self
    }

    async fn send(&self, url: &str) -> Result<(u16, String)> {
        let mut request = http()
            .post(format!("{url}/api/v1/scheduler"))
            .header("Accept", self.accept)
            .body(self.body.clone())
            .timeout(SOON);
        if let Some(content) = self.content {
            request = request.header("Content-Type", content);
        }
        if let Some(stream) = &self.stream {
            request = request.header("Mesos-Stream-Id", stream);
        }
        let answer = request.send().await.with_context(|| self.what.to_owned())?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.with_context(|| self.what.to_owned())?))
    }

    async fn check(&self, url: &str) -> Result<()> {
        let (status, text) = self.send(url).await?;
        ensure!(
            status == self.status && text.contains(self.words),
            "{}: expected {} with {:?}, got {status}: {text}",
            self.what,
            self.status,
            self.words
        );
        Ok(())
    }
}

/// Requests that never become calls, or calls that nobody may make.
fn requests(caller: &Caller) -> Vec<Request> {
    let of = |call: Value| {
        let mut call = call;
        call["framework_id"] = json!({"value": caller.framework_id});
        call.to_string()
    };
    let subscribe = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework_info("x", 0.0)}}).to_string();
    let valid = "Failed to validate scheduler::Call";
    let revive = of(json!({"type": "REVIVE"}));
    let bad_uuid = json!({"agent_id": {"value": "a"}, "task_id": {"value": "t"}, "uuid": "AAAA"});
    let stranger = json!({"type": "REVIVE", "framework_id": {"value": "nobody"}}).to_string();
    let mut two_ids = json!({"type": "SUBSCRIBE", "framework_id": {"value": "one"}, "subscribe": {"framework_info": framework_info("x", 0.0)}});
    two_ids["subscribe"]["framework_info"]["id"] = json!({"value": "two"});
    let deep = format!("{}{}", "{\"a\":[".repeat(5_000), "]}".repeat(5_000));
    vec![
        Request::json("no content type", "{}", 400, "Content-Type").content(None),
        Request::json("another content type", "{}", 415, "").content(Some("text/plain")),
        Request::json("a content type with a parameter", "{}", 415, "")
            .content(Some("application/json; charset=utf-8")),
        Request::json("no body", "", 400, "Failed to parse body into JSON"),
        Request::json("no JSON", "{not json", 400, "Failed to parse body into JSON"),
        Request::json("half a JSON", r#"{"type":"SUBSC"#, 400, "Failed to parse body into JSON"),
        Request::json("a list", "[]", 400, ""),
        Request::json("a number", "7", 400, ""),
        Request::json("not UTF-8", b"{\"type\":\"\xff\xfe\"}".to_vec(), 400, ""),
        Request::json("very deep", deep, 400, ""),
        Request::json("records in place of JSON", format!("{}\n{revive}", revive.len()), 400, "")
            .stream(&caller.stream_id),
        Request::json("no protobuf", b"\xff\xff\xff\xff".to_vec(), 400, "").content(Some("application/x-protobuf")),
        Request::json("half a protobuf", b"\x12\x7f\x01".to_vec(), 400, "").content(Some("application/x-protobuf")),
        Request::json("JSON as protobuf", "{}", 400, "").content(Some("application/x-protobuf")),
        Request::json("no type", "{}", 400, valid),
        Request::json("an unknown type", r#"{"type":"DANCE"}"#, 400, valid),
        Request::json("a type that is no text", r#"{"type":{"a":1}}"#, 400, ""),
        Request::json("SUBSCRIBE without its part", r#"{"type":"SUBSCRIBE"}"#, 400, valid),
        Request::json(
            "SUBSCRIBE without user",
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"x"}}}"#,
            400,
            "",
        ),
        Request::json("SUBSCRIBE with two ids", two_ids.to_string(), 400, valid),
        Request::json("SUBSCRIBE with a stream", subscribe.clone(), 400, "").stream(&caller.stream_id),
        Request::json("SUBSCRIBE for a browser", subscribe, 406, "").accept("text/html"),
        Request::json("a call without framework", r#"{"type":"REVIVE"}"#, 400, valid).stream(&caller.stream_id),
        Request::json("a framework that nobody knows", stranger, 400, "Framework cannot be found")
            .stream(&caller.stream_id),
        Request::json("a call without stream", revive.clone(), 400, "Mesos-Stream-Id"),
        Request::json("a stream that is no UUID", revive.clone(), 400, "").stream("garbage"),
        Request::json("another stream", revive, 400, "").stream("11111111-2222-4333-8444-555555555555"),
        Request::json("ACCEPT without its part", of(json!({"type": "ACCEPT"})), 400, valid).stream(&caller.stream_id),
        Request::json("KILL without task", of(json!({"type": "KILL", "kill": {}})), 400, "").stream(&caller.stream_id),
        Request::json(
            "ACKNOWLEDGE with a short uuid",
            of(json!({"type": "ACKNOWLEDGE", "acknowledge": bad_uuid})),
            400,
            valid,
        )
        .stream(&caller.stream_id),
        Request::json("type UNKNOWN", of(json!({"type": "UNKNOWN"})), 501, "").stream(&caller.stream_id),
        Request::json("more than a body may hold", vec![b' '; 9 << 20], 413, ""),
    ]
}

/// Another framework, with a task that must not notice anything.
struct Bystander {
    framework: Framework,
    launched: usize,
}

impl Bystander {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let framework = framework(cluster, "bystander").await?;
        framework.launch([TaskSpec::shell("calm", "exec sleep 10000")]);
        framework.wait_for("calm", "TASK_RUNNING", SOON).await?;
        Ok(Self { framework, launched: 0 })
    }

    /// Fails if it was disturbed; launches a task to see that it is served.
    async fn is_calm(&mut self) -> Result<()> {
        let id = format!("next-{}", self.launched);
        self.launched += 1;
        self.framework.launch([TaskSpec::shell(&id, "true")]);
        self.framework.wait_for(&id, "TASK_FINISHED", SOON).await?;
        let calm = self.framework.task("calm").context("unknown")?;
        ensure!(
            calm.state() == "TASK_RUNNING" && calm.statuses.iter().all(|status| !status["uuid"].is_null()),
            "{calm:?}"
        );
        let (subscriptions, errors) = self.framework.history();
        ensure!(subscriptions == 1 && errors.is_empty(), "{subscriptions} subscriptions, {errors:?}");
        Ok(())
    }
}

async fn cluster_that_logs() -> Result<Cluster> {
    Cluster::builder()
        .agents(1)
        .arg("local", &format!("--resources={ROOMY}"))
        .arg("local", "--log-level=info")
        .start_local()
        .await
}

#[tokio::test]
async fn each_bad_request_gets_the_answer_of_mesos() -> Result<()> {
    let cluster = cluster_that_logs().await?;
    let mut bystander = Bystander::start(&cluster).await?;
    let scheduler = Scheduler::subscribe(&cluster.gateway(0), &framework_info("bad", 0.0)).await?;
    let url = cluster.gateway(0);
    let mut wrong = Vec::new();
    for request in requests(scheduler.caller()) {
        if let Err(error) = request.check(&url).await {
            wrong.push(format!("{error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let answer = http().get(format!("{url}/api/v1/scheduler")).send().await?;
    ensure!(answer.status() == 405 && answer.headers().get("allow").is_some_and(|allow| allow == "POST"), "{answer:?}");
    // The one who called wrongly is still subscribed.
    scheduler.caller().call("REVIVE", Value::Null).await?;
    drop(scheduler);
    bystander.is_calm().await?;
    cluster.finish()
}

#[tokio::test]
async fn bytes_that_are_no_http_end_their_own_connection_only() -> Result<()> {
    let cluster = cluster_that_logs().await?;
    let mut bystander = Bystander::start(&cluster).await?;
    for bytes in [
        &b"GARBAGE\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\n\0\0\0\0\r\n\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(cluster.gateway_address(0)).await?;
        // It may be closed before all is written.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
        ensure!(ended.is_ok(), "the connection stays open after {:?}", String::from_utf8_lossy(bytes));
    }
    bystander.is_calm().await?;
    cluster.finish()
}

#[tokio::test]
async fn bad_operator_calls_and_paths_are_refused() -> Result<()> {
    let cluster = cluster_that_logs().await?;
    let url = cluster.gateway(0);
    for (what, body, statuses) in [
        ("no JSON", "{", &[400][..]),
        ("no type", "{}", &[400]),
        ("an unknown type", r#"{"type":"DANCE"}"#, &[400]),
        ("type UNKNOWN", r#"{"type":"UNKNOWN"}"#, &[501]),
        ("a later version's call", r#"{"type":"GET_QUOTA"}"#, &[200, 501]),
    ] {
        let answer = http()
            .post(format!("{url}/api/v1"))
            .header("Content-Type", "application/json")
            .body(body)
            .timeout(SOON)
            .send()
            .await?;
        let status = answer.status().as_u16();
        ensure!(statuses.contains(&status), "{what}: {status}: {}", answer.text().await?);
    }
    for (path, status) in [
        ("/tasks?limit=many", 400),
        ("/v1/tasks?state=TASK_HAPPY", 400),
        ("/v1/tasks?limit=-1", 400),
        ("/nothing/here", 404),
        ("/state.json", 404),
        ("/v1/nothing", 404),
        ("/v1/tasks/a/b", 404),
        ("/v1/tasks/a/b/files/stdout", 404),
    ] {
        let answer = http().get(format!("{url}{path}")).timeout(SOON).send().await?;
        ensure!(answer.status() == status, "{path}: {}", answer.status());
    }
    cluster.finish()
}

#[tokio::test]
async fn a_subscription_that_cannot_be_gets_one_error_event() -> Result<()> {
    let cluster = cluster_that_logs().await?;
    let mut bystander = Bystander::start(&cluster).await?;
    let url = cluster.gateway(0);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut info = framework_info("refused", 0.0);
        change(&mut info);
        info
    };
    let cases = [
        ("a role with a slash first", with(&|info| info["roles"] = json!(["/a"]))),
        ("a role ..", with(&|info| info["roles"] = json!([".."]))),
        ("a role with a space", with(&|info| info["roles"] = json!(["a b"]))),
        ("a role twice", with(&|info| info["roles"] = json!(["a", "a"]))),
        ("role and roles", with(&|info| info["role"] = json!("a"))),
        ("a negative failover timeout", with(&|info| info["failover_timeout"] = json!(-1.0))),
        ("an endless failover timeout", with(&|info| info["failover_timeout"] = json!("Infinity"))),
        ("a huge failover timeout", with(&|info| info["failover_timeout"] = json!(1e300))),
        ("an id with a slash", with(&|info| info["id"] = json!({"value": "a/b"}))),
        ("an id with NUL", with(&|info| info["id"] = json!({"value": "a\u{0}b"}))),
    ];
    let mut wrong = Vec::new();
    for (what, info) in cases {
        let answer = Scheduler::subscribe(&url, &info).await;
        let told = answer.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
        // ERROR is the first event, or the call is refused as a whole.
        if !(told.contains("\"ERROR\"") || told.contains("400")) {
            wrong.push(format!("{what}: {:?} {told}", answer.map(|scheduler| scheduler.subscribed().clone()).ok()));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    bystander.is_calm().await?;
    cluster.finish()
}

/// A scheduler that makes mistakes with its offers. It holds what it was offered until it is dropped.
struct Clumsy {
    scheduler: Scheduler,
    caller: Caller,
}

impl Clumsy {
    async fn start(cluster: &Cluster) -> Result<Self> {
        let scheduler = Scheduler::subscribe(&cluster.gateway(0), &framework_info("clumsy", 0.0)).await?;
        let caller = scheduler.caller().clone();
        Ok(Self { scheduler, caller })
    }

    /// Asks for offers and takes the first one: its id and its agent's.
    async fn offer(&mut self) -> Result<(String, String)> {
        self.caller.call("REVIVE", Value::Null).await?;
        let offers = self.scheduler.wait_for(SOON, "OFFERS").await?;
        let offer = &offers["offers"]["offers"][0];
        let text = |value: &Value| value["value"].as_str().map(str::to_owned).context("no id");
        Ok((text(&offer["id"])?, text(&offer["agent_id"])?))
    }

    /// Launches a task on offers; whatever is left of them is wanted back at once.
    async fn accept(&self, offers: &[&str], task: &Value) -> Result<()> {
        let operation = json!({"type": "LAUNCH", "launch": {"task_infos": [task]}});
        let body = json!({"offer_ids": ids(offers), "operations": [operation], "filters": {"refuse_seconds": 0.0}});
        let (status, text) = self.caller.send("ACCEPT", body).await?;
        if !matches!(status.as_u16(), 202 | 400) {
            bail!("ACCEPT of {task}: {status}: {text}");
        }
        if status == 400 {
            bail!("400: {text}");
        }
        Ok(())
    }

    /// The next update of a task, acknowledged.
    async fn update(&mut self, task: &str) -> Result<Value> {
        loop {
            let status = self.scheduler.wait_for(SOON, "UPDATE").await?["update"]["status"].clone();
            self.caller.acknowledge(&status).await?;
            if status["task_id"]["value"] == task {
                return Ok(status);
            }
        }
    }

    /// Waits until a task has ended.
    async fn end(&mut self, task: &str) -> Result<Value> {
        loop {
            let status = self.update(task).await?;
            if !matches!(
                status["state"].as_str(),
                Some("TASK_STARTING" | "TASK_RUNNING" | "TASK_STAGING" | "TASK_KILLING")
            ) {
                return Ok(status);
            }
        }
    }
}

fn master_said(status: &Value, state: &str, reason: &str) -> Result<()> {
    ensure!(
        status["state"] == state
            && status["reason"] == reason
            && status["source"] == "SOURCE_MASTER"
            && status["uuid"].is_null()
            && status["message"].as_str().is_some_and(|message| !message.is_empty()),
        "expected {state} because of {reason}: {status}"
    );
    Ok(())
}

#[tokio::test]
async fn offers_that_are_not_the_callers_drop_its_tasks() -> Result<()> {
    let cluster = cluster_that_logs().await?;
    let mut bystander = Bystander::start(&cluster).await?;
    let mut clumsy = Clumsy::start(&cluster).await?;
    let dropped = |status: Value| master_said(&status, "TASK_DROPPED", "REASON_INVALID_OFFERS");

    let (offer, agent) = clumsy.offer().await?;
    let task = |id: &str| TaskSpec::shell(id, "true").task_info(&agent);
    clumsy.accept(&["no-such-offer"], &task("unknown")).await?;
    dropped(clumsy.update("unknown").await?)?;
    clumsy.accept(&[&offer, &offer], &task("twice-in-one")).await?;
    dropped(clumsy.update("twice-in-one").await?)?;
    // That one was taken back whole, so another one comes; it is accepted twice.
    let (offer, _) = clumsy.offer().await?;
    clumsy.accept(&[&offer], &task("first")).await?;
    clumsy.accept(&[&offer], &task("second")).await?;
    dropped(clumsy.update("second").await?)?;
    let status = clumsy.end("first").await;
    // The updates of both come in any order; the first one's may have been passed over above.
    if let Ok(status) = status {
        ensure!(status["state"] == "TASK_FINISHED", "{status}");
    }
    // One good offer does not save a call with a bad one.
    let (offer, _) = clumsy.offer().await?;
    clumsy.accept(&[&offer, "no-such-offer"], &task("half")).await?;
    dropped(clumsy.update("half").await?)?;
    // Nobody was told to decline what does not exist.
    clumsy.caller.decline(&["no-such-offer"], 1.0).await?;
    ensure!(cluster.log("local-0")?.contains("no-such-offer"), "the log does not say which offer");
    drop(clumsy);
    bystander.is_calm().await?;
    cluster.finish()
}

#[tokio::test]
async fn tasks_that_cannot_be_are_errors_and_take_nothing() -> Result<()> {
    let cluster = cluster_that_logs().await?;
    let mut bystander = Bystander::start(&cluster).await?;
    let mut clumsy = Clumsy::start(&cluster).await?;
    let (offer, agent) = clumsy.offer().await?;
    clumsy.caller.decline(&[&offer], 0.0).await?;
    let with = |id: &str, change: &dyn Fn(&mut Value)| {
        let mut info = TaskSpec::shell(id, "true").task_info(&agent);
        change(&mut info);
        info
    };
    let amount = |info: &mut Value, value: Value| info["resources"][0]["scalar"]["value"] = value;
    let long = "x".repeat(300);
    let cases = [
        with("more-than-offered", &|info| amount(info, json!(1000.0))),
        with("negative", &|info| amount(info, json!(-1.0))),
        with("huge", &|info| amount(info, json!(1e300))),
        with("endless", &|info| amount(info, json!("Infinity"))),
        with("no-number", &|info| amount(info, json!("NaN"))),
        with("not-offered", &|info| info["resources"][0]["name"] = json!("unicorns")),
        with("no-name", &|info| info["resources"][0]["name"] = json!("")),
        with("ranges-as-scalar", &|info| {
            info["resources"][0] = json!({"name": "ports", "type": "SCALAR", "scalar": {"value": 1}})
        }),
        with("backward-range", &|info| {
            info["resources"][0] =
                json!({"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31010, "end": 31000}]}});
        }),
        with("another-agent", &|info| info["agent_id"] = json!({"value": "no-such-agent"})),
        with("nothing-to-do", &|info| info["command"] = Value::Null),
        with("both", &|info| {
            info["executor"] = json!({"executor_id": {"value": "e"}, "type": "CUSTOM", "command": {"value": "true"}});
        }),
        with("a/b", &|_| {}),
        with("a\\b", &|_| {}),
        with("a\u{0}b", &|_| {}),
        with("line\nbreak", &|_| {}),
        with(".", &|_| {}),
        with("..", &|_| {}),
        with(&long, &|_| {}),
        with("", &|_| {}),
    ];
    let mut wrong = Vec::new();
    for task in cases {
        let id = task["task_id"]["value"].as_str().unwrap_or_default().to_owned();
        let (offer, _) = clumsy.offer().await?;
        let told = match clumsy.accept(&[&offer], &task).await {
            Ok(()) => {
                clumsy.update(&id).await.and_then(|status| master_said(&status, "TASK_ERROR", "REASON_TASK_INVALID"))
            }
            // A number that no protobuf has is refused with the whole call.
            Err(error) if id == "no-number" && error.to_string().starts_with("400") => {
                clumsy.caller.decline(&[&offer], 0.0).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            wrong.push(format!("{id:?}: {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What looks strange but is allowed runs.
    for id in ["a b", "a*b", "a.b", ".hidden", "täsk", "x>y", "'quoted'", "$HOME"] {
        let (offer, agent) = clumsy.offer().await?;
        clumsy.accept(&[&offer], &TaskSpec::shell(id, "true").task_info(&agent)).await?;
        let status = clumsy.end(id).await.with_context(|| id.to_owned())?;
        ensure!(status["state"] == "TASK_FINISHED", "{status}");
    }
    // An id in use is an error, and the one that runs goes on.
    let (offer, agent) = clumsy.offer().await?;
    clumsy.accept(&[&offer], &TaskSpec::shell("taken", "exec sleep 1000").task_info(&agent)).await?;
    while clumsy.update("taken").await?["state"] != "TASK_RUNNING" {}
    let (offer, agent) = clumsy.offer().await?;
    clumsy.accept(&[&offer], &TaskSpec::shell("taken", "true").task_info(&agent)).await?;
    master_said(&clumsy.update("taken").await?, "TASK_ERROR", "REASON_TASK_INVALID")?;
    clumsy.caller.call("RECONCILE", json!({"tasks": [{"task_id": {"value": "taken"}}]})).await?;
    ensure!(clumsy.update("taken").await?["state"] == "TASK_RUNNING", "the first one is gone");
    clumsy.caller.kill("taken").await?;
    ensure!(clumsy.end("taken").await?["state"] == "TASK_KILLED", "not killed");
    drop(clumsy);
    bystander.is_calm().await?;
    // Nothing of it is held: only the bystander's task is.
    eventually(SOON, "only one task holds something", async || {
        let seen = cluster.get(0, "/v1/cluster").await?;
        if seen["resources"]["used"]["cpus"] == 0.1 {
            return Ok(true);
        }
        bail!("{}", seen["resources"])
    })
    .await?;
    cluster.finish()
}

#[tokio::test]
async fn amounts_that_only_protobuf_can_carry_are_refused_too() -> Result<()> {
    let cluster = cluster_that_logs().await?;
    let mut bystander = Bystander::start(&cluster).await?;
    let mut clumsy = Clumsy::start(&cluster).await?;
    for (number, value) in
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, -0.0, f64::MAX].into_iter().enumerate()
    {
        let (offer, agent) = clumsy.offer().await?;
        let id = format!("odd-{number}");
        let task = v1::TaskInfo {
            name: id.clone(),
            task_id: v1::TaskId { value: id.clone() },
            agent_id: v1::AgentId { value: agent },
            command: Some(v1::CommandInfo { value: Some("true".to_owned()), ..v1::CommandInfo::default() }),
            resources: vec![v1::Resource {
                name: "cpus".to_owned(),
                r#type: v1::value::Type::Scalar.into(),
                scalar: Some(v1::value::Scalar { value }),
                ..v1::Resource::default()
            }],
            ..v1::TaskInfo::default()
        };
        let launch = v1::offer::operation::Launch { task_infos: vec![task] };
        let operation = v1::offer::Operation {
            r#type: Some(v1::offer::operation::Type::Launch.into()),
            launch: Some(launch),
            ..v1::offer::Operation::default()
        };
        let call = v1::scheduler::Call {
            framework_id: Some(v1::FrameworkId { value: clumsy.caller.framework_id.clone() }),
            r#type: Some(v1::scheduler::call::Type::Accept.into()),
            accept: Some(v1::scheduler::call::Accept {
                offer_ids: vec![v1::OfferId { value: offer.clone() }],
                operations: vec![operation],
                filters: Some(v1::Filters { refuse_seconds: Some(f64::NAN) }),
            }),
            ..v1::scheduler::Call::default()
        };
        let answer = http()
            .post(format!("{}/api/v1/scheduler", cluster.gateway(0)))
            .header("Content-Type", "application/x-protobuf")
            .header("Mesos-Stream-Id", &clumsy.caller.stream_id)
            .body(call.encode_to_vec())
            .timeout(SOON)
            .send()
            .await?;
        if answer.status() == 202 {
            let status = clumsy.update(&id).await.with_context(|| value.to_string())?;
            master_said(&status, "TASK_ERROR", "REASON_TASK_INVALID").with_context(|| value.to_string())?;
        } else {
            ensure!(answer.status() == 400, "{value}: {}", answer.status());
            clumsy.caller.decline(&[&offer], 0.0).await?;
        }
    }
    drop(clumsy);
    bystander.is_calm().await?;
    cluster.finish()
}

#[tokio::test]
async fn operations_of_later_versions_are_answered_with_an_error() -> Result<()> {
    let cluster = cluster_that_logs().await?;
    let mut clumsy = Clumsy::start(&cluster).await?;
    let (offer, _) = clumsy.offer().await?;
    let operation = json!({
        "type": "RESERVE", "id": {"value": "my-operation"},
        "reserve": {"resources": [{
            "name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0},
            "reservations": [{"type": "DYNAMIC", "role": "*"}],
        }]},
    });
    clumsy
        .caller
        .call(
            "ACCEPT",
            json!({"offer_ids": ids(&[&offer]), "operations": [operation], "filters": {"refuse_seconds": 0.0}}),
        )
        .await?;
    let event = clumsy.scheduler.wait_for(SOON, "UPDATE_OPERATION_STATUS").await?;
    let status = &event["update_operation_status"]["status"];
    ensure!(status["state"] == "OPERATION_ERROR" && status["operation_id"]["value"] == "my-operation", "{event}");
    ensure!(status["message"].as_str().is_some_and(|message| !message.is_empty()), "{event}");
    cluster.finish()
}

#[tokio::test]
async fn a_thousand_bad_calls_leave_nothing_behind() -> Result<()> {
    let cluster = cluster_that_logs().await?;
    let mut bystander = Bystander::start(&cluster).await?;
    let scheduler = Scheduler::subscribe(&cluster.gateway(0), &framework_info("bad", 0.0)).await?;
    let caller = scheduler.caller().clone();
    let url = cluster.gateway(0);
    // The large body only makes the machine's buffers large; one of it is tried above.
    let all: Vec<Request> = requests(&caller).into_iter().filter(|request| request.body.len() < 1 << 20).collect();
    let agent = cluster.get(0, "/slaves").await?["slaves"][0]["id"].as_str().context("no agent")?.to_owned();
    let bad = async |count: usize| -> Result<()> {
        for number in 0..count {
            match number % 4 {
                0 => {
                    let task = TaskSpec::shell(&format!("never-{number}"), "true").task_info(&agent);
                    caller.launch(&["no-such-offer"], vec![task]).await?;
                }
                1 => caller.kill(&format!("no-such-task-{number}")).await?,
                _ => {
                    all[number % all.len()].send(&url).await?;
                }
            }
        }
        Ok(())
    };
    let pid = cluster.pid("local-0")?;
    // The first ones fill caches and buffers.
    bad(500).await?;
    let before = host::resident_kb(pid)?;
    bad(1000).await?;
    let mut after = 0;
    // Memory is given back some moments later.
    let calm = eventually(Duration::from_secs(10), "memory is given back", async || {
        after = host::resident_kb(pid)?;
        Ok(after < before + GROWTH_KB)
    })
    .await;
    println!("{before} kB before, {after} kB after 1,000 bad calls");
    calm.with_context(|| format!("{before} kB before, {after} kB after"))?;
    drop(scheduler);
    bystander.is_calm().await?;
    let (status, text) = crate::support::get(&cluster, "/health").await?;
    ensure!(status == 200, "{status}: {text}");
    cluster.finish()
}

use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use mesos_core::{
    message::Answer,
    row::{AgentState, Row},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::view::fixtures::{self, Rig, put};

type Asked = Arc<Mutex<Vec<OperatorCall>>>;

/// A gateway before an allocator that takes everything, and what that was asked.
async fn stage() -> (Rig, Asked) {
    let rig = Rig::with_one_of_each();
    let asked = Asked::default();
    let noted = asked.clone();
    rig.allocator(move |call| {
        noted.lock().unwrap().push(call.clone());
        match call {
            OperatorCall::GetMaintenance => Answer::ok(AnswerBody::Maintenance(Box::new(planned()))),
            OperatorCall::MarkGone(_) => Answer::refused(404, "Agent 'x' is not known"),
            _ => Answer::ok(AnswerBody::None),
        }
    })
    .await;
    (rig, asked)
}

fn host(name: &str) -> MachineId {
    MachineId { hostname: name.into(), ip: String::new() }
}

fn planned() -> MaintenanceView {
    let answer = |accepted| InverseAnswer { framework: "f".into(), accepted, time: Time(2_000) };
    MaintenanceView {
        windows: vec![Window {
            machines: vec![host("a"), MachineId { hostname: "b".into(), ip: "10.0.0.2".into() }],
            unavailability: Unavailability { start_ns: 5, duration_ns: Some(7) },
        }],
        draining: vec![(host("a"), vec![answer(Some(true)), answer(Some(false)), answer(None)])],
        down: vec![MachineId { hostname: "b".into(), ip: "10.0.0.2".into() }],
    }
}

async fn send(rig: &Rig, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = rig.reads.router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    (status, serde_json::from_slice(&body).unwrap_or(Value::String(text)))
}

fn schedule_json() -> Value {
    json!({"windows": [{
        "machine_ids": [{"hostname": "a"}, {"hostname": "b", "ip": "10.0.0.2"}],
        "unavailability": {"start": {"nanoseconds": 5}, "duration": {"nanoseconds": 7}},
    }]})
}

#[tokio::test]
async fn every_way_to_ask_ends_in_the_same_call() {
    let (rig, asked) = stage().await;
    let agent = json!({"agent_id": {"value": "m-S0"}});
    let drain = json!({"agent_id": {"value": "m-S0"}, "max_grace_period": {"seconds": 90}, "mark_gone": true});
    let machines = json!({"machines": [{"hostname": "a"}]});
    let call = |kind: &str, field: &str, body: &Value| json!({"type": kind, field: body}).to_string();
    let drained = OperatorCall::Drain { agent: "m-S0".into(), max_grace_ms: Some(90_000), mark_gone: true };
    let plain = OperatorCall::Drain { agent: "m-S0".into(), max_grace_ms: None, mark_gone: false };
    let scheduled = OperatorCall::SetSchedule(planned().windows);
    let (started, stopped) =
        (OperatorCall::StartMaintenance(vec![host("a")]), OperatorCall::StopMaintenance(vec![host("a")]));
    for (method, path, body, expected) in [
        ("POST", "/api/v1", call("DRAIN_AGENT", "drain_agent", &drain), drained.clone()),
        ("POST", "/v1/agents/m-S0/drain", r#"{"max_grace_period":"90s","mark_gone":true}"#.into(), drained.clone()),
        ("POST", "/v1/agents/m-S0/drain", r#"{"max_grace_period":"1.5mins","mark_gone":true}"#.into(), drained),
        ("POST", "/v1/agents/m-S0/drain", String::new(), plain),
        (
            "POST",
            "/api/v1",
            call("DEACTIVATE_AGENT", "deactivate_agent", &agent),
            OperatorCall::Deactivate("m-S0".into()),
        ),
        ("POST", "/v1/agents/m-S0/deactivate", String::new(), OperatorCall::Deactivate("m-S0".into())),
        (
            "POST",
            "/api/v1",
            call("REACTIVATE_AGENT", "reactivate_agent", &agent),
            OperatorCall::Reactivate("m-S0".into()),
        ),
        ("POST", "/v1/agents/m-S0/reactivate", String::new(), OperatorCall::Reactivate("m-S0".into())),
        (
            "POST",
            "/api/v1",
            call("UPDATE_MAINTENANCE_SCHEDULE", "update_maintenance_schedule", &json!({"schedule": schedule_json()})),
            scheduled.clone(),
        ),
        ("PUT", "/v1/maintenance/schedule", schedule_json().to_string(), scheduled.clone()),
        ("POST", "/maintenance/schedule", schedule_json().to_string(), scheduled.clone()),
        ("POST", "/master/maintenance/schedule", schedule_json().to_string(), scheduled),
        ("POST", "/api/v1", call("START_MAINTENANCE", "start_maintenance", &machines), started.clone()),
        ("POST", "/v1/maintenance/start", machines.to_string(), started.clone()),
        ("POST", "/machine/down", r#"[{"hostname":"a"}]"#.into(), started),
        ("POST", "/api/v1", call("STOP_MAINTENANCE", "stop_maintenance", &machines), stopped.clone()),
        ("POST", "/v1/maintenance/stop", machines.to_string(), stopped.clone()),
        ("POST", "/machine/up", r#"[{"hostname":"a"}]"#.into(), stopped),
    ] {
        let (status, answer) = send(&rig, method, path, &body).await;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        assert_eq!(asked.lock().unwrap().drain(..).collect::<Vec<_>>(), [expected], "{path} {body}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_is_wrong() {
    let (rig, asked) = stage().await;
    let drain = |grace: &str| {
        format!(
            r#"{{"type":"DRAIN_AGENT","drain_agent":{{"agent_id":{{"value":"m-S0"}},"max_grace_period":{grace}}}}}"#
        )
    };
    for (method, path, body, status, words) in [
        ("POST", "/api/v1", r#"{"type":"DRAIN_AGENT"}"#.into(), 400, "drain_agent"),
        ("POST", "/api/v1", r#"{"type":"DRAIN_AGENT","drain_agent":{}}"#.into(), 400, "agent_id"),
        (
            "POST",
            "/api/v1",
            r#"{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":""}}}"#.into(),
            400,
            "agent_id",
        ),
        ("POST", "/api/v1", drain(r#"{"seconds":-1}"#), 400, "max_grace_period"),
        ("POST", "/api/v1", drain(r#"{"seconds":99999999999}"#), 400, "max_grace_period"),
        ("POST", "/api/v1", drain(r#""soon""#), 400, ""),
        ("POST", "/v1/agents/a/drain", "{".into(), 400, "cannot be read"),
        ("POST", "/v1/agents/a/drain", r#"{"grace":"1s"}"#.into(), 400, "there is no 'grace'"),
        ("POST", "/v1/agents/a/fire", String::new(), 404, "/drain"),
        ("PUT", "/v1/maintenance/schedule", r#"{"windows":[{}]}"#.into(), 400, "unavailability"),
        ("PUT", "/v1/maintenance/schedule", "[]".into(), 400, "JSON object"),
        ("POST", "/maintenance/schedule", "[]".into(), 400, "maintenance schedule"),
        ("POST", "/machine/down", r#"{"hostname":"a"}"#.into(), 400, "list of machines"),
        ("POST", "/machine/up", "x".into(), 400, "list of machines"),
    ] {
        let (found, answer) = send(&rig, method, path, &body).await;
        assert!(found.as_u16() == status && answer.to_string().contains(words), "{path} {body}: {found} {answer}");
    }
    assert_eq!(*asked.lock().unwrap(), []);
    let gone = r#"{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"x"}}}"#;
    assert_eq!(send(&rig, "POST", "/api/v1", gone).await.0, 400, "as Mesos answers");
    assert_eq!(send(&rig, "POST", "/v1/agents/x/gone", "").await.0, 404);
}

#[tokio::test]
async fn the_schedule_and_where_it_stands_are_shown_alike_by_every_api() {
    let (rig, _) = stage().await;
    let status = json!({
        "draining_machines": [{"id": {"hostname": "a"}, "statuses": [
            {"status": "ACCEPT", "framework_id": {"value": "f"}, "timestamp": {"nanoseconds": 2_000_000_000_u64}},
            {"status": "DECLINE", "framework_id": {"value": "f"}, "timestamp": {"nanoseconds": 2_000_000_000_u64}},
            {"status": "UNKNOWN", "framework_id": {"value": "f"}, "timestamp": {"nanoseconds": 2_000_000_000_u64}},
        ]}],
        "down_machines": [{"hostname": "b", "ip": "10.0.0.2"}],
    });
    for (path, expected) in [("schedule", schedule_json()), ("status", status)] {
        for prefix in ["", "/master", "/v1"] {
            let (code, answer) = send(&rig, "GET", &format!("{prefix}/maintenance/{path}"), "").await;
            assert_eq!((code.as_u16(), &answer), (200, &expected), "{prefix}");
        }
        let name = format!("GET_MAINTENANCE_{}", path.to_uppercase());
        let (_, answer) = send(&rig, "POST", "/api/v1", &json!({ "type": name }).to_string()).await;
        assert_eq!((&answer["type"], &answer[name.to_lowercase()][path]), (&json!(name), &expected));
    }
}

#[tokio::test]
async fn an_agent_that_leaves_shows_how_far_it_is() {
    let rig = Rig::with_one_of_each();
    let mut row = fixtures::agent("m-S0");
    row.deactivated = true;
    row.drain = Some(Drain { max_grace_ms: Some(90_000), mark_gone: true, since: Time(4_000), drained: false });
    rig.apply(vec![put(Row::Agent(row.clone()))]);
    let (_, answer) = send(&rig, "POST", "/api/v1", r#"{"type":"GET_AGENTS"}"#).await;
    let agent = &answer["get_agents"]["agents"][0];
    assert_eq!((&agent["active"], &agent["deactivated"]), (&json!(false), &json!(true)));
    assert_eq!(agent["drain_info"]["state"], "DRAINING");
    assert_eq!(agent["drain_info"]["config"]["max_grace_period"]["nanoseconds"], 90_000_000_000_u64);
    assert_eq!(agent["drain_info"]["config"]["mark_gone"], true);
    assert_eq!(agent["estimated_drain_start_time"]["nanoseconds"], 4_000_000_000_u64);
    let (_, answer) = send(&rig, "GET", "/state", "").await;
    assert_eq!(answer["slaves"][0]["drain_info"]["state"], "DRAINING");
    assert_eq!(answer["slaves"][0]["estimated_drain_start_time_seconds"], 4.0);
    let shown = |rig: &Rig| {
        let router = rig.reads.router();
        async move {
            let response = router.oneshot(Request::get("/v1/agents").body(Body::empty()).unwrap()).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice::<Value>(&body).unwrap()["agents"][0]["state"].as_str().unwrap().to_owned()
        }
    };
    assert_eq!(shown(&rig).await, "DRAINING");
    let drain = row.drain.unwrap();
    for (change, state) in [
        (AgentRow { drain: Some(Drain { drained: true, ..drain }), ..row.clone() }, "DRAINED"),
        (AgentRow { drain: None, ..row.clone() }, "DEACTIVATED"),
        (AgentRow { state: AgentState::Unreachable { since: Time(1) }, down: true, ..row.clone() }, "DOWN"),
        (AgentRow { state: AgentState::Gone, ..row }, "GONE"),
    ] {
        let rig = Rig::with_one_of_each();
        rig.apply(vec![put(Row::Agent(change))]);
        assert_eq!(shown(&rig).await, state);
    }
}

use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use mesos_core::message::{Change, Explanation, Placement, WhatIf};
use mesos_engine::explanation::{Blocker, Remedy, Turn, Why};
use mesos_model::{Resources, Time};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::view::fixtures::{self, Rig};

fn explanation() -> Explanation {
    Explanation {
        framework: Some("m-0000".into()),
        role: "ads".into(),
        demand: Resources::of(&[("cpus", 8_000)]),
        count: 2,
        placeable: 1,
        summary: "no agent has 8 cpus".into(),
        blockers: vec![Blocker {
            why: Why::InUse,
            detail: "tasks hold 6 of 8 cpus".into(),
            agents: 3,
            examples: vec!["m-S0".into()],
        }],
        turns: vec![Turn {
            framework: "m-0000".into(),
            role: "ads".into(),
            share_ppm: 250_000,
            weight: 2_000,
            priority: 7,
        }],
        remedies: vec![Remedy {
            change: Change::Less { name: "cpus".into(), amount: 2_000 },
            text: "ask for 2 cpus".into(),
        }],
    }
}

/// An allocator that takes everything.
fn friendly(call: &OperatorCall) -> Answer {
    Answer::ok(match call {
        OperatorCall::GetRoles => AnswerBody::Roles(vec![fixtures::role()]),
        OperatorCall::GetPolicy => {
            AnswerBody::Policy(PolicyView { modules: vec!["mine".into()], ..PolicyView::default() })
        }
        OperatorCall::GetNeeds => AnswerBody::Needs(vec![NeedView {
            framework: "m-0000".into(),
            role: "ads".into(),
            name: "big".into(),
            resources: Resources::of(&[("cpus", 4_000)]),
            count: 2,
            gathered: 1,
            held: vec![("m-S0".into(), Resources::of(&[("cpus", 4_000)]))],
            deadline: Time(9_000),
            priority: 0,
            waits_for: "4 cpus on one more agent".into(),
        }]),
        OperatorCall::Explain(_) => AnswerBody::Explanation(Box::new(explanation())),
        OperatorCall::WhatIf { .. } => AnswerBody::WhatIf(Box::new(WhatIf {
            before: explanation(),
            after: Explanation { placeable: 2, ..explanation() },
            roles: Vec::new(),
        })),
        _ => AnswerBody::None,
    })
}

struct Stage {
    rig: Rig,
    asked: Arc<Mutex<Vec<OperatorCall>>>,
}

impl Stage {
    async fn new(script: impl Fn(&OperatorCall) -> Answer + Send + 'static) -> Stage {
        let rig = Rig::with_one_of_each();
        let asked = rig.allocator(script).await;
        Stage { rig, asked }
    }

    /// What the allocator was asked since the last time, without what only reads.
    fn changes(&self) -> Vec<OperatorCall> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.retain(|call| !matches!(call, OperatorCall::GetRoles | OperatorCall::GetPolicy | OperatorCall::GetNeeds));
        asked
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: impl Into<Body>) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let response = self.rig.reads.router().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, text) = self.send(method, path, "application/json", body.to_string()).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn operator(&self, call: Value) -> (u16, Value) {
        self.json("POST", "/api/v1", call).await
    }
}

fn amounts(pairs: &[(&str, i64)]) -> mesos_core::message::Amounts {
    Resources::of(pairs).scalars()
}

fn cpus(amount: f64, reserved: bool) -> Value {
    let mut resource = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": amount}});
    if reserved {
        resource["reservations"] = json!([{"type": "DYNAMIC", "role": "ads", "principal": "p"}]);
    }
    resource
}

#[tokio::test]
async fn weights_are_read_and_set_by_the_operator_api() {
    let stage = Stage::new(friendly).await;
    let (status, answer) = stage.operator(json!({"type": "GET_WEIGHTS"})).await;
    assert_eq!(
        (status, answer),
        (200, json!({"type": "GET_WEIGHTS", "get_weights": {"weight_infos": [{"weight": 2.5, "role": "ads"}]}}))
    );
    let update = |infos: Value| json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": infos}});
    let (status, _) =
        stage.operator(update(json!([{"role": "ads", "weight": 2}, {"role": "a/b", "weight": 0.5}]))).await;
    assert_eq!(status, 200);
    assert_eq!(stage.changes(), [OperatorCall::UpdateWeights(vec![("ads".into(), 2_000), ("a/b".into(), 500)])]);
}

#[tokio::test]
async fn absurd_weights_are_refused_before_anybody_is_asked() {
    let stage = Stage::new(friendly).await;
    for (infos, words) in [
        (json!([{"role": "ads", "weight": 0}]), "above 0"),
        (json!([{"role": "ads", "weight": -1}]), "above 0"),
        (json!([{"role": "ads", "weight": 1e7}]), "at most 1000000"),
        (json!([{"role": "ads", "weight": "Infinity"}]), "at most 1000000"),
        (json!([{"role": "ads", "weight": 0.0001}]), "at least 0.001"),
        (json!([{"role": "a b", "weight": 1}]), "Role 'a b' is invalid"),
        (json!([{"role": "ads", "weight": 1}, {"role": "ads", "weight": 2}]), "named twice"),
        (json!([]), "no role"),
    ] {
        let (status, answer) =
            stage.operator(json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": infos}})).await;
        assert!(status == 400 && answer.to_string().contains(words), "{words}: {status} {answer}");
        let (status, answer) = stage.json("PUT", "/weights", infos).await;
        assert!(status == 400 && answer.to_string().contains(words), "{words}: {status} {answer}");
    }
    assert!(check::weights([("ads", f64::NAN)]).is_err());
    assert!(stage.changes().is_empty());
}

#[tokio::test]
async fn quota_is_read_and_set_by_the_operator_api() {
    let stage = Stage::new(friendly).await;
    let (status, answer) = stage.operator(json!({"type": "GET_QUOTA"})).await;
    assert_eq!(status, 200);
    let status = &answer["get_quota"]["status"];
    assert_eq!(
        status["configs"],
        json!([{"role": "ads", "guarantees": {"cpus": {"value": 2.0}},
                "limits": {"cpus": {"value": 4.0}, "mem": {"value": 1024.0}}}])
    );
    assert_eq!(status["infos"][0]["guarantee"][0]["scalar"]["value"], 2.0);
    let update = json!({"type": "UPDATE_QUOTA", "update_quota": {"force": true, "quota_configs": [
        {"role": "ads", "guarantees": {"cpus": {"value": 1}, "mem": {"value": 0}}, "limits": {"cpus": {"value": 0.0}, "zoo": {"value": 3}}},
    ]}});
    let (status, answer) = stage.operator(update).await;
    assert!(status == 400 && answer.to_string().contains("guarantee of cpus (1) is above its limit (0)"), "{answer}");
    let update = json!({"type": "UPDATE_QUOTA", "update_quota": {"force": true, "quota_configs": [
        {"role": "ads", "guarantees": {"cpus": {"value": 1}, "mem": {"value": 0}}, "limits": {"zoo": {"value": 3}}},
    ]}});
    assert_eq!(stage.operator(update).await.0, 200);
    let quota = Quota { role: "ads".into(), guarantee: amounts(&[("cpus", 1_000)]), limit: amounts(&[("zoo", 3_000)]) };
    assert_eq!(stage.changes(), [OperatorCall::UpdateQuota { force: true, quotas: vec![quota] }]);
}

#[tokio::test]
async fn quota_that_cannot_be_is_refused_before_anybody_is_asked() {
    let stage = Stage::new(friendly).await;
    for (config, words) in [
        (json!({"role": "ads", "limits": {"cpus": {"value": -1}}}), "negative"),
        (json!({"role": "ads", "limits": {"cpus": {"value": "Infinity"}}}), "cpus"),
        (json!({"role": "ads", "limits": {"cpu": {"value": 1}}}), "no agent has a resource 'cpu'"),
        (json!({"role": "ads", "limits": {"a b": {"value": 1}}}), "no name of a resource"),
        (json!({"role": "*", "limits": {"cpus": {"value": 1}}}), "default '*' role"),
        (json!({"role": "a//b", "limits": {}}), "slash"),
        (
            json!({"role": "ads", "guarantees": {"mem": {"value": 2}}, "limits": {"mem": {"value": 1}}}),
            "above its limit",
        ),
    ] {
        let call = json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [config]}});
        let (status, answer) = stage.operator(call).await;
        assert!(status == 400 && answer.to_string().contains(words), "{words}: {status} {answer}");
    }
    let twice = json!([{"role": "ads"}, {"role": "ads"}]);
    let (status, answer) =
        stage.operator(json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": twice}})).await;
    assert!(status == 400 && answer.to_string().contains("named twice"), "{answer}");
    assert!(stage.changes().is_empty());
}

#[tokio::test]
async fn the_old_quota_calls_guarantee_and_limit_at_once() {
    let stage = Stage::new(friendly).await;
    let set = |role: &str, guarantee: Value| json!({"role": role, "guarantee": guarantee});
    assert_eq!(stage.json("POST", "/quota", set("eng", json!([cpus(3.0, false)]))).await.0, 200);
    let three = amounts(&[("cpus", 3_000)]);
    let quota = Quota { role: "eng".into(), guarantee: three.clone(), limit: three };
    assert_eq!(stage.changes(), [OperatorCall::UpdateQuota { force: false, quotas: vec![quota] }]);
    assert_eq!(stage.send("DELETE", "/master/quota/ads", "", "").await.0, 200);
    let none = Quota { role: "ads".into(), ..Quota::default() };
    assert_eq!(stage.changes(), [OperatorCall::UpdateQuota { force: false, quotas: vec![none] }]);
    for (request, words) in [
        (set("ads", json!([cpus(3.0, false)])), "already has quota"),
        (set("eng", json!([cpus(3.0, true)])), "reserved"),
        (set("eng", json!([])), "empty 'guarantee'"),
        (set("", json!([cpus(3.0, false)])), "must specify a role"),
        (json!([]), "JSON"),
    ] {
        let (status, answer) = stage.json("POST", "/quota", request).await;
        assert!(status == 400 && answer.to_string().contains(words), "{words}: {status} {answer}");
    }
    let (status, answer) = stage.send("DELETE", "/quota/eng", "", "").await;
    assert!(status == 400 && answer.contains("has no quota set"), "{answer}");
    let call = json!({"type": "REMOVE_QUOTA", "remove_quota": {"role": "eng"}});
    assert_eq!(stage.operator(call).await.0, 400);
    let (status, answer) = stage.json("GET", "/quota", json!({})).await;
    assert_eq!((status, &answer["infos"][0]["role"]), (200, &json!("ads")));
    assert!(stage.changes().is_empty());
}

#[tokio::test]
async fn reservations_and_volumes_are_conversions_and_answered_with_202() {
    let stage = Stage::new(friendly).await;
    let agent = json!({"value": "m-S0"});
    let volume = json!({"name": "disk", "type": "SCALAR", "scalar": {"value": 64.0},
        "reservations": [{"type": "DYNAMIC", "role": "ads"}],
        "disk": {"persistence": {"id": "v1"}, "volume": {"mode": "RW", "container_path": "data"}}});
    let addition = json!({"name": "disk", "type": "SCALAR", "scalar": {"value": 32.0},
        "reservations": [{"type": "DYNAMIC", "role": "ads"}]});
    for (kind, field, ask, name) in [
        (
            "RESERVE_RESOURCES",
            "reserve_resources",
            json!({"agent_id": agent, "resources": [cpus(1.0, true)]}),
            "RESERVE",
        ),
        (
            "UNRESERVE_RESOURCES",
            "unreserve_resources",
            json!({"agent_id": agent, "resources": [cpus(1.0, true)]}),
            "UNRESERVE",
        ),
        ("CREATE_VOLUMES", "create_volumes", json!({"agent_id": agent, "volumes": [volume]}), "CREATE"),
        ("DESTROY_VOLUMES", "destroy_volumes", json!({"agent_id": agent, "volumes": [volume]}), "DESTROY"),
        (
            "GROW_VOLUME",
            "grow_volume",
            json!({"agent_id": agent, "volume": volume, "addition": addition}),
            "GROW_VOLUME",
        ),
        (
            "SHRINK_VOLUME",
            "shrink_volume",
            json!({"agent_id": agent, "volume": volume, "subtract": {"value": 32}}),
            "SHRINK_VOLUME",
        ),
    ] {
        let (status, answer) = stage.operator(json!({"type": kind, field: ask})).await;
        assert_eq!(status, 202, "{kind}: {answer}");
        let changes = stage.changes();
        let [OperatorCall::Convert { agent, conversion }] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((agent.as_str(), conversion.name.as_str()), ("m-S0", name));
    }
    let form = format!("slaveId=m-S0&resources={}", json!([cpus(1.0, true)]));
    for path in ["/reserve", "/master/unreserve"] {
        assert_eq!(stage.send("POST", path, "application/x-www-form-urlencoded", form.clone()).await.0, 202);
    }
    let form = format!("slaveId=m-S0&volumes={}", json!([volume]));
    for path in ["/master/create-volumes", "/destroy-volumes"] {
        assert_eq!(stage.send("POST", path, "", form.clone()).await.0, 202);
    }
    assert_eq!(stage.changes().len(), 4);
}

#[tokio::test]
async fn conversions_that_cannot_be_are_refused_before_anybody_is_asked() {
    let stage = Stage::new(friendly).await;
    let reserve = |agent: &str, resources: Value| json!({"type": "RESERVE_RESOURCES", "reserve_resources": {"agent_id": {"value": agent}, "resources": resources}});
    for (call, words) in [
        (reserve("nobody", json!([cpus(1.0, true)])), "No agent found with specified ID"),
        (reserve("m-S0", json!([])), "Invalid RESERVE operation"),
        (reserve("m-S0", json!([cpus(1.0, false)])), "Invalid RESERVE operation"),
        (reserve("m-S0", json!([cpus(-1.0, true)])), "Invalid RESERVE operation"),
        (
            json!({"type": "SHRINK_VOLUME", "shrink_volume": {"volume": cpus(1.0, true), "subtract": {"value": 1}}}),
            "agent_id",
        ),
        (
            json!({"type": "SHRINK_VOLUME", "shrink_volume": {"agent_id": {"value": "m-S0"}, "volume": cpus(1.0, true), "subtract": {"value": -1}}}),
            "Invalid SHRINK_VOLUME operation",
        ),
    ] {
        let (status, answer) = stage.operator(call).await;
        assert!(status == 400 && answer.to_string().contains(words), "{words}: {status} {answer}");
    }
    for (form, words) in [
        ("resources=[]", "Missing 'slaveId'"),
        ("slaveId=m-S0", "Missing 'resources'"),
        ("slaveId=m-S0&resources=[", "Error in parsing 'resources'"),
        ("slaveId=m-S0&resources=[]", "Invalid RESERVE operation"),
    ] {
        let (status, answer) = stage.send("POST", "/reserve", "", form).await;
        assert!(status == 400 && answer.contains(words), "{form}: {status} {answer}");
    }
    assert!(stage.changes().is_empty());
}

#[tokio::test]
async fn refusals_of_the_allocator_keep_their_status_but_for_what_is_not_there() {
    for (said, mesos, rest) in [(404, 400, 404), (409, 409, 409), (501, 501, 501), (400, 400, 400)] {
        let stage = Stage::new(move |_| Answer::refused(said, "no: 2 cpus are not free")).await;
        let weights =
            json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": [{"role": "a", "weight": 1}]}});
        let (status, answer) = stage.operator(weights).await;
        assert_eq!((status, answer), (mesos, json!("no: 2 cpus are not free")));
        let (status, answer) = stage.json("PUT", "/v1/roles/a/weight", json!({"weight": 1})).await;
        assert_eq!((status, &answer["error"]["message"]), (rest, &json!("no: 2 cpus are not free")));
    }
}

#[tokio::test]
async fn rest_shows_roles_and_changes_them() {
    let stage = Stage::new(friendly).await;
    let (status, answer) = stage.json("GET", "/v1/roles", json!({})).await;
    let role = &answer["roles"][0];
    assert_eq!(
        (status, &role["role"], &role["weight"], &role["share"]),
        (200, &json!("ads"), &json!(2.5), &json!(0.15))
    );
    assert_eq!((&role["limit"]["mem"], &role["framework_ids"][0]["value"]), (&json!(1024.0), &json!("m-0000")));
    assert_eq!(stage.json("GET", "/v1/roles/ads", json!({})).await.1["role"], "ads");
    assert_eq!(stage.json("GET", "/v1/roles/nobody", json!({})).await.0, 404);

    assert_eq!(stage.json("PUT", "/v1/roles/a/b/weight", json!({"weight": 3})).await, (200, json!({})));
    let quota = json!({"guarantee": {"cpus": 1}, "limit": {"cpus": 2.5}});
    assert_eq!(stage.json("PUT", "/v1/roles/a/quota?force=true", quota).await.0, 200);
    assert_eq!(stage.json("PUT", "/v1/roles/a/placement", json!({"placement": "binpack"})).await.0, 200);
    assert_eq!(stage.json("PUT", "/v1/roles/a/placement", json!({})).await.0, 200);
    let quota = Quota { role: "a".into(), guarantee: amounts(&[("cpus", 1_000)]), limit: amounts(&[("cpus", 2_500)]) };
    assert_eq!(
        stage.changes(),
        [
            OperatorCall::UpdateWeights(vec![("a/b".into(), 3_000)]),
            OperatorCall::UpdateQuota { force: true, quotas: vec![quota] },
            OperatorCall::SetPlacement("a".into(), Some(Placement::Binpack)),
            OperatorCall::SetPlacement("a".into(), None),
        ]
    );
    for (path, body, status, words) in [
        ("/v1/roles/a/weight", json!({}), 400, "above 0"),
        ("/v1/roles/a/weight", json!([]), 400, "JSON object"),
        ("/v1/roles/a/quota", json!({"guarantees": {"cpus": 1}}), 400, "there is no 'guarantees'"),
        ("/v1/roles/a/quota?force=perhaps", json!({}), 400, "force"),
        ("/v1/roles/a/quota", json!({"limit": {"cpus": "many"}}), 400, "limit"),
        ("/v1/roles/a/placement", json!({"placement": "tight"}), 400, "'tight' is no placement"),
        ("/v1/roles/a/colour", json!({}), 404, "placement"),
        ("/v1/roles/a", json!({}), 404, "placement"),
        ("/v1/roles/a//weight", json!({"weight": 1}), 400, "slash"),
    ] {
        let (found, answer) = stage.json("PUT", path, body).await;
        assert!(found == status && answer["error"]["message"].to_string().contains(words), "{path}: {found} {answer}");
    }
    assert!(stage.changes().is_empty());
}

#[tokio::test]
async fn a_policy_is_chosen_by_name_or_brought_as_a_module() {
    let stage = Stage::new(friendly).await;
    let (status, answer) = stage.json("GET", "/v1/policy", json!({})).await;
    assert_eq!((status, answer), (200, json!({"policy": "drf", "modules": ["mine"]})));
    let module: &[u8] = b"\0asm\x01\0\0\0";
    assert_eq!(stage.json("PUT", "/v1/policy", json!({"policy": "fifo"})).await.0, 200);
    assert_eq!(stage.json("PUT", "/v1/policy", json!({"policy": "mine"})).await.0, 200);
    assert_eq!(stage.send("PUT", "/v1/policy?name=new", "application/wasm", module).await.0, 200);
    let set = |policy: &str, module: Option<&'static [u8]>| OperatorCall::SetPolicy {
        policy: policy.into(),
        module: module.map(bytes::Bytes::from_static),
    };
    assert_eq!(stage.changes(), [set("fifo", None), set("mine", None), set("new", Some(module))]);
    let (status, _) = stage.send("PUT", "/v1/policy?name=new&load_only=true", "application/wasm", module).await;
    assert_eq!(status, 200);
    let load = OperatorCall::LoadPolicy { name: "new".to_owned(), module: bytes::Bytes::from_static(module) };
    assert_eq!(stage.changes(), [load]);
    for (path, kind, body, status, words) in [
        ("/v1/policy", "application/json", r#"{"policy":"unknown"}"#, 404, "drf, fifo, drc, random, mine"),
        ("/v1/policy", "application/json", r#"{"policy":"a b"}"#, 400, "no name of a policy"),
        ("/v1/policy", "application/json", "{}", 400, "no name of a policy"),
        ("/v1/policy", "application/json", r#"{"policy":"mine","load_only":true}"#, 400, "no module to load"),
        ("/v1/policy", "application/wasm", "\0asm", 400, "needs a name"),
        ("/v1/policy?name=new", "application/wasm", "(module)", 400, "no WebAssembly"),
        ("/v1/policy?name=drf", "application/wasm", "\0asm", 400, "built-in"),
    ] {
        let (found, answer) = stage.send("PUT", path, kind, body).await;
        assert!(found == status && answer.contains(words), "{path} {body:?}: {found} {answer}");
    }
    assert!(stage.changes().is_empty());
}

#[tokio::test]
async fn explanations_and_what_ifs_come_with_every_part() {
    let stage = Stage::new(friendly).await;
    let (status, answer) = stage.json("POST", "/v1/explain", json!({"role": "ads", "count": 2})).await;
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({
            "framework_id": {"value": "m-0000"}, "role": "ads", "demand": [cpus(8.0, false)], "count": 2,
            "placeable": 1, "summary": "no agent has 8 cpus",
            "blockers": [{"why": "in_use", "detail": "tasks hold 6 of 8 cpus", "agents": 3, "examples": [{"value": "m-S0"}]}],
            "turns": [{"framework_id": {"value": "m-0000"}, "role": "ads", "share": 0.25, "weight": 2.0, "priority": 7}],
            "remedies": [{"change": {"less": {"name": "cpus", "amount": 2.0}}, "text": "ask for 2 cpus"}],
        })
    );
    let request = json!({
        "query": {"framework_id": {"value": "m-0000"}, "resources": [cpus(8.0, false)]},
        "changes": [
            {"add_agents": {"like": {"value": "m-S0"}}},
            {"weight": {"role": "ads", "weight": 2}},
            {"policy": "fifo"},
            {"revive": {}},
        ],
    });
    let (status, answer) = stage.json("POST", "/v1/whatif", request).await;
    assert_eq!((status, &answer["before"]["placeable"], &answer["after"]["placeable"]), (200, &json!(1), &json!(2)));
    let query = |query: Query| Query { count: query.count.max(1), ..query };
    let first = query(Query { role: Some("ads".into()), count: 2, ..Query::default() });
    let second = query(Query {
        framework: Some("m-0000".into()),
        resources: Some(Resources::of(&[("cpus", 8_000)])),
        ..Query::default()
    });
    let like = Change::AddAgents { count: 1, like: Some("m-S0".into()), total: None, attributes: Vec::new() };
    let changes = vec![
        like,
        Change::Weight { role: "ads".into(), weight: 2_000 },
        Change::Policy(PolicyName::Fifo),
        Change::Revive,
    ];
    assert_eq!(stage.changes(), [OperatorCall::Explain(first), OperatorCall::WhatIf { changes, query: second }]);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_before_anybody_is_asked() {
    let stage = Stage::new(friendly).await;
    let what_if = |change: Value| ("/v1/whatif", json!({"query": {"role": "ads"}, "changes": [change]}));
    for ((path, body), status, words) in [
        (("/v1/explain", json!({})), 400, "name a framework, a role"),
        (("/v1/explain", json!({"framework_id": {"value": "nobody"}})), 404, "no framework 'nobody'"),
        (("/v1/explain", json!({"role": "a b"})), 400, "invalid"),
        (("/v1/explain", json!({"role": "ads", "count": 1_000_000})), 400, "at most 10000"),
        (("/v1/explain", json!({"role": "ads", "resources": [cpus(-1.0, false)]})), 400, "cpus"),
        (("/v1/explain", json!({"roles": "ads"})), 400, "there is no 'roles'"),
        (what_if(json!({})), 400, "empty"),
        (what_if(json!({"add_agents": {"count": 1}})), 400, "what supposed agents are like"),
        (what_if(json!({"add_agents": {"count": 99_999, "like": {"value": "m-S0"}}})), 400, "at most 10000"),
        (what_if(json!({"weight": {"role": "ads", "weight": 0}})), 400, "above 0"),
        (what_if(json!({"limit": {"role": "ads", "amounts": {"cpus": -1}}})), 400, "negative"),
        (what_if(json!({"policy": "mine"})), 400, "cannot be supposed"),
        (what_if(json!({"capability": "FLYING"})), 400, "GPU_RESOURCES"),
        (what_if(json!({"remove_agent": {"value": ""}})), 400, "agent's id is empty"),
    ] {
        let (found, answer) = stage.json("POST", path, body).await;
        assert!(found == status && answer["error"]["message"].to_string().contains(words), "{words}: {found} {answer}");
    }
    assert!(stage.changes().is_empty());
}

#[tokio::test]
async fn needs_show_what_is_gathered() {
    let stage = Stage::new(friendly).await;
    let (status, answer) = stage.json("GET", "/v1/needs", json!({})).await;
    let need = &answer["needs"][0];
    assert_eq!((status, &need["name"], &need["gathered"]), (200, &json!("big"), &json!(1)));
    assert_eq!((&need["held"][0]["agent_id"]["value"], &need["deadline_ms"]), (&json!("m-S0"), &json!(9_000)));
}

//! Tokens at the door, over HTTP, REST and gRPC.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mesos_core::message::{Answer, RegistryCall};
use mesos_gateway::{GatewayOptions, Security};
use mesos_identity::{
    files::{Reloaded, SECRET, write},
    token::{Claims, Role, TokenKeys},
};
use mesos_proto::{
    services::v1::{UpdateQuotaRequest, allocation_client::AllocationClient, scheduler_client::SchedulerClient},
    v1::{FrameworkInfo, master, scheduler},
};
use tonic::{Code, Request};

use crate::harness::{SUBSCRIBE, World, friendly, options, world_with};

const HOUR: Duration = Duration::from_secs(3600);

struct Keys {
    dir: tempfile::TempDir,
    keys: TokenKeys,
}

impl Keys {
    fn new() -> Keys {
        let keys = Keys { dir: tempfile::tempdir().unwrap(), keys: TokenKeys::generate().unwrap() };
        keys.save();
        keys
    }

    fn save(&self) {
        write(&self.dir.path().join("token.key"), self.keys.to_pem().as_bytes(), SECRET).unwrap();
    }

    fn options(&self) -> GatewayOptions {
        let path = self.dir.path().join("token.key");
        let tokens = Reloaded::open(vec![path], |texts| TokenKeys::read(&texts[0])).unwrap();
        let security = Security { tokens: Some(Arc::new(tokens)), ..Security::default() };
        GatewayOptions { security, ..options() }
    }

    async fn world(&self) -> World {
        world_with(self.options(), Arc::new(friendly), Arc::new(|_| Answer::accepted())).await
    }

    fn token(&self, name: &str, role: Role) -> String {
        self.keys.sign(&Claims::new(name, role, HOUR, Some("default"))).unwrap()
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn request<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", bearer(token).parse().unwrap());
    request
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn f69_nothing_but_probes_and_the_page_is_open_to_those_without_a_token() {
    let keys = Keys::new();
    let world = keys.world().await;
    for (method, path, open) in [
        ("GET", "/health", true),
        ("GET", "/ready", true),
        ("GET", "/metrics", true),
        ("GET", "/", true),
        ("GET", "/state", false),
        ("GET", "/master/state", false),
        ("GET", "/v1/tasks", false),
        ("GET", "/v1/events", false),
        ("POST", "/api/v1", false),
        ("POST", "/api/v1/scheduler", false),
        ("POST", "/teardown", false),
        ("PUT", "/v1/roles/a/weight", false),
        ("DELETE", "/v1/tasks/f/t", false),
        ("GET", "/there/is/nothing/here", false),
    ] {
        let reply = world.ask(method, path, &[], "").await;
        assert_eq!(reply.status() != 401, open, "{method} {path}: {}", reply.status());
        if !open {
            assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"mesos\""), "{path}");
            assert!(reply.text().contains("a token is needed") && reply.text().contains("mesos token create"));
        }
    }
    let other = Keys::new();
    let expired = Claims { exp: 1000, ..Claims::new("ops", Role::Operator, HOUR, None) };
    let elsewhere = Claims::new("ops", Role::Operator, HOUR, Some("elsewhere"));
    for (token, why) in [
        ("nonsense".to_owned(), "not a token"),
        (other.token("ops", Role::Operator), "no key of this cluster"),
        (keys.keys.sign(&expired).unwrap(), "expired"),
        (keys.keys.sign(&elsewhere).unwrap(), "another cluster"),
    ] {
        let reply = world.ask("GET", "/v1/tasks", &[("Authorization", &bearer(&token))], "").await;
        assert_eq!(reply.status(), 401);
        assert!(reply.text().contains(why) && !reply.text().contains(&token[1..]), "{}", reply.text());
    }
}

#[tokio::test]
async fn what_operators_do_is_refused_to_frameworks_and_to_agents() {
    let keys = Keys::new();
    let world = keys.world().await;
    let header = |role| bearer(&keys.token("somebody", role));
    let weight = r#"{"weight":2}"#;
    let teardown = r#"{"type":"TEARDOWN","teardown":{"framework_id":{"value":"f"}}}"#;
    for (method, path, body) in [
        ("PUT", "/v1/roles/a/weight", weight),
        ("PUT", "/weights", r#"[{"role":"a","weight":2}]"#),
        ("DELETE", "/v1/tasks/f/t", ""),
        ("POST", "/machine/down", "[]"),
        ("POST", "/api/v1", teardown),
        ("POST", "/api/v1", r#"{"type":"SUBSCRIBE"}"#),
        ("POST", "/api/v1", r#"{"type":"READ_FILE","read_file":{"path":"/frameworks/f/tasks/t/stdout","offset":0}}"#),
        ("GET", "/v1/tasks/f/t/files/stdout", ""),
    ] {
        for role in [Role::Framework, Role::Agent] {
            let reply = world.ask(method, path, &[("Authorization", &header(role)), JSON], body).await;
            assert_eq!(reply.status(), 403, "{method} {path} as {role}: {}", reply.text());
            assert!(reply.text().contains("role operator"), "{}", reply.text());
        }
        let reply = world.send(method, path, &[("Authorization", &header(Role::Operator)), JSON], body).await;
        assert!(![401, 403].contains(&reply.status().as_u16()), "{method} {path}: {}", reply.status());
    }
    assert_eq!(world.ask("GET", "/v1/tasks", &[("Authorization", &header(Role::Framework))], "").await.status(), 200);
    let state = r#"{"type":"GET_STATE"}"#;
    let headers = [("Authorization", &*header(Role::Framework)), JSON];
    assert_eq!(world.ask("POST", "/api/v1", &headers, state).await.status(), 200);
    // Who asked is told to the machine.
    let headers = [("Authorization", &*header(Role::Operator)), JSON];
    world.ask("POST", "/api/v1", &headers, teardown).await;
    let asked = world.asked.registry.lock().unwrap();
    let call = asked.iter().find(|call| matches!(call.what, RegistryCall::Teardown(_))).unwrap();
    assert_eq!(call.principal.as_deref(), Some("somebody"));
}

#[tokio::test]
async fn a_framework_is_its_own_principal_by_token_or_by_name_and_token() {
    let keys = Keys::new();
    let world = keys.world().await;
    let token = keys.token("ads", Role::Framework);
    let basic = |name: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")));
    for header in [bearer(&token), basic("ads", &token)] {
        let answer = world.send("POST", "/api/v1/scheduler", &[("Authorization", &header), JSON], SUBSCRIBE).await;
        assert_eq!(answer.status(), 200);
    }
    let wrong = [("Authorization", &*basic("web", &token)), JSON];
    let reply = world.ask("POST", "/api/v1/scheduler", &wrong, SUBSCRIBE).await;
    assert_eq!(reply.status(), 401);
    assert!(reply.text().contains("principal"), "{}", reply.text());
    assert_eq!(reply.parts.headers.get_all("www-authenticate").iter().count(), 2);
    let other = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","principal":"web"}}}"#;
    let reply = world.ask("POST", "/api/v1/scheduler", &[("Authorization", &bearer(&token)), JSON], other).await;
    assert_eq!(reply.status(), 400);
    assert!(reply.text().contains("Authenticated principal 'ads' does not match principal 'web'"), "{}", reply.text());
    let asked = world.asked.registry.lock().unwrap();
    let subscribes = asked.iter().filter(|call| matches!(call.what, RegistryCall::Subscribe { .. }));
    let principals: Vec<_> = subscribes.map(|call| call.principal.clone()).collect();
    assert_eq!(principals, [Some("ads".to_owned()), Some("ads".to_owned())]);
}

#[tokio::test]
async fn grpc_asks_for_the_same_tokens() {
    let keys = Keys::new();
    let world = keys.world().await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", world.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut allocation = AllocationClient::new(channel.clone());
    let refused = allocation.update_quota(UpdateQuotaRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let framework = keys.token("ads", Role::Framework);
    let refused = allocation.update_quota(request(UpdateQuotaRequest::default(), &framework)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("role operator"), "{refused}");
    let mut operator = mesos_proto::services::v1::operator_client::OperatorClient::new(channel.clone());
    let call = |kind: master::call::Type| master::Call { r#type: Some(kind.into()), ..Default::default() };
    assert!(Box::pin(operator.call(request(call(master::call::Type::GetAgents), &framework))).await.is_ok());
    let gone = master::Call {
        mark_agent_gone: Some(master::call::MarkAgentGone { agent_id: mesos_proto::v1::AgentId { value: "a".into() } }),
        ..call(master::call::Type::MarkAgentGone)
    };
    assert_eq!(Box::pin(operator.call(request(gone, &framework))).await.unwrap_err().code(), Code::PermissionDenied);
    let subscribe = scheduler::Call {
        r#type: Some(scheduler::call::Type::Subscribe.into()),
        subscribe: Some(scheduler::call::Subscribe {
            framework_info: FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() },
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut schedulers = SchedulerClient::new(channel);
    let stream = |subscribe| futures::stream::iter([subscribe]);
    schedulers.connect(request(stream(subscribe.clone()), &framework)).await.unwrap();
    assert_eq!(world.asked.registry.lock().unwrap().last().unwrap().principal.as_deref(), Some("ads"));
    let nobody = schedulers.connect(stream(subscribe)).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_rotated_key_counts_without_a_restart_and_the_old_one_until_the_next() {
    let mut keys = Keys::new();
    let world = keys.world().await;
    let old = bearer(&keys.token("ops", Role::Operator));
    let status = async |header: &str| world.ask("GET", "/v1/tasks", &[("Authorization", header)], "").await.status();
    assert_eq!(status(&old).await, 200);
    let first = TokenKeys::read(&keys.keys.to_pem()).unwrap();
    keys.keys = first.rotated().unwrap();
    let new = bearer(&keys.token("ops", Role::Operator));
    assert_eq!(status(&new).await, 401);
    keys.save();
    world.until(async || status(&new).await == 200).await;
    assert_eq!(status(&old).await, 200);
    let second = TokenKeys::read(&keys.keys.to_pem()).unwrap();
    keys.keys = second.rotated().unwrap();
    keys.save();
    world.until(async || status(&old).await == 401).await;
    assert_eq!(status(&new).await, 200);
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_it_was_opened_with() {
    let keys = Keys::new();
    let world = keys.world().await;
    let short = Claims::new("ads", Role::Framework, Duration::from_secs(2), None);
    let header = bearer(&keys.keys.sign(&short).unwrap());
    let answer = world.send("POST", "/api/v1/scheduler", &[("Authorization", &header), JSON], SUBSCRIBE).await;
    assert_eq!(answer.status(), 200);
    let whole = http_body_util::BodyExt::collect(answer.into_body());
    let whole = tokio::time::timeout(Duration::from_secs(20), whole).await.expect("it ends").unwrap().to_bytes();
    assert!(mesos_identity::now() >= short.exp);
    assert!(String::from_utf8_lossy(&whole).contains("SUBSCRIBED"));
}

#[tokio::test]
async fn without_a_token_key_nobody_is_asked() {
    let world = crate::harness::world().await;
    assert_eq!(world.ask("GET", "/v1/tasks", &[("Authorization", "Bearer x")], "").await.status(), 200);
}

//! The same over gRPC, on the same port.

use std::sync::Arc;

use mesos_core::message::{Answer, AnswerBody, RegistryCall, StreamEvent};
use mesos_proto::{
    json,
    services::v1::scheduler_client::SchedulerClient,
    v1::scheduler::{Call, event::Type},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, transport::Channel};

use crate::harness::{SUBSCRIBE, World, options, world, world_with};

async fn channel(world: &World) -> Channel {
    Channel::from_shared(format!("http://{}", world.address)).unwrap().connect().await.unwrap()
}

fn call(text: &str) -> Call {
    json::decode(text.as_bytes()).unwrap()
}

const REVIVE: &str = r#"{"type":"REVIVE","framework_id":{"value":"f"}}"#;

async fn connected(
    world: &World,
) -> (mpsc::Sender<Call>, tonic::Response<tonic::Streaming<mesos_proto::v1::scheduler::Event>>) {
    drop(world.subscribe().await);
    let (calls, sent) = mpsc::channel(8);
    calls.send(call(SUBSCRIBE)).await.unwrap();
    let mut client = SchedulerClient::new(channel(world).await);
    let response = client.connect(ReceiverStream::new(sent)).await.unwrap();
    (calls, response)
}

#[tokio::test]
async fn a_subscription_over_grpc_gets_its_stream_id_and_its_events() {
    let world = world().await;
    let (calls, response) = connected(&world).await;
    let stream = response.metadata().get("mesos-stream-id").unwrap().to_str().unwrap().to_owned();
    let mut events = response.into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().r#type(), Type::Subscribed);
    assert_eq!(events.message().await.unwrap().unwrap().r#type(), Type::Heartbeat);
    world.tell("f", world.subscription().1, vec![StreamEvent::Rescind("o".into())]).await;
    assert_eq!(events.message().await.unwrap().unwrap().rescind.unwrap().offer_id.value, "o");

    // Later calls on the stream need no stream id, unary ones do.
    calls.send(call(REVIVE)).await.unwrap();
    let parsed = mesos_model::uuid_parse(&stream);
    let is_revived = |shown: Option<u128>| {
        let asked = world.asked.registry.lock().unwrap();
        asked.iter().any(|call| matches!(&call.what, RegistryCall::Revive(caller, _) if caller.stream == shown))
    };
    world.until(|| async { is_revived(parsed) }).await;
    let mut client = SchedulerClient::new(channel(&world).await);
    client.call(call(REVIVE)).await.unwrap();
    assert!(is_revived(None));

    drop((calls, events));
    let is_closed = || {
        let asked = world.asked.registry.lock().unwrap();
        asked.iter().any(|call| matches!(call.what, RegistryCall::Closed { stream, .. } if Some(stream) == parsed))
    };
    world.until(|| async { is_closed() }).await;
}

#[tokio::test]
async fn refusals_are_statuses() {
    let refuse = |call: &mesos_core::message::Call<RegistryCall>| match &call.what {
        RegistryCall::Subscribe { .. } => {
            Answer { status: 200, text: String::new(), body: AnswerBody::Refused { message: "no".into() } }
        }
        RegistryCall::Teardown(_) => Answer::refused(403, "Framework is not subscribed"),
        _ => Answer::refused(400, "Framework cannot be found"),
    };
    let world = world_with(options(), Arc::new(refuse), Arc::new(|_| Answer::accepted())).await;
    let mut client = SchedulerClient::new(channel(&world).await);
    for (text, code) in [
        (REVIVE, Code::InvalidArgument),
        (r#"{"type":"TEARDOWN","framework_id":{"value":"f"}}"#, Code::PermissionDenied),
        (r#"{"type":"UNKNOWN","framework_id":{"value":"f"}}"#, Code::Unimplemented),
        (r#"{"type":"KILL","framework_id":{"value":"f"}}"#, Code::InvalidArgument),
        (SUBSCRIBE, Code::InvalidArgument),
        ("{}", Code::InvalidArgument),
    ] {
        assert_eq!(client.call(call(text)).await.unwrap_err().code(), code, "{text}");
    }
    let first = Request::new(tokio_stream::iter([call(REVIVE)]));
    assert_eq!(client.connect(first).await.unwrap_err().code(), Code::InvalidArgument);
    let mut events = client.connect(tokio_stream::iter([call(SUBSCRIBE)])).await.unwrap().into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().error.unwrap().message, "no");
    assert!(events.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_refused_call_on_the_stream_ends_it_with_its_status() {
    let world = world().await;
    let (calls, response) = connected(&world).await;
    let mut events = response.into_inner();
    calls.send(call(r#"{"type":"KILL","framework_id":{"value":"f"}}"#)).await.unwrap();
    let status = loop {
        match events.message().await {
            Ok(event) => assert!(event.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn health_is_served_on_the_same_port() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let world = world().await;
    let mut client = HealthClient::new(channel(&world).await);
    let service = "mesos.services.v1.Scheduler".to_owned();
    let response = client.check(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(response.status, 1);
    assert_eq!(world.get("/health").await.status(), 200);
}

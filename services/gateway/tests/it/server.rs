//! The port, health, and the end.

use std::{sync::Arc, time::Duration};

use mesos_gateway::{Gateway, GatewayOptions};
use mesos_runtime::telemetry::Metrics;

use crate::harness::{bind, options, ports, world};

#[tokio::test]
async fn a_taken_port_is_one_line_that_says_which_and_what_to_do() {
    let ports = ports();
    let first = bind(options(), &ports).await;
    let port = first.local_addr().port();
    let taken = GatewayOptions { port, ..options() };
    let Err(error) = Gateway::bind(taken, ports, Metrics::default()).await else { panic!("bound twice") };
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && text.contains("--port") && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_gateway_says_why_it_is_not_ready_and_when_it_is() {
    let world = world().await;
    assert_eq!(world.get("/health").await.body.len(), 0);
    world.until(|| async { world.get("/ready").await.text().contains("no leader of: allocator, registry") }).await;
    assert_eq!(world.call(r#"{"type":"REVIVE","framework_id":{"value":"f"}}"#, None).await.status(), 202);
    assert!(world.get("/ready").await.text().contains("no leader of: allocator"));
    assert_eq!(world.call(r#"{"type":"DECLINE","framework_id":{"value":"f"},"decline":{}}"#, None).await.status(), 202);
    assert_eq!(world.get("/ready").await.status(), 200);
    let metrics = world.get("/metrics").await;
    assert!(metrics.text().contains("mesos_gateway_streams 0"));
}

#[tokio::test]
async fn a_stopping_gateway_ends_its_streams_and_does_not_call_them_closed() {
    let mut world = world().await;
    let mut client = world.subscribe().await;
    assert_eq!(client.event().await["type"], "SUBSCRIBED");
    world.stop.cancel();
    while client.next().await.is_some() {}
    let served = &mut world.served;
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err());
    let asked = world.asked.registry.lock().unwrap();
    assert!(!asked.iter().any(|call| matches!(call.what, mesos_core::message::RegistryCall::Closed { .. })));
    drop(Arc::clone(&world.asked));
}

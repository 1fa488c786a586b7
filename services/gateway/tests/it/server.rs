//! The port, health, and the end.

use std::time::Duration;

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
}

#[tokio::test]
async fn an_agent_speaks_over_its_link_and_is_kept_to_its_own_subjects() {
    use mesos_bus::{LinkBus, LinkOptions};
    use mesos_ports::bus::Bus as _;
    let world = world().await;
    let address = world.address.to_string();
    let options = LinkOptions { agent_id: "l-S1".into(), instance: "i".into(), ..LinkOptions::default() };
    let link = LinkBus::connect(vec![address.clone()], options.clone()).await.unwrap();
    let subjects = &world.ports.subjects;
    let mut own = link.subscribe(&subjects.agent("l-S1")).await.unwrap();
    world.ports.bus.publish(&subjects.agent("l-S1"), Vec::new(), "order".into()).await.unwrap();
    assert_eq!(futures::StreamExt::next(&mut own).await.unwrap().payload, "order");
    assert!(link.subscribe(&subjects.agent("l-S2")).await.is_err());
    assert!(link.request(&subjects.agent("l-S2"), Vec::new(), "x".into(), Duration::from_secs(1)).await.is_err());
    let elsewhere = LinkOptions { cluster: "elsewhere".into(), ..options };
    let Err(error) = LinkBus::connect(vec![address], elsewhere).await else { panic!("admitted") };
    assert!(error.to_string().contains("--cluster=default"), "{error}");
}

#[tokio::test]
async fn larger_answers_are_packed_for_those_who_ask_and_streams_never_are() {
    let world = world().await;
    let gzip = ("Accept-Encoding", "gzip");
    // Gauges come with the first look at the copy.
    world.until(|| async { world.get("/metrics").await.body.len() >= 2048 }).await;
    assert_eq!(world.get("/metrics").await.header("Content-Encoding"), None);
    assert_eq!(world.ask("GET", "/metrics", &[gzip], "").await.header("Content-Encoding"), Some("gzip"));
    assert_eq!(world.ask("GET", "/ready", &[gzip], "").await.header("Content-Encoding"), None);
    drop(world.subscribe().await);
    let headers = [gzip, ("Content-Type", "application/json")];
    let stream = world.send("POST", "/api/v1/scheduler", &headers, crate::harness::SUBSCRIBE).await;
    assert_eq!((stream.status().as_u16(), stream.headers().get("Content-Encoding")), (200, None));
}

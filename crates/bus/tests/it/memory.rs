use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use mesos_bus::{Limits, MemoryBus};
use mesos_ports::bus::{Bus, BusEvent};
use mesos_ports::conformance::bus::{Fixture, Outage, run};

/// Cuts every client of a broker.
struct CutAll(Vec<Arc<MemoryBus>>);

#[async_trait]
impl Outage for CutAll {
    async fn begin(&self) {
        self.0.iter().for_each(|client| client.cut());
    }

    async fn end(&self) {
        self.0.iter().for_each(|client| client.heal());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_bus_conforms() {
    run(|| async {
        let first = MemoryBus::new();
        let clients = vec![Arc::new(first.client()), Arc::new(first.client()), Arc::new(first)];
        Fixture {
            clients: clients.iter().map(|client| client.clone() as Arc<dyn Bus>).collect(),
            outage: Box::new(CutAll(clients)),
            keep: Box::new(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_cut_off_misses_what_the_others_hear() {
    let a = MemoryBus::new();
    let b = a.client();
    let mut events = b.events();
    let mut at_a = a.subscribe("x").await.unwrap();
    let mut at_b = b.subscribe("x").await.unwrap();
    b.cut();
    b.cut();
    a.publish("x", Vec::new(), "one".into()).await.unwrap();
    assert!(b.publish("x", Vec::new(), Bytes::new()).await.is_err());
    b.heal();
    a.publish("x", Vec::new(), "two".into()).await.unwrap();
    assert_eq!(at_a.next().await.unwrap().payload, "one");
    assert_eq!(at_b.next().await.unwrap().payload, "two");
    assert_eq!(events.next().await, Some(BusEvent::Disconnected));
    assert_eq!(events.next().await, Some(BusEvent::Reconnected));
}

#[tokio::test]
async fn the_payload_is_shared_and_not_copied() {
    let bus = MemoryBus::new();
    let mut exact = bus.subscribe("x").await.unwrap();
    let mut wild = bus.subscribe("*").await.unwrap();
    let payload = Bytes::from(vec![1; 100_000]);
    bus.publish("x", Vec::new(), payload.clone()).await.unwrap();
    for subscription in [&mut exact, &mut wild] {
        assert_eq!(subscription.next().await.unwrap().payload.as_ptr(), payload.as_ptr());
    }
}

#[tokio::test]
async fn lost_messages_are_counted() {
    let bus = MemoryBus::with_limits(Limits { messages: 10, ..Limits::default() });
    let subscription = bus.subscribe("x").await.unwrap();
    for _ in 0..15 {
        bus.publish("x", Vec::new(), Bytes::new()).await.unwrap();
    }
    assert_eq!(bus.lost(), 5);
    assert_eq!(subscription.take(10).count().await, 10);
}

#[tokio::test]
async fn streams_end_when_the_last_client_is_gone() {
    let bus = MemoryBus::new();
    let subscription = bus.subscribe("x").await.unwrap();
    bus.publish("x", Vec::new(), Bytes::new()).await.unwrap();
    drop(bus);
    assert_eq!(subscription.count().await, 1);
}

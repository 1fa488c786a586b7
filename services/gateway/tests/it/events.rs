//! What a stream's client is told, and what happens when it goes or does not read.

use std::{sync::Arc, time::Duration};

use mesos_core::message::{Answer, InverseOffer, Offer, RegistryCall, StreamEvent, Unavailability};
use mesos_gateway::{
    calls::{Calls, Known},
    streams::{Limits, Streams},
    view::View,
};
use mesos_model::{Resources, Source, TaskState, TaskStatus, Time};
use mesos_ports::conformance::forgetful::Forgetful;
use mesos_proto::{prost::Message as _, v1};
use tokio_util::sync::CancellationToken;
use v1::scheduler::{Event, event::Type};

use crate::harness::{friendly, options, ports, run_registry, tell, world, world_with};

fn offer(id: &str) -> Offer {
    Offer {
        id: id.into(),
        role: "*".into(),
        agent: "a".into(),
        hostname: "h".into(),
        ip: String::new(),
        port: 5051,
        resources: Resources::of(&[("cpus", 1000)]),
        attributes: vec![],
        domain: None,
        executors: vec![],
        unavailability: None,
    }
}

#[tokio::test]
async fn events_come_in_order_on_the_stream_that_they_are_for() {
    let world = world().await;
    let mut client = world.subscribe().await;
    assert_eq!(client.event().await["type"], "SUBSCRIBED");
    let stream = world.subscription().1;
    let status = TaskStatus::new("t".into(), TaskState::Running, Source::Agent, Time(1000));
    world.tell("f", stream + 1, vec![StreamEvent::Rescind("other stream".into())]).await;
    world.tell("g", stream, vec![StreamEvent::Rescind("other framework".into())]).await;
    let update = StreamEvent::Update { status, trace: None };
    world.tell("f", stream, vec![StreamEvent::Offers(vec![offer("l-O1")]), update]).await;
    assert_eq!(client.event().await["offers"]["offers"][0]["id"]["value"], "l-O1");
    assert_eq!(client.event().await["update"]["status"]["state"], "TASK_RUNNING");
}

#[tokio::test]
async fn an_error_is_the_last_event_and_the_registry_is_not_told_of_it() {
    let world = world().await;
    let mut client = world.subscribe().await;
    let stream = world.subscription().1;
    world
        .tell("f", stream, vec![StreamEvent::Error("Framework failed over".into()), StreamEvent::Rescind("o".into())])
        .await;
    assert_eq!(client.event().await["type"], "SUBSCRIBED");
    assert_eq!(client.event().await["error"]["message"], "Framework failed over");
    assert_eq!(client.next().await, None);
    let asked = world.asked.registry.lock().unwrap();
    assert!(!asked.iter().any(|call| matches!(call.what, RegistryCall::Closed { .. })));
}

#[tokio::test]
async fn a_peer_that_goes_away_is_told_to_the_registry_at_once() {
    let world = world().await;
    let mut client = world.subscribe().await;
    assert_eq!(client.event().await["type"], "SUBSCRIBED");
    let stream = world.subscription().1;
    drop(client);
    let closed = RegistryCall::Closed { framework: "f".into(), stream };
    world.until(|| async { world.asked.registry.lock().unwrap().iter().any(|call| call.what == closed) }).await;
}

#[tokio::test]
async fn open_streams_are_reported_every_two_seconds() {
    let world = world().await;
    let _client = world.subscribe().await;
    let report = RegistryCall::Streams(vec![("f".into(), world.subscription().1)]);
    world.until(|| async { world.asked.registry.lock().unwrap().iter().any(|call| call.what == report) }).await;
}

#[tokio::test]
async fn f60_a_client_that_does_not_read_is_cut_off_and_the_others_notice_nothing() {
    let mut options = options();
    options.queue_max = 64;
    let world = world_with(options, Arc::new(friendly), Arc::new(|_| Answer::accepted())).await;
    let slow = world.subscribe().await;
    let slow_stream = world.subscription().1;
    let mut other = world.subscribe().await;
    let other_stream = world.subscription().1;
    assert_eq!(other.event().await["type"], "SUBSCRIBED");
    let message = || StreamEvent::Message { agent: "a".into(), executor: "e".into(), data: vec![7; 256 * 1024].into() };
    let closed = RegistryCall::Closed { framework: "f".into(), stream: slow_stream };
    let is_closed = || world.asked.registry.lock().unwrap().iter().any(|call| call.what == closed);
    // More than the queue and both ends' socket buffers hold.
    for _ in 0..400 {
        if is_closed() {
            break;
        }
        world.tell("f", slow_stream, vec![message()]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.until(|| async { is_closed() }).await;
    world.tell("f", other_stream, vec![StreamEvent::Rescind("o".into())]).await;
    assert_eq!(other.event().await["type"], "RESCIND");
    assert!(world.get("/metrics").await.text().contains("mesos_gateway_streams_cut_off 1"));
    drop(slow);
}

#[tokio::test]
async fn there_are_only_so_many_streams() {
    let mut options = options();
    options.streams_max = 1;
    let world = world_with(options, Arc::new(friendly), Arc::new(|_| Answer::accepted())).await;
    let mut first = world.subscribe().await;
    assert_eq!(first.event().await["type"], "SUBSCRIBED");
    assert_eq!(world.call(crate::harness::SUBSCRIBE, None).await.status(), 503);
}

struct Bare {
    streams: Streams,
    ports: mesos_runtime::shell::Ports,
    stop: CancellationToken,
}

async fn bare() -> Bare {
    bare_on(ports()).await
}

async fn bare_on(ports: mesos_runtime::shell::Ports) -> Bare {
    run_registry(&ports, Arc::new(friendly), Arc::default()).await;
    let calls =
        Calls::new(&ports, "g".into(), Duration::from_secs(5), Arc::new(|_| Known::default()), &Default::default());
    let limits = Limits { streams: 10, events: 100, bytes: 1 << 20 };
    let stop = CancellationToken::new();
    let streams = Streams::start(&ports, "g", limits, calls, Arc::new(View::default()), stop.clone());
    Bare { streams, ports, stop }
}

impl Bare {
    async fn prepare(&self) -> mesos_gateway::streams::Pending {
        loop {
            if let Some(pending) = self.streams.prepare(Default::default(), CancellationToken::new()) {
                return pending;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn kind(event: &bytes::Bytes) -> Type {
    Event::decode(event.clone()).unwrap().r#type()
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_follows_subscribed_at_once_and_then_every_fifteen_seconds() {
    let bare = bare().await;
    let mut subscription = bare.prepare().await.confirmed("f".into(), v1::MasterInfo::default());
    let begin = tokio::time::Instant::now();
    assert_eq!(kind(&subscription.next().await.unwrap()), Type::Subscribed);
    assert_eq!(kind(&subscription.next().await.unwrap()), Type::Heartbeat);
    assert!(begin.elapsed() < Duration::from_millis(1));
    for beats in 1..4 {
        assert_eq!(kind(&subscription.next().await.unwrap()), Type::Heartbeat);
        assert_eq!(begin.elapsed().as_secs(), 15 * beats);
    }
    bare.stop.cancel();
    assert_eq!(subscription.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn events_that_overtake_the_answer_wait_for_subscribed() {
    let bare = bare().await;
    let pending = bare.prepare().await;
    tell(&bare.ports, &"g".into(), "f", pending.stream(), vec![StreamEvent::Rescind("o".into())]).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut subscription = pending.confirmed("f".into(), v1::MasterInfo::default());
    let mut found = Vec::new();
    for _ in 0..3 {
        found.push(kind(&subscription.next().await.unwrap()));
    }
    assert_eq!(found, [Type::Subscribed, Type::Heartbeat, Type::Rescind]);
}

#[tokio::test(start_paused = true)]
async fn offers_that_were_not_answered_are_rescinded_when_the_allocator_has_a_new_term() {
    let bare = bare().await;
    let mut subscription = bare.prepare().await.confirmed("f".into(), v1::MasterInfo::default());
    let stream = subscription.stream();
    let g = "g".into();
    let offers = ["old-O1", "old-O2", "old-O3"].map(offer).to_vec();
    tell(&bare.ports, &g, "f", stream, vec![StreamEvent::Offers(offers), StreamEvent::Rescind("old-O3".into())]).await;
    for _ in 0..4 {
        subscription.next().await.unwrap();
    }
    bare.streams.answered(stream, &["old-O1".into()]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    bare.streams.allocator_term_changed();
    let event = Event::decode(subscription.next().await.unwrap()).unwrap();
    assert_eq!(event.rescind.unwrap().offer_id.value, "old-O2");
    // A late offer of the old term is never told; the new term's is.
    let late = vec![StreamEvent::Offers(vec![offer("old-O4")]), StreamEvent::Offers(vec![offer("new-O1")])];
    tell(&bare.ports, &g, "f", stream, late).await;
    let event = Event::decode(subscription.next().await.unwrap()).unwrap();
    assert_eq!(event.offers.unwrap().offers[0].id.value, "new-O1");
    // The news of a term that speaks already changes nothing.
    bare.streams.allocator_term_changed();
    tell(&bare.ports, &g, "f", stream, vec![StreamEvent::Error("end".into())]).await;
    assert_eq!(kind(&subscription.next().await.unwrap()), Type::Error);
    assert_eq!(subscription.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn inverse_offers_that_were_not_answered_are_rescinded_when_the_allocator_has_a_new_term() {
    let inverse = |id: &str| InverseOffer {
        id: id.into(),
        agent: "a".into(),
        hostname: "h".into(),
        ip: String::new(),
        port: 5051,
        unavailability: Unavailability { start_ns: 7, duration_ns: None },
    };
    let bare = bare().await;
    let mut subscription = bare.prepare().await.confirmed("f".into(), v1::MasterInfo::default());
    let (g, stream) = ("g".into(), subscription.stream());
    let asked = ["old-I1", "old-I2", "old-I3"].map(inverse).to_vec();
    let events = vec![StreamEvent::InverseOffers(asked), StreamEvent::RescindInverse("old-I3".into())];
    tell(&bare.ports, &g, "f", stream, events).await;
    for _ in 0..4 {
        subscription.next().await.unwrap();
    }
    bare.streams.answered(stream, &["old-I1".into()]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Whatever the new leader says first voids what the old one asked.
    let news = vec![StreamEvent::InverseOffers(vec![inverse("new-I0")])];
    tell(&bare.ports, &g, "f", stream, news).await;
    let event = Event::decode(subscription.next().await.unwrap()).unwrap();
    assert_eq!(event.rescind_inverse_offer.unwrap().inverse_offer_id.value, "old-I2");
    let event = Event::decode(subscription.next().await.unwrap()).unwrap();
    assert_eq!(event.inverse_offers.unwrap().inverse_offers[0].id.value, "new-I0");
}

#[tokio::test]
async fn f30_events_that_cannot_be_read_are_counted_and_the_next_ones_are_told() {
    let world = world().await;
    let mut client = world.subscribe().await;
    assert_eq!(client.event().await["type"], "SUBSCRIBED");
    let (gateway, stream) = world.subscription();
    let subject = world.ports.subjects.gateway(gateway.as_str());
    let foreign = mesos_model::envelope::seal("other", &1).unwrap();
    for garbage in [&b""[..], b"garbage", &foreign] {
        let garbage = bytes::Bytes::copy_from_slice(garbage);
        world.ports.bus.publish(&subject, Vec::new(), garbage).await.unwrap();
    }
    world.tell("f", stream, vec![StreamEvent::Rescind("o".into())]).await;
    assert_eq!(client.event().await["type"], "RESCIND");
    let metrics = world.get("/metrics").await.text();
    assert!(metrics.contains("mesos_gateway_messages_undecodable_total 3"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn f24_a_gateway_whose_subscription_the_bus_has_forgotten_hears_again() {
    let bus = Arc::new(Forgetful::new(Arc::new(mesos_bus::MemoryBus::new())));
    let bare = bare_on(mesos_runtime::shell::Ports { bus: bus.clone(), ..ports() }).await;
    let mut subscription = bare.prepare().await.confirmed("f".into(), v1::MasterInfo::default());
    let stream = subscription.stream();
    for _ in 0..2 {
        subscription.next().await.unwrap();
    }
    bus.forget();
    // What is told now is lost; what the registry tells again some seconds later is not.
    tell(&bare.ports, &"g".into(), "f", stream, vec![StreamEvent::Rescind("lost".into())]).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    tell(&bare.ports, &"g".into(), "f", stream, vec![StreamEvent::Rescind("o".into())]).await;
    let event = Event::decode(subscription.next().await.unwrap()).unwrap();
    assert_eq!(event.rescind.map(|rescind| rescind.offer_id.value), Some("o".to_owned()));
    assert_eq!(bare.streams.renewed(), 1);
    drop(bare.stop);
}

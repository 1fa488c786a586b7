use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use mesos_bus::{Limits, NatsBus, NatsOptions};
use mesos_ports::bus::{Bus, BusError};
use mesos_ports::conformance::bus::{Fixture, Outage, run};

use crate::nats_server::{NatsServer, free_address, program};

pub(crate) struct Kill(pub(crate) Arc<NatsServer>);

#[async_trait]
impl Outage for Kill {
    async fn begin(&self) {
        self.0.kill();
    }

    async fn end(&self) {
        let server = self.0.clone();
        tokio::task::spawn_blocking(move || server.run()).await.unwrap();
    }
}

async fn connect(url: &str) -> Result<NatsBus, BusError> {
    NatsBus::connect(url, NatsOptions { name: "test".to_owned(), ..NatsOptions::default() }).await
}

async fn fixture(arguments: &[&str]) -> Fixture {
    let program = program().expect("checked by the caller");
    let server = Arc::new(NatsServer::start(program, arguments));
    let mut clients: Vec<Arc<dyn Bus>> = Vec::new();
    for _ in 0..2 {
        clients.push(Arc::new(connect(&server.url()).await.unwrap()));
    }
    Fixture { clients, outage: Box::new(Kill(server.clone())), keep: Box::new(server) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nats_bus_conforms_on_a_real_server() {
    if program().is_some() {
        run(|| fixture(&[])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f26_a_server_that_takes_only_small_messages_gets_many_chunks() {
    let Some(program) = program() else { return };
    let config = std::env::temp_dir().join(format!("mesos-bus-{}.conf", std::process::id()));
    std::fs::write(&config, "max_payload: 8192\n").unwrap();
    let server = NatsServer::start(program, &["-c", config.to_str().unwrap()]);
    std::fs::remove_file(&config).unwrap();
    let (a, b) = (connect(&server.url()).await.unwrap(), connect(&server.url()).await.unwrap());
    let mut subscription = b.subscribe("x").await.unwrap();
    let payload: Bytes = (0..1_000_000_u32).map(|at| (at / 7 % 256) as u8).collect();
    let headers = vec![("name".to_owned(), "v".repeat(2000)), ("b".to_owned(), "2".to_owned())];
    for _ in 0..5 {
        a.publish("x", headers.clone(), payload.clone()).await.unwrap();
        let message = subscription.next().await.unwrap();
        assert!(message.payload == payload && message.headers == headers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_the_url_are_used_and_wrong_ones_refused() {
    let Some(program) = program() else { return };
    let by_user = NatsServer::start(program.clone(), &["--user", "agent", "--pass", "p@ss:w/rd"]);
    connect(&by_user.url_as("agent:p%40ss%3Aw%2Frd")).await.unwrap();
    for wrong in [by_user.url(), by_user.url_as("agent:no-secret")] {
        // A wrong password does not become right by waiting.
        let outcome = NatsBus::connect(&wrong, NatsOptions { wait: true, ..NatsOptions::default() }).await;
        let error = outcome.err().expect("refused");
        assert!(matches!(error, BusError::Refused(_)), "{error:?}");
        assert!(!error.to_string().contains("no-secret"), "{error}");
    }
    let by_token = NatsServer::start(program, &["--auth", "t0ken"]);
    connect(&by_token.url_as("t0ken")).await.unwrap();
    let options = NatsOptions { token: Some("t0ken".to_owned()), ..NatsOptions::default() };
    NatsBus::connect(&by_token.url(), options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_connect_fails_or_waits_as_it_is_told() {
    let nobody = format!("nats://{}", free_address());
    let error = connect(&nobody).await.err().expect("nobody listens");
    assert!(matches!(&error, BusError::Unavailable(text) if text.contains(&nobody)), "{error:?}");

    let Some(program) = program() else { return };
    let server = Arc::new(NatsServer::start(program, &[]));
    server.kill();
    let url = server.url();
    let waiting =
        tokio::spawn(async move { NatsBus::connect(&url, NatsOptions { wait: true, ..NatsOptions::default() }).await });
    tokio::task::yield_now().await;
    server.run();
    let bus = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap().unwrap();
    bus.flush().await.unwrap();
}

/// A server of version 2.9.10, as far as its greeting goes.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_is_refused_with_its_version() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let info = r#"{"server_id":"x","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}"#;
        stream.write_all(format!("INFO {info}\r\n").as_bytes()).unwrap();
        let mut bytes = [0; 4096];
        while let Ok(1..) = stream.read(&mut bytes) {
            let _ = stream.write_all(b"PONG\r\n");
        }
    });
    let error = connect(&url).await.err().expect("too old");
    assert!(matches!(error, BusError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("2.9.10") && error.to_string().contains("2.10 or newer"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_noticed_and_nothing_waits_for_ever() {
    let Some(program) = program() else { return };
    let server = NatsServer::start(program, &[]);
    let options = NatsOptions { ping_interval: Duration::from_millis(500), ..NatsOptions::default() };
    let bus = NatsBus::connect(&server.url(), options).await.unwrap();
    let mut events = bus.events();
    let _subscription = bus.subscribe("x").await.unwrap();
    server.pause();
    let started = Instant::now();
    let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("noticed");
    assert_eq!(event, Some(mesos_ports::bus::BusEvent::Disconnected));
    let outcome = bus.request("x", Vec::new(), Bytes::new(), Duration::from_secs(60)).await;
    assert!(matches!(outcome, Err(BusError::Unavailable(_))), "{outcome:?} after {:?}", started.elapsed());
    server.resume();
    let event = tokio::time::timeout(Duration::from_secs(30), events.next()).await.expect("it is back");
    assert_eq!(event, Some(mesos_ports::bus::BusEvent::Reconnected));
}

/// A subscription that is silently dead after a reconnect would be worse than a lost connection.
#[tokio::test(flavor = "multi_thread")]
async fn f24_a_hundred_restarts_leave_every_subscription_alive() {
    let Some(program) = program() else { return };
    let server = NatsServer::start(program, &[]);
    let (a, b) = (connect(&server.url()).await.unwrap(), connect(&server.url()).await.unwrap());
    let mut subscriptions = Vec::new();
    for number in 0..20 {
        subscriptions.push(b.subscribe(&format!("s{number}.*")).await.unwrap());
    }
    for round in 0..100 {
        let mut events = [a.events(), b.events()];
        server.kill();
        server.run();
        for events in &mut events {
            let back = async { while events.next().await != Some(mesos_ports::bus::BusEvent::Reconnected) {} };
            tokio::time::timeout(Duration::from_secs(30), back).await.expect("it comes back");
        }
        for (number, subscription) in subscriptions.iter_mut().enumerate() {
            a.publish(&format!("s{number}.x"), Vec::new(), format!("{round}").into()).await.unwrap();
            let message = tokio::time::timeout(Duration::from_secs(30), subscription.next()).await;
            assert_eq!(message.expect("it lives").unwrap().payload, format!("{round}"));
        }
    }
}

/// A subscriber that does not read costs a bounded amount of memory, loses what does not fit, and knows the number;
/// one beside it on the same connection loses nothing and waits for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn f23_a_subscriber_that_does_not_read_loses_what_does_not_fit_and_slows_nobody() {
    let Some(program) = program() else { return };
    let server = NatsServer::start(program, &[]);
    let limits = Limits { messages: 100, bytes: 1 << 20 };
    let options = NatsOptions { limits, ..NatsOptions::default() };
    let (sender, reader) =
        (connect(&server.url()).await.unwrap(), NatsBus::connect(&server.url(), options).await.unwrap());
    let mut slow = reader.subscribe("flood").await.unwrap();
    let mut other = reader.subscribe("other").await.unwrap();
    let began = Instant::now();
    for number in 0..1000_u32 {
        sender.publish("flood", Vec::new(), Bytes::from(number.to_be_bytes().to_vec())).await.unwrap();
        if number % 100 == 0 {
            sender.publish("other", Vec::new(), Bytes::from(number.to_be_bytes().to_vec())).await.unwrap();
            let message = tokio::time::timeout(Duration::from_secs(10), other.next()).await.expect("not slowed");
            assert_eq!(message.unwrap().payload, number.to_be_bytes().to_vec());
        }
    }
    sender.publish("other", Vec::new(), Bytes::new()).await.unwrap();
    other.next().await.unwrap();
    // Each subscription is served by itself, so the slow one's may take a moment longer.
    let all = async {
        while reader.lost() < 900 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let counted = tokio::time::timeout(Duration::from_secs(10), all).await;
    assert_eq!((counted.is_ok(), reader.lost()), (true, 900), "after {:?}", began.elapsed());
    // What fitted is there in order, and what comes after it has room again.
    for number in 0..100_u32 {
        assert_eq!(slow.next().await.unwrap().payload, number.to_be_bytes().to_vec());
    }
    sender.publish("flood", Vec::new(), "again".into()).await.unwrap();
    assert_eq!(slow.next().await.unwrap().payload, "again");
}

/// Nothing of NATS that keeps messages is compiled in: what is not sent again by its owner must not come back.
#[test]
fn f25_the_client_has_nothing_that_keeps_messages() {
    let manifest = include_str!("../../../../Cargo.toml");
    let line = manifest.lines().find(|line| line.starts_with("async-nats")).expect("it is in the manifest");
    assert!(line.contains("default-features = false"), "{line}");
    for feature in ["jetstream", "kv", "object-store", "service", "websockets"] {
        assert!(!line.contains(feature), "{line}");
    }
}

//! NATS over TLS with users of an account, as `.creds` files have them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use mesos_bus::{NatsBus, NatsOptions};
use mesos_ports::bus::{Bus, BusError, BusEvent};
use mesos_ports::conformance::bus::{Fixture, run};
use mesos_ports::conformance::certificates::Authority;
use mesos_ports::conformance::nats_users::Account;
use tempfile::TempDir;

use crate::nats::Kill;
use crate::nats_server::{NatsServer, program};

/// The files of a server that has one account and wants TLS, and of its clients.
struct Secured {
    dir: TempDir,
    authority: Authority,
    account: Account,
}

impl Secured {
    fn new() -> Secured {
        let secured =
            Secured { dir: tempfile::tempdir().unwrap(), authority: Authority::new(), account: Account::new() };
        secured.authority.write(secured.dir.path());
        let (certificate, key) = secured.authority.issue(&["127.0.0.1"]).write(secured.dir.path(), "nats");
        let users = secured.account.server_config();
        let config = format!("{users}tls {{ cert_file: {certificate:?}, key_file: {key:?}, timeout: 5 }}\n");
        std::fs::write(secured.path("nats.conf"), config).unwrap();
        secured.account.write_user(&secured.path("control.creds"), None);
        secured
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server(&self, program: PathBuf) -> NatsServer {
        NatsServer::start(program, &["-c", self.path("nats.conf").to_str().unwrap()])
    }

    fn options(&self) -> NatsOptions {
        NatsOptions {
            ca: Some(self.path("ca.crt")),
            credentials: Some(self.path("control.creds")),
            ..NatsOptions::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nats_bus_conforms_over_tls_with_credentials() {
    let Some(program) = program() else { return };
    run(|| async {
        let secured = Secured::new();
        let server = Arc::new(secured.server(program.clone()));
        let mut clients: Vec<Arc<dyn Bus>> = Vec::new();
        for _ in 0..2 {
            clients.push(Arc::new(NatsBus::connect(&server.tls_url(), secured.options()).await.unwrap()));
        }
        Fixture { clients, outage: Box::new(Kill(server.clone())), keep: Box::new((server, secured)) }
    })
    .await;
}

async fn refusal(url: &str, options: NatsOptions) -> String {
    // Waiting changes nothing about any of these.
    let connecting = NatsBus::connect(url, NatsOptions { wait: true, ..options });
    match tokio::time::timeout(Duration::from_secs(10), connecting).await.expect("it is not tried again and again") {
        Err(BusError::Refused(text)) => text,
        Err(other) => panic!("{url}: {other}"),
        Ok(_) => panic!("{url} is let in"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_let_in_is_told_the_option_and_what_to_do() {
    let Some(program) = program() else { return };
    let secured = Secured::new();
    let server = secured.server(program.clone());
    let (url, good) = (server.tls_url(), secured.options());
    // Also where the URL does not ask for TLS: the CA does.
    for url in [&url, &server.url()] {
        NatsBus::connect(url, good.clone()).await.unwrap();
    }
    assert!(refusal(&url, NatsOptions { credentials: None, ..good.clone() }).await.contains("--nats-credentials"));
    Account::new().write_user(&secured.path("foreign.creds"), None);
    let foreign = NatsOptions { credentials: Some(secured.path("foreign.creds")), ..good.clone() };
    assert!(refusal(&url, foreign).await.contains("--nats-credentials"));
    for (file, says) in [("missing.creds", "cannot be read"), ("ca.crt", "expected a .creds file")] {
        let text = refusal(&url, NatsOptions { credentials: Some(secured.path(file)), ..good.clone() }).await;
        assert!(text.contains("--nats-credentials") && text.contains(file) && text.contains(says), "{text}");
    }

    for url in [&url, &server.url()] {
        let text = refusal(url, NatsOptions { ca: None, ..good.clone() }).await;
        assert!(text.contains("--nats-ca must name"), "{text}");
    }
    std::fs::write(secured.path("other.crt"), Authority::new().pem()).unwrap();
    let other = NatsOptions { ca: Some(secured.path("other.crt")), ..good.clone() };
    assert!(refusal(&url, other).await.contains("--nats-ca must name"));
    let none = NatsOptions { ca: Some(secured.path("nats.conf")), ..good.clone() };
    assert!(refusal(&url, none).await.contains("holds no certificate"));

    let named = Secured::new();
    named.authority.issue(&["nats.example"]).write(named.dir.path(), "nats");
    let elsewhere = named.server(program.clone());
    let text = refusal(&elsewhere.tls_url(), named.options()).await;
    assert!(text.contains("nats.example") && text.contains("--nats-url"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_to_be_encrypted_is_never_a_plain_one() {
    let Some(program) = program() else { return };
    let secured = Secured::new();
    let plain = NatsServer::start(program, &[]);
    for (url, ca) in [(plain.tls_url(), None), (plain.url(), Some(secured.path("ca.crt")))] {
        let outcome = NatsBus::connect(&url, NatsOptions { ca, ..NatsOptions::default() }).await;
        let error = outcome.err().expect("refused").to_string();
        assert!(error.contains("TLS"), "{error}");
    }
}

/// What was true of an event stream before something happened, until it is so again.
async fn until(bus: &NatsBus, wanted: BusEvent, happens: impl FnOnce()) {
    let mut events = bus.events();
    happens();
    let seen = async { while events.next().await != Some(wanted) {} };
    tokio::time::timeout(Duration::from_secs(30), seen).await.expect("it happens");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_and_a_new_authority_are_taken_up_without_a_restart() {
    let Some(program) = program() else { return };
    let secured = Secured::new();
    let server = secured.server(program);
    secured.account.write_user(&secured.path("short.creds"), Some(Duration::from_secs(3)));
    let options = NatsOptions { credentials: Some(secured.path("short.creds")), ..secured.options() };
    let bus = NatsBus::connect(&server.tls_url(), options).await.unwrap();
    let other = NatsBus::connect(&server.tls_url(), secured.options()).await.unwrap();
    let mut heard = bus.subscribe("x").await.unwrap();
    // The server ends the connection of a user whose time is over; the next one shows what is in the file then.
    until(&bus, BusEvent::Reconnected, || secured.account.write_user(&secured.path("short.creds"), None)).await;
    other.publish("x", Vec::new(), "1".into()).await.unwrap();
    assert_eq!(heard.next().await.unwrap().payload, "1");

    let next = Authority::new();
    until(&bus, BusEvent::Reconnected, || {
        next.issue(&["127.0.0.1"]).write(secured.dir.path(), "nats");
        next.write(secured.dir.path());
        server.kill();
        server.run();
    })
    .await;
    let back = async {
        while other.publish("x", Vec::new(), "2".into()).await.is_err() || other.flush().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("the other one is back too");
    assert_eq!(heard.next().await.unwrap().payload, "2");
}

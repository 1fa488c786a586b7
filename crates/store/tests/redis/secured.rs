//! TLS and users: who is let in, what is said to who is not, and how files are changed under a running service.

use std::time::{Duration, Instant};

use mesos_ports::conformance::certificates::Authority;
use mesos_ports::store::{Store, StoreError};
use mesos_store::redis::{RedisOptions, RedisStore};

use crate::server::{self, PASSWORD, Secured, Server};
use crate::{commit, leader, open};

async fn refusal(url: &str, options: RedisOptions) -> String {
    let start = Instant::now();
    loop {
        match RedisStore::connect(url, "test", options.clone()).await {
            Ok(_) => panic!("{url} is let in"),
            Err(StoreError::Unusable(text)) => return text,
            // A machine with much to do may take longer than a connect may.
            Err(other) => assert!(start.elapsed() < Duration::from_secs(30), "{url}: {other}, again and again"),
        }
    }
}

/// Asks until it is done, as a leader does whose store is away.
async fn settle(store: &RedisStore, fence: mesos_ports::store::Fence, value: &str) -> u64 {
    let wanted = commit(fence, value);
    let start = Instant::now();
    loop {
        match store.commit(wanted.clone()).await {
            Ok(done) => return done.seq,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_the_option_and_what_to_do() {
    if !server::is_there() {
        return;
    }
    let secured = Secured::new();
    let server = Server::start_secured(&[], &secured).await;
    let (url, good) = (format!("rediss://{}", server.tls_address()), secured.options());
    open(server.tls_address(), Some(&secured)).await;

    let user = "--redis-username and --redis-password-file";
    secured.write("wrong", "wrong");
    secured.write("nothing", "\n");
    let wrong = RedisOptions { password_file: Some(secured.path("wrong").into()), ..good.clone() };
    let text = refusal(&url, wrong).await;
    assert!(text.contains(user) && !text.contains(PASSWORD), "{text}");
    let unknown = RedisOptions { username: Some("nobody".to_owned()), ..good.clone() };
    assert!(refusal(&url, unknown).await.contains(user));
    for name in ["nothing", "missing"] {
        let options = RedisOptions { password_file: Some(secured.path(name).into()), ..good.clone() };
        let text = refusal(&url, options).await;
        assert!(text.contains("--redis-password-file") && text.contains(name), "{text}");
    }

    secured.write("other.crt", &Authority::new().pem());
    let other = RedisOptions { ca: Some(secured.path("other.crt").into()), ..good.clone() };
    assert!(refusal(&url, other).await.contains("--redis-ca must name"));
    // A build for tests takes its time to read all that the system trusts.
    let system = RedisOptions { ca: None, connect_timeout: Duration::from_secs(30), ..good.clone() };
    assert!(refusal(&url, system).await.contains("--redis-ca must name"));
    let none = RedisOptions { ca: Some(secured.path("password").into()), ..good.clone() };
    assert!(refusal(&url, none).await.contains("holds no certificate"));
    let plain = format!("rediss://{}", server.address());
    // Whether such a server answers at once depends on the random bytes of the greeting.
    let error = RedisStore::connect(&plain, "test", good.clone()).await.err().expect("refused").to_string();
    assert!(error.contains("does not speak TLS"), "{error}");
    let unencrypted = RedisOptions { ca: None, ..good };
    let error = RedisStore::connect(&format!("redis://{}", server.tls_address()), "test", unencrypted).await;
    let error = error.err().expect("refused").to_string();
    assert!(error.contains("must begin with rediss"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    if !server::is_there() {
        return;
    }
    let secured = Secured::new();
    let issued = secured.authority.issue(&["redis.example"]);
    secured.write("redis.crt", &issued.certificate);
    secured.write("redis.key", &issued.key);
    let server = Server::start_secured(&[], &secured).await;
    let text = refusal(&format!("rediss://{}", server.tls_address()), secured.options()).await;
    assert!(text.contains("redis.example") && text.contains("--redis-url"), "{text}");
}

#[tokio::test]
async fn a_user_without_a_permission_is_told_where_they_are_listed() {
    if !server::is_there() {
        return;
    }
    let secured = Secured::new();
    let server = Server::start_secured(&[], &secured).await;
    let store = open(server.tls_address(), Some(&secured)).await;
    let fence = leader(&store).await;
    server::command(&server.url(), &["ACL", "SETUSER", "mesos", "-xadd"]).await;
    let error = store.commit(commit(fence, "1")).await.expect_err("it may not");
    let text = error.to_string();
    assert!(matches!(error, StoreError::Unusable(_)) && text.contains("docs/security.md"), "{text}");
    server::command(&server.url(), &["ACL", "SETUSER", "mesos", "+xadd"]).await;
    assert_eq!(store.commit(commit(fence, "2")).await.expect("it may again").seq, 1);
    // Another cluster's keys are not this user's.
    let other = RedisStore::connect(&format!("rediss://{}", server.tls_address()), "other", secured.options())
        .await
        .expect("in");
    let error = other.acquire("allocator", uuid::Uuid::new_v4(), None, 0, crate::LONG).await.expect_err("not its keys");
    assert!(error.to_string().contains("docs/security.md"), "{error}");
}

#[tokio::test]
async fn a_new_password_and_a_new_authority_are_taken_up_without_a_restart() {
    if !server::is_there() {
        return;
    }
    let secured = Secured::new();
    let server = Server::start_secured(&[], &secured).await;
    let store = open(server.tls_address(), Some(&secured)).await;
    let mut fence = leader(&store).await;
    fence.seq = settle(&store, fence, "1").await;

    server::command(&server.url(), &["ACL", "SETUSER", "mesos", ">second"]).await;
    secured.write("password", "second\n");
    server::command(&server.url(), &["ACL", "SETUSER", "mesos", &format!("<{PASSWORD}")]).await;
    server::command(&server.url(), &["CLIENT", "KILL", "USER", "mesos"]).await;
    fence.seq = settle(&store, fence, "2").await;

    // Both authorities are trusted while servers have certificates of the one or the other.
    let next = Authority::new();
    secured.write("ca.crt", &format!("{}{}", secured.authority.pem(), next.pem()));
    let issued = next.issue(&["127.0.0.1"]);
    secured.write("redis.crt", &issued.certificate);
    secured.write("redis.key", &issued.key);
    let (certificate, key) = (secured.path("redis.crt"), secured.path("redis.key"));
    let reload = ["CONFIG", "SET", "tls-cert-file", &certificate, "tls-key-file", &key];
    server::command(&server.url(), &reload).await;
    server::command(&server.url(), &["CLIENT", "KILL", "USER", "mesos"]).await;
    fence.seq = settle(&store, fence, "3").await;
    secured.write("ca.crt", &next.pem());
    server::command(&server.url(), &["CLIENT", "KILL", "USER", "mesos"]).await;
    assert_eq!(settle(&store, fence, "4").await, 4);
}

#[tokio::test]
async fn sentinels_are_asked_and_their_primary_reached_over_tls() {
    if !server::is_there() {
        return;
    }
    let secured = Secured::new();
    let arguments = ["--tls-replication", "yes"];
    let (old, new) =
        (Server::start_secured(&arguments, &secured).await, Server::start_secured(&arguments, &secured).await);
    server::command(&new.url(), &["REPLICAOF", "127.0.0.1", &old.tls_address().port().to_string()]).await;
    new.caught_up(old.port).await;
    let sentinel = Server::sentinel_secured("main", old.tls_address().port(), &secured).await;
    // This one wants to know who asks, and gets the store's own user.
    server::command(&sentinel.url(), &["ACL", "SETUSER", "mesos", "on", &format!(">{PASSWORD}"), "+sentinel"]).await;
    server::command(&sentinel.url(), &["ACL", "SETUSER", "default", "off"]).await;
    let url = format!("rediss+sentinel://{}/main", sentinel.tls_address());
    let error = RedisStore::connect(&url.replace("rediss", "redis"), "test", RedisOptions::default()).await;
    assert!(error.is_err(), "a sentinel over TLS is not asked without");
    let store = RedisStore::connect(&url, "test", secured.options()).await.expect("connect");
    let mut fence = leader(&store).await;
    fence.seq = settle(&store, fence, "1").await;
    new.caught_up(old.port).await;
    drop(old);
    assert_eq!(settle(&store, fence, "2").await, 2);
}

#[test]
fn the_documentation_has_the_permissions_that_these_tests_run_with() {
    let docs = include_str!("../../../../docs/security.md");
    let line = server::USER.split_whitespace().collect::<Vec<_>>().join(" ").replace("mesos:test", "mesos:mesos");
    assert!(docs.contains(&line), "docs/security.md lacks: {line}");
}

//! Request and reply.

use std::sync::Arc;
use std::time::Instant;

use super::*;

pub(super) async fn a_request_is_answered(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let responder = respond(b, "svc.*", |request| {
        assert_eq!(request.headers, headers_of(&[("one", "1"), ("two", "2")]));
        let answer = [request.subject.as_bytes(), b" ", &request.payload].concat();
        (headers_of(&[("answer", "yes"), ("again", "no")]), answer.into())
    })
    .await;
    for asker in [a, b] {
        let headers = headers_of(&[("one", "1"), ("two", "2")]);
        let answer = asker.request("svc.x", headers, "hello".into(), PATIENCE).await.unwrap();
        assert_eq!(answer.payload, "svc.x hello");
        assert_eq!(answer.headers, headers_of(&[("answer", "yes"), ("again", "no")]));
    }
    responder.abort();
}

pub(super) async fn a_request_that_nobody_hears_fails_at_once(fixture: Arc<Fixture>) {
    let bus = &fixture.clients[0];
    // The first one warms up; a machine under load may be slow to do so.
    for subject in ["nobody.first", "nobody.here"] {
        let started = Instant::now();
        let outcome = ask(bus, subject, "x").await;
        assert!(matches!(&outcome, Err(BusError::NoResponders(s)) if s == subject), "{outcome:?}");
        assert!(subject == "nobody.first" || started.elapsed() < Duration::from_secs(1));
    }
    let outcome = ask(bus, "nobody.large", pattern_bytes(3 << 20, 3)).await;
    assert!(matches!(outcome, Err(BusError::NoResponders(_))), "{outcome:?}");
}

pub(super) async fn a_silent_responder_means_a_timeout(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut requests = b.subscribe("silent").await.unwrap();
    let timeout = Duration::from_millis(200);
    let started = Instant::now();
    let outcome = a.request("silent", Headers::new(), "x".into(), timeout).await;
    assert!(matches!(&outcome, Err(BusError::Timeout { subject, .. }) if subject == "silent"), "{outcome:?}");
    assert!(started.elapsed() >= timeout && started.elapsed() < Duration::from_secs(5));

    // An answer that comes too late reaches nobody, and the next request its own answer.
    let late = next(&mut requests).await.reply.expect("a request has a reply subject");
    let _ = b.publish(&late, Headers::new(), "late".into()).await;
    let answering = tokio::spawn({
        let b = b.clone();
        async move {
            let reply = next(&mut requests).await.reply.expect("a request has a reply subject");
            publish(&b, &reply, "in time").await;
        }
    });
    assert_eq!(ask(a, "silent", "y").await.unwrap().payload, "in time");
    answering.await.unwrap();
}

pub(super) async fn four_mebibytes_arrive_intact_by_request_and_reply(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let responder = respond(b, "mirror", |request| {
        let turned: Vec<u8> = request.payload.iter().rev().copied().collect();
        (request.headers.clone(), turned.into())
    })
    .await;
    for bytes in [4 << 20, 5] {
        let payload = pattern_bytes(bytes, 11);
        let headers = headers_of(&[("size", &bytes.to_string()), ("a", "b")]);
        let answer = a.request("mirror", headers.clone(), payload.clone(), PATIENCE).await.unwrap();
        assert_eq!(answer.headers, headers);
        assert!(answer.payload.iter().rev().eq(payload.iter()), "{bytes} bytes differ");
    }
    responder.abort();
}

pub(super) async fn sixty_four_requests_run_at_once(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut requests = b.subscribe("many").await.unwrap();
    let asking: Vec<_> = (0..64_u8)
        .map(|number| {
            let a = a.clone();
            tokio::spawn(async move { ask(&a, "many", vec![number]).await.unwrap().payload })
        })
        .collect();
    let mut waiting = Vec::new();
    for _ in 0..64 {
        waiting.push(next(&mut requests).await);
    }
    assert!(all_different(waiting.iter().map(|request| request.reply.clone())));
    // Answered last to first, only once all wait.
    for request in waiting.into_iter().rev() {
        let reply = request.reply.expect("a request has a reply subject");
        publish(b, &reply, vec![request.payload[0], 1]).await;
    }
    for (number, answer) in asking.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), [number as u8, 1][..]);
    }
}

pub(super) async fn a_request_can_be_given_up(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut requests = b.subscribe("given.up").await.unwrap();
    let asking = tokio::spawn({
        let a = a.clone();
        async move { ask(&a, "given.up", "x").await.map(drop) }
    });
    let reply = next(&mut requests).await.reply.expect("a request has a reply subject");
    asking.abort();
    assert!(asking.await.is_err());
    // Whether this is refused or lost is up to the adapter.
    let _ = b.publish(&reply, Headers::new(), "x".into()).await;
    drop(requests);
    let responder = respond(b, "given.up", |_| (Headers::new(), "y".into())).await;
    assert_eq!(ask(a, "given.up", "x").await.unwrap().payload, "y");
    responder.abort();
}

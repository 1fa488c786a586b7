//! Publish and subscribe.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::*;

pub(super) async fn every_subscriber_gets_a_published_message(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut subscriptions = Vec::new();
    for client in [a, a, b] {
        subscriptions.push(client.subscribe("news.today").await.unwrap());
    }
    let mut other = b.subscribe("news.tomorrow").await.unwrap();

    publish(a, "news.today", "one").await;
    publish(b, "news.today", "two").await;
    for subscription in &mut subscriptions {
        let got = [next(subscription).await, next(subscription).await];
        assert!(got.iter().all(|message| message.subject == "news.today" && message.reply.is_none()));
        assert!(got.iter().any(|message| message.payload == "one"));
        assert!(got.iter().any(|message| message.payload == "two"));
    }
    expect_only_marker(a, "news.tomorrow", &mut other).await;
}

pub(super) async fn wildcards_stand_for_tokens(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let table: &[(&str, &[&str])] = &[
        ("w.*.c", &["w.b.c", "w.x.c"]),
        ("w.>", &["w.b", "w.b.c", "w.x.c", "w.b.c.d"]),
        ("w.b.*", &["w.b.c"]),
        ("*.b", &["w.b", "v.b"]),
        ("w.b", &["w.b"]),
    ];
    let mut subscriptions = Vec::new();
    for (pattern, _) in table {
        subscriptions.push(b.subscribe(pattern).await.unwrap());
    }
    for subject in ["w", "w.b", "v.b", "w.b.c", "w.x.c", "w.b.c.d"] {
        publish(a, subject, "x").await;
    }
    for ((pattern, expected), subscription) in table.iter().zip(&mut subscriptions) {
        for subject in *expected {
            assert_eq!(&next(subscription).await.subject, subject, "{pattern}");
        }
        let marked = pattern.replace(['*', '>'], "m");
        // A marker of one pattern may be covered by an earlier one, which was read to its end.
        publish(a, &marked, "end").await;
        loop {
            let message = next(subscription).await;
            if message.subject == marked && message.payload == "end" {
                break;
            }
            assert_eq!(message.payload, "end", "{pattern} got {}", message.subject);
        }
    }
}

pub(super) async fn overlapping_subscriptions_of_one_client_each_get_the_message(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut exact = b.subscribe("o.x").await.unwrap();
    let mut wild = b.subscribe("o.*").await.unwrap();
    let large = pattern_bytes(3 << 20, 7);
    for payload in [Bytes::from_static(b"small"), large] {
        publish(a, "o.x", payload.clone()).await;
        assert!(next(&mut exact).await.payload == payload);
        assert!(next(&mut wild).await.payload == payload);
    }
    expect_only_marker(a, "o.x", &mut exact).await;
}

pub(super) async fn ten_thousand_messages_arrive_in_order(fixture: Arc<Fixture>) {
    const COUNT: u32 = 10_000;
    let a = fixture.clients[0].clone();
    let mut one = fixture.clients[1].subscribe("order.one").await.unwrap();
    let mut both = fixture.clients[1].subscribe("order.*").await.unwrap();
    let sender = tokio::spawn(async move {
        for number in 0..COUNT {
            let subject = if number % 2 == 0 { "order.one" } else { "order.two" };
            publish(&a, subject, number.to_be_bytes().to_vec()).await;
        }
    });
    for number in (0..COUNT).step_by(2) {
        assert_eq!(next(&mut one).await.payload, number.to_be_bytes()[..]);
    }
    let mut last = [None; 2];
    for _ in 0..COUNT {
        let message = next(&mut both).await;
        let number = u32::from_be_bytes(message.payload[..].try_into().unwrap());
        let subject = usize::from(message.subject == "order.two");
        assert!(last[subject] < Some(number), "{number} after {:?}", last[subject]);
        last[subject] = Some(number);
    }
    sender.await.unwrap();
}

pub(super) async fn headers_and_an_empty_payload_are_kept(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut subscription = b.subscribe("h").await.unwrap();
    let all = [
        headers_of(&[]),
        headers_of(&[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]),
        headers_of(&[("z", "1"), ("a", "two words: and, signs"), ("Kind", ""), ("kind", "x"), ("z", "2")]),
    ];
    for headers in all {
        a.publish("h", headers.clone(), Bytes::new()).await.unwrap();
        let message = next(&mut subscription).await;
        assert_eq!(message.headers, headers);
        assert!(message.payload.is_empty());
    }
}

pub(super) async fn four_mebibytes_arrive_intact_by_publish(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut subscription = b.subscribe("large.*").await.unwrap();
    let headers = headers_of(&[("kind", "large"), ("a", "b")]);
    for (seed, bytes) in [4 << 20, (4 << 20) + 1, 1 << 20, (1 << 20) - 1, 700_001].into_iter().enumerate() {
        let payload = pattern_bytes(bytes, seed as u64);
        a.publish("large.one", headers.clone(), payload.clone()).await.unwrap();
        publish(a, "large.one", "small after it").await;
        let message = next(&mut subscription).await;
        assert!(message.payload == payload, "{bytes} bytes differ");
        assert_eq!((message.subject.as_str(), &message.headers), ("large.one", &headers));
        assert_eq!(next(&mut subscription).await.payload, "small after it");
    }
}

/// 320 MiB go to two subscriptions of one client. One reads; the other holds back a bounded part.
pub(super) async fn a_slow_reader_hurts_nobody_and_holds_back_little(fixture: Arc<Fixture>) {
    const MESSAGES: usize = 5 * 1024;
    const BYTES: usize = 64 * 1024;
    const WINDOW: usize = 64;
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut slow = b.subscribe("flood").await.unwrap();
    let mut fast = b.subscribe("flood").await.unwrap();
    let payload = pattern_bytes(BYTES, 1);
    for _ in 0..MESSAGES / WINDOW {
        for _ in 0..WINDOW {
            publish(a, "flood", payload.clone()).await;
        }
        // The reader keeps up, and so loses nothing.
        for _ in 0..WINDOW {
            assert_eq!(next(&mut fast).await.payload.len(), BYTES);
        }
    }
    // Nothing ends what the slow one held back but a marker; it may be lost too while there is no room.
    let mut held_back = 0;
    let mut more = b.subscribe("after").await.unwrap();
    publish(a, "after", "x").await;
    next(&mut more).await;
    while let Ok(message) = tokio::time::timeout(Duration::from_secs(1), slow.next()).await {
        held_back += message.expect("the subscription goes on").payload.len();
    }
    assert!(held_back > 0, "a slow reader keeps what fits");
    assert!(held_back <= HELD_BACK_BYTES_MAX, "{held_back} bytes were held back");
    expect_only_marker(a, "flood", &mut slow).await;
}

pub(super) async fn a_dropped_subscription_is_gone(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let first = b.subscribe("gone").await.unwrap();
    let second = b.subscribe("gone").await.unwrap();
    drop(first);
    let silent = a.request("gone", Headers::new(), Bytes::new(), Duration::from_millis(300)).await;
    assert!(matches!(silent, Err(BusError::Timeout { .. })), "{silent:?}");
    drop(second);
    let started = Instant::now();
    loop {
        match a.request("gone", Headers::new(), Bytes::new(), Duration::from_millis(100)).await {
            Err(BusError::NoResponders(subject)) => return assert_eq!(subject, "gone"),
            Err(BusError::Timeout { .. }) => {
                assert!(started.elapsed() < PATIENCE, "still subscribed")
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(super) async fn invalid_subjects_are_refused(fixture: Arc<Fixture>) {
    let bus = &fixture.clients[0];
    let refused = |outcome: Result<(), BusError>, subject: &str| {
        let error = outcome.expect_err(subject);
        assert!(matches!(error, BusError::Refused(_)), "{subject:?}: {error:?}");
        assert!(!error.is_retryable());
    };
    let everywhere = ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB b 0\r\n", " a", "a*b"];
    for subject in everywhere.into_iter().chain(["a.*", "*", ">", "a.>"]) {
        refused(bus.publish(subject, Headers::new(), Bytes::new()).await, subject);
        refused(ask(bus, subject, "").await.map(drop), subject);
    }
    for pattern in everywhere.into_iter().chain(["a.>.b", ">.a", "a>", "a.b*"]) {
        refused(bus.subscribe(pattern).await.map(drop), pattern);
    }
    for (name, value) in [("a\r\nb", "x"), ("", "x"), ("a", "x\r\ny: z"), ("a:b", "x"), ("a", "x\n")] {
        refused(bus.publish("a", headers_of(&[(name, value)]), Bytes::new()).await, name);
    }
    // None of it harmed the connection.
    let mut subscription = bus.subscribe("fine").await.unwrap();
    expect_only_marker(bus, "fine", &mut subscription).await;
}

pub(super) async fn flush_returns_once_messages_are_out(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut subscription = b.subscribe("flushed").await.unwrap();
    for _ in 0..100 {
        publish(a, "flushed", "x").await;
    }
    tokio::time::timeout(PATIENCE, a.flush()).await.expect("flush ends").unwrap();
    for _ in 0..100 {
        assert_eq!(next(&mut subscription).await.payload, "x");
    }
}

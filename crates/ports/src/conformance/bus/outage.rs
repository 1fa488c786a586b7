//! The broker goes and comes back.

use std::sync::Arc;

use futures::stream::BoxStream;

use super::*;
use crate::bus::BusEvent;

/// How long a call may take that has no connection: it says so, it does not wait for one.
const ANSWER_WITHOUT_CONNECTION: Duration = Duration::from_secs(12);

async fn wait_for(events: &mut BoxStream<'static, BusEvent>, wanted: BusEvent) {
    let waiting = async { while events.next().await.expect("events go on") != wanted {} };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{wanted:?} is said in time"));
}

pub(super) async fn subscriptions_work_again_after_an_outage(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut exact = b.subscribe("back.one").await.unwrap();
    let mut wild = b.subscribe("back.>").await.unwrap();
    let responder = respond(b, "ask.back", |request| (Headers::new(), request.payload.clone())).await;
    for round in 0..3 {
        let mut events = [a.events(), b.events()];
        fixture.outage.begin().await;
        for events in &mut events {
            wait_for(events, BusEvent::Disconnected).await;
        }
        fixture.outage.end().await;
        for events in &mut events {
            wait_for(events, BusEvent::Reconnected).await;
        }
        // `Reconnected` means that the subscriptions are in force: the first message arrives.
        publish(a, "back.one", format!("round {round}")).await;
        assert_eq!(next(&mut exact).await.payload, format!("round {round}"));
        assert_eq!(next(&mut wild).await.payload, format!("round {round}"));
        assert_eq!(ask(a, "ask.back", "there?").await.unwrap().payload, "there?");
        let mut fresh = a.subscribe("back.fresh").await.unwrap();
        publish(b, "back.fresh", "new").await;
        assert_eq!(next(&mut fresh).await.payload, "new");
        assert_eq!(next(&mut wild).await.payload, "new");
    }
    responder.abort();
}

pub(super) async fn nothing_hangs_during_an_outage(fixture: Arc<Fixture>) {
    let a = &fixture.clients[0];
    let mut events = a.events();
    fixture.outage.begin().await;
    wait_for(&mut events, BusEvent::Disconnected).await;
    let calls = async {
        for _ in 0..3000 {
            let error = a.publish("x", Headers::new(), "x".into()).await.unwrap_err();
            assert!(matches!(error, BusError::Unavailable(_)) && error.is_retryable(), "{error:?}");
        }
        let outcome = ask(a, "x", "x").await;
        assert!(matches!(outcome, Err(BusError::Unavailable(_))), "{outcome:?}");
        let outcome = a.subscribe("x").await.map(drop);
        assert!(matches!(outcome, Err(BusError::Unavailable(_))), "{outcome:?}");
        let outcome = a.flush().await;
        assert!(matches!(outcome, Err(BusError::Unavailable(_))), "{outcome:?}");
    };
    tokio::time::timeout(ANSWER_WITHOUT_CONNECTION, calls).await.expect("calls end without a connection");
    fixture.outage.end().await;
    wait_for(&mut events, BusEvent::Reconnected).await;
    a.flush().await.expect("flush works again");
}

pub(super) async fn a_request_in_flight_ends_with_the_connection(fixture: Arc<Fixture>) {
    let (a, b) = (&fixture.clients[0], &fixture.clients[1]);
    let mut requests = b.subscribe("in.flight").await.unwrap();
    let asking = tokio::spawn({
        let a = a.clone();
        async move { a.request("in.flight", Headers::new(), "x".into(), PATIENCE * 10).await }
    });
    next(&mut requests).await;
    fixture.outage.begin().await;
    let outcome = tokio::time::timeout(PATIENCE, asking).await.expect("the request ends").unwrap();
    assert!(matches!(outcome, Err(BusError::Unavailable(_))), "{outcome:?}");
    fixture.outage.end().await;
}

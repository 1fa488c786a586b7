//! SUBSCRIBE, streams, deadlines and removal.

use super::*;

#[test]
fn a_framework_without_an_id_gets_the_next_one_of_the_leader() {
    let mut desk = Desk::new();
    let first = desk.call(subscribe(None, 1));
    assert_eq!(first, ["reply 200 subscribed aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa-0000 as 1"]);
    let second = desk.call(subscribe(None, 2));
    assert_eq!(second, ["reply 200 subscribed aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa-0001 as 1"]);
}

#[test]
fn an_id_that_nobody_has_seen_is_taken() {
    let mut desk = Desk::new();
    assert_eq!(desk.call(subscribe(Some("old-0001"), 1)), ["reply 200 subscribed old-0001 as 1"]);
}

#[test]
fn the_same_call_gets_the_same_answer_also_from_the_next_leader() {
    let mut desk = Desk::new();
    let first = desk.call_as("one", "G1", None, subscribe(None, 1));
    assert_eq!(desk.call_as("one", "G1", None, subscribe(None, 1)), first);
    desk.restart();
    assert_eq!(desk.call_as("one", "G1", None, subscribe(None, 1)), first);
    assert_eq!(desk.registry.frameworks().count(), 1);
}

#[test]
fn f54_the_last_subscription_wins_and_a_late_repeat_of_the_first_does_not_take_it_back() {
    let mut desk = Desk::new();
    desk.call_as("one", "G1", None, subscribe(Some("F"), 1));
    let second = desk.call_as("two", "G2", None, subscribe(Some("F"), 2));
    assert_eq!(second, ["reply 409 taken as 1"], "it must say that it knows of the first");
    let second = desk.call_as("two", "G2", None, over(subscribe(Some("F"), 2), 1));
    assert_eq!(second, ["stream 1: error Framework failed over", "reply 200 subscribed F as 2"]);
    assert_eq!(desk.call_as("one", "G1", None, subscribe(Some("F"), 1)), ["reply 200 subscribed F as 1"]);
    assert_eq!(desk.framework_row("F").subscription.as_ref().unwrap().stream, 2);
}

#[test]
fn f54_a_subscribe_that_comes_late_does_not_end_the_stream_that_has_come_since() {
    let mut desk = Desk::with_framework();
    assert_eq!(desk.call_as("late", "G2", None, subscribe(Some("F"), 5)), ["reply 409 taken as 1"]);
    assert_eq!(desk.call_as("later", "G2", None, over(subscribe(Some("F"), 6), 0)), ["reply 409 taken as 1"]);
    assert_eq!(desk.framework_row("F").subscription.as_ref().unwrap().stream, 7);
    // The stream that is lost with its gateway may be replaced by anybody who brings the id.
    desk.call(RegistryCall::Closed { framework: "F".into(), stream: 7 });
    assert_eq!(desk.call_as("back", "G2", None, subscribe(Some("F"), 8)), ["reply 200 subscribed F as 2"]);
}

#[test]
fn what_mesos_refuses_is_refused_with_its_words() {
    let mut desk = Desk::new();
    let ours = FrameworkInfo { principal: Some("ann".into()), ..info() };
    desk.call(subscribe_with(Some("F"), ours, 1));
    let theirs = FrameworkInfo { principal: Some("bob".into()), ..info() };
    let answer = desk.call(subscribe_with(Some("F"), theirs, 2));
    assert_eq!(answer, ["reply 200 refused: Changing framework's principal is not allowed."]);
    let answer = desk.call_as("x", "G1", Some("bob"), subscribe(Some("F"), 2));
    assert_eq!(answer, ["reply 200 refused: Changing framework's principal is not allowed."]);

    let mut invalid = subscribe(None, 3);
    if let RegistryCall::Subscribe { invalid, .. } = &mut invalid {
        *invalid = Some("'FrameworkInfo.name' must not be empty".into());
    }
    assert_eq!(desk.call(invalid), ["reply 200 refused: 'FrameworkInfo.name' must not be empty"]);

    let mut suppressing = subscribe(None, 3);
    if let RegistryCall::Subscribe { suppressed, .. } = &mut suppressing {
        suppressed.push("db".into());
    }
    let text = "reply 200 refused: Suppressed roles { db } are not contained in the set of roles";
    assert_eq!(desk.call(suppressing), [text]);
    assert_eq!(desk.registry.frameworks().count(), 1);
}

#[test]
fn user_and_checkpoint_stay_as_they_were() {
    let mut desk = Desk::with_framework();
    let changed = FrameworkInfo { user: "bob".into(), checkpoint: true, name: "new".into(), ..info() };
    desk.call(over(subscribe_with(Some("F"), changed, 8), 1));
    let row = desk.framework_row("F");
    assert_eq!((row.info.user.as_str(), row.info.checkpoint, row.info.name.as_str()), ("root", false, "new"));
}

#[test]
fn a_removed_framework_does_not_come_back() {
    let mut desk = Desk::with_framework();
    assert_eq!(desk.call(RegistryCall::Teardown(me(7))), ["reply 202"]);
    assert_eq!(desk.call(subscribe(Some("F"), 8)), ["reply 200 refused: Framework has been removed"]);
    assert_eq!(desk.call(reconcile(&[])), ["reply 400 Framework cannot be found"]);
    // Its gateway may not have heard the first answer.
    assert_eq!(desk.call(RegistryCall::Teardown(me(7))), ["reply 202"]);
}

#[test]
fn f53_a_closed_stream_starts_the_failover_timeout() {
    let mut desk = Desk::with_framework();
    desk.call(RegistryCall::Closed { framework: "F".into(), stream: 7 });
    let deadline = Time(desk.now.0 + 600 * SECOND);
    assert_eq!(desk.framework_row("F").state, FrameworkState::Disconnected { deadline });
    assert_eq!(desk.call(reconcile(&[])), ["reply 403 Framework is not subscribed"]);
    desk.wait(600 * SECOND - 1);
    assert_eq!(desk.framework_row("F").state, FrameworkState::Disconnected { deadline });
    desk.wait(1);
    assert_eq!(desk.framework_row("F").state, FrameworkState::Removed { since: deadline });
}

#[test]
fn f53_a_new_leader_keeps_the_deadline_but_waits_one_grace() {
    let mut desk = Desk::with_framework();
    desk.call(RegistryCall::Closed { framework: "F".into(), stream: 7 });
    desk.wait(599 * SECOND);
    desk.restart();
    desk.wait(60 * SECOND - 1);
    assert!(matches!(desk.framework_row("F").state, FrameworkState::Disconnected { .. }));
    desk.wait(1);
    assert!(matches!(desk.framework_row("F").state, FrameworkState::Removed { .. }));
}

#[test]
fn a_stream_that_was_closed_is_not_opened_by_a_late_report() {
    let mut desk = Desk::with_framework();
    desk.call(RegistryCall::Closed { framework: "F".into(), stream: 7 });
    let answer = desk.call(RegistryCall::Streams(vec![("F".into(), 7)]));
    assert_eq!(answer, ["reply 202", "stream 7: error Framework failed over"]);
    assert!(matches!(desk.framework_row("F").state, FrameworkState::Disconnected { .. }));
}

#[test]
fn closing_an_old_stream_means_nothing() {
    let mut desk = Desk::with_framework();
    desk.call(over(subscribe(Some("F"), 8), 1));
    desk.call(RegistryCall::Closed { framework: "F".into(), stream: 7 });
    assert_eq!(desk.framework_row("F").state, FrameworkState::Connected);
}

#[test]
fn f61_a_gateway_that_died_leaves_a_framework_without_failover_timeout_a_minute_to_return() {
    let mut desk = Desk::new();
    let hasty = FrameworkInfo { failover_timeout_ms: 0, ..info() };
    desk.call(subscribe_with(Some("F"), hasty.clone(), 7));
    desk.wait_connected(60, "F", 7);
    assert_eq!(desk.framework_row("F").state, FrameworkState::Connected);
    desk.wait(6 * SECOND);
    let since = desk.now;
    assert_eq!(desk.framework_row("F").state, FrameworkState::Lost { since });
    desk.wait(60 * SECOND - 1);
    assert_eq!(desk.framework_row("F").state, FrameworkState::Lost { since });
    assert_eq!(desk.call(subscribe_with(Some("F"), hasty, 8)).last().unwrap(), "reply 200 subscribed F as 2");
    desk.wait(66 * SECOND);
    assert!(matches!(desk.framework_row("F").state, FrameworkState::Removed { .. }));
}

#[test]
fn a_lost_stream_that_is_reported_again_goes_on_and_gets_what_it_missed() {
    let mut desk = Desk::with_task();
    desk.wait(10 * SECOND);
    assert!(matches!(desk.framework_row("F").state, FrameworkState::Lost { .. }));
    assert_eq!(desk.step(update(1, TaskState::Running)), ["S1: received t:1"]);
    let answer = desk.call(RegistryCall::Streams(vec![("F".into(), 7)]));
    assert_eq!(answer, ["reply 202", "stream 7: t TASK_RUNNING (to be acknowledged)"]);
    assert_eq!(desk.framework_row("F").state, FrameworkState::Connected);
}

#[test]
fn removed_frameworks_are_kept_up_to_a_number_and_as_long_as_an_agent_may_run_them() {
    let mut desk = Desk::new();
    desk.peer(agent("S1", AgentState::Unreachable { since: Time(1) }, 1));
    for n in 0..60 {
        let id = format!("F{n}");
        desk.call(subscribe(Some(&id), n + 1));
        let caller = Caller::framework(FrameworkId::from(id), Some(n + 1));
        desk.call(RegistryCall::Teardown(caller));
        desk.wait(1);
    }
    assert_eq!(desk.registry.frameworks().count(), 60);
    desk.peer(agent("S1", AgentState::Active, 2));
    assert_eq!(desk.registry.frameworks().count(), 50);
    assert!(desk.registry.framework(&"F9".into()).is_none());
    assert!(desk.registry.framework(&"F10".into()).is_some());
}

#[test]
fn f61_what_was_not_acknowledged_is_told_again_at_the_gateway_where_the_framework_subscribes_next() {
    let mut desk = Desk::with_task();
    desk.step(said("S1", update_of("L1", "S1", "t", 1, TaskState::Running)));
    // The first gateway is gone without a word.
    desk.call_as("again", "G2", None, over(subscribe(Some("F"), 8), 1));
    let told = desk.outputs.iter().filter_map(|output| match output {
        Output::Stream { gateway, event } if matches!(event.event, StreamEvent::Update { .. }) => {
            Some((gateway.as_str(), event.stream))
        }
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [("G2", 8)]);
}

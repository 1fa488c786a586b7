//! What is said of tasks, and when.

use super::*;

#[test]
fn implicit_reconciliation_tells_the_latest_status_that_was_sent() {
    let mut desk = Desk::with_task();
    assert_eq!(desk.call(reconcile(&[]))[1], "stream 7: t TASK_STAGING REASON_RECONCILIATION");
    desk.step(update(1, TaskState::Running));
    desk.step(update(2, TaskState::Finished));
    assert_eq!(desk.call(reconcile(&[]))[1], "stream 7: t TASK_RUNNING REASON_RECONCILIATION");
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    assert_eq!(desk.call(reconcile(&[]))[1], "stream 7: t TASK_FINISHED REASON_RECONCILIATION");
    desk.call(acknowledge("t", "S1", uuid(2), 7));
    assert_eq!(desk.call(reconcile(&[])), ["reply 202"]);
}

#[test]
fn what_is_said_of_an_unknown_task_depends_on_its_agent() {
    let mut desk = Desk::with_framework();
    desk.peer(agent("S1", AgentState::Active, 1));
    desk.peer(agent("S2", AgentState::Unreachable { since: Time(9) }, 1));
    desk.peer(agent("S3", AgentState::Gone, 1));
    desk.step(knows("S1", &[]));
    let ask = reconcile(&[("a", Some("S1")), ("b", Some("S2")), ("c", Some("S3")), ("d", Some("S4")), ("e", None)]);
    assert_eq!(desk.call(ask), ["reply 202", "catch up 1"]);
    let lines = desk.step(Event::CaughtUp { token: 1 });
    let expected = [
        "stream 7: a TASK_GONE REASON_RECONCILIATION",
        "stream 7: b TASK_UNREACHABLE REASON_RECONCILIATION",
        "stream 7: c TASK_GONE_BY_OPERATOR REASON_RECONCILIATION",
        "stream 7: d TASK_UNKNOWN REASON_RECONCILIATION",
        "stream 7: e TASK_UNKNOWN REASON_RECONCILIATION",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn f33_nothing_is_said_of_an_unknown_task_before_the_agents_have_shaken_hands() {
    let mut desk = Desk::with_framework();
    desk.peer(agent("S1", AgentState::Active, 1));
    desk.peer(agent("S2", AgentState::Active, 2));
    desk.step(knows("S2", &[]));
    desk.call(reconcile(&[("a", Some("S1")), ("b", None), ("c", Some("S2"))]));
    let lines = desk.step(Event::CaughtUp { token: 1 });
    assert_eq!(lines, ["stream 7: c TASK_GONE REASON_RECONCILIATION"]);
}

#[test]
fn f6_nothing_is_said_of_a_task_that_its_agent_may_know_though_the_registry_has_lost_it() {
    let mut desk = Desk::with_framework();
    desk.peer(agent("S1", AgentState::Active, 1));
    desk.call(reconcile(&[("a", Some("S1")), ("b", Some("S1"))]));
    let lines = desk.step(Event::CaughtUp { token: 1 });
    assert_eq!(lines, ["S1: tell term 1 again"], "it has not said yet what it knows");
    desk.step(knows("S1", &["a"]));
    desk.call(reconcile(&[("a", Some("S1")), ("b", Some("S1")), ("a", None)]));
    let lines = desk.step(Event::CaughtUp { token: 2 });
    assert_eq!(lines, ["stream 7: b TASK_GONE REASON_RECONCILIATION", "S1: tell term 1 again"]);
}

#[test]
fn a_task_whose_launch_is_on_its_way_is_not_unknown() {
    let mut desk = Desk::with_framework();
    desk.peer(agent("S1", AgentState::Active, 1));
    assert_eq!(desk.call(reconcile(&[("t", Some("S1"))])), ["reply 202", "catch up 1"]);
    desk.peer(launch("L1", "F", "S1", &["t"], 1));
    let lines = desk.step(Event::CaughtUp { token: 1 });
    assert_eq!(lines, ["stream 7: t TASK_STAGING REASON_RECONCILIATION"]);
}

#[test]
fn a_kill_of_an_unknown_task_is_a_question_about_it() {
    let mut desk = Desk::with_framework();
    desk.peer(agent("S1", AgentState::Active, 1));
    desk.step(knows("S1", &[]));
    let (caller, agent) = (me(7), Some("S1".into()));
    let lines = desk.call(RegistryCall::Kill { caller, task: "t".into(), agent, grace_ms: None });
    assert_eq!(lines, ["reply 202", "catch up 1"]);
    let lines = desk.step(Event::CaughtUp { token: 1 });
    assert_eq!(lines, ["stream 7: t TASK_GONE REASON_RECONCILIATION"]);
}

//! Every other call: what it must show and what it does.

use super::*;

#[test]
fn f54_f70_every_call_must_show_who_it_is() {
    let mut desk = Desk::new();
    let owned = FrameworkInfo { principal: Some("ann".into()), ..info() };
    desk.call(subscribe_with(Some("F"), owned, 7));
    let ask = |framework: &str, stream| RegistryCall::Reconcile {
        caller: Caller::framework(framework.into(), stream),
        tasks: vec![],
    };
    let cases = [
        (None, ask("G", Some(7)), "reply 400 Framework cannot be found"),
        (
            Some("bob"),
            ask("F", Some(7)),
            "reply 400 Authenticated principal 'bob' does not match principal 'ann' set in `FrameworkInfo`",
        ),
        (Some("ann"), ask("F", None), "reply 400 All non-subscribe calls should include the 'Mesos-Stream-Id' header"),
        (
            Some("ann"),
            ask("F", Some(8)),
            "reply 400 The stream ID '00000000-0000-0000-0000-000000000008' included in this request didn't \
             match the stream ID currently associated with framework ID F",
        ),
        (Some("ann"), ask("F", Some(7)), "reply 202"),
    ];
    for (n, (principal, call, answer)) in cases.into_iter().enumerate() {
        assert_eq!(desk.call_as(&format!("case {n}"), "G1", principal, call), [answer]);
    }
}

#[test]
fn an_operator_shows_no_stream_and_a_framework_torn_down_is_told() {
    let mut desk = Desk::with_framework();
    let answer = desk.call(RegistryCall::Teardown(Caller::operator("F".into())));
    assert_eq!(answer, ["reply 202", "stream 7: error Framework has been removed"]);
}

#[test]
fn suppress_and_revive_mean_all_roles_if_they_name_none_and_nothing_if_one_is_strange() {
    let mut desk = Desk::with_framework();
    let suppressed = |desk: &Desk| desk.framework_row("F").suppressed.len();
    let revived = |desk: &Desk| desk.framework_row("F").revived.values().sum::<u64>();
    desk.call(RegistryCall::Suppress(me(7), vec![]));
    assert_eq!(suppressed(&desk), 2);
    desk.call(RegistryCall::Revive(me(7), vec!["ads".into()]));
    assert_eq!((suppressed(&desk), revived(&desk)), (1, 1));
    desk.call(RegistryCall::Revive(me(7), vec!["web".into(), "db".into()]));
    assert_eq!((suppressed(&desk), revived(&desk)), (1, 1));
    desk.call(RegistryCall::Revive(me(7), vec![]));
    assert_eq!((suppressed(&desk), revived(&desk)), (0, 3));
}

#[test]
fn f20_what_an_earlier_leader_was_asked_for_is_not_done_by_the_next_one() {
    let mut desk = Desk::with_framework();
    let first = Term { epoch: 1, leader: LEADER };
    let suppress = |term| Call { term, ..Call::new("once", "G1", RegistryCall::Suppress(me(7), vec![])) };
    let ask = |desk: &mut Desk, term| desk.step(Event::Call { request: RequestId(1), call: suppress(term) });
    ask(&mut desk, first);
    desk.call(RegistryCall::Revive(me(7), vec![]));
    desk.restart();
    assert_eq!(ask(&mut desk, first), ["reply 503 changing its leader; try again"]);
    assert_eq!(desk.framework_row("F").suppressed.len(), 0);
    ask(&mut desk, Term { epoch: 2, leader: LEADER + 1 });
    assert_eq!(desk.framework_row("F").suppressed.len(), 2);
}

#[test]
fn a_late_repeat_of_a_revive_does_not_undo_a_suppress() {
    let mut desk = Desk::with_framework();
    desk.call_as("revive", "G1", None, RegistryCall::Revive(me(7), vec![]));
    desk.call(RegistryCall::Suppress(me(7), vec![]));
    assert_eq!(desk.call_as("revive", "G1", None, RegistryCall::Revive(me(7), vec![])), ["reply 202"]);
    assert_eq!(desk.framework_row("F").suppressed.len(), 2);
}

#[test]
fn update_framework_changes_roles_but_not_who_it_is() {
    let mut desk = Desk::with_framework();
    let update = |info| {
        let (caller, body) = (me(7), Bytes::new());
        RegistryCall::Update { caller, info, invalid: None, body, suppressed: vec![] }
    };
    let more = FrameworkInfo { roles: vec!["db".into()], ..info() };
    assert_eq!(desk.call(update(more)), ["reply 200"]);
    assert_eq!(desk.framework_row("F").info.roles, [Role::from("db")]);
    let other = FrameworkInfo { principal: Some("bob".into()), ..info() };
    assert_eq!(desk.call(update(other)), ["reply 400 Changing framework's principal is not allowed."]);
    let other = FrameworkInfo { user: "bob".into(), ..info() };
    let text = "reply 400 Updating 'FrameworkInfo.user' is unsupported; attempted to update from 'root' to 'bob'";
    assert_eq!(desk.call(update(other)), [text]);
}

#[test]
fn a_kill_is_an_order_in_the_tasks_row_and_may_be_given_again() {
    let mut desk = Desk::with_task();
    let kill = |agent: Option<&str>, grace_ms| {
        let (caller, task) = (me(7), "t".into());
        RegistryCall::Kill { caller, task, agent: agent.map(AgentId::from), grace_ms }
    };
    desk.call(kill(Some("S9"), None));
    assert_eq!(desk.task_row("t").kill, None);
    desk.call(kill(Some("S1"), None));
    desk.call(kill(None, Some(0)));
    let order = desk.task_row("t").kill.unwrap();
    assert_eq!((order.number, order.grace_ms), (2, Some(0)));
}

#[test]
fn shutdown_of_an_executor_orders_all_its_tasks_to_end() {
    let mut desk = Desk::with_framework();
    desk.peer(agent("S1", AgentState::Active, 1));
    desk.peer(launch("L1", "F", "S1", &["a", "b"], 1));
    desk.call(RegistryCall::Shutdown { caller: me(7), executor: "a".into(), agent: "S1".into() });
    assert!(desk.task_row("a").kill.is_some() && desk.task_row("b").kill.is_some());
}

#[test]
fn messages_pass_through_in_both_directions() {
    let mut desk = Desk::with_task();
    let (agent, executor, data) = (AgentId::from("S1"), ExecutorId::from("t"), Bytes::from_static(b"hi"));
    let call =
        RegistryCall::Message { caller: me(7), agent: agent.clone(), executor: executor.clone(), data: data.clone() };
    let text = r#"S1: Message { framework: F, executor: t, data: b"hi" }"#;
    assert_eq!(desk.call(call), ["reply 202", text]);
    let framework = "F".into();
    let back = Event::Agent(AgentToRegistry::Message { agent, framework, executor, data });
    assert_eq!(desk.step(back), [r#"stream 7: message b"hi""#]);
}

use mesos_model::{ExecutorId, Role};

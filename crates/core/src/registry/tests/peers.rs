//! What the allocator's rows do to tasks.

use super::*;

#[test]
fn a_launch_seen_after_the_first_status_fills_in_what_was_missing() {
    let mut desk = Desk::with_framework();
    desk.step(update(1, TaskState::Running));
    assert!(!desk.task_row("t").launch_seen);
    desk.peer(launch("L1", "F", "S1", &["t"], 1));
    let row = desk.task_row("t");
    assert_eq!((row.launch_seen, row.name.as_str(), row.state), (true, "the t", TaskState::Running));
}

#[test]
fn a_launch_that_the_allocator_gives_up_never_ran_or_is_gone() {
    let mut desk = Desk::with_framework();
    desk.peer(agent("S1", AgentState::Active, 1));
    desk.peer(launch("L1", "F", "S1", &["t"], 1));
    desk.peer(launch("L2", "F", "S1", &["u"], 2));
    desk.step(said("S1", update_of("L2", "S1", "u", 1, TaskState::Starting)));
    desk.call(acknowledge("u", "S1", uuid(1), 7));
    let dropped = ["stream 7: t TASK_DROPPED REASON_RECONCILIATION (to be acknowledged)"];
    assert_eq!(desk.peer(launch_deleted("L1")), dropped);
    let gone = ["stream 7: u TASK_GONE REASON_RECONCILIATION (to be acknowledged)"];
    assert_eq!(desk.peer(launch_deleted("L2")), gone);
    // It is told once, whatever comes after it.
    assert_eq!(desk.peer(launch_deleted("L2")), NOTHING);
    assert_eq!(desk.peer(launch("L2", "F", "S1", &["u"], 2)), NOTHING);
    let late = desk.step(said("S1", update_of("L2", "S1", "u", 2, TaskState::Running)));
    assert_eq!(late, ["S1: received u:2"], "nobody has acknowledged an end yet");
    assert_eq!(desk.task_row("u").state, TaskState::Gone);
}

#[test]
fn f22_a_task_that_was_killed_before_it_was_launched_is_killed() {
    let mut desk = Desk::with_task();
    desk.call(RegistryCall::Kill { caller: me(7), task: "t".into(), agent: None, grace_ms: None });
    let killed = ["stream 7: t TASK_KILLED REASON_TASK_KILLED_DURING_LAUNCH (to be acknowledged)"];
    assert_eq!(desk.peer(launch_deleted("L1")), killed);
}

#[test]
fn a_task_that_a_launch_loses_is_over_and_an_older_row_does_not_bring_it_back() {
    let mut desk = Desk::with_framework();
    desk.peer(agent("S1", AgentState::Active, 1));
    desk.peer(launch("L1", "F", "S1", &["a", "b"], 1));
    let lines = desk.peer(launch("L1", "F", "S1", &["a"], 1));
    assert_eq!(lines, ["stream 7: b TASK_DROPPED REASON_RECONCILIATION (to be acknowledged)"]);
    let end = desk.task_row("b").pending[0].status.uuid.unwrap();
    desk.call(acknowledge("b", "S1", end, 7));
    desk.step(forgotten("b", "L1", "S1"));
    desk.peer(launch("L1", "F", "S1", &["a", "b"], 1));
    assert_eq!(desk.registry.tasks().count(), 1);
}

#[test]
fn f34_an_agent_that_cannot_be_reached_and_comes_back() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    let lines = desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1));
    assert_eq!(lines, ["stream 7: failure of S1", "stream 7: t TASK_UNREACHABLE REASON_AGENT_REMOVED"]);
    assert_eq!(desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1)), NOTHING);
    assert_eq!(desk.peer(agent("S1", AgentState::Active, 2)), ["S1: tell term 1 again"]);
    let mut again = update_of("L1", "S1", "t", 1, TaskState::Running);
    again.acknowledged = 1;
    let lines = desk.step(said("S1", again.clone()));
    let back = "stream 7: t TASK_RUNNING REASON_AGENT_REREGISTERED (to be acknowledged)";
    assert_eq!(lines, [back, "S1: received t:1"]);
    assert_eq!(desk.step(said("S1", again)), ["S1: received t:1"]);
    // An older row of the agent changes nothing.
    assert_eq!(desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1)), NOTHING);
    assert_eq!(desk.task_row("t").state, TaskState::Running);
}

#[test]
fn f34_others_are_told_lost_and_running_again() {
    let mut desk = Desk::with_task();
    let plain = FrameworkInfo { capabilities: Capabilities::default(), ..info() };
    desk.call(over(subscribe_with(Some("F"), plain, 8), 1));
    let lines = desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1));
    assert_eq!(lines[1], "stream 8: t TASK_LOST REASON_AGENT_REMOVED");
    desk.peer(agent("S1", AgentState::Active, 2));
    assert_eq!(desk.step(update(1, TaskState::Running))[0], "stream 8: t TASK_RUNNING (to be acknowledged)");
}

#[test]
fn unreachable_waits_for_its_turn_and_is_not_told_if_it_is_over_by_then() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    let lines = desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1));
    assert_eq!(lines, ["stream 7: failure of S1"]);
    desk.peer(agent("S1", AgentState::Active, 2));
    desk.step(update(1, TaskState::Running));
    assert_eq!(desk.call(acknowledge("t", "S1", uuid(1), 7)), ["reply 202", "S1: acknowledged t:1"]);
    assert_eq!(desk.task_row("t").state, TaskState::Running);
}

#[test]
fn an_agent_marked_gone_ends_its_tasks() {
    let mut desk = Desk::with_task();
    desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1));
    let lines = desk.peer(agent("S1", AgentState::Gone, 1));
    let text = "stream 7: t TASK_GONE_BY_OPERATOR REASON_AGENT_REMOVED_BY_OPERATOR (to be acknowledged)";
    assert_eq!(lines, [text]);
    let end = desk.task_row("t").pending[0].status.uuid.unwrap();
    desk.call(acknowledge("t", "S1", end, 7));
    desk.peer(launch_deleted("L1"));
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn f35_what_an_agent_says_that_is_gone_brings_no_task_back() {
    let mut desk = Desk::with_task();
    desk.peer(agent("S1", AgentState::Gone, 1));
    let end = desk.task_row("t").pending[0].status.uuid.unwrap();
    desk.call(acknowledge("t", "S1", end, 7));
    desk.peer(launch_deleted("L1"));
    desk.restart();
    let mut late = update_of("L1", "S1", "t", 1, TaskState::Running);
    late.asked.epoch = 2;
    late.asked.leader += 1;
    assert_eq!(desk.step(said("S1", late)), ["S1: acknowledged t:1"]);
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn f35_a_task_whose_launch_was_never_seen_does_not_outlive_its_agent() {
    let mut desk = Desk::with_framework();
    desk.peer(agent("S1", AgentState::Active, 1));
    desk.step(said("S1", update_of("L1", "S1", "t", 1, TaskState::Finished)));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    assert_eq!(desk.registry.tasks().count(), 1);
    desk.peer(agent("S1", AgentState::Gone, 1));
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn an_adopted_launch_of_an_unknown_framework_recovers_it() {
    let mut desk = Desk::new();
    let mut adopted = launch("L1", "F", "S1", &["t"], 1);
    if let RowChange::Put(Row::Launch(row)) = &mut adopted {
        row.adopted = Some(FrameworkFacts { failover_timeout_ms: 120 * SECOND, ..FrameworkFacts::default() });
    }
    desk.peer(adopted);
    let deadline = Time(desk.now.0 + (60 + 120) * SECOND);
    assert_eq!(desk.framework_row("F").state, FrameworkState::Disconnected { deadline });
    assert_eq!(desk.task_row("t").state, TaskState::Staging);
}

#[test]
fn f6_a_launch_missing_at_the_start_of_a_term_counts_only_after_the_agents_handshake() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    // The allocator's store lost its last commits, and its new leader begins.
    desk.peers.remove("launch/L1");
    desk.restart();
    desk.step(Event::PeerTerm(allocator_term(2)));
    desk.step(Event::CaughtUp { token: 1 });
    assert_eq!(desk.task_row("t").state, TaskState::Running);
    // The agent shakes hands and does not have it: now it is known to be over.
    assert_eq!(desk.peer(agent("S1", AgentState::Active, 2)), ["S1: tell term 2 again"]);
    assert_eq!(desk.step(knows_in(2, "S1", &[])), ["catch up 1"]);
    let lines = desk.step(Event::CaughtUp { token: 1 });
    assert_eq!(lines, ["stream 7: t TASK_GONE REASON_RECONCILIATION (to be acknowledged)"]);
}

#[test]
fn f6_a_task_whose_end_the_registry_lost_is_not_gone_while_its_agent_knows_the_end() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    // The end was committed, the allocator let the launch go for it, and the registry's store lost the commit.
    desk.peers.remove("launch/L1");
    desk.restart();
    assert_eq!(desk.step(knows_in(2, "S1", &["t"])), [""; 0]);
    desk.step(Event::CaughtUp { token: 1 });
    assert_eq!(desk.task_row("t").state, TaskState::Running);
    let mut end = update_of("L1", "S1", "t", 2, TaskState::Finished);
    end.asked = Term { epoch: 2, leader: LEADER + 1 };
    desk.step(said("S1", end));
    assert_eq!(desk.task_row("t").state, TaskState::Finished);
}

#[test]
fn an_agent_that_does_not_say_what_it_knows_is_asked_again() {
    let mut desk = Desk::with_task();
    desk.peers.remove("launch/L1");
    desk.restart();
    assert_eq!(desk.wait(4_999), [""; 0]);
    assert_eq!(desk.wait(1), ["S1: tell term 2 again"]);
    desk.step(knows_in(2, "S1", &[]));
    let asked = |lines: Vec<String>| lines.iter().any(|line| line.contains("again"));
    assert!(!asked(desk.wait(20_000)));
}

#[test]
fn a_row_that_waits_for_a_launch_that_is_lost_goes_with_it() {
    let mut desk = Desk::with_task();
    desk.peer(agent("S1", AgentState::Gone, 1));
    let end = desk.task_row("t").pending[0].status.uuid.unwrap();
    desk.call(acknowledge("t", "S1", end, 7));
    assert_eq!(desk.registry.tasks().count(), 1, "its launch may still be in the rows");
    let mut effects = Effects::default();
    desk.registry.peer_lost(desk.now, RowKey::Launch("L1".into()), &mut effects);
    desk.commit(effects);
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn a_task_that_has_ended_on_an_agent_that_nobody_knows_goes_after_a_while() {
    let mut desk = Desk::with_framework();
    desk.step(update(1, TaskState::Finished));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    desk.wait(60_000);
    assert_eq!(desk.registry.tasks().count(), 1);
    desk.wait(30_000);
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn f34_an_agent_that_is_back_is_asked_until_it_has_told_of_each_task() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1));
    let mut back = agent("S1", AgentState::Active, 1);
    if let RowChange::Put(Row::Agent(row)) = &mut back {
        row.reregistered = Time(99);
    }
    assert_eq!(desk.peer(back), ["S1: tell term 1 again"]);
    // What it told of the task is lost; that it has told is not.
    desk.step(knows("S1", &["t"]));
    assert!(desk.wait(5_000).contains(&"S1: tell term 1 again".to_owned()));
    desk.step(said("S1", update_of("L1", "S1", "t", 1, TaskState::Running)));
    desk.step(knows("S1", &["t"]));
    assert_eq!(desk.task_row("t").state, TaskState::Running);
    assert!(!desk.wait(30_000).iter().any(|line| line.contains("again")));
}

#[test]
fn a_task_whose_launch_was_never_seen_goes_after_the_stream_has_caught_up() {
    let mut desk = Desk::with_framework();
    desk.step(update(1, TaskState::Finished));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    assert_eq!(desk.step(forgotten("t", "L1", "S1")), ["catch up 1"]);
    assert_eq!(desk.registry.tasks().count(), 1);
    desk.step(Event::CaughtUp { token: 1 });
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn a_second_launch_of_a_task_id_has_its_turn_when_the_first_row_goes() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Finished));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    desk.peer(launch_deleted("L1"));
    desk.peer(launch("L2", "F", "S1", &["t"], 2));
    assert_eq!(desk.task_row("t").launch, LaunchId::from("L1"));
    desk.step(forgotten("t", "L1", "S1"));
    assert_eq!((desk.task_row("t").launch.as_str(), desk.task_row("t").state), ("L2", TaskState::Staging));
}

fn agent_that(state: AgentState, change: impl FnOnce(&mut crate::row::AgentRow)) -> RowChange {
    let mut put = agent("S1", state, 1);
    if let RowChange::Put(Row::Agent(row)) = &mut put {
        change(row);
    }
    put
}

#[test]
fn an_agent_whose_machine_goes_down_ends_its_tasks_as_mesos_says_it() {
    for (aware, state) in [(true, "TASK_GONE"), (false, "TASK_LOST")] {
        let mut desk = Desk::with_task();
        if !aware {
            let plain = FrameworkInfo { capabilities: Capabilities::default(), ..info() };
            desk.call(over(subscribe_with(Some("F"), plain, 8), 1));
        }
        let stream = if aware { 7 } else { 8 };
        let lines = desk.peer(agent_that(AgentState::Unreachable { since: Time(77) }, |row| row.down = true));
        let text = format!("stream {stream}: t {state} REASON_AGENT_REMOVED (to be acknowledged)");
        assert_eq!(lines, [format!("stream {stream}: failure of S1"), text]);
        assert_eq!(desk.peer(launch_deleted("L1")), NOTHING);
        // Its agent may forget how the task really ended once somebody was told an end.
        let killed = || said("S1", update_of("L1", "S1", "t", 1, TaskState::Killed));
        assert_eq!(desk.step(killed()), ["S1: received t:1"]);
        let end = desk.task_row("t").pending[0].status.uuid.unwrap();
        let lines = desk.call(acknowledge("t", "S1", end, stream));
        assert!(lines.contains(&"S1: acknowledged t:1".to_owned()), "{lines:?}");
        // And if it does not hear of that, its repeat is not news to the next leader.
        desk.restart();
        assert!(desk.step(killed()).contains(&"S1: acknowledged t:1".to_owned()));
        desk.step(forgotten("t", "L1", "S1"));
        assert_eq!(desk.registry.tasks().count(), 0);
    }
}

#[test]
fn a_task_that_ends_by_a_drain_is_gone_by_operator_if_its_agent_goes_for_good() {
    for (mark_gone, aware, state) in
        [(false, true, "TASK_KILLED"), (true, true, "TASK_GONE_BY_OPERATOR"), (true, false, "TASK_KILLED")]
    {
        let mut desk = Desk::with_task();
        if !aware {
            let plain = FrameworkInfo { capabilities: Capabilities::default(), ..info() };
            desk.call(over(subscribe_with(Some("F"), plain, 8), 1));
        }
        let drain = crate::row::Drain { max_grace_ms: None, mark_gone, since: Time(5), drained: false };
        desk.peer(agent_that(AgentState::Active, |row| row.drain = Some(drain)));
        let mut end = update_of("L1", "S1", "t", 1, TaskState::Killed);
        end.status.reason = Some(mesos_model::Reason::AGENT_DRAINING);
        let lines = desk.step(said("S1", end));
        let stream = if aware { 7 } else { 8 };
        assert_eq!(lines[0], format!("stream {stream}: t {state} REASON_AGENT_DRAINING (to be acknowledged)"));
        assert_eq!(desk.task_row("t").state, TaskState::Killed);
    }
}

#[test]
fn f62_a_new_term_is_told_by_ten_agents_a_millisecond_at_most() {
    let spread_of = |agents: usize| {
        let mut registry = Registry::new(Options::default());
        for number in 0..agents {
            let row = agent(&format!("S{number}"), AgentState::Active, 1);
            registry.peer(Time(1), row, &mut Effects::default());
        }
        let mut effects = Effects::default();
        registry.lead(Time(1000), Term { epoch: 1, leader: 1 }, &mut effects);
        let spread = effects.outputs.iter().find_map(|output| match output {
            Output::AllAgents(ToAgent::Resend { spread_ms, .. }) => Some(*spread_ms),
            _ => None,
        });
        spread.unwrap()
    };
    assert_eq!(spread_of(3), 0);
    assert_eq!(spread_of(2000), 200);
    assert_eq!(spread_of(1_000_000), 10_000);
}

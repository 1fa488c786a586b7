//! The way of a status from its agent to the framework, and of its acknowledgement back.

use super::*;

#[test]
fn a_task_lives_from_its_launch_to_the_end_that_its_agent_has_forgotten() {
    let mut desk = Desk::with_task();
    assert_eq!(desk.task_row("t").state, TaskState::Staging);
    let running = ["stream 7: t TASK_RUNNING (to be acknowledged)", "S1: received t:1"];
    assert_eq!(desk.step(update(1, TaskState::Running)), running);
    // One at a time: the end waits for the acknowledgement of the beginning.
    assert_eq!(desk.step(update(2, TaskState::Finished)), ["S1: received t:2"]);
    let next = ["reply 202", "S1: acknowledged t:1", "stream 7: t TASK_FINISHED (to be acknowledged)"];
    assert_eq!(desk.call(acknowledge("t", "S1", uuid(1), 7)), next);
    // The allocator frees what the task held as soon as its row says that it is over.
    assert_eq!(desk.peer(launch_deleted("L1")), NOTHING);
    assert_eq!(desk.call(acknowledge("t", "S1", uuid(2), 7)), ["reply 202", "S1: acknowledged t:2"]);
    assert!(desk.task_row("t").end_acknowledged);
    assert_eq!(desk.step(forgotten("t", "L1", "S1")), NOTHING);
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn f20_f57_repeats_and_wrong_acknowledgements_have_no_second_effect() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    assert_eq!(desk.step(update(1, TaskState::Running)), ["S1: received t:1"]);
    assert_eq!(desk.call(acknowledge("t", "S1", uuid(9), 7)), ["reply 202"]);
    assert_eq!(desk.call(acknowledge("t", "S9", uuid(1), 7)), ["reply 202"]);
    assert_eq!(desk.call(acknowledge("u", "S1", uuid(1), 7)), ["reply 202"]);
    assert_eq!(desk.registry.counters().acknowledgements_unknown, 3);
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    assert_eq!(desk.call(acknowledge("t", "S1", uuid(1), 7)), ["reply 202"]);
    // The agent has not heard of the acknowledgement; it is told again.
    assert_eq!(desk.step(update(1, TaskState::Running)), ["S1: acknowledged t:1", "S1: received t:1"]);
}

#[test]
fn f21_an_update_that_overtakes_another_one_is_not_taken_over() {
    let mut desk = Desk::with_task();
    assert_eq!(desk.step(update(2, TaskState::Finished)), NOTHING);
    assert_eq!(desk.task_row("t").state, TaskState::Staging);
    desk.step(update(1, TaskState::Running));
    desk.step(update(2, TaskState::Finished));
    assert_eq!(desk.task_row("t").state, TaskState::Finished);
}

#[test]
fn f56_an_update_is_sent_again_less_and_less_often_until_it_is_acknowledged() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    let mut times = Vec::new();
    let start = desk.now.0;
    for _ in 0..1000 {
        let lines = desk.wait_connected(2, "F", 7);
        if lines.iter().any(|line| line.contains("TASK_RUNNING")) {
            times.push((desk.now.0 - start) / SECOND);
        }
    }
    assert_eq!(times, [10, 30, 70, 150, 310, 630, 1230, 1830]);
}

#[test]
fn a_new_stream_gets_everything_that_is_not_acknowledged_at_once_after_the_reply() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    let lines = desk.call(over(subscribe(Some("F"), 8), 1));
    let expected = [
        "stream 7: error Framework failed over",
        "reply 200 subscribed F as 2",
        "stream 8: t TASK_RUNNING (to be acknowledged)",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_new_leader_asks_the_agents_and_sends_again() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    assert_eq!(desk.restart(), ["all agents: tell term 2 again"]);
    assert_eq!(desk.wait(SECOND), ["stream 7: t TASK_RUNNING (to be acknowledged)"]);
    assert_eq!(desk.step(Event::BusBack), ["all agents: tell term 2 again"]);
    assert_eq!(desk.wait(SECOND), ["stream 7: t TASK_RUNNING (to be acknowledged)"]);
}

#[test]
fn an_acknowledged_end_is_told_to_the_agent_until_it_has_forgotten() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Failed));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    assert_eq!(desk.wait_connected(60, "F", 7), ["S1: acknowledged t:1", "S1: acknowledged t:1"]);
    desk.step(forgotten("t", "L1", "S1"));
    // The launch is still there: the row stays, or the launch would make it anew.
    assert!(desk.task_row("t").end_acknowledged);
    desk.peer(launch_deleted("L1"));
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn f20_neither_a_late_launch_nor_a_late_update_brings_a_forgotten_task_back() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Finished));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    desk.peer(launch_deleted("L1"));
    desk.step(forgotten("t", "L1", "S1"));
    assert_eq!(desk.peer(launch("L1", "F", "S1", &["t"], 1)), NOTHING);
    assert_eq!(desk.step(update(1, TaskState::Finished)), ["S1: acknowledged t:1"]);
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn f20_an_update_from_before_the_term_does_not_make_a_row_until_its_agent_tells_it_again() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Finished));
    desk.call(acknowledge("t", "S1", uuid(1), 7));
    desk.peer(launch_deleted("L1"));
    desk.step(forgotten("t", "L1", "S1"));
    desk.restart();
    // The new leader has never heard of the task. The agent is asked, and has nothing to say.
    assert_eq!(desk.step(update(1, TaskState::Finished)), ["S1: tell term 2 again"]);
    assert_eq!(desk.registry.tasks().count(), 0);
    // An agent that does have it says so in answer to this term.
    let mut again = update_of("L1", "S1", "t", 1, TaskState::Finished);
    again.asked = desk.registry.term().unwrap();
    assert_eq!(desk.step(said("S1", again)).last().unwrap(), "S1: received t:1");
}

#[test]
fn killing_is_told_only_to_those_who_understand_it() {
    let mut desk = Desk::with_task();
    let plain = FrameworkInfo { capabilities: Capabilities::default(), ..info() };
    desk.call(over(subscribe_with(Some("F"), plain, 8), 1));
    desk.step(update(1, TaskState::Killing));
    assert_eq!(desk.task_row("t").pending, []);
    let killed = ["stream 8: t TASK_KILLED (to be acknowledged)", "S1: received t:2"];
    assert_eq!(desk.step(update(2, TaskState::Killed)), killed);
}

#[test]
fn too_many_updates_leave_out_those_in_the_middle_but_never_the_end() {
    let mut desk = Desk::with_task();
    for number in 1..100 {
        desk.step(update(number, TaskState::Running));
    }
    desk.step(update(100, TaskState::Failed));
    let numbers: Vec<u64> = desk.task_row("t").pending.iter().map(|pending| pending.number).collect();
    assert_eq!((numbers.len(), numbers[0], numbers[1], numbers[63]), (64, 1, 38, 100));
    // What was left out counts as acknowledged with the next one.
    assert!(desk.call(acknowledge("t", "S1", uuid(1), 7)).contains(&"S1: acknowledged t:37".to_owned()));
}

#[test]
fn f12_a_framework_is_recovered_from_what_agents_say() {
    let mut desk = Desk::new();
    assert_eq!(desk.step(update(1, TaskState::Running)), ["S1: received t:1"]);
    let row = desk.framework_row("F");
    assert!(row.recovered);
    // Its own timeout is 5 s, after the grace of a stream that was lost.
    assert_eq!(row.state, FrameworkState::Disconnected { deadline: Time(desk.now.0 + 65 * SECOND) });
    let lines = desk.call(subscribe(Some("F"), 7));
    assert_eq!(lines, ["reply 200 subscribed F as 1", "stream 7: t TASK_RUNNING (to be acknowledged)"]);
    assert!(!desk.framework_row("F").recovered);
}

#[test]
fn f12_a_wiped_ledger_takes_up_where_the_framework_left_off() {
    let mut desk = Desk::with_task();
    let mut latest = update_of("L1", "S1", "t", 4, TaskState::Running);
    latest.acknowledged = 4;
    assert_eq!(desk.step(said("S1", latest)), ["S1: received t:4"]);
    assert_eq!((desk.task_row("t").state, desk.task_row("t").number), (TaskState::Running, 4));
    let mut next = update_of("L1", "S1", "t", 5, TaskState::Finished);
    next.acknowledged = 4;
    assert_eq!(desk.step(said("S1", next))[0], "stream 7: t TASK_FINISHED (to be acknowledged)");
}

#[test]
fn updates_of_a_removed_framework_are_settled_at_once() {
    let mut desk = Desk::with_task();
    desk.step(update(1, TaskState::Running));
    desk.call(RegistryCall::Teardown(me(7)));
    assert_eq!(desk.task_row("t").state, TaskState::Killed);
    assert_eq!(desk.step(update(2, TaskState::Killed)), ["S1: acknowledged t:2"]);
    desk.peer(launch_deleted("L1"));
    assert_eq!(desk.registry.tasks().count(), 0);
}

#[test]
fn f70_an_agent_cannot_speak_for_the_task_of_another() {
    let mut desk = Desk::with_task();
    assert_eq!(desk.step(said("S2", update_of("L1", "S2", "t", 1, TaskState::Failed))), NOTHING);
    assert_eq!(desk.task_row("t").state, TaskState::Staging);
}

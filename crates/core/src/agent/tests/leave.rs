//! Tasks that end because their agent goes.

use super::*;

fn running() -> Host {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    host
}

fn refused(gone: bool, wait: bool) -> ToAgent {
    ToAgent::Refused { instance: 7, reason: "it was said so".into(), gone, wait, void: Default::default() }
}

#[test]
fn a_drain_ends_tasks_with_the_smaller_grace_and_their_ends_say_so() {
    for (asked, grace) in [(None, 3000), (Some(500), 500), (Some(9000), 3000)] {
        let mut host = running();
        let lines = host.order(2, Order::Drain { max_grace_ms: asked });
        let killing = "t #2 TASK_KILLING REASON_AGENT_DRAINING".to_owned();
        assert_eq!(lines, [format!("kill l.0 {grace}"), killing, "beat 1:2".into()]);
        assert!(host.order(3, Order::Drain { max_grace_ms: asked }) == ["beat 1:3"], "once is enough");
        assert_eq!(host.exited("l.0", 143), ["t #3 TASK_KILLED REASON_AGENT_DRAINING"]);
    }
}

#[test]
fn a_drain_with_a_shorter_grace_hurries_and_a_task_that_was_killed_already_ends_by_the_drain() {
    let mut host = running();
    host.order(2, kill("t"));
    assert_eq!(host.order(3, Order::Drain { max_grace_ms: None }), ["beat 1:3"]);
    assert_eq!(host.order(4, Order::Drain { max_grace_ms: Some(10) }), ["kill l.0 10", "beat 1:4"]);
    assert_eq!(host.exited("l.0", 143), ["t #3 TASK_KILLED REASON_AGENT_DRAINING"]);
}

#[test]
fn a_drain_is_not_forgotten_by_a_restart_and_a_task_that_ends_well_has_ended_well() {
    let mut host = running();
    host.order(2, Order::Drain { max_grace_ms: Some(500) });
    let lines = host.restart(&[("l.0", true)]);
    assert!(lines.contains(&"kill l.0 500".to_owned()), "{lines:?}");
    let mut other = running();
    other.order(2, Order::Drain { max_grace_ms: None });
    assert_eq!(host.exited("l.0", 0), ["t #3 TASK_KILLED REASON_AGENT_DRAINING"]);
}

#[test]
fn f35_an_agent_that_was_marked_gone_ends_its_tasks_and_starts_anew_as_another() {
    let mut host = running();
    assert_eq!(host.tell(refused(true, false)), ["kill l.0 0", "t #2 TASK_KILLING"]);
    assert!(host.rows.contains_key("executor/l"), "not before its tasks have ended");
    let lines = host.exited("l.0", 137);
    assert_eq!(lines[..2], ["t #3 TASK_KILLED", "destroy l.0"]);
    assert!(lines[2].starts_with("refused: it was said so; its tasks were ended"), "{lines:?}");
    assert!(host.later(60_000).is_empty(), "it says nothing more");
    assert_eq!(host.rows.keys().collect::<Vec<_>>(), ["self"]);

    host.options.new_instance = 8;
    assert_eq!(host.restart(&[]), ["report 0:0"]);
    let report = host.report();
    assert_eq!((report.agent.as_ref(), report.instance, report.launches.len()), (None, 8, 0));
}

#[test]
fn f35_an_agent_without_tasks_that_was_marked_gone_leaves_at_once() {
    let mut host = Host::admitted();
    let lines = host.tell(refused(true, false));
    assert!(lines.len() == 1 && lines[0].starts_with("refused: "), "{lines:?}");
}

#[test]
fn an_agent_whose_machine_is_down_ends_its_tasks_and_asks_again_under_its_id() {
    let mut host = running();
    let lines = host.tell(refused(true, true));
    assert_eq!(lines[..2], ["kill l.0 3000", "t #2 TASK_KILLING"]);
    assert!(lines[2].starts_with("ignored: the agent has to wait"), "{lines:?}");
    assert!(host.tell(refused(true, true)).is_empty(), "it is said once");
    host.exited("l.0", 143);
    let lines = host.later(10_000);
    assert!(lines.contains(&"report 1:1".to_owned()), "{lines:?}");
    assert_eq!(host.report().agent, Some("a".into()));
    assert!(host.report().launches.iter().all(|launch| launch.tasks.is_empty()));
}

#[test]
fn f36_a_second_instance_ends_and_leaves_what_runs_alone() {
    let mut host = running();
    let lines = host.tell(refused(false, false));
    assert_eq!(lines, ["refused: it was said so"]);
    assert!(!host.agent.used().is_empty());
    assert!(
        host.tell(ToAgent::Refused {
            instance: 9,
            reason: String::new(),
            gone: true,
            wait: false,
            void: Default::default()
        })
        .is_empty()
    );
}

#[test]
fn f49_an_agent_that_restarts_with_less_than_its_tasks_hold_keeps_what_it_had() {
    let mut host = running();
    host.options.total = Resources::of(&[("cpus", 500), ("mem", 1_000_000)]);
    host.restart(&[("l.0", true)]);
    assert_eq!(host.agent.total().scalar("cpus"), 4000);
    // After a boot nothing runs any more, and the smaller one holds.
    host.options.boot = "boot-2".into();
    host.restart(&[]);
    assert_eq!(host.agent.total().scalar("cpus"), 500);
    assert!(host.agent.used().is_empty());
}

#[test]
fn an_agent_that_has_to_wait_skips_the_orders_that_are_on_their_way() {
    let mut host = running();
    let wait = |number| ToAgent::Refused {
        instance: 7,
        reason: "its machine is down".into(),
        gone: true,
        wait: true,
        void: (term(1), number),
    };
    host.tell(wait(3));
    assert_eq!(host.agent.obeys(), (term(1), 3));
    host.exited("l.0", 143);
    host.tell(ToAgent::Welcome { instance: 7, agent: "a".into(), term: term(1) });
    host.order(2, launch("m", "u", 1000));
    assert!(host.agent.executors().all(|row| row.launch != "m".into()), "it was not meant any more");
    host.order(4, launch("n", "v", 1000));
    assert!(host.agent.executors().any(|row| row.launch == "n".into()));
    // What comes late does not end what was launched since.
    let lines = host.tell(wait(3));
    assert!(!lines.iter().any(|line| line.starts_with("kill")), "{lines:?}");
}

#[test]
fn an_agent_that_has_to_wait_takes_up_no_order_of_an_earlier_term_and_none_that_is_void() {
    let void = |number| ToAgent::Refused {
        instance: 7,
        reason: "its machine is down".into(),
        gone: true,
        wait: true,
        void: (term(2), number),
    };
    let late = |epoch, first| {
        let orders = vec![launch("n", "v", 1000)];
        let message = ToAgent::Orders { term: term(epoch), first, orders };
        Event::Message { message, facts: vec![facts()] }
    };
    let mut host = running();
    let before = host.agent.obeys();
    host.tell(void(0));
    assert_eq!(host.agent.obeys(), before);
    host.step(late(1, before.1 + 1));
    // It was welcomed by the next term and has not heard of it yet.
    host.tell(void(3));
    assert_eq!(host.agent.obeys(), (term(2), 3));
    host.tell(ToAgent::Welcome { instance: 7, agent: "a".into(), term: term(2) });
    host.step(late(2, 3));
    assert!(host.agent.executors().all(|row| row.launch == "l".into()));
    host.step(late(2, 4));
    assert!(host.agent.executors().any(|row| row.launch == "n".into()));
}

//! Scenarios of frameworks' own executors.

use mesos_model::{Source, TaskState, TaskStatus};

use super::*;
use crate::row::ProcessStage;

const TOKEN: u128 = 99;

fn custom_facts() -> TaskFacts {
    let executor = ExecutorFacts { grace_ms: 5000, has_resources: true, token: TOKEN };
    TaskFacts { executor: Some(executor), ..facts() }
}

/// A launch of tasks with `e`, an executor of the framework's own, which the allocator takes for there or not.
fn own(id: &str, tasks: &[&str], joins: bool, kind: LaunchKind) -> Order {
    let Order::Launch(mut order) = group(id, tasks, kind) else { unreachable!() };
    if joins {
        order.executor_resources = Resources::new();
    }
    Order::Launch(order)
}

fn update(task: &str, state: TaskState, uuid: u128) -> ExecutorUpdate {
    let mut status = TaskStatus::new(task.into(), state, Source::Executor, Time(5));
    status.uuid = Some(uuid);
    ExecutorUpdate { status, has_container_status: false }
}

impl Host {
    fn launch_own(&mut self, number: u64, id: &str, tasks: &[&str], joins: bool) -> Vec<String> {
        self.launch_with(number, own(id, tasks, joins, LaunchKind::Custom), tasks.len())
    }

    fn launch_with(&mut self, number: u64, order: Order, tasks: usize) -> Vec<String> {
        let message = ToAgent::Orders { term: self.agent.own.promised, first: number, orders: vec![order] };
        self.step(Event::Message { message, facts: vec![custom_facts(); tasks] })
    }

    fn call(&mut self, request: u64, call: ExecutorCall) -> Vec<String> {
        self.call_as(request, "e", Some(TOKEN), call)
    }

    fn call_as(&mut self, request: u64, executor: &str, token: Option<u128>, call: ExecutorCall) -> Vec<String> {
        let (framework, executor) = ("f".into(), executor.into());
        self.step(Event::ExecutorCall { request: RequestId(request), framework, executor, token, call })
    }

    fn subscribe(&mut self, request: u64) -> Vec<String> {
        self.subscribe_with(request, &[], &[])
    }

    fn subscribe_with(&mut self, request: u64, tasks: &[&str], updates: &[ExecutorUpdate]) -> Vec<String> {
        let tasks = tasks.iter().map(|task| (*task).into()).collect();
        self.call(request, ExecutorCall::Subscribe { tasks, updates: updates.to_vec() })
    }

    fn says(&mut self, request: u64, task: &str, state: TaskState, uuid: u128) -> Vec<String> {
        self.call(request, ExecutorCall::Update(update(task, state, uuid)))
    }

    fn acknowledge_of(&mut self, launch: &str, task: &str, number: u64) -> Vec<String> {
        let (framework, task, launch) = ("f".into(), task.into(), launch.into());
        self.tell(ToAgent::Acknowledged { framework, task, launch, number })
    }

    fn killed(&mut self, container: &str) -> Vec<String> {
        let ended = Ended { signal: Some(9), ..Ended::default() };
        self.step(Event::Exited { container: container.into(), ended })
    }

    fn closed(&mut self, stream: u64) -> Vec<String> {
        let stream = RequestId(stream);
        self.step(Event::ExecutorClosed { framework: "f".into(), executor: "e".into(), stream })
    }

    /// With executor `e`, which runs `t1` of launch `l`.
    fn running() -> Host {
        let mut host = Host::admitted();
        host.launch_own(1, "l", &["t1"], false);
        host.subscribe(1);
        host.says(2, "t1", TaskState::Running, 11);
        host
    }
}

fn kills(lines: &[String]) -> bool {
    lines.contains(&"kill l.executor 0".to_owned())
}

#[test]
fn an_executor_is_started_once_and_gets_its_tasks_when_it_has_subscribed() {
    let mut host = Host::admitted();
    assert_eq!(host.launch_own(1, "l", &["t1"], false), ["start l.executor", "beat 1:1"]);
    assert_eq!(host.agent.used(), &Resources::of(&[("cpus", 1100)]));
    assert_eq!(host.launch_own(2, "m", &["t2"], true), ["beat 1:2"]);
    let subscribed = host.subscribe(1);
    let expected = ["1 taken", "to 1: subscribed l.executor", "to 1: launch t1", "to 1: launch t2"];
    assert_eq!(subscribed[..4], expected);
    assert_eq!(subscribed[4..], ["resize l.executor cpus:2.1"]);
    let lines = host.launch_own(3, "n", &["t3"], true);
    assert_eq!(lines, ["resize l.executor cpus:3.1", "to 1: launch t3", "beat 1:3"]);
    let lines = host.says(2, "t1", TaskState::Running, 11);
    assert_eq!(lines, ["2 taken", "t1 #1 TASK_RUNNING", "to 1: acknowledged t1 11"]);
}

#[test]
fn an_executor_holds_its_part_and_is_reported_until_it_has_ended() {
    let mut host = Host::running();
    let lines = host.says(3, "t1", TaskState::Finished, 12);
    assert_eq!(lines[1..], ["t1 #2 TASK_FINISHED", "resize l.executor cpus:0.1", "to 1: acknowledged t1 12"]);
    assert_eq!(host.acknowledge_of("l", "t1", 2), ["forgot t1"]);
    assert_eq!(host.agent.used(), &Resources::of(&[("cpus", 100)]));
    host.tell(ToAgent::Handshake { term: term(1), spread_ms: 0 });
    let launches = &host.report().launches;
    assert!(launches.len() == 1 && launches[0].alive && launches[0].tasks.is_empty(), "{launches:?}");
    // It is asked for again long after its first task is forgotten.
    assert_eq!(host.launch_own(2, "m", &["t2"], true)[1], "to 1: launch t2");
    let lines = host.exited("l.executor", 3);
    assert_eq!(lines[..3], ["close 1", "t2 #1 TASK_GONE REASON_EXECUTOR_TERMINATED", "executor e exited 768"]);
    assert_eq!(lines[3..], ["destroy l.executor", "report 1:2"]);
    assert!(host.agent.used().is_empty() && !host.rows.contains_key("executor/l"));
    assert_eq!(host.acknowledge_of("m", "t2", 1), ["forgot t2"]);
    assert!(!host.rows.contains_key("executor/m"));
}

#[test]
fn an_executor_that_does_not_subscribe_in_time_is_ended_and_its_tasks_fail() {
    let mut host = Host::admitted();
    host.launch_own(1, "l", &["t1"], false);
    host.step(Event::Started { container: "l.executor".into(), body: Bytes::new() });
    assert!(!kills(&host.later(59_999)));
    assert!(kills(&host.later(1)));
    let lines = host.killed("l.executor");
    assert_eq!(lines[..2], ["t1 #1 TASK_FAILED REASON_EXECUTOR_REGISTRATION_TIMEOUT", "executor e exited 9"]);
}

#[test]
fn an_executor_that_cannot_be_started_fails_its_tasks_with_the_reason() {
    let mut host = Host::admitted();
    host.launch_own(1, "l", &["t1"], false);
    host.launch_own(2, "m", &["t2"], true);
    let (container, reason) = ("l.executor".into(), Reason::CONTAINER_LAUNCH_FAILED);
    let lines = host.step(Event::Failed { container, reason, message: "no such file".to_owned() });
    let failed =
        ["t1 #1 TASK_FAILED REASON_CONTAINER_LAUNCH_FAILED", "t2 #1 TASK_FAILED REASON_CONTAINER_LAUNCH_FAILED"];
    assert_eq!((&lines[..2], lines[2].as_str()), (&failed.map(String::from)[..], "executor e exited -1"));
}

#[test]
fn a_launch_for_an_executor_that_has_ended_meanwhile_is_dropped() {
    let mut host = Host::admitted();
    let lines = host.launch_own(1, "l", &["t1"], true);
    assert_eq!(lines[0], "t1 #1 TASK_DROPPED REASON_EXECUTOR_TERMINATED");
    let mut host = Host::running();
    host.tell(ToAgent::ShutdownExecutor { framework: "f".into(), executor: "e".into() });
    let lines = host.launch_own(2, "m", &["t2"], true);
    assert_eq!(lines[0], "t2 #1 TASK_DROPPED REASON_EXECUTOR_TERMINATED");
    assert_eq!(host.agent.used(), &Resources::of(&[("cpus", 1100)]));
}

#[test]
fn what_does_not_fit_does_not_start_an_executor() {
    let mut host = Host::admitted();
    let lines = host.launch_own(1, "l", &["t1", "t2", "t3", "t4"], false);
    assert_eq!(lines[3], "t4 #1 TASK_DROPPED REASON_RESOURCES_UNKNOWN");
    assert!(!lines.iter().any(|line| line.starts_with("start")) && host.agent.used().is_empty());
}

#[test]
fn f20_an_update_that_an_executor_sends_again_is_told_once_and_acknowledged_again() {
    let mut host = Host::running();
    assert_eq!(host.says(3, "t1", TaskState::Running, 11), ["3 taken", "to 1: acknowledged t1 11"]);
    assert!(host.acknowledge_of("l", "t1", 1).is_empty());
    let again = [update("t1", TaskState::Running, 11), update("t1", TaskState::Failed, 12)];
    let lines = host.subscribe_with(4, &["t1"], &again);
    assert_eq!(lines[..3], ["4 taken", "close 1", "to 4: subscribed l.executor"]);
    assert_eq!(lines[3..5], ["to 4: acknowledged t1 11", "t1 #2 TASK_FAILED"]);
    assert_eq!(lines[6], "to 4: acknowledged t1 12");
    // Also when the task is forgotten.
    host.acknowledge_of("l", "t1", 2);
    let lines = host.says(5, "t1", TaskState::Failed, 12);
    assert_eq!(lines.last().map(String::as_str), Some("to 4: acknowledged t1 12"));
    assert!(!lines.iter().any(|line| line.contains('#')), "{lines:?}");
}

#[test]
fn a_task_that_its_executor_has_lost_is_over() {
    let mut host = Host::running();
    assert_eq!(host.says(3, "t1", TaskState::Lost, 12)[1], "t1 #2 TASK_GONE");
    assert_eq!(host.agent.used(), &Resources::of(&[("cpus", 100)]));
}

#[test]
fn an_executors_uuid_is_the_one_that_the_framework_acknowledges() {
    let host = Host::running();
    let pending = &host.agent.executors().next().unwrap().tasks[0].pending;
    assert_eq!((pending.len(), pending[0].status.uuid), (1, Some(11)));
}

#[test]
fn f31_an_executor_that_comes_back_after_a_restart_of_the_agent_goes_on() {
    let mut host = Host::running();
    host.launch_own(2, "m", &["t2", "t3"], true);
    assert_eq!(host.restart(&[("l.executor", true)])[0], "wait l.executor");
    assert_eq!(host.later(0), ["t1 #1 TASK_RUNNING"], "what was not acknowledged is told again");
    // It did not read the LAUNCH of t2, and nobody heard that t1 has finished.
    let lines = host.subscribe_with(7, &["t1", "t3"], &[update("t1", TaskState::Finished, 12)]);
    assert!(!lines.contains(&"to 7: launch t3".to_owned()), "it has t3: {lines:?}");
    assert_eq!(lines[..3], ["7 taken", "to 7: subscribed l.executor", "t1 #2 TASK_FINISHED"]);
    assert!(lines.contains(&"to 7: launch t2".to_owned()), "{lines:?}");
    assert!(!kills(&host.later(MINUTE)), "nothing is waited for");
}

#[test]
fn f31_an_executor_that_does_not_come_back_is_ended() {
    let mut host = Host::running();
    host.restart(&[("l.executor", true)]);
    assert!(!kills(&host.later(1_999)));
    assert!(kills(&host.later(1)));
    assert_eq!(host.killed("l.executor")[0], "t1 #2 TASK_FAILED REASON_EXECUTOR_REREGISTRATION_TIMEOUT");
}

#[test]
fn an_executor_that_is_not_found_after_a_restart_is_over_or_never_ran() {
    let mut host = Host::running();
    assert_eq!(host.restart(&[])[0], "t1 #2 TASK_GONE REASON_EXECUTOR_TERMINATED");
    let mut host = Host::admitted();
    host.launch_own(1, "l", &["t1"], false);
    assert_eq!(host.restart(&[])[0], "start l.executor");
    let mut host = Host::running();
    host.options.boot = "boot-2".into();
    assert_eq!(host.restart(&[])[0], "t1 #2 TASK_GONE REASON_AGENT_RESTARTED");
}

#[test]
fn a_stream_that_breaks_is_waited_for_and_an_old_one_means_nothing() {
    let mut host = Host::running();
    host.closed(77);
    assert_eq!(host.launch_own(2, "m", &["t2"], true)[1], "to 1: launch t2");
    host.closed(1);
    assert_eq!(host.order(3, kill("t1")), ["beat 1:3"], "nobody is there to hear it");
    let lines = host.subscribe_with(9, &["t1", "t2"], &[]);
    assert_eq!(lines[2..], ["to 9: kill t1", "resize l.executor cpus:2.1"]);
    host.closed(9);
    assert!(!kills(&host.later(899_999)));
    assert!(kills(&host.later(1)), "it may be away for 15 minutes");
}

#[test]
fn a_kill_goes_to_the_executor_or_ends_a_task_that_it_has_not_got() {
    let mut host = Host::admitted();
    host.launch_own(1, "l", &["t1"], false);
    host.launch_own(2, "m", &["t2"], true);
    assert_eq!(host.order(3, kill("t2"))[0], "t2 #1 TASK_KILLED REASON_TASK_KILLED_DURING_LAUNCH");
    assert!(kills(&host.order(4, kill("t1"))), "nobody needs it any more");
    let mut host = Host::running();
    assert_eq!(host.order(2, kill("t1")), ["to 1: kill t1", "beat 1:2"]);
    assert_eq!(host.says(3, "t1", TaskState::Killed, 12)[1], "t1 #2 TASK_KILLED");
}

#[test]
fn a_framework_that_is_torn_down_has_its_executors_shut_down_and_then_killed() {
    let mut host = Host::running();
    assert_eq!(host.order(2, Order::ShutdownFramework("f".into())), ["to 1: shutdown", "beat 1:2"]);
    assert!(!kills(&host.later(4_999)));
    assert!(kills(&host.later(1)));
    let lines = host.exited("l.executor", 0);
    assert!(!lines.iter().any(|line| line.contains("exited")), "its framework is not there: {lines:?}");
    assert!(host.agent.used().is_empty() && host.agent.executors().next().is_none());
}

#[test]
fn messages_go_both_ways() {
    let mut host = Host::running();
    assert_eq!(host.call(3, ExecutorCall::Message(Bytes::from_static(b"up"))), ["3 taken", "message"]);
    let down = |executor: &str| {
        let (framework, executor) = ("f".into(), executor.into());
        ToAgent::Message { framework, executor, data: Bytes::from_static(b"down") }
    };
    assert_eq!(host.tell(down("e")), ["to 1: message down"]);
    assert!(host.tell(down("other")).is_empty());
}

#[test]
fn f70_nobody_speaks_for_an_executor_but_itself() {
    let mut host = Host::running();
    let says = || ExecutorCall::Update(update("t1", TaskState::Failed, 13));
    assert_eq!(host.call_as(3, "other", Some(TOKEN), says()), ["3 400 Executor cannot be found"]);
    let lines = host.call_as(4, "e", Some(TOKEN + 1), says());
    assert!(lines[0].starts_with("4 403 "), "{lines:?}");
    assert_eq!(host.call_as(5, "e", None, ExecutorCall::Heartbeat), ["5 taken"], "a token may be required elsewhere");
    let (request, framework, executor) = (RequestId(6), "g".into(), "e".into());
    let strange = Event::ExecutorCall { request, framework, executor, token: None, call: says() };
    assert_eq!(host.step(strange), ["6 400 Framework cannot be found"]);
    // A command task has no executor that could be spoken for.
    host.order(2, launch("c", "c", 1000));
    assert_eq!(host.call_as(7, "c", None, says()), ["7 400 Executor cannot be found"]);
    let mut host = Host::admitted();
    host.launch_own(1, "l", &["t1"], false);
    assert_eq!(host.call(1, says()), ["1 403 Executor is not subscribed"]);
}

#[test]
fn an_executor_cannot_speak_for_the_task_of_another() {
    let mut host = Host::running();
    host.order(2, launch("c", "c", 1000));
    host.started("c.0");
    let lines = host.says(3, "c", TaskState::Finished, 14);
    assert!(!lines.iter().any(|line| line.contains("c #")), "{lines:?}");
}

#[test]
fn an_executor_is_not_answered_before_the_agent_knows_what_runs() {
    let mut host = Host::new();
    assert_eq!(host.call(1, ExecutorCall::Heartbeat), ["1 503 Agent has not finished recovery"]);
}

#[test]
fn a_task_that_is_to_make_room_takes_its_executor_along_if_it_does_not_end() {
    let mut host = Host::running();
    let preempt = Order::Preempt { framework: "f".into(), task: "t1".into(), message: "for t9".into() };
    assert_eq!(host.order(2, preempt), ["to 1: kill t1", "beat 1:2"]);
    assert!(host.later(13_000).contains(&"to 1: shutdown".to_owned()));
    assert!(kills(&host.later(5_000)));
    assert_eq!(host.exited("l.executor", 0)[1], "t1 #2 TASK_GONE REASON_CONTAINER_PREEMPTED");
}

#[test]
fn an_executor_that_subscribes_when_it_is_to_end_hears_so() {
    let mut host = Host::admitted();
    let stage = |host: &Host| host.agent.executors().next().unwrap().process.as_ref().unwrap().stage;
    host.launch_own(1, "l", &["t1"], false);
    assert_eq!(stage(&host), ProcessStage::Starting);
    host.subscribe(1);
    assert_eq!(stage(&host), ProcessStage::Subscribed);
    host.tell(ToAgent::ShutdownExecutor { framework: "f".into(), executor: "e".into() });
    assert_eq!(stage(&host), ProcessStage::Ending);
    assert_eq!(host.subscribe(2)[2..], ["to 2: subscribed l.executor", "to 2: shutdown"]);
    // The order to end is part of the checkpoint.
    assert!(kills(&{
        host.restart(&[("l.executor", true)]);
        host.later(0)
    }));
}

#[test]
fn a_group_is_given_to_the_frameworks_own_executor_as_a_whole() {
    let whole = || own("l", &["t1", "t2"], false, LaunchKind::CustomGroup);
    let mut host = Host::admitted();
    host.launch_with(1, whole(), 2);
    assert_eq!(host.subscribe(1)[2], "to 1: launch group t1+t2");
    assert_eq!(host.subscribe(2)[3], "to 2: launch group t1+t2", "it says that it has none of them");
    let lines = host.subscribe_with(3, &["t1"], &[]);
    assert!(!lines.iter().any(|line| line.contains("launch")), "it has the group: {lines:?}");
    let mut host = Host::admitted();
    host.launch_with(1, whole(), 2);
    let lines = host.order(2, kill("t1"));
    assert_eq!(lines.iter().filter(|line| line.contains("TASK_KILLED")).count(), 2, "{lines:?}");
}

#[test]
fn an_agent_that_is_drained_has_its_executors_ended_too() {
    let mut host = Host::running();
    host.launch_own(2, "m", &["t2"], true);
    host.says(3, "t1", TaskState::Finished, 12);
    let lines = host.order(3, Order::Drain { max_grace_ms: Some(1000) });
    assert_eq!(lines[..2], ["to 1: kill t2", "to 1: shutdown"]);
    assert!(!kills(&host.later(999)));
    assert!(kills(&host.later(1)));
    let lines = host.killed("l.executor");
    assert!(lines.contains(&"t2 #1 TASK_KILLED REASON_AGENT_DRAINING".to_owned()), "{lines:?}");
    assert!(host.agent.used().is_empty());
}

//! Scenarios of task groups that the agent itself runs.

use super::*;

fn pod(tasks: &[&str]) -> Order {
    group("l", tasks, LaunchKind::Group)
}

/// With a group of so many tasks, of which the first ones run.
fn with_group(tasks: &[&str], run: usize) -> Host {
    let mut host = Host::admitted();
    let message = ToAgent::Orders { term: term(1), first: 1, orders: vec![pod(tasks)] };
    host.step(Event::Message { message, facts: vec![facts(); tasks.len()] });
    for index in 0..run {
        host.started(&format!("l.{index}"));
    }
    host
}

#[test]
fn a_task_that_fails_takes_the_rest_of_its_group_along() {
    let mut host = with_group(&["t1", "t2", "t3"], 3);
    assert_eq!(host.agent.used(), &Resources::of(&[("cpus", 3100)]), "the executor's part once");
    assert_eq!(host.exited("l.0", 0), ["t1 #2 TASK_FINISHED"], "one that has finished is none that failed");
    let lines = host.exited("l.1", 1);
    assert_eq!(lines, ["t2 #2 TASK_FAILED REASON_COMMAND_EXECUTOR_FAILED", "kill l.2 3000", "t3 #2 TASK_KILLING"]);
    assert_eq!(host.exited("l.2", 143), ["t3 #3 TASK_KILLED"]);
    assert!(host.agent.used().is_empty());
}

#[test]
fn a_task_that_is_killed_takes_the_rest_of_its_group_along() {
    let mut host = with_group(&["t1", "t2"], 1);
    host.order(2, kill("t1"));
    assert!(host.exited("l.0", 143).contains(&"kill l.1 3000".to_owned()));
}

#[test]
fn a_task_that_cannot_be_started_takes_the_rest_of_its_group_along_over_a_restart() {
    let mut host = with_group(&["t1", "t2"], 0);
    let (container, reason) = ("l.1".into(), Reason::CONTAINER_LAUNCH_FAILED);
    let lines = host.step(Event::Failed { container, reason, message: "no".into() });
    assert_eq!(lines, ["t2 #1 TASK_FAILED REASON_CONTAINER_LAUNCH_FAILED", "kill l.0 3000"]);
    // The agent may die before the other one is dead.
    let lines = host.restart(&[("l.0", true)]);
    assert!(lines.contains(&"kill l.0 3000".to_owned()), "{lines:?}");
}

#[test]
fn a_group_is_launched_all_or_none() {
    let mut host = Host::admitted();
    let message = ToAgent::Orders { term: term(1), first: 1, orders: vec![pod(&["t1", "t2"])] };
    let invalid = TaskFacts { invalid: Some("no command".into()), ..facts() };
    let lines = host.step(Event::Message { message, facts: vec![facts(), invalid] });
    let error = |task: &str| format!("{task} #1 TASK_ERROR REASON_TASK_GROUP_INVALID");
    assert_eq!(lines[..2], [error("t1"), error("t2")]);
    assert!(!lines.iter().any(|line| line.starts_with("start") || line.starts_with("kill")), "{lines:?}");
}

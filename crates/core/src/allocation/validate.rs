//! Whether a task may be launched, in Mesos's words (`src/master/validation.cpp`).

use std::collections::BTreeSet;

use mesos_model::{AgentId, Resources, TaskId, id};

use crate::message::{ExecutorSpec, TaskSpec};

/// What a valid launch takes, apart from what its tasks ask for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Needs {
    /// The executor's own part; nothing if it is held already or there is none of its own.
    pub(super) executor: Resources,
}

/// Checks one task of LAUNCH. `running` gives what an executor that is there already holds for itself.
pub(super) fn task(
    task: &TaskSpec,
    agent: &AgentId,
    taken: impl Fn(&TaskId) -> bool,
    running: impl Fn(&ExecutorSpec) -> Option<Resources>,
    left: &Resources,
) -> Result<Needs, String> {
    identity(task, agent, &taken)?;
    let needs = match &task.executor {
        Some(spec) => executor(spec, running(spec))?,
        None => Needs { executor: Resources::new() },
    };
    let mut rest = left.clone();
    if rest.take(&task.resources) && rest.take(&needs.executor) {
        return Ok(needs);
    }
    Err(format!(
        "Total resources {} required by task and its executor is more than available {left}",
        task.resources.plus(&needs.executor)
    ))
}

/// Checks LAUNCH_GROUP: all or none.
pub(super) fn group(
    spec: &ExecutorSpec,
    tasks: &[TaskSpec],
    agent: &AgentId,
    taken: impl Fn(&TaskId) -> bool,
    running: Option<Resources>,
    left: &Resources,
) -> Result<Needs, String> {
    if tasks.is_empty() {
        return Err("Task group cannot be empty".to_owned());
    }
    let mut seen = BTreeSet::new();
    for task in tasks {
        let valid = identity(task, agent, &taken);
        valid.map_err(|error| format!("Task '{}' is invalid: {error}", task.task))?;
        if !seen.insert(&task.task) {
            return Err(format!("Task '{}' is invalid: Task has duplicate ID: {}", task.task, task.task));
        }
        if task.executor.as_ref().is_some_and(|own| own.executor != spec.executor) {
            return Err(format!("Task '{}' is invalid: 'TaskInfo.executor' must not be set", task.task));
        }
    }
    let needs = executor(spec, running)?;
    let mut rest = left.clone();
    let fits = tasks.iter().all(|task| rest.take(&task.resources)) && rest.take(&needs.executor);
    if fits {
        return Ok(needs);
    }
    let total = tasks.iter().fold(needs.executor, |sum, task| sum.plus(&task.resources));
    Err(format!("Total resources {total} required by task group and its executor are more than available {left}"))
}

fn identity(task: &TaskSpec, agent: &AgentId, taken: &impl Fn(&TaskId) -> bool) -> Result<(), String> {
    if let Some(error) = &task.invalid {
        return Err(error.clone());
    }
    id::validate(task.task.as_str()).map_err(|error| error.to_string())?;
    if task.agent != *agent {
        return Err(format!("Task uses invalid agent {} while agent {agent} is expected", task.agent));
    }
    if taken(&task.task) {
        return Err(format!("Task has duplicate ID: {}", task.task));
    }
    if task.resources.is_empty() {
        return Err("Task uses no resources".to_owned());
    }
    Ok(())
}

fn executor(spec: &ExecutorSpec, running: Option<Resources>) -> Result<Needs, String> {
    id::validate(spec.executor.as_str()).map_err(|error| error.to_string())?;
    match running {
        None => Ok(Needs { executor: spec.resources.clone() }),
        Some(held) if held == spec.resources => Ok(Needs { executor: Resources::new() }),
        Some(held) => Err(format!(
            "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID: '{}' has resources \
             {held}, not {}",
            spec.executor, spec.resources
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(id: &str, cpus: i64) -> TaskSpec {
        TaskSpec {
            task: id.into(),
            name: String::new(),
            agent: "a".into(),
            resources: Resources::of(&[("cpus", cpus)]),
            priority: None,
            executor: None,
            invalid: None,
            body: bytes::Bytes::new(),
        }
    }

    fn own(id: &str, cpus: i64) -> ExecutorSpec {
        let resources = Resources::of(&[("cpus", cpus)]);
        ExecutorSpec { executor: id.into(), resources, body: bytes::Bytes::new(), custom: false }
    }

    fn check(task_spec: &TaskSpec, held: Option<i64>) -> Result<i64, String> {
        let running = |_: &ExecutorSpec| held.map(|cpus| Resources::of(&[("cpus", cpus)]));
        let left = Resources::of(&[("cpus", 1000)]);
        task(task_spec, &"a".into(), |id| id.as_str() == "taken", running, &left)
            .map(|needs| needs.executor.scalar("cpus"))
    }

    #[test]
    fn an_invalid_task_is_told_why_in_mesos_words() {
        let elsewhere = TaskSpec { agent: "b".into(), ..spec("t", 1) };
        let odd = TaskSpec { invalid: Some("Task has no command".into()), ..spec("t", 1) };
        let bad_executor = TaskSpec { executor: Some(own("", 1)), ..spec("t", 1) };
        let cases = [
            (spec("", 1), "ID must be non-empty"),
            (spec("a/b", 1), "'a/b' contains invalid characters"),
            (elsewhere, "Task uses invalid agent b while agent a is expected"),
            (spec("taken", 1), "Task has duplicate ID: taken"),
            (spec("t", 0), "Task uses no resources"),
            (
                spec("t", 1001),
                "Total resources cpus:1.001 required by task and its executor is more than available cpus:1",
            ),
            (odd, "Task has no command"),
            (bad_executor, "ID must be non-empty"),
        ];
        for (task, error) in cases {
            assert_eq!(check(&task, None), Err(error.to_owned()));
        }
        assert_eq!(check(&spec("t", 1000), None), Ok(0));
    }

    #[test]
    fn an_executor_takes_its_part_once() {
        let task = |cpus| TaskSpec { executor: Some(own("e", 300)), ..spec("t", cpus) };
        assert_eq!(check(&task(700), None), Ok(300));
        assert!(check(&task(701), None).is_err());
        assert_eq!(check(&task(1000), Some(300)), Ok(0));
        assert!(check(&task(1), Some(200)).unwrap_err().starts_with("ExecutorInfo is not compatible"));
    }

    #[test]
    fn the_same_port_cannot_be_had_by_a_task_and_its_executor() {
        let ports = mesos_model::resources_text::parse("ports:[1-2]", "*").unwrap();
        let spec = TaskSpec {
            resources: ports.clone(),
            executor: Some(ExecutorSpec { resources: ports.clone(), ..own("e", 0) }),
            ..spec("t", 0)
        };
        assert!(task(&spec, &"a".into(), |_| false, |_| None, &ports).is_err());
    }

    #[test]
    fn a_group_is_valid_as_a_whole_or_not_at_all() {
        let check = |tasks: &[TaskSpec]| {
            let left = Resources::of(&[("cpus", 1000)]);
            group(&own("e", 100), tasks, &"a".into(), |id| id.as_str() == "taken", None, &left)
        };
        assert_eq!(check(&[spec("x", 400), spec("y", 500)]).map(|needs| needs.executor.scalar("cpus")), Ok(100));
        let cases = [
            (vec![], "Task group cannot be empty"),
            (vec![spec("x", 1), spec("x", 1)], "Task 'x' is invalid: Task has duplicate ID: x"),
            (vec![spec("x", 1), spec("taken", 1)], "Task 'taken' is invalid: Task has duplicate ID: taken"),
            (
                vec![spec("x", 500), spec("y", 500)],
                "Total resources cpus:1.1 required by task group and its executor are more than available cpus:1",
            ),
        ];
        for (tasks, error) in cases {
            assert_eq!(check(&tasks), Err(error.to_owned()));
        }
    }
}

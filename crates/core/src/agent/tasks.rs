//! From a launch to its end.
//!
//! ```text
//! launch ─► Starting ─Started─► Running ─Exited─► Ended ─acknowledged─► forgotten
//!              └────Failed, or Exited──────────────┘
//! ```
//! Words and states of an end are those of Mesos's command executor (`src/launcher/executor.cpp`). Tasks of a
//! group are launched all or none, and none outlives one that did not finish, as with Mesos's default executor
//! (`src/launcher/default_executor.cpp`). Tasks of a framework's own executor are handed to it: `executors`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mesos_model::{FrameworkId, LaunchId, Reason, Resources, Source, TaskId, TaskState, TaskStatus, Time};

use super::{
    Agent, ContainerOrder, Ended, Ending, Executor, Out, Output, TaskExtra, TaskFacts, Workload, held, live_tasks,
};
use crate::{
    message::LaunchOrder,
    row::{AgentTask, ExecutorRow, LaunchKind, TaskStage},
};

/// How long after its grace a container that has not ended is asked again.
pub(super) const KILL_AGAIN_MS: u64 = 10_000;

impl Agent {
    /// Takes an executor into the books, and starts its tasks if it fits.
    pub(super) fn add_executor(
        &mut self,
        now: Time,
        order: LaunchOrder,
        facts: Vec<TaskFacts>,
        fits: bool,
        out: &mut Out,
    ) {
        let launch = order.launch.clone();
        let custom = order.kind.is_custom();
        let brought = facts.first().and_then(|facts| facts.executor.clone());
        let mut extras = std::collections::BTreeMap::new();
        let mut tasks = Vec::new();
        let mut facts = facts.into_iter();
        for (index, (task, resources, body)) in order.tasks.into_iter().enumerate() {
            let facts = facts.next().unwrap_or_default();
            let container = if custom { String::new() } else { container_name(&launch, index) };
            if !custom {
                self.containers.insert(container.clone(), (launch.clone(), task.clone()));
            }
            extras.insert(task.clone(), TaskExtra { facts, ..TaskExtra::default() });
            let status = TaskStatus::new(task.clone(), TaskState::Staging, Source::Agent, now);
            tasks.push(AgentTask {
                task,
                resources,
                body,
                stage: TaskStage::Starting,
                status,
                number: 0,
                pending: Vec::new(),
                kill: None,
                preempted: None,
                draining: false,
                container,
                seen: Vec::new(),
            });
        }
        let row = ExecutorRow {
            launch: launch.clone(),
            framework: order.framework,
            facts: order.facts,
            executor: order.executor,
            role: order.role,
            resources: order.executor_resources,
            body: order.executor_body,
            tasks,
            time: now,
            trace: order.trace,
            kind: order.kind,
            process: None,
        };
        let ids: Vec<TaskId> = row.tasks.iter().map(|task| task.task.clone()).collect();
        self.used.add(&held(&row));
        let process = super::executors::ProcessExtra::default();
        self.executors.insert(launch.clone(), Executor { row, tasks: extras, process });
        self.changed.insert(launch.clone());
        for task in &ids {
            self.name(&launch, task);
        }
        if self.refuse_invalid(now, &launch, out) {
            return;
        }
        if let Some(why) = &self.degraded {
            let message = format!("the agent takes no tasks for now: {why}");
            self.end_all(now, &launch, TaskState::Dropped, Reason::CONTAINER_LAUNCH_FAILED, &message, out);
        } else if !fits {
            let message = "the agent has less free than the task needs";
            self.end_all(now, &launch, TaskState::Dropped, Reason::RESOURCES_UNKNOWN, message, out);
        } else if custom {
            self.begin_custom(now, &launch, brought.unwrap_or_default(), out);
        } else {
            for task in &ids {
                self.start_container(&launch, task, out);
            }
        }
    }

    /// Ends tasks that cannot be run here; of a group all, if one cannot. True if none is left.
    fn refuse_invalid(&mut self, now: Time, launch: &LaunchId, out: &mut Out) -> bool {
        let Some(executor) = self.executors.get(launch) else { return true };
        let invalid = |task: &AgentTask| {
            let why = executor.tasks.get(&task.task)?.facts.invalid.clone()?;
            Some((task.task.clone(), why))
        };
        let invalid: Vec<(TaskId, String)> = executor.row.tasks.iter().filter_map(invalid).collect();
        let group = executor.row.kind.is_group();
        if let Some((task, why)) = invalid.first().filter(|_| group) {
            let message = format!("Task '{task}' is invalid: {why}");
            self.end_all(now, launch, TaskState::Error, Reason::TASK_GROUP_INVALID, &message, out);
            return true;
        }
        for (task, why) in invalid {
            self.end(now, launch, &task, TaskState::Error, Some(Reason::TASK_INVALID), why, out);
        }
        self.executors.get(launch).is_none_or(|executor| live_tasks(&executor.row).next().is_none())
    }

    /// Ends all tasks of a launch that have not ended.
    pub(super) fn end_all(
        &mut self,
        now: Time,
        launch: &LaunchId,
        state: TaskState,
        reason: Reason,
        message: &str,
        out: &mut Out,
    ) {
        for task in self.live_tasks_of(launch) {
            self.end(now, launch, &task, state, Some(reason), message.to_owned(), out);
        }
    }

    /// The tasks of a launch that have not ended.
    pub(super) fn live_tasks_of(&self, launch: &LaunchId) -> Vec<TaskId> {
        let executor = self.executors.get(launch);
        executor.into_iter().flat_map(|executor| live_tasks(&executor.row)).map(|task| task.task.clone()).collect()
    }

    pub(super) fn start_container(&self, launch: &LaunchId, task: &TaskId, out: &mut Out) {
        let Some(executor) = self.executors.get(launch) else { return };
        let Some(row) = executor.row.tasks.iter().find(|row| row.task == *task) else { return };
        // The executor's own part goes to its first task, which is the only one of a command task.
        let first = executor.row.tasks.first().is_some_and(|first| first.task == *task);
        let resources = if first { row.resources.plus(&executor.row.resources) } else { row.resources.clone() };
        out.emit(Output::Launch(Arc::new(ContainerOrder {
            container: row.container.clone(),
            launch: launch.clone(),
            framework: executor.row.framework.clone(),
            user: executor.row.facts.user.clone(),
            executor: executor.row.executor.clone(),
            task: task.clone(),
            resources,
            workload: if executor.row.kind.is_group() { Workload::GroupTask } else { Workload::Task },
            body: row.body.clone(),
            trace: executor.row.trace,
        })));
    }

    pub(super) fn started(&mut self, now: Time, container: &str, body: Bytes, out: &mut Out) {
        let Some((launch, task)) = self.of_container(container) else {
            return self.executor_started(container, body, out);
        };
        let Some((row, _)) = self.task(&launch, &task) else { return };
        match row.stage {
            TaskStage::Preparing | TaskStage::Starting => {}
            // It was asked to end while it was being started: it must be asked once more.
            TaskStage::Killing => return self.kill(now, &launch, &task, out),
            TaskStage::Running | TaskStage::Ended => return,
        }
        row.stage = TaskStage::Running;
        self.watch_health(now, &launch, &task);
        let mut status = TaskStatus::new(task.clone(), TaskState::Running, Source::Executor, now);
        status.body = body;
        self.set_status(now, &launch, &task, status, out);
    }

    pub(super) fn failed(&mut self, now: Time, container: &str, reason: Reason, message: String, out: &mut Out) {
        let Some((launch, task)) = self.of_container(container) else {
            return self.executor_failed(now, container, reason, message, out);
        };
        let Some((row, _)) = self.task(&launch, &task) else { return };
        let state = if row.kill.is_some() { TaskState::Killed } else { TaskState::Failed };
        self.end(now, &launch, &task, state, Some(reason), message, out);
        self.end_rest_of_group(now, &launch, out);
    }

    pub(super) fn exited(&mut self, now: Time, container: &str, ended: &Ended, out: &mut Out) {
        let Some((launch, task)) = self.of_container(container) else {
            return self.executor_exited(now, container, ended, out);
        };
        let Some((row, extra)) = self.task(&launch, &task) else { return };
        let killed = row.kill.is_some() || extra.ending == Some(Ending::Unhealthy);
        let too_long = extra.ending == Some(Ending::TooLong) && row.kill.is_none();
        let (state, reason) = match ended {
            _ if too_long => (TaskState::Failed, Some(Reason::MAX_COMPLETION_TIME_REACHED)),
            _ if killed => (TaskState::Killed, None),
            Ended { out_of_memory: true, .. } => (TaskState::Failed, Some(Reason::CONTAINER_LIMITATION_MEMORY)),
            Ended { code: Some(0), .. } => (TaskState::Finished, None),
            Ended { code: None, signal: None, .. } => (TaskState::Failed, Some(Reason::EXECUTOR_TERMINATED)),
            Ended { .. } => (TaskState::Failed, Some(Reason::COMMAND_EXECUTOR_FAILED)),
        };
        let unhealthy = extra.ending == Some(Ending::Unhealthy);
        let message = words(ended);
        if row.stage == TaskStage::Ended {
            return;
        }
        let mut status = TaskStatus::new(task.clone(), state, Source::Executor, now);
        status.reason = reason;
        status.message = Some(message);
        status.exit_code = ended.code;
        status.healthy = unhealthy.then_some(false);
        self.end_with(now, &launch, &task, status, out);
        if state != TaskState::Finished {
            self.end_rest_of_group(now, &launch, out);
        }
    }

    /// Ends a task for a reason of the agent's own.
    #[allow(clippy::too_many_arguments, reason = "an end is told with all of it")]
    pub(super) fn end(
        &mut self,
        now: Time,
        launch: &LaunchId,
        task: &TaskId,
        state: TaskState,
        reason: Option<Reason>,
        message: String,
        out: &mut Out,
    ) {
        let mut status = TaskStatus::new(task.clone(), state, Source::Agent, now);
        status.reason = reason;
        status.message = Some(message);
        self.end_with(now, launch, task, status, out);
    }

    pub(super) fn end_with(
        &mut self,
        now: Time,
        launch: &LaunchId,
        task: &TaskId,
        mut status: TaskStatus,
        out: &mut Out,
    ) {
        let before = self.held_by(launch);
        let Some((row, extra)) = self.task(launch, task) else { return };
        if row.stage == TaskStage::Ended {
            return;
        }
        if let Some(message) = row.preempted.clone() {
            // However it ended: it was made to. As of a container that Mesos's QoS controller has ended.
            status.state = TaskState::Gone;
            status.source = Source::Agent;
            status.reason = Some(Reason::CONTAINER_PREEMPTED);
            status.message = Some(message);
        }
        if row.draining && status.state == TaskState::Killed {
            // Whatever else was a reason: its agent goes, as Mesos says it.
            status.reason = Some(Reason::AGENT_DRAINING);
        }
        row.stage = TaskStage::Ended;
        extra.health = None;
        extra.kill_again = None;
        extra.too_long_at = None;
        self.change_used(launch, &before);
        self.set_status(now, launch, task, status, out);
        self.resize_executor(launch, out);
        let shut_down =
            self.executors.get(launch).is_some_and(|executor| self.shut_down.contains(&executor.row.framework));
        if shut_down {
            // No status tells the allocator that the task holds nothing any more; the beat does.
            self.beat_now = true;
            self.forget(launch, task, out);
        }
    }

    /// A task has ended without having finished: no other one of its group outlives it.
    pub(super) fn end_rest_of_group(&mut self, now: Time, launch: &LaunchId, out: &mut Out) {
        if self.executors.get(launch).is_none_or(|executor| executor.row.kind != LaunchKind::Group) {
            return;
        }
        for task in self.live_tasks_of(launch) {
            if self.task(launch, &task).is_some_and(|(row, _)| row.kill.is_none()) {
                self.order_kill(now, launch, &task, None, out);
            }
        }
    }

    /// What a launch holds.
    pub(super) fn held_by(&self, launch: &LaunchId) -> Resources {
        self.executors.get(launch).map(|executor| held(&executor.row)).unwrap_or_default()
    }

    /// A launch that held `before` may hold something else now.
    pub(super) fn change_used(&mut self, launch: &LaunchId, before: &Resources) {
        self.used.take_what_is_there(before);
        self.used.add(&self.held_by(launch));
    }

    /// Has a container ended, and says so once.
    pub(super) fn kill(&mut self, now: Time, launch: &LaunchId, task: &TaskId, out: &mut Out) {
        if self.executors.get(launch).is_some_and(|executor| executor.row.kind.is_custom()) {
            return self.kill_by_executor(now, launch, task, out);
        }
        let Some((row, extra)) = self.task(launch, task) else { return };
        let grace_ms = row.kill.and_then(|kill| kill.grace_ms).unwrap_or(extra.facts.grace_ms);
        extra.kill_again = Some(now.after(Duration::from_millis(grace_ms.saturating_add(KILL_AGAIN_MS))));
        out.emit(Output::Kill { container: row.container.clone(), grace_ms });
        let first = matches!(row.stage, TaskStage::Running) && row.kill.is_some();
        let reason = row.draining.then_some(Reason::AGENT_DRAINING);
        if row.stage != TaskStage::Ended {
            row.stage = TaskStage::Killing;
            self.changed.insert(launch.clone());
        }
        if first {
            let mut status = TaskStatus::new(task.clone(), TaskState::Killing, Source::Executor, now);
            status.reason = reason;
            self.set_status(now, launch, task, status, out);
        }
    }

    /// Removes a task whose end is acknowledged, or of which nobody wants to hear.
    pub(super) fn forget(&mut self, launch: &LaunchId, task: &TaskId, out: &mut Out) {
        let Some(executor) = self.executors.get_mut(launch) else { return };
        if let Some(at) = executor.row.tasks.iter().position(|row| row.task == *task) {
            let row = executor.row.tasks.remove(at);
            if self.containers.remove(&row.container).is_some() {
                out.emit(Output::Destroy { container: row.container });
            }
        }
        if let Some(at) = executor.tasks.remove(task).and_then(|extra| extra.timer) {
            self.timers.remove(&(at, launch.clone(), task.clone()));
        }
        let framework = executor.row.framework.clone();
        self.drop_name(&framework, task, launch);
        self.drop_if_over(launch);
    }

    /// Removes a launch of which nothing is left.
    pub(super) fn drop_if_over(&mut self, launch: &LaunchId) {
        let over = |executor: &Executor| executor.row.tasks.is_empty() && executor.row.live_process().is_none();
        if self.executors.get(launch).is_some_and(over) {
            self.executors.remove(launch);
        }
        self.changed.insert(launch.clone());
    }

    fn name(&mut self, launch: &LaunchId, task: &TaskId) {
        if let Some(executor) = self.executors.get(launch) {
            let name = (executor.row.framework.clone(), task.clone());
            self.names.entry(name).or_default().insert(launch.clone());
        }
    }

    pub(super) fn drop_name(&mut self, framework: &FrameworkId, task: &TaskId, launch: &LaunchId) {
        let name = (framework.clone(), task.clone());
        if let Some(launches) = self.names.get_mut(&name) {
            launches.remove(launch);
            if launches.is_empty() {
                self.names.remove(&name);
            }
        }
    }

    /// The launches that run a task of a framework.
    pub(super) fn launches_of(&self, framework: &FrameworkId, task: &TaskId) -> Vec<LaunchId> {
        let name = (framework.clone(), task.clone());
        self.names.get(&name).into_iter().flatten().cloned().collect()
    }

    pub(super) fn restore_executor(&mut self, row: ExecutorRow) {
        for task in row.tasks.iter().filter(|task| !task.container.is_empty()) {
            self.containers.insert(task.container.clone(), (row.launch.clone(), task.task.clone()));
        }
        if row.live_process().is_some() {
            self.hosts.insert((row.framework.clone(), row.executor.clone()), row.launch.clone());
        }
        let tasks = row.tasks.iter().map(|task| (task.task.clone(), TaskExtra::default())).collect();
        self.used.add(&held(&row));
        for task in &row.tasks {
            let name = (row.framework.clone(), task.task.clone());
            self.names.entry(name).or_default().insert(row.launch.clone());
        }
        let process = super::executors::ProcessExtra::default();
        if let Some(before) = self.executors.insert(row.launch.clone(), Executor { row, tasks, process }) {
            self.used.take_what_is_there(&held(&before.row));
        }
    }
}

/// A container's name: a plain file name, the same for the same launch and place.
fn container_name(launch: &LaunchId, index: usize) -> String {
    format!("{launch}.{index}")
}

pub(super) fn words(ended: &Ended) -> String {
    let how = match (ended.code, ended.signal) {
        (Some(code), _) => format!("Command exited with status {code}"),
        (None, Some(signal)) => format!("Command terminated with signal {}", signal_name(signal)),
        (None, None) => "Failed to get exit status for Command".to_owned(),
    };
    match &ended.message {
        Some(message) => format!("{how}: {message}"),
        None => how,
    }
}

/// A signal in the words of `strsignal`, which Mesos uses.
fn signal_name(signal: i32) -> String {
    match signal {
        1 => "Hangup".to_owned(),
        2 => "Interrupt".to_owned(),
        3 => "Quit".to_owned(),
        4 => "Illegal instruction".to_owned(),
        6 => "Aborted".to_owned(),
        7 => "Bus error".to_owned(),
        8 => "Floating point exception".to_owned(),
        9 => "Killed".to_owned(),
        11 => "Segmentation fault".to_owned(),
        13 => "Broken pipe".to_owned(),
        15 => "Terminated".to_owned(),
        other => other.to_string(),
    }
}

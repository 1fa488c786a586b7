//! Executors that frameworks bring, from their start to their end.
//!
//! ```text
//! launch ─► Starting ─SUBSCRIBE─► Subscribed ─told to end─► Ending ─Exited─► Ended
//!              └─────────────Failed, or Exited──────────────────────────────────┘
//! ```
//! The launch that starts an executor is its host and holds the executor's own part for as long as it lives;
//! later launches of the same executor id join it. An executor gets its tasks by events on its stream
//! (`calls`), and what is left of them when it ends is over with it (`src/slave/slave.cpp` of Mesos,
//! `executorTerminated`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use mesos_model::{AgentId, ExecutorId, FrameworkId, LaunchId, Reason, Resources, TaskId, TaskState, Time};

use super::{
    Agent, ContainerOrder, Ended, ExecutorEvent, ExecutorFacts, Out, Output, Workload, live_tasks,
    tasks::{KILL_AGAIN_MS, words},
};
use crate::{
    message::{AgentToRegistry, RequestId},
    row::{ExecutorProcess, LaunchKind, ProcessStage},
};

/// What is known of a framework's own executor beyond its row; lost with the agent's process.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessExtra {
    /// Its stream, named by the SUBSCRIBE that has opened it.
    pub(super) stream: Option<RequestId>,
    /// When the agent does something about it, and what.
    due: Option<(Time, Due)>,
    /// The `container_status` of its container, as a protobuf `TaskStatus`.
    pub(super) status: Bytes,
}

/// What the agent does about an executor when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It did not subscribe after its start.
    Register,
    /// It did not subscribe again within so many milliseconds.
    Return(u64),
    /// It did not end when it was told to.
    Kill,
}

/// Whose executor, and which.
pub(super) type ExecutorKey = (FrameworkId, ExecutorId);

impl Agent {
    pub(super) fn process(&mut self, host: &LaunchId) -> Option<(&mut ExecutorProcess, &mut ProcessExtra)> {
        let executor = self.executors.get_mut(host)?;
        Some((executor.row.process.as_mut()?, &mut executor.process))
    }

    /// The launch that has started the executor of a launch, if that lives.
    fn host_of(&self, launch: &LaunchId) -> Option<LaunchId> {
        let row = &self.executors.get(launch)?.row;
        self.hosts.get(&(row.framework.clone(), row.executor.clone())).filter(|_| row.kind.is_custom()).cloned()
    }

    pub(super) fn host_of_container(&self, container: &str) -> Option<LaunchId> {
        let is_its = |host: &&LaunchId| {
            let process = self.executors.get(*host).and_then(|executor| executor.row.live_process());
            process.is_some_and(|process| process.container == container)
        };
        self.hosts.values().find(is_its).cloned()
    }

    /// The launches of an executor with tasks that have not ended.
    pub(super) fn launches_of_executor(&self, key: &ExecutorKey) -> Vec<LaunchId> {
        let is_its = |row: &&super::ExecutorRow| {
            row.kind.is_custom()
                && (&row.framework, &row.executor) == (&key.0, &key.1)
                && live_tasks(row).next().is_some()
        };
        self.executors().filter(is_its).map(|row| row.launch.clone()).collect()
    }

    // The start.

    /// Hands the tasks of a launch to their executor, which is started if it is not there.
    pub(super) fn begin_custom(&mut self, now: Time, launch: &LaunchId, facts: ExecutorFacts, out: &mut Out) {
        let over = "the executor has ended, or is ending";
        let Some(row) = self.executors.get(launch).map(|executor| &executor.row) else { return };
        let joins = row.resources.is_empty() && facts.has_resources;
        match self.host_of(launch) {
            None if joins => {
                // The framework, and the allocator, took it for running; so there is no room for another one.
                self.end_all(now, launch, TaskState::Dropped, Reason::EXECUTOR_TERMINATED, over, out);
            }
            None => self.start_executor(now, launch, &facts, out),
            Some(host) => {
                let stage = self.process(&host).map(|(process, _)| process.stage);
                if stage == Some(ProcessStage::Ending) {
                    self.end_all(now, launch, TaskState::Dropped, Reason::EXECUTOR_TERMINATED, over, out);
                    return;
                }
                self.resize_executor(launch, out);
                if stage == Some(ProcessStage::Subscribed) {
                    self.hand_over(launch, &self.live_tasks_of(launch), out);
                }
            }
        }
    }

    fn start_executor(&mut self, now: Time, launch: &LaunchId, facts: &ExecutorFacts, out: &mut Out) {
        let before = self.held_by(launch);
        let Some(executor) = self.executors.get_mut(launch) else { return };
        executor.row.process = Some(ExecutorProcess {
            container: format!("{launch}.executor"),
            stage: ProcessStage::Starting,
            token: facts.token,
            why: None,
            grace_ms: facts.grace_ms,
        });
        self.hosts.insert((executor.row.framework.clone(), executor.row.executor.clone()), launch.clone());
        self.changed.insert(launch.clone());
        self.change_used(launch, &before);
        self.start_process(now, launch, out);
    }

    fn start_process(&mut self, now: Time, host: &LaunchId, out: &mut Out) {
        let registration = self.options.executors.registration_ms;
        let resources = self.resources_of_executor(host);
        let Some(executor) = self.executors.get_mut(host) else { return };
        let Some(process) = &executor.row.process else { return };
        executor.process.due = Some((now.after(Duration::from_millis(registration)), Due::Register));
        out.emit(Output::Launch(Arc::new(ContainerOrder {
            container: process.container.clone(),
            launch: host.clone(),
            framework: executor.row.framework.clone(),
            user: executor.row.facts.user.clone(),
            executor: executor.row.executor.clone(),
            task: TaskId::default(),
            resources,
            workload: Workload::Executor { token: process.token, grace_ms: process.grace_ms },
            body: executor.row.body.clone().unwrap_or_default(),
            trace: executor.row.trace,
        })));
    }

    /// What an executor and all of its tasks hold.
    fn resources_of_executor(&self, host: &LaunchId) -> Resources {
        let Some(row) = self.executors.get(host).map(|executor| &executor.row) else { return Resources::new() };
        let key = (row.framework.clone(), row.executor.clone());
        let tasks = self.launches_of_executor(&key).into_iter().filter_map(|launch| self.executors.get(&launch));
        let tasks = tasks.flat_map(|executor| live_tasks(&executor.row));
        tasks.fold(row.resources.clone(), |sum, task| sum.plus(&task.resources))
    }

    /// The executor of a launch has got a task, or lost one.
    pub(super) fn resize_executor(&mut self, launch: &LaunchId, out: &mut Out) {
        let Some(host) = self.host_of(launch) else { return };
        let resources = self.resources_of_executor(&host);
        if let Some((process, _)) = self.process(&host)
            && process.stage == ProcessStage::Subscribed
        {
            out.emit(Output::Resize { container: process.container.clone(), resources });
        }
    }

    pub(super) fn executor_started(&mut self, container: &str, body: Bytes, out: &mut Out) {
        let Some(host) = self.host_of_container(container) else { return };
        let Some((process, extra)) = self.process(&host) else { return };
        extra.status = body;
        if process.stage == ProcessStage::Ending {
            // It was told to end while it was being started.
            out.emit(Output::Kill { container: container.to_owned(), grace_ms: process.grace_ms });
        }
    }

    // Its tasks.

    /// Gives an executor these tasks of a launch.
    pub(super) fn hand_over(&mut self, launch: &LaunchId, tasks: &[TaskId], out: &mut Out) {
        let Some(row) = self.executors.get(launch).map(|executor| &executor.row) else { return };
        let bodies = live_tasks(row).filter(|task| tasks.contains(&task.task)).map(|task| task.body.clone());
        let events: Vec<ExecutorEvent> = match row.kind {
            LaunchKind::CustomGroup if tasks.is_empty() => return,
            LaunchKind::CustomGroup => vec![ExecutorEvent::LaunchGroup(bodies.collect())],
            _ => bodies.map(ExecutorEvent::Launch).collect(),
        };
        let key = (row.framework.clone(), row.executor.clone());
        for event in events {
            self.tell_executor(&key, event, out);
        }
    }

    /// Asks for the end of a task. One that its executor has not got is over at once; an executor that has
    /// never subscribed is ended when none is left (`src/slave/slave.cpp`, `kill`).
    pub(super) fn kill_by_executor(&mut self, now: Time, launch: &LaunchId, task: &TaskId, out: &mut Out) {
        let Some(host) = self.host_of(launch) else { return };
        let Some(stage) = self.process(&host).map(|(process, _)| process.stage) else { return };
        let Some(launched) = self.executors.get(launch).map(|executor| &executor.row) else { return };
        let (kind, key) = (launched.kind, (launched.framework.clone(), launched.executor.clone()));
        let Some((row, extra)) = self.task(launch, task) else { return };
        match stage {
            ProcessStage::Starting => {
                let message = "the task was killed before its executor had it";
                let reason = Reason::TASK_KILLED_DURING_LAUNCH;
                if kind == LaunchKind::CustomGroup {
                    self.end_all(now, launch, TaskState::Killed, reason, message, out);
                } else {
                    self.end(now, launch, task, TaskState::Killed, Some(reason), message.to_owned(), out);
                }
                if self.launches_of_executor(&key).is_empty() {
                    self.end_executor(now, &host, None, Some(0), out);
                }
            }
            ProcessStage::Subscribed => {
                let grace_ms = row.kill.and_then(|kill| kill.grace_ms);
                if row.preempted.is_some() {
                    // Room is to be made, whatever the executor does.
                    let wait = grace_ms.unwrap_or(extra.facts.grace_ms).saturating_add(KILL_AGAIN_MS);
                    extra.kill_again = Some(now.after(Duration::from_millis(wait)));
                }
                self.tell_executor(&key, ExecutorEvent::Kill { task: task.clone(), grace_ms }, out);
            }
            ProcessStage::Ending | ProcessStage::Ended => {}
        }
    }

    /// A task that was asked to end has not ended.
    pub(super) fn kill_again(&mut self, now: Time, launch: &LaunchId, task: &TaskId, out: &mut Out) {
        match self.host_of(launch) {
            Some(host) => {
                let why = (Reason::CONTAINER_PREEMPTED, "the executor did not end a task to make room".to_owned());
                self.end_executor(now, &host, Some(why), None, out);
            }
            None => self.kill(now, launch, task, out),
        }
    }

    // The end.

    /// Tells an executor to end, and sees to it that it does.
    pub(super) fn end_executor(
        &mut self,
        now: Time,
        host: &LaunchId,
        why: Option<(Reason, String)>,
        grace_ms: Option<u64>,
        out: &mut Out,
    ) {
        let Some((process, extra)) = self.process(host) else { return };
        let first = process.stage != ProcessStage::Ending;
        let grace_ms = grace_ms.unwrap_or(process.grace_ms);
        process.stage = ProcessStage::Ending;
        if process.why.is_none() {
            process.why = why;
        }
        let stream = extra.stream.filter(|_| first && grace_ms > 0);
        let wait = if stream.is_some() { grace_ms } else { grace_ms.saturating_add(KILL_AGAIN_MS) };
        let due = now.after(Duration::from_millis(wait));
        match stream {
            Some(stream) => out.emit(Output::ToExecutor { stream, event: ExecutorEvent::Shutdown }),
            None => out.emit(Output::Kill { container: process.container.clone(), grace_ms }),
        }
        // A second order may shorten what the first one has given.
        let sooner = |at: Time| if first { due } else { at.min(due) };
        extra.due = Some((extra.due.map_or(due, |(at, _)| sooner(at)), Due::Kill));
        self.changed.insert(host.clone());
    }

    pub(super) fn next_of_executors(&self) -> Option<Time> {
        let dues = self.hosts.values().filter_map(|host| self.executors.get(host)?.process.due);
        dues.map(|(at, _)| at).min()
    }

    pub(super) fn executors_due(&mut self, now: Time, out: &mut Out) {
        for host in self.hosts.values().cloned().collect::<Vec<_>>() {
            let due = self.executors.get(&host).and_then(|executor| executor.process.due);
            let Some((_, what)) = due.filter(|(at, _)| *at <= now) else { continue };
            let times = self.options.executors;
            let late = |reason, what: &str, ms: u64| Some((reason, format!("Executor did not {what} within {ms}ms")));
            let why = match what {
                Due::Register => late(Reason::EXECUTOR_REGISTRATION_TIMEOUT, "register", times.registration_ms),
                Due::Return(ms) => late(Reason::EXECUTOR_REREGISTRATION_TIMEOUT, "reregister", ms),
                Due::Kill => None,
            };
            self.end_executor(now, &host, why, Some(0), out);
            // What was due is over; what was ordered now is looked at in a while.
            if let Some((_, extra)) = self.process(&host) {
                extra.due = Some((now.after(Duration::from_millis(KILL_AGAIN_MS)), Due::Kill));
            }
        }
    }

    /// It has subscribed: nothing is waited for, unless it is to end.
    pub(super) fn executor_is_there(&mut self, host: &LaunchId) {
        if let Some((_, extra)) = self.process(host)
            && extra.due.is_some_and(|(_, due)| due != Due::Kill)
        {
            extra.due = None;
        }
    }

    /// It is gone from its stream, and has some time to come back.
    pub(super) fn executor_is_away(&mut self, now: Time, host: &LaunchId) {
        let wait = self.options.executors.recovery_ms;
        if let Some((_, extra)) = self.process(host)
            && extra.due.is_none()
        {
            extra.due = Some((now.after(Duration::from_millis(wait)), Due::Return(wait)));
        }
    }

    pub(super) fn executor_failed(&mut self, now: Time, container: &str, reason: Reason, words: String, out: &mut Out) {
        if let Some(host) = self.host_of_container(container) {
            self.executor_over(now, &host, (TaskState::Failed, reason, words), None, out);
        }
    }

    pub(super) fn executor_exited(&mut self, now: Time, container: &str, ended: &Ended, out: &mut Out) {
        let Some(host) = self.host_of_container(container) else { return };
        let status = match (ended.code, ended.signal) {
            (Some(code), _) => Some(code << 8),
            (None, signal) => signal,
        };
        let words = words(ended).replacen("Command", "Executor", 1);
        let end = if ended.out_of_memory {
            (TaskState::Failed, Reason::CONTAINER_LIMITATION_MEMORY, words)
        } else {
            (TaskState::Gone, Reason::EXECUTOR_TERMINATED, words)
        };
        self.executor_over(now, &host, end, status, out);
    }

    /// An executor is over, and its tasks with it.
    fn executor_over(
        &mut self,
        now: Time,
        host: &LaunchId,
        end: (TaskState, Reason, String),
        status: Option<i32>,
        out: &mut Out,
    ) {
        let before = self.held_by(host);
        let Some((process, extra)) = self.process(host) else { return };
        process.stage = ProcessStage::Ended;
        // What the agent has ended for a reason of its own has failed.
        let (state, reason, words) = match process.why.clone() {
            Some((reason, words)) => (TaskState::Failed, reason, words),
            None => end,
        };
        let container = process.container.clone();
        if let Some(stream) = extra.stream.take() {
            out.emit(Output::CloseExecutor { stream });
        }
        self.change_used(host, &before);
        let Some(row) = self.executors.get(host).map(|executor| &executor.row) else { return };
        let key = (row.framework.clone(), row.executor.clone());
        self.hosts.remove(&key);
        for launch in self.launches_of_executor(&key) {
            for task in self.live_tasks_of(&launch) {
                let killed = self.task(&launch, &task).is_some_and(|(row, _)| row.kill.is_some());
                let state = if killed { TaskState::Killed } else { state };
                self.end(now, &launch, &task, state, Some(reason), words.clone(), out);
            }
        }
        if let Some(agent) = self.own.id.clone().filter(|_| !self.shut_down.contains(&key.0)) {
            out.emit(Output::Registry(exited(agent, key, status.unwrap_or(-1))));
        }
        out.emit(Output::Destroy { container });
        self.drop_if_over(host);
        // Only a report tells the allocator that the executor holds nothing any more.
        self.report_now = true;
    }

    // After a restart of the agent.

    pub(super) fn recover_executor(
        &mut self,
        now: Time,
        host: &LaunchId,
        found: &BTreeMap<String, bool>,
        rebooted: bool,
        out: &mut Out,
    ) {
        let times = self.options.executors;
        let Some((process, extra)) = self.process(host) else { return };
        let after = |ms: u64| now.after(Duration::from_millis(ms));
        if found.contains_key(&process.container) {
            out.emit(Output::Wait { container: process.container.clone() });
            extra.due = Some(match process.stage {
                ProcessStage::Starting => (after(times.registration_ms), Due::Register),
                ProcessStage::Subscribed => (after(times.reregistration_ms), Due::Return(times.reregistration_ms)),
                ProcessStage::Ending | ProcessStage::Ended => (now, Due::Kill),
            });
            return;
        }
        let end = if rebooted {
            (Reason::AGENT_RESTARTED, "the host was booted while the executor ran")
        } else if process.stage == ProcessStage::Starting {
            // The checkpoint is written before a container is touched, and there is none: it never ran.
            return self.start_process(now, host, out);
        } else {
            (Reason::EXECUTOR_TERMINATED, "the executor was not found after a restart of the agent")
        };
        self.executor_over(now, host, (TaskState::Gone, end.0, end.1.to_owned()), None, out);
    }
}

fn exited(agent: AgentId, (framework, executor): ExecutorKey, status: i32) -> AgentToRegistry {
    AgentToRegistry::ExecutorExited { agent, framework, executor, status }
}

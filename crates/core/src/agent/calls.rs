//! What frameworks' own executors say, and what they are told (`Http::executor` and `Slave::subscribe` of Mesos).
//!
//! A call is answered once what it says is in the checkpoint, and so is an update acknowledged: from then on
//! the agent sees to it that the framework hears of it. An executor that subscribes again says which tasks and
//! updates it has no answer for; what it does not name it never got, and gets it again.

use std::collections::BTreeSet;

use bytes::Bytes;
use mesos_model::{
    FrameworkId, LaunchId, Reason, TaskId, TaskState, TaskStatus, Time,
    planted::{Bug, is_planted},
};

use super::{Agent, Out, Output, executors::ExecutorKey, live_tasks};
use crate::{
    message::{AgentToRegistry, RequestId},
    row::{FrameworkFacts, ProcessStage, TaskStage},
};

/// How many updates of a task are remembered, so that one that is sent again is not told again.
const SEEN_MAX: usize = 1_000;

/// What an executor says.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecutorCall {
    /// SUBSCRIBE: the stream is named by the call.
    Subscribe {
        /// Tasks that it has, and of which it was not told that an update was taken.
        tasks: BTreeSet<TaskId>,
        /// Updates of which it was not told that they were taken, in order.
        updates: Vec<ExecutorUpdate>,
    },
    /// UPDATE.
    Update(ExecutorUpdate),
    /// MESSAGE to its framework.
    Message(Bytes),
    /// HEARTBEAT.
    Heartbeat,
}

/// A status of a task, as its executor tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutorUpdate {
    /// With the UUID that the executor has made.
    pub status: TaskStatus,
    /// The executor says itself how its container is.
    pub has_container_status: bool,
}

/// What an executor is told, apart from HEARTBEAT.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecutorEvent {
    /// SUBSCRIBED.
    Subscribed {
        /// Its framework.
        framework: FrameworkId,
        /// What the agent knows of that.
        facts: FrameworkFacts,
        /// The protobuf `ExecutorInfo`.
        body: Bytes,
        /// Its container.
        container: String,
    },
    /// LAUNCH with a protobuf `TaskInfo`.
    Launch(Bytes),
    /// LAUNCH_GROUP with protobuf `TaskInfo`s.
    LaunchGroup(Vec<Bytes>),
    /// KILL.
    Kill {
        /// Which task.
        task: TaskId,
        /// The grace, if the framework said so.
        grace_ms: Option<u64>,
    },
    /// ACKNOWLEDGED: the update is in the checkpoint.
    Acknowledged {
        /// Of which task.
        task: TaskId,
        /// Which update.
        uuid: u128,
    },
    /// MESSAGE of its framework.
    Message(Bytes),
    /// SHUTDOWN.
    Shutdown,
}

impl Agent {
    pub(super) fn executor_call(
        &mut self,
        now: Time,
        request: RequestId,
        key: ExecutorKey,
        token: Option<u128>,
        call: ExecutorCall,
        out: &mut Out,
    ) {
        let host = match self.may_call(&key, token, &call) {
            Ok(host) => host,
            Err(refusal) => return out.emit(Output::ExecutorAnswer { request, answer: Err(refusal) }),
        };
        out.emit(Output::ExecutorAnswer { request, answer: Ok(()) });
        match call {
            ExecutorCall::Subscribe { tasks, updates } => {
                self.subscribe_executor(now, request, &host, &key, &tasks, updates, out);
            }
            ExecutorCall::Update(update) => self.executor_update(now, &host, &key, update, out),
            ExecutorCall::Message(data) => {
                if let Some(agent) = self.own.id.clone() {
                    let (framework, executor) = key;
                    out.emit(Output::Registry(AgentToRegistry::Message { agent, framework, executor, data }));
                }
            }
            ExecutorCall::Heartbeat => {}
        }
    }

    /// The launch that has started the executor, or why it may not call.
    fn may_call(
        &mut self,
        key: &ExecutorKey,
        token: Option<u128>,
        call: &ExecutorCall,
    ) -> Result<LaunchId, (u16, String)> {
        let refused = |status: u16, text: &str| Err((status, text.to_owned()));
        let Some(host) = self.hosts.get(key).cloned() else {
            let known = self.executors().any(|row| row.framework == key.0);
            return refused(400, if known { "Executor cannot be found" } else { "Framework cannot be found" });
        };
        let Some((process, extra)) = self.process(&host) else { return refused(400, "Executor cannot be found") };
        if token.is_some_and(|token| token != process.token) && !is_planted(Bug::ExecutorOfAnother) {
            return refused(403, "The authentication token is not the one that this executor was given");
        }
        let subscribes = matches!(call, ExecutorCall::Subscribe { .. });
        if !subscribes && extra.stream.is_none() {
            return refused(403, "Executor is not subscribed");
        }
        Ok(host)
    }

    #[allow(clippy::too_many_arguments, reason = "a SUBSCRIBE says all of it")]
    fn subscribe_executor(
        &mut self,
        now: Time,
        stream: RequestId,
        host: &LaunchId,
        key: &ExecutorKey,
        tasks: &BTreeSet<TaskId>,
        updates: Vec<ExecutorUpdate>,
        out: &mut Out,
    ) {
        let Some(executor) = self.executors.get(host) else { return };
        let (facts, body) = (executor.row.facts.clone(), executor.row.body.clone().unwrap_or_default());
        let Some((process, extra)) = self.process(host) else { return };
        if let Some(old) = extra.stream.replace(stream) {
            out.emit(Output::CloseExecutor { stream: old });
        }
        if process.stage == ProcessStage::Starting {
            process.stage = ProcessStage::Subscribed;
        }
        let (ending, container) = (process.stage == ProcessStage::Ending, process.container.clone());
        self.changed.insert(host.clone());
        self.executor_is_there(host);
        let framework = key.0.clone();
        let subscribed = ExecutorEvent::Subscribed { framework, facts, body, container };
        out.emit(Output::ToExecutor { stream, event: subscribed });
        for update in updates {
            self.executor_update(now, host, key, update, out);
        }
        if ending {
            return out.emit(Output::ToExecutor { stream, event: ExecutorEvent::Shutdown });
        }
        for launch in self.launches_of_executor(key) {
            self.catch_up(now, &launch, tasks, out);
        }
        self.resize_executor(host, out);
    }

    /// An executor has subscribed and says which tasks it has: it gets those that it has not, and hears again
    /// which are to end.
    fn catch_up(&mut self, now: Time, launch: &LaunchId, has: &BTreeSet<TaskId>, out: &mut Out) {
        let Some(row) = self.executors.get(launch).map(|executor| &executor.row) else { return };
        let missing = |task: &crate::row::AgentTask| {
            task.number == 0 && (!has.contains(&task.task) || is_planted(Bug::ExecutorTaskTwice))
        };
        let is_missing = live_tasks(row).all(missing) || !row.kind.is_group();
        let (missing, there): (Vec<_>, Vec<_>) = live_tasks(row)
            .map(|task| {
                (task.task.clone(), missing(task) && is_missing, task.kill.is_some() || task.preempted.is_some())
            })
            .partition(|(_, missing, _)| *missing);
        for (task, ..) in there.into_iter().filter(|(.., kill)| *kill) {
            self.kill_by_executor(now, launch, &task, out);
        }
        for (task, ..) in missing.iter().filter(|(.., kill)| *kill) {
            let message = "the task was killed before its executor had it".to_owned();
            let reason = Some(Reason::TASK_KILLED_DURING_LAUNCH);
            self.end(now, launch, task, TaskState::Killed, reason, message, out);
        }
        let wanted: Vec<TaskId> = missing.into_iter().filter(|(.., kill)| !*kill).map(|(task, ..)| task).collect();
        self.hand_over(launch, &wanted, out);
    }

    /// Takes an update into the checkpoint, if it is none that was taken before, and says so.
    fn executor_update(
        &mut self,
        now: Time,
        host: &LaunchId,
        key: &ExecutorKey,
        update: ExecutorUpdate,
        out: &mut Out,
    ) {
        let ExecutorUpdate { mut status, has_container_status } = update;
        let (task, uuid) = (status.task.clone(), status.uuid.unwrap_or_default());
        if let Some((_, extra)) = self.process(host).filter(|_| !has_container_status) {
            // The parts of a message may come one after the other.
            status.body = [&extra.status[..], &status.body[..]].concat().into();
        }
        let its = |launch: &LaunchId| {
            let row = self.executors.get(launch).map(|executor| &executor.row);
            row.is_some_and(|row| row.kind.is_custom() && row.executor == key.1)
        };
        let launch = self.launches_of(&key.0, &task).into_iter().rfind(its);
        match launch {
            // Its end was acknowledged, and whatever comes late says nothing.
            None => {
                out.emit(Output::Ignored { message: format!("update of {task}, which executor {} has not", key.1) })
            }
            Some(launch) => self.take_update(now, &launch, status, uuid, out),
        }
        self.tell_executor(key, ExecutorEvent::Acknowledged { task, uuid }, out);
    }

    fn take_update(&mut self, now: Time, launch: &LaunchId, mut status: TaskStatus, uuid: u128, out: &mut Out) {
        let task = status.task.clone();
        let Some((row, _)) = self.task(launch, &task) else { return };
        let repeated = row.seen.contains(&uuid) && !is_planted(Bug::ExecutorUpdateTwice);
        if row.stage == TaskStage::Ended || repeated {
            return;
        }
        // An executor has no doubts: what it has lost is over.
        if matches!(
            status.state,
            TaskState::Lost | TaskState::Unreachable | TaskState::GoneByOperator | TaskState::Unknown
        ) {
            status.state = TaskState::Gone;
        }
        row.seen.push(uuid);
        if row.seen.len() > SEEN_MAX {
            row.seen.remove(0);
        }
        if status.is_end() {
            return self.end_with(now, launch, &task, status, out);
        }
        row.stage = if status.state == TaskState::Killing { TaskStage::Killing } else { TaskStage::Running };
        self.changed.insert(launch.clone());
        self.set_status(now, launch, &task, status, out);
    }

    pub(super) fn executor_closed(&mut self, now: Time, key: &ExecutorKey, stream: RequestId) {
        let Some(host) = self.hosts.get(key).cloned() else { return };
        let Some((_, extra)) = self.process(&host) else { return };
        if extra.stream == Some(stream) {
            extra.stream = None;
            self.executor_is_away(now, &host);
        }
    }

    /// Tells an executor something, if it is there to hear it.
    pub(super) fn tell_executor(&mut self, key: &ExecutorKey, event: ExecutorEvent, out: &mut Out) {
        let Some(host) = self.hosts.get(key).cloned() else { return };
        if let Some(stream) = self.process(&host).and_then(|(_, extra)| extra.stream) {
            out.emit(Output::ToExecutor { stream, event });
        }
    }
}

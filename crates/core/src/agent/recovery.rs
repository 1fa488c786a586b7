//! What is found after a restart: running tasks go on, ended ones report their true end, none runs twice.

use std::collections::BTreeMap;

use mesos_model::{
    LaunchId, Reason, TaskId, TaskState, Time,
    planted::{Bug, is_planted},
};

use super::{Agent, Out, Output, TaskFacts};
use crate::row::TaskStage;

impl Agent {
    /// The first event: what the containerizers found, and what the tasks in the rows want.
    pub(super) fn recover(
        &mut self,
        now: Time,
        containers: Vec<(String, bool)>,
        facts: Vec<(LaunchId, Vec<TaskFacts>)>,
        out: &mut Out,
    ) {
        let booted = !self.own.boot.is_empty() && self.own.boot != self.options.boot;
        let rebooted = booted && !is_planted(Bug::BootIgnored);
        if self.own.instance == 0 {
            self.own.instance = self.options.new_instance;
        }
        if self.own.id.is_none() && self.options.new_agent.is_some() {
            self.own.id = self.options.new_agent.clone();
            self.own_changed = true;
        }
        self.own.boot = self.options.boot.clone();
        self.own.port = self.options.port;
        self.own_changed = true;
        self.take_options(rebooted, out);
        self.recovered = true;
        self.take_facts(facts);
        let found: BTreeMap<String, bool> =
            containers.into_iter().filter(|_| !is_planted(Bug::RecoveryBlind)).collect();
        for (launch, task) in self.each_task() {
            self.recover_task(now, &launch, &task, &found, rebooted, out);
        }
        let unknown = |container: &&String| {
            !self.containers.contains_key(*container) && self.host_of_container(container).is_none()
        };
        for container in found.keys().filter(unknown) {
            // Its end was acknowledged, but the agent stopped before it was removed.
            out.emit(Output::Destroy { container: container.clone() });
        }
        for host in self.hosts.values().cloned().collect::<Vec<_>>() {
            self.recover_executor(now, &host, &found, rebooted, out);
        }
        self.send_again(now);
        self.beat_at = now;
    }

    fn take_facts(&mut self, facts: Vec<(LaunchId, Vec<TaskFacts>)>) {
        for (launch, facts) in facts {
            let Some(executor) = self.executors.get_mut(&launch) else { continue };
            for (row, facts) in executor.row.tasks.iter().zip(facts) {
                if let Some(extra) = executor.tasks.get_mut(&row.task) {
                    extra.facts = facts;
                }
            }
        }
    }

    fn recover_task(
        &mut self,
        now: Time,
        launch: &LaunchId,
        task: &TaskId,
        found: &BTreeMap<String, bool>,
        rebooted: bool,
        out: &mut Out,
    ) {
        let Some((row, _)) = self.task(launch, task) else { return };
        let (stage, container) = (row.stage, row.container.clone());
        if stage == TaskStage::Ended || container.is_empty() {
            return;
        }
        if found.contains_key(&container) {
            // Waiting tells of the end, true and with its exit code, even if that was while the agent was away.
            if !is_planted(Bug::ExitsMissed) {
                out.emit(Output::Wait { container: container.clone() });
            }
            return self.go_on(now, launch, task, found[&container], out);
        }
        if rebooted && !is_planted(Bug::RebootUnnoticed) {
            let message = "the host was booted while the task ran".to_owned();
            self.end(now, launch, task, TaskState::Failed, Some(Reason::AGENT_RESTARTED), message, out);
            return;
        }
        match stage {
            // The checkpoint is written before a container is touched, and there is none: it never ran.
            TaskStage::Preparing | TaskStage::Starting if !self.is_killed(launch, task) => {
                self.start_container(launch, task, out);
            }
            TaskStage::Preparing | TaskStage::Starting => {
                let message = "the task was killed before it ran".to_owned();
                self.end(now, launch, task, TaskState::Killed, Some(Reason::TASK_KILLED_DURING_LAUNCH), message, out);
            }
            TaskStage::Running if is_planted(Bug::RunAgain) => self.start_container(launch, task, out),
            TaskStage::Running | TaskStage::Killing => {
                let state = if self.is_killed(launch, task) { TaskState::Killed } else { TaskState::Failed };
                let message = "the container was not found after a restart of the agent".to_owned();
                self.end(now, launch, task, state, Some(Reason::EXECUTOR_TERMINATED), message, out);
                self.end_rest_of_group(now, launch, out);
            }
            TaskStage::Ended => {}
        }
    }

    fn is_killed(&mut self, launch: &LaunchId, task: &TaskId) -> bool {
        self.task(launch, task).is_some_and(|(row, _)| row.kill.is_some() || row.preempted.is_some())
    }

    /// A container that is there: its task goes on where it was.
    fn go_on(&mut self, now: Time, launch: &LaunchId, task: &TaskId, running: bool, out: &mut Out) {
        let Some((row, _)) = self.task(launch, task) else { return };
        let (stage, container, body) = (row.stage, row.container.clone(), row.status.body.clone());
        match stage {
            TaskStage::Preparing | TaskStage::Starting if running => self.started(now, &container, body, out),
            TaskStage::Running => {
                self.watch_health(now, launch, task);
            }
            TaskStage::Preparing | TaskStage::Starting | TaskStage::Killing | TaskStage::Ended => {}
        }
        if self.is_killed(launch, task) {
            self.kill(now, launch, task, out);
        }
    }
}

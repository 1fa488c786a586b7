//! Health checks, what they mean, and tasks that run too long (`docs/health-checks.md` of Mesos).

use std::time::Duration;

use mesos_model::{LaunchId, Reason, Source, TaskId, TaskState, TaskStatus, Time};

use super::{Agent, Ending, Health, Out, Output};
use crate::row::TaskStage;

impl Agent {
    /// Plans the checks of a task that runs since now.
    pub(super) fn watch_health(&mut self, now: Time, launch: &LaunchId, task: &TaskId) {
        let Some((_, extra)) = self.task(launch, task) else { return };
        extra.too_long_at = extra.facts.max_completion_ms.map(|ms| now.after(Duration::from_millis(ms)));
        extra.health = extra.facts.health.map(|plan| Health {
            plan,
            since: now,
            next: Some(now.after(Duration::from_millis(plan.delay_ms))),
            failures: 0,
            healthy: None,
        });
    }

    pub(super) fn check_due(&mut self, now: Time, launch: &LaunchId, task: &TaskId, out: &mut Out) {
        let Some((row, extra)) = self.task(launch, task) else { return };
        let Some(health) = &mut extra.health else { return };
        if health.next.is_some_and(|next| next <= now) {
            // The next one is planned when this one is answered.
            health.next = None;
            if row.stage == TaskStage::Running {
                out.emit(Output::Check { container: row.container.clone() });
            }
        }
    }

    pub(super) fn checked(&mut self, now: Time, container: &str, outcome: Result<(), String>, out: &mut Out) {
        let Some((launch, task)) = self.of_container(container) else { return };
        let Some((row, extra)) = self.task(&launch, &task) else { return };
        let Some(health) = &mut extra.health else { return };
        if row.stage != TaskStage::Running {
            return;
        }
        health.next = Some(now.after(Duration::from_millis(health.plan.interval_ms)));
        match outcome {
            Ok(()) => {
                health.failures = 0;
                if health.healthy != Some(true) {
                    health.healthy = Some(true);
                    self.tell_health(now, &launch, &task, true, None, out);
                }
            }
            Err(why) => {
                let in_grace = now.since(health.since) < Duration::from_millis(health.plan.grace_ms);
                if in_grace && health.healthy.is_none() {
                    return;
                }
                health.failures += 1;
                health.healthy = Some(false);
                let too_many = health.failures >= health.plan.failures_max;
                self.tell_health(now, &launch, &task, false, Some(why), out);
                if too_many {
                    self.end_early(now, &launch, &task, Ending::Unhealthy, out);
                }
            }
        }
    }

    fn tell_health(
        &mut self,
        now: Time,
        launch: &LaunchId,
        task: &TaskId,
        healthy: bool,
        why: Option<String>,
        out: &mut Out,
    ) {
        let mut status = TaskStatus::new(task.clone(), TaskState::Running, Source::Executor, now);
        status.reason = Some(Reason::TASK_HEALTH_CHECK_STATUS_UPDATED);
        status.healthy = Some(healthy);
        status.message = why;
        if let Some((row, _)) = self.task(launch, task) {
            status.body = row.status.body.clone();
        }
        self.set_status(now, launch, task, status, out);
    }

    fn end_early(&mut self, now: Time, launch: &LaunchId, task: &TaskId, why: Ending, out: &mut Out) {
        let Some((_, extra)) = self.task(launch, task) else { return };
        extra.ending = Some(why);
        extra.health = None;
        self.kill(now, launch, task, out);
    }

    /// Ends a task that ran too long, and asks a container again that did not end.
    pub(super) fn end_due(&mut self, now: Time, launch: &LaunchId, task: &TaskId, out: &mut Out) {
        let Some((_, extra)) = self.task(launch, task) else { return };
        if extra.too_long_at.is_some_and(|at| at <= now) {
            extra.too_long_at = None;
            self.end_early(now, launch, task, Ending::TooLong, out);
        } else if extra.kill_again.is_some_and(|at| at <= now) {
            extra.kill_again = None;
            self.kill_again(now, launch, task, out);
        }
    }
}

//! Statuses on their way to the registry: told at once, again until it has them, and again until the
//! framework has acknowledged them.

use std::time::Duration;

use mesos_model::{
    AgentId, FrameworkId, LaunchId, TaskId, TaskStatus, Term, Time,
    planted::{Bug, is_planted},
};

use super::{Agent, Out, Output};
use crate::{
    message::{AgentToRegistry, Update},
    row::{AgentTask, ExecutorRow, PendingUpdate, TaskStage},
};

/// Until the registry has an update it is told again after this, doubling.
const RECEIVE_MS: u64 = 1_000;
const RECEIVE_MS_MAX: u64 = 10_000;
/// Until the framework has acknowledged it (`STATUS_UPDATE_RETRY_INTERVAL_MIN`, `_MAX` of Mesos).
const ACKNOWLEDGE_MS: u64 = 10_000;
const ACKNOWLEDGE_MS_MAX: u64 = 600_000;
/// While so many updates of a task wait for a framework that does not acknowledge, only its end is added.
/// (Numbers have no gaps, so one that was told cannot be taken back.)
const PENDING_MAX: usize = 64;

impl Agent {
    /// A task has a new status.
    pub(super) fn set_status(
        &mut self,
        now: Time,
        launch: &LaunchId,
        task: &TaskId,
        mut status: TaskStatus,
        out: &mut Out,
    ) {
        let (agent, instance) = (self.own.id.clone(), self.own.instance);
        let Some(executor) = self.executors.get_mut(launch) else { return };
        status.executor = Some(executor.row.executor.clone());
        status.agent = agent.clone();
        let Some(row) = executor.row.tasks.iter_mut().find(|row| row.task == *task) else { return };
        if row.pending.len() >= PENDING_MAX && !status.is_end() {
            return;
        }
        row.number += 1;
        // What an executor says has the executor's.
        status.uuid.get_or_insert_with(|| uuid(instance, launch, task, row.number));
        row.status = status.clone();
        row.pending.push(PendingUpdate { number: row.number, status });
        self.changed.insert(launch.clone());
        let Some(agent) = agent else { return };
        let update = self.update(launch, task, None);
        if let Some((_, extra)) = self.task(launch, task) {
            extra.resend = Some((now.after(Duration::from_millis(RECEIVE_MS)), RECEIVE_MS));
        }
        if let Some(update) = update {
            self.emit_update(&agent, update, out);
        }
    }

    /// The update of a number, or the latest.
    fn update(&self, launch: &LaunchId, task: &TaskId, number: Option<u64>) -> Option<Update> {
        let row = &self.executors.get(launch)?.row;
        let task = row.tasks.iter().find(|row| row.task == *task)?;
        let (number, status) = match number {
            None => (task.number, task.status.clone()),
            Some(number) => (number, task.pending.iter().find(|update| update.number == number)?.status.clone()),
        };
        Some(make_update(row, task, number, status))
    }

    /// Tells a task's updates that are not acknowledged, or else its latest.
    pub(super) fn tell_task(&mut self, now: Time, agent: &AgentId, launch: &LaunchId, task: &TaskId, out: &mut Out) {
        let Some((row, extra)) = self.task(launch, task) else { return };
        if row.number == 0 {
            return;
        }
        extra.resend = (!row.pending.is_empty()).then(|| (now.after(Duration::from_millis(RECEIVE_MS)), RECEIVE_MS));
        extra.received = 0;
        let mut numbers: Vec<Option<u64>> = row.pending.iter().map(|update| Some(update.number)).collect();
        if numbers.is_empty() {
            numbers.push(None);
        }
        for number in numbers {
            if let Some(update) = self.update(launch, task, number) {
                self.emit_update(agent, update, out);
            }
        }
    }

    /// Has everything that is not acknowledged told at the next tick.
    pub(super) fn send_again(&mut self, now: Time) {
        if is_planted(Bug::NothingSentAgain) {
            return;
        }
        for (launch, task) in self.each_task() {
            if let Some((row, extra)) = self.task(&launch, &task)
                && !row.pending.is_empty()
            {
                extra.received = 0;
                extra.resend = Some((now, RECEIVE_MS));
            }
        }
    }

    pub(super) fn resend_due(&mut self, now: Time, launch: &LaunchId, task: &TaskId, out: &mut Out) {
        let Some(agent) = self.own.id.clone() else { return };
        let Some((row, extra)) = self.task(launch, task) else { return };
        let Some((at, wait)) = extra.resend.filter(|_| !is_planted(Bug::UpdateToldOnce)) else { return };
        if at > now {
            return;
        }
        let all_received = row.pending.last().is_none_or(|last| last.number <= extra.received);
        let wait = (wait * 2).min(if all_received { ACKNOWLEDGE_MS_MAX } else { RECEIVE_MS_MAX });
        extra.resend = (!row.pending.is_empty()).then(|| (now.after(Duration::from_millis(wait)), wait));
        let received = if all_received { 0 } else { extra.received };
        let numbers: Vec<u64> = row.pending.iter().map(|u| u.number).filter(|number| *number > received).collect();
        for number in numbers {
            if let Some(update) = self.update(launch, task, Some(number)) {
                self.emit_update(&agent, update, out);
            }
        }
    }

    /// The registry has updates in its rows; from now on they wait for the framework.
    pub(super) fn received(&mut self, now: Time, updates: &[(FrameworkId, TaskId, u64)]) {
        for (framework, task, number) in updates {
            for launch in self.launches_of(framework, task) {
                let Some((row, extra)) = self.task(&launch, task) else { continue };
                extra.received = extra.received.max(*number);
                if is_planted(Bug::ForgetOnReceipt) {
                    row.pending.retain(|update| update.number > *number);
                    self.changed.insert(launch.clone());
                    continue;
                }
                if extra.received >= row.number && extra.resend.is_some_and(|(_, wait)| wait < ACKNOWLEDGE_MS) {
                    extra.resend = Some((now.after(Duration::from_millis(ACKNOWLEDGE_MS)), ACKNOWLEDGE_MS));
                }
            }
        }
    }

    /// The framework has the updates up to a number; after the end of a task nothing is left to keep.
    pub(super) fn acknowledged(
        &mut self,
        _now: Time,
        framework: &FrameworkId,
        task: &TaskId,
        launch: &LaunchId,
        number: u64,
        out: &mut Out,
    ) {
        let over = match self.task(launch, task) {
            None => true,
            Some((row, extra)) => {
                let before = row.pending.len();
                row.pending.retain(|update| update.number > number);
                let changed = row.pending.len() != before;
                if row.pending.is_empty() {
                    extra.resend = None;
                }
                let over = row.stage == TaskStage::Ended
                    && (row.pending.is_empty() && number >= row.number || is_planted(Bug::ForgetUnacknowledged));
                if changed {
                    self.changed.insert(launch.clone());
                }
                over
            }
        };
        if !over {
            return;
        }
        self.forget(launch, task, out);
        if let Some(agent) = self.own.id.clone() {
            out.emit(Output::Registry(AgentToRegistry::Forgotten {
                agent,
                framework: framework.clone(),
                task: task.clone(),
                launch: launch.clone(),
            }));
        }
    }
}

fn make_update(row: &ExecutorRow, task: &AgentTask, number: u64, status: TaskStatus) -> Update {
    Update {
        framework: row.framework.clone(),
        facts: row.facts.clone(),
        launch: row.launch.clone(),
        executor: row.executor.clone(),
        role: row.role.clone(),
        resources: task.resources.clone(),
        number,
        acknowledged: task.pending.first().map_or(task.number, |first| first.number - 1),
        asked: Term::default(),
        status,
        latest: task.status.state,
        trace: row.trace,
    }
}

/// The same for the same update of the same agent, different for every other: FNV-1a over all of it, with
/// the version and variant bits of a random UUID.
fn uuid(instance: u128, launch: &LaunchId, task: &TaskId, number: u64) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d ^ instance;
    let bytes = launch.as_str().bytes().chain([0]).chain(task.as_str().bytes()).chain([0]).chain(number.to_be_bytes());
    for byte in bytes {
        hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    }
    (hash & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
}

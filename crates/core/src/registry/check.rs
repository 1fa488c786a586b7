//! Invariants that can be checked cheaply, and counters.

use std::collections::BTreeSet;

use super::{Registry, is_end, open_stream};
use crate::row::{FrameworkState, TaskRow};

/// What happened since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of all kinds.
    pub calls: u64,
    /// Calls answered with 4xx.
    pub calls_refused: u64,
    /// Calls that were answered 202 and had no effect.
    pub calls_dropped: u64,
    /// Subscriptions taken.
    pub subscriptions: u64,
    /// Subscriptions refused.
    pub subscriptions_refused: u64,
    /// Frameworks removed, by themselves, an operator or their failover timeout.
    pub frameworks_removed: u64,
    /// Frameworks that agents or the allocator knew of before they subscribed.
    pub frameworks_recovered: u64,
    /// Kill orders.
    pub kills: u64,
    /// Statuses taken over.
    pub updates_applied: u64,
    /// Statuses that were taken over before.
    pub updates_repeated: u64,
    /// Statuses that came before one that precedes them.
    pub updates_early: u64,
    /// Statuses of unknown tasks that their agent is to tell again.
    pub updates_questioned: u64,
    /// Statuses of tasks that nobody waits for.
    pub updates_dismissed: u64,
    /// Statuses from an agent that the task is not on.
    pub updates_misplaced: u64,
    /// Statuses of a launch that is not the one of the task's row.
    pub updates_other_launch: u64,
    /// Statuses left out because too many waited for acknowledgement.
    pub updates_left_out: u64,
    /// Statuses sent to a framework again.
    pub updates_sent_again: u64,
    /// Ends that the registry decided on without the agent.
    pub ends_decided: u64,
    /// Acknowledgements of what was with the framework.
    pub acknowledgements: u64,
    /// Acknowledgements of anything else.
    pub acknowledgements_unknown: u64,
    /// Tasks whose rows went.
    pub tasks_forgotten: u64,
}

impl Registry {
    /// Counters and gauges by name, without the prefix `mesos_registry_`.
    #[must_use]
    pub fn metrics(&self) -> Vec<(&'static str, u64)> {
        let c = &self.counters;
        let state = |wanted: fn(&FrameworkState) -> bool| {
            self.frameworks.values().filter(|framework| wanted(&framework.row.state)).count() as u64
        };
        let pending: usize = self.tasks().map(|row| row.pending.len()).sum();
        vec![
            ("calls_total", c.calls),
            ("calls_refused_total", c.calls_refused),
            ("calls_dropped_total", c.calls_dropped),
            ("subscriptions_total", c.subscriptions),
            ("subscriptions_refused_total", c.subscriptions_refused),
            ("frameworks_removed_total", c.frameworks_removed),
            ("frameworks_recovered_total", c.frameworks_recovered),
            ("kills_total", c.kills),
            ("updates_applied_total", c.updates_applied),
            ("updates_repeated_total", c.updates_repeated),
            ("updates_early_total", c.updates_early),
            ("updates_questioned_total", c.updates_questioned),
            ("updates_dismissed_total", c.updates_dismissed),
            ("updates_misplaced_total", c.updates_misplaced),
            ("updates_other_launch_total", c.updates_other_launch),
            ("updates_left_out_total", c.updates_left_out),
            ("updates_sent_again_total", c.updates_sent_again),
            ("ends_decided_total", c.ends_decided),
            ("acknowledgements_total", c.acknowledgements),
            ("acknowledgements_unknown_total", c.acknowledgements_unknown),
            ("tasks_forgotten_total", c.tasks_forgotten),
            ("frameworks_connected", state(|state| *state == FrameworkState::Connected)),
            ("frameworks_disconnected", state(|state| matches!(state, FrameworkState::Disconnected { .. }))),
            ("frameworks_removed", state(|state| matches!(state, FrameworkState::Removed { .. }))),
            ("tasks", self.tasks().count() as u64),
            ("tasks_ended", self.tasks().filter(|row| is_end(row.state)).count() as u64),
            ("updates_pending", pending as u64),
            ("questions_waiting", self.questions.values().map(|list| list.len() as u64).sum()),
        ]
    }

    /// What happened since the process started.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether what must always hold does.
    ///
    /// # Errors
    /// Says what does not hold, and for what.
    pub fn check(&self) -> Result<(), String> {
        let mut streams = BTreeSet::new();
        for framework in self.frameworks.values() {
            let row = &framework.row;
            if row.state == FrameworkState::Connected && open_stream(row).is_none() {
                return Err(format!("framework {} is connected without a stream", row.id));
            }
            if let Some(stream) = open_stream(row)
                && !streams.insert(stream)
            {
                return Err(format!("framework {} shares its stream with another one", row.id));
            }
            if let Some(strange) = row.suppressed.iter().find(|role| !row.info.roles.contains(role)) {
                return Err(format!("framework {} suppresses {strange}, which is not a role of it", row.id));
            }
        }
        if self.streams.keys().copied().ne(streams.iter().copied()) {
            return Err("the index of streams is wrong".to_owned());
        }
        let mut linked = 0;
        for row in self.tasks() {
            check_task(row).map_err(|error| format!("task {}: {error}", row.task))?;
            if row.pending.len() > self.options.max_pending.max(3) + 2 {
                return Err(format!("task {} has too many pending updates", row.task));
            }
            if !self.frameworks.contains_key(&row.framework) {
                return Err(format!("task {} has no framework", row.task));
            }
            let key = (row.framework.clone(), row.task.clone());
            if !self.on_agent.get(&row.agent).is_some_and(|keys| keys.get().contains(&key)) {
                return Err(format!("task {} is not in the index of its agent", row.task));
            }
            linked += 1;
        }
        #[expect(clippy::disallowed_methods, reason = "they are counted")]
        let indexed: usize = self.on_agent.values().map(|keys| keys.get().len()).sum();
        if indexed != linked {
            return Err("the index of tasks by agent has too much".to_owned());
        }
        Ok(())
    }
}

fn check_task(row: &TaskRow) -> Result<(), String> {
    let numbers: Vec<u64> = row.pending.iter().map(|pending| pending.number).filter(|number| *number > 0).collect();
    if !numbers.is_sorted_by(|a, b| a < b) || numbers.last().is_some_and(|last| *last > row.number) {
        return Err("its pending updates are out of order".to_owned());
    }
    let ends = row.pending.iter().filter(|pending| is_end(pending.status.state)).count();
    if ends > 1 || (ends == 1 && row.pending.last().is_none_or(|last| !is_end(last.status.state))) {
        return Err("something follows its end".to_owned());
    }
    if ends == 1 && row.end_acknowledged {
        return Err("its end is acknowledged and pending".to_owned());
    }
    if is_end(row.state) && ends == 0 && !row.end_acknowledged {
        return Err("its end was not told".to_owned());
    }
    if row.end_acknowledged && !is_end(row.state) {
        return Err("an end was acknowledged that it did not have".to_owned());
    }
    Ok(())
}

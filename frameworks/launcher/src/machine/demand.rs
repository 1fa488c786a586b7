//! What is asked of the cluster for tasks that wait: REQUEST.
//!
//! Offers come without it. It tells policies that go by demand what is wanted, has room gathered for tasks that
//! asked for that, and lets the cluster explain why something waits.

use std::collections::VecDeque;

use mesos_core::{message::Request, row::JobRow};
use mesos_model::{Resources, Role, TaskId, Time};

use super::{Launcher, Out, Output, placing::before_reserving};

/// Different wants that are told; the first in the order of placing are.
const WANTS_MAX: usize = 32;
/// Equal tasks of which one request tells: the most that the cluster takes.
const COUNT_MAX: u32 = 10_000;
/// Submissions that are looked at: those behind are told when they have come forward.
const GROUPS_MAX: usize = 1024;

/// Equal tasks that wait.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Want {
    role: Role,
    resources: Resources,
    priority: i64,
    count: u32,
    /// One task for which room is gathered, until then.
    held: Option<(TaskId, Time)>,
}

impl Want {
    /// What a single task wants, with room held for it until `held`.
    fn of(row: &JobRow, held: Option<Time>) -> Want {
        Want {
            role: Launcher::role_of(row),
            resources: before_reserving(&row.resources),
            priority: row.priority,
            count: 1,
            held: held.map(|until| (row.task.clone(), until)),
        }
    }

    fn is_like(&self, other: &Want) -> bool {
        self.held.is_none()
            && other.held.is_none()
            && self.priority == other.priority
            && self.role == other.role
            && self.resources == other.resources
    }

    fn request(&self, now: Time) -> Request {
        Request {
            name: self.held.as_ref().map(|(task, _)| task.to_string()).unwrap_or_default(),
            role: Some(self.role.clone()),
            agent: None,
            resources: self.resources.clone(),
            count: self.count.min(COUNT_MAX),
            hold_ms: self.held.as_ref().map(|(_, until)| until.0.saturating_sub(now.0).max(1)),
            // Whoever named none has the framework's, which an operator may have set.
            priority: (self.priority != 0).then_some(self.priority),
        }
    }
}

impl Launcher {
    /// Asks anew for everything if who waits has changed, or if what was asked before may be forgotten.
    pub(super) fn ask_for_room(&mut self, now: Time, out: &mut Out) {
        match self.lead.as_ref().filter(|lead| lead.connected) {
            Some(lead) if lead.changed || lead.asked.is_none() => {}
            _ => return,
        }
        let wants = self.wants(now);
        let Some(lead) = self.lead.as_mut() else { return };
        lead.changed = false;
        if lead.asked.as_ref() != Some(&wants) {
            out.emit(Output::Request(wants.iter().map(|want| want.request(now)).collect()));
            lead.asked = Some(wants);
        }
    }

    fn wants(&self, now: Time) -> Vec<Want> {
        let mut wants: Vec<Want> = Vec::new();
        let row = |task: &TaskId| self.jobs.get(task).map(|job| &job.row);
        for group in self.waiting.values().take(GROUPS_MAX) {
            let Some(first) = group.front().and_then(row) else { continue };
            let until = first.hold_ms.map(|hold| Time(first.time.0.saturating_add(hold))).filter(|until| *until > now);
            match until {
                // Each has a request of its own, under its own name.
                Some(_) => {
                    let left = WANTS_MAX.saturating_sub(wants.len());
                    wants.extend(group.iter().filter_map(row).take(left).map(|row| Want::of(row, until)));
                }
                None => add(&mut wants, Want { count: count(group), ..Want::of(first, None) }),
            }
        }
        wants
    }
}

fn count(group: &VecDeque<TaskId>) -> u32 {
    u32::try_from(group.len()).unwrap_or(u32::MAX)
}

fn add(wants: &mut Vec<Want>, want: Want) {
    match wants.iter().position(|other| other.is_like(&want)) {
        Some(at) => wants[at].count = wants[at].count.saturating_add(want.count),
        None if wants.len() < WANTS_MAX => wants.push(want),
        None => {}
    }
}

//! Room is made: work of lower priority goes for a need that waits, the least work lost first; and revocable work
//! goes when its agent has less to spare than it gave away.

use std::{collections::BTreeMap, time::Duration};

use mesos_engine::{Bundle, needs::NeedView};
use mesos_model::{AgentId, LaunchId, Resources, Time};

use super::Allocator;
use crate::{message::Order, row::LaunchRow};

/// How long a need for which no room can be made waits until that is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Which launches are on their way out, for which need, and when to look again whether somebody must go.
#[derive(Debug, Default)]
pub(super) struct Preemptions {
    going: BTreeMap<LaunchId, String>,
    due: Option<Time>,
}

impl Preemptions {
    pub(super) fn forget(&mut self) {
        *self = Preemptions::default();
    }

    /// There may be another need.
    pub(super) fn look(&mut self, now: Time) {
        self.due = Some(now);
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.due
    }

    pub(super) fn over(&mut self, launch: &LaunchId) {
        if self.going.remove(launch).is_some() {
            // Its need may have others to wait for.
            self.due = Some(Time(0));
        }
    }

    fn any_for(&self, need: &str) -> bool {
        self.going.values().any(|for_whom| for_whom == need)
    }
}

/// A set of launches whose end makes room on an agent.
#[derive(Debug)]
struct Plan {
    lost: u128,
    agent: AgentId,
    victims: Vec<LaunchId>,
}

impl Allocator {
    /// For each need that waits and has nobody on the way out for it yet: the cheapest agent is cleared.
    pub(super) fn preempt_for_needs(&mut self, now: Time) {
        if self.preemptions.due.is_none_or(|due| due > now) {
            return;
        }
        self.preemptions.due = None;
        if !self.options.preemption {
            return;
        }
        let mut needs = self.engine.needs();
        needs.sort_by_key(|need| std::cmp::Reverse(need.priority));
        if !needs.is_empty() {
            self.preemptions.due = Some(now.after(AGAIN));
        }
        for need in needs {
            let key = format!("{}/{}/{}", need.framework, need.role, need.name);
            if need.gathered >= need.count || self.preemptions.any_for(&key) {
                continue;
            }
            if let Some(plan) = self.cheapest_plan(now, &need) {
                self.carry_out_plan(&need, &key, plan);
            }
        }
    }

    fn cheapest_plan(&self, now: Time, need: &NeedView) -> Option<Plan> {
        let client = self.engine.find_client(&need.framework, &need.role)?;
        let wanted = Bundle::from(&need.resources);
        let plans = self.agents.iter().filter_map(|(id, state)| {
            let fits = self.is_offerable(id) && self.engine.could_take(state.slot, client, &wanted);
            fits.then(|| self.plan(now, id, need, &wanted)).flatten()
        });
        plans.min_by(|a, b| (a.lost, &a.agent).cmp(&(b.lost, &b.agent)))
    }

    /// The launches of an agent that go first, until the need fits; then those are spared without which it fits too.
    fn plan(&self, now: Time, agent: &AgentId, need: &NeedView, wanted: &Bundle) -> Option<Plan> {
        let state = self.agents.get(agent)?;
        let total = state.row.as_ref()?.total.clone();
        let mut victims: Vec<(u128, &LaunchRow)> = state
            .launches
            .get()
            .iter()
            .filter_map(|launch| self.launch_row(launch))
            .filter(|row| may_go(row, need) && !self.preemptions.going.contains_key(&row.launch))
            .map(|row| (work(now, row, &total), row))
            .collect();
        victims.sort_by(|a, b| (a.0, &a.1.launch).cmp(&(b.0, &b.1.launch)));
        // What is offered comes back too, or is accepted; only what is free and held for this need is sure.
        let mut room = Bundle::from(&self.engine.free(state.slot));
        for (_, held) in need.held.iter().filter(|(on, _)| on == agent) {
            room.add(&Bundle::from(held));
        }
        let mut chosen: Vec<(u128, &LaunchRow)> = Vec::new();
        for victim in victims {
            if room.contains(wanted) {
                break;
            }
            room.add(&Bundle::from(&victim.1.resources()));
            chosen.push(victim);
        }
        if !room.contains(wanted) || chosen.is_empty() {
            return None;
        }
        for at in (0..chosen.len()).rev() {
            let without = room.minus(&Bundle::from(&chosen[at].1.resources()));
            if without.contains(wanted) {
                room = without;
                chosen.remove(at);
            }
        }
        Some(Plan {
            lost: chosen.iter().map(|(work, _)| work).sum(),
            agent: agent.clone(),
            victims: chosen.iter().map(|(_, row)| row.launch.clone()).collect(),
        })
    }

    fn carry_out_plan(&mut self, need: &NeedView, key: &str, plan: Plan) {
        let (Some(client), Some(slot)) = (
            self.engine.find_client(&need.framework, &need.role),
            self.agents.get(&plan.agent).map(|state| state.slot),
        ) else {
            return;
        };
        self.engine.aim(client, &need.name, slot);
        let message = format!("made room for '{}' of framework {} in role {}", need.name, need.framework, need.role);
        for launch in plan.victims {
            self.preempt(&launch, &message, key);
        }
    }

    fn preempt(&mut self, launch: &LaunchId, message: &str, key: &str) {
        let Some(row) = self.launch_row(launch).cloned() else { return };
        self.preemptions.going.insert(launch.clone(), key.to_owned());
        self.metrics.preemptions += 1;
        for task in row.tasks {
            let order =
                Order::Preempt { framework: row.framework.clone(), task: task.task, message: message.to_owned() };
            self.order(&row.agent, order);
        }
    }

    /// An agent has less to spare than revocable tasks hold: the least work lost goes.
    pub(super) fn preempt_revocable(&mut self, now: Time, agent: &AgentId) {
        let Some(state) = self.agents.get(agent) else { return };
        let Some(row) = &state.row else { return };
        let revocable = |resources: &Resources| resources.filter(mesos_model::Resource::is_revocable);
        let spare = revocable(&row.oversubscribed);
        let mut holders: Vec<(u128, LaunchId, Resources)> = state
            .launches
            .get()
            .iter()
            .filter(|launch| !self.preemptions.going.contains_key(*launch))
            .filter_map(|launch| self.launch_row(launch))
            .map(|launch| (work(now, launch, &row.total), launch.launch.clone(), revocable(&launch.resources())))
            .filter(|(_, _, held)| !held.is_empty())
            .collect();
        holders.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut held = Resources::new();
        holders.iter().for_each(|(_, _, more)| held.add(more));
        for (_, launch, holds) in holders {
            if spare.contains(&held) {
                return;
            }
            held.take_what_is_there(&holds);
            self.preempt(&launch, "its agent has less to spare than revocable tasks hold", "revocable");
        }
    }
}

/// Work of the need's own role that is revocable or of lower priority.
fn may_go(row: &LaunchRow, need: &NeedView) -> bool {
    let revocable = row.resources().iter().any(mesos_model::Resource::is_revocable);
    let highest = row.tasks.iter().map(|task| task.priority).max().unwrap_or(0);
    row.role == need.role && (revocable || highest < need.priority)
}

/// Work that is lost with a launch: its dominant share of its agent, in millionths, times its age in milliseconds.
fn work(now: Time, row: &LaunchRow, total: &Resources) -> u128 {
    let held = row.resources().scalars();
    let share = held
        .iter()
        .map(|(name, amount)| {
            let of = total.scalar(name).max(1).unsigned_abs();
            u128::from(amount.unsigned_abs()) * 1_000_000 / u128::from(of)
        })
        .max()
        .unwrap_or(0);
    share * now.since(row.time).as_millis().max(1)
}

#[cfg(test)]
mod tests;

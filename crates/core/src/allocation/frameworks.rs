//! What the registry's rows mean for the allocator.
//!
//! While another one leads, rows are only kept: their effects are that leader's.

use std::collections::BTreeSet;

use mesos_model::{
    AgentId, FrameworkId, Reason, Role, TaskId, Time,
    planted::{Bug, is_planted},
};

use super::{
    Allocator, Output,
    state::{Agent, TaskFact},
};
use crate::{
    machine::Effects,
    message::Order,
    row::{FrameworkRow, TaskRow},
};

impl Allocator {
    /// A framework subscribed, changed, went away or was removed.
    pub(super) fn put_framework(&mut self, now: Time, row: FrameworkRow, fx: &mut Effects<Output>) {
        let id = row.id.clone();
        let state = self.frameworks.entry(id.clone()).or_default();
        let before = state.connection().map(|connection| connection.number);
        let was_removed = state.is_removed();
        let old = state.row.replace(row.clone());
        let after = state.connection().map(|connection| connection.number);
        let is_removed = state.is_removed();
        let mut roles: BTreeSet<Role> = row.info.roles.iter().cloned().collect();
        roles.extend(old.iter().flat_map(|old| old.info.roles.iter().cloned()));
        // Another subscription, or none: its offers were for a stream that is no more.
        let another = before != after;
        if another {
            self.recover_all_of(&id, &roles);
            self.recover_inverse_of(&id);
            // It says anew what it would like.
            if let Some(state) = self.frameworks.get_mut(&id) {
                state.demand.clear();
            }
        }
        self.forget_refusals(&id, roles.iter().filter(|role| another || !row.info.roles.contains(role)));
        self.leave_roles(&id, &row, &roles, fx);
        self.set_appetite(now, &id, &roles);
        if let Some(old) = &old {
            self.revive(old, &row, another);
        }
        if is_removed && !was_removed {
            self.shut_down_everywhere(&id);
        }
    }

    /// The registry has forgotten a framework. What it still holds goes with the handshakes.
    pub(super) fn delete_framework(&mut self, now: Time, id: &FrameworkId, _fx: &mut Effects<Output>) {
        let Some(state) = self.frameworks.get_mut(id) else { return };
        state.demand.clear();
        let roles: BTreeSet<Role> = state.row.take().into_iter().flat_map(|row| row.info.roles).collect();
        self.recover_all_of(id, &roles);
        self.recover_inverse_of(id);
        self.forget_refusals(id, &roles);
        self.set_appetite(now, id, &roles);
        self.forget_framework_if_idle(id);
    }

    /// What a framework refused in these roles does not count any more.
    fn forget_refusals<'a>(&mut self, id: &FrameworkId, roles: impl IntoIterator<Item = &'a Role>) {
        for role in roles {
            if let Some(client) = self.engine.find_client(id, role) {
                self.engine.drop_filters(client);
            }
        }
    }

    /// Offers in roles that a framework has left are rescinded.
    fn leave_roles(&mut self, id: &FrameworkId, row: &FrameworkRow, roles: &BTreeSet<Role>, fx: &mut Effects<Output>) {
        for number in self.offers_in(id, roles.iter().filter(|role| !row.info.roles.contains(role))) {
            self.rescind(number, fx);
        }
    }

    /// REVIVE forgets filters, as another subscription does.
    fn revive(&mut self, old: &FrameworkRow, new: &FrameworkRow, another: bool) {
        for role in &new.info.roles {
            let Some(client) = self.engine.find_client(&new.id, role) else { continue };
            if another || new.revived.get(role) > old.revived.get(role) {
                self.engine.drop_filters(client);
                self.engine.wake(client);
            }
        }
    }

    /// A framework was removed: every agent that it has something on ends it. Agents that have not shaken
    /// hands are told when they do.
    fn shut_down_everywhere(&mut self, id: &FrameworkId) {
        for agent in self.agents_of(id) {
            if self.is_shaken(&agent) {
                self.order(&agent, Order::ShutdownFramework(id.clone()));
            }
        }
    }

    /// The agents on which a framework has something.
    pub(super) fn agents_of(&self, framework: &FrameworkId) -> Vec<AgentId> {
        let holds = |(id, state): (&AgentId, &Agent)| state.executors.contains_key(framework).then(|| id.clone());
        match self.frameworks.get(framework) {
            Some(state) if state.launches > 0 => self.agents.iter().filter_map(holds).collect(),
            _ => Vec::new(),
        }
    }

    /// A task is over, or is to be ended.
    pub(super) fn put_task(&mut self, row: &TaskRow, fx: &mut Effects<Output>) {
        let framework = self.frameworks.entry(row.framework.clone()).or_default();
        let ordered = framework.tasks.get(&row.task).filter(|fact| fact.launch == row.launch);
        let fact = TaskFact {
            launch: row.launch.clone(),
            ended: has_ended(row),
            began: row.number > 0,
            kill: row.kill,
            ordered: ordered.map_or(0, |fact| fact.ordered),
            order: ordered.map_or(0, |fact| fact.order),
        };
        if fact.ended {
            framework.ended.insert(row.task.clone());
        } else if !framework.ended.is_empty() {
            framework.ended.remove(&row.task);
        }
        framework.tasks.insert(row.task.clone(), fact);
        if self.term.is_none() {
            return;
        }
        // Of a removed framework nobody will say more than the agent did before.
        let held =
            self.launch_row(&row.launch).and_then(|launch| launch.tasks.iter().find(|task| task.task == row.task));
        let over_for_all = row.state.is_terminal() && held.is_some_and(|task| task.resources.is_empty());
        if has_ended(row) || over_for_all {
            self.release_task(&row.launch, &row.task, fx);
            return;
        }
        let agent = self.launch_row(&row.launch).map(|launch| launch.agent.clone());
        if let Some(agent) = agent.filter(|agent| self.is_shaken(agent)) {
            self.order_kill(&agent, &row.framework, &row.task);
        }
    }

    /// The registry has forgotten a task, whose id may be used again.
    pub(super) fn delete_task(&mut self, framework: &FrameworkId, task: &TaskId) {
        if let Some(state) = self.frameworks.get_mut(framework) {
            state.tasks.remove(task);
            state.ended.remove(task);
        }
        self.forget_framework_if_idle(framework);
    }

    /// Orders the end of a task if the registry wants it and it was not ordered in this term.
    pub(super) fn order_kill(&mut self, agent: &AgentId, framework: &FrameworkId, task: &TaskId) {
        let fact = self.frameworks.get_mut(framework).and_then(|state| state.tasks.get_mut(task));
        let Some(fact) = fact.filter(|fact| !fact.ended) else { return };
        let Some(kill) = fact.kill.filter(|kill| kill.number > fact.ordered) else { return };
        fact.ordered = kill.number;
        let order = Order::Kill { framework: framework.clone(), task: task.clone(), grace_ms: kill.grace_ms };
        let before = fact.order;
        // Frameworks may ask again and again while the agent is away; one order says it all.
        if self.agents.get(agent).is_some_and(|state| state.lane.is_pending(before, &order)) {
            return;
        }
        let number = self.order(agent, order);
        if let Some(fact) = self.frameworks.get_mut(framework).and_then(|state| state.tasks.get_mut(task)) {
            fact.order = number;
        }
    }

    /// At the start of a term: what ended while nobody led is released.
    pub(super) fn release_ended_tasks(&mut self, fx: &mut Effects<Output>) {
        let mut ended: Vec<_> = Vec::new();
        for (id, framework) in &self.frameworks {
            for task in &framework.ended {
                let launch = framework.tasks.get(task).and_then(|fact| self.launch_row(&fact.launch));
                let Some(row) = launch.filter(|row| row.framework == *id) else { continue };
                if let Some(at) = row.tasks.iter().position(|one| one.task == *task) {
                    ended.push((row.agent.clone(), row.launch.clone(), at, task.clone()));
                }
            }
        }
        ended.sort_unstable();
        for (_, launch, _, task) in ended {
            self.release_task(&launch, &task, fx);
        }
    }
}

/// Whether a task's end is more than an intent. A removed framework's tasks are `Killed` in the registry's
/// rows at once, but hold what they hold until their agents have ended them and say so.
fn has_ended(row: &TaskRow) -> bool {
    let reason = row.status.as_ref().and_then(|status| status.reason);
    row.state.is_terminal() && (reason != Some(Reason::FRAMEWORK_REMOVED) || is_planted(Bug::RemovedIsFree))
}

#[cfg(test)]
mod tests;

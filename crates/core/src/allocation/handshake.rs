//! Agents come, or come again: they are admitted, and their launches are settled.
//!
//! | row | report | settled as |
//! |---|---|---|
//! | yes | names the launch | held; tasks that it does not name have ended there and hold nothing |
//! | yes, its order was taken up | does not | over: the row is deleted |
//! | yes, its order was not | does not | ordered again under a new number |
//! | no | names the launch | adopted, never killed, unless its framework was removed |

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{
    AgentId, CallId, FrameworkId, LaunchId, Resources, TaskId, Term, Time,
    planted::{Bug, is_planted},
};

use super::{Allocator, Output, liveness::refuses, state::Framework};
use crate::{
    machine::Effects,
    message::{AgentReport, Order, ReportedLaunch, ToAgent},
    row::{AgentRow, AgentState, LaunchRow, LaunchTask, RowKey},
};

/// How long a launch may wait for the registry to hear of its end before its agent is asked what it knows.
const LINGER: std::time::Duration = std::time::Duration::from_secs(30);

/// Why an agent with this id and instance is not admitted.
pub(super) fn refusal(row: &AgentRow, instance: u128) -> Option<ToAgent> {
    if row.instance != instance && !is_planted(Bug::AgentIdOfAnotherHost) {
        let reason = format!(
            "agent id {} belongs to the agent at {}; a copied work directory must be emptied before its agent starts",
            row.id, row.hostname
        );
        return Some(ToAgent::Refused { instance, reason, gone: false, wait: false, void: Default::default() });
    }
    let gone = row.state == AgentState::Gone && !is_planted(Bug::GoneAgentIsAdmitted);
    let reason = || format!("agent {} was marked gone", row.id);
    let void = Default::default();
    gone.then(|| ToAgent::Refused { instance, reason: reason(), gone: true, wait: false, void })
}

impl Allocator {
    /// An agent reports everything that it has.
    pub(super) fn report(&mut self, now: Time, report: AgentReport, fx: &mut Effects<Output>) {
        let Some(term) = self.term else { return };
        // What it answers it has promised to; who was never welcomed obeys nobody yet.
        let obeyed = [Some(report.term), report.answers].into_iter().flatten();
        if let Some(higher) = obeyed.filter(|obeyed| refuses(*obeyed, term)).max() {
            fx.emit(Output::RaiseEpoch(higher));
            return;
        }
        let known = report.agent.as_ref().or_else(|| self.instances.get(&report.instance)).cloned();
        let row = known.as_ref().and_then(|id| self.agents.get(id)).and_then(|state| state.row.as_ref());
        let host = (report.hostname.as_str(), report.ip.as_str());
        let refused = match row {
            Some(row) => self.refusal(row, report.instance, host).or_else(|| self.still_down(row, &report)),
            None => self.kept_down(None, host, report.instance),
        };
        if let Some(message) = refused {
            self.note_refusal(&report.hostname, &message, fx);
            self.answer_report(&report, known.as_ref(), message, fx);
            return;
        }
        match self.freshness(term, known.as_ref(), &report) {
            Freshness::Old => return,
            Freshness::Doubtful => {
                self.answer_report(&report, known.as_ref(), ToAgent::Handshake { term, spread_ms: 0 }, fx);
                return;
            }
            Freshness::Good => {}
        }
        let id = known.unwrap_or_else(|| self.name_agent(term));
        if let Some(ghost) = self.instances.get(&report.instance).filter(|other| **other != id).cloned() {
            self.retire(&ghost, fx);
        }
        self.metrics.handshakes += 1;
        self.admit(now, term, &id, &report, fx);
        if let Some(state) = self.agents.get_mut(&id) {
            state.said = report.said;
        }
        self.hear(now, &id);
        let welcome = ToAgent::Welcome { instance: report.instance, agent: id.clone(), term };
        self.answer_report(&report, Some(&id), welcome, fx);
        self.settle_launches(now, term, &id, report, fx);
    }

    /// What an agent is told whose machine was down and is up again, but whose tasks still run: they were said to be
    /// over when the machine went down. Or orders of before may still reach it; told so, it skips them.
    fn still_down(&self, row: &AgentRow, report: &AgentReport) -> Option<ToAgent> {
        let runs = report.launches.iter().any(|launch| !launch.tasks.is_empty());
        let taken_up = if self.term == Some(report.term) { report.number } else { 0 };
        let hears = self.agents.get(&row.id).is_some_and(|state| state.lane.has_void_beyond(taken_up));
        let reason = || "its tasks have to end first: its machine was down for maintenance".to_owned();
        let void = self.void_orders(Some(&row.id));
        let refused = || ToAgent::Refused { instance: report.instance, reason: reason(), gone: true, wait: true, void };
        (row.down && (runs || hears)).then(refused)
    }

    /// A late copy of an agent's first report, after a store lost the row with its id, makes it another one, which it
    /// never takes: nothing that is ordered there is ever taken up.
    fn retire(&mut self, ghost: &AgentId, fx: &mut Effects<Output>) {
        if is_planted(Bug::GhostAgents) {
            return;
        }
        self.rescind_all_of(ghost, fx);
        self.end_all_on(ghost, fx);
        fx.delete(RowKey::Agent(ghost.clone()));
        self.remove_agent(ghost);
    }

    /// What an agent is told that shows the id of this row, if it is not admitted.
    pub(super) fn refusal(&self, row: &AgentRow, instance: u128, (hostname, ip): (&str, &str)) -> Option<ToAgent> {
        refusal(row, instance).or_else(|| self.kept_down(Some(&row.id), (hostname, ip), instance))
    }

    /// Two hosts that show one id are a mistake that an operator has to mend.
    pub(super) fn note_refusal(&mut self, whom: &str, message: &ToAgent, fx: &mut Effects<Output>) {
        if let ToAgent::Refused { reason, gone: false, .. } = message {
            self.metrics.agents_doubled += 1;
            fx.emit(Output::Trouble(format!("agent {whom} is refused: {reason}")));
        }
    }

    fn answer_report(&self, report: &AgentReport, id: Option<&AgentId>, message: ToAgent, fx: &mut Effects<Output>) {
        fx.emit(match (&report.agent, id) {
            (Some(_), Some(id)) => Output::Agent { agent: id.clone(), message },
            _ => Output::Unregistered { instance: report.instance, message },
        });
    }

    /// The bus may bring a report late or twice. What an old one lists in excess of the rows would be adopted,
    /// though it has ended long ago; and a launch must not be ordered again because an old report does not know
    /// of it yet. So what hangs on a report is believed only if it answers the present term.
    fn freshness(&self, term: Term, id: Option<&AgentId>, report: &AgentReport) -> Freshness {
        let state = id.and_then(|id| self.agents.get(id));
        if let Some(state) = state {
            let taken_up = state.lane.acknowledged();
            if taken_up > 0 && (report.term != term || report.number < taken_up) {
                return Freshness::Old;
            }
            // What an earlier one lists may have ended since without an order.
            if report.said != (0, 0) && report.said <= state.said && !is_planted(Bug::EarlierReportsBelieved) {
                return Freshness::Old;
            }
        }
        let named: BTreeSet<&LaunchId> = report.launches.iter().map(|launch| &launch.launch).collect();
        let adopts = named.iter().any(|launch| !self.launches.contains_key(*launch));
        // Ordered again if its order was not taken up, and over if it was: only an order of this term that is still on
        // its way says nothing.
        let under_way = |row: &LaunchRow| row.sent.0 == term && row.sent > (report.term, report.number);
        let rows =
            state.into_iter().flat_map(|state| state.launches.get()).filter_map(|launch| self.launch_row(launch));
        let unnamed = rows.filter(|row| !named.contains(&row.launch)).any(|row| !under_way(row));
        // Nor may one be admitted whose machine was down before it has promised to take up nothing of earlier terms.
        let down = state.and_then(|state| state.row.as_ref()).is_some_and(|row| row.down);
        let old = report.answers != Some(term) && !is_planted(Bug::OldReportsBelieved);
        if (unnamed || adopts || down) && old { Freshness::Doubtful } else { Freshness::Good }
    }

    pub(super) fn name_agent(&mut self, term: Term) -> AgentId {
        let id = AgentId::from(format!("{}-S{}", term.leader_text(), self.agents_named));
        self.agents_named += 1;
        id
    }

    /// Writes the agent's row if the report says anything new.
    fn admit(&mut self, now: Time, term: Term, id: &AgentId, report: &AgentReport, fx: &mut Effects<Output>) {
        let old = self.agents.get(id).and_then(|state| state.row.clone());
        let row = AgentRow {
            id: id.clone(),
            instance: report.instance,
            boot: report.boot.clone(),
            hostname: report.hostname.clone(),
            ip: report.ip.clone(),
            port: report.port,
            version: report.version.clone(),
            total: self.total_of(id, &report.total, (report.term, report.number)),
            oversubscribed: report.oversubscribed.clone(),
            attributes: report.attributes.clone(),
            domain: report.domain.clone(),
            state: AgentState::Active,
            deactivated: old.as_ref().is_some_and(|old| old.deactivated),
            drain: old.as_ref().and_then(|old| old.drain),
            down: false,
            degraded: report.degraded.clone(),
            handshake: term,
            registered: old.as_ref().map_or(now, |old| old.registered),
            reregistered: now,
            operated: old.as_ref().map(|old| old.operated.clone()).unwrap_or_default(),
            body: report.body.clone(),
        };
        let same = old.as_ref().is_some_and(|old| AgentRow { reregistered: old.reregistered, ..row.clone() } == *old);
        if same {
            return;
        }
        let offers_stand = old.as_ref().is_some_and(|old| {
            (&old.total, &old.oversubscribed, &old.attributes, &old.domain, &old.hostname, old.port)
                == (&row.total, &row.oversubscribed, &row.attributes, &row.domain, &row.hostname, row.port)
                && old.degraded == row.degraded
        });
        if !offers_stand {
            self.rescind_all_of(id, fx);
            if let Some(state) = self.agents.get(id) {
                self.engine.drop_filters_on(state.slot);
            }
        }
        self.write_agent(row, fx);
        self.preempt_revocable(now, id);
    }

    fn settle_launches(&mut self, now: Time, term: Term, id: &AgentId, report: AgentReport, fx: &mut Effects<Output>) {
        let seen = (report.term, report.number);
        let operations_seen = if is_planted(Bug::OperationAgain) { Default::default() } else { seen };
        // Before the lane is told, which would take them for done.
        self.finish_operations(id, operations_seen, Some(&report.total), fx);
        if let Some(state) = self.agents.get_mut(id) {
            state.lane.resume(report.term == term);
        }
        if report.term == term {
            self.acknowledge(now, id, report.number, fx);
        }
        self.order_operations_again(id, &report.total, operations_seen, fx);
        let mut removed: BTreeSet<FrameworkId> = BTreeSet::new();
        let mut reported: BTreeMap<LaunchId, ReportedLaunch> =
            report.launches.into_iter().map(|launch| (launch.launch.clone(), launch)).collect();
        let mut again = Vec::new();
        for launch in self.agents.get(id).map(|state| state.launches.get().clone()).unwrap_or_default() {
            let Some(row) = self.launch_row(&launch) else { continue };
            if let Some(reported) = reported.remove(&launch) {
                self.bodies.remove(&launch);
                self.hold_launch(&launch, &reported, fx);
            } else if (row.sent <= seen && !is_planted(Bug::LaunchAgain)) || is_planted(Bug::LaunchForgotten) {
                self.delete_launch(&launch, fx);
            } else if row.sent.0 != term || is_planted(Bug::LaunchAgain) {
                again.push((row.sent, launch));
            }
        }
        again.sort();
        for (_, launch) in again {
            self.order_again(term, &launch, fx);
        }
        for launch in reported.into_values() {
            if !self.launches.contains_key(&launch.launch) && !is_planted(Bug::NothingAdopted) {
                self.adopt(now, id, launch, fx);
            }
        }
        self.rewind_orders(id);
        for launch in self.agents.get(id).map(|state| state.launches.get().clone()).unwrap_or_default() {
            let Some(row) = self.launch_row(&launch) else { continue };
            let framework = row.framework.clone();
            if self.frameworks.get(&framework).is_some_and(Framework::is_removed) {
                removed.insert(framework);
                continue;
            }
            let tasks: Vec<TaskId> = row.tasks.iter().map(|task| task.task.clone()).collect();
            for task in tasks.into_iter().filter(|_| !is_planted(Bug::KillsForgotten)) {
                self.order_kill(id, &framework, &task);
            }
        }
        for framework in removed {
            self.order(id, Order::ShutdownFramework(framework));
        }
        if !is_planted(Bug::DrainForgotten) {
            self.order_drain(id);
        }
        self.look_at_drain(id);
        self.maintenance.look_at(id);
        if self.has_lingering(id) {
            self.lingering.set(id.clone(), now.after(LINGER));
        }
    }

    /// A launch whose tasks have ended on its agent stays until the registry has heard of their end. A registry whose
    /// store has lost that will never hear of it again once the agent has forgotten the task, so the agent is asked
    /// for what it still knows.
    pub(super) fn ask_about_lingering(&mut self, now: Time, fx: &mut Effects<Output>) {
        let Some(term) = self.term else { return };
        while let Some(id) = self.lingering.pop_due(now) {
            if self.has_lingering(&id) && self.is_shaken(&id) {
                self.lingering.set(id.clone(), now.after(LINGER));
                fx.emit(Output::Agent { agent: id, message: ToAgent::Handshake { term, spread_ms: 0 } });
            }
        }
    }

    fn has_lingering(&self, id: &AgentId) -> bool {
        let launches = self.agents.get(id).into_iter().flat_map(|state| state.launches.get());
        launches
            .filter_map(|launch| self.launch_row(launch))
            .any(|row| row.tasks.iter().any(|task| task.resources.is_empty()))
    }

    fn rewind_orders(&mut self, id: &AgentId) {
        if let Some(state) = self.agents.get_mut(id) {
            state.mismatches = 0;
            state.lane.rewind();
            self.speaking.insert(id.clone());
        }
    }

    /// Tasks that have ended on the agent hold nothing any more. The row stays until the registry knows their
    /// end: without it, the registry would take them for lost.
    fn hold_launch(&mut self, launch: &LaunchId, reported: &ReportedLaunch, fx: &mut Effects<Output>) {
        let Some(row) = self.launch_row(launch) else { return };
        let running: BTreeSet<&TaskId> = reported.tasks.iter().map(|(task, _)| task).collect();
        let removed = self.frameworks.get(&row.framework).is_some_and(Framework::is_removed);
        if removed && running.is_empty() && !reported.alive {
            // Nobody will acknowledge the end of its tasks, so nothing is to be waited for.
            self.delete_launch(launch, fx);
            return;
        }
        let mut held = row.clone();
        for task in &mut held.tasks {
            if !running.contains(&task.task) {
                task.resources = Resources::new();
            }
        }
        let mut left_over = Resources::new();
        if running.is_empty() && !reported.alive {
            left_over = std::mem::take(&mut held.executor_resources);
        }
        if held == *row {
            return;
        }
        if held.tasks.is_empty() && held.executor_resources.is_empty() {
            self.delete_launch(launch, fx);
            return;
        }
        let (agent, framework, executor) = (held.agent.clone(), held.framework.clone(), held.executor.clone());
        self.write_launch(held, fx);
        // The executor may live on by a launch that joined it.
        let heir = self
            .launches_of_executor(&agent, &framework, &executor)
            .find(|row| row.launch != *launch && row.executor_resources.is_empty())
            .cloned();
        if let Some(mut heir) = heir.filter(|heir| !left_over.is_empty() && !heir.kind.is_custom()) {
            heir.executor_resources = left_over;
            self.write_launch(heir, fx);
        }
    }

    /// An intent that the agent has not seen leaves again under a new number.
    fn order_again(&mut self, term: Term, launch: &LaunchId, fx: &mut Effects<Output>) {
        let Some(row) = self.launch_row(launch) else { return };
        let removed = self.frameworks.get(&row.framework).is_some_and(Framework::is_removed);
        let body = self.bodies.get(launch);
        let body = body.filter(|body| !removed && !row.tasks.is_empty() && body.tasks.len() == row.tasks.len());
        let Some(body) = body else {
            // Nobody wants it any more, or nobody knows any more what it was: it will never run.
            self.delete_launch(launch, fx);
            return;
        };
        let mut row = row.clone();
        let order = self.launch_order(&row, body);
        row.sent = (term, self.order(&row.agent.clone(), order));
        self.write_launch(row, fx);
    }

    /// A launch that no row knows: the agent's word counts.
    fn adopt(&mut self, now: Time, agent: &AgentId, reported: ReportedLaunch, fx: &mut Effects<Output>) {
        let framework = self.frameworks.get(&reported.framework);
        let ended = |task: &TaskId| framework.is_some_and(|framework| framework.has_ended(task, &reported.launch));
        let tasks: Vec<LaunchTask> = reported
            .tasks
            .iter()
            .filter(|(task, _)| !ended(task))
            .map(|(task, resources)| LaunchTask {
                task: task.clone(),
                name: String::new(),
                resources: resources.clone(),
                priority: 0,
            })
            .collect();
        if tasks.is_empty() && !reported.alive {
            return;
        }
        self.metrics.launches_adopted += 1;
        // What was offered may be what it holds.
        self.rescind_all_of(agent, fx);
        let row = LaunchRow {
            launch: reported.launch,
            framework: reported.framework,
            role: reported.role,
            agent: agent.clone(),
            executor: reported.executor,
            executor_resources: reported.executor_resources,
            tasks,
            // Before every order, so that it is over as soon as the agent does not name it.
            sent: (Term::default(), 0),
            call: CallId::default(),
            time: now,
            trace: None,
            adopted: Some(reported.facts),
            kind: reported.kind,
        };
        self.write_launch(row, fx);
    }
}

enum Freshness {
    /// Says what is or may be true.
    Good,
    /// Something hangs on it, and it may be old.
    Doubtful,
    /// The agent has since said more.
    Old,
}

#[cfg(test)]
mod tests;

//! Agents are heard of, or taken for unreachable.

use std::{collections::VecDeque, time::Duration};

use mesos_model::{
    AgentId, FrameworkId, Term, Time,
    planted::{Bug, is_planted},
};

use super::{Allocator, Output, timers::Timers};
use crate::{
    machine::Effects,
    message::{StreamEvent, ToAgent, condition, spread_ms},
    row::AgentState,
};

const MINUTE: Duration = Duration::from_secs(60);
/// Beats in a row with nothing under way whose digest is wrong, until the agent must report.
const MISMATCHES_MAX: u32 = 2;

/// Who was silent for how long. An agent's timer is set anew only when it rings, not at each beat.
#[derive(Debug, Default)]
pub(super) struct Silence {
    timers: Timers<AgentId>,
    /// Silence before this point in time does not count.
    since: Time,
    deaf: bool,
    /// When agents were marked, in the last minute.
    marks: VecDeque<Time>,
}

impl Silence {
    pub(super) fn deadline(&self) -> Option<Time> {
        self.timers.first()
    }

    /// Whether the listener itself does not hear.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// The listener itself does not hear, or hears again: then everybody gets a full timeout.
    pub(super) fn set_deaf(&mut self, now: Time, deaf: bool) {
        if self.deaf && !deaf {
            self.since = now;
        }
        self.deaf = deaf;
    }
}

/// Whether an agent that obeys `obeyed` refuses orders of `term`.
pub(super) fn refuses(obeyed: Term, term: Term) -> bool {
    obeyed.epoch > term.epoch || (obeyed.epoch == term.epoch && obeyed.leader != term.leader)
}

impl Allocator {
    /// Asks all agents to shake hands, so spread that the many of them do not come at once.
    pub(super) fn handshake_of_all(&self, term: Term) -> Output {
        let spread_ms = if is_planted(Bug::HandshakesAtOnce) { 0 } else { spread_ms(self.agents.len()) };
        Output::AllAgents(ToAgent::Handshake { term, spread_ms })
    }

    /// A term begins: every agent that was not given up gets a full timeout for its handshake.
    pub(super) fn begin_silence(&mut self, now: Time) {
        self.silence.since = now;
        let due = now.after(self.options.agent_timeout);
        self.agents.for_each_mut(|id, state| {
            state.heard = now;
            if state.row.as_ref().is_some_and(|row| row.state == AgentState::Active) {
                self.silence.timers.set(id.clone(), due);
            }
        });
    }

    /// An agent was heard of by a handshake.
    pub(super) fn hear(&mut self, now: Time, agent: &AgentId) {
        if let Some(state) = self.agents.get_mut(agent) {
            state.heard = now;
            self.silence.timers.set(agent.clone(), now.after(self.options.agent_timeout));
        }
    }

    /// An agent says that it lives, how far it has come with its orders, and what it holds.
    pub(super) fn beat(
        &mut self,
        now: Time,
        agent: &AgentId,
        instance: u128,
        (obeyed, number): (Term, u64),
        digest: u64,
        fx: &mut Effects<Output>,
    ) {
        let Some(term) = self.term else { return };
        if refuses(obeyed, term) {
            fx.emit(Output::RaiseEpoch(obeyed));
            return;
        }
        let known = self.agents.get(agent).and_then(|state| state.row.as_ref());
        if let Some(message) = known.and_then(|row| self.refusal(row, instance, (&row.hostname, &row.ip))) {
            self.note_refusal(agent.as_str(), &message, fx);
            fx.emit(Output::Agent { agent: agent.clone(), message });
            return;
        }
        if !self.is_shaken(agent) || obeyed != term {
            fx.emit(Output::Agent { agent: agent.clone(), message: ToAgent::Handshake { term, spread_ms: 0 } });
            return;
        }
        self.acknowledge(now, agent, number, fx);
        let row = self.agents.get(agent).and_then(|state| state.row.as_ref());
        let condition = row.map_or(0, |row| condition(row.degraded.is_some(), &row.oversubscribed));
        let expected = self.digest_of(agent).wrapping_add(condition);
        let Some(state) = self.agents.get_mut(agent) else { return };
        state.heard = now;
        let differs = state.lane.is_idle() && digest != expected;
        state.mismatches = if differs { state.mismatches + 1 } else { 0 };
        let message = if state.mismatches >= MISMATCHES_MAX {
            state.mismatches = 0;
            ToAgent::Handshake { term, spread_ms: 0 }
        } else {
            ToAgent::Heard { term }
        };
        fx.emit(Output::Agent { agent: agent.clone(), message });
    }

    /// An agent obeys someone above this term.
    pub(super) fn disobeyed(&mut self, obeyed: Term, fx: &mut Effects<Output>) {
        if self.term.is_some_and(|term| refuses(obeyed, term)) {
            fx.emit(Output::RaiseEpoch(obeyed));
        }
    }

    /// Agents that were silent for too long are taken for unreachable, a limited number per minute: if many
    /// fall silent at once, it is more likely the network than they.
    pub(super) fn mark_silent_agents(&mut self, now: Time, fx: &mut Effects<Output>) {
        let timeout = self.options.agent_timeout;
        while let Some(id) = self.silence.timers.pop_due(now) {
            let Some(state) = self.agents.get(&id) else { continue };
            if !state.row.as_ref().is_some_and(|row| row.state == AgentState::Active) {
                continue;
            }
            if self.silence.deaf && !is_planted(Bug::DeafListener) {
                self.silence.timers.set(id, now.after(timeout));
                continue;
            }
            let due = state.heard.max(self.silence.since).after(timeout);
            if due > now {
                self.silence.timers.set(id, due);
                continue;
            }
            while self.silence.marks.front().is_some_and(|mark| mark.after(MINUTE) <= now) {
                self.silence.marks.pop_front();
            }
            match self
                .silence
                .marks
                .front()
                .filter(|_| self.silence.marks.len() >= self.marks_per_minute() && !is_planted(Bug::UnlimitedMarks))
            {
                Some(first) => {
                    let again = first.after(MINUTE);
                    self.silence.timers.set(id, again);
                }
                None => {
                    self.silence.marks.push_back(now);
                    self.mark_unreachable(now, &id, fx);
                }
            }
        }
    }

    fn marks_per_minute(&self) -> usize {
        let percent = usize::try_from(self.options.unreachable_per_minute_percent).unwrap_or(100);
        (self.agents.len().saturating_mul(percent) / 100).max(1)
    }

    fn mark_unreachable(&mut self, now: Time, id: &AgentId, fx: &mut Effects<Output>) {
        let Some(state) = self.agents.get(id) else { return };
        let Some(mut row) = state.row.clone() else { return };
        let on_it = state.launches.get().iter().filter_map(|launch| self.launch_row(launch)).map(|row| &row.framework);
        let offers = self.engine.offers_on(state.slot);
        let offered = offers.iter().filter_map(|number| self.engine.offer_parties(*number));
        let offered = offered.map(|(client, _)| self.engine.client_of(client).0);
        let concerned: std::collections::BTreeSet<FrameworkId> = on_it.chain(offered).cloned().collect();
        let slot = state.slot;
        row.state = AgentState::Unreachable { since: now };
        self.metrics.agents_unreachable += 1;
        if is_planted(Bug::UnreachableIsFree) {
            for launch in state.launches.get().clone() {
                self.delete_launch(&launch, fx);
            }
        }
        self.write_agent(row, fx);
        self.rescind_all_of(id, fx);
        self.engine.drop_filters_on(slot);
        self.retries.clear(id);
        for framework in concerned {
            let event = StreamEvent::Failure { agent: id.clone(), executor: None, status: None };
            self.tell(&framework, event, fx);
        }
    }
}

#[cfg(test)]
mod tests;

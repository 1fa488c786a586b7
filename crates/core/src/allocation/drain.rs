//! Agents that leave because an operator says so: deactivated, drained, gone; and back again.
//!
//! ```text
//! ACTIVE ─deactivate─► DEACTIVATED ─reactivate─► ACTIVE        no offers; its tasks go on
//! ACTIVE ─drain─► DRAINING ─nothing is left─► DRAINED ─reactivate─► ACTIVE
//!                                 └──mark_gone─► GONE          for ever: its id is never admitted again
//! ```
//! Where an agent stands is its row, so every leader goes on with it. An agent that is away is drained when it is
//! back: its handshake brings the order. Kills by a drain are the agent's own work, which knows each task's grace.

use mesos_model::{AgentId, Time};

use super::{Allocator, Output};
use crate::{
    machine::Effects,
    message::{Order, StreamEvent},
    row::{AgentRow, AgentState, Drain, RowKey},
};

/// How many agents that are gone are remembered; of more the oldest are forgotten. Mesos keeps as many.
const GONE_MAX: usize = 102_400;

type Refusal = (u16, String);

impl Allocator {
    /// DRAIN_AGENT. While it drains it may be called again, with a shorter grace for example.
    ///
    /// # Errors
    /// For an agent that is not known, or gone.
    pub(super) fn drain_agent(
        &mut self,
        now: Time,
        id: &AgentId,
        max_grace_ms: Option<u64>,
        mark_gone: bool,
        fx: &mut Effects<Output>,
    ) -> Result<(), Refusal> {
        let mut row = self.leaving_agent(id)?;
        let since = row.draining().map_or(now, |drain| drain.since);
        row.deactivated = true;
        row.drain = Some(Drain { max_grace_ms, mark_gone, since, drained: false });
        self.rescind_all_of(id, fx);
        self.write_agent(row, fx);
        if self.is_shaken(id) {
            self.order_drain(id);
        }
        Ok(())
    }

    /// DEACTIVATE_AGENT. An agent that is deactivated stays so.
    ///
    /// # Errors
    /// For an agent that is not known, or gone.
    pub(super) fn deactivate_agent(&mut self, id: &AgentId, fx: &mut Effects<Output>) -> Result<(), Refusal> {
        let mut row = self.leaving_agent(id)?;
        if !row.deactivated {
            row.deactivated = true;
            self.rescind_all_of(id, fx);
            self.write_agent(row, fx);
        }
        Ok(())
    }

    /// REACTIVATE_AGENT. One that is active stays so.
    ///
    /// # Errors
    /// For an agent that is not known, gone, or whose tasks are just being ended.
    pub(super) fn reactivate_agent(&mut self, id: &AgentId, fx: &mut Effects<Output>) -> Result<(), Refusal> {
        let mut row = self.leaving_agent(id)?;
        if row.draining().is_some() {
            let text = format!("Agent {id} is still draining; it can be reactivated once it is drained");
            return Err((400, text));
        }
        if row.deactivated {
            (row.deactivated, row.drain) = (false, None);
            self.write_agent(row, fx);
        }
        Ok(())
    }

    /// MARK_AGENT_GONE. One that is gone stays so.
    ///
    /// # Errors
    /// For an agent that is not known.
    pub(super) fn mark_agent_gone(&mut self, id: &AgentId, fx: &mut Effects<Output>) -> Result<(), Refusal> {
        let row = self.agents.get(id).and_then(|state| state.row.clone()).ok_or_else(|| unknown(id))?;
        if row.state != AgentState::Gone {
            self.give_up(row, fx);
        }
        Ok(())
    }

    fn leaving_agent(&self, id: &AgentId) -> Result<AgentRow, Refusal> {
        let row = self.agents.get(id).and_then(|state| state.row.clone()).ok_or_else(|| unknown(id))?;
        if row.state == AgentState::Gone {
            return Err((400, format!("Agent {id} was marked gone; its id is not used again")));
        }
        Ok(row)
    }

    /// Something changed that an agent's drain may have waited for.
    pub(super) fn look_at_drain(&mut self, id: &AgentId) {
        let row = self.agents.get(id).and_then(|state| state.row.as_ref());
        if row.is_some_and(|row| row.draining().is_some()) {
            self.drains.insert(id.clone());
        }
    }

    /// A term begins: drains that an earlier leader began go on.
    pub(super) fn look_at_all_drains(&mut self) {
        let draining = self.agents().filter(|row| row.draining().is_some()).map(|row| row.id.clone());
        self.drains = draining.collect();
    }

    /// What is on an agent that has shaken hands is to end, if it is drained.
    pub(super) fn order_drain(&mut self, id: &AgentId) {
        let Some(state) = self.agents.get(id).filter(|state| state.has_launches()) else { return };
        if let Some(drain) = state.row.as_ref().and_then(AgentRow::draining) {
            self.order(id, Order::Drain { max_grace_ms: drain.max_grace_ms });
        }
    }

    /// Drained are agents that have shaken hands and on which nothing is left: no launch, which stands until the
    /// registry has the end of its tasks, and no operation under way.
    pub(super) fn finish_drains(&mut self, fx: &mut Effects<Output>) {
        for id in std::mem::take(&mut self.drains) {
            let Some(state) = self.agents.get(&id) else { continue };
            let Some((mut row, mut drain)) = state.row.clone().and_then(|row| Some((row.clone(), row.draining()?)))
            else {
                continue;
            };
            if !self.is_shaken(&id) || state.has_launches() || self.operations.contains_key(&id) {
                continue;
            }
            drain.drained = true;
            row.drain = Some(drain);
            if drain.mark_gone {
                self.give_up(row, fx);
            } else {
                self.write_agent(row, fx);
            }
        }
    }

    /// An agent will not come back.
    fn give_up(&mut self, mut row: AgentRow, fx: &mut Effects<Output>) {
        row.state = AgentState::Gone;
        row.deactivated = true;
        let refusal = super::handshake::refusal(&row, row.instance);
        let id = row.id.clone();
        self.part_with(row, fx);
        // One that is away hears it when it comes back.
        if let Some(message) = refusal {
            fx.emit(Output::Agent { agent: id, message });
        }
        self.forget_oldest_gone(fx);
    }

    /// Whatever is on an agent is over, and it is told nothing more: its row says why. The row is written first, so
    /// that the registry knows why its tasks have ended.
    pub(super) fn part_with(&mut self, row: AgentRow, fx: &mut Effects<Output>) {
        let id = row.id.clone();
        if !self.agents.contains_key(&id) {
            return;
        }
        self.rescind_all_of(&id, fx);
        self.write_agent(row, fx);
        self.end_all_on(&id, fx);
    }

    /// The launches and operations of an agent are no more, and it is told nothing of them.
    pub(super) fn end_all_on(&mut self, id: &AgentId, fx: &mut Effects<Output>) {
        let Some(state) = self.agents.get_mut(id) else { return };
        let (slot, launches) = (state.slot, state.launches.get().clone());
        let hostname = state.row.as_ref().map(|row| row.hostname.clone()).unwrap_or_default();
        state.part();
        self.engine.drop_filters_on(slot);
        self.retries.clear(id);
        self.lingering.clear(id);
        for launch in launches {
            self.delete_launch(&launch, fx);
        }
        for row in self.operations.remove(id).into_iter().flat_map(std::collections::BTreeMap::into_values) {
            fx.delete(RowKey::Operation(row.operation));
            if let Some((framework, operation)) = row.feedback {
                let message = format!("agent {id} ({hostname}) went before it could do it");
                self.tell(&framework, StreamEvent::OperationError { operation, agent: Some(id.clone()), message }, fx);
            }
        }
    }

    fn forget_oldest_gone(&mut self, fx: &mut Effects<Output>) {
        let gone = || self.agents().filter(|row| row.state == AgentState::Gone);
        if gone().count() <= GONE_MAX {
            return;
        }
        let oldest = gone().min_by_key(|row| (row.reregistered, row.id.clone())).map(|row| row.id.clone());
        if let Some(id) = oldest {
            fx.delete(RowKey::Agent(id.clone()));
            self.remove_agent(&id);
        }
    }
}

fn unknown(id: &AgentId) -> Refusal {
    let shown: String = id.as_str().escape_debug().take(80).collect();
    (404, format!("Agent '{shown}' is not known; `mesos agents` lists those that are"))
}

#[cfg(test)]
mod tests;

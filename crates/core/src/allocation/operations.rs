//! RESERVE, UNRESERVE, CREATE, DESTROY, GROW_VOLUME, SHRINK_VOLUME: some of an agent's resources become others.
//!
//! The agent's checkpoint is the truth about reservations and volumes. An accepted operation changes the agent's
//! row at once and is a row of its own until the agent has taken up the order that carries it, so the next leader
//! can order it again: the agent's total is what it reports, with the operations that it has not seen on top.

use mesos_engine::Bundle;
use mesos_model::{
    AgentId, CallId, FrameworkId, Resource, Resources, Role, Term, Time,
    planted::{Bug, is_planted},
};

use super::{Allocator, Output, accept::Context};
use crate::{
    machine::Effects,
    message::{Conversion, Order, StreamEvent},
    row::{AgentRow, OperationRow, Row, RowKey},
};

/// How many calls of operators are remembered per agent. One is repeated for seconds, not longer.
const OPERATED_MAX: usize = 16;

impl Allocator {
    /// Whether a framework may do an operation with what it was offered, in Mesos's words.
    ///
    /// # Errors
    /// Says why not.
    pub(super) fn validate_conversion(
        &self,
        context: &Context,
        agent: &AgentId,
        role: &Role,
        left: &Resources,
        conversion: &Conversion,
    ) -> Result<(), String> {
        let row = self.frameworks.get(&context.framework).and_then(|framework| framework.row.as_ref());
        let Some(row) = row else { return Err("the framework is not known".to_owned()) };
        for resource in &conversion.converted {
            let stack = resource.qualifier.as_ref().map_or(&[][..], |qualifier| &qualifier.reservations);
            if conversion.name == "RESERVE"
                && let Some(top) = stack.last()
            {
                if top.role != *role {
                    return Err(format!(
                        "A reserve operation was attempted for a resource allocated to role '{role}', but it is to be \
                         reserved for role '{}'",
                        top.role
                    ));
                }
                if top.principal.is_some() && top.principal != row.info.principal {
                    return Err(format!(
                        "A reserve operation was attempted by principal '{}', but the reservation names principal '{}'",
                        row.info.principal.as_deref().unwrap_or_default(),
                        top.principal.as_deref().unwrap_or_default()
                    ));
                }
            }
            if stack.len() > 1 && !row.info.capabilities.reservation_refinement {
                return Err("Reservation refinement needs the capability RESERVATION_REFINEMENT".to_owned());
            }
            if resource.is_shared() && !row.info.capabilities.shared_resources {
                return Err("Shared volumes need the capability SHARED_RESOURCES".to_owned());
            }
        }
        if !left.contains(&conversion.consumed) {
            return Err(format!("{} is not contained in what was offered, {left}", conversion.consumed));
        }
        self.validate_on_agent(agent, conversion)
    }

    /// What must hold whoever asks.
    fn validate_on_agent(&self, agent: &AgentId, conversion: &Conversion) -> Result<(), String> {
        let (before, after) = (conversion.consumed.scalars(), conversion.converted.scalars());
        if before != after {
            return Err("an operation may neither make nor lose resources".to_owned());
        }
        if let Some(revocable) = conversion.consumed.iter().find(|resource| resource.is_revocable()) {
            return Err(format!("revocable '{}' can be neither reserved nor made a volume", revocable.name));
        }
        let shared: Vec<&Resource> = conversion.consumed.iter().filter(|resource| resource.is_shared()).collect();
        let used = self.agents.get(agent).into_iter().flat_map(|state| state.launches.get()).find(|launch| {
            let row = self.launch_row(launch);
            let held = row.map(crate::row::LaunchRow::resources).unwrap_or_default();
            shared.iter().any(|wanted| held.iter().any(|held| held.qualifier == wanted.qualifier))
        });
        match used {
            Some(launch) => Err(format!("the shared volume is in use by launch {launch}")),
            None => Ok(()),
        }
    }

    /// Does an operation that was found valid: in the agent's row, and as an order to it.
    pub(super) fn convert(
        &mut self,
        now: Time,
        agent: &AgentId,
        conversion: Conversion,
        feedback: Option<(FrameworkId, String)>,
        operator: Option<CallId>,
        fx: &mut Effects<Output>,
    ) {
        let (Some(term), Some(row)) = (self.term, self.agents.get(agent).and_then(|state| state.row.clone())) else {
            return;
        };
        self.metrics.operations += 1;
        let number = self.order(agent, Order::Convert(conversion.clone()));
        let operation = format!("{}-P{}", self.leader_text, self.operations_named);
        self.operations_named += 1;
        if let Some((framework, operation)) = feedback.clone().filter(|_| is_planted(Bug::FinishedBeforeDone)) {
            let converted = conversion.converted.clone();
            self.tell(&framework, StreamEvent::OperationFinished { operation, agent: agent.clone(), converted }, fx);
        }
        let total = conversion.applied_to(&row.total);
        let mut operated = row.operated.clone();
        operated.extend(operator);
        operated.drain(..operated.len().saturating_sub(OPERATED_MAX));
        self.write_agent(AgentRow { total, operated, ..row }, fx);
        let row =
            OperationRow { operation, agent: agent.clone(), conversion, sent: (term, number), feedback, time: now };
        fx.put(Row::Operation(row.clone()));
        self.index_operation(row);
    }

    pub(super) fn index_operation(&mut self, row: OperationRow) {
        self.operations.entry(row.agent.clone()).or_default().insert(row.operation.clone(), row);
    }

    pub(super) fn unindex_operation(&mut self, operation: &str) -> Option<OperationRow> {
        let agent =
            self.operations.iter().find(|(_, rows)| rows.contains_key(operation)).map(|(agent, _)| agent.clone())?;
        let rows = self.operations.get_mut(&agent)?;
        let row = rows.remove(operation);
        if rows.is_empty() {
            self.operations.remove(&agent);
            self.look_at_drain(&agent);
        }
        row
    }

    /// The operations that an agent is known not to have done yet, in their order.
    fn operations_on(&self, agent: &AgentId) -> Vec<OperationRow> {
        let rows = self.operations.get(agent).into_iter().flat_map(|rows| rows.values());
        let mut rows: Vec<OperationRow> = rows.cloned().collect();
        rows.sort_by_key(|row| row.sent);
        rows
    }

    /// The agent has taken up its orders up to this one: operations among them are done.
    ///
    /// An agent that could not do one says so by a report in which it is missing.
    pub(super) fn finish_operations(
        &mut self,
        agent: &AgentId,
        seen: (Term, u64),
        reported: Option<&Resources>,
        fx: &mut Effects<Output>,
    ) {
        let mut done = self.operations_on(agent);
        done.retain(|row| row.sent <= seen);
        let used_since = |row: &OperationRow| {
            let later = done.iter().filter(|later| later.sent > row.sent);
            later
                .flat_map(|later| &later.conversion.consumed)
                .any(|used| row.conversion.converted.iter().any(|made| made.is_same_kind(used)))
        };
        let missing = |row: &OperationRow| {
            reported.is_some_and(|total| !total.contains(&row.conversion.converted)) && !used_since(row)
        };
        let failed: std::collections::BTreeSet<String> =
            done.iter().filter(|row| missing(row)).map(|row| row.operation.clone()).collect();
        for row in done {
            self.unindex_operation(&row.operation);
            fx.delete(RowKey::Operation(row.operation.clone()));
            if let Some((framework, operation)) = row.feedback {
                let event = if failed.contains(&row.operation) {
                    let message = format!("agent {agent} could not do it: it has no {}", row.conversion.consumed);
                    StreamEvent::OperationError { operation, agent: Some(agent.clone()), message }
                } else {
                    let converted = row.conversion.converted;
                    StreamEvent::OperationFinished { operation, agent: agent.clone(), converted }
                };
                self.tell(&framework, event, fx);
            }
        }
    }

    /// What an agent has, if it reports `total` and has taken up orders as far as `seen`: operations that it has not
    /// seen are still to come.
    pub(super) fn total_of(&self, agent: &AgentId, total: &Resources, seen: (Term, u64)) -> Resources {
        let rows = self.operations_on(agent).into_iter().filter(|row| row.sent > seen);
        rows.fold(total.clone(), |total, row| {
            if total.contains(&row.conversion.consumed) { row.conversion.applied_to(&total) } else { total }
        })
    }

    /// After a handshake: operations of earlier terms that the agent has not seen are ordered again; those that no
    /// longer fit what it has are over, and whoever waits for them is told.
    pub(super) fn order_operations_again(
        &mut self,
        agent: &AgentId,
        reported: &Resources,
        seen: (Term, u64),
        fx: &mut Effects<Output>,
    ) {
        let Some(term) = self.term.filter(|_| !is_planted(Bug::OperationForgotten)) else { return };
        let mut total = reported.clone();
        for mut row in self.operations_on(agent).into_iter().filter(|row| row.sent > seen) {
            if !total.contains(&row.conversion.consumed) {
                self.unindex_operation(&row.operation);
                fx.delete(RowKey::Operation(row.operation));
                if let Some((framework, operation)) = row.feedback {
                    let message = format!("agent {agent} has no {} any more", row.conversion.consumed);
                    let event = StreamEvent::OperationError { operation, agent: Some(agent.clone()), message };
                    self.tell(&framework, event, fx);
                }
                continue;
            }
            total = row.conversion.applied_to(&total);
            if row.sent.0 != term {
                row.sent = (term, self.order(agent, Order::Convert(row.conversion.clone())));
                fx.put(Row::Operation(row.clone()));
                self.index_operation(row);
            }
        }
    }

    /// An operator's operation: with what is free, after taking back as many offers as it needs.
    ///
    /// # Errors
    /// A status and a text; then nothing has changed.
    pub(super) fn convert_for_operator(
        &mut self,
        now: Time,
        call: &CallId,
        agent: &AgentId,
        conversion: Conversion,
        fx: &mut Effects<Output>,
    ) -> Result<(), (u16, String)> {
        let Some(slot) = self.agents.get(agent).filter(|state| state.row.is_some()).map(|state| state.slot) else {
            return Err((400, format!("Agent {agent} is not known; `mesos agents` lists those that are")));
        };
        if !self.is_shaken(agent) {
            return Err((409, format!("Agent {agent} is not reachable at the moment")));
        }
        self.validate_on_agent(agent, &conversion).map_err(|error| (400, error))?;
        self.check_limits(&conversion).map_err(|error| (409, error))?;
        let shared: Resources = self
            .agents
            .get(agent)
            .and_then(|state| state.row.as_ref())
            .map_or_else(Resources::new, |row| row.total.filter(Resource::is_shared));
        let wanted = Bundle::from(&conversion.consumed.filter(|resource| !resource.is_shared()));
        let shared_wanted = conversion.consumed.filter(Resource::is_shared);
        let reachable = Bundle::from(&self.engine.free(slot).plus(&self.engine.offered(slot)));
        if !reachable.contains(&wanted) || !shared.contains(&shared_wanted) {
            let text = format!(
                "Agent {agent} has not enough that is not in use: {} is wanted, {} is there",
                conversion.consumed,
                reachable.resources()
            );
            return Err((409, text));
        }
        for number in self.offers_on(agent) {
            let enough = Bundle::from(&self.engine.free(slot)).contains(&wanted) && shared_wanted.is_empty();
            let offered = self.open_offer(number).map(|offer| offer.bundle.resources()).unwrap_or_default();
            let helps = offered.iter().any(|entry| conversion.consumed.iter().any(|wanted| entry.is_same_kind(wanted)));
            if !enough && helps {
                self.rescind(number, fx);
            }
        }
        self.convert(now, agent, conversion, None, Some(call.clone()), fx);
        Ok(())
    }

    /// Whether an operator's call was done by this leader or one before it.
    pub(super) fn was_operated(&self, agent: &AgentId, call: &CallId) -> bool {
        let row = self.agents.get(agent).and_then(|state| state.row.as_ref());
        row.is_some_and(|row| row.operated.contains(call)) && !is_planted(Bug::RepeatAfterFailover)
    }

    /// A reservation counts against the limits of its role and of those above it.
    fn check_limits(&self, conversion: &Conversion) -> Result<(), String> {
        let reserved = |resources: &Resources, role: &Role, name: &str| {
            let below = |reserved: &Role| mesos_engine::cycle::is_role_or_ancestor(role, reserved);
            resources.filter(|resource| resource.reserved_for().is_some_and(below)).scalar(name)
        };
        for state in self.engine.roles() {
            for (name, limit) in &state.facts.limit {
                let more = reserved(&conversion.converted, &state.role, name)
                    - reserved(&conversion.consumed, &state.role, name);
                let consumed = state.consumed.get(name).copied().unwrap_or(0);
                if more > 0 && consumed + more > *limit {
                    return Err(format!(
                        "The limit of role '{}' is {name}:{}, and {} is used",
                        state.role,
                        mesos_model::resources_text::milli_text(*limit),
                        mesos_model::resources_text::milli_text(consumed)
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

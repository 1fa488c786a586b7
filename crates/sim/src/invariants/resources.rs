//! What must hold of reservations, volumes, quota, and agents that leave.

use std::collections::{BTreeMap, BTreeSet};

use mesos_core::{
    message::{Amounts, Conversion, OperatorCall},
    row::{AgentSelfRow, LaunchRow, Row, RowChange, RowKey},
};
use mesos_model::{AgentId, Resource, Resources, Role, Value, resources::Qualifier};

use super::Seen;
use crate::{net::Node, store::Commit};

/// An entry of a bundle without its amount.
type Kind = (String, Qualifier);

/// What operations were asked for. No two of them make the same kind of resource, since each has a label.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// How much of what may be made at most.
    asked: BTreeMap<Kind, i64>,
    /// What somebody asked to take back, or to make something else of.
    undone: BTreeSet<Kind>,
    /// Labels of what agents have had in their checkpoints.
    done: BTreeSet<String>,
    /// Labels of what was asked to be taken back, perhaps at once.
    fleeting: BTreeSet<String>,
    limits: bool,
}

impl Made {
    pub(super) fn asked(&mut self, conversion: &Conversion) {
        for (kind, amount) in kinds(&conversion.converted) {
            *self.asked.entry(kind).or_default() += amount;
        }
        for (kind, _) in kinds(&conversion.consumed) {
            self.fleeting.extend(labels(&kind));
            self.undone.insert(kind);
        }
    }
}

impl Seen {
    /// An operator asks for something.
    pub(super) fn operator_asks(&mut self, call: &OperatorCall) {
        match call {
            OperatorCall::Convert { conversion, .. } => self.made.asked(conversion),
            OperatorCall::UpdateQuota { .. } => self.made.limits = true,
            OperatorCall::Drain { agent, mark_gone, .. } => {
                self.leaving.insert(agent.clone(), false);
                if *mark_gone {
                    self.gone.insert(agent.clone());
                }
            }
            OperatorCall::MarkGone(agent) => {
                self.leaving.insert(agent.clone(), false);
                self.gone.insert(agent.clone());
            }
            OperatorCall::StartMaintenance(machines) => {
                let of = |node: &Node| machines.iter().any(|machine| machine.has(&node.to_string(), ""));
                let ids = self.ids.iter().filter(|(node, _)| of(node)).map(|(_, id)| id.clone());
                self.downed.extend(ids);
            }
            _ => {}
        }
    }

    /// An operator was told that an agent is active again, and has no drain of it on its way.
    pub fn reactivated(&mut self, agent: &AgentId) {
        if let Some(reactivated) = self.leaving.get_mut(agent) {
            *reactivated = true;
        }
    }

    /// Whether somebody asked that the agent of this node be gone. One that never heard its id may be any of those.
    pub fn is_gone(&self, node: Node) -> bool {
        self.ids.get(&node).map_or(!self.gone.is_empty(), |id| self.gone.contains(id))
    }

    /// Whether somebody asked that the tasks of this node end.
    pub(super) fn is_leaving(&self, node: Node) -> bool {
        // A store that lost the commit of a reactivation has the agent drained again, as has a late repeat of the drain.
        let again = self.rolled_back || self.duplicates;
        let leaves = |id| self.leaving.get(id).is_some_and(|reactivated| again || !reactivated);
        self.ids.get(&node).is_some_and(|id| leaves(id) || self.was_sent_away(id))
    }

    /// Whether somebody asked that this agent be gone, or its machine down.
    pub(super) fn was_sent_away(&self, agent: &AgentId) -> bool {
        self.gone.contains(agent) || self.downed.contains(agent)
    }

    /// Whether somebody asked that this agent be gone.
    #[must_use]
    pub fn asked_to_be_gone(&self, agent: &AgentId) -> bool {
        self.gone.contains(agent)
    }

    /// I14: RESERVE, UNRESERVE, CREATE and DESTROY make and lose nothing. What an agent has is what somebody asked for,
    /// at most as often as it was asked for, and what goes was asked to go.
    pub(super) fn i14_operations_conserve(&mut self, node: Node, old: Option<&AgentSelfRow>, new: &AgentSelfRow) {
        let old = old.map(|old| &old.total);
        if old == Some(&new.total) {
            return;
        }
        if new.total.is_empty() {
            let had = old.is_some_and(|old| !old.is_empty());
            if had && !self.is_gone(node) {
                self.fail("I14", || format!("{node} has lost all that it had"));
            }
            return;
        }
        if new.total.scalars() != new.base.scalars() {
            self.fail("I14", || format!("{node} has {}, and not {}", new.total, new.base));
        }
        let now: BTreeMap<Kind, i64> = kinds(&new.total).collect();
        for (kind, amount) in &now {
            self.made.done.extend(labels(kind));
            let asked = self.made.asked.get(kind).copied().unwrap_or(0);
            // The agent's copy wins over a store that lost commits, and a repeat of an operator's call, which that
            // store no longer knows, is done again with what is left. Its quantity is conserved all the same.
            if *amount > asked && !self.rolled_back {
                self.fail("I14", || format!("{node} has {amount} of {kind:?}, and {asked} was asked for"));
            }
        }
        for (kind, amount) in old.into_iter().flat_map(kinds) {
            let left = now.get(&kind).copied().unwrap_or(0);
            if left < amount && !self.made.undone.contains(&kind) {
                self.fail("I14", || format!("{node} lost {kind:?}, which nobody took back"));
            }
        }
    }

    /// I14: the directory of a volume goes only because somebody destroyed the volume.
    pub(crate) fn volume_removed(&mut self, node: Node, entry: &Resource) {
        let destroyed = kind(entry).is_some_and(|(kind, _)| self.made.undone.contains(&kind));
        if !destroyed && !self.is_gone(node) {
            self.fail("I14", || format!("{node} removed {entry:?}, which nobody destroyed"));
        }
    }

    /// I14: whoever is told that an operation is finished has what it makes in the agent's checkpoint.
    pub fn operation_finished(&mut self, label: &str) {
        if !self.made.done.contains(label) && !self.made.fleeting.contains(label) {
            self.fail("I14", || format!("operation {label} was told as finished, and no agent has done it"));
        }
    }

    /// I15: what is launched never takes a role, with those below it, beyond its limit. What agents brought back that a
    /// store had forgotten is there whatever the limit, and so is what is reserved.
    pub(super) fn i15_no_role_beyond_its_limit(&mut self, commit: &Commit, rows: &BTreeMap<RowKey, Row>) {
        let launched: Vec<&LaunchRow> = commit.changes.iter().filter_map(|change| launch(change, self)).collect();
        if !self.made.limits {
            return;
        }
        // What was launched before a limit was set in the same commit was launched before it.
        // And what an UNRESERVE of the same ACCEPT made ordinary counted before as reserved.
        let sets =
            commit.changes.iter().any(|change| matches!(change, RowChange::Put(Row::Role(_) | Row::Operation(_))));
        if launched.is_empty() || sets {
            return;
        }
        let limits = rows.values().filter_map(|row| match row {
            Row::Role(row) if !row.facts.limit.is_empty() => Some((&row.role, &row.facts.limit)),
            _ => None,
        });
        let limits: Vec<(&Role, &Amounts)> = limits.collect();
        for (role, limit) in limits {
            if !launched.iter().any(|row| is_below(&row.role, role)) {
                continue;
            }
            let held = rows.values().filter_map(|row| match row {
                Row::Launch(row) if is_below(&row.role, role) => Some(row),
                _ => None,
            });
            let held: Vec<&LaunchRow> = held.collect();
            if held.iter().any(|row| row.adopted.is_some()) {
                continue;
            }
            let sum = held.iter().fold(Resources::new(), |sum, row| sum.plus(&ordinary(&row.resources())));
            for (name, limit) in limit {
                // What was more before a limit was forced stays.
                let more =
                    launched.iter().any(|row| is_below(&row.role, role) && ordinary(&row.resources()).scalar(name) > 0);
                if more && sum.scalar(name) > *limit {
                    self.fail("I15", || format!("role {role} has {sum}, and its limit is {limit} of {name}"));
                }
            }
        }
    }
}

/// A launch that a commit writes for the first time.
fn launch<'a>(change: &'a RowChange, seen: &mut Seen) -> Option<&'a LaunchRow> {
    let RowChange::Put(Row::Launch(row)) = change else { return None };
    let first = seen.launched.insert(row.launch.clone());
    (first && row.adopted.is_none() && !ordinary(&row.resources()).is_empty()).then_some(row)
}

/// What is not reserved.
fn ordinary(resources: &Resources) -> Resources {
    resources.filter(|resource| resource.reserved_for().is_none())
}

fn is_below(role: &Role, above: &Role) -> bool {
    let rest = role.as_str().strip_prefix(above.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn kinds(resources: &Resources) -> impl Iterator<Item = (Kind, i64)> {
    resources.iter().filter_map(kind)
}

/// An entry that an operation made, without its amount, and that.
fn kind(entry: &Resource) -> Option<(Kind, i64)> {
    let Value::Scalar(amount) = entry.value else { return None };
    let qualifier = entry.qualifier.as_deref()?;
    Some(((entry.name.to_string(), qualifier.clone()), amount))
}

/// The labels of the operations that made a kind: its volume's, and its reservation's.
fn labels((_, qualifier): &Kind) -> Vec<String> {
    let reserved = qualifier.reservations.iter().flat_map(|reservation| &reservation.labels);
    let mut labels: Vec<String> = reserved.filter_map(|(_, label)| label.clone()).collect();
    labels.extend((!qualifier.disk.is_empty()).then(|| String::from_utf8_lossy(&qualifier.disk).into_owned()));
    labels
}

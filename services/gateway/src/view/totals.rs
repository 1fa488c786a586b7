//! Sums that are kept by deltas: amounts by name, tasks by state.

use std::{collections::BTreeMap, sync::Arc};

use mesos_model::{Resources, TaskState};

/// Amounts of scalars over all qualifiers, in thousandths; none is zero.
///
/// Ranges are left out: those of two agents mean different things and have no sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scalars(BTreeMap<Arc<str>, i64>);

impl Scalars {
    /// The scalars of a bundle.
    #[must_use]
    pub fn of(resources: &Resources) -> Scalars {
        Scalars(resources.scalars())
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Scalars) {
        self.change(other, 1);
    }

    /// Takes another sum out.
    pub fn take(&mut self, other: &Scalars) {
        self.change(other, -1);
    }

    fn change(&mut self, other: &Scalars, sign: i64) {
        for (name, milli) in &other.0 {
            let sum = self.0.entry(name.clone()).or_insert(0);
            *sum = sum.saturating_add(sign * milli);
            if *sum == 0 {
                self.0.remove(name);
            }
        }
    }

    /// One amount, in thousandths.
    #[must_use]
    pub fn milli(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// One amount.
    #[must_use]
    pub fn amount(&self, name: &str) -> f64 {
        self.milli(name) as f64 / 1000.0
    }

    /// All amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, milli)| (&**name, *milli as f64 / 1000.0))
    }

    /// As a bundle, without qualifiers.
    #[must_use]
    pub fn resources(&self) -> Resources {
        let scalars: Vec<(&str, i64)> = self.0.iter().map(|(name, milli)| (&**name, *milli)).collect();
        Resources::of(&scalars)
    }
}

/// Numbers of tasks by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; TaskState::ALL.len()]);

impl Counts {
    /// One more.
    pub fn add(&mut self, state: TaskState) {
        self.0[state as usize] += 1;
    }

    /// One less.
    pub fn take(&mut self, state: TaskState) {
        self.0[state as usize] = self.0[state as usize].saturating_sub(1);
    }

    /// How many are in a state.
    #[must_use]
    pub fn of(&self, state: TaskState) -> u64 {
        self.0[state as usize]
    }

    /// Every state that has any.
    pub fn iter(&self) -> impl Iterator<Item = (TaskState, u64)> {
        TaskState::ALL.into_iter().map(|state| (state, self.of(state))).filter(|(_, count)| *count > 0)
    }

    /// How many have not ended.
    #[must_use]
    pub fn alive(&self) -> u64 {
        self.iter().filter(|(state, _)| !state.is_terminal()).map(|(_, count)| count).sum()
    }
}

/// What one agent or one framework has in use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Use {
    /// Held by launches; of an agent only, see [`Scalars`].
    pub held: Resources,
    /// The same as sums.
    pub scalars: Scalars,
    /// Tasks by state: of an agent those that have rows, of a framework also those remembered.
    pub tasks: Counts,
}

impl Use {
    /// Whether nothing is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Use::default()
    }
}

/// Sums over the whole cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// What active agents have.
    pub resources: Scalars,
    /// What launches hold on active agents.
    pub used: Scalars,
    /// Agents that are heard of.
    pub agents_active: u64,
    /// Agents that are not.
    pub agents_unreachable: u64,
    /// Active agents that an operator took out of offering.
    pub agents_deactivated: u64,
    /// Frameworks whose stream is open.
    pub frameworks_connected: u64,
    /// Frameworks that are away and may come back.
    pub frameworks_disconnected: u64,
    /// Tasks by state, also those that are only remembered.
    pub tasks: Counts,
    /// Tasks that ended since this process follows, by state.
    pub ended: Counts,
}

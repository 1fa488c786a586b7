//! What the agent has: what its options give it, and what operations have made of that.
//!
//! `base` is what the options gave at the last start, `total` what reservations and volumes have made of
//! it. The checkpoint is the truth about both: a conversion is synced together with its order's number, and
//! directories of volumes follow the checkpoint.

use std::{collections::BTreeMap, sync::Arc};

use mesos_model::{
    Resource, Resources, Value,
    planted::{Bug, is_planted},
};

use super::{Agent, Out, Output};
use crate::message::Conversion;

/// An estimate is news when it differs by more than one part in so many.
const NEWS_PART: i64 = 20;

/// What an agent has after its options gave `now` where they gave `base` before, and operations had made
/// `total` of that. A checkpoint without a `base` is one of before there were operations.
///
/// # Errors
/// If what the options do not give any more is in reservations or volumes: says which, and what to do.
pub fn reconfigured(base: &Resources, total: &Resources, now: &Resources) -> Result<Resources, String> {
    if base.is_empty() {
        return Ok(now.clone());
    }
    let (more, less) = (now.minus(base), base.minus(now));
    let mut changed = total.clone();
    if changed.take(&less) {
        changed.add(&more);
        return Ok(changed);
    }
    let missing = less.minus(total);
    let made = total.minus(base).filter(|made| missing.iter().any(|missing| missing.name == made.name));
    Err(format!(
        "the agent is to have {less} less than at its last start, but of that {missing} is in reservations or volumes: \
         {made}. Start it with the earlier resources and unreserve or destroy them first, or use an empty work directory"
    ))
}

/// Whether tasks that hold `used` may go on on an agent that has `total`. What can be taken back at any time does not
/// count, and what is shared is used several times.
///
/// # Errors
/// If they hold more than there is: says what to do.
pub fn fits_running(total: &Resources, used: &Resources) -> Result<(), String> {
    let counted = used.filter(|resource| !resource.is_revocable() && !resource.is_shared());
    if total.contains(&counted) || is_planted(Bug::AgentShrinksBelowTasks) {
        return Ok(());
    }
    Err(format!(
        "the agent is to have {total}, but tasks that run on it hold {counted}. Start it with the earlier resources and \
         drain it first (mesos drain), or end those tasks"
    ))
}

/// Entries of `from` with a disk of their own, of a kind that `beside` has none of.
fn disks_beside(from: &Resources, beside: &Resources) -> Resources {
    from.filter(|resource| has_disk(resource) && !beside.iter().any(|other| resource.is_same_kind(other)))
}

pub(super) fn has_disk(resource: &Resource) -> bool {
    resource.qualifier.as_ref().is_some_and(|qualifier| !qualifier.disk.is_empty())
}

/// Whether an estimate says something new: one of its amounts comes, goes, or changes by more than 5 %.
fn is_news(before: &Resources, now: &Resources) -> bool {
    let (before, now): (BTreeMap<Arc<str>, i64>, BTreeMap<Arc<str>, i64>) = (before.scalars(), now.scalars());
    before.keys().chain(now.keys()).any(|name| {
        let amount = |of: &BTreeMap<Arc<str>, i64>| of.get(name).copied().unwrap_or(0);
        (amount(&before) - amount(&now)).abs() > amount(&before) / NEWS_PART
    })
}

impl Agent {
    /// All that it has, apart from what it has only as long as its tasks do not use what they hold.
    #[must_use]
    pub fn total(&self) -> &Resources {
        &self.own.total
    }

    /// Takes up what its options give now. After a boot of the host nothing runs any more.
    pub(super) fn take_options(&mut self, rebooted: bool, out: &mut Out) {
        // The shell asks whether it fits before it starts the machine; if it did not, what there was stays.
        let fits = |total: &Resources| rebooted || fits_running(total, &self.used).is_ok();
        let total = match is_planted(Bug::ReservationsForgotten) {
            true => Ok(self.options.total.clone()),
            false => reconfigured(&self.own.base, &self.own.total, &self.options.total),
        };
        if let Some(total) = total.ok().filter(fits) {
            self.own.total = total;
            self.own.base = self.options.total.clone();
            self.own_changed = true;
        }
        let made = self.own.total.filter(has_disk);
        if !made.is_empty() {
            // The agent may have stopped between its checkpoint and the directory.
            out.emit(Output::Volumes { made, removed: Resources::new() });
        }
    }

    /// Whether a launch fits. What is shared must be there, however often it is used.
    pub(super) fn fits(&self, wanted: &Resources) -> bool {
        let is_own = |resource: &Resource| !resource.is_shared();
        let all = self.own.total.plus(&self.oversubscribed);
        let shared_is_there = wanted
            .iter()
            .filter(|resource| resource.is_shared())
            .all(|shared| all.iter().any(|have| have.is_same_kind(shared)));
        shared_is_there && (all.minus(&self.used).contains(&wanted.filter(is_own)) || is_planted(Bug::AnythingFits))
    }

    /// An operation: what is consumed must be there, and no task may use it.
    pub(super) fn convert(&mut self, conversion: &Conversion, out: &mut Out) {
        if !self.own.total.minus(&self.used).contains(&conversion.consumed) {
            let message = format!(
                "{} was ordered and not done: not all of {} is there and free",
                conversion.name, conversion.consumed
            );
            out.emit(Output::Ignored { message });
            // The allocator believes that it was done.
            self.report_now = true;
            return;
        }
        let after = conversion.applied_to(&self.own.total);
        let before = std::mem::replace(&mut self.own.total, after);
        self.own_changed = true;
        let made = disks_beside(&conversion.converted, &before);
        let removed = disks_beside(&conversion.consumed, &self.own.total);
        if !made.is_empty() || !removed.is_empty() {
            out.emit(Output::Volumes { made, removed });
        }
    }

    /// The estimate of what tasks hold and do not use.
    pub(super) fn estimated(&mut self, estimate: Resources) {
        if is_news(&self.oversubscribed, &estimate) {
            self.oversubscribed = estimate;
            self.report_now = true;
        }
    }

    /// Whether more is used than there is. What is taken back at any time may be less than what is used, and
    /// what is shared is used several times.
    pub(super) fn check_totals(&self) -> Result<(), String> {
        let counted = self.used.filter(|resource| !resource.is_revocable() && !resource.is_shared());
        if self.own.total.contains(&counted) {
            return Ok(());
        }
        Err(format!("I2: {} is used of {}", self.used, self.own.total))
    }
}

/// Whether all of it is scalars, each taken back at any time.
#[must_use]
pub fn is_revocable(resources: &Resources) -> bool {
    resources.iter().all(|resource| resource.is_revocable() && matches!(resource.value, Value::Scalar(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Resources {
        mesos_model::resources_text::parse(text, "*").unwrap()
    }

    #[test]
    fn an_agent_keeps_what_operations_made_when_its_options_stay_or_give_more() {
        let base = read("cpus:4;mem:1000;ports:[1-9]");
        let total = read("cpus:1;cpus(ads):3;mem:1000;ports:[1-9]");
        assert_eq!(reconfigured(&base, &total, &base), Ok(total.clone()));
        let more = read("cpus:6;mem:1000;disk:5;ports:[1-12]");
        assert_eq!(reconfigured(&base, &total, &more), Ok(read("cpus:3;cpus(ads):3;mem:1000;disk:5;ports:[1-12]")));
        assert_eq!(reconfigured(&Resources::new(), &Resources::new(), &base), Ok(base));
    }

    #[test]
    fn an_agent_that_shrinks_loses_only_what_is_not_reserved() {
        let (base, total) = (read("cpus:4;mem:1000"), read("cpus:1;cpus(ads):3;mem:1000"));
        assert_eq!(reconfigured(&base, &total, &read("cpus:3;mem:500")), Ok(read("cpus(ads):3;mem:500")));
        let error = reconfigured(&base, &total, &read("cpus:2;mem:1000")).unwrap_err();
        for words in ["cpus:2 less", "cpus:1 is in reservations", "cpus(ads):3", "unreserve or destroy"] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn f49_an_agent_that_would_have_less_than_its_tasks_hold_is_refused() {
        let used = read("cpus:2;mem:100");
        assert_eq!(fits_running(&read("cpus:2;mem:100"), &used), Ok(()));
        let error = fits_running(&read("cpus:1;mem:100"), &used).unwrap_err();
        for words in ["cpus:1", "hold cpus:2", "earlier resources"] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn an_estimate_is_news_beyond_one_part_in_twenty() {
        for (before, now, news) in [
            ("cpus:2", "cpus:2", false),
            ("cpus:2", "cpus:1.9", false),
            ("cpus:2", "cpus:2.1", false),
            ("cpus:2", "cpus:1.8", true),
            ("cpus:2", "", true),
            ("", "mem:1", true),
            ("cpus:2;mem:100", "cpus:2;mem:90", true),
        ] {
            assert_eq!(is_news(&read(before), &read(now)), news, "{before} -> {now}");
        }
    }
}

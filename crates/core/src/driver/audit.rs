//! Audits: a standby compares what its machine holds with what the store does. A machine that holds something
//! else would decide on it once it leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mesos_model::{
    Time,
    planted::{Bug, is_planted},
};

use super::{Driver, Failure, Output, Phase, Snapshot};
use crate::{
    machine::Machine,
    row::{Row, RowKey},
};

/// How often a standby compares what it holds with the store. A leader does not: it has more to do, and who
/// follows it applies the same rows.
const EVERY: Duration = Duration::from_secs(60);
/// So many rows more, and it is done that much less often: an audit costs as much as a load, and a standby that is
/// busy with one does not take over.
const EVERY_ROWS: usize = 50_000;

/// When the next audit is due, after one of so many rows.
pub(super) fn next(now: Time, rows: usize) -> Time {
    let times = u32::try_from(1 + rows / EVERY_ROWS).unwrap_or(u32::MAX);
    now.after(EVERY.saturating_mul(times))
}

/// All rows of a service as they were at some moment between two commits, for an audit.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The rows, with what was committed up to a number between `snapshot.seq` and `head`.
    pub snapshot: Snapshot,
    /// Number of the last commit after they were read.
    pub head: u64,
}

/// A standby's comparison with the store that is under way.
pub(super) struct Auditing {
    /// What entries changed since it began: these rows say nothing.
    pub(super) touched: BTreeSet<RowKey>,
    /// The store's rows, once they are there.
    found: Option<Audit>,
}

impl<M: Machine> Driver<M> {
    /// Begins one.
    pub(super) fn audit(&mut self, now: Time, out: &mut Vec<Output<M::Output>>) {
        self.audit_at = Some(next(now, self.rows_loaded));
        let awaits_rows = self.auditing.as_ref().is_some_and(|auditing| auditing.found.is_none());
        if !awaits_rows && !is_planted(Bug::StandbyUnaudited) {
            self.auditing = Some(Auditing { touched: BTreeSet::new(), found: None });
            out.push(Output::Audit);
        }
    }

    /// The store's rows are there, or could not be had.
    pub(super) fn audited(&mut self, audit: Result<Audit, Failure>, out: &mut Vec<Output<M::Output>>) {
        match (audit, &mut self.auditing) {
            (Ok(audit), Some(auditing)) => {
                self.rows_loaded = audit.snapshot.rows.len();
                auditing.found = Some(audit);
                self.compare(out);
            }
            // The next one is due in time; whoever leads or loads needs none.
            (Ok(_) | Err(_), _) => self.auditing = None,
        }
    }

    /// Compares once everything is applied that the store's rows may hold.
    pub(super) fn compare(&mut self, out: &mut Vec<Output<M::Output>>) {
        let follows = matches!(self.phase, Phase::Standby | Phase::Asking);
        let is_ripe = |found: &Audit| found.head <= self.lease.seq;
        if !self.auditing.as_ref().and_then(|auditing| auditing.found.as_ref()).is_some_and(is_ripe) {
            return;
        }
        let Some(Auditing { touched, found: Some(found) }) = self.auditing.take() else { return };
        // Another history is another matter: the next grant or entry tells of it.
        if !follows || found.snapshot.term != self.applied || found.head < found.snapshot.seq {
            return;
        }
        let mut fresh = (self.make)();
        found.snapshot.rows.into_iter().for_each(|change| fresh.restore(change));
        let (Some(ours), Some(theirs)) = (self.machine.rows(), fresh.rows()) else { return };
        let by_key = |rows: Vec<Row>| -> BTreeMap<RowKey, Row> {
            rows.into_iter().map(|row| (row.key(), row)).filter(|(key, _)| !touched.contains(key)).collect()
        };
        let (ours, theirs) = (by_key(ours), by_key(theirs));
        let differ = |key: &&RowKey| ours.get(key) != theirs.get(key);
        let keys: BTreeSet<&RowKey> = ours.keys().chain(theirs.keys()).filter(differ).collect();
        if let Some(key) = keys.first() {
            out.push(Output::Diverged { key: (*key).clone(), rows: keys.len() });
            self.reload(out);
        }
    }
}

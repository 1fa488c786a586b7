//! What a machine is: state that changes only by rows and events, and tells what must be done.

use mesos_model::{Term, Time, Trace};

use crate::row::{Row, RowChange, RowKey};

/// What a step wants done. Rows are committed first; outputs leave only after that ("commit, then speak").
#[derive(Debug)]
pub struct Effects<O> {
    /// Row changes, in order.
    pub changes: Vec<RowChange>,
    /// Replies, messages and work, in order.
    pub outputs: Vec<O>,
    /// An output says what only the leader may say; see [`Effects::claim`].
    pub claims: bool,
}

impl<O> Default for Effects<O> {
    fn default() -> Self {
        Effects { changes: Vec::new(), outputs: Vec::new(), claims: false }
    }
}

impl<O> Effects<O> {
    /// Writes a row.
    pub fn put(&mut self, row: Row) {
        self.changes.push(RowChange::Put(row));
    }

    /// Deletes a row.
    pub fn delete(&mut self, key: RowKey) {
        self.changes.push(RowChange::Delete(key));
    }

    /// What is emitted in this batch leaves only after a commit, even if no row changes: it says how things are (a
    /// task is lost, a framework is unknown), and a leader that was deposed and does not know yet must not say so.
    pub fn claim(&mut self) {
        self.claims = true;
    }

    /// Has something done after the commit.
    pub fn emit(&mut self, output: O) {
        self.outputs.push(output);
    }
}

/// A service's decisions.
///
/// The same events give the same effects. Bad input gives an answer that says so, never a panic.
pub trait Machine {
    /// Everything that can happen to it.
    type Event;
    /// Everything it can have done, apart from rows.
    type Output;

    /// A row of this service, as loaded from the store or followed by a standby. No effects.
    fn restore(&mut self, change: RowChange);

    /// The keys of own cold rows that it cannot lead without. They are restored before a term begins; until then no
    /// cold rows are but those that a standby saw written.
    fn cold_wanted(&self) -> Vec<RowKey> {
        Vec::new()
    }

    /// All own rows that it decides on, as it holds them, in any order; `None` if it is not to be audited. A
    /// standby compares them with the store's from time to time.
    fn rows(&self) -> Option<Vec<Row>> {
        None
    }

    /// A row of the peer service: loaded at the start of a term or followed since. Rows are states, not
    /// events: applying one twice, or an old one before the newer, must end in the same state. A follower
    /// that does not lead gives no effects (`lead` comes later).
    fn peer(&mut self, now: Time, change: RowChange, effects: &mut Effects<Self::Output>);

    /// The keys of the peer's rows that it keeps something of, in any order: what a load of the peer's rows no longer
    /// shows of them is over.
    fn peer_keys(&self) -> Vec<RowKey> {
        Vec::new()
    }

    /// The peer's rows are now those of this term of the peer. A store that lost commits shows an earlier one
    /// again, until the peer's next leader commits.
    fn peer_wrote_in(&mut self, _term: Term) {}

    /// A row of the peer was there before the peer's rows were loaded again, and is not any more: deleted in a
    /// commit that was missed, or in one that the store has lost.
    fn peer_lost(&mut self, now: Time, key: RowKey, effects: &mut Effects<Self::Output>) {
        self.peer(now, RowChange::Delete(key), effects);
    }

    /// A term begins. All own rows were restored, and all rows of the peer up to its head were given.
    fn lead(&mut self, now: Time, term: Term, effects: &mut Effects<Self::Output>);

    /// The term is over; until the next `lead` there are no events. What was not in rows is forgotten.
    fn follow(&mut self);

    /// One event.
    fn step(&mut self, now: Time, event: Self::Event, effects: &mut Effects<Self::Output>);

    /// Called once after the last event of a batch, before the commit: work that is cheaper once per batch
    /// than once per event (offers).
    fn settle(&mut self, now: Time, effects: &mut Effects<Self::Output>);

    /// Called when `deadline` has come.
    fn tick(&mut self, now: Time, effects: &mut Effects<Self::Output>);

    /// When `tick` wants to be called next.
    fn deadline(&self) -> Option<Time>;

    /// The trace that an event belongs to, and the name of the span that its step is.
    fn trace(event: &Self::Event) -> Option<(Trace, &'static str)>;
}

//! The allocator's inputs, written down and lived again.
//!
//! A machine has no clock, randomness or IO, so the calls of [`Machine`] with their arguments are all that
//! decides what it does. [`Recorded`] writes each call before the machine gets it, and a hash of what came of it
//! after. [`parts`] puts such a record together again, and [`relive`] makes a call once more and says whether
//! the same came of it.
//!
//! A number of a call is its place among all calls of the record, from 1 on.

use mesos_model::{Term, Time, Trace, envelope};
use serde::{Deserialize, Serialize};

use crate::{
    allocation::{Allocator, Event, Options, Output},
    fnv::Fnv,
    machine::{Effects, Machine},
    row::{Row, RowChange, RowKey},
};

/// A call of [`Machine`] with its arguments, apart from the time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// [`Machine::restore`].
    Restore(RowChange),
    /// [`Machine::peer`].
    Peer(RowChange),
    /// [`Machine::peer_wrote_in`].
    PeerWroteIn(Term),
    /// [`Machine::peer_lost`].
    PeerLost(RowKey),
    /// [`Machine::lead`].
    Lead(Term),
    /// [`Machine::follow`].
    Follow,
    /// [`Machine::step`].
    Step(Event),
    /// [`Machine::settle`].
    Settle,
    /// [`Machine::tick`].
    Tick,
}

impl Input {
    /// Makes the call.
    pub fn apply(self, now: Time, machine: &mut Allocator, effects: &mut Effects<Output>) {
        match self {
            Input::Restore(change) => machine.restore(change),
            Input::Peer(change) => machine.peer(now, change, effects),
            Input::PeerWroteIn(term) => machine.peer_wrote_in(term),
            Input::PeerLost(key) => machine.peer_lost(now, key, effects),
            Input::Lead(term) => machine.lead(now, term, effects),
            Input::Follow => machine.follow(),
            Input::Step(event) => machine.step(now, event, effects),
            Input::Settle => machine.settle(now, effects),
            Input::Tick => machine.tick(now, effects),
        }
    }
}

/// What came of a call: how much, and a hash of all of it in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// FNV-1a over the row changes and outputs as MessagePack.
    pub hash: u64,
    /// How many rows were written or deleted.
    pub changes: u64,
    /// How many outputs there were.
    pub outputs: u64,
}

impl Digest {
    /// The digest of effects; `None` if there are none.
    #[must_use]
    pub fn of(effects: &Effects<Output>) -> Option<Digest> {
        if effects.changes.is_empty() && effects.outputs.is_empty() {
            return None;
        }
        let mut hash = Fnv::default();
        // Nothing in rows and outputs is beyond MessagePack; if something ever is, it is left out of the hash
        // here as well as in the replay.
        let _ = envelope::write_body(&mut hash, &effects.changes);
        let _ = envelope::write_body(&mut hash, &effects.outputs);
        Some(Digest { hash: hash.0, changes: effects.changes.len() as u64, outputs: effects.outputs.len() as u64 })
    }
}

/// Where a section begins: a machine was made, and what follows is its life.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Begin {
    /// Version of the program that ran it.
    pub program: String,
    /// What it was made with, its seed included.
    pub options: Options,
    /// It is the first one of its process: what the process before it had not written by its end is missing.
    #[serde(default)]
    pub first: bool,
}

/// One piece of a record, in the order in which things happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// A machine was made.
    Begin(Box<Begin>),
    /// It is called.
    Call {
        /// The time that it is told; of a call without one the time of the call before it.
        at: Time,
        /// The call.
        input: Input,
    },
    /// What came of the call before. Absent if nothing came of it.
    Came(Digest),
    /// Recording ended while the machine went on.
    End {
        /// Why, for people.
        why: String,
    },
}

/// Takes what is recorded. It must not hold up the machine: a sink that cannot take more closes.
pub trait Sink: Send {
    /// Writes an entry, or drops it if the sink is closed.
    fn write(&mut self, entry: &Entry);

    /// Whether it still takes entries; once it does not it never will again.
    fn is_open(&self) -> bool;
}

/// An allocator whose calls are written to a sink, if it has one.
pub struct Recorded {
    machine: Allocator,
    sink: Option<Box<dyn Sink>>,
    at: Time,
}

impl Recorded {
    /// Nothing is recorded.
    #[must_use]
    pub fn off(machine: Allocator) -> Recorded {
        Recorded { machine, sink: None, at: Time(0) }
    }

    /// A machine that was just made and has not been called yet.
    #[must_use]
    pub fn on(machine: Allocator, begin: Begin, mut sink: Box<dyn Sink>) -> Recorded {
        sink.write(&Entry::Begin(Box::new(begin)));
        Recorded { machine, sink: Some(sink), at: Time(0) }
    }

    /// The machine, to look at.
    #[must_use]
    pub fn machine(&self) -> &Allocator {
        &self.machine
    }

    /// Whether calls are written.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.sink.is_some()
    }

    fn call(&mut self, now: Option<Time>, input: Input, effects: &mut Effects<Output>) {
        self.at = now.unwrap_or(self.at);
        let Some(sink) = &mut self.sink else { return input.apply(self.at, &mut self.machine, effects) };
        // Written first, so that a record also holds the call that a process did not survive.
        let entry = Entry::Call { at: self.at, input };
        sink.write(&entry);
        let Entry::Call { input, .. } = entry else { return };
        let mut came = Effects::default();
        input.apply(self.at, &mut self.machine, &mut came);
        if let Some(digest) = Digest::of(&came) {
            sink.write(&Entry::Came(digest));
        }
        if !sink.is_open() {
            self.sink = None;
        }
        effects.changes.append(&mut came.changes);
        effects.outputs.append(&mut came.outputs);
        effects.claims |= came.claims;
    }

    /// A call that has no effects.
    fn quiet(&mut self, input: Input) {
        self.call(None, input, &mut Effects::default());
    }
}

impl Machine for Recorded {
    type Event = Event;
    type Output = Output;

    fn restore(&mut self, change: RowChange) {
        self.quiet(Input::Restore(change));
    }

    fn cold_wanted(&self) -> Vec<RowKey> {
        self.machine.cold_wanted()
    }

    fn rows(&self) -> Option<Vec<Row>> {
        self.machine().rows()
    }

    fn peer(&mut self, now: Time, change: RowChange, effects: &mut Effects<Output>) {
        self.call(Some(now), Input::Peer(change), effects);
    }

    fn peer_keys(&self) -> Vec<RowKey> {
        self.machine.peer_keys()
    }

    fn peer_wrote_in(&mut self, term: Term) {
        self.quiet(Input::PeerWroteIn(term));
    }

    fn peer_lost(&mut self, now: Time, key: RowKey, effects: &mut Effects<Output>) {
        self.call(Some(now), Input::PeerLost(key), effects);
    }

    fn lead(&mut self, now: Time, term: Term, effects: &mut Effects<Output>) {
        self.call(Some(now), Input::Lead(term), effects);
    }

    fn follow(&mut self) {
        self.quiet(Input::Follow);
    }

    fn step(&mut self, now: Time, event: Event, effects: &mut Effects<Output>) {
        self.call(Some(now), Input::Step(event), effects);
    }

    fn settle(&mut self, now: Time, effects: &mut Effects<Output>) {
        self.call(Some(now), Input::Settle, effects);
    }

    fn tick(&mut self, now: Time, effects: &mut Effects<Output>) {
        self.call(Some(now), Input::Tick, effects);
    }

    fn deadline(&self) -> Option<Time> {
        self.machine.deadline()
    }

    fn trace(event: &Event) -> Option<(Trace, &'static str)> {
        Allocator::trace(event)
    }
}

/// What a record says came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// This.
    Effects(Digest),
    /// Nothing.
    Nothing,
    /// The record ends with the call, so nobody knows.
    Unknown,
}

/// A part of a record, calls together with what came of them.
#[derive(Clone, Debug)]
pub enum Part {
    /// A machine was made.
    Begin(Box<Begin>),
    /// It was called.
    Call {
        /// The call's number.
        number: u64,
        /// When.
        at: Time,
        /// The call.
        input: Input,
        /// What came of it.
        came: Came,
    },
    /// Recording ended.
    End {
        /// Why.
        why: String,
    },
}

/// Entries as parts: each call with what came of it.
pub fn parts(entries: impl IntoIterator<Item = Entry>) -> impl Iterator<Item = Part> {
    let mut entries = entries.into_iter().peekable();
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            return Some(match entries.next()? {
                Entry::Begin(begin) => Part::Begin(begin),
                Entry::End { why } => Part::End { why },
                Entry::Call { at, input } => {
                    number += 1;
                    let came = match entries.peek() {
                        Some(Entry::Came(digest)) => Came::Effects(*digest),
                        Some(Entry::Call { .. }) => Came::Nothing,
                        Some(Entry::Begin(begin)) if !begin.first => Came::Nothing,
                        Some(Entry::Begin(_) | Entry::End { .. }) | None => Came::Unknown,
                    };
                    Part::Call { number, at, input, came }
                }
                // It went with its call.
                Entry::Came(_) => continue,
            });
        }
    })
}

/// Something else came of a call than the record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// The call's number.
    pub number: u64,
    /// What the record says; `None` is nothing.
    pub recorded: Option<Digest>,
    /// What came now.
    pub replayed: Option<Digest>,
}

/// A call, made again.
#[derive(Debug)]
pub struct Lived {
    /// What came of it.
    pub effects: Effects<Output>,
    /// If it was something else than recorded.
    pub divergence: Option<Divergence>,
}

/// Makes the call of a part again.
pub fn relive(machine: &mut Allocator, number: u64, at: Time, input: Input, came: Came) -> Lived {
    let mut effects = Effects::default();
    input.apply(at, machine, &mut effects);
    let recorded = match came {
        Came::Unknown => return Lived { effects, divergence: None },
        Came::Nothing => None,
        Came::Effects(digest) => Some(digest),
    };
    let replayed = Digest::of(&effects);
    let divergence = (recorded != replayed).then_some(Divergence { number, recorded, replayed });
    Lived { effects, divergence }
}

#[cfg(test)]
mod tests;

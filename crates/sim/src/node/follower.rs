//! Follows a change stream: over the bus at once, from the store after a gap or silence.
//!
//! The same decisions as `mesos_runtime::follow`, without its tasks.

use mesos_core::driver::Changes;
use mesos_model::Term;

use crate::store::{Entries, ReadError};

/// What a follower gives its driver.
#[derive(Debug)]
pub enum Followed {
    /// The next entry.
    Entry(Changes),
    /// Load and follow again.
    Gap,
}

/// A follower of one stream.
#[derive(Debug, Default)]
pub struct Follower {
    /// Tells it from those before it.
    pub generation: u64,
    /// The last number passed on.
    pub last: u64,
    term: Option<Term>,
    active: bool,
    reading: bool,
    queued: Vec<Changes>,
    heard: u64,
}

/// How long the bus may be silent before the store is asked, in milliseconds.
pub const SILENCE: u64 = 1000;

impl Follower {
    /// Follows anew after this entry. The store is to be read at once.
    pub fn start(&mut self, after: u64) {
        *self = Follower {
            generation: self.generation + 1,
            last: after,
            active: true,
            reading: true,
            ..Follower::default()
        };
    }

    /// Whether it is time to ask the store.
    pub fn wants_to_read(&mut self, now: u64) -> bool {
        let wants = self.active && !self.reading && now >= self.heard + SILENCE;
        self.reading |= wants;
        wants
    }

    /// The term of the last entry; the default if it is not known yet.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term.unwrap_or_default()
    }

    /// Whether it follows at all.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// An entry was announced; true if the store is to be read.
    pub fn announced(&mut self, now: u64, entry: Changes, out: &mut Vec<Followed>) -> bool {
        if !self.active {
            return false;
        }
        if self.reading {
            self.queued.push(entry);
            return false;
        }
        let other = self.term.is_some_and(|term| term != entry.term && term.epoch <= entry.term.epoch);
        if other && entry.seq <= self.last {
            self.gap(out);
        } else if entry.seq == self.last + 1 {
            // Only what goes on from here shows that nothing was missed.
            self.heard = now;
            self.next(entry, out);
        } else if entry.seq > self.last + 1 {
            self.reading = true;
            return true;
        }
        false
    }

    /// The store has answered; true if it is to be read again.
    pub fn read(&mut self, now: u64, entries: Entries, out: &mut Vec<Followed>) -> bool {
        self.reading = false;
        self.heard = now;
        match entries {
            Err(ReadError::Gap) => self.gap(out),
            Err(ReadError::Unavailable) => {}
            Ok(entries) => {
                for entry in entries {
                    if !self.active || entry.seq <= self.last {
                        continue;
                    }
                    if entry.seq == self.last + 1 {
                        self.next(entry, out);
                    } else {
                        self.gap(out);
                    }
                }
            }
        }
        let mut again = false;
        for entry in std::mem::take(&mut self.queued) {
            again |= self.announced(now, entry, out);
        }
        again
    }

    fn next(&mut self, entry: Changes, out: &mut Vec<Followed>) {
        self.last = entry.seq;
        self.term = Some(entry.term);
        out.push(Followed::Entry(entry));
    }

    fn gap(&mut self, out: &mut Vec<Followed>) {
        if std::mem::take(&mut self.active) {
            out.push(Followed::Gap);
        }
    }
}

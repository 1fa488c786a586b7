//! The simulated store: fenced as `mesos_ports::store` says, and able to lose its last commits.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use mesos_core::{
    driver::{Changes, Done, Failure, Granted, Lease, Snapshot},
    row::{Row, RowChange, RowKey},
};
use mesos_model::{
    Term, Time,
    planted::{Bug, is_planted},
};

/// What a read of a stream gives.
pub type Entries = Result<Vec<Changes>, ReadError>;

/// Why a stream cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// No answer.
    Unavailable,
    /// Trimmed or rolled back: load instead.
    Gap,
}

/// One commit.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What is shown.
    pub lease: Lease,
    /// Same for a repeat.
    pub batch: u128,
    /// The rows.
    pub changes: Arc<Vec<RowChange>>,
    /// How far the peer was applied.
    pub peer_cursor: u64,
    /// How long the lease runs.
    pub length: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Header {
    exists: bool,
    term: Term,
    seq: u64,
    /// Term of the last commit.
    last: Term,
    lease_until: u64,
    peer_cursor: u64,
    last_batch: u128,
}

struct Undo {
    header: Header,
    rows: Vec<(RowKey, Option<Row>)>,
    committed: bool,
}

/// One service's record, rows and change stream.
#[derive(Default)]
pub struct Ledger {
    /// It is an agent's own disk: nobody else writes there.
    is_disk: bool,
    header: Header,
    /// The rows.
    pub rows: BTreeMap<RowKey, Row>,
    stream: VecDeque<Changes>,
    undo: VecDeque<Undo>,
}

/// How many operations can be lost.
const UNDO_MAX: usize = 64;

impl Ledger {
    /// An agent's disk.
    #[must_use]
    pub fn disk() -> Ledger {
        Ledger { is_disk: true, ..Ledger::default() }
    }

    /// The term that holds the record.
    #[must_use]
    pub fn term(&self) -> Term {
        self.header.term
    }

    /// The last commit's number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.header.seq
    }

    /// How far this service has applied its peer.
    #[must_use]
    pub fn peer_cursor(&self) -> u64 {
        self.header.peer_cursor
    }

    /// Whether anything was ever written and not wiped.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.header.exists
    }

    fn push_undo(&mut self, rows: Vec<(RowKey, Option<Row>)>, committed: bool, header: Header) {
        self.undo.push_back(Undo { header, rows, committed });
        if self.undo.len() > UNDO_MAX {
            self.undo.pop_front();
        }
    }

    /// Takes a lease.
    ///
    /// # Errors
    /// `Held` while somebody else's lease runs.
    pub fn acquire(
        &mut self,
        clock: u64,
        leader: u128,
        previous: Option<u128>,
        epoch_min: u64,
        length: Duration,
    ) -> Result<Granted, Failure> {
        let before = self.header;
        let own = before.term.leader == leader || previous == Some(before.term.leader);
        if before.exists && before.lease_until > clock && !own {
            return Err(Failure::Held { left: Duration::from_millis(before.lease_until - clock) });
        }
        let epoch = (before.term.epoch + 1).max(epoch_min);
        self.push_undo(Vec::new(), false, before);
        self.header.exists = true;
        self.header.term = Term { epoch, leader };
        self.header.lease_until = clock + millis(length);
        self.header.last_batch = 0;
        let (last, peer_cursor) = (before.last, before.peer_cursor);
        Ok(Granted { epoch, seq: before.seq, last, peer_cursor, store_time: Time(clock) })
    }

    /// Gives the lease back.
    pub fn release(&mut self, clock: u64, lease: Lease) {
        if self.header.term == lease.term && self.header.seq == lease.seq {
            self.header.lease_until = clock;
        }
    }

    /// The holder's process is dead, and the store knows (a lock on a file).
    pub fn unlock(&mut self) {
        self.header.lease_until = 0;
    }

    /// One fenced step; `Ok(None)` for a repeat that was done before.
    ///
    /// # Errors
    /// As the fence says.
    pub fn commit(&mut self, clock: u64, commit: &Commit) -> Result<(Done, bool), Failure> {
        let header = self.header;
        let fenced = self.is_disk || !is_planted(Bug::StoreWithoutFence);
        let numbered = fenced && (self.is_disk || !is_planted(Bug::StoreWithoutSeq));
        if !header.exists && fenced {
            return Err(Failure::Fenced { epoch: 0 });
        }
        if header.term != commit.lease.term && fenced {
            return Err(Failure::Fenced { epoch: header.term.epoch });
        }
        if header.last_batch == commit.batch {
            return Ok((Done { seq: header.seq, store_time: Time(clock) }, false));
        }
        if header.seq != commit.lease.seq && numbered {
            return Err(Failure::RolledBack);
        }
        let mut undo = Vec::with_capacity(commit.changes.len());
        for change in commit.changes.iter() {
            let old = match change {
                RowChange::Put(row) => self.rows.insert(row.key(), row.clone()),
                RowChange::Delete(key) => self.rows.remove(key),
            };
            undo.push((change.key(), old));
        }
        self.push_undo(undo, true, header);
        let seq = header.seq + 1;
        self.header = Header {
            exists: true,
            seq,
            last: commit.lease.term,
            lease_until: clock + millis(commit.length),
            peer_cursor: commit.peer_cursor,
            last_batch: commit.batch,
            term: header.term,
        };
        self.stream.push_back(Changes { seq, term: commit.lease.term, changes: commit.changes.clone() });
        Ok((Done { seq, store_time: Time(clock) }, true))
    }

    /// A replica that lacks the last `count` operations takes over. Says how many commits were lost.
    pub fn roll_back(&mut self, count: usize) -> usize {
        let mut lost = 0;
        for _ in 0..count {
            let Some(undo) = self.undo.pop_back() else { break };
            for (key, old) in undo.rows.into_iter().rev() {
                match old {
                    Some(row) => self.rows.insert(key, row),
                    None => self.rows.remove(&key),
                };
            }
            if undo.committed {
                self.stream.pop_back();
                lost += 1;
            }
            self.header = undo.header;
        }
        lost
    }

    /// Drops entries up to and with `up_to`.
    pub fn trim(&mut self, up_to: u64) {
        while self.stream.front().is_some_and(|entry| entry.seq <= up_to) {
            self.stream.pop_front();
        }
    }

    /// All rows but the cold ones.
    #[must_use]
    pub fn load(&self) -> Snapshot {
        let hot = self.rows.values().filter(|row| !matches!(row, Row::Body(_)));
        Snapshot { rows: hot.cloned().map(RowChange::Put).collect(), seq: self.header.seq, term: self.header.last }
    }

    /// Some of the rows, as far as they are there.
    #[must_use]
    pub fn get(&self, keys: &[RowKey]) -> Vec<RowChange> {
        keys.iter().filter_map(|key| self.rows.get(key)).cloned().map(RowChange::Put).collect()
    }

    /// The entries after `after`.
    ///
    /// # Errors
    /// `Gap` if they cannot be had.
    pub fn read(&self, after: u64) -> Entries {
        if after > self.header.seq {
            return Err(ReadError::Gap);
        }
        let first = self.stream.front().map_or(self.header.seq + 1, |entry| entry.seq);
        if after + 1 < first {
            return Err(ReadError::Gap);
        }
        Ok(self.stream.iter().filter(|entry| entry.seq > after).cloned().collect())
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(3);

    fn commit(term: Term, seq: u64, batch: u128) -> Commit {
        let lease = Lease { term, seq };
        Commit { lease, batch, changes: Arc::new(Vec::new()), peer_cursor: 0, length: LENGTH }
    }

    #[test]
    fn a_commit_needs_the_term_and_the_number_and_is_repeated_harmlessly() {
        let mut ledger = Ledger::default();
        let none = commit(Term { epoch: 1, leader: 7 }, 0, 1);
        assert_eq!(ledger.commit(0, &none).map(|_| ()), Err(Failure::Fenced { epoch: 0 }));
        let granted = ledger.acquire(0, 7, None, 0, LENGTH).expect("free");
        assert_eq!((granted.epoch, granted.seq), (1, 0));
        let first = commit(Term { epoch: 1, leader: 7 }, 0, 1);
        assert_eq!(ledger.commit(0, &first).map(|(done, fresh)| (done.seq, fresh)), Ok((1, true)));
        assert_eq!(ledger.commit(0, &first).map(|(done, fresh)| (done.seq, fresh)), Ok((1, false)));
        let stale = commit(Term { epoch: 1, leader: 8 }, 1, 2);
        assert_eq!(ledger.commit(0, &stale).map(|_| ()), Err(Failure::Fenced { epoch: 1 }));
        assert!(matches!(ledger.acquire(10, 8, None, 0, LENGTH), Err(Failure::Held { .. })));
    }

    #[test]
    fn lost_commits_are_seen_by_the_next_commit_and_by_readers() {
        let mut ledger = Ledger::default();
        let _ = ledger.acquire(0, 7, None, 0, LENGTH);
        let term = Term { epoch: 1, leader: 7 };
        for seq in 0..5 {
            ledger.commit(0, &commit(term, seq, u128::from(seq) + 1)).expect("ours");
        }
        assert_eq!(ledger.roll_back(2), 2);
        assert_eq!(ledger.commit(0, &commit(term, 5, 9)).map(|_| ()), Err(Failure::RolledBack));
        assert_eq!(ledger.read(5).map(|entries| entries.len()), Err(ReadError::Gap));
        assert_eq!(ledger.read(1).map(|entries| entries.len()), Ok(2));
        ledger.trim(2);
        assert_eq!(ledger.read(1).map(|entries| entries.len()), Err(ReadError::Gap));
    }
}

//! What is appended to the file, and how it is read back.

use bytes::{Buf, BufMut, Bytes};
use mesos_model::Term;
use mesos_ports::store::Change;
use uuid::Uuid;

use crate::codec;

/// One change of the state. Replaying a file's events in order gives the state again.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// A service's record as a whole: a new term, or the start of a rewritten file.
    Term { service: String, record: Stored },
    /// A commit: the record moves to `seq`, rows change, an entry is appended.
    Committed { service: String, record: Stored, changes: Vec<Change> },
    /// Entries up to and with `up_to` are dropped.
    Trimmed { service: String, up_to: u64 },
    /// A row of a rewritten file.
    Row { service: String, key: String, value: Bytes },
    /// An entry of a rewritten file.
    Entry { service: String, seq: u64, term: Term, changes: Vec<Change> },
}

/// The part of a record that outlives the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) epoch: u64,
    pub(super) leader: Uuid,
    pub(super) seq: u64,
    /// The term of the last commit.
    pub(super) last: Term,
    /// The last commit's batch, and when it was made.
    pub(super) batch: Uuid,
    pub(super) at_ms: u64,
    pub(super) peer_cursor: u64,
}

const TERM: u8 = 1;
const COMMITTED: u8 = 2;
const TRIMMED: u8 = 3;
const ROW: u8 = 4;
const ENTRY: u8 = 5;

impl Event {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Event::Term { service, record } => {
                start(out, TERM, service);
                record.encode(out);
            }
            Event::Committed { service, record, changes } => {
                start(out, COMMITTED, service);
                record.encode(out);
                codec::put_changes(out, changes);
            }
            Event::Trimmed { service, up_to } => {
                start(out, TRIMMED, service);
                out.put_u64_le(*up_to);
            }
            Event::Row { service, key, value } => {
                start(out, ROW, service);
                codec::put_run(out, key.as_bytes());
                codec::put_run(out, value);
            }
            Event::Entry { service, seq, term, changes } => {
                start(out, ENTRY, service);
                out.put_u64_le(*seq);
                put_term(out, *term);
                codec::put_changes(out, changes);
            }
        }
    }

    /// `None` when the bytes are of another version.
    pub(super) fn decode(mut input: Bytes) -> Option<Event> {
        let kind = input.try_get_u8().ok()?;
        let service = codec::take_text(&mut input)?;
        let event = match kind {
            TERM => Event::Term { service, record: Stored::decode(&mut input)? },
            COMMITTED => {
                let record = Stored::decode(&mut input)?;
                Event::Committed { service, record, changes: codec::take_changes(&mut input)? }
            }
            TRIMMED => Event::Trimmed { service, up_to: input.try_get_u64_le().ok()? },
            ROW => {
                let key = codec::take_text(&mut input)?;
                Event::Row { service, key, value: codec::take_run(&mut input)? }
            }
            ENTRY => {
                let seq = input.try_get_u64_le().ok()?;
                let term = take_term(&mut input)?;
                Event::Entry { service, seq, term, changes: codec::take_changes(&mut input)? }
            }
            _ => return None,
        };
        input.is_empty().then_some(event)
    }
}

impl Stored {
    /// The term of this record.
    pub(super) fn term(&self) -> Term {
        Term { epoch: self.epoch, leader: self.leader.as_u128() }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.epoch);
        out.put_u128_le(self.leader.as_u128());
        out.put_u64_le(self.seq);
        put_term(out, self.last);
        out.put_u128_le(self.batch.as_u128());
        out.put_u64_le(self.at_ms);
        out.put_u64_le(self.peer_cursor);
    }

    fn decode(input: &mut Bytes) -> Option<Stored> {
        Some(Stored {
            epoch: input.try_get_u64_le().ok()?,
            leader: Uuid::from_u128(input.try_get_u128_le().ok()?),
            seq: input.try_get_u64_le().ok()?,
            last: take_term(input)?,
            batch: Uuid::from_u128(input.try_get_u128_le().ok()?),
            at_ms: input.try_get_u64_le().ok()?,
            peer_cursor: input.try_get_u64_le().ok()?,
        })
    }
}

fn put_term(out: &mut Vec<u8>, term: Term) {
    out.put_u64_le(term.epoch);
    out.put_u128_le(term.leader);
}

fn take_term(input: &mut Bytes) -> Option<Term> {
    Some(Term { epoch: input.try_get_u64_le().ok()?, leader: input.try_get_u128_le().ok()? })
}

fn start(out: &mut Vec<u8>, kind: u8, service: &str) {
    out.put_u8(kind);
    codec::put_run(out, service.as_bytes());
}

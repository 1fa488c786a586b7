//! Large messages in pieces. The sender cuts a payload that the server would refuse; each receiver
//! puts it together again, with bounds on what it holds for messages that never become whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mesos_ports::bus::{BusError, Headers, Message};
use tracing::debug;

use super::headers;
use crate::subject::PAYLOAD_BYTES_MAX;

/// Marks a chunk: `<id of the message> <index> <number of chunks>`.
pub(super) const CHUNK_HEADER: &str = "Mesos-Bus-Chunk";

/// A message of which nothing came for so long is given up.
pub(super) const PARTIAL_LIFETIME: Duration = Duration::from_secs(10);

/// Unfinished messages that one subscription holds at most.
const PARTIALS_MAX: usize = 64;

/// Room for the marks and the protocol's own words in a message, in bytes.
const HEADROOM_BYTES: usize = 512;

/// A server that takes less than this in one message is of no use.
const CHUNK_BYTES_MIN: usize = 1024;

/// How much payload goes into one NATS message with these headers.
pub(super) fn payload_limit(max_payload: usize, headers: &Headers) -> Result<usize, BusError> {
    // Each name stands a second time in the header that keeps the order.
    let header_bytes: usize = headers.iter().map(|(name, value)| 2 * name.len() + value.len() + 8).sum();
    let limit = max_payload.saturating_sub(HEADROOM_BYTES + header_bytes);
    if limit < CHUNK_BYTES_MIN {
        return Err(BusError::Refused(format!("the server takes {max_payload} bytes a message, which is too few")));
    }
    Ok(limit)
}

/// Cuts a payload. The inbox is unique for a connection and the number within it, so both make an id.
pub(super) fn cut(inbox: &str, number: u64, limit: usize, payload: &Bytes) -> impl Iterator<Item = (String, Bytes)> {
    let count = payload.len().div_ceil(limit);
    (0..count).map(move |index| {
        let start = index * limit;
        let end = payload.len().min(start + limit);
        (format!("{inbox}{number} {index} {count}"), payload.slice(start..end))
    })
}

/// Bytes of unfinished messages that a connection holds, over all its subscriptions.
#[derive(Default)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= PAYLOAD_BYTES_MAX)
        });
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Puts the chunks of one subscription together. Chunks of one message come in order on one
/// connection, so a gap means that one was lost and the message with it.
pub(super) struct Assembler {
    partials: HashMap<String, Partial>,
    budget: Arc<Budget>,
}

struct Partial {
    payload: BytesMut,
    next_index: u32,
    touched: Instant,
}

impl Assembler {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Assembler { partials: HashMap::new(), budget }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partials.is_empty()
    }

    /// The message, if this was all of it or the last of its chunks.
    pub(super) fn take(&mut self, message: async_nats::Message) -> Option<Message> {
        let mark = message.headers.as_ref().and_then(|map| map.get(CHUNK_HEADER));
        let payload = match mark {
            None => message.payload,
            Some(mark) => self.take_chunk(mark.as_str(), &message.payload)?,
        };
        Some(Message {
            subject: message.subject.to_string(),
            reply: message.reply.map(|reply| reply.to_string()),
            headers: message.headers.as_ref().map(headers::decode).unwrap_or_default(),
            payload,
        })
    }

    fn take_chunk(&mut self, mark: &str, chunk: &Bytes) -> Option<Bytes> {
        let mut words = mark.split(' ');
        let id = words.next()?;
        let index: u32 = words.next()?.parse().ok()?;
        let count: u32 = words.next()?.parse().ok()?;
        if index == 0 {
            self.open(id);
        }
        let is_next = self.partials.get(id)?.next_index == index;
        if !is_next || index >= count || !self.budget.take(chunk.len()) {
            debug!(id, index, "a message of several chunks is given up");
            self.forget(id);
            return None;
        }
        let partial = self.partials.get_mut(id)?;
        partial.payload.extend_from_slice(chunk);
        partial.next_index += 1;
        partial.touched = Instant::now();
        if partial.next_index < count {
            return None;
        }
        let whole = self.partials.remove(id)?;
        self.budget.give_back(whole.payload.len());
        Some(whole.payload.freeze())
    }

    fn open(&mut self, id: &str) {
        self.drop_old();
        self.forget(id);
        if self.partials.len() >= PARTIALS_MAX {
            let oldest = self.partials.iter().min_by_key(|(_, partial)| partial.touched);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.forget(&oldest);
            }
        }
        let partial = Partial { payload: BytesMut::new(), next_index: 0, touched: Instant::now() };
        self.partials.insert(id.to_owned(), partial);
    }

    /// Gives up the messages of which nothing came for long.
    pub(super) fn drop_old(&mut self) {
        let budget = &self.budget;
        self.partials.retain(|_, partial| {
            let keep = partial.touched.elapsed() < PARTIAL_LIFETIME;
            if !keep {
                budget.give_back(partial.payload.len());
            }
            keep
        });
    }

    fn forget(&mut self, id: &str) {
        if let Some(partial) = self.partials.remove(id) {
            self.budget.give_back(partial.payload.len());
        }
    }
}

impl Drop for Assembler {
    fn drop(&mut self) {
        let held = self.partials.values().map(|partial| partial.payload.len()).sum();
        self.budget.give_back(held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(budget: &Budget) -> usize {
        budget.0.load(Ordering::Relaxed)
    }

    fn pieces(number: u64, bytes: usize, limit: usize) -> (Bytes, Vec<(String, Bytes)>) {
        let payload: Bytes = (0..bytes).map(|at| (at % 251) as u8).collect();
        let all = cut("_INBOX.x.", number, limit, &payload).collect();
        (payload, all)
    }

    #[test]
    fn what_was_cut_becomes_whole_again_even_if_two_are_mixed() {
        let budget = Arc::new(Budget::default());
        let mut assembler = Assembler::new(budget.clone());
        let (one, one_pieces) = pieces(1, 10_000, 3_000);
        let (two, two_pieces) = pieces(2, 12_000, 3_000);
        assert_eq!((one_pieces.len(), two_pieces.len()), (4, 4));
        let mut whole = Vec::new();
        for (a, b) in one_pieces.iter().zip(&two_pieces) {
            whole.extend(assembler.take_chunk(&a.0, &a.1));
            whole.extend(assembler.take_chunk(&b.0, &b.1));
        }
        assert_eq!(whole, [one, two]);
        assert!(assembler.is_empty());
        assert_eq!(used(&budget), 0);
    }

    #[test]
    fn a_gap_a_repetition_or_a_missing_start_gives_the_message_up() {
        let budget = Arc::new(Budget::default());
        let mut assembler = Assembler::new(budget.clone());
        let (_, all) = pieces(1, 9_000, 3_000);
        for order in [[0, 2, 1], [1, 2, 0], [0, 0, 2]] {
            for at in order {
                assert_eq!(assembler.take_chunk(&all[at].0, &all[at].1), None);
            }
        }
        drop(assembler);
        assert_eq!(used(&budget), 0);
    }

    #[test]
    fn unfinished_messages_are_bounded_in_number_and_bytes() {
        let budget = Arc::new(Budget::default());
        let mut assembler = Assembler::new(budget.clone());
        for number in 0..200 {
            let (_, all) = pieces(number, 6_000, 3_000);
            assembler.take_chunk(&all[0].0, &all[0].1);
        }
        assert_eq!(assembler.partials.len(), PARTIALS_MAX);
        assert_eq!(used(&budget), PARTIALS_MAX * 3_000);

        let chunk = Bytes::from(vec![0; 16 << 20]);
        for number in 1000..1010 {
            assembler.take_chunk(&format!("x{number} 0 9"), &chunk);
        }
        assert!(used(&budget) <= PAYLOAD_BYTES_MAX);
    }

    #[test]
    fn marks_that_make_no_sense_are_ignored() {
        let mut assembler = Assembler::new(Arc::default());
        for mark in ["", "x", "x 0", "x a 2", "x 0 0", "x -1 2", "x 5 2", "x 0 99999999999"] {
            assert_eq!(assembler.take_chunk(mark, &Bytes::from_static(b"a")), None, "{mark}");
        }
        assert!(assembler.is_empty());
    }

    #[test]
    fn the_payload_limit_leaves_room_for_headers() {
        let headers = vec![("a".repeat(100), "b".repeat(1000))];
        let limit = payload_limit(1 << 20, &headers).unwrap();
        assert!(limit < (1 << 20) - 1100 && limit > (1 << 20) - 2500);
        assert!(matches!(payload_limit(1024, &Headers::new()), Err(BusError::Refused(_))));
    }
}

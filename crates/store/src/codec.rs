//! The changes of one commit as one run of bytes, so that neither Redis nor a log file looks into them.
//!
//! Layout, all numbers little-endian: `count: u32`, then per change `tag: u8` (0 delete, 1 put),
//! `key length: u32`, key, and for a put `value length: u32`, value.

use bytes::{Buf, BufMut, Bytes};
use mesos_ports::store::Change;

const DELETE: u8 = 0;
const PUT: u8 = 1;

/// How many bytes [`put_changes`] will write.
pub(crate) fn encoded_len(changes: &[Change]) -> usize {
    changes.iter().fold(4, |sum, change| sum + 9 + change.key.len() + change.value.as_ref().map_or(0, Bytes::len))
}

/// Appends the changes to `out`.
pub(crate) fn put_changes(out: &mut Vec<u8>, changes: &[Change]) {
    out.reserve(encoded_len(changes));
    out.put_u32_le(changes.len() as u32);
    for change in changes {
        out.put_u8(if change.value.is_some() { PUT } else { DELETE });
        put_run(out, change.key.as_bytes());
        if let Some(value) = &change.value {
            put_run(out, value);
        }
    }
}

/// Appends a run of bytes with its length before it.
pub(crate) fn put_run(out: &mut Vec<u8>, run: &[u8]) {
    out.put_u32_le(run.len() as u32);
    out.extend_from_slice(run);
}

/// Takes the changes from the front of `input`; values share its memory. `None` when it is not ours.
pub(crate) fn take_changes(input: &mut Bytes) -> Option<Vec<Change>> {
    let count = input.try_get_u32_le().ok()? as usize;
    // A damaged count must not reserve the machine's memory; no change is shorter than five bytes.
    let mut changes = Vec::with_capacity(count.min(input.len() / 5));
    for _ in 0..count {
        let tag = input.try_get_u8().ok()?;
        let key = take_text(input)?;
        let value = match tag {
            DELETE => None,
            PUT => Some(take_run(input)?),
            _ => return None,
        };
        changes.push(Change { key, value });
    }
    Some(changes)
}

/// Takes a run of bytes with its length before it.
pub(crate) fn take_run(input: &mut Bytes) -> Option<Bytes> {
    let len = input.try_get_u32_le().ok()? as usize;
    (len <= input.len()).then(|| input.split_to(len))
}

/// Takes a run of bytes that must be UTF-8.
pub(crate) fn take_text(input: &mut Bytes) -> Option<String> {
    String::from_utf8(take_run(input)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Change> {
        vec![
            Change { key: "a".into(), value: Some(Bytes::from_static(b"\0one\0")) },
            Change { key: "b/ü".into(), value: None },
            Change { key: String::new(), value: Some(Bytes::new()) },
        ]
    }

    #[test]
    fn changes_come_back_as_they_were() {
        let mut out = Vec::new();
        put_changes(&mut out, &sample());
        assert!(out.len() <= encoded_len(&sample()));
        let mut input = Bytes::from(out);
        assert_eq!(take_changes(&mut input), Some(sample()));
        assert!(input.is_empty());
    }

    #[test]
    fn cut_or_foreign_bytes_are_refused_without_a_panic() {
        let mut out = Vec::new();
        put_changes(&mut out, &sample());
        for cut in 0..out.len() {
            assert_eq!(take_changes(&mut Bytes::copy_from_slice(&out[..cut])), None, "cut at {cut}");
        }
        assert_eq!(take_changes(&mut Bytes::from(vec![0xff; 64])), None);
    }
}

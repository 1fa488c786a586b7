//! The framing of event streams: a decimal length, a line feed, so many bytes.

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};

/// Longer records are taken for a broken stream.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Cuts a stream of bytes, in whatever pieces it arrives, into records.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole record, if it is here. Fails on a length that is none.
    pub fn next_record(&mut self) -> Result<Option<Bytes>> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            if self.buffer.len() > 20 {
                bail!("a record's length is longer than a number can be");
            }
            return Ok(None);
        };
        let digits = std::str::from_utf8(&self.buffer[..end]).context("a record's length is not text")?;
        let length: usize = digits.parse().with_context(|| format!("a record's length is {digits:?}, not a number"))?;
        if length > RECORD_BYTES_MAX {
            bail!("a record of {length} bytes");
        }
        let start = end + 1;
        if self.buffer.len() < start + length {
            return Ok(None);
        }
        let mut record = self.buffer.split_to(start + length);
        Ok(Some(record.split_off(start).freeze()))
    }
}

/// Frames one record.
pub fn encode(record: &[u8]) -> Vec<u8> {
    let mut framed = format!("{}\n", record.len()).into_bytes();
    framed.extend_from_slice(record);
    framed
}

#[cfg(test)]
mod tests {
    use super::{Decoder, encode};

    #[test]
    fn records_are_whole_however_the_bytes_arrive() {
        let stream = [encode(b"first"), encode(b""), encode(b"with\nline feed")].concat();
        for size in 1..stream.len() {
            let mut decoder = Decoder::default();
            let mut records = Vec::new();
            for piece in stream.chunks(size) {
                decoder.push(piece);
                while let Some(record) = decoder.next_record().unwrap() {
                    records.push(record);
                }
            }
            assert_eq!(records, [&b"first"[..], b"", b"with\nline feed"]);
        }
    }

    #[test]
    fn a_length_that_is_no_number_is_an_error() {
        for broken in ["abc\n", "-1\n", "99999999999\n", "123456789012345678901234"] {
            let mut decoder = Decoder::default();
            decoder.push(broken.as_bytes());
            assert!(decoder.next_record().is_err(), "{broken:?}");
        }
    }
}

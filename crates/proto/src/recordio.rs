//! RecordIO, the framing of Mesos's event streams: `<decimal length>\n<payload>`, nothing between.
//!
//! The boundaries of chunks carry no meaning: a record may come in any number of pieces.

use bytes::{Buf, Bytes, BytesMut};

/// The longest length header accepted: the digits of the largest `u64`.
const HEADER_MAX_BYTES: usize = 20;

/// Frames one record.
pub fn encode(payload: &[u8]) -> Bytes {
    let header = payload.len().to_string();
    let mut record = Vec::with_capacity(header.len() + 1 + payload.len());
    record.extend_from_slice(header.as_bytes());
    record.push(b'\n');
    record.extend_from_slice(payload);
    record.into()
}

/// Why a stream is not RecordIO. The stream cannot be used after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordIoError {
    /// The header is not a decimal number; holds what was found, made printable.
    #[error("failed to decode length '{0}'")]
    Length(String),
    /// The record is longer than the reader takes.
    #[error("a record of {length} bytes is larger than the {max} allowed")]
    TooLarge {
        /// What the header says.
        length: u64,
        /// The reader's limit.
        max: usize,
    },
}

/// Puts records together from chunks. After an error it gives the same error for ever.
#[derive(Clone, Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// The length of the record whose header has been read.
    length: Option<usize>,
    max_bytes: usize,
    failed: Option<RecordIoError>,
}

impl Decoder {
    /// A decoder for records of at most `max_bytes` each.
    pub fn new(max_bytes: usize) -> Self {
        Decoder { buffer: BytesMut::new(), length: None, max_bytes, failed: None }
    }

    /// Adds what has arrived.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// Takes the next whole record, if there is one. A record of length 0 is an empty one.
    #[allow(clippy::should_implement_trait)] // `None` is not the end: more may be pushed.
    pub fn next(&mut self) -> Option<Result<Bytes, RecordIoError>> {
        if let Some(error) = &self.failed {
            return Some(Err(error.clone()));
        }
        match self.take_record() {
            Ok(record) => record.map(Ok),
            Err(error) => {
                self.buffer = BytesMut::new();
                self.failed = Some(error.clone());
                Some(Err(error))
            }
        }
    }

    /// Whether part of a record is still waiting for its rest: an end of the stream here cuts it off.
    pub fn is_within_record(&self) -> bool {
        self.length.is_some() || !self.buffer.is_empty()
    }

    fn take_record(&mut self) -> Result<Option<Bytes>, RecordIoError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.take_header()? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            self.length = Some(length);
            return Ok(None);
        }
        self.length = None;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn take_header(&mut self) -> Result<Option<usize>, RecordIoError> {
        let head = &self.buffer[..self.buffer.len().min(HEADER_MAX_BYTES + 1)];
        let Some(end) = head.iter().position(|&byte| byte == b'\n') else {
            let hopeless = head.len() > HEADER_MAX_BYTES || !head.iter().all(u8::is_ascii_digit);
            return if hopeless { Err(bad_length(head)) } else { Ok(None) };
        };
        let digits = &head[..end];
        let length: u64 = std::str::from_utf8(digits)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| bad_length(digits))?;
        let length = usize::try_from(length)
            .ok()
            .filter(|&length| length <= self.max_bytes)
            .ok_or(RecordIoError::TooLarge { length, max: self.max_bytes })?;
        self.buffer.advance(end + 1);
        Ok(Some(length))
    }
}

fn bad_length(found: &[u8]) -> RecordIoError {
    RecordIoError::Length(found.escape_ascii().to_string())
}

//! The one wrapping of every row, checkpoint and bus message: kind, version, checksum, body.
//!
//! Layout: one byte of magic, one of version, one of kind length, the kind, four bytes of CRC-32 over all
//! that comes before and after them, then the body in MessagePack with named fields. A reader ignores
//! fields that it does not know and takes the default of those that are absent, so records of the version
//! before and the version after can be read. [`VERSION`] rises only when that is not enough.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::planted::{Bug, is_planted};

/// Version of the envelope that is written. One version back is read too.
pub const VERSION: u8 = 1;
/// The oldest version that is read.
pub const VERSION_MIN: u8 = 0;

const MAGIC: u8 = 0xA7;
const HEAD: usize = 3;
const CHECKSUM: usize = 4;

/// What is wrong with an envelope. Whoever reads one sets the record aside and goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Too short, or without the magic byte.
    #[error("not a record of this program")]
    Foreign,
    /// Written by a version that is too new or too old.
    #[error("record version {0} cannot be read (this program reads {VERSION_MIN} to {VERSION})")]
    Version(u8),
    /// Bytes were changed or cut off.
    #[error("checksum mismatch: the record is damaged")]
    Checksum,
    /// It is a record of another kind.
    #[error("expected a record of kind {expected}, found {found}")]
    Kind {
        /// The kind asked for.
        expected: &'static str,
        /// The kind it says it is.
        found: String,
    },
    /// The body does not decode.
    #[error("body does not decode: {0}")]
    Body(String),
    /// The value cannot be encoded.
    #[error("cannot encode: {0}")]
    Encode(String),
}

/// Wraps a value. `kind` says what it is (at most 255 bytes).
///
/// # Errors
/// Only for values that MessagePack cannot hold.
pub fn seal<T: Serialize>(kind: &'static str, value: &T) -> Result<Bytes, EnvelopeError> {
    seal_version(VERSION, kind, value)
}

fn seal_version<T: Serialize>(version: u8, kind: &'static str, value: &T) -> Result<Bytes, EnvelopeError> {
    let length = u8::try_from(kind.len()).map_err(|_| EnvelopeError::Encode(format!("kind {kind} is too long")))?;
    let mut buffer = Vec::with_capacity(128);
    buffer.extend_from_slice(&[MAGIC, version, length]);
    buffer.extend_from_slice(kind.as_bytes());
    let checksum_at = buffer.len();
    buffer.extend_from_slice(&[0; CHECKSUM]);
    rmp_serde::encode::write_named(&mut buffer, value).map_err(|error| EnvelopeError::Encode(error.to_string()))?;
    let checksum = checksum(&buffer, checksum_at);
    buffer[checksum_at..checksum_at + CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    Ok(Bytes::from(buffer))
}

/// Writes a value as the body of an envelope holds it, without the envelope: the same value, the same bytes.
///
/// # Errors
/// Only for values that MessagePack cannot hold, and those of the writer.
pub fn write_body<T: Serialize>(into: &mut impl std::io::Write, value: &T) -> Result<(), EnvelopeError> {
    rmp_serde::encode::write_named(into, value).map_err(|error| EnvelopeError::Encode(error.to_string()))
}

/// Unwraps a value of the kind asked for.
///
/// # Errors
/// Says what is wrong; never panics, whatever the bytes are.
pub fn open<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, EnvelopeError> {
    let (found, body) = split(bytes)?;
    if found != kind {
        return Err(EnvelopeError::Kind { expected: kind, found: found.to_owned() });
    }
    rmp_serde::from_slice(body).map_err(|error| EnvelopeError::Body(error.to_string()))
}

/// The kind of a record whose envelope is sound.
///
/// # Errors
/// As [`open`], but for the body.
pub fn kind(bytes: &[u8]) -> Result<&str, EnvelopeError> {
    split(bytes).map(|(kind, _)| kind)
}

fn split(bytes: &[u8]) -> Result<(&str, &[u8]), EnvelopeError> {
    if bytes.len() < HEAD + CHECKSUM || bytes[0] != MAGIC {
        return Err(EnvelopeError::Foreign);
    }
    let version = bytes[1];
    let oldest = if is_planted(Bug::OldVersionRefused) { VERSION } else { VERSION_MIN };
    if !(oldest..=VERSION).contains(&version) {
        return Err(EnvelopeError::Version(version));
    }
    let checksum_at = HEAD + usize::from(bytes[2]);
    let body_at = checksum_at + CHECKSUM;
    let Some(stored) = bytes.get(checksum_at..body_at) else {
        return Err(EnvelopeError::Foreign);
    };
    if stored != checksum(bytes, checksum_at).to_be_bytes() {
        return Err(EnvelopeError::Checksum);
    }
    let kind = std::str::from_utf8(&bytes[HEAD..checksum_at]).map_err(|_| EnvelopeError::Foreign)?;
    Ok((kind, &bytes[body_at..]))
}

fn checksum(bytes: &[u8], checksum_at: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..checksum_at]);
    hasher.update(&bytes[checksum_at + CHECKSUM..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        name: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        name: String,
        #[serde(default)]
        weight: u32,
    }

    #[test]
    fn f13_a_record_of_the_version_before_is_read_by_this_one() {
        let sealed = seal_version(0, "r", &Old { name: "a".into() }).unwrap();
        assert_eq!(open::<New>("r", &sealed).unwrap(), New { name: "a".into(), weight: 0 });
    }

    #[test]
    fn f13_a_record_with_a_newer_field_is_read_without_it() {
        let sealed = seal("r", &New { name: "a".into(), weight: 7 }).unwrap();
        assert_eq!(open::<Old>("r", &sealed).unwrap(), Old { name: "a".into() });
    }

    #[test]
    fn a_record_of_an_unknown_version_or_kind_is_refused_by_name() {
        let sealed = seal_version(9, "r", &Old { name: "a".into() }).unwrap();
        assert_eq!(open::<Old>("r", &sealed), Err(EnvelopeError::Version(9)));
        let sealed = seal("r", &Old { name: "a".into() }).unwrap();
        assert!(matches!(open::<Old>("s", &sealed), Err(EnvelopeError::Kind { .. })));
    }

    proptest! {
        #[test]
        fn f38_one_flipped_bit_is_always_noticed(name in ".{0,40}", bit in 0usize..4096) {
            let mut bytes = seal("row", &Old { name }).unwrap().to_vec();
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open::<Old>("row", &bytes).is_err());
        }

        #[test]
        fn f30_random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = open::<Old>("row", &bytes);
        }
    }
}

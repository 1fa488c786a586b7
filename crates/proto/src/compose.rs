//! Small work on undecoded protobuf: adding a field and leaving some out, without knowing the rest.

use crate::wire::{Fields, Value, WireError};
use bytes::Bytes;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length-delimited field. To a message field that is there already, decoders merge it.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends an integer field.
pub fn put_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    varint(out, u64::from(number) << 3);
    varint(out, value);
}

/// The message without the fields of these numbers; everything else stays, known or not.
///
/// # Errors
/// For bytes that are no protobuf.
pub fn without(message: &[u8], numbers: &[u32]) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(message.len());
    for field in Fields::new(message) {
        let (number, value) = field?;
        if numbers.contains(&number) {
            continue;
        }
        match value {
            Value::Varint(value) => put_varint(&mut out, number, value),
            Value::Bytes(value) => put_bytes(&mut out, number, value),
            Value::Fixed64(value) => {
                varint(&mut out, u64::from(number) << 3 | 1);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Fixed32(value) => {
                varint(&mut out, u64::from(number) << 3 | 5);
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
    Ok(out)
}

/// `message` with one more field.
#[must_use]
pub fn with(message: &Bytes, number: u32, value: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + value.len() + 8);
    out.extend_from_slice(message);
    put_bytes(&mut out, number, value);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_gone_and_the_rest_is_as_it_was() {
        let mut message = Vec::new();
        put_varint(&mut message, 1, 300);
        put_bytes(&mut message, 2, b"two");
        put_bytes(&mut message, 70_000, b"unknown");
        let mut expected = Vec::new();
        put_varint(&mut expected, 1, 300);
        put_bytes(&mut expected, 70_000, b"unknown");
        assert_eq!(without(&message, &[2]).unwrap(), expected);
        assert!(without(b"\xff", &[]).is_err());
    }
}

//! JSON values to protobuf bytes, with the tolerance of Apache Mesos.
//!
//! Unknown names and `null` are skipped; numbers and booleans may be quoted; doubles may be
//! `"Infinity"`; an unknown name of an optional enum is as if unset; a single value stands for a list
//! of one. Field names are the proto names only.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Number, Value};

use super::JsonError;
use crate::wire::DEPTH_MAX;

/// Padding is optional and what follows it is not read, as in Mesos.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The protobuf form of a message given as a JSON object.
pub(super) fn message(descriptor: &MessageDescriptor, value: &Value) -> Result<Vec<u8>, JsonError> {
    let Value::Object(object) = value else {
        return Err(JsonError::Convert("Expecting a JSON object".to_owned()));
    };
    let mut writer = Writer { path: Vec::new() };
    let mut out = Vec::new();
    writer.object(descriptor, object, &mut out)?;
    Ok(out)
}

struct Writer<'a> {
    /// Where in the message the writer is, for error texts.
    path: Vec<&'a str>,
}

impl<'a> Writer<'a> {
    fn object(
        &mut self,
        descriptor: &MessageDescriptor,
        object: &'a Map<String, Value>,
        out: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        if self.path.len() > DEPTH_MAX {
            return Err(JsonError::Convert("messages are nested too deeply".to_owned()));
        }
        for (name, value) in object {
            if let Some(field) = descriptor.get_field_by_name(name) {
                self.path.push(name);
                self.field(&field, value, out)?;
                self.path.pop();
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &FieldDescriptor, value: &'a Value, out: &mut Vec<u8>) -> Result<(), JsonError> {
        match value {
            Value::Null => Ok(()),
            Value::Array(items) if field.is_list() => {
                items.iter().try_for_each(|item| self.list_item(field, item, out))
            }
            Value::Array(_) => Err(self.unexpected("array")),
            Value::Object(entries) if field.is_map() => self.map(field, entries, out),
            Value::Object(object) => self.message_field(field, object, out),
            Value::String(text) => self.string(field, text, out),
            Value::Number(number) => self.number(field, number, out),
            Value::Bool(value) if matches!(field.kind(), Kind::Bool) => {
                varint(field, u64::from(*value), out);
                Ok(())
            }
            Value::Bool(_) => Err(self.unexpected("boolean")),
        }
    }

    fn list_item(&mut self, field: &FieldDescriptor, item: &'a Value, out: &mut Vec<u8>) -> Result<(), JsonError> {
        // Lists of lists do not exist in protobuf.
        if item.is_array() { Err(self.unexpected("array")) } else { self.field(field, item, out) }
    }

    fn message_field(
        &mut self,
        field: &FieldDescriptor,
        object: &'a Map<String, Value>,
        out: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        let Kind::Message(descriptor) = field.kind() else {
            return Err(self.unexpected("object"));
        };
        let mut inner = Vec::new();
        self.object(&descriptor, object, &mut inner)?;
        bytes(field, &inner, out);
        Ok(())
    }

    /// A map is a list of entries with a key and a value.
    fn map(
        &mut self,
        field: &FieldDescriptor,
        entries: &'a Map<String, Value>,
        out: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        let Kind::Message(entry) = field.kind() else {
            return Err(self.unexpected("object"));
        };
        let (key_field, value_field) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        for (key, value) in entries {
            self.path.push(key);
            let mut inner = Vec::new();
            self.string(&key_field, key, &mut inner)?;
            self.field(&value_field, value, &mut inner)?;
            bytes(field, &inner, out);
            self.path.pop();
        }
        Ok(())
    }

    fn string(&mut self, field: &FieldDescriptor, text: &str, out: &mut Vec<u8>) -> Result<(), JsonError> {
        match field.kind() {
            Kind::String => bytes(field, text.as_bytes(), out),
            Kind::Bytes => bytes(field, &self.base64(text)?, out),
            Kind::Bool => {
                let value: bool = serde_json::from_str(text)
                    .map_err(|error| self.error(&format!("Failed to parse '{text}' as a JSON boolean"), &error))?;
                varint(field, u64::from(value), out);
            }
            Kind::Enum(names) => match names.get_value_by_name(text) {
                Some(value) => varint(field, sign_extended(value.number()), out),
                None if field.is_required() => {
                    return Err(JsonError::Convert(format!(
                        "Failed to find enum for '{text}' for field '{}'",
                        self.path.join(".")
                    )));
                }
                None => {}
            },
            Kind::Double | Kind::Float if text == "Infinity" => double(field, f64::INFINITY, out),
            Kind::Double | Kind::Float if text == "-Infinity" => double(field, f64::NEG_INFINITY, out),
            Kind::Message(message) => match duration(&message, text) {
                Some(inner) => bytes(field, &inner, out),
                None => return Err(self.unexpected("string")),
            },
            _ => {
                let number: Number = serde_json::from_str(text)
                    .map_err(|error| self.error(&format!("Failed to parse '{text}' as a JSON number"), &error))?;
                self.number(field, &number, out)?;
            }
        }
        Ok(())
    }

    fn base64(&self, text: &str) -> Result<Vec<u8>, JsonError> {
        let digits: String = text.chars().take_while(|&c| c != '=').filter(|c| !c.is_ascii_whitespace()).collect();
        BASE64.decode(digits).map_err(|error| self.error("Failed to base64 decode bytes", &error))
    }

    fn number(&mut self, field: &FieldDescriptor, number: &Number, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let kind = field.kind();
        match kind {
            Kind::Double | Kind::Float => {
                let value = number.as_f64().ok_or_else(|| self.out_of_range(number))?;
                double(field, value, out);
                return Ok(());
            }
            Kind::String | Kind::Bytes | Kind::Bool | Kind::Enum(_) | Kind::Message(_) => {
                return Err(self.unexpected("number"));
            }
            _ => {}
        }
        let value = integer(number).ok_or_else(|| self.out_of_range(number))?;
        let range = match kind {
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => i128::from(i32::MIN)..=i128::from(i32::MAX),
            Kind::Uint32 | Kind::Fixed32 => 0..=i128::from(u32::MAX),
            Kind::Uint64 | Kind::Fixed64 => 0..=i128::from(u64::MAX),
            _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
        };
        if !range.contains(&value) {
            return Err(self.out_of_range(number));
        }
        write_integer(field, &kind, value, out);
        Ok(())
    }

    fn unexpected(&self, what: &str) -> JsonError {
        JsonError::Convert(format!("Not expecting a JSON {what} for field '{}'", self.path.join(".")))
    }

    fn out_of_range(&self, number: &Number) -> JsonError {
        JsonError::Convert(format!("The number {number} is out of range for field '{}'", self.path.join(".")))
    }

    fn error(&self, what: &str, cause: &dyn std::fmt::Display) -> JsonError {
        JsonError::Convert(format!("{what} for field '{}': {cause}", self.path.join(".")))
    }
}

/// The whole part of a number, as Mesos's cast takes it; nothing where it does not fit.
fn integer(number: &Number) -> Option<i128> {
    if let Some(value) = number.as_i64() {
        return Some(i128::from(value));
    }
    if let Some(value) = number.as_u64() {
        return Some(i128::from(value));
    }
    // The cast saturates; the range check of the field's type follows.
    number.as_f64().filter(|value| value.is_finite()).map(|value| value.trunc() as i128)
}

/// Writes an integer that was found to fit the kind.
fn write_integer(field: &FieldDescriptor, kind: &Kind, value: i128, out: &mut Vec<u8>) {
    let signed = value as i64;
    match kind {
        Kind::Sint32 | Kind::Sint64 => {
            varint(field, ((signed << 1) ^ (signed >> 63)) as u64, out);
        }
        Kind::Fixed32 | Kind::Sfixed32 => {
            encode_key(field.number(), WireType::ThirtyTwoBit, out);
            out.extend_from_slice(&(signed as u32).to_le_bytes());
        }
        Kind::Fixed64 | Kind::Sfixed64 => {
            encode_key(field.number(), WireType::SixtyFourBit, out);
            out.extend_from_slice(&(value as u64).to_le_bytes());
        }
        _ => varint(field, value as u64, out),
    }
}

fn sign_extended(number: i32) -> u64 {
    i64::from(number) as u64
}

fn varint(field: &FieldDescriptor, value: u64, out: &mut Vec<u8>) {
    encode_key(field.number(), WireType::Varint, out);
    encode_varint(value, out);
}

fn bytes(field: &FieldDescriptor, value: &[u8], out: &mut Vec<u8>) {
    encode_key(field.number(), WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn double(field: &FieldDescriptor, value: f64, out: &mut Vec<u8>) {
    if matches!(field.kind(), Kind::Float) {
        encode_key(field.number(), WireType::ThirtyTwoBit, out);
        out.extend_from_slice(&(value as f32).to_le_bytes());
    } else {
        encode_key(field.number(), WireType::SixtyFourBit, out);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// A `google.protobuf.Duration` written as text: `"600s"` as protobuf's JSON has it, or with Mesos's
/// units (`"10mins"`), which its documentation shows.
fn duration(message: &MessageDescriptor, text: &str) -> Option<Vec<u8>> {
    if message.full_name() != "google.protobuf.Duration" {
        return None;
    }
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let amount: f64 = text[..unit_at].trim().parse().ok()?;
    let nanos_per_unit = match &text[unit_at..] {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" | "secs" => 1e9,
        "mins" => 60e9,
        "hrs" => 3_600e9,
        "days" => 86_400e9,
        "weeks" => 604_800e9,
        _ => return None,
    };
    let nanos = amount * nanos_per_unit;
    if !nanos.is_finite() || nanos.abs() >= 9.2e18 {
        return None;
    }
    let nanos = nanos as i64;
    let value = prost_types::Duration { seconds: nanos / 1_000_000_000, nanos: (nanos % 1_000_000_000) as i32 };
    Some(prost::Message::encode_to_vec(&value))
}

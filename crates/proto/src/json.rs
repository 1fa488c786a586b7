//! Mesos JSON to protobuf and back.
//!
//! Decoding is as tolerant as the parser of Apache Mesos (`3rdparty/stout`, `protobuf.hpp`), which
//! clients rely on; encoding gives one line of ASCII, as clients that count characters need it.
//!
//! # Layout
//! - `decode`: JSON values to protobuf bytes, by descriptor.
//! - `encode`: messages to JSON text, by descriptor.

mod decode;
mod encode;

use bytes::Bytes;
use prost::{Message, Name};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;

use crate::validate::{self, RequiredError};

/// Why JSON cannot be read as a message. The texts name the field by its path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON. Mesos answers `Failed to parse body into JSON: …`.
    #[error("{0}")]
    Syntax(String),
    /// JSON, but not of this message. Mesos answers `Failed to convert JSON into Call protobuf: …`.
    #[error("{0}")]
    Convert(String),
    /// A `required` field is absent.
    #[error(transparent)]
    Required(#[from] RequiredError),
    /// The contract has no message of this name.
    #[error("unknown message {0}")]
    UnknownMessage(String),
}

/// Whether fields that are unset but have a default in the contract are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Defaults {
    /// Only what is set is written.
    #[default]
    Omit,
    /// A field that is not deprecated and whose declaration names a default is written with it, as
    /// the HTTP API of Apache Mesos does (`"checkpoint":false`, `"shell":true`).
    Declared,
}

/// Reads a message from JSON text.
pub fn decode<T: Message + Name + Default>(text: &[u8]) -> Result<T, JsonError> {
    let bytes = decode_to_bytes(&T::full_name(), text)?;
    T::decode(bytes).map_err(|error| JsonError::Convert(error.to_string()))
}

/// Reads the message of this full name (`mesos.v1.scheduler.Call`) from JSON text into its protobuf
/// form.
pub fn decode_to_bytes(full_name: &str, text: &[u8]) -> Result<Bytes, JsonError> {
    let value = serde_json::from_slice(text).map_err(|error| JsonError::Syntax(error.to_string()))?;
    value_to_bytes(full_name, &value)
}

/// Reads the message of this full name from a JSON value into its protobuf form.
pub fn value_to_bytes(full_name: &str, value: &Value) -> Result<Bytes, JsonError> {
    let bytes: Bytes = decode::message(&find(full_name)?, value)?.into();
    validate::required_fields(full_name, &bytes)?;
    Ok(bytes)
}

/// Writes a message as one line of JSON; only what is set.
pub fn encode<T: Message + Name>(message: &T) -> String {
    encode_with(message, Defaults::Omit)
}

/// Writes a message as one line of JSON.
pub fn encode_with<T: Message + Name>(message: &T, defaults: Defaults) -> String {
    // A generated type is part of the contract and decodes as itself, so this cannot fail; an empty
    // object is still JSON.
    encode_bytes(&T::full_name(), &message.encode_to_vec(), defaults).unwrap_or_else(|_| "{}".to_owned())
}

/// Writes the protobuf form of the message of this full name as one line of JSON. Unknown fields are
/// left out.
pub fn encode_bytes(full_name: &str, message: &[u8], defaults: Defaults) -> Result<String, JsonError> {
    let dynamic =
        DynamicMessage::decode(find(full_name)?, message).map_err(|error| JsonError::Convert(error.to_string()))?;
    let mut out = String::with_capacity(message.len() * 3);
    encode::message(&dynamic, defaults, &mut out);
    Ok(out)
}

fn find(full_name: &str) -> Result<MessageDescriptor, JsonError> {
    crate::descriptor(full_name).ok_or_else(|| JsonError::UnknownMessage(full_name.to_owned()))
}

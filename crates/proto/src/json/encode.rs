//! Messages to JSON text: one line, ASCII, enums by name, 64-bit integers bare, bytes in base64.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use super::Defaults;

/// Appends a message. Writing to a `String` cannot fail, so results of `write!` are dropped.
pub(super) fn message(message: &DynamicMessage, defaults: Defaults, out: &mut String) {
    out.push('{');
    let mut first = true;
    let mut field = |field: &FieldDescriptor, value: &Value, out: &mut String| {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        string(field.name(), out);
        out.push(':');
        self::field(field, value, defaults, out);
    };
    match defaults {
        Defaults::Omit => {
            for (descriptor, value) in message.fields() {
                field(&descriptor, value, out);
            }
        }
        Defaults::Declared => {
            for descriptor in message.descriptor().fields() {
                if message.has_field(&descriptor) || has_declared_default(&descriptor) {
                    let value: Cow<'_, Value> = message.get_field(&descriptor);
                    field(&descriptor, &value, out);
                }
            }
        }
    }
    out.push('}');
}

fn has_declared_default(field: &FieldDescriptor) -> bool {
    let proto = field.field_descriptor_proto();
    proto.default_value.is_some() && !proto.options.as_ref().is_some_and(|options| options.deprecated())
}

fn field(field: &FieldDescriptor, value: &Value, defaults: Defaults, out: &mut String) {
    let kind = field.kind();
    match value {
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                scalar(&kind, item, defaults, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            // The map's own order is random; the text of a message should not be.
            let mut entries: Vec<(Cow<'_, str>, &Value)> =
                entries.iter().map(|(key, value)| (key_text(key), value)).collect();
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            let value_kind = match &kind {
                Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
                _ => kind,
            };
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                string(&key, out);
                out.push(':');
                scalar(&value_kind, value, defaults, out);
            }
            out.push('}');
        }
        _ => scalar(&kind, value, defaults, out),
    }
}

fn key_text(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::Bool(value) => value.to_string().into(),
        MapKey::I32(value) => value.to_string().into(),
        MapKey::I64(value) => value.to_string().into(),
        MapKey::U32(value) => value.to_string().into(),
        MapKey::U64(value) => value.to_string().into(),
        MapKey::String(value) => value.as_str().into(),
    }
}

fn scalar(kind: &Kind, value: &Value, defaults: Defaults, out: &mut String) {
    match value {
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::I32(value) => drop(write!(out, "{value}")),
        Value::I64(value) => drop(write!(out, "{value}")),
        Value::U32(value) => drop(write!(out, "{value}")),
        Value::U64(value) => drop(write!(out, "{value}")),
        Value::F32(value) if value.is_finite() => drop(write!(out, "{value:?}")),
        Value::F32(value) => double(f64::from(*value), out),
        Value::F64(value) => double(*value, out),
        Value::String(value) => string(value, out),
        Value::Bytes(value) => {
            out.push('"');
            BASE64_STANDARD.encode_string(value, out);
            out.push('"');
        }
        Value::EnumNumber(number) => {
            match kind.as_enum().and_then(|names| names.get_value(*number)) {
                Some(name) => string(name.name(), out),
                // Of a newer client; it has no name here.
                None => drop(write!(out, "{number}")),
            }
        }
        Value::Message(inner) => message(inner, defaults, out),
        // Neither occurs within a list or a map.
        Value::List(_) | Value::Map(_) => out.push_str("null"),
    }
}

/// JSON has no infinities and no NaN; they are written as protobuf's JSON writes them.
fn double(value: f64, out: &mut String) {
    if value.is_nan() {
        out.push_str("\"NaN\"");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else {
        let _ = write!(out, "{value:?}");
    }
}

/// A JSON string of ASCII only: some clients count characters where the framing counts bytes.
fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

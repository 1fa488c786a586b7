//! `cpus:4;mem:4GB;disk(ads):10000;ports:[31000-32000]` and back.
//!
//! The grammar is Mesos's (`src/v1/resources.cpp`), with units for `mem` and `disk` added: a bare number is
//! megabytes, and `KB`, `MB`, `GB`, `TB` are powers of 1024 as in stout.

use std::fmt;
use std::sync::Arc;

use crate::resources::{Qualifier, Reservation, ReservationKind, Resource, Resources, Value};
use crate::{Role, resources::MILLI_MAX};

/// Reads a list of resources; entries without a role belong to `default_role`, which reserves them
/// statically unless it is `*`.
///
/// # Errors
/// Says which entry cannot be read and what is expected.
pub fn parse(text: &str, default_role: &str) -> Result<Resources, String> {
    let mut entries = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        entries.push(parse_entry(part, default_role)?);
    }
    Resources::try_from_entries(entries).map_err(|error| error.to_string())
}

fn parse_entry(part: &str, default_role: &str) -> Result<Resource, String> {
    let expected = "expected name:value or name(role):value, for example cpus:4;mem:4GB;ports:[31000-32000]";
    let (head, value) = part.split_once(':').ok_or_else(|| format!("resource '{part}' has no ':'; {expected}"))?;
    let (name, role) = match head.trim().split_once('(') {
        None => (head.trim(), default_role),
        Some((name, role)) => {
            let role =
                role.trim().strip_suffix(')').ok_or_else(|| format!("resource '{part}' lacks a ')'; {expected}"))?;
            (name.trim(), role.trim())
        }
    };
    if name.is_empty() || role.is_empty() {
        return Err(format!("resource '{part}' lacks a name or a role; {expected}"));
    }
    let value = parse_value(name, value.trim())
        .ok_or_else(|| format!("resource '{part}' has no readable value; {expected}"))?;
    Ok(Resource { name: Arc::from(name), value, qualifier: static_reservation(role) })
}

fn static_reservation(role: &str) -> Option<Arc<Qualifier>> {
    (role != "*").then(|| {
        Arc::new(Qualifier {
            reservations: vec![Reservation {
                kind: ReservationKind::Static,
                role: Role::new(role),
                principal: None,
                labels: Vec::new(),
            }],
            ..Qualifier::default()
        })
    })
}

fn parse_value(name: &str, text: &str) -> Option<Value> {
    if let Some(ranges) = parse_ranges(text) {
        return Some(Value::Ranges(ranges));
    }
    if let Some(items) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return Some(Value::Set(
            items.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
        ));
    }
    if name == "mem" || name == "disk" {
        return parse_megabytes(text).map(Value::Scalar);
    }
    parse_milli(text).map(Value::Scalar)
}

/// `[1-5, 7-9]`, or `None`.
#[must_use]
pub fn parse_ranges(text: &str) -> Option<Vec<(u64, u64)>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut ranges = Vec::new();
    for part in inner.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (begin, end) = part.split_once('-').unwrap_or((part, part));
        ranges.push((begin.trim().parse().ok()?, end.trim().parse().ok()?));
    }
    Some(ranges)
}

/// A decimal number in thousandths, further digits rounded; `None` for anything else, negative ones too.
#[must_use]
pub fn parse_milli(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !plain {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    crate::resources::milli_from_f64("", number).ok()
}

/// An amount of memory or disk in thousandths of a megabyte: `512`, `512MB`, `4GB`, `0.5GB`.
#[must_use]
pub fn parse_megabytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let upper = text.to_ascii_uppercase();
    let units: [(&str, f64); 9] = [
        ("KB", 1.0 / 1024.0),
        ("MB", 1.0),
        ("GB", 1024.0),
        ("TB", 1024.0 * 1024.0),
        ("KIB", 1.0 / 1024.0),
        ("MIB", 1.0),
        ("GIB", 1024.0),
        ("TIB", 1024.0 * 1024.0),
        ("B", 1.0 / (1024.0 * 1024.0)),
    ];
    let Some((unit, factor)) = units.iter().find(|(unit, _)| upper.ends_with(unit)) else {
        return parse_milli(text);
    };
    let number: f64 = upper[..upper.len() - unit.len()].trim().parse().ok()?;
    let milli = number * factor * 1000.0;
    (milli.is_finite() && milli >= 0.0 && milli <= MILLI_MAX as f64).then(|| milli.round() as i64)
}

/// Thousandths as a decimal number without needless zeros.
#[must_use]
pub fn milli_text(milli: i64) -> String {
    let (whole, part) = (milli / 1000, milli % 1000);
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{part:03}").trim_end_matches('0').to_owned()
}

/// `[1-5, 7-9]`.
#[must_use]
pub fn ranges_text(ranges: &[(u64, u64)]) -> String {
    let parts: Vec<String> = ranges.iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
    format!("[{}]", parts.join(", "))
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, resource) in self.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            let role = resource.reserved_for().map(|role| format!("({role})")).unwrap_or_default();
            let revocable = if resource.is_revocable() { "{REV}" } else { "" };
            let value = match &resource.value {
                Value::Scalar(milli) => milli_text(*milli),
                Value::Ranges(ranges) => ranges_text(ranges),
                Value::Set(items) => format!("{{{}}}", items.join(", ")),
            };
            write!(f, "{separator}{}{role}{revocable}:{value}", resource.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read_with_units_roles_and_ranges() {
        let cases = [
            ("cpus:4;mem:4096;disk:10000;ports:[31000-32000]", "cpus:4; disk:10000; mem:4096; ports:[31000-32000]"),
            ("cpus:0.5;mem:4GB", "cpus:0.5; mem:4096"),
            ("mem:128MB", "mem:128"),
            ("mem:512KB", "mem:0.5"),
            ("cpus(ads):2;cpus:1", "cpus:1; cpus(ads):2"),
            ("ports:[5-6,1-4,9-9]", "ports:[1-6, 9-9]"),
            ("zones:{a,b}", "zones:{a, b}"),
            ("cpus:1;cpus:2", "cpus:3"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, "*").unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for text in
            ["cpus", "cpus:", "cpus:x", "cpus:-1", "cpus:NaN", "cpus:1e999", ":4", "cpus(:4", "ports:[5-1]", "mem:4XB"]
        {
            let error = parse(text, "*").unwrap_err();
            assert!(!error.is_empty(), "{text}");
        }
    }
}

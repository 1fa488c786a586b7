//! Amounts of scalar resources as people write them.

use std::collections::BTreeMap;

use mesos_model::{resources::Value, resources_text};

use super::output::number;

/// By name; mem and disk in MiB.
pub(crate) type Amounts = BTreeMap<String, f64>;

/// `cpus:4;mem:4GB`, or `none`.
pub(crate) fn parse(text: &str) -> Result<Amounts, String> {
    if text == "none" {
        return Ok(Amounts::new());
    }
    let mut amounts = Amounts::new();
    // The parser adds up what is named twice and drops what is 0; here both mean something.
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once(':').ok_or_else(|| format!("'{part}' has no ':'; {EXPECTED}"))?;
        let (name, value) = (name.trim(), value.trim());
        if !resources_text::parse(part, "*")?.iter().all(|one| one.qualifier.is_none()) {
            return Err(format!("'{part}' names a role; {EXPECTED}"));
        }
        let milli = match name {
            "mem" | "disk" => resources_text::parse_megabytes(value),
            _ => resources_text::parse_milli(value),
        };
        let milli = milli.ok_or_else(|| format!("'{part}' is no amount; {EXPECTED}"))?;
        if amounts.insert(name.to_owned(), milli as f64 / 1000.0).is_some() {
            return Err(format!("{name} is named twice"));
        }
    }
    if amounts.is_empty() { Err(format!("names no resource; {EXPECTED}")) } else { Ok(amounts) }
}

const EXPECTED: &str = "expected amounts such as cpus:4;mem:4GB, or none";

/// `cpus:4 mem:1024`, or a dash.
pub(crate) fn text<'a>(amounts: impl IntoIterator<Item = (&'a String, &'a f64)>) -> String {
    let mut parts: Vec<String> =
        amounts.into_iter().map(|(name, amount)| format!("{name}:{}", number(*amount))).collect();
    parts.sort();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

/// Resources of an answer, as people write them.
pub(crate) fn resources(list: &[mesos_proto::v1::Resource]) -> String {
    use mesos_proto::v1::value::Type;
    let one = |resource: &mesos_proto::v1::Resource| {
        let value = match resource.r#type() {
            Type::Ranges => {
                let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
                Value::Ranges(ranges.map(|range| (range.begin, range.end)).collect())
            }
            Type::Set => Value::Set(resource.set.iter().flat_map(|set| set.item.clone()).collect()),
            _ => Value::Scalar((resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value) * 1000.0).round() as i64),
        };
        let role = resource.reservations.last().and_then(|reservation| reservation.role.as_deref());
        let role = role.map(|role| format!("({role})")).unwrap_or_default();
        let value = match value {
            Value::Scalar(milli) => resources_text::milli_text(milli),
            Value::Ranges(ranges) => resources_text::ranges_text(&ranges),
            Value::Set(items) => format!("{{{}}}", items.join(", ")),
        };
        format!("{}{role}:{value}", resource.name)
    };
    list.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_an_amount_and_nothing_is_said_twice() {
        assert_eq!(parse("cpus:0; gold:3").unwrap(), Amounts::from([("cpus".into(), 0.0), ("gold".into(), 3.0)]));
        assert_eq!(parse("none").unwrap(), Amounts::new());
        for text in ["", "cpus:1;cpus:2", "cpus(a):1", "cpus:x", "cpus:-1", "cpus", ":1", "zoo:{a}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! What agents say about themselves, and what constraints look at.

use serde::{Deserialize, Serialize};

/// A named fact about an agent, for example `rack:r2`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// The name; several attributes may share one.
    pub name: String,
    /// The value.
    pub value: AttributeValue,
}

/// The value of an attribute, typed as Mesos types it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeValue {
    /// Anything that is neither number nor ranges.
    Text(String),
    /// A number, in thousandths.
    Scalar(i64),
    /// Ranges of numbers, both ends included.
    Ranges(Vec<(u64, u64)>),
}

/// Reads `rack:r2;cores:8;ports:[1-5]`. Empty parts are skipped.
///
/// # Errors
/// Says which part cannot be read.
pub fn parse(text: &str) -> Result<Vec<Attribute>, String> {
    let mut attributes = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part
            .split_once(':')
            .ok_or_else(|| format!("attribute '{part}' has no ':'; expected name:value, for example rack:r2"))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(format!("attribute '{part}' needs a name and a value, for example rack:r2"));
        }
        attributes.push(Attribute { name: name.to_owned(), value: parse_value(value) });
    }
    Ok(attributes)
}

fn parse_value(text: &str) -> AttributeValue {
    if let Some(ranges) = crate::resources_text::parse_ranges(text) {
        return AttributeValue::Ranges(ranges);
    }
    match crate::resources_text::parse_milli(text) {
        Some(milli) => AttributeValue::Scalar(milli),
        None => AttributeValue::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_typed_by_what_they_look_like() {
        let parsed = parse("rack:r2; cores:8.5 ;span:[1-3, 7-9]").unwrap();
        assert_eq!(parsed[0].value, AttributeValue::Text("r2".into()));
        assert_eq!(parsed[1].value, AttributeValue::Scalar(8500));
        assert_eq!(parsed[2].value, AttributeValue::Ranges(vec![(1, 3), (7, 9)]));
        assert!(parse("rack").is_err());
        assert!(parse("rack:").is_err());
    }
}

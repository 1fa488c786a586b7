//! Offer constraints (`OfferConstraints` of Mesos), checked as Mesos checks them before it takes them
//! (`src/master/allocator/mesos/offer_constraints_filter.cpp`).

use std::collections::BTreeMap;

use mesos_core::message::{Constraint, Constraints, Predicate, Selector};
use mesos_engine::rules::expression;
use mesos_model::Role;
use mesos_proto::v1::scheduler::{
    AttributeConstraint, OfferConstraints,
    attribute_constraint::{
        predicate,
        selector::{self, PseudoattributeType},
    },
};

use super::resources::printable;

/// Constraints in one call; each is looked at for each agent.
const CONSTRAINTS_MAX: usize = 1024;

/// Reads the constraints of a framework that is in these roles.
///
/// # Errors
/// Says what is wrong, much as Mesos says it.
pub fn from_proto(proto: Option<&OfferConstraints>, roles: &[Role]) -> Result<BTreeMap<Role, Constraints>, String> {
    let mut named: Vec<_> = proto.into_iter().flat_map(|proto| &proto.role_constraints).collect();
    named.sort_by_key(|(role, _)| *role);
    let mut out = BTreeMap::new();
    let mut count = 0;
    for (role, constraints) in named {
        let role = Role::new(role);
        if !roles.contains(&role) {
            return Err(format!(
                "Offer constraints specify `role_constraints` for role '{}' to which the framework is not subscribed",
                printable(role.as_str())
            ));
        }
        let invalid =
            |why: String| format!("Offer constraints are not valid: Role '{}': {why}", printable(role.as_str()));
        if constraints.groups.is_empty() {
            return Err(invalid("'groups' is empty".to_owned()));
        }
        let mut groups = Vec::new();
        for group in &constraints.groups {
            if group.attribute_constraints.is_empty() {
                return Err(invalid("Empty groups are not allowed".to_owned()));
            }
            count += group.attribute_constraints.len();
            if count > CONSTRAINTS_MAX {
                return Err(invalid(format!("more than {CONSTRAINTS_MAX} constraints")));
            }
            groups.push(group.attribute_constraints.iter().map(constraint).collect::<Result<_, _>>().map_err(invalid)?);
        }
        out.insert(role.clone(), Constraints { groups });
    }
    Ok(out)
}

fn constraint(proto: &AttributeConstraint) -> Result<Constraint, String> {
    Ok(Constraint { selector: selector(proto)?, predicate: predicate(proto)? })
}

fn selector(proto: &AttributeConstraint) -> Result<Selector, String> {
    let unknown = || "'AttributeConstraint.Selector' has an unknown or unset 'selector'".to_owned();
    match proto.selector.selector.as_ref().ok_or_else(unknown)? {
        selector::Selector::AttributeName(name) => Ok(Selector::Attribute(name.clone())),
        selector::Selector::PseudoattributeType(number) => match PseudoattributeType::try_from(*number) {
            Ok(PseudoattributeType::Hostname) => Ok(Selector::Hostname),
            Ok(PseudoattributeType::Region) => Ok(Selector::Region),
            Ok(PseudoattributeType::Zone) => Ok(Selector::Zone),
            Ok(PseudoattributeType::Unknown) | Err(_) => Err("Unknown pseudoattribute type".to_owned()),
        },
    }
}

fn predicate(proto: &AttributeConstraint) -> Result<Predicate, String> {
    use predicate::Predicate as Proto;
    let unknown = || "'AttributeConstraint.Predicate' has an unknown or unset 'predicate'".to_owned();
    Ok(match proto.predicate.predicate.as_ref().ok_or_else(unknown)? {
        Proto::Exists(_) => Predicate::Exists,
        Proto::NotExists(_) => Predicate::NotExists,
        Proto::TextEquals(text) => Predicate::TextEquals(text.value.clone()),
        Proto::TextNotEquals(text) => Predicate::TextNotEquals(text.value.clone()),
        Proto::TextMatches(text) => Predicate::TextMatches(regex(&text.regex)?),
        Proto::TextNotMatches(text) => Predicate::TextNotMatches(regex(&text.regex)?),
    })
}

/// An expression that the engine will be able to compile.
fn regex(text: &str) -> Result<String, String> {
    expression(text)
        .map(|_| text.to_owned())
        .map_err(|why| format!("Failed to construct regex from pattern '{}': {why}", printable(text)))
}

#[cfg(test)]
mod tests {
    use mesos_proto::json;

    use super::*;

    fn read(text: &str) -> Result<BTreeMap<Role, Constraints>, String> {
        let proto: OfferConstraints = json::decode(text.as_bytes()).unwrap();
        from_proto(Some(&proto), &["ads".into()])
    }

    fn one(selector: &str, predicate: &str) -> Result<Constraint, String> {
        let text = format!(
            r#"{{"role_constraints":{{"ads":{{"groups":[{{"attribute_constraints":[
                {{"selector":{{{selector}}},"predicate":{{{predicate}}}}}]}}]}}}}}}"#
        );
        read(&text).map(|found| found["ads"].groups[0][0].clone())
    }

    #[test]
    fn each_selector_and_predicate_is_read() {
        for (text, selector) in [
            (r#""attribute_name":"rack""#, Selector::Attribute("rack".into())),
            (r#""pseudoattribute_type":"HOSTNAME""#, Selector::Hostname),
            (r#""pseudoattribute_type":"REGION""#, Selector::Region),
            (r#""pseudoattribute_type":"ZONE""#, Selector::Zone),
        ] {
            assert_eq!(one(text, r#""exists":{}"#), Ok(Constraint { selector, predicate: Predicate::Exists }));
        }
        for (text, predicate) in [
            (r#""not_exists":{}"#, Predicate::NotExists),
            (r#""text_equals":{"value":"a"}"#, Predicate::TextEquals("a".into())),
            (r#""text_not_equals":{"value":"a"}"#, Predicate::TextNotEquals("a".into())),
            (r#""text_matches":{"regex":"a.*"}"#, Predicate::TextMatches("a.*".into())),
            (r#""text_not_matches":{"regex":"[a-c]+"}"#, Predicate::TextNotMatches("[a-c]+".into())),
        ] {
            assert_eq!(one(r#""attribute_name":"x""#, text).map(|found| found.predicate), Ok(predicate));
        }
    }

    #[test]
    fn constraints_that_mean_nothing_are_refused() {
        let long = "a".repeat(mesos_engine::rules::EXPRESSION_MAX + 1);
        for (text, words) in [
            (r#"{"role_constraints":{"web":{}}}"#.to_owned(), "role 'web' to which the framework is not subscribed"),
            (r#"{"role_constraints":{"ads":{}}}"#.to_owned(), "'groups' is empty"),
            (r#"{"role_constraints":{"ads":{"groups":[{}]}}}"#.to_owned(), "Empty groups"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let exists = r#""exists":{}"#;
        for (selector, predicate, words) in [
            ("", exists, "Selector"),
            (r#""pseudoattribute_type":"UNKNOWN""#, exists, "pseudoattribute"),
            (r#""attribute_name":"x""#, "", "Predicate"),
            (r#""attribute_name":"x""#, r#""text_matches":{"regex":"("}"#, "unclosed group"),
            (r#""attribute_name":"x""#, r#""text_matches":{"regex":"a)|(b"}"#, "regex"),
            (r#""attribute_name":"x""#, r#""text_matches":{"regex":"(\\w{100}){100}"}"#, "too large"),
            (r#""attribute_name":"x""#, &format!(r#""text_matches":{{"regex":"{long}"}}"#), "longer than"),
        ] {
            let error = one(selector, predicate).unwrap_err();
            assert!(error.contains(words), "{selector} {predicate}: {error}");
        }
    }

    #[test]
    fn without_constraints_there_are_none() {
        assert_eq!(from_proto(None, &[]), Ok(BTreeMap::new()));
        assert_eq!(read("{}"), Ok(BTreeMap::new()));
    }
}

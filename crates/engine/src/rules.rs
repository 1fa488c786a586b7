//! What an agent must be like to be offered: offer constraints, compiled.

use mesos_model::attribute::{Attribute, AttributeValue};
use regex::{Regex, RegexBuilder};

use crate::facts::{Constraint, Constraints, Predicate, Selector};

/// The longest expression, in bytes: Mesos gives a compiled one this much memory by default
/// (`--offer_constraints_re2_max_mem`), and none of more text fits into it.
pub const EXPRESSION_MAX: usize = 4096;
/// What a compiled expression may take here, in bytes; classes of Unicode are larger than those of RE2.
const PROGRAM_MAX: usize = 1 << 18;

/// What an agent says of itself, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Looks<'a> {
    /// Its hostname.
    pub hostname: &'a str,
    /// Its attributes.
    pub attributes: &'a [Attribute],
    /// Region and zone.
    pub domain: Option<&'a (String, String)>,
}

/// Compiled constraints.
#[derive(Clone, Debug)]
pub struct Rule {
    constraints: Constraints,
    expressions: Vec<Vec<Option<Regex>>>,
    /// Some constraint looks at the hostname, so that agents of one class are not all alike.
    pub hostname: bool,
}

/// An expression that must match as a whole.
///
/// # Errors
/// Says what is wrong with it.
pub fn expression(text: &str) -> Result<Regex, String> {
    if text.len() > EXPRESSION_MAX {
        return Err(format!("it is longer than {EXPRESSION_MAX} bytes"));
    }
    let compile = |text: &str| RegexBuilder::new(text).size_limit(PROGRAM_MAX).build();
    // As it is first: what only reads inside the group could otherwise end the group that it is put in.
    compile(text).and_then(|_| compile(&format!("^(?:{text})$"))).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        // The last line says what is wrong; those before point at it.
        other => other.to_string().lines().last().unwrap_or_default().to_owned(),
    })
}

impl Rule {
    /// Compiles constraints.
    ///
    /// # Errors
    /// For an expression that cannot be compiled.
    pub fn new(constraints: &Constraints) -> Result<Rule, String> {
        let compile = |constraint: &Constraint| match &constraint.predicate {
            Predicate::TextMatches(text) | Predicate::TextNotMatches(text) => {
                expression(text).map(Some).map_err(|why| format!("'{text}' is no regular expression: {why}"))
            }
            _ => Ok(None),
        };
        let expressions = constraints
            .groups
            .iter()
            .map(|group| group.iter().map(compile).collect())
            .collect::<Result<Vec<Vec<_>>, String>>()?;
        let hostname = constraints.groups.iter().flatten().any(|constraint| constraint.selector == Selector::Hostname);
        Ok(Rule { constraints: constraints.clone(), expressions, hostname })
    }

    /// The constraints that it was made of.
    #[must_use]
    pub fn constraints(&self) -> &Constraints {
        &self.constraints
    }

    /// Whether an agent may be offered.
    #[must_use]
    pub fn admits(&self, looks: Looks<'_>) -> bool {
        self.constraints.groups.is_empty()
            || self.constraints.groups.iter().zip(&self.expressions).any(|(group, expressions)| {
                group
                    .iter()
                    .zip(expressions)
                    .all(|(constraint, expression)| holds(constraint, expression.as_ref(), looks))
            })
    }
}

/// The first attribute of a name counts, as in Mesos.
fn holds(constraint: &Constraint, expression: Option<&Regex>, looks: Looks<'_>) -> bool {
    let (there, text) = match &constraint.selector {
        Selector::Hostname => (true, Some(looks.hostname)),
        Selector::Region => (looks.domain.is_some(), looks.domain.map(|domain| domain.0.as_str())),
        Selector::Zone => (looks.domain.is_some(), looks.domain.map(|domain| domain.1.as_str())),
        Selector::Attribute(name) => match looks.attributes.iter().find(|attribute| attribute.name == *name) {
            None => (false, None),
            Some(Attribute { value: AttributeValue::Text(text), .. }) => (true, Some(text.as_str())),
            Some(_) => (true, None),
        },
    };
    match &constraint.predicate {
        Predicate::Exists => there,
        Predicate::NotExists => !there,
        // A predicate on texts does not apply to a number, and so does not exclude it.
        Predicate::TextEquals(wanted) => there && text.is_none_or(|text| text == wanted),
        Predicate::TextNotEquals(wanted) => !there || text.is_none_or(|text| text != wanted),
        Predicate::TextMatches(_) => there && text.is_none_or(|text| expression.is_some_and(|e| e.is_match(text))),
        Predicate::TextNotMatches(_) => !there || text.is_none_or(|text| expression.is_some_and(|e| !e.is_match(text))),
    }
}

#[cfg(test)]
mod tests {
    use mesos_model::attribute::parse;

    use super::*;

    #[test]
    fn constraints_hold_as_in_mesos() {
        let attributes = parse("rack:r12;cores:8").unwrap();
        let domain = ("eu".to_owned(), "eu-1".to_owned());
        let looks = Looks { hostname: "n1.example", attributes: &attributes, domain: Some(&domain) };
        let attribute = |name: &str| Selector::Attribute(name.into());
        let cases = [
            (attribute("rack"), Predicate::Exists, true),
            (attribute("row"), Predicate::Exists, false),
            (attribute("row"), Predicate::NotExists, true),
            (attribute("rack"), Predicate::TextEquals("r12".into()), true),
            (attribute("rack"), Predicate::TextEquals("r1".into()), false),
            (attribute("cores"), Predicate::TextEquals("9".into()), true),
            (attribute("row"), Predicate::TextEquals("9".into()), false),
            (attribute("row"), Predicate::TextNotEquals("9".into()), true),
            (attribute("rack"), Predicate::TextNotEquals("r12".into()), false),
            (attribute("rack"), Predicate::TextMatches("r1".into()), false),
            (attribute("rack"), Predicate::TextMatches("r1|r1.".into()), true),
            (attribute("rack"), Predicate::TextNotMatches("r.*".into()), false),
            (Selector::Hostname, Predicate::TextMatches("n\\d+\\.example".into()), true),
            (Selector::Region, Predicate::TextEquals("eu".into()), true),
            (Selector::Zone, Predicate::TextEquals("eu".into()), false),
        ];
        for (selector, predicate, expected) in cases {
            let constraints = Constraints { groups: vec![vec![Constraint { selector, predicate }]] };
            assert_eq!(Rule::new(&constraints).unwrap().admits(looks), expected, "{constraints:?}");
        }
        assert!(Rule::new(&Constraints::default()).unwrap().admits(looks));
        let bad = Constraint { selector: Selector::Zone, predicate: Predicate::TextMatches("(".into()) };
        assert!(Rule::new(&Constraints { groups: vec![vec![bad]] }).is_err());
    }
}

//! What the engine is told about roles, frameworks and their needs.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use mesos_model::{AgentId, Resources, Role};
use serde::{Deserialize, Serialize};

/// Amounts of scalars by name, in thousandths.
pub type Amounts = BTreeMap<Arc<str>, i64>;

/// Weight of a role that was given none, in thousandths.
pub const WEIGHT_DEFAULT: u64 = 1000;
/// The largest weight, in thousandths: a million.
pub const WEIGHT_MAX: u64 = 1_000_000_000;

/// Which of the agents that would do a role is offered first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// The emptiest one, so that load evens out.
    #[default]
    Spread,
    /// The fullest one, so that whole agents stay free.
    Binpack,
    /// Any.
    Random,
}

impl Placement {
    /// Its name on the command line and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Placement::Spread => "spread",
            Placement::Binpack => "binpack",
            Placement::Random => "random",
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Placement {
    type Err = String;

    fn from_str(text: &str) -> Result<Placement, String> {
        [Placement::Spread, Placement::Binpack, Placement::Random]
            .into_iter()
            .find(|placement| placement.name() == text)
            .ok_or_else(|| format!("'{text}' is no placement; there are spread, binpack and random"))
    }
}

/// Whose turn it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// Weighted dominant-resource fairness at every level of the role tree (Ghodsi et al., NSDI 2011).
    #[default]
    Drf,
    /// Who has waited longest with an unmet demand first.
    Fifo,
    /// The largest outstanding demand first, by its dominant share of the cluster.
    Drc,
    /// Weighted lots, drawn anew for each offer.
    Random,
    /// A WebAssembly module that was loaded under this name.
    Module(String),
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PolicyName::Drf => "drf",
            PolicyName::Fifo => "fifo",
            PolicyName::Drc => "drc",
            PolicyName::Random => "random",
            PolicyName::Module(name) => name,
        })
    }
}

impl From<&str> for PolicyName {
    /// A name that is not built in is a module's.
    fn from(text: &str) -> PolicyName {
        match text {
            "drf" => PolicyName::Drf,
            "fifo" => PolicyName::Fifo,
            "drc" => PolicyName::Drc,
            "random" => PolicyName::Random,
            other => PolicyName::Module(other.to_owned()),
        }
    }
}

/// What an operator has set for a role. A role that nobody has set anything for has the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoleFacts {
    /// In thousandths; never 0.
    pub weight: u64,
    /// What the role and those below it are to have, if they want it, before others get more.
    pub guarantee: Amounts,
    /// What the role and those below it may have at most; a name that is not here is not limited.
    pub limit: Amounts,
    /// Which agents it is offered first; `None` is as its parent has it.
    pub placement: Option<Placement>,
}

impl Default for RoleFacts {
    fn default() -> Self {
        RoleFacts { weight: WEIGHT_DEFAULT, guarantee: Amounts::new(), limit: Amounts::new(), placement: None }
    }
}

/// What a framework asks the cluster for, apart from taking offers: REQUEST.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Names it among the framework's requests; may be empty for one that holds nothing.
    #[serde(default)]
    pub name: String,
    /// In which of its roles; `None` is the first one.
    #[serde(default)]
    pub role: Option<Role>,
    /// On which agent, if that matters.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// How much one task needs.
    pub resources: Resources,
    /// How many such tasks, all or none; at least 1.
    pub count: u32,
    /// Present for a need: resources are gathered and held for it, for so long.
    #[serde(default)]
    pub hold_ms: Option<u64>,
    /// Decides who is offered to first; `None` is the framework's own.
    #[serde(default)]
    pub priority: Option<i64>,
}

/// What an offer's agent must be like: any of the groups, and of a group all constraints
/// (`OfferConstraints` of Mesos, for one role). No group at all is no constraint.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Constraints {
    /// Alternatives.
    pub groups: Vec<Vec<Constraint>>,
}

/// One constraint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Constraint {
    /// What is looked at.
    pub selector: Selector,
    /// How it must be.
    pub predicate: Predicate,
}

/// What a constraint looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Selector {
    /// The attributes of this name.
    Attribute(String),
    /// The agent's hostname.
    Hostname,
    /// Its region.
    Region,
    /// Its zone.
    Zone,
}

/// How what is looked at must be. As in Mesos the predicates on texts hold for an attribute that is there and
/// is no text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Predicate {
    /// It is there.
    Exists,
    /// It is not there.
    NotExists,
    /// It is there and this text.
    TextEquals(String),
    /// It is not there, or another text.
    TextNotEquals(String),
    /// It is there and matches as a whole (RE2 syntax).
    TextMatches(String),
    /// It is not there, or does not match as a whole.
    TextNotMatches(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for placement in [Placement::Spread, Placement::Binpack, Placement::Random] {
            assert_eq!(placement.name().parse(), Ok(placement));
        }
        assert!("tight".parse::<Placement>().is_err());
        for name in ["drf", "fifo", "drc", "random", "mine"] {
            assert_eq!(PolicyName::from(name).to_string(), name);
        }
    }
}

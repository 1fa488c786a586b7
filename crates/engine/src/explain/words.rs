//! Explanations in words.

use std::collections::BTreeMap;

use mesos_model::{Resources, Role, resources_text::milli_text};

use crate::{
    explain::Asked,
    explanation::{Blocker, Why},
    facts::{Constraint, Predicate, Selector},
};

/// Reasons that a summary lists.
const REASONS_MAX: usize = 3;
/// Names that a list of them has.
const NAMES_MAX: usize = 3;

/// An explanation in one sentence.
pub(crate) fn summary(asked: &Asked, placeable: u32, suppressed: bool, blockers: &[Blocker]) -> String {
    let count = asked.count;
    if suppressed {
        return format!(
            "role {} is suppressed by framework {}: it gets no offers until it revives",
            asked.role, asked.framework
        );
    }
    let agents: u32 = blockers.iter().map(|blocker| blocker.agents).sum();
    if agents == 0 {
        return "waits: there are no agents".to_owned();
    }
    let offered = blockers.iter().any(|blocker| blocker.why == Why::Offered);
    let only_offered = offered && !blockers.iter().any(|blocker| blocker.why == Why::Nothing);
    let when = if only_offered { "once open offers are back" } else { "with the next offers" };
    if placeable >= count {
        return match count {
            1 => format!("the task would be placed {when}"),
            _ => format!("all {count} tasks would be placed {when}"),
        };
    }
    let reasons: Vec<String> = blockers
        .iter()
        .filter(|blocker| blocker.why != Why::Nothing)
        .take(REASONS_MAX)
        .map(|blocker| reason(blocker, agents))
        .collect();
    let reasons = if reasons.is_empty() { format!("{agents} agents are not enough") } else { reasons.join("; ") };
    match placeable {
        0 => format!("waits: {reasons}"),
        _ => format!("{placeable} of {count} tasks would be placed {when}; for the rest: {reasons}"),
    }
}

fn reason(blocker: &Blocker, agents: u32) -> String {
    let mut text = match blocker.agents {
        0 => String::new(),
        some => format!("{some} of {agents} agents {}", blocker.why.of_agents(some)),
    };
    if matches!(blocker.why, Why::TooSmall | Why::InUse | Why::Limit | Why::Constraint | Why::Reserved) {
        text = format!("{text} ({})", blocker.detail);
    }
    text
}

/// The most frequent ones of some names, with how often each occurs.
pub(crate) fn most_of(counts: &BTreeMap<String, u32>) -> String {
    let mut sorted: Vec<(&String, &u32)> = counts.iter().collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    let more = sorted.len().saturating_sub(NAMES_MAX);
    let mut parts: Vec<String> =
        sorted.iter().take(NAMES_MAX).map(|(name, count)| format!("{name} on {}", agents(**count))).collect();
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    parts.join(", ")
}

/// So many agents.
pub(crate) fn agents(count: u32) -> String {
    if count == 1 { "1 agent".to_owned() } else { format!("{count} agents") }
}

/// An amount with its name, as it is said: `2.5 cpus`.
pub(crate) fn amount(name: &str, milli: i64) -> String {
    format!("{} {name}", milli_text(milli))
}

/// A share or weight in thousandths.
pub(crate) fn weight(milli: u64) -> String {
    milli_text(i64::try_from(milli).unwrap_or(i64::MAX))
}

/// A constraint on agents.
pub(crate) fn constraint(constraint: &Constraint) -> String {
    let what = match &constraint.selector {
        Selector::Attribute(name) => format!("attribute {name}"),
        Selector::Hostname => "hostname".to_owned(),
        Selector::Region => "region".to_owned(),
        Selector::Zone => "zone".to_owned(),
    };
    match &constraint.predicate {
        Predicate::Exists => format!("{what} exists"),
        Predicate::NotExists => format!("{what} does not exist"),
        Predicate::TextEquals(text) => format!("{what} is '{text}'"),
        Predicate::TextNotEquals(text) => format!("{what} is not '{text}'"),
        Predicate::TextMatches(text) => format!("{what} matches '{text}'"),
        Predicate::TextNotMatches(text) => format!("{what} does not match '{text}'"),
    }
}

/// What a role's limit says about so many tasks that need so much each.
pub(crate) fn limit(role: &Role, name: &str, limit: i64, consumed: i64, each: i64, count: u32) -> String {
    let times = if count == 1 { String::new() } else { format!("{count} x ") };
    format!(
        "role {role}: limit {name} {}, consumed {}, asks for {times}{}",
        milli_text(limit),
        milli_text(consumed),
        milli_text(each)
    )
}

/// Resources on one line, or a word for none.
pub(crate) fn resources(resources: &Resources) -> String {
    if resources.is_empty() { "nothing".to_owned() } else { resources.to_string() }
}

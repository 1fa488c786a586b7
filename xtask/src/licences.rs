//! Every dependency's licence is one that we accept.

use crate::finding::Finding;
use crate::graph::Graph;

/// SPDX names that may be shipped.
const ACCEPTED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
    // The licence of libbzip2: BSD-3-Clause in other words.
    "bzip2-1.0.6",
];

/// Accepted like the names above; public domain, kept apart since it is not a licence in the strict sense.
const PUBLIC_DOMAIN: &str = "Unlicense";

/// Packages that name no SPDX expression but whose licence was read: (name, what it is).
const READ_BY_HAND: [(&str, &str); 0] = [];

/// Checks every package in the graph that is not ours.
pub(crate) fn check(graph: &Graph) -> Vec<Finding> {
    graph
        .packages
        .values()
        .filter(|package| package.member.is_none())
        .filter(|package| !READ_BY_HAND.iter().any(|(name, _)| *name == package.name))
        .filter_map(|package| {
            let wrong = match package.licence.as_deref() {
                Some(expression) if is_accepted(expression) => return None,
                Some(expression) => {
                    format!("{} {} is under {expression}", package.name, package.version)
                }
                None => format!("{} {} states no licence", package.name, package.version),
            };
            Some(Finding::new(
                "Cargo.lock",
                1,
                wrong,
                "drop the dependency, or accept the licence in xtask/src/licences.rs with a reason",
            ))
        })
        .collect()
}

/// Evaluates an SPDX expression: OR needs one accepted side, AND needs both.
fn is_accepted(expression: &str) -> bool {
    // "MIT/Apache-2.0" is the old way to write OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    let accepted = any_of(&mut rest);
    accepted && rest.is_empty()
}

fn any_of(rest: &mut &[&str]) -> bool {
    let mut accepted = all_of(rest);
    while take(rest, "OR") {
        // Not `||`: the right side must be read past even when the left one is enough.
        accepted |= all_of(rest);
    }
    accepted
}

fn all_of(rest: &mut &[&str]) -> bool {
    let mut accepted = one(rest);
    while take(rest, "AND") {
        accepted &= one(rest);
    }
    accepted
}

fn one(rest: &mut &[&str]) -> bool {
    if take(rest, "(") {
        let accepted = any_of(rest);
        return take(rest, ")") && accepted;
    }
    let Some((name, tail)) = rest.split_first() else {
        return false;
    };
    *rest = tail;
    if !take(rest, "WITH") {
        return ACCEPTED.contains(name) || *name == PUBLIC_DOMAIN;
    }
    let Some((exception, tail)) = rest.split_first() else {
        return false;
    };
    *rest = tail;
    ACCEPTED.contains(&format!("{name} WITH {exception}").as_str())
}

fn take(rest: &mut &[&str], token: &str) -> bool {
    match rest.split_first() {
        Some((first, tail)) if *first == token => {
            *rest = tail;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_accepted;

    #[test]
    fn one_accepted_side_of_an_or_is_enough() {
        assert!(is_accepted("MIT OR GPL-3.0-only"));
        assert!(is_accepted("GPL-3.0-only/MIT"));
        assert!(is_accepted("MIT OR Apache-2.0 OR LGPL-2.1-or-later"));
        assert!(!is_accepted("GPL-3.0-only OR LGPL-2.1-or-later"));
    }

    #[test]
    fn both_sides_of_an_and_are_needed() {
        assert!(is_accepted("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(is_accepted("Apache-2.0 AND ISC"));
        assert!(!is_accepted("MIT AND GPL-2.0-only"));
    }

    #[test]
    fn an_exception_counts_only_with_its_licence() {
        assert!(is_accepted("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"));
        assert!(is_accepted("Apache-2.0 WITH LLVM-exception"));
        assert!(!is_accepted("GPL-2.0-only WITH Classpath-exception-2.0"));
    }

    #[test]
    fn nonsense_is_not_accepted() {
        for expression in ["", "MIT MIT", "(MIT", "AND", "OR MIT"] {
            assert!(!is_accepted(expression), "{expression}");
        }
    }
}

//! Rules for every text file.

use super::Source;
use crate::finding::Finding;

/// Longer files are hard to find one's way in; 300 lines are typical, 800 a sign to split.
const LINES_MAX: usize = 1000;

/// Files of these kinds are ours to split, so their length counts (which message is in which .proto is
/// given by the API that they describe).
const COUNTED: [&str; 11] = ["rs", "ts", "tsx", "js", "mjs", "css", "py", "go", "sh", "md", "yaml"];

/// Words are cut in two here, so that this file does not find itself.
const HOSTS: [&str; 9] = [
    concat!("registry.npmjs", ".org"),
    concat!("registry.yarnpkg", ".com"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("files.pythonhosted", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("sum.golang", ".org"),
    concat!("deb.debian", ".org"),
];

/// Directories of one person's machine.
const WORKPLACES: [&str; 6] = [
    concat!("/work", "/main"),
    concat!("/work", "/shared"),
    concat!("/work", "/notes"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Use", "rs/"),
];

const LATER: [&str; 3] = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X:")];

/// Checks one file.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(length(source));
    findings.extend(strictness(source));
    for (number, line) in source.lines() {
        if let Some(host) = HOSTS.iter().find(|host| line.contains(**host)) {
            findings.push(source.finding(
                number,
                format!("names the package host {host}"),
                "leave it to each machine's own configuration (npm: omit-lockfile-registry-resolved)",
            ));
        }
        if let Some(place) = WORKPLACES.iter().find(|place| starts_a_path(line, place)) {
            findings.push(source.finding(
                number,
                format!("has {place}, a path of one machine"),
                "use a path relative to the repository, a variable or a temporary directory",
            ));
        }
        if let Some(word) = LATER.iter().find(|word| has_word(line, word)) {
            findings.push(source.finding(
                number,
                format!("says {word}"),
                "do it, or describe what is missing in an issue",
            ));
        }
    }
    findings
}

fn length(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    let generated = source.text.lines().take(5).any(|line| line.contains("@generated"));
    (COUNTED.contains(&source.extension()) && lines > LINES_MAX && !generated).then(|| {
        source.finding(
            LINES_MAX + 1,
            format!("has {lines} lines, more than {LINES_MAX}"),
            "split it by what its parts are for (generated files say @generated in their first lines)",
        )
    })
}

/// A bash script that goes on after a failed command hides it.
fn strictness(source: &Source) -> Option<Finding> {
    let is_bash = source.text.lines().next().is_some_and(|line| line.starts_with("#!") && line.ends_with("bash"));
    let strict = source.text.lines().any(|line| line.starts_with("set -euo pipefail"));
    (is_bash && !strict)
        .then(|| source.finding(1, "is a bash script that goes on after errors", "add `set -euo pipefail`"))
}

/// Whether `path` is in `line` as the beginning of a path, not as a part of a longer one.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        line[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && !"._-/}>*".contains(before))
    })
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |neighbour: Option<char>| neighbour.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !part_of_word(line[..at].chars().next_back()) && !part_of_word(line[at + word.len()..].chars().next())
    })
}

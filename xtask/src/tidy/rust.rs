//! Rules for Rust sources and manifests.

use super::Source;
use crate::finding::Finding;

/// What a line of Rust must not have; words are cut in two so that this file does not find itself.
/// (text, what is wrong, what to do)
const REFUSED: [(&str, &str, &str); 4] = [
    (concat!("to", "do!("), "is not finished", "write what is missing, or leave the whole feature out"),
    (concat!("unimple", "mented!("), "is not finished", "write what is missing, or answer with an error"),
    (concat!("#[ign", "ore"), "has a test that nobody runs", "make it reliable and quick enough, or delete it"),
    (concat!("#[should_", "panic"), "has a test that passes for any panic", "return an error and assert on it"),
];

/// Checks one Rust source file.
pub(super) fn source(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.name() == "lib.rs" && !source.text.starts_with("//!") {
        findings.push(source.finding(
            1,
            "does not open with `//!`",
            "say in one sentence what the crate is for, then its `# Layout`",
        ));
    }
    if source.name() == "mod.rs" {
        findings.push(source.finding(
            1,
            "is a mod.rs, one of many tabs with the same name",
            "call it after its directory: foo.rs beside foo/",
        ));
    }
    for (number, line) in source.lines() {
        for (text, wrong, advice) in REFUSED {
            if line.contains(text) {
                findings.push(source.finding(number, wrong, advice));
            }
        }
    }
    findings.extend(test_names(source));
    findings
}

/// A test's name is a sentence; a prefix that says it is a test says nothing.
fn test_names(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut is_test = false;
    for (number, line) in source.lines() {
        let line = line.trim();
        if line.starts_with("#[") && (line.contains("test]") || line.contains("test(")) {
            is_test = true;
            continue;
        }
        let Some(name) = function_name(line) else {
            continue;
        };
        if is_test && name.starts_with("test_") {
            findings.push(source.finding(
                number,
                format!("has a test named {name}"),
                "say what holds, as a sentence without the prefix",
            ));
        }
        is_test = false;
    }
    findings
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_item = before.split_whitespace().all(|word| ["pub", "async", "const", "unsafe"].contains(&word));
    is_item.then(|| after.split(['(', '<']).next().unwrap_or("").trim())
}

/// Checks one Cargo.toml.
pub(super) fn manifest(source: &Source) -> Vec<Finding> {
    let text: Vec<&str> = source.text.lines().map(str::trim).collect();
    let mut findings = Vec::new();
    let is_package = text.contains(&"[package]");
    let lints = text.windows(2).any(|pair| pair[0] == "[lints]" && pair[1] == "workspace = true");
    if is_package && !lints {
        findings.push(source.finding(
            1,
            "does not take the workspace's lints",
            "add `[lints]` with `workspace = true`",
        ));
    }
    if is_package {
        findings.extend(pinned_in_one_place(source));
    }
    findings
}

/// Versions are in the root's table only, so that two crates never use two versions.
fn pinned_in_one_place(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_dependencies = false;
    for (number, line) in source.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
            continue;
        }
        let is_entry = in_dependencies && !line.is_empty() && !line.starts_with('#') && line.contains('=');
        if is_entry && !line.contains("workspace = true") {
            findings.push(source.finding(
                number,
                "has a dependency with a version of its own",
                "put the version in the root's [workspace.dependencies] and write `workspace = true` here",
            ));
        }
    }
    findings
}

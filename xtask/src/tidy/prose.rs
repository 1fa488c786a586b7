//! Rules for Markdown: links into the repository lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::Source;
use crate::finding::Finding;

/// Checks one Markdown file; `exists` tells whether a path relative to the root is there.
pub(super) fn check(source: &Source, exists: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (number, line) in source.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in links(line) {
            let Some(path) = path_in_repository(&source.path, target) else {
                continue;
            };
            if !exists(&path) {
                findings.push(source.finding(
                    number,
                    format!("links to {target}, which is not there"),
                    "correct the link, or remove it with what it described",
                ));
            }
        }
    }
    findings
}

/// The targets of `[text](target)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        // A title may follow the target: [text](target "title").
        rest.split([')', ' ']).next().filter(|target| !target.is_empty())
    })
}

/// Where a link leads, relative to the root; `None` for links that leave the repository or the page's text.
fn path_in_repository(page: &Path, target: &str) -> Option<PathBuf> {
    let target = target.trim_matches(['<', '>']);
    if target.starts_with('#') || target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let target = target.split(['#', '?']).next()?;
    let mut path = match target.strip_prefix('/') {
        Some(_) => PathBuf::new(),
        None => page.parent()?.to_path_buf(),
    };
    for component in Path::new(target.trim_start_matches('/')).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Some(path)
}

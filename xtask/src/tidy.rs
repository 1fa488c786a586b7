//! Rules about the text of the repository's files.
//!
//! A line that a rule is wrong about carries `tidy-ok: <reason>`; the reason is for the next reader.
//!
//! # Layout
//! - `files`: which files there are
//! - `rust`: rules for Rust sources and manifests
//! - `prose`: rules for Markdown
//! - `everywhere`: rules for every text file

mod everywhere;
mod files;
mod prose;
mod rust;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::finding::Finding;

/// A text file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or("")
    }

    fn extension(&self) -> &str {
        self.path.extension().and_then(|name| name.to_str()).unwrap_or("")
    }

    /// Lines with their numbers from 1, without those that say they are exempt.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.contains("tidy-ok: "))
    }

    fn finding(&self, line: usize, wrong: impl Into<String>, advice: &str) -> Finding {
        Finding::new(&self.path, line, wrong, advice)
    }
}

/// Every text file below `root`.
pub(crate) fn load(root: &Path) -> Result<Vec<Source>> {
    files::load(root)
}

/// Checks every text file below `root`.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in files::load(root)? {
        findings.extend(check_one(&source, &|path| root.join(path).exists()));
    }
    findings.sort();
    Ok(findings)
}

/// Checks one file; `exists` tells whether a path relative to the root is there.
fn check_one(source: &Source, exists: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = everywhere::check(source);
    match source.extension() {
        "rs" => findings.extend(rust::source(source)),
        "toml" if source.name() == "Cargo.toml" => findings.extend(rust::manifest(source)),
        "md" => findings.extend(prose::check(source, exists)),
        _ => {}
    }
    findings
}

#[cfg(test)]
mod tests;

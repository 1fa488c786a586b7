//! Which files there are: everything but what is built, downloaded or not text.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Source;

/// Directories that hold nothing of ours, wherever they are.
const SKIPPED: [&str; 7] = [".git", "target", "node_modules", "dist", ".cache", "__pycache__", "proptest-regressions"];

/// Lock files are written by tools, for tools.
const LOCKS: [&str; 2] = ["Cargo.lock", "go.sum"];

/// Every text file below `root`, in the order of their paths.
pub(super) fn load(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    walk(root, root, &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn walk(root: &Path, directory: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("{} is not readable", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let listed = |names: &[&str]| names.iter().any(|skipped| name == *skipped);
        if kind.is_dir() && !listed(&SKIPPED) {
            walk(root, &entry.path(), sources)?;
        } else if kind.is_file() && !listed(&LOCKS) {
            let bytes =
                fs::read(entry.path()).with_context(|| format!("{} is not readable", entry.path().display()))?;
            // What is not UTF-8 is an image or the like, and no rule is about it.
            if let Ok(text) = String::from_utf8(bytes) {
                let path = entry.path();
                sources.push(Source { path: path.strip_prefix(root).unwrap_or(&path).to_path_buf(), text });
            }
        }
    }
    Ok(())
}

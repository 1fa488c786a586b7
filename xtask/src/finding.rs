//! What a check reports.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, relative to the workspace's root.
    pub(crate) file: PathBuf,
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) wrong: String,
    /// What to do about it.
    pub(crate) advice: String,
}

impl Finding {
    pub(crate) fn new(
        file: impl AsRef<Path>,
        line: usize,
        wrong: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { file: file.as_ref().to_path_buf(), line, wrong: wrong.into(), advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, wrong, advice } = self;
        write!(f, "{}:{line}: {wrong}; {advice}", file.display())
    }
}

//! Formatting and lints, done by cargo's own tools.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Checks the formatting of every crate; writes nothing.
pub(crate) fn format_check(root: &Path) -> Result<bool> {
    let passed = cargo(root, &["fmt", "--all", "--check"])?;
    if !passed {
        eprintln!("formatting differs from rustfmt's; run `cargo xtask fix`");
    }
    Ok(passed)
}

/// Lints every target of every crate; a warning is an error.
pub(crate) fn clippy_check(root: &Path) -> Result<bool> {
    cargo(root, &["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"])
}

/// Formats every crate.
pub(crate) fn format(root: &Path) -> Result<bool> {
    cargo(root, &["fmt", "--all"])
}

/// Applies what clippy can apply without asking.
pub(crate) fn clippy_fix(root: &Path) -> Result<bool> {
    cargo(root, &["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged", "--quiet"])
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<bool> {
    // The cargo that runs this program, so that toolchain overrides hold for its children too.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .status()
        .with_context(|| format!("cargo {} did not start", arguments.join(" ")))?;
    Ok(status.success())
}

//! The project's own checks: `cargo xtask check` runs all of them and writes nothing, `cargo xtask fix`
//! repairs what a tool can repair.
//!
//! # Layout
//! - `chart_docs`: the table of values in the chart's README
//! - `finding`: what a check reports, and how it is printed
//! - `faults`: the tests of faults, and that they notice planted bugs
//! - `graph`: the dependency graph, as `cargo metadata` tells it
//! - `layers`: edges between crates point down only, and adapters keep their libraries to themselves
//! - `licences`: every dependency's licence is one that we accept
//! - `sbom`: the bill of materials of what is shipped
//! - `tidy`: rules about the text of the repository's files
//! - `cargo`: formatting and lints, which cargo's own tools do

mod cargo;
mod chart_docs;
mod faults;
mod finding;
mod graph;
mod layers;
mod licences;
mod sbom;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::finding::Finding;
use crate::graph::Graph;

/// The project's checks and repairs.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every check; writes nothing.
    Check,
    /// Formats, and applies what clippy can apply by itself.
    Fix,
    /// Only the rules about crates and their dependencies (part of `check`).
    Layers,
    /// Only the rules about the text of files (part of `check`).
    Tidy,
    /// Only the licences of dependencies (part of `check`).
    Licences,
    /// Writes the table of values in the chart's README.
    ChartDocs,
    /// Writes the bill of materials of the binary `mesos`, in CycloneDX's JSON.
    Sbom {
        /// The file to write.
        to: PathBuf,
    },
    /// Runs the tests of faults under the bugs that must break them.
    Faults {
        /// Only writes the table in docs/.
        #[arg(long)]
        table: bool,
        /// Only these bugs.
        bugs: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; `true` when nothing is left to do.
fn run(command: &Command) -> Result<bool> {
    let root = root()?;
    match command {
        Command::Check => {
            // The quick ones first, and all of them even after a failure: one run shows everything.
            let results = [
                timed("tidy", || report(&tidy::check(&root)?))?,
                timed("faults", || report(&faults::check(&root)?))?,
                timed("chart docs", || report(&chart_docs::check(&root)?))?,
                timed("layers", || report(&layers::check(&Graph::load(&root)?)))?,
                timed("licences", || report(&licences::check(&Graph::load(&root)?)))?,
                timed("fmt", || cargo::format_check(&root))?,
                timed("clippy", || cargo::clippy_check(&root))?,
            ];
            Ok(results.iter().all(|passed| *passed))
        }
        Command::Fix => Ok(cargo::clippy_fix(&root)? & cargo::format(&root)?),
        Command::Layers => report(&layers::check(&Graph::load(&root)?)),
        Command::Tidy => report(&tidy::check(&root)?),
        Command::Licences => report(&licences::check(&Graph::load(&root)?)),
        Command::ChartDocs => chart_docs::write(&root),
        Command::Sbom { to } => sbom::write(&root, to),
        Command::Faults { table: true, .. } => faults::write(&root),
        Command::Faults { bugs, .. } => faults::run(&root, bugs),
    }
}

/// Prints findings; `true` when there are none.
fn report(findings: &[Finding]) -> Result<bool> {
    for finding in findings {
        eprintln!("{finding}");
    }
    Ok(findings.is_empty())
}

/// Runs one check and prints its name, its result and the time that it took.
fn timed(name: &str, check: impl FnOnce() -> Result<bool>) -> Result<bool> {
    let started = Instant::now();
    let passed = check().with_context(|| format!("the check {name} could not run"))?;
    let verdict = if passed { "ok" } else { "FAILED" };
    eprintln!("{name}: {verdict} ({:.1} s)", started.elapsed().as_secs_f64());
    Ok(passed)
}

/// The root of the workspace: the parent of this crate.
fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).context("xtask has no parent directory")
}

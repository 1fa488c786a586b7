//! Faults and the tests that show their handling: `docs/faults.md`, and each test under its planted bugs.
//!
//! A test of fault 34 is a function `f34_…`. A bug of `mesos_model::planted` names the faults whose handling
//! it breaks: at least one test of each must fail while it is planted.
//!
//! # Layout
//! - `catalogue`: the faults
//! - `binaries`: tests as cargo builds them, and running one

mod binaries;
mod catalogue;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use mesos_model::planted::{self, ALL, Planted};

use crate::finding::Finding;
use binaries::Test;
use catalogue::CATALOGUE;

/// Where the table is.
const TABLE: &str = "docs/faults.md";

/// Where each fault's tests are, as the sources say.
type Tests = BTreeMap<u8, BTreeSet<(String, PathBuf)>>;

/// Checks that the table is what the sources say.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let wanted = table(&tests(root)?);
    let found = std::fs::read_to_string(root.join(TABLE)).unwrap_or_default();
    if found == wanted {
        return Ok(Vec::new());
    }
    Ok(vec![Finding::new(Path::new(TABLE), 1, "is not what the tests say", "run `cargo xtask faults --table`")])
}

/// Writes the table.
pub(crate) fn write(root: &Path) -> Result<bool> {
    std::fs::write(root.join(TABLE), table(&tests(root)?)).with_context(|| format!("{TABLE} cannot be written"))?;
    Ok(true)
}

/// The tests that are named after a fault, found in the sources.
fn tests(root: &Path) -> Result<Tests> {
    let mut tests = Tests::new();
    for source in crate::tidy::load(root)? {
        if source.path.extension().is_some_and(|extension| extension == "rs") {
            for (number, name) in source.text.lines().filter_map(named) {
                tests.entry(number).or_default().insert((name.to_owned(), source.path.clone()));
            }
        }
    }
    Ok(tests)
}

/// `fn f34_what(` → 34 and the name.
fn named(line: &str) -> Option<(u8, &str)> {
    let rest = line.trim_start();
    let rest = rest.strip_prefix("async ").unwrap_or(rest).strip_prefix("fn ")?;
    let name = rest.split('(').next()?;
    Some((number(name)?, name))
}

/// The fault that a test is named after.
fn number(name: &str) -> Option<u8> {
    let (digits, _) = name.rsplit("::").next()?.strip_prefix('f')?.split_once('_')?;
    digits.parse().ok()
}

fn table(tests: &Tests) -> String {
    let mut text = String::from(
        "# Faults\n\nWhat can go wrong, what must happen then, and the tests that show it. A planted bug switches one \
         safeguard off;\n`cargo xtask faults` runs the tests of a fault under its bugs, and expects them to fail. This \
         table is made by\n`cargo xtask faults --table` from the names of the tests and from \
         `crates/model/src/planted.rs`.\n",
    );
    let (mut tested, mut shown, mut all) = (0, 0, 0);
    let mut body = String::new();
    for (heading, faults) in CATALOGUE {
        let _ = write!(
            body,
            "\n## {heading}\n\n| # | fault | what must happen | tests | fail with |\n|---|---|---|---|---|\n"
        );
        for fault in *faults {
            let of_fault = tests.get(&fault.number);
            let bugs: Vec<String> = ALL
                .iter()
                .filter(|bug| bug.faults.contains(&fault.number))
                .map(|bug| format!("`{}`", bug.name))
                .collect();
            all += 1;
            tested += usize::from(of_fault.is_some());
            shown += usize::from(of_fault.is_some() && !bugs.is_empty());
            let names: Vec<String> = of_fault
                .into_iter()
                .flatten()
                .map(|(name, path)| format!("`{name}` in `{}`", path.display()))
                .collect();
            let _ = writeln!(
                body,
                "| {} | {} | {} | {} | {} |",
                fault.number,
                fault.what,
                fault.must,
                names.join("<br>"),
                bugs.join(", ")
            );
        }
    }
    let _ = writeln!(
        text,
        "\nOf {all} faults {tested} have tests of their own, {shown} with a bug under which these fail."
    );
    text + &body
}

/// Runs the tests of every fault under the bugs that must break them; all of them, or of these bugs only.
pub(crate) fn run(root: &Path, only: &[String]) -> Result<bool> {
    let unknown: Vec<&String> = only.iter().filter(|name| planted::named(name).is_none()).collect();
    anyhow::ensure!(unknown.is_empty(), "no bug is called {unknown:?}; crates/model/src/planted.rs has the names");
    let tests = binaries::tests(root)?;
    let wanted = |bug: &&Planted| only.is_empty() || only.iter().any(|name| name == bug.name);
    let pairs: Vec<(&Planted, u8)> =
        ALL.iter().filter(wanted).flat_map(|bug| bug.faults.iter().map(move |fault| (bug, *fault))).collect();
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((bug, fault)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(complaint) = survives(&tests, bug, *fault) {
                        missed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(complaint);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    missed.iter().for_each(|complaint| eprintln!("{complaint}"));
    let faults: BTreeSet<u8> = pairs.iter().map(|(_, fault)| *fault).collect();
    println!(
        "{} faults under {} bugs: {} not noticed, {:.0} s",
        faults.len(),
        pairs.len(),
        missed.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(missed.is_empty())
}

/// Why a bug goes unnoticed by the tests of a fault, if it does.
fn survives(tests: &[Test], bug: &Planted, fault: u8) -> Option<String> {
    let of_fault: Vec<&Test> = tests.iter().filter(|test| number(&test.name) == Some(fault)).collect();
    if of_fault.is_empty() {
        return Some(format!("{}: there is no test of fault {fault}", bug.name));
    }
    let noticed = of_fault.iter().any(|test| !test.passes(bug.name));
    (!noticed).then(|| {
        let names: Vec<&str> = of_fault.iter().map(|test| test.name.as_str()).collect();
        format!("{}: the tests of fault {fault} pass although it is planted: {}", bug.name, names.join(", "))
    })
}

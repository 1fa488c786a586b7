//! Everything that Mesos was measured with, each cell in a process of its own, and what the targets are.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::baseline;
use crate::options::{Allocator, Workload};

/// A line that a child printed, as far as targets look at it.
#[derive(Clone, Debug)]
struct Outcome {
    workload: String,
    agents: u64,
    frameworks: u64,
    roles: u64,
    step: String,
    fields: Value,
}

impl Outcome {
    fn read(line: &str) -> Option<Outcome> {
        let fields: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| fields[name].as_u64();
        let text = |name: &str| fields[name].as_str().map(str::to_owned);
        Some(Outcome {
            workload: text("workload")?,
            agents: number("agents")?,
            frameworks: number("frameworks")?,
            roles: number("roles")?,
            step: text("step")?,
            fields,
        })
    }

    fn figure(&self, name: &str) -> Option<f64> {
        self.fields[name].as_f64()
    }

    fn rss_ratio(&self) -> Option<f64> {
        Some(self.figure("mesos_rss_mib")? / self.figure("rss_mib")?)
    }
}

/// What is aimed at.
struct Target {
    name: &'static str,
    /// Whether a line is about it.
    about: fn(&Outcome) -> bool,
    figure: fn(&Outcome) -> Option<f64>,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    Below(f64),
}

impl Bound {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Bound::AtLeast(least) => figure >= least,
            Bound::Below(most) => figure < most,
        }
    }
}

fn ratio(outcome: &Outcome) -> Option<f64> {
    outcome.figure("ratio")
}

fn cpu_ms(outcome: &Outcome) -> Option<f64> {
    outcome.figure("cpu_ms")
}

const TARGETS: [Target; 11] = [
    Target {
        name: "offer everything, 10,000 agents and more: times faster",
        about: |outcome| outcome.workload == "idle" && outcome.step == "offer_all" && outcome.agents >= 10_000,
        figure: ratio,
        bound: Bound::AtLeast(25.0),
    },
    Target {
        name: "cycle without a change: ms",
        about: |outcome| outcome.step == "no_op",
        figure: cpu_ms,
        bound: Bound::Below(0.1),
    },
    Target {
        name: "churn of 1 %: times faster",
        about: |outcome| outcome.step == "churn",
        figure: ratio,
        bound: Bound::AtLeast(100.0),
    },
    Target {
        name: "all filtered: times faster",
        about: |outcome| outcome.step == "all_filtered",
        figure: ratio,
        bound: Bound::AtLeast(1000.0),
    },
    Target {
        name: "a filter: bytes",
        about: |outcome| outcome.step == "all_filtered" && outcome.agents * outcome.frameworks >= 50_000,
        figure: |outcome| outcome.figure("bytes_per_filter"),
        bound: Bound::Below(64.0),
    },
    Target {
        name: "quota, first cycle: ms",
        about: |outcome| outcome.step == "quota_first",
        figure: cpu_ms,
        bound: Bound::Below(30.0),
    },
    Target {
        name: "quota, second cycle: ms",
        about: |outcome| outcome.step == "quota_second",
        figure: cpu_ms,
        bound: Bound::Below(30.0),
    },
    Target {
        name: "peak memory, 50,000 agents and 200 frameworks: times smaller",
        about: |outcome| outcome.agents == 50_000 && outcome.frameworks == 200 && outcome.step == "no_op",
        figure: Outcome::rss_ratio,
        bound: Bound::AtLeast(10.0),
    },
    Target {
        name: "1,000 frameworks join 50,000 agents: ms",
        about: |outcome| {
            outcome.workload == "idle"
                && outcome.step == "add_frameworks"
                && (outcome.agents, outcome.frameworks) == (50_000, 1000)
        },
        figure: cpu_ms,
        bound: Bound::Below(1000.0),
    },
    Target {
        name: "placements per CPU-second, 1,000 agents",
        about: |outcome| outcome.step == "placements",
        figure: |outcome| outcome.figure("placements_per_cpu_second"),
        bound: Bound::AtLeast(50_000.0),
    },
    Target {
        name: "the same through the whole allocator",
        about: |outcome| outcome.step == "machine",
        figure: |outcome| outcome.figure("placements_per_cpu_second"),
        bound: Bound::AtLeast(50_000.0),
    },
];

/// Runs every cell.
///
/// # Errors
/// If a cell failed. A target that was missed is no error: the machine may be busy.
pub(crate) fn run(quiet: bool, options: &Allocator) -> Result<()> {
    let mut outcomes = Vec::new();
    let mut failed = Vec::new();
    for workload in [
        Workload::Idle,
        Workload::Steady,
        Workload::Decline,
        Workload::AllFiltered,
        Workload::Quota,
        Workload::Placements,
        Workload::Machine,
    ] {
        let cells = match workload {
            Workload::Placements | Workload::Machine => vec![(1000, 50, 50)],
            _ => baseline::cells(workload.name()),
        };
        for (agents, frameworks, roles) in cells {
            if options.agents_max.is_some_and(|most| agents as usize > most) {
                continue;
            }
            let mut arguments =
                vec!["--agents".to_owned(), agents.to_string(), "--roles".to_owned(), roles.to_string()];
            if workload != Workload::Quota {
                arguments.extend(["--frameworks".to_owned(), frameworks.to_string()]);
            }
            match cell(workload, &arguments) {
                Ok(lines) => outcomes.extend(lines),
                Err(error) => {
                    let text = format!("{} {agents}x{frameworks}: {error:#}", workload.name());
                    eprintln!("mesos-bench: {text}");
                    failed.push(text);
                }
            }
        }
    }
    if !quiet {
        eprint!("{}", summary(&outcomes));
    }
    if let Some(first) = failed.first() {
        bail!("{} cells failed, the first: {first}", failed.len());
    }
    Ok(())
}

fn cell(workload: Workload, arguments: &[String]) -> Result<Vec<Outcome>> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .args(["allocator", "--workload", workload.name()])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start this program again")?;
    let mut outcomes = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            outcomes.extend(Outcome::read(&line));
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(outcomes)
}

/// How many cells meet each target, and by how much those that do not miss it.
fn summary(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    for target in &TARGETS {
        let mut figures: BTreeMap<(u64, u64, u64, &str), f64> = BTreeMap::new();
        for outcome in outcomes.iter().filter(|outcome| (target.about)(outcome)) {
            if let Some(figure) = (target.figure)(outcome) {
                let key = (outcome.agents, outcome.frameworks, outcome.roles, outcome.workload.as_str());
                figures.insert(key, figure);
            }
        }
        if figures.is_empty() {
            continue;
        }
        let (bound, worst) = match target.bound {
            Bound::AtLeast(least) => (format!("at least {least}"), figures.values().copied().fold(f64::MAX, f64::min)),
            Bound::Below(most) => (format!("below {most}"), figures.values().copied().fold(0.0, f64::max)),
        };
        let missed: Vec<String> = figures
            .iter()
            .filter(|(_, figure)| !target.bound.is_met(**figure))
            .map(|((agents, frameworks, roles, workload), figure)| {
                format!("   missed: {workload} {agents}x{frameworks} in {roles} roles: {figure:.3}\n")
            })
            .collect();
        out += &format!(
            "{} ({bound}): {} of {} cells, the worst {worst:.3}\n{}",
            target.name,
            figures.len() - missed.len(),
            figures.len(),
            missed.concat()
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_is_named_with_its_cell() {
        let line = |frameworks: u32, ratio: f64| {
            serde_json::json!({
                "workload": "idle", "agents": 10_000, "frameworks": frameworks, "roles": 1, "step": "offer_all",
                "cpu_ms": 1.0, "ratio": ratio,
            })
            .to_string()
        };
        let outcomes: Vec<Outcome> =
            [line(1, 30.0), line(50, 24.0)].iter().filter_map(|line| Outcome::read(line)).collect();
        let text = summary(&outcomes);
        assert!(text.contains("1 of 2 cells, the worst 24.000"), "{text}");
        assert!(text.contains("missed: idle 10000x50 in 1 roles: 24.000"), "{text}");
        assert!(Outcome::read("no line").is_none());
    }
}

//! `mesos-sim`: runs seeds, and says how to run the one that failed again.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use clap::Parser;
use mesos_model::planted;
use mesos_sim::{
    net::Tracing,
    run::{Outcome, Request, first_violation, run},
};

/// Simulates the cluster: real machines, virtual time, faults drawn from a seed.
#[derive(Parser)]
#[command(name = "mesos-sim")]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    start_seed: u64,
    /// The most events until a seed's faults end.
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Runs this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Without roles, reservations and operators: what a seed was before it drew them.
    #[arg(long)]
    plain: bool,
    /// Prints everything that happens; for one seed.
    #[arg(long)]
    trace: bool,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Plants a bug, to see it found (needs a build with `--features planted-bugs`).
    #[arg(long)]
    bug: Option<String>,
    /// Plants each bug in turn and runs seeds until it is found; fails if one is not.
    #[arg(long, conflicts_with_all = ["bug", "seed"])]
    all_bugs: bool,
}

#[derive(Default)]
struct Sum {
    events: u64,
    tasks: u64,
    statuses: u64,
    violations: Vec<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.all_bugs {
        return all_bugs(&options);
    }
    if let Err(error) = plant(options.bug.as_deref()) {
        eprintln!("--bug: {error}");
        return ExitCode::from(2);
    }
    let request = Request { seed: 0, events_max: options.events, tracing: Tracing::Off, plain: options.plain };
    let started = Instant::now();
    let sum = match options.seed {
        Some(seed) => one(&options, Request { seed, ..request }),
        None => many(&options, request),
    };
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} seeds, {} events, {:.0} events/s, {} tasks, {} statuses, {} violations, {seconds:.1} s",
        options.seed.map_or(options.seeds, |_| 1),
        sum.events,
        sum.events as f64 / seconds,
        sum.tasks,
        sum.statuses,
        sum.violations.len(),
    );
    if sum.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(feature = "planted-bugs")]
fn plant(name: Option<&str>) -> Result<(), String> {
    let bug = match name {
        None => None,
        Some(name) => {
            let found = planted::named(name);
            let names = || planted::ALL.iter().filter(|planted| planted.by_seeds).map(|planted| planted.name);
            let found = found.ok_or_else(|| {
                format!("no bug is called '{name}'; there are {}", names().collect::<Vec<_>>().join(", "))
            })?;
            Some(found.bug)
        }
    };
    planted::choose(bug);
    Ok(())
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(name: Option<&str>) -> Result<(), String> {
    match name {
        None => Ok(()),
        Some(_) => Err("this build has no bugs to plant; build it with --features planted-bugs".to_owned()),
    }
}

/// The strength of the simulator: how fast each planted bug is found.
fn all_bugs(options: &Options) -> ExitCode {
    let mut missed = Vec::new();
    for planted in planted::ALL.iter().filter(|planted| planted.by_seeds) {
        if let Err(error) = plant(Some(planted.name)) {
            eprintln!("--all-bugs: {error}");
            return ExitCode::from(2);
        }
        let started = Instant::now();
        let found = first_violation(options.start_seed..options.start_seed + options.seeds, options.events);
        let seconds = started.elapsed().as_secs_f64();
        match &found {
            Some((seed, violation)) => {
                println!("{:<40} seed {seed:>5}  {:<4} {seconds:>6.2} s", planted.name, violation.invariant);
            }
            None => {
                println!("{:<40} NOT FOUND in {} seeds, {seconds:.1} s", planted.name, options.seeds);
                missed.push(planted.name);
            }
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("not found: {}", missed.join(", "));
    ExitCode::FAILURE
}

fn one(options: &Options, request: Request) -> Sum {
    let tracing = if options.trace { Tracing::Printed } else { Tracing::Kept };
    let outcome = run(Request { tracing, ..request });
    let mut sum = Sum::default();
    add(&mut sum, request.seed, &outcome);
    report(options, request, &outcome);
    sum
}

fn add(sum: &mut Sum, seed: u64, outcome: &Outcome) {
    sum.events += outcome.events;
    sum.tasks += outcome.tasks;
    sum.statuses += outcome.statuses;
    if outcome.violation.is_some() {
        sum.violations.push(seed);
    }
}

/// Runs all seeds; one in a hundred twice, which must give the same trace.
fn many(options: &Options, request: Request) -> Sum {
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= options.seeds {
                        return;
                    }
                    let request = Request { seed: options.start_seed + at, ..request };
                    let outcome = run(request);
                    let again = at.is_multiple_of(100).then(|| run(request).hash);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    add(&mut sum, request.seed, &outcome);
                    if again.is_some_and(|hash| hash != outcome.hash) {
                        println!("seed {}: two runs differ", request.seed);
                        sum.violations.push(request.seed);
                    }
                    if outcome.violation.is_some() {
                        // Once more with the lines that lead to it.
                        report(options, request, &run(Request { tracing: Tracing::Kept, ..request }));
                    }
                    if (at + 1).is_multiple_of(100) {
                        println!("{} seeds, {} events, {} violations", at + 1, sum.events, sum.violations.len());
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn report(options: &Options, request: Request, outcome: &Outcome) {
    let Some(violation) = &outcome.violation else {
        println!("seed {}: nothing wrong, trace {:016x}", request.seed, outcome.hash);
        return;
    };
    if !options.trace && (options.seed.is_some() || options.seeds <= 20) {
        outcome.lines.iter().for_each(|line| println!("{line}"));
    }
    let mut more = options.bug.as_ref().map(|bug| format!(" --bug {bug}")).unwrap_or_default();
    if options.events != Request::seed(0).events_max {
        more.push_str(&format!(" --events {}", options.events));
    }
    if options.plain {
        more.push_str(" --plain");
    }
    println!(
        "seed {}: {} does not hold: {}\n  cargo run --release -p mesos-sim -- --seed {}{more}",
        request.seed, violation.invariant, violation.text, request.seed
    );
}

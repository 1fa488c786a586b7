//! Seeds: a handful in every test run, those that failed once, and two runs that must be one.

use mesos_sim::{
    net::Tracing,
    run::{Request, run},
};

fn holds(seed: u64) {
    let outcome = run(Request { tracing: Tracing::Kept, ..Request::seed(seed) });
    if let Some(violation) = outcome.violation {
        panic!(
            "{} does not hold: {}\n{}\n  cargo run --release -p mesos-sim -- --seed {seed}",
            violation.invariant,
            violation.text,
            outcome.lines.join("\n")
        );
    }
}

#[test]
fn every_invariant_holds_on_twenty_seeds() {
    (1020..1040).for_each(holds);
}

#[test]
fn every_seed_that_failed_once_holds_now() {
    let seeds = include_str!("../regressions.txt").lines().filter(|line| !line.starts_with('#'));
    let seeds = seeds.filter_map(|line| line.split_whitespace().next());
    for seed in seeds {
        holds(seed.parse().expect("a line begins with its seed"));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_another() {
    let (first, second, other) = (run(Request::seed(7)), run(Request::seed(7)), run(Request::seed(8)));
    assert_eq!((first.hash, first.events), (second.hash, second.events));
    assert_ne!(first.hash, other.hash);
    assert!(first.tasks > 0 && first.statuses > 0, "something must happen: {first:?}");
}

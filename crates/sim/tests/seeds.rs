//! Seeds: a handful in every test run, those that failed once, and two runs that must be one.

use mesos_sim::{
    net::Tracing,
    run::{Request, run},
};

fn holds(request: Request) {
    let outcome = run(Request { tracing: Tracing::Kept, ..request });
    if let Some(violation) = outcome.violation {
        panic!(
            "{} does not hold: {}\n{}\n  cargo run --release -p mesos-sim -- --seed {}{}",
            violation.invariant,
            violation.text,
            outcome.lines.join("\n"),
            request.seed,
            if request.plain { " --plain" } else { "" }
        );
    }
}

#[test]
fn every_invariant_holds_on_twenty_seeds() {
    (1020..1040).map(Request::seed).for_each(holds);
}

#[test]
fn every_seed_that_failed_once_holds_now() {
    let seeds = include_str!("../regressions.txt").lines().filter(|line| !line.starts_with('#'));
    for line in seeds {
        let mut words = line.split_whitespace();
        let seed = words.next().and_then(|word| word.parse().ok()).expect("a line begins with its seed");
        holds(Request { plain: words.next() == Some("plain"), ..Request::seed(seed) });
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_another() {
    let (first, second, other) = (run(Request::seed(7)), run(Request::seed(7)), run(Request::seed(8)));
    assert_eq!((first.hash, first.events), (second.hash, second.events));
    assert_ne!(first.hash, other.hash);
    assert!(first.tasks > 0 && first.statuses > 0, "something must happen: {first:?}");
}

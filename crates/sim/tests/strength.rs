//! The strength of the simulator: each bug that it must find is planted, and found within its minute.
#![cfg(feature = "planted-bugs")]

use std::time::{Duration, Instant};

use mesos_model::planted::{ALL, choose};
use mesos_sim::{
    invariants::Violation,
    run::{Request, first_violation},
};

/// On two cores, as `scripts/test` has them; one is used here.
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn every_planted_bug_is_found_within_a_minute() {
    let bugs: Vec<_> = ALL.iter().filter(|planted| planted.by_seeds).collect();
    assert!(bugs.len() >= 30, "there are {} only", bugs.len());
    let mut missed = Vec::new();
    for planted in bugs {
        choose(Some(planted.bug));
        let started = Instant::now();
        let seeds = (1..).take_while(|_| started.elapsed() < MINUTE);
        match first_violation(seeds, Request::seed(0).events_max) {
            Some((seed, Violation { invariant, .. })) => {
                println!("{}: {invariant} at seed {seed}, {:.2} s", planted.name, started.elapsed().as_secs_f64());
            }
            None => missed.push(planted.name),
        }
    }
    choose(None);
    assert!(missed.is_empty(), "not found: {missed:?}");
}

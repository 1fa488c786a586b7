//! The examples give the order that they promise, quickly, and for as long as one likes.

use std::time::{Duration, Instant};

use mesos_engine::policy::{ClientView, Scorer};

use crate::{build, load};

const TOTAL: [i64; 4] = [100_000, 400_000_000, 0, 8_000];
const NOW_MS: u64 = 1_760_000_000_000;

fn client(share_ppb: u64) -> ClientView {
    ClientView {
        now_ms: NOW_MS,
        waiting_since_ms: NOW_MS - 1_000,
        share_ppb,
        weight_milli: 1000,
        depth: 1,
        total: TOTAL,
        ..ClientView::default()
    }
}

/// The names of the clients in the order that the policy gives them.
fn order<'a>(scorer: &dyn Scorer, clients: &[(&'a str, ClientView)]) -> Vec<&'a str> {
    let mut scored: Vec<(i64, &str)> =
        clients.iter().map(|(name, view)| (scorer.score(view).expect("the example gives a score"), *name)).collect();
    scored.sort_unstable();
    scored.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn the_example_in_rust_serves_those_first_who_waited_for_too_long() {
    let scorer = load(&build::rust()).unwrap();
    let clients = [
        ("small", client(1_000_000)),
        ("large", client(400_000_000)),
        ("large, heavy", ClientView { weight_milli: 1_000_000, ..client(400_000_000) }),
        ("waited", ClientView { waiting_since_ms: NOW_MS - 61_000, ..client(900_000_000) }),
        ("waited longer", ClientView { waiting_since_ms: NOW_MS - 62_000, ..client(900_000_001) }),
        ("wants nothing", ClientView { waiting_since_ms: 0, ..client(500_000_000) }),
    ];
    let expected = ["waited longer", "waited", "large, heavy", "small", "large", "wants nothing"];
    assert_eq!(order(&*scorer, &clients), expected);
}

#[test]
fn the_example_in_go_serves_those_last_who_hoard() {
    let scorer = load(&build::go()).unwrap();
    let clients = [
        ("middle", client(300_000_000)),
        ("gpus", ClientView { allocated: [1_000, 1_000, 0, 5_000], ..client(200_000_000) }),
        ("half of the gpus", ClientView { allocated: [1_000, 1_000, 0, 4_000], ..client(200_000_000) }),
        ("light", ClientView { weight_milli: 250, ..client(100_000_000) }),
    ];
    let expected = ["half of the gpus", "middle", "light", "gpus"];
    assert_eq!(order(&*scorer, &clients), expected);
}

#[test]
fn the_example_in_assemblyscript_serves_higher_priorities_first() {
    let scorer = load(&build::assemblyscript()).unwrap();
    let clients = [
        ("small", client(1_000_000)),
        ("large", client(900_000_000)),
        ("wants nothing", ClientView { waiting_since_ms: 0, ..client(0) }),
        ("urgent, large", ClientView { priority: 1, ..client(900_000_000) }),
        ("urgent, wants nothing", ClientView { priority: 1, waiting_since_ms: 0, ..client(0) }),
        ("background", ClientView { priority: -1, ..client(0) }),
        ("limitless", ClientView { priority: i64::MAX, ..client(900_000_000) }),
    ];
    let expected =
        ["limitless", "urgent, large", "urgent, wants nothing", "small", "large", "wants nothing", "background"];
    assert_eq!(order(&*scorer, &clients), expected);
}

/// Go's runtime starts a goroutine for every call and has a garbage collector: neither may ever use up the
/// budget or the memory. What a score takes is printed (`--nocapture`; meaningful with `--release`): the best
/// of many rounds, which is when nothing else wanted the processor.
#[test]
fn every_example_goes_on_giving_the_same_scores() {
    const ROUNDS: usize = 100;
    const SCORES: u32 = 300;
    let examples = [("Rust", build::rust()), ("Go", build::go()), ("AssemblyScript", build::assemblyscript())];
    for (language, module) in examples {
        let begun = Instant::now();
        let scorer = load(&module).unwrap();
        let loaded = begun.elapsed();
        let views = [client(5), client(500_000_000), ClientView { priority: 7, ..client(77) }];
        let first = views.each_ref().map(|view| scorer.score(view).unwrap());
        let mut best = Duration::MAX;
        for round in 0..ROUNDS {
            let begun = Instant::now();
            for score in 0..SCORES {
                let index = score as usize % views.len();
                assert_eq!(scorer.score(&views[index]), Ok(first[index]), "{language}, round {round}, score {score}");
            }
            best = best.min(begun.elapsed());
        }
        println!("{language}: {} bytes, loaded in {loaded:?}, {:?} per score", module.len(), best / SCORES);
    }
}

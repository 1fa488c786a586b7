//! Whether a module's scores depend on the view alone.
//!
//! A module keeps its memory from one score to the next, since filling it anew each time would cost a
//! thousand times what a score costs. So nothing but the module's author can keep scores from depending on
//! earlier calls, and such scores would differ between a leader and its standbys, and between a run and its
//! replay. This finds modules that count, cache or draw random numbers: a set of views is scored in three
//! orders by two instances, and each must always get the same score. The scorer goes on asking now and then.

use mesos_engine::policy::{ClientView, ScoreError};

use crate::{compiled::Compiled, instance::Instance};

/// The number of sample views: a prime, so that every step size visits all of them.
pub(crate) const SAMPLES: usize = 7;

/// The largest number that a double holds exactly: some modules compute in doubles.
const LARGE: u64 = (1 << 53) - 1;
const LARGE_AMOUNT: i64 = (1 << 53) - 1;

/// Starts a module and scores the samples; gives the instance and the scores, in the samples' order.
/// Errors continue a sentence that begins with the policy's name.
pub(crate) fn verify(compiled: &Compiled) -> Result<(Instance, [i64; SAMPLES]), String> {
    let samples = samples();
    let mut first = Instance::start(compiled)?;
    let mut scores = [0; SAMPLES];
    for (score, (what, view)) in scores.iter_mut().zip(&samples) {
        *score = ask(&mut first, what, view)?;
    }
    let mut second = Instance::start(compiled)?;
    for index in (0..SAMPLES).rev() {
        same(&mut second, &samples[index], scores[index])?;
    }
    for step in 1..=SAMPLES {
        let index = step * 3 % SAMPLES;
        same(&mut first, &samples[index], scores[index])?;
    }
    Ok((first, scores))
}

fn same(instance: &mut Instance, (what, view): &(&str, ClientView), expected: i64) -> Result<(), String> {
    let found = ask(instance, what, view)?;
    if found == expected {
        return Ok(());
    }
    Err(differ(what, expected, found))
}

/// What is said of a module whose scores differ.
pub(crate) fn differ(what: &str, expected: i64, found: i64) -> String {
    format!(
        "gives different scores for the same view ({what}): {expected} and, after other calls, {found}. Let scores \
         depend on nothing but the view: keep no counters, caches or random numbers"
    )
}

fn ask(instance: &mut Instance, what: &str, view: &ClientView) -> Result<i64, String> {
    instance.score(view).map_err(|error| {
        let reason = match error {
            ScoreError::Budget(units) => format!("used more than its budget of {units} units of fuel"),
            ScoreError::Trap(text) => format!("trapped ({text})"),
        };
        format!("{reason} on a sample view ({what}: {view:?}). Make it give a score for every view; totals may be 0")
    })
}

/// One of the samples, for the question in between; the index is taken modulo their number.
pub(crate) fn sample(index: usize) -> (&'static str, ClientView) {
    let [first, ..] = samples();
    samples().into_iter().nth(index % SAMPLES).unwrap_or(first)
}

/// Views that real clusters have, and some at the edge of what they can have.
fn samples() -> [(&'static str, ClientView); SAMPLES] {
    let total = [640_000, 2_621_440_000, 40_000_000_000, 16_000];
    let now_ms = 1_760_000_000_000;
    [
        ("everything is 0", ClientView::default()),
        (
            "a newcomer that waits",
            ClientView {
                now_ms,
                waiting_since_ms: now_ms - 2_500,
                demand_ppb: 20_000_000,
                weight_milli: 1000,
                arrival: 12,
                depth: 1,
                total,
                ..ClientView::default()
            },
        ),
        (
            "one that has a half and wants nothing",
            ClientView {
                now_ms,
                share_ppb: 500_000_000,
                weight_milli: 2000,
                offers: 90_210,
                arrival: 1,
                depth: 2,
                allocated: [320_000, 90_000_000, 0, 0],
                total,
                ..ClientView::default()
            },
        ),
        (
            "one that has waited for a day, with a low priority",
            ClientView {
                now_ms,
                waiting_since_ms: now_ms - 86_400_000,
                share_ppb: 1_562_500,
                demand_ppb: 900_000_000,
                weight_milli: 500,
                priority: -3,
                offers: 7,
                arrival: 40,
                depth: 3,
                allocated: [1_000, 512_000, 0, 0],
                total,
            },
        ),
        (
            "one that has all gpus, with a high priority",
            ClientView {
                now_ms,
                waiting_since_ms: now_ms,
                share_ppb: 1_000_000_000,
                demand_ppb: 1,
                weight_milli: 1,
                priority: 100,
                offers: 1,
                arrival: 3,
                depth: 1,
                allocated: [4_000, 64_000_000, 1_000, 16_000],
                total,
            },
        ),
        ("everything is as large as can be", extreme(LARGE, LARGE_AMOUNT)),
        ("everything is as large as can be, but nothing is there", extreme(LARGE, 0)),
    ]
}

fn extreme(number: u64, amount: i64) -> ClientView {
    ClientView {
        now_ms: number,
        waiting_since_ms: number,
        share_ppb: number,
        demand_ppb: number,
        weight_milli: number,
        priority: -LARGE_AMOUNT,
        offers: number,
        arrival: number,
        depth: u32::MAX,
        allocated: [amount; 4],
        total: [amount; 4],
    }
}

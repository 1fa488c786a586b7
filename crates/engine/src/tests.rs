//! Proofs that the engine does what it should. A longer run: `MESOS_PROPERTY_CASES=1000 cargo test -p mesos-engine`.

mod found;
mod mirror;
mod needs;
mod properties;
mod reference;
mod scenarios;
mod theory;
mod world;

/// How many random cases to try: so many as a rule, or as the environment says.
#[expect(clippy::disallowed_methods, reason = "a test's length is no part of what the engine decides")]
fn cases(as_a_rule: u64) -> u64 {
    std::env::var("MESOS_PROPERTY_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(as_a_rule)
}

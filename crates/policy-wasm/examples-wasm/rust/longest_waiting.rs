//! A policy in Rust: nobody waits for more than a minute while others are served. Whoever has waited for
//! longer goes first, the longest of them before the others; the rest is ordered by share per weight.
//!
//! Build it with
//! `rustc --edition 2024 --target wasm32-unknown-unknown --crate-type cdylib -O -C strip=symbols longest_waiting.rs`
//! (once before: `rustup target add wasm32-unknown-unknown`).

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The host writes here. An atomic is the simplest thing that may change behind Rust's back.
static VIEW: [AtomicI64; 32] = [const { AtomicI64::new(0) }; 32];

const NOW_MS: usize = 0;
const WAITING_SINCE_MS: usize = 8;
const SHARE_PPB: usize = 16;
const WEIGHT_MILLI: usize = 32;

const PATIENCE_MS: i64 = 60_000;

fn field(offset: usize) -> i64 {
    VIEW[offset / 8].load(Relaxed)
}

#[unsafe(no_mangle)]
pub extern "C" fn mesos_policy_abi() -> i32 {
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn mesos_policy_view() -> *const AtomicI64 {
    VIEW.as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn mesos_policy_score() -> i64 {
    let since = field(WAITING_SINCE_MS);
    let waited = if since == 0 { 0 } else { field(NOW_MS) - since };
    if waited > PATIENCE_MS {
        return -waited;
    }
    field(SHARE_PPB).saturating_mul(1000) / field(WEIGHT_MILLI).max(1)
}

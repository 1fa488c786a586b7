//! What a module is given and what becomes of its answers.

use mesos_engine::policy::{ClientView, ScoreError};

use crate::{load_text, module};

#[test]
fn the_view_is_written_before_every_score() {
    let body = "(i64.add (i64.load (i32.const 1064)) (i64.load (i32.const 1152)))"; // priority and depth
    let scorer = load_text(&module(body, "")).unwrap();
    for (priority, depth) in [(7, 1), (-5, 2), (i64::MIN, 0)] {
        let view = ClientView { priority, depth, ..ClientView::default() };
        assert_eq!(scorer.score(&view), Ok(priority + i64::from(depth)));
    }
}

#[test]
fn the_reserved_bytes_are_0_whatever_the_module_writes_there() {
    let body = "(i64.load (i32.const 1272)) (i64.store (i32.const 1272) (i64.const 9))";
    let scorer = load_text(&module(body, "")).unwrap();
    assert_eq!(scorer.score(&ClientView::default()), Ok(0));
    assert_eq!(scorer.score(&ClientView::default()), Ok(0));
}

#[test]
fn a_start_section_and_initialize_run_once_before_the_first_score() {
    let more = r#"
        (global $made (mut i64) (i64.const 0))
        (func $start (global.set $made (i64.add (global.get $made) (i64.const 1))))
        (start $start)
        (func (export "_initialize") (global.set $made (i64.mul (i64.const 10) (global.get $made))))"#;
    let scorer = load_text(&module("(global.get $made)", more)).unwrap();
    assert_eq!(scorer.score(&ClientView::default()), Ok(10));
    assert_eq!(scorer.score(&ClientView::default()), Ok(10));
}

#[test]
fn after_a_trap_the_module_starts_afresh() {
    // The first client of priority 9 leaves a mark and traps; with the mark every score would be 1.
    let more = "(global $mark (mut i64) (i64.const 0))";
    let body = "(if (i64.eq (i64.load (i32.const 1064)) (i64.const 9))
                    (then (global.set $mark (i64.const 1)) unreachable))
                (global.get $mark)";
    let scorer = load_text(&module(body, more)).unwrap();
    let bad = ClientView { priority: 9, ..ClientView::default() };
    for _ in 0..2 {
        assert_eq!(scorer.score(&ClientView::default()), Ok(0));
        assert!(matches!(scorer.score(&bad), Err(ScoreError::Trap(text)) if text.contains("unreachable")));
    }
    assert_eq!(scorer.score(&ClientView::default()), Ok(0));
}

#[test]
fn every_machine_sees_the_same_nan() {
    // 0/0 has another sign on x86 than on ARM; the bits of a NaN with a payload would differ likewise.
    for nan in [
        "(f64.div (f64.const 0) (f64.const 0))",
        "(f64.div (f64.const -0) (f64.const 0))",
        "(f64.sqrt (f64.const -1))",
        "(f64.add (f64.const -nan:0x8000000001234) (f64.const 1))",
        "(f64.promote_f32 (f32.sub (f32.const inf) (f32.const inf)))",
    ] {
        let scorer = load_text(&module(&format!("(i64.reinterpret_f64 {nan})"), "")).unwrap();
        assert_eq!(scorer.score(&ClientView::default()), Ok(0x7ff8_0000_0000_0000), "{nan}");
    }
}

#[test]
fn scores_may_be_asked_for_from_many_threads() {
    let scorer = load_text(&module("(i64.load (i32.const 1064))", "")).unwrap();
    std::thread::scope(|scope| {
        for priority in 0..4 {
            let scorer = &scorer;
            scope.spawn(move || {
                let view = ClientView { priority, ..ClientView::default() };
                for _ in 0..2000 {
                    assert_eq!(scorer.score(&view), Ok(priority));
                }
            });
        }
    });
}

#[test]
fn clock_and_randomness_are_the_same_always_and_output_is_taken() {
    let more = r#"
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (data (i32.const 64) "\50\00\00\00\05\00\00\00hello")"#;
    let body = "
        (i64.store (i32.const 16) (i64.const -1))
        (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 8)))
        (drop (call $random (i32.const 16) (i32.const 8)))
        (drop (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 24)))
        (i64.add (i64.add (i64.load (i32.const 8)) (i64.load (i32.const 16)))
            (i64.add (i64.mul (i64.const 100) (i64.load32_u (i32.const 24)))
                (i64.extend_i32_u (i32.mul (i32.const 10000) (call $open (i32.const 3) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0))))))";
    let scorer = load_text(&module(body, more)).unwrap();
    // The clock is at 1 ns, the random bytes are 0, 5 bytes were taken, and there is no such file (8).
    assert_eq!(scorer.score(&ClientView::default()), Ok(80_501));
}

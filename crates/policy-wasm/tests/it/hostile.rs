//! Modules that are wrong or mean harm: each is stopped, and told apart by its text.

use mesos_engine::policy::{ClientView, ScoreError};
use mesos_policy_wasm::{FUEL_PER_SCORE, MODULE_MAX};

use crate::{load, load_text, module};

/// Why a module is refused; the text must name the policy and have each of `parts`.
fn refused(text: &str, parts: &[&str]) {
    refused_bytes(&wat::parse_str(text).expect("the test's module is well-formed"), parts);
}

fn refused_bytes(bytes: &[u8], parts: &[&str]) {
    let error = load(bytes).map(drop).expect_err("it was loaded");
    assert!(error.starts_with("policy 'example' "), "{error}");
    for part in parts {
        assert!(error.contains(part), "'{part}' is missing in: {error}");
    }
}

/// A module that behaves until a client of priority 9 comes, so that it can be loaded.
fn harmless_at_first(harm: &str, more: &str) -> String {
    let body = format!("(if (i64.eq (i64.load (i32.const 1064)) (i64.const 9)) (then {harm})) (i64.const 0)");
    module(&body, more)
}

fn bad_client() -> ClientView {
    ClientView { priority: 9, ..ClientView::default() }
}

fn trap(harm: &str, more: &str) -> String {
    match load_text(&harmless_at_first(harm, more)).unwrap().score(&bad_client()) {
        Err(ScoreError::Trap(text)) => text,
        other => panic!("{other:?} instead of a trap"),
    }
}

#[test]
fn an_endless_loop_uses_up_the_budget() {
    let scorer = load_text(&harmless_at_first("(loop $again (br $again))", "")).unwrap();
    for _ in 0..3 {
        assert_eq!(scorer.score(&bad_client()), Err(ScoreError::Budget(FUEL_PER_SCORE)));
        assert_eq!(scorer.score(&ClientView::default()), Ok(0));
    }
    refused(
        &module("(loop $again (br $again)) (i64.const 0)", ""),
        &["budget of 1000000 units of fuel", "sample view (everything is 0"],
    );
}

#[test]
fn a_trap_says_what_happened() {
    assert!(trap("unreachable", "").contains("unreachable"));
    assert!(trap("(drop (i64.div_s (i64.const 1) (i64.load (i32.const 1024))))", "").contains("divide by zero"));
    assert!(trap("(drop (i64.load (i32.const 65536)))", "").contains("out of bounds memory access"));
    assert!(trap("(call $deeper)", "(func $deeper (call $deeper))").contains("call stack exhausted"));
    refused(
        &module("(i64.div_u (i64.const 1) (i64.load (i32.const 1120)))", ""),
        &["trapped (integer divide by zero)", "total: [0, 0, 0, 0]", "totals may be 0"],
    );
}

#[test]
fn what_a_module_says_before_it_ends_itself_is_shown() {
    let more = r#"
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "env" "abort" (func $abort (param i32 i32 i32 i32)))
        (data (i32.const 64) "\50\00\00\00\0f\00\00\00panic: no\nluck ")
        (data (i32.const 80) "panic: no\nluck ")"#;
    let say = "(drop (call $write (i32.const 2) (i32.const 64) (i32.const 1) (i32.const 24)))";
    let text = trap(&format!("{say} (call $exit (i32.const 2))"), more);
    assert_eq!(text, "it ended itself with code 2; it wrote: panic: no luck");
    let text = trap("(call $abort (i32.const 0) (i32.const 0) (i32.const 31) (i32.const 7))", more);
    assert_eq!(text, "it called abort in line 31, column 7 of its source");
}

#[test]
fn memory_is_limited_at_load_and_later() {
    let large = module("(i64.const 0)", "").replace("\"memory\") 1)", "\"memory\") 513)");
    refused(&large, &["32 MiB of memory"]);
    let grow = "(loop $again (drop (memory.grow (i32.const 16))) (br $again))";
    assert!(trap(grow, "").contains("32 MiB of memory"));
    refused(&module(&format!("{grow} (i64.const 0)"), ""), &["32 MiB of memory"]);
}

#[test]
fn tables_are_limited_too() {
    refused(&module("(i64.const 0)", "(table 9000000 funcref)"), &["100000 entries of a table"]);
    let grow = "(loop $again (drop (table.grow (ref.null func) (i32.const 10000))) (br $again))";
    assert!(trap(grow, "(table 1 funcref)").contains("100000 entries of a table"));
}

#[test]
fn every_export_is_needed() {
    for name in ["memory", "mesos_policy_abi", "mesos_policy_view", "mesos_policy_score"] {
        let text = module("(i64.const 0)", "").replace(&format!("\"{name}\""), "\"other\"");
        refused(&text, &[&format!("does not export '{name}'"), "mesos policy ABI v1"]);
    }
}

#[test]
fn exports_must_be_of_the_right_type() {
    let good = module("(i64.const 0)", "");
    let wrong =
        good.replace("_score\") (result i64) (i64.const 0)", "_score\") (param i32) (result f64) (f64.const 0)");
    refused(&wrong, &["exports 'mesos_policy_score' as a function (i32) -> (f64)", "that returns i64"]);
    let wrong = good.replace("_abi\") (result i32) (i32.const 1)", "_abi\") (result i64) (i64.const 1)");
    refused(&wrong, &["exports 'mesos_policy_abi' as a function () -> (i64)", "that returns i32"]);
    let wrong = good
        .replace("(export \"memory\")", "")
        .replace("(module", "(module (global (export \"memory\") i32 (i32.const 0))");
    refused(&wrong, &["exports 'memory', but not as a memory"]);
    refused(
        &module("(i64.const 0)", "(func (export \"_initialize\") (param i32))"),
        &["exports '_initialize' as a function (i32) -> ()"],
    );
}

#[test]
fn another_version_of_the_interface_is_refused() {
    let other = module("(i64.const 0)", "").replace("(i32.const 1)", "(i32.const 2)");
    refused(&other, &["version 2", "version 1"]);
}

#[test]
fn the_buffer_must_be_whole_and_aligned() {
    for (address, part) in [
        ("65288", "do not fit into its memory of 65536 bytes"),
        ("65536", "do not fit"),
        ("-8", "at address 4294967288"),
        ("1028", "not a multiple of 8"),
        ("0", "at address 0"),
    ] {
        refused(&module("(i64.const 0)", "").replace("1024", address), &["buffer", part]);
    }
    let last = module("(i64.const 0)", "").replace("1024", "65280");
    assert!(load_text(&last).is_ok(), "the last 256 bytes of the memory are a buffer");
}

#[test]
fn what_is_no_module_is_refused() {
    refused_bytes(b"", &["not a WebAssembly module"]);
    refused_bytes(b"#!/bin/sh\nexit 1\n", &["not a WebAssembly module", ".wasm file"]);
    refused_bytes(b"\0asm", &["not a valid WebAssembly module"]);
    refused_bytes(b"\0asm\x01\0\0\0\x01", &["not a valid WebAssembly module"]);
    refused_bytes(b"\0asm\x0d\0\x01\0", &["is a WebAssembly component"]);
    refused_bytes(b"  (module)", &["is WebAssembly text"]);
    refused("(module (func (export \"_start\")))", &["is a program"]);
}

#[test]
fn a_module_beyond_the_limit_is_refused_before_it_is_read() {
    let mut module = wat::parse_str(module("(i64.const 0)", "")).unwrap();
    module.resize(MODULE_MAX + 1, 0);
    refused_bytes(&module, &["has 8388609 bytes", "8388608"]);
}

/// A module of `functions` functions with `locals` locals each, of which each takes about eight bytes.
fn declaring(functions: u32, locals: u32) -> Vec<u8> {
    fn number(mut value: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }
    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [&[id], &*number(content.len() as u32), content].concat()
    }
    let body = [&[1], &*number(locals), &[0x7e, 0x0b]].concat();
    let entry = [&*number(body.len() as u32), &*body].concat();
    let many = |entry: &[u8]| [number(functions), entry.repeat(functions as usize)].concat();
    let sections = [section(1, &[1, 0x60, 0, 0]), section(3, &many(&[0])), section(10, &many(&entry))];
    [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
}

#[test]
fn a_small_module_that_is_much_work_to_compile_is_refused() {
    refused_bytes(&declaring(50_001, 1), &["has 50001 functions, and 50000 are allowed"]);
    refused_bytes(&declaring(134, 30_000), &["more than 4000000 local variables"]);
    // At the limits, compiling goes through, and only the exports are missing.
    refused_bytes(&declaring(50_000, 80), &["does not export"]);
    refused_bytes(&declaring(133, 30_000), &["does not export"]);
    let wide = format!("(func (result {}) unreachable)", "i64 ".repeat(33));
    refused(&module("(i64.const 0)", &wide), &["33 parameters or results, and 32 are allowed"]);
}

#[test]
fn extensions_are_refused() {
    refused(&module("(i64x2.extract_lane 0 (v128.const i64x2 1 2))", ""), &["SIMD"]);
    refused(
        &module("(i64.const 0)", "(memory 1 1 shared)").replacen("(memory (export \"memory\") 1)", "", 1),
        &["extension"],
    );
    refused(&module("(i64.const 0)", "(memory 1)"), &["extension"]);
}

#[test]
fn imports_that_nobody_gets_are_named() {
    for (import, parts) in [
        (r#"(import "env" "now" (func (result i64)))"#, ["'env.now'", "a function () -> (i64)"]),
        (r#"(import "wasi_snapshot_preview1" "fork" (func))"#, ["'wasi_snapshot_preview1.fork'", "do not get"]),
        (r#"(import "js" "table" (table 1 funcref))"#, ["'js.table'", "a table"]),
        (r#"(import "env" "seed" (global i32))"#, ["'env.seed'", "a global"]),
        (r#"(import "env" "abort" (global i32))"#, ["'env.abort'", "a global"]),
        (r#"(import "env" "abort" (func (param i32)))"#, ["'env.abort'", "a function (i32, i32, i32, i32) -> ()"]),
        (
            r#"(import "wasi_snapshot_preview1" "fd_read" (func (result i64)))"#,
            ["'wasi_snapshot_preview1.fd_read'", "a function () -> (i32)"],
        ),
    ] {
        refused(&module("(i64.const 0)", import), &parts);
    }
    let imported = module("(i64.const 0)", r#"(import "env" "memory" (memory $m 1)) (export "memory" (memory $m))"#)
        .replace("(memory (export \"memory\") 1)", "");
    refused(&imported, &["'env.memory'", "--importMemory"]);
}

#[test]
fn a_start_that_never_ends_is_stopped() {
    let endless = "(func $start (loop $again (br $again))) ";
    let refusal = ["used more than its budget of 50000000 units of fuel to start"];
    refused(&module("(i64.const 0)", &format!("{endless} (start $start)")), &refusal);
    refused(&module("(i64.const 0)", &format!("{endless} (export \"_initialize\" (func $start))")), &refusal);
    let asked = module("(i64.const 0)", "").replace("(i32.const 1)", "(loop $again (br $again)) (i32.const 1)");
    refused(&asked, &refusal);
    refused(
        &module("(i64.const 0)", "(func $start unreachable) (start $start)"),
        &["before the first score", "unreachable"],
    );
}

#[test]
fn work_of_the_host_is_paid_for() {
    let imports = r#"
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))"#;
    for harm in [
        "(drop (call $random (i32.const 0) (i32.const -1)))",
        "(drop (call $write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 0)))",
        "(drop (call $poll (i32.const 0) (i32.const 0) (i32.const 1000000) (i32.const 0)))",
        // Whoever sleeps waits for a clock that stands still.
        "(loop $again (drop (call $poll (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0))) (br $again))",
    ] {
        let scorer = load_text(&harmless_at_first(harm, imports)).unwrap();
        assert_eq!(scorer.score(&bad_client()), Err(ScoreError::Budget(FUEL_PER_SCORE)), "{harm}");
    }
}

#[test]
fn addresses_out_of_bounds_are_an_error_of_the_call() {
    let imports = r#"
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))"#;
    for call in [
        "(call $random (i32.const 65535) (i32.const 2))",
        "(call $args (i32.const 8) (i32.const -1))",
        "(call $write (i32.const 1) (i32.const 65532) (i32.const 1) (i32.const 8))",
        "(call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -2))",
        "(call $poll (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 8))",
    ] {
        let scorer = load_text(&module(&format!("(i64.extend_i32_u {call})"), imports)).unwrap();
        assert_eq!(scorer.score(&ClientView::default()), Ok(21), "{call}");
    }
}

#[test]
fn a_module_that_remembers_calls_is_refused() {
    let count = "(global.set $calls (i64.add (global.get $calls) (i64.const 1)))";
    let more = "(global $calls (mut i64) (i64.const 0))";
    for body in [
        format!("{count} (global.get $calls)"),
        // Every other call, and the last call's client.
        format!("{count} (i64.and (global.get $calls) (i64.const 1))"),
        "(global.get $calls) (global.set $calls (i64.load (i32.const 1064)))".into(),
        // A cache of the first client's score, in memory.
        "(if (i64.eqz (i64.load (i32.const 8))) (then (i64.store (i32.const 8) (i64.load (i32.const 1024)))))
         (i64.load (i32.const 8))"
            .into(),
    ] {
        refused(&module(&body, more), &["different scores for the same view", "depend on nothing but the view"]);
    }
}

#[test]
fn a_module_that_changes_later_is_found_in_the_end() {
    let more = "(global $calls (mut i64) (i64.const 0))";
    let body = "(global.set $calls (i64.add (global.get $calls) (i64.const 1)))
                (i64.extend_i32_u (i64.gt_u (global.get $calls) (i64.const 500)))";
    let scorer = load_text(&module(body, more)).unwrap();
    let view = ClientView::default();
    let error = (0..5000).find_map(|_| scorer.score(&view).err()).expect("it was never found");
    assert!(matches!(&error, ScoreError::Trap(text) if text.contains("different scores")), "{error:?}");
    assert_eq!(scorer.score(&view), Ok(0), "it starts afresh");
}

/// Whatever is in the file: an error, or a scorer that gives scores or errors.
#[test]
fn no_change_of_a_byte_is_a_panic() {
    let more = "(global $mark (mut i64) (i64.const 0)) (table 2 funcref) (elem (i32.const 0) $f $f) (func $f)
        (data (i32.const 8) \"abcdefgh\")";
    let good = wat::parse_str(harmless_at_first("(call_indirect (i32.const 1))", more)).unwrap();
    for at in 0..good.len() {
        for change in [0x01, 0x80, 0xff, 0x40] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            if let Ok(scorer) = load(&bytes) {
                let _ = scorer.score(&bad_client());
            }
        }
        let _ = load(&good[..at]).map(drop);
    }
}

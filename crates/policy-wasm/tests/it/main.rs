//! Policies as modules: the examples, built with their languages' own compilers, and modules that mean harm.

mod build;
mod examples;
mod hostile;
mod interface;

use std::sync::Arc;

use mesos_engine::policy::{Loader, Scorer};
use mesos_policy_wasm::WasmLoader;

fn load(module: &[u8]) -> Result<Arc<dyn Scorer>, String> {
    WasmLoader::new().load("example", module)
}

/// Loads a module that is written as text.
fn load_text(text: &str) -> Result<Arc<dyn Scorer>, String> {
    load(&wat::parse_str(text).expect("the test's module is well-formed"))
}

/// A module whose exports are all there; `body` is that of the score, and `more` are further parts.
fn module(body: &str, more: &str) -> String {
    format!(
        r#"(module
            {more}
            (memory (export "memory") 1)
            (func (export "mesos_policy_abi") (result i32) (i32.const 1))
            (func (export "mesos_policy_view") (result i32) (i32.const 1024))
            (func (export "mesos_policy_score") (result i64) {body}))"#
    )
}

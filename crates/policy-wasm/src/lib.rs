//! Policies as WebAssembly modules: [`WasmLoader`] checks and compiles a module and gives a scorer that runs
//! it in a sandbox.
//!
//! The interface between a module and this crate is "mesos policy ABI v1", described for those who write
//! policies in `docs/policies.md`; `examples-wasm/` has policies in Rust, Go and AssemblyScript.
//!
//! A module can do nothing but compute: it has no clock, no randomness, no files, no network and no threads.
//! Its memory and its time, counted in fuel, are bounded, and its answers are the same on every machine: the
//! interpreter executes the instructions one by one and knows only one NaN.
//!
//! # Layout
//! - `abi`: names of exports and the bytes of a view
//! - `compiled`: what can be checked before anything runs
//! - `host`: the few functions that a module may import
//! - `instance`: one running module; fuel, memory and what is told of a trap
//! - `limits`: what a module may declare, so that compiling it takes no longer than its size lets one expect
//! - `purity`: whether scores depend on the view alone
//! - `scorer`: the kept instance behind `Scorer`

mod abi;
mod compiled;
mod host;
mod instance;
mod limits;
mod purity;
mod scorer;

use std::sync::Arc;

use mesos_engine::policy::{Loader, Scorer};
use wasmi::{CompilationMode, Config, Engine};

pub use abi::{ABI, VIEW_BYTES};

use self::{compiled::Compiled, scorer::WasmScorer};

/// Units of fuel that one score may use. Most instructions use one unit; copying and filling memory use one
/// for each 64 bytes. With it an endless loop ends within a few milliseconds.
pub const FUEL_PER_SCORE: u64 = 1_000_000;

/// Units of fuel that a module may use to start: its start section, `_initialize` and the two questions for
/// ABI and buffer together. Go's runtime needs some hundred thousand.
pub const FUEL_AT_START: u64 = 50_000_000;

/// Bytes of memory that one instance may have.
pub const MEMORY_MAX: usize = 32 << 20;

/// Bytes that a module may have.
pub const MODULE_MAX: usize = 8 << 20;

/// Calls that may be open at the same time in a module.
const RECURSION_MAX: usize = 1000;

/// Loads policies that are WebAssembly modules.
#[derive(Clone, Debug)]
pub struct WasmLoader {
    engine: Engine,
}

impl WasmLoader {
    /// A loader with the limits that this crate's constants state.
    #[must_use]
    pub fn new() -> Self {
        let mut config = Config::default();
        config
            .consume_fuel(true)
            // Translating at the first call would use up fuel of that call, and only of that.
            .compilation_mode(CompilationMode::Eager)
            .ignore_custom_sections(true)
            .set_max_recursion_depth(RECURSION_MAX)
            .wasm_multi_memory(false);
        Self { engine: Engine::new(&config) }
    }
}

impl Default for WasmLoader {
    fn default() -> Self {
        Self::new()
    }
}

impl Loader for WasmLoader {
    /// Checks and compiles a module, starts it, and scores a fixed set of views in several orders: a module
    /// whose answers differ, or that fails on one of them, is refused.
    ///
    /// # Errors
    /// Says in one sentence what is wrong with the module, and in another what to do.
    fn load(&self, name: &str, module: &[u8]) -> Result<Arc<dyn Scorer>, String> {
        let prefixed = |what: String| format!("policy '{name}' {what}");
        let compiled = Compiled::new(&self.engine, module).map_err(prefixed)?;
        let (instance, scores) = purity::verify(&compiled).map_err(prefixed)?;
        Ok(Arc::new(WasmScorer::new(name, compiled, instance, scores)))
    }
}

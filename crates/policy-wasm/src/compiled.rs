//! What can be checked before anything of a module runs.

use wasmi::{Engine, ExternType, Module, ValType};

use crate::{MODULE_MAX, abi, host, limits};

/// A module that has the exports of the ABI and asks for no import that it would not get.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) module: Module,
}

/// The functions that a module has to export, with what they return.
const FUNCTIONS: [(&str, ValType); 3] =
    [(abi::ABI_EXPORT, ValType::I32), (abi::VIEW_EXPORT, ValType::I32), (abi::SCORE_EXPORT, ValType::I64)];

/// Bytes 4 to 7 of a component, which follow the magic number that it shares with modules.
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

impl Compiled {
    /// Errors continue a sentence that begins with the policy's name.
    pub(crate) fn new(engine: &Engine, bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MODULE_MAX {
            return Err(format!(
                "has {} bytes, and a module may have {MODULE_MAX}. Build it for size and without debug information",
                bytes.len()
            ));
        }
        is_module(bytes)?;
        limits::check(bytes)?;
        let module = Module::new(engine, bytes).map_err(|error| {
            format!(
                "is not a valid WebAssembly module, or uses an extension that policies may not use (SIMD, threads, \
                 exceptions and garbage collection are such): {error}. Build it for plain WebAssembly 2.0"
            )
        })?;
        for import in module.imports() {
            host::check(&import)?;
        }
        exports(&module)?;
        Ok(Self { module })
    }
}

fn is_module(bytes: &[u8]) -> Result<(), String> {
    if bytes.trim_ascii_start().starts_with(b"(module") {
        return Err("is WebAssembly text. Translate it, for example with wat2wasm, and give the .wasm file".into());
    }
    if !bytes.starts_with(b"\0asm") {
        return Err("is not a WebAssembly module: it does not begin with the bytes 00 61 73 6d. Give the .wasm file \
                    that the compiler wrote"
            .into());
    }
    if bytes.get(4..8) == Some(&COMPONENT) {
        return Err("is a WebAssembly component. Build a core module: leave out the step that makes a component".into());
    }
    Ok(())
}

fn exports(module: &Module) -> Result<(), String> {
    if module.get_export(abi::PROGRAM_EXPORT).is_some() {
        return Err(format!(
            "is a program (it exports {}), and programs end before they can be asked. Build a library: \
             -buildmode=c-shared in Go, crate-type cdylib in Rust",
            abi::PROGRAM_EXPORT
        ));
    }
    match module.get_export(abi::MEMORY) {
        Some(ExternType::Memory(_)) => {}
        Some(_) => {
            return Err(format!("exports '{}', but not as a memory. Export the module's memory as that", abi::MEMORY));
        }
        None => return Err(missing(abi::MEMORY, "the module's memory")),
    }
    for (name, result) in FUNCTIONS {
        let wanted = format!("a function without parameters that returns {}", type_name(result));
        match module.get_export(name) {
            None => return Err(missing(name, &wanted)),
            Some(ExternType::Func(ty)) if ty.params().is_empty() && ty.results() == [result] => {}
            Some(other) => return Err(wrong(name, &wanted, &other)),
        }
    }
    match module.get_export(abi::INITIALIZE_EXPORT) {
        Some(ExternType::Func(ty)) if ty.params().is_empty() && ty.results().is_empty() => Ok(()),
        None => Ok(()),
        Some(other) => Err(wrong(abi::INITIALIZE_EXPORT, "a function without parameters that returns nothing", &other)),
    }
}

fn missing(name: &str, wanted: &str) -> String {
    format!("does not export '{name}'. Export {wanted} under this name (mesos policy ABI v1)")
}

fn wrong(name: &str, wanted: &str, found: &ExternType) -> String {
    format!("exports '{name}' as {}. Make it {wanted} (mesos policy ABI v1)", describe(found))
}

/// An import's or export's type in words.
pub(crate) fn describe(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => {
            let list = |types: &[ValType]| types.iter().map(|ty| type_name(*ty)).collect::<Vec<_>>().join(", ");
            format!("a function ({}) -> ({})", list(ty.params()), list(ty.results()))
        }
        ExternType::Global(_) => "a global".into(),
        ExternType::Table(_) => "a table".into(),
        ExternType::Memory(_) => "a memory".into(),
    }
}

fn type_name(ty: ValType) -> String {
    format!("{ty:?}").to_ascii_lowercase()
}

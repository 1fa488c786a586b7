//! The few functions that a module may import.
//!
//! A policy needs none. But what some compilers make wants a system around it: Go's runtime asks WASI for
//! arguments, time and randomness, and AssemblyScript has a function to call when an assertion fails. They get
//! answers that are the same always and everywhere: there are no arguments, no environment and no files, the
//! clock stands still, random bytes are 0, and output goes nowhere (its beginning is shown if the module
//! fails). The work that an answer takes is paid for in fuel.

use wasmi::{
    AsContextMut, Caller, Error, Extern, ExternType, Func, FuncType, ImportType, Module, Store, StoreLimits,
    StoreLimitsBuilder, TrapCode, Val, ValType,
};

use crate::{MEMORY_MAX, abi, compiled::describe};

const WASI: &str = "wasi_snapshot_preview1";
const ASSEMBLYSCRIPT: &str = "env";

/// WASI's numbers for errors.
const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const FAULT: i32 = 21;

/// Nanoseconds. Not 0: Go's runtime takes that for a broken clock.
const TIME: u64 = 1;

/// Units of fuel that every call costs, and bytes that one more pays for.
const CALL_COST: u64 = 50;
const BYTES_PER_UNIT: u64 = 8;

/// Entries that each of a module's tables (of functions that it calls by address) may have, and tables.
pub(crate) const TABLE_MAX: usize = 100_000;
const TABLES_MAX: usize = 16;

/// Bytes of output that are kept for the text of an error.
const SAID_MAX: usize = 400;

/// Functions of WASI that are answered properly.
const ANSWERED: [&str; 12] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "poll_oneoff",
    "proc_exit",
    "random_get",
    "sched_yield",
    "fd_fdstat_get",
];

/// Functions of WASI that are told that there is no such file or socket.
const NO_SUCH_FILE: [&str; 33] = [
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// What is known of an instance beside its memory; it also says what the instance may have.
#[derive(Debug)]
pub(crate) struct State {
    /// The beginning of what it wrote to its output.
    said: Vec<u8>,
    pub(crate) limits: StoreLimits,
}

impl State {
    pub(crate) fn new() -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(MEMORY_MAX)
            .table_elements(TABLE_MAX)
            .instances(1)
            .memories(1)
            .tables(TABLES_MAX)
            // A module that is told that there is no memory fails in a way of its own later; like this the
            // error names the reason.
            .trap_on_grow_failure(true)
            .build();
        Self { said: Vec::new(), limits }
    }

    /// What was written during earlier calls has nothing to do with the failure of this one.
    pub(crate) fn forget(&mut self) {
        self.said.clear();
    }

    /// Takes what the module wrote, as one line.
    pub(crate) fn said(&mut self) -> Option<String> {
        let said = std::mem::take(&mut self.said);
        let line = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
        (!line.is_empty()).then_some(line)
    }

    fn says(&mut self, bytes: &[u8]) {
        let room = SAID_MAX.saturating_sub(self.said.len());
        self.said.extend(bytes.iter().take(room));
    }
}

/// Whether a module gets this import. Errors continue a sentence that begins with the policy's name.
pub(crate) fn check(import: &ImportType<'_>) -> Result<(), String> {
    let (module, name) = (import.module(), import.name());
    let known = match module {
        WASI => ANSWERED.contains(&name) || NO_SUCH_FILE.contains(&name),
        ASSEMBLYSCRIPT => name == "abort",
        _ => false,
    };
    let is_function = matches!(import.ty(), ExternType::Func(_));
    if known && is_function {
        return Ok(());
    }
    let advice = match (module, name) {
        ("env", "memory") => "Let the module have its own memory (AssemblyScript: without --importMemory)",
        ("env", _) => "Link what it needs into the module (AssemblyScript: --use abort= and no other host functions)",
        ("gojs" | "go", _) => "Build it with GOOS=wasip1, not GOOS=js",
        ("__wbindgen_placeholder__" | "wbg", _) => "Build it without wasm-bindgen: there is no JavaScript here",
        _ => "A policy can only compute: leave out what needs this",
    };
    Err(format!("imports {} '{module}.{name}', which policies do not get. {advice}", describe(import.ty())))
}

/// What a module's imports are bound to, in their order.
pub(crate) fn imports(store: &mut Store<State>, module: &Module) -> Result<Vec<Extern>, String> {
    let mut externals = Vec::new();
    for import in module.imports() {
        let ExternType::Func(declared) = import.ty() else {
            return Err(format!("imports {} '{}.{}'", describe(import.ty()), import.module(), import.name()));
        };
        let function = bind(store, import.module(), import.name(), declared);
        let ty = function.ty(&*store);
        if ty != *declared {
            return Err(format!(
                "imports '{}.{}' as {}, and it is {}. Declare it like that, or leave it out",
                import.module(),
                import.name(),
                describe(import.ty()),
                describe(&ExternType::Func(ty))
            ));
        }
        externals.push(Extern::Func(function));
    }
    Ok(externals)
}

type Host<'a> = Caller<'a, State>;

fn bind(store: &mut Store<State>, module: &str, name: &str, declared: &FuncType) -> Func {
    match (module, name) {
        (ASSEMBLYSCRIPT, "abort") => Func::wrap(store, abort),
        (_, "args_get" | "environ_get") => Func::wrap(store, |mut host: Host<'_>, _: i32, _: i32| {
            charge(&mut host, 0)?;
            Ok::<i32, Error>(SUCCESS)
        }),
        (_, "args_sizes_get" | "environ_sizes_get") => Func::wrap(store, nothing_twice),
        (_, "clock_res_get") => Func::wrap(store, |mut host: Host<'_>, _clock: i32, at: i32| {
            charge(&mut host, 0)?;
            Ok::<i32, Error>(write(&mut host, at, &TIME.to_le_bytes()))
        }),
        (_, "clock_time_get") => Func::wrap(store, |mut host: Host<'_>, _clock: i32, _precision: i64, at: i32| {
            charge(&mut host, 0)?;
            Ok::<i32, Error>(write(&mut host, at, &TIME.to_le_bytes()))
        }),
        (_, "fd_write") => Func::wrap(store, fd_write),
        (_, "fd_fdstat_get") => Func::wrap(store, |mut host: Host<'_>, _file: i32, _at: i32| {
            charge(&mut host, 0)?;
            Ok::<i32, Error>(BADF)
        }),
        (_, "poll_oneoff") => Func::wrap(store, poll_oneoff),
        (_, "proc_exit") => Func::wrap(store, |_: Host<'_>, code: i32| {
            Err::<(), Error>(Error::new(format!("it ended itself with code {code}")))
        }),
        (_, "random_get") => Func::wrap(store, |mut host: Host<'_>, at: i32, length: i32| fill(&mut host, at, length)),
        (_, "sched_yield") => Func::wrap(store, |mut host: Host<'_>| {
            charge(&mut host, 0)?;
            Ok::<i32, Error>(SUCCESS)
        }),
        _ => no_such_file(store, declared),
    }
}

/// A function with the parameters that the module declares: it looks at none of them.
fn no_such_file(store: &mut Store<State>, declared: &FuncType) -> Func {
    let ty = FuncType::new(declared.params().iter().copied(), [ValType::I32]);
    Func::new(store, ty, |mut host, _parameters, results| {
        charge(&mut host, 0)?;
        if let Some(result) = results.first_mut() {
            *result = Val::I32(BADF);
        }
        Ok(())
    })
}

/// AssemblyScript's way to fail: the text is in its memory, the place in its source is enough to find it.
fn abort(_: Host<'_>, _message: i32, _file: i32, line: i32, column: i32) -> Result<(), Error> {
    Err(Error::new(format!("it called abort in line {line}, column {column} of its source")))
}

fn nothing_twice(mut host: Host<'_>, count: i32, bytes: i32) -> Result<i32, Error> {
    charge(&mut host, 0)?;
    Ok(match write(&mut host, count, &[0; 4]) {
        SUCCESS => write(&mut host, bytes, &[0; 4]),
        error => error,
    })
}

/// Takes all that is written, to whatever file.
fn fd_write(mut host: Host<'_>, _file: i32, pieces: i32, count: i32, written_at: i32) -> Result<i32, Error> {
    let count = u64::from(count.cast_unsigned());
    charge(&mut host, count * 8)?;
    let mut written: u32 = 0;
    for index in 0..count {
        let (place, bytes) = {
            let Some(memory) = memory(&mut host) else { return Ok(FAULT) };
            let start = u64::from(pieces.cast_unsigned()) + 8 * index;
            let word = |at: u64| {
                let at = usize::try_from(at).ok()?;
                let bytes = memory.get(at..at.checked_add(4)?)?;
                Some(u32::from_le_bytes(bytes.try_into().ok()?))
            };
            match (word(start), word(start + 4)) {
                (Some(place), Some(bytes)) => (place, bytes),
                _ => return Ok(FAULT),
            }
        };
        written = written.saturating_add(bytes);
        let shown = (bytes as usize).min(SAID_MAX);
        let Some(text) = memory(&mut host).and_then(|memory| {
            let place = place as usize;
            memory.get(place..place.checked_add(shown)?).map(<[u8]>::to_vec)
        }) else {
            return Ok(FAULT);
        };
        host.data_mut().says(&text);
    }
    Ok(write(&mut host, written_at, &written.to_le_bytes()))
}

/// Everything that is waited for has happened at once. Whoever waits for a time to pass asks again, since the
/// clock stands still, until the fuel is used up.
fn poll_oneoff(mut host: Host<'_>, _wanted: i32, events: i32, count: i32, count_at: i32) -> Result<i32, Error> {
    const EVENT_BYTES: i32 = 32;
    let Some(length) = count.checked_mul(EVENT_BYTES).filter(|length| *length >= 0) else { return Ok(FAULT) };
    Ok(match fill(&mut host, events, length)? {
        SUCCESS => write(&mut host, count_at, &count.to_le_bytes()),
        error => error,
    })
}

/// Takes fuel for a call that handles `bytes`.
fn charge(host: &mut Host<'_>, bytes: u64) -> Result<(), Error> {
    let cost = CALL_COST + bytes / BYTES_PER_UNIT;
    match host.get_fuel()?.checked_sub(cost) {
        Some(left) => host.set_fuel(left),
        None => {
            host.set_fuel(0)?;
            Err(TrapCode::OutOfFuel.into())
        }
    }
}

fn memory<'a>(host: &'a mut Host<'_>) -> Option<&'a mut [u8]> {
    let Some(Extern::Memory(memory)) = host.get_export(abi::MEMORY) else { return None };
    Some(memory.data_mut(host.as_context_mut()))
}

fn place<'a>(host: &'a mut Host<'_>, at: i32, length: usize) -> Option<&'a mut [u8]> {
    let at = at.cast_unsigned() as usize;
    memory(host)?.get_mut(at..at.checked_add(length)?)
}

fn write(host: &mut Host<'_>, at: i32, bytes: &[u8]) -> i32 {
    match place(host, at, bytes.len()) {
        Some(place) => {
            place.copy_from_slice(bytes);
            SUCCESS
        }
        None => FAULT,
    }
}

/// Writes zeros.
fn fill(host: &mut Host<'_>, at: i32, length: i32) -> Result<i32, Error> {
    let length = length.cast_unsigned();
    charge(host, u64::from(length))?;
    Ok(match place(host, at, length as usize) {
        Some(place) => {
            place.fill(0);
            SUCCESS
        }
        None => FAULT,
    })
}

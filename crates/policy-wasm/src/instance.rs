//! One running module.

use mesos_engine::policy::{ClientView, ScoreError};
use wasmi::{
    Memory, Store, TrapCode, TypedFunc,
    errors::{ErrorKind, InstantiationError},
};

use crate::{
    FUEL_AT_START, FUEL_PER_SCORE, MEMORY_MAX,
    abi::{self, VIEW_ALIGN, VIEW_BYTES},
    compiled::Compiled,
    host::{self, State, TABLE_MAX},
};

/// An instance that has started and whose buffer is known.
#[derive(Debug)]
pub(crate) struct Instance {
    store: Store<State>,
    memory: Memory,
    /// Where the module's buffer is: whole and within the memory, which never shrinks.
    view: usize,
    score: TypedFunc<(), i64>,
}

/// How a call ended that gave no result.
enum Failure {
    Budget,
    Trap(String),
}

impl Instance {
    /// Starts a module. Errors continue a sentence that begins with the policy's name.
    pub(crate) fn start(compiled: &Compiled) -> Result<Self, String> {
        let mut store = Store::new(compiled.module.engine(), State::new());
        store.limiter(|state| &mut state.limits);
        refuel(&mut store, FUEL_AT_START);
        let imports = host::imports(&mut store, &compiled.module)?;
        let instance = wasmi::Instance::new(&mut store, &compiled.module, &imports)
            .map_err(|error| not_started("as it was made", failure(error, &mut store)))?;
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&store, abi::INITIALIZE_EXPORT) {
            initialize
                .call(&mut store, ())
                .map_err(|error| not_started("in '_initialize'", failure(error, &mut store)))?;
        }
        let found = ask(&mut store, &instance, abi::ABI_EXPORT)?;
        if found != abi::ABI {
            return Err(format!(
                "is made for version {found} of the mesos policy ABI, and this program knows version {}. Build it for \
                 that, or use a newer program",
                abi::ABI
            ));
        }
        let view = buffer(ask(&mut store, &instance, abi::VIEW_EXPORT)?)?;
        let memory = instance
            .get_memory(&store, abi::MEMORY)
            .ok_or_else(|| format!("does not export '{}'. Export the module's memory as that", abi::MEMORY))?;
        let size = memory.data_size(&store);
        if view.saturating_add(VIEW_BYTES) > size {
            return Err(format!(
                "says that its buffer is at address {view}, and {VIEW_BYTES} bytes from there do not fit into its \
                 memory of {size} bytes. Return the address of a buffer of {VIEW_BYTES} bytes from '{}'",
                abi::VIEW_EXPORT
            ));
        }
        let score = instance
            .get_typed_func::<(), i64>(&store, abi::SCORE_EXPORT)
            .map_err(|error| format!("does not export a '{}' that can be called: {error}", abi::SCORE_EXPORT))?;
        Ok(Self { store, memory, view, score })
    }

    /// Asks for a score. After an error the module may be in the middle of anything, so the instance must not
    /// be used again.
    pub(crate) fn score(&mut self, view: &ClientView) -> Result<i64, ScoreError> {
        refuel(&mut self.store, FUEL_PER_SCORE);
        self.store.data_mut().forget();
        let place = self.memory.data_mut(&mut self.store).get_mut(self.view..self.view + VIEW_BYTES);
        place.ok_or_else(|| ScoreError::Trap("its buffer is gone".into()))?.copy_from_slice(&abi::encode(view));
        self.score.call(&mut self.store, ()).map_err(|error| match failure(error, &mut self.store) {
            Failure::Budget => ScoreError::Budget(FUEL_PER_SCORE),
            Failure::Trap(text) => ScoreError::Trap(text),
        })
    }
}

/// The engine counts fuel, so that giving some cannot fail; if it did, the call would end at once.
fn refuel(store: &mut Store<State>, units: u64) {
    let _ = store.set_fuel(units);
}

fn ask(store: &mut Store<State>, instance: &wasmi::Instance, name: &str) -> Result<i32, String> {
    instance
        .get_typed_func::<(), i32>(&*store, name)
        .and_then(|function| function.call(&mut *store, ()))
        .map_err(|error| not_started(&format!("in '{name}'"), failure(error, store)))
}

/// The address of the buffer; addresses have 32 bits without a sign.
fn buffer(address: i32) -> Result<usize, String> {
    let address = address.cast_unsigned() as usize;
    if address == 0 {
        return Err(format!(
            "says that its buffer is at address 0. Return the address of a buffer of {VIEW_BYTES} bytes from '{}'",
            abi::VIEW_EXPORT
        ));
    }
    if !address.is_multiple_of(VIEW_ALIGN) {
        return Err(format!(
            "says that its buffer is at address {address}, which is not a multiple of {VIEW_ALIGN}. Align the buffer, \
             for example by making it an array of 64-bit integers"
        ));
    }
    Ok(address)
}

fn not_started(place: &str, failure: Failure) -> String {
    match failure {
        Failure::Budget => format!(
            "used more than its budget of {FUEL_AT_START} units of fuel to start ({place}). Do less before the first \
             score, and look for a loop that does not end"
        ),
        Failure::Trap(text) => format!("failed {place}, before the first score: {text}. Correct what it does there"),
    }
}

/// What happened, with what the module wrote before, which often has the reason.
fn failure(error: wasmi::Error, store: &mut Store<State>) -> Failure {
    let mut text = match (error.as_trap_code(), error.kind()) {
        (Some(TrapCode::OutOfFuel), _) => return Failure::Budget,
        (Some(TrapCode::GrowthOperationLimited), _)
        | (
            _,
            ErrorKind::Instantiation(
                InstantiationError::FailedToInstantiateMemory(_) | InstantiationError::FailedToInstantiateTable(_),
            ),
        ) => format!(
            "it wanted more than a policy may have ({} MiB of memory, {TABLE_MAX} entries of a table), or than its own \
                 maximum",
            MEMORY_MAX >> 20
        ),
        _ => error.to_string(),
    };
    if let Some(said) = store.data_mut().said() {
        text += &format!("; it wrote: {said}");
    }
    Failure::Trap(text)
}

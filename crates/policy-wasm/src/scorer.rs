//! The kept instance of a module.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use mesos_engine::policy::{ClientView, ScoreError, Scorer};

use crate::{
    compiled::Compiled,
    instance::Instance,
    purity::{self, SAMPLES},
};

/// After this many scores a sample is asked again, to find a module whose scores depend on earlier calls in a
/// way that did not show when it was loaded. It costs a thousandth.
const ASK_AGAIN_AFTER: u64 = 1024;

/// A loaded module and its one instance.
pub(crate) struct WasmScorer {
    name: String,
    compiled: Compiled,
    /// What the samples got when the module was loaded.
    scores: [i64; SAMPLES],
    kept: Mutex<Kept>,
}

struct Kept {
    /// `None` after a failure: the next score starts another one.
    instance: Option<Instance>,
    /// Scores that were given, of all instances.
    given: u64,
}

impl WasmScorer {
    pub(crate) fn new(name: &str, compiled: Compiled, instance: Instance, scores: [i64; SAMPLES]) -> Self {
        let kept = Mutex::new(Kept { instance: Some(instance), given: 0 });
        Self { name: name.to_owned(), compiled, scores, kept }
    }

    fn ask_again(&self, instance: &mut Instance, round: u64) -> Result<(), ScoreError> {
        let index = usize::try_from(round % SAMPLES as u64).unwrap_or_default();
        let (what, view) = purity::sample(index);
        let found = instance.score(&view)?;
        match self.scores.get(index) {
            Some(expected) if *expected != found => {
                Err(ScoreError::Trap(format!("it {}", purity::differ(what, *expected, found))))
            }
            _ => Ok(()),
        }
    }
}

impl Scorer for WasmScorer {
    fn score(&self, client: &ClientView) -> Result<i64, ScoreError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out, so that only a score that was given puts it back.
        let mut instance = match kept.instance.take() {
            Some(instance) => instance,
            None => Instance::start(&self.compiled)
                .map_err(|what| ScoreError::Trap(format!("started again after a failure, it {what}")))?,
        };
        let score = instance.score(client)?;
        kept.given += 1;
        if kept.given.is_multiple_of(ASK_AGAIN_AFTER) {
            self.ask_again(&mut instance, kept.given / ASK_AGAIN_AFTER)?;
        }
        kept.instance = Some(instance);
        Ok(score)
    }
}

impl fmt::Debug for WasmScorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmScorer").field("name", &self.name).finish_non_exhaustive()
    }
}

//! How a policy that is not built in takes part: it gives every client a score, and the lowest is next.

use std::{fmt, sync::Arc};

/// What a policy may know of a client, which is a framework in one of its roles. Shares are in parts per
/// billion of the cluster; amounts are in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientView {
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Since when it has had an unmet demand, in the same measure; 0 if it has none.
    pub waiting_since_ms: u64,
    /// Its dominant share: offered and allocated, not divided by weight.
    pub share_ppb: u64,
    /// The dominant share of what it would still like to have.
    pub demand_ppb: u64,
    /// Weight of its role, in thousandths.
    pub weight_milli: u64,
    /// Its priority.
    pub priority: i64,
    /// Offers that it was made in its life.
    pub offers: u64,
    /// Order of arrival: lower came first.
    pub arrival: u64,
    /// Levels of its role: 1 for `a`, 2 for `a/b`.
    pub depth: u32,
    /// What it has: cpus, mem (MB), disk (MB), gpus.
    pub allocated: [i64; 4],
    /// What the cluster has, likewise.
    pub total: [i64; 4],
}

/// Why a module gave no score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// It used up its budget.
    #[error("the policy used more than its budget of {0} units of fuel for one score")]
    Budget(u64),
    /// It trapped.
    #[error("the policy trapped: {0}")]
    Trap(String),
}

/// A loaded module. Scores must depend on nothing but the view.
pub trait Scorer: fmt::Debug + Send + Sync {
    /// The score of a client; among clients the lowest is next, and of equal ones the one with fewer offers.
    ///
    /// # Errors
    /// If the module fails; the engine then goes back to the policy before.
    fn score(&self, client: &ClientView) -> Result<i64, ScoreError>;
}

/// Makes a module out of its bytes.
pub trait Loader: fmt::Debug + Send + Sync {
    /// Checks and compiles a module.
    ///
    /// # Errors
    /// Says what is wrong with it and what to do.
    fn load(&self, name: &str, module: &[u8]) -> Result<Arc<dyn Scorer>, String>;
}

/// Loads nothing: for whoever has no module runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLoader;

impl Loader for NoLoader {
    fn load(&self, name: &str, _module: &[u8]) -> Result<Arc<dyn Scorer>, String> {
        Err(format!("policy '{name}' is a module, and this program was built without a runtime for modules"))
    }
}

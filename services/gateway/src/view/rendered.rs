//! Answers that many readers share: equal concurrent requests are computed once, on a blocking thread.
//!
//! An answer is used again until the view has changed and [`AGE_MIN`] has passed, or three times as long as
//! it took to compute if that is more. So readers, however many, take no more than a quarter of one core
//! per kind of answer, and nothing that they read is older than that. Launches do not notice them.

use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tokio::sync::Semaphore;

use super::{Cluster, View};

/// How long an answer is used at least, however much changes meanwhile.
pub const AGE_MIN: Duration = Duration::from_millis(150);
const AGE_PER_COST: u32 = 3;
/// Different answers kept; more than that are computed each time.
const KEPT_MAX: usize = 64;
/// Computed at the same time, so that readers never take all threads.
const CONCURRENT_MAX: usize = 1;

/// One computed answer.
#[derive(Debug)]
pub struct Rendered {
    /// Of which version of the view it is at least.
    pub version: u64,
    /// The body.
    pub body: Bytes,
    /// The same compressed, once somebody wants it so.
    gzip: OnceLock<Option<Bytes>>,
    made: Instant,
    cost: Duration,
}

impl Rendered {
    fn is_fresh(&self, version: u64, version_min: u64) -> bool {
        let age_max = AGE_MIN.max(self.cost * AGE_PER_COST);
        self.version >= version_min && (self.version == version || self.made.elapsed() < age_max)
    }

    /// The body compressed; computed at the first call, on the calling thread. `None` if that failed.
    pub fn gzip(&self) -> Option<&Bytes> {
        self.gzip.get_or_init(|| compress(&self.body)).as_ref()
    }

    /// The compressed body, if it was computed already.
    pub fn gzip_if_made(&self) -> Option<&Bytes> {
        self.gzip.get().and_then(Option::as_ref)
    }
}

fn compress(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8 + 64), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Rendered>>>>;

/// See the module.
pub struct Answers {
    view: Arc<View>,
    slots: Mutex<HashMap<String, Slot>>,
    computing: Arc<Semaphore>,
}

/// The thread that computed an answer panicked or the program is ending.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be computed")]
pub struct RenderError;

impl Answers {
    /// Answers from a view.
    #[must_use]
    pub fn new(view: Arc<View>) -> Answers {
        Answers { view, slots: Mutex::default(), computing: Arc::new(Semaphore::new(CONCURRENT_MAX)) }
    }

    /// The shared answer under `key`, which must name everything that `render` depends on but the cluster.
    ///
    /// # Errors
    /// Only if the computation panicked.
    pub async fn shared(
        &self,
        key: &str,
        render: impl FnOnce(&Cluster) -> Bytes + Send + 'static,
    ) -> Result<Arc<Rendered>, RenderError> {
        self.at_least(key, 0, render).await
    }

    /// As [`shared`](Self::shared), of `version_min` or later whatever the age.
    ///
    /// # Errors
    /// Only if the computation panicked.
    pub async fn at_least(
        &self,
        key: &str,
        version_min: u64,
        render: impl FnOnce(&Cluster) -> Bytes + Send + 'static,
    ) -> Result<Arc<Rendered>, RenderError> {
        let slot = self.slot(key);
        // Held while it is computed: whoever asks for the same meanwhile waits and gets the result.
        let mut slot = slot.lock().await;
        if let Some(rendered) = &*slot
            && rendered.is_fresh(self.view.version(), version_min)
        {
            return Ok(rendered.clone());
        }
        let rendered = self.compute(render).await?;
        *slot = Some(rendered.clone());
        Ok(rendered)
    }

    /// An answer of its own, for requests that are hardly ever equal.
    ///
    /// # Errors
    /// Only if the computation panicked.
    pub async fn compute(
        &self,
        render: impl FnOnce(&Cluster) -> Bytes + Send + 'static,
    ) -> Result<Arc<Rendered>, RenderError> {
        // Never closed, so it fails only when the program ends.
        let permit = self.computing.clone().acquire_owned().await.map_err(|_| RenderError)?;
        let view = self.view.clone();
        let task = tokio::task::spawn_blocking(move || {
            let made = Instant::now();
            let (cluster, version) = view.snapshot();
            let body = render(&cluster);
            drop(permit);
            Arc::new(Rendered { version, body, gzip: OnceLock::new(), made, cost: made.elapsed() })
        });
        task.await.map_err(|error| {
            tracing::error!(%error, "an answer could not be computed");
            RenderError
        })
    }

    fn slot(&self, key: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            return slot.clone();
        }
        if slots.len() >= KEPT_MAX {
            // Answers that nobody is waiting for; keys are few, so this hardly ever happens.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let slot = Slot::default();
        slots.insert(key.to_owned(), slot.clone());
        slot
    }
}

//! Whether the leaders of both services live, as far as this gateway can tell.
//!
//! A leader that answers calls lives. Where nobody calls, its lease tells: renewing it is a commit, so the
//! store's head of a live leader moves on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mesos_core::row::service;
use mesos_runtime::shell::Ports;
use tokio::time::Instant;

use crate::calls::Calls;

const LOOK: Duration = Duration::from_secs(2);
/// Until both services have had a leader.
const LOOK_FIRST: Duration = Duration::from_millis(50);

/// What is known of both leaders.
pub struct Leaders {
    calls: Calls,
    moved: [Mutex<Option<(u64, Instant)>>; 2],
}

const SERVICES: [&str; 2] = [service::ALLOCATOR, service::REGISTRY];

impl Leaders {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(calls: Calls) -> Arc<Leaders> {
        Arc::new(Leaders { calls, moved: Default::default() })
    }

    /// Looks at the store's heads until it is dropped.
    pub async fn watch(self: Arc<Self>, ports: Ports) {
        loop {
            for (service, moved) in SERVICES.into_iter().zip(&self.moved) {
                if let Ok(Some(head)) = ports.store.head(service).await {
                    let mut moved = moved.lock().unwrap_or_else(PoisonError::into_inner);
                    if moved.is_none_or(|(seq, _)| seq != head.seq) {
                        *moved = Some((head.seq, Instant::now()));
                    }
                }
            }
            let seen = |moved: &Mutex<Option<_>>| moved.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            tokio::time::sleep(if self.moved.iter().all(seen) { LOOK } else { LOOK_FIRST }).await;
        }
    }

    /// Why calls would not get through, if they would not.
    #[must_use]
    pub fn reason(&self, silence: Duration) -> Option<String> {
        let answered = self.calls.answered();
        let missing: Vec<&str> = SERVICES
            .into_iter()
            .zip(&self.moved)
            .zip([answered.0, answered.1])
            .filter(|((_, moved), answered)| {
                let moved = moved.lock().unwrap_or_else(PoisonError::into_inner).map(|(_, at)| at);
                moved.max(*answered).is_none_or(|last| last.elapsed() > silence)
            })
            .map(|((service, _), _)| service)
            .collect();
        (!missing.is_empty()).then(|| format!("no leader of: {}", missing.join(", ")))
    }
}

//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(25);

/// Waits until `condition` is true. An error counts as "not yet", and the last one is in the failure's
/// text together with `what` was waited for.
pub async fn eventually<F>(timeout: Duration, what: &str, mut condition: F) -> Result<()>
where
    F: AsyncFnMut() -> Result<bool>,
{
    eventually_some(timeout, what, async || Ok(condition().await?.then_some(()))).await
}

/// Waits until `look` finds something, and returns it. Errors are handled as in [`eventually`].
pub async fn eventually_some<T, F>(timeout: Duration, what: &str, mut look: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<Option<T>>,
{
    let deadline = Instant::now() + timeout;
    let mut last = "the condition was false each time".to_owned();
    loop {
        // One look may hang, on a paused process for example; the deadline holds all the same.
        let left = deadline.saturating_duration_since(Instant::now()).max(POLL);
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => last = format!("last error: {error:#}"),
            Err(_) => last = format!("the last look did not return ({last})"),
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {timeout:?}; {last}");
        }
        tokio::time::sleep(POLL).await;
    }
}

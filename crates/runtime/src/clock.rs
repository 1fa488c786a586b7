//! The shell's clock: wall time at the start, moved on by the monotonic clock, so that a stepped wall clock
//! moves no deadline.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mesos_model::Time;

/// A clock that never jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { start: Instant::now(), wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

impl Clock {
    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        Time(0).after(self.wall + self.start.elapsed())
    }

    /// When a point in time is on the monotonic clock.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.start + Duration::from_millis(time.0).saturating_sub(self.wall)
    }
}

/// Sleeps until a point in time, or for ever.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

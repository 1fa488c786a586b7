//! The shell's clock: wall time at the start, moved on by the monotonic clock, so that a stepped wall clock
//! moves no deadline.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mesos_model::{
    Time,
    planted::{Bug, is_planted},
};

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
        if is_planted(Bug::ClockOfTheWall) {
            return Time(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that began an hour before the wall clock was set, forth or back: its deadlines come when they
    /// would have come.
    #[test]
    fn f51_a_step_of_the_wall_clock_moves_neither_time_nor_deadlines() {
        const HOUR: Duration = Duration::from_secs(3600);
        let now = Clock::default();
        for wall in [now.wall - HOUR, now.wall + HOUR] {
            let clock = Clock { wall, ..now };
            let before = clock.now();
            assert!(before.since(Time(0).after(wall)) < Duration::from_secs(60), "{before:?}");
            let due = clock.instant(before.after(Duration::from_secs(5)));
            let left = due.saturating_duration_since(Instant::now());
            assert!(left <= Duration::from_secs(5) && left > Duration::from_secs(4), "{left:?}");
            assert!(clock.now() >= before);
        }
    }
}

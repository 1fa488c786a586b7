//! CPU and memory of processes, from `/proc`.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Ticks per second of the times in `/proc/<pid>/stat`; the same on every Linux that we build for.
const TICKS: f64 = 100.0;

/// User and system time of a process so far, in milliseconds.
pub(crate) fn cpu_ms(pid: u32) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    // The name in parentheses may contain anything, so fields are counted behind it.
    let Some((_, rest)) = stat.rsplit_once(')') else { return 0.0 };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) + field(12)) * 1000.0 / TICKS
}

fn status_mib(pid: u32, key: &str) -> f64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return 0.0 };
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib: f64 =
        line.and_then(|line| line.trim_start_matches(':').trim().split(' ').next()?.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

/// Memory in use, in MiB.
pub(crate) fn rss_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS")
}

/// The most memory that was in use, in MiB.
pub(crate) fn rss_peak_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM")
}

/// Takes a reading at its start, so that its end can tell what happened between.
pub(crate) struct Meter {
    at: Instant,
    before: BTreeMap<String, (u32, f64)>,
}

/// What a process used between two readings.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Used {
    /// User and system time.
    pub(crate) cpu_ms: f64,
    /// The most memory it ever had.
    pub(crate) rss_peak_mib: f64,
}

impl Meter {
    /// Starts with these processes, and with the load's own as `load`.
    pub(crate) fn start(processes: impl IntoIterator<Item = (String, u32)>) -> Meter {
        let own = ("load".to_owned(), std::process::id());
        let before = processes.into_iter().chain([own]).map(|(name, pid)| (name, (pid, cpu_ms(pid)))).collect();
        Meter { at: Instant::now(), before }
    }

    /// What was used since the start, by process, and for how long.
    pub(crate) fn stop(&self) -> (BTreeMap<String, Used>, Duration) {
        let used = |(name, (pid, before)): (&String, &(u32, f64))| {
            (name.clone(), Used { cpu_ms: cpu_ms(*pid) - before, rss_peak_mib: round(rss_peak_mib(*pid)) })
        };
        (self.before.iter().map(used).collect(), self.at.elapsed())
    }

    /// Memory in use now, by process.
    pub(crate) fn rss(&self) -> BTreeMap<String, f64> {
        self.before.iter().map(|(name, (pid, _))| (name.clone(), round(rss_mib(*pid)))).collect()
    }
}

/// To a hundredth.
pub(crate) fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to_use_cpu_and_memory() {
        let meter = Meter::start([]);
        let until = Instant::now() + Duration::from_millis(100);
        let mut spin = 0_u64;
        while Instant::now() < until {
            spin = std::hint::black_box(spin.wrapping_add(1));
        }
        let (used, wall) = meter.stop();
        assert!(used["load"].cpu_ms >= 20.0, "{used:?}");
        assert!(used["load"].rss_peak_mib > 1.0, "{used:?}");
        assert!(wall >= Duration::from_millis(100));
        assert!(meter.rss()["load"] > 1.0);
    }

    #[test]
    fn a_process_that_is_not_there_uses_nothing() {
        assert!(cpu_ms(u32::MAX) == 0.0 && rss_mib(u32::MAX) == 0.0);
    }
}

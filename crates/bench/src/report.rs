//! Figures, JSON lines and summaries.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::{
    options::Common,
    usage::{Meter, Used, round},
};

/// Durations in microseconds, three digits kept.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // The largest value, ten minutes, is above every deadline of a measurement.
        Times(
            Histogram::new_with_bounds(1, 600_000_000, 3)
                .unwrap_or_else(|_| unreachable!("the bounds are constants in range")),
        )
    }
}

impl Times {
    /// One more.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// All of another one too.
    pub(crate) fn merge(&mut self, other: &Times) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// A quantile in milliseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Figures in milliseconds.
    pub(crate) fn figures(&self) -> Value {
        if self.0.is_empty() {
            return json!({"count": 0});
        }
        json!({
            "count": self.0.len(),
            "p50_ms": round(self.quantile(0.5)),
            "p90_ms": round(self.quantile(0.9)),
            "p99_ms": round(self.quantile(0.99)),
            "max_ms": round(self.0.max() as f64 / 1000.0),
        })
    }

    /// The same for people.
    pub(crate) fn text(&self) -> String {
        if self.0.is_empty() {
            return "none".to_owned();
        }
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|quantile| self.quantile(quantile));
        format!("p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, max {max:.2} ms ({})", self.0.len())
    }
}

/// One result on its way to stdout.
pub(crate) struct Line {
    fields: Map<String, Value>,
    summary: Vec<String>,
}

impl Line {
    /// A result of a measurement.
    pub(crate) fn new(bench: &str, parameters: Value) -> Line {
        let mut fields = Map::new();
        fields.insert("bench".to_owned(), bench.into());
        fields.insert("parameters".to_owned(), parameters);
        Line { fields, summary: vec![format!("== {bench}")] }
    }

    /// A figure or a text.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Line {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// A histogram.
    pub(crate) fn times(&mut self, name: &str, times: &Times) -> &mut Line {
        self.summary.push(format!("{name}: {}", times.text()));
        self.set(name, times.figures())
    }

    /// One more line for people.
    pub(crate) fn say(&mut self, text: impl Into<String>) -> &mut Line {
        self.summary.push(text.into());
        self
    }

    /// What every process used, in all and for each of `launches`.
    pub(crate) fn used(&mut self, meter: &Meter, launches: u64) -> &mut Line {
        let (used, wall) = meter.stop();
        let (total, per_launch) = split(&used, launches);
        let rss: BTreeMap<&String, f64> = used.iter().map(|(name, used)| (name, used.rss_peak_mib)).collect();
        let parts: Vec<String> = per_launch.iter().map(|(name, ms)| format!("{name} {ms:.3}")).collect();
        self.summary.push(format!(
            "CPU ms per launch: {} (sum {:.3})",
            parts.join(", "),
            per_launch.values().sum::<f64>()
        ));
        let parts: Vec<String> = rss.iter().map(|(name, mib)| format!("{name} {mib:.0}")).collect();
        self.summary.push(format!("peak RSS MiB: {}", parts.join(", ")));
        self.set("cpu_ms", json!(total));
        self.set("cpu_ms_per_launch", json!(per_launch));
        self.set("rss_peak_mib", json!(rss));
        self.set("wall_ms", wall.as_millis() as u64)
    }

    /// Prints it.
    pub(crate) fn print(&self, common: &Common) {
        println!("{}", Value::Object(self.fields.clone()));
        if !common.quiet {
            eprintln!("{}", self.summary.join("\n   "));
        }
    }
}

fn split(used: &BTreeMap<String, Used>, launches: u64) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
    let each = |of: &Used| (of.cpu_ms / launches.max(1) as f64 * 1e4).round() / 1e4;
    let total = used.iter().map(|(name, used)| (name.clone(), round(used.cpu_ms))).collect();
    (total, used.iter().map(|(name, used)| (name.clone(), each(used))).collect())
}

/// Fails the run if anything was lost or went wrong.
pub(crate) fn verdict(lost: u64, errors: &[String]) -> Result<()> {
    if lost > 0 || !errors.is_empty() {
        bail!(
            "{lost} tasks lost, {} errors{}",
            errors.len(),
            errors.first().map(|first| format!(", the first: {first}")).unwrap_or_default()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_milliseconds() {
        let mut times = Times::default();
        for ms in 1..=100 {
            times.add(Duration::from_millis(ms));
        }
        let figures = times.figures();
        assert_eq!(figures["count"], 100);
        assert!((figures["p50_ms"].as_f64().unwrap() - 50.0).abs() < 0.1, "{figures}");
        assert!((figures["max_ms"].as_f64().unwrap() - 100.0).abs() < 0.2, "{figures}");
    }

    #[test]
    fn a_run_that_lost_a_task_fails() {
        assert!(verdict(0, &[]).is_ok());
        assert!(verdict(1, &[]).is_err());
        assert!(verdict(0, &["x".to_owned()]).unwrap_err().to_string().contains('x'));
    }
}

//! Time, and the lines that become of it.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use super::{Size, baseline};
use crate::usage;

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    cpu_ms: f64,
    wall_ms: f64,
}

/// Which of several samples counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// The one in the middle, CPU and wall each by itself.
    Median,
    /// The smallest.
    Best,
    /// The sum divided by how many.
    Mean,
}

/// Samples of the steps of a workload, and the lines that are made of them.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    samples: Vec<(&'static str, Sample)>,
    lines: Vec<(&'static str, Map<String, Value>)>,
}

fn cpu_now() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// CPU and wall time that was taken piece by piece.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    sample: Sample,
}

impl Spent {
    /// Carries something out and adds what it took.
    pub(crate) fn on<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (wall, cpu) = (Instant::now(), cpu_now());
        let out = work();
        let (cpu, wall) = (cpu_now() - cpu, wall.elapsed());
        self.sample.cpu_ms += cpu.as_secs_f64() * 1000.0;
        self.sample.wall_ms += wall.as_secs_f64() * 1000.0;
        out
    }
}

impl Steps {
    /// What was taken piece by piece, as a sample of a step.
    pub(crate) fn add(&mut self, step: &'static str, spent: Spent) {
        self.samples.push((step, spent.sample));
    }

    /// Carries something out as a sample of a step.
    pub(crate) fn time<T>(&mut self, step: &'static str, work: impl FnOnce() -> T) -> T {
        let mut spent = Spent::default();
        let out = spent.on(work);
        self.add(step, spent);
        out
    }

    /// One line of a step's samples, under the same or another name; none if there are no samples.
    pub(crate) fn line(&mut self, name: &'static str, step: &str, take: Take) -> Option<&mut Map<String, Value>> {
        let of_step = |figure: fn(&Sample) -> f64| {
            self.samples.iter().filter(|(of, _)| *of == step).map(|(_, sample)| figure(sample)).collect::<Vec<f64>>()
        };
        let (cpu, wall) = (of_step(|sample| sample.cpu_ms), of_step(|sample| sample.wall_ms));
        if cpu.is_empty() {
            return None;
        }
        let mut fields = Map::new();
        fields.insert("samples".to_owned(), cpu.len().into());
        fields.insert("cpu_ms".to_owned(), micro(one_of(cpu, take)).into());
        fields.insert("wall_ms".to_owned(), micro(one_of(wall, take)).into());
        self.lines.push((name, fields));
        self.lines.last_mut().map(|(_, fields)| fields)
    }

    /// Lines of steps under their own names.
    pub(crate) fn lines(&mut self, steps: &[&'static str], take: Take) {
        for step in steps {
            self.line(step, step, take);
        }
    }

    /// Prints one JSON line for each line.
    pub(crate) fn print(&self, workload: &str, size: Size) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (agents, frameworks, roles) = (count(size.agents), count(size.frameworks), count(size.roles));
        let rss = usage::round(usage::rss_peak_mib(std::process::id()));
        for (step, figures) in &self.lines {
            let mut fields = Map::new();
            fields.insert("bench".to_owned(), "allocator".into());
            fields.insert("workload".to_owned(), workload.into());
            fields.insert("agents".to_owned(), agents.into());
            fields.insert("frameworks".to_owned(), frameworks.into());
            fields.insert("roles".to_owned(), roles.into());
            fields.insert("step".to_owned(), (*step).into());
            fields.extend(figures.clone());
            fields.insert("rss_mib".to_owned(), rss.into());
            let mesos = baseline::mesos_cpu_ms(workload, agents, frameworks, roles, step);
            let mesos_rss = baseline::mesos_peak_rss_mib(workload, agents, frameworks, roles);
            fields.insert("mesos_cpu_ms".to_owned(), json!(mesos));
            fields.insert("mesos_rss_mib".to_owned(), json!(mesos_rss));
            let ours = figures.get("cpu_ms").and_then(Value::as_f64);
            let ratio = mesos.zip(ours).map(|(mesos, ours)| usage::round(mesos / ours.max(1e-6)));
            fields.insert("ratio".to_owned(), json!(ratio));
            println!("{}", Value::Object(fields));
        }
    }

    /// The sum of all samples of a step: CPU milliseconds.
    pub(crate) fn cpu_ms(&self, step: &str) -> f64 {
        self.samples.iter().filter(|(of, _)| *of == step).map(|(_, sample)| sample.cpu_ms).sum()
    }
}

fn one_of(mut figures: Vec<f64>, take: Take) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    match take {
        Take::Best => figures[0],
        Take::Mean => figures.iter().sum::<f64>() / figures.len() as f64,
        Take::Median if figures.len() % 2 == 1 => figures[figures.len() / 2],
        Take::Median => f64::midpoint(figures[figures.len() / 2 - 1], figures[figures.len() / 2]),
    }
}

/// To a millionth.
fn micro(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_counts_is_taken() {
        let figures = vec![4.0, 1.0, 3.0, 8.0];
        assert_eq!(one_of(figures.clone(), Take::Best).to_bits(), 1.0f64.to_bits());
        assert_eq!(one_of(figures.clone(), Take::Mean).to_bits(), 4.0f64.to_bits());
        assert_eq!(one_of(figures.clone(), Take::Median).to_bits(), 3.5f64.to_bits());
        assert_eq!(one_of(figures[..3].to_vec(), Take::Median).to_bits(), 3.0f64.to_bits());
    }

    #[test]
    fn a_step_without_samples_has_no_line() {
        let mut steps = Steps::default();
        assert_eq!(steps.time("a", || 7), 7);
        steps.lines(&["a", "b"], Take::Best);
        assert!(steps.lines.iter().map(|(name, _)| *name).eq(["a"]));
        assert!(steps.cpu_ms("a") >= 0.0);
    }
}

//! Oversubscription: what tasks hold and do not use is offered once more, as revocable.
//!
//! The agent only says how much that is. Who gets it, and who must give it back when the estimate falls, is
//! the allocator's to decide.

use std::{
    collections::HashMap,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use mesos_core::agent::Event;
use mesos_model::{Resource, Resources, Value, resources::Qualifier, resources_text};
use mesos_ports::containerizer::Usage;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::containers::Containers;

/// Of what is not used, so much is given away; the rest is for tasks that begin to use more.
const GIVEN: f64 = 0.8;
/// How much of a lower use is believed at once. More use is believed as it is.
const DECAY: f64 = 0.3;

/// How an agent finds out what it has beyond its resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Estimator {
    /// Nothing.
    #[default]
    None,
    /// Always so much, as Mesos's fixed estimator.
    Fixed(Resources),
    /// Four fifths of the cpus and memory that tasks which hold nothing revocable do not use. Of a container
    /// whose use cannot be measured nothing is given.
    Usage,
}

impl FromStr for Estimator {
    type Err = String;

    fn from_str(text: &str) -> Result<Estimator, String> {
        match text.trim() {
            "none" => Ok(Estimator::None),
            "usage" => Ok(Estimator::Usage),
            other => {
                let expected =
                    || "expected none, usage or fixed:RESOURCES, for example fixed:cpus:2;mem:1024".to_owned();
                let amounts = other.strip_prefix("fixed:").ok_or_else(expected)?;
                let amounts = resources_text::parse(amounts, "*")?;
                let plain =
                    |resource: &Resource| resource.qualifier.is_none() && matches!(resource.value, Value::Scalar(_));
                if amounts.is_empty() || !amounts.iter().all(plain) {
                    return Err("fixed: takes amounts without roles, for example fixed:cpus:2;mem:1024".to_owned());
                }
                Ok(Estimator::Fixed(revocable(&amounts)))
            }
        }
    }
}

impl Estimator {
    /// What is known before any task was looked at.
    #[must_use]
    pub fn at_start(&self) -> Resources {
        match self {
            Estimator::None | Estimator::Usage => Resources::new(),
            Estimator::Fixed(resources) => resources.clone(),
        }
    }
}

fn revocable(resources: &Resources) -> Resources {
    let qualifier = Arc::new(Qualifier { revocable: true, ..Qualifier::default() });
    let mut out = Resources::new();
    for resource in resources {
        out.add_entry(Resource { qualifier: Some(qualifier.clone()), ..resource.clone() });
    }
    out
}

/// Looks at the containers from time to time, and tells the machine what they leave.
pub(crate) fn watch_usage(
    containers: Containers,
    interval: Duration,
    events: mpsc::UnboundedSender<Event>,
    cancel: CancellationToken,
) {
    tokio::spawn(async move {
        let mut seen = HashMap::new();
        let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(100)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = cancel.cancelled() => return,
            }
            let measured = containers.usage().await;
            if events.send(Event::Estimated(estimate(&mut seen, Instant::now(), measured))).is_err() {
                return;
            }
        }
    });
}

/// What one container used, as far as it was seen.
struct Seen {
    at: Instant,
    cpu: Duration,
    /// Smoothed; `None` before two looks at it.
    cpus: Option<f64>,
    memory_mb: f64,
}

/// What all of them leave. `measured` is what each holds, and its use.
fn estimate(seen: &mut HashMap<String, Seen>, now: Instant, measured: Vec<(String, Resources, Usage)>) -> Resources {
    let mut left: HashMap<&str, f64> = HashMap::new();
    let mut still = HashMap::new();
    for (container, resources, usage) in measured {
        let memory_mb = usage.memory_bytes as f64 / f64::from(1 << 20);
        let next = match seen.remove(&container) {
            None => Seen { at: now, cpu: usage.cpu, cpus: None, memory_mb },
            Some(before) => {
                let seconds = now.saturating_duration_since(before.at).as_secs_f64().max(0.001);
                let cpus = usage.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds;
                Seen {
                    at: now,
                    cpu: usage.cpu,
                    cpus: Some(before.cpus.map_or(cpus, |old| smoothed(old, cpus))),
                    memory_mb: smoothed(before.memory_mb, memory_mb),
                }
            }
        };
        if let Some(cpus) = next.cpus {
            for (name, used) in [("cpus", cpus), ("mem", next.memory_mb)] {
                let held = resources.scalar(name) as f64 / 1000.0;
                *left.entry(name).or_default() += (held - used).max(0.0);
            }
        }
        still.insert(container, next);
    }
    *seen = still;
    // Whole tenths of a CPU and whole MB: less is no use to anybody.
    let amount = |name: &str| left.get(name).copied().unwrap_or(0.0) * GIVEN;
    let (cpus, mem) = ((amount("cpus") * 10.0).floor() as i64 * 100, amount("mem").floor() as i64 * 1000);
    revocable(&Resources::of(&[("cpus", cpus), ("mem", mem)]))
}

fn smoothed(old: f64, new: f64) -> f64 {
    if new >= old { new } else { old + (new - old) * DECAY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimator_is_read_from_its_text() {
        assert_eq!("none".parse(), Ok(Estimator::None));
        assert_eq!("usage".parse(), Ok(Estimator::Usage));
        let fixed: Estimator = "fixed:cpus:2;mem:1024".parse().unwrap();
        let given = fixed.at_start();
        assert!(mesos_core::agent::is_revocable(&given));
        assert_eq!((given.scalar("cpus"), given.scalar("mem")), (2000, 1_024_000));
        for bad in ["", "fixed", "fixed:", "fixed:cpus:x", "fixed:cpus(ads):1", "fixed:ports:[1-2]", "load"] {
            assert!(bad.parse::<Estimator>().is_err(), "{bad}");
        }
    }

    fn measured(cpu_seconds: f64, memory_mb: u64) -> Vec<(String, Resources, Usage)> {
        let usage = Usage { cpu: Duration::from_secs_f64(cpu_seconds), memory_bytes: memory_mb << 20 };
        vec![("c".into(), Resources::of(&[("cpus", 4000), ("mem", 1_000_000)]), usage)]
    }

    #[test]
    fn what_is_not_used_is_given_in_part_and_taken_back_at_once() {
        let (mut seen, start) = (HashMap::new(), Instant::now());
        let mut look = |second: u64, cpu: f64, mb: u64| {
            let found = estimate(&mut seen, start + Duration::from_secs(second), measured(cpu, mb));
            (found.scalar("cpus"), found.scalar("mem"))
        };
        assert_eq!(look(0, 0.0, 500), (0, 0), "nothing is known of its cpus yet");
        assert_eq!(look(10, 10.0, 500), (2400, 400_000), "four fifths of 3 and of 500");
        assert_eq!(look(20, 50.0, 900), (0, 80_000), "more use is believed at once");
        assert_eq!(look(30, 50.0, 900), (900, 80_000), "less use only little by little");
        assert_eq!(estimate(&mut seen, start, Vec::new()), Resources::new(), "a container that is gone leaves nothing");
        assert!(seen.is_empty());
    }
}

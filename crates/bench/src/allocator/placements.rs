//! How many tasks the engine can place in a second of CPU time.

use std::collections::VecDeque;

use anyhow::{Result, ensure};
use mesos_engine::{AgentSlot, ClientSlot};

use super::{
    Size,
    cluster::{Cluster, WHOLE, agent_ids, bundle, frameworks, resources},
    measure::{Steps, Take},
};

/// Tasks that are placed while time is taken.
const PLACEMENTS: usize = 500_000;
/// CPUs of an agent, of which half are to be in use; a task takes one.
const CPUS: usize = 24;

/// Every offer launches one task and gives the rest back at once; the oldest tasks end when half of the cluster is
/// in use.
pub(crate) fn run(size: Size) -> Result<Steps> {
    let mut steps = Steps::default();
    let mut cluster = Cluster::new();
    cluster.add_frameworks(&frameworks(size))?;
    cluster.add_agents(&agent_ids(size.agents), &resources(WHOLE)?);
    let mut running = VecDeque::new();
    let half = size.agents * CPUS / 2;
    place(&mut cluster, &mut running, half, half)?;
    ensure!(running.len() == half, "{} tasks run, not {half}", running.len());
    let placed = steps.time("placements", || place(&mut cluster, &mut running, half, PLACEMENTS))?;
    cluster.check()?;
    let per_second = placed as f64 / (steps.cpu_ms("placements") / 1000.0);
    if let Some(line) = steps.line("placements", "placements", Take::Median) {
        line.insert("placements".to_owned(), placed.into());
        line.insert("placements_per_cpu_second".to_owned(), per_second.round().into());
    }
    Ok(steps)
}

/// Places at least so many tasks, with at most `most` running; says how many.
fn place(
    cluster: &mut Cluster,
    running: &mut VecDeque<(AgentSlot, ClientSlot)>,
    most: usize,
    count: usize,
) -> Result<usize> {
    let task = bundle("cpus:1;mem:32")?;
    let mut placed = 0;
    while placed < count {
        let offers = cluster.round();
        ensure!(!offers.is_empty(), "no offers although half of the cluster is free");
        for offer in offers {
            let Some(closed) = cluster.engine.close_offer(offer.number) else { continue };
            ensure!(closed.bundle.contains(&task), "an offer too small for a task");
            cluster.engine.allocate(closed.agent, closed.client, &task);
            cluster.engine.launched(closed.client, &task);
            running.push_back((closed.agent, closed.client));
            placed += 1;
        }
        while running.len() > most
            && let Some((agent, client)) = running.pop_front()
        {
            cluster.engine.release(agent, client, &task, || []);
        }
    }
    Ok(placed)
}

//! The leading allocator is killed under many agents with many tasks: until the last of them has shaken hands.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use crate::{
    agents::Life,
    failover::{ms, next_term},
    framework::{Framework, Happened, Size},
    options::{Common, Rehandshake},
    report::{Line, verdict},
    setup::Setup,
    usage::Meter,
};

const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(20);

/// Fills the agents with tasks, and kills the leader.
pub(crate) async fn run(common: &Common, options: &Rehandshake) -> Result<()> {
    let setup = Setup::redundant(common, 1).await?;
    let resources = format!("cpus:{};mem:{}", options.tasks_per_agent + 1, 32 * (options.tasks_per_agent + 1));
    let (agents, nats) = setup.simulate(options.agents, &resources, Life::Ever).await?;
    let mut framework = Framework::subscribe(common, &setup.url, "bench-rehandshake", Size::default()).await?;
    let start = Instant::now();
    framework.fill(options.agents, options.tasks_per_agent, PATIENCE).await?;
    let tasks = options.agents * options.tasks_per_agent;
    eprintln!("   {tasks} tasks run after {:.1} s", start.elapsed().as_secs_f64());
    let store = setup.store().await?;
    let mut watched = Watched { common, url: &setup.url, framework, lost: 0, cut_off: 0 };
    for _ in 0..options.runs {
        watched.settle(Duration::from_secs(5)).await?;
        let (name, term) = setup.leader(&store, "allocator").await?;
        let meter = Meter::start(setup.processes().into_iter().filter(|(known, _)| *known != name));
        setup.kill_9(&name)?;
        let killed = Instant::now();
        let next = tokio::spawn(next_term(store.clone(), "allocator", term.clone()));
        let last = loop {
            watched.settle(LOOK).await?;
            let (by, count, last) =
                agents.seen(|seen| (seen.welcomed.0.leader_text(), seen.welcomed.1.len(), seen.welcomed.2));
            if by != term && count == options.agents {
                break last.unwrap_or_else(Instant::now);
            }
            if killed.elapsed() > PATIENCE {
                bail!("{count} of {} agents have shaken hands after {PATIENCE:?}", options.agents);
            }
        };
        let led = next.await? - killed;
        let mut line = Line::new(
            "rehandshake",
            json!({"agents": options.agents, "tasks": tasks, "tasks_per_agent": options.tasks_per_agent, "api": common.api}),
        );
        line.set("next_term_ms", ms(led))
            .set("all_shaken_ms", ms(last - killed))
            .set("bus_messages_lost", nats.lost())
            .set("framework_cut_off", watched.cut_off)
            .set("tasks_lost", watched.lost)
            .say(format!(
                "next term after {:.0} ms, {} agents with {tasks} tasks shaken after {:.0} ms, {} tasks lost, the framework \
                 was cut off {} times",
                ms(led),
                options.agents,
                ms(last - killed),
                watched.lost,
                watched.cut_off
            ))
            .used(&meter, options.agents as u64)
            .print(common);
        setup.restart(&name)?;
    }
    watched.settle(Duration::from_secs(2)).await?;
    let running = agents.seen(|seen| seen.running);
    if running != tasks {
        bail!("{running} tasks run on the agents, not {tasks}");
    }
    verdict(watched.lost, &watched.framework.bad_ends)?;
    drop(agents);
    setup.finish()
}

/// A framework that subscribes again if it is cut off: a new term takes back thousands of offers at once.
struct Watched<'a> {
    common: &'a Common,
    url: &'a str,
    framework: Framework,
    lost: u64,
    cut_off: u64,
}

impl Watched<'_> {
    /// Takes events for a time; tasks that end are lost.
    async fn settle(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Ok(happened) = tokio::time::timeout_at(end.into(), self.framework.next()).await {
            match happened {
                Ok(happened) => self.lost += u64::from(matches!(happened, Happened::Ended(..))),
                Err(_) => {
                    self.cut_off += 1;
                    self.framework.resubscribe(self.common, self.url).await?;
                }
            }
            if Instant::now() >= end {
                break;
            }
        }
        Ok(())
    }
}

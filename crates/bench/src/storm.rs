//! Launches at a fixed rate while control processes are killed at random and started again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, bail};
use mesos_core::row::service;
use mesos_ports::store::Store;
use serde_json::json;

use crate::{
    agents::{Agents, Life},
    failover::RESOURCES,
    framework::{Framework, Happened, Size, command},
    options::{Common, Storm},
    report::{Line, Times},
    setup::Setup,
    usage::{Meter, round},
};

/// For all tasks to end after the last launch.
const DRAIN_MAX: Duration = Duration::from_secs(120);
/// A task of which nothing was heard for so long is asked about.
const SILENCE: Duration = Duration::from_secs(5);
/// Tasks in one ACCEPT at most.
const TASKS_PER_ACCEPT: u64 = 16;

/// Starts the cluster, launches and kills.
pub(crate) async fn run(common: &Common, options: &Storm) -> Result<()> {
    let setup = Setup::redundant(common, 2).await?;
    let life = Life::For(Duration::from_millis(options.task_ms));
    let (agents, _nats) = setup.simulate(options.agents, RESOURCES, life).await?;
    let framework = Framework::subscribe(common, &setup.url, "bench-storm", Size::default()).await?;
    let mut storm = Launches { framework, gateway: 0, next: 0, ends: BTreeMap::new(), ran: Times::default() };
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64;
    let mut random = Random(seed);
    let meter = Meter::start(Vec::new());
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(options.seconds);
    let every = Duration::from_secs_f64(options.kill_every);
    let (mut kill_at, mut dead, mut kills) = (start + every, None::<(String, Instant)>, BTreeMap::<String, u32>::new());
    let gap = Duration::from_secs_f64(1.0 / options.rate.max(0.01));
    let mut due = start;
    while Instant::now() < end {
        let now = Instant::now();
        if dead.as_ref().is_some_and(|(_, back)| *back <= now)
            && let Some((name, _)) = dead.take()
        {
            setup.restart(&name)?;
        }
        if kill_at <= now && dead.is_none() {
            let names: Vec<String> =
                setup.processes().into_iter().map(|(name, _)| name).filter(|name| name.contains('-')).collect();
            let name = names[random.below(names.len())].clone();
            setup.kill_9(&name)?;
            *kills.entry(name.clone()).or_default() += 1;
            dead = Some((name, now + every / 3));
            kill_at += every;
        }
        // What could not be launched is not made up for beyond a second, or each failover would be followed by a flood.
        due = due.max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
        while due <= now && storm.framework.room() > 0 {
            let late = (now - due).as_nanos() / gap.as_nanos().max(1) + 1;
            let launched = storm.launch(u64::try_from(late).unwrap_or(u64::MAX).min(TASKS_PER_ACCEPT));
            due += gap.mul_f64(launched as f64);
        }
        storm.listen(common, &setup, Duration::from_millis(5)).await?;
    }
    if let Some((name, _)) = dead.take() {
        setup.restart(&name)?;
    }
    let drained_by = Instant::now() + DRAIN_MAX;
    while storm.framework.in_flight() > 0 && Instant::now() < drained_by {
        storm.listen(common, &setup, Duration::from_millis(50)).await?;
    }
    let stuck = storm.framework.in_flight();
    let rows = rows_left(&setup, &mut storm, common).await?;
    let judged = Judged::of(&agents, &storm);
    let errors = storm.framework.take_errors();
    let mut line = Line::new(
        "storm",
        json!({
            "rate": options.rate, "seconds": options.seconds, "kill_every": options.kill_every,
            "agents": options.agents, "task_ms": options.task_ms, "seed": seed, "api": common.api,
        }),
    );
    line.set("launched", storm.next)
        .set("finished", judged.finished)
        .set("never_started", judged.never_started)
        .set("lost", json!(judged.lost))
        .set("started_twice", judged.twice)
        .set("overbooked", judged.overbooked)
        .set("stuck", stuck)
        .set("rows_left", json!(rows))
        .set("kills", json!(kills))
        .set("calls_failed", errors.len())
        .set("launched_per_second", round(storm.next as f64 / options.seconds))
        .times("accept_to_running", &storm.ran)
        .say(format!("{} launched, {} finished, {} never started", storm.next, judged.finished, judged.never_started))
        .say(format!(
            "{} lost, {} started twice, {} times more held than there is, {stuck} stuck, rows left: {rows:?}",
            judged.lost.len(),
            judged.twice,
            judged.overbooked
        ))
        .say(format!("killed: {kills:?}; {} calls failed", errors.len()))
        .used(&meter, storm.next)
        .print(common);
    let wrong = judged.lost.len() as u64 + judged.twice + judged.overbooked + stuck as u64;
    if wrong > 0 || rows.values().any(|left| *left > 0) {
        bail!("not every task has its one right history");
    }
    drop(agents);
    setup.finish()
}

/// Rows of launches and tasks that are in the store when everything has ended and was acknowledged: none, once agents
/// have told that they have forgotten them.
async fn rows_left(setup: &Setup, storm: &mut Launches, common: &Common) -> Result<BTreeMap<&'static str, usize>> {
    let store = setup.store().await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut left = BTreeMap::new();
        for (service, prefix) in [(service::ALLOCATOR, "launch/"), (service::REGISTRY, "task/")] {
            let rows = store.load(service).await?.rows;
            left.insert(service, rows.iter().filter(|(key, _)| key.starts_with(prefix)).count());
        }
        if left.values().all(|left| *left == 0) || Instant::now() > deadline {
            return Ok(left);
        }
        for _ in 0..10 {
            storm.listen(common, setup, Duration::from_millis(50)).await?;
        }
    }
}

/// What became of the launches.
struct Judged {
    finished: usize,
    never_started: usize,
    /// Started by an agent, and told as something else than finished.
    lost: Vec<String>,
    twice: u64,
    overbooked: u64,
}

impl Judged {
    fn of(agents: &Agents, storm: &Launches) -> Judged {
        agents.seen(|seen| {
            let mut judged =
                Judged { finished: 0, never_started: 0, lost: Vec::new(), twice: 0, overbooked: seen.overbooked };
            judged.twice = seen.started.values().filter(|count| **count > 1).count() as u64;
            for (id, finished) in &storm.ends {
                match (finished, seen.started.contains_key(id)) {
                    (true, true) => judged.finished += 1,
                    (false, false) => judged.never_started += 1,
                    (finished, _) => judged.lost.push(format!("{id}: told as finished: {finished}")),
                }
            }
            judged
        })
    }
}

struct Launches {
    framework: Framework,
    gateway: usize,
    next: u64,
    /// How each task ended: whether it finished.
    ends: BTreeMap<String, bool>,
    ran: Times,
}

impl Launches {
    fn launch(&mut self, count: u64) -> u64 {
        let tasks: Vec<_> = (0..count).map(|at| (format!("s-{}", self.next + at), command("sleep 1"))).collect();
        let launched = self.framework.launch(&tasks) as u64;
        self.next += launched;
        launched
    }

    /// Takes events for a time; subscribes again if the stream has broken.
    async fn listen(&mut self, common: &Common, setup: &Setup, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            match tokio::time::timeout_at(until.into(), self.framework.next()).await {
                Ok(Ok(Happened::Running(_, took))) => self.ran.add(took),
                Ok(Ok(Happened::Ended(id, _, finished))) => {
                    self.ends.insert(id, finished);
                }
                Ok(Ok(Happened::Offers | Happened::Nothing)) => {}
                Ok(Err(_)) => self.subscribe_again(common, setup).await?,
                Err(_) => break,
            }
        }
        self.framework.ask_about_silent(SILENCE);
        Ok(())
    }

    async fn subscribe_again(&mut self, common: &Common, setup: &Setup) -> Result<()> {
        let deadline = Instant::now() + DRAIN_MAX;
        loop {
            self.gateway = (self.gateway + 1) % setup.gateways.len();
            match self.framework.resubscribe(common, &setup.gateways[self.gateway]).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// Numbers that a seed gives (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).unwrap_or(0)
    }
}

//! As many empty tasks as go through, on simulated agents over NATS and Redis; or, with readers, launches at
//! a fixed rate without and with them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mesos_bus::NatsBus;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    agents::{Agents, Life},
    framework::{Framework, Happened, Size, command},
    options::{Common, Throughput},
    readers::Readers,
    report::{Line, Times, verdict},
    setup::Setup,
    usage::{Meter, round},
};

/// How long tasks may take to end after the last launch.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Launches per second with readers, if nobody says.
const RATE_WITH_READERS: f64 = 200.0;
/// What each task takes; an agent has exactly so much for each of its CPUs, so that nothing is left to offer.
const SIZE: Size = Size { cpus: 1.0, mem: 32.0 };

/// Starts the cluster, the agents and the frameworks, and measures.
pub(crate) async fn run(common: &Common, options: &Throughput) -> Result<()> {
    let setup = Setup::cluster(common, 0, &[]).await?;
    let (agents, nats) = start_agents(&setup, options).await?;
    let rate = match (options.readers, options.rate) {
        (0, rate) => rate,
        (_, 0.0) => RATE_WITH_READERS,
        (_, rate) => rate,
    };
    let shared = Arc::new(Shared { tasks_per_accept: options.tasks_per_accept, ..Shared::default() });
    let mut frameworks = JoinSet::new();
    for number in 0..options.frameworks {
        let name = format!("bench-throughput-{number}");
        let framework = Framework::subscribe(common, &setup.url, &name, SIZE).await?;
        frameworks.spawn(play(framework, number, rate / options.frameworks as f64, shared.clone()));
    }
    sleep(options.warmup).await;
    let outcome = match options.readers {
        0 => saturated(common, options, rate, &setup, &shared, &agents, &nats).await,
        _ => with_readers(common, options, rate, &setup, &shared, &agents, &nats).await,
    };
    sleep(options.linger).await;
    shared.stopping.store(true, Ordering::Relaxed);
    let (mut lost, mut wrong) = (0, Vec::new());
    while let Some(over) = frameworks.join_next().await {
        let (left, errors) = over.context("a framework panicked")??;
        lost += left;
        wrong.extend(errors);
    }
    outcome?;
    if !common.quiet {
        eprintln!("   {lost} tasks lost, {} errors", wrong.len());
    }
    println!(
        "{}",
        json!({"bench": "throughput-end", "lost": lost, "errors": wrong.len(), "first_errors": &wrong[..wrong.len().min(5)]})
    );
    verdict(lost, &wrong)?;
    drop(agents);
    setup.finish()
}

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

async fn start_agents(setup: &Setup, options: &Throughput) -> Result<(Agents, Arc<NatsBus>)> {
    let resources = format!("cpus:{};mem:{}", options.cpus, 32 * options.cpus);
    setup.simulate(options.agents, &resources, Life::None).await
}

/// What the frameworks count together.
#[derive(Default)]
struct Shared {
    tasks_per_accept: usize,
    stopping: AtomicBool,
    launched: AtomicU64,
    completed: AtomicU64,
    figures: Mutex<Figures>,
}

#[derive(Clone, Default)]
struct Figures {
    running: Times,
    ended: Times,
}

impl Shared {
    fn figures(&self) -> std::sync::MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counters and series over a span of the load.
struct Span {
    seconds: f64,
    launched: u64,
    completed: u64,
    per_second: Vec<u64>,
    rss: Vec<Value>,
    figures: Figures,
    meter: Meter,
}

async fn observe(setup: &Setup, shared: &Shared, seconds: f64) -> Span {
    *shared.figures() = Figures::default();
    let meter = Meter::start(setup.processes());
    let (launched, completed) = (shared.launched.load(Ordering::Relaxed), shared.completed.load(Ordering::Relaxed));
    let (start, mut last) = (Instant::now(), completed);
    let (mut per_second, mut rss) = (Vec::new(), vec![json!(meter.rss())]);
    for second in 1..=seconds.round() as u64 {
        tokio::time::sleep_until((start + Duration::from_secs(second)).into()).await;
        let now = shared.completed.load(Ordering::Relaxed);
        per_second.push(now - last);
        last = now;
        if second % 5 == 0 {
            rss.push(json!(meter.rss()));
        }
    }
    Span {
        seconds: start.elapsed().as_secs_f64(),
        launched: shared.launched.load(Ordering::Relaxed) - launched,
        completed: shared.completed.load(Ordering::Relaxed) - completed,
        per_second,
        rss,
        figures: shared.figures().clone(),
        meter,
    }
}

fn line(common: &Common, options: &Throughput, rate: f64, readers: usize, span: &Span) -> Line {
    let each = span.completed as f64 / span.seconds;
    let mut line = Line::new(
        "throughput",
        json!({
            "agents": options.agents, "frameworks": options.frameworks, "seconds": options.seconds, "rate": rate,
            "tasks_per_accept": options.tasks_per_accept, "cpus": options.cpus, "readers": readers,
            "reader_pause_ms": options.reader_pause_ms, "api": common.api,
        }),
    );
    line.set("completed", span.completed)
        .set("launched", span.launched)
        .set("completed_per_second", round(each))
        .set("per_second", json!(span.per_second))
        .set("rss_mib_every_5_s", json!(span.rss))
        .say(format!("{each:.0} tasks completed per second ({} in {:.0} s)", span.completed, span.seconds))
        .say(format!("per second: {:?}", span.per_second))
        .times("accept_to_running", &span.figures.running)
        .times("accept_to_finished", &span.figures.ended)
        .used(&span.meter, span.completed);
    let growth = |name: &str| {
        let at = |value: Option<&Value>| value.and_then(|rss| rss[name].as_f64()).unwrap_or(0.0);
        format!(
            "{name} {:.0} -> {:.0} -> {:.0}",
            at(span.rss.first()),
            at(span.rss.get(span.rss.len() / 2)),
            at(span.rss.last())
        )
    };
    let names = ["allocator", "registry", "gateway", "redis", "nats", "load"];
    line.say(format!("RSS MiB at start, half, end: {}", names.map(growth).join(", ")));
    line
}

async fn saturated(
    common: &Common,
    options: &Throughput,
    rate: f64,
    setup: &Setup,
    shared: &Shared,
    agents: &Agents,
    nats: &NatsBus,
) -> Result<()> {
    let span = observe(setup, shared, options.seconds).await;
    line(common, options, rate, 0, &span).set("bus_messages_lost", nats.lost()).print(common);
    whole(&span, agents)
}

/// Fails if nothing went through, or an agent is gone.
fn whole(span: &Span, agents: &Agents) -> Result<()> {
    if span.completed == 0 {
        bail!("no task was completed");
    }
    match agents.stopped() {
        0 => Ok(()),
        stopped => bail!("{stopped} simulated agents stopped"),
    }
}

async fn with_readers(
    common: &Common,
    options: &Throughput,
    rate: f64,
    setup: &Setup,
    shared: &Shared,
    agents: &Agents,
    nats: &NatsBus,
) -> Result<()> {
    let half = options.seconds / 2.0;
    let without = observe(setup, shared, half).await;
    line(common, options, rate, 0, &without).print(common);
    let readers = Readers::start(&setup.url, options.readers, Duration::from_millis(options.reader_pause_ms))?;
    let with = observe(setup, shared, half).await;
    let seen = readers.stop();
    let mut line = line(common, options, rate, options.readers, &with);
    let p99 = |span: &Span| span.figures.running.quantile(0.99);
    line.times("state_reads", &seen.times)
        .set("state_bytes", seen.bytes)
        .set("state_failed", seen.failed)
        .set("p99_ms_without_readers", round(p99(&without)))
        .set("p99_ms_with_readers", round(p99(&with)))
        .set("bus_messages_lost", nats.lost())
        .say(format!("{} reads failed, {:.1} MB read", seen.failed, seen.bytes as f64 / 1e6))
        .say(format!(
            "p99 ACCEPT to RUNNING: {:.2} ms without readers, {:.2} ms with {}",
            p99(&without),
            p99(&with),
            options.readers
        ))
        .print(common);
    whole(&with, agents)?;
    if seen.failed > 0 {
        bail!("{} reads of /state failed", seen.failed);
    }
    Ok(())
}

/// One framework: fills what it is offered, or launches at its rate. Gives the tasks it lost and its errors.
async fn play(mut framework: Framework, number: usize, rate: f64, shared: Arc<Shared>) -> Result<(u64, Vec<String>)> {
    let info = command("true");
    let gap = (rate > 0.0).then(|| Duration::from_secs_f64(1.0 / rate));
    // Frameworks do not launch in step.
    let mut due = Instant::now() + gap.unwrap_or_default().mul_f64(number as f64 * 0.618 % 1.0);
    let (mut next, mut lost) = (0_u64, 0);
    let mut drained_by = None;
    loop {
        if drained_by.is_none() && shared.stopping.load(Ordering::Relaxed) {
            drained_by = Some(Instant::now() + DRAIN_MAX);
        }
        if let Some(by) = drained_by
            && (framework.in_flight() == 0 || Instant::now() > by)
        {
            break;
        }
        while drained_by.is_none() && framework.room() > 0 {
            let count = match gap {
                Some(_) if due > Instant::now() => 0,
                Some(gap) => {
                    due += gap;
                    1
                }
                None => shared.tasks_per_accept,
            };
            let tasks: Vec<_> =
                (0..count as u64).map(|at| (format!("t-{number}-{}", next + at), info.clone())).collect();
            let launched = framework.launch(&tasks);
            if launched == 0 {
                break;
            }
            next += launched as u64;
            shared.launched.fetch_add(launched as u64, Ordering::Relaxed);
        }
        let wake = Instant::now() + Duration::from_millis(200);
        let wake = if gap.is_some() && framework.room() > 0 { wake.min(due) } else { wake };
        let happened = tokio::select! {
            happened = framework.next() => happened?,
            () = tokio::time::sleep_until(wake.into()) => continue,
        };
        match happened {
            Happened::Running(_, took) => shared.figures().running.add(took),
            Happened::Ended(_, took, true) => {
                shared.completed.fetch_add(1, Ordering::Relaxed);
                shared.figures().ended.add(took);
            }
            Happened::Ended(_, _, false) => lost += 1,
            Happened::Offers | Happened::Nothing => {}
        }
    }
    lost += framework.in_flight() as u64;
    Ok((lost, framework.wrong()))
}

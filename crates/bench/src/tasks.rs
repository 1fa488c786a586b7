//! Real tasks in local mode: many at once, one after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use crate::{
    framework::{Framework, Happened, Size, command},
    options::{Burst, Common, Sequential},
    report::{Line, Times, verdict},
    setup::{Setup, host},
    usage::{Meter, round},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Many tasks in one ACCEPT, until all run; then all are killed.
pub(crate) async fn burst(common: &Common, options: &Burst) -> Result<()> {
    let setup = Setup::local(common, 1, &host(&options.containerizer)).await?;
    let mut framework = Framework::subscribe(common, &setup.url, "bench-burst", Size::default()).await?;
    let info = command("sleep 1000");
    for run in 0..options.runs {
        framework.until_room(options.tasks, PATIENCE).await?;
        let tasks: Vec<_> = (0..options.tasks).map(|number| (format!("burst-{run}-{number}"), info.clone())).collect();
        let meter = Meter::start(setup.processes());
        let start = Instant::now();
        if framework.launch(&tasks) != tasks.len() {
            bail!("the offers of one agent do not hold {} tasks", tasks.len());
        }
        let (running, lost) = until_running(&mut framework, tasks.len()).await?;
        let all = start.elapsed();
        let wrong = framework.wrong();
        let mut line = Line::new(
            "burst",
            json!({"tasks": options.tasks, "containerizer": options.containerizer, "run": run, "api": common.api}),
        );
        line.times("accept_to_running", &running)
            .set("all_running_ms", round(all.as_secs_f64() * 1000.0))
            .say(format!("all {} running after {:.0} ms", running.count(), all.as_secs_f64() * 1000.0))
            .used(&meter, running.count())
            .set("lost", lost)
            .set("errors", json!(wrong));
        let start = Instant::now();
        tasks.iter().for_each(|(id, _)| framework.kill(id));
        while framework.in_flight() > 0 {
            framework.next_within(start + PATIENCE, "all tasks are killed").await?;
        }
        line.set("all_killed_ms", round(start.elapsed().as_secs_f64() * 1000.0))
            .say(format!("all killed after {:.0} ms", start.elapsed().as_secs_f64() * 1000.0))
            .print(common);
        verdict(lost, &wrong)?;
    }
    setup.finish()
}

/// Waits until so many tasks run: how long each took, and how many ended instead.
pub(crate) async fn until_running(framework: &mut Framework, tasks: usize) -> Result<(Times, u64)> {
    let deadline = Instant::now() + PATIENCE;
    let (mut running, mut lost) = (Times::default(), 0);
    while running.count() + lost < tasks as u64 {
        match framework.next_within(deadline, "all tasks run").await? {
            Happened::Running(_, took) => running.add(took),
            Happened::Ended(..) => lost += 1,
            Happened::Offers | Happened::Nothing => {}
        }
    }
    Ok((running, lost))
}

/// One task after the other, the next one as soon as one is over.
pub(crate) async fn sequential(common: &Common, options: &Sequential) -> Result<()> {
    one_by_one(common, options, "sequential", Duration::ZERO).await
}

/// The same with a pause between, so that each starts on an idle host.
pub(crate) async fn process_latency(common: &Common, options: &Sequential) -> Result<()> {
    one_by_one(common, options, "process-latency", Duration::from_millis(20)).await
}

async fn one_by_one(common: &Common, options: &Sequential, name: &str, pause: Duration) -> Result<()> {
    let setup = Setup::local(common, 1, &host(&options.containerizer)).await?;
    let mut framework = Framework::subscribe(common, &setup.url, &format!("bench-{name}"), Size::default()).await?;
    framework.counting = false;
    for number in 0..options.warmup {
        one(&mut framework, format!("warm-{number}")).await?;
    }
    framework.counting = true;
    let (mut running, mut ended, mut lost) = (Times::default(), Times::default(), 0);
    let meter = Meter::start(setup.processes());
    let start = Instant::now();
    for number in 0..options.tasks {
        let (ran, over, finished) = one(&mut framework, format!("one-{number}")).await?;
        ran.into_iter().for_each(|took| running.add(took));
        ended.add(over);
        lost += u64::from(!finished);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    let all = start.elapsed().saturating_sub(pause * u32::try_from(options.tasks).unwrap_or(u32::MAX));
    let wrong = framework.wrong();
    Line::new(name, json!({"tasks": options.tasks, "containerizer": options.containerizer, "command": "true", "pause_ms": pause.as_millis() as u64, "api": common.api}))
        .times("accept_to_running", &running)
        .times("accept_to_finished", &ended)
        .times("offer_after_accept", &framework.offer_after_accept)
        .times("offer_after_end", &framework.offer_after_end)
        .set("all_ms", round(all.as_secs_f64() * 1000.0))
        .say(format!("{} tasks in {:.0} ms without the pauses", options.tasks, all.as_secs_f64() * 1000.0))
        .used(&meter, options.tasks as u64)
        .set("lost", lost)
        .set("errors", json!(wrong))
        .print(common);
    verdict(lost, &wrong)?;
    setup.finish()
}

async fn one(framework: &mut Framework, id: String) -> Result<(Option<Duration>, Duration, bool)> {
    framework.until_room(1, PATIENCE).await?;
    framework.launch(&[(id, command("true"))]);
    let deadline = Instant::now() + PATIENCE;
    let mut running = None;
    loop {
        match framework.next_within(deadline, "the task ends").await? {
            Happened::Running(_, took) => running = Some(took),
            Happened::Ended(_, took, finished) => return Ok((running, took, finished)),
            Happened::Offers | Happened::Nothing => {}
        }
    }
}

//! Open-loop launches at a fixed rate.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::json;

use crate::{
    framework::{Framework, Happened, Size, command},
    options::{Common, Latency, Mode},
    report::{Line, Times, verdict},
    setup::{Setup, host},
    usage::Meter,
};

/// How long tasks may take to end after the last launch.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Starts what is asked for, and measures it.
pub(crate) async fn run(common: &Common, options: &Latency) -> Result<()> {
    let setup = match options.mode {
        Mode::Local => Setup::local(common, options.agents, &host(&options.containerizer)).await?,
        Mode::Cluster => Setup::cluster(common, options.agents, &host(&options.containerizer)).await?,
    };
    let mut framework = Framework::subscribe(common, &setup.url, "bench-latency", Size::default()).await?;
    framework.until_room(1, Duration::from_secs(10)).await?;
    let mut load = Load { next: 0, command: options.command.clone(), ..Load::default() };
    framework.counting = false;
    load.drive(&mut framework, options.rate, Duration::from_secs_f64(options.warmup)).await?;
    let meter = Meter::start(setup.processes());
    let mut load = Load { next: load.next, command: options.command.clone(), ..Load::default() };
    framework.counting = true;
    load.drive(&mut framework, options.rate, Duration::from_secs_f64(options.seconds)).await?;
    let launched = load.launched;
    let mut line = Line::new(
        "latency",
        json!({
            "mode": options.mode, "rate": options.rate, "seconds": options.seconds, "agents": options.agents,
            "containerizer": options.containerizer, "api": common.api, "command": options.command,
        }),
    );
    line.times("accept_to_running", &load.running)
        .times("accept_to_finished", &load.ended)
        .times("planned_to_running", &load.planned_running)
        .times("offer_after_accept", &framework.offer_after_accept)
        .times("offer_after_end", &framework.offer_after_end)
        .used(&meter, launched);
    time_declines(&mut framework, options.declines).await?;
    let wrong = framework.wrong();
    line.times("offer_after_decline", &framework.offer_after_decline)
        .set("launched", launched)
        .set("lost", load.lost)
        .set("errors", json!(wrong))
        .say(format!("{launched} launched, {} lost, {} errors", load.lost, wrong.len()))
        .print(common);
    framework.teardown();
    verdict(load.lost, &wrong)?;
    setup.finish()
}

/// Declines one agent's offers after the other and waits for them to come back.
async fn time_declines(framework: &mut Framework, count: usize) -> Result<()> {
    for _ in 0..count {
        framework.until_room(1, Duration::from_secs(10)).await?;
        let before = framework.offer_after_decline.count();
        if !framework.decline_one() {
            return Ok(());
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while framework.offer_after_decline.count() == before {
            framework.next_within(deadline, "an offer after a decline").await?;
        }
    }
    Ok(())
}

/// Launches that are due at fixed times, whatever became of earlier ones.
#[derive(Default)]
struct Load {
    next: u64,
    command: String,
    launched: u64,
    lost: u64,
    running: Times,
    ended: Times,
    /// Counted from when the launch was due, so that waiting for an offer is in it.
    planned_running: Times,
}

impl Load {
    async fn drive(&mut self, framework: &mut Framework, rate: f64, span: Duration) -> Result<()> {
        let info = command(&self.command);
        let (start, gap) = (Instant::now(), Duration::from_secs_f64(1.0 / rate));
        let count = (span.as_secs_f64() * rate).round() as u64;
        let first = self.next;
        let mut due: VecDeque<(String, Instant)> = VecDeque::new();
        let mut waits = std::collections::HashMap::new();
        let mut planned = 0_u64;
        let deadline = start + span + DRAIN_MAX;
        while planned < count || !due.is_empty() || framework.in_flight() > 0 {
            let next_at = start + gap.mul_f64(planned as f64);
            let now = Instant::now();
            if planned < count && next_at <= now {
                due.push_back((format!("latency-{}", first + planned), next_at));
                planned += 1;
                self.next = first + planned;
            }
            while let Some((id, at)) = due.front().cloned() {
                if framework.launch(&[(id.clone(), info.clone())]) == 0 {
                    break;
                }
                due.pop_front();
                self.launched += 1;
                waits.insert(id, Instant::now().saturating_duration_since(at));
            }
            if now > deadline {
                break;
            }
            let wake = if planned < count { start + gap.mul_f64(planned as f64) } else { deadline };
            tokio::select! {
                happened = framework.next() => match happened? {
                    Happened::Running(id, took) => {
                        self.running.add(took);
                        self.planned_running.add(took + waits.remove(&id).unwrap_or_default());
                    }
                    Happened::Ended(_, took, true) => self.ended.add(took),
                    Happened::Ended(_, _, false) => self.lost += 1,
                    Happened::Offers | Happened::Nothing => {}
                },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        self.lost += framework.in_flight() as u64 + due.len() as u64;
        Ok(())
    }
}

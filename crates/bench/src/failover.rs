//! The leading allocator, then the leading registry, is killed or asked to end, while a framework goes on calling.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mesos_ports::store::Store;
use mesos_store::redis::RedisStore;
use serde_json::json;

use crate::{
    agents::Life,
    framework::{Framework, Happened, Size, command},
    options::{Common, Failover},
    report::{Line, Times, verdict},
    setup::Setup,
    usage::round,
};

/// Nothing takes so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the store is asked who leads.
const LOOK: Duration = Duration::from_millis(10);
/// What each agent has.
pub(crate) const RESOURCES: &str = "cpus:8;mem:8192";

/// Starts the cluster and replaces its leaders.
pub(crate) async fn run(common: &Common, options: &Failover) -> Result<()> {
    let setup = Setup::redundant(common, 1).await?;
    let (agents, _nats) = setup.simulate(options.agents, RESOURCES, Life::For(Duration::from_millis(200))).await?;
    let framework = Framework::subscribe(common, &setup.url, "bench-failover", Size::default()).await?;
    let mut load = Load::new(framework, options.rate);
    let store = setup.store().await?;
    let mut problems = Vec::new();
    for service in ["allocator", "registry"] {
        let mut figures = Figures::default();
        for run in 0..options.runs {
            // Kills are spread over the time between two renewals of the lease; the standby has time to load.
            let spread = Duration::from_secs_f64(run as f64 * 0.618 % 1.0);
            load.go_on(Duration::from_millis(1500) + spread).await?;
            if options.graceful {
                load.framework.take_answered();
            }
            load.framework.take_errors();
            let (name, term) = setup.leader(&store, service).await?;
            if options.graceful {
                graceful(&setup, &mut load, &store, (service, &name, &term), &mut figures).await?;
            } else {
                killed(&setup, &mut load, &store, (service, &name, &term), &mut figures).await?;
            }
            setup.restart(&name)?;
        }
        load.drain().await?;
        figures.errors.extend(load.framework.take_errors());
        let bad = std::mem::take(&mut load.framework.bad_ends);
        let (old, lost): (Vec<_>, Vec<_>) = bad.into_iter().partition(|end| end.contains("no longer valid"));
        let name = if options.graceful { "handover" } else { "failover" };
        let mut line = Line::new(
            name,
            json!({"service": service, "runs": options.runs, "rate": options.rate, "agents": options.agents, "api": common.api}),
        );
        line.times("until_next_term", &figures.until_term);
        if options.graceful {
            line.times("calls", &figures.calls);
        } else if service == "allocator" {
            line.times("until_first_offer", &figures.until_works).times("term_to_offer", &figures.after_term);
        } else {
            line.times("until_first_answer", &figures.until_works).times("term_to_answer", &figures.after_term);
        }
        line.set("calls_failed", figures.errors.len())
            .set("first_errors", json!(&figures.errors[..figures.errors.len().min(3)]))
            .set("tasks_on_old_offers", old.len())
            .set("tasks_lost", json!(lost))
            .say(format!(
                "{} calls failed, {} tasks on offers of the old term, {} tasks lost",
                figures.errors.len(),
                old.len(),
                lost.len()
            ))
            .print(common);
        if options.graceful {
            problems.extend(figures.errors);
        }
        problems.extend(lost);
    }
    verdict(0, &problems)?;
    if agents.stopped() > 0 {
        bail!("{} simulated agents stopped", agents.stopped());
    }
    drop(agents);
    setup.finish()
}

#[derive(Default)]
struct Figures {
    until_term: Times,
    until_works: Times,
    after_term: Times,
    calls: Times,
    errors: Vec<String>,
}

async fn killed(
    setup: &Setup,
    load: &mut Load,
    store: &RedisStore,
    (service, name, term): (&'static str, &str, &str),
    figures: &mut Figures,
) -> Result<()> {
    setup.kill_9(name)?;
    let start = Instant::now();
    let next = tokio::spawn(next_term(store.clone(), service, term.to_owned()));
    let works = if service == "allocator" {
        load.until(|framework| framework.offered_by.as_ref().is_some_and(|(by, at)| by != term && *at > start)).await?;
        load.framework.offered_by.as_ref().map_or_else(Instant::now, |(_, at)| *at)
    } else {
        let mut answer = tokio::spawn(load.framework.ask_reconcile());
        loop {
            load.until(|_| answer.is_finished()).await?;
            match answer.await? {
                Ok(()) => break Instant::now(),
                Err(error) => figures.errors.push(error),
            }
            answer = tokio::spawn(load.framework.ask_reconcile());
        }
    };
    let led = next.await?;
    figures.until_term.add(led - start);
    figures.until_works.add(works - start);
    figures.after_term.add(works.saturating_duration_since(led));
    Ok(())
}

async fn graceful(
    setup: &Setup,
    load: &mut Load,
    store: &RedisStore,
    (service, name, term): (&'static str, &str, &str),
    figures: &mut Figures,
) -> Result<()> {
    let start = Instant::now();
    let next = tokio::spawn(next_term(store.clone(), service, term.to_owned()));
    let (ended, went) = tokio::join!(setup.terminate(name), load.go_on(Duration::from_secs(2)));
    ended.and(went)?;
    figures.until_term.add(next.await? - start);
    let calls = load.framework.take_answered();
    figures.calls.merge(&calls);
    figures.errors.extend(load.framework.take_errors());
    Ok(())
}

/// When the store has another term.
pub(crate) async fn next_term(store: RedisStore, service: &'static str, term: String) -> Instant {
    loop {
        if let Ok(Some(head)) = store.head(service).await
            && head.leader.to_string() != term
        {
            return Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Calls at a fixed rate: a launch, a DECLINE, a RECONCILE in turn.
pub(crate) struct Load {
    pub(crate) framework: Framework,
    gap: Duration,
    due: Instant,
    turn: u64,
}

impl Load {
    /// Begins at once.
    pub(crate) fn new(framework: Framework, rate: f64) -> Load {
        Load { framework, gap: Duration::from_secs_f64(1.0 / rate.max(0.01)), due: Instant::now(), turn: 0 }
    }

    /// For so long.
    async fn go_on(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.until(|_| Instant::now() >= end).await
    }

    /// Until it is so.
    async fn until(&mut self, mut so: impl FnMut(&Framework) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !so(&self.framework) {
            if Instant::now() > deadline {
                bail!("not within {PATIENCE:?}; errors: {:?}", self.framework.wrong().last());
            }
            if Instant::now() >= self.due {
                self.due += self.gap;
                self.call();
            }
            // Looked at again soon, even if nothing happens.
            let wake = self.due.min(Instant::now() + LOOK);
            let _ =
                tokio::time::timeout_at(wake.into(), self.framework.next()).await.unwrap_or(Ok(Happened::Nothing))?;
        }
        Ok(())
    }

    fn call(&mut self) {
        self.turn += 1;
        match self.turn % 3 {
            0 if self.framework.launch(&[(format!("t-{}", self.turn), command("true"))]) > 0 => {}
            1 if self.framework.decline_one() => {}
            _ => self.framework.reconcile(),
        }
    }

    /// Without new calls until every task has ended.
    async fn drain(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.framework.in_flight() > 0 {
            self.framework.next_within(deadline, "all tasks end").await.context("a task is stuck")?;
        }
        self.due = Instant::now();
        Ok(())
    }
}

/// A duration in milliseconds, as figures are given.
pub(crate) fn ms(time: Duration) -> f64 {
    round(time.as_secs_f64() * 1000.0)
}

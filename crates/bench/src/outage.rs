//! NATS or Redis is killed, stays away for a while, and comes back.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mesos_e2e::http;
use serde_json::{Value, json};

use crate::{
    agents::Life,
    failover::{RESOURCES, ms},
    framework::{Framework, Happened, Size, command},
    options::{Backend, Common, Outage},
    report::{Line, Times, verdict},
    setup::Setup,
    usage::Meter,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// A launch that was not answered by then is tried again under another name.
const RETRY: Duration = Duration::from_secs(2);
/// How often anything is looked at when nothing happens.
const LOOK: Duration = Duration::from_millis(20);

/// Tasks run, the outage comes and goes. All is well again when every agent has started a new task.
pub(crate) async fn run(common: &Common, options: &Outage) -> Result<()> {
    let setup = Setup::redundant(common, 1).await?;
    let (agents, _nats) = setup.simulate(options.agents, RESOURCES, Life::Ever).await?;
    let mut framework = Framework::subscribe(common, &setup.url, "bench-outage", Size::default()).await?;
    framework.fill(options.agents, options.tasks_per_agent, PATIENCE).await?;
    let names: &[&str] = match options.what {
        Backend::Nats => &["nats"],
        Backend::Redis => &["redis"],
        Backend::Both => &["nats", "redis"],
    };
    let (mut lost, mut launches) = (Vec::new(), Times::default());
    // What was acknowledged last is not to be under way when the outage begins.
    let quiet = Instant::now() + Duration::from_secs(1);
    while Instant::now() < quiet {
        listen(&mut framework, &mut lost).await?;
    }
    let meter = Meter::start(setup.processes().into_iter().filter(|(name, _)| !names.contains(&name.as_str())));
    names.iter().try_for_each(|name| setup.kill_9(name))?;
    let back = Instant::now() + Duration::from_secs_f64(options.seconds);
    while Instant::now() < back {
        listen(&mut framework, &mut lost).await?;
    }
    names.iter().try_for_each(|name| setup.restart(name))?;
    let start = Instant::now();
    let mut first_running = None;
    // What was offered before is offered anew, or is good still: both show in a launch.
    let mut missing: BTreeSet<String> = agents.seen(|seen| seen.welcomed.1.iter().map(ToString::to_string).collect());
    let (mut attempt, mut tried) = (0, None::<Instant>);
    while !missing.is_empty() {
        if start.elapsed() > PATIENCE {
            bail!(
                "{} agents start nothing {PATIENCE:?} after the return: {:?}",
                missing.len(),
                framework.wrong().last()
            );
        }
        if tried.is_none_or(|at| at.elapsed() >= RETRY) {
            tried = Some(Instant::now());
            attempt += 1;
        }
        for agent in framework.agents_held().into_iter().filter(|agent| missing.contains(agent)) {
            let id = format!("probe-{attempt}-{agent}");
            if !framework.knows(&id) {
                framework.launch_on(&agent, &[(id, command("sleep 1000000"))]);
            }
        }
        if let Some(Happened::Running(id, took)) = listen(&mut framework, &mut lost).await?
            && let Some((_, agent)) = id.strip_prefix("probe-").and_then(|rest| rest.split_once('-'))
        {
            first_running.get_or_insert_with(|| start.elapsed());
            missing.remove(agent);
            launches.add(took);
        }
    }
    let converged = start.elapsed();
    let kept = options.agents * options.tasks_per_agent;
    let running = running(&setup.url).await?;
    let twice = agents.seen(|seen| seen.started.values().filter(|count| **count > 1).count());
    let errors = framework.take_errors();
    let mut line = Line::new(
        "outage",
        json!({
            "what": options.what, "seconds": options.seconds, "agents": options.agents,
            "tasks_per_agent": options.tasks_per_agent, "api": common.api,
        }),
    );
    line.set("first_task_after_return_ms", ms(first_running.unwrap_or_default()))
        .set("converged_ms", ms(converged))
        .times("launches_after_return", &launches)
        .set("tasks_lost", json!(lost))
        .set("tasks_running", running)
        .set("tasks_started_twice", twice)
        .set("calls_failed", errors.len())
        .set("first_errors", json!(&errors[..errors.len().min(3)]))
        .say(format!(
            "first new task {:.0} ms after the return, one on every agent after {:.0} ms",
            ms(first_running.unwrap_or_default()),
            ms(converged)
        ))
        .say(format!(
            "{} of {kept} tasks lost, {running} run, {twice} started twice, {} calls failed",
            lost.len(),
            errors.len()
        ))
        .used(&meter, launches.count())
        .print(common);
    if running < kept + options.agents {
        bail!("only {running} tasks run, not {}", kept + options.agents);
    }
    verdict(twice as u64, &lost)?;
    drop(agents);
    setup.finish()
}

/// The next event, if one comes soon. Kept tasks that end are lost.
async fn listen(framework: &mut Framework, lost: &mut Vec<String>) -> Result<Option<Happened>> {
    let Ok(happened) = tokio::time::timeout(LOOK, framework.next()).await else { return Ok(None) };
    let happened = happened?;
    if let Happened::Ended(id, ..) = &happened
        && id.starts_with("kept-")
    {
        lost.push(format!("{id}: {:?}", framework.bad_ends.last()));
    }
    Ok(Some(happened))
}

/// How many tasks run, as the registry says.
async fn running(url: &str) -> Result<usize> {
    let text = http().get(format!("{url}/tasks?limit=1000000")).timeout(PATIENCE).send().await?.text().await?;
    let answer: Value = serde_json::from_str(&text).context("/tasks is not JSON")?;
    let tasks = answer["tasks"].as_array().context("/tasks has no tasks")?;
    Ok(tasks.iter().filter(|task| task["state"] == "TASK_RUNNING").count())
}

//! NATS and Redis are restarted server by server, as who upgrades them does it, while tasks are launched and a framework
//! holds its stream. Every `mesos launch` ends with its task's own end, and every task is told once and as it was.
//!
//! `MESOS_ROLLINGS` makes it longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesos_e2e::scheduler::framework_info;
use mesos_e2e::{Cluster, Framework, Network, TaskSpec, cli, eventually};
use nix::sys::signal::Signal;

use crate::support::{LATER, SOON};

/// From a launch to the end of its command, of a task that takes no time.
const LAUNCH: Duration = Duration::from_secs(30);
/// Commands that are under way at the same time.
const LAUNCHERS: usize = 4;
/// Between two tasks of the framework.
const PAUSE: Duration = Duration::from_millis(200);

fn rollings() -> Result<usize> {
    let text = std::env::var("MESOS_ROLLINGS").unwrap_or_else(|_| "1".to_owned());
    text.parse().with_context(|| format!("MESOS_ROLLINGS is no number: {text}"))
}

#[test]
fn a_rolling_restart_of_nats_and_redis_costs_no_launch_and_no_task() -> Result<()> {
    let network = Arc::new(Network::new()?);
    network.add("load")?;
    network.run_on("load", async || run(network.clone()).await)
}

async fn run(network: Arc<Network>) -> Result<()> {
    let cluster = Arc::new(Cluster::builder().services(2, 2, 2).network(network).agents(2).start().await?);
    let framework = Framework::start_launching_once(framework_info("rolling", 3600.0), &cluster.gateway_urls()).await?;
    framework.launch([TaskSpec::shell("stays", "exec sleep 10000")]);
    framework.wait_for("stays", "TASK_RUNNING", SOON).await?;

    let stop = Arc::new(AtomicBool::new(false));
    let launchers: Vec<_> = (0..LAUNCHERS)
        .map(|number| {
            let (gateway, stop) = (cluster.gateway_address(number % 2), stop.clone());
            tokio::spawn(async move { launch(&gateway, number, &stop).await })
        })
        .collect();
    let rolled = async {
        for rolling in 0..rollings()? {
            for number in (0..3).rev() {
                restart_nats(&cluster, number).await.context("NATS")?;
            }
            for number in (0..3).rev() {
                restart_redis(&cluster, number).await.context("Redis")?;
            }
            println!("rolling {rolling} is done");
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        anyhow::Ok(())
    };
    let tasks = async {
        let mut number = 0;
        loop {
            framework.launch([TaskSpec::shell(&format!("ends-{number}"), "exit 0")]);
            number += 1;
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        rolled = rolled => rolled?,
        () = tasks => {}
    }
    stop.store(true, Ordering::Relaxed);
    for launcher in launchers {
        launcher.await??;
    }
    framework.wait_for_all(LATER, |id| if id == "stays" { "TASK_RUNNING" } else { "TASK_FINISHED" }).await?;
    println!("{} tasks of the framework", framework.tasks().len());
    nothing_was_rolled_back(&cluster)?;
    Arc::into_inner(cluster).context("somebody still uses the cluster")?.finish()
}

/// Launches one task after the other, as a user does.
async fn launch(gateway: &str, launcher: usize, stop: &AtomicBool) -> Result<()> {
    let (mut launches, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let command = format!("--command=echo {launcher}-{launches}; exit 7");
        let launched = cli::mesos(gateway, &["launch", "--name=short", &command]).await.and_then(|done| done.expect(7));
        let took = begun.elapsed();
        let written = launched.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
        if took > Duration::from_secs(5) {
            println!("launch {launcher}-{launches} took {took:.1?}: {}", written.stderr);
        }
        ensure!(took < LAUNCH, "launch {launcher}-{launches} took {took:.1?}: {}", written.stderr);
        ensure!(written.stdout == format!("{launcher}-{launches}\n"), "it wrote {written:?}");
        longest = longest.max(took);
        launches += 1;
    }
    println!("launcher {launcher}: {launches} launches, the longest took {longest:.1?}");
    Ok(())
}

/// Ends a server and starts it again, when the one before is ready.
async fn restart_nats(cluster: &Cluster, number: usize) -> Result<()> {
    let name = format!("nats-{number}");
    cluster.terminate(&name, SOON).await?;
    cluster.restart(&name)?;
    cluster.answers(&name).await
}

/// The same with a Redis and its Sentinel, as the chart does it: a primary hands over first.
async fn restart_redis(cluster: &Cluster, number: usize) -> Result<()> {
    let (redis, sentinel) = (format!("redis-{number}"), format!("sentinel-{number}"));
    cluster.terminate(&sentinel, SOON).await?;
    cluster.hand_over(&redis).await?;
    // One that writes its first file after it was given all rows anew does not heed the first signal.
    eventually(SOON, &format!("{redis} ends"), async || {
        cluster.with(&redis, |server| {
            let over = server.status()?.is_some();
            if !over {
                server.signal(Signal::SIGTERM)?;
            }
            Ok(over)
        })
    })
    .await?;
    cluster.restart(&redis)?;
    cluster.catch_up(&redis).await?;
    // Until it hears the others it names the primary of before.
    cluster.restart(&sentinel)?;
    cluster.sentinels_agree().await
}

/// Commits that were answered and are not there any more are noticed by whoever made them.
fn nothing_was_rolled_back(cluster: &Cluster) -> Result<()> {
    for name in cluster.names() {
        let log = cluster.log(&name)?;
        let lost: Vec<&str> = log.lines().filter(|line| line.contains("the store was rolled back")).collect();
        ensure!(lost.is_empty(), "{name} has lost commits: {lost:?}");
    }
    Ok(())
}

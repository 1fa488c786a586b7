//! NATS and Redis are restarted server by server, as who upgrades them does it, while tasks are launched and a framework
//! holds its stream. Every `mesos launch` ends with its task's own end, and every task is told once and as it was.
//!
//! `MESOS_ROLLINGS` makes it longer.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use mesos_e2e::{Cluster, Framework, Network, TaskSpec, cli, eventually};
use nix::sys::signal::Signal;

use crate::support::{LATER, SOON};

/// From a launch to the end of its command, of a task that takes no time.
const LAUNCH: Duration = Duration::from_secs(30);
/// Commands that are under way at the same time.
const LAUNCHERS: usize = 4;
/// Servers of NATS, and of Redis.
const SERVERS: usize = 3;
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
    let cluster = Cluster::builder().services(2, 2, 2).network(network).agents(2).start().await?;
    let starts = cluster.directory().join("starts");
    fs::create_dir_all(&starts)?;
    let framework = Framework::start("rolling", 3600.0, &cluster.gateway_urls()).await?;
    framework.launch([TaskSpec::shell("stays", "exec sleep 10000")]);
    framework.wait_for("stays", "TASK_RUNNING", SOON).await?;

    let over = AtomicBool::new(false);
    let rolled = async {
        let rolled = roll(&cluster, &over).await;
        over.store(true, Ordering::Relaxed);
        rolled
    };
    let launched = try_join_all((0..LAUNCHERS).map(|number| launch(&cluster, number, &over)));
    let (rolled, launched, tasks) = tokio::join!(rolled, launched, go_on(&framework, &starts, &over));
    rolled?;
    launched?;
    framework.wait_for_all(LATER, |id| if id == "stays" { "TASK_RUNNING" } else { "TASK_FINISHED" }).await?;
    for number in 0..tasks {
        let started = fs::read_to_string(starts.join(number.to_string()))?;
        ensure!(started == "started\n", "task {number} has {started:?}");
    }
    println!("{tasks} tasks of a framework, each ran once");
    nothing_was_rolled_back(&cluster)?;
    drop(framework);
    cluster.finish()
}

async fn roll(cluster: &Cluster, over: &AtomicBool) -> Result<()> {
    for rolling in 0..rollings()? {
        for number in (0..SERVERS).rev() {
            restart_nats(cluster, number).await?;
        }
        for number in (0..SERVERS).rev() {
            restart_redis(cluster, number).await?;
        }
        println!("rolling {rolling} is done");
        // A launch has failed.
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// Launches one task after the other, as a user does.
async fn launch(cluster: &Cluster, launcher: usize, over: &AtomicBool) -> Result<()> {
    let (mut launches, mut longest) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let command = format!("--command=echo {launcher}-{launches}; exit 7");
        let args = ["launch", "--name=short", &command];
        let ended =
            cli::mesos(&cluster.gateway_address(launcher % 2), &args).await.and_then(|outcome| outcome.expect(7));
        let outcome = ended.inspect_err(|_| over.store(true, Ordering::Relaxed))?;
        let took = begun.elapsed();
        ensure!(took < LAUNCH, "launch {launcher}-{launches} took {took:.1?}: {}", outcome.stderr);
        ensure!(outcome.stdout == format!("{launcher}-{launches}\n"), "it wrote {:?}", outcome.stdout);
        longest = longest.max(took);
        launches += 1;
    }
    println!("launcher {launcher}: {launches} launches, the longest took {longest:.1?}");
    Ok(())
}

/// Has a framework launch tasks that say once that they started; how many they are.
async fn go_on(framework: &Framework, starts: &Path, over: &AtomicBool) -> usize {
    let mut tasks = 0;
    while !over.load(Ordering::Relaxed) {
        let command = format!("echo started >> {}/{tasks}", starts.display());
        framework.launch([TaskSpec::shell(&format!("ends-{tasks}"), &command)]);
        tasks += 1;
        tokio::time::sleep(PAUSE).await;
    }
    tasks
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

//! `mesos local`: time until it is ready, its memory and its CPU while nothing happens.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mesos_e2e::{http, ports};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    options::{Common, Idle},
    report::{Line, Times},
    setup::binary,
    usage::{cpu_ms, round, rss_mib, rss_peak_mib},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Starts it several times; the last one stays idle for a while.
pub(crate) async fn run(common: &Common, options: &Idle) -> Result<()> {
    let (mut line_at, mut ready_at) = (Times::default(), Times::default());
    for _ in 1..options.runs.max(1) {
        let mut local = start(common, options.agents, &mut line_at, &mut ready_at).await?;
        stop(&mut local).await?;
    }
    let mut local = start(common, options.agents, &mut line_at, &mut ready_at).await?;
    let pid = local.id().context("it is over")?;
    let start_cpu = cpu_ms(pid);
    tokio::time::sleep(Duration::from_secs_f64(options.seconds)).await;
    if let Some(status) = local.try_wait()? {
        bail!("mesos local ended by itself: {status}");
    }
    let (rss, peak, cpu) = (rss_mib(pid), rss_peak_mib(pid), cpu_ms(pid) - start_cpu);
    let share = cpu / options.seconds / 10.0;
    Line::new("idle", json!({"agents": options.agents, "seconds": options.seconds, "runs": options.runs}))
        .times("start_to_ready_line", &line_at)
        .times("start_to_ready", &ready_at)
        .set("start_cpu_ms", start_cpu)
        .set("rss_mib", round(rss))
        .set("rss_peak_mib", round(peak))
        .set("idle_cpu_ms", cpu)
        .set("idle_cpu_percent_of_a_core", round(share))
        .say(format!("RSS {rss:.1} MiB (peak {peak:.1}), CPU at the start {start_cpu:.0} ms, idle {cpu:.0} ms in {} s ({share:.2} % of a core)", options.seconds))
        .print(common);
    stop(&mut local).await
}

/// Starts it and waits for the line on stdout and for `/ready`.
async fn start(common: &Common, agents: usize, line_at: &mut Times, ready_at: &mut Times) -> Result<Child> {
    let port = ports::free()?;
    let start = Instant::now();
    let mut child = Command::new(binary(common)?)
        .args(["local", &format!("--agents={agents}"), &format!("--port={port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("mesos local did not start")?;
    let stdout = child.stdout.take().context("no stdout")?;
    let mut lines = BufReader::new(stdout).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("no ready line")??;
    let first = first.context("mesos local ended before it was ready")?;
    if !first.contains("ready") {
        bail!("the first line on stdout is not the ready line: {first}");
    }
    line_at.add(start.elapsed());
    loop {
        let answer = http().get(format!("http://127.0.0.1:{port}/ready")).timeout(PATIENCE).send().await;
        if answer.is_ok_and(|answer| answer.status() == reqwest::StatusCode::OK) {
            break;
        }
        if start.elapsed() > PATIENCE {
            bail!("/ready is not 200 within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ready_at.add(start.elapsed());
    // Whatever it says later must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(child)
}

async fn stop(child: &mut Child) -> Result<()> {
    let pid = child.id().context("it is over")?;
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.context("it does not stop")??;
    if !status.success() {
        bail!("mesos local ended with {status} after SIGTERM");
    }
    Ok(())
}

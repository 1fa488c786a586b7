//! The page in a real Chromium, on the real binary.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesos_e2e::backends::{mesos_binary, repository};

/// Chromium's first start on a cold disk takes a while.
const TIMEOUT: Duration = Duration::from_secs(150);

#[tokio::test]
async fn the_page_shows_the_cluster_kills_a_task_and_reads_its_log() -> Result<()> {
    let output = tokio::process::Command::new("node")
        .arg(repository().join("e2e/web/page.mjs"))
        .arg("--mesos")
        .arg(mesos_binary()?.canonicalize()?)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(TIMEOUT, output).await.context("the page's test hangs")??;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    ensure!(output.status.success(), "{}:\n{text}", output.status);
    println!("{text}");
    Ok(())
}

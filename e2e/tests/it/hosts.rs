//! What an agent does on a host that is not well: it says so, takes no tasks, and comes back by itself.

use std::fs;

use anyhow::{Result, ensure};
use mesos_e2e::{AgentSpec, Cluster, Framework, TaskSpec, eventually};

use crate::support::{IMAGE, LATER, ROOMY, SOON, file_with};

async fn cluster(agent: AgentSpec) -> Result<Cluster> {
    Cluster::builder().docker_links().agent(agent).start().await
}

/// The agent is there, but not offered.
async fn is_degraded(cluster: &Cluster, why: &str) -> Result<()> {
    eventually(LATER, why, async || Ok(cluster.get(0, "/v1/agents").await?.to_string().contains("DEGRADED"))).await?;
    cluster.wait_for_agents(0, 0, SOON).await
}

#[tokio::test]
async fn f42_an_agent_whose_docker_hangs_is_not_offered_keeps_its_tasks_and_comes_back() -> Result<()> {
    let cluster = cluster(AgentSpec::with_resources(ROOMY).arg("--containerizers=docker")).await?;
    let framework = Framework::start("hangs", 60.0, &cluster.gateway_urls()).await?;
    framework.launch([TaskSpec::docker("stays", IMAGE, "echo up; exec sleep 10000")]);
    framework.wait_for("stays", "TASK_RUNNING", SOON).await?;
    // What it writes comes through Docker, too.
    file_with(&cluster, &framework.id(), "stays", "stdout", "up").await?;
    let docker = &cluster.docker_links()["agent-0"];
    docker.set_cut(true);
    is_degraded(&cluster, "an agent that cannot start anything says so").await?;
    framework.launch([TaskSpec::docker("waits", IMAGE, "true")]);
    // It beats: a read of a file goes through it.
    file_with(&cluster, &framework.id(), "stays", "stdout", "up").await?;
    ensure!(framework.waiting() == 1, "nothing is to be offered");
    docker.set_cut(false);
    framework.wait_for("waits", "TASK_FINISHED", LATER).await?;
    framework.wait_for("stays", "TASK_RUNNING", SOON).await?;
    framework.kill("stays").await?;
    framework.wait_for("stays", "TASK_KILLED", SOON).await?;
    cluster.finish()
}

#[tokio::test]
async fn f39_an_agent_whose_disk_is_full_is_not_offered_keeps_its_tasks_and_comes_back() -> Result<()> {
    let cluster = cluster(AgentSpec::with_resources(ROOMY).disk(32)).await?;
    let framework = Framework::start("full", 60.0, &cluster.gateway_urls()).await?;
    framework.launch([TaskSpec::shell("stays", "exec sleep 10000"), TaskSpec::shell("ends", "exec sleep 10000")]);
    framework.wait_for_all(SOON, |_| "TASK_RUNNING").await?;
    let ballast = cluster.fill_disk(0)?;
    is_degraded(&cluster, "an agent without room says so").await?;
    framework.launch([TaskSpec::shell("waits", "true")]);
    // What is there can still be ended, and its end is written down and told.
    framework.kill("ends").await?;
    framework.wait_for("ends", "TASK_KILLED", LATER).await?;
    ensure!(framework.waiting() == 1, "nothing is to be offered");
    fs::remove_file(&ballast)?;
    framework.wait_for("waits", "TASK_FINISHED", LATER).await?;
    framework.wait_for("stays", "TASK_RUNNING", SOON).await?;
    cluster.finish()
}

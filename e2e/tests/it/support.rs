//! What several tests share.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use mesos_e2e::host::{self, HostProcess};
use mesos_e2e::{AgentSpec, Cluster, Framework, eventually_some, http};
use reqwest::StatusCode;
use serde_json::Value;

/// For what takes a moment, on a machine that does other things too.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// For what takes several rounds.
pub(crate) const LATER: Duration = Duration::from_secs(60);

/// More than a test needs, so that none depends on the size of its host.
pub(crate) const ROOMY: &str = "cpus:16;mem:16384;disk:20000;ports:[31000-32000]";
/// The image that `scripts/setup` makes.
pub(crate) const IMAGE: &str = "mesos-e2e/busybox:1";

/// `mesos local` with one agent.
pub(crate) async fn local() -> Result<Cluster> {
    Cluster::builder().agents(1).arg("local", &format!("--resources={ROOMY}")).start_local().await
}

/// `mesos master` and one agent as processes.
pub(crate) async fn master_and_agent() -> Result<Cluster> {
    Cluster::builder().agent(roomy_agent()).start_master().await
}

/// An agent with more than a test needs.
pub(crate) fn roomy_agent() -> AgentSpec {
    AgentSpec::with_resources(ROOMY)
}

/// A framework that dies with its connection, at the first gateway.
pub(crate) async fn framework(cluster: &Cluster, name: &str) -> Result<Framework> {
    Framework::start(name, 0.0, &[cluster.gateway(0)]).await
}

/// GET at the first gateway: status and text, whatever it is.
pub(crate) async fn get(cluster: &Cluster, path: &str) -> Result<(StatusCode, String)> {
    let answer = http().get(format!("{}{path}", cluster.gateway(0))).timeout(SOON).send().await?;
    Ok((answer.status(), answer.text().await?))
}

/// A file of a task's sandbox, through the REST API.
pub(crate) async fn file(cluster: &Cluster, framework: &str, task: &str, path: &str) -> Result<String> {
    let answer = cluster.get(0, &format!("/v1/tasks/{framework}/{task}/files/{path}")).await?;
    answer["data"].as_str().map(str::to_owned).with_context(|| format!("no data: {answer}"))
}

/// Waits until a file of a sandbox has what is looked for in it, and returns all of it.
pub(crate) async fn file_with(
    cluster: &Cluster,
    framework: &str,
    task: &str,
    path: &str,
    part: &str,
) -> Result<String> {
    eventually_some(SOON, &format!("{path} of {task} has {part:?}"), async || {
        let text = file(cluster, framework, task, path).await?;
        if text.contains(part) {
            return Ok(Some(text));
        }
        bail!("it has {text:?}")
    })
    .await
}

/// Waits until so many tasks of a framework have a process called `name`, and returns these.
pub(crate) async fn processes(
    framework: &str,
    name: &str,
    count: usize,
) -> Result<std::collections::BTreeMap<String, HostProcess>> {
    eventually_some(LATER, &format!("{count} tasks have a process {name}"), async || {
        let found = host::tasks(framework, name)?;
        if found.len() == count {
            return Ok(Some(found));
        }
        bail!("{} have", found.len())
    })
    .await
}

/// A field of a task's latest status as text.
pub(crate) fn last(task: &mesos_e2e::framework::Launched, field: &str) -> String {
    match task.statuses.last().map(|status| &status[field]) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

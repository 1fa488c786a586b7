//! Traces in a real Jaeger.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mesos_e2e::scheduler::framework_info;
use mesos_e2e::{Cluster, Scheduler, TaskSpec, eventually_some, http};
use serde_json::{Value, json};

use crate::support::{LATER, SOON, roomy_agent};

const TASKS: usize = 100;
/// The services that a task passes on its way.
const SERVICES: [&str; 4] = ["mesos-gateway", "mesos-allocator", "mesos-agent", "mesos-registry"];

/// A trace id of a task, as the client that submits it chooses it.
fn trace_id(number: usize) -> String {
    format!("{:032x}", 0xabcd_0000_0000_0000_0000_0000_0000_0000_u128 + number as u128 + 1)
}

/// Launches tasks one per ACCEPT, each under a trace of its own, until all are RUNNING and over.
async fn launch_all(cluster: &Cluster) -> Result<()> {
    let mut scheduler = Scheduler::subscribe(&cluster.gateway(0), &framework_info("traced", 0.0)).await?;
    let caller = scheduler.caller().clone();
    let (mut launched, mut finished) = (0, BTreeSet::new());
    while finished.len() < TASKS {
        let event = scheduler.next_event(LATER).await?.context("the stream ended")?;
        match event["type"].as_str() {
            Some("OFFERS") => {
                for offer in event["offers"]["offers"].as_array().into_iter().flatten() {
                    let agent = offer["agent_id"]["value"].as_str().context("no agent")?;
                    let mut accept = json!({"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 0.0}});
                    if launched < TASKS {
                        let task = TaskSpec::shell(&format!("task-{launched}"), "true").task_info(agent);
                        accept["operations"] = json!([{"type": "LAUNCH", "launch": {"task_infos": [task]}}]);
                        let parent = format!("00-{}-00000000000000ff-01", trace_id(launched));
                        launched += 1;
                        accept_under(&caller, &accept, &parent).await?;
                    } else {
                        caller
                            .call("DECLINE", json!({"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 60.0}}))
                            .await?;
                    }
                }
            }
            Some("UPDATE") => {
                let status = &event["update"]["status"];
                caller.acknowledge(status).await?;
                match status["state"].as_str() {
                    Some("TASK_FINISHED") => {
                        finished.insert(status["task_id"]["value"].as_str().unwrap_or_default().to_owned());
                    }
                    Some("TASK_STARTING" | "TASK_RUNNING" | "TASK_STAGING") => {}
                    _ => bail!("{status}"),
                }
            }
            Some("ERROR") => bail!("{event}"),
            _ => {}
        }
    }
    Ok(())
}

/// ACCEPT with the header by which W3C clients hand on a trace.
async fn accept_under(caller: &mesos_e2e::scheduler::Caller, accept: &Value, parent: &str) -> Result<()> {
    let call = json!({"framework_id": {"value": caller.framework_id}, "type": "ACCEPT", "accept": accept});
    let answer = http()
        .post(format!("{}/api/v1/scheduler", caller.url))
        .header("Content-Type", "application/json")
        .header("Mesos-Stream-Id", &caller.stream_id)
        .header("traceparent", parent)
        .body(call.to_string())
        .timeout(SOON)
        .send()
        .await?;
    if answer.status() != 202 {
        bail!("ACCEPT: {}: {}", answer.status(), answer.text().await?);
    }
    Ok(())
}

/// What is missing of a trace, if anything.
fn incomplete(trace: &Value) -> Result<(), String> {
    let spans = trace["spans"].as_array().ok_or("no spans")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ids: BTreeSet<String> = spans.iter().map(|span| text(&span["spanID"])).collect();
    let processes: BTreeMap<String, String> = trace["processes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, process)| (key.clone(), text(&process["serviceName"])))
        .collect();
    let services: BTreeSet<&str> =
        spans.iter().filter_map(|span| processes.get(span["processID"].as_str()?)).map(String::as_str).collect();
    if let Some(missing) = SERVICES.iter().find(|service| !services.contains(*service)) {
        return Err(format!("nothing of {missing} in it, only {services:?}"));
    }
    for span in spans {
        for reference in span["references"].as_array().into_iter().flatten() {
            let parent = text(&reference["spanID"]);
            // The client's own span is not exported by us.
            if !ids.contains(&parent) && parent != "00000000000000ff" {
                return Err(format!("the parent {parent} of {} is not in it", span["operationName"]));
            }
        }
        if span["references"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("{} has no parent", span["operationName"]));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_hundred_tasks_leave_a_hundred_whole_traces() -> Result<()> {
    let cluster = Cluster::builder().agent(roomy_agent()).jaeger().start().await?;
    launch_all(&cluster).await?;
    let mut spans = BTreeSet::new();
    for number in 0..TASKS {
        let id = trace_id(number);
        let url = format!("{}/api/traces/{id}", cluster.jaeger()?);
        // Spans are exported in batches, some seconds later.
        let trace = eventually_some(Duration::from_secs(30), &format!("trace {id} is whole"), async || {
            let answer: Value = serde_json::from_str(&http().get(&url).timeout(SOON).send().await?.text().await?)?;
            let trace = answer["data"].get(0).context("not there")?;
            incomplete(trace).map_err(anyhow::Error::msg)?;
            Ok(Some(trace.clone()))
        })
        .await?;
        for span in trace["spans"].as_array().into_iter().flatten() {
            spans.insert(span["operationName"].as_str().unwrap_or_default().to_owned());
        }
    }
    println!("operations: {spans:?}");
    cluster.finish()
}

#[tokio::test]
async fn a_launched_command_is_one_trace_from_its_submission_on() -> Result<()> {
    let cluster = Cluster::builder().agents(1).jaeger().start_local().await?;
    let spawned = cluster.mesos(&["spawn", "--name", "traced", "-o", "json", "--command", "true"]).await?.json()?;
    let (framework, task) = (&spawned["framework_id"], &spawned["task_ids"][0]);
    let (framework, task) = (framework.as_str().context("no framework")?, task.as_str().context("no task")?);
    let id = eventually_some(SOON, "the task has a trace", async || {
        let answer = cluster.get(0, &format!("/v1/tasks/{framework}/{task}")).await?;
        Ok(answer["trace_id"].as_str().map(str::to_owned))
    })
    .await?;
    let url = format!("{}/api/traces/{id}", cluster.jaeger()?);
    let wanted = ["launch", "launcher.submit", "ACCEPT", "agent.start_container", "registry.update"];
    eventually_some(Duration::from_secs(30), "the trace has every step", async || {
        let answer: Value = serde_json::from_str(&http().get(&url).timeout(SOON).send().await?.text().await?)?;
        let spans = answer["data"][0]["spans"].as_array().context("not there")?;
        let names: BTreeSet<&str> = spans.iter().filter_map(|span| span["operationName"].as_str()).collect();
        match wanted.iter().find(|name| !names.contains(*name)) {
            Some(missing) => bail!("no {missing}, only {names:?}"),
            None => Ok(Some(())),
        }
    })
    .await?;
    cluster.finish()
}

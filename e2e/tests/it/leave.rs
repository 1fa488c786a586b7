//! Agents that leave on purpose: drained over the command line, gone, and machines that are down for maintenance.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::scheduler::framework_info;
use mesos_e2e::{Cluster, Framework, Scheduler, TaskSpec, eventually, eventually_some};
use serde_json::{Value, json};

use crate::allocation::{agent_of, next_offers, offer_id};
use crate::support::{LATER, SOON, framework, last, master_and_agent, processes, roomy_agent};

fn sleeping(prefix: &str, count: usize) -> impl Iterator<Item = TaskSpec> {
    (0..count).map(move |i| TaskSpec::shell(&format!("{prefix}-{i}"), "exec sleep 10000"))
}

/// The agents as `mesos agents` lists them: id and state.
async fn agents(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let list = cluster.mesos(&["agents", "-o", "json"]).await?.json()?;
    let text = |agent: &Value, field: &str| agent[field].as_str().unwrap_or_default().to_owned();
    Ok(list.as_array().into_iter().flatten().map(|agent| (text(agent, "id"), text(agent, "state"))).collect())
}

async fn until_state(cluster: &Cluster, agent: &str, state: &str) -> Result<()> {
    eventually(LATER, &format!("{agent} is {state}"), async || {
        let agents = agents(cluster).await?;
        if agents.iter().any(|(id, found)| id == agent && found == state) {
            return Ok(true);
        }
        bail!("{agents:?}")
    })
    .await
}

/// Tasks of a framework by where they were launched.
fn places(framework: &Framework, prefix: &str, count: usize) -> Vec<(String, String)> {
    (0..count)
        .filter_map(|i| {
            let id = format!("{prefix}-{i}");
            Some((id.clone(), framework.task(&id)?.agent_id))
        })
        .collect()
}

#[tokio::test]
async fn a_busy_agent_is_drained_over_the_command_line_and_taken_back() -> Result<()> {
    let cluster = Cluster::builder().agent(roomy_agent()).agent(roomy_agent()).start_master().await?;
    let framework = Framework::start("busy", 600.0, &[cluster.gateway(0)]).await?;
    framework.launch(sleeping("before", 6).map(|mut task| {
        // So much that one agent has no room for all.
        task.cpus = 4.0;
        task
    }));
    framework.wait_for_all(LATER, |_| "TASK_RUNNING").await?;
    let found = processes(&framework.id(), "sleep", 6).await?;
    let before = places(&framework, "before", 6);
    let drained = before[0].1.clone();
    ensure!(before.iter().any(|(_, agent)| *agent != drained), "{before:?}");

    let outcome = cluster.mesos(&["drain", &drained, "--grace", "30secs", "-o", "json"]).await?;
    ensure!(outcome.stderr.contains("still holds cpus:"), "it says what it waits for: {}", outcome.stderr);
    let done = outcome.json()?;
    assert_eq!((&done["agent_id"], &done["state"]), (&json!(drained), &json!("drained")));
    for (id, agent) in &before {
        let task = framework.task(id).context("it was launched")?;
        if *agent == drained {
            assert_eq!((task.state(), last(&task, "reason").as_str()), ("TASK_KILLED", "REASON_AGENT_DRAINING"));
            ensure!(!found[id].runs(), "{id} runs on");
        } else {
            ensure!(task.state() == "TASK_RUNNING" && found[id].runs(), "{id} is {}", task.state());
        }
    }

    // Nothing more is launched there, whatever leader there is.
    cluster.kill_9("master-0")?;
    cluster.restart("master-0")?;
    until_state(&cluster, &drained, "drained").await?;
    framework.launch(sleeping("after", 4));
    framework.wait_for("after-3", "TASK_RUNNING", LATER).await?;
    let after = places(&framework, "after", 4);
    ensure!(after.iter().all(|(_, agent)| *agent != drained), "{after:?}");

    cluster.mesos(&["agents", "reactivate", &drained]).await?.expect(0)?;
    until_state(&cluster, &drained, "active").await?;
    cluster.mesos(&["agents", "deactivate", &drained]).await?.expect(0)?;
    until_state(&cluster, &drained, "deactivated").await?;
    cluster.mesos(&["drain", "nobody"]).await?.one_clear_line(&["no agent nobody", "mesos agents"])?;
    let near = format!("{}x", drained);
    cluster.mesos(&["drain", &near]).await?.one_clear_line(&["did you mean", &drained])?;
    cluster.finish()
}

#[tokio::test]
async fn f35_an_agent_that_is_drained_to_go_ends_its_tasks_and_comes_back_as_another() -> Result<()> {
    let cluster = master_and_agent().await?;
    let framework = framework(&cluster, "busy").await?;
    framework.launch(sleeping("task", 2));
    framework.wait_for_all(LATER, |_| "TASK_RUNNING").await?;
    let (id, _) = agents(&cluster).await?.remove(0);

    let done = cluster.mesos(&["drain", &id, "--gone", "-o", "json"]).await?.json()?;
    assert_eq!(done["state"], "gone");
    for i in 0..2 {
        let task = framework.task(&format!("task-{i}")).context("it was launched")?;
        let end = (task.state().to_owned(), last(&task, "reason"));
        ensure!(end.1 == "REASON_AGENT_DRAINING", "{end:?}");
    }
    ensure!(agents(&cluster).await?.is_empty(), "it is listed no more");
    // It is told so, and ends; started again it is another one.
    eventually(SOON, "the agent ends", async || cluster.with("agent-0", |agent| Ok(agent.status()?.is_some()))).await?;
    ensure!(cluster.log("agent-0")?.contains("marked gone"), "it says why");
    cluster.restart("agent-0")?;
    let another = eventually_some(LATER, "it registers", async || Ok(agents(&cluster).await?.pop())).await?;
    ensure!(another.0 != id && another.1 == "active", "{another:?}");
    framework.launch(sleeping("again", 1));
    framework.wait_for("again-0", "TASK_RUNNING", LATER).await?;
    cluster.finish()
}

#[tokio::test]
async fn frameworks_are_asked_to_leave_a_machine_that_goes_down_and_comes_back() -> Result<()> {
    let cluster = master_and_agent().await?;
    let mut scheduler = Scheduler::subscribe(&cluster.gateway(0), &framework_info("leaver", 0.0)).await?;
    let offer = next_offers(&mut scheduler).await?.remove(0);
    let (agent, host) = (agent_of(&offer).to_owned(), offer["hostname"].as_str().unwrap_or_default().to_owned());
    let task = TaskSpec::shell("stays", "exec sleep 10000").task_info(&agent);
    let launch = json!({"type": "LAUNCH", "launch": {"task_infos": [task]}});
    scheduler.caller().accept(&[offer_id(&offer)], vec![launch]).await?;
    let running = scheduler.wait_for(LATER, "UPDATE").await?;
    scheduler.caller().acknowledge(&running["update"]["status"]).await?;
    let found = processes(scheduler.framework_id(), "sleep", 1).await?;

    let add = ["maintenance", "schedule", "add", "--start", "+1h", "--duration", "2h", &host];
    cluster.mesos(&add).await?.expect(0)?;
    cluster.mesos(&add).await?.one_clear_line(&[&host, "more than once"])?;
    let asked = scheduler.wait_for(SOON, "INVERSE_OFFERS").await?["inverse_offers"]["inverse_offers"][0].clone();
    assert_eq!(asked["agent_id"]["value"], json!(agent));
    assert_eq!(asked["unavailability"]["duration"]["nanoseconds"], 7_200_000_000_000_u64);
    let answer = json!({"inverse_offer_ids": [asked["id"]], "filters": {"refuse_seconds": 3600}});
    scheduler.caller().call("ACCEPT_INVERSE_OFFERS", answer).await?;
    let shown = cluster.mesos(&["maintenance", "status", "-o", "json"]).await?.json()?;
    assert_eq!(shown[0]["state"], "draining");
    assert_eq!(shown[0]["accepted"], json!([scheduler.framework_id()]));

    cluster.mesos(&["maintenance", "start", "elsewhere"]).await?.one_clear_line(&["elsewhere", "schedule"])?;
    cluster.mesos(&["maintenance", "start", &host]).await?.expect(0)?;
    let ends = BTreeSet::from(["TASK_GONE", "TASK_LOST"]);
    loop {
        let update = scheduler.wait_for(SOON, "UPDATE").await?;
        let status = &update["update"]["status"];
        scheduler.caller().acknowledge(status).await?;
        if ends.contains(status["state"].as_str().unwrap_or_default()) {
            break;
        }
    }
    until_state(&cluster, &agent, "down").await?;
    eventually(LATER, "the task's process ends", async || Ok(found.values().all(|process| !process.runs()))).await?;

    cluster.mesos(&["maintenance", "stop", &host]).await?.expect(0)?;
    until_state(&cluster, &agent, "active").await?;
    let left = cluster.mesos(&["maintenance", "schedule", "-o", "json"]).await?.json()?;
    ensure!(left["windows"].as_array().is_none_or(Vec::is_empty), "{left}");
    loop {
        let offers = next_offers(&mut scheduler).await?;
        if offers.iter().any(|offer| agent_of(offer) == agent && offer["unavailability"].is_null()) {
            return cluster.finish();
        }
    }
}

//! A cluster of processes over real NATS, Redis and Docker, and what becomes of tasks when parts of it die.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::host::{self, HostProcess};
use mesos_e2e::scheduler::framework_info;
use mesos_e2e::{Cluster, Framework, Scheduler, TaskSpec, eventually, eventually_some};
use serde_json::{Value, json};

use crate::support::{IMAGE, LATER, SOON, master_and_agent, processes, roomy_agent};

/// For what has to wait until a lease runs out or a connection is given up.
const FAILOVER: Duration = Duration::from_secs(90);
/// Tasks that run through all of a test.
const STAYING: usize = 12;

/// Two of everything; one agent on NATS, the other one on the gateways.
async fn two_of_everything() -> Result<Cluster> {
    Cluster::builder().services(2, 2, 2).agent(roomy_agent()).agent(roomy_agent().linked()).start().await
}

/// A framework that subscribes wherever a gateway is, and calls now through the one, now through the other.
async fn available(cluster: &Cluster, name: &str, failover_timeout: f64) -> Result<Framework> {
    let gateways = cluster.gateway_urls();
    Framework::start_with(framework_info(name, failover_timeout), &gateways, &[]).await
}

/// Tasks of both kinds that run until they are killed.
fn staying() -> impl Iterator<Item = TaskSpec> {
    (0..STAYING).map(|i| match i % 3 {
        0 => TaskSpec::docker(&format!("stays-{i}"), IMAGE, "exec sleep 10000"),
        _ => TaskSpec::shell(&format!("stays-{i}"), "exec sleep 10000"),
    })
}

/// Tasks of both kinds that say once that they started, in a file that all of them share.
fn short(directory: &Path, prefix: &str, count: usize, docker_every: usize) -> Vec<TaskSpec> {
    let starts = directory.join("starts");
    let volume = json!({
        "container_path": starts.display().to_string(), "host_path": starts.display().to_string(), "mode": "RW",
    });
    (0..count)
        .map(|i| {
            let id = format!("{prefix}-{i}");
            // Each a file of its own, to which it appends: a second start is seen.
            let command = format!("echo {id} >> {}/{id}; exit {}", starts.display(), i % 4 / 3);
            if i % docker_every == 0 {
                let container = json!({"type": "DOCKER", "docker": {"image": IMAGE}, "volumes": [volume]});
                TaskSpec::docker(&id, IMAGE, &command).with("container", container)
            } else {
                TaskSpec::shell(&id, &command)
            }
        })
        .collect()
}

/// The right end of a task of [`short`] and [`staying`].
fn right_end(id: &str) -> &'static str {
    let number: usize = id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
    match id {
        id if id.starts_with("stays-") => "TASK_RUNNING",
        _ if number % 4 == 3 => "TASK_FAILED",
        _ => "TASK_FINISHED",
    }
}

/// Fails if a task of [`short`] was started more than once.
fn no_second_start(directory: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory.join("starts"))? {
        let text = fs::read_to_string(entry?.path())?;
        ensure!(text.lines().count() == 1, "started twice: {text}");
        count += 1;
    }
    Ok(count)
}

/// Fails if one of these processes is not the one it was.
fn all_run(found: &BTreeMap<String, HostProcess>, when: &str) -> Result<()> {
    let stopped: Vec<&String> = found.iter().filter(|(_, process)| !process.runs()).map(|(id, _)| id).collect();
    ensure!(stopped.is_empty(), "{when}: stopped or started again: {stopped:?}");
    Ok(())
}

/// Ends what stays, and waits until nothing is held any more.
async fn end_all(cluster: &Cluster, framework: &Framework) -> Result<()> {
    for i in 0..STAYING {
        framework.kill(&format!("stays-{i}")).await?;
    }
    framework
        .wait_for_all(FAILOVER, |id| match right_end(id) {
            "TASK_RUNNING" => "TASK_KILLED",
            end => end,
        })
        .await?;
    for gateway in 0..cluster.gateway_urls().len() {
        eventually(FAILOVER, "nothing is used any more", async || {
            let seen = cluster.get(gateway, "/v1/cluster").await?;
            if seen["resources"]["used"]["cpus"] == 0.0 {
                return Ok(true);
            }
            bail!("{}", seen["resources"])
        })
        .await?;
    }
    Ok(())
}

async fn survive(rounds: usize) -> Result<()> {
    let cluster = two_of_everything().await?;
    fs::create_dir_all(cluster.directory().join("starts"))?;
    let framework = available(&cluster, "survivor", 600.0).await?;

    let begun = Instant::now();
    framework.launch(short(cluster.directory(), "first", 200, 5));
    framework.wait_for_all(Duration::from_secs(180), right_end).await?;
    println!("200 tasks, 40 of them in Docker: {:?}", begun.elapsed());
    ensure!(no_second_start(cluster.directory())? == 200, "not every task was started");

    framework.launch(staying());
    framework.wait_for_all(FAILOVER, right_end).await?;
    let found = processes(&framework.id(), "sleep", STAYING).await?;
    let services = ["allocator", "registry", "gateway", "agent"].map(|name| [format!("{name}-0"), format!("{name}-1")]);
    for round in 0..rounds {
        for victim in services.iter().flatten().map(String::as_str).chain(["nats", "redis"]) {
            let begun = Instant::now();
            cluster.kill_9(victim)?;
            all_run(&found, &format!("{victim} is dead"))?;
            // These are asked for while it is away.
            let prefix = format!("without-{victim}-{round}");
            let mut tasks = short(cluster.directory(), &prefix, 6, 3);
            if victim.starts_with("agent") {
                // So much that one agent has no room for all: some go to the one that lives. The others wait
                // for the dead one, which nobody can tell from a silent one yet.
                tasks.iter_mut().for_each(|task| task.cpus = 3.0);
                framework.launch(tasks);
                eventually(FAILOVER, "the other agent goes on", async || {
                    let over = |i: usize| framework.task(&format!("{prefix}-{i}")).is_some_and(|task| task.is_over());
                    Ok((0..6).any(over))
                })
                .await?;
                cluster.restart(victim)?;
            } else {
                framework.launch(tasks);
            }
            if matches!(victim, "nats" | "redis") {
                // Without these nothing can be decided; what runs goes on, and all of it is made up for.
                cluster.restart(victim)?;
            }
            framework
                .wait_for_all(FAILOVER, right_end)
                .await
                .with_context(|| format!("while {victim} is dead; {:?}", framework.history()))?;
            println!("round {round}: {victim} killed, 6 tasks ended after {:?}", begun.elapsed());
            if !matches!(victim, "nats" | "redis") && !victim.starts_with("agent") {
                cluster.restart(victim)?;
            }
            framework.launch(short(cluster.directory(), &format!("{prefix}-back"), 6, 3));
            framework
                .wait_for_all(FAILOVER, right_end)
                .await
                .with_context(|| format!("after {victim} is back; {:?}", framework.history()))?;
            cluster.wait_for_agents(0, 2, FAILOVER).await?;
            cluster.wait_for_agents(1, 2, FAILOVER).await?;
            all_run(&found, &format!("{victim} is back"))?;
            println!("round {round}: {victim} is back, all is well after {:?}", begun.elapsed());
        }
    }
    no_second_start(cluster.directory())?;
    end_all(&cluster, &framework).await?;
    cluster.finish()
}

#[tokio::test]
async fn tasks_reach_their_right_end_and_survive_the_death_of_every_service_in_turn() -> Result<()> {
    survive(1).await
}

#[tokio::test]
async fn tasks_survive_many_rounds_of_deaths() -> Result<()> {
    match std::env::var_os("MESOS_E2E_LONG") {
        Some(_) => survive(5).await,
        // The same with one round is a test of its own.
        None => Ok(()),
    }
}

#[tokio::test]
async fn a_leader_that_was_silent_for_a_while_does_no_harm_when_it_wakes() -> Result<()> {
    let cluster = two_of_everything().await?;
    fs::create_dir_all(cluster.directory().join("starts"))?;
    let framework = available(&cluster, "paused", 600.0).await?;
    framework.launch(staying());
    framework.wait_for_all(FAILOVER, right_end).await?;
    let found = processes(&framework.id(), "sleep", STAYING).await?;
    // One of each pair leads; to pause both in turn pauses the leader once at least.
    for victim in ["allocator-0", "allocator-1", "registry-0", "registry-1"] {
        cluster.pause(victim).await?;
        framework.launch(short(cluster.directory(), &format!("silent-{victim}"), 4, 4));
        framework.wait_for_all(FAILOVER, right_end).await.with_context(|| format!("{victim} is silent"))?;
        cluster.resume(victim)?;
        framework.launch(short(cluster.directory(), &format!("awake-{victim}"), 4, 4));
        framework.wait_for_all(FAILOVER, right_end).await.with_context(|| format!("{victim} is awake"))?;
        all_run(&found, victim)?;
    }
    no_second_start(cluster.directory())?;
    end_all(&cluster, &framework).await?;
    cluster.finish()
}

#[tokio::test]
async fn a_subscription_at_one_gateway_takes_every_other_call_through_another_one() -> Result<()> {
    let cluster = Cluster::builder().services(1, 1, 2).agent(roomy_agent()).start().await?;
    let mut scheduler = Scheduler::subscribe(&cluster.gateway(0), &framework_info("across", 0.0)).await?;
    let other = scheduler.caller().through(&cluster.gateway(1));
    let mut offers = scheduler.wait_for(SOON, "OFFERS").await?;
    let offer = |offers: &Value| -> Result<(String, String)> {
        let offer = &offers["offers"]["offers"][0];
        let text = |value: &Value| value["value"].as_str().map(str::to_owned).context("no id");
        Ok((text(&offer["id"])?, text(&offer["agent_id"])?))
    };
    let (id, agent) = offer(&offers)?;
    let task = TaskSpec::shell("crosses", "exec sleep 1000").task_info(&agent);
    other.launch(&[&id], vec![task]).await?;
    let status = until(&mut scheduler, &other, "TASK_RUNNING").await?;
    ensure!(status["task_id"]["value"] == "crosses", "{status}");
    // The rest of the offer comes again; it is declined through the other gateway too, and asked for again.
    offers = scheduler.wait_for(LATER, "OFFERS").await?;
    other.decline(&[&offer(&offers)?.0], 3600.0).await?;
    other.call("SUPPRESS", Value::Null).await?;
    other.call("REVIVE", Value::Null).await?;
    scheduler.wait_for(SOON, "OFFERS").await?;
    other.call("RECONCILE", json!({"tasks": [{"task_id": {"value": "crosses"}}]})).await?;
    let status = scheduler.wait_for(SOON, "UPDATE").await?["update"]["status"].clone();
    ensure!(status["reason"] == "REASON_RECONCILIATION" && status["state"] == "TASK_RUNNING", "{status}");
    other.call("REQUEST", json!({"requests": []})).await?;
    other.kill("crosses").await?;
    until(&mut scheduler, &other, "TASK_KILLED").await?;
    other.call("TEARDOWN", Value::Null).await?;
    eventually(SOON, "the framework is gone everywhere", async || {
        for gateway in 0..2 {
            let seen = cluster.get(gateway, "/frameworks").await?;
            let active = seen["frameworks"].as_array().into_iter().flatten();
            if active.clone().any(|one| one["name"] == "across" && one["active"] == true) {
                bail!("gateway {gateway}: {seen}");
            }
        }
        Ok(true)
    })
    .await?;
    cluster.finish()
}

/// Acknowledges updates through `caller` until one has this state.
async fn until(scheduler: &mut Scheduler, caller: &mesos_e2e::scheduler::Caller, state: &str) -> Result<Value> {
    loop {
        let status = scheduler.wait_for(SOON, "UPDATE").await?["update"]["status"].clone();
        caller.acknowledge(&status).await?;
        if status["state"] == state {
            return Ok(status);
        }
    }
}

#[tokio::test]
async fn no_task_dies_with_the_gateway_of_a_framework_whose_failover_timeout_is_zero() -> Result<()> {
    let cluster = Cluster::builder().services(1, 1, 2).agent(roomy_agent()).start().await?;
    let framework = available(&cluster, "zero", 0.0).await?;
    framework.launch((0..10).map(|i| TaskSpec::shell(&format!("stays-{i}"), "exec sleep 10000")));
    framework.wait_for_all(SOON, right_end).await?;
    let found = processes(&framework.id(), "sleep", 10).await?;
    let id = framework.id();
    cluster.kill_9("gateway-0")?;
    eventually(FAILOVER, "it subscribes at the other gateway", async || Ok(framework.history().0 > 1)).await?;
    // A task that was launched after that shows that the framework is served again.
    framework.launch([TaskSpec::shell("after-0", "true")]);
    framework.wait_for_all(FAILOVER, right_end).await?;
    assert_eq!(framework.id(), id, "it became another framework");
    all_run(&found, "the gateway is dead")?;
    cluster.restart("gateway-0")?;
    for task in found.keys() {
        framework.kill(task).await?;
    }
    framework.wait_for_all(SOON, |id| if id.starts_with("stays-") { "TASK_KILLED" } else { "TASK_FINISHED" }).await?;
    cluster.finish()
}

#[tokio::test]
async fn a_framework_that_goes_away_takes_its_tasks_along_unless_it_asked_for_time() -> Result<()> {
    let cluster = Cluster::builder().services(1, 1, 1).agent(roomy_agent()).start().await?;
    let brief = available(&cluster, "brief", 0.0).await?;
    let patient = available(&cluster, "patient", 600.0).await?;
    for framework in [&brief, &patient] {
        framework.launch([TaskSpec::shell("stays-0", "exec sleep 10000")]);
        framework.wait_for_all(SOON, right_end).await?;
    }
    let of_brief = processes(&brief.id(), "sleep", 1).await?;
    let of_patient = processes(&patient.id(), "sleep", 1).await?;
    let (id, info) = (patient.id(), framework_info("patient", 600.0));
    drop((brief, patient));
    eventually(SOON, "the tasks of the brief one are ended", async || Ok(!of_brief.values().any(HostProcess::runs)))
        .await?;
    all_run(&of_patient, "its framework is away")?;
    // It comes back as the same one and is told of its task.
    let mut info = info;
    info["id"] = json!({"value": id});
    let mut scheduler = Scheduler::subscribe(&cluster.gateway(0), &info).await?;
    scheduler.caller().call("RECONCILE", json!({"tasks": []})).await?;
    let status = scheduler.wait_for(SOON, "UPDATE").await?["update"]["status"].clone();
    ensure!(status["state"] == "TASK_RUNNING", "{status}");
    scheduler.caller().call("TEARDOWN", Value::Null).await?;
    eventually(SOON, "its task is ended", async || Ok(!of_patient.values().any(HostProcess::runs))).await?;
    // Its id is used up.
    let error =
        Scheduler::subscribe(&cluster.gateway(0), &info).await.err().context("a removed framework came back")?;
    ensure!(error.to_string().contains("removed"), "{error:#}");
    cluster.finish()
}

#[tokio::test]
async fn two_frameworks_share_the_cluster_fairly() -> Result<()> {
    let cluster = Cluster::builder()
        .agent(mesos_e2e::AgentSpec::with_resources("cpus:8;mem:8192;disk:1000;ports:[31000-31100]"))
        .start()
        .await?;
    let frameworks = [available(&cluster, "left", 0.0).await?, available(&cluster, "right", 0.0).await?];
    // Each wants all of it; each gets half as tasks end and what is free is offered to who has less.
    for framework in &frameworks {
        framework.launch((0..40).map(|i| {
            let mut task = TaskSpec::shell(&format!("t-{i}"), "sleep 0.3");
            task.cpus = 1.0;
            task
        }));
    }
    let most = eventually_some(LATER, "both run tasks at the same time", async || {
        let running =
            frameworks.each_ref().map(|framework| host::tasks(&framework.id(), "sleep").map(|found| found.len()));
        let [left, right] = running;
        let (left, right) = (left?, right?);
        Ok((left >= 2 && right >= 2).then_some((left, right)))
    })
    .await?;
    println!("at one moment {most:?}");
    for framework in &frameworks {
        framework.wait_for_all(LATER, |_| "TASK_FINISHED").await?;
    }
    cluster.finish()
}

#[tokio::test]
async fn a_copy_of_the_masters_state_that_was_made_while_it_worked_brings_it_back() -> Result<()> {
    let cluster = master_and_agent().await?;
    let spawn = ["spawn", "--name=stays", "--cpus=0.1", "--mem=32MB", "--command=exec sleep 10000"];
    let task = cluster.mesos(&spawn).await?.expect(0)?.stdout.trim().to_owned();
    let runs = async || {
        eventually(LATER, "the task runs", async || {
            let list = cluster.mesos(&["ps"]).await?.stdout;
            ensure!(list.lines().any(|line| line.contains(&task) && line.contains("TASK_RUNNING")), "{list}");
            Ok(true)
        })
        .await
    };
    runs().await?;
    cluster.mesos(&["weights", "set", "web=3"]).await?.expect(0)?;
    // As docs/install-hosts.md has it.
    let (store, backup) = (cluster.directory().join("master-0/master/store"), cluster.directory().join("backup"));
    fs::copy(&store, &backup)?;
    cluster.mesos(&["weights", "set", "web=4"]).await?.expect(0)?;
    cluster.kill_9("master-0")?;
    fs::copy(&backup, &store)?;
    cluster.restart("master-0")?;
    cluster.wait_for_agents(0, 1, LATER).await?;
    runs().await?;
    let roles = cluster.mesos(&["roles"]).await?.stdout;
    let web = roles.lines().find(|line| line.starts_with("web")).with_context(|| roles.clone())?;
    ensure!(web.split_whitespace().nth(1) == Some("3"), "{roles}");
    cluster.finish()
}

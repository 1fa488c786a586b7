//! What is kept for somebody: reservations and volumes, room for needs, and what is lent until it is wanted back.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::scheduler::scalar;
use mesos_e2e::{Cluster, Framework, Scheduler, TaskSpec, eventually, eventually_some};
use serde_json::{Value, json};

use crate::allocation::{agent_of, in_role, lines, next_offers, offer_id, offer_with};
use crate::support::{LATER, SOON, last, local, master_and_agent};

/// Disk, reserved for the role `data` by its framework.
fn reserved_disk(amount: f64) -> Value {
    json!({
        "name": "disk", "type": "SCALAR", "scalar": {"value": amount},
        "reservations": [{"type": "DYNAMIC", "role": "data"}],
    })
}

/// The same as a volume, that a task finds as `kept` in its sandbox.
fn volume(amount: f64) -> Value {
    let mut volume = reserved_disk(amount);
    volume["disk"] = json!({"persistence": {"id": "v1"}, "volume": {"container_path": "kept", "mode": "RW"}});
    volume
}

/// An operation whose outcome is to be told.
fn operation(id: &str, kind: &str, body: Value) -> Value {
    let field = kind.to_lowercase();
    json!({"id": {"value": id}, "type": kind, field: body})
}

/// A task that uses the volume.
fn with_volume(id: &str, command: &str, agent: &str) -> Value {
    let mut task = TaskSpec::shell(id, command).task_info(agent);
    if let Some(resources) = task["resources"].as_array_mut() {
        resources.push(volume(256.0));
    }
    json!({"type": "LAUNCH", "launch": {"task_infos": [task]}})
}

/// Waits until an operation is told to be finished.
async fn finished(scheduler: &mut Scheduler, id: &str) -> Result<()> {
    let event = scheduler.wait_for(SOON, "UPDATE_OPERATION_STATUS").await?;
    let status = &event["update_operation_status"]["status"];
    ensure!(status["operation_id"]["value"] == id && status["state"] == "OPERATION_FINISHED", "{event}");
    if status["uuid"].is_null() {
        return Ok(());
    }
    let uuid = status["uuid"].get("value").unwrap_or(&status["uuid"]);
    let body = json!({"agent_id": status["agent_id"], "uuid": uuid, "operation_id": status["operation_id"]});
    scheduler.caller().call("ACKNOWLEDGE_OPERATION_STATUS", body).await
}

/// Waits until a task ends, as it must: well.
async fn ends_well(scheduler: &mut Scheduler, id: &str) -> Result<()> {
    all_end_well(scheduler, BTreeSet::from([id.to_owned()])).await
}

/// The same for several.
async fn all_end_well(scheduler: &mut Scheduler, mut ids: BTreeSet<String>) -> Result<()> {
    while !ids.is_empty() {
        let event = scheduler.wait_for(LATER, "UPDATE").await.with_context(|| format!("tasks {ids:?}"))?;
        let status = &event["update"]["status"];
        scheduler.caller().acknowledge(status).await?;
        match status["state"].as_str() {
            Some("TASK_FINISHED") => _ = ids.remove(status["task_id"]["value"].as_str().unwrap_or_default()),
            Some("TASK_STAGING" | "TASK_STARTING" | "TASK_RUNNING") => {}
            _ => bail!("{event}"),
        }
    }
    Ok(())
}

/// Of an offer's disk, how much is reserved and how much of that a volume.
fn kept(offer: &Value) -> (f64, f64) {
    let disks = offer["resources"].as_array().into_iter().flatten().filter(|resource| resource["name"] == "disk");
    disks.fold((0.0, 0.0), |(reserved, volumes), disk| {
        let amount = disk["scalar"]["value"].as_f64().unwrap_or_default();
        let is_reserved = disk["reservations"].as_array().is_some_and(|list| !list.is_empty());
        let is_volume = disk["disk"]["persistence"]["id"] == "v1";
        (reserved + if is_reserved { amount } else { 0.0 }, volumes + if is_volume { amount } else { 0.0 })
    })
}

/// Reserves, makes a volume, writes to it, and lets another task read that after `between`; then undoes all.
async fn a_volume_keeps_what_was_written(
    cluster: &Cluster,
    agent_dir: &Path,
    between: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let mut scheduler = Scheduler::subscribe(&cluster.gateway(0), &in_role("database", "data")).await?;
    let offer = next_offers(&mut scheduler).await?.remove(0);
    assert_eq!(kept(&offer), (0.0, 0.0), "{offer}");
    let reserve = operation("reserve", "RESERVE", json!({"resources": [reserved_disk(300.0)]}));
    scheduler.caller().accept(&[offer_id(&offer)], vec![reserve]).await?;
    finished(&mut scheduler, "reserve").await?;

    let offer = offer_with(&mut scheduler, |offer| kept(offer) == (300.0, 0.0)).await?;
    let agent = agent_of(&offer).to_owned();
    let create = operation("create", "CREATE", json!({"volumes": [volume(256.0)]}));
    let write = with_volume("write", "echo still here > kept/file", &agent);
    scheduler.caller().accept(&[offer_id(&offer)], vec![create, write]).await?;
    finished(&mut scheduler, "create").await?;
    ends_well(&mut scheduler, "write").await?;
    let place = agent_dir.join("volumes/roles/data/v1");
    assert_eq!(std::fs::read_to_string(place.join("file"))?, "still here\n");

    // All offers go back first, so that what comes after is offered anew.
    let offer = offer_with(&mut scheduler, |offer| kept(offer) == (300.0, 256.0)).await?;
    scheduler.caller().decline(&[offer_id(&offer)], 3600.0).await?;
    between().await?;
    scheduler.caller().call("REVIVE", Value::Null).await?;
    let offer = offer_with(&mut scheduler, |offer| kept(offer) == (300.0, 256.0)).await?;
    assert_eq!(agent_of(&offer), agent);
    let read = with_volume("read", "test \"$(cat kept/file)\" = 'still here'", &agent);
    scheduler.caller().accept(&[offer_id(&offer)], vec![read]).await?;
    ends_well(&mut scheduler, "read").await?;

    let offer = offer_with(&mut scheduler, |offer| kept(offer) == (300.0, 256.0)).await?;
    let destroy = operation("destroy", "DESTROY", json!({"volumes": [volume(256.0)]}));
    let unreserve = operation("unreserve", "UNRESERVE", json!({"resources": [reserved_disk(300.0)]}));
    scheduler.caller().accept(&[offer_id(&offer)], vec![destroy, unreserve]).await?;
    finished(&mut scheduler, "destroy").await?;
    finished(&mut scheduler, "unreserve").await?;
    offer_with(&mut scheduler, |offer| kept(offer) == (0.0, 0.0)).await?;
    eventually(SOON, "the volume's files are gone", async || Ok(!place.exists())).await
}

#[tokio::test]
async fn a_volume_is_made_used_by_one_task_after_another_and_destroyed() -> Result<()> {
    let cluster = local().await?;
    let agent = cluster.directory().join("local-0/agent");
    a_volume_keeps_what_was_written(&cluster, &agent, async || Ok(())).await?;
    cluster.finish()
}

#[tokio::test]
async fn a_reservation_and_its_volume_outlive_a_killed_agent() -> Result<()> {
    let cluster = master_and_agent().await?;
    let agent = cluster.directory().join("agent-0");
    a_volume_keeps_what_was_written(&cluster, &agent, async || {
        cluster.restart("agent-0")?;
        let reserved = async || {
            let agents = cluster.get(0, "/slaves").await?;
            let agent = &agents["slaves"][0];
            Ok(agent["active"] == true && agent["reserved_resources"]["data"]["disk"] == 300.0)
        };
        eventually(LATER, "the agent is back with what is reserved", reserved).await
    })
    .await?;
    cluster.finish()
}

#[tokio::test]
async fn an_operator_reserves_and_makes_volumes_by_command() -> Result<()> {
    let cluster = local().await?;
    let agent = lines(&cluster, &["agents"]).await?[0]["id"].as_str().context("no id")?.to_owned();
    let of_agent = ["--agent", &agent, "--role", "data"];
    let run = async |args: &[&str]| cluster.mesos(&[args, &of_agent].concat()).await;
    run(&["reserve", "cpus:2;disk:1GB"]).await?.expect(0)?;
    run(&["volume", "create", "v1", "--size", "256MB", "--path", "kept"]).await?.expect(0)?;
    let roles = lines(&cluster, &["roles"]).await?;
    let data = roles.iter().find(|role| role["role"] == "data").with_context(|| format!("{roles:?}"))?;
    assert_eq!(data["reserved"], json!({"cpus": 2.0, "disk": 1024.0}), "{data}");

    // Only its role is offered it.
    let mut other = Scheduler::subscribe(&cluster.gateway(0), &in_role("other", "*")).await?;
    let offer = next_offers(&mut other).await?.remove(0);
    assert_eq!((scalar(&offer["resources"], "cpus"), kept(&offer)), (14.0, (0.0, 0.0)), "{offer}");
    let mut data = Scheduler::subscribe(&cluster.gateway(0), &in_role("data", "data")).await?;
    let offer = next_offers(&mut data).await?.remove(0);
    assert_eq!((scalar(&offer["resources"], "cpus"), kept(&offer)), (2.0, (1024.0, 256.0)), "{offer}");
    data.caller().call("TEARDOWN", Value::Null).await?;

    run(&["unreserve", "disk:1GB"]).await?.one_clear_line(&["disk"])?;
    // The command looks the volume up, in an answer that may be a moment old.
    eventually(SOON, "the volume is found and destroyed", async || {
        run(&["volume", "destroy", "v1"]).await?.expect(0)?;
        Ok(true)
    })
    .await?;
    run(&["unreserve", "cpus:2;disk:1GB"]).await?.expect(0)?;
    run(&["reserve", "cpus:100"]).await?.one_clear_line(&["cpus"])?;
    cluster.finish()
}

/// Asks for what a need is: so many tasks at once, for which room is held.
async fn ask_for(scheduler: &Scheduler, cpus: f64, count: u32, priority: f64) -> Result<()> {
    let request = json!({
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": 64.0}},
        ],
        "name": "gang", "role": "*", "count": count, "hold_seconds": 60, "priority": priority,
    });
    scheduler.caller().call("REQUEST", json!({"requests": [request]})).await
}

#[tokio::test]
async fn room_for_a_gang_is_gathered_and_offered_as_a_whole() -> Result<()> {
    let cluster =
        Cluster::builder().agents(2).arg("local", "--resources=cpus:16;mem:16384;disk:20000").start_local().await?;
    let spawn = ["spawn", "--instances", "6", "--cpus", "2", "sleep", "1000"];
    cluster.mesos(&spawn).await?.expect(0)?;
    let running = async || -> Result<Vec<(String, String)>> {
        let tasks = lines(&cluster, &["ps"]).await?;
        let tasks = tasks.iter().filter(|task| task["state"] == "TASK_RUNNING");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(tasks.map(|task| (text(&task["id"]), text(&task["agent_id"]))).collect())
    };
    let small = eventually_some(SOON, "six small tasks run", async || {
        let tasks = running().await?;
        Ok((tasks.len() == 6 && tasks.iter().all(|(_, agent)| !agent.is_empty())).then_some(tasks))
    })
    .await?;
    let agents: BTreeSet<&str> = small.iter().map(|(_, agent)| agent.as_str()).collect();
    ensure!(agents.len() == 2, "{small:?}");

    let mut gang = Scheduler::subscribe(&cluster.gateway(0), &in_role("gang", "*")).await?;
    ask_for(&gang, 7.0, 2, 0.0).await?;
    let need = async |gathered: u32| {
        eventually_some(SOON, &format!("{gathered} of 2 are gathered"), async || {
            let needs = lines(&cluster, &["needs"]).await?;
            match needs.as_slice() {
                [need] if need["gathered"] == gathered => Ok(Some(need.clone())),
                _ => bail!("{needs:?}"),
            }
        })
        .await
    };
    // What is free now is too little, whoever it is offered to.
    for offer in next_offers(&mut gang).await? {
        gang.caller().decline(&[offer_id(&offer)], 3600.0).await?;
    }
    let waits = need(0).await?;
    assert_eq!((&waits["name"], &waits["role"], &waits["count"]), (&json!("gang"), &json!("*"), &json!(2)), "{waits}");
    let kill = async |on: &str| -> Result<()> {
        let tasks: Vec<&str> = small.iter().filter(|(_, agent)| agent == on).map(|(task, _)| task.as_str()).collect();
        cluster.mesos(&[&["kill"], tasks.as_slice()].concat()).await?.expect(0).map(drop)
    };
    let (first, second) = (*agents.first().context("no agent")?, *agents.last().context("no agent")?);
    kill(first).await?;
    let half = need(1).await?;
    ensure!(half["held_on"].as_array().is_some_and(|on| on.contains(&json!(first))), "{half}");
    // What is held is for nobody else.
    let _other = Scheduler::subscribe(&cluster.gateway(0), &in_role("other", "*")).await?;
    let why = ["explain", "other", "--resources", "cpus:4;mem:64", "-o", "json"];
    let why = cluster.mesos(&why).await?.json()?;
    ensure!(
        why["placeable"].as_u64().unwrap_or_default() == 0 && why["blockers"].to_string().contains("held"),
        "{why}"
    );

    kill(second).await?;
    let mut whole = BTreeSet::new();
    while whole.len() < 2 {
        for offer in next_offers(&mut gang).await? {
            if scalar(&offer["resources"], "cpus") >= 7.0 {
                let mut task = TaskSpec::shell(agent_of(&offer), "exit 0");
                (task.cpus, task.mem) = (7.0, 64.0);
                gang.caller().launch(&[offer_id(&offer)], vec![task.task_info(agent_of(&offer))]).await?;
                whole.insert(agent_of(&offer).to_owned());
            } else {
                // What is left beside what is held may be offered to anybody.
                ensure!(scalar(&offer["resources"], "cpus") <= 1.0, "a part is offered: {offer}");
                gang.caller().decline(&[offer_id(&offer)], 3600.0).await?;
            }
        }
    }
    assert_eq!(lines(&cluster, &["needs"]).await?, Vec::<Value>::new());
    all_end_well(&mut gang, whole).await?;
    cluster.finish()
}

#[tokio::test]
async fn work_of_lower_priority_makes_room_for_a_need() -> Result<()> {
    let cluster = Cluster::builder()
        .agents(1)
        .arg("local", "--resources=cpus:4;mem:4096;disk:10000")
        .arg("local", "--preemption")
        .start_local()
        .await?;
    let low = Framework::start("low", 0.0, &[cluster.gateway(0)]).await?;
    let ids: Vec<String> = (0..4).map(|number| format!("low-{number}")).collect();
    low.launch(ids.iter().map(|id| TaskSpec { cpus: 1.0, ..TaskSpec::shell(id, "exec sleep 1000") }));
    for id in &ids {
        low.wait_for(id, "TASK_RUNNING", SOON).await?;
    }
    let mut high = Scheduler::subscribe(&cluster.gateway(0), &in_role("high", "*")).await?;
    // Of the same priority nobody goes.
    ask_for(&high, 3.0, 1, 0.0).await?;
    eventually(SOON, "the need waits", async || Ok(lines(&cluster, &["needs"]).await?.len() == 1)).await?;
    assert!(ids.iter().all(|id| low.task(id).is_some_and(|task| !task.is_over())));
    ask_for(&high, 3.0, 1, 10.0).await?;
    let offer = offer_with(&mut high, |offer| scalar(&offer["resources"], "cpus") >= 3.0).await?;
    let over = || ids.iter().filter_map(|id| low.task(id)).filter(|task| task.is_over()).collect::<Vec<_>>();
    eventually(SOON, "three were told to be over", async || Ok(over().len() == 3)).await?;
    for task in over() {
        ensure!(["TASK_GONE", "TASK_LOST"].contains(&task.state()), "{:?}", task.statuses);
        assert_eq!(last(&task, "reason"), "REASON_CONTAINER_PREEMPTED", "{:?}", task.statuses);
        ensure!(last(&task, "message").contains("gang"), "{:?}", task.statuses);
    }
    let mut task = TaskSpec::shell("high", "exit 0").task_info(agent_of(&offer));
    task["resources"][0]["scalar"]["value"] = json!(3.0);
    high.caller().launch(&[offer_id(&offer)], vec![task]).await?;
    ends_well(&mut high, "high").await?;
    // The one that was not in the way goes on.
    assert_eq!(over().len(), 3);
    cluster.finish()
}

/// How much of a resource an offer has as revocable, and how much not.
fn lent(offer: &Value, name: &str) -> (f64, f64) {
    let resources = offer["resources"].as_array().cloned().unwrap_or_default();
    let (lent, own): (Vec<Value>, Vec<Value>) =
        resources.into_iter().partition(|resource| !resource["revocable"].is_null());
    (scalar(&json!(lent), name), scalar(&json!(own), name))
}

#[tokio::test]
async fn what_is_left_over_is_offered_as_revocable_to_those_who_take_it() -> Result<()> {
    let cluster = Cluster::builder()
        .agents(1)
        .arg("local", "--resources=cpus:4;mem:4096;disk:10000")
        .arg("local", "--resource-estimator=fixed:cpus:2")
        .start_local()
        .await?;
    let mut plain = Scheduler::subscribe(&cluster.gateway(0), &in_role("plain", "*")).await?;
    let offer = next_offers(&mut plain).await?.remove(0);
    assert_eq!(lent(&offer, "cpus"), (0.0, 4.0), "{offer}");
    let mut info = in_role("takes-it", "*");
    info["capabilities"].as_array_mut().context("no capabilities")?.push(json!({"type": "REVOCABLE_RESOURCES"}));
    let mut takes = Scheduler::subscribe(&cluster.gateway(0), &info).await?;
    let left_over = next_offers(&mut takes).await?.remove(0);
    assert_eq!(lent(&left_over, "cpus"), (2.0, 0.0), "{left_over}");

    plain.caller().call("TEARDOWN", Value::Null).await?;
    let own = next_offers(&mut takes).await?.remove(0);
    assert_eq!(lent(&own, "cpus"), (0.0, 4.0), "{own}");
    let mut task = TaskSpec::shell("lent", "exit 0").task_info(agent_of(&own));
    task["resources"][0]["scalar"]["value"] = json!(1.5);
    task["resources"][0]["revocable"] = json!({});
    takes.caller().launch(&[offer_id(&left_over), offer_id(&own)], vec![task]).await?;
    ends_well(&mut takes, "lent").await?;
    cluster.finish()
}

//! Who is offered what, and why: quota, policies, constraints, explanations, recordings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::scheduler::{framework_info, scalar};
use mesos_e2e::{AgentSpec, Cluster, Scheduler, TaskSpec, cli, eventually, eventually_some, http, ports};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{LATER, SOON, get, local};

/// A framework in one role, which dies with its connection.
pub(crate) fn in_role(name: &str, role: &str) -> Value {
    let mut info = framework_info(name, 0.0);
    info["roles"] = json!([role]);
    info
}

/// The offers that come next.
pub(crate) async fn next_offers(scheduler: &mut Scheduler) -> Result<Vec<Value>> {
    let event = scheduler.wait_for(SOON, "OFFERS").await?;
    Ok(event["offers"]["offers"].as_array().cloned().unwrap_or_default())
}

/// Waits for an offer that is wanted; the others are declined and may come again.
pub(crate) async fn offer_with(scheduler: &mut Scheduler, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut seen = Vec::new();
    loop {
        let offers = next_offers(scheduler).await.with_context(|| format!("offered was {}", json!(seen)))?;
        let mut found = None;
        for offer in offers {
            if found.is_none() && wanted(&offer) {
                found = Some(offer);
                continue;
            }
            scheduler.caller().decline(&[offer_id(&offer)], 0.2).await?;
            seen.push(offer["resources"].clone());
        }
        if let Some(found) = found {
            return Ok(found);
        }
    }
}

/// The id of an offer.
pub(crate) fn offer_id(offer: &Value) -> &str {
    offer["id"]["value"].as_str().unwrap_or_default()
}

/// The id of the agent that an offer is of.
pub(crate) fn agent_of(offer: &Value) -> &str {
    offer["agent_id"]["value"].as_str().unwrap_or_default()
}

/// What a command prints as a list, with `-o json`.
pub(crate) async fn lines(cluster: &Cluster, args: &[&str]) -> Result<Vec<Value>> {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let printed = cluster.mesos(&args).await?.json()?;
    printed.as_array().cloned().with_context(|| format!("no list: {printed}"))
}

/// POST of a call to the operator API: status and answer, null where that is no JSON.
async fn operator(cluster: &Cluster, call: Value) -> Result<(StatusCode, Value, String)> {
    let answer = http()
        .post(format!("{}/api/v1", cluster.gateway(0)))
        .header("Content-Type", "application/json")
        .header("Accept", "application/json")
        .timeout(SOON)
        .body(call.to_string())
        .send()
        .await?;
    let (status, text) = (answer.status(), answer.text().await?);
    Ok((status, serde_json::from_str(&text).unwrap_or_default(), text))
}

#[tokio::test]
async fn a_role_is_offered_and_has_no_more_than_its_limit() -> Result<()> {
    let cluster = Cluster::builder()
        .agents(2)
        .arg("local", "--resources=cpus:16;mem:16384;disk:20000;ports:[31000-32000]")
        .start_local()
        .await?;
    let set = lines(&cluster, &["quota", "set", "small", "--limit", "cpus:2;mem:1GB"]).await?;
    ensure!(set.len() == 1 && set[0]["role"] == "small", "{set:?}");
    assert_eq!(set[0]["limit"], json!({"cpus": 2.0, "mem": 1024.0}));

    let mut scheduler = Scheduler::subscribe(&cluster.gateway(0), &in_role("limited", "small")).await?;
    let offers = next_offers(&mut scheduler).await?;
    let sum = |name: &str| offers.iter().map(|offer| scalar(&offer["resources"], name)).sum::<f64>();
    assert_eq!((sum("cpus"), sum("mem")), (2.0, 1024.0), "{offers:?}");

    let mut task = TaskSpec::shell("a", "exec sleep 1000");
    (task.cpus, task.mem) = (1.5, 512.0);
    let offer = &offers[0];
    ensure!(scalar(&offer["resources"], "cpus") >= 1.5, "{offers:?}");
    scheduler.caller().launch(&[offer_id(offer)], vec![task.task_info(agent_of(offer))]).await?;
    let role = eventually_some(SOON, "the role has what its task holds", async || {
        let roles = lines(&cluster, &["roles"]).await?;
        let role = roles.iter().find(|role| role["role"] == "small").context("no such role")?;
        Ok((role["allocated"]["cpus"] == 1.5).then(|| role.clone()))
    })
    .await?;
    assert_eq!(role["frameworks"], json!([scheduler.framework_id()]), "{role}");
    // What is offered counts too, since it may be taken at any time.
    let cpus = |field: &str| role[field]["cpus"].as_f64().unwrap_or_default();
    assert_eq!(cpus("consumed"), cpus("allocated") + cpus("offered"), "{role}");
    ensure!((1.5..=2.0).contains(&cpus("consumed")), "{role}");
    // A wider limit is seen at once by whoever waited for it.
    lines(&cluster, &["quota", "set", "small", "--limit", "cpus:6;mem:4GB"]).await?;
    let offer = offer_with(&mut scheduler, |offer| scalar(&offer["resources"], "cpus") > 2.0).await?;
    ensure!(scalar(&offer["resources"], "cpus") <= 4.5, "{offer}");

    // Below what is in use only when asked twice.
    let less = ["quota", "set", "small", "--limit", "cpus:1"];
    cluster.mesos(&less).await?.one_clear_line(&["small", "cpus"])?;
    cluster.mesos(&[&less[..], &["--force"]].concat()).await?.expect(0)?;
    let removed = lines(&cluster, &["quota", "remove", "small"]).await?;
    ensure!(removed.iter().all(|role| role["limit"] == json!({})), "{removed:?}");
    cluster.finish()
}

#[tokio::test]
async fn a_quota_that_cannot_be_is_refused_in_one_clear_line() -> Result<()> {
    let cluster = local().await?;
    let bad: [(&[&str], &[&str]); 5] = [
        (&["small", "--guarantee", "cpus:4", "--limit", "cpus:2"], &["cpus"]),
        (&["small", "--guarantee", "cpus:1000"], &["cpus"]),
        (&["small", "--limit", "gold:1"], &["gold"]),
        (&["../up", "--limit", "cpus:1"], &["../up"]),
        (&["*", "--limit", "cpus:1"], &["*"]),
    ];
    for (args, words) in bad {
        cluster.mesos(&[&["quota", "set"], args].concat()).await?.one_clear_line(words)?;
    }
    // These are seen before the master is asked, by the rules of all options.
    for args in [&["small", "--limit", "cpus"][..], &["small", "--limit", "cpus:-1"], &["small"]] {
        let outcome = cluster.mesos(&[&["quota", "set"], args].concat()).await?;
        ensure!(outcome.code != Some(0) && outcome.stderr.contains("--"), "{outcome:?}");
    }
    assert_eq!(lines(&cluster, &["quota", "get"]).await?, Vec::<Value>::new());
    cluster.finish()
}

#[tokio::test]
async fn quotas_weights_and_roles_are_read_and_set_as_in_apache_mesos() -> Result<()> {
    let cluster = local().await?;
    let amount = |value: f64| json!({"value": value});
    let config = json!({"role": "ads", "guarantees": {"cpus": amount(2.0)}, "limits": {"cpus": amount(4.0), "mem": amount(512.0)}});
    let update = |configs: Value| json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": configs}});
    let (status, _, text) = operator(&cluster, update(json!([config]))).await?;
    ensure!(status == StatusCode::OK, "{status}: {text}");
    let (status, quota, text) = operator(&cluster, json!({"type": "GET_QUOTA"})).await?;
    ensure!(status == StatusCode::OK && quota["type"] == "GET_QUOTA", "{status}: {text}");
    assert_eq!(quota["get_quota"]["status"]["configs"], json!([config]), "{quota}");

    // All or none: the second one cannot be.
    let both = json!([
        {"role": "eng", "limits": {"cpus": amount(1.0)}},
        {"role": "ads", "guarantees": {"cpus": amount(5.0)}, "limits": {"cpus": amount(4.0)}},
    ]);
    let (status, _, text) = operator(&cluster, update(both)).await?;
    ensure!(status == StatusCode::BAD_REQUEST && text.contains("ads"), "{status}: {text}");
    let (status, legacy) = get(&cluster, "/quota").await?;
    ensure!(status == StatusCode::OK && legacy.contains("\"ads\"") && !legacy.contains("\"eng\""), "{legacy}");

    let weights = lines(&cluster, &["weights", "set", "ads=2.5"]).await?;
    assert_eq!(weights, vec![json!({"role": "ads", "weight": 2.5})]);
    assert_eq!(cluster.get(0, "/weights").await?, json!([{"role": "ads", "weight": 2.5}]));
    let roles = cluster.get(0, "/roles").await?;
    let ads = roles["roles"].as_array().into_iter().flatten().find(|role| role["name"] == "ads");
    let ads = ads.with_context(|| format!("no role ads: {roles}"))?;
    assert_eq!((&ads["weight"], &ads["quota"]["limit"]), (&json!(2.5), &json!({"cpus": 4, "mem": 512})), "{ads}");
    assert_eq!(ads["quota"]["guarantee"], json!({"cpus": 2}), "{ads}");
    cluster.finish()
}

/// A policy whose score is `score`; `$view` is where a client's view is.
fn policy(cluster: &Cluster, name: &str, score: &str) -> Result<String> {
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "mesos_policy_abi") (result i32) (i32.const 1))
            (func (export "mesos_policy_view") (result i32) (i32.const 1024))
            (func (export "mesos_policy_score") (result i64) {score}))"#
    );
    let path: PathBuf = cluster.directory().join(format!("{name}.wasm"));
    std::fs::write(&path, wat::parse_str(text)?)?;
    Ok(path.display().to_string())
}

/// The last arrival goes first: the offset of `arrival` is 56.
const LAST_FIRST: &str = "(i64.sub (i64.const 0) (i64.load (i32.const 1080)))";
/// Gives up in a cluster of 7 cpus, and so not with the views that each module is tried on.
const TRAPS_ON_SEVEN_CPUS: &str = "(if (result i64) (i64.eq (i64.load (i32.const 1120)) (i64.const 7000)) \
     (then (unreachable)) (else (i64.const 0)))";

/// Three frameworks, of which the first has all there is and leaves: who of the other two is next?
async fn next_of_two(cluster: &Cluster) -> Result<&'static str> {
    let url = cluster.gateway(0);
    let mut has_all = Scheduler::subscribe(&url, &in_role("has-all", "*")).await?;
    next_offers(&mut has_all).await?;
    let mut early = Scheduler::subscribe(&url, &in_role("early", "*")).await?;
    let mut late = Scheduler::subscribe(&url, &in_role("late", "*")).await?;
    has_all.caller().call("TEARDOWN", Value::Null).await?;
    let first = tokio::select! {
        offers = next_offers(&mut early) => offers.map(|_| "early"),
        offers = next_offers(&mut late) => offers.map(|_| "late"),
    }?;
    early.caller().call("TEARDOWN", Value::Null).await?;
    late.caller().call("TEARDOWN", Value::Null).await?;
    Ok(first)
}

#[tokio::test]
async fn a_module_that_was_loaded_decides_whose_turn_it_is() -> Result<()> {
    let cluster = local().await?;
    let get = async || cluster.mesos(&["policy", "get", "-o", "json"]).await?.json();
    assert_eq!(get().await?, json!({"policy": "drf", "modules": [], "trouble": null}));
    let set = cluster.mesos(&["policy", "set", "fifo", "-o", "json"]).await?.json()?;
    assert_eq!(set["policy"], "fifo", "{set}");
    assert_eq!(next_of_two(&cluster).await?, "early");

    let file = policy(&cluster, "last-first", LAST_FIRST)?;
    let loaded = cluster.mesos(&["policy", "load", &file, "-o", "json"]).await?.json()?;
    assert_eq!(loaded, json!({"policy": "fifo", "modules": ["last-first"], "trouble": null}));
    assert_eq!(next_of_two(&cluster).await?, "early");
    let loaded = cluster.mesos(&["policy", "load", &file, "--activate", "-o", "json"]).await?.json()?;
    assert_eq!(loaded, json!({"policy": "last-first", "modules": ["last-first"], "trouble": null}));
    assert_eq!(next_of_two(&cluster).await?, "late");

    // What cannot be a policy changes nothing.
    let broken = cluster.directory().join("broken.wasm");
    std::fs::write(&broken, b"\0asm but no more of it")?;
    let broken = broken.display().to_string();
    cluster.mesos(&["policy", "load", &broken, "--activate"]).await?.one_clear_line(&["broken"])?;
    let traps = policy(&cluster, "traps", "(unreachable)")?;
    cluster.mesos(&["policy", "load", &traps, "--activate"]).await?.one_clear_line(&["traps"])?;
    cluster.mesos(&["policy", "set", "no-such"]).await?.one_clear_line(&["no-such", "fifo", "last-first"])?;
    assert_eq!(get().await?, json!({"policy": "last-first", "modules": ["last-first"], "trouble": null}));
    cluster.mesos(&["policy", "set", "drf"]).await?.expect(0)?;
    assert_eq!(get().await?["policy"], "drf");
    cluster.finish()
}

#[tokio::test]
async fn a_module_that_fails_at_work_makes_room_for_the_policy_before() -> Result<()> {
    let cluster = Cluster::builder().agents(1).arg("local", "--resources=cpus:7;mem:4096").start_local().await?;
    cluster.mesos(&["policy", "set", "fifo"]).await?.expect(0)?;
    let file = policy(&cluster, "seven", TRAPS_ON_SEVEN_CPUS)?;
    cluster.mesos(&["policy", "load", &file, "--activate"]).await?.expect(0)?;
    // Offers are made all the same, in the order of the policy before.
    assert_eq!(next_of_two(&cluster).await?, "early");
    let shown = cluster.mesos(&["policy", "get", "-o", "json"]).await?.json()?;
    assert_eq!(shown["policy"], "fifo", "{shown}");
    let trouble = shown["trouble"].as_str().unwrap_or_default();
    ensure!(trouble.contains("seven") && trouble.contains("fifo"), "{shown}");
    let table = cluster.mesos(&["policy", "get"]).await?.expect(0)?.stdout;
    ensure!(table.contains("trouble") && table.contains("seven"), "{table}");
    cluster.mesos(&["launch", "--command", "true"]).await?.expect(0)?;
    cluster.finish()
}

#[tokio::test]
async fn a_task_that_waits_is_told_why_and_what_would_help() -> Result<()> {
    let cluster = local().await?;
    let spawn = async |args: &[&str]| -> Result<String> {
        let spawned = cluster.mesos(&[&["spawn", "-o", "json"], args].concat()).await?.json()?;
        Ok(spawned["task_ids"][0].as_str().context("no task id")?.to_owned())
    };
    spawn(&["--cpus", "4", "sleep", "1000"]).await?;
    eventually(SOON, "it runs", async || {
        Ok(lines(&cluster, &["ps"]).await?.iter().any(|line| line["state"] == "TASK_RUNNING"))
    })
    .await?;
    let task = spawn(&["--cpus", "64", "--command", "true"]).await?;
    let explained = cluster.mesos(&["explain", &task]).await?.expect(0)?.stdout;
    for word in ["cpus", "64", "12"] {
        ensure!(explained.contains(word), "no {word} in: {explained}");
    }
    let explained = cluster.mesos(&["explain", &task, "-o", "json"]).await?.json()?;
    ensure!(explained["placeable"].as_u64().unwrap_or_default() == 0, "{explained}");
    let less = explained["remedies"].as_array().into_iter().flatten().find_map(|remedy| remedy["change"].get("less"));
    assert_eq!(less, Some(&json!({"name": "cpus", "amount": 12.0})), "{explained}");

    // Each remedy does what it says.
    let less = cluster.mesos(&["what-if", &task, "--less", "cpus:12", "-o", "json"]).await?.json()?;
    assert_eq!(less["after"]["placeable"], 1, "{less}");
    let supposed = cluster.mesos(&["what-if", &task, "--add", "1:cpus:64;mem:65536"]).await?.expect(0)?.stdout;
    ensure!(supposed.contains("0 of 1 placed") && supposed.contains("1 of 1 placed"), "{supposed}");
    let more = cluster.mesos(&["what-if", &task, "--add", "1:cpus:63;mem:65536", "-o", "quiet"]).await?.expect(0)?;
    assert_eq!(more.stdout, "0 of 1 placed\n");
    // It was only supposed.
    assert_eq!(lines(&cluster, &["agents"]).await?.len(), 1);
    cluster.mesos(&["explain", "no-such-task"]).await?.one_clear_line(&["no-such-task"])?;
    cluster.mesos(&["what-if", &task]).await?.one_clear_line(&["--add"])?;
    cluster.finish()
}

#[tokio::test]
async fn a_framework_with_constraints_is_offered_only_agents_that_meet_them() -> Result<()> {
    let agent = |rack: &str| AgentSpec::with_resources("cpus:4;mem:4096").arg(&format!("--attributes=rack:{rack}"));
    let cluster = Cluster::builder().agent(agent("a")).agent(agent("b")).start_master().await?;
    let rack = |predicate: Value| {
        let constraint = json!({"selector": {"attribute_name": "rack"}, "predicate": predicate});
        json!({"role_constraints": {"*": {"groups": [{"attribute_constraints": [constraint]}]}}})
    };
    let subscribe = async |name: &str, predicate: Value| {
        let constraints = [("offer_constraints", rack(predicate))];
        Scheduler::subscribe_with(&cluster.gateway(0), &in_role(name, "*"), &constraints).await
    };
    let racks = |offers: &[Value]| -> Vec<String> {
        let attributes = offers.iter().flat_map(|offer| offer["attributes"].as_array().cloned().unwrap_or_default());
        attributes.filter_map(|one| one["text"]["value"].as_str().map(str::to_owned)).collect()
    };
    let mut choosy = subscribe("choosy", json!({"text_equals": {"value": "b"}})).await?;
    assert_eq!(racks(&next_offers(&mut choosy).await?), ["b"]);
    // The other agent is there and free, as whoever takes all is told.
    let mut any = Scheduler::subscribe(&cluster.gateway(0), &in_role("any", "*")).await?;
    assert_eq!(racks(&next_offers(&mut any).await?), ["a"]);
    any.caller().call("TEARDOWN", Value::Null).await?;

    // Constraints may change while the framework is subscribed.
    let mut info = in_role("choosy", "*");
    info["id"] = json!({"value": choosy.framework_id()});
    let constraints = rack(json!({"text_matches": {"regex": "a|c"}}));
    let update = json!({"framework_info": info, "offer_constraints": constraints});
    let (status, text) = choosy.caller().send("UPDATE_FRAMEWORK", update).await?;
    ensure!(status == StatusCode::OK, "{status}: {text}");
    assert_eq!(racks(&next_offers(&mut choosy).await?), ["a"]);

    let refused = subscribe("wrong", json!({"text_matches": {"regex": "("}})).await;
    let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("Failed to construct regex from pattern '('"), "{refused}");
    cluster.finish()
}

#[tokio::test]
async fn what_was_recorded_is_lived_again_and_says_why() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("recording").display().to_string();
    let port = ports::free()?.to_string();
    let local = ["local", "--port", &port, "--record", &file, "--launch", "true", "--exit"];
    cli::run(&[], &local).await?.expect(0)?;
    let replay = async |args: &[&str]| cli::run(&[], &[&["replay", &file], args].concat()).await?.expect(0);
    let checked = replay(&["--check"]).await?.stdout;
    ensure!(checked.contains("the same comes of all"), "{checked}");
    let summary = replay(&["-o", "json"]).await?.json()?;
    assert_eq!((&summary["divergences"], &summary["launches_accepted"]), (&json!(0), &json!(1)), "{summary}");

    let listed = replay(&["--list", "-o", "json"]).await?.json()?;
    let decision = |kind: &str| -> Result<String> {
        let found = listed.as_array().into_iter().flatten().find(|decision| decision["kind"] == kind);
        Ok(found.with_context(|| format!("no {kind} in {listed}"))?["entry"].to_string())
    };
    let (offer, launch) = (decision("offer")?, decision("launch")?);
    let why = replay(&["--at", &offer]).await?.stdout;
    ensure!(why.contains("offer") && why.contains("why\n") && why.contains("turn 1"), "{why}");
    let why = replay(&["--at", &launch]).await?.stdout;
    ensure!(why.contains("ACCEPT") && why.contains("launch"), "{why}");
    // What was not recorded is told as such.
    let nothing = directory.path().join("nothing").display().to_string();
    cli::run(&[], &["replay", &nothing]).await?.one_clear_line(&[&nothing])?;
    Ok(())
}

#[tokio::test]
async fn many_small_tasks_are_spread_evenly() -> Result<()> {
    let cluster = Cluster::builder()
        .agents(3)
        .arg("local", "--resources=cpus:24;mem:24576;disk:30000")
        .arg("local", "--containerizers=mock")
        .start_local()
        .await?;
    cluster.mesos(&["spawn", "--instances", "30", "--cpus", "0.1", "sleep", "1000"]).await?.expect(0)?;
    eventually(LATER, "all thirty run, ten on each agent", async || {
        let listed = lines(&cluster, &["ps"]).await?;
        let mut on = BTreeMap::<&str, usize>::new();
        for line in listed.iter().filter(|line| line["state"] == "TASK_RUNNING") {
            *on.entry(line["agent_id"].as_str().unwrap_or_default()).or_default() += 1;
        }
        if on.len() == 3 && on.values().sum::<usize>() == 30 && on.values().all(|count| (9..=11).contains(count)) {
            return Ok(true);
        }
        bail!("{on:?}")
    })
    .await?;
    cluster.finish()
}

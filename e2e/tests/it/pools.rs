//! Node pools: agents that come when they are needed, and go when nobody needs them any more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::process::Spec;
use mesos_e2e::{Cluster, backends, cli, eventually, eventually_some, http, ports};
use serde_json::{Value, json};

use crate::support::{LATER, SOON};

/// For what needs several agents to start, on a machine that does other things too.
const LONG: Duration = Duration::from_secs(120);

/// Nodes as `mesos pool nodes` lists them: name and state.
async fn nodes(master: &str) -> Result<Vec<(String, String)>> {
    let list = cli::mesos(master, &["pool", "nodes", "-o", "json"]).await?.json()?;
    let text = |node: &Value, field: &str| node[field].as_str().unwrap_or_default().to_owned();
    Ok(list.as_array().into_iter().flatten().map(|node| (text(node, "node"), text(node, "state"))).collect())
}

/// Waits until so many nodes are up and there are no others.
async fn until_up(master: &str, count: usize) -> Result<Vec<String>> {
    eventually_some(LONG, &format!("{count} nodes are up"), async || {
        let nodes = nodes(master).await?;
        if nodes.len() == count && nodes.iter().all(|(_, state)| state == "up") {
            return Ok(Some(nodes.into_iter().map(|(node, _)| node).collect()));
        }
        bail!("{nodes:?}")
    })
    .await
}

/// Agents that are active, by id.
async fn active(master: &str) -> Result<Vec<String>> {
    let list = cli::mesos(master, &["agents", "-o", "json"]).await?.json()?;
    let active = list.as_array().into_iter().flatten().filter(|agent| agent["state"] == "active");
    Ok(active.map(|agent| agent["id"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Processes that have a word in their command line.
fn processes_with(word: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let lines = entries.flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(word) && line.contains("--attributes=node:")).collect()
}

/// A file that defines pools.
fn pools_file(directory: &Path, pools: &Value) -> Result<PathBuf> {
    let path = directory.join("pools.json");
    fs::write(&path, json!({ "pools": pools }).to_string())?;
    Ok(path)
}

#[tokio::test]
async fn the_cron_script_of_the_book_adds_an_agent_while_the_cluster_is_busy() -> Result<()> {
    let cluster = Cluster::builder()
        .agent(mesos_e2e::AgentSpec::with_resources("cpus:1;mem:256;disk:100"))
        .start_master()
        .await?;
    let master = cluster.gateway_address(0);
    cluster
        .mesos(&["spawn", "--name=busy", "--cpus=1", "--mem=32MB", "--command=exec sleep 10000"])
        .await?
        .expect(0)?;
    let usage = "cpu_usage=$(mesos stats | grep 'CPU usage' | awk '{print $2}')";
    let script = format!(
        "{usage}\nif [ \"${{cpu_usage%.*}}\" -gt 80 ]; then\n    mesos slave add --resource-cpus=2 --resource-mem=4GB\nfi\n"
    );
    let run = async || cli::shell(cluster.directory(), &[("MESOS_MASTER", &master)], &script).await;
    eventually(LATER, "the cluster is busy", async || {
        let script = format!("{usage}; echo $cpu_usage");
        let outcome = cli::shell(cluster.directory(), &[("MESOS_MASTER", &master)], &script).await?;
        Ok(outcome.expect(0)?.stdout.trim() == "100.0")
    })
    .await?;
    let outcome = run().await?.expect(0)?;
    ensure!(outcome.stdout.contains("local-1 is being added to pool local"), "{}", outcome.stdout);
    until_up(&master, 1).await?;
    cluster.wait_for_agents(0, 2, SOON).await?;
    let added = cluster.mesos(&["pool", "nodes", "-o", "json"]).await?.json()?;
    ensure!(added[0]["cpus"] == 2.0 && added[0]["mem_mb"] == 4096.0, "{added}");
    // One CPU of three is used now, so the next run leaves it at that.
    let outcome = run().await?.expect(0)?;
    ensure!(outcome.stdout.is_empty(), "{}", outcome.stdout);
    ensure!(nodes(&master).await?.len() == 1);

    // It outlives the master, and is found again.
    let dir = cluster.directory().join("master-0/pools/local/local-1");
    let before = fs::read_to_string(dir.join("agent.pid"))?;
    cluster.kill_9("master-0")?;
    cluster.restart("master-0")?;
    until_up(&master, 1).await?;
    cluster.wait_for_agents(0, 2, LATER).await?;
    ensure!(fs::read_to_string(dir.join("agent.pid"))? == before, "it is the same process");

    let outcome = cluster.mesos(&["slave", "remove", "--wait", "--timeout=60s"]).await?.expect(0)?;
    ensure!(outcome.stdout.contains("local-1 is gone from pool local"), "{}", outcome.stdout);
    ensure!(!dir.exists(), "its folder is gone too");
    cluster.wait_for_agents(0, 1, SOON).await?;
    cluster.finish()
}

#[tokio::test]
async fn tasks_that_wait_bring_nodes_and_nodes_that_idle_go() -> Result<()> {
    let home = tempfile::tempdir()?;
    let file = pools_file(
        home.path(),
        &json!([{
            "name": "own", "kind": "local", "resources": "cpus:1;mem:256;disk:100", "max": 2,
            "auto": {"cooldown": "1s", "idle": "3s"},
        }]),
    )?;
    let cluster = Cluster::builder().arg("master", &format!("--pools={}", file.display())).start_master().await?;
    let master = cluster.gateway_address(0);
    let spawn = ["spawn", "--name=w", "--instances=3", "--cpus=1", "--mem=32MB", "--command=exec sleep 10000"];
    cluster.mesos(&spawn).await?.expect(0)?;
    until_up(&master, 2).await?;
    let running = async || {
        let list = cluster.mesos(&["ps", "-o", "json"]).await?.json()?;
        let running = list.as_array().into_iter().flatten().filter(|task| task["state"] == "TASK_RUNNING");
        Ok::<_, anyhow::Error>(running.filter_map(|task| task["id"].as_str().map(str::to_owned)).collect::<Vec<_>>())
    };
    eventually(LATER, "two tasks run", async || Ok(running().await?.len() == 2)).await?;
    eventually(LATER, "the pool says that it is full", async || {
        let pools = cluster.get(0, "/v1/pools").await?;
        let note = pools["pools"][0]["note"].as_str().unwrap_or_default().to_owned();
        if note.contains("at its max of 2") { Ok(true) } else { bail!("{note}") }
    })
    .await?;
    // The third one takes the place of the first, and one node has no work after the second has ended.
    for left in [2, 1] {
        let first = running().await?.first().cloned().context("nothing runs")?;
        cluster.mesos(&["kill", &first]).await?.expect(0)?;
        eventually(LATER, "the next one runs", async || {
            let running = running().await?;
            if running.len() == left && !running.contains(&first) { Ok(true) } else { bail!("{running:?}") }
        })
        .await?;
    }
    until_up(&master, 1).await?;
    ensure!(running().await?.len() == 1, "the last one goes on");
    let last = running().await?.remove(0);
    cluster.mesos(&["kill", &last]).await?.expect(0)?;
    until_up(&master, 0).await?;
    ensure!(active(&master).await?.is_empty());
    let word = cluster.directory().display().to_string();
    ensure!(processes_with(&word).is_empty(), "no agent is left behind: {:?}", processes_with(&word));
    cluster.finish()
}

#[tokio::test]
async fn a_node_that_is_taken_out_lets_its_tasks_end_first() -> Result<()> {
    let cluster = Cluster::builder().start_master().await?;
    let master = cluster.gateway_address(0);
    let added =
        cluster.mesos(&["slave", "add", "--resource-cpus=1", "--resource-mem=256MB", "--wait", "--timeout=60s"]);
    let outcome = added.await?.expect(0)?;
    ensure!(outcome.stdout.contains("local-1 is up in pool local"), "{}", outcome.stdout);
    let mark = cluster.directory().join("mark");
    let command = format!(
        "trap 'sleep 2; echo bye > {0}; exit 0' TERM; echo here > {0}; while true; do sleep 0.1; done",
        mark.display()
    );
    cluster.mesos(&["spawn", "--name=t", "--cpus=1", "--mem=32MB", "--command", &command]).await?.expect(0)?;
    eventually(LATER, "the task runs", async || Ok(fs::read_to_string(&mark)? == "here\n")).await?;
    let outcome = cluster.mesos(&["slave", "remove", "local-1", "--grace=30s", "--wait", "-o", "json"]).await?;
    ensure!(outcome.stderr.contains("local-1 is draining"), "{}", outcome.stderr);
    let done = outcome.json()?;
    ensure!(done == json!({"pool": "local", "size": 0, "nodes": ["local-1"]}), "{done}");
    ensure!(fs::read_to_string(&mark)? == "bye\n", "its task had the time that it took to end");
    ensure!(active(&master).await?.is_empty() && nodes(&master).await?.is_empty());
    cluster.finish()
}

#[tokio::test]
async fn whoever_keeps_pools_next_neither_forgets_a_node_nor_adds_it_twice() -> Result<()> {
    let home = tempfile::tempdir()?;
    let (hosts, dir) = (home.path().join("hosts"), home.path().join("local"));
    fs::create_dir(&hosts)?;
    // Slow enough to be under way when its master dies; each start of it is a line.
    let add = format!("#!/bin/sh\necho $MESOS_NODE >> {0}/log\nsleep 3\ntouch {0}/$MESOS_NODE\n", hosts.display());
    for (name, text) in [("add", add), ("remove", format!("#!/bin/sh\nrm -f {}/$MESOS_NODE\n", hosts.display()))] {
        fs::write(home.path().join(name), text)?;
        fs::set_permissions(home.path().join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let own = [ports::free()?, ports::free()?];
    let master = own.map(|port| format!("127.0.0.1:{port}")).join(",");
    let file = pools_file(
        home.path(),
        &json!([
            {"name": "own", "kind": "local", "resources": "cpus:1;mem:128;disk:100", "dir": dir, "master": master},
            {"name": "far", "kind": "exec", "add": home.path().join("add"), "remove": home.path().join("remove")},
        ]),
    )?;
    // One gateway that stays and keeps no pools, and two that do.
    let cluster = Cluster::builder().start().await?;
    let other = cluster.gateway_address(0);
    for (number, port) in own.iter().enumerate() {
        let name = format!("keeper-{number}");
        cluster.add(Spec {
            log: cluster.directory().join(format!("{name}.log")),
            name,
            program: backends::mesos_binary()?,
            args: vec![
                "gateway".to_owned(),
                format!("--nats-url={}", cluster.nats_url()),
                format!("--redis-url={}", cluster.redis_url()),
                format!("--cluster={}", cluster.name()),
                format!("--port={port}"),
                format!("--pools={}", file.display()),
            ],
            env: BTreeMap::new(),
        })?;
    }
    let keeper = eventually_some(LATER, "one gateway keeps the pools", async || {
        let leads = |number: &usize| {
            let log = cluster.log(&format!("keeper-{number}")).unwrap_or_default();
            log.lines().any(|line| line.contains("leading") && line.contains("service=\"pools\""))
        };
        Ok((0..2).find(leads))
    })
    .await?;
    let outcome = cli::mesos(&other, &["slave", "add", "--count=3"]).await?;
    outcome.one_clear_line(&["name one of the pools: own, far"])?;
    cli::mesos(&other, &["slave", "add", "--pool=own", "--count=2"]).await?.expect(0)?;
    let url = format!("http://{other}/v1/pools/far/nodes");
    let ask = async || {
        let body = json!({"count": 1, "call_id": "once"}).to_string();
        let answer = http().post(&url).body(body).timeout(SOON).send().await?;
        Ok::<_, anyhow::Error>(answer.error_for_status()?.json::<Value>().await?)
    };
    let first = ask().await?;
    eventually(SOON, "the script is under way", async || Ok(hosts.join("log").exists())).await?;
    cluster.kill_9(&format!("keeper-{keeper}"))?;
    let again = eventually_some(LATER, "another one keeps the pools", async || Ok(ask().await.ok())).await?;
    ensure!(first == again && again["nodes"] == json!(["far-1"]), "{first} {again}");
    eventually(LONG, "the nodes of this host are up, and the script's is made", async || {
        let nodes = nodes(&other).await?;
        let wanted = [("far-1", "joining"), ("own-1", "up"), ("own-2", "up")];
        let wanted = wanted.map(|(node, state)| (node.to_owned(), state.to_owned()));
        let same = nodes.len() == 3 && wanted.iter().all(|one| nodes.contains(one));
        if same { Ok(true) } else { bail!("{nodes:?}") }
    })
    .await?;
    let word = dir.display().to_string();
    ensure!(processes_with(&word).len() == 2, "{:?}", processes_with(&word));
    ensure!(hosts.join("far-1").exists() && !hosts.join("far-2").exists());
    cluster.restart(&format!("keeper-{keeper}"))?;
    for pool in ["own", "far"] {
        cli::mesos(&other, &["pool", "set", pool, "--size=0", "--wait", "--timeout=60s"]).await?.expect(0)?;
    }
    ensure!(!hosts.join("far-1").exists() && processes_with(&word).is_empty());
    cluster.finish()
}

#[tokio::test]
async fn what_cannot_be_a_pool_or_a_node_is_refused_in_one_line() -> Result<()> {
    let home = tempfile::tempdir()?;
    let script = home.path().join("add");
    fs::write(&script, "#!/bin/sh\n")?;
    let pool = json!([{"name": "far", "kind": "exec", "add": script, "remove": script}]);
    let file = pools_file(home.path(), &pool)?;
    let work = home.path().join("work");
    let start =
        ["master", "--port=0", &format!("--work-dir={}", work.display()), &format!("--pools={}", file.display())];
    let outcome = cli::run(&[], &start).await?;
    outcome.one_clear_line(&["pool far: add: ", "is not executable; run chmod +x"])?;

    let cluster = Cluster::builder().start_master().await?;
    let refused = async |args: &[&str], words: &[&str]| cluster.mesos(args).await?.one_clear_line(words);
    refused(&["slave", "add", "--pool=cloud"], &["there is no pool 'cloud'", "there are: local"]).await?;
    refused(&["slave", "add", "--count=9"], &["pool local has 0 nodes and its max is 8: 9 more are too many"]).await?;
    refused(&["slave", "add", "--resource-cpus=two"], &["--resource-cpus", "two"]).await?;
    refused(&["slave", "add", "--resource-mem=4XB"], &["--resource-mem", "4XB"]).await?;
    refused(&["slave", "remove"], &["pool local has 0 nodes"]).await?;
    refused(&["slave", "remove", "local-7"], &["no pool has a node 'local-7'", "mesos pool nodes"]).await?;
    refused(&["pool", "set", "local", "--auto=on"], &["pool local has no auto in the file of pools"]).await?;
    refused(&["pool", "nodes", "cloud"], &["there is no pool cloud; there are: local"]).await?;
    let answer = http().post(format!("{}/v1/pools/local/nodes", cluster.gateway(0))).body(r#"{"cpus": 2}"#);
    let text = answer.timeout(SOON).send().await?.text().await?;
    ensure!(text.contains("there is no 'cpus'; there are pool, count, resources"), "{text}");
    cluster.finish()?;

    let nobody = Cluster::builder().start().await?;
    let outcome = nobody.mesos(&["slave", "add"]).await?;
    outcome.one_clear_line(&["no process keeps node pools", "docs/elastic.md"])?;
    nobody.finish()
}

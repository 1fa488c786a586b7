//! Agents that somebody else starts, on a master that lets in nobody without a token: the hosts of node pools, and whoever
//! runs the command that the master prints.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::backends::mesos_binary;
use mesos_e2e::{Machine, Machines, eventually, eventually_some};
use serde_json::{Value, json};

use crate::installed::HOST;

/// The folder of everything on the master's host.
const HOME: &str = "/srv/cluster";

/// As docs/elastic.md has it, but that the host is this one: the token in a file, the rest as options.
const ADD: &str = r#"#!/bin/sh
set -eu
umask 077
dir=/srv/cluster/far/$MESOS_NODE
mkdir -p "$dir"
printf %s "$MESOS_JOIN_TOKEN" >"$dir.token"
systemd-run --quiet --unit="$MESOS_NODE" mesos agent --master="$MESOS_MASTER" --cluster="$MESOS_CLUSTER" \
    --join-token-file="$dir.token" --ca-hash="$MESOS_CA_HASH" --work-dir="$dir" \
    --resources="$MESOS_RESOURCES" --attributes="$MESOS_ATTRIBUTES" >&2
"#;

const REMOVE: &str = r#"#!/bin/sh
systemctl stop "$MESOS_NODE" >&2
rm -rf "/srv/cluster/far/$MESOS_NODE" "/srv/cluster/far/$MESOS_NODE.token"
"#;

struct Master(Machine);

impl Master {
    /// Keys, pools and a master at the host's own address.
    fn start(machine: &Machine) -> Result<Self> {
        let own = |name: &str| format!("{HOME}/{name}");
        let pools = json!({"pools": [
            {"name": "here", "kind": "local", "resources": "cpus:1;mem:128;disk:100"},
            {"name": "far", "kind": "exec", "add": own("add"), "remove": own("remove"), "resources": "cpus:1;mem:128;disk:100"},
        ]});
        machine.run(&format!(
            "set -e
            mkdir -p {HOME}
            cat >{HOME}/add <<'END'\n{ADD}END
            cat >{HOME}/remove <<'END'\n{REMOVE}END
            chmod 755 {HOME}/add {HOME}/remove
            echo '{pools}' >{HOME}/pools.json
            mesos pki init --cluster own --dir {HOME}/pki --host {address}
            systemd-run --quiet --unit=master --property=StandardOutput=file:{HOME}/said --property=StandardError=file:{HOME}/log \
                mesos master --cluster=own --ip={address} --work-dir={HOME}/master --pools={HOME}/pools.json \
                --tls-cert={HOME}/pki/gateway.crt --tls-key={HOME}/pki/gateway.key --ca-cert={HOME}/pki/ca.crt \
                --ca-key={HOME}/pki/ca.key --token-key={HOME}/pki/token.key",
            address = machine.address
        ))?;
        Ok(Self(machine.clone()))
    }

    /// A command of an operator.
    fn mesos(&self, command: &str) -> Result<String> {
        self.0.run(&format!(
            "MESOS_MASTER=https://{}:5050 MESOS_CA_CERT={HOME}/pki/ca.crt MESOS_TOKEN_FILE={HOME}/pki/operator.token \
             timeout 120 mesos {command}",
            self.0.address
        ))
    }

    fn list(&self, command: &str) -> Result<Vec<Value>> {
        let text = self.mesos(&format!("{command} -o json"))?;
        Ok(serde_json::from_str::<Value>(&text)?.as_array().cloned().unwrap_or_default())
    }

    async fn agents(&self, count: usize) -> Result<Vec<Value>> {
        eventually_some(HOST, &format!("{count} agents are active"), async || {
            let agents = self.list("agents")?;
            let active = agents.iter().filter(|agent| agent["state"] == "active").count();
            if active != count || agents.len() != count {
                bail!(
                    "{agents:?}; {}",
                    self.0.run(&format!("tail -n 5 {HOME}/log {HOME}/master/pools/*/*/agent.log; true"))?
                );
            }
            Ok(Some(agents))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_pools_and_whoever_runs_the_printed_command_join_a_cluster_that_asks_for_tokens() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let machines = Machines::boot(directory.path(), &["a", "b"]).await?;
    for machine in machines.all() {
        machine.copy(&fs::canonicalize(mesos_binary()?)?, "/usr/bin/mesos")?;
    }
    let (first, second) = (machines.machine("a")?, machines.machine("b")?);
    let master = Master::start(first)?;

    // What the master prints is run on another host to the letter.
    let command = eventually_some(HOST, "the master prints how agents join", async || {
        let said = first.run(&format!("cat {HOME}/said {HOME}/log"))?;
        let line = said.lines().find_map(|line| line.strip_prefix("an agent joins with: "));
        line.map(|line| Some(line.to_owned())).context(said.clone())
    })
    .await?;
    second.run(&format!("systemd-run --quiet --unit=agent {command}"))?;
    let agents = master.agents(1).await?;
    ensure!(agents[0]["hostname"] == "b", "{agents:?}");
    // It lets in one agent.
    let again = second.run(&format!("{command} --work-dir=/srv/thief 2>&1 || true"))?;
    ensure!(again.contains("the join token was used already"), "{again}");

    for pool in ["here", "far"] {
        let said = master.mesos(&format!("slave add --pool={pool} --wait --timeout=60s"))?;
        ensure!(said.contains(&format!("{pool}-1 is up in pool {pool}")), "{said}");
    }
    let agents = master.agents(3).await?;
    for node in ["here-1", "far-1"] {
        let agent = agents.iter().find(|agent| agent["attributes"]["node"] == node);
        agent.with_context(|| format!("no agent says that it is node {node}: {agents:?}"))?;
    }
    // Each holds one.
    let spawn = "spawn --name filler --instances 2 --cpus 1 --mem 64MB --command 'exec sleep 98765'";
    master.mesos(spawn)?;
    eventually(HOST, "tasks run", async || {
        Ok(master.list("ps")?.iter().filter(|task| task["state"] == "TASK_RUNNING").count() == 2)
    })
    .await?;

    for pool in ["here", "far"] {
        let said = master.mesos(&format!("pool set {pool} --size=0 --wait --timeout=100s"))?;
        ensure!(master.list(&format!("pool nodes {pool}"))?.is_empty(), "{said}");
    }
    master.agents(1).await?;
    let left = first.run(&format!("ls {HOME}/far {HOME}/master/pools/here; pgrep -af 'mesos agent'; true"))?;
    ensure!(!left.contains("-1"), "something is left of the nodes: {left}");
    Ok(())
}

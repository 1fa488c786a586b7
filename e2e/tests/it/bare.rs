//! `terraform/modules/bare`, applied to hosts over SSH.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::backends::{repository, terraform};
use mesos_e2e::machines::OPERATOR;
use mesos_e2e::{Machine, Machines, packages};
use serde_json::{Value, json};

use crate::installed::{Load, Master, agents, keys, lasting};

/// From `terraform apply` on three hosts with nothing on them to a task's output.
const TO_A_TASK: Duration = Duration::from_secs(90);

/// A configuration with its state, in a folder of its own.
struct Plan {
    directory: PathBuf,
    variables: Value,
}

impl Plan {
    /// The example, initialised.
    async fn new(directory: PathBuf, variables: Value) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        let example = repository().join("terraform/examples/bare").canonicalize()?;
        let module = repository().join("terraform/modules/bare").canonicalize()?;
        let text = fs::read_to_string(example.join("main.tf"))?;
        ensure!(text.contains("\"../../modules/bare\""), "the example has another source");
        let text = text.replace("../../modules/bare", "./bare");
        fs::write(directory.join("main.tf"), text)?;
        std::os::unix::fs::symlink(module, directory.join("bare"))?;
        let plan = Self { directory, variables };
        plan.run(&["init", "-input=false", "-no-color"]).await?;
        Ok(plan)
    }

    /// A command of Terraform: what it printed, or an error with that.
    async fn run(&self, args: &[&str]) -> Result<String> {
        fs::write(self.directory.join("terraform.tfvars.json"), self.variables.to_string())?;
        let output = tokio::process::Command::new(terraform()?)
            .args(args)
            .current_dir(&self.directory)
            .env_remove("TF_CLI_CONFIG_FILE")
            .env("CHECKPOINT_DISABLE", "1")
            .env_remove("SSH_AUTH_SOCK")
            .kill_on_drop(true)
            .output()
            .await
            .context("terraform did not start")?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if !output.status.success() {
            bail!("terraform {}: {text}", args.join(" "));
        }
        Ok(text)
    }

    async fn apply(&self) -> Result<String> {
        self.run(&["apply", "-auto-approve", "-input=false", "-no-color"]).await
    }
}

fn host(machine: &Machine, roles: &[&str]) -> Value {
    json!({"address": machine.address, "ssh_host_key": machine.host_key, "roles": roles})
}

/// Whether nothing of ours is on a host.
fn is_clean(machine: &Machine) -> Result<bool> {
    let left = machine.run("ls -d /etc/mesos /var/lib/mesos /usr/bin/mesos* 2>/dev/null; pgrep -l mesos; true")?;
    Ok(left.trim().is_empty())
}

#[tokio::test]
async fn terraform_brings_three_hosts_up_upgrades_replaces_and_removes_them() -> Result<()> {
    let (first, second) = (packages::deb(1)?, packages::deb(2)?);
    let directory = tempfile::tempdir()?;
    let mut machines = Machines::boot(directory.path(), &["a", "b", "c"]).await?;
    let [a, b, c] = machines.all() else { bail!("three were booted") };
    let (a, b, c) = (a.clone(), b.clone(), c.clone());
    let mut plan = Plan::new(
        directory.path().join("terraform"),
        json!({
            "hosts": {"a": host(&a, &["master", "agent"]), "b": host(&b, &["agent"]), "c": host(&c, &["agent"])},
            "ssh_user": OPERATOR,
            "ssh_private_key_file": machines.key(),
            "pki_dir": keys(directory.path(), &a).await?,
            "package": first,
            "agent_options": {"resources": "cpus:2;mem:1024;disk:1024"},
            "drain_timeout": 5,
        }),
    )
    .await?;

    let begun = Instant::now();
    plan.apply().await?;
    let master = Master::secured(&a);
    let printed = master.mesos("launch --cpus 0.1 --mem 32MB --command 'echo here'")?;
    let took = begun.elapsed();
    println!("from terraform apply to a task: {took:?}");
    ensure!(printed.contains("here"), "{printed}");
    ensure!(took < TO_A_TASK, "from apply to a task took {took:?}");
    agents(&master, 3).await?;
    let again = plan.apply().await?;
    ensure!(again.contains("No changes"), "{again}");

    // Another package: every host is upgraded in place, and what runs goes on.
    let task = lasting(&master, machines.all(), "stays").await?;
    let load = Load::start(&master);
    plan.variables["package"] = json!(second);
    plan.apply().await?;
    println!("tasks during the upgrade: {}", load.finish().await?);
    for machine in machines.all() {
        ensure!(machine.run("dpkg-query -f '${Version}' -W mesos")?.ends_with("-2"), "{} is the old one", machine.name);
    }
    agents(&master, 3).await?;
    task.runs(&master, machines.all())?;

    // An option that there is not: said by its name, and what runs is as it was.
    plan.variables["agent_options"]["resorces"] = json!("cpus:1");
    let refused = format!("{:#}", plan.apply().await.err().context("a misspelt option was taken")?);
    ensure!(refused.contains("resorces") && refused.contains("did you mean resources"), "{refused}");
    task.runs(&master, machines.all())?;
    plan.variables["agent_options"] = json!({"resources": "cpus:2;mem:1024;disk:1024"});
    plan.apply().await?;
    agents(&master, 3).await?;
    task.runs(&master, machines.all())?;

    // A host that died is replaced by another one. Its tasks died with it; the others go on.
    let dead = ["b", "c"].into_iter().find(|name| *name != task.host()).context("one has no such task")?;
    // Before the power is cut, or it would be given the address of the dead one.
    let new = machines.add("d").await?;
    machines.machine(dead)?.cut_power()?;
    plan.variables["hosts"][dead] = host(&new, &["agent"]);
    plan.apply().await?;
    agents(&master, 3).await?;
    let alive: Vec<Machine> = machines.all().iter().filter(|machine| machine.name != dead).cloned().collect();
    task.runs(&master, &alive)?;

    plan.run(&["destroy", "-auto-approve", "-input=false", "-no-color"]).await?;
    for machine in &alive {
        ensure!(is_clean(machine)?, "something is left on {}", machine.name);
    }
    Ok(())
}

#[tokio::test]
async fn terraform_refuses_wrong_variables_by_name_before_it_touches_a_host() -> Result<()> {
    let directory = tempfile::tempdir()?;
    // Nobody is at this address, so whoever asked it would be late and say something else.
    let pki = directory.path().join("pki");
    fs::create_dir(&pki)?;
    for name in ["ca.crt", "ca.key", "gateway.crt", "gateway.key", "token.key"] {
        fs::write(pki.join(name), "")?;
    }
    let good = json!({
        "hosts": {"a": {"address": "192.0.2.1", "roles": ["master", "agent"]}},
        "pki_dir": pki,
        "package": packages::deb(1)?,
    });
    let mut plan = Plan::new(directory.path().join("terraform"), good.clone()).await?;
    plan.run(&["plan", "-input=false", "-no-color"]).await?;
    let cases = [
        ("/hosts/a/role", json!(["agent"]), "hosts: there is no role;"),
        ("/hosts/a/agent_options", json!({"ip": "192.0.2.1"}), "hosts: agent_options"),
        ("/hosts", json!({}), "hosts: expected"),
        ("/hosts/a/roles", json!(["mastre"]), "hosts: roles"),
        ("/hosts/a/roles", json!(["agent"]), "hosts: at least one"),
        ("/hosts/a/roles", json!([]), "hosts: roles"),
        ("/hosts/a/address", json!("ops@192.0.2.1"), "hosts: address"),
        ("/hosts/a/ssh_port", json!(70000), "hosts: ssh_port"),
        ("/hosts/a/ssh_host_key", json!("SHA256:abc"), "hosts: ssh_host_key"),
        ("/hosts/A_b", json!({"address": "192.0.2.2"}), "hosts: each name"),
        ("/hosts/b", json!({"address": "192.0.2.1"}), "hosts: two of them"),
        ("/hosts/b", json!({"address": "192.0.2.2", "roles": ["master"]}), "master_options: several"),
        ("/ssh_user", json!("a b"), "ssh_user"),
        ("/ssh_private_key_file", json!("/no/such/key"), "ssh_private_key_file"),
        ("/pki_dir", json!("/no/such/folder"), "pki_dir: expected"),
        ("/package", json!("/no/such.deb"), "package: expected"),
        ("/master_options", json!({"--port": "1"}), "master_options: an option"),
        ("/master_options", json!({"ip": "127.0.0.1"}), "master_options: ip"),
        ("/agent_options", json!({"Rack": "1"}), "agent_options: an option"),
        ("/agent_options", json!({"hostname": "x"}), "agent_options: ip, hostname"),
        ("/drain_timeout", json!(0), "drain_timeout"),
    ];
    for (at, value, expected) in cases {
        plan.variables = good.clone();
        let (parent, key) = at.rsplit_once('/').context("a pointer")?;
        plan.variables
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .context(at)?
            .insert(key.to_owned(), value.clone());
        let begun = Instant::now();
        let refused = plan.run(&["plan", "-input=false", "-no-color"]).await.err();
        let refused = format!("{:#}", refused.with_context(|| format!("{at} = {value} was taken"))?);
        ensure!(refused.replace("\n│ ", " ").contains(expected), "{at} = {value}: {refused}");
        ensure!(begun.elapsed() < Duration::from_secs(30), "{at} = {value}: it asked a host first");
    }
    Ok(())
}

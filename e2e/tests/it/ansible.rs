//! The Ansible role, on hosts over SSH.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use mesos_e2e::backends::{ansible_playbook, repository};
use mesos_e2e::machines::OPERATOR;
use mesos_e2e::{Machines, packages};
use serde_json::{Value, json};

use crate::installed::{Load, Master, agents, keys, lasting};

/// An inventory and the playbooks.
struct Playbooks {
    directory: PathBuf,
    inventory: Value,
}

impl Playbooks {
    fn new(directory: PathBuf, machines: &Machines, masters: &[&str]) -> Self {
        let hosts: serde_json::Map<String, Value> = machines
            .all()
            .iter()
            .map(|machine| (machine.name.clone(), json!({"ansible_host": machine.address})))
            .collect();
        let masters: serde_json::Map<String, Value> =
            masters.iter().map(|name| ((*name).to_owned(), hosts[*name].clone())).collect();
        let known = machines.known_hosts();
        let inventory = json!({"all": {
            "vars": {
                "ansible_user": OPERATOR,
                "ansible_become": true,
                "ansible_ssh_private_key_file": machines.key(),
                "ansible_ssh_common_args":
                    format!("-o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes", known.display()),
                "mesos_agent_options": {"resources": "cpus:2;mem:1024;disk:1024"},
            },
            "children": {"mesos_masters": {"hosts": masters}, "mesos_agents": {"hosts": hosts}},
        }});
        Self { directory, inventory }
    }

    fn set(&mut self, name: &str, value: Value) {
        self.inventory["all"]["vars"][name] = value;
    }

    /// Plays a playbook: whether it ended well, and all that it said.
    async fn play(&self, book: &str, args: &[&str]) -> Result<(bool, String)> {
        let inventory = self.directory.join("inventory.json");
        fs::write(&inventory, self.inventory.to_string())?;
        let output = tokio::process::Command::new(ansible_playbook()?)
            .current_dir(repository().join("deploy/ansible"))
            .arg("--inventory")
            .arg(&inventory)
            .args(args)
            .arg(book)
            .env("ANSIBLE_HOME", self.directory.join("ansible"))
            .env("ANSIBLE_NOCOLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("SSH_AUTH_SOCK")
            .kill_on_drop(true)
            .output()
            .await
            .context("ansible-playbook did not start")?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        Ok((output.status.success(), text))
    }

    /// Plays one that must end well.
    async fn plays(&self, book: &str, args: &[&str]) -> Result<String> {
        let (well, text) = self.play(book, args).await?;
        ensure!(well, "{book}: {text}");
        Ok(text)
    }
}

/// How many tasks changed something, over all hosts.
fn changes(text: &str) -> Result<usize> {
    let recap = text.split("PLAY RECAP").nth(1).context("no recap")?;
    let counts = recap.split_whitespace().filter_map(|word| word.strip_prefix("changed="));
    counts.map(|count| count.parse::<usize>().context("a count")).sum()
}

#[tokio::test]
async fn the_role_installs_changes_nothing_the_second_time_and_upgrades_host_by_host_under_load() -> Result<()> {
    let (first, second) = (packages::deb(1)?, packages::deb(2)?);
    let directory = tempfile::tempdir()?;
    let machines = Machines::boot(directory.path(), &["a", "b", "c"]).await?;
    let a = machines.machine("a")?;
    let mut books = Playbooks::new(directory.path().to_owned(), &machines, &["a"]);
    books.set("mesos_package", json!(first));
    books.set("mesos_pki_dir", json!(keys(directory.path(), a).await?));
    let master = Master::secured(a);

    let checked = books.plays("site.yml", &["--check"]).await?;
    ensure!(changes(&checked)? > 0, "a check of empty hosts sees nothing to do: {checked}");
    ensure!(a.run("ls /usr/bin/mesos; true")?.is_empty(), "a check installed it");
    books.plays("site.yml", &[]).await?;
    agents(&master, 3).await?;
    for args in [&[][..], &["--check", "--diff"]] {
        let again = books.plays("site.yml", args).await?;
        ensure!(changes(&again)? == 0, "a second run changed something ({args:?}): {again}");
    }

    let task = lasting(&master, machines.all(), "stays").await?;
    let load = Load::start(&master);
    books.set("mesos_package", json!(second));
    books.plays("upgrade.yml", &[]).await?;
    for machine in machines.all() {
        ensure!(machine.run("dpkg-query -f '${Version}' -W mesos")?.ends_with("-2"), "{} is the old one", machine.name);
    }
    agents(&master, 3).await?;
    let done = load.finish().await?;
    ensure!(done > 0, "no task ended during the upgrade");
    println!("tasks during the upgrade: {done}");
    task.runs(&master, machines.all())?;

    // Work on the hosts themselves: each is drained, and offered again afterwards.
    let load = Load::start(&master);
    books.plays("upgrade.yml", &["--extra-vars", "mesos_upgrade_drain=true"]).await?;
    agents(&master, 3).await?;
    println!("tasks during the drained upgrade: {}", load.finish().await?);
    Ok(())
}

#[tokio::test]
async fn the_role_refuses_wrong_variables_by_name_before_it_changes_a_host() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let machines = Machines::boot(directory.path(), &["a"]).await?;
    let a = machines.machine("a")?;
    let mut good = Playbooks::new(directory.path().to_owned(), &machines, &["a"]);
    good.set("mesos_package", json!(packages::deb(1)?));
    good.set("mesos_pki_dir", json!(keys(directory.path(), a).await?));
    let cases = [
        ("mesos_package", json!("/no/such.deb"), "mesos_package"),
        ("mesos_agent_option", json!({"resources": "cpus:1"}), "mesos_agent_option: there is no such variable"),
        ("mesos_pki_dir", json!("/no/such/folder"), "mesos_pki_dir"),
        ("mesos_agent_options", json!(["a list"]), "mesos_agent_options"),
        ("mesos_wait_seconds", json!("soon"), "mesos_wait_seconds"),
        ("mesos_masters", json!(""), "mesos_masters"),
    ];
    for (name, value, expected) in cases {
        let kept = good.inventory.clone();
        good.set(name, value.clone());
        let (well, text) = good.play("site.yml", &[]).await?;
        ensure!(!well && text.contains(expected), "{name} = {value}: {text}");
        ensure!(a.run("ls /usr/bin/mesos /var/cache/mesos 2>/dev/null; true")?.is_empty(), "{name}: it was installed");
        good.inventory = kept;
    }
    // The names of options are known to the binary alone, which is asked before the file is in force.
    good.set("mesos_agent_options", json!({"resorces": "cpus:1"}));
    let (well, text) = good.play("site.yml", &[]).await?;
    ensure!(!well && text.contains("did you mean resources"), "{text}");
    ensure!(!a.run("cat /etc/mesos/agent.yaml")?.contains("resorces"), "a wrong file is in force");
    // And a half-failed run is repeated.
    good.set("mesos_agent_options", json!({"resources": "cpus:1;mem:256;disk:256"}));
    good.plays("site.yml", &[]).await?;
    agents(&Master::secured(a), 1).await
}

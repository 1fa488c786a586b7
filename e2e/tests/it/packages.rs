//! The image and the Debian package, as their users get them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use mesos_e2e::backends::repository;
use mesos_e2e::host::docker;
use mesos_e2e::{Machine, Machines, cli, eventually, packages};
use serde_json::Value;

use crate::installed::{HOST, Master, agents, lasting};
use crate::support::LATER;

/// Containers and a network that are gone when it is dropped.
struct Containers(Vec<String>, String);

impl Drop for Containers {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = docker(&["rm", "--force", "--volumes", name]);
        }
        let _ = docker(&["network", "rm", &self.1]);
    }
}

#[tokio::test]
async fn the_image_is_small_runs_as_nobody_and_finds_others_by_name() -> Result<()> {
    let tag = "mesos-e2e/mesos:image";
    packages::image(tag)?;
    let inspected: Value = serde_json::from_str(&docker(&["image", "inspect", tag])?)?;
    let size = inspected[0]["Size"].as_u64().context("no size")?;
    ensure!(size < 60_000_000, "the image has {size} bytes");
    ensure!(inspected[0]["Config"]["User"] == "65532:65532", "{}", inspected[0]["Config"]);
    ensure!(
        inspected[0]["Config"]["Labels"]["org.opencontainers.image.version"] == env!("CARGO_PKG_VERSION"),
        "{}",
        inspected[0]["Config"]["Labels"]
    );

    // A master without any right and on a file system that it cannot write, but for its state; and commands that must
    // look up its name, and have their own word for it that it is the one that they mean.
    let network = format!("mesos-e2e-image-{}", std::process::id());
    docker(&["network", "create", "--internal", &network])?;
    let server = format!("{network}-master");
    let _containers = Containers(vec![server.clone()], network.clone());
    let confined = ["--network", &network, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
    let run = |more: &[&str]| docker(&[&["run"], &confined[..], more].concat());
    let directory = tempfile::tempdir()?;
    let keys = directory.path().join("pki").display().to_string();
    cli::run(&[], &["pki", "init", "--dir", &keys, "--host", "the-master"]).await?.expect(0)?;
    // The user in the image is none of this host's.
    Command::new("chown").args(["-R", "65532", &keys]).status()?;
    let mounted = format!("{keys}:/pki:ro");
    run(&[
        "--detach",
        "--name",
        &server,
        "--network-alias",
        "the-master",
        "--volume",
        "/var/lib/mesos",
        "--volume",
        &mounted,
        tag,
        "master",
        "--ip=0.0.0.0",
        "--tls-cert=/pki/gateway.crt",
        "--tls-key=/pki/gateway.key",
        "--token-key=/pki/token.key",
    ])?;
    let ask = |master: &str| {
        let master = format!("MESOS_MASTER=https://{master}:5050");
        run(&[
            "--rm",
            "--volume",
            &mounted,
            "--env",
            &master,
            "--env",
            "MESOS_CA_CERT=/pki/ca.crt",
            "--env",
            "MESOS_TOKEN_FILE=/pki/operator.token",
            tag,
            "stats",
        ])
    };
    eventually(LATER, "the master answers", async || Ok(ask("the-master")?.contains("agents_active"))).await?;
    let refused = format!("{:?}", ask("no-such-master"));
    ensure!(refused.contains("no-such-master") && refused.contains("lookup"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn the_bill_of_materials_in_the_image_names_what_is_linked_in() -> Result<()> {
    let tag = "mesos-e2e/mesos:image";
    packages::image(tag)?;
    let container = docker(&["create", tag])?;
    let _containers = Containers(vec![container.trim().to_owned()], String::new());
    let directory = tempfile::tempdir()?;
    let to = directory.path().join("bill.json");
    docker(&["cp", &format!("{}:/usr/share/doc/mesos/mesos.cdx.json", container.trim()), &to.display().to_string()])?;
    let bill: Value = serde_json::from_str(&fs::read_to_string(&to)?)?;
    let components = bill["components"].as_array().context("no components")?;
    let lock = fs::read_to_string(repository().join("Cargo.lock"))?;
    for name in ["tokio", "rustls", "async-nats", "redis"] {
        let part = components.iter().find(|part| part["name"] == name).with_context(|| format!("{name} is missing"))?;
        let version = part["version"].as_str().unwrap_or_default();
        ensure!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{part}");
        ensure!(part["hashes"][0]["content"].as_str().is_some_and(|sum| lock.contains(sum)), "{part}");
        ensure!(part["licenses"][0]["expression"].is_string(), "{part}");
    }
    // What only tests use is not in it.
    ensure!(components.iter().all(|part| part["name"] != "proptest"), "proptest is in the bill");
    Ok(())
}

fn write(machine: &Machine, path: &str, text: &str) -> Result<()> {
    machine.run(&format!("cat >{path} <<'END'\n{text}\nEND")).map(drop)
}

#[tokio::test]
async fn a_package_is_installed_upgraded_under_a_running_task_and_purged_without_a_trace() -> Result<()> {
    let (first, second) = (packages::deb(1)?, packages::deb(2)?);
    let listed = Command::new("dpkg-deb").arg("--contents").arg(&first).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for path in
        ["man/man1/mesos-launch.1.gz", "man/man1/mesos-master.1.gz", "completions/mesos", "doc/mesos/mesos.cdx.json"]
    {
        ensure!(listed.contains(path), "{path} is not in the package: {listed}");
    }

    let directory = tempfile::tempdir()?;
    let machines = Machines::boot(directory.path(), &["solo"]).await?;
    let solo = machines.machine("solo")?;
    solo.copy(&first, "/tmp/first.deb")?;
    solo.copy(&second, "/tmp/second.deb")?;

    solo.run("apt-get install --yes /tmp/first.deb")?;
    let ours = solo.run("systemctl list-unit-files --no-legend 'mesos-*' | awk '{ print $1, $2 }'")?;
    ensure!(ours.lines().count() == 5 && ours.lines().all(|line| line.ends_with(".service disabled")), "{ours}");
    solo.run("systemd-analyze verify --man=no /usr/lib/systemd/system/mesos-*.service")?;
    solo.run("mesos-agent --version; mesos-slave --help; mesos-master --help;")?;

    write(
        solo,
        "/etc/mesos/agent.yaml",
        "work_dir: /var/lib/mesos/agent\nmaster: 127.0.0.1:5050\nattributes: mine:yes",
    )?;
    solo.run("systemctl enable --now mesos-master mesos-agent")?;
    let local = Master::plain(solo);
    agents(&local, 1).await?;
    for (unit, expected) in [("mesos-master", "mesos"), ("mesos-agent", "root")] {
        let user = solo.run(&format!("ps -o user= -p $(systemctl show -p MainPID --value {unit})"))?;
        ensure!(user.trim() == expected, "{unit} runs as {user}");
    }
    let exposure = solo.run("systemd-analyze security --no-pager mesos-master.service | tail -n 1")?;
    ensure!(exposure.contains("OK"), "the master's unit is not confined: {exposure}");

    let task = lasting(&local, machines.all(), "stays").await?;
    let before = solo.run("systemctl show -p MainPID --value mesos-agent")?;
    solo.run("apt-get install --yes /tmp/second.deb")?;
    ensure!(solo.run("dpkg-query -f '${Version}' -W mesos")?.ends_with("-2"), "it is not the second one");
    agents(&local, 1).await?;
    ensure!(before != solo.run("systemctl show -p MainPID --value mesos-agent")?, "the agent is the old one");
    task.runs(&local, machines.all())?;
    ensure!(solo.run("cat /etc/mesos/agent.yaml")?.contains("mine:yes"), "the operator's options are lost");
    let launched = local.mesos("launch --cpus 0.1 --mem 32MB --command 'echo on the new one'")?;
    ensure!(launched.contains("on the new one"), "{launched}");

    for test in
        ["-s /var/log/mesos/master.log", "-s /var/log/mesos/agent.log", "-e /var/log/mesos/frameworks/launcher.log"]
    {
        solo.run(&format!("test {test} || (ls -lR /var/log/mesos >&2; exit 1)"))?;
    }
    solo.run("logrotate --force /etc/logrotate.d/mesos && test -s /var/log/mesos/agent.log.1")?;

    local.mesos("drain solo --timeout 60s")?;
    solo.run("apt-get remove --yes mesos")?;
    solo.run("test -s /var/lib/mesos/agent/checkpoint && test -s /etc/mesos/agent.yaml")?;
    solo.run("apt-get purge --yes mesos")?;
    let left = solo.run(
        "ls -d /etc/mesos /var/lib/mesos /var/log/mesos /usr/bin/mesos* /etc/logrotate.d/mesos 2>/dev/null; \
         getent passwd mesos; getent group mesos; pgrep -l mesos; \
         systemctl list-unit-files --no-legend 'mesos-*'; true",
    )?;
    ensure!(left.trim().is_empty(), "this is left: {left}");
    solo.eventually(HOST, "systemctl is-system-running").await
}

#[test]
fn what_is_packed_must_be_static() -> Result<()> {
    for script in ["image", "deb"] {
        let output = Command::new(repository().join("scripts").join(script)).args(["--binary", "/bin/sh"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.lines().count() == 1 && said.contains("linked dynamically"), "{said}");
    }
    Ok(())
}

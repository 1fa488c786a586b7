//! The user data of the hosts of `examples/aws-complete`, run on hosts: together they are a cluster.
//!
//! Real are the hosts' Debian with systemd, NATS, Redis with Sentinel, the package, keys and certificates, and all of
//! the user data. Stubs are: AWS and its CLI (`e2e/aws`, whose head says what they do), and on the hosts of Redis the
//! disk: a file system in memory is mounted already where the volume would be, since a container has no disks
//! (`blkid`, `sysctl` and the volume's device are stubs there).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesos_e2e::backends::{mesos_binary, nats_server, repository};
use mesos_e2e::{Machine, Machines, eventually, packages};
use serde_json::{Value, json};

use super::{Example, resources, succeeds, terraform, text, user_data};

/// The addresses of the example's network.
const SUBNET: &str = "10.40.0.0/16";
const ZONE: &str = "mesos-prod.internal";
const SETTLES: Duration = Duration::from_secs(120);
/// Where clients on the keeper find the cluster.
const CLIENT: &str = "set -a; . /etc/mesos/keeper.env; set +a;";

/// The example applied, with the hosts' scripts.
struct Cloud {
    directory: tempfile::TempDir,
    example: Example,
    machines: Machines,
    scripts: BTreeMap<String, String>,
    agent_role: String,
}

impl Cloud {
    /// Applies the example for a package and keys, and starts the stub of AWS.
    async fn new(package: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let pki = directory.path().join("pki");
        let made = Command::new(mesos_binary()?)
            .args(["pki", "init", "--cluster", "mesos-prod", "--host", &format!("*.{ZONE}"), "--dir"])
            .arg(&pki)
            .output()?;
        ensure!(made.status.success(), "{}", text(&made));
        let sum = Command::new("sha256sum").arg(package).output()?;
        let sum = text(&sum).split_whitespace().next().context("no sum")?.to_owned();
        let example = Example::new(
            "aws-complete",
            &json!({
                "pki_dir": pki,
                "mesos_package": {"url": "s3://my-packages/mesos.deb", "sha256": sum},
                "jaeger_binary": null,
                "agents": {"default": {
                    "containerizers": ["process"],
                    "attributes": {"rack": "r1"},
                    "options": {"resources": "cpus:2;mem:512;disk:1024"},
                }},
            }),
        )?;
        let applied = example.directory("aws-complete");
        succeeds(&applied, &["apply", "-auto-approve", "-input=false", "-no-color"])?;
        let state: Value = serde_json::from_str(&succeeds(&applied, &["show", "-json"])?)?;
        let all = resources(&state["values"]["root_module"]);
        let agent_role = all
            .iter()
            .find(|one| one["address"] == "module.security.aws_iam_role.this[\"agent\"]")
            .and_then(|one| one["values"]["unique_id"].as_str())
            .context("there is no role of agents")?
            .to_owned();
        let machines = Machines::network(directory.path(), Some(SUBNET))?;
        let mut cloud = Self { directory, example, machines, scripts: user_data(&all)?, agent_role };
        cloud.start_stub(package, &pki).await?;
        Ok(cloud)
    }

    async fn start_stub(&mut self, package: &Path, pki: &Path) -> Result<()> {
        let aws = self.machines.add("aws").await?;
        aws.copy(&repository().join("e2e/aws/cloud.py"), "/srv/cloud.py")?;
        aws.copy(package, "/srv/mesos.deb")?;
        aws.run(
            "ip address add 169.254.169.254/32 dev lo &&
             systemd-run --unit=cloud /usr/bin/python3 /srv/cloud.py 80",
        )?;
        aws.eventually(SETTLES, "curl -fsS http://127.0.0.1/state").await?;
        // The module says which files belong to which hosts.
        let files = self.files_of_secrets(pki)?;
        let secrets: BTreeMap<String, BTreeMap<String, String>> = files
            .into_iter()
            .map(|(role, files)| {
                let contents = files
                    .into_iter()
                    .map(|file| Ok((file.clone(), fs::read_to_string(pki.join(file))?)))
                    .collect::<Result<_>>()?;
                Ok((format!("mesos-prod/{role}"), contents))
            })
            .collect::<Result<_>>()?;
        self.put(&json!({
            "secrets": secrets,
            "objects": {"s3://my-packages/mesos.deb": "/srv/mesos.deb"},
            "agents": {"role_id": self.agent_role},
            "groups": {"mesos-prod-agents-default": {
                "tags": {"mesos-cluster": "mesos-prod", "mesos-role": "agent"},
                "instances": {},
            }},
        }))
    }

    fn files_of_secrets(&self, pki: &Path) -> Result<BTreeMap<String, Vec<String>>> {
        let module = self.example.tree.path("modules/secrets");
        succeeds(&module, &["init", "-input=false", "-no-color"])?;
        fs::write(module.join("terraform.tfvars.json"), json!({"name": "x-y", "pki_dir": pki, "kms_key_arn": "arn:x"}).to_string())?;
        fs::write(module.join("files.tf"), "output \"files\" {\n  value = jsonencode(local.files)\n}\n")?;
        let planned = terraform(&module, &["plan", "-input=false", "-no-color", "-out=plan"])?;
        ensure!(planned.status.success(), "{}", text(&planned));
        let plan: Value = serde_json::from_str(&succeeds(&module, &["show", "-json", "plan"])?)?;
        let files = plan["planned_values"]["outputs"]["files"]["value"].as_str().context("the module has no files")?;
        Ok(serde_json::from_str(files)?)
    }

    fn aws(&self) -> Result<&Machine> {
        self.machines.machine("aws")
    }

    /// Merges into the stub's state.
    fn put(&self, change: &Value) -> Result<()> {
        let path = self.directory.path().join("change.json");
        fs::write(&path, change.to_string())?;
        self.aws()?.copy(&path, "/srv/change.json")?;
        self.aws()?.run("curl -fsS -X PUT --data-binary @/srv/change.json http://127.0.0.1/state").map(drop)
    }

    fn state(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.aws()?.run("curl -fsS http://127.0.0.1/state")?)?)
    }

    /// Boots a host as an instance of a role, as far as AWS does it: the user data lies there and has not run.
    async fn instance(&mut self, name: &str, address: &str, role: &str, resource: &str) -> Result<Machine> {
        let machine = self.machines.add_at(name, Some(address)).await?;
        let aws = self.aws()?.address;
        machine.run(&format!("ip route add 169.254.169.254/32 via {aws}"))?;
        self.put(&json!({"instances": {address: {"id": instance_id(name), "role": role}}}))?;
        self.install_stand_ins(&machine, role)?;
        let script = self.scripts.get(resource).with_context(|| format!("{resource} has no user data"))?;
        let path = self.directory.path().join("user-data");
        fs::write(&path, script)?;
        machine.copy(&path, "/var/lib/user-data")?;
        Ok(machine)
    }

    /// Packages of the distribution that are not on the test hosts.
    fn install_stand_ins(&self, machine: &Machine, role: &str) -> Result<()> {
        let mut debs = vec![deb(self.directory.path(), "awscli", "", &[(&repository().join("e2e/aws/aws.py"), "usr/bin/aws")])?];
        if role == "nats" {
            let unit = self.directory.path().join("nats-server.service");
            fs::write(&unit, "[Service]\nUser=nats\nExecStart=/usr/sbin/nats-server\nExecReload=/bin/kill -HUP $MAINPID\n[Install]\nWantedBy=multi-user.target\n")?;
            let postinst = "#!/bin/sh\nadduser --quiet --system --group --no-create-home nats\n";
            debs.push(deb(
                self.directory.path(),
                "nats-server",
                postinst,
                &[(&nats_server()?, "usr/sbin/nats-server"), (&unit, "lib/systemd/system/nats-server.service")],
            )?);
        }
        for path in debs {
            machine.copy(&path, "/srv/package.deb")?;
            machine.run("dpkg --install /srv/package.deb")?;
        }
        if role == "redis" {
            machine.run(
                "for name in blkid sysctl; do printf '#!/bin/sh\\n' >/usr/local/sbin/$name; chmod 755 /usr/local/sbin/$name; done
                 mount -t tmpfs tmpfs /var/lib/redis && mkdir -p /dev/disk/by-id",
            )?;
        }
        Ok(())
    }
}

/// The instance of a host.
fn instance_id(name: &str) -> String {
    format!("i-{}", name.split('.').next().unwrap_or(name))
}

/// A Debian package of some files; its path.
fn deb(directory: &Path, name: &str, postinst: &str, files: &[(&Path, &str)]) -> Result<PathBuf> {
    let root = directory.join(format!("deb-{name}"));
    let path = directory.join(format!("{name}.deb"));
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(root.join("DEBIAN"))?;
    fs::write(
        root.join("DEBIAN/control"),
        format!("Package: {name}\nVersion: 99\nArchitecture: all\nMaintainer: tests <tests@localhost>\nDescription: {name} of a test host\n"),
    )?;
    if !postinst.is_empty() {
        fs::write(root.join("DEBIAN/postinst"), postinst)?;
        fs::set_permissions(root.join("DEBIAN/postinst"), fs::Permissions::from_mode(0o755))?;
    }
    for (from, to) in files {
        let to = root.join(to);
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        fs::copy(from, &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(if to.extension().is_some() { 0o644 } else { 0o755 }))?;
    }
    let built = Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&root).arg(&path).stdin(Stdio::null()).output()?;
    ensure!(built.status.success(), "{}", text(&built));
    Ok(path)
}

/// Runs the user data of a host, as its first start does.
fn set_up(machine: &Machine) -> Result<String> {
    machine.run("bash /var/lib/user-data 2>&1 || { journalctl --no-pager -n 60 >&2; tail -n 40 /var/log/mesos-setup.log >&2; exit 1; }")
}

#[tokio::test]
async fn hosts_that_run_their_user_data_are_a_cluster_which_agents_join_and_leave() -> Result<()> {
    let mut cloud = Cloud::new(&packages::deb(1)?).await?;

    // NATS and Redis, two servers each of three, as while one is away.
    for at in 0..2 {
        let nats = cloud
            .instance(&format!("nats-{at}.{ZONE}"), &format!("10.40.{}.10", at * 32), "nats", &format!("module.nats.aws_instance.this[\"nats-{at}\"]"))
            .await?;
        set_up(&nats)?;
    }
    for at in 0..2 {
        let redis = cloud
            .instance(&format!("redis-{at}.{ZONE}"), &format!("10.40.{}.12", at * 32), "redis", &format!("module.redis.aws_instance.this[\"redis-{at}\"]"))
            .await?;
        redis.run("device=$(grep -o '/dev/disk/by-id/nvme-[A-Za-z0-9_-]*' /var/lib/user-data | head -n 1); mknod \"$device\" b 7 250")?;
        set_up(&redis)?;
    }

    // The one control host has the load balancer's name.
    let control = cloud.instance(&format!("gateway.{ZONE}"), "10.40.1.1", "control", "module.control_plane.aws_launch_template.this").await?;
    set_up(&control)?;
    // A setup may be repeated.
    set_up(&control)?;
    ensure!(control.run("stat -c '%a %U:%G' /etc/mesos/pki/ca.key")?.trim() == "640 root:mesos", "the CA's key is not kept");

    let keeper = cloud.instance(&format!("keeper.{ZONE}"), "10.40.1.2", "keeper", "module.keeper.aws_launch_template.this").await?;
    set_up(&keeper)?;

    // Auto Scaling starts an instance: it waits for its token, joins, and is in service then.
    let agent = cloud.instance(&format!("agent.{ZONE}"), "10.40.1.3", "agent", "module.agents[\"default\"].aws_launch_template.this").await?;
    let group = |state: &str| {
        json!({"groups": {"mesos-prod-agents-default": {
            "tags": {"mesos-cluster": "mesos-prod", "mesos-role": "agent"},
            "instances": {"i-agent": state},
        }}})
    };
    cloud.put(&group("Pending:Wait"))?;
    set_up(&agent)?;
    let lifecycle = |cloud: &Cloud| -> Result<Value> {
        Ok(cloud.state()?["groups"]["mesos-prod-agents-default"]["instances"]["i-agent"].clone())
    };
    eventually(SETTLES, "the instance is in service", async || Ok(lifecycle(&cloud)? == "InService")).await?;
    ensure!(cloud.state()?["parameters"] == json!({}), "the join token lies about");
    let agents: Value = serde_json::from_str(&keeper.run(&format!("{CLIENT} mesos agents -o json"))?)?;
    ensure!(agents[0]["attributes"]["instance"] == "i-agent" && agents[0]["attributes"]["rack"] == "r1", "{agents}");

    let said = keeper.run(&format!("{CLIENT} mesos launch --name hello --cpus 0.5 --mem 64MB --command 'echo Hello AWS!'"))?;
    ensure!(said.contains("Hello AWS!"), "{said}");

    // Auto Scaling takes the instance away while a task runs: it goes once the task has ended in order.
    keeper.run(&format!("{CLIENT} mesos spawn --name sleeper --cpus 0.5 --mem 64MB --command 'sleep 3600'"))?;
    eventually(SETTLES, "the task runs", async || {
        Ok(agent.run("pgrep -f 'sleep 3600' || true").is_ok_and(|found| !found.trim().is_empty()))
    })
    .await?;
    cloud.put(&group("Terminating:Wait"))?;
    eventually(SETTLES, "the instance may go", async || Ok(lifecycle(&cloud)?.is_null())).await?;
    ensure!(agent.run("pgrep -f 'sleep 3600' || true")?.trim().is_empty(), "the task runs on");
    let heartbeats = cloud.state()?["actions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|action| action[2] == "record-lifecycle-action-heartbeat")
        .count();
    ensure!(heartbeats > 0, "nothing said that the instance drains");
    Ok(())
}

#[tokio::test]
async fn a_package_that_is_not_the_one_that_was_named_is_not_installed() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let wrong = deb(directory.path(), "mesos", "", &[])?;
    let mut cloud = Cloud::new(&wrong).await?;
    let control = cloud.instance(&format!("gateway.{ZONE}"), "10.40.1.1", "control", "module.control_plane.aws_launch_template.this").await?;
    cloud.aws()?.run("echo more >>/srv/mesos.deb")?;
    let refused = control.run("bash /var/lib/user-data 2>&1; echo code $?")?;
    ensure!(refused.contains("s3://my-packages/mesos.deb is not what sha256 = ") && refused.contains("code 1"), "{refused}");
    ensure!(control.run("dpkg-query -W mesos 2>/dev/null || echo none")?.trim() == "none", "it was installed");
    Ok(())
}

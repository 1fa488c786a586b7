//! What Terraform renders for hosts in AWS, executed on hosts: each runs its user data as an instance does at its first
//! start, and all of them together are the cluster. What they ask AWS for they get from moto's server, their metadata
//! from a stand-in on each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::backends::{python, repository};
use mesos_e2e::process::{Process, Spec};
use mesos_e2e::{Machine, Machines, cli, eventually, eventually_some, packages};
use serde_json::{Value, json};

use crate::aws::{Example, resources, succeeds, text, user_data};
use crate::installed::HOST;

const REGION: &str = "eu-central-1";
const CLUSTER: &str = "mesos-prod";
const ZONE: &str = "mesos-prod.internal";
const PORT: u16 = 4566;
/// Until all hosts of a kind have set themselves up, side by side on a small machine.
const SETUP: Duration = Duration::from_secs(240);

/// What `terraform apply` of the example made, as far as hosts go.
struct Applied {
    example: Example,
    resources: Vec<Value>,
    scripts: BTreeMap<String, String>,
}

impl Applied {
    fn new(variables: &Value) -> Result<Self> {
        let example = Example::new("aws-complete", variables)?;
        let directory = example.directory("aws-complete");
        succeeds(&directory, &["apply", "-auto-approve", "-input=false", "-no-color"])?;
        let state: Value = serde_json::from_str(&succeeds(&directory, &["show", "-json"])?)?;
        let resources = resources(&state["values"]["root_module"]);
        let scripts = user_data(&resources)?;
        Ok(Self { example, resources, scripts })
    }

    fn values(&self, address: &str) -> Result<&Value> {
        let found = self.resources.iter().find(|one| one["address"] == address);
        found.map(|one| &one["values"]).with_context(|| format!("the cluster has no {address}"))
    }

    fn word(&self, address: &str, attribute: &str) -> Result<&str> {
        self.values(address)?[attribute].as_str().with_context(|| format!("{address} has no {attribute}"))
    }

    /// The files of each secret, which Terraform gives to AWS and to nobody else; so they are asked of the module.
    fn secrets(&self, pki: &Path) -> Result<Value> {
        let directory = self.example.directory("../modules/secrets");
        succeeds(&directory, &["init", "-input=false", "-no-color"])?;
        let question = directory.join("question");
        fs::write(
            &question,
            "base64encode(jsonencode({ for kind, names in local.files : \"${var.name}/${kind}\" => \
             jsonencode({ for name in names : name => file(\"${var.pki_dir}/${name}\") }) }))",
        )?;
        let output = Command::new(repository().join("scripts/terraform"))
            .args(["console", &format!("-var=pki_dir={}", pki.display())])
            .args([
                format!("-var=name={CLUSTER}"),
                "-var=kms_key_arn=arn:aws:kms:eu-central-1:123456789012:key/1".into(),
            ])
            .current_dir(&directory)
            .stdin(Stdio::from(fs::File::open(&question)?))
            .output()?;
        ensure!(output.status.success(), "{}", text(&output));
        let encoded = String::from_utf8_lossy(&output.stdout).trim().trim_matches('"').to_owned();
        fs::write(&question, encoded)?;
        let decoded = Command::new("base64").arg("-d").arg(&question).output()?;
        serde_json::from_slice(&decoded.stdout).with_context(|| text(&output))
    }
}

/// An instance: its host, what it is told, and its number.
struct Instance {
    machine: Machine,
    id: String,
    role: &'static str,
}

impl Instance {
    /// Makes a host that has booted look like an instance from inside.
    fn prepare(&self, cloud: &str) -> Result<()> {
        let metadata = json!({
            "role": self.role,
            "instance-id": self.id,
            "instance-type": "m6i.large",
            "local-ipv4": self.machine.address.to_string(),
            "placement/availability-zone": format!("{REGION}a"),
            "placement/region": REGION,
        });
        self.machine.copy(&repository().join("e2e/tests/it/aws/metadata.py"), "/srv/metadata.py")?;
        self.machine.run(&format!(
            "set -e
            echo '{metadata}' >/srv/metadata.json
            ip address add 169.254.169.254/32 dev lo
            systemd-run --quiet --unit=metadata /usr/bin/python3 /srv/metadata.py /srv/metadata.json
            until bash -c ': </dev/tcp/169.254.169.254/80' 2>/dev/null; do sleep 0.1; done
            systemctl set-environment AWS_ENDPOINT_URL={cloud}
            # The kernel is that of the machine that runs the test, which stays as it is.
            touch /srv/overcommit
            mount --bind /srv/overcommit /proc/sys/vm/overcommit_memory"
        ))?;
        Ok(())
    }

    /// Attaches an empty volume, as AWS does.
    fn attach(&self, volume: &str) -> Result<()> {
        let link = format!("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume}");
        self.machine.run(&format!(
            "set -e
            truncate --size=64M /srv/volume
            [ -c /dev/loop-control ] || mknod /dev/loop-control c 10 237
            for at in $(seq 0 255); do [ -b /dev/loop$at ] || mknod /dev/loop$at b 7 $at; done
            device=$(losetup --find --show /srv/volume)
            # Those of other hosts are none of its business.
            for other in /dev/loop[0-9]*; do [ $other = $device ] || rm -f $other; done
            mkdir -p /dev/disk/by-id
            ln -s $device {link}"
        ))?;
        Ok(())
    }

    /// The volume goes with its host: the kernel lets it go once nobody has it mounted.
    fn detach_at_the_end(&self) -> Result<()> {
        self.machine.run("losetup --detach $(readlink -f /dev/disk/by-id/nvme-Amazon_*)").map(drop)
    }

    fn tell(&self, directory: &Path, script: &str) -> Result<()> {
        let path = directory.join(&self.machine.name);
        fs::write(&path, script)?;
        self.machine.copy(&path, "/srv/user-data")?;
        self.machine.run("chmod 700 /srv/user-data").map(drop)
    }

    /// Starts its user data, as cloud-init does: by systemd.
    fn begin(&self) -> Result<()> {
        self.machine.run("systemd-run --quiet --unit=user-data --remain-after-exit --property=Type=oneshot --no-block /srv/user-data").map(drop)
    }

    async fn is_ready(&self) -> Result<()> {
        let state = eventually_some(SETUP, &format!("{} is set up", self.machine.name), async || {
            let state = self.machine.run("systemctl show --property=ActiveState --value user-data.service")?;
            let said = self.machine.run("tail -n 3 /var/log/mesos-setup.log")?;
            if state.trim() == "activating" {
                bail!("{said}")
            }
            Ok(Some(state.trim().to_owned()))
        })
        .await?;
        let said = self.machine.run("tail -n 20 /var/log/mesos-setup.log")?;
        ensure!(
            state == "active" && said.ends_with("setup: this host is ready\n"),
            "{}: {state}: {said}",
            self.machine.name
        );
        Ok(())
    }

    /// A command with the variables that the keeper has, an operator's.
    fn as_operator(&self, command: &str) -> Result<String> {
        self.machine.run(&format!("set -a; . /etc/mesos/keeper.env; timeout 120 {command}"))
    }
}

/// Waits until all of them are set up.
async fn are_ready(instances: impl IntoIterator<Item = &Instance>) -> Result<()> {
    for instance in instances {
        instance.is_ready().await?;
    }
    Ok(())
}

/// A cluster in the making.
struct Cloud {
    directory: tempfile::TempDir,
    machines: Machines,
    url: String,
    _process: Process,
    agents: Vec<String>,
}

impl Cloud {
    /// AWS with the package, the secrets and the groups of agents in it, and no host yet.
    async fn start(applied: &Applied, cidr: &str, pki: &Path, package: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let machines = Machines::network(directory.path(), Some(cidr))?;
        let address = cidr.replace(".0.0/16", ".0.1");
        let group = applied.values("module.agents[\"default\"].aws_autoscaling_group.this")?;
        let list = |attribute: &str| group[attribute].as_array().cloned().unwrap_or_default();
        let tags: BTreeMap<String, Value> = list("tag")
            .into_iter()
            .map(|tag| (tag["key"].as_str().unwrap_or_default().to_owned(), tag["value"].clone()))
            .collect();
        let waits = |hook: &Value| match hook["lifecycle_transition"].as_str() {
            Some("autoscaling:EC2_INSTANCE_LAUNCHING") => "Pending:Wait".to_owned(),
            _ => "Terminating:Wait".to_owned(),
        };
        let hooks: BTreeMap<String, Value> =
            list("initial_lifecycle_hook").into_iter().map(|hook| (waits(&hook), hook["name"].clone())).collect();
        let config = json!({
            "address": address, "port": PORT, "region": REGION,
            "buckets": ["my-packages", applied.word("module.logs.aws_s3_bucket.this", "bucket")?],
            "objects": {"my-packages/mesos.deb": package},
            "secrets": applied.secrets(pki)?,
            "groups": {group["name"].as_str().context("the group has no name")?: {
                "size": group["desired_capacity"], "tags": tags, "hooks": hooks,
            }},
        });
        let (given, made) = (directory.path().join("cloud.json"), directory.path().join("instances.json"));
        fs::write(&given, config.to_string())?;
        let mut process = Process::start(Spec {
            name: "cloud".to_owned(),
            program: python()?,
            args: [repository().join("e2e/tests/it/aws/cloud.py"), given, made.clone()]
                .map(|path| path.display().to_string())
                .into(),
            env: BTreeMap::new(),
            log: directory.path().join("cloud.log"),
        })?;
        eventually(HOST, "AWS is there", async || {
            process.must_run()?;
            Ok(made.exists())
        })
        .await?;
        let instances: BTreeMap<String, Vec<String>> = serde_json::from_str(&fs::read_to_string(&made)?)?;
        let agents = instances.into_values().flatten().collect();
        Ok(Self { directory, machines, url: format!("http://{address}:{PORT}"), _process: process, agents })
    }

    async fn instance(
        &mut self,
        role: &'static str,
        name: &str,
        id: &str,
        address: Option<&str>,
        volume: Option<&str>,
        script: Option<&String>,
    ) -> Result<Instance> {
        // The load balancer before the gateways is a name that all of them have.
        let known = if role == "control" { format!("gateway.{ZONE}") } else { format!("{name}.{ZONE}") };
        let machine = self.machines.add_instance(name, address, &[known]).await?;
        let instance = Instance { machine, id: id.to_owned(), role };
        instance.prepare(&self.url)?;
        if let Some(volume) = volume {
            instance.attach(volume)?;
        }
        instance.tell(self.directory.path(), script.with_context(|| format!("{name} has no user data"))?)?;
        instance.begin()?;
        Ok(instance)
    }
}

fn sha256(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(path).output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed.split_whitespace().next().map(str::to_owned).context("sha256sum printed nothing")
}

async fn keys(directory: &Path) -> Result<PathBuf> {
    let pki = directory.join("pki");
    let text = pki.display().to_string();
    let host = format!("*.{ZONE}");
    cli::run(&[], &["pki", "init", "--dir", &text, "--cluster", CLUSTER, "--host", &host]).await?.expect(0)?;
    Ok(pki)
}

#[tokio::test(flavor = "multi_thread")]
async fn user_data_makes_hosts_a_cluster_that_runs_tasks_and_lets_agents_come_and_go() -> Result<()> {
    let home = tempfile::tempdir()?;
    let package = packages::deb(1)?;
    let pki = keys(home.path()).await?;
    // Addresses of servers are in their user data; two runs side by side must not have the same.
    let cidr = format!("10.{}.0.0/16", 100 + std::process::id() % 100);
    let applied = Applied::new(&json!({
        "pki_dir": pki,
        "cidr": cidr,
        "mesos_package": {"url": "s3://my-packages/mesos.deb", "sha256": sha256(&package)?},
        "jaeger_binary": null,
        "control_instances": 2,
        "agents": {"default": {
            "containerizers": ["process"],
            "size": {"min": 1, "initial": 1, "max": 2},
            "attributes": {"rack": "r1"},
            "options": {"resources": "cpus:2;mem:512;disk:512"},
        }},
    }))?;
    let mut cloud = Cloud::start(&applied, &cidr, &pki, &package).await?;

    let begun = Instant::now();
    // What the others need first, as it has addresses of its own.
    let mut first = Vec::new();
    for (module, role, servers) in [("nats", "nats", 3), ("redis", "redis", 3)] {
        for at in 0..servers {
            let name = format!("{module}-{at}");
            let resource = format!("module.{module}.aws_instance.this[\"{name}\"]");
            let address = applied.word(&resource, "private_ip")?;
            let script = applied.scripts.get(&resource);
            let volume = applied.word(&format!("module.redis.aws_ebs_volume.this[\"{name}\"]"), "id").ok();
            let volume = volume.map(|volume| volume.replace('-', ""));
            let id = format!("i-{name}");
            first.push(cloud.instance(role, &name, &id, Some(address), volume.as_deref(), script).await?);
        }
    }
    for (module, role, names) in
        [("control_plane", "control", &["control-0", "control-1"][..]), ("keeper", "keeper", &["keeper"])]
    {
        let script = applied.scripts.get(&format!("module.{module}.aws_launch_template.this"));
        for name in names {
            first.push(cloud.instance(role, name, &format!("i-{name}"), None, None, script).await?);
        }
    }
    let result = are_ready(&first).await;
    let redis = first.iter().filter(|instance| instance.role == "redis");
    let detached: Result<Vec<()>> = redis.map(Instance::detach_at_the_end).collect();
    result?;
    detached?;
    println!("the control plane is set up after {:?}", begun.elapsed());

    // An instance that Auto Scaling starts: the keeper gives it a token and takes it into service.
    let id = cloud.agents.first().context("the group has no instance")?.clone();
    let script = applied.scripts.get("module.agents[\"default\"].aws_launch_template.this");
    let agent = cloud.instance("agent", "agent-0", &id, None, None, script).await?;
    agent.is_ready().await?;
    let keeper = first.iter().find(|instance| instance.role == "keeper").context("a keeper was booted")?;
    let agents = || -> Result<Value> { Ok(serde_json::from_str(&keeper.as_operator("mesos agents -o json")?)?) };
    eventually(HOST, "the agent has joined", async || {
        let list = agents()?;
        ensure!(list[0]["state"] == "active", "{list}");
        Ok(true)
    })
    .await?;
    let joined = agents()?;
    let attributes = &joined[0]["attributes"];
    ensure!(attributes["instance"] == id.as_str() && attributes["rack"] == "r1", "{joined}");
    let printed =
        keeper.as_operator("mesos launch --cpus 0.5 --mem 64MB --command 'echo $((6 * 7)) on $(hostname)'")?;
    ensure!(printed.contains("42 on agent-0"), "{printed}");
    println!("a task ran after {:?}", begun.elapsed());

    let states = |of: &Machine| -> Result<Vec<String>> {
        let printed = of.run(&format!(
            "aws --endpoint-url {} --region {REGION} autoscaling describe-auto-scaling-groups \
             --query 'AutoScalingGroups[].Instances[].LifecycleState' --output text",
            cloud.url
        ))?;
        Ok(printed.split_whitespace().map(str::to_owned).collect())
    };
    eventually(HOST, "the instance is in service", async || {
        let states = states(&keeper.machine)?;
        ensure!(states == ["InService"], "{states:?}");
        Ok(true)
    })
    .await?;

    // User data that is run again, on one of each, finishes what is left to do, and here nothing is.
    let one = |instance: &&Instance| !instance.machine.name.ends_with("-0") && !instance.machine.name.ends_with("-2");
    let again: Vec<&Instance> = first.iter().filter(one).chain([&agent]).collect();
    for instance in &again {
        instance.machine.run("systemctl stop user-data.service && : >/var/log/mesos-setup.log")?;
        instance.begin()?;
    }
    are_ready(again).await?;
    eventually(HOST, "it is the same agent", async || {
        let list = agents()?;
        ensure!(list[0]["id"] == joined[0]["id"] && list[0]["state"] == "active" && list[1].is_null(), "{list}");
        Ok(true)
    })
    .await?;

    // Logs are in the bucket once a host was told to stop.
    agent.machine.run("systemctl stop mesos-ship-last-logs.service")?;
    let logs = applied.word("module.logs.aws_s3_bucket.this", "bucket")?;
    let shipped =
        keeper.machine.run(&format!("aws --endpoint-url {} s3 ls s3://{logs}/host/agent/{id}/", cloud.url))?;
    ensure!(shipped.contains("agent.log"), "{shipped}");

    // An instance that Auto Scaling takes away: its agent drains, and then it goes.
    let spawned = "mesos spawn --name stays --cpus 0.1 --mem 32MB --command 'exec sleep 98765'";
    let task = keeper.as_operator(spawned)?.trim().to_owned();
    let in_state = async |state: &str| {
        eventually(HOST, &format!("{task} is {state}"), async || {
            let list = keeper.as_operator("mesos ps --all")?;
            Ok(list.lines().any(|line| line.contains(&task) && line.contains(state)))
        })
        .await
    };
    in_state("TASK_RUNNING").await?;
    keeper.machine.run(&format!(
        "aws --endpoint-url {} --region {REGION} autoscaling terminate-instance-in-auto-scaling-group \
         --instance-id {id} --no-should-decrement-desired-capacity",
        cloud.url
    ))?;
    eventually(SETUP, "the instance may go", async || {
        let states = states(&keeper.machine)?;
        ensure!(states.is_empty(), "{states:?}");
        Ok(true)
    })
    .await?;
    let list = agents()?;
    ensure!(list.as_array().is_some_and(|list| list.iter().all(|agent| agent["state"] != "active")), "{list}");
    Ok(())
}

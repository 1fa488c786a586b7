//! Hosts for what is installed on hosts: containers with systemd, sshd and nothing of ours, on a network of
//! their own that leads nowhere else.
//!
//! They are like a small Debian server, but for this: the kernel is shared, and control groups are read-only
//! in them, so an agent there runs tasks without limits and says so.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::docker;
use crate::wait::{eventually, eventually_some};

/// The images that `scripts/setup` makes.
const IMAGE: &str = "mesos-e2e/host:2";
const AWS_IMAGE: &str = "mesos-e2e/aws-host:1";
/// How long a host may take to boot.
const BOOT: Duration = Duration::from_secs(60);
/// The operator of all hosts, who may use sudo.
pub const OPERATOR: &str = "ops";

/// Some hosts and the network between them; all are gone when it is dropped.
#[derive(Debug)]
pub struct Machines {
    network: String,
    directory: PathBuf,
    machines: Vec<Machine>,
}

/// One host.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name, by which the others find it too.
    pub name: String,
    /// Its address on the network.
    pub address: Ipv4Addr,
    /// Its public SSH key, as a line of a `.pub` file without the comment.
    pub host_key: String,
    container: String,
}

impl Machines {
    /// Boots one host for each name. Keys are kept in `directory`, which is the test's own.
    pub async fn boot(directory: &Path, names: &[&str]) -> Result<Self> {
        let mut machines = Self::network(directory, None)?;
        for name in names {
            machines.add(name).await?;
        }
        Ok(machines)
    }

    /// A network without hosts, with addresses of `subnet` if that matters. The test itself is its first address.
    pub fn network(directory: &Path, subnet: Option<&str>) -> Result<Self> {
        let network = format!("mesos-e2e-{}-{}", std::process::id(), unique(directory));
        let mut create = vec!["network", "create", "--internal"];
        create.extend(subnet.iter().flat_map(|subnet| ["--subnet", *subnet]));
        create.push(&network);
        docker(&create)?;
        let machines = Self { network, directory: directory.to_owned(), machines: Vec::new() };
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", OPERATOR, "-f"])
            .arg(machines.key())
            .status()
            .context("ssh-keygen did not start; run scripts/setup")?;
        if !made.success() {
            bail!("ssh-keygen failed");
        }
        Ok(machines)
    }

    /// Boots one more host.
    pub async fn add(&mut self, name: &str) -> Result<Machine> {
        self.boot_one(name, IMAGE, &[]).await
    }

    /// Boots one more host, as one of AWS: with what such hosts install, at an address of the network's subnet if that
    /// matters, and found by more names. It may attach volumes.
    pub async fn add_instance(&mut self, name: &str, address: Option<&str>, names: &[String]) -> Result<Machine> {
        // Volumes are loop devices.
        let mut more = vec!["--device-cgroup-rule", "b 7:* rmw", "--device-cgroup-rule", "c 10:237 rmw"];
        more.extend(address.iter().flat_map(|address| ["--ip", *address]));
        more.extend(names.iter().flat_map(|name| ["--network-alias", name.as_str()]));
        self.boot_one(name, AWS_IMAGE, &more).await
    }

    async fn boot_one(&mut self, name: &str, image: &str, more: &[&str]) -> Result<Machine> {
        let container = format!("{}-{}", self.network, self.machines.len());
        // What systemd as process 1 needs; not `--privileged`, which asks for more than some machines give.
        let mut run = vec![
            "run",
            "--detach",
            "--name",
            &container,
            "--hostname",
            name,
            "--network",
            &self.network,
            "--network-alias",
            name,
            "--cap-add",
            "SYS_ADMIN",
            "--cap-add",
            "NET_ADMIN",
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "apparmor=unconfined",
            "--cgroupns",
            "private",
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/run/lock",
            "--env",
            "container=docker",
        ];
        run.extend(more);
        run.push(image);
        docker(&run)?;
        // It is there now, so it must be removed whatever comes next.
        self.machines.push(Machine {
            name: name.to_owned(),
            address: Ipv4Addr::UNSPECIFIED,
            host_key: String::new(),
            container: container.clone(),
        });
        let address =
            docker(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &container])?;
        let address = address.trim().parse().with_context(|| format!("{container} has no address"))?;
        let booting = self.machines.last().context("it was added")?.clone();
        let host_key = eventually_some(BOOT, &format!("{name} boots"), async || {
            booting.run("systemctl is-active --quiet ssh")?;
            let line = booting.run("cat /etc/ssh/ssh_host_ecdsa_key.pub")?;
            let words: Vec<&str> = line.split_whitespace().take(2).collect();
            Ok((words.len() == 2).then(|| words.join(" ")))
        })
        .await?;
        let public = fs::read_to_string(self.key().with_extension("pub"))?;
        booting.run(&format!(
            "install -d -m 700 -o {OPERATOR} -g {OPERATOR} ~{OPERATOR}/.ssh &&
             echo '{}' >~{OPERATOR}/.ssh/authorized_keys && chown {OPERATOR} ~{OPERATOR}/.ssh/authorized_keys",
            public.trim()
        ))?;
        let machine = Machine { address, host_key, ..booting };
        if let Some(last) = self.machines.last_mut() {
            *last = machine.clone();
        }
        self.write_known_hosts()?;
        Ok(machine)
    }

    /// The host of a name.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines.iter().find(|machine| machine.name == name).with_context(|| format!("there is no host {name}"))
    }

    /// All hosts, in the order in which they were booted.
    pub fn all(&self) -> &[Machine] {
        &self.machines
    }

    /// The operator's private key.
    pub fn key(&self) -> PathBuf {
        self.directory.join("operator")
    }

    /// The keys of all hosts, for `UserKnownHostsFile`.
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    fn write_known_hosts(&self) -> Result<()> {
        let lines: Vec<String> =
            self.machines.iter().map(|machine| format!("{} {}\n", machine.address, machine.host_key)).collect();
        Ok(fs::write(self.known_hosts(), lines.concat())?)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in &self.machines {
            let _ = docker(&["rm", "--force", "--volumes", &machine.container]);
        }
        let _ = docker(&["network", "rm", &self.network]);
    }
}

impl Machine {
    /// Runs a shell script as its root and returns what it wrote; fails unless it ends well.
    pub fn run(&self, script: &str) -> Result<String> {
        docker(&["exec", &self.container, "/bin/sh", "-c", script]).with_context(|| format!("on {}", self.name))
    }

    /// Copies a file of the test onto it.
    pub fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let from = from.to_str().context("the path is not UTF-8")?;
        docker(&["cp", from, &format!("{}:{to}", self.container)]).map(drop)
    }

    /// Takes it off, as a power cut does.
    pub fn cut_power(&self) -> Result<()> {
        docker(&["kill", &self.container]).map(drop)
    }

    /// Waits until a script ends well on it.
    pub async fn eventually(&self, timeout: Duration, script: &str) -> Result<()> {
        eventually(timeout, &format!("{}: {script}", self.name), async || self.run(script).map(|_| true)).await
    }
}

/// The last part of a directory's name, which tells tests of one process apart.
fn unique(directory: &Path) -> String {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

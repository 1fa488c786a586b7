//! A whole cluster as processes on free loopback ports, with names to kill and restart by.
//!
//! # Layout
//! - `networked`: the same on a network of its own, each process on a host

mod networked;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::backends::{self, JaegerPorts};
use crate::cli::{self, Outcome};
use crate::link::Link;
use crate::network::Network;
use crate::process::{Process, Spec, has_stopped, sweep, tail};
use crate::wait::{eventually, eventually_some};
use crate::{http, ports};

/// How long everything may take to start, on a machine that does other things too.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of each log that a failure prints.
const TAIL_LINES: usize = 25;
/// Clusters that may run at the same time, however many threads the tests have: more would only make each
/// other late.
const SIDE_BY_SIDE: usize = 2;

/// Where the host's Docker daemon listens.
const DOCKER: &str = "/var/run/docker.sock";

static ROOM: Semaphore = Semaphore::const_new(SIDE_BY_SIDE);

/// One agent to start.
#[derive(Clone, Debug, Default)]
pub struct AgentSpec {
    /// Its options beside those that tie it to the cluster.
    pub args: Vec<String>,
    /// Talks to the gateways over gRPC (`--master`) in place of NATS.
    pub linked: bool,
    /// Its work directory is a file system of this many megabytes.
    pub disk_mb: Option<u32>,
}

impl AgentSpec {
    /// An agent with fixed resources, so that a test does not depend on its host's size.
    pub fn with_resources(resources: &str) -> Self {
        Self { args: vec![format!("--resources={resources}")], ..Self::default() }
    }

    /// With one more option.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// On a small disk of its own, which a test can fill. Needs root.
    pub fn disk(mut self, megabytes: u32) -> Self {
        self.disk_mb = Some(megabytes);
        self
    }

    /// Known only by its `--master`.
    pub fn linked(mut self) -> Self {
        self.linked = true;
        self
    }
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    allocators: usize,
    registries: usize,
    gateways: usize,
    agents: Vec<AgentSpec>,
    jaeger: bool,
    docker_links: bool,
    network: Option<Arc<Network>>,
    args: BTreeMap<&'static str, Vec<String>>,
    env: BTreeMap<String, String>,
}

impl Default for ClusterBuilder {
    /// One of each service, no agent.
    fn default() -> Self {
        Self {
            allocators: 1,
            registries: 1,
            gateways: 1,
            agents: Vec::new(),
            jaeger: false,
            docker_links: false,
            network: None,
            args: BTreeMap::new(),
            env: BTreeMap::new(),
        }
    }
}

impl ClusterBuilder {
    /// How many allocators, registries and gateways.
    pub fn services(mut self, allocators: usize, registries: usize, gateways: usize) -> Self {
        (self.allocators, self.registries, self.gateways) = (allocators, registries, gateways);
        self
    }

    /// One more agent.
    pub fn agent(mut self, agent: AgentSpec) -> Self {
        self.agents.push(agent);
        self
    }

    /// Several agents with `cpus:4;mem:4096;disk:10000;ports:[31000-32000]` each.
    pub fn agents(mut self, count: usize) -> Self {
        let resources = "cpus:4;mem:4096;disk:10000;ports:[31000-32000]";
        self.agents.extend((0..count).map(|_| AgentSpec::with_resources(resources)));
        self
    }

    /// Each agent reaches Docker over a [`Link`] of its own, which a test can cut.
    pub fn docker_links(mut self) -> Self {
        self.docker_links = true;
        self
    }

    /// With a Jaeger to which every service exports its traces.
    pub fn jaeger(mut self) -> Self {
        self.jaeger = true;
        self
    }

    /// One more option for every `allocator`, `registry`, `gateway`, `agent`, `master` or `local`.
    pub fn arg(mut self, service: &'static str, arg: &str) -> Self {
        self.args.entry(service).or_default().push(arg.to_owned());
        self
    }

    /// A variable for all of our processes.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts nats-server, redis-server and every service, and waits until the gateways are ready and
    /// all agents are registered.
    pub async fn start(self) -> Result<Cluster> {
        let mut cluster = Cluster::with_room().await?;
        match &self.network {
            Some(network) => cluster.start_backends_on(network).await?,
            None => cluster.start_backends().await?,
        }
        if self.jaeger {
            cluster.start_jaeger().await?;
        }
        for (service, count) in
            [("allocator", self.allocators), ("registry", self.registries), ("gateway", self.gateways)]
        {
            for number in 0..count {
                let mut args = cluster.bus_args();
                args.push(format!("--redis-url={}", cluster.redis_url));
                cluster.add_service(&self, service, number, args)?;
            }
        }
        self.add_agents(&mut cluster).await?;
        cluster.wait_until_ready(self.agents.len()).await?;
        Ok(cluster)
    }

    /// Starts `mesos master`, which needs neither NATS nor Redis, and agents that know it by `--master`.
    pub async fn start_master(mut self) -> Result<Cluster> {
        let mut cluster = Cluster::with_room().await?;
        if self.jaeger {
            cluster.start_jaeger().await?;
        }
        cluster.add_service(&self, "master", 0, Vec::new())?;
        self.agents.iter_mut().for_each(|agent| agent.linked = true);
        self.add_agents(&mut cluster).await?;
        cluster.wait_until_ready(self.agents.len()).await?;
        Ok(cluster)
    }

    async fn add_agents(&self, cluster: &mut Cluster) -> Result<()> {
        let masters: Vec<String> = cluster.gateways.iter().map(SocketAddr::to_string).collect();
        for (number, agent) in self.agents.iter().enumerate() {
            let mut args = if agent.linked {
                let mut args = vec![format!("--master={}", masters.join(","))];
                // A master of its own has the default name.
                if !cluster.nats_url.is_empty() {
                    args.push(format!("--cluster={}", cluster.name));
                }
                args
            } else {
                cluster.bus_args()
            };
            if self.docker_links {
                let link = Link::open(cluster.own_address()?, Path::new(DOCKER)).await?;
                args.push(format!("--docker-host=tcp://{}", link.address()));
                cluster.docker_links.insert(format!("agent-{number}"), link);
            }
            args.extend(agent.args.clone());
            cluster.make_disk(number, agent)?;
            cluster.add_service(self, "agent", number, args)?;
        }
        Ok(())
    }

    /// Starts `mesos local` in place of a cluster, with as many agents as were asked for; their own
    /// options are not used. Options for it are those of the service `local`.
    pub async fn start_local(self) -> Result<Cluster> {
        let mut cluster = Cluster::with_room().await?;
        if self.jaeger {
            cluster.start_jaeger().await?;
        }
        let args = vec![format!("--agents={}", self.agents.len())];
        cluster.add_service(&self, "local", 0, args)?;
        cluster.wait_until_ready(self.agents.len()).await?;
        Ok(cluster)
    }
}

/// A running cluster. Its directory with all logs is deleted by [`Cluster::finish`]; without that, the
/// test has failed, and the directory is kept and told.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    name: String,
    processes: Mutex<BTreeMap<String, Process>>,
    gateways: Vec<SocketAddr>,
    agents: Vec<SocketAddr>,
    nats_url: String,
    redis_url: String,
    /// Those on a network, by name.
    nats: BTreeMap<String, SocketAddr>,
    redis: BTreeMap<String, SocketAddr>,
    sentinels: Vec<(String, SocketAddr)>,
    /// How far off the clocks of Redis servers are, by name.
    clocks: BTreeMap<String, PathBuf>,
    /// By agent.
    docker_links: BTreeMap<String, Link>,
    network: Option<Arc<Network>>,
    disks: Vec<PathBuf>,
    jaeger: Option<JaegerPorts>,
    finished: bool,
    room: Option<SemaphorePermit<'static>>,
}

impl Cluster {
    /// Starts to describe a cluster.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// A cluster without processes, for tests that start their own with [`Cluster::add`].
    pub fn empty() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("mesos-e2e-").tempdir()?.keep();
        let name = directory.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        Ok(Self {
            directory,
            name,
            processes: Mutex::default(),
            gateways: Vec::new(),
            agents: Vec::new(),
            nats_url: String::new(),
            redis_url: String::new(),
            nats: BTreeMap::new(),
            redis: BTreeMap::new(),
            sentinels: Vec::new(),
            clocks: BTreeMap::new(),
            docker_links: BTreeMap::new(),
            network: None,
            disks: Vec::new(),
            jaeger: None,
            finished: false,
            room: None,
        })
    }

    /// The same, once there is room for one more cluster beside those of other tests. A test must not hold
    /// two of these.
    pub async fn with_room() -> Result<Self> {
        let room = ROOM.acquire().await?;
        let mut cluster = Self::empty()?;
        cluster.room = Some(room);
        Ok(cluster)
    }

    /// Where work directories and logs are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its name, which every process of it is given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The base URL of a gateway, without a slash at its end.
    pub fn gateway(&self, number: usize) -> String {
        format!("http://{}", self.gateway_address(number))
    }

    /// `host:port` of a gateway, as `--master` and MESOS_MASTER take it.
    pub fn gateway_address(&self, number: usize) -> String {
        self.gateways[number].to_string()
    }

    /// The base URLs of all gateways.
    pub fn gateway_urls(&self) -> Vec<String> {
        (0..self.gateways.len()).map(|number| self.gateway(number)).collect()
    }

    /// The base URL of an agent.
    pub fn agent(&self, number: usize) -> String {
        format!("http://{}", self.agents[number])
    }

    /// Where nats-server listens.
    pub fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// Where redis-server listens.
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// The base URL of Jaeger's query API.
    pub fn jaeger(&self) -> Result<String> {
        let ports = self.jaeger.context("this cluster was started without Jaeger")?;
        Ok(format!("http://127.0.0.1:{}", ports.query))
    }

    /// Runs a command of `mesos` that asks the master of this cluster, to its end.
    pub async fn mesos(&self, args: &[&str]) -> Result<Outcome> {
        cli::mesos(&self.gateway_address(0), args).await
    }

    /// Starts one more process under the name in its spec.
    pub fn add(&self, spec: Spec) -> Result<()> {
        let name = spec.name.clone();
        if self.lock().contains_key(&name) {
            bail!("there is a process {name} already");
        }
        self.lock().insert(name, Process::start(spec)?);
        Ok(())
    }

    /// The names of all processes: `nats`, `redis`, `jaeger`, `allocator-0`, …, or `local-0`, or `master-0`.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Does something with one process.
    pub fn with<T>(&self, name: &str, action: impl FnOnce(&mut Process) -> Result<T>) -> Result<T> {
        let mut processes = self.lock();
        let process = processes.get_mut(name).with_context(|| format!("there is no process {name}"))?;
        action(process)
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill_9(&self, name: &str) -> Result<()> {
        self.with(name, Process::kill_9)
    }

    /// SIGSTOP: alive, but silent. Returns when all of it has stopped.
    pub async fn pause(&self, name: &str) -> Result<()> {
        let pid = self.with(name, |process| {
            process.signal(Signal::SIGSTOP)?;
            Ok(process.pid())
        })?;
        eventually(Duration::from_secs(5), &format!("{name} stops"), async || has_stopped(pid)).await
    }

    /// SIGCONT.
    pub fn resume(&self, name: &str) -> Result<()> {
        self.with(name, |process| process.signal(Signal::SIGCONT))
    }

    /// SIGTERM, and waits until it is over.
    pub async fn terminate(&self, name: &str, timeout: Duration) -> Result<ExitStatus> {
        self.with(name, |process| process.signal(Signal::SIGTERM))?;
        eventually_some(timeout, &format!("{name} ends"), async || self.with(name, Process::status)).await
    }

    /// Starts it again on the same ports and directories; kills it first if it still runs.
    pub fn restart(&self, name: &str) -> Result<()> {
        self.with(name, Process::restart)
    }

    /// The process id.
    pub fn pid(&self, name: &str) -> Result<u32> {
        self.with(name, |process| Ok(process.pid()))
    }

    /// All that a process wrote.
    pub fn log(&self, name: &str) -> Result<String> {
        self.with(name, |process| Ok(process.log()))
    }

    /// GET at a gateway, as JSON. Any status but 200 is an error.
    pub async fn get(&self, gateway: usize, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.gateway(gateway));
        let answer = http().get(&url).timeout(Duration::from_secs(10)).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if status != reqwest::StatusCode::OK {
            bail!("GET {url}: {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("GET {url}: not JSON: {text}"))
    }

    /// Waits until a gateway knows so many active agents.
    pub async fn wait_for_agents(&self, gateway: usize, count: usize, timeout: Duration) -> Result<()> {
        eventually(timeout, &format!("{count} agents are active"), async || {
            let answer = self.get(gateway, "/slaves").await?;
            let agents = answer["slaves"].as_array().context("no list of agents")?;
            let active = agents.iter().filter(|agent| agent["active"] == true).count();
            if active != count {
                bail!("{active} are active");
            }
            Ok(true)
        })
        .await
    }

    /// The end of a test that passed: fails if a process panicked, then stops all and deletes the
    /// directory.
    pub fn finish(mut self) -> Result<()> {
        for (name, process) in self.lock().iter() {
            if let Some(line) = process.log().lines().find(|line| line.contains("panicked at")) {
                bail!("{name} panicked: {line}");
            }
        }
        self.finished = true;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bus_args(&self) -> Vec<String> {
        vec![format!("--nats-url={}", self.nats_url), format!("--cluster={}", self.name)]
    }

    /// Where the work directory of an agent is.
    pub fn work_dir(&self, agent: usize) -> PathBuf {
        self.directory.join(format!("agent-{agent}"))
    }

    /// Writes to the disk of an agent until there is no room; what was written is in this file.
    pub fn fill_disk(&self, agent: usize) -> Result<PathBuf> {
        let ballast = self.work_dir(agent).join("ballast");
        let mut file = fs::File::create(&ballast)?;
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
        Ok(ballast)
    }

    fn make_disk(&mut self, agent: usize, spec: &AgentSpec) -> Result<()> {
        let Some(megabytes) = spec.disk_mb else { return Ok(()) };
        let dir = self.work_dir(agent);
        fs::create_dir_all(&dir)?;
        let options = format!("size={megabytes}m,mode=755");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&dir).status()?;
        if !status.success() {
            bail!("cannot mount a small disk: {status}; is this root?");
        }
        self.disks.push(dir);
        Ok(())
    }

    async fn start_backends(&mut self) -> Result<()> {
        let (nats, redis) = (ports::free()?, ports::free()?);
        self.nats_url = format!("nats://127.0.0.1:{nats}");
        self.redis_url = format!("redis://127.0.0.1:{redis}");
        self.add(backends::nats(&self.directory, nats)?)?;
        self.add(backends::redis(&self.directory, redis)?)?;
        self.wait_for_port("nats", nats).await?;
        self.wait_for_port("redis", redis).await
    }

    async fn start_jaeger(&mut self) -> Result<()> {
        let jaeger = JaegerPorts { otlp: ports::free()?, query: ports::free()? };
        self.add(backends::jaeger(&self.directory, jaeger)?)?;
        self.jaeger = Some(jaeger);
        self.wait_for_port("jaeger", jaeger.otlp).await?;
        self.wait_for_port("jaeger", jaeger.query).await
    }

    /// Starts `mesos <service>` with a port, a work directory and a log file of its own.
    fn add_service(
        &mut self,
        builder: &ClusterBuilder,
        service: &'static str,
        number: usize,
        mut args: Vec<String>,
    ) -> Result<()> {
        let name = format!("{service}-{number}");
        let work_dir = self.directory.join(&name);
        fs::create_dir_all(&work_dir)?;
        let seat = self.seat(service, &name)?;
        let (port, address) = match &seat {
            Some(seat) => (seat.port, seat.address),
            None => {
                let port = ports::free()?;
                (port, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            }
        };
        match service {
            "gateway" | "local" | "master" => self.gateways.push(address),
            "agent" => self.agents.push(address),
            _ => {}
        }
        args.insert(0, service.to_owned());
        args.push(match service {
            "allocator" | "registry" => format!("--http-addr=127.0.0.1:{port}"),
            _ => format!("--port={port}"),
        });
        if matches!(service, "local" | "master" | "agent") {
            args.push(format!("--work-dir={}", work_dir.display()));
        }
        if let Some(jaeger) = self.jaeger {
            args.push(format!("--otlp-endpoint=http://127.0.0.1:{}", jaeger.otlp));
        }
        args.extend(builder.args.get(service).cloned().unwrap_or_default());
        let spec = Spec {
            log: self.directory.join(format!("{name}.log")),
            name,
            program: backends::mesos_binary()?,
            args,
            env: builder.env.clone(),
        };
        let host = seat.map(|seat| seat.host).unwrap_or_default();
        self.add_on(&host, spec)
    }

    async fn wait_for_port(&self, name: &str, port: u16) -> Result<()> {
        self.unless_one_ends(listens(name, (Ipv4Addr::LOCALHOST, port).into())).await
    }

    async fn wait_until_ready(&self, agents: usize) -> Result<()> {
        self.unless_one_ends(async {
            for number in 0..self.gateways.len() {
                let url = format!("{}/ready", self.gateway(number));
                eventually(START_TIMEOUT, &format!("gateway {number} is ready"), async || {
                    let answer = http().get(&url).timeout(Duration::from_secs(5)).send().await?;
                    if answer.status() != reqwest::StatusCode::OK {
                        bail!("{}: {}", answer.status(), answer.text().await?);
                    }
                    Ok(true)
                })
                .await?;
                self.wait_for_agents(number, agents, START_TIMEOUT).await?;
            }
            Ok(())
        })
        .await
    }

    /// Waits, but no longer than all processes live: one that could not start tells more than a
    /// deadline.
    async fn unless_one_ends(&self, wait: impl Future<Output = Result<()>>) -> Result<()> {
        let watch = async {
            loop {
                for process in self.lock().values_mut() {
                    process.must_run()?;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            result = wait => result,
            result = watch => result,
        }
    }

    /// Prints where the logs are, and the end of each.
    fn tell(&self) {
        eprintln!("\n== logs and work directories are kept in {}", self.directory.display());
        for (name, process) in self.lock().iter() {
            eprintln!("-- the end of {name}'s log:\n{}", tail(&process.log(), TAIL_LINES));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.finished {
            self.tell();
        }
        self.lock().clear();
        sweep(&self.directory);
        remove_containers(&self.directory);
        for disk in &self.disks {
            if !self.finished {
                // What was on it is of use to whoever looks for the failure.
                let _ = Command::new("cp")
                    .args(["--recursive", "--no-target-directory"])
                    .arg(disk)
                    .arg(disk.with_extension("kept"))
                    .status();
            }
            let _ = Command::new("umount").arg("--lazy").arg(disk).status();
        }
        if self.finished {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Waits until a process takes connections.
async fn listens(name: &str, address: SocketAddr) -> Result<()> {
    eventually(START_TIMEOUT, &format!("{name} listens on port {}", address.port()), async || {
        TcpStream::connect(address)?;
        Ok(true)
    })
    .await
}

/// Removes the Docker containers that agents of this cluster started: those that mount something below
/// its directory. Where Docker is not in use this does nothing.
fn remove_containers(directory: &Path) {
    let docker = |args: &[&str]| -> Option<String> {
        let output = Command::new("docker").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(list) = docker(&["ps", "--all", "--quiet", "--no-trunc"]) else {
        return;
    };
    let format = "{{.Id}}{{range .Mounts}} {{.Source}}{{end}}";
    for id in list.split_whitespace() {
        let ours = docker(&["inspect", "--format", format, id])
            .is_some_and(|mounts| mounts.contains(&directory.display().to_string()));
        if ours {
            docker(&["rm", "--force", id]);
        }
    }
}

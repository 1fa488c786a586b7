//! Starts and stops what is measured: `mesos local`, a master with an agent, or a whole cluster.

use std::{
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mesos_bus::{Limits, NatsBus, NatsOptions};
use mesos_e2e::{Cluster, backends, eventually, http, ports, process::Spec};
use mesos_model::{resources_text, subject::Subjects};
use mesos_ports::{bus::Bus, store::Store};
use mesos_store::redis::{RedisOptions, RedisStore};

use crate::{
    agents::{Agents, Life},
    options::Common,
};

const START_MAX: Duration = Duration::from_secs(60);

/// The mesos binary that is measured.
pub(crate) fn binary(common: &Common) -> Result<PathBuf> {
    if let Some(path) = &common.mesos {
        return Ok(path.clone());
    }
    let beside = std::env::current_exe()?.with_file_name("mesos");
    if !beside.is_file() {
        bail!("{} is not there; build it (cargo build --release -p mesos) or name one with --mesos", beside.display());
    }
    Ok(beside)
}

/// Running processes. Dropping it ends them; without [`Setup::finish`] their logs are kept and shown.
pub(crate) struct Setup {
    cluster: Cluster,
    name: String,
    /// The gateway, without a slash at its end.
    pub(crate) url: String,
    /// Where NATS is, in a cluster.
    pub(crate) nats_url: String,
    /// Where Redis is, in a cluster.
    redis_url: String,
    /// Every gateway, in a cluster.
    pub(crate) gateways: Vec<String>,
    keep: bool,
}

impl Setup {
    fn empty(common: &Common) -> Result<Setup> {
        let cluster = Cluster::empty()?;
        let name =
            cluster.directory().file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        Ok(Setup {
            cluster,
            name,
            url: String::new(),
            nats_url: String::new(),
            redis_url: String::new(),
            gateways: Vec::new(),
            keep: common.keep,
        })
    }

    /// `mesos local`.
    pub(crate) async fn local(common: &Common, agents: usize, options: &[String]) -> Result<Setup> {
        let mut setup = Setup::empty(common)?;
        let port = ports::free()?;
        setup.url = format!("http://127.0.0.1:{port}");
        // Without a work directory, as whoever tries it starts it: its temporary folder is below ours.
        let mut args = vec![format!("--agents={agents}"), format!("--port={port}")];
        args.extend_from_slice(options);
        setup.add(common, "local", "local", args)?;
        setup.until_ready(agents).await?;
        Ok(setup)
    }

    /// `mesos master` and one `mesos agent`, over their gRPC link.
    pub(crate) async fn master_and_agent(common: &Common, agent: &[String]) -> Result<Setup> {
        let mut setup = Setup::empty(common)?;
        let port = ports::free()?;
        setup.url = format!("http://127.0.0.1:{port}");
        let args = vec![format!("--port={port}"), setup.work_dir("master")?];
        setup.add(common, "master", "master", args)?;
        let mut args =
            vec![format!("--master=127.0.0.1:{port}"), format!("--port={}", ports::free()?), setup.work_dir("agent")?];
        args.extend_from_slice(agent);
        setup.add(common, "agent", "agent", args)?;
        setup.until_ready(1).await?;
        Ok(setup)
    }

    /// nats-server, redis-server, allocator, registry, gateway, and so many agents as processes.
    pub(crate) async fn cluster(common: &Common, agents: usize, agent: &[String]) -> Result<Setup> {
        let mut setup = Setup::backends(common).await?;
        for service in ["allocator", "registry", "gateway"] {
            setup.service(common, service, service)?;
        }
        let bus = setup.bus_args();
        for number in 0..agents {
            let name = format!("agent-{number}");
            let mut args = bus.to_vec();
            args.extend([format!("--port={}", ports::free()?), setup.work_dir(&name)?]);
            args.extend_from_slice(agent);
            setup.add(common, "agent", &name, args)?;
        }
        setup.until_ready(agents).await?;
        Ok(setup)
    }

    /// nats-server and redis-server, two allocators, two registries and so many gateways, each a process that
    /// waits for what is not there yet.
    pub(crate) async fn redundant(common: &Common, gateways: usize) -> Result<Setup> {
        let mut setup = Setup::backends(common).await?;
        for (service, count) in [("allocator", 2), ("registry", 2), ("gateway", gateways)] {
            for number in 0..count {
                setup.service(common, service, &format!("{service}-{number}"))?;
            }
        }
        setup.until_ready(0).await?;
        Ok(setup)
    }

    /// nats-server and redis-server only.
    pub(crate) async fn backends(common: &Common) -> Result<Setup> {
        let mut setup = Setup::empty(common)?;
        let (nats, redis) = (ports::free()?, ports::free()?);
        setup.cluster.add(backends::nats(setup.cluster.directory(), nats)?)?;
        setup.cluster.add(backends::redis(setup.cluster.directory(), redis)?)?;
        for port in [nats, redis] {
            let listens = async || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
            eventually(START_MAX, &format!("something listens on port {port}"), listens).await?;
        }
        setup.nats_url = format!("nats://127.0.0.1:{nats}");
        setup.redis_url = format!("redis://127.0.0.1:{redis}");
        Ok(setup)
    }

    /// One more `allocator`, `registry` or `gateway`.
    pub(crate) fn service(&mut self, common: &Common, service: &str, name: &str) -> Result<()> {
        let mut args = self.bus_args();
        args.extend([format!("--redis-url={}", self.redis_url), "--wait".to_owned()]);
        if service == "gateway" {
            let port = ports::free()?;
            args.push(format!("--port={port}"));
            self.gateways.push(format!("http://127.0.0.1:{port}"));
            self.url = self.gateways[0].clone();
        }
        self.add(common, service, name, args)
    }

    fn bus_args(&self) -> Vec<String> {
        vec![format!("--nats-url={}", self.nats_url), format!("--cluster={}", self.name)]
    }

    /// Simulated agents with the same resources, once all of them are registered; and their connection.
    pub(crate) async fn simulate(&self, count: usize, resources: &str, life: Life) -> Result<(Agents, Arc<NatsBus>)> {
        let nats = NatsOptions { name: "mesos-bench".to_owned(), limits: Limits::default(), ..NatsOptions::default() };
        let nats = Arc::new(NatsBus::connect(&self.nats_url, nats).await?);
        let resources = resources_text::parse(resources, "*").map_err(anyhow::Error::msg)?;
        let bus: Arc<dyn Bus> = nats.clone();
        let start = Instant::now();
        let agents = Agents::start(bus, Subjects::new(&self.name), count, &resources, life).await?;
        self.until_agents(count).await?;
        eprintln!("   {count} agents are registered after {:.1} s", start.elapsed().as_secs_f64());
        Ok((agents, nats))
    }

    /// The store, to look at and to fill.
    pub(crate) async fn store(&self) -> Result<RedisStore> {
        Ok(RedisStore::connect(&self.redis_url, &self.name, RedisOptions::default()).await?)
    }

    /// Which process leads a service: its name and the UUID of its term, once that has said that it leads.
    pub(crate) async fn leader(&self, store: &RedisStore, service: &'static str) -> Result<(String, String)> {
        mesos_e2e::wait::eventually_some(START_MAX, &format!("one {service} leads"), async || {
            let Some(head) = store.head(service).await? else { return Ok(None) };
            let term = head.leader.to_string();
            let leads = |name: &String| name.starts_with(service) && self.said_leading(name).contains(&term);
            Ok(self.cluster.names().into_iter().find(leads).map(|name| (name, term)))
        })
        .await
    }

    /// The lines of a process's log that say that it leads.
    pub(crate) fn said_leading(&self, name: &str) -> String {
        let log = self.cluster.log(name).unwrap_or_default();
        let lines = log.lines().filter(|line| line.contains("leading") && line.contains("leader"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// SIGTERM, and waits until it is over.
    pub(crate) async fn terminate(&self, name: &str) -> Result<()> {
        self.cluster.terminate(name, START_MAX).await.map(drop)
    }

    /// Where everything is written.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.cluster.directory()
    }

    /// All processes by name.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let names = self.cluster.names();
        names.into_iter().filter_map(|name| self.cluster.pid(&name).ok().map(|pid| (name, pid))).collect()
    }

    /// SIGKILL.
    pub(crate) fn kill_9(&self, name: &str) -> Result<()> {
        self.cluster.kill_9(name)
    }

    /// Starts a killed process again.
    pub(crate) fn restart(&self, name: &str) -> Result<()> {
        self.cluster.restart(name)
    }

    /// Waits until the gateway serves and knows so many active agents.
    pub(crate) async fn until_ready(&self, agents: usize) -> Result<()> {
        let ready = eventually(START_MAX, "the gateway is ready", async || {
            self.must_run()?;
            let answer = http().get(format!("{}/ready", self.url)).timeout(Duration::from_secs(5)).send().await?;
            Ok(answer.status() == reqwest::StatusCode::OK)
        });
        ready.await?;
        self.until_agents(agents).await
    }

    /// Waits until the gateway knows so many active agents.
    pub(crate) async fn until_agents(&self, agents: usize) -> Result<()> {
        eventually(START_MAX, &format!("{agents} agents are active"), async || {
            self.must_run()?;
            let url = format!("{}/slaves", self.url);
            let text = http().get(url).timeout(Duration::from_secs(5)).send().await?.text().await?;
            let answer: serde_json::Value = serde_json::from_str(&text).context("not JSON")?;
            let list = answer["slaves"].as_array().context("no list of agents")?;
            let active = list.iter().filter(|agent| agent["active"] == true).count();
            if active != agents {
                bail!("{active} are active");
            }
            Ok(true)
        })
        .await
    }

    /// Ends everything; fails if a process panicked or is over already.
    pub(crate) fn finish(self) -> Result<()> {
        self.must_run()?;
        if self.keep {
            eprintln!("logs and work directories are kept in {}", self.cluster.directory().display());
            return Ok(());
        }
        self.cluster.finish()
    }

    /// Fails if a process is over.
    pub(crate) fn must_run(&self) -> Result<()> {
        self.cluster.names().iter().try_for_each(|name| self.cluster.with(name, mesos_e2e::process::Process::must_run))
    }

    fn work_dir(&self, name: &str) -> Result<String> {
        let path = self.cluster.directory().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(format!("--work-dir={}", path.display()))
    }

    fn add(&self, common: &Common, service: &str, name: &str, mut args: Vec<String>) -> Result<()> {
        args.insert(0, service.to_owned());
        args.extend(common.log_level.iter().map(|level| format!("--log-level={level}")));
        self.cluster.add(Spec {
            name: name.to_owned(),
            program: binary(common)?,
            args,
            env: [("TMPDIR".to_owned(), self.cluster.directory().display().to_string())].into(),
            log: self.cluster.directory().join(format!("{name}.log")),
        })
    }
}

/// An agent's options for load that is about the control plane: plenty of everything.
pub(crate) fn host(containerizer: &str) -> Vec<String> {
    vec![
        format!("--containerizers={containerizer}"),
        "--resources=cpus:96;mem:65536;disk:10000;ports:[31000-32000]".to_owned(),
    ]
}

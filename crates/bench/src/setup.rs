//! Starts and stops what is measured: `mesos local`, a master with an agent, or a whole cluster.

use std::{
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use mesos_e2e::{Cluster, backends, eventually, http, ports, process::Spec};

use crate::options::Common;

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
    keep: bool,
}

impl Setup {
    fn empty(common: &Common) -> Result<Setup> {
        let cluster = Cluster::empty()?;
        let name =
            cluster.directory().file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        Ok(Setup { cluster, name, url: String::new(), nats_url: String::new(), keep: common.keep })
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
        let mut setup = Setup::empty(common)?;
        let (nats, redis, gateway) = (ports::free()?, ports::free()?, ports::free()?);
        setup.cluster.add(backends::nats(setup.cluster.directory(), nats)?)?;
        setup.cluster.add(backends::redis(setup.cluster.directory(), redis)?)?;
        for port in [nats, redis] {
            let listens = async || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
            eventually(START_MAX, &format!("something listens on port {port}"), listens).await?;
        }
        setup.nats_url = format!("nats://127.0.0.1:{nats}");
        setup.url = format!("http://127.0.0.1:{gateway}");
        let bus = [format!("--nats-url={}", setup.nats_url), format!("--cluster={}", setup.name)];
        for service in ["allocator", "registry", "gateway"] {
            let mut args = bus.to_vec();
            args.push(format!("--redis-url=redis://127.0.0.1:{redis}"));
            if service == "gateway" {
                args.push(format!("--port={gateway}"));
            }
            setup.add(common, service, service, args)?;
        }
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

    /// The cluster's name on the bus.
    pub(crate) fn name(&self) -> &str {
        &self.name
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

    fn must_run(&self) -> Result<()> {
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

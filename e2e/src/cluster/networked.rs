//! A cluster on a network of its own: each process on a host, and Redis as three servers that Sentinels watch.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Cluster, ClusterBuilder, listens};
use crate::backends;
use crate::link::Link;
use crate::network::Network;
use crate::wait::eventually;

/// Redis servers, and as many Sentinels.
const REDIS: usize = 3;
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const NATS_PORT: u16 = 4222;
const GATEWAY_PORT: u16 = 5050;
/// For what answers on its host's loopback only.
const OWN_PORT: u16 = 9090;
/// What the Sentinels call the primary.
const PRIMARY: &str = "chaos";
/// For three servers to find each other.
const REPLICATED: Duration = Duration::from_secs(30);

/// Where a process of a cluster on a network is.
pub(super) struct Seat {
    pub(super) host: String,
    /// What it listens on.
    pub(super) port: u16,
    /// Where the load reaches it.
    pub(super) address: SocketAddr,
}

impl ClusterBuilder {
    /// Everything on hosts of this network, which must have a host `load` for the test itself; with
    /// [`docker_links`](Self::docker_links), as Docker is no host.
    pub fn network(mut self, network: Arc<Network>) -> Self {
        self.docker_links = true;
        self.network = Some(network);
        self
    }
}

/// As many hosts as there are Redis servers.
fn hosts(network: &Network, kind: &str, port: u16) -> Result<Vec<(String, SocketAddr)>> {
    let names = (0..REDIS).map(|number| format!("{kind}-{number}"));
    names.map(|name| network.add(&name).map(|address| (name, SocketAddr::from((address, port))))).collect()
}

impl Cluster {
    /// Starts NATS, the Redis servers and their Sentinels on hosts of this network, and waits until all know each other.
    pub(super) async fn start_backends_on(&mut self, network: &Arc<Network>) -> Result<()> {
        self.network = Some(network.clone());
        let nats = SocketAddr::from((network.add("nats")?, NATS_PORT));
        self.nats_url = format!("nats://{nats}");
        self.add_on("nats", backends::nats_on(&self.directory, nats)?)?;
        let servers: Vec<(String, SocketAddr)> = hosts(network, "redis", REDIS_PORT)?;
        let primary = servers[0].1;
        for (name, address) in &servers {
            let follows = Some(primary).filter(|primary| primary != address);
            let mut spec = backends::redis_of_several(&self.directory, name, *address, follows)?;
            let clock = backends::go_by_clock(&mut spec, &self.directory)?;
            self.clocks.insert(name.clone(), clock);
            self.add_on(name, spec)?;
            listens(name, *address).await?;
        }
        eventually(REPLICATED, "both replicas follow", async || {
            Ok(backends::command(primary, &["INFO", "replication"])?.matches("state=online").count() == REDIS - 1)
        })
        .await?;
        self.redis = servers.into_iter().collect();
        self.sentinels = hosts(network, "sentinel", SENTINEL_PORT)?;
        for (name, address) in self.sentinels.clone() {
            let spec = backends::sentinel(&self.directory, &name, address, PRIMARY, primary)?;
            self.add_on(&name, spec)?;
            listens(&name, address).await?;
        }
        let known = format!("num-other-sentinels\r\n$1\r\n{}", REDIS - 1);
        eventually(REPLICATED, "the Sentinels know each other and the replicas", async || {
            for (_, address) in &self.sentinels {
                let answer = backends::command(*address, &["SENTINEL", "MASTER", PRIMARY])?;
                if !answer.contains(&known) || !answer.contains(&format!("num-slaves\r\n$1\r\n{}", REDIS - 1)) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
        let sentinels: Vec<String> = self.sentinels.iter().map(|(_, address)| address.to_string()).collect();
        self.redis_url = format!("redis+sentinel://{}/{PRIMARY}", sentinels.join(","));
        Ok(())
    }

    /// The address at which processes reach the test itself.
    pub(super) fn own_address(&self) -> Result<Ipv4Addr> {
        self.network.as_ref().map_or(Ok(Ipv4Addr::LOCALHOST), |network| network.address("load"))
    }

    /// A host for a service, where there is a network. What listens on loopback only is reached through its host.
    pub(super) fn seat(&self, service: &str, name: &str) -> Result<Option<Seat>> {
        let Some(network) = &self.network else { return Ok(None) };
        let address = network.add(name)?;
        let port = if service == "gateway" { GATEWAY_PORT } else { OWN_PORT };
        network.open_loopback(name, port)?;
        Ok(Some(Seat { host: name.to_owned(), port, address: (address, port).into() }))
    }

    /// Starts a process on a host.
    pub(super) fn add_on(&self, host: &str, spec: crate::process::Spec) -> Result<()> {
        match &self.network {
            Some(network) => self.add(spec.within(&network.namespace(host))),
            None => self.add(spec),
        }
    }

    /// The names of the Redis servers on the network.
    pub fn redis_servers(&self) -> Vec<String> {
        self.redis.keys().cloned().collect()
    }

    /// The Redis server that is the primary, as the first Sentinel says that answers.
    pub fn redis_primary(&self) -> Result<String> {
        let ask = ["SENTINEL", "get-master-addr-by-name", PRIMARY];
        let said: Vec<String> =
            self.sentinels.iter().filter_map(|(_, address)| backends::command(*address, &ask).ok()).collect();
        let is_named = |ip: Ipv4Addr| said.first().is_some_and(|answer| answer.contains(&format!("\r\n{ip}\r\n")));
        let named = self.redis.iter().find(|(_, address)| matches!(address, SocketAddr::V4(v4) if is_named(*v4.ip())));
        named.map(|(name, _)| name.clone()).context("no Sentinel names a primary")
    }

    /// Has the Sentinels choose another primary now. False if they do not want to.
    pub fn fail_over(&self) -> bool {
        let ask = ["SENTINEL", "FAILOVER", PRIMARY];
        self.sentinels.iter().any(|(_, address)| backends::command(*address, &ask).is_ok())
    }

    /// Sets the wall clock of a Redis server so far off the machine's, also while it runs. All deadlines of a cluster
    /// are in the time of its store. Other processes' clocks stay as they are: a static program cannot be preloaded.
    pub fn set_clock(&self, server: &str, off_millis: i64) -> Result<()> {
        let clock = self.clocks.get(server).with_context(|| format!("{server} has no clock of its own"))?;
        // The file is mapped: it must never be empty.
        let file = OpenOptions::new().write(true).open(clock)?;
        Ok(file.write_all_at(&(off_millis * 1_000_000).to_ne_bytes(), 0)?)
    }

    /// The connections of agents to Docker, by agent, where there are any.
    pub fn docker_links(&self) -> &BTreeMap<String, Link> {
        &self.docker_links
    }

    /// The network on whose hosts this cluster is.
    pub fn network(&self) -> Result<&Network> {
        match &self.network {
            Some(network) => Ok(network),
            None => bail!("this cluster was started without a network"),
        }
    }
}

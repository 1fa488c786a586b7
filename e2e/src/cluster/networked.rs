//! A cluster on a network of its own: each process on a host, NATS as three servers with routes between them, and Redis
//! as three servers that Sentinels watch.

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

/// NATS servers, Redis servers, and Sentinels.
const SERVERS: usize = 3;
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

/// As many hosts as there are servers of a kind.
fn hosts(network: &Network, kind: &str, port: u16) -> Result<Vec<(String, SocketAddr)>> {
    let names = (0..SERVERS).map(|number| format!("{kind}-{number}"));
    names.map(|name| network.add(&name).map(|address| (name, SocketAddr::from((address, port))))).collect()
}

impl Cluster {
    /// Starts NATS, the Redis servers and their Sentinels on hosts of this network, and waits until all know each other.
    pub(super) async fn start_backends_on(&mut self, network: &Arc<Network>) -> Result<()> {
        self.network = Some(network.clone());
        let nats = hosts(network, "nats", NATS_PORT)?;
        let addresses: Vec<SocketAddr> = nats.iter().map(|(_, address)| *address).collect();
        self.nats_url = addresses.iter().map(|address| format!("nats://{address}")).collect::<Vec<_>>().join(",");
        for (name, address) in &nats {
            self.add_on(name, backends::nats_of_several(&self.directory, name, *address, &addresses)?)?;
            listens(name, *address).await?;
        }
        self.nats = nats.into_iter().collect();
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
            Ok(backends::command(primary, &["INFO", "replication"])?.matches("state=online").count() == SERVERS - 1)
        })
        .await?;
        self.redis = servers.into_iter().collect();
        self.sentinels = hosts(network, "sentinel", SENTINEL_PORT)?;
        for (name, address) in self.sentinels.clone() {
            let spec = backends::sentinel(&self.directory, &name, address, PRIMARY, primary)?;
            self.add_on(&name, spec)?;
            listens(&name, address).await?;
        }
        let known = format!("num-other-sentinels\r\n$1\r\n{}", SERVERS - 1);
        eventually(REPLICATED, "the Sentinels know each other and the replicas", async || {
            for (_, address) in &self.sentinels {
                let answer = backends::command(*address, &["SENTINEL", "MASTER", PRIMARY])?;
                if !answer.contains(&known) || !answer.contains(&format!("num-slaves\r\n$1\r\n{}", SERVERS - 1)) {
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

    /// Has another Redis server take over from this one with all that this one has, if it is the primary; as
    /// `redis-leave.sh` of the chart does it.
    pub async fn hand_over(&self, server: &str) -> Result<()> {
        let address = self.server(server)?;
        let replication = || backends::command(address, &["INFO", "replication"]);
        if !replication()?.contains("role:master") {
            return Ok(());
        }
        backends::command(address, &["CONFIG", "SET", "min-replicas-to-write", "100"])?;
        let number = |line: &str, name: &str| line.split_once(name)?.1.split([',', '\r']).next()?.parse::<u64>().ok();
        let said = replication()?;
        let all = said.lines().find_map(|line| number(line, "master_repl_offset:")).context("no offset")?;
        eventually(REPLICATED, &format!("the replicas have all of {server}"), async || {
            let said = replication()?;
            let offsets = said.lines().filter(|line| line.contains("state=online"));
            Ok(offsets.filter_map(|line| number(line, "offset=")).filter(|has| *has >= all).count() == SERVERS - 1)
        })
        .await?;
        let mut asked = false;
        eventually(REPLICATED, &format!("the Sentinels follow another than {server}"), async || {
            let followed = format!("\r\n{}\r\n", address.ip());
            let ask = ["SENTINEL", "get-master-addr-by-name", PRIMARY];
            let said: Vec<String> =
                self.sentinels.iter().filter_map(|(_, sentinel)| backends::command(*sentinel, &ask).ok()).collect();
            if !said.is_empty() && said.iter().all(|answer| !answer.contains(&followed)) {
                return Ok(true);
            }
            // Once: a second failover takes what is written in between from the first server that was chosen.
            asked = asked || self.fail_over();
            Ok(false)
        })
        .await
    }

    /// Waits until a server of NATS takes connections.
    pub async fn answers(&self, server: &str) -> Result<()> {
        listens(server, self.server(server)?).await
    }

    /// Waits until all Sentinels answer, and name the same primary.
    pub async fn sentinels_agree(&self) -> Result<()> {
        eventually(REPLICATED, "the Sentinels agree", async || {
            let ask = |(_, sentinel): &(String, SocketAddr)| {
                backends::command(*sentinel, &["SENTINEL", "get-master-addr-by-name", PRIMARY])
            };
            let said: Vec<String> = self.sentinels.iter().map(ask).collect::<Result<_>>()?;
            Ok(said.iter().all(|answer| *answer == said[0]))
        })
        .await
    }

    /// Has a Redis server that was started again follow the primary, and waits until it has all that this one has.
    pub async fn catch_up(&self, server: &str) -> Result<()> {
        eventually(REPLICATED, &format!("{server} has all that the primary has"), async || {
            let (address, primary) = (self.server(server)?, self.server(&self.redis_primary()?)?);
            if address == primary {
                return Ok(true);
            }
            let (ip, port) = (primary.ip().to_string(), primary.port().to_string());
            let info = backends::command(address, &["INFO", "replication"])?;
            if !info.contains(&format!("master_host:{ip}\r\n")) {
                backends::command(address, &["REPLICAOF", &ip, &port])?;
            }
            Ok(info.contains("master_link_status:up"))
        })
        .await
    }

    fn server(&self, name: &str) -> Result<SocketAddr> {
        let sentinel = || Some(self.sentinels.iter().find(|(sentinel, _)| sentinel == name)?.1);
        let found = self.nats.get(name).or_else(|| self.redis.get(name)).copied().or_else(sentinel);
        found.with_context(|| format!("there is no server {name}"))
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

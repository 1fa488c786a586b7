//! Hosts as network namespaces on one bridge, and what can go wrong between them: cables that are pulled, packets that
//! are dropped in one direction or both, or now and then, and slow lines.
//!
//! Nothing of it is in the machine's own network: the bridge is in a namespace of its own, and who speaks to these hosts
//! does it from one of them ([`Network::run_on`]). All of it needs root.
//!
//! `netem` would delay packets and lose them, but many kernels do not have it. So packets are lost by netfilter, which
//! Docker needs too, and what is slow is a line with few bits a second (`tbf`), whose queue is the delay.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::HostProcess;

/// Where `ip netns` keeps the names.
const NAMES: &str = "/run/netns";
/// How all of ours begin; then come the process and when it started, so that what a dead one left is known as such.
const PREFIX: &str = "mesos-e2e-";
/// The namespace that has nothing but the bridge.
const HUB: &str = "hub";
const BRIDGE: &str = "bridge";
/// Hosts of one network.
const HOSTS_MAX: usize = 250;

static NETWORKS: AtomicU8 = AtomicU8::new(0);

/// A network; it is gone when this is dropped, with all that still runs on its hosts.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    number: u8,
    hosts: Mutex<BTreeMap<String, Ipv4Addr>>,
}

/// What is wrong between hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The cable of a host is pulled.
    Unplugged(String),
    /// Nothing that the first one sends reaches the second.
    OneWay(String, String),
    /// Nothing passes between the two.
    Cut(String, String),
    /// Every third packet between the two is lost.
    Lossy(String, String),
    /// What a host sends goes out slowly, and is dropped beyond half a second of waiting.
    Slow(String),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::Unplugged(host) => write!(f, "unplug {host}"),
            Damage::OneWay(from, to) => write!(f, "drop what {from} sends to {to}"),
            Damage::Cut(one, other) => write!(f, "cut {one} from {other}"),
            Damage::Lossy(one, other) => write!(f, "lose packets between {one} and {other}"),
            Damage::Slow(host) => write!(f, "slow {host} down"),
        }
    }
}

impl Network {
    /// A network without hosts. Removes first what dead test processes have left behind.
    pub fn new() -> Result<Network> {
        remove_left_behind();
        let id = std::process::id();
        let started = HostProcess::of(id).context("no /proc")?.started;
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let network = Network { prefix: format!("{PREFIX}{id}-{started}-{number}-"), number, hosts: Mutex::default() };
        ip(&["netns", "add", &network.name(HUB)]).context("network namespaces need root and iproute2")?;
        network.on(HUB, "ip", &["link", "add", BRIDGE, "type", "bridge"])?;
        network.on(HUB, "ip", &["link", "set", BRIDGE, "up"])?;
        Ok(network)
    }

    /// One more host; its address. There must be none of that name, which may have 15 bytes.
    pub fn add(&self, host: &str) -> Result<Ipv4Addr> {
        let address = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            if host == HUB || hosts.len() >= HOSTS_MAX || hosts.contains_key(host) {
                bail!("there cannot be one more host {host}");
            }
            let address = Ipv4Addr::new(10, 77, self.number, u8::try_from(hosts.len() + 1)?);
            hosts.insert(host.to_owned(), address);
            address
        };
        let name = self.name(host);
        ip(&["netns", "add", &name])?;
        self.on(HUB, "ip", &["link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
        self.on(HUB, "ip", &["link", "set", host, "master", BRIDGE, "up"])?;
        self.on(host, "ip", &["link", "set", "lo", "up"])?;
        self.on(host, "ip", &["address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        self.on(host, "ip", &["link", "set", "eth0", "up"])?;
        Ok(address)
    }

    /// The address of a host.
    pub fn address(&self, host: &str) -> Result<Ipv4Addr> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(host).copied().with_context(|| format!("there is no host {host}"))
    }

    /// The names of all hosts.
    pub fn hosts(&self) -> Vec<String> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The namespace of a host, for [`crate::process::Spec::namespace`].
    pub fn namespace(&self, host: &str) -> PathBuf {
        PathBuf::from(NAMES).join(self.name(host))
    }

    /// A port of a host leads to the same one of its loopback: a gateway without certificates listens nowhere else.
    pub fn open_loopback(&self, host: &str, port: u16) -> Result<()> {
        let (address, port) = (self.address(host)?.to_string(), port.to_string());
        let to = format!("{}:{port}", Ipv4Addr::LOCALHOST);
        self.on(host, "sh", &["-c", "echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet"])?;
        let rule = ["-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-d", &address, "--dport", &port, "-j", "DNAT"];
        self.on(host, "iptables", &[&["-w"], rule.as_slice(), &["--to-destination", &to]].concat())
    }

    /// Does this damage.
    pub fn damage(&self, what: &Damage) -> Result<()> {
        self.change(what, true)
    }

    /// Repairs it.
    pub fn repair(&self, what: &Damage) -> Result<()> {
        self.change(what, false)
    }

    fn change(&self, what: &Damage, broken: bool) -> Result<()> {
        match what {
            Damage::Unplugged(host) => self.on(HUB, "ip", &["link", "set", host, if broken { "down" } else { "up" }]),
            Damage::OneWay(from, to) => self.drop(from, to, &[], broken),
            Damage::Cut(one, other) => {
                self.drop(one, other, &[], broken)?;
                self.drop(other, one, &[], broken)
            }
            Damage::Lossy(one, other) => {
                let third = ["-m", "statistic", "--mode", "random", "--probability", "0.33"];
                self.drop(one, other, &third, broken)?;
                self.drop(other, one, &third, broken)
            }
            Damage::Slow(host) if broken => {
                let line = ["rate", "400kbit", "burst", "4kb", "latency", "500ms"];
                self.on(host, "tc", &[&["qdisc", "replace", "dev", "eth0", "root", "tbf"], line.as_slice()].concat())
            }
            Damage::Slow(host) => self.on(host, "tc", &["qdisc", "del", "dev", "eth0", "root"]),
        }
    }

    /// Packets are dropped where they arrive, so that who sends them notices nothing.
    fn drop(&self, from: &str, to: &str, which: &[&str], broken: bool) -> Result<()> {
        let from = self.address(from)?.to_string();
        let rule = ["-w", if broken { "-A" } else { "-D" }, "INPUT", "-s", &from];
        self.on(to, "iptables", &[rule.as_slice(), which, &["-j", "DROP"]].concat())
    }

    /// Runs something to its end on a runtime whose threads are on a host, in a thread of its own. What it starts
    /// without a namespace of its own is there too.
    pub fn run_on<T: Send>(&self, host: &str, what: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = File::open(self.namespace(host)).with_context(|| format!("there is no host {host}"))?;
        let enter = move || setns(&namespace, CloneFlags::CLONE_NEWNET);
        let work = move || {
            enter().context("a thread cannot go to another namespace")?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                // One that cannot go there has no connection to any host, which is seen soon enough.
                .on_thread_start(move || {
                    let _ = enter();
                })
                .build()?;
            runtime.block_on(what())
        };
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn name(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    fn on(&self, host: &str, program: &str, args: &[&str]) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace(host).display())).arg(program).args(args);
        run(command).with_context(|| format!("on {host}: {program} {}", args.join(" ")))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(|name| name.starts_with(&self.prefix));
    }
}

/// What test processes left behind that were killed before they could tidy up.
fn remove_left_behind() {
    remove(|name| {
        let mut words = name.strip_prefix(PREFIX).unwrap_or_default().split('-');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(pid), Some(started)) = (number(), number()) else { return false };
        let lives = u32::try_from(pid).ok().and_then(HostProcess::of).is_some_and(|process| process.started == started);
        !lives
    });
}

/// Removes namespaces with all that runs in them.
fn remove(which: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(NAMES).into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().map(str::to_owned).filter(|name| which(name)) else { continue };
        let pids = Command::new("ip").args(["netns", "pids", &name]).output();
        let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for pid in pids.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()) {
            if u32::try_from(pid).is_ok_and(|pid| pid != std::process::id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = ip(&["netns", "delete", &name]);
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(args);
    run(command).with_context(|| format!("ip {}", args.join(" ")))
}

fn run(mut command: Command) -> Result<()> {
    let output = command.output().context("it did not start")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

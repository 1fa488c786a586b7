//! How nats-server, redis-server and Jaeger are found and started.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::Spec;

/// Where nats-servers that are several hear each other.
const ROUTE_PORT: u16 = 6222;
/// How long a Redis may take for a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// Where `scripts/setup` keeps what it installs.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("MESOS_CACHE").map_or_else(|| PathBuf::from("/var/cache/mesos-e2e"), PathBuf::from)
}

/// The first that is there: the variable, the cache, the PATH.
fn find(variable: &str, in_cache: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!("{variable} is {}, which is not a file", path.display());
    }
    let cached = cache().join(in_cache);
    if cached.is_file() {
        return Ok(cached);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| anyhow::anyhow!("{name} is not here; run scripts/setup, or set {variable}"))
}

/// The `mesos` binary: MESOS_BIN, or what cargo built last, release before debug.
pub fn mesos_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MESOS_BIN").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!("MESOS_BIN is {}, which is not a file", path.display());
    }
    let root = repository();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    ["release/mesos", "debug/mesos"]
        .iter()
        .map(|binary| target.join(binary))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| anyhow::anyhow!("no mesos binary below {}; run `scripts/static`", target.display()))
}

/// The Python with the packages that client scripts use.
pub fn python() -> Result<PathBuf> {
    find("PYTHON", "venv/bin/python", "python3")
}

/// What checks the Terraform code for what is unsafe.
pub fn checkov() -> Result<PathBuf> {
    find("CHECKOV", "terraform/venv/bin/checkov", "checkov")
}

/// What checks shell scripts.
pub fn shellcheck() -> Result<PathBuf> {
    find("SHELLCHECK", "terraform/venv/bin/shellcheck", "shellcheck")
}

/// The Mesos client in Go that `scripts/setup` builds.
pub fn msh() -> Result<PathBuf> {
    find("MSH", "bin/msh", "msh")
}

/// Ansible's `ansible-playbook`.
pub fn ansible_playbook() -> Result<PathBuf> {
    find("ANSIBLE_PLAYBOOK", "venv/bin/ansible-playbook", "ansible-playbook")
}

/// Terraform.
pub fn terraform() -> Result<PathBuf> {
    find("TERRAFORM", "bin/terraform", "terraform")
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program of NATS's server.
pub fn nats_server() -> Result<PathBuf> {
    find("NATS_SERVER", "venv/bin/nats-server", "nats-server")
}

/// nats-server on a loopback port, with nothing but its core.
pub fn nats(directory: &Path, port: u16) -> Result<Spec> {
    nats_on(directory, (Ipv4Addr::LOCALHOST, port).into())
}

/// The same on any address.
fn nats_on(directory: &Path, address: SocketAddr) -> Result<Spec> {
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    Ok(Spec {
        name: "nats".to_owned(),
        program: nats_server()?,
        args: ["-a", &ip, "-p", &port].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        log: directory.join("nats.log"),
    })
}

/// One of several nats-servers that pass on to each other what their clients say. As in the chart, clients know all of
/// them and are told of none.
pub fn nats_of_several(directory: &Path, name: &str, address: SocketAddr, routes: &[SocketAddr]) -> Result<Spec> {
    let route = |address: &SocketAddr| format!("nats://{}:{ROUTE_PORT}", address.ip());
    let routes: Vec<String> = routes.iter().map(route).collect();
    let mut spec = nats_on(directory, address)?;
    let words =
        ["--cluster_name", "e2e", "--cluster", &route(&address), "--routes", &routes.join(","), "--no_advertise"];
    spec.args.extend(words.map(str::to_owned));
    spec.args.extend(["--server_name", name].map(str::to_owned));
    spec.log = directory.join(format!("{name}.log"));
    spec.name = name.to_owned();
    Ok(spec)
}

/// redis-server on a loopback port, as production runs it: append-only file, synced every second, and
/// never evicting.
pub fn redis(directory: &Path, port: u16) -> Result<Spec> {
    let data = directory.join("redis");
    std::fs::create_dir_all(&data)?;
    let args = [
        ("--bind", "127.0.0.1".to_owned()),
        ("--port", port.to_string()),
        ("--dir", data.display().to_string()),
        ("--appendonly", "yes".to_owned()),
        ("--appendfsync", "everysec".to_owned()),
        ("--maxmemory-policy", "noeviction".to_owned()),
        ("--save", String::new()),
        ("--daemonize", "no".to_owned()),
    ];
    Ok(Spec {
        name: "redis".to_owned(),
        program: redis_server()?,
        args: args.into_iter().flat_map(|(key, value)| [key.to_owned(), value]).collect(),
        env: BTreeMap::new(),
        log: directory.join("redis.log"),
    })
}

/// One of several that Sentinels watch; they write into its configuration file whom it follows. It takes writes only
/// as long as a replica has heard from it within two seconds.
pub fn redis_of_several(
    directory: &Path,
    name: &str,
    address: SocketAddr,
    follows: Option<SocketAddr>,
) -> Result<Spec> {
    let follows = follows.map(|primary| format!("replicaof {} {}\n", primary.ip(), primary.port())).unwrap_or_default();
    let settings = format!(
        "appendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\nsave \"\"\n\
         repl-diskless-sync-delay 0\nrepl-timeout 5\nmin-replicas-to-write 1\nmin-replicas-max-lag 2\n{follows}"
    );
    server(directory, name, address, &settings, None)
}

/// Has a program go by a wall clock that can be stepped while it runs: what the file says, in nanoseconds, is added to
/// the system's. The program must be linked dynamically, which ours is not.
pub fn go_by_clock(spec: &mut Spec, directory: &Path) -> Result<PathBuf> {
    let library = directory.join("step.so");
    if !library.is_file() {
        let source = repository().join("e2e/clock/step.c");
        let made = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
        if !made.context("cc did not start; a C compiler is needed")?.success() {
            bail!("e2e/clock/step.c does not compile");
        }
    }
    let clock = directory.join(format!("{}.clock", spec.name));
    std::fs::write(&clock, 0_i64.to_ne_bytes())?;
    spec.env.insert("LD_PRELOAD".to_owned(), library.display().to_string());
    spec.env.insert("MESOS_E2E_CLOCK".to_owned(), clock.display().to_string());
    Ok(clock)
}

/// One of the Sentinels of a primary.
pub fn sentinel(directory: &Path, name: &str, address: SocketAddr, of: &str, primary: SocketAddr) -> Result<Spec> {
    let settings = format!(
        "sentinel monitor {of} {} {} 2\nsentinel down-after-milliseconds {of} 2000\n\
         sentinel failover-timeout {of} 8000\nsentinel parallel-syncs {of} 1\n",
        primary.ip(),
        primary.port()
    );
    server(directory, name, address, &settings, Some("--sentinel"))
}

/// A redis-server with a configuration file, which it may write to.
fn server(directory: &Path, name: &str, address: SocketAddr, settings: &str, more: Option<&str>) -> Result<Spec> {
    let data = directory.join(name);
    std::fs::create_dir_all(&data)?;
    let file = data.join("redis.conf");
    let place = format!("bind {}\nport {}\nprotected-mode no\n", address.ip(), address.port());
    std::fs::write(&file, format!("{place}dir {}\n{settings}", data.display()))?;
    Ok(Spec {
        name: name.to_owned(),
        program: redis_server()?,
        args: std::iter::once(file.display().to_string()).chain(more.map(str::to_owned)).collect(),
        env: BTreeMap::new(),
        log: directory.join(format!("{name}.log")),
    })
}

fn redis_server() -> Result<PathBuf> {
    find("REDIS_SERVER", "bin/redis-server", "redis-server")
}

/// Sends a command to a Redis; its answer as it was written, if one packet holds it.
pub fn command(address: SocketAddr, words: &[&str]) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, COMMAND_TIMEOUT)?;
    stream.set_read_timeout(Some(COMMAND_TIMEOUT))?;
    stream.write_all(format!("{}\r\n", words.join(" ")).as_bytes())?;
    let mut answer = vec![0; 64 << 10];
    let length = stream.read(&mut answer)?;
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    if text.starts_with('-') {
        bail!("{words:?}: {text}");
    }
    Ok(text)
}

/// The ports of Jaeger that tests speak to.
#[derive(Clone, Copy, Debug)]
pub struct JaegerPorts {
    /// OTLP over gRPC, where spans go in.
    pub otlp: u16,
    /// The query API over HTTP, where traces come out.
    pub query: u16,
}

/// Jaeger all-in-one in memory. Every port that it would open is moved to a free loopback one.
pub fn jaeger(directory: &Path, ports: JaegerPorts) -> Result<Spec> {
    let mut args = vec![
        format!("--collector.otlp.grpc.host-port=127.0.0.1:{}", ports.otlp),
        format!("--query.http-server.host-port=127.0.0.1:{}", ports.query),
    ];
    for option in [
        "--admin.http.host-port",
        "--collector.grpc-server.host-port",
        "--collector.http-server.host-port",
        "--collector.otlp.http.host-port",
        "--query.grpc-server.host-port",
    ] {
        args.push(format!("{option}=127.0.0.1:{}", crate::ports::free()?));
    }
    Ok(Spec {
        name: "jaeger".to_owned(),
        program: find("JAEGER", "bin/jaeger-all-in-one", "jaeger-all-in-one")?,
        args,
        env: BTreeMap::from([("SPAN_STORAGE_TYPE".to_owned(), "memory".to_owned())]),
        log: directory.join("jaeger.log"),
    })
}

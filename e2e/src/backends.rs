//! How nats-server, redis-server and Jaeger are found and started.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::process::Spec;

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
    Ok(Spec {
        name: "nats".to_owned(),
        program: nats_server()?,
        args: ["-a", "127.0.0.1", "-p"].map(str::to_owned).into_iter().chain([port.to_string()]).collect(),
        env: BTreeMap::new(),
        log: directory.join("nats.log"),
    })
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
        program: find("REDIS_SERVER", "bin/redis-server", "redis-server")?,
        args: args.into_iter().flat_map(|(key, value)| [key.to_owned(), value]).collect(),
        env: BTreeMap::new(),
        log: directory.join("redis.log"),
    })
}

/// A second Redis, which follows the first.
pub fn replica(directory: &Path, port: u16, primary: u16) -> Result<Spec> {
    let directory = directory.join("replica");
    std::fs::create_dir_all(&directory)?;
    let mut spec = redis(&directory, port)?;
    spec.name = "redis-1".to_owned();
    make_replica(&mut spec, primary);
    Ok(spec)
}

/// Has a Redis follow another one from its next start on.
pub fn make_replica(spec: &mut Spec, primary: u16) {
    if let Some(at) = spec.args.iter().position(|arg| arg == "--replicaof") {
        spec.args.truncate(at);
    }
    spec.args.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), primary.to_string()]);
}

/// Sends a command to a Redis on loopback; the first line of its answer, or all of a bulk text.
pub fn command(port: u16, words: &[&str]) -> Result<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    stream.write_all(format!("{}\r\n", words.join(" ")).as_bytes())?;
    let mut answer = vec![0; 64 << 10];
    let length = stream.read(&mut answer)?;
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    if text.starts_with('-') {
        bail!("{words:?}: {text}");
    }
    Ok(text)
}

/// Which of two leads.
pub fn leading(ports: [u16; 2]) -> Result<usize> {
    let leads = |port| command(port, &["INFO", "replication"]).is_ok_and(|text| text.contains("role:master"));
    ports.iter().position(|port| leads(*port)).ok_or_else(|| anyhow::anyhow!("no Redis leads"))
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

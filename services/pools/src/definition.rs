//! The file that says which pools there are (`--pools FILE`, `.json`, `.yaml` or `.toml`): `docs/elastic.md`.
//!
//! Everything is checked when it is read, so that what is wrong is said at the start, by its key, and nothing is begun.

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use mesos_model::{Resources, resources_text};
use mesos_runtime::config::parse_duration;
use serde::Deserialize;
use serde_json::Value;

use crate::machine::auto::Auto;

/// Pools of one file.
const POOLS_MAX: usize = 100;
/// The largest `max`, and the one of a pool that names none.
const MAX_MAX: u32 = 10_000;
const MAX_LOCAL: u32 = 8;
const MAX_OTHER: u32 = 100;
/// What a node of a local pool has if nobody says otherwise.
const LOCAL_RESOURCES: &str = "cpus:1;mem:1GB;disk:5GB";

/// One pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Where its hosts come from.
    pub kind: Kind,
    /// What a node has if nobody says otherwise; empty if nobody knows.
    pub resources: Resources,
    /// What agents take as their `--master`; absent is the gateway of the process that keeps the pool.
    pub master: Option<String>,
    /// Never fewer nodes, if it grows and shrinks by itself.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// How long a node that is away is waited for before it is given up without a drain.
    pub drain_timeout: Duration,
    /// How it grows and shrinks by itself; absent is not at all.
    pub auto: Option<Auto>,
}

/// Where a pool's hosts come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Agents on this host.
    Local(Local),
    /// The user's scripts.
    Exec(Exec),
    /// An Auto Scaling group.
    Aws(Aws),
}

impl Kind {
    /// As the file has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Local(_) => "local",
            Kind::Exec(_) => "exec",
            Kind::Aws(_) => "aws",
        }
    }
}

/// Agents on this host.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// Each node has a folder in here.
    pub dir: PathBuf,
    /// More options for each agent.
    pub agent_args: Vec<String>,
    /// What is left of a node that has gone is moved to `removed` in `dir` and not deleted.
    pub keep_work_dir: bool,
}

/// The user's scripts.
#[derive(Clone, Debug, PartialEq)]
pub struct Exec {
    /// Makes a host.
    pub add: PathBuf,
    /// Takes one away.
    pub remove: PathBuf,
    /// How long either may take.
    pub timeout: Duration,
}

/// An Auto Scaling group.
#[derive(Clone, Debug, PartialEq)]
pub struct Aws {
    /// Its name.
    pub group: String,
    /// Where it is, for example `eu-west-1`.
    pub region: String,
    /// The API's address, if it is not the region's own.
    pub endpoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPool {
    name: String,
    kind: String,
    resources: Option<String>,
    master: Option<String>,
    min: Option<u32>,
    max: Option<u32>,
    drain_timeout: Option<String>,
    auto: Option<RawAuto>,
    dir: Option<PathBuf>,
    agent_args: Option<Vec<String>>,
    keep_work_dir: Option<bool>,
    add: Option<PathBuf>,
    remove: Option<PathBuf>,
    timeout: Option<String>,
    group: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuto {
    target_cpus_percent: Option<u32>,
    cooldown: Option<String>,
    idle: Option<String>,
}

/// The pool of a master without a file: agents on its own host.
#[must_use]
pub fn default_pools(dir: &Path) -> Vec<Definition> {
    vec![Definition {
        name: "local".to_owned(),
        kind: Kind::Local(Local { dir: dir.join("local"), agent_args: Vec::new(), keep_work_dir: false }),
        resources: resources_text::parse(LOCAL_RESOURCES, "*").unwrap_or_default(),
        master: None,
        min: 0,
        max: MAX_LOCAL,
        drain_timeout: DRAIN_TIMEOUT,
        auto: None,
    }]
}

const DRAIN_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const COOLDOWN: Duration = Duration::from_secs(5 * 60);
const IDLE: Duration = Duration::from_secs(10 * 60);

/// Reads the file. Folders of local pools that name none are in `dir`; without it they must name one.
///
/// # Errors
/// Says in one line which key of which pool is wrong, and what would be right.
pub fn read(path: &Path, dir: Option<&Path>) -> Result<Vec<Definition>, String> {
    let wrong = |why: String| format!("--pools {}: {why}", path.display());
    if !path.is_file() {
        return Err(wrong("there is no such file".to_owned()));
    }
    let content: Value = config::Config::builder()
        .add_source(config::File::from(path))
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| wrong(error.to_string().replace('\n', " ")))?;
    pools(&content, dir).map_err(wrong)
}

fn pools(content: &Value, dir: Option<&Path>) -> Result<Vec<Definition>, String> {
    let entries = match content {
        Value::Object(keys) => match keys.keys().find(|key| *key != "pools") {
            Some(other) => {
                return Err(format!("{other}: there is no such key; expected pools: [{{name: …, kind: …}}]"));
            }
            None => keys.get("pools").and_then(Value::as_array),
        },
        _ => None,
    };
    let entries = entries.ok_or("expected pools: [{name: …, kind: …}]")?;
    if entries.is_empty() || entries.len() > POOLS_MAX {
        return Err(format!("pools: expected 1 to {POOLS_MAX}, there are {}", entries.len()));
    }
    let mut found: Vec<Definition> = Vec::new();
    let mut places = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let name = entry
            .get("name")
            .and_then(Value::as_str)
            .map_or_else(|| format!("pools[{at}]"), |name| format!("pool {name}"));
        let pool = pool(entry, dir).map_err(|why| format!("{name}: {why}"))?;
        if found.iter().any(|other| other.name == pool.name) {
            return Err(format!("{name}: name: another pool has it already"));
        }
        if !places.insert(place(&pool)) {
            return Err(format!("{name}: another pool has the same {}", place_key(&pool)));
        }
        found.push(pool);
    }
    Ok(found)
}

/// What no two pools may share, as each would take the other's nodes for its own.
fn place(pool: &Definition) -> (&'static str, String) {
    match &pool.kind {
        Kind::Local(local) => ("dir", local.dir.display().to_string()),
        Kind::Exec(_) => ("name", pool.name.clone()),
        Kind::Aws(aws) => ("group", format!("{}/{}", aws.region, aws.group)),
    }
}

fn place_key(pool: &Definition) -> &'static str {
    place(pool).0
}

fn pool(entry: &Value, dir: Option<&Path>) -> Result<Definition, String> {
    let raw: RawPool = serde_json::from_value(entry.clone()).map_err(|error| error.to_string())?;
    if !is_name(&raw.name) {
        return Err("name: expected 1 to 40 letters, digits, - or _".to_owned());
    }
    let kind = kind(&raw, dir)?;
    let resources = match (&raw.resources, &kind) {
        (Some(text), _) => read_resources(text).map_err(|why| format!("resources: {why}"))?,
        (None, Kind::Local(_)) => resources_text::parse(LOCAL_RESOURCES, "*")?,
        (None, _) => Resources::new(),
    };
    if let Some(master) = &raw.master {
        check_master(master, &kind)?;
    }
    let usual = if matches!(kind, Kind::Local(_)) { MAX_LOCAL } else { MAX_OTHER };
    let (min, max) = (raw.min.unwrap_or(0), raw.max.unwrap_or(usual));
    if max > MAX_MAX {
        return Err(format!("max: expected at most {MAX_MAX}"));
    }
    if min > max {
        return Err(format!("min: {min} is more than max, which is {max}"));
    }
    if min > 0 && raw.auto.is_none() {
        return Err("min: has a meaning only with auto".to_owned());
    }
    let drain_timeout = duration("drain_timeout", raw.drain_timeout.as_deref(), DRAIN_TIMEOUT)?;
    let auto = raw.auto.map(auto).transpose()?;
    if auto.is_some() && resources.scalar("cpus") <= 0 {
        return Err("resources: needed with auto, with cpus: what a node has, for example cpus:4;mem:16GB".to_owned());
    }
    Ok(Definition { name: raw.name, kind, resources, master: raw.master, min, max, drain_timeout, auto })
}

/// What an agent takes as its master: `host:port[,host:port]`.
fn check_master(master: &str, kind: &Kind) -> Result<(), String> {
    if matches!(kind, Kind::Aws(_)) {
        return Err("master: has no meaning for kind aws, whose user data names it".to_owned());
    }
    let is_address = |address: &str| {
        let address = address.trim();
        let address = address.split_once("://").map_or(address, |(_, rest)| rest);
        let port = address.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>().is_err()));
        port == Some((false, false)) && !address.contains(char::is_whitespace)
    };
    if master.split(',').all(is_address) { Ok(()) } else { Err("master: expected host:port[,host:port]".to_owned()) }
}

fn is_name(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Resources of a node as text: nothing reserved, amounts only.
///
/// # Errors
/// Says what is wrong with which.
pub fn read_resources(text: &str) -> Result<Resources, String> {
    let resources = resources_text::parse(text, "*")?;
    check_resources(&resources)?;
    Ok(resources)
}

/// The same for resources that were read already.
///
/// # Errors
/// Says what is wrong with which.
pub fn check_resources(resources: &Resources) -> Result<(), String> {
    match resources.iter().find(|one| one.qualifier.is_some() || !matches!(one.value, mesos_model::Value::Scalar(_))) {
        Some(one) => Err(format!("{}: a node has plain amounts, for example cpus:2;mem:4GB", one.name)),
        None => Ok(()),
    }
}

fn auto(raw: RawAuto) -> Result<Auto, String> {
    if raw.target_cpus_percent.is_some_and(|target| !(1..=100).contains(&target)) {
        return Err("auto.target_cpus_percent: expected 1 to 100".to_owned());
    }
    Ok(Auto {
        target_cpus_percent: raw.target_cpus_percent,
        cooldown: duration("auto.cooldown", raw.cooldown.as_deref(), COOLDOWN)?,
        idle: duration("auto.idle", raw.idle.as_deref(), IDLE)?,
    })
}

fn duration(key: &str, text: Option<&str>, usual: Duration) -> Result<Duration, String> {
    text.map_or(Ok(usual), |text| parse_duration(text).map_err(|why| format!("{key}: {why}")))
}

fn kind(raw: &RawPool, dir: Option<&Path>) -> Result<Kind, String> {
    let given = [
        ("dir", "local", raw.dir.is_some()),
        ("agent_args", "local", raw.agent_args.is_some()),
        ("keep_work_dir", "local", raw.keep_work_dir.is_some()),
        ("add", "exec", raw.add.is_some()),
        ("remove", "exec", raw.remove.is_some()),
        ("timeout", "exec", raw.timeout.is_some()),
        ("group", "aws", raw.group.is_some()),
        ("region", "aws", raw.region.is_some()),
        ("endpoint", "aws", raw.endpoint.is_some()),
    ];
    let kind = raw.kind.as_str();
    if !["local", "exec", "aws"].contains(&kind) {
        return Err(format!("kind: '{}' is none; there are local, exec and aws", kind.escape_debug()));
    }
    if let Some((key, of, _)) = given.iter().find(|(_, of, is_given)| *is_given && *of != kind) {
        return Err(format!("{key}: has a meaning only for kind {of}, and this is {kind}"));
    }
    match kind {
        "local" => {
            let own = raw.dir.clone().or_else(|| Some(dir?.join(&raw.name)));
            let dir = own.ok_or("dir: missing; name the folder for the agents' work directories")?;
            if !dir.is_absolute() {
                return Err(format!("dir: {} is not absolute", dir.display()));
            }
            Ok(Kind::Local(Local {
                dir,
                agent_args: raw.agent_args.clone().unwrap_or_default(),
                keep_work_dir: raw.keep_work_dir.unwrap_or(false),
            }))
        }
        "exec" => Ok(Kind::Exec(Exec {
            add: script("add", raw.add.as_deref())?,
            remove: script("remove", raw.remove.as_deref())?,
            timeout: duration("timeout", raw.timeout.as_deref(), SCRIPT_TIMEOUT)?,
        })),
        _ => {
            let group = raw.group.clone().filter(|group| !group.is_empty());
            let region = raw.region.clone().filter(|region| !region.is_empty());
            if let Some(endpoint) = raw.endpoint.as_deref()
                && (!(endpoint.starts_with("https://") || endpoint.starts_with("http://"))
                    || endpoint.parse::<http::Uri>().is_err())
            {
                return Err(
                    "endpoint: expected a URL, for example https://autoscaling.eu-west-1.amazonaws.com".to_owned()
                );
            }
            Ok(Kind::Aws(Aws {
                group: group.ok_or("group: missing; the name of the Auto Scaling group")?,
                region: region.ok_or("region: missing, for example eu-west-1")?,
                endpoint: raw.endpoint.as_deref().map(|url| url.trim_end_matches('/').to_owned()),
            }))
        }
    }
}

fn script(key: &str, path: Option<&Path>) -> Result<PathBuf, String> {
    let path = path.ok_or_else(|| format!("{key}: missing; the script that is run"))?;
    if !path.is_absolute() {
        return Err(format!("{key}: {} is not absolute", path.display()));
    }
    match std::fs::metadata(path) {
        Err(error) => Err(format!("{key}: {}: {error}", path.display())),
        Ok(found) if !found.is_file() => Err(format!("{key}: {} is no file", path.display())),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Err(format!("{key}: {} is not executable; run chmod +x {0}", path.display()))
        }
        Ok(_) => Ok(path.to_owned()),
    }
}

#[cfg(test)]
mod tests;

//! `mesos pki`: the folder with everything that a cluster needs to know who is who.
//!
//! # Layout
//! - [`kubernetes`]: the same files as Secrets of Kubernetes.

mod kubernetes;

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use mesos_identity::{
    authority, files,
    pki::{self, Cluster, FILES, Files, ROTATES},
};
use mesos_runtime::config::options::{CLUSTER, parse_cluster};

/// What `mesos pki` does.
#[derive(Args, Clone, Debug)]
#[command(after_help = after_help())]
pub(crate) struct PkiArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// Make keys, certificates, tokens and credentials for a cluster. Nothing is ever written over; a run that was
    /// cut short is finished by the next
    Init(InitArgs),
    /// Make some of it anew; services take the new files up without a restart
    Rotate(RotateArgs),
    /// Say what is there, and until when it is good
    Show(ShowArgs),
}

#[derive(Args, Clone, Debug)]
struct InitArgs {
    /// The folder
    #[arg(long, value_name = "DIR", required_unless_present = "kubernetes")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,

    /// Write Secrets through the API of the Kubernetes that this runs in, instead of files; Secrets that are there
    /// are kept
    #[arg(long, conflicts_with = "dir", requires = "secret_prefix")]
    kubernetes: bool,

    /// The namespace of the Secrets [default: the pod's own]
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    namespace: Option<String>,

    /// What the names of the Secrets begin with, for example mesos for mesos-ca, mesos-gateway and so on
    #[arg(long, value_name = "PREFIX", requires = "kubernetes")]
    secret_prefix: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct ClusterArgs {
    /// A name or address by which gateways, NATS and Redis are reached; say it once for each
    #[arg(long = "host", value_name = "NAME_OR_IP", required = true, num_args = 1..)]
    hosts: Vec<String>,

    /// Name of the cluster, as its services have it
    #[arg(long, value_name = "NAME", default_value = CLUSTER, value_parser = parse_cluster)]
    cluster: String,
}

#[derive(Args, Clone, Debug)]
struct RotateArgs {
    /// The folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// What to make anew: see below [default: the certificates of gateway, nats and redis, and operator-token]
    #[arg(value_name = "WHAT")]
    what: Vec<String>,

    /// Other names and addresses for the certificates [default: the ones that they have]
    #[arg(long = "host", value_name = "NAME_OR_IP", num_args = 1..)]
    hosts: Vec<String>,
}

#[derive(Args, Clone, Debug)]
struct ShowArgs {
    /// The folder
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// What is made anew if nobody says.
const ROTATE_DEFAULT: [&str; 4] = ["gateway", "nats", "redis", "operator-token"];
/// Where the name of a folder's cluster is kept.
const CLUSTER_FILE: &str = "cluster";

fn after_help() -> String {
    let mut text = "Files:\n".to_owned();
    for kind in FILES {
        text.push_str(&format!("  {:<20} {}\n", kind.name, kind.about));
    }
    text.push_str("\n`mesos pki rotate` makes anew:\n");
    for (name, about) in ROTATES {
        text.push_str(&format!("  {name:<20} {about}\n"));
    }
    text
}

/// Carries it out.
pub(crate) fn run(args: &PkiArgs) -> ExitCode {
    let outcome = match &args.action {
        Action::Init(init) if init.kubernetes => kubernetes::init(
            &cluster(&init.cluster),
            init.namespace.as_deref(),
            init.secret_prefix.as_deref().unwrap_or_default(),
        ),
        Action::Init(init) => init.dir.as_deref().map_or(Ok(()), |dir| make(dir, &cluster(&init.cluster))),
        Action::Rotate(rotate) => anew(rotate),
        Action::Show(show) => tell(&show.dir),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesos pki: {error}");
            ExitCode::FAILURE
        }
    }
}

fn cluster(args: &ClusterArgs) -> Cluster {
    Cluster { name: args.cluster.clone(), hosts: args.hosts.clone() }
}

fn make(dir: &Path, cluster: &Cluster) -> Result<(), String> {
    cluster
        .hosts
        .iter()
        .try_for_each(|host| authority::check_host(host))
        .map_err(|error| format!("--host: {error}"))?;
    let folder = || format!("--dir {}", dir.display());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| format!("{}: cannot be made: {error}", folder()))?;
    let mut there = read(dir)?;
    let known = cluster_of(dir)?;
    if known.as_ref().is_some_and(|known| *known != cluster.name) {
        return Err(format!("{}: it is for the cluster '{}'", folder(), known.unwrap_or_default()));
    }
    if FILES.iter().all(|kind| there.contains_key(kind.name)) {
        return Err(format!(
            "{}: everything is there already, and is not written over; `mesos pki rotate` makes it anew",
            folder()
        ));
    }
    if known.is_none() {
        files::write_new(&dir.join(CLUSTER_FILE), cluster.name.as_bytes(), files::PUBLIC).map_err(text)?;
    }
    let finished = !there.is_empty();
    let made = pki::complete(&mut there, cluster).map_err(text)?;
    for kind in FILES.iter().filter(|kind| made.contains(&kind.name)) {
        files::write_new(&dir.join(kind.name), there[kind.name].as_bytes(), kind.mode).map_err(text)?;
    }
    let ca = there.get("ca.crt").map(String::as_str).unwrap_or_default();
    let hash = authority::ders(ca).map(|ders| authority::hash(&ders[0])).map_err(text)?;
    println!("{} {} files in {}", if finished { "added" } else { "made" }, made.len(), dir.display());
    println!("the CA is {hash}");
    Ok(())
}

fn text(error: mesos_identity::Error) -> String {
    error.to_string()
}

/// The files of a folder that are there.
fn read(dir: &Path) -> Result<Files, String> {
    let there = FILES.iter().filter(|kind| dir.join(kind.name).exists());
    there.map(|kind| Ok((kind.name.to_owned(), files::read(&dir.join(kind.name)).map_err(text)?))).collect()
}

fn cluster_of(dir: &Path) -> Result<Option<String>, String> {
    let path = dir.join(CLUSTER_FILE);
    if !path.exists() {
        return Ok(None);
    }
    files::read(&path).map(|name| Some(name.trim().to_owned())).map_err(text)
}

/// The files of a folder that `init` made.
fn made(dir: &Path) -> Result<(Files, Cluster), String> {
    let files = read(dir)?;
    let name = cluster_of(dir)?.filter(|_| files.contains_key("ca.crt"));
    let name = name.ok_or_else(|| format!("--dir {}: `mesos pki init` has made nothing there", dir.display()))?;
    let hosts = files.get("gateway.crt").map(|pem| authority::hosts_of(pem)).transpose().map_err(text)?;
    Ok((files, Cluster { name, hosts: hosts.unwrap_or_default() }))
}

fn anew(args: &RotateArgs) -> Result<(), String> {
    let (mut there, mut cluster) = made(&args.dir)?;
    if !args.hosts.is_empty() {
        let checked = args.hosts.iter().try_for_each(|host| authority::check_host(host));
        checked.map_err(|error| format!("--host: {error}"))?;
        cluster.hosts.clone_from(&args.hosts);
    }
    let named: Vec<&str> = args.what.iter().map(String::as_str).collect();
    let what = if named.is_empty() { &ROTATE_DEFAULT[..] } else { &named[..] };
    let mut changed = Vec::new();
    // Nothing is written before all of it could be made.
    for what in what {
        changed.extend(pki::rotate(&mut there, &cluster, what).map_err(text)?);
    }
    for kind in FILES.iter().filter(|kind| changed.contains(&kind.name)) {
        files::write(&args.dir.join(kind.name), there[kind.name].as_bytes(), kind.mode).map_err(text)?;
        println!("{}", kind.name);
    }
    Ok(())
}

fn tell(dir: &Path) -> Result<(), String> {
    let (files, cluster) = made(dir)?;
    let ends = pki::ends(&files).map_err(text)?;
    println!("cluster {}, hosts {}", cluster.name, cluster.hosts.join(" "));
    let ca = authority::ders(&files["ca.crt"]).map_err(text)?;
    println!("the CA is {}", authority::hash(&ca[0]));
    for kind in FILES {
        let until = match ends.iter().find(|(name, _)| *name == kind.name) {
            Some((_, end)) => until(*end),
            None if files.contains_key(kind.name) => String::new(),
            None => "missing: mesos pki init makes it".to_owned(),
        };
        println!("{:<20} {until:<24} {}", kind.name, kind.about);
    }
    Ok(())
}

fn until(end: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(end);
    let word = if end <= mesos_identity::now() { "EXPIRED" } else { "until" };
    let text = humantime::format_rfc3339_seconds(time).to_string();
    format!("{word} {}", text.get(..16).unwrap_or(&text))
}

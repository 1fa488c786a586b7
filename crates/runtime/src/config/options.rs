//! Options that every role has.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::telemetry::{LogFormat, TelemetryOptions};

/// What makes a gateway's door safe to open to others.
#[derive(Args, Clone, Debug, Default)]
pub struct DoorArgs {
    /// The CA of the cluster: a client may show a certificate that it signed
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,

    /// The key of that CA, which signs agents' certificates
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    pub ca_key: Option<PathBuf>,

    /// The key (Ed25519, PKCS#8 PEM) that signs and checks tokens; without it nobody needs one
    #[arg(long, value_name = "FILE")]
    pub token_key: Option<PathBuf>,

    /// The nkey seed that signs agents' NATS users
    #[arg(long, value_name = "FILE")]
    pub nats_account_seed: Option<PathBuf>,
}

/// Where a service's cluster is.
#[derive(Args, Clone, Debug)]
pub struct ClusterOptions {
    /// Name of the cluster: several may share one NATS and one Redis
    #[arg(long, value_name = "NAME", default_value = "mesos", value_parser = parse_cluster)]
    pub cluster: String,

    /// The NATS servers, for example nats://127.0.0.1:4222 (several with commas between)
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,

    /// The Redis, for example redis://127.0.0.1:6379 or redis+sentinel://host:26379/primary
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,

    /// Go on trying while NATS, Redis or the master are not there yet, instead of ending with an error
    #[arg(long)]
    pub wait: bool,
}

impl ClusterOptions {
    /// The URLs of NATS and Redis, for a service that cannot be without.
    ///
    /// # Errors
    /// Says which one is missing, and what needs none.
    pub fn urls(&self) -> Result<(&str, &str), String> {
        match (&self.nats_url, &self.redis_url) {
            (Some(nats), Some(redis)) => Ok((nats, redis)),
            (nats, _) => Err(format!(
                "{} is missing: a service of its own reaches the others over NATS and keeps its state in Redis; \
                 `mesos master` and `mesos local` need neither",
                if nats.is_none() { "--nats-url" } else { "--redis-url" }
            )),
        }
    }
}

/// Where a service without a gateway answers probes.
#[derive(Args, Clone, Debug)]
pub struct HealthOptions {
    /// Answer /health, /ready and /metrics here, for example 0.0.0.0:9090
    #[arg(long, value_name = "IP:PORT")]
    pub http_addr: Option<std::net::SocketAddr>,
}

/// What the process tells about itself, and where its options come from.
#[derive(Args, Clone, Debug)]
pub struct CommonOptions {
    /// What is logged: error, warn, info, debug, trace, or by part as in mesos_gateway=debug,info
    #[arg(long, alias = "logging-level", value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: String,

    /// How log lines look
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormatOption,

    /// Log to a file in this folder too (without it: in /var/log/mesos if that is there and writable)
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,

    /// Where traces go, for example http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Read options from this file (.json, .yaml, .toml)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the options in force and where each comes from, and end
    #[arg(long)]
    pub dump_config: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormatOption {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where logs go if nobody says.
const LOG_DIR: &str = "/var/log/mesos";

impl CommonOptions {
    /// What is chosen about telemetry, for a process in this role (`master`, `agent`, …).
    #[must_use]
    pub fn telemetry(&self, role: &str) -> TelemetryOptions {
        TelemetryOptions {
            log_level: self.log_level.clone(),
            log_format: match self.log_format {
                LogFormatOption::Text => LogFormat::Text,
                LogFormatOption::Json => LogFormat::Json,
            },
            otlp_endpoint: self.otlp_endpoint.clone(),
            service: format!("mesos-{role}"),
            log_dir: self.log_dir.clone().or_else(|| Some(PathBuf::from(LOG_DIR)).filter(|dir| dir.is_dir())),
            log_dir_required: self.log_dir.is_some(),
            role: role.to_owned(),
        }
    }
}

fn parse_level(text: &str) -> Result<String, String> {
    let level = match text.to_ascii_lowercase().as_str() {
        "warning" => "warn".to_owned(),
        "fatal" => "error".to_owned(),
        lower => lower.to_owned(),
    };
    tracing_subscriber::EnvFilter::try_new(&level)
        .map(|_| level)
        .map_err(|error| format!("{error}; expected for example info, debug or mesos_gateway=debug,info"))
}

/// The name of a cluster.
///
/// # Errors
/// Says what is expected.
pub fn parse_cluster(text: &str) -> Result<String, String> {
    // `{` and `}` would move the Redis hash tag.
    let fine =
        !text.is_empty() && text.len() <= 64 && !text.contains(['{', '}']) && !text.chars().any(char::is_control);
    if fine { Ok(text.to_owned()) } else { Err("expected 1 to 64 characters without braces".to_owned()) }
}

/// Says that something that an option names is not there.
#[must_use]
pub fn not_reachable(option: &str, value: &str, error: &dyn std::fmt::Display) -> String {
    let value = super::without_password(value);
    format!("{option} {value}: {error}; is it running, and is the address right?")
}

/// Makes a work directory.
///
/// # Errors
/// Says what is in the way and what to do.
pub fn make_work_dir(dir: &Path) -> Result<PathBuf, String> {
    let dir = super::absolute(dir)?;
    std::fs::create_dir_all(&dir).map_err(|error| {
        format!("--work-dir {}: cannot be made: {error}; choose a folder that this user may write", dir.display())
    })?;
    Ok(dir)
}

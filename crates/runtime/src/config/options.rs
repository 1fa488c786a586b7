//! Options that every role has.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use mesos_proto::dial::{Access, Token};

use crate::telemetry::{LogFormat, TelemetryOptions};

/// Where NATS is, and what is shown to it.
#[derive(Args, Clone, Debug)]
pub struct NatsArgs {
    /// The NATS servers, for example nats://127.0.0.1:4222 (several with commas between); tls://… is over TLS
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,

    /// The .creds file that lets this process in, read at each connect
    #[arg(long, value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,

    /// The CA that signed NATS's certificates, read at each connect [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
}

/// How a client gets to a gateway that speaks TLS or wants to know who asks.
#[derive(Args, Clone, Debug, Default)]
pub struct AccessArgs {
    /// The CA that signed the master's certificate [default: those that the system trusts]
    #[arg(long, env = "MESOS_CA_CERT", value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,

    /// The token that says who you are
    #[arg(long, env = "MESOS_TOKEN", hide_env_values = true, value_name = "TOKEN", conflicts_with = "token_file")]
    pub token: Option<String>,

    /// The file that the token is in
    #[arg(long, env = "MESOS_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl AccessArgs {
    /// As clients take them.
    #[must_use]
    pub fn access(&self) -> Access {
        let token = self.token.clone().map(Token::Text).or_else(|| self.token_file.clone().map(Token::File));
        Access { ca: self.ca_cert.clone(), token, ..Access::default() }
    }
}

/// What makes a gateway's door safe to open to others.
#[derive(Args, Clone, Debug, Default)]
pub struct DoorArgs {
    /// The certificate (PEM, with those between it and the CA) by which clients know this host; read again when it
    /// changes
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The key of that certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// The CA of the cluster: a client may show a certificate that it signed
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,

    /// The key of that CA, which signs agents' certificates; read again when it changes
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    pub ca_key: Option<PathBuf>,

    /// The nkey seed that signs agents' NATS users; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub nats_account_seed: Option<PathBuf>,

    /// How long the certificate, NATS user and token of an agent are good for; it renews them at half time
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = super::parse_duration)]
    pub agent_certificate_ttl: Duration,

    /// The key (Ed25519, PKCS#8 PEM) that signs and checks tokens, without which nobody needs one; read again when it
    /// changes
    #[arg(long, value_name = "FILE")]
    pub token_key: Option<PathBuf>,

    /// Stay plain and open to everybody on this host; refuses other addresses than loopback
    #[arg(long)]
    pub insecure: bool,
}

impl DoorArgs {
    /// Whether a gateway may listen on this address as it is meant to. Loopback is open if nothing else is said; any
    /// other address wants TLS and tokens.
    ///
    /// # Errors
    /// One line: what is wrong, what to do.
    pub fn check(&self, ip: IpAddr) -> Result<(), String> {
        let host = if ip.is_unspecified() { "NAME_OR_IP".to_owned() } else { ip.to_string() };
        let make = format!(
            "`mesos pki init --dir DIR --host {host}` makes them: \
             --tls-cert DIR/gateway.crt --tls-key DIR/gateway.key --token-key DIR/token.key"
        );
        let loopback = ip.is_loopback();
        if self.insecure && !loopback {
            return Err(format!(
                "--insecure refuses other addresses: on --ip {ip} everybody in its network could run tasks; \
                 use certificates and tokens, {make}"
            ));
        }
        if self.insecure && (self.tls_cert.is_some() || self.tls_key.is_some() || self.token_key.is_some()) {
            return Err(
                "--insecure is given together with certificates or a token key; leave the one or the other away"
                    .to_owned(),
            );
        }
        let all = self.tls_cert.is_some() && self.tls_key.is_some() && self.token_key.is_some();
        if !loopback && !all {
            return Err(format!(
                "--ip {ip} is not a loopback address, so it needs --tls-cert, --tls-key and --token-key; {make}"
            ));
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => Err("--tls-cert needs --tls-key, the key of that certificate".to_owned()),
            (None, Some(_)) => Err("--tls-key needs --tls-cert, the certificate of that key".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The name of a cluster that was given none.
pub const CLUSTER: &str = "mesos";

/// Where a service's cluster is.
#[derive(Args, Clone, Debug)]
pub struct ClusterOptions {
    /// Name of the cluster: several may share one NATS and one Redis
    #[arg(long, value_name = "NAME", default_value = CLUSTER, value_parser = parse_cluster)]
    pub cluster: String,

    #[command(flatten)]
    pub nats: NatsArgs,

    /// The Redis, for example redis://127.0.0.1:6379 or redis+sentinel://host:26379/primary; rediss… is over TLS
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,

    /// The user that Redis knows this cluster by [default: Redis's default user]
    #[arg(long, value_name = "NAME")]
    pub redis_username: Option<String>,

    /// The file with that user's password, read at each connect
    #[arg(long, value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// The CA that signed Redis's certificate, read at each connect [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,

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
        match (&self.nats.nats_url, &self.redis_url) {
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

/// Says that something that an option names is not there, or (`refused`) does not let this process in.
#[must_use]
pub fn not_reachable(option: &str, value: &str, error: &dyn std::fmt::Display, refused: bool) -> String {
    let value = super::without_password(value);
    let advice = if refused { "" } else { "; is it running, and is the address right?" };
    format!("{option} {value}: {error}{advice}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_open_to_others_only_with_certificates_and_tokens() {
        let file = |name: &str| Some(PathBuf::from(name));
        let open = DoorArgs::default;
        let tls = || DoorArgs { tls_cert: file("c"), tls_key: file("k"), ..open() };
        let all = || DoorArgs { token_key: file("t"), ..tls() };
        let insecure = || DoorArgs { insecure: true, ..open() };
        let init = "mesos pki init --dir DIR --host";
        for (ip, door, wanted) in [
            ("127.0.0.1", open(), Ok(())),
            ("127.9.0.1", open(), Ok(())),
            ("::1", open(), Ok(())),
            ("127.0.0.1", insecure(), Ok(())),
            ("127.0.0.1", tls(), Ok(())),
            ("127.0.0.1", all(), Ok(())),
            ("127.0.0.1", DoorArgs { ca_cert: file("a"), ..open() }, Ok(())),
            ("10.0.0.1", all(), Ok(())),
            ("0.0.0.0", all(), Ok(())),
            ("10.0.0.1", open(), Err(["--ip 10.0.0.1", "mesos pki init --dir DIR --host 10.0.0.1"])),
            ("0.0.0.0", open(), Err(["--ip 0.0.0.0", "--host NAME_OR_IP"])),
            ("::", tls(), Err(["--token-key", init])),
            ("10.0.0.1", DoorArgs { token_key: file("t"), ..open() }, Err(["--tls-cert", init])),
            ("10.0.0.1", insecure(), Err(["--insecure refuses other addresses", init])),
            ("10.0.0.1", DoorArgs { insecure: true, ..all() }, Err(["--insecure refuses other addresses", init])),
            ("127.0.0.1", DoorArgs { insecure: true, ..tls() }, Err(["--insecure", "leave the one or the other away"])),
            ("127.0.0.1", DoorArgs { tls_key: None, ..tls() }, Err(["--tls-cert", "needs --tls-key"])),
            ("127.0.0.1", DoorArgs { tls_cert: None, ..tls() }, Err(["--tls-key", "needs --tls-cert"])),
        ] {
            match (door.check(ip.parse().unwrap()), wanted) {
                (Ok(()), Ok(())) => {}
                (Err(text), Err(words)) => {
                    assert!(words.iter().all(|word| text.contains(word)) && !text.contains('\n'), "{ip}: {text}");
                }
                (is, wanted) => panic!("{ip} with {door:?}: {is:?} instead of {wanted:?}"),
            }
        }
    }

    #[test]
    fn a_token_in_a_file_or_in_words_is_who_a_client_is() {
        let text = AccessArgs { token: Some("t".to_owned()), ..AccessArgs::default() };
        assert!(matches!(text.access().token, Some(Token::Text(token)) if token == "t"));
        let file = AccessArgs { token_file: Some("f".into()), ca_cert: Some("c".into()), ..AccessArgs::default() };
        let access = file.access();
        assert!(matches!(access.token, Some(Token::File(_))) && access.ca.is_some());
    }
}

//! `mesos token`: tokens of operators and frameworks, signed here with the cluster's key; join tokens of agents, made
//! by a master.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use mesos_identity::{
    files,
    token::{Claims, Role, TokenKeys},
};
use mesos_proto::services::v1::CreateJoinTokenRequest;
use mesos_runtime::config::{options::parse_cluster, parse_duration};
use serde::Serialize;

use crate::client::{
    self, ClientArgs, Failure, Master,
    output::{Format, OutputArgs, json, write},
};

/// What `mesos token` does.
#[derive(Args, Clone, Debug)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// Make a token for an operator, a framework, or an agent that is to join
    Create(CreateArgs),
}

#[derive(Args, Clone, Debug)]
struct CreateArgs {
    /// A one-time token with which one agent may join, made by the master
    #[arg(long, conflicts_with_all = ["subject", "role", "token_key"])]
    agent: bool,

    /// The principal that it is for
    #[arg(long, value_name = "NAME", required_unless_present = "agent")]
    subject: Option<String>,

    /// What it allows: operator, or framework (to be a framework of that principal, and to look at the cluster)
    #[arg(long, value_name = "ROLE", required_unless_present = "agent")]
    role: Option<Role>,

    /// For how long [default: 24h, and 1h for an agent]
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,

    /// The cluster's key for tokens, as `mesos pki init` made it
    #[arg(long, value_name = "FILE", env = "MESOS_TOKEN_KEY", required_unless_present = "agent")]
    token_key: Option<PathBuf>,

    /// Write the token into this file, which only its owner can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// The only cluster that it is for [default: all that have this key]
    #[arg(long, value_name = "NAME", value_parser = parse_cluster)]
    cluster: Option<String>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    client: ClientArgs,
}

const TTL_DEFAULT: Duration = Duration::from_secs(24 * 3600);

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text)?;
    if ttl < Duration::from_secs(1) { Err("expected at least 1s".to_owned()) } else { Ok(ttl) }
}

#[derive(Serialize)]
struct Made {
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_hash: Option<String>,
}

impl Made {
    /// Prints it, or writes the token into a file.
    fn hand_over(&self, args: &CreateArgs) -> Result<(), String> {
        if let Some(file) = &args.out {
            return files::write(file, format!("{}\n", self.token).as_bytes(), files::SECRET)
                .map_err(|error| format!("--out {error}"));
        }
        match args.output.output {
            Format::Json => write(&json(self)),
            _ => write(&format!("{}\n", self.token)),
        }
        Ok(())
    }
}

/// Carries it out.
pub(crate) fn run(args: &TokenArgs) -> ExitCode {
    let Action::Create(create) = args.action.clone();
    if create.agent {
        return client::run("token", create.client.clone(), async |master| for_agent(create, master).await);
    }
    match signed(&create).and_then(|token| Made { token, ca_hash: None }.hand_over(&create)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesos token: {error}");
            ExitCode::FAILURE
        }
    }
}

fn signed(args: &CreateArgs) -> Result<String, String> {
    // Both are there, or clap would have said so.
    let key = args.token_key.as_ref().ok_or("--token-key is missing")?;
    let (subject, role) = (args.subject.as_deref().unwrap_or_default(), args.role.ok_or("--role is missing")?);
    let text = files::read(key).map_err(|error| format!("--token-key {error}"))?;
    let keys = TokenKeys::read(&text).map_err(|error| format!("--token-key {}: {error}", key.display()))?;
    let claims = Claims::new(subject, role, args.ttl.unwrap_or(TTL_DEFAULT), args.cluster.as_deref());
    keys.sign(&claims).map_err(|error| format!("--subject: {error}"))
}

async fn for_agent(args: CreateArgs, master: Master) -> Result<ExitCode, Failure> {
    let ttl_seconds = args.ttl.map_or(0, |ttl| ttl.as_secs());
    let made = master.agents().create_join_token(CreateJoinTokenRequest { ttl_seconds }).await?.into_inner();
    if args.output.output == Format::Table || args.output.output == Format::Wide {
        eprintln!("the agent is started with --join-token=TOKEN --ca-hash={}", made.ca_hash);
    }
    let made = Made { token: made.token, ca_hash: Some(made.ca_hash) };
    made.hand_over(&args).map(|()| ExitCode::SUCCESS).map_err(Failure::Wrong)
}

//! `mesos token`: tokens of operators and frameworks, signed here with the cluster's key.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use mesos_identity::{
    files,
    token::{Claims, Role, TokenKeys},
};
use mesos_runtime::config::{options::parse_cluster, parse_duration};

/// What `mesos token` does.
#[derive(Args, Clone, Debug)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// Make a token for an operator or a framework
    Create(CreateArgs),
}

#[derive(Args, Clone, Debug)]
struct CreateArgs {
    /// The principal that it is for
    #[arg(long, value_name = "NAME")]
    subject: String,

    /// What it allows: operator, or framework (to be a framework of that principal, and to look at the cluster)
    #[arg(long, value_name = "ROLE")]
    role: Role,

    /// For how long
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    ttl: Duration,

    /// The cluster's key for tokens, as `mesos pki init` made it
    #[arg(long, value_name = "FILE", env = "MESOS_TOKEN_KEY")]
    token_key: PathBuf,

    /// The only cluster that it is for [default: all that have this key]
    #[arg(long, value_name = "NAME", value_parser = parse_cluster)]
    cluster: Option<String>,
}

/// Carries it out.
pub(crate) fn run(args: &TokenArgs) -> ExitCode {
    let Action::Create(create) = &args.action;
    match token(create) {
        Ok(token) => {
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mesos token: {error}");
            ExitCode::FAILURE
        }
    }
}

fn token(args: &CreateArgs) -> Result<String, String> {
    let text = files::read(&args.token_key).map_err(|error| format!("--token-key {error}"))?;
    let keys = TokenKeys::read(&text).map_err(|error| format!("--token-key {}: {error}", args.token_key.display()))?;
    let claims = Claims::new(&args.subject, args.role, args.ttl, args.cluster.as_deref());
    keys.sign(&claims).map_err(|error| format!("--subject: {error}"))
}

//! What asks a master and ends.
//!
//! # Layout
//! - [`launch`]: `launch`, `spawn` and what they share with local mode.
//! - [`request`]: from options to what is asked of the launcher.
//! - [`follow`]: a task's states and output, until it has ended.
//! - [`tasks`]: `ps`, `logs`, `kill`.
//! - [`cluster`]: `agents`, `frameworks`, `stats`. [`leave`]: `drain`, `agents deactivate` and so on.
//! - [`maintenance`]: what `maintenance` plans, starts and stops.
//! - [`roles`]: `roles`, `quota`, `weights`, `placement`, `priority`.
//! - [`policy`]: `policy`, `needs`. [`explain`]: `explain`, `what-if`.
//! - [`pools`]: `pool`, `slave add`, `slave remove`.
//! - [`reserve`]: `reserve`, `unreserve`, `volume`.
//! - [`find`], [`amounts`]: what is meant by a word, and by amounts.
//! - [`output`]: tables and JSON.

pub(crate) mod amounts;
pub(crate) mod cluster;
pub(crate) mod explain;
pub(crate) mod find;
pub(crate) mod follow;
pub(crate) mod launch;
pub(crate) mod leave;
pub(crate) mod maintenance;
pub(crate) mod output;
pub(crate) mod policy;
pub(crate) mod pools;
pub(crate) mod request;
pub(crate) mod reserve;
pub(crate) mod roles;
pub(crate) mod tasks;

use std::{process::ExitCode, time::Duration};

use clap::Args;
use mesos_proto::{
    GRPC_MESSAGE_MAX_BYTES,
    dial::{Access, Address, Door, reason},
    services::v1::{
        agents_client::AgentsClient, allocation_client::AllocationClient, files_client::FilesClient,
        launcher_client::LauncherClient, operator_client::OperatorClient, pools_client::PoolsClient,
        stats_client::StatsClient,
    },
    v1::master,
};
use mesos_runtime::config::options::AccessArgs;
use tonic::{Code, Status, transport::Channel};

/// The master if nobody names one.
const DEFAULT_MASTER: &str = "127.0.0.1:5050";
const DEFAULT_PORT: u16 = 5050;
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Which master is asked.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientArgs {
    /// The master: host:port or https://host:port, or several with commas between [default: 127.0.0.1:5050]
    #[arg(long, env = "MESOS_MASTER", value_name = "HOST:PORT")]
    pub(crate) master: Option<String>,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Why a command did not work: one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No master answers.
    #[error(
        "the master at {address} is not reachable ({reason}); is it running? Name another one with --master or MESOS_MASTER"
    )]
    Unreachable { address: String, reason: String },
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// A task that nobody knows.
    #[error("there is no task {0}; `mesos ps -a` lists all")]
    NoTask(String),
    /// What was given cannot be used.
    #[error("{0}")]
    Wrong(String),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let text = reason(&status);
        match status.code() {
            Code::Unimplemented => Failure::Refused(format!(
                "the master does not know this request ({text}); it may be older than this program"
            )),
            _ => Failure::Refused(text),
        }
    }
}

/// A connection to a master.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    pub(crate) door: Door,
}

impl Master {
    /// Connects to the first address that answers.
    pub(crate) async fn connect(addresses: &str, access: &Access) -> Result<Master, Failure> {
        let bearer = access.bearer().await.map_err(Failure::Wrong)?;
        let mut last = Failure::Wrong("--master names no address".to_owned());
        for text in addresses.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            let address = Address::parse(text, DEFAULT_PORT)
                .map_err(|why| Failure::Wrong(format!("'{text}' is no master's address: {why}")))?;
            match open(&address, access).await {
                Ok(channel) => return Ok(Master { door: Door::new(channel, bearer) }),
                Err(reason) => last = Failure::Unreachable { address: address.to_string(), reason },
            }
        }
        Err(last)
    }

    pub(crate) fn launcher(&self) -> LauncherClient<Door> {
        LauncherClient::new(self.door.clone()).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }

    pub(crate) fn files(&self) -> FilesClient<Door> {
        FilesClient::new(self.door.clone()).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }

    pub(crate) fn stats(&self) -> StatsClient<Door> {
        StatsClient::new(self.door.clone()).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }

    pub(crate) fn agents(&self) -> AgentsClient<Door> {
        AgentsClient::new(self.door.clone())
    }

    pub(crate) fn allocation(&self) -> AllocationClient<Door> {
        AllocationClient::new(self.door.clone()).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }

    pub(crate) fn pools(&self) -> PoolsClient<Door> {
        PoolsClient::new(self.door.clone()).max_decoding_message_size(GRPC_MESSAGE_MAX_BYTES)
    }

    /// A call of the operator API that has nothing but its type.
    pub(crate) async fn operator(&self, call: master::call::Type) -> Result<master::Response, Failure> {
        self.call(master::Call { r#type: Some(call.into()), ..master::Call::default() }).await
    }

    /// A call of the operator API.
    pub(crate) async fn call(&self, call: master::Call) -> Result<master::Response, Failure> {
        // A whole state may be large, and it is our own master that we ask.
        let mut client = OperatorClient::new(self.door.clone()).max_decoding_message_size(usize::MAX);
        // The answer's types make it a large future.
        Ok(Box::pin(client.call(call)).await?.into_inner())
    }
}

async fn open(address: &Address, access: &Access) -> Result<Channel, String> {
    let endpoint = access
        .endpoint(address)
        .await?
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .user_agent(concat!("mesos/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| error.to_string())?;
    access.connect(endpoint).await
}

/// Connects and carries out a command in a small runtime of its own.
pub(crate) fn run(
    name: &str,
    args: ClientArgs,
    command: impl AsyncFnOnce(Master) -> Result<ExitCode, Failure>,
) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mesos {name}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let address = args.master.filter(|master| !master.trim().is_empty()).unwrap_or_else(|| DEFAULT_MASTER.to_owned());
    let access = args.access.access();
    let outcome = runtime.block_on(async {
        let master = Master::connect(&address, &access).await?;
        command(master).await
    });
    // What still reads stdin or a name server must not hold the process.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|failure| {
        eprintln!("mesos {name}: {failure}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    /// What a command makes of its arguments, or what it says is wrong with them.
    pub(super) fn parse<A: Args>(args: &[&str]) -> Result<A, String> {
        let command = A::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(args).map_err(|error| error.to_string())?;
        A::from_arg_matches(&matches).map_err(|error| error.to_string())
    }
}

//! `launch`, `spawn` and what they share with local mode.

use std::process::ExitCode;

use clap::Args;
use mesos_proto::{
    dial::Access,
    services::v1::{LaunchRequest, LaunchResponse},
};
use serde::Serialize;

use super::{
    ClientArgs, Failure, Master,
    follow::Follow,
    output::{self, Format, OutputArgs},
    request::{self, TaskArgs},
};

/// Options of `launch`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LaunchArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    task: TaskArgs,
}

/// Options of `spawn`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SpawnArgs {
    #[command(flatten)]
    pub(crate) launch: LaunchArgs,
    /// How many of it
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    instances: u32,
    #[command(flatten)]
    output: OutputArgs,
}

async fn ask(master: &Master, request: LaunchRequest) -> Result<LaunchResponse, Failure> {
    let answer = master.launcher().launch(request).await?.into_inner();
    if answer.task_ids.is_empty() {
        return Err(Failure::Refused("the master started nothing and did not say why".to_owned()));
    }
    Ok(answer)
}

/// `mesos launch`.
pub(crate) async fn launch(args: LaunchArgs, master: Master) -> Result<ExitCode, Failure> {
    let request = args.task.request(1)?;
    follow(&master, request, args.task.wants(), true).await
}

/// `mesos spawn`.
pub(crate) async fn spawn(args: SpawnArgs, master: Master) -> Result<ExitCode, Failure> {
    #[derive(Serialize)]
    struct Spawned {
        framework_id: String,
        task_ids: Vec<String>,
    }
    let answer = ask(&master, args.launch.task.request(args.instances)?).await?;
    let spawned = Spawned {
        framework_id: answer.framework_id.map(|id| id.value).unwrap_or_default(),
        task_ids: answer.task_ids.into_iter().map(|id| id.value).collect(),
    };
    match args.output.output {
        Format::Json => output::write(&output::json(&spawned)),
        Format::Table | Format::Wide | Format::Quiet => {
            output::write(&spawned.task_ids.iter().map(|id| format!("{id}\n")).collect::<String>());
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn follow(master: &Master, request: LaunchRequest, wants: String, interrupts: bool) -> Result<ExitCode, Failure> {
    let answer = ask(master, request).await?;
    let (framework, mut tasks) = (answer.framework_id, answer.task_ids);
    let task = tasks.swap_remove(0);
    Follow { master, framework, task, wants, interrupts }.run().await
}

/// Runs a command in a shell as a task and follows it; signals are somebody else's.
pub(crate) async fn follow_command(address: &str, access: &Access, command: &str) -> Result<ExitCode, Failure> {
    let master = Master::connect(address, access).await?;
    let request = request::of_shell(command);
    follow(&master, request, "what the command needs".to_owned(), false).await
}

//! `mesos master`: allocator, registry, gateway and launcher in one process.

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use mesos_model::resources_text::{milli_text, parse_megabytes, parse_milli};
use mesos_runtime::{
    config::{
        self, Role,
        options::{ClusterOptions, CommonOptions, make_work_dir},
    },
    instance, process,
    telemetry::Metrics,
};
use tokio_util::sync::CancellationToken;

use super::{
    control::{self, ControlOptions},
    default_work_dir,
    gateway::{self, GatewayArgs},
};

const ROLE: Role = Role { display: "mesos master", files: &["mesos-master", "master"] };

/// How often memory is looked at.
const MEMORY_LOOK: Duration = Duration::from_secs(10);

/// Options of a master.
#[derive(Args, Clone, Debug)]
pub(crate) struct MasterArgs {
    #[command(flatten)]
    cluster: ClusterOptions,

    /// Where state is kept unless --redis-url is given [default: /var/lib/mesos, or below the home of a user]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,

    #[command(flatten)]
    gateway: GatewayArgs,

    #[command(flatten)]
    allocator: mesos_allocator::Options,

    #[command(flatten)]
    registry: mesos_registry::Options,

    /// Threads of this process [default: one per CPU]
    #[arg(long, alias = "resource-cpus", value_name = "N", value_parser = parse_threads)]
    resource_cpu: Option<usize>,

    /// Warn when this process uses more memory, for example 4GB
    #[arg(long, aliases = ["resource-mem", "resource-memory"], value_name = "SIZE", value_parser = parse_size)]
    resource_ram: Option<i64>,

    /// End the master that runs on this work directory
    #[arg(long)]
    terminate: bool,

    #[command(flatten)]
    common: CommonOptions,
}

fn parse_threads(text: &str) -> Result<usize, String> {
    let milli = parse_milli(text).filter(|milli| *milli > 0).ok_or("expected a number of CPUs, for example 2")?;
    usize::try_from((milli + 999) / 1000).map_err(|error| error.to_string())
}

/// Thousandths of a megabyte.
pub(crate) fn parse_size(text: &str) -> Result<i64, String> {
    parse_megabytes(text)
        .ok_or_else(|| "expected an amount such as 512MB or 4GB (a bare number is megabytes)".to_owned())
}

/// The whole process.
pub(crate) fn main(args: &[OsString]) -> ExitCode {
    let about = "The master: allocator, registry, gateway and launcher in one process. Without --nats-url and --redis-url it needs nothing else.";
    let options = match process::options::<MasterArgs>(ROLE, about, args) {
        Ok((options, _)) => options,
        Err(status) => return status,
    };
    let dir = options.work_dir.clone().unwrap_or_else(default_work_dir);
    if options.terminate {
        return match config::absolute(&dir) {
            Ok(dir) => instance::terminate(&dir, "master"),
            Err(error) => refused(&error),
        };
    }
    let claimed = make_work_dir(&dir).and_then(|dir| Ok((instance::claim(&dir, "master")?, dir)));
    let (_instance, dir) = match claimed {
        Ok(claimed) => claimed,
        Err(error) => return refused(&error),
    };
    let telemetry = options.common.telemetry("master");
    let threads = options.resource_cpu;
    process::run(ROLE.display, &telemetry, threads, |metrics, cancel| run(options, dir, metrics, cancel))
}

fn refused(error: &str) -> ExitCode {
    eprintln!("{}: {error}", ROLE.display);
    ExitCode::FAILURE
}

async fn run(
    options: MasterArgs,
    dir: PathBuf,
    metrics: Metrics,
    cancel: CancellationToken,
) -> Result<ExitCode, String> {
    let gateway = options.gateway.options(&options.cluster.cluster)?;
    if let Some(most) = options.resource_ram {
        tokio::spawn(watch_memory(most));
    }
    let state = dir.join("master");
    let own = dir.join("pools");
    let pools = options.gateway.pools(Some(&own))?.unwrap_or_else(|| mesos_pools::definition::default_pools(&own));
    let ports = tokio::select! {
        ports = control::ports(&options.cluster, "mesos-master", Some(&state)) => ports?,
        () = cancel.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    let advertised = gateway::advertised(&gateway);
    let services =
        ControlOptions { gateway, allocator: options.allocator, registry: options.registry, pools: Some(pools) };
    let mut control = control::start(services, ports, metrics).await?;
    println!("mesos master is at {} (state in {})", control.url, state_text(&options.cluster, &dir));
    gateway::invite(advertised, &options.cluster.cluster, &control.inside, &cancel);
    let failed = tokio::select! {
        () = cancel.cancelled() => None,
        why = control.failed() => Some(why),
    };
    control.stop().await;
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn state_text(cluster: &ClusterOptions, dir: &std::path::Path) -> String {
    match &cluster.redis_url {
        Some(url) => config::without_password(url),
        None => dir.display().to_string(),
    }
}

/// Says once when the process has grown beyond what its operator meant it to have, and again after it shrank.
async fn watch_memory(most_milli_mb: i64) {
    let mut over = false;
    loop {
        tokio::time::sleep(MEMORY_LOOK).await;
        let Some(used) = resident_milli_mb() else { return };
        if used > most_milli_mb && !over {
            tracing::warn!(used_mb = %milli_text(used), "more memory is used than resource.ram ({} MB)", milli_text(most_milli_mb));
        }
        over = used > most_milli_mb;
    }
}

fn resident_milli_mb() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kb: i64 = line.trim().split(' ').next()?.parse().ok()?;
    Some(kb * 1000 / 1024)
}

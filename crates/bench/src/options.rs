//! What can be measured, and the choices that the measurements share.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "mesos-bench", version, about = "Measures a cluster from outside, over the API that frameworks use")]
pub(crate) struct Bench {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Choices of all measurements.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// The mesos binary [default: beside this one]
    #[arg(long, global = true, value_name = "FILE", env = "MESOS_BIN")]
    pub(crate) mesos: Option<PathBuf>,

    /// Print JSON lines only
    #[arg(long, global = true)]
    pub(crate) quiet: bool,

    /// Threads of the load side
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,

    /// How calls are sent
    #[arg(long, global = true, value_enum, default_value = "grpc")]
    pub(crate) api: Api,

    /// Log level of the measured processes [default: their own]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// Keep logs and work directories
    #[arg(long, global = true)]
    pub(crate) keep: bool,
}

/// The scheduler API that a framework of the load uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Api {
    /// gRPC: events on a stream, each call unary with its own answer.
    Grpc,
    /// gRPC: calls on the stream too, which are carried out one after the other.
    GrpcStream,
    /// HTTP with protobuf and RecordIO.
    Http,
}

/// The measurements.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open-loop launches at a fixed rate: ACCEPT leaving the client to RUNNING and FINISHED
    Latency(Latency),
    /// As many empty tasks as go through, on simulated agents over NATS and Redis
    Throughput(Throughput),
    /// Many tasks in one ACCEPT: until all run
    Burst(Burst),
    /// One task after the other, each `true`
    Sequential(Sequential),
    /// Single tasks on the process containerizer: ACCEPT to RUNNING and FINISHED
    ProcessLatency(Sequential),
    /// An agent is killed with its tasks running and started again
    Recovery(Recovery),
    /// A Docker task against the same container made straight through the Docker API
    Docker(Docker),
    /// Time until `mesos local` is ready, its memory and its CPU while nothing happens
    Idle(Idle),
    /// The leading allocator, then the leading registry is killed, or asked to end: how long nobody leads
    Failover(Failover),
    /// The leading allocator is killed: until the last of many agents has shaken hands with the next one
    Rehandshake(Rehandshake),
    /// An allocator and a registry start on a store full of tasks: until each leads
    Load(Load),
    /// NATS or Redis is away for a while: what is lost, and how long it takes until all is well again
    Outage(Outage),
    /// Launches at a fixed rate while control processes are killed at random
    Storm(Storm),
    /// The allocation engine by itself, on the workloads that Mesos's allocator was measured with
    #[command(after_help = ALLOCATOR_EXAMPLES)]
    Allocator(Allocator),
}

const ALLOCATOR_EXAMPLES: &str = "\
Examples:
  mesos-bench allocator --workload idle --agents 10000 --frameworks 200
  mesos-bench allocator --workload allfiltered --agents 10000 --frameworks 200 --roles 1
  mesos-bench allocator --workload quota --roles 3000
  mesos-bench allocator --workload placements --agents 1000 --frameworks 50
  mesos-bench allocator --grid > grid.jsonl";

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// `mesos local`, one process.
    Local,
    /// NATS, Redis and every service as its own process.
    Cluster,
}

/// Options of `latency`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Latency {
    /// What is started
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) mode: Mode,
    /// Launches per second
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// How long is measured
    #[arg(long, default_value_t = 20.0)]
    pub(crate) seconds: f64,
    /// How long the load runs before
    #[arg(long, default_value_t = 3.0)]
    pub(crate) warmup: f64,
    /// What runs tasks: mock or process
    #[arg(long, default_value = "mock")]
    pub(crate) containerizer: String,
    /// How many agents
    #[arg(long, default_value_t = 3)]
    pub(crate) agents: usize,
    /// What a task runs
    #[arg(long, default_value = "true")]
    pub(crate) command: String,
    /// How many declined offers are timed after the launches
    #[arg(long, default_value_t = 100)]
    pub(crate) declines: usize,
}

/// Options of `throughput`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Throughput {
    /// Simulated agents
    #[arg(long, default_value_t = 1000)]
    pub(crate) agents: usize,
    /// Frameworks
    #[arg(long, default_value_t = 50)]
    pub(crate) frameworks: usize,
    /// How long is measured
    #[arg(long, default_value_t = 60.0)]
    pub(crate) seconds: f64,
    /// How long the load runs before
    #[arg(long, default_value_t = 5.0)]
    pub(crate) warmup: f64,
    /// Tasks in one ACCEPT at most
    #[arg(long, default_value_t = 4)]
    pub(crate) tasks_per_accept: usize,
    /// CPUs of each agent; a task takes one
    #[arg(long, default_value_t = 4)]
    pub(crate) cpus: usize,
    /// Clients that poll /state; with any, launches come at a fixed rate, first without them, then with them
    #[arg(long, default_value_t = 0)]
    pub(crate) readers: usize,
    /// Pause of a reader between two reads, in milliseconds
    #[arg(long, default_value_t = 1000)]
    pub(crate) reader_pause_ms: u64,
    /// Launches per second of all frameworks together; 0 is as many as go through (with readers 200)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Keeps the cluster a while after the end, for a look with other tools; seconds
    #[arg(long, default_value_t = 0.0)]
    pub(crate) linger: f64,
}

/// Options of `burst`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Burst {
    /// Tasks in the one ACCEPT
    #[arg(long, default_value_t = 500)]
    pub(crate) tasks: usize,
    /// How often
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: usize,
    /// What runs tasks: process or mock
    #[arg(long, default_value = "process")]
    pub(crate) containerizer: String,
}

/// Options of `sequential` and `process-latency`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sequential {
    /// How many tasks
    #[arg(long, default_value_t = 200)]
    pub(crate) tasks: usize,
    /// What runs tasks: process or mock
    #[arg(long, default_value = "process")]
    pub(crate) containerizer: String,
    /// Tasks before the first one that counts
    #[arg(long, default_value_t = 10)]
    pub(crate) warmup: usize,
}

/// Options of `recovery`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Recovery {
    /// What runs the tasks: process or docker
    #[arg(long, default_value = "process", value_parser = ["process", "docker"])]
    pub(crate) containerizer: String,
    /// The image of the tasks in Docker; it must be there
    #[arg(long, default_value = "mesos-e2e/busybox:1")]
    pub(crate) image: String,
    /// Running tasks
    #[arg(long, default_value_t = 100)]
    pub(crate) tasks: usize,
    /// How often the agent is killed
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
}

/// Options of `failover`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Failover {
    /// How often each service loses its leader
    #[arg(long, default_value_t = 20)]
    pub(crate) runs: usize,
    /// SIGTERM in place of SIGKILL: how long calls take, and whether one fails
    #[arg(long)]
    pub(crate) graceful: bool,
    /// Calls per second: launches, DECLINE and RECONCILE in turn
    #[arg(long, default_value_t = 50.0)]
    pub(crate) rate: f64,
    /// Simulated agents
    #[arg(long, default_value_t = 20)]
    pub(crate) agents: usize,
}

/// Options of `rehandshake`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Rehandshake {
    /// Simulated agents
    #[arg(long, default_value_t = 10_000)]
    pub(crate) agents: usize,
    /// Running tasks of each
    #[arg(long, default_value_t = 10)]
    pub(crate) tasks_per_agent: usize,
    /// How often the leader is killed
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: usize,
}

/// Options of `load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Running tasks in the store
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) tasks: usize,
    /// Tasks of each agent
    #[arg(long, default_value_t = 100)]
    pub(crate) tasks_per_agent: usize,
    /// Start this service alone, as after a failover of it
    #[arg(long)]
    pub(crate) only: Option<Loading>,
}

/// A service whose start is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Loading {
    /// The allocator.
    Allocator,
    /// The registry.
    Registry,
}

/// Options of `outage`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Outage {
    /// What is killed and stays away
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) what: Backend,
    /// For how long
    #[arg(long, default_value_t = 300.0)]
    pub(crate) seconds: f64,
    /// Simulated agents
    #[arg(long, default_value_t = 20)]
    pub(crate) agents: usize,
    /// Running tasks of each
    #[arg(long, default_value_t = 10)]
    pub(crate) tasks_per_agent: usize,
}

/// What a cluster rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// nats-server
    Nats,
    /// redis-server, with its append-only file
    Redis,
    /// Both at the same time
    Both,
}

/// Options of `storm`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Storm {
    /// Launches per second
    #[arg(long, default_value_t = 500.0)]
    pub(crate) rate: f64,
    /// How long
    #[arg(long, default_value_t = 600.0)]
    pub(crate) seconds: f64,
    /// Seconds between two kills; a process is started again after a third of it
    #[arg(long, default_value_t = 30.0)]
    pub(crate) kill_every: f64,
    /// Simulated agents with room for 80 tasks each; few, so that most of what there is is in use
    #[arg(long, default_value_t = 5)]
    pub(crate) agents: usize,
    /// How long each task runs, milliseconds
    #[arg(long, default_value_t = 500)]
    pub(crate) task_ms: u64,
}

/// Options of `docker`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Docker {
    /// Pairs
    #[arg(long, default_value_t = 20)]
    pub(crate) runs: usize,
    /// The image, which must be there
    #[arg(long, default_value = "mesos-e2e/busybox:1")]
    pub(crate) image: String,
}

/// Options of `idle`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Idle {
    /// How many agents
    #[arg(long, default_value_t = 3)]
    pub(crate) agents: usize,
    /// How long nothing happens
    #[arg(long, default_value_t = 20.0)]
    pub(crate) seconds: f64,
    /// How many starts are timed
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
}

/// Options of `allocator`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Allocator {
    /// What happens
    #[arg(long, value_enum, default_value = "idle")]
    pub(crate) workload: Workload,
    /// How many agents [default: 10000; for `quota` as many as the roles need, for `placements` and `machine` 1000]
    #[arg(long)]
    pub(crate) agents: Option<usize>,
    /// How many frameworks [default: 200; for `quota` one per role, for `placements` and `machine` 50]
    #[arg(long)]
    pub(crate) frameworks: Option<usize>,
    /// How many roles; 1 is all frameworks in role `*` [default: as many as frameworks, at most 200; for `quota`
    /// 3000, for `decline` and `allfiltered` 1]
    #[arg(long)]
    pub(crate) roles: Option<usize>,
    /// Everything that Mesos was measured with, each in a process of its own
    #[arg(long, conflicts_with_all = ["agents", "frameworks", "roles"])]
    pub(crate) grid: bool,
    /// With --grid: only cells with at most so many agents
    #[arg(long, requires = "grid", value_name = "N")]
    pub(crate) agents_max: Option<usize>,
}

/// What happens to the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Everything is free and offered; all is declined, first without and then with filters.
    Idle,
    /// Half of every agent is used; 1 % of the agents get something back.
    Steady,
    /// All frameworks decline everything for ever.
    Decline,
    /// All frameworks filter all agents.
    #[value(name = "allfiltered")]
    AllFiltered,
    /// Small and large roles with quota.
    Quota,
    /// Tasks of one CPU are placed and end, with half of the cluster in use.
    Placements,
    /// The same through the allocator's whole machine: calls, rows and orders.
    Machine,
}

impl Workload {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Idle => "idle",
            Workload::Steady => "steady",
            Workload::Decline => "decline",
            Workload::AllFiltered => "allfiltered",
            Workload::Quota => "quota",
            Workload::Placements => "placements",
            Workload::Machine => "machine",
        }
    }
}

//! `pool`, `slave add`, `slave remove`: nodes that come and go.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use comfy_table::Color;
use mesos_model::resources_text::parse_milli;
use mesos_proto::{
    services::v1::{
        AddNodesRequest, ListPoolsRequest, NodeView, PoolView, RemoveNodesRequest, ResizedPool, SetPoolRequest,
    },
    v1,
};
use mesos_runtime::config::parse_duration;
use serde::Serialize;
use uuid::Uuid;

use super::{
    ClientArgs, Failure, Master, amounts,
    output::{self, Line, OutputArgs, ago, amount, number},
};

/// How often pools are looked at that are waited for.
const LOOK: Duration = Duration::from_millis(500);

/// Whether and how long is waited.
#[derive(Args, Clone, Debug)]
pub(crate) struct WaitArgs {
    /// Wait until it is done
    #[arg(long)]
    wait: bool,
    /// Wait so long at most; it goes on after that
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    timeout: Option<Duration>,
}

/// Options of `slave add`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AddArgs {
    /// How many CPUs each offers [default: as its pool has it]
    #[arg(long, alias = "resource-cpu", value_name = "N", value_parser = parse_cpus)]
    resource_cpus: Option<i64>,
    /// How much memory each offers, for example 4GB [default: as its pool has it]
    #[arg(long, aliases = ["resource-ram", "resource-memory"], value_name = "SIZE", value_parser = crate::role::master::parse_size)]
    resource_mem: Option<i64>,
    /// How much disk each offers, for example 100GB [default: as its pool has it]
    #[arg(long, value_name = "SIZE", value_parser = crate::role::master::parse_size)]
    resource_disk: Option<i64>,
    /// In which pool [default: the only one]
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Options of `slave remove`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RemoveArgs {
    /// Which: nodes, or their agents' ids or hostnames; without any those that do least
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Of which pool [default: that of the nodes, or the only one]
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// How many, if none is named
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "nodes")]
    count: u32,
    /// The longest time that a task gets to end [default: each task's own grace]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "force")]
    grace: Option<Duration>,
    /// At once and without a drain: whatever runs there is lost
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Options of `pool`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PoolArgs {
    #[command(subcommand)]
    what: PoolCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum PoolCommand {
    /// List pools
    List(ShowArgs),
    /// List nodes
    Nodes(NodesArgs),
    /// Change how many nodes a pool has, or whether it grows and shrinks by itself
    Set(SetArgs),
}

#[derive(Args, Clone, Debug)]
struct ShowArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
struct NodesArgs {
    /// Of which pool [default: all]
    #[arg(value_name = "POOL")]
    pool: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
struct SetArgs {
    /// Which pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// How many nodes it is to have
    #[arg(long, value_name = "N", required_unless_present = "auto")]
    size: Option<u32>,
    /// Whether it grows and shrinks by itself
    #[arg(long, value_name = "on|off", value_parser = parse_switch)]
    auto: Option<bool>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    }
}

fn parse_cpus(text: &str) -> Result<i64, String> {
    parse_milli(text)
        .filter(|milli| *milli > 0)
        .ok_or_else(|| "expected a number of CPUs, for example 2 or 0.5".to_owned())
}

impl PoolArgs {
    /// Which master is asked.
    pub(crate) fn client(&self) -> ClientArgs {
        match &self.what {
            PoolCommand::List(args) => args.client.clone(),
            PoolCommand::Nodes(args) => args.client.clone(),
            PoolCommand::Set(args) => args.client.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct PoolLine {
    pool: String,
    kind: String,
    size: u32,
    up: usize,
    min: u32,
    max: u32,
    auto: bool,
    resources: String,
    note: String,
    trouble: String,
}

impl PoolLine {
    fn of(pool: &PoolView) -> PoolLine {
        PoolLine {
            pool: pool.pool.clone(),
            kind: pool.kind.clone(),
            size: pool.size,
            up: up(pool),
            min: pool.min,
            max: pool.max,
            auto: pool.auto,
            resources: amounts::resources(&pool.resources),
            note: pool.note.clone(),
            trouble: pool.trouble.clone(),
        }
    }
}

impl Line for PoolLine {
    const COLUMNS: &'static [&'static str] = &["POOL", "KIND", "NODES", "MAX", "AUTO", "NOTE", "MIN", "EACH HAS"];
    const NARROW: usize = 6;

    fn cells(&self) -> Vec<String> {
        vec![
            self.pool.clone(),
            if self.kind.is_empty() { "-".to_owned() } else { self.kind.clone() },
            format!("{}/{}", self.up, self.size),
            self.max.to_string(),
            if self.auto { "on" } else { "off" }.to_owned(),
            if self.trouble.is_empty() { self.note.clone() } else { self.trouble.clone() },
            self.min.to_string(),
            self.resources.clone(),
        ]
    }

    fn id(&self) -> &str {
        &self.pool
    }

    fn colour(&self) -> Option<Color> {
        (!self.trouble.is_empty()).then_some(Color::Yellow)
    }
}

#[derive(Debug, Serialize)]
struct NodeLine {
    node: String,
    pool: String,
    state: String,
    cpus: f64,
    cpus_used: f64,
    mem_mb: f64,
    mem_mb_used: f64,
    since: f64,
    agent_id: Option<String>,
    hostname: String,
    place: String,
    trouble: String,
}

impl NodeLine {
    fn of(pool: &str, node: &NodeView) -> NodeLine {
        NodeLine {
            node: node.node.clone(),
            pool: pool.to_owned(),
            state: node.state.clone(),
            cpus: amount(&node.resources, "cpus"),
            cpus_used: amount(&node.allocated, "cpus"),
            mem_mb: amount(&node.resources, "mem"),
            mem_mb_used: amount(&node.allocated, "mem"),
            since: node.since_ms as f64 / 1000.0,
            agent_id: node.agent_id.as_ref().map(|id| id.value.clone()),
            hostname: node.hostname.clone(),
            place: node.place.clone(),
            trouble: node.trouble.clone(),
        }
    }
}

impl Line for NodeLine {
    const COLUMNS: &'static [&'static str] =
        &["NODE", "POOL", "STATE", "CPUS", "MEM MB", "SINCE", "TROUBLE", "AGENT", "HOST", "PLACE"];
    const NARROW: usize = 7;

    fn cells(&self) -> Vec<String> {
        let of = |used, total| format!("{}/{}", number(used), number(total));
        vec![
            self.node.clone(),
            self.pool.clone(),
            self.state.clone(),
            of(self.cpus_used, self.cpus),
            of(self.mem_mb_used, self.mem_mb),
            ago(Some(self.since)),
            self.trouble.clone(),
            self.agent_id.clone().unwrap_or_default(),
            self.hostname.clone(),
            self.place.clone(),
        ]
    }

    fn id(&self) -> &str {
        &self.node
    }

    fn colour(&self) -> Option<Color> {
        (self.state != "up" || !self.trouble.is_empty()).then_some(Color::Yellow)
    }
}

fn up(pool: &PoolView) -> usize {
    pool.nodes.iter().filter(|node| matches!(node.state.as_str(), "up" | "checking")).count()
}

/// What was changed of a pool.
#[derive(Debug, Serialize)]
struct Done {
    pool: String,
    size: u32,
    nodes: Vec<String>,
}

async fn pools(master: &Master) -> Result<Vec<PoolView>, Failure> {
    Ok(master.pools().list(ListPoolsRequest {}).await?.into_inner().pools)
}

/// `mesos pool`.
pub(crate) async fn pool(args: PoolArgs, master: Master) -> Result<ExitCode, Failure> {
    match args.what {
        PoolCommand::List(args) => {
            let lines: Vec<PoolLine> = pools(&master).await?.iter().map(PoolLine::of).collect();
            output::print(args.output.output, &lines);
        }
        PoolCommand::Nodes(args) => nodes(args, &master).await?,
        PoolCommand::Set(args) => {
            let call_id = Uuid::new_v4().to_string();
            let ask = SetPoolRequest { pool: args.pool, size: args.size, auto: args.auto, call_id };
            let done = master.pools().set(ask).await?.into_inner();
            let auto = args.auto.map(|auto| if auto { ", auto on" } else { ", auto off" }).unwrap_or_default();
            let line = format!("pool {} is to have {} nodes{auto}", done.pool, done.size);
            let waits = args.wait.clone();
            let is_there = |pool: &PoolView| has_size(pool, pool.size);
            wait(&master, &waits, "pool set", &done, is_there, |pool| coming(pool, pool.size)).await?;
            print(args.output, done, &line);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn nodes(args: NodesArgs, master: &Master) -> Result<(), Failure> {
    let all = pools(master).await?;
    if let Some(wanted) = &args.pool
        && !all.iter().any(|pool| pool.pool == *wanted)
    {
        let names: Vec<&str> = all.iter().map(|pool| pool.pool.as_str()).collect();
        return Err(Failure::Wrong(format!("there is no pool {wanted}; there are: {}", names.join(", "))));
    }
    let shown = all.iter().filter(|pool| args.pool.as_ref().is_none_or(|wanted| pool.pool == *wanted));
    let line = |pool: &PoolView| pool.nodes.iter().map(|node| NodeLine::of(&pool.pool, node)).collect::<Vec<_>>();
    output::print(args.output.output, &shown.flat_map(line).collect::<Vec<_>>());
    Ok(())
}

fn scalar(name: &str, milli: i64) -> v1::Resource {
    v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value: milli as f64 / 1000.0 }),
        ..v1::Resource::default()
    }
}

/// `mesos slave add`.
pub(crate) async fn add(args: AddArgs, master: Master) -> Result<ExitCode, Failure> {
    let asked = [("cpus", args.resource_cpus), ("mem", args.resource_mem), ("disk", args.resource_disk)];
    let ask = AddNodesRequest {
        pool: args.pool.unwrap_or_default(),
        count: args.count,
        resources: asked.into_iter().filter_map(|(name, milli)| Some(scalar(name, milli?))).collect(),
        call_id: Uuid::new_v4().to_string(),
    };
    let done = master.pools().add(ask).await?.into_inner();
    let what = if done.nodes.is_empty() { nodes_text(args.count) } else { done.nodes.join(", ") };
    let line = if args.wait.wait {
        format!("{what} is up in pool {}", done.pool)
    } else {
        format!("{what} is being added to pool {}, which is to have {} nodes", done.pool, done.size)
    };
    let is_there = |pool: &PoolView| match done.nodes.is_empty() {
        true => has_size(pool, done.size),
        false => done.nodes.iter().all(|name| state(pool, name) == Some("up")),
    };
    wait(&master, &args.wait, "slave add", &done, is_there, |pool| match done.nodes.is_empty() {
        true => coming(pool, done.size),
        false => states(pool, &done.nodes),
    })
    .await?;
    print(args.output, done, &line);
    Ok(ExitCode::SUCCESS)
}

/// `mesos slave remove`.
pub(crate) async fn remove(args: RemoveArgs, master: Master) -> Result<ExitCode, Failure> {
    let grace = args.grace.map(|grace| i64::try_from(grace.as_nanos()));
    let grace = grace.transpose().map_err(|_| Failure::Wrong("--grace is too long".to_owned()))?;
    let ask = RemoveNodesRequest {
        pool: args.pool.unwrap_or_default(),
        nodes: args.nodes,
        count: args.count,
        grace_period: grace.map(|nanoseconds| v1::DurationInfo { nanoseconds }),
        force: args.force,
        call_id: Uuid::new_v4().to_string(),
    };
    let done = master.pools().remove(ask).await?.into_inner();
    let what = done.nodes.join(", ");
    let line = if args.wait.wait {
        format!("{what} is gone from pool {}", done.pool)
    } else {
        format!("{what} is leaving pool {}, which is to have {} nodes", done.pool, done.size)
    };
    let is_gone = |pool: &PoolView| done.nodes.iter().all(|name| state(pool, name).is_none());
    wait(&master, &args.wait, "slave remove", &done, is_gone, |pool| states(pool, &done.nodes)).await?;
    print(args.output, done, &line);
    Ok(ExitCode::SUCCESS)
}

fn print(output: OutputArgs, done: ResizedPool, line: &str) {
    let done = Done { pool: done.pool, size: done.size, nodes: done.nodes };
    output::print_change(output.output, &done, line);
}

fn nodes_text(count: u32) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

fn state<'a>(pool: &'a PoolView, name: &str) -> Option<&'a str> {
    pool.nodes.iter().find(|node| node.node == name).map(|node| node.state.as_str())
}

/// Whether a pool has so many nodes, all of them up.
fn has_size(pool: &PoolView, size: u32) -> bool {
    up(pool) == size as usize && pool.nodes.len() == size as usize
}

fn coming(pool: &PoolView, size: u32) -> String {
    let trouble = if pool.trouble.is_empty() { String::new() } else { format!(": {}", pool.trouble) };
    format!("{} of {size} nodes are up{trouble}", up(pool))
}

/// Where nodes stand, in words.
fn states(pool: &PoolView, names: &[String]) -> String {
    let one = |name: &String| match pool.nodes.iter().find(|node| node.node == *name) {
        None => format!("{name} is gone"),
        Some(node) if node.trouble.is_empty() => format!("{name} is {}", node.state),
        Some(node) => format!("{name} is {} ({})", node.state, node.trouble),
    };
    names.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Looks at a pool until it is as it is to be, and says on stderr how far it is whenever that changes.
async fn wait(
    master: &Master,
    args: &WaitArgs,
    name: &str,
    done: &ResizedPool,
    is_done: impl Fn(&PoolView) -> bool,
    words: impl Fn(&PoolView) -> String,
) -> Result<(), Failure> {
    if !args.wait {
        return Ok(());
    }
    let (since, mut said) = (Instant::now(), String::new());
    loop {
        // One that keeps pools takes over from another within seconds; a wait outlives that.
        if let Ok(all) = pools(master).await
            && let Some(pool) = all.into_iter().find(|pool| pool.pool == done.pool)
        {
            let progress = words(&pool);
            if is_done(&pool) {
                return Ok(());
            }
            if progress != said {
                eprintln!("mesos {name}: {progress}");
                said = progress;
            }
        }
        if args.timeout.is_some_and(|timeout| since.elapsed() >= timeout) {
            return Err(Failure::Refused(format!("not done yet ({said}); it goes on")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    #[test]
    fn the_books_own_line_adds_a_node() {
        let added = parse::<AddArgs>(&["--resource-cpus=2", "--resource-mem=4GB"]).unwrap();
        assert_eq!((added.resource_cpus, added.resource_mem), (Some(2000), Some(4_096_000)));
        assert_eq!((added.count, added.pool), (1, None));
        assert!(!added.wait.wait);
    }

    #[test]
    fn what_cannot_be_a_node_is_refused_by_its_option() {
        let wrong = |args: &[&str]| parse::<AddArgs>(args).unwrap_err();
        assert!(wrong(&["--resource-cpus=two"]).contains("--resource-cpus"));
        assert!(wrong(&["--resource-cpus=0"]).contains("--resource-cpus"));
        assert!(wrong(&["--resource-mem=4XB"]).contains("--resource-mem"));
        assert!(wrong(&["--count=0"]).contains("--count"));
        assert!(wrong(&["--timeout=1s"]).contains("--wait"));
        assert!(parse::<RemoveArgs>(&["a", "--count=2"]).unwrap_err().contains("--count"));
        assert!(parse::<PoolArgs>(&["set", "a"]).unwrap_err().contains("--size"));
        assert!(parse::<PoolArgs>(&["set", "a", "--auto=yes"]).unwrap_err().contains("on or off"));
    }
}

//! `agents`, `frameworks`, `stats`.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Args;
use comfy_table::Color;
use mesos_proto::{
    services::v1::{GetStatsRequest, GetStatsResponse, ResourceTotals},
    v1::{
        DrainState,
        master::{call, response},
    },
};
use serde::Serialize;

use super::{
    ClientArgs, Failure, Master,
    output::{self, Format, Line, OutputArgs, ago, amount, number},
};

/// Options of what only lists.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Options of `frameworks`.
#[derive(Args, Clone, Debug)]
pub(crate) struct FrameworksArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Removed frameworks too
    #[arg(short, long)]
    all: bool,
}

#[derive(Debug, Serialize)]
struct AgentLine {
    id: String,
    hostname: String,
    state: &'static str,
    cpus: f64,
    cpus_used: f64,
    mem_mb: f64,
    mem_mb_used: f64,
    disk_mb: f64,
    disk_mb_used: f64,
    port: u32,
    version: String,
    registered: Option<f64>,
    attributes: BTreeMap<String, String>,
}

impl Line for AgentLine {
    const COLUMNS: &'static [&'static str] =
        &["ID", "HOST", "STATE", "CPUS", "MEM MB", "DISK MB", "AGE", "PORT", "VERSION", "ATTRIBUTES"];
    const NARROW: usize = 7;

    fn cells(&self) -> Vec<String> {
        let of = |used, total| format!("{}/{}", number(used), number(total));
        let attributes: Vec<String> = self.attributes.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        vec![
            self.id.clone(),
            self.hostname.clone(),
            self.state.to_owned(),
            of(self.cpus_used, self.cpus),
            of(self.mem_mb_used, self.mem_mb),
            of(self.disk_mb_used, self.disk_mb),
            ago(self.registered),
            self.port.to_string(),
            self.version.clone(),
            attributes.join(";"),
        ]
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn colour(&self) -> Option<Color> {
        (self.state != "active").then_some(Color::Yellow)
    }
}

fn seconds(time: Option<&mesos_proto::v1::TimeInfo>) -> Option<f64> {
    time.map(|time| time.nanoseconds as f64 / 1e9)
}

fn attribute_text(attribute: &mesos_proto::v1::Attribute) -> String {
    if let Some(text) = &attribute.text {
        return text.value.clone();
    }
    if let Some(scalar) = &attribute.scalar {
        return number(scalar.value);
    }
    let ranges = attribute.ranges.iter().flat_map(|ranges| &ranges.range);
    let ranges: Vec<String> = ranges.map(|range| format!("{}-{}", range.begin, range.end)).collect();
    format!("[{}]", ranges.join(", "))
}

/// Where an agent stands, in one word.
pub(crate) fn agent_state(agent: &response::get_agents::Agent) -> &'static str {
    let drain = agent.drain_info.as_ref().map(|info| info.state());
    if agent.down.unwrap_or_default() {
        return "down";
    }
    if agent.unreachable.unwrap_or_default() {
        return "unreachable";
    }
    match (drain, agent.deactivated.unwrap_or_default(), agent.active) {
        (Some(DrainState::Draining), ..) => "draining",
        (Some(DrainState::Drained), ..) => "drained",
        (_, true, _) => "deactivated",
        (_, false, true) => "active",
        (_, false, false) => "unreachable",
    }
}

/// `mesos agents` without more.
pub(crate) async fn agents(args: ListArgs, master: Master) -> Result<ExitCode, Failure> {
    let all = super::find::all_agents(&master).await?;
    let line = |agent: response::get_agents::Agent| {
        let (total, used) = (&agent.total_resources, &agent.allocated_resources);
        let info = &agent.agent_info;
        AgentLine {
            id: info.id.as_ref().map(|id| id.value.clone()).unwrap_or_default(),
            hostname: info.hostname.clone(),
            state: agent_state(&agent),
            cpus: amount(total, "cpus"),
            cpus_used: amount(used, "cpus"),
            mem_mb: amount(total, "mem"),
            mem_mb_used: amount(used, "mem"),
            disk_mb: amount(total, "disk"),
            disk_mb_used: amount(used, "disk"),
            port: info.port.and_then(|port| u32::try_from(port).ok()).unwrap_or_default(),
            version: agent.version.clone(),
            registered: seconds(agent.registered_time.as_ref()),
            attributes: info.attributes.iter().map(|found| (found.name.clone(), attribute_text(found))).collect(),
        }
    };
    let lines: Vec<AgentLine> = all.into_iter().map(line).collect();
    output::print(args.output.output, &lines);
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
struct FrameworkLine {
    id: String,
    name: String,
    state: &'static str,
    roles: Vec<String>,
    cpus: f64,
    mem_mb: f64,
    offers: usize,
    user: String,
    principal: Option<String>,
    hostname: Option<String>,
    failover_timeout: f64,
    registered: Option<f64>,
}

impl Line for FrameworkLine {
    const COLUMNS: &'static [&'static str] =
        &["ID", "NAME", "STATE", "ROLES", "CPUS", "MEM MB", "AGE", "OFFERS", "USER", "PRINCIPAL", "HOST"];
    const NARROW: usize = 7;

    fn cells(&self) -> Vec<String> {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.id.clone(),
            self.name.clone(),
            self.state.to_owned(),
            self.roles.join(","),
            number(self.cpus),
            number(self.mem_mb),
            ago(self.registered),
            self.offers.to_string(),
            self.user.clone(),
            dash(&self.principal),
            dash(&self.hostname),
        ]
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn colour(&self) -> Option<Color> {
        match self.state {
            "active" => None,
            "completed" => Some(Color::DarkGrey),
            _ => Some(Color::Yellow),
        }
    }
}

/// `mesos frameworks`.
pub(crate) async fn frameworks(args: FrameworksArgs, master: Master) -> Result<ExitCode, Failure> {
    let answer = master.operator(call::Type::GetFrameworks).await?.get_frameworks.unwrap_or_default();
    let line = |framework: response::get_frameworks::Framework, completed: bool| {
        let info = &framework.framework_info;
        #[allow(deprecated, reason = "clients that are older than roles name one role")]
        let roles = if info.roles.is_empty() { info.role.clone().into_iter().collect() } else { info.roles.clone() };
        FrameworkLine {
            id: info.id.as_ref().map(|id| id.value.clone()).unwrap_or_default(),
            name: info.name.clone(),
            state: match (completed, framework.connected, framework.active) {
                (true, ..) => "completed",
                (false, true, true) => "active",
                (false, true, false) => "inactive",
                (false, false, _) => "disconnected",
            },
            roles,
            cpus: amount(&framework.allocated_resources, "cpus"),
            mem_mb: amount(&framework.allocated_resources, "mem"),
            offers: framework.offers.len(),
            user: info.user.clone(),
            principal: info.principal.clone(),
            hostname: info.hostname.clone(),
            failover_timeout: info.failover_timeout.unwrap_or_default(),
            registered: seconds(framework.registered_time.as_ref()),
        }
    };
    let mut lines: Vec<FrameworkLine> = answer.frameworks.into_iter().map(|found| line(found, false)).collect();
    if args.all {
        lines.extend(answer.completed_frameworks.into_iter().map(|found| line(found, true)));
    }
    output::print(args.output.output, &lines);
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
struct StatsView {
    total: BTreeMap<String, f64>,
    used: BTreeMap<String, f64>,
    offered: BTreeMap<String, f64>,
    used_percent: BTreeMap<String, f64>,
    agents_active: u64,
    agents_unreachable: u64,
    frameworks_active: u64,
    frameworks_inactive: u64,
    offers_outstanding: u64,
    tasks: BTreeMap<String, u64>,
}

fn totals(totals: Option<&ResourceTotals>) -> BTreeMap<String, f64> {
    let Some(found) = totals else { return BTreeMap::new() };
    let known = [("cpus", found.cpus), ("mem", found.mem), ("disk", found.disk), ("gpus", found.gpus)];
    let others = found.others.iter().map(|(name, amount)| (name.clone(), *amount));
    known.into_iter().map(|(name, amount)| (name.to_owned(), amount)).chain(others).collect()
}

/// One decimal; nothing of nothing is nothing.
fn percent(used: f64, total: f64) -> f64 {
    if total > 0.0 { (used / total * 1000.0).round() / 10.0 } else { 0.0 }
}

impl StatsView {
    fn new(stats: GetStatsResponse) -> StatsView {
        let (total, used) = (totals(stats.total.as_ref()), totals(stats.used.as_ref()));
        let share = |(name, amount): (&String, &f64)| {
            (name.clone(), percent(used.get(name).copied().unwrap_or_default(), *amount))
        };
        StatsView {
            used_percent: total.iter().map(share).collect(),
            offered: totals(stats.offered.as_ref()),
            total,
            used,
            agents_active: stats.agents_active,
            agents_unreachable: stats.agents_unreachable,
            frameworks_active: stats.frameworks_active,
            frameworks_inactive: stats.frameworks_inactive,
            offers_outstanding: stats.offers_outstanding,
            tasks: stats.tasks.into_iter().collect(),
        }
    }

    /// One fact a line: what, the number, and what it is. Scripts take the second word.
    fn lines(&self) -> String {
        let mut text = String::new();
        for (name, label) in [("cpus", "CPU"), ("mem", "memory"), ("disk", "disk"), ("gpus", "GPU")] {
            let of = |amounts: &BTreeMap<String, f64>| amounts.get(name).copied().unwrap_or_default();
            if name == "gpus" && of(&self.total) == 0.0 {
                continue;
            }
            let unit = if matches!(name, "mem" | "disk") { " (MB)" } else { "" };
            text.push_str(&format!("{name} {:.1} {label} usage (percent of total)\n", of(&self.used_percent)));
            text.push_str(&format!("{name}_total {} {label} in the cluster{unit}\n", number(of(&self.total))));
            text.push_str(&format!("{name}_used {} {label} held by tasks{unit}\n", number(of(&self.used))));
            text.push_str(&format!("{name}_offered {} {label} in offers{unit}\n", number(of(&self.offered))));
        }
        for (name, count, label) in [
            ("agents_active", self.agents_active, "agents that are there"),
            ("agents_unreachable", self.agents_unreachable, "agents that are silent"),
            ("frameworks_active", self.frameworks_active, "frameworks that are connected"),
            ("frameworks_inactive", self.frameworks_inactive, "frameworks that are not"),
            ("offers_outstanding", self.offers_outstanding, "offers that frameworks sit on"),
        ] {
            text.push_str(&format!("{name} {count} {label}\n"));
        }
        for (state, count) in &self.tasks {
            text.push_str(&format!("{} {count} tasks in this state\n", state.to_ascii_lowercase()));
        }
        text
    }
}

/// `mesos stats`.
pub(crate) async fn stats(args: ListArgs, master: Master) -> Result<ExitCode, Failure> {
    let view = StatsView::new(master.stats().get(GetStatsRequest {}).await?.into_inner());
    match args.output.output {
        Format::Json => output::write(&output::json(&view)),
        Format::Table | Format::Wide | Format::Quiet => output::write(&view.lines()),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_word_of_the_cpu_line_is_the_percentage() {
        let stats = GetStatsResponse {
            total: Some(ResourceTotals { cpus: 4.0, mem: 1000.0, ..ResourceTotals::default() }),
            used: Some(ResourceTotals { cpus: 1.68, ..ResourceTotals::default() }),
            ..GetStatsResponse::default()
        };
        let text = StatsView::new(stats).lines();
        let line = text.lines().find(|line| line.contains("CPU usage")).unwrap();
        assert_eq!(line, "cpus 42.0 CPU usage (percent of total)");
        assert_eq!(text.lines().filter(|line| line.contains("CPU usage")).count(), 1);
        assert_eq!(percent(1.0, 0.0), 0.0);
    }
}

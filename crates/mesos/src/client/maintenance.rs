//! `maintenance`: machines that will be away, and when.

use std::{
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use mesos_proto::{
    json,
    v1::{
        self,
        allocator::inverse_offer_status::Status,
        maintenance::{ClusterStatus, Schedule, Window},
        master::{
            Call,
            call::{self, Type},
        },
    },
};
use mesos_runtime::config::parse_duration;
use serde::Serialize;

use super::{
    ClientArgs, Failure, Master,
    output::{self, Format, Line, OutputArgs},
};

/// Options of `maintenance`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MaintenanceArgs {
    #[command(subcommand)]
    what: Maintenance,
}

#[derive(Clone, Debug, Subcommand)]
enum Maintenance {
    /// Show the schedule, or change it
    Schedule(ScheduleArgs),
    /// Take machines of the schedule down: their agents end their tasks and have to wait
    Start(MachinesArgs),
    /// Machines are up again: their agents may come back
    Stop(MachinesArgs),
    /// Show which machines are draining or down, and what frameworks answered
    Status(ShowArgs),
}

#[derive(Args, Clone, Debug)]
struct ShowArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
struct ScheduleArgs {
    #[command(flatten)]
    show: ShowArgs,
    #[command(subcommand)]
    what: Option<ScheduleCommand>,
}

#[derive(Clone, Debug, Subcommand)]
enum ScheduleCommand {
    /// Add a window: when some machines will be away
    Add(AddArgs),
    /// Take machines out of the schedule
    Remove(MachinesArgs),
    /// Put the schedule of a file in the place of the present one, as Mesos's JSON has it
    Set(SetArgs),
}

#[derive(Args, Clone, Debug)]
struct AddArgs {
    /// From when: now, a time from now (+2h), or a point in time (2027-01-31T22:00:00Z)
    #[arg(long, value_name = "TIME", default_value = "now", value_parser = parse_start)]
    start: Start,
    /// For how long [default: until further notice]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    machines: MachinesArgs,
}

#[derive(Args, Clone, Debug)]
struct SetArgs {
    /// The file: {"windows":[{"machine_ids":[{"hostname":"h"}],"unavailability":{"start":{"nanoseconds":0}}}]}
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Args, Clone, Debug)]
struct MachinesArgs {
    /// Machines: hostname, address, or hostname/address
    #[arg(value_name = "MACHINE", required = true, value_parser = parse_machine)]
    machines: Vec<v1::MachineId>,
    #[command(flatten)]
    show: ShowArgs,
}

impl MaintenanceArgs {
    /// Which master is asked.
    pub(crate) fn client(&self) -> ClientArgs {
        let show = match &self.what {
            Maintenance::Schedule(args) => match &args.what {
                None => &args.show,
                Some(ScheduleCommand::Add(args)) => &args.machines.show,
                Some(ScheduleCommand::Remove(args)) => &args.show,
                Some(ScheduleCommand::Set(args)) => &args.show,
            },
            Maintenance::Start(args) | Maintenance::Stop(args) => &args.show,
            Maintenance::Status(args) => args,
        };
        show.client.clone()
    }
}

/// When a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    In(Duration),
    At(SystemTime),
}

impl Start {
    fn nanoseconds(self, now: SystemTime) -> Result<i64, Failure> {
        let at = match self {
            Start::In(span) => now.checked_add(span),
            Start::At(time) => Some(time),
        };
        let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        since
            .and_then(|since| i64::try_from(since.as_nanos()).ok())
            .ok_or_else(|| Failure::Wrong("--start is no time that can be scheduled".to_owned()))
    }
}

fn parse_start(text: &str) -> Result<Start, String> {
    if text == "now" {
        return Ok(Start::In(Duration::ZERO));
    }
    if let Some(span) = text.strip_prefix('+') {
        return parse_duration(span).map(Start::In);
    }
    humantime::parse_rfc3339_weak(text)
        .map(Start::At)
        .map_err(|error| format!("{error}; expected now, +2h, or a time like 2027-01-31T22:00:00Z"))
}

fn parse_machine(text: &str) -> Result<v1::MachineId, String> {
    let is_ip = |text: &str| text.parse::<IpAddr>().is_ok();
    let (hostname, ip) = match text.split_once('/') {
        None if is_ip(text) => (None, Some(text)),
        None => (Some(text), None),
        Some((hostname, ip)) if is_ip(ip) => (Some(hostname), Some(ip)),
        Some((_, ip)) => {
            return Err(format!("'{ip}' is no IP address; expected hostname, address or hostname/address"));
        }
    };
    if hostname.is_some_and(str::is_empty) {
        return Err("the hostname is empty".to_owned());
    }
    Ok(v1::MachineId { hostname: hostname.map(str::to_ascii_lowercase), ip: ip.map(str::to_owned) })
}

fn name(machine: &v1::MachineId) -> String {
    match (machine.hostname.as_deref(), machine.ip.as_deref()) {
        (Some(hostname), Some(ip)) => format!("{hostname}/{ip}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => String::new(),
    }
}

#[derive(Debug, Serialize)]
struct MachineLine {
    machine: String,
    state: &'static str,
    start: Option<String>,
    duration: Option<String>,
    /// Frameworks that answered, or were asked.
    accepted: Vec<String>,
    declined: Vec<String>,
    asked: Vec<String>,
}

impl Line for MachineLine {
    const COLUMNS: &'static [&'static str] = &["MACHINE", "STATE", "FROM", "FOR", "ACCEPTED", "DECLINED", "ASKED"];
    const NARROW: usize = 7;

    fn cells(&self) -> Vec<String> {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(",") };
        vec![
            self.machine.clone(),
            self.state.to_owned(),
            dash(&self.start),
            dash(&self.duration),
            list(&self.accepted),
            list(&self.declined),
            list(&self.asked),
        ]
    }

    fn id(&self) -> &str {
        &self.machine
    }
}

/// A point in time and a span, for people.
fn when(unavailability: &v1::Unavailability) -> (String, Option<String>) {
    let start = u64::try_from(unavailability.start.nanoseconds).unwrap_or(0);
    let start = UNIX_EPOCH + Duration::from_nanos(start);
    let span = unavailability.duration.as_ref().and_then(|duration| u64::try_from(duration.nanoseconds).ok());
    let span = span.map(|nanos| humantime::format_duration(Duration::from_secs(nanos / 1_000_000_000)).to_string());
    (humantime::format_rfc3339_seconds(start).to_string(), span)
}

fn lines(schedule: &Schedule, status: &ClusterStatus) -> Vec<MachineLine> {
    let mut lines = Vec::new();
    for window in &schedule.windows {
        let (start, duration) = when(&window.unavailability);
        for machine in &window.machine_ids {
            let asked = status.draining_machines.iter().find(|draining| draining.id == *machine);
            let said = |wanted: Status| {
                let statuses = asked.into_iter().flat_map(|draining| &draining.statuses);
                let said = statuses.filter(|answer| answer.status() == wanted);
                said.map(|answer| answer.framework_id.value.clone()).collect()
            };
            lines.push(MachineLine {
                machine: name(machine),
                state: if status.down_machines.contains(machine) { "down" } else { "draining" },
                start: Some(start.clone()),
                duration: duration.clone(),
                accepted: said(Status::Accept),
                declined: said(Status::Decline),
                asked: said(Status::Unknown),
            });
        }
    }
    lines
}

async fn schedule(master: &Master) -> Result<Schedule, Failure> {
    let reply = master.operator(Type::GetMaintenanceSchedule).await?;
    Ok(reply.get_maintenance_schedule.map(|found| found.schedule).unwrap_or_default())
}

async fn show(master: &Master, output: OutputArgs) -> Result<ExitCode, Failure> {
    let reply = master.operator(Type::GetMaintenanceStatus).await?;
    let status = reply.get_maintenance_status.map(|found| found.status).unwrap_or_default();
    output::print(output.output, &lines(&schedule(master).await?, &status));
    Ok(ExitCode::SUCCESS)
}

async fn set_schedule(master: &Master, schedule: Schedule, output: OutputArgs) -> Result<ExitCode, Failure> {
    let count: usize = schedule.windows.iter().map(|window| window.machine_ids.len()).sum();
    let call = Call {
        r#type: Some(Type::UpdateMaintenanceSchedule.into()),
        update_maintenance_schedule: Some(call::UpdateMaintenanceSchedule { schedule: schedule.clone() }),
        ..Call::default()
    };
    master.call(call).await?;
    match output.output {
        Format::Json => output::write(&(json::encode(&schedule) + "\n")),
        Format::Quiet => {}
        Format::Table | Format::Wide => output::write(&format!("{count} machines are in the schedule\n")),
    }
    Ok(ExitCode::SUCCESS)
}

/// `mesos maintenance`.
pub(crate) async fn maintenance(args: MaintenanceArgs, master: Master) -> Result<ExitCode, Failure> {
    match args.what {
        Maintenance::Status(args) => show(&master, args.output).await,
        Maintenance::Schedule(ScheduleArgs { what: None, show: args }) => match args.output.output {
            // As it can be given to `schedule set` again.
            Format::Json => {
                output::write(&(json::encode(&schedule(&master).await?) + "\n"));
                Ok(ExitCode::SUCCESS)
            }
            _ => show(&master, args.output).await,
        },
        Maintenance::Schedule(ScheduleArgs { what: Some(ScheduleCommand::Add(args)), .. }) => {
            let duration = args.duration.map(|span| i64::try_from(span.as_nanos()));
            let duration = duration.transpose().map_err(|_| Failure::Wrong("--duration is too long".to_owned()))?;
            let mut planned = schedule(&master).await?;
            planned.windows.push(Window {
                machine_ids: args.machines.machines,
                unavailability: v1::Unavailability {
                    start: v1::TimeInfo { nanoseconds: args.start.nanoseconds(SystemTime::now())? },
                    duration: duration.map(|nanoseconds| v1::DurationInfo { nanoseconds }),
                },
            });
            set_schedule(&master, planned, args.machines.show.output).await
        }
        Maintenance::Schedule(ScheduleArgs { what: Some(ScheduleCommand::Remove(args)), .. }) => {
            let mut planned = schedule(&master).await?;
            for machine in &args.machines {
                take_out(&mut planned, machine)?;
            }
            set_schedule(&master, planned, args.show.output).await
        }
        Maintenance::Schedule(ScheduleArgs { what: Some(ScheduleCommand::Set(args)), .. }) => {
            let wrong = |error: &dyn std::fmt::Display| Failure::Wrong(format!("{}: {error}", args.file.display()));
            let text = std::fs::read(&args.file).map_err(|error| wrong(&error))?;
            let planned: Schedule = json::decode(&text).map_err(|error| wrong(&error))?;
            set_schedule(&master, planned, args.show.output).await
        }
        Maintenance::Start(args) => {
            let ask = call::StartMaintenance { machines: args.machines.clone() };
            let kind = Some(Type::StartMaintenance.into());
            master.call(Call { r#type: kind, start_maintenance: Some(ask), ..Call::default() }).await?;
            said(&args, "down")
        }
        Maintenance::Stop(args) => {
            let ask = call::StopMaintenance { machines: args.machines.clone() };
            let kind = Some(Type::StopMaintenance.into());
            master.call(Call { r#type: kind, stop_maintenance: Some(ask), ..Call::default() }).await?;
            said(&args, "up")
        }
    }
}

fn take_out(schedule: &mut Schedule, machine: &v1::MachineId) -> Result<(), Failure> {
    let before: Vec<String> = schedule.windows.iter().flat_map(|window| &window.machine_ids).map(name).collect();
    for window in &mut schedule.windows {
        window.machine_ids.retain(|other| other != machine);
    }
    schedule.windows.retain(|window| !window.machine_ids.is_empty());
    let after: usize = schedule.windows.iter().map(|window| window.machine_ids.len()).sum();
    if after < before.len() {
        return Ok(());
    }
    let there = if before.is_empty() { "nothing".to_owned() } else { before[..before.len().min(10)].join(", ") };
    Err(Failure::Wrong(format!("{} is not in the schedule, which has {there}", name(machine))))
}

#[derive(Debug, Serialize)]
struct Done {
    machines: Vec<String>,
    state: &'static str,
}

fn said(args: &MachinesArgs, state: &'static str) -> Result<ExitCode, Failure> {
    let done = Done { machines: args.machines.iter().map(name).collect(), state };
    output::print_change(args.show.output.output, &done, &format!("{} {state}", done.machines.join(", ")));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    fn machine(text: &str) -> v1::MachineId {
        parse_machine(text).unwrap()
    }

    #[test]
    fn a_machine_is_a_hostname_an_address_or_both() {
        assert_eq!(name(&machine("Host.A")), "host.a");
        assert_eq!(machine("10.0.0.1").ip.as_deref(), Some("10.0.0.1"));
        assert_eq!(machine("::1").ip.as_deref(), Some("::1"));
        assert_eq!(name(&machine("h/10.0.0.1")), "h/10.0.0.1");
        assert!(parse_machine("h/x").unwrap_err().contains("no IP address"));
        assert!(parse_machine("/10.0.0.1").unwrap_err().contains("empty"));
    }

    #[test]
    fn a_window_begins_now_later_or_at_a_point_in_time() {
        let now = UNIX_EPOCH + Duration::from_secs(100);
        let at = |text: &str| parse_start(text).unwrap().nanoseconds(now).unwrap();
        assert_eq!(at("now"), 100_000_000_000);
        assert_eq!(at("+2m"), 220_000_000_000);
        assert_eq!(at("1970-01-01T00:00:07Z"), 7_000_000_000);
        assert!(parse_start("tomorrow").unwrap_err().contains("+2h"));
        assert!(parse_start("1960-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn options_that_cannot_be_are_refused() {
        for args in [&["start"][..], &["schedule", "add"], &["schedule", "add", "--start", "x", "h"], &["fly", "h"]] {
            assert!(parse::<MaintenanceArgs>(args).is_err(), "{args:?}");
        }
        assert!(parse::<MaintenanceArgs>(&["schedule"]).is_ok());
        let given = parse::<MaintenanceArgs>(&["schedule", "add", "--duration", "1h", "a", "b", "--master", "m"]);
        assert_eq!(given.unwrap().client().master.as_deref(), Some("m"));
    }

    #[test]
    fn a_machine_leaves_the_schedule_with_its_window_if_it_was_the_last() {
        let window = |names: &[&str]| Window {
            machine_ids: names.iter().map(|name| machine(name)).collect(),
            unavailability: v1::Unavailability::default(),
        };
        let mut planned = Schedule { windows: vec![window(&["a"]), window(&["b", "c"])] };
        take_out(&mut planned, &machine("a")).unwrap();
        take_out(&mut planned, &machine("b")).unwrap();
        assert_eq!(planned, Schedule { windows: vec![window(&["c"])] });
        assert!(take_out(&mut planned, &machine("x")).unwrap_err().to_string().contains("which has c"));
    }

    #[test]
    fn machines_are_shown_with_what_frameworks_answered() {
        use v1::{allocator::InverseOfferStatus, maintenance::cluster_status::DrainingMachine};
        let answer = |status: Status, id: &str| InverseOfferStatus {
            status: status.into(),
            framework_id: v1::FrameworkId { value: id.into() },
            timestamp: v1::TimeInfo::default(),
        };
        let planned = Schedule {
            windows: vec![Window {
                machine_ids: vec![machine("a"), machine("b")],
                unavailability: v1::Unavailability {
                    start: v1::TimeInfo { nanoseconds: 7_000_000_000 },
                    duration: Some(v1::DurationInfo { nanoseconds: 3_600_000_000_000 }),
                },
            }],
        };
        let status = ClusterStatus {
            draining_machines: vec![DrainingMachine {
                id: machine("a"),
                statuses: vec![answer(Status::Accept, "f"), answer(Status::Decline, "g")],
            }],
            down_machines: vec![machine("b")],
        };
        let shown: Vec<Vec<String>> = lines(&planned, &status).iter().map(Line::cells).collect();
        assert_eq!(shown[0], ["a", "draining", "1970-01-01T00:00:07Z", "1h", "f", "g", "-"]);
        assert_eq!(shown[1][1], "down");
    }
}

//! `ps`, `logs`, `kill`.

use std::{cmp::Reverse, collections::BTreeMap, process::ExitCode, time::Duration};

use clap::Args;
use comfy_table::Color;
use mesos_proto::{
    services::v1::{KillRequest, ReadRequest, WatchRequest},
    v1::{self, TaskState, master::call},
};
use mesos_runtime::config::parse_duration;
use serde::Serialize;
use tonic::Code;

use super::{
    ClientArgs, Failure, Master, follow,
    output::{self, Line, OutputArgs, ago, amount, number},
};

/// The name of the built-in framework.
const LAUNCHER: &str = mesos_launcher::service::NAME;
/// How long a snapshot may pause before it counts as complete.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(30);
/// How often, and after which time each, a task is looked for that the state does not show.
const LOOKS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Options of `ps`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Tasks that have ended too
    #[arg(short, long)]
    all: bool,
    /// Only tasks of this framework (name or id)
    #[arg(long, value_name = "FRAMEWORK")]
    framework: Option<String>,
}

/// One task, as the master knows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TaskLine {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) framework_id: String,
    pub(crate) framework: String,
    pub(crate) agent_id: String,
    hostname: String,
    cpus: f64,
    mem_mb: f64,
    disk_mb: f64,
    user: Option<String>,
    message: Option<String>,
    exit_code: Option<i32>,
    healthy: Option<bool>,
    since: Option<f64>,
    #[serde(skip)]
    ended: bool,
}

impl Line for TaskLine {
    const COLUMNS: &'static [&'static str] =
        &["ID", "NAME", "STATE", "HOST", "CPUS", "MEM MB", "SINCE", "FRAMEWORK", "AGENT", "EXIT", "MESSAGE"];
    const NARROW: usize = 8;

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.state.clone(),
            self.hostname.clone(),
            number(self.cpus),
            number(self.mem_mb),
            ago(self.since),
            self.framework.clone(),
            self.agent_id.clone(),
            self.exit_code.map(|code| code.to_string()).unwrap_or_default(),
            self.message.clone().unwrap_or_default(),
        ]
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn colour(&self) -> Option<Color> {
        match self.state.as_str() {
            "TASK_RUNNING" => Some(Color::Green),
            "TASK_FINISHED" | "TASK_KILLED" => Some(Color::DarkGrey),
            "TASK_STAGING" | "TASK_STARTING" | "TASK_KILLING" => None,
            _ => Some(Color::Red),
        }
    }
}

/// Whether a task in this state is over.
pub(crate) fn is_end(state: TaskState) -> bool {
    use TaskState as S;
    matches!(
        state,
        S::TaskFinished
            | S::TaskFailed
            | S::TaskKilled
            | S::TaskError
            | S::TaskLost
            | S::TaskDropped
            | S::TaskGone
            | S::TaskGoneByOperator
            | S::TaskUnknown
    )
}

/// The state's name on the wire.
pub(crate) fn state_name(state: i32) -> String {
    TaskState::try_from(state).map_or_else(|_| format!("TASK_{state}"), |state| state.as_str_name().to_owned())
}

/// Every task that the master remembers, running ones first, newest first.
pub(crate) async fn list(master: &Master) -> Result<Vec<TaskLine>, Failure> {
    let state = master.operator(call::Type::GetState).await?.get_state.unwrap_or_default();
    let agents = state.get_agents.unwrap_or_default().agents;
    let hosts: BTreeMap<String, String> =
        agents.into_iter().filter_map(|agent| Some((agent.agent_info.id?.value, agent.agent_info.hostname))).collect();
    let frameworks = state.get_frameworks.unwrap_or_default();
    let names: BTreeMap<String, String> = frameworks
        .frameworks
        .into_iter()
        .chain(frameworks.completed_frameworks)
        .filter_map(|framework| Some((framework.framework_info.id?.value, framework.framework_info.name)))
        .collect();
    let tasks = state.get_tasks.unwrap_or_default();
    let live =
        tasks.pending_tasks.into_iter().chain(tasks.tasks).chain(tasks.unreachable_tasks).chain(tasks.orphan_tasks);
    let mut lines: Vec<TaskLine> =
        live.chain(tasks.completed_tasks).map(|task| task_line(task, &hosts, &names)).collect();
    lines.sort_by_key(|line| (line.ended, Reverse(line.since.map(|since| (since * 1e3) as u64)), line.id.clone()));
    Ok(lines)
}

fn task_line(task: v1::Task, hosts: &BTreeMap<String, String>, names: &BTreeMap<String, String>) -> TaskLine {
    let last = task.statuses.last();
    let ended = TaskState::try_from(task.state).is_ok_and(is_end);
    TaskLine {
        hostname: hosts.get(&task.agent_id.value).cloned().unwrap_or_else(|| "-".to_owned()),
        framework: names.get(&task.framework_id.value).cloned().unwrap_or_else(|| task.framework_id.value.clone()),
        id: task.task_id.value,
        name: task.name,
        state: state_name(task.state),
        framework_id: task.framework_id.value,
        agent_id: task.agent_id.value,
        cpus: amount(&task.resources, "cpus"),
        mem_mb: amount(&task.resources, "mem"),
        disk_mb: amount(&task.resources, "disk"),
        user: task.user,
        message: last.and_then(|status| status.message.clone()).filter(|message| !message.is_empty()),
        exit_code: last.and_then(|status| status.exit_code),
        healthy: last.and_then(|status| status.healthy),
        since: last.and_then(|status| status.timestamp),
        ended,
    }
}

/// Tasks of the built-in framework that wait for an offer: the master has not heard of them yet. Nothing, if
/// the framework does not answer.
async fn waiting(master: &Master, known: &[TaskLine]) -> Vec<TaskLine> {
    let Ok(events) = master.launcher().watch(WatchRequest::default()).await else { return Vec::new() };
    let mut events = events.into_inner();
    let mut lines = BTreeMap::new();
    // What is there comes at once; what comes after a pause is news. Of a task that goes on meanwhile the last counts.
    while let Ok(Ok(Some(event))) = tokio::time::timeout(SNAPSHOT_PAUSE, events.message()).await {
        let Some(status) = event.status else { continue };
        let id = status.task_id.value.clone();
        if known.iter().any(|line| line.id == id) {
            continue;
        }
        if TaskState::try_from(status.state).is_ok_and(is_end) {
            lines.remove(&id);
            continue;
        }
        let task = v1::Task {
            name: event.name,
            task_id: status.task_id.clone(),
            framework_id: event.framework_id.unwrap_or_default(),
            state: status.state,
            statuses: vec![status],
            ..v1::Task::default()
        };
        let line = task_line(task, &BTreeMap::new(), &BTreeMap::new());
        lines.insert(id, TaskLine { framework: LAUNCHER.to_owned(), ..line });
    }
    lines.into_values().collect()
}

/// `mesos ps`.
pub(crate) async fn ps(args: PsArgs, master: Master) -> Result<ExitCode, Failure> {
    let mut lines = list(&master).await?;
    let waiting = waiting(&master, &lines).await;
    lines.splice(0..0, waiting);
    lines.retain(|line| args.all || !line.ended);
    if let Some(wanted) = &args.framework {
        lines.retain(|line| line.framework == *wanted || line.framework_id == *wanted);
    }
    output::print(args.output.output, &lines);
    Ok(ExitCode::SUCCESS)
}

/// The task that is meant: by id, by name (one that runs, else the latest), or by the beginning of its id.
pub(crate) fn resolve<'a>(lines: &'a [TaskLine], wanted: &str) -> Result<&'a TaskLine, Failure> {
    let several = |found: &[&TaskLine]| {
        let ids: Vec<&str> = found.iter().take(5).map(|line| line.id.as_str()).collect();
        let more = if found.len() > ids.len() { ", …" } else { "" };
        Failure::Wrong(format!(
            "{wanted} may be any of {} tasks: {}{more}; name one by its id",
            found.len(),
            ids.join(", ")
        ))
    };
    let by_id: Vec<&TaskLine> = lines.iter().filter(|line| line.id == wanted).collect();
    match by_id[..] {
        [] => {}
        [one] => return Ok(one),
        _ => return by_id.iter().find(|line| !line.ended).copied().ok_or_else(|| several(&by_id)),
    }
    let named: Vec<&TaskLine> = lines.iter().filter(|line| line.name == wanted).collect();
    let running: Vec<&TaskLine> = named.iter().filter(|line| !line.ended).copied().collect();
    match (&running[..], &named[..]) {
        ([one], _) => return Ok(one),
        ([], [latest, ..]) => return Ok(latest),
        ([], []) => {}
        (many, _) => return Err(several(many)),
    }
    let begun: Vec<&TaskLine> = lines.iter().filter(|line| line.id.starts_with(wanted)).collect();
    match begun[..] {
        [one] => Ok(one),
        [] => Err(Failure::NoTask(wanted.to_owned())),
        _ => Err(several(&begun)),
    }
}

/// A task as [`resolve`] takes it. What `mesos ps` knows from the launcher the state shows a moment later, since a
/// gateway answers those who ask for it at the same time from one rendering; so it is asked for again before nobody
/// knows the task.
async fn find(master: &Master, wanted: &str) -> Result<TaskLine, Failure> {
    for _ in 0..LOOKS {
        match resolve(&list(master).await?, wanted) {
            Err(Failure::NoTask(_)) => tokio::time::sleep(LOOK_AGAIN).await,
            found => return found.cloned(),
        }
    }
    resolve(&list(master).await?, wanted).cloned()
}

/// Options of `logs`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogsArgs {
    /// Id or name of the task, or the beginning of its id
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Go on until the task has ended
    #[arg(short, long)]
    follow: bool,
    /// What it wrote to stderr instead
    #[arg(long, conflicts_with = "path")]
    stderr: bool,
    /// Another file of its sandbox
    #[arg(long, value_name = "FILE")]
    path: Option<String>,
    /// Only so many bytes of its end
    #[arg(long, value_name = "BYTES")]
    tail: Option<i64>,
}

/// `mesos logs`.
pub(crate) async fn logs(args: LogsArgs, master: Master) -> Result<ExitCode, Failure> {
    let task = &find(&master, &args.task).await?;
    let stream = if args.stderr { "stderr" } else { "stdout" };
    let request = ReadRequest {
        framework_id: Some(v1::FrameworkId { value: task.framework_id.clone() }),
        task_id: Some(v1::TaskId { value: task.id.clone() }),
        agent_id: Some(v1::AgentId { value: task.agent_id.clone() }).filter(|agent| !agent.value.is_empty()),
        path: args.path.clone().unwrap_or_else(|| stream.to_owned()),
        offset: args.tail.map_or(0, |bytes| -bytes.abs()),
        length: None,
        follow: args.follow,
    };
    follow::copy(&master, request, follow::Sink::Stdout).await?;
    Ok(ExitCode::SUCCESS)
}

/// Options of `kill`.
#[derive(Args, Clone, Debug)]
pub(crate) struct KillArgs {
    /// Ids or names of tasks, or the beginnings of their ids
    #[arg(value_name = "TASK", required = true, num_args = 1..)]
    tasks: Vec<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// Time between the polite signal and the final one [default: the task's own]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    grace: Option<Duration>,
}

/// `mesos kill`.
pub(crate) async fn kill(args: KillArgs, master: Master) -> Result<ExitCode, Failure> {
    let lines = list(&master).await?;
    let mut status = ExitCode::SUCCESS;
    for wanted in &args.tasks {
        match kill_one(&args, &master, &lines, wanted).await {
            Ok(id) => println!("{id}"),
            Err(failure) => {
                eprintln!("mesos kill: {failure}");
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

async fn kill_one(args: &KillArgs, master: &Master, lines: &[TaskLine], wanted: &str) -> Result<String, Failure> {
    let (id, framework) = match resolve(lines, wanted) {
        Ok(task) => (task.id.clone(), Some(v1::FrameworkId { value: task.framework_id.clone() })),
        // The built-in framework may hold a task that no offer has fitted yet; the master does not know it.
        Err(Failure::NoTask(_)) => (wanted.to_owned(), None),
        Err(failure) => return Err(failure),
    };
    let nanoseconds = |grace: Duration| i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
    let request = KillRequest {
        task_id: Some(v1::TaskId { value: id.clone() }),
        framework_id: framework.clone(),
        grace_period: args.grace.map(|grace| v1::DurationInfo { nanoseconds: nanoseconds(grace) }),
        call_id: super::request::call_id(),
    };
    match master.launcher().kill(request).await {
        Ok(_) => Ok(id),
        Err(status) if framework.is_none() && matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {
            Err(Failure::NoTask(id))
        }
        Err(status) => Err(status.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, name: &str, ended: bool) -> TaskLine {
        let task = v1::Task {
            task_id: v1::TaskId { value: id.into() },
            name: name.into(),
            state: if ended { TaskState::TaskFinished } else { TaskState::TaskRunning }.into(),
            ..v1::Task::default()
        };
        task_line(task, &BTreeMap::new(), &BTreeMap::new())
    }

    #[test]
    fn a_task_is_meant_by_id_name_or_beginning() {
        let lines = [
            task("abc-1", "web", false),
            task("abc-2", "job", true),
            task("b-1", "web", true),
            task("b-2", "job", true),
        ];
        let meant =
            |wanted: &str| resolve(&lines, wanted).map(|line| line.id.clone()).map_err(|error| error.to_string());
        assert_eq!(meant("abc-2").as_deref(), Ok("abc-2"));
        assert_eq!(meant("web").as_deref(), Ok("abc-1"), "the one that runs");
        assert_eq!(meant("job").as_deref(), Ok("abc-2"), "the latest");
        assert_eq!(meant("b-1").as_deref(), Ok("b-1"));
        assert!(meant("abc").unwrap_err().contains("abc-1, abc-2"));
        assert!(meant("zzz").unwrap_err().contains("there is no task zzz"));
    }
}

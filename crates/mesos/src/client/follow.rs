//! A task's states and output, until it has ended.

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use mesos_proto::{
    services::v1::{KillRequest, ReadRequest, TaskEvent, WatchRequest},
    v1::{self, TaskState},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tonic::{Code, Status};

use super::{
    Failure, Master,
    tasks::{is_end, state_name},
};

/// How long a master that went away is waited for.
const AWAY_MAX: Duration = Duration::from_secs(120);
const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// How long output may lag behind the end of a task.
const OUTPUT_MAX: Duration = Duration::from_secs(10);
/// When to say that nothing has started yet.
const PATIENCE: Duration = Duration::from_secs(10);
/// Exit status after a second Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// Where output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    Stdout,
    Stderr,
}

impl Sink {
    /// False if nobody reads any more.
    fn write(self, data: &[u8]) -> bool {
        let written = match self {
            Sink::Stdout => std::io::stdout().write_all(data).and_then(|()| std::io::stdout().flush()),
            Sink::Stderr => std::io::stderr().write_all(data),
        };
        written.is_ok()
    }
}

/// Copies a file of a sandbox. With `follow`, goes on at the same place when the connection is lost.
pub(crate) async fn copy(master: &Master, mut request: ReadRequest, sink: Sink) -> Result<(), Failure> {
    let mut away: Option<Instant> = None;
    loop {
        let failed = match copy_once(master, &mut request, sink, &mut away).await {
            Ok(()) => return Ok(()),
            Err(status) => status,
        };
        let since = *away.get_or_insert_with(Instant::now);
        if !request.follow || !may_pass(&failed) || since.elapsed() > AWAY_MAX {
            return Err(failed.into());
        }
        tokio::time::sleep(AWAY_PAUSE).await;
    }
}

async fn copy_once(
    master: &Master,
    request: &mut ReadRequest,
    sink: Sink,
    away: &mut Option<Instant>,
) -> Result<(), Status> {
    let mut chunks = master.files().read(request.clone()).await?.into_inner();
    while let Some(chunk) = chunks.message().await? {
        *away = None;
        if !sink.write(&chunk.data) {
            return Ok(());
        }
        if !chunk.data.is_empty() || request.offset < 0 {
            request.offset = i64::try_from(chunk.offset + chunk.data.len() as u64).unwrap_or(i64::MAX);
        }
        if chunk.eof {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the same request may work a moment later.
fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded
    )
}

/// One task that is followed.
pub(crate) struct Follow<'a> {
    pub(crate) master: &'a Master,
    pub(crate) framework: Option<v1::FrameworkId>,
    pub(crate) task: v1::TaskId,
    /// What it asks for, for the line that says that nothing offers it.
    pub(crate) wants: String,
    /// Ctrl-C kills the task.
    pub(crate) interrupts: bool,
}

impl Follow<'_> {
    /// Follows to the end: states on stderr, output where it belongs, the exit status as the own one.
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let mut output: Vec<JoinHandle<()>> = Vec::new();
        let mut last = None;
        let mut interrupt = signal(SignalKind::interrupt()).ok();
        let mut kills = 0;
        let mut away: Option<Instant> = None;
        'connection: loop {
            let watch = WatchRequest { framework_id: self.framework.clone(), task_ids: vec![self.task.clone()] };
            let mut events = match self.master.launcher().watch(watch).await {
                Ok(events) => events.into_inner(),
                Err(status) => {
                    self.wait_for_master(status, &mut away).await?;
                    continue;
                }
            };
            loop {
                let event = tokio::select! {
                    event = events.message() => event,
                    () = interrupted(&mut interrupt, self.interrupts) => {
                        kills += 1;
                        if kills > 1 {
                            eprintln!("mesos launch: detached; the task {} is being killed", self.task.value);
                            return Ok(ExitCode::from(INTERRUPTED));
                        }
                        self.kill().await;
                        continue;
                    }
                    () = tokio::time::sleep(PATIENCE), if last.is_none() => {
                        eprintln!("mesos launch: no agent has {} free yet; waiting (see `mesos agents`)", self.wants);
                        last = Some(v1::TaskStatus::default());
                        continue;
                    }
                };
                match event {
                    Ok(Some(event)) => {
                        away = None;
                        let status = event.status.clone().unwrap_or_default();
                        self.tell(&event, &status, last.as_ref());
                        if output.is_empty() && has_started(&event, &status) {
                            output = self.start_output(&event);
                        }
                        let ended = TaskState::try_from(status.state).is_ok_and(is_end);
                        last = Some(status);
                        if ended {
                            break 'connection;
                        }
                    }
                    Ok(None) => {
                        self.wait_for_master(Status::unavailable("the master closed the stream"), &mut away).await?;
                        continue 'connection;
                    }
                    Err(status) => {
                        self.wait_for_master(status, &mut away).await?;
                        continue 'connection;
                    }
                }
            }
        }
        for copy in output {
            let _ = tokio::time::timeout(OUTPUT_MAX, copy).await;
        }
        Ok(exit_of(&last.unwrap_or_default()))
    }

    async fn wait_for_master(&self, status: Status, away: &mut Option<Instant>) -> Result<(), Failure> {
        if away.is_none() && may_pass(&status) {
            eprintln!("mesos launch: the master is away ({}); the task goes on, waiting for it", status.message());
        }
        let since = *away.get_or_insert_with(Instant::now);
        if !may_pass(&status) || since.elapsed() > AWAY_MAX {
            return Err(status.into());
        }
        tokio::time::sleep(AWAY_PAUSE).await;
        Ok(())
    }

    fn tell(&self, event: &TaskEvent, status: &v1::TaskStatus, last: Option<&v1::TaskStatus>) {
        let same = last.is_some_and(|last| {
            last.state == status.state && last.healthy == status.healthy && last.message == status.message
        });
        if same && last.is_some_and(|last| last.timestamp.is_some()) {
            return;
        }
        let mut line = format!("task {} {}", self.task.value, state_name(status.state));
        if !event.hostname.is_empty() {
            line.push_str(&format!(" on {}", event.hostname));
        }
        if let Some(healthy) = status.healthy {
            line.push_str(if healthy { " (healthy)" } else { " (not healthy)" });
        }
        if let Some(message) = status.message.as_deref().filter(|message| !message.is_empty()) {
            line.push_str(&format!(": {message}"));
        }
        eprintln!("{line}");
    }

    fn start_output(&self, event: &TaskEvent) -> Vec<JoinHandle<()>> {
        let copies = [("stdout", Sink::Stdout), ("stderr", Sink::Stderr)].map(|(path, sink)| {
            let request = ReadRequest {
                framework_id: self.framework.clone(),
                task_id: Some(self.task.clone()),
                agent_id: event.agent_id.clone(),
                path: path.to_owned(),
                follow: true,
                ..ReadRequest::default()
            };
            let master = self.master.clone();
            tokio::spawn(async move {
                if let Err(failure) = copy(&master, request, sink).await {
                    eprintln!("mesos launch: {path} cannot be read: {failure}");
                }
            })
        });
        copies.into()
    }

    async fn kill(&self) {
        eprintln!("mesos launch: killing task {} (Ctrl-C again to detach)", self.task.value);
        let request = KillRequest {
            task_id: Some(self.task.clone()),
            framework_id: self.framework.clone(),
            grace_period: None,
            call_id: super::request::call_id(),
        };
        if let Err(status) = self.master.launcher().kill(request).await {
            eprintln!("mesos launch: not killed: {}", status.message());
        }
    }
}

async fn interrupted(interrupt: &mut Option<tokio::signal::unix::Signal>, wanted: bool) {
    match interrupt.as_mut().filter(|_| wanted) {
        Some(interrupt) => {
            interrupt.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether there is a sandbox to read from.
fn has_started(event: &TaskEvent, status: &v1::TaskStatus) -> bool {
    use TaskState as S;
    let state = TaskState::try_from(status.state);
    let ran = matches!(state, Ok(S::TaskRunning | S::TaskKilling | S::TaskFinished | S::TaskFailed | S::TaskKilled));
    ran && event.agent_id.as_ref().is_some_and(|agent| !agent.value.is_empty())
}

/// The exit status that stands for a task's end.
fn exit_of(status: &v1::TaskStatus) -> ExitCode {
    match (status.exit_code, TaskState::try_from(status.state)) {
        (_, Ok(TaskState::TaskFinished)) => ExitCode::SUCCESS,
        (Some(code), _) if code != 0 => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1).max(1)),
        // 128 and SIGKILL, as shells count what was killed.
        (_, Ok(TaskState::TaskKilled)) => ExitCode::from(137),
        _ => ExitCode::FAILURE,
    }
}

//! Following tasks: from this gateway's copy, and what only the launcher knows from the launcher.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mesos_core::message::JobView;
use mesos_model::{FrameworkId, TaskId, TaskState, TaskStatus};
use mesos_proto::{services::v1::TaskEvent, v1};
use tokio::{
    sync::{broadcast, broadcast::error::RecvError, mpsc},
    time::{Instant, MissedTickBehavior},
};
use tonic::Status;

use crate::{
    server::App,
    translate,
    view::{Batch, Cluster, Delta, TaskView},
};

/// How often the launcher is asked about tasks that have not ended.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// What is said of a task that nobody knows any more.
const LOST: &str = "nobody knows this task any more: the store came back without its last commits";

/// Whoever watches has gone, or there is nothing left to see.
struct Done;

/// One watcher.
pub(super) struct Watcher {
    app: App,
    events: mpsc::Sender<Result<TaskEvent, Status>>,
    changes: broadcast::Receiver<Arc<Batch>>,
    framework: FrameworkId,
    /// The framework is the launcher.
    own: bool,
    /// The launcher has said whether it is.
    heard: bool,
    /// Named tasks that have not ended; `None` follows all without an end.
    open: Option<BTreeSet<TaskId>>,
    /// Tasks that the copy has shown.
    seen: BTreeSet<TaskId>,
    /// What was last said of tasks that only the launcher knows.
    said: BTreeMap<TaskId, String>,
    /// Tasks that the launcher calls ended and the copy does not.
    ended_there: BTreeSet<TaskId>,
    /// Named tasks that neither knows, and since when.
    unknown: BTreeMap<TaskId, Instant>,
    first: Cluster,
    jobs: Vec<JobView>,
}

impl Watcher {
    /// Finds the tasks.
    ///
    /// # Errors
    /// If one is not known, or nobody can say whose tasks are meant.
    pub(super) async fn begin(
        app: App,
        framework: Option<FrameworkId>,
        tasks: Vec<TaskId>,
        events: mpsc::Sender<Result<TaskEvent, Status>>,
    ) -> Result<Watcher, Status> {
        if tokio::time::timeout(app.options.hold, app.view.until_loaded()).await.is_err() {
            return Err(Status::unavailable("this gateway has not loaded its copy of the cluster yet; try again"));
        }
        let (first, _, changes) = app.view.subscribe();
        let (launcher, jobs, unheard) = match (&framework, super::jobs(&app, &tasks).await) {
            (_, Ok((launcher, jobs))) => (launcher, jobs, None),
            // Without its launcher a cluster has other frameworks all the same.
            (Some(_), Err(status)) => (None, Vec::new(), Some(status)),
            (None, Err(status)) => return Err(status),
        };
        let framework = match framework.or_else(|| launcher.clone()) {
            Some(framework) => framework,
            None => return Err(Status::unavailable("the launcher is not subscribed yet; try again")),
        };
        let own = launcher.as_ref() == Some(&framework);
        for task in &tasks {
            let known = first.task(&framework, task).is_some() || (own && jobs.iter().any(|job| job.task == *task));
            if !known {
                // It may be one that only the launcher knows.
                let absent = || Status::not_found(format!("framework '{framework}' has no task '{task}'"));
                return Err(unheard.unwrap_or_else(absent));
            }
        }
        let open = (!tasks.is_empty()).then(|| tasks.into_iter().collect());
        Ok(Watcher {
            app,
            events,
            changes,
            framework,
            own,
            heard: unheard.is_none(),
            open,
            seen: BTreeSet::new(),
            said: BTreeMap::new(),
            ended_there: BTreeSet::new(),
            unknown: BTreeMap::new(),
            first,
            jobs: if own { jobs } else { Vec::new() },
        })
    }

    /// Tells until all is told.
    pub(super) async fn run(mut self) {
        let _ = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), Done> {
        let first = std::mem::take(&mut self.first);
        self.tell_present(&first).await?;
        drop(first);
        for job in std::mem::take(&mut self.jobs) {
            self.tell_job(&job, true).await?;
        }
        let mut ask = tokio::time::interval_at(Instant::now() + ASK_EVERY, ASK_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.is_all_told()?;
            tokio::select! {
                changes = self.changes.recv() => match changes {
                    Ok(batch) => self.tell_changes(&batch).await?,
                    Err(RecvError::Lagged(_)) => {
                        let (now, _) = self.app.view.snapshot();
                        self.tell_present(&now).await?;
                    }
                    Err(RecvError::Closed) => return Err(Done),
                },
                _ = ask.tick() => self.look().await?,
                () = self.events.closed() => return Err(Done),
                () = self.app.stopping.cancelled() => {
                    let _ = self.events.send(Err(Status::unavailable("the gateway is stopping"))).await;
                    return Err(Done);
                }
            }
        }
    }

    fn is_all_told(&self) -> Result<(), Done> {
        if self.open.as_ref().is_some_and(BTreeSet::is_empty) { Err(Done) } else { Ok(()) }
    }

    fn wants(&self, task: &TaskId) -> bool {
        self.open.as_ref().is_none_or(|open| open.contains(task))
    }

    async fn tell_present(&mut self, cluster: &Cluster) -> Result<(), Done> {
        let present: Vec<Arc<TaskView>> = match &self.open {
            Some(open) => open.iter().filter_map(|task| cluster.task(&self.framework, task)).cloned().collect(),
            None => cluster
                .tasks
                .iter()
                .map(|(_, task)| task)
                .filter(|task| task.row.framework == self.framework)
                .cloned()
                .collect(),
        };
        for task in present {
            let status = match &task.row.status {
                Some(status) => status.clone(),
                None => TaskStatus::new(
                    task.row.task.clone(),
                    task.row.state,
                    mesos_model::Source::Master,
                    task.row.created,
                ),
            };
            self.tell(&task, &status).await?;
        }
        Ok(())
    }

    async fn tell_changes(&mut self, batch: &Batch) -> Result<(), Done> {
        for delta in &batch.deltas {
            let Delta::Task { after, fresh, .. } = delta else { continue };
            if after.row.framework != self.framework {
                continue;
            }
            for status in fresh {
                self.tell(after, status).await?;
            }
        }
        Ok(())
    }

    async fn tell(&mut self, task: &TaskView, status: &TaskStatus) -> Result<(), Done> {
        let id = &task.row.task;
        if !self.wants(id) {
            return Ok(());
        }
        self.seen.insert(id.clone());
        let agent = &task.row.agent;
        let event = TaskEvent {
            framework_id: Some(translate::framework_id(&self.framework)),
            agent_id: Some(translate::agent_id(agent)),
            status: Some(translate::event::task_status(status)),
            name: task.row.name.clone(),
            hostname: self
                .app
                .view
                .with(|cluster| cluster.agents.get(agent).map(|row| row.hostname.clone()))
                .unwrap_or_default(),
        };
        self.send(event).await?;
        self.over(id, status.state);
        Ok(())
    }

    fn over(&mut self, task: &TaskId, state: TaskState) {
        if is_over(state) {
            self.seen.remove(task);
            self.said.remove(task);
            self.ended_there.remove(task);
            if let Some(open) = &mut self.open {
                open.remove(task);
            }
        }
    }

    /// Looks for what no change of the copy tells.
    async fn look(&mut self) -> Result<(), Done> {
        let mut jobs = Vec::new();
        if self.own {
            let tasks: Vec<TaskId> = self.open.iter().flatten().cloned().collect();
            // A launcher that changes its leader is asked again soon.
            let Ok((_, known)) = super::jobs(&self.app, &tasks).await else { return Ok(()) };
            jobs = known;
        }
        for job in &jobs {
            if self.open.is_some() || job.ended.is_none() {
                self.tell_job(job, false).await?;
            }
        }
        if self.heard { self.give_up(&jobs).await } else { Ok(()) }
    }

    /// Ends what nobody has known for long: there is nothing to wait for any more.
    async fn give_up(&mut self, jobs: &[JobView]) -> Result<(), Done> {
        let is_known = |task: &TaskId| {
            jobs.iter().any(|job| job.task == *task)
                || self.app.view.with(|cluster| cluster.task(&self.framework, task).is_some())
        };
        let lost: Vec<TaskId> = self.open.iter().flatten().filter(|task| !is_known(task)).cloned().collect();
        self.unknown.retain(|task, _| lost.contains(task));
        for task in lost {
            let since = *self.unknown.entry(task.clone()).or_insert_with(Instant::now);
            if since.elapsed() < self.app.options.lost_after {
                continue;
            }
            let status = v1::TaskStatus {
                task_id: translate::task_id(&task),
                state: v1::TaskState::TaskUnknown.into(),
                source: Some(v1::task_status::Source::Master.into()),
                message: Some(LOST.to_owned()),
                ..v1::TaskStatus::default()
            };
            let framework_id = Some(translate::framework_id(&self.framework));
            self.send(TaskEvent { framework_id, status: Some(status), ..TaskEvent::default() }).await?;
            self.over(&task, TaskState::Lost);
        }
        Ok(())
    }

    /// What the launcher knows and the copy does not show.
    async fn tell_job(&mut self, job: &JobView, first: bool) -> Result<(), Done> {
        if !self.wants(&job.task) {
            return Ok(());
        }
        if self.seen.contains(&job.task) {
            // The copy tells more of the end; it is given a moment to come.
            if job.ended.is_none() || self.ended_there.insert(job.task.clone()) {
                return Ok(());
            }
        }
        let mut status =
            TaskStatus::new(job.task.clone(), job.state, mesos_model::Source::Master, job.ended.unwrap_or(job.time));
        status.agent.clone_from(&job.agent);
        status.reason = job.reason;
        status.exit_code = job.exit_code;
        // Why it waits is worth a word when it has waited a while.
        let waits = job.agent.is_none() && job.ended.is_none();
        status.message = job.message.clone().filter(|_| !(first && waits));
        let words = format!("{} {}", status.state.name(), status.message.as_deref().unwrap_or_default());
        if self.said.get(&job.task) != Some(&words) {
            self.said.insert(job.task.clone(), words);
            let event = TaskEvent {
                framework_id: Some(translate::framework_id(&self.framework)),
                agent_id: job.agent.as_ref().map(translate::agent_id),
                status: Some(v1::TaskStatus { uuid: None, ..translate::event::task_status(&status) }),
                name: job.name.clone(),
                hostname: String::new(),
            };
            self.send(event).await?;
        }
        if job.ended.is_some() {
            self.over(&job.task, TaskState::Killed);
        }
        Ok(())
    }

    async fn send(&self, event: TaskEvent) -> Result<(), Done> {
        self.events.send(Ok(event)).await.map_err(|_| Done)
    }
}

/// Nothing more comes of it.
fn is_over(state: TaskState) -> bool {
    state.is_terminal() || matches!(state, TaskState::Lost | TaskState::GoneByOperator)
}

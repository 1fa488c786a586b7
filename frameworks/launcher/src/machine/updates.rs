//! Statuses, and the questions and kills that are repeated until one comes.

use std::time::Duration;

use mesos_core::row::{JobRow, Row};
use mesos_model::{CallId, Reason, Resources, Role, TaskId, TaskState, Time};

use super::{Job, Launcher, Out, Output, Status};

/// How long after its ACCEPT a task may be silent before it is asked about.
pub(super) const ASK_AFTER: Duration = Duration::from_secs(10);
/// Between the first question and the second; doubled each time.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);
/// A kill that did not end its task is repeated.
pub(super) const KILL_AGAIN: Duration = Duration::from_secs(10);
/// How often a dropped task is placed again at once.
const DROPPED_MAX: u32 = 3;
/// Tasks in one RECONCILE.
const ASK_MAX: usize = 1000;

impl Launcher {
    pub(super) fn update(&mut self, now: Time, status: Status, out: &mut Out) {
        let Status { task, state, .. } = &status;
        match self.jobs.get(task) {
            None => self.adopt(now, &status, out),
            Some(job) if job.row.ended.is_some() => {}
            Some(job) if job.is_waiting() && !is_over(*state) => {
                // It was thought never to have run, and does.
                self.take_over(now, &status, out);
            }
            Some(job) if job.is_waiting() => {}
            Some(job) if job.is_unheard() && is_unknown(*state) && status.reason == Some(Reason::RECONCILIATION) => {
                self.unknown(now, &status, out);
            }
            Some(job) if job.row.state == TaskState::Staging && *state == TaskState::Dropped => {
                self.dropped(now, &status, out)
            }
            Some(_) => self.take_over(now, &status, out),
        }
        if let (Some(uuid), Some(agent)) = (status.uuid, status.agent) {
            out.emit(Output::Acknowledge { task: status.task, agent, uuid });
        }
    }

    fn take_over(&mut self, now: Time, status: &Status, out: &mut Out) {
        let kill = self.jobs.get(&status.task).and_then(|job| job.row.kill);
        let over = is_over(status.state);
        self.change(&status.task, out, |job| {
            job.row.state = status.state;
            job.row.message.clone_from(&status.message);
            job.row.reason = status.reason;
            job.row.exit_code = status.exit_code;
            if status.agent.is_some() {
                job.row.agent.clone_from(&status.agent);
            }
            job.unknown_since = None;
            job.ask = None;
            if over {
                job.row.ended = Some(now);
                job.kill_at = None;
            } else if kill.is_some() && status.state != TaskState::Killing {
                job.kill_at = Some(now);
            }
        });
    }

    /// The cluster does not know a task of which nothing was ever heard: its ACCEPT was lost. Asked twice,
    /// because the registry may learn of a launch after the question.
    fn unknown(&mut self, now: Time, status: &Status, out: &mut Out) {
        let Some(job) = self.jobs.get(&status.task) else { return };
        match job.unknown_since {
            Some(since) if since.after(ASK_AGAIN) <= now => self.dropped(now, status, out),
            Some(_) => {}
            None => self.touch(&status.task, |job| {
                job.unknown_since = Some(now);
                job.ask = Some((now.after(ASK_AGAIN), 1));
            }),
        }
    }

    /// It never ran: back to the others that wait, in its old place. A killed one ends instead.
    fn dropped(&mut self, now: Time, status: &Status, out: &mut Out) {
        let killed = self.jobs.get(&status.task).is_some_and(|job| job.row.kill.is_some());
        if killed {
            return self.end(now, &status.task, TaskState::Killed, Some("killed before it ran".to_owned()), out);
        }
        self.change(&status.task, out, |job| {
            job.row.agent = None;
            job.row.state = TaskState::Staging;
            job.row.message.clone_from(&status.message);
            job.unknown_since = None;
            job.ask = None;
            job.dropped += 1;
        });
        // One that is dropped over and over waits for the next round of offers.
        let often = self.jobs.get(&status.task).is_some_and(|job| job.dropped > DROPPED_MAX);
        if let Some(lead) = self.lead.as_mut().filter(|_| !often) {
            lead.fresh = true;
        }
    }

    /// A task that runs under the launcher's name without a row: the store lost it. It is followed from now on.
    fn adopt(&mut self, now: Time, status: &Status, out: &mut Out) {
        if is_over(status.state) || is_unknown(status.state) {
            return;
        }
        let name = status.task.as_str().rsplit_once('.').map_or(status.task.as_str(), |(name, _)| name).to_owned();
        let row = JobRow {
            task: status.task.clone(),
            call: CallId::new(format!("adopted-{}", status.task)),
            body: bytes::Bytes::new(),
            resources: Resources::new(),
            state: status.state,
            agent: status.agent.clone().or_else(|| Some("unknown".into())),
            name,
            role: Role::default(),
            attributes: Vec::new(),
            priority: 0,
            hold_ms: None,
            message: status.message.clone(),
            reason: status.reason,
            exit_code: None,
            kill: None,
            time: now,
            ended: None,
            trace: None,
        };
        out.put(Row::Job(row.clone()));
        self.insert(Job::new(row));
    }

    /// After a subscription: what happened meanwhile is asked for.
    pub(super) fn ask_about_all(&mut self, now: Time) {
        let placed: Vec<TaskId> = self
            .jobs
            .values()
            .filter(|job| job.row.ended.is_none() && !job.is_waiting())
            .map(|job| job.row.task.clone())
            .collect();
        for task in placed {
            self.touch(&task, |job| {
                job.ask = Some((now, 0));
                job.unknown_since = None;
                if job.row.kill.is_some() {
                    job.kill_at = Some(now);
                }
            });
        }
    }

    pub(super) fn unsure(&mut self, now: Time, tasks: &[TaskId]) {
        for task in tasks {
            if self.jobs.get(task).is_some_and(Job::is_unheard) {
                self.touch(task, |job| job.ask = Some((now, 0)));
            }
        }
    }

    pub(super) fn ask_what_is_due(&mut self, now: Time, out: &mut Out) {
        if !self.lead.as_ref().is_some_and(|lead| lead.connected) {
            return;
        }
        let mut questions = Vec::new();
        while let Some((at, task)) = self.due.first().cloned() {
            if at > now {
                break;
            }
            let Some(job) = self.jobs.get(&task) else {
                self.due.remove(&(at, task));
                continue;
            };
            let agent = job.row.agent.clone();
            if let Some((_, asked)) = job.ask.filter(|(at, _)| *at <= now) {
                questions.push((task.clone(), agent.clone()));
                let wait = ASK_AGAIN.saturating_mul(2_u32.saturating_pow(asked.min(10))).min(ASK_AGAIN_MAX);
                self.touch(&task, |job| job.ask = Some((now.after(wait), asked + 1)));
            }
            let Some(job) = self.jobs.get(&task) else { continue };
            if job.kill_at.is_some_and(|at| at <= now) {
                let grace_ms = job.row.kill.and_then(|kill| kill.grace_ms);
                self.touch(&task, |job| job.kill_at = Some(now.after(KILL_AGAIN)));
                out.emit(Output::Kill { task: task.clone(), agent, grace_ms });
            }
        }
        for chunk in questions.chunks(ASK_MAX) {
            out.emit(Output::Reconcile(chunk.to_vec()));
        }
    }
}

/// The cluster says that there is no such task.
fn is_unknown(state: TaskState) -> bool {
    matches!(state, TaskState::Gone | TaskState::Unknown | TaskState::Lost | TaskState::Dropped)
}

/// Nothing more is waited for. UNREACHABLE may come back.
fn is_over(state: TaskState) -> bool {
    state.is_terminal() || matches!(state, TaskState::Lost | TaskState::GoneByOperator | TaskState::Unknown)
}

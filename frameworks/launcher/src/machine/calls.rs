//! Calls from gateways.

use mesos_core::{
    message::{Answer, AnswerBody, Call, JobView, LauncherCall, Submission},
    row::{JobRow, KillOrder, Row},
};
use mesos_model::{TaskId, TaskState, Time};

use super::{INSTANCES_MAX, Job, Launcher, Out, Output, WAITING_MAX, placing::before_reserving};

/// The part of a task's id that is made of its name.
const NAME_MAX: usize = 100;

impl Launcher {
    pub(super) fn call(&mut self, now: Time, call: Call<LauncherCall>, out: &mut Out) -> Answer {
        let Call { call, trace, what, .. } = call;
        match what {
            LauncherCall::Submit(submission) => {
                let Some(framework) = self.framework.clone() else {
                    return Answer::refused(503, "the launcher is not subscribed yet; try again");
                };
                if let Some(tasks) = self.calls.get(&call) {
                    return submitted(framework, tasks.iter().cloned().collect());
                }
                if let Err(refusal) = self.acceptable(&submission) {
                    return refusal;
                }
                let mut tasks = Vec::new();
                for _ in 0..submission.instances.max(1) {
                    let task = self.new_id(&submission.name);
                    let row = JobRow {
                        task: task.clone(),
                        call: call.clone(),
                        body: submission.template.clone(),
                        resources: submission.resources.clone(),
                        state: TaskState::Staging,
                        agent: None,
                        name: submission.name.clone(),
                        role: submission.role.clone(),
                        attributes: submission.attributes.clone(),
                        priority: submission.priority,
                        hold_ms: submission.hold_ms,
                        message: None,
                        reason: None,
                        exit_code: None,
                        kill: None,
                        time: now,
                        ended: None,
                        trace,
                    };
                    out.put(Row::Job(row.clone()));
                    self.insert(Job::new(row));
                    tasks.push(task);
                }
                if let Some(lead) = self.lead.as_mut() {
                    lead.fresh = true;
                }
                submitted(framework, tasks)
            }
            LauncherCall::Kill { task, grace_ms } => self.kill(now, &task, grace_ms, out),
            LauncherCall::SetPriority { task, priority } => self.set_priority(&task, priority, out),
            LauncherCall::Query { tasks } => {
                // That a task is not known must not come from one whom another has followed.
                if tasks.iter().any(|task| !self.jobs.contains_key(task)) {
                    out.claim();
                }
                let jobs = if tasks.is_empty() {
                    self.jobs.values().map(|job| self.view(now, job)).collect()
                } else {
                    tasks.iter().filter_map(|task| self.jobs.get(task)).map(|job| self.view(now, job)).collect()
                };
                let body = AnswerBody::Jobs { framework: self.framework.clone(), jobs };
                Answer { status: 200, text: String::new(), body }
            }
        }
    }

    fn acceptable(&self, submission: &Submission) -> Result<(), Answer> {
        if submission.instances > INSTANCES_MAX {
            return Err(Answer::refused(400, format!("at most {INSTANCES_MAX} instances can be launched at once")));
        }
        if submission.resources.is_empty() {
            return Err(Answer::refused(400, "a task must ask for some resources, for example cpus:0.1;mem:32"));
        }
        let instances = submission.instances.max(1) as usize;
        if self.waiting_count + instances > WAITING_MAX {
            let text = format!("{} tasks wait for room already; at most {WAITING_MAX} may", self.waiting_count);
            return Err(Answer::refused(429, text));
        }
        Ok(())
    }

    /// `<name>.<12 hex digits>`: unique as the term's leader is, even if the store lost earlier ones.
    fn new_id(&mut self, name: &str) -> TaskId {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
        let mut name: String = name.chars().take(NAME_MAX).map(plain).collect();
        if name.chars().all(|c| matches!(c, '-' | '.')) {
            name = "task".to_owned();
        }
        loop {
            let number = self.lead.as_mut().map_or(0, |lead| {
                lead.counter += 1;
                spread(lead.term.leader, lead.counter)
            });
            let id = TaskId::new(format!("{name}.{:012x}", number >> 16));
            if !self.jobs.contains_key(&id) {
                return id;
            }
        }
    }

    fn kill(&mut self, now: Time, task: &TaskId, grace_ms: Option<u64>, out: &mut Out) -> Answer {
        let Some(job) = self.jobs.get(task) else { return unknown(task, out) };
        if job.row.ended.is_some() {
            return Answer::accepted();
        }
        if job.is_waiting() {
            self.end(now, task, TaskState::Killed, Some("killed before it was placed".to_owned()), out);
            return Answer::accepted();
        }
        let agent = job.row.agent.clone();
        let number = job.row.kill.map_or(1, |kill| kill.number + 1);
        self.change(task, out, |job| {
            job.row.kill = Some(KillOrder { number, grace_ms });
            job.kill_at = Some(now.after(super::updates::KILL_AGAIN));
        });
        out.emit(Output::Kill { task: task.clone(), agent, grace_ms });
        Answer::accepted()
    }

    /// One that waits takes its new place; one that runs keeps the priority it was launched with, and has the
    /// new one if it has to be placed again.
    fn set_priority(&mut self, task: &TaskId, priority: i64, out: &mut Out) -> Answer {
        let Some(job) = self.jobs.get(task) else { return unknown(task, out) };
        if job.row.ended.is_some() {
            return Answer::refused(409, format!("task '{task}' has ended ({})", job.row.state.name()));
        }
        if job.row.priority != priority {
            self.change(task, out, |job| job.row.priority = priority);
        }
        Answer::accepted()
    }

    fn view(&self, now: Time, job: &Job) -> JobView {
        let row = &job.row;
        let message = if job.is_waiting() { Some(self.why_it_waits(now, row)) } else { row.message.clone() };
        JobView {
            task: row.task.clone(),
            name: row.name.clone(),
            state: row.state,
            agent: row.agent.clone(),
            message,
            reason: row.reason,
            exit_code: row.exit_code,
            priority: row.priority,
            role: Self::role_of(row),
            resources: before_reserving(&row.resources),
            time: row.time,
            ended: row.ended,
        }
    }

    fn why_it_waits(&self, _now: Time, row: &JobRow) -> String {
        let lead = self.lead.as_ref();
        let why = match lead {
            Some(lead) if !lead.connected => "the launcher is not connected to the master".to_owned(),
            Some(lead) => match &lead.largest {
                Some(largest) => format!("no offer fits; the largest has {largest}"),
                None => "no offers at present".to_owned(),
            },
            None => "the launcher is changing its leader".to_owned(),
        };
        let attributes = if row.attributes.is_empty() { "" } else { " on an agent with the attributes asked for" };
        format!("waiting for {}{attributes} ({why})", row.resources)
    }
}

fn unknown(task: &TaskId, out: &mut Out) -> Answer {
    out.claim();
    Answer::refused(404, format!("the launcher has no task '{task}'"))
}

fn submitted(framework: mesos_model::FrameworkId, tasks: Vec<TaskId>) -> Answer {
    Answer { status: 200, text: String::new(), body: AnswerBody::Submitted { framework, tasks } }
}

/// A number that looks like no other one of any term.
fn spread(leader: u128, counter: u64) -> u64 {
    let mut z = (leader as u64) ^ ((leader >> 64) as u64).rotate_left(29) ^ counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

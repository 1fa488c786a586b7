//! The agent's machine: the executors and tasks of one host, and the updates about them.
//!
//! The agent's own checkpoint is the truth about what runs. It obeys the highest term of an allocator that
//! it has seen, takes its orders up in their order, and writes the number down together with the effect.
//! Rows are synced before a container is touched and before anything is told.
//!
//! # Layout
//! - `orders`: whom it obeys, and what it is ordered to do.
//! - `tasks`: from a launch to its end.
//! - `executors`: executors that frameworks bring, from their start to their end.
//! - `calls`: what those executors say, and what they are told.
//! - `health`: checks, their meaning, and tasks that run too long.
//! - `leave`: its tasks end because it goes: drained, down for maintenance, gone.
//! - `updates`: statuses on their way to the registry, until they are acknowledged.
//! - `recovery`: what is found after a restart.
//! - `resources`: what it has, and what operations make of that.

mod calls;
mod executors;
mod health;
mod leave;
mod orders;
mod recovery;
mod resources;
mod tasks;
#[cfg(test)]
mod tests;
mod updates;

pub use calls::{ExecutorCall, ExecutorEvent, ExecutorUpdate};
pub use resources::{fits_running, is_revocable, reconfigured};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use mesos_model::{
    AgentId, ExecutorId, FrameworkId, LaunchId, Reason, Resources, TaskId, Term, Time, Trace, attribute::Attribute,
};

use crate::{
    machine::{Effects, Machine},
    message::{AgentToAllocator, AgentToRegistry, Order, RequestId, ToAgent},
    row::{AgentSelfRow, AgentTask, ExecutorRow, Row, RowChange, RowKey, TaskStage},
};

/// How long an agent that is not admitted waits before it reports again: at first, and at most.
const REPORT_WAIT_MS: u64 = 500;
const REPORT_WAIT_MS_MAX: u64 = 10_000;

/// What an agent is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it has without reservations by operations and volumes, which its checkpoint knows of.
    pub total: Resources,
    /// What it has beyond that as long as its tasks do not use what they hold: revocable.
    pub oversubscribed: Resources,
    /// What it says about itself.
    pub attributes: Vec<Attribute>,
    /// Region and zone.
    pub domain: Option<(String, String)>,
    /// Where it can be reached.
    pub hostname: String,
    /// The address that tasks on its host's network have; may be empty.
    pub ip: String,
    /// Port of its own HTTP API.
    pub port: u32,
    /// The program's version.
    pub version: String,
    /// Changes when the host boots.
    pub boot: String,
    /// Its instance, if no row says otherwise.
    pub new_instance: u128,
    /// The id that it was given when it joined, if it had none before.
    pub new_agent: Option<AgentId>,
    /// A protobuf `AgentInfo`.
    pub body: Bytes,
    /// How often it says that it lives, in milliseconds.
    pub beat_ms: u64,
    /// How long frameworks' own executors may take.
    pub executors: ExecutorTimes,
}

/// How long frameworks' own executors may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutorTimes {
    /// To subscribe after they were started (`--executor_registration_timeout` of Mesos).
    pub registration_ms: u64,
    /// To subscribe again after the agent was started (`--executor_reregistration_timeout`).
    pub reregistration_ms: u64,
    /// To subscribe again while the agent runs (`--recovery_timeout`).
    pub recovery_ms: u64,
}

impl Default for ExecutorTimes {
    /// Those of Mesos.
    fn default() -> ExecutorTimes {
        ExecutorTimes { registration_ms: 60_000, reregistration_ms: 2_000, recovery_ms: 900_000 }
    }
}

/// What the machine must know of a task; the shell reads it out of the `TaskInfo`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskFacts {
    /// The grace between asking and killing, unless an order says otherwise.
    pub grace_ms: u64,
    /// When and how to check its health.
    pub health: Option<HealthPlan>,
    /// It fails when it runs longer than this.
    pub max_completion_ms: Option<u64>,
    /// Why the task cannot be run here at all, as far as the shell can see.
    pub invalid: Option<String>,
    /// What is to be known of the framework's own executor; only of an order.
    pub executor: Option<ExecutorFacts>,
}

/// What the machine must know of a framework's own executor; the shell reads it out of the `ExecutorInfo`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecutorFacts {
    /// How long it may take to end when it is told to.
    pub grace_ms: u64,
    /// It asks for resources of its own.
    pub has_resources: bool,
    /// A fresh secret, for the case that it is to be started.
    pub token: u128,
}

/// When a health check runs, and what its failures mean (`docs/health-checks.md` of Mesos).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// Before the first one.
    pub delay_ms: u64,
    /// Between two.
    pub interval_ms: u64,
    /// Failures in this time after the start do not count, until the first success.
    pub grace_ms: u64,
    /// So many failures in a row end the task.
    pub failures_max: u32,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It used more memory than it may.
    pub out_of_memory: bool,
    /// What the runtime says.
    pub message: Option<String>,
}

/// Everything that can happen to an agent.
#[derive(Clone, Debug)]
pub enum Event {
    /// First of all, after the rows: what the containerizers found, and what the tasks in the rows want.
    Recovered {
        /// Containers that are there: name, and whether it runs. An ended one is told by `Exited` as well.
        containers: Vec<(String, bool)>,
        /// Facts of the tasks in the rows, by launch and in the order of its tasks.
        facts: Vec<(LaunchId, Vec<TaskFacts>)>,
    },
    /// From the allocator or the registry. `facts` are those of the tasks of all launches in `Orders`, in
    /// order; empty otherwise.
    Message {
        /// What.
        message: ToAgent,
        /// Facts of ordered tasks.
        facts: Vec<TaskFacts>,
    },
    /// The container runs.
    Started {
        /// Which.
        container: String,
        /// A protobuf `TaskStatus` with its `container_status`.
        body: Bytes,
    },
    /// It could not be started.
    Failed {
        /// Which.
        container: String,
        /// Why, in Mesos's terms.
        reason: Reason,
        /// Why, in words.
        message: String,
    },
    /// It ended.
    Exited {
        /// Which.
        container: String,
        /// How.
        ended: Ended,
    },
    /// The answer to `Output::Check`.
    Checked {
        /// Which.
        container: String,
        /// Healthy, or why not.
        outcome: Result<(), String>,
    },
    /// A framework's own executor calls; answered by `Output::ExecutorAnswer`.
    ExecutorCall {
        /// Names the call in its answer, and the stream that a SUBSCRIBE opens.
        request: RequestId,
        /// Whose it says it is.
        framework: FrameworkId,
        /// Which it says it is.
        executor: ExecutorId,
        /// The secret that it shows, if it shows one.
        token: Option<u128>,
        /// What.
        call: ExecutorCall,
    },
    /// The stream that a SUBSCRIBE has opened is closed.
    ExecutorClosed {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
        /// The SUBSCRIBE.
        stream: RequestId,
    },
    /// What it has beyond its total, by a new estimate: revocable. The shell asks its estimator from time to
    /// time.
    Estimated(Resources),
    /// Why no task can be started here, if none can: its disk is full, its only runtime does not answer. The
    /// shell looks from time to time.
    Degraded(Option<String>),
    /// The bus is back: everything unanswered is sent again.
    BusBack,
}

/// Everything that an agent can have done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// To the allocator.
    Allocator(AgentToAllocator),
    /// To the registry.
    Registry(AgentToRegistry),
    /// Fetch what the task needs, make its sandbox, start its container; answered by `Started` or `Failed`.
    Launch(Arc<ContainerOrder>),
    /// Wait for a container that was found again; answered by `Exited`.
    Wait {
        /// Which.
        container: String,
    },
    /// End it. May come again with a shorter grace. A container that is still being prepared is not
    /// started: answered by `Exited` or `Failed` all the same.
    Kill {
        /// Which.
        container: String,
        /// Between asking and killing.
        grace_ms: u64,
    },
    /// Forget it (not its sandbox).
    Destroy {
        /// Which.
        container: String,
    },
    /// Run its health check once.
    Check {
        /// Which.
        container: String,
    },
    /// What a container may use has changed: its executor has got another task, or one of them has ended.
    Resize {
        /// Which.
        container: String,
        /// What it may use now.
        resources: Resources,
    },
    /// The answer to a call of a framework's own executor.
    ExecutorAnswer {
        /// Which call.
        request: RequestId,
        /// Taken, or an HTTP status with the reason.
        answer: Result<(), (u16, String)>,
    },
    /// An event for a framework's own executor. It is lost if the stream is closed; what matters is said again
    /// when the executor subscribes again.
    ToExecutor {
        /// The SUBSCRIBE that has opened its stream.
        stream: RequestId,
        /// What.
        event: ExecutorEvent,
    },
    /// The stream is over: the executor has subscribed anew, or has ended.
    CloseExecutor {
        /// The SUBSCRIBE that has opened it.
        stream: RequestId,
    },
    /// Disks came and went. For those of them that are volumes the directories are to be made, where they are
    /// not there, before anything after this is carried out; or removed with all that is in them. After a
    /// restart all volumes come again as made.
    Volumes {
        /// What came.
        made: Resources,
        /// What went.
        removed: Resources,
    },
    /// An order was taken up and has no effect, for the log.
    Ignored {
        /// Which, and why.
        message: String,
    },
    /// The agent has its id: listen for it.
    Admitted {
        /// The id.
        agent: mesos_model::AgentId,
    },
    /// The agent is not admitted, and the process should end once nothing is left to do.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A task of its own; the body is its `TaskInfo`.
    Task,
    /// A task of a group, whose sandbox is part of the group's; the body is its `TaskInfo`.
    GroupTask,
    /// A framework's own executor; the body is its `ExecutorInfo`.
    Executor {
        /// What it is to show to be believed.
        token: u128,
        /// How long it may take to end when it is told to.
        grace_ms: u64,
    },
}

/// What is needed to start a container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerOrder {
    /// Its name: a plain file name, the same whenever it is asked for.
    pub container: String,
    /// By which launch.
    pub launch: LaunchId,
    /// Whose.
    pub framework: FrameworkId,
    /// The user that it runs as, unless the task says otherwise; may be empty.
    pub user: String,
    /// By which executor.
    pub executor: ExecutorId,
    /// Which task; empty for an executor.
    pub task: TaskId,
    /// What it may use, with its part of the executor's.
    pub resources: Resources,
    /// What it is for.
    pub workload: Workload,
    /// The protobuf `TaskInfo` or `ExecutorInfo`.
    pub body: Bytes,
    /// The trace it belongs to.
    pub trace: Option<mesos_model::Trace>,
}

/// The agent's machine.
pub struct Agent {
    options: Options,
    own: AgentSelfRow,
    own_changed: bool,
    executors: BTreeMap<LaunchId, Executor>,
    /// Frameworks' own executors that are not over, by the launch that started each.
    hosts: BTreeMap<(FrameworkId, ExecutorId), LaunchId>,
    /// Whose container is which: launch and task.
    containers: BTreeMap<String, (LaunchId, TaskId)>,
    /// Which launches run a task: one, but for a task whose id was used again.
    names: BTreeMap<(FrameworkId, TaskId), BTreeSet<LaunchId>>,
    /// When which task wants to be looked at; as of the last `settle`.
    timers: BTreeSet<(Time, LaunchId, TaskId)>,
    /// Tasks whose timer may have changed since.
    touched: BTreeSet<(LaunchId, TaskId)>,
    /// Launches whose row is to be written at the end of the batch.
    changed: BTreeSet<LaunchId>,
    /// What tasks that have not ended hold.
    used: Resources,
    /// Frameworks that were shut down: nothing is told of their tasks any more.
    shut_down: BTreeSet<FrameworkId>,
    /// The registry's term that asked for updates last; see `Update::asked`.
    asked: Term,
    leading: bool,
    recovered: bool,
    /// The allocator has answered a report since the process began.
    admitted: bool,
    /// Why it is not admitted for now, as it was told last.
    waits_for: Option<String>,
    /// It was marked gone, for this reason, and leaves once its tasks have ended.
    leaving: Option<String>,
    /// It has left: nothing is said any more.
    left: bool,
    /// When its turn comes to tell the registry of everything again.
    tell_everything_at: Option<Time>,
    /// The number of the last report.
    said: (u64, u64),
    /// When the next beat, or report, is due.
    beat_at: Time,
    report_wait_ms: u64,
    /// An order was taken up in this batch, or asked for again.
    beat_now: bool,
    /// What it has is not what the allocator believes.
    report_now: bool,
    /// What it has beyond its total, as of the last estimate that was news.
    oversubscribed: Resources,
    /// Why it starts no task for now.
    degraded: Option<String>,
}

/// An executor and what is known of its tasks beyond their rows.
struct Executor {
    row: ExecutorRow,
    tasks: BTreeMap<TaskId, TaskExtra>,
    process: executors::ProcessExtra,
}

/// What is known of a task beyond its row; lost with the process.
#[derive(Clone, Debug, Default)]
struct TaskExtra {
    facts: TaskFacts,
    /// The registry has the updates up to this number.
    received: u64,
    /// When the updates are told again, and after how long the next time.
    resend: Option<(Time, u64)>,
    /// It ends because of its health or its time, and not because of an order.
    ending: Option<Ending>,
    /// When the container is asked to end once more.
    kill_again: Option<Time>,
    /// When it fails for its time.
    too_long_at: Option<Time>,
    health: Option<Health>,
    /// What `Agent::timers` has of it.
    timer: Option<Time>,
}

impl TaskExtra {
    fn due(&self) -> Option<Time> {
        let resend = self.resend.map(|(at, _)| at);
        let check = self.health.and_then(|health| health.next);
        [resend, check, self.kill_again, self.too_long_at].into_iter().flatten().min()
    }
}

/// Why the agent itself ends a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Unhealthy,
    TooLong,
}

/// Where the health checks of a task stand.
#[derive(Clone, Copy, Debug)]
struct Health {
    plan: HealthPlan,
    since: Time,
    next: Option<Time>,
    failures: u32,
    healthy: Option<bool>,
}

type Out = Effects<Output>;

impl Agent {
    /// An agent without rows.
    #[must_use]
    pub fn new(options: Options) -> Agent {
        let oversubscribed = options.oversubscribed.clone();
        Agent {
            options,
            own: AgentSelfRow::default(),
            own_changed: false,
            executors: BTreeMap::new(),
            hosts: BTreeMap::new(),
            containers: BTreeMap::new(),
            names: BTreeMap::new(),
            timers: BTreeSet::new(),
            touched: BTreeSet::new(),
            changed: BTreeSet::new(),
            used: Resources::new(),
            shut_down: BTreeSet::new(),
            asked: Term::default(),
            leading: false,
            recovered: false,
            admitted: false,
            waits_for: None,
            leaving: None,
            left: false,
            tell_everything_at: None,
            said: (0, 0),
            beat_at: Time(0),
            report_wait_ms: REPORT_WAIT_MS,
            beat_now: false,
            report_now: false,
            oversubscribed,
            degraded: None,
        }
    }

    /// Its id, once it has one.
    #[must_use]
    pub fn id(&self) -> Option<&AgentId> {
        self.own.id.as_ref()
    }

    /// The term it obeys, and the last order of it that it took up.
    #[must_use]
    pub fn obeys(&self) -> (Term, u64) {
        (self.own.term, self.own.number)
    }

    /// Its executors, to look at.
    pub fn executors(&self) -> impl Iterator<Item = &ExecutorRow> {
        self.executors.values().map(|executor| &executor.row)
    }

    /// What its tasks that have not ended hold.
    #[must_use]
    pub fn used(&self) -> &Resources {
        &self.used
    }

    /// Whether it keeps its promises: no more is used than there is, numbers of updates rise, every task
    /// that has not ended has a container.
    ///
    /// # Errors
    /// Says which promise is broken.
    pub fn check(&self) -> Result<(), String> {
        if self.recovered {
            self.check_totals()?;
        }
        let sum = self.executors().fold(Resources::new(), |sum, row| sum.plus(&held(row)));
        if sum != self.used {
            return Err(format!("I1: {sum} is held, {} is in the books", self.used));
        }
        for row in self.executors() {
            for task in &row.tasks {
                let numbers: Vec<u64> = task.pending.iter().map(|update| update.number).collect();
                if !numbers.is_sorted() || numbers.last().is_some_and(|last| *last > task.number) {
                    return Err(format!("I9: updates of {} are out of order: {numbers:?}", task.task));
                }
                let known = if row.kind.is_custom() {
                    self.hosts.contains_key(&(row.framework.clone(), row.executor.clone()))
                } else {
                    self.containers.get(&task.container) == Some(&(row.launch.clone(), task.task.clone()))
                };
                if task.stage != TaskStage::Ended && !known {
                    return Err(format!("container {} of {} is not known", task.container, task.task));
                }
            }
        }
        if self.own.term > self.own.promised {
            return Err(format!("I5: obeys {:?}, promised {:?}", self.own.term, self.own.promised));
        }
        Ok(())
    }

    fn task(&mut self, launch: &LaunchId, task: &TaskId) -> Option<(&mut AgentTask, &mut TaskExtra)> {
        self.touched.insert((launch.clone(), task.clone()));
        let executor = self.executors.get_mut(launch)?;
        let row = executor.row.tasks.iter_mut().find(|row| row.task == *task)?;
        Some((row, executor.tasks.get_mut(task)?))
    }

    /// Brings the timers up to date with the tasks that were touched.
    fn set_timers(&mut self) {
        for (launch, task) in std::mem::take(&mut self.touched) {
            let Some(extra) = self.executors.get_mut(&launch).and_then(|executor| executor.tasks.get_mut(&task)) else {
                continue;
            };
            let due = extra.due();
            if due == extra.timer {
                continue;
            }
            if let Some(old) = std::mem::replace(&mut extra.timer, due) {
                self.timers.remove(&(old, launch.clone(), task.clone()));
            }
            if let Some(due) = due {
                self.timers.insert((due, launch, task));
            }
        }
    }

    /// Takes the tasks out whose timer has come.
    fn take_due(&mut self, now: Time) -> Vec<(LaunchId, TaskId)> {
        let mut due = Vec::new();
        while self.timers.first().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, launch, task)) = self.timers.pop_first()
        {
            if let Some((_, extra)) = self.task(&launch, &task) {
                extra.timer = None;
                due.push((launch, task));
            }
        }
        due
    }

    /// Has the rows written that the batch changed.
    fn write_changes(&mut self, out: &mut Out) {
        for launch in std::mem::take(&mut self.changed) {
            match self.executors.get(&launch) {
                Some(executor) => out.put(Row::Executor(executor.row.clone())),
                None => out.delete(RowKey::Executor(launch)),
            }
        }
        if std::mem::take(&mut self.own_changed) {
            out.put(Row::AgentSelf(self.own.clone()));
        }
    }

    fn of_container(&self, container: &str) -> Option<(LaunchId, TaskId)> {
        self.containers.get(container).cloned()
    }

    fn each_task(&self) -> Vec<(LaunchId, TaskId)> {
        let tasks = |row: &ExecutorRow| {
            let launch = row.launch.clone();
            row.tasks.iter().map(|task| (launch.clone(), task.task.clone())).collect::<Vec<_>>()
        };
        self.executors().flat_map(tasks).collect()
    }
}

/// What the tasks of an executor that have not ended hold, with the executor's own part. A framework's own
/// executor holds its part for as long as it lives.
#[must_use]
pub fn held(row: &ExecutorRow) -> Resources {
    if row.kind.is_custom() {
        let own = if row.live_process().is_some() { row.resources.clone() } else { Resources::new() };
        return live_tasks(row).fold(own, |sum, task| sum.plus(&task.resources));
    }
    let mut live = row.tasks.iter().filter(|task| task.stage != TaskStage::Ended).peekable();
    if live.peek().is_none() {
        return Resources::new();
    }
    live.fold(row.resources.clone(), |sum, task| sum.plus(&task.resources))
}

fn live_tasks(row: &ExecutorRow) -> impl Iterator<Item = &AgentTask> {
    row.tasks.iter().filter(|task| task.stage != TaskStage::Ended)
}

impl Machine for Agent {
    type Event = Event;
    type Output = Output;

    fn restore(&mut self, change: RowChange) {
        match change {
            RowChange::Put(Row::AgentSelf(row)) => self.own = row,
            RowChange::Put(Row::Executor(row)) => self.restore_executor(row),
            RowChange::Delete(RowKey::Executor(launch)) => {
                if let Some(executor) = self.executors.remove(&launch) {
                    self.used.take_what_is_there(&held(&executor.row));
                    executor
                        .row
                        .tasks
                        .iter()
                        .for_each(|task| self.drop_name(&executor.row.framework, &task.task, &launch));
                }
                self.containers.retain(|_, (of, _)| *of != launch);
                self.hosts.retain(|_, host| *host != launch);
            }
            _ => {}
        }
    }

    fn peer(&mut self, _: Time, _: RowChange, _: &mut Out) {}

    fn lead(&mut self, now: Time, term: Term, _: &mut Out) {
        self.said = (term.epoch, 0);
        self.leading = true;
        self.beat_at = now;
    }

    fn follow(&mut self) {
        self.leading = false;
    }

    fn step(&mut self, now: Time, event: Event, out: &mut Out) {
        match event {
            Event::Recovered { containers, facts } => self.recover(now, containers, facts, out),
            Event::ExecutorCall { request, .. } if !self.recovered => {
                let answer = Err((503, "Agent has not finished recovery".to_owned()));
                out.emit(Output::ExecutorAnswer { request, answer });
            }
            // What is sent before the agent knows what runs is sent again.
            _ if !self.recovered || self.left => {}
            Event::Message { message, facts } => self.message(now, message, facts, out),
            Event::Started { container, body } => self.started(now, &container, body, out),
            Event::Failed { container, reason, message } => self.failed(now, &container, reason, message, out),
            Event::Exited { container, ended } => self.exited(now, &container, &ended, out),
            Event::Checked { container, outcome } => self.checked(now, &container, outcome, out),
            Event::ExecutorCall { request, framework, executor, token, call } => {
                self.executor_call(now, request, (framework, executor), token, call, out);
            }
            Event::ExecutorClosed { framework, executor, stream } => {
                self.executor_closed(now, &(framework, executor), stream);
            }
            Event::Estimated(estimate) => self.estimated(estimate),
            Event::Degraded(why) => {
                // Only whether it can is news: a reason that counts bytes would be another each time.
                self.report_now |= why.is_some() != self.degraded.is_some();
                self.degraded = why;
            }
            Event::BusBack => {
                self.send_again(now);
                self.beat_at = now;
            }
        }
    }

    fn settle(&mut self, now: Time, out: &mut Out) {
        if !self.recovered {
            return;
        }
        self.leave_when_idle(out);
        self.set_timers();
        if self.left {
            self.write_changes(out);
            return;
        }
        if std::mem::take(&mut self.report_now) {
            self.report_again(now, out);
        }
        if std::mem::take(&mut self.beat_now) {
            self.beat_at = now;
        }
        if self.beat_at <= now {
            self.beat(now, out);
        }
        self.write_changes(out);
    }

    fn tick(&mut self, now: Time, out: &mut Out) {
        if self.recovered && !self.left {
            self.set_timers();
            for (launch, task) in self.take_due(now) {
                self.resend_due(now, &launch, &task, out);
                self.check_due(now, &launch, &task, out);
                self.end_due(now, &launch, &task, out);
            }
            self.executors_due(now, out);
            if self.tell_everything_at.is_some_and(|at| at <= now) {
                self.tell_everything(now, out);
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        if !self.recovered || self.left {
            return None;
        }
        let timer = self.timers.first().map(|(at, ..)| *at);
        [Some(self.beat_at), timer, self.tell_everything_at, self.next_of_executors()].into_iter().flatten().min()
    }

    fn trace(event: &Event) -> Option<(Trace, &'static str)> {
        let Event::Message { message: ToAgent::Orders { orders, .. }, .. } = event else { return None };
        orders.iter().find_map(|order| match order {
            Order::Launch(launch) => Some((launch.trace?, "agent.launch")),
            Order::Kill { .. }
            | Order::ShutdownFramework(_)
            | Order::Convert(_)
            | Order::Preempt { .. }
            | Order::Drain { .. } => None,
        })
    }
}

//! A Mesos v1 framework that launches, acknowledges and remembers, for tests to be one.
//!
//! It behaves as the Mesos documentation asks of a highly available framework: it subscribes again
//! after every break, acknowledges every update, asks about tasks of which it has not heard, and puts a
//! task back in its queue when it learns that it never started.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::scheduler::{Caller, Scheduler, framework_info, scalar};
use crate::wait::eventually_some;

/// A task of which nothing was heard for so long is asked about.
const SILENCE: Duration = Duration::from_secs(3);
/// Pause between attempts to subscribe.
const RETRY: Duration = Duration::from_millis(200);
/// Five missed heartbeats, after which a client takes its stream for dead.
const STREAM_SILENCE: Duration = Duration::from_secs(75);
/// Longer than any test: offers are asked for again with REVIVE.
const DECLINE_SECONDS: f64 = 3600.0;

const TERMINAL: [&str; 9] = [
    "TASK_FINISHED",
    "TASK_FAILED",
    "TASK_KILLED",
    "TASK_ERROR",
    "TASK_LOST",
    "TASK_DROPPED",
    "TASK_GONE",
    "TASK_GONE_BY_OPERATOR",
    "TASK_UNKNOWN",
];

/// A task to launch.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// Its id.
    pub id: String,
    /// CPUs that it takes from an offer.
    pub cpus: f64,
    /// Memory that it takes, MB.
    pub mem: f64,
    /// More fields of its TaskInfo: command, container, health check …
    pub info: Value,
}

impl TaskSpec {
    /// A shell command with a tenth of a CPU and 32 MB.
    pub fn shell(id: &str, command: &str) -> Self {
        Self { id: id.to_owned(), cpus: 0.1, mem: 32.0, info: json!({"command": {"shell": true, "value": command}}) }
    }

    /// A shell command in a Docker container.
    pub fn docker(id: &str, image: &str, command: &str) -> Self {
        let container = json!({"type": "DOCKER", "docker": {"image": image}});
        Self::shell(id, command).with("container", container)
    }

    /// With one field of its TaskInfo set.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.info[field] = value;
        self
    }

    /// The TaskInfo for an agent.
    pub fn task_info(&self, agent_id: &str) -> Value {
        let mut info = self.info.clone();
        info["name"] = json!(self.id);
        info["task_id"] = json!({"value": self.id});
        info["agent_id"] = json!({"value": agent_id});
        info["resources"] = json!([
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": self.cpus}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": self.mem}},
        ]);
        info
    }
}

/// What the framework knows about one launched task.
#[derive(Clone, Debug)]
pub struct Launched {
    /// What was launched.
    pub spec: TaskSpec,
    /// Where.
    pub agent_id: String,
    /// Every status that came, repeats too, in order.
    pub statuses: Vec<Value>,
    /// How often it had to be launched again because it had never started.
    pub relaunches: u32,
    heard: Instant,
}

impl Launched {
    /// The latest state; empty before the first.
    pub fn state(&self) -> &str {
        self.statuses.last().and_then(|status| status["state"].as_str()).unwrap_or("")
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        TERMINAL.contains(&self.state())
    }
}

#[derive(Debug, Default)]
struct State {
    framework_id: Option<String>,
    caller: Option<Caller>,
    subscriptions: u32,
    errors: Vec<String>,
    waiting: VecDeque<TaskSpec>,
    launched: BTreeMap<String, Launched>,
}

/// A running framework. Dropping it closes its stream without a TEARDOWN.
#[derive(Debug)]
pub struct Framework {
    shared: Arc<Shared>,
    worker: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    info: Value,
    subscribe_at: Vec<String>,
    call_at: Vec<String>,
    /// Whether a task that never started is launched again under the same id.
    relaunch: bool,
    state: Mutex<State>,
    wake: Notify,
}

impl Framework {
    /// Subscribes at the first gateway that takes it; calls go there too.
    pub async fn start(name: &str, failover_timeout: f64, gateways: &[String]) -> Result<Self> {
        Self::start_with(framework_info(name, failover_timeout), gateways, &[]).await
    }

    /// The same with a FrameworkInfo of one's own, and with other gateways for the calls (none: where it
    /// subscribed).
    pub async fn start_with(info: Value, subscribe_at: &[String], call_at: &[String]) -> Result<Self> {
        Self::subscribe(info, subscribe_at, call_at, true).await
    }

    /// The same, but no task is launched a second time: what is told of it is all there is.
    pub async fn start_launching_once(info: Value, subscribe_at: &[String]) -> Result<Self> {
        Self::subscribe(info, subscribe_at, &[], false).await
    }

    async fn subscribe(info: Value, subscribe_at: &[String], call_at: &[String], relaunch: bool) -> Result<Self> {
        let shared = Arc::new(Shared {
            info,
            subscribe_at: subscribe_at.to_vec(),
            call_at: call_at.to_vec(),
            relaunch,
            state: Mutex::default(),
            wake: Notify::new(),
        });
        let worker = tokio::spawn(run(Arc::clone(&shared)));
        let framework = Self { shared, worker };
        eventually_some(Duration::from_secs(30), "the framework subscribes", async || {
            let state = framework.shared.lock();
            match (&state.framework_id, state.errors.last()) {
                (Some(_), _) => Ok(Some(())),
                (None, Some(error)) => bail!("{error}"),
                (None, None) => Ok(None),
            }
        })
        .await?;
        Ok(framework)
    }

    /// Its id.
    pub fn id(&self) -> String {
        self.shared.lock().framework_id.clone().unwrap_or_default()
    }

    /// How often it has subscribed, and what went wrong so far, for failure texts.
    pub fn history(&self) -> (u32, Vec<String>) {
        let state = self.shared.lock();
        (state.subscriptions, state.errors.clone())
    }

    /// Queues tasks; they are launched as offers come.
    pub fn launch(&self, tasks: impl IntoIterator<Item = TaskSpec>) {
        self.shared.lock().waiting.extend(tasks);
        self.shared.wake.notify_one();
    }

    /// Kills a task.
    pub async fn kill(&self, task_id: &str) -> Result<()> {
        self.shared.caller()?.kill(task_id).await
    }

    /// Removes the framework with all its tasks.
    pub async fn teardown(self) -> Result<()> {
        self.shared.caller()?.call("TEARDOWN", Value::Null).await
    }

    /// All that is known of all tasks that were launched.
    pub fn tasks(&self) -> BTreeMap<String, Launched> {
        self.shared.lock().launched.clone()
    }

    /// How many tasks wait for an offer.
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting.len()
    }

    /// What is known of a task that was launched.
    pub fn task(&self, task_id: &str) -> Option<Launched> {
        self.shared.lock().launched.get(task_id).cloned()
    }

    /// Waits until a task's latest state is `state`.
    pub async fn wait_for(&self, task_id: &str, state: &str, timeout: Duration) -> Result<Launched> {
        eventually_some(timeout, &format!("task {task_id} is {state}"), async || {
            let task = self.task(task_id).context("not launched")?;
            if task.state() == state {
                return Ok(Some(task));
            }
            bail!("its statuses: {}", Value::from(task.statuses))
        })
        .await
    }

    /// Waits until every task that was queued has the state that `expected` gives for its id.
    pub async fn wait_for_all(&self, timeout: Duration, expected: impl Fn(&str) -> &'static str) -> Result<()> {
        eventually_some(timeout, "all tasks reach their states", async || {
            let state = self.shared.lock();
            let wrong: Vec<String> = state
                .launched
                .iter()
                .filter(|(id, task)| task.state() != expected(id))
                .map(|(id, task)| format!("{id}: {:?}", task.state()))
                .collect();
            if state.waiting.is_empty() && wrong.is_empty() {
                return Ok(Some(()));
            }
            bail!(
                "{} wait, {} are not there: {}; errors: {:?}",
                state.waiting.len(),
                wrong.len(),
                wrong.iter().take(10).cloned().collect::<Vec<_>>().join(", "),
                state.errors.iter().rev().take(5).collect::<Vec<_>>()
            )
        })
        .await
    }
}

impl Drop for Framework {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn caller(&self) -> Result<Caller> {
        self.lock().caller.clone().context("the framework is not subscribed")
    }

    fn note(&self, error: &anyhow::Error) {
        self.lock().errors.push(format!("{error:#}"));
    }
}

/// Subscribes, and again after every break, until aborted.
async fn run(shared: Arc<Shared>) {
    for gateway in shared.subscribe_at.iter().cycle() {
        let mut info = shared.info.clone();
        if let Some(id) = shared.lock().framework_id.clone() {
            info["id"] = json!({"value": id});
        }
        match Scheduler::subscribe(gateway, &info).await {
            Ok(scheduler) => {
                if let Err(error) = follow(&shared, scheduler).await {
                    shared.note(&error);
                }
                shared.lock().caller = None;
            }
            Err(error) => shared.note(&error),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Handles the events of one subscription until its stream ends.
async fn follow(shared: &Shared, mut scheduler: Scheduler) -> Result<()> {
    let caller = {
        let mut state = shared.lock();
        let caller = match shared.call_at.get(state.subscriptions as usize % shared.call_at.len().max(1)) {
            Some(url) => scheduler.caller().through(url),
            None => scheduler.caller().clone(),
        };
        state.framework_id = Some(scheduler.framework_id().to_owned());
        state.caller = Some(caller.clone());
        state.subscriptions += 1;
        // After a break everything may have changed: ask about every task at once.
        for task in state.launched.values_mut() {
            task.heard = task.heard.checked_sub(SILENCE).unwrap_or(task.heard);
        }
        caller
    };
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        let event = tokio::select! {
            event = scheduler.next_event(STREAM_SILENCE) => event?,
            () = shared.wake.notified() => {
                tolerate(shared, caller.call("REVIVE", Value::Null).await);
                continue;
            }
            _ = tick.tick() => {
                tolerate(shared, ask_about_silent_tasks(shared, &caller).await);
                continue;
            }
        };
        let Some(event) = event else { return Ok(()) };
        match event["type"].as_str() {
            Some("OFFERS") => {
                for offer in event["offers"]["offers"].as_array().into_iter().flatten() {
                    tolerate(shared, answer_offer(shared, &caller, offer).await);
                }
            }
            Some("UPDATE") => {
                let status = &event["update"]["status"];
                if take_status(shared, status) {
                    shared.wake.notify_one();
                }
                tolerate(shared, caller.acknowledge(status).await);
            }
            Some("ERROR") => bail!("ERROR: {}", event["error"]["message"]),
            _ => {}
        }
    }
}

/// A call that failed is repeated by what follows: the agent sends its update again, the master offers
/// again, silence is asked about. So it is only noted.
fn tolerate(shared: &Shared, result: Result<()>) {
    if let Err(error) = result {
        shared.note(&error);
    }
}

async fn answer_offer(shared: &Shared, caller: &Caller, offer: &Value) -> Result<()> {
    let offer_id = offer["id"]["value"].as_str().context("an offer without id")?;
    let agent_id = offer["agent_id"]["value"].as_str().context("an offer without agent")?;
    let tasks = take_what_fits(shared, &offer["resources"], agent_id);
    if tasks.is_empty() {
        let waits = !shared.lock().waiting.is_empty();
        return caller.decline(&[offer_id], if waits { 0.1 } else { DECLINE_SECONDS }).await;
    }
    let infos = tasks.iter().map(|task| task.task_info(agent_id)).collect();
    // When the outcome is unknown the tasks stay recorded: silence leads to a question, its answer to
    // another launch. To send the call again could launch them twice.
    caller.launch(&[offer_id], infos).await
}

/// Moves waiting tasks that fit to the launched ones.
fn take_what_fits(shared: &Shared, resources: &Value, agent_id: &str) -> Vec<TaskSpec> {
    let (mut cpus, mut mem) = (scalar(resources, "cpus"), scalar(resources, "mem"));
    let mut state = shared.lock();
    let mut taken = Vec::new();
    while let Some(task) = state.waiting.front() {
        // Half a thousandth of slack: the API's unit is a thousandth, sums of floats are not exact.
        if task.cpus > cpus + 0.0005 || task.mem > mem + 0.0005 {
            break;
        }
        cpus -= task.cpus;
        mem -= task.mem;
        let Some(task) = state.waiting.pop_front() else {
            break;
        };
        let before = state.launched.remove(&task.id);
        state.launched.insert(
            task.id.clone(),
            Launched {
                spec: task.clone(),
                agent_id: agent_id.to_owned(),
                statuses: before.as_ref().map(|task| task.statuses.clone()).unwrap_or_default(),
                relaunches: before.map_or(0, |task| task.relaunches),
                heard: Instant::now(),
            },
        );
        taken.push(task);
    }
    taken
}

/// Records a status; `true` when its task never started and waits again.
fn take_status(shared: &Shared, status: &Value) -> bool {
    let mut state = shared.lock();
    let Some(task) = status["task_id"]["value"].as_str().and_then(|id| state.launched.get_mut(id)) else {
        return false;
    };
    let had_started = task.statuses.iter().any(|status| status["uuid"].is_string());
    task.heard = Instant::now();
    task.statuses.push(status.clone());
    let never_started = shared.relaunch && !had_started && matches!(task.state(), "TASK_DROPPED" | "TASK_UNKNOWN");
    if never_started {
        task.relaunches += 1;
        let spec = task.spec.clone();
        if !state.waiting.iter().any(|waiting| waiting.id == spec.id) {
            state.waiting.push_back(spec);
        }
    }
    never_started
}

async fn ask_about_silent_tasks(shared: &Shared, caller: &Caller) -> Result<()> {
    let silent: Vec<Value> = {
        let mut state = shared.lock();
        state
            .launched
            .values_mut()
            .filter(|task| !task.is_over() || (task.state() == "TASK_UNKNOWN" && !shared.relaunch))
            .filter(|task| task.heard.elapsed() >= SILENCE)
            .map(|task| {
                task.heard = Instant::now();
                json!({"task_id": {"value": task.spec.id}, "agent_id": {"value": task.agent_id}})
            })
            .collect()
    };
    if silent.is_empty() {
        return Ok(());
    }
    caller.call("RECONCILE", json!({"tasks": silent})).await
}

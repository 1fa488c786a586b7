//! One framework: the offers that it holds, the tasks that are under way, and how long everything took.

use std::{
    collections::{BTreeMap, HashMap},
    sync::PoisonError,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mesos_proto::v1::{self, TaskState, scheduler};
use mesos_sdk::build;
use tokio::sync::mpsc;

use crate::{
    client::{Arrived, Client, Errors, note},
    options::Common,
    report::Times,
};

/// Longer than a framework of a measurement is ever away.
const FAILOVER_TIMEOUT_SECONDS: f64 = 3600.0;

/// Tasks that are under way to their start when a cluster is filled.
const FILL_AT_ONCE: usize = 2000;

/// What a task asks for.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    pub(crate) cpus: f64,
    pub(crate) mem: f64,
}

impl Default for Size {
    /// Small enough for hundreds on one agent, large enough for every containerizer.
    fn default() -> Self {
        Size { cpus: 0.1, mem: 32.0 }
    }
}

/// What an event meant.
#[derive(Debug)]
pub(crate) enum Happened {
    /// There are more offers, or fewer.
    Offers,
    /// A task runs, so long after its ACCEPT.
    Running(String, Duration),
    /// A task ended, so long after its ACCEPT; and whether it finished.
    Ended(String, Duration, bool),
    /// Nothing that counts.
    Nothing,
}

/// Offers of one agent that are held.
#[derive(Clone, Debug, Default)]
struct Held {
    ids: Vec<v1::OfferId>,
    cpus_milli: i64,
    mem_milli: i64,
}

struct Flight {
    agent: String,
    accepted: Instant,
    heard: Instant,
    running: bool,
}

/// A subscribed framework. Whoever has it also calls [`Framework::next`], or nothing moves.
pub(crate) struct Framework {
    info: v1::FrameworkInfo,
    client: Client,
    events: mpsc::UnboundedReceiver<Arrived>,
    errors: Errors,
    size: Size,
    held: BTreeMap<String, Held>,
    flights: HashMap<String, Flight>,
    /// When the last ACCEPT, DECLINE or end of a task made an offer of this agent due, and which it was.
    due: HashMap<String, (Due, Instant)>,
    /// Whether figures count.
    pub(crate) counting: bool,
    /// From an ACCEPT to the next offer of the rest.
    pub(crate) offer_after_accept: Times,
    /// From a DECLINE that refuses for no time to the next offer.
    pub(crate) offer_after_decline: Times,
    /// From the end of a task whose agent's offer is held or free to the offer of what it had.
    pub(crate) offer_after_end: Times,
    /// Whose offers come, by the UUID that their ids begin with, and when the first of these came.
    pub(crate) offered_by: Option<(String, Instant)>,
    /// Tasks that ended otherwise than they should have, in words.
    pub(crate) bad_ends: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Accept,
    Decline,
    End,
}

fn milli(amount: f64) -> i64 {
    (amount * 1000.0).round() as i64
}

impl Framework {
    /// Subscribes as `name` in the role `*`.
    pub(crate) async fn subscribe(common: &Common, url: &str, name: &str, size: Size) -> Result<Framework> {
        let info = v1::FrameworkInfo {
            name: name.to_owned(),
            user: nix::unistd::User::from_uid(nix::unistd::geteuid())
                .ok()
                .flatten()
                .map(|user| user.name)
                .unwrap_or_default(),
            roles: vec!["*".to_owned()],
            failover_timeout: Some(FAILOVER_TIMEOUT_SECONDS),
            capabilities: vec![v1::framework_info::Capability {
                r#type: Some(v1::framework_info::capability::Type::MultiRole.into()),
            }],
            ..Default::default()
        };
        let errors = Errors::default();
        let (client, events) = Client::subscribe(url, common.api, info.clone(), errors.clone())
            .await
            .with_context(|| format!("{name} at {url}"))?;
        Ok(Framework {
            info,
            client,
            events,
            errors,
            size,
            held: BTreeMap::new(),
            flights: HashMap::new(),
            due: HashMap::new(),
            counting: true,
            offer_after_accept: Times::default(),
            offer_after_decline: Times::default(),
            offer_after_end: Times::default(),
            offered_by: None,
            bad_ends: Vec::new(),
        })
    }

    /// Subscribes again under its id, after its stream broke, and asks about every task. A framework that does
    /// this wants to be waited for.
    pub(crate) async fn resubscribe(&mut self, common: &Common, url: &str) -> Result<()> {
        let info = v1::FrameworkInfo { id: Some(self.client.id().clone()), ..self.info.clone() };
        (self.client, self.events) = Client::subscribe(url, common.api, info, self.errors.clone()).await?;
        self.held.clear();
        self.due.clear();
        self.ask_about_silent(Duration::ZERO);
        Ok(())
    }

    /// Asks about tasks of which nothing was heard for so long.
    pub(crate) fn ask_about_silent(&mut self, silence: Duration) {
        let now = Instant::now();
        let silent =
            self.flights.iter_mut().filter(|(_, flight)| now.saturating_duration_since(flight.heard) >= silence);
        let tasks: Vec<_> = silent
            .map(|(id, flight)| {
                flight.heard = now;
                scheduler::call::reconcile::Task {
                    task_id: v1::TaskId { value: id.clone() },
                    agent_id: Some(v1::AgentId { value: flight.agent.clone() }),
                }
            })
            .collect();
        if !tasks.is_empty() {
            self.client.send(reconcile(tasks));
        }
    }

    /// How many tasks are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// What went wrong so far, tasks that ended badly included.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut all = self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.extend(self.bad_ends.iter().cloned());
        all
    }

    fn fits(&self, held: &Held) -> usize {
        let by = |have: i64, each: f64| usize::try_from(have / milli(each).max(1)).unwrap_or(0);
        by(held.cpus_milli, self.size.cpus).min(by(held.mem_milli, self.size.mem))
    }

    /// How many tasks the agent with the most room could take.
    pub(crate) fn room(&self) -> usize {
        self.held.values().map(|held| self.fits(held)).max().unwrap_or(0)
    }

    /// Launches tasks with one ACCEPT of all offers of the agent with the most room: as many of the given
    /// ones, from the front, as fit. What is left of the offers is to come back at once.
    pub(crate) fn launch(&mut self, tasks: &[(String, v1::TaskInfo)]) -> usize {
        let most = self.held.iter().map(|(agent, held)| (agent, self.fits(held))).max_by_key(|(_, room)| *room);
        let Some(agent) = most.map(|(agent, _)| agent.clone()) else { return 0 };
        self.launch_on(&agent, tasks)
    }

    /// The same on this agent.
    pub(crate) fn launch_on(&mut self, agent: &str, tasks: &[(String, v1::TaskInfo)]) -> usize {
        let room = self.held.get(agent).map_or(0, |held| self.fits(held));
        let count = room.min(tasks.len());
        let agent = agent.to_owned();
        if count == 0 {
            return 0;
        }
        let Some(held) = self.held.remove(&agent) else { return 0 };
        let infos: Vec<v1::TaskInfo> = tasks[..count].iter().map(|(id, info)| self.task(id, info, &agent)).collect();
        let call = scheduler::Call {
            r#type: Some(scheduler::call::Type::Accept.into()),
            accept: Some(scheduler::call::Accept {
                offer_ids: held.ids,
                operations: vec![build::launch(infos)],
                filters: Some(v1::Filters { refuse_seconds: Some(0.0) }),
            }),
            ..Default::default()
        };
        let now = Instant::now();
        self.client.send(call);
        if room > count {
            self.due.insert(agent.clone(), (Due::Accept, now));
        } else {
            self.due.remove(&agent);
        }
        for (id, _) in &tasks[..count] {
            self.flights.insert(id.clone(), Flight { agent: agent.clone(), accepted: now, heard: now, running: false });
        }
        count
    }

    fn task(&self, id: &str, info: &v1::TaskInfo, agent: &str) -> v1::TaskInfo {
        v1::TaskInfo {
            name: "bench".to_owned(),
            task_id: v1::TaskId { value: id.to_owned() },
            agent_id: v1::AgentId { value: agent.to_owned() },
            resources: vec![build::cpus(self.size.cpus), build::mem(self.size.mem)],
            ..info.clone()
        }
    }

    /// Asks for the end of a task.
    pub(crate) fn kill(&self, id: &str) {
        self.client.send(scheduler::Call {
            r#type: Some(scheduler::call::Type::Kill.into()),
            kill: Some(scheduler::call::Kill {
                task_id: v1::TaskId { value: id.to_owned() },
                kill_policy: Some(v1::KillPolicy { grace_period: Some(v1::DurationInfo { nanoseconds: 0 }) }),
                ..Default::default()
            }),
            ..Default::default()
        });
    }

    /// Asks about all tasks, which only the registry can answer. The answer is awaited by whoever wants it.
    pub(crate) fn ask_reconcile(&self) -> impl Future<Output = std::result::Result<(), String>> + Send + 'static {
        self.client.ask(reconcile(Vec::new()))
    }

    /// The same, as one of the calls that are counted.
    pub(crate) fn reconcile(&self) {
        self.client.send(reconcile(Vec::new()));
    }

    /// How long calls took that were answered since this was last asked.
    pub(crate) fn take_answered(&self) -> Times {
        std::mem::take(&mut *self.client.answered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What went wrong with calls and streams since this was last asked.
    pub(crate) fn take_errors(&self) -> Vec<String> {
        std::mem::take(&mut *self.errors.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this task is under way.
    pub(crate) fn knows(&self, task: &str) -> bool {
        self.flights.contains_key(task)
    }

    /// The agents of which offers are held.
    pub(crate) fn agents_held(&self) -> Vec<String> {
        self.held.keys().cloned().collect()
    }

    /// Launches so many tasks on each of so many agents, and waits until all of them run.
    pub(crate) async fn fill(&mut self, agents: usize, tasks: usize, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.held.len() < agents {
            self.next_within(deadline, &format!("offers of {agents} agents")).await?;
        }
        let mut missing = 0;
        for (at, agent) in self.agents_held().into_iter().enumerate() {
            let tasks: Vec<_> =
                (0..tasks).map(|number| (format!("kept-{at}-{number}"), command("sleep 1000000"))).collect();
            if self.launch_on(&agent, &tasks) != tasks.len() {
                anyhow::bail!("the offer of {agent} does not hold {} tasks", tasks.len());
            }
            missing += tasks.len();
            // A client that is flooded by what it asked for does not read its events in time.
            self.until_missing(&mut missing, FILL_AT_ONCE, deadline).await?;
        }
        self.until_missing(&mut missing, 0, deadline).await
    }

    /// Waits until no more than so many tasks do not run yet.
    async fn until_missing(&mut self, missing: &mut usize, most: usize, deadline: Instant) -> Result<()> {
        while *missing > most {
            match self.next_within(deadline, "all tasks run").await? {
                Happened::Running(..) => *missing -= 1,
                Happened::Ended(id, ..) => anyhow::bail!("{id} ended: {:?}", self.bad_ends.last()),
                Happened::Offers | Happened::Nothing => {}
            }
        }
        Ok(())
    }

    /// Takes the framework with all its tasks away.
    pub(crate) fn teardown(&self) {
        self.client
            .send(scheduler::Call { r#type: Some(scheduler::call::Type::Teardown.into()), ..Default::default() });
    }

    /// Gives back the offers of one agent and wants them again at once. `false` if none is held.
    pub(crate) fn decline_one(&mut self) -> bool {
        let Some((agent, held)) = self.held.pop_first() else { return false };
        self.due.insert(agent, (Due::Decline, Instant::now()));
        self.client.send(scheduler::Call {
            r#type: Some(scheduler::call::Type::Decline.into()),
            decline: Some(scheduler::call::Decline {
                offer_ids: held.ids,
                filters: Some(v1::Filters { refuse_seconds: Some(0.0) }),
            }),
            ..Default::default()
        });
        true
    }

    /// The next event, handled. Fails when the stream is over.
    pub(crate) async fn next(&mut self) -> Result<Happened> {
        match self.events.recv().await {
            Some(arrived) => Ok(self.handle(arrived)),
            None => {
                let wrong = self.wrong();
                anyhow::bail!("the stream is over{}", wrong.last().map(|why| format!(": {why}")).unwrap_or_default())
            }
        }
    }

    /// The next event within a time; an error after it that says what was waited for.
    pub(crate) async fn next_within(&mut self, deadline: Instant, what: &str) -> Result<Happened> {
        match tokio::time::timeout_at(deadline.into(), self.next()).await {
            Ok(happened) => happened,
            Err(_) => anyhow::bail!(
                "{what}: not in time ({} tasks under way, errors: {:?})",
                self.flights.len(),
                self.wrong().iter().take(3).collect::<Vec<_>>()
            ),
        }
    }

    /// Waits until so many tasks could be launched with one ACCEPT.
    pub(crate) async fn until_room(&mut self, tasks: usize, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.room() < tasks {
            self.next_within(deadline, &format!("an offer with room for {tasks} tasks")).await?;
        }
        Ok(())
    }

    fn handle(&mut self, Arrived { at, event }: Arrived) -> Happened {
        if let Some(offers) = event.offers {
            for offer in &offers.offers {
                self.offered(at, offer);
            }
            return Happened::Offers;
        }
        if let Some(rescind) = event.rescind {
            // Offers are merged per agent, so what is left of an agent cannot be known: give it back.
            self.held.retain(|_, held| !held.ids.contains(&rescind.offer_id));
            return Happened::Offers;
        }
        if let Some(update) = event.update {
            return self.updated(at, &update.status);
        }
        if let Some(error) = event.error {
            note(&self.errors, format!("ERROR: {}", error.message));
        }
        Happened::Nothing
    }

    fn offered(&mut self, at: Instant, offer: &v1::Offer) {
        let agent = &offer.agent_id.value;
        if let Some((due, since)) = self.due.remove(agent)
            && self.counting
        {
            let took = at.saturating_duration_since(since);
            match due {
                Due::Accept => self.offer_after_accept.add(took),
                Due::Decline => self.offer_after_decline.add(took),
                Due::End => self.offer_after_end.add(took),
            }
        }
        let leader = offer.id.value.get(..36).unwrap_or_default();
        if self.offered_by.as_ref().is_none_or(|(known, _)| known != leader) {
            self.offered_by = Some((leader.to_owned(), at));
        }
        let held = self.held.entry(agent.clone()).or_default();
        held.ids.push(offer.id.clone());
        held.cpus_milli += milli(build::amount(offer, "cpus"));
        held.mem_milli += milli(build::amount(offer, "mem"));
    }

    fn updated(&mut self, at: Instant, status: &v1::TaskStatus) -> Happened {
        self.acknowledge(status);
        let state = status.state();
        let id = &status.task_id.value;
        let Some(flight) = self.flights.get_mut(id) else { return Happened::Nothing };
        flight.heard = at;
        let took = at.saturating_duration_since(flight.accepted);
        if state == TaskState::TaskRunning && !flight.running {
            flight.running = true;
            return Happened::Running(id.clone(), took);
        }
        if !build::is_terminal(state) {
            return Happened::Nothing;
        }
        let Some(flight) = self.flights.remove(id) else { return Happened::Nothing };
        self.due.entry(flight.agent).or_insert((Due::End, at));
        let finished = state == TaskState::TaskFinished;
        if !finished && state != TaskState::TaskKilled {
            self.bad_ends.push(format!("{id} ended as {}: {}", state.as_str_name(), status.message()));
        }
        Happened::Ended(id.clone(), took, finished)
    }

    fn acknowledge(&self, status: &v1::TaskStatus) {
        let (Some(uuid), Some(agent)) = (&status.uuid, &status.agent_id) else { return };
        self.client.send(scheduler::Call {
            r#type: Some(scheduler::call::Type::Acknowledge.into()),
            acknowledge: Some(scheduler::call::Acknowledge {
                agent_id: agent.clone(),
                task_id: status.task_id.clone(),
                uuid: uuid.clone(),
            }),
            ..Default::default()
        });
    }
}

fn reconcile(tasks: Vec<scheduler::call::reconcile::Task>) -> scheduler::Call {
    scheduler::Call {
        r#type: Some(scheduler::call::Type::Reconcile.into()),
        reconcile: Some(scheduler::call::Reconcile { tasks }),
        ..Default::default()
    }
}

/// A task that runs a command: the whole line in a shell, or one program where there is nothing to quote.
pub(crate) fn command(line: &str) -> v1::TaskInfo {
    v1::TaskInfo { command: Some(build::shell(line)), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_count_in_thousandths() {
        assert_eq!(milli(0.1), 100);
        assert_eq!(milli(0.1 + 0.2), 300);
    }
}

//! Carries out what the machine wants done with containers, and tells it what came of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use mesos_container::{
    checks::{Check, Checker},
    fetcher::{Fetcher, FetcherOptions},
};
use mesos_core::{
    agent::{ContainerOrder, Ended, Event},
    row::{AgentTask, TaskStage},
};
use mesos_model::{AgentId, Reason, Resource, Resources};
use mesos_ports::containerizer::{ContainerError, ContainerSpec, Containerizer, Exit, Running, Usage};
use mesos_proto::v1;
use mesos_runtime::telemetry::StepSpan;
use nix::unistd::User;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{AgentOptions, sandbox, task, volumes};

/// Between two tries of what a runtime did not do, at first and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What is known of a container that was ordered or found.
struct Known {
    containerizer: Arc<dyn Containerizer>,
    check: Option<(Check, Duration)>,
    /// What it may use.
    resources: Resources,
    /// The most memory that a resize has given it, in bytes.
    memory: Option<u64>,
    /// Cancelled when it is to be killed before it runs.
    preparing: Option<CancellationToken>,
    /// True once it is known whether it is there at all.
    looked: Option<watch::Receiver<bool>>,
}

/// What the checkpoint says about a container.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    body: Bytes,
    resources: Resources,
    ended: bool,
    /// Somebody was told that it runs.
    runs: bool,
}

impl Held {
    pub(crate) fn of(task: &AgentTask) -> Held {
        Held {
            body: task.body.clone(),
            resources: task.resources.clone(),
            ended: task.stage == TaskStage::Ended,
            runs: matches!(task.stage, TaskStage::Running | TaskStage::Killing),
        }
    }

    /// An executor: it is not checked from outside, and a resize tells what it may use.
    pub(crate) fn of_executor() -> Held {
        Held { body: Bytes::new(), resources: Resources::new(), ended: false, runs: true }
    }

    fn wants_docker(&self) -> bool {
        v1::TaskInfo::decode(&self.body[..]).is_ok_and(|info| task::wants_docker(&info))
    }
}

/// The containers of one agent. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Containers {
    shared: Arc<Shared>,
}

struct Shared {
    options: AgentOptions,
    containerizers: Vec<Arc<dyn Containerizer>>,
    fetcher: Fetcher,
    checker: Checker,
    known: Mutex<HashMap<String, Known>>,
    events: mpsc::UnboundedSender<Event>,
    root: bool,
}

impl Containers {
    pub(crate) fn new(
        options: AgentOptions,
        containerizers: Vec<Arc<dyn Containerizer>>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Containers, String> {
        let shared = Shared {
            options,
            containerizers,
            fetcher: Fetcher::new(FetcherOptions::default())?,
            checker: Checker::new()?,
            known: Mutex::default(),
            events,
            root: nix::unistd::geteuid().is_root(),
        };
        Ok(Containers { shared: Arc::new(shared) })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: Event) {
        let _ = self.shared.events.send(event);
    }

    /// Finds the containers of this agent again: name, and whether it runs.
    ///
    /// A runtime that does not answer now, such as a daemon that is being restarted, may have all that it had:
    /// its containers count as found, and what became of them is told once it has answered.
    pub(crate) async fn recover(&self, agent: &AgentId, held: HashMap<String, Held>) -> Vec<(String, bool)> {
        let mut found = Vec::new();
        for containerizer in &self.shared.containerizers {
            match containerizer.recover(agent.as_str()).await {
                Ok(recovered) => {
                    for container in recovered {
                        self.find(containerizer, &container.container_id, &held, None);
                        found.push((container.container_id, container.running.is_some()));
                    }
                }
                Err(error) => {
                    let of_it = |held: &Held| {
                        !held.ended
                            && self.choose(held.wants_docker()).is_ok_and(|one| one.name() == containerizer.name())
                    };
                    let assumed: Vec<String> =
                        held.iter().filter(|(_, held)| of_it(held)).map(|(name, _)| name.clone()).collect();
                    let (containerizer, count) = (containerizer.clone(), assumed.len());
                    tracing::error!(containerizer = containerizer.name(), %error, count, "cannot look for containers of an earlier run");
                    if assumed.is_empty() || !error.is_retryable() {
                        continue;
                    }
                    let (looked, waits) = watch::channel(false);
                    for name in assumed {
                        self.find(&containerizer, &name, &held, Some(waits.clone()));
                        found.push((name.clone(), held[&name].runs));
                    }
                    tokio::spawn(self.clone().look_again(containerizer, agent.clone(), looked));
                }
            }
        }
        found
    }

    /// Asks a runtime for its containers until it answers. What it has and nobody holds is removed.
    async fn look_again(self, containerizer: Arc<dyn Containerizer>, agent: AgentId, looked: watch::Sender<bool>) {
        let recovered = loop {
            tokio::time::sleep(RETRY).await;
            match containerizer.recover(agent.as_str()).await {
                Ok(recovered) => break recovered,
                Err(error) => {
                    tracing::warn!(containerizer = containerizer.name(), %error, "still cannot look for containers");
                }
            }
        };
        let (name, count) = (containerizer.name(), recovered.len());
        tracing::info!(containerizer = name, count, "found the containers of an earlier run");
        looked.send_replace(true);
        for container in recovered {
            let held = self.known().contains_key(&container.container_id);
            if !held && let Err(error) = containerizer.destroy(&container.container_id).await {
                tracing::warn!(container = container.container_id, %error, "what is left of a container could not be removed");
            }
        }
    }

    /// Takes a container of an earlier run into the books.
    fn find(
        &self,
        containerizer: &Arc<dyn Containerizer>,
        name: &str,
        held: &HashMap<String, Held>,
        looked: Option<watch::Receiver<bool>>,
    ) {
        let (body, resources) =
            held.get(name).map(|held| (held.body.clone(), held.resources.clone())).unwrap_or_default();
        let check = task::check_of(&body, self.shared.options.ip);
        let known =
            Known { containerizer: containerizer.clone(), check, resources, memory: None, preparing: None, looked };
        self.known().insert(name.to_owned(), known);
    }

    /// Fetches, makes the sandbox, starts, and waits for the end.
    pub(crate) fn launch(&self, agent: AgentId, order: Arc<ContainerOrder>) {
        let this = self.clone();
        let cancel = CancellationToken::new();
        let Some(first) = self.shared.containerizers.first().cloned() else { return };
        let known = Known {
            containerizer: first,
            check: None,
            resources: order.resources.clone(),
            memory: None,
            preparing: Some(cancel.clone()),
            looked: None,
        };
        self.known().insert(order.container.clone(), known);
        tokio::spawn(async move {
            let container = order.container.clone();
            let span = order.trace.map(|trace| StepSpan::start("agent", "agent.start_container", trace));
            let launched = this.start(&agent, &order, &cancel).await;
            if let Some(span) = span {
                span.end();
            }
            match launched {
                Ok(running) => {
                    let late = this.known().get_mut(&container).is_some_and(|known| known.preparing.take().is_none());
                    let body = this.status_body(&order, &running);
                    this.tell(Event::Started { container: container.clone(), body });
                    debug_assert!(!late, "a container is started once");
                    this.wait(container).await;
                }
                Err((reason, message)) => this.tell(Event::Failed { container, reason, message }),
            }
        });
    }

    /// A kill ends the preparation at once. What was given to a containerizer is waited for: it may run already, and
    /// must have ended before that is told.
    async fn start(
        &self,
        agent: &AgentId,
        order: &ContainerOrder,
        cancel: &CancellationToken,
    ) -> Result<Running, (Reason, String)> {
        let (containerizer, spec) = tokio::select! {
            prepared = self.prepare(agent, order) => prepared?,
            () = cancel.cancelled() => return Err(killed_early()),
        };
        if cancel.is_cancelled() {
            return Err(killed_early());
        }
        let launched = containerizer.launch(spec).await;
        let running = launched.map_err(|error| match cancel.is_cancelled() {
            true => killed_early(),
            false => (Reason::CONTAINER_LAUNCH_FAILED, error.to_string()),
        })?;
        for warning in &running.warnings {
            tracing::warn!(container = order.container, warning, "not all limits are enforced");
        }
        Ok(running)
    }

    async fn prepare(
        &self,
        agent: &AgentId,
        order: &ContainerOrder,
    ) -> Result<(Arc<dyn Containerizer>, ContainerSpec), (Reason, String)> {
        let shared = &self.shared;
        let sandbox = sandbox::path(&shared.options.work_dir, agent, order);
        let failed = |message: String| (Reason::CONTAINER_LAUNCH_FAILED, message);
        let plan = task::plan(&shared.options, agent, sandbox.clone(), order, shared.root).map_err(failed)?;
        let containerizer = self.choose(plan.docker).map_err(failed)?;
        if let Some(known) = self.known().get_mut(&order.container) {
            known.containerizer = containerizer.clone();
            known.check = plan.check;
        }
        if containerizer.name() != "mock" {
            let owner = owner(plan.user.as_deref(), shared.root).map_err(failed)?;
            sandbox::make(&sandbox, owner.as_ref())
                .map_err(|error| failed(format!("cannot make the sandbox {}: {error}", sandbox.display())))?;
            for path in &plan.shared {
                let group = sandbox::of_group(&sandbox).unwrap_or(&sandbox);
                sandbox::share(group, path, owner.as_ref())
                    .map_err(|error| failed(format!("cannot share {} in the group: {error}", path.display())))?;
            }
            for volume in &plan.volumes {
                volumes::hand_over(volume, owner.as_ref()).map_err(failed)?;
                if !plan.docker {
                    volumes::link(&sandbox, volume).map_err(failed)?;
                }
            }
            if !plan.uris.is_empty() {
                let fetched = shared.fetcher.fetch(&plan.uris, &sandbox, plan.user.as_deref()).await;
                fetched.map_err(|error| failed(error.to_string()))?;
            }
        }
        Ok((containerizer, plan.spec))
    }

    fn choose(&self, docker: bool) -> Result<Arc<dyn Containerizer>, String> {
        let wanted = if docker { "docker" } else { "process" };
        let fits = |containerizer: &&Arc<dyn Containerizer>| matches!(containerizer.name(), name if name == wanted || name == "mock");
        self.shared.containerizers.iter().find(fits).cloned().ok_or_else(|| {
            let names: Vec<&str> =
                self.shared.containerizers.iter().map(|containerizer| containerizer.name()).collect();
            format!("the task needs the {wanted} containerizer; this agent has --containerizers={}", names.join(","))
        })
    }

    fn status_body(&self, order: &ContainerOrder, running: &Running) -> Bytes {
        let addresses =
            if running.addresses.is_empty() { vec![self.shared.options.ip] } else { running.addresses.clone() };
        let ip_addresses = addresses
            .iter()
            .map(|address| v1::network_info::IpAddress { ip_address: Some(address.to_string()), ..Default::default() })
            .collect();
        let status = v1::TaskStatus {
            container_status: Some(v1::ContainerStatus {
                container_id: Some(v1::ContainerId { value: order.container.clone(), ..Default::default() }),
                network_infos: vec![v1::NetworkInfo { ip_addresses, ..Default::default() }],
                executor_pid: running.pid,
                ..Default::default()
            }),
            ..Default::default()
        };
        status.encode_to_vec().into()
    }

    /// Waits for a container that was found again.
    pub(crate) fn watch(&self, container: String) {
        let this = self.clone();
        tokio::spawn(async move { this.wait(container).await });
    }

    async fn wait(&self, container: String) {
        let known = self.known().get(&container).map(|known| (known.containerizer.clone(), known.looked.clone()));
        let Some((containerizer, looked)) = known else {
            let ended = Ended { message: Some("the container is gone".to_owned()), ..Ended::default() };
            return self.tell(Event::Exited { container, ended });
        };
        if let Some(mut looked) = looked {
            // Whoever looks goes on until there is an answer, or the agent ends.
            let _ = looked.wait_for(|looked| *looked).await;
        }
        loop {
            match containerizer.wait(&container).await {
                Ok(exit) => return self.tell(Event::Exited { container, ended: ended(exit) }),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(container, %error, "cannot watch a container; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => {
                    let ended = Ended { message: Some(error.to_string()), ..Ended::default() };
                    return self.tell(Event::Exited { container, ended });
                }
            }
        }
    }

    pub(crate) fn kill(&self, container: String, grace: Duration) {
        let (containerizer, preparing) = match self.known().get(&container) {
            Some(known) => (known.containerizer.clone(), known.preparing.clone()),
            None => return,
        };
        if let Some(preparing) = preparing {
            preparing.cancel();
        }
        tokio::spawn(async move {
            match containerizer.kill(&container, grace).await {
                Ok(()) | Err(ContainerError::Unknown(_)) => {}
                Err(error) => tracing::warn!(container, %error, "cannot kill a container; the order will be repeated"),
            }
        });
    }

    /// Removes what is left of a container, if need be once its runtime answers again.
    pub(crate) fn destroy(&self, container: String) {
        let Some(known) = self.known().remove(&container) else { return };
        tokio::spawn(async move {
            let mut pause = RETRY;
            while let Err(error) = known.containerizer.destroy(&container).await {
                tracing::warn!(container, %error, "what is left of a container could not be removed");
                if !error.is_retryable() {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        });
    }

    /// What each container that runs holds and uses, as far as that can be measured. One that holds what can
    /// be taken back leaves nothing that could be given once more.
    pub(crate) async fn usage(&self) -> Vec<(String, Resources, Usage)> {
        let running: Vec<_> = self
            .known()
            .iter()
            .filter(|(_, known)| known.preparing.is_none() && !known.resources.iter().any(Resource::is_revocable))
            .map(|(name, known)| (name.clone(), known.resources.clone(), known.containerizer.clone()))
            .collect();
        let mut measured = Vec::with_capacity(running.len());
        for (name, resources, containerizer) in running {
            if let Ok(Some(usage)) = containerizer.usage(&name).await {
                measured.push((name, resources, usage));
            }
        }
        measured
    }

    /// Gives a container other limits. Memory that it may have had is not taken away: it may be in use.
    pub(crate) fn resize(&self, container: String, resources: Resources) {
        let mut all = self.known();
        let Some(known) = all.get_mut(&container) else { return };
        let containerizer = known.containerizer.clone();
        let mut limits = task::executor_limits(&self.shared.options, &resources);
        let before = task::executor_limits(&self.shared.options, &known.resources).memory_bytes;
        known.memory = known.memory.max(before).max(limits.memory_bytes);
        limits.memory_bytes = known.memory;
        known.resources = resources;
        drop(all);
        tokio::spawn(async move {
            match containerizer.update(&container, limits).await {
                Ok(()) | Err(ContainerError::Unknown(_)) => {}
                Err(error) => tracing::warn!(container, %error, "the limits of a container could not be changed"),
            }
        });
    }

    pub(crate) fn check(&self, container: String) {
        let this = self.clone();
        let checked =
            self.known().get(&container).and_then(|known| Some((known.containerizer.clone(), known.check.clone()?)));
        tokio::spawn(async move {
            let outcome = match checked {
                Some((containerizer, (check, timeout))) => {
                    this.shared.checker.run(&*containerizer, &container, &check, timeout).await
                }
                None => Err("the health check cannot be read".to_owned()),
            };
            this.tell(Event::Checked { container, outcome });
        });
    }
}

fn killed_early() -> (Reason, String) {
    (Reason::TASK_KILLED_DURING_LAUNCH, "the task was killed before it ran".to_owned())
}

fn owner(user: Option<&str>, root: bool) -> Result<Option<User>, String> {
    let Some(name) = user else { return Ok(None) };
    let found = User::from_name(name).map_err(|error| format!("cannot look up user '{name}': {error}"))?;
    let user = found.ok_or_else(|| format!("there is no user '{name}' on this host"))?;
    if !root && user.uid != nix::unistd::geteuid() {
        return Err(format!("the agent may not switch to user '{name}': it does not run as root"));
    }
    Ok(Some(user))
}

fn ended(exit: Exit) -> Ended {
    Ended { code: exit.code, signal: exit.signal, out_of_memory: exit.out_of_memory, message: exit.message }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use mesos_ports::containerizer::{Command, Limits, Recovered};
    use tokio::sync::Notify;

    use super::*;

    /// Takes its time to start a container.
    #[derive(Default)]
    struct Slow {
        begun: Notify,
        goes_on: Notify,
        ended: Notify,
    }

    #[async_trait]
    impl Containerizer for Slow {
        fn name(&self) -> &'static str {
            "mock"
        }

        async fn launch(&self, _: ContainerSpec) -> Result<Running, ContainerError> {
            self.begun.notify_one();
            self.goes_on.notified().await;
            Ok(Running::default())
        }

        async fn wait(&self, _: &str) -> Result<Exit, ContainerError> {
            self.ended.notified().await;
            Ok(Exit { signal: Some(9), ..Exit::default() })
        }

        async fn kill(&self, _: &str, _: Duration) -> Result<(), ContainerError> {
            Ok(())
        }

        async fn update(&self, _: &str, _: Limits) -> Result<(), ContainerError> {
            Ok(())
        }

        async fn exec(&self, _: &str, _: Command, _: Duration) -> Result<i32, ContainerError> {
            Ok(0)
        }

        async fn recover(&self, _: &str) -> Result<Vec<Recovered>, ContainerError> {
            Err(ContainerError::Unavailable("it does not answer".into()))
        }

        async fn destroy(&self, _: &str) -> Result<(), ContainerError> {
            Ok(())
        }
    }

    fn containers(slow: &Arc<Slow>) -> (Containers, mpsc::UnboundedReceiver<Event>) {
        let (events, told) = mpsc::unbounded_channel();
        let options = AgentOptions::new("/nowhere", Resources::new());
        (Containers::new(options, vec![slow.clone()], events).unwrap(), told)
    }

    fn body() -> Bytes {
        let command = v1::CommandInfo { value: Some("true".into()), ..Default::default() };
        v1::TaskInfo { command: Some(command), ..Default::default() }.encode_to_vec().into()
    }

    #[tokio::test]
    async fn a_container_that_is_killed_while_it_starts_is_not_told_as_never_run() {
        let slow = Arc::new(Slow::default());
        let (containers, mut told) = containers(&slow);
        let order = ContainerOrder {
            container: "c".into(),
            launch: "l".into(),
            framework: "f".into(),
            user: String::new(),
            executor: "e".into(),
            task: "t".into(),
            resources: Resources::new(),
            workload: mesos_core::agent::Workload::Task,
            body: body(),
            trace: None,
        };
        containers.launch("a".into(), Arc::new(order));
        slow.begun.notified().await;
        containers.kill("c".into(), Duration::ZERO);
        tokio::task::yield_now().await;
        assert!(told.try_recv().is_err(), "nobody knows yet whether it runs");
        slow.goes_on.notify_one();
        assert!(matches!(told.recv().await, Some(Event::Started { .. })));
        slow.ended.notify_one();
        assert!(matches!(told.recv().await, Some(Event::Exited { .. })));
    }

    /// A runtime that does not answer at the start may have everything: nothing is told as ended.
    #[tokio::test]
    async fn f41_containers_of_a_runtime_that_does_not_answer_at_the_start_count_as_found() {
        let slow = Arc::new(Slow::default());
        let (containers, mut told) = containers(&slow);
        let held = |runs: bool, ended: bool| Held { body: body(), resources: Resources::new(), ended, runs };
        let all = [("runs", held(true, false)), ("starts", held(false, false)), ("ended", held(false, true))];
        let all = all.map(|(name, held)| (name.to_owned(), held)).into_iter().collect();
        let mut found = containers.recover(&"a".into(), all).await;
        found.sort();
        assert_eq!(found, [("runs".to_owned(), true), ("starts".to_owned(), false)]);
        containers.watch("runs".into());
        tokio::task::yield_now().await;
        assert!(told.try_recv().is_err());
    }
}

//! The machine with its store, its door on the bus, and its subscription.
//!
//! While it leads, the process listens on the launcher's subject and holds the framework's subscription. A
//! process that does not lead does neither: gateways find nobody and hold their calls.

use std::time::Duration;

use futures::future::join_all;
use mesos_core::{driver::Config, message::LauncherCall, row::service::LAUNCHER};
use mesos_model::{FrameworkId, Resources, Role, TaskId};
use mesos_proto::{
    prost::Message as _,
    v1::{self, framework_info::capability, scheduler},
};
use mesos_runtime::{
    door::Door,
    shell::{Ports, kind},
    solo::{self, Happening},
};
use mesos_sdk::{Access, Handle, SchedulerClient};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    convert,
    machine::{Event, Launcher, Output, Placed},
};

/// How a launcher behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the gateways are: `host:port`.
    pub gateways: Vec<String>,
    /// How the gateways are reached, and what is shown to them.
    pub access: Access,
    /// How long its lease runs without renewal.
    pub lease: Duration,
    /// How long its tasks run on while no launcher is subscribed.
    pub failover_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            gateways: vec!["127.0.0.1:5050".to_owned()],
            access: Access::default(),
            lease: Duration::from_secs(3),
            failover_timeout: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// The framework's name.
pub const NAME: &str = "mesos-launcher";
/// After a refusal, before the next attempt.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Runs a launcher until it is cancelled; hands over before it returns.
pub async fn run(options: Options, ports: Ports, cancel: CancellationToken) {
    let (events, inbox) = mpsc::unbounded_channel();
    let config =
        Config { service: LAUNCHER, peer: None, lease: options.lease, batch_max: 512, seed: Uuid::new_v4().as_u128() };
    let door = Door::new(&ports, LAUNCHER, kind::LAUNCHER);
    let mut host = Host { options, events, term: None, door };
    let act = move |happening| host.act(happening);
    solo::run(config, ports.store, Launcher::default, inbox, act, cancel).await;
}

/// What lasts one term.
struct Term {
    stop: CancellationToken,
    handle: Option<Handle>,
}

struct Host {
    options: Options,
    events: mpsc::UnboundedSender<Event>,
    term: Option<Term>,
    door: Door,
}

impl Host {
    fn act(&mut self, happening: Happening<Output>) {
        match happening {
            Happening::Leading(term) => {
                tracing::info!(service = LAUNCHER, epoch = term.epoch, "leading");
                let stop = CancellationToken::new();
                let events = self.events.clone();
                self.door.open::<LauncherCall>(stop.clone(), move |call, request| {
                    let _ = events.send(Event::Call(call, request));
                });
                self.term = Some(Term { stop, handle: None });
            }
            Happening::Following(why) => {
                tracing::info!(service = LAUNCHER, why, "no longer leading");
                if let Some(term) = self.term.take() {
                    term.stop.cancel();
                }
                self.door.refuse_all();
            }
            Happening::Do(outputs) => self.carry_out(outputs),
        }
    }

    /// Answers and acknowledgements first: what is wanted next may build on them.
    fn carry_out(&mut self, outputs: Vec<Output>) {
        let mut first = Vec::new();
        let mut then = Vec::new();
        for output in outputs {
            match output {
                Output::Reply(request, answer) => self.door.answer(request, answer),
                Output::Subscribe { framework, roles } => self.subscribe(framework, roles),
                Output::Acknowledge { .. } | Output::Roles(_) => first.push(output),
                other => then.push(other),
            }
        }
        let Some(handle) = self.term.as_ref().and_then(|term| term.handle.clone()) else { return };
        if first.is_empty() && then.is_empty() {
            return;
        }
        let (events, options) = (self.events.clone(), self.options.clone());
        tokio::spawn(async move {
            join_all(first.into_iter().map(|output| call(&handle, output, &events, &options))).await;
            join_all(then.into_iter().map(|output| call(&handle, output, &events, &options))).await;
        });
    }

    fn subscribe(&mut self, framework: Option<FrameworkId>, roles: Vec<Role>) {
        let Some(term) = self.term.as_mut() else { return };
        let again = term.handle.take();
        let info = framework_info(&self.options, framework, &roles);
        let options = mesos_sdk::Options {
            acknowledge: false,
            suppressed_roles: info.roles.clone(),
            backoff: (Duration::from_millis(20), Duration::from_secs(2)),
            access: self.options.access.clone(),
            ..mesos_sdk::Options::default()
        };
        if let Some(old) = &again {
            old.stop();
        }
        match SchedulerClient::connect(&self.options.gateways, info, options) {
            Ok((handle, events)) => {
                term.handle = Some(handle.clone());
                let (stop, sender) = (term.stop.clone(), self.events.clone());
                tokio::spawn(async move {
                    stop.run_until_cancelled(pass_on(events, sender)).await;
                    handle.stop();
                });
            }
            Err(error) => {
                tracing::error!(service = LAUNCHER, %error, "tasks cannot be launched: the gateway's address cannot be used")
            }
        }
    }
}

fn framework_info(options: &Options, framework: Option<FrameworkId>, roles: &[Role]) -> v1::FrameworkInfo {
    use capability::Type;
    let can = [
        Type::MultiRole,
        Type::ReservationRefinement,
        Type::PartitionAware,
        Type::TaskKillingState,
        Type::GpuResources,
    ];
    v1::FrameworkInfo {
        // The agent's own user, unless a task names another.
        user: String::new(),
        name: NAME.to_owned(),
        id: framework.map(|id| v1::FrameworkId { value: id.as_str().to_owned() }),
        failover_timeout: Some(options.failover_timeout.as_secs_f64()),
        checkpoint: Some(true),
        roles: roles.iter().map(|role| role.as_str().to_owned()).collect(),
        capabilities: can
            .into_iter()
            .map(|kind| v1::framework_info::Capability { r#type: Some(kind.into()) })
            .collect(),
        ..v1::FrameworkInfo::default()
    }
}

/// The subscription's events as the machine's, until it ends.
async fn pass_on(mut from: mesos_sdk::Events, to: mpsc::UnboundedSender<Event>) {
    while let Some(event) = from.next().await {
        let event = match event {
            mesos_sdk::Event::Subscribed { framework, .. } => Event::Subscribed(framework.value.into()),
            mesos_sdk::Event::Disconnected { reason } => {
                tracing::info!(service = LAUNCHER, reason, "the subscription is lost; subscribing again");
                Event::Disconnected
            }
            mesos_sdk::Event::Offers(offers) => Event::Offers(offers.iter().map(convert::offer).collect()),
            mesos_sdk::Event::Rescind(offer) => Event::Rescind(offer.value.into()),
            mesos_sdk::Event::Update(status) => match convert::status(&status) {
                Some(status) => Event::Update(status),
                None => continue,
            },
            mesos_sdk::Event::Error(message) => {
                tracing::warn!(service = LAUNCHER, message, "refused by the master");
                tokio::time::sleep(AFTER_REFUSAL).await;
                Event::Refused(message)
            }
            // The launcher has no executors of its own, no operations, and keeps no offers.
            mesos_sdk::Event::Message { .. }
            | mesos_sdk::Event::Failure { .. }
            | mesos_sdk::Event::OperationUpdate(_)
            | mesos_sdk::Event::InverseOffers(_)
            | mesos_sdk::Event::RescindInverseOffer(_) => continue,
        };
        if to.send(event).is_err() {
            return;
        }
    }
}

async fn call(handle: &Handle, output: Output, events: &mpsc::UnboundedSender<Event>, options: &Options) {
    let done = match output {
        Output::Accept { offer, tasks, refuse } => {
            let ids: Vec<TaskId> = tasks.iter().map(|placed| placed.task.clone()).collect();
            let done = handle.call(accept(offer.as_str(), tasks, refuse)).await.map(drop);
            if done.is_err() {
                let _ = events.send(Event::Unsure(ids));
            }
            done
        }
        Output::Decline { offers, refuse } => {
            handle.decline(offers.iter().map(|id| v1::OfferId { value: id.as_str().to_owned() }), Some(refuse)).await
        }
        Output::Revive => handle.revive(Vec::new()).await,
        Output::Suppress => handle.suppress(Vec::new()).await,
        Output::Request(requests) => handle.request(requests.iter().map(convert::request).collect()).await,
        Output::Roles(roles) => handle.update_framework(framework_info(options, None, &roles), Vec::new()).await,
        Output::Kill { task, agent, grace_ms } => {
            handle.kill(task_id(&task), agent.as_ref().map(agent_id), grace_ms.map(Duration::from_millis)).await
        }
        Output::Acknowledge { task, agent, uuid } => {
            let status = v1::TaskStatus {
                task_id: task_id(&task),
                agent_id: Some(agent_id(&agent)),
                uuid: Some(uuid),
                ..v1::TaskStatus::default()
            };
            handle.acknowledge(&status).await
        }
        Output::Reconcile(tasks) => {
            handle.reconcile(tasks.iter().map(|(task, agent)| (task_id(task), agent.as_ref().map(agent_id)))).await
        }
        Output::Reply(..) | Output::Subscribe { .. } => Ok(()),
    };
    // Everything that matters is asked again by the machine.
    if let Err(error) = done {
        tracing::debug!(service = LAUNCHER, %error, "a call did not work");
    }
}

fn accept(offer: &str, tasks: Vec<Placed>, refuse: Duration) -> scheduler::Call {
    let trace_parent = tasks.iter().find_map(|placed| placed.trace).map(|trace| trace.to_string());
    let mut reserve = Resources::new();
    tasks.iter().for_each(|placed| reserve.add(&placed.reserve));
    let launch = mesos_sdk::build::launch(tasks.into_iter().filter_map(task_info).collect());
    let operations = (!reserve.is_empty()).then(|| reservation(&reserve)).into_iter().chain([launch]);
    let accept = scheduler::call::Accept {
        offer_ids: vec![v1::OfferId { value: offer.to_owned() }],
        operations: operations.collect(),
        filters: Some(v1::Filters { refuse_seconds: Some(refuse.as_secs_f64()) }),
    };
    scheduler::Call {
        r#type: Some(scheduler::call::Type::Accept.into()),
        accept: Some(accept),
        trace_parent,
        ..scheduler::Call::default()
    }
}

fn reservation(resources: &Resources) -> v1::offer::Operation {
    v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Reserve.into()),
        reserve: Some(v1::offer::operation::Reserve {
            resources: convert::to_proto(resources),
            ..v1::offer::operation::Reserve::default()
        }),
        ..v1::offer::Operation::default()
    }
}

fn task_info(placed: Placed) -> Option<v1::TaskInfo> {
    let mut info = match v1::TaskInfo::decode(placed.template) {
        Ok(info) => info,
        Err(error) => {
            tracing::error!(task = %placed.task, %error, "a stored task cannot be read");
            return None;
        }
    };
    info.task_id = task_id(&placed.task);
    info.agent_id = agent_id(&placed.agent);
    info.resources = convert::to_proto(&placed.resources);
    // Whoever named none has the framework's, which an operator may have set.
    if placed.priority != 0 || info.priority.is_some() {
        info.priority = Some(placed.priority as f64);
    }
    Some(info)
}

fn task_id(task: &TaskId) -> v1::TaskId {
    v1::TaskId { value: task.as_str().to_owned() }
}

fn agent_id(agent: &mesos_model::AgentId) -> v1::AgentId {
    v1::AgentId { value: agent.as_str().to_owned() }
}

//! The machine of `mesos_core::allocation` behind the shell's doors.

use std::sync::Arc;

use mesos_core::{
    allocation::{Allocator, Event, Output},
    message::{RequestId, StreamEvent, ToAllocator, ToStream},
    recording::Recorded,
};
use mesos_model::{Term, uuid_text};
use mesos_runtime::{
    shell::{self, Arrived, Ports, Route, Service, ShellOptions, kind},
    telemetry::{Metrics, ServiceMetrics},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Options, Recorder};

/// The allocator as the shell sees it.
#[derive(Debug)]
pub struct AllocatorService;

impl Service for AllocatorService {
    type Machine = Recorded;
    type Inbound = ToAllocator;
    const NAME: &'static str = "allocator";
    const PEER: &'static str = "registry";
    const INBOX: &'static str = kind::ALLOCATOR;

    fn event(inbound: ToAllocator, request: RequestId) -> Arrived<Self> {
        match inbound {
            ToAllocator::Call(mut call) => {
                // The shell holds the call back until then, so that the machine need not.
                let after_peer = std::mem::take(&mut call.peer_seq);
                Arrived { event: Event::Call { request, call }, answered: true, after_peer }
            }
            ToAllocator::Agent(message) => Arrived { event: Event::Agent(message), answered: false, after_peer: 0 },
            ToAllocator::Delivered(offers) => {
                Arrived { event: Event::Delivered(offers), answered: false, after_peer: 0 }
            }
        }
    }

    fn speaker(inbound: &ToAllocator) -> Option<String> {
        match inbound {
            ToAllocator::Call(_) | ToAllocator::Delivered(_) => None,
            ToAllocator::Agent(message) => Some(message.speaker()),
        }
    }

    fn route(output: Output) -> Route {
        match output {
            Output::Reply { request, answer } => Route::Reply(request, answer),
            Output::Stream { gateway, event } => {
                log_refusal(&event);
                Route::Gateway(gateway, event)
            }
            Output::Agent { agent, message } => Route::Agent(agent.as_str().to_owned(), message),
            Output::Unregistered { instance, message } => Route::Agent(uuid_text(instance), message),
            Output::AllAgents(message) => Route::AllAgents(message),
            Output::RaiseEpoch(term) => Route::RaiseEpoch(term.epoch),
            Output::Trouble(text) => Route::Trouble(text),
        }
    }

    fn caught_up(_token: u64) -> Option<Event> {
        None
    }

    fn peer_term(_term: Term) -> Option<Event> {
        None
    }

    fn bus_back() -> Event {
        Event::BusBack
    }

    fn deaf(deaf: bool) -> Option<Event> {
        Some(Event::Deaf(deaf))
    }

    fn observe(recorded: &Recorded, metrics: &ServiceMetrics) {
        let machine = recorded.machine();
        let now = machine.metrics();
        let gauge = |name, help, value: u64| metrics.set(name, help, i64::try_from(value).unwrap_or(i64::MAX));
        gauge("agents", "agents known", machine.agents().count() as u64);
        gauge("allocations", "executors that hold resources or will", machine.launches_count() as u64);
        gauge("offers_made", "offers made", now.offers_made);
        gauge("offers_accepted", "offers used by an ACCEPT", now.offers_accepted);
        gauge("offers_declined", "offers given back", now.offers_declined);
        gauge("offers_rescinded", "offers taken back with a RESCIND", now.offers_rescinded);
        gauge("offers_recovered", "offers taken back from absent frameworks", now.offers_recovered);
        gauge("offers_outstanding", "offers that frameworks sit on", now.offers_outstanding);
        gauge("offers_lost", "offers taken back because no gateway confirmed them", now.offers_lost);
        gauge("filters", "refusals in force", now.filters);
        gauge("launches", "launches accepted", now.launches);
        gauge("launches_adopted", "launches learned from agents", now.launches_adopted);
        gauge("tasks_invalid", "tasks refused by TASK_ERROR", now.tasks_invalid);
        gauge("tasks_dropped", "tasks dropped with their offers", now.tasks_dropped);
        gauge("calls_refused", "calls answered with another status than 202", now.calls_refused);
        gauge("handshakes", "handshakes of agents", now.handshakes);
        gauge("operations", "operations on reservations and volumes accepted", now.operations);
        gauge("preemptions", "launches ended to make room", now.preemptions);
        gauge("policy_failures", "policies that failed or could not be loaded", now.policy_failures);
        gauge("needs_expired", "requests for which room was gathered in vain", now.needs_expired);
        gauge("agents_unreachable", "agents taken for unreachable", now.agents_unreachable);
        gauge("agents_doubled", "agents refused for showing the id of another one", now.agents_doubled);
    }
}

/// Says why a task or an operation that was asked for will not be.
fn log_refusal(event: &ToStream) {
    let framework = &event.framework;
    match &event.event {
        StreamEvent::Update { status, .. } => {
            let (task, state) = (&status.task, status.state.name());
            let why = status.message.as_deref().unwrap_or_default();
            tracing::info!(%framework, %task, state, why, "refused a task");
        }
        StreamEvent::OperationError { operation, message, .. } => {
            tracing::info!(%framework, operation, why = message, "refused an operation");
        }
        _ => {}
    }
}

/// Runs the allocator until it is cancelled, as leader or standby; hands over before it returns. What the
/// machine is told goes to the recorder, if there is one.
pub async fn run(
    options: Options,
    recorder: Option<Recorder>,
    ports: Ports,
    metrics: Metrics,
    cancel: CancellationToken,
) {
    let (seed, _) = Uuid::new_v4().as_u64_pair();
    let machine = options.machine(seed);
    let metrics = ServiceMetrics::new(&metrics, AllocatorService::NAME);
    let recorder = recorder.map(|recorder| Arc::new(recorder.reporting(metrics.clone())));
    let recording = recorder.clone();
    let make = move || {
        let made = Allocator::new(machine.clone());
        match &recording {
            Some(recorder) => recorder.around(made, machine.clone()),
            None => Recorded::off(made),
        }
    };
    shell::serve::<AllocatorService>(ports, ShellOptions::default(), metrics, make, cancel).await;
    if let Some(recorder) = recorder.and_then(Arc::into_inner) {
        // What is queued is written before the process may end.
        let _ = tokio::task::spawn_blocking(move || recorder.finish()).await;
    }
}

//! The machine of `mesos_core::registry` behind the shell's doors.

use mesos_core::{
    message::{RequestId, ToRegistry},
    registry::{Event, Output, Registry},
};
use mesos_model::Term;
use mesos_runtime::{
    shell::{self, Arrived, Ports, Route, Service, ShellOptions, kind},
    telemetry::{Metrics, ServiceMetrics},
};
use tokio_util::sync::CancellationToken;

use crate::Options;

/// The registry as the shell sees it.
#[derive(Debug)]
pub struct RegistryService;

impl Service for RegistryService {
    type Machine = Registry;
    type Inbound = ToRegistry;
    const NAME: &'static str = "registry";
    const PEER: &'static str = "allocator";
    const INBOX: &'static str = kind::REGISTRY;

    fn event(inbound: ToRegistry, request: RequestId) -> Arrived<Self> {
        match inbound {
            ToRegistry::Call(mut call) => {
                let after_peer = call.what.after_launches(std::mem::take(&mut call.peer_seq));
                Arrived { event: Event::Call { request, call }, answered: true, after_peer }
            }
            ToRegistry::Agent(message) => Arrived { event: Event::Agent(message), answered: false, after_peer: 0 },
        }
    }

    fn speaker(inbound: &ToRegistry) -> Option<String> {
        match inbound {
            ToRegistry::Call(_) => None,
            ToRegistry::Agent(message) => Some(message.speaker().as_str().to_owned()),
        }
    }

    fn route(output: Output) -> Route {
        match output {
            Output::Reply { request, answer } => Route::Reply(request, answer),
            Output::Stream { gateway, event } => Route::Gateway(gateway, event),
            Output::Agent { agent, message } => Route::Agent(agent.as_str().to_owned(), message),
            Output::AllAgents(message) => Route::AllAgents(message),
            Output::CatchUp { token } => Route::CatchUp(token),
        }
    }

    fn caught_up(token: u64) -> Option<Event> {
        Some(Event::CaughtUp { token })
    }

    fn peer_term(term: Term) -> Option<Event> {
        Some(Event::PeerTerm(term))
    }

    fn bus_back() -> Event {
        Event::BusBack
    }

    fn deaf(_deaf: bool) -> Option<Event> {
        None
    }

    fn observe(machine: &Registry, metrics: &ServiceMetrics) {
        for (name, value) in machine.metrics() {
            // As gauges: a counter's `_total` would be added by the text form once more.
            metrics.set(name, "see the registry's counters", i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

/// Runs the registry until it is cancelled, as leader or standby; hands over before it returns.
pub async fn run(options: Options, ports: Ports, metrics: Metrics, cancel: CancellationToken) {
    let machine = options.machine();
    let metrics = ServiceMetrics::new(&metrics, RegistryService::NAME);
    let make = move || Registry::new(machine.clone());
    shell::serve::<RegistryService>(ports, ShellOptions::default(), metrics, make, cancel).await;
}

//! The gateway's gauges of the cluster, for `/metrics`.

use std::{sync::Arc, time::Duration};

use mesos_core::row::service;
use mesos_model::TaskState;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};

use crate::reads::Reads;

const EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Amount {
    resource: &'static str,
    kind: &'static str,
}

#[derive(Clone, Default)]
struct Gauges {
    tasks: Family<State, Gauge>,
    agents: Family<State, Gauge>,
    frameworks: Family<State, Gauge>,
    resources: Family<Amount, Gauge<f64, std::sync::atomic::AtomicU64>>,
    offers: Gauge,
    version: Gauge,
    registry_seq: Gauge,
    followers: Family<State, Gauge>,
}

/// Keeps the gauges up to date until the gateway ends.
pub(crate) async fn keep(reads: Arc<Reads>) {
    let gauges = Gauges::default();
    reads.metrics.register("gateway", |registry| {
        registry.register("tasks", "tasks that are known, by state", gauges.tasks.clone());
        registry.register("agents", "agents by state", gauges.agents.clone());
        registry.register("frameworks", "frameworks by state", gauges.frameworks.clone());
        registry.register("resources", "amounts of all active agents; mem and disk in MiB", gauges.resources.clone());
        registry.register("offers", "offers that this gateway delivered and that are out", gauges.offers.clone());
        registry.register("view_version", "changes applied to the copy for reads", gauges.version.clone());
        registry.register(
            "registry_seq",
            "last applied entry of the registry's change stream",
            gauges.registry_seq.clone(),
        );
        registry.register("followers", "open streams of changes, by kind", gauges.followers.clone());
    });
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => gauges.set(&reads),
            () = reads.cancel.cancelled() => return,
        }
    }
}

impl Gauges {
    fn set(&self, reads: &Reads) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let totals = reads.view.with(|copy| copy.totals.clone());
        for state in TaskState::ALL {
            self.tasks.get_or_create(&State { state: state.name() }).set(number(totals.tasks.of(state)));
        }
        for (state, count) in [("active", totals.agents_active), ("unreachable", totals.agents_unreachable)] {
            self.agents.get_or_create(&State { state }).set(number(count));
        }
        let frameworks = [("connected", totals.frameworks_connected), ("disconnected", totals.frameworks_disconnected)];
        for (state, count) in frameworks {
            self.frameworks.get_or_create(&State { state }).set(number(count));
        }
        let offered = reads.view.offers.sums();
        for resource in ["cpus", "mem", "disk", "gpus"] {
            let amounts = [("total", &totals.resources), ("used", &totals.used), ("offered", &offered.total)];
            for (kind, sums) in amounts {
                self.resources.get_or_create(&Amount { resource, kind }).set(sums.amount(resource));
            }
        }
        self.offers.set(number(offered.count));
        self.version.set(number(reads.view.version()));
        self.registry_seq.set(number(reads.view.seq(service::REGISTRY)));
        for (state, count) in [("events", reads.events.followers()), ("operator", reads.subscribers.count())] {
            self.followers.get_or_create(&State { state }).set(number(count as u64));
        }
    }
}

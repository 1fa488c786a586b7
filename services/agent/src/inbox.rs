//! Messages from allocator and registry.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use mesos_core::{
    agent::{Event, TaskFacts},
    message::{Order, ToAgent},
};
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::bus::{Bus, BusEvent, Subscription};
use mesos_runtime::{quarantine::Quarantine, shell::kind};
use tokio::sync::mpsc;

use crate::{executors::info, task};

/// A subscription on which nothing came for so long is made anew, in case that the bus has forgotten it. The
/// allocator answers each beat, so the agent's own subject is not silent for longer while there is one.
const SILENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(500);

/// Reads a subject until the receiver of events is gone.
/// `grace` is that of executors that name none.
pub(crate) fn listen(
    bus: Arc<dyn Bus>,
    subject: String,
    grace: Duration,
    events: mpsc::UnboundedSender<Event>,
    quarantine: Quarantine,
) {
    tokio::spawn(async move {
        while !events.is_closed() {
            match bus.subscribe(&subject).await {
                Ok(messages) => {
                    if read(messages, grace, &events, &quarantine).await {
                        continue;
                    }
                }
                Err(error) => tracing::debug!(subject, %error, "cannot subscribe; trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    });
}

/// Reads a subscription until it ends or is silent, and says whether it was silent.
async fn read(
    mut messages: Subscription,
    grace: Duration,
    events: &mpsc::UnboundedSender<Event>,
    quarantine: &Quarantine,
) -> bool {
    loop {
        let message = match tokio::time::timeout(SILENCE, messages.next()).await {
            Ok(Some(message)) => message,
            Ok(None) => return false,
            Err(_) if is_planted(Bug::DeadSubscriptionKept) => continue,
            Err(_) => return true,
        };
        let batch: Vec<ToAgent> = quarantine.open(kind::AGENT, &message).unwrap_or_default();
        if batch.is_empty() && is_planted(Bug::PoisonMessageEndsReading) {
            std::future::pending::<()>().await;
        }
        if batch.into_iter().any(|message| events.send(event(message, grace)).is_err()) {
            return false;
        }
    }
}

fn event(message: ToAgent, grace: Duration) -> Event {
    let mut facts = Vec::new();
    if let ToAgent::Orders { orders, .. } = &message {
        for order in orders {
            if let Order::Launch(launch) = order {
                let executor = launch.kind.is_custom().then(|| {
                    let body = launch.executor_body.as_deref().unwrap_or_default();
                    info::facts(body, grace)
                });
                facts.extend(
                    launch
                        .tasks
                        .iter()
                        .map(|(_, _, body)| TaskFacts { executor: executor.clone(), ..task::facts(body, launch.kind) }),
                );
            }
        }
    }
    Event::Message { message, facts }
}

/// Tells the machine when the bus is back.
pub(crate) fn watch_bus(bus: &dyn Bus, events: mpsc::UnboundedSender<Event>) {
    let mut changes = bus.events();
    tokio::spawn(async move {
        while let Some(change) = changes.next().await {
            if change == BusEvent::Reconnected && events.send(Event::BusBack).is_err() {
                return;
            }
        }
    });
}

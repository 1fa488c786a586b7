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

const RETRY: Duration = Duration::from_millis(500);

/// For how long a subject on which little is said may be silent before it is subscribed to anew.
pub(crate) const QUIET: Duration = Duration::from_secs(60);

/// How a subject is read.
#[derive(Clone)]
pub(crate) struct Reading {
    /// Of executors that name no grace of their own.
    pub(crate) grace: Duration,
    /// A subscription that has been silent for so long may be dead without anybody saying so, and an agent that
    /// beats and hears nothing would stay as it is for ever: it is renewed.
    pub(crate) silence: Duration,
    pub(crate) quarantine: Quarantine,
}

/// Reads a subject until the receiver of events is gone.
pub(crate) fn listen(bus: Arc<dyn Bus>, subject: String, reading: Reading, events: mpsc::UnboundedSender<Event>) {
    tokio::spawn(async move {
        while !events.is_closed() {
            match bus.subscribe(&subject).await {
                Ok(messages) => {
                    if read(messages, &reading, &events).await {
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
async fn read(mut messages: Subscription, reading: &Reading, events: &mpsc::UnboundedSender<Event>) -> bool {
    loop {
        let message = match tokio::time::timeout(reading.silence, messages.next()).await {
            Ok(Some(message)) => message,
            Ok(None) => return false,
            Err(_) if is_planted(Bug::DeadSubscriptionKept) => continue,
            Err(_) => return true,
        };
        let batch: Vec<ToAgent> = reading.quarantine.open(kind::AGENT, &message).unwrap_or_default();
        if batch.is_empty() && is_planted(Bug::PoisonMessageEndsReading) {
            std::future::pending::<()>().await;
        }
        if batch.into_iter().any(|message| events.send(event(message, reading.grace)).is_err()) {
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

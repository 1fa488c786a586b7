//! Messages from allocator and registry.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use mesos_core::{
    agent::{Event, TaskFacts},
    message::{Order, ToAgent},
};
use mesos_model::envelope;
use mesos_ports::bus::{Bus, BusEvent};
use mesos_runtime::shell::kind;
use tokio::sync::mpsc;

use crate::{executors::info, task};

/// Reads a subject until the receiver of events is gone.
/// `grace` is that of executors that name none.
pub(crate) fn listen(bus: Arc<dyn Bus>, subject: String, grace: Duration, events: mpsc::UnboundedSender<Event>) {
    tokio::spawn(async move {
        while !events.is_closed() {
            match bus.subscribe(&subject).await {
                Ok(mut messages) => {
                    while let Some(message) = messages.next().await {
                        match envelope::open::<Vec<ToAgent>>(kind::AGENT, &message.payload) {
                            Ok(batch) => {
                                if batch.into_iter().any(|message| events.send(event(message, grace)).is_err()) {
                                    return;
                                }
                            }
                            Err(error) => tracing::warn!(subject, %error, "a message cannot be read and is dropped"),
                        }
                    }
                }
                Err(error) => tracing::debug!(subject, %error, "cannot subscribe; trying again"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
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

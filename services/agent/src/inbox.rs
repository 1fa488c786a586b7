//! Messages from allocator and registry.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use mesos_core::{
    agent::Event,
    message::{Order, ToAgent},
};
use mesos_model::envelope;
use mesos_ports::bus::{Bus, BusEvent};
use mesos_runtime::shell::kind;
use tokio::sync::mpsc;

use crate::task;

/// For how long a subject on which little is said may be silent before it is subscribed to anew.
pub(crate) const QUIET: Duration = Duration::from_secs(60);

/// Reads a subject until the receiver of events is gone. A subscription that has been silent for so long may be dead
/// without anybody saying so, and an agent that beats and hears nothing would stay as it is for ever: it is renewed.
pub(crate) fn listen(bus: Arc<dyn Bus>, subject: String, silence: Duration, events: mpsc::UnboundedSender<Event>) {
    tokio::spawn(async move {
        while !events.is_closed() {
            match bus.subscribe(&subject).await {
                Ok(mut messages) => {
                    loop {
                        let message = match tokio::time::timeout(silence, messages.next()).await {
                            Ok(Some(message)) => message,
                            Ok(None) => break,
                            // The new one is there before the old one goes, so that nothing is missed between them.
                            Err(_) => match bus.subscribe(&subject).await {
                                Ok(renewed) => {
                                    messages = renewed;
                                    continue;
                                }
                                Err(_) => break,
                            },
                        };
                        match envelope::open::<Vec<ToAgent>>(kind::AGENT, &message.payload) {
                            Ok(batch) => {
                                if batch.into_iter().any(|message| events.send(event(message)).is_err()) {
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

fn event(message: ToAgent) -> Event {
    let mut facts = Vec::new();
    if let ToAgent::Orders { orders, .. } = &message {
        for order in orders {
            if let Order::Launch(launch) = order {
                facts.extend(launch.tasks.iter().map(|(_, _, body)| task::facts(body)));
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

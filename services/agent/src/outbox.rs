//! Messages to allocator and registry, batched per destination. What is lost the machine sends again.

use std::sync::Arc;

use mesos_core::{
    message::{AgentToAllocator, AgentToRegistry, ToAllocator, ToRegistry},
    row::service,
};
use mesos_model::{envelope, subject::Subjects};
use mesos_ports::bus::Bus;
use mesos_runtime::shell::kind;
use tokio::sync::mpsc;

/// What leaves together.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) allocator: Vec<AgentToAllocator>,
    pub(crate) registry: Vec<AgentToRegistry>,
}

/// Sends batches in order, in a task of its own.
pub(crate) fn outbox(bus: Arc<dyn Bus>, subjects: &Subjects) -> mpsc::UnboundedSender<Batch> {
    let (sender, mut batches) = mpsc::unbounded_channel::<Batch>();
    let (allocator, registry) = (subjects.service(service::ALLOCATOR), subjects.service(service::REGISTRY));
    tokio::spawn(async move {
        while let Some(mut batch) = batches.recv().await {
            while let Ok(more) = batches.try_recv() {
                batch.allocator.extend(more.allocator);
                batch.registry.extend(more.registry);
            }
            let to_registry: Vec<ToRegistry> = batch.registry.into_iter().map(ToRegistry::Agent).collect();
            let to_allocator: Vec<ToAllocator> = batch.allocator.into_iter().map(ToAllocator::Agent).collect();
            if !to_registry.is_empty() {
                send(&*bus, &registry, envelope::seal(kind::REGISTRY, &to_registry)).await;
            }
            if !to_allocator.is_empty() {
                send(&*bus, &allocator, envelope::seal(kind::ALLOCATOR, &to_allocator)).await;
            }
        }
    });
    sender
}

async fn send(bus: &dyn Bus, subject: &str, sealed: Result<bytes::Bytes, envelope::EnvelopeError>) {
    match sealed {
        Ok(payload) => {
            if let Err(error) = bus.publish(subject, Vec::new(), payload).await {
                tracing::debug!(subject, %error, "not sent; it will be sent again");
            }
        }
        Err(error) => tracing::error!(subject, %error, "cannot encode a message"),
    }
}

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

/// Sends batches in order, in a task of its own. An agent speaks under its id, or under its instance until it has one.
pub(crate) fn outbox(bus: Arc<dyn Bus>, subjects: &Subjects) -> mpsc::UnboundedSender<Batch> {
    let (sender, mut batches) = mpsc::unbounded_channel::<Batch>();
    let subjects = subjects.clone();
    tokio::spawn(async move {
        while let Some(mut batch) = batches.recv().await {
            while let Ok(more) = batches.try_recv() {
                batch.allocator.extend(more.allocator);
                batch.registry.extend(more.registry);
            }
            for said in batch.registry.chunk_by(|a, b| a.speaker() == b.speaker()) {
                let subject = subjects.said(service::REGISTRY, said[0].speaker().as_str());
                let said: Vec<ToRegistry> = said.iter().cloned().map(ToRegistry::Agent).collect();
                send(&*bus, &subject, envelope::seal(kind::REGISTRY, &said)).await;
            }
            for said in batch.allocator.chunk_by(|a, b| a.speaker() == b.speaker()) {
                let subject = subjects.said(service::ALLOCATOR, &said[0].speaker());
                let said: Vec<ToAllocator> = said.iter().cloned().map(ToAllocator::Agent).collect();
                send(&*bus, &subject, envelope::seal(kind::ALLOCATOR, &said)).await;
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

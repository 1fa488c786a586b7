//! The door of a service that answers each call by itself: the launcher, the pools.
//!
//! Gateways send calls in batches and take one message with all answers back. While a process leads it listens; one
//! that does not is not heard, so that gateways hold their calls and find the next leader.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use mesos_core::message::{Answer, Call, RequestId};
use mesos_model::envelope;
use mesos_ports::bus::{Bus, Message};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::shell::{Ports, kind};

/// Before a subject is subscribed again.
const AGAIN: Duration = Duration::from_millis(200);

/// Calls that come in, and those that wait for their answer. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    bus: Arc<dyn Bus>,
    subject: String,
    service: &'static str,
    kind: &'static str,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    batches: HashMap<u64, Batch>,
    of_request: HashMap<RequestId, (u64, usize)>,
}

struct Batch {
    reply: String,
    answers: Vec<Option<Answer>>,
}

impl Door {
    /// The door of a service, to messages of this kind: `Vec<Call<…>>`.
    #[must_use]
    pub fn new(ports: &Ports, service: &'static str, kind: &'static str) -> Door {
        let subject = ports.subjects.service(service);
        Door { bus: ports.bus.clone(), subject, service, kind, waiting: Arc::default() }
    }

    /// Listens until it is stopped, and hands every call on with the number under which it is to be answered.
    pub fn open<T: DeserializeOwned + Send + 'static>(
        &self,
        stop: CancellationToken,
        on_call: impl Fn(Call<T>, RequestId) + Send + 'static,
    ) {
        let door = self.clone();
        tokio::spawn(async move { stop.run_until_cancelled(door.listen(on_call)).await });
    }

    async fn listen<T: DeserializeOwned>(self, on_call: impl Fn(Call<T>, RequestId) + Send) {
        loop {
            match self.bus.subscribe(&self.subject).await {
                Ok(mut messages) => {
                    while let Some(message) = messages.next().await {
                        self.take(message, &on_call);
                    }
                }
                Err(error) => tracing::warn!(subject = self.subject, %error, "cannot subscribe; trying again"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn take<T: DeserializeOwned>(&self, message: Message, on_call: &impl Fn(Call<T>, RequestId)) {
        let calls = match envelope::open::<Vec<Call<T>>>(self.kind, &message.payload) {
            Ok(calls) => calls,
            Err(error) => {
                tracing::warn!(service = self.service, %error, "a message cannot be read and is dropped");
                return;
            }
        };
        let Some(reply) = message.reply else { return };
        let ids = self.begin(reply, calls.len());
        for (call, request) in calls.into_iter().zip(ids) {
            on_call(call, request);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, reply: String, calls: usize) -> Vec<RequestId> {
        let mut waiting = self.lock();
        waiting.next += 1;
        let batch = waiting.next;
        let requests = (0..calls)
            .map(|at| {
                waiting.next += 1;
                let request = RequestId(waiting.next);
                waiting.of_request.insert(request, (batch, at));
                request
            })
            .collect();
        waiting.batches.insert(batch, Batch { reply, answers: vec![None; calls] });
        requests
    }

    /// Answers a call; the answers of a batch leave together.
    pub fn answer(&self, request: RequestId, answer: Answer) {
        let mut waiting = self.lock();
        let Some((id, at)) = waiting.of_request.remove(&request) else { return };
        let Some(batch) = waiting.batches.get_mut(&id) else { return };
        batch.answers[at] = Some(answer);
        if batch.answers.iter().all(Option::is_some)
            && let Some(batch) = waiting.batches.remove(&id)
        {
            self.send(batch.reply, batch.answers.into_iter().flatten().collect());
        }
    }

    /// Nobody leads here any more: whoever asked asks the next leader, with the same call id.
    pub fn refuse_all(&self) {
        let mut waiting = self.lock();
        waiting.of_request.clear();
        for (_, batch) in waiting.batches.drain() {
            let refusal = || Answer::refused(503, "the service is changing its leader; try again");
            let answers = batch.answers.into_iter().map(|answer| answer.unwrap_or_else(refusal)).collect();
            self.send(batch.reply, answers);
        }
    }

    fn send(&self, reply: String, answers: Vec<Answer>) {
        let (bus, service) = (self.bus.clone(), self.service);
        tokio::spawn(async move {
            match envelope::seal(kind::ANSWERS, &answers) {
                Ok(payload) => {
                    if let Err(error) = bus.publish(&reply, Vec::new(), payload).await {
                        tracing::debug!(service, %error, "an answer was not sent");
                    }
                }
                Err(error) => tracing::error!(service, %error, "an answer cannot be encoded"),
            }
        });
    }
}

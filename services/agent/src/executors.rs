//! The door through which frameworks' own executors come: Mesos's v1 executor API.
//!
//! Whether a call is taken, and what comes of it, the machine says (`mesos_core::agent`); here calls wait for
//! its answer, and events for their streams.
//!
//! # Layout
//! - `server`: the port, and connections.
//! - `http`: `POST /api/v1/executor`.
//! - `info`: what an `ExecutorInfo` means for a host.
//! - `read`: from the contract's calls to the machine's.
//! - `write`: from the machine's events to the contract's.

mod http;
pub(crate) mod info;
mod read;
pub(crate) mod server;
mod write;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use mesos_core::{
    agent::{Event, ExecutorCall, ExecutorEvent},
    message::RequestId,
};
use mesos_model::{AgentId, ExecutorId, FrameworkId};
use tokio::sync::{mpsc, oneshot};

use crate::AgentOptions;

/// Events that wait for one executor at most; one that is further behind is cut off, and subscribes again.
const EVENTS_MAX: usize = 4096;
/// How long a call waits for the checkpoint.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a call comes to: taken, or an HTTP status and why.
type Answer = Result<(), (u16, String)>;

/// The executors of one agent that call. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Executors {
    shared: Arc<Shared>,
}

struct Shared {
    options: AgentOptions,
    /// The port of this API, which a status names.
    port: u16,
    agent: Mutex<Option<AgentId>>,
    events: mpsc::UnboundedSender<Event>,
    /// The machine takes calls.
    open: AtomicBool,
    numbers: AtomicU64,
    calls: Mutex<HashMap<RequestId, oneshot::Sender<Answer>>>,
    streams: Mutex<HashMap<RequestId, mpsc::Sender<Bytes>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Executors {
    pub(crate) fn new(options: AgentOptions, port: u16, events: mpsc::UnboundedSender<Event>) -> Executors {
        let shared = Shared {
            options,
            port,
            agent: Mutex::default(),
            events,
            open: AtomicBool::new(false),
            numbers: AtomicU64::new(1),
            calls: Mutex::default(),
            streams: Mutex::default(),
        };
        Executors { shared: Arc::new(shared) }
    }

    /// From now on calls reach the machine.
    pub(crate) fn open(&self) {
        self.shared.open.store(true, Ordering::Release);
    }

    /// The agent's id, which SUBSCRIBED names.
    pub(crate) fn set_agent(&self, agent: AgentId) {
        *lock(&self.shared.agent) = Some(agent);
    }

    /// The machine's answer to a call.
    pub(crate) fn answer(&self, request: RequestId, answer: Answer) {
        if let Some(waiting) = lock(&self.shared.calls).remove(&request) {
            let _ = waiting.send(answer);
        }
    }

    /// An event for a stream.
    pub(crate) fn tell(&self, stream: RequestId, event: &ExecutorEvent) {
        let agent = lock(&self.shared.agent).clone();
        let event = write::event(&self.shared.options, self.shared.port, agent.as_ref(), event);
        let sent = lock(&self.shared.streams).get(&stream).map(|sender| sender.try_send(event));
        if let Some(Err(_)) = sent {
            // Behind or gone: it gets all that matters when it subscribes again.
            self.close(stream);
        }
    }

    /// Ends a stream.
    pub(crate) fn close(&self, stream: RequestId) {
        lock(&self.shared.streams).remove(&stream);
    }

    /// Makes a call and waits for what the machine says.
    async fn call(&self, caller: &Caller, request: RequestId, call: ExecutorCall) -> Answer {
        let busy = || Err((503, "Agent has not finished recovery".to_owned()));
        if !self.shared.open.load(Ordering::Acquire) {
            return busy();
        }
        let (sender, answer) = oneshot::channel();
        lock(&self.shared.calls).insert(request, sender);
        let Caller { framework, executor, token } = caller.clone();
        let event = Event::ExecutorCall { request, framework, executor, token, call };
        let answer = match self.shared.events.send(event) {
            Ok(()) => tokio::time::timeout(ANSWER_MAX, answer).await,
            Err(_) => return busy(),
        };
        lock(&self.shared.calls).remove(&request);
        answer.ok().and_then(Result::ok).unwrap_or_else(busy)
    }

    fn next_request(&self) -> RequestId {
        RequestId(self.shared.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// Opens a stream; what arrives for it waits until it is read. It is closed when it is dropped.
    async fn subscribe(&self, caller: Caller, call: ExecutorCall) -> Result<Stream, (u16, String)> {
        let request = self.next_request();
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        lock(&self.shared.streams).insert(request, sender);
        let stream = Stream { executors: self.clone(), caller, request, events };
        self.call(&stream.caller, request, call).await?;
        Ok(stream)
    }
}

/// Who calls.
#[derive(Clone, Debug)]
struct Caller {
    framework: FrameworkId,
    executor: ExecutorId,
    /// What it shows to be believed.
    token: Option<u128>,
}

/// The events of one executor.
struct Stream {
    executors: Executors,
    caller: Caller,
    request: RequestId,
    events: mpsc::Receiver<Bytes>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.executors.close(self.request);
        let Caller { framework, executor, .. } = self.caller.clone();
        let closed = Event::ExecutorClosed { framework, executor, stream: self.request };
        let _ = self.executors.shared.events.send(closed);
    }
}

#[cfg(test)]
mod tests;

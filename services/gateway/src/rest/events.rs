//! `GET /v1/events`: server-sent events for the page.
//!
//! The first event is `snapshot`, then come `delta`s, at most one in [`DELTA_EVERY`], and `heartbeat`s. A delta
//! holds whole rows as they are now, so one follower more costs no more than sending it: every delta is made
//! once for all. A follower that does not keep up gets a new `snapshot`.

use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::header;
use mesos_model::{AgentId, FrameworkId};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use super::{RestError, shape};
use crate::{
    reads::{Frame, Reads, reply},
    view::{Batch, Cluster, Delta, TaskKey},
};

/// Changes are gathered for this long.
pub const DELTA_EVERY: Duration = Duration::from_millis(250);
/// The page takes 45 s of silence for a dead connection.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// Deltas that a follower may be behind.
const LAG_MAX: usize = 32;

/// A delta as it goes out.
#[derive(Debug)]
struct Sent {
    version: u64,
    event: Bytes,
}

/// Followers.
#[derive(Debug)]
pub struct Events {
    deltas: broadcast::Sender<Arc<Sent>>,
}

impl Default for Events {
    fn default() -> Self {
        Events { deltas: broadcast::Sender::new(LAG_MAX) }
    }
}

impl Events {
    /// How many followers there are.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.deltas.receiver_count()
    }
}

/// What changed since the last delta.
#[derive(Debug, Default)]
struct Changed {
    agents: HashSet<AgentId>,
    frameworks: HashSet<FrameworkId>,
    tasks: HashSet<TaskKey>,
}

impl Changed {
    fn is_empty(&self) -> bool {
        self.agents.is_empty() && self.frameworks.is_empty() && self.tasks.is_empty()
    }

    fn gather(&mut self, batch: &Batch) {
        for delta in &batch.deltas {
            match delta {
                Delta::Task { before, after, .. } => {
                    for task in before.iter().chain([after]) {
                        self.agents.insert(task.row.agent.clone());
                        self.frameworks.insert(task.row.framework.clone());
                    }
                    self.tasks.insert(after.key());
                }
                Delta::TaskForgotten(key) => {
                    self.frameworks.insert(key.0.clone());
                    self.tasks.insert(key.clone());
                }
                Delta::Agent { after, .. } | Delta::AgentForgotten(after) => {
                    self.agents.insert(after.id.clone());
                }
                Delta::Framework { after, .. } | Delta::FrameworkRemoved(after) => {
                    self.frameworks.insert(after.id.clone());
                }
                Delta::Use(agent, framework) => {
                    self.agents.insert(agent.clone());
                    self.frameworks.insert(framework.clone());
                }
            }
        }
    }

    /// The rows as they are now. What is not there any more was removed.
    fn delta(&self, copy: &Cluster, frame: &Frame) -> Value {
        let (mut agents, mut agents_removed) = (Vec::new(), Vec::new());
        for id in &self.agents {
            match copy.agents.get(id) {
                Some(row) => agents.push(shape::agent(row, copy, frame)),
                None => agents_removed.push(id),
            }
        }
        let (mut frameworks, mut frameworks_removed) = (Vec::new(), Vec::new());
        for id in &self.frameworks {
            match copy.frameworks.get(id) {
                Some(row) => frameworks.push(shape::framework(row, copy, frame)),
                None => frameworks_removed.push(id),
            }
        }
        let (mut tasks, mut tasks_removed) = (Vec::new(), Vec::new());
        for key in &self.tasks {
            match copy.task(&key.0, &key.1) {
                Some(task) => tasks.push(shape::Task::of(task)),
                None => tasks_removed.push(shape::key_text(key)),
            }
        }
        json!({
            "cluster": shape::cluster(copy, frame),
            "agents": agents,
            "agents_removed": agents_removed,
            "frameworks": frameworks,
            "frameworks_removed": frameworks_removed,
            "tasks": tasks,
            "tasks_removed": tasks_removed,
        })
    }
}

/// Everything there is.
#[must_use]
pub fn snapshot(copy: &Cluster, frame: &Frame) -> Value {
    let tasks: Vec<_> = shape::tasks(copy).into_iter().map(|task| shape::Task::of(task)).collect();
    json!({
        "cluster": shape::cluster(copy, frame),
        "agents": shape::agents(copy, frame),
        "frameworks": shape::frameworks(copy, frame),
        "tasks": tasks,
    })
}

fn event(name: &str, data: &Value) -> Bytes {
    // JSON on one line, so one `data:` line is enough.
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// Makes deltas for all followers until the gateway ends.
pub async fn pump(reads: Arc<Reads>) {
    let (_, _, mut batches) = reads.view.subscribe();
    let mut tick = tokio::time::interval(DELTA_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changed = Changed::default();
    loop {
        tokio::select! {
            batch = batches.recv() => match batch {
                // Whoever begins to follow asks for a snapshot that is at least as new as what is dropped here.
                Ok(_) if reads.events.followers() == 0 => changed = Changed::default(),
                Ok(batch) => changed.gather(&batch),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    changed = Changed::default();
                    // An empty event asks every follower to begin anew.
                    let _ = reads.events.deltas.send(Arc::new(Sent { version: u64::MAX, event: Bytes::new() }));
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = tick.tick(), if !changed.is_empty() => {
                let (changed, reads) = (std::mem::take(&mut changed), reads.clone());
                send(reads, changed).await;
            }
            () = reads.cancel.cancelled() => return,
        }
    }
}

async fn send(reads: Arc<Reads>, changed: Changed) {
    let door = reads.clone();
    let made = tokio::task::spawn_blocking(move || {
        let (copy, version) = door.view.snapshot();
        Sent { version, event: event("delta", &changed.delta(&copy, &door.frame())) }
    });
    if let Ok(sent) = made.await {
        let _ = reads.events.deltas.send(Arc::new(sent));
    }
}

/// The handler.
pub async fn follow(State(reads): State<Arc<Reads>>) -> Result<Response, RestError> {
    crate::legacy::loaded(&reads)?;
    let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let _ = feed(&reads, &sender).await;
    });
    let stream =
        futures::stream::poll_fn(move |context| receiver.poll_recv(context).map(|next| next.map(Ok::<_, Infallible>)));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies must not hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// The follower has gone, or the gateway ends.
struct Over;

async fn feed(reads: &Arc<Reads>, sender: &mpsc::Sender<Bytes>) -> Result<(), Over> {
    let mut deltas = reads.events.deltas.subscribe();
    let mut version = begin(reads, sender).await?;
    let mut heartbeat = tokio::time::interval(HEARTBEAT_EVERY);
    heartbeat.reset();
    loop {
        let next = tokio::select! {
            delta = deltas.recv() => match delta {
                Ok(sent) if sent.event.is_empty() => None,
                Ok(sent) if sent.version <= version => continue,
                Ok(sent) => Some(sent.event.clone()),
                Err(broadcast::error::RecvError::Lagged(_)) => None,
                Err(broadcast::error::RecvError::Closed) => return Err(Over),
            },
            _ = heartbeat.tick() => Some(event("heartbeat", &json!({}))),
            () = sender.closed() => return Err(Over),
            () = reads.cancel.cancelled() => return Err(Over),
        };
        match next {
            Some(event) => put(reads, sender, event).await?,
            None => version = begin(reads, sender).await?,
        }
        heartbeat.reset();
    }
}

async fn begin(reads: &Arc<Reads>, sender: &mpsc::Sender<Bytes>) -> Result<u64, Over> {
    let door = reads.clone();
    let render = move |copy: &Cluster| reply::json(&snapshot(copy, &door.frame()));
    let rendered = reads.answers.at_least("/v1/events", reads.view.version(), render).await.map_err(|_| Over)?;
    put(reads, sender, Bytes::from_static(b"event: snapshot\ndata: ")).await?;
    put(reads, sender, rendered.body.clone()).await?;
    put(reads, sender, Bytes::from_static(b"\n\n")).await?;
    Ok(rendered.version)
}

async fn put(reads: &Reads, sender: &mpsc::Sender<Bytes>, bytes: Bytes) -> Result<(), Over> {
    tokio::select! {
        sent = sender.send(bytes) => sent.map_err(|_| Over),
        () = reads.cancel.cancelled() => Err(Over),
    }
}

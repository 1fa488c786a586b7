//! The gRPC services for operators: `Operator`, `Files`, `Stats`.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use mesos_core::message::FileEntry;
use mesos_model::{AgentId, FrameworkId, TaskId};
use mesos_proto::{
    prost::Message,
    services::v1::{
        GetStatsRequest, GetStatsResponse, ListRequest, ListResponse, ReadChunk, ReadRequest, ResourceTotals,
        files_server::Files, operator_server::Operator, stats_server::Stats,
    },
    v1::{
        self,
        master::{Call, Event, Response as Reply, call::Type},
    },
    validate,
};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Outcome, outcome, stream};
use crate::{
    auth::Bearer,
    calls::Context,
    legacy::loaded,
    reads::{Principal, Reads, reply::Refusal},
    view::{Cluster, totals::Scalars},
};

/// All three services over the same reads.
#[derive(Clone)]
pub struct OperatorServices {
    reads: Arc<Reads>,
}

impl OperatorServices {
    /// Services of a gateway.
    #[must_use]
    pub fn new(reads: Arc<Reads>) -> OperatorServices {
        OperatorServices { reads }
    }
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn validated(call: &Call) -> Result<(), Refusal> {
    validate::required_fields("mesos.v1.master.Call", &call.encode_to_vec())
        .map_err(|error| Refusal::bad(format!("Failed to parse body into Call protobuf: {error}")))?;
    validate::master_call(call).map_err(|error| Refusal::bad(format!("Failed to validate master::Call: {error}")))
}

#[tonic::async_trait]
impl Operator for OperatorServices {
    async fn call(&self, request: Request<Call>) -> Result<Response<Reply>, Status> {
        loaded(&self.reads)?;
        let principal = request.extensions().get::<Principal>().and_then(|principal| principal.0.clone());
        let bearer = request.extensions().get::<Bearer>().cloned();
        let call = request.into_inner();
        validated(&call)?;
        Bearer::operator_call(bearer.as_ref(), call.r#type())?;
        if call.r#type() == Type::Subscribe {
            return Err(Refusal::bad("SUBSCRIBE is the call Subscribe here").into());
        }
        match outcome(&self.reads, &call, Context { principal, ..Context::default() }).await? {
            Outcome::Done(_) => Ok(Response::new(Reply::default())),
            Outcome::Reply(reply) => Ok(Response::new(*reply)),
            Outcome::Read(kind) => {
                let door = self.reads.clone();
                // Shared with protobuf clients of the HTTP API.
                let key = format!("/api/v1 {} {}", kind.as_str_name(), crate::reads::reply::PROTOBUF);
                let render = move |cluster: &Cluster| super::read(kind, cluster, &door.frame()).encode_to_vec().into();
                let rendered = self.reads.answers.shared(&key, render).await.map_err(Refusal::from)?;
                let reply =
                    Reply::decode(rendered.body.clone()).map_err(|error| Status::internal(error.to_string()))?;
                Ok(Response::new(reply))
            }
        }
    }

    type SubscribeStream = Streamed<Event>;

    async fn subscribe(&self, request: Request<Call>) -> Result<Response<Self::SubscribeStream>, Status> {
        loaded(&self.reads)?;
        if request.get_ref().r#type() != Type::Subscribe {
            return Err(Refusal::bad("Expecting 'type' to be SUBSCRIBE").into());
        }
        let events = ReceiverStream::new(stream::open(&self.reads)).map(Ok);
        Ok(Response::new(Box::pin(events)))
    }
}

#[tonic::async_trait]
impl Stats for OperatorServices {
    async fn get(&self, _: Request<GetStatsRequest>) -> Result<Response<GetStatsResponse>, Status> {
        loaded(&self.reads)?;
        let totals = self.reads.view.with(|cluster| cluster.totals.clone());
        let offered = self.reads.view.offers.sums();
        Ok(Response::new(GetStatsResponse {
            total: Some(sums(&totals.resources)),
            used: Some(sums(&totals.used)),
            offered: Some(sums(&offered.total)),
            agents_active: totals.agents_active,
            agents_unreachable: totals.agents_unreachable,
            frameworks_active: totals.frameworks_connected,
            frameworks_inactive: totals.frameworks_disconnected,
            offers_outstanding: offered.count,
            tasks: totals.tasks.iter().map(|(state, count)| (state.name().to_owned(), count)).collect(),
        }))
    }
}

fn sums(scalars: &Scalars) -> ResourceTotals {
    let counted = ["cpus", "mem", "disk", "gpus"];
    let others = scalars.iter().filter(|(name, _)| !counted.contains(name));
    ResourceTotals {
        cpus: scalars.amount("cpus"),
        mem: scalars.amount("mem"),
        disk: scalars.amount("disk"),
        gpus: scalars.amount("gpus"),
        others: others.map(|(name, amount)| (name.to_owned(), amount)).collect(),
    }
}

/// One entry of a listing.
#[must_use]
pub fn file_info(entry: &FileEntry) -> v1::FileInfo {
    let mtime = i64::try_from(entry.mtime_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    v1::FileInfo {
        path: entry.path.clone(),
        nlink: Some(if entry.is_dir { 2 } else { 1 }),
        size: Some(entry.size),
        mtime: Some(v1::TimeInfo { nanoseconds: mtime }),
        mode: Some(entry.mode),
        uid: None,
        gid: None,
    }
}

/// Where a task's files are.
struct Place {
    framework: FrameworkId,
    task: TaskId,
    agent: AgentId,
}

impl OperatorServices {
    /// The place of a task's files. Who names the agent has seen the task, maybe at a gateway whose copy is ahead of this
    /// one's; so it is waited for.
    async fn place(
        &self,
        framework: Option<v1::FrameworkId>,
        task: Option<v1::TaskId>,
        agent: Option<v1::AgentId>,
    ) -> Result<Place, Refusal> {
        loaded(&self.reads)?;
        let task = TaskId::new(
            task.map(|id| id.value)
                .filter(|id| !id.is_empty())
                .ok_or_else(|| Refusal::bad("Expecting 'task_id' to be present"))?,
        );
        let framework = framework.map(|id| id.value).filter(|id| !id.is_empty()).map(FrameworkId::new);
        let agent = agent.map(|id| id.value).filter(|id| !id.is_empty()).map(AgentId::new);
        let mut changes = self.reads.view.subscribe().2;
        let mut found = self.find(framework.as_ref(), &task);
        if found.is_none() && agent.is_some() {
            let seen = async {
                // Entries that were missed are in the copy all the same.
                while found.is_none() && !matches!(changes.recv().await, Err(RecvError::Closed)) {
                    found = self.find(framework.as_ref(), &task);
                }
            };
            let _ = tokio::time::timeout(BEHIND_MAX, seen).await;
        }
        let (framework, known) = found.ok_or_else(|| Refusal::not_found(format!("task {task} is not known")))?;
        Ok(Place { framework, task, agent: agent.unwrap_or(known) })
    }

    fn find(&self, framework: Option<&FrameworkId>, task: &TaskId) -> Option<(FrameworkId, AgentId)> {
        let Some(framework) = framework else { return self.only_one(task) };
        self.reads.view.with(|copy| copy.task(framework, task).map(|view| (framework.clone(), view.row.agent.clone())))
    }

    /// The task of this id, where no framework is named: of the newest one if several frameworks have it.
    fn only_one(&self, task: &TaskId) -> Option<(FrameworkId, AgentId)> {
        let (copy, _) = self.reads.view.snapshot();
        let ids = copy.frameworks.iter().chain(copy.completed_frameworks.iter()).map(|(id, _)| id);
        let found = ids.filter_map(|id| copy.task(id, task)).max_by_key(|view| view.row.created);
        found.map(|view| (view.row.framework.clone(), view.row.agent.clone()))
    }

    fn has_ended(&self, place: &Place) -> bool {
        self.reads
            .view
            .with(|copy| copy.task(&place.framework, &place.task).is_none_or(|view| view.row.state.is_terminal()))
    }

    async fn read_to(self, place: Place, request: ReadRequest, sender: mpsc::Sender<Result<ReadChunk, Status>>) {
        let files = self.reads.files.clone();
        let read =
            |offset, length| files.read(&place.agent, &place.framework, &place.task, &request.path, offset, length);
        let mut left = request.length.unwrap_or(u64::MAX);
        let mut offset = match start(&request, || read(u64::MAX / 2, 1)).await {
            Ok(offset) => offset,
            Err(refusal) => return drop(sender.send(Err(refusal.into())).await),
        };
        loop {
            // Asked before the read: what was written up to the task's end is read after it.
            let is_last = !request.follow || self.has_ended(&place);
            let part = match read(offset, left.min(CHUNK)).await {
                Ok(part) => part,
                Err(refusal) => return drop(sender.send(Err(refusal.into())).await),
            };
            let got = part.data.len() as u64;
            left -= got;
            let eof = left == 0 || (is_last && offset + got >= part.size);
            if (got > 0 || eof) && sender.send(Ok(ReadChunk { offset, data: part.data, eof })).await.is_err() {
                return;
            }
            if eof {
                return;
            }
            // A file that shrank was begun anew.
            offset = if part.size < offset { 0 } else { offset + got };
            if got == 0 {
                tokio::select! {
                    () = tokio::time::sleep(FOLLOW_EVERY) => {}
                    () = sender.closed() => return,
                    () = self.reads.cancel.cancelled() => return,
                }
            }
        }
    }
}

/// One chunk of a stream.
const CHUNK: u64 = 256 * 1024;
/// How far this gateway's copy may be behind that of another one.
const BEHIND_MAX: Duration = Duration::from_secs(5);
/// How often a file that is followed is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(300);

async fn start<F>(request: &ReadRequest, size: impl FnOnce() -> F) -> Result<u64, Refusal>
where
    F: Future<Output = Result<crate::files::Part, Refusal>>,
{
    match u64::try_from(request.offset) {
        Ok(offset) => Ok(offset),
        Err(_) => Ok(size().await?.size.saturating_sub(request.offset.unsigned_abs())),
    }
}

#[tonic::async_trait]
impl Files for OperatorServices {
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let request = request.into_inner();
        let place = self.place(request.framework_id, request.task_id, request.agent_id).await?;
        let entries = self.reads.files.list(&place.agent, &place.framework, &place.task, &request.path).await?;
        Ok(Response::new(ListResponse { files: entries.iter().map(file_info).collect() }))
    }

    type ReadStream = Streamed<ReadChunk>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let place = self.place(request.framework_id.clone(), request.task_id.clone(), request.agent_id.clone()).await?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(self.clone().read_to(place, request, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

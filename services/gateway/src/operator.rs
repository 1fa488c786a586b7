//! The operator API: `POST /api/v1`, in JSON and protobuf, with Mesos's checks in Mesos's order.
//!
//! # Layout
//! - [`state`]: the messages about the cluster. [`stream`]: SUBSCRIBE.
//! - [`leave`]: agents that leave, and maintenance.
//! - [`resources`]: weights, quota, roles, reservations, volumes.
//! - [`unsupported`]: what is answered with 501. [`services`]: the same and more over gRPC.

pub mod leave;
pub mod resources;
pub mod services;
pub mod state;
pub mod stream;
pub mod unsupported;

#[cfg(test)]
mod tests;

use std::{convert::Infallible, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use mesos_core::message::{Caller, RegistryCall};
use mesos_model::{FrameworkId, TaskId};
use mesos_proto::{
    json::{self, Defaults, JsonError},
    prost::{Message, Name},
    recordio,
    v1::{
        self,
        master::{Call, Response as Reply, call::Type, response},
    },
    validate,
};

use crate::{
    allocation::Allocation,
    auth::Bearer,
    calls::Context,
    legacy::{documents, loaded},
    reads::{
        Frame, Principal, Reads, VERSION,
        reply::{self, JSON, PROTOBUF, Refusal},
    },
    view::Cluster,
};

/// The routes.
pub fn routes(reads: Arc<Reads>) -> Router {
    Router::new().route("/api/v1", any(handle)).route("/master/api/v1", any(handle)).with_state(reads)
}

/// In which form a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Json,
    /// Protobuf.
    Protobuf,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Form::Json => JSON,
            Form::Protobuf => PROTOBUF,
        }
    }

    fn write<T: Message + Name>(self, message: &T) -> Bytes {
        match self {
            Form::Json => json::encode_with(message, Defaults::Declared).into(),
            Form::Protobuf => message.encode_to_vec().into(),
        }
    }
}

async fn handle(
    State(reads): State<Arc<Reads>>,
    method: Method,
    headers: HeaderMap,
    principal: Option<Extension<Principal>>,
    bearer: Option<Extension<Bearer>>,
    body: Bytes,
) -> Response {
    if method != Method::POST && loaded(&reads).is_ok() {
        return Refusal::method("POST", &method);
    }
    let context = Context { principal: principal.and_then(|Extension(Principal(name))| name), ..Context::default() };
    let bearer = bearer.map(|Extension(bearer)| bearer);
    match answer(&reads, &headers, context, bearer.as_ref(), &body).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(
    reads: &Arc<Reads>,
    headers: &HeaderMap,
    context: Context,
    bearer: Option<&Bearer>,
    body: &Bytes,
) -> Result<Response, Refusal> {
    loaded(reads)?;
    let call = read_call(headers, body)?;
    validate::master_call(&call).map_err(|error| Refusal::bad(format!("Failed to validate master::Call: {error}")))?;
    Bearer::operator_call(bearer, call.r#type())?;
    let form = accepted(headers)?;
    if call.r#type() == Type::Subscribe {
        return Ok(subscribe(reads, form));
    }
    match outcome(reads, &call, context).await? {
        Outcome::Done(status) => Ok(status.into_response()),
        Outcome::Reply(reply) => Ok(reply::body(form.content_type(), form.write(&*reply))),
        Outcome::Read(kind) => {
            let door = reads.clone();
            let key = format!("/api/v1 {} {}", kind.as_str_name(), form.content_type());
            let render = move |cluster: &Cluster| form.write(&read(kind, cluster, &door.frame()));
            let rendered = reads.answers.shared(&key, render).await?;
            Ok(reply::send(headers, form.content_type(), rendered).await)
        }
    }
}

/// The call in a body.
fn read_call(headers: &HeaderMap, body: &Bytes) -> Result<Call, Refusal> {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return Err(Refusal::bad("Expecting 'Content-Type' to be present"));
    };
    // Compared as Mesos compares: to the letter, without parameters.
    match content_type.as_bytes() {
        b"application/json" => json::decode::<Call>(body).map_err(|error| match error {
            JsonError::Syntax(why) => Refusal::bad(format!("Failed to parse body into JSON: {why}")),
            other => Refusal::bad(format!("Failed to convert JSON into Call protobuf: {other}")),
        }),
        b"application/x-protobuf" => {
            let failed = |why: String| Refusal::bad(format!("Failed to parse body into Call protobuf: {why}"));
            let call = Call::decode(body.clone()).map_err(|error| failed(error.to_string()))?;
            validate::required_fields(&Call::full_name(), body).map_err(|error| failed(error.to_string()))?;
            Ok(call)
        }
        _ => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Expecting 'Content-Type' of {JSON} or {PROTOBUF}"),
        )),
    }
}

/// The form that the client takes; JSON is tested first, as in Mesos.
fn accepted(headers: &HeaderMap) -> Result<Form, Refusal> {
    let values: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if values.is_empty() {
        return Ok(Form::Json);
    }
    let takes = |wanted: &str| {
        let ranges = values.iter().flat_map(|value| value.split(','));
        ranges
            .map(|range| range.split(';').next().unwrap_or_default().trim())
            .any(|range| range == "*/*" || range == "application/*" || range == wanted)
    };
    match (takes(JSON), takes(PROTOBUF)) {
        (true, _) => Ok(Form::Json),
        (false, true) => Ok(Form::Protobuf),
        (false, false) => {
            let text = format!("Expecting 'Accept' to allow '{JSON}' or '{PROTOBUF}'");
            Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, text))
        }
    }
}

fn subscribe(reads: &Arc<Reads>, form: Form) -> Response {
    let mut events = stream::open(reads);
    let records = futures::stream::poll_fn(move |context| {
        events
            .poll_recv(context)
            .map(|event| event.map(|event| Ok::<_, Infallible>(recordio::encode(&form.write(&event)))))
    });
    ([(header::CONTENT_TYPE, form.content_type())], Body::from_stream(records)).into_response()
}

/// What a call comes to.
pub(crate) enum Outcome {
    /// A status without a body.
    Done(StatusCode),
    /// An answer.
    Reply(Box<Reply>),
    /// An answer from the view, the same for everybody; see [`read`].
    Read(Type),
}

/// Does a call other than SUBSCRIBE.
pub(crate) async fn outcome(reads: &Arc<Reads>, call: &Call, context: Context) -> Result<Outcome, Refusal> {
    let reply = |kind: response::Type, fill: &dyn Fn(&mut Reply)| {
        let mut reply = Reply { r#type: Some(kind.into()), ..Reply::default() };
        fill(&mut reply);
        Ok(Outcome::Reply(Box::new(reply)))
    };
    match call.r#type() {
        kind @ (Type::GetState
        | Type::GetAgents
        | Type::GetFrameworks
        | Type::GetTasks
        | Type::GetExecutors
        | Type::GetMetrics) => Ok(Outcome::Read(kind)),
        Type::GetHealth => reply(response::Type::GetHealth, &|reply| {
            reply.get_health = Some(response::GetHealth { healthy: true });
        }),
        Type::GetVersion => reply(response::Type::GetVersion, &|reply| {
            let version_info = v1::VersionInfo { version: VERSION.to_owned(), ..v1::VersionInfo::default() };
            reply.get_version = Some(response::GetVersion { version_info });
        }),
        Type::GetFlags => reply(response::Type::GetFlags, &|reply| {
            let flag = |(name, value): (&String, &String)| v1::Flag { name: name.clone(), value: Some(value.clone()) };
            reply.get_flags = Some(response::GetFlags { flags: reads.facts.flags.iter().map(flag).collect() });
        }),
        // Mesos's levels are those of glog; what is logged here is chosen by `--log-level`.
        Type::GetLoggingLevel => reply(response::Type::GetLoggingLevel, &|reply| {
            reply.get_logging_level =
                Some(response::GetLoggingLevel { level: u32::from(tracing::enabled!(tracing::Level::DEBUG)) });
        }),
        Type::GetMaster => reply(response::Type::GetMaster, &|reply| {
            let started = reads.facts.started.as_seconds();
            reply.get_master = Some(response::GetMaster {
                master_info: Some(reads.facts.master_info(&reads.view.leaders())),
                start_time: Some(started),
                elected_time: Some(started),
            });
        }),
        kind if leave::handles(kind) => leave::outcome(&Allocation::new(reads.clone()), call, context).await,
        kind if resources::handles(kind) => resources::outcome(&Allocation::new(reads.clone()), call, context).await,
        Type::Teardown => teardown(reads, call, context).await,
        Type::ListFiles => list_files(reads, call).await,
        Type::ReadFile => read_file(reads, call).await,
        Type::Unknown => Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "UNKNOWN is no call")),
        kind => {
            let text = unsupported::reason(kind)
                .unwrap_or_else(|| format!("{} is not a call of its own here", kind.as_str_name()));
            Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, text))
        }
    }
}

/// The answer to a call that only reads the view.
pub(crate) fn read(kind: Type, cluster: &Cluster, frame: &Frame) -> Reply {
    let mut reply = Reply::default();
    let name = match kind {
        Type::GetState => {
            reply.get_state = Some(state::state(cluster, frame));
            response::Type::GetState
        }
        Type::GetAgents => {
            reply.get_agents = Some(state::agents(cluster, frame));
            response::Type::GetAgents
        }
        Type::GetFrameworks => {
            reply.get_frameworks = Some(state::frameworks(cluster, frame));
            response::Type::GetFrameworks
        }
        Type::GetTasks => {
            reply.get_tasks = Some(state::tasks(cluster));
            response::Type::GetTasks
        }
        Type::GetExecutors => {
            reply.get_executors = Some(state::executors(cluster));
            response::Type::GetExecutors
        }
        _ => {
            let metrics = documents::metrics(cluster, frame).into_iter();
            let metrics = metrics.map(|(name, value)| v1::Metric { name, value: Some(value) }).collect();
            reply.get_metrics = Some(response::GetMetrics { metrics });
            response::Type::GetMetrics
        }
    };
    reply.r#type = Some(name.into());
    reply
}

async fn teardown(reads: &Arc<Reads>, call: &Call, context: Context) -> Result<Outcome, Refusal> {
    let id = call.teardown.as_ref().map(|teardown| teardown.framework_id.value.as_str()).unwrap_or_default();
    let framework = FrameworkId::new(id);
    if reads.view.with(|copy| copy.completed_frameworks.get(&framework).is_some()) {
        return Err(Refusal::bad(format!("framework {framework} has been removed already")));
    }
    let answer = reads.calls.registry(RegistryCall::Teardown(Caller::operator(framework)), context).await;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // Mesos answers an operator's TEARDOWN with 200.
    if status.is_success() { Ok(Outcome::Done(StatusCode::OK)) } else { Err(Refusal::new(status, answer.text)) }
}

/// A path of the files API: the gateway has no files of its own, only those of tasks, under
/// `/frameworks/<framework>/tasks/<task>/…`.
fn sandbox_path(path: &str) -> Result<(FrameworkId, TaskId, String), Refusal> {
    let mut parts = path.trim_start_matches('/').splitn(5, '/');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("frameworks"), Some(framework), Some("tasks"), Some(task), rest) => {
            Ok((framework.into(), task.into(), rest.unwrap_or_default().to_owned()))
        }
        _ => Err(Refusal::not_found(
            "no such path; the files of a task are under /frameworks/<framework>/tasks/<task>/, for example …/stdout",
        )),
    }
}

fn agent_of(reads: &Reads, framework: &FrameworkId, task: &TaskId) -> Result<mesos_model::AgentId, Refusal> {
    let agent = reads.view.with(|copy| copy.task(framework, task).map(|view| view.row.agent.clone()));
    agent.ok_or_else(|| Refusal::not_found(format!("task {task} of framework {framework} is not known")))
}

async fn list_files(reads: &Arc<Reads>, call: &Call) -> Result<Outcome, Refusal> {
    let path = call.list_files.as_ref().map(|list| list.path.as_str()).unwrap_or_default();
    let (framework, task, path) = sandbox_path(path)?;
    let agent = agent_of(reads, &framework, &task)?;
    let entries = reads.files.list(&agent, &framework, &task, &path).await?;
    let file_infos = entries.iter().map(services::file_info).collect();
    Ok(Outcome::Reply(Box::new(Reply {
        r#type: Some(response::Type::ListFiles.into()),
        list_files: Some(response::ListFiles { file_infos }),
        ..Reply::default()
    })))
}

/// Mesos reads at most 16 pages at once.
const READ_MAX: u64 = 16 * 4096;

async fn read_file(reads: &Arc<Reads>, call: &Call) -> Result<Outcome, Refusal> {
    let read = call.read_file.clone().unwrap_or_default();
    let (framework, task, path) = sandbox_path(&read.path)?;
    let agent = agent_of(reads, &framework, &task)?;
    let length = read.length.unwrap_or(READ_MAX).min(READ_MAX);
    let part = reads.files.read(&agent, &framework, &task, &path, read.offset, length).await?;
    Ok(Outcome::Reply(Box::new(Reply {
        r#type: Some(response::Type::ReadFile.into()),
        read_file: Some(response::ReadFile { size: part.size, data: part.data }),
        ..Reply::default()
    })))
}

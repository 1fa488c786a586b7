//! The REST API under `/v1`, which the page and scripts use. Errors are `{"error":{"message":…}}`.

pub mod allocation;
pub mod events;
pub mod leave;
pub mod pools;
pub mod shape;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mesos_core::message::{Caller, RegistryCall};
use mesos_model::{AgentId, FrameworkId, TaskId, TaskState};
use serde_json::{Value, json};

use crate::{
    calls::Context,
    reads::{
        Frame, Principal, Reads,
        reply::{self, Params, Refusal},
    },
    view::{Cluster, TaskView, rendered::RenderError},
};

/// A refusal in the words of this API.
#[derive(Debug)]
pub struct RestError(pub Refusal);

impl From<Refusal> for RestError {
    fn from(refusal: Refusal) -> RestError {
        RestError(refusal)
    }
}

impl From<RenderError> for RestError {
    fn from(error: RenderError) -> RestError {
        RestError(error.into())
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "message": self.0.text } });
        (self.0.status, axum::Json(body)).into_response()
    }
}

type Answer = Result<Response, RestError>;
type Door = State<Arc<Reads>>;

/// The routes.
pub fn routes(reads: Arc<Reads>) -> Router {
    Router::new()
        .route("/v1/cluster", get(cluster))
        .route("/v1/agents", get(agents))
        .route("/v1/frameworks", get(frameworks))
        .route("/v1/tasks", get(tasks))
        .route("/v1/tasks/{framework}/{task}", get(task).delete(kill))
        .route("/v1/tasks/{framework}/{task}/files/{*path}", get(file))
        .route("/v1/events", get(events::follow))
        .route("/v1/{*other}", axum::routing::any(unknown))
        .with_state(reads.clone())
        .merge(allocation::routes(reads.clone()))
        .merge(leave::routes(reads.clone()))
        .merge(pools::routes(reads))
}

async fn unknown() -> RestError {
    RestError(Refusal::not_found("no such resource"))
}

async fn shared(
    reads: &Arc<Reads>,
    key: &str,
    headers: &HeaderMap,
    render: impl FnOnce(&Cluster, &Frame) -> Value + Send + 'static,
) -> Answer {
    crate::legacy::loaded(reads)?;
    let door = reads.clone();
    let rendered = reads.answers.shared(key, move |copy| reply::json(&render(copy, &door.frame()))).await?;
    Ok(reply::send(headers, reply::JSON, rendered).await)
}

async fn cluster(State(reads): Door, headers: HeaderMap) -> Answer {
    shared(&reads, "/v1/cluster", &headers, shape::cluster).await
}

async fn agents(State(reads): Door, headers: HeaderMap) -> Answer {
    shared(&reads, "/v1/agents", &headers, |copy, frame| json!({ "agents": shape::agents(copy, frame) })).await
}

async fn frameworks(State(reads): Door, headers: HeaderMap) -> Answer {
    let render = |copy: &Cluster, frame: &Frame| json!({ "frameworks": shape::frameworks(copy, frame) });
    shared(&reads, "/v1/frameworks", &headers, render).await
}

/// What `/v1/tasks` is asked for.
#[derive(Clone, Debug)]
struct TasksQuery {
    limit: usize,
    offset: usize,
    state: Option<TaskState>,
    framework: Option<String>,
}

const TASKS_DEFAULT: usize = 100;
const TASKS_MAX: usize = 10_000;

fn tasks_query(params: &Params) -> Result<TasksQuery, Refusal> {
    let state = params.get("state").map(|name| {
        let known = TaskState::ALL.into_iter().find(|state| state.name() == name);
        let shown: String = name.escape_debug().take(40).collect();
        known.ok_or_else(|| {
            Refusal::bad(format!("Failed to parse state: '{shown}' is no state, for example TASK_RUNNING"))
        })
    });
    Ok(TasksQuery {
        limit: params.number("limit", "100")?.unwrap_or(TASKS_DEFAULT).min(TASKS_MAX),
        offset: params.number("offset", "0")?.unwrap_or(0),
        state: state.transpose()?,
        framework: params.get("framework_id").map(str::to_owned),
    })
}

fn tasks_answer(copy: &Cluster, query: &TasksQuery) -> Value {
    let mut tasks = shape::tasks(copy);
    tasks.retain(|task| {
        query.state.is_none_or(|state| task.row.state == state)
            && query.framework.as_deref().is_none_or(|id| task.row.framework.as_str() == id)
    });
    let shown = tasks.iter().skip(query.offset).take(query.limit).map(|task| shape::Task::of(task));
    json!({ "tasks": shown.collect::<Vec<_>>(), "total": tasks.len() })
}

async fn tasks(State(reads): Door, params: Result<Params, Refusal>, headers: HeaderMap) -> Answer {
    let query = tasks_query(&params?)?;
    let key = format!("/v1/tasks?{query:?}");
    if query.framework.is_none() {
        return shared(&reads, &key, &headers, move |copy, _| tasks_answer(copy, &query)).await;
    }
    crate::legacy::loaded(&reads)?;
    let rendered = reads.answers.compute(move |copy| reply::json(&tasks_answer(copy, &query))).await?;
    Ok(reply::send(&headers, reply::JSON, rendered).await)
}

fn find(reads: &Reads, framework: &str, task: &str) -> Result<Arc<TaskView>, Refusal> {
    crate::legacy::loaded(reads)?;
    let (framework, task) = (FrameworkId::new(framework), TaskId::new(task));
    let found = reads.view.with(|copy| copy.task(&framework, &task).cloned());
    found.ok_or_else(|| Refusal::not_found(format!("task {task} of framework {framework} is not known")))
}

async fn task(State(reads): Door, Path((framework, task)): Path<(String, String)>) -> Answer {
    let view = find(&reads, &framework, &task)?;
    Ok(reply::body(reply::JSON, reply::json(&shape::Task::of(&view))))
}

async fn kill(
    State(reads): Door,
    Path((framework, task)): Path<(String, String)>,
    principal: Option<Extension<Principal>>,
) -> Answer {
    let view = find(&reads, &framework, &task)?;
    if view.row.state.is_terminal() {
        let text = format!("task {task} has ended already ({})", view.row.state.name());
        return Err(RestError(Refusal::new(StatusCode::CONFLICT, text)));
    }
    let call = RegistryCall::Kill {
        caller: Caller::operator(view.row.framework.clone()),
        task: view.row.task.clone(),
        agent: None,
        grace_ms: None,
    };
    let principal = principal.and_then(|Extension(Principal(principal))| principal);
    let answer = reads.calls.registry(call, Context { principal, ..Context::default() }).await;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_success() {
        return Ok((StatusCode::ACCEPTED, axum::Json(json!({}))).into_response());
    }
    Err(RestError(Refusal::new(status, answer.text)))
}

/// How much of a file one answer holds.
const CHUNK_DEFAULT: u64 = 64 * 1024;
const CHUNK_MAX: u64 = 1024 * 1024;

async fn file(
    State(reads): Door,
    Path((framework, task, path)): Path<(String, String, String)>,
    params: Result<Params, Refusal>,
) -> Answer {
    let params = params?;
    let view = find(&reads, &framework, &task)?;
    let offset = params.number("offset", "0")?.unwrap_or(0);
    let length = params.number("length", "65536")?.unwrap_or(CHUNK_DEFAULT).min(CHUNK_MAX);
    let agent: &AgentId = &view.row.agent;
    let part = reads.files.read(agent, &view.row.framework, &view.row.task, &path, offset, length).await?;
    let data: &Bytes = &part.data;
    let body = json!({ "offset": part.offset, "data": String::from_utf8_lossy(data), "size": part.size });
    Ok(reply::body(reply::JSON, Bytes::from(body.to_string())))
}

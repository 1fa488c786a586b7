//! Mesos's older endpoints, with and without the `/master` prefix: `/state`, `/slaves`, `/tasks` and so on.
//!
//! Every gateway answers for the cluster, so none of them redirects. They are computed from the view and
//! shared by equal requests, see [`rendered`](crate::view::rendered).
//!
//! # Layout
//! - [`documents`], [`shape`]: whole answers, and their parts.
//! - [`changes`]: `/weights`, `/quota`, `/reserve` and so on. [`maintenance`]: `/maintenance/schedule` and so on.

pub mod changes;
pub mod documents;
pub mod maintenance;
pub mod shape;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    allocation::Allocation,
    reads::{
        Frame, Reads,
        reply::{self, Params, Refusal},
    },
    view::Cluster,
};
use documents::TasksQuery;

type Answer = Result<Response, Refusal>;
type Door = State<Arc<Reads>>;

/// The routes.
pub fn routes(reads: Arc<Reads>) -> Router {
    let both = Router::new()
        .route("/state", get(state))
        .route("/state-summary", get(summary))
        .route("/slaves", get(slaves))
        .route("/slaves/", get(slaves))
        .route("/frameworks", get(frameworks))
        .route("/frameworks/", get(frameworks))
        .route("/tasks", get(tasks))
        .route("/tasks/", get(tasks))
        .route("/roles", get(roles))
        .route("/flags", get(flags))
        .route("/version", get(version))
        .route("/redirect", get(redirect))
        .with_state(reads.clone())
        .merge(changes::routes(reads.clone()))
        .merge(maintenance::routes(reads.clone()));
    // `/health`, with and without the prefix, is the server's own.
    let metrics = Router::new().route("/metrics/snapshot", get(metrics)).with_state(reads);
    Router::new().merge(both.clone()).nest("/master", both).merge(metrics)
}

async fn shared(
    reads: &Arc<Reads>,
    key: &str,
    headers: &HeaderMap,
    params: &Params,
    render: impl FnOnce(&Cluster, &Frame) -> Value + Send + 'static,
) -> Answer {
    loaded(reads)?;
    let door = reads.clone();
    let rendered = reads.answers.shared(key, move |cluster| reply::json(&render(cluster, &door.frame()))).await?;
    reply::send_json(headers, params, rendered).await
}

async fn own(
    reads: &Arc<Reads>,
    headers: &HeaderMap,
    params: &Params,
    render: impl FnOnce(&Cluster, &Frame) -> Value + Send + 'static,
) -> Answer {
    loaded(reads)?;
    let door = reads.clone();
    let rendered = reads.answers.compute(move |cluster| reply::json(&render(cluster, &door.frame()))).await?;
    reply::send_json(headers, params, rendered).await
}

/// An empty cluster would be a wrong answer, which mesos-dns would publish.
///
/// # Errors
/// 503 until the rows were loaded.
pub fn loaded(reads: &Reads) -> Result<(), Refusal> {
    if reads.view.loaded() {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Master has not finished recovery"))
}

async fn state(State(reads): Door, params: Params, headers: HeaderMap) -> Answer {
    shared(&reads, "/state", &headers, &params, documents::state).await
}

async fn summary(State(reads): Door, params: Params, headers: HeaderMap) -> Answer {
    shared(&reads, "/state-summary", &headers, &params, documents::summary).await
}

/// What is set for roles is the allocator's to say: it is asked.
async fn roles(State(reads): Door, params: Params) -> Answer {
    loaded(&reads)?;
    let roles = Allocation::new(reads).role_views().await?;
    reply::value(&params, &documents::roles(&roles))
}

async fn slaves(State(reads): Door, params: Params, headers: HeaderMap) -> Answer {
    match params.get("slave_id").map(str::to_owned) {
        None => {
            shared(&reads, "/slaves", &headers, &params, |cluster, frame| documents::slaves(cluster, frame, None)).await
        }
        Some(id) => {
            own(&reads, &headers, &params, move |cluster, frame| documents::slaves(cluster, frame, Some(&id))).await
        }
    }
}

async fn frameworks(State(reads): Door, params: Params, headers: HeaderMap) -> Answer {
    match params.get("framework_id").map(str::to_owned) {
        None => {
            let render = |cluster: &Cluster, frame: &Frame| documents::frameworks(cluster, frame, None);
            shared(&reads, "/frameworks", &headers, &params, render).await
        }
        Some(id) => {
            own(&reads, &headers, &params, move |cluster, frame| documents::frameworks(cluster, frame, Some(&id))).await
        }
    }
}

async fn tasks(State(reads): Door, params: Params, headers: HeaderMap) -> Answer {
    let query = tasks_query(&params)?;
    let is_default = query.framework.is_none() && query.task.is_none();
    let key = format!("/tasks?{:?}&{}&{}", query.limit, query.offset, query.ascending);
    let render = move |cluster: &Cluster, _: &Frame| documents::tasks(cluster, &query);
    if is_default {
        shared(&reads, &key, &headers, &params, render).await
    } else {
        own(&reads, &headers, &params, render).await
    }
}

/// How many tasks `/tasks` gives unless it is asked for another number.
const TASKS_DEFAULT: usize = 100;

/// The query of `/tasks`.
///
/// # Errors
/// 400 with the parameter's name.
pub fn tasks_query(params: &Params) -> Result<TasksQuery, Refusal> {
    let limit = match params.number::<i64>("limit", "100")? {
        None => Some(TASKS_DEFAULT),
        // Mesos takes any negative number for "all".
        Some(limit) => usize::try_from(limit).ok(),
    };
    let ascending = match params.get("order") {
        None | Some("des") => false,
        Some("asc") => true,
        Some(_) => return Err(Refusal::bad("Failed to parse order: expected asc or des")),
    };
    Ok(TasksQuery {
        limit,
        offset: params.number("offset", "0")?.unwrap_or(0),
        ascending,
        framework: params.get("framework_id").map(str::to_owned),
        task: params.get("task_id").map(str::to_owned),
    })
}

async fn flags(State(reads): Door, params: Params) -> Answer {
    reply::value(&params, &json!({ "flags": reads.facts.flags }))
}

async fn version(params: Params) -> Answer {
    reply::value(&params, &documents::version())
}

async fn metrics(State(reads): Door, params: Params, headers: HeaderMap) -> Answer {
    let door = reads.clone();
    let render = move |cluster: &Cluster| reply::json(&documents::metrics(cluster, &door.frame()));
    let rendered = reads.answers.shared("/metrics/snapshot", render).await?;
    reply::send_json(&headers, &params, rendered).await
}

/// To the base URL of the leader: this gateway is as good as any.
async fn redirect(State(reads): Door) -> Response {
    let location = format!("//{}:{}", reads.facts.hostname, reads.facts.port);
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
}

//! `/maintenance/schedule`, `/maintenance/status`, `/machine/down` and `/machine/up`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use http::StatusCode;
use mesos_core::message::OperatorCall;
use mesos_proto::{json, v1};

use super::{
    Answer, Door,
    changes::{Caller, context, list},
    loaded, shape,
};
use crate::{
    allocation::Allocation,
    leave,
    reads::{
        Reads,
        reply::{self, Params, Refusal},
    },
};

/// The routes, without a prefix.
pub fn routes(reads: Arc<Reads>) -> Router {
    Router::new()
        .route("/maintenance/schedule", get(schedule).post(update))
        .route("/maintenance/status", get(status))
        .route("/machine/down", post(down))
        .route("/machine/up", post(up))
        .with_state(reads)
}

async fn schedule(State(reads): Door, params: Params) -> Answer {
    loaded(&reads)?;
    let view = leave::view(&Allocation::new(reads)).await?;
    reply::value(&params, &shape::message(&leave::schedule(&view)))
}

async fn status(State(reads): Door, params: Params) -> Answer {
    loaded(&reads)?;
    let view = leave::view(&Allocation::new(reads)).await?;
    reply::value(&params, &shape::message(&leave::status(&view)))
}

async fn update(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    let schedule = json::decode::<v1::maintenance::Schedule>(&body)
        .map_err(|error| Refusal::bad(format!("Failed to parse maintenance schedule JSON: {error}")))?;
    ask(reads, caller, OperatorCall::SetSchedule(leave::windows(&schedule))).await
}

async fn down(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    ask(reads, caller, OperatorCall::StartMaintenance(machines(&body)?)).await
}

async fn up(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    ask(reads, caller, OperatorCall::StopMaintenance(machines(&body)?)).await
}

fn machines(body: &[u8]) -> Result<Vec<mesos_core::message::MachineId>, Refusal> {
    let ids: Vec<v1::MachineId> =
        list(body).map_err(|why| Refusal::bad(format!("Failed to parse the JSON list of machines: {why}")))?;
    Ok(leave::machines(&ids))
}

async fn ask(reads: Arc<Reads>, caller: Caller, what: OperatorCall) -> Answer {
    loaded(&reads)?;
    Allocation::new(reads).ask(what, context(caller)).await?;
    Ok(StatusCode::OK.into_response())
}

//! `/v1/agents/<agent>/drain` and so on, and `/v1/maintenance`: agents that leave, machines that will be away.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use bytes::Bytes;
use mesos_core::message::OperatorCall;
use mesos_proto::v1::{
    maintenance::Schedule,
    master::call::{DrainAgent, StartMaintenance, StopMaintenance},
};
use serde_json::Value;

use super::{
    Answer, Door, RestError,
    allocation::{Caller, context, done, message, read},
};
use crate::{
    allocation::Allocation,
    leave,
    reads::{Reads, reply::Refusal},
};

/// The routes.
pub fn routes(reads: Arc<Reads>) -> Router {
    Router::new()
        .route("/v1/agents/{agent}/{what}", post(change))
        .route("/v1/maintenance/schedule", get(schedule).put(update))
        .route("/v1/maintenance/status", get(status))
        .route("/v1/maintenance/start", post(start))
        .route("/v1/maintenance/stop", post(stop))
        .with_state(reads)
}

async fn change(
    State(reads): Door,
    Path((agent, what)): Path<(String, String)>,
    caller: Caller,
    body: Bytes,
) -> Answer {
    let (allocation, context) = (Allocation::new(reads), context(caller));
    match what.as_str() {
        "drain" => {
            let ask = drain(&agent, &body)?;
            let max_grace_ms = leave::grace_ms(ask.max_grace_period.as_ref())?;
            let mark_gone = ask.mark_gone.unwrap_or_default();
            let call = |agent| OperatorCall::Drain { agent, max_grace_ms, mark_gone };
            leave::on_agent(&allocation, &agent, call, context).await?;
        }
        "deactivate" => leave::on_agent(&allocation, &agent, OperatorCall::Deactivate, context).await?,
        "reactivate" => leave::on_agent(&allocation, &agent, OperatorCall::Reactivate, context).await?,
        "gone" => leave::on_agent(&allocation, &agent, OperatorCall::MarkGone, context).await?,
        _ => {
            let text = "expected /v1/agents/<agent>/drain, …/deactivate, …/reactivate or …/gone";
            return Err(RestError(Refusal::not_found(text)));
        }
    }
    Ok(done())
}

/// What a drain is asked for; the agent is in the path, and an empty body asks for nothing special.
fn drain(agent: &str, body: &Bytes) -> Result<DrainAgent, RestError> {
    let mut fields: Value = if body.is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        serde_json::from_slice(body)
            .map_err(|error| RestError(Refusal::bad(format!("the body cannot be read: {error}"))))?
    };
    if let Value::Object(fields) = &mut fields {
        fields.insert("agent_id".to_owned(), serde_json::json!({ "value": agent }));
    }
    read(&Bytes::from(fields.to_string()))
}

async fn schedule(State(reads): Door) -> Answer {
    Ok(message(&leave::schedule(&leave::view(&Allocation::new(reads)).await?)))
}

async fn status(State(reads): Door) -> Answer {
    Ok(message(&leave::status(&leave::view(&Allocation::new(reads)).await?)))
}

async fn update(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    let schedule: Schedule = read(&body)?;
    Allocation::new(reads).ask(OperatorCall::SetSchedule(leave::windows(&schedule)), context(caller)).await?;
    Ok(done())
}

async fn start(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    let ask: StartMaintenance = read(&body)?;
    let what = OperatorCall::StartMaintenance(leave::machines(&ask.machines));
    Allocation::new(reads).ask(what, context(caller)).await?;
    Ok(done())
}

async fn stop(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    let ask: StopMaintenance = read(&body)?;
    let what = OperatorCall::StopMaintenance(leave::machines(&ask.machines));
    Allocation::new(reads).ask(what, context(caller)).await?;
    Ok(done())
}

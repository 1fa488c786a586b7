//! `/v1/roles`, `/v1/policy`, `/v1/needs`, `/v1/explain`, `/v1/whatif` and priorities: the messages of the
//! gRPC service `Allocation`, as JSON.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use mesos_proto::{
    json,
    prost::{Message, Name},
    services::v1::{
        Query, RoleQuota, RoleWeight, SetPlacementRequest, SetPolicyRequest, SetPriorityRequest, UpdateQuotaRequest,
        UpdateWeightsRequest, WhatIfRequest,
    },
    v1,
};
use serde_json::Value;

use super::{Answer, Door, RestError};
use crate::{
    allocation::Allocation,
    calls::Context,
    reads::{
        Principal, Reads,
        reply::{self, Params, Refusal},
    },
    translate::resources::printable,
};

pub(super) type Caller = Option<Extension<Principal>>;

/// What a module is sent as.
const WASM: &[u8] = b"application/wasm";

/// The routes.
pub fn routes(reads: Arc<Reads>) -> Router {
    Router::new()
        .route("/v1/roles", get(roles))
        .route("/v1/roles/{*role}", get(role).put(set_role))
        .route("/v1/policy", get(policy).put(set_policy))
        .route("/v1/needs", get(needs))
        .route("/v1/explain", post(explain))
        .route("/v1/whatif", post(what_if))
        .route("/v1/frameworks/{framework}/priority", put(framework_priority))
        .route("/v1/tasks/{framework}/{task}/priority", put(task_priority))
        .with_state(reads)
}

pub(super) fn context(caller: Caller) -> Context {
    Context { principal: caller.and_then(|Extension(Principal(name))| name), ..Context::default() }
}

pub(super) fn message<T: Message + Name>(message: &T) -> Response {
    reply::body(reply::JSON, json::encode(message).into())
}

pub(super) fn done() -> Response {
    axum::Json(serde_json::json!({})).into_response()
}

/// A message out of a body. A name that is not known is refused: it may be one that was meant, and a quota
/// without it would be another one.
pub(super) fn read<T: Message + Name + Default>(body: &Bytes) -> Result<T, RestError> {
    let wrong = |why: String| RestError(Refusal::bad(format!("the body cannot be read: {why}")));
    let value: Value = serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
    let Value::Object(fields) = &value else { return Err(wrong("expected a JSON object".to_owned())) };
    let known = mesos_proto::descriptor(&T::full_name());
    if let Some(known) = known
        && let Some(unknown) = fields.keys().find(|name| known.get_field_by_name(name).is_none())
    {
        let names: Vec<String> = known.fields().map(|field| field.name().to_owned()).collect();
        return Err(wrong(format!("there is no '{}'; there are {}", printable(unknown), names.join(", "))));
    }
    json::decode(body).map_err(|error| wrong(error.to_string()))
}

async fn roles(State(reads): Door) -> Answer {
    Ok(message(&Allocation::new(reads).roles().await?))
}

async fn role(State(reads): Door, Path(role): Path<String>) -> Answer {
    Ok(message(&Allocation::new(reads).role(&role).await?))
}

/// `PUT /v1/roles/<role>/weight`, `…/quota` and `…/placement`; a role may have slashes itself.
async fn set_role(
    State(reads): Door,
    Path(path): Path<String>,
    params: Result<Params, Refusal>,
    caller: Caller,
    body: Bytes,
) -> Answer {
    let params = params?;
    let nothing = || RestError(Refusal::not_found("expected /v1/roles/<role>/weight, …/quota or …/placement"));
    let (role, what) = path.rsplit_once('/').ok_or_else(nothing)?;
    let role = role.to_owned();
    let (allocation, context) = (Allocation::new(reads), context(caller));
    match what {
        "weight" => {
            let weight = RoleWeight { role, ..read(&body)? };
            let request = UpdateWeightsRequest { weights: vec![weight], ..UpdateWeightsRequest::default() };
            allocation.update_weights(request, context).await?;
        }
        "quota" => {
            let quota = RoleQuota { role, ..read(&body)? };
            let force = flag(&params, "force")?;
            let request = UpdateQuotaRequest { quotas: vec![quota], force, ..UpdateQuotaRequest::default() };
            allocation.update_quota(request, context).await?;
        }
        "placement" => {
            allocation.set_placement(SetPlacementRequest { role, ..read(&body)? }, context).await?;
        }
        _ => return Err(nothing()),
    }
    Ok(done())
}

fn flag(params: &Params, name: &str) -> Result<bool, Refusal> {
    match params.get(name) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => {
            Err(Refusal::bad(format!("Failed to parse {name}: '{}' is not true or false", printable(other))))
        }
    }
}

async fn policy(State(reads): Door) -> Answer {
    Ok(message(&Allocation::new(reads).policy().await?))
}

async fn set_policy(
    State(reads): Door,
    params: Result<Params, Refusal>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let params = params?;
    let content = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let request = if content == Some(WASM) {
        let name = params.get("name").ok_or_else(|| Refusal::bad("a module needs a name: ?name=…"))?;
        SetPolicyRequest {
            policy: name.to_owned(),
            module: Some(body),
            load_only: flag(&params, "load_only")?,
            call_id: String::new(),
        }
    } else {
        read(&body)?
    };
    Ok(message(&Allocation::new(reads).set_policy(request, context(caller)).await?))
}

async fn needs(State(reads): Door) -> Answer {
    Ok(message(&Allocation::new(reads).needs().await?))
}

async fn explain(State(reads): Door, body: Bytes) -> Answer {
    let query: Query = read(&body)?;
    Ok(message(&Allocation::new(reads).explain(query).await?))
}

async fn what_if(State(reads): Door, body: Bytes) -> Answer {
    let request: WhatIfRequest = read(&body)?;
    Ok(message(&Allocation::new(reads).what_if(request).await?))
}

/// The new priority, which has to be there: one that was forgotten is not 0.
fn priority(body: &Bytes) -> Result<SetPriorityRequest, RestError> {
    let request: SetPriorityRequest = read(body)?;
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    if value.get("priority").is_none_or(Value::is_null) {
        return Err(RestError(Refusal::bad("'priority' is missing")));
    }
    Ok(request)
}

async fn framework_priority(State(reads): Door, Path(id): Path<String>, caller: Caller, body: Bytes) -> Answer {
    let framework_id = Some(v1::FrameworkId { value: id });
    let request = SetPriorityRequest { framework_id, task_id: None, ..priority(&body)? };
    Allocation::new(reads).set_priority(request, context(caller)).await?;
    Ok((StatusCode::ACCEPTED, done()).into_response())
}

async fn task_priority(
    State(reads): Door,
    Path((framework, task)): Path<(String, String)>,
    caller: Caller,
    body: Bytes,
) -> Answer {
    let request = SetPriorityRequest {
        framework_id: Some(v1::FrameworkId { value: framework }),
        task_id: Some(v1::TaskId { value: task }),
        ..priority(&body)?
    };
    Allocation::new(reads).set_priority(request, context(caller)).await?;
    Ok((StatusCode::ACCEPTED, done()).into_response())
}

//! The older endpoints that change something: `/weights`, `/quota`, `/reserve`, `/unreserve`,
//! `/create-volumes` and `/destroy-volumes`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use bytes::Bytes;
use http::StatusCode;
use mesos_core::message::Conversion;
use mesos_proto::{json, v1};
use serde_json::Value;

use super::{loaded, shape};
use crate::{
    allocation::{Allocation, convert},
    calls::Context,
    operator::resources as calls,
    reads::{
        Principal, Reads,
        reply::{self, Params, Refusal},
    },
    translate::conversion,
};

type Answer = Result<Response, Refusal>;
type Door = State<Arc<Reads>>;
pub(super) type Caller = Option<Extension<Principal>>;

/// The routes, without a prefix.
pub fn routes(reads: Arc<Reads>) -> Router {
    Router::new()
        .route("/weights", get(weights).put(update_weights))
        .route("/quota", get(quota).post(set_quota))
        .route("/quota/{*role}", delete(remove_quota))
        .route("/reserve", post(reserve))
        .route("/unreserve", post(unreserve))
        .route("/create-volumes", post(create_volumes))
        .route("/destroy-volumes", post(destroy_volumes))
        .with_state(reads)
}

pub(super) fn context(caller: Caller) -> Context {
    Context { principal: caller.and_then(|Extension(Principal(name))| name), ..Context::default() }
}

fn done(outcome: Result<(), Refusal>, status: StatusCode) -> Answer {
    outcome.map(|()| status.into_response()).map_err(calls::in_words_of_mesos)
}

async fn weights(State(reads): Door, params: Params) -> Answer {
    loaded(&reads)?;
    let roles = Allocation::new(reads).role_views().await?;
    let weights = roles.iter().filter(|view| convert::has_weight(view)).map(convert::weight_info);
    let weights: Vec<Value> = weights.map(|info| shape::message(&info)).collect();
    reply::value(&params, &Value::from(weights))
}

async fn update_weights(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    loaded(&reads)?;
    let wrong = |why: String| Refusal::bad(format!("Failed to parse update weights request JSON: {why}"));
    let infos: Vec<v1::WeightInfo> = list(&body).map_err(wrong)?;
    let outcome = calls::update_weights(&Allocation::new(reads), &infos, context(caller)).await;
    done(outcome, StatusCode::OK)
}

async fn quota(State(reads): Door, params: Params) -> Answer {
    loaded(&reads)?;
    let roles = Allocation::new(reads).role_views().await?;
    reply::value(&params, &shape::message(&convert::quota_status(&roles)))
}

async fn set_quota(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    loaded(&reads)?;
    let request = json::decode::<v1::quota::QuotaRequest>(&body)
        .map_err(|error| Refusal::bad(format!("Failed to parse set quota request JSON: {error}")))?;
    done(calls::set_quota(&Allocation::new(reads), &request, context(caller)).await, StatusCode::OK)
}

async fn remove_quota(State(reads): Door, Path(role): Path<String>, caller: Caller) -> Answer {
    loaded(&reads)?;
    done(calls::remove_quota(&Allocation::new(reads), &role, context(caller)).await, StatusCode::OK)
}

async fn reserve(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    convert(reads, caller, &body, ("RESERVE", "resources"), |resources| conversion::reserve(resources, &[])).await
}

async fn unreserve(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    convert(reads, caller, &body, ("UNRESERVE", "resources"), conversion::unreserve).await
}

async fn create_volumes(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    convert(reads, caller, &body, ("CREATE", "volumes"), conversion::create).await
}

async fn destroy_volumes(State(reads): Door, caller: Caller, body: Bytes) -> Answer {
    convert(reads, caller, &body, ("DESTROY", "volumes"), conversion::destroy).await
}

async fn convert(
    reads: Arc<Reads>,
    caller: Caller,
    body: &Bytes,
    (name, field): (&str, &str),
    read: impl FnOnce(&[v1::Resource]) -> Result<Conversion, String>,
) -> Answer {
    loaded(&reads)?;
    let form = form(body);
    let part = |field: &str| {
        let found = form.get(field).filter(|value| !value.is_empty());
        found.ok_or_else(|| Refusal::bad(format!("Missing '{field}' query parameter in the request body")))
    };
    let agent = part("slaveId")?;
    let resources: Vec<v1::Resource> = list(part(field)?.as_bytes()).map_err(|why| {
        Refusal::bad(format!("Error in parsing '{field}' query parameter in the request body: {why}"))
    })?;
    let conversion = calls::valid(name, read(&resources))?;
    let outcome = Allocation::new(reads).convert(agent, conversion, context(caller)).await;
    done(outcome, StatusCode::ACCEPTED)
}

/// Messages out of a JSON array.
pub(super) fn list<T>(text: &[u8]) -> Result<Vec<T>, String>
where
    T: mesos_proto::prost::Message + mesos_proto::prost::Name + Default,
{
    let values: Vec<Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let read = |value: Value| json::decode::<T>(value.to_string().as_bytes()).map_err(|error| error.to_string());
    values.into_iter().map(read).collect()
}

/// A form. Clients of Mesos send JSON in it without encoding it, so nothing but `&`, `=`, `+` and `%` has a
/// meaning.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let pairs = body.split(|byte| *byte == b'&').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((decoded(&pair[..at]), decoded(&pair[at + 1..])))
    });
    pairs.collect()
}

fn decoded(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let hex = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_encoded_and_as_they_are() {
        let plain = form(br#"slaveId=a-S0&resources=[{"name":"cpus"}]"#);
        let encoded = form(b"slaveId=a%2dS0&resources=%5B%7B%22name%22%3A%22cpus%22%7D%5D");
        assert_eq!(plain, encoded);
        assert_eq!(plain["slaveId"], "a-S0");
        assert_eq!(form(b"a=1+2&b=%zz&c"), form(b"a=1%202&b=%25zz"));
    }
}

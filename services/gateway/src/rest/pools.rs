//! `/v1/pools`: the messages of the gRPC service `Pools`, as JSON.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    routing::{delete, get, post},
};
use bytes::Bytes;
use mesos_proto::services::v1::{AddNodesRequest, RemoveNodesRequest, SetPoolRequest};

use super::{
    Answer, Door,
    allocation::{Caller, context, message, read},
};
use crate::{pools::Pools, reads::Reads};

/// The routes.
pub fn routes(reads: Arc<Reads>) -> Router {
    Router::new()
        .route("/v1/pools", get(list))
        .route("/v1/pools/{pool}", axum::routing::put(set))
        .route("/v1/pools/{pool}/nodes", post(add).delete(remove))
        .route("/v1/pools/{pool}/nodes/{node}", delete(remove_one))
        .with_state(reads)
}

/// A body may be left out where everything in it may be.
fn given(body: &Bytes) -> Bytes {
    if body.is_empty() { Bytes::from_static(b"{}") } else { body.clone() }
}

async fn list(State(reads): Door) -> Answer {
    Ok(message(&Pools::new(reads).list().await?))
}

async fn set(State(reads): Door, Path(pool): Path<String>, caller: Caller, body: Bytes) -> Answer {
    let request = SetPoolRequest { pool, ..read(&given(&body))? };
    Ok(message(&Pools::new(reads).set(request, context(caller)).await?))
}

async fn add(State(reads): Door, Path(pool): Path<String>, caller: Caller, body: Bytes) -> Answer {
    let request = AddNodesRequest { pool, ..read(&given(&body))? };
    Ok(message(&Pools::new(reads).add(request, context(caller)).await?))
}

async fn remove(State(reads): Door, Path(pool): Path<String>, caller: Caller, body: Bytes) -> Answer {
    let request = RemoveNodesRequest { pool, ..read(&given(&body))? };
    Ok(message(&Pools::new(reads).remove(request, context(caller)).await?))
}

async fn remove_one(
    State(reads): Door,
    Path((pool, node)): Path<(String, String)>,
    caller: Caller,
    body: Bytes,
) -> Answer {
    let request = RemoveNodesRequest { pool, nodes: vec![node], ..read(&given(&body))? };
    Ok(message(&Pools::new(reads).remove(request, context(caller)).await?))
}

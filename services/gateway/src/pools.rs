//! `mesos.services.v1.Pools`: node pools, over gRPC and REST.
//!
//! Nothing is decided here: a request is read, asked of whoever keeps the pools, and its answer written as the contract
//! has it.

use std::sync::Arc;

use http::StatusCode;
use mesos_core::message::{AnswerBody, NodeView, PoolView, PoolsCall};
use mesos_model::Resources;
use mesos_proto::services::v1;
use tonic::{Request, Response, Status};

use crate::{
    calls::{self, Context, NO_LEADER},
    errors::Refusal,
    reads::{Principal, Reads},
    translate::{
        self,
        resources::{Form, from_proto, to_proto},
    },
};

/// Words of one request, and how long each may be.
const NODES_MAX: usize = 1000;
const WORD_MAX: usize = 255;
/// What is said when nobody keeps pools.
const NOBODY: &str = "no process keeps node pools: start a master, or a gateway with --pools FILE (docs/elastic.md); \
                      or the one that does is just being replaced, then try again";

/// The door to node pools. Cheap to clone.
#[derive(Clone)]
pub struct Pools {
    reads: Arc<Reads>,
}

impl Pools {
    /// Through this gateway.
    #[must_use]
    pub fn new(reads: Arc<Reads>) -> Pools {
        Pools { reads }
    }

    async fn ask(&self, what: PoolsCall, context: Context) -> Result<AnswerBody, Refusal> {
        let answer = self.reads.calls.pools(what, context).await;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let nobody = status == StatusCode::SERVICE_UNAVAILABLE && answer.text == NO_LEADER;
        Err(Refusal::new(status, if nobody { NOBODY.to_owned() } else { answer.text }))
    }

    async fn resize(&self, what: PoolsCall, context: Context) -> Result<v1::ResizedPool, Refusal> {
        match self.ask(what, context).await? {
            AnswerBody::Resized { pool, nodes, size } => Ok(v1::ResizedPool { pool, nodes, size }),
            _ => Err(crate::allocation::unfit()),
        }
    }

    /// All pools with their nodes.
    ///
    /// # Errors
    /// If nobody keeps pools.
    pub async fn list(&self) -> Result<v1::ListPoolsResponse, Refusal> {
        match self.ask(PoolsCall::List, Context::default()).await? {
            AnswerBody::Pools(pools) => Ok(v1::ListPoolsResponse { pools: pools.iter().map(pool).collect() }),
            _ => Err(crate::allocation::unfit()),
        }
    }

    /// More nodes.
    ///
    /// # Errors
    /// For what cannot be a node, and what is refused.
    pub async fn add(&self, request: v1::AddNodesRequest, context: Context) -> Result<v1::ResizedPool, Refusal> {
        let resources = if request.resources.is_empty() {
            Resources::new()
        } else {
            from_proto(&request.resources).map_err(|why| Refusal::bad(format!("'resources': {why}")))?
        };
        let call = PoolsCall::Add { pool: named(request.pool)?, count: request.count.max(1), resources };
        self.resize(call, with_call(context, &request.call_id)?).await
    }

    /// Fewer nodes.
    ///
    /// # Errors
    /// For what names no node, and what is refused.
    pub async fn remove(&self, request: v1::RemoveNodesRequest, context: Context) -> Result<v1::ResizedPool, Refusal> {
        if request.nodes.len() > NODES_MAX || request.nodes.iter().any(|node| node.is_empty() || node.len() > WORD_MAX)
        {
            return Err(Refusal::bad(format!("'nodes': expected at most {NODES_MAX} of 1 to {WORD_MAX} bytes")));
        }
        let grace_ms = match request.grace_period.map(|grace| u64::try_from(grace.nanoseconds)) {
            None => None,
            Some(Ok(nanoseconds)) => Some(nanoseconds.div_ceil(1_000_000)),
            Some(Err(_)) => return Err(Refusal::bad("'grace_period' is negative")),
        };
        let call = PoolsCall::Remove {
            pool: named(request.pool)?,
            nodes: request.nodes,
            count: request.count.max(1),
            grace_ms,
            force: request.force,
        };
        self.resize(call, with_call(context, &request.call_id)?).await
    }

    /// Another size, or whether a pool grows and shrinks by itself.
    ///
    /// # Errors
    /// For a request that names no pool, and what is refused.
    pub async fn set(&self, request: v1::SetPoolRequest, context: Context) -> Result<v1::ResizedPool, Refusal> {
        let pool = named(request.pool)?.ok_or_else(|| Refusal::bad("'pool' is missing"))?;
        let call = PoolsCall::Set { pool, size: request.size, auto: request.auto };
        self.resize(call, with_call(context, &request.call_id)?).await
    }
}

fn named(pool: String) -> Result<Option<String>, Refusal> {
    if pool.len() > WORD_MAX {
        return Err(Refusal::bad(format!("'pool' must not be longer than {WORD_MAX} bytes")));
    }
    Ok(Some(pool).filter(|pool| !pool.is_empty()))
}

fn with_call(context: Context, call_id: &str) -> Result<Context, Refusal> {
    let call = calls::call_id(Some(call_id)).map_err(Refusal::bad)?;
    Ok(Context { call, ..context })
}

fn pool(view: &PoolView) -> v1::PoolView {
    v1::PoolView {
        pool: view.pool.clone(),
        kind: view.kind.clone(),
        size: view.size,
        min: view.min,
        max: view.max,
        auto: view.auto,
        resources: to_proto(&view.resources, Form::default()),
        note: view.note.clone(),
        trouble: view.trouble.clone(),
        nodes: view.nodes.iter().map(node).collect(),
    }
}

fn node(view: &NodeView) -> v1::NodeView {
    v1::NodeView {
        node: view.node.clone(),
        state: view.state.name().to_owned(),
        since_ms: view.since.0,
        resources: to_proto(&view.resources, Form::default()),
        allocated: to_proto(&view.allocated, Form::default()),
        place: view.place.clone().unwrap_or_default(),
        hostname: view.hostname.clone().unwrap_or_default(),
        agent_id: view.agent.as_ref().map(translate::agent_id),
        trouble: view.trouble.clone(),
    }
}

fn context<T>(request: &Request<T>) -> Context {
    let principal = request.extensions().get::<Principal>().and_then(|principal| principal.0.clone());
    Context { principal, ..Context::default() }
}

#[tonic::async_trait]
impl v1::pools_server::Pools for Pools {
    async fn list(&self, _: Request<v1::ListPoolsRequest>) -> Result<Response<v1::ListPoolsResponse>, Status> {
        Ok(Response::new(Pools::list(self).await?))
    }

    async fn add(&self, request: Request<v1::AddNodesRequest>) -> Result<Response<v1::ResizedPool>, Status> {
        let context = context(&request);
        Ok(Response::new(Pools::add(self, request.into_inner(), context).await?))
    }

    async fn remove(&self, request: Request<v1::RemoveNodesRequest>) -> Result<Response<v1::ResizedPool>, Status> {
        let context = context(&request);
        Ok(Response::new(Pools::remove(self, request.into_inner(), context).await?))
    }

    async fn set(&self, request: Request<v1::SetPoolRequest>) -> Result<Response<v1::ResizedPool>, Status> {
        let context = context(&request);
        Ok(Response::new(Pools::set(self, request.into_inner(), context).await?))
    }
}

//! Agents that join with a one-time token, and renew what shows who they are. The same over gRPC and REST.
//!
//! The allocator decides whether a token is good and gives the id, in one commit; what it says is signed here. A
//! renewal needs nobody: the certificate that is still good says who it is, and the request shows that the key is
//! there.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use mesos_core::{
    message::{AllocatorCall, AnswerBody, Join, OperatorCall},
    row::AgentState,
};
use mesos_identity::{
    authority::{self, AGENT_LIFE, Authority, Request as Csr},
    hex,
    join::{self, Identity, JoinRequest, RenewRequest},
    token::{Claims, Role},
};
use mesos_model::AgentId;
use mesos_proto::services::v1::{
    self as wire, AgentIdentity, CreateJoinTokenRequest, JoinToken, agents_server::Agents,
};
use serde::{Deserialize, Serialize};
use tonic::{Request, Status};
use uuid::Uuid;

use crate::{calls::Context, errors::Refusal, reads::Principal, rest::RestError, server::App};

/// The largest body of these calls.
const BODY_MAX: usize = 32 * 1024;
/// How long a join token is good for if nobody says.
const TTL_DEFAULT: Duration = Duration::from_secs(3600);
/// The longest id and instance that is read.
const NAME_MAX: usize = 256;

/// A new join token, and the CA that the agent is to expect.
#[derive(Clone, Serialize)]
pub struct NewToken {
    /// Shown once.
    pub token: String,
    /// `sha256:` and the hash of the CA's certificate.
    pub ca_hash: String,
}

fn authority(app: &App) -> Result<std::sync::Arc<Authority>, Refusal> {
    let authority = app.options.security.authority.as_ref().map(|authority| authority.get());
    authority.ok_or_else(|| {
        let text = "this gateway has no CA to sign agents' certificates with: start it with --ca-cert and --ca-key";
        Refusal::new(StatusCode::NOT_IMPLEMENTED, text)
    })
}

async fn ask(app: &App, call: OperatorCall, context: Context) -> Result<AnswerBody, Refusal> {
    let answer = app.calls.allocator(AllocatorCall::Operator(call), context).await;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_success() { Ok(answer.body) } else { Err(Refusal::new(status, answer.text)) }
}

/// Makes a join token for an operator.
///
/// # Errors
/// If the gateway has no CA, and what the allocator refuses.
pub async fn create(app: &App, ttl: Option<Duration>, context: Context) -> Result<NewToken, Refusal> {
    let ca_hash = authority(app)?.hash();
    let internal = |error: mesos_identity::Error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let token = join::new_token().map_err(internal)?;
    let hash = join::hash(&token).map_err(internal)?;
    let ttl_ms = u64::try_from(ttl.unwrap_or(TTL_DEFAULT).as_millis()).unwrap_or(u64::MAX);
    ask(app, OperatorCall::AddJoinToken { hash, ttl_ms }, context).await?;
    Ok(NewToken { token, ca_hash })
}

fn instance(text: &str) -> Result<Uuid, Refusal> {
    text.parse().map_err(|_| Refusal::bad("'instance' is not a UUID"))
}

/// Lets an agent join.
///
/// # Errors
/// For a request that cannot be used, and what the allocator refuses.
pub async fn join(app: &App, request: JoinRequest) -> Result<Identity, Refusal> {
    let authority = authority(app)?;
    let hash = join::hash(&request.token).map_err(|error| Refusal::bad(error.to_string()))?;
    let csr = Csr::read(&request.csr).map_err(|error| Refusal::bad(error.to_string()))?;
    let instance = instance(&request.instance)?;
    let wanted = request.agent_id.filter(|id| !id.is_empty());
    if wanted.as_ref().is_some_and(|id| id.len() > NAME_MAX || id.contains('/')) {
        return Err(Refusal::bad("'agent_id' is no agent's id"));
    }
    let call =
        Join { hash, key: hex(&csr.public_key()), instance: instance.as_u128(), agent: wanted.map(AgentId::from) };
    match ask(app, OperatorCall::Join(call), Context::default()).await? {
        AnswerBody::Joined(agent) => {
            tracing::info!(%agent, "an agent has joined");
            issue(app, &authority, &csr, &agent, instance)
        }
        _ => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the allocator gave an answer that does not fit")),
    }
}

/// Renews what an agent has.
///
/// # Errors
/// 401 for a certificate that is not good, or not that of the request's key; 403 for an agent that is gone.
pub fn renew(app: &App, request: &RenewRequest) -> Result<Identity, Refusal> {
    let authority = authority(app)?;
    let csr = Csr::read(&request.csr).map_err(|error| Refusal::bad(error.to_string()))?;
    let instance = instance(&request.instance)?;
    let refused = |text: String| Refusal::new(StatusCode::UNAUTHORIZED, text);
    let ders = authority::ders(&request.certificate).map_err(|error| refused(error.to_string()))?;
    let shown = authority.verify_agent(&ders[0], &app.options.cluster).map_err(|error| refused(error.to_string()))?;
    if shown.public_key != csr.public_key() {
        return Err(refused("the certificate is for another key than the request".to_owned()));
    }
    let gone = app.view.with(|cluster| {
        let agent = cluster.agents.get(&shown.agent);
        agent.is_some_and(|row| row.state == AgentState::Gone || row.instance != instance.as_u128())
    });
    if gone {
        let text = format!("agent {} was marked gone, or is another one", shown.agent);
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    issue(app, &authority, &csr, &shown.agent, instance)
}

fn issue(app: &App, authority: &Authority, csr: &Csr, agent: &AgentId, instance: Uuid) -> Result<Identity, Refusal> {
    let security = &app.options.security;
    let (cluster, life) = (&app.options.cluster, security.agent_life.unwrap_or(AGENT_LIFE));
    let issued = || -> Result<Identity, mesos_identity::Error> {
        let nats = security
            .nats_account
            .as_ref()
            .map(|account| account.get().agent(cluster, agent, instance.as_u128(), &csr.public_key(), life));
        let claims = Claims::new(agent.as_str(), Role::Agent, life, Some(cluster));
        let token = security.tokens.as_ref().map(|keys| keys.get().sign(&claims));
        Ok(Identity {
            agent_id: agent.as_str().to_owned(),
            certificate: authority.agent(csr, cluster, agent, life)?,
            ca: authority.pem().to_owned(),
            nats_jwt: nats.transpose()?,
            token: token.transpose()?,
        })
    };
    issued().map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// The REST routes.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/v1/agents/ca", get(rest_ca))
        .route("/v1/agents/tokens", post(rest_create))
        .route("/v1/agents/join", post(rest_join))
        .route("/v1/agents/renew", post(rest_renew))
        .layer(DefaultBodyLimit::max(BODY_MAX))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(default)]
    ttl_seconds: Option<u64>,
}

type Body<T> = Result<Json<T>, JsonRejection>;

fn body<T>(body: Body<T>) -> Result<T, Refusal> {
    body.map(|Json(body)| body).map_err(|error| Refusal::new(error.status(), error.body_text()))
}

fn answer<T: Serialize>(outcome: Result<T, Refusal>) -> Response {
    outcome.map(Json).map_err(RestError).into_response()
}

/// The CA's certificates: whoever has its hash knows whether they are the right ones.
async fn rest_ca(State(app): State<App>) -> Response {
    let pem = authority(&app).map(|authority| authority.pem().to_owned());
    pem.map_err(RestError).into_response()
}

async fn rest_create(
    State(app): State<App>,
    principal: Option<Extension<Principal>>,
    request: Body<Create>,
) -> Response {
    let principal = principal.and_then(|Extension(Principal(name))| name);
    let create = async {
        let ttl = body(request)?.ttl_seconds.map(Duration::from_secs);
        self::create(&app, ttl, Context { principal, ..Context::default() }).await
    };
    answer(create.await)
}

async fn rest_join(State(app): State<App>, request: Body<JoinRequest>) -> Response {
    let joined = async { join(&app, body(request)?).await };
    answer(joined.await)
}

async fn rest_renew(State(app): State<App>, request: Body<RenewRequest>) -> Response {
    answer(body(request).and_then(|request| renew(&app, &request)))
}

/// `mesos.services.v1.Agents`.
pub struct Service {
    app: App,
}

impl Service {
    /// Serves with this gateway's state.
    #[must_use]
    pub fn new(app: App) -> Service {
        Service { app }
    }
}

fn on_wire(identity: Identity) -> tonic::Response<AgentIdentity> {
    tonic::Response::new(AgentIdentity {
        agent_id: identity.agent_id,
        certificate: identity.certificate,
        ca: identity.ca,
        nats_jwt: identity.nats_jwt.unwrap_or_default(),
        token: identity.token.unwrap_or_default(),
    })
}

#[tonic::async_trait]
impl Agents for Service {
    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<tonic::Response<JoinToken>, Status> {
        let principal = request.extensions().get::<Principal>().and_then(|principal| principal.0.clone());
        let ttl = Some(request.get_ref().ttl_seconds).filter(|ttl| *ttl > 0).map(Duration::from_secs);
        let made = create(&self.app, ttl, Context { principal, ..Context::default() }).await?;
        Ok(tonic::Response::new(JoinToken { token: made.token, ca_hash: made.ca_hash }))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<tonic::Response<AgentIdentity>, Status> {
        let wire::JoinRequest { token, csr, instance, agent_id } = request.into_inner();
        let request = JoinRequest { token, csr, instance, agent_id: Some(agent_id) };
        Ok(on_wire(join(&self.app, request).await?))
    }

    async fn renew(&self, request: Request<wire::RenewRequest>) -> Result<tonic::Response<AgentIdentity>, Status> {
        let wire::RenewRequest { certificate, csr, instance } = request.into_inner();
        Ok(on_wire(renew(&self.app, &RenewRequest { certificate, csr, instance })?))
    }
}

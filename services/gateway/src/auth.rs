//! Who calls, and whether the bearer of that token may make this call: one layer in front of HTTP, REST and gRPC.
//!
//! Without `--token-key` everybody may do everything, which is for loopback only. With it only these are open to
//! everybody: `/health`, `/ready`, `/metrics` (and gRPC's own health service), the files of the page, and joining.
//! What a framework may do with its own is the machines' to check, by the principal that is found out here; which
//! calls are an operator's alone is the table [`needs`].

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mesos_identity::{
    authority::Authority,
    files::Reloaded,
    nats::AccountSigner,
    token::{Claims, Role, TokenKeys},
};
use mesos_proto::v1::master::call::Type;
use tokio::time::Sleep;

use crate::{
    errors::Refusal,
    reads::Principal,
    server::{Connection, PeerCertificate},
};

/// Tokens whose signatures were checked, at most.
const KNOWN_MAX: usize = 4096;

/// What a gateway knows about who is who. What is `None` is not checked or not given out.
#[derive(Clone, Default)]
pub struct Security {
    /// Verify tokens, and sign those of agents.
    pub tokens: Option<Arc<Reloaded<TokenKeys>>>,
    /// Signs agents' certificates, and says whose one is.
    pub authority: Option<Arc<Reloaded<Authority>>>,
    /// Signs agents' NATS users.
    pub nats_account: Option<Arc<Reloaded<AccountSigner>>>,
    /// How long what an agent gets is good for; a day if `None`.
    pub agent_life: Option<Duration>,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Security").field("tokens", &self.tokens.is_some()).finish_non_exhaustive()
    }
}

/// The principal of the framework behind `mesos launch`.
pub const LAUNCHER: &str = "mesos-launcher";

/// Who calls: in the extensions of a request whose caller was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The principal, or the agent's id.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

impl Bearer {
    /// Whether it may do what operators do. Nobody is asked where there are no tokens.
    ///
    /// # Errors
    /// 403, with what is missing.
    pub fn operator(bearer: Option<&Bearer>) -> Result<(), Refusal> {
        match bearer {
            None | Some(Bearer { role: Role::Operator, .. }) => Ok(()),
            Some(Bearer { name, role }) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                format!("this call needs a token with role operator; the one of '{name}' has role {role}"),
            )),
        }
    }

    /// Whether it may make this call of the operator API: a framework may only look at the cluster, and not into
    /// the files or the events of others.
    ///
    /// # Errors
    /// 403, with what is missing.
    pub fn operator_call(bearer: Option<&Bearer>, call: Type) -> Result<(), Refusal> {
        if call.as_str_name().starts_with("GET_") { Ok(()) } else { Bearer::operator(bearer) }
    }
}

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing.
    Nothing,
    /// A token of an operator or a framework.
    Token,
    /// A token of an operator.
    Operator,
    /// A certificate or token of an agent.
    Agent,
}

/// What a call needs. What is not named here needs an operator, so that a new call is not open by mistake.
fn needs(method: &Method, path: &str) -> Needs {
    let own = path.strip_prefix("/master").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    match own {
        "/health" | "/ready" | "/metrics" | "/" | "/index.html" | "/favicon.svg" => return Needs::Nothing,
        "/v1/agents/join" | "/v1/agents/renew" | "/v1/agents/ca" => return Needs::Nothing,
        // The operator API looks at each call itself.
        "/api/v1/scheduler" | "/api/v1" => return Needs::Token,
        // These ask, though by POST.
        "/v1/explain" | "/v1/whatif" => return Needs::Token,
        _ => {}
    }
    if let Some(rpc) = path.strip_prefix("/mesos.services.v1.") {
        return match rpc {
            "AgentLink/Open" => Needs::Agent,
            "Operator/Call" | "Stats/Get" => Needs::Token,
            _ if rpc.starts_with("Scheduler/") => Needs::Token,
            _ if rpc.starts_with("Allocation/Get") => Needs::Token,
            "Allocation/Explain" | "Allocation/WhatIf" => Needs::Token,
            "Agents/Join" | "Agents/Renew" => Needs::Nothing,
            _ => Needs::Operator,
        };
    }
    let reads = *method == Method::GET || *method == Method::HEAD;
    match own {
        _ if own.starts_with("/assets/") => Needs::Nothing,
        _ if own.starts_with("/grpc.health.v1.Health/") => Needs::Nothing,
        _ if own.starts_with("/grpc.reflection.") => Needs::Token,
        // What tasks write is their framework's and the operators'.
        _ if own.starts_with("/v1/tasks/") && own.contains("/files/") => Needs::Operator,
        "/v1/events" => Needs::Operator,
        _ if own == "/v1/pools" || own.starts_with("/v1/pools/") => Needs::Operator,
        _ if reads => Needs::Token,
        _ => Needs::Operator,
    }
}

/// The layer's state.
pub struct Door {
    security: Security,
    cluster: String,
    known: Mutex<Known>,
}

/// Tokens that were checked, since a signature costs more than all else of a call.
#[derive(Default)]
struct Known {
    keys: Option<Arc<TokenKeys>>,
    claims: HashMap<String, Claims>,
}

impl Door {
    /// The door of a gateway.
    #[must_use]
    pub fn new(security: Security, cluster: &str) -> Door {
        Door { security, cluster: cluster.to_owned(), known: Mutex::default() }
    }

    fn verify(&self, keys: &Reloaded<TokenKeys>, token: &str) -> Result<Claims, String> {
        let keys = keys.get();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.keys.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &keys)) || known.claims.len() >= KNOWN_MAX {
            *known = Known { keys: Some(keys.clone()), claims: HashMap::new() };
        }
        if let Some(claims) = known.claims.get(token).filter(|claims| claims.exp > mesos_identity::now()) {
            return Ok(claims.clone());
        }
        drop(known);
        let claims = keys.verify(token, &self.cluster).map_err(|error| error.to_string())?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.keys.as_ref().is_some_and(|known| Arc::ptr_eq(known, &keys)) {
            known.claims.insert(token.to_owned(), claims.clone());
        }
        Ok(claims)
    }

    /// The agent whose certificate or token was shown; `None` where nobody is asked.
    ///
    /// # Errors
    /// If none was shown, or one that is not good.
    pub fn agent(&self, headers: &HeaderMap, certificate: Option<&PeerCertificate>) -> Result<Option<String>, String> {
        let Some(keys) = &self.security.tokens else { return Ok(None) };
        match self.shown(keys, headers, certificate)? {
            Some((Bearer { name, role: Role::Agent }, _)) => Ok(Some(name)),
            Some(_) => Err("this is not an agent's token".to_owned()),
            None => Err("an agent has to join first: start it with --join-token".to_owned()),
        }
    }

    /// Who calls, and until when that is good; `None` if nobody says so.
    fn bearer(&self, keys: &Reloaded<TokenKeys>, request: &Request) -> Result<Option<(Bearer, Option<u64>)>, String> {
        // From this very process: its launcher, its node pools, and what `mesos local --launch` asks.
        if request.extensions().get::<Connection>().is_some_and(|connection| connection.inside) {
            return Ok(Some((Bearer { name: LAUNCHER.to_owned(), role: Role::Operator }, None)));
        }
        self.shown(keys, request.headers(), request.extensions().get())
    }

    fn shown(
        &self,
        keys: &Reloaded<TokenKeys>,
        headers: &HeaderMap,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Option<(Bearer, Option<u64>)>, String> {
        if let Some((name, secret)) = credentials(headers)? {
            let claims = self.verify(keys, &secret)?;
            if name.is_some_and(|name| name != claims.sub) {
                return Err("it is not a token of the principal that is named with it".to_owned());
            }
            return Ok(Some((Bearer { name: claims.sub, role: claims.role }, Some(claims.exp))));
        }
        let (Some(PeerCertificate(der)), Some(authority)) = (certificate, &self.security.authority) else {
            return Ok(None);
        };
        let shown = authority.get().verify_agent(der, &self.cluster).map_err(|error| error.to_string())?;
        Ok(Some((Bearer { name: shown.agent.as_str().to_owned(), role: Role::Agent }, None)))
    }
}

/// A token from `Authorization: Bearer …`, or from `Basic principal:token`, as frameworks of Mesos that have a
/// principal and a secret send it.
fn credentials(headers: &HeaderMap) -> Result<Option<(Option<String>, String)>, String> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let wrong = || "the Authorization header cannot be read".to_owned();
    let (scheme, rest) = text.and_then(|text| text.split_once(' ')).ok_or_else(wrong)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some((None, rest.to_owned())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err("the Authorization header has to be Bearer or Basic".to_owned());
    }
    let decoded = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // A token has no colon; a principal may.
    let (name, secret) = decoded.as_deref().and_then(|pair| pair.rsplit_once(':')).ok_or_else(wrong)?;
    Ok(Some((Some(name.to_owned()), secret.to_owned())))
}

/// The layer.
pub async fn door(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    // Whatever a client brings, these are set here alone.
    request.extensions_mut().remove::<Principal>();
    request.extensions_mut().remove::<Bearer>();
    let Some(keys) = &door.security.tokens else { return next.run(request).await };
    let needs = needs(request.method(), request.uri().path());
    if needs == Needs::Nothing {
        return next.run(request).await;
    }
    let (bearer, exp) = match door.bearer(keys, &request) {
        Ok(Some(found)) => found,
        Ok(None) => return unauthenticated(&request, needs, None),
        Err(why) => return unauthenticated(&request, needs, Some(&why)),
    };
    if let Err(refusal) = allowed(needs, &bearer) {
        tracing::info!(name = bearer.name, role = %bearer.role, path = %request.uri().path(), "refused a call");
        return refuse(&request, &refusal);
    }
    if bearer.role != Role::Agent {
        request.extensions_mut().insert(Principal(Some(bearer.name.clone())));
    }
    request.extensions_mut().insert(bearer);
    let response = next.run(request).await;
    match exp {
        Some(exp) => response.map(|body| until(body, exp)),
        None => response,
    }
}

fn allowed(needs: Needs, bearer: &Bearer) -> Result<(), Refusal> {
    match (needs, bearer.role) {
        (Needs::Operator, _) => Bearer::operator(Some(bearer)),
        (Needs::Agent, Role::Agent) | (Needs::Token, Role::Operator | Role::Framework) | (Needs::Nothing, _) => Ok(()),
        (Needs::Agent, role) => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!("a link needs an agent's certificate or token; this is a token with role {role}"),
        )),
        (Needs::Token, Role::Agent) => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this call needs a token with role operator or framework; an agent has none".to_owned(),
        )),
    }
}

fn is_grpc(request: &Request) -> bool {
    let content = request.headers().get(header::CONTENT_TYPE);
    content.is_some_and(|content| content.as_bytes().starts_with(b"application/grpc"))
}

fn refuse(request: &Request, refusal: &Refusal) -> Response {
    if is_grpc(request) {
        return tonic::Status::from(refusal.clone()).into_http();
    }
    if request.uri().path().starts_with("/v1/") {
        let body = serde_json::json!({ "error": { "message": refusal.text } });
        return (refusal.status, axum::Json(body)).into_response();
    }
    refusal.clone().into_response()
}

fn unauthenticated(request: &Request, needs: Needs, why: Option<&str>) -> Response {
    let text = match (why, needs) {
        (Some(why), _) => format!("the token is not accepted: {why}"),
        (None, Needs::Agent) => "an agent has to join first: start it with --join-token".to_owned(),
        (None, _) => "a token is needed: send 'Authorization: Bearer <token>' (MESOS_TOKEN, or MESOS_TOKEN_FILE, for \
                      the commands of mesos); `mesos token create` makes one"
            .to_owned(),
    };
    tracing::info!(path = %request.uri().path(), why = text, "refused a call without a good token");
    let mut response = refuse(request, &Refusal::new(StatusCode::UNAUTHORIZED, text));
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mesos\""));
    // Only here: a browser would put a window of its own before the page's.
    if request.uri().path().ends_with("/api/v1/scheduler") {
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"mesos-master-scheduler\""));
    }
    response
}

/// A stream ends when the token ends that it was opened with: its client comes back with another.
fn until(body: Body, exp: u64) -> Body {
    use axum::body::HttpBody as _;
    if body.size_hint().exact().is_some() {
        return body;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_secs(exp).saturating_sub(now);
    Body::new(Until { body, end: Box::pin(tokio::time::sleep(left)) })
}

struct Until {
    body: Body,
    end: Pin<Box<Sleep>>,
}

impl axum::body::HttpBody for Until {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        if self.end.as_mut().poll(context).is_ready() {
            tracing::info!("a stream ends with the token that it was opened with");
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_needs_an_operator() {
        let (get, post) = (Method::GET, Method::POST);
        for (method, path, need) in [
            (&get, "/health", Needs::Nothing),
            (&get, "/master/health", Needs::Nothing),
            (&get, "/ready", Needs::Nothing),
            (&get, "/metrics", Needs::Nothing),
            (&get, "/", Needs::Nothing),
            (&get, "/assets/x.js", Needs::Nothing),
            (&post, "/v1/agents/join", Needs::Nothing),
            (&post, "/v1/agents/renew", Needs::Nothing),
            (&post, "/grpc.health.v1.Health/Check", Needs::Nothing),
            (&post, "/api/v1/scheduler", Needs::Token),
            (&post, "/master/api/v1/scheduler", Needs::Token),
            (&post, "/mesos.services.v1.Scheduler/Connect", Needs::Token),
            (&post, "/mesos.services.v1.Allocation/GetRoles", Needs::Token),
            (&post, "/mesos.services.v1.Allocation/WhatIf", Needs::Token),
            (&post, "/mesos.services.v1.Allocation/UpdateQuota", Needs::Operator),
            (&post, "/mesos.services.v1.Launcher/Launch", Needs::Operator),
            (&post, "/mesos.services.v1.Files/Read", Needs::Operator),
            (&post, "/mesos.services.v1.Operator/Subscribe", Needs::Operator),
            (&post, "/mesos.services.v1.AgentLink/Open", Needs::Agent),
            (&post, "/mesos.services.v1.New/Call", Needs::Operator),
            (&get, "/state", Needs::Token),
            (&get, "/master/state", Needs::Token),
            (&get, "/metrics/snapshot", Needs::Token),
            (&get, "/v1/tasks", Needs::Token),
            (&get, "/v1/tasks/f/t/files/stdout", Needs::Operator),
            (&get, "/v1/events", Needs::Operator),
            (&get, "/v1/pools", Needs::Operator),
            (&post, "/v1/pools/local/nodes", Needs::Operator),
            (&Method::DELETE, "/v1/pools/local/nodes/local-1", Needs::Operator),
            (&post, "/mesos.services.v1.Pools/List", Needs::Operator),
            (&post, "/mesos.services.v1.Pools/Add", Needs::Operator),
            (&post, "/mesos.services.v1.Allocation/GetRequests", Needs::Token),
            (&Method::DELETE, "/v1/tasks/f/t", Needs::Operator),
            (&post, "/teardown", Needs::Operator),
            (&post, "/master/machine/down", Needs::Operator),
            (&Method::PUT, "/weights", Needs::Operator),
            (&Method::PUT, "/v1/roles/a/quota", Needs::Operator),
            (&post, "/nothing", Needs::Operator),
            (&get, "/masterhealth", Needs::Token),
        ] {
            assert_eq!(needs(method, path), need, "{method} {path}");
        }
    }

    #[test]
    fn credentials_come_as_a_bearer_or_as_a_pair() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            credentials(&headers)
        };
        let pair = |pair: &str| read(&format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(credentials(&HeaderMap::new()), Ok(None));
        assert_eq!(read("Bearer a.b.c"), Ok(Some((None, "a.b.c".to_owned()))));
        assert_eq!(read("bearer  a"), Ok(Some((None, "a".to_owned()))));
        assert_eq!(pair("p:q:a.b"), Ok(Some((Some("p:q".to_owned()), "a.b".to_owned()))));
        for bad in ["", "Bearer", "Digest x", "Basic !!"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(pair("no-colon").is_err());
        let mut twice = HeaderMap::new();
        twice.append(header::AUTHORIZATION, "Bearer a".parse().unwrap());
        twice.append(header::AUTHORIZATION, "Bearer b".parse().unwrap());
        assert!(credentials(&twice).is_err());
    }
}

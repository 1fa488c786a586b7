//! `POST /api/v1/executor`, in Mesos's order of checks (`src/slave/http.cpp`, `Http::executor`).

use std::{io, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use mesos_model::uuid_parse;
use mesos_proto::{
    json::{self, JsonError},
    prost::Message as _,
    v1::executor::{self, call::Type},
    validate,
};
use mesos_runtime::http::{
    Refusal, body,
    headers::{self, Encoding},
};

use super::{
    Caller, Executors, Stream, read,
    server::{BODY_MAX, PATIENCE},
    write,
};

/// Full name of the message that an executor sends.
const CALL: &str = "mesos.v1.executor.Call";
/// How often an executor hears that its agent lives (`DEFAULT_EXECUTOR_HEARTBEAT_INTERVAL` of Mesos).
const HEARTBEAT: Duration = Duration::from_secs(30 * 60);

/// Answers any request to the executor API.
pub(super) async fn executor(State(executors): State<Executors>, request: Request) -> Response {
    if request.method() != Method::POST {
        return Refusal::method("POST", request.method());
    }
    answer(&executors, request).await.unwrap_or_else(|refusal| {
        tracing::info!(status = refusal.status.as_u16(), why = refusal.text, "refused a request of an executor");
        let mut response = refusal.into_response();
        if response.status() == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"mesos-agent-executor\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    })
}

async fn answer(executors: &Executors, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let token = token(&parts.headers, executors.shared.options.authenticate_http_executors)?;
    let content = headers::content_type(&parts.headers)?;
    let body = body::read(&parts.headers, body, BODY_MAX, PATIENCE).await?;
    let (call, raw) = decode(content, body)?;
    let invalid = |why: String| Refusal::bad(format!("Failed to validate Executor::Call: {why}"));
    validate::required_fields(CALL, &raw).map_err(|error| invalid(error.to_string()))?;
    validate::executor_call(&call).map_err(|error| invalid(error.to_string()))?;
    let kind = call.r#type.and_then(|number| Type::try_from(number).ok()).unwrap_or(Type::Unknown);
    let encoding = if kind == Type::Subscribe { headers::accept(&parts.headers)? } else { Encoding::Json };
    let caller = Caller {
        framework: call.framework_id.value.as_str().into(),
        executor: call.executor_id.value.as_str().into(),
        token,
    };
    let read = read::call(&call, &raw).map_err(invalid)?;
    let Some(read) = read else {
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "an UNKNOWN call means nothing here"));
    };
    let refused = |(status, text): (u16, String)| {
        Refusal::new(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), text)
    };
    if kind == Type::Subscribe {
        let stream = executors.subscribe(caller, read).await.map_err(refused)?;
        return Ok(events(stream, encoding));
    }
    executors.call(&caller, executors.next_request(), read).await.map_err(refused)?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// The token that a request shows. One that is none is still shown, so that the machine refuses it.
fn token(headers: &HeaderMap, required: bool) -> Result<Option<u128>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return if required {
            let text = "An executor shows MESOS_EXECUTOR_AUTHENTICATION_TOKEN as 'Authorization: Bearer <token>'";
            Err(Refusal::new(StatusCode::UNAUTHORIZED, text))
        } else {
            Ok(None)
        };
    };
    let text = value.to_str().unwrap_or_default();
    let bearer = text.strip_prefix("Bearer ").and_then(|text| uuid_parse(text.trim()));
    Ok(Some(bearer.unwrap_or_default()))
}

fn decode(content: Encoding, body: Bytes) -> Result<(executor::Call, Bytes), Refusal> {
    let raw = match content {
        Encoding::Protobuf => body,
        Encoding::Json => json::decode_to_bytes(CALL, &body).map_err(json_refusal)?,
    };
    let call =
        executor::Call::decode(raw.clone()).map_err(|_| Refusal::bad("Failed to parse body into Call protobuf"))?;
    Ok((call, raw))
}

fn json_refusal(error: JsonError) -> Refusal {
    match error {
        JsonError::Syntax(why) => Refusal::bad(format!("Failed to parse body into JSON: {why}")),
        JsonError::Required(why) => Refusal::bad(format!("Failed to validate Executor::Call: {why}")),
        JsonError::Convert(_) | JsonError::UnknownMessage(_) => {
            Refusal::bad(format!("Failed to convert JSON into Call protobuf: {error}"))
        }
    }
}

fn events(stream: Stream, encoding: Encoding) -> Response {
    let mut response = Response::new(Body::from_stream(records(stream, encoding)));
    response.headers_mut().insert(header::CONTENT_TYPE, encoding.media_type());
    response
}

/// Its events, framed, with a HEARTBEAT where there is long nothing else.
fn records(stream: Stream, encoding: Encoding) -> impl futures::Stream<Item = Result<Bytes, io::Error>> + Send {
    futures::stream::unfold(stream, move |mut stream| async move {
        let event = match tokio::time::timeout(HEARTBEAT, stream.events.recv()).await {
            Ok(event) => event?,
            Err(_) => write::heartbeat(),
        };
        Some((Ok(write::record(&event, encoding)), stream))
    })
}

//! `POST /api/v1/scheduler`, in Mesos's order of checks (`src/master/http.cpp`, `Http::scheduler`).

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use mesos_model::uuid_text;
use mesos_proto::{
    Raw,
    json::{self, JsonError},
    prost::Message as _,
    v1::scheduler::{self, call::Type},
};
use tokio_util::sync::CancellationToken;

use super::{
    body,
    headers::{self, Encoding, STREAM_ID},
    submit::{self, CALL, Sender, Subscribed},
};
use crate::{
    errors::{self, Refusal},
    reads::Principal,
    server::{App, Connection},
    translate::event,
};

/// Answers any request to the scheduler API.
pub async fn scheduler(State(app): State<App>, request: Request) -> Response {
    if request.method() != Method::POST {
        return Refusal::method("POST", request.method());
    }
    answer(&app, request).await.unwrap_or_else(|refusal| {
        tracing::info!(status = refusal.status.as_u16(), why = refusal.text, "refused a request");
        refusal.into_response()
    })
}

async fn answer(app: &App, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let content = headers::content_type(&parts.headers)?;
    let body = body::read(&parts.headers, body, app.options.body_max, app.options.header_timeout).await?;
    let (call, raw) = decode(content, body)?;
    let from = Sender {
        principal: parts.extensions.get::<Principal>().and_then(|principal| principal.0.as_deref()),
        traceparent: traceparent(&parts.headers),
    };
    submit::validate(&call, &raw, from.principal)?;
    let kind = submit::kind(&call);
    let encoding = match kind {
        Type::Subscribe | Type::ReconcileOperations => headers::accept(&parts.headers)?,
        _ => Encoding::Json,
    };
    let stream = headers::stream_id(&parts.headers);
    if kind != Type::Subscribe {
        return submit::submit(app, &call, &raw, stream, from).await.map(errors::http);
    }
    if stream.is_some() {
        return Err(Refusal::bad("Subscribe calls should not include the 'Mesos-Stream-Id' header"));
    }
    let cut =
        parts.extensions.get::<Connection>().map_or_else(CancellationToken::new, |connection| connection.cut.clone());
    let subscribed = submit::subscribe(app, &call, &raw, from, cut).await?;
    Ok(events(subscribed, encoding))
}

fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent")?.to_str().ok()
}

fn decode(content: Encoding, body: Bytes) -> Result<(scheduler::Call, Bytes), Refusal> {
    let raw = match content {
        Encoding::Protobuf => body,
        Encoding::Json => json::decode_to_bytes(CALL, &body).map_err(json_refusal)?,
    };
    let decoded = Raw::<scheduler::Call>::decode(raw.clone())
        .map_err(|_| Refusal::bad("Failed to parse body into Call protobuf"))?;
    let (call, _) = decoded.into_parts();
    Ok((call, raw))
}

fn json_refusal(error: JsonError) -> Refusal {
    match error {
        JsonError::Syntax(why) => Refusal::bad(format!("Failed to parse body into JSON: {why}")),
        JsonError::Required(why) => Refusal::bad(format!("Failed to validate scheduler::Call: {why}")),
        JsonError::Convert(_) | JsonError::UnknownMessage(_) => {
            Refusal::bad(format!("Failed to convert JSON into Call protobuf: {error}"))
        }
    }
}

fn events(subscribed: Subscribed, encoding: Encoding) -> Response {
    let (body, stream) = match subscribed {
        Subscribed::Refused(message) => {
            // One chunk of a stream without a length, as a stream that ends early.
            let error = Ok::<_, std::io::Error>(body::record(&event::error(&message), encoding));
            (Body::from_stream(futures::stream::iter([error])), uuid::Uuid::new_v4().as_u128())
        }
        Subscribed::Open(subscription) => {
            let stream = subscription.stream();
            (Body::from_stream(body::stream(*subscription, encoding)), stream)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, encoding.media_type());
    if let Ok(stream) = HeaderValue::from_str(&uuid_text(stream)) {
        headers.insert(STREAM_ID, stream);
    }
    response
}

//! `/health`, `/ready`, `/metrics`.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{errors::Refusal, server::App};

/// A leader that gave no sign of life for so long does not count as there.
const SILENCE: Duration = Duration::from_secs(10);

/// 200 as long as the process answers.
pub async fn health() -> StatusCode {
    StatusCode::OK
}

/// 200 if this gateway can serve reads and pass on calls, else 503 and why.
pub async fn ready(State(app): State<App>) -> Response {
    match reason(&app) {
        None => StatusCode::OK.into_response(),
        Some(reason) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

/// Why this gateway is not ready, if it is not.
#[must_use]
pub fn reason(app: &App) -> Option<String> {
    if app.stopping.is_cancelled() {
        return Some("stopping".to_owned());
    }
    if !app.view.loaded() {
        return Some("the rows of the allocator and the registry are not loaded: is the store reachable?".to_owned());
    }
    app.leaders.reason(SILENCE)
}

/// Metrics in Prometheus's text.
pub async fn metrics(State(app): State<App>) -> Response {
    app.observe();
    let mut response = Response::new(app.metrics.text().into());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

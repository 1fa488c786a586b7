//! What HTTP servers have in common: refusals, media types, bodies of bounded size.
//!
//! # Layout
//! - [`headers`]: `Content-Type` and `Accept` as Mesos reads them.
//! - [`body`]: requests of bounded size, packed or not.

pub mod body;
pub mod headers;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// After how many seconds a client may try again what could not be done now: a new leader is there by then.
const RETRY_AFTER: &str = "1";

/// A refusal: an HTTP status and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// Why.
    pub text: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, text: text.into() }
    }

    /// 400.
    pub fn bad(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, text)
    }

    /// 405, as Mesos words it.
    #[must_use]
    pub fn method(allowed: &'static str, received: &axum::http::Method) -> Response {
        let text = format!("Expecting one of {{ '{allowed}' }}, but received '{received}'");
        let mut response = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text).into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        text(self.status, self.text)
    }
}

/// An answer that is nothing but a text.
#[must_use]
pub fn text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    response
}

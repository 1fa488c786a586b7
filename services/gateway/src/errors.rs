//! Refusals, as HTTP answers and as gRPC statuses.

use axum::{
    body::Body,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mesos_core::message::Answer;
use mesos_runtime::http::text;
use tonic::{Code, Status};

/// A refusal: an HTTP status and its text. Not the runtime's type of that name, so that `?` makes a gRPC status of it.
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
        mesos_runtime::http::Refusal::method(allowed, received)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        text(self.status, self.text)
    }
}

impl From<mesos_runtime::http::Refusal> for Refusal {
    fn from(refusal: mesos_runtime::http::Refusal) -> Refusal {
        Refusal { status: refusal.status, text: refusal.text }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        status(refusal.status.as_u16(), &refusal.text)
    }
}

/// A machine's answer as an HTTP answer. A success has no body.
#[must_use]
pub fn http(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_success() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        return response;
    }
    text(status, answer.text)
}

/// An HTTP status as a gRPC status: the only place where one becomes the other.
#[must_use]
pub fn status(http: u16, text: &str) -> Status {
    let code = match http {
        200..=299 => Code::Ok,
        400 | 405 | 406 | 415 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        408 => Code::DeadlineExceeded,
        409 => Code::Aborted,
        413 | 429 => Code::ResourceExhausted,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        _ => Code::Internal,
    };
    Status::new(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_code() {
        for (http, code) in [
            (202, Code::Ok),
            (400, Code::InvalidArgument),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::NotFound),
            (409, Code::Aborted),
            (413, Code::ResourceExhausted),
            (501, Code::Unimplemented),
            (503, Code::Unavailable),
            (599, Code::Internal),
        ] {
            assert_eq!(status(http, "").code(), code, "{http}");
        }
    }
}

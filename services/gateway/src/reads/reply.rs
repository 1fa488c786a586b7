//! Query parameters, JSONP, compression, errors.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequestParts, Query},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};

use crate::view::rendered::{RenderError, Rendered};

/// `application/json`.
pub const JSON: &str = "application/json";
/// `application/x-protobuf`.
pub const PROTOBUF: &str = "application/x-protobuf";
/// Smaller bodies are not worth compressing; Mesos's limit.
const COMPRESS_MIN_BYTES: usize = 1024;

pub use crate::errors::Refusal;

impl Refusal {
    /// 404.
    pub fn not_found(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, text)
    }
}

impl From<RenderError> for Refusal {
    fn from(error: RenderError) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// Query parameters. Unknown ones are ignored, as Mesos does.
#[derive(Clone, Debug, Default)]
pub struct Params(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Params(pairs.into_iter().collect()))
            .map_err(|error| Refusal::bad(format!("the query cannot be read: {}", error.body_text())))
    }
}

impl Params {
    /// From pairs.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// A parameter; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A whole number.
    ///
    /// # Errors
    /// Says what was found and what is expected.
    pub fn number<T: std::str::FromStr>(&self, name: &str, example: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            let shown: String = text.escape_debug().take(40).collect();
            Refusal::bad(format!(
                "Failed to parse {name}: '{shown}' is no number as expected, for example {name}={example}"
            ))
        })
    }

    /// The callback of JSONP.
    ///
    /// # Errors
    /// For what is no JavaScript name: it would be a way to have other code run under the gateway's name.
    pub fn jsonp(&self) -> Result<Option<&str>, Refusal> {
        let Some(name) = self.get("jsonp") else { return Ok(None) };
        let is_name = name.len() <= 128
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.' | b'[' | b']'));
        if is_name {
            Ok(Some(name))
        } else {
            Err(Refusal::bad("Failed to parse jsonp: expected the name of a function"))
        }
    }
}

/// Whether the client takes compressed bodies.
#[must_use]
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        matches!(name.trim(), "gzip" | "*")
            && quality.trim().strip_prefix("q=").is_none_or(|q| q.trim().parse() != Ok(0.0))
    })
}

/// 200 with a shared answer, compressed if the client takes that. Compressed once for all.
pub async fn send(headers: &HeaderMap, content_type: &'static str, rendered: Arc<Rendered>) -> Response {
    if rendered.body.len() < COMPRESS_MIN_BYTES || !takes_gzip(headers) {
        return body(content_type, rendered.body.clone());
    }
    let compressed = match rendered.gzip_if_made() {
        Some(made) => Some(made.clone()),
        None => {
            let rendered = rendered.clone();
            tokio::task::spawn_blocking(move || rendered.gzip().cloned()).await.ok().flatten()
        }
    };
    let Some(compressed) = compressed else { return body(content_type, rendered.body.clone()) };
    let mut response = body(content_type, compressed);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// 200 with JSON, or with JavaScript if JSONP is asked for.
pub async fn send_json(headers: &HeaderMap, params: &Params, rendered: Arc<Rendered>) -> Result<Response, Refusal> {
    let Some(callback) = params.jsonp()? else { return Ok(send(headers, JSON, rendered).await) };
    let text = [callback.as_bytes(), b"(", &rendered.body, b");"].concat();
    Ok(body("text/javascript", Bytes::from(text)))
}

/// 200 with a small JSON value.
pub fn value(params: &Params, value: &serde_json::Value) -> Result<Response, Refusal> {
    Ok(match params.jsonp()? {
        Some(callback) => body("text/javascript", Bytes::from(format!("{callback}({value});"))),
        None => body(JSON, Bytes::from(value.to_string())),
    })
}

/// 200 with a body.
pub fn body(content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A value as JSON bytes.
#[must_use]
pub fn json<T: serde::Serialize>(value: &T) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes.into(),
        Err(error) => {
            // Only maps with keys that are no texts cannot be written, and there are none.
            tracing::error!(%error, "an answer cannot be written as JSON");
            Bytes::from_static(b"{}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_bodies_go_to_those_who_take_them() {
        let cases = [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("*", true),
            ("br", false),
            ("identity", false),
        ];
        for (accepted, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(accepted).unwrap());
            assert_eq!(takes_gzip(&headers), expected, "{accepted}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_callback_that_is_no_name_is_refused() {
        for good in ["cb", "angular.callbacks._0", "a[0]"] {
            assert_eq!(Params::of(&[("jsonp", good)]).jsonp(), Ok(Some(good)));
        }
        for bad in ["alert(1);x", "a b", "<script>", &"x".repeat(129)] {
            assert!(Params::of(&[("jsonp", bad)]).jsonp().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        let params = Params::of(&[("limit", "ten"), ("offset", "7"), ("empty", "")]);
        let refusal = params.number::<u64>("limit", "100").unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
        assert!(refusal.text.contains("limit") && refusal.text.contains("ten"), "{}", refusal.text);
        assert_eq!(params.number::<u64>("offset", "0").unwrap(), Some(7));
        assert_eq!(params.number::<u64>("empty", "0").unwrap(), None);
    }
}

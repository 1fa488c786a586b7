//! `Content-Type` and `Accept`, as Mesos reads them.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Refusal;

/// JSON's media type.
pub const JSON: &str = "application/json";
/// Protobuf's media type.
pub const PROTOBUF: &str = "application/x-protobuf";
/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/x-protobuf`
    Protobuf,
}

impl Encoding {
    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Encoding::Json => JSON,
            Encoding::Protobuf => PROTOBUF,
        })
    }
}

/// What the body is written in. Exactly one of both media types, without parameters.
///
/// # Errors
/// 400 without the header, 415 for anything else.
pub fn content_type(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    match headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) {
        None => Err(Refusal::bad("Expecting 'Content-Type' to be present")),
        Some(b"application/json") => Ok(Encoding::Json),
        Some(b"application/x-protobuf") => Ok(Encoding::Protobuf),
        Some(_) => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Expecting 'Content-Type' of {JSON} or {PROTOBUF}"),
        )),
    }
}

/// What the answer is to be written in: JSON wherever it is allowed.
///
/// # Errors
/// 406 if neither is.
pub fn accept(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    if !headers.contains_key(header::ACCEPT) || accepts(headers, JSON) {
        return Ok(Encoding::Json);
    }
    if accepts(headers, PROTOBUF) {
        return Ok(Encoding::Protobuf);
    }
    Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, format!("Expecting 'Accept' to allow {JSON} or {PROTOBUF}")))
}

/// Whether `Accept` allows a media type.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let major = media_type.split('/').next().unwrap_or_default();
    let ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    ranges.into_iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let matches = name.eq_ignore_ascii_case(media_type)
            || name == "*/*"
            || name.strip_suffix("/*").is_some_and(|prefix| prefix.eq_ignore_ascii_case(major));
        let refused =
            parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)));
        matches && !refused
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn the_content_type_is_taken_to_the_letter() {
        assert_eq!(content_type(&with(header::CONTENT_TYPE, JSON)), Ok(Encoding::Json));
        assert_eq!(content_type(&with(header::CONTENT_TYPE, PROTOBUF)), Ok(Encoding::Protobuf));
        assert_eq!(content_type(&HeaderMap::new()).unwrap_err().status, 400);
        for bad in ["application/json; charset=utf-8", "Application/json", "text/plain", ""] {
            assert_eq!(content_type(&with(header::CONTENT_TYPE, bad)).unwrap_err().status, 415, "{bad}");
        }
    }

    #[test]
    fn json_comes_first_wherever_it_is_allowed() {
        assert_eq!(accept(&HeaderMap::new()), Ok(Encoding::Json));
        for (text, expected) in [
            ("*/*", Some(Encoding::Json)),
            ("application/*", Some(Encoding::Json)),
            ("application/x-protobuf, application/json", Some(Encoding::Json)),
            ("application/x-protobuf", Some(Encoding::Protobuf)),
            ("text/html, application/x-protobuf;q=0.5", Some(Encoding::Protobuf)),
            ("application/json;q=0, application/x-protobuf", Some(Encoding::Protobuf)),
            ("text/html", None),
            ("text/*", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(accept(&with(header::ACCEPT, text)).ok(), expected, "{text}");
        }
    }
}

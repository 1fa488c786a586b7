//! `Content-Type`, `Accept`, `Mesos-Stream-Id`, as Mesos reads them.

use axum::http::{HeaderMap, HeaderName};
pub use mesos_runtime::http::headers::{Encoding, JSON, PROTOBUF, accept, content_type};

/// The header that ties a call to a subscription.
pub const STREAM_ID: HeaderName = HeaderName::from_static("mesos-stream-id");
/// No UUID that a gateway makes; stands for whatever is no UUID at all.
const NO_STREAM: u128 = u128::MAX;

/// The stream that a call shows. A value that is no stream's is still shown, so that the machine refuses it
/// in its turn.
#[must_use]
pub fn stream_id(headers: &HeaderMap) -> Option<u128> {
    headers.get(&STREAM_ID).map(|value| parse_stream(value.to_str().unwrap_or_default()))
}

/// A stream from its text.
#[must_use]
pub fn parse_stream(text: &str) -> u128 {
    mesos_model::uuid_parse(text).filter(|stream| *stream != 0).unwrap_or(NO_STREAM)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn what_is_no_stream_is_still_shown() {
        assert_eq!(stream_id(&HeaderMap::new()), None);
        assert_eq!(stream_id(&with(STREAM_ID, "garbage")), Some(NO_STREAM));
        assert_eq!(stream_id(&with(STREAM_ID, "00000000-0000-0000-0000-000000000000")), Some(NO_STREAM));
        assert_eq!(stream_id(&with(STREAM_ID, "00000000-0000-0000-0000-000000000007")), Some(7));
    }
}

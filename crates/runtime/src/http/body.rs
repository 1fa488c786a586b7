//! Requests of bounded size, packed or not.

use std::{io::Read, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::Refusal;
use mesos_model::planted::{Bug, is_planted};

/// How many times its patience a whole body may take.
const WHOLE: u32 = 6;
/// How much of a body that is too large is read so that its sender sees why it is refused, in bytes.
const PASSED_MAX: usize = 64 * 1024 * 1024;
/// A sender that pauses for so long has written what it had, and waits for the answer.
const PASSED_PAUSE: Duration = Duration::from_millis(250);

/// Reads a body of at most `max` bytes, unpacked. A client may pause for `patience` at most.
///
/// # Errors
/// 413 if it is larger, 408 if it does not come, 400 if it cannot be unpacked.
pub async fn read(headers: &HeaderMap, mut body: Body, max: usize, patience: Duration) -> Result<Bytes, Refusal> {
    let max = if is_planted(Bug::BodyUnbounded) { usize::MAX / 2 } else { max };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let end = tokio::time::Instant::now() + patience * WHOLE;
    if announced.is_some_and(|length| length > max as u64) {
        pass_over(headers, body, end).await;
        return Err(too_large(max));
    }
    let mut read = BytesMut::new();
    loop {
        let until = end.min(tokio::time::Instant::now() + patience);
        let frame = tokio::time::timeout_at(until, body.frame())
            .await
            .map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "The body did not come in time"))?;
        match frame {
            None => break,
            Some(Err(_)) => return Err(Refusal::bad("Failed to read the body")),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                if read.len() + data.len() > max {
                    pass_over(headers, body, end).await;
                    return Err(too_large(max));
                }
                read.extend_from_slice(&data);
            }
        }
    }
    let read = read.freeze();
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        Some(b"gzip") => unpack(&read, max),
        _ => Ok(read),
    }
}

/// Reads on for nothing: a client that still writes when its connection is closed never sees the answer. Who
/// asks before it sends gets its answer without that.
async fn pass_over(headers: &HeaderMap, mut body: Body, end: tokio::time::Instant) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let mut passed = 0;
    while passed < PASSED_MAX
        && let until = end.min(tokio::time::Instant::now() + PASSED_PAUSE)
        && let Ok(Some(Ok(frame))) = tokio::time::timeout_at(until, body.frame()).await
    {
        passed += frame.data_ref().map_or(0, Bytes::len);
    }
}

fn too_large(max: usize) -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is larger than {max} bytes"))
}

fn unpack(packed: &[u8], max: usize) -> Result<Bytes, Refusal> {
    let mut unpacked = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(packed)
        .take(limit)
        .read_to_end(&mut unpacked)
        .map_err(|_| Refusal::bad("Failed to decompress request body"))?;
    if unpacked.len() > max {
        return Err(too_large(max));
    }
    Ok(unpacked.into())
}

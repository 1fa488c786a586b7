//! Bodies of requests; RecordIO streams.

use bytes::Bytes;
use futures::Stream;
use mesos_proto::{
    json::{self, Defaults},
    recordio,
};
pub use mesos_runtime::http::body::read;

use super::headers::Encoding;
use crate::streams::Subscription;

/// One event as a record.
#[must_use]
pub fn record(event: &Bytes, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Protobuf => recordio::encode(event),
        // Events are made here from the contract's own messages, so they can be written.
        Encoding::Json => {
            let text =
                json::encode_bytes("mesos.v1.scheduler.Event", event, Defaults::Declared).unwrap_or_else(|error| {
                    tracing::error!(%error, "an event cannot be written as JSON");
                    r#"{"type":"UNKNOWN"}"#.to_owned()
                });
            recordio::encode(text.as_bytes())
        }
    }
}

/// The events of a subscription, framed.
pub fn stream(
    subscription: Subscription,
    encoding: Encoding,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    futures::stream::unfold(subscription, move |mut subscription| async move {
        let event = subscription.next().await?;
        Some((Ok(record(&event, encoding)), subscription))
    })
}

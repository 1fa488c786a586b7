//! The bus: core publish, subscribe and request, and nothing more.
//!
//! It may lose, repeat and reorder messages; whoever needs certainty asks again until the effect is
//! seen. Within one subscription, messages of one publisher to one subject arrive in order as long as
//! the connection lives. Subjects are dot-separated tokens made by `mesos_model::subject`, so that no
//! id can inject a token or a wildcard.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// Headers of a message: a few ASCII pairs (trace context, kind). Order is kept.
pub type Headers = Vec<(String, String)>;

/// One message as a subscriber sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The concrete subject it was sent to.
    pub subject: String,
    /// Where an answer is expected, if the sender asked for one.
    pub reply: Option<String>,
    /// Trace context and the like.
    pub headers: Headers,
    /// The payload, already put together again if the adapter had to cut it into chunks.
    pub payload: Bytes,
}

/// Something that concerns the connection and not one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusEvent {
    /// Messages may have been lost since the last event: send again what matters.
    Reconnected,
    /// The connection is gone; publishing is pointless until `Reconnected`.
    Disconnected,
}

/// Why a bus operation failed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Nobody listens on the subject. Only `request` can tell.
    #[error("nobody listens on {0}")]
    NoResponders(String),
    /// No answer within the time given; the outcome is unknown.
    #[error("no answer on {subject} within {after:?}")]
    Timeout {
        /// The subject asked.
        subject: String,
        /// How long was waited.
        after: Duration,
    },
    /// The adapter has no connection, or its queue is full.
    #[error("the bus is not reachable: {0}")]
    Unavailable(String),
    /// The subject or the size is not acceptable; a retry cannot help.
    #[error("refused by the bus: {0}")]
    Refused(String),
}

impl BusError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, BusError::Refused(_))
    }
}

/// A stream of messages. Dropping it unsubscribes.
pub type Subscription = BoxStream<'static, Message>;

/// A connection to the bus. Cheap to share behind an `Arc`.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sends a message to whoever is subscribed now. `Ok` means handed over, not delivered.
    async fn publish(&self, subject: &str, headers: Headers, payload: Bytes) -> Result<(), BusError>;

    /// Subscribes to a subject; `*` stands for one token, a final `>` for one or more. The
    /// subscription is in force when this returns. It survives reconnects. A subscriber that does not
    /// keep up loses messages (and others do not notice).
    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError>;

    /// Sends a message and waits for one answer. Fails at once with `NoResponders` where nobody is
    /// subscribed. The receiver answers by `publish` to `Message::reply`.
    async fn request(
        &self,
        subject: &str,
        headers: Headers,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Message, BusError>;

    /// Connection events, from now on.
    fn events(&self) -> BoxStream<'static, BusEvent>;

    /// Waits until what was published so far has left this process.
    async fn flush(&self) -> Result<(), BusError>;
}

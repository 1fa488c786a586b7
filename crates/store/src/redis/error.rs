//! What a Redis error means to a service: ask again, step down, or give up.

use ::redis::{ErrorKind, RedisError, ServerErrorKind};
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::store::StoreError;

/// Codes that say that nothing was written, and that nothing will be until somebody acts.
const REFUSES_WRITES: [&str; 4] = ["OOM", "READONLY", "MISCONF", "NOREPLICAS"];

/// Codes that no retry can change: password, permissions, a cluster's other shard, a foreign key.
const UNUSABLE: [&str; 7] = ["NOAUTH", "WRONGPASS", "NOPERM", "MOVED", "ASK", "CROSSSLOT", "WRONGTYPE"];

pub(super) fn store_error(error: RedisError) -> StoreError {
    let text = error.to_string();
    // Redis 6.2 wraps what a script's command answered into its own text, with a dash before the code.
    let says = |code: &str| error.code() == Some(code) || text.contains(&format!("-{code} "));
    if REFUSES_WRITES.into_iter().any(says) && is_planted(Bug::StoreRefusalsUnseen) {
        return StoreError::Unavailable(text);
    }
    if REFUSES_WRITES.into_iter().any(says) {
        return StoreError::ReadOnly(text);
    }
    if UNUSABLE.into_iter().any(says) {
        return StoreError::Unusable(text);
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::UnexpectedReturnType
        | ErrorKind::RESP3NotSupported
        | ErrorKind::Server(ServerErrorKind::ResponseError) => StoreError::Unusable(text),
        _ => StoreError::Unavailable(text),
    }
}

/// Whether the error came from `XADD` with an id that is not above the stream's last.
pub(super) fn is_stream_ahead(text: &str) -> bool {
    text.contains("equal or smaller than the target stream top item")
}

/// Whether the connection is of no more use: its peer is gone, does not answer, or is no primary.
pub(super) fn ends_connection(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::ReadOnly(_))
}

pub(super) fn malformed(what: &str) -> StoreError {
    StoreError::Unusable(format!("redis answered {what} in a form that is not ours"))
}

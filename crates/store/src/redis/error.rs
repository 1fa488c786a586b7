//! What a Redis error means to a service: ask again, step down, or give up.

use ::redis::{ConnectionInfo, ErrorKind, RedisError, ServerErrorKind};
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::store::StoreError;

use super::access::is_tls;

/// Codes that say that nothing was written, and that nothing will be until somebody acts.
const REFUSES_WRITES: [&str; 4] = ["OOM", "READONLY", "MISCONF", "NOREPLICAS"];

/// Codes that no retry can change: a cluster's other shard, a foreign key. Passwords and permissions are the others.
const UNUSABLE: [&str; 4] = ["MOVED", "ASK", "CROSSSLOT", "WRONGTYPE"];

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
    // What a script may not do has no code.
    if says("NOPERM") || text.contains("The user executing the script can't") {
        let what = "the user of --redis-username lacks a permission (docs/security.md lists what it needs)";
        return StoreError::Unusable(format!("{text}; {what}"));
    }
    if says("NOAUTH") || says("WRONGPASS") || error.kind() == ErrorKind::AuthenticationFailed {
        let what = "give the right user with --redis-username and --redis-password-file";
        return StoreError::Unusable(format!("{text}; {what}"));
    }
    if UNUSABLE.into_iter().any(says) {
        return StoreError::Unusable(text);
    }
    match error.kind() {
        ErrorKind::InvalidClientConfig
        | ErrorKind::UnexpectedReturnType
        | ErrorKind::RESP3NotSupported
        | ErrorKind::Server(ServerErrorKind::ResponseError) => StoreError::Unusable(text),
        _ => StoreError::Unavailable(text),
    }
}

/// What a connect that failed means.
pub(super) fn connect_error(error: RedisError, server: &ConnectionInfo) -> StoreError {
    let (text, address) = (error.to_string(), server.addr().to_string());
    // The TLS library's errors come as text inside of an IO error.
    if ["UnknownIssuer", "BadSignature"].iter().any(|why| text.contains(&format!("invalid peer certificate: {why}"))) {
        return StoreError::Unusable(format!(
            "{address} has a certificate that nobody trusted here has signed: --redis-ca must name the CA's certificate"
        ));
    }
    if let Some((_, why)) = text.split_once("invalid peer certificate: ") {
        return StoreError::Unusable(format!(
            "{address} has a certificate that is not accepted: {why}; the server needs one for the name in --redis-url"
        ));
    }
    if text.contains("received corrupt message") {
        return StoreError::Unusable(format!(
            "{address} does not speak TLS: use redis:// in --redis-url, or the server's tls-port"
        ));
    }
    match store_error(error) {
        StoreError::Unavailable(text) if !is_tls(server) && !text.contains("refused") => StoreError::Unavailable(
            format!("{address}: {text} (if this is its tls-port, --redis-url must begin with rediss)"),
        ),
        // A port without TLS may wait for the rest of what it takes for a command.
        StoreError::Unavailable(text) if is_tls(server) && text.contains("timed out") => StoreError::Unavailable(
            format!("{address}: {text} (if it does not speak TLS, use redis:// in --redis-url)"),
        ),
        other => other,
    }
}

/// Whether the server wants to know who asks.
pub(super) fn wants_credentials(error: &StoreError) -> bool {
    matches!(error, StoreError::Unusable(text) if text.contains("NOAUTH"))
}

/// Whether the error came from `XADD` with an id that is not above the stream's last.
pub(super) fn is_stream_ahead(text: &str) -> bool {
    text.contains("equal or smaller than the target stream top item")
}

/// Whether the connection is of no more use: its peer is gone, does not answer, is no primary, or does not know its
/// user any more.
pub(super) fn ends_connection(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::ReadOnly(_) | StoreError::Unusable(_))
}

pub(super) fn malformed(what: &str) -> StoreError {
    StoreError::Unusable(format!("redis answered {what} in a form that is not ours"))
}

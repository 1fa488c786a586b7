//! Who is who: certificates, tokens, NATS users, and how an agent comes to have them.
//!
//! # Layout
//! - [`authority`]: the cluster's certificate authority, and the identity that a certificate shows.
//! - [`jwt`]: the compact form of signed claims, which tokens and NATS share.
//! - [`token`]: tokens of operators, frameworks and agents.
//! - [`nats`]: operator, account and users of a NATS server.
//! - [`join`]: what an agent brings and gets when it joins.
//! - [`pki`]: the folder with everything that a cluster needs.
//! - [`files`]: writing secrets, and reading them again when they change.

pub mod authority;
pub mod files;
pub mod join;
pub mod jwt;
pub mod nats;
pub mod pki;
pub mod token;

use std::time::{SystemTime, UNIX_EPOCH};

use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};

/// Why something about an identity cannot be read, made or believed: one line for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Error {
        Error(error.to_string())
    }
}

impl From<nkeys::error::Error> for Error {
    fn from(error: nkeys::error::Error) -> Error {
        Error(error.to_string())
    }
}

/// Seconds since 1970, by the clock of this host.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Bytes that nobody can guess.
///
/// # Errors
/// If the operating system has none.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::new("the operating system gives no random bytes"))?;
    Ok(bytes)
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

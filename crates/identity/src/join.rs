//! What an agent brings and gets when it joins.
//!
//! An agent makes one Ed25519 key and keeps it. It shows a one-time token and a certificate request, and gets its
//! id with everything that shows it: a client certificate, a NATS user, and a token for its link. All three are for
//! that one key or id and end after a day; they are renewed with the certificate that is still good.

use serde::{Deserialize, Serialize};

use crate::{Error, hex, random, sha256_hex, token};

/// What join tokens begin with, so that one is known for what it is where it turns up.
const PREFIX: &str = "mesos-join-";

/// A new one-time token, shown once: 256 random bits.
///
/// # Errors
/// If there are no random bytes.
pub fn new_token() -> Result<String, Error> {
    Ok(format!("{PREFIX}{}", hex(&random::<32>()?)))
}

/// What is stored of a join token: nobody can join with it.
///
/// # Errors
/// If it is no join token.
pub fn hash(token: &str) -> Result<String, Error> {
    let digits = token.trim().strip_prefix(PREFIX).filter(|rest| rest.len() == 64);
    let digits = digits.filter(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits
        .map(|digits| sha256_hex(digits.as_bytes()))
        .ok_or_else(|| Error::new(format!("expected a join token, which begins with {PREFIX}")))
}

/// A new key of an agent, in PEM.
///
/// # Errors
/// If there are no random bytes.
pub fn new_agent_key() -> Result<String, Error> {
    Ok(pem::encode_config(&token::new_pkcs8()?, crate::files::PEM))
}

/// The seed of an agent's NATS user: its one key in NATS's words.
///
/// # Errors
/// If it is no key of [`new_agent_key`].
pub fn nats_seed(key_pem: &str) -> Result<String, Error> {
    let block = pem::parse(key_pem).map_err(|error| Error::new(format!("it is not PEM: {error}")))?;
    crate::nats::user_seed(&token::seed_of(block.contents())?)
}

/// `POST /v1/agents/join`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The one-time token.
    pub token: String,
    /// A certificate request in PEM for its key.
    pub csr: String,
    /// Its instance, as it reports it.
    pub instance: String,
    /// The id that it has already, if it has one: it is kept if it is this instance's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
}

/// `POST /v1/agents/renew`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The certificate that it has, which is still good, in PEM.
    pub certificate: String,
    /// A certificate request in PEM for the same key.
    pub csr: String,
    /// Its instance.
    pub instance: String,
}

/// The answer to both.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The agent's id.
    pub agent_id: String,
    /// Its certificate in PEM.
    pub certificate: String,
    /// The certificates of the authority in PEM.
    pub ca: String,
    /// The JWT of its NATS user, if the gateway signs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats_jwt: Option<String>,
    /// The bearer token of its link, if the gateway signs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hash_of_a_join_token_is_kept() {
        let token = new_token().unwrap();
        let kept = hash(&token).unwrap();
        assert_ne!(kept, hash(&new_token().unwrap()).unwrap());
        assert_eq!(kept, hash(&format!(" {token}\n")).unwrap());
        assert!(!token.contains(&kept) && !kept.contains(&token[PREFIX.len()..]));
        for bad in ["", "x", PREFIX, "mesos-join-zz", &token[1..], &token[..token.len() - 1]] {
            assert!(hash(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_agents_key_is_its_certificates_and_its_nats_users() {
        let key = new_agent_key().unwrap();
        let request = crate::authority::Request::read(&crate::authority::request(&key).unwrap()).unwrap();
        let user = nkeys::KeyPair::from_seed(&nats_seed(&key).unwrap()).unwrap();
        let (_, raw) = nkeys::from_public_key(&user.public_key()).unwrap();
        assert_eq!(raw, request.public_key());
    }
}

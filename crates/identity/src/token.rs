//! Tokens of operators, frameworks and agents: JWTs signed with Ed25519 (`EdDSA`, RFC 8037).

use std::{fmt, str::FromStr, time::Duration};

use pem::Pem;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Error, hex,
    jwt::{self, Parts},
    now, random, sha256_hex,
};

/// How far the clocks of two hosts may be apart.
const LEEWAY_SECS: u64 = 30;
/// Keys of one file at most.
const KEYS_MAX: usize = 8;
/// The longest name that a token is for.
const SUBJECT_BYTES_MAX: usize = 256;
/// What stands before the 32 bytes of a private key in PKCS#8 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PKCS8_TAG: &str = "PRIVATE KEY";

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Operator,
    /// Be a framework as its own principal, and read.
    Framework,
    /// Have the link of one agent.
    Agent,
}

impl Role {
    /// As in a token.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Framework => "framework",
            Role::Agent => "agent",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        match text {
            "operator" => Ok(Role::Operator),
            "framework" => Ok(Role::Framework),
            _ => Err("expected operator or framework".to_owned()),
        }
    }
}

/// What a token says. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The principal, or the agent's id.
    pub sub: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    #[serde(default)]
    pub iat: u64,
    /// When it ends.
    pub exp: u64,
    /// Tells it from all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The only cluster that it is for, if it is not for all that know its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl Claims {
    /// Claims from now on.
    #[must_use]
    pub fn new(sub: &str, role: Role, ttl: Duration, cluster: Option<&str>) -> Claims {
        let iat = now();
        Claims {
            sub: sub.to_owned(),
            role,
            iat,
            exp: iat.saturating_add(ttl.as_secs()),
            jti: random::<8>().ok().map(|bytes| hex(&bytes)),
            cluster: cluster.map(str::to_owned),
        }
    }
}

struct Key {
    id: String,
    pair: Ed25519KeyPair,
    pem: String,
}

/// The keys of a `--token-key` file: the first signs, all verify, so that a new one can be put before the
/// old one while tokens of the old one are about.
pub struct TokenKeys {
    keys: Vec<Key>,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl TokenKeys {
    /// Reads one or more Ed25519 private keys in PKCS#8 PEM.
    ///
    /// # Errors
    /// If there is none, or one that is something else.
    pub fn read(text: &str) -> Result<TokenKeys, Error> {
        let blocks = pem::parse_many(text).map_err(|error| Error::new(format!("it is not PEM: {error}")))?;
        if blocks.is_empty() || blocks.len() > KEYS_MAX {
            return Err(Error::new(format!("expected 1 to {KEYS_MAX} private keys in PEM, found {}", blocks.len())));
        }
        let keys = blocks.into_iter().map(Key::read).collect::<Result<Vec<_>, _>>()?;
        Ok(TokenKeys { keys })
    }

    /// A new key alone.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn generate() -> Result<TokenKeys, Error> {
        Ok(TokenKeys { keys: vec![Key::read(new_pkcs8()?)?] })
    }

    /// A new key before the one that signed until now; older ones are dropped, so tokens that they signed
    /// are good no more.
    ///
    /// # Errors
    /// If there are no random bytes.
    pub fn rotated(mut self) -> Result<TokenKeys, Error> {
        self.keys.truncate(1);
        self.keys.insert(0, Key::read(new_pkcs8()?)?);
        Ok(self)
    }

    /// As the file has them.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.keys.iter().map(|key| key.pem.as_str()).collect()
    }

    /// The ids of the keys, the one that signs first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Makes a token.
    ///
    /// # Errors
    /// If the subject is empty or too long.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        check_subject(&claims.sub)?;
        let key = &self.keys[0];
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": key.id });
        jwt::sign(&header, claims, |text| Ok(key.pair.sign(text).as_ref().to_vec()))
    }

    /// What a token says, if one of these keys signed it, it has not ended, and it is for this cluster.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating any of it.
    pub fn verify(&self, token: &str, cluster: &str) -> Result<Claims, Error> {
        let parts = Parts::read(token)?;
        if parts.header.get("alg").and_then(|alg| alg.as_str()) != Some("EdDSA") {
            return Err(Error::new("its algorithm is not EdDSA"));
        }
        // An extension that has to be understood, and is not.
        if parts.header.get("crit").is_some() {
            return Err(Error::new("its header has 'crit'"));
        }
        let kid = parts.header.get("kid").and_then(|kid| kid.as_str());
        let good = |key: &Key| {
            let public = UnparsedPublicKey::new(&ED25519, key.pair.public_key().as_ref());
            public.verify(parts.signed, &parts.signature).is_ok()
        };
        // The id only says which key to try: a token of somebody else's making may have none.
        if !self.keys.iter().filter(|key| kid.is_none_or(|kid| kid == key.id)).any(good) {
            return Err(Error::new("no key of this cluster signed it"));
        }
        let claims: Claims = parts.claims()?;
        check_subject(&claims.sub)?;
        let now = now();
        if claims.exp.saturating_add(LEEWAY_SECS) < now {
            return Err(Error::new("it has expired"));
        }
        if claims.iat > now.saturating_add(LEEWAY_SECS) {
            return Err(Error::new("it is from the future: are the clocks right?"));
        }
        if claims.cluster.as_ref().is_some_and(|named| named != cluster) {
            return Err(Error::new("it is for another cluster"));
        }
        Ok(claims)
    }
}

fn check_subject(subject: &str) -> Result<(), Error> {
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX || subject.chars().any(char::is_control) {
        return Err(Error::new(format!(
            "its subject has to be 1 to {SUBJECT_BYTES_MAX} characters without control characters"
        )));
    }
    Ok(())
}

/// A new Ed25519 key in PKCS#8.
pub(crate) fn new_pkcs8() -> Result<Pem, Error> {
    Ok(pkcs8(&random::<32>()?))
}

/// An Ed25519 key in PKCS#8.
pub(crate) fn pkcs8(seed: &[u8; 32]) -> Pem {
    Pem::new(PKCS8_TAG, [&PKCS8_PREFIX[..], seed].concat())
}

/// The 32 bytes that an Ed25519 key in PKCS#8 was made of.
pub(crate) fn seed_of(pkcs8: &[u8]) -> Result<[u8; 32], Error> {
    let seed = pkcs8.strip_prefix(&PKCS8_PREFIX).and_then(|seed| seed.try_into().ok());
    seed.ok_or_else(|| Error::new("it is not an Ed25519 private key in PKCS#8"))
}

impl Key {
    fn read(block: Pem) -> Result<Key, Error> {
        if block.tag() != PKCS8_TAG {
            let tag: String = block.tag().escape_debug().take(40).collect();
            return Err(Error::new(format!("expected a PRIVATE KEY in PEM, found {tag}")));
        }
        // OpenSSL writes keys without their public half.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(block.contents())
            .map_err(|error| Error::new(format!("it is not an Ed25519 private key in PKCS#8: {error}")))?;
        let id = sha256_hex(pair.public_key().as_ref())[..16].to_owned();
        Ok(Key { id, pair, pem: pem::encode_config(&block, crate::files::PEM) })
    }
}

/// A secret in the form of a password: 256 random bits in hex.
///
/// # Errors
/// If there are no random bytes.
pub fn password() -> Result<String, Error> {
    Ok(hex(&random::<32>()?))
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn claims(role: Role) -> Claims {
        Claims::new("ops", role, HOUR, Some("c"))
    }

    #[test]
    fn a_token_says_who_its_bearer_is_until_it_ends() {
        let keys = TokenKeys::generate().unwrap();
        let token = keys.sign(&claims(Role::Operator)).unwrap();
        assert_eq!(keys.verify(&token, "c").unwrap().sub, "ops");
        assert!(keys.verify(&token, "d").unwrap_err().0.contains("another cluster"));
        let other = TokenKeys::generate().unwrap();
        assert!(other.verify(&token, "c").unwrap_err().0.contains("signed"));
        let old = Claims { exp: now() - 60, ..claims(Role::Framework) };
        assert!(keys.verify(&keys.sign(&old).unwrap(), "c").unwrap_err().0.contains("expired"));
        let early = Claims { iat: now() + 600, ..claims(Role::Framework) };
        assert!(keys.verify(&keys.sign(&early).unwrap(), "c").unwrap_err().0.contains("future"));
    }

    #[test]
    fn f82_a_token_with_another_algorithm_or_a_changed_part_is_refused() {
        let keys = TokenKeys::generate().unwrap();
        let token = keys.sign(&claims(Role::Framework)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let header = |json: &str| format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(json), parts[1], parts[2]);
        let more = serde_json::to_vec(&claims(Role::Operator)).unwrap();
        for bad in [
            header(r#"{"alg":"none"}"#),
            header(r#"{"alg":"HS256","typ":"JWT"}"#),
            header(r#"{"alg":"EdDSA","kid":"../../etc/passwd"}"#),
            header(r#"{"alg":"EdDSA","crit":["x"]}"#),
            format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(more), parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{token}x"),
            format!("{token}.{token}"),
            String::new(),
            "x".repeat(jwt::BYTES_MAX + 1),
        ] {
            assert!(keys.verify(&bad, "c").is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_of_the_key_before_are_good_until_the_next_rotation() {
        let first = TokenKeys::generate().unwrap();
        let token = first.sign(&claims(Role::Operator)).unwrap();
        let second = TokenKeys::read(&first.to_pem()).unwrap().rotated().unwrap();
        assert!(second.verify(&token, "c").is_ok());
        assert_ne!(second.ids().next(), first.ids().next());
        let new = second.sign(&claims(Role::Operator)).unwrap();
        assert!(first.verify(&new, "c").is_err());
        let third = second.rotated().unwrap();
        assert!(third.verify(&token, "c").is_err() && third.verify(&new, "c").is_ok());
        assert_eq!(third.ids().count(), 2);
    }

    #[test]
    fn what_is_no_key_is_named() {
        for (text, word) in [
            ("", "found 0"),
            ("-----BEGIN X-----\nAAAA\n-----END X-----\n", "found X"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not an Ed25519"),
        ] {
            let error = TokenKeys::read(text).unwrap_err().0;
            assert!(error.contains(word), "{error}");
        }
    }
}

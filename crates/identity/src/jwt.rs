//! The compact form of signed claims: `header.claims.signature`, each in base64url (RFC 7515).
//!
//! Written out here because NATS has an algorithm name of its own, which no library of JWTs knows, and
//! because a reader that knows one algorithm cannot be talked into another.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::Error;

/// Longer ones are not looked at.
pub const BYTES_MAX: usize = 8 * 1024;

/// Signs claims under a header.
pub(crate) fn sign(
    header: &Value,
    claims: &impl Serialize,
    signature: impl FnOnce(&[u8]) -> Result<Vec<u8>, Error>,
) -> Result<String, Error> {
    let json = |value: Result<Vec<u8>, serde_json::Error>| value.map_err(|error| Error::new(error.to_string()));
    let header = URL_SAFE_NO_PAD.encode(json(serde_json::to_vec(header))?);
    let claims = URL_SAFE_NO_PAD.encode(json(serde_json::to_vec(claims))?);
    let mut text = format!("{header}.{claims}");
    let signature = signature(text.as_bytes())?;
    text.push('.');
    text.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(text)
}

/// A token taken apart. Nothing in it is to be believed before the signature was checked.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) header: Value,
    /// What the signature is over.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
    claims: Vec<u8>,
}

impl<'a> Parts<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Parts<'a>, Error> {
        let wrong = || Error::new("it is not a token");
        if text.len() > BYTES_MAX {
            return Err(wrong());
        }
        let (signed, signature) = text.rsplit_once('.').ok_or_else(wrong)?;
        let (header, claims) = signed.split_once('.').ok_or_else(wrong)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| wrong());
        let header = serde_json::from_slice(&bytes(header)?).map_err(|_| wrong())?;
        Ok(Parts { header, signed: signed.as_bytes(), signature: bytes(signature)?, claims: bytes(claims)? })
    }

    /// The claims, to be asked for after the signature was checked.
    pub(crate) fn claims<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.claims).map_err(|error| Error::new(format!("its claims cannot be read: {error}")))
    }
}

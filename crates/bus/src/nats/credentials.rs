//! What a client shows to a NATS server, and what it wants to see of one: read from files at each connect.

use std::path::Path;

use async_nats::Auth;
use async_nats::rustls::pki_types::{CertificateDer, pem::PemObject};
use nkeys::KeyPair;

/// A file of this kind has a few thousand bytes.
const FILE_BYTES_MAX: usize = 1 << 20;

const JWT: (&str, &str) = ("-----BEGIN NATS USER JWT-----", "------END NATS USER JWT------");
const SEED: (&str, &str) = ("-----BEGIN USER NKEY SEED-----", "------END USER NKEY SEED------");

/// A user of a NATS account.
pub(super) struct Credentials {
    jwt: String,
    key: KeyPair,
}

/// Reads a `.creds` file.
pub(super) async fn read(path: &Path) -> Result<Credentials, String> {
    let named = |why: &str| format!("--nats-credentials {}: {why}", path.display());
    let text = content(path).await.map_err(|why| named(&why))?;
    let text = String::from_utf8(text).map_err(|_| named("is not a .creds file"))?;
    let jwt = between(&text, JWT).ok_or_else(|| named("has no NATS USER JWT; expected a .creds file"))?;
    let seed = between(&text, SEED).ok_or_else(|| named("has no USER NKEY SEED; expected a .creds file"))?;
    let key = KeyPair::from_seed(seed).map_err(|error| named(&format!("its seed is not one: {error}")))?;
    Ok(Credentials { jwt: jwt.to_owned(), key })
}

/// The answer to a server that asks who is there.
pub(super) async fn answer(path: &Path, nonce: &[u8]) -> Result<Auth, String> {
    let credentials = read(path).await?;
    let signature = credentials.key.sign(nonce).map_err(|error| format!("cannot sign: {error}"))?;
    let mut auth = Auth::new();
    auth.jwt = Some(credentials.jwt);
    auth.signature = Some(signature);
    Ok(auth)
}

/// Says what is wrong with a file of trusted certificates.
pub(super) async fn check_ca(path: &Path) -> Result<(), String> {
    let named = |why: &str| format!("--nats-ca {}: {why}", path.display());
    let bytes = content(path).await.map_err(|why| named(&why))?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(()),
        _ => Err(named("holds no certificate in PEM")),
    }
}

async fn content(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = tokio::fs::read(path).await.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > FILE_BYTES_MAX { Err("is too large to be one".to_owned()) } else { Ok(bytes) }
}

/// What stands between two lines. How many dashes the last one has differs between tools.
fn between<'a>(text: &'a str, (begin, end): (&str, &str)) -> Option<&'a str> {
    let rest = &text[text.find(begin)? + begin.len()..];
    let inner = &rest[..rest.find(end.trim_matches('-'))?];
    Some(inner.trim_end_matches('-').trim()).filter(|found| !found.is_empty() && !found.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creds_file_of_any_tool_is_taken_apart() {
        let seed = "SUACH75SWCM5D2JMJM6EKLR2WDARVGZT4QC6LX3AGHSWOMVAKERABBBRWM";
        for end in ["------END", "-----END"] {
            let text = format!(
                "-----BEGIN NATS USER JWT-----\r\na.b.c\r\n{end} NATS USER JWT------\n\nIMPORTANT\n\
                 -----BEGIN USER NKEY SEED-----\n{seed}\n{end} USER NKEY SEED------\n"
            );
            assert_eq!((between(&text, JWT), between(&text, SEED)), (Some("a.b.c"), Some(seed)));
        }
        for wrong in [
            "",
            "a.b.c",
            "-----BEGIN NATS USER JWT-----\na.b.c\n",
            "-----BEGIN NATS USER JWT-----\n\n------END NATS USER JWT------",
        ] {
            assert_eq!(between(wrong, JWT), None, "{wrong}");
        }
    }
}

//! An operator with one account for tests on a nats-server that knows its users by JWT, and the users' `.creds` files.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An account of a server, whose users it signs.
pub struct Account {
    operator: KeyPair,
    key: KeyPair,
}

impl Account {
    /// A new one, of an operator of its own.
    #[must_use]
    pub fn new() -> Account {
        Account { operator: KeyPair::new_operator(), key: KeyPair::new_account() }
    }

    /// What the configuration of a nats-server says so that it knows this account and no other.
    #[must_use]
    pub fn server_config(&self) -> String {
        let operator = signed(&self.operator, &self.operator, None, json!({"type": "operator", "version": 2}));
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1
        });
        let account =
            signed(&self.operator, &self.key, None, json!({"limits": limits, "type": "account", "version": 2}));
        let id = self.key.public_key();
        format!("operator: {operator}\nresolver: MEMORY\nresolver_preload: {{ {id}: {account} }}\n")
    }

    /// Writes the `.creds` file of a new user who may do everything, for so long.
    pub fn write_user(&self, path: &Path, lives: Option<Duration>) {
        let user = KeyPair::new_user();
        let may = json!({"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2});
        let jwt = signed(&self.key, &user, lives.map(|lives| seconds() + lives.as_secs()), may);
        let seed = user.seed().expect("a seed");
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        // At once, as whoever replaces a file in use does.
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).expect("a file");
        std::fs::rename(&beside, path).expect("renamed");
    }
}

impl Default for Account {
    fn default() -> Self {
        Account::new()
    }
}

fn signed(by: &KeyPair, subject: &KeyPair, expires: Option<u64>, nats: Value) -> String {
    let mut claims = json!({
        "jti": "X", "iat": seconds(), "iss": by.public_key(), "name": "test", "sub": subject.public_key(), "nats": nats
    });
    if let Some(expires) = expires {
        claims["exp"] = json!(expires);
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(&claims));
    let signature = by.sign(text.as_bytes()).expect("a signature");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

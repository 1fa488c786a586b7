//! Operator, account and users of a NATS server, as its JWT authentication has them.
//!
//! The server knows the operator and one account, and asks nobody about users: each brings a JWT that the
//! account's key signed, which says what it may publish and subscribe to. See "JWT" in NATS's documentation.

use std::time::Duration;

use mesos_model::{AgentId, subject::Subjects, uuid_text};
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};

use crate::{Error, jwt, now, random};

/// The prefix of inboxes; an agent's own is below it.
const INBOX: &str = "_INBOX";
/// Messages that may answer one request: a large answer comes in several.
const ANSWERS_MAX: u32 = 64;
/// For how long a request may be answered.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Signing keys of an account at most: the one in use, and the one before.
const SIGNING_KEYS_MAX: usize = 2;

/// What services of an agent speak to.
const SERVICES: [&str; 2] = ["allocator", "registry"];

/// The inbox of one agent, which no other may hear.
#[must_use]
pub fn agent_inbox(agent: &AgentId) -> String {
    format!("{INBOX}.{}", mesos_model::subject::token(agent.as_str()))
}

/// Signs users of the cluster's account.
pub struct AccountSigner {
    /// The account's public key.
    account: String,
    key: KeyPair,
}

impl std::fmt::Debug for AccountSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountSigner").field("account", &self.account).finish()
    }
}

/// A key that nobody has yet.
fn new_key(kind: KeyPairType) -> Result<KeyPair, Error> {
    Ok(KeyPair::new_from_raw(kind, random::<32>()?)?)
}

/// What a seed begins with says what kind of key it makes.
fn read_seed(text: &str, prefix: &str) -> Result<KeyPair, Error> {
    let wrong = || Error::new(format!("expected an nkey seed that begins with {prefix}"));
    if !text.starts_with(prefix) {
        return Err(wrong());
    }
    KeyPair::from_seed(text).map_err(|_| wrong())
}

impl AccountSigner {
    /// Reads a `--nats-account-seed` file: the seed of the account's key, or that of a signing key and, in
    /// another line, the account's public key (`A…`).
    ///
    /// # Errors
    /// Says what is expected.
    pub fn read(text: &str) -> Result<AccountSigner, Error> {
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let seed = lines().find(|line| line.starts_with('S')).unwrap_or_default();
        let key = read_seed(seed, "SA")?;
        let account = match lines().find(|line| line.starts_with('A')) {
            Some(account) => {
                KeyPair::from_public_key(account)
                    .map_err(|_| Error::new("the line that begins with A is no public key of an account"))?;
                account.to_owned()
            }
            None => key.public_key(),
        };
        Ok(AccountSigner { account, key })
    }

    /// The credentials of an agent, good for `life`: its own subjects and its own inbox, and an answer to whoever
    /// asks it. `public_key` is the raw key that its seed makes.
    ///
    /// # Errors
    /// If they cannot be signed.
    pub fn agent(
        &self,
        cluster: &str,
        agent: &AgentId,
        instance: u128,
        public_key: &[u8; 32],
        life: Duration,
    ) -> Result<String, Error> {
        let subjects = Subjects::new(cluster);
        let inbox = format!("{}.>", agent_inbox(agent));
        let mut says: Vec<String> = SERVICES.iter().map(|service| subjects.said(service, agent.as_str())).collect();
        says.push(inbox.clone());
        let hears = [
            subjects.agent(agent.as_str()),
            // Until it is admitted it is spoken to by its instance.
            subjects.agent(&uuid_text(instance)),
            subjects.agent_files(agent.as_str()),
            subjects.agents(),
            inbox,
        ];
        let permissions = json!({
            "pub": { "allow": says },
            "sub": { "allow": hears },
            "resp": { "max": ANSWERS_MAX, "ttl": u64::try_from(ANSWER_WAIT.as_nanos()).unwrap_or(u64::MAX) },
        });
        self.user(&public_key_text(public_key), agent.as_str(), permissions, Some(now() + life.as_secs()))
    }

    /// Credentials of the control plane: everything of the cluster, and inboxes.
    ///
    /// # Errors
    /// If they cannot be signed.
    pub fn control(&self, cluster: &str) -> Result<String, Error> {
        let key = new_key(KeyPairType::User)?;
        let all = [Subjects::new(cluster).all(), format!("{INBOX}.>")];
        let permissions = json!({ "pub": { "allow": all }, "sub": { "allow": all } });
        let token = self.user(&key.public_key(), &format!("mesos-{cluster}-control"), permissions, None)?;
        Ok(credentials(&token, &key.seed()?))
    }

    fn user(&self, key: &str, name: &str, permissions: Value, exp: Option<u64>) -> Result<String, Error> {
        let mut nats = json!({
            "subs": -1, "data": -1, "payload": -1,
            "issuer_account": self.account,
            "type": "user", "version": 2,
        });
        merge(&mut nats, permissions);
        let mut claims = claims(name, key, &self.key, nats);
        if let Some(exp) = exp {
            claims["exp"] = exp.into();
        }
        sign(&claims, &self.key)
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn claims(name: &str, subject: &str, issuer: &KeyPair, nats: Value) -> Value {
    json!({ "iat": now(), "iss": issuer.public_key(), "sub": subject, "name": name, "nats": nats })
}

fn sign(claims: &Value, key: &KeyPair) -> Result<String, Error> {
    let mut claims = claims.clone();
    // Only a name for the token; the server does not look at it.
    claims["jti"] = crate::sha256_hex(claims.to_string().as_bytes())[..32].into();
    jwt::sign(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }), &claims, |text| Ok(key.sign(text)?))
}

/// A raw public key as NATS writes users.
fn public_key_text(raw: &[u8; 32]) -> String {
    // What `nkeys` does for a key pair, which cannot be made of the public half alone: the prefix of a user, the
    // key, and a CRC-16 (XMODEM), little end first, in base32.
    const USER: u8 = 20 << 3;
    let mut bytes = vec![USER];
    bytes.extend(raw);
    let crc = bytes.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 })
    });
    bytes.extend(crc.to_le_bytes());
    base32(&bytes)
}

fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect::<Vec<u8>>();
    let letter = |group: &[u8]| {
        let value = group.iter().fold(0_usize, |value, bit| value << 1 | usize::from(*bit)) << (5 - group.len());
        char::from(ALPHABET[value])
    };
    bits.chunks(5).map(letter).collect()
}

/// The seed of a user whose key was made of these bytes.
///
/// # Errors
/// Never for 32 bytes.
pub fn user_seed(seed: &[u8; 32]) -> Result<String, Error> {
    Ok(KeyPair::new_from_raw(KeyPairType::User, *seed)?.seed()?)
}

/// A user's token and seed as a `.creds` file has them.
#[must_use]
pub fn credentials(token: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// A new operator's seed.
///
/// # Errors
/// If there are no random bytes.
pub fn new_operator() -> Result<String, Error> {
    Ok(format!("{}\n", new_key(KeyPairType::Operator)?.seed()?))
}

/// A new account, as [`AccountSigner::read`] reads it: the key that signs its users, and its public key. Nobody
/// needs its own key again, so nobody has it.
///
/// # Errors
/// If there are no random bytes.
pub fn new_account() -> Result<String, Error> {
    let account = new_key(KeyPairType::Account)?.public_key();
    account_file(&account, &new_key(KeyPairType::Account)?.seed()?)
}

fn account_file(account: &str, seed: &str) -> Result<String, Error> {
    Ok(format!("# The key that signs users of the account, and the account.\n{seed}\n{account}\n"))
}

/// The same account with a new key that signs.
///
/// # Errors
/// If the file cannot be read.
pub fn rotated_account(file: &str) -> Result<String, Error> {
    let signer = AccountSigner::read(file)?;
    account_file(&signer.account, &new_key(KeyPairType::Account)?.seed()?)
}

/// The part of a NATS server's configuration about who is who: the operator, and the accounts `MESOS` and `SYS`.
/// `before` is what the file held so far, whose last signing key and system account stay good.
///
/// # Errors
/// If a seed cannot be read.
pub fn accounts_conf(operator_seed: &str, account_file: &str, before: Option<&str>) -> Result<String, Error> {
    let operator = read_seed(operator_seed.trim(), "SO")?;
    let signer = AccountSigner::read(account_file)?;
    let known = before.map(Known::read).unwrap_or_default();
    let system = match known.system {
        Some(system) => system,
        None => new_key(KeyPairType::Account)?.public_key(),
    };
    let mut signing = vec![signer.key.public_key()];
    signing.extend(known.signing.into_iter().filter(|key| *key != signer.key.public_key()));
    signing.truncate(SIGNING_KEYS_MAX);
    let nats = json!({ "system_account": system, "type": "operator", "version": 2 });
    // Unchanged: a server takes up other accounts while it runs, but no other operator.
    let operator_jwt = match known.operator.filter(|(_, key)| *key == operator.public_key()) {
        Some((token, _)) => token,
        None => sign(&claims("mesos", &operator.public_key(), &operator, nats), &operator)?,
    };
    let mesos_jwt = account_jwt("MESOS", &signer.account, &operator, &signing)?;
    let system_jwt = account_jwt("SYS", &system, &operator, &[])?;
    let account = &signer.account;
    Ok(format!(
        "# Who may use this server. Include it in the server's configuration:  include nats-accounts.conf\n\
         # `nats-server --signal reload` takes a new one up without a restart.\n\
         operator: {operator_jwt}\n\
         system_account: {system}\n\
         resolver: MEMORY\n\
         resolver_preload: {{\n\
         \x20 # MESOS\n\
         \x20 {account}: {mesos_jwt}\n\
         \x20 # SYS\n\
         \x20 {system}: {system_jwt}\n\
         }}\n"
    ))
}

fn account_jwt(name: &str, account: &str, operator: &KeyPair, signing: &[String]) -> Result<String, Error> {
    // No JetStream, no leaf nodes, nothing shared with another account.
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": 0, "imports": 0, "exports": 0, "wildcards": false,
        "disallow_bearer": true,
    });
    let mut nats =
        json!({ "limits": limits, "default_permissions": {"pub": {}, "sub": {}}, "type": "account", "version": 2 });
    if !signing.is_empty() {
        nats["signing_keys"] = signing.into();
    }
    sign(&claims(name, account, operator, nats), operator)
}

/// What an earlier configuration of ours says.
#[derive(Default)]
struct Known {
    /// The operator's JWT and its key.
    operator: Option<(String, String)>,
    system: Option<String>,
    signing: Vec<String>,
}

impl Known {
    fn read(conf: &str) -> Known {
        let lines = || conf.lines().map(str::trim).filter_map(|line| line.split_once(": "));
        let system = lines().find(|(key, _)| *key == "system_account").map(|(_, value)| value.to_owned());
        let operator = lines().find(|(key, _)| *key == "operator").and_then(|(_, token)| {
            let claims: Value = jwt::Parts::read(token).ok()?.claims().ok()?;
            Some((token.to_owned(), claims["sub"].as_str()?.to_owned()))
        });
        let signing = lines().filter_map(|(_, token)| {
            let claims: Value = jwt::Parts::read(token).ok()?.claims().ok()?;
            let keys = claims["nats"]["signing_keys"].as_array()?.clone();
            Some(keys.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect::<Vec<_>>())
        });
        Known { operator, system, signing: signing.flatten().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(token: &str) -> Value {
        jwt::Parts::read(token).unwrap().claims().unwrap()
    }

    #[test]
    fn a_public_key_is_written_as_nkeys_writes_it() {
        for seed in [[0; 32], [7; 32], [255; 32]] {
            let pair = KeyPair::new_from_raw(KeyPairType::User, seed).unwrap();
            let (_, raw) = nkeys::from_public_key(&pair.public_key()).unwrap();
            assert_eq!(public_key_text(&raw), pair.public_key());
        }
    }

    #[test]
    fn an_agent_may_use_its_own_subjects_and_no_others() {
        let signer = AccountSigner::read(&new_account().unwrap()).unwrap();
        let token = signer.agent("c", &AgentId::from("l-S1"), 1, &[1; 32], Duration::from_secs(60)).unwrap();
        let nats = said(&token)["nats"].clone();
        let says = ["mesos.c.allocator.agent.l-S1", "mesos.c.registry.agent.l-S1", "_INBOX.l-S1.>"];
        assert_eq!(nats["pub"]["allow"], json!(says));
        let hears = [
            "mesos.c.agent.l-S1",
            "mesos.c.agent.00000000-0000-0000-0000-000000000001",
            "mesos.c.files.l-S1",
            "mesos.c.agents",
            "_INBOX.l-S1.>",
        ];
        assert_eq!(nats["sub"]["allow"], json!(hears));
        assert_eq!(nats["issuer_account"], json!(signer.account));
    }

    #[test]
    fn the_signing_key_before_stays_good_for_one_rotation() {
        let operator = new_operator().unwrap();
        let first = new_account().unwrap();
        let key = |file: &str| AccountSigner::read(file).unwrap().key.public_key();
        let conf = accounts_conf(&operator, &first, None).unwrap();
        let second = rotated_account(&first).unwrap();
        let rotated = accounts_conf(&operator, &second, Some(&conf)).unwrap();
        let (known, again) = (Known::read(&conf), Known::read(&rotated));
        assert_eq!(known.signing, [key(&first)]);
        assert_eq!(again.signing, [key(&second), key(&first)]);
        assert_eq!((known.system, known.operator), (again.system, again.operator));
        let third = rotated_account(&second).unwrap();
        let last = Known::read(&accounts_conf(&operator, &third, Some(&rotated)).unwrap());
        assert_eq!(last.signing, [key(&third), key(&second)]);
    }

    #[test]
    fn what_is_no_seed_is_refused() {
        let user = KeyPair::new_user().seed().unwrap();
        for bad in ["", "x", "SAAA", user.as_str()] {
            assert!(AccountSigner::read(bad).unwrap_err().0.contains("SA"), "{bad}");
        }
    }
}

//! Everything that a cluster needs to know who is who, as named files: the folder of `mesos pki init`.
//!
//! Only what is missing is made, from what is there: a run that was cut short is finished by the next one, and
//! nothing is ever written over. [`rotate`] makes new what it is asked to, and keeps what came before good for one
//! more rotation where that is possible.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Error,
    authority::{self, Authority},
    files::{PUBLIC, SECRET},
    nats, sha256_hex,
    token::{self, Claims, Role, TokenKeys},
};

/// How long `operator.token` is good for.
const OPERATOR_TOKEN_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A file of the folder.
#[derive(Clone, Copy, Debug)]
pub struct FileKind {
    /// Its name.
    pub name: &'static str,
    /// What it is for and who needs it.
    pub about: &'static str,
    /// Its mode.
    pub mode: u32,
}

const fn secret(name: &'static str, about: &'static str) -> FileKind {
    FileKind { name, about, mode: SECRET }
}

const fn public(name: &'static str, about: &'static str) -> FileKind {
    FileKind { name, about, mode: PUBLIC }
}

/// All files, each after those that it is made from.
pub const FILES: [FileKind; 17] = [
    secret("ca.key", "signs certificates; a gateway needs it (--ca-key) to admit agents"),
    public("ca.crt", "the cluster's CA; whoever connects trusts it (--ca-cert, --nats-ca, --redis-ca)"),
    secret("gateway.key", "the gateways' TLS key (--tls-key)"),
    public("gateway.crt", "the gateways' TLS certificate (--tls-cert)"),
    secret("nats.key", "the NATS servers' TLS key"),
    public("nats.crt", "the NATS servers' TLS certificate"),
    secret("redis.key", "the Redis servers' TLS key"),
    public("redis.crt", "the Redis servers' TLS certificate"),
    secret("token.key", "signs and verifies tokens at the gateways (--token-key)"),
    secret("operator.token", "an operator's token, good for a year (MESOS_TOKEN_FILE)"),
    secret(
        "nats-operator.seed",
        "signs nats-accounts.conf; only `mesos pki rotate` needs it: keep it away from the cluster",
    ),
    secret("nats-account.seed", "signs agents' NATS users at the gateways (--nats-account-seed)"),
    public("nats-accounts.conf", "operator, accounts and resolver; nats-server includes it"),
    secret("control.creds", "NATS credentials of allocator, registry and gateway (--nats-credentials)"),
    secret("redis-password", "the Redis password of allocator, registry and gateway (--redis-password-file)"),
    secret("redis-users.acl", "the Redis user `mesos` with that password (aclfile in redis.conf)"),
    public("README", "what each file is for"),
];

/// Files by name.
pub type Files = BTreeMap<String, String>;

/// What a folder is for.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The cluster's name (`--cluster`).
    pub name: String,
    /// Names and addresses by which gateways, NATS and Redis are reached.
    pub hosts: Vec<String>,
}

/// What can be made anew.
pub const ROTATES: [(&str, &str); 8] = [
    ("ca", "a new CA and all certificates that it signs; the old CA stays trusted until the next rotation"),
    ("gateway", "the gateways' key and certificate"),
    ("nats", "the NATS servers' key and certificate"),
    ("redis", "the Redis servers' key and certificate"),
    ("token-key", "a new key for tokens; those of the key before stay good until the next rotation"),
    ("operator-token", "a new token for an operator"),
    (
        "nats-account",
        "a new key for NATS users and new control.creds; what the key before signed stays good until the next rotation",
    ),
    ("redis-password", "a new Redis password; the one before stays good until the next rotation"),
];

/// Makes what is missing in `files`, from what is there. Gives the names of what was made.
///
/// # Errors
/// If a file that is there cannot be used, or a host is none.
pub fn complete(files: &mut Files, cluster: &Cluster) -> Result<Vec<&'static str>, Error> {
    let mut made = Vec::new();
    for kind in FILES {
        if files.contains_key(kind.name) {
            continue;
        }
        let contents = make(kind.name, files, cluster)?;
        files.insert(kind.name.to_owned(), contents);
        made.push(kind.name);
    }
    Ok(made)
}

fn part<'a>(files: &'a Files, name: &str) -> Result<&'a str, Error> {
    files.get(name).map(String::as_str).ok_or_else(|| Error::new(format!("{name} is missing")))
}

fn in_file<T>(name: &str, outcome: Result<T, Error>) -> Result<T, Error> {
    outcome.map_err(|error| Error::new(format!("{name}: {error}")))
}

fn token_keys(files: &Files) -> Result<TokenKeys, Error> {
    in_file("token.key", TokenKeys::read(part(files, "token.key")?))
}

fn ca(files: &Files) -> Result<Authority, Error> {
    in_file("ca.crt, ca.key", Authority::read(part(files, "ca.crt")?, part(files, "ca.key")?))
}

fn make(name: &str, files: &Files, cluster: &Cluster) -> Result<String, Error> {
    let server = |key: &str| {
        // By this name a server is reached from its own host, as probes do.
        let mut hosts = cluster.hosts.clone();
        for own in ["localhost", "127.0.0.1"] {
            if !hosts.iter().any(|host| host == own) {
                hosts.push(own.to_owned());
            }
        }
        ca(files)?.server(part(files, key)?, &hosts)
    };
    match name {
        "ca.key" | "gateway.key" | "nats.key" | "redis.key" => authority::new_key(),
        "ca.crt" => in_file("ca.key", authority::self_signed(&cluster.name, part(files, "ca.key")?)),
        "gateway.crt" => server("gateway.key"),
        "nats.crt" => server("nats.key"),
        "redis.crt" => server("redis.key"),
        "token.key" => Ok(TokenKeys::generate()?.to_pem()),
        "operator.token" => {
            let claims = Claims::new("operator", Role::Operator, OPERATOR_TOKEN_LIFE, Some(&cluster.name));
            Ok(format!("{}\n", token_keys(files)?.sign(&claims)?))
        }
        "nats-operator.seed" => nats::new_operator(),
        "nats-account.seed" => nats::new_account(),
        "nats-accounts.conf" => {
            nats::accounts_conf(part(files, "nats-operator.seed")?, part(files, "nats-account.seed")?, None)
        }
        "control.creds" => in_file(
            "nats-account.seed",
            nats::AccountSigner::read(part(files, "nats-account.seed")?)
                .and_then(|signer| signer.control(&cluster.name)),
        ),
        "redis-password" => Ok(format!("{}\n", token::password()?)),
        "redis-users.acl" if cluster.name.contains(char::is_whitespace) => {
            Err(Error::new("redis-users.acl: Redis takes no name of a cluster with spaces in it"))
        }
        "redis-users.acl" => {
            Ok(redis_acl(&cluster.name, &[sha256_hex(part(files, "redis-password")?.trim().as_bytes())]))
        }
        _ => Ok(readme()),
    }
}

fn readme() -> String {
    let mut text =
        "What `mesos pki init` made. Files with mode 600 are secrets: copy each only to who needs it.\n\n".to_owned();
    for kind in FILES.iter().filter(|kind| kind.name != "README") {
        text.push_str(&format!("{:<20} {}\n", kind.name, kind.about));
    }
    text.push_str("\n`mesos pki rotate` makes them new, `mesos pki show` says until when they are good.\n");
    text
}

/// The commands that the control plane uses, by hand and in its scripts. What Redis's own replication and Sentinel
/// need is for whoever runs Redis to add.
const REDIS_COMMANDS: &str = "+info +time +evalsha +script|load +hget +hmget +hset +hdel +hscan +exists +del +xadd +xrange \
                              +xread +xtrim +xinfo|stream";

fn redis_acl(cluster: &str, hashes: &[String]) -> String {
    let passwords: Vec<String> = hashes.iter().map(|hash| format!("#{hash}")).collect();
    // An ACL's pattern is a glob.
    let tag: String =
        cluster.chars().flat_map(|c| "*?[]\\".contains(c).then_some('\\').into_iter().chain([c])).collect();
    // One user a line, and no comments: Redis takes none.
    format!(
        "user default off\nuser mesos on {} resetkeys ~{{mesos:{tag}}}:* resetchannels -@all {REDIS_COMMANDS}\n",
        passwords.join(" ")
    )
}

/// Makes one of [`ROTATES`] anew. Gives the names of the files that changed.
///
/// # Errors
/// If there is no such thing, or a file cannot be used.
pub fn rotate(files: &mut Files, cluster: &Cluster, what: &str) -> Result<Vec<&'static str>, Error> {
    let gone: &[&'static str] = match what {
        "ca" => {
            let old = part(files, "ca.crt")?;
            // Of the old ones the last that signed: the ones before have had their time.
            let first = authority::ders(old)?.swap_remove(0);
            let kept = pem::encode_config(&pem::Pem::new("CERTIFICATE", first), crate::files::PEM);
            let key = authority::new_key()?;
            let new = authority::self_signed(&cluster.name, &key)?;
            files.insert("ca.key".to_owned(), key);
            files.insert("ca.crt".to_owned(), format!("{new}{kept}"));
            let signed = ["gateway.crt", "nats.crt", "redis.crt"];
            signed.iter().for_each(|name| drop(files.remove(*name)));
            complete(files, cluster)?;
            return Ok(vec!["ca.key", "ca.crt", "gateway.crt", "nats.crt", "redis.crt"]);
        }
        "gateway" => &["gateway.key", "gateway.crt"],
        "nats" => &["nats.key", "nats.crt"],
        "redis" => &["redis.key", "redis.crt"],
        "operator-token" => &["operator.token"],
        "token-key" => {
            let keys = token_keys(files)?.rotated()?;
            files.insert("token.key".to_owned(), keys.to_pem());
            files.remove("operator.token");
            complete(files, cluster)?;
            return Ok(vec!["token.key", "operator.token"]);
        }
        "nats-account" => {
            let account = in_file("nats-account.seed", nats::rotated_account(part(files, "nats-account.seed")?))?;
            let before = files.get("nats-accounts.conf").map(String::as_str);
            let conf = nats::accounts_conf(part(files, "nats-operator.seed")?, &account, before)?;
            files.insert("nats-account.seed".to_owned(), account);
            files.insert("nats-accounts.conf".to_owned(), conf);
            files.remove("control.creds");
            complete(files, cluster)?;
            return Ok(vec!["nats-account.seed", "nats-accounts.conf", "control.creds"]);
        }
        "redis-password" => {
            let old = sha256_hex(part(files, "redis-password")?.trim().as_bytes());
            let new = format!("{}\n", token::password()?);
            let acl = redis_acl(&cluster.name, &[sha256_hex(new.trim().as_bytes()), old]);
            files.insert("redis-password".to_owned(), new);
            files.insert("redis-users.acl".to_owned(), acl);
            return Ok(vec!["redis-password", "redis-users.acl"]);
        }
        other => {
            let names: Vec<&str> = ROTATES.iter().map(|(name, _)| *name).collect();
            let shown: String = other.escape_debug().take(40).collect();
            return Err(Error::new(format!("there is no '{shown}' to rotate; there are {}", names.join(", "))));
        }
    };
    gone.iter().for_each(|name| drop(files.remove(*name)));
    complete(files, cluster)?;
    Ok(gone.to_vec())
}

/// Until when something is good: a name, and seconds since 1970.
///
/// # Errors
/// If a file that is there cannot be used.
pub fn ends(files: &Files) -> Result<Vec<(&'static str, u64)>, Error> {
    let mut ends = Vec::new();
    for kind in FILES.iter().filter(|kind| kind.name.ends_with(".crt")) {
        if let Some(pem) = files.get(kind.name) {
            ends.push((kind.name, in_file(kind.name, authority::validity(pem))?.1));
        }
    }
    if let Some(token) = files.get("operator.token") {
        let claims = crate::jwt::Parts::read(token.trim()).and_then(|parts| parts.claims::<Claims>());
        ends.push(("operator.token", in_file("operator.token", claims)?.exp));
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster { name: "c-1".to_owned(), hosts: vec!["master.example".to_owned(), "10.0.0.1".to_owned()] }
    }

    fn made() -> Files {
        let mut files = Files::new();
        assert_eq!(complete(&mut files, &cluster()).unwrap().len(), FILES.len());
        files
    }

    #[test]
    fn whatever_a_run_that_was_cut_short_has_left_is_completed() {
        let mut whole = made();
        for cut in 0..FILES.len() {
            let mut files: Files =
                FILES[..cut].iter().map(|kind| (kind.name.to_owned(), whole[kind.name].clone())).collect();
            let made = complete(&mut files, &cluster()).unwrap();
            assert_eq!(made.len(), FILES.len() - cut);
            for kind in &FILES[..cut] {
                assert_eq!(files[kind.name], whole[kind.name], "{} was written over", kind.name);
            }
            ca(&files).unwrap();
            token_keys(&files).unwrap().verify(files["operator.token"].trim(), "c-1").unwrap();
            assert!(files["redis-users.acl"].contains(&sha256_hex(files["redis-password"].trim().as_bytes())));
        }
        assert!(complete(&mut whole, &cluster()).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let mut files = made();
        files.insert("token.key".to_owned(), "x".to_owned());
        files.remove("operator.token");
        assert!(complete(&mut files, &cluster()).unwrap_err().0.starts_with("token.key: "));
        let bad = Cluster { hosts: vec!["a b".to_owned()], ..cluster() };
        assert!(complete(&mut Files::new(), &bad).unwrap_err().0.contains("'a b'"));
    }

    #[test]
    fn what_is_rotated_is_new_and_the_old_is_good_for_one_more() {
        let before = made();
        for (what, _) in ROTATES {
            let mut files = before.clone();
            let changed = rotate(&mut files, &cluster(), what).unwrap();
            for kind in FILES {
                let same = files[kind.name] == before[kind.name];
                assert_eq!(same, !changed.contains(&kind.name), "{what}: {}", kind.name);
            }
            ca(&files).unwrap();
            let keys = token_keys(&files).unwrap();
            for token in [&before["operator.token"], &files["operator.token"]] {
                keys.verify(token.trim(), "c-1").unwrap();
            }
            assert!(files["redis-users.acl"].contains(&sha256_hex(before["redis-password"].trim().as_bytes())));
        }
        let mut files = before;
        rotate(&mut files, &cluster(), "ca").unwrap();
        assert_eq!(authority::ders(&files["ca.crt"]).unwrap().len(), 2);
        rotate(&mut files, &cluster(), "ca").unwrap();
        assert_eq!(authority::ders(&files["ca.crt"]).unwrap().len(), 2);
        assert!(rotate(&mut files, &cluster(), "x").unwrap_err().0.contains("token-key"));
    }

    #[test]
    fn the_user_of_redis_may_do_what_the_documentation_says() {
        let docs = include_str!("../../../docs/security.md");
        let documented = docs.lines().find(|line| line.starts_with("user mesos on ")).unwrap();
        let made = redis_acl("mesos", &["HASH".to_owned()]);
        assert_eq!(made.lines().nth(1).unwrap(), documented.replace(">PASSWORD", "#HASH"));
    }

    #[test]
    fn every_end_is_known() {
        let ends = ends(&made()).unwrap();
        assert_eq!(ends.len(), 5);
        assert!(ends.iter().all(|(_, end)| *end > crate::now() + 300 * 24 * 3600));
    }
}

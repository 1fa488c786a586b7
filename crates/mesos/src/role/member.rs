//! How an agent joins a cluster that wants to know who it is, and what shows that from then on.
//!
//! `<work-dir>/identity/` holds one key, which stays, and what it was given for it: a certificate, a NATS user and a
//! token for its link, all good for a day. Whatever connects reads the files at each connect, so renewing them is
//! enough.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use mesos_agent::Identity;
use mesos_identity::{authority, files, join, nats, now};
use mesos_model::{AgentId, uuid_text};
use mesos_proto::{
    dial::{Access, Address, Token},
    services::v1::{AgentIdentity, JoinRequest, RenewRequest, agents_client::AgentsClient},
};
use tonic::{Code, Status, transport::Channel};

use super::agent::MASTER_PORT;

/// How long a renewal that failed waits before it is tried again, at most.
const RETRY_MAX: Duration = Duration::from_secs(60);
const RETRY_MIN: Duration = Duration::from_millis(500);
/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the clock is looked at: a host that slept does not notice that time passed.
const LOOK: Duration = Duration::from_secs(30);

const KEY: &str = "agent.key";
const CERTIFICATE: &str = "agent.crt";
const CA: &str = "ca.crt";
const CREDENTIALS: &str = "agent.creds";
const TOKEN: &str = "agent.token";

/// What an agent is told about joining.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct JoinArgs {
    /// The one-time token with which this agent joins: `mesos token create --agent` makes one
    #[arg(long, value_name = "TOKEN", conflicts_with = "join_token_file")]
    join_token: Option<String>,

    /// The file that the token is in
    #[arg(long, value_name = "FILE")]
    join_token_file: Option<PathBuf>,

    /// The CA that signed the master's certificate, read at each connect [default: the one of the cluster that was
    /// joined, or those that the system trusts]
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,

    /// The hash of the CA's certificate, as `mesos token create --agent` prints it: the CA is fetched at joining
    #[arg(long, value_name = "sha256:HEX", conflicts_with = "ca_cert", value_parser = parse_hash)]
    ca_hash: Option<String>,
}

fn parse_hash(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64);
    let fine = digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if fine { Ok(text.to_ascii_lowercase()) } else { Err("expected sha256: and 64 hexadecimal digits".to_owned()) }
}

impl JoinArgs {
    fn token(&self) -> Result<Option<String>, String> {
        let named = |path: &PathBuf| files::read(path).map_err(|error| format!("--join-token-file {error}"));
        let token = match (&self.join_token, &self.join_token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => Some(named(path)?),
            (None, None) => None,
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if let Some(token) = &token {
            join::hash(token).map_err(|error| format!("--join-token: {error}"))?;
        }
        Ok(token)
    }
}

/// Where an agent's identity is, and who it is.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    dir: PathBuf,
    masters: Vec<String>,
    ca: Option<PathBuf>,
    instance: String,
    /// Its id, if it has joined.
    pub(crate) agent: Option<AgentId>,
}

impl Member {
    /// Finds out who this agent is, and joins if it has to and can. Without a token and without an identity it stays
    /// as it is, for a cluster that asks nobody.
    ///
    /// # Errors
    /// Says what is wrong and what to do.
    pub(crate) async fn of(
        work_dir: &Path,
        args: &JoinArgs,
        masters: &[String],
        identity: &Identity,
    ) -> Result<Member, String> {
        let dir = work_dir.join("identity");
        let joined_ca = dir.join(CA);
        let token = args.token()?;
        let mut member = Member {
            ca: args.ca_cert.clone().or_else(|| joined_ca.exists().then_some(joined_ca)),
            masters: masters.to_vec(),
            instance: uuid_text(identity.instance),
            agent: None,
            dir,
        };
        let ends = member.validity()?;
        if ends.is_some_and(|(_, end)| end > now()) {
            member.agent = identity.agent.clone().or(member.named()?);
            return Ok(member);
        }
        match (token, ends) {
            (Some(token), _) => member.join(&token, args, identity).await?,
            (None, Some(_)) => return Err(member.ended()),
            (None, None) => {}
        }
        Ok(member)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn ended(&self) -> String {
        format!(
            "the certificate in {} has ended, for this host was away too long: make another join token with \
             `mesos token create --agent` and start the agent with --join-token once",
            self.dir.display()
        )
    }

    /// From when to when the certificate is good, if there is one.
    fn validity(&self) -> Result<Option<(u64, u64)>, String> {
        let path = self.path(CERTIFICATE);
        if !path.exists() {
            return Ok(None);
        }
        let pem = files::read(&path).map_err(|error| error.to_string())?;
        authority::validity(&pem).map(Some).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The id in the certificate.
    fn named(&self) -> Result<Option<AgentId>, String> {
        let path = self.path(CERTIFICATE);
        let pem = files::read(&path).map_err(|error| error.to_string())?;
        authority::agent_named(&pem).map(Some).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// How to reach a gateway: as who it is, or with the CA alone.
    pub(crate) fn access(&self) -> Access {
        let token = self.path(TOKEN);
        Access {
            ca: self.ca.clone(),
            identity: self.agent.is_some().then(|| (self.path(CERTIFICATE), self.path(KEY))),
            token: token.exists().then_some(Token::File(token)),
            ..Access::default()
        }
    }

    /// The CA of the cluster, if it is known.
    pub(crate) fn ca(&self) -> Option<PathBuf> {
        self.ca.clone()
    }

    /// The credentials for NATS, if the cluster has given any.
    pub(crate) fn nats_credentials(&self) -> Option<PathBuf> {
        Some(self.path(CREDENTIALS)).filter(|path| self.agent.is_some() && path.exists())
    }

    /// Where this agent's answers over NATS go, if it has joined: it may hear no other inbox.
    pub(crate) fn nats_inbox(&self) -> Option<String> {
        self.agent.as_ref().map(nats::agent_inbox)
    }

    fn key(&self) -> Result<String, String> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|error| format!("{}: cannot be made: {error}", self.dir.display()))?;
        let path = self.path(KEY);
        let text = |error: mesos_identity::Error| error.to_string();
        if path.exists() {
            return files::read(&path).map_err(text);
        }
        let key = join::new_agent_key().map_err(text)?;
        files::write_new(&path, key.as_bytes(), files::SECRET).map_err(text)?;
        Ok(key)
    }

    async fn join(&mut self, token: &str, args: &JoinArgs, identity: &Identity) -> Result<(), String> {
        if self.masters.is_empty() {
            return Err("--join-token: name the master to join: --master=https://host:5050".to_owned());
        }
        let key = self.key()?;
        let csr = authority::request(&key).map_err(|error| format!("{}: {error}", self.path(KEY).display()))?;
        if let Some(hash) = &args.ca_hash {
            self.fetch_ca(hash).await?;
        }
        let request = JoinRequest {
            token: token.to_owned(),
            csr,
            instance: self.instance.clone(),
            agent_id: identity.agent.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
        };
        let mut wait = RETRY_MIN;
        loop {
            let mut last = String::new();
            for master in &self.masters {
                // Without a token of its own yet.
                let access = Access { ca: self.ca.clone(), ..Access::default() };
                match client(master, &access).await {
                    Err(why) => last = format!("{master}: {why}"),
                    Ok(mut client) => match client.join(request.clone()).await {
                        Ok(given) => return self.keep(&given.into_inner(), &key),
                        Err(status) if is_transient(&status) => last = format!("{master}: {}", status.message()),
                        Err(status) => return Err(format!("--join-token: {}", status.message())),
                    },
                }
            }
            tracing::warn!("cannot join yet: {last}; trying again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(10));
        }
    }

    /// Asks a master for the CA and takes it if its hash is the one that was named.
    async fn fetch_ca(&mut self, hash: &str) -> Result<(), String> {
        // Whoever answers: what comes is believed only if its hash fits.
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .timeout(PATIENCE)
            .build()
            .map_err(|error| error.to_string())?;
        let path = self.path(CA);
        let mut last = String::new();
        for master in &self.masters {
            let address = Address::parse(master, MASTER_PORT)?;
            let scheme = if address.tls { "https" } else { "http" };
            let url = format!("{scheme}://{}:{}/v1/agents/ca", address.host, address.port);
            let fetched = async { client.get(url).send().await?.error_for_status()?.text().await };
            match fetched.await {
                Err(error) => last = format!("{master}: {error}"),
                Ok(pem) => {
                    let ders = authority::ders(&pem).map_err(|error| format!("--ca-hash: {master}: {error}"))?;
                    if authority::hash(&ders[0]) != hash {
                        return Err(format!(
                            "--ca-hash: {master} shows another CA, {}; is this the right master?",
                            authority::hash(&ders[0])
                        ));
                    }
                    files::write(&path, pem.as_bytes(), files::PUBLIC).map_err(|error| error.to_string())?;
                    self.ca = Some(path);
                    return Ok(());
                }
            }
        }
        Err(format!("--ca-hash: no master gives its CA: {last}"))
    }

    /// Writes down what was given. The certificate comes last: with it the rest is there.
    fn keep(&mut self, given: &AgentIdentity, key: &str) -> Result<(), String> {
        let write = |name: &str, text: &str, mode| {
            files::write(&self.path(name), text.as_bytes(), mode).map_err(|error| error.to_string())
        };
        write(CA, &given.ca, files::PUBLIC)?;
        if !given.token.is_empty() {
            write(TOKEN, &given.token, files::SECRET)?;
        }
        if !given.nats_jwt.is_empty() {
            let seed = join::nats_seed(key).map_err(|error| error.to_string())?;
            write(CREDENTIALS, &nats::credentials(&given.nats_jwt, &seed), files::SECRET)?;
        }
        write(CERTIFICATE, &given.certificate, files::PUBLIC)?;
        if self.ca.is_none() {
            self.ca = Some(self.path(CA));
        }
        self.agent = Some(AgentId::from(given.agent_id.as_str()));
        Ok(())
    }

    /// Renews at half time, for as long as the agent runs.
    pub(crate) async fn keep_good(mut self) {
        if self.agent.is_none() || self.masters.is_empty() {
            return;
        }
        loop {
            let Ok(Some(validity)) = self.validity() else {
                tracing::error!(dir = %self.dir.display(), "the certificate cannot be read, so it cannot be renewed");
                return;
            };
            let due = authority::renew_at(validity);
            let left = Duration::from_secs(due.saturating_sub(now()));
            if !left.is_zero() {
                tokio::time::sleep(left.min(LOOK)).await;
                continue;
            }
            match self.renew().await {
                Ok(()) => tracing::info!("the agent's certificate is renewed"),
                Err(why) => {
                    let left = Duration::from_secs(validity.1.saturating_sub(now()));
                    if left.is_zero() {
                        tracing::error!("{}; last: {why}", self.ended());
                    } else {
                        tracing::warn!(
                            left_secs = left.as_secs(),
                            "the certificate is not renewed: {why}; trying again"
                        );
                    }
                    tokio::time::sleep((left / 20).clamp(RETRY_MIN, RETRY_MAX)).await;
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<(), String> {
        let key = files::read(&self.path(KEY)).map_err(|error| error.to_string())?;
        let request = RenewRequest {
            certificate: files::read(&self.path(CERTIFICATE)).map_err(|error| error.to_string())?,
            csr: authority::request(&key).map_err(|error| error.to_string())?,
            instance: self.instance.clone(),
        };
        let mut last = "no master is named".to_owned();
        for master in self.masters.clone() {
            match client(&master, &self.access()).await {
                Err(why) => last = format!("{master}: {why}"),
                Ok(mut client) => match client.renew(request.clone()).await {
                    Ok(given) => return self.keep(&given.into_inner(), &key),
                    Err(status) => last = format!("{master}: {}", status.message()),
                },
            }
        }
        Err(last)
    }
}

async fn client(master: &str, access: &Access) -> Result<AgentsClient<Channel>, String> {
    let endpoint = access.endpoint(&Address::parse(master, MASTER_PORT)?).await?;
    let channel = access.connect(endpoint.timeout(PATIENCE)).await?;
    Ok(AgentsClient::new(channel))
}

/// Whether it may be otherwise in a moment.
fn is_transient(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Internal | Code::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_sha256_and_its_digits() {
        let good = format!("sha256:{}", "aB".repeat(32));
        assert_eq!(parse_hash(&good), Ok(good.to_ascii_lowercase()));
        for bad in ["", "sha256:", "md5:00", "sha256:zz", &good[..70]] {
            assert!(parse_hash(bad).is_err(), "{bad}");
        }
    }
}

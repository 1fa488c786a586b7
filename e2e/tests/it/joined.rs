//! A cluster with what `mesos pki init` made: agents join with one-time tokens, and everybody shows who they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesos_e2e::process::Spec;
use mesos_e2e::{Cluster, backends, cli, eventually, ports};
use serde_json::Value;

use crate::support::LATER;

/// How long what an agent gets is good for in these tests: it is renewed every five seconds.
const AGENT_LIFE: &str = "10s";

struct Joined {
    cluster: Cluster,
    nats: u16,
    redis: u16,
    gateway: u16,
}

impl Joined {
    /// NATS, Redis and the control plane, all with TLS and credentials, without an agent.
    async fn start() -> Result<Joined> {
        let joined = Joined {
            cluster: Cluster::with_room().await?,
            nats: ports::free()?,
            redis: ports::free()?,
            gateway: ports::free()?,
        };
        let dir = joined.path("pki").display().to_string();
        cli::run(&[], &["pki", "init", "--dir", &dir, "--host", "127.0.0.1"]).await?.expect(0)?;
        joined.backends()?;
        for service in ["allocator", "registry", "gateway"] {
            let mut args = joined.control();
            if service == "gateway" {
                args.push(format!("--port={}", joined.gateway));
                args.push(format!("--agent-certificate-ttl={AGENT_LIFE}"));
                for (option, name) in [
                    ("--tls-cert", "gateway.crt"),
                    ("--tls-key", "gateway.key"),
                    ("--ca-cert", "ca.crt"),
                    ("--ca-key", "ca.key"),
                    ("--token-key", "token.key"),
                    ("--nats-account-seed", "nats-account.seed"),
                ] {
                    args.push(joined.file(option, name));
                }
            }
            joined.add(service, service, args)?;
        }
        Ok(joined)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cluster.directory().join(name)
    }

    fn pki(&self, name: &str) -> String {
        self.path("pki").join(name).display().to_string()
    }

    fn file(&self, option: &str, name: &str) -> String {
        format!("{option}={}", self.pki(name))
    }

    fn control(&self) -> Vec<String> {
        vec![
            format!("--nats-url=tls://127.0.0.1:{}", self.nats),
            self.file("--nats-ca", "ca.crt"),
            self.file("--nats-credentials", "control.creds"),
            format!("--redis-url=rediss://127.0.0.1:{}", self.redis),
            self.file("--redis-ca", "ca.crt"),
            "--redis-username=mesos".to_owned(),
            self.file("--redis-password-file", "redis-password"),
            "--wait".to_owned(),
        ]
    }

    fn backends(&self) -> Result<()> {
        let conf = format!(
            "include {:?}\ntls {{ cert_file: {:?}, key_file: {:?}, timeout: 5 }}\n",
            "pki/nats-accounts.conf",
            self.pki("nats.crt"),
            self.pki("nats.key")
        );
        std::fs::write(self.path("nats.conf"), conf)?;
        let mut nats = backends::nats(self.cluster.directory(), self.nats)?;
        nats.args.extend(["-c".to_owned(), self.path("nats.conf").display().to_string()]);
        self.cluster.add(nats)?;
        let mut redis = backends::redis(self.cluster.directory(), 0)?;
        for (name, value) in [
            ("--tls-port", self.redis.to_string()),
            ("--tls-cert-file", self.pki("redis.crt")),
            ("--tls-key-file", self.pki("redis.key")),
            ("--tls-ca-cert-file", self.pki("ca.crt")),
            ("--tls-auth-clients", "no".to_owned()),
            ("--aclfile", self.pki("redis-users.acl")),
        ] {
            redis.args.extend([name.to_owned(), value]);
        }
        self.cluster.add(redis)
    }

    fn add(&self, name: &str, role: &str, mut args: Vec<String>) -> Result<()> {
        args.insert(0, role.to_owned());
        let log = self.path(&format!("{name}.log"));
        let spec = Spec { name: name.to_owned(), program: backends::mesos_binary()?, args, env: BTreeMap::new(), log };
        self.cluster.add(spec)
    }

    fn master(&self) -> String {
        format!("https://127.0.0.1:{}", self.gateway)
    }

    fn agent_args(&self, name: &str) -> Vec<String> {
        vec![
            format!("--master={}", self.master()),
            format!("--work-dir={}", self.path(name).display()),
            "--port=0".to_owned(),
            "--resources=cpus:4;mem:4096;disk:20000".to_owned(),
        ]
    }

    /// As the operator whose token `mesos pki init` made.
    async fn mesos(&self, args: &[&str]) -> Result<cli::Outcome> {
        self.mesos_as(&self.pki("operator.token"), args).await
    }

    async fn mesos_as(&self, token_file: &str, args: &[&str]) -> Result<cli::Outcome> {
        let (master, ca) = (self.master(), self.pki("ca.crt"));
        let env = [("MESOS_MASTER", master.as_str()), ("MESOS_CA_CERT", ca.as_str()), ("MESOS_TOKEN_FILE", token_file)];
        cli::run(&env, args).await
    }

    /// A join token, and the options with which an agent joins.
    async fn join_token(&self) -> Result<(String, Vec<String>)> {
        let mut made = Value::Null;
        eventually(LATER, "a join token is made", async || {
            made = self.mesos(&["token", "create", "--agent", "-o", "json"]).await?.json()?;
            Ok(true)
        })
        .await?;
        let text = |name: &str| made[name].as_str().map(str::to_owned).context("the token is not told");
        let token = text("token")?;
        let options = vec![format!("--join-token={token}"), format!("--ca-hash={}", text("ca_hash")?)];
        Ok((token, options))
    }

    async fn wait_for_agents(&self, count: usize) -> Result<()> {
        eventually(LATER, &format!("{count} agents are there"), async || {
            let agents = self.mesos(&["agents", "-o", "json"]).await?.json()?;
            Ok(agents.as_array().is_some_and(|agents| agents.len() == count))
        })
        .await
    }

    /// What is written when an agent's certificate is.
    fn certificate(&self, agent: &str) -> Result<String> {
        let path = self.path(agent).join("identity/agent.crt");
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f78_agents_join_with_a_token_once_and_renew_what_they_got_while_tasks_run() -> Result<()> {
    let joined = Joined::start().await?;
    // One knows only its master; the other speaks over NATS after it has joined there.
    let (used, options) = joined.join_token().await?;
    let mut args = joined.agent_args("agent-link");
    args.extend(options);
    joined.add("agent-link", "agent", args)?;
    let (_, options) = joined.join_token().await?;
    let mut args = joined.agent_args("agent-nats");
    args.extend(options);
    args.push(format!("--nats-url=tls://127.0.0.1:{}", joined.nats));
    joined.add("agent-nats", "agent", args)?;
    joined.wait_for_agents(2).await?;

    let third = format!("--work-dir={}", joined.path("thief").display());
    let (master, ca) = (format!("--master={}", joined.master()), joined.file("--ca-cert", "ca.crt"));
    let token = format!("--join-token={used}");
    cli::run(&[], &["agent", &master, &ca, &third, &token, "--port=0", "--resources=cpus:1;mem:64", "--log-level=off"])
        .await?
        .one_clear_line(&["the join token was used already", "mesos token create --agent"])?;
    cli::run(&[], &["agent", &master, &ca, &third, "--port=0", "--resources=cpus:1;mem:64", "--log-level=off"])
        .await?
        .one_clear_line(&["an agent has to join first", "--join-token"])?;

    for name in ["steady-1", "steady-2"] {
        // One on each, for neither has room for two.
        let args = ["spawn", "--name", name, "--cpus", "3", "--mem", "64MB", "--command", "sleep 600"];
        joined.mesos(&args).await?.expect(0)?;
    }
    let running = async || {
        let tasks = joined.mesos(&["ps", "-o", "json"]).await?.json()?;
        let tasks = tasks.as_array().cloned().unwrap_or_default();
        Ok::<usize, anyhow::Error>(tasks.iter().filter(|task| task["state"] == "TASK_RUNNING").count())
    };
    eventually(LATER, "both tasks run", async || Ok(running().await? == 2)).await?;
    for agent in ["agent-link", "agent-nats"] {
        let mut last = joined.certificate(agent)?;
        for _ in 0..3 {
            eventually(Duration::from_secs(60), &format!("{agent} renews"), async || {
                Ok(joined.certificate(agent)? != last)
            })
            .await?;
            last = joined.certificate(agent)?;
        }
    }
    ensure!(running().await? == 2, "a task was lost: {}", joined.mesos(&["ps"]).await?.stdout);
    let output = joined.mesos(&["launch", "--cpus", "0.1", "--command", "echo still in"]).await?.expect(0)?;
    ensure!(output.stdout.contains("still in"), "{output:?}");

    // An agent that was away for longer than its certificate says what to do, and keeps its id when it joins again.
    joined.cluster.kill_9("agent-link")?;
    let before = joined.mesos(&["agents", "-o", "json"]).await?.json()?;
    let mut args = vec!["agent".to_owned()];
    args.extend(joined.agent_args("agent-link"));
    args.push("--log-level=off".to_owned());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ended = async || {
        let (_, end) = mesos_identity::authority::validity(&joined.certificate("agent-link")?)?;
        Ok(end < mesos_identity::now())
    };
    eventually(Duration::from_secs(60), "the certificate ends", ended).await?;
    cli::run(&[], &args).await?.one_clear_line(&["was away too long", "--join-token"])?;
    let (_, options) = joined.join_token().await?;
    joined.cluster.with("agent-link", |agent| {
        agent.spec_mut().args.retain(|arg| !arg.starts_with("--join-token") && !arg.starts_with("--ca-hash"));
        agent.spec_mut().args.extend(options);
        agent.restart()
    })?;
    eventually(LATER, "its task is found again", async || Ok(running().await? == 2)).await?;
    let ids = |agents: &Value| -> Vec<Value> {
        agents.as_array().into_iter().flatten().map(|agent| agent["id"].clone()).collect()
    };
    let after = joined.mesos(&["agents", "-o", "json"]).await?.json()?;
    ensure!(ids(&before) == ids(&after), "{before} became {after}");
    joined.cluster.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_decide_who_may_do_what_and_their_key_is_rotated() -> Result<()> {
    let joined = Joined::start().await?;
    joined.wait_for_agents(0).await?;
    let framework = joined.path("framework.token").display().to_string();
    let key = joined.pki("token.key");
    let create = ["token", "create", "--subject", "ads", "--role", "framework", "--token-key", &key];
    let made = cli::run(&[], &create).await?.expect(0)?;
    std::fs::write(&framework, made.stdout)?;
    joined.mesos_as(&framework, &["frameworks"]).await?.expect(0)?;
    for args in [
        vec!["quota", "set", "web", "--limit", "cpus:1"],
        vec!["token", "create", "--agent"],
        vec!["spawn", "--command", "true"],
        vec!["weights", "set", "web=2"],
    ] {
        joined.mesos_as(&framework, &args).await?.one_clear_line(&["role operator", "'ads'"])?;
    }
    let (master, ca) = (joined.master(), joined.pki("ca.crt"));
    cli::run(&[("MESOS_MASTER", &master), ("MESOS_CA_CERT", &ca)], &["agents"])
        .await?
        .one_clear_line(&["a token is needed", "MESOS_TOKEN"])?;

    let old = joined.path("old.token").display().to_string();
    std::fs::copy(joined.pki("operator.token"), &old)?;
    let dir = joined.path("pki").display().to_string();
    cli::run(&[], &["pki", "rotate", "--dir", &dir, "token-key"]).await?.expect(0)?;
    eventually(LATER, "the new key counts", async || Ok(joined.mesos(&["agents"]).await?.code == Some(0))).await?;
    joined.mesos_as(&old, &["agents"]).await?.expect(0)?;
    cli::run(&[], &["pki", "rotate", "--dir", &dir, "token-key"]).await?.expect(0)?;
    eventually(LATER, "the first key counts no more", async || {
        Ok(joined.mesos_as(&old, &["agents"]).await?.code != Some(0))
    })
    .await?;
    joined.mesos(&["agents"]).await?.expect(0)?;
    joined.cluster.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_keys_is_made_once_and_finished_after_a_run_that_was_cut_short() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = Cluster::empty()?;
    let dir = cluster.directory().join("pki");
    let text = dir.display().to_string();
    let init = ["pki", "init", "--dir", &text, "--host", "m.example", "10.0.0.1"];
    cli::run(&[], &init).await?.expect(0)?;
    for name in ["ca.key", "gateway.key", "token.key", "operator.token", "control.creds", "redis-password"] {
        let mode = std::fs::metadata(dir.join(name))?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{name} has mode {mode:o}");
    }
    cli::run(&[], &init).await?.one_clear_line(&["everything is there already", "mesos pki rotate"])?;
    let key = std::fs::read(dir.join("ca.key"))?;
    for name in ["gateway.crt", "control.creds", "README"] {
        std::fs::remove_file(dir.join(name))?;
    }
    cli::run(&[], &init).await?.expect(0)?;
    ensure!(std::fs::read(dir.join("ca.key"))? == key && dir.join("control.creds").exists());
    cli::run(&[], &["pki", "init", "--dir", &text, "--host", "a b"]).await?.one_clear_line(&["--host", "'a b'"])?;
    let other = ["pki", "init", "--dir", &text, "--host", "m", "--cluster", "other"];
    cli::run(&[], &other).await?.one_clear_line(&["it is for the cluster 'mesos'"])?;
    cli::run(&[], &["pki", "rotate", "--dir", &text, "everything"]).await?.one_clear_line(&["token-key"])?;
    let shown = cli::run(&[], &["pki", "show", "--dir", &text]).await?.expect(0)?.stdout;
    ensure!(shown.contains("m.example 10.0.0.1") && shown.contains("until 20"), "{shown}");
    cluster.finish()
}

//! A cluster whose every link is encrypted and asks who is there; and one whose door is opened the wrong way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesos_e2e::process::Spec;
use mesos_e2e::{Cluster, backends, cli, eventually, ports};
use mesos_ports::conformance::certificates::Authority;
use mesos_ports::conformance::nats_users::Account;
use mesos_sdk::{Access, Event, Options, SchedulerClient, v1};
use nix::sys::signal::Signal;

use crate::support::LATER;

/// The one line of the documentation with what the user of Redis may do.
fn redis_user() -> Result<&'static str> {
    let docs = include_str!("../../../docs/security.md");
    docs.lines().find(|line| line.starts_with("user mesos on ")).context("docs/security.md has no user of Redis")
}

/// NATS, Redis, every service, one agent on NATS and one that knows only its master.
struct Secured {
    cluster: Cluster,
    authority: Authority,
    account: Account,
    nats: u16,
    redis: u16,
    gateway: u16,
}

/// How long the first credentials on NATS last: as long as it takes to start everything.
const FIRST_CREDENTIALS: Duration = Duration::from_secs(60);

impl Secured {
    async fn start() -> Result<Secured> {
        let cluster = Cluster::with_room().await?;
        let secured = Secured {
            authority: Authority::new(),
            account: Account::new(),
            nats: ports::free()?,
            redis: ports::free()?,
            gateway: ports::free()?,
            cluster,
        };
        let dir = secured.cluster.directory();
        secured.authority.write(dir);
        for name in ["nats", "redis", "gateway"] {
            secured.authority.issue(&["127.0.0.1"]).write(dir, name);
        }
        secured.account.write_user(&secured.path("control.creds"), Some(FIRST_CREDENTIALS));
        secured.write("redis-password", "first\n")?;
        secured.backends()?;
        secured.services()?;
        eventually(LATER, "two agents are there", async || {
            let agents = secured.mesos(&["agents", "-o", "json"]).await?.json()?;
            Ok(agents.as_array().is_some_and(|agents| agents.len() == 2))
        })
        .await?;
        Ok(secured)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cluster.directory().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.path(name), text)?)
    }

    fn backends(&self) -> Result<()> {
        let text = |name: &str| self.path(name).display().to_string();
        self.write(
            "nats.conf",
            &format!(
                "{}tls {{ cert_file: {:?}, key_file: {:?}, timeout: 5 }}\n",
                self.account.server_config(),
                text("nats.crt"),
                text("nats.key")
            ),
        )?;
        let mut nats = backends::nats(self.cluster.directory(), self.nats)?;
        nats.args.extend(["-c".to_owned(), text("nats.conf")]);
        self.cluster.add(nats)?;

        let user = redis_user()?.replace(">PASSWORD", ">first");
        self.write("redis-users.acl", &format!("user default on >admin ~* &* +@all\n{user}\n"))?;
        let mut redis = backends::redis(self.cluster.directory(), 0)?;
        for (name, value) in [
            ("--tls-port", self.redis.to_string()),
            ("--tls-cert-file", text("redis.crt")),
            ("--tls-key-file", text("redis.key")),
            ("--tls-ca-cert-file", text("ca.crt")),
            ("--tls-auth-clients", "no".to_owned()),
            ("--aclfile", text("redis-users.acl")),
        ] {
            redis.args.extend([name.to_owned(), value]);
        }
        self.cluster.add(redis)
    }

    fn services(&self) -> Result<()> {
        let file = |option: &str, name: &str| format!("{option}={}", self.path(name).display());
        let nats = || {
            vec![
                format!("--nats-url=tls://127.0.0.1:{}", self.nats),
                file("--nats-ca", "ca.crt"),
                file("--nats-credentials", "control.creds"),
                "--wait".to_owned(),
            ]
        };
        let control = || {
            let mut args = nats();
            args.push(format!("--redis-url=rediss://127.0.0.1:{}", self.redis));
            args.push(file("--redis-ca", "ca.crt"));
            args.push("--redis-username=mesos".to_owned());
            args.push(file("--redis-password-file", "redis-password"));
            args
        };
        self.service("allocator", control())?;
        self.service("registry", control())?;
        let mut gateway = control();
        gateway.push(format!("--port={}", self.gateway));
        gateway.extend([
            file("--tls-cert", "gateway.crt"),
            file("--tls-key", "gateway.key"),
            file("--ca-cert", "ca.crt"),
        ]);
        self.service("gateway", gateway)?;
        for (name, mut args) in [
            ("agent-nats", nats()),
            ("agent-link", vec![format!("--master={}", self.master()), file("--ca-cert", "ca.crt")]),
        ] {
            args.push("--resources=cpus:16;mem:16384;disk:20000".to_owned());
            args.extend([file("--work-dir", name), "--port=0".to_owned()]);
            args.insert(0, "agent".to_owned());
            self.cluster.add(self.spec(name, args)?)?;
        }
        Ok(())
    }

    fn service(&self, name: &str, mut args: Vec<String>) -> Result<()> {
        args.insert(0, name.to_owned());
        self.cluster.add(self.spec(name, args)?)
    }

    fn spec(&self, name: &str, args: Vec<String>) -> Result<Spec> {
        let log = self.path(&format!("{name}.log"));
        Ok(Spec { name: name.to_owned(), program: backends::mesos_binary()?, args, env: BTreeMap::new(), log })
    }

    fn master(&self) -> String {
        format!("https://127.0.0.1:{}", self.gateway)
    }

    /// As somebody who knows the cluster.
    async fn mesos(&self, args: &[&str]) -> Result<cli::Outcome> {
        let (master, ca) = (self.master(), self.path("ca.crt").display().to_string());
        cli::run(&[("MESOS_MASTER", master.as_str()), ("MESOS_CA_CERT", ca.as_str())], args).await
    }

    fn redis_admin(&self, words: &[&str]) -> Result<()> {
        let output = Command::new("redis-cli")
            .args(["--tls", "--no-auth-warning", "-h", "127.0.0.1", "-p", &self.redis.to_string(), "--cacert"])
            .arg(self.path("ca.crt"))
            .args(["--user", "default", "--pass", "admin", "-e"])
            .args(words)
            .output()
            .context("redis-cli, which comes with redis-server")?;
        ensure!(output.status.success(), "{words:?}: {output:?}");
        Ok(())
    }

    /// New certificates of a new authority everywhere, a new password, new credentials: each file is written over the
    /// one before, the two backends are told, and no service of ours is.
    async fn rotate(&self) -> Result<Authority> {
        let next = Authority::new();
        self.write("ca.crt", &format!("{}{}", self.authority.pem(), next.pem()))?;
        for name in ["nats", "redis", "gateway"] {
            next.issue(&["127.0.0.1"]).write(self.cluster.directory(), name);
        }
        self.account.write_user(&self.path("control.creds"), None);

        self.redis_admin(&["ACL", "SETUSER", "mesos", ">second"])?;
        self.write("redis-password", "second\n")?;
        self.redis_admin(&["ACL", "SETUSER", "mesos", "<first"])?;
        let (certificate, key) = (self.path("redis.crt"), self.path("redis.key"));
        let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
        self.redis_admin(&["CONFIG", "SET", "tls-cert-file", &certificate, "tls-key-file", &key])?;
        self.redis_admin(&["CLIENT", "KILL", "USER", "mesos"])?;

        self.cluster.with("nats", |nats| nats.signal(Signal::SIGHUP))?;
        eventually(LATER, "the gateway shows its new certificate", async || {
            Ok(self.cluster.log("gateway")?.contains("new certificates are in use"))
        })
        .await?;
        eventually(FIRST_CREDENTIALS + LATER, "all are on NATS with their new credentials", async || {
            let back =
                |name: &&str| self.cluster.log(name).is_ok_and(|log| log.contains("the connection to NATS is back"));
            Ok(["allocator", "registry", "gateway", "agent-nats"].iter().all(back))
        })
        .await?;
        Ok(next)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_encrypted_and_what_lets_it_in_changes_while_tasks_launch() -> Result<()> {
    let secured = Secured::start().await?;
    let output = secured.mesos(&["launch", "--command", "echo over TLS"]).await?.expect(0)?;
    ensure!(output.stdout.contains("over TLS"), "{output:?}");

    // A framework of its own comes in by the same door.
    let info = v1::FrameworkInfo { name: "sdk".into(), user: "root".into(), ..Default::default() };
    let access = Access { ca: Some(secured.path("ca.crt")), ..Access::default() };
    let options = Options { access, ..Options::default() };
    let (framework, mut events) = SchedulerClient::connect(&[secured.master()], info, options)?;
    let subscribed = tokio::time::timeout(LATER, events.next()).await.context("the framework is let in")?;
    ensure!(matches!(subscribed, Some(Event::Subscribed { .. })), "{subscribed:?}");
    framework.teardown().await?;

    let (over, launched) = (AtomicBool::new(false), AtomicUsize::new(0));
    let launching = async {
        while !over.load(Ordering::SeqCst) {
            let name = format!("t{}", launched.load(Ordering::SeqCst));
            secured
                .mesos(&["launch", "--name", &name, "--cpus", "0.1", "--mem", "16MB", "--command", "true"])
                .await?
                .expect(0)?;
            launched.fetch_add(1, Ordering::SeqCst);
        }
        Ok::<_, anyhow::Error>(())
    };
    let rotating = async {
        let next = secured.rotate().await;
        let before = launched.load(Ordering::SeqCst);
        // And with nothing left of what was there before.
        if let Ok(next) = &next {
            secured.write("ca.crt", &next.pem())?;
            eventually(LATER, "tasks are launched with the new CA only", async || {
                Ok(launched.load(Ordering::SeqCst) >= before + 3)
            })
            .await?;
        }
        over.store(true, Ordering::SeqCst);
        next.map(drop)
    };
    // Whichever fails ends the test, so that neither waits for the other.
    tokio::try_join!(launching, rotating)?;
    let launched = launched.into_inner();
    println!("{launched} tasks were launched while everything was replaced");
    ensure!(launched >= 3, "only {launched} tasks were launched meanwhile");
    secured.cluster.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_clients_are_refused_with_a_line_that_says_what_to_do() -> Result<()> {
    let secured = Secured::start().await?;
    let address = format!("127.0.0.1:{}", secured.gateway);
    let ca = secured.path("ca.crt").display().to_string();
    cli::mesos(&address, &["agents"]).await?.one_clear_line(&["this port speaks TLS", "https://"])?;
    cli::mesos(&secured.master(), &["agents"]).await?.one_clear_line(&["--ca-cert"])?;
    let answer = mesos_e2e::http().get(format!("http://{address}/health")).send().await?;
    ensure!(answer.status() == 400 && answer.text().await?.contains("https://"));

    let (nats, redis) = (format!("--nats-url=tls://127.0.0.1:{}", secured.nats), secured.redis);
    let nats_ca = format!("--nats-ca={ca}");
    let credentials = format!("--nats-credentials={}", secured.path("control.creds").display());
    let tls = format!("--redis-url=rediss://127.0.0.1:{redis}");
    let redis_ca = format!("--redis-ca={ca}");
    for (args, words) in [
        (vec!["allocator", &nats, &tls], vec!["--nats-url", "--nats-ca"]),
        (vec!["allocator", &nats, &nats_ca, &tls], vec!["--nats-url", "--nats-credentials"]),
        (vec!["allocator", &nats, &nats_ca, &credentials, &tls], vec!["--redis-url", "--redis-ca"]),
        (
            vec!["allocator", &nats, &nats_ca, &credentials, &tls, &redis_ca],
            vec!["--redis-url", "--redis-password-file"],
        ),
    ] {
        let mut args = args;
        args.push("--log-level=off");
        cli::run(&[], &args).await?.one_clear_line(&words)?;
    }
    let plain = format!("--redis-url=redis://127.0.0.1:{redis}");
    cli::run(&[], &["allocator", &nats, &nats_ca, &credentials, &plain, "--log-level=off"])
        .await?
        .one_clear_line(&["--redis-url", "rediss"])?;
    secured.cluster.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_is_not_opened_to_others_without_certificates_and_tokens() -> Result<()> {
    let cluster = Cluster::with_room().await?;
    let work = format!("--work-dir={}", cluster.directory().join("master").display());
    for service in ["master", "local"] {
        for (args, words) in [
            (vec!["--ip=0.0.0.0"], vec!["--ip 0.0.0.0", "--tls-cert", "--token-key", "mesos pki init"]),
            (vec!["--ip=0.0.0.0", "--insecure"], vec!["--insecure refuses other addresses", "mesos pki init"]),
            (
                vec!["--tls-cert=missing.crt", "--tls-key=missing.key"],
                vec!["--tls-cert", "missing.crt", "cannot be read"],
            ),
        ] {
            let mut all = vec![service, &work, "--port=0"];
            all.extend(args);
            cli::run(&[], &all).await?.one_clear_line(&words)?;
        }
    }
    cluster.finish()
}

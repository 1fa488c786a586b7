//! A release of the chart, and an agent outside of Kubernetes that is part of its cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::cli::{self, Outcome};
use mesos_e2e::host::{self, HostProcess};
use mesos_e2e::kube::{self, Kube};
use mesos_e2e::process::{Process, Spec, sweep};
use mesos_e2e::{backends, eventually, eventually_some, packages, ports};
use serde_json::Value;
use tempfile::TempDir;

/// Images of this build, as two versions of the same.
pub(crate) const VERSIONS: [&str; 2] = ["e2e-1", "e2e-2"];

/// Helm's name of it.
const NAME: &str = "mesos";

/// A release.
pub(crate) struct Release {
    pub(crate) kube: Kube,
    pub(crate) namespace: &'static str,
    port: u16,
    directory: TempDir,
    agents: Vec<Process>,
}

/// Makes the images of the binary that is tested.
async fn images() -> Result<()> {
    let tags = VERSIONS.map(|version| format!("mesos:{version}"));
    packages::image(&tags[0])?;
    kube::run("docker", &["tag", &tags[0], &tags[1]], &[]).await?.expect(0).map(drop)
}

impl Release {
    /// A Kubernetes that runs and has the images, with an empty namespace; nothing is installed yet.
    pub(crate) async fn prepare(namespace: &'static str, port: u16) -> Result<Self> {
        let kube = Kube::up().await?;
        images().await?;
        kube.load(&VERSIONS.map(|version| format!("mesos:{version}")).each_ref().map(String::as_str)).await?;
        kube.namespace(namespace).await?;
        let directory = tempfile::Builder::new().prefix("mesos-kube-").tempdir()?;
        Ok(Self { kube, namespace, port, directory, agents: Vec::new() })
    }

    /// Runs `helm install` or `helm upgrade` with what all of them need here, and what one of them adds.
    pub(crate) async fn helm(&self, verb: &[&str], more: &[&str]) -> Result<Outcome> {
        let (chart, port) = (kube::chart(), format!("gateway.service.nodePort={}", self.port));
        let mut words: Vec<&str> = verb.to_vec();
        words.extend([NAME, &chart, "-n", self.namespace, "--wait", "--set", &port]);
        words.extend(["--set-string", "nats.image.tag=1,redis.image.tag=1"]);
        for set in [
            "gateway.service.type=NodePort",
            "nats.image.repository=mesos-e2e/nats",
            "redis.image.repository=mesos-e2e/redis",
            // The node's own DNS server is not behind the usual port.
            "networkPolicy.dnsPorts={53,10053}",
            "tls.hosts={10.245.0.2}",
        ] {
            words.extend(["--set", set]);
        }
        words.extend(more);
        let outcome = self.kube.helm(&words).await?;
        if outcome.code != Some(0) && !more.contains(&"--timeout=20s") {
            eprintln!("{}", self.kube.describe(self.namespace).await);
        }
        Ok(outcome)
    }

    /// Runs a command of helm that names the release.
    pub(crate) async fn plain(&self, verb: &str, more: &[&str]) -> Result<Outcome> {
        let words: Vec<&str> = [verb, NAME, "-n", self.namespace].iter().chain(more).copied().collect();
        self.kube.helm(&words).await
    }

    /// The gateway, as its clients outside of Kubernetes name it.
    pub(crate) fn url(&self) -> String {
        format!("https://{}:{}", kube::NODE, self.port)
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Variables with which clients reach the gateway.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MESOS_MASTER", self.url()),
            ("MESOS_CA_CERT", self.file("ca.crt")),
            ("MESOS_TOKEN_FILE", self.file("operator.token")),
        ]
    }

    /// A URL of the gateway's HTTP API.
    pub(crate) fn http_url(&self, path: &str) -> String {
        format!("{}{path}", self.url())
    }

    /// A client of that API which keeps so many connections for its next calls.
    pub(crate) fn http_client(&self, kept: usize) -> Result<reqwest::Client> {
        // Installs the TLS provider, if nobody has yet.
        mesos_e2e::http();
        let ca = std::fs::read(self.file("ca.crt"))?;
        let token = std::fs::read_to_string(self.file("operator.token"))?;
        let bearer = format!("Bearer {}", token.trim()).parse().context("the token is no header's value")?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(kept)
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(&ca)?)
            .default_headers([(reqwest::header::AUTHORIZATION, bearer)].into_iter().collect());
        Ok(client.build()?)
    }

    /// Runs a command of the client.
    pub(crate) async fn mesos(&self, args: &[&str]) -> Result<Outcome> {
        let env = self.env();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        cli::run(&env, args).await
    }

    /// Fetches what clients need, as the release's notes say.
    pub(crate) async fn fetch_identity(&self) -> Result<()> {
        for (secret, file) in [("mesos-ca", "ca.crt"), ("mesos-operator", "operator.token")] {
            let template = format!("go-template={{{{index .data \"{file}\" | base64decode}}}}");
            let text = self.kube.kubectl(&["-n", self.namespace, "get", "secret", secret, "-o", &template]).await?;
            std::fs::write(self.file(file), text)?;
        }
        Ok(())
    }

    /// Waits until nothing of it runs any more.
    pub(crate) async fn is_gone(&self) -> Result<()> {
        eventually(Duration::from_secs(90), "all pods are gone", async || {
            let left = self.kube.pods(self.namespace, "app.kubernetes.io/name=mesos").await?;
            ensure!(left.is_empty(), "{left:?} are left");
            Ok(true)
        })
        .await
    }

    /// Restarts the servers of a kind one after the other, as an operator does.
    pub(crate) async fn roll(&self, servers: &str, limit: Duration) -> Result<()> {
        self.kube.kubectl(&["-n", self.namespace, "rollout", "restart", servers]).await?;
        let limit = format!("--timeout={}s", limit.as_secs());
        self.kube.kubectl(&["-n", self.namespace, "rollout", "status", servers, &limit]).await.map(drop)
    }

    /// The lines with these words in the logs of the pods with these labels.
    pub(crate) async fn logged(&self, labels: &str, words: &str) -> Result<Vec<String>> {
        let all = self
            .kube
            .kubectl(&["-n", self.namespace, "logs", "-l", labels, "--tail=-1", "--prefix", "--max-log-requests=20"])
            .await?;
        Ok(all.lines().filter(|line| line.contains(words)).map(str::to_owned).collect())
    }

    /// Starts an agent on this host that joins by the node's port, and waits until it is offered.
    pub(crate) async fn join(&mut self) -> Result<()> {
        let number = self.agents.len();
        let token = self.mesos(&["token", "create", "--agent"]).await?.expect(0)?.stdout;
        let work = self.directory.path().join(format!("agent-{number}"));
        let args = vec![
            "agent".to_owned(),
            format!("--work-dir={}", work.display()),
            format!("--master={}", self.url()),
            format!("--ca-cert={}", self.file("ca.crt")),
            format!("--join-token={}", token.trim()),
            format!("--port={}", ports::free()?),
            "--resources=cpus:8;mem:4096;disk:1000".to_owned(),
            "--containerizers=mesos".to_owned(),
            "--wait".to_owned(),
        ];
        self.agents.push(Process::start(Spec {
            name: format!("agent-{number}"),
            program: backends::mesos_binary()?,
            args,
            env: BTreeMap::new(),
            log: self.directory.path().join(format!("agent-{number}.log")),
        })?);
        let wanted = self.agents.len();
        let joined = eventually(Duration::from_secs(30), "the agent joins", async || {
            let agents = self.mesos(&["agents", "-o", "json"]).await?.json()?;
            let count = agents.as_array().map_or(0, Vec::len);
            if count < wanted {
                bail!("{agents}");
            }
            Ok(true)
        })
        .await;
        joined.with_context(|| self.agents[number].log_tail(20))
    }

    /// Launches a task that does nothing and follows it to its end, as a user would; what it wrote.
    pub(crate) async fn launch(&self) -> Result<String> {
        Ok(self.mesos(&["launch", "--name=short", "--command=echo done"]).await?.expect(0)?.stdout)
    }

    /// Launches one as soon as that is possible again.
    pub(crate) async fn launch_within(&self, limit: Duration) -> Result<()> {
        eventually(limit, "a task can be launched", async || self.launch().await.map(|_| true)).await
    }

    /// Starts a task that stays, and gives its process on this host.
    pub(crate) async fn spawn_witness(&self) -> Result<Witness> {
        let spawned =
            self.mesos(&["spawn", "--name=witness", "--command=exec sleep 100000", "-o", "json"]).await?.json()?;
        let framework = spawned["framework_id"].as_str().context("spawn names no framework")?;
        let task = spawned["task_ids"][0].as_str().context("spawn names no task")?;
        let process = eventually_some(Duration::from_secs(30), "the witness runs", async || {
            Ok(host::tasks(framework, "sleep")?.remove(task))
        })
        .await?;
        Ok(Witness { task: task.to_owned(), process })
    }

    /// Waits until the cluster says that the witness runs.
    pub(crate) async fn knows(&self, witness: &Witness) -> Result<()> {
        eventually(Duration::from_secs(60), "the cluster knows its task", async || {
            let tasks = self.mesos(&["ps", "-o", "json"]).await?.json()?;
            let running = |task: &Value| task["id"] == *witness.task && task["state"] == "TASK_RUNNING";
            Ok(tasks.as_array().is_some_and(|tasks| tasks.iter().any(running)))
        })
        .await
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        // Tasks outlive their agents, so they are ended by the folder that they are in.
        self.agents.clear();
        sweep(self.directory.path());
    }
}

/// A task that must run through everything that is done to the control plane.
pub(crate) struct Witness {
    task: String,
    process: HostProcess,
}

impl Witness {
    /// Fails unless the very process still runs.
    pub(crate) fn still_runs(&self, after: &str) -> Result<()> {
        ensure!(self.process.runs(), "the task is gone after {after}");
        Ok(())
    }
}

//! A real Kubernetes of one node (`scripts/kube`), and `helm` and `kubectl` on it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::backends;
use crate::cli::Outcome;
use crate::wait::eventually;

/// How long one command may take; those that wait for pods have a shorter limit of their own.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Where the node's ports are, seen from this host.
pub const NODE: &str = "10.245.0.2";
/// What `scripts/setup` makes of the servers on this machine, in place of the official images.
pub const IMAGES: [&str; 2] = ["mesos-e2e/nats:1", "mesos-e2e/redis:1"];

/// A Kubernetes that runs.
#[derive(Clone, Debug)]
pub struct Kube {
    config: PathBuf,
}

impl Kube {
    /// Starts it, unless it runs already; it stays for the next test.
    pub async fn up() -> Result<Self> {
        let script = backends::repository().join("scripts/kube");
        let up = run(&script.display().to_string(), &["up"], &[]).await?.expect(0)?;
        let kube = Self { config: PathBuf::from(up.stdout.trim()) };
        kube.load(&IMAGES).await?;
        Ok(kube)
    }

    /// Gives it images of the local Docker engine.
    pub async fn load(&self, images: &[&str]) -> Result<()> {
        let script = backends::repository().join("scripts/kube").display().to_string();
        let words: Vec<&str> = ["load"].iter().chain(images).copied().collect();
        run(&script, &words, &[]).await?.expect(0).map(drop)
    }

    /// Runs `kubectl`, which must end well; its output.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        Ok(self.client("kubectl", args).await?.expect(0)?.stdout)
    }

    /// Runs `helm`.
    pub async fn helm(&self, args: &[&str]) -> Result<Outcome> {
        self.client("helm", args).await
    }

    async fn client(&self, name: &str, args: &[&str]) -> Result<Outcome> {
        let program = program(name)?;
        run(&program, args, &[("KUBECONFIG", &self.config.display().to_string())]).await
    }

    /// A namespace that takes only pods without privileges. One of an earlier run is removed first, with all in it.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        self.kubectl(&["delete", "namespace", name, "--ignore-not-found", "--wait"]).await?;
        self.kubectl(&["create", "namespace", name]).await?;
        self.kubectl(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]).await.map(drop)?;
        self.free_volumes().await
    }

    /// Volumes whose claim is gone can be claimed again, with what is on them removed.
    async fn free_volumes(&self) -> Result<()> {
        let all: Value = serde_json::from_str(&self.kubectl(&["get", "persistentvolumes", "-o", "json"]).await?)?;
        for volume in all["items"].as_array().into_iter().flatten() {
            if volume["status"]["phase"] != "Released" {
                continue;
            }
            let path = volume["spec"]["hostPath"]["path"].as_str().context("a volume without a path")?;
            for entry in std::fs::read_dir(path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    std::fs::remove_dir_all(entry.path())?;
                } else {
                    std::fs::remove_file(entry.path())?;
                }
            }
            let name = volume["metadata"]["name"].as_str().unwrap_or_default();
            let patch = r#"{"spec": {"claimRef": null}}"#;
            self.kubectl(&["patch", "persistentvolume", name, "--type=merge", "-p", patch]).await?;
        }
        Ok(())
    }

    /// The names of the pods with these labels.
    pub async fn pods(&self, namespace: &str, labels: &str) -> Result<Vec<String>> {
        let names = self
            .kubectl(&["-n", namespace, "get", "pods", "-l", labels, "-o", "jsonpath={.items[*].metadata.name}"])
            .await?;
        Ok(names.split_whitespace().map(str::to_owned).collect())
    }

    /// Ends all processes of pods with SIGKILL, as nothing that is asked politely would end.
    pub async fn kill(&self, namespace: &str, pods: &[String]) -> Result<()> {
        for pod in pods {
            let uid = self.kubectl(&["-n", namespace, "get", "pod", pod, "-o", "jsonpath={.metadata.uid}"]).await?;
            let processes = processes_of(uid.trim())?;
            if processes.is_empty() {
                bail!("{pod} has no processes");
            }
            for process in processes {
                // One that is over by now is as good.
                let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            }
        }
        Ok(())
    }

    /// When each pod of a component started, by name: another time is another pod.
    pub async fn starts(&self, namespace: &str, labels: &str) -> Result<String> {
        let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.startTime}{\"\\n\"}{end}";
        self.kubectl(&["-n", namespace, "get", "pods", "-l", labels, "--sort-by=.metadata.name", "-o", path]).await
    }

    /// Waits until everything that should run in a namespace does.
    pub async fn wait_until_ready(&self, namespace: &str, timeout: Duration) -> Result<()> {
        eventually(timeout, &format!("all pods of {namespace} are ready"), async || {
            let kinds = "deployments,statefulsets";
            let all: Value =
                serde_json::from_str(&self.kubectl(&["-n", namespace, "get", kinds, "-o", "json"]).await?)?;
            for one in all["items"].as_array().into_iter().flatten() {
                let (wanted, ready) = (&one["spec"]["replicas"], &one["status"]["readyReplicas"]);
                if wanted != ready {
                    bail!("{}: {ready} of {wanted} are ready", one["metadata"]["name"]);
                }
            }
            Ok(true)
        })
        .await
    }

    /// What there is to know of a namespace in which something went wrong.
    pub async fn describe(&self, namespace: &str) -> String {
        let mut text = String::new();
        for args in [
            &["-n", namespace, "get", "pods", "-o", "wide"][..],
            &["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"][..],
        ] {
            text.push_str(&self.kubectl(args).await.unwrap_or_else(|error| format!("{error:#}")));
        }
        for pod in self.pods(namespace, "app.kubernetes.io/name=mesos").await.unwrap_or_default() {
            let args = ["-n", namespace, "logs", &pod, "--all-containers", "--tail=15", "--prefix"];
            text.push_str(&self.kubectl(&args).await.unwrap_or_else(|error| format!("{error:#}")));
        }
        text
    }
}

/// The processes on this host that are in a pod's cgroups.
fn processes_of(uid: &str) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if std::fs::read_to_string(entry.path().join("cgroup")).is_ok_and(|cgroups| cgroups.contains(uid)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// A program that `scripts/kube build` makes.
pub fn program(name: &str) -> Result<String> {
    let program = backends::cache().join("kube/bin").join(name);
    if !program.is_file() {
        bail!("{} is not here; run scripts/setup (or scripts/kube build)", program.display());
    }
    Ok(program.display().to_string())
}

/// The linter of rendered charts: CHECKOV, or the one of `scripts/setup`.
pub fn checkov() -> Result<String> {
    let named = std::env::var("CHECKOV").unwrap_or_default();
    let installed = backends::cache().join("terraform/venv/bin/checkov").display().to_string();
    [named, installed]
        .into_iter()
        .find(|path| std::path::Path::new(path).is_file())
        .context("checkov is not here; run scripts/setup")
}

/// The folder of the chart.
pub fn chart() -> String {
    backends::repository().join("charts/mesos").display().to_string()
}

/// Runs a program to its end.
pub async fn run(program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Outcome> {
    let mut command = tokio::process::Command::new(program);
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let text = format!("{program} {}", args.join(" "));
    let output = tokio::time::timeout(TIMEOUT, command.output())
        .await
        .with_context(|| format!("`{text}` did not end within {TIMEOUT:?}"))?
        .with_context(|| format!("`{text}` did not start"))?;
    Ok(Outcome {
        command: text,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

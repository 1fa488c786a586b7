//! What the tests of installed clusters share: commands on the hosts, and work that goes on meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::{Machine, cli, eventually};

/// For what a host does in its own time: boots, restarts, joins.
pub(crate) const HOST: Duration = Duration::from_secs(90);

/// The master of an installed cluster: its host, and how commands there ask it.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    pub(crate) machine: Machine,
    environment: String,
}

impl Master {
    /// On loopback, plain.
    pub(crate) fn plain(machine: &Machine) -> Self {
        Self { machine: machine.clone(), environment: "MESOS_MASTER=127.0.0.1:5050".to_owned() }
    }

    /// On its address, encrypted, with an operator's token that is made there.
    pub(crate) fn secured(machine: &Machine) -> Self {
        let environment = format!(
            "MESOS_MASTER=https://{}:5050 MESOS_CA_CERT=/etc/mesos/pki/ca.crt MESOS_TOKEN=$(mesos token create \
             --subject test --role operator --ttl 1h --token-key /etc/mesos/pki/token.key)",
            machine.address
        );
        Self { machine: machine.clone(), environment }
    }

    /// Runs a command of `mesos` on its host.
    pub(crate) fn mesos(&self, command: &str) -> Result<String> {
        // Whatever is waited for in vain must not keep the test from ending.
        self.machine.run(&format!("{} timeout 120 mesos {command}", self.environment))
    }
}

/// The keys of a cluster whose master is on a host.
pub(crate) async fn keys(directory: &Path, master: &Machine) -> Result<PathBuf> {
    let keys = directory.join("pki");
    let text = keys.display().to_string();
    cli::run(&[], &["pki", "init", "--dir", &text, "--host", &master.address.to_string()]).await?.expect(0)?;
    Ok(keys)
}

/// Waits until so many agents are active.
pub(crate) async fn agents(master: &Master, count: usize) -> Result<()> {
    eventually(HOST, &format!("{count} agents are active"), async || {
        let text = master.mesos("agents")?;
        let active = text.lines().filter(|line| line.split_whitespace().nth(2) == Some("active")).count();
        if active != count {
            bail!("{text}");
        }
        Ok(true)
    })
    .await
}

/// A task that runs for the whole test, as the processes that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lasting {
    id: String,
    /// Its host and its process there.
    places: Vec<(String, String)>,
}

/// Starts a task that stays, and finds its process.
pub(crate) async fn lasting(master: &Master, machines: &[Machine], name: &str) -> Result<Lasting> {
    let id = master.mesos(&format!("spawn --name {name} --cpus 0.1 --mem 32MB --command 'exec sleep 98765'"))?;
    let id = id.trim().to_owned();
    let mut places = Vec::new();
    eventually(HOST, &format!("{id} has a process"), async || {
        places = processes(machines, &id);
        Ok(!places.is_empty())
    })
    .await?;
    ensure!(places.len() == 1, "{id} has processes at {places:?}");
    Ok(Lasting { id, places })
}

impl Lasting {
    /// The host that it runs on.
    pub(crate) fn host(&self) -> &str {
        self.places.first().map_or("", |(host, _)| host)
    }

    /// Fails unless the very same process runs, only that one, and the cluster says so.
    pub(crate) fn runs(&self, master: &Master, machines: &[Machine]) -> Result<()> {
        let now = processes(machines, &self.id);
        ensure!(now == self.places, "{} ran as {:?} and runs as {now:?}", self.id, self.places);
        let text = master.mesos("ps")?;
        let line = text.lines().find(|line| line.contains(&self.id)).with_context(|| format!("not in {text}"))?;
        ensure!(line.contains("TASK_RUNNING"), "{line}");
        Ok(())
    }
}

/// Host, pid and start time of each process of a task that sleeps.
fn processes(machines: &[Machine], id: &str) -> Vec<(String, String)> {
    let look = "for pid in $(pidof sleep); do \
                  grep -qz \"^MESOS_TASK_ID=$1\\$\" /proc/$pid/environ && cut -d ' ' -f 1,22 /proc/$pid/stat; \
                done; true";
    let mut found = Vec::new();
    for machine in machines {
        let text = machine.run(&format!("set -- '{id}'; {look}")).unwrap_or_default();
        found.extend(text.lines().map(|line| (machine.name.clone(), line.to_owned())));
    }
    found
}

/// Short tasks, one after the other, until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    runs: Option<tokio::task::JoinHandle<Result<()>>>,
}

impl Load {
    /// Begins. Each task is launched by a command of its own, which must end well and print what the task did.
    pub(crate) fn start(master: &Master) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (master, ends, counts) = (master.clone(), stop.clone(), done.clone());
        let runs = tokio::task::spawn_blocking(move || {
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                let command = format!("launch --name load --cpus 0.1 --mem 32MB --command 'echo did {number}'");
                let text = match master.mesos(&command) {
                    // The only master is being replaced: nothing was launched, and the user tries again.
                    Err(error) if format!("{error:#}").contains("is not reachable") => continue,
                    other => other.with_context(|| format!("task {number}"))?,
                };
                ensure!(text.contains(&format!("did {number}")), "task {number} printed {text:?}");
                number += 1;
                counts.store(number, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { stop, done, runs: Some(runs) }
    }

    /// Ends it; fails if any task did, and returns how many there were.
    pub(crate) async fn finish(mut self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(runs) = self.runs.take() {
            runs.await.context("the load ended in panic")??;
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

impl Drop for Load {
    /// A test that fails before its end would wait for ever for a thread that goes on.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

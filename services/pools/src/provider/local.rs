//! Agents on this host: each has a folder, and outlives the process that started it.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use mesos_identity::{authority, files, now};
use mesos_runtime::instance;
use tokio::process::{Child, Command};

use super::{Surroundings, attributes, last_line, own_variables, resources};
use crate::{
    definition::Local,
    machine::{Host, Job, Listing, Made},
};

/// How long an agent may take to take its folder.
const START_MAX: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
/// What an agent writes, in its folder, and how large that becomes before it is emptied.
const LOG: &str = "agent.log";
const LOG_MAX: u64 = 16 << 20;
/// Where what is left of nodes is kept, if it is.
const REMOVED: &str = "removed";
/// With what an agent joins, and what it has when it has joined; in its folder.
const JOIN_TOKEN: &str = "join-token";
const CERTIFICATE: &str = "identity/agent.crt";
/// Each agent has this many ports for its tasks, from here on, unless its resources name some: the agents of one host
/// would else all offer the same.
const PORTS_EACH: u64 = 100;
const PORTS_FROM: u64 = 20_000;
const PORTS_PARTS: u64 = 100;

/// The agents of one pool on this host.
#[derive(Debug)]
pub struct LocalProvider {
    pool: String,
    local: Local,
    around: Surroundings,
}

impl LocalProvider {
    /// Hands for a pool.
    #[must_use]
    pub fn new(pool: &str, local: Local, around: Surroundings) -> LocalProvider {
        LocalProvider { pool: pool.to_owned(), local, around }
    }

    fn dir(&self, node: &str) -> PathBuf {
        self.local.dir.join(node)
    }

    /// Which folders there are, and in which of them an agent runs.
    ///
    /// # Errors
    /// If the pool's folder cannot be read.
    pub async fn list(&self) -> Result<Listing, String> {
        let (dir, pool) = (self.local.dir.clone(), self.pool.clone());
        blocking(move || {
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Listing::default()),
                Err(error) => return Err(format!("{}: {error}", dir.display())),
            };
            let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            let hosts = names.filter(|name| number(&pool, name).is_some()).map(|node| {
                let own = dir.join(&node);
                bound_log(&own.join(LOG));
                Host { alive: instance::running(&own, "agent").is_some(), node }
            });
            Ok(Listing { hosts: hosts.collect(), group: None })
        })
        .await
    }

    /// Starts an agent in the node's folder, unless one runs there, and waits until it has taken it.
    ///
    /// # Errors
    /// What the agent said when it did not start.
    pub async fn add(&self, job: &Job) -> Result<Made, String> {
        let dir = self.dir(&job.node);
        let made = |pid: u32| Made { place: Some(format!("pid {pid}")), hostname: None };
        if let Some(pid) = instance::running(&dir, "agent") {
            return Ok(made(pid));
        }
        let join = self.join(&job.node, &dir).await?;
        let mut child = self.start(job, &dir, &join)?;
        let deadline = tokio::time::Instant::now() + START_MAX;
        loop {
            if let Some(pid) = instance::running(&dir, "agent") {
                // Whoever started it takes note of its end, so that it does not stay as a zombie.
                tokio::spawn(async move { child.wait().await });
                return Ok(made(pid));
            }
            if let Ok(Some(status)) = child.try_wait() {
                let said = fs::read_to_string(dir.join(LOG)).ok().as_deref().and_then(last_line);
                return Err(said.unwrap_or_else(|| format!("the agent ended at once, with {status}")));
            }
            if tokio::time::Instant::now() >= deadline {
                let _ = child.kill().await;
                return Err(format!("the agent has not taken {} within {} s", dir.display(), START_MAX.as_secs()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The options with which the node's agent joins, if it has to: not the token itself, which every user of this host
    /// could read then.
    async fn join(&self, node: &str, dir: &Path) -> Result<Vec<String>, String> {
        let own = |option: &str| self.local.agent_args.iter().any(|arg| arg.starts_with(option));
        let needed = self.around.invitations.as_ref().filter(|_| !own("--join-token") && !has_joined(dir));
        let Some(invitations) = needed else { return Ok(Vec::new()) };
        let invitation = invitations.of(node, START_MAX).await?;
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let path = dir.join(JOIN_TOKEN);
        files::write(&path, invitation.token.as_bytes(), files::SECRET).map_err(|error| error.to_string())?;
        let mut options = vec![format!("--join-token-file={}", path.display())];
        if !own("--ca-cert") && !own("--ca-hash") {
            options.push(format!("--ca-hash={}", invitation.ca_hash));
        }
        Ok(options)
    }

    fn start(&self, job: &Job, dir: &Path, join: &[String]) -> Result<Child, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
        fs::create_dir_all(dir).map_err(failed)?;
        // Appended to, so that whoever empties it leaves no hole.
        let path = dir.join(LOG);
        let _ = fs::remove_file(&path);
        let log = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let mut command = Command::new(&self.around.program);
        command
            .arg("agent")
            .arg(format!("--master={}", self.around.gateway))
            .arg(format!("--cluster={}", self.around.cluster))
            .arg(format!("--work-dir={}", dir.display()))
            .arg(format!("--resources={}", self.resources(job)))
            .arg(format!("--attributes={}", attributes(job)))
            .args(join)
            .args(&self.local.agent_args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // Ctrl-C in this process's terminal is not for it.
            .process_group(0);
        own_variables().iter().for_each(|name| _ = command.env_remove(name));
        command.spawn().map_err(|error| format!("{}: {error}", self.around.program.display()))
    }

    fn resources(&self, job: &Job) -> String {
        let text = resources(job);
        let part = number(&self.pool, &job.node).unwrap_or(0) % PORTS_PARTS;
        let from = PORTS_FROM + part * PORTS_EACH;
        format!("{text};ports:[{from}-{}]", from + PORTS_EACH - 1)
    }

    /// Ends the node's agent and takes its folder away.
    ///
    /// # Errors
    /// If the agent does not end, or the folder cannot be taken away.
    pub async fn remove(&self, job: &Job) -> Result<(), String> {
        if let Some(invitations) = &self.around.invitations {
            invitations.forget(&job.node);
        }
        let (dir, node, keep) = (self.dir(&job.node), job.node.clone(), self.local.keep_work_dir);
        blocking(move || {
            // One that was marked gone ends by itself, perhaps just now.
            if let Err(why) = instance::end(&dir, "agent")
                && instance::running(&dir, "agent").is_some()
            {
                return Err(why);
            }
            let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
            if !dir.exists() {
                return Ok(());
            }
            if !keep {
                return fs::remove_dir_all(&dir).map_err(failed);
            }
            let kept = dir.with_file_name(REMOVED);
            fs::create_dir_all(&kept).map_err(failed)?;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            fs::rename(&dir, kept.join(format!("{node}.{now}"))).map_err(failed)
        })
        .await
    }
}

/// Whether the agent of this folder has a certificate that is good, so that it needs no token.
fn has_joined(dir: &Path) -> bool {
    let certificate = files::read(&dir.join(CERTIFICATE));
    certificate.and_then(|pem| authority::validity(&pem)).is_ok_and(|(_, end)| end > now())
}

/// The number of a node of this pool; `None` for what is no node of it.
fn number(pool: &str, node: &str) -> Option<u64> {
    node.strip_prefix(pool)?.strip_prefix('-')?.parse().ok()
}

/// Keeps the newer half of a log that has become too large.
fn bound_log(path: &Path) {
    let Ok(mut file) = File::options().read(true).append(true).open(path) else { return };
    let Ok(length) = file.metadata().map(|found| found.len()) else { return };
    if length <= LOG_MAX {
        return;
    }
    let mut kept = Vec::new();
    let read = file.seek(SeekFrom::Start(length - LOG_MAX / 2)).and_then(|_| file.read_to_end(&mut kept));
    if read.is_ok() && file.set_len(0).is_ok() {
        let _ = std::io::Write::write_all(&mut file, &kept);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grew_too_large_keeps_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG);
        let mut text = vec![b'a'; usize::try_from(LOG_MAX).unwrap()];
        fs::write(&path, &text).unwrap();
        bound_log(&path);
        assert_eq!(fs::metadata(&path).unwrap().len(), LOG_MAX);
        text.extend(b"the end");
        fs::write(&path, &text).unwrap();
        bound_log(&path);
        let kept = fs::read(&path).unwrap();
        assert_eq!(kept.len() as u64, LOG_MAX / 2);
        assert!(kept.ends_with(b"the end"));
    }

    #[test]
    fn a_folder_is_a_node_only_under_its_pools_name() {
        assert_eq!(number("a", "a-12"), Some(12));
        assert_eq!(number("a", "a-1-2"), None);
        assert_eq!(number("a-1", "a-1-2"), Some(2));
        assert_eq!(number("a", REMOVED), None);
    }
}

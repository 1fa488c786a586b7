//! The user's scripts: what they are told, and what they may say. `docs/elastic.md` has the contract.

use std::{path::Path, process::Stdio, time::Duration};

use mesos_model::resources_text::milli_text;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

use super::{Surroundings, attributes, last_line, own_variables, resources};
use crate::{
    definition::Exec,
    invitation::Invitation,
    machine::{Job, Made},
};

/// What is kept of a script's output; the rest is read and dropped.
const OUTPUT_MAX: usize = 64 << 10;
/// Lines of one script that are logged, and how long each may be.
const LINES_MAX: usize = 200;
const LINE_MAX: u64 = 4096;
/// Between the polite signal and the final one, for a script that takes too long.
const GRACE: Duration = Duration::from_secs(5);
/// How long output is read on after the script has ended: what it left running may hold it open.
const DRAIN: Duration = Duration::from_secs(1);

/// The scripts of a pool.
#[derive(Debug)]
pub struct ExecProvider {
    exec: Exec,
    around: Surroundings,
}

/// What a script reads on its standard input.
#[derive(Serialize)]
struct Told<'a> {
    action: &'a str,
    pool: &'a str,
    node: &'a str,
    master: &'a str,
    cluster: &'a str,
    attributes: &'a str,
    resources: &'a str,
    cpus: f64,
    mem_mb: f64,
    place: Option<&'a str>,
    hostname: Option<&'a str>,
    agent_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_hash: Option<&'a str>,
}

/// What the last line of its output may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    place: Option<String>,
    #[serde(default)]
    hostname: Option<String>,
}

impl ExecProvider {
    /// Hands for a pool.
    #[must_use]
    pub fn new(exec: Exec, around: Surroundings) -> ExecProvider {
        ExecProvider { exec, around }
    }

    /// Runs the `add` script.
    ///
    /// # Errors
    /// What it said last, or that it took too long.
    pub async fn add(&self, job: &Job) -> Result<Made, String> {
        let invitation = match &self.around.invitations {
            Some(invitations) => Some(invitations.of(&job.node, self.exec.timeout).await?),
            None => None,
        };
        let output = self.run(&self.exec.add, "add", job, invitation.as_ref()).await?;
        said(&output)
    }

    /// Runs the `remove` script.
    ///
    /// # Errors
    /// What it said last, or that it took too long.
    pub async fn remove(&self, job: &Job) -> Result<(), String> {
        if let Some(invitations) = &self.around.invitations {
            invitations.forget(&job.node);
        }
        self.run(&self.exec.remove, "remove", job, None).await.map(drop)
    }

    async fn run(
        &self,
        script: &Path,
        action: &str,
        job: &Job,
        invitation: Option<&Invitation>,
    ) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", script.display());
        let mut child = self.command(script, action, job, invitation).spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            let told = self.told(action, job, invitation);
            // A script that does not read it may close it.
            tokio::spawn(async move { stdin.write_all(&told).await });
        }
        let output = tokio::spawn(bounded(child.stdout.take()));
        let errors = tokio::spawn(log_lines(child.stderr.take(), job.node.clone(), action.to_owned()));
        let waited = tokio::time::timeout(self.exec.timeout, child.wait()).await;
        let Ok(status) = waited else {
            end(&mut child).await;
            let most = crate::machine::auto::seconds(self.exec.timeout);
            return Err(format!("{} took longer than {most} and was ended", script.display()));
        };
        let status = status.map_err(failed)?;
        let errors = tokio::time::timeout(DRAIN, errors).await.ok().and_then(Result::ok).unwrap_or_default();
        let output = tokio::time::timeout(DRAIN, output).await.ok().and_then(Result::ok).unwrap_or_default();
        if status.success() {
            return Ok(output);
        }
        let why = last_line(&errors).or_else(|| last_line(&output)).unwrap_or_else(|| "it said nothing".to_owned());
        let how = status.code().map_or_else(|| "was ended by a signal".to_owned(), |code| format!("ended with {code}"));
        Err(format!("{} {how}: {why}", script.display()))
    }

    fn command(&self, script: &Path, action: &str, job: &Job, invitation: Option<&Invitation>) -> Command {
        let mut command = Command::new(script);
        own_variables().iter().for_each(|name| _ = command.env_remove(name));
        let text = |option: &Option<String>| option.clone().unwrap_or_default();
        let agent = job.agent.as_ref().map(|id| id.as_str().to_owned());
        command
            .env("MESOS_ACTION", action)
            .env("MESOS_POOL", &job.pool)
            .env("MESOS_NODE", &job.node)
            .env("MESOS_MASTER", &self.around.master)
            .env("MESOS_CLUSTER", &self.around.cluster)
            .env("MESOS_ATTRIBUTES", attributes(job))
            .env("MESOS_RESOURCES", resources(job))
            .env("MESOS_NODE_CPUS", milli_text(job.resources.scalar("cpus")))
            .env("MESOS_NODE_MEM_MB", milli_text(job.resources.scalar("mem")))
            .env("MESOS_NODE_PLACE", text(&job.place))
            .env("MESOS_NODE_HOSTNAME", text(&job.hostname))
            .env("MESOS_AGENT_ID", text(&agent))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What it starts ends with it when it takes too long.
            .process_group(0);
        if let Some(invitation) = invitation {
            command.env("MESOS_JOIN_TOKEN", &invitation.token).env("MESOS_CA_HASH", &invitation.ca_hash);
        }
        command
    }

    fn told(&self, action: &str, job: &Job, invitation: Option<&Invitation>) -> Vec<u8> {
        let (attributes, resources) = (attributes(job), resources(job));
        let told = Told {
            action,
            pool: &job.pool,
            node: &job.node,
            master: &self.around.master,
            cluster: &self.around.cluster,
            attributes: &attributes,
            resources: &resources,
            cpus: job.resources.scalar("cpus") as f64 / 1000.0,
            mem_mb: job.resources.scalar("mem") as f64 / 1000.0,
            place: job.place.as_deref(),
            hostname: job.hostname.as_deref(),
            agent_id: job.agent.as_ref().map(|id| id.as_str()),
            join_token: invitation.map(|invitation| invitation.token.as_str()),
            ca_hash: invitation.map(|invitation| invitation.ca_hash.as_str()),
        };
        let mut text = serde_json::to_vec(&told).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

/// What the output says of the host, if its last line is JSON.
fn said(output: &str) -> Result<Made, String> {
    let Some(line) = output.lines().rev().map(str::trim).find(|line| !line.is_empty()) else {
        return Ok(Made::default());
    };
    if !line.starts_with('{') {
        return Ok(Made::default());
    }
    let said: Said = serde_json::from_str(line)
        .map_err(|error| format!("the last line of its output is no {{\"place\": …, \"hostname\": …}}: {error}"))?;
    let short = |text: Option<String>| text.filter(|text| !text.is_empty() && text.len() <= 255);
    Ok(Made { place: short(said.place), hostname: short(said.hostname) })
}

/// Ends a script with all that it started.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let signal = |signal: Signal| group.map(|group| killpg(group, signal));
    let _ = signal(Signal::SIGTERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = signal(Signal::SIGKILL);
        let _ = child.wait().await;
    } else {
        // What it started may still be there.
        let _ = signal(Signal::SIGKILL);
    }
}

/// Reads all and keeps the end of it.
async fn bounded(from: Option<impl AsyncRead + Unpin>) -> String {
    let (Some(mut from), mut kept, mut buffer) = (from, Vec::new(), vec![0; 8192]) else { return String::new() };
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        if kept.len() > OUTPUT_MAX * 2 {
            kept.drain(..kept.len() - OUTPUT_MAX);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Logs lines as they come, up to a bound, and gives the last one back.
async fn log_lines(from: Option<impl AsyncRead + Unpin>, node: String, action: String) -> String {
    let Some(from) = from else { return String::new() };
    let (mut from, mut last, mut lines) = (BufReader::new(from), String::new(), 0_usize);
    loop {
        let mut line = Vec::new();
        match (&mut from).take(LINE_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if line.is_empty() {
            continue;
        }
        lines += 1;
        match lines {
            ..=LINES_MAX => tracing::info!(node, action, "{}", line.escape_debug()),
            _ if lines == LINES_MAX + 1 => tracing::info!(node, action, "(it says more than is logged)"),
            _ => {}
        }
        last = line;
    }
}

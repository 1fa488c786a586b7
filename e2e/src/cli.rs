//! The commands of `mesos` that end by themselves, run as a user does.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::backends;

/// How long a command may take before a test takes it for hung.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How a command ended and what it wrote.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The command, for failure texts.
    pub command: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Fails with all that it wrote unless its exit code is `code`.
    pub fn expect(self, code: i32) -> Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        bail!(
            "`{}` ended with {:?} in place of {code}\nstdout: {}\nstderr: {}",
            self.command,
            self.code,
            self.stdout,
            self.stderr
        )
    }

    /// Standard output as JSON, of a command that must have ended well.
    pub fn json(self) -> Result<Value> {
        let outcome = self.expect(0)?;
        serde_json::from_str(&outcome.stdout)
            .with_context(|| format!("`{}` did not print JSON: {}", outcome.command, outcome.stdout))
    }

    /// Fails unless it ended with a non-zero exit code and one line on stderr with all these words in it.
    pub fn one_clear_line(&self, words: &[&str]) -> Result<()> {
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        let clear = matches!(lines.as_slice(), [line] if words.iter().all(|word| line.contains(word)));
        if clear && self.code.is_some_and(|code| code != 0) {
            return Ok(());
        }
        bail!(
            "`{}` ended with {:?}; expected one line with {words:?}, it said: {}",
            self.command,
            self.code,
            self.stderr
        )
    }
}

/// Runs a command against a master (`host:port`).
pub async fn mesos(master: &str, args: &[&str]) -> Result<Outcome> {
    run(&[("MESOS_MASTER", master)], args).await
}

/// Runs a command with variables of its own.
pub async fn run(env: &[(&str, &str)], args: &[&str]) -> Result<Outcome> {
    let mut command = tokio::process::Command::new(backends::mesos_binary()?);
    command.args(args);
    outcome(command, env, &format!("mesos {}", args.join(" "))).await
}

/// Runs a line of a shell script in which `mesos`, `mesos-master` and the like are this build.
pub async fn shell(directory: &std::path::Path, env: &[(&str, &str)], script: &str) -> Result<Outcome> {
    let bin = directory.join("bin");
    std::fs::create_dir_all(&bin)?;
    let binary = backends::mesos_binary()?.canonicalize()?;
    for name in ["mesos", "mesos-master", "mesos-agent", "mesos-slave"] {
        let link = bin.join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(&binary, link)?;
        }
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = tokio::process::Command::new("/bin/sh");
    command.args(["-c", script]).env("PATH", path).current_dir(directory);
    outcome(command, env, script).await
}

async fn outcome(mut command: tokio::process::Command, env: &[(&str, &str)], text: &str) -> Result<Outcome> {
    // Files, so that what a command has written is there if it does not end.
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("`{text}` did not start"))?;
    let ended = tokio::time::timeout(TIMEOUT, child.wait()).await;
    let (stdout, stderr) = (written(stdout)?, written(stderr)?);
    let Ok(status) = ended else {
        bail!("`{text}` did not end within {TIMEOUT:?}\nstdout: {stdout}\nstderr: {stderr}")
    };
    Ok(Outcome { command: text.to_owned(), code: status?.code(), stdout, stderr })
}

/// All that is in a file which another process wrote to.
fn written(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

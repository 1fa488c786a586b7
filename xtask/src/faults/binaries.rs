//! Tests as cargo builds them, with bugs to plant.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A test that takes longer than this is one that fails: it waits for what never comes.
const PATIENCE: Duration = Duration::from_secs(90);

/// One test of one binary.
pub(super) struct Test {
    /// With its modules.
    pub(super) name: String,
    binary: PathBuf,
    /// Where cargo would run it.
    directory: PathBuf,
}

impl Test {
    /// Whether it passes while this bug is planted.
    pub(super) fn passes(&self, bug: &str) -> bool {
        let child = Command::new(&self.binary)
            .args(["--exact", &self.name])
            .current_dir(&self.directory)
            .env("MESOS_PLANTED_BUG", bug)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.is_ok_and(passed)
    }
}

fn passed(mut child: Child) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return false,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// All tests with bugs to plant: the simulator's in release, the others as `scripts/test` builds them.
pub(super) fn tests(root: &Path) -> Result<Vec<Test>> {
    let simulator = ["test", "--no-run", "--locked", "--release", "-p", "mesos-sim", "--features", "planted-bugs"];
    let others = [
        "test",
        "--no-run",
        "--locked",
        "--workspace",
        "--exclude",
        "mesos-e2e",
        "--exclude",
        "mesos-sim",
        "--features",
        "mesos-model/planted-bugs",
    ];
    let mut tests = Vec::new();
    for arguments in [&simulator[..], &others[..]] {
        for (binary, directory) in build(root, arguments)? {
            tests.extend(names(&binary)?.into_iter().map(|name| Test {
                name,
                binary: binary.clone(),
                directory: directory.clone(),
            }));
        }
    }
    Ok(tests)
}

/// Builds test binaries; each with the directory of its crate.
fn build(root: &Path, arguments: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(program)
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo did not start")?;
    let mut binaries = Vec::new();
    let output = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).lines() {
        let message: serde_json::Value = serde_json::from_str(&line?).context("cargo's output is not JSON")?;
        let is_test = message["profile"]["test"].as_bool() == Some(true);
        let manifest = message["manifest_path"].as_str().map(Path::new).and_then(Path::parent);
        if let (true, Some(binary), Some(directory)) = (is_test, message["executable"].as_str(), manifest) {
            binaries.push((PathBuf::from(binary), directory.to_path_buf()));
        }
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "the tests do not build");
    Ok(binaries)
}

/// The names of a binary's tests.
fn names(binary: &Path) -> Result<Vec<String>> {
    let output = Command::new(binary)
        .args(["--list", "--format", "terse"])
        .output()
        .with_context(|| format!("{} does not list its tests", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

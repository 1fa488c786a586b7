//! What tasks look like from the host: processes, cgroups, containers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A process as the host sees it. Two are equal only if they are the same process: a pid that was given
/// again has another start time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostProcess {
    /// Its pid on the host.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
    /// The parent's pid.
    pub parent: u32,
}

impl HostProcess {
    /// The process with this pid, `None` when there is none or it is over and only not collected yet.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold anything; all fields that matter come after it.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        if fields.first() == Some(&"Z") {
            return None;
        }
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()? })
    }

    /// Whether this very process still runs.
    pub fn runs(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now.started == self.started)
    }
}

/// The processes called `name` that belong to tasks of a framework, by task id. Tasks in Docker containers
/// are found as well. Fails when a task has several of that name.
pub fn tasks(framework_id: &str, name: &str) -> Result<BTreeMap<String, HostProcess>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes end while they are looked at, which is no error.
        let Ok(comm) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        if comm.trim_end() != name {
            continue;
        }
        let environment = variables(pid);
        let of_framework = environment.get("MESOS_FRAMEWORK_ID").is_some_and(|id| id == framework_id);
        let (true, Some(task), Some(process)) = (of_framework, environment.get("MESOS_TASK_ID"), HostProcess::of(pid))
        else {
            continue;
        };
        if let Some(before) = found.insert(task.clone(), process) {
            bail!("task {task} has two processes called {name}: {} and {pid}", before.pid);
        }
    }
    Ok(found)
}

/// The environment that a process was started with; empty when it is gone.
pub fn variables(pid: u32) -> BTreeMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .split('\0')
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Resident memory of a process, in kB.
pub fn resident_kb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.split_whitespace().next())
        .context("no VmRSS")?
        .parse()
        .context("VmRSS is not a number")
}

/// The CPU quota of a process's cgroup in thousandths of a CPU; `None` when there is no limit.
pub fn cpu_quota_milli(pid: u32) -> Result<Option<u64>> {
    let directory = cgroup(pid, "cpu")?;
    let read = |name: &str| -> Result<String> {
        let path = directory.join(name);
        Ok(fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
    };
    let (quota, period) = if directory.join("cpu.max").exists() {
        let both = read("cpu.max")?;
        let (quota, period) = both.split_once(' ').context("cpu.max has no period")?;
        (quota.to_owned(), period.to_owned())
    } else {
        (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
    };
    if quota == "max" || quota == "-1" {
        return Ok(None);
    }
    Ok(Some(quota.parse::<u64>()? * 1000 / period.parse::<u64>()?))
}

/// The directory of a process's cgroup that has a controller, in version 1 or 2.
fn cgroup(pid: u32, controller: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let root = Path::new("/sys/fs/cgroup");
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|one| one == controller) {
            return Ok(root.join(controller).join(path));
        }
        if controllers.is_empty() && root.join("cgroup.controllers").exists() {
            return Ok(root.join(path));
        }
    }
    bail!("process {pid} is in no cgroup with {controller}: {text}")
}

/// Runs `docker` with some arguments; its output, or an error with what it wrote.
pub fn docker(args: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(args).output().context("docker did not start")?;
    if !output.status.success() {
        bail!("docker {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

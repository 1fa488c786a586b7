//! Cgroups by their files: limits, membership, the end of all members, and whether memory ran out.
//!
//! Version 1 has one tree per controller, version 2 one tree for all. The root is a parameter, so that
//! both are tried on made-up trees. Shares and quota are those of Mesos: 1024 shares a core, at least
//! 2; a period of 100 ms; at least 32 MB of memory.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use mesos_ports::containerizer::{Limits, Usage};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::sys;

/// Where Linux has its cgroups.
pub const DEFAULT_ROOT: &str = "/sys/fs/cgroup";
/// Mesos gives no container less memory than this, in bytes.
pub const MIN_MEMORY: u64 = 32 << 20;
/// The limit of processes and threads where the task names none.
pub const DEFAULT_PIDS: u64 = 16_384;

const PERIOD_US: u64 = 100_000;
const MIN_QUOTA_US: u64 = 1_000;
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Which of the two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// One tree per controller.
    V1,
    /// One tree for all.
    V2,
}

/// The parent of all containers' cgroups on this host.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    version: Version,
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    missing: Vec<String>,
}

/// The cgroup of one container: a directory per controller, the same one for all in version 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    version: Version,
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
}

impl Hierarchy {
    /// Finds the cgroups below `root` and makes the parent `name` in them. The error says why this host
    /// enforces nothing.
    pub fn detect(root: &Path, name: &str) -> Result<Hierarchy, String> {
        let v2 = root.join("cgroup.controllers").exists();
        let mut found = Hierarchy {
            version: if v2 { Version::V2 } else { Version::V1 },
            cpu: None,
            memory: None,
            pids: None,
            missing: Vec::new(),
        };
        let enabled = if v2 { Some(prepare_v2(root, name)?) } else { None };
        for controller in CONTROLLERS {
            let dir = match &enabled {
                Some(enabled) if enabled.iter().any(|one| one == controller) => Ok(root.join(name)),
                Some(_) => Err("not delegated to this cgroup".to_string()),
                None => prepare_v1(&root.join(controller), name),
            };
            match (dir, controller) {
                (Ok(dir), "cpu") => found.cpu = Some(dir),
                (Ok(dir), "memory") => found.memory = Some(dir),
                (Ok(dir), _) => found.pids = Some(dir),
                (Err(why), _) => found.missing.push(format!("{controller} limits are not enforced: {why}")),
            }
        }
        if found.cpu.is_none() && found.memory.is_none() && found.pids.is_none() {
            return Err(found.missing.join("; "));
        }
        Ok(found)
    }

    /// What this host does not enforce, in words for the operator.
    pub fn warnings(&self) -> &[String] {
        &self.missing
    }

    /// Which interface this is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The cgroup of a container, whether it is there or not.
    pub fn group(&self, container_id: &str) -> Group {
        let below = |dir: &Option<PathBuf>| dir.as_ref().map(|dir| dir.join(container_id));
        Group { version: self.version, cpu: below(&self.cpu), memory: below(&self.memory), pids: below(&self.pids) }
    }

    /// Makes the cgroup of a container with its limits.
    pub fn create(&self, container_id: &str, limits: &Limits) -> io::Result<Group> {
        let group = self.group(container_id);
        for dir in group.dirs() {
            match fs::create_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        group.apply(limits)?;
        Ok(group)
    }
}

impl Group {
    /// Writes the limits; for a new group and for a running one.
    pub fn apply(&self, limits: &Limits) -> io::Result<()> {
        if let Some(dir) = &self.cpu {
            self.apply_cpu(dir, limits)?;
        }
        if let Some(dir) = &self.memory {
            self.apply_memory(dir, limits.memory_bytes.map(|bytes| bytes.max(MIN_MEMORY)))?;
        }
        if let Some(dir) = &self.pids {
            put(dir, "pids.max", limits.pids.unwrap_or(DEFAULT_PIDS))?;
        }
        Ok(())
    }

    fn apply_cpu(&self, dir: &Path, limits: &Limits) -> io::Result<()> {
        let shares = (limits.cpu_shares_milli.saturating_mul(1024) / 1000).clamp(2, 262_144);
        let quota = limits.cpu_quota_milli.map(|milli| (milli.saturating_mul(PERIOD_US) / 1000).max(MIN_QUOTA_US));
        match self.version {
            Version::V1 => {
                put(dir, "cpu.shares", shares)?;
                match quota {
                    Some(quota) => {
                        put(dir, "cpu.cfs_period_us", PERIOD_US)?;
                        put(dir, "cpu.cfs_quota_us", quota)
                    }
                    // Kernels without CFS bandwidth lack the file, and then nothing has to be lifted.
                    None => put(dir, "cpu.cfs_quota_us", -1).or_else(absent),
                }
            }
            Version::V2 => {
                // The kernel's own conversion of shares (2 to 262144) into weights (1 to 10000).
                put(dir, "cpu.weight", 1 + (shares - 2) * 9999 / 262_142)?;
                let quota = quota.map_or_else(|| "max".to_string(), |quota| quota.to_string());
                put(dir, "cpu.max", format!("{quota} {PERIOD_US}"))
            }
        }
    }

    fn apply_memory(&self, dir: &Path, bytes: Option<u64>) -> io::Result<()> {
        match self.version {
            Version::V1 => {
                let value = bytes.map_or_else(|| "-1".to_string(), |bytes| bytes.to_string());
                // Memory with swap may never be the smaller of the two, so the order depends on the way.
                let swap = || put(dir, "memory.memsw.limit_in_bytes", &value).or_else(absent);
                let lifted = swap().is_ok();
                put(dir, "memory.limit_in_bytes", &value)?;
                if lifted { Ok(()) } else { swap() }
            }
            Version::V2 => {
                let value = bytes.map_or_else(|| "max".to_string(), |bytes| bytes.to_string());
                put(dir, "memory.max", value)?;
                put(dir, "memory.swap.max", if bytes.is_some() { "0" } else { "max" }).or_else(absent)?;
                put(dir, "memory.oom.group", 1).or_else(absent)
            }
        }
    }

    /// Moves the calling process, which has one thread, into the group.
    pub fn join(&self) -> io::Result<()> {
        // Writing `cgroup.procs` waits for all threads of the host to pass by (a grace period of RCU, many
        // milliseconds, one writer at a time). A thread that moves itself through v1's `tasks` does not.
        let file = if self.version == Version::V1 { "tasks" } else { "cgroup.procs" };
        self.dirs().into_iter().try_for_each(|dir| put(dir, file, 0))
    }

    /// Its processes, by their numbers in the caller's PID namespace.
    pub fn members(&self) -> Vec<u32> {
        let Some(dir) = self.dirs().into_iter().next_back() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        collect_members(dir, &mut found);
        found
    }

    /// Sends a signal to every member and tells how many there were.
    pub fn signal(&self, signal: Signal) -> usize {
        let handles: Vec<_> =
            self.members().into_iter().filter_map(|pid| Some((pid, sys::pidfd_open(pid).ok()?))).collect();
        // A number that is still a member after the handle was taken was not handed on in between.
        let still = self.members();
        for (_, handle) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
            let _ = sys::pidfd_signal(handle.as_fd(), signal);
        }
        still.len()
    }

    /// Kills all members and waits until none is left. Blocks, for at most `limit`.
    pub fn kill(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        if self.version == Version::V2
            && let Some(dir) = &self.dirs().into_iter().next()
            && dir.join("cgroup.kill").exists()
        {
            let _ = put(dir, "cgroup.kill", 1);
        }
        // Nobody who is not killed yet may fork away from the loop.
        if let Some(dir) = &self.pids {
            let _ = put(dir, "pids.max", 0);
        }
        while self.signal(Signal::SIGKILL) > 0 {
            if Instant::now() > until {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// How often the kernel killed a member for memory.
    pub fn oom_kills(&self) -> u64 {
        let Some(dir) = &self.memory else { return 0 };
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        count.unwrap_or(0)
    }

    /// CPU time and memory of all members; `None` where either is not counted on this host.
    pub fn usage(&self) -> Option<Usage> {
        let number = |dir: &Path, file: &str| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
        let (cpu, memory) = (self.cpu.as_ref()?, self.memory.as_ref()?);
        match self.version {
            // `cpuacct` is mounted together with `cpu` wherever both are there.
            Version::V1 => Some(Usage {
                cpu: Duration::from_nanos(number(cpu, "cpuacct.usage")?),
                memory_bytes: number(memory, "memory.usage_in_bytes")?,
            }),
            Version::V2 => {
                let stat = fs::read_to_string(cpu.join("cpu.stat")).ok()?;
                let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok())?;
                Some(Usage { cpu: Duration::from_micros(used), memory_bytes: number(memory, "memory.current")? })
            }
        }
    }

    /// Removes the group and what tasks made below it, trying again while the kernel is not done with
    /// its last member. Blocks, for at most 2 s.
    pub fn delete(&self) -> io::Result<()> {
        let until = Instant::now() + Duration::from_secs(2);
        for dir in self.dirs() {
            loop {
                match remove_tree(dir) {
                    Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) && Instant::now() < until => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Whether any of it is there.
    pub fn exists(&self) -> bool {
        self.dirs().into_iter().any(|dir| dir.exists())
    }

    fn dirs(&self) -> Vec<&Path> {
        let mut dirs: Vec<&Path> =
            [&self.cpu, &self.memory, &self.pids].into_iter().flatten().map(PathBuf::as_path).collect();
        dirs.dedup();
        dirs
    }
}

fn prepare_v1(tree: &Path, name: &str) -> Result<PathBuf, String> {
    if !tree.is_dir() {
        return Err(format!("{} is not there", tree.display()));
    }
    let dir = tree.join(name);
    fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    Ok(dir)
}

/// Hands the controllers down to the children of the parent, and says which were to be had.
fn prepare_v2(root: &Path, name: &str) -> Result<Vec<String>, String> {
    let dir = root.join(name);
    let told = |path: &Path, error: io::Error| format!("cannot write {}: {error}", path.display());
    let offered = fs::read_to_string(root.join("cgroup.controllers")).map_err(|error| told(root, error))?;
    let wanted: Vec<String> =
        offered.split_whitespace().filter(|one| CONTROLLERS.contains(one)).map(String::from).collect();
    fs::create_dir_all(&dir).map_err(|error| told(&dir, error))?;
    let mut enabled = Vec::new();
    for one in wanted {
        let line = format!("+{one}");
        // The host's manager may have prepared the root and forbid it to us, so only the child counts.
        let _ = put(root, "cgroup.subtree_control", &line);
        if put(&dir, "cgroup.subtree_control", &line).is_ok() {
            enabled.push(one);
        }
    }
    Ok(enabled)
}

fn put(dir: &Path, file: &str, value: impl ToString) -> io::Result<()> {
    let path = dir.join(file);
    fs::write(&path, value.to_string())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// A file that this kernel does not have limits nothing that could be told it.
fn absent(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Ok(()),
        _ => Err(error),
    }
}

fn collect_members(dir: &Path, found: &mut Vec<u32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process outside of the reader's PID namespace.
    found.extend(text.lines().filter_map(|line| line.trim().parse::<u32>().ok()).filter(|pid| *pid != 0));
    for child in subdirs(dir) {
        collect_members(&child, found);
    }
}

fn subdirs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    subdirs(dir).iter().try_for_each(|child| remove_tree(child))?;
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path, file: &str) -> String {
        fs::read_to_string(dir.join(file)).unwrap_or_default()
    }

    fn v2_tree(controllers: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("cgroup.controllers"), controllers).expect("written");
        root
    }

    #[test]
    fn version_2_gets_weight_quota_memory_and_pids() {
        let root = v2_tree("cpuset cpu io memory pids\n");
        let tree = Hierarchy::detect(root.path(), "mesos").expect("found");
        assert_eq!((tree.version(), tree.warnings()), (Version::V2, &[][..]));
        let limits =
            Limits { cpu_shares_milli: 1000, cpu_quota_milli: Some(500), memory_bytes: Some(64 << 20), pids: Some(10) };
        let group = tree.create("c1", &limits).expect("made");
        let dir = root.path().join("mesos/c1");
        assert_eq!(read(&dir, "cpu.weight"), "39");
        assert_eq!(read(&dir, "cpu.max"), "50000 100000");
        assert_eq!(read(&dir, "memory.max"), (64 << 20).to_string());
        assert_eq!(read(&dir, "memory.swap.max"), "0");
        assert_eq!(read(&dir, "memory.oom.group"), "1");
        assert_eq!(read(&dir, "pids.max"), "10");
        group.apply(&Limits { cpu_shares_milli: 1, ..Limits::default() }).expect("changed");
        assert_eq!(read(&dir, "cpu.weight"), "1");
        assert_eq!(read(&dir, "cpu.max"), "max 100000");
        assert_eq!(read(&dir, "memory.max"), "max");
        assert_eq!(read(&dir, "memory.swap.max"), "max");
    }

    #[test]
    fn version_2_without_a_controller_says_what_is_not_enforced() {
        let root = v2_tree("cpu pids");
        let tree = Hierarchy::detect(root.path(), "mesos").expect("found");
        assert_eq!(tree.warnings(), ["memory limits are not enforced: not delegated to this cgroup"]);
        assert!(Hierarchy::detect(v2_tree("io").path(), "mesos").is_err());
    }

    #[test]
    fn version_2_kills_through_its_file_and_counts_memory_kills() {
        let root = v2_tree("cpu memory pids");
        let group = Hierarchy::detect(root.path(), "mesos").expect("found").create("c1", &Limits::default());
        let group = group.expect("made");
        let dir = root.path().join("mesos/c1");
        group.join().expect("joined");
        assert_eq!(read(&dir, "cgroup.procs"), "0");
        assert_eq!(group.members(), Vec::<u32>::new());
        fs::write(dir.join("cgroup.kill"), "").expect("written");
        assert!(group.kill(Duration::from_secs(1)));
        assert_eq!(read(&dir, "cgroup.kill"), "1");
        assert_eq!(group.oom_kills(), 0);
        fs::write(dir.join("memory.events"), "low 0\noom 4\noom_kill 3\noom_group_kill 1\n").expect("written");
        assert_eq!(group.oom_kills(), 3);
        assert_eq!(group.usage(), None, "nothing is counted yet");
        fs::write(dir.join("cpu.stat"), "usage_usec 1500000\nuser_usec 1\n").expect("written");
        fs::write(dir.join("memory.current"), "4096\n").expect("written");
        assert_eq!(group.usage(), Some(Usage { cpu: Duration::from_millis(1500), memory_bytes: 4096 }));
    }

    #[test]
    fn version_1_gets_shares_quota_and_memory_in_its_own_trees() {
        let root = tempfile::tempdir().expect("a directory");
        for controller in CONTROLLERS {
            fs::create_dir(root.path().join(controller)).expect("made");
        }
        let tree = Hierarchy::detect(root.path(), "mesos").expect("found");
        let limits = Limits { cpu_shares_milli: 500, cpu_quota_milli: Some(1), memory_bytes: Some(1), pids: None };
        let group = tree.create("c1", &limits).expect("made");
        assert_eq!(read(&root.path().join("cpu/mesos/c1"), "cpu.shares"), "512");
        assert_eq!(read(&root.path().join("cpu/mesos/c1"), "cpu.cfs_quota_us"), "1000");
        assert_eq!(read(&root.path().join("memory/mesos/c1"), "memory.limit_in_bytes"), MIN_MEMORY.to_string());
        assert_eq!(read(&root.path().join("pids/mesos/c1"), "pids.max"), DEFAULT_PIDS.to_string());
        fs::write(root.path().join("memory/mesos/c1/memory.oom_control"), "under_oom 0\noom_kill 1\n").expect("ok");
        assert_eq!(group.oom_kills(), 1);
        fs::write(root.path().join("cpu/mesos/c1/cpuacct.usage"), "2000000\n").expect("written");
        fs::write(root.path().join("memory/mesos/c1/memory.usage_in_bytes"), "8192\n").expect("written");
        assert_eq!(group.usage(), Some(Usage { cpu: Duration::from_millis(2), memory_bytes: 8192 }));
    }

    #[test]
    fn a_host_without_cgroups_says_so() {
        let root = tempfile::tempdir().expect("a directory");
        let why = Hierarchy::detect(root.path(), "mesos").expect_err("nothing there");
        assert!(why.contains("memory limits are not enforced"), "{why}");
    }

    #[test]
    fn members_of_a_real_group_are_killed_and_the_group_deleted() {
        let Ok(tree) = Hierarchy::detect(Path::new(DEFAULT_ROOT), "mesos-unit-test") else {
            return;
        };
        let group = tree.create(&uuid::Uuid::new_v4().to_string(), &Limits::default()).expect("made");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        for dir in group.dirs() {
            put(dir, "cgroup.procs", child.id()).expect("moved");
        }
        assert_eq!(group.members(), [child.id()]);
        assert!(group.kill(Duration::from_secs(5)));
        child.wait().expect("reaped");
        group.delete().expect("deleted");
        assert!(!group.exists());
    }
}

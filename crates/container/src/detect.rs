//! What this host has to offer, where the operator does not say.
//!
//! As Mesos does it: memory less 1 GB for the host (half of it below 2 GB), disk less 5 GB (half below
//! 10 GB). Inside a container its own cgroup limits count, not the host's size.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::sys::statvfs::statvfs;

const GB: u64 = 1 << 30;
const MB: u64 = 1 << 20;

/// The resources of a host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostResources {
    /// Cores, thousandths.
    pub cpus_milli: u64,
    /// Megabytes (2^20 bytes) of memory for tasks.
    pub mem_mb: u64,
    /// Megabytes of disk for sandboxes.
    pub disk_mb: u64,
}

/// Looks at this host. `work_dir` is where sandboxes will be; its nearest existing parent counts.
pub fn host_resources(work_dir: &Path) -> io::Result<HostResources> {
    let cgroup = OwnCgroup::find(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let quota = cgroup.cpu_quota_milli();
    let memory = total_memory()?.min(cgroup.memory_limit().unwrap_or(u64::MAX));
    Ok(HostResources {
        cpus_milli: (cores * 1000).min(quota.unwrap_or(u64::MAX)),
        mem_mb: for_tasks(memory, GB) / MB,
        disk_mb: for_tasks(total_disk(work_dir)?, 5 * GB) / MB,
    })
}

/// All but the host's own share, or half of it if that is too little to share like this.
fn for_tasks(total: u64, host: u64) -> u64 {
    if total >= 2 * host { total - host } else { total / 2 }
}

fn total_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kilobytes.map(|count| count * 1024).ok_or_else(|| io::Error::other("/proc/meminfo names no MemTotal"))
}

fn total_disk(dir: &Path) -> io::Result<u64> {
    let existing = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let found = statvfs(existing)?;
    #[allow(clippy::unnecessary_cast, reason = "the types differ between targets")]
    Ok(found.blocks() as u64 * found.fragment_size() as u64)
}

/// The directories of the cgroups that this process is in, innermost first.
struct OwnCgroup {
    cpu: Vec<PathBuf>,
    memory: Vec<PathBuf>,
}

impl OwnCgroup {
    fn find(root: &Path, own: &Path) -> OwnCgroup {
        let text = fs::read_to_string(own).unwrap_or_default();
        let mut found = OwnCgroup { cpu: Vec::new(), memory: Vec::new() };
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let below = |tree: PathBuf| -> Vec<PathBuf> {
                let path = Path::new(path.trim_start_matches('/'));
                // In a container the path may be the host's, then only the root of the tree is seen.
                path.ancestors().map(|part| tree.join(part)).filter(|dir| dir.is_dir()).collect()
            };
            for controller in controllers.split(',') {
                match controller {
                    "cpu" => found.cpu = below(root.join("cpu")),
                    "memory" => found.memory = below(root.join("memory")),
                    "" if root.join("cgroup.controllers").exists() => {
                        (found.cpu, found.memory) = (below(root.into()), below(root.into()));
                    }
                    _ => {}
                }
            }
        }
        found
    }

    fn cpu_quota_milli(&self) -> Option<u64> {
        let number = |dir: &Path, file| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok();
        let quota = |dir: &PathBuf| {
            let v2 = fs::read_to_string(dir.join("cpu.max")).ok().and_then(|text| {
                let (quota, period) = text.trim().split_once(' ')?;
                Some((quota.parse().ok()?, period.parse().ok()?))
            });
            // No quota is -1 in version 1, which is no number here.
            let v1 = || Some((number(dir, "cpu.cfs_quota_us")?, number(dir, "cpu.cfs_period_us")?));
            let (quota, period): (u64, u64) = v2.or_else(v1)?;
            (period > 0).then(|| quota.saturating_mul(1000) / period)
        };
        self.cpu.iter().filter_map(quota).min()
    }

    fn memory_limit(&self) -> Option<u64> {
        let limit = |dir: &PathBuf| {
            let text = fs::read_to_string(dir.join("memory.max"));
            let text = text.or_else(|_| fs::read_to_string(dir.join("memory.limit_in_bytes")));
            text.ok()?.trim().parse::<u64>().ok()
        };
        self.memory.iter().filter_map(limit).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_keeps_a_share() {
        assert_eq!(for_tasks(8 * GB, GB), 7 * GB);
        assert_eq!(for_tasks(GB, GB), GB / 2);
        assert_eq!(for_tasks(9 * GB, 5 * GB), 9 * GB / 2);
    }

    #[test]
    fn this_host_has_something() {
        let found = host_resources(Path::new("/no/such/directory")).expect("Linux");
        assert!(found.cpus_milli >= 100 && found.mem_mb > 0 && found.disk_mb > 0, "{found:?}");
    }

    #[test]
    fn the_tightest_cgroup_limit_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let own = root.path().join("own");
        fs::write(root.path().join("cgroup.controllers"), "cpu memory").expect("written");
        fs::create_dir_all(root.path().join("a/b")).expect("made");
        fs::write(root.path().join("a/cpu.max"), "150000 100000\n").expect("written");
        fs::write(root.path().join("a/b/cpu.max"), "max 100000\n").expect("written");
        fs::write(root.path().join("a/b/memory.max"), "1000\n").expect("written");
        fs::write(root.path().join("a/memory.max"), "max\n").expect("written");
        fs::write(&own, "0::/a/b\n").expect("written");
        let found = OwnCgroup::find(root.path(), &own);
        assert_eq!(found.cpu_quota_milli(), Some(1500));
        assert_eq!(found.memory_limit(), Some(1000));
    }

    #[test]
    fn version_1_without_a_quota_limits_nothing() {
        let root = tempfile::tempdir().expect("a directory");
        let own = root.path().join("own");
        fs::create_dir_all(root.path().join("cpu/a")).expect("made");
        fs::write(root.path().join("cpu/a/cpu.cfs_quota_us"), "-1\n").expect("written");
        fs::write(root.path().join("cpu/a/cpu.cfs_period_us"), "100000\n").expect("written");
        fs::write(&own, "3:cpu,cpuacct:/a\n").expect("written");
        assert_eq!(OwnCgroup::find(root.path(), &own).cpu_quota_milli(), None);
    }
}

//! What `/proc` says about processes: when they started, who their parent is, which boot this is.

use std::{collections::HashMap, fs, io, os::fd::OwnedFd, sync::OnceLock};

use mesos_model::planted::{Bug, is_planted};
use serde::{Deserialize, Serialize};

use crate::sys;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub pid: u32,
    /// Clock ticks since boot when it started.
    pub start: u64,
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn of(pid: u32) -> Option<Process> {
        let (_, start) = parent_and_start(pid)?;
        Some(Process { pid, start })
    }

    /// A handle on it, if it still lives.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let fd = sys::pidfd_open(self.pid)?;
        // Checked after the handle is held: from here on it cannot change what it means.
        let now = Process::of(self.pid);
        let same = now == Some(*self) || (now.is_some() && is_planted(Bug::PidIsEnough));
        if same { Ok(fd) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

/// The id of this boot of the host.
pub(crate) fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_string())
}

/// Parent and start time out of `/proc/<pid>/stat`; `None` for no such process and for a zombie.
fn parent_and_start(pid: u32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may itself hold spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some((parent, start))
}

/// All living descendants of a process.
pub(crate) fn descendants(root: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some((parent, start)) = parent_and_start(pid) {
            children.entry(parent).or_default().push(Process { pid, start });
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child.pid);
            found.push(child);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f46_a_process_with_another_start_time_is_a_stranger_and_never_signalled() {
        let own = Process::of(std::process::id()).expect("this process runs");
        assert!(own.open().is_ok());
        let stranger = Process { start: own.start + 1, ..own };
        assert_eq!(stranger.open().expect_err("never signalled").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn children_are_found_as_descendants() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        assert!(descendants(std::process::id()).iter().any(|process| process.pid == child.id()));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }
}

//! Where tasks' files are: `<work_dir>/slaves/<agent>/frameworks/<framework>/executors/<executor>/runs/<container>`,
//! as in Mesos, with `latest` beside the runs.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use mesos_core::agent::{ContainerOrder, Workload};
use mesos_model::{AgentId, ExecutorId, FrameworkId};
use nix::unistd::User;

/// The directory of an executor's runs.
pub(crate) fn runs(work_dir: &Path, agent: &AgentId, framework: &FrameworkId, executor: &ExecutorId) -> PathBuf {
    work_dir
        .join("slaves")
        .join(agent.as_str())
        .join("frameworks")
        .join(framework.as_str())
        .join("executors")
        .join(executor.as_str())
        .join("runs")
}

/// The directory of a group in which its tasks' sandboxes are.
const TASKS: &str = "tasks";

/// The sandbox of one container. Those of a group's tasks are in the sandbox of the group.
pub(crate) fn path(work_dir: &Path, agent: &AgentId, order: &ContainerOrder) -> PathBuf {
    let runs = runs(work_dir, agent, &order.framework, &order.executor);
    match order.workload {
        Workload::GroupTask => runs.join(order.launch.as_str()).join(TASKS).join(order.task.as_str()),
        Workload::Task | Workload::Executor { .. } => runs.join(&order.container),
    }
}

/// The sandbox of the group that a task's sandbox is part of.
pub(crate) fn of_group(sandbox: &Path) -> Option<&Path> {
    let tasks = sandbox.parent()?;
    tasks.parent().filter(|_| tasks.file_name().is_some_and(|name| name == TASKS))
}

/// Makes a directory that the tasks of a group share, where it is not there. Its upper part belongs to tasks
/// that may run already: no symbolic link of theirs is followed.
pub(crate) fn share(group: &Path, path: &Path, owner: Option<&User>) -> io::Result<()> {
    use nix::{
        fcntl::{AtFlags, OFlag, openat},
        sys::stat::{Mode, mkdirat},
        unistd::fchownat,
    };
    let mut at = std::os::fd::OwnedFd::from(std::fs::File::open(group)?);
    for part in path.components() {
        let name = Path::new(part.as_os_str());
        match mkdirat(&at, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => {
                if let Some(owner) = owner {
                    fchownat(&at, name, Some(owner.uid), Some(owner.gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
                }
            }
            Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        at = openat(&at, name, flags, Mode::empty())?;
    }
    Ok(())
}

/// Makes a sandbox that belongs to the task's user, and points `latest` to it, or to its group's.
pub(crate) fn make(sandbox: &Path, owner: Option<&User>) -> io::Result<()> {
    let run = of_group(sandbox).unwrap_or(sandbox);
    let runs = run.parent().ok_or_else(|| io::Error::other("a sandbox has a parent"))?;
    std::fs::create_dir_all(runs)?;
    if run != sandbox {
        // These stay the agent's own, so that no task can put something else in the place of another's.
        std::fs::create_dir_all(run.join(TASKS))?;
    }
    match std::fs::DirBuilder::new().mode(0o750).create(sandbox) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if let Some(owner) = owner {
        std::os::unix::fs::chown(sandbox, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    }
    point_latest(runs, run)
}

fn point_latest(runs: &Path, sandbox: &Path) -> io::Result<()> {
    let Some(name) = sandbox.file_name() else { return Ok(()) };
    let fresh = runs.join(format!(".latest-{}", uuid::Uuid::new_v4()));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(name, &fresh)?;
    std::fs::rename(&fresh, runs.join("latest"))
}

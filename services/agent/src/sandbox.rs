//! Where tasks' files are: `<work_dir>/slaves/<agent>/frameworks/<framework>/executors/<executor>/runs/<container>`,
//! as in Mesos, with `latest` beside the runs.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use mesos_core::agent::ContainerOrder;
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

/// The sandbox of one container.
pub(crate) fn path(work_dir: &Path, agent: &AgentId, order: &ContainerOrder) -> PathBuf {
    runs(work_dir, agent, &order.framework, &order.executor).join(&order.container)
}

/// Makes a sandbox that belongs to the task's user, and points `latest` to it.
pub(crate) fn make(sandbox: &Path, owner: Option<&User>) -> io::Result<()> {
    let runs = sandbox.parent().ok_or_else(|| io::Error::other("a sandbox has a parent"))?;
    std::fs::create_dir_all(runs)?;
    match std::fs::DirBuilder::new().mode(0o750).create(sandbox) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if let Some(owner) = owner {
        std::os::unix::fs::chown(sandbox, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    }
    point_latest(runs, sandbox)
}

fn point_latest(runs: &Path, sandbox: &Path) -> io::Result<()> {
    let Some(name) = sandbox.file_name() else { return Ok(()) };
    let fresh = runs.join(format!(".latest-{}", name.to_string_lossy()));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(name, &fresh)?;
    std::fs::rename(&fresh, runs.join("latest"))
}

//! The door through which gateways read sandboxes: directories and parts of files, nothing outside of them.
//!
//! Paths are opened beneath the sandbox without following a symbolic link, so that no task can lead a
//! reader out of it (`openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`).

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::fd::{AsFd, OwnedFd},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use futures::StreamExt;
use mesos_core::message::{FileEntry, FilesAnswer, FilesRequest};
use mesos_model::{
    AgentId, envelope,
    planted::{Bug, is_planted},
};
use mesos_ports::bus::{Bus, Message};
use mesos_runtime::shell::kind;
use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};
use tokio_util::sync::CancellationToken;

use crate::sandbox;

/// The most that one answer carries.
const READ_MAX: u64 = 1 << 20;
/// The most entries of a listing.
const ENTRIES_MAX: usize = 10_000;

/// Answers requests until cancelled.
pub(crate) fn serve(bus: Arc<dyn Bus>, subject: String, work_dir: PathBuf, agent: AgentId, cancel: CancellationToken) {
    let files = Arc::new(Files { bus, work_dir, agent });
    tokio::spawn(async move {
        while !cancel.is_cancelled() {
            if let Ok(mut requests) = files.bus.subscribe(&subject).await {
                loop {
                    let request = tokio::select! {
                        request = requests.next() => request,
                        () = cancel.cancelled() => return,
                    };
                    let Some(request) = request else { break };
                    tokio::spawn(files.clone().answer(request));
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    });
}

struct Files {
    bus: Arc<dyn Bus>,
    work_dir: PathBuf,
    agent: AgentId,
}

impl Files {
    async fn answer(self: Arc<Self>, message: Message) {
        let Some(reply) = message.reply else { return };
        let this = self.clone();
        let answer = match envelope::open::<FilesRequest>(kind::FILES, &message.payload) {
            Ok(request) => tokio::task::spawn_blocking(move || this.look(&request))
                .await
                .unwrap_or_else(|error| refused(500, error.to_string())),
            Err(error) => refused(400, error.to_string()),
        };
        if let Ok(payload) = envelope::seal(kind::FILES_ANSWER, &answer)
            && let Err(error) = self.bus.publish(&reply, Vec::new(), payload).await
        {
            tracing::debug!(%error, "an answer about files was not sent");
        }
    }

    fn look(&self, request: &FilesRequest) -> FilesAnswer {
        let answer = match request {
            FilesRequest::List { framework, task, path, executor } => {
                self.sandbox(framework, task, executor).and_then(|dir| list(&dir, path))
            }
            FilesRequest::Read { framework, task, path, offset, length, executor } => {
                self.sandbox(framework, task, executor).and_then(|dir| read(&dir, path, *offset, *length))
            }
        };
        answer.unwrap_or_else(|error| error)
    }

    /// The latest sandbox of a task: that of its executor, which of a command task is called as the task, or
    /// its own within that of its group.
    fn sandbox(
        &self,
        framework: &mesos_model::FrameworkId,
        task: &mesos_model::TaskId,
        executor: &mesos_model::ExecutorId,
    ) -> Result<OwnedFd, FilesAnswer> {
        let executor = if executor.as_str().is_empty() { task.as_str().into() } else { executor.clone() };
        let ids = [framework.as_str(), task.as_str(), executor.as_str()];
        if ids.iter().any(|id| mesos_model::id::validate(id).is_err()) {
            return Err(refused(400, "not a valid id".to_owned()));
        }
        let runs = sandbox::runs(&self.work_dir, &self.agent, framework, &executor);
        let latest = std::fs::read_link(runs.join("latest")).ok();
        let latest = latest.as_deref().and_then(Path::file_name).map(|name| runs.join(name));
        if executor.as_str() != task.as_str()
            && let Some(own) =
                latest.iter().cloned().chain(earlier(&runs)).find_map(|run| in_group(&run, task.as_str()))
        {
            return Ok(own);
        }
        let dir = latest.and_then(|dir| File::open(dir).ok());
        dir.map(OwnedFd::from).ok_or_else(|| refused(404, format!("task {task} has no sandbox on this agent")))
    }
}

/// All runs of an executor, as far as they are not too many.
fn earlier(runs: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    entries.take(ENTRIES_MAX).map(|entry| entry.path()).filter(|path| !path.is_symlink())
}

/// The sandbox of a task in that of its group. An executor may put anything there: no link is followed.
fn in_group(run: &Path, task: &str) -> Option<OwnedFd> {
    let run = OwnedFd::from(File::open(run).ok()?);
    let own = open_beneath(&run, &format!("tasks/{task}")).ok()?;
    own.metadata().is_ok_and(|metadata| metadata.is_dir()).then(|| own.into())
}

fn refused(status: u16, text: String) -> FilesAnswer {
    FilesAnswer::Error { status, text }
}

fn open_beneath(dir: &OwnedFd, path: &str) -> Result<File, FilesAnswer> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "." } else { path };
    let within = match is_planted(Bug::SandboxLinksFollowed) {
        true => ResolveFlag::empty(),
        false => ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS,
    };
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .mode(Mode::empty())
        .resolve(within);
    match openat2(dir.as_fd(), path, how) {
        Ok(fd) => Ok(File::from(fd)),
        Err(nix::Error::ENOENT) => Err(refused(404, format!("no file {path} in the sandbox"))),
        Err(nix::Error::ELOOP | nix::Error::EXDEV) => {
            Err(refused(400, format!("{path} leads out of the sandbox or through a symbolic link")))
        }
        Err(nix::Error::ENOTDIR) => Err(refused(404, format!("no file {path} in the sandbox"))),
        Err(nix::Error::EINVAL | nix::Error::ENAMETOOLONG) => Err(refused(400, "not a valid path".to_owned())),
        Err(error) => Err(refused(500, format!("cannot open {path}: {error}"))),
    }
}

fn read(dir: &OwnedFd, path: &str, offset: u64, length: u64) -> Result<FilesAnswer, FilesAnswer> {
    let failed = |error: std::io::Error| refused(500, format!("cannot read {path}: {error}"));
    let mut file = open_beneath(dir, path)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(refused(400, format!("{path} is not a file")));
    }
    let size = metadata.len();
    let offset = offset.min(size);
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut data = Vec::new();
    file.take(length.min(READ_MAX)).read_to_end(&mut data).map_err(failed)?;
    Ok(FilesAnswer::Data { offset, data: Bytes::from(data), size })
}

fn list(dir: &OwnedFd, path: &str) -> Result<FilesAnswer, FilesAnswer> {
    let failed = |error: std::io::Error| refused(500, format!("cannot list {path}: {error}"));
    let opened = open_beneath(dir, path)?;
    if !opened.metadata().map_err(failed)?.is_dir() {
        return Err(refused(400, format!("{path} is not a directory")));
    }
    // The descriptor, not the path: the task may swap the path meanwhile.
    let listing =
        std::fs::read_dir(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened))).map_err(failed)?;
    let mut entries = Vec::new();
    for entry in listing.take(ENTRIES_MAX).flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        entries.push(FileEntry {
            path: if path.is_empty() { name } else { format!("{}/{name}", path.trim_end_matches('/')) },
            size: metadata.len(),
            mtime_ms: modified.map_or(0, |time| time.as_millis() as u64),
            mode: metadata.mode(),
            is_dir: metadata.is_dir(),
        });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(FilesAnswer::Listing(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox_with(files: &[(&str, &str)]) -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let fd = OwnedFd::from(File::open(dir.path()).unwrap());
        (dir, fd)
    }

    #[test]
    fn a_file_is_read_in_parts_and_says_its_size() {
        let (_dir, fd) = sandbox_with(&[("stdout", "hello world")]);
        let answer = read(&fd, "stdout", 6, 100).unwrap();
        assert_eq!(answer, FilesAnswer::Data { offset: 6, data: Bytes::from("world"), size: 11 });
        let beyond = read(&fd, "stdout", 99, 100).unwrap();
        assert_eq!(beyond, FilesAnswer::Data { offset: 11, data: Bytes::new(), size: 11 });
    }

    #[test]
    fn f71_nothing_outside_of_the_sandbox_can_be_read() {
        let (dir, fd) = sandbox_with(&[("stdout", "")]);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("dir")).unwrap();
        for path in ["../../../etc/passwd", "link", "dir/passwd", "/../etc/passwd", "stdout/../../x"] {
            assert!(matches!(read(&fd, path, 0, 10), Err(FilesAnswer::Error { .. })), "{path}");
        }
    }

    #[test]
    fn a_listing_names_what_is_there() {
        let (_dir, fd) = sandbox_with(&[("stderr", "e"), ("stdout", "out")]);
        let Ok(FilesAnswer::Listing(entries)) = list(&fd, "") else { panic!("no listing") };
        let names: Vec<(&str, u64)> = entries.iter().map(|entry| (entry.path.as_str(), entry.size)).collect();
        assert_eq!(names, [("stderr", 1), ("stdout", 3)]);
    }
}

//! A task's `stdout` and `stderr`: through pipes to files of a bounded size.
//!
//! A file that is full becomes `stdout.1`, in the place of the one before it, and a new one begins. So a task
//! that floods its log has two files of each, and its disk is not filled by them. What cannot be written,
//! because the disk is full all the same, is dropped: a task must not hang on its log.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use mesos_model::planted::{Bug, is_planted};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, renameat},
    sys::stat::Mode,
    unistd::{Gid, Uid, UnlinkatFlags, fchown, pipe2, unlinkat},
};

use crate::records::{Identity, Spec};

/// As much as a pipe holds.
const CHUNK: usize = 64 << 10;
/// So many of them at the end, as much as a task can make a pipe hold: should one of its processes not die,
/// its output must not keep the shim.
const DRAIN: usize = 32;

/// Both logs of a task.
pub(super) struct Logs {
    streams: Vec<Stream>,
    buffer: Vec<u8>,
}

/// The ends of the pipes that the task writes to.
pub(super) struct Ends {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Logs {
    /// Makes files and pipes. The error names what cannot be made.
    pub(super) fn open(spec: &Spec) -> Result<(Logs, Ends), String> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let sandbox = open(&spec.sandbox, flags, Mode::empty())
            .map_err(|errno| format!("sandbox {}: {}", spec.sandbox.display(), errno.desc()))?;
        let bound = if spec.log_bytes == 0 { u64::MAX } else { spec.log_bytes };
        let make = |name: &'static str| {
            Stream::open(&sandbox, name, bound, spec.program.identity.as_ref())
                .map_err(|error| format!("{}: {error}", spec.sandbox.join(name).display()))
        };
        let ((out, stdout), (err, stderr)) = (make("stdout")?, make("stderr")?);
        Ok((Logs { streams: vec![out, err], buffer: vec![0; CHUNK] }, Ends { stdout, stderr }))
    }

    /// What to wait for: these are readable when the task has written, or has closed its end.
    pub(super) fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.streams.iter().filter_map(|stream| Some(stream.pipe.as_ref()?.as_fd()))
    }

    /// Moves what is in the pipes to the files. Without `all` it takes one buffer of each, so that a task that
    /// writes without end does not keep its shim from everything else.
    pub(super) fn take(&mut self, all: bool) {
        let most = if all { DRAIN } else { 1 };
        for stream in &mut self.streams {
            let _ = (0..most).take_while(|_| stream.take(&mut self.buffer)).count();
        }
    }
}

struct Stream {
    name: &'static str,
    sandbox: OwnedFd,
    /// `None` once every writer has closed it.
    pipe: Option<File>,
    file: File,
    size: u64,
    bound: u64,
    owner: Option<(Uid, Gid)>,
}

impl Stream {
    fn open(
        sandbox: &OwnedFd,
        name: &'static str,
        bound: u64,
        identity: Option<&Identity>,
    ) -> io::Result<(Stream, OwnedFd)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Only our end: programs do not expect that their output cannot be written at once.
        let flags = nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_GETFL).map(OFlag::from_bits_retain)?;
        nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK))?;
        let owner = identity.map(|identity| (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid)));
        if let Some((uid, gid)) = owner {
            // Or the task could not open `/dev/stdout`.
            let _ = fchown(&write, Some(uid), Some(gid));
        }
        let sandbox = sandbox.try_clone()?;
        let file = create(&sandbox, name, owner, OFlag::empty())?;
        let size = file.metadata()?.len();
        Ok((Stream { name, sandbox, pipe: Some(File::from(read)), file, size, bound, owner }, write))
    }

    /// Takes one buffer over; `false` when there is nothing more for now.
    fn take(&mut self, buffer: &mut [u8]) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        match pipe.read(buffer) {
            Ok(0) => {
                self.pipe = None;
                false
            }
            Ok(length) => {
                self.write(&buffer[..length]);
                true
            }
            Err(error) => error.kind() == ErrorKind::Interrupted,
        }
    }

    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.size >= self.bound && !is_planted(Bug::LogWithoutEnd) {
                // Where no new file can be made the old one begins anew.
                if self.rotate().is_err() && self.file.set_len(0).is_err() {
                    return;
                }
                self.size = 0;
            }
            let room = usize::try_from(self.bound.saturating_sub(self.size)).unwrap_or(usize::MAX).max(1);
            let part = &bytes[..bytes.len().min(if is_planted(Bug::LogWithoutEnd) { usize::MAX } else { room })];
            if self.file.write_all(part).is_err() {
                return;
            }
            self.size += part.len() as u64;
            bytes = &bytes[part.len()..];
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        renameat(&self.sandbox, self.name, &self.sandbox, format!("{}.1", self.name).as_str())?;
        // The task may have put something of its own there meanwhile, a link for example.
        match unlinkat(&self.sandbox, self.name, UnlinkatFlags::NoRemoveDir) {
            Err(errno) if errno != Errno::ENOENT => return Err(errno.into()),
            _ => {}
        }
        self.file = create(&self.sandbox, self.name, self.owner, OFlag::O_EXCL)?;
        Ok(())
    }
}

/// Opens a log to append to it. Not through a link: the fetcher may have put there what others wrote.
fn create(sandbox: &OwnedFd, name: &str, owner: Option<(Uid, Gid)>, more: OFlag) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | more;
    let file = File::from(openat(sandbox, Path::new(name), flags, Mode::from_bits_truncate(0o644))?);
    if let Some((uid, gid)) = owner {
        let _ = fchown(&file, Some(uid), Some(gid));
    }
    Ok(file)
}

//! The end and the output of a running container.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bollard::{
    Docker,
    container::LogOutput,
    errors::Error,
    query_parameters::{LogsOptionsBuilder, WaitContainerOptions},
};
use futures::StreamExt;
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::containerizer::Exit;
use tokio::{
    fs::{File, OpenOptions},
    io::AsyncWriteExt,
    time::{sleep, timeout},
};
use tracing::warn;

use super::{Container, LABEL_LOG_BASE, LABEL_SANDBOX, Shared, State, is_absent};

/// Between two tries while the daemon is away.
const RETRY: Duration = Duration::from_millis(500);
/// Parts of the output that are written together, if so many are there.
const PARTS_AT_ONCE: usize = 1024;

/// Where the output goes.
#[derive(Clone, Debug)]
pub(super) struct Output {
    sandbox: Option<PathBuf>,
    base: (u64, u64),
    bound: u64,
}

impl Output {
    /// With the bound of each file; 0 is none.
    pub(super) fn from_labels(labels: Option<&HashMap<String, String>>, bound: u64) -> Output {
        let of = |key: &str| labels.and_then(|labels| labels.get(key));
        let base = of(LABEL_LOG_BASE).and_then(|text| text.split_once(','));
        let base = base.and_then(|(out, err)| Some((out.parse().ok()?, err.parse().ok()?)));
        Output { sandbox: of(LABEL_SANDBOX).map(PathBuf::from), base: base.unwrap_or_default(), bound }
    }

    /// The files, opened to go on where they end; none without a sandbox.
    async fn open(&self) -> std::io::Result<Option<Copy>> {
        let Some(sandbox) = &self.sandbox else {
            return Ok(None);
        };
        let mut stdout = Sink::open(sandbox.join("stdout"), self.base.0, self.bound).await?;
        let mut stderr = Sink::open(sandbox.join("stderr"), self.base.1, self.bound).await?;
        let since = stdout.rotated.max(stderr.rotated);
        if since > 0 {
            (stdout.taken, stderr.taken) = (0, 0);
        }
        Ok(Some(Copy { stdout, stderr, since }))
    }
}

/// Copies the output of one container. Docker keeps all of it, and the files hold a prefix of it: what they have
/// beyond their size at the creation is skipped, so an agent that comes back neither repeats nor loses a byte. Of
/// a file that has begun anew since it is not known how much went before: then it goes on with the second in which
/// it was written last.
struct Copy {
    stdout: Sink,
    stderr: Sink,
    since: i32,
}

impl Copy {
    /// Asks Docker from the start and writes what is not in the files yet; with `follow`, until the container ends.
    async fn run(&mut self, client: &Docker, name: &str, follow: bool) -> Result<(), Error> {
        let options = LogsOptionsBuilder::new().follow(follow).stdout(true).stderr(true).since(self.since).build();
        // Docker sends a line at a time, and a write for each would be slower than the tasks that print them.
        let mut logs = client.logs(name, Some(options)).ready_chunks(PARTS_AT_ONCE);
        self.stdout.skip = self.stdout.taken;
        self.stderr.skip = self.stderr.taken;
        while let Some(parts) = logs.next().await {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut failed = None;
            for part in parts {
                match part {
                    Ok(LogOutput::StdErr { message }) => err.extend_from_slice(&message),
                    Ok(LogOutput::StdOut { message } | LogOutput::Console { message }) => {
                        out.extend_from_slice(&message);
                    }
                    Ok(LogOutput::StdIn { .. }) => {}
                    Err(error) => failed = Some(error),
                }
            }
            self.stdout.write(&out).await?;
            self.stderr.write(&err).await?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Follows the container to its end through restarts of the daemon.
    async fn follow(mut self, client: &Docker, name: &str) -> Result<Copy, Error> {
        loop {
            match self.run(client, name, true).await {
                Ok(()) => return Ok(self),
                Err(error) if is_absent(&error) || matches!(error, Error::IOError { .. }) => return Err(error),
                Err(_) => sleep(RETRY).await,
            }
        }
    }
}

struct Sink {
    path: PathBuf,
    file: File,
    size: u64,
    bound: u64,
    /// Bytes of Docker's output, from its start or from `Copy::since` on, that are in the file.
    taken: u64,
    /// Bytes of the answer being read that are in the file.
    skip: u64,
    /// When it was written last, in seconds, if it has begun anew since the creation; else 0.
    rotated: i32,
}

impl Sink {
    async fn open(path: PathBuf, base: u64, bound: u64) -> std::io::Result<Sink> {
        let file = append(&path).await?;
        let metadata = file.metadata().await?;
        let size = metadata.len();
        let begun_anew = bound > 0 && tokio::fs::symlink_metadata(before(&path)).await.is_ok();
        let written = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let rotated = if begun_anew { i32::try_from(written).unwrap_or(i32::MAX) } else { 0 };
        Ok(Sink { path, file, size, bound, taken: size.saturating_sub(base), skip: 0, rotated })
    }

    async fn write(&mut self, part: &[u8]) -> std::io::Result<()> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(part.len());
        self.skip -= skipped as u64;
        let mut part = &part[skipped..];
        if part.is_empty() {
            return Ok(());
        }
        while !part.is_empty() {
            let mut room = usize::MAX;
            if self.bound > 0 && !is_planted(Bug::LogWithoutEnd) {
                if self.size >= self.bound {
                    tokio::fs::rename(&self.path, before(&self.path)).await?;
                    self.file = append(&self.path).await?;
                    self.size = 0;
                }
                room = usize::try_from(self.bound - self.size).unwrap_or(usize::MAX);
            }
            let now = part.len().min(room);
            self.file.write_all(&part[..now]).await?;
            self.size += now as u64;
            self.taken += now as u64;
            part = &part[now..];
        }
        self.file.flush().await
    }
}

/// Where the part of a log is that came before.
fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

async fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).custom_flags(nix::libc::O_NOFOLLOW).open(path).await
}

impl Shared {
    /// Follows a container to its end. A daemon that goes away and comes back is asked again.
    pub(super) async fn follow(self: Arc<Shared>, container: Arc<Container>, output: Output) {
        let Ok(client) = self.client().await.cloned() else {
            return;
        };
        let name = container.name();
        let copying = {
            let (client, name) = (client.clone(), name.clone());
            tokio::spawn(async move {
                match output.open().await? {
                    Some(copy) => copy.follow(&client, &name).await.map(Some),
                    None => Ok(None),
                }
            })
        };
        let exit = self.end(&client, &name).await;
        // Who is told of the end finds the whole output.
        let whole = async {
            // A followed log may end before the last of it (moby#43860), so it is read once more.
            match copying.await {
                Ok(Ok(Some(mut copy))) => copy.run(&client, &name, false).await,
                Ok(Err(error)) => Err(error),
                Ok(Ok(None)) | Err(_) => Ok(()),
            }
        };
        match timeout(self.options.call_timeout, whole).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(name, %error, "the output of a container is not whole"),
            Err(_) => warn!(name, "the output of an ended container does not end"),
        }
        container.state.send_if_modified(|state| {
            let running = matches!(state, State::Running(_));
            if running {
                *state = State::Ended(exit);
            }
            running
        });
    }

    async fn end(&self, client: &Docker, name: &str) -> Exit {
        let gone = || Exit { message: Some("somebody removed the container".into()), ..Exit::default() };
        loop {
            let mut waiting = Box::pin(client.wait_container(name, None::<WaitContainerOptions>));
            match waiting.next().await {
                // A code other than 0 comes as an error.
                Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => {}
                Some(Err(error)) if is_absent(&error) => return gone(),
                Some(Err(_)) | None => {
                    sleep(RETRY).await;
                    continue;
                }
            }
            if is_planted(Bug::DockerWaitBelieved) {
                return Exit { code: Some(0), ..Exit::default() };
            }
            // The daemon answers `wait` also when it shuts down, so the container's own state decides.
            match timeout(self.options.call_timeout, client.inspect_container(name, None)).await {
                Ok(Ok(found)) => {
                    let state = found.state.unwrap_or_default();
                    if state.running == Some(true) {
                        sleep(RETRY).await;
                        continue;
                    }
                    let out_of_memory = state.oom_killed == Some(true);
                    let told = state.error.filter(|text| !text.is_empty());
                    return Exit {
                        code: state.exit_code.and_then(|code| i32::try_from(code).ok()),
                        signal: None,
                        out_of_memory,
                        message: told.or_else(|| out_of_memory.then(|| "memory limit exceeded".to_string())),
                    };
                }
                Ok(Err(error)) if is_absent(&error) => return gone(),
                _ => sleep(RETRY).await,
            }
        }
    }
}

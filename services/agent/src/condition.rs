//! Whether this host can start tasks: its disk has room, one of its runtimes answers.

use std::{path::Path, sync::Arc, time::Duration};

use mesos_core::agent::Event;
use mesos_ports::containerizer::Containerizer;
use nix::sys::statvfs::statvfs;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::reserve::Reserve;

/// How often to look.
const LOOK: Duration = Duration::from_secs(2);
/// A work directory with less room than this takes no more tasks.
const ROOM_MIN: u64 = 8 << 20;

/// Looks at the host from time to time, and tells the machine when that changes.
pub(crate) fn watch(
    work_dir: std::path::PathBuf,
    containerizers: Vec<Arc<dyn Containerizer>>,
    reserve: Reserve,
    events: mpsc::UnboundedSender<Event>,
    cancel: CancellationToken,
) {
    tokio::spawn(async move {
        let mut told = None;
        loop {
            let disk = of_disk(&work_dir);
            if disk.is_none()
                && let Err(error) = reserve.fill()
            {
                tracing::debug!(%error, "there is no room for the reserve beside the checkpoint yet");
            }
            let why = match disk {
                Some(why) => Some(why),
                None => of_runtimes(&containerizers).await,
            };
            if why.is_some() != told.is_some() {
                match &why {
                    Some(why) => tracing::error!(why, "this agent takes no tasks for now"),
                    None => tracing::info!("this agent takes tasks again"),
                }
                if events.send(Event::Degraded(why.clone())).is_err() {
                    return;
                }
                told = why;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = cancel.cancelled() => return,
            }
        }
    });
}

/// Why the disk of this directory is too full for more tasks. One that cannot be asked is not.
pub(crate) fn of_disk(dir: &Path) -> Option<String> {
    let disk = statvfs(dir).ok()?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    // Some file systems do not count files.
    let no_files = disk.files() > 0 && disk.files_available() == 0;
    // Where all of it is small, half of it is enough.
    let all = disk.blocks().saturating_mul(disk.fragment_size());
    if free >= ROOM_MIN.min(all / 2) && !no_files {
        return None;
    }
    Some(format!("the disk of {} is full: {} MB are left", dir.display(), free >> 20))
}

/// Why none of the runtimes can start anything.
async fn of_runtimes(containerizers: &[Arc<dyn Containerizer>]) -> Option<String> {
    let mut why = None;
    for containerizer in containerizers {
        match containerizer.health().await {
            Ok(()) => return None,
            Err(error) => why = Some(error.to_string()),
        }
    }
    why
}

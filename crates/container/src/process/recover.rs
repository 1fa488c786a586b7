//! Finding the containers of an agent that was away.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use mesos_model::planted::{Bug, is_planted};
use mesos_ports::containerizer::{Recovered, Running};
use nix::fcntl::{Flock, FlockArg};
use tracing::{info, warn};

use super::{Container, Host, ProcessContainerizer, State, as_running};
use crate::{
    procfs,
    records::{self, Ended, Pids, Spec},
};

/// How long a shim may take from its start to a running task.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A container that was found.
pub(super) struct Found {
    id: String,
    spec: Spec,
    state: Life,
}

enum Life {
    /// Its shim lives.
    Running(Running, OwnedFd),
    Ended(Ended),
}

impl Host {
    /// Looks at every runtime directory. Blocks.
    pub(super) fn scan(&self, agent_id: &str) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.options.runtime_dir)? {
            let entry = entry?;
            let Ok(id) = entry.file_name().into_string() else {
                continue;
            };
            let dir = entry.path();
            let Some(spec) = records::read::<Spec>(&dir, records::SPEC) else {
                // The spec is written before the shim starts, so nothing ever ran here in this boot.
                let removed = self.remove(&id);
                info!(container_id = id, ?removed, "removed a container that was never started");
                continue;
            };
            let stranger = spec.agent_id != agent_id;
            if stranger && (self.containers().contains_key(&id) || is_planted(Bug::OrphansKept)) {
                continue;
            }
            if stranger {
                // Nobody shares the directory, so this was the same host before it lost its checkpoint. Nobody
                // counts what the container uses any more, nor would hear how it ends.
                self.last_word(&dir, "its agent has lost its checkpoint");
                let removed = self.remove(&id);
                warn!(container_id = id, agent_id = spec.agent_id, ?removed, "ended a container without an owner");
                continue;
            }
            let state = self.look(&dir, &spec);
            found.push(Found { id, spec, state });
        }
        Ok(found)
    }

    fn look(&self, dir: &Path, spec: &Spec) -> Life {
        let until = Instant::now() + START_LIMIT;
        loop {
            if spec.boot_id != procfs::boot_id() {
                return Life::Ended(self.last_word(dir, "lost with the host, which was restarted"));
            }
            // Held by the shim and by the init of the task's namespaces: free means that nothing runs.
            // While it is held here, a shim that comes late finds the container taken.
            if let Some(_lock) = claim(dir) {
                let started = dir.join(records::PID).exists();
                let why = if started { "its shim was killed" } else { "the agent ended before it was started" };
                return Life::Ended(self.last_word(dir, why));
            }
            if let Some(pids) = records::read::<Pids>(dir, records::PID)
                && let Ok(handle) = pids.shim.open()
            {
                return Life::Running(as_running(&pids), handle);
            }
            if Instant::now() > until {
                return Life::Ended(self.last_word(dir, "its shim did not start it"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn claim(dir: &Path) -> Option<Flock<File>> {
    let file = File::create(dir.join(records::LOCK)).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

impl ProcessContainerizer {
    /// Takes a found container into the books of this agent.
    pub(super) fn adopt(&self, found: Found) -> Recovered {
        let dir = self.host.dir(&found.id);
        let (state, running, handle) = match found.state {
            Life::Running(running, handle) => (State::Running(running.clone()), Some(running), Some(handle)),
            Life::Ended(ended) => (State::Ended(ended.into()), None, None),
        };
        let container = Arc::new(Container::new(&found.id, dir, state));
        self.host.containers().insert(found.id.clone(), container.clone());
        if let Some(handle) = handle {
            let _ = container.shim.set(handle);
            tokio::spawn(self.host.clone().follow(container));
        }
        Recovered {
            container_id: found.id,
            task_id: found.spec.task_id,
            framework_id: found.spec.framework_id,
            running,
        }
    }
}

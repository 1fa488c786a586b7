//! The thread that owns the file. Requests that wait for it are written, and synced, as one group.

use std::fs::File;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mesos_ports::store::{Acquired, Commit, Committed, Fence, StoreError};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Sync;
use super::event::Event;
use super::file::LogFile;
use super::state::{Shared, State, Verdict};

/// How many requests may wait. Each service has one commit in flight, so this is never full.
const QUEUE: usize = 1024;

/// What a store is asked to change.
pub(super) enum Request {
    Commit(Commit),
    Acquire { service: &'static str, leader: Uuid, previous: Option<Uuid>, epoch_min: u64, lease: Duration },
    Release { service: &'static str, fence: Fence },
    Trim { service: &'static str, up_to: u64 },
}

/// The answer to a request that was carried out.
pub(super) enum Done {
    Committed(Committed),
    Acquired(Acquired),
    Nothing,
}

type Answer = Result<Done, StoreError>;

/// The way to the thread. Dropping it lets what waits be written, syncs and closes the file.
pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<(Request, oneshot::Sender<Answer>)>>,
    /// Without a file there is no thread: requests are carried out by the caller, one at a time.
    alone: Mutex<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn in_memory(shared: Arc<Shared>) -> Self {
        Writer { shared, queue: None, alone: Mutex::new(()), threads: Vec::new() }
    }

    pub(super) fn start(shared: Arc<Shared>, file: Option<LogFile>, sync: Sync) -> Result<Self, StoreError> {
        let mut writer = Writer::in_memory(shared.clone());
        let Some(file) = file else { return Ok(writer) };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(|error| StoreError::Unusable(format!("no thread for the store: {error}")))
        };
        let background = Arc::new(Background::default());
        let (requests, inbox) = mpsc::channel();
        let (stop, stopped) = mpsc::sync_channel(0);
        if let Sync::Every(interval) = sync {
            let background = background.clone();
            let run = Box::new(move || background.run(interval, &stopped));
            writer.threads.push(spawn("store-sync", run)?);
        }
        let thread = Thread { shared, file, sync, background, buffer: Vec::new(), pending: Vec::new(), stop };
        writer.threads.push(spawn("store-write", Box::new(move || thread.run(&inbox)))?);
        writer.queue = Some(requests);
        Ok(writer)
    }

    pub(super) async fn ask(&self, request: Request) -> Answer {
        let Some(queue) = &self.queue else {
            return self.ask_memory(request);
        };
        let (reply, answer) = oneshot::channel();
        queue.send((request, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn ask_memory(&self, request: Request) -> Answer {
        let _one_at_a_time = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.shared.write();
        match decide(&mut state, request)? {
            Verdict::Answer(done) => Ok(done),
            Verdict::Write { event, lease, answer } => {
                state.apply(event, Some(lease));
                Ok(answer)
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        // Joined, so that the file is closed and unlocked when the last store is gone.
        for thread in self.threads.drain(..).rev() {
            let _ = thread.join();
        }
        self.shared.write().close();
    }
}

/// The store's thread is gone, which happens only while the store is being dropped.
pub(super) fn gone() -> StoreError {
    StoreError::Unavailable("the store was closed".to_owned())
}

fn decide(state: &mut State, request: Request) -> Result<Verdict<Done>, StoreError> {
    let verdict = match request {
        Request::Commit(commit) => state.commit(commit)?.map(Done::Committed),
        Request::Acquire { service, leader, previous, epoch_min, lease } => {
            state.acquire(service, leader, previous, epoch_min, lease)?.map(Done::Acquired)
        }
        Request::Release { service, fence } => {
            state.release(service, fence)?;
            Verdict::Answer(Done::Nothing)
        }
        Request::Trim { service, up_to } => Verdict::Write {
            event: Event::Trimmed { service: service.to_owned(), up_to },
            lease: Duration::ZERO,
            answer: Done::Nothing,
        },
    };
    Ok(verdict)
}

impl<T> Verdict<T> {
    fn map<U>(self, with: impl FnOnce(T) -> U) -> Verdict<U> {
        match self {
            Verdict::Answer(answer) => Verdict::Answer(with(answer)),
            Verdict::Write { event, lease, answer } => Verdict::Write { event, lease, answer: with(answer) },
        }
    }
}

impl Request {
    fn service(&self) -> &'static str {
        match self {
            Request::Commit(commit) => commit.service,
            Request::Acquire { service, .. } | Request::Release { service, .. } | Request::Trim { service, .. } => {
                service
            }
        }
    }
}

/// What is framed and waits to be written with its group.
struct Pending {
    service: &'static str,
    event: Event,
    lease: Duration,
    answer: Done,
    reply: oneshot::Sender<Answer>,
}

struct Thread {
    shared: Arc<Shared>,
    file: LogFile,
    sync: Sync,
    background: Arc<Background>,
    buffer: Vec<u8>,
    pending: Vec<Pending>,
    /// Dropped with the thread, which ends the syncing one.
    stop: SyncSender<()>,
}

impl Thread {
    fn run(mut self, inbox: &Receiver<(Request, oneshot::Sender<Answer>)>) {
        while let Ok(first) = inbox.recv() {
            let waiting = std::iter::once(first).chain(inbox.try_iter().take(QUEUE));
            for (request, reply) in waiting {
                // A request is judged by a state that has everything before it of its own service.
                if self.pending.iter().any(|pending| pending.service == request.service()) {
                    self.flush();
                }
                self.take(request, reply);
            }
            self.flush();
            if self.file.wants_rewrite() {
                self.rewrite();
            }
        }
        if let Err(error) = self.file.sync() {
            tracing::error!(%error, "the store could not be synced as it was closed");
        }
        drop(self.stop);
    }

    fn take(&mut self, request: Request, reply: oneshot::Sender<Answer>) {
        let service = request.service();
        let verdict = decide(&mut self.shared.write(), request);
        match verdict {
            // A caller that no longer waits asks again with the same batch, so its answer may go.
            Ok(Verdict::Answer(done)) => drop(reply.send(Ok(done))),
            Err(error) => drop(reply.send(Err(error))),
            Ok(Verdict::Write { event, lease, answer }) => {
                if let Some(synced) = self.background.take_synced(&self.file.handle()) {
                    self.file.set_synced(synced);
                }
                self.file.frame(&event, &mut self.buffer);
                self.pending.push(Pending { service, event, lease, answer, reply });
            }
        }
    }

    /// Writes the group, then lets its answers out.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let written = self.write();
        self.buffer.clear();
        // One large commit must not hold its memory for ever.
        self.buffer.shrink_to(1 << 20);
        for pending in self.pending.drain(..) {
            let answer = match &written {
                Ok(()) => {
                    let lease = matches!(pending.event, Event::Term { .. } | Event::Committed { .. });
                    self.shared.write().apply(pending.event, lease.then_some(pending.lease));
                    Ok(pending.answer)
                }
                Err(text) => Err(StoreError::ReadOnly(text.clone())),
            };
            drop(pending.reply.send(answer));
        }
    }

    fn write(&mut self) -> Result<(), String> {
        // After a failed sync nobody knows what the disk holds, so nothing more is promised on it.
        if let Some(text) = self.background.broken() {
            return Err(text);
        }
        self.file.append(&self.buffer).map_err(|error| format!("the store's file cannot be written: {error}"))?;
        match self.sync {
            Sync::Each => self.file.sync().map_err(|error| self.background.set_broken(&error)),
            Sync::Every(_) => {
                self.background.set_dirty(self.file.handle(), self.file.len());
                Ok(())
            }
        }
    }

    fn rewrite(&mut self) {
        // Only this thread changes the state, so readers go on beside it.
        let rewritten = self.file.rewrite(&self.shared.read());
        if let Err(error) = rewritten {
            tracing::warn!(%error, "the store's file could not be written anew, it goes on growing");
        }
    }
}

/// What the writing and the syncing thread tell each other.
#[derive(Default)]
struct Background(Mutex<Ledger>);

#[derive(Default)]
struct Ledger {
    /// What is to be synced: the file and its length then.
    dirty: Option<(Arc<File>, u64)>,
    /// What was synced last.
    synced: Option<(Arc<File>, u64)>,
    broken: Option<String>,
}

impl Background {
    fn run(&self, interval: Duration, stopped: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
            let Some((file, len)) = self.ledger().dirty.take() else {
                continue;
            };
            match file.sync_data() {
                Ok(()) => self.ledger().synced = Some((file, len)),
                Err(error) => {
                    let text = self.set_broken(&error);
                    tracing::error!("{text}");
                }
            }
        }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_dirty(&self, file: Arc<File>, len: u64) {
        self.ledger().dirty = Some((file, len));
    }

    /// How far this very file was synced; a file that was replaced since says nothing.
    fn take_synced(&self, file: &Arc<File>) -> Option<u64> {
        let (synced, len) = self.ledger().synced.take()?;
        Arc::ptr_eq(&synced, file).then_some(len)
    }

    fn broken(&self) -> Option<String> {
        self.ledger().broken.clone()
    }

    fn set_broken(&self, error: &std::io::Error) -> String {
        let text = format!("the store's file could not be synced ({error}); restart to go on with what the disk holds");
        self.ledger().broken = Some(text.clone());
        text
    }
}

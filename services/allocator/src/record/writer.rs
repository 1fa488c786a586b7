//! Writes a recording behind the machine's back: it must never wait for a disk.
//!
//! The machine's thread encodes an entry and puts it into a queue; a thread of its own writes. If the queue grows
//! beyond [`QUEUE_MAX`], the disk fails or the file has reached its limit, recording stops for the rest of the
//! process, with one line in the log. What was written until then can be replayed.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use mesos_core::{
    allocation::{Allocator, Options},
    recording::{Begin, Entry, Recorded, Sink},
};
use mesos_runtime::telemetry::ServiceMetrics;

use super::{ReadError, Reader, Tail, frame_of, frame_of_header};

/// The most bytes that wait to be written.
const QUEUE_MAX: u64 = 128 << 20;
const BUFFER: usize = 1 << 18;

/// Why a recording is not begun.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is there and is no recording that can be continued.
    #[error("{0}; name another file, or move this one away")]
    File(ReadError),
    /// A recording is there whose middle is damaged.
    #[error("the recording is damaged at byte {at} ({why}); move it away")]
    Damaged {
        /// Where.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// Another process has it.
    #[error("another process records in this file; each needs its own")]
    Taken,
    /// It cannot be made or written.
    #[error("cannot be written: {0}")]
    Io(#[from] io::Error),
    /// The header cannot be encoded.
    #[error("{0}")]
    Encode(#[from] mesos_model::envelope::EnvelopeError),
}

/// What the queue's two ends share.
struct Shared {
    open: AtomicBool,
    queued: AtomicU64,
    queue_max: u64,
    path: String,
    metrics: OnceLock<ServiceMetrics>,
}

impl Shared {
    /// Stops recording, and says so once.
    fn close(&self, why: &str) -> bool {
        let closed = self.open.swap(false, Ordering::AcqRel);
        if closed {
            tracing::warn!(file = self.path, why, "the allocator's input is recorded no more; the allocator goes on");
            self.report(None);
        }
        closed
    }

    fn report(&self, written: Option<u64>) {
        let Some(metrics) = self.metrics.get() else { return };
        let open = self.open.load(Ordering::Acquire);
        metrics.set("recording", "1 while what the allocator is told is recorded", i64::from(open));
        if let Some(written) = written {
            let bytes = i64::try_from(written).unwrap_or(i64::MAX);
            metrics.set("recording_bytes", "size of the recording", bytes);
        }
    }
}

/// A recording that is being written.
pub struct Recorder {
    shared: Arc<Shared>,
    queue: Sender<Bytes>,
    begun: AtomicBool,
    writing: JoinHandle<()>,
}

impl Recorder {
    /// Begins a recording in a file, or goes on in one that is there: a torn tail is cut off. It stops when the
    /// file has `limit` bytes.
    ///
    /// # Errors
    /// If the file cannot be written, is something else, or is written by another process.
    pub fn open(path: &Path, limit: u64) -> Result<Recorder, OpenError> {
        Recorder::with_queue(path, limit, QUEUE_MAX)
    }

    pub(super) fn with_queue(path: &Path, limit: u64, queue_max: u64) -> Result<Recorder, OpenError> {
        let file = File::options().create(true).read(true).write(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => OpenError::Taken,
            std::fs::TryLockError::Error(error) => OpenError::Io(error),
        })?;
        let written = prepare(&file)?;
        Recorder::start(file, written, path, limit, queue_max)
    }

    /// Goes on in a file whose position is at its end.
    pub(super) fn start(
        file: File,
        written: u64,
        path: &Path,
        limit: u64,
        queue_max: u64,
    ) -> Result<Recorder, OpenError> {
        let shared = Arc::new(Shared {
            open: AtomicBool::new(true),
            queued: AtomicU64::new(0),
            queue_max,
            path: path.display().to_string(),
            metrics: OnceLock::new(),
        });
        let (queue, frames) = mpsc::channel();
        let writer = Writer { shared: shared.clone(), file: BufWriter::with_capacity(BUFFER, file), written, limit };
        let writing = std::thread::Builder::new().name("recording".to_owned()).spawn(move || writer.run(&frames))?;
        Ok(Recorder { shared, queue, begun: AtomicBool::new(false), writing })
    }

    /// Counts what is written in these metrics.
    #[must_use]
    pub fn reporting(self, metrics: ServiceMetrics) -> Recorder {
        let _ = self.shared.metrics.set(metrics);
        self.shared.report(None);
        self
    }

    /// Records a machine that was just made with these options.
    pub fn around(&self, machine: Allocator, options: Options) -> Recorded {
        let first = !self.begun.swap(true, Ordering::AcqRel);
        let begin = Begin { program: env!("CARGO_PKG_VERSION").to_owned(), options, first };
        let sink = Queue { shared: self.shared.clone(), queue: self.queue.clone() };
        if sink.is_open() { Recorded::on(machine, begin, Box::new(sink)) } else { Recorded::off(machine) }
    }

    /// Writes entries that come from somewhere else, a recording that was changed for example.
    pub fn copy(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut sink = Queue { shared: self.shared.clone(), queue: self.queue.clone() };
        entries.into_iter().for_each(|entry| sink.write(&entry));
    }

    /// Whether recording goes on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Waits until all is written. The machines that were recorded must be gone.
    pub fn finish(self) {
        drop(self.queue);
        if self.writing.join().is_err() {
            tracing::error!(file = self.shared.path, "the thread that writes the recording panicked");
        }
    }
}

/// Leaves the file's position where the next entry goes; returns the position.
fn prepare(mut file: &File) -> Result<u64, OpenError> {
    let length = file.metadata()?.len();
    let mut reader = match Reader::new(BufReader::with_capacity(BUFFER, file), length) {
        Ok(reader) => reader,
        Err(ReadError::Empty) => {
            let header = frame_of_header()?;
            file.write_all(&header)?;
            return Ok(header.len() as u64);
        }
        Err(error) => return Err(OpenError::File(error)),
    };
    reader.by_ref().for_each(drop);
    let end = match reader.tail() {
        Some(Tail::Damaged { at, why }) => return Err(OpenError::Damaged { at: *at, why: why.clone() }),
        Some(Tail::Torn { at, bytes }) => {
            tracing::info!(at, bytes, "the recording's torn tail is cut off");
            *at
        }
        Some(Tail::Whole) | None => reader.position(),
    };
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(end)
}

/// The machine's end of the queue.
struct Queue {
    shared: Arc<Shared>,
    queue: Sender<Bytes>,
}

impl Queue {
    fn put(&self, entry: &Entry) {
        match frame_of(entry) {
            Ok(frame) => {
                self.shared.queued.fetch_add(frame.len() as u64, Ordering::AcqRel);
                // The writer is gone only if recording has stopped.
                let _ = self.queue.send(frame);
            }
            Err(error) => {
                self.shared.close(&format!("an entry cannot be encoded: {error}"));
            }
        }
    }
}

impl Sink for Queue {
    fn write(&mut self, entry: &Entry) {
        if !self.is_open() {
            return;
        }
        if self.shared.queued.load(Ordering::Acquire) > self.shared.queue_max {
            let why = "the disk does not keep up";
            if self.shared.close(why) {
                self.put(&Entry::End { why: why.to_owned() });
            }
            return;
        }
        self.put(entry);
    }

    fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Acquire)
    }
}

/// The disk's end of the queue.
struct Writer {
    shared: Arc<Shared>,
    file: BufWriter<File>,
    written: u64,
    limit: u64,
}

impl Writer {
    fn run(mut self, frames: &Receiver<Bytes>) {
        if let Err(error) = self.write_all(frames) {
            self.shared.close(&format!("cannot be written: {error}"));
        }
        self.shared.report(Some(self.written));
    }

    fn write_all(&mut self, frames: &Receiver<Bytes>) -> io::Result<()> {
        loop {
            let frame = match frames.try_recv() {
                Ok(frame) => frame,
                Err(TryRecvError::Empty) => {
                    self.file.flush()?;
                    self.shared.report(Some(self.written));
                    match frames.recv() {
                        Ok(frame) => frame,
                        Err(_) => return Ok(()),
                    }
                }
                Err(TryRecvError::Disconnected) => return self.file.flush(),
            };
            self.shared.queued.fetch_sub(frame.len() as u64, Ordering::AcqRel);
            if self.written + frame.len() as u64 > self.limit {
                let why = "the recording has reached --record-limit";
                self.shared.close(why);
                if let Ok(end) = frame_of(&Entry::End { why: why.to_owned() }) {
                    self.file.write_all(&end)?;
                    self.written += end.len() as u64;
                }
                return self.file.flush();
            }
            self.file.write_all(&frame)?;
            self.written += frame.len() as u64;
        }
    }
}

//! The queue between an adapter and one subscriber. It is bounded in messages and in bytes; what does
//! not fit is lost and counted, so that a slow reader costs a known amount of memory and nobody else
//! waits for it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::bus::Message;
use tracing::warn;

/// How much one subscription may hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages waiting at most.
    pub messages: usize,
    /// Bytes waiting at most, payloads and overhead. One message always fits into an empty queue.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { messages: 65_536, bytes: 64 * 1024 * 1024 }
    }
}

/// What a message costs beside its payload, roughly: strings, headers, the place in the queue.
const OVERHEAD_BYTES: usize = 256;

/// After so many messages without a pause the reader yields, so that a full queue cannot keep a
/// worker thread from its other tasks.
const READS_WITHOUT_PAUSE_MAX: u32 = 256;

struct Shared {
    state: Mutex<State>,
    limits: Limits,
    label: String,
    lost: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: usize,
    waker: Option<Waker>,
    writer_gone: bool,
    reader_gone: bool,
    lost: u64,
}

/// The adapter's end. Clones share the queue; the reader ends when [`Writer::close`] was called.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Shared>);

/// The subscriber's end: a stream of messages.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    reads_without_pause: u32,
    on_drop: Option<Box<dyn FnOnce() + Send>>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits for the reader.
    Queued,
    /// It did not fit.
    Lost,
    /// Nobody reads any more.
    ReaderGone,
}

/// Makes a queue. `label` names the subscription in the log, `lost` counts over all queues of a bus.
pub(crate) fn queue(label: &str, limits: Limits, lost: Arc<AtomicU64>) -> (Writer, Reader) {
    let shared = Arc::new(Shared { state: Mutex::default(), limits, label: label.to_owned(), lost });
    (Writer(shared.clone()), Reader { shared, reads_without_pause: 0, on_drop: None })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    pub(crate) fn push(&self, message: Message) -> Pushed {
        let cost = message.payload.len() + OVERHEAD_BYTES;
        let limits = self.0.limits;
        let mut state = self.0.lock();
        if state.reader_gone {
            return Pushed::ReaderGone;
        }
        let fits = state.messages.len() < limits.messages && state.bytes + cost <= limits.bytes;
        if !fits && !state.messages.is_empty() && !is_planted(Bug::BusQueueUnbounded) {
            state.lost += 1;
            let is_first = state.lost == 1;
            drop(state);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            if is_first {
                warn!(subscription = %self.0.label, "a subscriber does not keep up, its messages are lost");
            }
            return Pushed::Lost;
        }
        state.bytes += cost;
        state.messages.push_back(message);
        let waker = state.waker.take();
        drop(state);
        // Woken outside the lock: the reader takes it at once.
        if let Some(waker) = waker {
            waker.wake();
        }
        Pushed::Queued
    }

    /// Ends the stream after what is queued.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock();
        state.writer_gone = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.0.lock().messages.len()
    }
}

impl Reader {
    /// Runs `action` when the reader is dropped.
    pub(crate) fn on_drop(mut self, action: impl FnOnce() + Send + 'static) -> Self {
        self.on_drop = Some(Box::new(action));
        self
    }
}

impl Stream for Reader {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let this = self.get_mut();
        if this.reads_without_pause >= READS_WITHOUT_PAUSE_MAX {
            this.reads_without_pause = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut state = this.shared.lock();
        if let Some(message) = state.messages.pop_front() {
            state.bytes -= message.payload.len() + OVERHEAD_BYTES;
            drop(state);
            this.reads_without_pause += 1;
            return Poll::Ready(Some(message));
        }
        if state.writer_gone {
            return Poll::Ready(None);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        drop(state);
        this.reads_without_pause = 0;
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.shared.lock();
            state.reader_gone = true;
            state.bytes = 0;
            std::mem::take(&mut state.messages)
        };
        drop(waiting);
        if let Some(action) = self.on_drop.take() {
            action();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::{FutureExt, StreamExt};

    use super::*;

    fn message(bytes: usize) -> Message {
        Message { subject: "a".to_owned(), reply: None, headers: Vec::new(), payload: Bytes::from(vec![7; bytes]) }
    }

    fn small(messages: usize, bytes: usize) -> (Writer, Reader, Arc<AtomicU64>) {
        let lost = Arc::new(AtomicU64::new(0));
        let (writer, reader) = queue("a", Limits { messages, bytes }, lost.clone());
        (writer, reader, lost)
    }

    #[test]
    fn what_does_not_fit_is_lost_and_counted() {
        let (writer, mut reader, lost) = small(2, 1 << 20);
        assert_eq!(writer.push(message(1)), Pushed::Queued);
        assert_eq!(writer.push(message(1)), Pushed::Queued);
        assert_eq!(writer.push(message(1)), Pushed::Lost);
        assert_eq!(lost.load(Ordering::Relaxed), 1);
        assert!(reader.next().now_or_never().flatten().is_some());
        assert_eq!(writer.push(message(1)), Pushed::Queued);
        assert_eq!(writer.queued(), 2);
    }

    #[test]
    fn bytes_are_bounded_but_one_large_message_always_fits() {
        let (writer, mut reader, _) = small(100, 1000);
        assert_eq!(writer.push(message(5000)), Pushed::Queued);
        assert_eq!(writer.push(message(1)), Pushed::Lost);
        assert_eq!(reader.next().now_or_never().flatten().map(|m| m.payload.len()), Some(5000));
        assert_eq!(writer.push(message(1)), Pushed::Queued);
    }

    #[test]
    fn a_closed_queue_is_read_to_its_end() {
        let (writer, mut reader, _) = small(10, 10_000);
        writer.push(message(1));
        writer.close();
        assert!(matches!(reader.next().now_or_never(), Some(Some(_))));
        assert!(matches!(reader.next().now_or_never(), Some(None)));
    }

    #[test]
    fn the_writer_learns_that_the_reader_is_gone() {
        let (writer, reader, _) = small(10, 10_000);
        let (told, was_told) = std::sync::mpsc::channel();
        drop(reader.on_drop(move || told.send(()).unwrap()));
        was_told.try_recv().unwrap();
        assert_eq!(writer.push(message(1)), Pushed::ReaderGone);
    }

    #[tokio::test]
    async fn a_full_queue_lets_other_tasks_run() {
        let (writer, reader, _) = small(10_000, 100_000_000);
        for _ in 0..5000 {
            writer.push(message(1));
        }
        let mut reader = reader;
        let turns = Arc::new(AtomicU64::new(0));
        let other = tokio::spawn({
            let turns = turns.clone();
            async move {
                loop {
                    turns.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        });
        for _ in 0..5000 {
            reader.next().await.unwrap();
        }
        other.abort();
        assert!(turns.load(Ordering::Relaxed) >= 10);
    }
}

//! SUBSCRIBE of the operator API: everything once, then every change as it happens.
//!
//! A follower that does not read is cut off when it is too far behind, and subscribes anew. Beyond
//! [`FOLLOWERS_MAX`] the oldest one is cut off, as Mesos does.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mesos_proto::v1::master::Event;
use tokio::{
    sync::{broadcast, mpsc},
    time::Interval,
};
use tokio_util::sync::CancellationToken;

use super::state;
use crate::reads::Reads;

/// Mesos's `--max_operator_event_stream_subscribers`.
pub const FOLLOWERS_MAX: usize = 1000;
/// Fixed, as in Mesos.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that wait for one client.
const QUEUE: usize = 256;

/// The open streams, oldest first.
#[derive(Debug, Default)]
pub struct Subscribers {
    open: Mutex<VecDeque<CancellationToken>>,
}

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, VecDeque<CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more in and cuts the oldest one off if there are too many.
    fn admit(&self) -> CancellationToken {
        let mine = CancellationToken::new();
        let mut open = self.lock();
        open.retain(|cut| !cut.is_cancelled());
        open.push_back(mine.clone());
        while open.len() > FOLLOWERS_MAX {
            if let Some(oldest) = open.pop_front() {
                oldest.cancel();
            }
        }
        mine
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().iter().filter(|cut| !cut.is_cancelled()).count()
    }
}

/// Opens a stream. It ends when the receiver is dropped, the client is too slow, or the gateway stops.
#[must_use]
pub fn open(reads: &Arc<Reads>) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (reads, cut) = (reads.clone(), reads.subscribers.admit());
    tokio::spawn(async move {
        tokio::select! {
            _ = feed(&reads, &sender) => {}
            () = cut.cancelled() => {}
            () = sender.closed() => {}
            () = reads.cancel.cancelled() => {}
        }
        cut.cancel();
    });
    receiver
}

/// The client has gone.
struct Over;

async fn feed(reads: &Arc<Reads>, sender: &mpsc::Sender<Event>) -> Result<(), Over> {
    let (cluster, _, mut batches) = reads.view.subscribe();
    let frame = reads.frame();
    let first = tokio::task::spawn_blocking(move || state::subscribed(&cluster, &frame, HEARTBEAT.as_secs_f64()));
    sender.send(first.await.map_err(|_| Over)?).await.map_err(|_| Over)?;
    // The first beat after one interval: SUBSCRIBED says enough.
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        next(reads, sender, &mut batches, &mut heartbeat).await?;
    }
}

async fn next(
    reads: &Reads,
    sender: &mpsc::Sender<Event>,
    batches: &mut broadcast::Receiver<Arc<crate::view::Batch>>,
    heartbeat: &mut Interval,
) -> Result<(), Over> {
    let batch = tokio::select! {
        batch = batches.recv() => match batch {
            Ok(batch) => batch,
            Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => {
                tracing::warn!("an operator's client does not read its events and is cut off");
                return Err(Over);
            }
        },
        _ = heartbeat.tick() => return sender.send(state::heartbeat()).await.map_err(|_| Over),
    };
    for delta in &batch.deltas {
        for event in state::events(delta, || (reads.view.snapshot().0, reads.frame())) {
            sender.send(event).await.map_err(|_| Over)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_too_many_followers_is_cut_off() {
        let subscribers = Subscribers::default();
        let first = subscribers.admit();
        let second = subscribers.admit();
        for _ in 2..FOLLOWERS_MAX {
            subscribers.admit();
        }
        assert!(!first.is_cancelled());
        subscribers.admit();
        assert!(first.is_cancelled() && !second.is_cancelled());
        assert_eq!(subscribers.count(), FOLLOWERS_MAX);
        // One that left makes room.
        second.cancel();
        subscribers.admit();
        assert_eq!(subscribers.count(), FOLLOWERS_MAX);
    }
}

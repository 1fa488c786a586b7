//! Following a change stream: over the bus at once, from the store after a gap.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use mesos_model::{
    Term,
    planted::{Bug, is_planted},
    subject::Subjects,
};
use mesos_ports::{
    bus::Bus,
    store::{Entry, Store, StoreError},
};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{codec, quarantine::Quarantine};

/// What a follower gets.
#[derive(Debug)]
pub enum Followed {
    /// The next entry; numbers have no gaps.
    Entry(Entry),
    /// The stream cannot be continued: load the rows and follow again.
    Gap,
}

/// How long the bus may be silent before the store is asked whether something was missed.
const SILENCE: Duration = Duration::from_secs(1);
const READ_MAX: usize = 1000;

/// Follows the stream of `service` after entry `after` until the receiver is dropped.
#[must_use]
pub fn follow(
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    subjects: &Subjects,
    service: &'static str,
    after: u64,
    quarantine: Quarantine,
) -> mpsc::Receiver<Followed> {
    let (sender, receiver) = mpsc::channel(1024);
    let subject = subjects.changes(service);
    let follower = Follower { store, service, last: after, term: None, sender, quarantine };
    tokio::spawn(follower.run(bus, subject));
    receiver
}

struct Follower {
    store: Arc<dyn Store>,
    service: &'static str,
    last: u64,
    term: Option<Term>,
    sender: mpsc::Sender<Followed>,
    quarantine: Quarantine,
}

/// The follower has ended.
struct Ended;

impl Follower {
    async fn run(mut self, bus: Arc<dyn Bus>, subject: String) {
        let _ = self.follow(bus, subject).await;
    }

    async fn follow(&mut self, bus: Arc<dyn Bus>, subject: String) -> Result<(), Ended> {
        let mut announced = loop {
            match bus.subscribe(&subject).await {
                Ok(subscription) => break subscription,
                Err(error) => {
                    tracing::debug!(%subject, %error, "cannot subscribe; reading from the store meanwhile");
                    self.read().await?;
                    tokio::time::sleep(SILENCE).await;
                }
            }
        };
        self.read().await?;
        let mut silence = tokio::time::interval(SILENCE);
        silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = announced.next() => match message {
                    Some(message) => match codec::decode_announced(&message.payload) {
                        // Only what goes on from here shows that nothing was missed: a store that was wiped
                        // counts from one again.
                        Ok(entry) => {
                            let goes_on = entry.seq == self.last + 1;
                            self.announced(entry).await?;
                            if goes_on {
                                silence.reset();
                            }
                        }
                        // Its number is missing then, so that it is read from the store.
                        Err(error) => self.quarantine.message(&subject, &error),
                    },
                    None => return self.emit(Followed::Gap).await,
                },
                _ = silence.tick() => {
                    let known = self.last;
                    self.read().await?;
                    // Entries without a word on the bus: it may have forgotten this subscription.
                    if self.last > known
                        && !is_planted(Bug::DeadSubscriptionKept)
                        && let Ok(again) = bus.subscribe(&subject).await
                    {
                        announced = again;
                    }
                }
                () = self.sender.closed() => return Err(Ended),
            }
        }
    }

    async fn announced(&mut self, entry: Entry) -> Result<(), Ended> {
        let other = self.term.is_some_and(|term| term != entry.term && term.epoch <= entry.term.epoch);
        if other && entry.seq <= self.last {
            // Another term writes numbers that we have seen: the store was rolled back, or wiped.
            self.emit(Followed::Gap).await?;
            return Err(Ended);
        }
        if entry.seq == self.last + 1 {
            return self.next(entry).await;
        }
        if entry.seq > self.last + 1 {
            return self.read().await;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Ended> {
        loop {
            let entries = match self.store.read(self.service, self.last, READ_MAX).await {
                Ok(entries) => entries,
                Err(StoreError::Trimmed { .. } | StoreError::RolledBack { .. }) => {
                    self.emit(Followed::Gap).await?;
                    return Err(Ended);
                }
                Err(error) => {
                    tracing::debug!(service = self.service, %error, "cannot read the change stream");
                    return Ok(());
                }
            };
            let full = entries.len() == READ_MAX;
            for entry in entries {
                if entry.seq != self.last + 1 {
                    self.emit(Followed::Gap).await?;
                    return Err(Ended);
                }
                self.next(entry).await?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn next(&mut self, entry: Entry) -> Result<(), Ended> {
        self.last = entry.seq;
        self.term = Some(entry.term);
        self.emit(Followed::Entry(entry)).await
    }

    async fn emit(&self, followed: Followed) -> Result<(), Ended> {
        self.sender.send(followed).await.map_err(|_| Ended)
    }
}

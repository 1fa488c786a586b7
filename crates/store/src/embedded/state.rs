//! Rows, records and entries in memory: what is refused, and what an event changes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mesos_ports::store::{Acquired, Commit, Committed, Entry, Fence, Head, Loaded, StoreError};
use tokio::sync::watch;
use uuid::Uuid;

use super::event::{Event, Stored};

/// The state behind its lock. The lock is a blocking one: it is held for map look-ups only, never
/// across an await, and only the writer's thread changes what it guards.
pub(super) struct Shared(RwLock<State>);

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Shared(RwLock::new(state))
    }

    // No code panics half-way through a change, so a poisoned lock guards a whole state.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything in the store.
#[derive(Default)]
pub(super) struct State {
    services: BTreeMap<String, Service>,
    /// No commit will follow: followers end.
    pub(super) closed: bool,
}

#[derive(Default)]
struct Service {
    record: Option<Stored>,
    lease_until: Option<Instant>,
    rows: BTreeMap<String, Bytes>,
    entries: VecDeque<Entry>,
    /// Number of the last commit, for followers.
    wake: watch::Sender<u64>,
}

/// What is to be done about a request.
pub(super) enum Verdict<T> {
    /// Nothing is to be written.
    Answer(T),
    /// Append the event, apply it with this lease, then answer.
    Write { event: Event, lease: Duration, answer: T },
}

impl State {
    pub(super) fn commit(&self, commit: Commit) -> Result<Verdict<Committed>, StoreError> {
        let record = self.fenced(commit.service, commit.fence)?;
        if record.seq != commit.fence.seq {
            if record.seq == commit.fence.seq + 1 && record.batch == commit.batch {
                return Ok(Verdict::Answer(Committed { seq: record.seq, store_time_ms: record.at_ms }));
            }
            return Err(StoreError::RolledBack { stored: record.seq, ours: commit.fence.seq });
        }
        let at_ms = now_ms().max(record.at_ms);
        let record = Stored {
            seq: record.seq + 1,
            last: record.term(),
            batch: commit.batch,
            at_ms,
            peer_cursor: commit.peer_cursor,
            ..*record
        };
        Ok(Verdict::Write {
            event: Event::Committed { service: commit.service.to_owned(), record, changes: commit.changes },
            lease: commit.lease,
            answer: Committed { seq: record.seq, store_time_ms: at_ms },
        })
    }

    pub(super) fn acquire(
        &self,
        service: &str,
        leader: Uuid,
        previous: Option<Uuid>,
        epoch_min: u64,
        lease: Duration,
    ) -> Result<Verdict<Acquired>, StoreError> {
        let stored = self.record(service).copied();
        if let Some(record) = stored {
            let left = self.lease_left(service);
            if !left.is_zero() && record.leader != leader && Some(record.leader) != previous {
                return Err(StoreError::Held { left_ms: (left.as_millis() as u64).max(1) });
            }
        }
        let before = stored.unwrap_or_default();
        let record = Stored { epoch: (before.epoch + 1).max(epoch_min), leader, ..before };
        Ok(Verdict::Write {
            event: Event::Term { service: service.to_owned(), record },
            lease,
            answer: Acquired {
                fence: Fence { epoch: record.epoch, leader, seq: record.seq },
                store_time_ms: now_ms().max(record.at_ms),
                peer_cursor: record.peer_cursor,
                last: record.last,
            },
        })
    }

    /// Ends the lease. Nothing is written: leases do not outlive the process.
    pub(super) fn release(&mut self, service: &str, fence: Fence) -> Result<(), StoreError> {
        let seq = self.fenced(service, fence)?.seq;
        if seq != fence.seq {
            return Err(StoreError::RolledBack { stored: seq, ours: fence.seq });
        }
        if let Some(service) = self.services.get_mut(service) {
            service.lease_until = None;
        }
        Ok(())
    }

    /// Applies an event that is in the file.
    pub(super) fn apply(&mut self, event: Event, lease: Option<Duration>) {
        match event {
            Event::Term { service, record } => {
                let service = self.service(service);
                service.record = Some(record);
                service.lease_until = lease.map(|lease| Instant::now() + lease);
            }
            Event::Committed { service, record, changes } => {
                let service = self.service(service);
                for change in &changes {
                    match &change.value {
                        // A copy, since the value may be a slice of a much larger message.
                        Some(value) => {
                            service.rows.insert(change.key.clone(), Bytes::copy_from_slice(value));
                        }
                        None => {
                            service.rows.remove(&change.key);
                        }
                    }
                }
                service.record = Some(record);
                service.lease_until = lease.map(|lease| Instant::now() + lease);
                service.entries.push_back(Entry { seq: record.seq, term: record.term(), changes });
                service.wake.send_replace(record.seq);
            }
            Event::Trimmed { service, up_to } => {
                let entries = &mut self.service(service).entries;
                while entries.front().is_some_and(|entry| entry.seq <= up_to) {
                    entries.pop_front();
                }
            }
            Event::Row { service, key, value } => {
                self.service(service).rows.insert(key, value);
            }
            Event::Entry { service, seq, term, changes } => {
                self.service(service).entries.push_back(Entry { seq, term, changes });
            }
        }
    }

    /// Drops all entries: followers load the rows. For a history that has holes.
    pub(super) fn forget_entries(&mut self) {
        self.services.values_mut().for_each(|service| service.entries.clear());
    }

    /// The events that give this state again, without its leases.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.services.iter().flat_map(|(name, service)| {
            let term = service.record.map(|record| Event::Term { service: name.clone(), record });
            let rows = service.rows.iter().map(|(key, value)| Event::Row {
                service: name.clone(),
                key: key.clone(),
                value: value.clone(),
            });
            let entries = service.entries.iter().map(|entry| Event::Entry {
                service: name.clone(),
                seq: entry.seq,
                term: entry.term,
                changes: entry.changes.clone(),
            });
            term.into_iter().chain(rows).chain(entries)
        })
    }

    pub(super) fn get(&self, service: &str, keys: &[String]) -> Vec<(String, Bytes)> {
        let Some(service) = self.services.get(service) else { return Vec::new() };
        keys.iter()
            .filter_map(|key| service.rows.get_key_value(key))
            .map(|(key, row)| (key.clone(), row.clone()))
            .collect()
    }

    pub(super) fn load(&self, service: &str) -> Loaded {
        let rows = self
            .services
            .get(service)
            .map(|service| service.rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect());
        Loaded {
            rows: rows.unwrap_or_default(),
            seq: self.record(service).map_or(0, |record| record.seq),
            term: self.record(service).map_or_else(Default::default, |record| record.last),
        }
    }

    pub(super) fn entries(&self, service: &str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let seq = self.record(service).map_or(0, |record| record.seq);
        if after > seq {
            return Err(StoreError::RolledBack { stored: seq, ours: after });
        }
        let Some(entries) = self.services.get(service).map(|service| &service.entries) else {
            return Ok(Vec::new());
        };
        let first = entries.front().map_or(seq + 1, |entry| entry.seq);
        if after + 1 < first {
            return Err(StoreError::Trimmed { first });
        }
        let skip = (after + 1 - first) as usize;
        Ok(entries.iter().skip(skip).take(limit).cloned().collect())
    }

    pub(super) fn head(&self, service: &str) -> Option<Head> {
        let record = self.record(service)?;
        Some(Head {
            seq: record.seq,
            epoch: record.epoch,
            leader: record.leader,
            lease_left_ms: self.lease_left(service).as_millis() as u64,
            store_time_ms: now_ms().max(record.at_ms),
        })
    }

    /// A receiver that changes with each commit of the service.
    pub(super) fn wake(&mut self, service: &str) -> watch::Receiver<u64> {
        self.service(service.to_owned()).wake.subscribe()
    }

    /// Ends every follower.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for service in self.services.values() {
            service.wake.send_modify(|_| {});
        }
    }

    fn fenced(&self, service: &str, fence: Fence) -> Result<&Stored, StoreError> {
        match self.record(service) {
            Some(record) if record.epoch == fence.epoch && record.leader == fence.leader => Ok(record),
            other => Err(StoreError::Fenced { epoch: other.map_or(0, |record| record.epoch) }),
        }
    }

    fn record(&self, service: &str) -> Option<&Stored> {
        self.services.get(service)?.record.as_ref()
    }

    fn lease_left(&self, service: &str) -> Duration {
        let until = self.services.get(service).and_then(|service| service.lease_until);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    fn service(&mut self, name: String) -> &mut Service {
        self.services.entry(name).or_default()
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

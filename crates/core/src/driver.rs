//! The loop around a machine: standby, term, batch, commit, then speak. Itself a machine without IO.
//!
//! ```text
//!             Load ─► follow own and peer's stream (warm standby) ─► Acquire ─┐
//!               ▲                                                             ▼
//!   Fenced, RolledBack, ReadOnly: drop the machine, reload       lead: events ─► step ─► settle
//!               ▲                                                             │
//!               └──────────── Commit(rows, fence, peer cursor) ◄──────────────┘
//!                                  └─ done ─► announce rows, let outputs out
//! ```
//!
//! One commit is in flight; what arrives meanwhile is the next batch. A batch never waits for more.

mod audit;

pub use audit::Audit;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use mesos_engine::bundle::FixedState;
use mesos_model::{
    Term, Time,
    planted::{Bug, is_planted},
};

use crate::{
    machine::{Effects, Machine},
    row::{RowChange, RowKey},
};

/// What a driver is told once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The service whose rows the machine owns.
    pub service: &'static str,
    /// The service whose rows it follows.
    pub peer: Option<&'static str>,
    /// How long a lease runs. It is renewed after a third of it.
    pub lease: Duration,
    /// The most events in one batch.
    pub batch_max: usize,
    /// Where the ids of terms come from; must differ between processes and starts.
    pub seed: u128,
}

/// Entries of a change stream, decoded.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Number of the commit.
    pub seq: u64,
    /// The term that wrote it.
    pub term: Term,
    /// What it changed, in order.
    pub changes: Arc<Vec<RowChange>>,
}

/// All rows of a service, or the last of them if others were given before.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The rows.
    pub rows: Vec<RowChange>,
    /// Number of the commit up to which they are complete.
    pub seq: u64,
    /// The term that wrote that commit.
    pub term: Term,
}

/// The record that a leader shows with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The term.
    pub term: Term,
    /// Number of the last commit.
    pub seq: u64,
}

/// Why a store operation did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another leader has the term.
    Fenced {
        /// Its epoch.
        epoch: u64,
    },
    /// The store lost commits.
    RolledBack,
    /// Nothing can be written.
    ReadOnly(String),
    /// Somebody holds the lease.
    Held {
        /// For so long.
        left: Duration,
    },
    /// No answer: the outcome is unknown.
    Unavailable(String),
}

/// What happens to a driver.
#[derive(Debug)]
pub enum Input<E> {
    /// Time has passed; also the first input of all.
    Tick,
    /// Events for the machine. A driver that does not lead drops them.
    Events(Vec<E>),
    /// An event that must not be handled before the peer's stream was applied up to `seq`.
    AfterPeer {
        /// Number of the peer's commit.
        seq: u64,
        /// The event.
        event: E,
    },
    /// Some of the rows that [`Output::Load`] asks for, so that nobody has to hold all of them.
    Rows(Vec<RowChange>),
    /// The answer to [`Output::Load`], with the rest of the rows.
    Loaded(Result<Snapshot, Failure>),
    /// Some of the rows that [`Output::LoadPeer`] asks for.
    PeerRows(Vec<RowChange>),
    /// The answer to [`Output::LoadPeer`], with the rest of the rows.
    PeerLoaded(Result<Snapshot, Failure>),
    /// The answer to [`Output::LoadCold`].
    ColdLoaded(Result<Vec<RowChange>, Failure>),
    /// From the own change stream, in order; the answer to [`Output::Follow`].
    Entry(Changes),
    /// From the peer's change stream, in order; the answer to [`Output::FollowPeer`].
    PeerEntry(Changes),
    /// The own stream has a gap or its connection was lost.
    Gap,
    /// The peer's stream has a gap or its connection was lost.
    PeerGap,
    /// The answer to [`Output::Acquire`].
    Acquired(Result<Granted, Failure>),
    /// The answer to [`Output::Audit`].
    Audited(Result<Audit, Failure>),
    /// The answer to [`Output::Commit`].
    Committed {
        /// The batch that was tried; an answer about another one, of a term that is over, says nothing.
        batch: u128,
        /// What came of it.
        done: Result<Done, Failure>,
    },
    /// An agent obeys a term as high as this: take a higher one.
    RaiseEpoch(u64),
    /// Hand over and end.
    Stop,
}

/// A term was granted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Granted {
    /// Its epoch.
    pub epoch: u64,
    /// Number of the last commit.
    pub seq: u64,
    /// The term that wrote the last commit; with `seq` it says which history the store holds. (The epoch alone
    /// does not: a wiped store begins again with the first.)
    pub last: Term,
    /// How far the last leader had applied the peer.
    pub peer_cursor: u64,
    /// The store's clock.
    pub store_time: Time,
}

/// A commit was done.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Its number.
    pub seq: u64,
    /// The store's clock.
    pub store_time: Time,
}

/// What a driver wants done.
#[derive(Debug)]
pub enum Output<O> {
    /// Load all own rows but the cold ones. Until `Follow` nothing of the own stream is given: what comes meanwhile is
    /// not kept, and what comes after it would have a gap.
    Load,
    /// Load all rows of the peer but the cold ones. Until `FollowPeer` nothing of its stream is given.
    LoadPeer,
    /// Load these own rows, which are cold.
    LoadCold(Vec<RowKey>),
    /// Follow the own stream from this number on (or again).
    Follow {
        /// The last one applied.
        after: u64,
    },
    /// Follow the peer's stream from this number on (or again).
    FollowPeer {
        /// The last one applied.
        after: u64,
    },
    /// Ask for a term.
    Acquire {
        /// The new term's leader id.
        leader: u128,
        /// The own last leader id, which may still hold the lease.
        previous: Option<u128>,
        /// The epoch must be at least this.
        epoch_min: u64,
    },
    /// The machine leads: let calls in.
    Leading(Term),
    /// It does no longer: keep calls out, and answer those under way with 503.
    Following(String),
    /// Commit rows.
    Commit {
        /// What to show.
        lease: Lease,
        /// Same for the same rows, however often they are tried.
        batch: u128,
        /// The rows; may be empty, to renew the lease.
        changes: Arc<Vec<RowChange>>,
        /// How far the peer was applied.
        peer_cursor: u64,
    },
    /// Load all own rows, and then the number of the last commit, for an audit.
    Audit,
    /// An audit found that the machine does not hold what the store does; it is built anew.
    Diverged {
        /// Some key of what differs.
        key: RowKey,
        /// How many rows differ.
        rows: usize,
    },
    /// Tell followers what was committed.
    Announce(Changes),
    /// The machine's outputs, in order; what they rest on is committed.
    Do(Vec<O>),
    /// Give the lease back.
    Release(Lease),
    /// It has ended.
    Stopped,
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// Rows are being loaded.
    Loading,
    /// Built, following, waiting for the lease.
    Standby,
    /// The lease is asked for.
    Asking,
    /// The lease is held; own rows or the peer's are not up to date yet.
    CatchingUp(Granted),
    /// Events are handled.
    Leading,
    /// Stopped.
    Stopped,
}

/// The cold rows that the machine cannot lead without.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cold {
    /// Nobody has looked yet which they are.
    Unknown,
    /// They are on their way.
    Asked,
    /// They could not be had; in a while they are asked for again.
    Failed,
    /// They are there.
    Known,
}

struct InFlight<O> {
    batch: u128,
    changes: Arc<Vec<RowChange>>,
    outputs: Vec<O>,
    retry_at: Option<Time>,
}

#[derive(Default)]
struct Peer {
    loaded: bool,
    loading: bool,
    /// The machine that got the first rows of the load that is under way is no more.
    spoilt: bool,
    seq: u64,
    term: Term,
    /// Rows that the machine had when a load began to show its rows, and that it has not shown yet.
    unseen: Option<HashSet<RowKey, FixedState>>,
    /// The first rows of a load that is under way, kept from a machine that leads: while some rows are of one moment
    /// and some of another it would decide on what never was.
    kept: Vec<RowChange>,
    /// Rows that a reload no longer showed. They are deleted with the next commit of the same history: a store
    /// that lost commits shows old rows until its leader notices, and nothing may be decided on those.
    vanished: BTreeSet<RowKey>,
    pending: VecDeque<Changes>,
    reloaded: Option<Snapshot>,
}

/// The loop around a machine of one service.
pub struct Driver<M: Machine> {
    config: Config,
    make: Box<dyn Fn() -> M + Send>,
    machine: M,
    phase: Phase,
    lease: Lease,
    /// The term that wrote the last commit that was applied.
    applied: Term,
    terms: u64,
    epoch_min: u64,
    peer: Peer,
    inbox: VecDeque<M::Event>,
    after_peer: BTreeMap<u64, Vec<M::Event>>,
    in_flight: Option<InFlight<M::Output>>,
    renew_at: Time,
    retry_at: Option<Time>,
    store_ahead_ms: i128,
    clock_set_at: Time,
    machine_now: Time,
    stopping: bool,
    auditing: Option<audit::Auditing>,
    audit_at: Option<Time>,
    /// How many rows the store had when they were read last.
    rows_loaded: usize,
    cold: Cold,
}

/// How long an unanswered store is left alone before it is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// How often a standby looks whether the lease is free.
const LOOK: Duration = Duration::from_millis(300);

impl<M: Machine> Driver<M> {
    /// A driver whose machine is made by `make`: at first, and whenever a term ends badly.
    pub fn new(config: Config, make: impl Fn() -> M + Send + 'static) -> Self {
        let machine = make();
        Driver {
            config,
            make: Box::new(make),
            machine,
            phase: Phase::Loading,
            lease: Lease { term: Term::default(), seq: 0 },
            applied: Term::default(),
            terms: 0,
            epoch_min: 0,
            peer: Peer::default(),
            inbox: VecDeque::new(),
            after_peer: BTreeMap::new(),
            in_flight: None,
            renew_at: Time(0),
            retry_at: Some(Time(0)),
            store_ahead_ms: 0,
            clock_set_at: Time(0),
            machine_now: Time(0),
            stopping: false,
            auditing: None,
            audit_at: None,
            rows_loaded: 0,
            cold: Cold::Unknown,
        }
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The term it leads in, if it leads.
    pub fn leading(&self) -> Option<Term> {
        (self.phase == Phase::Leading).then_some(self.lease.term)
    }

    /// Whether it was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Number of the last own commit that was applied.
    pub fn applied(&self) -> u64 {
        self.lease.seq
    }

    /// Events that wait for a commit to be done.
    pub fn waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Events that wait for commits of the peer.
    pub fn waiting_for_peer(&self) -> usize {
        self.after_peer.values().map(Vec::len).sum()
    }

    /// Number of the last commit of the peer that was applied.
    pub fn peer_applied(&self) -> u64 {
        self.peer.seq
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let mut deadline = self.retry_at;
        let mut at = |time: Option<Time>| {
            if let Some(time) = time {
                deadline = Some(deadline.map_or(time, |d| d.min(time)));
            }
        };
        match &self.in_flight {
            Some(in_flight) => at(in_flight.retry_at),
            None if self.phase == Phase::Leading => {
                at(Some(self.renew_at));
                at(self.machine.deadline().map(|time| self.to_local(time)));
            }
            None if self.phase == Phase::Standby => at(self.audit_at),
            None => {}
        }
        deadline
    }

    /// Takes one input, and says what is to be done.
    pub fn handle(&mut self, now: Time, input: Input<M::Event>, out: &mut Vec<Output<M::Output>>) {
        match input {
            Input::Tick => {}
            Input::Events(events) => {
                if self.phase == Phase::Leading {
                    self.inbox.extend(events);
                }
            }
            Input::AfterPeer { seq, event } => self.after_peer(seq, event),
            Input::Rows(rows) => self.restore(rows),
            Input::Loaded(loaded) => self.loaded(now, loaded, out),
            Input::PeerRows(rows) => self.peer_rows(now, rows),
            Input::PeerLoaded(loaded) => self.peer_loaded(now, loaded, out),
            Input::ColdLoaded(loaded) => self.cold_loaded(now, loaded),
            Input::Entry(entry) => self.entry(entry, out),
            Input::Audited(audit) => self.audited(audit, out),
            Input::PeerEntry(entry) => self.peer_entry(entry, out),
            Input::Gap => self.gap(out),
            Input::PeerGap => self.load_peer(out),
            Input::Acquired(granted) => self.acquired(now, granted, out),
            Input::Committed { batch, done } => self.committed(now, batch, done, out),
            Input::RaiseEpoch(epoch) => self.raise_epoch(now, epoch, out),
            Input::Stop => self.stopping = true,
        }
        self.advance(now, out);
    }

    fn advance(&mut self, now: Time, out: &mut Vec<Output<M::Output>>) {
        if self.stopping && self.in_flight.is_none() && self.phase != Phase::Stopped {
            return self.stop(out);
        }
        self.retry(now, out);
        if let Phase::CatchingUp(granted) = self.phase {
            self.try_to_lead(now, granted, out);
        }
        while self.phase == Phase::Leading && self.in_flight.is_none() && self.run_batch(now, out) {}
    }

    fn retry(&mut self, now: Time, out: &mut Vec<Output<M::Output>>) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            match self.phase {
                Phase::Loading => {
                    out.push(Output::Load);
                    self.load_peer(out);
                }
                Phase::Standby => self.ask_when_ready(out),
                // The peer's stream did not bring what the last leader saw: it may be lost there.
                Phase::CatchingUp(granted) if self.peer.seq < granted.peer_cursor => self.load_peer(out),
                Phase::CatchingUp(_) if self.cold == Cold::Failed => self.cold = Cold::Unknown,
                Phase::Asking | Phase::CatchingUp(_) | Phase::Leading | Phase::Stopped => {}
            }
            if self.config.peer.is_some() && !self.peer.loaded {
                self.load_peer(out);
            }
        }
        if self.phase == Phase::Standby && self.audit_at.is_some_and(|at| at <= now) {
            self.audit(now, out);
        }
        let due = self.in_flight.as_ref().is_some_and(|commit| commit.retry_at.is_some_and(|at| at <= now));
        if due {
            self.send_commit(out);
        }
    }

    // Loading and following.

    fn restore(&mut self, rows: Vec<RowChange>) {
        if self.phase == Phase::Loading {
            self.rows_loaded += rows.len();
            rows.into_iter().for_each(|change| self.machine.restore(change));
        }
    }

    fn loaded(&mut self, now: Time, loaded: Result<Snapshot, Failure>, out: &mut Vec<Output<M::Output>>) {
        if self.phase != Phase::Loading {
            return;
        }
        let snapshot = match loaded {
            Ok(snapshot) => snapshot,
            Err(_) => {
                if self.rows_loaded > 0 {
                    // What it got may be deleted before the next attempt.
                    self.discard();
                }
                self.retry_at = Some(now.after(RETRY));
                return;
            }
        };
        self.restore(snapshot.rows);
        self.lease.seq = snapshot.seq;
        self.applied = snapshot.term;
        self.phase = Phase::Standby;
        self.audit_at = Some(audit::next(now, self.rows_loaded));
        out.push(Output::Follow { after: snapshot.seq });
        self.ask_when_ready(out);
    }

    fn entry(&mut self, entry: Changes, out: &mut Vec<Output<M::Output>>) {
        let follows = matches!(self.phase, Phase::Standby | Phase::Asking | Phase::CatchingUp(_));
        if !follows || entry.seq <= self.lease.seq {
            return;
        }
        // After a new term the store says what is true: it may have been rolled back meanwhile.
        let same_history =
            entry.term == self.applied || (is_planted(Bug::HistoryByEpoch) && entry.term.epoch == self.applied.epoch);
        if (entry.seq != self.lease.seq + 1 && !is_planted(Bug::OwnGapIgnored)) || !same_history {
            return self.gap(out);
        }
        for change in entry.changes.iter() {
            if let Some(auditing) = &mut self.auditing {
                auditing.touched.insert(change.key());
            }
            self.machine.restore(change.clone());
        }
        self.lease.seq = entry.seq;
        self.applied = entry.term;
        self.compare(out);
    }

    fn gap(&mut self, out: &mut Vec<Output<M::Output>>) {
        match self.phase {
            Phase::Standby | Phase::Asking | Phase::CatchingUp(_) => self.reload(out),
            // A leader knows its own rows, and a loading one is about to.
            Phase::Loading | Phase::Leading | Phase::Stopped => {}
        }
    }

    /// Begins with a new machine, which knows no rows.
    fn discard(&mut self) {
        if !is_planted(Bug::KeepMachine) {
            self.machine = (self.make)();
        }
        self.rows_loaded = 0;
        let given = self.peer.spoilt || self.peer.unseen.is_some() || !self.peer.kept.is_empty();
        self.peer = Peer {
            loading: self.peer.loading,
            spoilt: self.peer.loading && given,
            seq: self.peer.seq,
            term: self.peer.term,
            ..Peer::default()
        };
    }

    fn reload(&mut self, out: &mut Vec<Output<M::Output>>) {
        self.discard();
        self.inbox.clear();
        self.after_peer.clear();
        self.in_flight = None;
        self.auditing = None;
        self.retry_at = None;
        self.phase = Phase::Loading;
        out.push(Output::Load);
        self.load_peer(out);
    }

    fn load_peer(&mut self, out: &mut Vec<Output<M::Output>>) {
        if self.config.peer.is_some() && !self.peer.loading {
            self.peer.loading = true;
            // Until it has worked it is tried again: nothing follows the peer meanwhile.
            self.peer.loaded = false;
            out.push(Output::LoadPeer);
        }
    }

    fn peer_rows(&mut self, now: Time, rows: Vec<RowChange>) {
        if self.peer.spoilt {
            return;
        }
        if self.phase == Phase::Leading {
            return self.peer.kept.extend(rows);
        }
        self.give_peer_rows(now, rows, &mut Effects::default());
    }

    fn peer_loaded(&mut self, now: Time, loaded: Result<Snapshot, Failure>, out: &mut Vec<Output<M::Output>>) {
        self.peer.loading = false;
        if std::mem::take(&mut self.peer.spoilt) {
            return self.load_peer(out);
        }
        match loaded {
            Ok(snapshot) => {
                self.peer.pending.clear();
                out.push(Output::FollowPeer { after: snapshot.seq });
                self.peer.reloaded = Some(snapshot);
                if self.phase != Phase::Leading {
                    let mut effects = Effects::default();
                    self.take_peer(now, &mut effects);
                }
                match &mut self.phase {
                    Phase::Standby if self.retry_at.is_none() => self.ask(out),
                    // More than this the peer's store does not hold: it has lost what the last leader saw.
                    Phase::CatchingUp(granted) => granted.peer_cursor = 0,
                    _ => {}
                }
            }
            Err(_) => {
                self.peer.kept.clear();
                self.peer.unseen = None;
                self.retry_at = Some(now.after(RETRY));
            }
        }
    }

    /// Gives the machine rows of a load of the peer.
    fn give_peer_rows(&mut self, now: Time, rows: Vec<RowChange>, effects: &mut Effects<M::Output>) {
        let machine = &mut self.machine;
        let unseen = self.peer.unseen.get_or_insert_with(|| machine.peer_keys().into_iter().collect());
        for row in rows {
            if !unseen.is_empty() || !self.peer.vanished.is_empty() {
                let key = row.key();
                unseen.remove(&key);
                self.peer.vanished.remove(&key);
            }
            machine.peer(now, row, effects);
        }
    }

    fn peer_entry(&mut self, entry: Changes, out: &mut Vec<Output<M::Output>>) {
        let known =
            self.peer.pending.back().map_or(self.peer.reloaded.as_ref().map_or(self.peer.seq, |s| s.seq), |e| e.seq);
        let term =
            self.peer.pending.back().map_or(self.peer.reloaded.as_ref().map_or(self.peer.term, |s| s.term), |e| e.term);
        if self.peer.loading || entry.seq <= known {
            return;
        }
        // After a new term of the peer the store says what is true: it may have been rolled back.
        if (entry.seq != known + 1 && !is_planted(Bug::PeerGapIgnored)) || entry.term != term {
            return self.load_peer(out);
        }
        self.peer.pending.push_back(entry);
        if self.phase != Phase::Leading {
            let mut effects = Effects::default();
            self.take_peer(self.machine_now, &mut effects);
        }
    }

    /// Gives the machine what has come from the peer; says whether there was anything.
    fn take_peer(&mut self, now: Time, effects: &mut Effects<M::Output>) -> bool {
        let mut any = false;
        if let Some(snapshot) = self.peer.reloaded.take() {
            any = true;
            let mut rows = std::mem::take(&mut self.peer.kept);
            rows.extend(snapshot.rows);
            self.give_peer_rows(now, rows, effects);
            let vanished = self.peer.unseen.take().unwrap_or_default();
            if is_planted(Bug::VanishedCountsAtOnce) {
                for gone in vanished.into_iter().collect::<BTreeSet<_>>() {
                    self.machine.peer(now, RowChange::Delete(gone), effects);
                }
            } else {
                self.peer.vanished.extend(vanished);
            }
            self.peer.seq = snapshot.seq;
            self.peer.term = snapshot.term;
            self.machine.peer_wrote_in(snapshot.term);
            self.peer.loaded = true;
        }
        while let Some(entry) = self.peer.pending.pop_front() {
            any = true;
            for gone in std::mem::take(&mut self.peer.vanished) {
                self.machine.peer_lost(now, gone, effects);
            }
            for change in entry.changes.iter() {
                self.machine.peer(now, change.clone(), effects);
            }
            self.peer.seq = entry.seq;
        }
        if any {
            while let Some(first) = self.after_peer.first_entry() {
                if *first.key() > self.peer.seq {
                    break;
                }
                self.inbox.extend(first.remove());
            }
        }
        any
    }

    fn after_peer(&mut self, seq: u64, event: M::Event) {
        if self.phase != Phase::Leading {
            return;
        }
        if seq <= self.peer.seq || is_planted(Bug::AnswerBeforePeer) {
            self.inbox.push_back(event);
        } else {
            self.after_peer.entry(seq).or_default().push(event);
        }
    }

    // Terms.

    /// A lease that is held while millions of the peer's rows are still on their way runs out unused, so it is asked
    /// for once they are there.
    fn ask_when_ready(&mut self, out: &mut Vec<Output<M::Output>>) {
        if self.config.peer.is_none() || self.peer.loaded {
            self.ask(out);
        }
    }

    fn ask(&mut self, out: &mut Vec<Output<M::Output>>) {
        if self.stopping {
            return;
        }
        self.phase = Phase::Asking;
        let previous = (self.lease.term.leader != 0).then_some(self.lease.term.leader);
        out.push(Output::Acquire { leader: self.next_leader(), previous, epoch_min: self.epoch_min });
    }

    fn next_leader(&self) -> u128 {
        mix(self.config.seed, self.terms + 1)
    }

    fn acquired(&mut self, now: Time, granted: Result<Granted, Failure>, out: &mut Vec<Output<M::Output>>) {
        if self.phase != Phase::Asking {
            return;
        }
        match granted {
            Ok(granted) => {
                self.lease.term = Term { epoch: granted.epoch, leader: self.next_leader() };
                self.terms += 1;
                self.set_clock(now, granted.store_time);
                self.renew_at = now.after(self.config.lease / 3);
                let same_history = granted.last == self.applied
                    || granted.seq == 0
                    || (is_planted(Bug::HistoryByEpoch) && granted.last.epoch == self.applied.epoch);
                if granted.seq < self.lease.seq || (granted.seq == self.lease.seq && !same_history) {
                    return self.reload(out);
                }
                self.phase = Phase::CatchingUp(granted);
                self.cold = Cold::Unknown;
                if self.peer.seq < granted.peer_cursor {
                    self.retry_at = Some(now.after(LOOK));
                }
            }
            Err(failure) => {
                let wait = match failure {
                    Failure::Held { left } => left.clamp(Duration::from_millis(20), LOOK),
                    _ => RETRY,
                };
                self.phase = Phase::Standby;
                self.retry_at = Some(now.after(wait));
            }
        }
    }

    fn try_to_lead(&mut self, now: Time, granted: Granted, out: &mut Vec<Output<M::Output>>) {
        // What the last leader has answered to, its follower must not take for news.
        let level = self.peer.seq >= granted.peer_cursor || is_planted(Bug::PeerCursorIgnored);
        let peer_ready = self.config.peer.is_none() || (self.peer.loaded && level);
        if self.lease.seq != granted.seq || !peer_ready {
            // The rest of the own stream, or the peer's rows, are on their way.
            if self.renew_at.after(self.config.lease) < now {
                self.reload(out);
            }
            return;
        }
        if !self.has_cold_rows(out) {
            return;
        }
        self.phase = Phase::Leading;
        self.applied = self.lease.term;
        out.push(Output::Leading(self.lease.term));
        let mut effects = Effects::default();
        let machine_now = self.clock(now);
        // Nothing is begun on rows that the peer's store shows no longer: what is still true of them agents will say.
        let mut unsaid = Effects::default();
        for gone in std::mem::take(&mut self.peer.vanished) {
            self.machine.peer_lost(machine_now, gone, &mut unsaid);
        }
        self.machine.lead(machine_now, self.lease.term, &mut effects);
        self.machine.settle(machine_now, &mut effects);
        // A first commit in every term, so that followers learn of the term.
        self.commit(effects, out);
    }

    /// Whether the cold rows are there that the machine cannot lead without; they are asked for if not.
    fn has_cold_rows(&mut self, out: &mut Vec<Output<M::Output>>) -> bool {
        if self.cold == Cold::Unknown {
            let wanted = self.machine.cold_wanted();
            self.cold = if wanted.is_empty() { Cold::Known } else { Cold::Asked };
            if self.cold == Cold::Asked {
                out.push(Output::LoadCold(wanted));
            }
        }
        self.cold == Cold::Known
    }

    fn cold_loaded(&mut self, now: Time, loaded: Result<Vec<RowChange>, Failure>) {
        if !matches!(self.phase, Phase::CatchingUp(_)) || self.cold != Cold::Asked {
            return;
        }
        match loaded {
            Ok(rows) => {
                rows.into_iter().for_each(|change| self.machine.restore(change));
                self.cold = Cold::Known;
            }
            Err(_) => {
                self.cold = Cold::Failed;
                self.retry_at = Some(now.after(RETRY));
            }
        }
    }

    fn raise_epoch(&mut self, now: Time, epoch: u64, out: &mut Vec<Output<M::Output>>) {
        if epoch < self.lease.term.epoch {
            return;
        }
        self.epoch_min = self.epoch_min.max(epoch + 1);
        if self.phase == Phase::Leading {
            self.step_down(now, format!("an agent obeys epoch {epoch}; taking a higher one"), out);
        }
    }

    fn step_down(&mut self, _now: Time, why: String, out: &mut Vec<Output<M::Output>>) {
        out.push(Output::Following(why));
        self.reload(out);
    }

    fn stop(&mut self, out: &mut Vec<Output<M::Output>>) {
        if self.phase == Phase::Leading {
            out.push(Output::Following("handing over".to_owned()));
        }
        if matches!(self.phase, Phase::Leading | Phase::CatchingUp(_)) {
            out.push(Output::Release(self.lease));
        }
        self.phase = Phase::Stopped;
        self.retry_at = None;
        out.push(Output::Stopped);
    }

    // Batches.

    fn run_batch(&mut self, now: Time, out: &mut Vec<Output<M::Output>>) -> bool {
        let machine_now = self.clock(now);
        let mut effects = Effects::default();
        let mut any = self.take_peer(machine_now, &mut effects);
        for _ in 0..self.config.batch_max {
            let Some(event) = self.inbox.pop_front() else { break };
            self.machine.step(machine_now, event, &mut effects);
            any = true;
        }
        if self.machine.deadline().is_some_and(|deadline| deadline <= machine_now) {
            self.machine.tick(machine_now, &mut effects);
            any = true;
        }
        if any {
            self.machine.settle(machine_now, &mut effects);
        }
        let renew = self.renew_at <= now;
        let claims = effects.claims && !is_planted(Bug::ClaimWithoutCommit);
        if effects.changes.is_empty() && !renew && !claims {
            if !effects.outputs.is_empty() {
                out.push(Output::Do(effects.outputs));
            }
            return !self.inbox.is_empty();
        }
        self.commit(effects, out);
        false
    }

    fn commit(&mut self, effects: Effects<M::Output>, out: &mut Vec<Output<M::Output>>) {
        let batch = mix(self.lease.term.leader, self.lease.seq + 1);
        let changes = Arc::new(effects.changes);
        let mut outputs = effects.outputs;
        if is_planted(Bug::SpeakBeforeCommit) {
            out.push(Output::Do(std::mem::take(&mut outputs)));
        }
        self.in_flight = Some(InFlight { batch, changes, outputs, retry_at: None });
        self.send_commit(out);
    }

    fn send_commit(&mut self, out: &mut Vec<Output<M::Output>>) {
        let (lease, peer_cursor) = (self.lease, self.peer.seq);
        if let Some(in_flight) = &mut self.in_flight {
            if is_planted(Bug::RepeatAsNew) && in_flight.retry_at.is_some() {
                in_flight.batch = mix(in_flight.batch, lease.seq);
            }
            in_flight.retry_at = None;
            let changes = in_flight.changes.clone();
            out.push(Output::Commit { lease, batch: in_flight.batch, changes, peer_cursor });
        }
    }

    fn committed(&mut self, now: Time, batch: u128, done: Result<Done, Failure>, out: &mut Vec<Output<M::Output>>) {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.batch == batch) else { return };
        match done {
            Ok(done) => {
                self.lease.seq = done.seq;
                self.follow_clock(now, done.store_time);
                self.renew_at = now.after(self.config.lease / 3);
                let term = self.lease.term;
                out.push(Output::Announce(Changes { seq: done.seq, term, changes: in_flight.changes }));
                if !in_flight.outputs.is_empty() {
                    out.push(Output::Do(in_flight.outputs));
                }
            }
            Err(failure) if is_planted(Bug::SilenceEndsTerm) => self.step_down(now, format!("{failure:?}"), out),
            Err(Failure::Unavailable(_) | Failure::Held { .. }) => {
                self.in_flight = Some(InFlight { retry_at: Some(now.after(RETRY)), ..in_flight });
            }
            Err(Failure::Fenced { epoch }) => self.step_down(now, format!("another leader holds epoch {epoch}"), out),
            Err(Failure::RolledBack) => self.step_down(now, "the store was rolled back".to_owned(), out),
            Err(Failure::ReadOnly(why)) => self.step_down(now, format!("the store refuses writes: {why}"), out),
        }
    }

    // Time: deadlines that outlive a leader are in the store's time.

    fn set_clock(&mut self, now: Time, store: Time) {
        if is_planted(Bug::LocalClock) {
            return;
        }
        self.store_ahead_ms = i128::from(store.0) - i128::from(now.0);
        self.clock_set_at = now;
    }

    /// Follows the store's clock slowly: a store whose clock steps moves no deadline of this term by more than a
    /// twentieth of the time that has passed.
    fn follow_clock(&mut self, now: Time, store: Time) {
        if is_planted(Bug::ClockSteps) {
            return self.set_clock(now, store);
        }
        if is_planted(Bug::LocalClock) {
            return;
        }
        let most = i128::from(now.0.saturating_sub(self.clock_set_at.0) / 20);
        let off = i128::from(store.0) - i128::from(now.0) - self.store_ahead_ms;
        self.store_ahead_ms += off.clamp(-most, most);
        self.clock_set_at = now;
    }

    fn clock(&mut self, now: Time) -> Time {
        let store = (i128::from(now.0) + self.store_ahead_ms).max(0);
        self.machine_now = self.machine_now.max(Time(u64::try_from(store).unwrap_or(u64::MAX)));
        self.machine_now
    }

    fn to_local(&self, store: Time) -> Time {
        let local = (i128::from(store.0) - self.store_ahead_ms).max(0);
        Time(u64::try_from(local).unwrap_or(u64::MAX))
    }
}

/// Spreads a seed and a counter over 128 bits (the finalizer of SplitMix64, twice).
fn mix(seed: u128, counter: u64) -> u128 {
    let half = |salt: u64| {
        let mut z = (seed as u64)
            ^ ((seed >> 64) as u64).rotate_left(32)
            ^ salt.wrapping_add(counter).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (u128::from(half(0x5851_f42d)) << 64) | u128::from(half(0x1405_7b7e))
}

#[cfg(test)]
mod tests;

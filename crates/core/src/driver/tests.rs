//! Events in, outputs out, with a machine that writes one row per event and then says so.

use mesos_model::{Resources, TaskState, Trace};

use super::*;
use crate::row::{JobRow, Row};

#[derive(Default)]
struct Notes {
    rows: BTreeSet<RowKey>,
    peer_rows: BTreeSet<RowKey>,
    wake_at: Option<Time>,
}

#[derive(Debug, PartialEq)]
enum Said {
    Led(u64),
    Wrote(String),
    Heard(String),
    Woke,
}

#[derive(Debug)]
enum Note {
    Write(&'static str),
    Say(&'static str),
    Claim(&'static str),
    WakeAt(Time),
}

fn job(name: &str) -> Row {
    Row::Job(JobRow {
        task: name.into(),
        call: "c".into(),
        body: bytes::Bytes::new(),
        resources: Resources::new(),
        state: TaskState::Staging,
        agent: None,
        name: String::new(),
        role: mesos_model::Role::default(),
        attributes: Vec::new(),
        priority: 0,
        hold_ms: None,
        message: None,
        reason: None,
        exit_code: None,
        kill: None,
        time: Time(0),
        ended: None,
        trace: None,
    })
}

impl Machine for Notes {
    type Event = Note;
    type Output = Said;

    fn restore(&mut self, change: RowChange) {
        apply(&mut self.rows, &change);
    }

    fn cold_wanted(&self) -> Vec<RowKey> {
        let (warm, cold) = (job("warm").key(), job("cold").key());
        if self.rows.contains(&warm) && !self.rows.contains(&cold) { vec![cold] } else { Vec::new() }
    }

    fn rows(&self) -> Option<Vec<Row>> {
        let name = |key: &RowKey| if let RowKey::Job(name) = key { Some(job(name.as_str())) } else { None };
        Some(self.rows.iter().filter_map(name).collect())
    }

    fn peer(&mut self, _: Time, change: RowChange, effects: &mut Effects<Said>) {
        apply(&mut self.peer_rows, &change);
        effects.emit(Said::Heard(change.key().text()));
    }

    fn peer_keys(&self) -> Vec<RowKey> {
        self.peer_rows.iter().cloned().collect()
    }

    fn lead(&mut self, _: Time, term: Term, effects: &mut Effects<Said>) {
        effects.emit(Said::Led(term.epoch));
    }

    fn follow(&mut self) {}

    fn step(&mut self, _: Time, event: Note, effects: &mut Effects<Said>) {
        match event {
            Note::Write(name) => {
                self.rows.insert(job(name).key());
                effects.put(job(name));
                effects.emit(Said::Wrote(name.to_owned()));
            }
            Note::Say(name) => effects.emit(Said::Wrote(name.to_owned())),
            Note::Claim(name) => {
                effects.claim();
                effects.emit(Said::Wrote(name.to_owned()));
            }
            Note::WakeAt(time) => self.wake_at = Some(time),
        }
    }

    fn settle(&mut self, _: Time, _: &mut Effects<Said>) {}

    fn tick(&mut self, _: Time, effects: &mut Effects<Said>) {
        self.wake_at = None;
        effects.emit(Said::Woke);
    }

    fn deadline(&self) -> Option<Time> {
        self.wake_at
    }

    fn trace(_: &Note) -> Option<(Trace, &'static str)> {
        None
    }
}

fn apply(rows: &mut BTreeSet<RowKey>, change: &RowChange) {
    match change {
        RowChange::Put(row) => rows.insert(row.key()),
        RowChange::Delete(key) => rows.remove(key),
    };
}

struct Bench {
    driver: Driver<Notes>,
    now: Time,
}

impl Bench {
    fn new() -> Bench {
        let config =
            Config { service: "notes", peer: Some("peer"), lease: Duration::from_secs(3), batch_max: 8, seed: 7 };
        Bench { driver: Driver::new(config, Notes::default), now: Time(1000) }
    }

    fn give(&mut self, input: Input<Note>) -> Vec<Output<Said>> {
        let mut out = Vec::new();
        self.driver.handle(self.now, input, &mut out);
        out
    }

    fn later(&mut self, ms: u64) -> Vec<Output<Said>> {
        self.now = self.now.after(Duration::from_millis(ms));
        self.give(Input::Tick)
    }

    /// The store's answer about the commit that is in flight.
    fn commit_answer(&mut self, done: Result<Done, Failure>) -> Vec<Output<Said>> {
        let batch = self.driver.in_flight.as_ref().map_or(0, |in_flight| in_flight.batch);
        self.give(Input::Committed { batch, done })
    }

    fn done(&mut self) -> Vec<Output<Said>> {
        let seq = self.driver.applied() + 1;
        let store_time = self.now;
        self.commit_answer(Ok(Done { seq, store_time }))
    }

    /// Loads an empty store and takes the first term.
    fn lead(&mut self) {
        self.lead_at(self.now);
    }

    /// The same, by a store with this time.
    fn lead_at(&mut self, store_time: Time) {
        self.give(Input::Tick);
        self.give(Input::Loaded(Ok(Snapshot { rows: vec![], seq: 0, term: Term::default() })));
        self.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 0, term: Term::default() })));
        let out = self.give(Input::Acquired(Ok(Granted { store_time, ..granted(1, 0, 0) })));
        assert!(matches!(&out[..], [Output::Leading(term), Output::Commit { .. }] if term.epoch == 1), "{out:?}");
        let out = self.commit_answer(Ok(Done { seq: 1, store_time }));
        assert_eq!(said(&out), [Said::Led(1)]);
    }
}

/// A term of somebody else.
fn term(epoch: u64) -> Term {
    Term { epoch, leader: u128::from(epoch) }
}

fn granted(epoch: u64, seq: u64, last: u64) -> Granted {
    let last = if last == 0 { Term::default() } else { term(last) };
    Granted { epoch, seq, last, peer_cursor: 0, store_time: Time(1000) }
}

fn said(out: &[Output<Said>]) -> Vec<&Said> {
    out.iter().flat_map(|output| if let Output::Do(said) = output { said.iter().collect() } else { vec![] }).collect()
}

impl PartialEq<Said> for &Said {
    fn eq(&self, other: &Said) -> bool {
        **self == *other
    }
}

fn commits(out: &[Output<Said>]) -> usize {
    out.iter().filter(|output| matches!(output, Output::Commit { .. })).count()
}

#[test]
fn f1_nothing_is_said_before_its_rows_are_committed() {
    let mut bench = Bench::new();
    bench.lead();
    let out = bench.give(Input::Events(vec![Note::Write("a"), Note::Write("b")]));
    assert_eq!((commits(&out), said(&out).len()), (1, 0), "one commit for the batch, and silence");
    let out = bench.done();
    assert_eq!(said(&out), [Said::Wrote("a".into()), Said::Wrote("b".into())]);
    assert!(matches!(out[0], Output::Announce(_)), "followers hear of the rows before anybody acts on them");
}

#[test]
fn what_arrives_during_a_commit_is_the_next_batch() {
    let mut bench = Bench::new();
    bench.lead();
    bench.give(Input::Events(vec![Note::Write("a")]));
    assert_eq!(commits(&bench.give(Input::Events(vec![Note::Write("b")]))), 0);
    assert_eq!(commits(&bench.give(Input::Events(vec![Note::Write("c")]))), 0);
    let out = bench.done();
    assert_eq!((said(&out).len(), commits(&out)), (1, 1));
    assert_eq!(said(&bench.done()), [Said::Wrote("b".into()), Said::Wrote("c".into())]);
}

#[test]
fn f28_a_commit_without_an_answer_is_asked_again_with_the_same_batch() {
    let mut bench = Bench::new();
    bench.lead();
    let first = bench.give(Input::Events(vec![Note::Write("a")]));
    assert!(bench.commit_answer(Err(Failure::Unavailable("cut".into()))).is_empty());
    let again = bench.later(250);
    let batch = |out: &[Output<Said>]| {
        out.iter().find_map(|o| if let Output::Commit { batch, .. } = o { Some(*batch) } else { None })
    };
    assert!(batch(&first).is_some());
    assert_eq!(batch(&first), batch(&again));
    assert_eq!(said(&bench.done()), [Said::Wrote("a".into())]);
}

#[test]
fn f4_a_fenced_leader_says_nothing_and_starts_over() {
    for failure in [Failure::Fenced { epoch: 2 }, Failure::RolledBack, Failure::ReadOnly("full".into())] {
        let mut bench = Bench::new();
        bench.lead();
        bench.give(Input::Events(vec![Note::Write("a")]));
        let out = bench.commit_answer(Err(failure));
        assert!(said(&out).is_empty());
        assert!(matches!(&out[..], [Output::Following(_), Output::Load, Output::LoadPeer]), "{out:?}");
        assert!(bench.driver.machine().rows.is_empty(), "the machine is built anew");
        assert_eq!(bench.driver.leading(), None);
    }
}

#[test]
fn f2_a_new_leader_knows_the_peer_at_least_as_far_as_the_last_one_did() {
    let behind = || {
        let mut bench = Bench::new();
        bench.give(Input::Tick);
        bench.give(Input::Loaded(Ok(Snapshot { rows: vec![], seq: 4, term: term(2) })));
        bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 7, term: term(1) })));
        let out = bench.give(Input::Acquired(Ok(Granted { peer_cursor: 9, ..granted(3, 4, 2) })));
        assert!(out.is_empty(), "{out:?}");
        bench
    };
    let leads = |out: &[Output<Said>]| out.iter().any(|output| matches!(output, Output::Leading(_)));
    let entry = |seq| Input::PeerEntry(Changes { seq, term: term(1), changes: Arc::default() });
    let mut bench = behind();
    assert!(!leads(&bench.give(entry(8))));
    assert!(leads(&bench.give(entry(9))), "the rest of the stream is all it needs");
    // A peer whose store lost commits does not get that far; then what its store has is all there is.
    let mut bench = behind();
    let out = bench.later(300);
    assert!(matches!(&out[..], [Output::LoadPeer]), "{out:?}");
    assert!(leads(&bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 8, term: term(1) })))));
}

#[test]
fn a_standby_that_followed_to_the_head_leads_without_loading_again() {
    let mut bench = Bench::new();
    bench.give(Input::Tick);
    bench.give(Input::Loaded(Ok(Snapshot { rows: vec![RowChange::Put(job("a"))], seq: 4, term: term(2) })));
    bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 9, term: term(1) })));
    bench.give(Input::Acquired(Err(Failure::Held { left: Duration::from_secs(2) })));
    bench.give(Input::Entry(Changes { seq: 5, term: term(2), changes: Arc::new(vec![RowChange::Put(job("b"))]) }));
    let out = bench.later(300);
    assert!(matches!(&out[..], [Output::Acquire { .. }]), "{out:?}");
    let out = bench.give(Input::Acquired(Ok(granted(3, 5, 2))));
    assert!(matches!(&out[..], [Output::Leading(_), Output::Commit { lease, .. }] if lease.seq == 5), "{out:?}");
    assert_eq!(bench.driver.machine().rows.len(), 2);
}

#[test]
fn f6_a_standby_with_another_history_than_the_store_loads_again() {
    let wiped = Granted { last: Term { epoch: 2, leader: 77 }, ..granted(3, 4, 2) };
    for granted in [granted(3, 3, 2), granted(3, 4, 1), wiped] {
        let mut bench = Bench::new();
        bench.give(Input::Tick);
        bench.give(Input::Loaded(Ok(Snapshot { rows: vec![RowChange::Put(job("a"))], seq: 4, term: term(2) })));
        bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 9, term: term(1) })));
        let out = bench.give(Input::Acquired(Ok(granted)));
        assert!(matches!(&out[..], [Output::Load, ..]), "{out:?}");
    }
}

#[test]
fn f19_a_gap_in_the_peers_stream_is_healed_from_the_store() {
    let mut bench = Bench::new();
    bench.lead();
    bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 4, term: term(2) })));
    let out = bench.give(Input::PeerEntry(Changes {
        seq: 6,
        term: term(2),
        changes: Arc::new(vec![RowChange::Put(job("p"))]),
    }));
    assert!(said(&out).is_empty(), "nobody knows what the entry before it said");
    assert!(out.iter().any(|output| matches!(output, Output::LoadPeer)), "{out:?}");
}

#[test]
fn f19_a_gap_in_the_own_stream_is_healed_from_the_store() {
    let mut bench = Bench::new();
    bench.give(Input::Tick);
    bench.give(Input::Loaded(Ok(Snapshot { rows: vec![], seq: 4, term: term(2) })));
    let out = bench.give(Input::Entry(Changes { seq: 6, term: term(2), changes: Arc::default() }));
    assert!(matches!(&out[..], [Output::Load, ..]), "{out:?}");
}

#[test]
fn rows_that_vanished_from_the_peer_are_told_as_deleted() {
    let mut bench = Bench::new();
    bench.lead();
    let entry =
        |seq, epoch, row: RowChange| Input::PeerEntry(Changes { seq, term: term(epoch), changes: Arc::new(vec![row]) });
    bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![RowChange::Put(job("old"))], seq: 1, term: term(1) })));
    assert_eq!(bench.driver.machine().peer_rows.len(), 1);
    let out = bench.give(entry(2, 2, RowChange::Put(job("new"))));
    assert!(matches!(&out[..], [Output::LoadPeer]), "a new term of the peer: the store says what is true");
    bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![RowChange::Put(job("new"))], seq: 2, term: term(2) })));
    let rows = |bench: &Bench| bench.driver.machine().peer_rows.iter().map(RowKey::text).collect::<Vec<_>>();
    assert_eq!(rows(&bench), ["job/new", "job/old"], "the store may just have lost the row");
    bench.done();
    bench.give(entry(3, 2, RowChange::Put(job("newer"))));
    assert_eq!(rows(&bench), ["job/new", "job/newer"], "a commit on top shows that this history goes on");
}

fn loaded(names: &[&str], seq: u64, epoch: u64) -> Result<Snapshot, Failure> {
    Ok(Snapshot { rows: puts(names), seq, term: term(epoch) })
}

fn puts(names: &[&str]) -> Vec<RowChange> {
    names.iter().map(|name| RowChange::Put(job(name))).collect()
}

fn names(rows: &BTreeSet<RowKey>) -> Vec<String> {
    rows.iter().map(RowKey::text).collect()
}

#[test]
fn rows_that_come_in_parts_are_all_there() {
    let mut bench = Bench::new();
    bench.give(Input::Tick);
    bench.give(Input::Rows(puts(&["a"])));
    bench.give(Input::PeerRows(puts(&["x"])));
    bench.give(Input::Rows(puts(&["b"])));
    assert!(
        bench.give(Input::Loaded(loaded(&["c"], 4, 2))).iter().all(|out| matches!(out, Output::Follow { after: 4 }))
    );
    let out = bench.give(Input::PeerLoaded(loaded(&["y"], 7, 1)));
    assert!(out.iter().any(|output| matches!(output, Output::Acquire { .. })), "{out:?}");
    let machine = bench.driver.machine();
    assert_eq!(names(&machine.rows), ["job/a", "job/b", "job/c"]);
    assert_eq!(names(&machine.peer_rows), ["job/x", "job/y"]);
}

#[test]
fn of_a_load_that_fails_half_way_nothing_stays() {
    let mut bench = Bench::new();
    bench.give(Input::Tick);
    bench.give(Input::Rows(puts(&["deleted-meanwhile"])));
    bench.give(Input::PeerRows(puts(&["x"])));
    bench.give(Input::Loaded(Err(Failure::Unavailable("cut".to_owned()))));
    // The peer's first rows went to a machine that is no more.
    let out = bench.give(Input::PeerLoaded(loaded(&["y"], 7, 1)));
    assert!(matches!(&out[..], [Output::LoadPeer]), "{out:?}");
    assert!(bench.later(250).iter().any(|output| matches!(output, Output::Load)));
    bench.give(Input::PeerRows(puts(&["x"])));
    bench.give(Input::PeerLoaded(loaded(&["y"], 7, 1)));
    bench.give(Input::Loaded(loaded(&["a"], 5, 2)));
    let machine = bench.driver.machine();
    assert_eq!(names(&machine.rows), ["job/a"]);
    assert_eq!(names(&machine.peer_rows), ["job/x", "job/y"]);
}

#[test]
fn a_leader_is_given_the_peers_rows_once_all_are_there() {
    let mut bench = Bench::new();
    bench.lead();
    bench.give(Input::PeerLoaded(loaded(&["gone", "x"], 1, 1)));
    bench.give(Input::PeerGap);
    bench.give(Input::PeerRows(puts(&["x", "y"])));
    assert_eq!(names(&bench.driver.machine().peer_rows), ["job/gone", "job/x"]);
    bench.give(Input::PeerLoaded(loaded(&["z"], 9, 1)));
    assert_eq!(names(&bench.driver.machine().peer_rows), ["job/gone", "job/x", "job/y", "job/z"]);
    bench.give(Input::PeerEntry(Changes { seq: 10, term: term(1), changes: Arc::default() }));
    assert_eq!(names(&bench.driver.machine().peer_rows), ["job/x", "job/y", "job/z"]);
}

#[test]
fn nobody_leads_before_the_cold_rows_are_there_that_are_wanted() {
    let mut bench = Bench::new();
    bench.give(Input::Tick);
    bench.give(Input::Loaded(loaded(&["warm"], 4, 2)));
    bench.give(Input::PeerLoaded(loaded(&[], 0, 0)));
    let wants_cold = |out: &[Output<Said>]| matches!(out, [Output::LoadCold(keys)] if *keys == [job("cold").key()]);
    let out = bench.give(Input::Acquired(Ok(granted(3, 4, 2))));
    assert!(wants_cold(&out), "{out:?}");
    assert!(bench.give(Input::Tick).is_empty(), "once is enough");
    assert!(bench.give(Input::ColdLoaded(Err(Failure::Unavailable("cut".to_owned())))).is_empty());
    let out = bench.later(250);
    assert!(wants_cold(&out), "{out:?}");
    let out = bench.give(Input::ColdLoaded(Ok(puts(&["cold"]))));
    assert!(matches!(&out[..], [Output::Leading(_), Output::Commit { .. }]), "{out:?}");
    assert_eq!(names(&bench.driver.machine().rows), ["job/cold", "job/warm"]);
}

#[test]
fn f11_a_leader_whose_reload_of_the_peer_fails_loads_it_again() {
    let mut bench = Bench::new();
    bench.lead();
    let out = bench.give(Input::PeerGap);
    assert!(matches!(&out[..], [Output::LoadPeer]), "{out:?}");
    bench.give(Input::PeerLoaded(Err(Failure::Unavailable("no answer".to_owned()))));
    let out = bench.later(250);
    assert!(matches!(&out[..], [Output::LoadPeer]), "{out:?}");
}

#[test]
fn f11_a_store_that_is_silent_for_a_while_costs_no_term_and_nothing_piles_up() {
    let mut bench = Bench::new();
    bench.lead();
    let leading = bench.driver.leading();
    bench.give(Input::Events(vec![Note::Write("a")]));
    for _ in 0..20 {
        bench.give(Input::Events(vec![Note::Write("b")]));
        bench.commit_answer(Err(Failure::Unavailable("no answer".to_owned())));
        assert_eq!(commits(&bench.later(250)), 1, "one commit is in flight, the same one");
    }
    assert_eq!(bench.driver.leading(), leading);
    assert_eq!(said(&bench.done()), [Said::Wrote("a".into())]);
}

/// A standby that holds these jobs while the store holds those, at the same number; what an audit makes of it.
fn audit(holds: &[&str], stored: &[&str], meanwhile: Option<&str>) -> Vec<Output<Said>> {
    let rows = |names: &[&str]| names.iter().map(|name| RowChange::Put(job(name))).collect::<Vec<_>>();
    let mut bench = Bench::new();
    bench.give(Input::Tick);
    bench.give(Input::Loaded(Ok(Snapshot { rows: rows(holds), seq: 4, term: term(2) })));
    bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 9, term: term(1) })));
    let held = || Input::Acquired(Err(Failure::Held { left: Duration::from_secs(2) }));
    bench.give(held());
    assert!(!bench.later(59_000).iter().any(|output| matches!(output, Output::Audit)), "audits cost, so they are rare");
    bench.give(held());
    let mut out = bench.later(1_000);
    out.extend(bench.give(held()));
    assert!(out.iter().any(|output| matches!(output, Output::Audit)), "{out:?}");
    let (snapshot, head) = (Snapshot { rows: rows(stored), seq: 4, term: term(2) }, 4 + u64::from(meanwhile.is_some()));
    let mut out = bench.give(Input::Audited(Ok(Audit { snapshot, head })));
    if let Some(name) = meanwhile {
        assert!(out.is_empty(), "nothing is compared before all is applied that the rows may hold");
        let changes = Arc::new(vec![RowChange::Put(job(name))]);
        out = bench.give(Input::Entry(Changes { seq: 5, term: term(2), changes }));
    }
    out
}

#[test]
fn f14_a_standby_that_holds_something_else_than_the_store_is_built_anew() {
    for (holds, stored) in [(&["a"][..], &["a", "b"][..]), (&["a", "b"], &["a"]), (&["a"], &["b"])] {
        let out = audit(holds, stored, None);
        assert!(matches!(&out[..], [Output::Diverged { .. }, Output::Load, Output::LoadPeer]), "{out:?}");
    }
}

#[test]
fn f14_what_is_written_during_an_audit_does_not_count() {
    assert!(audit(&["a"], &["a"], None).is_empty());
    // The rows were read while `b` was being written: they have it or not.
    assert!(audit(&["a"], &["a", "b"], Some("b")).is_empty());
    assert!(audit(&["a"], &["a"], Some("b")).is_empty());
    let out = audit(&["a"], &["b"], Some("b"));
    assert!(matches!(&out[..], [Output::Diverged { rows: 1, .. }, ..]), "{out:?}");
}

#[test]
fn an_event_that_rests_on_the_peer_waits_for_it() {
    let mut bench = Bench::new();
    bench.lead();
    assert!(said(&bench.give(Input::AfterPeer { seq: 1, event: Note::Say("x") })).is_empty());
    bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 0, term: term(1) })));
    let out = bench.give(Input::PeerEntry(Changes {
        seq: 1,
        term: term(1),
        changes: Arc::new(vec![RowChange::Put(job("p"))]),
    }));
    assert_eq!(said(&out), [Said::Heard("job/p".into()), Said::Wrote("x".into())]);
}

#[test]
fn the_lease_is_renewed_by_an_empty_commit() {
    let mut bench = Bench::new();
    bench.lead();
    assert_eq!(commits(&bench.later(500)), 0);
    let out = bench.later(600);
    assert!(matches!(&out[..], [Output::Commit { changes, .. }] if changes.is_empty()), "{out:?}");
}

#[test]
fn f51_timers_run_in_the_stores_time_whatever_the_own_clock_says() {
    let mut bench = Bench::new();
    bench.lead_at(Time(1_001_000));
    let store = Time(bench.now.0 + 1_000_000);
    bench.give(Input::Events(vec![Note::WakeAt(store.after(Duration::from_millis(400)))]));
    assert_eq!(bench.driver.deadline(), Some(bench.now.after(Duration::from_millis(400))));
    assert!(said(&bench.later(399)).is_empty());
    assert_eq!(said(&bench.later(1)), [Said::Woke]);
}

#[test]
fn f5_a_store_whose_clock_steps_moves_no_deadline_of_the_term() {
    for step in [3_600_000i64, -900] {
        let mut bench = Bench::new();
        bench.lead();
        bench.now = bench.now.after(Duration::from_millis(200));
        bench.give(Input::Events(vec![Note::Write("a")]));
        let stepped = Time(bench.now.0.saturating_add_signed(step));
        bench.commit_answer(Ok(Done { seq: 2, store_time: stepped }));
        bench.give(Input::Events(vec![Note::WakeAt(bench.now.after(Duration::from_millis(400)))]));
        // A twentieth of the 200 ms that have passed is given way to, not more.
        assert!(said(&bench.later(389)).is_empty(), "{step}");
        assert_eq!(said(&bench.later(22)), [Said::Woke], "{step}");
    }
}

#[test]
fn f4_a_claim_leaves_only_after_a_commit_even_if_no_row_changes() {
    let mut bench = Bench::new();
    bench.lead();
    assert_eq!(said(&bench.give(Input::Events(vec![Note::Say("soft")]))), [Said::Wrote("soft".into())]);
    let out = bench.give(Input::Events(vec![Note::Claim("it is lost")]));
    assert_eq!((commits(&out), said(&out).len()), (1, 0));
    let out = bench.commit_answer(Err(Failure::Fenced { epoch: 2 }));
    assert!(said(&out).is_empty(), "another one leads, and knows better");
}

#[test]
fn an_agent_that_obeys_a_higher_epoch_makes_the_leader_take_a_higher_one() {
    let mut bench = Bench::new();
    bench.lead();
    let out = bench.give(Input::RaiseEpoch(41));
    assert!(matches!(&out[..], [Output::Following(_), Output::Load, Output::LoadPeer]), "{out:?}");
    bench.give(Input::Loaded(Ok(Snapshot { rows: vec![], seq: 1, term: term(1) })));
    let out = bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 0, term: Term::default() })));
    let asks = out.iter().any(|o| matches!(o, Output::Acquire { epoch_min: 42, previous: Some(_), .. }));
    assert!(asks, "{out:?}");
}

#[test]
fn a_stopping_leader_finishes_its_commit_and_gives_the_lease_back() {
    let mut bench = Bench::new();
    bench.lead();
    bench.give(Input::Events(vec![Note::Write("a")]));
    assert!(bench.give(Input::Stop).is_empty());
    let out = bench.done();
    assert_eq!(said(&out), [Said::Wrote("a".into())]);
    assert!(
        matches!(&out[2..], [Output::Following(_), Output::Release(lease), Output::Stopped] if lease.seq == 2),
        "{out:?}"
    );
}

#[test]
fn an_answer_about_a_commit_of_a_term_that_is_over_is_no_answer() {
    let mut bench = Bench::new();
    bench.lead();
    bench.give(Input::Events(vec![Note::Write("a")]));
    let old = bench.driver.in_flight.as_ref().map_or(0, |in_flight| in_flight.batch);
    bench.give(Input::RaiseEpoch(41));
    bench.give(Input::Loaded(Ok(Snapshot { rows: vec![], seq: 1, term: term(1) })));
    bench.give(Input::PeerLoaded(Ok(Snapshot { rows: vec![], seq: 0, term: Term::default() })));
    let out = bench.give(Input::Acquired(Ok(granted(42, 1, 1))));
    assert_eq!(commits(&out), 1, "{out:?}");
    let store_time = bench.now;
    let out = bench.give(Input::Committed { batch: old, done: Ok(Done { seq: 2, store_time }) });
    assert!(out.is_empty(), "{out:?}");
    assert_eq!(said(&bench.done()), [Said::Led(42)]);
}

#[test]
fn a_standby_with_many_rows_is_audited_less_often() {
    assert_eq!(audit::next(Time(0), 10), Time(60_000));
    assert_eq!(audit::next(Time(0), 1_000_000), Time(21 * 60_000));
}

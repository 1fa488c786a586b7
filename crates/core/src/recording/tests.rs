use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use mesos_model::{AgentId, FrameworkId, LaunchId, OfferId, Resources, Role, TaskState, Term, resources_text};
use proptest::prelude::*;

use super::*;
use crate::{
    message::{
        AgentReport, AgentToAllocator, AllocatorCall, Call, Caller, Operation, OperationKind, RequestId, StreamEvent,
        TaskSpec,
    },
    row::{FrameworkInfo, FrameworkRow, FrameworkState, LaunchRow, Row, Subscription, TaskRow},
};

#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<Entry>>>);

impl Sink for Tape {
    fn write(&mut self, entry: &Entry) {
        self.0.lock().unwrap().push(entry.clone());
    }

    fn is_open(&self) -> bool {
        true
    }
}

impl Tape {
    fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }
}

/// Takes no more than some entries.
struct Short(Tape, usize);

impl Sink for Short {
    fn write(&mut self, entry: &Entry) {
        if self.is_open() {
            self.1 -= 1;
            self.0.write(entry);
        }
    }

    fn is_open(&self) -> bool {
        self.1 > 0
    }
}

fn options() -> Options {
    Options { unreachable_per_minute_percent: 100, seed: 7, ..Options::default() }
}

fn machine() -> Allocator {
    Allocator::new(options())
}

fn begin(first: bool) -> Begin {
    Begin { program: "1".to_owned(), options: options(), first }
}

fn resources(text: &str) -> Resources {
    resources_text::parse(text, "*").unwrap()
}

const AGENTS: [&str; 3] = ["a", "b", "c"];
const FRAMEWORKS: [(&str, &str); 3] = [("f", "r"), ("g", "r/s"), ("h", "t")];

/// A cluster that does what numbers say.
struct Cluster {
    recorded: Recorded,
    tape: Tape,
    now: Time,
    term: u64,
    rows: BTreeMap<RowKey, Row>,
    offers: Vec<(OfferId, FrameworkId, AgentId)>,
    calls: u64,
}

impl Cluster {
    fn new() -> Cluster {
        let tape = Tape::default();
        let recorded = Recorded::on(machine(), begin(true), Box::new(tape.clone()));
        let (rows, offers) = (BTreeMap::new(), Vec::new());
        let mut cluster = Cluster { recorded, tape, now: Time(1_000), term: 0, rows, offers, calls: 0 };
        cluster.lead();
        for at in 0..3 {
            cluster.framework(at, false);
            cluster.report(at, 4);
        }
        cluster
    }

    fn batch(&mut self, run: impl FnOnce(&mut Recorded, Time, &mut Effects<Output>)) {
        let mut effects = Effects::default();
        run(&mut self.recorded, self.now, &mut effects);
        self.recorded.settle(self.now, &mut effects);
        for change in effects.changes {
            match change {
                RowChange::Put(row) => self.rows.insert(row.key(), row),
                RowChange::Delete(key) => self.rows.remove(&key),
            };
        }
        for output in effects.outputs {
            let Output::Stream { event, .. } = output else { continue };
            match event.event {
                StreamEvent::Offers(made) => {
                    let made = made.into_iter().map(|offer| (offer.id, event.framework.clone(), offer.agent));
                    self.offers.extend(made);
                }
                StreamEvent::Rescind(id) => self.offers.retain(|(offer, ..)| *offer != id),
                _ => {}
            }
        }
    }

    fn lead(&mut self) {
        self.term += 1;
        let term = Term { epoch: self.term, leader: u128::from(self.term) };
        self.offers.clear();
        self.batch(|machine, now, fx| machine.lead(now, term, fx));
    }

    fn framework(&mut self, at: usize, lost: bool) {
        let (id, role) = FRAMEWORKS[at % 3];
        let row = FrameworkRow {
            id: id.into(),
            info: FrameworkInfo { name: id.to_owned(), roles: vec![Role::from(role)], ..FrameworkInfo::default() },
            body: Bytes::new(),
            state: if lost { FrameworkState::Lost { since: Time(1) } } else { FrameworkState::Connected },
            subscription: Some(Subscription { number: 1, stream: 1, gateway: "g".into() }),
            suppressed: Default::default(),
            revived: [(Role::from(role), self.calls)].into(),
            priority: None,
            recovered: false,
            registered: Time(1),
            reregistered: Time(1),
        };
        self.batch(|machine, now, fx| machine.peer(now, RowChange::Put(Row::Framework(row)), fx));
    }

    fn report(&mut self, at: usize, cpus: u64) {
        let term = Term { epoch: self.term, leader: u128::from(self.term) };
        let report = AgentReport {
            agent: Some(AGENTS[at % 3].into()),
            instance: (at % 3) as u128,
            boot: String::new(),
            hostname: String::new(),
            ip: String::new(),
            port: 1,
            version: String::new(),
            total: resources(&format!("cpus:{cpus};mem:4096")),
            oversubscribed: Resources::new(),
            degraded: None,
            attributes: vec![],
            domain: None,
            body: Bytes::new(),
            term,
            number: 0,
            answers: Some(term),
            said: (0, 0),
            launches: vec![],
        };
        let event = Event::Agent(AgentToAllocator::Report(Box::new(report)));
        self.batch(|machine, now, fx| machine.step(now, event, fx));
    }

    fn call(&mut self, which: usize, accept: Option<u64>) {
        if self.offers.is_empty() {
            return;
        }
        self.calls += 1;
        let (offer, framework, agent) = self.offers.swap_remove(which % self.offers.len());
        let (caller, offers) = (Caller::framework(framework, Some(1)), vec![offer]);
        let what = match accept {
            None => AllocatorCall::Decline { caller, offers, refuse_ms: Some(which as u64 % 9000) },
            Some(cpus) => {
                let task = TaskSpec {
                    task: format!("t{}", self.calls).into(),
                    name: String::new(),
                    agent,
                    resources: Resources::of(&[("cpus", 1 + (cpus % 3000) as i64)]),
                    priority: None,
                    executor: None,
                    invalid: None,
                    body: Bytes::from_static(b"\0\xff"),
                };
                let operations = vec![Operation { id: None, kind: OperationKind::Launch(vec![task]) }];
                AllocatorCall::Accept { caller, offers, operations, refuse_ms: Some(0) }
            }
        };
        let (request, call) = (RequestId(self.calls), format!("c{}", self.calls));
        let call = Call::new(call, "g", what);
        self.batch(|machine, now, fx| machine.step(now, Event::Call { request, call }, fx));
    }

    fn end(&mut self, which: usize) {
        let launches: Vec<LaunchRow> = self.recorded.machine().launches().cloned().collect();
        let Some(row) = launches.get(which % launches.len().max(1)) else { return };
        let Some(task) = row.tasks.first() else { return };
        let row = TaskRow {
            framework: row.framework.clone(),
            task: task.task.clone(),
            name: String::new(),
            launch: row.launch.clone(),
            agent: row.agent.clone(),
            executor: row.executor.clone(),
            role: row.role.clone(),
            resources: Resources::new(),
            state: TaskState::Finished,
            status: None,
            number: 1,
            pending: vec![],
            end_acknowledged: false,
            launch_seen: true,
            kill: None,
            created: Time(1),
            trace: None,
        };
        self.batch(|machine, now, fx| machine.peer(now, RowChange::Put(Row::Task(row)), fx));
    }

    fn pass(&mut self, ms: u64) {
        let end = Time(self.now.0 + ms);
        while let Some(due) = self.recorded.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.batch(|machine, now, fx| machine.tick(now, fx));
        }
        self.now = end;
    }

    /// The term ends badly: a machine is made anew and loads all rows.
    fn remake(&mut self) {
        self.recorded = Recorded::on(machine(), begin(false), Box::new(self.tape.clone()));
        for row in self.rows.values() {
            self.recorded.restore(RowChange::Put(row.clone()));
        }
        self.recorded.peer_wrote_in(Term { epoch: self.term, leader: u128::from(self.term) });
        let gone = RowKey::Framework("x".into());
        self.recorded.peer_lost(self.now, gone, &mut Effects::default());
        for at in 0..3 {
            self.framework(at, false);
        }
        self.lead();
    }

    fn play(&mut self, (what, which): (u8, usize)) {
        match what {
            0..2 => self.report(which, 1 + which as u64 % 5),
            2..7 => self.call(which, Some(which as u64)),
            7 => self.call(which, None),
            8 => self.framework(which, which.is_multiple_of(5)),
            9..11 => self.end(which),
            11..13 => self.pass(which as u64 % 20_000),
            13 => {
                self.recorded.follow();
                self.lead();
            }
            _ => self.remake(),
        }
    }
}

/// Lives a record again: how many calls, and the first divergence.
fn replay(entries: impl IntoIterator<Item = Entry>) -> (u64, Option<Divergence>) {
    let (mut machine, mut count, mut first) = (machine(), 0, None);
    for part in parts(entries) {
        match part {
            Part::Begin(begin) => machine = Allocator::new(begin.options),
            Part::Call { number, at, input, came } => {
                count = number;
                first = first.or(relive(&mut machine, number, at, input, came).divergence);
            }
            Part::End { .. } => {}
        }
    }
    (count, first)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_random_life_is_lived_again_with_the_same_effects(
        steps in proptest::collection::vec((0u8..15, any::<usize>()), 1..120),
    ) {
        let mut cluster = Cluster::new();
        for step in steps {
            cluster.play(step);
        }
        let entries = cluster.tape.entries();
        let calls = entries.iter().filter(|entry| matches!(entry, Entry::Call { .. })).count() as u64;
        prop_assert_eq!(replay(entries), (calls, None));
    }

    #[test]
    fn an_entry_survives_its_bytes(steps in proptest::collection::vec((0u8..15, any::<usize>()), 1..40)) {
        let mut cluster = Cluster::new();
        for step in steps {
            cluster.play(step);
        }
        let through_bytes = cluster.tape.entries().into_iter().map(|entry| {
            let sealed = envelope::seal("entry", &entry).unwrap();
            envelope::open::<Entry>("entry", &sealed).unwrap()
        });
        prop_assert_eq!(replay(through_bytes.collect::<Vec<_>>()).1, None);
    }

    #[test]
    fn a_changed_report_diverges_at_its_own_number(at in 0usize..3) {
        let mut entries = Cluster::new().tape.entries();
        let (mut number, mut reports, mut changed) = (0, 0, None);
        for entry in &mut entries {
            let Entry::Call { input, .. } = entry else { continue };
            number += 1;
            let Input::Step(Event::Agent(AgentToAllocator::Report(report))) = input else { continue };
            if reports == at {
                report.total = resources("cpus:3;mem:4096");
                changed = Some(number);
            }
            reports += 1;
        }
        prop_assert!(changed.is_some());
        prop_assert_eq!(replay(entries).1.map(|first| first.number), changed);
    }
}

#[test]
fn effects_where_the_record_has_none_are_a_divergence() {
    let mut entries = Cluster::new().tape.entries();
    let at = entries.iter().position(|entry| matches!(entry, Entry::Came(_))).unwrap();
    entries.remove(at);
    let (_, first) = replay(entries);
    assert_eq!(first.map(|first| (first.number, first.recorded)), Some((1, None)));
}

#[test]
fn what_came_of_the_last_call_of_a_process_that_died_is_not_known() {
    let mut entries = Cluster::new().tape.entries();
    while !matches!(entries.last(), Some(Entry::Came(_))) {
        entries.pop();
    }
    entries.pop();
    let (calls, first) = replay(entries.clone());
    assert_eq!(first, None);
    entries.push(Entry::Begin(Box::new(begin(true))));
    assert_eq!(replay(entries.clone()), (calls, None), "another process went on");
    entries.pop();
    entries.push(Entry::Begin(Box::new(begin(false))));
    assert!(replay(entries).1.is_some(), "the same process made another machine, so nothing came of it");
}

#[test]
fn recording_changes_no_effect() {
    let mut one = Cluster::new();
    let mut other = Cluster::new();
    other.recorded = Recorded::off(machine());
    (other.term, other.rows, other.offers) = (0, BTreeMap::new(), vec![]);
    other.lead();
    for at in 0..3 {
        other.framework(at, false);
        other.report(at, 4);
    }
    for step in [(7, 3), (3, 900), (11, 7000), (2, 5), (9, 0)] {
        one.play(step);
        other.play(step);
    }
    assert_eq!(one.rows, other.rows);
    assert_eq!(one.offers, other.offers);
    assert!(one.recorded.is_recording() && !other.recorded.is_recording());
}

#[test]
fn a_sink_that_closes_is_left_and_the_machine_goes_on() {
    let tape = Tape::default();
    let mut cluster = Cluster::new();
    cluster.recorded = Recorded::on(machine(), begin(true), Box::new(Short(tape.clone(), 4)));
    cluster.lead();
    cluster.framework(0, false);
    cluster.report(0, 4);
    assert!(!cluster.recorded.is_recording());
    assert_eq!(tape.entries().len(), 4);
    assert_eq!(cluster.recorded.machine().agents().count(), 1);
    assert_eq!(replay(tape.entries()).1, None);
}

#[test]
fn the_hash_of_effects_is_the_same_in_every_version() {
    let mut effects = Effects::default();
    assert_eq!(Digest::of(&effects), None);
    effects.delete(RowKey::Launch(LaunchId::from("l")));
    effects.emit(Output::RaiseEpoch(Term { epoch: 1, leader: 2 }));
    let digest = Digest::of(&effects).unwrap();
    assert_eq!((digest.changes, digest.outputs), (1, 1));
    assert_eq!(digest.hash, 0x5c03_a617_533c_e1fc, "{:#x}", digest.hash);
}

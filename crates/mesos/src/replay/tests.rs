use std::fs;

use mesos_allocator::Recorder;
use mesos_core::{
    allocation::{Event, Output},
    machine::{Effects, Machine},
    message::{
        AgentReport, AgentToAllocator, AllocatorCall, Call, Caller, Operation, OperationKind, RequestId, StreamEvent,
        TaskSpec,
    },
    row::{FrameworkInfo, FrameworkRow, FrameworkState, Row, RowChange, Subscription},
};
use mesos_model::{OfferId, Term, resources_text::parse};

use super::*;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("mesos-replay-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Place(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.join("recording")
    }

    fn args(&self) -> ReplayArgs {
        let output = OutputArgs { output: Format::Table };
        ReplayArgs { file: self.file(), at: None, to: None, check: false, list: false, output }
    }

    fn all(&self, args: &ReplayArgs) -> (String, bool) {
        let mut text = String::new();
        let same = all(args, |part| text.push_str(part)).unwrap();
        (text, same)
    }

    fn one(&self, number: u64, format: Format) -> (String, bool) {
        let mut text = String::new();
        let same = one::show(&self.file(), number, format, |part| text.push_str(part)).unwrap();
        (text, same)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const TERM: Term = Term { epoch: 1, leader: u128::MAX };

fn framework() -> RowChange {
    RowChange::Put(Row::Framework(FrameworkRow {
        id: "f".into(),
        info: FrameworkInfo { name: "web".to_owned(), roles: vec!["r".into()], ..FrameworkInfo::default() },
        body: Default::default(),
        state: FrameworkState::Connected,
        subscription: Some(Subscription { number: 1, stream: u128::MAX, gateway: "g".into() }),
        suppressed: Default::default(),
        revived: [("r".into(), 0)].into(),
        priority: None,
        recovered: false,
        registered: Time(1),
        reregistered: Time(1),
    }))
}

fn report() -> Event {
    Event::Agent(AgentToAllocator::Report(Box::new(AgentReport {
        agent: Some("a".into()),
        instance: u128::MAX,
        boot: String::new(),
        hostname: "host".to_owned(),
        ip: String::new(),
        port: 1,
        version: String::new(),
        total: parse("cpus:4;mem:4096", "*").unwrap(),
        oversubscribed: Default::default(),
        degraded: None,
        attributes: vec![],
        domain: None,
        body: Default::default(),
        term: TERM,
        number: 0,
        answers: Some(TERM),
        said: (0, 0),
        launches: vec![],
    })))
}

fn accept(offer: OfferId) -> Event {
    let task = TaskSpec {
        task: "t".into(),
        name: String::new(),
        agent: "a".into(),
        resources: parse("cpus:1", "*").unwrap(),
        priority: None,
        executor: None,
        invalid: None,
        body: Default::default(),
    };
    let what = AllocatorCall::Accept {
        caller: Caller::framework("f".into(), Some(u128::MAX)),
        offers: vec![offer],
        operations: vec![Operation { id: None, kind: OperationKind::Launch(vec![task]) }],
        refuse_ms: Some(1000),
    };
    let call = Call::new("c", "g", what);
    Event::Call { request: RequestId(1), call }
}

/// Records how a framework is offered an agent and launches a task on it. Seven calls: lead, settle, the
/// framework's row, the report, settle, the accept, settle.
fn record(place: &Place) {
    let recorder = Recorder::open(&place.file(), 1 << 30).unwrap();
    let options = Options { seed: 7, ..Options::default() };
    let mut machine = recorder.around(Allocator::new(options.clone()), options);
    let (mut effects, now) = (Effects::default(), Time(1_700_000_000_000));
    machine.lead(now, TERM, &mut effects);
    machine.settle(now, &mut effects);
    machine.peer(now, framework(), &mut effects);
    machine.step(now, report(), &mut effects);
    machine.settle(now, &mut effects);
    let offered = effects.outputs.iter().find_map(|output| match output {
        Output::Stream { event, .. } => match &event.event {
            StreamEvent::Offers(offers) => offers.first().map(|offer| offer.id.clone()),
            _ => None,
        },
        _ => None,
    });
    let later = now.after(Duration::from_secs(90));
    machine.step(later, accept(offered.unwrap()), &mut effects);
    machine.settle(later, &mut effects);
    drop(machine);
    recorder.finish();
}

#[test]
fn a_whole_recording_is_summed_up() {
    let place = Place::new("summary");
    record(&place);
    let (text, same) = place.all(&place.args());
    assert!(same, "{text}");
    for line in [
        "entries     7 (",
        "machines    1, leading in 1 terms",
        "2023-11-14T22:13:20.000Z to 2023-11-14T22:14:50.000Z (1m 30s)",
        "launches    1",
        "refused     0 calls",
        "the same comes of all 7 entries",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let (text, same) = place.all(&ReplayArgs { check: true, to: Some(3), ..place.args() });
    assert_eq!((text.as_str(), same), ("the same comes of all 3 entries\n", true));
}

#[test]
fn decisions_are_listed_with_the_numbers_of_their_entries() {
    let place = Place::new("list");
    record(&place);
    let (text, _) = place.all(&ReplayArgs { list: true, ..place.args() });
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("5 ") && lines[0].contains("offer ") && lines[0].contains("cpus:4"), "{text}");
    let launch = lines.iter().find(|line| line.starts_with("6 ")).unwrap();
    assert!(launch.contains("launch") && launch.ends_with("t of f in r on agent a with cpus:1"), "{launch}");
    let json = OutputArgs { output: Format::Json };
    let (text, _) = place.all(&ReplayArgs { list: true, output: json, ..place.args() });
    let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&listed[0]["entry"], &listed[0]["kind"]), (&5.into(), &"offer".into()));
}

#[test]
fn an_entry_is_shown_with_its_batch_and_effects() {
    let place = Place::new("at");
    record(&place);
    let (text, same) = place.one(5, Format::Table);
    assert!(same);
    for line in [
        "entry 5 at 2023-11-14T22:13:20.000Z",
        "  3: registry's row: + framework/f (web) connected in r",
        "  4: agent a (host) reports as asked: cpus:4; mem:4096; 0 launches",
        "settle",
        "to f in r: of agent a (host) cpus:4; mem:4096",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let (text, _) = place.one(6, Format::Table);
    assert!(text.contains("ACCEPT of f ") && text.contains("launch t with cpus:1, refusing for 1000 ms"), "{text}");
    assert!(text.contains("+ launch/") && text.contains("reply to call 1: 202"), "{text}");
    let (text, _) = place.one(4, Format::Json);
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["entry"], 4);
    assert!(
        shown["changes"][0]["Put"]["Agent"]["total"].is_object()
            || shown["changes"][0]["Put"]["Agent"]["total"].is_array(),
        "{text}"
    );
    let error = one::show(&place.file(), 8, Format::Table, |_| ()).unwrap_err();
    assert_eq!(error, "there is no entry 8: the last one that can be read is 7");
}

#[test]
fn what_was_recorded_under_other_options_diverges_and_says_where() {
    let place = Place::new("diverges");
    record(&place);
    // An offer must now hold more than the agent has, so the entry that made one makes none.
    let entries: Vec<_> = Reader::open(&place.file()).unwrap().collect();
    fs::remove_file(place.file()).unwrap();
    let recorder = Recorder::open(&place.file(), 1 << 30).unwrap();
    let minimum = vec![parse("cpus:100", "*").unwrap()];
    recorder.copy(entries.into_iter().map(|entry| match entry {
        mesos_core::recording::Entry::Begin(mut begin) => {
            begin.options.min_allocatable = minimum.clone();
            mesos_core::recording::Entry::Begin(begin)
        }
        other => other,
    }));
    recorder.finish();
    let (text, same) = place.all(&place.args());
    assert!(!same);
    assert!(text.contains("entry 5 diverges first: recorded was 0 row changes and 1 outputs"), "{text}");
    let (text, same) = place.one(5, Format::Table);
    assert!(!same && text.contains("did\n  nothing\n"), "{text}");
}

#[test]
fn what_cannot_be_read_is_said_in_one_line() {
    let place = Place::new("foreign");
    let refused = |args: &ReplayArgs| all(args, |_| ()).unwrap_err();
    assert!(refused(&place.args()).contains("No such file"));
    fs::write(place.file(), "").unwrap();
    assert!(refused(&place.args()).contains("empty"));
    fs::write(place.file(), "something else").unwrap();
    assert!(refused(&place.args()).contains("no recording"));
}

#[test]
fn a_torn_tail_is_noted_and_damage_fails() {
    let place = Place::new("torn");
    record(&place);
    let whole = fs::read(place.file()).unwrap();
    fs::write(place.file(), &whole[..whole.len() - 3]).unwrap();
    let (text, same) = place.all(&place.args());
    assert!(same && text.contains("note: the tail is torn"), "{text}");
    let mut damaged = whole;
    let header: [u8; 4] = damaged[..4].try_into().unwrap();
    let second = 4 + u32::from_be_bytes(header) as usize;
    damaged[second + 20] ^= 1;
    fs::write(place.file(), damaged).unwrap();
    let (text, same) = place.all(&place.args());
    assert!(!same && text.contains("note: damaged at byte"), "{text}");
}

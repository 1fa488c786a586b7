use std::{fs, path::PathBuf};

use mesos_core::{
    allocation::{Allocator, Options},
    machine::{Effects, Machine},
    recording::{Begin, Input, Part, parts, relive},
};
use mesos_model::{Term, Time};

use super::{
    writer::{OpenError, Recorder},
    *,
};

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        Place { _dir: dir, path }
    }

    fn open(&self) -> Recorder {
        Recorder::open(&self.path, 1 << 30).unwrap()
    }

    fn refused(&self) -> String {
        Recorder::open(&self.path, 1 << 30).err().unwrap().to_string()
    }

    fn read(&self) -> (Vec<Entry>, Tail) {
        let mut reader = Reader::open(&self.path).unwrap();
        let entries = reader.by_ref().collect();
        (entries, reader.tail().unwrap().clone())
    }
}

fn options() -> Options {
    Options { seed: 7, ..Options::default() }
}

/// A leader that settles some times.
fn live(recorder: &Recorder, settles: u64) {
    let mut machine = recorder.around(Allocator::new(options()), options());
    let mut effects = Effects::default();
    machine.lead(Time(1), Term { epoch: 1, leader: u128::MAX }, &mut effects);
    for at in 0..settles {
        machine.settle(Time(2 + at), &mut effects);
    }
}

fn calls(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| matches!(entry, Entry::Call { .. })).count()
}

fn begins(entries: &[Entry]) -> Vec<&Begin> {
    entries
        .iter()
        .filter_map(|entry| if let Entry::Begin(begin) = entry { Some(begin.as_ref()) } else { None })
        .collect()
}

/// The first call that does not do again what it did.
fn diverges(entries: Vec<Entry>) -> Option<u64> {
    let mut machine = Allocator::new(Options::default());
    parts(entries).find_map(|part| match part {
        Part::Begin(begin) => {
            machine = Allocator::new(begin.options);
            None
        }
        Part::Call { number, at, input, came } => {
            relive(&mut machine, number, at, input, came).divergence.map(|divergence| divergence.number)
        }
        Part::End { .. } => None,
    })
}

#[test]
fn what_was_written_is_read_with_its_options() {
    let place = Place::new();
    let recorder = place.open();
    live(&recorder, 3);
    recorder.finish();
    let (entries, tail) = place.read();
    assert_eq!((calls(&entries), tail), (4, Tail::Whole));
    let begin = begins(&entries)[0];
    assert_eq!((begin.options.seed, begin.program.as_str(), begin.first), (7, env!("CARGO_PKG_VERSION"), true));
    let Entry::Call { input: Input::Lead(term), .. } = &entries[1] else { panic!("{:?}", entries[1]) };
    assert_eq!(term.leader, u128::MAX);
    assert_eq!(diverges(entries), None);
}

#[test]
fn every_machine_of_a_process_begins_a_section() {
    let place = Place::new();
    let recorder = place.open();
    live(&recorder, 1);
    live(&recorder, 1);
    recorder.finish();
    let firsts: Vec<bool> = begins(&place.read().0).iter().map(|begin| begin.first).collect();
    assert_eq!(firsts, [true, false]);
}

#[test]
fn a_process_that_is_started_again_goes_on_in_the_file() {
    let place = Place::new();
    for _ in 0..2 {
        let recorder = place.open();
        live(&recorder, 2);
        recorder.finish();
    }
    let (entries, tail) = place.read();
    assert_eq!((calls(&entries), begins(&entries).len(), tail), (6, 2, Tail::Whole));
    assert!(begins(&entries)[1].first);
    assert_eq!(diverges(entries), None);
}

#[test]
fn a_torn_tail_is_left_out_and_cut_off_when_the_recording_goes_on() {
    let place = Place::new();
    let recorder = place.open();
    live(&recorder, 20);
    recorder.finish();
    let whole = fs::read(&place.path).unwrap();
    let all = place.read().0.len();
    for cut in 1..200 {
        fs::write(&place.path, &whole[..whole.len() - cut]).unwrap();
        let (entries, tail) = place.read();
        assert!(entries.len() < all, "{cut}");
        assert_eq!(diverges(entries.clone()), None);
        let recorder = place.open();
        live(&recorder, 1);
        recorder.finish();
        let (longer, mended) = place.read();
        assert_eq!(mended, Tail::Whole, "after {tail:?}");
        assert_eq!(calls(&longer), calls(&entries) + 2);
        assert_eq!(diverges(longer), None);
    }
}

#[test]
fn a_last_entry_whose_bytes_never_reached_the_disk_is_a_torn_tail() {
    let place = Place::new();
    let recorder = place.open();
    live(&recorder, 5);
    recorder.finish();
    let mut bytes = fs::read(&place.path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].fill(0);
    fs::write(&place.path, bytes).unwrap();
    assert!(matches!(place.read().1, Tail::Torn { .. }));
}

#[test]
fn damage_in_the_middle_is_named_and_not_written_over() {
    let place = Place::new();
    let recorder = place.open();
    live(&recorder, 20);
    recorder.finish();
    let mut bytes = fs::read(&place.path).unwrap();
    let middle = bytes.len() / 2;
    // The frames are short, so the byte before a length is the end of a body.
    let start = bytes[middle..].windows(3).position(|window| window == [0, 0, 0]).unwrap() + middle;
    bytes[start - 1] ^= 1;
    fs::write(&place.path, &bytes).unwrap();
    let (entries, tail) = place.read();
    assert!(matches!(&tail, Tail::Damaged { why, .. } if why.contains("damaged")), "{tail:?}");
    assert_eq!(diverges(entries), None);
    assert!(place.refused().contains("damaged at byte"));
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
}

#[test]
fn a_foreign_file_is_refused_and_left_as_it_is() {
    let place = Place::new();
    for foreign in [&b"x"[..], b"#!/bin/sh\necho a script\n", &[0; 4096], &[0xff; 64]] {
        fs::write(&place.path, foreign).unwrap();
        assert!(matches!(Reader::open(&place.path), Err(ReadError::Foreign)), "{foreign:?}");
        assert!(place.refused().contains("no recording"));
        assert_eq!(fs::read(&place.path).unwrap(), foreign);
    }
}

#[test]
fn a_file_of_a_later_version_is_refused_by_its_version() {
    let place = Place::new();
    let later = Header { version: VERSION + 1, program: "9".to_owned() };
    fs::write(&place.path, frame(HEADER, &later).unwrap()).unwrap();
    assert!(matches!(Reader::open(&place.path), Err(ReadError::Version(2))));
}

#[test]
fn an_empty_file_says_so_and_can_be_recorded_in() {
    let place = Place::new();
    fs::write(&place.path, "").unwrap();
    assert!(matches!(Reader::open(&place.path), Err(ReadError::Empty)));
    let recorder = place.open();
    recorder.finish();
    let (entries, tail) = place.read();
    assert_eq!((entries.len(), tail), (0, Tail::Whole));
}

#[test]
fn two_processes_do_not_record_in_one_file() {
    let place = Place::new();
    let recorder = place.open();
    assert!(matches!(Recorder::open(&place.path, 1 << 30), Err(OpenError::Taken)));
    recorder.finish();
    place.open().finish();
}

#[test]
fn at_its_limit_the_recording_ends_and_the_machine_goes_on() {
    let place = Place::new();
    let recorder = Recorder::open(&place.path, 2_000).unwrap();
    live(&recorder, 200);
    // What comes after the limit is not recorded either.
    while recorder.is_open() {
        live(&recorder, 1);
    }
    live(&recorder, 1);
    recorder.finish();
    let (entries, tail) = place.read();
    assert_eq!(tail, Tail::Whole);
    assert!(matches!(entries.last(), Some(Entry::End { why }) if why.contains("--record-limit")));
    assert!(fs::metadata(&place.path).unwrap().len() < 2_300);
    assert_eq!(diverges(entries), None);
}

#[test]
fn a_queue_that_is_full_ends_the_recording_at_a_whole_entry() {
    let place = Place::new();
    let recorder = Recorder::with_queue(&place.path, 1 << 30, 0).unwrap();
    while recorder.is_open() {
        live(&recorder, 100);
    }
    recorder.finish();
    let (entries, tail) = place.read();
    assert_eq!(tail, Tail::Whole);
    assert!(matches!(entries.last(), Some(Entry::End { why }) if why.contains("keep up")));
    assert_eq!(diverges(entries), None);
}

#[test]
fn a_disk_that_is_full_ends_the_recording_and_not_the_machine() {
    // Every write to this device fails as on a full disk.
    let path = std::path::Path::new("/dev/full");
    let full = File::options().write(true).open(path).unwrap();
    let recorder = Recorder::start(full, 0, path, 1 << 30, 1 << 30).unwrap();
    while recorder.is_open() {
        live(&recorder, 1);
    }
    live(&recorder, 1);
    recorder.finish();
}

//! RecordIO over streams that are cut anywhere.

use mesos_proto::recordio::{Decoder, RecordIoError, encode};
use proptest::prelude::*;

fn drain(decoder: &mut Decoder) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| decoder.next()).map(|record| record.unwrap().to_vec()).collect()
}

fn failure(stream: &[u8]) -> Option<RecordIoError> {
    let mut decoder = Decoder::new(1024);
    decoder.push(stream);
    while let Some(record) = decoder.next() {
        if let Err(error) = record {
            assert_eq!(decoder.next(), Some(Err(error.clone())), "an error stays");
            decoder.push(b"1\nx");
            assert_eq!(decoder.next(), Some(Err(error.clone())), "an error stays");
            return Some(error);
        }
    }
    None
}

#[test]
fn a_record_is_its_length_a_newline_and_the_payload() {
    assert_eq!(&encode(b"{\"type\":\"HEARTBEAT\"}")[..], b"20\n{\"type\":\"HEARTBEAT\"}");
    assert_eq!(&encode(b"")[..], b"0\n");
}

#[test]
fn lengths_count_bytes_and_not_characters() {
    assert_eq!(&encode("é".as_bytes())[..], "2\né".as_bytes());
}

#[test]
fn records_are_found_however_the_stream_is_cut() {
    let stream: Vec<u8> = [encode(b"hello"), encode(b"1\n2\n"), encode(b""), encode(b"x")].concat();
    for size in 1..=stream.len() {
        let mut decoder = Decoder::new(1024);
        let mut records = Vec::new();
        for chunk in stream.chunks(size) {
            decoder.push(chunk);
            records.extend(drain(&mut decoder));
        }
        assert_eq!(records, [&b"hello"[..], b"1\n2\n", b"", b"x"], "chunks of {size}");
        assert!(!decoder.is_within_record());
    }
}

#[test]
fn an_unfinished_record_is_known_as_such() {
    let mut decoder = Decoder::new(1024);
    assert!(!decoder.is_within_record());
    decoder.push(b"5");
    assert_eq!(decoder.next(), None);
    assert!(decoder.is_within_record());
    decoder.push(b"\nhell");
    assert_eq!(decoder.next(), None);
    assert!(decoder.is_within_record());
    decoder.push(b"o");
    assert_eq!(drain(&mut decoder), [b"hello"]);
}

#[test]
fn a_header_that_is_no_number_ends_the_stream() {
    for stream in [&b"abc\n"[..], b"-1\nx", b"+1\nx", b"\n", b" 1\nx", b"1 \nx", b"0x1\nx", b"{\"type\"", b"\xff"] {
        assert!(matches!(failure(stream), Some(RecordIoError::Length(_))), "{stream:?}");
    }
    assert!(matches!(failure(b"99999999999999999999\n"), Some(RecordIoError::Length(_))));
    assert!(matches!(failure(&[b'1'; 30]), Some(RecordIoError::Length(_))));
}

#[test]
fn a_record_above_the_limit_is_refused_before_it_arrives() {
    assert_eq!(failure(b"1025\n"), Some(RecordIoError::TooLarge { length: 1025, max: 1024 }));
    assert_eq!(failure(b"18446744073709551615\n"), Some(RecordIoError::TooLarge { length: u64::MAX, max: 1024 }));
    assert_eq!(failure(b"1024\n"), None);
}

proptest! {
    #[test]
    fn any_records_survive_any_cuts(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10),
        cuts in prop::collection::vec(1_usize..9, 1..50),
    ) {
        let stream: Vec<u8> = records.iter().flat_map(|record| encode(record)).collect();
        let mut decoder = Decoder::new(64);
        let mut found = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            decoder.push(chunk);
            found.extend(drain(&mut decoder));
            rest = after;
        }
        prop_assert_eq!(found, records);
    }

    #[test]
    fn random_bytes_end_in_records_or_one_error(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20)) {
        let mut decoder = Decoder::new(16);
        for chunk in chunks {
            decoder.push(&chunk);
            for _ in 0..64 {
                match decoder.next() {
                    Some(Ok(record)) => prop_assert!(record.len() <= 16),
                    Some(Err(_)) | None => break,
                }
            }
        }
    }
}

//! What cannot be read is counted, logged and set aside; the rest goes on.
//!
//! A record of the store stays where it is until its owner writes or deletes it: a later version may read it. A
//! message is dropped: whoever sent it sends again what matters.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use mesos_core::{
    driver::Changes,
    row::{RowChange, RowKey},
};
use mesos_model::{
    envelope,
    planted::{Bug, is_planted},
};
use mesos_ports::{bus::Message, store::Entry};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use serde::de::DeserializeOwned;

use crate::{
    codec::{self, CodecError},
    telemetry::Metrics,
};

/// A sender of nonsense must not fill the log: so often a line about messages is written at most.
const LINE_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// Counts what one component could not read. Clones count together; the default counts for nobody.
#[derive(Clone, Default)]
pub struct Quarantine {
    component: &'static str,
    records: Family<Kind, Counter>,
    messages: Counter,
    last_line: Arc<Mutex<Option<Instant>>>,
}

impl Quarantine {
    /// Counts in `mesos_<component>_records_quarantined_total` and `mesos_<component>_messages_undecodable_total`.
    #[must_use]
    pub fn new(metrics: &Metrics, component: &'static str) -> Quarantine {
        let quarantine = Quarantine { component, ..Quarantine::default() };
        metrics.register(component, |registry| {
            let (records, messages) = (quarantine.records.clone(), quarantine.messages.clone());
            registry.register(
                "records_quarantined",
                "stored records that could not be read and were left out",
                records,
            );
            registry.register("messages_undecodable", "messages that could not be read and were dropped", messages);
        });
        quarantine
    }

    /// Decodes the rows that can be decoded.
    pub fn rows<'a>(&self, rows: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Vec<RowChange> {
        let mut read = Vec::new();
        rows.into_iter().for_each(|(key, value)| self.row(key, value, &mut read));
        read
    }

    /// Decodes one row, if it can be decoded, and puts it to those that were `read` before.
    pub fn row(&self, key: &str, value: Option<&[u8]>, read: &mut Vec<RowChange>) {
        match codec::decode_row(key, value) {
            Ok(change) => read.push(change),
            Err(error) => {
                self.record(key, &error);
                if is_planted(Bug::PoisonRowSpoilsLoad) {
                    read.clear();
                }
            }
        }
    }

    /// An entry of a change stream, with the rows that can be decoded.
    #[must_use]
    pub fn entry(&self, entry: &Entry) -> Changes {
        let rows = entry.changes.iter().map(|change| (change.key.as_str(), change.value.as_deref()));
        Changes { seq: entry.seq, term: entry.term, changes: Arc::new(self.rows(rows)) }
    }

    /// What a message carries, if it is of this kind and sound.
    pub fn open<T: DeserializeOwned>(&self, kind: &'static str, message: &Message) -> Option<T> {
        envelope::open(kind, &message.payload).inspect_err(|error| self.message(&message.subject, error)).ok()
    }

    fn record(&self, key: &str, error: &CodecError) {
        // Only the kinds that there are: a foreign key could be anything.
        let of_ours = RowKey::parse(key).is_some() || is_planted(Bug::SeriesByKey);
        let kind = if of_ours { key.split('/').next().unwrap_or_default() } else { "unknown" };
        self.records.get_or_create(&Kind { kind: kind.to_owned() }).inc();
        tracing::error!(component = self.component, key, %error, "a record cannot be read and is set aside");
    }

    /// Counts a message that cannot be read.
    pub fn message(&self, subject: &str, error: &dyn Display) {
        let count = self.messages.inc() + 1;
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            *last = Some(Instant::now());
            let component = self.component;
            tracing::warn!(component, subject, %error, count, "a message cannot be read and is dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use mesos_core::row::{ModuleRow, Row};

    use super::*;

    fn sound(name: &str) -> (String, bytes::Bytes) {
        let row = ModuleRow { name: name.to_owned(), module: bytes::Bytes::from_static(b"w") };
        let change = codec::encode_row(&RowChange::Put(Row::Module(row))).unwrap();
        (change.key, change.value.unwrap())
    }

    fn read(quarantine: &Quarantine, rows: &[(&str, &[u8])]) -> usize {
        quarantine.rows(rows.iter().map(|(key, value)| (*key, Some(*value)))).len()
    }

    #[test]
    fn f16_poison_rows_are_set_aside_and_counted_and_the_others_are_read() {
        let metrics = Metrics::default();
        let quarantine = Quarantine::new(&metrics, "registry");
        let (a, b) = (sound("a"), sound("b"));
        let torn = &a.1[..a.1.len() - 1];
        let mut flipped = b.1.to_vec();
        flipped[9] ^= 1;
        // Damaged, cut off, empty, foreign, and of another kind than its key says.
        let rows = [
            ("task/f/t", &b"garbage"[..]),
            ("module/torn", torn),
            (&a.0, &a.1),
            ("module/flipped", &flipped),
            ("module/empty", b""),
            ("novelty/x", &a.1),
            ("agent/a", &a.1),
            (&b.0, &b.1),
        ];
        assert_eq!(read(&quarantine, &rows), 2);
        let text = metrics.text();
        for (kind, count) in [("task", 1), ("module", 3), ("unknown", 1), ("agent", 1)] {
            let line = format!("mesos_registry_records_quarantined_total{{kind=\"{kind}\"}} {count}");
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }

    #[test]
    fn f67_foreign_records_share_one_series_however_many_kinds_there_are() {
        let metrics = Metrics::default();
        let quarantine = Quarantine::new(&metrics, "registry");
        for number in 0..500 {
            read(&quarantine, &[(&format!("kind{number}/x"), b"x")]);
        }
        let text = metrics.text();
        let series = text.lines().filter(|line| line.starts_with("mesos_registry_records_quarantined_total{"));
        assert_eq!(series.collect::<Vec<_>>(), ["mesos_registry_records_quarantined_total{kind=\"unknown\"} 500"]);
    }
}

//! Rows and messages as bytes: the one place where the core's types meet the envelope.

use bytes::Bytes;
use mesos_core::{
    driver::Changes,
    row::{Row, RowChange, RowKey},
};
use mesos_model::{
    Term,
    envelope::{self, EnvelopeError},
};
use mesos_ports::store::{Change, Entry};
use serde::{Deserialize, Serialize};

use crate::quarantine::Quarantine;

/// Why bytes are no row.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The key is of a kind that this version does not have.
    #[error("unknown key {0}")]
    Key(String),
    /// The value is damaged or foreign.
    #[error("row {key}: {source}")]
    Row {
        /// The row's key.
        key: String,
        /// What is wrong.
        source: EnvelopeError,
    },
}

macro_rules! rows {
    ($($variant:ident => $kind:literal,)*) => {
        fn seal(row: &Row) -> Result<Bytes, EnvelopeError> {
            match row {
                $(Row::$variant(row) => envelope::seal($kind, row),)*
            }
        }

        fn open(key: &RowKey, bytes: &[u8]) -> Result<Row, EnvelopeError> {
            Ok(match key {
                $(rows!(@key $variant) => Row::$variant(envelope::open($kind, bytes)?),)*
            })
        }
    };
    (@key Task) => { RowKey::Task(..) };
    (@key AgentSelf) => { RowKey::AgentSelf };
    (@key LauncherSelf) => { RowKey::LauncherSelf };
    (@key Maintenance) => { RowKey::Maintenance };
    (@key Policy) => { RowKey::Policy };
    (@key $variant:ident) => { RowKey::$variant(_) };
}

rows! {
    Agent => "agent",
    Launch => "launch",
    Body => "body",
    Framework => "framework",
    Task => "task",
    AgentSelf => "agent-self",
    Executor => "executor",
    Role => "role",
    Policy => "policy",
    Module => "module",
    Operation => "operation",
    Maintenance => "maintenance",
    Job => "job",
    JoinToken => "join-token",
    LauncherSelf => "launcher-self",
    Pool => "pool",
    Node => "node",
}

/// A row change as the store keeps it.
///
/// # Errors
/// Only for values that cannot be encoded at all.
pub fn encode_row(change: &RowChange) -> Result<Change, CodecError> {
    let key = change.key().text();
    match change {
        RowChange::Delete(_) => Ok(Change { key, value: None }),
        RowChange::Put(row) => match seal(row) {
            Ok(value) => Ok(Change { key, value: Some(value) }),
            Err(source) => Err(CodecError::Row { key, source }),
        },
    }
}

/// A row change from what the store keeps.
///
/// # Errors
/// For damaged and foreign rows; the caller sets them aside and goes on.
pub fn decode_row(key: &str, value: Option<&[u8]>) -> Result<RowChange, CodecError> {
    let parsed = RowKey::parse(key).ok_or_else(|| CodecError::Key(key.to_owned()))?;
    match value {
        None => Ok(RowChange::Delete(parsed)),
        Some(bytes) => match open(&parsed, bytes) {
            Ok(row) => Ok(RowChange::Put(row)),
            Err(source) => Err(CodecError::Row { key: key.to_owned(), source }),
        },
    }
}

/// Decodes what can be decoded; the rest is logged and set aside (a poison row must not stop anybody).
/// Services count it too, see [`Quarantine::rows`].
pub fn decode_rows<'a>(rows: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Vec<RowChange> {
    Quarantine::default().rows(rows)
}

/// An entry of a change stream, decoded as [`decode_rows`] does.
#[must_use]
pub fn decode_entry(entry: &Entry) -> Changes {
    Quarantine::default().entry(entry)
}

#[derive(Serialize, Deserialize)]
struct WireEntry {
    seq: u64,
    term: Term,
    changes: Vec<(String, Option<Bytes>)>,
}

const ENTRY: &str = "changes";

/// An entry as it is announced on the bus.
///
/// # Errors
/// Only for values that cannot be encoded at all.
pub fn encode_entry(seq: u64, term: Term, changes: &[Change]) -> Result<Bytes, EnvelopeError> {
    let changes = changes.iter().map(|change| (change.key.clone(), change.value.clone())).collect();
    envelope::seal(ENTRY, &WireEntry { seq, term, changes })
}

/// An announced entry.
///
/// # Errors
/// For damaged and foreign messages.
pub fn decode_announced(bytes: &[u8]) -> Result<Entry, EnvelopeError> {
    let wire: WireEntry = envelope::open(ENTRY, bytes)?;
    let changes = wire.changes.into_iter().map(|(key, value)| Change { key, value }).collect();
    Ok(Entry { seq: wire.seq, term: wire.term, changes })
}

#[cfg(test)]
mod tests {
    use mesos_core::row::{AgentSelfRow, BodyRow, JobRow, TaskRow};
    use mesos_model::{Resources, TaskState, Time};

    use super::*;

    fn task() -> TaskRow {
        TaskRow {
            framework: "f".into(),
            task: "t".into(),
            name: "t".into(),
            launch: "l".into(),
            agent: "a".into(),
            executor: "t".into(),
            role: "*".into(),
            resources: mesos_model::resources_text::parse("cpus(ads):1;mem:5;ports:[1-3]", "*").unwrap(),
            state: TaskState::Running,
            status: None,
            number: 1,
            pending: vec![],
            end_acknowledged: false,
            launch_seen: true,
            kill: None,
            created: Time(5),
            trace: mesos_model::Trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        }
    }

    #[test]
    fn rows_of_every_shape_survive_the_store() {
        let agent = AgentSelfRow {
            id: Some("a".into()),
            instance: u128::MAX - 3,
            boot: "b".into(),
            term: Term { epoch: 3, leader: u128::MAX },
            number: 9,
            promised: Term::default(),
            base: Default::default(),
            total: Resources::of(&[("cpus", 1)]),
            port: 5051,
        };
        let body = BodyRow { launch: "l".into(), tasks: vec![Bytes::from_static(b"\0\xff")], executor: None };
        let job = JobRow {
            task: "t".into(),
            call: "c".into(),
            body: Bytes::new(),
            resources: Resources::new(),
            state: TaskState::Staging,
            agent: None,
            name: String::new(),
            role: mesos_model::Role::default(),
            priority: 0,
            hold_ms: None,
            attributes: Vec::new(),
            message: None,
            reason: None,
            exit_code: None,
            kill: None,
            time: Time(1),
            ended: None,
            trace: None,
        };
        for row in [Row::Task(task()), Row::AgentSelf(agent), Row::Body(body), Row::Job(job)] {
            let put = RowChange::Put(row);
            let stored = encode_row(&put).unwrap();
            assert_eq!(decode_row(&stored.key, stored.value.as_deref()).unwrap(), put);
        }
    }

    #[test]
    fn an_announced_entry_is_the_stored_one() {
        let changes = vec![
            encode_row(&RowChange::Put(Row::Task(task()))).unwrap(),
            Change { key: "agent/x".into(), value: None },
        ];
        let bytes = encode_entry(7, Term { epoch: 2, leader: 9 }, &changes).unwrap();
        assert_eq!(decode_announced(&bytes).unwrap(), Entry { seq: 7, term: Term { epoch: 2, leader: 9 }, changes });
    }

    /// What versions before and after this one may have written: without fields that came later, with fields that
    /// this one does not know.
    #[test]
    fn f13_rows_of_the_version_before_and_after_are_read() {
        use mesos_core::row::FrameworkRow;

        #[derive(Serialize)]
        struct Info {
            name: String,
            user: String,
            roles: Vec<String>,
        }
        #[derive(Serialize)]
        struct Old {
            id: &'static str,
            info: Info,
            state: mesos_core::row::FrameworkState,
            subscription: Option<()>,
            registered: Time,
            reregistered: Time,
        }
        #[derive(Serialize)]
        struct New {
            #[serde(flatten)]
            known: FrameworkRow,
            not_yet_invented: Vec<u8>,
        }
        let state = mesos_core::row::FrameworkState::Connected;
        let info = Info { name: "n".to_owned(), user: "u".to_owned(), roles: vec!["*".to_owned()] };
        let old = Old { id: "f", info, state, subscription: None, registered: Time(1), reregistered: Time(2) };
        let read = |bytes: Bytes| match decode_row("framework/f", Some(&bytes)).unwrap() {
            RowChange::Put(Row::Framework(row)) => row,
            other => panic!("{other:?}"),
        };
        let row = read(envelope::seal("framework", &old).unwrap());
        assert_eq!((row.info.name.as_str(), row.reregistered, row.suppressed.len()), ("n", Time(2), 0));
        let new = New { known: row.clone(), not_yet_invented: vec![7; 3] };
        assert_eq!(read(envelope::seal("framework", &new).unwrap()), row);
    }
}

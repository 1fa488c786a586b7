//! The change stream: pages of it, and following it.

use std::collections::VecDeque;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use ::redis::{RedisError, Value};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use mesos_ports::store::{Entry, StoreError};

use super::error::{malformed, store_error};
use super::{Keys, scripts};
use crate::codec;

/// How long the server holds a follower's request while nothing is committed. Then the follower looks
/// whether the store was rolled back behind it.
pub(super) const BLOCK: Duration = Duration::from_secs(1);

/// Entries per answer. An entry may be megabytes, so this is not large.
const PAGE: usize = 128;

/// One page as the server gave it, with the record's number read just before it.
pub(super) struct Page {
    seq: u64,
    ids: Vec<StreamId>,
}

impl Page {
    /// The entries, which must start right after `after`.
    pub(super) fn entries(self, after: u64) -> Result<Vec<Entry>, StoreError> {
        if after > self.seq {
            return Err(StoreError::RolledBack { stored: self.seq, ours: after });
        }
        let entries = self.ids.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        match entries.first() {
            Some(first) if first.seq != after + 1 => Err(StoreError::Trimmed { first: first.seq }),
            None if self.seq > after => Err(StoreError::Trimmed { first: self.seq + 1 }),
            _ => Ok(entries),
        }
    }
}

/// Reads at most `limit` entries after `after`.
pub(super) async fn page(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    after: u64,
    limit: usize,
) -> Result<Page, RedisError> {
    // Not a transaction, which a server without memory would refuse. The number comes first: entries
    // that were added in between do no harm, a number above them would look like a trimmed stream.
    let (seq, range): (Option<u64>, StreamRangeReply) = ::redis::pipe()
        .cmd("HGET")
        .arg(&keys.record)
        .arg("seq")
        .cmd("XRANGE")
        .arg(&keys.entries)
        .arg(format!("{}-0", after.saturating_add(1)))
        .arg("+")
        .arg("COUNT")
        .arg(limit)
        .query_async(connection)
        .await?;
    Ok(Page { seq: seq.unwrap_or(0), ids: range.ids })
}

fn entry(id: StreamId) -> Result<Entry, StoreError> {
    let mut fields = id.map;
    let seq = id.id.strip_suffix("-0").and_then(|seq| seq.parse().ok());
    let term = fields.remove("t").and_then(|value| ::redis::from_redis_value::<String>(value).ok());
    let term = term.and_then(|text| scripts::term(&text));
    let changes = match fields.remove("c") {
        Some(Value::BulkString(bytes)) => codec::take_changes(&mut Bytes::from(bytes)),
        _ => None,
    };
    match (seq, term, changes) {
        (Some(seq), Some(term), Some(changes)) => Ok(Entry { seq, term, changes }),
        _ => Err(malformed("a change stream's entry")),
    }
}

/// Follows on a connection of its own, on which the server wakes the reader as soon as a commit is done.
pub(super) async fn start(
    mut connection: MultiplexedConnection,
    keys: Keys,
    after: u64,
) -> Result<BoxStream<'static, Result<Entry, StoreError>>, StoreError> {
    let first = page(&mut connection, &keys, after, PAGE).await.map_err(store_error)?.entries(after)?;
    let follower = Follower { connection, keys, at: after, ready: first.into() };
    let entries = stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Ok(entry) => Some((Ok(entry), Some(follower))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(entries.boxed())
}

struct Follower {
    connection: MultiplexedConnection,
    keys: Keys,
    /// Number of the last entry given out.
    at: u64,
    ready: VecDeque<Entry>,
}

impl Follower {
    async fn next(&mut self) -> Result<Entry, StoreError> {
        while self.ready.is_empty() {
            match self.wait().await? {
                Some(reply) => {
                    let ids = reply.keys.into_iter().flat_map(|key| key.ids);
                    self.ready = ids.map(entry).collect::<Result<_, _>>()?;
                }
                None => self.look_at_record().await?,
            }
        }
        let entry = self.ready.pop_front().ok_or_else(|| malformed("XREAD"))?;
        if entry.seq != self.at + 1 {
            return Err(StoreError::Trimmed { first: entry.seq });
        }
        self.at = entry.seq;
        Ok(entry)
    }

    async fn wait(&mut self) -> Result<Option<StreamReadReply>, StoreError> {
        ::redis::cmd("XREAD")
            .arg("COUNT")
            .arg(PAGE)
            .arg("BLOCK")
            .arg(BLOCK.as_millis() as u64)
            .arg("STREAMS")
            .arg(&self.keys.entries)
            .arg(format!("{}-0", self.at))
            .query_async(&mut self.connection)
            .await
            .map_err(store_error)
    }

    /// Nothing came: the store may stand before us, or have lost the stream.
    async fn look_at_record(&mut self) -> Result<(), StoreError> {
        let page = page(&mut self.connection, &self.keys, self.at, PAGE).await.map_err(store_error)?;
        self.ready = page.entries(self.at)?.into();
        Ok(())
    }
}

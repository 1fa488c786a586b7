//! The store on a Redis server (6.2 or later, or Valkey).
//!
//! Per service there are four keys under the cluster's hash tag, so that one script may touch them:
//! `{mesos:<cluster>}:<service>:record` (hash: epoch, leader, seq, batch, …), `…:rows` (hash: key to
//! value), `…:cold` (the same for cold rows) and `…:entries` (stream: the entry of commit `n` has the id
//! `n-0`). A commit is one Lua script; its first write is one that Redis refuses when it is out of memory, read-only or short of
//! replicas, so it is made whole or not at all.

mod access;
mod connection;
mod error;
mod follow;
mod scripts;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::{Cmd, Value, aio::MultiplexedConnection};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use mesos_ports::store::{
    Acquired, Commit, Committed, Entry, Extent, Fence, Head, Rows, Scanned, Store, StoreError, is_cold,
};
use uuid::Uuid;

use crate::codec;
use connection::Connector;
use error::{malformed, store_error};
use scripts::{Answer, Scripts};

/// How many rows one page of a load asks for: large enough that round trips do not matter, small enough
/// that the server answers commits in between.
const LOAD_PAGE: usize = 5_000;

/// How long to wait between two attempts to reach a server that is not there yet.
const RETRY: Duration = Duration::from_millis(500);
/// One line in the log per this time while no server answers.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// How patient the adapter is, and what it shows and wants to see. The files are read at each connect, so that
/// whoever writes new ones needs to restart nothing.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Go on trying while no server answers, instead of failing.
    pub wait: bool,
    /// A server that has not taken the connection by then is taken for unreachable.
    pub connect_timeout: Duration,
    /// A request without an answer by then has an unknown outcome. The connection is given up with it.
    pub response_timeout: Duration,
    /// The user; the server's default one if `None`. Needs a password file.
    pub username: Option<String>,
    /// A file that holds the password. It counts before one in the URL.
    pub password_file: Option<PathBuf>,
    /// The certificates (PEM) that the server's must be signed by; the system's own if `None`. Needs `rediss://`.
    pub ca: Option<PathBuf>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions {
            wait: false,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(2),
            username: None,
            password_file: None,
            ca: None,
        }
    }
}

/// A connection to the store of one cluster. Clones share it.
///
/// A lost connection is made again by the next call; nothing is retried behind the caller's back, since
/// only the caller may decide that a commit is asked for again.
#[derive(Clone)]
pub struct RedisStore {
    connector: Arc<Connector>,
    scripts: Arc<Scripts>,
    tag: Arc<str>,
}

/// The keys of one service.
#[derive(Clone, Debug)]
struct Keys {
    record: String,
    rows: String,
    /// The cold rows.
    cold: String,
    entries: String,
}

impl RedisStore {
    /// Connects and checks the server.
    ///
    /// `url` is `redis://[user:password@]host:port[/db]`, or
    /// `redis+sentinel://[user:password@]host:port[,host:port…]/<primary's name>` to ask Sentinels for the
    /// primary at every connect; `rediss` in the place of `redis` is over TLS, with Sentinels too. Fails with
    /// [`StoreError::Unusable`] when the URL, a file, the version, the password, the certificate or the
    /// eviction policy is wrong, and with [`StoreError::Unavailable`] when nobody answers (with
    /// [`RedisOptions::wait`] it goes on trying instead).
    pub async fn connect(url: &str, cluster: &str, options: RedisOptions) -> Result<Self, StoreError> {
        let wait = options.wait;
        let store = RedisStore {
            connector: Arc::new(Connector::new(url, options)?),
            scripts: Arc::new(Scripts::new()),
            tag: format!("{{mesos:{cluster}}}").into(),
        };
        let mut next_log = Instant::now();
        loop {
            match store.connector.shared().await {
                Ok(_) => return Ok(store),
                Err(error @ StoreError::Unavailable(_)) if wait => {
                    if Instant::now() >= next_log {
                        tracing::warn!(%error, "Redis is not there yet; trying again");
                        next_log = Instant::now() + LOG_INTERVAL;
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn keys(&self, service: &str) -> Keys {
        let key = |what: &str| format!("{}:{service}:{what}", self.tag);
        Keys { record: key("record"), rows: key("rows"), cold: key("cold"), entries: key("entries") }
    }

    /// Runs a script on the shared connection, loading it first on a server that does not know it.
    async fn run(&self, script: &::redis::Script, cmd: &Cmd) -> Result<Answer, StoreError> {
        self.connector
            .with(|mut connection| async move {
                match cmd.query_async::<Vec<Value>>(&mut connection).await {
                    Err(error) if scripts::is_unknown(&error) => {
                        script.load_async(&mut connection).await?;
                        cmd.query_async(&mut connection).await
                    }
                    answer => answer,
                }
            })
            .await
            .and_then(Answer::new)
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn acquire(
        &self,
        service: &'static str,
        leader: Uuid,
        previous: Option<Uuid>,
        epoch_min: u64,
        lease: Duration,
    ) -> Result<Acquired, StoreError> {
        let keys = self.keys(service);
        let mut cmd = scripts::call(&self.scripts.acquire, &[&keys.record, &keys.entries]);
        cmd.arg(leader.to_string())
            .arg(previous.map_or_else(String::new, |previous| previous.to_string()))
            .arg(epoch_min)
            .arg(lease.as_millis() as u64);
        let answer = self.run(&self.scripts.acquire, &cmd).await?;
        match answer.tag() {
            "acquired" => Ok(Acquired {
                fence: Fence { epoch: answer.number(1)?, leader, seq: answer.number(2)? },
                store_time_ms: answer.number(3)?,
                peer_cursor: answer.number(4)?,
                last: scripts::term(answer.text(5)).unwrap_or_default(),
            }),
            "held" => Err(StoreError::Held { left_ms: answer.number(1)? }),
            _ => Err(malformed("acquire")),
        }
    }

    async fn release(&self, service: &'static str, fence: Fence) -> Result<(), StoreError> {
        let keys = self.keys(service);
        let mut cmd = scripts::call(&self.scripts.release, &[&keys.record]);
        cmd.arg(fence.epoch).arg(fence.leader.to_string()).arg(fence.seq);
        let answer = self.run(&self.scripts.release, &cmd).await?;
        answer.refused(fence.seq)?;
        Ok(())
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let keys = self.keys(commit.service);
        let mut entry = Vec::new();
        codec::put_changes(&mut entry, &commit.changes);
        let mut cmd = scripts::call(&self.scripts.commit, &[&keys.record, &keys.rows, &keys.cold, &keys.entries]);
        cmd.arg(commit.fence.epoch)
            .arg(commit.fence.leader.to_string())
            .arg(commit.fence.seq)
            .arg(commit.fence.seq + 1)
            .arg(commit.batch.to_string())
            .arg(commit.peer_cursor)
            .arg(commit.lease.as_millis() as u64)
            .arg(&entry[..]);
        let (cold, hot): (Vec<_>, Vec<_>) =
            scripts::last_changes(&commit.changes).into_iter().partition(|change| is_cold(&change.key));
        for rows in [hot, cold] {
            let (puts, deletes): (Vec<_>, Vec<_>) = rows.into_iter().partition(|change| change.value.is_some());
            cmd.arg(puts.len()).arg(deletes.len());
            for change in puts {
                cmd.arg(&change.key).arg(change.value.as_deref().unwrap_or_default());
            }
            for change in deletes {
                cmd.arg(&change.key);
            }
        }
        let answer = self.run(&self.scripts.commit, &cmd).await.map_err(|error| match error {
            // The stream was put back or moved on without its record: a state that this leader did not
            // make, and that the next acquire repairs.
            StoreError::Unusable(text) if error::is_stream_ahead(&text) => {
                StoreError::RolledBack { stored: commit.fence.seq, ours: commit.fence.seq }
            }
            other => other,
        })?;
        answer.refused(commit.fence.seq)?;
        Ok(Committed { seq: answer.number(1)?, store_time_ms: answer.number(2)? })
    }

    async fn scan(&self, service: &'static str, extent: Extent, rows: &mut dyn Rows) -> Result<Scanned, StoreError> {
        let keys = self.keys(service);
        // A connection of its own, so that a large answer does not stand before a commit's.
        let mut connection = self.connector.connect(Duration::ZERO).await?;
        // The number comes first: what is committed during the scan is in the entries after it.
        let (seq, last): (Option<u64>, Option<String>) = ::redis::cmd("HMGET")
            .arg(&keys.record)
            .arg("seq")
            .arg("last")
            .query_async(&mut connection)
            .await
            .map_err(store_error)?;
        scan_table(&connection, &keys.rows, rows).await?;
        if extent == Extent::All {
            scan_table(&connection, &keys.cold, rows).await?;
        }
        Ok(Scanned { seq: seq.unwrap_or(0), term: last.and_then(|text| scripts::term(&text)).unwrap_or_default() })
    }

    async fn get(&self, service: &'static str, keys: &[String]) -> Result<Vec<(String, Bytes)>, StoreError> {
        let tables = self.keys(service);
        let mut found = Vec::new();
        let (cold, hot): (Vec<&String>, Vec<&String>) = keys.iter().partition(|key| is_cold(key));
        for (table, wanted) in [(&tables.rows, hot), (&tables.cold, cold)] {
            for page in wanted.chunks(LOAD_PAGE) {
                let read = |mut connection: MultiplexedConnection| async move {
                    ::redis::cmd("HMGET").arg(table).arg(page).query_async(&mut connection).await
                };
                let values: Vec<Option<Vec<u8>>> = self.connector.with(read).await?;
                let rows = page.iter().zip(values).filter_map(|(key, value)| Some(((*key).clone(), value?.into())));
                found.extend(rows);
            }
        }
        Ok(found)
    }

    async fn read(&self, service: &'static str, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let keys = self.keys(service);
        self.connector
            .with(|mut connection| {
                let keys = &keys;
                async move { follow::page(&mut connection, keys, after, limit).await }
            })
            .await
            .and_then(|page| page.entries(after))
    }

    async fn follow(
        &self,
        service: &'static str,
        after: u64,
    ) -> Result<BoxStream<'static, Result<Entry, StoreError>>, StoreError> {
        let connection = self.connector.connect(follow::BLOCK).await?;
        follow::start(connection, self.keys(service), after).await
    }

    async fn head(&self, service: &'static str) -> Result<Option<Head>, StoreError> {
        let keys = self.keys(service);
        let cmd = scripts::call(&self.scripts.head, &[&keys.record]);
        let answer = self.run(&self.scripts.head, &cmd).await?;
        if answer.tag() == "none" {
            return Ok(None);
        }
        Ok(Some(Head {
            seq: answer.number(1)?,
            epoch: answer.number(2)?,
            leader: answer.text(3).parse().map_err(|_| malformed("head"))?,
            lease_left_ms: answer.number(4)?,
            store_time_ms: answer.number(5)?,
        }))
    }

    async fn trim(&self, service: &'static str, up_to: u64) -> Result<(), StoreError> {
        let keys = self.keys(service);
        self.connector
            .with(|mut connection| {
                let entries = &keys.entries;
                async move {
                    ::redis::cmd("XTRIM")
                        .arg(entries)
                        .arg("MINID")
                        .arg(format!("{}-0", up_to.saturating_add(1)))
                        .query_async::<u64>(&mut connection)
                        .await
                }
            })
            .await
            .map(|_| ())
    }
}

/// Gives all rows of a table to `rows`. The server looks for the next page while one is taken in.
async fn scan_table(connection: &MultiplexedConnection, table: &str, rows: &mut dyn Rows) -> Result<(), StoreError> {
    let mut page = Page::read(connection.clone(), table, 0).await?;
    loop {
        let give = async {
            page.give(rows)?;
            rows.pause().await;
            Ok(())
        };
        if page.cursor == 0 {
            return give.await;
        }
        let (next, given) = tokio::join!(Page::read(connection.clone(), table, page.cursor), give);
        given?;
        page = next?;
    }
}

/// The answer to one `HSCAN`.
struct Page {
    cursor: u64,
    /// Keys and values in turn.
    items: Vec<Value>,
}

impl Page {
    async fn read(mut connection: MultiplexedConnection, table: &str, cursor: u64) -> Result<Page, StoreError> {
        let mut cmd = ::redis::cmd("HSCAN");
        cmd.arg(table).arg(cursor).arg("COUNT").arg(LOAD_PAGE);
        let (cursor, items) = cmd.query_async(&mut connection).await.map_err(store_error)?;
        match items {
            Value::Array(items) => Ok(Page { cursor, items }),
            _ => Err(malformed("HSCAN")),
        }
    }

    fn give(&self, rows: &mut dyn Rows) -> Result<(), StoreError> {
        for item in self.items.chunks_exact(2) {
            let [Value::BulkString(key), Value::BulkString(value)] = item else { return Err(malformed("HSCAN")) };
            rows.row(std::str::from_utf8(key).map_err(|_| malformed("HSCAN"))?, value);
        }
        Ok(())
    }
}

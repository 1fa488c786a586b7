//! One shared connection, made again on demand, and connections of their own for long answers.
//!
//! The library's `ConnectionManager` is not used: after a loss it blocks callers for seconds in its own
//! back-off, and a leader must know within its lease that the store is away.

use std::future::Future;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, ConnectionInfo, RedisError};
use mesos_ports::store::StoreError;
use tokio::sync::Mutex;

use super::RedisOptions;
use super::access::{self, Place};
use super::error::{connect_error, ends_connection, store_error, wants_credentials};

/// After a failed connect, callers get the same answer for this long, so that many waiting callers do
/// not each wait for a time-out of their own.
const FAIL_FAST: Duration = Duration::from_millis(100);

/// The oldest server that has every command in use (`XTRIM … MINID`).
const VERSION_MIN: (u32, u32) = (6, 2);

pub(super) struct Connector {
    place: Place,
    options: RedisOptions,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    connection: Option<MultiplexedConnection>,
    /// Raised with each connection, so that an error ends only the connection that it came from.
    number: u64,
    failed: Option<(Instant, String)>,
}

impl Connector {
    pub(super) fn new(url: &str, options: RedisOptions) -> Result<Self, StoreError> {
        Ok(Connector { place: Place::new(url, &options)?, options, shared: Mutex::default() })
    }

    /// Runs one exchange on the shared connection; an error that ends the connection drops it.
    pub(super) async fn with<T, F, Fut>(&self, exchange: F) -> Result<T, StoreError>
    where
        F: FnOnce(MultiplexedConnection) -> Fut,
        Fut: Future<Output = Result<T, RedisError>>,
    {
        let (connection, number) = self.shared().await?;
        let result = exchange(connection).await.map_err(store_error);
        if let Err(error) = &result
            && ends_connection(error)
        {
            let mut shared = self.shared.lock().await;
            if shared.number == number {
                shared.connection = None;
            }
        }
        result
    }

    /// The shared connection, made now if there is none.
    pub(super) async fn shared(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        let mut shared = self.shared.lock().await;
        if let Some(connection) = &shared.connection {
            return Ok((connection.clone(), shared.number));
        }
        if let Some((at, text)) = &shared.failed
            && at.elapsed() < FAIL_FAST
        {
            return Err(StoreError::Unavailable(text.clone()));
        }
        match self.connect(Duration::ZERO).await {
            Ok(connection) => {
                shared.failed = None;
                shared.number += 1;
                shared.connection = Some(connection.clone());
                Ok((connection, shared.number))
            }
            Err(error) => {
                if let StoreError::Unavailable(text) = &error {
                    shared.failed = Some((Instant::now(), text.clone()));
                }
                Err(error)
            }
        }
    }

    /// A connection of its own, to a server that was checked. `block` is how long its requests may wait
    /// on purpose.
    pub(super) async fn connect(&self, block: Duration) -> Result<MultiplexedConnection, StoreError> {
        let server = match &self.place {
            Place::Server(server) => server.clone(),
            Place::Sentinels { sentinels, primary, credentials, tls } => {
                let (host, port) = self.ask_sentinels(sentinels, primary).await?;
                access::primary(host, port, credentials, *tls)?
            }
        };
        let mut connection = self.open(&server, true, block).await?;
        let info = ::redis::cmd("INFO").query_async(&mut connection).await;
        let info: String = info.map_err(|error| connect_error(error, &server))?;
        check(&info, matches!(self.place, Place::Sentinels { .. }))?;
        Ok(connection)
    }

    async fn open(
        &self,
        server: &ConnectionInfo,
        authenticated: bool,
        block: Duration,
    ) -> Result<MultiplexedConnection, StoreError> {
        let client = access::client(server, &self.options, authenticated).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.response_timeout + block));
        // The library's limit is for the socket; this one covers the first exchange, which a stalled
        // server leaves open.
        let opening = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(self.options.connect_timeout, opening).await {
            Ok(opened) => opened.map_err(|error| connect_error(error, server)),
            Err(_) => Err(StoreError::Unavailable(format!("{} did not answer a connect", server.addr()))),
        }
    }

    /// Where the primary is, as the first Sentinel says that knows it.
    async fn ask_sentinels(&self, sentinels: &[ConnectionInfo], primary: &str) -> Result<(String, u16), StoreError> {
        let mut last = StoreError::Unavailable(format!("no sentinel knows a primary {primary:?}"));
        for sentinel in sentinels {
            // One that asks for a user gets the one of the store.
            let asked = match self.ask_sentinel(sentinel, primary, false).await {
                Err(error) if wants_credentials(&error) => self.ask_sentinel(sentinel, primary, true).await,
                asked => asked,
            };
            match asked {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(
        &self,
        sentinel: &ConnectionInfo,
        primary: &str,
        authenticated: bool,
    ) -> Result<Option<(String, u16)>, StoreError> {
        let mut connection = self.open(sentinel, authenticated, Duration::ZERO).await?;
        let mut ask = ::redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(primary);
        ask.query_async(&mut connection).await.map_err(store_error)
    }
}

/// Refuses a server that would lose rows or lacks commands, and says how durable it is.
fn check(info: &str, primary_wanted: bool) -> Result<(), StoreError> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.trim().strip_prefix(name).and_then(|rest| rest.strip_prefix(':')))
    };
    let version = field("redis_version").unwrap_or("unknown");
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < VERSION_MIN {
        let (major, minor) = VERSION_MIN;
        return Err(StoreError::Unusable(format!("redis {version} is too old: {major}.{minor} or later is needed")));
    }
    let policy = field("maxmemory_policy").unwrap_or("noeviction");
    if policy != "noeviction" {
        return Err(StoreError::Unusable(format!(
            "redis would throw rows away when memory is short: maxmemory-policy is {policy}, set it to noeviction \
             (redis-cli config set maxmemory-policy noeviction, and in redis.conf)"
        )));
    }
    if primary_wanted && field("role") != Some("master") {
        return Err(StoreError::Unavailable("the sentinels' primary has not taken over yet".to_owned()));
    }
    if field("aof_enabled") == Some("1") {
        tracing::debug!(version, "redis keeps an append-only file");
    } else {
        tracing::warn!(
            version,
            "redis keeps no append-only file (appendonly no): a restart loses what was committed since its last dump"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(info: &str) -> String {
        check(info, false).expect_err("refused").to_string()
    }

    #[test]
    fn an_old_server_and_an_evicting_one_are_refused_with_what_to_do() {
        assert!(refusal("redis_version:6.0.16\r\nmaxmemory_policy:noeviction\r\n").contains("6.2 or later"));
        let evicting = refusal("redis_version:7.0.15\r\nmaxmemory_policy:allkeys-lru\r\n");
        assert!(evicting.contains("allkeys-lru") && evicting.contains("noeviction"), "{evicting}");
        assert!(refusal("").contains("unknown"));
        check("redis_version:7.2.4\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n", false).expect("fine");
    }
}

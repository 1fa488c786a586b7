//! One shared connection, made again on demand, and connections of their own for long answers.
//!
//! The library's `ConnectionManager` is not used: after a loss it blocks callers for seconds in its own
//! back-off, and a leader must know within its lease that the store is away.

use std::future::Future;
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, RedisError};
use mesos_ports::store::StoreError;
use tokio::sync::Mutex;

use super::RedisOptions;
use super::error::{ends_connection, store_error};

/// After a failed connect, callers get the same answer for this long, so that many waiting callers do
/// not each wait for a time-out of their own.
const FAIL_FAST: Duration = Duration::from_millis(100);

/// The oldest server that has every command in use (`XTRIM … MINID`).
const VERSION_MIN: (u32, u32) = (6, 2);

/// Where the server is.
enum Place {
    Server(Client),
    /// Sentinels know who the primary is at the moment.
    Sentinels {
        sentinels: Vec<Client>,
        primary: String,
        credentials: String,
    },
}

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
        let place = match url.strip_prefix("redis+sentinel://") {
            Some(rest) => sentinels(rest)?,
            None => Place::Server(client(url)?),
        };
        Ok(Connector { place, options, shared: Mutex::default() })
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
        let client = match &self.place {
            Place::Server(client) => client.clone(),
            Place::Sentinels { sentinels, primary, credentials } => {
                self.ask_sentinels(sentinels, primary, credentials).await?
            }
        };
        let mut connection = self.open(&client, block).await?;
        let info: String = ::redis::cmd("INFO").query_async(&mut connection).await.map_err(store_error)?;
        check(&info, matches!(self.place, Place::Sentinels { .. }))?;
        Ok(connection)
    }

    async fn open(&self, client: &Client, block: Duration) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.response_timeout + block));
        // The library's limit is for the socket; this one covers the first exchange, which a stalled
        // server leaves open.
        let opening = client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(self.options.connect_timeout, opening).await {
            Ok(opened) => opened.map_err(store_error),
            Err(_) => {
                let address = client.get_connection_info().addr();
                Err(StoreError::Unavailable(format!("{address} did not answer a connect")))
            }
        }
    }

    async fn ask_sentinels(
        &self,
        sentinels: &[Client],
        primary: &str,
        credentials: &str,
    ) -> Result<Client, StoreError> {
        let mut last = format!("no sentinel knows a primary {primary:?}");
        for sentinel in sentinels {
            let mut connection = match self.open(sentinel, Duration::ZERO).await {
                Ok(connection) => connection,
                Err(error) => {
                    last = error.to_string();
                    continue;
                }
            };
            let asked: Result<Option<(String, u16)>, _> =
                ::redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(primary).query_async(&mut connection).await;
            match asked {
                Ok(Some((host, port))) => {
                    return client(&format!("redis://{credentials}{host}:{port}"));
                }
                Ok(None) => {}
                Err(error) => last = error.to_string(),
            }
        }
        Err(StoreError::Unavailable(last))
    }
}

fn client(url: &str) -> Result<Client, StoreError> {
    // The URL may carry a password, so it is not repeated.
    Client::open(url).map_err(|error| StoreError::Unusable(format!("the redis url is not valid: {error}")))
}

/// Takes `[user:password@]host:port[,host:port…]/primary` apart.
fn sentinels(rest: &str) -> Result<Place, StoreError> {
    let wrong = || StoreError::Unusable("a sentinel url is redis+sentinel://host:port[,host:port]/name".to_owned());
    let (hosts, primary) = rest.rsplit_once('/').ok_or_else(wrong)?;
    let (credentials, hosts) = match hosts.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), hosts),
    };
    if primary.is_empty() || hosts.is_empty() {
        return Err(wrong());
    }
    let sentinels = hosts.split(',').map(|host| client(&format!("redis://{host}"))).collect::<Result<_, _>>()?;
    Ok(Place::Sentinels { sentinels, primary: primary.to_owned(), credentials })
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

    #[test]
    fn a_sentinel_url_names_hosts_and_primary() {
        let Ok(Place::Sentinels { sentinels, primary, credentials }) = sentinels("me:pw@a:1,b:2/main") else {
            panic!("a valid url")
        };
        assert_eq!((sentinels.len(), primary.as_str(), credentials.as_str()), (2, "main", "me:pw@"));
        assert!(sentinels_error("a:1"));
        assert!(sentinels_error("a:1/"));
    }

    fn sentinels_error(rest: &str) -> bool {
        matches!(sentinels(rest), Err(StoreError::Unusable(_)))
    }
}

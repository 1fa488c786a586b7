//! The way to a NATS server: the address, TLS, the credentials, the patience, the version.
//!
//! The credentials and the CA are files, which are read at each connect: whoever writes new ones needs to restart nothing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::rustls;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use mesos_ports::bus::BusError;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::credentials;
use crate::queue::Limits;

/// The oldest server that this adapter was made for.
const SERVER_VERSION_MIN: (u64, u64) = (2, 10);

/// One line in the log per this time while no server answers.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// The longest pause between two attempts to connect again.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How to connect to NATS.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// The name of this connection, for whoever looks at the server.
    pub name: String,
    /// Go on trying while no server answers, instead of failing.
    pub wait: bool,
    /// A token, where the URL has no credentials.
    pub token: Option<String>,
    /// A `.creds` file: the user's JWT and the seed of its key. It counts before a user or token in the URL.
    pub credentials: Option<PathBuf>,
    /// The certificates (PEM) that the server's must be signed by; the system's own if `None`. With it the
    /// connection is encrypted, whatever the URL says.
    pub ca: Option<PathBuf>,
    /// What the inbox of this connection hangs on, for a client that may hear no other: `_INBOX.<name>`.
    pub inbox: Option<String>,
    /// The bound of each subscription.
    pub limits: Limits,
    /// How long one attempt may take.
    pub connect_timeout: Duration,
    /// How often the server is asked whether it lives; two answers missing end the connection.
    pub ping_interval: Duration,
}

impl Default for NatsOptions {
    fn default() -> Self {
        NatsOptions {
            name: "mesos".to_owned(),
            wait: false,
            token: None,
            credentials: None,
            ca: None,
            inbox: None,
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(4),
        }
    }
}

/// Connects, with the patience that the options ask for. `changed` is told of each change of state.
pub(super) async fn connect(url: &str, options: &NatsOptions, changed: Arc<Notify>) -> Result<Client, BusError> {
    let servers = parse(url)?;
    let shown = without_credentials(&servers);
    check_files(options).await?;
    let mut next_log = Instant::now();
    loop {
        let error = match library_options(options, &servers, changed.clone())?.connect(&servers[..]).await {
            Ok(client) => {
                let version = client.server_info().version;
                check_version(&shown, &version)?;
                info!(server = %shown, %version, "connected to NATS");
                return Ok(client);
            }
            Err(error) => error,
        };
        if let Some(why) = refusal(&error) {
            return Err(BusError::Refused(format!("{shown} {why}")));
        }
        match error.kind() {
            ConnectErrorKind::ServerParse | ConnectErrorKind::Tls => {
                return Err(BusError::Refused(format!("{shown} cannot be used: {error}")));
            }
            _ if !options.wait => {
                return Err(BusError::Unavailable(format!("{shown} is not reachable: {error}")));
            }
            _ => {}
        }
        if Instant::now() >= next_log {
            warn!("{shown} is not reachable: {error}; retrying");
            next_log = Instant::now() + LOG_INTERVAL;
        }
        sleep(Duration::from_millis(rand::random_range(200..1000))).await;
    }
}

/// What no waiting changes: credentials or certificates that one side does not accept.
fn refusal(error: &ConnectError) -> Option<String> {
    if matches!(error.kind(), ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication) {
        return Some(format!(
            "does not accept the credentials ({}): give the cluster's with --nats-credentials, or a user in --nats-url",
            root(error)
        ));
    }
    let text = match tls_error(error)? {
        // The latter if the CA has the name of the one that is trusted.
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature,
        ) => {
            "has a certificate that nobody trusted here has signed: --nats-ca must name the CA's certificate".to_owned()
        }
        rustls::Error::InvalidCertificate(why) => {
            format!("has a certificate that is not accepted: {why}; the server needs one for the name in --nats-url")
        }
        rustls::Error::InvalidMessage(_) => {
            "does not speak TLS: use nats:// and no --nats-ca, or give the server a certificate".to_owned()
        }
        other => format!("cannot be spoken to over TLS: {other}"),
    };
    Some(text)
}

/// The TLS library's own error, which the others only carry.
fn tls_error(error: &ConnectError) -> Option<&rustls::Error> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An IO error that carries another names the source of that one as its own, and so leaves it out.
        let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = carried.and_then(|carried| carried.downcast_ref::<rustls::Error>()) {
            return Some(found);
        }
        source = error.source();
    }
    None
}

fn root(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Says at the start what the library would only say into its own log.
async fn check_files(options: &NatsOptions) -> Result<(), BusError> {
    if let Some(path) = &options.credentials {
        credentials::read(path).await.map_err(BusError::Refused)?;
    }
    if let Some(path) = &options.ca {
        credentials::check_ca(path).await.map_err(BusError::Refused)?;
    }
    Ok(())
}

fn library_options(
    options: &NatsOptions,
    servers: &[ServerAddr],
    changed: Arc<Notify>,
) -> Result<ConnectOptions, BusError> {
    let mut library = match &options.credentials {
        Some(path) => {
            let path = path.clone();
            ConnectOptions::with_auth_callback(move |nonce| {
                let path = path.clone();
                async move { credentials::answer(&path, &nonce).await.map_err(async_nats::AuthError::new) }
            })
        }
        None => ConnectOptions::new(),
    };
    let next_log = Arc::new(Mutex::new(Instant::now()));
    library = library
        .name(&options.name)
        .connection_timeout(options.connect_timeout)
        .ping_interval(options.ping_interval)
        .reconnect_delay_callback(reconnect_pause)
        .event_callback(move |event| {
            let (changed, next_log) = (changed.clone(), next_log.clone());
            async move {
                match event {
                    Event::SlowConsumer(_) => {}
                    Event::ServerError(error) => warn!(%error, "the NATS server reports an error"),
                    // Of a connect that failed; there are many while a server is away.
                    Event::ClientError(error) => {
                        let mut next_log = next_log.lock().unwrap_or_else(PoisonError::into_inner);
                        if Instant::now() >= *next_log {
                            warn!(%error, "cannot connect to NATS again yet");
                            *next_log = Instant::now() + LOG_INTERVAL;
                        }
                    }
                    _ => changed.notify_one(),
                }
            }
        });
    if let Some(path) = &options.ca {
        library = library.add_root_certificates(path.clone());
    }
    // Also for servers that are learnt of later, whose addresses name no scheme.
    library = library.require_tls(options.ca.is_some() || servers.iter().any(ServerAddr::tls_required));
    if options.credentials.is_some() {
        return Ok(library);
    }
    // The library does not look at the credentials in the URL.
    let with_user = servers.iter().find_map(|server| Some((server.username()?, server.password())));
    library = match (with_user, &options.token) {
        (Some((user, Some(password))), _) => {
            library.user_and_password(percent_decoded(user)?, percent_decoded(password)?)
        }
        (Some((token, None)), _) => library.token(percent_decoded(token)?),
        (None, Some(token)) => library.token(token.clone()),
        (None, None) => library,
    };
    Ok(library)
}

/// Exponential with full jitter, so that ten thousand agents do not come back in the same moment.
fn reconnect_pause(attempt: usize) -> Duration {
    let step = 100_u64 << attempt.min(6);
    let longest = Duration::from_millis(step).min(RECONNECT_PAUSE_MAX);
    match attempt {
        // The very first connection is not one of many.
        0 | 1 => Duration::from_millis(rand::random_range(0..50)),
        _ => longest.mul_f64(rand::random::<f64>()),
    }
}

fn parse(url: &str) -> Result<Vec<ServerAddr>, BusError> {
    let servers: Result<Vec<ServerAddr>, _> =
        url.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::parse).collect();
    match servers {
        // What was given is not repeated: it may hold a password.
        Err(error) => Err(BusError::Refused(format!("the NATS URL is not one: {error}"))),
        Ok(servers) if servers.is_empty() => Err(BusError::Refused("the NATS URL is empty".to_owned())),
        Ok(servers) => Ok(servers),
    }
}

fn without_credentials(servers: &[ServerAddr]) -> String {
    let shown: Vec<String> =
        servers.iter().map(|server| format!("{}://{}:{}", server.scheme(), server.host(), server.port())).collect();
    shown.join(",")
}

fn percent_decoded(text: &str) -> Result<String, BusError> {
    let refused = || BusError::Refused("the credentials in the NATS URL are not well encoded".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return Err(refused()),
        }
    }
    String::from_utf8(bytes).map_err(|_| refused())
}

fn check_version(server: &str, version: &str) -> Result<(), BusError> {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse::<u64>().ok());
    let found = (numbers.next().flatten(), numbers.next().flatten());
    let (major, minor) = SERVER_VERSION_MIN;
    match found {
        (Some(x), Some(y)) if (x, y) >= SERVER_VERSION_MIN => Ok(()),
        _ => Err(BusError::Refused(format!(
            "{server} runs nats-server {version:?}, but {major}.{minor} or newer is needed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_older_than_2_10_are_refused_with_a_clear_text() {
        for good in ["2.10.0", "2.15.1", "3.0.0", "2.12.0-RC.1"] {
            assert!(check_version("nats://h:1", good).is_ok(), "{good}");
        }
        for bad in ["2.9.10", "1.4.1", "", "x"] {
            let error = check_version("nats://h:1", bad).unwrap_err().to_string();
            assert!(error.contains("2.10 or newer is needed") && error.contains("nats://h:1"), "{error}");
        }
    }

    #[test]
    fn several_servers_are_shown_without_their_credentials() {
        let servers = parse("nats://u:p%40ss@one:4000, two").unwrap();
        assert_eq!(without_credentials(&servers), "nats://one:4000,nats://two:4222");
        assert!(parse(" , ").is_err());
        assert!(parse("http://u:secret@x").is_err_and(|error| !error.to_string().contains("secret")));
    }

    #[test]
    fn credentials_are_decoded() {
        assert_eq!(percent_decoded("p%40s%C3%BC").unwrap(), "p@sü");
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert!(percent_decoded(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_pause_before_a_reconnect_stays_within_five_seconds() {
        for attempt in 0..100 {
            assert!(reconnect_pause(attempt) <= RECONNECT_PAUSE_MAX);
        }
    }
}

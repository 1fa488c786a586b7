//! Where a server is, what it is shown and what it must show. Files are read when a client is made, which is at
//! each connect.

use std::path::Path;

use ::redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates};
use mesos_ports::store::StoreError;

use super::RedisOptions;

/// A file of this kind has a few thousand bytes.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Where the server is.
pub(super) enum Place {
    Server(ConnectionInfo),
    /// Sentinels know who the primary is at the moment.
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        primary: String,
        /// For the primary.
        credentials: RedisConnectionInfo,
        tls: bool,
    },
}

impl Place {
    /// Takes a URL apart, and holds it against the options.
    pub(super) fn new(url: &str, options: &RedisOptions) -> Result<Place, StoreError> {
        let place = match url.split_once("+sentinel://") {
            Some(("redis", rest)) => sentinels(rest, false)?,
            Some(("rediss", rest)) => sentinels(rest, true)?,
            _ => Place::Server(info(url)?),
        };
        let wrong = |text: &str| Err(StoreError::Unusable(text.to_owned()));
        if options.ca.is_some() && !place.is_tls() {
            return wrong("--redis-ca is given, but --redis-url is not encrypted: it must begin with rediss");
        }
        if options.username.is_some() && options.password_file.is_none() {
            return wrong("--redis-username is given without --redis-password-file");
        }
        Ok(place)
    }

    fn is_tls(&self) -> bool {
        match self {
            Place::Server(server) => is_tls(server),
            Place::Sentinels { tls, .. } => *tls,
        }
    }
}

pub(super) fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// A server that a Sentinel named.
pub(super) fn primary(
    host: String,
    port: u16,
    credentials: &RedisConnectionInfo,
    tls: bool,
) -> Result<ConnectionInfo, StoreError> {
    let addr = match tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    };
    Ok(addr.into_connection_info().map_err(not_a_url)?.set_redis_settings(credentials.clone()))
}

/// A client with what the files say now.
pub(super) async fn client(
    info: &ConnectionInfo,
    options: &RedisOptions,
    authenticated: bool,
) -> Result<Client, StoreError> {
    let mut settings = info.redis_settings().clone().set_skip_set_lib_name();
    if let Some(path) = options.password_file.as_deref().filter(|_| authenticated) {
        let text = String::from_utf8(content("--redis-password-file", path).await?);
        let text = text.map_err(|_| unusable("--redis-password-file", path, "is not text"))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(unusable("--redis-password-file", path, "is empty"));
        }
        settings = settings.set_password(password);
        if let Some(username) = &options.username {
            settings = settings.set_username(username);
        }
    }
    let info = info.clone().set_redis_settings(settings);
    if !is_tls(&info) {
        return Client::open(info).map_err(not_a_url);
    }
    let root_cert = match &options.ca {
        Some(path) => Some(content("--redis-ca", path).await?),
        None => None,
    };
    if let (Some(path), Some(pem)) = (&options.ca, &root_cert)
        && !pem.windows(PEM_CERTIFICATE.len()).any(|window| window == PEM_CERTIFICATE)
    {
        return Err(unusable("--redis-ca", path, "holds no certificate in PEM"));
    }
    // Several providers may be compiled in; a program that has chosen one keeps its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
        .map_err(|error| StoreError::Unusable(format!("--redis-ca: {error}")))
}

const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

async fn content(option: &str, path: &Path) -> Result<Vec<u8>, StoreError> {
    let read = tokio::fs::read(path).await;
    let bytes = read.map_err(|error| unusable(option, path, &format!("cannot be read: {error}")))?;
    if bytes.len() > FILE_BYTES_MAX { Err(unusable(option, path, "is too large to be one")) } else { Ok(bytes) }
}

fn unusable(option: &str, path: &Path, why: &str) -> StoreError {
    StoreError::Unusable(format!("{option} {}: {why}", path.display()))
}

fn info(url: &str) -> Result<ConnectionInfo, StoreError> {
    url.into_connection_info().map_err(not_a_url)
}

/// The URL may carry a password, so it is not repeated.
fn not_a_url(error: ::redis::RedisError) -> StoreError {
    StoreError::Unusable(format!("the redis url is not valid: {error}"))
}

/// Takes `[user:password@]host:port[,host:port…]/primary` apart.
fn sentinels(rest: &str, tls: bool) -> Result<Place, StoreError> {
    let wrong = || {
        let text = "a sentinel url is redis+sentinel://host:port[,host:port]/name, or rediss+sentinel://… over TLS";
        StoreError::Unusable(text.to_owned())
    };
    let (hosts, primary) = rest.rsplit_once('/').ok_or_else(wrong)?;
    let scheme = if tls { "rediss" } else { "redis" };
    let (credentials, hosts) = match hosts.rsplit_once('@') {
        Some((credentials, hosts)) => {
            let with_user = info(&format!("{scheme}://{credentials}@unknown"))?;
            (with_user.redis_settings().clone(), hosts)
        }
        None => (RedisConnectionInfo::default(), hosts),
    };
    if primary.is_empty() || hosts.is_empty() {
        return Err(wrong());
    }
    let sentinels = hosts.split(',').map(|host| info(&format!("{scheme}://{host}"))).collect::<Result<_, _>>()?;
    Ok(Place::Sentinels { sentinels, primary: primary.to_owned(), credentials, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_url_names_hosts_and_primary() {
        for (scheme, encrypted) in [("redis", false), ("rediss", true)] {
            let url = format!("{scheme}+sentinel://me:p%40w@a:1,b:2/main");
            let Ok(Place::Sentinels { sentinels, primary, credentials, tls }) =
                Place::new(&url, &RedisOptions::default())
            else {
                panic!("a valid url")
            };
            assert_eq!((sentinels.len(), primary.as_str(), tls), (2, "main", encrypted));
            assert_eq!((credentials.username(), credentials.password()), (Some("me"), Some("p@w")));
            assert!(sentinels.iter().all(|sentinel| is_tls(sentinel) == encrypted));
        }
        for wrong in ["redis+sentinel://a:1", "rediss+sentinel://a:1/", "http+sentinel://a:1/b"] {
            assert!(matches!(Place::new(wrong, &RedisOptions::default()), Err(StoreError::Unusable(_))), "{wrong}");
        }
    }

    #[test]
    fn options_that_would_do_nothing_are_refused() {
        let ca = RedisOptions { ca: Some("ca.crt".into()), ..RedisOptions::default() };
        let user = RedisOptions { username: Some("me".to_owned()), ..RedisOptions::default() };
        for (url, options, named) in [
            ("redis://a:1", &ca, "rediss"),
            ("redis+sentinel://a:1/main", &ca, "rediss"),
            ("rediss://a:1", &user, "--redis-password-file"),
        ] {
            let Err(StoreError::Unusable(text)) = Place::new(url, options) else { panic!("{url} is taken") };
            assert!(text.contains(named), "{text}");
        }
        assert!(Place::new("rediss://a:1", &ca).is_ok());
    }
}

//! The way to a gateway: plain or over TLS, with what is shown of oneself. Every client goes this way: command line,
//! frameworks, agents.
//!
//! Certificates and tokens are files that are read at each connect, so that new ones need no restart.

use std::{
    error::Error,
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri},
};

/// A file of this kind has a few thousand bytes.
const FILE_BYTES_MAX: usize = 1 << 20;
/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How a client reaches a gateway and shows who it is.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The certificates (PEM) that the gateway's must be signed by; the system's own if `None`.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its key (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Token>,
    /// Another way than the network, into this very process.
    pub inside: Option<Inside>,
}

/// Who a client says that it is.
#[derive(Clone)]
pub enum Token {
    /// As it is.
    Text(String),
    /// In this file.
    File(PathBuf),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Text(_) => f.write_str("Text(***)"),
            Token::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Opens a connection to a gateway in the same process, which needs no address, no certificate and no token.
#[derive(Clone)]
pub struct Inside(Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>);

impl Inside {
    /// With what opens one.
    pub fn new(open: impl Fn() -> io::Result<DuplexStream> + Send + Sync + 'static) -> Inside {
        Inside(Arc::new(open))
    }

    /// Opens one.
    ///
    /// # Errors
    /// If the gateway takes none any more.
    pub fn open(&self) -> io::Result<DuplexStream> {
        (self.0)()
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inside")
    }
}

/// Where a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// A name or an address; IPv6 in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Address {
    /// Reads `host:port`, `host`, `http://host:port` or `https://host:port`.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn parse(text: &str, default_port: u16) -> Result<Address, String> {
        let text = text.trim();
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err("expected host:port, http://host:port or https://host:port".to_owned()),
        };
        let rest = rest.trim_end_matches('/');
        let expected = || "expected host:port, for example 127.0.0.1:5050 or https://master.example:5050".to_owned();
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) => {
                (host, port.parse().map_err(|_| expected())?)
            }
            _ => (rest, default_port),
        };
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let fine = match inner {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains(['/', ' ', '@', ':', '[', ']', '?', '#']),
        };
        if fine { Ok(Address { tls, host: host.to_owned(), port }) } else { Err(expected()) }
    }

    /// The host without the brackets of IPv6.
    #[must_use]
    pub fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn is_loopback(&self) -> bool {
        let host = self.bare_host();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https://" } else { "" };
        write!(f, "{scheme}{}:{}", self.host, self.port)
    }
}

impl Access {
    /// What is needed to connect to a gateway; timeouts and keepalive are the caller's.
    ///
    /// # Errors
    /// If a file cannot be read or used, or a token would go over a network in the clear.
    pub async fn endpoint(&self, address: &Address) -> Result<Endpoint, String> {
        let tls = address.tls && self.inside.is_none();
        if !tls && self.token.is_some() && self.inside.is_none() && !address.is_loopback() {
            return Err("a token is not sent over a network in the clear: write https:// before the address".to_owned());
        }
        let scheme = if tls { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}:{}", address.host, address.port))
            .map_err(|error| error.to_string())?;
        if !tls {
            return Ok(endpoint);
        }
        let mut config = ClientTlsConfig::new().domain_name(address.bare_host()).timeout(HANDSHAKE_MAX);
        config = match &self.ca {
            Some(path) => {
                let pem = content("--ca-cert", path).await?;
                if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
                    return Err(format!("--ca-cert {}: holds no certificate in PEM", path.display()));
                }
                config.ca_certificate(Certificate::from_pem(pem))
            }
            None => config.with_native_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            let certificate = content("the certificate", certificate).await?;
            config = config.identity(Identity::from_pem(certificate, content("the key", key).await?));
        }
        endpoint.tls_config(config).map_err(|error| explain(&error))
    }

    /// Connects.
    ///
    /// # Errors
    /// Says why not, and what to do about certificates.
    pub async fn connect(&self, endpoint: Endpoint) -> Result<Channel, String> {
        let connected = match &self.inside {
            None => endpoint.connect().await,
            Some(inside) => {
                let inside = inside.clone();
                let open = move |_: Uri| std::future::ready(inside.open().map(TokioIo::new));
                endpoint.connect_with_connector(tower::service_fn(open)).await
            }
        };
        connected.map_err(|error| explain(&error))
    }

    /// What each request carries.
    ///
    /// # Errors
    /// If the token cannot be read, or no header can carry it.
    pub async fn bearer(&self) -> Result<Bearer, String> {
        let text = match &self.token {
            None => return Ok(Bearer(None)),
            Some(Token::Text(text)) => text.clone(),
            Some(Token::File(path)) => {
                let text = String::from_utf8(content("--token-file", path).await?).unwrap_or_default();
                let text = text.trim();
                if text.is_empty() || text.contains(char::is_whitespace) {
                    return Err(format!("--token-file {}: holds no token", path.display()));
                }
                text.to_owned()
            }
        };
        let value = format!("Bearer {text}").parse();
        let mut value: AsciiMetadataValue =
            value.map_err(|_| "the token holds characters that a header cannot carry".to_owned())?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }
}

/// The certificate that a client showed, in DER, in the extensions of each of its requests. The gateway has checked
/// that its own CA signed it; whose it is, is for the reader to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate(pub Vec<u8>);

/// Puts a client's token into each request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bearer(pub Option<AsciiMetadataValue>);

impl Bearer {
    /// Into one request.
    pub fn put<T>(&self, request: &mut Request<T>) {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.put(&mut request);
        Ok(request)
    }
}

/// A connection on which each request carries the token.
pub type Door = InterceptedService<Channel, Bearer>;

async fn content(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    let read = tokio::fs::read(path).await;
    let bytes = read.map_err(|error| format!("{option} {}: cannot be read: {error}", path.display()))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("{option} {}: is too large to be one", path.display()));
    }
    Ok(bytes)
}

/// Why a call did not work: what the gateway says, or what became of the connection.
#[must_use]
pub fn reason(status: &Status) -> String {
    match status.source() {
        Some(cause) => explain(cause),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}

/// What a gateway that speaks TLS says to a client that does not.
pub const TLS_ONLY: &str = "this port speaks TLS: write https:// before the address";

/// Why a connect did not work, in one line: the innermost reason, which is the one that says something.
#[must_use]
pub fn explain(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    if ["UnknownIssuer", "BadSignature"].iter().any(|why| text.contains(&format!("invalid peer certificate: {why}"))) {
        return "its certificate is signed by nobody who is trusted here: name the CA's certificate with --ca-cert or MESOS_CA_CERT".to_owned();
    }
    if let Some((_, why)) = text.split_once("invalid peer certificate: ") {
        return format!("its certificate is not accepted: {why}");
    }
    if text.contains(TLS_ONLY) {
        return TLS_ONLY.to_owned();
    }
    if text.contains("received corrupt message") {
        return "it does not speak TLS: write http:// instead of https://".to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_leniently() {
        for (text, read) in [
            ("127.0.0.1:5050", "127.0.0.1:5050"),
            ("master", "master:5050"),
            (" http://m:1/ ", "m:1"),
            ("https://m", "https://m:5050"),
            ("https://m:1", "https://m:1"),
            ("[::1]:7", "[::1]:7"),
            ("[::1]", "[::1]:5050"),
        ] {
            assert_eq!(Address::parse(text, 5050).map(|address| address.to_string()).as_deref(), Ok(read), "{text}");
        }
        for text in ["", "a:b", "host:99999", "a b:1", "zk://a:1", "https://", "u@h:1", "[x]:1", "::1"] {
            assert!(Address::parse(text, 5050).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_token_is_not_sent_over_a_network_in_the_clear() {
        let access = Access { token: Some(Token::Text("secret".to_owned())), ..Access::default() };
        for (address, fine) in [
            ("127.0.0.1", true),
            ("localhost", true),
            ("[::1]", true),
            ("https://10.0.0.1", true),
            ("10.0.0.1", false),
            ("http://master", false),
        ] {
            let endpoint = access.endpoint(&Address::parse(address, 5050).unwrap()).await;
            assert_eq!(endpoint.is_ok(), fine, "{address}");
        }
        assert!(!format!("{access:?}").contains("secret"));
    }

    #[tokio::test]
    async fn files_that_cannot_be_used_are_named() {
        let dir = std::env::temp_dir().join(format!("mesos-dial-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let empty = dir.join("empty");
        std::fs::write(&empty, "\n").unwrap();
        let address = Address::parse("https://m", 5050).unwrap();
        for path in [dir.join("missing"), empty] {
            let access = Access { ca: Some(path.clone()), token: Some(Token::File(path.clone())), ..Access::default() };
            let name = path.display().to_string();
            let error = access.endpoint(&address).await.unwrap_err();
            assert!(error.contains("--ca-cert") && error.contains(&name), "{error}");
            let error = access.bearer().await.unwrap_err();
            assert!(error.contains("--token-file") && error.contains(&name), "{error}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

//! TLS on the gateway's port: certificates that may change while it runs, handshakes that may not take long.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Duration,
};

use mesos_proto::dial::{PeerCertificate, TLS_ONLY};
use prometheus_client::metrics::counter::Counter;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::listen::PREFACE;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A file of this kind has a few thousand bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The first byte of a TLS connection: a handshake record.
const HANDSHAKE: u8 = 22;
/// How much of what a plain client still sends is read, so that it gets to read its answer.
const REST_BYTES_MAX: u64 = 64 * 1024;
const REST_WAIT: Duration = Duration::from_secs(1);

/// Where a gateway's certificates are, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate that the gateway shows, with those between it and the CA.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose signature a client's certificate must have; clients are asked for none if `None`.
    pub client_ca: Option<PathBuf>,
}

/// What went wrong, for the metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsCounters {
    pub(super) reload_errors: Counter,
    pub(super) handshake_errors: Counter,
}

/// The certificates in use.
pub(super) struct Certificates {
    files: TlsFiles,
    /// What was there at the start.
    first: Content,
    current: RwLock<Arc<ServerConfig>>,
    counters: TlsCounters,
}

/// What was read of the files.
#[derive(Clone, PartialEq, Eq)]
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Certificates {
    /// Reads the files, and takes up later what is new in them.
    ///
    /// # Errors
    /// One line that names the option.
    pub(super) async fn load(files: TlsFiles, counters: TlsCounters) -> Result<Arc<Certificates>, String> {
        let content = read(&files).await?;
        let current = RwLock::new(build(&files, &content)?);
        Ok(Arc::new(Certificates { files, first: content, current, counters }))
    }

    /// Looks at the files from time to time; does not return. What cannot be used leaves the ones before in use, and
    /// is told once.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut last = Ok(self.first.clone());
        loop {
            tokio::time::sleep(LOOK).await;
            let now = read(&self.files).await;
            if last == now {
                continue;
            }
            match now.as_ref().map_err(Clone::clone).and_then(|content| build(&self.files, content)) {
                Ok(config) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    tracing::info!("new certificates are in use");
                }
                Err(error) => {
                    self.counters.reload_errors.inc();
                    tracing::error!("the new certificates cannot be used, the ones before stay in use: {error}");
                }
            }
            last = now;
        }
    }

    fn current(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shakes hands, and waits until it can be told which protocol the peer speaks. `None` for a peer that is of no
    /// use; all of it takes no longer than `patience`.
    pub(super) async fn accept(&self, stream: TcpStream, patience: Duration) -> Option<Secure> {
        let shaken = tokio::time::timeout(patience, async {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(1) if first[0] == HANDSHAKE => {}
                Ok(1) => {
                    refuse_plain(stream).await;
                    return None;
                }
                _ => return None,
            }
            match TlsAcceptor::from(self.current()).accept(stream).await {
                Ok(stream) => first_bytes(stream).await,
                Err(error) => {
                    self.counters.handshake_errors.inc();
                    tracing::debug!(%error, "a TLS handshake failed");
                    None
                }
            }
        });
        shaken.await.unwrap_or_else(|_| {
            self.counters.handshake_errors.inc();
            None
        })
    }
}

async fn read(files: &TlsFiles) -> Result<Content, String> {
    Ok(Content {
        certificate: content("--tls-cert", &files.certificate).await?,
        key: content("--tls-key", &files.key).await?,
        client_ca: match &files.client_ca {
            Some(path) => Some(content("--ca-cert", path).await?),
            None => None,
        },
    })
}

async fn content(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    let named = |why: String| format!("{option} {}: {why}", path.display());
    let read = async {
        let file = tokio::fs::File::open(path).await?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = read.await.map_err(|error| named(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX { Err(named("is too large to be one".to_owned())) } else { Ok(bytes) }
}

fn build(files: &TlsFiles, content: &Content) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates("--tls-cert", &files.certificate, &content.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&content.key)
        .map_err(|_| format!("--tls-key {}: holds no key in PEM", files.key.display()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match (&files.client_ca, &content.client_ca) {
        (Some(path), Some(pem)) => builder.with_client_cert_verifier(verifier(path, pem, provider)?),
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        format!(
            "--tls-cert {} and --tls-key {} do not go together: {error}",
            files.certificate.display(),
            files.key.display()
        )
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(option: &str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{option} {}: holds no certificate in PEM", path.display())),
    }
}

/// Takes clients without a certificate too: those show a token.
fn verifier(
    path: &Path,
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let unusable = |why: String| format!("--ca-cert {}: {why}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--ca-cert", path, pem)? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// An encrypted connection of which the first bytes were read.
pub(super) struct Secure {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
    given: usize,
    /// What the client showed.
    pub(super) certificate: Option<PeerCertificate>,
}

/// The server itself has no clock for the part before it knows the protocol.
async fn first_bytes(mut stream: TlsStream<TcpStream>) -> Option<Secure> {
    let mut read = Vec::with_capacity(PREFACE.len());
    while PREFACE.starts_with(&read) && read.len() < PREFACE.len() {
        let mut rest = [0; PREFACE.len()];
        match stream.read(&mut rest[read.len()..]).await {
            Ok(count @ 1..) => {
                let at = read.len();
                read.extend_from_slice(&rest[at..at + count]);
            }
            _ => return None,
        }
    }
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = shown.map(|certificate| PeerCertificate(certificate.to_vec()));
    Some(Secure { stream, read, given: 0, certificate })
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given < self.read.len() {
            let count = buffer.remaining().min(self.read.len() - self.given);
            buffer.put_slice(&self.read[self.given..self.given + count]);
            self.given += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Says to a plain client, in its own protocol, what this port is.
async fn refuse_plain(mut stream: TcpStream) {
    let mut head = [0; 4];
    let is_h2 = stream.peek(&mut head).await.is_ok_and(|count| PREFACE.starts_with(&head[..count]));
    let answer = if is_h2 { go_away() } else { bad_request() };
    if stream.write_all(&answer).await.is_ok() && stream.shutdown().await.is_ok() {
        // A socket that is closed with unread bytes would take the answer back.
        let mut rest = stream.take(REST_BYTES_MAX);
        let _ = tokio::time::timeout(REST_WAIT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

fn bad_request() -> Vec<u8> {
    let length = TLS_ONLY.len() + 1;
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{TLS_ONLY}\n"
    )
    .into_bytes()
}

/// An empty SETTINGS frame and a GOAWAY with the words as its debug data.
fn go_away() -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const INADEQUATE_SECURITY: u8 = 12;
    let mut frames = vec![0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    let length = 8 + TLS_ONLY.len();
    frames.extend([0, 0, length as u8, GOAWAY, 0, 0, 0, 0, 0]);
    frames.extend([0, 0, 0, 0, 0, 0, 0, INADEQUATE_SECURITY]);
    frames.extend(TLS_ONLY.as_bytes());
    frames
}

#[cfg(test)]
mod tests;

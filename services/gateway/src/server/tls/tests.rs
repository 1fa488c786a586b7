//! The door itself over real sockets, with a page behind it that says whose certificate came with the request.

use std::net::SocketAddr;

use axum::{Router, extract::Request, routing::get};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesos_ports::conformance::certificates::Authority;
use rustls::ClientConfig;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    options::GatewayOptions,
    server::listen::{self, Doors},
};

const LONG: Duration = Duration::from_secs(20);

struct Site {
    dir: PathBuf,
    authority: Authority,
    files: TlsFiles,
    address: SocketAddr,
    counters: TlsCounters,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.iter().for_each(JoinHandle::abort);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn folder() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("mesos-gateway-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

async fn who(request: Request) -> Vec<u8> {
    request.extensions().get::<PeerCertificate>().map_or_else(|| b"nobody".to_vec(), |shown| shown.0.clone())
}

impl Site {
    async fn start(patience: Duration) -> Site {
        let (dir, authority, counters) = (folder(), Authority::new(), TlsCounters::default());
        let client_ca = Some(authority.write(&dir));
        let (certificate, key) = authority.issue(&["localhost"]).write(&dir, "gateway");
        let files = TlsFiles { certificate, key, client_ca };
        let certificates = Certificates::load(files.clone(), counters.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_, inside) = mpsc::channel(1);
        let doors = Doors { listener, certificates: Some(certificates.clone()), inside };
        let options = GatewayOptions { header_timeout: patience, ..GatewayOptions::default() };
        let (stop, router) = (CancellationToken::new(), Router::new().route("/", get(who)));
        let cancel = stop.clone();
        let serve = async move { listen::serve(doors, router, &options, cancel).await };
        let tasks = vec![tokio::spawn(serve), tokio::spawn(certificates.watch())];
        Site { dir, authority, files, address, counters, stop, tasks }
    }

    /// Asks for the page as somebody who trusts `trusted` and shows `identity`.
    async fn ask(&self, trusted: &Authority, identity: Option<&Authority>, protocol: &str) -> Result<Vec<u8>, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let connector = TlsConnector::from(client(trusted, identity, protocol));
        let stream = TcpStream::connect(self.address).await.map_err(|error| text(&error))?;
        let name = "localhost".try_into().unwrap();
        let stream = connector.connect(name, stream).await.map_err(|error| text(&error))?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let request =
            http::Request::get("http://localhost/").header("host", "localhost").body(Empty::<bytes::Bytes>::new());
        let request = request.unwrap();
        let answer = if protocol == "h2" {
            let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (mut sender, connection) = shaken.map_err(|error| text(&error))?;
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = shaken.map_err(|error| text(&error))?;
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        Ok(answer.into_body().collect().await.map_err(|error| text(&error))?.to_bytes().to_vec())
    }

    async fn until_trusted(&self, authority: &Authority) {
        let trusted = async {
            while self.ask(authority, None, "h2").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONG, trusted).await.expect("the new certificate is taken up");
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, wait).await.expect("in time");
}

fn client(trusted: &Authority, identity: Option<&Authority>, protocol: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match identity {
        Some(authority) => {
            let issued = authority.issue(&["agent"]);
            let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(config)
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let (dir, authority) = (folder(), Authority::new());
    let ca = authority.write(&dir);
    let (certificate, key) = authority.issue(&["a"]).write(&dir, "a");
    let (_, other_key) = authority.issue(&["a"]).write(&dir, "b");
    let good = TlsFiles { certificate, key, client_ca: Some(ca.clone()) };
    Certificates::load(good.clone(), TlsCounters::default()).await.unwrap();
    for (files, named) in [
        (TlsFiles { certificate: dir.join("none"), ..good.clone() }, "--tls-cert"),
        (TlsFiles { certificate: good.key.clone(), ..good.clone() }, "--tls-cert"),
        (TlsFiles { key: ca, ..good.clone() }, "--tls-key"),
        (TlsFiles { key: other_key, ..good.clone() }, "do not go together"),
        (TlsFiles { client_ca: Some(good.key.clone()), ..good.clone() }, "--ca-cert"),
    ] {
        let error = Certificates::load(files, TlsCounters::default()).await.err().expect("refused");
        assert!(error.contains(named), "{error}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn both_protocols_share_the_port_and_a_clients_certificate_comes_with_each_request() {
    let site = Site::start(LONG).await;
    for protocol in ["h2", "http/1.1"] {
        assert_eq!(site.ask(&site.authority, None, protocol).await.as_deref(), Ok(&b"nobody"[..]));
        let shown = site.ask(&site.authority, Some(&site.authority), protocol).await.unwrap();
        assert!(CertificateDer::from(shown.clone()).len() > 100 && shown[0] == 0x30, "{shown:?}");
        let foreign = site.ask(&site.authority, Some(&Authority::new()), protocol).await;
        assert!(foreign.is_err(), "a foreign certificate is let in: {foreign:?}");
        assert!(site.ask(&Authority::new(), None, protocol).await.is_err(), "the client trusts somebody else");
    }
    // The server learns of some of them only after the client has left.
    until(|| site.counters.handshake_errors.get() >= 4).await;
}

#[tokio::test]
async fn a_plain_client_is_told_what_the_port_is_in_its_own_protocol() {
    let site = Site::start(LONG).await;
    for request in ["GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(LONG, stream.read_to_end(&mut answer)).await.expect("it is closed").unwrap();
        assert!(String::from_utf8_lossy(&answer).contains("write https://"), "{answer:?}");
    }
}

#[tokio::test]
async fn peers_that_do_not_shake_hands_are_given_up_and_hurt_nobody() {
    let site = Site::start(Duration::from_millis(500)).await;
    let mut silent = Vec::new();
    for sent in [&[][..], &[HANDSHAKE], &[HANDSHAKE, 3, 1, 0, 200, 1]] {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        silent.push(stream);
    }
    // One that shakes hands and then says half of what h2 begins with.
    let connector = TlsConnector::from(client(&site.authority, None, "h2"));
    let stream = TcpStream::connect(site.address).await.unwrap();
    let mut half = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    half.write_all(&PREFACE[..5]).await.unwrap();
    assert_eq!(site.ask(&site.authority, None, "h2").await.as_deref(), Ok(&b"nobody"[..]));
    for stream in &mut silent {
        let mut rest = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("it is closed");
    }
    let mut rest = Vec::new();
    let _ = timeout(LONG, half.read_to_end(&mut rest)).await.expect("it is closed");
}

#[tokio::test]
async fn new_certificates_are_taken_up_and_bad_ones_are_not() {
    let site = Site::start(LONG).await;
    std::fs::write(&site.files.certificate, "no certificate").unwrap();
    until(|| site.counters.reload_errors.get() == 1).await;
    assert_eq!(site.ask(&site.authority, None, "h2").await.as_deref(), Ok(&b"nobody"[..]), "the one before stays");
    let next = Authority::new();
    next.issue(&["localhost"]).write(&site.dir, "gateway");
    site.until_trusted(&next).await;
    // Whom the CA's file names may show certificates, from then on.
    assert!(site.ask(&next, Some(&next), "h2").await.is_err());
    next.write(&site.dir);
    let taken = async {
        while site.ask(&next, Some(&next), "h2").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, taken).await.expect("the new CA is taken up");
}

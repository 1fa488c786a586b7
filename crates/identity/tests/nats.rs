//! What a real nats-server lets an agent do with what it got at joining.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mesos_identity::{
    authority, join,
    nats::{self, AccountSigner},
    pki::{self, Cluster, Files},
};
use mesos_model::{AgentId, subject::Subjects};
use nkeys::KeyPair;

const INSTALLED: &str = "/var/cache/mesos-e2e/venv/bin/nats-server";
const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

struct Server {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(files: &Files) -> Server {
        let program = std::env::var_os("NATS_SERVER").map_or_else(|| PathBuf::from(INSTALLED), PathBuf::from);
        assert!(program.is_file(), "nats-server is needed: scripts/setup installs it");
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!("listen: 127.0.0.1:{port}\ninclude nats-accounts.conf\n");
        fs::write(dir.path().join("nats.conf"), config).unwrap();
        write(dir.path(), files);
        let child = Command::new(program)
            .arg("-c")
            .arg(dir.path().join("nats.conf"))
            .args(["-l", &dir.path().join("log").to_string_lossy()])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut server = Server { dir, port, child };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(server.child.try_wait().unwrap().is_none(), "nats-server ended: {}", server.log());
            assert!(start.elapsed() < PATIENCE, "{}", server.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Takes up a changed configuration.
    fn reload(&self, files: &Files) {
        write(self.dir.path(), files);
        let before = self.log().matches("Reloaded server configuration").count();
        assert!(Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap().success());
        let start = Instant::now();
        while self.log().matches("Reloaded server configuration").count() == before {
            assert!(start.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn connect(&self, token: &str, seed: &str) -> Result<Client, String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { lines: BufReader::new(stream.try_clone().unwrap()), stream, subscriptions: 0 };
        let info = client.line();
        let info: serde_json::Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
        let nonce = info["nonce"].as_str().expect("the server asks for a signature");
        let signature = KeyPair::from_seed(seed).unwrap().sign(nonce.as_bytes()).unwrap();
        let connect = serde_json::json!({
            "jwt": token, "sig": URL_SAFE_NO_PAD.encode(signature),
            "verbose": false, "pedantic": false, "lang": "test", "version": "0", "headers": true, "no_responders": true,
        });
        client.send(&format!("CONNECT {connect}\r\n"));
        match client.settle() {
            lines if lines.iter().any(|line| line.starts_with("-ERR")) => Err(lines.join("; ")),
            _ => Ok(client),
        }
    }

    fn control(&self, files: &Files) -> Result<Client, String> {
        let lines: Vec<&str> = files["control.creds"].lines().collect();
        self.connect(lines[1], lines[5])
    }
}

fn write(dir: &Path, files: &Files) {
    fs::write(dir.join("nats-accounts.conf"), &files["nats-accounts.conf"]).unwrap();
}

/// As little of NATS's protocol as shows what the server allows.
struct Client {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
    subscriptions: u32,
}

impl Client {
    fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes());
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(read) if read > 0 => line.trim_end().to_owned(),
            _ => "-ERR the connection is closed".to_owned(),
        }
    }

    /// What came until the server has done all that it was told.
    fn settle(&mut self) -> Vec<String> {
        self.send("PING\r\n");
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            let closed = line == "-ERR the connection is closed";
            match &*line {
                "PONG" => return lines,
                "PING" => self.send("PONG\r\n"),
                _ => lines.push(line),
            }
            if closed {
                return lines;
            }
        }
    }

    /// Whether the server has let that pass.
    fn may(&mut self, text: &str) -> bool {
        self.send(text);
        let lines = self.settle();
        !lines.iter().any(|line| line.starts_with("-ERR"))
    }

    fn subscribe(&mut self, subject: &str) -> bool {
        self.subscriptions += 1;
        self.may(&format!("SUB {subject} {}\r\n", self.subscriptions))
    }

    fn publish(&mut self, subject: &str, reply: &str) -> bool {
        self.may(&format!("PUB {subject} {reply} 2\r\nhi\r\n"))
    }
}

fn cluster() -> Cluster {
    Cluster { name: "c".to_owned(), hosts: vec!["localhost".to_owned()] }
}

fn made() -> Files {
    let mut files = Files::new();
    pki::complete(&mut files, &cluster()).unwrap();
    files
}

/// An agent's token and seed.
fn agent(files: &Files, id: &str, life: Duration) -> (String, String) {
    let key = join::new_agent_key().unwrap();
    let request = authority::Request::read(&authority::request(&key).unwrap()).unwrap();
    let signer = AccountSigner::read(&files["nats-account.seed"]).unwrap();
    let token = signer.agent("c", &AgentId::from(id), 7, &request.public_key(), life).unwrap();
    (token, join::nats_seed(&key).unwrap())
}

#[test]
fn f79_an_agent_uses_its_own_subjects_and_is_refused_all_others() {
    let files = made();
    let server = Server::start(&files);
    let (token, seed) = agent(&files, "l-S1", HOUR);
    let mut own = server.connect(&token, &seed).unwrap();
    let subjects = Subjects::new("c");
    let inbox = |id: &str| format!("{}.1.2", nats::agent_inbox(&AgentId::from(id)));
    for subject in [subjects.agent("l-S1"), subjects.agent_files("l-S1"), subjects.agents(), inbox("l-S1")] {
        assert!(own.subscribe(&subject), "{subject}");
    }
    for subject in [subjects.said("allocator", "l-S1"), subjects.said("registry", "l-S1"), inbox("l-S1")] {
        assert!(own.publish(&subject, ""), "{subject}");
    }
    for subject in [
        subjects.agent("l-S2"),
        subjects.agent_files("l-S2"),
        subjects.said("allocator", "l-S2"),
        subjects.inbox("allocator"),
        subjects.service("allocator"),
        subjects.changes("allocator"),
        subjects.all(),
        inbox("l-S2"),
        "_INBOX.>".to_owned(),
        ">".to_owned(),
        "$SYS.>".to_owned(),
        "$JS.API.>".to_owned(),
    ] {
        assert!(!own.subscribe(&subject), "it hears {subject}");
    }
    for subject in [
        subjects.said("allocator", "l-S2"),
        subjects.said("launcher", "l-S1"),
        subjects.service("allocator"),
        subjects.service("registry"),
        subjects.changes("registry"),
        subjects.agent("l-S1"),
        subjects.agent("l-S2"),
        subjects.agents(),
        subjects.gateways(),
        inbox("l-S2"),
        "_INBOX.anybody.1".to_owned(),
        "$JS.API.INFO".to_owned(),
        Subjects::new("d").said("allocator", "l-S1"),
    ] {
        assert!(!own.publish(&subject, ""), "it says {subject}");
    }
    // It answers whoever asks it, and only because it was asked.
    let mut control = server.control(&files).unwrap();
    assert!(control.subscribe("_INBOX.gateway.*"));
    assert!(!own.publish("_INBOX.gateway.9", ""));
    assert!(control.publish(&subjects.agent_files("l-S1"), "_INBOX.gateway.9"));
    let asked = own.settle();
    assert!(asked.iter().any(|line| line.starts_with("MSG mesos.c.files.l-S1")), "{asked:?}");
    assert!(own.publish("_INBOX.gateway.9", ""));
    assert!(control.settle().iter().any(|line| line.starts_with("MSG _INBOX.gateway.9")));
    assert!(control.publish(&subjects.agent("l-S1"), "") && control.subscribe(&subjects.inbox("allocator")));
    assert!(!control.subscribe("$SYS.>"));
}

#[test]
fn who_shows_no_good_credentials_is_refused() {
    let files = made();
    let server = Server::start(&files);
    let (token, seed) = agent(&files, "a", HOUR);
    let (_, other_seed) = agent(&files, "a", HOUR);
    assert!(server.connect(&token, &other_seed).is_err(), "a token without its key");
    let (stranger, stranger_seed) = agent(&made(), "a", HOUR);
    assert!(server.connect(&stranger, &stranger_seed).is_err(), "another cluster's token");
    assert!(server.connect("", &seed).is_err());
    // One that has ended, on a connection that is open and on a new one.
    let (short, short_seed) = agent(&files, "b", Duration::from_secs(2));
    let mut open = server.connect(&short, &short_seed).unwrap();
    let line = loop {
        let line = open.line();
        if line != "PING" {
            break line;
        }
    };
    assert!(line.contains("Expired") || line.contains("closed"), "{line}");
    // The server cuts it off to the millisecond, but looks at a new one's end in whole seconds.
    let second_over = Instant::now() + Duration::from_secs(2);
    while server.connect(&short, &short_seed).is_ok() {
        assert!(Instant::now() < second_over, "a token that has ended still opens connections");
    }
}

#[test]
fn a_rotated_account_key_counts_after_a_reload_and_cuts_nobody_off() {
    let mut files = made();
    let server = Server::start(&files);
    let (token, seed) = agent(&files, "l-S1", HOUR);
    let mut own = server.connect(&token, &seed).unwrap();
    let mut control = server.control(&files).unwrap();
    let before = files.clone();
    pki::rotate(&mut files, &cluster(), "nats-account").unwrap();
    let (new, new_seed) = agent(&files, "l-S2", HOUR);
    assert!(server.connect(&new, &new_seed).is_err(), "the server does not know the new key yet");
    server.reload(&files);
    let mut second = server.connect(&new, &new_seed).unwrap();
    let subjects = Subjects::new("c");
    assert!(second.subscribe(&subjects.agent("l-S2")));
    assert!(own.publish(&subjects.said("allocator", "l-S1"), ""), "who is connected stays so");
    assert!(control.publish(&subjects.agent("l-S2"), ""));
    assert!(second.settle().iter().any(|line| line.starts_with("MSG ")), "it is the same account");
    assert!(server.connect(&token, &seed).is_ok(), "the key before is good until the next rotation");
    pki::rotate(&mut files, &cluster(), "nats-account").unwrap();
    server.reload(&files);
    assert!(server.connect(&token, &seed).is_err());
    assert!(server.control(&before).is_err() && server.control(&files).is_ok());
}

//! A real redis-server on a free port of the loopback, in a folder of its own, which ends with its owner.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mesos_ports::conformance::certificates::Authority;
use mesos_store::redis::RedisOptions;
use tempfile::TempDir;

const BINARY: &str = "redis-server";
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether redis-server is installed. Without it a test fails, unless `MESOS_SKIP_MISSING=1` says that
/// it may be left out.
pub(crate) fn is_there() -> bool {
    let found = Command::new(BINARY).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        let why = "redis-server is not installed, so the Redis adapter cannot be tested";
        assert!(std::env::var("MESOS_SKIP_MISSING").as_deref() == Ok("1"), "{why} (MESOS_SKIP_MISSING=1 skips it)");
        println!("skipped: {why}");
    }
    found
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

pub(crate) struct Server {
    pub(crate) port: u16,
    /// Where it speaks TLS, if it does.
    pub(crate) tls_port: Option<u16>,
    folder: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub(crate) async fn start(arguments: &[&str]) -> Server {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a folder");
        let fixed = ["--save", "", "--repl-diskless-sync-delay", "0", "--repl-timeout", "5"];
        let arguments = fixed.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        let mut server = Server { port, tls_port: None, folder, arguments, child: None };
        server.spawn();
        ready(&server.url()).await;
        server
    }

    /// One with a second port, which speaks TLS with the files of `secured` and knows its user. The tests' own commands
    /// go to the plain port.
    pub(crate) async fn start_secured(arguments: &[&str], secured: &Secured) -> Server {
        let tls_port = free_port();
        let mut all: Vec<String> = secured.arguments(tls_port);
        all.extend(["--aclfile".to_owned(), secured.path("users.acl")]);
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let mut server = Server::start(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
        server.tls_port = Some(tls_port);
        server
    }

    /// A Sentinel that speaks TLS and watches the primary's TLS port.
    pub(crate) async fn sentinel_secured(name: &str, watched: u16, secured: &Secured) -> Server {
        let tls_port = free_port();
        let mut arguments = secured.arguments(tls_port);
        arguments.extend(["--tls-replication".to_owned(), "yes".to_owned()]);
        let mut server = Server::sentinel_with(name, watched, 1, arguments).await;
        server.tls_port = Some(tls_port);
        server
    }

    /// A Sentinel that watches the primary on `port` with its replicas and takes it for dead after half a second.
    pub(crate) async fn sentinel(name: &str, port: u16, replicas: usize) -> Server {
        Server::sentinel_with(name, port, replicas, Vec::new()).await
    }

    async fn sentinel_with(name: &str, port: u16, replicas: usize, mut arguments: Vec<String>) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("sentinel.conf");
        let text = format!(
            "sentinel monitor {name} 127.0.0.1 {port} 1\nsentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 5000\n"
        );
        std::fs::write(&config, text).expect("a file");
        arguments.insert(0, "--sentinel".to_owned());
        let mut server = Server { port: free_port(), tls_port: None, folder, arguments, child: None };
        server.spawn_with(Some(&config.to_string_lossy()));
        ready(&server.url()).await;
        let start = Instant::now();
        let seen = format!("slaves={replicas}");
        while !text_of(&server.url(), &["INFO", "sentinel"]).await.contains(&seen) {
            assert!(start.elapsed() < PATIENCE, "the sentinel does not see the replicas");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    pub(crate) fn spawn(&mut self) {
        self.spawn_with(None);
    }

    fn spawn_with(&mut self, config: Option<&str>) {
        let child = Command::new(BINARY)
            .args(config)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        self.child = Some(child);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Where it speaks TLS.
    pub(crate) fn tls_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.tls_port.expect("it speaks TLS")))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Ends the server as an operator does: it writes what it has.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().expect("it ends");
        }
    }

    /// Ends the server as a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
    }

    /// Cuts bytes off the end of the append-only file.
    pub(crate) fn tear_append_only_file(&self, bytes: u64) {
        let folder = std::fs::read_dir(self.folder.path().join("appendonlydir")).expect("a folder");
        let path = folder
            .map(|entry| entry.expect("an entry").path())
            .find(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .expect("an append-only file");
        let file = OpenOptions::new().write(true).open(path).expect("a file");
        let len = file.metadata().expect("its length").len();
        file.set_len(len - bytes).expect("cut");
    }

    /// Takes the folder away under the running server, so that it cannot save.
    pub(crate) fn lose_folder(&self) {
        std::fs::remove_dir_all(self.folder.path()).expect("removed");
    }

    /// Makes it a replica of the server on `port` and waits until it has all of it.
    pub(crate) async fn follow(&self, port: u16) {
        command(&self.url(), &["REPLICAOF", "127.0.0.1", &port.to_string()]).await;
        self.caught_up(port).await;
    }

    /// Waits until this replica has everything that the server on `port` has now.
    pub(crate) async fn caught_up(&self, port: u16) {
        let primary = text_of(&format!("redis://127.0.0.1:{port}"), &["INFO", "replication"]).await;
        let wanted = number(&primary, "master_repl_offset");
        let start = Instant::now();
        loop {
            let info = text_of(&self.url(), &["INFO", "replication"]).await;
            if info.contains("master_link_status:up") && number(&info, "slave_repl_offset") >= wanted {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the replica did not catch up: {info}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn promote(&self) {
        command(&self.url(), &["REPLICAOF", "NO", "ONE"]).await;
    }
}

/// What a server over TLS and its clients have in files.
pub(crate) struct Secured {
    folder: TempDir,
    pub(crate) authority: Authority,
}

/// What the adapter's user may do in the cluster `test`: `docs/security.md` has the same line, and a test compares.
pub(crate) const USER: &str = "user mesos on >PASSWORD resetkeys ~{mesos:test}:* resetchannels -@all +info +time +evalsha \
    +script|load +hget +hmget +hset +hdel +hscan +exists +del +xadd +xrange +xread +xtrim +xinfo|stream";
pub(crate) const PASSWORD: &str = "pa ss:w/rd";

impl Secured {
    pub(crate) fn new() -> Secured {
        let secured = Secured { folder: tempfile::tempdir().expect("a folder"), authority: Authority::new() };
        secured.authority.write(secured.folder.path());
        secured.authority.issue(&["127.0.0.1", "localhost"]).write(secured.folder.path(), "redis");
        // A file of users takes passwords as hashes too; here nobody else reads it.
        let user = USER.replace(">PASSWORD", &format!("#{}", sha256(PASSWORD)));
        secured.write("users.acl", &format!("user default on nopass ~* &* +@all\n{user}\n"));
        secured.write("password", &format!("{PASSWORD}\n"));
        secured
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    fn arguments(&self, tls_port: u16) -> Vec<String> {
        let (certificate, key, ca) = (self.path("redis.crt"), self.path("redis.key"), self.path("ca.crt"));
        let port = tls_port.to_string();
        let pairs = [
            ("--tls-port", port.as_str()),
            ("--tls-cert-file", &certificate),
            ("--tls-key-file", &key),
            ("--tls-ca-cert-file", &ca),
            ("--tls-auth-clients", "no"),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect()
    }

    /// What the adapter needs to get in.
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions {
            ca: Some(self.path("ca.crt").into()),
            username: Some("mesos".to_owned()),
            password_file: Some(self.path("password").into()),
            ..RedisOptions::default()
        }
    }
}

/// By the tool that every system has, so that the tests need no library for it.
fn sha256(text: &str) -> String {
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum runs");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends").stdout;
    String::from_utf8_lossy(&output).split_whitespace().next().expect("a sum").to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn number(info: &str, name: &str) -> u64 {
    let found = info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    found.and_then(|number| number.parse().ok()).expect("a number")
}

/// Waits until the server answers something, be it that a password is wanted.
pub(crate) async fn ready(url: &str) {
    let start = Instant::now();
    loop {
        match ask(url, &["PING"]).await {
            Ok(_) => return,
            Err(error) if error.code() == Some("NOAUTH") => return,
            Err(error) => assert!(start.elapsed() < PATIENCE, "redis-server does not answer: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a command on a connection of its own.
pub(crate) async fn command(url: &str, words: &[&str]) {
    ask(url, words).await.expect("a command");
}

pub(crate) async fn text_of(url: &str, words: &[&str]) -> String {
    redis::from_redis_value(ask(url, words).await.expect("a command")).expect("text")
}

async fn ask(url: &str, words: &[&str]) -> redis::RedisResult<redis::Value> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut connection).await
}

//! A Docker daemon of a test's own, which it may stop, kill and start again.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use mesos_container::{DockerContainerizer, DockerOptions};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::IMAGE;

/// How long a daemon may take to start, on a machine that does other things too.
const START: Duration = Duration::from_secs(60);

/// The daemon with all that it keeps.
pub(crate) struct OwnDaemon {
    dir: tempfile::TempDir,
    child: Child,
    live_restore: bool,
}

impl OwnDaemon {
    /// Starts one that has the image of these tests. `live_restore`: its containers outlive it.
    pub(crate) fn start(live_restore: bool) -> OwnDaemon {
        // Short, as it becomes part of the path of a socket.
        let dir = tempfile::Builder::new().prefix("md").tempdir_in("/tmp").expect("a directory");
        let child = spawn(&dir, live_restore);
        let daemon = OwnDaemon { dir, child, live_restore };
        daemon.until_it_answers();
        let saved = daemon.dir.path().join("image.tar");
        let saved = saved.display().to_string();
        let (done, text) = crate::docker(&["save", "-o", &saved, IMAGE]);
        assert!(done, "{text}");
        let (done, text) = daemon.docker(&["load", "-i", &saved]);
        assert!(done, "{text}");
        daemon
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.path("sock").display())
    }

    /// A containerizer on it whose calls may take this long.
    pub(crate) fn adapter(&self, call_timeout: Duration) -> DockerContainerizer {
        DockerContainerizer::new(DockerOptions { host: self.host(), call_timeout, ..DockerOptions::default() })
    }

    /// Runs `docker` against it.
    pub(crate) fn docker(&self, args: &[&str]) -> (bool, String) {
        let host = self.host();
        crate::docker(&[&["--host", host.as_str()], args].concat())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// SIGTERM or SIGKILL, and until it is gone.
    pub(crate) fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.wait().expect("reaped");
    }

    /// Starts it again.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.dir, self.live_restore);
        self.until_it_answers();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn until_it_answers(&self) {
        let end = Instant::now() + START;
        while !self.docker(&["version"]).0 {
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(Instant::now() < end, "the daemon does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn spawn(dir: &tempfile::TempDir, live_restore: bool) -> Child {
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("config"), "{}").expect("a file");
    // A daemon that was killed leaves this behind.
    let _ = fs::remove_file(path("pid"));
    let log = File::options().create(true).append(true).open(path("log")).expect("a log");
    // In a network of its own: a daemon without a bridge removes the one that it finds, which is another's.
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--", "dockerd"])
        .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"])
        .arg(format!("--host=unix://{}", path("sock")))
        .arg(format!("--data-root={}", path("data")))
        .arg(format!("--exec-root={}", path("exec")))
        .arg(format!("--pidfile={}", path("pid")))
        .arg(format!("--config-file={}", path("config")))
        .arg("--shutdown-timeout=2")
        .arg(format!("--live-restore={live_restore}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log);
    command.spawn().expect("dockerd starts")
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGCONT);
        let (_, ids) = self.docker(&["ps", "-aq"]);
        for id in ids.split_whitespace() {
            self.docker(&["rm", "-f", id]);
        }
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let end = Instant::now() + Duration::from_secs(20);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its own containerd ends with it, unless it was killed.
        let below = self.dir.path().display().to_string();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|_| String::from_utf8_lossy(&line).contains(&below)) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&below)) {
            let _ = Command::new("umount").args(["--lazy", mount]).status();
        }
    }
}

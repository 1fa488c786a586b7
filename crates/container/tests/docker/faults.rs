//! What goes wrong with a Docker daemon, and what becomes of its containers then.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mesos_container::{DockerContainerizer, DockerOptions};
use mesos_ports::{
    conformance::containerizer::Host,
    containerizer::{ContainerError, ContainerSpec, Containerizer, DockerSpec, PortMapping},
};
use nix::sys::signal::Signal;
use tokio::time::timeout;

use crate::{Daemon, daemon::OwnDaemon, ready};

const AGENT: &str = "agent-of-docker-test";
const SOON: Duration = Duration::from_secs(30);

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn runs(pid: Option<u32>) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.expect("a pid"))).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// The daemon is restarted under a running container, and its containers outlive it: the same process goes on, and
/// its true end is told.
#[tokio::test(flavor = "multi_thread")]
async fn f41_a_container_that_outlives_its_daemon_runs_on_and_its_true_end_is_told() {
    if !ready() || !root() {
        return;
    }
    let host = Daemon::new();
    let mut daemon = OwnDaemon::start(true);
    let adapter = daemon.adapter(SOON);
    let spec = host.spec("while [ ! -e go ]; do sleep 0.1; done; exit 6");
    let (id, sandbox) = (spec.container_id.clone(), spec.sandbox.clone());
    let running = adapter.launch(spec).await.expect("starts");
    daemon.end(Signal::SIGTERM);
    assert!(runs(running.pid), "it is to outlive its daemon");
    assert!(timeout(Duration::from_millis(500), adapter.wait(&id)).await.is_err(), "it has not ended");
    daemon.start_again();
    assert!(timeout(Duration::from_millis(500), adapter.wait(&id)).await.is_err(), "it has not ended");
    assert!(runs(running.pid));
    fs::write(sandbox.join("go"), "").expect("written");
    let exit = timeout(SOON, adapter.wait(&id)).await.expect("in time").expect("known");
    assert_eq!(exit.code, Some(6), "{exit:?}");
    adapter.destroy(&id).await.expect("destroyed");
}

/// Its containers do not outlive it: their end is told, not left open.
#[tokio::test(flavor = "multi_thread")]
async fn f41_a_container_that_ends_with_its_daemon_is_told_as_ended() {
    if !ready() || !root() {
        return;
    }
    let host = Daemon::new();
    let mut daemon = OwnDaemon::start(false);
    let adapter = daemon.adapter(SOON);
    let spec = host.spec("exec sleep 600");
    let id = spec.container_id.clone();
    let running = adapter.launch(spec).await.expect("starts");
    daemon.end(Signal::SIGTERM);
    until("it ends with its daemon", || !runs(running.pid)).await;
    daemon.start_again();
    let exit = timeout(SOON, adapter.wait(&id)).await.expect("in time").expect("known");
    assert!(exit.code != Some(0), "{exit:?}");
    assert!(adapter.health().await.is_ok());
    adapter.destroy(&id).await.expect("destroyed");
}

/// Every call has its deadline while the daemon hangs; what it does of them later leaves nothing behind, and what ran
/// before runs on.
#[tokio::test(flavor = "multi_thread")]
async fn f42_calls_to_a_daemon_that_hangs_end_and_leave_nothing_behind() {
    if !ready() || !root() {
        return;
    }
    let host = Daemon::new();
    let daemon = OwnDaemon::start(false);
    let adapter = daemon.adapter(Duration::from_secs(2));
    let before = host.spec("exec sleep 600");
    let kept = before.container_id.clone();
    let running = adapter.launch(before).await.expect("starts");
    daemon.signal(Signal::SIGSTOP);
    let spec = host.spec("exec sleep 600");
    let id = spec.container_id.clone();
    let launched = timeout(SOON, adapter.launch(spec)).await.expect("a deadline").expect_err("nobody answers");
    assert!(launched.is_retryable() && launched.to_string().contains("did not answer"), "{launched}");
    let health = timeout(SOON, adapter.health()).await.expect("a deadline").expect_err("nobody answers");
    assert!(health.is_retryable(), "{health}");
    let later = daemon.adapter(Duration::from_secs(2));
    let found = timeout(SOON, later.recover(AGENT)).await.expect("a deadline").expect_err("nobody answers");
    assert!(found.is_retryable(), "what is not known must not be taken for gone: {found}");
    assert!(runs(running.pid));
    daemon.signal(Signal::SIGCONT);
    until("it answers again", || daemon.docker(&["version"]).0).await;
    until("nothing is left of the launch that failed", || {
        let label = format!("label=mesos.container_id={id}");
        daemon.docker(&["ps", "-aq", "--filter", &label]).1.trim().is_empty()
    })
    .await;
    assert!(runs(running.pid));
    let found = later.recover(AGENT).await.expect("looks");
    assert_eq!(
        found.iter().map(|found| (&*found.container_id, found.running.is_some())).collect::<Vec<_>>(),
        [(&*kept, true)]
    );
    adapter.destroy(&kept).await.expect("destroyed");
}

/// A registry that says the same to everybody, and how often it was asked for an image.
fn registry(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let count = count.clone();
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let manifest = String::from_utf8_lossy(&request[..length]).contains("/manifests/");
                let answer = if manifest {
                    count.fetch_add(1, Ordering::Relaxed);
                    answer
                } else {
                    "HTTP/1.1 200 OK\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 0\r\n"
                };
                if answer.is_empty() {
                    // Until the other side has had enough.
                    let _ = stream.read(&mut request);
                    return;
                }
                let _ = stream.write_all(format!("{answer}Connection: close\r\n\r\n").as_bytes());
            });
        }
    });
    (port, asked)
}

fn of_registry(host: &Daemon, port: u16) -> (ContainerSpec, String) {
    let image = format!("127.0.0.1:{port}/an/image:1");
    let mut spec = host.spec("true");
    spec.docker = Some(DockerSpec { image: image.clone(), ..spec.docker.unwrap_or_default() });
    (spec, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn f43_a_pull_that_hangs_has_a_deadline_and_says_so() {
    if !ready() {
        return;
    }
    let (port, asked) = registry("");
    let host = Daemon::new();
    let pull_timeout = Duration::from_secs(2);
    let adapter = DockerContainerizer::new(DockerOptions { pull_timeout, ..DockerOptions::default() });
    let (spec, wanted) = of_registry(&host, port);
    match timeout(SOON, adapter.launch(spec)).await.expect("a deadline") {
        Err(ContainerError::Pull { image, message }) => {
            assert_eq!(image, wanted);
            assert_eq!(message, "not done within 2s");
        }
        other => panic!("{other:?}"),
    }
    assert!(asked.load(Ordering::Relaxed) > 0, "it hung where it should");
}

/// A registry that is asked too much is asked again, later and later, and not for ever.
#[tokio::test(flavor = "multi_thread")]
async fn f43_a_registry_that_refuses_for_now_is_asked_again_and_then_named() {
    if !ready() {
        return;
    }
    let (port, asked) = registry("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n");
    let host = Daemon::new();
    let (spec, wanted) = of_registry(&host, port);
    let began = Instant::now();
    let pulled = timeout(SOON, host.adapter().launch(spec)).await.expect("it gives up");
    let first = asked.load(Ordering::Relaxed);
    match pulled {
        Err(ContainerError::Pull { image, message }) => {
            assert_eq!(image, wanted);
            assert!(message.contains("429"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    // After 1, 2 and 4 seconds.
    assert!(first >= 4 && began.elapsed() >= Duration::from_secs(7), "{first} in {:?}", began.elapsed());
}

#[tokio::test]
async fn f44_containers_of_an_agent_that_is_no_more_are_removed_by_where_their_sandbox_is() {
    if !ready() {
        return;
    }
    let host = Daemon::new();
    let options = || DockerOptions { work_dir: Some(host.sandboxes.path().to_path_buf()), ..DockerOptions::default() };
    let (mut ours, theirs) = (host.spec("exec sleep 600"), host.spec("exec sleep 600"));
    ours.sandbox = host.sandboxes.path().join("slaves/former-agent/box");
    fs::create_dir_all(&ours.sandbox).expect("a sandbox");
    (ours.agent_id, ours.task_id) = ("former-agent".into(), "t".into());
    let (own, other) = (ours.container_id.clone(), theirs.container_id.clone());
    let before = DockerContainerizer::new(options());
    before.launch(ours).await.expect("starts");
    // Of another agent on the same daemon: its sandbox is elsewhere.
    before.launch(theirs).await.expect("starts");
    let found = DockerContainerizer::new(options()).recover("new-agent").await.expect("looks");
    assert!(found.is_empty(), "{found:?}");
    let left = host.leftovers(&own).await;
    let kept = host.leftovers(&other).await.len();
    before.destroy(&own).await.expect("destroyed");
    before.destroy(&other).await.expect("destroyed");
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(kept, 1, "it is not ours");
}

#[tokio::test]
async fn f48_a_host_port_that_is_taken_fails_the_launch_names_the_port_and_leaves_nothing() {
    if !ready() {
        return;
    }
    let host = Daemon::new();
    let taken = TcpListener::bind("0.0.0.0:0").expect("bound");
    let port = taken.local_addr().expect("bound").port();
    let mut spec = host.spec("exec sleep 600");
    let mut docker = spec.docker.take().unwrap_or_default();
    docker.network = "bridge".into();
    docker.port_mappings = vec![PortMapping { host_port: port, container_port: 80, protocol: "tcp".into() }];
    spec.docker = Some(docker);
    let id = spec.container_id.clone();
    let adapter = host.adapter();
    let error = adapter.launch(spec).await.expect_err("the port is taken");
    let left = host.leftovers(&id).await;
    adapter.destroy(&id).await.expect("destroyed");
    assert!(!error.is_retryable() && error.to_string().contains(&port.to_string()), "{error}");
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn f50_the_log_of_a_container_is_rotated_and_bounded_and_its_end_is_there() {
    if !ready() {
        return;
    }
    let host = Daemon::new();
    let adapter = DockerContainerizer::new(DockerOptions { log_bytes: 100_000, ..DockerOptions::default() });
    let mut spec = host.spec("seq 1 100000; echo the end");
    // Or a test that recovers all of the usual one would follow this container too.
    spec.agent_id = "agent-of-the-log".into();
    let (id, sandbox) = (spec.container_id.clone(), spec.sandbox.clone());
    adapter.launch(spec).await.expect("starts");
    assert_eq!(adapter.wait(&id).await.expect("ends").code, Some(0));
    adapter.destroy(&id).await.expect("destroyed");
    let read = |name: &str| fs::read_to_string(sandbox.join(name)).expect("there");
    let (before, now) = (read("stdout.1"), read("stdout"));
    assert!(before.len() == 100_000 && now.len() <= 100_000, "{} and {}", before.len(), now.len());
    assert!((before + &now).ends_with("\n99999\n100000\nthe end\n"));
}

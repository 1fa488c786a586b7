//! The Docker containerizer against the suite of its port and a real daemon, and what only it does.
//!
//! Without a daemon these tests fail and say what to do; `MESOS_SKIP_MISSING=1` skips them.

mod daemon;
mod faults;

use std::{
    fs,
    path::Path,
    process::{Command as Process, Stdio},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use mesos_container::{DockerContainerizer, DockerOptions};
use mesos_ports::{
    conformance::containerizer::{self as suite, Abilities, Host},
    containerizer::{Command, ContainerError, ContainerSpec, Containerizer, DockerSpec, Limits, PortMapping, Volume},
};
use tempfile::TempDir;
use uuid::Uuid;

const IMAGE: &str = "mesos-e2e/busybox:1";
const MOUNT: &str = "/mnt/mesos/sandbox";

fn docker(args: &[&str]) -> (bool, String) {
    match Process::new("docker").args(args).stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        }
        Err(error) => (false, format!("cannot run docker: {error}")),
    }
}

/// Whether there is a daemon with the image of these tests, which is made of the host's busybox.
fn ready() -> bool {
    static READY: OnceLock<Result<(), String>> = OnceLock::new();
    let found = READY.get_or_init(|| {
        let (up, text) = docker(&["info"]);
        if !up {
            return Err(format!("no Docker daemon; start one with `dockerd &`: {}", text.trim()));
        }
        if docker(&["image", "inspect", IMAGE]).0 {
            return Ok(());
        }
        let root = tempfile::tempdir().map_err(|error| error.to_string())?;
        let script = format!(
            "set -e; cd {}; mkdir -p bin tmp etc; cp /bin/busybox bin/; \
             for name in $(bin/busybox --list); do [ -e bin/$name ] || ln -s busybox bin/$name; done; \
             echo root:x:0:0::/:/bin/sh > etc/passwd; \
             tar -c . | docker import -c 'ENV PATH=/bin' - {IMAGE}",
            root.path().display()
        );
        let built = Process::new("sh").args(["-c", &script]).output().map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&built.stderr).into_owned();
        built.status.success().then_some(()).ok_or(format!("cannot make the image (is busybox-static there?): {told}"))
    });
    match found {
        Ok(()) => true,
        Err(why) if std::env::var_os("MESOS_SKIP_MISSING").is_some() => {
            eprintln!("skipped: {why}");
            false
        }
        Err(why) => panic!("{why}"),
    }
}

struct Daemon {
    sandboxes: TempDir,
}

impl Daemon {
    fn new() -> Daemon {
        Daemon { sandboxes: tempfile::tempdir().expect("a directory") }
    }

    fn adapter(&self) -> DockerContainerizer {
        DockerContainerizer::new(DockerOptions::default())
    }

    fn spec(&self, line: &str) -> ContainerSpec {
        let container_id = Uuid::new_v4().to_string();
        let sandbox = self.sandboxes.path().join(&container_id);
        fs::create_dir_all(&sandbox).expect("a sandbox");
        let mut spec = ContainerSpec {
            agent_id: "agent-of-docker-test".into(),
            framework_id: "f".into(),
            task_id: "t".into(),
            container_id,
            sandbox,
            command: Command { value: Some(line.into()), shell: true, ..Command::default() },
            limits: Limits { cpu_shares_milli: 100, ..Limits::default() },
            ..ContainerSpec::default()
        };
        self.adapt(&mut spec);
        spec
    }
}

#[async_trait]
impl Host for Daemon {
    fn abilities(&self) -> Abilities {
        Abilities { programs: true, memory: true, users: false }
    }

    async fn containerizer(&self) -> Arc<dyn Containerizer> {
        Arc::new(self.adapter())
    }

    fn adapt(&self, spec: &mut ContainerSpec) {
        // An image's entry point, not the agent, says what argv[0] is: Mesos gives it value and arguments.
        if spec.command.value.is_some() && !spec.command.arguments.is_empty() {
            spec.command.arguments.remove(0);
        }
        spec.docker = Some(DockerSpec {
            image: IMAGE.into(),
            network: "none".into(),
            sandbox_mount: MOUNT.into(),
            parameters: vec![("workdir".into(), MOUNT.into())],
            ..DockerSpec::default()
        });
    }

    fn sandboxes(&self) -> &Path {
        self.sandboxes.path()
    }

    async fn leftovers(&self, container_id: &str) -> Vec<String> {
        let (_, text) = docker(&["ps", "-aq", "--filter", &format!("label=mesos.container_id={container_id}")]);
        text.lines().map(String::from).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_conforms() {
    if ready() {
        suite::run(&Daemon::new()).await;
    }
}

#[tokio::test]
async fn a_missing_daemon_is_named() {
    let options = DockerOptions { host: "unix:///no/such.sock".into(), ..DockerOptions::default() };
    let error = DockerContainerizer::new(options).ping().await.expect_err("not there");
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(
        text.contains("cannot reach Docker at unix:///no/such.sock") && text.contains("is dockerd running?"),
        "{text}"
    );
}

#[tokio::test]
async fn f42_a_daemon_that_hangs_meets_a_deadline() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("docker.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    let host = format!("unix://{}", path.display());
    let options = DockerOptions { host, call_timeout: Duration::from_millis(200), ..DockerOptions::default() };
    let error = DockerContainerizer::new(options).ping().await.expect_err("silent");
    assert!(error.is_retryable() && error.to_string().contains("did not answer"), "{error}");
}

#[tokio::test]
async fn f43_an_image_that_cannot_be_had_is_named() {
    if !ready() {
        return;
    }
    let host = Daemon::new();
    let mut spec = host.spec("true");
    spec.docker = Some(DockerSpec { image: "127.0.0.1:9/no/image".into(), ..spec.docker.unwrap_or_default() });
    match host.adapter().launch(spec).await {
        Err(ContainerError::Pull { image, .. }) => assert_eq!(image, "127.0.0.1:9/no/image"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn f43_a_kill_ends_a_pull_that_hangs() {
    if !ready() {
        return;
    }
    // A registry that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let host = Daemon::new();
    let mut spec = host.spec("true");
    let image = format!("{}/an/image:1", silent.local_addr().expect("bound"));
    spec.docker = Some(DockerSpec { image, ..spec.docker.unwrap_or_default() });
    let adapter = Arc::new(host.adapter());
    let id = spec.container_id.clone();
    let launching = tokio::spawn({
        let adapter = adapter.clone();
        async move { adapter.launch(spec).await }
    });
    // The daemon calls the registry: now it hangs.
    tokio::task::spawn_blocking(move || silent.accept().map(std::mem::forget)).await.expect("ran").expect("called");
    adapter.kill(&id, Duration::from_secs(5)).await.expect("asked");
    let error = launching.await.expect("ends").expect_err("killed").to_string();
    assert!(error.contains("killed"), "{error}");
}

#[tokio::test]
async fn published_ports_volumes_and_parameters_work() {
    if !ready() {
        return;
    }
    let host = Daemon::new();
    let adapter = host.adapter();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound").port();
    let shared = tempfile::tempdir().expect("a directory");
    fs::write(shared.path().join("hello"), "there").expect("written");
    let mut spec = host.spec("cat /data/hello; hostname; echo $EXTRA; nc -l -p 80 -e echo served");
    spec.volumes = vec![Volume { host_path: shared.path().into(), container_path: "/data".into(), read_only: true }];
    let mut docker = spec.docker.take().unwrap_or_default();
    docker.network = "bridge".into();
    docker.port_mappings = vec![PortMapping { host_port: free, container_port: 80, protocol: "tcp".into() }];
    docker.parameters.extend([("hostname".into(), "named".into()), ("env".into(), "EXTRA=more".into())]);
    spec.docker = Some(docker);
    let (id, sandbox) = (spec.container_id.clone(), spec.sandbox.clone());
    let running = match adapter.launch(spec).await {
        Ok(running) => running,
        // A kernel without bridges cannot show this.
        Err(error) if error.to_string().contains("network") || error.to_string().contains("bridge") => {
            panic!("no bridge network on this host: {error}")
        }
        Err(error) => panic!("{error}"),
    };
    assert!(running.pid.is_some() && !running.addresses.is_empty(), "{running:?}");
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let mut text = String::new();
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", free)) {
            let _ = std::io::Read::read_to_string(&mut stream, &mut text);
        }
        if text == "served\n" {
            break;
        }
        assert!(Instant::now() < until, "nothing served, but {text:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let exit = adapter.wait(&id).await.expect("ends");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(fs::read_to_string(sandbox.join("stdout")).expect("written"), "therenamed\nmore\n");
    adapter.destroy(&id).await.expect("destroyed");
}

/// The agent is away in the middle of the output: not a byte is missing and none is there twice.
/// A framework that does not stop asking must not keep a busy daemon from ending anything.
#[tokio::test(flavor = "multi_thread")]
async fn kills_that_are_repeated_stop_a_container_once_and_a_shorter_grace_counts() {
    if !ready() {
        return;
    }
    let host = Daemon::new();
    let adapter = host.adapter();
    for (first, then, least) in [(2, 2, 2), (600, 1, 1)] {
        let spec = host.spec("trap 'echo asked >>asked' TERM; echo >ready; while :; do sleep 0.1; done");
        let (id, sandbox) = (spec.container_id.clone(), spec.sandbox.clone());
        adapter.launch(spec).await.expect("starts");
        while !sandbox.join("ready").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let begun = Instant::now();
        adapter.kill(&id, Duration::from_secs(first)).await.expect("asked");
        for _ in 0..50 {
            adapter.kill(&id, Duration::from_secs(then)).await.expect("asked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let exit =
            tokio::time::timeout(Duration::from_secs(60), adapter.wait(&id)).await.expect("in time").expect("known");
        assert_eq!(exit.code, Some(137), "{exit:?}");
        assert!(begun.elapsed() >= Duration::from_secs(least));
        let asked = fs::read_to_string(sandbox.join("asked")).expect("written").lines().count();
        assert!(asked <= if first == then { 1 } else { 2 }, "asked {asked} times");
        adapter.destroy(&id).await.expect("destroyed");
    }
}

#[tokio::test]
async fn output_is_whole_after_a_restart() {
    if !ready() {
        return;
    }
    let host = Daemon::new();
    let spec = host.spec("i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); usleep 3000; done");
    let (id, sandbox) = (spec.container_id.clone(), spec.sandbox.clone());
    fs::write(sandbox.join("stdout"), "from the fetcher\n").expect("written");
    // The first agent is a runtime of its own, so that all that it follows dies with it.
    let first = host.adapter();
    let before = sandbox.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            first.launch(spec).await.expect("starts");
            let until = Instant::now() + Duration::from_secs(30);
            while !fs::read_to_string(before.join("stdout")).unwrap_or_default().contains("line 20\n") {
                assert!(Instant::now() < until);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        runtime.shutdown_background();
    })
    .join()
    .expect("ran");
    let adapter = host.adapter();
    assert!(adapter.recover("agent-of-docker-test").await.expect("looks").iter().any(|one| one.container_id == id));
    assert_eq!(adapter.wait(&id).await.expect("ends").code, Some(0));
    let expected: String = (0..300).map(|number| format!("line {number}\n")).collect();
    let found = fs::read_to_string(sandbox.join("stdout")).expect("written");
    assert_eq!(found, format!("from the fetcher\n{expected}"));
    adapter.destroy(&id).await.expect("destroyed");
}

/// An agent that died between create and start: the container is removed, or used if asked for first.
#[tokio::test]
async fn f32_a_container_that_was_only_created_is_never_doubled() {
    if !ready() {
        return;
    }
    let host = Daemon::new();
    let agent = format!("agent-{}", Uuid::new_v4());
    for recovered in [true, false] {
        let mut spec = host.spec("exit 6");
        spec.agent_id = agent.clone();
        let id = spec.container_id.clone();
        let (made, text) = docker(&[
            "create",
            "--name",
            &format!("mesos-{id}"),
            "--label",
            &format!("mesos.container_id={id}"),
            "--label",
            &format!("mesos.agent_id={agent}"),
            IMAGE,
            "sh",
            "-c",
            "exit 6",
        ]);
        assert!(made, "{text}");
        let adapter = host.adapter();
        if recovered {
            assert!(adapter.recover(&agent).await.expect("looks").is_empty());
            assert_eq!(host.leftovers(&id).await, Vec::<String>::new());
        }
        adapter.launch(spec).await.expect("starts");
        assert_eq!(host.leftovers(&id).await.len(), 1);
        assert_eq!(adapter.wait(&id).await.expect("ends").code, Some(6));
        adapter.destroy(&id).await.expect("destroyed");
    }
}

/// Prints what the adapter adds to the daemon's own time.
#[tokio::test(flavor = "multi_thread")]
async fn a_launch_adds_little_to_create_and_start() {
    if !ready() {
        return;
    }
    let host = Daemon::new();
    let adapter = host.adapter();
    let client = bollard::Docker::connect_with_unix_defaults().expect("there");
    let client = client.negotiate_version().await.expect("there");
    let (mut ours, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let spec = host.spec("exec sleep 600");
        let id = spec.container_id.clone();
        let body = bollard::models::ContainerCreateBody {
            image: Some(IMAGE.into()),
            cmd: Some(["sh", "-c", "exec sleep 600"].map(String::from).to_vec()),
            host_config: Some(bollard::models::HostConfig {
                network_mode: Some("none".into()),
                binds: Some(vec![format!("{}:{MOUNT}", spec.sandbox.display())]),
                cpu_shares: Some(102),
                ..Default::default()
            }),
            ..Default::default()
        };
        let began = Instant::now();
        let made = client.create_container(None, body).await.expect("made").id;
        client.start_container(&made, None).await.expect("started");
        direct.push(began.elapsed());
        let began = Instant::now();
        adapter.launch(spec).await.expect("starts");
        ours.push(began.elapsed());
        adapter.destroy(&id).await.expect("destroyed");
        let force = bollard::query_parameters::RemoveContainerOptionsBuilder::new().force(true).build();
        client.remove_container(&made, Some(force)).await.expect("removed");
    }
    ours.sort();
    direct.sort();
    let ratio = ours[5].as_secs_f64() / direct[5].as_secs_f64();
    eprintln!("launch p50 {:?}, create and start p50 {:?}: {ratio:.2}", ours[5], direct[5]);
    assert!(ratio < 2.0, "far more than the daemon's own time");
}

//! The process containerizer against the suite of its port, and what only it does.

mod faults;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use mesos_container::{
    ProcessContainerizer, ProcessOptions,
    cgroup::{DEFAULT_ROOT, Hierarchy},
};
use mesos_ports::{
    conformance::containerizer::{self as suite, Abilities, Host},
    containerizer::{Command, ContainerError, ContainerSpec, Containerizer, Limits, Volume},
};
use tempfile::TempDir;
use uuid::Uuid;

const GROUP: &str = "mesos-process-test";

struct Processes {
    root: TempDir,
    /// With all that the host allows, or as plain processes.
    confined: bool,
}

impl Processes {
    fn new(confined: bool) -> Processes {
        let root = tempfile::Builder::new().prefix("mesos-container-").tempdir().expect("a directory");
        // Tasks of other users must get to their sandboxes.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(root.path(), open).expect("opened");
        Processes { root, confined }
    }

    fn options(&self) -> ProcessOptions {
        let mut options = ProcessOptions::new(self.root.path().join("run"));
        options.shim = vec![env!("CARGO_BIN_EXE_mesos-test-shim").into(), "shim".into()];
        options.cgroup_parent = GROUP.into();
        if !self.confined {
            options.cgroup_root = None;
            options.namespaces = false;
        }
        options
    }

    fn adapter(&self) -> Arc<ProcessContainerizer> {
        Arc::new(ProcessContainerizer::new(self.options()).expect("a containerizer"))
    }

    fn run_dir(&self) -> PathBuf {
        self.root.path().join("run")
    }

    fn spec(&self, line: &str) -> ContainerSpec {
        let container_id = Uuid::new_v4().to_string();
        let sandbox = self.root.path().join(&container_id);
        fs::create_dir_all(&sandbox).expect("a sandbox");
        ContainerSpec {
            agent_id: "a".into(),
            task_id: "t".into(),
            container_id,
            sandbox,
            command: Command { value: Some(line.into()), shell: true, ..Command::default() },
            limits: Limits { cpu_shares_milli: 100, ..Limits::default() },
            ..ContainerSpec::default()
        }
    }
}

fn confinable() -> bool {
    nix::unistd::geteuid().is_root() && Hierarchy::detect(Path::new(DEFAULT_ROOT), GROUP).is_ok()
}

/// All processes of the host that have the container's directory or id in their command or cgroup.
fn processes_of(container_id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("readable").flatten() {
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let text = [read("cmdline"), read("cgroup")].concat();
        let text = String::from_utf8_lossy(&text).replace('\0', " ");
        let zombie = String::from_utf8_lossy(&read("stat")).contains(") Z ");
        if text.contains(container_id) && !zombie {
            found.push(format!("process {} {text}", entry.path().display()));
        }
    }
    found
}

#[async_trait]
impl Host for Processes {
    fn abilities(&self) -> Abilities {
        let root = nix::unistd::geteuid().is_root();
        Abilities { programs: true, memory: self.confined, users: root }
    }

    async fn containerizer(&self) -> Arc<dyn Containerizer> {
        self.adapter()
    }

    fn adapt(&self, _spec: &mut ContainerSpec) {}

    fn sandboxes(&self) -> &Path {
        self.root.path()
    }

    async fn leftovers(&self, container_id: &str) -> Vec<String> {
        let mut found = processes_of(container_id);
        let dir = self.root.path().join("run").join(container_id);
        found.extend(dir.exists().then(|| dir.display().to_string()));
        for controller in ["cpu", "memory", "pids", "."] {
            let dir = PathBuf::from(DEFAULT_ROOT).join(controller).join(GROUP).join(container_id);
            found.extend(dir.exists().then(|| dir.display().to_string()));
        }
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn confined_processes_conform() {
    if confinable() {
        suite::run(&Processes::new(true)).await;
    } else {
        eprintln!("skipped: no cgroups or not root");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_processes_conform() {
    suite::run(&Processes::new(false)).await;
}

#[tokio::test]
async fn ids_that_are_paths_are_refused() {
    let host = Processes::new(false);
    for id in ["", "../x", "a/b", ".", "a b"] {
        let spec = ContainerSpec { container_id: id.into(), ..host.spec("true") };
        assert!(matches!(host.adapter().launch(spec).await, Err(ContainerError::Invalid(_))), "{id:?}");
        assert!(matches!(host.adapter().destroy(id).await, Err(ContainerError::Invalid(_))), "{id:?}");
    }
}

#[tokio::test]
async fn errors_of_the_start_name_what_is_wrong() {
    let host = Processes::new(confinable());
    let adapter = host.adapter();
    fs::write(host.root.path().join("text"), "no program").expect("written");
    let text = host.root.path().join("text").display().to_string();
    for (value, expected) in [
        ("/bin/foo".to_string(), "no such file: /bin/foo".to_string()),
        ("foo-of-nobody".to_string(), "no such file: foo-of-nobody".to_string()),
        (text.clone(), format!("permission denied: {text}")),
    ] {
        let command = Command { value: Some(value), ..Command::default() };
        let error = adapter.launch(ContainerSpec { command, ..host.spec("") }).await.expect_err("does not run");
        assert_eq!(error.to_string(), expected);
    }
    let spec = ContainerSpec { sandbox: "/no/sandbox".into(), ..host.spec("true") };
    let error = adapter.launch(spec).await.expect_err("does not run").to_string();
    assert!(error.contains("/no/sandbox"), "{error}");
    let mut options = host.options();
    options.shim = vec!["/no/shim".into()];
    let adapter = ProcessContainerizer::new(options).expect("a containerizer");
    let error = adapter.launch(host.spec("true")).await.expect_err("does not run").to_string();
    assert!(error.contains("/no/shim"), "{error}");
}

#[tokio::test]
async fn a_task_sees_only_its_own_processes_and_no_new_privileges() {
    if !confinable() {
        return;
    }
    let host = Processes::new(true);
    let adapter = host.adapter();
    let line = "ls -d /proc/[0-9]* | wc -l; grep NoNewPrivs /proc/self/status; ls /proc/self/fd | wc -l; \
                grep SigBlk /proc/self/status; grep SigIgn /proc/self/status";
    let spec = host.spec(line);
    let (id, sandbox) = (spec.container_id.clone(), spec.sandbox.clone());
    let running = adapter.launch(spec).await.expect("starts");
    assert_eq!(running.warnings, Vec::<String>::new());
    adapter.wait(&id).await.expect("ends");
    let output = fs::read_to_string(sandbox.join("stdout")).expect("written");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].parse::<u32>().expect("a number") <= 5, "{output}");
    assert_eq!(lines[1], "NoNewPrivs:\t1");
    assert!(lines[2].parse::<u32>().expect("a number") <= 4, "stdin, stdout, stderr and ls's own: {output}");
    assert_eq!(lines[3], "SigBlk:\t0000000000000000");
    // The C library keeps two real-time signals to itself, which are as the agent inherited them.
    let ignored = u64::from_str_radix(lines[4].trim_start_matches("SigIgn:\t"), 16).expect("hexadecimal");
    assert_eq!(ignored & 0x7fff_ffff, 0, "{output}");
    adapter.destroy(&id).await.expect("destroyed");
}

#[tokio::test]
async fn a_task_that_kills_itself_dies_by_that_signal() {
    let host = Processes::new(confinable());
    let adapter = host.adapter();
    let spec = host.spec("kill -9 $$; sleep 600");
    let id = spec.container_id.clone();
    adapter.launch(spec).await.expect("starts");
    let exit = adapter.wait(&id).await.expect("ends");
    assert_eq!((exit.code, exit.signal, exit.out_of_memory), (None, Some(9), false));
    adapter.destroy(&id).await.expect("destroyed");
}

#[tokio::test]
async fn volumes_are_mounted_for_the_task_alone() {
    if !confinable() {
        return;
    }
    let host = Processes::new(true);
    let adapter = host.adapter();
    let shared = host.root.path().join("shared");
    fs::create_dir(&shared).expect("made");
    fs::write(shared.join("hello"), "there").expect("written");
    let mut spec = host.spec("cat data/hello; echo x > data/new; echo y > rw/new && echo wrote");
    let volume = |to: &str, read_only| Volume { host_path: shared.clone(), container_path: to.into(), read_only };
    spec.volumes = vec![volume("data", true), volume("rw", false)];
    let (id, sandbox) = (spec.container_id.clone(), spec.sandbox.clone());
    adapter.launch(spec).await.expect("starts");
    adapter.wait(&id).await.expect("ends");
    assert_eq!(fs::read_to_string(sandbox.join("stdout")).expect("written"), "therewrote\n");
    assert_eq!(fs::read_to_string(shared.join("new")).expect("written"), "y\n");
    assert!(!sandbox.join("data/hello").exists(), "not mounted outside");
    adapter.destroy(&id).await.expect("destroyed");
}

#[tokio::test]
async fn limits_of_a_running_task_change() {
    if !confinable() {
        return;
    }
    let host = Processes::new(true);
    let adapter = host.adapter();
    let spec = host.spec("sleep 600");
    let id = spec.container_id.clone();
    adapter.launch(spec).await.expect("starts");
    adapter.update(&id, Limits { memory_bytes: Some(77 << 20), ..Limits::default() }).await.expect("changed");
    let v1 = format!("{DEFAULT_ROOT}/memory/{GROUP}/{id}/memory.limit_in_bytes");
    let v2 = format!("{DEFAULT_ROOT}/{GROUP}/{id}/memory.max");
    let found = fs::read_to_string(v1).or_else(|_| fs::read_to_string(v2)).expect("limited");
    assert_eq!(found.trim(), (77u64 << 20).to_string());
    adapter.destroy(&id).await.expect("destroyed");
}

/// What a shim's death means, whether the agent is there or comes back to it.
#[tokio::test]
async fn a_task_dies_with_its_shim_and_is_told_lost() {
    let host = Processes::new(confinable());
    let adapter = host.adapter();
    for restart in [false, true] {
        let spec = host.spec("sleep 600 & sleep 600");
        let id = spec.container_id.clone();
        let running = adapter.launch(spec).await.expect("starts");
        let pids = fs::read_to_string(host.root.path().join("run").join(&id).join("pid.json")).expect("written");
        let pids: serde_json::Value = serde_json::from_str(&pids).expect("JSON");
        let shim = pids["shim"]["pid"].as_i64().expect("a number") as i32;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).expect("killed");
        let exit = if restart {
            let adapter = host.adapter();
            adapter.recover("a").await.expect("looks");
            adapter.wait(&id).await.expect("known")
        } else {
            adapter.wait(&id).await.expect("known")
        };
        assert_eq!((exit.code, exit.signal), (None, None));
        assert_eq!(exit.message.as_deref(), Some("its shim was killed"));
        let pid = running.pid.expect("a pid");
        let until = Instant::now() + Duration::from_secs(10);
        let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !(state().is_empty() || state().contains(") Z ")) {
            assert!(Instant::now() < until, "the task lives on without its shim");
            tokio::task::yield_now().await;
        }
        adapter.destroy(&id).await.expect("destroyed");
    }
}

#[tokio::test]
async fn f37_containers_of_another_boot_are_lost_with_the_host() {
    let host = Processes::new(confinable());
    let spec = host.spec("sleep 600");
    let id = spec.container_id.clone();
    let adapter = host.adapter();
    adapter.launch(spec).await.expect("starts");
    adapter.kill(&id, Duration::ZERO).await.expect("asked");
    adapter.wait(&id).await.expect("ends");
    let dir = host.root.path().join("run").join(&id);
    let until = Instant::now() + Duration::from_secs(10);
    while !dir.join("exit.json").exists() {
        assert!(Instant::now() < until);
        tokio::task::yield_now().await;
    }
    fs::remove_file(dir.join("exit.json")).expect("removed");
    let spec = fs::read_to_string(dir.join("spec.json")).expect("there");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    fs::write(dir.join("spec.json"), spec.replace(boot.trim(), "another-boot")).expect("written");
    let adapter = host.adapter();
    let found = adapter.recover("a").await.expect("looks");
    assert_eq!(found.iter().map(|found| found.running.is_some()).collect::<Vec<_>>(), [false]);
    let exit = adapter.wait(&id).await.expect("known");
    assert_eq!(exit.message.as_deref(), Some("lost with the host, which was restarted"));
    adapter.destroy(&id).await.expect("destroyed");
    assert_eq!(host.leftovers(&id).await, Vec::<String>::new());
}

#[tokio::test]
async fn f32_what_never_started_is_not_started_later() {
    let host = Processes::new(false);
    let id = Uuid::new_v4().to_string();
    let dir = host.root.path().join("run").join(&id);
    let adapter = host.adapter();
    fs::create_dir(&dir).expect("made");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let spec = format!(
        r#"{{"agent_id":"a","task_id":"t","boot_id":"{}","sandbox":"{}","program":{{"file":"/bin/sh","argv":["sh","-c","echo ran > ran"]}}}}"#,
        boot.trim(),
        host.root.path().display()
    );
    fs::write(dir.join("spec.json"), spec).expect("written");
    let found = adapter.recover("a").await.expect("looks");
    assert_eq!(found.len(), 1);
    assert!(found[0].running.is_none());
    let late = std::process::Command::new(env!("CARGO_BIN_EXE_mesos-test-shim")).arg("shim").arg(&dir).output();
    assert!(!late.expect("runs").status.success(), "a shim that comes late gives up");
    assert!(!host.root.path().join("ran").exists());
    let exit = adapter.wait(&id).await.expect("known");
    assert_eq!(exit.message.as_deref(), Some("the agent ended before it was started"));
}

/// An agent of its own process that is killed, as `kill -9` does it.
#[test]
fn f31_a_killed_agent_leaves_its_tasks_running() {
    let host = Processes::new(confinable());
    let marker = "MESOS_TEST_AGENT_ROOT";
    if let Ok(root) = std::env::var(marker) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let mut options = host.options();
            options.runtime_dir = Path::new(&root).join("run");
            let adapter = ProcessContainerizer::new(options).expect("a containerizer");
            for (id, line) in [("long", "sleep 600"), ("short", "sleep 0.3; exit 5")] {
                let mut spec = host.spec(line);
                (spec.container_id, spec.sandbox) = (format!("{id}-{}", std::process::id()), root.clone().into());
                adapter.launch(spec).await.expect("starts");
            }
            fs::write(Path::new(&root).join("started"), std::process::id().to_string()).expect("written");
            std::future::pending::<()>().await;
        });
    }
    let mut agent = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "f31_a_killed_agent_leaves_its_tasks_running"])
        .env(marker, host.root.path())
        .env("TMPDIR", host.root.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let until = Instant::now() + Duration::from_secs(60);
    let number = loop {
        match fs::read_to_string(host.root.path().join("started")) {
            Ok(text) if !text.is_empty() => break text,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
        assert!(Instant::now() < until);
    };
    agent.kill().expect("killed");
    agent.wait().expect("reaped");
    std::thread::sleep(Duration::from_millis(600));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let adapter = host.adapter();
        let found = adapter.recover("a").await.expect("looks");
        assert_eq!(found.len(), 2);
        let (long, short) = (format!("long-{number}"), format!("short-{number}"));
        assert_eq!(adapter.wait(&short).await.expect("known").code, Some(5));
        assert!(found.iter().any(|found| found.container_id == long && found.running.is_some()));
        adapter.kill(&long, Duration::from_secs(30)).await.expect("asked");
        assert_eq!(adapter.wait(&long).await.expect("ends").signal, Some(15));
        for id in [long, short] {
            adapter.destroy(&id).await.expect("destroyed");
            assert_eq!(host.leftovers(&id).await, Vec::<String>::new());
        }
    });
}

/// Prints what a launch costs; the bound is loose, as the machine may be busy.
#[tokio::test(flavor = "multi_thread")]
async fn a_launch_takes_milliseconds() {
    let host = Processes::new(confinable());
    let adapter = host.adapter();
    let (mut launches, mut exits, mut destroys) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..50 {
        let mut spec = host.spec("");
        spec.command = Command { value: Some("/bin/true".into()), ..Command::default() };
        let id = spec.container_id.clone();
        let began = Instant::now();
        adapter.launch(spec).await.expect("starts");
        launches.push(began.elapsed());
        adapter.wait(&id).await.expect("ends");
        exits.push(began.elapsed());
        let began = Instant::now();
        adapter.destroy(&id).await.expect("destroyed");
        destroys.push(began.elapsed());
    }
    for times in [&mut launches, &mut exits, &mut destroys] {
        times.sort();
    }
    eprintln!(
        "launch p50 {:?} p90 {:?}, to exit p50 {:?} p90 {:?}, destroy p50 {:?} p90 {:?}",
        launches[25], launches[45], exits[25], exits[45], destroys[25], destroys[45]
    );
    assert!(exits[25] < Duration::from_millis(250));
}

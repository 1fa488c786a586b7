//! What an agent does with process tasks.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::host::{self, HostProcess};
use mesos_e2e::{TaskSpec, eventually, ports};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::{LATER, SOON, file, file_with, framework, get, last, local, master_and_agent, processes};

/// A small HTTP server: files by path, and a status for all that is changed while it runs.
struct Server {
    port: u16,
    status: Arc<AtomicU16>,
    worker: JoinHandle<()>,
}

impl Server {
    async fn start(files: Vec<(&'static str, Vec<u8>)>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", ports::free()?)).await?;
        let port = listener.local_addr()?.port();
        let status = Arc::new(AtomicU16::new(200));
        let answer_with = Arc::clone(&status);
        let files = Arc::new(files);
        let worker = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (files, status) = (Arc::clone(&files), answer_with.load(Ordering::Relaxed));
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let text = String::from_utf8_lossy(&request[..length]).into_owned();
                    let path = text.split(' ').nth(1).unwrap_or_default();
                    let found = files.iter().find(|(name, _)| *name == path);
                    let (status, body) = match found {
                        Some((_, body)) => (status, body.as_slice()),
                        None => (404, &b"no such file"[..]),
                    };
                    let head =
                        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                    // Whoever asked may be gone already.
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(body).await;
                });
            }
        });
        Ok(Self { port, status, worker })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_in_the_last_status() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "exits").await?;
    framework.launch([
        TaskSpec::shell("well", "true"),
        TaskSpec::shell("three", "exit 3"),
        TaskSpec::shell("many", "exit 255"),
        TaskSpec::shell("killed", "kill -KILL $$"),
        TaskSpec::shell("terminated", "kill -TERM $$"),
        TaskSpec::shell("nothing", "/no/such/program"),
    ]);
    let expected = |id: &str| if id == "well" { "TASK_FINISHED" } else { "TASK_FAILED" };
    framework.wait_for_all(SOON, expected).await?;
    for (id, words, reason) in [
        ("well", "exited with status 0", "null"),
        ("three", "exited with status 3", "REASON_COMMAND_EXECUTOR_FAILED"),
        ("many", "exited with status 255", "REASON_COMMAND_EXECUTOR_FAILED"),
        ("killed", "terminated with signal Killed", "REASON_COMMAND_EXECUTOR_FAILED"),
        ("terminated", "terminated with signal Terminated", "REASON_COMMAND_EXECUTOR_FAILED"),
        ("nothing", "exited with status 127", "REASON_COMMAND_EXECUTOR_FAILED"),
    ] {
        let task = framework.task(id).context("unknown")?;
        assert!(last(&task, "message").contains(words), "{id}: {:?}", task.statuses.last());
        assert_eq!(last(&task, "reason"), reason, "{id}");
        assert_eq!(last(&task, "source"), "SOURCE_EXECUTOR", "{id}");
        let states: Vec<&str> = task.statuses.iter().filter_map(|status| status["state"].as_str()).collect();
        assert!(states.contains(&"TASK_RUNNING"), "{id}: {states:?}");
    }
    assert!(file(&cluster, &framework.id(), "nothing", "stderr").await?.contains("/no/such/program"));
    cluster.finish()
}

#[tokio::test]
async fn a_task_that_uses_more_memory_than_it_has_is_killed_and_told_so() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "memory").await?;
    // A variable of the shell's own, and a line that never ends in a process that it started.
    let greedy = ["words=$(head -c 300m /dev/zero | tr '\\0' x)", "head -c 300m /dev/zero | tail"];
    framework.launch([TaskSpec::shell("modest", "head -c 300m /dev/zero | wc -c")]);
    framework.launch(greedy.iter().enumerate().map(|(i, command)| {
        let mut task = TaskSpec::shell(&format!("greedy-{i}"), command);
        task.mem = 64.0;
        task
    }));
    for id in ["greedy-0", "greedy-1"] {
        let task = framework.wait_for(id, "TASK_FAILED", SOON).await?;
        assert_eq!(last(&task, "reason"), "REASON_CONTAINER_LIMITATION_MEMORY", "{:?}", task.statuses.last());
    }
    framework.wait_for("modest", "TASK_FINISHED", SOON).await?;
    cluster.finish()
}

#[tokio::test]
async fn a_task_runs_as_its_user_among_its_own_processes_and_can_gain_no_privileges() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "isolation").await?;
    let script = "echo user=$(id -un); echo processes=$(ls /proc | grep -c '^[0-9]'); \
                  grep NoNewPrivs /proc/self/status; ps ax > processes; touch mine; echo pid=$$";
    let task = TaskSpec::shell("alone", script);
    let command = json!({"shell": true, "value": script, "user": "nobody"});
    framework.launch([task.with("command", command), TaskSpec::shell("root", "id -un")]);
    framework.wait_for_all(SOON, |_| "TASK_FINISHED").await?;
    let text = file(&cluster, &framework.id(), "alone", "stdout").await?;
    assert!(text.contains("user=nobody\n"), "{text}");
    assert!(text.contains("NoNewPrivs:\t1\n"), "{text}");
    let seen: u32 = text.lines().find_map(|line| line.strip_prefix("processes=")).context("no count")?.parse()?;
    assert!(seen < 10, "it sees {seen} processes: {text}");
    let listed = file(&cluster, &framework.id(), "alone", "processes").await?;
    assert!(listed.lines().count() < 10, "{listed}");
    // Without a user of its own it is the framework's.
    assert_eq!(file(&cluster, &framework.id(), "root", "stdout").await?.trim(), "root");
    cluster.finish()
}

#[tokio::test]
async fn a_task_gets_no_more_cpu_time_than_it_asked_for() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "quota").await?;
    let mut half = TaskSpec::shell("half", "exec sleep 1000");
    half.cpus = 0.5;
    let mut two = TaskSpec::shell("two", "exec sleep 1000");
    two.cpus = 2.0;
    let burst = TaskSpec::shell("burst", "exec sleep 1000").with("limits", json!({"cpus": {"value": "Infinity"}}));
    framework.launch([half, two, burst]);
    framework.wait_for_all(SOON, |_| "TASK_RUNNING").await?;
    let found = processes(&framework.id(), "sleep", 3).await?;
    assert_eq!(host::cpu_quota_milli(found["half"].pid)?, Some(500));
    assert_eq!(host::cpu_quota_milli(found["two"].pid)?, Some(2000));
    assert_eq!(host::cpu_quota_milli(found["burst"].pid)?, None);
    cluster.finish()
}

#[tokio::test]
async fn a_kill_is_polite_first_and_takes_all_that_the_task_started() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "kills").await?;
    let stubborn = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; while true; do sleep 1000; done' &); \
                    echo ready; while true; do sleep 1; done";
    framework.launch([
        TaskSpec::shell("polite", "trap 'echo goodbye; exit 0' TERM; echo ready; while true; do sleep 0.1; done"),
        TaskSpec::shell("stubborn", stubborn)
            .with("kill_policy", json!({"grace_period": {"nanoseconds": 300_000_000}})),
    ]);
    for id in ["polite", "stubborn"] {
        framework.wait_for(id, "TASK_RUNNING", SOON).await?;
        file_with(&cluster, &framework.id(), id, "stdout", "ready").await?;
    }
    let inner = cluster.directory().to_owned();
    let left = || -> Vec<u32> { below(&inner, "stubborn") };
    ensure!(!left().is_empty(), "no process of the task was found");
    framework.kill("polite").await?;
    framework.kill("stubborn").await?;
    framework.wait_for("polite", "TASK_KILLED", SOON).await?;
    framework.wait_for("stubborn", "TASK_KILLED", SOON).await?;
    assert!(file(&cluster, &framework.id(), "polite", "stdout").await?.contains("goodbye"));
    assert_eq!(left(), Vec::<u32>::new(), "processes live on");
    cluster.finish()
}

/// The processes whose environment says that they are of a task, whatever they are called.
fn below(directory: &Path, task: &str) -> Vec<u32> {
    let directory = directory.display().to_string();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let variables = host::variables(*pid);
            variables.get("MESOS_TASK_ID").is_some_and(|id| id == task)
                && variables.get("MESOS_SANDBOX").is_some_and(|sandbox| sandbox.starts_with(&directory))
                && HostProcess::of(*pid).is_some()
        })
        .collect()
}

#[tokio::test]
async fn an_agent_that_was_killed_finds_all_its_tasks_again_and_restarts_none() -> Result<()> {
    let cluster = master_and_agent().await?;
    let framework = framework(&cluster, "recovery").await?;
    let go = cluster.directory().join("go");
    let staying = (0..10).map(|i| TaskSpec::shell(&format!("stays-{i}"), "exec tail -f /dev/null"));
    let ending = (0..10).map(|i| {
        let script = format!(
            "echo started >> {0}/starts; while [ ! -e {1} ]; do sleep 0.1; done; exit {i}",
            cluster.directory().display(),
            go.display()
        );
        TaskSpec::shell(&format!("ends-{i}"), &script)
    });
    framework.launch(staying.chain(ending));
    framework.wait_for_all(SOON, |_| "TASK_RUNNING").await?;
    let before = processes(&framework.id(), "tail", 10).await?;

    cluster.kill_9("agent-0")?;
    fs::write(&go, "")?;
    // They end while nobody watches.
    eventually(SOON, "the ending tasks have ended", async || {
        Ok((0..10).all(|i| below(cluster.directory(), &format!("ends-{i}")).is_empty()))
    })
    .await?;
    let begun = Instant::now();
    cluster.restart("agent-0")?;
    framework
        .wait_for_all(LATER, |id| match id {
            "ends-0" => "TASK_FINISHED",
            id if id.starts_with("ends-") => "TASK_FAILED",
            _ => "TASK_RUNNING",
        })
        .await?;
    println!("{:?} from the agent's start to the last status", begun.elapsed());
    for i in 0..10 {
        let task = framework.task(&format!("ends-{i}")).context("unknown")?;
        let words = format!("exited with status {i}");
        assert!(last(&task, "message").contains(&words), "{:?}", task.statuses.last());
        let stays = format!("stays-{i}");
        assert!(before[&stays].runs(), "{stays} was stopped");
        assert_eq!(framework.task(&stays).context("unknown")?.relaunches, 0);
    }
    let starts = fs::read_to_string(cluster.directory().join("starts"))?;
    assert_eq!(starts.lines().count(), 10, "a task was started twice");
    // They are still the agent's: it can end them.
    for i in 0..10 {
        framework.kill(&format!("stays-{i}")).await?;
    }
    framework
        .wait_for_all(SOON, |id| match id {
            "ends-0" => "TASK_FINISHED",
            id if id.starts_with("ends-") => "TASK_FAILED",
            _ => "TASK_KILLED",
        })
        .await?;
    assert!(host::tasks(&framework.id(), "tail")?.is_empty());
    cluster.finish()
}

/// A health check that is done often and gives up soon.
fn check(kind: &str, field: &str, what: Value) -> Value {
    json!({
        "type": kind, field: what, "delay_seconds": 0.0, "interval_seconds": 0.1, "timeout_seconds": 5.0,
        "consecutive_failures": 2, "grace_period_seconds": 0.0,
    })
}

#[tokio::test]
async fn a_task_whose_health_check_fails_is_killed_and_told_to_be_unhealthy() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "health").await?;
    let web = Server::start(vec![("/health", b"fine".to_vec())]).await?;
    let door = TcpListener::bind(("127.0.0.1", ports::free()?)).await?;
    let healthy = cluster.directory().join("healthy");
    fs::write(&healthy, "")?;
    let command = json!({"shell": true, "value": format!("test -e {}", healthy.display())});
    let http = json!({"scheme": "http", "port": web.port, "path": "/health"});
    let tcp = json!({"port": door.local_addr()?.port()});
    let task = |id: &str, check: Value| TaskSpec::shell(id, "exec sleep 1000").with("health_check", check);
    framework.launch([
        task("command", check("COMMAND", "command", command)),
        task("http", check("HTTP", "http", http)),
        task("tcp", check("TCP", "tcp", tcp)),
    ]);
    let ids = ["command", "http", "tcp"];
    let has = |id: &str, healthy: bool| -> bool {
        let task = framework.task(id);
        task.is_some_and(|task| task.statuses.iter().any(|status| status["healthy"] == healthy))
    };
    for id in ids {
        eventually(SOON, &format!("{id} is healthy"), async || Ok(has(id, true))).await?;
        assert!(!has(id, false), "{id} was unhealthy before");
    }
    fs::remove_file(&healthy)?;
    web.status.store(500, Ordering::Relaxed);
    drop(door);
    for id in ids {
        eventually(SOON, &format!("{id} is over"), async || {
            let task = framework.task(id).context("unknown")?;
            if task.is_over() {
                return Ok(true);
            }
            bail!("{}", Value::from(task.statuses))
        })
        .await?;
        let task = framework.task(id).context("unknown")?;
        assert_eq!(last(&task, "healthy"), "false", "{id}: {:?}", task.statuses.last());
        assert_eq!(task.state(), "TASK_KILLED", "{id}: {:?}", task.statuses.last());
    }
    cluster.finish()
}

/// A tar.gz with one file in a directory.
fn archive(directory: &Path) -> Result<Vec<u8>> {
    fs::create_dir_all(directory.join("packed/inside"))?;
    fs::write(directory.join("packed/inside/words"), "from the archive\n")?;
    let status = std::process::Command::new("tar")
        .args(["czf", "packed.tar.gz", "-C", "packed", "inside"])
        .current_dir(directory)
        .status()?;
    ensure!(status.success(), "tar: {status}");
    Ok(fs::read(directory.join("packed.tar.gz"))?)
}

#[tokio::test]
async fn what_a_task_names_is_fetched_and_unpacked_before_it_starts() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "fetcher").await?;
    let server = Server::start(vec![
        ("/packed.tar.gz", archive(cluster.directory())?),
        ("/script.sh", b"#!/bin/sh\necho from the script\n".to_vec()),
    ])
    .await?;
    let plain = cluster.directory().join("plain.txt");
    fs::write(&plain, "from a file\n")?;
    let command = json!({
        "shell": true, "value": "cat inside/words plain.txt; ./script.sh; test -e kept.tar.gz && test ! -e kept",
        "uris": [
            {"value": server.url("/packed.tar.gz")},
            {"value": server.url("/packed.tar.gz"), "extract": false, "output_file": "kept.tar.gz"},
            {"value": server.url("/script.sh"), "executable": true},
            {"value": format!("file://{}", plain.display())},
        ],
    });
    framework.launch([TaskSpec::shell("fetches", "").with("command", command)]);
    framework.wait_for("fetches", "TASK_FINISHED", SOON).await?;
    let text = file(&cluster, &framework.id(), "fetches", "stdout").await?;
    assert!(text.contains("from the archive\nfrom a file\nfrom the script\n"), "{text}");
    cluster.finish()
}

#[tokio::test]
async fn a_uri_that_cannot_be_fetched_fails_the_task_and_is_named() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "missing").await?;
    let server = Server::start(vec![("/broken.tar.gz", b"no archive at all".to_vec())]).await?;
    let unused = ports::free()?;
    let cases = [
        ("not-there", server.url("/missing")),
        ("nobody", format!("http://127.0.0.1:{unused}/file")),
        ("no-file", "file:///no/such/file".to_owned()),
        ("broken", server.url("/broken.tar.gz")),
        ("unknown", "gopher://127.0.0.1/file".to_owned()),
    ];
    framework.launch(cases.iter().map(|(id, uri)| {
        let command = json!({"shell": true, "value": "echo started", "uris": [{"value": uri}]});
        TaskSpec::shell(id, "").with("command", command)
    }));
    framework.wait_for_all(LATER, |_| "TASK_FAILED").await?;
    for (id, uri) in &cases {
        let task = framework.task(id).context("unknown")?;
        assert!(last(&task, "message").contains(uri.as_str()), "{id}: {:?}", task.statuses.last());
        assert_eq!(last(&task, "reason"), "REASON_CONTAINER_LAUNCH_FAILED", "{id}");
    }
    cluster.finish()
}

#[tokio::test]
async fn a_sandbox_is_read_through_the_gateway_and_nothing_outside_of_it() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "files").await?;
    let script = "echo out; echo err >&2; mkdir -p a/b; echo deep > a/b/c; ln -s /etc/passwd link; ln -s / root; \
                  seq 1 100000 > numbers; echo done > last; exec sleep 1000";
    framework.launch([TaskSpec::shell("writes", script)]);
    let id = framework.id();
    framework.wait_for("writes", "TASK_RUNNING", SOON).await?;
    file_with(&cluster, &id, "writes", "last", "done").await?;
    assert_eq!(file(&cluster, &id, "writes", "stdout").await?, "out\n");
    assert_eq!(file(&cluster, &id, "writes", "stderr").await?, "err\n");
    assert_eq!(file(&cluster, &id, "writes", "a/b/c").await?, "deep\n");
    assert_eq!(file(&cluster, &id, "writes", "numbers?offset=2&length=3").await?, "2\n3");
    let base = format!("/v1/tasks/{id}/writes/files");
    for path in [
        "../../../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "a/../../stdout",
        "link",
        "root/etc/passwd",
        "%2fetc%2fpasswd",
        "//etc/passwd",
        "stdout%00.txt",
        "no-such-file",
        "a",
    ] {
        // A client of HTTP would resolve the dots itself, so the request is written by hand.
        let (status, text) = raw_get(&cluster.gateway_address(0), &format!("{base}/{path}")).await?;
        assert!((400..500).contains(&status), "{path}: {status}: {text}");
        assert!(!text.contains("root:x"), "{path} leads out: {text}");
    }
    let (status, _) = get(&cluster, &format!("/v1/tasks/{id}/nobody/files/stdout")).await?;
    assert_eq!(status, 404);
    cluster.finish()
}

/// GET with a path as it is written: status and the whole answer.
async fn raw_get(address: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await??;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, text))
}

#[tokio::test]
async fn two_hundred_tasks_one_after_the_other_are_done_in_seconds() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "series").await?;
    let begun = Instant::now();
    for number in 0..200 {
        let id = format!("t-{number}");
        framework.launch([TaskSpec::shell(&id, "true")]);
        framework.wait_for(&id, "TASK_FINISHED", SOON).await?;
    }
    let took = begun.elapsed();
    println!("200 tasks one after the other: {took:?}");
    // The figure that is promised is for a quiet machine and a release build; a scheduler that waits for an
    // interval between two offers would take more than this on any machine.
    assert!(took < Duration::from_secs(60), "{took:?}");
    cluster.finish()
}

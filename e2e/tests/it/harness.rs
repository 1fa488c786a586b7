//! The harness itself, on the servers that are not ours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mesos_e2e::process::{Process, Spec, describe, sweep};
use mesos_e2e::{Cluster, backends, eventually, http, ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends one line and returns what comes back first.
async fn ask(port: u16, line: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

async fn redis(port: u16, line: &str, expected: &str) -> Result<()> {
    eventually(TIMEOUT, &format!("redis answers {line}"), async || {
        let answer = ask(port, line).await?;
        if answer.contains(expected) {
            return Ok(true);
        }
        bail!("it answered {answer:?}")
    })
    .await
}

fn shell(directory: &std::path::Path, name: &str, script: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        program: PathBuf::from("/bin/sh"),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: BTreeMap::new(),
        log: directory.join(format!("{name}.log")),
    }
}

#[tokio::test]
async fn redis_keeps_what_it_was_told_over_a_kill_and_a_restart() -> Result<()> {
    let cluster = Cluster::empty()?;
    let port = ports::free()?;
    cluster.add(backends::redis(cluster.directory(), port)?)?;
    redis(port, "SET a 1", "+OK").await?;
    redis(port, "CONFIG GET maxmemory-policy", "noeviction").await?;
    redis(port, "CONFIG GET appendfsync", "everysec").await?;
    // The append-only file is written before the answer; only its sync waits, which a kill does not need.
    cluster.kill_9("redis")?;
    assert!(ask(port, "GET a").await.is_err());
    cluster.restart("redis")?;
    redis(port, "GET a", "$1\r\n1").await?;
    cluster.finish()
}

#[tokio::test]
async fn a_paused_server_is_silent_until_it_is_resumed() -> Result<()> {
    let cluster = Cluster::empty()?;
    let port = ports::free()?;
    cluster.add(backends::nats(cluster.directory(), port)?)?;
    eventually(TIMEOUT, "nats greets", async || Ok(ask(port, "PING").await?.starts_with("INFO"))).await?;
    cluster.pause("nats").await?;
    let silent = tokio::time::timeout(Duration::from_millis(300), ask(port, "PING")).await;
    assert!(silent.is_err(), "{silent:?}");
    cluster.resume("nats")?;
    eventually(TIMEOUT, "nats greets again", async || Ok(ask(port, "PING").await?.starts_with("INFO"))).await?;
    let status = cluster.terminate("nats", TIMEOUT).await?;
    assert!(["exit 0", "exit 1", "signal 15"].contains(&describe(status).as_str()), "{status}");
    cluster.finish()
}

#[tokio::test]
async fn jaeger_answers_queries_on_ports_of_its_own() -> Result<()> {
    let cluster = Cluster::empty()?;
    let jaeger = backends::JaegerPorts { otlp: ports::free()?, query: ports::free()? };
    cluster.add(backends::jaeger(cluster.directory(), jaeger)?)?;
    eventually(TIMEOUT, "jaeger answers", async || {
        let url = format!("http://127.0.0.1:{}/api/services", jaeger.query);
        Ok(http().get(url).send().await?.status() == 200)
    })
    .await?;
    eventually(TIMEOUT, "jaeger takes spans", async || {
        TcpStream::connect(("127.0.0.1", jaeger.otlp)).await?;
        Ok(true)
    })
    .await?;
    cluster.finish()
}

#[tokio::test]
async fn a_deadline_tells_what_was_waited_for_and_the_last_error() -> Result<()> {
    let started = Instant::now();
    let error = eventually(Duration::from_millis(100), "the moon is blue", async || bail!("it is grey"))
        .await
        .err()
        .context("the condition came true")?;
    assert_eq!(error.to_string(), "the moon is blue: not within 100ms; last error: it is grey");
    // A look that never returns does not hold up the deadline.
    let error = eventually(Duration::from_millis(100), "it returns", async || std::future::pending().await)
        .await
        .err()
        .context("the condition came true")?;
    assert!(error.to_string().contains("the last look did not return"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    Ok(())
}

#[tokio::test]
async fn a_process_that_ends_at_once_is_told_with_its_log() -> Result<()> {
    let cluster = Cluster::empty()?;
    cluster.add(shell(cluster.directory(), "broken", "echo out of luck >&2; exit 3"))?;
    eventually(TIMEOUT, "it ends", async || cluster.with("broken", |process| Ok(process.status()?.is_some()))).await?;
    let error = cluster.pause("broken").await.err().context("a dead process was paused")?.to_string();
    assert!(error.contains("broken is over") && error.contains("out of luck"), "{error}");
    cluster.finish()
}

#[tokio::test]
async fn processes_in_sessions_of_their_own_are_swept_up_too() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut parent = Process::start(shell(
        directory.path(),
        "parent",
        &format!("cd {0} && setsid sleep 1000 & echo $! > {0}/pid; wait", directory.path().display()),
    ))?;
    let pid_file = directory.path().join("pid");
    let mut child = String::new();
    eventually(TIMEOUT, "the child runs", async || {
        child = std::fs::read_to_string(&pid_file)?.trim().to_owned();
        let command = std::fs::read_to_string(format!("/proc/{child}/cmdline"))?;
        Ok(command.starts_with("sleep"))
    })
    .await?;
    parent.kill_9()?;
    assert!(std::fs::exists(format!("/proc/{child}"))?, "a kill of the parent took the child along");
    sweep(directory.path());
    eventually(TIMEOUT, "the child is gone", async || {
        // It may stay as a zombie where nobody collects orphans.
        let Ok(state) = std::fs::read_to_string(format!("/proc/{child}/stat")) else {
            return Ok(true);
        };
        Ok(state.contains(") Z "))
    })
    .await
}

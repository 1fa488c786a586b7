//! Wrong options and missing dependencies: one clear line and a non-zero exit, or a patient retry.

use std::collections::BTreeMap;
use std::net::TcpListener;

use anyhow::{Result, ensure};
use mesos_e2e::process::Spec;
use mesos_e2e::{Cluster, backends, cli, eventually, ports};

use crate::support::{LATER, SOON, local};

#[tokio::test]
async fn a_master_that_is_not_there_is_told_by_every_command() -> Result<()> {
    let master = format!("127.0.0.1:{}", ports::free()?);
    let commands: [&[&str]; 8] = [
        &["ps"],
        &["agents"],
        &["frameworks"],
        &["stats"],
        &["logs", "task"],
        &["kill", "task"],
        &["launch", "--command", "true"],
        &["spawn", "--command", "true"],
    ];
    for command in commands {
        cli::mesos(&master, command).await?.one_clear_line(&[&master])?;
    }
    // The address may be wrong in itself.
    cli::mesos("no such host", &["ps"]).await?.one_clear_line(&["no such host"])?;
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let directory = tempfile::tempdir()?;
    let work_dir = directory.path().display().to_string();
    for role in ["local", "master"] {
        let outcome = cli::run(&[], &[role, "--port", &port, "--work-dir", &work_dir]).await?;
        outcome.one_clear_line(&[&port, "--port"])?;
    }
    Ok(())
}

#[tokio::test]
async fn nats_and_redis_that_are_not_there_are_told() -> Result<()> {
    let nats = format!("nats://127.0.0.1:{}", ports::free()?);
    let redis = format!("redis://127.0.0.1:{}", ports::free()?);
    for role in ["allocator", "registry", "gateway"] {
        let outcome = cli::run(&[], &[role, "--nats-url", &nats, "--redis-url", &redis]).await?;
        outcome.one_clear_line(&["--nats-url", &nats])?;
        let outcome = cli::run(&[], &[role, "--nats-url", &nats]).await?;
        outcome.one_clear_line(&["--redis-url"])?;
    }
    let directory = tempfile::tempdir()?;
    let work_dir = format!("--work-dir={}", directory.path().display());
    let port = format!("--port={}", ports::free()?);
    let outcome = cli::run(&[], &["master", &work_dir, &port, "--redis-url", &redis]).await?;
    outcome.one_clear_line(&["--redis-url", &redis])?;
    let outcome = cli::run(&[], &["agent", &work_dir, "--nats-url", &nats]).await?;
    ensure!(outcome.code == Some(1), "{outcome:?}");
    ensure!(outcome.stderr.contains("--nats-url") && outcome.stderr.contains(&nats), "{outcome:?}");
    Ok(())
}

#[tokio::test]
async fn a_service_that_is_told_to_wait_starts_when_nats_and_redis_come() -> Result<()> {
    let cluster = Cluster::with_room().await?;
    let (nats, redis, port) = (ports::free()?, ports::free()?, ports::free()?);
    for (role, address) in [
        ("allocator", format!("--http-addr=127.0.0.1:{}", ports::free()?)),
        ("registry", format!("--http-addr=127.0.0.1:{}", ports::free()?)),
        ("gateway", format!("--port={port}")),
    ] {
        cluster.add(Spec {
            name: role.to_owned(),
            program: backends::mesos_binary()?,
            args: vec![
                role.to_owned(),
                "--wait".to_owned(),
                format!("--nats-url=nats://127.0.0.1:{nats}"),
                format!("--redis-url=redis://127.0.0.1:{redis}"),
                address,
            ],
            env: BTreeMap::new(),
            log: cluster.directory().join(format!("{role}.log")),
        })?;
    }
    cluster.add(backends::nats(cluster.directory(), nats)?)?;
    eventually(SOON, "they look for Redis", async || {
        Ok(["allocator", "registry", "gateway"]
            .iter()
            .all(|role| cluster.log(role).is_ok_and(|log| log.contains("Redis"))))
    })
    .await?;
    cluster.add(backends::redis(cluster.directory(), redis)?)?;
    eventually(LATER, "the gateway is ready", async || {
        for role in ["allocator", "registry", "gateway"] {
            cluster.with(role, |process| process.must_run())?;
        }
        let answer = mesos_e2e::http().get(format!("http://127.0.0.1:{port}/ready")).send().await?;
        Ok(answer.status() == 200)
    })
    .await?;
    cluster.finish()
}

#[tokio::test]
async fn an_agent_waits_for_its_master() -> Result<()> {
    let cluster = Cluster::with_room().await?;
    let port = ports::free()?;
    let start = |name: &str, args: Vec<String>| -> Result<()> {
        let work_dir = format!("--work-dir={}", cluster.directory().join(name).display());
        cluster.add(Spec {
            name: name.to_owned(),
            program: backends::mesos_binary()?,
            args: args.into_iter().chain([work_dir]).collect(),
            env: BTreeMap::new(),
            log: cluster.directory().join(format!("{name}.log")),
        })
    };
    start("agent", vec!["agent".into(), format!("--master=127.0.0.1:{port}"), format!("--port={}", ports::free()?)])?;
    eventually(SOON, "the agent says that it waits", async || {
        Ok(cluster.log("agent")?.contains(&format!("127.0.0.1:{port} is not reachable yet")))
    })
    .await?;
    start("master", vec!["master".into(), format!("--port={port}")])?;
    eventually(LATER, "the agent is admitted", async || {
        cluster.with("agent", |process| process.must_run())?;
        let agents = cli::mesos(&format!("127.0.0.1:{port}"), &["agents", "-o", "json"]).await?.json()?;
        Ok(agents.as_array().is_some_and(|agents| agents.len() == 1))
    })
    .await?;
    cluster.finish()
}

#[tokio::test]
async fn without_docker_an_agent_runs_processes_and_says_why_a_container_cannot_run() -> Result<()> {
    let cluster = mesos_e2e::Cluster::builder()
        .agents(1)
        .arg("local", "--docker-host=unix:///no/such/docker.sock")
        .start_local()
        .await?;
    let outcome = cluster.mesos(&["launch", "--command", "echo fine"]).await?.expect(0)?;
    assert_eq!(outcome.stdout, "fine\n");
    let outcome = cluster.mesos(&["launch", "--docker-image", "busybox", "--command", "true"]).await?;
    ensure!(outcome.code == Some(1), "{outcome:?}");
    ensure!(outcome.stderr.contains("Docker") && outcome.stderr.contains("/no/such/docker.sock"), "{outcome:?}");
    cluster.finish()
}

#[tokio::test]
async fn wrong_options_are_told_with_what_would_be_right() -> Result<()> {
    let cases: [(&[&str], &[&str]); 15] = [
        (&["agent", "--resources=cpus:many", "--master=127.0.0.1"], &["--resources"]),
        (&["agent"], &["--master"]),
        (&["agent", "--master=zk://127.0.0.1:2181/mesos"], &["ZooKeeper"]),
        (&["agent", "--master=127.0.0.1", "--containerizers=lxc"], &["docker"]),
        (&["agent", "--master=127.0.0.1", "--attributes=:::"], &["--attributes"]),
        (&["master", "--port=99999"], &["--port"]),
        (&["master", "--prot=5050"], &["--prot"]),
        (&["master", "--work-dir=/dev/null/x"], &["/dev/null/x"]),
        (&["master", "--config=/no/such/file.yaml"], &["/no/such/file.yaml"]),
        (&["local", "--agents=0"], &["--agents"]),
        (&["local", "--exit"], &["--launch"]),
        (&["launch", "--cpus=-1", "true"], &["--cpus"]),
        (&["launch", "--mem=12XB", "true"], &["--mem"]),
        (&["spawn", "--instances=0", "true"], &["--instances"]),
        (&["lanch", "true"], &["launch"]),
    ];
    let mut wrong = Vec::new();
    for (args, words) in cases {
        if let Err(error) = cli::run(&[], args).await?.one_clear_line(words) {
            wrong.push(error.to_string());
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn more_than_there_is_of_a_thing_is_refused_or_waits_but_breaks_nothing() -> Result<()> {
    let cluster = local().await?;
    for args in [
        &["spawn", "--cpus", "1e300", "true"][..],
        &["spawn", "--cpus", "NaN", "true"],
        &["spawn"],
        &["launch"],
        &["spawn", "--role", "..", "true"],
        &["spawn", "--env", "novalue", "true"],
    ] {
        let outcome = cluster.mesos(args).await?;
        ensure!(outcome.code.is_some_and(|code| code != 0), "{outcome:?}");
        ensure!(outcome.stderr.trim().lines().count() == 1, "{outcome:?}");
    }
    cluster.mesos(&["launch", "--command", "true"]).await?.expect(0)?;
    cluster.finish()
}

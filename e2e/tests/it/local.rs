//! Local mode, the book's commands, and what users do with the CLI.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::process::Spec;
use mesos_e2e::{Cluster, backends, cli, eventually, eventually_some, host, ports};
use serde_json::{Value, json};

use crate::support::{LATER, SOON, local, processes};

/// What is promised for `mesos local` with three agents on a quiet machine.
const READY: Duration = Duration::from_secs(1);
const RESIDENT_KB: u64 = 60 * 1024;

#[tokio::test]
async fn local_mode_is_ready_within_a_second_and_stays_small() -> Result<()> {
    let cluster = Cluster::with_room().await?;
    let port = ports::free()?;
    let mut took = Vec::new();
    // Whatever else the machine does may slow down one start, but not each of three.
    for attempt in 0..3 {
        let name = format!("local-{attempt}");
        let begun = Instant::now();
        cluster.add(Spec {
            log: cluster.directory().join(format!("{name}.log")),
            name: name.clone(),
            program: backends::mesos_binary()?,
            args: vec!["local".into(), "--agents=3".into(), format!("--port={port}")],
            env: BTreeMap::new(),
        })?;
        eventually(SOON, "it says that it is ready", async || {
            cluster.with(&name, |process| process.must_run())?;
            Ok(cluster.log(&name)?.contains("mesos is ready at"))
        })
        .await?;
        took.push(begun.elapsed());
        let log = cluster.log(&name)?;
        ensure!(log.contains(&format!("http://127.0.0.1:{port} (3 agents")), "{log}");
        ensure!(log.lines().count() == 1, "one line is enough: {log}");
        let resident = host::resident_kb(cluster.pid(&name)?)?;
        println!("ready after {:?}, {resident} kB resident", took[attempt]);
        // A debug build is larger; the promise is for what users build.
        let release = backends::mesos_binary()?.to_string_lossy().contains("/release/");
        assert!(!release || resident < RESIDENT_KB, "{resident} kB resident");
        let status = cluster.terminate(&name, SOON).await?;
        assert_eq!(status.code(), Some(0), "{}", cluster.log(&name)?);
        if took[attempt] < READY {
            break;
        }
    }
    assert!(took.iter().any(|took| *took < READY), "{took:?}");
    cluster.finish()
}

#[tokio::test]
async fn local_mode_launches_a_command_prints_its_output_and_exits_as_it_does() -> Result<()> {
    let port = ports::free()?.to_string();
    let run = async |command: &str| cli::run(&[], &["local", "--port", &port, "--launch", command, "--exit"]).await;
    let outcome = run("echo Hello Mesos!").await?.expect(0)?;
    assert_eq!(outcome.stdout, "Hello Mesos!\n");
    let outcome = run("echo to stderr >&2; exit 3").await?.expect(3)?;
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains("to stderr\n"), "{}", outcome.stderr);
    Ok(())
}

/// The commands of the book, as written, on free ports.
struct Book {
    cluster: Cluster,
    master: String,
}

impl Book {
    async fn open() -> Result<Self> {
        let cluster = Cluster::with_room().await?;
        let port = ports::free()?;
        Ok(Self { cluster, master: format!("127.0.0.1:{port}") })
    }

    fn port(&self) -> &str {
        self.master.rsplit(':').next().unwrap_or_default()
    }

    /// Runs a script in which `mesos` is this build and the master is ours.
    async fn sh(&self, script: &str) -> Result<cli::Outcome> {
        let env = [("MESOS_MASTER", self.master.as_str()), ("MESOS_PORT", self.port())];
        // The port of the environment is for the master; an agent has its own.
        cli::shell(self.cluster.directory(), &env, script).await
    }

    fn start(&self, name: &str, script: &str, port: u16) -> Result<()> {
        let bin = self.cluster.directory().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        self.cluster.add(Spec {
            name: name.to_owned(),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), format!("cd {} && exec {script}", self.cluster.directory().display())],
            env: BTreeMap::from([("PATH".to_owned(), path), ("MESOS_PORT".to_owned(), port.to_string())]),
            log: self.cluster.directory().join(format!("{name}.log")),
        })
    }
}

#[tokio::test]
async fn the_commands_of_the_book_work_as_written() -> Result<()> {
    let book = Book::open().await?;
    book.sh("mesos --version").await?.expect(0)?;
    let port: u16 = book.port().parse()?;
    book.start("master", "mesos master --work-dir=master-dir", port)?;
    book.start("slave", &format!("mesos slave --work-dir=slave-dir --master={}", book.master), ports::free()?)?;
    eventually(LATER, "the agent is there", async || {
        book.cluster.with("master", |process| process.must_run())?;
        book.cluster.with("slave", |process| process.must_run())?;
        let outcome = book.sh("mesos agents -o json").await?;
        Ok(outcome.json()?.as_array().is_some_and(|agents| agents.len() == 1))
    })
    .await?;
    let launched = book
        .sh(r#"mesos launch --name "test-task" --cpus 0.5 --mem 128MB --command "echo Hello Mesos!" /bin/echo"#)
        .await?
        .expect(0)?;
    assert_eq!(launched.stdout, "Hello Mesos!\n");
    assert!(
        launched.stderr.contains("TASK_RUNNING") && launched.stderr.contains("TASK_FINISHED"),
        "{}",
        launched.stderr
    );

    let usage =
        book.sh("cpu_usage=$(mesos stats | grep 'CPU usage' | awk '{print $2}'); echo $cpu_usage").await?.expect(0)?;
    let usage: f64 = usage.stdout.trim().parse().with_context(|| format!("no number: {:?}", usage.stdout))?;
    assert!((0.0..=100.0).contains(&usage), "{usage}");

    // The other one on the same directory is told apart and named.
    let second = book.sh("MESOS_PORT=0 mesos master --work-dir=master-dir").await?;
    second.one_clear_line(&["runs already", "--terminate"])?;
    book.sh("mesos slave --terminate --work-dir=slave-dir").await?.expect(0)?;
    book.sh("mesos master --terminate --work-dir=master-dir").await?.expect(0)?;
    for name in ["slave", "master"] {
        let status = book.cluster.with(name, |process| process.status())?;
        let status = status.with_context(|| format!("{name} goes on after --terminate"))?;
        assert_eq!(status.code(), Some(0), "{name}: {}", book.cluster.log(name)?);
    }
    book.sh("mesos master --terminate --work-dir=master-dir").await?.one_clear_line(&["no master runs"])?;
    book.cluster.finish()
}

#[tokio::test]
async fn the_names_and_spelling_of_apache_mesos_work_too() -> Result<()> {
    let book = Book::open().await?;
    book.sh("mesos-master --version").await?;
    let port: u16 = book.port().parse()?;
    book.start("master", "mesos-master --work_dir=master-dir --ip=127.0.0.1", port)?;
    let slave = format!(
        "mesos-slave --work_dir=slave-dir --master={} --resources='cpus:3;mem:1024;ports:[31000-31099]'",
        book.master
    );
    book.start("slave", &slave, ports::free()?)?;
    let agent = eventually_some(LATER, "the agent is there", async || {
        book.cluster.with("slave", |process| process.must_run())?;
        Ok(book.sh("mesos agents -o json").await?.json()?.get(0).cloned())
    })
    .await?;
    assert_eq!(agent["cpus"], 3.0, "{agent}");
    assert_eq!(agent["mem_mb"], 1024.0, "{agent}");
    book.cluster.finish()
}

#[tokio::test]
async fn launch_follows_its_task_and_ends_as_it_does() -> Result<()> {
    let cluster = local().await?;
    let outcome = cluster.mesos(&["launch", "--command", "echo out; echo err >&2; exit 3"]).await?.expect(3)?;
    assert_eq!(outcome.stdout, "out\n");
    assert!(outcome.stderr.contains("err\n"), "{}", outcome.stderr);
    for state in ["TASK_RUNNING", "TASK_FAILED"] {
        assert!(outcome.stderr.contains(state), "{}", outcome.stderr);
    }
    // Words after the options are the program and its arguments, as they are.
    let outcome =
        cluster.mesos(&["launch", "--cpus", "0.2", "--", "/bin/echo", "a  b", "$HOME", "--name"]).await?.expect(0)?;
    assert_eq!(outcome.stdout, "a  b $HOME --name\n");
    let outcome = cluster.mesos(&["launch", "sh", "-c", "exit 7"]).await?.expect(7)?;
    assert_eq!(outcome.stdout, "");
    let outcome = cluster.mesos(&["launch", "--env", "WORD=a b", "--command", "echo $WORD"]).await?.expect(0)?;
    assert_eq!(outcome.stdout, "a b\n");
    cluster.mesos(&["launch", "--command", "kill -9 $$"]).await?.expect(1)?;
    // A lot of output arrives whole and in order.
    let outcome = cluster.mesos(&["launch", "--command", "seq 1 200000"]).await?.expect(0)?;
    let numbers: Vec<u32> = outcome.stdout.lines().map(str::parse).collect::<Result<_, _>>()?;
    assert!(numbers.iter().copied().eq(1..=200_000), "{} lines", numbers.len());
    cluster.finish()
}

#[tokio::test]
async fn spawned_tasks_are_listed_read_and_killed() -> Result<()> {
    let cluster = local().await?;
    let spawned = cluster
        .mesos(&[
            "spawn",
            "--name",
            "web",
            "--instances",
            "3",
            "-o",
            "json",
            "--command",
            "echo started; exec sleep 1000",
        ])
        .await?
        .json()?;
    let framework = spawned["framework_id"].as_str().context("no framework id")?.to_owned();
    let tasks: Vec<String> =
        spawned["task_ids"].as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    assert_eq!(tasks.len(), 3, "{spawned}");
    let running = async |count: usize| {
        eventually(SOON, &format!("{count} tasks run"), async || {
            let listed = cluster.mesos(&["ps", "-o", "json"]).await?.json()?;
            let lines = listed.as_array().context("no list")?;
            let running = lines.iter().filter(|line| line["state"] == "TASK_RUNNING").count();
            if running == count && lines.len() == count {
                return Ok(true);
            }
            bail!("{listed}")
        })
        .await
    };
    running(3).await?;
    let table = cluster.mesos(&["ps"]).await?.expect(0)?;
    assert!(tasks.iter().all(|task| table.stdout.contains(task.as_str())), "{}", table.stdout);
    assert_eq!(cluster.mesos(&["logs", &tasks[0]]).await?.expect(0)?.stdout, "started\n");
    let found = processes(&framework, "sleep", 3).await?;

    cluster.mesos(&["kill", &tasks[0]]).await?.expect(0)?;
    running(2).await?;
    assert!(!found[&tasks[0]].runs() && found[&tasks[1]].runs());
    let all = cluster.mesos(&["ps", "--all", "-o", "json"]).await?.json()?;
    let killed = all.as_array().into_iter().flatten().find(|line| line["id"] == tasks[0].as_str());
    assert_eq!(killed.map(|line| &line["state"]), Some(&Value::from("TASK_KILLED")), "{all}");
    cluster.mesos(&["kill", &tasks[1], &tasks[2]]).await?.expect(0)?;
    running(0).await?;
    cluster.mesos(&["kill", "no-such-task"]).await?.one_clear_line(&["no-such-task"])?;
    cluster.mesos(&["logs", "no-such-task"]).await?.one_clear_line(&["no-such-task"])?;
    cluster.finish()
}

#[tokio::test]
async fn a_task_that_starts_while_it_is_listed_is_listed_once() -> Result<()> {
    let cluster = local().await?;
    for round in 0..5 {
        let name = format!("r{round}");
        let spawned = ["spawn", "--name", &name, "--instances", "3", "--cpus", "0.1", "--mem", "16MB", "sleep", "1000"];
        cluster.mesos(&spawned).await?.expect(0)?;
        let listed = cluster.mesos(&["ps", "-o", "quiet"]).await?.expect(0)?.stdout;
        let mut ids: Vec<&str> = listed.lines().collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        ensure!(ids.len() == count, "{listed}");
    }
    cluster.finish()
}

#[tokio::test]
async fn logs_follow_a_task_until_it_ends() -> Result<()> {
    let cluster = local().await?;
    let go = cluster.directory().join("go");
    let command = format!("echo first; while [ ! -e {} ]; do sleep 0.05; done; echo last", go.display());
    let spawned = cluster.mesos(&["spawn", "-o", "json", "--name", "talks", "--command", &command]).await?.json()?;
    let task = spawned["task_ids"][0].as_str().context("no task id")?.to_owned();
    eventually(SOON, "it has begun to talk", async || Ok(cluster.mesos(&["logs", &task]).await?.stdout == "first\n"))
        .await?;
    let command = ["logs", "-f", &task];
    let (followed, ()) = tokio::join!(cluster.mesos(&command), async {
        // Once the command runs its output is open; what is written after that must come as well.
        let _ = eventually(SOON, "logs -f runs", async || Ok(follows(&task))).await;
        let _ = std::fs::write(&go, "");
    });
    assert_eq!(followed?.expect(0)?.stdout, "first\nlast\n");
    cluster.finish()
}

/// Whether a `mesos logs -f` of this task runs.
fn follows(task: &str) -> bool {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("logs\0-f") && line.contains(task)
        })
    })
}

#[tokio::test]
async fn every_command_that_prints_prints_json_too() -> Result<()> {
    let cluster = local().await?;
    cluster.mesos(&["launch", "--command", "true"]).await?.expect(0)?;
    for command in ["ps", "agents", "frameworks", "stats"] {
        let json = cluster.mesos(&[command, "-o", "json"]).await?.json()?;
        assert!(json.is_array() || json.is_object(), "{command}: {json}");
    }
    let agents = cluster.mesos(&["agents", "-o", "json"]).await?.json()?;
    assert_eq!(agents[0]["cpus"], 16.0, "{agents}");
    let stats = cluster.mesos(&["stats", "-o", "json"]).await?.json()?;
    assert_eq!(stats["total"]["cpus"], 16.0, "{stats}");
    assert_eq!(stats["agents_active"], 1, "{stats}");
    let frameworks = cluster.mesos(&["frameworks", "-o", "json"]).await?.json()?;
    assert_eq!(frameworks.as_array().map(Vec::len), Some(1), "{frameworks}");
    cluster.finish()
}

#[tokio::test]
async fn what_a_task_holds_is_seen_at_once_and_given_back_at_its_end() -> Result<()> {
    let cluster = local().await?;
    let spawned =
        cluster.mesos(&["spawn", "--cpus", "4", "--mem", "1GB", "-o", "json", "sleep", "1000"]).await?.json()?;
    let task = spawned["task_ids"][0].as_str().context("no task id")?.to_owned();
    let used = async |cpus: f64, mem: f64| {
        eventually(SOON, &format!("{cpus} cpus are used"), async || {
            let stats = cluster.mesos(&["stats", "-o", "json"]).await?.json()?;
            if stats["used"]["cpus"] == cpus && stats["used"]["mem"] == mem {
                return Ok(true);
            }
            bail!("{stats}")
        })
        .await
    };
    used(4.0, 1024.0).await?;
    let line = cluster.mesos(&["stats"]).await?.expect(0)?.stdout;
    assert!(line.contains("cpus 25.0 CPU usage"), "{line}");
    cluster.mesos(&["kill", &task]).await?.expect(0)?;
    used(0.0, 0.0).await?;
    cluster.finish()
}

#[tokio::test]
async fn a_task_that_fits_nowhere_waits_and_says_so() -> Result<()> {
    let cluster = local().await?;
    let spawned = cluster.mesos(&["spawn", "--cpus", "64", "-o", "json", "--command", "true"]).await?.json()?;
    let task = spawned["task_ids"][0].as_str().context("no task id")?.to_owned();
    // Others go on meanwhile.
    cluster.mesos(&["launch", "--command", "echo I fit"]).await?.expect(0)?;
    let frameworks = cluster.get(0, "/frameworks").await?;
    assert!(!frameworks.to_string().contains("TASK_ERROR"), "{frameworks} {task}");
    cluster.finish()
}

#[tokio::test]
async fn spawned_tasks_outlive_a_master_that_was_killed() -> Result<()> {
    let cluster = crate::support::master_and_agent().await?;
    let spawned = cluster.mesos(&["spawn", "-n", "5", "-o", "json", "--command", "exec sleep 1000"]).await?.json()?;
    let framework = spawned["framework_id"].as_str().context("no framework id")?.to_owned();
    let before = processes(&framework, "sleep", 5).await?;
    // The store is a file that is synced every second, and the launcher's tasks are in it.
    eventually(SOON, "all run", async || {
        let listed = cluster.mesos(&["ps", "-o", "json"]).await?.json()?;
        Ok(listed
            .as_array()
            .is_some_and(|lines| lines.iter().filter(|line| line["state"] == "TASK_RUNNING").count() == 5))
    })
    .await?;
    cluster.kill_9("master-0")?;
    assert!(before.values().all(host::HostProcess::runs));
    cluster.restart("master-0")?;
    cluster.wait_for_agents(0, 1, LATER).await?;
    let outcome = cluster.mesos(&["launch", "--command", "echo again"]).await?.expect(0)?;
    assert_eq!(outcome.stdout, "again\n");
    eventually(LATER, "all five are still the launcher's", async || {
        let listed = cluster.mesos(&["ps", "-o", "json"]).await?.json()?;
        let lines = listed.as_array().context("no list")?;
        if lines.len() == 5 && lines.iter().all(|line| line["state"] == "TASK_RUNNING") {
            return Ok(true);
        }
        bail!("{listed}")
    })
    .await?;
    assert!(before.values().all(host::HostProcess::runs), "a task was stopped or started again");
    for task in before.keys() {
        cluster.mesos(&["kill", task]).await?.expect(0)?;
    }
    eventually(SOON, "all are killed", async || Ok(!before.values().any(host::HostProcess::runs))).await?;
    cluster.finish()
}

#[tokio::test]
async fn options_come_from_the_command_line_then_the_environment_then_the_file() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let write = |name: &str, value: Value| -> Result<String> {
        let path = directory.path().join(name);
        std::fs::write(&path, value.to_string())?;
        Ok(path.display().to_string())
    };
    // The files of the book.
    let master = write(
        "mesos-master.json",
        json!({
            "cluster": "from-file", "work_dir": directory.path().join("master"), "port": 7001, "ip": "127.0.0.3",
            "resource.ram": "2GB", "resource.cpu": 2, "log.level": "warn",
        }),
    )?;
    let env = [("MESOS_PORT", "7002"), ("MESOS_CLUSTER", "from-environment"), ("MESOS_NO_OPTION_OF_OURS", "x")];
    let dump =
        cli::run(&env, &["master", "--config", &master, "--cluster=from-flag", "--dump-config"]).await?.json()?;
    let value = |name: &str| dump["options"][name]["value"].clone();
    assert_eq!(value("cluster"), "from-flag", "{dump}");
    assert_eq!(value("port"), 7002, "{dump}");
    assert_eq!(value("ip"), "127.0.0.3", "{dump}");
    assert_eq!(value("log_level"), "warn", "{dump}");
    assert_eq!(value("resource_ram"), "2GB", "{dump}");
    assert_eq!(value("gateway_timeout"), "6s", "{dump}");

    let slave = write(
        "mesos-slave.json",
        json!({
            "master": "10.0.0.1:5050", "work_dir": directory.path().join("slave"), "resource.cpu": 3,
            "resource.ram": "4GB", "containerizers": [{"name": "docker", "params": {}}],
        }),
    )?;
    let dump = cli::run(&[], &["slave", "--config", &slave, "--dump-config"]).await?.json()?;
    let from = |name: &str| dump["options"][name]["from"].as_str().unwrap_or_default().to_owned();
    for name in ["master", "work_dir", "resource_cpus", "resource_mem", "containerizers"] {
        assert!(from(name).contains("mesos-slave.json"), "{name}: {dump}");
    }

    let wrong = write("wrong.json", json!({"prot": 5050}))?;
    cli::run(&[], &["master", "--config", &wrong]).await?.one_clear_line(&["prot"])?;
    cli::run(&[("MESOS_PORT", "many")], &["master"]).await?.one_clear_line(&["MESOS_PORT", "many"])?;
    Ok(())
}

//! Executors that frameworks bring, and task groups: `e2e/clients/executor.py` behind a real agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesos_e2e::backends::{python, repository};
use mesos_e2e::host::{self, HostProcess};
use mesos_e2e::scheduler::framework_info;
use mesos_e2e::{Cluster, Scheduler, eventually, eventually_some, http};
use serde_json::{Value, json};

use crate::support::{LATER, SOON, file, master_and_agent};

/// A framework whose one executor is `executor.py`; every update is acknowledged and kept.
struct Own {
    scheduler: Scheduler,
    agent: String,
    updates: Vec<Value>,
}

impl Own {
    /// Subscribes and waits until the agent is offered.
    async fn start(cluster: &Cluster, name: &str) -> Result<Own> {
        let scheduler = Scheduler::subscribe(&cluster.gateway(0), &framework_info(name, 60.0)).await?;
        Ok(Own { scheduler, agent: String::new(), updates: Vec::new() })
    }

    fn executor() -> Result<Value> {
        let script = repository().join("e2e/clients/executor.py").canonicalize()?;
        let command = format!("exec {} {}", python()?.display(), script.display());
        Ok(json!({
            "type": "CUSTOM", "executor_id": {"value": "own"}, "command": {"shell": true, "value": command},
            "shutdown_grace_period": {"nanoseconds": 10_000_000_000_u64},
            "resources": resources(0.2, 64.0),
        }))
    }

    fn task(&self, id: &str) -> Result<Value> {
        Ok(json!({
            "name": id, "task_id": {"value": id}, "agent_id": {"value": self.agent},
            "resources": resources(0.1, 32.0), "executor": Self::executor()?,
        }))
    }

    /// Takes the next offer, and leaves what is not used for the next one.
    async fn accept(&mut self, operations: impl FnOnce(&Own) -> Result<Vec<Value>>) -> Result<()> {
        let offers = self.scheduler.wait_for(LATER, "OFFERS").await?;
        let offer = &offers["offers"]["offers"][0];
        self.agent = offer["agent_id"]["value"].as_str().context("no agent")?.to_owned();
        let id = offer["id"]["value"].as_str().context("no id")?;
        let operations = operations(self)?;
        self.scheduler.caller().accept(&[id], operations).await
    }

    async fn launch(&mut self, ids: &[&str]) -> Result<()> {
        self.accept(|own| {
            let tasks = ids.iter().map(|id| own.task(id)).collect::<Result<Vec<_>>>()?;
            Ok(vec![json!({"type": "LAUNCH", "launch": {"task_infos": tasks}})])
        })
        .await
    }

    /// Waits until a task's latest update has a state.
    async fn wait_for(&mut self, task: &str, state: &str) -> Result<Value> {
        while self.state(task) != state {
            let event = self.scheduler.wait_for(LATER, "UPDATE").await.with_context(|| {
                format!("{task} is {}, not {state}; updates: {}", self.state(task), Value::from(self.updates.clone()))
            })?;
            let status = &event["update"]["status"];
            self.scheduler.caller().acknowledge(status).await?;
            self.updates.push(status.clone());
        }
        self.updates.iter().rfind(|status| status["task_id"]["value"] == task).cloned().context("just found")
    }

    fn state(&self, task: &str) -> &str {
        let last = self.updates.iter().rfind(|status| status["task_id"]["value"] == task);
        last.and_then(|status| status["state"].as_str()).unwrap_or_default()
    }

    /// The states of a task in their order, each update once.
    fn states(&self, task: &str) -> Vec<&str> {
        let mut seen = std::collections::BTreeSet::new();
        let of_task = self.updates.iter().filter(|status| status["task_id"]["value"] == task);
        let once = of_task.filter(|status| status["uuid"].as_str().is_none_or(|uuid| seen.insert(uuid.to_owned())));
        once.filter_map(|status| status["state"].as_str()).collect()
    }

    async fn tell(&self, text: &str) -> Result<()> {
        let data = base64(text.as_bytes());
        let body = json!({"agent_id": {"value": self.agent}, "executor_id": {"value": "own"}, "data": data});
        self.scheduler.caller().call("MESSAGE", body).await
    }

    /// The executor's sandbox, as it says itself.
    async fn sandbox(&mut self) -> Result<PathBuf> {
        self.tell("where").await?;
        let event = self.scheduler.wait_for(SOON, "MESSAGE").await?;
        assert_eq!(event["message"]["executor_id"]["value"], "own");
        let data = event["message"]["data"].as_str().context("no data")?;
        let answer: Value = serde_json::from_slice(&unbase64(data)?)?;
        Ok(PathBuf::from(answer["sandbox"].as_str().context("no sandbox")?))
    }

    /// The executor's one process on this host.
    fn process(&self) -> Result<HostProcess> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let its =
                host::variables(pid).get("MESOS_FRAMEWORK_ID").is_some_and(|id| id == self.scheduler.framework_id());
            if its && String::from_utf8_lossy(&line).contains("executor.py") {
                found.extend(HostProcess::of(pid));
            }
        }
        ensure!(found.len() == 1, "{} processes", found.len());
        found.pop().context("one was just found")
    }
}

fn resources(cpus: f64, mem: f64) -> Value {
    json!([
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": mem}},
    ])
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let word = part.iter().chain([&0; 2]).take(3).fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        let digit = |at: usize| DIGITS[word >> (18 - 6 * at) & 63] as char;
        out.extend((0..4).map(|at| if at <= part.len() { digit(at) } else { '=' }));
    }
    out
}

fn unbase64(text: &str) -> Result<Vec<u8>> {
    let (mut out, mut word, mut bits) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit).context("no base64")?;
        word = word << 6 | u32::try_from(value)?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits & 255) as u8);
        }
    }
    Ok(out)
}

/// How often a line is in what an executor wrote about itself.
fn count(sandbox: &Path, line: &str) -> Result<usize> {
    let text = std::fs::read_to_string(sandbox.join("events"))?;
    Ok(text.lines().filter(|found| found.starts_with(line)).count())
}

#[tokio::test]
async fn one_executor_runs_tasks_survives_its_agent_and_ends_with_its_framework() -> Result<()> {
    let cluster = master_and_agent().await?;
    let mut own = Own::start(&cluster, "own-executor").await?;
    own.launch(&["t1", "t2"]).await?;
    for task in ["t1", "t2"] {
        let status = own.wait_for(task, "TASK_RUNNING").await?;
        assert_eq!(
            unbase64(status["data"].as_str().context("no data")?)?,
            format!("{task} is TASK_RUNNING").as_bytes()
        );
        assert_eq!(status["executor_id"]["value"], "own");
        assert_eq!(status["source"], "SOURCE_EXECUTOR");
        assert!(status["container_status"]["container_id"]["value"].is_string(), "{status}");
    }
    let (process, sandbox) = (own.process()?, own.sandbox().await?);
    // A later task goes to the executor that is there, whose part is not taken again.
    own.launch(&["t3"]).await?;
    own.wait_for("t3", "TASK_RUNNING").await?;
    assert_eq!(own.process()?, process);
    assert_eq!(count(&sandbox, "subscribed own-executor")?, 1);
    own.scheduler.caller().kill("t1").await?;
    own.wait_for("t1", "TASK_KILLED").await?;
    assert_eq!(count(&sandbox, "kill t1")?, 1);

    // While the agent is dead one task ends, and the framework asks for the end of another.
    cluster.kill_9("agent-0")?;
    std::fs::write(sandbox.join("finish-t2"), "")?;
    eventually(SOON, "the executor has noticed", async || Ok(count(&sandbox, "not sent")? > 0)).await?;
    own.scheduler.caller().kill("t3").await?;
    cluster.restart("agent-0")?;
    own.wait_for("t2", "TASK_FINISHED").await?;
    own.wait_for("t3", "TASK_KILLED").await?;
    assert_eq!(own.states("t2"), ["TASK_RUNNING", "TASK_FINISHED"]);
    assert_eq!(count(&sandbox, "subscribed own-executor")?, 2);
    assert_eq!(count(&sandbox, "launch t")?, 3, "no task is launched twice");

    // It has no task left and lives on; the next one still finds it.
    own.launch(&["t4"]).await?;
    own.wait_for("t4", "TASK_RUNNING").await?;
    assert_eq!(own.process()?, process);
    own.tell("finish t4").await?;
    own.wait_for("t4", "TASK_FINISHED").await?;
    let used = async || {
        let agents = cluster.get(0, "/v1/agents").await?;
        anyhow::Ok(agents["agents"][0]["used"]["cpus"].as_f64().unwrap_or(0.0))
    };
    eventually(SOON, "it holds its own part alone", async || Ok((used().await? - 0.2).abs() < 0.001)).await?;

    own.scheduler.caller().call("TEARDOWN", Value::Null).await?;
    eventually(SOON, "the executor is over", async || Ok(!process.runs())).await?;
    assert_eq!(count(&sandbox, "shutdown")?, 1, "it was asked, and not only killed");
    eventually(SOON, "what it held is free", async || Ok(used().await? == 0.0)).await?;
    cluster.finish()
}

#[tokio::test]
async fn an_executor_that_exits_takes_its_tasks_along_and_its_framework_is_told() -> Result<()> {
    let cluster = master_and_agent().await?;
    let mut own = Own::start(&cluster, "own-exit").await?;
    own.launch(&["t1"]).await?;
    own.wait_for("t1", "TASK_RUNNING").await?;
    own.tell("exit 3").await?;
    let status = own.wait_for("t1", "TASK_GONE").await?;
    assert_eq!(status["reason"], "REASON_EXECUTOR_TERMINATED", "{status}");
    let failure = own.scheduler.wait_for(SOON, "FAILURE").await?;
    assert_eq!(failure["failure"]["executor_id"]["value"], "own");
    assert_eq!(failure["failure"]["status"], 3 << 8);
    // Another one is started for the next task.
    own.launch(&["t2"]).await?;
    own.wait_for("t2", "TASK_RUNNING").await?;
    let body = json!({"executor_id": {"value": "own"}, "agent_id": {"value": own.agent}});
    let process = own.process()?;
    own.scheduler.caller().call("SHUTDOWN", body).await?;
    own.wait_for("t2", "TASK_KILLED").await?;
    eventually(SOON, "the executor is over", async || Ok(!process.runs())).await?;
    cluster.finish()
}

#[tokio::test]
async fn f70_no_task_speaks_for_the_executor_of_another() -> Result<()> {
    let cluster = master_and_agent().await?;
    let mut own = Own::start(&cluster, "own-abuse").await?;
    own.launch(&["t1"]).await?;
    own.wait_for("t1", "TASK_RUNNING").await?;
    let endpoint = host::variables(own.process()?.pid).remove("MESOS_AGENT_ENDPOINT").context("no endpoint")?;
    let say = async |executor: &str, token: &str| -> Result<u16> {
        let call = json!({
            "type": "UPDATE", "framework_id": {"value": own.scheduler.framework_id()},
            "executor_id": {"value": executor},
            "update": {"status": {"task_id": {"value": "t1"}, "state": "TASK_FAILED", "source": "SOURCE_EXECUTOR",
                "uuid": base64(&[7; 16])}},
        });
        let answer = http()
            .post(format!("http://{endpoint}/api/v1/executor"))
            .header("Content-Type", "application/json")
            .header("Authorization", format!("Bearer {token}"))
            .body(call.to_string())
            .timeout(Duration::from_secs(20))
            .send()
            .await?;
        Ok(answer.status().as_u16())
    };
    assert_eq!(say("own", "00000000-0000-4000-8000-000000000000").await?, 403);
    assert_eq!(say("other", "00000000-0000-4000-8000-000000000000").await?, 400);
    own.tell("finish t1").await?;
    own.wait_for("t1", "TASK_FINISHED").await?;
    assert_eq!(own.states("t1"), ["TASK_RUNNING", "TASK_FINISHED"]);
    cluster.finish()
}

/// A task group for the default executor; the tasks share `common` of the group's sandbox.
fn group(agent: &str, tasks: &[(&str, &str)]) -> Value {
    let volume = json!({
        "container_path": "shared", "mode": "RW",
        "source": {"type": "SANDBOX_PATH", "sandbox_path": {"type": "PARENT", "path": "common"}},
    });
    let tasks: Value = tasks
        .iter()
        .map(|(id, command)| {
            json!({
                "name": id, "task_id": {"value": id}, "agent_id": {"value": agent}, "resources": resources(0.1, 32.0),
                "command": {"shell": true, "value": command},
                "container": {"type": "MESOS", "volumes": [volume]},
            })
        })
        .collect();
    let executor = json!({"type": "DEFAULT", "executor_id": {"value": "pod"}, "resources": resources(0.1, 32.0)});
    json!({"type": "LAUNCH_GROUP", "launch_group": {"executor": executor, "task_group": {"tasks": tasks}}})
}

#[tokio::test]
async fn tasks_of_a_group_share_a_sandbox_and_none_outlives_one_that_failed() -> Result<()> {
    let cluster = master_and_agent().await?;
    let mut own = Own::start(&cluster, "pods").await?;
    let writer = "echo hello > shared/word; while [ ! -e shared/read ]; do sleep 0.05; done; exit 7";
    let reader = "while [ ! -e shared/word ]; do sleep 0.05; done; cat shared/word; touch shared/read; sleep 1000";
    own.accept(|own| Ok(vec![group(&own.agent, &[("writer", writer), ("reader", reader)])])).await?;
    own.wait_for("writer", "TASK_FAILED").await?;
    own.wait_for("reader", "TASK_KILLED").await?;
    let framework = own.scheduler.framework_id().to_owned();
    let text = eventually_some(SOON, "the reader's output", async || {
        let text = file(&cluster, &framework, "reader", "stdout").await?;
        Ok(text.contains("hello").then_some(text))
    })
    .await?;
    assert_eq!(text.trim(), "hello");
    cluster.finish()
}

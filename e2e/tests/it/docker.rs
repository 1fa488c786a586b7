//! What an agent does with Docker tasks.

use std::fs;

use anyhow::{Context, Result};
use mesos_e2e::host::{self, docker};
use mesos_e2e::{Cluster, TaskSpec, eventually, http, ports};
use serde_json::{Value, json};

use crate::support::{IMAGE, LATER, SOON, file, file_with, framework, last, local, master_and_agent, processes};

/// The id of the container of a task, by what its environment says.
fn container_of(framework: &str, task: &str) -> Result<String> {
    let (of_framework, of_task) = (format!("MESOS_FRAMEWORK_ID={framework}"), format!("MESOS_TASK_ID={task}"));
    for id in docker(&["ps", "--all", "--quiet", "--no-trunc"])?.split_whitespace() {
        // It may be removed while it is looked at.
        let Ok(environment) = docker(&["inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", id]) else {
            continue;
        };
        if environment.lines().any(|line| line == of_framework) && environment.lines().any(|line| line == of_task) {
            return Ok(id.to_owned());
        }
    }
    anyhow::bail!("task {task} has no container")
}

#[tokio::test]
async fn process_and_docker_tasks_run_side_by_side_on_one_agent() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "mixed").await?;
    framework.launch((0..8).flat_map(|i| {
        let command = format!("echo {i}; exit {}", i % 2);
        [TaskSpec::shell(&format!("process-{i}"), &command), TaskSpec::docker(&format!("docker-{i}"), IMAGE, &command)]
    }));
    let expected = |id: &str| if id.ends_with(['0', '2', '4', '6']) { "TASK_FINISHED" } else { "TASK_FAILED" };
    framework.wait_for_all(LATER, expected).await?;
    for i in 0..8 {
        for kind in ["process", "docker"] {
            let id = format!("{kind}-{i}");
            let text = file_with(&cluster, &framework.id(), &id, "stdout", "\n").await?;
            assert_eq!(text, format!("{i}\n"), "{id}");
        }
    }
    cluster.finish()
}

#[tokio::test]
async fn a_docker_task_has_its_variables_volumes_and_limits() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "containers").await?;
    let shared = cluster.directory().join("shared");
    fs::create_dir_all(&shared)?;
    fs::write(shared.join("given"), "from the host\n")?;
    let script = "echo word=$WORD; cat /data/given; echo from inside > /data/taken; cat /etc/hostname >/dev/null; \
                  (echo x > /fixed/y) 2>/dev/null || echo read only; echo sandbox=$MESOS_SANDBOX; \
                  echo kept > $MESOS_SANDBOX/kept; echo ready; exec sleep 1000";
    let container = json!({
        "type": "DOCKER",
        "docker": {"image": IMAGE, "network": "BRIDGE", "parameters": [{"key": "label", "value": "colour=green"}]},
        "volumes": [
            {"container_path": "/data", "host_path": shared.display().to_string(), "mode": "RW"},
            {"container_path": "/fixed", "host_path": shared.display().to_string(), "mode": "RO"},
        ],
    });
    let command = json!({
        "shell": true, "value": script,
        "environment": {"variables": [{"name": "WORD", "value": "a b'c"}]},
    });
    let mut task = TaskSpec::docker("box", IMAGE, "").with("container", container).with("command", command);
    (task.cpus, task.mem) = (0.5, 64.0);
    framework.launch([task]);
    let id = framework.id();
    framework.wait_for("box", "TASK_RUNNING", SOON).await?;
    let text = file_with(&cluster, &id, "box", "stdout", "ready").await?;
    assert!(text.contains("word=a b'c\nfrom the host\nread only\n"), "{text}");
    assert_eq!(fs::read_to_string(shared.join("taken"))?, "from inside\n");
    assert_eq!(file(&cluster, &id, "box", "kept").await?, "kept\n");

    let described: Value = serde_json::from_str(&docker(&["inspect", &container_of(&id, "box")?])?)?;
    let described = &described[0];
    assert_eq!(described["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(described["HostConfig"]["CpuShares"], 512);
    assert_eq!(described["Config"]["Labels"]["colour"], "green");
    assert_eq!(described["HostConfig"]["NetworkMode"], "bridge");
    let found = processes(&id, "sleep", 1).await?;
    framework.kill("box").await?;
    framework.wait_for("box", "TASK_KILLED", SOON).await?;
    assert!(!found["box"].runs());
    cluster.finish()
}

#[tokio::test]
async fn a_container_may_ask_for_more_cpus_than_this_host_has_if_they_are_offered() -> Result<()> {
    let cpus = std::thread::available_parallelism()?.get() + 4;
    let resources = format!("--resources=cpus:{cpus};mem:4096");
    let cluster = Cluster::builder().agents(1).arg("local", &resources).start_local().await?;
    let framework = framework(&cluster, "overcommitted").await?;
    let mut task = TaskSpec::docker("large", IMAGE, "true");
    task.cpus = f64::from(u32::try_from(cpus)?);
    framework.launch([task]);
    framework.wait_for("large", "TASK_FINISHED", SOON).await?;
    cluster.finish()
}

#[tokio::test]
async fn a_port_of_a_docker_task_is_reachable_where_it_was_mapped_to() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "ports").await?;
    let port = ports::free()?;
    let container = json!({
        "type": "DOCKER",
        "docker": {
            "image": IMAGE, "network": "BRIDGE",
            "port_mappings": [{"host_port": port, "container_port": 80, "protocol": "tcp"}],
        },
    });
    let command = "mkdir /www; echo hello from inside > /www/index.html; exec httpd -f -p 80 -h /www";
    framework.launch([TaskSpec::docker("web", IMAGE, command).with("container", container)]);
    framework.wait_for("web", "TASK_RUNNING", SOON).await?;
    eventually(SOON, "the container answers on the mapped port", async || {
        let answer = http().get(format!("http://127.0.0.1:{port}/index.html")).send().await?.text().await?;
        Ok(answer == "hello from inside\n")
    })
    .await?;
    cluster.finish()
}

#[tokio::test]
async fn a_container_that_runs_out_of_memory_is_told_so() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "docker-memory").await?;
    let mut greedy = TaskSpec::docker("greedy", IMAGE, "head -c 300m /dev/zero | tail -c 300m | wc -c; exit 7");
    greedy.mem = 64.0;
    // The limit is the container's: whichever process the kernel picks, the container is at its limit.
    greedy.info["command"]["value"] = json!("exec tail -c 300m /dev/zero");
    framework.launch([greedy]);
    let task = framework.wait_for("greedy", "TASK_FAILED", LATER).await?;
    assert_eq!(last(&task, "reason"), "REASON_CONTAINER_LIMITATION_MEMORY", "{:?}", task.statuses.last());
    cluster.finish()
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_fails_the_task_and_is_named() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "pulls").await?;
    // Nobody listens there, so the pull fails at once, with or without a network.
    let missing = format!("127.0.0.1:{}/no/such/image:1", ports::free()?);
    let forced = format!("127.0.0.1:{}/busybox:1", ports::free()?);
    docker(&["tag", IMAGE, &forced])?;
    let force = |yes: bool| json!({"type": "DOCKER", "docker": {"image": forced, "force_pull_image": yes}});
    framework.launch([
        TaskSpec::docker("missing", &missing, "true"),
        TaskSpec::docker("forced", &forced, "true").with("container", force(true)),
        TaskSpec::docker("present", &forced, "true").with("container", force(false)),
    ]);
    framework.wait_for_all(LATER, |id| if id == "present" { "TASK_FINISHED" } else { "TASK_FAILED" }).await?;
    docker(&["rmi", &forced])?;
    for (id, image) in [("missing", &missing), ("forced", &forced)] {
        let task = framework.task(id).context("unknown")?;
        assert!(last(&task, "message").contains(image.as_str()), "{id}: {:?}", task.statuses.last());
        assert_eq!(last(&task, "reason"), "REASON_CONTAINER_LAUNCH_FAILED", "{id}");
    }
    cluster.finish()
}

#[tokio::test]
async fn containers_outlive_their_agent_and_report_how_they_ended_meanwhile() -> Result<()> {
    let cluster = master_and_agent().await?;
    let framework = framework(&cluster, "docker-recovery").await?;
    framework.launch([
        TaskSpec::docker("stays", IMAGE, "exec sleep 1000"),
        TaskSpec::docker("ends", IMAGE, "trap 'exit 5' TERM; echo ready; while true; do sleep 0.1; done"),
    ]);
    framework.wait_for_all(LATER, |_| "TASK_RUNNING").await?;
    let id = framework.id();
    file_with(&cluster, &id, "ends", "stdout", "ready").await?;
    let stays = eventually_sleep(&id, "stays").await?;
    let ends = container_of(&id, "ends")?;
    cluster.kill_9("agent-0")?;
    docker(&["kill", "--signal", "TERM", &ends])?;
    docker(&["wait", &ends])?;
    cluster.restart("agent-0")?;
    let task = framework.wait_for("ends", "TASK_FAILED", LATER).await?;
    assert!(last(&task, "message").contains("exited with status 5"), "{:?}", task.statuses.last());
    assert!(stays.runs(), "the container was stopped");
    framework.kill("stays").await?;
    framework.wait_for("stays", "TASK_KILLED", LATER).await?;
    assert!(!stays.runs());
    cluster.finish()
}

/// The `sleep` of one task; others of the framework may have one too, now and then.
async fn eventually_sleep(framework: &str, task: &str) -> Result<host::HostProcess> {
    mesos_e2e::eventually_some(SOON, &format!("{task} sleeps"), async || {
        Ok(host::tasks(framework, "sleep")?.remove(task))
    })
    .await
}

//! An agent is killed with its tasks running and started again.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use mesos_proto::v1;
use serde_json::json;

use crate::{
    framework::{Framework, Happened, Size, command},
    options::{Common, Recovery},
    report::{Line, Times, verdict},
    setup::{Setup, host},
    tasks::until_running,
    usage::{Meter, round},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Kills and starts the agent again and again. It is back when it obeys: a KILL that was sent while it was
/// away has ended its task, and a new task runs.
pub(crate) async fn run(common: &Common, options: &Recovery) -> Result<()> {
    let docker = options.containerizer == "docker";
    let setup = Setup::master_and_agent(common, &host(&options.containerizer)).await?;
    let mut framework = Framework::subscribe(common, &setup.url, "bench-recovery", Size::default()).await?;
    framework.until_room(options.tasks + options.runs, PATIENCE).await?;
    let mut info = command("exec sleep 86400");
    if docker {
        info.container = Some(v1::ContainerInfo {
            r#type: v1::container_info::Type::Docker.into(),
            docker: Some(v1::container_info::DockerInfo { image: options.image.clone(), ..Default::default() }),
            ..Default::default()
        });
    }
    let tasks: Vec<_> = (0..options.tasks).map(|number| (format!("kept-{number}"), info.clone())).collect();
    if framework.launch(&tasks) != tasks.len() {
        bail!("the agent's offer does not hold {} tasks", tasks.len());
    }
    let (_, mut lost) = until_running(&mut framework, tasks.len()).await?;
    let (mut back, mut new_running) = (Times::default(), Times::default());
    let meter = Meter::start(setup.processes().into_iter().filter(|(name, _)| name != "agent"));
    let mut runs = Vec::new();
    for run in 0..options.runs {
        let before = sleepers(setup.directory(), docker);
        setup.kill_9("agent")?;
        let victim = if run == 0 { "kept-0".to_owned() } else { format!("new-{}", run - 1) };
        framework.kill(&victim);
        let start = Instant::now();
        setup.restart("agent")?;
        let took = ended(&mut framework, &victim, start, &mut lost).await?;
        back.add(took);
        framework.until_room(1, PATIENCE).await?;
        framework.launch(&[(format!("new-{run}"), info.clone())]);
        let (started, ended) = until_running(&mut framework, 1).await?;
        new_running.add(start.elapsed());
        lost += ended;
        if started.count() + ended != 1 {
            bail!("a task that ran is told as running again");
        }
        let after = sleepers(setup.directory(), docker);
        let kept = before.intersection(&after).count();
        lost += (options.tasks - 1).saturating_sub(kept) as u64;
        runs.push(
            json!({"back_ms": round(took.as_secs_f64() * 1000.0), "processes_kept": kept, "processes": after.len()}),
        );
    }
    let wrong = framework.wrong();
    Line::new(
        "recovery",
        json!({"tasks": options.tasks, "runs": options.runs, "containerizer": options.containerizer, "api": common.api}),
    )
    .times("start_to_obeys", &back)
    .times("start_to_new_task_running", &new_running)
    .set("runs", json!(runs))
    .used(&meter, options.runs as u64)
    .set("lost", lost)
    .set("errors", json!(wrong))
    .say(format!("{lost} tasks lost"))
    .print(common);
    verdict(lost, &wrong)?;
    setup.finish()
}

/// Waits for the end of one task; every other one that ends is lost.
async fn ended(framework: &mut Framework, task: &str, start: Instant, lost: &mut u64) -> Result<Duration> {
    loop {
        match framework.next_within(start + PATIENCE, "the agent is back and has ended a task").await? {
            Happened::Ended(id, _, _) if id == task => return Ok(start.elapsed()),
            Happened::Ended(..) => *lost += 1,
            _ => {}
        }
    }
}

/// The tasks' own processes: those that sleep below the directory, or in Docker as tasks of this benchmark.
fn sleepers(directory: &Path, docker: bool) -> BTreeSet<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let sleeps = fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep");
        let of_bench = || {
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let variables = String::from_utf8_lossy(&variables).into_owned();
            variables.contains("MESOS_TASK_ID=kept-") || variables.contains("MESOS_TASK_ID=new-")
        };
        let below = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        sleeps && if docker { of_bench() } else { below() }
    })
    .collect()
}

//! A Docker task against the same container made straight through the Docker API, in pairs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bollard::{
    Docker,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder},
};
use mesos_proto::v1;
use serde_json::json;

use crate::{
    framework::{Framework, Happened, Size, command},
    options::{self, Common},
    report::{Line, Times, verdict},
    setup::{Setup, host},
    usage::{Meter, round},
};

const PATIENCE: Duration = Duration::from_secs(60);
const LINE: &str = "sleep 1000";
const MOUNT: &str = "/mnt/mesos/sandbox";

/// Measures both sides in turn; which one comes first changes with each pair.
pub(crate) async fn run(common: &Common, options: &options::Docker) -> Result<()> {
    let docker = Docker::connect_with_defaults().context("no Docker")?;
    docker.inspect_image(&options.image).await.with_context(|| format!("the image {} is not there", options.image))?;
    let setup = Setup::local(common, 1, &host("docker")).await?;
    let mut framework = Framework::subscribe(common, &setup.url, "bench-docker", Size::default()).await?;
    let sandbox = setup.directory().join("direct");
    std::fs::create_dir_all(&sandbox)?;
    let direct = Direct { docker, body: body(&options.image, &sandbox) };
    let (mut by_api, mut by_task, mut ratios) = (Times::default(), Times::default(), Vec::new());
    let meter = Meter::start(setup.processes());
    // The first pair warms the daemon up and is not counted.
    for pair in 0..=options.runs {
        let (api, task) = if pair % 2 == 0 {
            let api = direct.time(pair).await?;
            (api, by_mesos(&mut framework, &options.image, pair).await?)
        } else {
            let task = by_mesos(&mut framework, &options.image, pair).await?;
            (direct.time(pair).await?, task)
        };
        if pair > 0 {
            by_api.add(api);
            by_task.add(task);
            ratios.push(task.as_secs_f64() / api.as_secs_f64());
        }
    }
    ratios.sort_by(f64::total_cmp);
    let of_pairs = ratios.get(ratios.len() / 2).copied().unwrap_or(0.0);
    let of_medians = by_task.quantile(0.5) / by_api.quantile(0.5).max(0.001);
    let wrong = framework.wrong();
    Line::new("docker", json!({"runs": options.runs, "image": options.image, "api": common.api}))
        .times("create_and_start", &by_api)
        .times("accept_to_running", &by_task)
        .set("ratio_of_medians", round(of_medians))
        .set("median_of_ratios", round(of_pairs))
        .say(format!("ratio of medians {of_medians:.3}, median of the pairs' ratios {of_pairs:.3}"))
        .used(&meter, options.runs as u64 + 1)
        .set("lost", 0)
        .set("errors", json!(wrong))
        .print(common);
    verdict(0, &wrong)?;
    setup.finish()
}

/// As the agent makes it.
fn body(image: &str, sandbox: &std::path::Path) -> ContainerCreateBody {
    let memory = Some(32 << 20);
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/bin/sh".to_owned()]),
        cmd: Some(vec!["-c".to_owned(), LINE.to_owned()]),
        host_config: Some(HostConfig {
            binds: Some(vec![format!("{}:{MOUNT}:rw", sandbox.display())]),
            network_mode: Some("host".to_owned()),
            cpu_shares: Some(102),
            nano_cpus: Some(100_000_000),
            memory,
            memory_swap: memory,
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

struct Direct {
    docker: Docker,
    body: ContainerCreateBody,
}

impl Direct {
    async fn time(&self, pair: usize) -> Result<Duration> {
        let name = format!("mesos-bench-{}-{pair}", std::process::id());
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let start = Instant::now();
        self.docker.create_container(Some(options), self.body.clone()).await.context("create")?;
        let started = self.docker.start_container(&name, None).await;
        let took = start.elapsed();
        let remove = RemoveContainerOptionsBuilder::new().force(true).build();
        self.docker.remove_container(&name, Some(remove)).await.context("remove")?;
        started.context("start")?;
        Ok(took)
    }
}

async fn by_mesos(framework: &mut Framework, image: &str, pair: usize) -> Result<Duration> {
    framework.until_room(1, PATIENCE).await?;
    let id = format!("docker-{pair}");
    let container = v1::ContainerInfo {
        r#type: v1::container_info::Type::Docker.into(),
        docker: Some(v1::container_info::DockerInfo { image: image.to_owned(), ..Default::default() }),
        ..Default::default()
    };
    framework.launch(&[(id.clone(), v1::TaskInfo { container: Some(container), ..command(LINE) })]);
    let deadline = Instant::now() + PATIENCE;
    let took = loop {
        match framework.next_within(deadline, "the task runs").await? {
            Happened::Running(_, took) => break took,
            Happened::Ended(..) => bail!("the task did not run: {:?}", framework.wrong()),
            Happened::Offers | Happened::Nothing => {}
        }
    };
    framework.kill(&id);
    while framework.in_flight() > 0 {
        framework.next_within(deadline, "the task is killed").await?;
    }
    Ok(took)
}

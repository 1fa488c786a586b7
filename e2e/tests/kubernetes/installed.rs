//! A release from its installation to its removal, while a task outside of Kubernetes runs on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::load::under_load;
use crate::release::{Release, VERSIONS};

/// From `helm install` to the end of the first task.
const FIRST_TASK: Duration = Duration::from_secs(60);
/// Until everything runs again after a pod was killed.
const HEALED: Duration = Duration::from_secs(120);

/// How often NATS and Redis are restarted server by server: more with `MESOS_ROLLINGS`.
fn rollings() -> Result<usize> {
    let text = std::env::var("MESOS_ROLLINGS").unwrap_or_else(|_| "1".to_owned());
    text.parse().with_context(|| format!("MESOS_ROLLINGS is no number: {text}"))
}

fn version(number: usize) -> String {
    format!("image.tag={}", VERSIONS[number])
}

#[tokio::test]
async fn a_release_is_installed_tested_hurt_upgraded_rolled_back_and_removed_while_a_task_runs_on() -> Result<()> {
    let mut release = Release::prepare("mesos-life", 30050).await?;

    // A half-failed installation, of an image that is not there, is in nobody's way.
    let failed = release.helm(&["install"], &["--set", "image.tag=absent", "--timeout=20s"]).await?;
    ensure!(failed.code != Some(0), "an image that is not there was installed: {failed:?}");

    let begun = Instant::now();
    release.helm(&["upgrade", "--install"], &["--set", &version(0)]).await?.expect(0)?;
    let installed = begun.elapsed();
    release.fetch_identity().await?;
    release.join().await?;
    let written = release.launch().await?;
    let launched = begun.elapsed();
    ensure!(written.contains("done"), "the task wrote {written:?}");
    println!("helm install --wait took {installed:.1?}, with an agent and a task {launched:.1?}");
    ensure!(launched < FIRST_TASK, "the first task was over after {launched:.1?}");

    release.plain("test", &[]).await?.expect(0)?;
    let witness = release.spawn_witness().await?;

    for component in ["gateway", "registry", "allocator", "nats", "redis"] {
        let begun = Instant::now();
        let pods = release.kube.pods(release.namespace, &format!("app.kubernetes.io/component={component}")).await?;
        ensure!(!pods.is_empty(), "there is no {component}");
        release.kube.kill(release.namespace, &pods).await?;
        release.launch_within(HEALED).await?;
        witness.still_runs(component)?;
        println!("all of {component} killed, a task launched after {:.1?}", begun.elapsed());
        release.kube.wait_until_ready(release.namespace, HEALED).await?;
    }
    release.knows(&witness).await?;

    let servers = "app.kubernetes.io/component in (nats,redis)";
    let before = release.kube.starts(release.namespace, servers).await?;
    under_load(&release, "an upgrade", async {
        let change = version(1);
        release.helm(&["upgrade"], &["--set", &change, "--set", "log.level=debug"]).await?.expect(0).map(drop)
    })
    .await?;
    witness.still_runs("an upgrade")?;
    under_load(&release, "a rollback", async { release.plain("rollback", &["--wait"]).await?.expect(0).map(drop) })
        .await?;
    witness.still_runs("a rollback")?;
    release.knows(&witness).await?;
    let after = release.kube.starts(release.namespace, servers).await?;
    ensure!(before == after, "NATS and Redis were restarted for nothing:\n{before}{after}");

    release.plain("uninstall", &["--wait"]).await?.expect(0)?;
    release.is_gone().await?;
    witness.still_runs("an uninstallation")?;

    // The state is on its volume and the task on its agent, so a new release of the name finds both.
    release.helm(&["install"], &["--set", &version(0)]).await?.expect(0)?;
    release.knows(&witness).await?;
    witness.still_runs("another installation")?;
    release.launch().await?;
    release.plain("uninstall", &["--wait"]).await?.expect(0).map(drop)
}

#[tokio::test]
async fn a_release_for_high_availability_goes_on_without_any_one_of_its_servers() -> Result<()> {
    let mut release = Release::prepare("mesos-ha", 30051).await?;
    let ha = format!("{}/values-ha.yaml", mesos_e2e::kube::chart());
    let mut args = vec!["-f", &ha];
    // All of it on the one node that there is.
    let spread = ["allocator", "registry", "nats", "redis"].map(|component| format!("{component}.spread=soft"));
    let tag = version(0);
    // Longer than this Kubernetes' DNS remembers a name (5 s).
    let restarts = "nats.minReadySeconds=6,redis.minReadySeconds=6".to_owned();
    for set in spread.iter().chain([&tag, &restarts]) {
        args.extend(["--set", set]);
    }
    release.helm(&["install"], &args).await?.expect(0)?;
    release.fetch_identity().await?;
    release.join().await?;
    release.launch().await?;
    let witness = release.spawn_witness().await?;
    for rolling in 0..rollings()? {
        for servers in ["statefulset/mesos-nats", "statefulset/mesos-redis"] {
            let begun = Instant::now();
            under_load(&release, &format!("a restart of {servers}"), release.roll(servers, HEALED)).await?;
            witness.still_runs(servers)?;
            println!("{servers} restarted in {:.1?} ({rolling})", begun.elapsed());
        }
    }
    let rolled_back =
        release.logged("app.kubernetes.io/component in (allocator,registry,gateway)", "rolled back").await?;
    ensure!(rolled_back.is_empty(), "commits were lost: {rolled_back:?}");
    // Each server once, the primary of Redis among them.
    for server in ["mesos-nats-0", "mesos-nats-1", "mesos-nats-2", "mesos-redis-0", "mesos-redis-1", "mesos-redis-2"] {
        let begun = Instant::now();
        release.kube.kill(release.namespace, &[server.to_owned()]).await?;
        release.launch_within(HEALED).await?;
        println!("{server} killed, a task launched after {:.1?}", begun.elapsed());
        release.kube.wait_until_ready(release.namespace, HEALED).await?;
        witness.still_runs(server)?;
    }
    release.knows(&witness).await?;
    release.plain("uninstall", &["--wait"]).await?.expect(0).map(drop)
}

//! What operators, dashboards and service discovery read: the operator API, the legacy documents, metrics.

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::recordio::Decoder;
use mesos_e2e::{Cluster, TaskSpec, eventually, http};
use serde_json::{Value, json};

use crate::support::{SOON, framework, get, local};

/// A call of the operator API that must be answered with its own type.
async fn operator(cluster: &Cluster, call: &str) -> Result<Value> {
    let answer = http()
        .post(format!("{}/api/v1", cluster.gateway(0)))
        .header("Content-Type", "application/json")
        .header("Accept", "application/json")
        .body(json!({"type": call}).to_string())
        .timeout(SOON)
        .send()
        .await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status == 200, "{call}: {status}: {text}");
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("{call}: {text}"))?;
    ensure!(answer["type"] == call, "{call}: {answer}");
    Ok(answer[call.to_lowercase()].clone())
}

fn find<'a>(list: &'a Value, field: &str, value: &str) -> Result<&'a Value> {
    list.as_array()
        .into_iter()
        .flatten()
        .find(|one| one[field] == value)
        .with_context(|| format!("nothing with {field}={value} in {list}"))
}

#[tokio::test]
async fn the_operator_api_tells_what_is_there() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "read").await?;
    framework.launch([TaskSpec::shell("runs", "exec sleep 1000"), TaskSpec::shell("fails", "exit 3")]);
    framework.wait_for_all(SOON, |id| if id == "runs" { "TASK_RUNNING" } else { "TASK_FAILED" }).await?;
    ensure!(operator(&cluster, "GET_HEALTH").await?["healthy"] == true);
    let version = operator(&cluster, "GET_VERSION").await?["version_info"]["version"].clone();
    ensure!(version.as_str().is_some_and(|version| !version.is_empty()), "{version}");
    let agents = operator(&cluster, "GET_AGENTS").await?;
    ensure!(agents["agents"].as_array().map(Vec::len) == Some(1) && agents["agents"][0]["active"] == true, "{agents}");
    let frameworks = operator(&cluster, "GET_FRAMEWORKS").await?;
    let ours = frameworks["frameworks"].as_array().into_iter().flatten();
    let ours: Vec<&Value> = ours.filter(|one| one["framework_info"]["name"] == "read").collect();
    ensure!(matches!(ours[..], [one] if one["active"] == true && one["connected"] == true), "{frameworks}");
    // The copy that a gateway answers from follows the change stream, some moments behind.
    eventually(SOON, "the ended task is among the completed ones", async || {
        let tasks = operator(&cluster, "GET_TASKS").await?;
        let running = find(&tasks["tasks"], "name", "runs")?;
        let failed = find(&tasks["completed_tasks"], "name", "fails")?;
        Ok(running["state"] == "TASK_RUNNING" && failed["state"] == "TASK_FAILED")
    })
    .await?;
    let master = operator(&cluster, "GET_MASTER").await?["master_info"].clone();
    let port: u16 = cluster.gateway_address(0).rsplit(':').next().context("no port")?.parse()?;
    ensure!(master["port"] == port && master["pid"] == format!("master@127.0.0.1:{port}"), "{master}");
    let state = operator(&cluster, "GET_STATE").await?;
    for part in ["get_tasks", "get_agents", "get_frameworks"] {
        ensure!(state[part].is_object(), "no {part}: {state}");
    }
    cluster.finish()
}

#[tokio::test]
async fn the_operators_stream_tells_what_changes() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "streamed").await?;
    let mut answer = http()
        .post(format!("{}/api/v1", cluster.gateway(0)))
        .header("Content-Type", "application/json")
        .header("Accept", "application/json")
        .body(r#"{"type":"SUBSCRIBE"}"#)
        .send()
        .await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    framework.launch([TaskSpec::shell("seen", "true")]);
    framework.wait_for("seen", "TASK_FINISHED", SOON).await?;
    let mut decoder = Decoder::default();
    let mut told: Vec<String> = Vec::new();
    let whole = async {
        loop {
            while let Some(record) = decoder.next_record()? {
                let event: Value = serde_json::from_slice(&record)?;
                let kind = event["type"].as_str().unwrap_or_default().to_owned();
                let state = event["task_updated"]["state"].as_str().unwrap_or_default();
                told.push(format!("{kind}{state}"));
                if state == "TASK_FINISHED" {
                    return Ok(());
                }
            }
            match answer.chunk().await? {
                Some(bytes) => decoder.push(&bytes),
                None => bail!("the stream ended"),
            }
        }
    };
    tokio::time::timeout(SOON, whole).await.with_context(|| "the end of the task was not told")??;
    ensure!(told.first().is_some_and(|first| first == "SUBSCRIBED"), "{told:?}");
    ensure!(told.iter().any(|one| one == "TASK_ADDED"), "{told:?}");
    cluster.finish()
}

#[tokio::test]
async fn the_legacy_documents_have_what_tools_read() -> Result<()> {
    let cluster = local().await?;
    let framework = framework(&cluster, "legacy").await?;
    framework.launch([TaskSpec::shell("runs", "exec sleep 1000")]);
    framework.wait_for("runs", "TASK_RUNNING", SOON).await?;
    for prefix in ["", "/master"] {
        let path = format!("{prefix}/state");
        eventually(SOON, &format!("{path} shows the task"), async || {
            let state = cluster.get(0, &path).await?;
            // What mesos-dns and Traefik follow from a task to its address.
            let ours = find(&state["frameworks"], "name", "legacy")?;
            let task = find(&ours["tasks"], "id", "runs")?;
            let agent = find(&state["slaves"], "id", task["slave_id"].as_str().unwrap_or_default())?;
            let address = &task["statuses"][0]["container_status"]["network_infos"][0]["ip_addresses"][0]["ip_address"];
            Ok(task["state"] == "TASK_RUNNING"
                && address == "127.0.0.1"
                && state["leader"].as_str().is_some_and(|leader| leader.starts_with("master@127.0.0.1:"))
                && agent["pid"].as_str().is_some_and(|pid| pid.starts_with("slave(1)@127.0.0.1:"))
                && agent["used_resources"]["cpus"] == 0.1)
        })
        .await?;
        let slaves = cluster.get(0, &format!("{prefix}/slaves")).await?;
        ensure!(slaves["slaves"][0]["active"] == true && slaves["recovered_slaves"].is_array(), "{slaves}");
        let frameworks = cluster.get(0, &format!("{prefix}/frameworks")).await?;
        find(&frameworks["frameworks"], "id", &framework.id())?;
        let tasks = cluster.get(0, &format!("{prefix}/tasks?order=asc&limit=-1")).await?;
        find(&tasks["tasks"], "id", "runs")?;
        let (status, text) = get(&cluster, &format!("{prefix}/health")).await?;
        ensure!(status == 200 && text.is_empty(), "{status}: {text}");
        let redirect = http().get(format!("{}{prefix}/redirect", cluster.gateway(0))).timeout(SOON).send().await?;
        ensure!(redirect.status() == 307 && redirect.headers().contains_key("location"), "{redirect:?}");
    }
    let (_, jsonp) = get(&cluster, "/slaves?jsonp=take").await?;
    ensure!(jsonp.starts_with("take(") && jsonp.trim_end().ends_with(");"), "{jsonp}");
    cluster.finish()
}

#[tokio::test]
async fn probes_and_metrics_are_there_for_prometheus() -> Result<()> {
    let cluster = local().await?;
    cluster.mesos(&["launch", "--command", "true"]).await?.expect(0)?;
    let (status, _) = get(&cluster, "/ready").await?;
    ensure!(status == 200, "{status}");
    let (status, text) = get(&cluster, "/metrics").await?;
    ensure!(status == 200, "{status}");
    for service in ["gateway", "allocator", "registry"] {
        ensure!(text.contains(&format!("\nmesos_{service}_")), "nothing of {service}: {text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        ensure!(name.starts_with("mesos_") && value.parse::<f64>().is_ok(), "{line}");
    }
    cluster.finish()
}

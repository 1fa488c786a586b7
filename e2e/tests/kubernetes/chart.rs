//! What `helm` makes of the chart: its own tests, and configs that the services take.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use mesos_e2e::{cli, kube};
use serde_json::Value;

async fn template(args: &[&str]) -> Result<String> {
    let chart = kube::chart();
    let words: Vec<&str> =
        ["template", "mesos", chart.as_str(), "--namespace=prod"].iter().chain(args).copied().collect();
    Ok(kube::run(&kube::program("helm")?, &words, &[]).await?.expect(0)?.stdout)
}

#[tokio::test]
async fn the_charts_own_tests_pass() -> Result<()> {
    let outcome = kube::run(&kube::program("helm-unittest")?, &["--strict", &kube::chart()], &[]).await?.expect(0)?;
    ensure!(outcome.stdout.contains("0 errored") || outcome.stdout.contains("passed"), "{}", outcome.stdout);
    Ok(())
}

#[tokio::test]
async fn helm_finds_nothing_wrong_with_the_chart_and_its_values() -> Result<()> {
    let (chart, ha) = (kube::chart(), format!("{}/values-ha.yaml", kube::chart()));
    for values in [&[][..], &["-f", &ha][..]] {
        let words: Vec<&str> = ["lint", "--strict", &chart].iter().chain(values).copied().collect();
        kube::run(&kube::program("helm")?, &words, &[]).await?.expect(0)?;
    }
    Ok(())
}

/// What checkov finds in the chart that is meant to be so, and why.
const MEANT: [(&str, &str); 6] = [
    ("CKV_K8S_43", "which digest a tag has is for who installs: image.tag takes NAME@sha256:… too"),
    ("CKV_K8S_15", "IfNotPresent is right for tags that never change; image.pullPolicy is there"),
    ("CKV_K8S_11", "a limit of CPU makes a scheduler slow while its host is idle; requests are set"),
    ("CKV_K8S_38", "of the Job that makes Secrets, which asks the API server"),
    ("CKV2_K8S_5", "the same Job: which Secrets are missing it finds out by reading them"),
    ("CKV2_K8S_6", "the same Job: where the API server is no policy can say"),
];

#[tokio::test]
async fn checkov_finds_nothing_that_is_not_meant() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let ha = format!("{}/values-ha.yaml", kube::chart());
    let rendered = template(&["-f", &ha, "--set", "serviceMonitor.enabled=true"]).await?;
    std::fs::write(directory.path().join("all.yaml"), rendered)?;
    let meant = MEANT.map(|(check, _)| check).join(",");
    // By its name: folders whose name begins with a dot are not looked into.
    let file = directory.path().join("all.yaml").display().to_string();
    let words =
        ["-f", &file, "--framework=kubernetes", "--compact", "--quiet", "--skip-download", "--skip-check", &meant];
    let outcome = kube::run(&kube::checkov()?, &words, &[]).await?.expect(0)?;
    // It is quiet where nothing is found.
    ensure!(!outcome.stdout.contains("Check: CKV"), "{}", outcome.stdout);
    // It does look: without the exceptions there is something to find.
    let strict = kube::run(&kube::checkov()?, &words[..words.len() - 2], &[]).await?;
    ensure!(strict.code == Some(1), "checkov found nothing at all: {}", strict.stdout);
    Ok(())
}

/// The files that the chart's ConfigMaps hold, by name. `kubectl` reads the YAML, without any server.
async fn configs(rendered: &str) -> Result<BTreeMap<String, String>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("all.yaml");
    std::fs::write(&file, rendered)?;
    let file = file.display().to_string();
    // To set a label asks no server; what comes out is one JSON document after the other.
    let words = ["label", "--local", "-f", &file, "-o", "json", "unused=unused"];
    let printed = kube::run(&kube::program("kubectl")?, &words, &[]).await?.expect(0)?.stdout;
    let mut found = BTreeMap::new();
    for document in serde_json::Deserializer::from_str(&printed).into_iter::<Value>() {
        let document = document?;
        for (name, text) in document["data"].as_object().into_iter().flatten() {
            found.insert(name.clone(), text.as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(found)
}

#[tokio::test]
async fn what_the_chart_writes_is_what_the_services_read() -> Result<()> {
    // One value of each kind for every option that the schema has, so that it has none that a service does not know.
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{}/values.schema.json", kube::chart()))?)?;
    let mut values = serde_json::json!({"agent": {"enabled": true}, "nats": {"replicas": 3}, "redis": {"replicas": 3}});
    let services = ["allocator", "registry", "gateway", "agent"];
    for service in services {
        let options = &schema["properties"][service]["properties"]["options"]["properties"];
        for (option, kind) in options.as_object().context("options in the schema")? {
            values[service]["options"][option] = example(option, kind)?;
        }
    }
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("values.json");
    std::fs::write(&file, values.to_string())?;
    let configs = configs(&template(&["-f", &file.display().to_string()]).await?).await?;
    for service in services {
        let name = format!("{service}.yaml");
        let path = directory.path().join(&name);
        std::fs::write(&path, configs.get(&name).with_context(|| format!("no {name}"))?)?;
        let config = format!("--config={}", path.display());
        let dump = cli::run(&[], &[service, &config, "--dump-config"]).await?.json()?;
        for (option, value) in values[service]["options"].as_object().into_iter().flatten() {
            let found = &dump["options"][option.replace('-', "_")];
            let from_file = found["from"].as_str().is_some_and(|from| from.contains(&name));
            ensure!(from_file, "{service}: {option} is {value} in the values, and {found} in force");
        }
    }
    Ok(())
}

/// A value that an option takes.
fn example(option: &str, kind: &Value) -> Result<Value> {
    let text = match option {
        "min-allocatable-resources" | "resources" => "cpus:1;mem:64",
        "weights" => "web=2",
        "policy" => "fifo",
        "domain" => "eu-west-1/a",
        "attributes" => "rack:a",
        "containerizers" => "mesos,docker",
        "resource-estimator" => "usage",
        "executor-reregistration-timeout" => "3s",
        _ => "",
    };
    if !text.is_empty() {
        return Ok(Value::from(text));
    }
    Ok(match (&kind["type"], &kind["enum"], kind["$ref"].as_str()) {
        (_, Value::Array(allowed), _) => allowed[allowed.len() - 1].clone(),
        (_, _, Some(kind)) if kind.ends_with("duration") => Value::from("7s"),
        (_, _, Some(kind)) if kind.ends_with("size") => Value::from("64MB"),
        (Value::String(kind), ..) if kind == "boolean" => Value::from(true),
        (Value::String(kind), ..) if kind == "integer" || kind == "number" => Value::from(7),
        (Value::String(kind), ..) if kind == "string" => Value::from("one"),
        other => bail!("{option}: {other:?}"),
    })
}

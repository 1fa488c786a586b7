//! The Terraform modules for AWS, on the real Terraform: its core is the real one, the providers are stand-ins
//! with the real providers' schemas (`terraform/standin`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use mesos_e2e::backends::{checkov, repository, shellcheck};
use mesos_e2e::cli::Outcome;
use mesos_e2e::kube;
use serde_json::Value;

/// More than this AWS does not take, before base64.
const USER_DATA_MAX: u64 = 16 * 1024;

/// A copy of `terraform/`, so that no test leaves anything in the repository.
struct Tree(tempfile::TempDir);

impl Tree {
    fn copy() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        copy(&repository().join("terraform"), &directory.path().join("terraform"))?;
        Ok(Self(directory))
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join("terraform").join(below)
    }

    /// The folders with configurations of ours for AWS: modules, then examples.
    fn configurations(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for group in ["modules", "examples"] {
            for entry in fs::read_dir(self.path(group))? {
                let path = entry?.path();
                // Those for hosts of any kind are applied to some, in a test of their own.
                if path.join("tests").is_dir() && path.join("versions.tf").is_file() {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if entry.file_name() != ".terraform" {
                copy(&entry.path(), &target)?;
            }
        } else if entry.path().extension() != Some(OsStr::new("tfstate")) {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Runs Terraform in a folder, whatever it answers.
fn terraform(directory: &Path, args: &[&str]) -> Result<Output> {
    Command::new(repository().join("scripts/terraform"))
        .args(args)
        .current_dir(directory)
        .env("TF_IN_AUTOMATION", "1")
        .env("CHECKPOINT_DISABLE", "1")
        .stdin(Stdio::null())
        .output()
        .context("scripts/terraform did not start")
}

pub(crate) fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("\n")
}

/// Runs Terraform in a folder; what it printed, or an error with that.
pub(crate) fn succeeds(directory: &Path, args: &[&str]) -> Result<String> {
    let output = terraform(directory, args)?;
    let text = text(&output);
    ensure!(output.status.success(), "terraform {} in {}: {text}", args.join(" "), directory.display());
    Ok(text)
}

/// What Terraform says when it refuses, on one line.
fn refused(directory: &Path, args: &[&str]) -> Result<String> {
    let output = terraform(directory, args)?;
    let text = text(&output);
    ensure!(!output.status.success(), "terraform {} was to be refused: {text}", args.join(" "));
    Ok(text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" "))
}

fn read_all(directory: &Path, extension: &str) -> Result<String> {
    let mut text = String::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths.iter().filter(|path| path.to_string_lossy().ends_with(extension)) {
        text.push_str(&fs::read_to_string(path)?);
    }
    Ok(text)
}

/// The blocks of a kind, by their label: `variable "name" { … }` as `terraform fmt` writes it.
fn blocks<'a>(text: &'a str, kind: &str) -> Vec<(&'a str, &'a str)> {
    let opening = format!("{kind} \"");
    let mut found = Vec::new();
    for (at, _) in text.match_indices(&opening) {
        if at > 0 && !text[..at].ends_with('\n') {
            continue;
        }
        let rest = &text[at + opening.len()..];
        if let (Some((label, _)), Some((body, _))) = (rest.split_once('"'), rest.split_once("\n}")) {
            found.push((label, body));
        }
    }
    found
}

#[test]
fn terraform_code_is_formatted() -> Result<()> {
    succeeds(&repository().join("terraform"), &["fmt", "-check", "-recursive", "-diff"]).map(drop)
}

#[test]
fn every_module_and_example_passes_its_own_tests() -> Result<()> {
    let tree = Tree::copy()?;
    let configurations = tree.configurations()?;
    ensure!(configurations.len() >= 14, "only {} configurations were found", configurations.len());
    for directory in configurations {
        succeeds(&directory, &["init", "-input=false", "-no-color"])?;
        let said = succeeds(&directory, &["test", "-no-color"])?;
        let passed = said
            .split_once("Success! ")
            .and_then(|(_, rest)| rest.split_once(" passed, 0 failed"))
            .and_then(|(count, _)| count.parse::<u32>().ok());
        ensure!(passed.is_some_and(|count| count > 0), "no test ran in {}: {said}", directory.display());
        println!("{}: {} runs", directory.display(), passed.unwrap_or(0));
    }
    Ok(())
}

#[test]
fn every_check_of_a_variable_and_every_output_has_a_test() -> Result<()> {
    let tree = Tree::copy()?;
    let mut missing = Vec::new();
    let mut checked = 0;
    for directory in tree.configurations()? {
        let (code, tests) = (read_all(&directory, ".tf")?, read_all(&directory.join("tests"), ".tftest.hcl")?);
        for (name, body) in blocks(&code, "variable") {
            ensure!(body.contains("description = "), "{}: {name} has no description", directory.display());
            ensure!(body.contains("type "), "{}: {name} has no type", directory.display());
            // Each check is made to fail once.
            let (checks, failures) =
                (body.matches("validation {").count(), tests.matches(&format!("[var.{name}]")).count());
            checked += checks;
            if failures < checks {
                missing.push(format!("{}: var.{name} has {checks} checks, {failures} tests", directory.display()));
            }
        }
        for (name, body) in blocks(&code, "output") {
            ensure!(body.contains("description = "), "{}: {name} has no description", directory.display());
            if !tests.contains(&format!("output.{name}")) {
                missing.push(format!("{}: output.{name}", directory.display()));
            }
        }
    }
    ensure!(checked > 100, "only {checked} checks were found");
    ensure!(missing.is_empty(), "not tested:\n{}", missing.join("\n"));
    Ok(())
}

#[test]
fn an_argument_that_the_provider_does_not_have_or_that_is_missing_or_of_another_type_is_refused() -> Result<()> {
    let cases = [
        (
            "network",
            "main.tf",
            "map_public_ip_on_launch = false",
            "map_public_ip_on_lunch = false",
            "map_public_ip_on_lunch",
        ),
        (
            "network",
            "main.tf",
            "vpc_id = aws_vpc.this.id\n\n  tags = merge(var.tags, { Name = \"${var.name}-public\"",
            "tags = merge(var.tags, { Name = \"${var.name}-public\"",
            "vpc_id",
        ),
        ("agents", "main.tf", "max_size                  = var.size.max", "max_size = [var.size.max]", "max_size"),
        ("agents", "main.tf", "initial_lifecycle_hook {", "initial_lifecycle_hooks {", "initial_lifecycle_hooks"),
        (
            "agents",
            "main.tf",
            "lifecycle_transition = \"autoscaling:EC2_INSTANCE_LAUNCHING\"",
            "",
            "lifecycle_transition",
        ),
        ("gateway-lb", "main.tf", "resource \"aws_lb_listener\"", "resource \"aws_lb_listner\"", "aws_lb_listner"),
        ("dns", "outputs.tf", "aws_route53_zone.private.zone_id", "aws_route53_zone.private.zone_idd", "zone_idd"),
        ("security", "kms.tf", "data.aws_region.current.region", "data.aws_region.current.regin", "regin"),
    ];
    let tree = Tree::copy()?;
    for (module, file, right, wrong, named) in cases {
        let directory = tree.path("modules").join(module);
        let path = directory.join(file);
        let code = fs::read_to_string(&path)?;
        ensure!(code.contains(right), "{module}/{file} has no {right:?} any more");
        fs::write(&path, code.replacen(right, wrong, 1))?;
        succeeds(&directory, &["init", "-input=false", "-no-color"])?;
        let said = refused(&directory, &["validate", "-no-color"])?;
        ensure!(said.contains(named), "{module}: {named} is not named: {said}");
        fs::write(&path, code)?;
        succeeds(&directory, &["validate", "-no-color"])?;
    }
    Ok(())
}

#[test]
fn nothing_that_checkov_finds_is_left_unexplained() -> Result<()> {
    let tree = Tree::copy()?;
    let output = Command::new(checkov()?)
        .args(["--framework", "terraform", "--skip-download", "--output", "json", "--directory"])
        .arg(tree.path(""))
        .env("LOG_LEVEL", "ERROR")
        .stdin(Stdio::null())
        .output()
        .context("checkov did not start")?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| text(&output))?;
    let list = |name: &str| report["results"][name].as_array().cloned().unwrap_or_default();
    let lines = |found: &[Value]| -> Vec<String> {
        found
            .iter()
            .map(|one| format!("{} {} {} {}", one["check_id"], one["file_path"], one["resource"], one["check_name"]))
            .collect()
    };
    let failed = lines(&list("failed_checks"));
    ensure!(failed.is_empty(), "checkov:\n{}", failed.join("\n"));
    // What it cannot read it does not check.
    ensure!(report["summary"]["parsing_errors"] == 0, "checkov cannot read {:?}", list("parsing_errors"));
    ensure!(
        report["summary"]["passed"].as_u64().is_some_and(|count| count > 250),
        "checkov checked nothing: {}",
        report["summary"]
    );
    for skipped in list("skipped_checks") {
        let reason = skipped["check_result"]["suppress_comment"].as_str().unwrap_or_default();
        ensure!(reason.len() > 20, "{} of {} is skipped without a reason", skipped["check_id"], skipped["resource"]);
    }
    Ok(())
}

/// The example, with files for a cluster that are told apart in whatever Terraform writes.
pub(crate) struct Example {
    tree: Tree,
    secrets: Vec<String>,
}

impl Example {
    pub(crate) fn new(name: &str, more: &Value) -> Result<Self> {
        let tree = Tree::copy()?;
        let secrets: Vec<String> = fs::read_dir(tree.path("modules/secrets/tests/pki"))?
            .map(|entry| Ok(fs::read_to_string(entry?.path())?.trim().to_owned()))
            .filter(|text: &Result<String>| !text.as_ref().is_ok_and(|text| text.contains("CERTIFICATE")))
            .collect::<Result<_>>()?;
        ensure!(secrets.len() >= 14, "only {} secrets", secrets.len());
        let sum = "0123456789abcdef".repeat(4);
        let mut variables = serde_json::json!({
            "name": "mesos-prod",
            "region": "eu-central-1",
            "pki_dir": tree.path("modules/secrets/tests/pki"),
            "mesos_package": {"url": "s3://my-packages/mesos_0.1.0_amd64.deb", "sha256": sum},
            "jaeger_binary": {"url": "s3://my-packages/jaeger-all-in-one", "sha256": sum},
            "client_cidrs": ["10.0.0.0/8"],
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            variables[name] = value.clone();
        }
        let directory = tree.path("examples").join(name);
        fs::write(directory.join("terraform.tfvars.json"), variables.to_string())?;
        succeeds(&directory, &["init", "-input=false", "-no-color"])?;
        Ok(Self { tree, secrets })
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.tree.path("examples").join(name)
    }
}

/// Everything in a state, modules and all.
pub(crate) fn resources(module: &Value) -> Vec<Value> {
    let mut found = module["resources"].as_array().cloned().unwrap_or_default();
    for child in module["child_modules"].as_array().into_iter().flatten() {
        found.extend(resources(child));
    }
    found
}

#[test]
fn one_apply_makes_the_whole_cluster_a_second_one_changes_nothing_and_no_secret_is_kept() -> Result<()> {
    let example = Example::new("aws-complete", &Value::Null)?;
    let directory = example.directory("aws-complete");
    succeeds(&directory, &["plan", "-input=false", "-no-color", "-out=plan"])?;
    succeeds(&directory, &["apply", "-input=false", "-no-color", "plan"])?;
    let state: Value = serde_json::from_str(&succeeds(&directory, &["show", "-json"])?)?;
    let all = resources(&state["values"]["root_module"]);
    let kinds: BTreeSet<&str> = all.iter().filter_map(|one| one["type"].as_str()).collect();
    for kind in [
        "aws_vpc",
        "aws_security_group",
        "aws_iam_role_policy",
        "aws_instance",
        "aws_ebs_volume",
        "aws_autoscaling_group",
        "aws_launch_template",
        "aws_lb",
        "aws_s3_bucket",
        "aws_route53_zone",
        "aws_secretsmanager_secret_version",
        "aws_kms_key",
    ] {
        ensure!(kinds.contains(kind), "the cluster has no {kind}: {kinds:?}");
    }
    let output = terraform(&directory, &["plan", "-input=false", "-no-color", "-detailed-exitcode"])?;
    ensure!(output.status.code() == Some(0), "a second apply would change something: {}", text(&output));

    let mut written = fs::read_to_string(directory.join("terraform.tfstate"))?;
    written.push_str(&succeeds(&directory, &["show", "-json", "plan"])?);
    for secret in &example.secrets {
        ensure!(!written.contains(secret.as_str()), "{secret} is in the state or the plan");
    }
    user_data_is_sound(&all)?;
    succeeds(&directory, &["destroy", "-auto-approve", "-input=false", "-no-color"])?;
    ensure!(succeeds(&directory, &["state", "list"])?.trim().is_empty(), "destroy left something behind");
    Ok(())
}

/// Feeds the values of the example's Helm release to the chart, as Helm does; what it renders, or what it says.
async fn release(more: &Value, change: impl Fn(String) -> String) -> Result<Outcome> {
    let mut variables = serde_json::json!({"image": {"repository": "registry.example.com/mesos", "tag": "0.1.0"}});
    for (name, value) in more.as_object().into_iter().flatten() {
        variables[name] = value.clone();
    }
    let example = Example::new("aws-eks", &variables)?;
    let directory = example.directory("aws-eks");
    succeeds(&directory, &["apply", "-auto-approve", "-input=false", "-no-color"])?;
    let state: Value = serde_json::from_str(&succeeds(&directory, &["show", "-json"])?)?;
    let all = resources(&state["values"]["root_module"]);
    let release = all.iter().find(|one| one["type"] == "helm_release").context("there is no release")?;
    let mut words = vec!["template".to_owned(), "mesos".to_owned(), kube::chart(), "--namespace=mesos".to_owned()];
    for (at, values) in release["values"]["values"].as_array().into_iter().flatten().enumerate() {
        let file = directory.join(format!("values-{at}.yaml"));
        fs::write(&file, change(values.as_str().context("values are text")?.to_owned()))?;
        words.push(format!("--values={}", file.display()));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    kube::run(&kube::program("helm")?, &words, &[]).await
}

#[tokio::test]
async fn the_chart_takes_the_values_of_the_release_on_eks_and_refuses_others_by_name() -> Result<()> {
    let rendered =
        release(&serde_json::json!({"values": ["registry: {replicas: 3}"]}), |text| text).await?.expect(0)?;
    for wanted in
        ["registry.example.com/mesos:0.1.0", "tls://nats-0.mesos-prod.internal:4222", "gateway.mesos-prod.internal"]
    {
        ensure!(rendered.stdout.contains(wanted), "the chart's objects have no {wanted}: {}", rendered.stdout);
    }
    // A key of the module's that the chart does not have, and one of the user's.
    let misspelt = release(&Value::Null, |text| text.replace("\"secretPrefix\"", "\"secretPrefiks\"")).await?;
    ensure!(misspelt.code == Some(1) && misspelt.stderr.contains("secretPrefiks"), "{}", misspelt.stderr);
    let misspelt = release(&serde_json::json!({"values": ["registry: {replica: 3}"]}), |text| text).await?;
    ensure!(misspelt.code == Some(1) && misspelt.stderr.contains("replica"), "{}", misspelt.stderr);
    Ok(())
}

/// The scripts of all hosts in clear, by the address of the resource. Each is small enough for AWS.
pub(crate) fn user_data(all: &[Value]) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for one in all {
        let (values, address) = (&one["values"], one["address"].as_str().context("a resource has no address")?);
        let Some(encoded) = values["user_data_base64"].as_str().or_else(|| values["user_data"].as_str()) else {
            continue;
        };
        let directory = tempfile::tempdir()?;
        fs::write(directory.path().join("base64"), encoded)?;
        let run = Command::new("sh")
            .args(["-c", "base64 -d base64 >packed && gzip -dc packed >script"])
            .current_dir(directory.path())
            .output()?;
        ensure!(run.status.success(), "{address}: {}", text(&run));
        let size = fs::metadata(directory.path().join("packed"))?.len();
        ensure!(size <= USER_DATA_MAX, "{address}: {size} bytes are too many for AWS");
        found.insert(address.to_owned(), fs::read_to_string(directory.path().join("script"))?);
    }
    Ok(found)
}

/// Every host's script warns of nothing.
fn user_data_is_sound(all: &[Value]) -> Result<()> {
    let mut roles = BTreeSet::new();
    let directory = tempfile::tempdir()?;
    for (address, script) in user_data(all)? {
        let path = directory.path().join("script");
        fs::write(&path, &script)?;
        let checked = Command::new(shellcheck()?).args(["--shell=bash", "--severity=style"]).arg(&path).output()?;
        ensure!(checked.status.success(), "{address}: {}", text(&checked));
        let role = script
            .lines()
            .nth(1)
            .and_then(|line| line.split(": ").nth(1))
            .context("the script does not say its role")?;
        roles.insert(role.split('.').next().unwrap_or(role).to_owned());
    }
    let wanted: BTreeSet<String> = ["agent", "control", "jaeger", "keeper", "nats", "redis"].map(str::to_owned).into();
    ensure!(roles == wanted, "scripts of {roles:?}, expected those of {wanted:?}");
    Ok(())
}

#[test]
fn the_scripts_that_hosts_get_warn_of_nothing() -> Result<()> {
    let mut scripts = vec![repository().join("scripts/terraform")];
    for module in fs::read_dir(repository().join("terraform/modules"))? {
        let Ok(templates) = fs::read_dir(module?.path().join("templates")) else { continue };
        for entry in templates {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("sh")) {
                scripts.push(path);
            }
        }
    }
    ensure!(scripts.len() >= 3, "only {scripts:?}");
    let checked = Command::new(shellcheck()?).args(["--shell=bash", "--severity=style"]).args(&scripts).output()?;
    ensure!(checked.status.success(), "{}", text(&checked));
    Ok(())
}

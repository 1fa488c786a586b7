//! The bill of materials of the shipped binary, in CycloneDX's JSON: which packages of others are in it, in which
//! version, under which licence, and with which checksum.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The platform that is shipped; packages for others are not in the binary.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Writes the bill of materials to a file.
pub(crate) fn write(root: &Path, to: &Path) -> Result<bool> {
    let metadata = metadata(root)?;
    let lock = read(&root.join("Cargo.lock"))?;
    let page: Value = serde_json::from_str(&read(&root.join("web/package-lock.json"))?)?;
    let bill = bill(&metadata, &checksums(&lock), &page)?;
    let text = serde_json::to_string_pretty(&bill)? + "\n";
    fs::write(to, text).with_context(|| format!("{} cannot be written", to.display()))?;
    Ok(true)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} is not readable", path.display()))
}

fn metadata(root: &Path) -> Result<Value> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM])
        .current_dir(root)
        .output()
        .context("cargo metadata did not start")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")
}

/// SHA-256 sums by name and version. Cargo.lock is written by cargo alone, one key a line.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
                .map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(sum)) = (value("name"), value("version"), value("checksum")) {
            found.insert((name, version), sum);
        }
    }
    found
}

/// The document for the binary `mesos`, made of cargo's metadata, the sums, and the lock file of the operator's page.
fn bill(metadata: &Value, sums: &BTreeMap<(String, String), String>, page: &Value) -> Result<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().filter_map(|one| Some((one["id"].as_str()?.to_owned(), one))).collect();
    let nodes: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?.to_owned(), linked(node))))
        .collect();
    let (binary, product) = packages
        .iter()
        .find(|(_, one)| one["name"] == "mesos" && one["source"].is_null())
        .context("there is no package mesos in the workspace")?;
    let mut reached = BTreeSet::new();
    let mut open = vec![binary.clone()];
    while let Some(id) = open.pop() {
        if reached.insert(id.clone()) {
            open.extend(nodes.get(&id).into_iter().flatten().cloned());
        }
    }
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for id in &reached {
        let package = packages.get(id).with_context(|| format!("cargo metadata does not describe {id}"))?;
        let below: Vec<String> =
            nodes.get(id).into_iter().flatten().filter_map(|id| packages.get(id)).map(crate_url).collect();
        dependencies.push(json!({"ref": crate_url(package), "dependsOn": below}));
        if id != binary {
            components.push(of_crate(package, sums));
        }
    }
    components.extend(page["packages"].as_object().into_iter().flatten().filter_map(|(path, one)| of_page(path, one)));
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": crate_url(product),
                "name": "mesos",
                "version": product["version"],
                "purl": crate_url(product),
                "licenses": [{"expression": product["license"]}],
            },
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// The packages whose code is linked into what depends on them: not those that only build or test it.
fn linked(node: &Value) -> Vec<String> {
    let is_linked = |dependency: &&Value| {
        dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let dependencies = node["deps"].as_array().map(Vec::as_slice).unwrap_or_default();
    dependencies.iter().filter(is_linked).filter_map(|one| one["pkg"].as_str().map(str::to_owned)).collect()
}

fn crate_url(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn of_crate(package: &Value, sums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let mut component = json!({
        "type": "library",
        "bom-ref": crate_url(package),
        "name": package["name"],
        "version": package["version"],
        "purl": crate_url(package),
    });
    if let Some(licence) = package["license"].as_str() {
        // "MIT/Apache-2.0" is the old way to write OR.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    if let Some(sum) = sums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    component
}

/// A package that the operator's page is made of; `None` for one that only builds or tests it.
fn of_page(path: &str, package: &Value) -> Option<Value> {
    let name = path.rsplit_once("node_modules/")?.1;
    if package["dev"] == true || package["devOptional"] == true {
        return None;
    }
    let version = package["version"].as_str()?;
    let url = format!("pkg:npm/{}@{version}", name.replace('@', "%40"));
    let mut component = json!({"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url});
    if let Some(licence) = package["license"].as_str() {
        component["licenses"] = json!([{"expression": licence}]);
    }
    Some(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Value {
        let metadata = json!({
            "packages": [
                {"id": "m", "name": "mesos", "version": "1.0.0", "license": "Apache-2.0", "source": null},
                {"id": "a", "name": "a", "version": "0.1.0", "license": "MIT/Apache-2.0", "source": "registry"},
                {"id": "b", "name": "b", "version": "0.2.0", "license": "MIT", "source": "registry"},
                {"id": "t", "name": "t", "version": "0.3.0", "license": "MIT", "source": "registry"},
            ],
            "resolve": {"nodes": [
                {"id": "m", "deps": [
                    {"pkg": "a", "dep_kinds": [{"kind": "build"}, {"kind": null}]},
                    {"pkg": "t", "dep_kinds": [{"kind": "dev"}]},
                ]},
                {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}]},
                {"id": "b", "deps": []},
                {"id": "t", "deps": []},
            ]},
        });
        let lock = "version = 4\n\n[[package]]\nname = \"b\"\nversion = \"0.2.0\"\nchecksum = \"00ff\"\n";
        let page = json!({"packages": {
            "": {"name": "web", "version": "0.0.0"},
            "node_modules/@x/shown": {"version": "1.2.3", "license": "MIT"},
            "node_modules/builder": {"version": "1.0.0", "dev": true},
        }});
        bill(&metadata, &checksums(lock), &page).unwrap()
    }

    #[test]
    fn what_is_linked_in_is_listed_and_what_only_builds_or_tests_is_not() {
        let bill = example();
        let names: Vec<&str> =
            bill["components"].as_array().unwrap().iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(names, ["a", "b", "@x/shown"]);
        assert_eq!(bill["dependencies"][1], json!({"ref": "pkg:cargo/b@0.2.0", "dependsOn": []}));
    }

    #[test]
    fn a_component_has_its_licence_sum_and_url() {
        let bill = example();
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bill["components"][1]["hashes"][0], json!({"alg": "SHA-256", "content": "00ff"}));
        assert_eq!(bill["components"][2]["purl"], "pkg:npm/%40x/shown@1.2.3");
    }
}

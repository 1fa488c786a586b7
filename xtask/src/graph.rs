//! The dependency graph, as `cargo metadata` tells it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// All packages that a build of the workspace can use, on any platform.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// By package id.
    pub(crate) packages: BTreeMap<String, Package>,
}

/// One package.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The SPDX expression, if the package states one.
    pub(crate) licence: Option<String>,
    /// Only of the workspace's members.
    pub(crate) member: Option<Member>,
    /// Resolved dependencies.
    pub(crate) edges: Vec<Edge>,
}

/// What only the workspace's own packages have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    /// Directory, relative to the workspace's root.
    pub(crate) directory: PathBuf,
    /// The text of its Cargo.toml.
    pub(crate) manifest: String,
}

impl Member {
    /// The path of the Cargo.toml, relative to the workspace's root.
    pub(crate) fn manifest_path(&self) -> PathBuf {
        self.directory.join("Cargo.toml")
    }

    /// The line on which the Cargo.toml names a dependency; 1 where it does not.
    pub(crate) fn line_of(&self, dependency: &str) -> usize {
        let names_it = |line: &str| {
            line.trim_start().strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        };
        self.manifest.lines().position(names_it).map_or(1, |at| at + 1)
    }
}

/// One dependency of a package.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// The id of the package depended on.
    pub(crate) to: String,
    /// False when it is only a dev-dependency.
    pub(crate) shipped: bool,
}

impl Graph {
    /// Asks cargo; fails when the lock file is out of date, since checks write nothing.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(program)
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(root)
            .output()
            .context("cargo metadata did not start")?;
        if !output.status.success() {
            bail!(
                "cargo metadata failed (is Cargo.lock up to date? `cargo update --workspace` makes it so): {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
        Self::parse(&metadata, &|path| {
            fs::read_to_string(path).with_context(|| format!("{} is not readable", path.display()))
        })
    }

    /// Reads cargo's answer; `read` gives the text of a manifest.
    pub(crate) fn parse(metadata: &Value, read: &dyn Fn(&Path) -> Result<String>) -> Result<Self> {
        let root = PathBuf::from(text(metadata, "workspace_root")?);
        let members: BTreeSet<&str> = list(metadata, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        let mut packages = BTreeMap::new();
        for package in list(metadata, "packages")? {
            let id = text(package, "id")?;
            let member = if members.contains(id) {
                let manifest_path = Path::new(text(package, "manifest_path")?);
                let directory = manifest_path.parent().unwrap_or(Path::new(""));
                Some(Member {
                    directory: directory.strip_prefix(&root).unwrap_or(directory).to_path_buf(),
                    manifest: read(manifest_path)?,
                })
            } else {
                None
            };
            packages.insert(
                id.to_owned(),
                Package {
                    name: text(package, "name")?.to_owned(),
                    version: text(package, "version")?.to_owned(),
                    licence: package["license"].as_str().map(str::to_owned),
                    member,
                    edges: Vec::new(),
                },
            );
        }
        for node in list(&metadata["resolve"], "nodes")? {
            let edges = list(node, "deps")?.iter().map(edge).collect::<Result<_>>()?;
            if let Some(package) = packages.get_mut(text(node, "id")?) {
                package.edges = edges;
            }
        }
        Ok(Self { packages })
    }

    /// The workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &Package, &Member)> {
        self.packages
            .iter()
            .filter_map(|(id, package)| package.member.as_ref().map(|member| (id.as_str(), package, member)))
    }

    /// The direct dependencies of a package, each with whether it is shipped.
    pub(crate) fn direct<'a>(&'a self, package: &'a Package) -> impl Iterator<Item = (&'a Package, bool)> {
        package.edges.iter().filter_map(|edge| self.packages.get(&edge.to).map(|to| (to, edge.shipped)))
    }

    /// Every package that ships with `id` (dev-dependencies do not), with the names on one shortest
    /// way to it, `id`'s own name first.
    pub(crate) fn shipped_with(&self, id: &str) -> BTreeMap<String, Vec<String>> {
        let mut found = BTreeMap::new();
        let mut queue = VecDeque::from([(id.to_owned(), Vec::new())]);
        while let Some((id, mut way)) = queue.pop_front() {
            let Some(package) = self.packages.get(&id) else {
                continue;
            };
            if found.contains_key(&id) {
                continue;
            }
            way.push(package.name.clone());
            found.insert(id, way.clone());
            for edge in package.edges.iter().filter(|edge| edge.shipped) {
                queue.push_back((edge.to.clone(), way.clone()));
            }
        }
        found
    }
}

fn edge(dependency: &Value) -> Result<Edge> {
    let kinds = list(dependency, "dep_kinds")?;
    Ok(Edge {
        to: text(dependency, "pkg")?.to_owned(),
        // A normal dependency has kind null.
        shipped: kinds.iter().any(|kind| kind["kind"].as_str() != Some("dev")),
    })
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("cargo metadata has no text at {key}"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("cargo metadata has no list at {key}"))
}

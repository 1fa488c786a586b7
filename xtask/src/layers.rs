//! Edges between crates point down only, and adapters keep their libraries to themselves.
//!
//! `ARCHITECTURE.md` has the picture; the tables here are what holds it.

use std::path::Path;

use crate::finding::Finding;
use crate::graph::{Graph, Member, Package};

/// Crates under `crates/` and at the root, by layer. `services/*` and `frameworks/*` are layer 3 by
/// their place.
const LAYERS: [(u8, &[&str]); 4] = [
    (0, &["mesos-model"]),
    (1, &["mesos-engine", "mesos-core", "mesos-proto", "mesos-ports"]),
    (
        2,
        &[
            "mesos-bus",
            "mesos-store",
            "mesos-container",
            "mesos-runtime",
            "mesos-identity",
            "mesos-policy-wasm",
            "mesos-sdk",
        ],
    ),
    (4, &["mesos", "mesos-sim", "mesos-bench", "mesos-e2e", "xtask"]),
];

/// The one edge inside a layer: the machines drive the engine, which knows nothing of them.
const INNER: (&str, &str) = ("mesos-core", "mesos-engine");

/// The top layer may see everything, itself too.
const TOP: u8 = 4;
const SERVICES: u8 = 3;

/// Libraries that only some of our crates may name, and why.
const EXCLUSIVE: [(&str, &[&str], &str); 4] = [
    ("async-nats", &["mesos-bus"], "use the Bus port of mesos-ports"),
    ("redis", &["mesos-store"], "use the Store port of mesos-ports"),
    ("redb", &["mesos-store"], "use the Store port of mesos-ports"),
    ("bollard", &["mesos-container", "mesos-e2e", "mesos-bench"], "use the Containerizer port of mesos-ports"),
];

/// Crates in whose tree no IO, no async runtime and no wire may appear.
const PURE: [&str; 3] = ["mesos-model", "mesos-engine", "mesos-core"];
const IMPURE: [&str; 8] = ["tokio", "tonic", "prost", "hyper", "reqwest", "mio", "async-std", "socket2"];

/// Crates that may not be in any tree: there is one TLS provider (ring), and nothing links OpenSSL.
const BANNED: [&str; 4] = ["openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"];

/// Checks the whole graph.
pub(crate) fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, package, member) in graph.members() {
        edges_point_down(graph, package, member, &mut findings);
        some_see_less(graph, package, member, &mut findings);
        adapters_are_exclusive(graph, package, member, &mut findings);
        pure_crates_stay_pure(graph, id, package, member, &mut findings);
    }
    nothing_banned(graph, &mut findings);
    findings
}

/// The layer of a member; `None` when the tables do not know it.
fn layer(name: &str, directory: &Path) -> Option<u8> {
    if directory.starts_with("services") || directory.starts_with("frameworks") {
        return Some(SERVICES);
    }
    LAYERS.iter().find(|(_, names)| names.contains(&name)).map(|(layer, _)| *layer)
}

fn edges_point_down(graph: &Graph, package: &Package, member: &Member, findings: &mut Vec<Finding>) {
    let Some(from) = layer(&package.name, &member.directory) else {
        findings.push(Finding::new(
            member.manifest_path(),
            1,
            format!("the layer of {} is unknown", package.name),
            "add it to LAYERS in xtask/src/layers.rs and to ARCHITECTURE.md",
        ));
        return;
    };
    for (to, _) in graph.direct(package) {
        let Some(target) = &to.member else { continue };
        // An unknown target has a finding of its own.
        let Some(down) = layer(&to.name, &target.directory) else {
            continue;
        };
        if down < from || from == TOP || (package.name.as_str(), to.name.as_str()) == INNER {
            continue;
        }
        let advice = if from == SERVICES && down == SERVICES {
            "services meet only over the bus or the contract: send a message, or move what both need down"
        } else {
            "move what is needed to a lower layer, or turn the dependency round with a port"
        };
        findings.push(Finding::new(
            member.manifest_path(),
            member.line_of(&to.name),
            format!("{} (layer {from}) depends on {} (layer {down}), which is not below it", package.name, to.name),
            advice,
        ));
    }
}

/// Two rules that are narrower than the layers: the SDK is the contract and nothing else, and of the
/// adapters' layer only the runtime, which drives the machines, knows the core.
fn some_see_less(graph: &Graph, package: &Package, member: &Member, findings: &mut Vec<Finding>) {
    for (to, _) in graph.direct(package).filter(|(to, _)| to.member.is_some()) {
        let sdk_sees_more = package.name == "mesos-sdk" && to.name != "mesos-proto";
        let adapter_sees_core = to.name == "mesos-core"
            && layer(&package.name, &member.directory) == Some(2)
            && package.name != "mesos-runtime";
        let advice = if sdk_sees_more {
            "frameworks are built on the SDK alone: it needs only mesos-proto"
        } else if adapter_sees_core {
            "adapters know ports and model; only mesos-runtime drives the machines"
        } else {
            continue;
        };
        findings.push(Finding::new(
            member.manifest_path(),
            member.line_of(&to.name),
            format!("{} depends on {}", package.name, to.name),
            advice,
        ));
    }
}

fn adapters_are_exclusive(graph: &Graph, package: &Package, member: &Member, findings: &mut Vec<Finding>) {
    for (to, _) in graph.direct(package) {
        let Some((library, owners, advice)) = EXCLUSIVE.iter().find(|(library, ..)| *library == to.name) else {
            continue;
        };
        if !owners.contains(&package.name.as_str()) {
            findings.push(Finding::new(
                member.manifest_path(),
                member.line_of(library),
                format!("{} depends on {library}, which belongs to {}", package.name, owners.join(" and ")),
                *advice,
            ));
        }
    }
}

fn pure_crates_stay_pure(graph: &Graph, id: &str, package: &Package, member: &Member, findings: &mut Vec<Finding>) {
    if !PURE.contains(&package.name.as_str()) {
        return;
    }
    for way in graph.shipped_with(id).values() {
        let Some(last) = way.last().filter(|last| IMPURE.contains(&last.as_str())) else {
            continue;
        };
        findings.push(Finding::new(
            member.manifest_path(),
            way.get(1).map_or(1, |first| member.line_of(first)),
            format!("{last} is in the tree of {} ({})", package.name, way.join(" → ")),
            "machines and model do no IO: drop the dependency or its feature, or do this work in the shell",
        ));
    }
}

fn nothing_banned(graph: &Graph, findings: &mut Vec<Finding>) {
    for (id, _, member) in graph.members() {
        for way in graph.shipped_with(id).values() {
            let Some(last) = way.last().filter(|last| BANNED.contains(&last.as_str())) else {
                continue;
            };
            // Only where it enters: a member further up would repeat the same finding.
            let enters_here = way.get(1).is_none_or(|first| !graph.members().any(|(_, other, _)| other.name == *first));
            if enters_here {
                findings.push(Finding::new(
                    member.manifest_path(),
                    way.get(1).map_or(1, |first| member.line_of(first)),
                    format!("{last} is banned and comes in by {}", way.join(" → ")),
                    "choose features without it; ring is the only TLS provider here",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;

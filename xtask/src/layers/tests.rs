use serde_json::{Value, json};

use super::check;
use crate::graph::Graph;

/// A workspace of members `(name, directory, dependencies)`; other names are libraries from outside.
/// A dependency that starts with `dev:` is a dev-dependency.
fn graph(members: &[(&str, &str, &[&str])], outside: &[(&str, &[&str])]) -> Graph {
    let mut packages = Vec::new();
    let mut nodes = Vec::new();
    let mut add = |name: &str, directory: &str, dependencies: &[&str]| {
        packages.push(json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT",
            "manifest_path": format!("/repo/{directory}/Cargo.toml")}));
        let deps: Vec<Value> = dependencies
            .iter()
            .map(|dependency| match dependency.strip_prefix("dev:") {
                Some(name) => json!({"pkg": name, "dep_kinds": [{"kind": "dev"}]}),
                None => json!({"pkg": dependency, "dep_kinds": [{"kind": null}]}),
            })
            .collect();
        nodes.push(json!({"id": name, "deps": deps}));
    };
    for (name, directory, dependencies) in members {
        add(name, directory, dependencies);
    }
    for (name, dependencies) in outside {
        add(name, "../outside", dependencies);
    }
    let metadata = json!({
        "workspace_root": "/repo",
        "workspace_members": members.iter().map(|(name, ..)| name).collect::<Vec<_>>(),
        "packages": packages,
        "resolve": {"nodes": nodes},
    });
    Graph::parse(&metadata, &|_| {
        Ok("[dependencies]\nmesos-agent.workspace = true\nasync-nats.workspace = true\n".to_owned())
    })
    .unwrap()
}

fn messages(graph: &Graph) -> Vec<String> {
    check(graph).iter().map(ToString::to_string).collect()
}

#[test]
fn edges_that_point_down_are_fine() {
    let graph = graph(
        &[
            ("mesos", "crates/mesos", &["mesos-agent", "mesos-sim"]),
            ("mesos-sim", "crates/sim", &["mesos-core"]),
            ("mesos-agent", "services/agent", &["mesos-core", "mesos-bus"]),
            ("mesos-bus", "crates/bus", &["mesos-model", "async-nats"]),
            ("mesos-core", "crates/core", &["mesos-model", "dev:tokio"]),
            ("mesos-model", "crates/model", &["serde"]),
        ],
        &[("async-nats", &["tokio"]), ("tokio", &[]), ("serde", &[])],
    );
    assert_eq!(messages(&graph), Vec::<String>::new());
}

#[test]
fn services_do_not_depend_on_each_other() {
    let graph =
        graph(&[("mesos-gateway", "services/gateway", &["mesos-agent"]), ("mesos-agent", "services/agent", &[])], &[]);
    let found = messages(&graph);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("services/gateway/Cargo.toml:2: mesos-gateway (layer 3) depends on mesos-agent"),
        "{found:?}"
    );
    assert!(found[0].contains("services meet only over the bus"), "{found:?}");
}

#[test]
fn an_edge_that_points_up_is_found_even_when_only_tests_use_it() {
    let graph = graph(&[("mesos-model", "crates/model", &["dev:mesos-core"]), ("mesos-core", "crates/core", &[])], &[]);
    assert_eq!(messages(&graph).len(), 1);
}

#[test]
fn a_crate_without_a_layer_is_found() {
    let graph = graph(&[("mesos-stdx", "crates/stdx", &[])], &[]);
    assert!(messages(&graph)[0].contains("the layer of mesos-stdx is unknown"));
}

#[test]
fn only_the_adapter_names_its_library() {
    let graph = graph(&[("mesos-registry", "services/registry", &["async-nats"])], &[("async-nats", &[])]);
    let found = messages(&graph);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("services/registry/Cargo.toml:3: "), "{found:?}");
    assert!(found[0].contains("use the Bus port"), "{found:?}");
}

#[test]
fn tokio_far_down_in_the_tree_of_the_core_is_found_with_its_way() {
    let graph = graph(&[("mesos-core", "crates/core", &["helper"])], &[("helper", &["tokio"]), ("tokio", &[])]);
    assert!(messages(&graph)[0].contains("mesos-core → helper → tokio"));
}

#[test]
fn a_banned_crate_is_told_once_where_it_enters() {
    let graph = graph(
        &[("mesos", "crates/mesos", &["mesos-bus"]), ("mesos-bus", "crates/bus", &["async-nats"])],
        &[("async-nats", &["aws-lc-rs"]), ("aws-lc-rs", &[])],
    );
    let found = messages(&graph);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("crates/bus/Cargo.toml:3: aws-lc-rs is banned"), "{found:?}");
}

#[test]
fn the_sdk_sees_only_the_contract_and_adapters_do_not_see_the_core() {
    let graph = graph(
        &[
            ("mesos-sdk", "crates/sdk", &["mesos-proto", "mesos-model"]),
            ("mesos-store", "crates/store", &["mesos-core"]),
            ("mesos-runtime", "crates/runtime", &["mesos-core"]),
            ("mesos-proto", "crates/proto", &[]),
            ("mesos-core", "crates/core", &[]),
            ("mesos-model", "crates/model", &[]),
        ],
        &[],
    );
    let found = messages(&graph);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|found| found.contains("mesos-sdk depends on mesos-model")));
    assert!(found.iter().any(|found| found.contains("mesos-store depends on mesos-core")));
}

use serde_json::json;

use super::*;

fn one(pool: Value) -> Result<Definition, String> {
    pools(&json!({ "pools": [pool] }), Some(Path::new("/var/lib/mesos/pools"))).map(|mut found| found.remove(0))
}

#[test]
fn a_pool_of_this_host_needs_no_more_than_a_name() {
    let pool = one(json!({"name": "a", "kind": "local"})).unwrap();
    assert_eq!((pool.min, pool.max, pool.auto.is_none()), (0, 8, true));
    assert_eq!(pool.resources.to_string(), "cpus:1; disk:5120; mem:1024");
    let Kind::Local(local) = pool.kind else { panic!() };
    assert_eq!(local.dir, Path::new("/var/lib/mesos/pools/a"));
}

#[test]
fn agents_may_be_told_of_several_gateways() {
    for master in ["a:5050,b:5050", "https://a:5050", "[::1]:5050"] {
        let pool = one(json!({"name": "a", "kind": "local", "master": master})).unwrap();
        assert_eq!(pool.master.as_deref(), Some(master));
    }
}

#[test]
fn the_file_says_when_a_pool_grows_by_itself() {
    let pool = one(json!({
        "name": "burst", "kind": "aws", "group": "g", "region": "eu-west-1", "resources": "cpus:8;mem:32GB",
        "min": 1, "max": 20, "auto": {"target_cpus_percent": 80, "cooldown": "5mins", "idle": "10mins"},
    }))
    .unwrap();
    let auto = pool.auto.unwrap();
    assert_eq!((pool.min, pool.max, auto.target_cpus_percent), (1, 20, Some(80)));
    assert_eq!((auto.cooldown, auto.idle), (Duration::from_secs(300), Duration::from_secs(600)));
}

#[test]
fn what_is_wrong_is_named_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    let plain = plain.to_str().unwrap();
    let aws = |key: &str, value: Value| {
        let mut pool = json!({"name": "a", "kind": "aws", "group": "g", "region": "r", "resources": "cpus:1"});
        pool[key] = value;
        pool
    };
    let cases = [
        (json!({"kind": "local"}), "pools[0]: missing field `name`"),
        (json!({"name": "a b", "kind": "local"}), "name: expected"),
        (json!({"name": "a", "kind": "gcp"}), "kind: 'gcp' is none; there are local, exec and aws"),
        (json!({"name": "a", "kind": "local", "size": 3}), "unknown field `size`"),
        (json!({"name": "a", "kind": "local", "resources": "cpus:two"}), "pool a: resources: "),
        (
            json!({"name": "a", "kind": "local", "resources": "ports:[1-2]"}),
            "resources: ports: a node has plain amounts",
        ),
        (
            json!({"name": "a", "kind": "local", "resources": "cpus(web):2"}),
            "resources: cpus: a node has plain amounts",
        ),
        (json!({"name": "a", "kind": "local", "min": 9, "auto": {}}), "min: 9 is more than max, which is 8"),
        (json!({"name": "a", "kind": "local", "min": 1}), "min: has a meaning only with auto"),
        (json!({"name": "a", "kind": "local", "max": 100_000}), "max: expected at most"),
        (json!({"name": "a", "kind": "local", "dir": "x"}), "dir: x is not absolute"),
        (json!({"name": "a", "kind": "local", "group": "g"}), "group: has a meaning only for kind aws"),
        (json!({"name": "a", "kind": "local", "drain_timeout": "soon"}), "drain_timeout: "),
        (json!({"name": "a", "kind": "local", "auto": {"idle": "soon"}}), "auto.idle: "),
        (
            json!({"name": "a", "kind": "local", "auto": {"target_cpus_percent": 0}}),
            "auto.target_cpus_percent: expected 1 to 100",
        ),
        (json!({"name": "a", "kind": "local", "auto": {"target": 80}}), "unknown field `target`"),
        (json!({"name": "a", "kind": "exec", "remove": "/bin/true"}), "add: missing"),
        (
            json!({"name": "a", "kind": "exec", "add": "bin/true", "remove": "/bin/true"}),
            "add: bin/true is not absolute",
        ),
        (
            json!({"name": "a", "kind": "exec", "add": "/nowhere/add", "remove": "/bin/true"}),
            "add: /nowhere/add: No such file",
        ),
        (json!({"name": "a", "kind": "exec", "add": "/bin", "remove": "/bin/true"}), "add: /bin is no file"),
        (json!({"name": "a", "kind": "exec", "add": plain, "remove": "/bin/true"}), "is not executable; run chmod +x"),
        (json!({"name": "a", "kind": "aws", "region": "r"}), "group: missing"),
        (json!({"name": "a", "kind": "aws", "group": "g"}), "region: missing"),
        (json!({"name": "a", "kind": "local", "master": "m"}), "master: expected host:port"),
        (json!({"name": "a", "kind": "local", "master": "m:1,:2"}), "master: expected host:port"),
        (aws("master", json!("m:1")), "master: has no meaning for kind aws"),
        (aws("endpoint", json!("localhost:5000")), "endpoint: expected a URL"),
        (json!({"name": "a", "kind": "aws", "group": "g", "region": "r", "auto": {}}), "resources: needed with auto"),
    ];
    for (pool, words) in cases {
        let error = one(pool.clone()).unwrap_err();
        assert!(error.contains(words), "{pool}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn two_pools_share_neither_a_name_nor_what_is_in_them() {
    let both = |a: Value, b: Value| pools(&json!({ "pools": [a, b] }), None).unwrap_err();
    let local = |name: &str| json!({"name": name, "kind": "local", "dir": "/d"});
    assert!(both(local("a"), local("a")).contains("pool a: name: another pool has it already"));
    assert!(both(local("a"), local("b")).contains("pool b: another pool has the same dir"));
    assert!(pools(&json!({ "pool": [] }), None).unwrap_err().starts_with("pool: there is no such key"));
    assert!(pools(&json!({ "pools": [] }), None).unwrap_err().contains("expected 1 to 100, there are 0"));
    let error = pools(&json!({ "pools": [{"name": "a", "kind": "local"}] }), None).unwrap_err();
    assert!(error.contains("pool a: dir: missing"), "{error}");
}

#[test]
fn a_file_is_yaml_json_or_toml() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.yaml", "pools:\n- {name: a, kind: local, dir: /d, max: 3}\n"),
        ("a.json", r#"{"pools": [{"name": "a", "kind": "local", "dir": "/d", "max": 3}]}"#),
        ("a.toml", "[[pools]]\nname = \"a\"\nkind = \"local\"\ndir = \"/d\"\nmax = 3\n"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        assert_eq!(read(&path, None).unwrap()[0].max, 3, "{name}");
    }
    let error = read(&dir.path().join("none.yaml"), None).unwrap_err();
    assert!(error.contains("none.yaml: there is no such file"), "{error}");
}

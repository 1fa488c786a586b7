//! The option ladder, from the outside.

use std::os::unix::fs::symlink;

use crate::program::{Place, err, mesos, named, out, run};

/// What `--dump-config` says of an option: its value as JSON and where it comes from.
fn dumped(text: &str, option: &str) -> (serde_json::Value, String) {
    let dump: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let found = &dump["options"][option];
    (found["value"].clone(), found["from"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_masters_file_of_the_book_is_in_force() {
    let place = Place::new();
    let file = place.write(
        "mesos-master.json",
        r#"{"cluster": "my-cluster", "work_dir": "/var/lib/mesos", "resource.ram": "4GB", "resource.cpu": 2, "log.level": "INFO"}"#,
    );
    let output = run(&["master", "--config", &file, "--dump-config"]);
    assert!(output.status.success(), "{}", err(&output));
    let text = out(&output);
    for (option, value) in [
        ("cluster", serde_json::json!("my-cluster")),
        ("work_dir", serde_json::json!("/var/lib/mesos")),
        ("resource_ram", serde_json::json!("4GB")),
        ("resource_cpu", serde_json::json!(2)),
        ("log_level", serde_json::json!("INFO")),
    ] {
        let (found, from) = dumped(&text, option);
        assert_eq!(found, value, "{option}");
        assert!(from.starts_with(&file), "{option} from {from}");
    }
}

#[test]
fn the_slaves_file_of_the_book_is_in_force() {
    let place = Place::new();
    let file = place.write(
        "mesos-slave.json",
        r#"{
            "master": "127.0.0.1:5050",
            "work_dir": "/var/lib/mesos",
            "containerizers": [{"name": "docker", "params": {"socket": "/var/run/docker.sock"}}],
            "resource": {"ram": "4GB", "cpu": 2, "disk": "100GB"}
        }"#,
    );
    for name in ["slave", "agent"] {
        let output = run(&[name, "--config", &file, "--dump-config"]);
        assert!(output.status.success(), "{}", err(&output));
        let text = out(&output);
        assert_eq!(dumped(&text, "master").0, serde_json::json!(["127.0.0.1:5050"]));
        assert_eq!(dumped(&text, "containerizers").0, serde_json::json!(["docker"]));
        assert_eq!(dumped(&text, "docker_host").0, "/var/run/docker.sock");
        assert_eq!(dumped(&text, "resource_mem").0, "4GB");
        assert_eq!(dumped(&text, "resource_cpus").0, 2);
    }
}

#[test]
fn flags_cover_variables_and_variables_cover_the_file() {
    let place = Place::new();
    let file = place.write("m.json", r#"{"port": 1, "cluster": "f", "hostname": "f"}"#);
    let mut command = mesos(&["master", "--config", &file, "--port=3", "--dump-config"]);
    let output =
        command.env("MESOS_PORT", "2").env("MESOS_CLUSTER", "e").env("MESOS_TASK_ID", "t").output().expect("it runs");
    let text = out(&output);
    assert_eq!(dumped(&text, "port"), (3.into(), "command line".to_owned()));
    assert_eq!(dumped(&text, "cluster"), ("e".into(), "environment (MESOS_CLUSTER)".to_owned()));
    assert_eq!(dumped(&text, "hostname").0, "f");
    assert_eq!(dumped(&text, "ip"), ("127.0.0.1".into(), "default".to_owned()));
}

#[test]
fn every_role_takes_underscores_and_dumps_its_options() {
    for role in ["local", "master", "agent", "slave", "allocator", "registry", "gateway"] {
        let output = run(&[role, "--log_level=debug", "--log_format", "json", "--dump_config"]);
        assert!(output.status.success(), "{role}: {}", err(&output));
        assert_eq!(dumped(&out(&output), "log_level"), ("debug".into(), "command line".to_owned()), "{role}");
    }
}

#[test]
fn the_names_of_mesos_are_names_of_this_program() {
    let place = Place::new();
    for (name, option) in [("mesos-master", "port"), ("mesos-slave", "master"), ("mesos-agent", "attributes")] {
        let link = place.path().join(name);
        symlink(env!("CARGO_BIN_EXE_mesos"), &link).expect("a link");
        let output = named(&link, &["--work_dir=/x_y", "--dump-config"]).output().expect("it runs");
        assert!(output.status.success(), "{name}: {}", err(&output));
        let text = out(&output);
        assert_eq!(dumped(&text, "work_dir").0, "/x_y");
        assert!(text.contains(&format!("\"{option}\"")), "{name}: {text}");
    }
}

#[test]
fn flags_of_apache_mesos_are_warned_about() {
    let output = run(&["master", "--quorum=1", "--registry=in_memory", "--dump-config"]);
    assert!(output.status.success());
    let text = err(&output);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("mesos master: --quorum is ignored"), "{text}");
}

#[test]
fn completions_help_and_version_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let text = out(&run(&["completion", shell]));
        assert!(text.contains("work-dir") && text.contains("spawn"), "{shell}");
    }
    for args in [&["--help"][..], &["help"], &["help", "launch"], &["ps", "--help"], &["master", "--help"]] {
        let output = run(args);
        assert!(output.status.success() && out(&output).contains("Usage"), "{args:?}");
    }
    assert!(out(&run(&["--version"])).starts_with("mesos 0."));
}

//! What is wrong is told in one line, with what to do, and a status that is not 0.

use std::net::TcpListener;

use crate::program::{Place, err, free_port, run};

fn line(args: &[&str], status: i32) -> String {
    let output = run(args);
    let text = err(&output);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    text
}

#[test]
fn unknown_words_get_a_suggestion() {
    assert!(line(&["lunch"], 2).contains("did you mean launch?"));
    assert!(line(&["master", "--prot=1"], 2).contains("there is no option --prot; did you mean --port?"));
    assert!(line(&["slave", "--work-dri=x"], 2).contains("did you mean --work-dir?"));
    assert!(line(&["ps", "--al"], 2).contains("--all"));
}

#[test]
fn values_that_cannot_be_used_are_named() {
    for (args, part) in [
        (&["master", "--port=70000"][..], "invalid value '70000' for '--port"),
        (&["master", "--log-level=loud=x=y"], "--log-level"),
        (&["master", "--ip=here"], "--ip"),
        (&["master", "--zk=zk://a/mesos"], "there is no ZooKeeper here"),
        (&["slave", "--master=zk://a/mesos"], "there is no ZooKeeper here"),
        (&["slave"], "--master=host:port"),
        (&["slave", "--master=a", "--resources=gold"], "resource 'gold' has no ':'"),
        (&["slave", "--master=a", "--resources=cpus:-1"], "cpus:-1"),
        (&["slave", "--master=a", "--containerizers=rkt"], "known are mesos"),
        (&["local", "--agents=0"], "--agents"),
        (&["local", "--exit"], "--launch"),
        (&["launch", "--cpus=none", "true"], "expected a number of CPUs"),
        (&["quota"], "get, set, remove"),
        (&["quota", "set", "ads", "--limit=gold"], "expected amounts such as cpus:4;mem:4GB"),
        (&["weights", "set", "ads=0"], "expected ROLE=WEIGHT with a weight above 0"),
        (&["placement", "ads", "tight"], "spread, binpack, random, inherit"),
        (&["priority", "f", "high"], "invalid value 'high'"),
        (&["reserve", "--agent=a", "--role=ads", "cpus(eng):1"], "cpus names a role itself"),
        (&["volume", "grow", "v", "--agent=a"], "--by"),
        (&["explain"], "<FRAMEWORK|TASK>"),
        (&["what-if", "f", "--add=like=a"], "expected N:like=AGENT"),
        (&["master", "--config=/no/such.json"], "there is no such file"),
        (&["allocator", "--min-allocatable-resources=x"], "--min-allocatable-resources"),
    ] {
        let text = line(args, 2);
        assert!(text.contains(part), "{args:?}: {text}");
    }
    let place = Place::new();
    let file = place.write("m.json", r#"{"work_dri": "/x"}"#);
    assert!(line(&["master", "--config", &file], 2).contains("m.json: work_dri: unknown key, did you mean work_dir?"));
}

#[test]
fn a_taken_port_is_told_before_anything_else() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let place = Place::new();
    let dir = place.path().display().to_string();
    for role in ["master", "local"] {
        let text = line(&[role, "--port", &port, "--work-dir", &dir], 1);
        assert!(text.contains(&format!("cannot listen on 127.0.0.1:{port}")) && text.contains("--port"), "{text}");
    }
}

#[test]
fn servers_that_are_not_there_are_named() {
    let place = Place::new();
    let dir = place.path().display().to_string();
    let nobody = free_port();
    let (nats, redis) = (format!("nats://127.0.0.1:{nobody}"), format!("redis://127.0.0.1:{nobody}"));
    let text = line(&["master", "--work-dir", &dir, "--nats-url", &nats], 1);
    assert!(text.contains(&format!("--nats-url {nats}: ")), "{text}");
    let text = line(&["master", "--work-dir", &dir, "--redis-url", &redis], 1);
    assert!(text.contains(&format!("--redis-url {redis}: ")), "{text}");
    for role in ["allocator", "registry", "gateway"] {
        let text = line(&[role, "--nats-url", &nats, "--redis-url", &redis], 1);
        assert!(text.starts_with(&format!("mesos {role}: --nats-url {nats}: ")), "{text}");
        assert!(line(&[role, "--redis-url", &redis], 1).contains("--nats-url is missing"));
    }
}

#[test]
fn a_master_that_is_not_there_is_named() {
    let master = format!("127.0.0.1:{}", free_port());
    for command in [
        &["ps"][..],
        &["agents"],
        &["frameworks"],
        &["stats"],
        &["launch", "true"],
        &["spawn", "true"],
        &["kill", "x"],
        &["logs", "x"],
    ] {
        let mut args = vec![command[0], "--master", &master];
        args.extend(&command[1..]);
        let text = line(&args, 1);
        assert!(text.contains(&format!("the master at {master} is not reachable")), "{text}");
    }
}

#[test]
fn a_work_directory_that_cannot_be_made_is_named() {
    assert!(line(&["master", "--work-dir=/proc/mesos"], 1).contains("--work-dir /proc/mesos: cannot be made"));
    let place = Place::new();
    let dir = place.path().display().to_string();
    assert!(line(&["master", "--terminate", "--work-dir", &dir], 1).contains("no master runs on"));
    assert!(line(&["slave", "--terminate", "--work-dir", &dir], 1).contains("no agent runs on"));
}

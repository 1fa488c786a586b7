//! The commands of the book against a master and an agent, with nothing else on the host.

use crate::program::{Place, Running, err, free_port, out, run};

#[test]
fn local_mode_runs_a_command_and_ends_with_its_status() {
    let output = run(&["local", "--port=0", "--launch", "echo Hello Mesos!; echo oops >&2; exit 3", "--exit"]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert_eq!(out(&output), "Hello Mesos!\n");
    let told = err(&output);
    assert!(told.contains("mesos is ready at http://127.0.0.1:") && told.contains("TASK_RUNNING"), "{told}");
    assert!(told.lines().any(|line| line == "oops"), "{told}");
}

#[test]
fn local_mode_says_in_one_line_that_it_is_ready() {
    let mut local = Running::start(&["local", "--port=0", "--agents=3"]);
    let line = local.line();
    assert!(line.starts_with("mesos is ready at http://127.0.0.1:") && line.contains("(3 agents, "), "{line}");
    let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address").to_owned();
    assert_eq!(out(&run(&["agents", "--master", &address, "-o", "quiet"])).lines().count(), 3);
    let json: serde_json::Value =
        serde_json::from_str(&out(&run(&["agents", "--master", &address, "-o", "json"]))).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(3));
    let place = std::env::temp_dir().join(format!("mesos-local-{}", local.pid()));
    assert!(place.is_dir());
    assert_eq!(local.interrupt(), Some(0));
    assert!(!place.exists(), "nothing is left behind");
}

#[test]
fn the_commands_of_the_book_work_as_written() {
    let place = Place::new();
    let (master_dir, slave_dir) = (place.path().join("m"), place.path().join("s"));
    let (master_flag, slave_flag) =
        (format!("--work_dir={}", master_dir.display()), format!("--work-dir={}", slave_dir.display()));
    let address = format!("127.0.0.1:{}", free_port());
    let port = format!("--port={}", address.rsplit(':').next().expect("a port"));
    let to_master = format!("--master={address}");
    let mut master = Running::start(&["master", &master_flag, &port]);
    assert!(master.line().contains(&address));
    let mut slave = Running::start(&["slave", &slave_flag, &to_master, "--resources=cpus:4;mem:4GB"]);
    assert!(slave.line().contains("offers cpus:4"));

    let book = [
        "launch",
        &to_master,
        "--name",
        "test-task",
        "--cpus",
        "0.5",
        "--mem",
        "128MB",
        "--command",
        "echo Hello Mesos!",
        "/bin/echo",
    ];
    let launched = run(&book);
    assert!(launched.status.success(), "{}", err(&launched));
    assert_eq!(out(&launched), "Hello Mesos!\n");
    assert_eq!(out(&run(&["logs", &to_master, "test-task"])), "Hello Mesos!\n");

    let spawned = out(&run(&["spawn", &to_master, "--instances=2", "--name=sleeper", "sleep", "1000"]));
    let ids: Vec<&str> = spawned.lines().collect();
    assert_eq!(ids.len(), 2, "{spawned}");
    while out(&run(&["ps", &to_master])).matches("TASK_RUNNING").count() < 2 {
        std::thread::yield_now();
    }
    let waiting = out(&run(&["spawn", &to_master, "--cpus=1000", "--name=big", "true"]));
    assert!(out(&run(&["ps", &to_master])).contains(waiting.trim()), "a task that waits is listed");
    assert!(run(&["kill", &to_master, waiting.trim()]).status.success());
    let stats = out(&run(&["stats", &to_master]));
    let usage = stats.lines().find(|line| line.contains("CPU usage")).expect("the line of the cron script");
    usage.split(' ').nth(1).expect("a second word").parse::<f64>().expect("a number");

    let ended = run(&["slave", "--terminate", &slave_flag]);
    assert!(ended.status.success(), "{}", err(&ended));
    assert_eq!(slave.wait(), Some(0));
    let mut slave = Running::start(&["slave", &slave_flag, &to_master, "--resources=cpus:4;mem:4GB"]);
    let _ = slave.line();
    for id in &ids {
        let killed = run(&["kill", &to_master, "--grace=0", id]);
        assert!(killed.status.success(), "{}", err(&killed));
    }
    while !out(&run(&["ps", &to_master, "-o", "quiet"])).is_empty() {
        std::thread::yield_now();
    }
    let all = out(&run(&["ps", &to_master, "-a"]));
    assert_eq!(all.matches("TASK_KILLED").count(), 2, "{all}");

    let pid = master.pid();
    let ended = run(&["master", "--terminate", &master_flag]);
    assert!(out(&ended).contains(&format!("(pid {pid})")), "{}", err(&ended));
    assert_eq!(master.wait(), Some(0));
    assert!(run(&["slave", "--terminate", &slave_flag]).status.success());
    assert_eq!(slave.wait(), Some(0));
}

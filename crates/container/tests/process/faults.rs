//! What goes wrong on a host, and what becomes of processes then.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command as Program,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use mesos_container::{ProcessContainerizer, cgroup::DEFAULT_ROOT};
use mesos_ports::{
    conformance::containerizer::Host,
    containerizer::{ContainerSpec, Containerizer, Limits},
};

use crate::{GROUP, Processes, confinable, processes_of};

const SOON: Duration = Duration::from_secs(20);

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The process that a file of a runtime directory names.
fn pid_in(host: &Processes, id: &str, whose: &str) -> u32 {
    let text = fs::read_to_string(host.run_dir().join(id).join("pid.json")).expect("written");
    let pids: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    u32::try_from(pids[whose]["pid"].as_u64().expect("a number")).expect("a pid")
}

/// A small file system of its own; gone with this.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={size},mode=755");
        let mount = Program::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).status();
        mount.is_ok_and(|status| status.success()).then_some(SmallDisk(folder))
    }

    fn fill(&self) {
        // The error is what it is for.
        let _ = Program::new("dd").args(["if=/dev/zero", "bs=4096"]).arg(format!("of={}", self.ballast())).output();
    }

    fn ballast(&self) -> String {
        self.0.path().join("ballast").display().to_string()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Program::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// An agent that lost its checkpoint has a new id; what it ran before nobody counts any more.
#[tokio::test]
async fn f44_containers_of_an_agent_that_is_no_more_are_removed() {
    let host = Processes::new(confinable());
    let spec = host.spec("sleep 60 & sleep 60");
    let id = spec.container_id.clone();
    host.adapter().launch(spec).await.expect("starts");
    assert!(!host.leftovers(&id).await.is_empty());
    let found = host.adapter().recover("another-agent").await.expect("looks");
    assert!(found.is_empty(), "{found:?}");
    until("nothing is left", || {
        let left = processes_of(&id);
        left.is_empty() && !host.run_dir().join(&id).exists()
    })
    .await;
    assert_eq!(host.leftovers(&id).await, Vec::<String>::new());
}

/// Launches many short tasks, a few at a time, and gives their ids with the codes they end with.
async fn many(host: &Processes, adapter: &Arc<ProcessContainerizer>, count: usize) -> Vec<(String, i32)> {
    let specs: Vec<(ContainerSpec, i32)> =
        (0..count).map(|number| (number % 7) as i32).map(|code| (host.spec(&format!("exit {code}")), code)).collect();
    stream::iter(specs)
        .map(|(spec, code)| async move {
            let id = spec.container_id.clone();
            adapter.launch(spec).await.expect("starts");
            (id, code)
        })
        .buffer_unordered(8)
        .collect()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn f44_hundreds_of_short_tasks_leave_nothing_behind() {
    let host = Processes::new(confinable());
    let adapter = host.adapter();
    for _ in 0..3 {
        for (id, _) in many(&host, &adapter, 100).await {
            adapter.destroy(&id).await.expect("destroyed");
        }
    }
    assert_eq!(fs::read_dir(host.run_dir()).expect("there").count(), 0);
    let root = host.root.path().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("Linux");
    assert!(!mounts.contains(&root), "{mounts}");
    let shims = fs::read_dir("/proc").expect("Linux").flatten().filter(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&root))
    });
    assert_eq!(shims.count(), 0, "processes are left");
}

/// However fast a task ends, and whether the agent is there or comes back later, its exit code is told.
#[tokio::test(flavor = "multi_thread")]
async fn f52_tasks_that_end_at_once_have_their_exit_codes() {
    let host = Processes::new(confinable());
    let adapter = host.adapter();
    let tasks = many(&host, &adapter, 200).await;
    for (id, code) in &tasks {
        assert_eq!(adapter.wait(id).await.expect("known").code, Some(*code));
    }
    let later = host.adapter();
    assert_eq!(later.recover("a").await.expect("looks").len(), tasks.len());
    for (id, code) in &tasks {
        let exit = later.wait(id).await.expect("known");
        assert_eq!(exit.code, Some(*code), "{exit:?}");
        later.destroy(id).await.expect("destroyed");
    }
}

#[tokio::test]
async fn f45_a_task_that_uses_more_memory_than_it_has_was_ended_by_that() {
    if !confinable() {
        eprintln!("skipped: no cgroups or not root");
        return;
    }
    let host = Processes::new(true);
    let adapter = host.adapter();
    let mut spec = host.spec("words=$(head -c 300m /dev/zero | tr '\\0' x)");
    spec.limits = Limits { memory_bytes: Some(48 << 20), ..spec.limits };
    let id = spec.container_id.clone();
    adapter.launch(spec).await.expect("starts");
    let exit = adapter.wait(&id).await.expect("ends");
    assert!(exit.out_of_memory && exit.code != Some(0), "{exit:?}");
    assert_eq!(exit.message.as_deref(), Some("memory limit exceeded"));
    adapter.destroy(&id).await.expect("destroyed");
}

/// The shim's number belongs to somebody else by now: the agent takes the container for dead, and whoever has
/// the number is left alone.
#[tokio::test]
async fn f46_a_stranger_with_the_number_of_a_shim_is_not_signalled() {
    let host = Processes::new(confinable());
    let adapter = host.adapter();
    let spec = host.spec("sleep 60");
    let id = spec.container_id.clone();
    adapter.launch(spec).await.expect("starts");
    let shim = nix::unistd::Pid::from_raw(pid_in(&host, &id, "shim") as i32);
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).expect("killed");
    adapter.wait(&id).await.expect("known");
    let dir = host.run_dir().join(&id);
    let _ = fs::remove_file(dir.join("exit.json"));
    let text = fs::read_to_string(dir.join("pid.json")).expect("written");
    let mut pids: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    // What a reused number looks like: it runs, and started at another time. The kernel counts that in hundredths of
    // a second, of which the container may have taken less than one.
    let mut stranger = loop {
        let mut stranger = Program::new("sleep").arg("60").spawn().expect("sleep starts");
        let stat = fs::read_to_string(format!("/proc/{}/stat", stranger.id())).expect("it runs");
        let start: u64 =
            stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap().parse().unwrap();
        if ["shim", "init", "task"].iter().all(|whose| pids[whose]["start"] != start) {
            break stranger;
        }
        stranger.kill().expect("ours");
        stranger.wait().expect("ours");
    };
    for whose in ["shim", "init", "task"] {
        if pids[whose].is_object() {
            pids[whose]["pid"] = stranger.id().into();
        }
    }
    fs::write(dir.join("pid.json"), pids.to_string()).expect("written");
    let later = host.adapter();
    let found = later.recover("a").await.expect("looks");
    assert!(found.iter().all(|found| found.running.is_none()), "{found:?}");
    later.destroy(&id).await.expect("destroyed");
    assert!(stranger.try_wait().expect("ours").is_none(), "a stranger was killed");
    stranger.kill().expect("ours");
    stranger.wait().expect("ours");
}

#[tokio::test]
async fn f47_a_task_that_ignores_sigterm_and_forks_away_is_killed_with_all_it_started() {
    for confined in [false, confinable()] {
        let host = Processes::new(confined);
        let adapter = host.adapter();
        let line = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$ > forked; sleep 60; sleep 60' &) ; \
                    while true; do sleep 1; done";
        let spec = host.spec(line);
        let (id, sandbox) = (spec.container_id.clone(), spec.sandbox.clone());
        adapter.launch(spec).await.expect("starts");
        until("it has forked", || fs::read_to_string(sandbox.join("forked")).is_ok_and(|text| !text.is_empty())).await;
        let of_task = || {
            let of_sandbox = |entry: &fs::DirEntry| {
                fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&sandbox))
            };
            fs::read_dir("/proc").expect("Linux").flatten().filter(of_sandbox).count()
        };
        assert!(of_task() >= 2);
        adapter.kill(&id, Duration::from_millis(100)).await.expect("asked");
        let exit = adapter.wait(&id).await.expect("ends");
        assert_eq!(exit.signal, Some(9), "{exit:?}");
        let left = of_task();
        // Also when this fails nothing is to run on.
        for entry in fs::read_dir("/proc").expect("Linux").flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let (Some(pid), Ok(cwd)) = (pid, fs::read_link(entry.path().join("cwd")))
                && cwd.starts_with(&sandbox)
            {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
        assert_eq!(left, 0, "confined: {confined}");
        adapter.destroy(&id).await.expect("destroyed");
    }
}

#[tokio::test]
async fn f50_a_log_is_rotated_and_bounded_and_its_end_is_there() {
    let host = Processes::new(confinable());
    let mut options = host.options();
    options.log_bytes = 100_000;
    let adapter = ProcessContainerizer::new(options).expect("a containerizer");
    let mut spec = host.spec("seq 1 200000; echo the end; seq 1 100000 >&2; exit 3");
    if nix::unistd::geteuid().is_root() {
        spec.command.user = Some("nobody".into());
    }
    let (id, sandbox) = (spec.container_id.clone(), spec.sandbox.clone());
    adapter.launch(spec).await.expect("starts");
    assert_eq!(adapter.wait(&id).await.expect("ends").code, Some(3));
    for name in ["stdout", "stderr"] {
        let (now, before) = (sandbox.join(name), sandbox.join(format!("{name}.1")));
        for file in [&now, &before] {
            let found = fs::metadata(file).expect("there");
            assert!(found.len() <= 100_000, "{}: {}", file.display(), found.len());
            assert_eq!(found.uid(), fs::metadata(&sandbox).expect("there").uid(), "{}", file.display());
        }
        assert_eq!(fs::metadata(&before).expect("there").len(), 100_000);
        let both = fs::read_to_string(&before).expect("text") + &fs::read_to_string(&now).expect("text");
        let expected = if name == "stdout" { "\n200000\nthe end\n" } else { "\n99999\n100000\n" };
        assert!(both.ends_with(expected), "{name} ends with {:?}", &both[both.len() - 40..]);
        assert!(both.contains("\n99990\n99991\n") || name == "stdout", "whole lines across the two files");
    }
    adapter.destroy(&id).await.expect("destroyed");
}

/// The task itself has filled the disk of its agent: it goes on, it can be killed, and how it ended is known
/// after the agent was away.
#[tokio::test]
async fn f39_a_full_disk_neither_ends_a_task_nor_keeps_it_from_being_killed() {
    let Some(disk) = SmallDisk::mount("4m") else {
        eprintln!("skipped: a small disk can only be mounted by root");
        return;
    };
    let host = Processes::new(confinable());
    let mut options = host.options();
    options.runtime_dir = disk.0.path().join("run");
    let adapter = ProcessContainerizer::new(options.clone()).expect("a containerizer");
    let mut spec = host.spec("trap 'exit 5' TERM; while true; do echo word; sleep 0.01; done");
    spec.sandbox = disk.0.path().join("sandbox");
    fs::create_dir(&spec.sandbox).expect("a sandbox");
    let id = spec.container_id.clone();
    adapter.launch(spec).await.expect("starts");
    disk.fill();
    let refused = adapter.launch(host.spec("true")).await.expect_err("there is no room").to_string();
    assert!(refused.contains("No space left"), "{refused}");
    // The agent is away when it ends.
    let later = ProcessContainerizer::new(options).expect("a containerizer");
    let found = later.recover("a").await.expect("looks");
    assert!(found.iter().any(|found| found.container_id == id && found.running.is_some()), "{found:?}");
    later.kill(&id, Duration::from_secs(5)).await.expect("asked, although that cannot be written down");
    adapter.wait(&id).await.expect("ends");
    fs::remove_file(disk.ballast()).expect("removed");
    let exit = later.wait(&id).await.expect("known");
    assert!(exit.code == Some(5) || exit.signal == Some(9), "{exit:?}");
    later.destroy(&id).await.expect("destroyed");
}

/// A group of its own, so that neither the kernel nor whoever stops the agent's group takes a task along.
#[tokio::test]
async fn f40_a_task_is_in_a_group_of_its_own() {
    if !confinable() {
        eprintln!("skipped: no cgroups or not root");
        return;
    }
    let host = Processes::new(true);
    let adapter = host.adapter();
    let spec = host.spec("sleep 60");
    let id = spec.container_id.clone();
    let running = adapter.launch(spec).await.expect("starts");
    let group = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("Linux");
    let task = group(running.pid.expect("a pid"));
    assert!(task.contains(&format!("/{GROUP}/{id}")), "{task}");
    assert!(!group(std::process::id()).contains(GROUP));
    assert!(Path::new(DEFAULT_ROOT).exists());
    adapter.destroy(&id).await.expect("destroyed");
}

//! The suite of the containerizer port: what every adapter must do, unhappy paths included.
//!
//! An adapter gives a [`Host`] and calls [`run`]. What it cannot do at all it leaves out of its
//! [`Abilities`]; everything else is tried. A case that fails panics with its name.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use uuid::Uuid;

use crate::containerizer::{Command, ContainerError, ContainerSpec, Containerizer, Exit, Limits};

const AGENT: &str = "agent-of-the-suite";
/// Nothing here takes longer on a busy machine unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an adapter does besides starting and ending things.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// It runs real programs: environment, output, signals, descendants, missing files.
    pub programs: bool,
    /// It enforces a memory limit and says so.
    pub memory: bool,
    /// It switches to another user of the host.
    pub users: bool,
}

/// An adapter and the host that it works on.
#[async_trait]
pub trait Host: Send + Sync {
    /// What is to be tried.
    fn abilities(&self) -> Abilities;

    /// A new instance of the adapter on the same host, as an agent makes after a restart.
    async fn containerizer(&self) -> Arc<dyn Containerizer>;

    /// Fills in what this adapter needs, such as an image, and says what it knows by another form.
    fn adapt(&self, spec: &mut ContainerSpec);

    /// Where sandboxes are made.
    fn sandboxes(&self) -> &Path;

    /// Everything on the host that still belongs to a container, in words; empty after `destroy`.
    async fn leftovers(&self, container_id: &str) -> Vec<String>;
}

/// Runs every case that the adapter is able for.
pub async fn run(host: &dyn Host) {
    let able = host.abilities();
    let mut cases: Vec<(&str, Case)> = vec![
        ("exit codes are told", |host| Box::pin(exit_codes_are_told(host))),
        ("unknown ids are unknown", |host| Box::pin(unknown_ids_are_unknown(host))),
        ("the same id is launched once", |host| Box::pin(the_same_id_is_launched_once(host))),
        ("a kill ends it", |host| Box::pin(a_kill_ends_it(host))),
        ("exec gives the exit code", |host| Box::pin(exec_gives_the_exit_code(host))),
        ("destroy leaves nothing", |host| Box::pin(destroy_leaves_nothing(host))),
        ("containers are found again", |host| Box::pin(containers_are_found_again(host))),
        ("many at once all end", |host| Box::pin(many_at_once_all_end(host))),
    ];
    if able.programs {
        cases.extend::<[(&str, Case); 8]>([
            ("death by a signal is told", |host| Box::pin(death_by_a_signal_is_told(host))),
            ("output and environment", |host| Box::pin(output_and_environment(host))),
            ("arguments are argv", |host| Box::pin(arguments_are_argv(host))),
            ("a missing program is named", |host| Box::pin(a_missing_program_is_named(host))),
            ("who ignores TERM is killed after the grace", |host| Box::pin(grace_ends(host))),
            ("a second kill shortens the grace", |host| Box::pin(grace_is_shortened(host))),
            ("descendants end with the task", |host| Box::pin(descendants_end(host))),
            ("a slow exec times out", |host| Box::pin(a_slow_exec_times_out(host))),
        ]);
    }
    if able.memory {
        cases.push(("too much memory is told", |host| Box::pin(too_much_memory_is_told(host))));
    }
    if able.users {
        cases.push(("the user is switched", |host| Box::pin(the_user_is_switched(host))));
    }
    for (name, case) in cases {
        let began = Instant::now();
        eprintln!("case: {name}");
        if tokio::time::timeout(PATIENCE * 2, case(host)).await.is_err() {
            panic!("case hangs: {name}");
        }
        eprintln!("      {:?}", began.elapsed());
    }
}

type Case = for<'a> fn(&'a dyn Host) -> BoxFuture<'a, ()>;

/// One container of a case.
struct One {
    adapter: Arc<dyn Containerizer>,
    id: String,
    sandbox: PathBuf,
}

impl One {
    async fn exit(&self) -> Exit {
        let exit = tokio::time::timeout(PATIENCE, self.adapter.wait(&self.id)).await;
        exit.expect("ends in time").expect("is known")
    }

    async fn destroy(&self) {
        self.adapter.destroy(&self.id).await.expect("destroyed");
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.sandbox.join(name)).unwrap_or_default()
    }

    /// Waits for a file of the sandbox to hold something.
    async fn file_with(&self, name: &str, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.file(name);
            if found.contains(text) {
                return found;
            }
            assert!(
                Instant::now() < until,
                "{name} never held {text:?}, but {found:?}; stderr: {}",
                self.file("stderr")
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn shell(line: &str) -> Command {
    Command { value: Some(line.into()), shell: true, ..Command::default() }
}

fn spec(host: &dyn Host, command: Command) -> ContainerSpec {
    let container_id = Uuid::new_v4().to_string();
    let sandbox = host.sandboxes().join(&container_id);
    fs::create_dir_all(&sandbox).expect("a sandbox");
    let mut spec = ContainerSpec {
        agent_id: AGENT.into(),
        framework_id: "framework-of-the-suite".into(),
        task_id: format!("task-{container_id}"),
        container_id,
        command,
        sandbox,
        limits: Limits { cpu_shares_milli: 100, ..Limits::default() },
        ..ContainerSpec::default()
    };
    host.adapt(&mut spec);
    spec
}

async fn launch(adapter: &Arc<dyn Containerizer>, spec: ContainerSpec) -> One {
    let one = One { adapter: adapter.clone(), id: spec.container_id.clone(), sandbox: spec.sandbox.clone() };
    adapter.launch(spec).await.expect("starts");
    one
}

async fn start(host: &dyn Host, line: &str) -> One {
    launch(&host.containerizer().await, spec(host, shell(line))).await
}

async fn exit_codes_are_told(host: &dyn Host) {
    for code in [0, 3] {
        let one = start(host, &format!("exit {code}")).await;
        let expected = Exit { code: Some(code), ..Exit::default() };
        assert_eq!(one.exit().await, expected);
        assert_eq!(one.exit().await, expected, "the same when asked again");
        one.destroy().await;
    }
}

async fn unknown_ids_are_unknown(host: &dyn Host) {
    let adapter = host.containerizer().await;
    let nobody = Uuid::new_v4().to_string();
    let unknown = |error: Result<(), ContainerError>| matches!(error, Err(ContainerError::Unknown(_)));
    assert!(unknown(adapter.wait(&nobody).await.map(drop)));
    assert!(unknown(adapter.kill(&nobody, Duration::ZERO).await));
    assert!(unknown(adapter.update(&nobody, Limits::default()).await));
    assert!(unknown(adapter.exec(&nobody, shell("true"), PATIENCE).await.map(drop)));
    adapter.destroy(&nobody).await.expect("nothing to do");
}

async fn the_same_id_is_launched_once(host: &dyn Host) {
    let adapter = host.containerizer().await;
    let spec = spec(host, shell("echo started >> once; sleep 600"));
    let (first, second) = futures::join!(adapter.launch(spec.clone()), adapter.launch(spec.clone()));
    let (first, second) = (first.expect("starts"), second.expect("is there"));
    assert_eq!(first.pid, second.pid);
    assert_eq!(adapter.launch(spec.clone()).await.expect("is there").pid, first.pid);
    let one = One { adapter, id: spec.container_id, sandbox: spec.sandbox };
    if host.abilities().programs {
        assert_eq!(one.file_with("once", "started").await, "started\n");
    }
    one.destroy().await;
}

/// Ends on TERM, also as the first process of a PID namespace, which signals reach only by a handler.
const OBEDIENT: &str = "trap 'exit 143' TERM; echo ready; sleep 600 & wait";

/// Waits until [`OBEDIENT`] has its handler.
async fn settled(one: &One, host: &dyn Host) {
    if host.abilities().programs {
        one.file_with("stdout", "ready").await;
    }
}

async fn a_kill_ends_it(host: &dyn Host) {
    let one = start(host, OBEDIENT).await;
    settled(&one, host).await;
    let began = Instant::now();
    one.adapter.kill(&one.id, Duration::from_secs(30)).await.expect("asked");
    let exit = one.exit().await;
    assert!(exit.code != Some(0), "it did not end by itself: {exit:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "TERM was enough");
    one.adapter.kill(&one.id, Duration::ZERO).await.expect("fine for one that has ended");
    one.destroy().await;
}

async fn exec_gives_the_exit_code(host: &dyn Host) {
    let one = start(host, "sleep 600").await;
    assert_eq!(one.adapter.exec(&one.id, shell("exit 7"), PATIENCE).await.expect("runs"), 7);
    assert_eq!(one.adapter.exec(&one.id, shell("true"), PATIENCE).await.expect("runs"), 0);
    if host.abilities().programs {
        let command = shell("test -f stdout && test \"$(cat /proc/1/comm)\" != systemd");
        assert_eq!(one.adapter.exec(&one.id, command, PATIENCE).await.expect("runs"), 0, "in the sandbox");
    }
    one.destroy().await;
}

async fn destroy_leaves_nothing(host: &dyn Host) {
    let one = start(host, "sleep 600").await;
    one.destroy().await;
    assert_eq!(host.leftovers(&one.id).await, Vec::<String>::new());
    assert!(matches!(one.adapter.wait(&one.id).await, Err(ContainerError::Unknown(_))));
    assert!(one.sandbox.exists(), "the sandbox stays");
    one.destroy().await;
    let ended = start(host, "exit 0").await;
    ended.exit().await;
    ended.destroy().await;
    assert_eq!(host.leftovers(&ended.id).await, Vec::<String>::new());
}

async fn containers_are_found_again(host: &dyn Host) {
    let before = host.containerizer().await;
    let long = launch(&before, spec(host, shell(OBEDIENT))).await;
    settled(&long, host).await;
    let short = launch(&before, spec(host, shell("sleep 0.2; exit 5"))).await;
    let past = launch(&before, spec(host, shell("exit 4"))).await;
    past.exit().await;
    drop((before, long.adapter, past.adapter));
    tokio::time::sleep(Duration::from_millis(400)).await;
    drop(short.adapter);

    let after = host.containerizer().await;
    let found = after.recover(AGENT).await.expect("looks");
    let of = |id: &str| found.iter().find(|found| found.container_id == id).expect("is found").clone();
    assert!(of(&long.id).running.is_some(), "it runs on");
    assert_eq!(of(&long.id).task_id, format!("task-{}", long.id));
    assert_eq!(of(&long.id).framework_id, "framework-of-the-suite");
    assert!(of(&past.id).running.is_none(), "it ended meanwhile");
    for (id, code) in [(&short.id, 5), (&past.id, 4)] {
        let exit = tokio::time::timeout(PATIENCE, after.wait(id)).await.expect("in time").expect("known");
        assert_eq!(exit.code, Some(code), "the true exit code");
        after.destroy(id).await.expect("destroyed");
    }
    assert!(after.recover("somebody else").await.expect("looks").is_empty());
    assert_eq!(after.exec(&long.id, shell("exit 6"), PATIENCE).await.expect("runs"), 6);
    after.kill(&long.id, Duration::from_secs(30)).await.expect("asked");
    let exit = tokio::time::timeout(PATIENCE, after.wait(&long.id)).await.expect("in time").expect("known");
    assert!(exit.code != Some(0), "{exit:?}");
    after.destroy(&long.id).await.expect("destroyed");
    assert_eq!(host.leftovers(&long.id).await, Vec::<String>::new());
}

async fn many_at_once_all_end(host: &dyn Host) {
    let adapter = host.containerizer().await;
    let count = if host.abilities().programs { 12 } else { 1000 };
    let all = (0..count).map(|number| {
        let spec = spec(host, shell(&format!("exit {}", number % 5)));
        let adapter = adapter.clone();
        async move {
            let one = launch(&adapter, spec).await;
            let exit = one.exit().await;
            one.destroy().await;
            (number, exit.code)
        }
    });
    for (number, code) in futures::future::join_all(all).await {
        assert_eq!(code, Some(number % 5));
    }
}

async fn death_by_a_signal_is_told(host: &dyn Host) {
    let one = start(host, "sleep 600").await;
    one.adapter.kill(&one.id, Duration::ZERO).await.expect("asked");
    let exit = one.exit().await;
    // Docker knows only the number that a shell would give.
    assert!(exit.signal == Some(9) || exit.code == Some(137), "{exit:?}");
    assert!(!exit.out_of_memory);
    one.destroy().await;
}

async fn output_and_environment(host: &dyn Host) {
    let mut command = shell("echo \"out $COLOUR\"; echo \"err $SIZE\" >&2; pwd > where; test -z \"$HOST_SECRET\"");
    command.environment.insert("COLOUR".into(), "dark green".into());
    command.environment.insert("SIZE".into(), "$(exit 1) 'x'".into());
    command.environment.insert("PATH".into(), "/usr/bin:/bin".into());
    let one = launch(&host.containerizer().await, spec(host, command)).await;
    assert_eq!(one.exit().await.code, Some(0));
    assert_eq!(one.file("stdout"), "out dark green\n");
    assert_eq!(one.file("stderr"), "err $(exit 1) 'x'\n");
    assert!(!one.file("where").is_empty(), "the sandbox is the working directory");
    one.destroy().await;
}

async fn arguments_are_argv(host: &dyn Host) {
    let command = Command {
        value: Some("/bin/sh".into()),
        arguments: ["sh", "-c", "echo \"$1|$2|$#\"", "name", "a b", "$HOME;*"].map(String::from).to_vec(),
        ..Command::default()
    };
    let one = launch(&host.containerizer().await, spec(host, command)).await;
    assert_eq!(one.exit().await.code, Some(0));
    assert_eq!(one.file("stdout"), "a b|$HOME;*|2\n", "nothing is expanded, the first argument is argv[0]");
    one.destroy().await;
}

async fn a_missing_program_is_named(host: &dyn Host) {
    let adapter = host.containerizer().await;
    let command =
        Command { value: Some("/no/such/program".into()), arguments: vec!["program".into()], ..Command::default() };
    let spec = spec(host, command);
    let id = spec.container_id.clone();
    match adapter.launch(spec).await {
        Err(ContainerError::Launch(text)) => assert!(text.contains("/no/such/program"), "{text}"),
        other => panic!("it does not run: {other:?}"),
    }
    adapter.destroy(&id).await.expect("destroyed");
    assert_eq!(host.leftovers(&id).await, Vec::<String>::new());
}

/// Ignores TERM, and so does its child.
const STUBBORN: &str = "trap '' TERM; echo ready; while true; do sleep 1; done";

async fn grace_ends(host: &dyn Host) {
    let one = start(host, STUBBORN).await;
    one.file_with("stdout", "ready").await;
    let began = Instant::now();
    one.adapter.kill(&one.id, Duration::from_secs(1)).await.expect("asked");
    assert!(began.elapsed() < Duration::from_millis(900), "asking does not wait for the end");
    let exit = one.exit().await;
    assert!(began.elapsed() >= Duration::from_millis(900), "it had its grace: {exit:?}");
    assert!(exit.signal == Some(9) || exit.code == Some(137), "{exit:?}");
    one.destroy().await;
}

async fn grace_is_shortened(host: &dyn Host) {
    let one = start(host, STUBBORN).await;
    one.file_with("stdout", "ready").await;
    let began = Instant::now();
    one.adapter.kill(&one.id, Duration::from_secs(300)).await.expect("asked");
    one.adapter.kill(&one.id, Duration::from_secs(1)).await.expect("asked again");
    one.exit().await;
    assert!(began.elapsed() < Duration::from_secs(30));
    one.destroy().await;
}

async fn descendants_end(host: &dyn Host) {
    // The grandchild leaves its parent, its session and its process group, and would write later.
    let line = "(setsid sh -c 'trap \"\" TERM HUP; echo alive > orphan; sleep 3; echo late > orphan' &) ; \
                while ! grep -q alive orphan 2>/dev/null; do sleep 0.05; done; exit 0";
    let one = start(host, line).await;
    assert_eq!(one.exit().await.code, Some(0));
    let ended = Instant::now();
    assert_eq!(one.file("orphan"), "alive\n");
    tokio::time::sleep_until((ended + Duration::from_millis(3500)).into()).await;
    assert_eq!(one.file("orphan"), "alive\n", "the orphan did not live to write again");
    one.destroy().await;
}

async fn a_slow_exec_times_out(host: &dyn Host) {
    let one = start(host, "sleep 600").await;
    let began = Instant::now();
    let answer = one.adapter.exec(&one.id, shell("sleep 300"), Duration::from_millis(500)).await;
    assert!(answer.expect_err("no code").to_string().contains("timed out"));
    assert!(began.elapsed() < Duration::from_secs(20));
    one.destroy().await;
}

async fn too_much_memory_is_told(host: &dyn Host) {
    let mut spec = spec(host, shell("exec dd if=/dev/zero of=/dev/null bs=300M count=1"));
    spec.limits.memory_bytes = Some(40 << 20);
    let one = launch(&host.containerizer().await, spec).await;
    let exit = one.exit().await;
    assert!(exit.out_of_memory, "{exit:?}, stderr: {}", one.file("stderr"));
    one.destroy().await;
}

async fn the_user_is_switched(host: &dyn Host) {
    let adapter = host.containerizer().await;
    let mut command = shell("id -u; id -g; touch mine; test ! -w /etc/passwd");
    command.user = Some("nobody".into());
    let one = launch(&adapter, spec(host, command)).await;
    assert_eq!(one.exit().await.code, Some(0), "{}", one.file("stderr"));
    let ids = one.file("stdout");
    assert!(ids.starts_with("65534\n"), "{ids}");
    assert!(one.sandbox.join("mine").exists(), "the sandbox is the user's");
    one.destroy().await;
    let mut command = shell("true");
    command.user = Some("no-such-user-here".into());
    let error = adapter.launch(spec(host, command)).await.expect_err("no such user");
    assert!(matches!(&error, ContainerError::Invalid(text) if text.contains("no-such-user-here")), "{error}");
}

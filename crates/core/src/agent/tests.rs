//! Scenarios: what happens, and what the agent has done about it, one line per output.

mod executors;
mod groups;
mod leave;

use super::*;
use crate::{
    message::{AgentReport, Conversion, LaunchOrder},
    row::{FrameworkFacts, LaunchKind},
};

const MINUTE: u64 = 60_000;

fn term(epoch: u64) -> Term {
    Term { epoch, leader: u128::from(epoch) }
}

fn options() -> Options {
    Options {
        total: Resources::of(&[("cpus", 4000), ("mem", 1_000_000)]),
        oversubscribed: Resources::new(),
        attributes: Vec::new(),
        domain: None,
        hostname: "host".into(),
        ip: "10.0.0.1".into(),
        port: 5051,
        version: "1".into(),
        boot: "boot-1".into(),
        new_instance: 7,
        new_agent: None,
        body: Bytes::new(),
        beat_ms: 5000,
        executors: ExecutorTimes::default(),
    }
}

/// An agent with its checkpoint; every step is committed, checked and rendered.
struct Host {
    agent: Agent,
    options: Options,
    now: Time,
    rows: BTreeMap<String, Row>,
    outputs: Vec<Output>,
}

impl Host {
    fn new() -> Host {
        let options = options();
        Host {
            agent: Agent::new(options.clone()),
            options,
            now: Time(1_000_000),
            rows: BTreeMap::new(),
            outputs: Vec::new(),
        }
    }

    /// Started, with id `a`, in term 1.
    fn admitted() -> Host {
        let mut host = Host::new();
        host.start(&[]);
        host.tell(ToAgent::Handshake { term: term(1), spread_ms: 0 });
        host.tell(ToAgent::Welcome { instance: 7, agent: "a".into(), term: term(1) });
        host
    }

    fn start(&mut self, containers: &[(&str, bool)]) -> Vec<String> {
        let mut effects = Effects::default();
        self.agent.lead(self.now, Term::default(), &mut effects);
        let facts = self.agent.executors().map(|row| (row.launch.clone(), vec![facts(); row.tasks.len()])).collect();
        let containers = containers.iter().map(|(name, running)| ((*name).to_owned(), *running)).collect();
        self.step(Event::Recovered { containers, facts })
    }

    /// The process dies and starts again, with nothing but its checkpoint and what is in containers.
    fn restart(&mut self, containers: &[(&str, bool)]) -> Vec<String> {
        self.agent = Agent::new(self.options.clone());
        for row in self.rows.values() {
            self.agent.restore(RowChange::Put(row.clone()));
        }
        self.start(containers)
    }

    fn tell(&mut self, message: ToAgent) -> Vec<String> {
        self.step(Event::Message { message, facts: Vec::new() })
    }

    fn order(&mut self, number: u64, order: Order) -> Vec<String> {
        self.order_with(number, order, facts())
    }

    fn order_with(&mut self, number: u64, order: Order, facts: TaskFacts) -> Vec<String> {
        let message = ToAgent::Orders { term: self.agent.own.promised, first: number, orders: vec![order] };
        self.step(Event::Message { message, facts: vec![facts] })
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        let mut effects = Effects::default();
        self.agent.step(self.now, event, &mut effects);
        self.agent.settle(self.now, &mut effects);
        self.commit(effects)
    }

    fn later(&mut self, ms: u64) -> Vec<String> {
        self.now = Time(self.now.0 + ms);
        let mut effects = Effects::default();
        self.agent.tick(self.now, &mut effects);
        self.agent.settle(self.now, &mut effects);
        self.commit(effects)
    }

    fn commit(&mut self, effects: Effects<Output>) -> Vec<String> {
        for change in effects.changes {
            match change {
                RowChange::Put(row) => self.rows.insert(row.key().text(), row),
                RowChange::Delete(key) => self.rows.remove(&key.text()),
            };
        }
        assert_eq!(self.agent.check(), Ok(()));
        self.outputs = effects.outputs;
        self.outputs.iter().map(line).collect()
    }

    fn report(&self) -> &AgentReport {
        let found = self.outputs.iter().find_map(|output| match output {
            Output::Allocator(AgentToAllocator::Report(report)) => Some(report),
            _ => None,
        });
        found.expect("a report")
    }

    fn started(&mut self, container: &str) -> Vec<String> {
        self.step(Event::Started { container: container.into(), body: Bytes::new() })
    }

    fn exited(&mut self, container: &str, code: i32) -> Vec<String> {
        self.step(Event::Exited { container: container.into(), ended: Ended { code: Some(code), ..Ended::default() } })
    }

    fn acknowledge(&mut self, number: u64) -> Vec<String> {
        self.tell(ToAgent::Acknowledged { framework: "f".into(), task: "t".into(), launch: "l".into(), number })
    }
}

fn facts() -> TaskFacts {
    TaskFacts { grace_ms: 3000, ..TaskFacts::default() }
}

fn launch(launch: &str, task: &str, cpus: i64) -> Order {
    Order::Launch(Box::new(LaunchOrder {
        launch: launch.into(),
        framework: "f".into(),
        facts: FrameworkFacts::default(),
        executor: task.into(),
        role: "*".into(),
        executor_resources: Resources::new(),
        executor_body: None,
        tasks: vec![(task.into(), Resources::of(&[("cpus", cpus)]), Bytes::new())],
        trace: None,
        kind: LaunchKind::Command,
    }))
}

/// A launch of tasks with an executor `e` of theirs.
fn group(id: &str, tasks: &[&str], kind: LaunchKind) -> Order {
    let Order::Launch(mut order) = launch(id, "t", 1000) else { unreachable!() };
    let task = |task: &&str| ((*task).into(), Resources::of(&[("cpus", 1000)]), Bytes::from((*task).to_owned()));
    order.tasks = tasks.iter().map(task).collect();
    order.executor = "e".into();
    order.executor_resources = Resources::of(&[("cpus", 100)]);
    order.executor_body = Some(Bytes::from_static(b"executor"));
    order.kind = kind;
    Order::Launch(order)
}

fn kill(task: &str) -> Order {
    Order::Kill { framework: "f".into(), task: task.into(), grace_ms: None }
}

fn line(output: &Output) -> String {
    match output {
        Output::Allocator(AgentToAllocator::Report(report)) => {
            format!("report {}:{}", report.term.epoch, report.number)
        }
        Output::Allocator(AgentToAllocator::Beat { term, number, .. }) => format!("beat {}:{number}", term.epoch),
        Output::Allocator(AgentToAllocator::Disobeys { term, .. }) => format!("obeys {}", term.epoch),
        Output::Registry(AgentToRegistry::Update { update, .. }) => {
            let reason = update.status.reason.and_then(Reason::name).map(|name| format!(" {name}")).unwrap_or_default();
            format!("{} #{} {}{reason}", update.status.task, update.number, update.status.state.name())
        }
        Output::Registry(AgentToRegistry::Forgotten { task, .. }) => format!("forgot {task}"),
        Output::Registry(AgentToRegistry::Knows { tasks, .. }) => format!("knows {} tasks", tasks.len()),
        Output::Registry(AgentToRegistry::Message { .. }) => "message".into(),
        Output::Registry(AgentToRegistry::ExecutorExited { executor, status, .. }) => {
            format!("executor {executor} exited {status}")
        }
        Output::Launch(order) => format!("start {}", order.container),
        Output::Wait { container } => format!("wait {container}"),
        Output::Kill { container, grace_ms } => format!("kill {container} {grace_ms}"),
        Output::Destroy { container } => format!("destroy {container}"),
        Output::Check { container } => format!("check {container}"),
        Output::ToExecutor { stream, event } => format!("to {}: {}", stream.0, event_line(event)),
        Output::ExecutorAnswer { request, answer: Ok(()) } => format!("{} taken", request.0),
        Output::ExecutorAnswer { request, answer: Err((status, text)) } => format!("{} {status} {text}", request.0),
        Output::CloseExecutor { stream } => format!("close {}", stream.0),
        Output::Resize { container, resources } => format!("resize {container} {resources}"),
        Output::Volumes { made, removed } => format!("volumes +{made} -{removed}"),
        Output::Ignored { message } => format!("ignored: {message}"),
        Output::Admitted { agent } => format!("admitted {agent}"),
        Output::Refused { reason } => format!("refused: {reason}"),
    }
}

fn event_line(event: &ExecutorEvent) -> String {
    match event {
        ExecutorEvent::Subscribed { container, .. } => format!("subscribed {container}"),
        ExecutorEvent::Launch(body) => format!("launch {}", String::from_utf8_lossy(body)),
        ExecutorEvent::LaunchGroup(bodies) => {
            let bodies: Vec<_> = bodies.iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect();
            format!("launch group {}", bodies.join("+"))
        }
        ExecutorEvent::Kill { task, .. } => format!("kill {task}"),
        ExecutorEvent::Acknowledged { task, uuid } => format!("acknowledged {task} {uuid}"),
        ExecutorEvent::Message(data) => format!("message {}", String::from_utf8_lossy(data)),
        ExecutorEvent::Shutdown => "shutdown".into(),
    }
}

#[test]
fn a_new_agent_reports_until_it_is_admitted_and_beats_from_then_on() {
    let mut host = Host::new();
    assert_eq!(host.start(&[]), ["report 0:0"]);
    assert_eq!(host.later(500), ["report 0:0"]);
    assert!(host.later(500).is_empty(), "it waits longer each time");
    assert_eq!(host.tell(ToAgent::Handshake { term: term(1), spread_ms: 0 }), ["report 0:0"]);
    assert_eq!(host.report().answers, Some(term(1)));
    assert_eq!(host.tell(ToAgent::Welcome { instance: 7, agent: "a".into(), term: term(1) }), ["admitted a"]);
    assert_eq!(host.later(5000), ["beat 1:0"]);
}

#[test]
fn a_task_runs_ends_and_is_forgotten_once_its_end_is_acknowledged() {
    let mut host = Host::admitted();
    assert_eq!(host.order(1, launch("l", "t", 1000)), ["start l.0", "beat 1:1"]);
    assert_eq!(host.agent.used(), &Resources::of(&[("cpus", 1000)]));
    assert_eq!(host.started("l.0"), ["t #1 TASK_RUNNING"]);
    assert_eq!(host.exited("l.0", 0), ["t #2 TASK_FINISHED"]);
    assert!(host.agent.used().is_empty(), "what it held is free before anybody acknowledged");
    assert!(host.acknowledge(1).is_empty());
    assert_eq!(host.acknowledge(2), ["destroy l.0", "forgot t"]);
    assert!(!host.rows.contains_key("executor/l"));
    assert_eq!(host.acknowledge(2), ["forgot t"], "an acknowledgement of what is forgotten is answered again");
}

#[test]
fn an_end_says_how_in_mesos_words() {
    let end = |ended: Ended| {
        let mut host = Host::admitted();
        host.order(1, launch("l", "t", 1000));
        host.started("l.0");
        let lines = host.step(Event::Exited { container: "l.0".into(), ended });
        let Some(Output::Registry(AgentToRegistry::Update { update, .. })) = host.outputs.first() else {
            panic!("{lines:?}")
        };
        (lines[0].clone(), update.status.message.clone().unwrap_or_default(), update.status.exit_code)
    };
    let code = |code| Ended { code: Some(code), ..Ended::default() };
    assert_eq!(end(code(0)), ("t #2 TASK_FINISHED".into(), "Command exited with status 0".into(), Some(0)));
    let failed = "t #2 TASK_FAILED REASON_COMMAND_EXECUTOR_FAILED";
    assert_eq!(end(code(3)), (failed.into(), "Command exited with status 3".into(), Some(3)));
    let signal = Ended { signal: Some(9), ..Ended::default() };
    assert_eq!(end(signal), (failed.into(), "Command terminated with signal Killed".into(), None));
    let memory = Ended { signal: Some(9), out_of_memory: true, ..Ended::default() };
    assert_eq!(end(memory).0, "t #2 TASK_FAILED REASON_CONTAINER_LIMITATION_MEMORY");
}

#[test]
fn a_killed_task_is_killed_whatever_its_exit_code_and_asked_again_if_it_does_not_end() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    assert_eq!(host.order(2, kill("t")), ["kill l.0 3000", "t #2 TASK_KILLING", "beat 1:2"]);
    let lines = host.later(13_000);
    assert!(lines.contains(&"kill l.0 3000".to_owned()), "{lines:?}");
    assert_eq!(host.exited("l.0", 0), ["t #3 TASK_KILLED"]);
}

#[test]
fn a_task_that_is_killed_while_it_is_started_does_not_run_on() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    assert_eq!(host.order(2, kill("t")), ["kill l.0 3000", "beat 1:2"]);
    assert_eq!(host.started("l.0"), ["kill l.0 3000"], "too late to stop the start: it is killed once more");
    assert_eq!(host.exited("l.0", 137), ["t #1 TASK_KILLED"]);
}

#[test]
fn f21_orders_are_taken_up_once_and_in_order() {
    let mut host = Host::admitted();
    assert_eq!(
        host.order(2, launch("l2", "u", 1000)),
        ["beat 1:0"],
        "the first one is missing: the allocator sends it again"
    );
    assert_eq!(host.order(1, launch("l", "t", 1000)), ["start l.0", "beat 1:1"]);
    assert_eq!(host.order(1, launch("l", "t", 1000)), ["beat 1:1"], "a repeat has no second effect");
    assert_eq!(host.order(2, launch("l2", "u", 1000)), ["start l2.0", "beat 1:2"]);
}

#[test]
fn f4_a_lower_term_or_an_equal_one_of_another_leader_is_not_obeyed() {
    let mut host = Host::admitted();
    host.tell(ToAgent::Handshake { term: term(3), spread_ms: 0 });
    for stale in [term(1), Term { epoch: 3, leader: 99 }] {
        let message = ToAgent::Orders { term: stale, first: 1, orders: vec![launch("l", "t", 1000)] };
        assert_eq!(host.tell(message), ["obeys 3"]);
        assert_eq!(host.tell(ToAgent::Handshake { term: stale, spread_ms: 0 }), ["obeys 3"]);
    }
    assert_eq!(host.agent.executors().count(), 0);
    let lines = host.restart(&[]);
    assert_eq!(lines, ["report 1:0"], "what it obeyed and what it promised survive a restart");
    assert_eq!(host.tell(ToAgent::Handshake { term: term(2), spread_ms: 0 }), ["obeys 3"]);
}

#[test]
fn f3_until_the_handshake_is_done_a_report_says_what_was_taken_up_of_the_old_term() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    assert_eq!(host.tell(ToAgent::Handshake { term: term(2), spread_ms: 0 }), ["report 1:1"]);
    assert_eq!(
        host.tell(ToAgent::Handshake { term: term(2), spread_ms: 0 }),
        ["report 1:1"],
        "asked twice, answered alike"
    );
    host.tell(ToAgent::Welcome { instance: 7, agent: "a".into(), term: term(2) });
    assert_eq!(host.order(1, launch("l2", "u", 1000)), ["start l2.0", "beat 2:1"]);
    assert_eq!(host.tell(ToAgent::Handshake { term: term(2), spread_ms: 0 }), ["report 2:1"]);
}

#[test]
fn f49_a_launch_that_does_not_fit_is_dropped_and_said_so() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 3000));
    assert_eq!(host.order(2, launch("l2", "u", 2000)), ["u #1 TASK_DROPPED REASON_RESOURCES_UNKNOWN", "beat 1:2"]);
    assert_eq!(host.agent.used(), &Resources::of(&[("cpus", 3000)]));
}

#[test]
fn f39_an_agent_that_can_start_nothing_says_so_refuses_launches_and_keeps_its_tasks() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    let full = |free: u64| Event::Degraded(Some(format!("its disk is full: {free} MB are left")));
    assert_eq!(host.step(full(3)), ["report 1:1"]);
    assert_eq!(host.report().degraded.as_deref(), Some("its disk is full: 3 MB are left"));
    assert_eq!(host.step(full(2)), Vec::<String>::new(), "the same in other words is no news");
    let lines = host.order(2, launch("l2", "u", 1000));
    assert_eq!(lines, ["u #1 TASK_DROPPED REASON_CONTAINER_LAUNCH_FAILED", "beat 1:2"]);
    assert_eq!(host.agent.used(), &Resources::of(&[("cpus", 1000)]), "the task that runs is not touched");
    assert_eq!(host.step(Event::Degraded(None)), ["report 1:2"]);
    assert_eq!(host.report().degraded, None);
    assert!(host.order(3, launch("l3", "v", 1000)).contains(&"start l3.0".to_owned()));
}

#[test]
fn f56_an_update_is_told_again_until_the_registry_has_it_and_then_until_it_is_acknowledged() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    assert_eq!(host.later(1000), ["t #1 TASK_RUNNING"]);
    assert!(host.later(1000).is_empty(), "the next one comes after twice the time");
    assert_eq!(host.later(1000), ["t #1 TASK_RUNNING"]);
    host.tell(ToAgent::Received(vec![("f".into(), "t".into(), 1)]));
    let told = |lines: Vec<String>| lines.iter().filter(|line| line.starts_with('t')).count();
    assert_eq!(told(host.later(9_999)), 0);
    assert_eq!(told(host.later(1)), 1);
    assert_eq!(host.step(Event::BusBack), ["beat 1:1"]);
    assert_eq!(told(host.later(0)), 1, "and at once when the bus is back");
    host.acknowledge(1);
    assert_eq!(told(host.later(20 * MINUTE)), 0);
}

#[test]
fn f31_running_tasks_are_found_again_and_none_is_started_twice() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    let lines = host.restart(&[("l.0", true)]);
    assert_eq!(lines, ["wait l.0", "report 1:1"]);
    assert_eq!(host.report().launches.len(), 1);
    assert_eq!(host.exited("l.0", 5), ["t #2 TASK_FAILED REASON_COMMAND_EXECUTOR_FAILED"]);
}

#[test]
fn f32_a_launch_that_was_written_down_and_not_begun_is_begun_after_a_restart() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    assert_eq!(host.restart(&[]), ["start l.0", "report 1:1"]);
    let lines = host.restart(&[("l.0", true)]);
    assert_eq!(lines, ["wait l.0", "t #1 TASK_RUNNING", "report 1:1"], "begun but not told");
}

#[test]
fn f37_after_a_reboot_tasks_have_ended_once_and_are_not_run_again() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    host.options.boot = "boot-2".into();
    assert_eq!(host.restart(&[]), ["t #2 TASK_FAILED REASON_AGENT_RESTARTED", "report 1:1"]);
    let lines = host.restart(&[]);
    assert_eq!(lines, ["report 1:1"], "ended before; only told again: {lines:?}");
}

#[test]
fn a_framework_that_is_shut_down_leaves_nothing_and_nothing_is_told() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    let lines = host.order(2, Order::ShutdownFramework("f".into()));
    assert!(lines.contains(&"kill l.0 3000".to_owned()), "{lines:?}");
    let lines = host.exited("l.0", 0);
    assert!(lines.contains(&"destroy l.0".to_owned()), "{lines:?}");
    assert_eq!(host.agent.executors().count(), 0);
    assert!(host.agent.used().is_empty());
}

#[test]
fn an_unhealthy_task_is_killed_after_so_many_failures_in_a_row() {
    let mut host = Host::admitted();
    let plan = HealthPlan { delay_ms: 100, interval_ms: 200, grace_ms: 0, failures_max: 2 };
    host.order_with(1, launch("l", "t", 1000), TaskFacts { health: Some(plan), ..facts() });
    host.started("l.0");
    host.tell(ToAgent::Received(vec![("f".into(), "t".into(), 1)]));
    assert_eq!(host.later(100), ["check l.0"]);
    let check = |outcome: Result<(), String>| Event::Checked { container: "l.0".into(), outcome };
    assert_eq!(host.step(check(Ok(()))), ["t #2 TASK_RUNNING REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"]);
    assert_eq!(host.later(200), ["check l.0"]);
    assert_eq!(host.step(check(Ok(()))), Vec::<String>::new(), "still healthy is no news");
    for (expected, outcome) in [(1, "no"), (2, "no")] {
        host.later(200);
        let lines = host.step(check(Err(outcome.into())));
        assert_eq!(lines.len(), expected, "{lines:?}");
    }
    assert_eq!(host.outputs.iter().map(line).next_back().as_deref(), Some("kill l.0 3000"));
    let lines = host.exited("l.0", 143);
    assert!(lines[0].ends_with("TASK_KILLED"), "{lines:?}");
    let Some(Output::Registry(AgentToRegistry::Update { update, .. })) = host.outputs.first() else { panic!() };
    assert_eq!(update.status.healthy, Some(false));
}

#[test]
fn a_task_that_runs_too_long_fails_for_that() {
    let mut host = Host::admitted();
    host.order_with(1, launch("l", "t", 1000), TaskFacts { max_completion_ms: Some(2000), ..facts() });
    host.started("l.0");
    let lines = host.later(2000);
    assert!(lines.contains(&"kill l.0 3000".to_owned()), "{lines:?}");
    let lines = host.exited("l.0", 143);
    assert_eq!(lines, ["t #2 TASK_FAILED REASON_MAX_COMPLETION_TIME_REACHED"]);
}

#[test]
fn every_update_has_its_own_uuid_and_a_repeat_the_same() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    let uuid = |host: &Host| {
        host.outputs.iter().find_map(|output| match output {
            Output::Registry(AgentToRegistry::Update { update, .. }) => update.status.uuid,
            _ => None,
        })
    };
    let first = uuid(&host);
    host.later(1000);
    assert_eq!(uuid(&host), first);
    host.exited("l.0", 0);
    assert_ne!(uuid(&host), first);
    assert_eq!(first.map(|uuid| (uuid >> 76) & 0xf), Some(4), "a client may read it as a random UUID");
}

#[test]
fn resend_tells_what_is_not_acknowledged_or_else_the_latest() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    host.acknowledge(1);
    assert_eq!(
        host.tell(ToAgent::Resend { term: Term::default(), spread_ms: 0 }),
        ["t #1 TASK_RUNNING", "knows 1 tasks"]
    );
    host.exited("l.0", 0);
    assert_eq!(
        host.tell(ToAgent::Resend { term: Term::default(), spread_ms: 0 }),
        ["t #2 TASK_FINISHED", "knows 1 tasks"]
    );
}

fn read(text: &str) -> Resources {
    mesos_model::resources_text::parse(text, "*").unwrap()
}

fn with(text: &str, change: impl Fn(&mut mesos_model::resources::Qualifier)) -> Resources {
    let mut out = Resources::new();
    for resource in &read(text) {
        let mut qualifier = resource.qualifier.as_deref().cloned().unwrap_or_default();
        change(&mut qualifier);
        out.add_entry(mesos_model::Resource { qualifier: Some(Arc::new(qualifier)), ..resource.clone() });
    }
    out
}

fn volume(text: &str, id: &str) -> Resources {
    with(text, |qualifier| qualifier.disk = id.as_bytes().to_vec())
}

fn revocable(text: &str) -> Resources {
    with(text, |qualifier| qualifier.revocable = true)
}

fn convert(consumed: Resources, converted: Resources) -> Order {
    Order::Convert(Conversion { name: "X".into(), consumed, converted })
}

fn launch_with(launch_id: &str, task: &str, resources: Resources) -> Order {
    let Order::Launch(mut order) = launch(launch_id, task, 0) else { panic!() };
    order.tasks[0].1 = resources;
    Order::Launch(order)
}

/// With some disk, and a directory that was made for a volume of it.
fn with_volume() -> Host {
    let mut host = Host::new();
    host.options.total = read("cpus:4;mem:1000;disk:100");
    host.restart(&[]);
    host.tell(ToAgent::Handshake { term: term(1), spread_ms: 0 });
    host.tell(ToAgent::Welcome { instance: 7, agent: "a".into(), term: term(1) });
    assert_eq!(host.order(1, convert(read("disk:60"), read("disk(ads):60"))), ["beat 1:1"]);
    let made = host.order(2, convert(read("disk(ads):50"), volume("disk(ads):50", "v")));
    assert_eq!(made, ["volumes +disk(ads):50 -", "beat 1:2"]);
    host
}

#[test]
fn operations_are_synced_with_their_number_and_survive_a_restart() {
    let mut host = with_volume();
    let total = read("cpus:4;mem:1000;disk:40;disk(ads):10").plus(&volume("disk(ads):50", "v"));
    assert_eq!(host.agent.total(), &total);
    let lines = host.restart(&[]);
    assert_eq!(lines, ["volumes +disk(ads):50 -", "report 1:2"], "the directory is made again if it is not there");
    assert_eq!(host.report().total, total);
    assert_eq!(host.order(2, convert(read("disk:40"), read("disk(ads):40"))), ["report 1:2"], "taken up once");
    host.options.total = read("cpus:6;mem:1000;disk:100");
    host.restart(&[]);
    assert_eq!(host.report().total, total.plus(&read("cpus:2")));
}

#[test]
fn a_volume_that_is_gone_is_removed_and_one_that_changes_its_size_is_not() {
    let mut host = with_volume();
    let grow = convert(volume("disk(ads):50", "v").plus(&read("disk(ads):10")), volume("disk(ads):60", "v"));
    assert_eq!(host.order(3, grow), ["beat 1:3"]);
    let shrink = convert(volume("disk(ads):60", "v"), volume("disk(ads):20", "v").plus(&read("disk(ads):40")));
    assert_eq!(host.order(4, shrink), ["beat 1:4"]);
    let destroy = convert(volume("disk(ads):20", "v"), read("disk(ads):20"));
    assert_eq!(host.order(5, destroy), ["volumes + -disk(ads):20", "beat 1:5"]);
    assert_eq!(host.agent.total(), &read("cpus:4;mem:1000;disk:40;disk(ads):60"));
}

#[test]
fn an_operation_on_what_is_not_there_or_in_use_has_no_effect_and_the_allocator_hears_of_it() {
    let mut host = with_volume();
    let total = host.agent.total().clone();
    for (number, consumed) in [(3, read("disk:41")), (4, volume("disk(ads):50", "other"))] {
        let lines = host.order(number, convert(consumed, read("disk(web):41")));
        assert!(lines[0].starts_with("ignored: X was ordered and not done"), "{lines:?}");
        assert_eq!(lines[1..], [format!("report 1:{number}")]);
        assert_eq!(host.report().total, total);
    }
    host.tell(ToAgent::Welcome { instance: 7, agent: "a".into(), term: term(1) });
    host.order(5, launch_with("l", "t", volume("disk(ads):50", "v")));
    let lines = host.order(6, convert(volume("disk(ads):50", "v"), read("disk(ads):50")));
    assert!(lines[0].starts_with("ignored:"), "a task uses it: {lines:?}");
    assert_eq!(host.agent.total(), &total);
}

#[test]
fn a_shared_volume_is_used_by_several_tasks_and_another_one_is_not() {
    let mut host = with_volume();
    assert_eq!(host.order(3, launch_with("l", "t", volume("disk(ads):50", "v")))[0], "start l.0");
    let lines = host.order(4, launch_with("m", "u", volume("disk(ads):50", "v")));
    assert!(lines[0].contains("TASK_DROPPED"), "{lines:?}");
    let shared = with("disk(ads):10", |qualifier| {
        qualifier.disk = b"s".to_vec();
        qualifier.shared = true;
    });
    host.order(5, convert(read("disk(ads):10"), shared.clone()));
    for (number, launch, task) in [(6, "n", "x"), (7, "o", "y")] {
        assert_eq!(host.order(number, launch_with(launch, task, shared.clone()))[0], format!("start {launch}.0"));
    }
}

#[test]
fn what_is_taken_back_at_any_time_is_reported_counts_for_launches_and_is_news_when_it_changes() {
    let mut host = Host::new();
    host.options.oversubscribed = revocable("cpus:2");
    host.restart(&[]);
    assert_eq!(host.report().oversubscribed, revocable("cpus:2"));
    host.tell(ToAgent::Handshake { term: term(1), spread_ms: 0 });
    host.tell(ToAgent::Welcome { instance: 7, agent: "a".into(), term: term(1) });
    assert_eq!(host.order(1, launch_with("l", "t", revocable("cpus:2")))[0], "start l.0");
    assert!(host.order(2, launch_with("m", "u", revocable("cpus:1")))[0].contains("TASK_DROPPED"));
    assert!(host.step(Event::Estimated(revocable("cpus:1.95"))).is_empty(), "hardly another one");
    assert_eq!(host.step(Event::Estimated(revocable("cpus:1"))), ["report 1:2"]);
    assert_eq!(host.report().oversubscribed, revocable("cpus:1"));
    assert!(host.step(Event::Estimated(revocable("cpus:1"))).is_empty(), "told");
}

fn preempt(task: &str) -> Order {
    Order::Preempt { framework: "f".into(), task: task.into(), message: "for the task x of role web".into() }
}

const PREEMPTED: &str = "TASK_GONE REASON_CONTAINER_PREEMPTED";

#[test]
fn a_preempted_task_gets_its_grace_and_says_why_it_ended() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    assert_eq!(host.order(2, preempt("t")), ["kill l.0 3000", "beat 1:2"]);
    assert_eq!(host.order(3, preempt("t")), ["beat 1:3"], "asked once");
    assert_eq!(host.exited("l.0", 0), [format!("t #2 {PREEMPTED}")]);
    let Some(Output::Registry(AgentToRegistry::Update { update, .. })) = host.outputs.first() else { panic!() };
    assert_eq!(update.status.source, mesos_model::Source::Agent);
    assert_eq!(update.status.message.as_deref(), Some("for the task x of role web"));
}

#[test]
fn a_preemption_survives_a_restart_wherever_it_is_met() {
    for (started, container, expected) in [
        (true, Some(true), "kill l.0 3000"),
        (false, Some(true), "kill l.0 3000"),
        (true, None, "t #2 TASK_GONE REASON_CONTAINER_PREEMPTED"),
        (false, None, "t #1 TASK_GONE REASON_CONTAINER_PREEMPTED"),
    ] {
        let mut host = Host::admitted();
        host.order(1, launch("l", "t", 1000));
        if started {
            host.started("l.0");
        }
        host.order(2, preempt("t"));
        let containers: Vec<(&str, bool)> = container.into_iter().map(|running| ("l.0", running)).collect();
        let lines = host.restart(&containers);
        assert!(lines.iter().any(|line| line == expected), "{started} {container:?}: {lines:?}");
        if container.is_some() {
            let ended = host.exited("l.0", 143);
            assert!(ended[0].ends_with(PREEMPTED), "{ended:?}");
        }
    }
}

#[test]
fn a_task_that_was_asked_to_end_already_ends_as_that() {
    let mut host = Host::admitted();
    host.order(1, launch("l", "t", 1000));
    host.started("l.0");
    host.order(2, kill("t"));
    host.order(3, preempt("t"));
    let lines = host.exited("l.0", 143);
    assert!(lines[0].ends_with("TASK_KILLED"), "{lines:?}");
}

#[test]
fn f62_agents_that_are_asked_all_at_once_answer_each_in_its_turn() {
    let spread_ms = 1000;
    let mut answered = BTreeMap::new();
    for instance in 0..500 {
        let mut host = Host::new();
        host.options.new_instance = instance;
        host.agent = Agent::new(host.options.clone());
        host.start(&[]);
        let ask = ToAgent::Handshake { term: term(1), spread_ms };
        let mut said = host.tell(ask);
        let mut waited = 0;
        while !said.iter().any(|line| line.starts_with("report")) {
            assert!(waited < spread_ms, "not within the time given");
            waited += 10;
            said = host.later(10);
        }
        assert_eq!(host.report().answers, Some(term(1)));
        *answered.entry(waited / 100).or_insert(0) += 1;
    }
    assert!(answered.len() >= 10 && answered.values().all(|count| *count < 100), "{answered:?}");
    // One that is asked alone answers at once.
    let mut host = Host::admitted();
    assert_eq!(host.tell(ToAgent::Handshake { term: term(2), spread_ms: 0 }), ["report 1:0"]);
}

#[test]
fn agents_that_are_all_asked_for_their_updates_tell_them_each_in_its_turn() {
    let spread_ms = 1000;
    let mut told = BTreeMap::new();
    for instance in 0..500 {
        let mut host = Host::new();
        host.options.new_instance = instance;
        host.agent = Agent::new(host.options.clone());
        host.start(&[]);
        host.tell(ToAgent::Welcome { instance, agent: "S".into(), term: term(1) });
        let mut said = host.tell(ToAgent::Resend { term: term(1), spread_ms });
        let mut waited = 0;
        while !said.iter().any(|line| line.starts_with("knows")) {
            assert!(waited < spread_ms, "not within the time given");
            waited += 10;
            said = host.later(10);
        }
        *told.entry(waited / 100).or_insert(0) += 1;
    }
    assert!(told.len() >= 10 && told.values().all(|count| *count < 100), "{told:?}");
}

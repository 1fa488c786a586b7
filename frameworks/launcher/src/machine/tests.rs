use mesos_core::message::{AnswerBody, Submission};
use mesos_model::resources_text::parse;

use super::*;

mod order;

/// A launcher with its rows, driven as its driver does: step, settle, commit.
struct Stage {
    launcher: Launcher,
    rows: BTreeMap<RowKey, Row>,
    now: Time,
    term: u64,
    offers: u64,
    requests: u64,
}

impl Stage {
    /// A leader that is subscribed.
    fn new() -> Stage {
        let mut stage = Stage {
            launcher: Launcher::default(),
            rows: BTreeMap::new(),
            now: Time(1_000_000),
            term: 0,
            offers: 0,
            requests: 0,
        };
        stage.lead();
        stage.event(Event::Subscribed("f".into()));
        stage
    }

    fn commit(&mut self, effects: Out) -> Vec<Output> {
        for change in effects.changes {
            match change {
                RowChange::Put(row) => self.rows.insert(row.key(), row),
                RowChange::Delete(key) => self.rows.remove(&key),
            };
        }
        effects.outputs
    }

    fn event(&mut self, event: Event) -> Vec<Output> {
        let mut effects = Out::default();
        self.launcher.step(self.now, event, &mut effects);
        self.launcher.settle(self.now, &mut effects);
        self.commit(effects)
    }

    fn lead(&mut self) -> Vec<Output> {
        self.term += 1;
        let mut effects = Out::default();
        let term = Term { epoch: self.term, leader: u128::from(self.term) * 7919 };
        self.launcher.lead(self.now, term, &mut effects);
        self.launcher.settle(self.now, &mut effects);
        self.commit(effects)
    }

    /// Another process takes over with what was committed.
    fn fail_over(&mut self) -> Vec<Output> {
        self.launcher = Launcher::default();
        for row in self.rows.values() {
            self.launcher.restore(RowChange::Put(row.clone()));
        }
        self.lead()
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, span: Duration) -> Vec<Output> {
        let end = self.now.after(span);
        let mut outputs = Vec::new();
        let mut rounds = 0;
        while let Some(at) = self.launcher.deadline().filter(|at| *at <= end) {
            rounds += 1;
            assert!(rounds < 10_000, "a deadline does not move on");
            self.now = self.now.max(at);
            let mut effects = Out::default();
            self.launcher.tick(self.now, &mut effects);
            self.launcher.settle(self.now, &mut effects);
            outputs.extend(self.commit(effects));
        }
        self.now = end;
        outputs
    }

    fn call(&mut self, call: &str, what: LauncherCall) -> (Answer, Vec<Output>) {
        self.requests += 1;
        let call = Call::new(call, "g", what);
        let mut outputs = self.event(Event::Call(call, RequestId(self.requests)));
        let at = outputs.iter().position(|output| matches!(output, Output::Reply(..))).expect("an answer");
        let Output::Reply(_, answer) = outputs.remove(at) else { unreachable!() };
        (answer, outputs)
    }

    fn submit(&mut self, call: &str, name: &str, instances: u32, resources: &str) -> (Vec<TaskId>, Vec<Output>) {
        let (answer, outputs) = self.call(call, submission(name, instances, resources));
        let AnswerBody::Submitted { tasks, .. } = answer.body else { panic!("{answer:?}") };
        (tasks, outputs)
    }

    fn offer(&mut self, agent: &str, resources: &str) -> Vec<Output> {
        let offer = self.make_offer(agent, resources, "*");
        self.event(Event::Offers(vec![offer]))
    }

    fn make_offer(&mut self, agent: &str, resources: &str, role: &str) -> Offer {
        self.offers += 1;
        Offer {
            id: format!("O{}", self.offers).into(),
            role: role.into(),
            agent: agent.into(),
            hostname: "h".into(),
            ip: String::new(),
            port: 0,
            resources: parse(resources, "*").unwrap(),
            attributes: Vec::new(),
            domain: None,
            executors: Vec::new(),
            unavailability: None,
        }
    }

    fn update(&mut self, task: &TaskId, state: TaskState) -> Vec<Output> {
        let mut status = status(task, state);
        status.uuid = Some(Bytes::from_static(b"u"));
        self.event(Event::Update(status))
    }

    /// The answer to a RECONCILE.
    fn reconciled(&mut self, task: &TaskId, state: TaskState) -> Vec<Output> {
        let mut status = status(task, state);
        status.reason = Some(Reason::RECONCILIATION);
        self.event(Event::Update(status))
    }

    fn row(&self, task: &TaskId) -> JobRow {
        match self.rows.get(&RowKey::Job(task.clone())) {
            Some(Row::Job(row)) => row.clone(),
            other => panic!("{task}: {other:?}"),
        }
    }

    fn message(&mut self, task: &TaskId) -> String {
        let (answer, _) = self.call("q", LauncherCall::Query { tasks: vec![task.clone()] });
        let AnswerBody::Jobs { jobs, .. } = answer.body else { panic!("{answer:?}") };
        jobs[0].message.clone().unwrap_or_default()
    }
}

fn submission(name: &str, instances: u32, resources: &str) -> LauncherCall {
    LauncherCall::Submit(Box::new(Submission {
        name: name.into(),
        instances,
        template: Bytes::from_static(b"template"),
        resources: parse(resources, "*").unwrap(),
        role: "*".into(),
        attributes: Vec::new(),
        priority: 0,
        hold_ms: None,
    }))
}

fn status(task: &TaskId, state: TaskState) -> Status {
    Status {
        task: task.clone(),
        state,
        message: None,
        reason: None,
        exit_code: None,
        agent: Some("a".into()),
        uuid: None,
    }
}

fn placed(outputs: &[Output]) -> Vec<TaskId> {
    let accepts = outputs.iter().filter_map(|output| match output {
        Output::Accept { tasks, .. } => Some(tasks),
        _ => None,
    });
    accepts.flatten().map(|placed| placed.task.clone()).collect()
}

fn kinds(outputs: &[Output]) -> Vec<&'static str> {
    let kind = |output: &Output| match output {
        Output::Reply(..) => "reply",
        Output::Subscribe { .. } => "subscribe",
        Output::Roles(_) => "roles",
        Output::Accept { .. } => "accept",
        Output::Decline { .. } => "decline",
        Output::Revive => "revive",
        Output::Suppress => "suppress",
        Output::Request(_) => "request",
        Output::Kill { .. } => "kill",
        Output::Acknowledge { .. } => "acknowledge",
        Output::Reconcile(_) => "reconcile",
    };
    outputs.iter().map(kind).collect()
}

#[test]
fn a_task_goes_from_its_submission_to_its_end() {
    let mut stage = Stage::new();
    let (tasks, outputs) = stage.submit("c1", "test task", 1, "cpus:0.5;mem:128");
    assert_eq!(kinds(&outputs), ["revive", "request"], "offers are asked for at once");
    assert!(tasks[0].as_str().starts_with("test-task."), "{}", tasks[0]);
    let outputs = stage.offer("a", "cpus:4;mem:4096;disk:10;ports:[1-9]");
    assert_eq!(kinds(&outputs), ["accept", "suppress", "request"]);
    let Output::Accept { tasks: launched, .. } = &outputs[0] else { unreachable!() };
    assert_eq!(launched[0].resources.to_string(), "cpus:0.5; mem:128");
    assert_eq!(launched[0].template, "template");
    assert_eq!(stage.row(&tasks[0]).agent, Some("a".into()), "the placement is written before the ACCEPT leaves");
    for state in [TaskState::Starting, TaskState::Running, TaskState::Finished] {
        let outputs = stage.update(&tasks[0], state);
        assert_eq!(kinds(&outputs), ["acknowledge"]);
        assert_eq!(stage.row(&tasks[0]).state, state);
    }
    assert!(stage.row(&tasks[0]).ended.is_some());
    let later = stage.pass(Duration::from_secs(600));
    assert!(later.is_empty(), "{later:?}");
    stage.pass(Duration::from_secs(3600));
    assert!(stage.rows.keys().all(|key| !matches!(key, RowKey::Job(_))), "an ended task is forgotten after an hour");
}

#[test]
fn a_submission_that_is_repeated_starts_nothing_and_is_answered_as_the_first() {
    let mut stage = Stage::new();
    let (first, _) = stage.submit("c1", "a", 3, "cpus:1");
    let (mut again, outputs) = stage.submit("c1", "a", 3, "cpus:1");
    let mut sorted = first.clone();
    sorted.sort();
    again.sort();
    assert_eq!(sorted, again);
    assert!(outputs.is_empty(), "{outputs:?}");
    stage.fail_over();
    let (mut after, _) = stage.submit("c1", "a", 3, "cpus:1");
    after.sort();
    assert_eq!(sorted, after, "the next leader knows the call too");
    let (other, _) = stage.submit("c2", "a", 1, "cpus:1");
    assert!(!first.contains(&other[0]), "ids of two terms differ");
}

#[test]
fn one_offer_takes_as_many_tasks_as_fit_and_the_rest_wait_in_order() {
    let mut stage = Stage::new();
    let (tasks, _) = stage.submit("c1", "a", 5, "cpus:1");
    let first = placed(&stage.offer("a", "cpus:3"));
    assert_eq!(first.len(), 3);
    assert_eq!(stage.launcher.waiting(), 2);
    let second = placed(&stage.offer("b", "cpus:8"));
    assert_eq!(second.len(), 2);
    assert!(tasks.iter().all(|task| first.contains(task) || second.contains(task)));
}

#[test]
fn a_task_that_does_not_fit_says_what_it_waits_for_and_others_pass_it() {
    let mut stage = Stage::new();
    let (big, _) = stage.submit("c1", "big", 1, "cpus:1000;mem:64");
    assert_eq!(stage.message(&big[0]), "waiting for cpus:1000; mem:64 (no offers at present)");
    let outputs = stage.offer("a", "cpus:2;mem:512");
    assert_eq!(kinds(&outputs), ["decline"]);
    let Output::Decline { refuse, .. } = &outputs[0] else { unreachable!() };
    assert!(*refuse >= Duration::from_secs(60), "what does not fit is not wanted again soon");
    assert_eq!(
        stage.message(&big[0]),
        "waiting for cpus:1000; mem:64 (no offer fits; the largest has cpus:2; mem:512)"
    );
    let (small, outputs) = stage.submit("c2", "small", 1, "cpus:1");
    assert_eq!(kinds(&outputs), ["revive", "request"], "a filter must not hold up the next one");
    assert_eq!(placed(&stage.offer("a", "cpus:2;mem:512")), small);
    assert_eq!(stage.row(&big[0]).agent, None);
}

#[test]
fn waiting_tasks_ask_for_offers_again_when_none_come() {
    let mut stage = Stage::new();
    stage.submit("c1", "a", 1, "cpus:1");
    let outputs = stage.pass(Duration::from_secs(40));
    assert_eq!(kinds(&outputs), ["revive", "revive"]);
}

#[test]
fn offers_that_nobody_waits_for_are_declined_for_long() {
    let mut stage = Stage::new();
    let outputs = stage.offer("a", "cpus:2");
    let [Output::Decline { refuse, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(*refuse >= Duration::from_secs(3600));
}

#[test]
fn a_rescinded_offer_is_not_used() {
    let mut stage = Stage::new();
    stage.submit("c1", "a", 1, "cpus:1");
    let offer = stage.make_offer("a", "cpus:2", "*");
    let mut effects = Out::default();
    stage.launcher.step(stage.now, Event::Offers(vec![offer.clone()]), &mut effects);
    stage.launcher.step(stage.now, Event::Rescind(offer.id), &mut effects);
    stage.launcher.settle(stage.now, &mut effects);
    assert!(placed(&stage.commit(effects)).is_empty());
}

#[test]
fn a_task_killed_before_an_offer_came_never_runs() {
    let mut stage = Stage::new();
    let (tasks, _) = stage.submit("c1", "a", 2, "cpus:1");
    let (answer, outputs) = stage.call("k", LauncherCall::Kill { task: tasks[0].clone(), grace_ms: None });
    assert_eq!(answer.status, 202);
    assert_eq!(kinds(&outputs), ["request"], "less is wanted");
    assert_eq!(stage.row(&tasks[0]).state, TaskState::Killed);
    assert_eq!(placed(&stage.offer("a", "cpus:8")), [tasks[1].clone()]);
    let (answer, _) = stage.call("k", LauncherCall::Kill { task: "nobody".into(), grace_ms: None });
    assert_eq!(answer.status, 404);
}

#[test]
fn a_kill_is_repeated_until_the_task_has_ended() {
    let mut stage = Stage::new();
    let (tasks, _) = stage.submit("c1", "a", 1, "cpus:1");
    stage.offer("a", "cpus:8");
    let (_, outputs) = stage.call("k", LauncherCall::Kill { task: tasks[0].clone(), grace_ms: Some(500) });
    assert_eq!(outputs, [Output::Kill { task: tasks[0].clone(), agent: Some("a".into()), grace_ms: Some(500) }]);
    let outputs = stage.update(&tasks[0], TaskState::Running);
    assert_eq!(kinds(&outputs), ["acknowledge", "kill"], "the kill may have come before the launch");
    stage.update(&tasks[0], TaskState::Killing);
    assert!(kinds(&stage.pass(Duration::from_secs(25))).iter().filter(|kind| **kind == "kill").count() >= 2);
    stage.fail_over();
    let outputs = stage.event(Event::Subscribed("f".into()));
    assert!(kinds(&outputs).contains(&"kill"), "the next leader goes on with it: {outputs:?}");
    stage.update(&tasks[0], TaskState::Killed);
    assert!(stage.pass(Duration::from_secs(60)).is_empty());
}

#[test]
fn a_failover_subscribes_with_the_stored_id_and_reconciles_what_was_placed() {
    let mut stage = Stage::new();
    let (running, _) = stage.submit("c1", "a", 1, "cpus:1");
    stage.offer("a", "cpus:1");
    stage.update(&running[0], TaskState::Running);
    let (waiting, _) = stage.submit("c2", "b", 1, "cpus:1");
    let outputs = stage.fail_over();
    assert_eq!(outputs, [Output::Subscribe { framework: Some("f".into()), roles: vec!["*".into()] }]);
    let outputs = stage.event(Event::Subscribed("f".into()));
    assert_eq!(kinds(&outputs), ["revive", "request", "reconcile"]);
    assert_eq!(outputs[2], Output::Reconcile(vec![(running[0].clone(), Some("a".into()))]));
    let again = stage.pass(Duration::from_secs(4));
    assert_eq!(kinds(&again), ["reconcile", "reconcile"], "asked again, ever more rarely, until it is answered");
    assert!(stage.reconciled(&running[0], TaskState::Running).is_empty());
    assert!(!kinds(&stage.pass(Duration::from_secs(120))).contains(&"reconcile"));
    assert_eq!(placed(&stage.offer("a", "cpus:1")), waiting);
}

#[test]
fn an_accept_that_was_lost_is_found_out_and_made_again() {
    let mut stage = Stage::new();
    let (tasks, _) = stage.submit("c1", "a", 1, "cpus:1");
    stage.offer("a", "cpus:1");
    stage.fail_over();
    stage.event(Event::Subscribed("f".into()));
    stage.reconciled(&tasks[0], TaskState::Gone);
    assert_eq!(stage.launcher.waiting(), 0, "one answer may be older than the launch");
    assert_eq!(kinds(&stage.pass(Duration::from_secs(1))), ["reconcile"]);
    let outputs = stage.reconciled(&tasks[0], TaskState::Gone);
    assert_eq!(kinds(&outputs), ["revive", "request"]);
    assert_eq!(placed(&stage.offer("b", "cpus:1")), tasks, "under the same id: nobody knew it");
}

#[test]
fn a_task_that_was_heard_of_is_never_placed_twice() {
    for state in [TaskState::Gone, TaskState::Unknown, TaskState::Lost, TaskState::GoneByOperator] {
        let mut stage = Stage::new();
        let (tasks, _) = stage.submit("c1", "a", 1, "cpus:1");
        stage.offer("a", "cpus:1");
        stage.update(&tasks[0], TaskState::Running);
        stage.fail_over();
        stage.event(Event::Subscribed("f".into()));
        stage.reconciled(&tasks[0], state);
        assert_eq!(stage.row(&tasks[0]).state, state);
        assert!(stage.row(&tasks[0]).ended.is_some(), "{state:?}");
        assert_eq!(stage.launcher.waiting(), 0);
    }
}

#[test]
fn a_dropped_task_is_placed_again_and_one_dropped_often_waits_for_the_next_round() {
    let mut stage = Stage::new();
    let (tasks, _) = stage.submit("c1", "a", 1, "cpus:1");
    for round in 0..6 {
        assert_eq!(placed(&stage.offer("a", "cpus:1")), tasks, "round {round}");
        let outputs = stage.update(&tasks[0], TaskState::Dropped);
        assert!(kinds(&outputs).contains(&"acknowledge"));
    }
    assert_eq!(stage.row(&tasks[0]).ended, None);
}

#[test]
fn an_unreachable_task_may_come_back() {
    let mut stage = Stage::new();
    let (tasks, _) = stage.submit("c1", "a", 1, "cpus:1");
    stage.offer("a", "cpus:1");
    stage.update(&tasks[0], TaskState::Running);
    stage.update(&tasks[0], TaskState::Unreachable);
    assert_eq!(stage.row(&tasks[0]).ended, None);
    stage.update(&tasks[0], TaskState::Running);
    assert_eq!(stage.row(&tasks[0]).state, TaskState::Running);
}

#[test]
fn a_task_that_runs_without_a_row_is_taken_in() {
    let mut stage = Stage::new();
    let task = TaskId::new("lost.00ff");
    assert_eq!(kinds(&stage.update(&task, TaskState::Running)), ["acknowledge"]);
    assert_eq!((stage.row(&task).name.as_str(), stage.row(&task).state), ("lost", TaskState::Running));
    assert_eq!(kinds(&stage.update(&TaskId::new("other.1"), TaskState::Finished)), ["acknowledge"]);
}

#[test]
fn limits_are_told() {
    let mut stage = Stage::new();
    for (call, what, status) in
        [("c1", submission("a", INSTANCES_MAX + 1, "cpus:1"), 400), ("c2", submission("a", 1, ""), 400)]
    {
        assert_eq!(stage.call(call, what).0.status, status, "{call}");
    }
    for call in 0..10 {
        stage.submit(&format!("many-{call}"), "a", INSTANCES_MAX, "cpus:1");
    }
    let (answer, _) = stage.call("c3", submission("a", 1, "cpus:1"));
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.text.contains("100000"), "{}", answer.text);
}

#[test]
fn before_its_first_subscription_it_has_no_id_to_answer_with() {
    let mut launcher = Launcher::default();
    let mut out = Out::default();
    launcher.lead(Time(1), Term { epoch: 1, leader: 1 }, &mut out);
    let call = Call::new("c", "g", submission("a", 1, "cpus:1"));
    launcher.step(Time(1), Event::Call(call, RequestId(1)), &mut out);
    assert!(matches!(out.outputs.last(), Some(Output::Reply(_, answer)) if answer.status == 503));
}

#[test]
fn f4_that_a_task_is_not_known_is_said_by_who_leads_alone() {
    let mut stage = Stage::new();
    let (known, _) = stage.submit("c1", "a", 1, "cpus:1");
    let mut claims = |what: LauncherCall| {
        let mut out = Out::default();
        let call = Call::new("c2", "g", what);
        stage.launcher.step(stage.now, Event::Call(call, RequestId(9)), &mut out);
        out.claims
    };
    assert!(!claims(LauncherCall::Query { tasks: known.clone() }));
    assert!(claims(LauncherCall::Query { tasks: vec![known[0].clone(), "nobody".into()] }));
    assert!(claims(LauncherCall::Kill { task: "nobody".into(), grace_ms: None }));
    assert!(claims(LauncherCall::SetPriority { task: "nobody".into(), priority: 1 }));
}

#[test]
fn a_removed_framework_ends_its_tasks_and_subscribes_as_a_new_one() {
    let mut stage = Stage::new();
    let (running, _) = stage.submit("c1", "a", 1, "cpus:1");
    stage.offer("a", "cpus:1");
    let (waiting, _) = stage.submit("c2", "b", 1, "cpus:1");
    let outputs = stage.event(Event::Refused("Framework failed over".into()));
    assert_eq!(outputs, [Output::Subscribe { framework: Some("f".into()), roles: vec!["*".into()] }]);
    let outputs = stage.event(Event::Refused("Framework has been removed".into()));
    assert_eq!(outputs, [Output::Subscribe { framework: None, roles: vec!["*".into()] }]);
    assert_eq!(stage.row(&running[0]).state, TaskState::Killed);
    stage.event(Event::Subscribed("f2".into()));
    assert_eq!(
        stage.rows.get(&RowKey::LauncherSelf),
        Some(&Row::LauncherSelf(LauncherSelfRow { framework: Some("f2".into()) }))
    );
    assert_eq!(placed(&stage.offer("a", "cpus:1")), waiting);
}

#[test]
fn a_role_and_attributes_are_respected() {
    let mut stage = Stage::new();
    let LauncherCall::Submit(mut wanted) = submission("a", 1, "cpus:3") else { unreachable!() };
    wanted.role = "ads".into();
    wanted.attributes = mesos_model::attribute::parse("rack:r2").unwrap();
    let (_, outputs) = stage.call("c", LauncherCall::Submit(wanted));
    assert_eq!(outputs[..2], [Output::Roles(vec!["*".into(), "ads".into()]), Output::Revive]);
    assert!(placed(&stage.offer("a", "cpus:8")).is_empty(), "another role's offer");
    let elsewhere = stage.make_offer("a", "cpus:8", "ads");
    assert!(placed(&stage.event(Event::Offers(vec![elsewhere]))).is_empty(), "another rack");
    let mut right = stage.make_offer("b", "cpus(ads):2;cpus:8", "ads");
    right.attributes = mesos_model::attribute::parse("os:linux;rack:r2").unwrap();
    let outputs = stage.event(Event::Offers(vec![right]));
    let Output::Accept { tasks, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert_eq!(tasks[0].resources.to_string(), "cpus:1; cpus(ads):2", "what is reserved for the role goes first");
}

#[test]
fn tasks_of_two_traces_do_not_share_an_accept() {
    let mut stage = Stage::new();
    for (call, trace_id) in [("c1", 1_u128), ("c2", 2)] {
        let trace = Some(Trace { trace_id, span_id: 9 });
        let call = Call { trace, ..Call::new(call, "g", submission("a", 1, "cpus:1")) };
        stage.event(Event::Call(call, RequestId(0)));
    }
    let outputs = stage.offer("a", "cpus:8");
    let Output::Accept { tasks, refuse, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert_eq!((tasks.len(), *refuse), (1, Duration::ZERO), "the rest comes back at once");
    assert_eq!(placed(&stage.offer("a", "cpus:7")).len(), 1);
}

#[test]
fn ended_tasks_are_kept_within_bounds() {
    let mut stage = Stage::new();
    let (tasks, _) = stage.submit("c1", "a", 1500, "cpus:1");
    assert_eq!(placed(&stage.offer("a", "cpus:1500")).len(), 1500);
    for task in &tasks {
        stage.update(task, TaskState::Finished);
    }
    assert_eq!(stage.launcher.jobs(), 1500, "a repeat of the call must find them");
    stage.pass(Duration::from_secs(60));
    assert_eq!((stage.launcher.jobs(), stage.rows.len()), (ENDED_MAX, ENDED_MAX + 1));
}

#[test]
fn what_fits_is_taken_exactly() {
    for (wanted, offered, expected) in [
        ("cpus:1;mem:5", "cpus:2;mem:5", Some("cpus:1; mem:5")),
        ("cpus:1;mem:5", "cpus:2;mem:4.999", None),
        ("cpus:3", "cpus:1;cpus(r):1.5", None),
        ("cpus:3", "cpus:2;cpus(r):1.5", Some("cpus:1.5; cpus(r):1.5")),
        ("ports:[10-12]", "ports:[1-11]", None),
        ("ports:[10-12]", "ports:[1-11];ports(r):[12-20]", Some("ports:[10-11]; ports(r):[12-12]")),
        ("zoo:{a}", "zoo:{a,b}", Some("zoo:{a}")),
        ("gpus:1", "cpus:1", None),
        ("cpus(r):1", "cpus:4", None),
        ("cpus(r):1", "cpus:4;cpus(r):1", Some("cpus(r):1")),
    ] {
        let taken = placing::allot(&parse(wanted, "*").unwrap(), &parse(offered, "*").unwrap());
        assert_eq!(taken.map(|taken| taken.resources.to_string()).as_deref(), expected, "{wanted} of {offered}");
    }
}

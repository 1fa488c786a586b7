//! Scenarios as text: `>` is what happens, the lines below it are what the allocator does about it.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use bytes::Bytes;
use mesos_model::{
    AgentId, FrameworkId, LaunchId, Reason, Resources, Role, TaskId, TaskState, Term, Time, resources_text,
};

use super::{Allocator, Event, Options, Output};
use crate::{
    machine::{Effects, Machine},
    message::{
        AgentReport, AgentToAllocator, AllocatorCall, Answer, AnswerBody, Call, Caller, Conversion, ExecutorSpec,
        InverseOffer, Join, MachineId, MaintenanceView, Operation, OperationKind, OperatorCall, Order, Quota,
        ReportedLaunch, Request, RequestId, StreamEvent, TaskSpec, ToAgent, Unavailability, Window, condition, digest,
    },
    row::{
        AgentState, Capabilities, FrameworkFacts, FrameworkInfo, FrameworkRow, FrameworkState, KillOrder, LaunchKind,
        LaunchRow, Row, RowChange, RowKey, Subscription, TaskRow,
    },
};

/// A machine, the time, and everything it has written.
pub(super) struct World {
    pub(super) machine: Allocator,
    pub(super) now: Time,
    pub(super) rows: BTreeMap<RowKey, Row>,
    calls: u64,
}

/// Plays a scenario and compares what the allocator does with what the text says it does.
pub(super) fn plays(text: &str) {
    plays_with(Options::default(), text);
}

pub(super) fn plays_with(options: Options, text: &str) {
    let expected: String =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| line.to_owned() + "\n").collect();
    let mut world = World::new(options);
    let mut played = String::new();
    for line in expected.lines().filter(|line| line.starts_with('>') || line.starts_with('#')) {
        let _ = writeln!(played, "{line}");
        if let Some(event) = line.strip_prefix('>') {
            for line in world.play(event.trim()) {
                let _ = writeln!(played, "{line}");
            }
        }
    }
    assert!(played == expected, "expected:\n{expected}\nplayed:\n{played}");
}

pub(super) fn term(number: u64) -> Term {
    Term { epoch: number, leader: u128::from(number) }
}

pub(super) fn resources(text: &str) -> Resources {
    resources_text::parse(text, "*").unwrap()
}

impl World {
    pub(super) fn new(options: Options) -> World {
        World { machine: Allocator::new(options), now: Time(1_000_000), rows: BTreeMap::new(), calls: 0 }
    }

    fn play(&mut self, line: &str) -> Vec<String> {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let what = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        let named: BTreeMap<&str, &str> = words.iter().filter_map(|word| word.split_once('=')).collect();
        let plain: Vec<&str> = words.iter().filter(|word| !word.contains('=')).copied().collect();
        let number = |name: &str, default: u64| named.get(name).map_or(default, |text| text.parse().unwrap());
        match what {
            "lead" => {
                let n: u64 = plain[0].parse().unwrap();
                self.batch(|machine, now, fx| machine.lead(now, term(n), fx))
            }
            "follow" => {
                self.machine.follow();
                vec![]
            }
            // A standby that has followed takes over; the old machine is gone.
            "standby" => {
                let peers = std::mem::replace(&mut self.machine, Allocator::new(Options::default()));
                for row in self.rows.values().filter(|row| !matches!(row, Row::Body(_))) {
                    self.machine.restore(RowChange::Put(row.clone()));
                }
                let (now, mut fx) = (self.now, Effects::default());
                for row in peers.frameworks.values().filter_map(|framework| framework.row.clone()) {
                    self.machine.peer(now, RowChange::Put(Row::Framework(row)), &mut fx);
                }
                assert!(fx.changes.is_empty() && fx.outputs.is_empty());
                for key in self.machine.cold_wanted() {
                    self.machine.restore(RowChange::Put(self.rows[&key].clone()));
                }
                vec![]
            }
            "framework" => {
                let row = framework_row(plain[0], &named);
                self.peer(RowChange::Put(Row::Framework(row)))
            }
            "forget-task" => self.peer(RowChange::Delete(RowKey::Task(plain[0].into(), plain[1].into()))),
            "forget" => self.peer(RowChange::Delete(RowKey::Framework(plain[0].into()))),
            "task" => {
                let row = task_row(&plain, &named);
                self.peer(RowChange::Put(Row::Task(row)))
            }
            "report" => {
                let report = report(plain[0], &named);
                self.step(Event::Agent(AgentToAllocator::Report(Box::new(report))))
            }
            "beat" => {
                let held: Vec<LaunchId> = list(named.get("holds").copied()).map(launch_id).collect();
                self.step(Event::Agent(AgentToAllocator::Beat {
                    agent: plain[0].into(),
                    instance: u128::from(number("instance", instance_of(plain[0]))),
                    term: term(number("term", 1)),
                    number: number("number", 0),
                    digest: digest(&held).wrapping_add(condition(named.contains_key("degraded"), &Resources::new())),
                }))
            }
            // `inverse f accept I0,I1 refuse=1000`
            "inverse" => {
                let caller = Caller { framework: plain[0].into(), stream: Some(1), operator: false };
                let offers = list(plain.get(2).copied()).map(offer_id).collect();
                let refuse_ms = named.get("refuse").map(|text| text.parse().unwrap());
                self.ask(AllocatorCall::AnswerInverse { caller, offers, accepted: plain[1] == "accept", refuse_ms })
            }
            // `join t key=1 instance=7 agent=a`
            "join" => self.ask(AllocatorCall::Operator(OperatorCall::Join(Join {
                hash: padded(plain[0]),
                key: format!("{:064x}", number("key", 1)),
                instance: u128::from(number("instance", 1)),
                agent: named.get("agent").map(|agent| (*agent).into()),
            }))),
            "maintenance" => maintenance_lines(&self.machine.maintenance_view()),
            "accept" | "decline" => {
                let call = self.offer_call(what, &plain, &named);
                self.step(call)
            }
            "request" => {
                let caller = Caller { framework: plain[0].into(), stream: Some(1), operator: false };
                let requests = plain[1..].iter().map(|text| request(text, &named)).collect();
                self.ask(AllocatorCall::Request { caller, requests })
            }
            "operator" => {
                let (call, known) = (named.get("call").copied(), named.get("term").map(|text| text.parse().unwrap()));
                let call = self.call_as(call, AllocatorCall::Operator(operator_call(&plain, &named)));
                let call = Call { term: known.map(term).unwrap_or_default(), ..call };
                self.step(Event::Call { request: RequestId(self.calls), call })
            }
            "needs" => {
                let view = |need: crate::message::NeedView| {
                    let held: Vec<String> = need.held.iter().map(|(agent, held)| format!("{agent}[{held}]")).collect();
                    let (name, count, held) = (need.name, need.count, held.join(" "));
                    format!(
                        "{} {name}: {} of {count}, holds {held}, waits for {}",
                        need.framework, need.gathered, need.waits_for
                    )
                };
                self.machine.needs().into_iter().map(view).collect()
            }
            "delivered" => {
                let firsts = list(plain.first().copied()).map(offer_id).collect();
                self.step(Event::Delivered(firsts))
            }
            "deaf" => self.step(Event::Deaf(true)),
            "hears" => self.step(Event::Deaf(false)),
            "bus-back" => self.step(Event::BusBack),
            "pass" => self.pass(plain[0].parse().unwrap()),
            "free" => vec![amount(&self.machine.free(&plain[0].into()))],
            "allocated" => vec![amount(&self.machine.allocated(&plain[0].into()))],
            other => panic!("unknown event {other}"),
        }
    }

    /// Lets milliseconds pass, with every deadline that comes in them.
    fn pass(&mut self, ms: u64) -> Vec<String> {
        let end = self.now.after(Duration::from_millis(ms));
        let mut lines = Vec::new();
        while let Some(due) = self.machine.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let told = self.batch(|machine, now, fx| machine.tick(now, fx));
            lines.extend(told.into_iter().map(|line| format!("+{} {line}", (self.now.0 - 1_000_000))));
        }
        self.now = end;
        lines
    }

    fn peer(&mut self, change: RowChange) -> Vec<String> {
        self.batch(|machine, now, fx| machine.peer(now, change, fx))
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        self.batch(|machine, now, fx| machine.step(now, event, fx))
    }

    fn batch(&mut self, run: impl FnOnce(&mut Allocator, Time, &mut Effects<Output>)) -> Vec<String> {
        let fx = self.effects(run);
        fx.changes.iter().filter_map(change_line).chain(fx.outputs.iter().map(output_line)).collect()
    }

    /// One batch: checked, and its rows kept.
    pub(super) fn effects(&mut self, run: impl FnOnce(&mut Allocator, Time, &mut Effects<Output>)) -> Effects<Output> {
        let mut fx = Effects::default();
        run(&mut self.machine, self.now, &mut fx);
        self.machine.settle(self.now, &mut fx);
        for change in &fx.changes {
            match change {
                RowChange::Put(row) => self.rows.insert(row.key(), row.clone()),
                RowChange::Delete(key) => self.rows.remove(key),
            };
        }
        self.machine.check().unwrap();
        fx
    }

    fn ask(&mut self, what: AllocatorCall) -> Vec<String> {
        self.ask_as(None, what)
    }

    /// Under an id of the scenario's own, so that it can be a repeat.
    fn ask_as(&mut self, id: Option<&str>, what: AllocatorCall) -> Vec<String> {
        let call = self.call_as(id, what);
        self.step(Event::Call { request: RequestId(self.calls), call })
    }

    fn call_as(&mut self, id: Option<&str>, what: AllocatorCall) -> Call<AllocatorCall> {
        self.calls += 1;
        Call::new(id.map_or_else(|| format!("call{}", self.calls), str::to_owned), "g", what)
    }

    fn offer_call(&mut self, what: &str, plain: &[&str], named: &BTreeMap<&str, &str>) -> Event {
        let framework = plain[0];
        let stream = match named.get("stream") {
            None => Some(1),
            Some(&"none") => None,
            Some(text) => Some(text.parse().unwrap()),
        };
        let caller = Caller { framework: framework.into(), stream, operator: false };
        let offers = list(plain.get(1).copied()).map(offer_id).collect();
        let refuse_ms = named.get("refuse").map(|text| text.parse().unwrap());
        let agent = named.get("on").copied().unwrap_or("a");
        let what = if what == "decline" {
            AllocatorCall::Decline { caller, offers, refuse_ms }
        } else {
            AllocatorCall::Accept { caller, offers, operations: operations(agent, named), refuse_ms }
        };
        self.calls += 1;
        let call = named.get("call").map_or_else(|| format!("call{}", self.calls), |call| (*call).to_owned());
        Event::Call {
            request: RequestId(self.calls),
            call: Call {
                principal: named.get("principal").map(|text| (*text).to_owned()),
                ..Call::new(call, "g", what)
            },
        }
    }
}

fn amount(resources: &Resources) -> String {
    if resources.is_empty() { "nothing".to_owned() } else { resources.to_string() }
}

fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split(',').filter(|item| !item.is_empty())
}

/// `O3` is an offer of the first term, `2:O3` one of the second.
fn offer_id(text: &str) -> mesos_model::OfferId {
    full_id(text).into()
}

fn launch_id(text: &str) -> LaunchId {
    full_id(text).into()
}

fn full_id(text: &str) -> String {
    let made_up = !text.ends_with(|last: char| last.is_ascii_digit());
    if made_up {
        return text.to_owned();
    }
    let (epoch, rest) = text.split_once(':').unwrap_or(("1", text));
    match epoch.parse() {
        Ok(epoch) => format!("{}-{rest}", term(epoch).leader_text()),
        Err(_) => text.to_owned(),
    }
}

fn short(id: &str) -> String {
    for epoch in 1..9 {
        if let Some(rest) = id.strip_prefix(&format!("{}-", term(epoch).leader_text())) {
            return if epoch == 1 { rest.to_owned() } else { format!("{epoch}:{rest}") };
        }
    }
    id.to_owned()
}

fn instance_of(agent: &str) -> u64 {
    agent.bytes().map(u64::from).sum()
}

pub(super) fn framework_row(id: &str, named: &BTreeMap<&str, &str>) -> FrameworkRow {
    let number = named.get("sub").map_or(1, |text| text.parse().unwrap());
    let state = match named.get("state").copied().unwrap_or("connected") {
        "connected" => FrameworkState::Connected,
        "lost" => FrameworkState::Lost { since: Time(1) },
        "removed" => FrameworkState::Removed { since: Time(1) },
        other => panic!("unknown state {other}"),
    };
    let caps: Vec<&str> = list(named.get("caps").copied()).collect();
    let roles: Vec<Role> = list(Some(named.get("roles").copied().unwrap_or("r"))).map(Role::from).collect();
    let revived = named.get("revived").map_or(0, |text| text.parse().unwrap());
    let least = named.get("min").map(|text| resources(text));
    FrameworkRow {
        id: id.into(),
        info: FrameworkInfo {
            name: id.to_owned(),
            principal: named.get("principal").map(|text| (*text).to_owned()),
            capabilities: Capabilities {
                gpu_resources: caps.contains(&"gpu"),
                partition_aware: caps.contains(&"partition"),
                region_aware: caps.contains(&"region"),
                revocable_resources: caps.contains(&"revocable"),
                reservation_refinement: caps.contains(&"refined"),
                shared_resources: caps.contains(&"shared"),
                ..Capabilities::default()
            },
            min_allocatable: least
                .into_iter()
                .flat_map(|least| roles.iter().map(move |role| (role.clone(), vec![least.clone()])))
                .collect(),
            roles: roles.clone(),
            ..FrameworkInfo::default()
        },
        body: Bytes::new(),
        state,
        subscription: Some(Subscription { number, stream: u128::from(number), gateway: "g".into() }),
        suppressed: list(named.get("suppressed").copied()).map(Role::from).collect(),
        revived: roles.into_iter().map(|role| (role, revived)).collect(),
        priority: named.get("priority").map(|text| text.parse().unwrap()),
        recovered: false,
        registered: Time(1),
        reregistered: Time(1),
    }
}

fn task_row(plain: &[&str], named: &BTreeMap<&str, &str>) -> TaskRow {
    let state = TaskState::ALL.into_iter().find(|state| state.name() == format!("TASK_{}", plain[2])).unwrap();
    TaskRow {
        framework: plain[0].into(),
        task: plain[1].into(),
        name: String::new(),
        launch: launch_id(named.get("launch").copied().unwrap_or("L0")),
        agent: "a".into(),
        executor: plain[1].into(),
        role: "r".into(),
        resources: Resources::new(),
        state,
        status: None,
        number: 0,
        pending: vec![],
        end_acknowledged: false,
        launch_seen: true,
        kill: named.get("kill").map(|text| KillOrder { number: text.parse().unwrap(), grace_ms: None }),
        created: Time(1),
        trace: None,
    }
}

/// `report a total=cpus:4 holds=L0/f/t1:cpus:1+t2:cpus:2`; an agent named `?` has no id.
fn report(agent: &str, named: &BTreeMap<&str, &str>) -> AgentReport {
    let number = |name: &str, default: u64| named.get(name).map_or(default, |text| text.parse().unwrap());
    let launches = list(named.get("holds").copied()).map(reported).collect();
    let attributes = named.get("attributes").copied().unwrap_or_default();
    AgentReport {
        agent: (agent != "?").then(|| AgentId::from(full_id(agent))),
        instance: u128::from(number("instance", instance_of(agent))),
        boot: "boot".into(),
        hostname: format!("host-{agent}"),
        ip: String::new(),
        port: 5051,
        version: "1".into(),
        total: resources(named.get("total").copied().unwrap_or("cpus:4;mem:4096")),
        oversubscribed: Resources::new(),
        degraded: named.get("degraded").map(|why| (*why).to_owned()),
        attributes: mesos_model::attribute::parse(attributes).unwrap(),
        domain: named.get("region").map(|region| ((*region).to_owned(), "z".to_owned())),
        body: Bytes::new(),
        term: term(number("term", 0)),
        number: number("number", 0),
        answers: named.get("answers").map(|text| term(text.parse().unwrap())),
        said: (number("start", 0), number("said", 0)),
        launches,
    }
}

fn reported(text: &str) -> ReportedLaunch {
    let mut parts = text.split('/');
    let (launch, framework) = (parts.next().unwrap(), parts.next().unwrap());
    let (tasks, alive) = (parts.next().unwrap(), parts.next());
    let tasks = tasks.split('+').filter(|task| !task.is_empty()).map(|task| {
        let (task, holds) = task.split_once(':').unwrap();
        (TaskId::from(task), resources(holds))
    });
    ReportedLaunch {
        launch: launch_id(launch),
        framework: framework.into(),
        facts: FrameworkFacts { name: framework.into(), ..FrameworkFacts::default() },
        executor: "e".into(),
        role: "r".into(),
        executor_resources: alive.map(resources).unwrap_or_default(),
        tasks: tasks.collect(),
        kind: if alive.is_some() { LaunchKind::Custom } else { LaunchKind::Command },
        alive: alive.is_some(),
    }
}

/// `run=t1:cpus:1,t2:cpus:2` launches, `group=…` launches a group, `executor=e:cpus:1` names the executor (`own=…`
/// one that the framework brings),
/// `other=RESERVE` is another operation, `id=x` gives all of them an id.
fn operations(agent: &str, named: &BTreeMap<&str, &str>) -> Vec<Operation> {
    let custom = named.contains_key("own");
    let executor = named.get("executor").or_else(|| named.get("own")).map(|text| {
        let (id, holds) = text.split_once(':').unwrap();
        let body = Bytes::from_static(b"executor");
        ExecutorSpec { executor: id.into(), resources: resources(holds), body, custom }
    });
    let tasks = |text: Option<&&str>, executor: Option<ExecutorSpec>| -> Vec<TaskSpec> {
        list(text.copied())
            .map(|task| {
                let (id, holds) = task.split_once(':').unwrap();
                TaskSpec {
                    task: id.into(),
                    name: id.to_owned(),
                    agent: AgentId::from(full_id(agent)),
                    resources: resources(holds),
                    executor: executor.clone(),
                    priority: None,
                    invalid: None,
                    body: Bytes::from(format!("body of {id}")),
                }
            })
            .collect()
    };
    let id = named.get("id").map(|id| (*id).to_owned());
    let mut operations = Vec::new();
    if let Some(name) = named.get("other") {
        operations.push(Operation {
            id: id.clone(),
            kind: OperationKind::Invalid { name: (*name).to_owned(), message: format!("{name} failed: no") },
        });
    }
    for name in ["reserve", "unreserve"] {
        if let Some(text) = named.get(name) {
            operations.push(Operation { id: id.clone(), kind: OperationKind::Convert(conversion(name, text)) });
        }
    }
    if named.contains_key("run") {
        let kind = OperationKind::Launch(tasks(named.get("run"), executor.clone()));
        operations.push(Operation { id: id.clone(), kind });
    }
    if let (Some(group), Some(executor)) = (named.get("group"), executor) {
        operations
            .push(Operation { id, kind: OperationKind::LaunchGroup { executor, tasks: tasks(Some(group), None) } });
    }
    operations
}

/// `cpus(r):1` by operation `reserve`: of what is reserved for nobody; the other way round for `unreserve`.
fn conversion(name: &str, text: &str) -> Conversion {
    let given = resources(text);
    let dynamic = given.iter().cloned().map(|mut resource| {
        if let Some(qualifier) = resource.qualifier.as_mut().map(std::sync::Arc::make_mut) {
            qualifier.reservations.iter_mut().for_each(|level| level.kind = mesos_model::ReservationKind::Dynamic);
        }
        resource
    });
    let reserved = Resources::try_from_entries(dynamic).unwrap();
    let mut plain = Resources::new();
    for mut resource in reserved.iter().cloned() {
        let mut qualifier = resource.qualifier.as_deref().cloned().unwrap_or_default();
        qualifier.reservations.pop();
        resource.qualifier =
            (qualifier != mesos_model::resources::Qualifier::default()).then(|| std::sync::Arc::new(qualifier));
        plain.add_entry(resource);
    }
    let (consumed, converted) = if name == "reserve" { (plain, reserved) } else { (reserved, plain) };
    Conversion { name: name.to_uppercase(), consumed, converted }
}

/// `big:cpus:8*2` is two tasks of 8 cpus; `hold=60000` gathers room, `priority=3`, `role=r`.
fn request(text: &str, named: &BTreeMap<&str, &str>) -> Request {
    let (name, wanted) = text.split_once(':').unwrap();
    let (wanted, count) = wanted.split_once('*').unwrap_or((wanted, "1"));
    Request {
        name: name.to_owned(),
        role: named.get("role").map(|role| Role::from(*role)),
        agent: None,
        resources: resources(wanted),
        count: count.parse().unwrap(),
        hold_ms: named.get("hold").map(|text| text.parse().unwrap()),
        priority: named.get("priority").map(|text| text.parse().unwrap()),
    }
}

/// `weight ROLE MILLI`, `quota ROLE limit=… guarantee=… force=1`, `policy NAME`, `placement ROLE NAME`,
/// `reserve|unreserve AGENT RESOURCES`, `drain AGENT grace=… gone=1`, `deactivate|reactivate|gone AGENT`,
/// `schedule HOST+HOST@START,…`, `down|up HOST,…`.
fn operator_call(plain: &[&str], named: &BTreeMap<&str, &str>) -> OperatorCall {
    let amounts = |name: &str| named.get(name).map(|text| resources(text).scalars()).unwrap_or_default();
    match plain[0] {
        "weight" => OperatorCall::UpdateWeights(vec![(plain[1].into(), plain[2].parse().unwrap())]),
        "quota" => OperatorCall::UpdateQuota {
            force: named.contains_key("force"),
            quotas: vec![Quota { role: plain[1].into(), guarantee: amounts("guarantee"), limit: amounts("limit") }],
        },
        "join-token" => OperatorCall::AddJoinToken {
            hash: padded(plain[1]),
            ttl_ms: named.get("ttl").map_or(60_000, |text| text.parse().unwrap()),
        },
        "policy" => OperatorCall::SetPolicy { policy: plain[1].into(), module: None },
        "placement" => OperatorCall::SetPlacement(plain[1].into(), plain[2].parse().ok()),
        "drain" => OperatorCall::Drain {
            agent: full_id(plain[1]).into(),
            max_grace_ms: named.get("grace").map(|text| text.parse().unwrap()),
            mark_gone: named.contains_key("gone"),
        },
        "deactivate" => OperatorCall::Deactivate(plain[1].into()),
        "reactivate" => OperatorCall::Reactivate(plain[1].into()),
        "gone" => OperatorCall::MarkGone(plain[1].into()),
        "schedule" => OperatorCall::SetSchedule(list(plain.get(1).copied()).map(window).collect()),
        "down" => OperatorCall::StartMaintenance(list(plain.get(1).copied()).map(machine).collect()),
        "up" => OperatorCall::StopMaintenance(list(plain.get(1).copied()).map(machine).collect()),
        name => OperatorCall::Convert { agent: full_id(plain[1]).into(), conversion: conversion(name, plain[2]) },
    }
}

/// A letter as a hash.
fn padded(letter: &str) -> String {
    format!("{:0>64}", u32::from(letter.chars().next().unwrap()))
}

fn unpadded(hash: &str) -> String {
    hash.parse().ok().and_then(char::from_u32).unwrap().to_string()
}

/// `host-a` or `10.0.0.1`, or `host-a/10.0.0.1`; `nobody` names nothing.
fn machine(text: &str) -> MachineId {
    let (first, second) = text.split_once('/').unwrap_or((text, ""));
    match first.parse::<std::net::IpAddr>() {
        Ok(_) => MachineId { hostname: String::new(), ip: first.to_owned() },
        Err(_) if first == "nobody" => MachineId::default(),
        Err(_) => MachineId { hostname: first.to_owned(), ip: second.to_owned() },
    }
}

/// `host-a+host-b@5` from then on, `host-a@5:7` for so long; `@5` is a window without machines.
fn window(text: &str) -> Window {
    let (machines, when) = text.split_once('@').unwrap();
    let (start, duration) = when.split_once(':').map_or((when, None), |(start, duration)| (start, Some(duration)));
    Window {
        machines: machines.split('+').filter(|name| !name.is_empty()).map(machine).collect(),
        unavailability: Unavailability {
            start_ns: start.parse().unwrap(),
            duration_ns: duration.map(|text| text.parse().unwrap()),
        },
    }
}

fn maintenance_lines(view: &MaintenanceView) -> Vec<String> {
    let draining = view.draining.iter().map(|(machine, answers)| {
        let said = answers.iter().map(|answer| {
            let said = match answer.accepted {
                None => "was asked",
                Some(true) => "accepted",
                Some(false) => "declined",
            };
            format!(" {} {said}", answer.framework)
        });
        format!("{machine} draining:{}", said.collect::<Vec<_>>().join(",")).trim_end_matches(':').to_owned()
    });
    draining.chain(view.down.iter().map(|machine| format!("{machine} down"))).collect()
}

fn change_line(change: &RowChange) -> Option<String> {
    Some(match change {
        RowChange::Put(Row::Agent(row)) => {
            let state = match row.state {
                AgentState::Active => format!("shook {}", row.handshake.epoch),
                AgentState::Unreachable { .. } => "unreachable".to_owned(),
                AgentState::Gone => "gone".to_owned(),
            };
            let drain = match row.drain {
                Some(drain) if drain.drained => " drained",
                Some(_) => " draining",
                None if row.deactivated => " deactivated",
                None => "",
            };
            let down = if row.down { " down" } else { "" };
            format!("put agent {} {state}{drain}{down}", short(row.id.as_str()))
        }
        RowChange::Delete(RowKey::Agent(id)) => format!("delete agent {}", short(id.as_str())),
        RowChange::Put(Row::Maintenance(row)) => {
            format!("put maintenance: {} windows, {} down", row.windows.len(), row.down.len())
        }
        RowChange::Delete(RowKey::Maintenance) => "delete maintenance".to_owned(),
        RowChange::Put(Row::JoinToken(row)) => {
            let used = row.used.as_ref().map(|used| format!(" used by {}", short(used.agent.as_str())));
            format!("put join token {}{}", unpadded(&row.hash), used.unwrap_or_default())
        }
        RowChange::Delete(RowKey::JoinToken(hash)) => format!("delete join token {}", unpadded(hash)),
        RowChange::Put(Row::Launch(row)) => format!("put launch {}", launch_text(row)),
        RowChange::Delete(RowKey::Launch(id)) => format!("delete launch {}", short(id.as_str())),
        RowChange::Put(Row::Operation(row)) => {
            let sent = format!("{}.{}", row.sent.0.epoch, row.sent.1);
            format!("put operation {} on {} sent {sent}", short(&row.operation), row.agent)
        }
        RowChange::Delete(RowKey::Operation(id)) => format!("delete operation {}", short(id)),
        RowChange::Put(Row::Role(row)) => format!("put role {}", row.role),
        RowChange::Delete(RowKey::Role(role)) => format!("delete role {role}"),
        RowChange::Put(Row::Policy(row)) => format!("put policy {}", row.policy),
        RowChange::Put(Row::Module(row)) => format!("put module {}", row.name),
        RowChange::Put(Row::Body(_)) | RowChange::Delete(RowKey::Body(_)) => return None,
        other => panic!("unexpected {other:?}"),
    })
}

fn launch_text(row: &LaunchRow) -> String {
    let tasks: Vec<String> = row.tasks.iter().map(|task| format!("{}[{}]", task.task, task.resources)).collect();
    let own = if row.executor_resources.is_empty() { String::new() } else { format!("[{}]", row.executor_resources) };
    let adopted = if row.adopted.is_some() { " adopted" } else { "" };
    let sent = format!("{}.{}", row.sent.0.epoch, row.sent.1);
    format!(
        "{} {}@{} on {} {}{own} {} sent {sent}{adopted}",
        short(row.launch.as_str()),
        row.framework,
        row.role,
        short(row.agent.as_str()),
        row.executor,
        tasks.join(" ")
    )
}

fn output_line(output: &Output) -> String {
    match output {
        Output::Reply { answer: Answer { status, body: AnswerBody::Joined(agent), .. }, .. } => {
            format!("reply {status} {}", short(agent.as_str()))
        }
        Output::Reply { answer, .. } => format!("reply {} {}", answer.status, answer.text).trim_end().to_owned(),
        Output::Stream { event, .. } => format!("{}: {}", event.framework, event_text(&event.event)),
        Output::Agent { agent, message } => format!("{}: {}", short(agent.as_str()), message_text(message)),
        Output::Unregistered { instance, message } => format!("instance {instance}: {}", message_text(message)),
        Output::AllAgents(message) => format!("all agents: {}", message_text(message)),
        Output::RaiseEpoch(term) => format!("raise epoch above {}", term.epoch),
        Output::Trouble(text) => format!("trouble: {text}"),
    }
}

fn event_text(event: &StreamEvent) -> String {
    match event {
        StreamEvent::Offers(offers) => {
            let texts: Vec<String> = offers
                .iter()
                .map(|offer| {
                    let agent = short(offer.agent.as_str());
                    let until = offer.unavailability.map(|when| format!(" until {}", when.start_ns));
                    let until = until.unwrap_or_default();
                    format!("{}={agent}@{}[{}]{until}", short(offer.id.as_str()), offer.role, offer.resources)
                })
                .collect();
            format!("offers {}", texts.join(" "))
        }
        StreamEvent::InverseOffers(offers) => {
            let text = |offer: &InverseOffer| {
                format!("{}={} at {}", short(offer.id.as_str()), offer.agent, offer.unavailability.start_ns)
            };
            format!("leave {}", offers.iter().map(text).collect::<Vec<_>>().join(" "))
        }
        StreamEvent::RescindInverse(offer) => format!("rescind inverse {}", short(offer.as_str())),
        StreamEvent::Rescind(offer) => format!("rescind {}", short(offer.as_str())),
        StreamEvent::Update { status, .. } => format!(
            "update {} {} {} {}",
            status.task,
            status.state.name(),
            status.reason.and_then(Reason::name).unwrap_or_default(),
            short_words(status.message.as_deref().unwrap_or_default())
        ),
        StreamEvent::OperationError { operation, message, .. } => {
            format!("operation {operation} failed: {}", short_words(message))
        }
        StreamEvent::OperationFinished { operation, converted, .. } => {
            format!("operation {operation} finished: {converted}")
        }
        StreamEvent::Failure { agent, .. } => format!("failure of {}", short(agent.as_str())),
        other => panic!("unexpected {other:?}"),
    }
}

fn short_words(text: &str) -> String {
    text.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

fn message_text(message: &ToAgent) -> String {
    match message {
        ToAgent::Welcome { agent, .. } => format!("welcome {}", short(agent.as_str())),
        ToAgent::Handshake { term, .. } => format!("handshake {}", term.epoch),
        ToAgent::Orders { first, orders, .. } => {
            let texts: Vec<String> = orders.iter().map(order_text).collect();
            format!("orders from {first}: {}", texts.join(", "))
        }
        ToAgent::Refused { wait: true, .. } => "refused, wait".to_owned(),
        ToAgent::Refused { gone, .. } => format!("refused{}", if *gone { " gone" } else { "" }),
        ToAgent::Heard { .. } => "heard".to_owned(),
        other => panic!("unexpected {other:?}"),
    }
}

fn order_text(order: &Order) -> String {
    match order {
        Order::Launch(order) => {
            assert!(order.tasks.iter().all(|(task, _, body)| *body == format!("body of {task}")));
            let tasks: Vec<String> = order.tasks.iter().map(|(task, ..)| task.to_string()).collect();
            format!("launch {} ({})", short(order.launch.as_str()), tasks.join(" "))
        }
        Order::Kill { task, .. } => format!("kill {task}"),
        Order::ShutdownFramework(framework) => format!("shut down {framework}"),
        Order::Convert(conversion) => {
            format!("{} {} to {}", conversion.name.to_lowercase(), conversion.consumed, conversion.converted)
        }
        Order::Preempt { task, message, .. } => format!("preempt {task}: {message}"),
        Order::Drain { max_grace_ms } => {
            format!("drain{}", max_grace_ms.map(|ms| format!(" within {ms}")).unwrap_or_default())
        }
    }
}

/// A framework that is connected in some roles; for tests without text.
pub(super) fn connected(id: &FrameworkId, roles: &str, number: u64) -> FrameworkRow {
    let number = number.to_string();
    framework_row(id.as_str(), &BTreeMap::from([("roles", roles), ("sub", number.as_str())]))
}

//! Scenarios: what happens, and what the registry has done about it, one line per output.

mod calls;
mod peers;
mod random;
mod reconciliation;
mod statuses;
mod subscriptions;

use std::collections::BTreeMap;

use bytes::Bytes;
use mesos_model::{Reason, Resources, Source, TaskStatus};

use super::*;
use crate::{
    message::{AnswerBody, Caller, Update},
    row::{AgentRow, AgentState, Capabilities, FrameworkFacts, FrameworkInfo, LaunchKind, LaunchRow, LaunchTask},
};

pub(super) const SECOND: u64 = 1000;
const LEADER: u128 = 0xaaaa_aaaa_aaaa_4aaa_8aaa_aaaa_aaaa_aaaa;

/// The allocator's first term in these scenarios.
pub(super) fn allocator_term(epoch: u64) -> Term {
    Term { epoch, leader: u128::from(epoch) }
}

/// A registry with its store; every step is committed, checked and rendered.
pub(super) struct Desk {
    pub(super) registry: Registry,
    pub(super) now: Time,
    pub(super) store: BTreeMap<String, Row>,
    pub(super) peers: BTreeMap<String, Row>,
    pub(super) outputs: Vec<Output>,
    calls: u64,
    epoch: u64,
}

impl Desk {
    pub(super) fn new() -> Desk {
        let mut desk = Desk {
            registry: Registry::new(Options::default()),
            now: Time(1_000_000),
            store: BTreeMap::new(),
            peers: BTreeMap::new(),
            outputs: Vec::new(),
            calls: 0,
            epoch: 0,
        };
        desk.restart();
        desk
    }

    /// A new leader, which knows only what is stored.
    pub(super) fn restart(&mut self) -> Vec<String> {
        self.epoch += 1;
        self.registry = Registry::new(Options::default());
        for row in self.store.values() {
            self.registry.restore(RowChange::Put(row.clone()));
        }
        let mut effects = Effects::default();
        for row in self.peers.values() {
            self.registry.peer(self.now, RowChange::Put(row.clone()), &mut effects);
        }
        assert!(effects.changes.is_empty() && effects.outputs.is_empty(), "a follower has effects");
        let term = Term { epoch: self.epoch, leader: LEADER + u128::from(self.epoch) - 1 };
        self.registry.lead(self.now, term, &mut effects);
        self.commit(effects)
    }

    pub(super) fn commit(&mut self, effects: Effects<Output>) -> Vec<String> {
        for change in effects.changes {
            match change {
                RowChange::Put(row) => drop(self.store.insert(row.key().text(), row)),
                RowChange::Delete(key) => drop(self.store.remove(&key.text())),
            }
        }
        self.registry.check().unwrap();
        self.outputs = effects.outputs;
        self.outputs.iter().map(render).collect()
    }

    pub(super) fn step(&mut self, event: Event) -> Vec<String> {
        let mut effects = Effects::default();
        self.registry.step(self.now, event, &mut effects);
        self.registry.settle(self.now, &mut effects);
        self.commit(effects)
    }

    pub(super) fn call(&mut self, what: RegistryCall) -> Vec<String> {
        self.calls += 1;
        let id = format!("call-{}", self.calls);
        self.call_as(&id, "G1", None, what)
    }

    pub(super) fn call_as(&mut self, id: &str, gateway: &str, who: Option<&str>, what: RegistryCall) -> Vec<String> {
        let call = Call { principal: who.map(str::to_owned), ..Call::new(id, gateway, what) };
        self.step(Event::Call { request: RequestId(self.calls), call })
    }

    pub(super) fn peer(&mut self, change: RowChange) -> Vec<String> {
        match &change {
            RowChange::Put(row) => drop(self.peers.insert(row.key().text(), row.clone())),
            RowChange::Delete(key) => drop(self.peers.remove(&key.text())),
        }
        let mut effects = Effects::default();
        self.registry.peer(self.now, change, &mut effects);
        self.registry.settle(self.now, &mut effects);
        self.commit(effects)
    }

    /// Lets time pass, with a tick at every deadline in between.
    pub(super) fn wait(&mut self, ms: u64) -> Vec<String> {
        let end = Time(self.now.0 + ms);
        let mut all = Vec::new();
        while let Some(next) = self.registry.deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            let mut effects = Effects::default();
            self.registry.tick(self.now, &mut effects);
            all.extend(self.commit(effects));
        }
        self.now = end;
        all
    }

    /// Lets time pass while the gateway says every 2 s that it holds the stream.
    fn wait_connected(&mut self, seconds: u64, framework: &str, stream: u128) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..seconds.div_ceil(2) {
            all.extend(self.wait(2 * SECOND));
            let held = RegistryCall::Streams(vec![(framework.into(), stream)]);
            all.extend(self.call(held).into_iter().filter(|line| line != "reply 202"));
        }
        all
    }

    fn framework_row(&self, id: &str) -> &FrameworkRow {
        self.registry.framework(&id.into()).unwrap()
    }

    fn task_row(&self, task: &str) -> &TaskRow {
        self.registry.task(&"F".into(), &task.into()).unwrap()
    }

    /// The framework F is subscribed with stream 7.
    fn with_framework() -> Desk {
        let mut desk = Desk::new();
        desk.call(subscribe(Some("F"), 7));
        desk
    }

    /// F runs task t, launched as L1 on agent S1.
    fn with_task() -> Desk {
        let mut desk = Desk::with_framework();
        desk.peer(agent("S1", AgentState::Active, 1));
        desk.peer(launch("L1", "F", "S1", &["t"], 1));
        desk
    }
}

pub(super) fn render(output: &Output) -> String {
    match output {
        Output::Reply { answer, .. } => {
            let body = match &answer.body {
                AnswerBody::None => String::new(),
                AnswerBody::Subscribed { framework, number } => format!(" subscribed {framework} as {number}"),
                AnswerBody::Taken { number } => format!(" taken as {number}"),
                AnswerBody::Refused { message } => format!(" refused: {message}"),
                other => format!(" {other:?}"),
            };
            let text = if answer.text.is_empty() { String::new() } else { format!(" {}", answer.text) };
            format!("reply {}{text}{body}", answer.status)
        }
        Output::Stream { event, .. } => match &event.event {
            StreamEvent::Update { status, .. } => {
                let acknowledge = if status.uuid.is_some() { " (to be acknowledged)" } else { "" };
                let reason = status.reason.and_then(Reason::name).map(|name| format!(" {name}")).unwrap_or_default();
                format!("stream {}: {} {}{reason}{acknowledge}", event.stream, status.task, status.state.name())
            }
            StreamEvent::Error(message) => format!("stream {}: error {message}", event.stream),
            StreamEvent::Failure { agent, .. } => format!("stream {}: failure of {agent}", event.stream),
            StreamEvent::Message { data, .. } => format!("stream {}: message {data:?}", event.stream),
            other => format!("stream {}: {other:?}", event.stream),
        },
        Output::Agent { agent, message } => match message {
            ToAgent::Received(list) => {
                let list: Vec<String> = list.iter().map(|(_, task, number)| format!("{task}:{number}")).collect();
                format!("{agent}: received {}", list.join(" "))
            }
            ToAgent::Acknowledged { task, number, .. } => format!("{agent}: acknowledged {task}:{number}"),
            ToAgent::Resend { term, .. } => format!("{agent}: tell term {} again", term.epoch),
            other => format!("{agent}: {other:?}"),
        },
        Output::AllAgents(ToAgent::Resend { term, .. }) => format!("all agents: tell term {} again", term.epoch),
        Output::AllAgents(message) => format!("all agents: {message:?}"),
        Output::CatchUp { token } => format!("catch up {token}"),
    }
}

pub(super) fn info() -> FrameworkInfo {
    FrameworkInfo {
        name: "shop".into(),
        user: "root".into(),
        roles: vec!["ads".into(), "web".into()],
        capabilities: Capabilities { partition_aware: true, task_killing_state: true, ..Capabilities::default() },
        failover_timeout_ms: 600 * SECOND,
        ..FrameworkInfo::default()
    }
}

pub(super) fn subscribe_with(framework: Option<&str>, info: FrameworkInfo, stream: u128) -> RegistryCall {
    let framework = framework.map(FrameworkId::from);
    RegistryCall::Subscribe {
        framework,
        info,
        invalid: None,
        body: Bytes::new(),
        suppressed: vec![],
        stream,
        over: None,
    }
}

pub(super) fn subscribe(framework: Option<&str>, stream: u128) -> RegistryCall {
    subscribe_with(framework, info(), stream)
}

/// An agent says in the desk's term which tasks of F it knows.
pub(super) fn knows(agent: &str, tasks: &[&str]) -> Event {
    knows_in(1, agent, tasks)
}

/// The same in the desk's term with this number.
pub(super) fn knows_in(epoch: u64, agent: &str, tasks: &[&str]) -> Event {
    let tasks = tasks.iter().map(|task| ("F".into(), (*task).into())).collect();
    let asked = Term { epoch, leader: LEADER + u128::from(epoch) - 1 };
    Event::Agent(AgentToRegistry::Knows { agent: agent.into(), asked, tasks })
}

/// The same SUBSCRIBE, knowing of the subscription with this number.
pub(super) fn over(mut call: RegistryCall, number: u64) -> RegistryCall {
    if let RegistryCall::Subscribe { over, .. } = &mut call {
        *over = Some(number);
    }
    call
}

pub(super) fn me(stream: u128) -> Caller {
    Caller::framework("F".into(), Some(stream))
}

pub(super) fn agent(id: &str, state: AgentState, epoch: u64) -> RowChange {
    RowChange::Put(Row::Agent(AgentRow {
        id: id.into(),
        instance: 1,
        boot: "b".into(),
        hostname: id.to_lowercase(),
        ip: String::new(),
        port: 5051,
        version: String::new(),
        total: Resources::new(),
        oversubscribed: Resources::new(),
        attributes: vec![],
        domain: None,
        state,
        deactivated: false,
        drain: None,
        down: false,
        degraded: None,
        handshake: allocator_term(epoch),
        registered: Time(1),
        reregistered: Time(epoch),
        operated: Vec::new(),
        body: Bytes::new(),
    }))
}

pub(super) fn launch(id: &str, framework: &str, agent: &str, tasks: &[&str], number: u64) -> RowChange {
    let task = |task: &&str| LaunchTask {
        task: (*task).into(),
        name: format!("the {task}"),
        resources: Resources::of(&[("cpus", 1000)]),
        priority: 0,
    };
    RowChange::Put(Row::Launch(LaunchRow {
        launch: id.into(),
        framework: framework.into(),
        role: "ads".into(),
        agent: agent.into(),
        executor: tasks.first().copied().unwrap_or("x").into(),
        executor_resources: Resources::new(),
        tasks: tasks.iter().map(task).collect(),
        sent: (allocator_term(1), number),
        call: "c".into(),
        time: Time(5),
        trace: None,
        adopted: None,
        kind: LaunchKind::Command,
    }))
}

pub(super) fn launch_deleted(id: &str) -> RowChange {
    RowChange::Delete(RowKey::Launch(id.into()))
}

pub(super) fn update_of(launch: &str, agent: &str, task: &str, number: u64, state: TaskState) -> Update {
    let mut status = TaskStatus::new(task.into(), state, Source::Executor, Time(number));
    status.uuid = Some(uuid(number));
    status.agent = Some(agent.into());
    Update {
        framework: "F".into(),
        facts: FrameworkFacts { name: "shop".into(), failover_timeout_ms: 5 * SECOND, ..FrameworkFacts::default() },
        launch: launch.into(),
        executor: task.into(),
        role: "ads".into(),
        resources: Resources::of(&[("cpus", 1000)]),
        number,
        acknowledged: 0,
        asked: Term { epoch: 1, leader: LEADER },
        status,
        latest: state,
        trace: None,
    }
}

pub(super) fn said(agent: &str, update: Update) -> Event {
    Event::Agent(AgentToRegistry::Update { agent: agent.into(), update: Box::new(update) })
}

fn update(number: u64, state: TaskState) -> Event {
    said("S1", update_of("L1", "S1", "t", number, state))
}

pub(super) fn uuid(number: u64) -> u128 {
    u128::from(number) + 100
}

pub(super) fn acknowledge(task: &str, agent: &str, uuid: u128, stream: u128) -> RegistryCall {
    RegistryCall::Acknowledge { caller: me(stream), task: task.into(), agent: agent.into(), uuid }
}

pub(super) fn forgotten(task: &str, launch: &str, agent: &str) -> Event {
    let (agent, framework, task, launch) = (agent.into(), "F".into(), task.into(), launch.into());
    Event::Agent(AgentToRegistry::Forgotten { agent, framework, task, launch })
}

fn reconcile(tasks: &[(&str, Option<&str>)]) -> RegistryCall {
    let tasks = tasks.iter().map(|(task, agent)| ((*task).into(), agent.map(AgentId::from))).collect();
    RegistryCall::Reconcile { caller: me(7), tasks }
}

const NOTHING: [&str; 0] = [];

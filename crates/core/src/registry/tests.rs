//! Scenarios: what happens, and what the registry has done about it, one line per output.

mod random;

use std::collections::BTreeMap;

use bytes::Bytes;
use mesos_model::{Reason, Resources, Source, TaskStatus};

use super::*;
use crate::{
    message::{AnswerBody, Caller, Update},
    row::{AgentRow, AgentState, Capabilities, FrameworkFacts, FrameworkInfo, LaunchRow, LaunchTask},
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
        let call = Call {
            call: id.into(),
            gateway: gateway.into(),
            principal: who.map(str::to_owned),
            trace: None,
            registry_seq: 0,
            what,
        };
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
                AnswerBody::Refused { message } => format!(" refused: {message}"),
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
            other => format!("{agent}: {other:?}"),
        },
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
    RegistryCall::Subscribe { framework, info, invalid: None, body: Bytes::new(), suppressed: vec![], stream }
}

pub(super) fn subscribe(framework: Option<&str>, stream: u128) -> RegistryCall {
    subscribe_with(framework, info(), stream)
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
        port: 5051,
        version: String::new(),
        total: Resources::new(),
        attributes: vec![],
        domain: None,
        state,
        deactivated: false,
        handshake: allocator_term(epoch),
        registered: Time(1),
        reregistered: Time(epoch),
        body: Bytes::new(),
    }))
}

pub(super) fn launch(id: &str, framework: &str, agent: &str, tasks: &[&str], number: u64) -> RowChange {
    let task = |task: &&str| LaunchTask {
        task: (*task).into(),
        name: format!("the {task}"),
        resources: Resources::of(&[("cpus", 1000)]),
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

mod subscriptions {
    use super::*;

    #[test]
    fn a_framework_without_an_id_gets_the_next_one_of_the_leader() {
        let mut desk = Desk::new();
        let first = desk.call(subscribe(None, 1));
        assert_eq!(first, ["reply 200 subscribed aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa-0000 as 1"]);
        let second = desk.call(subscribe(None, 2));
        assert_eq!(second, ["reply 200 subscribed aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa-0001 as 1"]);
    }

    #[test]
    fn an_id_that_nobody_has_seen_is_taken() {
        let mut desk = Desk::new();
        assert_eq!(desk.call(subscribe(Some("old-0001"), 1)), ["reply 200 subscribed old-0001 as 1"]);
    }

    #[test]
    fn the_same_call_gets_the_same_answer_also_from_the_next_leader() {
        let mut desk = Desk::new();
        let first = desk.call_as("one", "G1", None, subscribe(None, 1));
        assert_eq!(desk.call_as("one", "G1", None, subscribe(None, 1)), first);
        desk.restart();
        assert_eq!(desk.call_as("one", "G1", None, subscribe(None, 1)), first);
        assert_eq!(desk.registry.frameworks().count(), 1);
    }

    #[test]
    fn f54_the_last_subscription_wins_and_a_late_repeat_of_the_first_does_not_take_it_back() {
        let mut desk = Desk::new();
        desk.call_as("one", "G1", None, subscribe(Some("F"), 1));
        let second = desk.call_as("two", "G2", None, subscribe(Some("F"), 2));
        assert_eq!(second, ["stream 1: error Framework failed over", "reply 200 subscribed F as 2"]);
        assert_eq!(desk.call_as("one", "G1", None, subscribe(Some("F"), 1)), ["reply 200 subscribed F as 1"]);
        assert_eq!(desk.framework_row("F").subscription.as_ref().unwrap().stream, 2);
    }

    #[test]
    fn what_mesos_refuses_is_refused_with_its_words() {
        let mut desk = Desk::new();
        let ours = FrameworkInfo { principal: Some("ann".into()), ..info() };
        desk.call(subscribe_with(Some("F"), ours, 1));
        let theirs = FrameworkInfo { principal: Some("bob".into()), ..info() };
        let answer = desk.call(subscribe_with(Some("F"), theirs, 2));
        assert_eq!(answer, ["reply 200 refused: Changing framework's principal is not allowed."]);
        let answer = desk.call_as("x", "G1", Some("bob"), subscribe(Some("F"), 2));
        assert_eq!(answer, ["reply 200 refused: Changing framework's principal is not allowed."]);

        let mut invalid = subscribe(None, 3);
        if let RegistryCall::Subscribe { invalid, .. } = &mut invalid {
            *invalid = Some("'FrameworkInfo.name' must not be empty".into());
        }
        assert_eq!(desk.call(invalid), ["reply 200 refused: 'FrameworkInfo.name' must not be empty"]);

        let mut suppressing = subscribe(None, 3);
        if let RegistryCall::Subscribe { suppressed, .. } = &mut suppressing {
            suppressed.push("db".into());
        }
        let text = "reply 200 refused: Suppressed roles { db } are not contained in the set of roles";
        assert_eq!(desk.call(suppressing), [text]);
        assert_eq!(desk.registry.frameworks().count(), 1);
    }

    #[test]
    fn user_and_checkpoint_stay_as_they_were() {
        let mut desk = Desk::with_framework();
        let changed = FrameworkInfo { user: "bob".into(), checkpoint: true, name: "new".into(), ..info() };
        desk.call(subscribe_with(Some("F"), changed, 8));
        let row = desk.framework_row("F");
        assert_eq!((row.info.user.as_str(), row.info.checkpoint, row.info.name.as_str()), ("root", false, "new"));
    }

    #[test]
    fn a_removed_framework_does_not_come_back() {
        let mut desk = Desk::with_framework();
        assert_eq!(desk.call(RegistryCall::Teardown(me(7))), ["reply 202"]);
        assert_eq!(desk.call(subscribe(Some("F"), 8)), ["reply 200 refused: Framework has been removed"]);
        assert_eq!(desk.call(reconcile(&[])), ["reply 400 Framework cannot be found"]);
        // Its gateway may not have heard the first answer.
        assert_eq!(desk.call(RegistryCall::Teardown(me(7))), ["reply 202"]);
    }

    #[test]
    fn f53_a_closed_stream_starts_the_failover_timeout() {
        let mut desk = Desk::with_framework();
        desk.call(RegistryCall::Closed { framework: "F".into(), stream: 7 });
        let deadline = Time(desk.now.0 + 600 * SECOND);
        assert_eq!(desk.framework_row("F").state, FrameworkState::Disconnected { deadline });
        assert_eq!(desk.call(reconcile(&[])), ["reply 403 Framework is not subscribed"]);
        desk.wait(600 * SECOND - 1);
        assert_eq!(desk.framework_row("F").state, FrameworkState::Disconnected { deadline });
        desk.wait(1);
        assert_eq!(desk.framework_row("F").state, FrameworkState::Removed { since: deadline });
    }

    #[test]
    fn f53_a_new_leader_keeps_the_deadline_but_waits_one_grace() {
        let mut desk = Desk::with_framework();
        desk.call(RegistryCall::Closed { framework: "F".into(), stream: 7 });
        desk.wait(599 * SECOND);
        desk.restart();
        desk.wait(60 * SECOND - 1);
        assert!(matches!(desk.framework_row("F").state, FrameworkState::Disconnected { .. }));
        desk.wait(1);
        assert!(matches!(desk.framework_row("F").state, FrameworkState::Removed { .. }));
    }

    #[test]
    fn a_stream_that_was_closed_is_not_opened_by_a_late_report() {
        let mut desk = Desk::with_framework();
        desk.call(RegistryCall::Closed { framework: "F".into(), stream: 7 });
        let answer = desk.call(RegistryCall::Streams(vec![("F".into(), 7)]));
        assert_eq!(answer, ["reply 202", "stream 7: error Framework failed over"]);
        assert!(matches!(desk.framework_row("F").state, FrameworkState::Disconnected { .. }));
    }

    #[test]
    fn closing_an_old_stream_means_nothing() {
        let mut desk = Desk::with_framework();
        desk.call(subscribe(Some("F"), 8));
        desk.call(RegistryCall::Closed { framework: "F".into(), stream: 7 });
        assert_eq!(desk.framework_row("F").state, FrameworkState::Connected);
    }

    #[test]
    fn a_gateway_that_died_leaves_a_framework_without_failover_timeout_a_minute_to_return() {
        let mut desk = Desk::new();
        let hasty = FrameworkInfo { failover_timeout_ms: 0, ..info() };
        desk.call(subscribe_with(Some("F"), hasty.clone(), 7));
        desk.wait_connected(60, "F", 7);
        assert_eq!(desk.framework_row("F").state, FrameworkState::Connected);
        desk.wait(6 * SECOND);
        let since = desk.now;
        assert_eq!(desk.framework_row("F").state, FrameworkState::Lost { since });
        desk.wait(60 * SECOND - 1);
        assert_eq!(desk.framework_row("F").state, FrameworkState::Lost { since });
        assert_eq!(desk.call(subscribe_with(Some("F"), hasty, 8)).last().unwrap(), "reply 200 subscribed F as 2");
        desk.wait(66 * SECOND);
        assert!(matches!(desk.framework_row("F").state, FrameworkState::Removed { .. }));
    }

    #[test]
    fn a_lost_stream_that_is_reported_again_goes_on_and_gets_what_it_missed() {
        let mut desk = Desk::with_task();
        desk.wait(10 * SECOND);
        assert!(matches!(desk.framework_row("F").state, FrameworkState::Lost { .. }));
        assert_eq!(desk.step(update(1, TaskState::Running)), ["S1: received t:1"]);
        let answer = desk.call(RegistryCall::Streams(vec![("F".into(), 7)]));
        assert_eq!(answer, ["reply 202", "stream 7: t TASK_RUNNING (to be acknowledged)"]);
        assert_eq!(desk.framework_row("F").state, FrameworkState::Connected);
    }

    #[test]
    fn removed_frameworks_are_kept_up_to_a_number_and_as_long_as_an_agent_may_run_them() {
        let mut desk = Desk::new();
        desk.peer(agent("S1", AgentState::Unreachable { since: Time(1) }, 1));
        for n in 0..60 {
            let id = format!("F{n}");
            desk.call(subscribe(Some(&id), n + 1));
            let caller = Caller::framework(FrameworkId::from(id), Some(n + 1));
            desk.call(RegistryCall::Teardown(caller));
        }
        assert_eq!(desk.registry.frameworks().count(), 60);
        desk.peer(agent("S1", AgentState::Active, 2));
        assert_eq!(desk.registry.frameworks().count(), 50);
        assert!(desk.registry.framework(&"F9".into()).is_none());
        assert!(desk.registry.framework(&"F10".into()).is_some());
    }
}

mod calls {
    use super::*;

    #[test]
    fn f54_f70_every_call_must_show_who_it_is() {
        let mut desk = Desk::new();
        let owned = FrameworkInfo { principal: Some("ann".into()), ..info() };
        desk.call(subscribe_with(Some("F"), owned, 7));
        let ask = |framework: &str, stream| RegistryCall::Reconcile {
            caller: Caller::framework(framework.into(), stream),
            tasks: vec![],
        };
        let cases = [
            (None, ask("G", Some(7)), "reply 400 Framework cannot be found"),
            (
                Some("bob"),
                ask("F", Some(7)),
                "reply 400 Authenticated principal 'bob' does not match principal 'ann' set in `FrameworkInfo`",
            ),
            (
                Some("ann"),
                ask("F", None),
                "reply 400 All non-subscribe calls should include the 'Mesos-Stream-Id' header",
            ),
            (
                Some("ann"),
                ask("F", Some(8)),
                "reply 400 The stream ID '00000000-0000-0000-0000-000000000008' included in this request didn't \
                 match the stream ID currently associated with framework ID F",
            ),
            (Some("ann"), ask("F", Some(7)), "reply 202"),
        ];
        for (n, (principal, call, answer)) in cases.into_iter().enumerate() {
            assert_eq!(desk.call_as(&format!("case {n}"), "G1", principal, call), [answer]);
        }
    }

    #[test]
    fn an_operator_shows_no_stream_and_a_framework_torn_down_is_told() {
        let mut desk = Desk::with_framework();
        let answer = desk.call(RegistryCall::Teardown(Caller::operator("F".into())));
        assert_eq!(answer, ["reply 202", "stream 7: error Framework has been removed"]);
    }

    #[test]
    fn suppress_and_revive_mean_all_roles_if_they_name_none_and_nothing_if_one_is_strange() {
        let mut desk = Desk::with_framework();
        let suppressed = |desk: &Desk| desk.framework_row("F").suppressed.len();
        let revived = |desk: &Desk| desk.framework_row("F").revived.values().sum::<u64>();
        desk.call(RegistryCall::Suppress(me(7), vec![]));
        assert_eq!(suppressed(&desk), 2);
        desk.call(RegistryCall::Revive(me(7), vec!["ads".into()]));
        assert_eq!((suppressed(&desk), revived(&desk)), (1, 1));
        desk.call(RegistryCall::Revive(me(7), vec!["web".into(), "db".into()]));
        assert_eq!((suppressed(&desk), revived(&desk)), (1, 1));
        desk.call(RegistryCall::Revive(me(7), vec![]));
        assert_eq!((suppressed(&desk), revived(&desk)), (0, 3));
    }

    #[test]
    fn a_late_repeat_of_a_revive_does_not_undo_a_suppress() {
        let mut desk = Desk::with_framework();
        desk.call_as("revive", "G1", None, RegistryCall::Revive(me(7), vec![]));
        desk.call(RegistryCall::Suppress(me(7), vec![]));
        assert_eq!(desk.call_as("revive", "G1", None, RegistryCall::Revive(me(7), vec![])), ["reply 202"]);
        assert_eq!(desk.framework_row("F").suppressed.len(), 2);
    }

    #[test]
    fn update_framework_changes_roles_but_not_who_it_is() {
        let mut desk = Desk::with_framework();
        let update = |info| {
            let (caller, body) = (me(7), Bytes::new());
            RegistryCall::Update { caller, info, invalid: None, body, suppressed: vec![] }
        };
        let more = FrameworkInfo { roles: vec!["db".into()], ..info() };
        assert_eq!(desk.call(update(more)), ["reply 200"]);
        assert_eq!(desk.framework_row("F").info.roles, [Role::from("db")]);
        let other = FrameworkInfo { principal: Some("bob".into()), ..info() };
        assert_eq!(desk.call(update(other)), ["reply 400 Changing framework's principal is not allowed."]);
        let other = FrameworkInfo { user: "bob".into(), ..info() };
        let text = "reply 400 Updating 'FrameworkInfo.user' is unsupported; attempted to update from 'root' to 'bob'";
        assert_eq!(desk.call(update(other)), [text]);
    }

    #[test]
    fn a_kill_is_an_order_in_the_tasks_row_and_may_be_given_again() {
        let mut desk = Desk::with_task();
        let kill = |agent: Option<&str>, grace_ms| {
            let (caller, task) = (me(7), "t".into());
            RegistryCall::Kill { caller, task, agent: agent.map(AgentId::from), grace_ms }
        };
        desk.call(kill(Some("S9"), None));
        assert_eq!(desk.task_row("t").kill, None);
        desk.call(kill(Some("S1"), None));
        desk.call(kill(None, Some(0)));
        let order = desk.task_row("t").kill.unwrap();
        assert_eq!((order.number, order.grace_ms), (2, Some(0)));
    }

    #[test]
    fn shutdown_of_an_executor_orders_all_its_tasks_to_end() {
        let mut desk = Desk::with_framework();
        desk.peer(agent("S1", AgentState::Active, 1));
        desk.peer(launch("L1", "F", "S1", &["a", "b"], 1));
        desk.call(RegistryCall::Shutdown { caller: me(7), executor: "a".into(), agent: "S1".into() });
        assert!(desk.task_row("a").kill.is_some() && desk.task_row("b").kill.is_some());
    }

    #[test]
    fn messages_pass_through_in_both_directions() {
        let mut desk = Desk::with_task();
        let (agent, executor, data) = (AgentId::from("S1"), ExecutorId::from("t"), Bytes::from_static(b"hi"));
        let call =
            RegistryCall::Message { caller: me(7), agent: agent.clone(), executor: executor.clone(), data: data.clone() };
        let text = r#"S1: Message { framework: F, executor: t, data: b"hi" }"#;
        assert_eq!(desk.call(call), ["reply 202", text]);
        let framework = "F".into();
        let back = Event::Agent(AgentToRegistry::Message { agent, framework, executor, data });
        assert_eq!(desk.step(back), [r#"stream 7: message b"hi""#]);
    }

    use mesos_model::{ExecutorId, Role};
}

mod statuses {
    use super::*;

    #[test]
    fn a_task_lives_from_its_launch_to_the_end_that_its_agent_has_forgotten() {
        let mut desk = Desk::with_task();
        assert_eq!(desk.task_row("t").state, TaskState::Staging);
        let running = ["stream 7: t TASK_RUNNING (to be acknowledged)", "S1: received t:1"];
        assert_eq!(desk.step(update(1, TaskState::Running)), running);
        // One at a time: the end waits for the acknowledgement of the beginning.
        assert_eq!(desk.step(update(2, TaskState::Finished)), ["S1: received t:2"]);
        let next = ["reply 202", "S1: acknowledged t:1", "stream 7: t TASK_FINISHED (to be acknowledged)"];
        assert_eq!(desk.call(acknowledge("t", "S1", uuid(1), 7)), next);
        // The allocator frees what the task held as soon as its row says that it is over.
        assert_eq!(desk.peer(launch_deleted("L1")), NOTHING);
        assert_eq!(desk.call(acknowledge("t", "S1", uuid(2), 7)), ["reply 202", "S1: acknowledged t:2"]);
        assert!(desk.task_row("t").end_acknowledged);
        assert_eq!(desk.step(forgotten("t", "L1", "S1")), NOTHING);
        assert_eq!(desk.registry.tasks().count(), 0);
    }

    #[test]
    fn f20_f57_repeats_and_wrong_acknowledgements_have_no_second_effect() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Running));
        assert_eq!(desk.step(update(1, TaskState::Running)), ["S1: received t:1"]);
        assert_eq!(desk.call(acknowledge("t", "S1", uuid(9), 7)), ["reply 202"]);
        assert_eq!(desk.call(acknowledge("t", "S9", uuid(1), 7)), ["reply 202"]);
        assert_eq!(desk.call(acknowledge("u", "S1", uuid(1), 7)), ["reply 202"]);
        assert_eq!(desk.registry.counters().acknowledgements_unknown, 3);
        desk.call(acknowledge("t", "S1", uuid(1), 7));
        assert_eq!(desk.call(acknowledge("t", "S1", uuid(1), 7)), ["reply 202"]);
        // The agent has not heard of the acknowledgement; it is told again.
        assert_eq!(desk.step(update(1, TaskState::Running)), ["S1: acknowledged t:1", "S1: received t:1"]);
    }

    #[test]
    fn f21_an_update_that_overtakes_another_one_is_not_taken_over() {
        let mut desk = Desk::with_task();
        assert_eq!(desk.step(update(2, TaskState::Finished)), NOTHING);
        assert_eq!(desk.task_row("t").state, TaskState::Staging);
        desk.step(update(1, TaskState::Running));
        desk.step(update(2, TaskState::Finished));
        assert_eq!(desk.task_row("t").state, TaskState::Finished);
    }

    #[test]
    fn f56_an_update_is_sent_again_less_and_less_often_until_it_is_acknowledged() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Running));
        let mut times = Vec::new();
        let start = desk.now.0;
        for _ in 0..1000 {
            let lines = desk.wait_connected(2, "F", 7);
            if lines.iter().any(|line| line.contains("TASK_RUNNING")) {
                times.push((desk.now.0 - start) / SECOND);
            }
        }
        assert_eq!(times, [10, 30, 70, 150, 310, 630, 1230, 1830]);
    }

    #[test]
    fn a_new_stream_gets_everything_that_is_not_acknowledged_at_once_after_the_reply() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Running));
        let lines = desk.call(subscribe(Some("F"), 8));
        let expected = [
            "stream 7: error Framework failed over",
            "reply 200 subscribed F as 2",
            "stream 8: t TASK_RUNNING (to be acknowledged)",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_new_leader_asks_the_agents_and_sends_again() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Running));
        assert_eq!(desk.restart(), ["all agents: Resend"]);
        assert_eq!(desk.wait(SECOND), ["stream 7: t TASK_RUNNING (to be acknowledged)"]);
        assert_eq!(desk.step(Event::BusBack), ["all agents: Resend"]);
        assert_eq!(desk.wait(SECOND), ["stream 7: t TASK_RUNNING (to be acknowledged)"]);
    }

    #[test]
    fn an_acknowledged_end_is_told_to_the_agent_until_it_has_forgotten() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Failed));
        desk.call(acknowledge("t", "S1", uuid(1), 7));
        assert_eq!(desk.wait_connected(60, "F", 7), ["S1: acknowledged t:1", "S1: acknowledged t:1"]);
        desk.step(forgotten("t", "L1", "S1"));
        // The launch is still there: the row stays, or the launch would make it anew.
        assert!(desk.task_row("t").end_acknowledged);
        desk.peer(launch_deleted("L1"));
        assert_eq!(desk.registry.tasks().count(), 0);
    }

    #[test]
    fn f20_neither_a_late_launch_nor_a_late_update_brings_a_forgotten_task_back() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Finished));
        desk.call(acknowledge("t", "S1", uuid(1), 7));
        desk.peer(launch_deleted("L1"));
        desk.step(forgotten("t", "L1", "S1"));
        assert_eq!(desk.peer(launch("L1", "F", "S1", &["t"], 1)), NOTHING);
        assert_eq!(desk.step(update(1, TaskState::Finished)), ["S1: acknowledged t:1"]);
        assert_eq!(desk.registry.tasks().count(), 0);
    }

    #[test]
    fn killing_is_told_only_to_those_who_understand_it() {
        let mut desk = Desk::with_task();
        let plain = FrameworkInfo { capabilities: Capabilities::default(), ..info() };
        desk.call(subscribe_with(Some("F"), plain, 8));
        desk.step(update(1, TaskState::Killing));
        assert_eq!(desk.task_row("t").pending, []);
        let killed = ["stream 8: t TASK_KILLED (to be acknowledged)", "S1: received t:2"];
        assert_eq!(desk.step(update(2, TaskState::Killed)), killed);
    }

    #[test]
    fn too_many_updates_leave_out_those_in_the_middle_but_never_the_end() {
        let mut desk = Desk::with_task();
        for number in 1..100 {
            desk.step(update(number, TaskState::Running));
        }
        desk.step(update(100, TaskState::Failed));
        let numbers: Vec<u64> = desk.task_row("t").pending.iter().map(|pending| pending.number).collect();
        assert_eq!((numbers.len(), numbers[0], numbers[1], numbers[63]), (64, 1, 38, 100));
        // What was left out counts as acknowledged with the next one.
        assert!(desk.call(acknowledge("t", "S1", uuid(1), 7)).contains(&"S1: acknowledged t:37".to_owned()));
    }

    #[test]
    fn f12_a_framework_is_recovered_from_what_agents_say() {
        let mut desk = Desk::new();
        assert_eq!(desk.step(update(1, TaskState::Running)), ["S1: received t:1"]);
        let row = desk.framework_row("F");
        assert!(row.recovered);
        // Its own timeout is 5 s, but it gets one grace to come back.
        assert_eq!(row.state, FrameworkState::Disconnected { deadline: Time(desk.now.0 + 60 * SECOND) });
        let lines = desk.call(subscribe(Some("F"), 7));
        assert_eq!(lines, ["reply 200 subscribed F as 1", "stream 7: t TASK_RUNNING (to be acknowledged)"]);
        assert!(!desk.framework_row("F").recovered);
    }

    #[test]
    fn f12_a_wiped_ledger_takes_up_where_the_framework_left_off() {
        let mut desk = Desk::with_task();
        let mut latest = update_of("L1", "S1", "t", 4, TaskState::Running);
        latest.acknowledged = 4;
        assert_eq!(desk.step(said("S1", latest)), ["S1: received t:4"]);
        assert_eq!((desk.task_row("t").state, desk.task_row("t").number), (TaskState::Running, 4));
        let mut next = update_of("L1", "S1", "t", 5, TaskState::Finished);
        next.acknowledged = 4;
        assert_eq!(desk.step(said("S1", next))[0], "stream 7: t TASK_FINISHED (to be acknowledged)");
    }

    #[test]
    fn updates_of_a_removed_framework_are_settled_at_once() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Running));
        desk.call(RegistryCall::Teardown(me(7)));
        assert_eq!(desk.task_row("t").state, TaskState::Killed);
        assert_eq!(desk.step(update(2, TaskState::Killed)), ["S1: acknowledged t:2"]);
        desk.peer(launch_deleted("L1"));
        assert_eq!(desk.registry.tasks().count(), 0);
    }

    #[test]
    fn f70_an_agent_cannot_speak_for_the_task_of_another() {
        let mut desk = Desk::with_task();
        assert_eq!(desk.step(said("S2", update_of("L1", "S2", "t", 1, TaskState::Failed))), NOTHING);
        assert_eq!(desk.task_row("t").state, TaskState::Staging);
    }
}

mod peers {
    use super::*;

    #[test]
    fn a_launch_seen_after_the_first_status_fills_in_what_was_missing() {
        let mut desk = Desk::with_framework();
        desk.step(update(1, TaskState::Running));
        assert!(!desk.task_row("t").launch_seen);
        desk.peer(launch("L1", "F", "S1", &["t"], 1));
        let row = desk.task_row("t");
        assert_eq!((row.launch_seen, row.name.as_str(), row.state), (true, "the t", TaskState::Running));
    }

    #[test]
    fn a_launch_that_the_allocator_gives_up_never_ran_or_is_gone() {
        let mut desk = Desk::with_framework();
        desk.peer(agent("S1", AgentState::Active, 1));
        desk.peer(launch("L1", "F", "S1", &["t"], 1));
        desk.peer(launch("L2", "F", "S1", &["u"], 2));
        desk.step(said("S1", update_of("L2", "S1", "u", 1, TaskState::Starting)));
        desk.call(acknowledge("u", "S1", uuid(1), 7));
        let dropped = ["stream 7: t TASK_DROPPED REASON_RECONCILIATION (to be acknowledged)"];
        assert_eq!(desk.peer(launch_deleted("L1")), dropped);
        let gone = ["stream 7: u TASK_GONE REASON_RECONCILIATION (to be acknowledged)"];
        assert_eq!(desk.peer(launch_deleted("L2")), gone);
        // It is told once, whatever comes after it.
        assert_eq!(desk.peer(launch_deleted("L2")), NOTHING);
        assert_eq!(desk.peer(launch("L2", "F", "S1", &["u"], 2)), NOTHING);
        let late = desk.step(said("S1", update_of("L2", "S1", "u", 2, TaskState::Running)));
        assert_eq!(late, ["S1: acknowledged u:2", "S1: received u:2"]);
        assert_eq!(desk.task_row("u").state, TaskState::Gone);
    }

    #[test]
    fn f22_a_task_that_was_killed_before_it_was_launched_is_killed() {
        let mut desk = Desk::with_task();
        desk.call(RegistryCall::Kill { caller: me(7), task: "t".into(), agent: None, grace_ms: None });
        let killed = ["stream 7: t TASK_KILLED REASON_TASK_KILLED_DURING_LAUNCH (to be acknowledged)"];
        assert_eq!(desk.peer(launch_deleted("L1")), killed);
    }

    #[test]
    fn a_task_that_a_launch_loses_is_over_and_an_older_row_does_not_bring_it_back() {
        let mut desk = Desk::with_framework();
        desk.peer(agent("S1", AgentState::Active, 1));
        desk.peer(launch("L1", "F", "S1", &["a", "b"], 1));
        let lines = desk.peer(launch("L1", "F", "S1", &["a"], 1));
        assert_eq!(lines, ["stream 7: b TASK_DROPPED REASON_RECONCILIATION (to be acknowledged)"]);
        let end = desk.task_row("b").pending[0].status.uuid.unwrap();
        desk.call(acknowledge("b", "S1", end, 7));
        desk.step(forgotten("b", "L1", "S1"));
        desk.peer(launch("L1", "F", "S1", &["a", "b"], 1));
        assert_eq!(desk.registry.tasks().count(), 1);
    }

    #[test]
    fn f34_an_agent_that_cannot_be_reached_and_comes_back() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Running));
        desk.call(acknowledge("t", "S1", uuid(1), 7));
        let lines = desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1));
        assert_eq!(lines, ["stream 7: failure of S1", "stream 7: t TASK_UNREACHABLE REASON_AGENT_REMOVED"]);
        assert_eq!(desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1)), NOTHING);
        assert_eq!(desk.peer(agent("S1", AgentState::Active, 2)), ["S1: Resend"]);
        let mut again = update_of("L1", "S1", "t", 1, TaskState::Running);
        again.acknowledged = 1;
        let lines = desk.step(said("S1", again.clone()));
        assert_eq!(lines, ["stream 7: t TASK_RUNNING REASON_AGENT_REREGISTERED", "S1: received t:1"]);
        assert_eq!(desk.step(said("S1", again)), ["S1: received t:1"]);
        // An older row of the agent changes nothing.
        assert_eq!(desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1)), NOTHING);
        assert_eq!(desk.task_row("t").state, TaskState::Running);
    }

    #[test]
    fn f34_others_are_told_lost_and_running_again() {
        let mut desk = Desk::with_task();
        let plain = FrameworkInfo { capabilities: Capabilities::default(), ..info() };
        desk.call(subscribe_with(Some("F"), plain, 8));
        let lines = desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1));
        assert_eq!(lines[1], "stream 8: t TASK_LOST REASON_AGENT_REMOVED");
        desk.peer(agent("S1", AgentState::Active, 2));
        assert_eq!(desk.step(update(1, TaskState::Running))[0], "stream 8: t TASK_RUNNING (to be acknowledged)");
    }

    #[test]
    fn unreachable_waits_for_its_turn_and_is_not_told_if_it_is_over_by_then() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Running));
        let lines = desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1));
        assert_eq!(lines, ["stream 7: failure of S1"]);
        desk.peer(agent("S1", AgentState::Active, 2));
        desk.step(update(1, TaskState::Running));
        assert_eq!(desk.call(acknowledge("t", "S1", uuid(1), 7)), ["reply 202", "S1: acknowledged t:1"]);
        assert_eq!(desk.task_row("t").state, TaskState::Running);
    }

    #[test]
    fn an_agent_marked_gone_ends_its_tasks() {
        let mut desk = Desk::with_task();
        desk.peer(agent("S1", AgentState::Unreachable { since: Time(77) }, 1));
        let lines = desk.peer(agent("S1", AgentState::Gone, 1));
        let text = "stream 7: t TASK_GONE_BY_OPERATOR REASON_AGENT_REMOVED_BY_OPERATOR (to be acknowledged)";
        assert_eq!(lines, [text]);
        let end = desk.task_row("t").pending[0].status.uuid.unwrap();
        desk.call(acknowledge("t", "S1", end, 7));
        desk.peer(launch_deleted("L1"));
        assert_eq!(desk.registry.tasks().count(), 0);
    }

    #[test]
    fn an_adopted_launch_of_an_unknown_framework_recovers_it() {
        let mut desk = Desk::new();
        let mut adopted = launch("L1", "F", "S1", &["t"], 1);
        if let RowChange::Put(Row::Launch(row)) = &mut adopted {
            row.adopted = Some(FrameworkFacts { failover_timeout_ms: 120 * SECOND, ..FrameworkFacts::default() });
        }
        desk.peer(adopted);
        let deadline = Time(desk.now.0 + 120 * SECOND);
        assert_eq!(desk.framework_row("F").state, FrameworkState::Disconnected { deadline });
        assert_eq!(desk.task_row("t").state, TaskState::Staging);
    }

    #[test]
    fn f6_a_launch_missing_at_the_start_of_a_term_counts_only_after_the_agents_handshake() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Running));
        desk.call(acknowledge("t", "S1", uuid(1), 7));
        // The allocator's store lost its last commits, and its new leader begins.
        desk.peers.remove("launch/L1");
        desk.restart();
        desk.step(Event::PeerTerm(allocator_term(2)));
        desk.step(Event::CaughtUp { token: 1 });
        assert_eq!(desk.task_row("t").state, TaskState::Running);
        // The agent shakes hands and does not have it: now it is known to be over.
        assert_eq!(desk.peer(agent("S1", AgentState::Active, 2)), ["S1: Resend", "catch up 2"]);
        let lines = desk.step(Event::CaughtUp { token: 2 });
        assert_eq!(lines, ["stream 7: t TASK_GONE REASON_RECONCILIATION (to be acknowledged)"]);
    }

    #[test]
    fn a_task_whose_launch_was_never_seen_goes_after_the_stream_has_caught_up() {
        let mut desk = Desk::with_framework();
        desk.step(update(1, TaskState::Finished));
        desk.call(acknowledge("t", "S1", uuid(1), 7));
        assert_eq!(desk.step(forgotten("t", "L1", "S1")), ["catch up 1"]);
        assert_eq!(desk.registry.tasks().count(), 1);
        desk.step(Event::CaughtUp { token: 1 });
        assert_eq!(desk.registry.tasks().count(), 0);
    }

    #[test]
    fn a_second_launch_of_a_task_id_has_its_turn_when_the_first_row_goes() {
        let mut desk = Desk::with_task();
        desk.step(update(1, TaskState::Finished));
        desk.call(acknowledge("t", "S1", uuid(1), 7));
        desk.peer(launch_deleted("L1"));
        desk.peer(launch("L2", "F", "S1", &["t"], 2));
        assert_eq!(desk.task_row("t").launch, LaunchId::from("L1"));
        desk.step(forgotten("t", "L1", "S1"));
        assert_eq!((desk.task_row("t").launch.as_str(), desk.task_row("t").state), ("L2", TaskState::Staging));
    }
}

mod reconciliation {
    use super::*;

    #[test]
    fn implicit_reconciliation_tells_the_latest_status_that_was_sent() {
        let mut desk = Desk::with_task();
        assert_eq!(desk.call(reconcile(&[]))[1], "stream 7: t TASK_STAGING REASON_RECONCILIATION");
        desk.step(update(1, TaskState::Running));
        desk.step(update(2, TaskState::Finished));
        assert_eq!(desk.call(reconcile(&[]))[1], "stream 7: t TASK_RUNNING REASON_RECONCILIATION");
        desk.call(acknowledge("t", "S1", uuid(1), 7));
        assert_eq!(desk.call(reconcile(&[]))[1], "stream 7: t TASK_FINISHED REASON_RECONCILIATION");
        desk.call(acknowledge("t", "S1", uuid(2), 7));
        assert_eq!(desk.call(reconcile(&[])), ["reply 202"]);
    }

    #[test]
    fn what_is_said_of_an_unknown_task_depends_on_its_agent() {
        let mut desk = Desk::with_framework();
        desk.peer(agent("S1", AgentState::Active, 1));
        desk.peer(agent("S2", AgentState::Unreachable { since: Time(9) }, 1));
        desk.peer(agent("S3", AgentState::Gone, 1));
        let ask = reconcile(&[("a", Some("S1")), ("b", Some("S2")), ("c", Some("S3")), ("d", Some("S4")), ("e", None)]);
        assert_eq!(desk.call(ask), ["reply 202", "catch up 1"]);
        let lines = desk.step(Event::CaughtUp { token: 1 });
        let expected = [
            "stream 7: a TASK_GONE REASON_RECONCILIATION",
            "stream 7: b TASK_UNREACHABLE REASON_RECONCILIATION",
            "stream 7: c TASK_GONE_BY_OPERATOR REASON_RECONCILIATION",
            "stream 7: d TASK_UNKNOWN REASON_RECONCILIATION",
            "stream 7: e TASK_UNKNOWN REASON_RECONCILIATION",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn nothing_is_said_of_an_unknown_task_before_the_agents_have_shaken_hands() {
        let mut desk = Desk::with_framework();
        desk.peer(agent("S1", AgentState::Active, 1));
        desk.peer(agent("S2", AgentState::Active, 2));
        desk.call(reconcile(&[("a", Some("S1")), ("b", None), ("c", Some("S2"))]));
        let lines = desk.step(Event::CaughtUp { token: 1 });
        assert_eq!(lines, ["stream 7: c TASK_GONE REASON_RECONCILIATION"]);
    }

    #[test]
    fn a_task_whose_launch_is_on_its_way_is_not_unknown() {
        let mut desk = Desk::with_framework();
        desk.peer(agent("S1", AgentState::Active, 1));
        assert_eq!(desk.call(reconcile(&[("t", Some("S1"))])), ["reply 202", "catch up 1"]);
        desk.peer(launch("L1", "F", "S1", &["t"], 1));
        let lines = desk.step(Event::CaughtUp { token: 1 });
        assert_eq!(lines, ["stream 7: t TASK_STAGING REASON_RECONCILIATION"]);
    }

    #[test]
    fn a_kill_of_an_unknown_task_is_a_question_about_it() {
        let mut desk = Desk::with_framework();
        desk.peer(agent("S1", AgentState::Active, 1));
        let (caller, agent) = (me(7), Some("S1".into()));
        let lines = desk.call(RegistryCall::Kill { caller, task: "t".into(), agent, grace_ms: None });
        assert_eq!(lines, ["reply 202", "catch up 1"]);
        let lines = desk.step(Event::CaughtUp { token: 1 });
        assert_eq!(lines, ["stream 7: t TASK_GONE REASON_RECONCILIATION"]);
    }
}

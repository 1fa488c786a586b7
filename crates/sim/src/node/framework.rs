//! A scheduler: it keeps its own books on disk, launches what offers allow, and reconciles.

use std::collections::{BTreeMap, BTreeSet};

use mesos_core::{
    message::{
        AllocatorCall, Caller, ExecutorSpec, InverseOffer, Offer, Operation, OperationKind, RegistryCall, StreamEvent,
        TaskSpec,
    },
    row::{Capabilities, FrameworkInfo},
};
use mesos_model::{
    AgentId, FrameworkId, OfferId, Reason, Resource, Resources, Role, TaskId, TaskState, TaskStatus, Value,
};

use super::{
    http::{Passed, ToFramework, ToGateway, Wire},
    operation,
};
use crate::{
    host::Script,
    net::{Net, Node, Work},
    plan::Temper,
};

/// A task as its framework knows it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Where.
    pub agent: AgentId,
    /// What it was told last.
    pub state: Option<TaskState>,
    /// It is over for the framework.
    pub over: bool,
    /// It asked for its end.
    pub killed: bool,
    asked_at: u64,
    /// Its kill was taken, and the registry knew the task then.
    kill_taken: bool,
    /// Its ACCEPT was answered, or never will be.
    settled: bool,
}

impl Task {
    fn new(agent: AgentId, settled: bool) -> Task {
        Task { agent, state: None, over: false, killed: false, asked_at: 0, kill_taken: false, settled }
    }
}

/// What a request was about.
#[derive(Clone, Debug)]
enum Request {
    Accept(Vec<TaskId>),
    Kill(TaskId),
    Other,
}

/// A framework.
pub struct Framework {
    node: Node,
    /// How it behaves.
    pub temper: Temper,
    /// Its id, once it has one.
    pub id: Option<FrameworkId>,
    /// Earlier ids that were taken from it.
    pub former: Vec<FrameworkId>,
    /// What it launched under its present id.
    pub tasks: BTreeMap<TaskId, Task>,
    named: u64,
    launched: u64,
    life: u64,
    connection: u64,
    gateway: Option<Node>,
    stream: Option<u128>,
    connecting: bool,
    connect_at: u64,
    heard: u64,
    offers: BTreeMap<OfferId, Offer>,
    requests: BTreeMap<u64, (Node, Request)>,
    requested: u64,
    forgotten: BTreeSet<u128>,
    wires: BTreeMap<Node, Wire>,
    reconcile_at: u64,
    suppressed: bool,
    /// It launches nothing any more.
    pub idle: bool,
    /// It ends everything that it has.
    pub ending: bool,
    /// It is gone for good.
    pub left: bool,
}

const TICK: u64 = 250;
const HEARTBEATS_MISSED: u64 = 16_000;

impl Framework {
    /// A framework that was never started.
    #[must_use]
    pub fn new(node: Node, temper: Temper) -> Framework {
        Framework {
            node,
            temper,
            id: None,
            former: Vec::new(),
            tasks: BTreeMap::new(),
            named: 0,
            launched: 0,
            life: 0,
            connection: 0,
            gateway: None,
            stream: None,
            connecting: false,
            connect_at: 0,
            heard: 0,
            offers: BTreeMap::new(),
            requests: BTreeMap::new(),
            requested: 0,
            forgotten: BTreeSet::new(),
            wires: BTreeMap::new(),
            reconcile_at: 0,
            suppressed: false,
            idle: false,
            ending: false,
            left: false,
        }
    }

    /// Its process starts; what it wrote to disk is there.
    pub fn start(&mut self, net: &mut Net) {
        self.drop_connection();
        for (_, request) in std::mem::take(&mut self.requests).into_values() {
            self.unsure(net, request);
        }
        self.forgotten.clear();
        self.connect_at = net.now;
        net.give(self.node, 1, Work::Tick(0));
    }

    /// Whether it has a stream.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        self.stream.is_some() && !self.left
    }

    /// How many of its tasks were ever heard to run.
    #[must_use]
    pub fn launched(&self) -> u64 {
        self.launched
    }

    /// Has it ask for offers again: whether its last REVIVE was taken it may not know.
    pub fn try_again(&mut self) {
        self.idle = false;
        self.ending = false;
        self.suppressed = true;
    }

    /// The last connection that it opened.
    #[must_use]
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// Where its stream is, or would be.
    #[must_use]
    pub fn gateway(&self) -> Option<Node> {
        self.gateway
    }

    fn role(&self) -> Role {
        Role::from(self.temper.role)
    }

    fn info(&self) -> FrameworkInfo {
        let capabilities = Capabilities {
            partition_aware: self.temper.partition_aware,
            task_killing_state: self.temper.task_killing,
            multi_role: true,
            reservation_refinement: true,
            ..Capabilities::default()
        };
        FrameworkInfo {
            name: self.node.to_string(),
            user: "somebody".to_owned(),
            roles: vec![self.role()],
            capabilities,
            failover_timeout_ms: self.temper.failover_ms,
            checkpoint: true,
            ..FrameworkInfo::default()
        }
    }

    fn caller(&self) -> Option<Caller> {
        Some(Caller::framework(self.id.clone()?, self.stream))
    }

    /// Does one piece of work.
    pub fn work(&mut self, net: &mut Net, work: Work) {
        match work {
            Work::Tick(_) => self.tick(net),
            Work::ToFramework(what) => self.told(net, what),
            Work::Decide(offer) => self.decide(net, &offer),
            Work::Acknowledge(task, agent, uuid) => self.acknowledge(net, task, agent, uuid),
            _ => {}
        }
    }

    fn tick(&mut self, net: &mut Net) {
        net.give(self.node, TICK, Work::Tick(0));
        if self.stream.is_some() && net.now > self.heard + HEARTBEATS_MISSED {
            self.close(net);
        }
        if self.stream.is_none() && !self.connecting && net.now >= self.connect_at {
            self.connect(net);
        }
        if self.connecting && net.now > self.heard + HEARTBEATS_MISSED {
            self.close(net);
        }
        if self.stream.is_none() {
            return;
        }
        if net.now >= self.reconcile_at {
            self.reconcile(net);
        }
        if net.rng.below(4) == 0 {
            self.whims(net);
        }
        if self.ending {
            let (now, tasks) = (net.now, &self.tasks);
            // What was lost may still run where nobody sees it.
            let open = |task: &Task| (!task.over || task.state == Some(TaskState::Lost)) && task.settled;
            // A kill that was taken counts until the task is over, unless the store forgot it.
            let forgotten = net.seen.rolled_back;
            let again = |task: &Task| now > task.asked_at + 5000 && (!task.kill_taken || forgotten);
            let due = |task: &Task| open(task) && (!task.killed || again(task));
            let left: Vec<TaskId> = tasks.iter().filter(|(_, task)| due(task)).map(|(id, _)| id.clone()).collect();
            for task in left {
                self.kill(net, &task);
            }
        }
    }

    fn whims(&mut self, net: &mut Net) {
        let Some(caller) = self.caller() else { return };
        if net.rng.chance(self.temper.kill) {
            let running: Vec<TaskId> =
                self.tasks.iter().filter(|(_, task)| !task.over && task.settled).map(|(id, _)| id.clone()).collect();
            if !running.is_empty() {
                let at = net.rng.below(running.len() as u64) as usize;
                self.kill(net, &running[at]);
            }
        }
        if net.rng.chance(self.temper.appetite) || (self.suppressed && self.temper.appetite == 0) {
            let call = if self.suppressed {
                RegistryCall::Revive(caller.clone(), Vec::new())
            } else {
                RegistryCall::Suppress(caller.clone(), Vec::new())
            };
            self.suppressed = !self.suppressed;
            self.request(net, Passed::Registry(call), Request::Other);
        }
        if net.rng.chance(self.temper.teardown) {
            net.trace(10, || format!("{} tears itself down", self.node));
            self.request(net, Passed::Registry(RegistryCall::Teardown(caller)), Request::Other);
        }
    }

    // Connections.

    fn connect(&mut self, net: &mut Net) {
        self.connecting = true;
        self.connection += 1;
        self.heard = net.now;
        let gateway = Node::Gateway(net.rng.below(2) as u8);
        self.gateway = Some(gateway);
        let subscribe = ToGateway::Subscribe {
            from: (self.node, self.connection),
            framework: self.id.clone(),
            info: self.info(),
            suppressed: if self.suppressed { vec![self.role()] } else { Vec::new() },
        };
        self.send(net, gateway, subscribe);
    }

    fn drop_connection(&mut self) {
        self.stream = None;
        self.connecting = false;
        self.offers.clear();
    }

    fn close(&mut self, net: &mut Net) {
        if let Some(gateway) = self.gateway {
            let gone = ToGateway::PeerClosed { from: self.node, up_to: self.connection };
            self.send(net, gateway, gone);
        }
        self.drop_connection();
        self.connect_at = net.now + net.rng.between(100, 2000);
    }

    fn send(&mut self, net: &mut Net, gateway: Node, what: ToGateway) {
        let mut wire = self.wires.remove(&gateway).unwrap_or_default();
        net.to_gateway(gateway, self.node, &mut wire, what);
        self.wires.insert(gateway, wire);
    }

    fn request(&mut self, net: &mut Net, call: Passed, request: Request) {
        self.requested += 1;
        let gateway = Node::Gateway(net.rng.below(2) as u8);
        self.requests.insert(self.requested, (gateway, request));
        let from = (self.node, self.requested);
        self.send(net, gateway, ToGateway::Call { from, call });
    }

    fn told(&mut self, net: &mut Net, what: ToFramework) {
        let current = |connection: u64| connection == self.connection && (self.connecting || self.stream.is_some());
        match what {
            ToFramework::Subscribed { connection, framework, stream } => {
                if current(connection) {
                    self.subscribed(net, framework, stream);
                }
            }
            ToFramework::Event(connection, event) => {
                if current(connection) {
                    if self.stream.is_none() {
                        net.seen.event_before_subscribed(self.node);
                    }
                    self.heard = net.now;
                    self.event(net, event);
                }
            }
            ToFramework::Heartbeat(connection) => {
                if current(connection) {
                    self.heard = net.now;
                }
            }
            ToFramework::Ended(connection, status) => {
                if current(connection) {
                    let refused = self.stream.is_none() && status == 200;
                    self.drop_connection();
                    self.connect_at = net.now + net.rng.between(100, 2000);
                    if refused {
                        self.removed(net);
                    }
                }
            }
            ToFramework::Answered(request, status) => {
                if let Some((_, request)) = self.requests.remove(&request) {
                    self.answered(net, request, status);
                }
            }
            ToFramework::GatewayGone(gateway) => {
                let gone: Vec<u64> =
                    self.requests.iter().filter(|(_, (to, _))| *to == gateway).map(|(id, _)| *id).collect();
                for id in gone {
                    if let Some((_, request)) = self.requests.remove(&id) {
                        self.unsure(net, request);
                    }
                }
                if self.gateway == Some(gateway) && (self.connecting || self.stream.is_some()) {
                    self.drop_connection();
                    self.connect_at = net.now + net.rng.between(100, 2000);
                }
            }
        }
    }

    fn subscribed(&mut self, net: &mut Net, framework: FrameworkId, stream: u128) {
        net.trace(11, || format!("{} is subscribed as {framework}", self.node));
        net.seen.subscribed(net.now, &framework, stream, &self.temper);
        self.id = Some(framework);
        self.stream = Some(stream);
        self.connecting = false;
        self.heard = net.now;
        self.reconcile_at = net.now + net.rng.between(0, 2000);
    }

    /// Its id was taken from it: it begins a new life.
    fn removed(&mut self, net: &mut Net) {
        let Some(id) = self.id.take() else { return };
        net.trace(12, || format!("{} was removed as {id}", self.node));
        self.former.push(id);
        self.tasks.clear();
        self.requests.clear();
        self.life += 1;
        self.suppressed = false;
    }

    fn answered(&mut self, net: &mut Net, request: Request, status: u16) {
        if status == 503 {
            return self.unsure(net, request);
        }
        let tasks = match request {
            Request::Accept(tasks) => tasks,
            Request::Kill(task) => {
                if let Some(task) = self.tasks.get_mut(&task).filter(|_| status == 202) {
                    task.kill_taken =
                        matches!(task.state, Some(TaskState::Running | TaskState::Starting | TaskState::Killing));
                }
                return;
            }
            Request::Other => return,
        };
        for task in tasks {
            let unheard = self.tasks.get(&task).is_some_and(|task| task.state.is_none());
            if (400..500).contains(&status) && unheard {
                self.tasks.remove(&task);
            } else if let Some(task) = self.tasks.get_mut(&task) {
                task.settled = true;
            }
        }
    }

    /// Whether a request took effect is not known; reconciliation will tell.
    fn unsure(&mut self, net: &mut Net, request: Request) {
        let (Request::Accept(tasks), Some(id)) = (request, &self.id) else { return };
        for name in tasks {
            if let Some(task) = self.tasks.get_mut(&name) {
                task.settled = true;
                net.seen.unsure(id, &name);
            }
        }
    }

    // Offers.

    fn event(&mut self, net: &mut Net, event: StreamEvent) {
        match event {
            StreamEvent::Offers(offers) => {
                for offer in offers {
                    net.seen.offered(net.now, self.id.as_ref(), &offer);
                    let wait = net.rng.between(0, 300);
                    net.give(self.node, wait, Work::Decide(offer.id.clone()));
                    self.offers.insert(offer.id.clone(), offer);
                }
            }
            StreamEvent::Rescind(offer) => {
                net.seen.rescinded(self.id.as_ref(), &offer);
                self.offers.remove(&offer);
            }
            StreamEvent::Update { status, .. } => self.update(net, &status),
            StreamEvent::OperationFinished { operation, .. } => net.seen.operation_finished(&operation),
            StreamEvent::InverseOffers(offers) => self.answer_inverse(net, offers),
            _ => {}
        }
    }

    fn answer_inverse(&mut self, net: &mut Net, offers: Vec<InverseOffer>) {
        let Some(caller) = self.caller() else { return };
        for offer in offers {
            if net.rng.chance(self.temper.hoard) {
                continue;
            }
            let (accepted, refuse_ms) = (net.rng.below(2) == 0, Some(net.rng.between(0, 10_000)));
            let call =
                AllocatorCall::AnswerInverse { caller: caller.clone(), offers: vec![offer.id], accepted, refuse_ms };
            self.request(net, Passed::Allocator(call), Request::Other);
        }
    }

    fn decide(&mut self, net: &mut Net, id: &OfferId) {
        if self.stream.is_none() || !self.offers.contains_key(id) || net.rng.chance(self.temper.hoard) {
            return;
        }
        let Some(offer) = self.offers.remove(id) else { return };
        let Some(caller) = self.caller() else { return };
        let active = self.tasks.values().filter(|task| !task.over).count();
        let accepts = !self.idle && active < self.temper.tasks_max && net.rng.chance(self.temper.accept);
        if !accepts {
            let refuse_ms = if self.idle { Some(1000) } else { Some(net.rng.between(100, 3000)) };
            let call = AllocatorCall::Decline { caller, offers: vec![offer.id], refuse_ms };
            self.request(net, Passed::Allocator(call), Request::Other);
            return;
        }
        self.accept(net, &caller, &offer);
        if net.rng.chance(self.temper.accept_twice) {
            self.accept(net, &caller, &offer);
        }
    }

    fn accept(&mut self, net: &mut Net, caller: &Caller, offer: &Offer) {
        let mut left = offer.resources.clone();
        let mut operations = self.convert(net, &mut left);
        let mut tasks = Vec::new();
        let active = self.tasks.values().filter(|task| !task.over).count();
        let room = self.temper.tasks_max.saturating_sub(active) as u64;
        for _ in 0..net.rng.between(1, 3).min(room) {
            let cpus = 100 * net.rng.between(1, 10) as i64;
            if let Some(resources) = take(&mut left, &[("cpus", cpus), ("mem", 32_000)]) {
                tasks.push(self.task(net, offer, resources));
            }
        }
        let executor = Resources::of(&[("cpus", 100), ("mem", 32_000)]);
        let group = net.rng.chance(self.temper.group) && left.take(&executor);
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.task.clone()).collect();
        for task in &ids {
            let known = Task::new(offer.agent.clone(), false);
            self.tasks.insert(task.clone(), known);
        }
        let kind = match ids.first() {
            Some(first) if group => {
                let executor = mesos_model::ExecutorId::from(format!("e-{first}"));
                let spec = ExecutorSpec {
                    executor,
                    resources: Resources::of(&[("cpus", 100), ("mem", 32_000)]),
                    body: bytes::Bytes::new(),
                    custom: false,
                };
                OperationKind::LaunchGroup { executor: spec, tasks }
            }
            _ => OperationKind::Launch(tasks),
        };
        net.trace(13, || format!("{} accepts {} for {ids:?}", self.node, offer.id));
        if !ids.is_empty() {
            operations.push(Operation { id: None, kind });
        }
        let call = AllocatorCall::Accept {
            caller: caller.clone(),
            offers: vec![offer.id.clone()],
            operations,
            refuse_ms: Some(net.rng.between(0, 2000)),
        };
        self.request(net, Passed::Allocator(call), Request::Accept(ids));
    }

    /// Operations on what it was offered, before its tasks are launched.
    fn convert(&mut self, net: &mut Net, left: &mut Resources) -> Vec<Operation> {
        let mut operations = Vec::new();
        // Who never converts draws nothing.
        while self.temper.convert > 0 && operations.len() < 3 && net.rng.chance(self.temper.convert) {
            self.named += 1;
            let label = format!("{}-{}-{}", self.node, self.life, self.named);
            let Some(conversion) = operation::draw(&mut net.rng, left, &self.role(), &label) else { break };
            *left = conversion.applied_to(left);
            let makes = matches!(conversion.name.as_str(), "RESERVE" | "CREATE");
            let id = (makes && net.rng.below(2) == 0).then_some(label);
            operations.push(Operation { id, kind: OperationKind::Convert(conversion) });
        }
        operations
    }

    /// What the names of its present tasks begin with.
    fn prefix(&self) -> String {
        format!("{}-{}-", self.node, self.life)
    }

    fn task(&mut self, net: &mut Net, offer: &Offer, resources: Resources) -> TaskSpec {
        self.named += 1;
        let run_ms =
            if net.rng.chance(self.temper.run_for_ever) { 0 } else { net.rng.between(1, self.temper.run_max_ms) };
        let code = i32::from(net.rng.below(4) == 0);
        let script = Script { run_ms, code, grace_ms: net.rng.between(0, 2000) };
        TaskSpec {
            task: TaskId::from(format!("{}-{}-{}", self.node, self.life, self.named)),
            name: String::new(),
            agent: offer.agent.clone(),
            resources,
            priority: None,
            executor: None,
            invalid: None,
            body: script.body(),
        }
    }

    // Tasks.

    fn kill(&mut self, net: &mut Net, task: &TaskId) {
        let Some(caller) = self.caller() else { return };
        let Some(known) = self.tasks.get_mut(task) else { return };
        known.killed = true;
        known.asked_at = net.now;
        let agent = (net.rng.below(2) == 0).then(|| known.agent.clone());
        net.trace(14, || format!("{} kills {task}", self.node));
        let call = RegistryCall::Kill { caller, task: task.clone(), agent, grace_ms: None };
        self.request(net, Passed::Registry(call), Request::Kill(task.clone()));
    }

    fn reconcile(&mut self, net: &mut Net) {
        self.reconcile_at = net.now + net.rng.between(8_000, 12_000);
        let Some(caller) = self.caller() else { return };
        // What nobody knows now may turn up again with its agent.
        let open = |task: &Task| !task.over || task.state == Some(TaskState::Unknown);
        let unsure = self.tasks.iter().filter(|(_, task)| open(task) && task.settled);
        let tasks: Vec<_> = unsure.map(|(id, task)| (id.clone(), Some(task.agent.clone()))).collect();
        if !tasks.is_empty() {
            let call = RegistryCall::Reconcile { caller, tasks };
            self.request(net, Passed::Registry(call), Request::Other);
        }
    }

    fn update(&mut self, net: &mut Net, status: &TaskStatus) {
        let Some(id) = self.id.clone() else { return };
        let task = status.task.clone();
        net.trace(15, || {
            format!(
                "{} hears {task} is {} ({:?})",
                self.node,
                status.state.name(),
                status.reason.and_then(Reason::name)
            )
        });
        net.seen.told(&id, status, &self.temper);
        net.seen.i11_only_own_tasks(self.node, &task);
        if !self.tasks.contains_key(&task) && !ends(status) && task.as_str().starts_with(&self.prefix()) {
            // It was told that the task was never launched; a store forgot that it was.
            let agent = status.agent.clone().unwrap_or_default();
            self.tasks.insert(task.clone(), Task::new(agent, true));
        }
        if let Some(known) = self.tasks.get_mut(&task) {
            self.launched += u64::from(known.state.is_none());
            known.state = Some(status.state);
            // What was given up may turn up again.
            known.over = ends(status) || status.state == TaskState::Unknown;
            if let Some(agent) = &status.agent {
                known.agent = agent.clone();
            }
        }
        let (Some(uuid), Some(agent)) = (status.uuid, status.agent.clone()) else { return };
        self.answer_update(net, task, agent, uuid);
    }

    fn answer_update(&mut self, net: &mut Net, task: TaskId, agent: AgentId, uuid: u128) {
        if net.rng.chance(self.temper.ack_wrong) {
            let wrong = net.rng.uuid();
            self.acknowledge(net, task.clone(), agent.clone(), wrong);
        }
        if net.rng.chance(self.temper.ack_forgotten) && self.forgotten.insert(uuid) {
            return;
        }
        if net.rng.chance(self.temper.ack_late) {
            let late = net.rng.between(100, 15_000);
            net.give(self.node, late, Work::Acknowledge(task, agent, uuid));
            return;
        }
        self.acknowledge(net, task.clone(), agent.clone(), uuid);
        if net.rng.chance(self.temper.ack_twice) {
            let later = net.rng.between(0, 5_000);
            net.give(self.node, later, Work::Acknowledge(task, agent, uuid));
        }
    }

    fn acknowledge(&mut self, net: &mut Net, task: TaskId, agent: AgentId, uuid: u128) {
        let (Some(caller), Some(_)) = (self.caller(), self.stream) else { return };
        let call = RegistryCall::Acknowledge { caller, task, agent, uuid };
        self.request(net, Passed::Registry(call), Request::Other);
    }
}

/// Takes amounts of scalars out of a bundle: of what is reserved if there is enough of it, or else of the rest. Volumes
/// are left.
fn take(left: &mut Resources, scalars: &[(&str, i64)]) -> Option<Resources> {
    let mut taken = Vec::new();
    for (name, amount) in scalars {
        let enough = |entry: &&Resource| {
            &*entry.name == *name
                && !operation::is_volume(entry)
                && matches!(entry.value, Value::Scalar(there) if there >= *amount)
        };
        let reserved = left.iter().filter(enough).find(|entry| entry.qualifier.is_some());
        let entry = reserved.or_else(|| left.iter().find(enough))?;
        taken.push(Resource { value: Value::Scalar(*amount), ..entry.clone() });
    }
    let taken = Resources::try_from_entries(taken).ok()?;
    left.take(&taken).then_some(taken)
}

/// Whether a task is over with this status, as a framework must understand it: TASK_LOST may be only for a
/// while if its agent was lost, and for good if the task never ran or its agent does not know it.
#[must_use]
pub fn ends(status: &TaskStatus) -> bool {
    status.state.is_terminal()
        || (status.state == TaskState::Lost && status.reason != Some(Reason::AGENT_REMOVED))
        || status.state == TaskState::GoneByOperator
}

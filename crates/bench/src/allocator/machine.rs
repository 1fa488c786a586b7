//! How many tasks the allocator's whole machine can place in a second of CPU time: calls, rows, orders and all, but
//! no bus and no store.

use std::collections::VecDeque;

use anyhow::{Result, ensure};
use bytes::Bytes;
use mesos_core::{
    allocation::{Allocator, Event, Options, Output},
    machine::{Effects, Machine},
    message::{
        AgentReport, AgentToAllocator, AllocatorCall, Call, Caller, Operation, OperationKind, RequestId, StreamEvent,
        TaskSpec, ToAgent,
    },
    row::{FrameworkInfo, FrameworkRow, FrameworkState, LaunchRow, Row, RowChange, Subscription, TaskRow},
};
use mesos_model::{AgentId, FrameworkId, LaunchId, OfferId, Resources, Role, TaskId, TaskState, Term, Time};

use super::{
    Size,
    cluster::{WHOLE, agent_ids, frameworks, resources},
    measure::{Spent, Steps, Take},
};

/// Tasks that are placed while time is taken.
const PLACEMENTS: usize = 300_000;
/// CPUs of an agent, of which half are to be in use; a task takes one.
const CPUS: usize = 24;
/// Calls that are one batch, as a busy gateway sends them.
const BATCH: usize = 256;

struct Cluster {
    machine: Allocator,
    now: Time,
    term: Term,
    offers: VecDeque<(FrameworkId, AgentId, OfferId)>,
    running: VecDeque<(FrameworkId, AgentId, TaskId, LaunchId)>,
    orders: Vec<(AgentId, u64)>,
    calls: u64,
    task: Resources,
    spent: Spent,
}

/// Every offer launches one task and gives the rest back at once; the oldest tasks end when half of the cluster is
/// in use.
pub(crate) fn run(size: Size) -> Result<Steps> {
    let mut steps = Steps::default();
    let mut cluster = Cluster::new(size)?;
    let half = size.agents * CPUS / 2;
    cluster.place(half, half)?;
    cluster.spent = Spent::default();
    let placed = cluster.place(half, PLACEMENTS)?;
    steps.add("machine", cluster.spent);
    cluster.machine.check().map_err(|error| anyhow::anyhow!(error))?;
    let per_second = placed as f64 / (steps.cpu_ms("machine") / 1000.0);
    if let Some(line) = steps.line("machine", "machine", Take::Median) {
        line.insert("placements".to_owned(), placed.into());
        line.insert("placements_per_cpu_second".to_owned(), per_second.round().into());
    }
    Ok(steps)
}

impl Cluster {
    fn new(size: Size) -> Result<Cluster> {
        let term = Term { epoch: 1, leader: 1 };
        let mut cluster = Cluster {
            machine: Allocator::new(Options::default()),
            now: Time(1_000_000),
            term,
            offers: VecDeque::new(),
            running: VecDeque::new(),
            orders: Vec::new(),
            calls: 0,
            task: resources("cpus:1;mem:32")?,
            spent: Spent::default(),
        };
        cluster.batch(|machine, now, fx| machine.lead(now, term, fx));
        let total = resources(WHOLE)?;
        for id in agent_ids(size.agents) {
            let report = report(&id, &total, term);
            cluster.batch(|machine, now, fx| {
                machine.step(now, Event::Agent(AgentToAllocator::Report(Box::new(report))), fx);
            });
        }
        for (id, role) in frameworks(size) {
            let row = RowChange::Put(Row::Framework(framework(&id, &role)));
            cluster.batch(|machine, now, fx| machine.peer(now, row, fx));
        }
        Ok(cluster)
    }

    /// One batch as the driver makes it; what leaves is taken up at once by agents and frameworks.
    fn batch(&mut self, run: impl FnOnce(&mut Allocator, Time, &mut Effects<Output>)) {
        let mut fx = Effects::default();
        let (machine, now) = (&mut self.machine, self.now);
        // What the load itself does, making calls and reading effects, is not the machine's.
        self.spent.on(|| {
            run(machine, now, &mut fx);
            machine.settle(now, &mut fx);
        });
        for change in fx.changes {
            if let RowChange::Put(Row::Launch(row)) = change {
                self.started(row);
            }
        }
        for output in fx.outputs {
            match output {
                Output::Stream { event, .. } => {
                    if let StreamEvent::Offers(offers) = event.event {
                        let framework = event.framework;
                        self.offers.extend(offers.into_iter().map(|offer| (framework.clone(), offer.agent, offer.id)));
                    }
                }
                Output::Agent { agent, message: ToAgent::Orders { first, orders, .. } } => {
                    self.orders.push((agent, first + orders.len() as u64 - 1));
                }
                _ => {}
            }
        }
    }

    fn started(&mut self, row: LaunchRow) {
        let LaunchRow { framework, agent, launch, tasks, .. } = row;
        for task in tasks {
            self.running.push_back((framework.clone(), agent.clone(), task.task, launch.clone()));
        }
    }

    /// Places at least so many tasks, with at most `most` running; says how many.
    fn place(&mut self, most: usize, count: usize) -> Result<usize> {
        let before = self.machine.metrics().launches;
        loop {
            let placed = usize::try_from(self.machine.metrics().launches - before)?;
            if placed >= count {
                return Ok(placed);
            }
            ensure!(!self.offers.is_empty(), "no offers although half of the cluster is free");
            let offers: Vec<_> = self.offers.drain(..self.offers.len().min(BATCH)).collect();
            let calls: Vec<Event> =
                offers.into_iter().map(|(framework, agent, id)| self.accept(framework, agent, id)).collect();
            self.batch(|machine, now, fx| calls.into_iter().for_each(|call| machine.step(now, call, fx)));
            let orders = std::mem::take(&mut self.orders);
            let term = self.term;
            self.batch(|machine, now, fx| {
                for (agent, number) in orders {
                    let beat = AgentToAllocator::Beat { agent, instance: 1, term, number, digest: 0 };
                    machine.step(now, Event::Agent(beat), fx);
                }
            });
            let over = self.running.len().saturating_sub(most);
            let ended: Vec<_> = self.running.drain(..over).map(ended).collect();
            self.batch(|machine, now, fx| {
                for row in ended {
                    let (framework, task) = (row.framework.clone(), row.task.clone());
                    machine.peer(now, RowChange::Put(Row::Task(row)), fx);
                    machine.peer(now, RowChange::Delete(mesos_core::row::RowKey::Task(framework, task)), fx);
                }
            });
        }
    }

    fn accept(&mut self, framework: FrameworkId, agent: AgentId, offer: OfferId) -> Event {
        self.calls += 1;
        let task = TaskSpec {
            task: format!("task-{}", self.calls).into(),
            name: String::new(),
            agent,
            resources: self.task.clone(),
            priority: None,
            executor: None,
            invalid: None,
            body: Bytes::new(),
        };
        let what = AllocatorCall::Accept {
            caller: Caller::framework(framework, Some(1)),
            offers: vec![offer],
            operations: vec![Operation { id: None, kind: OperationKind::Launch(vec![task]) }],
            refuse_ms: Some(0),
        };
        let call = Call::new(format!("call-{}", self.calls), "gateway", what);
        Event::Call { request: RequestId(self.calls), call }
    }
}

fn report(id: &AgentId, total: &Resources, term: Term) -> AgentReport {
    AgentReport {
        agent: Some(id.clone()),
        instance: 1,
        boot: String::new(),
        hostname: id.to_string(),
        ip: String::new(),
        port: 5051,
        version: String::new(),
        total: total.clone(),
        oversubscribed: Resources::new(),
        degraded: None,
        attributes: Vec::new(),
        domain: None,
        body: Bytes::new(),
        term,
        number: 0,
        answers: Some(term),
        said: (0, 0),
        launches: Vec::new(),
    }
}

fn framework(id: &FrameworkId, role: &Role) -> FrameworkRow {
    FrameworkRow {
        id: id.clone(),
        info: FrameworkInfo { name: id.to_string(), roles: vec![role.clone()], ..FrameworkInfo::default() },
        body: Bytes::new(),
        state: FrameworkState::Connected,
        subscription: Some(Subscription { number: 1, stream: 1, gateway: "gateway".into() }),
        suppressed: Default::default(),
        revived: Default::default(),
        priority: None,
        recovered: false,
        registered: Time(1),
        reregistered: Time(1),
    }
}

fn ended((framework, agent, task, launch): (FrameworkId, AgentId, TaskId, LaunchId)) -> TaskRow {
    TaskRow {
        framework,
        executor: task.as_str().into(),
        task,
        name: String::new(),
        launch,
        agent,
        role: Role::default(),
        resources: Resources::new(),
        state: TaskState::Finished,
        status: None,
        number: 1,
        pending: Vec::new(),
        end_acknowledged: true,
        launch_seen: true,
        kill: None,
        created: Time(1),
        trace: None,
    }
}

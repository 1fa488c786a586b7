//! Random lives of a small cluster: whatever happens, resources are conserved, a launch runs once, nothing
//! that is free and wanted stays unoffered, and a standby knows what its leader knows.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{AgentId, FrameworkId, LaunchId, OfferId, Resources, TaskId, TaskState, Term, Time};
use proptest::prelude::*;

use super::{
    Allocator, Event, Options, Output,
    scenario::{World, connected, resources, term},
};
use crate::{
    machine::{Effects, Machine},
    message::{
        AgentReport, AgentToAllocator, AllocatorCall, Call, Caller, MachineId, Operation, OperationKind, OperatorCall,
        Order, ReportedLaunch, RequestId, StreamEvent, TaskSpec, ToAgent, Unavailability, Window, digest,
    },
    row::{AgentState, FrameworkState, Row, RowChange, RowKey, TaskRow},
};

const AGENTS: [&str; 3] = ["a", "b", "c"];
const FRAMEWORKS: [(&str, &str); 3] = [("f", "r"), ("g", "r/s,t"), ("h", "t")];

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Report {
        agent: usize,
        heard: bool,
    },
    /// An old report comes once more.
    Late {
        which: usize,
    },
    Beat {
        agent: usize,
    },
    Subscribe {
        framework: usize,
    },
    Lose {
        framework: usize,
    },
    Remove {
        framework: usize,
    },
    Suppress {
        framework: usize,
        revive: bool,
    },
    Accept {
        offers: Vec<usize>,
        cpus: i64,
        tasks: usize,
        refuse_ms: u64,
        again: bool,
    },
    Decline {
        offer: usize,
        refuse_ms: u64,
    },
    End {
        which: usize,
        registry_knows: bool,
    },
    Kill {
        which: usize,
    },
    Catch {
        up: bool,
    },
    Pass {
        ms: u64,
    },
    Shrink {
        agent: usize,
        cpus: i64,
    },
    Takeover {
        heard: bool,
    },
    /// An operator takes an agent out, or back in.
    Leave {
        agent: usize,
        how: Leave,
    },
}

#[derive(Clone, Copy, Debug)]
enum Leave {
    Drain,
    DrainToGo,
    Deactivate,
    Reactivate,
    Gone,
    Plan(i64),
    Down,
    Up,
}

fn leave() -> impl Strategy<Value = Leave> {
    prop_oneof![
        4 => Just(Leave::Drain),
        1 => Just(Leave::DrainToGo),
        2 => Just(Leave::Deactivate),
        5 => Just(Leave::Reactivate),
        1 => Just(Leave::Gone),
        4 => (1i64..4).prop_map(Leave::Plan),
        2 => Just(Leave::Down),
        4 => Just(Leave::Up),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let (agent, framework) = (0..AGENTS.len(), 0..FRAMEWORKS.len());
    prop_oneof![
        3 => (agent.clone(), prop::bool::weighted(0.9)).prop_map(|(agent, heard)| Step::Report { agent, heard }),
        1 => any::<usize>().prop_map(|which| Step::Late { which }),
        4 => agent.clone().prop_map(|agent| Step::Beat { agent }),
        2 => framework.clone().prop_map(|framework| Step::Subscribe { framework }),
        1 => framework.clone().prop_map(|framework| Step::Lose { framework }),
        1 => framework.clone().prop_map(|framework| Step::Remove { framework }),
        1 => (framework, any::<bool>()).prop_map(|(framework, revive)| Step::Suppress { framework, revive }),
        8 => (proptest::collection::vec(any::<usize>(), 1..3), 1i64..3000, 0usize..4, 0u64..9000, any::<bool>())
            .prop_map(|(offers, cpus, tasks, refuse_ms, again)| Step::Accept { offers, cpus, tasks, refuse_ms, again }),
        2 => (any::<usize>(), 0u64..9000).prop_map(|(offer, refuse_ms)| Step::Decline { offer, refuse_ms }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, registry_knows)| Step::End { which, registry_knows }),
        1 => any::<usize>().prop_map(|which| Step::Kill { which }),
        1 => any::<bool>().prop_map(|up| Step::Catch { up }),
        3 => (0u64..20_000).prop_map(|ms| Step::Pass { ms }),
        1 => (agent.clone(), 1i64..5000).prop_map(|(agent, cpus)| Step::Shrink { agent, cpus }),
        1 => prop::bool::weighted(0.5).prop_map(|heard| Step::Takeover { heard }),
        2 => (agent, leave()).prop_map(|(agent, how)| Step::Leave { agent, how }),
    ]
}

/// An agent as the contract describes it.
#[derive(Clone, Debug, Default)]
struct Host {
    total: Resources,
    term: Term,
    number: u64,
    holds: BTreeMap<LaunchId, ReportedLaunch>,
}

struct Life {
    world: World,
    term: u64,
    hosts: BTreeMap<AgentId, Host>,
    old_reports: Vec<AgentReport>,
    /// Every launch that ever ran, anywhere.
    ran: BTreeSet<LaunchId>,
    /// Offers that frameworks know of, with the framework and agent.
    offers: Vec<(OfferId, FrameworkId, AgentId)>,
    accepted: BTreeSet<OfferId>,
    subscriptions: BTreeMap<FrameworkId, u64>,
    /// Ends that agents know of and the registry does not.
    ended: Vec<(FrameworkId, TaskId, LaunchId)>,
    peers: BTreeMap<RowKey, Row>,
    /// Agents that were gone once.
    gone: BTreeSet<AgentId>,
    /// Whether messages to agents arrive.
    up: bool,
    tasks: u64,
    told: Vec<String>,
}

impl Life {
    fn new() -> Life {
        let mut life = Life {
            world: World::new(Options { unreachable_per_minute_percent: 100, ..Options::default() }),
            term: 0,
            hosts: AGENTS
                .iter()
                .map(|id| {
                    let total = resources("cpus:4;mem:4096;ports:[1-9]");
                    (AgentId::from(*id), Host { total, ..Host::default() })
                })
                .collect(),
            old_reports: vec![],
            ran: BTreeSet::new(),
            offers: vec![],
            accepted: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            ended: vec![],
            peers: BTreeMap::new(),
            gone: BTreeSet::new(),
            up: true,
            tasks: 0,
            told: vec![],
        };
        life.lead();
        life
    }

    fn lead(&mut self) {
        self.term += 1;
        let next = self.term;
        self.run(|machine, now, fx| machine.lead(now, term(next), fx));
    }

    fn run(&mut self, run: impl FnOnce(&mut Allocator, Time, &mut Effects<Output>)) {
        let fx = self.world.effects(run);
        self.told.push(format!("{fx:?}"));
        for output in fx.outputs {
            match output {
                Output::Agent { agent, message } if self.up => self.hear(&agent, message),
                Output::Stream { event, .. } => match event.event {
                    StreamEvent::Offers(offers) => self
                        .offers
                        .extend(offers.into_iter().map(|offer| (offer.id, event.framework.clone(), offer.agent))),
                    StreamEvent::Rescind(id) => self.offers.retain(|(offer, ..)| *offer != id),
                    _ => {}
                },
                _ => {}
            }
        }
        self.nothing_wanted_is_left_over();
        self.whoever_is_gone_stays_gone();
    }

    fn whoever_is_gone_stays_gone(&mut self) {
        let rows = self.world.machine.agents();
        let gone: BTreeSet<AgentId> =
            rows.filter(|row| row.state == AgentState::Gone).map(|row| row.id.clone()).collect();
        assert!(gone.is_superset(&self.gone), "{:?} were gone, {gone:?} are", self.gone);
        self.gone = gone;
    }

    /// L4: nobody who was not refused by a filter wants what is free.
    fn nothing_wanted_is_left_over(&self) {
        assert_eq!(self.world.machine.left_over(self.world.now), None);
    }

    fn hear(&mut self, id: &AgentId, message: ToAgent) {
        let Some(host) = self.hosts.get_mut(id) else { return };
        match message {
            // Nobody waits for what its tasks have to say.
            ToAgent::Refused { gone: true, .. } => host.holds.clear(),
            ToAgent::Welcome { term, .. } if term > host.term => (host.term, host.number) = (term, 0),
            ToAgent::Orders { term, first, orders } if term == host.term => {
                for (at, order) in orders.into_iter().enumerate() {
                    let number = first + at as u64;
                    if number != host.number + 1 {
                        continue;
                    }
                    host.number = number;
                    if let Order::Drain { .. } = order {
                        end_all(host, &mut self.ended);
                    }
                    let Order::Launch(order) = order else { continue };
                    assert!(self.ran.insert(order.launch.clone()), "{} ran twice", order.launch);
                    let launch = ReportedLaunch {
                        launch: order.launch.clone(),
                        framework: order.framework,
                        facts: order.facts,
                        executor: order.executor,
                        role: order.role,
                        executor_resources: order.executor_resources,
                        tasks: order.tasks.into_iter().map(|(task, holds, _)| (task, holds)).collect(),
                        kind: order.kind,
                        alive: false,
                    };
                    host.holds.insert(order.launch, launch);
                }
            }
            _ => {}
        }
    }

    fn report(&self, id: &AgentId, answers: Option<Term>) -> AgentReport {
        let host = &self.hosts[id];
        AgentReport {
            agent: Some(id.clone()),
            instance: u128::from(id.as_str().as_bytes()[0]),
            boot: String::new(),
            hostname: id.to_string(),
            ip: String::new(),
            port: 1,
            version: String::new(),
            total: host.total.clone(),
            oversubscribed: Resources::new(),
            degraded: None,
            attributes: vec![],
            domain: None,
            body: bytes::Bytes::new(),
            term: host.term,
            number: host.number,
            answers,
            said: (0, 0),
            launches: host.holds.values().cloned().collect(),
        }
    }

    fn event(&mut self, event: Event) {
        self.run(|machine, now, fx| machine.step(now, event, fx));
    }

    fn peer(&mut self, row: Row) {
        self.peers.insert(row.key(), row.clone());
        self.run(|machine, now, fx| machine.peer(now, RowChange::Put(row), fx));
    }

    fn framework(&mut self, at: usize, change: impl FnOnce(&mut crate::row::FrameworkRow)) {
        let (id, roles) = FRAMEWORKS[at % FRAMEWORKS.len()];
        let id = FrameworkId::from(id);
        let number = self.subscriptions.get(&id).copied().unwrap_or(1);
        let mut row = match self.peers.get(&RowKey::Framework(id.clone())) {
            Some(Row::Framework(row)) => row.clone(),
            _ => connected(&id, roles, number),
        };
        change(&mut row);
        self.subscriptions.insert(id, row.subscription.as_ref().map_or(1, |subscription| subscription.number));
        self.peer(Row::Framework(row));
    }

    fn call(&mut self, framework: &FrameworkId, what: impl Fn(Caller) -> AllocatorCall, id: u64) {
        let stream = self.subscriptions.get(framework).copied().map(u128::from);
        let caller = Caller { framework: framework.clone(), stream, operator: false };
        let call = Call::new(format!("c{id}"), "g", what(caller));
        self.event(Event::Call { request: RequestId(id), call });
    }

    fn accept(&mut self, offers: &[usize], cpus: i64, tasks: usize, refuse_ms: u64, again: bool) {
        let Some(first) = pick(&self.offers, offers[0]).cloned() else { return };
        let (_, framework, agent) = first;
        let ids: Vec<OfferId> =
            offers.iter().filter_map(|at| pick(&self.offers, *at)).map(|(id, ..)| id.clone()).collect();
        let specs: Vec<TaskSpec> = (0..tasks)
            .map(|_| {
                self.tasks += 1;
                TaskSpec {
                    task: format!("t{}", self.tasks).into(),
                    name: String::new(),
                    agent: agent.clone(),
                    resources: Resources::of(&[("cpus", cpus)]),
                    priority: None,
                    executor: None,
                    invalid: None,
                    body: bytes::Bytes::new(),
                }
            })
            .collect();
        let operations = vec![Operation { id: None, kind: OperationKind::Launch(specs) }];
        self.tasks += 1;
        let (call, before) = (self.tasks, self.world.machine.metrics().launches);
        for _ in 0..=usize::from(again) {
            self.call(
                &framework,
                |caller| AllocatorCall::Accept {
                    caller,
                    offers: ids.clone(),
                    operations: operations.clone(),
                    refuse_ms: Some(refuse_ms),
                },
                call,
            );
        }
        let launched = self.world.machine.metrics().launches - before;
        assert!(launched <= tasks as u64, "a repeat launched again");
        if launched > 0 {
            for id in ids {
                assert!(self.accepted.insert(id.clone()), "offer {id} was consumed twice");
            }
        }
    }

    /// A task ends on its agent; the registry is told now or later.
    fn end(&mut self, which: usize, registry_knows: bool) {
        let running: Vec<(AgentId, LaunchId)> = self
            .hosts
            .iter()
            .flat_map(|(id, host)| host.holds.keys().map(move |launch| (id.clone(), launch.clone())))
            .collect();
        if let Some((agent, launch)) = pick(&running, which)
            && let Some(held) = self.hosts.get_mut(agent).and_then(|host| host.holds.get_mut(launch))
            && let Some((task, _)) = held.tasks.pop()
        {
            let framework = held.framework.clone();
            self.ended.push((framework, task, launch.clone()));
        }
        if registry_knows && let Some((framework, task, launch)) = self.ended.pop() {
            self.task(framework, task, launch.clone(), TaskState::Finished, false);
            // The framework acknowledged it, so the agent forgets it.
            for host in self.hosts.values_mut() {
                host.holds.retain(|id, held| *id != launch || !held.tasks.is_empty());
            }
        }
    }

    fn task(&mut self, framework: FrameworkId, task: TaskId, launch: LaunchId, state: TaskState, kill: bool) {
        self.peer(Row::Task(TaskRow {
            framework,
            executor: task.as_str().into(),
            task,
            name: String::new(),
            launch,
            agent: "a".into(),
            role: "r".into(),
            resources: Resources::new(),
            state,
            status: None,
            number: 0,
            pending: vec![],
            end_acknowledged: false,
            launch_seen: true,
            kill: kill.then_some(crate::row::KillOrder { number: 1, grace_ms: None }),
            created: Time(0),
            trace: None,
        }));
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Report { agent, heard } => {
                let id = AgentId::from(AGENTS[agent]);
                let report = self.report(&id, Some(term(self.term)));
                self.old_reports.push(report.clone());
                let up = std::mem::replace(&mut self.up, heard);
                self.event(Event::Agent(AgentToAllocator::Report(Box::new(report))));
                self.up = up;
            }
            Step::Late { which } => {
                if let Some(report) = pick(&self.old_reports, which).cloned() {
                    self.event(Event::Agent(AgentToAllocator::Report(Box::new(report))));
                }
            }
            Step::Beat { agent } => {
                let agent = AgentId::from(AGENTS[agent]);
                let host = &self.hosts[&agent];
                let held = host.holds.values().filter(|launch| !launch.tasks.is_empty());
                let beat = AgentToAllocator::Beat {
                    instance: u128::from(agent.as_str().as_bytes()[0]),
                    term: host.term,
                    number: host.number,
                    digest: digest(held.map(|launch| &launch.launch)),
                    agent,
                };
                self.event(Event::Agent(beat));
            }
            Step::Subscribe { framework } => self.framework(framework, |row| {
                row.state = FrameworkState::Connected;
                if let Some(subscription) = &mut row.subscription {
                    subscription.number += 1;
                    subscription.stream = u128::from(subscription.number);
                }
            }),
            Step::Lose { framework } => {
                self.framework(framework, |row| row.state = FrameworkState::Lost { since: Time(0) });
            }
            Step::Remove { framework } => {
                self.framework(framework, |row| row.state = FrameworkState::Removed { since: Time(0) });
            }
            Step::Suppress { framework, revive } => self.framework(framework, |row| {
                if revive {
                    row.suppressed.clear();
                    row.revived.values_mut().for_each(|version| *version += 1);
                } else {
                    row.suppressed.extend(row.info.roles.first().cloned());
                }
            }),
            Step::Accept { offers, cpus, tasks, refuse_ms, again } => {
                self.accept(&offers, cpus, tasks, refuse_ms, again);
            }
            Step::Decline { offer, refuse_ms } => {
                if let Some((id, framework, _)) = pick(&self.offers, offer).cloned() {
                    self.tasks += 1;
                    let decline = |caller| AllocatorCall::Decline {
                        caller,
                        offers: vec![id.clone()],
                        refuse_ms: Some(refuse_ms),
                    };
                    self.call(&framework, decline, self.tasks);
                }
            }
            Step::End { which, registry_knows } => self.end(which, registry_knows),
            Step::Kill { which } => {
                let rows: Vec<_> = self.world.machine.launches().cloned().collect();
                if let Some(row) = pick(&rows, which) {
                    let task = row.tasks[0].task.clone();
                    self.task(row.framework.clone(), task, row.launch.clone(), TaskState::Running, true);
                }
            }
            Step::Catch { up } => self.up = up,
            Step::Pass { ms } => self.pass(ms),
            Step::Shrink { agent, cpus } => {
                if let Some(host) = self.hosts.get_mut(&AgentId::from(AGENTS[agent])) {
                    host.total = resources("mem:4096;ports:[1-9]").plus(&Resources::of(&[("cpus", cpus)]));
                }
            }
            Step::Takeover { heard } => self.take_over(heard),
            Step::Leave { agent, how } => self.leave(AGENTS[agent], how),
        }
    }

    fn leave(&mut self, agent: &str, how: Leave) {
        let (agent, machine) = (AgentId::from(agent), MachineId { hostname: agent.to_owned(), ip: String::new() });
        let what = match how {
            Leave::Drain => OperatorCall::Drain { agent, max_grace_ms: Some(1), mark_gone: false },
            Leave::DrainToGo => OperatorCall::Drain { agent, max_grace_ms: None, mark_gone: true },
            Leave::Deactivate => OperatorCall::Deactivate(agent),
            Leave::Reactivate => OperatorCall::Reactivate(agent),
            Leave::Gone => OperatorCall::MarkGone(agent),
            Leave::Plan(start_ns) => {
                // What is down stays in the schedule.
                let mut machines: BTreeSet<MachineId> =
                    self.world.machine.maintenance_view().down.into_iter().collect();
                machines.insert(machine);
                let unavailability = Unavailability { start_ns, duration_ns: None };
                OperatorCall::SetSchedule(vec![Window { machines: machines.into_iter().collect(), unavailability }])
            }
            Leave::Down => OperatorCall::StartMaintenance(vec![machine]),
            Leave::Up => OperatorCall::StopMaintenance(vec![machine]),
        };
        self.tasks += 1;
        self.call(&FrameworkId::default(), |_| AllocatorCall::Operator(what.clone()), self.tasks);
    }

    fn pass(&mut self, ms: u64) {
        let end = Time(self.world.now.0 + ms);
        while let Some(due) = self.world.machine.deadline().filter(|due| *due <= end) {
            self.world.now = self.world.now.max(due);
            self.run(|machine, now, fx| machine.tick(now, fx));
        }
        self.world.now = end;
    }

    /// The leader dies, and one that has only followed its rows takes over.
    fn take_over(&mut self, heard: bool) {
        let mut standby = Allocator::new(Options { unreachable_per_minute_percent: 100, ..Options::default() });
        for row in self.world.rows.values().filter(|row| !matches!(row, Row::Body(_))) {
            standby.restore(RowChange::Put(row.clone()));
        }
        let mut fx = Effects::default();
        for row in self.peers.values() {
            standby.peer(self.world.now, RowChange::Put(row.clone()), &mut fx);
        }
        assert!(fx.changes.is_empty() && fx.outputs.is_empty(), "a follower is silent");
        for key in standby.cold_wanted() {
            standby.restore(RowChange::Put(self.world.rows[&key].clone()));
        }
        let leader = &self.world.machine;
        assert!(standby.agents().eq(leader.agents()), "agents differ");
        assert!(standby.launches().eq(leader.launches()), "launches differ");
        assert_eq!(standby.maintenance_view().windows, leader.maintenance_view().windows);
        assert_eq!(standby.maintenance_view().down, leader.maintenance_view().down);
        assert!(self.hosts.keys().all(|id| standby.allocated(id) == leader.allocated(id)), "allocations differ");
        self.world.machine = standby;
        let up = std::mem::replace(&mut self.up, heard);
        self.lead();
        self.up = up;
    }
}

/// All tasks of an agent end there; the registry hears of it later.
fn end_all(host: &mut Host, ended: &mut Vec<(FrameworkId, TaskId, LaunchId)>) {
    for held in host.holds.values_mut() {
        for (task, _) in std::mem::take(&mut held.tasks) {
            ended.push((held.framework.clone(), task, held.launch.clone()));
        }
    }
}

fn pick<T>(list: &[T], which: usize) -> Option<&T> {
    list.get(which.checked_rem(list.len())?)
}

fn live(steps: &[Step]) -> Life {
    let mut life = Life::new();
    for framework in 0..FRAMEWORKS.len() {
        life.play(Step::Subscribe { framework });
    }
    for agent in 0..AGENTS.len() {
        life.play(Step::Report { agent, heard: true });
    }
    for step in steps {
        life.play(step.clone());
    }
    life
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn i1_i2_i3_i6_hold_after_every_event_of_a_random_life(steps in proptest::collection::vec(step(), 1..120)) {
        live(&steps);
    }

    #[test]
    fn the_same_events_have_the_same_effects(steps in proptest::collection::vec(step(), 1..60)) {
        prop_assert_eq!(live(&steps).told, live(&steps).told);
    }

    #[test]
    fn books_agree_when_everything_has_settled(steps in proptest::collection::vec(step(), 1..80)) {
        let mut life = live(&steps);
        life.up = true;
        for _ in 0..6 {
            for agent in 0..AGENTS.len() {
                life.play(Step::Report { agent, heard: true });
                life.play(Step::Beat { agent });
            }
            while !life.ended.is_empty() {
                life.play(Step::End { which: usize::MAX, registry_knows: true });
            }
            life.play(Step::Pass { ms: 500 });
        }
        let booked: BTreeSet<LaunchId> = life.world.machine.launches().map(|row| row.launch.clone()).collect();
        let held: BTreeSet<LaunchId> = life.hosts.values().flat_map(|host| host.holds.keys().cloned()).collect();
        prop_assert_eq!(booked, held);
        // Whoever is there and is to be drained is drained by then.
        let there = life.world.machine.agents().filter(|row| row.state == AgentState::Active);
        let draining: Vec<&AgentId> = there.filter(|row| row.draining().is_some()).map(|row| &row.id).collect();
        prop_assert_eq!(draining, Vec::<&AgentId>::new());
    }
}

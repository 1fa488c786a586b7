//! Random sequences of events over a bus that loses, repeats and reorders, with leaders that change.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::row::{FrameworkState, RowChange};

const TASKS: [&str; 3] = ["a", "b", "c"];

/// One thing that happens to the world.
#[derive(Clone, Copy, Debug)]
enum Move {
    Launch(usize),
    Advance(usize),
    End(usize),
    /// A message of an agent arrives, chosen among all that were ever sent.
    ToRegistry(usize),
    /// A message to the agent arrives, chosen likewise.
    ToAgent(usize),
    /// The framework acknowledges something that it was sent.
    Acknowledge(usize),
    Resubscribe,
    Wait(u64),
    Restart,
    AgentLost,
    AgentBack,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let task = 0..TASKS.len();
    let one = prop_oneof![
        2 => task.clone().prop_map(Move::Launch),
        3 => task.clone().prop_map(Move::Advance),
        2 => task.prop_map(Move::End),
        8 => any::<usize>().prop_map(Move::ToRegistry),
        6 => any::<usize>().prop_map(Move::ToAgent),
        6 => any::<usize>().prop_map(Move::Acknowledge),
        1 => Just(Move::Resubscribe),
        2 => (0..30_000_u64).prop_map(Move::Wait),
        1 => Just(Move::Restart),
        1 => Just(Move::AgentLost),
        1 => Just(Move::AgentBack),
    ];
    prop::collection::vec(one, 1..120)
}

/// What the agent holds of a task: the statuses that are not acknowledged.
#[derive(Clone, Default)]
struct Held {
    number: u64,
    acknowledged: u64,
    ended: bool,
    forgotten: bool,
    statuses: BTreeMap<u64, TaskState>,
}

struct World {
    desk: Desk,
    stream: u128,
    agent: BTreeMap<&'static str, Held>,
    launched: BTreeMap<&'static str, bool>,
    to_registry: Vec<Update>,
    to_agent: Vec<(String, u64)>,
    told: Vec<TaskStatus>,
    handshakes: u64,
    asked: Term,
    log: Vec<String>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            desk: Desk::new(),
            stream: 1,
            agent: BTreeMap::new(),
            launched: BTreeMap::new(),
            to_registry: Vec::new(),
            to_agent: Vec::new(),
            told: Vec::new(),
            handshakes: 1,
            asked: Term::default(),
            log: Vec::new(),
        };
        world.desk.call(subscribe(Some("F"), 1));
        world.desk.peer(agent("S1", AgentState::Active, 1));
        world
    }

    fn note(&mut self, lines: Vec<String>) {
        self.log.extend(lines);
        for output in std::mem::take(&mut self.desk.outputs) {
            match output {
                Output::Stream { event, .. } => {
                    if let StreamEvent::Update { status, .. } = event.event
                        && event.stream == self.stream
                    {
                        self.told.push(status);
                    }
                }
                Output::Agent { message: ToAgent::Acknowledged { task, number, .. }, .. } => {
                    self.to_agent.push((task.to_string(), number));
                }
                Output::Agent { message: ToAgent::Resend { term, .. }, .. }
                | Output::AllAgents(ToAgent::Resend { term, .. }) => {
                    self.asked = term;
                    self.resend();
                }
                Output::CatchUp { token } => {
                    let lines = self.desk.step(Event::CaughtUp { token });
                    self.note(lines);
                }
                Output::Agent { .. } | Output::AllAgents(_) | Output::Reply { .. } => {}
            }
        }
    }

    fn say(&mut self, task: &'static str, number: u64, state: TaskState) {
        let mut update = update_of(&format!("L-{task}"), "S1", task, number, state);
        update.acknowledged = self.agent[task].acknowledged;
        update.asked = self.asked;
        update.status.uuid = Some(derived_uuid(&update.launch, &task.into(), &number.to_string()));
        self.to_registry.push(update);
    }

    fn resend(&mut self) {
        for (task, held) in self.agent.clone() {
            for (number, state) in held.statuses {
                self.say(task, number, state);
            }
            if !held.ended && held.number > 0 && held.number == held.acknowledged {
                self.say(task, held.number, TaskState::Running);
            }
        }
    }

    fn status(&mut self, task: &'static str, state: TaskState) {
        let ends = state.is_terminal();
        let Some(held) = self.agent.get_mut(task).filter(|held| !held.ended) else { return };
        held.number += 1;
        held.ended = ends;
        held.statuses.insert(held.number, state);
        let number = held.number;
        self.say(task, number, state);
    }

    fn forget(&mut self, task: &'static str) {
        self.agent.get_mut(task).unwrap().forgotten = true;
        let lines = self.desk.step(forgotten(task, &format!("L-{task}"), "S1"));
        self.note(lines);
    }

    fn acknowledged(&mut self, task: &str, number: u64) {
        let Some(task) = TASKS.iter().copied().find(|one| *one == task) else { return };
        let Some(held) = self.agent.get_mut(task) else { return };
        held.statuses = held.statuses.split_off(&(number + 1));
        held.acknowledged = held.acknowledged.max(number.min(held.number));
        if held.ended && held.statuses.is_empty() {
            self.forget(task);
        }
    }

    /// The allocator deletes launches of tasks whose rows say that they are over.
    fn release(&mut self) {
        for task in TASKS {
            let over = self.desk.registry.task(&"F".into(), &task.into()).is_some_and(|row| is_end(row.state));
            if over && self.launched.get(task) == Some(&true) {
                self.launched.insert(task, false);
                let lines = self.desk.peer(launch_deleted(&format!("L-{task}")));
                self.note(lines);
            }
        }
    }

    fn play(&mut self, one: Move) {
        match one {
            Move::Launch(n) => {
                let task = TASKS[n];
                if !self.launched.contains_key(task) {
                    self.launched.insert(task, true);
                    self.agent.insert(task, Held::default());
                    let lines = self.desk.peer(launch(&format!("L-{task}"), "F", "S1", &[task], 1));
                    self.note(lines);
                }
            }
            Move::Advance(n) => self.status(TASKS[n], TaskState::Running),
            Move::End(n) => self.status(TASKS[n], TaskState::Finished),
            Move::ToRegistry(n) => {
                if !self.to_registry.is_empty() {
                    let update = self.to_registry[n % self.to_registry.len()].clone();
                    let lines = self.desk.step(said("S1", update));
                    self.note(lines);
                }
            }
            Move::ToAgent(n) => {
                if !self.to_agent.is_empty() {
                    let (task, number) = self.to_agent[n % self.to_agent.len()].clone();
                    self.acknowledged(&task, number);
                }
            }
            Move::Acknowledge(n) => {
                if !self.told.is_empty() {
                    let status = self.told[n % self.told.len()].clone();
                    self.confirm(&status);
                }
            }
            Move::Resubscribe => {
                self.stream += 1;
                let known = self.desk.registry.framework(&"F".into()).and_then(|row| row.subscription.as_ref());
                let known = known.map_or(0, |subscription| subscription.number);
                let lines = self.desk.call(over(subscribe(Some("F"), self.stream), known));
                self.note(lines);
            }
            Move::Wait(ms) => {
                let lines = self.desk.wait(ms);
                self.note(lines);
                let lines = self.desk.call(RegistryCall::Streams(vec![("F".into(), self.stream)]));
                self.note(lines);
            }
            Move::Restart => {
                let lines = self.desk.restart();
                self.note(lines);
            }
            Move::AgentLost => {
                let state = AgentState::Unreachable { since: self.desk.now };
                let lines = self.desk.peer(agent("S1", state, self.handshakes));
                self.note(lines);
            }
            Move::AgentBack => {
                self.handshakes += 1;
                let lines = self.desk.peer(agent("S1", AgentState::Active, self.handshakes));
                self.note(lines);
            }
        }
        self.release();
        self.check();
    }

    fn confirm(&mut self, status: &TaskStatus) {
        if let Some(uuid) = status.uuid {
            let lines = self.desk.call(acknowledge(status.task.as_str(), "S1", uuid, self.stream));
            self.note(lines);
        }
    }

    fn check(&self) {
        // Nothing is lost: what the agent forgot was acknowledged by the framework or is in a row.
        for (task, held) in &self.agent {
            if held.forgotten {
                assert!(self.told_end(task), "{task} was forgotten before its end was told");
            }
        }
        // A registry made of the stored rows is the one that leads.
        let mut copy = Registry::new(Options::default());
        for row in self.desk.store.values() {
            copy.restore(RowChange::Put(row.clone()));
        }
        assert!(copy.frameworks().eq(self.desk.registry.frameworks()));
        assert!(copy.tasks().eq(self.desk.registry.tasks()));
        for task in TASKS {
            self.check_order(task);
        }
    }

    fn told_end(&self, task: &str) -> bool {
        self.told.iter().any(|status| status.task.as_str() == task && is_end(status.state))
    }

    /// As the framework sees it: each status for the first time after all earlier ones, one end, and after
    /// the end nothing new.
    fn check_order(&self, task: &str) {
        let mut newest = 0;
        let mut end = None;
        // That its agent is back has no number of the agent.
        let numbered =
            |status: &&TaskStatus| status.uuid.is_some() && status.reason != Some(Reason::AGENT_REREGISTERED);
        for status in self.told.iter().filter(|status| status.task.as_str() == task).filter(numbered) {
            let number = status.time.0;
            if is_end(status.state) {
                assert!(end.is_none_or(|uuid| Some(uuid) == status.uuid), "{task} ended twice");
                end = status.uuid;
            } else if end.is_some() {
                assert!(number <= newest, "{task} went on after its end");
            }
            assert!(number <= newest + 1, "{task} has a gap before {number}");
            newest = newest.max(number);
        }
    }

    /// Everything works for a while: what was started comes to its end.
    fn drain(&mut self) {
        self.play(Move::AgentBack);
        self.play(Move::Resubscribe);
        for task in TASKS {
            self.play(Move::End(TASKS.iter().position(|one| *one == task).unwrap()));
        }
        for _ in 0..40 {
            self.resend();
            for update in std::mem::take(&mut self.to_registry) {
                let lines = self.desk.step(said("S1", update));
                self.note(lines);
            }
            for (task, number) in std::mem::take(&mut self.to_agent) {
                self.acknowledged(&task, number);
                if self.agent.get(task.as_str()).is_some_and(|held| held.forgotten) {
                    let task = TASKS.iter().copied().find(|one| *one == task).unwrap();
                    self.forget(task);
                }
            }
            for status in self.told.clone().iter().rev().take(8) {
                self.confirm(status);
            }
            self.play(Move::Wait(20_000));
        }
        assert_eq!(self.desk.registry.tasks().count(), 0, "{:#?}", self.desk.registry.tasks().collect::<Vec<_>>());
        for task in self.agent.keys() {
            assert!(self.told_end(task), "the end of {task} was never told");
        }
        assert!(matches!(self.desk.registry.framework(&"F".into()).unwrap().state, FrameworkState::Connected));
    }
}

fn run(moves: &[Move]) -> Vec<String> {
    let mut world = World::new();
    for one in moves {
        world.play(*one);
    }
    world.drain();
    world.log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn ends_are_told_once_in_order_and_nothing_is_lost_before_it_is_acknowledged(moves in moves()) {
        let first = run(&moves);
        let second = run(&moves);
        prop_assert_eq!(first, second, "the same events had other effects");
    }
}

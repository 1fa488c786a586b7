use std::collections::{BTreeSet, VecDeque};

use mesos_core::message::{AnswerBody, PoolView};
use mesos_model::resources_text::parse;

use super::{auto::Auto, *};
use crate::definition::{Aws, Exec};

mod random;

/// A host as the world has it.
#[derive(Clone, Debug)]
struct WorldHost {
    agent: AgentId,
    /// Its agent has registered.
    up: bool,
    alive: bool,
    reachable: bool,
    active: bool,
    draining: bool,
    gone: bool,
    cpus: i64,
    used: i64,
}

/// Hosts and a cluster, as far as pools see them: what is asked of it is done, or fails, and is answered later.
#[derive(Debug, Default)]
struct World {
    hosts: BTreeMap<String, WorldHost>,
    group: Option<Group>,
    agents: u64,
    waiting: Vec<auto::Waiting>,
    /// Agents of new hosts do not register by themselves.
    slow: bool,
    /// Tasks do not end when they are told to.
    stubborn: bool,
    fails: bool,
    blind: bool,
    /// How often a host was made that was there, which would be a host too many.
    made: BTreeMap<String, u32>,
}

impl World {
    fn make(&mut self, node: &str, cpus: i64) {
        if self.hosts.contains_key(node) {
            return;
        }
        self.agents += 1;
        *self.made.entry(node.to_owned()).or_default() += 1;
        let host = WorldHost {
            agent: AgentId::new(format!("S{}", self.agents)),
            up: !self.slow,
            alive: true,
            reachable: true,
            active: true,
            draining: false,
            gone: false,
            cpus,
            used: 0,
        };
        self.hosts.insert(node.to_owned(), host);
    }

    /// Tasks end, groups fill up.
    fn turn(&mut self) {
        for host in self.hosts.values_mut().filter(|host| host.draining && !self.stubborn) {
            host.used = 0;
        }
        if let Some(group) = self.group {
            while self.hosts.len() < group.desired as usize {
                self.make(&format!("i-{}", self.agents + 1), 4000);
            }
        }
    }

    fn picture(&self) -> Picture {
        let amount = |milli: i64| Resources::of(&[("cpus", milli)]);
        let seen = |(node, host): (&String, &WorldHost)| AgentSeen {
            id: host.agent.clone(),
            hostname: "h".to_owned(),
            names: vec![node.clone()],
            reachable: host.reachable,
            active: host.active && host.reachable,
            drained: host.draining && host.used == 0,
            total: amount(host.cpus),
            allocated: amount(host.used),
            free: amount(host.cpus - host.used).scalars(),
        };
        let there = self.hosts.iter().filter(|(_, host)| host.up && !host.gone);
        Picture { agents: there.map(seen).collect(), waiting: self.waiting.clone() }
    }

    /// Carries out what is wanted and says how it went.
    fn act(&mut self, output: &Output) -> Option<Event> {
        let failure = || "it does not work".to_owned();
        Some(match output {
            Output::Reply(..) => return None,
            Output::Look(look) => Event::Seen {
                look: *look,
                seen: if self.blind { Err("nothing is seen".to_owned()) } else { Ok(self.picture()) },
            },
            Output::List { pool, of } => {
                let hosts = self.hosts.iter().map(|(node, host)| Host { node: node.clone(), alive: host.alive });
                let found = Listing { hosts: hosts.collect(), group: self.group };
                Event::Listed {
                    pool: pool.clone(),
                    of: *of,
                    found: if self.fails { Err(failure()) } else { Ok(found) },
                }
            }
            Output::Add(job) => {
                if !self.fails {
                    self.make(&job.node, job.resources.scalar("cpus"));
                    if let Some(host) = self.hosts.get_mut(&job.node) {
                        host.alive = true;
                    }
                }
                let done = if self.fails { Err(failure()) } else { Ok(Made::default()) };
                Event::Added { node: job.node.clone(), done }
            }
            Output::Remove(job) => {
                if !self.fails
                    && self.hosts.remove(&job.node).is_some()
                    && let Some(group) = self.group.as_mut()
                {
                    group.desired -= 1;
                }
                Event::Removed { node: job.node.clone(), done: if self.fails { Err(failure()) } else { Ok(()) } }
            }
            Output::Resize { pool, to } => {
                if let Some(group) = self.group.as_mut().filter(|_| !self.fails) {
                    assert!(*to >= group.desired, "a group that is made smaller chooses by itself who goes");
                    group.desired = *to;
                }
                Event::Resized { pool: pool.clone(), done: if self.fails { Err(failure()) } else { Ok(()) } }
            }
            Output::Tell { node, agent, what } => {
                let host = self.hosts.values_mut().find(|host| host.agent == *agent && !host.gone);
                let done = match host {
                    None => Err(Refused { is_gone: true, text: "was marked gone".to_owned() }),
                    Some(_) if self.fails => Err(Refused { is_gone: false, text: failure() }),
                    Some(host) => {
                        match what {
                            Tell::Deactivate => host.active = false,
                            Tell::Reactivate => host.active = true,
                            Tell::Drain { .. } => (host.draining, host.active) = (true, false),
                            Tell::Gone => host.gone = true,
                        }
                        Ok(())
                    }
                };
                Event::Told { node: node.clone(), what: *what, done }
            }
        })
    }
}

/// Pools with their rows, driven as their driver does, and the world that they change.
struct Stage {
    definitions: Vec<Definition>,
    pools: Pools,
    rows: BTreeMap<RowKey, Row>,
    world: World,
    now: Time,
    term: u64,
    calls: u64,
    queue: VecDeque<Output>,
    answers: Vec<Answer>,
    /// Everything that was wanted, apart from looks and lists.
    wanted: Vec<Output>,
}

impl Stage {
    fn new(definitions: Vec<Definition>) -> Stage {
        let mut stage = Stage {
            pools: Pools::new(definitions.clone()),
            definitions,
            rows: BTreeMap::new(),
            world: World::default(),
            now: Time(1_000_000),
            term: 0,
            calls: 0,
            queue: VecDeque::new(),
            answers: Vec::new(),
            wanted: Vec::new(),
        };
        stage.lead();
        stage
    }

    fn step(&mut self, act: impl FnOnce(&mut Pools, Time, &mut Out)) {
        let mut out = Out::default();
        act(&mut self.pools, self.now, &mut out);
        self.pools.settle(self.now, &mut out);
        for change in out.changes {
            match change {
                RowChange::Put(row) => _ = self.rows.insert(row.key(), row),
                RowChange::Delete(key) => _ = self.rows.remove(&key),
            }
        }
        for output in out.outputs {
            match output {
                Output::Reply(_, answer) => self.answers.push(answer),
                other => {
                    if !matches!(other, Output::Look(_) | Output::List { .. }) {
                        self.wanted.push(other.clone());
                    }
                    self.queue.push_back(other);
                }
            }
        }
        let held: BTreeMap<RowKey, Row> = self.pools.rows().unwrap().into_iter().map(|row| (row.key(), row)).collect();
        assert_eq!(held, self.rows, "what is held is what is written");
    }

    fn lead(&mut self) {
        self.term += 1;
        let term = Term { epoch: self.term, leader: u128::from(self.term) };
        self.step(|pools, now, out| pools.lead(now, term, out));
    }

    /// Another process takes over; what was under way is done or not, and nobody hears of it.
    fn fail_over(&mut self) {
        let under_way: Vec<Output> = self.queue.drain(..).collect();
        for (at, output) in under_way.iter().enumerate() {
            if at % 2 == 0 {
                self.world.act(output);
            }
        }
        self.pools = Pools::new(self.definitions.clone());
        for row in self.rows.values() {
            self.pools.restore(RowChange::Put(row.clone()));
        }
        self.lead();
    }

    /// One thing that is under way comes to its end.
    fn finish_one(&mut self) -> bool {
        let Some(output) = self.queue.pop_front() else { return false };
        self.check(&output);
        if let Some(event) = self.world.act(&output) {
            self.step(|pools, now, out| pools.step(now, event, out));
        }
        true
    }

    /// A host is taken away only when its tasks have ended, unless somebody said so.
    fn check(&self, output: &Output) {
        let Output::Remove(job) = output else { return };
        let (Some(host), Some(node)) = (self.world.hosts.get(&job.node), self.pools.nodes.get(&job.node)) else {
            return;
        };
        let over = self.now.since(node.row.since) >= Duration::from_secs(900);
        assert!(
            !host.up || host.used == 0 || host.gone && (node.row.force || !host.reachable || over),
            "{} is taken away with work on it: {host:?} {:?}",
            job.node,
            node.row
        );
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now.after(span);
        let mut rounds = 0;
        loop {
            self.world.turn();
            while self.finish_one() {
                rounds += 1;
                assert!(rounds < 100_000, "it never rests");
            }
            let Some(at) = self.pools.deadline().filter(|at| *at <= end) else { break };
            rounds += 1;
            assert!(rounds < 100_000, "a deadline does not move on");
            self.now = self.now.max(at);
            self.step(|pools, now, out| pools.tick(now, out));
        }
        self.now = end;
    }

    fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    fn ask_as(&mut self, call: &str, what: PoolsCall) -> Answer {
        let call = Call::new(call, "g", what);
        self.step(|pools, now, out| pools.step(now, Event::Call(call, RequestId(1)), out));
        self.answers.pop().unwrap()
    }

    fn ask(&mut self, what: PoolsCall) -> Result<(Vec<String>, u32), String> {
        self.calls += 1;
        let answer = self.ask_as(&format!("c{}", self.calls), what);
        match answer.body {
            AnswerBody::Resized { nodes, size, .. } => Ok((nodes, size)),
            _ => Err(answer.text),
        }
    }

    fn add(&mut self, count: u32) -> Result<(Vec<String>, u32), String> {
        self.ask(PoolsCall::Add { pool: None, count, resources: Resources::new() })
    }

    fn remove(&mut self, nodes: &[&str], count: u32) -> Result<(Vec<String>, u32), String> {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        self.ask(PoolsCall::Remove { pool: None, nodes, count, grace_ms: None, force: false })
    }

    fn view(&mut self) -> PoolView {
        match self.ask_as("list", PoolsCall::List).body {
            AnswerBody::Pools(mut pools) => pools.remove(0),
            _ => panic!("no pools"),
        }
    }

    fn states(&mut self) -> Vec<(String, &'static str)> {
        self.view().nodes.into_iter().map(|node| (node.node, node.state.name())).collect()
    }

    fn host(&mut self, node: &str) -> &mut WorldHost {
        self.world.hosts.get_mut(node).unwrap()
    }
}

fn definition(kind: Kind) -> Definition {
    Definition {
        name: "p".to_owned(),
        kind,
        resources: parse("cpus:4", "*").unwrap(),
        master: None,
        min: 0,
        max: 4,
        drain_timeout: Duration::from_secs(900),
        auto: None,
    }
}

fn exec() -> Definition {
    definition(Kind::Exec(Exec { add: "/add".into(), remove: "/remove".into(), timeout: Duration::from_secs(1) }))
}

fn local() -> Definition {
    definition(Kind::Local(crate::definition::Local { dir: "/d".into(), agent_args: Vec::new(), keep_work_dir: false }))
}

fn aws() -> Definition {
    definition(Kind::Aws(Aws { group: "g".into(), region: "r".into(), endpoint: None }))
}

fn by_itself(mut definition: Definition) -> Definition {
    definition.auto =
        Some(Auto { target_cpus_percent: None, cooldown: Duration::from_secs(60), idle: Duration::from_secs(120) });
    definition
}

fn waits(cpus: i64, count: u32) -> Vec<auto::Waiting> {
    vec![(Resources::of(&[("cpus", cpus)]).scalars(), count)]
}

#[test]
fn a_node_is_made_and_is_up_when_its_agent_has_registered() {
    let mut stage = Stage::new(vec![exec()]);
    stage.world.slow = true;
    assert_eq!(stage.add(2).unwrap(), (vec!["p-1".into(), "p-2".into()], 2));
    assert_eq!(stage.states(), [("p-1".into(), "adding"), ("p-2".into(), "adding")]);
    stage.seconds(5);
    assert_eq!(stage.states()[0].1, "joining");
    stage.host("p-1").up = true;
    stage.seconds(5);
    assert_eq!(stage.states(), [("p-1".into(), "up"), ("p-2".into(), "joining")]);
}

#[test]
fn what_a_node_is_to_have_is_what_was_asked_and_else_what_its_pool_has() {
    let mut pool = exec();
    pool.resources = parse("cpus:1;mem:1GB;disk:5GB", "*").unwrap();
    let mut stage = Stage::new(vec![pool]);
    let resources = parse("cpus:2;mem:4GB", "*").unwrap();
    stage.ask(PoolsCall::Add { pool: None, count: 1, resources }).unwrap();
    let Some(Output::Add(job)) = stage.wanted.first() else { panic!() };
    assert_eq!(job.resources.to_string(), "cpus:2; disk:5120; mem:4096");
}

#[test]
fn a_host_that_cannot_be_made_is_tried_again_and_says_why() {
    let mut stage = Stage::new(vec![exec()]);
    stage.world.fails = true;
    stage.add(1).unwrap();
    stage.seconds(60);
    let tried = stage.wanted.len();
    assert!((4..10).contains(&tried), "{tried} times in a minute");
    assert_eq!(stage.view().nodes[0].trouble, "it does not work");
    stage.world.fails = false;
    stage.seconds(70);
    assert_eq!(stage.states(), [("p-1".into(), "up")]);
    assert_eq!(stage.view().nodes[0].trouble, "");
}

#[test]
fn a_repeated_call_adds_nothing_and_is_answered_as_the_first_was_by_the_next_leader_too() {
    let mut stage = Stage::new(vec![exec()]);
    let add = || PoolsCall::Add { pool: None, count: 1, resources: Resources::new() };
    let first = stage.ask_as("x", add());
    assert_eq!(stage.ask_as("x", add()), first);
    stage.fail_over();
    assert_eq!(stage.ask_as("x", add()), first);
    stage.seconds(10);
    assert_eq!(stage.states(), [("p-1".into(), "up")]);
    assert_eq!(stage.world.made["p-1"], 1);
}

#[test]
fn a_node_goes_only_when_its_tasks_have_ended() {
    let mut stage = Stage::new(vec![exec()]);
    stage.add(2).unwrap();
    stage.seconds(10);
    stage.host("p-1").used = 1000;
    stage.world.stubborn = true;
    assert_eq!(stage.remove(&["p-1"], 1).unwrap(), (vec!["p-1".into()], 1));
    stage.seconds(3600);
    assert_eq!(stage.states(), [("p-1".into(), "draining"), ("p-2".into(), "up")]);
    stage.world.stubborn = false;
    stage.seconds(10);
    assert_eq!(stage.states(), [("p-2".into(), "up")]);
    let told: Vec<Tell> = stage
        .wanted
        .iter()
        .filter_map(|o| if let Output::Tell { what, .. } = o { Some(*what) } else { None })
        .collect();
    assert_eq!(told, [Tell::Drain { grace_ms: None }, Tell::Gone]);
    assert!(!stage.world.hosts.contains_key("p-1"));
}

#[test]
fn a_drain_that_somebody_undoes_is_asked_for_again() {
    let mut stage = Stage::new(vec![exec()]);
    stage.add(1).unwrap();
    stage.seconds(10);
    stage.host("p-1").used = 1000;
    stage.world.stubborn = true;
    stage.remove(&["p-1"], 1).unwrap();
    stage.seconds(10);
    (stage.host("p-1").draining, stage.host("p-1").active) = (false, true);
    stage.world.stubborn = false;
    stage.seconds(10);
    assert!(stage.states().is_empty());
}

#[test]
fn those_that_do_least_go_first() {
    let mut stage = Stage::new(vec![exec()]);
    stage.add(3).unwrap();
    stage.seconds(10);
    for (node, used) in [("p-1", 3000), ("p-2", 1000), ("p-3", 2000)] {
        stage.host(node).used = used;
    }
    stage.seconds(10);
    stage.world.slow = true;
    stage.add(1).unwrap();
    stage.seconds(10);
    let gone: Vec<String> = (0..3).map(|_| stage.remove(&[], 1).unwrap().0.remove(0)).collect();
    assert_eq!(gone, ["p-4", "p-2", "p-3"]);
}

#[test]
fn an_agent_that_is_away_is_waited_for_as_long_as_its_pool_says() {
    let mut stage = Stage::new(vec![exec()]);
    stage.add(1).unwrap();
    stage.seconds(10);
    stage.host("p-1").used = 1000;
    stage.host("p-1").reachable = false;
    stage.world.stubborn = true;
    stage.remove(&["p-1"], 1).unwrap();
    stage.seconds(890);
    assert_eq!(stage.states(), [("p-1".into(), "draining")]);
    assert!(stage.view().nodes[0].trouble.contains("is away"), "{}", stage.view().nodes[0].trouble);
    stage.seconds(30);
    assert!(stage.states().is_empty());
}

#[test]
fn force_does_not_drain_but_leaves_the_agent_time_to_end_its_tasks() {
    let mut stage = Stage::new(vec![exec()]);
    stage.add(1).unwrap();
    stage.seconds(10);
    stage.host("p-1").used = 1000;
    stage.seconds(10);
    stage
        .ask(PoolsCall::Remove { pool: None, nodes: vec!["p-1".into()], count: 1, grace_ms: None, force: true })
        .unwrap();
    stage.seconds(5);
    assert_eq!(stage.states(), [("p-1".into(), "removing")]);
    stage.seconds(10);
    assert!(stage.states().is_empty());
    assert!(!stage.wanted.iter().any(|o| matches!(o, Output::Tell { what: Tell::Drain { .. }, .. })));
}

#[test]
fn a_node_whose_agent_never_came_goes_without_a_drain_but_not_before_a_look() {
    let mut stage = Stage::new(vec![exec()]);
    stage.world.slow = true;
    stage.add(1).unwrap();
    stage.seconds(10);
    stage.world.blind = true;
    stage.remove(&["p-1"], 1).unwrap();
    stage.seconds(60);
    assert_eq!(stage.states(), [("p-1".into(), "draining")]);
    // It registers just then, and gets work.
    (stage.host("p-1").up, stage.host("p-1").used) = (true, 1000);
    stage.world.stubborn = true;
    stage.world.blind = false;
    stage.seconds(60);
    assert_eq!(stage.states(), [("p-1".into(), "draining")]);
    stage.world.stubborn = false;
    stage.seconds(10);
    assert!(stage.states().is_empty());
}

#[test]
fn an_agent_that_registers_while_its_host_cannot_be_taken_away_is_drained() {
    let mut stage = Stage::new(vec![exec()]);
    stage.world.slow = true;
    stage.add(1).unwrap();
    stage.seconds(10);
    stage.remove(&["p-1"], 1).unwrap();
    stage.world.fails = true;
    stage.seconds(30);
    assert_eq!(stage.states(), [("p-1".into(), "removing")]);
    (stage.host("p-1").up, stage.host("p-1").used) = (true, 1000);
    stage.world.stubborn = true;
    stage.seconds(2);
    stage.world.fails = false;
    stage.seconds(120);
    assert_eq!(stage.states(), [("p-1".into(), "draining")]);
    stage.world.stubborn = false;
    stage.seconds(120);
    assert!(stage.states().is_empty());
}

#[test]
fn what_cannot_be_is_refused_with_what_there_is() {
    let mut other = exec();
    other.name = "q".to_owned();
    let mut both = Stage::new(vec![exec(), other]);
    assert_eq!(both.add(1).unwrap_err(), "name one of the pools: p, q");
    let named = |pool: &str| PoolsCall::Add { pool: Some(pool.to_owned()), count: 1, resources: Resources::new() };
    assert_eq!(both.ask(named("r")).unwrap_err(), "there is no pool 'r'; there are: p, q");
    both.ask(named("q")).unwrap();
    let wrong =
        PoolsCall::Remove { pool: Some("p".into()), nodes: vec!["q-1".into()], count: 1, grace_ms: None, force: false };
    assert!(both.ask(wrong).unwrap_err().contains("node q-1 is in pool q and not in p"));
    let mut stage = Stage::new(vec![exec()]);
    assert!(stage.add(5).unwrap_err().contains("pool p has 0 nodes and its max is 4: 5 more are too many"));
    assert!(stage.add(0).unwrap_err().contains("count: expected 1 to 1000"));
    assert!(stage.remove(&["x"], 1).unwrap_err().contains("no pool has a node 'x'"));
    assert!(stage.remove(&[], 1).unwrap_err().contains("pool p has 0 nodes"));
    let set = |size, auto| PoolsCall::Set { pool: "p".into(), size, auto };
    assert!(stage.ask(set(Some(5), None)).unwrap_err().contains("its max is 4"));
    assert!(stage.ask(set(None, Some(true))).unwrap_err().contains("has no auto in the file"));
    assert!(stage.ask(set(None, None)).unwrap_err().contains("size or auto"));
    assert_eq!(stage.ask(set(Some(3), None)).unwrap().1, 3);
    assert_eq!(stage.ask(set(Some(1), None)).unwrap().1, 1);
}

#[test]
fn an_agent_of_this_host_that_died_is_started_again_and_one_without_a_row_is_taken_in() {
    let mut stage = Stage::new(vec![local()]);
    stage.add(1).unwrap();
    stage.seconds(10);
    stage.host("p-1").alive = false;
    stage.seconds(40);
    assert!(stage.host("p-1").alive);
    assert_eq!(stage.states(), [("p-1".into(), "up")]);
    // The store has lost the commit that made it.
    stage.world.make("p-7", 1000);
    stage.seconds(40);
    assert_eq!(stage.states(), [("p-1".into(), "up"), ("p-7".into(), "up")]);
}

#[test]
fn the_next_leader_goes_on_with_every_step() {
    for steps in 0..30 {
        let mut stage = Stage::new(vec![exec()]);
        stage.add(2).unwrap();
        stage.seconds(10);
        stage.host("p-1").used = 1000;
        stage.add(1).unwrap();
        stage.remove(&["p-1"], 1).unwrap();
        for _ in 0..steps {
            stage.world.turn();
            if !stage.finish_one()
                && let Some(at) = stage.pools.deadline()
            {
                stage.now = stage.now.max(at);
                stage.step(|pools, now, out| pools.tick(now, out));
            }
        }
        stage.fail_over();
        stage.seconds(120);
        assert_eq!(stage.states(), [("p-2".into(), "up"), ("p-3".into(), "up")], "after {steps} steps");
        assert_eq!(stage.world.hosts.keys().collect::<Vec<_>>(), ["p-2", "p-3"], "after {steps} steps");
        assert!(stage.world.made.values().all(|times| *times == 1));
    }
}

#[test]
fn a_group_grows_by_its_size_and_shrinks_by_the_instance_that_was_drained() {
    let mut stage = Stage::new(vec![aws()]);
    assert!(stage.add(1).unwrap_err().contains("was not seen yet"));
    stage.world.group = Some(Group { desired: 1, min: 0, max: 3 });
    stage.seconds(60);
    assert_eq!(stage.states(), [("i-1".into(), "up")]);
    assert_eq!(stage.add(2).unwrap(), (Vec::new(), 3));
    assert!(stage.add(1).unwrap_err().contains("MaxSize of its Auto Scaling group g is 3"));
    stage.seconds(60);
    assert_eq!(stage.states().len(), 3);
    stage.host("i-2").used = 1000;
    stage.remove(&["i-2"], 1).unwrap();
    stage.seconds(60);
    assert_eq!(stage.states(), [("i-1".into(), "up"), ("i-3".into(), "up")]);
    assert_eq!(stage.world.group.unwrap().desired, 2);
}

#[test]
fn a_group_that_somebody_else_changes_is_followed_unless_it_owes_nodes() {
    let mut stage = Stage::new(vec![aws()]);
    stage.world.group = Some(Group { desired: 1, min: 0, max: 10 });
    stage.seconds(60);
    stage.world.group = Some(Group { desired: 3, min: 0, max: 10 });
    stage.seconds(60);
    assert_eq!(stage.view().size, 3);
    stage.world.fails = true;
    stage.add(1).unwrap();
    stage.seconds(10);
    stage.fail_over();
    stage.world.fails = false;
    stage.seconds(120);
    assert_eq!((stage.view().size, stage.world.group.unwrap().desired), (4, 4));
}

#[test]
fn a_group_is_asked_for_what_it_decides_only_within_what_it_gives() {
    let mut stage = Stage::new(vec![aws()]);
    stage.world.group = Some(Group { desired: 0, min: 0, max: 10 });
    stage.seconds(60);
    let add = |text: &str| PoolsCall::Add { pool: None, count: 1, resources: parse(text, "*").unwrap() };
    stage.ask(add("cpus:2")).unwrap();
    assert!(stage.ask(add("cpus:8")).unwrap_err().contains("cpus: more than a node of pool p has, which is cpus:4"));
}

#[test]
fn a_pool_grows_for_what_waits_for_two_looks_and_no_further() {
    let mut stage = Stage::new(vec![by_itself(exec())]);
    stage.world.waiting = waits(2000, 3);
    stage.world.slow = true;
    stage.seconds(30);
    assert_eq!(stage.states().len(), 2, "nodes on their way count");
    assert!(
        stage.view().note.contains("tasks wait for room") || stage.view().note.contains("nothing"),
        "{}",
        stage.view().note
    );
    for host in stage.world.hosts.values_mut() {
        (host.up, host.used) = (true, 4000);
    }
    stage.world.waiting.clear();
    stage.seconds(300);
    assert_eq!(stage.states().len(), 2);
}

#[test]
fn a_pool_shrinks_by_who_idles_and_never_ends_a_task() {
    let mut stage = Stage::new(vec![by_itself(exec())]);
    stage.add(3).unwrap();
    stage.seconds(10);
    stage.host("p-1").used = 1000;
    stage.seconds(100);
    assert_eq!(stage.states().len(), 3);
    stage.seconds(30);
    assert_eq!(stage.states().len(), 2, "one at a time");
    stage.seconds(600);
    assert_eq!(stage.states(), [("p-1".into(), "up")]);
    assert_eq!(stage.host("p-1").used, 1000);
}

#[test]
fn a_node_that_got_work_while_it_was_to_leave_stays() {
    let mut stage = Stage::new(vec![by_itself(exec())]);
    stage.add(1).unwrap();
    stage.seconds(10);
    while stage.states()[0].1 == "up" {
        stage.seconds(1);
        // It gets work in the moment between the look and the order.
        if stage.queue.iter().any(|o| matches!(o, Output::Tell { .. })) {
            break;
        }
        if stage.wanted.iter().any(|o| matches!(o, Output::Tell { what: Tell::Deactivate, .. })) {
            break;
        }
        let idle_for = stage.pools.nodes["p-1"].idle.map(|since| stage.now.since(since)).unwrap_or_default();
        if idle_for >= Duration::from_secs(118) {
            // The picture that decides has no work, the next one has.
            let picture = stage.world.picture();
            let look = stage.pools.lead.as_ref().unwrap().looks;
            stage.now = stage.now.after(Duration::from_secs(5));
            stage.step(|pools, now, out| pools.step(now, Event::Seen { look, seen: Ok(picture) }, out));
            stage.host("p-1").used = 1000;
        }
    }
    stage.seconds(60);
    assert_eq!(stage.states(), [("p-1".into(), "up")]);
    let told: Vec<Tell> = stage
        .wanted
        .iter()
        .filter_map(|o| if let Output::Tell { what, .. } = o { Some(*what) } else { None })
        .collect();
    assert_eq!(told, [Tell::Deactivate, Tell::Reactivate]);
    assert_eq!(stage.host("p-1").used, 1000);
    assert!(stage.host("p-1").active);
}

#[test]
fn an_operator_may_switch_a_pools_own_will_off() {
    let mut pool = by_itself(exec());
    pool.min = 1;
    let mut stage = Stage::new(vec![pool]);
    stage.seconds(30);
    assert_eq!(stage.states(), [("p-1".into(), "up")], "filled up to its min");
    assert!(stage.remove(&["p-1"], 1).unwrap_err().contains("its min is 1"));
    stage.ask(PoolsCall::Set { pool: "p".into(), size: None, auto: Some(false) }).unwrap();
    stage.fail_over();
    stage.remove(&["p-1"], 1).unwrap();
    stage.seconds(300);
    assert!(stage.states().is_empty());
}

#[test]
fn nodes_of_a_pool_that_is_not_defined_any_more_are_left_alone_and_shown() {
    let mut stage = Stage::new(vec![exec()]);
    stage.add(1).unwrap();
    stage.seconds(10);
    let mut other = exec();
    other.name = "q".to_owned();
    stage.definitions = vec![other];
    stage.fail_over();
    stage.seconds(60);
    let AnswerBody::Pools(pools) = stage.ask_as("list", PoolsCall::List).body else { panic!() };
    let names: BTreeSet<&str> = pools.iter().map(|pool| pool.pool.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["p", "q"]));
    assert!(pools[1].trouble.contains("does not have it any more"));
    assert!(stage.world.hosts.contains_key("p-1"));
}

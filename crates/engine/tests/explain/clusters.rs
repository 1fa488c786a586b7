//! Clusters to ask about: small ones said by hand, and random ones.

use std::sync::Arc;

use mesos_engine::{
    AgentFacts, AgentSlot, Bundle, ClientFacts, ClientSlot, Engine, Options, Policy,
    explanation::Query,
    facts::{Amounts, Constraint, Constraints, Placement, Predicate, Request, RoleFacts, Selector},
};
use mesos_model::{
    AgentId, FrameworkId, Resource, Resources, Role, Time, attribute, resources::Qualifier, resources_text::parse,
};

/// When everything happens.
pub(crate) const NOW: Time = Time(1_000_000_000);

pub(crate) fn resources(text: &str) -> Resources {
    parse(text, "*").unwrap()
}

pub(crate) fn bundle(text: &str) -> Bundle {
    Bundle::from(&resources(text))
}

pub(crate) fn amounts(text: &str) -> Amounts {
    resources(text).scalars()
}

pub(crate) fn revocable(name: &str, milli: i64) -> Resource {
    let qualifier = Qualifier { revocable: true, ..Qualifier::default() };
    Resource { qualifier: Some(Arc::new(qualifier)), ..Resource::scalar(name, milli) }
}

/// A cluster that is set up step by step.
pub(crate) struct Cluster {
    pub(crate) engine: Engine,
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        Cluster { engine: Engine::new(Options { seed: 7, ..Options::default() }) }
    }

    /// Agents S1, S2, … of some resources.
    pub(crate) fn agents(mut self, count: usize, total: &str) -> Cluster {
        for _ in 0..count {
            self = self.agent(total, |_| {});
        }
        self
    }

    pub(crate) fn agent(mut self, total: &str, change: impl FnOnce(&mut AgentFacts)) -> Cluster {
        let number = (1..).find(|n| self.engine.find_agent(&agent_id(*n)).is_none()).unwrap();
        let slot = self.engine.agent(&agent_id(number));
        let mut facts = AgentFacts {
            total: resources(total),
            hostname: format!("n{number}"),
            counted: true,
            offerable: true,
            ..AgentFacts::default()
        };
        change(&mut facts);
        self.engine.put_agent(slot, facts);
        self
    }

    pub(crate) fn framework(self, name: &str, role: &str) -> Cluster {
        self.framework_with(name, role, |_| {})
    }

    pub(crate) fn framework_with(mut self, name: &str, role: &str, change: impl FnOnce(&mut ClientFacts)) -> Cluster {
        let slot = self.engine.client(&FrameworkId::new(name), &Role::new(role));
        let mut facts = ClientFacts { hungry: true, ..ClientFacts::default() };
        change(&mut facts);
        self.engine.put_client(NOW, slot, facts).unwrap();
        self
    }

    pub(crate) fn role(mut self, role: &str, change: impl FnOnce(&mut RoleFacts)) -> Cluster {
        let mut facts = self.engine.role_facts(&Role::new(role));
        change(&mut facts);
        self.engine.set_role(&Role::new(role), facts);
        self
    }

    /// A framework runs something on an agent.
    pub(crate) fn runs(mut self, name: &str, role: &str, agent: usize, what: &str) -> Cluster {
        let client = self.client(name, role);
        self.engine.allocate(self.slot(agent), client, &bundle(what));
        self
    }

    /// A round of offers, which stay open.
    pub(crate) fn round(mut self) -> Cluster {
        self.engine.round(NOW);
        self.engine.check().unwrap();
        self
    }

    pub(crate) fn client(&self, name: &str, role: &str) -> ClientSlot {
        self.engine.find_client(&FrameworkId::new(name), &Role::new(role)).unwrap()
    }

    pub(crate) fn slot(&self, agent: usize) -> AgentSlot {
        self.engine.find_agent(&agent_id(agent)).unwrap()
    }
}

pub(crate) fn agent_id(number: usize) -> AgentId {
    AgentId::new(format!("S{number}"))
}

/// What a framework asks for.
pub(crate) fn query(framework: &str, what: &str, count: u32) -> Query {
    Query { framework: Some(FrameworkId::new(framework)), resources: Some(resources(what)), count, ..Query::default() }
}

pub(crate) fn constraints(groups: &[&[(Selector, Predicate)]]) -> Constraints {
    let one = |(selector, predicate): &(Selector, Predicate)| Constraint {
        selector: selector.clone(),
        predicate: predicate.clone(),
    };
    Constraints { groups: groups.iter().map(|group| group.iter().map(one).collect()).collect() }
}

/// `SplitMix64`: the same clusters in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.next() as usize % list.len()]
    }
}

const ROLES: [&str; 5] = ["web", "ads", "eng", "eng/a", "eng/b"];

/// A random small cluster in which something has happened already, and a question about it.
pub(crate) fn random(seed: u64) -> (Engine, Query) {
    let mut dice = Dice::new(seed);
    let placement = dice.pick(&[Placement::Spread, Placement::Binpack, Placement::Random]);
    let mut engine = Engine::new(Options { seed, placement, ..Options::default() });
    let with_facts = random_clients(&mut engine, &mut dice);
    let clients: Vec<ClientSlot> = with_facts.iter().map(|(slot, _)| *slot).collect();
    let agents = random_agents(&mut engine, &mut dice);
    random_roles(&mut engine, &mut dice);
    random_tasks(&mut engine, &mut dice, &clients, &agents);
    engine.set_policy(match dice.next() % 8 {
        0 => Policy::Fifo,
        1 => Policy::Drc,
        2 => Policy::Random,
        _ => Policy::Drf,
    });
    for _ in 0..dice.between(0, 2) {
        engine.round(NOW);
        random_answers(&mut engine, &mut dice);
    }
    if dice.percent(20) {
        let client = dice.pick(&clients);
        let request = Request {
            name: "big".to_owned(),
            role: None,
            agent: None,
            resources: random_demand(&mut dice),
            count: dice.between(1, 3) as u32,
            hold_ms: Some(60_000),
            priority: None,
        };
        engine.set_requests(NOW, client, &[request]);
        engine.round(NOW);
    }
    let (slot, facts) = &with_facts[dice.next() as usize % with_facts.len()];
    let (framework, role) = engine.client_of(*slot);
    let (framework, role) = (framework.clone(), role.clone());
    if dice.percent(8) {
        engine.put_client(NOW, *slot, ClientFacts { hungry: false, ..facts.clone() }).unwrap();
        if engine.find_client(&framework, &role).is_none() {
            engine.suppose_client(NOW, &framework, &role, facts.clone()).unwrap();
        }
    }
    engine.check().unwrap();
    let query = Query {
        framework: Some(framework),
        role: Some(role),
        request: None,
        resources: Some(random_demand(&mut dice)),
        count: if dice.percent(50) { 1 } else { dice.between(2, 5) as u32 },
        fresh: false,
    };
    (engine, query)
}

fn random_demand(dice: &mut Dice) -> Resources {
    let mut text = format!("cpus:{}", dice.pick(&["0.5", "1", "2", "3", "6", "12"]));
    if dice.percent(60) {
        text += &format!(";mem:{}", dice.pick(&[64, 500, 1024, 3000, 9000]));
    }
    if dice.percent(12) {
        text += ";gpus:1";
    }
    if dice.percent(10) {
        text += ";licences:1";
    }
    if dice.percent(10) {
        text += dice.pick(&[";ports:[2-2]", ";ports:[1-2]"]);
    }
    if dice.percent(4) {
        text += ";cpus(eng):1";
    }
    resources(&text)
}

fn random_clients(engine: &mut Engine, dice: &mut Dice) -> Vec<(ClientSlot, ClientFacts)> {
    let count = dice.between(1, 6);
    (0..count)
        .map(|n| {
            let slot = engine.client(&FrameworkId::new(format!("F{n}")), &Role::new(dice.pick(&ROLES)));
            let mut facts =
                ClientFacts { hungry: true, priority: i64::from(dice.percent(20)), ..ClientFacts::default() };
            facts.abilities.gpus = dice.percent(40);
            facts.abilities.regions = dice.percent(60);
            facts.abilities.revocable = dice.percent(40);
            facts.abilities.refined = dice.percent(60);
            facts.abilities.shared = dice.percent(50);
            if dice.percent(20) {
                facts.minimum = Some(vec![resources(dice.pick(&["cpus:2", "cpus:4", "mem:4096", "cpus:1;mem:2048"]))]);
            }
            if dice.percent(30) {
                let one = |dice: &mut Dice| {
                    let selector = match dice.next() % 3 {
                        0 => Selector::Hostname,
                        _ => Selector::Attribute("rack".to_owned()),
                    };
                    let text = dice.pick(&["r1", "r2", "n1", "n2"]).to_owned();
                    let predicate = match dice.next() % 3 {
                        0 => Predicate::TextNotEquals(text),
                        1 => Predicate::TextMatches("[rn][12]".to_owned()),
                        _ => Predicate::TextEquals(text),
                    };
                    Constraint { selector, predicate }
                };
                let groups =
                    (0..dice.between(1, 2)).map(|_| (0..dice.between(1, 2)).map(|_| one(dice)).collect()).collect();
                facts.constraints = Some(Constraints { groups });
            }
            engine.put_client(NOW, slot, facts.clone()).unwrap();
            (slot, facts)
        })
        .collect()
}

fn random_agents(engine: &mut Engine, dice: &mut Dice) -> Vec<AgentSlot> {
    let count = dice.between(1, 8);
    (1..=count)
        .map(|n| {
            let slot = engine.agent(&agent_id(n as usize));
            let mut total = resources(dice.pick(&[
                "cpus:2;mem:1024",
                "cpus:4;mem:4096",
                "cpus:4;mem:4096",
                "cpus:8;mem:2048;ports:[1-10]",
                "cpus:16;mem:16384;disk:1000",
                "cpus:8;mem:8192;gpus:2",
                "cpus:4;mem:4096;licences:3",
            ]));
            if dice.percent(30) {
                total.add(&resources(dice.pick(&["cpus(ads):4", "cpus(eng):2;mem(eng):2048", "cpus(web):1"])));
            }
            if dice.percent(20) {
                total.add_entry(revocable("cpus", 4000));
            }
            let attributes = dice.pick(&["rack:r1", "rack:r2", "rack:7", ""]);
            let facts = AgentFacts {
                total,
                hostname: format!("n{n}"),
                attributes: attribute::parse(attributes).unwrap(),
                remote: dice.percent(15),
                counted: true,
                offerable: dice.percent(92),
                ..AgentFacts::default()
            };
            engine.put_agent(slot, facts);
            slot
        })
        .collect()
}

fn random_roles(engine: &mut Engine, dice: &mut Dice) {
    for role in ROLES {
        let mut facts = RoleFacts::default();
        if dice.percent(30) {
            facts.weight = dice.pick(&[1, 500, 2000, 3000]);
        }
        if dice.percent(25) {
            facts.limit = amounts(dice.pick(&["cpus:2", "cpus:10", "cpus:6;mem:4096", "mem:2048", "gpus:0;cpus:5"]));
        }
        if dice.percent(15) {
            facts.guarantee = amounts(dice.pick(&["cpus:4", "cpus:2;mem:2048", "mem:9000"]));
        }
        engine.set_role(&Role::new(role), facts);
    }
}

fn random_tasks(engine: &mut Engine, dice: &mut Dice, clients: &[ClientSlot], agents: &[AgentSlot]) {
    for agent in agents {
        for _ in 0..dice.between(0, 2) {
            let what = Bundle::from(&resources(dice.pick(&["cpus:1;mem:512", "cpus:3;mem:1000", "mem:900", "cpus:7"])));
            if Bundle::from(&engine.free(*agent)).contains(&what) {
                engine.allocate(*agent, dice.pick(clients), &what);
            }
        }
    }
}

/// Frameworks decline some offers, take part of others, and sit on the rest.
fn random_answers(engine: &mut Engine, dice: &mut Dice) {
    for number in engine.offer_numbers() {
        match dice.next() % 4 {
            0 => {
                let offer = engine.close_offer(number).unwrap();
                let until = Time(NOW.0 + dice.between(1, 50_000));
                engine.refuse(offer.client, offer.agent, &offer.bundle, until);
            }
            1 => {
                let offer = engine.close_offer(number).unwrap();
                let what = bundle("cpus:1;mem:200");
                if offer.bundle.contains(&what) {
                    engine.allocate(offer.agent, offer.client, &what);
                    engine.launched(offer.client, &what);
                }
            }
            _ => {}
        }
    }
}

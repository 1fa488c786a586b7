//! Random sequences of calls, decided by the engine and by its reference; a failing one is cut down and printed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use mesos_model::{
    Resource, Resources, Role, Value, attribute,
    resources::{Qualifier, Reservation, ReservationKind},
};

use super::{
    cases,
    reference::Key,
    world::{World, amounts, key, request, resources},
};
use crate::{
    Abilities, AgentFacts, ClientFacts, Options, Policy,
    facts::{Constraint, Constraints, Placement, Predicate, RoleFacts, Selector},
    random::{Lots, mix},
};

const ROLES: [&str; 7] = ["a", "a/x", "a/x/p", "a/y", "b", "b/z", "c"];

/// What a sequence may contain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mix {
    pub(crate) limits: bool,
    pub(crate) guarantees: bool,
    pub(crate) priorities: bool,
    pub(crate) placements: bool,
    pub(crate) filters: bool,
    pub(crate) odd_agents: bool,
    pub(crate) policies: bool,
    pub(crate) random: bool,
    pub(crate) needs: bool,
    pub(crate) crowds: bool,
    pub(crate) forgets: bool,
}

const ALL: Mix = Mix {
    limits: true,
    guarantees: true,
    priorities: true,
    placements: true,
    filters: true,
    odd_agents: true,
    policies: true,
    random: false,
    needs: false,
    crowds: true,
    forgets: true,
};

fn with_qualifier(name: &str, milli: i64, qualifier: Qualifier) -> Resource {
    Resource { name: Arc::from(name), value: Value::Scalar(milli), qualifier: Some(Arc::new(qualifier)) }
}

fn reserved(kind: ReservationKind, role: &str) -> Reservation {
    Reservation { kind, role: Role::new(role), principal: None, labels: Vec::new() }
}

/// Everything that is rare: a stack of reservations, a disk of its own, revocable and shared resources.
fn rare() -> Resources {
    let mut out = resources("cpus:3;mem:3000;disk:50;ports:[100-120];zoo:{lion,owl}");
    let stack = vec![reserved(ReservationKind::Static, "a"), reserved(ReservationKind::Dynamic, "a/x")];
    out.add_entry(with_qualifier("cpus", 1000, Qualifier { reservations: stack, ..Qualifier::default() }));
    let mount = Qualifier { disk: vec![7], ..Qualifier::default() };
    out.add_entry(with_qualifier("disk", 200_000, mount));
    out.add_entry(with_qualifier("disk", 30_000, Qualifier { disk: vec![8], ..Qualifier::default() }));
    out.add_entry(with_qualifier("cpus", 2000, Qualifier { revocable: true, ..Qualifier::default() }));
    let volume = vec![reserved(ReservationKind::Dynamic, "a")];
    let volume = Qualifier { reservations: volume, shared: true, disk: vec![9], ..Qualifier::default() };
    out.add_entry(with_qualifier("disk", 64_000, volume));
    out
}

fn shape(pick: &mut Pick, odd: bool) -> Resources {
    match pick.below(if odd { 9 } else { 3 }) {
        0 => resources("cpus:4;mem:4096"),
        1 => resources("cpus:8;mem:2048;disk:1000;ports:[31000-31010]"),
        2 => resources("cpus:2;mem:8192"),
        3 => resources("cpus:2;mem:1024;cpus(a):2;mem(a):512"),
        4 => resources("cpus:4;mem:4096;gpus:2"),
        5 => resources("cpus:1;mem:512;licences:5"),
        6 => resources("cpus(a/x):3;mem(a/x):300;cpus:3;mem:3000;licences(b):2;licences:1"),
        7 => resources("ports:[1-9];cpus(b):1"),
        _ => rare(),
    }
}

/// Choices out of one word.
pub(crate) struct Pick(Lots);

impl Pick {
    pub(crate) fn new(word: u64) -> Pick {
        Pick(Lots::new(mix(word)))
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.0.next() % count.max(1) as u64).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() { None } else { Some(&list[self.below(list.len())]) }
    }
}

fn some_key(pick: &mut Pick) -> Key {
    let role = ROLES[pick.below(ROLES.len())];
    key(&format!("f{}", pick.below(4)), role)
}

fn client_facts(pick: &mut Pick, mix: Mix) -> ClientFacts {
    let minimum = match pick.below(6) {
        0 => Some(Vec::new()),
        1 => Some(vec![resources("cpus:2")]),
        2 => Some(vec![resources("licences:1"), resources("cpus:1;mem:2048")]),
        _ => None,
    };
    let constraint = |selector, predicate| Constraints { groups: vec![vec![Constraint { selector, predicate }]] };
    let rack = Selector::Attribute("rack".into());
    let constraints = match pick.below(if mix.odd_agents { 8 } else { 1 }) {
        1 => Some(constraint(rack, Predicate::TextEquals("r1".into()))),
        2 => Some(constraint(rack, Predicate::NotExists)),
        3 => Some(constraint(Selector::Hostname, Predicate::TextMatches("host-[0-2]".into()))),
        _ => None,
    };
    let odd = mix.odd_agents;
    let abilities = Abilities {
        revocable: odd && pick.chance(50),
        shared: odd && pick.chance(50),
        refined: odd && pick.chance(50),
        gpus: odd && pick.chance(50),
        regions: odd && pick.chance(50),
    };
    let priority = if mix.priorities && pick.chance(30) { pick.below(3) as i64 - 1 } else { 0 };
    ClientFacts { hungry: pick.chance(80), abilities, minimum, constraints, priority }
}

/// A part of something that is there.
fn part_of(pick: &mut Pick, all: &Resources) -> Resources {
    let mut out = Resources::new();
    for resource in all.iter() {
        let mut resource = resource.clone();
        if let Value::Scalar(milli) = &mut resource.value {
            *milli = match pick.below(3) {
                0 => 0,
                1 => *milli,
                _ => *milli / 2000 * 1000,
            };
        } else if pick.chance(50) {
            continue;
        }
        out.add_entry(resource);
    }
    out
}

/// One call; which one, the word says.
pub(crate) fn step(world: &mut World, word: u64, mix: Mix) -> Result<(), String> {
    let mut pick = Pick::new(word);
    let offers: Vec<u64> = world.reference.offers.keys().copied().collect();
    let offers = if world.alone { world.engine.offer_numbers() } else { offers };
    match pick.below(26) {
        0..=2 => put_some_agent(world, &mut pick, mix),
        3..=6 => {
            let facts = client_facts(&mut pick, mix);
            let key = some_key(&mut pick);
            world.put_client(&key, facts);
        }
        7 | 8 => set_some_role(world, &mut pick, mix),
        9 | 10 => {
            let agents = world.agents();
            if let Some(agent) = pick.of(&agents).copied() {
                let free = world.engine.free(agent);
                let mut what = part_of(&mut pick, &free);
                if mix.crowds && pick.chance(30) {
                    what = resources("cpus:3;mem:1500;ports:[100-105]");
                }
                let key = some_key(&mut pick);
                if !what.is_empty() {
                    world.allocate(agent, &key, &what);
                }
            }
        }
        11..=13 => {
            let agents = world.agents();
            if let Some(agent) = pick.of(&agents).copied() {
                world.release(agent, pick.below(9));
            }
        }
        14..=17 => {
            if let Some(number) = pick.of(&offers).copied() {
                let refuse = (mix.filters && pick.chance(50)).then(|| 50 * pick.below(60) as u64 + 7);
                let (key, agent, bundle) = world.close(number, refuse);
                if pick.chance(50) {
                    let what = part_of(&mut pick, &bundle);
                    if !what.is_empty() {
                        world.allocate(agent, &key, &what);
                        world.launched(&key, &what);
                    }
                }
            }
        }
        18 => world.tick(pick.below(3000) as u64),
        19 => {
            let key = some_key(&mut pick);
            world.revive(&key);
        }
        20 => ask(world, &mut pick, mix),
        21 if mix.policies && pick.chance(25) => world.set_policy(match pick.below(if mix.random { 4 } else { 3 }) {
            0 => Policy::Drf,
            1 => Policy::Fifo,
            2 => Policy::Drc,
            _ => Policy::Random,
        }),
        22 if mix.forgets => world.forget_agent(&format!("s{}", pick.below(6))),
        _ => {
            world.round()?;
        }
    }
    world.compare()
}

fn put_some_agent(world: &mut World, pick: &mut Pick, mix: Mix) {
    let n = pick.below(6);
    let name = format!("s{n}");
    let slot = world.slot(&name);
    let known = world.reference.agents[&slot.0].facts.clone();
    let same = !known.total.is_empty() && pick.chance(60);
    let total = if same { known.total } else { shape(pick, mix.odd_agents) };
    let attributes = match pick.below(if mix.odd_agents { 3 } else { 1 }) {
        0 => "",
        1 => "rack:r1",
        _ => "rack:r2",
    };
    let facts = AgentFacts {
        total,
        hostname: format!("host-{n}"),
        attributes: attribute::parse(attributes).unwrap(),
        domain: None,
        remote: mix.odd_agents && pick.chance(10),
        counted: pick.chance(90),
        offerable: pick.chance(85),
    };
    if !same {
        world.drop_filters_on(&name);
    }
    world.put_agent(&name, facts);
}

fn set_some_role(world: &mut World, pick: &mut Pick, mix: Mix) {
    let mut facts = RoleFacts::default();
    if pick.chance(50) {
        facts.weight = [500, 1000, 2000, 3000][pick.below(4)];
    }
    if mix.limits && pick.chance(50) {
        facts.limit = amounts(["cpus:4", "cpus:6;mem:3000", "mem:0", "licences:2;disk:100", "disk:210"][pick.below(5)]);
    }
    if mix.guarantees && pick.chance(50) {
        facts.guarantee = amounts(["cpus:4", "cpus:6;mem:3000", "mem:6000", "licences:2", "disk:300"][pick.below(5)]);
    }
    if mix.placements && pick.chance(50) {
        facts.placement = Some([Placement::Spread, Placement::Binpack, Placement::Random][pick.below(3)]);
    }
    world.set_role(ROLES[pick.below(ROLES.len())], facts);
}

fn ask(world: &mut World, pick: &mut Pick, mix: Mix) {
    let key = some_key(pick);
    if mix.needs && pick.chance(70) {
        let requests: Vec<_> = (0..pick.below(3))
            .map(|n| crate::facts::Request {
                name: format!("n{n}"),
                hold_ms: Some(500 + pick.below(20_000) as u64),
                priority: pick.chance(20).then_some(1),
                ..request(["cpus:4;mem:512", "cpus:2;mem:4000", "cpus:1"][pick.below(3)], 1 + pick.below(3) as u32)
            })
            .collect();
        world.request(&key, &requests);
        return;
    }
    let requests = match pick.below(3) {
        0 => vec![],
        1 => vec![request("cpus:2;mem:512", 2)],
        _ => vec![request("cpus:1", 1), request("mem:4000", 1)],
    };
    world.request(&key, &requests);
}

fn play(seed: u64, words: &[u64], mix: Mix) -> Result<(), (String, Vec<String>)> {
    let options = Options {
        seed,
        unfair: if seed.is_multiple_of(4) { vec!["disk".into()] } else { vec![] },
        ..Options::default()
    };
    let mut world = World::new(options);
    for word in words {
        let played = catch_unwind(AssertUnwindSafe(|| step(&mut world, *word, mix)));
        match played {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err((error, world.log)),
            Err(_) => return Err(("it panicked".to_owned(), world.log)),
        }
    }
    Ok(())
}

/// Plays random sequences; one that fails is shortened as far as it still fails.
pub(crate) fn play_many(name: u64, count: u64, length: u64, mix: Mix) {
    for seed in 0..count {
        let mut lots = Lots::new(seed ^ (name << 32));
        let mut words: Vec<u64> = (0..length).map(|_| lots.next()).collect();
        if play(seed, &words, mix).is_ok() {
            continue;
        }
        let mut chunk = words.len() / 2;
        while chunk > 0 {
            let mut at = 0;
            while at < words.len() {
                let mut shorter = words.clone();
                shorter.drain(at..(at + chunk).min(words.len()));
                if play(seed, &shorter, mix).is_err() {
                    words = shorter;
                } else {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
        let Err((error, log)) = play(seed, &words, mix) else { continue };
        panic!("case {seed}: {error}\nafter:\n{}", log.join("\n"));
    }
}

#[test]
fn shares_and_hierarchy_are_decided_as_by_the_reference() {
    play_many(1, cases(30), 80, Mix { filters: true, ..Mix::default() });
}

#[test]
fn limits_are_decided_as_by_the_reference() {
    play_many(2, cases(30), 80, Mix { limits: true, ..Mix::default() });
}

#[test]
fn guarantees_are_decided_as_by_the_reference() {
    play_many(3, cases(30), 80, Mix { guarantees: true, filters: true, ..Mix::default() });
}

#[test]
fn priorities_placements_and_policies_are_decided_as_by_the_reference() {
    let mix = Mix { priorities: true, placements: true, policies: true, filters: true, ..Mix::default() };
    play_many(4, cases(30), 80, mix);
}

#[test]
fn odd_agents_are_decided_as_by_the_reference() {
    play_many(5, cases(30), 80, Mix { odd_agents: true, forgets: true, filters: true, ..Mix::default() });
}

#[test]
fn everything_together_is_decided_as_by_the_reference() {
    play_many(6, cases(25), 120, ALL);
}

#[test]
fn random_order_and_needs_keep_what_must_always_hold() {
    play_many(7, cases(25), 120, Mix { random: true, needs: true, ..ALL });
}

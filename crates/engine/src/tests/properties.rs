//! What must hold in every cluster, however it came about.

use std::collections::BTreeMap;

use mesos_model::{AgentId, FrameworkId, Resources, Role, Time, resources::MILLI_MAX};

use super::{
    cases,
    mirror::{self, Mix, Pick},
    reference::upwards,
    theory::{hungry, put_agent, put_client},
    world::{World, amounts, resources},
};
use crate::{
    Abilities, AgentFacts, Bundle, ClientFacts, Engine, Options, Policy,
    facts::{Placement, RoleFacts},
    random::Lots,
};

/// Offers alone never exceed a limit: whoever is within it stays within it.
#[test]
fn offers_never_exceed_a_limit() {
    for seed in 0..cases(25) {
        let mix = Mix { limits: true, guarantees: true, needs: true, odd_agents: true, ..Mix::default() };
        let mut world = World::new(Options { seed, ..Options::default() });
        let mut lots = Lots::new(seed ^ 0x71);
        for _ in 0..80 {
            mirror::step(&mut world, lots.next(), mix).unwrap();
            let before: BTreeMap<Role, _> =
                world.engine.roles().into_iter().map(|state| (state.role.clone(), state)).collect();
            let _ = world.round().unwrap();
            for state in world.engine.roles() {
                for (name, limit) in &state.facts.limit {
                    let now = state.consumed.get(name).copied().unwrap_or(0);
                    let then = before.get(&state.role).and_then(|state| state.consumed.get(name)).copied().unwrap_or(0);
                    assert!(now <= *limit || now <= then, "case {seed}: {} has {now} of {name}", state.role);
                }
            }
        }
    }
}

/// When everybody wants everything and the guarantees fit, each role ends with at least its guarantee.
#[test]
fn guarantees_that_fit_are_met() {
    for seed in 0..cases(150) {
        let mut pick = Pick::new(seed);
        let mut engine = Engine::new(Options { seed, ..Options::default() });
        let roles = ["a", "a/x", "a/y", "b", "c"];
        let agents = 1 + pick.below(5);
        for n in 0..agents {
            put_agent(&mut engine, &format!("s{n}"), &resources("cpus:8;mem:8192"));
        }
        let mut left = 8 * agents;
        let mut guarantees: BTreeMap<&str, i64> = BTreeMap::new();
        for role in ["a/x", "a/y", "b"] {
            let part = pick.below(left + 1);
            left -= part;
            guarantees.insert(role, i64::try_from(part).unwrap());
        }
        // That of the parent is partly met by those of its children.
        let inside = guarantees["a/x"] + guarantees["a/y"];
        guarantees.insert("a", inside + i64::try_from(pick.below(left + 1)).unwrap());
        for (role, cpus) in &guarantees {
            let facts = RoleFacts { guarantee: amounts(&format!("cpus:{cpus}")), ..RoleFacts::default() };
            engine.set_role(&Role::new(*role), facts);
        }
        for role in roles {
            for n in 0..=pick.below(2) {
                put_client(&mut engine, &format!("f{n}"), role, 0, 0);
            }
        }
        engine.round(Time(0));
        engine.check().unwrap();
        for (role, cpus) in &guarantees {
            let has = engine.consumed(&Role::new(*role)).get("cpus").copied().unwrap_or(0);
            assert!(has >= cpus * 1000, "case {seed}: {role} has {has} of {cpus} cpus; {guarantees:?}");
        }
        let free: i64 = (0..agents)
            .map(|n| engine.free(engine.find_agent(&AgentId::new(format!("s{n}"))).unwrap()))
            .map(|f| f.scalar("cpus"))
            .sum();
        assert_eq!(free, 0, "case {seed}: something is left though everybody wants it");
    }
}

/// Nobody is offered what is reserved for others, and a role that is hungry is offered all that is reserved for it.
#[test]
fn reservations_are_exact() {
    for seed in 0..cases(100) {
        let mut pick = Pick::new(seed);
        let mut engine = Engine::new(Options { seed, ..Options::default() });
        let roles = ["a", "a/x", "b"];
        for n in 0..4 {
            let role = roles[pick.below(3)];
            let text = format!("cpus({role}):{};mem({role}):64;cpus:1;mem:64", 1 + pick.below(4));
            put_agent(&mut engine, &format!("s{n}"), &resources(&text));
        }
        let present: Vec<&str> = roles.into_iter().filter(|_| pick.chance(60)).collect();
        for role in &present {
            hungry(&mut engine, "f", role);
        }
        for offer in engine.round(Time(0)) {
            let to = engine.client_of(offer.client).1.clone();
            for resource in offer.bundle.resources().iter() {
                assert!(resource.reserved_for().is_none_or(|of| upwards(&to).contains(of)), "case {seed}");
            }
        }
        for n in 0..4 {
            let free = engine.free(engine.find_agent(&AgentId::new(format!("s{n}"))).unwrap());
            for resource in free.iter() {
                let takers = |of: &Role| present.iter().any(|role| upwards(&Role::new(*role)).contains(of));
                let wanted = resource.reserved_for().map_or(!present.is_empty(), takers);
                assert!(!wanted, "case {seed}: {resource:?} is left with {present:?}");
            }
        }
    }
}

/// The same calls decide the same, and a copy goes on as the original does.
#[test]
fn the_same_calls_decide_the_same_and_a_copy_goes_on_alike() {
    let mix = Mix {
        limits: true,
        guarantees: true,
        priorities: true,
        placements: true,
        filters: true,
        odd_agents: true,
        policies: true,
        random: true,
        needs: true,
        crowds: true,
        forgets: true,
    };
    for seed in 0..cases(25) {
        let mut lots = Lots::new(seed ^ 0xde);
        let words: Vec<u64> = (0..100).map(|_| lots.next()).collect();
        let start = World::new(Options { seed, ..Options::default() });
        let (mut first, mut second) = (start.clone(), start);
        let mut copy = None;
        for (n, word) in words.iter().enumerate() {
            mirror::step(&mut first, *word, mix).unwrap();
            mirror::step(&mut second, *word, mix).unwrap();
            if n == 50 {
                copy = Some(first.clone());
            } else if let Some(copy) = &mut copy {
                mirror::step(copy, *word, mix).unwrap();
            }
        }
        assert_eq!(first.log, second.log);
        assert_eq!(first.log, copy.unwrap().log);
    }
}

/// A framework that may take everything, so that nothing of what an agent has is spared.
fn glutton(engine: &mut Engine, framework: &str, role: &str) {
    let slot = engine.client(&FrameworkId::new(framework), &Role::new(role));
    let abilities = Abilities { revocable: true, shared: true, refined: true, gpus: true, regions: true };
    let facts = ClientFacts { hungry: true, abilities, minimum: Some(Vec::new()), ..ClientFacts::default() };
    engine.put_client(Time(0), slot, facts).unwrap();
}

#[test]
fn absurd_amounts_and_weights_are_reckoned_with() {
    let policies = [Policy::Drf, Policy::Fifo, Policy::Drc, Policy::Random];
    let placements = [Placement::Spread, Placement::Binpack, Placement::Random];
    for (policy, placement) in policies.into_iter().zip(placements.into_iter().cycle()) {
        let mut engine = Engine::new(Options { placement, ..Options::default() });
        engine.set_policy(policy);
        let huge = Resources::of(&[("cpus", MILLI_MAX), ("mem", MILLI_MAX), ("gpus", MILLI_MAX), ("x", MILLI_MAX)]);
        for n in 0..200 {
            let total = if n % 3 == 0 { Resources::of(&[("cpus", 1), ("mem", 1)]) } else { huge.clone() };
            put_agent(&mut engine, &format!("s{n}"), &total);
        }
        for (role, weight) in [("a", 1), ("a/x", 1_000_000_000), ("b", 1_000_000_000), ("c", 1)] {
            let limit = if role == "c" { amounts("cpus:0;mem:0") } else { [("x".into(), MILLI_MAX)].into() };
            let guarantee = [("mem".into(), MILLI_MAX)].into();
            engine.set_role(&Role::new(role), RoleFacts { weight, limit, guarantee, placement: None });
            glutton(&mut engine, "f", role);
            glutton(&mut engine, "g", role);
        }
        for now in 0..5u64 {
            for offer in engine.round(Time(now << 40)) {
                engine.close_offer(offer.number);
                if offer.number % 3 == 0 {
                    engine.allocate(offer.agent, offer.client, &offer.bundle);
                    engine.launched(offer.client, &offer.bundle);
                } else {
                    engine.refuse(offer.client, offer.agent, &offer.bundle, Time(u64::MAX));
                }
            }
            engine.check().unwrap();
            engine.tick(Time(now << 40));
        }
        assert!(!engine.consumed(&Role::new("c")).contains_key("cpus"));
    }
}

#[test]
fn the_same_ports_held_twice_are_free_only_when_both_let_go() {
    let mut engine = Engine::new(Options::default());
    put_agent(&mut engine, "s", &resources("cpus:4;mem:400;ports:[1-10]"));
    let s = engine.find_agent(&AgentId::new("s")).unwrap();
    let f = engine.client(&FrameworkId::new("f"), &Role::new("a"));
    let (one, two) = (Bundle::from(&resources("cpus:1;ports:[1-6]")), Bundle::from(&resources("cpus:9;ports:[4-9]")));
    engine.allocate(s, f, &one);
    engine.allocate(s, f, &two);
    assert!(engine.is_crowded(s));
    engine.check().unwrap();
    assert_eq!(engine.free(s), resources("mem:400;ports:[10-10]"));
    engine.release(s, f, &two, || [one.clone()]);
    engine.check().unwrap();
    assert_eq!(engine.free(s), resources("cpus:3;mem:400;ports:[7-10]"));
    assert!(!engine.is_crowded(s));
}

#[test]
fn an_agent_comes_and_goes_with_whatever_it_has() {
    let mut engine = Engine::new(Options::default());
    hungry(&mut engine, "f", "a");
    for n in 0..20 {
        put_agent(&mut engine, &format!("s{n}"), &resources("cpus:4;mem:400;cpus(a):1"));
        let s = engine.find_agent(&AgentId::new(format!("s{n}"))).unwrap();
        for offer in engine.round(Time(n)) {
            engine.close_offer(offer.number);
            engine.refuse(offer.client, offer.agent, &offer.bundle, Time(n + 10_000));
        }
        engine.put_agent(s, AgentFacts { offerable: false, ..AgentFacts::default() });
        engine.forget_agent(s);
        engine.check().unwrap();
        assert_eq!((engine.filters(), engine.total().len()), (0, 0));
    }
}

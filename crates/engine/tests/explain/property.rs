//! Explain is right: on random clusters every named change places what is asked for, and no smaller one does.

use std::collections::BTreeMap;

use mesos_engine::{
    Engine,
    explain::{AGENTS_ONE_BY_ONE, step_of, weight_ladder},
    explanation::{Change, Explanation, Query, Why},
    facts::PolicyName,
};
use mesos_model::{AgentId, Resources, Value};

use crate::clusters::{Dice, NOW, random};

/// Cases that a plain run goes through.
const CASES: u64 = 300;

fn cases() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test may be told to go through more")]
    let told = std::env::var("MESOS_PROPERTY_CASES").ok();
    told.and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

/// How many tasks there is room for after a change: reckoned from the round's offers, one task at a time.
fn room_after(engine: &Engine, change: Option<&Change>, query: &Query) -> u32 {
    let mut query = query.clone();
    let mut copy = engine.clone();
    copy.tick(NOW);
    for number in copy.offer_numbers() {
        copy.close_offer(number).unwrap();
    }
    if let Some(change) = change {
        copy.apply(NOW, change, &mut query).unwrap();
    }
    for role in copy.roles() {
        for framework in role.frameworks {
            let client = copy.find_client(&framework, &role.role).unwrap();
            copy.wake(client);
        }
    }
    let made = copy.round(NOW);
    copy.check().unwrap();
    let me = copy.find_client(query.framework.as_ref().unwrap(), query.role.as_ref().unwrap()).unwrap();
    let mut offered: BTreeMap<AgentId, Resources> = BTreeMap::new();
    for decision in made.iter().filter(|decision| decision.client == me) {
        offered.entry(copy.agent_id(decision.agent).clone()).or_default().add(&decision.bundle.resources());
    }
    let demand = query.resources.unwrap();
    let mut room = 0;
    for mut left in offered.into_values() {
        while room < query.count && take_task(&mut left, &demand) {
            room += 1;
        }
    }
    room
}

/// Takes one task out of what is offered of an agent, if it is in there.
fn take_task(left: &mut Resources, demand: &Resources) -> bool {
    let mut rest = left.clone();
    let qualified = demand.filter(|resource| resource.qualifier.is_some());
    if !rest.take(&qualified) {
        return false;
    }
    for wanted in demand.iter().filter(|resource| resource.qualifier.is_none()) {
        let Value::Scalar(amount) = wanted.value else {
            let wanted = Resources::try_from_entries([wanted.clone()]).unwrap();
            if !rest.take(&wanted) {
                return false;
            }
            continue;
        };
        let of = |revocable: bool| rest.filter(|one| one.name == wanted.name && one.is_revocable() == revocable);
        let mut kinds = vec![false, true];
        if let Some(bound) = qualified.iter().find(|one| one.name == wanted.name) {
            kinds.retain(|revocable| *revocable == bound.is_revocable());
        }
        let Some(from) = kinds.into_iter().map(of).find(|from| from.scalar(&wanted.name) >= amount) else {
            return false;
        };
        let mut missing = amount;
        for one in &from {
            let Value::Scalar(there) = one.value else { continue };
            let part = there.min(missing);
            missing -= part;
            let mut part_of = one.clone();
            part_of.value = Value::Scalar(part);
            if part == 0 {
                break;
            }
            rest.take_what_is_there(&Resources::try_from_entries([part_of]).unwrap());
        }
    }
    *left = rest;
    true
}

/// Changes of the same kind that are smaller.
fn smaller(engine: &Engine, query: &Query, change: &Change, dice: &mut Dice) -> Vec<Change> {
    match change {
        Change::Less { name, amount } => {
            let asked = query.resources.as_ref().unwrap().filter(|one| one.qualifier.is_none()).scalar(name);
            let step = step_of(name);
            let mut more = vec![*amount + step];
            more.extend((0..3).map(|_| dice.between((*amount / step) as u64 + 1, (asked / step) as u64) as i64 * step));
            let changes = more.into_iter().filter(|amount| *amount < asked);
            changes.map(|amount| Change::Less { name: name.clone(), amount }).collect()
        }
        Change::Limit { role, limit } => {
            let old = engine.role_facts(role).limit;
            let raised = limit.iter().filter(|(name, amount)| old.get(*name) != Some(amount));
            let less = |(name, amount): (&std::sync::Arc<str>, &i64)| {
                assert!(*amount > old[name], "a limit was lowered");
                let mut limit = limit.clone();
                limit.insert(name.clone(), amount - 1);
                Change::Limit { role: role.clone(), limit }
            };
            raised.map(less).collect()
        }
        Change::Weight { role, weight } => {
            let lower = weight_ladder(engine.role_facts(role).weight).into_iter().filter(|step| step < weight);
            lower.map(|weight| Change::Weight { role: role.clone(), weight }).collect()
        }
        Change::AddAgents { count, like, total, attributes } => {
            let mut fewer = vec![count - 1];
            let random = if *count <= AGENTS_ONE_BY_ONE { 3 } else { 0 };
            fewer.extend((0..random).map(|_| dice.between(0, u64::from(*count) - 1) as u32));
            let changes = fewer.into_iter().filter(|count| *count > 0);
            let with = |count| Change::AddAgents {
                count,
                like: like.clone(),
                total: total.clone(),
                attributes: attributes.clone(),
            };
            changes.map(with).collect()
        }
        _ => Vec::new(),
    }
}

fn check(seed: u64, counts: &mut BTreeMap<String, u32>) {
    let (engine, query) = random(seed);
    let before = format!("{engine:?}");
    let explanation: Explanation = engine.explain(NOW, &query).unwrap();
    assert_eq!(before, format!("{engine:?}"), "seed {seed}: explaining changed the engine");
    let told = format!("seed {seed}: {query:?}\n{explanation:#?}");
    let agents = (1..=20).filter(|n| engine.find_agent(&crate::clusters::agent_id(*n)).is_some()).count();
    let sum: u32 = explanation.blockers.iter().map(|blocker| blocker.agents).sum();
    assert_eq!(sum as usize, agents, "{told}");
    assert!(explanation.blockers.iter().all(|blocker| !blocker.detail.is_empty()), "{told}");
    assert!(!explanation.summary.contains('\n') && !explanation.summary.is_empty(), "{told}");
    assert_eq!(explanation.placeable, room_after(&engine, None, &query), "{told}");
    assert_eq!(engine.placeable(NOW, &query), Ok(explanation.placeable), "{told}");
    for blocker in &explanation.blockers {
        *counts.entry(format!("{:?}", blocker.why)).or_default() += 1;
    }
    if explanation.placeable >= query.count {
        assert!(explanation.remedies.is_empty(), "{told}");
        return;
    }
    if explanation.remedies.is_empty() {
        *counts.entry("no remedy".to_owned()).or_default() += 1;
    }
    if explanation.placeable == 0 && !explanation.blockers.iter().any(|blocker| blocker.why == Why::Suppressed) {
        assert!(!explanation.blockers.iter().any(|blocker| blocker.why == Why::Nothing), "{told}");
    }
    let mut dice = Dice::new(seed ^ 0xabcd);
    for remedy in &explanation.remedies {
        let kind = format!("{:?}", remedy.change);
        *counts.entry(format!("remedy {}", kind.split([' ', '(']).next().unwrap_or(""))).or_default() += 1;
        let room = room_after(&engine, Some(&remedy.change), &query);
        assert_eq!(room, query.count, "{remedy:?} does not place it; {told}");
        for less in smaller(&engine, &query, &remedy.change, &mut dice) {
            let room = room_after(&engine, Some(&less), &query);
            assert!(room < query.count, "{less:?} places it too, not only {remedy:?}; {told}");
        }
    }
}

#[test]
fn every_named_change_places_the_demand_and_no_smaller_one_does() {
    let mut counts = BTreeMap::new();
    for seed in 0..cases() {
        check(seed, &mut counts);
    }
    println!("{} clusters: {counts:#?}", cases());
    for kind in ["Less", "Limit", "Weight", "AddAgents", "DropConstraint", "DropFilters", "Capability", "Revive"] {
        assert!(counts.contains_key(&format!("remedy {kind}")), "no case needed {kind}: {counts:#?}");
    }
}

/// Changes of all kinds, large enough to help if any of their kind does.
fn large(engine: &Engine, query: &Query) -> Vec<Change> {
    let (framework, role) = (query.framework.clone().unwrap(), query.role.clone().unwrap());
    assert!(engine.find_client(&framework, &role).is_some());
    let mut out = vec![Change::Revive, Change::DropMinimum, Change::DropFilters { agent: None }];
    let names = ["GPU_RESOURCES", "REGION_AWARE", "REVOCABLE_RESOURCES", "SHARED_RESOURCES", "RESERVATION_REFINEMENT"];
    out.extend(names.iter().map(|name| Change::Capability((*name).to_owned())));
    out.extend([PolicyName::Drf, PolicyName::Fifo, PolicyName::Drc].map(Change::Policy));
    for group in 0..2 {
        out.extend((0..2).map(|constraint| Change::DropConstraint { group, constraint }));
    }
    for state in engine.roles() {
        if mesos_engine::cycle::is_role_or_ancestor(&state.role, &role) {
            out.push(Change::Limit { role: state.role.clone(), limit: Default::default() });
            out.extend(
                weight_ladder(state.facts.weight)
                    .into_iter()
                    .map(|weight| Change::Weight { role: state.role.clone(), weight }),
            );
        } else {
            out.push(Change::DropReservations(state.role));
        }
    }
    let demand = query.resources.clone().unwrap();
    for one in demand.iter().filter(|one| one.qualifier.is_none()) {
        if let Value::Scalar(amount) = one.value {
            let least = step_of(&one.name);
            if amount > least {
                out.push(Change::Less { name: one.name.to_string(), amount: least });
            }
        }
    }
    let alike = (1..=20).map(crate::clusters::agent_id).filter(|id| engine.find_agent(id).is_some());
    for count in [1, 2, 3, 5, 10, 30] {
        out.extend(alike.clone().map(|like| Change::AddAgents {
            count,
            like: Some(like),
            total: None,
            attributes: Vec::new(),
        }));
    }
    out
}

#[test]
fn where_one_change_could_help_one_is_named() {
    let (mut without, mut missed) = (0, 0);
    for seed in 0..cases() / 3 {
        let (engine, query) = random(seed);
        let explanation = engine.explain(NOW, &query).unwrap();
        if explanation.placeable >= query.count || !explanation.remedies.is_empty() {
            continue;
        }
        without += 1;
        for change in large(&engine, &query) {
            // What cannot be changed does not help.
            if engine.clone().apply(NOW, &change, &mut query.clone()).is_ok()
                && room_after(&engine, Some(&change), &query) >= query.count
            {
                missed += 1;
                println!("seed {seed}: {change:?} would help; {query:?}\n{explanation:#?}");
            }
        }
    }
    println!("{without} clusters for which no change was named, {missed} changes that would have helped");
    assert!(missed * 1000 <= cases(), "{missed} changes would have helped and were not named");
}

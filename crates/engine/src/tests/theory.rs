//! What the papers promise: dominant-resource fairness (Ghodsi et al., NSDI 2011) with clients that take one task
//! at a time, weighted lots, and the simpler orders.

use mesos_model::{AgentId, FrameworkId, Resources, Role, Time};

use super::{
    cases,
    mirror::Pick,
    world::{request, resources},
};
use crate::{
    AgentFacts, Bundle, ClientFacts, ClientSlot, Engine, Options, Policy,
    facts::{Placement, RoleFacts},
};

pub(super) fn put_agent(engine: &mut Engine, name: &str, total: &Resources) {
    let slot = engine.agent(&AgentId::new(name));
    let facts = AgentFacts { total: total.clone(), counted: true, offerable: true, ..AgentFacts::default() };
    engine.put_agent(slot, facts);
}

pub(super) fn hungry(engine: &mut Engine, framework: &str, role: &str) -> ClientSlot {
    put_client(engine, framework, role, 0, 0)
}

pub(super) fn put_client(engine: &mut Engine, framework: &str, role: &str, priority: i64, now: u64) -> ClientSlot {
    let slot = engine.client(&FrameworkId::new(framework), &Role::new(role));
    let facts = ClientFacts { hungry: true, priority, minimum: Some(Vec::new()), ..ClientFacts::default() };
    engine.put_client(Time(now), slot, facts).unwrap();
    slot
}

pub(super) fn weigh(engine: &mut Engine, role: &str, milli: u64) {
    engine.set_role(&Role::new(role), RoleFacts { weight: milli, ..RoleFacts::default() });
}

/// Everybody takes one task at a time, until nobody's next task fits anywhere. Says how many tasks each has.
fn fill(engine: &mut Engine, clients: &[(ClientSlot, Resources)]) -> Vec<i64> {
    let mut tasks = vec![0; clients.len()];
    loop {
        let made = engine.round(Time(0));
        let Some(first) = made.first() else { return tasks };
        for offer in &made {
            engine.close_offer(offer.number);
        }
        let at = clients.iter().position(|(client, _)| *client == first.client).unwrap();
        let task = Bundle::from(&clients[at].1);
        if first.bundle.contains(&task) {
            engine.allocate(first.agent, first.client, &task);
            tasks[at] += 1;
        } else {
            // Less and less is free, so it will never fit here.
            engine.refuse(first.client, first.agent, &first.bundle, Time(1 << 40));
        }
    }
}

#[test]
fn the_example_of_the_paper_comes_out_as_in_the_paper() {
    for policy in [Policy::Drf, Policy::default()] {
        let mut engine = Engine::new(Options { offer_timeout: None, ..Options::default() });
        engine.set_policy(policy);
        put_agent(&mut engine, "all", &resources("cpus:9;mem:18GB"));
        let a = (hungry(&mut engine, "a", "a"), resources("cpus:1;mem:4GB"));
        let b = (hungry(&mut engine, "b", "b"), resources("cpus:3;mem:1GB"));
        assert_eq!(fill(&mut engine, &[a, b]), [3, 2]);
    }
}

struct Case {
    engine: Engine,
    total: (i64, i64),
    demands: Vec<(i64, i64)>,
    weights: Vec<i64>,
    tasks: Vec<i64>,
}

fn bundle_of(pair: (i64, i64)) -> Resources {
    Resources::of(&[("cpus", pair.0), ("mem", pair.1)])
}

/// Random demands on a cluster of so many agents, filled.
fn case(seed: u64, agents: i64, weighted: bool) -> Case {
    let mut pick = Pick::new(seed);
    let mut upto = |most: usize| i64::try_from(1 + pick.below(most)).unwrap();
    let total = ((10 + upto(30)) * 1000, (10 + upto(60)) * 1_000_000);
    let mut engine = Engine::new(Options { seed, offer_timeout: None, ..Options::default() });
    for n in 0..agents {
        put_agent(&mut engine, &format!("s{n}"), &bundle_of(total));
    }
    let count = 1 + upto(4);
    let (mut demands, mut weights, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..count {
        let name = format!("f{n}");
        let weight = if weighted { upto(4) } else { 1 };
        weigh(&mut engine, &name, 1000 * weight.unsigned_abs());
        demands.push((upto(6) * 500, upto(6) * 1_000_000));
        weights.push(weight);
        clients.push((hungry(&mut engine, &name, &name), bundle_of(demands[demands.len() - 1])));
    }
    let tasks = fill(&mut engine, &clients);
    Case { engine, total: (total.0 * agents, total.1 * agents), demands, weights, tasks }
}

impl Case {
    fn share(&self, of: usize, tasks: i64) -> f64 {
        let (cpus, mem) = self.demands[of];
        (((tasks * cpus) as f64) / self.total.0 as f64).max(((tasks * mem) as f64) / self.total.1 as f64)
    }
}

/// What is left over is of use to nobody.
#[test]
fn nobody_can_get_more_without_another_getting_less() {
    for seed in 0..cases(150) {
        let case = case(seed, 1 + (seed % 4).cast_signed(), false);
        for agent in 0..1 + seed % 4 {
            let free = case.engine.free(case.engine.find_agent(&AgentId::new(format!("s{agent}"))).unwrap());
            let fits = case.demands.iter().any(|demand| free.contains(&bundle_of(*demand)));
            assert!(!fits, "case {seed}: {free} is left");
        }
    }
}

/// Nobody is worse off than with a part of the cluster of its own, but for the size of tasks: when the first one's
/// next task does not fit, what all have, and one task of each, is more than the whole of some resource.
#[test]
fn sharing_is_better_than_a_part_of_ones_own() {
    for seed in 0..cases(300) {
        let case = case(seed, 1, seed % 2 == 1);
        let all: i64 = case.weights.iter().sum();
        let grain: f64 = (0..case.demands.len()).map(|of| case.share(of, 1)).sum();
        for of in 0..case.demands.len() {
            let own = case.weights[of] as f64 / all as f64 * (1.0 - grain);
            let share = case.share(of, case.tasks[of]);
            assert!(share >= own - 1e-9, "case {seed}: {of} has {share}, its part is {own}");
        }
    }
}

/// Nobody could run more than one task more on what another has, but for the other's last task.
#[test]
fn nobody_envies_another_but_for_one_task() {
    for seed in 0..cases(300) {
        let case = case(seed, 1, false);
        for (of, demand) in case.demands.iter().enumerate() {
            for (other, theirs) in case.demands.iter().enumerate() {
                let tasks = (case.tasks[other] - 1).max(0);
                let could = (tasks * theirs.0 / demand.0).min(tasks * theirs.1 / demand.1);
                assert!(could <= case.tasks[of] + 1, "case {seed}: {of} with {:?} envies {other}", case.tasks);
            }
        }
    }
}

/// Everybody always declines: counts who is offered the one agent.
fn draw(engine: &mut Engine, count: usize) -> std::collections::BTreeMap<String, f64> {
    let mut won = std::collections::BTreeMap::new();
    for _ in 0..count {
        let made = engine.round(Time(0));
        assert_eq!(made.len(), 1);
        let role = engine.client_of(made[0].client).1.to_string();
        *won.entry(role).or_insert(0.0) += 1.0;
        engine.close_offer(made[0].number);
    }
    won
}

fn lottery() -> Engine {
    let mut engine = Engine::new(Options { offer_timeout: None, ..Options::default() });
    engine.set_policy(Policy::Random);
    put_agent(&mut engine, "s", &resources("cpus:4;mem:4096"));
    engine
}

/// The sum of squared deviations; 16.3 is exceeded once in a thousand times with three degrees of freedom.
fn chi_square(won: &std::collections::BTreeMap<String, f64>, expected: &[(&str, f64)], count: usize) -> f64 {
    let of = |(role, part): &(&str, f64)| {
        let (won, expected) = (won.get(*role).copied().unwrap_or(0.0), part * count as f64);
        (won - expected).powi(2) / expected
    };
    expected.iter().map(of).sum()
}

#[test]
fn lots_fall_by_weight() {
    let mut engine = lottery();
    for (role, milli) in [("a", 1000), ("b", 2000), ("c", 3000), ("d", 4000)] {
        weigh(&mut engine, role, milli);
        hungry(&mut engine, "f", role);
    }
    let won = draw(&mut engine, 4000);
    let chi = chi_square(&won, &[("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4)], 4000);
    assert!(chi < 16.3, "{won:?}: {chi}");
}

#[test]
fn lots_fall_by_weight_at_each_level() {
    let mut engine = lottery();
    for (role, milli) in [("a", 1000), ("a/x", 1000), ("a/y", 3000), ("b", 2000)] {
        weigh(&mut engine, role, milli);
    }
    for role in ["a", "a/x", "a/y", "b"] {
        hungry(&mut engine, "f", role);
    }
    let won = draw(&mut engine, 4000);
    // The frameworks of `a` itself compete with its children with the weight 1.
    let fifteenth = 1.0 / 15.0;
    let parts = [("a", fifteenth), ("a/x", fifteenth), ("a/y", 3.0 * fifteenth), ("b", 10.0 * fifteenth)];
    let chi = chi_square(&won, &parts, 4000);
    assert!(chi < 16.3, "{won:?}: {chi}");
}

#[test]
fn whoever_took_no_part_in_many_lots_does_not_win_all_that_follow() {
    let mut engine = lottery();
    let a = hungry(&mut engine, "f", "a");
    hungry(&mut engine, "f", "b");
    let slot = engine.find_agent(&AgentId::new("s")).unwrap();
    engine.refuse(a, slot, &Bundle::from(&resources("cpus:9;mem:9999")), Time(1 << 40));
    assert_eq!(draw(&mut engine, 500)["b"], 500.0);
    engine.drop_filters(a);
    engine.wake(a);
    let won = draw(&mut engine, 400);
    assert!((140.0..=260.0).contains(&won["a"]), "{won:?}");
}

#[test]
fn with_fifo_who_has_waited_longest_is_first_until_its_demand_is_met() {
    let mut engine = Engine::new(Options { offer_timeout: None, ..Options::default() });
    engine.set_policy(Policy::Fifo);
    let late = put_client(&mut engine, "late", "a", 0, 20);
    let early = put_client(&mut engine, "early", "b", 0, 10);
    engine.set_requests(Time(20), late, &[request("cpus:8", 1)]);
    engine.set_requests(Time(10), early, &[request("cpus:6", 1)]);
    // Who asks for something waits from then on.
    let mut winners = Vec::new();
    for n in 0..5 {
        put_agent(&mut engine, &format!("s{n}"), &resources("cpus:4;mem:1024"));
        winners.extend(engine.round(Time(30 + n)).into_iter().map(|offer| offer.client));
    }
    assert_eq!(winners[..4], [early, early, late, late]);
}

#[test]
fn with_drc_the_largest_demand_is_first() {
    let mut engine = Engine::new(Options { offer_timeout: None, ..Options::default() });
    engine.set_policy(Policy::Drc);
    let (small, large) = (hungry(&mut engine, "small", "a"), hungry(&mut engine, "large", "b"));
    engine.set_requests(Time(0), small, &[request("cpus:7", 1)]);
    engine.set_requests(Time(0), large, &[request("cpus:10", 1)]);
    let mut winners = Vec::new();
    for n in 0..4 {
        put_agent(&mut engine, &format!("s{n}"), &resources("cpus:4;mem:1024"));
        winners.extend(engine.round(Time(0)).into_iter().map(|offer| offer.client));
    }
    // 10 and 7, 6 and 7, 6 and 3, 2 and 3.
    assert_eq!(winners, [large, small, large, small]);
}

#[test]
fn higher_priorities_are_first_and_may_change_while_one_waits() {
    let mut engine = Engine::new(Options { offer_timeout: None, ..Options::default() });
    let (low, high) = (put_client(&mut engine, "low", "a", -1, 0), put_client(&mut engine, "high", "b", 5, 0));
    put_agent(&mut engine, "s0", &resources("cpus:4;mem:1024"));
    put_agent(&mut engine, "s1", &resources("cpus:4;mem:1024"));
    assert!(engine.round(Time(0)).iter().all(|offer| offer.client == high));
    put_client(&mut engine, "low", "a", 7, 0);
    put_agent(&mut engine, "s2", &resources("cpus:4;mem:1024"));
    assert!(engine.round(Time(0)).iter().all(|offer| offer.client == low));
    engine.check().unwrap();
}

/// Runs `tasks` equal tasks; `oldest_first` uses offers in the order in which they came and keeps the others.
fn place(placement: Placement, agents: usize, tasks: usize, oldest_first: bool) -> Vec<u64> {
    let mut engine = Engine::new(Options { placement, offer_timeout: None, ..Options::default() });
    for n in 0..agents {
        put_agent(&mut engine, &format!("s{n}"), &resources("cpus:64;mem:256GB"));
    }
    let client = hungry(&mut engine, "f", "web");
    let task = Bundle::from(&resources("cpus:0.25;mem:512"));
    let mut waiting = std::collections::VecDeque::new();
    for _ in 0..tasks {
        waiting.extend(engine.round(Time(0)));
        let offer = loop {
            let offer = waiting.pop_front().unwrap();
            if offer.bundle.contains(&task) {
                break offer;
            }
            engine.close_offer(offer.number);
            waiting.extend(engine.round(Time(0)));
        };
        engine.close_offer(offer.number);
        engine.allocate(offer.agent, client, &task);
        if !oldest_first {
            for other in waiting.drain(..) {
                engine.close_offer(other.number);
            }
        }
    }
    for offer in waiting {
        engine.close_offer(offer.number);
    }
    engine.check().unwrap();
    (0..agents).map(|n| engine.fullness_ppm(engine.find_agent(&AgentId::new(format!("s{n}"))).unwrap())).collect()
}

/// The busiest agent is within a tenth of the mean.
#[test]
fn spread_evens_load_out() {
    // With every other offer declined each time a round looks at all agents, so the smaller cluster will do here.
    for (agents, tasks, oldest_first) in [(100, 10_000, true), (20, 2000, false)] {
        let full = place(Placement::Spread, agents, tasks, oldest_first);
        let mean = full.iter().sum::<u64>() / agents as u64;
        let busiest = *full.iter().max().unwrap();
        assert!(busiest * 10 <= mean * 11, "{oldest_first}: {busiest} ppm, {mean} on the average");
    }
}

#[test]
fn binpack_leaves_the_most_agents_empty() {
    let full = place(Placement::Binpack, 20, 1000, false);
    // 256 of these tasks fill an agent.
    assert_eq!(full.iter().filter(|ppm| **ppm > 0).count(), 4, "{full:?}");
}

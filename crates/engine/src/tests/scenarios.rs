//! Tables that say what the engine does, stage by stage, and are true: each command's answer stands below it.
//!
//! A line that begins with `> ` is a command; the lines up to the next empty one or command are its answer. A
//! heading (`# `) begins a new cluster. Everything else is prose. The engine's reference decides every table too.
//!
//! | command | |
//! |---|---|
//! | `agent s1 cpus:4;mem:8GB rack:r1` | an agent, and its attributes |
//! | `agent s1 drains` | it is not offered any more |
//! | `client f1 in web priority 2 minimum cpus:2 only rack=r1 can gpus` | a framework wants offers in a role |
//! | `client f1 in web leaves` | it wants none any more |
//! | `role web weight 2 limit cpus:4 guarantee cpus:2 placement binpack` | all that is set for a role |
//! | `policy fifo` | whose turn it is |
//! | `round` | a round of offers: number, framework and role, agent, what |
//! | `accept 0 cpus:1;mem:10 refuse 5` | launches a task out of an offer; the rest is refused for seconds |
//! | `decline 0 refuse 5`, `decline all` | |
//! | `end f1 in web on s1` | its oldest task there ends |
//! | `time 5` | seconds pass |
//! | `revive f1 in web` | forgets what it refused |
//! | `request f1 in web cpus:8 x2` | what it would like |
//! | `need big of f1 in web cpus:8 x2 for 60` | room to gather, for seconds |
//! | `needs`, `role? web`, `free s1` | what there is to see |

use mesos_model::{Resources, attribute, resources_text::milli_text};

use super::{
    reference::Key,
    world::{World, amounts, key, request, resources},
};
use crate::{
    Abilities, AgentFacts, ClientFacts, Options, Policy,
    facts::{Amounts, Constraint, Constraints, Predicate, Request, RoleFacts, Selector},
};

/// Plays a table; what is answered must be what it says.
fn tell(table: &str) {
    let mut world = World::new(Options { offer_timeout: None, ..Options::default() });
    let mut told = String::new();
    let mut lines = table.lines().peekable();
    while let Some(line) = lines.next() {
        told.push_str(line);
        told.push('\n');
        if line.starts_with("# ") {
            world = World::new(Options { offer_timeout: None, ..Options::default() });
        }
        let Some(command) = line.strip_prefix("> ") else { continue };
        for answer in carry_out(&mut world, command) {
            told.push_str(&answer);
            told.push('\n');
        }
        world.compare().unwrap();
        while lines.peek().is_some_and(|line| !line.is_empty() && !line.starts_with("> ")) {
            lines.next();
        }
    }
    assert!(told == table, "the table is not true; this would be:\n{told}");
}

/// The words after a word.
fn after<'a>(words: &[&'a str], word: &str) -> Option<&'a str> {
    words.iter().position(|other| *other == word).map(|at| words[at + 1])
}

fn seconds(words: &[&str], word: &str) -> Option<u64> {
    after(words, word).map(|text| text.parse::<u64>().unwrap() * 1000)
}

fn client_of(words: &[&str]) -> Key {
    let at = words.iter().position(|word| *word == "in").unwrap();
    key(words[at - 1], words[at + 1])
}

fn carry_out(world: &mut World, command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[0] {
        "agent" => agent(world, &words),
        "client" => client(world, &words),
        "role" => world.set_role(words[1], role(&words)),
        "policy" => world.set_policy(match words[1] {
            "fifo" => Policy::Fifo,
            "drc" => Policy::Drc,
            "random" => Policy::Random,
            _ => Policy::Drf,
        }),
        "round" => return round(world),
        "accept" => {
            let (client, agent, _) = world.close(words[1].parse().unwrap(), None);
            let what = resources(words[2]);
            world.allocate(agent, &client, &what);
            world.launched(&client, &what);
            if let Some(ms) = seconds(&words, "refuse") {
                let rest = world.engine.free(agent);
                refuse(world, &client, agent, &rest, ms);
            }
        }
        "decline" => {
            let all = world.engine.offer_numbers();
            let numbers = if words[1] == "all" { all } else { vec![words[1].parse().unwrap()] };
            for number in numbers {
                world.close(number, seconds(&words, "refuse"));
            }
        }
        "end" => {
            let (client, agent) = (client_of(&words), world.slot(after(&words, "on").unwrap()));
            let held = &world.reference.agents[&agent.0].held;
            let n = held.iter().position(|(of, _)| *of == client).unwrap();
            world.release(agent, n);
        }
        "time" => world.tick(words[1].parse::<u64>().unwrap() * 1000),
        "revive" => world.revive(&client_of(&words)),
        "request" | "need" => ask(world, &words),
        "needs" => return needs(world),
        "role?" => {
            let state = world.engine.roles().into_iter().find(|state| state.role.as_str() == words[1]).unwrap();
            let share = state.share_ppm as f64 / 10_000.0;
            return vec![format!("counts {}; share {share:.1} %", amounts_text(&state.consumed))];
        }
        "free" => {
            let slot = world.slot(words[1]);
            return vec![text(&world.engine.free(slot))];
        }
        other => panic!("'{other}' is no command"),
    }
    Vec::new()
}

fn refuse(world: &mut World, client: &Key, agent: crate::AgentSlot, what: &Resources, ms: u64) {
    let slot = world.client(client);
    let until = world.now().0 + ms;
    world.engine.refuse(slot, agent, &crate::Bundle::from(what), mesos_model::Time(until));
    world.reference.refuse(client, agent.0, what, until);
}

fn agent(world: &mut World, words: &[&str]) {
    let slot = world.slot(words[1]);
    let known = world.reference.agents[&slot.0].facts.clone();
    let facts = if words[2] == "drains" {
        AgentFacts { offerable: false, ..known }
    } else {
        AgentFacts {
            total: resources(words[2]),
            hostname: words[1].to_owned(),
            attributes: words.get(3).map(|text| attribute::parse(text).unwrap()).unwrap_or_default(),
            counted: true,
            offerable: true,
            ..AgentFacts::default()
        }
    };
    world.put_agent(words[1], facts);
}

fn client(world: &mut World, words: &[&str]) {
    let constraint = after(words, "only").map(|text| {
        let (name, value) = text.split_once('=').unwrap();
        let selector = if name == "hostname" { Selector::Hostname } else { Selector::Attribute(name.into()) };
        Constraints { groups: vec![vec![Constraint { selector, predicate: Predicate::TextMatches(value.into()) }]] }
    });
    let can = |ability: &str| words.iter().skip_while(|word| **word != "can").any(|word| *word == ability);
    let facts = ClientFacts {
        hungry: !words.contains(&"leaves"),
        abilities: Abilities {
            gpus: can("gpus"),
            refined: can("refined"),
            revocable: can("revocable"),
            ..Abilities::default()
        },
        minimum: after(words, "minimum").map(|text| vec![resources(text)]),
        constraints: constraint,
        priority: after(words, "priority").map_or(0, |text| text.parse().unwrap()),
    };
    world.put_client(&client_of(words), facts);
}

fn role(words: &[&str]) -> RoleFacts {
    RoleFacts {
        weight: after(words, "weight").map_or(1000, |text| (text.parse::<f64>().unwrap() * 1000.0) as u64),
        limit: after(words, "limit").map(amounts).unwrap_or_default(),
        guarantee: after(words, "guarantee").map(amounts).unwrap_or_default(),
        placement: after(words, "placement").map(|text| text.parse().unwrap()),
    }
}

fn round(world: &mut World) -> Vec<String> {
    let made = world.round().unwrap();
    if made.is_empty() {
        return vec!["nothing".to_owned()];
    }
    let name = |at: u32| world.agents().into_iter().find(|slot| slot.0 == at).map(|slot| world.engine.agent_id(slot));
    let line = |(number, framework, role, agent, bundle): &super::reference::Made| {
        format!("offer {number} {framework}/{role} {} {}", name(*agent).unwrap(), text(bundle))
    };
    made.iter().map(line).collect()
}

fn ask(world: &mut World, words: &[&str]) {
    let at = words.iter().position(|word| *word == "in").unwrap();
    let count = words[at + 3].trim_start_matches('x').parse().unwrap();
    let asked = Request { hold_ms: seconds(words, "for"), ..request(words[at + 2], count) };
    let name = if words[0] == "need" { words[1] } else { "" };
    world.request(&client_of(words), &[Request { name: name.into(), ..asked }]);
}

fn needs(world: &World) -> Vec<String> {
    let lines = world.engine.needs().into_iter().map(|need| {
        let held: Vec<String> = need.held.iter().map(|(agent, what)| format!("{agent} {}", text(what))).collect();
        let held = if held.is_empty() { "nothing".to_owned() } else { held.join(", ") };
        format!(
            "{}: room for {} of {}, holds {held}; waits for {}",
            need.name, need.gathered, need.count, need.waits_for
        )
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { vec!["no needs".to_owned()] } else { lines }
}

fn text(what: &Resources) -> String {
    if what.is_empty() { "nothing".to_owned() } else { what.to_string().replace("; ", ";") }
}

fn amounts_text(amounts: &Amounts) -> String {
    let parts: Vec<String> = amounts.iter().map(|(name, milli)| format!("{name}:{}", milli_text(*milli))).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(";") }
}

#[test]
fn shares_and_weights_are_as_told() {
    tell(include_str!("scenarios/shares.txt"));
}

#[test]
fn the_hierarchy_is_as_told() {
    tell(include_str!("scenarios/hierarchy.txt"));
}

#[test]
fn limits_are_as_told() {
    tell(include_str!("scenarios/limits.txt"));
}

#[test]
fn guarantees_are_as_told() {
    tell(include_str!("scenarios/guarantees.txt"));
}

#[test]
fn reservations_are_as_told() {
    tell(include_str!("scenarios/reservations.txt"));
}

#[test]
fn filters_are_as_told() {
    tell(include_str!("scenarios/filters.txt"));
}

#[test]
fn constraints_are_as_told() {
    tell(include_str!("scenarios/constraints.txt"));
}

#[test]
fn placements_are_as_told() {
    tell(include_str!("scenarios/placement.txt"));
}

#[test]
fn priorities_and_policies_are_as_told() {
    tell(include_str!("scenarios/priorities.txt"));
}

#[test]
fn needs_are_as_told() {
    tell(include_str!("scenarios/needs.txt"));
}

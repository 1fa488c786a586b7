//! What all played scenarios share: small clusters without faults of their own, and waiting for what must come.

use mesos_core::{
    message::ToAgent,
    row::{Row, service},
};
use mesos_sim::{
    net::{Node, Payload, Tracing},
    node::framework::Framework,
    plan::{Plan, Temper},
    rng::Rng,
    world::World,
};

pub(crate) fn one_task() -> Temper {
    Temper { tasks_max: 1, run_max_ms: 1000, ..Temper::default() }
}

pub(crate) fn for_ever() -> Temper {
    Temper { tasks_max: 4, run_for_ever: 10_000, ..Temper::default() }
}

pub(crate) fn world(frameworks: Vec<Temper>) -> World {
    planned(Plan { frameworks, ..Plan::calm() })
}

pub(crate) fn planned(plan: Plan) -> World {
    World::new(Rng::new(4), plan, Tracing::Kept)
}

/// Lets things happen until `done`, which must be within so many milliseconds.
pub(crate) fn until_within(world: &mut World, ms: u64, what: &str, done: impl FnMut(&World) -> bool) {
    let came = world.run_while_not(ms, done);
    let lines: Vec<_> = world.net.lines.iter().cloned().collect();
    assert!(came, "{what} did not come to be: {:?}\n{}", world.violation(), lines.join("\n"));
}

pub(crate) fn pass(world: &mut World, ms: u64) {
    let elapsed = world.net.elapsed();
    assert!(world.run_until(elapsed + ms), "{:?}", world.violation());
}

pub(crate) fn running(world: &World) -> usize {
    world.net.hosts.values().map(|host| host.running().count()).sum()
}

pub(crate) fn rows(world: &World, service: &str, of: fn(&Row) -> bool) -> usize {
    world.net.ledgers.get(service).map_or(0, |ledger| ledger.rows.values().filter(|row| of(row)).count())
}

pub(crate) fn launches(world: &World) -> usize {
    rows(world, service::ALLOCATOR, |row| matches!(row, Row::Launch(_)))
}

pub(crate) fn leader(world: &World, registry: bool) -> Node {
    let (allocators, registries) = world.leaders();
    let leaders = if registry { registries } else { allocators };
    leaders.first().expect("somebody leads").0
}

pub(crate) fn only(world: &World) -> &Framework {
    world.frameworks.values().next().expect("there is one")
}

pub(crate) fn stop_launching(world: &mut World) {
    world.frameworks.values_mut().for_each(|framework| framework.idle = true);
}

pub(crate) fn is_orders(payload: &Payload) -> bool {
    matches!(payload, Payload::Agent(messages) if messages.iter().any(|m| matches!(m, ToAgent::Orders { .. })))
}

//! One seed from its draw to its verdict: faults, then healing, then what must have come.

use mesos_core::{
    allocation,
    message::Amounts,
    row::{AgentState, FrameworkRow, FrameworkState, Row, RowKey, service},
};
use mesos_model::{FrameworkId, Resources, Role, TaskState, Time};

use crate::{
    host::Phase,
    invariants::Violation,
    net::{Node, Tracing},
    node::operator::Mood,
    plan::Plan,
    rng::Rng,
    world::World,
};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Everything follows from it.
    pub seed: u64,
    /// The faults end after so many events at the latest.
    pub events_max: u64,
    /// What becomes of the trace.
    pub tracing: Tracing,
    /// Nobody reserves, has a role, or operates: what seeds were before there was that.
    pub plain: bool,
}

impl Request {
    /// A seed, as it is run in a test.
    #[must_use]
    pub fn seed(seed: u64) -> Request {
        Request { seed, events_max: 200_000, tracing: Tracing::Off, plain: false }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What did not hold.
    pub violation: Option<Violation>,
    /// The last lines of the trace, if they were kept.
    pub lines: Vec<String>,
    /// The trace, folded; equal for equal runs.
    pub hash: u64,
    /// Events.
    pub events: u64,
    /// Tasks that ran.
    pub tasks: u64,
    /// Statuses that frameworks were told.
    pub statuses: u64,
}

/// Runs one seed.
#[must_use]
pub fn run(request: Request) -> Outcome {
    let mut rng = Rng::new(request.seed);
    let mut plan = Plan::draw(&mut rng);
    if !request.plain {
        // By numbers of its own, so that a plain run of a seed stays what it was.
        plan.draw_more(&mut Rng::new(!request.seed));
    }
    let mut world = World::new(rng, plan, request.tracing);
    if request.tracing == Tracing::Printed {
        println!("{:#?}", world.net.plan);
    }
    let fault_ms = world.net.plan.fault_ms;
    let until = world.net.start + fault_ms;
    while world.net.events < request.events_max && world.net.next_time().is_some_and(|time| time <= until) {
        if !world.step() {
            break;
        }
    }
    if world.violation().is_none() {
        recover(&mut world);
    }
    let seen = &world.net.seen;
    Outcome {
        violation: seen.violation.clone(),
        lines: world.net.lines.iter().cloned().collect(),
        hash: world.net.hash,
        events: world.net.events,
        tasks: seen.tasks_run,
        statuses: seen.statuses,
    }
}

/// The first of these seeds that breaks something, and what.
pub fn first_violation(seeds: impl IntoIterator<Item = u64>, events_max: u64) -> Option<(u64, Violation)> {
    seeds.into_iter().find_map(|seed| {
        let violation = run(Request { events_max, ..Request::seed(seed) }).violation?;
        Some((seed, violation))
    })
}

/// Heals everything, and sees that what must come comes in its time. What has come is not waited for any longer.
pub fn recover(world: &mut World) {
    world.heal();
    let healed = world.net.elapsed();
    type Check = fn(&World) -> Result<(), Violation>;
    let comes = |world: &mut World, by: u64, check: Check| {
        while let Err(late) = check(world) {
            let now = world.net.elapsed();
            if now >= healed + by {
                world.net.seen.late(late.invariant, late.text);
                return false;
            }
            if !world.run_until((now + LOOK).min(healed + by)) {
                return false;
            }
        }
        true
    };
    if !comes(world, 10_000, l1_one_leader_each) || !comes(world, 30_000, l2_every_agent_has_shaken_hands) {
        return;
    }
    // Frameworks go on for a while in a whole world.
    if !world.run_until(world.net.elapsed().max(healed + 10_000)) {
        return;
    }
    stop_launching(world);
    if !comes(world, 75_000, l3_every_task_is_known_as_it_is) {
        return;
    }
    end_everything(world);
    world.operator.mood = Mood::Clearing;
    if !comes(world, 190_000, l6_nothing_is_left) || !world.run_until(world.net.elapsed() + 5_000) {
        return;
    }
    world.operator.mood = Mood::Idle;
    l7_no_volume_is_left(world);
    l4_everything_free_is_offered(world);
    if world.violation().is_none() {
        l8_who_keeps_trying_launches(world);
    }
    if world.violation().is_none() {
        l5_guarantees_are_met(world);
    }
}

/// How often it is looked whether what must come has come, in milliseconds.
const LOOK: u64 = 2_000;

fn late(invariant: &'static str, text: String) -> Result<(), Violation> {
    Err(Violation { invariant, text })
}

/// L1: each service has one leader.
fn l1_one_leader_each(world: &World) -> Result<(), Violation> {
    let (allocators, registries) = world.leaders();
    for (name, leaders) in [("allocator", allocators), ("registry", registries)] {
        if leaders.len() != 1 {
            return late("L1", format!("the {name} has these leaders: {leaders:?}"));
        }
    }
    Ok(())
}

/// L2: every agent has shaken hands with the leader.
fn l2_every_agent_has_shaken_hands(world: &World) -> Result<(), Violation> {
    let (allocators, _) = world.leaders();
    let Some((_, term)) = allocators.first().copied() else {
        return late("L1", "nobody leads the allocator".to_owned());
    };
    let missing: Vec<Node> = world
        .agents
        .keys()
        .copied()
        .filter(|node| {
            let id = world.net.agent_ids.get(node);
            let row = world.allocator().and_then(|machine| machine.agents().find(|row| Some(&row.id) == id));
            !row.is_some_and(|row| row.handshake == term && row.state == AgentState::Active)
        })
        .collect();
    if missing.is_empty() { Ok(()) } else { late("L2", format!("{missing:?} have not shaken hands with {term:?}")) }
}

fn stop_launching(world: &mut World) {
    for framework in world.frameworks.values_mut() {
        framework.idle = true;
        framework.temper.kill = 0;
    }
}

fn end_everything(world: &mut World) {
    for framework in world.frameworks.values_mut() {
        framework.ending = true;
    }
}

/// What a host says of a task.
fn runs(world: &World, framework: &FrameworkId, task: &mesos_model::TaskId) -> Option<Phase> {
    let containers = world.net.hosts.values().flat_map(|host| host.containers.values());
    let mut of_task = containers.filter(|container| container.framework == *framework && container.task == *task);
    of_task.next().map(|container| container.phase.clone())
}

/// L3: every task of a living framework is known to it as it is.
fn l3_every_task_is_known_as_it_is(world: &World) -> Result<(), Violation> {
    let mut wrong = Vec::new();
    let rolled_back = world.net.seen.rolled_back;
    for framework in world.frameworks.values().filter(|framework| !framework.left) {
        if !framework.is_subscribed() {
            wrong.push("a framework is not subscribed".to_owned());
        }
        let Some(id) = &framework.id else { continue };
        for (name, task) in &framework.tasks {
            let truth = runs(world, id, name);
            let fits = match &truth {
                // A framework that knows nothing of partitions takes TASK_LOST for an end; a store that forgot that
                // it was told so does not take it back.
                Some(Phase::Running) if rolled_back && task.state == Some(TaskState::Lost) => {
                    !framework.temper.partition_aware
                }
                Some(Phase::Running) => matches!(task.state, Some(TaskState::Running | TaskState::Killing)),
                // It may have been ended a moment ago.
                Some(Phase::Preparing) => true,
                Some(Phase::Ended(_)) | None => task.over,
            };
            if !fits {
                wrong.push(format!("{name} is {truth:?}, and its framework was told {:?}", task.state));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { late("L3", wrong.join("; ")) }
}

/// L6: intents, updates and containers have drained.
fn l6_nothing_is_left(world: &World) -> Result<(), Violation> {
    let mut left = Vec::new();
    if let Some(machine) = world.allocator() {
        left.extend(machine.launches().map(|row| format!("launch {} with {:?}", row.launch, row.tasks)));
    }
    left.extend(world.operator.left_to_do(&world.net));
    if let Some(ledger) = world.net.ledgers.get(service::ALLOCATOR) {
        let operations = ledger.rows.keys().filter(|key| matches!(key, RowKey::Operation(_)));
        left.extend(operations.map(|key| format!("{} is under way", key.text())));
    }
    let (rolled_back, now) = (world.net.seen.rolled_back, Time(world.net.now));
    if let Some(machine) = world.registry() {
        for row in machine.tasks() {
            // A store that lost the commit of a TEARDOWN brings the framework back, and nobody comes for it: it is
            // removed when its failover timeout is over.
            let state = machine.framework(&row.framework).map(|row| row.state);
            let ours = world.frameworks.values().any(|framework| framework.id.as_ref() == Some(&row.framework));
            let waits = match state {
                Some(FrameworkState::Lost { .. }) => true,
                Some(FrameworkState::Disconnected { deadline }) => deadline > now,
                _ => false,
            };
            if rolled_back && !ours && waits {
                continue;
            }
            let pending = row.pending.len();
            let detail = (row.end_acknowledged, row.launch_seen, row.number);
            left.push(format!("task {} is {:?} with {pending} pending {detail:?}", row.task, row.state));
        }
    }
    left.extend(frameworks_that_should_be_removed(world));
    for host in world.net.hosts.values() {
        left.extend(host.running().map(|container| format!("{} runs", container.task)));
    }
    for (node, disk) in &world.net.disks {
        let executors = disk.rows.keys().filter(|key| matches!(key, mesos_core::row::RowKey::Executor(_)));
        left.extend(executors.map(|key| format!("{node} keeps {}", key.text())));
    }
    for framework in world.frameworks.values().filter(|framework| !framework.left) {
        let open = framework.tasks.iter().filter(|(_, task)| !task.over);
        left.extend(open.map(|(id, task)| format!("{id} is {:?} to its framework", task.state)));
    }
    left.truncate(8);
    if left.is_empty() { Ok(()) } else { late("L6", left.join("; ")) }
}

/// I14 and L7: once all reservations and volumes were taken back, agents have what they began with, and no directory
/// of a volume is left.
fn l7_no_volume_is_left(world: &mut World) {
    for (node, disk) in &world.net.disks {
        let rows = disk.rows.values().filter_map(|row| if let Row::AgentSelf(row) = row { Some(row) } else { None });
        let other = rows.map(|row| &row.total).find(|total| **total != world.net.plan.agent);
        if let Some(total) = other {
            let text = format!("{node} ends with {total}, and not with {}", world.net.plan.agent);
            return world.net.seen.late("I14", text);
        }
    }
    let left = world.net.hosts.iter().find(|(_, host)| !host.volumes.is_empty());
    if let Some((host, state)) = left {
        let text = format!("agent{host} keeps {} directories of volumes that are no more", state.volumes.len());
        world.net.seen.late("L7", text);
    }
}

/// L5: a guarantee that can be met is met, although others would take all there is.
fn l5_guarantees_are_met(world: &mut World) {
    let stays = world.frameworks.values().filter(|framework| framework.temper.leaves_at.is_none());
    let role = stays.map(|framework| framework.temper.role);
    let Some(role) = role.max().filter(|role| *role != "*").map(Role::from) else { return };
    let owed = |world: &World| {
        let row = world.allocator().and_then(|machine| machine.roles().into_iter().find(|view| view.role == role));
        let row = row.unwrap_or_default();
        let of = |amounts: &Amounts| amounts.get("cpus").copied().unwrap_or(0);
        (of(&row.guarantee), of(&row.allocated))
    };
    for framework in world.frameworks.values_mut() {
        framework.idle = true;
        framework.ending = true;
        // A framework may reserve what it is guaranteed and never use it.
        framework.temper.convert = 0;
    }
    world.operator.guarantee = Some((role.clone(), GUARANTEED));
    let settled = |world: &World| {
        world.frameworks.values().all(|framework| framework.left || framework.tasks.values().all(|task| task.over))
            && owed(world).0 == GUARANTEED
    };
    if !world.run_while_not(75_000, settled) {
        let (guarantee, _) = owed(world);
        return world.net.seen.late("L5", format!("{role} is to have a guarantee, and has {guarantee}"));
    }
    // The others come first, and keep what they get.
    for framework in world.frameworks.values_mut() {
        framework.ending = false;
        framework.idle = framework.temper.role == role.as_str();
        framework.temper.run_for_ever = 10_000;
        framework.temper.accept = 10_000;
        framework.temper.tasks_max = 40;
    }
    if !world.run_until(world.net.elapsed() + 4_000) {
        return;
    }
    for framework in world.frameworks.values_mut() {
        framework.idle = false;
    }
    let met = |world: &World| owed(world).1 >= GUARANTEED;
    if !world.run_while_not(75_000, met) && world.violation().is_none() {
        let (_, allocated) = owed(world);
        world.net.seen.late("L5", format!("{role} has {allocated} of cpus, and {GUARANTEED} are guaranteed"));
    }
}

/// What a role is guaranteed at the end, in thousandths of a CPU.
const GUARANTEED: i64 = 3_000;

/// I13: whose scheduler has gone for good is removed after its failover timeout, whoever leads.
fn frameworks_that_should_be_removed(world: &World) -> Vec<String> {
    let Some(machine) = world.registry() else { return Vec::new() };
    let gone =
        world.frameworks.values().filter(|framework| framework.left).filter_map(|framework| framework.id.as_ref());
    gone.filter_map(|id| machine.framework(id))
        .filter(|row| !matches!(row.state, FrameworkState::Removed { .. }))
        .map(|row| format!("{} is {:?}, and its scheduler is gone for good", row.id, row.state))
        .collect()
}

/// L8: a framework that keeps trying gets something to run.
fn l8_who_keeps_trying_launches(world: &mut World) {
    let mut before = Vec::new();
    for (node, framework) in &mut world.frameworks {
        framework.try_again();
        // Room comes up for everybody.
        framework.temper.run_for_ever = 0;
        framework.temper.run_max_ms = 1_000;
        before.push((*node, framework.launched()));
    }
    let waits = |world: &World| {
        let without = |(node, before): &&(Node, u64)| {
            world.frameworks.get(node).is_some_and(|framework| !framework.left && framework.launched() == *before)
        };
        before.iter().find(without).map(|(node, _)| *node)
    };
    // All there is may be out in offers that somebody sat on until the faults were over: they run out after a minute.
    if !world.run_while_not(75_000, |world| waits(world).is_none())
        && let Some(node) = waits(world)
    {
        world.net.seen.late("L8", format!("{node} got nothing to run"));
    }
}

/// L4: whatever is free is offered, or refused for a while by everybody.
fn l4_everything_free_is_offered(world: &mut World) {
    // Frameworks decline for a second at most; in between everything is offered.
    let hungry = |row: &FrameworkRow| row.state == FrameworkState::Connected && row.suppressed.is_empty();
    let connected = world.registry().is_some_and(|machine| machine.frameworks().any(hungry));
    let before = world.allocator().map(|machine| machine.metrics().offers_made);
    let until = world.net.elapsed() + 4000;
    if !world.run_until(until) {
        return;
    }
    let free: Vec<String> = world
        .allocator()
        .into_iter()
        .flat_map(|machine| {
            machine.agents().filter(|row| row.state == AgentState::Active).filter_map(|row| {
                let allocated = machine.allocated(&row.id);
                let sum = machine.free(&row.id).plus(&machine.offered(&row.id));
                (!allocated.is_empty() || sum != world.net.plan.agent)
                    .then(|| format!("{} has {sum} and {allocated}", row.id))
            })
        })
        .collect();
    let after = world.allocator().map(|machine| machine.metrics().offers_made);
    // Who sits on its offers holds all there is, and nothing is left that is worth an offer.
    let least = allocation::Options::default().min_allocatable;
    let offerable = |free: &Resources| least.iter().any(|least| free.contains(least));
    let all_out =
        world.allocator().is_some_and(|machine| machine.agents().all(|row| !offerable(&machine.free(&row.id))));
    if connected && ((before >= after && !all_out) || !free.is_empty()) {
        world.net.seen.late("L4", format!("offers went from {before:?} to {after:?}; {free:?}"));
    }
    let is_connected = |id: &FrameworkId| {
        let row = world.registry().and_then(|machine| machine.framework(id));
        row.is_some_and(|row| row.state == FrameworkState::Connected)
    };
    let subscribed = world.frameworks.values().filter(|framework| framework.is_subscribed());
    let lost: Vec<FrameworkId> =
        subscribed.filter_map(|framework| framework.id.clone()).filter(|id| !is_connected(id)).collect();
    if !lost.is_empty() {
        world.net.seen.late("L3", format!("{lost:?} have a stream, and the registry does not know"));
    }
}

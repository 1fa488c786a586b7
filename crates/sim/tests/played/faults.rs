//! Faults of the catalogue (`docs/faults.md`).

use mesos_core::{
    message::{AgentToAllocator, ToAllocator},
    row::{AgentState, FrameworkState, Row, service},
};
use mesos_model::TaskState;
use mesos_sim::{
    net::{Node, Payload},
    plan::{Plan, Temper},
    world::World,
};

use super::play::{
    for_ever, is_orders, launches, leader, one_task, only, pass, planned, rows, running, stop_launching, until_within,
    world,
};

const SECOND: u64 = 1000;

fn until(world: &mut World, what: &str, done: impl FnMut(&World) -> bool) {
    until_within(world, 90 * SECOND, what, done);
}

fn unreachable(world: &World) -> usize {
    rows(
        world,
        service::ALLOCATOR,
        |row| matches!(row, Row::Agent(row) if matches!(row.state, AgentState::Unreachable { .. })),
    )
}

fn told(world: &World, state: TaskState) -> usize {
    world.frameworks.values().flat_map(|f| f.tasks.values()).filter(|task| task.state == Some(state)).count()
}

/// Four tasks that run for ever, and nothing else to come.
fn steady() -> World {
    let mut world = world(vec![for_ever()]);
    until(&mut world, "tasks", |world| running(world) == 4 && told(world, TaskState::Running) == 4);
    stop_launching(&mut world);
    world
}

#[test]
fn f1_offers_of_a_leader_that_died_after_its_commit_are_made_again() {
    let mut world = world(vec![one_task()]);
    // No offer is ever heard of, as if the leader had always died between its commit and its word.
    let offers = |payload: &Payload| matches!(payload, Payload::Streams(_));
    world.net.filter = Some(Box::new(move |from, _, payload| !(matches!(from, Node::Allocator(_)) && offers(payload))));
    until(&mut world, "offers", |world| world.allocator().is_some_and(|m| m.metrics().offers_outstanding == 3));
    let dead = leader(&world, false);
    world.crash(dead);
    world.net.filter = None;
    until(&mut world, "a task", |world| world.net.seen.tasks_run > 0);
}

#[test]
fn f2_what_a_service_said_before_it_died_has_no_second_effect_when_it_is_said_again() {
    let plan = Plan { duplicate: 10_000, frameworks: vec![one_task(), one_task()], ..Plan::calm() };
    let mut world = planned(plan);
    for registry in [true, false, true, false] {
        pass(&mut world, 5 * SECOND);
        let dead = leader(&world, registry);
        world.bounce(dead, 500);
    }
    pass(&mut world, 20 * SECOND);
    assert!(world.net.seen.tasks_run > 20, "{} ran", world.net.seen.tasks_run);
}

#[test]
fn f4_a_leader_that_was_stopped_for_longer_than_its_lease_changes_nothing_and_is_not_obeyed() {
    let mut world = world(vec![one_task(), for_ever()]);
    for registry in [false, true] {
        pass(&mut world, 5 * SECOND);
        let stopped = leader(&world, registry);
        world.pause(stopped);
        pass(&mut world, 10 * SECOND);
        let (allocators, registries) = world.leaders();
        let believe = if registry { registries.len() } else { allocators.len() };
        assert_eq!(believe, 2, "the stopped one does not know yet that another one leads");
        world.resume(stopped);
        pass(&mut world, 10 * SECOND);
        let (allocators, registries) = world.leaders();
        assert_eq!((allocators.len(), registries.len()), (1, 1));
    }
}

#[test]
fn f6_a_promoted_replica_that_lacks_commits_costs_no_task_and_no_update() {
    let mut world = steady();
    for count in [1, 5, 20] {
        world.roll_back(service::ALLOCATOR, count);
        world.roll_back(service::REGISTRY, count);
        pass(&mut world, 20 * SECOND);
        assert_eq!((running(&world), told(&world, TaskState::Running)), (4, 4));
    }
}

#[test]
fn f11_a_store_that_stalls_for_five_seconds_costs_no_task_and_one_leader_remains() {
    let mut world = steady();
    for _ in 0..3 {
        world.net.stalled_until = world.net.now + 5 * SECOND;
        pass(&mut world, 15 * SECOND);
        let (allocators, registries) = world.leaders();
        assert_eq!((allocators.len(), registries.len(), running(&world)), (1, 1, 4));
    }
    world.frameworks.values_mut().for_each(|framework| framework.idle = false);
    world.frameworks.values_mut().for_each(|framework| framework.temper.tasks_max = 5);
    until(&mut world, "another task", |world| running(world) == 5);
}

#[test]
fn f12_a_wiped_store_is_filled_again_by_those_who_know() {
    let mut world = steady();
    let id = only(&world).id.clone();
    world.wipe();
    pass(&mut world, 40 * SECOND);
    assert_eq!((running(&world), only(&world).id.clone()), (4, id));
    assert_eq!(launches(&world), world.allocator().map_or(0, |machine| machine.launches_count()));
    assert_eq!(world.registry().map(|machine| machine.tasks().count()), Some(4));
    let held: usize = world.allocator().map_or(0, |machine| machine.launches().map(|row| row.tasks.len()).sum());
    assert_eq!(held, 4, "the allocator knows what its agents hold");
}

#[test]
fn f17_an_agent_that_is_cut_off_runs_its_tasks_and_its_updates_wait_for_it() {
    let mut world = world(vec![Temper { run_max_ms: 8_000, ..one_task() }]);
    until(&mut world, "a task", |world| running(world) == 1);
    stop_launching(&mut world);
    let host = *world.net.hosts.iter().find(|(_, host)| host.running().count() == 1).expect("it runs").0;
    world.cut(Node::Agent(host));
    until(&mut world, "its end", |world| running(world) == 0);
    pass(&mut world, 5 * SECOND);
    assert!(only(&world).tasks.values().any(|task| !task.over), "nobody can know");
    world.join(Node::Agent(host));
    until(&mut world, "the news", |world| only(world).tasks.values().all(|task| task.over));
    assert_eq!(told(&world, TaskState::Finished) + told(&world, TaskState::Failed), 1);
}

#[test]
fn f18_after_a_minute_without_any_bus_everything_is_said_again() {
    let mut world = world(vec![Temper { run_max_ms: 20_000, tasks_max: 4, ..Temper::default() }]);
    until(&mut world, "tasks", |world| running(world) == 4);
    stop_launching(&mut world);
    let nodes: Vec<Node> = world.net.processes.keys().copied().filter(|n| !matches!(n, Node::Framework(_))).collect();
    nodes.iter().for_each(|node| world.cut(*node));
    pass(&mut world, 60 * SECOND);
    nodes.iter().for_each(|node| world.join(*node));
    let healed = world.net.now;
    until(&mut world, "all ends", |world| only(world).tasks.values().all(|task| task.over) && launches(world) == 0);
    assert!(world.net.now - healed < 15 * SECOND, "it took {} ms", world.net.now - healed);
}

#[test]
fn f19_while_most_messages_are_lost_tasks_come_and_go_all_the_same() {
    let plan = Plan { loss: 4_000, frameworks: vec![one_task(), one_task()], ..Plan::calm() };
    let mut world = planned(plan);
    pass(&mut world, 120 * SECOND);
    let ran = world.net.seen.tasks_run;
    assert!(ran > 5, "{ran} ran");
    world.heal();
    stop_launching(&mut world);
    until(&mut world, "all ends", |world| {
        world.frameworks.values().all(|f| f.tasks.values().all(|task| task.over)) && launches(world) == 0
    });
}

#[test]
fn f20_every_message_may_come_again_a_minute_later() {
    let plan = Plan { duplicate: 10_000, frameworks: vec![one_task(), one_task()], ..Plan::calm() };
    let mut world = planned(plan);
    pass(&mut world, 150 * SECOND);
    assert!(world.net.seen.tasks_run > 50, "{} ran", world.net.seen.tasks_run);
    stop_launching(&mut world);
    until(&mut world, "all ends", |world| launches(world) == 0);
}

#[test]
fn f21_messages_may_overtake_each_other() {
    let plan = Plan { reorder: 10_000, bus_delay_ms: 2_000, frameworks: vec![one_task(); 3], ..Plan::calm() };
    let mut world = planned(plan);
    for _ in 0..4 {
        pass(&mut world, 30 * SECOND);
        let dead = leader(&world, false);
        world.bounce(dead, 500);
    }
    assert!(world.net.seen.tasks_run > 10, "{} ran", world.net.seen.tasks_run);
}

#[test]
fn f22_a_kill_that_comes_before_its_launch_is_not_forgotten() {
    let mut world = world(vec![Temper { run_for_ever: 10_000, ..one_task() }]);
    world.net.filter = Some(Box::new(|_, _, payload| !is_orders(payload)));
    until(&mut world, "a launch", |world| launches(world) > 0);
    world.frameworks.values_mut().for_each(|framework| {
        framework.idle = true;
        framework.ending = true;
    });
    // The kill is in the registry's row; the leader who was to order it dies.
    pass(&mut world, 2 * SECOND);
    world.frameworks.values_mut().for_each(|framework| framework.ending = false);
    let dead = leader(&world, false);
    world.crash(dead);
    world.net.filter = None;
    until(&mut world, "the end", |world| only(world).tasks.values().all(|task| task.over) && launches(world) == 0);
    pass(&mut world, 30 * SECOND);
    assert_eq!(running(&world), 0);
}

#[test]
fn f28_a_request_whose_outcome_is_unknown_is_done_once() {
    let plan = Plan { unknown_outcome: 3_000, frameworks: vec![one_task(), one_task()], ..Plan::calm() };
    let mut world = planned(plan);
    let mut n = 0;
    // Every second answer to a gateway is lost, so that it asks again.
    world.net.filter = Some(Box::new(move |_, to, payload| {
        n += 1;
        !(matches!(to, Node::Gateway(_)) && matches!(payload, Payload::Answer(..)) && n % 2 == 0)
    }));
    pass(&mut world, 90 * SECOND);
    assert!(world.net.seen.tasks_run > 20, "{} ran", world.net.seen.tasks_run);
}

#[test]
fn f31_an_agent_that_restarts_takes_its_tasks_up_where_they_are() {
    let mut world = world(vec![Temper { run_max_ms: 6_000, tasks_max: 6, ..Temper::default() }]);
    until(&mut world, "tasks", |world| running(world) == 6);
    stop_launching(&mut world);
    for host in 0..3 {
        world.bounce(Node::Agent(host), 8 * SECOND);
    }
    // Some end while their agent is away.
    until(&mut world, "all ends", |world| only(world).tasks.values().all(|task| task.over));
    assert_eq!(told(&world, TaskState::Finished) + told(&world, TaskState::Failed), only(&world).tasks.len());
}

#[test]
fn f33_nothing_is_killed_when_agents_and_leaders_restart_together() {
    let mut world = steady();
    for _ in 0..3 {
        let leaders = [leader(&world, false), leader(&world, true)];
        for node in leaders.into_iter().chain((0..3).map(Node::Agent)) {
            world.bounce(node, 2 * SECOND);
        }
        pass(&mut world, 30 * SECOND);
        assert_eq!((running(&world), told(&world, TaskState::Running)), (4, 4));
    }
    assert_eq!(world.net.seen.tasks_run, 4);
}

#[test]
fn f34_who_is_away_for_too_long_and_returns_has_its_tasks_still() {
    for (partition_aware, away) in [(true, TaskState::Unreachable), (false, TaskState::Lost)] {
        let mut world = world(vec![Temper { partition_aware, ..for_ever() }]);
        until(&mut world, "tasks", |world| running(world) == 4 && told(world, TaskState::Running) == 4);
        stop_launching(&mut world);
        let host = *world.net.hosts.iter().max_by_key(|(_, host)| host.running().count()).expect("one").0;
        let there = world.net.hosts[&host].running().count();
        world.cut(Node::Agent(host));
        until(&mut world, "its absence", |world| told(world, away) == there);
        pass(&mut world, 60 * SECOND);
        world.join(Node::Agent(host));
        until(&mut world, "its return", |world| told(world, TaskState::Running) == 4);
        assert_eq!((running(&world), world.net.seen.tasks_run), (4, 4));
    }
}

#[test]
fn f37_tasks_of_a_host_that_booted_end_once_and_do_not_run_again() {
    let mut world = steady();
    let mut strikes = Plan { strike: 10_000, frameworks: vec![for_ever()], ..Plan::calm() };
    strikes.frameworks[0].tasks_max = 8;
    for host in 0..3 {
        world.reboot(host, 2 * SECOND);
    }
    until(&mut world, "their ends", |world| only(world).tasks.values().all(|task| task.over));
    pass(&mut world, 30 * SECOND);
    assert_eq!((running(&world), world.net.seen.tasks_run), (0, 4));
    // Also when it boots just after a container was started, and before anybody wrote that down.
    let mut world = planned(strikes);
    for round in 0..40 {
        pass(&mut world, SECOND);
        world.reboot(round % 3, 500);
    }
}

#[test]
fn f53_a_framework_is_kept_until_its_failover_timeout_and_removed_after_it_whoever_leads() {
    let mut world = world(vec![Temper { failover_ms: 100_000, ..for_ever() }]);
    until(&mut world, "tasks", |world| running(world) == 4);
    let framework = Node::Framework(0);
    world.crash(framework);
    pass(&mut world, 30 * SECOND);
    let dead = leader(&world, true);
    world.bounce(dead, 1000);
    pass(&mut world, 60 * SECOND);
    assert_eq!(running(&world), 4, "90 s are not over its timeout");
    pass(&mut world, 15 * SECOND);
    let removed = |world: &World| {
        rows(
            world,
            service::REGISTRY,
            |row| matches!(row, Row::Framework(row) if matches!(row.state, FrameworkState::Removed { .. })),
        )
    };
    assert_eq!(removed(&world), 1);
    until(&mut world, "the end of its tasks", |world| running(world) == 0);
}

#[test]
fn f55_an_offer_that_is_accepted_twice_counts_once() {
    let eager = Temper { accept_twice: 10_000, run_max_ms: 500, tasks_max: 12, ..Temper::default() };
    let mut world = world(vec![eager.clone(), eager]);
    pass(&mut world, 60 * SECOND);
    assert!(world.net.seen.tasks_run > 50, "{} ran", world.net.seen.tasks_run);
}

#[test]
fn f56_a_status_that_is_lost_on_its_way_is_told_again() {
    let mut world = world(vec![one_task()]);
    let mut n = 0;
    // Three of four words of agents to the registry are lost, and of the registry to frameworks.
    world.net.filter = Some(Box::new(move |_, _, payload| {
        n += 1;
        !(matches!(payload, Payload::Registry(_) | Payload::Streams(_)) && n % 4 != 0)
    }));
    until(&mut world, "a task", |world| world.net.seen.tasks_run > 0);
    stop_launching(&mut world);
    until(&mut world, "its end", |world| only(world).tasks.values().all(|task| task.over));
}

#[test]
fn f57_acknowledgements_may_be_lost_late_twice_and_wrong() {
    let sloppy = Temper {
        ack_forgotten: 3_000,
        ack_late: 3_000,
        ack_twice: 5_000,
        ack_wrong: 5_000,
        run_max_ms: 500,
        ..Temper::default()
    };
    let mut world = world(vec![sloppy.clone(), sloppy]);
    pass(&mut world, 120 * SECOND);
    assert!(world.net.seen.tasks_run > 30, "{} ran", world.net.seen.tasks_run);
    stop_launching(&mut world);
    world.frameworks.values_mut().for_each(|framework| framework.temper = framework.temper.reformed());
    let over = |world: &World| world.frameworks.values().all(|f| f.tasks.values().all(|task| task.over));
    until(&mut world, "all ends", |world| over(world) && launches(world) == 0);
}

#[test]
fn f59_what_a_framework_sits_on_is_taken_back_and_offered_to_others() {
    let hoarder = Temper { hoard: 10_000, ..Temper::default() };
    let mut world = world(vec![hoarder, one_task()]);
    until(&mut world, "a task of the other one", |world| world.net.seen.tasks_run > 0);
    until(&mut world, "offers that ran out", |world| {
        world.allocator().is_some_and(|machine| machine.metrics().offers_rescinded > 0)
    });
}

#[test]
fn f61_the_streams_of_a_gateway_that_died_go_on_elsewhere_and_miss_nothing() {
    let quick = Temper { failover_ms: 0, run_max_ms: 2_000, ..one_task() };
    let mut world = world(vec![quick; 3]);
    for round in 0..6u8 {
        pass(&mut world, 4 * SECOND);
        world.bounce(Node::Gateway(round % 2), 3 * SECOND);
    }
    pass(&mut world, 20 * SECOND);
    assert!(world.frameworks.values().all(|framework| framework.former.is_empty()), "an id was taken away");
    stop_launching(&mut world);
    until(&mut world, "all ends", |world| {
        world.frameworks.values().all(|f| f.tasks.values().all(|task| task.over)) && launches(world) == 0
    });
}

#[test]
fn f84_who_listens_for_agents_and_is_cut_off_itself_gives_none_of_them_up() {
    let mut world = steady();
    let leader = leader(&world, false);
    world.cut(leader);
    pass(&mut world, 60 * SECOND);
    assert_eq!(unreachable(&world), 0);
    world.join(leader);
    pass(&mut world, 12 * SECOND);
    assert_eq!(unreachable(&world), 0, "everybody gets a full timeout");
    // And of all agents that fall silent at once one a minute is given up, since it is rather the network.
    let beats = |payload: &Payload| {
        matches!(payload, Payload::Allocator(messages) if messages.iter().any(|message| {
            matches!(message, ToAllocator::Agent(AgentToAllocator::Beat { .. } | AgentToAllocator::Report(_)))
        }))
    };
    world.net.filter = Some(Box::new(move |_, _, payload| !beats(payload)));
    pass(&mut world, 50 * SECOND);
    assert_eq!(unreachable(&world), 1);
}

//! The hard cases of the protocol between services.

use mesos_core::{
    message::ToAgent,
    row::{Row, service},
};
use mesos_sim::{
    host::Phase,
    net::{Node, Payload},
    plan::Temper,
    world::World,
};

use super::play::{
    for_ever, is_orders, launches, leader, one_task, only, pass, rows, running, stop_launching, until_within, world,
};

fn until(world: &mut World, what: &str, done: impl FnMut(&World) -> bool) {
    until_within(world, 60_000, what, done);
}

#[test]
fn case_1_a_launch_that_was_committed_and_never_sent_runs_once_under_the_next_leader() {
    let mut world = world(vec![one_task()]);
    world.net.filter = Some(Box::new(|_, _, payload| !is_orders(payload)));
    until(&mut world, "a launch", |world| launches(world) > 0);
    let first = leader(&world, false);
    world.crash(first);
    stop_launching(&mut world);
    world.net.filter = None;
    until(&mut world, "the task", |world| world.net.seen.tasks_run == 1);
    until(&mut world, "its end", |world| only(world).tasks.values().all(|task| task.over) && launches(world) == 0);
    assert_eq!(world.net.seen.tasks_run, 1);
}

#[test]
fn case_2_resources_of_an_ended_task_are_free_although_the_registry_died_before_it_said_so() {
    let mut world = world(vec![one_task()]);
    until(&mut world, "a task", |world| running(world) == 1);
    stop_launching(&mut world);
    world.net.filter = Some(Box::new(|_, _, payload| !matches!(payload, Payload::Entry(service::REGISTRY, _))));
    until(&mut world, "its end in the ledger", |world| {
        rows(world, service::REGISTRY, |row| matches!(row, Row::Task(task) if task.state.is_terminal())) > 0
    });
    let dead = leader(&world, true);
    world.crash(dead);
    until(&mut world, "the release", |world| launches(world) == 0);
}

#[test]
fn case_3_a_task_that_is_killed_before_its_launch_arrives_ends_once_and_runs_no_more() {
    let mut world = world(vec![Temper { run_for_ever: 10_000, ..one_task() }]);
    world.net.filter = Some(Box::new(|_, _, payload| !is_orders(payload)));
    until(&mut world, "a launch", |world| launches(world) > 0);
    world.frameworks.values_mut().for_each(|framework| {
        framework.idle = true;
        framework.ending = true;
    });
    pass(&mut world, 3000);
    world.net.filter = None;
    until(&mut world, "the end", |world| only(world).tasks.values().all(|task| task.over) && launches(world) == 0);
    pass(&mut world, 30_000);
    assert_eq!(running(&world), 0);
}

#[test]
fn case_4_offers_to_an_earlier_subscription_are_made_again_to_the_new_one() {
    let mut world = world(vec![Temper { hoard: 10_000, ..one_task() }]);
    let offered = |world: &World| world.allocator().map_or(0, |machine| machine.metrics().offers_outstanding);
    until(&mut world, "offers", |world| offered(world) == 3);
    let made = world.allocator().map(|machine| machine.metrics().offers_made);
    let framework = Node::Framework(0);
    world.crash(framework);
    until(&mut world, "their return", |world| offered(world) == 0);
    world.start(framework);
    until(&mut world, "new offers", |world| offered(world) == 3);
    assert!(world.allocator().map(|machine| machine.metrics().offers_made) > made);
    assert_eq!(only(&world).former.len(), 0, "it kept its id");
}

#[test]
fn case_10_a_store_that_loses_its_last_commits_costs_no_task_and_counts_nothing_twice() {
    let mut world = world(vec![for_ever(), for_ever()]);
    until(&mut world, "tasks", |world| running(world) == 8);
    stop_launching(&mut world);
    pass(&mut world, 2000);
    let before = running(&world);
    for count in [2, 10, 40] {
        world.roll_back(service::ALLOCATOR, count);
        world.roll_back(service::REGISTRY, count);
        pass(&mut world, 20_000);
        assert_eq!(running(&world), before);
    }
    until(&mut world, "all launches", |world| {
        launches(world) > 0 && world.registry().is_some_and(|m| m.tasks().count() == before)
    });
}

#[test]
fn case_11_a_wiped_store_costs_no_task_and_frameworks_come_back_with_their_own_ids() {
    let mut world = world(vec![for_ever(), for_ever()]);
    until(&mut world, "tasks", |world| running(world) == 8);
    stop_launching(&mut world);
    pass(&mut world, 5000);
    let before = running(&world);
    let ids: Vec<_> = world.frameworks.values().map(|framework| framework.id.clone()).collect();
    world.wipe();
    pass(&mut world, 60_000);
    assert_eq!(running(&world), before);
    let after: Vec<_> = world.frameworks.values().map(|framework| framework.id.clone()).collect();
    assert_eq!(ids, after);
    assert!(world.frameworks.values().all(|framework| framework.is_subscribed()));
    assert_eq!(world.registry().map(|machine| machine.tasks().count()), Some(before));
}

#[test]
fn f61_no_task_dies_with_the_gateway_that_held_a_stream_whose_failover_timeout_is_zero() {
    let mut world = world(vec![Temper { failover_ms: 0, ..for_ever() }]);
    until(&mut world, "tasks", |world| running(world) == 4);
    stop_launching(&mut world);
    let before = only(&world).id.clone();
    for _ in 0..3 {
        let gateway = only(&world).gateway().expect("it is connected");
        world.bounce(gateway, 3000);
        until(&mut world, "the stream", |world| !only(world).is_subscribed());
        until(&mut world, "another stream", |world| only(world).is_subscribed());
        pass(&mut world, 70_000);
        assert_eq!(running(&world), 4);
    }
    assert_eq!(only(&world).id, before);
}

#[test]
fn case_15_an_end_that_was_acknowledged_is_not_told_again_while_its_agent_has_not_heard() {
    let mut world = world(vec![one_task()]);
    let deaf = |payload: &Payload| matches!(payload, Payload::Agent(messages) if messages.iter().any(|m| matches!(m, ToAgent::Acknowledged { .. })));
    world.net.filter = Some(Box::new(move |_, _, payload| !deaf(payload)));
    until(&mut world, "a task", |world| running(world) == 1);
    stop_launching(&mut world);
    until(&mut world, "its end", |world| only(world).tasks.values().all(|task| task.over));
    pass(&mut world, 1000);
    let told = world.net.seen.statuses;
    for node in [leader(&world, true), Node::Agent(0), Node::Agent(1), Node::Agent(2)] {
        world.bounce(node, 500);
        pass(&mut world, 15_000);
    }
    assert_eq!(world.net.seen.statuses, told, "the end came back");
    let tasks = |world: &World| rows(world, service::REGISTRY, |row| matches!(row, Row::Task(_)));
    assert_eq!(tasks(&world), 1, "the tombstone stays");
    world.net.filter = None;
    until(&mut world, "the last of it", |world| {
        let kept = world.net.hosts.values().flat_map(|host| host.containers.values());
        tasks(world) == 0 && kept.filter(|container| container.phase == Phase::Running).count() == 0
    });
}

//! Anything may happen in any order; when it has stopped, there is what is to be, and nothing went that had work.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Add(u32),
    Remove(u32),
    Size(u32),
    Repeat,
    FailOver,
    Finish(usize),
    Seconds(u64),
    Work(usize, i64),
    Fail(bool),
    Blind(bool),
    Slow(bool),
    Away(usize, bool),
    Die(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_u32..3).prop_map(Step::Add),
        2 => (1_u32..3).prop_map(Step::Remove),
        1 => (0_u32..5).prop_map(Step::Size),
        1 => Just(Step::Repeat),
        2 => Just(Step::FailOver),
        6 => (1_usize..6).prop_map(Step::Finish),
        4 => (1_u64..30).prop_map(Step::Seconds),
        3 => (0_usize..6, 0_i64..4000).prop_map(|(host, used)| Step::Work(host, used)),
        1 => any::<bool>().prop_map(Step::Fail),
        1 => any::<bool>().prop_map(Step::Blind),
        1 => any::<bool>().prop_map(Step::Slow),
        1 => (0_usize..6, any::<bool>()).prop_map(|(host, away)| Step::Away(host, away)),
        1 => (0_usize..6).prop_map(Step::Die),
    ]
}

fn nth(stage: &mut Stage, at: usize) -> Option<&mut WorldHost> {
    let many = stage.world.hosts.len();
    if many == 0 { None } else { stage.world.hosts.values_mut().nth(at % many) }
}

fn play(stage: &mut Stage, step: &Step, sizes: &mut u32) {
    let before = stage.calls;
    match step {
        Step::Add(count) => *sizes = stage.add(*count).map_or(*sizes, |(_, size)| size),
        Step::Remove(count) => *sizes = stage.remove(&[], *count).map_or(*sizes, |(_, size)| size),
        Step::Size(size) => {
            let set = PoolsCall::Set { pool: "p".into(), size: Some(*size), auto: None };
            *sizes = stage.ask(set).map_or(*sizes, |(_, size)| size);
        }
        Step::Repeat => {
            // A call that was answered once changes nothing the second time.
            let (last, held) = (format!("c{before}"), stage.pools.size("p"));
            let answered =
                stage.pools.pools.values().any(|pool| pool.row.calls.iter().any(|done| done.call.as_str() == last));
            if answered {
                stage.ask_as(&last, PoolsCall::Add { pool: None, count: 1, resources: Resources::new() });
                assert_eq!(stage.pools.size("p"), held);
            }
        }
        Step::FailOver => stage.fail_over(),
        Step::Finish(many) => {
            stage.world.turn();
            (0..*many).for_each(|_| _ = stage.finish_one());
        }
        Step::Seconds(seconds) => stage.seconds(*seconds),
        Step::Work(at, used) => {
            // Only an agent that is offered gets work.
            if let Some(host) = nth(stage, *at).filter(|host| host.up && host.active && !host.gone) {
                host.used = *used;
            }
        }
        Step::Fail(fails) => stage.world.fails = *fails,
        Step::Blind(blind) => stage.world.blind = *blind,
        Step::Slow(slow) => stage.world.slow = *slow,
        Step::Away(at, away) => {
            if let Some(host) = nth(stage, *at) {
                host.reachable = !away;
            }
        }
        Step::Die(at) => {
            if let Some(host) = nth(stage, *at) {
                host.alive = false;
            }
        }
    }
}

/// All works again, and everybody gets the time that he needs.
fn heal(stage: &mut Stage) {
    let world = &mut stage.world;
    (world.fails, world.blind, world.slow) = (false, false, false);
    for host in world.hosts.values_mut() {
        (host.up, host.reachable) = (true, true);
    }
    stage.seconds(1200);
}

fn check(stage: &mut Stage) {
    let view = stage.view();
    assert!(view.nodes.iter().all(|node| node.state == NodeState::Up), "{:?}", view.nodes);
    let nodes: Vec<&String> = view.nodes.iter().map(|node| &node.node).collect();
    assert_eq!(nodes, stage.world.hosts.keys().collect::<Vec<_>>());
    assert_eq!(view.size as usize, nodes.len());
    assert!(view.size <= 4);
    assert!(stage.world.hosts.values().all(|host| host.active && !host.gone));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn there_are_the_nodes_that_were_asked_for_whatever_happened(steps in prop::collection::vec(step(), 1..40), on_this_host: bool) {
        let mut stage = Stage::new(vec![if on_this_host { local() } else { exec() }]);
        let mut size = 0;
        for step in &steps {
            play(&mut stage, step, &mut size);
        }
        heal(&mut stage);
        check(&mut stage);
        prop_assert_eq!(stage.view().size, size);
    }

    #[test]
    fn a_group_has_the_size_that_was_asked_for_whatever_happened(steps in prop::collection::vec(step(), 1..40)) {
        let mut stage = Stage::new(vec![aws()]);
        stage.world.group = Some(Group { desired: 1, min: 0, max: 10 });
        stage.seconds(60);
        let mut size = stage.view().size;
        for step in steps.iter().filter(|step| !matches!(step, Step::Die(_))) {
            play(&mut stage, step, &mut size);
        }
        heal(&mut stage);
        check(&mut stage);
        prop_assert_eq!(stage.view().size, size);
        prop_assert_eq!(stage.world.group.map(|group| group.desired), Some(size));
    }

    #[test]
    fn a_pool_by_itself_ends_no_task_and_rests(steps in prop::collection::vec(step(), 1..40), many in 0_u32..6) {
        let mut stage = Stage::new(vec![by_itself(local())]);
        stage.world.waiting = waits(2000, many);
        for step in steps.iter().filter(|step| !matches!(step, Step::Add(_) | Step::Remove(_) | Step::Size(_) | Step::Repeat)) {
            let held: i64 = stage.world.hosts.values().map(|host| host.used).sum();
            play(&mut stage, step, &mut 0);
            if !matches!(step, Step::Work(..)) {
                prop_assert_eq!(held, stage.world.hosts.values().map(|host| host.used).sum::<i64>());
            }
        }
        stage.world.waiting.clear();
        heal(&mut stage);
        check(&mut stage);
        stage.seconds(3600);
        let idle = stage.world.hosts.values().filter(|host| host.used == 0).count();
        prop_assert_eq!(idle, 0, "who idles has gone");
    }
}

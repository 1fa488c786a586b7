use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn amounts(cpus: i64, mem: i64) -> Amounts {
    let both = [("cpus", cpus), ("mem", mem)].map(|(name, amount)| (Arc::from(name), amount));
    both.into_iter().filter(|(_, amount)| *amount > 0).collect()
}

fn auto() -> Auto {
    Auto { target_cpus_percent: Some(80), cooldown: Duration::from_secs(300), idle: Duration::from_secs(600) }
}

const HOUR: u64 = 3_600_000;

struct Case {
    auto: Auto,
    waiting: Vec<Waiting>,
    rooms: Vec<Amounts>,
    idle: Vec<Idle>,
    used: i64,
    total: i64,
    wanted: u32,
    changed: Time,
}

/// Two nodes of four CPUs, one of them busy, and nothing waits.
fn calm() -> Case {
    let has = amounts(4000, 4000);
    Case {
        auto: auto(),
        waiting: Vec::new(),
        rooms: vec![amounts(0, 1000), has.clone()],
        idle: vec![Idle { node: "p-2".into(), since: Time(0), has, room: 1 }],
        used: 4000,
        total: 8000,
        wanted: 2,
        changed: Time(0),
    }
}

impl Case {
    fn decide(&self) -> Decision {
        let node = amounts(4000, 4000);
        decide(
            &self.auto,
            &Facts {
                now: Time(HOUR),
                min: 1,
                max: 4,
                wanted: self.wanted,
                node: &node,
                changed: self.changed,
                waiting: &self.waiting,
                rooms: &self.rooms,
                used: self.used,
                total: self.total,
                idle: &self.idle,
            },
        )
    }

    fn added(&self) -> u32 {
        match self.decide() {
            Decision::Add(count, _) => count,
            _ => 0,
        }
    }

    fn removed(&self) -> Vec<String> {
        match self.decide() {
            Decision::Remove(nodes, _) => nodes,
            _ => Vec::new(),
        }
    }

    fn why(&self) -> String {
        match self.decide() {
            Decision::Stay(why) | Decision::Add(_, why) | Decision::Remove(_, why) => why,
        }
    }
}

#[test]
fn nodes_come_for_what_waits_and_finds_no_room() {
    let mut case = calm();
    case.waiting = vec![(amounts(2000, 500), 2)];
    assert_eq!(case.added(), 0, "it fits into what is free");
    case.waiting = vec![(amounts(2000, 500), 5)];
    assert_eq!(case.added(), 2, "two fit, and three need two nodes");
    case.waiting = vec![(amounts(2000, 500), 500)];
    assert_eq!(case.added(), 2, "as far as the pool may grow");
    case.changed = Time(HOUR - 1);
    assert_eq!(case.added(), 2, "what waits is not kept waiting by the cooldown");
    case.wanted = 4;
    assert!(case.why().contains("at its max of 4"), "{}", case.why());
}

#[test]
fn what_is_larger_than_a_node_brings_none() {
    let mut case = calm();
    case.idle.clear();
    case.waiting = vec![(amounts(16_000, 500), 1)];
    assert_eq!(
        case.decide(),
        Decision::Stay("tasks wait for cpus:16;mem:0.5, more than a node of this pool has".into())
    );
}

#[test]
fn a_pool_below_its_min_is_filled_up() {
    let mut case = calm();
    case.wanted = 0;
    assert_eq!(case.added(), 1);
}

#[test]
fn nodes_come_while_more_is_used_than_is_meant() {
    let mut case = calm();
    case.idle.clear();
    case.used = 6400;
    assert_eq!(case.added(), 0, "exactly what is meant");
    case.used = 7000;
    assert_eq!(case.added(), 1);
    case.changed = Time(HOUR - 1000);
    assert_eq!(case.added(), 0, "not so soon after the last change");
    case.auto.target_cpus_percent = None;
    case.changed = Time(0);
    assert_eq!(case.added(), 0);
}

#[test]
fn nodes_go_that_have_been_without_work_for_long_enough() {
    let mut case = calm();
    case.wanted = 3;
    (case.used, case.total) = (4000, 12_000);
    assert_eq!(case.removed(), ["p-2"]);
    case.idle[0].since = Time(HOUR - 599_000);
    assert!(case.removed().is_empty(), "not for long enough");
    case.idle[0].since = Time(0);
    case.changed = Time(HOUR - 1000);
    assert!(case.removed().is_empty(), "not so soon after the last change");
    case.changed = Time(0);
    case.wanted = 1;
    assert!(case.removed().is_empty(), "the last one of the min");
}

#[test]
fn a_node_stays_without_which_use_would_be_above_the_target() {
    let mut case = calm();
    assert!(case.removed().is_empty(), "4 of 4 CPUs would be used");
    case.used = 3200;
    assert_eq!(case.removed(), ["p-2"]);
}

#[test]
fn a_node_stays_that_what_waits_would_fit_on() {
    let mut case = calm();
    case.used = 1000;
    case.waiting = vec![(amounts(1000, 2000), 1)];
    assert!(case.removed().is_empty());
    case.waiting = vec![(amounts(9000, 1), 1)];
    assert_eq!(case.removed(), ["p-2"], "it does not fit anywhere in any case");
}

prop_compose! {
    fn waits()(list in prop::collection::vec((1_i64..6000, 0_i64..6000, 0_u32..40), 0..6)) -> Vec<Waiting> {
        list.into_iter().map(|(cpus, mem, count)| (amounts(cpus, mem), count)).collect()
    }
}

prop_compose! {
    fn rooms()(list in prop::collection::vec((0_i64..8000, 0_i64..8000), 0..6)) -> Vec<Amounts> {
        list.into_iter().map(|(cpus, mem)| amounts(cpus, mem)).collect()
    }
}

proptest! {
    #[test]
    fn with_the_nodes_that_are_lacking_nothing_waits_that_a_node_can_have(waits in waits(), rooms in rooms()) {
        let node = amounts(4000, 4000);
        let found = lacking(&waits, rooms.clone(), &node, u32::MAX);
        prop_assert!(found.left.iter().all(|(need, _)| fits(&node, need) == 0));
        let mut more = rooms;
        more.extend(std::iter::repeat_n(node.clone(), found.nodes as usize));
        let then = lacking(&waits, more, &node, u32::MAX);
        prop_assert_eq!((then.nodes, then.left), (0, found.left));
    }

    #[test]
    fn no_more_nodes_are_lacking_than_tasks_wait_and_never_more_than_may_be(waits in waits(), rooms in rooms(), most in 0_u32..20) {
        let found = lacking(&waits, rooms, &amounts(4000, 4000), most);
        let tasks: u32 = waits.iter().map(|(_, count)| count).sum();
        prop_assert!(found.nodes <= tasks.min(most));
    }

    #[test]
    fn a_decision_stays_within_the_bounds(
        waits in waits(), rooms in rooms(), wanted in 0_u32..8, used in 0_i64..20_000, more in 0_i64..20_000,
        idles in prop::collection::vec(0_u64..HOUR, 0..6),
    ) {
        let has = amounts(4000, 4000);
        let mut rooms = rooms;
        let idle: Vec<Idle> = idles.iter().take(wanted as usize).enumerate().map(|(at, since)| {
            rooms.push(has.clone());
            Idle { node: format!("p-{at}"), since: Time(*since), has: has.clone(), room: rooms.len() - 1 }
        }).collect();
        let case = Case { auto: auto(), waiting: waits, rooms, idle, used, total: used + more, wanted, changed: Time(0) };
        match case.decide() {
            Decision::Add(count, _) => prop_assert!(count > 0 && wanted + count <= 4.max(wanted)),
            Decision::Remove(nodes, _) => {
                prop_assert!(!nodes.is_empty() && wanted - u32::try_from(nodes.len()).unwrap() >= 1);
                // Taking them out leaves no reason to add.
                let left = case.total - 4000 * i64::try_from(nodes.len()).unwrap();
                prop_assert!(!is_above(used, left, 80));
            }
            Decision::Stay(why) => prop_assert!(!why.is_empty()),
        }
    }
}

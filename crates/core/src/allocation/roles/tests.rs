//! The order of turns, as scenarios.

use mesos_model::{FrameworkId, Resources, Role};
use proptest::prelude::*;

use super::*;

fn tree(weights: &[(&str, u64)], total: &[(&str, i64)]) -> RoleTree {
    let mut tree = RoleTree::new(weights.iter().map(|(role, weight)| (Role::from(*role), *weight)).collect());
    tree.add_total(&Resources::of(total));
    tree
}

fn order(tree: &mut RoleTree) -> String {
    tree.freshen();
    let mut visited = Vec::new();
    let nothing: Option<()> = tree.walk(|framework, role| {
        visited.push(format!("{framework}@{role}"));
        None
    });
    assert_eq!(nothing, None);
    let mut ranked: Vec<_> = visited
        .iter()
        .filter_map(|client| client.split_once('@'))
        .map(|(framework, role)| (tree.rank(&framework.into(), &role.into()).unwrap(), format!("{framework}@{role}")))
        .collect();
    ranked.sort();
    let ranked: Vec<String> = ranked.into_iter().map(|(_, client)| client).collect();
    assert_eq!(ranked, visited, "ranks compare as the walk visits");
    visited.join(" ")
}

fn hungry(tree: &mut RoleTree, clients: &[(&str, &str)]) {
    for (framework, role) in clients {
        tree.set_hungry(&(*framework).into(), &(*role).into(), true);
    }
}

#[test]
fn the_example_of_the_drf_paper_gives_three_and_two_tasks() {
    let mut tree = tree(&[], &[("cpus", 9000), ("mem", 18_000)]);
    hungry(&mut tree, &[("a", "a"), ("b", "b")]);
    let demand = |framework: &str| match framework {
        "a" => Resources::of(&[("cpus", 1000), ("mem", 4000)]),
        _ => Resources::of(&[("cpus", 3000), ("mem", 1000)]),
    };
    let mut free = Resources::of(&[("cpus", 9000), ("mem", 18_000)]);
    let mut tasks: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        tree.freshen();
        let next = tree.walk(|framework, role| {
            let fits = free.contains(&demand(framework.as_str()));
            fits.then(|| (framework.clone(), role.clone()))
        });
        let Some((framework, role)) = next else { break };
        let wanted = demand(framework.as_str());
        assert!(free.take(&wanted));
        tree.charge(&framework, &role, &wanted);
        *tasks.entry(framework.to_string()).or_default() += 1;
    }
    assert_eq!(tasks, BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2)]));
}

#[test]
fn whoever_has_less_for_its_weight_is_first_at_every_level() {
    let mut tree = tree(&[("heavy", 3000)], &[("cpus", 10_000), ("mem", 10_000)]);
    hungry(&mut tree, &[("f", "light"), ("g", "heavy"), ("h", "tree/left"), ("i", "tree/right"), ("j", "tree")]);
    assert_eq!(order(&mut tree), "g@heavy f@light j@tree h@tree/left i@tree/right");
    tree.charge(&"f".into(), &"light".into(), &Resources::of(&[("cpus", 1000)]));
    tree.charge(&"g".into(), &"heavy".into(), &Resources::of(&[("mem", 2000)]));
    assert_eq!(order(&mut tree), "j@tree h@tree/left i@tree/right g@heavy f@light");
    // What the children have counts for their parent, and its own frameworks are one of its children.
    tree.charge(&"j".into(), &"tree".into(), &Resources::of(&[("cpus", 900)]));
    tree.charge(&"h".into(), &"tree/left".into(), &Resources::of(&[("cpus", 800)]));
    assert_eq!(order(&mut tree), "g@heavy f@light i@tree/right h@tree/left j@tree");
    tree.credit(&"j".into(), &"tree".into(), &Resources::of(&[("cpus", 900)]));
    assert_eq!(order(&mut tree), "g@heavy j@tree i@tree/right h@tree/left f@light");
}

#[test]
fn of_equal_shares_the_one_with_fewer_offers_is_first_and_then_the_name_decides() {
    let mut tree = tree(&[], &[("cpus", 1000)]);
    hungry(&mut tree, &[("b", "r"), ("a", "r"), ("c", "r")]);
    assert_eq!(order(&mut tree), "a@r b@r c@r");
    tree.count_offer(&"a".into(), &"r".into());
    assert_eq!(order(&mut tree), "b@r c@r a@r");
}

#[test]
fn only_the_hungry_are_visited_and_idle_roles_are_forgotten() {
    let mut tree = tree(&[], &[("cpus", 1000)]);
    hungry(&mut tree, &[("a", "x/y/z"), ("b", "x")]);
    assert_eq!(order(&mut tree), "b@x a@x/y/z");
    tree.set_hungry(&"a".into(), &"x/y/z".into(), false);
    assert_eq!(order(&mut tree), "b@x");
    tree.set_hungry(&"b".into(), &"x".into(), false);
    assert_eq!(order(&mut tree), "");
    assert!(tree.by_path.is_empty());
    hungry(&mut tree, &[("c", "new")]);
    assert_eq!(order(&mut tree), "c@new");
    assert!(tree.nodes.len() <= 4, "nodes are used again");
}

#[test]
fn reserved_resources_are_for_the_role_and_those_below_it() {
    for (reserved, role, may) in [("a", "a", true), ("a", "a/b", true), ("a/b", "a", false), ("a", "ab", false)] {
        assert_eq!(is_role_or_ancestor(&reserved.into(), &role.into()), may, "{reserved} {role}");
    }
}

proptest! {
    #[test]
    fn ranks_kept_by_deltas_are_those_computed_anew(
        steps in proptest::collection::vec((0usize..4, 0usize..5, 0u8..5, 1i64..500), 1..60),
    ) {
        let roles = ["a", "a/b", "a/b/c", "d", "d/e"];
        let mut tree = tree(&[("a", 2000), ("d/e", 500)], &[("cpus", 10_000)]);
        let mut held: BTreeMap<(usize, usize), i64> = BTreeMap::new();
        for (framework, role, kind, cpus) in steps {
            let (id, path) = (FrameworkId::from(format!("f{framework}")), Role::from(roles[role]));
            let sum = held.entry((framework, role)).or_default();
            match kind {
                0 => tree.set_hungry(&id, &path, true),
                1 => tree.set_hungry(&id, &path, false),
                2 => tree.count_offer(&id, &path),
                3 => {
                    *sum += cpus;
                    tree.charge(&id, &path, &Resources::of(&[("cpus", cpus)]));
                }
                _ => {
                    tree.credit(&id, &path, &Resources::of(&[("cpus", *sum)]));
                    *sum = 0;
                }
            }
            let kept = order(&mut tree);
            tree.stale = true;
            prop_assert_eq!(order(&mut tree), kept);
        }
    }
}

//! Supposed changes.

use mesos_engine::explanation::{Change, Query};
use mesos_model::{AgentId, FrameworkId, Role};

use crate::clusters::{Cluster, NOW, agent_id, amounts, query, resources};

fn add(count: u32) -> Change {
    Change::AddAgents { count, like: Some(agent_id(1)), total: None, attributes: Vec::new() }
}

fn two_roles() -> Cluster {
    Cluster::new().agents(2, "cpus:4;mem:4096").framework("F1", "ads").framework("F2", "web").runs(
        "F1",
        "ads",
        1,
        "cpus:4;mem:4096",
    )
}

#[test]
fn changes_are_made_in_their_order_and_to_a_copy_only() {
    let cluster = two_roles();
    let before = format!("{:?}", cluster.engine);
    let changes = [
        Change::Limit { role: Role::new("web"), limit: amounts("cpus:6") },
        add(2),
        Change::Limit { role: Role::new("web"), limit: amounts("cpus:8") },
    ];
    let what_if = cluster.engine.what_if(NOW, &changes, &query("F2", "cpus:4", 2)).unwrap();
    assert_eq!((what_if.before.placeable, what_if.after.placeable), (1, 2));
    assert_eq!(before, format!("{:?}", cluster.engine));
    let of = |name: &str| what_if.roles.iter().find(|outcome| outcome.role.as_str() == name).unwrap();
    let (one, two) = (amounts("cpus:4;mem:4096"), amounts("cpus:8;mem:8192"));
    assert_eq!((&of("ads").before, &of("ads").after), (&one, &two));
    assert_eq!((&of("web").before, &of("web").after), (&one, &two));
}

#[test]
fn a_weight_shifts_what_roles_would_have() {
    let cluster = Cluster::new().agents(12, "cpus:4;mem:4096").framework("F1", "ads").framework("F2", "web");
    let changes = [Change::Weight { role: Role::new("web"), weight: 3000 }];
    let what_if = cluster.engine.what_if(NOW, &changes, &query("F2", "cpus:4", 9)).unwrap();
    let cpus: Vec<(i64, i64)> =
        what_if.roles.iter().map(|outcome| (outcome.before["cpus"], outcome.after["cpus"])).collect();
    assert_eq!(cpus, [(24_000, 12_000), (24_000, 36_000)]);
    assert_eq!((what_if.before.placeable, what_if.after.placeable), (6, 9));
}

#[test]
fn what_runs_on_an_agent_that_goes_is_gone_if_it_is_known() {
    let cluster = two_roles();
    let changes = [Change::RemoveAgent(agent_id(1))];
    let asked = query("F2", "cpus:4", 1);
    let kept = cluster.engine.what_if(NOW, &changes, &asked).unwrap();
    assert_eq!(kept.roles[0].after, amounts("cpus:4;mem:4096"));
    assert_eq!(kept.after.placeable, 1);
    let running = |agent: &AgentId| {
        assert_eq!(*agent, agent_id(1));
        vec![(FrameworkId::new("F1"), Role::new("ads"), resources("cpus:4;mem:4096"))]
    };
    let gone = cluster.engine.what_if_running(NOW, &changes, &asked, &running).unwrap();
    // Now its turn is first again, and it is offered the only agent.
    assert_eq!(gone.roles[0].after, amounts("cpus:4;mem:4096"));
    assert_eq!(gone.after.placeable, 0);
}

#[test]
fn less_may_be_supposed_of_what_is_asked_for() {
    let cluster = two_roles();
    let less = Change::Less { name: "cpus".to_owned(), amount: 4000 };
    let what_if = cluster.engine.what_if(NOW, &[less], &query("F2", "cpus:5", 1)).unwrap();
    assert_eq!((what_if.before.placeable, what_if.after.placeable), (0, 1));
    assert_eq!(what_if.after.demand, resources("cpus:4"));
}

#[test]
fn of_gpus_there_are_only_whole_ones() {
    let cluster = Cluster::new()
        .agent("cpus:4;mem:4096;gpus:2", |_| {})
        .framework_with("F1", "web", |facts| facts.abilities.gpus = true);
    let asked = query("F1", "cpus:1;gpus:4", 1);
    let explanation = cluster.engine.explain(NOW, &asked).unwrap();
    let less = Change::Less { name: "gpus".to_owned(), amount: 2000 };
    assert_eq!(explanation.remedies[0].change, less);
    let half = Change::Less { name: "gpus".to_owned(), amount: 1500 };
    assert!(cluster.engine.what_if(NOW, &[half], &asked).unwrap_err().contains("give a multiple of 1000"));
}

#[test]
fn an_agent_that_is_added_has_nothing_that_came_to_its_model_later() {
    let mut total = resources("cpus:4;mem:4096;cpus(ads):2");
    total.add_entry(crate::clusters::revocable("cpus", 1000));
    let cluster = Cluster::new().agent("cpus:1", |facts| facts.total = total).framework("F1", "web");
    let mut engine = cluster.engine;
    engine.apply(NOW, &add(0), &mut query("F1", "cpus:1", 1)).unwrap();
    engine.check().unwrap();
    let added = engine.find_agent(&AgentId::new("supposed-000001")).unwrap();
    assert_eq!(engine.free(added), resources("cpus:4;mem:4096;cpus(ads):2"));
}

#[test]
fn reservations_that_are_undone_leave_what_tasks_hold() {
    let cluster = Cluster::new()
        .agents(1, "cpus(ads):4;mem:4096")
        .framework("F1", "ads")
        .runs("F1", "ads", 1, "cpus(ads):1")
        .round();
    let mut engine = cluster.engine.clone();
    engine.apply(NOW, &Change::DropReservations(Role::new("ads")), &mut query("F1", "cpus:1", 1)).unwrap();
    engine.check().unwrap();
    assert_eq!(engine.free(cluster.slot(1)), resources("cpus:3;mem:4096"));
    assert_eq!(engine.allocated(cluster.slot(1)), resources("cpus(ads):1"));
}

#[test]
fn a_change_that_cannot_be_made_is_refused_with_what_to_do() {
    let cluster = two_roles();
    let asked = query("F2", "cpus:4", 1);
    let error = |change: Change| cluster.engine.what_if(NOW, &[change], &asked).unwrap_err();
    let role = || Role::new("web");
    let cases = [
        (Change::RemoveAgent(AgentId::new("S9")), "agent S9 is not known; list the agents"),
        (Change::Weight { role: role(), weight: 0 }, "give 1 to 1000000000"),
        (Change::Limit { role: role(), limit: [("cpus".into(), -1)].into() }, "-1 thousandths of cpus; give 0 or more"),
        (Change::Guarantee { role: role(), guarantee: [("mem".into(), -5)].into() }, "the guarantee of role 'web'"),
        (Change::Guarantee { role: Role::new("a//b"), guarantee: amounts("") }, "'a//b' is no role"),
        (add(10_001), "add at most 10000"),
        (
            Change::AddAgents { count: 1, like: None, total: None, attributes: Vec::new() },
            "neither by one that they are like nor by what they have",
        ),
        (Change::Policy("mine".into()), "try drf, fifo, drc or random"),
        (Change::Less { name: "gpus".to_owned(), amount: 0 }, "no amount of 'gpus'"),
        (Change::Less { name: "cpus".to_owned(), amount: 4000 }, "give 0 to 3999"),
        (Change::Less { name: "cpus".to_owned(), amount: 0 }, "leave some of it"),
        (Change::DropConstraint { group: 0, constraint: 0 }, "no constraint 0 in group 0"),
        (Change::DropFilters { agent: Some(AgentId::new("S9")) }, "agent S9 is not known"),
        (Change::Capability("FLY".to_owned()), "capability 'FLY' changes no offers"),
        (Change::DropReservations(role()), "nothing that is free is reserved for role 'web'"),
    ];
    for (change, expected) in cases {
        let told = format!("{change:?}");
        let message = error(change);
        assert!(message.contains(expected), "{told}: {message}");
    }
    let nobody = Query { role: Some(Role::new("idle")), count: 1, ..Query::default() };
    let cluster = two_roles().role("idle", |facts| facts.weight = 2000);
    assert!(cluster.engine.what_if(NOW, &[Change::Revive], &nobody).unwrap_err().contains("name a framework"));
}

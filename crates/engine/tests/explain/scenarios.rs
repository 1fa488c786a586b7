//! One scenario for each reason why something waits, and for each kind of question.
//!
//! Whether a framework is connected is not known to the engine, so `NotConnected` is for whoever asks it to add.

use mesos_engine::{
    ClientFacts,
    explanation::{Change, Explanation, Query, Why},
    facts::{PolicyName, Predicate, Request, Selector},
};
use mesos_model::{FrameworkId, Role, Time};

use crate::clusters::{Cluster, NOW, agent_id, amounts, bundle, constraints, query, resources, revocable};

fn explain(cluster: &Cluster, query: &Query) -> Explanation {
    cluster.engine.explain(NOW, query).unwrap()
}

fn reasons(explanation: &Explanation) -> Vec<(Why, u32)> {
    explanation.blockers.iter().map(|blocker| (blocker.why, blocker.agents)).collect()
}

fn detail(explanation: &Explanation, why: Why) -> &str {
    &explanation.blockers.iter().find(|blocker| blocker.why == why).unwrap().detail
}

fn changes(explanation: &Explanation) -> Vec<&Change> {
    explanation.remedies.iter().map(|remedy| &remedy.change).collect()
}

fn texts(explanation: &Explanation) -> Vec<&str> {
    explanation.remedies.iter().map(|remedy| remedy.text.as_str()).collect()
}

#[test]
fn nothing_binds_where_the_next_offers_have_room() {
    let cluster = Cluster::new().agents(2, "cpus:4;mem:4096").framework("F1", "web");
    let explanation = explain(&cluster, &query("F1", "cpus:2", 3));
    assert_eq!(reasons(&explanation), [(Why::Nothing, 2)]);
    assert_eq!(explanation.placeable, 3);
    assert_eq!(explanation.summary, "all 3 tasks would be placed with the next offers");
    assert_eq!(explanation.remedies, []);
    assert_eq!(explanation.blockers[0].examples, [agent_id(1), agent_id(2)]);
}

#[test]
fn a_part_may_be_placed_at_once() {
    let cluster = Cluster::new().agents(2, "cpus:4;mem:4096").framework("F1", "web");
    let explanation = explain(&cluster, &query("F1", "cpus:3", 3));
    assert_eq!(explanation.placeable, 2);
    assert_eq!(
        explanation.summary,
        "2 of 3 tasks would be placed with the next offers; for the rest: 2 agents are not enough"
    );
    assert_eq!(texts(&explanation), ["ask for 2 cpus instead of 3", "add 1 agent like S1 (cpus:4; mem:4096)"]);
}

#[test]
fn a_suppressed_role_gets_nothing_until_it_revives() {
    let mut cluster = Cluster::new().agents(2, "cpus:4;mem:4096").framework("F1", "web").runs("F1", "web", 1, "cpus:4");
    let slot = cluster.client("F1", "web");
    cluster.engine.put_client(NOW, slot, ClientFacts::default()).unwrap();
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    // Beside what the framework says, what would bind if it had not said it.
    assert_eq!(reasons(&explanation), [(Why::Suppressed, 0), (Why::InUse, 1), (Why::Nothing, 1)]);
    assert_eq!(explanation.placeable, 0);
    assert_eq!(explanation.summary, "role web is suppressed by framework F1: it gets no offers until it revives");
    assert_eq!(changes(&explanation), [&Change::Revive]);
}

#[test]
fn a_framework_that_has_nothing_and_wants_nothing_can_be_supposed() {
    let mut cluster = Cluster::new().agents(1, "cpus:4;mem:4096");
    let (framework, role) = (FrameworkId::new("F1"), Role::new("web"));
    assert!(cluster.engine.explain(NOW, &query("F1", "cpus:2", 1)).is_err());
    cluster.engine.suppose_client(NOW, &framework, &role, ClientFacts::default()).unwrap();
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Suppressed, 0), (Why::Nothing, 1)]);
}

#[test]
fn agents_may_be_away() {
    let cluster = Cluster::new().agent("cpus:4;mem:4096", |facts| facts.offerable = false).framework("F1", "web");
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::AgentAway, 1)]);
    assert_eq!(explanation.summary, "waits: 1 of 1 agents is away");
}

#[test]
fn agents_may_be_too_small() {
    let cluster = Cluster::new().agents(3, "cpus:4;mem:4096").agents(1, "cpus:2;mem:4096").framework("F1", "web");
    let explanation = explain(&cluster, &query("F1", "cpus:6;mem:1024", 1));
    assert_eq!(reasons(&explanation), [(Why::TooSmall, 4)]);
    assert_eq!(detail(&explanation, Why::TooSmall), "cpus on 4 agents, the largest of them has 4 of 6");
    assert_eq!(
        texts(&explanation),
        ["ask for 4 cpus instead of 6", "add 1 agent with cpus:6; mem:1024 (no agent has as much)"]
    );
    assert_eq!(
        explanation.summary,
        "waits: 4 of 4 agents are too small (cpus on 4 agents, the largest of them has 4 of 6)"
    );
}

#[test]
fn gpus_are_for_frameworks_that_know_of_them() {
    let cluster = Cluster::new().agents(1, "cpus:4;mem:4096;gpus:2").framework("F1", "web");
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Gpus, 1)]);
    assert_eq!(changes(&explanation), [&Change::Capability("GPU_RESOURCES".to_owned())]);
}

#[test]
fn other_regions_are_for_frameworks_that_know_of_them() {
    let cluster = Cluster::new()
        .agent("cpus:4;mem:4096", |facts| {
            facts.remote = true;
            facts.domain = Some(("eu".to_owned(), "eu-1".to_owned()));
        })
        .framework("F1", "web");
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Region, 1)]);
    assert!(detail(&explanation, Why::Region).starts_with("they are in region eu on 1 agent"));
    assert_eq!(changes(&explanation), [&Change::Capability("REGION_AWARE".to_owned())]);
}

#[test]
fn a_constraint_that_fails_is_named() {
    let rack = |facts: &mut mesos_engine::AgentFacts| {
        facts.attributes = mesos_model::attribute::parse("rack:r2").unwrap();
    };
    let cluster = Cluster::new().agent("cpus:4;mem:4096", rack).framework_with("F1", "web", |facts| {
        let hostname = (Selector::Hostname, Predicate::TextMatches("n.*".to_owned()));
        let rack = (Selector::Attribute("rack".to_owned()), Predicate::TextEquals("r1".to_owned()));
        facts.constraints = Some(constraints(&[&[hostname, rack]]));
    });
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Constraint, 1)]);
    assert_eq!(detail(&explanation, Why::Constraint), "not so: attribute rack is 'r1' on 1 agent");
    assert_eq!(changes(&explanation), [&Change::DropConstraint { group: 0, constraint: 1 }]);
    assert_eq!(texts(&explanation), ["drop the constraint that attribute rack is 'r1'"]);
}

#[test]
fn tasks_may_hold_too_much() {
    let cluster = Cluster::new()
        .agents(2, "cpus:4;mem:4096")
        .framework("F1", "web")
        .framework("F2", "ads")
        .runs("F2", "ads", 1, "cpus:3")
        .runs("F2", "ads", 2, "cpus:2.5");
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::InUse, 2)]);
    assert_eq!(detail(&explanation, Why::InUse), "cpus on 2 agents, tasks leave at most 1.5 of 2");
    assert_eq!(changes(&explanation)[0], &Change::Less { name: "cpus".to_owned(), amount: 1500 });
    assert_eq!(texts(&explanation)[1], "add 1 agent like S1 (cpus:4; mem:4096)");
}

#[test]
fn others_may_sit_on_offers() {
    let cluster = Cluster::new().agents(3, "cpus:4;mem:4096").framework("F1", "ads").round().framework("F2", "web");
    let explanation = explain(&cluster, &query("F2", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Offered, 3)]);
    assert_eq!(detail(&explanation, Why::Offered), "open offers of them are with F1 in role ads on 3 agents");
    // It would have its share of them if they came back.
    assert_eq!(explanation.placeable, 1);
    assert_eq!(explanation.summary, "the task would be placed once open offers are back");
    assert_eq!(explanation.remedies, []);
}

fn need(what: &str, count: u32) -> Request {
    Request {
        name: "big".to_owned(),
        role: None,
        agent: None,
        resources: resources(what),
        count,
        hold_ms: Some(60_000),
        priority: None,
    }
}

#[test]
fn room_may_be_held_for_needs() {
    let mut cluster = Cluster::new().agents(1, "cpus:8;mem:4096").framework("F1", "ads").runs("F1", "ads", 1, "cpus:3");
    let slot = cluster.client("F1", "ads");
    cluster.engine.set_requests(NOW, slot, &[need("cpus:6", 1)]);
    let cluster = cluster.round();
    // The need itself waits for what tasks hold, not for what it holds itself.
    let own = Query { request: Some("big".to_owned()), resources: None, ..query("F1", "cpus:1", 0) };
    let explanation = explain(&cluster, &own);
    assert_eq!((explanation.demand.clone(), explanation.count), (resources("cpus:6"), 1));
    assert_eq!(reasons(&explanation), [(Why::InUse, 1)]);
    assert_eq!(changes(&explanation)[0], &Change::Less { name: "cpus".to_owned(), amount: 5000 });
    let cluster = cluster.framework("F2", "web");
    let explanation = explain(&cluster, &query("F2", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Held, 1)]);
    assert_eq!(detail(&explanation, Why::Held), "room is gathered on them for request 'big' of F1 on 1 agent");
}

#[test]
fn what_is_free_may_be_reserved_for_others() {
    let cluster = Cluster::new().agents(1, "cpus:1;cpus(ads):4;mem:4096").framework("F1", "web");
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Reserved, 1)]);
    assert_eq!(detail(&explanation, Why::Reserved), "what is free is reserved for role ads on 1 agent");
    assert!(changes(&explanation).contains(&&Change::DropReservations(Role::new("ads"))));
    // Of whom it is reserved for, roles below are part.
    let cluster = Cluster::new().agents(1, "cpus:1;cpus(ads):4;mem:4096").framework("F1", "ads/eu");
    assert_eq!(explain(&cluster, &query("F1", "cpus:5", 1)).placeable, 1);
}

#[test]
fn what_is_free_may_be_of_a_kind_that_the_framework_does_not_take() {
    let cluster = Cluster::new()
        .agent("cpus:1;mem:4096", |facts| facts.total.add_entry(revocable("cpus", 4000)))
        .framework("F1", "web");
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Unfit, 1)]);
    assert!(detail(&explanation, Why::Unfit).starts_with("what is free is revocable on 1 agent"));
    assert!(changes(&explanation).contains(&&Change::Capability("REVOCABLE_RESOURCES".to_owned())));
}

#[test]
fn a_limit_that_binds_is_told_with_its_figures() {
    let cluster = Cluster::new()
        .agents(4, "cpus:8;mem:4096")
        .framework("F1", "web/api")
        .runs("F1", "web/api", 1, "cpus:8;mem:4096")
        .role("web", |facts| facts.limit = amounts("cpus:10"));
    let explanation = explain(&cluster, &query("F1", "cpus:4", 1));
    assert_eq!(reasons(&explanation), [(Why::Limit, 3), (Why::InUse, 1)]);
    assert_eq!(detail(&explanation, Why::Limit), "role web: limit cpus 10, consumed 8, asks for 4");
    let raise = Change::Limit { role: Role::new("web"), limit: amounts("cpus:12") };
    assert_eq!(changes(&explanation), [&Change::Less { name: "cpus".to_owned(), amount: 2000 }, &raise]);
    assert_eq!(texts(&explanation)[1], "raise the limit of role web to 12 cpus (now 10)");
    assert_eq!(
        explanation.summary,
        "waits: 3 of 4 agents are beyond a limit (role web: limit cpus 10, consumed 8, asks for 4); 1 of 4 agents \
         is in use by tasks (cpus on 1 agent, tasks leave at most 0 of 4)"
    );
}

#[test]
fn two_limits_cannot_be_raised_alone() {
    let cluster = Cluster::new()
        .agents(1, "cpus:8;mem:4096")
        .framework("F1", "web/api")
        .role("web", |facts| facts.limit = amounts("cpus:1"))
        .role("web/api", |facts| facts.limit = amounts("cpus:2"));
    let explanation = explain(&cluster, &query("F1", "cpus:4", 1));
    assert_eq!(
        detail(&explanation, Why::Limit),
        "role web/api: limit cpus 2, consumed 0, asks for 4; role web: limit cpus 1, consumed 0, asks for 4"
    );
    assert_eq!(changes(&explanation), [&Change::Less { name: "cpus".to_owned(), amount: 1000 }]);
}

#[test]
fn what_is_free_may_be_kept_for_guarantees() {
    let cluster = Cluster::new()
        .agents(1, "cpus:4;mem:4096")
        .framework("F1", "web")
        .role("ads", |facts| facts.guarantee = amounts("cpus:4"));
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Headroom, 1)]);
    assert_eq!(detail(&explanation, Why::Headroom), "4 cpus free, 4 of that kept for guarantees of ads");
    assert_eq!(texts(&explanation), ["add 1 agent like S1 (cpus:4; mem:4096)"]);
}

#[test]
fn what_is_left_may_be_below_the_smallest_offer() {
    let cluster = Cluster::new().agents(1, "cpus:4;mem:4096").framework_with("F1", "web", |facts| {
        facts.minimum = Some(vec![resources("cpus:8")]);
    });
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Minimum, 1)]);
    assert_eq!(detail(&explanation, Why::Minimum), "the smallest offer that the framework takes is cpus:8");
    assert_eq!(changes(&explanation), [&Change::DropMinimum]);
    // Who says nothing of what a task needs is taken to want its smallest offer.
    let explanation = explain(&cluster, &Query { resources: None, ..query("F1", "cpus:1", 1) });
    assert_eq!(explanation.demand, resources("cpus:8"));
}

#[test]
fn the_framework_may_have_declined_it() {
    let mut cluster = Cluster::new().agents(2, "cpus:4;mem:4096").framework("F1", "web");
    let slot = cluster.client("F1", "web");
    for agent in [1, 2] {
        let agent = cluster.slot(agent);
        cluster.engine.refuse(slot, agent, &bundle("cpus:4;mem:4096"), Time(NOW.0 + 60_000));
    }
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::Filter, 2)]);
    assert_eq!(changes(&explanation)[0], &Change::DropFilters { agent: Some(agent_id(1)) });
    // For more than one agent has, all filters must go.
    let explanation = explain(&cluster, &query("F1", "cpus:3", 2));
    assert_eq!(changes(&explanation)[0], &Change::DropFilters { agent: None });
    // Afterwards nothing is hidden.
    assert_eq!(cluster.engine.placeable(Time(NOW.0 + 60_000), &query("F1", "cpus:3", 2)), Ok(2));
}

#[test]
fn it_may_be_the_turn_of_others() {
    let cluster = Cluster::new()
        .agents(2, "cpus:4;mem:4096")
        .framework("F1", "ads")
        .framework("F2", "web")
        .runs("F1", "ads", 1, "cpus:1")
        .runs("F2", "web", 1, "cpus:2");
    let explanation = explain(&cluster, &query("F2", "cpus:2", 1));
    assert_eq!(reasons(&explanation), [(Why::InUse, 1), (Why::Turn, 1)]);
    assert_eq!(detail(&explanation, Why::Turn), "offered first to F1 in role ads on 1 agent");
    let order: Vec<(&str, u64)> =
        explanation.turns.iter().map(|turn| (turn.framework.as_str(), turn.share_ppm)).collect();
    assert_eq!(order, [("F1", 125_000), ("F2", 250_000)]);
    // With twice the weight it stands beside the other one, who has the smaller name; with three times before it.
    let weight = Change::Weight { role: Role::new("web"), weight: 3000 };
    assert!(changes(&explanation).contains(&&weight), "{explanation:?}");
    assert!(texts(&explanation).contains(&"raise the weight of role web from 1 to 3"));
}

#[test]
fn another_policy_may_help() {
    let mut cluster = Cluster::new()
        .agents(2, "cpus:4;mem:4096")
        .framework("F2", "web")
        .runs("F2", "web", 1, "cpus:4;mem:4096")
        .framework("F1", "ads");
    let slot = cluster.client("F2", "web");
    cluster.engine.set_requests(NOW, slot, &[Request { hold_ms: None, ..need("cpus:2", 1) }]);
    let explanation = explain(&cluster, &query("F2", "cpus:2", 1));
    assert!(changes(&explanation).contains(&&Change::Policy(PolicyName::Fifo)), "{explanation:?}");
    assert!(texts(&explanation).contains(&"order by fifo instead of drf"));
}

#[test]
fn of_turns_at_most_ten_are_told_and_the_asked_one_is_among_them() {
    let mut cluster = Cluster::new().agents(2, "cpus:40;mem:4096");
    for n in 10..40 {
        cluster = cluster.framework(&format!("F{n}"), "web");
    }
    let explanation = explain(&cluster, &query("F35", "cpus:2", 1));
    let order: Vec<&str> = explanation.turns.iter().map(|turn| turn.framework.as_str()).collect();
    assert_eq!(order, ["F10", "F11", "F12", "F13", "F14", "F15", "F16", "F17", "F18", "F35"]);
}

#[test]
fn a_role_is_explained_by_its_framework_whose_turn_is_first() {
    let cluster = Cluster::new()
        .agents(2, "cpus:4;mem:4096")
        .framework("F1", "web/eu")
        .framework("F2", "web")
        .runs("F2", "web", 1, "cpus:1")
        .role("idle", |facts| facts.weight = 2000);
    let of = |role: &str| Query { role: Some(Role::new(role)), count: 1, ..Query::default() };
    let explanation = explain(&cluster, &of("web"));
    assert_eq!((explanation.framework, explanation.role), (Some(FrameworkId::new("F1")), Role::new("web/eu")));
    assert_eq!(explanation.demand, resources("cpus:0.01"));
    let explanation = explain(&cluster, &of("idle"));
    assert_eq!(explanation.summary, "no framework is in role 'idle', so nothing is offered to it");
}

#[test]
fn without_agents_the_explanation_says_so() {
    let cluster = Cluster::new().framework("F1", "web");
    let explanation = explain(&cluster, &query("F1", "cpus:2", 1));
    assert_eq!((explanation.summary.as_str(), explanation.blockers.len()), ("waits: there are no agents", 0));
    assert_eq!(texts(&explanation), ["add 1 agent with cpus:2 (no agent has as much)"]);
}

#[test]
fn a_query_about_what_is_not_there_is_answered_with_what_is() {
    let cluster = Cluster::new().agents(1, "cpus:4").framework("F1", "web");
    let error = |query: &Query| cluster.engine.explain(NOW, query).unwrap_err();
    assert_eq!(
        error(&query("F9", "cpus:1", 1)),
        "framework F9 is not known here; list the frameworks and take an id from there"
    );
    assert_eq!(
        error(&Query { role: Some(Role::new("ads")), ..query("F1", "cpus:1", 1) }),
        "framework F1 is not in role 'ads'; it is in web, ask for one of these"
    );
    assert!(error(&Query { framework: None, role: Some(Role::new("ads")), ..Query::default() }).contains("'ads'"));
    assert!(error(&Query::default()).contains("neither a framework nor a role"));
    let request = Query { request: Some("r".to_owned()), resources: None, ..query("F1", "cpus:1", 1) };
    assert!(error(&request).contains("no request 'r' in role 'web' that waits (there: it has none)"));
    assert!(error(&query("F1", "cpus:1", 10_001)).contains("at most 10000"));
    assert!(error(&query("F1", "", 1)).contains("say what one task needs"));
    assert_eq!(explain(&cluster, &query("F1", "cpus:1", 0)).count, 1);
}

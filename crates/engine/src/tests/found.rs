//! Every mistake that was found in the engine leaves a test here.

use mesos_model::{AgentId, FrameworkId, Resources, Role, Time, resources_text};

use crate::{
    AgentFacts, AgentSlot, Bundle, ClientFacts, ClientSlot, Engine, Options,
    facts::{Request, RoleFacts},
};

fn resources(text: &str) -> Resources {
    resources_text::parse(text, "*").unwrap()
}

fn bundle(text: &str) -> Bundle {
    Bundle::from(&resources(text))
}

fn engine() -> Engine {
    Engine::new(Options::default())
}

fn total(text: &str) -> AgentFacts {
    AgentFacts { total: resources(text), counted: true, offerable: true, ..AgentFacts::default() }
}

fn agent(engine: &mut Engine, name: &str, text: &str) -> AgentSlot {
    let slot = engine.agent(&AgentId::new(name));
    engine.put_agent(slot, total(text));
    slot
}

fn client(engine: &mut Engine, framework: &str, role: &str, hungry: bool) -> ClientSlot {
    let slot = engine.client(&FrameworkId::new(framework), &Role::new(role));
    engine.put_client(Time(0), slot, ClientFacts { hungry, ..ClientFacts::default() }).unwrap();
    slot
}

fn guarantee(text: &str) -> RoleFacts {
    RoleFacts { guarantee: resources(text).scalars(), ..RoleFacts::default() }
}

fn limit(text: &str) -> RoleFacts {
    RoleFacts { limit: resources(text).scalars(), ..RoleFacts::default() }
}

fn need(text: &str, count: u32, hold_ms: u64) -> Request {
    Request {
        name: "n".into(),
        role: None,
        agent: None,
        resources: resources(text),
        count,
        hold_ms: Some(hold_ms),
        priority: None,
    }
}

/// What a round offers: client, agent, bundle.
fn round(engine: &mut Engine, now: u64) -> Vec<(ClientSlot, AgentSlot, String)> {
    let made = engine.round(Time(now));
    engine.check().unwrap();
    made.into_iter().map(|offer| (offer.client, offer.agent, offer.bundle.resources().to_string())).collect()
}

#[test]
fn what_comes_back_to_an_agent_that_has_shrunk_is_not_free_beyond_its_total() {
    let mut engine = engine();
    let a = agent(&mut engine, "a", "cpus:8;mem:800");
    let f = client(&mut engine, "f", "web", true);
    let offer = engine.round(Time(0))[0].number;
    engine.put_agent(a, total("cpus:4;mem:400"));
    engine.close_offer(offer);
    engine.check().unwrap();
    assert_eq!(engine.free(a), resources("cpus:4;mem:400"));
    engine.allocate(a, f, &bundle("cpus:3"));
    engine.allocate(a, f, &bundle("mem:100"));
    engine.put_agent(a, total("cpus:1;mem:400"));
    engine.release(a, f, &bundle("mem:100"), || [bundle("cpus:3")]);
    engine.check().unwrap();
    assert_eq!(engine.free(a), resources("mem:400"));
}

#[test]
fn what_is_allocated_while_it_is_offered_is_not_free_when_the_offer_ends() {
    let mut engine = engine();
    let a = agent(&mut engine, "a", "cpus:8;mem:800");
    let f = client(&mut engine, "f", "web", true);
    let offer = engine.round(Time(0))[0].number;
    engine.allocate(a, f, &bundle("cpus:2;mem:100"));
    engine.close_offer(offer);
    engine.check().unwrap();
    assert_eq!(engine.free(a), resources("cpus:6;mem:700"));
}

#[test]
fn a_guarantee_is_met_by_what_roles_below_it_take() {
    let mut engine = engine();
    let (a, b) = (agent(&mut engine, "a", "cpus:8;mem:800"), agent(&mut engine, "b", "cpus:2;mem:100"));
    engine.set_role(&Role::new("web"), guarantee("cpus:8;mem:800"));
    let f = engine.client(&FrameworkId::new("f"), &Role::new("web/shop"));
    let g = client(&mut engine, "g", "ads", true);
    engine.allocate(a, f, &bundle("cpus:8;mem:800"));
    assert_eq!(round(&mut engine, 0), [(g, b, "cpus:2; mem:100".to_owned())]);
}

#[test]
fn a_guarantee_inside_another_one_is_not_eaten_by_siblings() {
    let mut engine = engine();
    let a = agent(&mut engine, "a", "cpus:10;mem:1000");
    engine.set_role(&Role::new("web"), guarantee("cpus:10"));
    engine.set_role(&Role::new("web/shop"), guarantee("cpus:8"));
    let f = client(&mut engine, "f", "web/blog", true);
    let g = client(&mut engine, "g", "web/shop", true);
    let made = round(&mut engine, 0);
    assert_eq!(made, [(f, a, "cpus:2; mem:1000".to_owned()), (g, a, "cpus:8".to_owned())]);
}

#[test]
fn whom_guarantees_held_back_is_asked_again_when_they_are_met_elsewhere() {
    let mut engine = engine();
    engine.set_role(&Role::new("web"), guarantee("cpus:4"));
    agent(&mut engine, "a", "cpus:4;mem:400");
    agent(&mut engine, "b", "cpus:4;mem:400");
    let f = client(&mut engine, "f", "ads", true);
    let made = round(&mut engine, 0);
    let first = made.iter().find(|offer| offer.2.contains("cpus")).unwrap().clone();
    assert_eq!(made.iter().filter(|offer| offer.2.contains("cpus")).count(), 1, "{made:?}");
    // Something of the guaranteed role runs where nothing is offered: the guarantee is met.
    let c = engine.agent(&AgentId::new("c"));
    engine.put_agent(c, AgentFacts { offerable: false, ..total("cpus:4;mem:400") });
    let g = engine.client(&FrameworkId::new("g"), &Role::new("web"));
    engine.allocate(c, g, &bundle("cpus:4"));
    let made = round(&mut engine, 0);
    assert_eq!(made.len(), 1);
    assert!(made[0].0 == f && made[0].1 != first.1 && made[0].1 != c && made[0].2 == "cpus:4", "{made:?}");
}

#[test]
fn a_slot_that_is_freed_twice_is_given_to_one_only() {
    let mut engine = engine();
    let f = client(&mut engine, "f", "web", false);
    engine.tidy(f);
    engine.tidy(f);
    let (g, h) = (client(&mut engine, "g", "web", true), client(&mut engine, "h", "ads", true));
    assert_ne!(g, h);
}

#[test]
fn whom_guarantees_held_back_in_the_last_term_is_not_forgotten_in_the_next() {
    let mut engine = engine();
    let a = agent(&mut engine, "a", "cpus:4;mem:400");
    engine.set_role(&Role::new("web"), guarantee("cpus:4"));
    let f = client(&mut engine, "f", "ads", true);
    assert_eq!(round(&mut engine, 0), [(f, a, "mem:400".to_owned())]);
    engine.forget_term();
    engine.wake(f);
    assert_eq!(round(&mut engine, 0), [(f, a, "mem:400".to_owned())]);
    let b = agent(&mut engine, "b", "cpus:4");
    engine.put_agent(b, AgentFacts { offerable: false, ..total("cpus:4") });
    round(&mut engine, 0);
    let g = engine.client(&FrameworkId::new("g"), &Role::new("web"));
    engine.allocate(b, g, &bundle("cpus:4"));
    assert_eq!(round(&mut engine, 0), [(f, a, "cpus:4".to_owned())]);
}

#[test]
fn absurd_requests_are_no_overflow() {
    let mut engine = engine();
    agent(&mut engine, "a", "cpus:4;mem:400");
    let f = client(&mut engine, "f", "web", true);
    let huge = Request { priority: Some(i64::MIN), ..need("", u32::MAX, u64::MAX) };
    let huge = Request { resources: Resources::of(&[("cpus", mesos_model::resources::MILLI_MAX)]), ..huge };
    let small = Request { name: "m".into(), priority: Some(i64::MIN), ..need("cpus:5", 1, 1000) };
    engine.set_requests(Time(0), f, &[huge.clone(), Request { name: "o".into(), ..huge }, small]);
    round(&mut engine, 0);
    engine.put_agent(AgentSlot(0), total("cpus:6;mem:400"));
    round(&mut engine, 1);
}

/// An agent with a disk of its own, which cannot be cut into pieces.
fn with_mount_disk(text: &str, milli: i64) -> AgentFacts {
    let qualifier = mesos_model::resources::Qualifier { disk: vec![1], ..mesos_model::resources::Qualifier::default() };
    let mut facts = total(text);
    let disk =
        mesos_model::Resource { qualifier: Some(qualifier.into()), ..mesos_model::Resource::scalar("disk", milli) };
    facts.total.add_entry(disk);
    facts
}

#[test]
fn a_limit_of_something_else_does_not_hide_disks_of_their_own() {
    let mut engine = engine();
    let a = engine.agent(&AgentId::new("a"));
    engine.put_agent(a, with_mount_disk("cpus:4;mem:400", 200_000));
    engine.set_role(&Role::new("web"), limit("cpus:2"));
    let f = client(&mut engine, "f", "web", true);
    assert_eq!(round(&mut engine, 0), [(f, a, "cpus:2; disk:200; mem:400".to_owned())]);
}

#[test]
fn a_limit_counts_disks_of_their_own_and_the_rest_together() {
    let mut engine = engine();
    let a = engine.agent(&AgentId::new("a"));
    engine.put_agent(a, with_mount_disk("cpus:4;mem:400;disk:50", 200_000));
    engine.set_role(&Role::new("web"), limit("disk:210"));
    let f = client(&mut engine, "f", "web", true);
    assert_eq!(round(&mut engine, 0), [(f, a, "cpus:4; disk:50; mem:400".to_owned())]);
}

#[test]
fn whom_guarantees_held_back_takes_its_due_elsewhere_than_where_it_let_go() {
    let mut engine = engine();
    let (a, b) = (agent(&mut engine, "a", "cpus:4;mem:400"), agent(&mut engine, "b", "cpus:4"));
    engine.set_role(&Role::new("web"), guarantee("cpus:4"));
    engine.set_role(&Role::new("ads"), guarantee("cpus:4"));
    let f = client(&mut engine, "f", "web", true);
    engine.allocate(b, f, &bundle("cpus:4"));
    assert_eq!(round(&mut engine, 0), [(f, a, "mem:400".to_owned())]);
    engine.put_agent(b, AgentFacts { offerable: false, ..total("cpus:4") });
    engine.release(b, f, &bundle("cpus:4"), || []);
    assert_eq!(round(&mut engine, 0), [(f, a, "cpus:4".to_owned())]);
}

#[test]
fn an_agent_that_is_no_longer_in_another_region_is_offered() {
    let mut engine = engine();
    let f = client(&mut engine, "f", "web", true);
    let a = engine.agent(&AgentId::new("a"));
    engine.put_agent(a, AgentFacts { remote: true, ..total("cpus:4") });
    assert_eq!(round(&mut engine, 0), []);
    engine.put_agent(a, total("cpus:4"));
    assert_eq!(round(&mut engine, 0), [(f, a, "cpus:4".to_owned())]);
}

#[test]
fn what_a_need_lets_go_for_a_better_agent_is_offered() {
    let mut engine = engine();
    let (a, b) = (agent(&mut engine, "a", "cpus:4;mem:400"), agent(&mut engine, "b", "cpus:4;mem:400"));
    let f = client(&mut engine, "f", "web", true);
    let g = engine.client(&FrameworkId::new("g"), &Role::new("ads"));
    engine.allocate(a, g, &bundle("cpus:1;mem:10"));
    engine.allocate(b, g, &bundle("cpus:4;mem:400"));
    engine.set_requests(Time(0), f, &[need("cpus:4;mem:400", 1, 10_000)]);
    assert_eq!(round(&mut engine, 0), []);
    assert_eq!(engine.held(a), resources("cpus:3;mem:390"));
    client(&mut engine, "g", "ads", true);
    let first = ClientFacts { hungry: true, priority: 1, ..ClientFacts::default() };
    engine.put_client(Time(0), f, first).unwrap();
    round(&mut engine, 0);
    // All of the other agent becomes free: the need is served there, and what it held is for others.
    engine.release(b, g, &bundle("cpus:4;mem:400"), || []);
    assert_eq!(round(&mut engine, 0)[0], (f, b, "cpus:4; mem:400".to_owned()));
    let made = round(&mut engine, 0);
    assert!(made.iter().any(|offer| offer.1 == a && offer.2 == "cpus:3; mem:390"), "{made:?}");
}

#[test]
fn a_need_that_waits_for_an_agent_that_goes_picks_another_one() {
    let mut engine = engine();
    let (a, b) = (agent(&mut engine, "a", "cpus:4;mem:400"), agent(&mut engine, "b", "cpus:8;mem:800"));
    let g = engine.client(&FrameworkId::new("g"), &Role::new("ads"));
    engine.allocate(a, g, &bundle("cpus:4;mem:400"));
    engine.allocate(b, g, &bundle("cpus:8;mem:800"));
    let f = client(&mut engine, "f", "web", true);
    engine.set_requests(Time(0), f, &[need("cpus:4;mem:400", 1, 10_000)]);
    round(&mut engine, 0);
    let waits_for = engine.needs()[0].waits_for.clone();
    let (gone, other) = if waits_for.ends_with("agent a") { (a, b) } else { (b, a) };
    engine.put_agent(gone, AgentFacts { offerable: false, ..total("cpus:8;mem:800") });
    round(&mut engine, 0);
    let what = engine.allocated(other);
    engine.release(other, g, &Bundle::from(&what.minus(&resources("cpus:5;mem:300"))), || []);
    round(&mut engine, 0);
    assert!(!engine.held(other).is_empty() || engine.needs().is_empty(), "{:?}", engine.needs());
}

#[test]
fn volumes_that_several_may_use_are_not_offered_alone() {
    let mut engine = engine();
    let reservation = mesos_model::resources::Reservation {
        kind: mesos_model::resources::ReservationKind::Dynamic,
        role: Role::new("web"),
        principal: None,
        labels: Vec::new(),
    };
    let qualifier =
        mesos_model::resources::Qualifier { reservations: vec![reservation], shared: true, ..Default::default() };
    let mut facts = total("cpus:4;mem:400");
    let volume = mesos_model::Resource::scalar("disk", 64_000);
    facts.total.add_entry(mesos_model::Resource { qualifier: Some(qualifier.into()), ..volume });
    let a = engine.agent(&AgentId::new("a"));
    engine.put_agent(a, facts);
    let nothing = [("cpus".into(), 0), ("mem".into(), 0)].into();
    engine.set_role(&Role::new("web"), RoleFacts { limit: nothing, ..RoleFacts::default() });
    let f = engine.client(&FrameworkId::new("f"), &Role::new("web"));
    let abilities = crate::Abilities { shared: true, ..crate::Abilities::default() };
    let facts = ClientFacts { hungry: true, abilities, minimum: Some(Vec::new()), ..ClientFacts::default() };
    engine.put_client(Time(0), f, facts).unwrap();
    assert_eq!(round(&mut engine, 0), []);
}

#[test]
fn whoever_takes_anything_is_offered_what_its_limit_leaves_of_other_scalars() {
    let mut engine = engine();
    let a = agent(&mut engine, "a", "cpus:1;mem:512;licences:5");
    let nothing = [("cpus".into(), 0), ("mem".into(), 0)].into();
    engine.set_role(&Role::new("a"), RoleFacts { limit: nothing, ..RoleFacts::default() });
    let f = engine.client(&FrameworkId::new("f"), &Role::new("a"));
    let facts = ClientFacts { hungry: true, minimum: Some(Vec::new()), ..ClientFacts::default() };
    engine.put_client(Time(0), f, facts).unwrap();
    let g = client(&mut engine, "g", "b", true);
    // It is so too if another one takes the rest first.
    let made = round(&mut engine, 0);
    assert_eq!(made, [(f, a, "licences:5".to_owned()), (g, a, "cpus:1; mem:512".to_owned())]);
}

#[test]
fn when_everybody_forgets_what_they_refused_on_an_agent_they_are_asked_again() {
    let mut engine = engine();
    let a = agent(&mut engine, "a", "cpus:4");
    let f = client(&mut engine, "f", "web", true);
    let offer = engine.round(Time(0))[0].clone();
    engine.close_offer(offer.number);
    engine.refuse(f, a, &offer.bundle, Time(10_000));
    assert_eq!(round(&mut engine, 0), []);
    engine.drop_filters_on(a);
    assert_eq!(round(&mut engine, 0), [(f, a, "cpus:4".to_owned())]);
}

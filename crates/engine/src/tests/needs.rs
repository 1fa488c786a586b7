//! Room that is gathered for big tasks and for gangs.

use mesos_model::{AgentId, FrameworkId, Role, Time};

use super::{
    mirror::Pick,
    theory::{hungry, put_agent},
    world::{amounts, request, resources},
};
use crate::{
    Bundle, ClientSlot, Decision, Engine, Options,
    facts::{Request, RoleFacts},
};

fn engine(agents: usize, total: &str) -> Engine {
    let mut engine = Engine::new(Options { offer_timeout: None, ..Options::default() });
    for n in 0..agents {
        put_agent(&mut engine, &format!("s{n}"), &resources(total));
    }
    engine
}

fn need(text: &str, count: u32, hold_ms: u64) -> Request {
    Request { name: "big".into(), hold_ms: Some(hold_ms), ..request(text, count) }
}

/// Small tasks of one framework: takes from each of its offers, declines the rest.
fn run_small(engine: &mut Engine, made: &[Decision], small: ClientSlot, running: &mut Vec<(crate::AgentSlot, Bundle)>) {
    let task = Bundle::from(&resources("cpus:1;mem:100"));
    for offer in made.iter().filter(|offer| offer.client == small) {
        engine.close_offer(offer.number);
        let mut left = offer.bundle.clone();
        while left.contains(&task) {
            engine.allocate(offer.agent, small, &task);
            running.push((offer.agent, task.clone()));
            left.take_what_is_there(&task);
        }
    }
}

#[test]
fn a_big_task_gets_room_while_small_ones_come_and_go() {
    let mut pick = Pick::new(3);
    let mut engine = engine(3, "cpus:8;mem:800");
    let small = hungry(&mut engine, "small", "a");
    let mut running = Vec::new();
    let made = engine.round(Time(0));
    run_small(&mut engine, &made, small, &mut running);
    assert_eq!(running.len(), 24);
    let big = hungry(&mut engine, "big", "b");
    engine.set_requests(Time(0), big, &[need("cpus:8;mem:800", 1, 1_000_000)]);
    let wanted = Bundle::from(&resources("cpus:8;mem:800"));
    for now in 0..200 {
        // One small task ends, and whatever is offered is filled with small tasks at once.
        let (agent, task) = running.swap_remove(pick.below(running.len()));
        engine.release(agent, small, &task, Vec::new);
        let made = engine.round(Time(now));
        engine.check().unwrap();
        if let Some(offer) = made.iter().find(|offer| offer.client == big && offer.bundle == wanted) {
            assert!(engine.needs().is_empty());
            assert_eq!(engine.offers_to(big), [offer.number]);
            return;
        }
        run_small(&mut engine, &made, small, &mut running);
        // Without the need every place would be taken again at once.
        let others: Vec<u64> = engine.offers_to(big);
        others.into_iter().for_each(|number| drop(engine.close_offer(number)));
    }
    panic!("the big task got no room: {:?}", engine.needs());
}

#[test]
fn a_gang_is_offered_at_once_or_not_at_all() {
    let mut engine = engine(3, "cpus:4;mem:400");
    let other = engine.client(&FrameworkId::new("other"), &Role::new("a"));
    let agents: Vec<_> = (0..3).map(|n| engine.find_agent(&AgentId::new(format!("s{n}"))).unwrap()).collect();
    for agent in &agents {
        engine.allocate(*agent, other, &Bundle::from(&resources("cpus:3;mem:10")));
    }
    let gang = hungry(&mut engine, "gang", "b");
    engine.set_requests(Time(0), gang, &[need("cpus:4;mem:50", 3, 1_000_000)]);
    // What it does not need of its agents it is offered as ever.
    assert!(engine.round(Time(0)).iter().all(|offer| offer.bundle.resources().scalar("cpus") == 0));
    for (n, agent) in agents.iter().enumerate() {
        engine.release(*agent, other, &Bundle::from(&resources("cpus:3;mem:10")), Vec::new);
        let whole: Vec<_> = engine
            .round(Time(1))
            .into_iter()
            .filter(|offer| offer.bundle.contains(&Bundle::from(&resources("cpus:4;mem:50"))))
            .collect();
        engine.check().unwrap();
        assert_eq!(whole.len(), if n == 2 { 3 } else { 0 }, "after {n}");
    }
}

#[test]
fn when_the_time_is_over_everything_is_let_go() {
    let mut engine = engine(2, "cpus:4;mem:400");
    let other = engine.client(&FrameworkId::new("other"), &Role::new("a"));
    let s0 = engine.find_agent(&AgentId::new("s0")).unwrap();
    engine.allocate(s0, other, &Bundle::from(&resources("cpus:1;mem:10")));
    let gang = hungry(&mut engine, "gang", "b");
    engine.set_requests(Time(0), gang, &[need("cpus:4;mem:400", 2, 5000)]);
    engine.round(Time(0));
    assert_eq!(engine.needs()[0].gathered, 1);
    assert!(!engine.held(s0).is_empty());
    engine.tick(Time(4999));
    assert_eq!(engine.needs().len(), 1);
    assert_eq!(engine.deadline(), Some(Time(5000)));
    engine.tick(Time(5000));
    engine.check().unwrap();
    assert_eq!((engine.needs().len(), engine.needs_expired()), (0, 1));
    // And whoever wants it is offered it.
    let made = engine.round(Time(5000));
    assert_eq!(made.len(), 2);
}

#[test]
fn what_is_held_counts_for_shares_and_limits() {
    let mut engine = engine(2, "cpus:4;mem:400");
    let other = engine.client(&FrameworkId::new("other"), &Role::new("a"));
    for n in 0..2 {
        let agent = engine.find_agent(&AgentId::new(format!("s{n}"))).unwrap();
        engine.allocate(agent, other, &Bundle::from(&resources("cpus:1;mem:10")));
    }
    engine.set_role(&Role::new("b"), RoleFacts { limit: amounts("cpus:5"), ..RoleFacts::default() });
    let gang = hungry(&mut engine, "gang", "b");
    engine.set_requests(Time(0), gang, &[need("cpus:4;mem:400", 2, 5000)]);
    engine.round(Time(0));
    engine.check().unwrap();
    assert_eq!(engine.sums(gang)["cpus"], 5000);
    assert_eq!(engine.consumed(&Role::new("b"))["cpus"], 5000);
}

#[test]
fn nothing_is_held_of_what_is_kept_for_guarantees_of_others() {
    let mut engine = engine(1, "cpus:8;mem:800");
    engine.set_role(&Role::new("a"), RoleFacts { guarantee: amounts("cpus:4"), ..RoleFacts::default() });
    let big = hungry(&mut engine, "big", "b");
    engine.set_requests(Time(0), big, &[need("cpus:8;mem:800", 1, 5000)]);
    engine.round(Time(0));
    assert_eq!(engine.consumed(&Role::new("b"))["cpus"], 4000);
    let owed = hungry(&mut engine, "owed", "a");
    let made = engine.round(Time(0));
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].client, made[0].bundle.resources().scalar("cpus")), (owed, 4000));
    engine.check().unwrap();
}

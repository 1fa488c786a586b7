//! What becomes of plans for an agent that goes.

use mesos_engine::{
    AgentFacts, Bundle, ClientFacts, Engine, Options,
    facts::{Constraint, Constraints, Predicate, Request, Selector},
};
use mesos_model::{AgentId, FrameworkId, Resources, Role, Time, resources_text::parse};

fn resources(text: &str) -> Resources {
    parse(text, "*").unwrap()
}

fn agent(hostname: &str) -> AgentFacts {
    AgentFacts {
        total: resources("cpus:8;mem:4096"),
        hostname: hostname.to_owned(),
        counted: true,
        offerable: true,
        ..AgentFacts::default()
    }
}

#[test]
fn a_need_that_waited_for_an_agent_does_not_wait_for_the_next_one_in_its_place() {
    let mut engine = Engine::new(Options::default());
    let now = Time(1000);
    let busy = engine.client(&FrameworkId::new("busy"), &Role::new("ads"));
    engine.put_client(now, busy, ClientFacts { hungry: true, ..ClientFacts::default() }).unwrap();
    let picky = engine.client(&FrameworkId::new("picky"), &Role::new("web"));
    let only = Constraint { selector: Selector::Hostname, predicate: Predicate::TextEquals("n1".to_owned()) };
    let constraints = Some(Constraints { groups: vec![vec![only]] });
    engine.put_client(now, picky, ClientFacts { hungry: true, constraints, ..ClientFacts::default() }).unwrap();
    let first = engine.agent(&AgentId::new("S1"));
    engine.put_agent(first, agent("n1"));
    let all = Bundle::from(&resources("cpus:8;mem:4096"));
    engine.allocate(first, busy, &all);
    let need = Request {
        name: "big".to_owned(),
        role: None,
        agent: None,
        resources: resources("cpus:6"),
        count: 1,
        hold_ms: Some(60_000),
        priority: None,
    };
    engine.set_requests(now, picky, &[need]);
    engine.round(now);
    assert_eq!(engine.needs()[0].waits_for, "cpus:6 more on agent S1");
    engine.put_agent(first, AgentFacts { offerable: false, ..agent("n1") });
    engine.release(first, busy, &all, Vec::new);
    engine.forget_agent(first);
    let second = engine.agent(&AgentId::new("S2"));
    engine.put_agent(second, agent("n2"));
    engine.round(now);
    // It is an agent that the framework's constraint rules out.
    assert_eq!(engine.offers_to(picky), []);
    assert_eq!(engine.held(second), Resources::new());
    assert_eq!(engine.needs()[0].waits_for, "an agent for 1 more of 1 tasks");
    engine.check().unwrap();
}

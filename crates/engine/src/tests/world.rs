//! An engine and its reference side by side: every call goes to both, and both must agree.

use std::collections::BTreeMap;

use mesos_model::{AgentId, FrameworkId, Resources, Role, Time, resources_text};

use super::reference::{Changed, Key, Made, Reference, exclusive};
use crate::{
    AgentFacts, AgentSlot, Bundle, ClientFacts, ClientSlot, Engine, Options, Policy,
    cycle::{Cut, Stage},
    facts::{Amounts, PolicyName, Request, RoleFacts},
};

pub(crate) fn resources(text: &str) -> Resources {
    resources_text::parse(text, "*").unwrap()
}

/// Amounts by name; unlike among resources, nothing of something counts.
pub(crate) fn amounts(text: &str) -> Amounts {
    let entry = |part: &str| {
        let (name, _) = part.split_once(':').unwrap();
        (name.trim().into(), resources(part).scalar(name.trim()))
    };
    text.split(';').filter(|part| !part.trim().is_empty()).map(entry).collect()
}

pub(crate) fn key(framework: &str, role: &str) -> Key {
    (FrameworkId::new(framework), Role::new(role))
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) reference: Reference,
    /// The reference does not know the policy or what is gathered: only what must always hold is compared.
    pub(crate) alone: bool,
    slots: BTreeMap<AgentId, AgentSlot>,
    pub(crate) log: Vec<String>,
}

impl World {
    pub(crate) fn new(options: Options) -> World {
        World {
            engine: Engine::new(options.clone()),
            reference: Reference::new(options),
            alone: false,
            slots: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        Time(self.reference.now)
    }

    fn note(&mut self, call: String) {
        self.log.push(call);
    }

    /// What both must agree on at any time.
    pub(crate) fn compare(&self) -> Result<(), String> {
        self.engine.check()?;
        let engine = &self.engine;
        let names = |amounts: Amounts| -> BTreeMap<String, i64> {
            amounts.into_iter().map(|(name, milli)| (name.to_string(), milli)).collect()
        };
        let same = |what: &str, left: BTreeMap<String, i64>, mut right: BTreeMap<String, i64>| {
            right.retain(|_, milli| *milli != 0);
            if left == right { Ok(()) } else { Err(format!("{what}: {left:?} in the engine, {right:?} expected")) }
        };
        for slot in self.slots.values() {
            let agent = self.engine.agent_id(*slot);
            let (free, offered) = (engine.free(*slot), engine.offered(*slot));
            if self.alone {
                self.conserves(*slot)?;
                continue;
            }
            if free != self.reference.free(slot.0) {
                return Err(format!("agent {agent}: {free} is free, {} expected", self.reference.free(slot.0)));
            }
            if offered != self.reference.offered_on(slot.0) {
                return Err(format!("agent {agent}: {offered} is offered"));
            }
        }
        same("total", names(engine.total()), self.reference.total())?;
        if self.alone {
            return Ok(());
        }
        for state in engine.roles() {
            same(&format!("consumed of {}", state.role), names(state.consumed), self.reference.consumed(&state.role))?;
        }
        for client in self.reference.clients.keys() {
            let slot = engine.find_client(&client.0, &client.1).ok_or_else(|| format!("{client:?} is forgotten"))?;
            let expected = self.reference.sums(|of| of == client);
            same(&format!("sums of {client:?}"), names(engine.sums(slot)), expected)?;
        }
        Ok(())
    }

    /// Offered, held, allocated and free together are what an agent has, if no more is allocated than that.
    fn conserves(&self, slot: AgentSlot) -> Result<(), String> {
        let engine = &self.engine;
        let total = exclusive(&self.reference.agents[&slot.0].facts.total);
        let taken = engine.allocated(slot).plus(&engine.offered(slot)).plus(&engine.held(slot));
        let sum = engine.free(slot).plus(&taken);
        let offerable = self.reference.agents[&slot.0].facts.offerable;
        if engine.is_crowded(slot) || !offerable || sum == total {
            return Ok(());
        }
        Err(format!("agent {}: it has {total}, but free and taken are {sum}", engine.agent_id(slot)))
    }

    pub(crate) fn slot(&mut self, agent: &str) -> AgentSlot {
        let id = AgentId::new(agent);
        let slot = self.engine.agent(&id);
        self.slots.insert(id, slot);
        self.reference.agents.entry(slot.0).or_default();
        slot
    }

    pub(crate) fn agents(&self) -> Vec<AgentSlot> {
        self.slots.values().copied().collect()
    }

    pub(crate) fn client(&mut self, key: &Key) -> ClientSlot {
        self.reference.know(key);
        self.engine.client(&key.0, &key.1)
    }

    pub(crate) fn put_agent(&mut self, agent: &str, facts: AgentFacts) {
        let slot = self.slot(agent);
        self.note(format!(
            "put agent {agent} (slot {}) {} offerable:{} counted:{} remote:{}",
            slot.0, facts.total, facts.offerable, facts.counted, facts.remote
        ));
        self.reference.put_agent(slot.0, facts.clone());
        self.engine.put_agent(slot, facts);
    }

    pub(crate) fn drop_filters_on(&mut self, agent: &str) {
        let slot = self.slot(agent);
        self.note(format!("drop filters on {agent}"));
        self.reference.drop_filters_on(slot.0);
        self.engine.drop_filters_on(slot);
    }

    /// Only if nothing is on it.
    pub(crate) fn forget_agent(&mut self, agent: &str) {
        let slot = self.slot(agent);
        if self.engine.is_empty(slot) {
            self.note(format!("forget agent {agent}"));
            self.engine.forget_agent(slot);
            self.reference.forget_agent(slot.0);
            self.slots.remove(&AgentId::new(agent));
        }
    }

    pub(crate) fn put_client(&mut self, key: &Key, facts: ClientFacts) {
        let slot = self.client(key);
        self.note(format!("put client {key:?} {facts:?}"));
        self.reference.put_client(key, facts.clone());
        self.engine.put_client(Time(self.reference.now), slot, facts).unwrap();
    }

    pub(crate) fn set_role(&mut self, role: &str, facts: RoleFacts) {
        self.note(format!("set role {role} {facts:?}"));
        let role = Role::new(role);
        self.reference.set_role(&role, facts.clone());
        self.engine.set_role(&role, facts);
    }

    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.note(format!("policy {:?}", policy.name()));
        self.alone |= policy.name() == PolicyName::Random;
        self.reference.policy = policy.name();
        self.engine.set_policy(policy);
    }

    pub(crate) fn allocate(&mut self, agent: AgentSlot, key: &Key, what: &Resources) {
        let client = self.client(key);
        self.note(format!("allocate on {} to {key:?} {what}", self.engine.agent_id(agent)));
        self.reference.allocate(agent.0, key, what);
        self.engine.allocate(agent, client, &Bundle::from(what));
    }

    pub(crate) fn launched(&mut self, key: &Key, what: &Resources) {
        let client = self.client(key);
        self.note(format!("launched {key:?} {what}"));
        self.reference.launched(key, what);
        self.engine.launched(client, &Bundle::from(what));
        self.tidy(key);
    }

    /// Releases the n-th of the allocations on an agent.
    pub(crate) fn release(&mut self, agent: AgentSlot, n: usize) {
        let held = &mut self.reference.agents.get_mut(&agent.0).unwrap().held;
        if held.is_empty() {
            return;
        }
        let n = n % held.len();
        let (key, what) = held.remove(n);
        let rest: Vec<Bundle> = held.iter().map(|(_, what)| Bundle::from(what)).collect();
        self.note(format!("release on {} of {key:?} {what}", self.engine.agent_id(agent)));
        let client = self.client(&key);
        self.engine.release(agent, client, &Bundle::from(&what), || rest);
        self.tidy(&key);
    }

    pub(crate) fn tidy(&mut self, key: &Key) {
        self.reference.tidy(key);
        if let Some(client) = self.engine.find_client(&key.0, &key.1) {
            self.engine.tidy(client);
        }
    }

    /// Closes an offer; refuses what was in it for so long.
    pub(crate) fn close(&mut self, number: u64, refuse_ms: Option<u64>) -> (Key, AgentSlot, Resources) {
        self.note(format!("close offer {number}, refused for {refuse_ms:?} ms"));
        let closed = self.engine.close_offer(number).unwrap();
        let (framework, role) = self.engine.client_of(closed.client);
        let key = (framework.clone(), role.clone());
        let bundle = closed.bundle.resources();
        if let Some(ms) = refuse_ms {
            let until = self.reference.now + ms;
            self.engine.refuse(closed.client, closed.agent, &closed.bundle, Time(until));
            self.reference.refuse(&key, closed.agent.0, &bundle, until);
        }
        self.reference.offers.remove(&number);
        self.tidy(&key);
        (key, closed.agent, bundle)
    }

    pub(crate) fn revive(&mut self, key: &Key) {
        let Some(client) = self.engine.find_client(&key.0, &key.1) else { return };
        self.note(format!("revive {key:?}"));
        self.reference.drop_filters(key);
        self.engine.drop_filters(client);
        self.engine.wake(client);
    }

    pub(crate) fn request(&mut self, key: &Key, requests: &[Request]) {
        let client = self.client(key);
        self.note(format!("request {key:?} {requests:?}"));
        self.alone |= requests.iter().any(|request| request.hold_ms.is_some());
        let mut demand: BTreeMap<String, i64> = BTreeMap::new();
        for request in requests {
            for (name, milli) in request.resources.scalars() {
                *demand.entry(name.to_string()).or_insert(0) += milli * i64::from(request.count.max(1));
            }
        }
        self.reference.set_demand(key, demand);
        self.engine.set_requests(Time(self.reference.now), client, requests);
    }

    pub(crate) fn tick(&mut self, ms: u64) {
        self.reference.now += ms;
        self.note(format!("time {}", self.reference.now));
        self.engine.tick(Time(self.reference.now));
    }

    /// Who the engine is going to ask about what.
    fn changed(&self) -> Changed {
        let key = |at: &u32| {
            let (framework, role) = self.engine.client_of(ClientSlot(*at));
            (framework.clone(), role.clone())
        };
        Changed {
            settled: self.engine.is_settled(),
            dirty: self.engine.agents.dirty.iter().copied().collect(),
            waking: self.engine.waking.iter().map(key).collect(),
            unfiltered: self.engine.unfiltered.iter().map(|(at, agents)| (key(at), agents.clone())).collect(),
        }
    }

    /// A round of both.
    pub(crate) fn round(&mut self) -> Result<Vec<Made>, String> {
        self.note("round".to_owned());
        let now = self.now();
        // The first thing that a round does; who is woken by it chooses among all agents.
        if !self.engine.is_settled() {
            self.engine.wake_on_surplus();
        }
        let changed = self.changed();
        let (engine, slots) = (&mut self.engine, &self.slots);
        let made: Vec<Made> = engine
            .round(now)
            .into_iter()
            .map(|offer| {
                let (framework, role) = engine.client_of(offer.client);
                (offer.number, framework.clone(), role.clone(), offer.agent.0, offer.bundle.resources())
            })
            .collect();
        debug_assert!(made.iter().all(|offer| slots.values().any(|slot| slot.0 == offer.3)));
        for offer in &made {
            self.log.push(format!("  {} {}/{} agent {} {}", offer.0, offer.1, offer.2, offer.3, offer.4));
        }
        if !self.alone {
            let expected = self.reference.round(&changed);
            if expected != made {
                let lines = |made: &[Made]| -> String {
                    let line =
                        |offer: &Made| format!("  {} {}/{} agent {} {}\n", offer.0, offer.1, offer.2, offer.3, offer.4);
                    made.iter().map(line).collect()
                };
                return Err(format!("the engine decided\n{}expected was\n{}", lines(&made), lines(&expected)));
            }
        }
        self.nothing_wanted_is_left()?;
        Ok(made)
    }

    /// After a round no hungry client could be offered anything that is free.
    pub(crate) fn nothing_wanted_is_left(&self) -> Result<(), String> {
        let mut engine = self.engine.clone();
        let now = self.now();
        for client in 0..u32::try_from(engine.tree.clients.len()).unwrap() {
            if !engine.tree.clients[client as usize].hungry {
                continue;
            }
            for agent in self.slots.values() {
                for stage in [Stage::Guarantee, Stage::Fair] {
                    if let Ok(bundle) = engine.consider(now, agent.0, client, stage, &mut Cut::default()) {
                        let (framework, role) = engine.client_of(ClientSlot(client));
                        return Err(format!("{framework}/{role} was not offered {bundle:?} of {agent:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn request(text: &str, count: u32) -> Request {
    Request {
        name: String::new(),
        role: None,
        agent: None,
        resources: resources(text),
        count,
        hold_ms: None,
        priority: None,
    }
}

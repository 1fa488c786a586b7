//! Why something waits, and what would help.
//!
//! Everything here is found by trying: a copy of the engine takes all open offers back, makes offers to everybody
//! in one round, as it always does, and what the asked framework was offered then is measured against what it
//! asks for. A remedy is a change after which the same trial has room for all of it, and after a smaller change
//! of its kind has not. So an explanation is right as far as nothing else happens meanwhile, and costs as many
//! rounds as it tries changes: at most [`ROUNDS_MAX`], and fewer on clusters of thousands of agents.
//!
//! What is held for other needs stays held in a trial. What is held for the need that is asked about, if one is,
//! is let go, and its tasks are looked for among offers as any others are.

pub(crate) mod blockers;
pub(crate) mod demand;
mod remedies;
pub(crate) mod words;

pub use remedies::{AGENTS_ONE_BY_ONE, step_of, weight_ladder};

use std::collections::BTreeMap;

use mesos_model::{FrameworkId, Resources, Role, Time};

use crate::{
    bundle::{Bundle, HOT},
    engine::{ClientSlot, Decision, Engine},
    explain::{
        blockers::Blocked,
        demand::{Demand, times_in_all},
    },
    explanation::{Change, Explanation, Query, Turn, Why},
};

/// Rounds of offers that one explanation tries at most. A kind of change whose smallest one is not found before
/// that is left out.
pub const ROUNDS_MAX: u32 = 200;
/// Rounds that are tried on however large a cluster, and agents in all rounds beyond that: so an explanation takes
/// no longer than about a second of a processor.
const ROUNDS_MIN: u32 = 40;
const WORK_MAX: u32 = 600_000;
/// By how much a role's weight is multiplied, as fractions: of weights, the smallest that helps is looked for
/// among these.
pub const WEIGHT_LADDER: [(u64, u64); 7] = [(5, 4), (3, 2), (2, 1), (3, 1), (5, 1), (10, 1), (100, 1)];
/// Tasks that can be asked about, and agents that can be added, at once.
pub const COUNT_MAX: u32 = 10_000;
/// Places in the order of turns that are told.
const TURNS_MAX: usize = 10;
/// What a framework that takes any offer is taken to ask for: Mesos's smallest offer.
const LEAST: [(&str, i64); 1] = [(HOT[0], 10)];

/// What is asked about, with everything that the question leaves open filled in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) framework: FrameworkId,
    pub(crate) role: Role,
    pub(crate) demand: Demand,
    pub(crate) count: u32,
    /// The question, with nothing left open.
    pub(crate) query: Query,
}

/// What came of offering everything that is free anew.
#[derive(Debug)]
pub(crate) struct Trial {
    /// Afterwards.
    pub(crate) engine: Engine,
    pub(crate) made: Vec<Decision>,
    /// What the asked framework was offered, by agent.
    pub(crate) given: BTreeMap<u32, Bundle>,
}

impl Engine {
    /// Why a framework, a role or a need gets nothing or not all, and what would help.
    ///
    /// # Errors
    /// Says what of the query is not known, or is wrong.
    pub fn explain(&self, now: Time, query: &Query) -> Result<Explanation, String> {
        let mut base = self.clone();
        base.tick(now);
        match base.resolve(query)? {
            Ok(asked) => Ok(base.explain_asked(self, now, &asked)),
            Err(role) => Ok(nobody(role, query)),
        }
    }

    /// For how many of the tasks that are asked about there is room in the next offers, once all open offers are
    /// back.
    ///
    /// # Errors
    /// Says what of the query is not known, or is wrong.
    pub fn placeable(&self, now: Time, query: &Query) -> Result<u32, String> {
        let mut base = self.clone();
        base.tick(now);
        let Ok(asked) = base.resolve(query)? else { return Ok(0) };
        base.take_everything_back(&asked);
        let trial = base.offer_anew(now, &asked);
        Ok(times_in_all(&asked.demand, &trial.given, asked.count))
    }

    fn explain_asked(mut self, present: &Engine, now: Time, asked: &Asked) -> Explanation {
        self.take_everything_back(asked);
        let suppressed = self.slot_of(asked).is_some_and(|slot| !self.is_hungry(slot));
        let trial = self.clone().offer_anew(now, asked);
        let placeable = times_in_all(&asked.demand, &trial.given, asked.count);
        let (blockers, turns, remedies) = if suppressed {
            let remedies = remedies::if_suppressed(&self, now, asked);
            // What would bind if it had not suppressed the role is worth knowing too. Reviving fails only for
            // what is not known.
            let _ = self.apply(now, &Change::Revive, &mut asked.query.clone());
            let revived = self.clone().offer_anew(now, asked);
            let turns = self.turns(asked);
            (Blocked::new(present, self, now, asked, &revived).blockers(true), turns, remedies)
        } else {
            let turns = self.turns(asked);
            let blockers = Blocked::new(present, self.clone(), now, asked, &trial).blockers(false);
            let remedies =
                if placeable < asked.count { remedies::find(&self, now, asked, &trial, &blockers) } else { Vec::new() };
            (blockers, turns, remedies)
        };
        let summary = words::summary(asked, placeable, suppressed, &blockers);
        Explanation {
            framework: Some(asked.framework.clone()),
            role: asked.role.clone(),
            demand: asked.demand.resources.clone(),
            count: asked.count,
            placeable,
            summary,
            blockers,
            turns,
            remedies,
        }
    }

    /// Fills in what a query leaves open. The inner error is a role that no framework is in.
    pub(crate) fn resolve(&self, query: &Query) -> Result<Result<Asked, Role>, String> {
        if query.count > COUNT_MAX {
            return Err(format!(
                "{} tasks are too many to ask about at once; ask for at most {COUNT_MAX}",
                query.count
            ));
        }
        let Some((framework, role)) = self.resolve_client(query)? else {
            return Ok(Err(query.role.clone().unwrap_or_default()));
        };
        let (resources, count) = self.resolve_demand(query, &framework, &role)?;
        let query = Query {
            framework: Some(framework.clone()),
            role: Some(role.clone()),
            request: query.request.clone(),
            resources: Some(resources.clone()),
            count,
            fresh: query.fresh,
        };
        Ok(Ok(Asked { framework, role, demand: Demand::new(&resources), count, query }))
    }

    fn resolve_client(&self, query: &Query) -> Result<Option<(FrameworkId, Role)>, String> {
        match (&query.framework, &query.role) {
            (None, None) => Err("the query names neither a framework nor a role; name one of them".to_owned()),
            (Some(framework), role) => {
                let mut roles: Vec<(u64, &Role)> = Vec::new();
                for (of, node) in self.tree.roles() {
                    if let Some(client) = self.tree.nodes[node as usize].clients.get(framework) {
                        roles.push((self.tree.clients[*client as usize].arrival, of));
                    }
                }
                roles.sort();
                let first = roles.first().ok_or_else(|| {
                    format!("framework {framework} is not known here; list the frameworks and take an id from there")
                })?;
                match role {
                    None => Ok(Some((framework.clone(), first.1.clone()))),
                    Some(role) if roles.iter().any(|(_, of)| *of == role) => {
                        Ok(Some((framework.clone(), role.clone())))
                    }
                    Some(role) => {
                        let names: Vec<&str> = roles.iter().map(|(_, role)| role.as_str()).collect();
                        Err(format!(
                            "framework {framework} is not in role '{role}'; it is in {}, ask for one of these",
                            names.join(", ")
                        ))
                    }
                }
            }
            (None, Some(role)) => {
                if self.tree.find_node(role).is_none() {
                    return Err(format!(
                        "role '{role}' is not known: no framework is in it and nothing is set for it; list the roles \
                         and take a name from there"
                    ));
                }
                Ok(self.first_in(role))
            }
        }
    }

    /// The framework in a role, or below it, whose turn is first; one that wants no offers only if there is no
    /// other.
    fn first_in(&self, role: &Role) -> Option<(FrameworkId, Role)> {
        let of = |at: u32| {
            let client = &self.tree.clients[at as usize];
            (client.framework.clone(), client.role.clone())
        };
        let is_in = |(_, of): &(FrameworkId, Role)| crate::cycle::is_role_or_ancestor(role, of);
        let hungry = self.tree.clone().in_order().into_iter().map(of).find(is_in);
        let any = || {
            let nodes = self.tree.roles().map(|(_, node)| &self.tree.nodes[node as usize]);
            nodes.flat_map(|node| node.clients.values().copied()).map(of).find(is_in)
        };
        hungry.or_else(any)
    }

    fn resolve_demand(&self, query: &Query, framework: &FrameworkId, role: &Role) -> Result<(Resources, u32), String> {
        if let Some(resources) = query.resources.as_ref() {
            if resources.is_empty() {
                return Err("the query asks for no resources; say what one task needs, for example cpus:1".to_owned());
            }
            return Ok((resources.clone(), query.count.max(1)));
        }
        if let Some(name) = &query.request {
            let needs: Vec<_> =
                self.needs().into_iter().filter(|need| need.framework == *framework && need.role == *role).collect();
            let Some(need) = needs.iter().find(|need| need.name == *name) else {
                let names: Vec<&str> = needs.iter().map(|need| need.name.as_str()).collect();
                let there = if names.is_empty() { "it has none".to_owned() } else { names.join(", ") };
                return Err(format!(
                    "framework {framework} has no request '{name}' in role '{role}' that waits (there: {there}); \
                     name one of these, or give resources and a count"
                ));
            };
            return Ok((need.resources.clone(), need.count));
        }
        let minimum = self
            .find_client(framework, role)
            .and_then(|slot| self.tree.clients[slot.0 as usize].minimum.clone())
            .unwrap_or_else(|| self.minimum.clone());
        let mut least = Resources::new();
        for (kind, amount) in minimum.first().into_iter().flatten() {
            least.add_entry(mesos_model::Resource::scalar(self.kinds.name(*kind), *amount));
        }
        Ok((if least.is_empty() { Resources::of(&LEAST) } else { least }, query.count.max(1)))
    }

    pub(crate) fn slot_of(&self, asked: &Asked) -> Option<ClientSlot> {
        self.find_client(&asked.framework, &asked.role)
    }

    /// All open offers are over, and what is held for the need that is asked about is let go.
    pub(crate) fn take_everything_back(&mut self, asked: &Asked) {
        if let (Some(name), Some(slot)) = (&asked.query.request, self.slot_of(asked)) {
            self.drop_need(slot.0, name);
        }
        self.close_all_offers();
    }

    pub(crate) fn close_all_offers(&mut self) {
        for number in self.offers.numbers() {
            self.close_offer(number);
        }
    }

    /// Makes offers to everybody of everything that is free.
    pub(crate) fn offer_anew(mut self, now: Time, asked: &Asked) -> Trial {
        self.wake_everybody();
        let made = self.round(now);
        let mut given: BTreeMap<u32, Bundle> = BTreeMap::new();
        if let Some(slot) = self.slot_of(asked) {
            for decision in made.iter().filter(|decision| decision.client == slot) {
                given.entry(decision.agent.0).or_default().add(&decision.bundle);
            }
        }
        Trial { engine: self, made, given }
    }

    fn turns(&mut self, asked: &Asked) -> Vec<Turn> {
        let Some(slot) = self.slot_of(asked) else { return Vec::new() };
        let order = self.tree.in_order();
        let Some(place) = order.iter().position(|at| *at == slot.0) else { return Vec::new() };
        let before = place.min(TURNS_MAX - 1);
        let told = order[..before].iter().chain([&order[place]]);
        told.map(|at| {
            let client = &self.tree.clients[*at as usize];
            Turn {
                framework: client.framework.clone(),
                role: client.role.clone(),
                share_ppm: self.tree.client_share(*at).parts(1_000_000),
                weight: self.tree.nodes[client.node as usize].facts.weight,
                priority: client.priority,
            }
        })
        .collect()
    }
}

/// The explanation of a role that nobody is in.
fn nobody(role: Role, query: &Query) -> Explanation {
    Explanation {
        framework: None,
        summary: format!("no framework is in role '{role}', so nothing is offered to it"),
        role,
        demand: query.resources.clone().unwrap_or_default(),
        count: query.count.max(1),
        placeable: 0,
        blockers: Vec::new(),
        turns: Vec::new(),
        remedies: Vec::new(),
    }
}

impl Why {
    /// What it does to so many agents, for a list after their number.
    pub(crate) fn of_agents(self, agents: u32) -> String {
        let are = if agents == 1 { "is" } else { "are" };
        let have = if agents == 1 { "has" } else { "have" };
        match self {
            Why::NotConnected => "the framework is not connected".to_owned(),
            Why::Suppressed => "the role is suppressed".to_owned(),
            Why::AgentAway => format!("{are} away"),
            Why::TooSmall => format!("{are} too small"),
            Why::Gpus => format!("{have} gpus that the framework does not know of"),
            Why::Region => format!("{are} in another region"),
            Why::Constraint => format!("{are} ruled out by constraints"),
            Why::InUse => format!("{are} in use by tasks"),
            Why::Offered => format!("{are} offered to others"),
            Why::Held => format!("{are} held for other needs"),
            Why::Reserved => format!("{are} reserved for other roles"),
            Why::Unfit => format!("{have} only what the framework does not take"),
            Why::Limit => format!("{are} beyond a limit"),
            Why::Headroom => format!("{are} kept for guarantees"),
            Why::Minimum => format!("{are} below the smallest offer"),
            Why::Filter => format!("{are} refused by the framework"),
            Why::Turn => format!("go{} to others first", if agents == 1 { "es" } else { "" }),
            Why::Nothing => format!("{have} room"),
        }
    }
}

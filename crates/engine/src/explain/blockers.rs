//! What binds on each agent.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{AgentId, Resource, Resources, Time, resources_text::milli_text};

use crate::{
    bundle::Bundle,
    cycle::{Cut, Stage, is_role_or_ancestor},
    engine::Engine,
    explain::{
        Asked, Trial,
        demand::Demand,
        words::{self, agents, most_of},
    },
    explanation::{Blocker, Why},
    rules::Rule,
};

/// Agents that are named as examples of a blocker.
const EXAMPLES_MAX: usize = 3;

/// What is known of all agents for which the same binds.
#[derive(Debug, Default)]
struct Tally {
    agents: u32,
    examples: Vec<AgentId>,
    /// By resource: on how many agents there is too little, and the most that one of these has.
    shorts: BTreeMap<String, (u32, i64)>,
    /// Frameworks, roles, constraints: on how many agents each.
    names: BTreeMap<String, u32>,
}

/// The search for what binds.
pub(crate) struct Blocked<'a> {
    /// As it is, with its open offers.
    present: &'a Engine,
    /// With all offers taken back.
    base: Engine,
    trial: &'a Trial,
    now: Time,
    asked: &'a Asked,
    client: u32,
    /// Single constraints: what each says, alone.
    rules: Vec<Vec<(String, Rule)>>,
    holders: BTreeMap<u32, BTreeSet<String>>,
    takers: BTreeMap<u32, BTreeSet<String>>,
    tallies: BTreeMap<Why, Tally>,
}

impl<'a> Blocked<'a> {
    pub(crate) fn new(
        present: &'a Engine,
        mut base: Engine,
        now: Time,
        asked: &'a Asked,
        trial: &'a Trial,
    ) -> Blocked<'a> {
        let client = base.client(&asked.framework, &asked.role).0;
        // Verdicts of the copy's round hold for the copy before it too, but the surplus must be fresh.
        base.tree.freshen();
        let constraints = base.tree.clients[client as usize].rule.as_deref().map(Rule::constraints);
        let alone = |constraint: &crate::facts::Constraint| {
            let only = crate::facts::Constraints { groups: vec![vec![constraint.clone()]] };
            Rule::new(&only).ok().map(|rule| (words::constraint(constraint), rule))
        };
        let rules = constraints.map_or_else(Vec::new, |constraints| {
            constraints.groups.iter().map(|group| group.iter().filter_map(alone).collect()).collect()
        });
        let mut holders: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        for need in base.needs() {
            for (agent, _) in &need.held {
                if let Some(at) = base.agents.find(agent) {
                    let name = format!("request '{}' of {}", need.name, need.framework);
                    holders.entry(at).or_default().insert(name);
                }
            }
        }
        let mut takers: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        for decision in trial.made.iter().filter(|decision| decision.client.0 != client) {
            let (framework, role) = trial.engine.client_of(decision.client);
            takers.entry(decision.agent.0).or_default().insert(format!("{framework} in role {role}"));
        }
        Blocked { present, base, trial, now, asked, client, rules, holders, takers, tallies: BTreeMap::new() }
    }

    /// The reasons, the one on most agents first; what is not about agents stands before them.
    pub(crate) fn blockers(&mut self, suppressed: bool) -> Vec<Blocker> {
        let all: Vec<(AgentId, u32)> = self.base.agents.ids().map(|(id, at)| (id.clone(), at)).collect();
        for (id, at) in all {
            let why = self.why(at);
            let tally = self.tallies.entry(why).or_default();
            tally.agents += 1;
            if tally.examples.len() < EXAMPLES_MAX {
                tally.examples.push(id);
            }
        }
        let tallies = std::mem::take(&mut self.tallies);
        let mut out: Vec<Blocker> = tallies
            .into_iter()
            .map(|(why, tally)| Blocker {
                why,
                detail: self.detail(why, &tally, suppressed),
                agents: tally.agents,
                examples: tally.examples,
            })
            .collect();
        out.sort_by_key(|blocker| std::cmp::Reverse(blocker.agents));
        if suppressed {
            let detail = format!(
                "framework {} has suppressed role {}; the other reasons would bind after it revives",
                self.asked.framework, self.asked.role
            );
            out.insert(0, Blocker { why: Why::Suppressed, detail, agents: 0, examples: Vec::new() });
        }
        out
    }

    fn note_shorts(&mut self, why: Why, have: &Bundle) -> Why {
        let tally = self.tallies.entry(why).or_default();
        for short in self.asked.demand.shorts(have) {
            let entry = tally.shorts.entry(short.name.to_string()).or_insert((0, 0));
            *entry = (entry.0 + 1, entry.1.max(short.have));
        }
        why
    }

    fn note_names(&mut self, why: Why, names: impl IntoIterator<Item = String>) -> Why {
        let tally = self.tallies.entry(why).or_default();
        for name in names {
            *tally.names.entry(name).or_insert(0) += 1;
        }
        why
    }

    /// The first thing that binds on an agent.
    fn why(&mut self, at: u32) -> Why {
        let demand = &self.asked.demand;
        let slot = self.base.agents.get(at);
        if !slot.offerable {
            return Why::AgentAway;
        }
        let with_shared = |mut bundle: Bundle| {
            if let Some(shared) = &slot.shared {
                bundle.add(shared);
            }
            bundle
        };
        let whole = with_shared(slot.total.clone());
        if !demand.fits(&whole) {
            return self.note_shorts(Why::TooSmall, &whole);
        }
        let left = slot.total.minus(&slot.allocated);
        let (unused, free) = (with_shared(left.clone()), with_shared(slot.free.clone()));
        let offered = self.offered_to_others(at);
        let not_offered = with_shared(left.minus(&offered.0));
        if let Err(why) = self.base.admits(at, self.client) {
            let names = self.failing(why, at);
            return self.note_names(why, names);
        }
        if !demand.fits(&unused) {
            return self.note_shorts(Why::InUse, &unused);
        }
        if !demand.fits(&not_offered) {
            return self.note_names(Why::Offered, offered.1);
        }
        if !demand.fits(&free) {
            let names = self.holders.get(&at).cloned().unwrap_or_default();
            return self.note_names(Why::Held, names);
        }
        if self.trial.given.get(&at).is_some_and(|given| demand.fits(given)) {
            return Why::Nothing;
        }
        let role = &self.asked.role;
        let is_ours =
            |resource: &Resource| resource.reserved_for().is_none_or(|reserved| is_role_or_ancestor(reserved, role));
        if !demand.fits(&free.keep(is_ours)) {
            let others: BTreeSet<String> = free
                .rest()
                .into_iter()
                .flatten()
                .filter(|resource| is_asked_for(demand, resource) && !is_ours(resource))
                .filter_map(|resource| resource.reserved_for().map(|role| format!("role {role}")))
                .collect();
            return self.note_names(Why::Reserved, others);
        }
        let takeable = self.base.takeable(at, self.client);
        if !demand.fits(&takeable) {
            let kinds = kinds_of_special(demand, &free.minus(&takeable));
            return self.note_names(Why::Unfit, kinds);
        }
        self.why_quota(at, takeable)
    }

    fn why_quota(&mut self, at: u32, takeable: Bundle) -> Why {
        let demand = &self.asked.demand;
        let mut cut = Cut::default();
        let bundle = match self.base.within_quota(takeable.clone(), self.client, Stage::Fair, &mut cut) {
            Ok(bundle) if demand.fits(&bundle) => bundle,
            _ => return self.limit_or_headroom(&takeable, false),
        };
        if !self.base.is_enough(&self.base.tree.clients[self.client as usize], &bundle) {
            return Why::Minimum;
        }
        if self.base.filters.hides(self.now, self.client, at, &bundle) {
            return Why::Filter;
        }
        // Everything was well before the round, so the round itself gave it away.
        let given = self.trial.given.get(&at);
        let mut left = self.trial.engine.takeable(at, self.client);
        left.add(given.unwrap_or(&Bundle::default()));
        if !demand.fits(&left) {
            let names = self.takers.get(&at).cloned().unwrap_or_default();
            return self.note_names(Why::Turn, names);
        }
        let mut cut = Cut::default();
        match self.trial.engine.within_quota(left.clone(), self.client, Stage::Fair, &mut cut) {
            Ok(bundle) if demand.fits(&bundle) => {
                let names = self.takers.get(&at).cloned().unwrap_or_default();
                self.note_names(Why::Turn, names)
            }
            _ => self.limit_or_headroom(&left, true),
        }
    }

    /// Whether limits alone make it too little, before the round or after it.
    fn limit_or_headroom(&mut self, bundle: &Bundle, after: bool) -> Why {
        let engine = if after { &self.trial.engine } else { &self.base };
        let node = engine.tree.clients[self.client as usize].node;
        let allowed = bundle.shrink(&engine.kinds, |kind| engine.tree.allowance(node, kind));
        if self.asked.demand.fits(&allowed) {
            return Why::Headroom;
        }
        let names: Vec<String> = binding_limits(engine, node, &self.asked.demand)
            .into_iter()
            .map(|(role, name, limit, consumed)| {
                let each = self.asked.demand.amount(&name);
                words::limit(&role, &name, limit, consumed, each, self.asked.count)
            })
            .collect();
        self.note_names(Why::Limit, names)
    }

    fn offered_to_others(&self, at: u32) -> (Bundle, BTreeSet<String>) {
        let (mut sum, mut names) = (Bundle::default(), BTreeSet::new());
        // The copy's clock may have made the slot of a client that is gone free; names are the same in both.
        for offer in self.present.offers.of_agent(&self.present.agents, at) {
            let client = &self.present.tree.clients[offer.client as usize];
            if (&client.framework, &client.role) != (&self.asked.framework, &self.asked.role) {
                sum.add(&offer.bundle.without_shared());
                names.insert(format!("{} in role {}", client.framework, client.role));
            }
        }
        (sum, names)
    }

    /// What an agent that may not be seen fails on, in words.
    fn failing(&self, why: Why, at: u32) -> Vec<String> {
        let slot = self.base.agents.get(at);
        match why {
            Why::Constraint => {
                let failing = |group: &Vec<(String, Rule)>| {
                    group.iter().find(|(_, rule)| !rule.admits(slot.looks())).map(|(text, _)| text.clone())
                };
                let texts: BTreeSet<String> = self.rules.iter().filter_map(failing).collect();
                texts.into_iter().collect()
            }
            Why::Region => slot.domain.iter().map(|(region, _)| format!("region {region}")).collect(),
            _ => Vec::new(),
        }
    }

    fn detail(&self, why: Why, tally: &Tally, suppressed: bool) -> String {
        let names = most_of(&tally.names);
        match why {
            Why::AgentAway => "unreachable, deactivated, draining or not registered yet".to_owned(),
            Why::TooSmall => self.shorts(tally, "the largest of them has"),
            Why::InUse => self.shorts(tally, "tasks leave at most"),
            Why::Gpus => "they have gpus, and the framework lacks the capability GPU_RESOURCES".to_owned(),
            Why::Region => format!("they are in {names}, and the framework lacks the capability REGION_AWARE"),
            Why::Constraint => format!("not so: {names}"),
            Why::Offered => format!("open offers of them are with {names}"),
            Why::Held => format!("room is gathered on them for {names}"),
            Why::Reserved => format!("what is free is reserved for {names}"),
            Why::Unfit => format!("what is free is {names}; the framework has not said that it takes such"),
            Why::Limit => tally.names.keys().cloned().collect::<Vec<_>>().join("; "),
            Why::Headroom => self.headroom(),
            Why::Minimum => self.minimum(),
            Why::Filter => "the framework declined offers of them, and its filters have not ended".to_owned(),
            Why::Turn if names.is_empty() => "others are offered it first".to_owned(),
            Why::Turn => format!("offered first to {names}"),
            Why::Nothing if suppressed => {
                format!("{} would be offered after it revives", agents(tally.agents))
            }
            Why::Nothing => format!("the next offers have room on {}", agents(tally.agents)),
            Why::NotConnected | Why::Suppressed => String::new(),
        }
    }

    fn shorts(&self, tally: &Tally, at_most: &str) -> String {
        let demand = &self.asked.demand;
        let parts: Vec<String> = tally
            .shorts
            .iter()
            .map(|(name, (count, most))| {
                format!("{name} on {}, {at_most} {} of {}", agents(*count), milli_text(*most), demand.wanted(name))
            })
            .collect();
        if parts.is_empty() { "not all of it is on one agent".to_owned() } else { parts.join("; ") }
    }

    fn headroom(&self) -> String {
        let engine = &self.base;
        let missing = engine.tree.all_missing();
        let mut parts = Vec::new();
        for kind in 0..engine.kinds.count() {
            let name = engine.kinds.name(kind);
            if self.asked.demand.amount(name) > 0 && missing.get(kind) > 0 {
                parts.push(format!(
                    "{} free, {} of that kept",
                    words::amount(name, engine.agents.headroom.get(kind)),
                    milli_text(missing.get(kind))
                ));
            }
        }
        let whose: Vec<String> = engine
            .tree
            .roles()
            .filter(|(_, at)| {
                let node = &engine.tree.nodes[*at as usize];
                node.guarantee.iter().any(|(kind, amount)| node.consumed(*kind) < *amount)
            })
            .map(|(role, _)| role.to_string())
            .collect();
        let more = if whose.len() > EXAMPLES_MAX { " and others" } else { "" };
        let whose: Vec<String> = whose.into_iter().take(EXAMPLES_MAX).collect();
        format!("{} for guarantees of {}{more}", parts.join(", "), whose.join(", "))
    }

    fn minimum(&self) -> String {
        let client = &self.base.tree.clients[self.client as usize];
        let least = client.minimum.as_ref().unwrap_or(&self.base.minimum);
        let alternatives: Vec<String> = least
            .iter()
            .map(|bundle| {
                let mut resources = Resources::new();
                for (kind, amount) in bundle {
                    resources.add_entry(Resource::scalar(self.base.kinds.name(*kind), *amount));
                }
                words::resources(&resources)
            })
            .collect();
        let whose = if client.minimum.is_some() { "the framework takes" } else { "is made" };
        format!("the smallest offer that {whose} is {}", alternatives.join(" or "))
    }
}

/// Limits on the way to the root that have no room for one more task: role, resource, limit, consumed.
pub(crate) fn binding_limits(
    engine: &Engine,
    node: u32,
    demand: &Demand,
) -> Vec<(mesos_model::Role, String, i64, i64)> {
    let mut out = Vec::new();
    for node in engine.tree.path(node) {
        for (kind, limit) in &node.limit {
            let (name, consumed) = (engine.kinds.name(*kind), node.consumed(*kind));
            let each = demand.amount(name);
            if each > 0 && limit - consumed < each {
                out.push((node.role.clone(), name.to_string(), *limit, consumed));
            }
        }
    }
    out
}

fn is_asked_for(demand: &Demand, resource: &Resource) -> bool {
    demand.resources.iter().any(|asked| asked.name == resource.name)
}

/// Of what kinds resources are that ordinary frameworks are not offered.
fn kinds_of_special(demand: &Demand, hidden: &Bundle) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for resource in hidden.rest().into_iter().flatten().filter(|resource| is_asked_for(demand, resource)) {
        let stacked = resource.qualifier.as_ref().is_some_and(|qualifier| qualifier.reservations.len() > 1);
        out.extend(resource.is_revocable().then(|| "revocable".to_owned()));
        out.extend(resource.is_shared().then(|| "shared".to_owned()));
        out.extend(stacked.then(|| "of refined reservations".to_owned()));
    }
    out
}

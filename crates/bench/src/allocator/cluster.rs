//! The engine with its agents and frameworks, as Mesos's allocator had them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, anyhow, bail, ensure};
use mesos_engine::{AgentFacts, AgentSlot, Bundle, ClientFacts, ClientSlot, Decision, Engine, Options};
use mesos_model::{AgentId, FrameworkId, Resources, Role, Time, resources_text::parse};

use super::Size;

/// What every agent has, apart from those of `quota`.
pub(crate) const WHOLE: &str = "cpus:24;mem:4096;disk:4096;ports:[31000-32000]";

/// The engine, who is in it, and the time.
pub(crate) struct Cluster {
    pub(crate) engine: Engine,
    pub(crate) agents: Vec<AgentSlot>,
    pub(crate) clients: Vec<ClientSlot>,
    pub(crate) now: Time,
}

/// Resources from their text.
pub(crate) fn resources(text: &str) -> Result<Resources> {
    parse(text, "*").map_err(|error| anyhow!("'{text}' are no resources: {error}"))
}

/// A bundle from its text.
pub(crate) fn bundle(text: &str) -> Result<Bundle> {
    Ok(Bundle::from(&resources(text)?))
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        // In Mesos it is the master that takes offers back, not the allocator.
        let options = Options { offer_timeout: None, ..Options::default() };
        Cluster { engine: Engine::new(options), agents: Vec::new(), clients: Vec::new(), now: Time(1_000_000) }
    }

    /// Adds agents that are alike; ids are made before time is taken.
    pub(crate) fn add_agents(&mut self, ids: &[AgentId], total: &Resources) {
        for id in ids {
            let slot = self.engine.agent(id);
            let facts = AgentFacts {
                total: total.clone(),
                hostname: id.as_str().to_owned(),
                counted: true,
                offerable: true,
                ..AgentFacts::default()
            };
            self.engine.put_agent(slot, facts);
            self.agents.push(slot);
        }
    }

    /// Adds frameworks, each in one role.
    pub(crate) fn add_frameworks(&mut self, frameworks: &[(FrameworkId, Role)]) -> Result<()> {
        for (id, role) in frameworks {
            let slot = self.engine.client(id, role);
            let facts = ClientFacts { hungry: true, ..ClientFacts::default() };
            if let Err(error) = self.engine.put_client(self.now, slot, facts) {
                bail!("framework {id}: {error}");
            }
            self.clients.push(slot);
        }
        Ok(())
    }

    /// A second passes, and whatever can be offered is offered.
    pub(crate) fn round(&mut self) -> Vec<Decision> {
        self.now = self.now.after(Duration::from_secs(1));
        self.engine.tick(self.now);
        self.engine.round(self.now)
    }

    /// Everybody gives back what was offered, and does not want it again for a while if there is one.
    pub(crate) fn decline(&mut self, offers: &[Decision], refuse: Option<Duration>) {
        let until = refuse.map(|span| self.now.after(span));
        for offer in offers {
            if let (Some(closed), Some(until)) = (self.engine.close_offer(offer.number), until) {
                self.engine.refuse(closed.client, closed.agent, &closed.bundle, until);
            }
        }
    }

    /// What the engine itself can check.
    pub(crate) fn check(&self) -> Result<()> {
        if let Err(error) = self.engine.check() {
            bail!("the engine has gone wrong: {error}");
        }
        Ok(())
    }
}

/// `agent1` to `agent<count>`.
pub(crate) fn agent_ids(count: usize) -> Vec<AgentId> {
    (1..=count).map(|number| AgentId::new(format!("agent{number}"))).collect()
}

/// `framework1` and so on, dealt to the roles one after the other.
pub(crate) fn frameworks(size: Size) -> Vec<(FrameworkId, Role)> {
    let role = |at: usize| if size.roles == 1 { Role::new("*") } else { Role::new(format!("role{}", at % size.roles)) };
    (0..size.frameworks).map(|at| (FrameworkId::new(format!("framework{}", at + 1)), role(at))).collect()
}

/// There must be one offer of each agent, with all of `what`.
pub(crate) fn ensure_each_agent_once(cluster: &Cluster, offers: &[Decision], what: &Bundle) -> Result<()> {
    let mut agents: Vec<AgentSlot> = offers.iter().map(|offer| offer.agent).collect();
    agents.sort_unstable();
    agents.dedup();
    ensure!(
        offers.len() == cluster.agents.len() && agents.len() == offers.len(),
        "{} offers of {} agents, not one of each of {}",
        offers.len(),
        agents.len(),
        cluster.agents.len()
    );
    let other = offers.iter().find(|offer| offer.bundle != *what);
    ensure!(other.is_none(), "an offer of {:?}", other.map(|offer| offer.bundle.resources()));
    Ok(())
}

/// All frameworks must have equally many offers.
pub(crate) fn ensure_equal_parts(offers: &[Decision], frameworks: usize) -> Result<()> {
    let mut parts: BTreeMap<ClientSlot, usize> = BTreeMap::new();
    for offer in offers {
        *parts.entry(offer.client).or_default() += 1;
    }
    let (least, most) = (parts.values().min().copied(), parts.values().max().copied());
    ensure!(
        parts.len() == frameworks && least == most,
        "{} of {frameworks} frameworks were offered from {least:?} to {most:?} agents",
        parts.len()
    );
    Ok(())
}

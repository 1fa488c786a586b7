//! Pools that grow and shrink by themselves: from what is seen to what is decided, and done.

use mesos_core::{message::Amounts, row::NodeState};
use mesos_model::Time;

use super::{
    AgentSeen, Node, Out, Pools,
    auto::{Decision, Facts, Idle, Waiting, decide, lacking},
};

/// What waited in one look and still does in the next. What waits no longer than from one to the next is placed by
/// what there is.
fn lasting(before: &[Waiting], now: &[Waiting]) -> Vec<Waiting> {
    let mut before = before.to_vec();
    let mut both = Vec::new();
    for (need, count) in now {
        if let Some((_, was)) = before.iter_mut().find(|(same, was)| same == need && *was > 0) {
            both.push((need.clone(), (*count).min(*was)));
            *was = 0;
        }
    }
    both
}

impl Pools {
    /// Has each pool decide that may, once for each look.
    pub(super) fn decide_by_themselves(&mut self, now: Time, out: &mut Out) {
        let Some(lead) = self.lead.as_mut() else { return };
        if !std::mem::take(&mut lead.fresh) {
            return;
        }
        let Some(picture) = lead.picture.take() else { return };
        let mut waiting = lasting(&lead.before, &picture.waiting);
        // A pool whose group was not seen yet does not know what it has.
        let ready: Vec<String> = self
            .definitions
            .iter()
            .filter(|definition| self.is_auto(definition))
            .filter(|definition| !self.is_group(&definition.name) || self.group_of(&definition.name).is_some())
            .map(|definition| definition.name.clone())
            .collect();
        let active: Vec<&AgentSeen> = picture.agents.iter().filter(|agent| agent.active && agent.reachable).collect();
        for name in ready {
            // What an earlier pool has just decided counts for the next.
            waiting = self.decide_one(now, &name, &active, waiting, out);
        }
        if let Some(lead) = self.lead.as_mut() {
            lead.picture = Some(picture);
        }
    }

    fn group_of(&self, pool: &str) -> Option<super::Group> {
        self.pools.get(pool).and_then(|pool| pool.group)
    }

    fn decide_one(
        &mut self,
        now: Time,
        name: &str,
        active: &[&AgentSeen],
        waiting: Vec<Waiting>,
        out: &mut Out,
    ) -> Vec<Waiting> {
        let Some(definition) = self.definition(name).cloned() else { return waiting };
        let Some(auto) = &definition.auto else { return waiting };
        let node = definition.resources.scalars();
        let (mut rooms, mut total, mut used) = (Vec::new(), 0, 0);
        for agent in active {
            rooms.push(agent.free.clone());
            total += agent.total.scalar("cpus");
            used += agent.allocated.scalar("cpus");
        }
        let idle = self.idle(name, active, &rooms);
        for coming in self.coming() {
            total += coming.get("cpus").copied().unwrap_or(0);
            rooms.push(coming);
        }
        let bounds = self.group_of(name);
        let facts = Facts {
            now,
            min: definition.min.max(bounds.map_or(0, |group| group.min)),
            max: definition.max.min(bounds.map_or(u32::MAX, |group| group.max)),
            wanted: self.size(name),
            node: &node,
            changed: self.pools.get(name).map(|pool| pool.row.changed).unwrap_or_default(),
            waiting: &waiting,
            rooms: &rooms,
            used,
            total,
            idle: &idle,
        };
        let decision = decide(auto, &facts);
        let note = match &decision {
            Decision::Stay(why) => why.clone(),
            Decision::Add(count, why) => format!("added {count}: {why}"),
            Decision::Remove(nodes, why) => format!("took out {}: {why}", nodes.join(", ")),
        };
        let left = match decision {
            Decision::Stay(_) => lacking(&waiting, rooms, &node, 0).left,
            Decision::Add(count, _) => {
                self.add(now, &definition, count, &definition.resources, out);
                lacking(&waiting, rooms, &node, count).left
            }
            Decision::Remove(nodes, _) => {
                for node in nodes {
                    self.set_state(now, &node, NodeState::Checking, out);
                }
                waiting
            }
        };
        let pool = self.pools.entry(name.to_owned()).or_default();
        if pool.note != note {
            tracing::info!(pool = name, "{note}");
            pool.note = note;
        }
        left
    }

    /// What nodes on their way will have, of all pools.
    fn coming(&self) -> Vec<Amounts> {
        let on_the_way = |node: &&Node| matches!(node.row.state, NodeState::Adding | NodeState::Joining);
        let mut coming: Vec<Amounts> =
            self.nodes.values().filter(on_the_way).map(|node| node.row.resources.scalars()).collect();
        for definition in self.definitions.iter().filter(|definition| self.is_group(&definition.name)) {
            // A group's new instances have no rows before they are seen.
            let seen = self.nodes_of(&definition.name).filter(|node| node.row.state.is_wanted()).count();
            let unseen = (self.size(&definition.name) as usize).saturating_sub(seen);
            coming.extend(std::iter::repeat_n(definition.resources.scalars(), unseen));
        }
        coming
    }

    /// Nodes of a pool without work, those without work for longest first.
    fn idle(&self, name: &str, active: &[&AgentSeen], rooms: &[Amounts]) -> Vec<Idle> {
        let idle = |node: &Node| {
            let since = node.idle.filter(|_| !node.busy)?;
            let id = node.row.agent.as_ref()?;
            let room = active.iter().position(|agent| agent.id == *id).filter(|room| *room < rooms.len())?;
            Some(Idle { node: node.row.node.clone(), since, has: active[room].total.scalars(), room })
        };
        let mut found: Vec<Idle> = self.nodes_of(name).filter_map(idle).collect();
        found.sort_by(|a, b| (a.since, &a.node).cmp(&(b.since, &b.node)));
        found
    }
}

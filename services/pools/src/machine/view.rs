//! Pools and nodes, to look at.

use std::collections::BTreeSet;

use mesos_core::message::{NodeView, PoolView};

use super::{Node, Pools};

impl Pools {
    /// All pools: those of the file in its order, then those that only have nodes.
    pub(super) fn view(&self) -> Vec<PoolView> {
        let defined: Vec<&str> = self.definitions.iter().map(|definition| definition.name.as_str()).collect();
        let others: BTreeSet<&str> = self.nodes.values().map(|node| node.row.pool.as_str()).collect();
        let others: Vec<&str> = others.into_iter().filter(|pool| !defined.contains(pool)).collect();
        defined.into_iter().chain(others).map(|name| self.view_one(name)).collect()
    }

    fn view_one(&self, name: &str) -> PoolView {
        let (definition, pool) = (self.definition(name), self.pools.get(name));
        let trouble = match (definition, pool) {
            (None, _) => "the file of pools does not have it any more: nothing is done with its nodes".to_owned(),
            (Some(_), pool) => {
                let own = pool.map(|pool| pool.trouble.clone()).filter(|why| !why.is_empty());
                own.or_else(|| self.lead.as_ref().map(|lead| lead.trouble.clone())).unwrap_or_default()
            }
        };
        PoolView {
            pool: name.to_owned(),
            kind: definition.map(|definition| definition.kind.name().to_owned()).unwrap_or_default(),
            size: self.size(name),
            min: definition.map_or(0, |definition| definition.min),
            max: definition.map_or(0, |definition| definition.max),
            auto: definition.is_some_and(|definition| self.is_auto(definition)),
            resources: definition.map(|definition| definition.resources.clone()).unwrap_or_default(),
            note: pool.map(|pool| pool.note.clone()).unwrap_or_default(),
            trouble,
            nodes: self.nodes_of(name).map(node_view).collect(),
        }
    }
}

fn node_view(node: &Node) -> NodeView {
    let (row, seen) = (&node.row, node.seen.as_ref());
    NodeView {
        node: row.node.clone(),
        state: row.state,
        since: row.since,
        resources: seen.map_or_else(|| row.resources.clone(), |agent| agent.total.clone()),
        allocated: seen.map(|agent| agent.allocated.clone()).unwrap_or_default(),
        place: row.place.clone(),
        hostname: row.hostname.clone().or_else(|| seen.map(|agent| agent.hostname.clone())),
        agent: row.agent.clone(),
        trouble: node.trouble.clone(),
    }
}

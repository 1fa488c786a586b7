//! What operators ask: Add, Remove, Set, List.

use mesos_core::{
    message::{Answer, AnswerBody, Call, PoolsCall},
    row::{NodeRow, NodeState, PoolCall, Row},
};
use mesos_model::{CallId, Resources, Time};

use super::{NODES_MAX, Node, Out, Pools};
use crate::definition::{Definition, Kind, check_resources};

/// Nodes of one call.
const COUNT_MAX: u32 = 1000;
/// Calls that are remembered of each pool, and for how long at least.
const CALLS_MAX: usize = 256;
const CALLS_FOR: std::time::Duration = std::time::Duration::from_secs(600);

type Refusal = (u16, String);

fn bad(text: impl Into<String>) -> Refusal {
    (400, text.into())
}

fn shown(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

impl Pools {
    /// A call from a gateway.
    pub(super) fn call(&mut self, now: Time, call: Call<PoolsCall>, out: &mut Out) -> Answer {
        if let Some(done) = self.done_before(&call.call) {
            return Answer::ok(done);
        }
        let id = call.call;
        let outcome = match call.what {
            PoolsCall::List => return Answer::ok(AnswerBody::Pools(self.view())),
            PoolsCall::Add { pool, count, resources } => self.add_call(now, pool.as_deref(), count, &resources, out),
            PoolsCall::Remove { pool, nodes, count, grace_ms, force } => {
                self.remove_call(now, pool.as_deref(), &nodes, count, (grace_ms, force), out)
            }
            PoolsCall::Set { pool, size, auto } => self.set_call(now, &pool, size, auto, out),
        };
        match outcome {
            Ok((pool, nodes)) => {
                let size = self.size(&pool);
                self.remember(now, &pool, PoolCall { call: id, time: now, nodes: nodes.clone(), size }, out);
                Answer::ok(AnswerBody::Resized { pool, nodes, size })
            }
            Err((status, text)) => Answer::refused(status, text),
        }
    }

    fn done_before(&self, call: &CallId) -> Option<AnswerBody> {
        self.pools.values().find_map(|pool| {
            let done = pool.row.calls.iter().find(|done| done.call == *call)?;
            Some(AnswerBody::Resized { pool: pool.row.pool.clone(), nodes: done.nodes.clone(), size: done.size })
        })
    }

    fn remember(&mut self, now: Time, pool: &str, done: PoolCall, out: &mut Out) {
        self.change_pool(pool, out, |row| {
            row.calls.push(done);
            let old = row.calls.iter().take_while(|call| now.since(call.time) > CALLS_FOR).count();
            let many = row.calls.len().saturating_sub(CALLS_MAX);
            row.calls.drain(..old.max(many));
        });
    }

    fn names(&self) -> String {
        self.definitions.iter().map(|definition| definition.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The pool that is meant.
    fn meant(&self, pool: Option<&str>) -> Result<Definition, Refusal> {
        match (pool, &self.definitions[..]) {
            (Some(name), _) => self
                .definition(name)
                .cloned()
                .ok_or_else(|| (404, format!("there is no pool '{}'; there are: {}", shown(name), self.names()))),
            (None, [only]) => Ok(only.clone()),
            (None, _) => Err(bad(format!("name one of the pools: {}", self.names()))),
        }
    }

    fn add_call(
        &mut self,
        now: Time,
        pool: Option<&str>,
        count: u32,
        resources: &Resources,
        out: &mut Out,
    ) -> Result<(String, Vec<String>), Refusal> {
        let definition = self.meant(pool)?;
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(bad(format!("count: expected 1 to {COUNT_MAX}")));
        }
        check_resources(resources).map_err(bad)?;
        let resources = asked(&definition, resources)?;
        self.has_room(&definition, count)?;
        let nodes = self.add(now, &definition, count, &resources, out);
        Ok((definition.name, nodes))
    }

    /// Refuses what would be too many nodes.
    fn has_room(&self, definition: &Definition, count: u32) -> Result<(), Refusal> {
        let (name, size) = (&definition.name, self.size(&definition.name));
        let after = size.saturating_add(count);
        if after > definition.max {
            let max = definition.max;
            return Err((409, format!("pool {name} has {size} nodes and its max is {max}: {count} more are too many")));
        }
        if let Kind::Aws(aws) = &definition.kind {
            let known = self.pools.get(name);
            let Some(group) = known.and_then(|pool| pool.group) else {
                let why = known.map(|pool| pool.trouble.clone()).filter(|why| !why.is_empty());
                let why = why.unwrap_or_else(|| "try again".to_owned());
                return Err((
                    409,
                    format!("the Auto Scaling group {} of pool {name} was not seen yet: {why}", aws.group),
                ));
            };
            if after > group.max {
                let max = group.max;
                let text = format!(
                    "pool {name} has {size} nodes and MaxSize of its Auto Scaling group {} is {max}: {count} more are too many",
                    aws.group
                );
                return Err((409, text));
            }
        }
        if self.nodes.len() + count as usize > NODES_MAX {
            return Err((409, format!("all pools together have {NODES_MAX} nodes at most")));
        }
        Ok(())
    }

    /// So many more nodes; their names, where they have any yet.
    pub(super) fn add(
        &mut self,
        now: Time,
        definition: &Definition,
        count: u32,
        resources: &Resources,
        out: &mut Out,
    ) -> Vec<String> {
        let pool = definition.name.as_str();
        if matches!(definition.kind, Kind::Aws(_)) {
            self.change_pool(pool, out, |row| {
                row.size = Some(row.size.unwrap_or(0).saturating_add(count));
                (row.owed, row.changed) = (true, now);
            });
            return Vec::new();
        }
        let mut names = Vec::new();
        let mut next = self.pools.get(pool).map_or(0, |pool| pool.row.next);
        while names.len() < count as usize {
            next += 1;
            let node = format!("{pool}-{next}");
            // A store that lost its last commits counts again from before them.
            if self.nodes.contains_key(&node) {
                continue;
            }
            let row = NodeRow {
                node: node.clone(),
                pool: pool.to_owned(),
                state: NodeState::Adding,
                since: now,
                created: now,
                resources: resources.clone(),
                place: None,
                hostname: None,
                agent: None,
                grace_ms: None,
                force: false,
            };
            out.put(Row::Node(row.clone()));
            self.nodes.insert(node.clone(), Node::new(row));
            names.push(node);
        }
        self.change_pool(pool, out, |row| (row.next, row.changed) = (next, now));
        names
    }

    fn remove_call(
        &mut self,
        now: Time,
        pool: Option<&str>,
        named: &[String],
        count: u32,
        (grace_ms, force): (Option<u64>, bool),
        out: &mut Out,
    ) -> Result<(String, Vec<String>), Refusal> {
        let (definition, nodes) = if named.is_empty() {
            let definition = self.meant(pool)?;
            let nodes = self.least(&definition.name, count)?;
            (definition, nodes)
        } else {
            self.named(pool, named)?
        };
        self.may_shrink(&definition, &nodes)?;
        for node in &nodes {
            self.leave(now, node, grace_ms, force, out);
        }
        Ok((definition.name, nodes))
    }

    /// Refuses to take out what would be added again at once.
    fn may_shrink(&self, definition: &Definition, nodes: &[String]) -> Result<(), Refusal> {
        let wanted = nodes.iter().filter_map(|name| self.nodes.get(name)).filter(|node| node.row.state.is_wanted());
        let count = u32::try_from(wanted.count()).unwrap_or(u32::MAX);
        let (name, size) = (&definition.name, self.size(&definition.name));
        let after = size.saturating_sub(count);
        if count > 0 && self.is_auto(definition) && after < definition.min {
            let text = format!(
                "pool {name} has {size} nodes and its min is {}: it would add them again (mesos pool set {name} --auto off)",
                definition.min
            );
            return Err((409, text));
        }
        let group = self.pools.get(name).and_then(|pool| pool.group);
        if let (Kind::Aws(aws), Some(group)) = (&definition.kind, group)
            && count > 0
            && after < group.min
        {
            let text = format!(
                "pool {name} has {size} nodes and MinSize of its Auto Scaling group {} is {}: it would not let them go",
                aws.group, group.min
            );
            return Err((409, text));
        }
        Ok(())
    }

    /// The nodes that are named, which have to be of one pool.
    fn named(&self, pool: Option<&str>, named: &[String]) -> Result<(Definition, Vec<String>), Refusal> {
        let mut found: Vec<&Node> = Vec::new();
        for word in named {
            let node = self.one(word)?;
            if !found.iter().any(|other| other.row.node == node.row.node) {
                found.push(node);
            }
        }
        let of = pool.or_else(|| found.first().map(|node| node.row.pool.as_str()));
        let definition = self.meant(of)?;
        if let Some(other) = found.iter().find(|node| node.row.pool != definition.name) {
            let (node, pool) = (&other.row.node, &other.row.pool);
            return Err(bad(format!(
                "node {node} is in pool {pool} and not in {}; name nodes of one pool",
                definition.name
            )));
        }
        Ok((definition, found.into_iter().map(|node| node.row.node.clone()).collect()))
    }

    /// A node by its name, or by its agent's id or host.
    fn one(&self, word: &str) -> Result<&Node, Refusal> {
        if let Some(node) = self.nodes.get(word) {
            return Ok(node);
        }
        let is = |node: &&Node| {
            let row = &node.row;
            let hosts = [row.hostname.as_deref(), node.seen.as_ref().map(|agent| agent.hostname.as_str())];
            row.agent.as_ref().is_some_and(|agent| agent.as_str() == word)
                || row.place.as_deref() == Some(word)
                || hosts.contains(&Some(word))
        };
        let found: Vec<&Node> = self.nodes.values().filter(is).collect();
        match found[..] {
            [only] => Ok(only),
            [] => Err((404, format!("no pool has a node '{}'; `mesos pool nodes` lists all", shown(word)))),
            _ => {
                let names: Vec<&str> = found.iter().take(5).map(|node| node.row.node.as_str()).collect();
                Err(bad(format!("'{}' may be any of {}; name one by its node", shown(word), names.join(", "))))
            }
        }
    }

    /// The nodes of a pool that do least: those that are not there yet, then those with the fewest CPUs in use, and of
    /// equal ones the newest.
    fn least(&self, pool: &str, count: u32) -> Result<Vec<String>, Refusal> {
        let size = self.size(pool);
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(bad(format!("count: expected 1 to {COUNT_MAX}")));
        }
        let mut wanted: Vec<&Node> = self.nodes_of(pool).filter(|node| node.row.state.is_wanted()).collect();
        if count as usize > wanted.len() {
            return Err((
                409,
                format!("pool {pool} has {size} nodes, of which {} are there: {count} cannot go", wanted.len()),
            ));
        }
        let used = |node: &Node| {
            node.seen
                .as_ref()
                .map_or(0, |agent| agent.allocated.scalar("cpus").max(i64::from(!agent.allocated.is_empty())))
        };
        wanted.sort_by_key(|node| {
            let is_there = node.row.state >= NodeState::Up;
            (is_there, used(node), std::cmp::Reverse((node.row.created, node.row.node.len(), node.row.node.clone())))
        });
        Ok(wanted.into_iter().take(count as usize).map(|node| node.row.node.clone()).collect())
    }

    fn set_call(
        &mut self,
        now: Time,
        pool: &str,
        size: Option<u32>,
        auto: Option<bool>,
        out: &mut Out,
    ) -> Result<(String, Vec<String>), Refusal> {
        let definition = self.meant(Some(pool))?;
        if size.is_none() && auto.is_none() {
            return Err(bad("name what is to be set: size or auto"));
        }
        if auto == Some(true) && definition.auto.is_none() {
            return Err(bad(format!(
                "pool {pool} has no auto in the file of pools, which says when it grows and shrinks"
            )));
        }
        let mut nodes = Vec::new();
        if let Some(wanted) = size {
            let have = self.size(pool);
            if wanted > have {
                self.has_room(&definition, wanted - have)?;
                nodes = self.add(now, &definition, wanted - have, &definition.resources, out);
            } else if wanted < have {
                nodes = self.least(pool, have - wanted)?;
                self.may_shrink(&definition, &nodes)?;
                for node in &nodes {
                    self.leave(now, node, None, false, out);
                }
            }
        }
        if let Some(auto) = auto {
            self.change_pool(pool, out, |row| row.auto = Some(auto));
        }
        Ok((definition.name, nodes))
    }
}

/// What a node is to have: what was asked for, completed by what its pool gives. A group gives what it gives.
fn asked(definition: &Definition, asked: &Resources) -> Result<Resources, Refusal> {
    let named: Vec<&str> = asked.iter().map(|one| &*one.name).collect();
    if matches!(definition.kind, Kind::Aws(_)) {
        let name = &definition.name;
        if !asked.is_empty() && definition.resources.is_empty() {
            let text = format!("pool {name}: its Auto Scaling group decides what a node has; leave the resources out");
            return Err(bad(text));
        }
        if let Some(more) = asked.iter().find(|one| asked.scalar(&one.name) > definition.resources.scalar(&one.name)) {
            let text = format!(
                "{}: more than a node of pool {name} has, which is {}; its Auto Scaling group decides that",
                more.name, definition.resources
            );
            return Err(bad(text));
        }
        return Ok(definition.resources.clone());
    }
    Ok(asked.plus(&definition.resources.filter(|one| !named.contains(&&*one.name))))
}

//! The life of a node, step by step.

use std::{collections::BTreeMap, time::Duration};

use mesos_core::row::NodeState;
use mesos_model::{AgentId, Time};

use super::{AgentSeen, Made, Node, Out, Output, Picture, Pools, Refused, Tell};

/// How long an agent that is gone has to end the tasks that it still has.
const END_TASKS: Duration = Duration::from_secs(10);

impl Pools {
    /// Has every node do its next step.
    pub(super) fn drive(&mut self, now: Time, out: &mut Out) {
        let Some(looks) = self.lead.as_ref().map(|lead| lead.looks) else { return };
        let due = |node: &&Node| node.is_under_way() && !node.busy && node.not_before.is_none_or(|at| at <= now);
        let names: Vec<String> = self.nodes.values().filter(due).map(|node| node.row.node.clone()).collect();
        for name in names {
            self.drive_one(now, &name, looks, out);
        }
    }

    fn drive_one(&mut self, now: Time, name: &str, looks: u64, out: &mut Out) {
        self.touch(name, |node| node.not_before = None);
        let Some(node) = self.nodes.get(name) else { return };
        let Some(definition) = self.definition(&node.row.pool) else {
            let why = format!("the file of pools has no pool {} any more", node.row.pool);
            return self.touch(name, |node| node.trouble = why);
        };
        match node.row.state {
            NodeState::Adding => {
                out.emit(Output::Add(Pools::job(node)));
                self.touch(name, |node| node.busy = true);
            }
            // A group that counts the node is just given its size with the node in it.
            NodeState::Removing if self.pools.get(&node.row.pool).is_some_and(|pool| pool.resizing) => {}
            NodeState::Removing => {
                out.emit(Output::Remove(Pools::job(node)));
                self.touch(name, |node| node.busy = true);
            }
            // What they wait for is seen.
            NodeState::Joining | NodeState::Up => {}
            NodeState::Checking => self.tell_once(name, Tell::Deactivate, out),
            NodeState::Draining => {
                let (row, seen) = (&node.row, node.seen.as_ref());
                let left = definition.drain_timeout.saturating_sub(now.since(row.since));
                let is_over = left.is_zero();
                let is_away = seen.is_some_and(|agent| !agent.reachable);
                let grace_ms = row.grace_ms;
                if row.agent.is_none() {
                    // Nobody has to be told, but a look that begins after this has to show that there is no agent.
                    self.touch(name, |node| node.told = node.told.or(Some((Tell::Gone, looks))));
                } else if row.force || (is_over && is_away) || seen.is_some_and(|agent| agent.drained) {
                    self.tell_once(name, Tell::Gone, out);
                } else {
                    self.tell_once(name, Tell::Drain { grace_ms }, out);
                    if is_away {
                        let left = super::auto::seconds(left);
                        self.touch(name, |node| {
                            node.trouble = format!("its agent is away; it is given up in {left} unless it comes back");
                        });
                    }
                }
            }
        }
    }

    fn touch(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(name) {
            change(node);
        }
    }

    /// Tells the cluster, unless it has taken just that.
    fn tell_once(&mut self, name: &str, what: Tell, out: &mut Out) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        if node.told.is_some_and(|(told, _)| told == what) {
            return;
        }
        if let Some(agent) = node.row.agent.clone() {
            node.busy = true;
            out.emit(Output::Tell { node: name.to_owned(), agent, what });
        }
    }

    /// A host was made, or not.
    pub(super) fn added(&mut self, now: Time, name: &str, done: Result<Made, String>, out: &mut Out) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.busy = false;
        match done {
            Err(why) => node.failed(now, why),
            Ok(made) => {
                let state = node.row.state;
                self.change_node(name, out, |node| {
                    node.worked();
                    node.row.place = made.place.or(node.row.place.take());
                    node.row.hostname = made.hostname.or(node.row.hostname.take());
                });
                // It may be that it is to go meanwhile.
                if state == NodeState::Adding {
                    self.set_state(now, name, NodeState::Joining, out);
                    self.look_soon(now);
                }
            }
        }
    }

    /// A host was taken away, or not.
    pub(super) fn removed(&mut self, now: Time, name: &str, done: Result<(), String>, out: &mut Out) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.busy = false;
        match done {
            Err(why) => node.failed(now, why),
            Ok(()) => {
                let pool = node.row.pool.clone();
                self.drop_node(name, out);
                self.old_lists_do_not_count(&pool);
            }
        }
    }

    /// The cluster was told something.
    pub(super) fn told(&mut self, now: Time, name: &str, what: Tell, done: Result<(), Refused>, out: &mut Out) {
        let Some(looks) = self.lead.as_ref().map(|lead| lead.looks) else { return };
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.busy = false;
        match done {
            Ok(()) => {}
            // Whatever was to become of its agent, it is gone.
            Err(refused) if refused.is_gone => {
                if matches!(node.row.state, NodeState::Draining | NodeState::Checking) {
                    self.leave(now, name, None, false, out);
                    self.set_state(now, name, NodeState::Removing, out);
                }
                return;
            }
            Err(refused) => return node.failed(now, refused.text),
        }
        node.worked();
        node.told = Some((what, looks));
        match (what, node.row.state) {
            (Tell::Gone, NodeState::Draining) => {
                // Without a drain its agent ends its tasks now, and is left the time for it.
                let has_work = node.seen.as_ref().is_some_and(|agent| agent.reachable && !agent.allocated.is_empty());
                self.set_state(now, name, NodeState::Removing, out);
                self.touch(name, |node| node.not_before = has_work.then(|| now.after(END_TASKS)));
            }
            (Tell::Reactivate, NodeState::Checking) => self.set_state(now, name, NodeState::Up, out),
            _ => self.look_soon(now),
        }
    }

    /// A look at the cluster has come.
    pub(super) fn seen(&mut self, now: Time, look: u64, seen: Result<Picture, String>, out: &mut Out) {
        self.plan_look(now);
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.looks == look) else { return };
        let picture = match seen {
            Ok(picture) => picture,
            Err(why) => return lead.trouble = why,
        };
        lead.trouble.clear();
        lead.fresh = true;
        lead.before = lead.picture.take().map(|before| before.waiting).unwrap_or_default();
        self.match_agents(now, look, &picture, out);
        if let Some(lead) = self.lead.as_mut() {
            lead.picture = Some(picture);
        }
    }

    fn match_agents(&mut self, now: Time, look: u64, picture: &Picture, out: &mut Out) {
        let agents = Agents::new(picture);
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for name in names {
            let Some(node) = self.nodes.get_mut(&name) else { continue };
            let agent = agents.of(node).cloned();
            let has_work = agent.as_ref().is_none_or(|agent| !agent.allocated.is_empty());
            node.idle = if has_work || node.row.state != NodeState::Up { None } else { node.idle.or(Some(now)) };
            node.seen.clone_from(&agent);
            let id = agent.map(|agent| agent.id);
            let (mut state, busy) = (node.row.state, node.busy);
            if id.is_some() && node.row.agent != id {
                self.change_node(&name, out, |node| {
                    node.row.agent = id;
                    node.told = None;
                });
                // Its host could not be taken away yet, and now there is an agent on it after all.
                if state == NodeState::Removing && !busy {
                    state = NodeState::Draining;
                    self.set_state(now, &name, state, out);
                }
            }
            self.judge(now, &name, state, look, out);
        }
    }

    /// What a look means for a node in this state.
    fn judge(&mut self, now: Time, name: &str, state: NodeState, look: u64, out: &mut Out) {
        let Some(node) = self.nodes.get_mut(name).filter(|node| !node.busy) else { return };
        let seen = node.seen.as_ref();
        let is_later = |what: fn(Tell) -> bool| node.told.is_some_and(|(told, at)| what(told) && look > at);
        match state {
            NodeState::Joining if seen.is_some() => self.set_state(now, name, NodeState::Up, out),
            NodeState::Up => {
                let away = seen.is_none_or(|agent| !agent.reachable);
                node.trouble = match (&node.row.agent, seen) {
                    (Some(agent), None) => {
                        format!("agent {agent} is gone; `mesos slave remove {name}` takes the rest away")
                    }
                    (Some(agent), Some(_)) if away => format!("agent {agent} is not heard of"),
                    _ => String::new(),
                };
            }
            NodeState::Checking if is_later(|told| told == Tell::Deactivate) => {
                let idle = seen.is_some_and(|agent| agent.reachable && agent.allocated.is_empty());
                if idle {
                    self.leave(now, name, None, false, out);
                } else {
                    node.told = None;
                    self.tell_once(name, Tell::Reactivate, out);
                }
            }
            NodeState::Draining
                if seen.is_none() && is_later(|told| told == Tell::Gone) && node.row.agent.is_none() =>
            {
                self.set_state(now, name, NodeState::Removing, out);
            }
            // Somebody has had it offered again.
            NodeState::Draining if seen.is_some_and(|agent| agent.active) && is_later(|told| told != Tell::Gone) => {
                node.told = None;
            }
            _ => {}
        }
    }

    /// A node is to go. Of a group, the size goes with it.
    pub(super) fn leave(&mut self, now: Time, name: &str, grace_ms: Option<u64>, force: bool, out: &mut Out) {
        let Some(node) = self.nodes.get(name) else { return };
        let (pool, state) = (node.row.pool.clone(), node.row.state);
        if state.is_wanted() {
            if self.is_group(&pool) {
                self.change_pool(&pool, out, |row| row.size = row.size.map(|size| size.saturating_sub(1)));
            }
            self.change_pool(&pool, out, |row| row.changed = now);
        }
        if state != NodeState::Removing {
            self.set_state(now, name, NodeState::Draining, out);
            self.change_node(name, out, |node| (node.row.grace_ms, node.row.force) = (grace_ms, force));
        }
    }
}

/// The agents of a look, to be found by what nodes know of them.
struct Agents<'a> {
    by_id: BTreeMap<&'a AgentId, &'a AgentSeen>,
    by_name: BTreeMap<&'a str, &'a AgentSeen>,
    /// Absent if several agents are on the host.
    by_host: BTreeMap<&'a str, Option<&'a AgentSeen>>,
}

impl<'a> Agents<'a> {
    fn new(picture: &'a Picture) -> Agents<'a> {
        let mut agents = Agents { by_id: BTreeMap::new(), by_name: BTreeMap::new(), by_host: BTreeMap::new() };
        for agent in &picture.agents {
            agents.by_id.insert(&agent.id, agent);
            for name in &agent.names {
                // Of two that say the same, one is a leftover: the one that is not heard of.
                let before = agents.by_name.get(name.as_str()).filter(|before| before.reachable);
                if before.is_none() {
                    agents.by_name.insert(name, agent);
                }
            }
            let short = agent.hostname.split('.').next().unwrap_or_default();
            for host in [agent.hostname.as_str(), short] {
                let same = agents.by_host.get(host).copied().flatten().is_some_and(|before| before.id == agent.id);
                let is_first = same || !agents.by_host.contains_key(host);
                agents.by_host.insert(host, is_first.then_some(agent));
            }
        }
        agents
    }

    /// A node's agent: the one that says so, else the one that it had, else the only one on its host.
    fn of(&self, node: &Node) -> Option<&'a AgentSeen> {
        let row = &node.row;
        let names = [Some(row.node.as_str()), row.place.as_deref()];
        let said = names.into_iter().flatten().find_map(|name| self.by_name.get(name).copied());
        let had = || row.agent.as_ref().and_then(|id| self.by_id.get(id).copied());
        let hosts = [row.hostname.as_deref(), row.place.as_deref()];
        let on_host = || hosts.into_iter().flatten().find_map(|host| self.by_host.get(host).copied().flatten());
        said.or_else(had).or_else(|| if row.agent.is_none() { on_host() } else { None })
    }
}

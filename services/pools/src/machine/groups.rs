//! What providers say that there is, and the sizes of groups.

use std::collections::BTreeSet;

use mesos_core::row::{NodeRow, NodeState, Row};
use mesos_model::Time;

use super::{LIST_LATER, LIST_SOON, Listing, NODES_MAX, Node, Out, Output, Pools, retry_after};
use crate::definition::Kind;

impl Pools {
    /// Asks each provider that can say what there is, and has groups grow.
    pub(super) fn ask_providers(&mut self, now: Time, out: &mut Out) {
        let names: Vec<(String, bool)> = self
            .definitions
            .iter()
            .filter(|definition| !matches!(definition.kind, Kind::Exec(_)))
            .map(|definition| (definition.name.clone(), matches!(definition.kind, Kind::Aws(_))))
            .collect();
        for (name, is_group) in names {
            if is_group {
                self.grow(now, &name, out);
            }
            let Some(lead) = self.lead.as_mut() else { return };
            let pool = self.pools.entry(name.clone()).or_default();
            if pool.listing.is_none() && pool.list_at.is_none_or(|at| at <= now) {
                lead.lists += 1;
                pool.listing = Some(lead.lists);
                out.emit(Output::List { pool: name, of: lead.lists });
            }
        }
    }

    /// Has a group grow that is owed nodes. Only ever up: a group that is made smaller chooses by itself who goes.
    fn grow(&mut self, now: Time, name: &str, out: &mut Out) {
        let to = self.size(name).saturating_add(self.leaving(name));
        let Some(pool) = self.pools.get_mut(name) else { return };
        if pool.resize_at.is_some_and(|at| at > now) {
            return;
        }
        pool.resize_at = None;
        // Whether the group still counts one that is being taken away shows when that is answered.
        if self.nodes_of(name).any(|node| node.busy && node.row.state == NodeState::Removing) {
            return;
        }
        let Some(pool) = self.pools.get_mut(name) else { return };
        let Some(group) = pool.group.filter(|_| pool.row.owed && !pool.resizing) else { return };
        if group.desired < to {
            pool.resizing = true;
            out.emit(Output::Resize { pool: name.to_owned(), to });
        }
    }

    /// Nodes of a group that it still counts although they are to go.
    fn leaving(&self, pool: &str) -> u32 {
        let leaving = self.nodes_of(pool).filter(|node| !node.row.state.is_wanted()).count();
        u32::try_from(leaving).unwrap_or(u32::MAX)
    }

    /// A group was given another size, or not.
    pub(super) fn resized(&mut self, now: Time, name: &str, done: Result<(), String>) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        pool.resizing = false;
        match done {
            Ok(()) => {
                // The next list shows it.
                (pool.tries, pool.resize_at) = (0, Some(now.after(LIST_SOON)));
                pool.trouble.clear();
            }
            Err(why) => {
                pool.trouble = why;
                pool.resize_at = Some(now.after(retry_after(pool.tries)));
                pool.tries = pool.tries.saturating_add(1);
            }
        }
        self.old_lists_do_not_count(name);
        if let Some(pool) = self.pools.get_mut(name) {
            pool.list_at = Some(now);
        }
    }

    /// Something was changed, so a list that was asked for before tells of how it was.
    pub(super) fn old_lists_do_not_count(&mut self, name: &str) {
        let lists = self.lead.as_ref().map_or(0, |lead| lead.lists);
        if let Some(pool) = self.pools.get_mut(name) {
            pool.lists_from = lists + 1;
        }
    }

    /// A provider has said what there is.
    pub(super) fn listed(&mut self, now: Time, name: &str, of: u64, found: Result<Listing, String>, out: &mut Out) {
        let is_soon = self.nodes_of(name).any(Node::is_under_way);
        let Some(pool) = self.pools.get_mut(name).filter(|pool| pool.listing == Some(of)) else { return };
        pool.listing = None;
        pool.list_at = Some(now.after(if is_soon || pool.row.owed { LIST_SOON } else { LIST_LATER }));
        let listing = match found {
            Ok(listing) => listing,
            Err(why) => return pool.trouble = why,
        };
        if of < pool.lists_from {
            pool.list_at = Some(now);
            return;
        }
        if pool.tries == 0 {
            pool.trouble.clear();
        }
        match listing.group {
            Some(_) => self.group_listed(now, name, &listing, out),
            None => self.hosts_listed(now, name, &listing, out),
        }
    }

    /// Hosts that were made one by one: one that has died is made again, one that nobody knows is taken in.
    fn hosts_listed(&mut self, now: Time, name: &str, listing: &Listing, out: &mut Out) {
        for host in &listing.hosts {
            match self.nodes.get(&host.node) {
                None if host.alive => self.take_in(now, name, &host.node, None, out),
                None => {}
                Some(node) => {
                    let stands = matches!(node.row.state, NodeState::Joining | NodeState::Up);
                    if stands && !host.alive && !node.busy {
                        self.set_state(now, &host.node, NodeState::Adding, out);
                    }
                }
            }
        }
        let there: BTreeSet<&str> = listing.hosts.iter().map(|host| host.node.as_str()).collect();
        let lost: Vec<String> = self
            .nodes_of(name)
            .filter(|node| matches!(node.row.state, NodeState::Joining | NodeState::Up) && !node.busy)
            .map(|node| node.row.node.clone())
            .filter(|node| !there.contains(node.as_str()))
            .collect();
        for node in lost {
            self.set_state(now, &node, NodeState::Adding, out);
        }
    }

    fn group_listed(&mut self, now: Time, name: &str, listing: &Listing, out: &mut Out) {
        let there: BTreeSet<&str> = listing.hosts.iter().map(|host| host.node.as_str()).collect();
        for host in listing.hosts.iter().filter(|host| host.alive) {
            if !self.nodes.contains_key(&host.node) {
                self.take_in(now, name, &host.node, Some(host.node.clone()), out);
            }
        }
        let gone: Vec<String> = self
            .nodes_of(name)
            .map(|node| node.row.node.clone())
            .filter(|node| !there.contains(node.as_str()))
            .collect();
        for node in gone {
            self.drop_node(&node, out);
        }
        let leaving = self.leaving(name);
        let Some(group) = listing.group else { return };
        if let Some(pool) = self.pools.get_mut(name) {
            pool.group = Some(group);
        }
        self.change_pool(name, out, |row| {
            if row.owed && group.desired >= row.size.unwrap_or(0).saturating_add(leaving) {
                row.owed = false;
            }
            if !row.owed {
                row.size = Some(group.desired.saturating_sub(leaving));
            }
        });
    }

    /// A host that is there and has no row.
    fn take_in(&mut self, now: Time, pool: &str, node: &str, place: Option<String>, out: &mut Out) {
        if self.nodes.len() >= NODES_MAX {
            return;
        }
        let resources = self.definition(pool).map(|definition| definition.resources.clone()).unwrap_or_default();
        let row = NodeRow {
            node: node.to_owned(),
            pool: pool.to_owned(),
            state: NodeState::Joining,
            since: now,
            created: now,
            resources,
            place,
            hostname: None,
            agent: None,
            grace_ms: None,
            force: false,
        };
        out.put(Row::Node(row.clone()));
        self.nodes.insert(node.to_owned(), Node::new(row));
        self.look_soon(now);
    }
}

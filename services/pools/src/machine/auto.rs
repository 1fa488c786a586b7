//! When a pool grows and shrinks by itself. Nothing here knows what a node is made of.

use std::time::Duration;

use mesos_core::message::Amounts;
use mesos_model::Time;

/// Of a pool's nodes, how many may leave in one go: a quarter, but one in any case.
const LEAVE_PART: u32 = 4;

/// How a pool grows and shrinks by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Auto {
    /// Nodes are added while more of the cluster's CPUs than this is used, in percent.
    pub target_cpus_percent: Option<u32>,
    /// Between two changes for the sake of use, and before a node is taken out after any change.
    pub cooldown: Duration,
    /// How long a node has nothing to do before it is taken out.
    pub idle: Duration,
}

/// Equal tasks that wait: what one needs, and how many there are.
pub type Waiting = (Amounts, u32);

/// What does not find room, and the nodes that would give it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lacking {
    /// So many new nodes.
    pub nodes: u32,
    /// What would wait even then: it is larger than a node, or there would have to be more of them.
    pub left: Vec<Waiting>,
}

/// How many of `need` fit into `room`.
fn fits(room: &Amounts, need: &Amounts) -> u32 {
    let part = |(name, amount): (&std::sync::Arc<str>, &i64)| {
        let have = room.get(name).copied().unwrap_or(0).max(0);
        u32::try_from(have / amount).unwrap_or(u32::MAX)
    };
    need.iter().filter(|(_, amount)| **amount > 0).map(part).min().unwrap_or(u32::MAX)
}

fn take(room: &mut Amounts, need: &Amounts, times: u32) {
    for (name, amount) in need {
        if let Some(have) = room.get_mut(name) {
            *have -= amount * i64::from(times);
        }
    }
}

/// Puts what waits into the rooms there are, the largest first, each into the first room that has it; what is over
/// needs new nodes of this size, `most` at most.
#[must_use]
pub fn lacking(waiting: &[Waiting], mut rooms: Vec<Amounts>, node: &Amounts, most: u32) -> Lacking {
    let mut sorted: Vec<&Waiting> = waiting.iter().filter(|(need, count)| *count > 0 && !need.is_empty()).collect();
    let size = |need: &Amounts, name: &str| need.get(name).copied().unwrap_or(0);
    sorted.sort_by_key(|(need, _)| std::cmp::Reverse((size(need, "cpus"), size(need, "mem"))));
    let mut found = Lacking::default();
    for (need, count) in sorted {
        let mut left = *count;
        for room in &mut rooms {
            let here = fits(room, need).min(left);
            take(room, need, here);
            left -= here;
            if left == 0 {
                break;
            }
        }
        let each = fits(node, need);
        while left > 0 && each > 0 && found.nodes < most {
            let mut room = node.clone();
            let here = each.min(left);
            take(&mut room, need, here);
            left -= here;
            found.nodes += 1;
            rooms.push(room);
        }
        if left > 0 {
            found.left.push((need.clone(), left));
        }
    }
    found
}

/// A node that has nothing to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Idle {
    /// Its name.
    pub node: String,
    /// Since when.
    pub since: Time,
    /// What it has.
    pub has: Amounts,
    /// Which of the rooms is its own.
    pub room: usize,
}

/// What a pool's decision rests on. Amounts are in thousandths.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Now.
    pub now: Time,
    /// Never fewer nodes.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// Nodes that the pool is to have as it stands, those that are on their way included.
    pub wanted: u32,
    /// What a new one has.
    pub node: &'a Amounts,
    /// When the pool's size was last changed.
    pub changed: Time,
    /// What waits, and has done so for two looks.
    pub waiting: &'a [Waiting],
    /// What is free on each agent, and what nodes on their way will have.
    pub rooms: &'a [Amounts],
    /// The CPUs of the cluster that tasks hold.
    pub used: i64,
    /// All of them, those of nodes on their way included.
    pub total: i64,
    /// Nodes of the pool without work, those without work for longest first.
    pub idle: &'a [Idle],
}

/// What a pool does.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing, and why, in words.
    Stay(String),
    /// So many more nodes.
    Add(u32, String),
    /// These go, if they are still without work when they are offered no more.
    Remove(Vec<String>, String),
}

/// What a pool does now.
#[must_use]
pub fn decide(auto: &Auto, facts: &Facts<'_>) -> Decision {
    if facts.wanted < facts.min {
        return Decision::Add(facts.min - facts.wanted, format!("the pool has no fewer than {} nodes", facts.min));
    }
    let room = facts.max.saturating_sub(facts.wanted);
    let lack = lacking(facts.waiting, facts.rooms.to_vec(), facts.node, room);
    if lack.nodes > 0 {
        return Decision::Add(lack.nodes, "tasks wait for room".to_owned());
    }
    let rested = facts.now.since(facts.changed) >= auto.cooldown;
    if let Some(target) = auto.target_cpus_percent {
        let more = nodes_for_target(facts, target);
        if more > 0 && room > 0 && rested {
            let percent = percent(facts.used, facts.total);
            return Decision::Add(more.min(room), format!("{percent}% of the CPUs are used, and {target}% are meant"));
        }
    }
    if let Some((need, _)) = lack.left.iter().find(|(need, _)| fits(facts.node, need) > 0) {
        return Decision::Stay(format!("tasks wait for {}, but the pool is at its max of {}", words(need), facts.max));
    }
    let leaving = leaving(auto, facts, rested);
    if !leaving.is_empty() {
        let why = format!("without work for {}", seconds(auto.idle));
        return Decision::Remove(leaving, why);
    }
    match lack.left.first() {
        Some((need, _)) => Decision::Stay(format!("tasks wait for {}, more than a node of this pool has", words(need))),
        None => Decision::Stay("nothing waits".to_owned()),
    }
}

/// How many more nodes bring the used part of the CPUs down to the target.
fn nodes_for_target(facts: &Facts<'_>, target: u32) -> u32 {
    let node = facts.node.get("cpus").copied().unwrap_or(0);
    if node <= 0 || facts.total <= 0 || !is_above(facts.used, facts.total, target) {
        return 0;
    }
    // used * 100 <= target * (total + n * node)
    let short = i128::from(facts.used) * 100 - i128::from(target) * i128::from(facts.total);
    let per_node = i128::from(target) * i128::from(node);
    u32::try_from((short + per_node - 1) / per_node).unwrap_or(u32::MAX)
}

fn is_above(used: i64, total: i64, target: u32) -> bool {
    i128::from(used) * 100 > i128::from(target) * i128::from(total)
}

fn percent(used: i64, total: i64) -> i64 {
    if total <= 0 { 0 } else { used.saturating_mul(100) / total }
}

/// The nodes that may leave: without work for long enough, not needed for what waits, and without bringing use above
/// the target.
fn leaving(auto: &Auto, facts: &Facts<'_>, rested: bool) -> Vec<String> {
    let spare = facts.wanted.saturating_sub(facts.min);
    let most = (facts.wanted / LEAVE_PART).max(1).min(spare);
    if !rested {
        return Vec::new();
    }
    let (mut rooms, mut total) = (facts.rooms.to_vec(), facts.total);
    let mut leaving = Vec::new();
    let waits = lacking(facts.waiting, rooms.clone(), facts.node, 0).left;
    for idle in facts.idle.iter().filter(|idle| facts.now.since(idle.since) >= auto.idle) {
        if leaving.len() >= most as usize {
            break;
        }
        let rest = total - idle.has.get("cpus").copied().unwrap_or(0);
        if auto
            .target_cpus_percent
            .is_some_and(|target| rest <= 0 && facts.used > 0 || is_above(facts.used, rest, target))
        {
            continue;
        }
        let room = std::mem::take(&mut rooms[idle.room]);
        if lacking(facts.waiting, rooms.clone(), facts.node, 0).left != waits {
            rooms[idle.room] = room;
            continue;
        }
        total = rest;
        leaving.push(idle.node.clone());
    }
    leaving
}

fn words(need: &Amounts) -> String {
    let one = |(name, amount): (&std::sync::Arc<str>, &i64)| {
        format!("{name}:{}", mesos_model::resources_text::milli_text(*amount))
    };
    need.iter().map(one).collect::<Vec<_>>().join(";")
}

/// A span as people write it.
pub(crate) fn seconds(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    if seconds >= 120.0 { format!("{:.0} min", seconds / 60.0) } else { format!("{seconds:.0} s") }
}

#[cfg(test)]
mod tests;

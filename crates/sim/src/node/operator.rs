//! An operator: sets quota, reserves, makes volumes, and sends agents and machines away, as its whims are.
//!
//! It sees what the store shows, as one who asks a gateway does. Once the faults are over it puts everything right
//! again: that it can is one of the things that must come.

use std::collections::BTreeMap;

use mesos_core::{
    message::{AllocatorCall, Amounts, MachineId, OperatorCall, Quota, Unavailability, Window},
    row::{AgentRow, AgentState, MaintenanceRow, Row, service},
};
use mesos_model::{AgentId, Role};

use super::{
    http::{Passed, ToFramework, ToGateway, Wire},
    operation,
};
use crate::{
    net::{Net, Node, Work},
    plan::Whims,
};

/// How often it thinks of something, in milliseconds.
const TICK: u64 = 1_000;
/// The same while it puts everything right.
const TICK_SETTLING: u64 = 250;
/// Roles that it sets quota for and reserves for.
const ROLES: [&str; 3] = ["a", "a/x", "b"];

/// What an operator is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    /// It follows its whims.
    Whimsical,
    /// It brings agents and machines back, and takes quota away.
    Settling,
    /// It takes reservations and volumes back as well.
    Clearing,
    /// It does nothing any more.
    Idle,
}

/// An operator.
pub struct Operator {
    whims: Whims,
    /// What it is at.
    pub mood: Mood,
    /// A guarantee that it wants to be in force, once it is idle.
    pub guarantee: Option<(Role, i64)>,
    asked: u64,
    /// Requests without an answer, with the gateway that has each.
    waits: BTreeMap<u64, (Node, OperatorCall)>,
    /// Drains of each agent that have no answer, and how much had been asked when the last one had it.
    drains: BTreeMap<AgentId, (u64, u64)>,
    named: u64,
    wires: BTreeMap<Node, Wire>,
}

impl Operator {
    /// An operator that was never started.
    #[must_use]
    pub fn new(whims: Whims) -> Operator {
        let mood = Mood::Whimsical;
        let (waits, wires) = (BTreeMap::new(), BTreeMap::new());
        Operator { whims, mood, guarantee: None, asked: 0, waits, drains: BTreeMap::new(), named: 0, wires }
    }

    /// It comes to work.
    pub fn start(&mut self, net: &mut Net) {
        self.waits.clear();
        net.give(Node::Operator, 1, Work::Tick(0));
    }

    /// Does one piece of work.
    pub fn work(&mut self, net: &mut Net, work: Work) {
        match work {
            Work::Tick(_) => self.tick(net),
            Work::ToFramework(ToFramework::Answered(request, status)) => {
                if let Some((_, call)) = self.waits.remove(&request) {
                    self.answered(net, request, &call, status == 200);
                }
            }
            Work::ToFramework(ToFramework::GatewayGone(gateway)) => self.waits.retain(|_, (at, _)| *at != gateway),
            _ => {}
        }
    }

    fn answered(&mut self, net: &mut Net, request: u64, call: &OperatorCall, done: bool) {
        match call {
            OperatorCall::Drain { agent, .. } => {
                if let Some((open, asked)) = self.drains.get_mut(agent) {
                    (*open, *asked) = (*open - 1, self.asked);
                }
            }
            // One that met a drain on its way may have come before it.
            OperatorCall::Reactivate(agent)
                if done && self.drains.get(agent).is_none_or(|(open, asked)| *open == 0 && request > *asked) =>
            {
                net.seen.reactivated(agent);
            }
            _ => {}
        }
    }

    fn tick(&mut self, net: &mut Net) {
        let next = if self.mood == Mood::Whimsical { TICK } else { TICK_SETTLING };
        net.give(Node::Operator, next, Work::Tick(0));
        if self.mood == Mood::Whimsical {
            self.follow_whims(net);
        } else if self.waits.is_empty()
            && let Some(call) = self.next_to_settle(net)
        {
            self.ask(net, call);
        }
    }

    fn ask(&mut self, net: &mut Net, call: OperatorCall) {
        self.asked += 1;
        let gateway = Node::Gateway(net.rng.below(2) as u8);
        net.trace(50, || format!("the operator asks {call:?}"));
        self.waits.insert(self.asked, (gateway, call.clone()));
        if let OperatorCall::Drain { agent, .. } = &call {
            self.drains.entry(agent.clone()).or_default().0 += 1;
        }
        let call = Passed::Allocator(AllocatorCall::Operator(call));
        let mut wire = self.wires.remove(&gateway).unwrap_or_default();
        net.to_gateway(
            gateway,
            Node::Operator,
            &mut wire,
            ToGateway::Call { from: (Node::Operator, self.asked), call },
        );
        self.wires.insert(gateway, wire);
    }

    // Whims.

    fn follow_whims(&mut self, net: &mut Net) {
        let whims = self.whims.clone();
        if net.rng.chance(whims.quota) {
            let call = quota(net);
            self.ask(net, call);
        }
        let agents = agents(net);
        let Some(row) = agents.get(net.rng.below(agents.len() as u64) as usize).cloned() else { return };
        if net.rng.chance(whims.convert) {
            self.named += 1;
            let role = Role::from(ROLES[net.rng.below(3) as usize]);
            let label = format!("operator-{}", self.named);
            if let Some(conversion) = operation::draw(&mut net.rng, &row.total, &role, &label) {
                self.ask(net, OperatorCall::Convert { agent: row.id.clone(), conversion });
            }
        }
        if net.rng.chance(whims.drain) {
            let max_grace_ms = (net.rng.below(2) == 0).then(|| net.rng.below(3_000));
            let mark_gone = net.rng.chance(whims.gone);
            self.ask(net, OperatorCall::Drain { agent: row.id.clone(), max_grace_ms, mark_gone });
        }
        if net.rng.chance(whims.deactivate) {
            self.ask(net, OperatorCall::Deactivate(row.id.clone()));
        }
        if net.rng.chance(whims.gone) && net.rng.below(10) == 0 {
            self.ask(net, OperatorCall::MarkGone(row.id.clone()));
        }
        if row.deactivated && net.rng.chance(2_500) {
            self.ask(net, OperatorCall::Reactivate(row.id.clone()));
        }
        self.maintain(net, &whims, &row);
    }

    fn maintain(&mut self, net: &mut Net, whims: &Whims, row: &AgentRow) {
        let plan = maintenance(net);
        let machine = MachineId { hostname: row.hostname.clone(), ip: String::new() };
        if net.rng.chance(whims.maintenance) {
            let mut windows = plan.windows.clone();
            if windows.iter().all(|window| !window.machines.contains(&machine)) {
                let start_ns = i64::try_from(net.now + net.rng.below(60_000)).unwrap_or(0) * 1_000_000;
                let unavailability = Unavailability { start_ns, duration_ns: None };
                windows.push(Window { machines: vec![machine.clone()], unavailability });
            }
            self.ask(net, OperatorCall::SetSchedule(windows));
        }
        let planned = plan.windows.iter().any(|window| window.machines.contains(&machine));
        if planned && !plan.down.contains(&machine) && net.rng.chance(whims.maintenance * 2) {
            self.ask(net, OperatorCall::StartMaintenance(vec![machine]));
        }
        if let Some(down) = plan.down.first().cloned()
            && net.rng.chance(1_500)
        {
            self.ask(net, OperatorCall::StopMaintenance(vec![down]));
        }
    }

    // Putting everything right.

    fn next_to_settle(&self, net: &Net) -> Option<OperatorCall> {
        let plan = maintenance(net);
        if !plan.down.is_empty() {
            return Some(OperatorCall::StopMaintenance(plan.down.iter().cloned().collect()));
        }
        if !plan.windows.is_empty() {
            return Some(OperatorCall::SetSchedule(Vec::new()));
        }
        let agents = agents(net);
        if let Some(row) = agents.iter().find(|row| row.deactivated && row.draining().is_none()) {
            return Some(OperatorCall::Reactivate(row.id.clone()));
        }
        // Whoever asked for it and sees that a store has forgotten it asks again.
        if let Some(row) = agents.iter().find(|row| net.seen.asked_to_be_gone(&row.id)) {
            return Some(OperatorCall::MarkGone(row.id.clone()));
        }
        if let Some(quotas) = self.quotas_to_change(net) {
            return Some(OperatorCall::UpdateQuota { force: true, quotas });
        }
        if self.mood < Mood::Clearing {
            return None;
        }
        let undo = |row: &AgentRow| {
            let conversion = row.total.iter().find_map(operation::undo)?;
            Some(OperatorCall::Convert { agent: row.id.clone(), conversion })
        };
        // Not always the same one: it may be in use for a while.
        let turn = usize::try_from(self.asked).unwrap_or(0) % agents.len().max(1);
        agents.iter().cycle().skip(turn).take(agents.len()).find_map(undo)
    }

    fn quotas_to_change(&self, net: &Net) -> Option<Vec<Quota>> {
        let wanted = |role: &Role| -> Amounts {
            let guarantee = self.guarantee.iter().find(|(of, _)| of == role);
            guarantee.map(|(_, cpus)| ("cpus".into(), *cpus)).into_iter().collect()
        };
        let rows = net.ledgers.get(service::ALLOCATOR).into_iter().flat_map(|ledger| ledger.rows.values());
        let mut set: BTreeMap<Role, (Amounts, Amounts)> = BTreeMap::new();
        for row in rows {
            if let Row::Role(row) = row {
                set.insert(row.role.clone(), (row.facts.guarantee.clone(), row.facts.limit.clone()));
            }
        }
        if let Some((role, _)) = &self.guarantee {
            set.entry(role.clone()).or_default();
        }
        let wrong =
            set.into_iter().filter(|(role, (guarantee, limit))| *guarantee != wanted(role) || !limit.is_empty());
        let quotas: Vec<Quota> =
            wrong.map(|(role, _)| Quota { guarantee: wanted(&role), role, limit: Amounts::new() }).collect();
        (!quotas.is_empty()).then_some(quotas)
    }

    /// What it has not put right yet.
    #[must_use]
    pub fn left_to_do(&self, net: &Net) -> Vec<String> {
        if self.mood == Mood::Whimsical {
            return Vec::new();
        }
        let draining = agents(net).into_iter().filter(|row| row.draining().is_some());
        let draining = draining.map(|row| format!("agent {} is still draining", row.id));
        draining.chain(self.next_to_settle(net).map(|call| format!("the operator still asks {call:?}"))).collect()
    }
}

/// The agents that are not gone, as the store shows them.
fn agents(net: &Net) -> Vec<AgentRow> {
    let rows = net.ledgers.get(service::ALLOCATOR).into_iter().flat_map(|ledger| ledger.rows.values());
    let agents = rows.filter_map(|row| match row {
        Row::Agent(row) if row.state != AgentState::Gone => Some(row.clone()),
        _ => None,
    });
    agents.collect()
}

fn maintenance(net: &Net) -> MaintenanceRow {
    let mut rows = net.ledgers.get(service::ALLOCATOR).into_iter().flat_map(|ledger| ledger.rows.values());
    let found = rows.find_map(|row| match row {
        Row::Maintenance(row) => Some(row.clone()),
        _ => None,
    });
    found.unwrap_or_default()
}

fn quota(net: &mut Net) -> OperatorCall {
    let role = Role::from(ROLES[net.rng.below(3) as usize]);
    let amount = |net: &mut Net, name: &str, most: u64| -> Amounts {
        let some = net.rng.below(3) != 0;
        let milli = i64::try_from(500 * net.rng.between(0, most)).unwrap_or(0);
        some.then(|| (name.into(), milli)).into_iter().collect()
    };
    let (guarantee, limit) = (amount(net, "cpus", 8), amount(net, "cpus", 12));
    OperatorCall::UpdateQuota { force: net.rng.below(3) == 0, quotas: vec![Quota { role, guarantee, limit }] }
}

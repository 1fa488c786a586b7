//! Maintenance: which machines will be away, and when; who was asked to leave them, and what they answered.
//!
//! A machine is UP, in the schedule (DRAINING), or DOWN. The schedule and the machines that are down are one row.
//! Offers of agents on scheduled machines say when they will be away, and frameworks that run something there get
//! inverse offers, which they may accept or decline: that is shown to operators and binds nobody. Inverse offers and
//! answers are soft, as in Mesos: the next leader asks again.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::{AgentId, FrameworkId, OfferId, Time};

use super::{Allocator, Output, timers::Timers};
use crate::{
    machine::Effects,
    message::{InverseAnswer, InverseOffer, MachineId, MaintenanceView, StreamEvent, ToAgent, Unavailability, Window},
    row::{AgentRow, AgentState, MaintenanceRow, Row, RowKey},
};

/// How many machines a schedule may name.
const MACHINES_MAX: usize = 10_000;
const NAME_MAX: usize = 255;

type Refusal = (u16, String);
/// A framework that has something on an agent.
type Pair = (AgentId, FrameworkId);

/// What is planned, and what was said about it.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    row: MaintenanceRow,
    /// Windows by what machines are named by: a hostname, or an address where no hostname is given.
    index: BTreeMap<String, Vec<(MachineId, Unavailability)>>,
    /// Inverse offers that are open, by their number.
    open: BTreeMap<u64, Asked>,
    numbers: BTreeMap<Pair, u64>,
    answers: BTreeMap<Pair, Said>,
    /// When a pair is looked at again: its inverse offer is over, or it may be asked again.
    timers: Timers<Pair>,
    /// Agents of which something changed that matters here.
    changed: BTreeSet<AgentId>,
    named: u64,
}

/// An inverse offer that is open.
#[derive(Clone, Debug)]
struct Asked {
    pair: Pair,
    about: Unavailability,
    at: Time,
}

/// What a framework answered.
#[derive(Clone, Copy, Debug)]
struct Said {
    accepted: bool,
    at: Time,
    /// It is not asked again before this.
    until: Time,
    /// What it was asked about; anything else is another question.
    about: Unavailability,
}

impl Maintenance {
    pub(super) fn deadline(&self) -> Option<Time> {
        self.timers.first()
    }

    pub(super) fn forget_term(&mut self) {
        *self = Maintenance { row: std::mem::take(&mut self.row), ..Maintenance::default() };
        self.index_row();
    }

    /// Takes a row over.
    pub(super) fn put(&mut self, row: MaintenanceRow) {
        self.row = row;
        self.index_row();
    }

    fn index_row(&mut self) {
        self.index.clear();
        for window in &self.row.windows {
            for machine in &window.machines {
                let key = if machine.hostname.is_empty() { &machine.ip } else { &machine.hostname };
                let entry = self.index.entry(key.to_ascii_lowercase()).or_default();
                entry.push((machine.clone(), window.unavailability));
            }
        }
    }

    fn find(&self, hostname: &str, ip: &str) -> Option<&(MachineId, Unavailability)> {
        if self.index.is_empty() {
            return None;
        }
        let (by_name, by_ip) = (self.index.get(&hostname.to_ascii_lowercase()), self.index.get(ip));
        by_name.into_iter().chain(by_ip).flatten().find(|(machine, _)| machine.has(hostname, ip))
    }

    /// When an agent will be away.
    pub(super) fn unavailability(&self, row: &AgentRow) -> Option<Unavailability> {
        self.find(&row.hostname, &row.ip).map(|(_, unavailability)| *unavailability)
    }

    /// The machine that is down, if an agent that says this of itself is on one.
    pub(super) fn down(&self, hostname: &str, ip: &str) -> Option<&MachineId> {
        if self.row.down.is_empty() {
            return None;
        }
        self.find(hostname, ip).map(|(machine, _)| machine).filter(|machine| self.row.down.contains(*machine))
    }

    /// Something changed on an agent: who has something there, or whether it is there.
    pub(super) fn look_at(&mut self, agent: &AgentId) {
        if !self.index.is_empty() || !self.open.is_empty() {
            self.changed.insert(agent.clone());
        }
    }

    fn close(&mut self, pair: &Pair) -> Option<u64> {
        let number = self.numbers.remove(pair)?;
        self.open.remove(&number);
        self.timers.clear(pair);
        Some(number)
    }
}

impl Allocator {
    /// UPDATE_MAINTENANCE_SCHEDULE.
    ///
    /// # Errors
    /// For a schedule that cannot be; says which part of it.
    pub(super) fn set_schedule(&mut self, windows: Vec<Window>, fx: &mut Effects<Output>) -> Result<(), Refusal> {
        let windows = check_schedule(windows)?;
        let named: BTreeSet<&MachineId> = windows.iter().flat_map(|window| &window.machines).collect();
        if let Some(down) = self.maintenance.row.down.iter().find(|down| !named.contains(down)) {
            let text = format!("Machine '{down}' is down and cannot leave the schedule; stop its maintenance first");
            return Err((400, text));
        }
        let down = self.maintenance.row.down.clone();
        self.write_maintenance(MaintenanceRow { windows, down }, fx);
        Ok(())
    }

    /// START_MAINTENANCE: agents of the machines are told to end their tasks, and are not admitted any more.
    ///
    /// # Errors
    /// For a machine that is not in the schedule, or down already; then nothing has changed.
    pub(super) fn start_maintenance(
        &mut self,
        now: Time,
        machines: Vec<MachineId>,
        fx: &mut Effects<Output>,
    ) -> Result<(), Refusal> {
        let machines = check_machines(machines)?;
        let mut row = self.maintenance.row.clone();
        for machine in &machines {
            if !row.windows.iter().any(|window| window.machines.contains(machine)) {
                let text = format!("Machine '{machine}' is not in the maintenance schedule and cannot be brought down");
                return Err((400, text));
            }
            if !row.down.insert(machine.clone()) {
                return Err((400, format!("Machine '{machine}' is down already")));
            }
        }
        self.write_maintenance(row, fx);
        let agents: Vec<AgentRow> = self
            .agents()
            .filter(|row| row.state != AgentState::Gone && machines.iter().any(|m| m.has(&row.hostname, &row.ip)))
            .cloned()
            .collect();
        for mut row in agents {
            let message = self.kept_down(Some(&row.id), (&row.hostname, &row.ip), row.instance);
            let id = row.id.clone();
            if row.state == AgentState::Active {
                row.state = AgentState::Unreachable { since: now };
            }
            row.down = true;
            self.part_with(row, fx);
            if let Some(message) = message {
                fx.emit(Output::Agent { agent: id, message });
            }
        }
        Ok(())
    }

    /// STOP_MAINTENANCE: the machines are up, and out of the schedule.
    ///
    /// # Errors
    /// For a machine that is not down; then nothing has changed.
    pub(super) fn stop_maintenance(
        &mut self,
        machines: Vec<MachineId>,
        fx: &mut Effects<Output>,
    ) -> Result<(), Refusal> {
        let machines = check_machines(machines)?;
        let mut row = self.maintenance.row.clone();
        for machine in &machines {
            if !row.down.remove(machine) {
                return Err((400, format!("Machine '{machine}' is not down and cannot be brought up")));
            }
        }
        for window in &mut row.windows {
            window.machines.retain(|machine| !machines.contains(machine));
        }
        row.windows.retain(|window| !window.machines.is_empty());
        self.write_maintenance(row, fx);
        Ok(())
    }

    /// What an agent is told whose machine is down.
    pub(super) fn kept_down(
        &self,
        id: Option<&AgentId>,
        (hostname, ip): (&str, &str),
        instance: u128,
    ) -> Option<ToAgent> {
        let machine = self.maintenance.down(hostname, ip)?;
        let reason = format!("machine {machine} is down for maintenance; `mesos maintenance stop` brings it up");
        Some(ToAgent::Refused { instance, reason, gone: true, wait: true, void: self.void_orders(id) })
    }

    /// What is planned, and where it stands.
    pub(super) fn maintenance_view(&self) -> MaintenanceView {
        let plan = &self.maintenance;
        let machines = || plan.row.windows.iter().flat_map(|window| &window.machines);
        let mut on: BTreeMap<&MachineId, Vec<InverseAnswer>> = BTreeMap::new();
        // Whoever has answered and is asked again has answered.
        let said = plan.answers.iter().map(|(pair, said)| (pair, said.about, Some(said.accepted), said.at));
        let open = plan.open.values().filter(|asked| !plan.answers.contains_key(&asked.pair));
        let asked = open.map(|asked| (&asked.pair, asked.about, None, asked.at));
        for ((agent, framework), about, accepted, time) in said.chain(asked) {
            let row = self.agents.get(agent).and_then(|state| state.row.as_ref());
            let planned = row.and_then(|row| plan.find(&row.hostname, &row.ip));
            if let Some((machine, _)) = planned.filter(|(_, planned)| *planned == about) {
                let answer = InverseAnswer { framework: framework.clone(), accepted, time };
                on.entry(machine).or_default().push(answer);
            }
        }
        let draining = machines().filter(|machine| !plan.row.down.contains(*machine));
        MaintenanceView {
            windows: plan.row.windows.clone(),
            draining: draining.map(|machine| (machine.clone(), on.remove(machine).unwrap_or_default())).collect(),
            down: plan.row.down.iter().cloned().collect(),
        }
    }

    fn write_maintenance(&mut self, row: MaintenanceRow, fx: &mut Effects<Output>) {
        let before: Vec<(AgentId, Option<Unavailability>)> =
            self.agents().map(|row| (row.id.clone(), self.maintenance.unavailability(row))).collect();
        if row == MaintenanceRow::default() {
            fx.delete(RowKey::Maintenance);
        } else {
            fx.put(Row::Maintenance(row.clone()));
        }
        self.maintenance.put(row);
        for (id, before) in before {
            let now = self.agents.get(&id).and_then(|state| state.row.as_ref());
            if now.and_then(|row| self.maintenance.unavailability(row)) != before {
                // Whoever holds an offer is to know as soon as can be.
                self.rescind_all_of(&id, fx);
                self.maintenance.changed.insert(id);
            }
        }
    }

    /// ACCEPT_INVERSE_OFFERS and DECLINE_INVERSE_OFFERS.
    pub(super) fn answer_inverse(
        &mut self,
        now: Time,
        framework: &FrameworkId,
        offers: &[OfferId],
        accepted: bool,
        refuse_ms: Option<u64>,
    ) {
        let span = super::calls::refuse_span(refuse_ms, self.options.refuse_default);
        for id in offers {
            let Some(number) = self.inverse_number(id) else { continue };
            let Some(Asked { pair, about, .. }) = self.maintenance.open.get(&number).cloned() else { continue };
            if pair.1 != *framework {
                continue;
            }
            self.maintenance.close(&pair);
            // Even without a filter it is not asked again in the same moment.
            let until = now.after(span.max(std::time::Duration::from_secs(1)));
            self.maintenance.timers.set(pair.clone(), until);
            self.maintenance.answers.insert(pair, Said { accepted, at: now, until, about });
        }
    }

    fn inverse_number(&self, id: &OfferId) -> Option<u64> {
        let (leader, number) = id.as_str().rsplit_once("-I")?;
        let number = number.parse().ok()?;
        (leader == self.leader_text.as_str()).then_some(number)
    }

    /// A framework has another stream, or none: what it was asked is void, and it is asked again without a word.
    pub(super) fn recover_inverse_of(&mut self, framework: &FrameworkId) {
        let pairs: Vec<Pair> =
            self.maintenance.numbers.keys().filter(|(_, whose)| whose == framework).cloned().collect();
        for pair in pairs {
            self.maintenance.close(&pair);
        }
        if self.maintenance.index.is_empty() {
            return;
        }
        let agents = self.agents_of(framework);
        self.maintenance.changed.extend(agents);
    }

    /// Inverse offers that nobody answered are over, and pairs may be asked again.
    pub(super) fn time_out_inverse(&mut self, now: Time, fx: &mut Effects<Output>) {
        while let Some(pair) = self.maintenance.timers.pop_due(now) {
            self.rescind_inverse(&pair, fx);
            self.maintenance.changed.insert(pair.0);
        }
    }

    fn rescind_inverse(&mut self, pair: &Pair, fx: &mut Effects<Output>) {
        let number = self.maintenance.close(pair);
        if let Some(number) = number {
            self.tell(&pair.1, StreamEvent::RescindInverse(self.inverse_id(number)), fx);
        }
    }

    fn inverse_id(&self, number: u64) -> OfferId {
        OfferId::from(format!("{}-I{number}", self.leader_text))
    }

    /// The end of a batch: inverse offers that mean nothing any more are rescinded, and those that are missing made.
    pub(super) fn make_inverse_offers(&mut self, now: Time, fx: &mut Effects<Output>) {
        let mut asks: BTreeMap<FrameworkId, Vec<InverseOffer>> = BTreeMap::new();
        for agent in std::mem::take(&mut self.maintenance.changed) {
            let row = self.agents.get(&agent).and_then(|state| state.row.clone());
            let row = row.filter(|row| !row.down && self.is_shaken(&agent));
            let about = row.as_ref().and_then(|row| self.maintenance.unavailability(row));
            let there: BTreeSet<FrameworkId> = match about {
                Some(_) => self.agents.get(&agent).map(|state| state.executors.keys().cloned().collect()),
                None => None,
            }
            .unwrap_or_default();
            let first = (agent.clone(), FrameworkId::default());
            let open = self.maintenance.numbers.range(first..).take_while(|((on, _), _)| *on == agent);
            let open: Vec<(Pair, u64)> = open.map(|(pair, number)| (pair.clone(), *number)).collect();
            for (pair, number) in open {
                let asked = self.maintenance.open.get(&number).map(|asked| asked.about);
                if !there.contains(&pair.1) || asked != about {
                    self.rescind_inverse(&pair, fx);
                }
            }
            self.forget_answers_of_absent(&agent, &there);
            if let (Some(row), Some(about)) = (row, about) {
                for framework in there {
                    if let Some(offer) = self.inverse_offer(now, &row, &framework, about) {
                        asks.entry(framework).or_default().push(offer);
                    }
                }
            }
        }
        for (framework, offers) in asks {
            self.tell(&framework, StreamEvent::InverseOffers(offers), fx);
        }
    }

    /// What a framework said counts as long as it has something there.
    fn forget_answers_of_absent(&mut self, agent: &AgentId, there: &BTreeSet<FrameworkId>) {
        let plan = &mut self.maintenance;
        let first = (agent.clone(), FrameworkId::default());
        let said = plan.answers.range(first..).take_while(|((on, _), _)| on == agent);
        let absent: Vec<Pair> =
            said.map(|(pair, _)| pair).filter(|(_, framework)| !there.contains(framework)).cloned().collect();
        for pair in absent {
            plan.answers.remove(&pair);
            plan.timers.clear(&pair);
        }
    }

    /// Inverse offers are open only to frameworks that are there and run something on an agent of the schedule that is
    /// there, about what is in the schedule, and one to each.
    pub(super) fn check_inverse(&self) -> Result<(), String> {
        let plan = &self.maintenance;
        for (number, asked) in &plan.open {
            let (agent, framework) = &asked.pair;
            let state = self.agents.get(agent);
            let row = state.and_then(|state| state.row.as_ref());
            let runs = state.is_some_and(|state| state.executors.contains_key(framework));
            let hears = self.frameworks.get(framework).and_then(|framework| framework.connection()).is_some();
            let planned = row.and_then(|row| plan.unavailability(row)) == Some(asked.about);
            let there = self.is_shaken(agent) && row.is_some_and(|row| !row.down);
            if !(runs && hears && planned && there && plan.numbers.get(&asked.pair) == Some(number)) {
                return Err(format!(
                    "inverse offer {number} to {framework} about agent {agent} means nothing any more"
                ));
            }
        }
        let same = plan.open.len() == plan.numbers.len();
        if same { Ok(()) } else { Err("inverse offers and their numbers differ".to_owned()) }
    }

    fn inverse_offer(
        &mut self,
        now: Time,
        row: &AgentRow,
        framework: &FrameworkId,
        about: Unavailability,
    ) -> Option<InverseOffer> {
        self.frameworks.get(framework)?.connection()?;
        let pair = (row.id.clone(), framework.clone());
        let plan = &mut self.maintenance;
        if plan.numbers.contains_key(&pair) {
            return None;
        }
        if plan.answers.get(&pair).is_some_and(|said| said.about == about && said.until > now) {
            return None;
        }
        let number = plan.named;
        plan.named += 1;
        plan.open.insert(number, Asked { pair: pair.clone(), about, at: now });
        plan.numbers.insert(pair.clone(), number);
        match self.options.offer_timeout {
            Some(timeout) => plan.timers.set(pair, now.after(timeout)),
            None => plan.timers.clear(&pair),
        }
        Some(InverseOffer {
            id: self.inverse_id(number),
            agent: row.id.clone(),
            hostname: row.hostname.clone(),
            ip: row.ip.clone(),
            port: row.port,
            unavailability: about,
        })
    }
}

/// A schedule as it is kept: hostnames in lower case.
///
/// # Errors
/// As Mesos refuses one: for a window without machines, a machine without a name or in two places, a duration below
/// zero.
fn check_schedule(mut windows: Vec<Window>) -> Result<Vec<Window>, Refusal> {
    let mut seen: BTreeMap<String, Vec<MachineId>> = BTreeMap::new();
    let mut count = 0;
    for window in &mut windows {
        if window.machines.is_empty() {
            return Err((400, "A maintenance window names no machine".to_owned()));
        }
        if window.unavailability.duration_ns.is_some_and(|duration| duration < 0) {
            return Err((400, "The duration of an unavailability is negative".to_owned()));
        }
        count += window.machines.len();
        if count > MACHINES_MAX {
            return Err((400, format!("A maintenance schedule may name at most {MACHINES_MAX} machines")));
        }
        for machine in &mut window.machines {
            check_machine(machine)?;
            let keys: Vec<String> =
                [&machine.hostname, &machine.ip].into_iter().filter(|key| !key.is_empty()).cloned().collect();
            let twice = keys.iter().filter_map(|key| seen.get(key)).flatten().any(|other| other.overlaps(machine));
            if twice {
                return Err((400, format!("Machine '{machine}' is in the maintenance schedule more than once")));
            }
            for key in keys {
                seen.entry(key).or_default().push(machine.clone());
            }
        }
    }
    Ok(windows)
}

fn check_machines(mut machines: Vec<MachineId>) -> Result<Vec<MachineId>, Refusal> {
    if machines.is_empty() {
        return Err((400, "No machine is named".to_owned()));
    }
    if machines.len() > MACHINES_MAX {
        return Err((400, format!("At most {MACHINES_MAX} machines may be named at once")));
    }
    let mut seen = BTreeSet::new();
    for machine in &mut machines {
        check_machine(machine)?;
        if !seen.insert(machine.clone()) {
            return Err((400, format!("Machine '{machine}' is named twice")));
        }
    }
    Ok(machines)
}

fn check_machine(machine: &mut MachineId) -> Result<(), Refusal> {
    machine.hostname.make_ascii_lowercase();
    if machine.hostname.is_empty() && machine.ip.is_empty() {
        return Err((400, "A machine needs a hostname or an IP address".to_owned()));
    }
    let strange = |character: char| character.is_control() || character.is_whitespace();
    if machine.hostname.len() > NAME_MAX || machine.hostname.contains(strange) {
        let shown: String = machine.hostname.escape_debug().take(80).collect();
        return Err((400, format!("'{shown}' is no hostname")));
    }
    if !machine.ip.is_empty() && machine.ip.parse::<std::net::IpAddr>().is_err() {
        let shown: String = machine.ip.escape_debug().take(80).collect();
        return Err((400, format!("'{shown}' is no IP address")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

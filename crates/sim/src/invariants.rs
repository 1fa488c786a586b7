//! What must always hold, and what is remembered of a run to see whether it does.
//!
//! Each invariant is a function that is named after its number in the fault catalogue (I1 to I15; those of
//! reservations, volumes and quota are in `resources`); I1 and the machines' inner agreement are theirs to check
//! (`Allocator::check`, `Registry::check`, `Agent::check`).

mod resources;

use std::collections::{BTreeMap, BTreeSet};

use mesos_core::{
    message::{AllocatorCall, Offer, OperationKind, RegistryCall, StreamEvent, ToRegistry, ToStream},
    row::{AgentRow, AgentState, ExecutorRow, FrameworkState, Row, RowChange, RowKey, service},
};
use mesos_model::{
    AgentId, CallId, FrameworkId, LaunchId, OfferId, Reason, Resources, TaskId, TaskState, TaskStatus, Term, uuid_text,
};

use crate::{
    host::{Container, Host},
    net::{Node, Payload},
    node::http::Passed,
    plan::Temper,
    store::{Commit, Ledger},
};

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, for example `I6`.
    pub invariant: &'static str,
    /// What happened.
    pub text: String,
}

type TaskKey = (FrameworkId, TaskId);

/// What a framework was told of a task.
#[derive(Debug, Default)]
struct Told {
    end: Option<TaskState>,
    /// TASK_LOST because its agent went away.
    lost: bool,
    numbers: BTreeSet<u64>,
}

/// A status as its agent wrote it down.
#[derive(Clone, Debug)]
struct Written {
    key: TaskKey,
    number: u64,
    state: TaskState,
}

/// What is remembered of a run.
#[derive(Debug, Default)]
pub struct Seen {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Commits were lost in this run.
    pub rolled_back: bool,
    /// The store was wiped in this run, at last then.
    pub wiped_at: u64,
    /// Messages come twice in this run.
    pub duplicates: bool,
    starts: BTreeMap<(LaunchId, TaskId), u8>,
    kills: BTreeSet<TaskKey>,
    torn_down: BTreeSet<FrameworkId>,
    /// Frameworks that were removed by a commit.
    pub removed: BTreeSet<FrameworkId>,
    ended_launches: BTreeSet<LaunchId>,
    told: BTreeMap<TaskKey, Told>,
    written: BTreeMap<u128, Written>,
    hidden: BTreeSet<(TaskKey, u64)>,
    acknowledged: BTreeSet<u128>,
    ends_acknowledged: BTreeSet<TaskKey>,
    uuids_told: BTreeSet<u128>,
    /// Tasks whose end the registry wrote down.
    ends_committed: BTreeSet<TaskKey>,
    unsure: BTreeSet<TaskKey>,
    end_uuids: BTreeMap<u128, TaskKey>,
    obeyed: BTreeMap<(Node, u64), u128>,
    highest: BTreeMap<Node, u64>,
    accepts: BTreeMap<CallId, Vec<OfferId>>,
    consumed: BTreeMap<OfferId, CallId>,
    handshakes: BTreeSet<(AgentId, String)>,
    fences: BTreeMap<&'static str, (Term, u64)>,
    unreachable: BTreeSet<AgentId>,
    marks: BTreeMap<u128, u64>,
    /// How far the store's clock has stepped in all, in milliseconds.
    clock_steps: u64,
    offers_made: BTreeMap<OfferId, FrameworkId>,
    timeouts: BTreeMap<FrameworkId, u64>,
    reported: BTreeMap<FrameworkId, (u64, u128)>,
    closed: BTreeMap<u128, u64>,
    /// What operators and frameworks asked for, and what came of it.
    made: resources::Made,
    /// Launches whose row was ever written.
    launched: BTreeSet<LaunchId>,
    /// Which agents have which ids.
    ids: BTreeMap<Node, AgentId>,
    /// Agents that were asked to be gone.
    gone: BTreeSet<AgentId>,
    /// Agents that were drained or are gone: their tasks may be ended. True if one was reactivated since.
    leaving: BTreeMap<AgentId, bool>,
    /// Agents whose machines went down for maintenance: the same.
    downed: BTreeSet<AgentId>,
    /// Agents that may not be offered, by the leader that said so.
    deactivated: BTreeSet<(AgentId, String)>,
    /// Offers that frameworks hold, by what they were told.
    pub held: BTreeMap<FrameworkId, BTreeMap<OfferId, Resources>>,
    /// How many tasks ever ran.
    pub tasks_run: u64,
    /// How many statuses frameworks were told.
    pub statuses: u64,
}

impl Seen {
    fn fail(&mut self, invariant: &'static str, text: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, text: text() });
        }
    }

    /// A machine's own check failed.
    pub fn machine(&mut self, error: String) {
        self.fail("I1", || error);
    }

    /// Something that had to come did not.
    pub fn late(&mut self, invariant: &'static str, text: String) {
        self.fail(invariant, || text);
    }

    // Hosts.

    /// A container's program runs now.
    pub fn started(&mut self, host: u8, name: &str, container: &Container, hosts: &BTreeMap<u8, Host>) {
        self.tasks_run += 1;
        self.i6_a_launch_runs_once(host, name, container, hosts);
        self.i2_an_agent_runs_no_more_than_it_has(host, hosts);
    }

    /// I6: a launch id executes at most once, and a task id lives on at most one agent.
    fn i6_a_launch_runs_once(&mut self, host: u8, name: &str, container: &Container, hosts: &BTreeMap<u8, Host>) {
        let starts = self.starts.entry((container.launch.clone(), container.task.clone())).or_default();
        *starts += 1;
        if *starts > 1 {
            self.fail("I6", || format!("{} of {} was started again on agent{host}", container.task, container.launch));
        }
        let same = |other: &Container| other.framework == container.framework && other.task == container.task;
        let live: Vec<(u8, &String)> = hosts
            .iter()
            .flat_map(|(id, host)| host.containers.iter().map(move |(name, other)| (*id, name, other)))
            .filter(|(_, _, other)| same(other) && other.phase == crate::host::Phase::Running)
            .map(|(id, name, _)| (id, name))
            .collect();
        if live.iter().any(|(id, other)| (*id, other.as_str()) != (host, name)) {
            self.fail("I6", || format!("{} runs twice: {live:?}", container.task));
        }
    }

    /// I2: what runs on an agent fits into what it has, under any number of leaders.
    fn i2_an_agent_runs_no_more_than_it_has(&mut self, host: u8, hosts: &BTreeMap<u8, Host>) {
        let Some(host_state) = hosts.get(&host) else { return };
        let sum = host_state.running().fold(Resources::new(), |sum, container| sum.plus(&container.resources));
        // What is reserved is another kind, and as much of it.
        let (have, runs) = (host_state.total.scalars(), sum.scalars());
        if runs.iter().any(|(name, amount)| have.get(name).is_none_or(|have| have < amount)) {
            self.fail("I2", || format!("agent{host} runs {sum}, but has {}", host_state.total));
        }
    }

    /// I10: a task is ended only because somebody who may wants it ended, never because a part of the control
    /// plane died.
    pub fn killed(&mut self, now: u64, host: u8, container: &Container) {
        let key = (container.framework.clone(), container.task.clone());
        let wanted = self.kills.contains(&key)
            || self.torn_down.contains(&key.0)
            || self.removed.contains(&key.0)
            || self.is_leaving(Node::Agent(host))
            || self.ended_launches.contains(&container.launch);
        self.ended_launches.insert(container.launch.clone());
        if !wanted {
            self.fail("I10", || format!("{} of {} was killed at {now}, and nobody wanted it", key.1, key.0));
        }
    }

    /// A container ended by itself; a group may follow it.
    pub fn exited(&mut self, launch: &LaunchId) {
        self.ended_launches.insert(launch.clone());
    }

    /// The host booted under a container.
    pub fn lost_with_host(&mut self, container: &Container) {
        self.ended_launches.insert(container.launch.clone());
    }

    /// An agent was refused: nothing here copies work directories.
    pub fn refused(&mut self, node: Node, reason: &str) {
        self.fail("I5", || format!("{node} was refused: {reason}"));
    }

    // The store.

    /// I4: only the last term writes, and only on top of what it knows.
    pub fn i4_only_the_fence_writes(&mut self, name: &'static str, commit: &Commit, ledger: &Ledger) {
        let (term, seq) = self.fences.get(name).copied().unwrap_or_default();
        if commit.lease.term != term || commit.lease.seq != seq {
            let shown = commit.lease;
            self.fail("I4", || format!("a commit of {name} got through with {shown:?}, but {term:?} holds {seq}"));
        }
        self.fenced(name, ledger);
    }

    /// The record of a service as it is now.
    pub fn fenced(&mut self, name: &'static str, ledger: &Ledger) {
        self.fences.insert(name, (ledger.term(), ledger.seq()));
    }

    /// A commit of the allocator.
    pub fn allocator_committed(&mut self, commit: &Commit, now: u64, deaf_for: u64) {
        for change in commit.changes.iter() {
            match change {
                RowChange::Put(Row::Agent(row)) => {
                    self.f84_few_agents_are_given_up_by_who_can_hear(row, commit.lease.term, now, deaf_for);
                    self.handshakes.insert((row.id.clone(), uuid_text(row.handshake.leader)));
                    let whose = (row.id.clone(), uuid_text(commit.lease.term.leader));
                    if row.deactivated || row.down {
                        self.deactivated.insert(whose);
                    } else {
                        self.deactivated.remove(&whose);
                    }
                }
                RowChange::Put(Row::Launch(row)) if row.adopted.is_none() => {
                    self.i3_an_offer_is_consumed_once(&row.launch, &row.call);
                }
                _ => {}
            }
        }
    }

    /// Fault 84: who hears nothing itself gives no agent up, and of three agents one a minute is given up at most.
    fn f84_few_agents_are_given_up_by_who_can_hear(&mut self, row: &AgentRow, term: Term, now: u64, deaf_for: u64) {
        const MINUTE: u64 = 60_000;
        /// Missed beats of its own, and what is on its way.
        const NOTICED: u64 = 8_000;
        if !matches!(row.state, AgentState::Unreachable { .. }) || row.down {
            self.unreachable.remove(&row.id);
            return;
        }
        if !self.unreachable.insert(row.id.clone()) {
            return;
        }
        if deaf_for > NOTICED {
            self.fail("f84", || format!("{} was given up by a leader that was cut off for {deaf_for} ms", row.id));
        }
        let last = self.marks.insert(term.leader, now);
        let steps = self.clock_steps;
        if let Some(last) = last.filter(|last| now + steps + 1_000 < last + MINUTE) {
            self.fail("f84", || format!("{} was given up {} ms after another one", row.id, now - last));
        }
    }

    /// The store's clock steps.
    pub fn clock_stepped(&mut self, by: u64) {
        self.clock_steps += by;
    }

    /// I3: an offer is consumed at most once, and by the term that made it.
    fn i3_an_offer_is_consumed_once(&mut self, launch: &LaunchId, call: &CallId) {
        for offer in self.accepts.get(call).cloned().unwrap_or_default() {
            if prefix(offer.as_str()) != prefix(launch.as_str()) {
                self.fail("I3", || format!("{launch} consumes {offer} of another term"));
            }
            let first = self.consumed.entry(offer.clone()).or_insert_with(|| call.clone()).clone();
            if first != *call {
                self.fail("I3", || format!("{offer} was consumed by {first} and by {call}"));
            }
        }
    }

    /// I3: nothing of an agent is offered before it has shaken hands in the term.
    pub fn i3_offers_need_a_handshake(&mut self, events: &[ToStream]) {
        for event in events {
            let StreamEvent::Offers(offers) = &event.event else { continue };
            for offer in offers {
                if !self.handshakes.contains(&(offer.agent.clone(), prefix(offer.id.as_str()).to_owned())) {
                    self.fail("I3", || format!("{} is of {}, which has not shaken hands", offer.id, offer.agent));
                }
                if self.deactivated.contains(&(offer.agent.clone(), prefix(offer.id.as_str()).to_owned())) {
                    self.fail("I3", || format!("{} is of {}, which an operator sent away", offer.id, offer.agent));
                }
            }
        }
    }

    /// A commit of the registry, before it is applied.
    pub fn registry_commits(&mut self, now: u64, commit: &Commit, rows: &BTreeMap<RowKey, Row>) {
        for change in commit.changes.iter() {
            if let RowChange::Put(Row::Task(row)) = change
                && row.state.is_terminal()
            {
                let key = (row.framework.clone(), row.task.clone());
                // Told as TASK_LOST to who knows nothing of partitions, it is still the end that is acknowledged.
                let ends = row.pending.iter().filter(|pending| pending.status.state.is_terminal());
                self.end_uuids.extend(ends.filter_map(|end| end.status.uuid).map(|uuid| (uuid, key.clone())));
                self.ends_committed.insert(key);
            }
            let RowChange::Put(Row::Framework(row)) = change else { continue };
            if let (FrameworkState::Connected, Some(last)) = (row.state, &row.subscription) {
                let reported = self.reported.entry(row.id.clone()).or_insert((now, last.stream));
                if reported.1 != last.stream {
                    *reported = (now, last.stream);
                }
            }
            if !matches!(row.state, FrameworkState::Removed { .. }) {
                continue;
            }
            let before = rows.get(&change.key());
            let was =
                matches!(before, Some(Row::Framework(row)) if matches!(row.state, FrameworkState::Removed { .. }));
            if !was {
                self.i13_no_removal_before_the_failover_timeout(now, &row.id);
            }
            self.removed.insert(row.id.clone());
        }
    }

    /// I13: a framework is removed by itself, or after its failover timeout; a stream that was lost, not
    /// closed, has a minute before that to come back.
    fn i13_no_removal_before_the_failover_timeout(&mut self, now: u64, id: &FrameworkId) {
        let clocks = 2_000 + self.clock_steps;
        const GRACE: u64 = 60_000;
        if self.torn_down.contains(id) {
            return;
        }
        let Some((reported, stream)) = self.reported.get(id).copied() else { return };
        let closed = self.closed.get(&stream).copied();
        // A store that lost the subscription knows of the one before it.
        let grace = if self.rolled_back { 0 } else { GRACE };
        let away_since = closed.unwrap_or(reported + grace);
        let timeout = self.timeouts.get(id).copied().unwrap_or(0);
        if now + clocks < away_since + timeout {
            self.fail("I13", || {
                format!("{id} was removed at {now}: reported {reported}, closed {closed:?}, timeout {timeout}")
            });
        }
    }

    /// A commit of an agent's checkpoint, before it is applied.
    pub fn agent_commits(&mut self, node: Node, commit: &Commit, rows: &BTreeMap<RowKey, Row>) {
        for change in commit.changes.iter() {
            match change {
                RowChange::Put(Row::AgentSelf(row)) => {
                    self.i5_one_leader_per_epoch(node, row.term);
                    let old = match rows.get(&change.key()) {
                        Some(Row::AgentSelf(old)) => Some(old),
                        _ => None,
                    };
                    self.i14_operations_conserve(node, old, row);
                    // One that has left is known by its last id until it has another one.
                    if let Some(id) = &row.id {
                        self.ids.insert(node, id.clone());
                    }
                }
                RowChange::Put(Row::Executor(row)) => {
                    self.i2_nothing_is_ordered_that_does_not_fit(node, row);
                    self.write_down(row);
                    if let Some(Row::Executor(old)) = rows.get(&change.key()) {
                        self.i8_what_is_not_acknowledged_is_kept(node, old, Some(row));
                    }
                }
                RowChange::Delete(key) => {
                    if let Some(Row::Executor(old)) = rows.get(key) {
                        self.i8_what_is_not_acknowledged_is_kept(node, old, None);
                    }
                }
                RowChange::Put(_) => {}
            }
        }
    }

    /// I5: an agent obeys one leader per epoch, for all time, and epochs only rise.
    fn i5_one_leader_per_epoch(&mut self, node: Node, term: Term) {
        if term == Term::default() {
            // One that has left obeys nobody yet; what it promised stands.
            return;
        }
        let highest = self.highest.entry(node).or_default();
        let before = std::mem::replace(highest, term.epoch);
        if before > term.epoch {
            self.fail("I5", || format!("{node} went from epoch {before} back to {}", term.epoch));
        }
        let leader = *self.obeyed.entry((node, term.epoch)).or_insert(term.leader);
        if leader != term.leader {
            self.fail("I5", || format!("{node} obeys two leaders in epoch {}", term.epoch));
        }
    }

    /// I2: whatever an allocator orders fits into what its agent has left, unless the store has lost what it knew.
    fn i2_nothing_is_ordered_that_does_not_fit(&mut self, node: Node, row: &ExecutorRow) {
        let dropped = row.tasks.iter().find(|task| {
            task.status.state == TaskState::Dropped && task.status.reason == Some(Reason::RESOURCES_UNKNOWN)
        });
        if let Some(task) = dropped.filter(|_| !self.rolled_back) {
            self.fail("I2", || format!("{node} was ordered to run {}, for which it has no room", task.task));
        }
    }

    fn write_down(&mut self, row: &ExecutorRow) {
        for task in &row.tasks {
            let key = (row.framework.clone(), task.task.clone());
            let pending = task.pending.iter().map(|pending| (pending.number, &pending.status));
            for (number, status) in pending.chain([(task.number, &task.status)]) {
                if let Some(uuid) = status.uuid {
                    let written = || Written { key: key.clone(), number, state: status.state };
                    self.written.entry(uuid).or_insert_with(written);
                }
            }
        }
    }

    /// I8: an agent forgets an update only when its framework acknowledged it (or a later one, or the end), or
    /// is no more.
    fn i8_what_is_not_acknowledged_is_kept(&mut self, node: Node, old: &ExecutorRow, new: Option<&ExecutorRow>) {
        for task in &old.tasks {
            let key = (old.framework.clone(), task.task.clone());
            let kept = new.and_then(|new| new.tasks.iter().find(|other| other.task == task.task));
            for pending in &task.pending {
                let Some(uuid) = pending.status.uuid else { continue };
                let stays = kept.is_some_and(|kept| kept.pending.iter().any(|other| other.number == pending.number));
                let settled = self.acknowledged.contains(&uuid)
                    || self.ends_acknowledged.contains(&key)
                    || self.removed.contains(&key.0)
                    || self.is_gone(node)
                    || pending.status.state == TaskState::Killing
                    // A registry that lost commits may have said that the task is gone before its agent spoke.
                    || (self.rolled_back && self.ends_committed.contains(&key))
                    || self.later_was_acknowledged(&key, pending.number);
                if !stays && !settled {
                    self.fail("I8", || {
                        let (number, state) = (pending.number, pending.status.state.name());
                        format!("{node} forgot update {number} ({state}) of {}, which nobody acknowledged", key.1)
                    });
                }
            }
        }
    }

    fn later_was_acknowledged(&self, key: &TaskKey, number: u64) -> bool {
        self.acknowledged
            .iter()
            .filter_map(|uuid| self.written.get(uuid))
            .any(|written| written.key == *key && written.number > number)
    }

    // Calls and reports.

    /// A gateway takes a call.
    pub fn called(&mut self, _now: u64, id: &CallId, call: &Passed) {
        match call {
            Passed::Allocator(AllocatorCall::Accept { offers, operations, .. }) => {
                self.accepts.insert(id.clone(), offers.clone());
                for operation in operations {
                    if let OperationKind::Convert(conversion) = &operation.kind {
                        self.made.asked(conversion);
                    }
                }
            }
            Passed::Allocator(AllocatorCall::Operator(call)) => self.operator_asks(call),
            Passed::Registry(RegistryCall::Kill { caller, task, .. }) => {
                self.kills.insert((caller.framework.clone(), task.clone()));
            }
            Passed::Registry(RegistryCall::Teardown(caller)) => {
                self.torn_down.insert(caller.framework.clone());
            }
            Passed::Registry(RegistryCall::Acknowledge { uuid, .. }) => {
                self.acknowledged.insert(*uuid);
                if let Some(key) = self.end_uuids.get(uuid) {
                    self.ends_acknowledged.insert(key.clone());
                }
            }
            _ => {}
        }
    }

    /// A gateway says that a stream was closed.
    pub fn closed(&mut self, now: u64, stream: u128) {
        self.closed.insert(stream, now);
    }

    /// A message reaches a leader.
    pub fn message(&mut self, now: u64, payload: &Payload, _disks: &BTreeMap<Node, Ledger>) {
        let Payload::Registry(messages) = payload else { return };
        for message in messages {
            if let ToRegistry::Call(call) = message
                && let RegistryCall::Streams(held) = &call.what
            {
                for (framework, stream) in held {
                    if let Some(reported) = self.reported.get_mut(framework).filter(|(_, current)| current == stream) {
                        reported.0 = now;
                    }
                }
            }
        }
    }

    // Frameworks.

    /// A framework has its id.
    pub fn subscribed(&mut self, now: u64, id: &FrameworkId, stream: u128, temper: &Temper) {
        self.reported.insert(id.clone(), (now, stream));
        self.timeouts.insert(id.clone(), temper.failover_ms);
        self.held.remove(id);
    }

    /// An event came before SUBSCRIBED (`Subscribed before events`, the scheduler API).
    pub fn event_before_subscribed(&mut self, node: Node) {
        self.fail("I9", || format!("{node} got an event before SUBSCRIBED"));
    }

    /// A framework was offered something.
    pub fn offered(&mut self, _now: u64, id: Option<&FrameworkId>, offer: &Offer) {
        if let Some(id) = id {
            let first = self.offers_made.entry(offer.id.clone()).or_insert_with(|| id.clone()).clone();
            if first != *id {
                self.fail("I11", || format!("{} was offered to {first} and to {id}", offer.id));
            }
            self.held.entry(id.clone()).or_default().insert(offer.id.clone(), offer.resources.clone());
        }
    }

    /// An offer was taken back.
    pub fn rescinded(&mut self, id: Option<&FrameworkId>, offer: &OfferId) {
        if let Some(held) = id.and_then(|id| self.held.get_mut(id)) {
            held.remove(offer);
        }
    }

    /// Whether an ACCEPT took effect is not known: a late repeat of it may still launch the task after
    /// reconciliation said that nobody knows it.
    pub fn unsure(&mut self, id: &FrameworkId, task: &TaskId) {
        self.unsure.insert((id.clone(), task.clone()));
    }

    /// I11: a framework hears of its own tasks only.
    pub fn i11_only_own_tasks(&mut self, node: Node, task: &TaskId) {
        if !task.as_str().starts_with(&format!("{node}-")) {
            self.fail("I11", || format!("{node} was told of {task}"));
        }
    }

    /// A framework is told a status.
    pub fn told(&mut self, id: &FrameworkId, status: &TaskStatus, temper: &Temper) {
        self.statuses += 1;
        let key = (id.clone(), status.task.clone());
        // An end that the registry decided settles what the agent has said before; what may follow it is I7's matter.
        // So does the loss of an agent that was sent away, if the store forgets that it was.
        let lost = self.rolled_back && self.told.get(&key).is_some_and(|told| told.lost);
        let over = lost || self.was_told_end(&key.0, &key.1);
        self.i7_one_end_and_nothing_after_it(&key, status);
        if let Some(uuid) = status.uuid {
            if is_end(status) {
                self.end_uuids.insert(uuid, key.clone());
            }
            if !over {
                self.i9_updates_come_in_order(&key, uuid, temper);
            }
        }
    }

    /// I7: one terminal state as told to the framework, and nothing after it. That reconciliation says of a
    /// finished task that nobody knows it is Mesos's answer.
    fn i7_one_end_and_nothing_after_it(&mut self, key: &TaskKey, status: &TaskStatus) {
        if status.uuid.is_some_and(|uuid| !self.uuids_told.insert(uuid)) {
            // Told again: whoever keeps books by the uuid notices.
            return;
        }
        let invalid_offers = status.reason == Some(Reason::INVALID_OFFERS);
        let later_term = self.fences.get(service::ALLOCATOR).is_some_and(|(term, _)| term.epoch > 1);
        if invalid_offers && (self.duplicates || self.rolled_back || later_term) {
            // A repeat of an ACCEPT whose launch the store no longer knows, because it was lost or has ended before this
            // leader began, is told that it came too late.
            return;
        }
        if status.uuid.is_none() && status.reason == Some(Reason::RECONCILIATION) && self.unsure.contains(key) {
            return;
        }
        let told = self.told.entry(key.clone()).or_default();
        told.lost |= status.state == TaskState::Lost && status.reason == Some(Reason::AGENT_REMOVED);
        match told.end {
            Some(end) if end != status.state => {
                let unknown = matches!(
                    status.state,
                    TaskState::Gone
                        | TaskState::GoneByOperator
                        | TaskState::Unknown
                        | TaskState::Lost
                        | TaskState::Unreachable
                        | TaskState::Dropped
                );
                // A registry that lost the commits with the end knows the task as it was, or finds that nobody
                // knows it any more.
                let harmless = (unknown && status.uuid.is_none()) || self.rolled_back;
                // One whose allocator's store brought a launch back that was over takes its task for new, until the
                // agent has said what it knows. One whose own store lost an end knows the task as it was: on an agent that is
                // gone by now, or about to be killed before it is launched.
                let guessed =
                    [Reason::AGENT_REMOVED, Reason::AGENT_REMOVED_BY_OPERATOR, Reason::TASK_KILLED_DURING_LAUNCH];
                let guessed = status.reason.is_some_and(|reason| guessed.contains(&reason));
                let resurrected = self.rolled_back && guessed;
                // One that lost that an agent was sent away lost what it had told of the agent's tasks, too. Nobody else
                // knows of that: what their agent says of them is news again.
                let sent_away = status.agent.as_ref().is_some_and(|agent| self.was_sent_away(agent));
                let by_registry = matches!(end, TaskState::Gone | TaskState::GoneByOperator | TaskState::Lost);
                let resurrected = resurrected || (self.rolled_back && sent_away && by_registry);
                let harmless = harmless && (status.reason == Some(Reason::RECONCILIATION) || resurrected);
                if !harmless {
                    self.fail("I7", || {
                        let reason = status.reason.and_then(Reason::name);
                        format!("{} was told {} after {} ({reason:?})", key.1, status.state.name(), end.name())
                    });
                }
            }
            Some(_) => {}
            None if is_end(status) => told.end = Some(status.state),
            None => {}
        }
    }

    /// I9: the updates of a task come in order: again perhaps, but with no gap.
    fn i9_updates_come_in_order(&mut self, key: &TaskKey, uuid: u128, temper: &Temper) {
        let Some(written) = self.written.get(&uuid).cloned().filter(|written| written.key == *key) else { return };
        let number = written.number;
        let missing = {
            let told = &self.told.entry(key.clone()).or_default().numbers;
            if told.contains(&number) {
                return;
            }
            (1..number).find(|before| !told.contains(before) && !self.hidden.contains(&(key.clone(), *before)))
        };
        if let Some(missing) = missing {
            let hidden = self.written.values().any(|other| {
                other.key == *key
                    && other.number == missing
                    && other.state == TaskState::Killing
                    && !temper.task_killing
            });
            // What a framework was not told while it was removed it does not hear if a store forgets the removal.
            if !hidden && !self.removed.contains(&key.0) {
                let state = written.state.name();
                self.fail("I9", || format!("{} was told update {number} ({state}) before update {missing}", key.1));
            }
            self.hidden.insert((key.clone(), missing));
        }
        self.told.entry(key.clone()).or_default().numbers.insert(number);
    }

    /// Whether a framework was told the end of a task.
    #[must_use]
    pub fn was_told_end(&self, framework: &FrameworkId, task: &TaskId) -> bool {
        self.told.get(&(framework.clone(), task.clone())).is_some_and(|told| told.end.is_some())
    }

    /// A commit was applied.
    pub fn committed(
        &mut self,
        name: &'static str,
        commit: &Commit,
        now: u64,
        deaf_for: u64,
        rows: &BTreeMap<RowKey, Row>,
    ) {
        if name == service::ALLOCATOR {
            self.i15_no_role_beyond_its_limit(commit, rows);
            self.allocator_committed(commit, now, deaf_for);
        }
    }
}

/// A status after which nothing may come.
fn is_end(status: &TaskStatus) -> bool {
    let lost_for_good = status.reason == Some(Reason::INVALID_OFFERS)
        || (status.uuid.is_some() && status.reason != Some(Reason::AGENT_REMOVED));
    status.state.is_terminal() || (status.state == TaskState::Lost && lost_for_good)
}

/// The leader's part of an id.
fn prefix(id: &str) -> &str {
    id.get(..36).unwrap_or(id)
}

//! SUBSCRIBE, streams that are lost or closed, failover deadlines, removal.

use std::time::Duration;

use bytes::Bytes;
use mesos_model::{
    CallId, FrameworkId, GatewayId, Reason, Role, Source, TaskState, TaskStatus, Time,
    planted::{Bug, is_planted},
};

use super::{Out, Output, Registry, is_end, open_stream};
use crate::{
    message::{Answer, AnswerBody, StreamEvent, ToStream},
    row::{Capabilities, FrameworkFacts, FrameworkInfo, FrameworkRow, FrameworkState, RowKey, Subscription},
};

/// Removed frameworks that cannot be forgotten yet are kept up to this many times the configured number.
const REMOVED_EXCESS: usize = 20;

const PRINCIPAL_CHANGED: &str = "Changing framework's principal is not allowed.";

/// A SUBSCRIBE, taken apart.
pub(super) struct Subscribe {
    pub(super) call: CallId,
    pub(super) gateway: GatewayId,
    pub(super) principal: Option<String>,
    pub(super) framework: Option<FrameworkId>,
    pub(super) info: FrameworkInfo,
    pub(super) invalid: Option<String>,
    pub(super) body: Bytes,
    pub(super) suppressed: Vec<Role>,
    pub(super) stream: u128,
    pub(super) over: Option<u64>,
}

/// An UPDATE_FRAMEWORK, taken apart.
pub(super) struct Update {
    pub(super) info: FrameworkInfo,
    pub(super) invalid: Option<String>,
    pub(super) body: Bytes,
    pub(super) suppressed: Vec<Role>,
}

fn refused(message: impl Into<String>) -> Answer {
    let body = AnswerBody::Refused { message: message.into() };
    Answer { status: 200, text: String::new(), body }
}

/// What is wrong with a list of suppressed roles, in Mesos's words.
pub(super) fn suppressed_error(info: &FrameworkInfo, suppressed: &[Role]) -> Option<String> {
    let strange: Vec<&str> =
        suppressed.iter().filter(|role| !info.roles.contains(role)).map(|role| role.as_str()).collect();
    (!strange.is_empty())
        .then(|| format!("Suppressed roles {{ {} }} are not contained in the set of roles", strange.join(", ")))
}

impl Registry {
    /// The answer to SUBSCRIBE, and whether the framework's updates are to be sent to its stream. The reply
    /// must leave before them: a gateway drops events of a stream that it has not been told of.
    pub(super) fn subscribe(&mut self, now: Time, mut ask: Subscribe, out: &mut Out) -> (Answer, Option<FrameworkId>) {
        if let Some(answer) = self.answers.get(&ask.call) {
            return (answer.clone(), self.streams.get(&ask.stream).cloned());
        }
        // A repeat of a call that an earlier leader took: the stream is in the framework's row.
        if let Some(row) = self.streams.get(&ask.stream).and_then(|id| self.framework(id)) {
            let number = row.subscription.as_ref().map_or(0, |subscription| subscription.number);
            let id = row.id.clone();
            return (subscribed(&id, number), Some(id));
        }
        if ask.info.principal.is_none() {
            ask.info.principal = ask.principal.clone();
        }
        if let Some(message) = self.subscribe_error(&ask) {
            self.counters.subscriptions_refused += 1;
            out.claim();
            return (refused(message), None);
        }
        if let Some(number) = self.taken(&ask) {
            return (Answer { status: 409, text: String::new(), body: AnswerBody::Taken { number } }, None);
        }
        let id = match &ask.framework {
            Some(id) => id.clone(),
            None => match self.new_framework_id() {
                Some(id) => id,
                None => return (Answer::refused(503, "No leader elected"), None),
            },
        };
        let number = self.take_subscription(now, id.clone(), &ask, out);
        let answer = subscribed(&id, number);
        self.answers.put(ask.call, answer.clone());
        (answer, Some(id))
    }

    /// The open subscription that this SUBSCRIBE does not know of.
    fn taken(&self, ask: &Subscribe) -> Option<u64> {
        let row = self.framework(ask.framework.as_ref()?)?;
        let number = row.subscription.as_ref()?.number;
        let open = row.state == FrameworkState::Connected;
        (open && ask.over != Some(number) && !is_planted(Bug::LateSubscribeTakesOver)).then_some(number)
    }

    fn subscribe_error(&self, ask: &Subscribe) -> Option<String> {
        if let Some(invalid) = &ask.invalid {
            return Some(invalid.clone());
        }
        if let Some(row) = ask.framework.as_ref().and_then(|id| self.framework(id)) {
            if matches!(row.state, FrameworkState::Removed { .. }) {
                return Some("Framework has been removed".to_owned());
            }
            if !self.may_be(row, &ask.info, ask.principal.as_deref()) {
                return Some(PRINCIPAL_CHANGED.to_owned());
            }
        }
        suppressed_error(&ask.info, &ask.suppressed)
    }

    /// Whether the one who calls may go on as this framework. What agents know of a framework may lack its
    /// principal; then the first who brings the id has it, as in Mesos after a failover. So it is for a framework
    /// that came without a principal before the gateways asked for tokens.
    fn may_be(&self, row: &FrameworkRow, info: &FrameworkInfo, principal: Option<&str>) -> bool {
        let Some(owner) = row.info.principal.as_deref() else {
            return row.recovered || info.principal.is_none() || principal.is_some();
        };
        info.principal.as_deref() == Some(owner) && principal.is_none_or(|principal| principal == owner)
    }

    fn new_framework_id(&mut self) -> Option<FrameworkId> {
        let lead = self.lead.as_mut()?;
        let id = format!("{}-{:04}", lead.term.leader_text(), lead.counter);
        lead.counter += 1;
        Some(FrameworkId::new(id))
    }

    fn take_subscription(&mut self, now: Time, id: FrameworkId, ask: &Subscribe, out: &mut Out) -> u64 {
        let old = self.framework(&id).cloned();
        if let Some(old) = &old {
            self.close_old_stream(old, "Framework failed over", out);
        }
        let mut info = ask.info.clone();
        if let Some(old) = old.as_ref().filter(|old| !old.recovered) {
            info.user.clone_from(&old.info.user);
            info.checkpoint = old.info.checkpoint;
        }
        let mut gateway = ask.gateway.clone();
        if is_planted(Bug::SubscriptionKeepsGateway) {
            let first = old.as_ref().and_then(|old| old.subscription.as_ref());
            gateway = first.map_or(gateway, |first| first.gateway.clone());
        }
        let number = 1 + old.as_ref().and_then(|old| old.subscription.as_ref()).map_or(0, |last| last.number);
        let row = FrameworkRow {
            id: id.clone(),
            info,
            body: ask.body.clone(),
            state: FrameworkState::Connected,
            subscription: Some(Subscription { number, stream: ask.stream, gateway }),
            suppressed: ask.suppressed.iter().cloned().collect(),
            revived: old.as_ref().map(|old| old.revived.clone()).unwrap_or_default(),
            priority: old.as_ref().and_then(|old| old.priority),
            recovered: false,
            registered: old.as_ref().map_or(now, |old| old.registered),
            reregistered: now,
        };
        self.heard(now, &id);
        self.save_framework(now, row, out);
        self.counters.subscriptions += 1;
        number
    }

    fn close_old_stream(&self, row: &FrameworkRow, message: &str, out: &mut Out) {
        if open_stream(row).is_some()
            && let Some(last) = &row.subscription
        {
            close(&last.gateway, &row.id, last.stream, message, out);
        }
    }

    fn heard(&mut self, now: Time, id: &FrameworkId) {
        if let Some(framework) = self.frameworks.get_mut(id) {
            framework.heard = now;
            framework.disconnected_here = false;
        }
    }

    /// UPDATE_FRAMEWORK.
    pub(super) fn update_framework(&mut self, now: Time, id: &FrameworkId, update: Update, out: &mut Out) -> Answer {
        let Update { mut info, invalid, body, suppressed } = update;
        let Some(mut row) = self.framework(id).cloned() else {
            return Answer::refused(409, "Framework has been removed");
        };
        if info.principal.is_none() {
            info.principal.clone_from(&row.info.principal);
        }
        let changed = |field: &str, from: &str, to: &str| {
            format!("Updating 'FrameworkInfo.{field}' is unsupported; attempted to update from '{from}' to '{to}'")
        };
        let error = if invalid.is_some() {
            invalid
        } else if info.principal != row.info.principal {
            Some(PRINCIPAL_CHANGED.to_owned())
        } else if info.user != row.info.user {
            Some(changed("user", &row.info.user, &info.user))
        } else if info.checkpoint != row.info.checkpoint {
            Some(changed("checkpoint", &row.info.checkpoint.to_string(), &info.checkpoint.to_string()))
        } else {
            suppressed_error(&info, &suppressed)
        };
        if let Some(error) = error {
            return Answer::refused(400, error);
        }
        row.info = info;
        row.body = body;
        row.suppressed = suppressed.into_iter().collect();
        self.save_framework(now, row, out);
        // A capability that it has now may let an update out that waited.
        for key in self.keys_of(id, |task| !task.row.pending.is_empty()) {
            self.pump(now, &key, out);
        }
        Answer { status: 200, ..Answer::accepted() }
    }

    /// A gateway's stream was closed by its peer.
    pub(super) fn closed(&mut self, now: Time, gateway: &GatewayId, id: &FrameworkId, stream: u128, out: &mut Out) {
        if self.streams.get(&stream) != Some(id) {
            return;
        }
        let Some(mut row) = self.framework(id).cloned() else { return };
        let Some(subscription) = row.subscription.as_mut().filter(|last| last.gateway == *gateway) else { return };
        // No stream has this number, so a late report of the gateway does not open it again.
        subscription.stream = 0;
        self.disconnect(now, row, out);
    }

    fn disconnect(&mut self, now: Time, mut row: FrameworkRow, out: &mut Out) {
        let timeout = if is_planted(Bug::NoFailoverTimeout) { 0 } else { row.info.failover_timeout_ms };
        let deadline = now.after(Duration::from_millis(timeout));
        row.state = FrameworkState::Disconnected { deadline };
        if let Some(framework) = self.frameworks.get_mut(&row.id) {
            framework.disconnected_here = true;
        }
        self.save_framework(now, row, out);
    }

    /// A gateway says which streams it holds.
    pub(super) fn streams(&mut self, now: Time, gateway: &GatewayId, held: Vec<(FrameworkId, u128)>, out: &mut Out) {
        for (id, stream) in held {
            let Some(row) = self.framework(&id).filter(|row| holds(row, gateway, stream)) else {
                self.close_stale(gateway, &id, stream, out);
                continue;
            };
            if row.state == FrameworkState::Connected {
                self.heard(now, &id);
                continue;
            }
            let mut row = row.clone();
            row.state = FrameworkState::Connected;
            self.heard(now, &id);
            self.save_framework(now, row, out);
            self.send_pending(now, &id, out);
        }
    }

    fn close_stale(&self, gateway: &GatewayId, id: &FrameworkId, stream: u128, out: &mut Out) {
        let message = match self.framework(id).map(|row| row.state) {
            None => "Framework cannot be found",
            Some(FrameworkState::Removed { .. }) => "Framework has been removed",
            Some(_) => "Framework failed over",
        };
        close(gateway, id, stream, message, out);
    }

    /// When something is to be decided about a framework.
    fn framework_deadline(&self, id: &FrameworkId) -> Option<Time> {
        let framework = self.frameworks.get(id)?;
        let led = self.lead.as_ref()?.since;
        let grace = self.options.stream_grace;
        match framework.row.state {
            FrameworkState::Connected => Some(framework.heard.after(self.options.gateway_silence)),
            FrameworkState::Lost { since } if is_planted(Bug::NoGrace) => Some(since),
            FrameworkState::Lost { since } => Some(since.max(led).after(grace)),
            FrameworkState::Disconnected { deadline } if framework.disconnected_here => Some(deadline),
            FrameworkState::Disconnected { .. } if is_planted(Bug::DeadlineForgotten) => None,
            FrameworkState::Disconnected { deadline } => Some(deadline.max(led.after(grace))),
            FrameworkState::Removed { .. } => None,
        }
    }

    pub(super) fn arm(&mut self, id: &FrameworkId) {
        let wanted = self.framework_deadline(id);
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        // A timer that fires too early is set again then; that is cheaper than moving it with each report.
        if let (Some(timer), Some(wanted)) = (framework.timer, wanted)
            && timer <= wanted
        {
            return;
        }
        if let Some(timer) = std::mem::replace(&mut framework.timer, wanted) {
            self.timers.remove(&(timer, id.clone()));
        }
        if let Some(wanted) = wanted {
            self.timers.insert((wanted, id.clone()));
        }
    }

    pub(super) fn framework_timer(&mut self, now: Time, id: &FrameworkId, out: &mut Out) {
        if self.framework_deadline(id).is_none_or(|deadline| deadline > now) {
            self.arm(id);
            return;
        }
        let Some(mut row) = self.framework(id).cloned() else { return };
        match row.state {
            FrameworkState::Connected => {
                row.state = FrameworkState::Lost { since: now };
                self.save_framework(now, row, out);
            }
            FrameworkState::Lost { .. } => self.disconnect(now, row, out),
            FrameworkState::Disconnected { .. } => self.remove_framework(now, id, out),
            FrameworkState::Removed { .. } => {}
        }
    }

    /// Removes a framework for good. Its tasks are over for it; the allocator and the agents end them.
    pub(super) fn remove_framework(&mut self, now: Time, id: &FrameworkId, out: &mut Out) {
        let Some(mut row) = self.framework(id).cloned() else { return };
        row.state = FrameworkState::Removed { since: now };
        self.save_framework(now, row, out);
        self.counters.frameworks_removed += 1;
        for key in self.keys_of(id, |_| true) {
            let Some(mut task) = self.get_task(&key).map(|task| task.row.clone()) else { continue };
            if !is_end(task.state) {
                let status = TaskStatus::new(key.1.clone(), TaskState::Killed, Source::Master, now)
                    .because(Reason::FRAMEWORK_REMOVED, "Framework has been removed");
                task.state = TaskState::Killed;
                task.status = Some(TaskStatus { agent: Some(task.agent.clone()), ..status });
            }
            task.pending.clear();
            task.end_acknowledged = true;
            self.disarm_task(&key);
            self.save_task(task, out);
            self.delete_if_over(now, &key, out);
            // Whatever is left waits for its agent, which may forget it now.
            self.arm_task(&key, now, self.options.retry_min);
        }
        self.sweep = true;
    }

    /// Deletes rows of removed frameworks beyond those that are kept to be shown, oldest first. One stays
    /// as long as a launch of it is left, or an agent may still turn up with one: otherwise its tasks would
    /// be taken for those of an unknown framework and kept.
    pub(super) fn sweep_removed(&mut self, out: &mut Out) {
        let mut removed: Vec<(Time, FrameworkId)> = Vec::new();
        for framework in self.frameworks.values() {
            if let FrameworkState::Removed { since } = framework.row.state {
                removed.push((since, framework.row.id.clone()));
            }
        }
        let keep = self.options.max_completed_frameworks;
        if removed.len() <= keep {
            return;
        }
        removed.sort_unstable();
        let mut excess = removed.len() - keep;
        let too_many = removed.len() > keep.saturating_mul(REMOVED_EXCESS).max(keep + REMOVED_EXCESS);
        let agents_known = self.cluster.all_agents_current();
        for (_, id) in removed {
            if excess == 0 {
                break;
            }
            let idle = !self.tasks.contains_key(&id) && !self.cluster.has_launches(&id);
            if idle && (agents_known || too_many) {
                self.drop_framework(&id);
                out.delete(RowKey::Framework(id));
                excess -= 1;
            }
        }
    }

    /// A framework of which agents tell, and nobody else: its own failover timeout runs, after the grace that a
    /// lost stream has.
    pub(super) fn recover_framework(
        &mut self,
        now: Time,
        id: &FrameworkId,
        facts: &FrameworkFacts,
        role: &Role,
        out: &mut Out,
    ) {
        if let Some(row) = self.framework(id) {
            if row.recovered && !row.info.roles.contains(role) {
                let mut row = row.clone();
                row.info.roles.push(role.clone());
                self.save_framework(now, row, out);
            }
            return;
        }
        let timeout = Duration::from_millis(facts.failover_timeout_ms).saturating_add(self.options.stream_grace);
        let info = FrameworkInfo {
            name: facts.name.clone(),
            user: facts.user.clone(),
            principal: facts.principal.clone(),
            roles: vec![role.clone()],
            capabilities: Capabilities { partition_aware: facts.partition_aware, ..Capabilities::default() },
            failover_timeout_ms: facts.failover_timeout_ms,
            ..FrameworkInfo::default()
        };
        let row = FrameworkRow {
            id: id.clone(),
            info,
            body: Bytes::new(),
            state: FrameworkState::Disconnected { deadline: now.after(timeout) },
            subscription: None,
            suppressed: Default::default(),
            revived: Default::default(),
            priority: None,
            recovered: true,
            registered: now,
            reregistered: now,
        };
        self.keep_framework(row.clone(), now);
        if let Some(framework) = self.frameworks.get_mut(id) {
            framework.disconnected_here = true;
        }
        self.save_framework(now, row, out);
        self.counters.frameworks_recovered += 1;
    }
}

fn subscribed(id: &FrameworkId, number: u64) -> Answer {
    let body = AnswerBody::Subscribed { framework: id.clone(), number };
    Answer { status: 200, text: String::new(), body }
}

fn holds(row: &FrameworkRow, gateway: &GatewayId, stream: u128) -> bool {
    open_stream(row) == Some(stream) && row.subscription.as_ref().is_some_and(|last| last.gateway == *gateway)
}

/// Whoever says so: a stream that its registry does not know is of no use.
pub(super) fn close(gateway: &GatewayId, id: &FrameworkId, stream: u128, message: &str, out: &mut Out) {
    let event = StreamEvent::Error(message.to_owned());
    let event = ToStream { framework: id.clone(), stream, leader: 0, event };
    out.emit(Output::Stream { gateway: gateway.clone(), event });
}

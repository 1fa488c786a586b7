//! Every call but SUBSCRIBE, and what each of them must show.
//!
//! The order of the checks and their texts are those of Mesos's `Http::scheduler`: the framework, its
//! principal, its subscription, its stream. What is well-formed but makes no sense is dropped with a 202, as
//! there.

use mesos_model::{
    AgentId, CallId, ExecutorId, FrameworkId, Role, Time,
    planted::{Bug, is_planted},
    uuid_text,
};

use super::{
    Out, Output, Registry, TaskKey, is_end,
    subscription::{Subscribe, Update},
};
use crate::{
    message::{Answer, Call, Caller, RegistryCall, RequestId, ToAgent},
    row::{FrameworkRow, FrameworkState, KillOrder},
};

/// The name of the span of a call.
pub(super) fn name(call: &RegistryCall) -> &'static str {
    match call {
        RegistryCall::Subscribe { .. } => "registry.subscribe",
        RegistryCall::Update { .. } => "registry.update_framework",
        RegistryCall::Teardown(_) => "registry.teardown",
        RegistryCall::Suppress(..) => "registry.suppress",
        RegistryCall::Revive(..) => "registry.revive",
        RegistryCall::Kill { .. } => "registry.kill",
        RegistryCall::Shutdown { .. } => "registry.shutdown",
        RegistryCall::Acknowledge { .. } => "registry.acknowledge",
        RegistryCall::Reconcile { .. } => "registry.reconcile",
        RegistryCall::Message { .. } => "registry.message",
        RegistryCall::SetPriority { .. } => "registry.set_priority",
        RegistryCall::Closed { .. } => "registry.closed",
        RegistryCall::Streams(_) => "registry.streams",
    }
}

/// Who calls, if the call is one of a framework.
fn caller(call: &RegistryCall) -> Option<&Caller> {
    match call {
        RegistryCall::Update { caller, .. }
        | RegistryCall::Teardown(caller)
        | RegistryCall::Suppress(caller, _)
        | RegistryCall::Revive(caller, _)
        | RegistryCall::Kill { caller, .. }
        | RegistryCall::Shutdown { caller, .. }
        | RegistryCall::Acknowledge { caller, .. }
        | RegistryCall::Reconcile { caller, .. }
        | RegistryCall::SetPriority { caller, .. }
        | RegistryCall::Message { caller, .. } => Some(caller),
        RegistryCall::Subscribe { .. } | RegistryCall::Closed { .. } | RegistryCall::Streams(_) => None,
    }
}

/// Whether a late repeat of the call could undo what came after it, so that its answer is remembered.
fn changes(call: &RegistryCall) -> bool {
    matches!(
        call,
        RegistryCall::Update { .. }
            | RegistryCall::Teardown(_)
            | RegistryCall::Suppress(..)
            | RegistryCall::Revive(..)
            | RegistryCall::Kill { .. }
            | RegistryCall::Shutdown { .. }
            | RegistryCall::SetPriority { .. }
    )
}

impl Registry {
    pub(super) fn answer(&mut self, now: Time, request: RequestId, call: Call<RegistryCall>, out: &mut Out) {
        self.counters.calls += 1;
        let late = call.is_of_another_term(self.term());
        let Call { call: id, gateway, principal, what, .. } = call;
        if let RegistryCall::Subscribe { framework, info, invalid, body, suppressed, stream, over } = what {
            let ask =
                Subscribe { call: id, gateway, principal, framework, info, invalid, body, suppressed, stream, over };
            let (answer, framework) = self.subscribe(now, ask, out);
            out.emit(Output::Reply { request, answer });
            if let Some(framework) = framework {
                self.send_pending(now, &framework, out);
            }
            return;
        }
        if let Some(answer) = self.answers.get(&id) {
            out.emit(Output::Reply { request, answer: answer.clone() });
            return;
        }
        if late && changes(&what) {
            out.emit(Output::Reply { request, answer: Answer::other_leader() });
            return;
        }
        if let Some(refused) = caller(&what).and_then(|caller| self.refusal(&what, caller, principal.as_deref())) {
            self.counters.calls_refused += u64::from(refused.status >= 400);
            out.claim();
            out.emit(Output::Reply { request, answer: refused });
            return;
        }
        let remember: Option<CallId> = changes(&what).then_some(id);
        // Where the answer is always the same, it may leave before what the call causes.
        let early = !matches!(what, RegistryCall::Update { .. } | RegistryCall::SetPriority { .. });
        if early {
            out.emit(Output::Reply { request, answer: Answer::accepted() });
        }
        let answer = match what {
            RegistryCall::Closed { framework, stream } => {
                self.closed(now, &gateway, &framework, stream, out);
                Answer::accepted()
            }
            RegistryCall::Streams(held) => {
                self.streams(now, &gateway, held, out);
                Answer::accepted()
            }
            what => self.framework_call(now, what, out),
        };
        if let Some(id) = remember {
            self.answers.put(id, answer.clone());
        }
        if !early {
            out.emit(Output::Reply { request, answer });
        }
    }

    /// Why the caller may not do this, as an answer. The repeat of a TEARDOWN is one, too, with a 202.
    fn refusal(&self, what: &RegistryCall, caller: &Caller, principal: Option<&str>) -> Option<Answer> {
        let missing = || Some(Answer::refused(400, "Framework cannot be found"));
        let Some(row) = self.framework(&caller.framework) else { return missing() };
        if matches!(row.state, FrameworkState::Removed { .. }) {
            let last = row.subscription.as_ref().map(|last| last.stream);
            let repeat = matches!(what, RegistryCall::Teardown(_)) && last.is_some() && last == caller.stream;
            return if repeat { Some(Answer::accepted()) } else { missing() };
        }
        if caller.operator {
            return None;
        }
        self.framework_refusal(row, caller, principal)
    }

    fn framework_refusal(&self, row: &FrameworkRow, caller: &Caller, principal: Option<&str>) -> Option<Answer> {
        let owner = row.info.principal.as_deref().unwrap_or_default();
        if let Some(principal) = principal.filter(|principal| *principal != owner)
            && !is_planted(Bug::OwnerUnchecked)
        {
            let text = format!(
                "Authenticated principal '{principal}' does not match principal '{owner}' set in `FrameworkInfo`"
            );
            return Some(Answer::refused(400, text));
        }
        if matches!(row.state, FrameworkState::Disconnected { .. }) {
            return Some(Answer::refused(403, "Framework is not subscribed"));
        }
        let Some(stream) = caller.stream else {
            let text = "All non-subscribe calls should include the 'Mesos-Stream-Id' header";
            return Some(Answer::refused(400, text));
        };
        let is_present = row.subscription.as_ref().is_some_and(|last| last.stream == stream);
        if !is_present && !is_planted(Bug::AnyStreamWillDo) {
            let text = format!(
                "The stream ID '{}' included in this request didn't match the stream ID currently associated \
                 with framework ID {}",
                uuid_text(stream),
                row.id
            );
            return Some(Answer::refused(400, text));
        }
        None
    }

    fn framework_call(&mut self, now: Time, what: RegistryCall, out: &mut Out) -> Answer {
        match what {
            RegistryCall::Update { caller, info, invalid, body, suppressed } => {
                let update = Update { info, invalid, body, suppressed };
                return self.update_framework(now, &caller.framework, update, out);
            }
            RegistryCall::Teardown(caller) => self.teardown(now, &caller, out),
            RegistryCall::Suppress(caller, roles) => self.suppress(now, &caller.framework, roles, out),
            RegistryCall::Revive(caller, roles) => self.revive(now, &caller.framework, roles, out),
            RegistryCall::Kill { caller, task, agent, grace_ms } => {
                self.kill(now, (caller.framework, task), agent, grace_ms, out);
            }
            RegistryCall::Shutdown { caller, executor, agent } => {
                self.shutdown(&caller.framework, &executor, &agent, out);
            }
            RegistryCall::Acknowledge { caller, task, agent, uuid } => {
                self.acknowledge(now, &(caller.framework, task), &agent, uuid, out);
            }
            RegistryCall::Reconcile { caller, tasks } => self.reconcile(now, &caller.framework, tasks, out),
            RegistryCall::SetPriority { caller, priority } => {
                return self.set_priority(now, &caller, priority, out);
            }
            RegistryCall::Message { caller, agent, executor, data } => {
                let message = ToAgent::Message { framework: caller.framework, executor, data };
                out.emit(Output::Agent { agent, message });
            }
            RegistryCall::Subscribe { .. } | RegistryCall::Closed { .. } | RegistryCall::Streams(_) => {}
        }
        Answer::accepted()
    }

    /// An operator's priority stands in the place of what the framework says of itself.
    fn set_priority(&mut self, now: Time, caller: &Caller, priority: i64, out: &mut Out) -> Answer {
        if !caller.operator {
            return Answer::refused(403, "Only an operator may set a framework's priority");
        }
        let Some(mut row) = self.framework(&caller.framework).cloned() else {
            return Answer::refused(404, "Framework cannot be found");
        };
        row.priority = Some(priority);
        self.save_framework(now, row, out);
        Answer::accepted()
    }

    fn teardown(&mut self, now: Time, caller: &Caller, out: &mut Out) {
        // A framework that goes by itself expects its stream to end; one that is torn down is told why.
        if caller.operator
            && let Some(last) = self.framework(&caller.framework).and_then(|row| row.subscription.clone())
            && last.stream != 0
        {
            let message = "Framework has been removed";
            super::subscription::close(&last.gateway, &caller.framework, last.stream, message, out);
        }
        self.remove_framework(now, &caller.framework, out);
    }

    /// The roles that a SUPPRESS or REVIVE means; `None` if one of them is not the framework's.
    fn meant_roles(&mut self, id: &FrameworkId, roles: Vec<Role>) -> Option<Vec<Role>> {
        let own = &self.framework(id)?.info.roles;
        if roles.is_empty() {
            return Some(own.clone());
        }
        if roles.iter().all(|role| own.contains(role)) {
            return Some(roles);
        }
        self.counters.calls_dropped += 1;
        None
    }

    fn suppress(&mut self, now: Time, id: &FrameworkId, roles: Vec<Role>, out: &mut Out) {
        let Some(roles) = self.meant_roles(id, roles) else { return };
        let Some(mut row) = self.framework(id).cloned() else { return };
        let before = row.suppressed.len();
        row.suppressed.extend(roles);
        if row.suppressed.len() != before {
            self.save_framework(now, row, out);
        }
    }

    fn revive(&mut self, now: Time, id: &FrameworkId, roles: Vec<Role>, out: &mut Out) {
        let Some(roles) = self.meant_roles(id, roles) else { return };
        let Some(mut row) = self.framework(id).cloned() else { return };
        for role in roles {
            row.suppressed.remove(&role);
            *row.revived.entry(role).or_default() += 1;
        }
        self.save_framework(now, row, out);
    }

    fn kill(&mut self, now: Time, key: TaskKey, agent: Option<AgentId>, grace_ms: Option<u64>, out: &mut Out) {
        match self.get_task(&key).map(|task| &task.row) {
            Some(row) if !row.end_acknowledged => {
                if agent.is_some_and(|agent| agent != row.agent) {
                    self.counters.calls_dropped += 1;
                } else {
                    self.order_kill(&key, grace_ms, out);
                }
            }
            // Nobody is known to run it, which is what an explicit reconciliation would say.
            Some(_) | None => self.reconcile_one(now, &key.0.clone(), key.1, agent, out),
        }
    }

    fn order_kill(&mut self, key: &TaskKey, grace_ms: Option<u64>, out: &mut Out) {
        let row = self.get_task(key).map(|task| &task.row).filter(|row| !is_end(row.state));
        let Some(mut row) = row.cloned() else { return };
        let number = row.kill.map_or(1, |kill| kill.number + 1);
        row.kill = Some(KillOrder { number, grace_ms });
        self.counters.kills += 1;
        self.save_task(row, out);
    }

    fn shutdown(&mut self, id: &FrameworkId, executor: &ExecutorId, agent: &AgentId, out: &mut Out) {
        for key in self.keys_on(agent) {
            if key.0 == *id && self.get_task(&key).is_some_and(|task| task.row.executor == *executor) {
                self.order_kill(&key, None, out);
            }
        }
        let message = ToAgent::ShutdownExecutor { framework: id.clone(), executor: executor.clone() };
        out.emit(Output::Agent { agent: agent.clone(), message });
    }
}

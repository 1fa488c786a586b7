//! Who may call, and calls that were answered before.
//!
//! Whoever drives the machine gives a call to it only after the registry's rows that the call may rely on
//! (`Call::peer_seq`), so a framework that has just subscribed is known here.

use std::{collections::HashMap, time::Duration};

use mesos_engine::{AgentSlot, Bundle, ClientSlot, bundle::FixedState};
use mesos_model::{
    CallId, FrameworkId, OfferId, Time,
    planted::{Bug, is_planted},
};

use super::{Allocator, Output, state::Framework};
use crate::{
    machine::Effects,
    message::{AllocatorCall, Answer, AnswerBody, Call, Caller, OperatorCall, RequestId},
    recent::Recent,
    row::LaunchRow,
};

/// Calls remembered beyond those that launch rows name.
const RECENT_MAX: usize = 10_000;
/// The longest that a refusal lasts: 365 days (`MAX_REFUSE_SECONDS` of Mesos).
const REFUSE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is remembered of calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    by_launch: HashMap<(FrameworkId, CallId), usize, FixedState>,
    recent: Recent<(FrameworkId, CallId), (), RECENT_MAX>,
    /// What operators were answered.
    answers: Recent<CallId, Answer, RECENT_MAX>,
}

impl Calls {
    /// The term is over: what was answered in it may not have been written.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
        self.answers.clear();
    }

    pub(super) fn remember_launch(&mut self, row: &LaunchRow) {
        if row.adopted.is_none() {
            *self.by_launch.entry((row.framework.clone(), row.call.clone())).or_insert(0) += 1;
        }
    }

    pub(super) fn forget_launch(&mut self, row: &LaunchRow) {
        let key = (row.framework.clone(), row.call.clone());
        if row.adopted.is_none()
            && let Some(count) = self.by_launch.get_mut(&key)
        {
            *count -= 1;
            if *count == 0 {
                self.by_launch.remove(&key);
            }
        }
    }

    /// A launch is over, and a repeat of the call that made it may still be on its way, to this leader or the next.
    pub(super) fn launch_deleted(&mut self, row: &LaunchRow) {
        if row.adopted.is_none() && !is_planted(Bug::RepeatAfterTheEnd) {
            self.remember(&row.framework, &row.call);
        }
    }

    fn is_repeat(&self, framework: &FrameworkId, call: &CallId) -> bool {
        let key = (framework.clone(), call.clone());
        (self.by_launch.contains_key(&key) || self.recent.contains(&key)) && !is_planted(Bug::RepeatIsNew)
    }

    fn remember(&mut self, framework: &FrameworkId, call: &CallId) {
        self.recent.put((framework.clone(), call.clone()), ());
    }

    fn answered(&self, call: &CallId) -> Option<Answer> {
        self.answers.get(call).filter(|_| !is_planted(Bug::RepeatIsNew)).cloned()
    }
}

impl Allocator {
    /// A call comes in.
    pub(super) fn call(&mut self, now: Time, request: RequestId, call: Call<AllocatorCall>, fx: &mut Effects<Output>) {
        let caller = match call.what {
            AllocatorCall::Accept { ref caller, .. }
            | AllocatorCall::Decline { ref caller, .. }
            | AllocatorCall::AnswerInverse { ref caller, .. }
            | AllocatorCall::Request { ref caller, .. } => caller.clone(),
            AllocatorCall::Operator(_) if call.is_of_another_term(self.term) => {
                return self.reply(request, Answer::other_leader(), fx);
            }
            AllocatorCall::Operator(what) => return self.operator_call(now, request, call.call, what, fx),
        };
        // Before anything else: the offers of a repeat are gone, and its subscription may be.
        if self.calls.is_repeat(&caller.framework, &call.call) {
            self.reply(request, Answer::accepted(), fx);
            return;
        }
        if let Err(answer) = self.authorize(&caller, call.principal.as_deref()) {
            self.reply(request, answer, fx);
            return;
        }
        let framework = caller.framework;
        if let AllocatorCall::Request { requests, .. } = call.what {
            let answer = match self.request(now, &framework, requests) {
                Ok(()) => Answer::accepted(),
                Err(error) => Answer::refused(400, error),
            };
            return self.reply(request, answer, fx);
        }
        self.calls.remember(&framework, &call.call);
        self.reply(request, Answer::accepted(), fx);
        match call.what {
            AllocatorCall::Accept { offers, operations, refuse_ms, .. } => {
                let context = super::accept::Context { framework, call: call.call, trace: call.trace };
                self.accept(now, &context, &offers, operations, refuse_ms, fx);
            }
            AllocatorCall::Decline { offers, refuse_ms, .. } => self.decline(now, &framework, &offers, refuse_ms),
            AllocatorCall::AnswerInverse { offers, accepted, refuse_ms, .. } => {
                self.answer_inverse(now, &framework, &offers, accepted, refuse_ms);
            }
            AllocatorCall::Request { .. } | AllocatorCall::Operator(_) => {}
        }
    }

    /// A repeat of an operator's change is answered as the first was, whether that was done or refused.
    fn operator_call(
        &mut self,
        now: Time,
        request: RequestId,
        call: CallId,
        what: OperatorCall,
        fx: &mut Effects<Output>,
    ) {
        if let Some(answer) = self.calls.answered(&call) {
            return self.reply(request, answer, fx);
        }
        if matches!(&what, OperatorCall::Convert { agent, .. } if self.was_operated(agent, &call)) {
            return self.reply(request, Answer::ok(AnswerBody::None), fx);
        }
        let answer = self.operate_call(now, &call, what, fx);
        // What is to be tried again is, and what was only asked can be asked again.
        if answer.status != 503 && answer.body == AnswerBody::None {
            self.calls.answers.put(call, answer.clone());
        }
        self.reply(request, answer, fx);
    }

    /// The checks of every call but SUBSCRIBE, in Mesos's order and words.
    fn authorize(&self, caller: &Caller, principal: Option<&str>) -> Result<(), Answer> {
        let framework = self.frameworks.get(&caller.framework).filter(|framework| !framework.is_removed());
        let Some((framework, row)) = framework.and_then(|framework| Some((framework, framework.row.as_ref()?))) else {
            return Err(Answer::refused(400, "Framework cannot be found"));
        };
        let expected = row.info.principal.as_deref().unwrap_or_default();
        if let Some(principal) = principal
            && principal != expected
            && !is_planted(Bug::OwnerUnchecked)
        {
            let text = format!(
                "Authenticated principal '{principal}' does not match principal '{expected}' set in `FrameworkInfo`"
            );
            return Err(Answer::refused(400, text));
        }
        let Some(connection) = Framework::connection(framework) else {
            return Err(Answer::refused(403, "Framework is not subscribed"));
        };
        match caller.stream {
            None => Err(Answer::refused(400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header")),
            Some(stream) if stream != connection.stream && !is_planted(Bug::AnyStreamWillDo) => Err(Answer::refused(
                400,
                format!(
                    "The stream ID included in this request didn't match the stream ID currently associated with \
                     framework ID '{}'",
                    caller.framework
                ),
            )),
            Some(_) => Ok(()),
        }
    }

    fn reply(&mut self, request: RequestId, answer: Answer, fx: &mut Effects<Output>) {
        if answer.status >= 300 {
            self.metrics.calls_refused += 1;
            fx.claim();
        }
        fx.emit(Output::Reply { request, answer });
    }

    fn decline(&mut self, now: Time, framework: &FrameworkId, offers: &[OfferId], refuse_ms: Option<u64>) {
        for id in offers {
            let Some(number) = self.find_offer(id) else { continue };
            let whose = self.engine.offer_parties(number).map(|(client, _)| self.engine.client_of(client).0);
            if whose != Some(framework) {
                continue;
            }
            if let Some(offer) = self.engine.close_offer(number) {
                self.metrics.offers_declined += 1;
                self.refuse(now, offer.client, offer.agent, &offer.bundle, refuse_ms);
            }
        }
    }

    /// A framework does not want something on an agent for a while.
    pub(super) fn refuse(
        &mut self,
        now: Time,
        client: ClientSlot,
        agent: AgentSlot,
        refused: &Bundle,
        refuse_ms: Option<u64>,
    ) {
        let span = refuse_span(refuse_ms, self.options.refuse_default);
        if !span.is_zero() {
            self.engine.refuse(client, agent, refused, now.after(span));
        }
    }
}

/// How long a refusal lasts: what the framework said, within bounds; `None` is the default, and zero is no
/// filter.
pub(super) fn refuse_span(asked_ms: Option<u64>, default: Duration) -> Duration {
    asked_ms.map_or(default, Duration::from_millis).min(REFUSE_MAX)
}

#[cfg(test)]
mod tests;

//! The agent's tasks end because their agent goes: it is drained, its machine goes down, or it was marked gone.

use mesos_model::{
    Term, Time,
    planted::{Bug, is_planted},
};

use super::{Agent, Out, Output, TaskStage};
use crate::row::AgentSelfRow;

impl Agent {
    /// Ends every task and every executor, with the smaller of its own grace and the longest that is allowed. Ordered again with a
    /// shorter one, that one counts.
    pub(super) fn drain(&mut self, now: Time, max_grace_ms: Option<u64>, out: &mut Out) {
        for (launch, task) in self.each_task() {
            let Some((row, extra)) = self.task(&launch, &task) else { continue };
            if row.stage == TaskStage::Ended {
                continue;
            }
            let own = extra.facts.grace_ms;
            let grace = max_grace_ms.map_or(own, |max| max.min(own));
            let before = row.kill.map(|kill| kill.grace_ms.unwrap_or(own));
            row.draining = true;
            self.changed.insert(launch.clone());
            if before.is_none_or(|before| grace < before) {
                self.order_kill(now, &launch, &task, Some(grace), out);
            }
        }
        for host in self.hosts.values().cloned().collect::<Vec<_>>() {
            let own = self.process(&host).map_or(0, |(process, _)| process.grace_ms);
            self.end_executor(now, &host, None, Some(max_grace_ms.map_or(own, |max| max.min(own))), out);
        }
    }

    /// It is not admitted. `gone`: its tasks are to end. `wait`: it may ask again, and orders that are void are to be
    /// skipped.
    pub(super) fn refused(
        &mut self,
        now: Time,
        instance: u128,
        reason: String,
        (gone, wait): (bool, bool),
        void: (Term, u64),
        out: &mut Out,
    ) {
        if instance != self.own.instance || self.leaving.is_some() {
            return;
        }
        // One that comes late must not end what was launched since. A leader of the version before does not say which
        // orders are void.
        let said = wait && void.0 != Term::default();
        let since = self.own.term == void.0 && self.own.number > void.1;
        if said && (since || !self.obeyable(void.0)) {
            return;
        }
        if gone && !is_planted(Bug::GoneAgentKeepsTasks) {
            self.end_everything(now, if wait { None } else { Some(0) }, out);
        }
        if wait {
            self.admitted = false;
            if said {
                // Nor may those of earlier terms be taken up that may still come.
                self.promise(void.0);
                if void.1 > 0 {
                    self.skip_to(void);
                }
            }
            if self.waits_for.as_ref() != Some(&reason) {
                out.emit(Output::Ignored { message: format!("the agent has to wait: {reason}") });
                self.waits_for = Some(reason);
            }
        } else if gone {
            self.leaving = Some(reason);
        } else {
            out.emit(Output::Refused { reason });
        }
    }

    fn end_everything(&mut self, now: Time, grace_ms: Option<u64>, out: &mut Out) {
        for (launch, task) in self.each_task() {
            if self.task(&launch, &task).is_some_and(|(row, _)| row.kill.is_none()) {
                self.order_kill(now, &launch, &task, grace_ms, out);
            }
        }
        for host in self.hosts.values().cloned().collect::<Vec<_>>() {
            self.end_executor(now, &host, None, grace_ms, out);
        }
    }

    /// An agent that was marked gone and whose tasks have ended is nobody any more: its next start is that of a new
    /// agent, under a new id. Its reservations and volumes are lost with its id.
    pub(super) fn leave_when_idle(&mut self, out: &mut Out) {
        if !self.used.is_empty() || self.left {
            return;
        }
        let Some(reason) = self.leaving.clone() else { return };
        for (launch, task) in self.each_task() {
            self.forget(&launch, &task, out);
        }
        let removed = self.own.total.filter(super::resources::has_disk);
        if !removed.is_empty() {
            out.emit(Output::Volumes { made: mesos_model::Resources::new(), removed });
        }
        // What it promised stands, whoever it is.
        self.own = AgentSelfRow { boot: self.own.boot.clone(), promised: self.own.promised, ..AgentSelfRow::default() };
        self.own_changed = true;
        self.left = true;
        out.emit(Output::Refused {
            reason: format!("{reason}; its tasks were ended, and started again it registers as a new agent"),
        });
    }
}

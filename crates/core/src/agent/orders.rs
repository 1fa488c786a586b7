//! Whom the agent obeys, and what it is ordered to do.
//!
//! `promised` rises with every handshake that is asked for; from then on no lower term is obeyed. `term`
//! and `number` say which order was taken up last, and change over to the new term only when its handshake
//! is done: until then a report must say what was taken up of the old one.

use mesos_model::{
    FrameworkId, Term, Time,
    planted::{Bug, is_planted},
};

use super::{Agent, ExecutorEvent, Out, Output, REPORT_WAIT_MS, REPORT_WAIT_MS_MAX, TaskFacts, held};
use crate::{
    fnv::Fnv,
    message::{
        AgentReport, AgentToAllocator, AgentToRegistry, LaunchOrder, Order, ReportedLaunch, ToAgent, condition, digest,
    },
    row::{ExecutorRow, KillOrder, TaskStage},
};

impl Agent {
    pub(super) fn message(&mut self, now: Time, message: ToAgent, facts: Vec<TaskFacts>, out: &mut Out) {
        match message {
            ToAgent::Handshake { term, spread_ms } => self.handshake(now, term, spread_ms, out),
            ToAgent::Welcome { instance, agent, term } => self.welcome(now, instance, agent, term, out),
            ToAgent::Orders { term, first, orders } => self.orders(now, term, first, orders, facts, out),
            ToAgent::Refused { instance, reason, gone, wait, void } => {
                self.refused(now, instance, reason, (gone, wait), void, out);
            }
            ToAgent::Heard { .. } => {}
            ToAgent::Received(updates) => self.received(now, &updates),
            ToAgent::Acknowledged { framework, task, launch, number } => {
                self.acknowledged(now, &framework, &task, &launch, number, out);
            }
            ToAgent::Resend { term, spread_ms } => {
                self.asked = term;
                match self.own_turn(spread_ms) {
                    0 => self.tell_everything(now, out),
                    turn => self.tell_everything_at = Some(now.after(std::time::Duration::from_millis(turn))),
                }
            }
            ToAgent::Message { framework, executor, data } => {
                self.tell_executor(&(framework, executor), ExecutorEvent::Message(data), out);
            }
            ToAgent::ShutdownExecutor { framework, executor } => {
                if let Some(host) = self.hosts.get(&(framework, executor)).cloned() {
                    self.end_executor(now, &host, None, None, out);
                }
            }
        }
    }

    pub(super) fn obeyable(&self, term: Term) -> bool {
        // A lower epoch is over; an equal one of another leader was never meant to be.
        term.epoch > self.own.promised.epoch || term == self.own.promised || is_planted(Bug::ObeyAnybody)
    }

    fn disobey(&self, out: &mut Out) {
        if let Some(agent) = self.own.id.clone() {
            out.emit(Output::Allocator(AgentToAllocator::Disobeys { agent, term: self.own.promised }));
        }
    }

    fn handshake(&mut self, now: Time, term: Term, spread_ms: u64, out: &mut Out) {
        if !self.obeyable(term) {
            return self.disobey(out);
        }
        self.promise(term);
        let own_turn = self.own_turn(spread_ms);
        if own_turn == 0 {
            return self.report(now, Some(term), out);
        }
        // What is said then is the report: the term has not welcomed it yet. One that it has welcomed beats.
        self.beat_at = now.after(std::time::Duration::from_millis(own_turn));
    }

    /// When in a span of time this agent answers what all are asked, in milliseconds.
    fn own_turn(&self, spread_ms: u64) -> u64 {
        Fnv::of(&self.own.instance.to_be_bytes()) % spread_ms.max(1)
    }

    /// Orders as far as this one are not to be taken up any more.
    pub(super) fn skip_to(&mut self, (term, number): (Term, u64)) {
        if (self.own.term, self.own.number) != (term, number) {
            (self.own.term, self.own.number) = (term, number);
            self.own_changed = true;
        }
    }

    pub(super) fn promise(&mut self, term: Term) {
        if self.own.promised != term {
            self.own.promised = term;
            self.own_changed = true;
        }
    }

    fn welcome(&mut self, now: Time, instance: u128, agent: mesos_model::AgentId, term: Term, out: &mut Out) {
        if instance != self.own.instance {
            return;
        }
        if !self.obeyable(term) {
            return self.disobey(out);
        }
        if self.own.id.as_ref().is_some_and(|own| *own != agent) {
            // A late copy of the first report was answered; the next report says who this is.
            return;
        }
        self.promise(term);
        if self.own.id.as_ref() != Some(&agent) {
            self.own.id = Some(agent.clone());
            self.own_changed = true;
            out.emit(Output::Admitted { agent });
            self.send_again(now);
        }
        if self.own.term != term {
            self.own.term = term;
            self.own.number = 0;
            self.own_changed = true;
        }
        self.admitted = true;
        self.waits_for = None;
        self.report_wait_ms = REPORT_WAIT_MS;
        self.beat_at = now.after(std::time::Duration::from_millis(self.options.beat_ms));
    }

    fn orders(&mut self, now: Time, term: Term, first: u64, orders: Vec<Order>, facts: Vec<TaskFacts>, out: &mut Out) {
        if !self.obeyable(term) {
            return self.disobey(out);
        }
        // Whatever came, the allocator wants to know how far the agent is.
        self.beat_now = true;
        if term != self.own.term {
            return;
        }
        let mut facts = facts.into_iter();
        for (number, order) in (first..).zip(orders) {
            let tasks = if let Order::Launch(launch) = &order { launch.tasks.len() } else { 0 };
            let facts: Vec<TaskFacts> = facts.by_ref().take(tasks).collect();
            if number <= self.own.number && !is_planted(Bug::OrdersAgain) {
                continue;
            }
            if number > self.own.number + 1 && !is_planted(Bug::OrdersSkipped) {
                return;
            }
            self.own.number = number;
            self.own_changed = true;
            self.carry_out(now, order, facts, out);
        }
    }

    fn carry_out(&mut self, now: Time, order: Order, facts: Vec<TaskFacts>, out: &mut Out) {
        match order {
            Order::Launch(order) => self.launch(now, *order, facts, out),
            Order::Kill { framework, task, grace_ms } => {
                for launch in self.launches_of(&framework, &task) {
                    self.order_kill(now, &launch, &task, grace_ms, out);
                }
            }
            Order::ShutdownFramework(framework) => self.shut_down_framework(now, &framework, out),
            Order::Convert(conversion) => self.convert(&conversion, out),
            Order::Drain { max_grace_ms } => self.drain(now, max_grace_ms, out),
            Order::Preempt { framework, task, message } => {
                for launch in self.launches_of(&framework, &task) {
                    self.preempt(now, &launch, &task, &message, out);
                }
            }
        }
    }

    fn launch(&mut self, now: Time, order: LaunchOrder, facts: Vec<TaskFacts>, out: &mut Out) {
        if self.executors.contains_key(&order.launch) {
            return;
        }
        self.shut_down.remove(&order.framework);
        let wanted = order.tasks.iter().fold(order.executor_resources.clone(), |sum, (_, own, _)| sum.plus(own));
        let fits = self.fits(&wanted);
        self.add_executor(now, order, facts, fits, out);
    }

    fn shut_down_framework(&mut self, now: Time, framework: &FrameworkId, out: &mut Out) {
        self.shut_down.insert(framework.clone());
        for (launch, task) in self.each_task() {
            let Some(executor) = self.executors.get(&launch) else { continue };
            if executor.row.framework != *framework {
                continue;
            }
            let ended = executor.row.tasks.iter().any(|row| row.task == task && row.stage == TaskStage::Ended);
            if is_planted(Bug::ShutdownForgets) || ended {
                self.forget(&launch, &task, out);
            } else if !executor.row.kind.is_custom() {
                self.order_kill(now, &launch, &task, None, out);
            }
        }
        // An executor ends its tasks itself, and they are over with it.
        let own = self.hosts.iter().filter(|((of, _), _)| of == framework);
        for host in own.map(|(_, host)| host.clone()).collect::<Vec<_>>() {
            self.end_executor(now, &host, None, None, out);
        }
    }

    pub(super) fn order_kill(
        &mut self,
        now: Time,
        launch: &mesos_model::LaunchId,
        task: &mesos_model::TaskId,
        grace_ms: Option<u64>,
        out: &mut Out,
    ) {
        let Some((row, _)) = self.task(launch, task) else { return };
        if row.stage == TaskStage::Ended {
            return;
        }
        let number = row.kill.map_or(1, |kill| kill.number + 1);
        row.kill = Some(KillOrder { number, grace_ms });
        self.changed.insert(launch.clone());
        self.kill(now, launch, task, out);
    }

    /// Ends a task to make room; its end says so. One that was asked to end already ends as that.
    fn preempt(
        &mut self,
        now: Time,
        launch: &mesos_model::LaunchId,
        task: &mesos_model::TaskId,
        message: &str,
        out: &mut Out,
    ) {
        let Some((row, _)) = self.task(launch, task) else { return };
        if row.stage == TaskStage::Ended || row.kill.is_some() || row.preempted.is_some() {
            return;
        }
        row.preempted = Some(message.to_owned());
        self.changed.insert(launch.clone());
        self.kill(now, launch, task, out);
    }

    // What the agent says of itself.

    /// Says that it lives, or reports everything while it is not admitted.
    pub(super) fn beat(&mut self, now: Time, out: &mut Out) {
        let admitted = self.own.id.clone().filter(|_| self.admitted && self.own.term == self.own.promised);
        let Some(agent) = admitted else {
            return self.report(now, None, out);
        };
        let holding = self.executors().filter(|row| !held(row).is_empty()).map(|row| &row.launch);
        let beat = AgentToAllocator::Beat {
            agent,
            instance: self.own.instance,
            term: self.own.term,
            number: self.own.number,
            digest: digest(holding).wrapping_add(condition(self.degraded.is_some(), &self.oversubscribed)),
        };
        self.beat_at = now.after(std::time::Duration::from_millis(self.options.beat_ms));
        out.emit(Output::Allocator(beat));
    }

    /// Reports although nobody asked. An agent that is not admitted does so anyway; of one that is, the
    /// answer or the next beat sets the time of what is said next.
    pub(super) fn report_again(&mut self, now: Time, out: &mut Out) {
        if self.admitted {
            self.beat_now = false;
            self.report_wait_ms = REPORT_WAIT_MS;
            self.report(now, None, out);
        }
    }

    pub(super) fn report(&mut self, now: Time, answers: Option<Term>, out: &mut Out) {
        self.beat_at = now.after(std::time::Duration::from_millis(self.report_wait_ms));
        self.report_wait_ms = (self.report_wait_ms * 2).min(REPORT_WAIT_MS_MAX);
        self.said.1 += 1;
        let answers = answers.or_else(|| (self.own.promised != Term::default()).then_some(self.own.promised));
        let report = AgentReport {
            agent: self.own.id.clone(),
            instance: self.own.instance,
            boot: self.own.boot.clone(),
            hostname: self.options.hostname.clone(),
            ip: self.options.ip.clone(),
            port: self.options.port,
            version: self.options.version.clone(),
            total: self.own.total.clone(),
            oversubscribed: self.oversubscribed.clone(),
            degraded: self.degraded.clone(),
            attributes: self.options.attributes.clone(),
            domain: self.options.domain.clone(),
            body: self.options.body.clone(),
            term: self.own.term,
            number: self.own.number,
            answers,
            said: self.said,
            launches: self.executors().map(reported).collect(),
        };
        out.emit(Output::Allocator(AgentToAllocator::Report(Box::new(report))));
    }

    /// The registry hears of everything again, with what it may have missed.
    pub(super) fn tell_everything(&mut self, now: Time, out: &mut Out) {
        self.tell_everything_at = None;
        let Some(agent) = self.own.id.clone() else { return };
        for (launch, task) in self.each_task() {
            self.tell_task(now, &agent, &launch, &task, out);
        }
        let tasks =
            self.executors().flat_map(|row| row.tasks.iter().map(|task| (row.framework.clone(), task.task.clone())));
        let tasks = tasks.collect();
        out.emit(Output::Registry(AgentToRegistry::Knows { agent, asked: self.asked, tasks }));
    }

    pub(super) fn emit_update(&self, agent: &mesos_model::AgentId, mut update: crate::message::Update, out: &mut Out) {
        update.asked = self.asked;
        out.emit(Output::Registry(AgentToRegistry::Update { agent: agent.clone(), update: Box::new(update) }));
    }
}

fn reported(row: &ExecutorRow) -> ReportedLaunch {
    let live = row.tasks.iter().filter(|task| task.stage != TaskStage::Ended);
    ReportedLaunch {
        launch: row.launch.clone(),
        framework: row.framework.clone(),
        facts: row.facts.clone(),
        executor: row.executor.clone(),
        role: row.role.clone(),
        executor_resources: row.resources.clone(),
        tasks: live.map(|task| (task.task.clone(), task.resources.clone())).collect(),
        kind: row.kind,
        alive: row.live_process().is_some(),
    }
}

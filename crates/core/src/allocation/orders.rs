//! Orders to one agent: numbered, kept until it has taken them up, sent again until then.

use std::{collections::VecDeque, time::Duration};

use mesos_model::{
    AgentId, Term, Time,
    planted::{Bug, is_planted},
};

use super::{Allocator, Output};
use crate::{
    machine::Effects,
    message::{Order, ToAgent},
    row::AgentState,
};

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(8);
/// A beat without progress asks for the orders again, unless they left just before it.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Orders per message.
const BATCH: usize = 256;

/// The orders of one term to one agent. Numbers begin at 1 in each term and have no gap.
#[derive(Debug)]
pub(super) struct Lane {
    acknowledged: u64,
    /// Orders `acknowledged + 1`, …
    queue: VecDeque<Order>,
    /// How many at the front of the queue have left at least once since they are due.
    sent: usize,
    /// Since when the agent might have answered: the first of what has left, or its last progress.
    waiting_since: Time,
    wait: Duration,
    /// Orders up to this number may be on their way although nobody stands by them any more.
    void: u64,
}

impl Default for Lane {
    fn default() -> Self {
        Lane { acknowledged: 0, queue: VecDeque::new(), sent: 0, waiting_since: Time(0), wait: RETRY_FIRST, void: 0 }
    }
}

impl Lane {
    /// Appends an order; the answer is its number.
    pub(super) fn push(&mut self, order: Order) -> u64 {
        self.queue.push_back(order);
        self.last()
    }

    /// The number of the last order.
    pub(super) fn last(&self) -> u64 {
        self.acknowledged + self.queue.len() as u64
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether this very order has the number and is not acknowledged.
    pub(super) fn is_pending(&self, number: u64, order: &Order) -> bool {
        let at = number.checked_sub(self.acknowledged + 1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.queue.get(at)) == Some(order)
    }

    /// The agent has taken up the orders up to `number`; these are the ones that it had not before.
    pub(super) fn acknowledge(&mut self, now: Time, number: u64) -> Vec<Order> {
        let news = number.min(self.last()).saturating_sub(self.acknowledged);
        let Ok(count) = usize::try_from(news) else { return Vec::new() };
        if count > 0 {
            self.wait = RETRY_FIRST;
            self.waiting_since = now;
        }
        self.acknowledged += news;
        self.sent = self.sent.saturating_sub(count);
        self.queue.drain(..count).collect()
    }

    /// What the agent has not taken up is not meant any more, though it may be on its way.
    pub(super) fn part(&mut self) {
        self.void = self.void.max(self.last());
        self.queue.clear();
        self.sent = 0;
    }

    /// Up to which number orders may be on their way that are not meant any more once their agent goes.
    pub(super) fn void(&self) -> u64 {
        self.void.max(self.last())
    }

    /// Whether an agent that has taken up orders as far as `number` might still take up one that is not meant any
    /// more.
    pub(super) fn has_void_beyond(&self, number: u64) -> bool {
        number < self.void
    }

    /// The agent is back. If it obeys the term it has skipped what is not meant any more, and its next order is the
    /// one after that; otherwise it begins with the first.
    pub(super) fn resume(&mut self, obeys: bool) {
        let void = std::mem::take(&mut self.void);
        if obeys {
            self.acknowledged = self.acknowledged.max(void);
        }
    }

    /// Everything that is not acknowledged leaves again, and the wait begins anew.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        self.wait = RETRY_FIRST;
    }

    fn wants_again(&self, now: Time, number: u64) -> bool {
        number == self.acknowledged && self.sent > 0 && now.since(self.waiting_since) >= ASKED_AGAIN_AFTER
    }

    fn repeat(&mut self) {
        self.sent = 0;
        self.wait = (self.wait * 2).min(RETRY_MAX);
    }

    /// Messages with the orders that are due, and when to send again if they stay unacknowledged.
    fn messages(&mut self, now: Time, term: Term) -> (Vec<ToAgent>, Option<Time>) {
        let mut messages = Vec::new();
        // What follows later does not put off the repetition of what may be lost.
        if self.sent == 0 || is_planted(Bug::RepetitionPutOff) {
            self.waiting_since = now;
        }
        while self.sent < self.queue.len() {
            let end = (self.sent + BATCH).min(self.queue.len());
            messages.push(ToAgent::Orders {
                term,
                first: self.acknowledged + self.sent as u64 + 1,
                orders: self.queue.range(self.sent..end).cloned().collect(),
            });
            self.sent = end;
        }
        (messages, (!self.queue.is_empty()).then(|| self.waiting_since.after(self.wait)))
    }
}

impl Allocator {
    /// The orders to an agent that are not meant any more once it goes.
    pub(super) fn void_orders(&self, agent: Option<&AgentId>) -> (Term, u64) {
        let state = agent.and_then(|agent| self.agents.get(agent));
        (self.term.unwrap_or_default(), state.map_or(0, |state| state.lane.void()))
    }

    /// Gives an agent an order; it leaves at the end of the batch. The answer is its number.
    pub(super) fn order(&mut self, agent: &AgentId, order: Order) -> u64 {
        self.speaking.insert(agent.clone());
        self.agent_entry(agent).lane.push(order)
    }

    /// An agent has taken up orders.
    pub(super) fn acknowledge(&mut self, now: Time, agent: &AgentId, number: u64, fx: &mut Effects<Output>) {
        let Some(state) = self.agents.get_mut(agent) else { return };
        if state.lane.wants_again(now, number) {
            state.lane.rewind();
            self.speaking.insert(agent.clone());
        }
        let mut converted = false;
        for order in state.lane.acknowledge(now, number) {
            match order {
                // The agent has it in its own books now.
                Order::Launch(launch) => {
                    self.bodies.remove(&launch.launch);
                }
                Order::Convert(_) => converted = true,
                Order::Kill { .. } | Order::Preempt { .. } | Order::ShutdownFramework(_) | Order::Drain { .. } => {}
            }
        }
        if state.lane.is_idle() {
            self.retries.clear(agent);
        }
        if converted && let Some(term) = self.term {
            self.finish_operations(agent, (term, number), None, fx);
        }
    }

    /// Sends what is due to all agents that have shaken hands.
    pub(super) fn flush_orders(&mut self, now: Time, fx: &mut Effects<Output>) {
        let Some(term) = self.term else { return };
        for agent in std::mem::take(&mut self.speaking) {
            if !self.is_shaken(&agent) {
                continue;
            }
            let Some(state) = self.agents.get_mut(&agent) else { continue };
            let (messages, again) = state.lane.messages(now, term);
            for message in messages {
                fx.emit(Output::Agent { agent: agent.clone(), message });
            }
            match again {
                Some(time) => self.retries.set(agent, time),
                None => self.retries.clear(&agent),
            }
        }
    }

    /// Orders that were not acknowledged in time are due again.
    pub(super) fn retry_orders(&mut self, now: Time) {
        while let Some(agent) = self.retries.pop_due(now) {
            if let Some(state) = self.agents.get_mut(&agent) {
                state.lane.repeat();
                self.speaking.insert(agent);
            }
        }
    }

    /// The bus is back: whatever may have been lost on it leaves again.
    pub(super) fn bus_back(&mut self, fx: &mut Effects<Output>) {
        let Some(term) = self.term else { return };
        let mut all_shaken = true;
        self.agents.for_each_mut(|id, state| {
            if !state.lane.is_idle() {
                state.lane.rewind();
                self.speaking.insert(id.clone());
            }
            all_shaken &= state.row.as_ref().is_none_or(|row| row.state != AgentState::Active || row.handshake == term);
        });
        if !all_shaken {
            fx.emit(self.handshake_of_all(term));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(task: &str) -> Order {
        Order::Kill { framework: "f".into(), task: task.into(), grace_ms: None }
    }

    fn firsts(lane: &mut Lane, now: u64) -> (Vec<(u64, usize)>, Option<Time>) {
        let (messages, again) = lane.messages(Time(now), Term::default());
        let firsts = messages
            .iter()
            .map(|message| match message {
                ToAgent::Orders { first, orders, .. } => (*first, orders.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        (firsts, again)
    }

    #[test]
    fn orders_leave_once_and_again_with_a_doubling_wait_until_they_are_taken_up() {
        let mut lane = Lane::default();
        assert_eq!(lane.push(kill("a")), 1);
        assert_eq!(lane.push(kill("b")), 2);
        assert_eq!(firsts(&mut lane, 0), (vec![(1, 2)], Some(Time(1000))));
        assert_eq!(firsts(&mut lane, 10), (vec![], Some(Time(1000))));
        assert_eq!(lane.push(kill("c")), 3);
        assert_eq!(firsts(&mut lane, 20), (vec![(3, 1)], Some(Time(1000))));
        let mut now = 1000;
        for wait in [2000, 4000, 8000, 8000] {
            lane.repeat();
            assert_eq!(firsts(&mut lane, now), (vec![(1, 3)], Some(Time(now + wait))));
            now += wait;
        }
        assert_eq!(lane.acknowledge(Time(now), 2).len(), 2);
        lane.rewind();
        assert_eq!(firsts(&mut lane, now), (vec![(3, 1)], Some(Time(now + 1000))));
        assert_eq!(lane.acknowledge(Time(now), 99).len(), 1);
        assert_eq!(lane.acknowledge(Time(now), 1).len(), 0);
        assert_eq!((lane.last(), lane.is_idle()), (3, true));
        assert_eq!(firsts(&mut lane, now), (vec![], None));
    }

    #[test]
    fn f19_orders_that_leave_all_the_time_do_not_put_off_the_repetition_of_a_lost_one() {
        let mut lane = Lane::default();
        lane.push(kill("lost"));
        assert_eq!(firsts(&mut lane, 0), (vec![(1, 1)], Some(Time(1000))));
        for now in [400, 800, 999] {
            lane.push(kill("more"));
            assert_eq!(firsts(&mut lane, now).1, Some(Time(1000)));
            assert!(lane.wants_again(Time(now), 0), "a beat shows that the first is missing");
        }
        lane.repeat();
        assert_eq!(firsts(&mut lane, 1000), (vec![(1, 4)], Some(Time(3000))));
        assert_eq!(lane.acknowledge(Time(1500), 1).len(), 1);
        assert_eq!(firsts(&mut lane, 1500).1, Some(Time(2500)), "it has begun to answer");
    }

    #[test]
    fn an_order_is_pending_until_it_is_taken_up() {
        let mut lane = Lane::default();
        let number = lane.push(kill("a"));
        assert!(lane.is_pending(number, &kill("a")) && !lane.is_pending(number, &kill("b")));
        assert!(!lane.is_pending(number + 1, &kill("a")) && !lane.is_pending(0, &kill("a")));
        lane.acknowledge(Time(0), number);
        assert!(!lane.is_pending(number, &kill("a")));
    }

    #[test]
    fn many_orders_leave_in_contiguous_batches() {
        let mut lane = Lane::default();
        for n in 0..600 {
            lane.push(kill(&n.to_string()));
        }
        assert_eq!(firsts(&mut lane, 0).0, vec![(1, 256), (257, 256), (513, 88)]);
    }
}

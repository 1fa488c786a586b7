//! What waits for one client, in order, with a bound.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use mesos_core::message::StreamEvent;
use mesos_model::{
    OfferId,
    planted::{Bug, is_planted},
};
use tokio::sync::Notify;

use super::offers::leader_of;

/// Offers of one stream that are remembered for a RESCIND; beyond that the oldest are forgotten.
const OFFERS_MAX: usize = 16_384;

/// The queue of one stream.
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    events_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    events: VecDeque<(StreamEvent, usize)>,
    bytes: usize,
    /// What did not fit is lost, so nothing that comes after may be told.
    full: bool,
    offers: BTreeSet<OfferId>,
    inverse: BTreeSet<OfferId>,
}

impl Queue {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Queue {
        Queue { state: Mutex::default(), arrived: Notify::new(), events_max, bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event; false if it does not fit, and for ever after.
    pub(super) fn push(&self, event: StreamEvent) -> bool {
        let size = size(&event);
        let mut state = self.lock();
        let fits = state.events.len() < self.events_max && state.bytes + size <= self.bytes_max;
        if (state.full || !fits) && !is_planted(Bug::SlowClientKept) {
            state.full = true;
            return false;
        }
        state.remember(&event);
        state.bytes += size;
        state.events.push_back((event, size));
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// The next event.
    pub(super) async fn pop(&self) -> StreamEvent {
        loop {
            // Taken before the look, so that an event which comes between both wakes it.
            let arrived = self.arrived.notified();
            if let Some(event) = self.lock().pop() {
                return event;
            }
            arrived.await;
        }
    }

    pub(super) fn forget_offers(&self, offers: &[OfferId]) {
        let mut state = self.lock();
        for offer in offers {
            state.offers.remove(offer);
            state.inverse.remove(offer);
        }
    }

    /// The offers that are not answered.
    pub(super) fn offers(&self) -> Vec<OfferId> {
        self.lock().offers.iter().cloned().collect()
    }

    /// Takes out the offers of a leader that are not answered.
    pub(super) fn take_offers_of(&self, leader: &str) -> Vec<OfferId> {
        take_of(&mut self.lock().offers, leader)
    }

    /// The same with inverse offers.
    pub(super) fn take_inverse_offers_of(&self, leader: &str) -> Vec<OfferId> {
        take_of(&mut self.lock().inverse, leader)
    }
}

fn take_of(offers: &mut BTreeSet<OfferId>, leader: &str) -> Vec<OfferId> {
    let (void, rest): (Vec<OfferId>, Vec<OfferId>) =
        std::mem::take(offers).into_iter().partition(|offer| leader_of(offer) == leader);
    *offers = rest.into_iter().collect();
    void
}

impl State {
    fn pop(&mut self) -> Option<StreamEvent> {
        let (event, size) = self.events.pop_front()?;
        self.bytes -= size;
        Some(event)
    }

    fn remember(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Offers(offers) => {
                self.offers.extend(offers.iter().map(|offer| offer.id.clone()));
                while self.offers.len() > OFFERS_MAX {
                    self.offers.pop_first();
                }
            }
            StreamEvent::Rescind(offer) => {
                self.offers.remove(offer);
            }
            StreamEvent::InverseOffers(offers) => {
                self.inverse.extend(offers.iter().map(|offer| offer.id.clone()));
                while self.inverse.len() > OFFERS_MAX {
                    self.inverse.pop_first();
                }
            }
            StreamEvent::RescindInverse(offer) => {
                self.inverse.remove(offer);
            }
            _ => {}
        }
    }
}

/// About what an event weighs in memory, in bytes.
fn size(event: &StreamEvent) -> usize {
    const SMALL: usize = 256;
    match event {
        StreamEvent::Offers(offers) => offers.iter().map(|offer| SMALL + 128 * offer.resources.iter().count()).sum(),
        StreamEvent::Update { status, .. } => {
            SMALL + status.body.len() + status.message.as_ref().map_or(0, String::len)
        }
        StreamEvent::Message { data, .. } => SMALL + data.len(),
        StreamEvent::OperationError { message, .. } | StreamEvent::Error(message) => SMALL + message.len(),
        StreamEvent::OperationFinished { converted, .. } => SMALL + 128 * converted.iter().count(),
        StreamEvent::InverseOffers(offers) => SMALL * offers.len(),
        StreamEvent::Rescind(_) | StreamEvent::RescindInverse(_) | StreamEvent::Failure { .. } => SMALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_takes_nothing_more_even_after_it_was_read() {
        let queue = Queue::new(2, 1 << 20);
        assert!(queue.push(StreamEvent::Rescind("a".into())));
        assert!(queue.push(StreamEvent::Rescind("b".into())));
        assert!(!queue.push(StreamEvent::Rescind("c".into())));
        assert_eq!(queue.pop().await, StreamEvent::Rescind("a".into()));
        assert!(!queue.push(StreamEvent::Rescind("d".into())));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let queue = Queue::new(100, 1000);
        let message =
            |size| StreamEvent::Message { agent: "a".into(), executor: "e".into(), data: vec![0; size].into() };
        assert!(queue.push(message(500)));
        assert!(!queue.push(message(500)));
    }
}

//! Offers on their way. A bus may lose a message without anybody noticing, and what nobody has heard of nobody
//! would answer: it would stay out of use until the offer times out. So gateways confirm the offers that they have
//! put on their streams, and what is not confirmed is taken back.

use std::{collections::BTreeMap, time::Duration};

use mesos_model::{
    OfferId, Time,
    planted::{Bug, is_planted},
};

use super::{Allocator, Output};
use crate::{machine::Effects, message::Offer};

/// Offers that left together and whose arrival nobody has confirmed, by the number of the first of them.
#[derive(Debug, Default)]
pub(super) struct OnTheirWay {
    by_first: BTreeMap<u64, Sent>,
}

#[derive(Debug)]
struct Sent {
    at: Time,
    numbers: Vec<u64>,
}

impl OnTheirWay {
    /// When the oldest ones count as lost. Numbers rise with time, so the first is the oldest.
    fn due(&self, wait: Duration) -> Option<Time> {
        self.by_first.first_key_value().map(|(_, sent)| sent.at.after(wait))
    }

    pub(super) fn clear(&mut self) {
        self.by_first.clear();
    }
}

impl Allocator {
    /// Offers have left for one stream.
    pub(super) fn sent_offers(&mut self, now: Time, offers: &[Offer]) {
        if self.options.offer_delivery.is_none() {
            return;
        }
        let numbers: Vec<u64> = offers.iter().filter_map(|offer| self.offer_number(&offer.id)).collect();
        if let Some(first) = numbers.first() {
            self.on_their_way.by_first.insert(*first, Sent { at: now, numbers });
        }
    }

    /// A gateway has put offers on their streams; of those that came together, the first is named.
    pub(super) fn delivered(&mut self, firsts: &[OfferId]) {
        for first in firsts {
            // Also of one that was answered meanwhile, which is not open any more.
            if let Some(number) = self.offer_number(first) {
                self.on_their_way.by_first.remove(&number);
            }
        }
    }

    /// When offers count as lost. While the own ear is deaf no confirmation could be heard.
    pub(super) fn lost_offers_due(&self) -> Option<Time> {
        let listens = !self.silence.is_deaf() && !is_planted(Bug::LostOffersStay);
        let wait = self.options.offer_delivery.filter(|_| listens)?;
        self.on_their_way.due(wait)
    }

    /// Takes back what did not arrive. It may only be late, so it is said too.
    pub(super) fn take_back_lost_offers(&mut self, now: Time, fx: &mut Effects<Output>) {
        while self.lost_offers_due().is_some_and(|due| due <= now) {
            let Some((_, sent)) = self.on_their_way.by_first.pop_first() else { return };
            for number in sent.numbers {
                if self.engine.offer_parties(number).is_some() {
                    self.metrics.offers_lost += 1;
                    self.rescind(number, fx);
                }
            }
        }
    }
}

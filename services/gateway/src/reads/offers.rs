//! The offers that this gateway delivered and that, as far as it knows, are still out.
//!
//! The allocator does not commit offers, so no gateway sees those of another one, and one that a framework
//! answered through another gateway counts here until its stream or the allocator's term ends. What is shown
//! as offered is therefore a hint for people; nothing is decided by it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mesos_core::message::Offer;
use mesos_model::{AgentId, FrameworkId, OfferId, Resources};

use crate::view::totals::Scalars;

#[derive(Debug)]
struct Delivered {
    stream: u128,
    framework: FrameworkId,
    agent: AgentId,
    resources: Resources,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Offers {
    delivered: Mutex<HashMap<OfferId, Delivered>>,
}

/// Sums of what is offered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offered {
    /// Per agent.
    pub agents: HashMap<AgentId, Resources>,
    /// Per framework.
    pub frameworks: HashMap<FrameworkId, Scalars>,
    /// Over all.
    pub total: Scalars,
    /// How many offers are out.
    pub count: u64,
}

impl Offers {
    fn lock(&self) -> MutexGuard<'_, HashMap<OfferId, Delivered>> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers went out on a framework's stream.
    pub fn delivered(&self, framework: &FrameworkId, stream: u128, offers: &[Offer]) {
        let mut delivered = self.lock();
        for offer in offers {
            let entry = Delivered {
                stream,
                framework: framework.clone(),
                agent: offer.agent.clone(),
                resources: offer.resources.clone(),
            };
            delivered.insert(offer.id.clone(), entry);
        }
    }

    /// Offers were answered or rescinded.
    pub fn over<'a>(&self, offers: impl IntoIterator<Item = &'a OfferId>) {
        let mut delivered = self.lock();
        for offer in offers {
            delivered.remove(offer);
        }
    }

    /// A stream ended: its offers were recovered silently.
    pub fn stream_over(&self, stream: u128) {
        self.lock().retain(|_, offer| offer.stream != stream);
    }

    /// The allocator has a new term: no offer is good any more.
    pub fn all_over(&self) {
        self.lock().clear();
    }

    /// The sums now.
    #[must_use]
    pub fn sums(&self) -> Offered {
        let delivered = self.lock();
        let mut offered = Offered { count: delivered.len() as u64, ..Offered::default() };
        for offer in delivered.values() {
            let scalars = Scalars::of(&offer.resources);
            offered.total.add(&scalars);
            offered.frameworks.entry(offer.framework.clone()).or_default().add(&scalars);
            offered.agents.entry(offer.agent.clone()).or_default().add(&offer.resources);
        }
        offered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(id: &str, agent: &str, cpus: i64) -> Offer {
        Offer {
            id: id.into(),
            role: "*".into(),
            agent: agent.into(),
            hostname: "h".into(),
            ip: String::new(),
            port: 5051,
            resources: Resources::of(&[("cpus", cpus)]),
            attributes: vec![],
            domain: None,
            executors: vec![],
            unavailability: None,
        }
    }

    #[test]
    fn what_is_offered_is_what_was_delivered_and_not_answered() {
        let offers = Offers::default();
        offers.delivered(&"f".into(), 1, &[offer("1", "a", 1000), offer("2", "b", 2000)]);
        offers.delivered(&"g".into(), 2, &[offer("3", "a", 500)]);
        let sums = offers.sums();
        assert_eq!((sums.count, sums.total.milli("cpus")), (3, 3500));
        assert_eq!(sums.agents[&AgentId::new("a")].scalar("cpus"), 1500);
        offers.over([&"1".into()]);
        offers.stream_over(2);
        assert_eq!(offers.sums().frameworks[&FrameworkId::new("f")].milli("cpus"), 2000);
        offers.all_over();
        assert_eq!(offers.sums(), Offered::default());
    }
}

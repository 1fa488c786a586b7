//! What frameworks do not want to be offered again for a while.
//!
//! A filter belongs to (framework, role, agent) and hides an offer if what was refused contains it, so a
//! larger bundle is offered at once (`RefusedOfferFilter` of Mesos).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesos_model::{AgentId, FrameworkId, Resources, Role, Time};

use super::timers::Timers;

/// A framework in one of its roles.
pub(super) type Client = (FrameworkId, Role);

/// The longest that a refusal lasts: 365 days (`MAX_REFUSE_SECONDS` of Mesos).
const REFUSE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Refusals kept per framework, role and agent; the one that ends first is dropped for a new one.
const REFUSALS_MAX: usize = 8;

#[derive(Debug)]
struct Refusal {
    refused: Resources,
    until: Time,
}

/// All filters.
#[derive(Debug, Default)]
pub(super) struct Filters {
    by_client: BTreeMap<Client, BTreeMap<AgentId, Vec<Refusal>>>,
    by_agent: BTreeMap<AgentId, BTreeSet<Client>>,
    timers: Timers<(Client, AgentId)>,
}

/// How long a refusal lasts: what the framework said, within bounds; `None` is the default, and zero is no
/// filter.
pub(super) fn refuse_span(asked_ms: Option<u64>, default: Duration) -> Duration {
    asked_ms.map_or(default, Duration::from_millis).min(REFUSE_MAX)
}

impl Filters {
    /// A client refused something on an agent.
    pub(super) fn add(&mut self, client: &Client, agent: &AgentId, refused: Resources, until: Time) {
        let refusals = self.by_client.entry(client.clone()).or_default().entry(agent.clone()).or_default();
        // What the new one hides for at least as long needs no filter of its own.
        refusals.retain(|old| !(refused.contains(&old.refused) && old.until <= until));
        refusals.push(Refusal { refused, until });
        if refusals.len() > REFUSALS_MAX
            && let Some(first) = (0..refusals.len()).min_by_key(|at| refusals[*at].until)
        {
            refusals.swap_remove(first);
        }
        self.by_agent.entry(agent.clone()).or_default().insert(client.clone());
        self.set_timer(client, agent);
    }

    /// Whether a bundle is hidden from a client.
    pub(super) fn hides(&self, now: Time, client: &Client, agent: &AgentId, bundle: &Resources) -> bool {
        self.by_client
            .get(client)
            .and_then(|agents| agents.get(agent))
            .is_some_and(|refusals| refusals.iter().any(|r| r.until > now && r.refused.contains(bundle)))
    }

    /// How many (framework, role, agent) are filtered.
    pub(super) fn count(&self) -> usize {
        self.by_agent.values().map(BTreeSet::len).sum()
    }

    pub(super) fn drop_client(&mut self, client: &Client) {
        for agent in self.by_client.remove(client).unwrap_or_default().into_keys() {
            self.timers.clear(&(client.clone(), agent.clone()));
            self.forget_at_agent(client, &agent);
        }
    }

    pub(super) fn drop_agent(&mut self, agent: &AgentId) {
        for client in self.by_agent.remove(agent).unwrap_or_default() {
            self.timers.clear(&(client.clone(), agent.clone()));
            self.forget_at_client(&client, agent);
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.timers.first()
    }

    /// Takes out what has run out; who may be offered what again is the answer.
    pub(super) fn expire(&mut self, now: Time) -> Vec<(Client, AgentId)> {
        let mut expired = Vec::new();
        while let Some((client, agent)) = self.timers.pop_due(now) {
            let mut rest = false;
            if let Some(refusals) = self.by_client.get_mut(&client).and_then(|agents| agents.get_mut(&agent)) {
                refusals.retain(|refusal| refusal.until > now);
                rest = !refusals.is_empty();
            }
            if rest {
                self.set_timer(&client, &agent);
            } else {
                self.forget_at_client(&client, &agent);
                self.forget_at_agent(&client, &agent);
            }
            expired.push((client, agent));
        }
        expired
    }

    fn set_timer(&mut self, client: &Client, agent: &AgentId) {
        let refusals = self.by_client.get(client).and_then(|agents| agents.get(agent));
        if let Some(until) = refusals.and_then(|refusals| refusals.iter().map(|refusal| refusal.until).min()) {
            self.timers.set((client.clone(), agent.clone()), until);
        }
    }

    fn forget_at_client(&mut self, client: &Client, agent: &AgentId) {
        if let Some(agents) = self.by_client.get_mut(client) {
            agents.remove(agent);
            if agents.is_empty() {
                self.by_client.remove(client);
            }
        }
    }

    fn forget_at_agent(&mut self, client: &Client, agent: &AgentId) {
        if let Some(clients) = self.by_agent.get_mut(agent) {
            clients.remove(client);
            if clients.is_empty() {
                self.by_agent.remove(agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(cpus: i64, mem: i64) -> Resources {
        Resources::of(&[("cpus", cpus), ("mem", mem)])
    }

    #[test]
    fn a_refusal_hides_what_it_contains_and_nothing_larger_until_it_ends() {
        let (client, agent) = ((FrameworkId::from("f"), Role::from("r")), AgentId::from("a"));
        let mut filters = Filters::default();
        filters.add(&client, &agent, bundle(2, 2), Time(10));
        for (now, cpus, mem, hidden) in
            [(0, 2, 2, true), (0, 1, 2, true), (0, 3, 2, false), (0, 2, 3, false), (10, 2, 2, false)]
        {
            assert_eq!(filters.hides(Time(now), &client, &agent, &bundle(cpus, mem)), hidden, "{now} {cpus} {mem}");
        }
        assert!(!filters.hides(Time(0), &client, &AgentId::from("b"), &bundle(1, 1)));
        assert!(!filters.hides(Time(0), &("f".into(), "other".into()), &agent, &bundle(1, 1)));
    }

    #[test]
    fn filters_go_with_their_time_their_client_and_their_agent() {
        let (client, agent) = ((FrameworkId::from("f"), Role::from("r")), AgentId::from("a"));
        let mut filters = Filters::default();
        filters.add(&client, &agent, bundle(1, 9), Time(10));
        filters.add(&client, &agent, bundle(9, 1), Time(20));
        assert_eq!((filters.count(), filters.deadline()), (1, Some(Time(10))));
        assert_eq!(filters.expire(Time(10)), vec![(client.clone(), agent.clone())]);
        assert!(!filters.hides(Time(10), &client, &agent, &bundle(1, 9)));
        assert!(filters.hides(Time(10), &client, &agent, &bundle(9, 1)));
        filters.drop_agent(&agent);
        assert_eq!((filters.count(), filters.deadline()), (0, None));
        filters.add(&client, &agent, bundle(1, 1), Time(30));
        filters.drop_client(&client);
        assert_eq!((filters.count(), filters.deadline()), (0, None));
        assert_eq!(filters.expire(Time(99)), vec![]);
    }

    #[test]
    fn refusals_do_not_pile_up() {
        let (client, agent) = ((FrameworkId::from("f"), Role::from("r")), AgentId::from("a"));
        let mut filters = Filters::default();
        for n in 1..100 {
            filters.add(&client, &agent, bundle(n, 100 - n), Time(1000));
        }
        assert_eq!(filters.by_client[&client][&agent].len(), REFUSALS_MAX);
    }

    #[test]
    fn a_refusal_lasts_as_long_as_asked_within_bounds() {
        let default = Duration::from_secs(5);
        for (asked, seconds) in [(None, 5), (Some(0), 0), (Some(7000), 7), (Some(u64::MAX), 365 * 24 * 3600)] {
            assert_eq!(refuse_span(asked, default), Duration::from_secs(seconds), "{asked:?}");
        }
    }
}

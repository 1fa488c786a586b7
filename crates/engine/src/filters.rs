//! What frameworks do not want to be offered again for a while.
//!
//! A filter belongs to (framework, role, agent) and hides an offer if what was refused contains it, so a larger
//! bundle is offered at once (`RefusedOfferFilter` of Mesos). A filter takes 12 bytes in its client's table and 8
//! in the list of those that end in the same tick; what was refused is kept once for all that refused the same.

use std::collections::{BTreeMap, HashMap};

use mesos_model::Time;

use crate::bundle::{Bundle, FixedState};

/// Filters end at multiples of this, never early.
const TICK_MS: u64 = 50;
/// Refusals kept per client and agent; the one that ends first is dropped for a new one.
const REFUSALS_MAX: usize = 8;
/// The longest refusal, 365 days, in ticks: no filter ends so long before the first one that it has no tick.
const SPAN_MAX_TICKS: u64 = 365 * 24 * 3600 * 1000 / TICK_MS;
/// Ends of filters that are gone, kept beyond as many as there are filters, before they are swept out.
const STALE_MAX: usize = 100_000;

#[derive(Clone, Copy, Debug)]
struct Filter {
    /// Ticks since `Filters::base`.
    until: u32,
    shape: u32,
}

#[derive(Clone, Debug)]
struct Shape {
    bundle: Bundle,
    uses: u32,
}

/// All filters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    base: Option<u64>,
    by_client: Vec<HashMap<u32, Filter, FixedState>>,
    /// Further refusals of the same client and agent, of other shapes.
    more: BTreeMap<(u32, u32), Vec<Filter>>,
    shapes: Vec<Shape>,
    unused_shapes: Vec<u32>,
    by_bundle: HashMap<Bundle, u32, FixedState>,
    ends: BTreeMap<u32, Vec<(u32, u32)>>,
    ends_count: usize,
    /// How many ends are in force or not worth another sweep: several refusals of one pair have an end each.
    swept_to: usize,
    count: usize,
}

impl Filters {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// When the next filter ends.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let (tick, _) = self.ends.first_key_value()?;
        Some(Time((self.base? + u64::from(*tick)).saturating_mul(TICK_MS)))
    }

    fn tick(&mut self, until: Time) -> u32 {
        let base = *self.base.get_or_insert((until.0 / TICK_MS).saturating_sub(SPAN_MAX_TICKS));
        u32::try_from(until.0.div_ceil(TICK_MS).saturating_sub(base)).unwrap_or(u32::MAX)
    }

    /// A client does not want to be offered this, or less, on an agent until then.
    pub(crate) fn add(&mut self, client: u32, agent: u32, refused: &Bundle, until: Time) {
        let until = self.tick(until);
        if self.by_client.len() <= client as usize {
            self.by_client.resize_with(client as usize + 1, HashMap::default);
        }
        let old = self.by_client[client as usize].get(&agent).copied();
        let filter = match old {
            None => {
                let filter = Filter { until, shape: self.shape(refused) };
                self.by_client[client as usize].insert(agent, filter);
                filter
            }
            Some(old) if old.until >= until && self.shapes[old.shape as usize].bundle.contains(refused) => return,
            Some(old) if until >= old.until && refused.contains(&self.shapes[old.shape as usize].bundle) => {
                let filter = Filter { until, shape: self.shape(refused) };
                self.by_client[client as usize].insert(agent, filter);
                self.release(old.shape);
                filter
            }
            Some(_) => {
                let filter = Filter { until, shape: self.shape(refused) };
                self.add_more(client, agent, filter);
                filter
            }
        };
        if old.is_none() {
            self.count += 1;
        }
        self.ends.entry(filter.until).or_default().push((client, agent));
        self.ends_count += 1;
        if self.ends_count > 2 * self.count.max(self.swept_to) + STALE_MAX {
            self.sweep();
        }
    }

    fn add_more(&mut self, client: u32, agent: u32, filter: Filter) {
        let more = self.more.entry((client, agent)).or_default();
        more.push(filter);
        if more.len() >= REFUSALS_MAX {
            let first = more.iter().enumerate().min_by_key(|(_, filter)| filter.until).map_or(0, |(at, _)| at);
            let dropped = more.swap_remove(first);
            self.release(dropped.shape);
        }
    }

    fn shape(&mut self, bundle: &Bundle) -> u32 {
        if let Some(shape) = self.by_bundle.get(bundle) {
            self.shapes[*shape as usize].uses += 1;
            return *shape;
        }
        let new = Shape { bundle: bundle.clone(), uses: 1 };
        let at = match self.unused_shapes.pop() {
            Some(at) => {
                self.shapes[at as usize] = new;
                at
            }
            None => {
                self.shapes.push(new);
                u32::try_from(self.shapes.len() - 1).unwrap_or(0)
            }
        };
        self.by_bundle.insert(bundle.clone(), at);
        at
    }

    fn release(&mut self, shape: u32) {
        let used = &mut self.shapes[shape as usize];
        used.uses -= 1;
        if used.uses == 0 {
            let bundle = std::mem::take(&mut used.bundle);
            self.by_bundle.remove(&bundle);
            self.unused_shapes.push(shape);
        }
    }

    /// Whether an offer is hidden from a client.
    pub(crate) fn hides(&self, now: Time, client: u32, agent: u32, offer: &Bundle) -> bool {
        let Some(first) = self.by_client.get(client as usize).and_then(|filters| filters.get(&agent)) else {
            return false;
        };
        let base = self.base.unwrap_or(0);
        let hides = |filter: &Filter| {
            (base + u64::from(filter.until)).saturating_mul(TICK_MS) > now.0
                && self.shapes[filter.shape as usize].bundle.contains(offer)
        };
        hides(first)
            || (!self.more.is_empty() && self.more.get(&(client, agent)).is_some_and(|more| more.iter().any(hides)))
    }

    /// Whether a client refuses anything on an agent.
    pub(crate) fn has(&self, client: u32, agent: u32) -> bool {
        self.by_client.get(client as usize).is_some_and(|filters| filters.contains_key(&agent))
    }

    /// How many agents a client refuses something on.
    pub(crate) fn count_of(&self, client: u32) -> usize {
        self.by_client.get(client as usize).map_or(0, HashMap::len)
    }

    /// A client forgets what it refused.
    pub(crate) fn drop_client(&mut self, client: u32) {
        let Some(filters) = self.by_client.get_mut(client as usize) else { return };
        if filters.is_empty() {
            return;
        }
        let filters = std::mem::take(filters);
        self.count -= filters.len();
        // The order does not matter: uses are counted down.
        #[expect(clippy::disallowed_methods, reason = "only counts are changed, whatever the order")]
        for filter in filters.into_values() {
            self.release(filter.shape);
        }
        let more: Vec<(u32, u32)> = self.more.range((client, 0)..=(client, u32::MAX)).map(|(key, _)| *key).collect();
        for key in more {
            self.drop_more(key);
        }
    }

    fn drop_more(&mut self, key: (u32, u32)) {
        for filter in self.more.remove(&key).unwrap_or_default() {
            self.release(filter.shape);
        }
    }

    /// A client forgets what it refused on one agent.
    pub(crate) fn drop_pair(&mut self, client: u32, agent: u32) {
        let Some(filter) = self.by_client.get_mut(client as usize).and_then(|filters| filters.remove(&agent)) else {
            return;
        };
        self.count -= 1;
        self.release(filter.shape);
        self.drop_more((client, agent));
    }

    /// Everybody forgets what they refused on an agent.
    pub(crate) fn drop_agent(&mut self, agent: u32) {
        for client in 0..u32::try_from(self.by_client.len()).unwrap_or(0) {
            if !self.by_client[client as usize].is_empty() {
                self.drop_pair(client, agent);
            }
        }
    }

    /// Whose filters on which agents have ended.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<(u32, u32)> {
        let Some(base) = self.base else { return Vec::new() };
        let mut over = Vec::new();
        while let Some(entry) = self.ends.first_entry() {
            let tick = *entry.key();
            if (base + u64::from(tick)).saturating_mul(TICK_MS) > now.0 {
                break;
            }
            let pairs = entry.remove();
            self.ends_count -= pairs.len();
            for (client, agent) in pairs {
                if self.end(client, agent, tick) {
                    over.push((client, agent));
                }
            }
        }
        over
    }

    /// Ends the refusals of a pair whose time has come; says whether there were any.
    fn end(&mut self, client: u32, agent: u32, tick: u32) -> bool {
        let Some(first) = self.by_client.get(client as usize).and_then(|filters| filters.get(&agent)).copied() else {
            return false;
        };
        let mut ended = false;
        if let Some(more) = self.more.get_mut(&(client, agent)) {
            let (over, left): (Vec<Filter>, Vec<Filter>) = more.iter().partition(|filter| filter.until <= tick);
            *more = left;
            if more.is_empty() {
                self.more.remove(&(client, agent));
            }
            ended = !over.is_empty();
            over.iter().for_each(|filter| self.release(filter.shape));
        }
        if first.until <= tick {
            self.release(first.shape);
            let next = self.more.get_mut(&(client, agent)).and_then(Vec::pop);
            if self.more.get(&(client, agent)).is_some_and(Vec::is_empty) {
                self.more.remove(&(client, agent));
            }
            match next {
                Some(next) => {
                    self.by_client[client as usize].insert(agent, next);
                }
                None => {
                    self.by_client[client as usize].remove(&agent);
                    self.count -= 1;
                }
            }
            ended = true;
        }
        ended
    }

    /// Forgets the ends of filters that are gone.
    fn sweep(&mut self) {
        let mut ends: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        self.ends_count = 0;
        for (client, filters) in self.by_client.iter().enumerate() {
            #[expect(clippy::disallowed_methods, reason = "sorted below")]
            for (agent, filter) in filters.iter() {
                ends.entry(filter.until).or_default().push((u32::try_from(client).unwrap_or(0), *agent));
                self.ends_count += 1;
            }
        }
        for (pair, more) in &self.more {
            for filter in more {
                ends.entry(filter.until).or_default().push(*pair);
                self.ends_count += 1;
            }
        }
        ends.values_mut().for_each(|pairs| pairs.sort_unstable());
        self.ends = ends;
        self.swept_to = self.ends_count;
    }
}

#[cfg(test)]
mod tests {
    use mesos_model::resources_text::parse;

    use super::*;

    fn bundle(text: &str) -> Bundle {
        Bundle::from(&parse(text, "*").unwrap())
    }

    #[test]
    fn a_refusal_hides_what_it_contains_until_it_ends() {
        let mut filters = Filters::default();
        filters.add(0, 7, &bundle("cpus:4;mem:64"), Time(6000));
        assert!(filters.hides(Time(5999), 0, 7, &bundle("cpus:4")));
        assert!(!filters.hides(Time(5999), 0, 7, &bundle("cpus:4;mem:65")));
        assert!(!filters.hides(Time(5999), 0, 8, &bundle("cpus:4")));
        assert!(!filters.hides(Time(5999), 1, 7, &bundle("cpus:4")));
        assert_eq!(filters.deadline(), Some(Time(6000)));
        assert_eq!(filters.expire(Time(5999)), []);
        assert_eq!(filters.expire(Time(6000)), [(0, 7)]);
        assert_eq!((filters.count(), filters.deadline()), (0, None));
        assert!(filters.by_bundle.is_empty());
    }

    #[test]
    fn refusals_of_several_shapes_stand_side_by_side() {
        let mut filters = Filters::default();
        filters.add(0, 7, &bundle("cpus:4"), Time(1000));
        filters.add(0, 7, &bundle("mem:64"), Time(2000));
        filters.add(0, 7, &bundle("mem:32"), Time(1500));
        assert!(filters.hides(Time(999), 0, 7, &bundle("cpus:1")));
        assert!(filters.hides(Time(999), 0, 7, &bundle("mem:64")));
        assert_eq!(filters.expire(Time(1000)), [(0, 7)]);
        assert!(!filters.hides(Time(1000), 0, 7, &bundle("cpus:1")));
        assert!(filters.hides(Time(1000), 0, 7, &bundle("mem:64")));
        for n in 0..20 {
            filters.add(0, 7, &bundle(&format!("cpus:{};mem:{}", n + 1, 200 - n)), Time(3000 - n));
        }
        assert!(filters.more[&(0, 7)].len() < REFUSALS_MAX);
        filters.drop_client(0);
        assert!(filters.by_bundle.is_empty() && filters.more.is_empty());
        assert_eq!(filters.count(), 0);
        filters.expire(Time(4000));
        assert_eq!(filters.deadline(), None);
    }

    #[test]
    fn a_sweep_that_finds_nothing_to_sweep_is_not_repeated_at_once() {
        let mut filters = Filters::default();
        // Of each pair several refusals are in force, so that there are many more ends than pairs.
        let pairs = u32::try_from(STALE_MAX * 3 / 10).unwrap();
        for (n, shape) in
            ["cpus:1;mem:9", "cpus:2;mem:8", "cpus:3;mem:7", "cpus:4;mem:6", "cpus:5;mem:5", "cpus:6;mem:4"]
                .into_iter()
                .enumerate()
        {
            let (refused, until) = (bundle(shape), Time(1_000_000 + 50 * n as u64));
            (0..pairs).for_each(|agent| filters.add(0, agent, &refused, until));
            // However many there are: after a sweep it takes as many more until the next.
            assert!(filters.ends_count <= 2 * filters.count.max(filters.swept_to) + STALE_MAX);
        }
        assert_eq!(filters.ends_count, 6 * pairs as usize);
        let swept_to = filters.swept_to;
        assert!(swept_to > 2 * filters.count);
        (0..100).for_each(|agent| filters.add(1, agent, &bundle("cpus:1"), Time(2_000_000)));
        assert_eq!(filters.swept_to, swept_to, "it was swept again for nothing");
    }

    #[test]
    fn ends_of_filters_that_are_gone_do_not_pile_up() {
        let mut filters = Filters::default();
        for n in 0..3 * STALE_MAX as u64 {
            filters.add(0, 7, &bundle("cpus:4"), Time(1_000_000 + n * 50));
            filters.drop_client(0);
        }
        assert!(filters.ends_count <= STALE_MAX + 2);
    }
}

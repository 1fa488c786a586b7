//! Points in time at which something is due, one per key.

use std::collections::{BTreeMap, BTreeSet};

use mesos_model::Time;

/// At most one point in time per key; setting it again moves it.
#[derive(Debug)]
pub(super) struct Timers<K> {
    by_key: BTreeMap<K, Time>,
    by_time: BTreeSet<(Time, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    pub(super) fn set(&mut self, key: K, time: Time) {
        self.clear(&key);
        self.by_time.insert((time, key.clone()));
        self.by_key.insert(key, time);
    }

    pub(super) fn clear(&mut self, key: &K) {
        if let Some(time) = self.by_key.remove(key) {
            self.by_time.remove(&(time, key.clone()));
        }
    }

    pub(super) fn first(&self) -> Option<Time> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Takes out one key whose time has come.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<K> {
        if self.first()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_due_once_at_the_time_set_last() {
        let mut timers = Timers::default();
        timers.set("a", Time(5));
        timers.set("b", Time(7));
        timers.set("a", Time(9));
        assert_eq!(timers.first(), Some(Time(7)));
        assert_eq!(timers.pop_due(Time(6)), None);
        assert_eq!(timers.pop_due(Time(9)), Some("b"));
        assert_eq!(timers.pop_due(Time(9)), Some("a"));
        assert_eq!(timers.pop_due(Time(9)), None);
        timers.set("c", Time(1));
        timers.clear(&"c");
        assert_eq!(timers.first(), None);
    }
}

//! What happened lately: as much of it as is worth keeping, and then the oldest goes.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use mesos_engine::bundle::FixedState;

/// A table of at most `MAX` keys; one more, and the key that was put in first is forgotten.
#[derive(Debug)]
pub(crate) struct Recent<K, V, const MAX: usize> {
    values: HashMap<K, V, FixedState>,
    order: VecDeque<K>,
}

impl<K, V, const MAX: usize> Default for Recent<K, V, MAX> {
    fn default() -> Self {
        Recent { values: HashMap::default(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, V, const MAX: usize> Recent<K, V, MAX> {
    /// Keeps the value of a key, in the place of an older one if there is one.
    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.values.insert(key.clone(), value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    /// Forgets a key. Its place in the order stays taken, so one that is put in again may go a little early.
    pub(crate) fn remove(&mut self, key: &K) {
        self.values.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_oldest_key_is_forgotten_first_and_a_new_value_makes_it_no_younger() {
        let mut recent: Recent<&str, u32, 2> = Recent::default();
        recent.put("a", 1);
        recent.put("b", 2);
        recent.put("a", 3);
        assert_eq!(recent.get(&"a"), Some(&3));
        recent.put("c", 4);
        assert_eq!((recent.contains(&"a"), recent.contains(&"b"), recent.contains(&"c")), (false, true, true));
    }
}

//! Collections that are in order when somebody asks, and cheap to fill until then.
//!
//! A service that starts takes in a million rows in no order. Putting each into its place in a tree costs a dozen
//! comparisons, each of them with a text somewhere in memory; sorting all at once costs hardly any.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    hash::Hash,
    sync::OnceLock,
};

use mesos_engine::bundle::FixedState;

/// An ordered collection that can be made of its items in any order.
pub(crate) trait Gather: Default {
    /// What is in it.
    type Item: Clone;

    /// Takes one.
    fn gather(&mut self, item: Self::Item);

    /// Made of many.
    fn of(items: Vec<Self::Item>) -> Self;

    /// How many different ones there are.
    fn count(&self) -> usize;
}

impl<T: Ord + Clone> Gather for BTreeSet<T> {
    type Item = T;

    fn gather(&mut self, item: T) {
        self.insert(item);
    }

    fn of(items: Vec<T>) -> Self {
        items.into_iter().collect()
    }

    fn count(&self) -> usize {
        self.len()
    }
}

/// How often each is there.
impl<T: Ord + Clone> Gather for BTreeMap<T, u32> {
    type Item = T;

    fn gather(&mut self, item: T) {
        *self.entry(item).or_insert(0) += 1;
    }

    fn of(items: Vec<T>) -> Self {
        let mut counts = BTreeMap::new();
        items.into_iter().for_each(|item| counts.gather(item));
        counts
    }

    fn count(&self) -> usize {
        self.len()
    }
}

/// An ordered collection that is put in order when it is first looked at.
#[derive(Debug)]
pub(crate) struct Late<C: Gather> {
    /// What was put in before that.
    loose: Vec<C::Item>,
    ordered: OnceLock<C>,
}

impl<C: Gather> Default for Late<C> {
    fn default() -> Self {
        Late { loose: Vec::new(), ordered: OnceLock::new() }
    }
}

impl<C: Gather> Late<C> {
    /// Puts one in.
    pub(crate) fn put(&mut self, item: C::Item) {
        match self.ordered.get_mut() {
            Some(ordered) => ordered.gather(item),
            None => self.loose.push(item),
        }
    }

    /// All of it.
    pub(crate) fn get(&self) -> &C {
        self.ordered.get_or_init(|| C::of(self.loose.clone()))
    }

    /// How many there are at most: what was put in twice counts twice until all is in order.
    pub(crate) fn count_at_most(&self) -> usize {
        self.ordered.get().map_or(self.loose.len(), C::count)
    }

    /// Changes it.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut C) -> R) -> R {
        let loose = std::mem::take(&mut self.loose);
        let mut ordered = self.ordered.take().unwrap_or_else(|| C::of(loose));
        let result = change(&mut ordered);
        self.ordered = OnceLock::from(ordered);
        result
    }
}

/// A table that is looked up by hash and walked in the order of its keys.
#[derive(Debug)]
pub(crate) struct Ordered<K: Ord + Clone + Hash, V> {
    values: HashMap<K, Box<V>, FixedState>,
    keys: Late<BTreeSet<K>>,
}

impl<K: Ord + Clone + Hash, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Ordered { values: HashMap::default(), keys: Late::default() }
    }
}

impl<K: Ord + Clone + Hash, V> Ordered<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(Box::as_ref)
    }

    /// A key as it is kept here.
    pub(crate) fn known(&self, key: &K) -> Option<&K> {
        self.values.get_key_value(key).map(|(key, _)| key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key).map(Box::as_mut)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The value of a key, made if need be.
    pub(crate) fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        match self.values.entry(key.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.keys.put(key.clone());
                entry.insert(Box::new(make()))
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if self.values.remove(key).is_some() {
            self.keys.change(|keys| keys.remove(key));
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.keys.get().iter()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys().filter_map(|key| Some((key, self.get(key)?)))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Changes each, in order.
    pub(crate) fn for_each_mut(&mut self, mut change: impl FnMut(&K, &mut V)) {
        for key in self.keys.get() {
            if let Some(value) = self.values.get_mut(key) {
                change(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_before_and_after_the_first_look_is_in_order() {
        let mut late: Late<BTreeSet<u32>> = Late::default();
        [3, 1, 3].into_iter().for_each(|item| late.put(item));
        assert_eq!(late.get().iter().copied().collect::<Vec<_>>(), [1, 3]);
        late.put(2);
        late.change(|set| set.remove(&1));
        late.put(0);
        assert_eq!(late.get().iter().copied().collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn what_is_counted_is_counted_before_and_after_the_first_look() {
        let mut late: Late<BTreeMap<&str, u32>> = Late::default();
        ["b", "a", "b"].into_iter().for_each(|item| late.put(item));
        assert_eq!(late.change(|counts| counts.remove("a")), Some(1));
        late.put("b");
        assert_eq!(late.get().get("b"), Some(&3));
    }

    #[test]
    fn a_table_is_walked_in_order_whatever_came_and_went() {
        let mut table: Ordered<u32, u32> = Ordered::default();
        for key in [5, 2, 9, 2] {
            *table.get_or_insert_with(&key, || 0) += key;
        }
        table.remove(&9);
        table.get_or_insert_with(&1, || 7);
        table.for_each_mut(|key, value| *value += key);
        assert_eq!(table.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>(), [(1, 8), (2, 6), (5, 10)]);
        assert_eq!((table.len(), table.get(&9), table.get(&5)), (3, None, Some(&10)));
    }
}

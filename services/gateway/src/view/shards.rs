//! A map that is cheap to copy: a reader takes a copy under a short lock and works on it at leisure.
//!
//! Rows live in a fixed number of shards behind `Arc`s. Copying the map copies the `Arc`s of the shards; a
//! writer copies one shard (of `Arc`s to rows, not of rows) when it changes it while a copy is alive.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    sync::Arc,
};

const SHARDS: usize = 128;

type Shard<K, V> = Arc<HashMap<K, Arc<V>>>;

/// See the module.
#[derive(Debug)]
pub struct Shards<K, V> {
    shards: Box<[Shard<K, V>]>,
    hasher: RandomState,
    len: usize,
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Shards { shards: self.shards.clone(), hasher: self.hasher.clone(), len: self.len }
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Arc::new(HashMap::new())).collect();
        Shards { shards, hasher: RandomState::new(), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V> Shards<K, V> {
    fn at(&self, key: &K) -> usize {
        // The remainder is below the number of shards, so it fits.
        (self.hasher.hash_one(key) % SHARDS as u64) as usize
    }

    /// The row of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&Arc<V>> {
        self.shards[self.at(key)].get(key)
    }

    /// Writes a row and gives the one before.
    pub fn insert(&mut self, key: K, value: Arc<V>) -> Option<Arc<V>> {
        let at = self.at(&key);
        let before = Arc::make_mut(&mut self.shards[at]).insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &K) -> Option<Arc<V>> {
        let at = self.at(key);
        // Asked first, so that an absent key costs no copy of the shard.
        if !self.shards[at].contains_key(key) {
            return None;
        }
        let before = Arc::make_mut(&mut self.shards[at]).remove(key);
        self.len -= usize::from(before.is_some());
        before
    }

    /// All rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Arc<V>)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// All rows, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        self.iter().map(|(_, value)| value)
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_what_is_written_later() {
        let mut map = Shards::default();
        for i in 0..1000 {
            map.insert(i, Arc::new(i));
        }
        let copy = map.clone();
        for i in 0..1000 {
            assert_eq!(map.remove(&i).as_deref(), Some(&i));
        }
        assert_eq!(map.insert(1, Arc::new(7)), None);
        assert_eq!((copy.len(), map.len()), (1000, 1));
        assert_eq!(copy.get(&1).map(|value| **value), Some(1));
        assert_eq!(copy.values().map(|value| **value).sum::<i32>(), 999 * 500);
        assert_eq!(map.remove(&2), None);
        assert!(!map.is_empty());
    }
}

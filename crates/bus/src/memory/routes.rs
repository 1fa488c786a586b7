//! Who listens on what. Exact subjects are one hash look-up; patterns are a tree of tokens, so that
//! ten thousand patterns of ten thousand agents cost a walk along the subject and not a scan.

use std::collections::HashMap;

use crate::subject::has_wildcard;

/// Subscribers by pattern. Each entry has an id by which it is taken out again.
pub(super) struct Routes<T> {
    exact: HashMap<Box<str>, Vec<(u64, T)>>,
    patterns: Node<T>,
}

struct Node<T> {
    literal: HashMap<Box<str>, Node<T>>,
    any: Option<Box<Node<T>>>,
    here: Vec<(u64, T)>,
    rest: Vec<(u64, T)>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Routes { exact: HashMap::new(), patterns: Node::default() }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node { literal: HashMap::new(), any: None, here: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Routes<T> {
    /// Adds an entry under a pattern that was checked.
    pub(super) fn insert(&mut self, pattern: &str, id: u64, value: T) {
        if has_wildcard(pattern) {
            self.patterns.insert(pattern.split('.'), id, value);
        } else {
            self.exact.entry(pattern.into()).or_default().push((id, value));
        }
    }

    /// Takes an entry out, and what is empty with it.
    pub(super) fn remove(&mut self, pattern: &str, id: u64) {
        if has_wildcard(pattern) {
            self.patterns.remove(pattern.split('.'), id);
        } else if let Some(entries) = self.exact.get_mut(pattern) {
            entries.retain(|(other, _)| *other != id);
            if entries.is_empty() {
                self.exact.remove(pattern);
            }
        }
    }

    /// Calls `action` for each entry whose pattern covers the subject.
    pub(super) fn for_each<'a>(&'a self, subject: &str, mut action: impl FnMut(&'a T)) {
        if let Some(entries) = self.exact.get(subject) {
            entries.iter().for_each(|(_, value)| action(value));
        }
        if !self.patterns.is_empty() {
            self.patterns.for_each(subject.split('.'), &mut action);
        }
    }

    /// Calls `action` for every entry.
    pub(super) fn for_all(&self, mut action: impl FnMut(&T)) {
        self.exact.values().flatten().for_each(|(_, value)| action(value));
        self.patterns.for_all(&mut action);
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    fn insert<'p>(&mut self, mut tokens: impl Iterator<Item = &'p str>, id: u64, value: T) {
        let mut node = self;
        loop {
            match tokens.next() {
                None => return node.here.push((id, value)),
                Some(">") => return node.rest.push((id, value)),
                Some("*") => node = node.any.get_or_insert_default(),
                Some(token) => node = node.literal.entry(token.into()).or_default(),
            }
        }
    }

    fn remove(&mut self, mut tokens: std::str::Split<'_, char>, id: u64) {
        match tokens.next() {
            None => self.here.retain(|(other, _)| *other != id),
            Some(">") => self.rest.retain(|(other, _)| *other != id),
            Some("*") => {
                if let Some(node) = &mut self.any {
                    node.remove(tokens, id);
                    if node.is_empty() {
                        self.any = None;
                    }
                }
            }
            Some(token) => {
                if let Some(node) = self.literal.get_mut(token) {
                    node.remove(tokens, id);
                    if node.is_empty() {
                        self.literal.remove(token);
                    }
                }
            }
        }
    }

    fn for_each<'a>(&'a self, mut tokens: std::str::Split<'_, char>, action: &mut impl FnMut(&'a T)) {
        let Some(token) = tokens.next() else {
            return self.here.iter().for_each(|(_, value)| action(value));
        };
        self.rest.iter().for_each(|(_, value)| action(value));
        if let Some(node) = self.literal.get(token) {
            node.for_each(tokens.clone(), action);
        }
        if let Some(node) = &self.any {
            node.for_each(tokens, action);
        }
    }

    fn for_all(&self, action: &mut impl FnMut(&T)) {
        self.here.iter().chain(&self.rest).for_each(|(_, value)| action(value));
        self.literal.values().for_each(|node| node.for_all(action));
        self.any.iter().for_each(|node| node.for_all(action));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(routes: &Routes<&'static str>, subject: &str) -> Vec<&'static str> {
        let mut all = Vec::new();
        routes.for_each(subject, |value| all.push(*value));
        all.sort_unstable();
        all
    }

    #[test]
    fn a_subject_finds_every_pattern_that_covers_it_and_no_other() {
        let mut routes = Routes::default();
        let patterns = ["a.b", "a.*", "a.>", "*.b", ">", "a.b.c", "a.*.c", "*.*.*", "b.>"];
        for (id, pattern) in patterns.into_iter().enumerate() {
            routes.insert(pattern, id as u64, pattern);
        }
        assert_eq!(found(&routes, "a.b"), ["*.b", ">", "a.*", "a.>", "a.b"]);
        assert_eq!(found(&routes, "a"), [">"]);
        assert_eq!(found(&routes, "a.x.c"), ["*.*.*", ">", "a.*.c", "a.>"]);
        assert_eq!(found(&routes, "b.c.d.e"), [">", "b.>"]);
    }

    #[test]
    fn removing_the_last_entry_leaves_nothing_behind() {
        let mut routes = Routes::default();
        for (id, pattern) in ["a.b", "a.*.c", "a.>", "*", "a.*.c"].into_iter().enumerate() {
            routes.insert(pattern, id as u64, pattern);
        }
        for (id, pattern) in ["a.b", "a.*.c", "a.>", "*"].into_iter().enumerate() {
            routes.remove(pattern, id as u64);
        }
        assert_eq!(found(&routes, "a.x.c"), ["a.*.c"]);
        routes.remove("a.*.c", 4);
        assert!(routes.exact.is_empty() && routes.patterns.is_empty());
    }
}

//! The algebra of resources, in fixed point.
//!
//! A resource is a name, a value and what qualifies it: the stack of reservations, revocable, shared,
//! where a disk comes from. Two entries with the same name and qualifiers are one. Scalars are whole
//! thousandths (`src/common/values.cpp` of Mesos rounds to three digits as well), so sums are exact.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

use serde::{Deserialize, Deserializer, Serialize, de::Visitor};

use crate::{
    Role,
    planted::{Bug, is_planted},
};

/// One thousandth is the smallest amount of a scalar; this is the largest. Sums of as many agents as fit
/// into memory stay within `i64`.
pub const MILLI_MAX: i64 = 1_000_000_000_000_000;

/// How a reservation came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReservationKind {
    /// By the agent's `--resources`.
    Static,
    /// By an operation, and undone by one.
    Dynamic,
}

/// One level of a reservation stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reservation {
    /// How it came about.
    pub kind: ReservationKind,
    /// For whom.
    pub role: Role,
    /// By whom.
    #[serde(default)]
    pub principal: Option<String>,
    /// Free text, part of the identity.
    #[serde(default)]
    pub labels: Vec<(String, Option<String>)>,
}

/// What tells two resources of one name apart. Ordinary resources have the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Qualifier {
    /// The reservation stack, outermost first; the last one says for whom it is.
    #[serde(default)]
    pub reservations: Vec<Reservation>,
    /// May be taken back at any time.
    #[serde(default)]
    pub revocable: bool,
    /// May be used by several at once (persistent volumes).
    #[serde(default)]
    pub shared: bool,
    /// Disk source and persistence, as the protobuf bytes of Mesos's `DiskInfo`; identity is by bytes.
    #[serde(default, with = "serde_bytes")]
    pub disk: Vec<u8>,
    /// The resource provider it belongs to.
    #[serde(default)]
    pub provider: Option<String>,
}

/// How much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// Thousandths.
    Scalar(i64),
    /// Sorted, apart, both ends included.
    Ranges(Vec<(u64, u64)>),
    /// Sorted, each once.
    Set(Vec<String>),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// `cpus`, `mem` (MB), `disk` (MB), `gpus`, `ports`, or any other.
    #[serde(deserialize_with = "read_name")]
    pub name: Arc<str>,
    /// How much.
    pub value: Value,
    /// What it is apart from that; `None` is the default.
    #[serde(default)]
    pub qualifier: Option<Arc<Qualifier>>,
}

/// The names that nearly all resources have; of a million tasks, each of them is kept once.
static COMMON_NAMES: LazyLock<[Arc<str>; 5]> =
    LazyLock::new(|| ["cpus", "mem", "disk", "gpus", "ports"].map(Arc::from));

fn read_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    struct Name;

    impl Visitor<'_> for Name {
        type Value = Arc<str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a resource")
        }

        fn visit_str<E>(self, text: &str) -> Result<Arc<str>, E> {
            let common = COMMON_NAMES.iter().find(|name| ***name == *text);
            Ok(common.cloned().unwrap_or_else(|| Arc::from(text)))
        }
    }

    deserializer.deserialize_str(Name)
}

/// A bundle of resources: sorted by name and qualifier, each once, none empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resources(Vec<Resource>);

/// Why something is no valid bundle of resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Less than nothing.
    #[error("invalid resource '{0}': the amount is negative")]
    Negative(String),
    /// NaN, infinity, or more than any cluster has.
    #[error("invalid resource '{0}': the amount is not a number that can be accounted (at most 1e12)")]
    Amount(String),
    /// Not a name.
    #[error("invalid resource: the name is empty")]
    Name,
    /// Ends of a range the wrong way round, or overlapping ranges.
    #[error("invalid resource '{0}': ranges overlap or end before they begin")]
    Ranges(String),
    /// A set with the same item twice.
    #[error("invalid resource '{0}': duplicate items in the set")]
    Set(String),
    /// `gpus` are whole.
    #[error("invalid resource 'gpus': only whole GPUs can be had")]
    Gpus,
}

impl Resource {
    /// An ordinary scalar, in thousandths.
    #[must_use]
    pub fn scalar(name: &str, milli: i64) -> Resource {
        Resource { name: Arc::from(name), value: Value::Scalar(milli), qualifier: None }
    }

    /// Ordinary ranges.
    #[must_use]
    pub fn ranges(name: &str, ranges: Vec<(u64, u64)>) -> Resource {
        Resource { name: Arc::from(name), value: Value::Ranges(ranges), qualifier: None }
    }

    /// Checks name and amount.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn validate(&self) -> Result<(), ResourceError> {
        let name = || self.name.to_string();
        if self.name.is_empty() {
            return Err(ResourceError::Name);
        }
        match &self.value {
            Value::Scalar(milli) if *milli < 0 => Err(ResourceError::Negative(name())),
            Value::Scalar(milli) if *milli > MILLI_MAX => Err(ResourceError::Amount(name())),
            Value::Scalar(milli) if &*self.name == "gpus" && milli % 1000 != 0 => Err(ResourceError::Gpus),
            Value::Ranges(ranges) if !ranges_valid(ranges) => Err(ResourceError::Ranges(name())),
            Value::Set(items) if has_duplicates(items) => Err(ResourceError::Set(name())),
            Value::Scalar(_) | Value::Ranges(_) | Value::Set(_) => Ok(()),
        }
    }

    /// The role it is reserved for, if it is.
    #[must_use]
    pub fn reserved_for(&self) -> Option<&Role> {
        self.qualifier.as_ref()?.reservations.last().map(|reservation| &reservation.role)
    }

    /// Whether it may be taken back at any time.
    #[must_use]
    pub fn is_revocable(&self) -> bool {
        self.qualifier.as_ref().is_some_and(|qualifier| qualifier.revocable)
    }

    /// Whether several may use it at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.qualifier.as_ref().is_some_and(|qualifier| qualifier.shared)
    }

    /// Whether both are of one name and qualified alike, so that they would be one entry of a bundle.
    #[must_use]
    pub fn is_same_kind(&self, other: &Resource) -> bool {
        self.key() == other.key()
    }

    fn key(&self) -> (&str, Option<&Qualifier>) {
        (&self.name, self.qualifier.as_deref())
    }

    fn is_empty(&self) -> bool {
        match &self.value {
            Value::Scalar(milli) => *milli == 0,
            Value::Ranges(ranges) => ranges.is_empty(),
            Value::Set(items) => items.is_empty(),
        }
    }
}

fn ranges_valid(ranges: &[(u64, u64)]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    sorted.iter().all(|(begin, end)| begin <= end) && sorted.windows(2).all(|pair| pair[0].1 < pair[1].0)
}

fn has_duplicates(items: &[String]) -> bool {
    let mut sorted: Vec<&String> = items.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

/// A number of a client in thousandths, rounded as Mesos rounds.
///
/// # Errors
/// For NaN, infinity, negative or huge amounts.
pub fn milli_from_f64(name: &str, amount: f64) -> Result<i64, ResourceError> {
    let countable = amount.is_finite() && amount <= (MILLI_MAX / 1000) as f64;
    if !countable && !is_planted(Bug::AmountsUnchecked) {
        return Err(ResourceError::Amount(name.to_owned()));
    }
    if amount < 0.0 {
        return Err(ResourceError::Negative(name.to_owned()));
    }
    Ok((amount * 1000.0).round() as i64)
}

impl Resources {
    /// Nothing.
    #[must_use]
    pub fn new() -> Resources {
        Resources::default()
    }

    /// Validates and merges entries.
    ///
    /// # Errors
    /// Says which entry is invalid and why.
    pub fn try_from_entries(entries: impl IntoIterator<Item = Resource>) -> Result<Resources, ResourceError> {
        let mut resources = Resources::new();
        for mut entry in entries {
            entry.validate()?;
            match &mut entry.value {
                Value::Ranges(ranges) => *ranges = ranges_normal(std::mem::take(ranges)),
                Value::Set(items) => items.sort_unstable(),
                Value::Scalar(_) => {}
            }
            if let Some(existing) = resources.find(&entry)
                && values_overlap(&existing.value, &entry.value)
            {
                return Err(ResourceError::Ranges(entry.name.to_string()));
            }
            resources.add_entry(entry);
        }
        if resources.0.iter().any(|r| matches!(r.value, Value::Scalar(milli) if milli > MILLI_MAX)) {
            return Err(ResourceError::Amount("sum".to_owned()));
        }
        Ok(resources)
    }

    /// Scalars by name and thousandths; for tests and defaults.
    #[must_use]
    pub fn of(scalars: &[(&str, i64)]) -> Resources {
        let mut resources = Resources::new();
        for (name, milli) in scalars {
            resources.add_entry(Resource::scalar(name, *milli));
        }
        resources
    }

    /// The entries, sorted.
    pub fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.0.iter()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The amount of a scalar over all qualifiers, in thousandths.
    #[must_use]
    pub fn scalar(&self, name: &str) -> i64 {
        self.0
            .iter()
            .filter(|resource| &*resource.name == name)
            .map(|resource| match resource.value {
                Value::Scalar(milli) => milli,
                Value::Ranges(_) | Value::Set(_) => 0,
            })
            .sum()
    }

    /// All scalars by name over all qualifiers, in thousandths; for shares.
    #[must_use]
    pub fn scalars(&self) -> BTreeMap<Arc<str>, i64> {
        let mut sums = BTreeMap::new();
        for resource in &self.0 {
            if let Value::Scalar(milli) = resource.value {
                *sums.entry(resource.name.clone()).or_insert(0) += milli;
            }
        }
        sums
    }

    /// The ranges of a name over all qualifiers, for example the ports.
    #[must_use]
    pub fn ranges(&self, name: &str) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        for resource in self.0.iter().filter(|resource| &*resource.name == name) {
            if let Value::Ranges(ranges) = &resource.value {
                all.extend_from_slice(ranges);
            }
        }
        ranges_normal(all)
    }

    /// Whether all of `other` is in here, entry by entry.
    #[must_use]
    pub fn contains(&self, other: &Resources) -> bool {
        other.0.iter().all(|wanted| self.find(wanted).is_some_and(|have| value_contains(&have.value, &wanted.value)))
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Resources) {
        for entry in &other.0 {
            self.add_entry(entry.clone());
        }
    }

    /// Takes all of `other` out if all of it is there, and says whether it was. Otherwise nothing changes.
    #[must_use = "false means that nothing was taken"]
    pub fn take(&mut self, other: &Resources) -> bool {
        if !self.contains(other) {
            return false;
        }
        self.take_what_is_there(other);
        true
    }

    /// Takes out of `self` whatever of `other` is there.
    pub fn take_what_is_there(&mut self, other: &Resources) {
        for entry in &other.0 {
            if let Ok(at) = self.position(entry) {
                value_subtract(&mut self.0[at].value, &entry.value);
                if self.0[at].is_empty() {
                    self.0.remove(at);
                }
            }
        }
    }

    /// `self` without `other`, as far as it is there.
    #[must_use]
    pub fn minus(&self, other: &Resources) -> Resources {
        let mut rest = self.clone();
        rest.take_what_is_there(other);
        rest
    }

    /// `self` and `other` together.
    #[must_use]
    pub fn plus(&self, other: &Resources) -> Resources {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    /// Only the entries that pass.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&Resource) -> bool) -> Resources {
        Resources(self.0.iter().filter(|resource| keep(resource)).cloned().collect())
    }

    /// Adds one valid entry.
    pub fn add_entry(&mut self, entry: Resource) {
        if entry.is_empty() {
            return;
        }
        match self.position(&entry) {
            Ok(at) => value_add(&mut self.0[at].value, entry.value),
            Err(at) => self.0.insert(at, entry),
        }
    }

    fn find(&self, entry: &Resource) -> Option<&Resource> {
        self.position(entry).ok().map(|at| &self.0[at])
    }

    fn position(&self, entry: &Resource) -> Result<usize, usize> {
        self.0.binary_search_by(|have| have.key().cmp(&entry.key()))
    }
}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = std::slice::Iter<'a, Resource>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Sorted, with neighbours joined.
#[must_use]
pub fn ranges_normal(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.retain(|(begin, end)| begin <= end);
    ranges.sort_unstable();
    let mut normal: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (begin, end) in ranges {
        match normal.last_mut() {
            Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => normal.push((begin, end)),
        }
    }
    normal
}

fn ranges_minus(from: &[(u64, u64)], take: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut rest = Vec::with_capacity(from.len());
    for &(mut begin, end) in from {
        let mut used_up = false;
        for &(take_begin, take_end) in take {
            if take_end < begin || take_begin > end {
                continue;
            }
            if take_begin > begin {
                rest.push((begin, take_begin - 1));
            }
            if take_end >= end {
                used_up = true;
                break;
            }
            begin = take_end + 1;
        }
        if !used_up {
            rest.push((begin, end));
        }
    }
    rest
}

fn value_contains(have: &Value, wanted: &Value) -> bool {
    match (have, wanted) {
        (Value::Scalar(have), Value::Scalar(wanted)) => have >= wanted,
        (Value::Ranges(have), Value::Ranges(wanted)) => {
            wanted.iter().all(|(begin, end)| have.iter().any(|(b, e)| b <= begin && end <= e))
        }
        (Value::Set(have), Value::Set(wanted)) => wanted.iter().all(|item| have.binary_search(item).is_ok()),
        _ => false,
    }
}

fn values_overlap(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Ranges(a), Value::Ranges(b)) => a.iter().any(|x| b.iter().any(|y| x.0 <= y.1 && y.0 <= x.1)),
        (Value::Set(a), Value::Set(b)) => a.iter().any(|item| b.contains(item)),
        _ => false,
    }
}

fn value_add(to: &mut Value, more: Value) {
    match (to, more) {
        (Value::Scalar(have), Value::Scalar(more)) => *have += more,
        (Value::Ranges(have), Value::Ranges(more)) => {
            have.extend(more);
            *have = ranges_normal(std::mem::take(have));
        }
        (Value::Set(have), Value::Set(more)) => {
            have.extend(more);
            have.sort_unstable();
            have.dedup();
        }
        _ => {}
    }
}

fn value_subtract(from: &mut Value, less: &Value) {
    match (from, less) {
        (Value::Scalar(have), Value::Scalar(less)) => *have = (*have - less).max(0),
        (Value::Ranges(have), Value::Ranges(less)) => *have = ranges_minus(have, less),
        (Value::Set(have), Value::Set(less)) => have.retain(|item| less.binary_search(item).is_err()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bundle() -> impl Strategy<Value = Resources> {
        let scalar = (prop_oneof!["cpus", "mem", "disk"], 0i64..50_000).prop_map(|(n, v)| Resource::scalar(&n, v));
        let ports = proptest::collection::vec((0u64..60, 0u64..8), 0..4)
            .prop_map(|r| Resource::ranges("ports", ranges_normal(r.into_iter().map(|(b, l)| (b, b + l)).collect())));
        let reserved = (0i64..9_000).prop_map(|v| Resource {
            qualifier: Some(Arc::new(Qualifier {
                reservations: vec![Reservation {
                    kind: ReservationKind::Static,
                    role: Role::new("ads"),
                    principal: None,
                    labels: vec![],
                }],
                ..Qualifier::default()
            })),
            ..Resource::scalar("cpus", v)
        });
        proptest::collection::vec(prop_oneof![3 => scalar, 2 => ports, 1 => reserved], 0..6).prop_map(|entries| {
            let mut resources = Resources::new();
            entries.into_iter().for_each(|entry| resources.add_entry(entry));
            resources
        })
    }

    proptest! {
        #[test]
        fn what_is_taken_and_put_back_leaves_no_trace(a in bundle(), b in bundle()) {
            let ports_apart = !values_overlap(&Value::Ranges(a.ranges("ports")), &Value::Ranges(b.ranges("ports")));
            prop_assume!(ports_apart);
            let mut sum = a.plus(&b);
            prop_assert!(sum.contains(&a) && sum.contains(&b));
            prop_assert!(sum.take(&b));
            prop_assert_eq!(&sum, &a);
        }

        #[test]
        fn taking_what_is_not_all_there_changes_nothing(a in bundle(), b in bundle()) {
            let mut left = a.clone();
            if left.take(&b) {
                prop_assert_eq!(left.plus(&b), a);
            } else {
                prop_assert_eq!(left, a);
            }
        }

        #[test]
        fn nothing_is_ever_negative_or_empty(a in bundle(), b in bundle()) {
            for resource in &a.minus(&b) {
                prop_assert!(resource.validate().is_ok());
                prop_assert!(!resource.is_empty());
            }
        }
    }

    #[test]
    fn f66_absurd_amounts_are_refused() {
        for amount in [f64::NAN, f64::INFINITY, 1e308] {
            assert_eq!(milli_from_f64("cpus", amount), Err(ResourceError::Amount("cpus".into())));
        }
        assert_eq!(milli_from_f64("cpus", -1.0), Err(ResourceError::Negative("cpus".into())));
        assert_eq!(milli_from_f64("cpus", 1e-9), Ok(0));
        assert_eq!(milli_from_f64("cpus", 0.1), Ok(100));
        let overlapping = [Resource::ranges("ports", vec![(1, 5), (5, 6)])];
        assert!(Resources::try_from_entries(overlapping).is_err());
        let apart_but_overlapping = [Resource::ranges("ports", vec![(1, 5)]), Resource::ranges("ports", vec![(3, 9)])];
        assert!(Resources::try_from_entries(apart_but_overlapping).is_err());
        assert_eq!(Resources::try_from_entries([Resource::scalar("gpus", 500)]), Err(ResourceError::Gpus));
    }

    #[test]
    fn a_reservation_is_not_an_ordinary_resource() {
        let reserved = crate::resources_text::parse("cpus(ads):4", "*").unwrap();
        let ordinary = Resources::of(&[("cpus", 1000)]);
        assert!(!reserved.contains(&ordinary));
        assert_eq!(reserved.iter().next().and_then(Resource::reserved_for), Some(&Role::new("ads")));
    }
}

//! Resources as the engine reckons with them: the common scalars inline, everything else behind a shared
//! pointer, so that offering a whole agent copies a few words.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{Hash, Hasher},
    sync::Arc,
};

use mesos_model::{Resource, Resources, Role, Value};

/// Names of the scalars that are kept inline.
pub const HOT: [&str; 4] = ["cpus", "mem", "disk", "gpus"];

/// A number for a resource's name: below four it is one of [`HOT`].
pub type Kind = usize;

/// Names and numbers of scalars.
#[derive(Clone, Debug)]
pub struct Kinds {
    names: Vec<Arc<str>>,
    by_name: BTreeMap<Arc<str>, Kind>,
}

impl Default for Kinds {
    fn default() -> Self {
        let names: Vec<Arc<str>> = HOT.iter().map(|name| Arc::from(*name)).collect();
        let by_name = names.iter().cloned().enumerate().map(|(kind, name)| (name, kind)).collect();
        Kinds { names, by_name }
    }
}

impl Kinds {
    /// The number of a name, new if need be.
    pub fn kind(&mut self, name: &Arc<str>) -> Kind {
        if let Some(kind) = self.by_name.get(name) {
            return *kind;
        }
        self.names.push(name.clone());
        self.by_name.insert(name.clone(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// The number of a name that is known.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Kind> {
        hot(name).or_else(|| self.by_name.get(name).copied())
    }

    /// The name of a number.
    #[must_use]
    pub fn name(&self, kind: Kind) -> &Arc<str> {
        &self.names[kind]
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }
}

fn hot(name: &str) -> Option<Kind> {
    HOT.iter().position(|hot| *hot == name)
}

/// Amounts of scalars by kind, in thousandths.
#[derive(Clone, Debug, Default)]
pub struct Quantities {
    hot: [i64; 4],
    more: Vec<i64>,
}

impl Quantities {
    /// The amount of a kind.
    #[must_use]
    pub fn get(&self, kind: Kind) -> i64 {
        match self.hot.get(kind) {
            Some(amount) => *amount,
            None => self.more.get(kind - HOT.len()).copied().unwrap_or(0),
        }
    }

    /// Changes the amount of a kind.
    pub fn bump(&mut self, kind: Kind, by: i64) {
        match self.hot.get_mut(kind) {
            Some(amount) => *amount += by,
            None => {
                let at = kind - HOT.len();
                if self.more.len() <= at {
                    self.more.resize(at + 1, 0);
                }
                self.more[at] += by;
            }
        }
    }

    /// Sets the amount of a kind.
    pub fn set(&mut self, kind: Kind, to: i64) {
        let by = to - self.get(kind);
        self.bump(kind, by);
    }

    /// Adds `sign` times all of `other`.
    pub fn shift(&mut self, other: &Quantities, sign: i64) {
        for (have, more) in self.hot.iter_mut().zip(other.hot) {
            *have += sign * more;
        }
        for (at, more) in other.more.iter().enumerate() {
            if *more != 0 {
                self.bump(at + HOT.len(), sign * more);
            }
        }
    }

    /// The inline amounts.
    #[must_use]
    pub fn hot(&self) -> [i64; 4] {
        self.hot
    }

    /// Changes the inline amounts as something changed from `before` to `after`.
    pub(crate) fn shift_hot(&mut self, before: [i64; 4], after: [i64; 4]) {
        for (have, (before, after)) in self.hot.iter_mut().zip(before.into_iter().zip(after)) {
            *have += after - before;
        }
    }

    /// One more than the largest kind that may have an amount.
    #[must_use]
    pub fn width(&self) -> usize {
        HOT.len() + self.more.len()
    }

    /// Whether every amount is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.hot == [0; 4] && self.more.iter().all(|amount| *amount == 0)
    }

    /// By name, without zeros.
    #[must_use]
    pub fn by_name(&self, kinds: &Kinds) -> BTreeMap<Arc<str>, i64> {
        (0..self.width().min(kinds.count()))
            .filter(|kind| self.get(*kind) != 0)
            .map(|kind| (kinds.name(kind).clone(), self.get(kind)))
            .collect()
    }
}

impl PartialEq for Quantities {
    fn eq(&self, other: &Quantities) -> bool {
        (0..self.width().max(other.width())).all(|kind| self.get(kind) == other.get(kind))
    }
}

/// What a bundle has apart from the common ordinary scalars.
#[derive(Debug)]
struct Rest {
    resources: Resources,
    /// Anybody may take all of it.
    plain: bool,
    /// It has scalars.
    scalars: bool,
    /// The same for equal contents.
    digest: u64,
}

impl Rest {
    fn new(resources: Resources) -> Option<Arc<Rest>> {
        if resources.is_empty() {
            return None;
        }
        let mut digest = FixedHasher::default();
        let (mut plain, mut scalars) = (true, false);
        for resource in &resources {
            digest.write(resource.name.as_bytes());
            match &resource.value {
                Value::Scalar(milli) => {
                    scalars = true;
                    digest.write_i64(*milli);
                }
                Value::Ranges(ranges) => ranges.iter().for_each(|range| {
                    digest.write_u64(range.0);
                    digest.write_u64(range.1);
                }),
                Value::Set(items) => items.iter().for_each(|item| digest.write(item.as_bytes())),
            }
            if let Some(qualifier) = &resource.qualifier {
                plain = false;
                qualifier.hash(&mut digest);
            }
        }
        Some(Arc::new(Rest { resources, plain, scalars, digest: digest.finish() }))
    }
}

/// What bundles have apart from the common ordinary scalars, kept once for all that have the same: agents are
/// mostly alike, and then comparing is comparing pointers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rests {
    by_digest: HashMap<u64, Arc<Rest>, FixedState>,
    sweep_at: usize,
}

/// How many different ones are kept at least before those that nobody uses are looked for.
const RESTS_MIN: usize = 1024;

impl Rests {
    /// Has a bundle use what others use.
    pub(crate) fn share(&mut self, bundle: &mut Bundle) {
        let Some(rest) = &mut bundle.rest else { return };
        match self.by_digest.get(&rest.digest) {
            Some(known) if known.resources == rest.resources => *rest = known.clone(),
            Some(_) => {}
            None => {
                self.by_digest.insert(rest.digest, rest.clone());
                if self.by_digest.len() > self.sweep_at.max(RESTS_MIN) {
                    #[expect(clippy::disallowed_methods, reason = "each is judged by itself, whatever the order")]
                    self.by_digest.retain(|_, rest| Arc::strong_count(rest) > 1);
                    self.sweep_at = 2 * self.by_digest.len();
                }
            }
        }
    }
}

/// A bundle of resources.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    hot: [i64; 4],
    rest: Option<Arc<Rest>>,
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Bundle) -> bool {
        self.hot == other.hot
            && match (&self.rest, &other.rest) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b) || (a.digest == b.digest && a.resources == b.resources),
                _ => false,
            }
    }
}

impl Eq for Bundle {}

impl Hash for Bundle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hot.hash(state);
        self.rest.as_ref().map_or(0, |rest| rest.digest).hash(state);
    }
}

impl From<&Resources> for Bundle {
    fn from(resources: &Resources) -> Bundle {
        let mut bundle = Bundle::default();
        let mut rest = Resources::new();
        for resource in resources {
            match (&resource.value, &resource.qualifier, hot(&resource.name)) {
                (Value::Scalar(milli), None, Some(kind)) => bundle.hot[kind] += milli,
                _ => rest.add_entry(resource.clone()),
            }
        }
        bundle.rest = Rest::new(rest);
        bundle
    }
}

impl Bundle {
    /// Of ordinary common scalars only.
    #[must_use]
    pub fn of_hot(hot: [i64; 4]) -> Bundle {
        Bundle { hot, rest: None }
    }

    /// As the rest of the program has it.
    #[must_use]
    pub fn resources(&self) -> Resources {
        let mut out = self.rest.as_ref().map(|rest| rest.resources.clone()).unwrap_or_default();
        for (kind, milli) in self.hot.iter().enumerate().filter(|(_, milli)| **milli > 0) {
            out.add_entry(Resource::scalar(HOT[kind], *milli));
        }
        out
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hot == [0; 4] && self.rest.is_none()
    }

    /// The ordinary common scalars.
    #[must_use]
    pub fn hot(&self) -> [i64; 4] {
        self.hot
    }

    /// What is not an ordinary common scalar.
    #[must_use]
    pub fn rest(&self) -> Option<&Resources> {
        self.rest.as_ref().map(|rest| &rest.resources)
    }

    /// Whether nothing but the common ordinary scalars counts as a scalar.
    pub(crate) fn has_only_hot_scalars(&self) -> bool {
        self.rest.as_ref().is_none_or(|rest| !rest.scalars)
    }

    /// Whether nobody else has the same rest at hand, so that sharing it may be worthwhile.
    pub(crate) fn is_alone(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| Arc::strong_count(rest) == 1)
    }

    /// Whether anybody may take all of it: nothing reserved, revocable, shared or otherwise special.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.rest.as_ref().is_none_or(|rest| rest.plain)
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Bundle) {
        for (have, more) in self.hot.iter_mut().zip(other.hot) {
            *have += more;
        }
        self.rest = match (self.rest.take(), &other.rest) {
            (None, more) => more.clone(),
            (have, None) => have,
            (Some(have), Some(more)) => Rest::new(have.resources.plus(&more.resources)),
        };
    }

    /// Takes out whatever of `other` is there.
    pub fn take_what_is_there(&mut self, other: &Bundle) {
        for (have, less) in self.hot.iter_mut().zip(other.hot) {
            *have = (*have - less).max(0);
        }
        self.rest = match (self.rest.take(), &other.rest) {
            (Some(have), Some(less)) if Arc::ptr_eq(&have, less) => None,
            (Some(have), Some(less)) if have.digest == less.digest && have.resources == less.resources => None,
            (Some(have), Some(less)) => Rest::new(have.resources.minus(&less.resources)),
            (have, _) => have,
        };
    }

    /// `self` without `other`, as far as it is there.
    #[must_use]
    pub fn minus(&self, other: &Bundle) -> Bundle {
        let mut rest = self.clone();
        rest.take_what_is_there(other);
        rest
    }

    /// Whether all of `other` is in here, entry by entry.
    #[must_use]
    pub fn contains(&self, other: &Bundle) -> bool {
        self.hot.iter().zip(other.hot).all(|(have, wanted)| *have >= wanted)
            && match (&self.rest, &other.rest) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(have), Some(wanted)) => {
                    Arc::ptr_eq(have, wanted)
                        || (have.digest == wanted.digest && have.resources == wanted.resources)
                        || have.resources.contains(&wanted.resources)
                }
            }
    }

    /// Of each entry the smaller amount of both; ranges and sets only as a whole.
    #[must_use]
    pub fn common(&self, other: &Bundle) -> Bundle {
        let mut out = Bundle::default();
        for (kind, amount) in out.hot.iter_mut().enumerate() {
            *amount = self.hot[kind].min(other.hot[kind]);
        }
        if let (Some(have), Some(wanted)) = (&self.rest, &other.rest) {
            // What is left when the rest of `have` is taken away from `have`.
            let missing = wanted.resources.minus(&have.resources);
            out.rest = Rest::new(wanted.resources.minus(&missing));
        }
        out
    }

    /// Without what several may use at once; `None` if that is all of it.
    pub(crate) fn exclusive(&self) -> Option<Bundle> {
        (!self.is_plain()).then(|| self.without_shared())
    }

    /// Without what several may use at once.
    #[must_use]
    pub fn without_shared(&self) -> Bundle {
        if self.is_plain() {
            return self.clone();
        }
        self.keep(|resource| !resource.is_shared())
    }

    /// Only the entries apart from the common scalars that pass; the common scalars stay.
    #[must_use]
    pub fn keep(&self, keep: impl Fn(&Resource) -> bool) -> Bundle {
        let rest = self.rest.as_ref().and_then(|rest| {
            if rest.resources.iter().all(&keep) { Some(rest.clone()) } else { Rest::new(rest.resources.filter(keep)) }
        });
        Bundle { hot: self.hot, rest }
    }

    /// The amount of a kind over all qualifiers.
    #[must_use]
    pub fn scalar(&self, kind: Kind, kinds: &Kinds) -> i64 {
        let rest = self.rest.as_ref().filter(|rest| rest.scalars);
        self.hot.get(kind).copied().unwrap_or(0) + rest.map_or(0, |rest| rest.resources.scalar(kinds.name(kind)))
    }

    /// The amount of a kind that is neither reserved nor revocable.
    #[must_use]
    pub fn ordinary_scalar(&self, kind: Kind, kinds: &Kinds) -> i64 {
        let mut sum = self.hot.get(kind).copied().unwrap_or(0);
        self.each_rest_scalar(|resource, milli| {
            if is_ordinary(resource) && resource.name == *kinds.name(kind) {
                sum += milli;
            }
        });
        sum
    }

    /// Scalars over all qualifiers.
    #[must_use]
    pub fn quantities(&self, kinds: &mut Kinds) -> Quantities {
        let mut out = Quantities { hot: self.hot, more: Vec::new() };
        self.each_rest_scalar(|resource, milli| {
            if !resource.is_shared() {
                out.bump(kinds.kind(&resource.name), milli);
            }
        });
        out
    }

    /// Scalars that are neither reserved nor revocable.
    #[must_use]
    pub fn ordinary(&self, kinds: &mut Kinds) -> Quantities {
        let mut out = Quantities { hot: self.hot, more: Vec::new() };
        self.each_rest_scalar(|resource, milli| {
            if is_ordinary(resource) {
                out.bump(kinds.kind(&resource.name), milli);
            }
        });
        out
    }

    /// Reserved scalars, by the role that they are for.
    #[must_use]
    pub fn reserved(&self, kinds: &mut Kinds) -> Vec<(Role, Kind, i64)> {
        let mut out = Vec::new();
        self.each_rest_scalar(|resource, milli| {
            if let Some(role) = resource.reserved_for() {
                out.push((role.clone(), kinds.kind(&resource.name), milli));
            }
        });
        out
    }

    #[inline]
    fn each_rest_scalar(&self, mut each: impl FnMut(&Resource, i64)) {
        let Some(rest) = self.rest.as_ref().filter(|rest| rest.scalars) else { return };
        for resource in &rest.resources {
            if let Value::Scalar(milli) = resource.value {
                each(resource, milli);
            }
        }
    }

    /// With ordinary scalars cut down to `most`, kind by kind.
    #[must_use]
    pub fn shrink(&self, kinds: &Kinds, most: impl Fn(Kind) -> i64) -> Bundle {
        let mut out = self.clone();
        for (kind, amount) in out.hot.iter_mut().enumerate() {
            if *amount > 0 {
                *amount = (*amount).min(most(kind).max(0));
            }
        }
        if let Some(rest) = self.rest.as_ref().filter(|rest| rest.scalars) {
            let mut left = Resources::new();
            for resource in &rest.resources {
                let mut resource = resource.clone();
                let ordinary = is_ordinary(&resource);
                if let Value::Scalar(milli) = &mut resource.value
                    && ordinary
                    && let Some(kind) = kinds.find(&resource.name)
                {
                    // All entries of a kind together are to stay within it.
                    let so_far = out.hot.get(kind).copied().unwrap_or(0) + left_of(&left, &resource.name);
                    let kind_most = most(kind).saturating_sub(so_far).max(0);
                    // A disk of its own cannot be cut into pieces.
                    let whole = resource.qualifier.is_some();
                    *milli = if whole && *milli > kind_most { 0 } else { (*milli).min(kind_most) };
                }
                left.add_entry(resource);
            }
            out.rest = Rest::new(left);
        }
        out
    }
}

/// How much that is ordinary there is of a name.
fn left_of(resources: &Resources, name: &str) -> i64 {
    let of = |resource: &Resource| match resource.value {
        Value::Scalar(milli) if &*resource.name == name && is_ordinary(resource) => milli,
        _ => 0,
    };
    resources.iter().map(of).sum()
}

fn is_ordinary(resource: &Resource) -> bool {
    resource.reserved_for().is_none() && !resource.is_revocable() && !resource.is_shared()
}

/// Words multiplied and folded: quick, and the same in every run. What leaves the process is hashed otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedHasher(u64);

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        // The length keeps texts of zeros apart.
        self.write_u64(rest.iter().fold(rest.len() as u64, |word, byte| (word << 8) | u64::from(*byte)));
    }

    fn write_u64(&mut self, word: u64) {
        // A whole word at once, mixed well enough for tables.
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word.cast_unsigned());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }
}

/// Hashes the same in every run; for tables that are never iterated.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedState;

impl std::hash::BuildHasher for FixedState {
    type Hasher = FixedHasher;

    fn build_hasher(&self) -> FixedHasher {
        FixedHasher::default()
    }
}

#[cfg(test)]
mod tests {
    use mesos_model::resources_text::parse;
    use proptest::prelude::*;

    use super::*;

    fn bundle(text: &str) -> Bundle {
        Bundle::from(&parse(text, "*").unwrap())
    }

    #[test]
    fn a_bundle_is_the_resources_it_was_made_of() {
        for text in ["cpus:1.5;mem:64", "cpus:1;cpus(ads):2;ports:[1-3,7-9];zoo:{a,b};licences:3", ""] {
            let resources = parse(text, "*").unwrap();
            assert_eq!(Bundle::from(&resources).resources(), resources, "{text}");
        }
    }

    #[test]
    fn only_ordinary_scalars_are_cut() {
        let cut = bundle("cpus:4;mem:100;cpus(ads):8;ports:[1-9];licences:3");
        let mut kinds = Kinds::default();
        let _ = cut.quantities(&mut kinds);
        let most = |kind: Kind| {
            if kind == 0 {
                1000
            } else if kind == 4 {
                2000
            } else {
                i64::MAX
            }
        };
        assert_eq!(cut.shrink(&kinds, most), bundle("cpus:1;mem:100;cpus(ads):8;ports:[1-9];licences:2"));
    }

    proptest! {
        #[test]
        fn bundles_reckon_as_resources_do(a in 0i64..9, b in 0i64..9, c in 0i64..9, d in 0i64..9, p in 0u64..5, q in 0u64..5) {
            let x = parse(&format!("cpus:{a};licences:{b};ports:[{p}-{}]", p + 3), "*").unwrap();
            let y = parse(&format!("cpus:{c};licences:{d};ports:[{q}-{}]", q + 2), "*").unwrap();
            let (bx, by) = (Bundle::from(&x), Bundle::from(&y));
            let mut sum = bx.clone();
            sum.add(&by);
            prop_assert_eq!(sum.resources(), x.plus(&y));
            prop_assert_eq!(bx.minus(&by).resources(), x.minus(&y));
            prop_assert_eq!(bx.contains(&by), x.contains(&y));
            let common = bx.common(&by);
            prop_assert!(bx.contains(&common) && by.contains(&common));
        }
    }
}

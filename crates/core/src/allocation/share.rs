//! Shares as exact fractions: no floats, so a replay decides the same everywhere.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use mesos_model::{Resources, Value};

/// A fraction of non-negative integers; the denominator is never zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    over: u128,
    under: u128,
}

impl Share {
    pub(super) const ZERO: Share = Share { over: 0, under: 1 };

    pub(super) fn new(over: u128, under: u128) -> Share {
        Share { over, under: under.max(1) }
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Share) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Share {}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Share) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Share) -> Ordering {
        let (left, right) = (self.over.checked_mul(other.under), other.over.checked_mul(self.under));
        match (left, right) {
            (Some(left), Some(right)) => left.cmp(&right),
            // The products do not fit; Euclid's algorithm compares without them.
            _ => compare_by_quotients((self.over, self.under), (other.over, other.under)),
        }
    }
}

fn compare_by_quotients(mut a: (u128, u128), mut b: (u128, u128)) -> Ordering {
    loop {
        let by_quotient = (a.0 / a.1).cmp(&(b.0 / b.1));
        let rests = (a.0 % a.1, b.0 % b.1);
        match (by_quotient, rests) {
            (Ordering::Less | Ordering::Greater, _) => return by_quotient,
            (Ordering::Equal, (0, rest)) => return 0.cmp(&rest),
            (Ordering::Equal, (_, 0)) => return Ordering::Greater,
            // r/d compares as the reverse of d/r.
            (Ordering::Equal, rests) => (a, b) = ((b.1, rests.1), (a.1, rests.0)),
        }
    }
}

/// Sums of scalars by name, in thousandths; the reservations and other qualifiers do not matter for shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals(BTreeMap<Arc<str>, i64>);

impl Totals {
    pub(super) fn add(&mut self, resources: &Resources) {
        for resource in resources {
            if let Value::Scalar(milli) = resource.value {
                self.shift(&resource.name, milli);
            }
        }
    }

    pub(super) fn subtract(&mut self, resources: &Resources) {
        for resource in resources {
            if let Value::Scalar(milli) = resource.value {
                self.shift(&resource.name, -milli);
            }
        }
    }

    fn shift(&mut self, name: &Arc<str>, milli: i64) {
        let sum = self.0.entry(name.clone()).or_insert(0);
        *sum += milli;
        if *sum == 0 {
            self.0.remove(name);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The largest part of a total over all names that the total has, divided by a weight in thousandths.
    pub(super) fn dominant_share(&self, total: &Totals, weight: u64) -> Share {
        self.0.iter().fold(Share::ZERO, |largest, (name, sum)| {
            let all = total.0.get(name).copied().unwrap_or(0);
            let (Ok(sum), Ok(all)) = (u128::try_from(*sum), u128::try_from(all)) else {
                return largest;
            };
            if all == 0 {
                return largest;
            }
            largest.max(Share::new(sum * 1000, all * u128::from(weight.max(1))))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_dominant_share_is_the_largest_one_divided_by_the_weight() {
        let mut total = Totals::default();
        total.add(&Resources::of(&[("cpus", 9000), ("mem", 18_000)]));
        let mut sums = Totals::default();
        sums.add(&Resources::of(&[("cpus", 3000), ("mem", 12_000), ("widgets", 5)]));
        assert_eq!(sums.dominant_share(&total, 1000), Share::new(2, 3));
        assert_eq!(sums.dominant_share(&total, 2000), Share::new(1, 3));
        sums.subtract(&Resources::of(&[("cpus", 3000), ("mem", 12_000), ("widgets", 5)]));
        assert!(sums.is_empty());
        assert_eq!(sums.dominant_share(&total, 1000), Share::ZERO);
    }

    proptest! {
        #[test]
        fn quotients_compare_as_products_do(a in 0u128..1_000_000, b in 1u128..1_000_000, c in 0u128..1_000_000, d in 1u128..1_000_000) {
            prop_assert_eq!(compare_by_quotients((a, b), (c, d)), (a * d).cmp(&(c * b)));
        }

        #[test]
        fn huge_shares_compare_too(a in any::<u128>(), b in 1u128.., c in any::<u128>(), d in 1u128..) {
            let (x, y) = (Share::new(a, b), Share::new(c, d));
            prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse());
            prop_assert_eq!(x.cmp(&x), Ordering::Equal);
        }
    }
}

//! Shares as exact fractions: no floats, so a replay decides the same everywhere.

use std::cmp::Ordering;

use crate::bundle::Quantities;

/// A fraction of non-negative integers. It compares exactly; most comparisons are decided by its first bits.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// `over / under` in units of 2^-40, rounded down: never larger for a smaller fraction.
    key: u64,
    over: u128,
    under: u128,
}

impl Default for Share {
    fn default() -> Self {
        Share { key: 0, over: 0, under: 1 }
    }
}

impl Share {
    /// The largest: behind everything.
    pub const LAST: Share = Share { key: u64::MAX, over: u128::MAX, under: 1 };

    /// A fraction; a denominator of zero counts as one.
    #[must_use]
    pub fn new(over: u128, under: u128) -> Share {
        let under = under.max(1);
        let key = match over.checked_mul(1 << 40) {
            Some(wide) => u64::try_from(wide / under).unwrap_or(u64::MAX),
            None => u64::try_from((over / under).saturating_mul(1 << 40)).unwrap_or(u64::MAX),
        };
        Share { key, over, under }
    }

    /// A whole number.
    #[must_use]
    pub fn whole(number: u64) -> Share {
        Share::new(u128::from(number), 1)
    }

    /// The fraction turned round; zero becomes [`Share::LAST`].
    #[must_use]
    pub fn inverse(self) -> Share {
        if self.over == 0 { Share::LAST } else { Share::new(self.under, self.over) }
    }

    /// In units of `1 / parts`, rounded down.
    #[must_use]
    pub fn parts(self, parts: u64) -> u64 {
        let whole = self.over / self.under;
        let rest = self.over % self.under;
        let rest = match rest.checked_mul(u128::from(parts)) {
            Some(wide) => wide / self.under,
            None => rest / (self.under / u128::from(parts)).max(1),
        };
        u64::try_from(whole.saturating_mul(u128::from(parts)).saturating_add(rest)).unwrap_or(u64::MAX)
    }

    /// Divided by a weight in thousandths.
    #[must_use]
    pub fn weighted(self, weight: u64) -> Share {
        if weight == 1000 {
            return self;
        }
        match (self.over.checked_mul(1000), self.under.checked_mul(u128::from(weight.max(1)))) {
            (Some(over), Some(under)) => Share::new(over, under),
            _ => Share::new(self.over >> 16, (self.under >> 16).max(1)).weighted(weight),
        }
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
        match self.key.cmp(&other.key) {
            Ordering::Equal if self.over == other.over && self.under == other.under => Ordering::Equal,
            Ordering::Equal => {
                let (left, right) = (self.over.checked_mul(other.under), other.over.checked_mul(self.under));
                match (left, right) {
                    (Some(left), Some(right)) => left.cmp(&right),
                    // The products do not fit; Euclid's algorithm compares without them.
                    _ => compare_by_quotients((self.over, self.under), (other.over, other.under)),
                }
            }
            decided => decided,
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

/// The largest share of any kind that the cluster has and that counts. `left_out` has a bit for each kind below
/// 64 that does not count.
#[must_use]
pub fn dominant(have: &Quantities, total: &Quantities, left_out: u64) -> Share {
    let mut largest = (0u64, 1u64);
    for kind in 0..have.width() {
        let (amount, of) = (have.get(kind), total.get(kind));
        if amount <= 0 || of <= 0 || (kind < 64 && left_out & (1 << kind) != 0) {
            continue;
        }
        let (amount, of) = (amount.unsigned_abs(), of.unsigned_abs());
        if u128::from(amount) * u128::from(largest.1) > u128::from(largest.0) * u128::from(of) {
            largest = (amount, of);
        }
    }
    Share::new(largest.0.into(), largest.1.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_share_dominates() {
        let quantities = |cpus, mem| {
            let mut out = Quantities::default();
            out.set(0, cpus);
            out.set(1, mem);
            out
        };
        let total = quantities(9000, 18_000);
        assert_eq!(dominant(&quantities(3000, 12_000), &total, 0), Share::new(2, 3));
        assert_eq!(dominant(&quantities(3000, 12_000), &total, 0b10), Share::new(1, 3));
        assert_eq!(dominant(&quantities(3000, 12_000), &total, 0).weighted(2000), Share::new(1, 3));
        assert_eq!(dominant(&quantities(0, 0), &total, 0), Share::default());
        assert_eq!(Share::new(2, 3).parts(1_000_000), 666_666);
    }

    proptest! {
        #[test]
        fn fractions_compare_as_products_do(a in 0u128..1_000_000, b in 1u128..1_000_000, c in 0u128..1_000_000, d in 1u128..1_000_000) {
            prop_assert_eq!(compare_by_quotients((a, b), (c, d)), (a * d).cmp(&(c * b)));
            prop_assert_eq!(Share::new(a, b).cmp(&Share::new(c, d)), (a * d).cmp(&(c * b)));
        }

        #[test]
        fn huge_fractions_compare_too(a in any::<u128>(), b in 1u128.., c in any::<u128>(), d in 1u128..) {
            let (x, y) = (Share::new(a, b), Share::new(c, d));
            prop_assert_eq!(x.cmp(&y), compare_by_quotients((a, b), (c, d)));
            prop_assert_eq!(x.cmp(&x), Ordering::Equal);
        }
    }
}

//! The engine's own source of choices: the same numbers for the same seed, on every machine.

/// SplitMix64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lots(u64);

impl Lots {
    pub(crate) fn new(seed: u64) -> Lots {
        Lots(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// An exponentially distributed number with the mean 2^20 / ln 2.
    pub(crate) fn exponential(&mut self) -> u64 {
        minus_log2(self.next() | 1)
    }
}

/// Spreads the bits of a number over all of it.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `-log2(number / 2^64)` in units of 2^-20, in whole numbers so that it is the same everywhere.
fn minus_log2(number: u64) -> u64 {
    let zeros = number.leading_zeros();
    // The leading one moved to bit 63: a fixed-point number from 1 to 2.
    let mut mantissa = number << zeros;
    let mut log = 0u64;
    for bit in (0..20).rev() {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        if square >> 64 != 0 {
            log |= 1 << bit;
            mantissa = u64::try_from(square >> 1).unwrap_or(u64::MAX);
        } else {
            mantissa = u64::try_from(square).unwrap_or(u64::MAX);
        }
    }
    ((u64::from(zeros) + 1) << 20) - log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right_to_six_digits() {
        for number in [1u64, 2, 3, 1 << 40, u64::MAX / 3, u64::MAX] {
            let exact = 64.0 - (number as f64).log2();
            let found = minus_log2(number) as f64 / f64::from(1 << 20);
            assert!((exact - found).abs() < 2e-6, "{number}: {exact} {found}");
        }
    }

    #[test]
    fn lots_have_the_mean_that_they_should() {
        let mut lots = Lots::new(7);
        let sum: u64 = (0..100_000).map(|_| lots.exponential()).sum();
        let mean = sum as f64 / 100_000.0 / f64::from(1 << 20);
        assert!((mean - std::f64::consts::LOG2_E).abs() < 0.02, "{mean}");
    }
}

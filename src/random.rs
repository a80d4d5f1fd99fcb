//! Seeded random numbers, the same on every machine: drawing, shuffling, masks, starting weights.
//!
//! One generator, SplitMix64: its state moves by a constant, [`mix`] of the state is the number. What is drawn for a
//! thing with a name comes from [`Random::of`], so that it depends neither on order nor on threads.
//!
//! ```
//! use parallax::random::Random;
//! let (mut a, mut b) = (Random::of(7, "q1"), Random::of(7, "q1"));
//! assert_eq!(a.next_u64(), b.next_u64());
//! assert_ne!(Random::of(7, "q1").next_u64(), Random::of(7, "q2").next_u64());
//! assert!((0..100).all(|_| a.below(3) < 3));
//! ```
//!
//! Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014.

/// 2⁶⁴ divided by the golden ratio, and odd: how far the state moves a step, and what spreads neighbouring keys.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser: neighbouring numbers in, unrelated numbers out. `mix(0)` is 0.
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The first number of a generator with this seed: [`mix`] without its fixed point 0.
pub const fn scramble(number: u64) -> u64 {
    mix(number.wrapping_add(GOLDEN))
}

/// A generator; equal seeds give equal numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// A generator of a seed.
    pub const fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A generator for a named thing under a seed (FNV-1a over the name's bytes, mixed with the seed).
    pub fn of(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Random(scramble(seed) ^ hash)
    }

    /// What [`Random::new`] needs to go on from here.
    pub const fn state(&self) -> u64 {
        self.0
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `n`, by the multiply-shift method; 0 for `n` = 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A draw of the standard normal distribution (G. Box and M. Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        // 1 - unit lies in (0, 1], whose logarithm is finite.
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts items in a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_of_seed_zero_are_the_published_ones() {
        // Known answers of SplitMix64 with seed 0, as the reference implementation of S. Vigna gives them.
        let mut random = Random::new(0);
        assert_eq!(scramble(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next_u64(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next_u64(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn draws_have_the_moments_they_should() {
        let mut random = Random::new(5);
        let n = 100_000;
        let normal: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        // Four standard errors: 4 / √n = .0127 and 4 √(2/n) = .0179.
        assert!(mean.abs() < 0.013 && (variance - 1.0).abs() < 0.018, "{mean} {variance}");
        let low = (0..n).filter(|_| random.below(10) < 3).count() as f64 / f64::from(n);
        assert!((low - 0.3).abs() < 0.006, "{low}");
    }

    #[test]
    fn a_shuffle_keeps_what_it_shuffles() {
        let mut items: Vec<u32> = (0..50).collect();
        Random::new(1).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}

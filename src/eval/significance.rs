//! Whether a difference between two systems is more than luck: paired over the same queries.
//!
//! In flow one value a query of each system, in the same order; out flows [`Paired`]. With `d_i = a_i − b_i` for the
//! `n` queries and `d̄` their mean (dimensionless, as the measure is), three ways look at the same differences:
//!
//! | figure | what it does |
//! |---|---|
//! | [`Paired::interval`] | percentile bootstrap: 10,000 times `n` queries are drawn with replacement; the 2.5th and 97.5th percentile of their mean differences |
//! | [`Paired::p_randomization`] | sign flips: if the systems were exchangeable, each `d_i` could as well be `−d_i`; p = (1 + #{∣d̄*∣ ≥ ∣d̄∣}) / (1 + 10,000), or the exact share of all sign patterns where at most 13 differences are not 0 |
//! | [`Paired::p_t`] | Student's t = d̄ / (s/√n) with n − 1 degrees of freedom, p = I_{ν/(ν+t²)}(ν/2, ½), two-sided |
//!
//! They agree on retrieval data; the t-test alone assumes normality, the sign test throws sizes away and is not here.
//! A share of a count has [`proportion`] instead.
//!
//! ```
//! use parallax::eval::significance::paired;
//! let (a, b) = ([0.5, 1.0, 0.3, 1.0, 0.6], [0.4, 0.8, 0.3, 0.7, 0.2]);
//! let test = paired(&a, &b, 7);
//! assert!((test.mean_difference - 0.2).abs() < 1e-12 && test.interval.0 > 0.0);
//! // Four differences are not 0, all positive: of 16 sign patterns two are as far from 0.
//! assert_eq!(test.p_randomization, 0.125);
//! ```
//!
//! Cost: 20,000 passes over the differences, about 10⁸ draws for 10,000 queries, spread over all threads; every block
//! of resamples has a seed of its own, so the figures depend on the seed and not on the threads.
//!
//! Sources: Smucker, Allan & Carterette, "A comparison of statistical significance tests for information retrieval
//! evaluation", 2007; Efron & Tibshirani, "An introduction to the bootstrap", 1993; Wilson, "Probable inference",
//! 1927; Lentz, "Generating Bessel functions in Mie scattering calculations using continued fractions", 1976;
//! Lanczos, "A precision approximation of the gamma function", 1964.

use crate::random::Random;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

/// Resamples of the bootstrap, and of the sign flips.
const RESAMPLES: usize = 10_000;
/// Resamples that share a generator.
const BLOCK: usize = 100;
/// Up to this many differences all sign patterns are gone through: no more than `RESAMPLES` of them.
const EXACT: usize = 13;
/// The standard normal distribution's 97.5th percentile.
const Z: f64 = 1.959_963_984_540_054;

/// Fewest queries over which a difference is called proven: the percentile interval of fewer is too narrow (of five
/// equal differences it is a point), and the sign flips of five cannot give p < .05 at all.
pub const ENOUGH: usize = 20;

/// Two systems over the same queries: how far they are apart and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Queries compared.
    pub n: usize,
    /// Mean of first minus second.
    pub mean_difference: f64,
    /// 95 % percentile bootstrap interval of the mean difference.
    pub interval: (f64, f64),
    /// Two-sided p of the randomisation test.
    pub p_randomization: f64,
    /// Two-sided p of the paired t-test.
    pub p_t: f64,
}

impl Paired {
    /// Whether the interval lies on one side of 0.
    pub fn excludes_zero(&self) -> bool {
        self.interval.0 > 0.0 || self.interval.1 < 0.0
    }

    /// Whether the first is proven better: over at least [`ENOUGH`] queries, with an interval above 0 and p < .05 by
    /// the randomisation test.
    pub fn is_gain(&self) -> bool {
        self.n >= ENOUGH && self.interval.0 > 0.0 && self.p_randomization < 0.05
    }

    /// Whether the first is proven worse, by the same rule.
    pub fn is_loss(&self) -> bool {
        self.n >= ENOUGH && self.interval.1 < 0.0 && self.p_randomization < 0.05
    }

    /// `gain`, `loss`, `no proven difference`, or that the queries are too few to prove one.
    pub fn verdict(&self) -> String {
        match self.n {
            _ if self.is_gain() => "gain".into(),
            _ if self.is_loss() => "loss".into(),
            n if n < ENOUGH => format!("not proven, n = {n} is too few"),
            _ => "no proven difference".into(),
        }
    }
}

/// Compares the first system with the second: `a[i]` and `b[i]` are finite values of one query. Where one slice is
/// longer, its rest is not looked at; without queries nothing differs.
pub fn paired(a: &[f64], b: &[f64], seed: u64) -> Paired {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let n = differences.len();
    if n == 0 {
        return Paired { n, mean_difference: 0.0, interval: (0.0, 0.0), p_randomization: 1.0, p_t: 1.0 };
    }
    Paired {
        n,
        mean_difference: differences.iter().sum::<f64>() / n as f64,
        interval: bootstrap(&differences, seed),
        p_randomization: randomization(&differences, seed),
        p_t: t_test(&differences),
    }
}

/// Runs the resamples in blocks, each with its own generator, and gives back all values in order.
fn resample(seed: u64, name: &str, one: impl Fn(&mut Random) -> f64 + Sync) -> Vec<f64> {
    let block = |number: usize| {
        let mut random = Random::of(seed, &format!("{name} {number}"));
        (0..BLOCK).map(|_| one(&mut random)).collect::<Vec<f64>>()
    };
    let blocks: Vec<Vec<f64>> = (0..RESAMPLES / BLOCK).into_par_iter().map(block).collect();
    blocks.concat()
}

fn bootstrap(differences: &[f64], seed: u64) -> (f64, f64) {
    let n = differences.len();
    // Two draws out of 64 bits, by the multiply-shift method; the bias, n / 2³², is far below the resampling error.
    let draw = |bits: u64| differences[((bits & 0xffff_ffff).wrapping_mul(n as u64) >> 32) as usize];
    let mut means = resample(seed, "bootstrap", |random| {
        let mut sum = 0.0;
        for _ in 0..n / 2 {
            let bits = random.next_u64();
            sum += draw(bits >> 32) + draw(bits);
        }
        if n % 2 == 1 {
            sum += draw(random.next_u64());
        }
        sum / n as f64
    });
    means.sort_unstable_by(f64::total_cmp);
    (percentile(&means, 0.025), percentile(&means, 0.975))
}

/// Between the two nearest of the sorted values, linearly.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

fn randomization(differences: &[f64], seed: u64) -> f64 {
    // A difference of 0 has no sign to flip.
    let differences: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    let observed = differences.iter().sum::<f64>().abs();
    // Sums of the same numbers in another order differ by roundings; equal ones have to count.
    let bar = observed - 1e-12 * differences.iter().map(|difference| difference.abs()).sum::<f64>();
    // The sum under the signs that the words' bits give.
    let flipped = |word: &mut dyn FnMut() -> u64| -> f64 {
        let chunks = differences.chunks(64).map(|chunk| {
            let bits = word();
            let signed = |(i, difference): (usize, &f64)| f64::from_bits(difference.to_bits() ^ ((bits >> i) << 63));
            chunk.iter().enumerate().map(signed).sum::<f64>()
        });
        chunks.sum()
    };
    if differences.len() <= EXACT {
        let patterns = 1u64 << differences.len();
        let far = (0..patterns).filter(|pattern| flipped(&mut || *pattern).abs() >= bar).count();
        return far as f64 / patterns as f64;
    }
    let sums = resample(seed, "sign flips", |random| flipped(&mut || random.next_u64()));
    let far = sums.iter().filter(|sum| sum.abs() >= bar).count();
    (1 + far) as f64 / (1 + RESAMPLES) as f64
}

fn t_test(differences: &[f64]) -> f64 {
    let n = differences.len() as f64;
    if n < 2.0 {
        return 1.0;
    }
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|difference| (difference - mean).powi(2)).sum::<f64>() / (n - 1.0);
    if variance == 0.0 {
        return if mean == 0.0 { 1.0 } else { 0.0 };
    }
    two_sided_t(mean / (variance / n).sqrt(), n - 1.0)
}

/// Probability of a t at least so far from 0, with `freedom` degrees of freedom.
fn two_sided_t(t: f64, freedom: f64) -> f64 {
    incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The regularised incomplete beta function `I_x(a, b)`, by its continued fraction (modified Lentz's method).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges fast on this side; the other one follows by symmetry.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let nonzero = |value: f64| if value.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { value };
    let (mut c, mut d) = (1.0, 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for term in [even, odd] {
            d = 1.0 / nonzero(1.0 + term * d);
            c = nonzero(1.0 + term / c);
            step = c * d;
            fraction *= step;
        }
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// The logarithm of Γ for `x > 0` (Lanczos with g = 7, nine terms; relative error about 10⁻¹⁵).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum: f64 = TERMS[0] + (1..9).map(|i| TERMS[i] / (x + i as f64)).sum::<f64>();
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// Wilson's 95 % interval of a share, of `hits` in `n`: with p = hits/n and z = 1.96 the ends are
/// `(p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)`. Nothing seen says nothing: 0 to 1.
///
/// ```
/// let (low, high) = parallax::eval::significance::proportion(0, 20);
/// assert_eq!(low, 0.0);
/// assert!((high - 0.1611).abs() < 1e-4);
/// ```
pub fn proportion(hits: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (hits, count) = (hits.min(n), n as f64);
    let (p, z2) = (hits as f64 / count, Z * Z);
    let middle = p + z2 / (2.0 * count);
    let reach = Z * (p * (1.0 - p) / count + z2 / (4.0 * count * count)).sqrt();
    let whole = 1.0 + z2 / count;
    // The ends are exact where all or nothing hits; rounding would leave them a little off.
    let low = if hits == 0 { 0.0 } else { (middle - reach) / whole };
    let high = if hits == n { 1.0 } else { (middle + reach) / whole };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values_are_met() {
        let a = [0.63093, 0.788377, 0.0, 0.63093, 1.0, 0.5, 0.430677, 0.386853, 0.0, 1.0];
        let b = [1.0, 0.788377, 0.5, 0.63093, 1.0, 0.63093, 0.430677, 0.5, 0.0, 0.919721];
        let test = paired(&b, &a, 1);
        assert_eq!(test.n, 10);
        assert!((test.mean_difference - 0.1032868).abs() < 1e-12, "{test:?}");
        // Of scipy's ttest_rel, and by going through all 1,024 sign patterns.
        assert!((test.p_t - 0.115248254117).abs() < 1e-11, "{test:?}");
        assert_eq!(test.p_randomization, 0.125);
        let back = paired(&a, &b, 1);
        assert_eq!((back.p_t, back.p_randomization, back.mean_difference), (test.p_t, 0.125, -test.mean_difference));
    }

    #[test]
    fn tail_probabilities_of_t_are_those_of_tables() {
        // Of mpmath's betainc with 30 digits.
        for (t, freedom, p) in [
            (1.96, 10_569.0, 0.05002202728970213),
            (2.0, 10.0, 0.07338803477074037),
            (40.0, 3.0, 3.438068078915853e-5),
            (6.0, 200.0, 9.115120348810385e-9),
            (0.01, 7.0, 0.9923003176436218),
            (1.0, 1.0, 0.5),
        ] {
            let found = two_sided_t(t, freedom);
            assert!((found / p - 1.0).abs() < 1e-9, "t {t}, {freedom} degrees: {found} is not {p}");
            assert_eq!(found, two_sided_t(-t, freedom));
        }
        assert_eq!(two_sided_t(0.0, 5.0), 1.0);
    }

    #[test]
    fn wilson_s_interval_is_the_published_one() {
        // Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
        for (hits, n, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let found = proportion(hits, n);
            assert!((found.0 - low).abs() < 5e-5 && (found.1 - high).abs() < 5e-5, "{hits} of {n}: {found:?}");
            let (other_low, other_high) = proportion(n - hits, n);
            assert!((1.0 - other_high - found.0).abs() < 1e-12 && (1.0 - other_low - found.1).abs() < 1e-12);
        }
        assert_eq!((proportion(0, 0), proportion(9, 9).1), ((0.0, 1.0), 1.0));
    }

    #[test]
    fn few_and_equal_values_have_a_sober_answer() {
        let none = paired(&[], &[], 1);
        assert_eq!((none.n, none.interval, none.p_randomization, none.p_t), (0, (0.0, 0.0), 1.0, 1.0));
        let same = paired(&[0.3; 40], &[0.3; 40], 1);
        assert_eq!((same.mean_difference, same.interval, same.p_randomization, same.p_t), (0.0, (0.0, 0.0), 1.0, 1.0));
        let one = paired(&[1.0], &[0.0], 1);
        assert_eq!((one.interval, one.p_randomization, one.p_t), ((1.0, 1.0), 1.0, 1.0));
        // Always better by the same: 14 signs are beyond going through all, the least p is 1 / 10,001.
        let better = paired(&[1.0; 14], &[0.5; 14], 1);
        assert!(better.p_randomization < 0.001 && better.p_t == 0.0 && better.excludes_zero());
        assert_eq!(paired(&[1.0, 5.0], &[0.0], 1).n, 1);
    }

    #[test]
    fn nothing_is_proven_by_a_handful_of_queries() {
        let verdict = |n: usize, by: f64| paired(&vec![0.5 + by; n], &vec![0.5; n], 1).verdict();
        assert_eq!([verdict(20, 0.1), verdict(20, -0.1)], ["gain", "loss"]);
        assert_eq!([verdict(19, 0.1), verdict(19, -0.1)], ["not proven, n = 19 is too few"; 2]);
        assert_eq!(verdict(400, 0.0), "no proven difference");
        // One outlier: both tests have to agree.
        let mut test = paired(&[1.0; 30], &[0.0; 30], 1);
        test.p_randomization = 0.06;
        assert!(!test.is_gain() && test.excludes_zero());
    }

    #[test]
    fn the_seed_decides_and_the_threads_do_not() {
        let mut random = Random::new(3);
        let values: Vec<f64> = (0..501).map(|_| random.normal()).collect();
        let zero = vec![0.0; 501];
        let on = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| paired(&values, &zero, seed))
        };
        assert_eq!(on(1, 5), on(3, 5));
        assert_ne!(on(1, 5).interval, on(1, 6).interval);
        // On so many normal values the interval is near mean ± 1.96 s/√n.
        let mean = values.iter().sum::<f64>() / 501.0;
        let s = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 500.0).sqrt();
        let (low, high) = on(2, 5).interval;
        let reach = Z * s / 501f64.sqrt();
        assert!((mean - low - reach).abs() < 0.05 * reach && (high - mean - reach).abs() < 0.05 * reach);
    }

    #[test]
    fn the_interval_covers_and_p_is_uniform_when_nothing_differs() {
        const SETS: usize = 400;
        const N: usize = 60;
        // Skewed like measures: |normal| differences around their mean √(2/π), half of them without a difference.
        let truth = 0.5 * (2.0 / std::f64::consts::PI).sqrt();
        let (mut covered, mut flips, mut ts) = (0, Vec::new(), Vec::new());
        for set in 0..SETS {
            let mut random = Random::new(set as u64);
            let skewed: Vec<f64> =
                (0..N).map(|_| if random.below(2) == 0 { 0.0 } else { random.normal().abs() }).collect();
            let (low, high) = bootstrap(&skewed, set as u64);
            covered += usize::from(low <= truth && truth <= high);
            let null: Vec<f64> = (0..N).map(|_| random.normal()).collect();
            flips.push(randomization(&null, set as u64));
            ts.push(t_test(&null));
        }
        let share = covered as f64 / SETS as f64;
        assert!((0.93..=0.97).contains(&share), "{share}");
        for p in [&mut flips, &mut ts] {
            p.sort_unstable_by(f64::total_cmp);
            // Kolmogorov and Smirnov: 1.63 / √400 is passed once in a hundred times.
            let apart = |(i, p): (usize, &f64)| (p - (i as f64 + 0.5) / SETS as f64).abs();
            let most = p.iter().enumerate().map(apart).fold(0.0, f64::max);
            assert!(most < 0.082, "{most}");
        }
    }
}

//! Whether a difference between two systems is more than luck: paired over the same queries.
//!
//! In flow one value a query of each system, in the same order; out flows [`Paired`]. With `d_i = a_i − b_i` for the
//! `n` queries and `d̄` their mean (dimensionless, as the measure is), three ways look at the same differences:
//!
//! | figure | what it does |
//! |---|---|
//! | [`Paired::interval`] | expanded percentile bootstrap: 10,000 times `n` queries are drawn with replacement; the percentiles `α′` and `1 − α′` of their mean differences, `α′ = Φ(−√(n/(n−1)) · t)` with `t` the 97.5th percentile of Student's t of n − 1 degrees of freedom |
//! | [`Paired::p_randomization`] | sign flips: if the systems were exchangeable, each `d_i` could as well be `−d_i`; p = (1 + #{∣d̄*∣ ≥ ∣d̄∣}) / (1 + B), or the exact share of all sign patterns where at most 20 differences are not 0 |
//! | [`Paired::p_t`] | Student's t = d̄ / (s/√n) with n − 1 degrees of freedom, p = I_{ν/(ν+t²)}(ν/2, ½), two-sided |
//!
//! They agree on retrieval data; the t-test alone assumes normality, the sign test throws sizes away and is not here.
//!
//! - `α′` is 2.5 % for many queries. For few it is less, as much less as Student's interval is wider than the normal
//!   one: resampling `n` values has the variance `s²(n−1)/n` and knows nothing of the uncertainty of `s`.
//! - `B` is 100,000 where not more than 2,000 differences are not 0, and less beyond, down to 10,000: 2 · 10⁸ signs a
//!   pair, a second or less. Near p = .05 the standard error is .0007 with 100,000 and .0022 with 10,000.
//! - Bias-corrected and accelerated intervals (BCa) were tried and left out: on differences of which most are 0 they cover
//!   less (85 % where 10 % of 50 queries differ, 92 % where 30 % do) than percentiles (90, 94), which cover less than they
//!   should where fewer than ten queries differ at all.
//!
//! Beside pairs: a mean's interval is [`mean_interval`], a share's [`proportion`]; several tests at once are corrected by
//! [`holm`]; what a number of queries can show at all is [`detectable`].
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
//! Cost: up to 3 · 10⁸ draws and signs, spread over all threads; every block of resamples has a seed of its own, so the
//! figures depend on the seed and not on the threads.
//!
//! Sources: Smucker, Allan & Carterette, "A comparison of statistical significance tests for information retrieval
//! evaluation", 2007; Efron & Tibshirani, "An introduction to the bootstrap", 1993; Hesterberg, "What teachers should
//! know about the bootstrap", 2015 (expanded percentiles).

mod correction;
mod distributions;
mod interval;
mod power;

pub use correction::holm;
pub use interval::{mean_interval, proportion};
pub use power::{detectable, deviation, queries_for};

use crate::random::Random;
use distributions::{normal_tail, t_quantile, two_sided_t};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;
/// Fewest and most resamples of the sign flips.
const FLIPS: (usize, usize) = (10_000, 100_000);
/// Signs drawn for a pair, between these bounds.
const SIGNS: usize = 200_000_000;
/// Resamples that share a generator.
const BLOCK: usize = 100;
/// Up to this many differences all sign patterns are gone through, about a million of them.
const EXACT: usize = 20;
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
    /// 95 % bootstrap interval of the mean difference.
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

/// Runs `count` resamples in blocks, each with its own generator, and gives back all values in order.
fn resample(seed: u64, name: &str, count: usize, one: impl Fn(&mut Random) -> f64 + Sync) -> Vec<f64> {
    let block = |number: usize| {
        let mut random = Random::of(seed, &format!("{name} {number}"));
        (0..BLOCK).map(|_| one(&mut random)).collect::<Vec<f64>>()
    };
    let blocks: Vec<Vec<f64>> = (0..count.div_ceil(BLOCK)).into_par_iter().map(block).collect();
    blocks.concat()
}

fn bootstrap(differences: &[f64], seed: u64) -> (f64, f64) {
    let n = differences.len();
    // Two draws out of 64 bits, by the multiply-shift method; the bias, n / 2³², is far below the resampling error.
    let draw = |bits: u64| differences[((bits & 0xffff_ffff).wrapping_mul(n as u64) >> 32) as usize];
    let mut means = resample(seed, "bootstrap", RESAMPLES, |random| {
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
    let tail = expanded_tail(n);
    (percentile(&means, tail), percentile(&means, 1.0 - tail))
}

/// The share of resampled means left out on either side: 2.5 % for many values, less for few.
fn expanded_tail(n: usize) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let freedom = n as f64 - 1.0;
    normal_tail((n as f64 / freedom).sqrt() * t_quantile(0.05, freedom))
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
        let far = (0..patterns).into_par_iter().filter(|pattern| flipped(&mut || *pattern).abs() >= bar).count();
        return far as f64 / patterns as f64;
    }
    let count = (SIGNS / differences.len()).clamp(FLIPS.0, FLIPS.1).next_multiple_of(BLOCK);
    let sums = resample(seed, "sign flips", count, |random| flipped(&mut || random.next_u64()));
    let far = sums.iter().filter(|sum| sum.abs() >= bar).count();
    (1 + far) as f64 / (1 + count) as f64
}

fn t_test(differences: &[f64]) -> f64 {
    let n = differences.len() as f64;
    if n < 2.0 {
        return 1.0;
    }
    let (mean, deviation) = (differences.iter().sum::<f64>() / n, deviation(differences));
    if deviation == 0.0 {
        return if mean == 0.0 { 1.0 } else { 0.0 };
    }
    two_sided_t(mean / deviation * n.sqrt(), n - 1.0)
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
    fn few_and_equal_values_have_a_sober_answer() {
        let none = paired(&[], &[], 1);
        assert_eq!((none.n, none.interval, none.p_randomization, none.p_t), (0, (0.0, 0.0), 1.0, 1.0));
        let same = paired(&[0.3; 40], &[0.3; 40], 1);
        assert_eq!((same.mean_difference, same.interval, same.p_randomization, same.p_t), (0.0, (0.0, 0.0), 1.0, 1.0));
        let one = paired(&[1.0], &[0.0], 1);
        assert_eq!((one.interval, one.p_randomization, one.p_t), ((1.0, 1.0), 1.0, 1.0));
        // Always better by the same: of 2²⁰ sign patterns two are as far; 21 are beyond going through all, and the least p
        // is 1 / 100,001.
        let better = |n: usize| paired(&vec![1.0; n], &vec![0.5; n], 1);
        assert_eq!(better(20).p_randomization, 2f64.powi(-19));
        assert!(better(21).p_randomization < 0.0001 && better(21).p_t == 0.0 && better(21).excludes_zero());
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
    fn the_interval_covers_differences_of_retrieval_as_often_as_it_says() {
        const SETS: u64 = 1000;
        // nDCG: a gold passage that moved between first, later and not at all; recall: found or not.
        let ndcg: &[f64] = &[1.0, 1.0, 1.0, -1.0, -1.0, 0.5, 0.5, 0.5, 0.5, -0.369, -0.369, 0.369, 0.369, 0.369, 0.13];
        let recall: &[f64] = &[1.0, 1.0, 1.0, -1.0, -1.0];
        for (name, kinds, differ, n) in [
            ("ndcg", ndcg, 0.4, 50),
            ("ndcg", ndcg, 0.2, 100),
            ("recall", recall, 0.3, 50),
            ("recall", recall, 0.1, 150),
        ] {
            let truth = differ * kinds.iter().sum::<f64>() / kinds.len() as f64;
            let covered = (0..SETS).into_par_iter().filter(|set| {
                let mut random = Random::of(*set, &format!("{name} {differ} {n}"));
                let one =
                    |random: &mut Random| if random.unit() < differ { kinds[random.below(kinds.len())] } else { 0.0 };
                let differences: Vec<f64> = (0..n).map(|_| one(&mut random)).collect();
                let (low, high) = bootstrap(&differences, *set);
                low <= truth && truth <= high
            });
            let share = covered.count() as f64 / SETS as f64;
            assert!((0.93..=0.97).contains(&share), "{name} {differ} {n}: {share}");
        }
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

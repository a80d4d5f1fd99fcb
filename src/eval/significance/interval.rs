//! Intervals of a share and of a mean: what else it could be, given how many were asked.
//!
//! Both are Wilson's score interval, which asks which true values would make what was seen likely, instead of how far what was
//! seen may be off. Near 0 and 1, where recall often lies, that covers what it promises; a percentile bootstrap does not
//! (where the truth is .97, 50 queries cover it in 78 cases of 100).
//!
//! Sources: Wilson, "Probable inference, the law of succession, and statistical inference", 1927; Korn & Graubard,
//! "Confidence intervals for proportions with small expected number of positive counts estimated from survey data", 1998
//! (the effective number).

use super::Z;

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
    let hits = hits.min(n);
    wilson(hits as f64 / n as f64, n as f64)
}

/// The 95 % interval of a mean of values between 0 and 1, such as one measure's, one value a query.
///
/// Wilson's interval of the mean `m`, with the number of all-or-nothing values that would be as uncertain in place of `n`:
/// `n* = n m(1−m) / s²`, where `s²` is the mean square around `m` (`n* = n` where nothing varies). Of values that are all 0
/// or 1 this is [`proportion`]. The average over no query could be anything: 0 to 1.
///
/// ```
/// use parallax::eval::significance::mean_interval;
/// let (low, high) = mean_interval(&[1.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.5, 1.0]);
/// assert!(0.55 < low && low < 0.8125 && 0.8125 < high && high < 0.95);
/// assert_eq!(mean_interval(&[1.0; 8]), parallax::eval::significance::proportion(8, 8));
/// ```
pub fn mean_interval(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    if values.is_empty() {
        return (0.0, 1.0);
    }
    let mean = (values.iter().sum::<f64>() / n).clamp(0.0, 1.0);
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    wilson(mean, if variance > 0.0 { n * mean * (1.0 - mean) / variance } else { n })
}

/// Of a share `p` of `n`, which need not be whole.
fn wilson(p: f64, n: f64) -> (f64, f64) {
    let z2 = Z * Z;
    let middle = p + z2 / (2.0 * n);
    let reach = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let whole = 1.0 + z2 / n;
    // The ends are exact where all or nothing hits; rounding would leave them a little off.
    let low = if p <= 0.0 { 0.0 } else { (middle - reach) / whole };
    let high = if p >= 1.0 { 1.0 } else { (middle + reach) / whole };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

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

    /// Values like those of a measure: a share of `ones` is 1, a share of `graded` is 1/log₂(r+1) of ranks 2 to 10, the others
    /// are 0. With the true mean.
    fn retrieval(random: &mut Random, n: usize, ones: f64, graded: f64) -> (Vec<f64>, f64) {
        let gains: Vec<f64> = (2..=10).map(|rank| 1.0 / f64::from(rank + 1).log2()).collect();
        let one = |random: &mut Random| match random.unit() {
            u if u < ones => 1.0,
            u if u < ones + graded => gains[random.below(gains.len())],
            _ => 0.0,
        };
        let truth = ones + graded * gains.iter().sum::<f64>() / gains.len() as f64;
        ((0..n).map(|_| one(random)).collect(), truth)
    }

    #[test]
    fn the_interval_of_a_mean_covers_the_truth_as_often_as_it_says() {
        const SETS: u64 = 4000;
        // nDCG-like values, hard and easy; then recall of one gold passage.
        for (ones, graded) in [(0.4, 0.3), (0.8, 0.15), (0.93, 0.05), (0.1, 0.1), (0.5, 0.0), (0.9, 0.0), (0.97, 0.0)] {
            for n in [50, 100, 300] {
                let covered = (0..SETS).filter(|set| {
                    let mut random = Random::of(*set, &format!("{ones} {graded} {n}"));
                    // Of counts the coverage jumps with the truth, since 45 of 50 has no neighbour nearer than 46: the mean
                    // over truths around one says what to expect.
                    let ones = ones + 0.02 * (random.unit() - 0.5);
                    let (values, truth) = retrieval(&mut random, n, ones, graded);
                    let (low, high) = mean_interval(&values);
                    low <= truth && truth <= high
                });
                let share = covered.count() as f64 / SETS as f64;
                assert!((0.93..=0.97).contains(&share), "{ones} {graded} {n}: {share}");
            }
        }
    }

    #[test]
    fn an_interval_holds_its_mean_and_stays_between_nothing_and_all() {
        let mut random = Random::new(7);
        for n in 1..60 {
            let (values, _) = retrieval(&mut random, n, 0.5, 0.4);
            let mean = values.iter().sum::<f64>() / n as f64;
            let (low, high) = mean_interval(&values);
            assert!(0.0 <= low && low <= mean && mean <= high && high <= 1.0, "{n}: {low} {mean} {high}");
        }
        assert_eq!((mean_interval(&[]), mean_interval(&[0.0; 5]).0), ((0.0, 1.0), 0.0));
    }
}

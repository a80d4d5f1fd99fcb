//! What a number of queries can show at all: the minimum detectable effect.
//!
//! A comparison that finds "no difference" has said little when it could not have seen one. In flow the standard deviation
//! `s` of the differences of single queries and the number of queries `n`; out flows the smallest true mean difference that a
//! two-sided test at .05 finds with a chance of .8:
//!
//! `δ = (t_{.975, n−1} + t_{.8, n−1}) · s / √n`, for many queries `2.80 s/√n`.
//!
//! Before a comparison, `s` comes from a sample of the queries, or from an earlier comparison of such systems; after it,
//! from the differences themselves. Then `δ` is no probability of what was found (a difference that was proven was large
//! enough), but says how small a difference could still have been missed.
//!
//! ```
//! use parallax::eval::significance::{detectable, queries_for};
//! // Differences of .18 a query, 300 queries: they can show .029, 2.9 points, not less.
//! let effect = detectable(0.18, 300);
//! assert!((effect - 0.0292).abs() < 1e-4);
//! // To show one point takes eight to nine times as many.
//! assert_eq!(queries_for(0.18, 0.01), Some(2545));
//! ```
//!
//! Sources: Cohen, "Statistical power analysis for the behavioral sciences", 1988; Sakai, "Statistical reform in
//! information retrieval?", 2014.

use super::distributions::t_quantile;

/// Two-sided probability of a test that finds something where there is nothing.
const ALPHA: f64 = 0.05;
/// Probability of a test that misses the effect: 1 − power.
const MISS: f64 = 0.2;

/// The smallest mean difference that `n` queries show with power .8 at two-sided .05, where single differences have the
/// standard deviation `sd` (both in the measure's unit); infinite for fewer than two queries.
pub fn detectable(sd: f64, n: usize) -> f64 {
    if n < 2 {
        return f64::INFINITY;
    }
    let freedom = n as f64 - 1.0;
    (t_quantile(ALPHA, freedom) + t_quantile(2.0 * MISS, freedom)) * sd / (n as f64).sqrt()
}

/// The fewest queries that can show a mean difference of `effect`; `None` where no number up to 10⁹ can (`effect` ≤ 0).
pub fn queries_for(sd: f64, effect: f64) -> Option<usize> {
    let enough = |n: usize| detectable(sd, n) <= effect;
    let (mut few, mut many) = (1, 2);
    while !enough(many) {
        few = many;
        many = many.checked_mul(2).filter(|many| *many <= 1_000_000_000)?;
    }
    while many - few > 1 {
        let middle = few + (many - few) / 2;
        if enough(middle) { many = middle } else { few = middle }
    }
    Some(many)
}

/// Standard deviation of values around their mean, with n − 1; 0 for fewer than two.
pub fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::t_test;
    use super::*;
    use crate::random::Random;

    #[test]
    fn few_and_many_queries_have_the_effects_of_the_formula() {
        // Of scipy's t.ppf. The power of such effects, by its noncentral t, is .7990, .8001, .8002 and .8000.
        for (n, effect) in [(10, 0.9947137350), (20, 0.6605288020), (50, 0.4042661889), (300, 0.1622789982)] {
            assert!((detectable(1.0, n) - effect).abs() < 1e-8, "{n}: {}", detectable(1.0, n));
        }
        assert_eq!((detectable(1.0, 1), detectable(0.0, 5)), (f64::INFINITY, 0.0));
        assert_eq!((queries_for(0.2, 0.0), queries_for(0.0, 0.0)), (None, Some(2)));
        for n in [2, 3, 20, 317] {
            assert_eq!(queries_for(1.0, detectable(1.0, n)), Some(n));
        }
    }

    #[test]
    fn a_true_effect_of_that_size_is_found_four_times_in_five() {
        const SETS: u64 = 2000;
        for n in [20, 100] {
            let effect = detectable(1.0, n);
            let found = (0..SETS).filter(|set| {
                let mut random = Random::of(*set, "power");
                let differences: Vec<f64> = (0..n).map(|_| effect + random.normal()).collect();
                t_test(&differences) < 0.05
            });
            let share = found.count() as f64 / SETS as f64;
            // Three standard errors of .8 over 2,000 sets are .027.
            assert!((share - 0.8).abs() < 0.027, "{n}: {share}");
        }
    }
}

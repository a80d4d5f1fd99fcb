//! Several tests at once: Holm's correction.
//!
//! Who compares twenty systems with a baseline finds one "better" at p < .05 by luck. In flow the p values of a family
//! of tests, here all systems × one measure; out flow p values that may be read as if there were one test: the chance
//! that any of those below .05 is luck is at most .05, however the tests depend on each other.
//!
//! With the `m` values in rising order `p_(1) ≤ … ≤ p_(m)`, `p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j))`.
//!
//! ```
//! use parallax::eval::significance::holm;
//! assert_eq!(holm(&[0.04, 0.01, 0.03]), [0.06, 0.03, 0.06]);
//! ```
//!
//! Sources: Holm, "A simple sequentially rejective multiple test procedure", 1979; Boytsov, Belova & Westfall,
//! "Deciding on an adjustment for multiplicity in IR experiments", 2013 (with permutation tests it costs little power).

/// Corrects a family of p values, each 0 to 1; the order stays.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![0.0; p.len()];
    let mut highest = 0.0f64;
    for (passed, at) in order.into_iter().enumerate() {
        highest = highest.max(((p.len() - passed) as f64 * p[at]).min(1.0));
        corrected[at] = highest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_values_are_met() {
        let found = holm(&[0.001, 0.02, 0.03, 0.04, 0.5]);
        // Of the definition by hand: 5 · .001, 4 · .02, 3 · .03, then 2 · .04 is below what stands before it.
        for (value, expected) in found.iter().zip([0.005, 0.08, 0.09, 0.09, 0.5]) {
            assert!((value - expected).abs() < 1e-12, "{found:?}");
        }
        assert_eq!((holm(&[]), holm(&[0.02])), (vec![], vec![0.02]));
    }

    proptest! {
        #[test]
        fn a_correction_keeps_the_order_and_never_lowers(p in prop::collection::vec(0.0f64..=1.0, 0..12)) {
            let corrected = holm(&p);
            for i in 0..p.len() {
                prop_assert!(corrected[i] >= p[i] && corrected[i] <= 1.0);
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || corrected[i] <= corrected[j]);
                }
            }
        }
    }
}

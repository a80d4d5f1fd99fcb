//! Exact search that reads int8 rows first, and of the f32 rows only those that may be among the best.
//!
//! In: an index's rows, f32 with int8 beside them, and a query `[d]`. Out: what [`exact`] gives for the f32
//! rows, bit for bit.
//!
//! With `q̂` and `r̂` for what eight bits keep of query and row, Cauchy and Schwarz bound what they lose:
//!
//! ```text
//! |q·r − q̂·r̂| = |q·(r − r̂) + (q − q̂)·r̂| ≤ |q| D + |q − q̂| (L + D) = E
//! ```
//!
//! `D` is the greatest distance between a row and what is stored of it, `L` the greatest length; the rows' file knows
//! both. Let `t` be the k-th best of all `q̂·r̂`. Then k rows score at least `t − E`, and a row that does has
//! `q̂·r̂ ≥ t − 2E`. These rows are scored again, and no others can be among the best.
//!
//! Cost: a pass over a quarter of the bytes, and some tens to hundreds of f32 rows.

use super::exact;
use super::rows::is_zero;
use super::scorer::Scorer;
use super::store::Store;
use crate::collection::Ordinal;
use crate::collection::run::{Ranking, TopK};
use crate::kernel::dot::int8::quantise;

/// Rows looked at together.
const BLOCK: usize = 1024;

/// The `k` best rows for a query of the rows' dimension, scored from the greater rows, on the calling thread.
pub(super) fn search(store: &Store, query: &[f32], k: usize) -> Ranking<Ordinal> {
    let rows = store.rows();
    let Some((small, (distance, length))) = store.small().and_then(|small| Some((small, small.int8_bounds()?))) else {
        return exact::search(rows, query, k);
    };
    if k == 0 || is_zero(query) {
        return Ranking::default();
    }
    let slack = 2.0 * error(query, f64::from(distance), f64::from(length));
    let scorer = Scorer::new(small, query);
    let mut best = TopK::new(k.min(rows.len()));
    let mut candidates: Vec<(u32, f32)> = Vec::new();
    let mut scores = [0f32; BLOCK];
    for start in (0..rows.len()).step_by(BLOCK) {
        let end = rows.len().min(start + BLOCK);
        let scores = &mut scores[..end - start];
        scorer.range(start..end, scores);
        for (row, score) in (start as u32..).zip(scores.iter()) {
            if *score > best.threshold() {
                best.offer(Ordinal(row), *score);
            }
            if !below(*score, best.threshold(), slack) {
                candidates.push((row, *score));
            }
        }
    }
    let threshold = best.threshold();
    let numbers: Vec<u32> =
        candidates.iter().filter(|(_, score)| !below(*score, threshold, slack)).map(|(row, _)| *row).collect();
    let mut scores = Vec::new();
    Scorer::new(rows, query).at(&numbers, &mut scores);
    let mut top = TopK::new(k.min(rows.len()));
    for (row, score) in numbers.into_iter().zip(scores) {
        top.offer(Ordinal(row), score);
    }
    top.into_ranking()
}

/// Whether a score is too low, whatever eight bits lost of it; not, where damage made a bound no number.
fn below(score: f32, threshold: f32, slack: f64) -> bool {
    f64::from(score) < f64::from(threshold) - slack
}

/// The most that eight bits and rounding change a score by.
fn error(query: &[f32], distance: f64, length: f64) -> f64 {
    let mut whole = vec![0; query.len()];
    let scale = quantise(query, &mut whole);
    let square = |value: f64| value * value;
    let size = query.iter().map(|value| square(f64::from(*value))).sum::<f64>().sqrt();
    let lost =
        query.iter().zip(&whole).map(|(value, whole)| square(f64::from(*value) - f64::from(scale) * f64::from(*whole)));
    let lost = lost.sum::<f64>().sqrt();
    // A sum of d products in f32 is off by at most d · 2⁻²⁴ times the sum of their sizes; twice that and a few roundings
    // more covers both sums and what a scale times a whole number is off by.
    let rounding = (query.len() + 16) as f64 * f64::from(f32::EPSILON) * (size + lost) * (length + distance);
    size * distance + lost * (length + distance) + rounding
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::clustered;
    use super::super::store::tests::{stored, stored_int8};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Few values and duplicates, so that ties are common; great ones and small ones in a row, so that eight bits lose
        /// much.
        #[test]
        fn it_is_exact_search(
            values in prop::collection::vec(prop_oneof![-2f32..2.0, Just(0.0), Just(1.0), Just(40.0)], 0..240),
            query in prop::collection::vec(-2f32..2.0, 3), k in 0usize..100
        ) {
            let values = &values[..values.len() / 3 * 3];
            let (_folder, store) = stored_int8(3, values);
            prop_assert_eq!(search(&store, &query, k), exact::search(store.rows(), &query, k));
        }
    }

    #[test]
    fn thousands_of_rows_in_a_crowd_are_told_apart() {
        // Rows within a hundredth of one another: int8 alone mistakes most of the ten best.
        let d = 48;
        let (_folder, store) = stored_int8(d, &clustered(4000, d, 1, 0.01, 5));
        let mut mistaken = 0;
        for query in clustered(20, d, 3, 1.0, 7).chunks(d) {
            let found = search(&store, query, 10);
            assert_eq!(found, exact::search(store.rows(), query, 10));
            let rough = exact::search(store.small().unwrap(), query, 10);
            let right = |ordinal: &Ordinal| found.iter().any(|(other, _)| other == ordinal);
            mistaken += rough.iter().filter(|(ordinal, _)| !right(ordinal)).count();
        }
        assert!(mistaken > 20, "{mistaken} of 200 would be wrong");
    }

    #[test]
    fn without_small_rows_it_is_exact_search_itself() {
        let (_folder, store) = stored(2, &[1.0, 0.0, 0.0, 1.0]);
        assert_eq!(search(&store, &[0.5, 1.0], 1), exact::search(store.rows(), &[0.5, 1.0], 1));
    }
}

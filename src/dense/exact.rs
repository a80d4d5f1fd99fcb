//! Exhaustive search: every row scored, the best `k` kept. The yardstick every graph is measured by.
//!
//! In: mapped rows `[n, d]` and a query `[d]`. Out: the `k` rows of greatest inner product, equal scores by ordinal; of rows
//! that are not f32, as those are stored (`bounded` gives what f32 rows would give, by smaller ones).
//!
//! Zero rows score 0 and may be ranked; a zero query says nothing and gets an empty ranking.
//!
//! ```
//! # use parallax::dense::{exact, rows::{Rows, RowsWriter}};
//! # use parallax::encoder::contract::Embeddings;
//! # fn main() -> parallax::Result<()> {
//! # let folder = tempfile::tempdir().map_err(|e| parallax::Error::bug(e.to_string()))?;
//! # let path = folder.path().join("rows.bin");
//! # let mut writer = RowsWriter::create(&path, 2)?;
//! // Three rows: (1, 0), (0, 1), (1, 0).
//! writer.append(&Embeddings::new(2, vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0]))?;
//! # writer.finish()?;
//! # let rows = Rows::open(&path)?;
//! let found: Vec<(u32, f64)> = exact::search(&rows, &[2.0, 1.0], 2).iter().map(|(o, s)| (o.0, s)).collect();
//! assert_eq!(found, [(0, 2.0), (2, 2.0)]);
//! # Ok(())
//! # }
//! ```
//!
//! Cost: `n · d` multiply-adds a query. One query is bound by memory (100,000 × 256 rows: 102 MB, about 4 ms a
//! thread); [`search_many`] reads each block of rows once for all its queries and is bound by arithmetic.

use super::rows::{Rows, is_zero};
use super::scorer::Scorer;
use crate::collection::Ordinal;
use crate::collection::run::{Ranking, TopK};
use rayon::prelude::*;
use std::ops::Range;

/// Values in a block of rows: 256 KiB, which stays in a core's second-level cache while queries pass over it.
const BLOCK: usize = 1 << 16;

/// Queries that pass over a block together.
const GROUP: usize = 32;

/// The `k` best rows for a query of the rows' dimension, on the calling thread.
/// Panics when the dimension differs: a bug of the caller.
pub fn search(rows: &Rows, query: &[f32], k: usize) -> Ranking<Ordinal> {
    best(rows, 0..rows.len(), &[query], k).pop().unwrap_or_default()
}

/// What [`search`] gives, bit for bit, with the rows shared among the threads of the rayon pool it is called in.
pub fn search_parallel(rows: &Rows, query: &[f32], k: usize) -> Ranking<Ordinal> {
    let step = (BLOCK / rows.dimension()).max(1) * 8;
    let parts: Vec<_> = (0..rows.len())
        .into_par_iter()
        .step_by(step)
        .flat_map_iter(|start| best(rows, start..rows.len().min(start + step), &[query], k))
        .collect();
    let all = parts.iter().flat_map(|part| part.as_slice().iter().copied()).collect();
    Ranking::new(all).truncated(k)
}

/// What [`search`] gives for each query, bit for bit, with the queries shared among the threads of the rayon pool.
pub fn search_many(rows: &Rows, queries: &[&[f32]], k: usize) -> Vec<Ranking<Ordinal>> {
    queries.par_chunks(GROUP).flat_map_iter(|group| best(rows, 0..rows.len(), group, k)).collect()
}

/// The `k` best rows of a range for each query.
fn best(rows: &Rows, range: Range<usize>, queries: &[&[f32]], k: usize) -> Vec<Ranking<Ordinal>> {
    let d = rows.dimension();
    let block = (BLOCK / d).max(1);
    let mut scores = vec![0f32; block.min(range.len())];
    let mut tops: Vec<_> =
        queries.iter().map(|query| (Scorer::new(rows, query), TopK::new(k.min(range.len())))).collect();
    for start in range.clone().step_by(block) {
        let end = range.end.min(start + block);
        let scores = &mut scores[..end - start];
        for (query, (scorer, top)) in queries.iter().zip(&mut tops) {
            if is_zero(query) {
                continue;
            }
            scorer.range(start..end, scores);
            let mut threshold = top.threshold();
            for (i, score) in scores.iter().enumerate() {
                // Rows come in ordinal order, so one that only ties with the worst kept never displaces it.
                if *score > threshold {
                    top.offer(Ordinal((start + i) as u32), *score);
                    threshold = top.threshold();
                }
            }
        }
    }
    tops.into_iter().map(|(_, top)| top.into_ranking()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::mapped;
    use super::*;
    use crate::kernel::dot::dot;
    use proptest::prelude::*;

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Small integers, so that ties are common and every score is exact.
        #[test]
        fn the_best_of_all_scores_in_every_form(
            values in prop::collection::vec(-2i8..3, 0..240), query in prop::collection::vec(-2i8..3, 3), k in 0usize..100
        ) {
            let values: Vec<f32> = values[..values.len() / 3 * 3].iter().map(|v| f32::from(*v)).collect();
            let query: Vec<f32> = query.iter().map(|v| f32::from(*v)).collect();
            let (_folder, rows) = mapped(3, &values);
            let all = (0..rows.len()).map(|i| (Ordinal(i as u32), f64::from(dot(&rows.row(i), &query)))).collect();
            let expected = if is_zero(&query) { Ranking::default() } else { Ranking::new(all).truncated(k) };
            prop_assert_eq!(&search(&rows, &query, k), &expected);
            prop_assert_eq!(&search_parallel(&rows, &query, k), &expected);
            let other = [1.0, 0.0, -1.0];
            let many = search_many(&rows, &[&other, &query, &other], k);
            prop_assert_eq!(&many[1], &expected);
            prop_assert_eq!(&many[2], &search(&rows, &other, k));
        }
    }

    #[test]
    fn threads_and_groups_change_no_bit() {
        // Long enough for several blocks and groups; sines, so that scores have many digits.
        let d = 2048;
        let values: Vec<f32> = (0..600 * d).map(|i| (i as f32 * 0.7).sin()).collect();
        let (_folder, rows) = mapped(d, &values);
        let queries: Vec<&[f32]> = values.chunks(d).take(70).collect();
        let many = search_many(&rows, &queries, 7);
        for (query, found) in queries.iter().zip(&many) {
            assert_eq!(&search(&rows, query, 7), found);
            assert_eq!(&search_parallel(&rows, query, 7), found);
        }
    }

    #[test]
    fn a_nan_from_a_damaged_row_is_never_ranked() {
        let (_folder, rows) = mapped(1, &[1.0, 2.0]);
        assert!(search(&rows, &[f32::NAN], 2).is_empty());
    }
}

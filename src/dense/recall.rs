//! How much of exact search a graph finds, how wide a beam it takes to find enough, and what is lost by storing rows in
//! fewer bits.
//!
//! In: f32 rows, the rows as they are stored and a graph over them. Out: `ann_recall@10`, the least `ef` at which it holds a
//! floor, and the share of the ten nearest that the stored rows lose although every one of them is looked at.
//!
//! ```text
//! ann_recall@k = mean over queries of  |{found : score ≥ the k-th best score}| / |{the k best}|
//! ```
//!
//! This is against exact search over the f32 rows, whatever is stored of them; it says nothing of relevance, which is
//! `recall@k` against judgments. Comparing scores, not ordinals, counts a row that ties with the k-th best as found.
//!
//! The queries of the sample are made from the rows, as a build has no questions. Rows themselves would flatter the
//! graph, which links each row to its neighbours: on 20,000 passages at `ef` 80 rows find .998 of their ten nearest
//! where 1,000 SQuAD questions find .953 (256 static dimensions; .999 and .969 with 384 of MiniLM). Questions lie off
//! the passages' own surface. So a sample query is the sum of two random rows plus as long a vector in a random
//! direction: it finds .954 and .959, and stays within .017 of the questions on the one and .035 on the other at every
//! `ef` from 20 to 640, and never more than .003 above them.
//!
//! Cost: the sample's exact search, over f32 and over what is stored, and some seven rounds of walks.

use super::adjacency::Adjacency;
use super::exact;
use super::graph::search;
use super::many;
use super::rows::{Rows, is_zero};
use super::scorer::Scorer;
use super::store::Store;
use super::walk::Scratches;
use crate::collection::Ordinal;
use crate::collection::run::Ranking;
use crate::error::Result;
use crate::kernel::dot::dot;
use crate::progress::Progress;
use crate::random::scramble;
use rayon::prelude::*;

/// Neighbours asked for.
const DEPTH: usize = 10;

/// Queries in a sample: the mean's standard error is about .002 where recall is .98.
const SAMPLE: usize = 1000;

/// The narrowest beam tried, and how far it is widened: beyond the last a walk scores tens of thousands of rows.
const NARROWEST: usize = 64;
const WIDEST: usize = 4096;

/// What a search for `ef` came to.
pub(super) struct Measured {
    pub ef: usize,
    pub recall: f64,
    pub sample: usize,
}

/// Queries with the best that f32 rows have for them.
pub(super) struct Yardstick<'a> {
    rows: &'a Rows,
    queries: Vec<Vec<f32>>,
    /// How many rows are the best, and the least of their scores.
    best: Vec<(usize, f64)>,
}

impl<'a> Yardstick<'a> {
    /// Searches the f32 rows exactly for a sample of queries.
    pub(super) fn new(rows: &'a Rows, seed: u64, progress: &dyn Progress) -> Result<Self> {
        let queries = sample(rows, seed);
        let mut best = Vec::with_capacity(queries.len());
        for group in queries.chunks(512) {
            progress.checkpoint()?;
            let group: Vec<&[f32]> = group.iter().map(Vec::as_slice).collect();
            best.extend(many::search(rows, &group, DEPTH).into_iter().map(|best| {
                let scores = best.as_slice();
                (scores.len(), scores.last().map_or(f64::INFINITY, |last| last.1))
            }));
        }
        Ok(Yardstick { rows, queries, best })
    }

    /// The mean share of the best that a search finds, 1 without queries.
    fn recall(&self, search: impl Fn(&[f32]) -> Ranking<Ordinal> + Sync) -> f64 {
        self.share(self.queries.par_iter().map(|query| search(query)).collect())
    }

    /// The mean share of the best among what was found for each query.
    fn share(&self, found: Vec<Ranking<Ordinal>>) -> f64 {
        let shares =
            found.into_par_iter().zip(&self.queries).zip(&self.best).map(|((found, query), (wanted, least))| {
                let found: Vec<u32> = found.iter().map(|(ordinal, _)| ordinal.0).collect();
                let mut scores = Vec::with_capacity(found.len());
                Scorer::new(self.rows, query).at(&found, &mut scores);
                let right = scores.iter().filter(|score| f64::from(**score) >= *least).count();
                right as f64 / (*wanted).max(1) as f64
            });
        // Collected before it is summed: the order of a parallel sum is not fixed.
        let shares: Vec<f64> = shares.collect();
        if shares.is_empty() { 1.0 } else { shares.iter().sum::<f64>() / shares.len() as f64 }
    }
}

/// The share of the ten nearest that is lost where every stored row is looked at: what fewer bits cost.
pub(super) fn lost(yardstick: &Yardstick<'_>, store: &Store) -> f64 {
    let queries: Vec<&[f32]> = yardstick.queries.iter().map(Vec::as_slice).collect();
    let rough = exact::search_many(store.compared(), &queries, store.candidates(DEPTH));
    let scored = rough.into_par_iter().zip(&queries).map(|(rough, query)| {
        let (rows, mut scores): (Vec<u32>, Vec<f32>) = rough.iter().map(|(row, score)| (row.0, score as f32)).unzip();
        store.rescore(query, &rows, &mut scores);
        let ranked = rows.into_iter().zip(scores).map(|(row, score)| (Ordinal(row), f64::from(score)));
        Ranking::new(ranked.collect()).truncated(DEPTH)
    });
    1.0 - yardstick.share(scored.collect())
}

/// Doubles the beam until the floor holds or there is no wider one, then halves the last step three times: the beam
/// is within an eighth of the narrowest that holds.
pub(super) fn find_ef(
    yardstick: &Yardstick<'_>,
    store: &Store,
    graph: &Adjacency,
    floor: f64,
    progress: &dyn Progress,
) -> Result<Measured> {
    let scratches = Scratches::default();
    let measure = |ef: usize| -> Result<Measured> {
        progress.checkpoint()?;
        let recall =
            yardstick.recall(|query| scratches.with(|scratch| search(graph.view(), store, query, DEPTH, ef, scratch)));
        Ok(Measured { ef, recall, sample: yardstick.queries.len() })
    };
    let mut short = 0;
    let mut best = measure(NARROWEST)?;
    while best.recall < floor && best.ef < WIDEST.min(graph.len()) {
        short = best.ef;
        best = measure(2 * best.ef)?;
    }
    if short > 0 && best.recall >= floor {
        for _ in 0..3 {
            let between = measure((short + best.ef) / 2)?;
            if between.recall >= floor {
                best = between;
            } else {
                short = between.ef;
            }
        }
    }
    Ok(best)
}

/// Queries off the rows' surface, none of them zero; the same for the same rows and seed.
fn sample(rows: &Rows, seed: u64) -> Vec<Vec<f32>> {
    if rows.is_empty() {
        return Vec::new();
    }
    let queries = (0..SAMPLE.min(rows.len()) as u64).into_par_iter().map(|i| {
        let mut random = Random(scramble(seed ^ scramble(i)));
        let (a, b) = (random.below(rows.len()), random.below(rows.len()));
        let sum: Vec<f32> = rows.row(a).iter().zip(rows.row(b).iter()).map(|(x, y)| 0.5 * (x + y)).collect();
        let noise: Vec<f32> = sum.iter().map(|_| random.normal()).collect();
        let scale = (dot(&sum, &sum) / dot(&noise, &noise).max(f32::MIN_POSITIVE)).sqrt();
        sum.iter().zip(&noise).map(|(x, e)| x + scale * e).collect()
    });
    queries.filter(|query: &Vec<f32>| !is_zero(query)).collect()
}

/// Numbers that look random, the same each time for the same start.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        scramble(self.0)
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A number in (0, 1].
    fn unit(&mut self) -> f32 {
        ((self.next() >> 40) + 1) as f32 / (1u64 << 24) as f32
    }

    /// A draw of the standard normal distribution (G. Box and M. Muller, 1958).
    fn normal(&mut self) -> f32 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f32::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::build;
    use super::super::options::GraphOptions;
    use super::super::rows::tests::clustered;
    use super::super::store::tests::{stored, stored_int8};
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_higher_floor_takes_a_wider_beam() {
        let (_folder, rows) = stored(24, &clustered(4000, 24, 40, 1.0, 3));
        let graph = build(&rows, &GraphOptions { m: 4, ef_construction: 20, seed: 1 }, &Silent).unwrap();
        let yardstick = Yardstick::new(rows.rows(), 1, &Silent).unwrap();
        let loose = find_ef(&yardstick, &rows, &graph, 0.0, &Silent).unwrap();
        assert_eq!((loose.ef, loose.sample), (NARROWEST, 1000));
        let strict = find_ef(&yardstick, &rows, &graph, loose.recall + 0.5 * (1.0 - loose.recall), &Silent).unwrap();
        assert!(loose.recall < 1.0 && strict.ef > loose.ef && strict.recall > loose.recall);
    }

    #[test]
    fn a_graph_without_links_cannot_hold_a_floor() {
        let (_folder, rows) = stored(8, &clustered(500, 8, 1, 1.0, 3));
        let mut graph = Adjacency::unlinked(4, &[0; 500], vec![super::super::walk::NONE; 500]);
        graph.entry = 0;
        let yardstick = Yardstick::new(rows.rows(), 1, &Silent).unwrap();
        let measured = find_ef(&yardstick, &rows, &graph, 0.98, &Silent).unwrap();
        assert!(measured.recall < 0.2 && measured.ef >= 500, "{} at {}", measured.recall, measured.ef);
    }

    #[test]
    fn nothing_to_ask_is_nothing_missed() {
        for values in [&[][..], &[0.0; 6]] {
            let (_folder, rows) = stored(3, values);
            let graph = build(&rows, &GraphOptions::default(), &Silent).unwrap();
            let yardstick = Yardstick::new(rows.rows(), 1, &Silent).unwrap();
            let measured = find_ef(&yardstick, &rows, &graph, 1.0, &Silent).unwrap();
            assert_eq!(lost(&yardstick, &rows), 0.0);
            assert_eq!((measured.sample, measured.recall), (0, 1.0));
        }
    }

    #[test]
    fn what_eight_bits_lose_is_seen_and_mended_by_scoring_again() {
        // Rows in a crowd, where eight bits change the order.
        let d = 32;
        let (_folder, both) = stored_int8(d, &clustered(3000, d, 1, 0.05, 5));
        let yardstick = Yardstick::new(both.rows(), 1, &Silent).unwrap();
        let small = Rows::open(&_folder.path().join(super::super::store::INT8_FILE)).unwrap();
        let (alone, mended) = (lost(&yardstick, &Store::of(small)), lost(&yardstick, &both));
        assert!(alone > 0.05 && mended < alone / 4.0 && mended >= 0.0, "{alone} and {mended}");
    }

    #[test]
    fn normal_draws_have_mean_zero_and_variance_one() {
        let mut random = Random(7);
        let draws: Vec<f32> = (0..20_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        let variance = draws.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        // Five standard errors: 1/√20000 and √(2/20000).
        assert!(mean.abs() < 0.036 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}

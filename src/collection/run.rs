//! Rankings: scored keys, best first, and the runs that collect them per query.
//!
//! A [`Ranking`] has one constructor, and what leaves it is sorted (score down, then key up), unique and finite.
//! Inside the house keys are [`Ordinal`](super::Ordinal)s; in run files they are [`PassageId`]s, and evaluation reorders
//! equal scores by id descending, trec_eval's rule.
//!
//! ```
//! use parallax::{Ordinal, Ranking};
//! let ranking = Ranking::new(vec![(Ordinal(7), 1.5), (Ordinal(2), 3.0), (Ordinal(1), 1.5)]);
//! let order: Vec<u32> = ranking.iter().map(|(ordinal, _)| ordinal.0).collect();
//! assert_eq!(order, [2, 1, 7]);
//! ```

use super::{PassageId, QueryId};
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// Scored keys, best first: sorted by score descending, then key ascending; keys unique, scores finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking<K>(Vec<(K, f64)>);

impl<K> Default for Ranking<K> {
    fn default() -> Self {
        Ranking(Vec::new())
    }
}

impl<K: Ord + Clone> Ranking<K> {
    /// Sorts, keeps each key's best score and drops scores that are not finite.
    pub fn new(mut scored: Vec<(K, f64)>) -> Self {
        scored.retain(|(_, score)| score.is_finite());
        // -0.0 and 0.0 are one score: otherwise total_cmp would order them before the key does.
        for (_, score) in &mut scored {
            *score += 0.0;
        }
        scored.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        scored.dedup_by(|later, earlier| later.0 == earlier.0);
        scored.sort_unstable_by(better);
        Ranking(scored)
    }

    /// Keys with scores, best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, f64)> {
        self.0.iter().map(|(key, score)| (key, *score))
    }

    /// The ranking's first `k`.
    pub fn truncated(mut self, k: usize) -> Self {
        self.0.truncate(k);
        self
    }

    /// Keys with scores as a slice, best first.
    pub fn as_slice(&self) -> &[(K, f64)] {
        &self.0
    }

    /// How many keys are ranked.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is ranked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn better<K: Ord>(a: &(K, f64), b: &(K, f64)) -> Ordering {
    b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0))
}

/// Keeps the best `k` of many offered scores; ties go to the smaller key.
///
/// What is offered gathers until there are `2k`; then the worse half is dropped, which costs a constant a score where a
/// heap costs `log k` for each one that it takes.
pub struct TopK<K> {
    k: usize,
    kept: Vec<(f32, K)>,
    /// The `k`-th best when worse ones were dropped last.
    floor: f32,
}

impl<K: Ord + Clone> TopK<K> {
    /// Room for `k` entries.
    pub fn new(k: usize) -> Self {
        TopK { k, kept: Vec::with_capacity(k.saturating_mul(2).min(1 << 16)), floor: f32::NEG_INFINITY }
    }

    /// Offers a finite score; others are ignored.
    pub fn offer(&mut self, key: K, score: f32) {
        if self.k == 0 || !score.is_finite() || score < self.floor {
            return;
        }
        self.kept.push((score + 0.0, key));
        if self.kept.len() >= self.k.saturating_mul(2) {
            self.settle();
        }
    }

    /// Drops what is not among the best `k` so far, which raises [`TopK::threshold`].
    pub fn settle(&mut self) {
        if self.k > 0 && self.kept.len() >= self.k {
            let better = |a: &(f32, K), b: &(f32, K)| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1));
            let (_, worst, _) = self.kept.select_nth_unstable_by(self.k - 1, better);
            self.floor = worst.0;
            self.kept.truncate(self.k);
        }
    }

    /// A score that at least `k` kept ones reach, so that one below it no longer matters; `-∞` at first.
    pub fn threshold(&self) -> f32 {
        self.floor
    }

    /// The kept entries, best first. Keys offered twice keep their best score.
    pub fn into_ranking(mut self) -> Ranking<K> {
        self.settle();
        Ranking::new(self.kept.into_iter().map(|(score, key)| (key, f64::from(score))).collect())
    }
}

/// One system's rankings, per query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The system's name: the tag in TREC files, the row in reports.
    pub name: String,
    rankings: BTreeMap<QueryId, Ranking<PassageId>>,
}

impl Run {
    /// A run with no rankings yet.
    pub fn new(name: impl Into<String>) -> Self {
        Run { name: name.into(), rankings: BTreeMap::new() }
    }

    /// Sets a query's ranking; gives back the one that stood there before.
    pub fn insert(&mut self, query: QueryId, ranking: Ranking<PassageId>) -> Option<Ranking<PassageId>> {
        self.rankings.insert(query, ranking)
    }

    /// A query's ranking.
    pub fn get(&self, query: &QueryId) -> Option<&Ranking<PassageId>> {
        self.rankings.get(query)
    }

    /// Queries with their rankings, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&QueryId, &Ranking<PassageId>)> {
        self.rankings.iter()
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.rankings.len()
    }

    /// Whether no query is ranked.
    pub fn is_empty(&self) -> bool {
        self.rankings.is_empty()
    }
}

/// A ranking's entries in trec_eval's order: score descending, equal scores by id descending (byte order).
///
/// ```
/// use parallax::{collection::run::trec_order, PassageId, Ranking};
/// let ranking = Ranking::new(vec![(PassageId::from("doc10"), 1.0), (PassageId::from("doc9"), 1.0)]);
/// assert_eq!(trec_order(&ranking)[0].0.as_str(), "doc9");
/// ```
pub fn trec_order(ranking: &Ranking<PassageId>) -> Vec<(&PassageId, f64)> {
    let mut entries: Vec<_> = ranking.iter().collect();
    entries.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| Reverse(a.0).cmp(&Reverse(b.0))));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_ranking_is_sorted_unique_and_finite(entries in prop::collection::vec((0u32..20, prop::num::f64::ANY), 0..60)) {
            let ranking = Ranking::new(entries.clone());
            for pair in ranking.as_slice().windows(2) {
                prop_assert!(pair[0].1 > pair[1].1 || (pair[0].1 == pair[1].1 && pair[0].0 < pair[1].0));
            }
            let mut keys: Vec<u32> = ranking.iter().map(|(key, _)| *key).collect();
            keys.sort_unstable();
            keys.dedup();
            prop_assert_eq!(keys.len(), ranking.len());
            let finite: std::collections::BTreeSet<u32> =
                entries.iter().filter(|(_, score)| score.is_finite()).map(|(key, _)| *key).collect();
            prop_assert_eq!(finite.len(), ranking.len());
        }

        #[test]
        fn top_k_is_the_head_of_the_full_ranking(scores in prop::collection::vec(-5i8..5, 0..80), k in 0usize..20) {
            let entries: Vec<(u32, f32)> = scores.iter().enumerate().map(|(i, s)| (i as u32, *s as f32)).collect();
            let mut top = TopK::new(k);
            for (seen, (key, score)) in entries.iter().enumerate() {
                let reached = entries[..seen].iter().filter(|(_, earlier)| *earlier >= top.threshold()).count();
                prop_assert!(k == 0 || top.threshold() == f32::NEG_INFINITY || reached >= k);
                top.offer(*key, *score);
            }
            let all = entries.into_iter().map(|(key, score)| (key, f64::from(score))).collect();
            prop_assert_eq!(top.into_ranking(), Ranking::new(all).truncated(k));
        }
    }
}
